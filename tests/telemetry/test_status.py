"""Is the record being kept, and how far behind is it?"""

from __future__ import annotations

import apsw
import pytest

from shared.codec import encode
from shared.journal import JournalWriter, journal_path
from shared.records import EngineState
from telemetry_proc import status as status_module
from telemetry_proc.lock import sole_writer
from telemetry_proc.reading import reading
from telemetry_proc.status import WriterState, lag_of, read_status, status_lines, writer_state
from tests.telemetry.recorded_session import START_NS, TICK_NS, insert, opened, store_session

UID = "20261120T140209Z-7f3a"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "kedge.db"


def write_journal(journal_dir, uid, records):
    """A journal of so many records; the byte position of each, and of the end."""
    writer = JournalWriter(journal_path(journal_dir, uid))
    try:
        positions = [writer.append(encode(uid, seq, EngineState(1, "k", "v"))) for seq in range(records)]
        return [*positions, writer.position]
    finally:
        writer.close()


def status_of(path, journal_dir=None, wall_ns=START_NS):
    with reading(path) as conn:
        return read_status(conn, path, journal_dir, writer_state(path), wall_ns)


def test_given_a_running_session_when_asked_then_last_tick_age_rows_and_mode_are_told(path):
    with opened(path) as conn:
        store_session(conn, [1.0] * 5, uid="older")
        store_session(conn, [1.0, None, 2.0], status="RUNNING")
    found = status_of(path, wall_ns=START_NS + 10 * TICK_NS)

    assert found.last_tick[:3] == (2, 3, START_NS + 3 * TICK_NS)
    assert found.last_tick.age_s == 28.0
    assert (found.last_mode, found.running_sessions) == ("ACTIVE", [2])
    assert found.rows["system_metrics"] == 8
    assert found.database.bytes > 0
    assert "last tick 3 of session 2" in "\n".join(status_lines(found))


def test_given_journals_when_asked_then_the_lag_is_in_bytes_and_records(path, tmp_path):
    positions = write_journal(tmp_path / "j", UID, 10)
    other = write_journal(tmp_path / "j", "never-stored", 3)
    done = write_journal(tmp_path / "j", "done", 2)
    with opened(path) as conn:
        insert(conn, "telemetry_offsets", session_uid=UID, next_seq=6, journal_position=positions[6])
        insert(conn, "telemetry_offsets", session_uid="done", next_seq=2, journal_position=done[2])
        insert(conn, "telemetry_offsets", session_uid="remote", next_seq=9, journal_position=None)
    found = status_of(path, tmp_path / "j")

    by_uid = {lag.session_uid: lag for lag in found.lag}
    assert by_uid[UID] == (UID, 6, positions[10], positions[10] - positions[6], 4)
    assert by_uid["done"][3:] == (0, 0)
    assert by_uid["never-stored"][3:] == (other[3] - 8, 3)
    assert by_uid["remote"][2:] == (None, None, None)
    text = "\n".join(status_lines(found))
    assert "1 session wholly stored, 3 behind or not known" in text
    assert f"{UID}: 4 records, " in text
    with reading(path) as conn:
        assert lag_of(conn, tmp_path / "j", UID) == by_uid[UID]
        assert lag_of(conn, tmp_path / "j", "unheard-of") == ("unheard-of", 0, None, None, None)


def test_given_a_torn_or_foreign_journal_when_asked_then_only_whole_records_are_counted(path, tmp_path):
    positions = write_journal(tmp_path / "j", UID, 3)
    journal = journal_path(tmp_path / "j", UID)
    journal.write_bytes(journal.read_bytes()[:-4])
    (tmp_path / "j" / "foreign.kj").write_bytes(b"something else entirely")
    with opened(path) as conn:
        insert(conn, "telemetry_offsets", session_uid=UID, next_seq=0, journal_position=positions[0])
    lags = {lag.session_uid: lag for lag in status_of(path, tmp_path / "j").lag}

    assert lags[UID].records_behind == 2
    assert lags["foreign"].records_behind is None


def test_given_a_lag_too_long_to_count_when_asked_then_bytes_are_told_and_records_are_not(path, tmp_path, monkeypatch):
    monkeypatch.setattr(status_module, "LAG_BYTES_COUNTED_MAX", 10)
    positions = write_journal(tmp_path / "j", UID, 5)
    with opened(path):
        pass
    (lag,) = status_of(path, tmp_path / "j").lag
    assert (lag.bytes_behind, lag.records_behind) == (positions[5] - 8, None)


def test_given_gaps_and_rejects_when_asked_then_the_unfilled_and_each_reason_are_told(path):
    with opened(path) as conn:
        gap = {"session_uid": UID, "last_seq": 20, "reason": "no journal here"}
        insert(conn, "telemetry_gaps", first_seq=5, missing_from=7, filled=0, **gap)
        insert(conn, "telemetry_gaps", first_seq=30, missing_from=None, filled=1, **gap)
        for reason in ("not msgpack", "unknown kind 'x'", "not msgpack"):
            insert(conn, "telemetry_rejects", reason=reason, payload=b"x")
    found = status_of(path)

    assert [tuple(one) for one in found.gaps_unfilled] == [(UID, 7, 20, "no journal here")]
    assert found.rejects_by_reason == {"not msgpack": 2, "unknown kind 'x'": 1}
    text = "\n".join(status_lines(found))
    assert f"GAP       {UID}: records 7 to 20: no journal here" in text
    assert "REJECTS   2 x not msgpack" in text


def test_given_a_writer_when_asked_then_it_is_named_and_its_lock_left_alone(path):
    assert writer_state(path) == WriterState(alive=False, holder=None)
    with sole_writer(path, "write", "2026-11-20T14:02:09.000Z"):
        alive = writer_state(path)
        assert alive.alive is True
        assert "write since 2026-11-20" in str(alive.holder)
    assert writer_state(path) == WriterState(alive=False, holder=None)
    assert not path.exists()


def test_given_an_empty_or_a_legacy_database_when_asked_then_nothing_is_invented(path):
    path.touch()
    found = status_of(path)
    assert (found.last_tick, found.last_mode, found.rows, found.lag, found.rejects_by_reason) == (
        None,
        None,
        {},
        [],
        {},
    )
    assert "last tick none stored" in status_lines(found)

    with apsw.Connection(str(path)) as old:
        old.execute("CREATE TABLE system_metrics (id INTEGER PRIMARY KEY, mid REAL)")
        insert(old, "system_metrics", mid=1.3)
    old.close()
    found = status_of(path)
    assert (found.last_tick, found.rows) == (None, {"system_metrics": 1})
