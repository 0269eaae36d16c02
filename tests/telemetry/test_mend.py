import logging
import os

import pytest

from shared.journal import FRAME_HEAD_BYTES, HEADER, frame
from telemetry_proc import journals, mend
from telemetry_proc.journals import JournalDirectory
from telemetry_proc.offsets import Gap, Offset, fresh_offsets
from tests.shared.record_examples import EXAMPLES
from tests.telemetry.an_engine import UID, a_writer, encoded, one_tick, session, write_journal

TICKS = encoded([EXAMPLES["session_opened"], *(one_tick(tick=number) for number in range(1, 20))])


def taken(payloads, offsets, journal_dir):
    return [record.seq for record in mend.in_order(payloads, offsets, journal_dir)]


def test_given_records_in_order_when_mended_then_all_are_taken_and_the_position_is_the_journals_length(tmp_path):
    offsets = fresh_offsets()
    path = write_journal(tmp_path, TICKS)

    assert taken(TICKS, offsets, tmp_path) == list(range(20))

    assert offsets[UID].position == path.stat().st_size


def test_given_a_duplicate_when_mended_then_it_is_left_out(tmp_path):
    offsets = fresh_offsets()

    assert taken([TICKS[0], TICKS[1], TICKS[0], TICKS[1], TICKS[2]], offsets, tmp_path) == [0, 1, 2]


def test_given_a_gap_when_the_journal_has_it_then_it_is_read_in_its_place(tmp_path):
    offsets = fresh_offsets()
    write_journal(tmp_path, TICKS)

    assert taken([TICKS[0], TICKS[5], TICKS[6], TICKS[9]], offsets, tmp_path) == list(range(10))

    assert offsets[UID].gaps == []


def test_given_a_long_session_when_a_gap_is_mended_then_reading_starts_at_the_stored_byte(tmp_path, monkeypatch):
    offsets = fresh_offsets()
    write_journal(tmp_path, TICKS)
    read_from = []

    def spying(*arguments, read=journals.read_frames):
        read_from.append(arguments[1:])
        return read(*arguments)

    monkeypatch.setattr(journals, "read_frames", spying)

    assert taken([*TICKS[:10], TICKS[12]], offsets, tmp_path) == list(range(13))

    assert read_from == [(len(HEADER) + sum(FRAME_HEAD_BYTES + len(payload) for payload in TICKS[:10]),)]


def test_given_a_gap_that_nobody_can_fill_when_mended_then_it_is_remembered_and_the_rest_goes_on(tmp_path, caplog):
    offsets = fresh_offsets()

    assert taken([TICKS[0], TICKS[4], TICKS[5]], offsets, tmp_path) == [0, 4, 5]

    assert offsets[UID] == Offset(6, None, [Gap(1, 3, 1, "no journal")], {1: Gap(1, 3, 1, "no journal")})
    assert caplog.messages == [f"session {UID}: records 1 to 3 are missing: no journal"]


def test_given_an_unknown_position_when_the_journal_is_there_then_the_place_is_found_again(tmp_path):
    offsets = fresh_offsets()
    taken([TICKS[0], TICKS[4], TICKS[5]], offsets, tmp_path)
    path = write_journal(tmp_path, TICKS)

    assert taken([TICKS[8]], offsets, tmp_path) == [6, 7, 8]

    assert path.stat().st_size - offsets[UID].position == sum(FRAME_HEAD_BYTES + len(p) for p in TICKS[9:])


def test_given_a_position_that_is_wrong_when_a_gap_is_read_then_the_journal_is_searched_from_its_start(tmp_path):
    write_journal(tmp_path, TICKS)
    for wrong in (len(HEADER) + 3, 1_000_000, len(HEADER)):
        offsets = fresh_offsets()
        offsets[UID] = Offset(5, wrong)

        assert taken([TICKS[9]], offsets, tmp_path) == [5, 6, 7, 8, 9]


@pytest.mark.parametrize("order", [[2, 1, 3], [3, 2, 1], [1, 3, 2], [2, 3, 1, 2]])
def test_given_no_journal_when_records_come_reordered_then_each_is_taken_once(tmp_path, order):
    offsets = fresh_offsets()

    found = taken([TICKS[seq] for seq in (0, *order, 4)], offsets, tmp_path)

    assert sorted(found) == [0, 1, 2, 3, 4]
    assert offsets[UID].gaps == []


def test_given_a_late_record_from_the_middle_of_a_gap_when_taken_then_both_rests_stay_gaps():
    offset = Offset()
    offset.skip_to(10, "no journal")

    assert offset.fill(4)
    assert not offset.fill(4)

    assert offset.gaps == [Gap(0, 3, 0, "no journal"), Gap(4, 9, 5, "no journal")]
    assert [offset.fill(seq) for seq in range(10)] == [True] * 4 + [False] + [True] * 5
    assert offset.gaps == []
    assert offset.gaps_changed == {0: Gap(0, 3, None, "no journal"), 4: Gap(4, 9, None, "no journal")}


def corrupted(tmp_path, seq):
    """A journal with one byte of record `seq` flipped; returns where its frame starts."""
    path = write_journal(tmp_path, TICKS)
    position = len(HEADER) + sum(FRAME_HEAD_BYTES + len(payload) for payload in TICKS[:seq])
    data = bytearray(path.read_bytes())
    data[position + FRAME_HEAD_BYTES + 5] ^= 0xFF
    path.write_bytes(data)
    return position


