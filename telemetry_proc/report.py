"""What happened in one session: every number of page one, read in a single pass over its ticks.

`Report` is the whole answer. `as_json` gives it to programs: one object whose keys are the field names below, units
included, None as null. Top level: `schema_version`, `session` (`SessionHead`), `ticks` (`Ticks`), `error`
(`distribution.Distribution`), `guard` (`Guard`, with `ladder` a `ladder.Ladder`), `trips` (list of `Trip`),
`mode_history` (list of `ModeChange`), `orders` (`Orders`), `money` (`Money`), `answers` (what can and what cannot be
said from one session).

`guard.fidelity` is `ok` when the guard's own code, run over the stored errors, gives the window recorded on every
tick and the trip on the recorded tick; `mismatch` when it does not (`guard.disagreement` says where first);
`no recorded guard state` when there is nothing to compare with.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import apsw

from shared.clock import iso_utc
from shared.settings import AnchorSaturationGuard
from telemetry_proc.distribution import Distribution, ErrorTally
from telemetry_proc.ladder import GUARD, Disagreement, GuardReplay, Ladder, guard_settings, trip_context
from telemetry_proc.reading import Row, rows, session_pages, session_rows
from telemetry_proc.sessions import JSON_SCHEMA_VERSION, Session
from telemetry_proc.trading import Money, Orders, money, orders

TICK_COLUMNS = (
    "tick",
    "ts_ns",
    "market_status",
    "anchor_mode",
    "anchor_error_bps",
    "guard_window_n",
    "guard_mean_bps",
    "guard_prevalence_pct",
)

ONE_SESSION = "not answerable from one session"

Fidelity = Literal["ok", "mismatch", "no recorded guard state"]
GuardState = Literal["no data", "thresholds not recorded", "disabled", "tripped", "never armed", "not armed", "armed"]


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
    """Which ticks are in the database. `missing` counts numbers between 1 and `last` that are not."""

    recorded: int
    first: int | None
    last: int | None
    missing: int
    duration_s: float | None
    market_time_from: str | None = None  # ISO 8601 UTC, by the market's clock


class Guard(NamedTuple):
    """The guard's settings, how far it armed, what its own code says of the stored errors."""

    state: GuardState
    enabled: bool | None = None
    lookback_ticks: int | None = None
    bias_threshold_bps: float | None = None
    prevalence_threshold_bps: float | None = None
    prevalence_pct: float | None = None
    armed_ticks: int | None = None
    armed_pct: float | None = None
    window_n: int | None = None
    window_resets: int | None = None
    fidelity: Fidelity = "no recorded guard state"
    disagreement: Disagreement | None = None
    recorded_trip_tick: int | None = None
    ladder: Ladder = Ladder()


class Trip(NamedTuple):
    """A breaker event. `tick` and the numbers inside `context` are as the breaker wrote them."""

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


class Answers(NamedTuple):
    """The four questions to a session, and which of them a single session can answer."""

    thresholds_right: str
    too_sensitive_or_not: str
    distribution: str
    first_exceedance: str


class Report(NamedTuple):
    """Page one of a session."""

    schema_version: int
    session: SessionHead
    ticks: Ticks
    error: Distribution
    guard: Guard
    trips: tuple[Trip, ...]
    mode_history: tuple[ModeChange, ...]
    orders: Orders
    money: Money
    answers: Answers


class _Pass(NamedTuple):
    """What the one pass over the ticks leaves behind."""

    tally: ErrorTally
    replay: GuardReplay | None
    ticks: Ticks


def build_report(conn: apsw.Connection, session: Session) -> Report:
    """Read a session and compute its report. A running session is reported up to the last tick stored by now.

    Raises `IntegrityError` for a stored error that is not a finite number.
    """
    settings = guard_settings(session.config_json)
    passed = _one_pass(conn, session.session_id, settings)
    trips = _trips(conn, session.session_id)
    history = _mode_history(conn, session.session_id)
    trip_tick = next((trip.tick for trip in trips if trip.breaker == GUARD), None)
    final_mode = session.final_mode or (history[-1].to_mode if history else session.initial_mode)
    return Report(
        schema_version=JSON_SCHEMA_VERSION,
        session=_head(session, final_mode),
        ticks=passed.ticks,
        error=passed.tally.distribution(),
        guard=_guard(settings, passed, trip_tick),
        trips=trips,
        mode_history=history,
        orders=orders(conn, session.session_id, trip_tick),
        money=money(conn, session),
        answers=Answers(ONE_SESSION, ONE_SESSION, "answered by `error`", "answered by `guard.ladder`"),
    )


