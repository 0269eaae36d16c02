"""Which sessions are there, and which one does the reader mean?"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any, NamedTuple

import apsw

from shared.errors import NotEnoughData, UsageError
from telemetry_proc.reading import columns, count_of_session, rows

JSON_SCHEMA_VERSION = 1
RUNNING = "RUNNING"
_CANDIDATES_MAX = 8
_YEAR_DIGITS = 4  # a uid begins with its year; fewer digits are a session's number, never the beginning of a uid
_STAMPED = re.compile(r"[0-9]{8}T[0-9]{6}")
_PCT_ABOVE_KEY = "anchor.pct_error_above_5bps"

_NOT_RECORDED = "not recorded"
_HAS_INDEX_BY_SESSION = """
    SELECT 1 FROM pragma_index_list('system_metrics') AS each, pragma_index_xinfo(each.name) AS part
    WHERE part.seqno = 0 AND lower(part.name) = 'session_id' AND NOT each.partial
"""
# SQLite would answer DISTINCT by walking along the whole index.
_SKIPPING_FROM_SESSION_TO_SESSION = """
    WITH RECURSIVE numbers(number) AS (
        SELECT min(session_id) FROM system_metrics
        UNION ALL
        SELECT (SELECT min(session_id) FROM system_metrics WHERE session_id > number)
        FROM numbers WHERE number IS NOT NULL)
    SELECT number FROM numbers
"""
_LOOKING_AT_EVERY_TICK = "SELECT DISTINCT session_id FROM system_metrics ORDER BY session_id"
_COUNT_TICKS = """
    SELECT count(*),
           count(error_bps),
           count(guard_window_n),
           100.0 * sum(abs(error_bps) > 5.0) / nullif(count(error_bps), 0)
    FROM (SELECT {anchor_error_bps} AS error_bps, {guard_window_n} AS guard_window_n
          FROM system_metrics WHERE session_id = ?)
