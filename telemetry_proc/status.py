"""Is the record being kept, and how far behind is it?

`--json`: one object, the fields of `Status` with `schema_version`. Ages are by the machine's wall clock. A tick's own
time is the market's: on a tape, a simulation or a replay its age says when the market was, not when the tick ran;
`database.last_write_age_s` says that.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import apsw

from shared.clock import iso_utc
from shared.errors import JournalCorrupt
from shared.journal import HEADER, SUFFIX, Frame, journal_path, read_frames
from telemetry_proc.lock import holder, is_held
from telemetry_proc.reading import columns, rows
from telemetry_proc.sessions import JSON_SCHEMA_VERSION, RUNNING, all_sessions
from telemetry_proc.wording import count, duration

LAG_BYTES_COUNTED_MAX = 16 * 1024 * 1024
ROW_TABLES = (
    "sessions",
    "system_metrics",
    "circuit_breaker_events",
    "mode_transitions",
    "fills",
    "order_events",
    "inventory_truth_snapshots",
    "reconciler_anomaly_log",
    "telemetry_rejects",
)

_OFFSET = ("session_uid", "next_seq", "journal_position")
_GAPS = "WHERE filled = 0 ORDER BY session_uid, first_seq"
_REJECTS = "SELECT reason, count(*) FROM telemetry_rejects GROUP BY reason ORDER BY count(*) DESC, reason"


class DatabaseFile(NamedTuple):
    """The file itself. `wal_bytes` is None when there is no write-ahead log beside it."""

    path: str
    bytes: int
    wal_bytes: int | None
    last_write_age_s: float


class WriterState(NamedTuple):
    """Whether a writer holds the database, and what it says of itself. `alive` is None when that cannot be told."""

    alive: bool | None
    holder: str | None


class LastTick(NamedTuple):
    """The newest tick of the session that was numbered last."""

    session: int
    tick: int
    ts_ns: int | None
    time: str | None
    age_s: float | None
    mode: str | None


class Lag(NamedTuple):
    """How far the database is behind one session's journal. None: cannot be known from here."""

    session_uid: str
    next_seq: int
    journal_bytes: int | None
    bytes_behind: int | None
    records_behind: int | None


class Gap(NamedTuple):
    """Records that neither socket nor journal had, and that no backfill has found since."""

    session_uid: str
    missing_from: int | None
    last_seq: int
    reason: str | None


class Status(NamedTuple):
    """Everything `status` says."""

    schema_version: int
    database: DatabaseFile
    writer: WriterState
    running_sessions: list[int]
    last_tick: LastTick | None
    last_mode: str | None
    rows: dict[str, int]
    lag: list[Lag]
    gaps_unfilled: list[Gap]
    rejects_by_reason: dict[str, int]


def writer_state(database: Path) -> WriterState:
    """Who holds the database. Without a note of a holder the lock is not touched, so no writer finds it taken by us."""
    said = holder(database)
    if said is None:
        return WriterState(alive=False, holder=None)
    try:
        return WriterState(is_held(database), str(said))
    except OSError:
        return WriterState(alive=None, holder=str(said))


def read_status(
    conn: apsw.Connection, database: Path, journal_dir: Path | None, writer: WriterState, wall_ns: int
) -> Status:
    """Look at the database and, where there is one, at the journal directory."""
    sessions = all_sessions(conn)
    last_tick = _last_tick(conn, wall_ns)
    return Status(
        schema_version=JSON_SCHEMA_VERSION,
        database=_file(database, wall_ns),
        writer=writer,
        running_sessions=[session.session_id for session in sessions if session.status == RUNNING],
        last_tick=last_tick,
        last_mode=last_tick.mode if last_tick else next((one.initial_mode for one in reversed(sessions)), None),
        rows={table: number for table in ROW_TABLES if (number := _count(conn, table)) is not None},
        lag=list(lags(conn, journal_dir)),
        gaps_unfilled=[Gap(*row) for row in rows(conn, "telemetry_gaps", Gap._fields, _GAPS, needs=("filled",))],
        rejects_by_reason=dict(iter(conn.execute(_REJECTS))) if columns(conn, "telemetry_rejects") else {},
    )


def lags(conn: apsw.Connection, journal_dir: Path | None) -> Iterator[Lag]:
    """Every session that is known to the database or has a journal, with what is not stored of it yet."""
    offsets = {uid: (next_seq, position) for uid, next_seq, position in rows(conn, "telemetry_offsets", _OFFSET)}
    journals = sorted(journal_dir.glob(f"*{SUFFIX}")) if journal_dir is not None and journal_dir.is_dir() else []
    by_uid = {path.stem: path for path in journals}
    for uid in (*offsets, *(uid for uid in by_uid if uid not in offsets)):
        next_seq, position = offsets.get(uid, (0, len(HEADER)))
        yield _lag(uid, next_seq, position, by_uid.get(uid))


