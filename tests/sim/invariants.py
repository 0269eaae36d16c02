"""What must be true when all is over and nothing is broken any more: DESIGN 10, over what the disks really hold.

The oracle is what the witnesses kept: every record that each session gave out of its hands, byte for byte.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import apsw

from shared.clock import iso_utc
from shared.codec import decode, read_record
from shared.errors import JournalCorrupt
from shared.journal import FRAME_HEAD_BYTES, HEADER, Frame, read_frames
from shared.records import (
    KIND_OF,
    BreakerEvent,
    EngineState,
    ModeChanged,
    OrderEvent,
    Record,
    SessionClosed,
    SessionOpened,
    TickRecord,
)
from shared.settings import AnchorSaturationGuard
from telemetry_proc.guard_record import trip_context
from telemetry_proc.tables import TABLE_OF
from tests.sim.witness import Witness
from tests.telemetry.guard_replay import GuardReplay

if TYPE_CHECKING:
    from tests.sim.world import World


class Stored(NamedTuple):
    """What the database says of one session's place: records below `next_seq`, without those that gaps still miss."""

    next_seq: int
    position: int | None
    missing: frozenset[int]

    def seqs(self) -> list[int]:
        return [seq for seq in range(self.next_seq) if seq not in self.missing]


def check(world: World) -> int:
    """All of them; the number of records that were compared."""
    database = Path(world.telemetry.database)
    compared = 0
    with closing(apsw.Connection(str(database), flags=apsw.SQLITE_OPEN_READONLY)) as conn:
        assert conn.pragma("integrity_check") == "ok"
        assert list(conn.execute("PRAGMA foreign_key_check")) == []
        places = stored_places(conn)
        for session in world.sessions:
            compared += check_session(
                world, conn, session, places.pop(session.session_uid, Stored(0, None, frozenset()))
            )
        assert not places, f"sessions that never were: {places}"
        check_rejects(world, conn)
        check_engine_state(conn)
    return compared


def check_session(world: World, conn: apsw.Connection, session: Witness, place: Stored) -> int:
    uid = session.session_uid
    journal = journal_seqs(session)
    stored = place.seqs()
    assert place.next_seq <= len(session.emitted), f"{uid}: stored further than it ever spoke"
    lost = sorted(journal - set(stored))
    assert not lost, f"{uid}: records {lost} are in the journal and not in the database"
    if not world.power_losses and not session.file.damaged:
        assert journal == set(stored), f"{uid}: the database has what the journal has not: {set(stored) - journal}"
        assert journal == set(range(len(journal))), f"{uid}: the journal has holes"
    check_position(session, place)
    records = [(seq, read_record(session.emitted[seq])[1]) for seq in stored]
    check_rows(conn, uid, records)
    check_modes(uid, [record for _, record in records])
    check_guard(conn, uid, records)
    return len(records)


def journal_seqs(session: Witness) -> set[int]:
    """The records that the journal has now, each of them exactly what the session said, in order."""
    seqs: list[int] = []
    try:
        for found in read_frames(session.file.path):
            if isinstance(found, Frame):
                seq = decode(found.payload).seq
                assert found.payload == session.emitted[seq], f"{session.session_uid}: record {seq} was never said so"
                seqs.append(seq)
    except (FileNotFoundError, JournalCorrupt):
        pass  # deleted; or its very header was lost with the power
    assert all(before < after for before, after in pairwise(seqs)), f"{session.session_uid}: not in order: {seqs}"
    return set(seqs)


def stored_places(conn: apsw.Connection) -> dict[str, Stored]:
    missing: dict[str, set[int]] = {}
    for uid, missing_from, last_seq in conn.execute(
        "SELECT session_uid, missing_from, last_seq FROM telemetry_gaps WHERE filled = 0"
    ):
        missing.setdefault(uid, set()).update(range(missing_from, last_seq + 1))
    return {
        uid: Stored(next_seq, position, frozenset(missing.get(uid, ())))
        for uid, next_seq, position in conn.execute(
            "SELECT session_uid, next_seq, journal_position FROM telemetry_offsets"
        )
    }


