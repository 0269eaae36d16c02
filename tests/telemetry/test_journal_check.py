"""A journal by itself: whatever an engine would not have written is found, with its byte and its record."""

import os

import pytest

from shared import journal as shared_journal
from shared.codec import encode
from shared.journal import HEADER, Damage, frame, read_frames
from telemetry_proc.journal_check import check, walk
from telemetry_proc.journals import Journal
from tests.shared.record_examples import EXAMPLES, TICK
from tests.telemetry.an_engine import UID, encoded, session, write_journal

PAYLOADS = encoded(session(6))


def found(path):
    verdict = check(path)
    return [finding.code for finding in verdict.findings]


def start_of(number, payloads=PAYLOADS):
    return len(HEADER) + sum(len(frame(payload)) for payload in payloads[:number])


def test_given_a_whole_journal_when_checked_then_nothing_is_found(tmp_path):
    verdict = check(write_journal(tmp_path, PAYLOADS))

    assert (verdict.findings, verdict.records, verdict.session_uid) == ([], len(PAYLOADS), UID)
    assert not verdict.is_stored, "nobody has looked into a database"


def test_given_any_flipped_byte_when_checked_then_it_is_never_fine_and_only_in_the_last_record_a_note(tmp_path):
    path = write_journal(tmp_path, PAYLOADS)
    whole = path.read_bytes()
    last = start_of(len(PAYLOADS) - 1)
    for place in range(0, len(whole), 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
        verdict = check(path)
        assert bool(verdict.failures) is (place < last), place
        assert verdict.findings, place


def test_given_a_corrupt_middle_when_checked_then_byte_and_missing_record_are_named(tmp_path):
    path = write_journal(tmp_path, PAYLOADS)
    damaged = bytearray(path.read_bytes())
    damaged[start_of(3) + 20] ^= 1
    path.write_bytes(damaged)

    corrupt, missing = check(path).findings

    length = len(frame(PAYLOADS[3]))
    assert (corrupt.code, str(corrupt)) == ("bytes_corrupt", f"byte {start_of(3)}: {length} corrupt bytes")
    assert (missing.code, missing.record, missing.position) == ("records_missing", 4, start_of(4))
    assert "records 3 to 3 are missing before it" in str(missing)


@pytest.mark.parametrize(
    ("payloads", "codes"),
    [
        ([*PAYLOADS[:3], PAYLOADS[2], *PAYLOADS[3:]], ["record_repeated"]),
        ([*PAYLOADS[:3], *PAYLOADS[5:]], ["records_missing"]),
        ([*PAYLOADS[:3], PAYLOADS[4], PAYLOADS[3], *PAYLOADS[5:]], ["records_missing", "record_repeated"]),
        ([*PAYLOADS[:3], b"\xc1 nonsense", *PAYLOADS[4:]], ["record_unreadable"]),
        ([*PAYLOADS[:3], encode(UID, 3, TICK._replace(mid=float("nan"))), *PAYLOADS[4:]], ["record_unreadable"]),
        ([*PAYLOADS[:3], encode("another", 3, TICK), *PAYLOADS[4:]], ["record_unreadable"]),
        ([encode(UID, 0, TICK), *PAYLOADS[1:]], ["record_misplaced"]),
        (PAYLOADS[1:], ["records_missing"]),
        ([*PAYLOADS[:3], encode(UID, 3, EXAMPLES["session_opened"]), *PAYLOADS[4:]], ["record_misplaced"]),
        ([*PAYLOADS, encode(UID, len(PAYLOADS), TICK)], ["record_after_end"]),
    ],
)
def test_given_frames_that_are_whole_but_not_what_an_engine_writes_when_checked_then_it_is_said(
    tmp_path, payloads, codes
):
    path = write_journal(tmp_path, payloads)

    assert found(path) == codes
    assert check(path).failures == len(codes)


def test_given_another_name_when_checked_then_the_right_one_is_told(tmp_path):
    path = write_journal(tmp_path, PAYLOADS).rename(tmp_path / "copy.kj")

    verdict = check(path)

    assert [finding.code for finding in verdict.findings] == ["name_differs"]
    assert f"{UID}.kj" in str(verdict.findings[0])


@pytest.mark.parametrize(
    ("content", "code", "failures"),
    [
        (b"", "no_record", 0),
        (HEADER, "no_record", 0),
        (HEADER[:5], "tail_torn", 0),
        (HEADER + frame(PAYLOADS[0])[:30], "tail_torn", 0),
        (b"KEDGEJ\x00\x02" + frame(PAYLOADS[0]), "journal_unreadable", 1),
        (b"SQLite format 3\x00", "journal_unreadable", 1),
    ],
)
def test_given_a_file_without_a_record_when_checked_then_a_crash_is_no_failure_and_a_foreign_file_is(
    tmp_path, content, code, failures
):
    path = tmp_path / f"{UID}.kj"
    path.write_bytes(content)

    verdict = check(path)

    assert code in [finding.code for finding in verdict.findings]
    assert (verdict.failures, verdict.records) == (failures, 0)


def test_given_records_without_a_name_in_a_file_without_a_name_when_checked_then_it_is_said(tmp_path):
    (tmp_path / "no session!.kj").write_bytes(HEADER + frame(b"\xc1"))

    assert found(tmp_path / "no session!.kj") == ["session_unknown"]


def test_given_a_directory_or_nothing_where_the_journal_should_be_when_checked_then_it_is_a_finding(tmp_path):
    (tmp_path / "dir.kj").mkdir()

    assert found(tmp_path / "dir.kj") == ["journal_unreadable"]
    assert found(tmp_path / "none.kj") == ["journal_unreadable"]
    assert "No such file" in str(check(tmp_path / "none.kj").findings[0])


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="needs somebody whom modes keep out")
def test_given_a_journal_that_may_not_be_read_when_checked_then_it_is_a_finding(tmp_path):
    path = write_journal(tmp_path, PAYLOADS)
    path.chmod(0)

    assert "Permission denied" in str(check(path).findings[0])


def test_given_a_journal_that_grows_while_it_is_walked_then_only_what_was_there_at_the_start_is(tmp_path):
    path = write_journal(tmp_path, PAYLOADS[:4])
    steps = walk(Journal(path, UID))
    seen = [next(steps)]
    with path.open("ab") as file:
        file.write(b"".join(map(frame, PAYLOADS[4:])))
    seen += steps

    assert [step.record.seq for step in seen] == [0, 1, 2, 3]


def test_given_a_record_on_its_way_when_it_lands_while_its_end_is_looked_for_then_it_is_torn_now_and_never_corrupt(
    tmp_path, monkeypatch
):
    path = write_journal(tmp_path, PAYLOADS[:4])
    late = b"".join(map(frame, PAYLOADS[4:6]))

    def landing(*arguments, search=shared_journal._next_frame):
        with path.open("ab") as file:
            file.write(late[20:])
        monkeypatch.undo()
        return search(*arguments)

    with path.open("ab") as file:
        file.write(late[:20])
    monkeypatch.setattr(shared_journal, "_next_frame", landing)

    seen = list(read_frames(path))

    assert seen[4:] == [Damage(start_of(4), 20, "torn")]
    assert found(path) == []
