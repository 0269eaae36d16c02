from contextlib import closing

import apsw
import pytest

from shared.errors import DatabaseUnusable, JournalCorrupt, UsageError
from telemetry_proc.backfill import Backfilled, backfill
from telemetry_proc.lock import sole_writer
from tests.shared.record_examples import EXAMPLES
from tests.telemetry.an_engine import (
    UID,
    StandingClock,
    a_writer,
    contents,
    encoded,
    expected,
    session,
    stored,
    write_journal,
)

LATER = "20261121T090000-aaaaaa"


def run(database, *sources):
    return list(backfill(database, sources, StandingClock()))


def test_given_a_journal_when_backfilled_into_nothing_then_every_table_is_as_the_live_path_leaves_it(tmp_path):
    payloads = encoded(session(30))
    payloads[4] = b"\xc1 no record"
    path = write_journal(tmp_path / "j", payloads)
    with a_writer(tmp_path, batch_max=7) as (writer, arrivals, _, _):
        arrivals.deliver(*payloads[:4], *payloads[5:])  # what cannot be read, no engine sends
        while writer.step():
            pass

    assert run(tmp_path / "b.db", path) == [Backfilled(str(path), UID, len(payloads), 0)]

    assert contents(tmp_path / "b.db") == contents(tmp_path / "k.db")
    assert len(contents(tmp_path / "b.db")["system_metrics"]) == 29


def test_given_a_backfilled_database_when_backfilled_again_then_nothing_changes(tmp_path):
    write_journal(tmp_path / "j", encoded(session()))
    run(tmp_path / "b.db", tmp_path / "j")
    before = contents(tmp_path / "b.db", leave_out=())

    assert [done.stored for done in run(tmp_path / "b.db", tmp_path / "j")] == [0]

    assert contents(tmp_path / "b.db", leave_out=()) == before


def test_given_a_half_stored_session_when_backfilled_then_the_rest_is_added(tmp_path):
    records = session(10)
    path = write_journal(tmp_path / "j", encoded(records))
    with a_writer(tmp_path) as (writer, arrivals, _, _):
        arrivals.deliver(*encoded(records)[:5])
        writer.step()

    assert run(tmp_path / "k.db", path, path, tmp_path / "j")[0].stored == len(records) - 5

    assert stored(tmp_path / "k.db") == expected(records)


def test_given_gaps_of_a_remote_engine_when_its_journal_is_backfilled_then_they_are_filled_out_of_order(tmp_path):
    records = session(20)
    payloads = encoded(records)
    with a_writer(tmp_path) as (writer, arrivals, conn, _):
        arrivals.deliver(*payloads[1:4], *payloads[9:12], *payloads[20:])
        writer.step()
        gaps = conn.execute("SELECT first_seq, last_seq, missing_from FROM telemetry_gaps").fetchall()
        assert gaps == [(0, 0, 0), (4, 8, 4), (12, 19, 12)]
    some = write_journal(tmp_path / "some", payloads[:6])
    done = run(tmp_path / "k.db", some)
    assert done == [Backfilled(str(some), UID, 3, 3 + 8)]

    done = run(tmp_path / "k.db", write_journal(tmp_path / "all", payloads))

    assert (done[0].stored, done[0].missing) == (3 + 8, 0)
    found, wanted = stored(tmp_path / "k.db"), expected(records)
    assert {table: sorted(rows, key=repr) for table, rows in found.items()} == {
        table: sorted(rows, key=repr) for table, rows in wanted.items()
    }
    with closing(apsw.Connection(str(tmp_path / "k.db"))) as conn:
        assert conn.execute("SELECT DISTINCT filled, missing_from FROM telemetry_gaps").fetchall() == [(1, None)]


def test_given_an_older_session_when_backfilled_after_a_newer_one_then_engine_state_stays_the_newer_ones(tmp_path):
    opened, state = EXAMPLES["session_opened"], EXAMPLES["engine_state"]
    later = [opened._replace(wall_ns=opened.wall_ns + 10**12), state._replace(value="later")]
    first = [opened, state._replace(value="earlier"), state._replace(key="anchor.only_then")]
    write_journal(tmp_path / "later", encoded(later, LATER), LATER)
    write_journal(tmp_path / "first", encoded(first))

    run(tmp_path / "b.db", tmp_path / "later")
    run(tmp_path / "b.db", tmp_path / "first")

    with closing(apsw.Connection(str(tmp_path / "b.db"))) as conn:
        shown = dict(conn.execute("SELECT key, value FROM engine_state"))
        assert shown == {state.key: "later", "anchor.only_then": state.value}
        by_session = conn.execute("SELECT session_id, value FROM session_state WHERE key = ?", (state.key,)).fetchall()
        assert by_session == [(1, "later"), (2, "earlier")]


def test_given_a_live_writer_when_backfilled_then_it_is_refused_naming_the_holder(tmp_path):
    write_journal(tmp_path / "j", encoded(session()))
    with (
        sole_writer(tmp_path / "b.db", "write", "2026-11-20T14:02:09.113Z"),
        pytest.raises(DatabaseUnusable, match=r"b\.db: in use by pid \d+, write since 2026-11-20T14:02:09"),
    ):
        run(tmp_path / "b.db", tmp_path / "j")
    assert not (tmp_path / "b.db").exists()


def test_given_a_file_that_is_no_journal_when_backfilled_then_the_others_are_stored_and_it_is_named(tmp_path):
    write_journal(tmp_path / "j", encoded(session()))
    (tmp_path / "j" / "0.kj").write_bytes(b"something else")

    with pytest.raises(JournalCorrupt, match=r"0\.kj: not a Kedge journal"):
        run(tmp_path / "b.db", tmp_path / "j")

    assert stored(tmp_path / "b.db") == expected(session())


def test_given_a_file_that_cannot_be_read_when_backfilled_then_the_others_are_stored_and_it_is_named(tmp_path):
    write_journal(tmp_path / "j", encoded(session()))
    (tmp_path / "j" / "0.kj").symlink_to(tmp_path / "nowhere")

    with pytest.raises(JournalCorrupt, match=r"0\.kj: cannot read the journal: No such file"):
        run(tmp_path / "b.db", tmp_path / "j")

    assert stored(tmp_path / "b.db") == expected(session())


@pytest.mark.parametrize(("name", "why"), [("none", "no such journal or directory"), ("empty", "no journals")])
def test_given_a_source_that_is_not_there_when_backfilled_then_one_line_says_so_and_nothing_is_made(
    tmp_path, name, why
):
    (tmp_path / "empty").mkdir()

    with pytest.raises(UsageError, match=f"{name}: {why}"):
        run(tmp_path / "b.db", tmp_path / name)

    assert not (tmp_path / "b.db").exists()
