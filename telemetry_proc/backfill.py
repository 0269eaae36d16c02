"""Journals into a database without a running writer: the writer's own step with journals as the source.

Idempotent, because the offsets say what is stored already; and the place where older gaps are filled, because here
the journal that was missing then is at hand.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from shared.clock import Clock, iso_utc
from shared.errors import JournalCorrupt, UsageError
from shared.journal import SUFFIX
from telemetry_proc.batch import batches
from telemetry_proc.connection import complaints_naming, open_for_writing
from telemetry_proc.journals import Journal, journal_at, read_missing, read_on
from telemetry_proc.lock import sole_writer
from telemetry_proc.offsets import Offset
from telemetry_proc.store import Store
from telemetry_proc.writer import commit

BATCH_MAX = 5_000


class Backfilled(NamedTuple):
    """What became of one journal."""

    journal: str
    session_uid: str
    stored: int  # records, those put on file as rejects included
    missing: int  # records of the session that are still in no journal


def backfill(database: Path, sources: Sequence[Path], clock: Clock) -> Iterator[Backfilled]:
    """Store what the journals have and the database has not, journal after journal.

    `sources` are journals or directories of them. Raises `UsageError` for one that is not there,
    `DatabaseUnusable` for a database that is in use or not ours, and, after all the others are stored,
    `JournalCorrupt` for a file that is no journal or cannot be read.
    """
    paths = find_journals(sources)
    unreadable: list[str] = []
    with (
        sole_writer(database, "backfill", iso_utc(clock.wall_ns())),
        closing(open_for_writing(database).conn) as conn,
        complaints_naming(database),
    ):
        store = Store(conn, clock)
        offsets = store.offsets()
        for path in paths:
            try:
                journal = journal_at(path)
                if journal is not None:
                    yield _store(journal, offsets, store)
            except JournalCorrupt as error:
                unreadable.append(str(error))
            except OSError as error:
                unreadable.append(f"{path}: cannot read the journal: {error.strerror}")
    if unreadable:
        raise JournalCorrupt("\n".join(unreadable))


def find_journals(sources: Sequence[Path]) -> list[Path]:
    """The journals that are meant, each once, by name: sessions are named after the time they started at."""
    found: dict[Path, None] = {}
    for source in sources:
        if source.is_dir():
            inside = sorted(source.glob(f"*{SUFFIX}"))
            if not inside:
                raise UsageError(f"{source}: no journals (*{SUFFIX}) in this directory")
            found.update(dict.fromkeys(inside))
        elif source.exists():
            found[source] = None
        else:
            raise UsageError(f"{source}: no such journal or directory")
    return sorted(found, key=lambda path: path.name)


def _store(journal: Journal, offsets: dict[str, Offset], store: Store) -> Backfilled:
    offset = offsets[journal.session_uid]
    records = chain(read_missing(journal, offset), read_on(journal, offset))
    stored = 0
    for batch in batches(records, offsets, BATCH_MAX):
        commit(batch, store)
        stored += batch.size
    missing = sum(gap.last_seq - gap.missing_from + 1 for gap in offset.gaps if gap.missing_from is not None)
    return Backfilled(str(journal.path), journal.session_uid, stored, missing)
