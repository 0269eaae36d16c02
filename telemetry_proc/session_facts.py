"""What is on record around the ticks of a session: who ran it, which ticks there are, breaker events, mode changes."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import apsw

from shared.clock import iso_utc
from telemetry_proc.guard_record import trip_context
from telemetry_proc.reading import session_rows
from telemetry_proc.series import SeriesFacts
from telemetry_proc.sessions import Session

GUARD_TRIPPED = "anchor_saturation_guard_exceeded"  # the reason for which the engine leaves ACTIVE on a trip


class SessionHead(NamedTuple):
    """Who ran, on what, and how it ended."""

    number: int
    uid: str | None
    status: str | None
    venue_mode: str | None
    pair: str | None
    started_at: str | None
    ended_at: str | None
    end_reason: str | None
    initial_mode: str | None
    final_mode: str | None
    config_hash: str | None
    code_version: str | None


class Ticks(NamedTuple):
    """Which ticks are in the database. `missing` counts numbers up to the last one that are not."""

    recorded: int
    first: int | None
    last: int | None
    missing: int
    duration_s: float | None
    market_time_from: str | None = None  # ISO 8601 UTC, by the market's clock


class Trip(NamedTuple):
    """A breaker event. `tick` and the numbers inside `context` are as the breaker wrote them; what is no finite number
    there is None.
    """

    breaker: str | None
    tick: int | None
    triggered_at: str | None
    manual_reset_required: int | None
    cooldown_seconds: int | None
    context: dict[str, Any]


class ModeChange(NamedTuple):
    """One move through the mode table."""

    tick: int | None
    time: str | None
    from_mode: str | None
    to_mode: str | None
    signal: str | None
    reason: str | None


def session_head(session: Session, history: Sequence[ModeChange]) -> SessionHead:
    """A session that did not close in order ended in the mode it last changed to."""
    return SessionHead(
        number=session.session_id,
        uid=session.session_uid,
        status=session.status,
        venue_mode=session.venue_mode,
        pair=session.pair,
        started_at=session.started_at,
        ended_at=session.ended_at,
        end_reason=session.end_reason,
        initial_mode=session.initial_mode,
        final_mode=session.final_mode or (history[-1].to_mode if history else session.initial_mode),
        config_hash=session.config_hash,
        code_version=session.code_version,
    )


def ticks_of(facts: SeriesFacts) -> Ticks:
    """The session's ticks in numbers."""
    first_ns, last_ns = facts.first_ts_ns, facts.last_ts_ns
    return Ticks(
        recorded=facts.ticks,
        first=facts.first_tick,
        last=facts.last_tick,
        missing=facts.missing_ticks,
        duration_s=None if first_ns is None or last_ns is None or last_ns < first_ns else (last_ns - first_ns) / 1e9,
        market_time_from=None if first_ns is None else iso_utc(first_ns),
    )


def read_trips(conn: apsw.Connection, session_id: int) -> tuple[Trip, ...]:
    """Every breaker event of a session, the guard's and others'."""
    wanted = ("breaker", "triggered_at", "manual_reset_required", "cooldown_seconds", "context_json")
    trips = []
    for breaker, triggered_at, manual, cooldown_s, context_json in session_rows(
        conn, "circuit_breaker_events", wanted, session_id
    ):
        context = _finite(trip_context(context_json))
        tick = context.get("tick")
        known = tick if type(tick) is int else None
        trips.append(Trip(breaker, known, triggered_at, manual, cooldown_s, context))
    return tuple(trips)


def read_mode_changes(conn: apsw.Connection, session_id: int) -> tuple[ModeChange, ...]:
    """Every mode change of a session, in order."""
    wanted = ("tick", "ts_ns", "from_mode", "to_mode", "signal", "reason")
    return tuple(
        ModeChange(tick, None if ts_ns is None else iso_utc(ts_ns), *rest)
        for tick, ts_ns, *rest in session_rows(conn, "mode_transitions", wanted, session_id)
    )


def cancel_latency_ticks(config_json: str | None) -> int:
    """How many further ticks our orders could be met after a cancel was sent, as the paper venue was configured.

    0 at any other venue, and where the configuration is not on record or from before this setting.
    """
    try:
        execution = json.loads(config_json or "null")["execution"]
        latency = execution["paper"]["latency_ledgers"] if execution["venue"] == "paper" else 0
    except (ValueError, TypeError, KeyError, RecursionError):
        return 0
    return latency if type(latency) is int and latency > 0 else 0


def stopped_tick(initial_mode: str | None, history: Sequence[ModeChange]) -> int | None:
    """Where anything but the guard ended the quoting: 0 before the first tick, None if nothing did."""
    if initial_mode not in {None, "ACTIVE"}:
        return 0
    others = (change for change in history if change.to_mode != "ACTIVE" and change.reason != GUARD_TRIPPED)
    first = next(others, None)
    return None if first is None else first.tick or 0


def _finite(value: Any) -> Any:
    """JSON as Python reads it may hold NaN and infinities; no answer of ours does."""
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