"""


class Session(NamedTuple):
    """A row of `sessions`, field for column. None: not recorded, or not over yet."""

    session_id: int
    session_uid: str | None = None
    venue_mode: str | None = None
    pair: str | None = None
    started_ns: int | None = None
    ended_ns: int | None = None
    started_at: str | None = None
    ended_at: str | None = None
    initial_mode: str | None = None
    final_mode: str | None = None
    status: str | None = None
    end_reason: str | None = None
    config_hash: str | None = None
    config_json: str | None = None
    code_version: str | None = None
    ticks: int | None = None
    null_error_ticks: int | None = None
    fills: int | None = None
    orders_submitted: int | None = None
    orders_denied: int | None = None
    breaker_trips: int | None = None
    orders_surviving: int | None = None


_WHOLE = (
    "started_ns", "ended_ns", "ticks", "null_error_ticks", "fills", "orders_submitted", "orders_denied",
    "breaker_trips", "orders_surviving",
)  # fmt: skip


class SessionLine(NamedTuple):
    """One line of the session list. Percentages are of all ticks (nulls) and of all errors (above 5 bps).

    `errors_recorded` is false for a session whose rows have neither errors nor a guard's window: an older engine wrote
    them. Its percentages are None, which says nothing about its market. A session whose every error was missing is
    another matter: its `null_pct` is 100. `breaker_trips` is None where none could have been put on record.
    """

    session: int
    uid: str | None
    status: str | None
    venue_mode: str | None
    started_at: str | None
    ended_at: str | None
    ticks: int
    null_pct: float | None
    breaker_trips: int | None
    error_above_5bps_pct: float | None
    config_hash: str | None
    errors_recorded: bool


def all_sessions(conn: apsw.Connection) -> list[Session]:
    """Every session, oldest number first."""
    numbered = "WHERE session_id IS NOT NULL ORDER BY session_id"
    found = rows(conn, "sessions", Session._fields, numbered, needs=("session_id",))
    return [_of_its_types(Session(*row)) for row in found]


def pick(conn: apsw.Connection, wanted: str) -> Session:
    """The session that a person means by its number, the beginning of its uid, or `latest`.

    The latest is the one that started last: a backfill may number older sessions after newer ones. A number may also
    be one that only ticks speak of; where no session has a row, `latest` is the highest such number.

    Raises `UsageError` when nothing or more than one thing is meant, `NotEnoughData` when there is no session at all.
    """
    listed = all_sessions(conn)
    sessions = listed if any(str(one.session_id) == wanted for one in listed) else _with_unlisted(conn, listed, wanted)
    if not sessions:
        raise NotEnoughData("no sessions in this database yet")
    if wanted == "latest":
        return pick_latest(sessions)
    for session in sessions:
        if str(session.session_id) == wanted:
            return session
    names_none = not wanted or (wanted.isdecimal() and len(wanted) < _YEAR_DIGITS)
    matches = [] if names_none else [one for one in sessions if (one.session_uid or "").startswith(wanted)]
    exact = [session for session in matches if session.session_uid == wanted]
    if len(exact or matches) == 1:
        return (exact or matches)[0]
    if not matches:
        last = pick_latest(sessions)
        raise UsageError(
            f"no session {wanted!r}; there are {len(sessions)}, the latest is {last.session_id} ({last.session_uid})"
        )
    candidates = ", ".join(f"{session.session_id} ({session.session_uid})" for session in matches[:_CANDIDATES_MAX])
    more = f" and {len(matches) - _CANDIDATES_MAX} more" if len(matches) > _CANDIDATES_MAX else ""
    raise UsageError(f"session {wanted!r} is ambiguous: {candidates}{more}")


def unlisted_sessions(conn: apsw.Connection, listed: Collection[Session]) -> list[Session]:
    """Sessions that ticks speak of and `sessions` has no row for: whoever stored the ticks was not Kedge's writer."""
    if not {"session_id", "tick"} <= set(columns(conn, "system_metrics")):
        return []
    is_indexed = bool(conn.execute(_HAS_INDEX_BY_SESSION).fetchall())
    found = conn.execute(_SKIPPING_FROM_SESSION_TO_SESSION) if is_indexed else conn.execute(_LOOKING_AT_EVERY_TICK)
    known = {session.session_id for session in listed}
    return [Session(number) for (number,) in found if isinstance(number, int) and number not in known]


def began_ns(session: Session) -> int | None:
    """When a session began, by the wall clock, UTC where it does not say otherwise; by the market's clock where that is
    not on record. A simulated market begins on the same day again and again; the sessions on it do not.
    """
    try:
        stamp = datetime.fromisoformat(session.started_at or "")
    except ValueError:
        return session.started_ns
    return round((stamp if stamp.tzinfo else stamp.replace(tzinfo=UTC)).timestamp() * 1e9)


def pick_latest(sessions: list[Session]) -> Session:
    """The one that started last; the list must not be empty.

    A uid begins with the time of its start and sorts after every session before it, also where the wall clock was set
    back meanwhile; sessions of an older engine have none and are placed by what the clock said.
    """
    return max(sessions, key=lambda session: (_stamp(session), session.session_id))


def _with_unlisted(conn: apsw.Connection, listed: list[Session], wanted: str) -> list[Session]:
    if listed and not wanted.isdecimal():
        return listed
    return [*listed, *(one for one in unlisted_sessions(conn, listed) if not listed or str(one.session_id) == wanted)]


def _stamp(session: Session) -> str:
    uid, said = session.session_uid or "", session.started_at or ""
    return uid if _STAMPED.match(uid) else re.sub("[-:.Z]", "", said)


def session_lines(conn: apsw.Connection) -> list[SessionLine]:
    """Every session with its totals; those of a session that did not close in order are counted from its rows."""
    return [_line(conn, session) for session in all_sessions(conn)]


def sessions_json(lines: list[SessionLine]) -> dict[str, Any]:
    """`{schema_version, sessions: [SessionLine ...]}`."""
    return {"schema_version": JSON_SCHEMA_VERSION, "sessions": [line._asdict() for line in lines]}


