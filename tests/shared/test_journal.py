"""The journal under every kind of harm: cut anywhere, flipped anywhere, zero-filled, foreign, full disk."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import textwrap
import tracemalloc
import zlib
from contextlib import closing

import pytest

from shared.codec import MESSAGE_BYTES_MAX
from shared.errors import JournalCorrupt, JournalUnwritable
from shared.journal import (
    FRAME_HEAD_BYTES,
    HEADER,
    Damage,
    Frame,
    JournalWriter,
    frame,
    journal_path,
    read_frames,
)

PAYLOADS = (b"first", b"\x00\x01\x00\x00\x00", b"x", b"the last one")

posix_only = pytest.mark.skipif(os.name != "posix", reason="file modes and limits are POSIX")


def write_journal(path, payloads=PAYLOADS):
    """Write a journal and return where each frame starts."""
    with closing(JournalWriter(path)) as writer:
        return [writer.append(payload) for payload in payloads]


def read(path, *position):
    return list(read_frames(path, *position))


def payloads_of(items):
    return [item.payload for item in items if isinstance(item, Frame)]


# --- what is written is read


def test_given_a_session_when_its_path_is_asked_then_the_file_carries_its_name(tmp_path):
    assert journal_path(tmp_path, "20261120T140209-sim") == tmp_path / "20261120T140209-sim.kj"


def test_given_written_records_when_read_then_they_come_back_in_order_with_their_byte_positions(tmp_path):
    path = tmp_path / "a.kj"

    positions = write_journal(path)

    frames = read(path)
    assert payloads_of(frames) == list(PAYLOADS)
    assert [item.position for item in frames] == positions
    assert positions[0] == len(HEADER)
    assert [item.end for item in frames] == [*positions[1:], path.stat().st_size]
    assert path.read_bytes() == HEADER + b"".join(frame(payload) for payload in PAYLOADS)


def test_given_the_position_of_any_record_when_read_from_there_then_the_rest_comes_back(tmp_path):
    path = tmp_path / "a.kj"
    positions = write_journal(path)

    for index, position in enumerate(positions):
        assert payloads_of(read(path, position)) == list(PAYLOADS[index:])
    assert read(path, path.stat().st_size) == []


def test_given_the_documented_format_when_a_frame_is_built_by_hand_then_it_is_the_same_bytes():
    assert HEADER == b"KEDGEJ\x00\x01"
    # length 3, then CRC-32 of the payload, both little-endian, then the payload: frozen bytes.
    assert frame(b"abc").hex() == "03000000" + "c2412435" + "616263"
    assert bytes.fromhex("c2412435") == zlib.crc32(b"abc").to_bytes(4, "little")


def test_given_the_largest_record_when_written_then_it_is_read_and_one_byte_more_is_refused(tmp_path):
    path = tmp_path / "a.kj"
    largest = os.urandom(MESSAGE_BYTES_MAX)
    with closing(JournalWriter(path)) as writer:
        for impossible in (b"", largest + b"x"):
            with pytest.raises(AssertionError):
                writer.append(impossible)
        writer.append(largest)

    assert payloads_of(read(path)) == [largest]


def test_given_megabytes_of_frames_when_read_then_the_ends_of_the_read_buffer_leave_no_mark(tmp_path):
    path = tmp_path / "a.kj"
    payloads = [bytes([n % 251]) * (1 + n * 7919 % 60_000) for n in range(150)]
    assert sum(map(len, payloads)) > 4 << 20

    positions = write_journal(path, payloads)

    frames = read(path)
    assert payloads_of(frames) == payloads
    assert [item.position for item in frames] == positions


def test_given_several_records_at_once_when_appended_then_they_stand_as_if_one_by_one(tmp_path):
    with closing(JournalWriter(tmp_path / "at-once.kj")) as writer:
        assert writer.append(*PAYLOADS) == len(HEADER)
    write_journal(tmp_path / "one-by-one.kj")

    assert (tmp_path / "at-once.kj").read_bytes() == (tmp_path / "one-by-one.kj").read_bytes()


# --- torn: normal after a crash


def test_given_a_crash_at_any_byte_when_read_then_whole_records_stand_and_the_rest_is_torn(tmp_path):
    whole = HEADER + b"".join(frame(payload) for payload in PAYLOADS)
    ends = [len(HEADER)]
    for payload in PAYLOADS:
        ends.append(ends[-1] + FRAME_HEAD_BYTES + len(payload))
    path = tmp_path / "a.kj"

    for length in range(len(whole) + 1):
        path.write_bytes(whole[:length])
        items = read(path)
        last_end = max((end for end in ends if end <= length), default=0)
        survivors = [payload for payload, end in zip(PAYLOADS, ends[1:], strict=True) if end <= length]
        assert payloads_of(items) == survivors, length
        torn = [item for item in items if isinstance(item, Damage)]
        assert torn == ([] if length == last_end and length else [Damage(last_end, length - last_end, "torn")]), length


@pytest.mark.parametrize("zeros", [1, 7, 8, 9, 4096, 3 << 20])
def test_given_a_tail_of_zeros_after_a_power_cut_when_read_then_it_is_torn_and_no_empty_record(tmp_path, zeros):
    path = tmp_path / "a.kj"
    write_journal(path)
    size = path.stat().st_size
    with path.open("ab") as file:
        file.write(bytes(zeros))

    items = read(path)

    assert payloads_of(items) == list(PAYLOADS)
    assert items[-1] == Damage(size, zeros, "torn")


def test_given_an_empty_file_when_read_then_it_is_torn_at_its_start(tmp_path):
    path = tmp_path / "a.kj"
    path.touch()

    assert read(path) == [Damage(0, 0, "torn")]


# --- corrupt: never normal, said loudly, and what can be read is read


def test_given_any_flipped_byte_when_read_then_no_wrong_record_comes_out_and_the_others_all_do(tmp_path):
    path = tmp_path / "a.kj"
    positions = write_journal(path)
    whole = path.read_bytes()

    for place in range(len(HEADER), len(whole)):
        for flip in (0x01, 0x80, 0xFF):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ flip]) + whole[place + 1 :])
            hit = max(index for index, position in enumerate(positions) if position <= place)
            items = read(path)
            assert payloads_of(items) == [payload for n, payload in enumerate(PAYLOADS) if n != hit], (place, flip)
            kind = "torn" if hit == len(PAYLOADS) - 1 else "corrupt"
            length = FRAME_HEAD_BYTES + len(PAYLOADS[hit])
            assert [item for item in items if isinstance(item, Damage)] == [Damage(positions[hit], length, kind)]


def test_given_two_damaged_places_when_read_then_each_is_told_by_itself(tmp_path):
    path = tmp_path / "a.kj"
    positions = write_journal(path)
    damaged = bytearray(path.read_bytes())
    for hit in (0, 2):
        damaged[positions[hit] + FRAME_HEAD_BYTES] ^= 1
    path.write_bytes(damaged)

    items = read(path)

    assert [type(item) for item in items] == [Damage, Frame, Damage, Frame]
    assert payloads_of(items) == [PAYLOADS[1], PAYLOADS[3]]


def test_given_megabytes_of_nonsense_in_the_middle_when_read_then_the_records_behind_it_are_found(tmp_path):
    path = tmp_path / "a.kj"
    nonsense = bytes(2_500_000)
    behind = b"y" * 200_000  # its frame straddles the end of a read buffer
    path.write_bytes(HEADER + frame(b"before") + nonsense + frame(behind) + frame(b"last"))

    items = read(path)

    at = len(HEADER) + len(frame(b"before"))
    assert items[0] == Frame(len(HEADER), b"before")
    assert items[1] == Damage(at, len(nonsense), "corrupt")
    assert items[2] == Frame(at + len(nonsense), behind)
    assert items[3].payload == b"last"
    assert len(items) == 4


@pytest.mark.parametrize("start", [b"SQLite format 3\x00", b"KEDGEJ\x00\x02", b"\x00" * 8, b"K\x00", b"{}"])
def test_given_a_foreign_file_when_read_then_it_is_refused_by_name(tmp_path, start):
    path = tmp_path / "foreign.kj"
    path.write_bytes(start + b"more")

    with pytest.raises(JournalCorrupt, match=r"foreign\.kj: not a Kedge journal of version 1"):
        read(path)


def test_given_no_file_when_read_then_the_system_says_so(tmp_path):
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "none.kj")


# --- a journal that is being written


def test_given_a_journal_in_use_when_read_again_from_where_one_stopped_then_only_what_is_new_comes(tmp_path):
    path = tmp_path / "a.kj"
    with closing(JournalWriter(path)) as writer:
        assert read(path) == []
        position = writer.position
        for payload in PAYLOADS:
            writer.append(payload)
            (item,) = read(path, position)
            assert item.payload == payload
            position = item.end
            assert position == writer.position == path.stat().st_size


def test_given_half_a_frame_being_written_when_read_then_it_is_torn_now_and_whole_later(tmp_path):
    path = tmp_path / "a.kj"
    write_journal(path)
    size = path.stat().st_size
    late = frame(b"late")
    with path.open("ab", buffering=0) as file:
        file.write(late[:6])
        assert read(path, size) == [Damage(size, 6, "torn")]
        file.write(late[6:])
        assert read(path, size) == [Frame(size, b"late")]


def test_given_a_reader_in_the_middle_when_the_writer_appends_then_the_reader_meets_the_new_records(tmp_path):
    path = tmp_path / "a.kj"
    with closing(JournalWriter(path)) as writer:
        writer.append(b"one")
        frames = read_frames(path)
        assert next(frames).payload == b"one"
        writer.append(b"two")
        assert next(frames).payload == b"two"
        assert list(frames) == []


# --- writing, and failing to


def test_given_a_journal_of_that_name_when_a_second_writer_opens_it_then_it_is_refused(tmp_path):
    path = tmp_path / "a.kj"
    write_journal(path)
    before = path.read_bytes()

    with pytest.raises(JournalUnwritable, match=r"a\.kj: cannot create the journal: File exists"):
        JournalWriter(path)

    assert path.read_bytes() == before


@posix_only
def test_given_a_new_journal_when_created_then_file_and_directory_are_the_owners_alone(tmp_path):
    path = tmp_path / "journal" / "a.kj"
    write_journal(path)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_given_a_file_where_the_directory_should_be_when_created_then_one_line_names_the_path(tmp_path):
    (tmp_path / "journal").touch()

    with pytest.raises(JournalUnwritable, match=r"a\.kj: cannot create the journal: ") as refusal:
        JournalWriter(tmp_path / "journal" / "a.kj")
    assert refusal.value.exit_code == 75
    assert "\n" not in str(refusal.value)


def test_given_a_closed_writer_when_used_then_it_fails_loudly_and_closing_again_is_nothing(tmp_path):
    writer = JournalWriter(tmp_path / "a.kj")
    writer.append(b"one")
    writer.sync()
    writer.close()
    writer.close()

    for use in (lambda: writer.append(b"two"), writer.sync):
        with pytest.raises(JournalUnwritable, match=r"a\.kj: "):
            use()
    assert payloads_of(read(writer.path)) == [b"one"]


FILL_THE_DISK = """
    import resource, sys
    from pathlib import Path
    from shared.errors import JournalUnwritable
    from shared.journal import JournalWriter

    path, limit = Path(sys.argv[1]), int(sys.argv[2])
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        writer = JournalWriter(path)
        while True:
            position = writer.position
            writer.append(b"z" * 100)
    except JournalUnwritable as error:
        print(error)
        print(path.stat().st_size)
