"""START HERE. From socket and journals into SQLite, every record exactly once.

    step()      socket   ─▶ judge ─▶ in order, gaps read from the journal ─▶ one transaction
    catch_up()  journals ─▶ judge ─▶ from where the session stands       ─▶ one transaction

The journal is the truth, the socket only the fast path. A session's records are stored strictly in the order of their
`seq`, and how far it is stored moves in the same transaction as its rows. So whatever is killed when: what was
committed is never taken again, and what was not is still in the journal.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from itertools import chain, repeat
from pathlib import Path

import apsw

from shared.clock import Clock
from shared.errors import DatabaseUnusable
from shared.settings import Telemetry
from shared.stop import Stop
from telemetry_proc import mend
from telemetry_proc.batch import Batch, batches
from telemetry_proc.inbox import Inbox
from telemetry_proc.journals import JournalDirectory
from telemetry_proc.store import Store
from telemetry_proc.validate import Fact, Reject

log = logging.getLogger(__name__)

OUTAGES = (apsw.BusyError, apsw.LockedError, apsw.FullError, apsw.IOError, apsw.CantOpenError, apsw.ReadOnlyError)
PAUSES_MS = (50, 100, 200, 500, 1_000, 2_000)
CLOSING_MS_MAX = 8_000  # well within the time that supervisor.conf leaves us between SIGTERM and SIGKILL


class Writer:
    """The one process that writes the database. It decides nothing about trading."""

    def __init__(self, inbox: Inbox, store: Store, settings: Telemetry, clock: Clock, stop: Stop) -> None:
        self._inbox = inbox
        self._store = store
        self._journals = JournalDirectory(Path(settings.journal_dir))
        self._offsets = store.offsets()
        self._settings = settings
        self._clock = clock
        self._stop = stop
        self._closing_until_ns = 0

    def run(self) -> None:
        """Until a stop is requested. Raises `DatabaseUnusable` if the database then does not take the last records."""
        log.info("%d records stored that waited in the journals", self.catch_up())
        caught_up_ns = self._clock.monotonic_ns()
        while not self._stop.requested:
            received = self.step()
            since_ms = (self._clock.monotonic_ns() - caught_up_ns) / 1e6
            if since_ms >= self._settings.catch_up_ms:
                # A socket that is never empty must not keep us from a session that it brings no more of.
                self.catch_up(silent_only=received > 0)
                caught_up_ns = self._clock.monotonic_ns()
        self._close()

    def step(self) -> int:
        """One batch from the socket, at most `batch_max` messages, gathered for at most `flush_ms`; how many it was."""
        payloads = self._inbox.drain(self._settings.batch_max, self._settings.flush_ms)
        self._write(mend.in_order(payloads, self._offsets, self._journals.path))
        return len(payloads)

    def catch_up(self, *, silent_only: bool = False) -> int:
        """All that the journals have and the database has not: dropped by the socket, or sent to nobody.

        Told to stop, it breaks off where closing may take no longer: the rest is there at the next start.
        """
        written = 0
        for batch in self._batches(self._journals.read_grown(self._offsets, silent_only=silent_only)):
            self._commit(batch)
            written += batch.size
            if self._is_late():
                break
        return written

    def _close(self) -> None:
        """The socket first: the journals have all of it again, except what an engine on another machine sent."""
        self._closing_until_ns = self._clock.monotonic_ns() + CLOSING_MS_MAX * 1_000_000
        while self.step() and not self._is_late():
            pass
        self.catch_up()
        if self._is_late():
            log.warning("there was no time for all: what the journals still have is stored at the next start")

    def _is_late(self) -> bool:
        """Told to stop, and the time for closing is over; before it begins there is none."""
        return self._stop.requested and self._clock.monotonic_ns() >= self._closing_until_ns

    def _write(self, records: Iterator[Fact | Reject]) -> None:
        for batch in self._batches(records):
            self._commit(batch)

    def _batches(self, records: Iterator[Fact | Reject]) -> Iterator[Batch]:
        return batches(records, self._offsets, self._settings.batch_max)

    def _commit(self, batch: Batch) -> None:
        """Until the database takes it. Meanwhile the socket is not drained: the engines do not wait for us."""
        failing = False
        for pause_ms in chain(PAUSES_MS, repeat(PAUSES_MS[-1])):
            try:
                commit(batch, self._store)
            except OUTAGES as error:  # rolled back; the batch is whole and is tried again
                if not failing:
                    log.error("%s takes nothing, trying again: %s", self._settings.database, error)
                failing = True
                if self._stop.requested:  # this was the last try
                    raise DatabaseUnusable(
                        f"{self._settings.database}: stopped while it takes nothing ({error}); {batch.size} records "
                        f"and what follows them wait in the journals for the next start"
                    ) from None
                self._stop.wait(pause_ms)
            else:
                break
        if failing:
            log.info("%s takes records again", self._settings.database)


def commit(batch: Batch, store: Store) -> None:
    """The only way into the database."""
    with store.transaction() as tx:
        refused = tx.insert(batch.facts)
        tx.quarantine(batch.rejects + refused)
        tx.note_gaps(batch.gaps)
        tx.advance(batch.offsets)  # in the same transaction: exactly once
    for reject in (batch.rejects + refused)[:1]:
        count = len(batch.rejects) + len(refused)
        log.warning("put on file in telemetry_rejects: %d records, the first because %s", count, reject.reason)
