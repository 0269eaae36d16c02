"""The places and settings of one live pair: configuration, seed file, database, journals, socket."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from tests.node.judge import Promise

SOURCE_TAG = 4711
PROMISE = Promise(expiration_ledgers=10, last_ledger_offset=4, fee_drops_max=200, source_tag=SOURCE_TAG)
RENEW_LEDGERS = 5
LEVELS = 2
SIZE_BASE = 150


class LiveHome(NamedTuple):
    """Short paths: a socket's name may have 107 bytes."""

    directory: Path

    @property
    def database(self) -> Path:
        return self.directory / "k.db"

    @property
    def journal_dir(self) -> Path:
        return self.directory / "j"

    @property
    def config(self) -> Path:
        return self.directory / "live.yaml"

    @property
    def seed_file(self) -> Path:
        return self.directory / "seed"

    def journals(self) -> list[Path]:
        return sorted(self.journal_dir.glob("*.kj"))

    def furnish(
        self, *, endpoint: str, network_id: int, issuer: str, account: str, seed: str, lookback: int, tickets: int
    ) -> None:
        """Write the configuration and the seed file that the engine runs with."""
        self.seed_file.touch(mode=0o600)
        self.seed_file.write_text(seed + "\n")
        settings = {
            "market": {"feed": "xrpl", "pair": "XRP/RLUSD", "stale_after_ms": 4_000},
            "strategy": {
                "anchor_saturation_guard": {"lookback_ticks": lookback},
                "quote": {"levels": LEVELS, "size_base": SIZE_BASE, "half_spread_bps": 6.0, "level_step_bps": 6.0},
            },
            "execution": {"venue": "xrpl"},
            "reconcile": {"interval_ticks": 1, "tolerance_base": 0, "tolerance_quote": 0},
            "xrpl": {
                "endpoints": [endpoint],
                "network_id": network_id,
                "issuer": issuer,
                "account": account,
                "seed_file": str(self.seed_file),
                "request_timeout_ms": 2_000,
                "liveness_ms": 3_000,
                "backoff_ms": 50,
                "backoff_ms_max": 400,
                "expiration_ledgers": PROMISE.expiration_ledgers,
                "renew_ledgers": RENEW_LEDGERS,
                "last_ledger_offset": PROMISE.last_ledger_offset,
                "fee_drops_max": PROMISE.fee_drops_max,
                "source_tag": PROMISE.source_tag,
                "settle_ledgers": 8,
                "tickets": tickets,
            },
            "telemetry": {
                "database": str(self.database),
                "journal_dir": str(self.journal_dir),
                "endpoint": f"ipc://{self.directory}/s/t.sock",
                "flush_ms": 20,
                "catch_up_ms": 100,
            },
        }
        self.config.write_text(json.dumps(settings, indent=1))  # JSON is YAML