def as_json(value: Any) -> Any:
    """Named tuples as objects, all the way down; keys are the field names."""
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {name: as_json(part) for name, part in value._asdict().items()}
    if isinstance(value, dict):
        return {key: as_json(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(part) for part in value]
    return value


def _one_pass(conn: apsw.Connection, session_id: int, settings: AnchorSaturationGuard | None) -> _Pass:
    tally = ErrorTally()
    replay = None if settings is None else GuardReplay(settings)
    recorded = 0
    earliest: Row | None = None
    latest: Row | None = None
    last_stored = _last_tick(conn, session_id)
    upto = -1 if last_stored is None else last_stored
    for page in session_pages(conn, "system_metrics", TICK_COLUMNS, session_id, upto):
        for tick, ts_ns, status, anchor_mode, error_bps, window_n, mean_bps, prevalence_pct in page:
            tally.observe(ts_ns, status, anchor_mode, error_bps)
            if replay is not None:
                replay.observe(tick, ts_ns, error_bps, window_n, mean_bps, prevalence_pct)
        if page:
            earliest, latest = earliest or page[0], page[-1]
            recorded += len(page)
    return _Pass(tally, replay, _ticks(recorded, earliest, latest))


def _ticks(recorded: int, earliest: Row | None, latest: Row | None) -> Ticks:
    if earliest is None or latest is None:
        return Ticks(0, None, None, 0, None)
    (first, first_ns, *_), (last, last_ns, *_) = earliest, latest
    duration_s = None if first_ns is None or last_ns is None else (last_ns - first_ns) / 1e9
    begins = None if first_ns is None else iso_utc(first_ns)
    return Ticks(recorded, first, last, max(0, last - recorded), duration_s, begins)


def _last_tick(conn: apsw.Connection, session_id: int) -> int | None:
    newest = "WHERE session_id = ? ORDER BY tick DESC LIMIT 1"
    found = rows(conn, "system_metrics", ("tick",), newest, (session_id,), needs=("session_id", "tick"))
    return next((int(tick) for (tick,) in found), None)


def _trips(conn: apsw.Connection, session_id: int) -> tuple[Trip, ...]:
    wanted = ("breaker", "triggered_at", "manual_reset_required", "cooldown_seconds", "context_json")
    trips = []
    for breaker, triggered_at, manual, cooldown_s, context_json in session_rows(
        conn, "circuit_breaker_events", wanted, session_id
    ):
        context = trip_context(context_json)
        tick = context.get("tick")
        known = tick if isinstance(tick, int) else None
        trips.append(Trip(breaker, known, triggered_at, manual, cooldown_s, context))
    return tuple(trips)


def _mode_history(conn: apsw.Connection, session_id: int) -> tuple[ModeChange, ...]:
    wanted = ("tick", "ts_ns", "from_mode", "to_mode", "signal", "reason")
    return tuple(
        ModeChange(tick, None if ts_ns is None else iso_utc(ts_ns), *rest)
        for tick, ts_ns, *rest in session_rows(conn, "mode_transitions", wanted, session_id)
    )


def _head(session: Session, final_mode: str | None) -> SessionHead:
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
        final_mode=final_mode,
        config_hash=session.config_hash,
        code_version=session.code_version,
    )


def _guard(settings: AnchorSaturationGuard | None, passed: _Pass, trip_tick: int | None) -> Guard:
    replay, ticks = passed.replay, passed.ticks.recorded
    if settings is None or replay is None:
        return Guard("thresholds not recorded" if ticks else "no data", recorded_trip_tick=trip_tick)
    # A trip is on record before its tick is: the row may be yet to come, or a crash may have taken it.
    recorded_trip = trip_tick if trip_tick is not None and trip_tick <= (passed.ticks.last or 0) else None
    ladder = replay.ladder()
    replayed_trip = ladder.both.tick if ladder.both is not None and settings.enabled else None
    comparable = replay.checked_ticks > 0 or recorded_trip is not None
    disagreement = replay.disagreement
    if disagreement is None and comparable and replayed_trip != recorded_trip:
        disagreement = Disagreement(recorded_trip or replayed_trip or 0, "trip tick", recorded_trip, replayed_trip)
    return Guard(
        state=_state(settings, replay, ticks, tripped=replayed_trip is not None),
        **settings.model_dump(),
        armed_ticks=replay.armed_ticks,
        armed_pct=100.0 * replay.armed_ticks / ticks if ticks else None,
        window_n=replay.window_n,
        window_resets=replay.window_resets,
        fidelity="mismatch" if disagreement else "ok" if comparable else "no recorded guard state",
        disagreement=disagreement,
        recorded_trip_tick=trip_tick,
        ladder=ladder,
    )


def _state(settings: AnchorSaturationGuard, replay: GuardReplay, ticks: int, *, tripped: bool) -> GuardState:
    if not ticks:
        return "no data"
    if not settings.enabled:
        return "disabled"
    if tripped:
        return "tripped"
    if not replay.armed_ticks:
        return "never armed"
    return "armed" if replay.window_n == settings.lookback_ticks else "not armed"
