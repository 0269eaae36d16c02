"""A repair loses not one byte: whatever was broken, whenever it is killed, the file can be put together again."""

import os
import stat
import tempfile
from contextlib import closing
from pathlib import Path

import apsw
import pytest
from filelock import FileLock
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import FailSafeStop, JournalCorrupt, KedgeError
from shared.journal import ENGINE_LOCK, HEADER, Damage, Frame, frame, journal_path, read_frames
from telemetry_proc import journal_repair
from telemetry_proc.audit import compare
from telemetry_proc.backfill import backfill
from telemetry_proc.journal_repair import broken_pieces, repair
from telemetry_proc.journals import Journal
from telemetry_proc.reading import reading
from tests.shared.record_examples import EXAMPLES
from tests.telemetry.an_engine import UID, StandingClock, a_writer, encoded, one_tick, session, write_journal

PAYLOADS = encoded(session(6))
posix_only = pytest.mark.skipif(os.name != "posix", reason="file modes and owners are POSIX")


def payloads_in(path):
    return [found.payload for found in read_frames(path) if isinstance(found, Frame)]


def damages_in(path):
    return [found for found in read_frames(path) if isinstance(found, Damage) and found.length]


def put_back(path, number=None):
    """The file as it was before the last repair, or the one of that number: each piece at its byte, in order."""
    data = path.read_bytes()
    pieces = broken_pieces(path)
    for position, piece in sorted(pieces[max(pieces) if number is None else number].items()):
        data = data[:position] + piece.read_bytes() + data[position:]
    return data


def start_of(number):
    return len(HEADER) + sum(len(frame(payload)) for payload in PAYLOADS[:number])


def corrupted(tmp_path, *numbers, torn=b""):
    path = write_journal(tmp_path, PAYLOADS)
    data = bytearray(path.read_bytes())
    for number in numbers:
        data[start_of(number) + 12] ^= 0xFF
    path.write_bytes(data + torn)
    return path


def beside(path):
    return sorted(one.name for one in path.parent.iterdir() if one.name not in {path.name, ENGINE_LOCK})


# --- what is repaired, and what is left as it is


def test_given_a_torn_tail_when_repaired_then_it_is_saved_beside_the_file_and_cut(tmp_path):
    path = corrupted(tmp_path, torn=frame(b"half a record")[:15])
    size = path.stat().st_size - 15

    done = repair(path)

    assert done.damages == (Damage(size, 15, "torn"),)
    assert beside(path) == [f"{UID}.kj.1.{size:012}.broken"]
    assert done.saved[0].read_bytes() == frame(b"half a record")[:15]
    assert payloads_in(path) == PAYLOADS
    assert (path.stat().st_size, damages_in(path)) == (size, [])


def test_given_a_corrupt_middle_and_a_torn_tail_when_repaired_then_all_whole_records_are_left(tmp_path):
    path = corrupted(tmp_path, 2, 3, 7, torn=b"\x00" * 40)
    before = path.read_bytes()

    done = repair(path)

    assert [damage.kind for damage in done.damages] == ["corrupt", "corrupt", "torn"]
    assert payloads_in(path) == [payload for number, payload in enumerate(PAYLOADS) if number not in (2, 3, 7)]
    assert damages_in(path) == []
    assert put_back(path) == before


def test_given_a_whole_journal_when_repaired_then_neither_it_nor_its_directory_is_touched(tmp_path):
    path = write_journal(tmp_path, PAYLOADS)
    before = path.read_bytes(), path.stat()

    assert repair(path).damages == ()

    assert (path.read_bytes(), path.stat()) == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("content", [b"", HEADER])
def test_given_a_journal_without_a_record_when_repaired_then_it_is_left_as_it_is(tmp_path, content):
    path = tmp_path / f"{UID}.kj"
    path.write_bytes(content)

    assert repair(path).damages == ()
    assert path.read_bytes() == content


def test_given_half_a_header_when_repaired_then_it_is_kept_beside_an_empty_journal(tmp_path):
    path = tmp_path / f"{UID}.kj"
    path.write_bytes(HEADER[:5])

    repair(path)

    assert path.read_bytes() == b""
    assert put_back(path) == HEADER[:5]
    assert repair(path).damages == ()