def test_given_a_corrupt_frame_when_caught_up_then_it_is_said_once_the_gap_noted_and_the_rest_stored(tmp_path, caplog):
    position = corrupted(tmp_path / "j", 7)
    caplog.set_level(logging.INFO)
    with a_writer(tmp_path, batch_max=4) as (writer, _, conn, _):
        writer.catch_up()
        writer.catch_up()

        assert conn.execute("SELECT seq FROM system_metrics").fetchall() == [(s,) for s in range(1, 20) if s != 7]
        gaps = conn.execute("SELECT first_seq, last_seq, reason, noticed_at FROM telemetry_gaps").fetchall()
        assert gaps == [(7, 7, f"corrupt bytes in the journal at {position}", "2025-11-21T04:40:00.000Z")]
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert len([line for line in said if "corrupt bytes at byte" in line]) == 1

    with a_writer(tmp_path) as (writer, _, conn, _):  # a restart finds nothing new to say
        caplog.clear()
        assert writer.catch_up() == 0
        assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_given_a_corrupt_frame_when_the_socket_had_the_record_then_nothing_is_missing(tmp_path):
    corrupted(tmp_path / "j", 7)
    with a_writer(tmp_path) as (writer, arrivals, conn, _):
        arrivals.deliver(*TICKS[:9], TICKS[15])
        writer.step()
        writer.catch_up()

        assert conn.execute("SELECT seq FROM system_metrics").fetchall() == [(seq,) for seq in range(1, 20)]
        assert conn.execute("SELECT count(*) FROM telemetry_gaps").fetchall() == [(0,)]


def test_given_a_frame_that_is_no_record_when_caught_up_then_its_place_says_which_it_was(tmp_path):
    write_journal(tmp_path / "j", [*TICKS[:3], b"\xc1", *TICKS[4:]])
    with a_writer(tmp_path) as (writer, _, conn, _):
        writer.catch_up()

        rejects = conn.execute("SELECT session_uid, seq, source, payload FROM telemetry_rejects").fetchall()
        assert rejects == [(UID, 3, "journal", b"\xc1")]
        assert conn.execute("SELECT count(*) FROM telemetry_gaps").fetchall() == [(0,)]
        assert conn.execute("SELECT max(seq), count(*) FROM system_metrics").fetchall() == [(19, 18)]


def test_given_a_torn_tail_when_it_is_whole_later_then_its_record_is_read_then(tmp_path):
    path = write_journal(tmp_path / "j", TICKS[:5])
    whole = frame(TICKS[5])
    with a_writer(tmp_path) as (writer, _, conn, _):
        with path.open("ab") as journal:
            journal.write(whole[:-3])
        assert writer.catch_up() == 5
        with path.open("ab") as journal:
            journal.write(whole[-3:])

        assert writer.catch_up() == 1

        assert conn.execute("SELECT count(*) FROM telemetry_gaps").fetchall() == [(0,)]


def test_given_an_unchanged_journal_when_looked_at_again_then_it_is_not_opened(tmp_path, monkeypatch):
    write_journal(tmp_path, TICKS)
    offsets = fresh_offsets()
    directory = JournalDirectory(tmp_path)
    assert len(list(directory.read_grown(offsets))) == 20
    monkeypatch.setattr(journals, "read_frames", None)

    assert list(directory.read_grown(offsets)) == []


def test_given_files_that_are_no_journals_when_caught_up_then_it_is_said_once_and_the_others_are_read(tmp_path, caplog):
    (tmp_path / "j").mkdir()
    (tmp_path / "j" / "a.kj").write_bytes(b"something else")
    (tmp_path / "j" / "b.kj").mkdir()
    (tmp_path / "j" / "c.kj").write_bytes(HEADER)
    write_journal(tmp_path / "j", encoded(session(2)))
    with a_writer(tmp_path) as (writer, _, _, _):
        assert writer.catch_up() == len(session(2))
        assert writer.catch_up() == 0

    said = [message for message in caplog.messages if "cannot be read" in message]
    assert [("a.kj" in line, "b.kj" in line) for line in said] == [(True, False), (False, True)]


def test_given_a_renamed_journal_when_read_then_its_first_record_says_whose_it_is(tmp_path):
    write_journal(tmp_path, TICKS).rename(tmp_path / "kept from november.kj")
    offsets = fresh_offsets()

    assert len(list(JournalDirectory(tmp_path).read_grown(offsets))) == 20

    assert offsets[UID].next_seq == 20


def test_given_a_journal_directory_that_cannot_be_read_when_looked_at_then_it_is_said_once(tmp_path, caplog):
    (tmp_path / "j").write_text("no directory")
    directory = JournalDirectory(tmp_path / "j")

    assert [*directory.read_grown(fresh_offsets()), *directory.read_grown(fresh_offsets())] == []

    assert [line for line in caplog.messages if "the journals cannot be read" in line] == caplog.messages
    assert len(caplog.messages) == 1


def test_given_no_journal_directory_when_looked_at_then_it_is_said_once(tmp_path, caplog):
    directory = JournalDirectory(tmp_path / "none")

    assert [*directory.read_grown(fresh_offsets()), *directory.read_grown(fresh_offsets())] == []

    assert ["no journal directory" in line for line in caplog.messages] == [True]


@pytest.mark.skipif(os.name != "posix", reason="pipes with a name are POSIX")
def test_given_a_pipe_among_the_journals_when_caught_up_then_it_is_said_and_the_others_are_read(tmp_path, caplog):
    write_journal(tmp_path, TICKS)
    os.mkfifo(tmp_path / "0.kj")

    assert len(list(JournalDirectory(tmp_path).read_grown(fresh_offsets()))) == 20

    assert ["0.kj" in line for line in caplog.messages] == [True]
