"""What the engine's commands print: text for people, one JSON object for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from engine_proc.engine import Engine
from engine_proc.replay import Comparison
from shared.config import LoadedConfig

SCHEMA_VERSION = 1


def check(loaded: LoadedConfig, remarks: Sequence[str], *, as_json: bool) -> str:
    """The effective configuration, its hash and the preflight's remarks."""
    if as_json:
        return _json(
            source=loaded.source,
            config_hash=loaded.config_hash,
            config=json.loads(loaded.config_json),
            remarks=list(remarks),
        )
    settings = yaml.safe_dump(json.loads(loaded.config_json), sort_keys=False, default_flow_style=None).rstrip()
    lines = (f"# {loaded.source}", f"# config_hash {loaded.config_hash}", settings, *(f"# {line}" for line in remarks))
    return "\n".join(lines)


def replay(path: Path, comparison: Comparison, engine: Engine, *, own_settings: bool, as_json: bool) -> str:
    """How a replay compares with its record. JSON keys: see the names below; null where there is nothing to say."""
    summary = {key: None if value is None else json.loads(value) for key, value in engine.summary.statements()}
    first = comparison.first_mismatch
    if as_json:
        return _json(
            journal=str(path),
            own_settings=own_settings,
            ticks=comparison.ticks,
            mismatched_ticks=comparison.mismatched_ticks,
            first_mismatch=first._asdict() if first else None,
            recorded_trip_tick=comparison.recorded_trip_tick,
            replayed_trip_tick=comparison.replayed_trip_tick,
            recorded_quoting_ticks=comparison.recorded_quoting_ticks,
            replayed_quoting_ticks=comparison.replayed_quoting_ticks,
            quotes_changed_ticks=comparison.quotes_changed_ticks,
            pct_error_above_5bps=summary["anchor.pct_error_above_5bps"],
            mean_error_bps=summary["anchor.mean_error_bps"],
            max_abs_error_bps=summary["anchor.max_abs_error_bps"],
        )
    lines = [
        f"{path}: {comparison.ticks:,} ticks replayed under {'its own' if own_settings else 'other'} settings",
        f"  guard    recorded {_trip(comparison.recorded_trip_tick)}; replayed {_trip(comparison.replayed_trip_tick)}",
        f"  anchor   mean error {_bps(summary['anchor.mean_error_bps'])}, largest "
        f"{_bps(summary['anchor.max_abs_error_bps'])}, above 5 bps {_pct(summary['anchor.pct_error_above_5bps'])}",
        f"  quotes   on {comparison.recorded_quoting_ticks:,} ticks recorded, {comparison.replayed_quoting_ticks:,} "
        f"replayed; different on {comparison.quotes_changed_ticks:,}",
    ]
    if not comparison.mismatched_ticks:
        lines.append("  record   every anchor, error and guard value reproduced bit for bit")
    elif first is not None:
        lines.append(
            f"  record   different on {comparison.mismatched_ticks:,} ticks, first at tick {first.tick}: "
            f"{first.field} recorded {first.recorded}, replayed {first.replayed}"
        )
    return "\n".join(lines)


def _json(**fields: Any) -> str:
    return json.dumps({"schema_version": SCHEMA_VERSION, **fields}, allow_nan=False)


def _trip(tick: int | None) -> str:
    return "never tripped" if tick is None else f"tripped at tick {tick:,}"


def _bps(value: float | None) -> str:
    return "not measurable" if value is None else f"{value:+.2f} bps"


def _pct(value: float | None) -> str:
    return "not measurable" if value is None else f"{value:.1f} % of ticks"
