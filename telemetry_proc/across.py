"""The session among the others of its database: what `report --across` adds to a report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import apsw
import numpy as np

from shared.saturation import to_nano_bps
from telemetry_proc.calibration import Calibration
from telemetry_proc.grid import Setting
from telemetry_proc.operating import Operating
from telemetry_proc.recommend import FrontierPoint
from telemetry_proc.series_cache import SeriesCache, SessionSeries
from telemetry_proc.sessions import Session


class Point(NamedTuple):
    """A setting by what it costs over all sessions; limits of a 95 % interval, None where none was computed."""

    role: str
    lookback_ticks: int
    bias_threshold_bps: float
    prevalence_threshold_bps: float
    prevalence_pct: float
    false_per_100_sessions: float | None
    false_low: float | None
    false_high: float | None
    delay_s: float | None


class SessionRung(NamedTuple):
    """One of the sessions: where |error| first reached its bias threshold, and its trip; None for never."""

    number: int
    started_at: str | None
    first_exceedance_tick: int | None
    trip_tick: int | None


def across(
    conn: apsw.Connection, cache: SeriesCache, sessions: Sequence[Session], found: Calibration
) -> dict[str, Any]:
    """`{verdict, operating: [Point], sessions: [SessionRung]}`; a session without recorded errors is no rung."""
    result = found.recommendation
    rungs = (_rung(cache.load(conn, session)) for session in sessions)
    return {
        "verdict": str(result.judged.verdict),
        "operating": list(_points(found)),
        "sessions": [rung for rung in rungs if rung is not None],
    }


def _points(found: Calibration) -> Iterator[Point]:
    result = found.recommendation
    yield from (_of_frontier(point) for point in result.frontier)
    yield _of_operating("live", result.live)
    if result.candidate is not None and result.recommended is not None:
        yield _of_operating("recommended", result.candidate)


def _of_frontier(point: FrontierPoint) -> Point:
    return Point("frontier", *point.setting, 100.0 * point.false_share, None, None, point.delay_mean_s)


def _of_operating(role: str, at: Operating) -> Point:
    share, limits = at.false_share, at.false_share_interval
    low, high = (None, None) if limits is None else (limits.low, limits.high)
    return Point(role, *at.setting, _per_100(share), _per_100(low), _per_100(high), at.delay_mean_s)


def _per_100(share: float | None) -> float | None:
    return None if share is None else 100.0 * share


def _rung(one: SessionSeries) -> SessionRung | None:
    if one.fidelity.state == "not recorded" or one.settings is None:
        return None
    bias = to_nano_bps(Setting.of(one.settings).bias_threshold_bps)
    exceeds = np.flatnonzero(np.abs(one.series.error_nano_bps) >= bias)
    first = int(one.series.tick[exceeds[0]]) if exceeds.size else None
    trip = one.fidelity.replayed_trip_tick if one.settings.enabled else None
    at = one.fidelity.recorded_trip_tick
    return SessionRung(one.session.session_id, one.session.started_at, first, trip if at is None else at)
