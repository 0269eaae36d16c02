"""Records on their way out: a real journal file, real sockets, real disks that refuse.

A disk that is full is played by the kernel's limit on file size: writes then really fail, the last one halfway.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import zmq

from engine_proc.outbox import WAITING_MAX, Outbox, SyncThread
from engine_proc.push_socket import PushSocket
from shared.clock import Clock, SystemClock
from shared.codec import encode, read_record
from shared.journal import Frame, JournalWriter, journal_path, read_frames
from shared.records import EngineState, Record
from tests.shared.record_examples import EXAMPLES, TICK

UID = "20261120T140209-1a2b3c"
NEVER_MS = 60_000
SYNCED_AT_ONCE = {"session_opened", "breaker_event", "mode_changed", "session_closed"}

disk_can_fill = pytest.mark.skipif(sys.platform == "win32", reason="no limit on file size to set")


class Desk:
    """An outbox with its journal and, bound before it or never, its reader."""

    def __init__(self, directory: Path, cleanup: ExitStack) -> None:
        self.endpoint = f"ipc://{directory}/s"
        self.path = journal_path(directory / "journal", UID)
        self._cleanup = cleanup
        self._pull: zmq.Socket | None = None

    def open(
        self, *, records_max: int = 100_000, linger_ms: int = 0, sync_orders: bool = False, clock: Clock | None = None,
        burst_ms: int = 0,
    ) -> Outbox:  # fmt: skip
        self.journal = JournalWriter(self.path)
        push = PushSocket(
            self.endpoint, clock or SystemClock(), records_max=records_max, linger_ms=linger_ms, burst_ms=burst_ms
        )
        outbox = Outbox(UID, self.journal, push, SyncThread(self.journal, NEVER_MS), sync_orders=sync_orders)
        self._cleanup.callback(outbox.close)
        return outbox

    def listen(self) -> None:
        context = self._cleanup.enter_context(zmq.Context())
        self._pull = self._cleanup.enter_context(context.socket(zmq.PULL))
        self._pull.setsockopt(zmq.RCVTIMEO, 10_000)
        self._pull.bind(self.endpoint)

    def heard(self, count: int) -> list[bytes]:
        return [self._pull.recv() for _ in range(count)]

    def hears_nothing_more(self) -> bool:
        return self._pull.poll(50) == 0

    def journalled(self) -> list[bytes]:
        frames = list(read_frames(self.path))
        assert all(isinstance(frame, Frame) for frame in frames), "no damage in the journal"
        return [frame.payload for frame in frames]

    def records(self) -> list[tuple[int, Record]]:
        return [(envelope.seq, record) for envelope, record in map(read_record, self.journalled())]


@pytest.fixture
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    with ExitStack() as cleanup:
        yield Desk(tmp_path_factory.mktemp("o"), cleanup)


@contextmanager
def disk_full_at(file_bytes: int) -> Iterator[None]:
    """No file of this process may grow beyond so many bytes."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def numbered(number: int) -> EngineState:
    return EngineState(number, "n", str(number))


# -------------------------------------------------------------------------------------------------- the plain path


def test_given_records_of_every_kind_then_journal_and_socket_get_the_same_bytes_in_order(desk: Desk) -> None:
    desk.listen()
    outbox = desk.open()
    for record in EXAMPLES.values():
        outbox.emit(record)
    expected = [encode(UID, seq, record) for seq, record in enumerate(EXAMPLES.values())]
    assert desk.heard(len(expected)) == expected
    assert desk.journalled() == expected
    assert (outbox.fault, outbox.unsent, outbox.lost) == (None, 0, 0)


def test_given_several_records_at_once_then_numbered_like_single_ones(desk: Desk) -> None:
    desk.listen()
    outbox = desk.open()
    outbox.emit(numbered(0), numbered(1), TICK)
    outbox.emit(numbered(3))
    assert desk.records() == [(0, numbered(0)), (1, numbered(1)), (2, TICK), (3, numbered(3))]
    assert desk.heard(4) == desk.journalled()


def test_given_a_record_that_the_reader_has_then_the_journal_has_had_it_before(desk: Desk) -> None:
    desk.listen()
    outbox = desk.open()
    for number in range(50):
        outbox.emit(numbered(number))
        assert desk.heard(1) == desk.journalled()[number:]