def test_given_a_repaired_journal_when_repaired_again_then_nothing_changes(tmp_path):
    path = corrupted(tmp_path, 3, torn=b"xyz")
    repair(path)
    before = {one: (one.read_bytes(), one.stat().st_mtime_ns) for one in tmp_path.glob("*.kj*")}

    assert repair(path).damages == ()

    assert {one: (one.read_bytes(), one.stat().st_mtime_ns) for one in tmp_path.glob("*.kj*")} == before


def test_given_a_dry_run_when_asked_then_what_would_be_done_is_told_and_nothing_is(tmp_path):
    path = corrupted(tmp_path, 3, torn=b"xyz")
    before = path.read_bytes()

    told = repair(path, dry_run=True)

    assert (path.read_bytes(), list(tmp_path.iterdir())) == (before, [path])
    assert repair(path) == told


@pytest.mark.parametrize("content", [b"SQLite format 3\x00", b"KEDGEJ\x00\x02rest", b"X" + HEADER[1:] + frame(b"a")])
def test_given_what_is_no_journal_when_repaired_then_it_is_refused_and_left_alone(tmp_path, content):
    path = tmp_path / f"{UID}.kj"
    path.write_bytes(content)

    with pytest.raises(JournalCorrupt, match="not a Kedge journal"):
        repair(path)

    assert (path.read_bytes(), list(tmp_path.iterdir())) == (content, [path])


def test_given_a_running_engine_when_repaired_then_it_is_refused_and_nothing_changes(tmp_path):
    path = corrupted(tmp_path, 3)
    before = path.read_bytes()

    with FileLock(tmp_path / ENGINE_LOCK), pytest.raises(FailSafeStop, match=r"\.kj: an engine is running") as refusal:
        repair(path)

    assert refusal.value.exit_code == 75
    assert (path.read_bytes(), beside(path)) == (before, [])
    assert len(repair(path).damages) == 1, "the lock is free again"


def test_given_a_repair_under_way_when_an_engine_wants_the_directory_then_it_is_kept_out(tmp_path, monkeypatch):
    path = corrupted(tmp_path, 3)
    held = []

    def saving(plan, save=journal_repair._save):
        with pytest.raises(TimeoutError):
            FileLock(tmp_path / ENGINE_LOCK, timeout=0).acquire()
        held.append(plan.path)
        save(plan)

    monkeypatch.setattr(journal_repair, "_save", saving)
    repair(path)

    assert held == [path]


def test_given_a_link_when_repaired_then_the_file_it_leads_to_is_and_it_stays_a_link(tmp_path):
    path = corrupted(tmp_path / "real", 3)
    link = tmp_path / path.name
    link.symlink_to(path)

    repair(link)

    assert link.is_symlink()
    assert (damages_in(path), len(broken_pieces(path)[1])) == ([], 1)


@posix_only
@pytest.mark.parametrize("torn", [True, False])
def test_given_a_repair_when_done_then_every_file_is_its_owners_alone(tmp_path, torn):
    path = corrupted(tmp_path, torn=b"xyz") if torn else corrupted(tmp_path, 3)
    if os.geteuid() == 0:
        os.chown(path, 4711, 4712)
    owner = path.stat().st_uid, path.stat().st_gid

    done = repair(path)

    for one in (path, *done.saved):
        assert stat.S_IMODE(one.stat().st_mode) == 0o600
        assert (one.stat().st_uid, one.stat().st_gid) == owner, "root's repair must not lock the engine's user out"
    lock = tmp_path / ENGINE_LOCK
    assert (lock.stat().st_uid, lock.stat().st_gid) == owner


@posix_only
def test_given_a_disk_that_takes_nothing_when_repaired_then_one_line_says_so_and_the_journal_is_as_before(
    tmp_path, monkeypatch
):
    path = corrupted(tmp_path, 3)
    before = path.read_bytes()

    def full(_fd):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(KedgeError, match="cannot repair the journal: No space left"):
        repair(path)

    assert (path.read_bytes(), beside(path)) == (before, [])


