"""Are the rows of a database the records of a journal, each once, in order and identical? And nothing else?

One pass over both, in constant memory but for what is rare by its nature: breaker events, named results and gaps.
The database is seen in one state, taken before the journal is looked at, so that whatever is stored is in the journal
too. Meanwhile the writer goes on; only its write-ahead log cannot be emptied until the audit is over.

What the writer put on file instead of storing it is accounted for: a record with an entry in telemetry_rejects is
said to be there, and is not counted as stored.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import apsw

from shared.clock import iso_utc
from shared.errors import JournalCorrupt
from shared.journal import HEADER, SUFFIX
from shared.records import KINDS, BreakerEvent, EngineState, SessionClosed, SessionOpened
from telemetry_proc.audit_rows import Row, TableRows, shown
from telemetry_proc.journal_check import Finding, Verdict, unreadable, walk
from telemetry_proc.journals import Journal, Placed
from telemetry_proc.reading import rows, snapshot
from telemetry_proc.statements import STATEMENTS
from telemetry_proc.store import REJECT_BYTES_MAX
from telemetry_proc.tables import CLOSED_AS, OPENED_AS, TABLE_OF, session_fields
from telemetry_proc.validate import Fact, Reject

_BREAKER_COLUMNS = (
    "created_at", "breaker", "triggered_at", "cooldown_seconds", "manual_reset_required", "context_json", "session_id",
)  # fmt: skip
_STATE_COLUMNS = ("session_id", "key", "seq", "value", "ts_ns")
_REJECT = "SELECT source, reason, payload, payload_bytes FROM telemetry_rejects WHERE id = ?"


class Gap(NamedTuple):
    """Records that were passed over; those from `missing_from` on are missing still, None: they have been found."""

    first_seq: int
    last_seq: int
    missing_from: int | None
    reason: str | None


class Books(NamedTuple):
    """What the writer says of a session: its number, how far it is stored, what is missing before that."""

    session_id: int | None
    next_seq: int
    position: int | None
    gaps: tuple[Gap, ...]


def compare(conn: apsw.Connection, journal: Journal) -> Verdict:
    """A journal and its session in the database, whatever is wrong with either. Raises what `apsw` raises."""
    verdict = Verdict(*journal, compared=True)
    with snapshot(conn):
        audit = _Audit(conn, journal, verdict)
        try:
            for found in walk(journal):
                if isinstance(found, Finding):
                    verdict.take(found)
                else:
                    audit.take(found)
        except (OSError, JournalCorrupt) as error:
            verdict.take(unreadable(journal.path, error))
        audit.end()
    return verdict


def read_books(conn: apsw.Connection, session_uid: str) -> Books:
    """A session that the database has never heard of stands at its beginning."""
    of_session = "WHERE session_uid = ?"
    by_uid: Any = {"bindings": (session_uid,), "needs": ("session_uid",)}
    session_id = next((number for (number,) in rows(conn, "sessions", ("session_id",), of_session, **by_uid)), None)
    offset = rows(conn, "telemetry_offsets", ("next_seq", "journal_position"), of_session, **by_uid)
    next_seq, position = next(offset, (0, len(HEADER)))
    gaps = rows(conn, "telemetry_gaps", Gap._fields, f"{of_session} ORDER BY first_seq", **by_uid)
    return Books(session_id, _number(next_seq) or 0, _number(position), tuple(_gap(*gap) for gap in gaps))


class _Audit:
    """One comparison under way."""

    def __init__(self, conn: apsw.Connection, journal: Journal, verdict: Verdict) -> None:
        self._conn = conn
        self._journal = journal
        self._verdict = verdict
        self._books = read_books(conn, journal.session_uid)
        self._tables = {
            record_type: TableRows(conn, record_type, self._books.session_id, verdict.take) for record_type in TABLE_OF
        }
        self._rejects = self._rejects_of_session()
        self._reject = next(self._rejects, None)
        self._events: Counter[tuple[Any, ...]] = Counter()
        self._states: dict[str, Row] = {}
        self._ends: dict[str, Fact] = {}  # session_opened and session_closed
        self._position: int | None = None  # where the first record that is not stored yet starts, once it is known
        self._last: Placed | None = None
        self._gaps_passed = 0

    def take(self, placed: Placed) -> None:
        """The next record of the journal."""
        self._verdict.records += 1
        self._last = placed
        record, books = placed.record, self._books
        seq = record.seq
        assert seq is not None
        if seq >= books.next_seq:
            self._verdict.behind += 1
            return
        if seq == books.next_seq - 1:
            self._position = placed.end
        gap = self._gap_with(seq)
        if gap is not None and gap.missing_from is not None and gap.missing_from <= seq:
            return
        if self._is_rejected(placed, seq):
            self._verdict.rejected += 1
        elif isinstance(record, Reject):
            text = "unreadable, and not in telemetry_rejects either"
            self._verdict.take(Finding("reject_missing", text, placed.position, seq))
        else:
            self._expect(record, placed.position, stored_late=gap is not None)

    def end(self) -> None:
        """What only shows once all records are seen."""
        for table in self._tables.values():
            table.end()
        while self._reject is not None:
            self._reject_without_record()
        self._compare_events()
        self._compare_states()
        self._compare_session()
        self._compare_offset()

    def _gap_with(self, seq: int) -> Gap | None:
        """The gap that a record fell into, filled since or not. Asked in ascending order."""
        gaps = self._books.gaps
        while self._gaps_passed < len(gaps) and gaps[self._gaps_passed].last_seq < seq:
            self._gaps_passed += 1
        gap = gaps[self._gaps_passed] if self._gaps_passed < len(gaps) else None
        return gap if gap is not None and gap.first_seq <= seq else None

    def _expect(self, record: Fact, position: int, *, stored_late: bool) -> None:
        record_type = KINDS[record.kind]
        session_id = self._books.session_id
        if session_id is None:
            self._verdict.take(Finding("row_missing", "its session has no row in sessions", position, record.seq))
            return
        row = tuple(STATEMENTS[record.kind].row(session_id, record))
        if record_type in TABLE_OF:
            self._tables[record_type].match(row, position, in_turn=not stored_late)
        elif record_type is BreakerEvent:
            self._events[_typed(row)] += 1
        elif record_type is EngineState:
            self._states[EngineState(*record.fields).key] = row
        else:
            self._ends[record.kind] = record

    # --- rejects

    def _rejects_of_session(self) -> Iterator[tuple[int, int]]:
        numbered = "WHERE session_uid = ? AND typeof(seq) = 'integer' ORDER BY seq, id"
        uid, needs = (self._journal.session_uid,), ("session_uid", "seq", "id")
        return rows(self._conn, "telemetry_rejects", ("seq", "id"), numbered, uid, needs=needs)

    def _is_rejected(self, placed: Placed, seq: int) -> bool:
        while self._reject is not None and self._reject[0] < seq:
            self._reject_without_record()
        if self._reject is None or self._reject[0] != seq:
            return False
        source, reason, payload, payload_bytes = next(iter(self._conn.execute(_REJECT, (self._reject[1],))))
        self._reject = next(self._rejects, None)
        ours = placed.record.payload
        if (payload, payload_bytes) != (ours[:REJECT_BYTES_MAX], len(ours)):
            text = f"other bytes took its place, from the {source}, and are in telemetry_rejects: {reason}"
            self._verdict.take(Finding("reject_differs", text, placed.position, seq))
        elif isinstance(placed.record, Fact):
            text = f"not stored, it is in telemetry_rejects: {reason}"
            self._verdict.take(Finding("record_rejected", text, placed.position, seq))
        return True

    def _reject_without_record(self) -> None:
        assert self._reject is not None
        seq, number = self._reject
        text = f"entry {number} of telemetry_rejects belongs to no record of this journal up to its offset"
        self._verdict.take(Finding("reject_extra", text, record=seq))
        self._reject = next(self._rejects, None)

    # --- what has no order of its own

    def _compare_events(self) -> None:
        """Breaker events carry no number: each must be there as often as it is on record."""
        for *row, number in self._own_rows("circuit_breaker_events", (*_BREAKER_COLUMNS, "id")):
            event = _typed(tuple(row))
            if self._events[event] > 0:
                self._events[event] -= 1
            else:
                self._say(
                    "row_extra", f"row {shown(number)} of circuit_breaker_events is of no breaker_event on record"
                )
        for (*_, (_, tripped_at), _, _, _, _), times in self._events.items():
            if times:
                text = f"the breaker_event of {tripped_at} is not in circuit_breaker_events as recorded"
                self._say("row_missing", f"{text}, {times} times" if times > 1 else text)

    def _compare_states(self) -> None:
        due = dict(self._states)
        for row in self._own_rows("session_state", _STATE_COLUMNS):
            expected = due.pop(row[1], None)
            if expected is None or _typed(row) != _typed(expected):
                self._say("row_differs", f"session_state {shown(row)}, recorded was {shown(expected)}")
        for key, row in due.items():
            self._say("row_missing", f"{key} is not in session_state", record=row[2])
        for key, value, updated_at in self._own_rows("engine_state", ("key", "value", "updated_at")):
            state = self._states.get(key)
            if state is None or (value, updated_at) != (state[3], iso_utc(state[4])):
                self._say(
                    "row_differs", f"engine_state shows {key} as {shown(value)}, the session's last word is other"
                )

    def _compare_session(self) -> None:
        if self._books.session_id is None:
            return
        opened, closed = self._ends.get("session_opened"), self._ends.get("session_closed")
        due: dict[str, tuple[Any, ...]] = {"status": ("ENDED",) if closed else (self._status_unended(),)}
        for record, record_type, renamed in (
            (opened, SessionOpened, OPENED_AS), (closed, SessionClosed, CLOSED_AS),
        ):  # fmt: skip
            names = [column.name for column in session_fields(record_type, renamed, "")]
            stub = [(None, "unknown")] * len(names)  # an older table may not take NULL in what is not known yet
            values = [(value,) for value in STATEMENTS[record.kind].row(0, record)[:-1]] if record else stub
            due.update(zip(names, values, strict=True))
        found = list(self._own_rows("sessions", tuple(due)))
        if len(found) != 1:
            self._say("row_repeated", f"{len(found)} rows in sessions")
        for name, value in zip(due, found[0], strict=True):
            if not any(value == one and type(value) is type(one) for one in due[name]):
                self._say("row_differs", f"sessions.{name} is {shown(value)}, must be {shown(due[name][0])}")

    def _status_unended(self) -> str:
        named = "WHERE crashed_uid = ? LIMIT 1"
        uid = (self._journal.session_uid,)
        later = rows(self._conn, "sessions", ("session_uid",), named, uid, needs=("crashed_uid",))
        return "RUNNING" if next(later, None) is None else "CRASHED"

    # --- the writer's own books

    def _compare_offset(self) -> None:
        books, last = self._books, self._last
        for gap in books.gaps:
            if gap.missing_from is not None:
                text = f"records {gap.missing_from} to {gap.last_seq} are a gap in the database: {gap.reason}"
                self._say("gap_unfilled", text)
        next_in_journal = 0 if last is None or last.record.seq is None else last.record.seq + 1
        if books.next_seq > next_in_journal:
            text = f"the database stands at record {books.next_seq}, the journal ends before {next_in_journal}"
            self._say("offset_wrong", text)
        starts_at = self._position if books.next_seq else len(HEADER)
        if None not in (books.position, starts_at) and books.position != starts_at:
            text = f"the offset says byte {books.position} for record {books.next_seq}, which starts at {starts_at}"
            self._say("offset_wrong", text)
        if self._verdict.behind:
            text = f"records {books.next_seq} to {next_in_journal - 1} are not stored yet"
            self._verdict.take(Finding("not_stored_yet", text, is_failure=not self._may_be_running()))

    def _may_be_running(self) -> bool:
        """Then the writer is right behind, or finds the rest at its next start: nothing is wrong."""
        path = self._journal.path
        closed = (
            self._last is not None
            and isinstance(self._last.record, Fact)
            and self._last.record.kind == "session_closed"
        )
        sessions = path.parent.glob(f"[0-9]*T[0-9]*-*{SUFFIX}")  # a `backup.kj` beside them is no later session
        return not closed and path.name >= max((one.name for one in sessions), default=path.name)

    def _own_rows(self, table: str, wanted: tuple[str, ...]) -> Iterator[Row]:
        number = (self._books.session_id,)
        return rows(self._conn, table, wanted, "WHERE session_id = ? ORDER BY rowid", number, needs=("session_id",))

    def _say(self, code: str, text: str, record: int | None = None) -> None:
        self._verdict.take(Finding(code, text, record=record))


def _typed(row: Row) -> tuple[tuple[type, Any], ...]:
    """Equal only if the types are: 1 is not 1.0."""
    return tuple((type(value), value) for value in row)


def _gap(first_seq: Any, last_seq: Any, missing_from: Any, reason: Any) -> Gap:
    missing = None if missing_from is None else _number(missing_from) or 0
    return Gap(_number(first_seq) or 0, _number(last_seq) or 0, missing, reason)


def _number(value: Any) -> int | None:
    """What should be one: SQLite keeps a text in a column of numbers as it is."""
    return value if isinstance(value, int) else None
