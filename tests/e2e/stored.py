"""What must stand in a database, said by the journals alone, and how far a real database differs from that.

The rows of every kind of record are built here a second time, from the journal and the documented columns. Nothing of
the writer's own code is asked what it would have written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import apsw

from shared.clock import iso_utc
from shared.codec import read_record
from shared.journal import Frame, read_frames
from shared.records import (
    KINDS,
    BreakerEvent,
    EngineState,
    FillRecord,
    InventoryTruth,
    ModeChanged,
    OrderEvent,
    ReconcilerAnomaly,
    Record,
    SessionClosed,
    SessionOpened,
    TickRecord,
    fields_of,
)

Row = tuple[Any, ...]

NUMBERED: dict[type[Record], str] = {
    TickRecord: "system_metrics",
    ModeChanged: "mode_transitions",
    OrderEvent: "order_events",
    FillRecord: "fills",
    InventoryTruth: "inventory_truth_snapshots",
    ReconcilerAnomaly: "reconciler_anomaly_log",
}
BREAKER_COLUMNS = "created_at, breaker, triggered_at, cooldown_seconds, manual_reset_required, context_json"
SESSION_COLUMNS_OF: dict[type[Record], dict[str, str]] = {
    SessionOpened: {"ts_ns": "started_ns", "wall_ns": "started_at"},
    SessionClosed: {"ts_ns": "ended_ns", "wall_ns": "ended_at"},
}


class Written(NamedTuple):
    """What a journal holds: its whole records, where the last of them ends, and how many bytes are torn behind it."""

    session_uid: str
    records: list[Record]
    end: int
    torn_bytes: int


class Verdict(NamedTuple):
    """How a database differs from journals; all but `records` must be 0."""

    records: int = 0
    lost: int = 0
    twice: int = 0
    different: int = 0

    def plus(self, other: Verdict) -> Verdict:
        return Verdict(*map(sum, zip(self, other, strict=True)))

    @property
    def exact(self) -> bool:
        return not (self.lost or self.twice or self.different)


judged: list[Verdict] = []  # every whole comparison of this run, for whoever adds them up


def written(journal: Path) -> Written:
    """Every whole record of a journal. A torn tail is what a crash leaves; any other damage fails."""
    records: list[Record] = []
    end, torn_bytes = 0, 0
    for seq, found in enumerate(read_frames(journal)):
        if not isinstance(found, Frame):
            assert found.kind == "torn", f"{journal}: {found}"
            torn_bytes = found.length
            break
        envelope, record = read_record(found.payload)
        assert (envelope.seq, envelope.session_uid) == (seq, journal.stem), f"{journal}: {envelope} at {seq}"
        records.append(record)
        end = found.end
    return Written(journal.stem, records, end, torn_bytes)


@contextmanager
def reading(database: Path) -> Iterator[apsw.Connection]:
    conn = apsw.Connection(str(database), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        conn.set_busy_timeout(10_000)  # a starting writer turns the file to WAL under an exclusive lock
        yield conn
    finally:
        conn.close()


def rows(conn: apsw.Connection, sql: str, *bindings: Any) -> list[Row]:
    return list(conn.execute(sql, bindings))


def stored_so_far(conn: apsw.Connection, session_uid: str) -> int:
    """How many records of a session are stored, by the writer's own word."""
    found = rows(conn, "SELECT next_seq FROM telemetry_offsets WHERE session_uid = ?", session_uid)
    return found[0][0] if found else 0


def compare(conn: apsw.Connection, journal: Written, *, whole: bool = True, ordered: bool = True) -> Verdict:
    """One session against its journal, all kinds of records.

    Not `whole`: what is stored must be a prefix, exactly. Not `ordered`: a gap was filled later, out of order.
    """
    next_seq = stored_so_far(conn, journal.session_uid)
    expected = journal.records if whole else journal.records[:next_seq]
    verdict = Verdict(records=len(expected), different=int(next_seq > len(journal.records)))
    if not expected:
        strays = rows(conn, "SELECT count(*) FROM sessions WHERE session_uid = ?", journal.session_uid)[0][0]
        return verdict.plus(Verdict(twice=strays))
    position = rows(conn, "SELECT journal_position FROM telemetry_offsets WHERE session_uid = ?", journal.session_uid)
    if whole and position != [(journal.end,)]:
        verdict = verdict.plus(Verdict(different=1))
    ids = rows(conn, "SELECT session_id FROM sessions WHERE session_uid = ?", journal.session_uid)
    if len(ids) != 1:
        return verdict.plus(Verdict(lost=0 if ids else len(expected), twice=max(0, len(ids) - 1)))
    session_id = ids[0][0]
    for record_type, table in NUMBERED.items():
        columns = ", ".join(field.name for field in fields_of(record_type))
        there = rows(conn, f"SELECT seq, {columns} FROM {table} WHERE session_id = ? ORDER BY id", session_id)
        due = [(seq, *record) for seq, record in enumerate(expected) if type(record) is record_type]
        verdict = verdict.plus(_difference(due, there, ordered=ordered))
    for due, there in (_breakers(conn, session_id, expected), _states(conn, session_id, expected)):
        verdict = verdict.plus(_difference(due, there))
    return verdict.plus(_difference([_session_row(expected)], _stored_session(conn, session_id)))


