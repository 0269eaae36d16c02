"""Which sessions are there, and which one does the reader mean?"""

from __future__ import annotations

import json
import re
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

_COUNT_TICKS = """
    SELECT count(*),
           sum(anchor_error_bps IS NULL),
           100.0 * sum(abs(anchor_error_bps) > 5.0) / nullif(count(anchor_error_bps), 0)
    FROM system_metrics WHERE session_id = ?
"""
_COUNT_TICKS_WITHOUT_ERRORS = "SELECT count(*), count(*), NULL FROM system_metrics WHERE session_id = ?"


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


class SessionLine(NamedTuple):
    """One line of the session list. Percentages are of all ticks (nulls) and of all errors (above 5 bps)."""

    session: int
    uid: str | None
    status: str | None
    venue_mode: str | None
    started_at: str | None
    ended_at: str | None
    ticks: int
    null_pct: float | None
    breaker_trips: int
    error_above_5bps_pct: float | None
    config_hash: str | None


def all_sessions(conn: apsw.Connection) -> list[Session]:
    """Every session, oldest number first."""
    numbered = "WHERE session_id IS NOT NULL ORDER BY session_id"
    found = rows(conn, "sessions", Session._fields, numbered, needs=("session_id",))
    return [_with_times_as_text(Session(*row)) for row in found]


def pick(conn: apsw.Connection, wanted: str) -> Session:
    """The session that a person means by its number, the beginning of its uid, or `latest`.

    The latest is the one that started last: a backfill may number older sessions after newer ones.

    Raises `UsageError` when nothing or more than one thing is meant, `NotEnoughData` when there is no session at all.
    """
    sessions = all_sessions(conn)
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


def pick_latest(sessions: list[Session]) -> Session:
    """The one that started last; the list must not be empty.

    A uid begins with the time of its start and sorts after every session before it, also where the wall clock was set
    back meanwhile; sessions of an older engine have none and are placed by what the clock said.
    """
    return max(sessions, key=lambda session: (_stamp(session), session.session_id))


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
            _pct(line.null_pct),
            str(line.breaker_trips),
            _pct(line.error_above_5bps_pct),
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


def _with_times_as_text(session: Session) -> Session:
    """An older engine may have stamped its sessions with numbers."""
    started, ended = (None if at is None else str(at) for at in (session.started_at, session.ended_at))
    return session._replace(started_at=started, ended_at=ended)


def _line(conn: apsw.Connection, session: Session) -> SessionLine:
    ticks, nulls, above_pct = session.ticks, session.null_error_ticks, _stated_pct_above(conn, session.session_id)
    if ticks is None or nulls is None or (above_pct is None and ticks > nulls):
        ticks, nulls, above_pct = _counted(conn, session.session_id)
    trips = session.breaker_trips
    return SessionLine(
        session=session.session_id,
        uid=session.session_uid,
        status=session.status,
        venue_mode=session.venue_mode,
        started_at=session.started_at,
        ended_at=session.ended_at,
        ticks=ticks,
        null_pct=100.0 * nulls / ticks if ticks else None,
        breaker_trips=count_of_session(conn, "circuit_breaker_events", session.session_id) if trips is None else trips,
        error_above_5bps_pct=above_pct,
        config_hash=session.config_hash,
    )


def _counted(conn: apsw.Connection, session_id: int) -> tuple[int, int, float | None]:
    present = columns(conn, "system_metrics")
    if "session_id" not in present:
        return 0, 0, None
    sql = _COUNT_TICKS if "anchor_error_bps" in present else _COUNT_TICKS_WITHOUT_ERRORS
    ticks, nulls, above_pct = next(iter(conn.execute(sql, (session_id,))))
    return ticks, nulls or 0, above_pct


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
