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
CLOSING_STEPS_MAX = 100


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

    def run(self) -> None:
        """Until a stop is requested. Raises `DatabaseUnusable` if the database then does not take the last records."""
        log.info("%d records stored that waited in the journals", self.catch_up())
        caught_up_ns = self._clock.monotonic_ns()
        while not self._stop.requested:
            received = self.step()
            idle_ms = (self._clock.monotonic_ns() - caught_up_ns) / 1e6
            if received == 0 and idle_ms >= self._settings.catch_up_ms:
                self.catch_up()
                caught_up_ns = self._clock.monotonic_ns()
        # The socket first: the journals have all of it again, except what an engine on another machine sent.
        for _ in range(CLOSING_STEPS_MAX):
            if self.step() == 0:
                break
        self.catch_up()

    def step(self) -> int:
        """One batch from the socket, at most `batch_max` messages, gathered for at most `flush_ms`; how many it was."""
        payloads = self._inbox.drain(self._settings.batch_max, self._settings.flush_ms)
        self._write(mend.in_order(payloads, self._offsets, self._journals.path))
        return len(payloads)

    def catch_up(self) -> int:
        """All that the journals have and the database has not: dropped by the socket, or sent to nobody."""
        return self._write(self._journals.read_grown(self._offsets))

    def _write(self, records: Iterator[Fact | Reject]) -> int:
        written = 0
        for batch in batches(records, self._offsets, self._settings.batch_max):
            self._commit(batch)
            written += batch.size
        return written

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
                if self._stop.wait(pause_ms):
                    raise DatabaseUnusable(
                        f"{self._settings.database}: stopped while it takes nothing ({error}); {batch.size} records "
                        f"and what follows them wait in the journals for the next start"
                    ) from None
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