"""


@posix_only
@pytest.mark.parametrize("limit", [8, 60, 116, 500, 10_000])
def test_given_a_disk_that_fills_up_when_appending_then_the_file_ends_at_its_last_whole_record(tmp_path, limit):
    path = tmp_path / "a.kj"
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(FILL_THE_DISK), str(path), str(limit)],
        capture_output=True,
        text=True,
        check=True,
    )

    message, size = done.stdout.splitlines()
    whole = (limit - len(HEADER)) // (FRAME_HEAD_BYTES + 100)
    assert message.startswith(f"{path}: ")
    assert done.stderr == ""
    assert int(size) == path.stat().st_size
    assert int(size) == len(HEADER) + whole * (FRAME_HEAD_BYTES + 100)
    assert payloads_of(read(path)) == [b"z" * 100] * whole


@posix_only
def test_given_no_room_for_the_header_when_created_then_refused_and_no_file_is_left(tmp_path):
    script = """
        import resource, sys
        from pathlib import Path
        from shared.errors import JournalUnwritable
        from shared.journal import JournalWriter

        resource.setrlimit(resource.RLIMIT_FSIZE, (3, 3))
        try:
            JournalWriter(Path(sys.argv[1]))
        except JournalUnwritable as error:
            print(error)
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path / "a.kj")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)

    assert done.stdout.startswith(f"{tmp_path / 'a.kj'}: ")
    assert list(tmp_path.iterdir()) == []


