import os
import sys
from contextlib import closing

import apsw
import pytest

from shared.errors import DatabaseUnusable
from telemetry_proc.connection import open_for_writing
from telemetry_proc.store import REJECT_BYTES_MAX, Store
from telemetry_proc.validate import Reject, judge
from tests.shared.record_examples import EXAMPLES
from tests.telemetry.an_engine import UID, WALL_NS, StandingClock, a_writer, encoded, one_tick, session


@pytest.fixture
def conn(tmp_path):
    with closing(open_for_writing(tmp_path / "k.db").conn) as conn:
        yield conn


def facts(*records):
    by_kind = {}
    for payload in encoded(records):
        fact = judge(payload, "socket")
        by_kind.setdefault(fact.kind, []).append(fact)
    return by_kind


def count(conn, table):
    return conn.execute(f"SELECT count(*) FROM {table}").fetchall()[0][0]


def test_given_an_error_inside_a_transaction_when_it_leaves_then_nothing_was_stored(conn):
    store = Store(conn, StandingClock())

    def killed_half_way():
        with store.transaction() as tx:
            tx.insert(facts(*session()))
            tx.quarantine([Reject(None, None, "why", "socket", b"x")])
            raise RuntimeError("killed here")

    with pytest.raises(RuntimeError):
        killed_half_way()

    assert [count(conn, table) for table in ("sessions", "system_metrics", "telemetry_rejects")] == [0, 0, 0]
    with store.transaction() as tx:  # and the session is numbered afresh
        tx.insert(facts(*session()))
    assert conn.execute("SELECT DISTINCT session_id FROM system_metrics").fetchall() == [(1,)]


def test_given_a_tick_that_is_there_when_it_comes_again_then_the_first_stands_and_the_second_is_a_reject(conn):
    store = Store(conn, StandingClock())
    with store.transaction() as tx:
        tx.insert(facts(EXAMPLES["session_opened"], one_tick(tick=1, mid=1.5)))

    with store.transaction() as tx:
        twice = facts(EXAMPLES["session_opened"], one_tick(tick=1, mid=9.9), one_tick(tick=2, mid=1.6))
        refused = tx.insert(twice)

    assert [(reject.session_uid, reject.seq) for reject in refused] == [(UID, 1)]
    assert "UNIQUE constraint failed" in refused[0].reason
    assert conn.execute("SELECT tick, mid FROM system_metrics ORDER BY tick").fetchall() == [(1, 1.5), (2, 1.6)]


def test_given_a_check_that_an_older_program_left_when_it_refuses_a_row_then_the_row_is_on_file(tmp_path):
    with closing(apsw.Connection(str(tmp_path / "k.db"))) as older:
        older.execute("CREATE TABLE fills (side TEXT CHECK (side IN ('ask', 'buy')))")
    with a_writer(tmp_path) as (writer, arrivals, conn, _):
        arrivals.deliver(*encoded(session()))
        writer.step()

        assert [count(conn, table) for table in ("fills", "system_metrics")] == [0, 3]
        ((reason,),) = conn.execute("SELECT reason FROM telemetry_rejects").fetchall()
        assert reason.startswith("fill: refused by the table: ")


def test_given_a_trigger_that_refuses_engine_state_when_a_session_states_it_then_all_else_is_stored(tmp_path, caplog):
    with closing(apsw.Connection(str(tmp_path / "k.db"))) as older:
        older.execute("CREATE TABLE engine_state (key TEXT, value TEXT)")
        older.execute("CREATE TRIGGER t BEFORE INSERT ON engine_state BEGIN SELECT RAISE(ABORT, 'frozen'); END")
    with a_writer(tmp_path) as (writer, arrivals, conn, _):
        arrivals.deliver(*encoded(session()))
        writer.step()

        found = [count(conn, table) for table in ("engine_state", "session_state", "system_metrics")]
        assert found == [0, 1, 3]
    assert [line for line in caplog.messages if "engine_state does not take" in line and "frozen" in line]


def test_given_a_huge_reject_when_put_on_file_then_its_beginning_and_its_length_are_kept(conn):
    with Store(conn, StandingClock()).transaction() as tx:
        tx.quarantine([Reject(None, None, "too long", "socket", b"z" * (REJECT_BYTES_MAX + 5))])

    found = conn.execute("SELECT length(payload), payload_bytes, received_ns FROM telemetry_rejects").fetchall()
    assert found == [(REJECT_BYTES_MAX, REJECT_BYTES_MAX + 5, WALL_NS)]


def test_given_an_open_connection_when_asked_then_it_is_set_up_as_the_design_says(conn):
    names = ("journal_mode", "synchronous", "foreign_keys")
    assert [conn.pragma(name) for name in names] == ["wal", 1, 1]
    with pytest.raises(apsw.ConstraintError):
        conn.execute("INSERT INTO fills(session_id) VALUES (99)")


def test_given_a_writer_at_work_when_plain_readers_read_then_they_see_whole_batches_only(tmp_path):
    with a_writer(tmp_path) as (writer, arrivals, conn, _):
        arrivals.deliver(*encoded(session(4)))
        writer.step()
        reader = apsw.Connection(str(tmp_path / "k.db"), flags=apsw.SQLITE_OPEN_READONLY)
        with closing(reader):
            conn.execute("BEGIN IMMEDIATE; DELETE FROM system_metrics")
            assert count(reader, "system_metrics") == 4
            conn.execute("ROLLBACK")


@pytest.mark.skipif(sys.platform == "win32", reason="an open file cannot be moved there")
@pytest.mark.parametrize("becomes", ["moved", "deleted", "replaced"])
def test_given_a_database_that_is_taken_away_when_written_again_then_refused_and_every_row_is_where_it_belongs(
    conn, tmp_path, becomes
):
    path, aside = tmp_path / "k.db", tmp_path / "aside.db"
    store = Store(conn, StandingClock())
    with store.transaction() as tx:
        tx.insert(facts(*session()))
    # When
    os.link(path, aside)
    path.unlink()
    if becomes == "moved":
        (tmp_path / "k.db-wal").rename(tmp_path / "aside.db-wal")
    if becomes == "replaced":
        open_for_writing(tmp_path / "other.db").conn.close()
        (tmp_path / "other.db").rename(path)
    # Then
    with pytest.raises(DatabaseUnusable, match="moved, deleted or replaced while it was open"), store.transaction():
        raise AssertionError("no transaction may begin")
    conn.close()
    with closing(apsw.Connection(str(aside))) as old:
        assert count(old, "system_metrics") > 0
    if becomes == "replaced":
        with closing(apsw.Connection(str(path))) as new:
            assert count(new, "system_metrics") == count(new, "sessions") == 0
            assert new.execute("PRAGMA integrity_check").get == "ok"
