"""Where records leave the engine: journal first, then the socket, never blocking, never raising.

The journal is the truth. A record that the journal does not take is not pushed either: it waits here, in order and
bounded, and `fault` tells the engine, which stops quoting - no trading off the record. A record that the socket
does not take (writer dead, stopped or slow) is only counted: the writer finds it in the journal.

Durability: records that say why we stopped, and orders that carry money, are synced before this module returns;
the rest by a background thread every `fsync_interval_ms`, so that a tick never waits for the disk.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from typing import Protocol

from shared.codec import encode
from shared.errors import JournalUnwritable
from shared.journal import JournalWriter
from shared.records import BreakerEvent, FillRecord, ModeChanged, OrderEvent, Record, SessionClosed, SessionOpened

log = logging.getLogger(__name__)

WAITING_MAX = 10_000
_SYNC_ALWAYS: frozenset[type[Record]] = frozenset({SessionOpened, BreakerEvent, ModeChanged, SessionClosed})


class Recorder(Protocol):
    """What the engine asks of whoever takes its records."""

    fault: str | None

    @property
    def unsent(self) -> int:
        """Records that the fast path refused so far."""

    def emit(self, *records: Record) -> None:
        """Take records, in order; never raises."""

    def close(self) -> None:
        """Everything taken is where it belongs, or `fault` says why not."""


class Push(Protocol):
    """The fast path to the writer. `refused` counts the records that it did not take."""

    refused: int

    def send(self, payloads: list[bytes]) -> None:
        """Hand over records without waiting; they may leave with the next few."""

    def flush(self) -> None:
        """What was handed over leaves now."""

    def close(self) -> None:
        """Give what was handed over a bounded time to leave."""


class Syncer(Protocol):
    """Asks the disk, off the tick, to keep what the journal took. `dirty`: there is something to ask for."""

    dirty: bool
    error: JournalUnwritable | None

    def close(self) -> None:
        """Ask once more, and never again."""


class Outbox:
    """Numbers, journals and pushes the records of one session.

    `fault` is None until the journal refuses something and then says why, for good: after a gap in the record only
    the operator trusts the disk again. `unsent` counts what the socket refused, `lost` what no longer fitted into
    the bounded wait for the journal.
    """

    def __init__(
        self, session_uid: str, journal: JournalWriter, push: Push, syncer: Syncer, *, sync_orders: bool
    ) -> None:
        self.fault: str | None = None
        self.lost = 0
        self._session_uid = session_uid
        self._seq = 0
        self._journal = journal
        self._push = push
        self._sync_kinds = _SYNC_ALWAYS | {OrderEvent, FillRecord} if sync_orders else _SYNC_ALWAYS
        self._waiting: deque[bytes] = deque()
        self._syncer = syncer

    @property
    def unsent(self) -> int:
        """Records that the socket refused so far; the writer finds them in the journal."""
        return self._push.refused

    def emit(self, *records: Record) -> None:
        """Journal, then push. After a fault, earlier records go first, so that the journal stays in order."""
        if self._waiting:
            self._retry()
        if len(self._waiting) + len(records) > WAITING_MAX:
            self.lost += len(records)
            return
        session_uid, sync_kinds, sync, payloads = self._session_uid, self._sync_kinds, False, []
        for record in records:
            payloads.append(encode(session_uid, self._seq, record))
            self._seq += 1
            if type(record) in sync_kinds:
                sync = True
        if self._waiting or not self._journalled(payloads, sync=sync):
            self._waiting += payloads
            return
        self._push.send(payloads)
        if sync:
            self._push.flush()

    def close(self) -> None:
        """Last attempt for what waits, sync, close the file, let the socket drain for its bounded linger."""
        self._retry()
        self._syncer.close()
        if self._syncer.error is not None:
            self._say(self._syncer.error)
        self._journal.close()
        self._push.close()
        if self._waiting or self.lost:
            log.error("%d records never reached the journal: %s", len(self._waiting) + self.lost, self.fault)

    def _retry(self) -> None:
        """One by one, so that a disk with little room takes what it can; one sync for all, at the last."""
        while self._waiting and self._journalled([self._waiting[0]], sync=len(self._waiting) == 1):
            self._push.send([self._waiting.popleft()])

    def _journalled(self, payloads: list[bytes], *, sync: bool) -> bool:
        """Whether the records stand in the file. A failed sync is a fault too, but they need not be repeated."""
        try:
            self._journal.append(*payloads)
        except JournalUnwritable as error:
            self._say(error)
            return False
        self._syncer.dirty = True
        if sync:
            try:
                self._journal.sync()
            except JournalUnwritable as error:
                self._say(error)
        if self._syncer.error is not None:
            self._say(self._syncer.error)
        return True

    def _say(self, error: JournalUnwritable) -> None:
        if self.fault is None:
            log.error("no trading off the record: %s", error)
            self._journal.mark_refused()
        self.fault = str(error)


class SyncThread:
    """Answers `Syncer` with a thread that asks every `interval_ms`."""

    def __init__(self, journal: JournalWriter, interval_ms: int) -> None:
        self.error: JournalUnwritable | None = None
        self._journal = journal
        self._interval_s = interval_ms / 1e3
        self.dirty = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="journal-sync", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Sync once more and end the thread."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        last_round = False
        while not last_round:
            last_round = self._stop.wait(self._interval_s)
            if not self.dirty:
                continue
            self.dirty = False
            try:
                self._journal.sync()
            except JournalUnwritable as error:
                self.error = error
                return