def check_position(session: Witness, place: Stored) -> None:
    """Where the database says that the next record starts, it starts."""
    if place.position is not None and place.next_seq:
        before = session.emitted[: place.next_seq]
        starts = len(HEADER) + sum(FRAME_HEAD_BYTES + len(payload) for payload in before)
        assert place.position == starts, f"{session.session_uid}: next record at {starts}, not at {place.position}"


# ---------------------------------------------------------------------------------------------------------- rows


def check_rows(conn: apsw.Connection, uid: str, records: list[tuple[int, Record]]) -> None:
    """Every record is its row, once, bit for bit, and there is no other row."""
    found = conn.execute("SELECT session_id FROM sessions WHERE session_uid = ?", (uid,)).fetchone()
    if found is None:
        assert not records, f"{uid}: no row in sessions"
        return
    (session_id,) = found
    expected = expected_rows(session_id, records)
    for table, rows in expected.items():
        there = [bits(row) for row in conn.execute(*_select(table, session_id))]
        assert len(there) == len(rows), f"{uid}: {table} has {len(there)} rows for {len(rows)} records"
        for row, wanted in zip(there, rows, strict=True):
            assert row == wanted, f"{uid}: {table} has {row}\nfor {wanted}"


def expected_rows(session_id: int, records: list[tuple[int, Record]]) -> dict[str, list[tuple]]:
    """The rows that records must become, said without the code that stores them."""
    rows: dict[str, list[tuple]] = {table: [] for table in TABLE_OF.values()}
    breakers, states, opened, closed = [], {}, [], []
    for seq, record in records:
        assert_sound(record)
        if type(record) in TABLE_OF:
            rows[TABLE_OF[type(record)]].append(bits((seq, *record)))
        elif isinstance(record, BreakerEvent):
            times = iso_utc(record.wall_ns), record.breaker, iso_utc(record.ts_ns)
            breakers.append((*times, record.cooldown_seconds, record.manual_reset_required, record.context_json))
        elif isinstance(record, EngineState):
            states[record.key] = (record.key, seq, record.value, record.ts_ns)
        elif isinstance(record, SessionOpened):
            opened.append((record.ts_ns, iso_utc(record.wall_ns), *record[2:]))
        elif isinstance(record, SessionClosed):
            closed.append((record.ts_ns, iso_utc(record.wall_ns), *record[2:]))
    rows |= {"circuit_breaker_events": breakers, "session_state": sorted(states.values(), key=str)}
    return rows | {"opened": opened, "closed": closed}


def _select(table: str, session_id: int) -> tuple[str, tuple[int]]:
    record_type = next((one for one, name in TABLE_OF.items() if name == table), None)
    if record_type is not None:
        columns, rest = ", ".join(("seq", *record_type._fields)), "ORDER BY seq"
    elif table == "circuit_breaker_events":
        columns = "created_at, breaker, triggered_at, cooldown_seconds, manual_reset_required, context_json"
        rest = "ORDER BY id"
    elif table == "session_state":
        columns, rest = "key, seq, value, ts_ns", "ORDER BY key"
    else:
        record_type, word = (SessionOpened, "started") if table == "opened" else (SessionClosed, "ended")
        columns, rest = ", ".join((f"{word}_ns", f"{word}_at", *record_type._fields[2:])), f"AND {word}_ns NOT NULL"
        table = "sessions"
    return f"SELECT {columns} FROM {table} WHERE session_id = ? {rest}", (session_id,)


def bits(row: Iterable[Any]) -> tuple:
    """A row that compares bit by bit; only minus zero is zero, because SQLite's file format has none."""
    return tuple(struct.pack("<d", value + 0.0) if isinstance(value, float) else value for value in row)


def assert_sound(record: Record) -> None:
    """No NaN and no infinity: the one would be stored as NULL, the other mean nothing."""
    for value in record:
        assert not isinstance(value, float) or abs(value) < float("inf"), f"{KIND_OF[type(record)]}: {value}"


