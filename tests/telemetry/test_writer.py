import logging
import threading
from contextlib import closing

import apsw
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.errors import DatabaseUnusable
from shared.journal import JournalWriter, journal_path
from telemetry_proc.connection import open_for_writing
from telemetry_proc.journals import JournalDirectory
from telemetry_proc.offsets import fresh_offsets
from tests.shared.record_examples import EXAMPLES, any_record
from tests.telemetry.an_engine import UID, a_writer, encoded, expected, one_tick, session, stored, write_journal

OTHER = "20261120T150000-000000"


def test_given_a_whole_session_on_the_socket_when_stepped_then_every_record_is_a_row_bit_by_bit(tmp_path):
    records = session()
    with a_writer(tmp_path) as (writer, arrivals, _, _):
        arrivals.deliver(*encoded(records))

        writer.step()

    assert stored(tmp_path / "k.db") == expected(records)


def test_3_given_a_tick_with_a_valid_error_when_stored_then_the_column_holds_that_exact_float(tmp_path):
    error = 7.000000000000001
    with a_writer(tmp_path) as (writer, arrivals, conn, _):
        arrivals.deliver(*encoded([EXAMPLES["session_opened"], one_tick(anchor_error_bps=error)]))

        writer.step()

        assert conn.execute("SELECT anchor_error_bps FROM system_metrics").fetchall() == [(error,)]


def test_4_given_a_tick_with_none_when_stored_then_the_column_holds_null_not_zero(tmp_path):
    with a_writer(tmp_path) as (writer, arrivals, conn, _):
        arrivals.deliver(*encoded([EXAMPLES["session_opened"], one_tick(anchor_error_bps=None)]))

        writer.step()

        found = conn.execute("SELECT anchor_error_bps, typeof(anchor_error_bps) FROM system_metrics").fetchall()
        assert found == [(None, "null")]


@pytest.mark.parametrize("quoting", [True, False])
def test_6_given_other_columns_when_stored_then_they_round_trip_unharmed(tmp_path, quoting):
    distances = {} if quoting else {"distance_to_touch_bid_bps": None, "distance_to_touch_ask_bps": None}
    tick = one_tick(**distances)
    names = (
        *("mid", "clob_bid", "clob_ask", "base_balance", "quote_balance", "inventory_skew"),
        *("distance_to_touch_bid_bps", "distance_to_touch_ask_bps"),
    )
    with a_writer(tmp_path) as (writer, arrivals, conn, _):
        arrivals.deliver(*encoded([EXAMPLES["session_opened"], tick]))

        writer.step()

        row = conn.execute(f"SELECT {', '.join(names)} FROM system_metrics").fetchone()
    assert row == tuple(getattr(tick, name) for name in names)


def test_given_two_engines_when_their_records_mix_then_each_session_is_whole(tmp_path):
    ours, theirs = session(2), session(4)
    mixed = [payload for pair in zip(encoded(ours), encoded(theirs, OTHER), strict=False) for payload in pair]
    mixed += encoded(theirs, OTHER)[len(ours) :]
    with a_writer(tmp_path, batch_max=3) as (writer, arrivals, _, _):
        arrivals.deliver(*mixed)

        while writer.step():
            pass

    assert stored(tmp_path / "k.db", 1) == expected(ours, 1)
    assert stored(tmp_path / "k.db", 2) == expected(theirs, 2)


def test_given_a_writer_that_was_down_when_it_starts_then_it_catches_up_from_the_journals(tmp_path):
    records = session(50)
    write_journal(tmp_path / "j", encoded(records))
    with a_writer(tmp_path, batch_max=7) as (writer, _, conn, _):
        assert writer.catch_up() == len(records)
        assert conn.execute("SELECT status FROM sessions").fetchall() == [("ENDED",)]

        assert writer.catch_up() == 0

    assert stored(tmp_path / "k.db") == expected(records)


