"""`make bench`, second part: what asking the disk to keep the journal costs the tick.

The same simulated session in one process, its journal on the disk under the temporary directory, with three policies
in turn within each round, so that a slow phase of the machine meets all three:

    never      nothing is synced while ticks run
    paper      ticks by a background thread every 200 ms, orders with them       (the default on paper)
    live       the same, and every order before it goes to the venue             (always on a live venue)
"""

from __future__ import annotations

import json
import os
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

from engine_proc.engine import Engine, SessionFacts
from engine_proc.feed_sim import SimFeed
from engine_proc.modes import ModeState
from engine_proc.outbox import Outbox, SyncThread
from engine_proc.venue_paper import PaperVenue
from shared.clock import MarketClock
from shared.config import build_config
from shared.disk import OsFile
from shared.journal import JournalWriter, journal_path

ROUNDS = 5
TICKS = {"never": 4_000, "paper": 4_000, "live": 400}
FSYNC_MS = {"never": 60_000, "paper": 200, "live": 200}


class NoSocket:
    """A fast path that takes everything at no cost: only the disk is measured here."""

    refused = 0

    def send(self, payloads: list[bytes]) -> None:
        """Taken."""

    def flush(self) -> None:
        """Gone."""

    def close(self) -> None:
        """Nothing is open."""


class CountedFile(OsFile):
    """A journal's file that counts how long each sync took, on whichever thread."""

    syncs_us: list[float] = []  # noqa: RUF012 - one run, one list

    def sync(self) -> None:
        """Sync, and note the time."""
        started_ns = time.perf_counter_ns()
        super().sync()
        self.syncs_us.append((time.perf_counter_ns() - started_ns) / 1e3)


def ticks_us(policy: str, directory: Path) -> list[float]:
    """How long each tick of a session took, its record in the journal included."""
    config = build_config({"market": {"sim": {"scenario": [{"kind": "calm", "ticks": 10**6}]}}}, "bench").config
    clock = MarketClock()
    journal = JournalWriter(journal_path(directory, f"20261121T000000000-{policy}"), CountedFile)
    sync = SyncThread(journal, FSYNC_MS[policy])
    outbox = Outbox("20261121T000000000-aaaaaa", journal, NoSocket(), sync, sync_orders=policy == "live")
    quote = config.strategy.quote
    venue = PaperVenue(config.execution.paper, price_quantum=quote.price_quantum, size_quantum=quote.size_quantum)
    feed = SimFeed(config.market.sim, clock, random.Random(1), stale_after_ms=15_000, min_touch_size=0.0)
    engine = Engine(config, clock, feed, venue, outbox, ModeState())
    engine.open_session(SessionFacts("sim", "0" * 16, "{}", "bench"))
    taken: list[float] = []
    for _ in range(TICKS[policy]):
        market = feed.next()
        started_ns = time.perf_counter_ns()
        engine.tick(market)
        taken.append((time.perf_counter_ns() - started_ns) / 1e3)
    outbox.close()
    return taken


def main() -> None:
    """Run the rounds, print a table and one JSON line."""
    taken: dict[str, list[list[float]]] = {policy: [] for policy in TICKS}
    syncs: dict[str, list[float]] = {policy: [] for policy in TICKS}
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory(prefix="kf") as tmp:
            for policy, rounds in taken.items():
                CountedFile.syncs_us = syncs[policy]
                rounds.append(ticks_us(policy, Path(tmp)))
    figures = {
        policy: {
            "p50_us": statistics.median(quantile(one, 0.50) for one in rounds),
            "p99_us": statistics.median(quantile(one, 0.99) for one in rounds),
            "p999_us": statistics.median(quantile(one, 0.999) for one in rounds),
            "sync_p50_us": quantile(syncs[policy], 0.5),
        }
        for policy, rounds in taken.items()
    }
    yardstick = figures["never"]["p50_us"]
    print(f"{'policy':8}{'tick p50':>12}{'p99':>12}{'p99.9':>12}{'one sync p50':>15}{'tick p50 / never':>19}")
    for policy, of in figures.items():
        print(
            f"{policy:8}{of['p50_us']:>9,.0f} us{of['p99_us']:>9,.0f} us{of['p999_us']:>9,.0f} us"
            f"{of['sync_p50_us']:>12,.0f} us{of['p50_us'] / yardstick:>18.2f}x"
        )
    print(
        json.dumps(
            {
                "figures": figures,
                "rounds": ROUNDS,
                "ticks": TICKS,
                "cpus": os.cpu_count(),
                "python": sys.version.split()[0],
            }
        )
    )


def quantile(values: list[float], share: float) -> float:
    """The value below which this share of all lies."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


if __name__ == "__main__":
    main()
