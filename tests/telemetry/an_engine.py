"""What an engine leaves behind: records, their bytes, a journal. And what a database should then hold."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import apsw

from shared.clock import iso_utc
from shared.codec import encode
from shared.journal import JournalWriter, journal_path
from shared.records import BreakerEvent, EngineState, Record, SessionClosed, SessionOpened, TickRecord
from shared.settings import Telemetry
from shared.stop import Stop
from telemetry_proc.connection import open_for_writing
from telemetry_proc.store import Store
from telemetry_proc.tables import TABLE_OF, TABLES
from telemetry_proc.writer import Writer
from tests.shared.record_examples import EXAMPLES, TICK

UID = "20261120T140209-3fa9c1"
WALL_NS = 1_763_700_000_000_000_000
WRITERS_OWN_TIME = {"schema_changes", "telemetry_rejects.received_ns", "telemetry_gaps.noticed_at"}


class StandingClock:
    """A clock that stands still, except for the durations a loop waits for."""

    def __init__(self) -> None:
        self._monotonic_ns = 0

    def now_ns(self) -> int:
        return WALL_NS

    def wall_ns(self) -> int:
        return WALL_NS

    def monotonic_ns(self) -> int:
        self._monotonic_ns += 1_000_000_000
        return self._monotonic_ns


class Arrivals:
    """An inbox whose content the test decides: `drain` takes what was delivered, never waiting."""

    def __init__(self) -> None:
        self._waiting: list[bytes] = []

    def deliver(self, *payloads: bytes) -> None:
        self._waiting += payloads

    def drain(self, batch_max: int, flush_ms: int) -> list[bytes]:
        taken, self._waiting = self._waiting[:batch_max], self._waiting[batch_max:]
        return taken


def session(ticks: int = 3) -> list[Record]:
    """A whole session, every kind of record in it."""
    middle = [record for kind, record in EXAMPLES.items() if kind not in {"session_opened", "tick", "session_closed"}]
    numbered = [
        TICK._replace(tick=number, anchor_error_bps=None if number % 2 else 7.1) for number in range(1, ticks + 1)
    ]
    return [EXAMPLES["session_opened"], *numbered, *middle, EXAMPLES["session_closed"]]


def encoded(records: Iterable[Record], uid: str = UID) -> list[bytes]:
    return [encode(uid, seq, record) for seq, record in enumerate(records)]


def write_journal(journal_dir: Path, payloads: Sequence[bytes], uid: str = UID) -> Path:
    with closing(JournalWriter(journal_path(journal_dir, uid))) as journal:
        for payload in payloads:
            journal.append(payload)
        return journal.path


@contextmanager
def a_writer(home: Path, batch_max: int = 2_000):
    """A writer over a real file, as after a (re)start: yields (writer, arrivals, connection, stop)."""
    settings = Telemetry(
        endpoint=f"ipc://{home}/t.sock", database=f"{home}/k.db", journal_dir=f"{home}/j", batch_max=batch_max
    )
    clock = StandingClock()
    with closing(open_for_writing(home / "k.db").conn) as conn, closing(Stop()) as stop:
        conn.set_busy_timeout(0)
        arrivals = Arrivals()
        yield Writer(arrivals, Store(conn, clock), settings, clock, stop), arrivals, conn, stop


def contents(database: Path, leave_out: Iterable[str] = WRITERS_OWN_TIME) -> dict[str, list[tuple]]:
    """Every table, every row, every column but the writer's own time stamps, floats by their bits."""
    found = {}
    with closing(apsw.Connection(str(database), flags=apsw.SQLITE_OPEN_READONLY)) as conn:
        for table in TABLES:
            columns = [column.name for column in table.columns if f"{table.name}.{column.name}" not in leave_out]
            if table.name not in leave_out:
                rows = conn.execute(f"SELECT {', '.join(columns)} FROM {table.name} ORDER BY rowid")
                found[table.name] = [bits(row) for row in rows]
    return found


def bits(row: Iterable) -> tuple:
    """A row that compares bit by bit, so that 1 is not 1.0. Only minus zero is zero: SQLite's file format has none."""
    return tuple(struct.pack("<d", value + 0.0) if isinstance(value, float) else value for value in row)


def expected(records: Sequence[Record], session_id: int = 1) -> dict[str, list[tuple]]:
    """The rows that a session's records must become, said independently of the code that stores them."""
    rows: dict[str, list[tuple]] = {table: [] for table in TABLE_OF.values()}
    rows |= {"circuit_breaker_events": [], "session_state": [], "sessions": []}
    states: dict[str, tuple] = {}
    for seq, record in enumerate(records):
        if type(record) in TABLE_OF:
            rows[TABLE_OF[type(record)]].append(bits((session_id, seq, *record)))
        elif isinstance(record, BreakerEvent):
            rows["circuit_breaker_events"].append(
                (
                    *(iso_utc(record.wall_ns), record.breaker, iso_utc(record.ts_ns), record.cooldown_seconds),
                    *(record.manual_reset_required, record.context_json, session_id),
                )
            )
        elif isinstance(record, EngineState):
            states[record.key] = (session_id, record.key, seq, record.value, record.ts_ns)
        elif isinstance(record, SessionOpened | SessionClosed):
            rows["sessions"].append(bits((record.ts_ns, iso_utc(record.wall_ns), *record[2:])))
    rows["session_state"] = sorted(states.values())
    return rows


def stored(database: Path, session_id: int = 1) -> dict[str, list[tuple]]:
    """The same rows as `expected` gives, read back from a database."""
    rows = {}
    with closing(apsw.Connection(str(database), flags=apsw.SQLITE_OPEN_READONLY)) as conn:
        for record_type, table in TABLE_OF.items():
            columns = ", ".join(("session_id", "seq", *record_type._fields))
            rows[table] = _select(conn, f"{columns} FROM {table} WHERE session_id = ? ORDER BY rowid", session_id)
        rows["circuit_breaker_events"] = _select(
            conn,
            "created_at, breaker, triggered_at, cooldown_seconds, manual_reset_required, context_json, session_id"
            " FROM circuit_breaker_events WHERE session_id = ? ORDER BY rowid",
            session_id,
        )
        state = "session_id, key, seq, value, ts_ns FROM session_state WHERE session_id = ?"
        rows["session_state"] = sorted(_select(conn, state, session_id))
        opened = "started_ns, started_at, " + ", ".join(SessionOpened._fields[2:])
        closed = "ended_ns, ended_at, " + ", ".join(SessionClosed._fields[2:])
        rows["sessions"] = [
            row
            for columns, proof in ((opened, "started_ns"), (closed, "ended_ns"))
            for row in _select(conn, f"{columns} FROM sessions WHERE session_id = ? AND {proof} NOT NULL", session_id)
        ]
    return rows


def _select(conn: apsw.Connection, rest: str, session_id: int) -> list[tuple]:
    return [bits(row) for row in conn.execute(f"SELECT {rest}", (session_id,))]


def one_tick(**values) -> TickRecord:
    return TICK._replace(**values)