@posix_only
def test_given_a_failed_append_when_there_is_room_again_then_the_next_record_follows_the_last_whole_one(tmp_path):
    script = """
        import resource, sys
        from pathlib import Path
        from shared.errors import JournalUnwritable
        from shared.journal import JournalWriter

        writer = JournalWriter(Path(sys.argv[1]))
        writer.append(b"one")
        resource.setrlimit(resource.RLIMIT_FSIZE, (writer.position + 9, resource.RLIM_INFINITY))
        try:
            writer.append(b"x", b"lost")  # the first would have had room; it is undone with the other
        except JournalUnwritable:
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            writer.append(b"two")
    """
    path = tmp_path / "a.kj"

    subprocess.run([sys.executable, "-c", textwrap.dedent(script), str(path)], check=True)

    assert payloads_of(read(path)) == [b"one", b"two"]
    assert not [item for item in read(path) if isinstance(item, Damage)]


@posix_only
def test_given_a_pipe_in_the_place_of_a_journal_when_read_then_it_is_refused_and_nobody_waits_for_its_writer(tmp_path):
    os.mkfifo(tmp_path / "pipe.kj")

    with pytest.raises(JournalCorrupt, match=r"pipe\.kj: not a Kedge journal: no regular file"):
        read(tmp_path / "pipe.kj")


@pytest.mark.parametrize("follows", [True, False])
def test_given_damage_much_longer_than_a_frame_when_read_then_its_length_is_right_and_memory_stays_small(
    tmp_path, follows
):
    path = tmp_path / "a.kj"
    harm = bytes(6_000_000)
    path.write_bytes(HEADER + frame(b"one") + harm + (frame(b"two") if follows else b""))
    tracemalloc.start()
    found = list(read_frames(path))
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found[1] == Damage(len(HEADER + frame(b"one")), len(harm), "corrupt" if follows else "torn")
    assert payloads_of(found) == ([b"one", b"two"] if follows else [b"one"])
    assert peak_bytes < 5_000_000


@pytest.mark.parametrize("length", [1, 255, 256, 65_535, 65_536, MESSAGE_BYTES_MAX])
def test_given_a_frame_of_any_length_behind_damage_when_read_then_it_is_found(tmp_path, length):
    path = tmp_path / "a.kj"
    path.write_bytes(HEADER + b"\xff\x00\x00" + frame(b"x" * length))
    assert payloads_of(read_frames(path)) == [b"x" * length]