# --- put together again


def any_harm():
    """What can happen to a file: bytes change, vanish, appear, or its end is missing."""
    place = st.integers(0, 2_000)
    return st.lists(
        st.one_of(
            st.tuples(st.just("flip"), place, st.integers(1, 255)),
            st.tuples(st.just("cut out"), place, st.integers(1, 60)),
            st.tuples(st.just("put in"), place, st.binary(min_size=1, max_size=40)),
            st.tuples(st.just("repeat"), place, st.integers(1, 80)),
            st.tuples(st.just("end"), place, st.none()),
        ),
        min_size=1,
        max_size=5,
    )


def harm(path, harms):
    data = bytearray(path.read_bytes())
    for what, place, how in harms:
        at = len(HEADER) + place % max(1, len(data) - len(HEADER))
        if what == "flip" and at < len(data):
            data[at] ^= how
        elif what == "cut out":
            del data[at : at + how]
        elif what == "put in":
            data[at:at] = how
        elif what == "repeat":
            data[at:at] = data[at : at + how]
        elif what == "end":
            del data[at:]
    path.write_bytes(data)
    return bytes(data)


@settings(deadline=None, max_examples=60)
@given(first=any_harm(), second=any_harm())
def test_given_any_harm_twice_when_repaired_then_no_whole_record_goes_and_each_original_can_be_put_together(
    first, second
):
    with tempfile.TemporaryDirectory() as name:
        path = write_journal(Path(name), [bytes([n]) * (5 + n * 7 % 40) for n in range(8)])
        repairs = 0
        for harms in (first, second):
            before = harm(path, harms)
            kept, broken = payloads_in(path), damages_in(path)
            repair(path)
            assert payloads_in(path) == kept
            assert damages_in(path) == []
            repairs += bool(broken)
            numbers = sorted(broken_pieces(path))
            assert numbers == list(range(1, len(numbers) + 1))
            assert len(numbers) <= repairs, "the very same bytes at the very same place again are saved already"
            if broken:
                assert put_back(path) == before


# --- killed at any moment


class Killed(BaseException):
    """The process is no more."""


CALLS = ("open", "ftruncate", "fsync", "replace", "unlink", "chown")


def kill_at(monkeypatch, number):
    """The call of that number to the system, counted from 1, does not happen, and none after it."""
    calls = []

    def dying(real):
        def call(*arguments, **options):
            calls.append(real.__name__)
            if len(calls) >= number:
                raise Killed
            return real(*arguments, **options)

        return call

    for name in CALLS:
        monkeypatch.setattr(os, name, dying(getattr(os, name)))
    return calls


@posix_only
@pytest.mark.parametrize("case", ["torn", "middle", "both"])
def test_given_a_kill_before_any_call_to_the_system_when_repaired_again_then_nothing_is_lost(
    tmp_path, monkeypatch, case
):
    survived = 0
    for number in range(1, 100):
        directory = tmp_path / f"{number}"
        harmed = {"torn": (), "middle": (2, 7), "both": (0, 2)}[case]
        path = corrupted(directory, *harmed, torn=b"" if case == "middle" else b"torn bytes")
        before, whole = path.read_bytes(), payloads_in(path)
        with monkeypatch.context() as patched:
            kill_at(patched, number)
            try:
                repair(path)
            except Killed:
                survived += 1
            else:
                break
        if path.read_bytes() != before:
            assert put_back(path) == before, f"killed before call {number}"
        assert payloads_in(path) == whole

        repair(path)

        assert put_back(path) == before, f"killed before call {number}"
        assert (payloads_in(path), damages_in(path), sorted(broken_pieces(path))) == (whole, [], [1])
        assert not list(directory.glob("*.tmp"))
    assert survived >= 8