def compare_all(database: Path, journals: Sequence[Path], *, ordered: bool = True) -> Verdict:
    """Every journal wholly stored, and the database sound with nothing in it that no journal has."""
    everything = [written(journal) for journal in journals]
    with reading(database) as conn:
        verdict = Verdict()
        for journal in everything:
            verdict = verdict.plus(compare(conn, journal, ordered=ordered))
        judged.append(verdict)
        assert_sound(conn)
        assert_nothing_else(conn, everything)
    return verdict


def assert_sound(conn: apsw.Connection) -> None:
    """SQLite's own view, and no record in quarantine or missing."""
    assert rows(conn, "PRAGMA integrity_check") == [("ok",)]
    assert rows(conn, "PRAGMA foreign_key_check") == []
    assert rows(conn, "SELECT * FROM telemetry_rejects") == []
    assert rows(conn, "SELECT * FROM telemetry_gaps WHERE filled = 0") == []


def assert_nothing_else(conn: apsw.Connection, journals: Sequence[Written]) -> None:
    """As many rows as all the journals together, the newest statement of every key, and who crashed is called so."""
    count = Counter(type(record) for journal in journals for record in journal.records)
    for record_type, table in (*NUMBERED.items(), (BreakerEvent, "circuit_breaker_events")):
        assert rows(conn, f"SELECT count(*) FROM {table}") == [(count[record_type],)], table
    stated = {record.key: record.value for one in journals for record in one.records if type(record) is EngineState}
    assert dict(rows(conn, "SELECT key, value FROM engine_state")) == stated
    crashed = {record.crashed_uid for one in journals for record in one.records if type(record) is SessionOpened}
    for journal in journals:
        if journal.records:
            sql = "SELECT status FROM sessions WHERE session_uid = ?"
            ((status,),) = rows(conn, sql, journal.session_uid)
            closed = type(journal.records[-1]) is SessionClosed
            due = {"ENDED"} if closed else {"CRASHED"} if journal.session_uid in crashed else {"RUNNING", "CRASHED"}
            assert status in due, f"{journal.session_uid} is {status}, must be one of {due}"


def _difference(due: Sequence[Row], there: Sequence[Row], *, ordered: bool = True) -> Verdict:
    """Rows by their first column, bit for bit, and in the order of storing."""
    expected, actual = {row[0]: bits(row) for row in due}, {row[0]: bits(row) for row in there}
    lost = len(expected.keys() - actual.keys())
    twice = len(there) - len(expected.keys() & actual.keys())
    different = sum(actual[key] != row for key, row in expected.items() if key in actual)
    in_order = not ordered or [row[0] for row in there] == [row[0] for row in due]
    return Verdict(lost=lost, twice=twice, different=different or int(not (lost or twice or in_order)))


def bits(row: Row) -> Row:
    """Floats as their bits, so that equal means identical. SQLite has no minus zero: it reads as zero."""
    return tuple((value + 0.0).hex() if isinstance(value, float) else value for value in row)


def _breakers(conn: apsw.Connection, session_id: int, records: Sequence[Record]) -> tuple[list[Row], list[Row]]:
    """Breaker rows carry no record number: their place among the session's breakers stands for it."""
    events = [record for record in records if type(record) is BreakerEvent]
    due = [
        (iso_utc(e.wall_ns), e.breaker, iso_utc(e.ts_ns), e.cooldown_seconds, e.manual_reset_required, e.context_json)
        for e in events
    ]
    sql = f"SELECT {BREAKER_COLUMNS} FROM circuit_breaker_events WHERE session_id = ? ORDER BY id"
    return [(n, *row) for n, row in enumerate(due)], [(n, *row) for n, row in enumerate(rows(conn, sql, session_id))]


def _states(conn: apsw.Connection, session_id: int, records: Sequence[Record]) -> tuple[list[Row], list[Row]]:
    """The last statement of every key stands."""
    last = {
        record.key: (record.key, seq, record.value, record.ts_ns)
        for seq, record in enumerate(records)
        if type(record) is EngineState
    }
    sql = "SELECT key, seq, value, ts_ns FROM session_state WHERE session_id = ? ORDER BY key"
    return sorted(last.values()), rows(conn, sql, session_id)


def _session_columns() -> list[tuple[type[Record], str, str]]:
    """Opening and closing record, field by field: where in the row of `sessions` each one stands."""
    return [
        (record_type, field, names.get(field, field))
        for record_type, names in SESSION_COLUMNS_OF.items()
        for field in record_type._fields
    ]


def _session_row(records: Sequence[Record]) -> Row:
    """What the session's row must say; a closing that is not there leaves NULLs."""
    said = {type(record): record for record in records if type(record) in SESSION_COLUMNS_OF}
    values = [getattr(said.get(record_type), field, None) for record_type, field, _ in _session_columns()]
    as_text = [
        iso_utc(value) if field == "wall_ns" and value is not None else value
        for value, (_, field, _) in zip(values, _session_columns(), strict=True)
    ]
    return ("session", *as_text)


def _stored_session(conn: apsw.Connection, session_id: int) -> list[Row]:
    columns = ", ".join(column for *_, column in _session_columns())
    return [("session", *row) for row in rows(conn, f"SELECT {columns} FROM sessions WHERE session_id = ?", session_id)]


assert set(KINDS.values()) == {*NUMBERED, *SESSION_COLUMNS_OF, BreakerEvent, EngineState}, "compare the new kind too"