class HandClock(SystemClock):
    """A clock whose monotonic time stands still until the test moves it."""

    def __init__(self) -> None:
        self.at_ns = 1_000_000_000
        self.monotonic_ns = lambda: self.at_ns


def test_given_records_thick_and_fast_then_they_leave_together_and_a_trip_waits_for_nobody(desk: Desk) -> None:
    desk.listen()
    clock = HandClock()
    outbox = desk.open(clock=clock, burst_ms=5)
    # Given a record after a pause: it leaves at once
    outbox.emit(numbered(0))
    assert desk.heard(1) == desk.journalled()
    # When more come within the burst: journalled at once, handed over with the first that is due again
    outbox.emit(numbered(1))
    outbox.emit(numbered(2))
    assert len(desk.journalled()) == 3
    assert desk.hears_nothing_more()
    clock.at_ns += 5_000_000
    outbox.emit(numbered(3))
    assert desk.heard(3) == desk.journalled()[1:]
    # And a breaker's record takes what is held along, now
    outbox.emit(numbered(4))
    outbox.emit(EXAMPLES["breaker_event"])
    assert desk.heard(2) == desk.journalled()[4:]


def test_given_records_that_are_held_when_closed_then_they_leave(desk: Desk) -> None:
    desk.listen()
    outbox = desk.open(clock=HandClock(), burst_ms=5, linger_ms=5_000)
    for number in range(3):
        outbox.emit(numbered(number))
    outbox.close()
    assert desk.heard(3) == desk.journalled()


# --------------------------------------------------------------------------------------- a writer that is not there


def test_given_no_writer_at_all_then_everything_is_journalled_and_only_what_overflows_is_unsent(desk: Desk) -> None:
    outbox = desk.open(records_max=5)
    for number in range(100):
        outbox.emit(numbered(number))
    assert [seq for seq, _ in desk.records()] == list(range(100))
    assert outbox.unsent == 95
    assert outbox.fault is None


def test_given_a_writer_that_stops_reading_then_emit_returns_and_exactly_the_refused_are_counted(desk: Desk) -> None:
    desk.listen()
    outbox = desk.open(records_max=10)
    count = 0
    while outbox.unsent < 100:  # both queues and the kernel's buffers between them have to fill first
        outbox.emit(TICK)
        count += 1
        assert count < 100_000, "the socket takes everything"
    assert len(desk.journalled()) == count
    assert outbox.fault is None
    # When the writer reads again, it gets all the others
    assert set(desk.heard(count - outbox.unsent)) < set(desk.journalled())
    assert desk.hears_nothing_more()


def test_given_a_writer_that_comes_late_then_it_gets_what_waited(desk: Desk) -> None:
    outbox = desk.open()
    for number in range(20):
        outbox.emit(numbered(number))
    desk.listen()
    assert desk.heard(20) == desk.journalled()


def test_given_no_writer_when_closed_then_it_waits_no_longer_than_its_linger_and_closes_twice(desk: Desk) -> None:
    outbox = desk.open(linger_ms=20)
    outbox.emit(numbered(0))
    outbox.close()
    outbox.close()
    assert [seq for seq, _ in desk.records()] == [0]


# --------------------------------------------------------------------------------------------- a disk that is full


@disk_can_fill
def test_given_a_disk_that_fills_and_recovers_then_order_and_numbers_are_whole_and_nothing_twice(desk: Desk) -> None:
    desk.listen()
    outbox = desk.open()
    outbox.emit(numbered(0))
    # When the disk takes only half of the next record, and nothing after it
    with disk_full_at(desk.journal.position + 10):
        for number in range(1, 6):
            outbox.emit(numbered(number))
        outbox.emit(numbered(6), numbered(7))
        # Then the fault is said, the journal ends as before, and nothing off the record has been pushed
        assert "cannot append" in outbox.fault or "the disk took" in outbox.fault
        assert [seq for seq, _ in desk.records()] == [0]
        assert len(desk.heard(1)) == 1
        assert desk.hears_nothing_more()
    # And when it recovers, what waited goes first
    outbox.emit(numbered(8))
    assert desk.records() == [(number, numbered(number)) for number in range(9)]
    assert desk.heard(8) == desk.journalled()[1:]
    assert (outbox.lost, outbox.unsent) == (0, 0)
    # And the fault stays on record for the engine
    assert outbox.fault is not None