def test_given_a_record_that_cannot_be_read_when_stepped_then_its_bytes_and_reason_are_on_file(tmp_path):
    good = encoded(session(2))
    with a_writer(tmp_path) as (writer, arrivals, conn, _):
        arrivals.deliver(good[0], b"\xc1 no msgpack", *good[1:])

        writer.step()

        rejects = conn.execute("SELECT session_uid, seq, source, payload, payload_bytes FROM telemetry_rejects")
        assert rejects.fetchall() == [(None, None, "socket", b"\xc1 no msgpack", 12)]
    assert stored(tmp_path / "k.db") == expected(session(2))


def test_given_a_record_with_nonsense_in_it_when_stepped_then_it_is_a_reject_and_the_session_goes_on(tmp_path):
    records = [EXAMPLES["session_opened"], one_tick(tick=1), one_tick(tick="two"), one_tick(tick=3)]
    with a_writer(tmp_path) as (writer, arrivals, conn, _):
        arrivals.deliver(*encoded(records))

        writer.step()

        rejects = conn.execute("SELECT session_uid, seq, reason FROM telemetry_rejects").fetchall()
        assert [(uid, seq) for uid, seq, _ in rejects] == [(UID, 2)]
        assert "tick.tick" in rejects[0][2]
        assert conn.execute("SELECT tick FROM system_metrics").fetchall() == [(1,), (3,)]
        assert conn.execute("SELECT next_seq FROM telemetry_offsets").fetchall() == [(4,)]
        assert conn.execute("SELECT count(*) FROM telemetry_gaps").fetchall() == [(0,)]


def test_given_no_session_opened_when_a_tick_arrives_then_a_stub_of_the_session_holds_it(tmp_path):
    with a_writer(tmp_path) as (writer, arrivals, conn, _):
        arrivals.deliver(encoded(session(2))[1])

        writer.step()

        assert conn.execute("SELECT session_uid, status, pair FROM sessions").fetchall() == [(UID, "RUNNING", None)]
        assert conn.execute("SELECT session_id, seq FROM system_metrics").fetchall() == [(1, 1)]
        gaps = conn.execute("SELECT first_seq, last_seq, reason, filled FROM telemetry_gaps").fetchall()
        assert gaps == [(0, 0, "no journal", 0)]

        arrivals.deliver(encoded(session(2))[0])  # reordered on the way: it fills the gap
        writer.step()

        assert conn.execute("SELECT status, pair FROM sessions").fetchall() == [("RUNNING", "XRP/RLUSD")]
        assert conn.execute("SELECT missing_from, filled FROM telemetry_gaps").fetchall() == [(None, 1)]


def when_logged(text):
    """An event that is set when a log line with this text is written."""
    happened = threading.Event()

    class Handler(logging.Handler):
        def emit(self, record):
            if text in record.getMessage():
                happened.set()

    handler = Handler()
    logging.getLogger("telemetry_proc").addHandler(handler)
    return happened, lambda: logging.getLogger("telemetry_proc").removeHandler(handler)


def test_given_a_locked_database_when_it_is_released_then_the_kept_batch_is_stored_and_said_once(tmp_path, caplog):
    records = session(5)
    caplog.set_level(logging.INFO)
    failing, forget = when_logged("takes nothing")
    with a_writer(tmp_path) as (writer, arrivals, _, _), closing(apsw.Connection(str(tmp_path / "k.db"))) as other:
        other.execute("BEGIN IMMEDIATE")
        arrivals.deliver(*encoded(records))
        step = threading.Thread(target=writer.step)
        step.start()
        assert failing.wait(20)
        other.execute("ROLLBACK")
        step.join(20)
        assert not step.is_alive()
    forget()

    assert stored(tmp_path / "k.db") == expected(records)
    said = [line for line in caplog.messages if "takes" in line]
    assert len([line for line in said if "takes nothing" in line]) == 1
    assert said[-1].endswith("takes records again")