def sessions_text(lines: list[SessionLine]) -> list[str]:
    """A table for people."""
    if not lines:
        return ["No sessions recorded."]
    head = ("session", "uid", "status", "started", "ticks", "null %", "trips", ">5 bps %", "config")
    body = [
        (
            str(line.session),
            line.uid or "-",
            line.status or "-",
            (line.started_at or "-")[:19],
            f"{line.ticks:,}",
            _pct(line.null_pct) if line.errors_recorded else _NOT_RECORDED,
            _NOT_RECORDED if line.breaker_trips is None else str(line.breaker_trips),
            _pct(line.error_above_5bps_pct) if line.errors_recorded else _NOT_RECORDED,
            (line.config_hash or "-")[:8],
        )
        for line in lines
    ]
    widths = [max(len(row[at]) for row in (head, *body)) for at in range(len(head))]
    text_columns = {1, 2, 3, 8}
    return [
        "  ".join(
            cell.ljust(width) if at in text_columns else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (head, *body)
    ]


def _of_its_types(session: Session) -> Session:
    """SQLite stores anything in any column, and an older engine may have stamped its sessions with numbers."""
    said = session._asdict()
    times = {name: at if (at := said[name]) is None else str(at) for name in ("started_at", "ended_at")}
    numbers = {name: value if type(value := said[name]) is int else None for name in _WHOLE}
    return Session(**said | times | numbers)


class _Measured(NamedTuple):
    """What the ticks of a session say of the anchor error."""

    ticks: int
    nulls: int
    above_pct: float | None
    recorded: bool


def _line(conn: apsw.Connection, session: Session) -> SessionLine:
    ticks, nulls, above_pct, recorded = _measured(conn, session)
    return SessionLine(
        session=session.session_id,
        uid=session.session_uid,
        status=session.status,
        venue_mode=session.venue_mode,
        started_at=session.started_at,
        ended_at=session.ended_at,
        ticks=ticks,
        null_pct=100.0 * nulls / ticks if ticks and recorded else None,
        breaker_trips=_trips(conn, session, errors_recorded=recorded),
        error_above_5bps_pct=above_pct,
        config_hash=session.config_hash,
        errors_recorded=recorded,
    )


def _measured(conn: apsw.Connection, session: Session) -> _Measured:
    """As the session stated it at its close; counted from its ticks where it did not."""
    ticks, nulls, above_pct = session.ticks, session.null_error_ticks, _stated_pct_above(conn, session.session_id)
    if ticks is not None and nulls is not None and (above_pct is not None or ticks == nulls):
        return _Measured(ticks, nulls, above_pct, recorded=True)
    present = columns(conn, "system_metrics")
    if "session_id" not in present:
        return _Measured(0, 0, None, recorded=session.session_uid is not None)
    known = {name: name if name in present else "NULL" for name in ("anchor_error_bps", "guard_window_n")}
    counted = next(iter(conn.execute(_COUNT_TICKS.format(**known), (session.session_id,))))
    ticks, errors, windows, above_pct = counted
    recorded = bool(errors or windows) if ticks else session.session_uid is not None
    return _Measured(ticks, ticks - errors, above_pct, recorded)


def _trips(conn: apsw.Connection, session: Session, *, errors_recorded: bool) -> int | None:
    """None for a session that an older engine left: its breakers did not say whose they were."""
    if session.breaker_trips is not None:
        return session.breaker_trips
    found = count_of_session(conn, "circuit_breaker_events", session.session_id)
    return found if found or errors_recorded or session.session_uid is not None else None


def _stated_pct_above(conn: apsw.Connection, session_id: int) -> float | None:
    """The share the session stated at its close, if it did."""
    stated = rows(
        conn,
        "session_state",
        ("value",),
        "WHERE session_id = ? AND key = ?",
        (session_id, _PCT_ABOVE_KEY),
        needs=("session_id", "key", "value"),
    )
    for (value,) in stated:
        try:
            return float(json.loads(value))
        except (TypeError, ValueError):
            return None
    return None


def _pct(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