@disk_can_fill
def test_given_a_little_room_when_retrying_then_what_fits_is_taken_and_the_rest_waits_on(desk: Desk) -> None:
    outbox = desk.open()
    frame_bytes = 8 + len(encode(UID, 0, numbered(0)))
    with disk_full_at(desk.journal.position):
        outbox.emit(numbered(0))
        outbox.emit(numbered(1))
    with disk_full_at(desk.journal.position + frame_bytes):
        outbox.emit(numbered(2))
        assert [seq for seq, _ in desk.records()] == [0]
    outbox.close()
    assert desk.records() == [(number, numbered(number)) for number in range(3)]


@disk_can_fill
def test_given_a_long_record_that_waits_when_a_short_one_would_fit_then_it_does_not_overtake(desk: Desk) -> None:
    outbox = desk.open()
    with disk_full_at(desk.journal.position + 8 + len(encode(UID, 1, numbered(1)))):
        outbox.emit(TICK)
        outbox.emit(numbered(1))
        assert desk.records() == []
    outbox.emit(numbered(2))
    assert desk.records() == [(0, TICK), (1, numbered(1)), (2, numbered(2))]


@disk_can_fill
def test_given_room_for_half_a_batch_then_all_of_it_waits_and_the_journal_is_undamaged(desk: Desk) -> None:
    outbox = desk.open()
    frame_bytes = 8 + len(encode(UID, 0, numbered(0)))
    with disk_full_at(desk.journal.position + frame_bytes + 3):
        outbox.emit(numbered(0), numbered(1), numbered(2))
        assert desk.records() == []
    outbox.emit(numbered(3))
    assert desk.records() == [(number, numbered(number)) for number in range(4)]