def test_given_a_full_disk_when_told_to_stop_then_one_line_says_it_and_the_next_start_loses_nothing(tmp_path):
    records = session(400)
    write_journal(tmp_path / "j", encoded(records))
    with a_writer(tmp_path, batch_max=50) as (writer, _, conn, stop):
        pages = conn.pragma("page_count")
        conn.pragma("max_page_count", pages + 8)
        stop.request()

        with pytest.raises(DatabaseUnusable, match=r"k\.db: stopped while it takes nothing \(.*full"):
            writer.run()

        stored_so_far = conn.execute("SELECT next_seq FROM telemetry_offsets").fetchall()
        assert stored_so_far[0][0] < len(records)
        # rows and offset stand and fall together
        assert conn.execute("SELECT max(seq) + 1 FROM system_metrics").fetchall() == stored_so_far

    with a_writer(tmp_path) as (writer, _, _, _):
        writer.catch_up()
    assert stored(tmp_path / "k.db") == expected(records)


def test_given_a_lock_that_is_released_before_the_stop_when_stopped_then_the_last_try_stores_the_batch(tmp_path):
    records = session(5)
    failing, forget = when_logged("takes nothing")
    with a_writer(tmp_path) as (writer, arrivals, _, stop), closing(apsw.Connection(str(tmp_path / "k.db"))) as other:

        def wait(_pause_ms):
            other.execute("ROLLBACK")
            stop.request()

        stop.wait = wait
        other.execute("BEGIN IMMEDIATE")
        arrivals.deliver(*encoded(records))

        writer.step()

        assert failing.is_set()
        assert stop.requested
    forget()
    assert stored(tmp_path / "k.db") == expected(records)


@pytest.mark.parametrize("what", ["deleted", "moved", "replaced"])
def test_given_a_database_that_is_gone_from_its_place_when_more_comes_then_the_writer_stops_and_nothing_is_lost(
    tmp_path, what
):
    database, records = tmp_path / "k.db", session(20)
    write_journal(tmp_path / "j", encoded(records))
    if what == "replaced":
        open_for_writing(tmp_path / "new.db").conn.close()
    with a_writer(tmp_path) as (writer, arrivals, _, _):
        arrivals.deliver(*encoded(records)[:10])
        writer.step()
        match what:
            case "deleted":
                database.unlink()
            case "moved":
                database.rename(tmp_path / "moved.db")
            case "replaced":
                (tmp_path / "new.db").replace(database)
        arrivals.deliver(*encoded(records)[10:])

        with pytest.raises(DatabaseUnusable, match=r"k\.db: moved, deleted or replaced"):
            writer.step()

        assert (tmp_path / "k.db-wal").stat().st_size == 0  # another database's log would spoil the new one

    with a_writer(tmp_path) as (writer, _, conn, _):
        writer.catch_up()
        assert conn.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert stored(database) == expected(records)


def test_given_a_socket_that_is_never_empty_when_another_session_fell_silent_then_it_is_read_meanwhile(tmp_path):
    busy, seen = iter(encoded(session(40), OTHER)), []
    with a_writer(tmp_path) as (writer, arrivals, conn, stop):

        def drain(_batch_max, _flush_ms):
            seen.extend(conn.execute("SELECT count(*) FROM sessions WHERE session_uid = ?", (UID,)).fetchone())
            if len(seen) == 1:
                write_journal(tmp_path / "j", encoded(session()))
            if seen[-1] or len(seen) == 20:
                stop.request()
            return [next(busy)]

        arrivals.drain = drain
        writer.run()

    assert seen[-1] == 1  # the last look at the journals comes after the last look into the socket


def test_given_a_session_on_the_socket_when_the_journals_are_looked_at_meanwhile_then_its_own_is_left_alone(tmp_path):
    payloads = encoded(session(20))
    write_journal(tmp_path / "j", payloads)
    with a_writer(tmp_path) as (writer, arrivals, _, _):
        for first in (0, 5):
            arrivals.deliver(*payloads[first : first + 5])
            writer.step()
            assert writer.catch_up(silent_only=True) == 0

        assert writer.catch_up(silent_only=True) == len(payloads) - 10  # nothing came since: it fell silent


