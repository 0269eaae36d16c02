"""The SQL that stores each kind of record, built once from the tables, and the rows that go into it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import apsw

from shared.clock import iso_utc
from shared.records import KIND_OF, BreakerEvent, EngineState, Record, SessionClosed, SessionOpened
from telemetry_proc.tables import CLOSED_AS, OPENED_AS, TABLE_OF, session_fields
from telemetry_proc.validate import Fact

Row = Sequence[Any]


class Statement(NamedTuple):
    """How a kind of record is stored: the SQL, and its bindings from a session's number and a record."""

    sql: str
    row: Callable[[int, Fact], Row]


def find_session(conn: apsw.Connection, session_uid: str) -> int | None:
    """The number of a session, None if it has no row."""
    row = conn.execute("SELECT session_id FROM sessions WHERE session_uid = ?", (session_uid,)).fetchone()
    return None if row is None else row[0]


def insert_session(conn: apsw.Connection, session_uid: str) -> int:
    """A new session as a stub: the row is there for others to refer to, its session_opened fills it in.

    In an older table `session_id` may be a plain column, and columns that our stub leaves open may be NOT NULL.
    """
    opened = {column.name for column in session_fields(SessionOpened, OPENED_AS, "")}
    needed = [
        name for (name,) in conn.execute("""SELECT name FROM pragma_table_info('sessions') WHERE "notnull" """)
        if str(name).lower() in opened
    ]  # fmt: skip
    named = conn.execute("SELECT EXISTS(SELECT 1 FROM sessions WHERE crashed_uid = ?)", (session_uid,)).get
    columns = ", ".join(["session_uid", "status", *needed])
    values = ", ".join(["?", "'CRASHED'" if named else "'RUNNING'", *("'unknown'" for _ in needed)])
    conn.execute(f"INSERT INTO sessions({columns}) VALUES ({values})", (session_uid,))  # noqa: S608 - our own names
    conn.execute("UPDATE sessions SET session_id = rowid WHERE session_uid = ? AND session_id IS NULL", (session_uid,))
    session_id = find_session(conn, session_uid)
    assert session_id is not None
    return session_id


def mark_crashed(conn: apsw.Connection, session_uid: str) -> None:
    """A later session of the same engine found this one without an end. One that has said its end has not crashed.

    Its own records may come after this, e.g. by a backfill; then it is `insert_session` that finds it named.
    """
    conn.execute("UPDATE sessions SET status = 'CRASHED' WHERE session_uid = ? AND status = 'RUNNING'", (session_uid,))


def restate(conn: apsw.Connection, key: str) -> None:
    """Let `engine_state` show a key as the session that started last stated it, in whatever order sessions arrive.

    An older table may have no unique key: the row is updated, and inserted only where there is none.
    """
    latest = conn.execute(
        "SELECT value, ts_ns, session_id FROM session_state JOIN sessions USING (session_id) WHERE key = ?"
        " ORDER BY session_uid DESC, session_id DESC LIMIT 1",  # it sorts by start, also after a clock was set back
        (key,),
    ).fetchone()
    if latest is None:  # the table refused the statement
        return
    value, ts_ns, session_id = latest
    stated = {"key": key, "value": value, "updated_at": iso_utc(ts_ns), "session_id": session_id}
    conn.execute(
        "UPDATE engine_state SET value = :value, updated_at = :updated_at, session_id = :session_id WHERE key = :key",
        stated,
    )
    conn.execute(
        "INSERT INTO engine_state(key, value, updated_at, session_id) SELECT :key, :value, :updated_at, :session_id"
        " WHERE NOT EXISTS (SELECT 1 FROM engine_state WHERE key = :key)",
        stated,
    )


def _insert(record_type: type[Record], table: str) -> Statement:
    columns = ("session_id", "seq", *record_type._fields)
    marks = ", ".join("?" * len(columns))
    return Statement(
        f"INSERT INTO {table}({', '.join(columns)}) VALUES ({marks})",  # noqa: S608 - our own names
        lambda session_id, fact: (session_id, fact.seq, *fact.fields),
    )


def _update_session(record_type: type[Record], renamed: dict[str, str], status: str) -> Statement:
    settings = ", ".join(f"{column.name} = ?" for column in session_fields(record_type, renamed, "")) + status
    wall = record_type._fields.index("wall_ns")
    return Statement(
        f"UPDATE sessions SET {settings} WHERE session_id = ?",  # noqa: S608 - our own names
        lambda session_id, fact: (
            *fact.fields[:wall], iso_utc(fact.fields[wall]), *fact.fields[wall + 1 :], session_id,
        ),
    )  # fmt: skip


def _breaker_row(session_id: int, fact: Fact) -> Row:
    event = BreakerEvent(*fact.fields)
    return (
        iso_utc(event.wall_ns), event.breaker, iso_utc(event.ts_ns), event.cooldown_seconds,
        event.manual_reset_required, event.context_json, session_id,
    )  # fmt: skip


def _state_row(session_id: int, fact: Fact) -> Row:
    state = EngineState(*fact.fields)
    return session_id, state.key, fact.seq, state.value, state.ts_ns


STATEMENTS: dict[str, Statement] = {
    KIND_OF[SessionOpened]: _update_session(SessionOpened, OPENED_AS, ""),
    **{KIND_OF[record_type]: _insert(record_type, table) for record_type, table in TABLE_OF.items()},
    KIND_OF[BreakerEvent]: Statement(
        "INSERT INTO circuit_breaker_events(created_at, breaker, triggered_at, cooldown_seconds,"
        " manual_reset_required, context_json, session_id) VALUES (?, ?, ?, ?, ?, ?, ?)",
        _breaker_row,
    ),
    KIND_OF[EngineState]: Statement(
        "INSERT INTO session_state(session_id, key, seq, value, ts_ns) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT(session_id, key) DO UPDATE SET seq = excluded.seq, value = excluded.value, ts_ns = excluded.ts_ns"
        " WHERE excluded.seq > session_state.seq",  # a gap that is filled later does not undo what followed it
        _state_row,
    ),
    KIND_OF[SessionClosed]: _update_session(SessionClosed, CLOSED_AS, ", status = 'ENDED'"),
}
