"""Follow a session while it runs, from the database alone, in a process of its own that nothing waits for.

Each look at the database is one short read of one state: the tick it shows, the mode changes and the trips belong
together. The file is opened anew for each look, so it may appear, or be replaced, while somebody is watching.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

import apsw

from shared.clock import Clock
from shared.errors import KedgeError
from telemetry_proc.guard_record import GUARD, trip_context
from telemetry_proc.reading import count_of_session, reading, rows, snapshot
from telemetry_proc.sessions import RUNNING, Session, all_sessions
from telemetry_proc.status import lag_of

ERRORS_SHOWN = 60
ENDED = "ENDED"
CRASHED = "CRASHED"

_NEWEST_TICK = "WHERE session_id = ? ORDER BY tick DESC LIMIT 1"
_RECENT_ERRORS = "WHERE session_id = ? ORDER BY tick DESC LIMIT ?"
_NEW_MODES = "WHERE session_id = ? AND seq > ? ORDER BY seq"
_NEW_TRIPS = "WHERE session_id = ? AND id > ? ORDER BY id"


class TickSeen(NamedTuple):
    """The newest tick, as far as the view shows it."""

    tick: int
    mode: str | None
    market_status: str | None
    mid: float | None
    anchor_error_bps: float | None
    guard_window_n: int | None
    guard_mean_bps: float | None
    guard_prevalence_pct: float | None
    bid_price: float | None
    ask_price: float | None
    no_quote_reason_bid: str | None
    no_quote_reason_ask: str | None
    open_orders: int | None


class Happening(NamedTuple):
    """A mode change or a trip: shown once, as it happens."""

    tick: int | None
    mode: str | None
    text: str


class Look(NamedTuple):
    """One look: the session, its newest tick, what is new since the look before."""

    session: Session
    tick: TickSeen | None
    fills: int
    records_behind: int | None
    happenings: tuple[Happening, ...]
    recent_errors_bps: tuple[float | None, ...]  # oldest first


class Screen(Protocol):
    """Where the looks go: a terminal that is redrawn, or plain lines."""

    def waiting(self, text: str) -> None:
        """There is nothing to look at yet."""

    def show(self, look: Look) -> None:
        """A new look."""


class Cursor:
    """Which session is followed and what of it has been shown. With `until_closed` it is settled which one to await.

    That is the newest session that ran when the watch began or else the first to appear after; should it crash, its
    successor. Without it, whatever session is the newest.
    """

    def __init__(self, *, until_closed: bool) -> None:
        self._until_closed = until_closed
        self._session_id: int | None = None
        self._seen_before: int | None = None  # sessions up to this number were there before and are not ours
        self._mode_seq = -1
        self._trip_id = -1

    def look(self, conn: apsw.Connection, journal_dir: Path | None) -> Look | None:
        """Read what is new; None while there is no session to follow."""
        with snapshot(conn):
            sessions = all_sessions(conn)
            session = self._choose(sessions)
            if session is None:
                return None
            tick = _newest_tick(conn, session.session_id)
            happenings = (*self._new_trips(conn, session.session_id), *self._new_modes(conn, session.session_id))
            fills = count_of_session(conn, "fills", session.session_id)
            errors = _recent_errors(conn, session.session_id)
        behind = None
        if journal_dir is not None and session.session_uid is not None:
            behind = lag_of(conn, journal_dir, session.session_uid).records_behind
        ordered = tuple(sorted(happenings, key=lambda happening: happening.tick or 0))
        return Look(session, tick, fills, behind, ordered, errors)

    def began_without_database(self) -> None:
        """There was no database when the watch began, so every session that will be in it is new."""
        self._seen_before = 0 if self._seen_before is None else self._seen_before

    def move_on(self) -> None:
        """The session crashed: await its successor."""
        self._seen_before, self._session_id = self._session_id, None

    def _choose(self, sessions: list[Session]) -> Session | None:
        newest = sessions[-1] if sessions else None
        if not self._until_closed:
            self._follow(newest)
            return newest
        if self._seen_before is None:
            running = [session.session_id for session in sessions if session.status == RUNNING]
            self._seen_before = newest.session_id if newest else 0
            if running:
                self._seen_before = running[-1] - 1
        if self._session_id is None:
            self._follow(next((one for one in sessions if one.session_id > (self._seen_before or 0)), None))
        return next((one for one in sessions if one.session_id == self._session_id), None)

    def _follow(self, session: Session | None) -> None:
        if session is not None and session.session_id != self._session_id:
            self._session_id = session.session_id
            self._mode_seq = self._trip_id = -1

    def _new_modes(self, conn: apsw.Connection, session_id: int) -> Iterator[Happening]:
        wanted = ("seq", "tick", "from_mode", "to_mode", "reason")
        found = rows(conn, "mode_transitions", wanted, _NEW_MODES, (session_id, self._mode_seq), needs=("seq",))
        for seq, tick, from_mode, to_mode, reason in found:
            self._mode_seq = seq
            yield Happening(tick, to_mode, f"{from_mode} -> {to_mode}: {reason}")

    def _new_trips(self, conn: apsw.Connection, session_id: int) -> Iterator[Happening]:
        wanted = ("id", "breaker", "context_json")
        needs = ("id", "session_id")
        found = rows(conn, "circuit_breaker_events", wanted, _NEW_TRIPS, (session_id, self._trip_id), needs=needs)
        for event_id, breaker, context_json in found:
            self._trip_id = event_id
            yield _trip(breaker, context_json)


def watch(
    database: Path,
    journal_dir: Path | None,
    screen: Screen,
    *,
    clock: Clock,
    wait: Callable[[float], object],
    interval_s: float,
    until_closed: bool,
    timeout_s: float | None,
) -> None:
    """Show looks until the awaited session has ended; without `until_closed`, until interrupted.

    Raises `KedgeError` when `timeout_s` has passed first, `DatabaseUnusable` when the file is there and unreadable.
    """
    began_ns = clock.monotonic_ns()
    cursor = Cursor(until_closed=until_closed)
    while True:
        look = None
        if database.exists():
            with reading(database) as conn:
                look = cursor.look(conn, journal_dir)
        else:
            cursor.began_without_database()
        if look is None:
            screen.waiting(f"waiting for a session in {database}")
        else:
            screen.show(look)
            if until_closed and look.session.status == ENDED:
                return
            if until_closed and look.session.status == CRASHED:
                cursor.move_on()
        if timeout_s is not None and (clock.monotonic_ns() - began_ns) / 1e9 >= timeout_s:
            raise KedgeError(_timed_out(database, look, timeout_s))
        wait(interval_s)


def _timed_out(database: Path, look: Look | None, timeout_s: float) -> str:
    if look is None:
        return f"{database}: no session to watch appeared within {timeout_s:g} s"
    at = "without a tick" if look.tick is None else f"at tick {look.tick.tick:,}, {look.tick.mode}"
    session = f"session {look.session.session_id} is {look.session.status} {at}"
    return f"{database}: stopped watching after {timeout_s:g} s; {session}"


def _newest_tick(conn: apsw.Connection, session_id: int) -> TickSeen | None:
    needs = ("session_id", "tick")
    found = rows(conn, "system_metrics", TickSeen._fields, _NEWEST_TICK, (session_id,), needs=needs)
    return next((TickSeen(*row) for row in found), None)


def _recent_errors(conn: apsw.Connection, session_id: int) -> tuple[float | None, ...]:
    needs = ("session_id", "tick")
    wanted = ("anchor_error_bps",)
    found = rows(conn, "system_metrics", wanted, _RECENT_ERRORS, (session_id, ERRORS_SHOWN), needs=needs)
    return tuple(error for (error,) in found)[::-1]


def _trip(breaker: str, context_json: str | None) -> Happening:
    context = trip_context(context_json)
    tick = context.get("tick")
    known = tick if isinstance(tick, int) else None
    if breaker != GUARD:
        return Happening(known, "DEGRADED", f"[BREAKER] {breaker}")
    try:
        numbers = (
            f"mean={context['mean_error_bps']:+.2f}bps prevalence={context['prevalence_pct']:.1f}% "
            f"over {context['lookback_ticks']} ticks"
        )
    except (KeyError, TypeError, ValueError):
        numbers = "its context is not on record"
    return Happening(known, "DEGRADED", f"[ANCHOR_SAT] {numbers}")