@posix_only
@pytest.mark.parametrize("case", ["torn", "middle"])
def test_given_a_repair_when_the_order_of_its_calls_is_watched_then_all_is_on_disk_before_a_byte_goes(
    tmp_path, monkeypatch, case
):
    path = corrupted(tmp_path, torn=b"torn bytes") if case == "torn" else corrupted(tmp_path, 2, 7)
    calls = kill_at(monkeypatch, 1_000)

    repair(path)

    monkeypatch.undo()
    stretches = 1 if case == "torn" else 2
    saved = ["open", "fsync", "replace"] * stretches + ["open", "fsync"]  # each piece, then the directory
    taken_out = ["open", "ftruncate", "fsync"] if case == "torn" else ["open", "fsync", "replace", "open", "fsync"]
    assert calls[-len(saved + taken_out) :] == saved + taken_out


# --- and then


def rows(database, sql):
    with closing(apsw.Connection(str(database), flags=apsw.SQLITE_OPEN_READONLY)) as conn:
        return conn.execute(sql).fetchall()


@pytest.mark.parametrize("way", ["writer", "backfill"])
@pytest.mark.parametrize("stored", range(0, 13, 2))
@pytest.mark.parametrize("hole", [(3, 4), (3, 7), (5, 11)])
def test_given_a_session_stored_up_to_any_record_when_its_journal_is_repaired_then_all_that_is_left_is_stored(
    tmp_path, way, stored, hole
):
    """All frames are of one length, so that the repaired file often ends, or has a record, where the offset stands."""
    ticks = [one_tick(tick=n) for n in range(1, 12)]
    payloads = encoded([EXAMPLES["session_opened"]._replace(config_json="x" * 200), *ticks])
    with a_writer(tmp_path) as (writer, arrivals, _, _):
        arrivals.deliver(*payloads[:stored])
        writer.step()
    path = write_journal(tmp_path / "j", payloads)
    data = bytearray(path.read_bytes())
    starts = [found.position for found in read_frames(path)]
    for number in range(*hole):
        data[starts[number] + 20] ^= 1
    path.write_bytes(data)
    repair(path)

    if way == "writer":
        with a_writer(tmp_path) as (writer, *_):
            writer.catch_up()
            assert writer.catch_up() == 0
    else:
        list(backfill(tmp_path / "k.db", [path], StandingClock()))

    left = sorted({*range(stored), *(n for n in range(12) if n not in range(*hole))} - {0})
    assert [seq for (seq,) in rows(tmp_path / "k.db", "SELECT seq FROM system_metrics ORDER BY seq")] == left
    missing = [n for n in range(*hole) if n >= stored]
    gaps = rows(tmp_path / "k.db", "SELECT missing_from, last_seq FROM telemetry_gaps WHERE filled = 0")
    assert gaps == ([(missing[0], missing[-1])] if missing else [])
    with reading(tmp_path / "k.db") as conn:
        found = {finding.code for finding in compare(conn, Journal(path, UID)).findings}
    assert found <= {"records_missing", "gap_unfilled", "row_extra", "offset_wrong"}, found


def test_given_the_pieces_and_the_records_again_when_put_back_and_backfilled_then_the_gap_is_filled(tmp_path):
    path = corrupted(tmp_path / "j", 3)
    repair(path)
    list(backfill(tmp_path / "k.db", [path], StandingClock()))
    assert rows(tmp_path / "k.db", "SELECT first_seq, filled FROM telemetry_gaps") == [(3, 0)]

    path.unlink()
    write_journal(tmp_path / "j", PAYLOADS)
    list(backfill(tmp_path / "k.db", [path], StandingClock()))

    assert rows(tmp_path / "k.db", "SELECT first_seq, filled FROM telemetry_gaps") == [(3, 1)]
    with reading(tmp_path / "k.db") as conn:
        assert compare(conn, Journal(path, UID)).rejected == 0


def test_given_pieces_beside_journals_when_the_writer_looks_then_they_are_no_journals(tmp_path):
    path = corrupted(tmp_path / "j", 3, torn=b"xyz")
    repair(path)

    with a_writer(tmp_path) as (writer, *_):
        assert writer.catch_up() == len(PAYLOADS) - 1
    assert journal_path(tmp_path / "j", UID) == path