def test_given_journals_that_take_long_when_told_to_stop_then_it_breaks_off_and_the_next_start_has_the_rest(
    tmp_path, caplog
):
    records = session(400)
    write_journal(tmp_path / "j", encoded(records))
    with a_writer(tmp_path, batch_max=10) as (writer, _, conn, stop):
        stop.request()

        writer.run()

        assert 0 < conn.execute("SELECT max(seq) FROM system_metrics").fetchone()[0] < 200
    assert [line for line in caplog.messages if "stored at the next start" in line]

    with a_writer(tmp_path) as (writer, _, _, _):
        writer.catch_up()
    assert stored(tmp_path / "k.db") == expected(records)


def test_given_a_journal_that_grows_as_fast_as_it_is_read_when_caught_up_then_the_others_have_their_turn(tmp_path):
    payloads, other = encoded(session(300)), encoded(session(3), OTHER)
    write_journal(tmp_path / "j", other, OTHER)
    with closing(JournalWriter(journal_path(tmp_path / "j", UID))) as journal:
        journal.append(payloads[0])
        records = JournalDirectory(tmp_path / "j").read_grown(fresh_offsets())

        taken = [
            record.session_uid
            for record, payload in zip(records, payloads[1:], strict=False)
            if journal.append(payload)
        ]

    assert taken == [UID] * taken.count(UID) + [OTHER] * len(other)
    assert taken.count(UID) < 10


# --- the law of the writer: whatever happens on the way, the rows are the journal's records, once each, in order

KINDS_BETWEEN = sorted(kind for kind in EXAMPLES if kind != "session_opened")


@st.composite
def any_session(draw):
    records = [draw(any_record("session_opened"))]
    for number in range(1, draw(st.integers(0, 12)) + 1):
        record = draw(any_record(draw(st.sampled_from(KINDS_BETWEEN))))
        records.append(record._replace(tick=number) if "tick" in record._fields else record)
    return records


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(sessions=st.lists(any_session(), min_size=1, max_size=2), data=st.data())
def test_given_any_drops_repeats_reordering_and_restarts_then_rows_are_the_journals_records_once_in_order(
    tmp_path_factory, sessions, data
):
    home = tmp_path_factory.mktemp("law")
    uids = [UID, OTHER][: len(sessions)]
    payloads = {uid: encoded(records, uid) for uid, records in zip(uids, sessions, strict=True)}
    journals = {uid: JournalWriter(journal_path(home / "j", uid)) for uid in uids}
    written = dict.fromkeys(uids, 0)
    batch_max = data.draw(st.integers(1, 5))

    def journal(uid, number):  # the engine journals before it sends
        for payload in payloads[uid][written[uid] : written[uid] + number]:
            journals[uid].append(payload)
            written[uid] += 1

    def lifetime_of_a_writer():
        with a_writer(home, batch_max) as (writer, arrivals, _, _):
            for _ in range(data.draw(st.integers(0, 8))):
                uid = data.draw(st.sampled_from(uids))
                match data.draw(st.sampled_from(["journal", "deliver", "deliver", "step", "step", "catch up"])):
                    case "journal":
                        journal(uid, data.draw(st.integers(1, 5)))
                    case "deliver" if written[uid]:
                        arrivals.deliver(payloads[uid][data.draw(st.integers(0, written[uid] - 1))])
                    case "step":
                        writer.step()
                    case "catch up":
                        writer.catch_up()

    for _ in range(data.draw(st.integers(1, 3))):
        lifetime_of_a_writer()
    for uid in uids:
        journal(uid, len(payloads[uid]))
        journals[uid].close()
    with a_writer(home, batch_max) as (writer, _, conn, _):
        writer.catch_up()
        numbers = dict(conn.execute("SELECT session_uid, session_id FROM sessions"))
        assert conn.execute("SELECT count(*) FROM telemetry_gaps").fetchall() == [(0,)]
        assert conn.execute("SELECT count(*) FROM telemetry_rejects").fetchall() == [(0,)]

    for uid, records in zip(uids, sessions, strict=True):
        assert stored(home / "k.db", numbers[uid]) == expected(_last_openings(records), numbers[uid])


def _last_openings(records):
    """A session may be closed more than once in this test, never in life: the last one stands in `sessions`."""
    closings = [index for index, record in enumerate(records) if type(record) is type(EXAMPLES["session_closed"])]
    return [None if index in closings[:-1] else record for index, record in enumerate(records)]