# ---------------------------------------------------------------------------------------------- what rows must say


def check_modes(uid: str, records: list[Record]) -> None:
    """Nothing is placed once a session may not quote: after an opening, a breaker or a change that says so."""
    stopped: Record | None = None
    for record in records:
        opened = record.initial_mode if isinstance(record, SessionOpened) else "ACTIVE"
        changed = record.to_mode if isinstance(record, ModeChanged) else "ACTIVE"
        if isinstance(record, BreakerEvent) or {opened, changed} != {"ACTIVE"}:
            stopped = record
        placed = isinstance(record, OrderEvent) and record.event == "submitted"
        assert not (placed and stopped), f"{uid}: {record} after {stopped}"


def check_guard(conn: apsw.Connection, uid: str, records: list[tuple[int, Record]]) -> None:
    """The guard, run again over the stored rows, trips on the recorded tick with the recorded sum and count."""
    if not records or [seq for seq, _ in records] != list(range(len(records))):
        return  # a hole that no journal can fill any more: what the guard saw there is not known
    ticks = [record.tick for _, record in records if isinstance(record, TickRecord)]
    assert ticks == list(range(1, len(ticks) + 1)), f"{uid}: ticks {ticks}"
    block = json.loads(records[0][1].config_json)["strategy"]["anchor_saturation_guard"]
    replay = GuardReplay(AnchorSaturationGuard.model_validate(block))
    trips: dict[int, tuple[int, int]] = {}
    rows = conn.execute(
        "SELECT tick, ts_ns, anchor_error_bps, guard_window_n, guard_mean_bps, guard_prevalence_pct"
        " FROM system_metrics JOIN sessions USING (session_id) WHERE session_uid = ? ORDER BY tick",
        (uid,),
    )
    for tick, *seen in rows:
        replay.observe(tick, *seen)
        if replay._guard.tripped and not trips:
            trips[tick] = (replay._guard.sum_nano_bps, replay._guard.prevalent_n)
    assert replay.disagreement is None, f"{uid}: {replay.disagreement}"
    recorded: dict[int, tuple[int, int]] = {}
    for (context_json,) in conn.execute(
        "SELECT context_json FROM circuit_breaker_events JOIN sessions USING (session_id) WHERE session_uid = ?", (uid,)
    ):
        context = trip_context(context_json)
        recorded[context["tick"]] = (context["sum_error_nano_bps"], context["prevalent_n"])
    in_flight = {tick: seen for tick, seen in recorded.items() if tick > len(ticks)}  # died before that tick's record
    assert trips == {tick: seen for tick, seen in recorded.items() if tick not in in_flight}, (
        f"{uid}: {trips} {recorded}"
    )


def check_rejects(world: World, conn: apsw.Connection) -> None:
    """Strangers' bytes are on file, and nothing of ours is."""
    ours = list(conn.execute("SELECT session_uid, seq, reason FROM telemetry_rejects WHERE session_uid NOT NULL"))
    assert ours == [], f"records put on file as rejects: {ours}"
    count = conn.execute("SELECT count(*) FROM telemetry_rejects").get
    least, most = world.wire.strangers_stored, world.wire.strangers_arrived
    assert least <= count <= most, f"{count} rejects; at least {least} of {most} strangers must be on file"


def check_engine_state(conn: apsw.Connection) -> None:
    """`engine_state` shows each key as the session that started last stated it; uids sort by start."""
    latest: dict[str, tuple] = {}
    for key, uid, session_id, value in conn.execute(
        "SELECT key, session_uid, session_id, value FROM session_state JOIN sessions USING (session_id)"
    ):
        latest[key] = max(latest.get(key, ("",)), (uid, session_id, value))
    for key, value, session_id in conn.execute("SELECT key, value, session_id FROM engine_state"):
        wanted = latest.pop(key)[1:]
        assert wanted == (session_id, value), f"engine_state shows {key} of session {session_id}, not {wanted}"
    assert not latest, f"engine_state lacks {latest}"