def lag_of(conn: apsw.Connection, journal_dir: Path, session_uid: str) -> Lag:
    """The same for one session."""
    found = rows(conn, "telemetry_offsets", _OFFSET, "WHERE session_uid = ?", (session_uid,), needs=("session_uid",))
    _, next_seq, position = next(found, (session_uid, 0, len(HEADER)))
    journal = journal_path(journal_dir, session_uid)
    return _lag(session_uid, next_seq, position, journal if journal.exists() else None)


def status_lines(status: Status) -> list[str]:
    """The same for people."""
    database, tick = status.database, status.last_tick
    wal = "" if database.wal_bytes is None else f" + {database.wal_bytes:,} in the log"
    lines = [
        f"database  {database.path}, {database.bytes:,} bytes{wal}, last written {_ago(database.last_write_age_s)}",
        f"writer    {_writer(status.writer)}",
        f"running   {_numbers(status.running_sessions)}",
        "last tick " + ("none stored" if tick is None else _tick_line(tick)),
        f"mode      {status.last_mode or 'not recorded'}",
        *(f"rows      {number:>12,}  {table}" for table, number in status.rows.items()),
    ]
    behind = [lag for lag in status.lag if lag.bytes_behind != 0]
    caught_up = len(status.lag) - len(behind)
    lines.append(f"journals  {count(caught_up, 'session')} wholly stored, {count(len(behind))} behind or not known")
    lines += [f"          {lag.session_uid}: {_behind(lag)}" for lag in behind]
    lines += [
        f"GAP       {gap.session_uid}: records {count(gap.missing_from)} to {gap.last_seq:,}: {gap.reason or '?'}"
        for gap in status.gaps_unfilled
    ]
    lines += [f"REJECTS   {number:,} x {reason}" for reason, number in status.rejects_by_reason.items()]
    return lines


def _file(database: Path, wall_ns: int) -> DatabaseFile:
    wal = database.with_name(database.name + "-wal")
    facts = database.stat()
    wal_facts = wal.stat() if wal.exists() else None
    written_ns = max(facts.st_mtime_ns, wal_facts.st_mtime_ns if wal_facts else 0)
    age_s = max(0.0, (wall_ns - written_ns) / 1e9)
    return DatabaseFile(str(database), facts.st_size, wal_facts.st_size if wal_facts else None, age_s)


def _last_tick(conn: apsw.Connection, wall_ns: int) -> LastTick | None:
    newest = "WHERE session_id IS NOT NULL ORDER BY session_id DESC, tick DESC LIMIT 1"
    wanted = ("session_id", "tick", "ts_ns", "mode")
    for session_id, tick, ts_ns, mode in rows(conn, "system_metrics", wanted, newest, needs=("session_id", "tick")):
        time, age_s = (None, None) if ts_ns is None else (iso_utc(ts_ns), (wall_ns - ts_ns) / 1e9)
        return LastTick(session_id, tick, ts_ns, time, age_s, mode)
    return None


def _count(conn: apsw.Connection, table: str) -> int | None:
    if not columns(conn, table):
        return None
    return int(next(iter(conn.execute(f"SELECT count(*) FROM {table}")))[0])  # noqa: S608 - a name from ROW_TABLES


def _lag(uid: str, next_seq: int, position: int | None, journal: Path | None) -> Lag:
    if journal is None:
        return Lag(uid, next_seq, None, None, None)
    size = journal.stat().st_size
    if position is None:
        return Lag(uid, next_seq, size, None, None)
    behind = max(0, size - position)
    return Lag(uid, next_seq, size, behind, _records_from(journal, position) if behind else 0)


def _records_from(journal: Path, position: int) -> int | None:
    """How many whole records stand behind a position; None if that cannot be told, or not quickly."""
    if journal.stat().st_size - position > LAG_BYTES_COUNTED_MAX:
        return None
    try:
        return sum(isinstance(item, Frame) for item in read_frames(journal, position))
    except (OSError, JournalCorrupt):
        return None


def _tick_line(tick: LastTick) -> str:
    when = "time not recorded" if tick.time is None else f"{tick.time} by the market's clock"
    return f"{tick.tick:,} of session {tick.session}, {when}"


def _writer(writer: WriterState) -> str:
    if writer.alive is None:
        return "not known: its lock cannot be read"
    return f"alive: {writer.holder}" if writer.alive else "not running"


def _ago(age_s: float | None) -> str:
    if age_s is None:
        return "age not known"
    return f"{duration(age_s)} ago" if age_s >= 0 else f"{duration(-age_s)} ahead of the wall clock"


def _behind(lag: Lag) -> str:
    if lag.bytes_behind is None:
        return f"stored up to record {lag.next_seq:,}, its journal is not here or its place not known"
    records = "records not counted" if lag.records_behind is None else count(lag.records_behind, "record")
    return f"{records}, {lag.bytes_behind:,} bytes behind"


def _numbers(sessions: list[int]) -> str:
    return ", ".join(f"session {number}" for number in sessions) or "no session"