@disk_can_fill
def test_given_more_than_can_wait_then_the_rest_is_counted_as_lost_and_recovery_is_still_contiguous(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    outbox = desk.open()
    with disk_full_at(desk.journal.position):
        for number in range(WAITING_MAX + 7):
            outbox.emit(numbered(number))
        outbox.emit(numbered(-1), numbered(-2))
    assert outbox.lost == 9
    outbox.emit(numbered(WAITING_MAX))
    assert desk.records() == [(number, numbered(number)) for number in range(WAITING_MAX + 1)]
    outbox.close()
    assert [r.message for r in caplog.records if "never reached" in r.message] == [
        f"9 records never reached the journal: {outbox.fault}"
    ]


@disk_can_fill
def test_given_a_disk_that_stays_full_when_closed_then_no_exception_and_the_loss_is_said(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    outbox = desk.open()
    with caplog.at_level(logging.ERROR), disk_full_at(desk.journal.position):
        outbox.emit(numbered(0))
        outbox.emit(numbered(1))
        outbox.close()
    said = [record.message for record in caplog.records]
    assert len(said) == 2  # the fault once, not once a record; the loss at the end
    assert said[0].startswith("no trading off the record: ")
    assert said[1].startswith("2 records never reached the journal: ")


def test_given_the_file_taken_away_underneath_then_a_fault_and_never_an_exception(desk: Desk) -> None:
    desk.listen()
    outbox = desk.open()
    os.close(desk.journal._file._fd)
    for record in EXAMPLES.values():
        outbox.emit(record)
    assert "Bad file descriptor" in outbox.fault
    assert desk.hears_nothing_more()
    desk.journal._file._fd = -1


@pytest.mark.skipif(sys.platform == "win32", reason="a pipe that cannot be synced")
def test_given_a_disk_that_takes_records_but_cannot_sync_them_then_a_fault_and_no_record_twice(desk: Desk) -> None:
    # Given a descriptor that accepts writes and refuses fdatasync: a pipe's
    desk.listen()
    outbox = desk.open()
    reading, writing = os.pipe()
    os.dup2(writing, desk.journal._file._fd)
    os.close(writing)
    # When a record that must be synced is emitted
    outbox.emit(EXAMPLES["mode_changed"])
    assert "cannot sync" in outbox.fault
    # Then it was written once and pushed, since the file has it
    outbox.emit(numbered(1))
    expected = [encode(UID, 0, EXAMPLES["mode_changed"]), encode(UID, 1, numbered(1))]
    assert desk.heard(2) == expected
    written = os.read(reading, 65_536)
    os.close(reading)
    assert len(written) == sum(8 + len(payload) for payload in expected)


@pytest.mark.skipif(sys.platform == "win32", reason="a pipe that cannot be synced")
def test_given_a_sync_that_fails_only_at_the_close_then_fault_says_so(desk: Desk) -> None:
    outbox = desk.open()
    reading, writing = os.pipe()
    os.dup2(writing, desk.journal._file._fd)
    os.close(writing)
    outbox.emit(numbered(0))
    assert outbox.fault is None
    outbox.close()
    os.close(reading)
    assert "cannot sync" in outbox.fault


# ------------------------------------------------------------------------------------------------------ durability


class CountedSyncs:
    """A journal that writes down who asked for a sync, and after how many bytes; everything goes to the real one."""

    def __init__(self, journal: JournalWriter) -> None:
        self._journal = journal
        self.at: list[tuple[str, int]] = []
        self.synced = threading.Event()
        self.append = journal.append
        self.close = journal.close
        self.mark_refused = journal.mark_refused

    def sync(self) -> None:
        self._journal.sync()
        self.at.append((threading.current_thread().name, self._journal.position))
        self.synced.set()


@pytest.fixture
def counted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., tuple[Outbox, CountedSyncs]]]:
    directory = tmp_path_factory.mktemp("o")
    with ExitStack() as cleanup:

        def build(*, sync_orders: bool = False, fsync_interval_ms: int = NEVER_MS) -> tuple[Outbox, CountedSyncs]:
            journal = CountedSyncs(JournalWriter(journal_path(directory, UID)))
            push = PushSocket(f"ipc://{directory}/s", SystemClock(), burst_ms=0, records_max=10, linger_ms=0)
            outbox = Outbox(UID, journal, push, SyncThread(journal, fsync_interval_ms), sync_orders=sync_orders)
            cleanup.callback(outbox.close)
            return outbox, journal

        yield build


@pytest.mark.parametrize("sync_orders", [False, True], ids=["paper", "live"])
@pytest.mark.parametrize("kind", EXAMPLES)
def test_given_a_kind_that_says_why_we_stopped_or_carries_money_then_synced_before_emit_returns(
    counted, kind: str, sync_orders: bool
) -> None:
    outbox, journal = counted(sync_orders=sync_orders)
    outbox.emit(EXAMPLES[kind])
    at_once = kind in SYNCED_AT_ONCE or (sync_orders and kind in ("order_event", "fill"))
    assert journal.at == ([(threading.current_thread().name, journal._journal.position)] if at_once else [])


def test_given_a_batch_with_one_such_record_then_one_sync_covers_all_of_it(counted) -> None:
    outbox, journal = counted()
    outbox.emit(TICK, EXAMPLES["mode_changed"], TICK)
    assert journal.at == [(threading.current_thread().name, journal._journal.position)]


def test_given_ticks_only_then_the_background_syncs_them_off_the_ticks_thread(counted) -> None:
    outbox, journal = counted(fsync_interval_ms=1)
    for _ in range(3):
        journal.synced.clear()
        outbox.emit(TICK)
        assert journal.synced.wait(10)
    assert {name for name, _ in journal.at} == {"journal-sync"}


def test_given_ticks_not_synced_yet_when_closed_then_they_are(counted) -> None:
    outbox, journal = counted()
    outbox.emit(TICK)
    assert journal.at == []
    outbox.close()
    assert journal.at == [("journal-sync", journal._journal.position)]


@disk_can_fill
def test_given_recovery_of_many_records_then_one_sync_for_all_so_that_no_tick_waits_long(counted) -> None:
    outbox, journal = counted()
    with disk_full_at(journal._journal.position):
        for number in range(100):
            outbox.emit(numbered(number))
    outbox.emit(numbered(100))
    assert len(journal.at) == 1
