"""One writer a database: a lock file beside it, and beside that a note who holds it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock, Timeout

from shared.errors import DatabaseUnusable


class Holder(NamedTuple):
    """Who holds a database, as they said themselves."""

    pid: int
    doing: str
    since: str  # ISO 8601 UTC

    def __str__(self) -> str:
        """For people."""
        return f"pid {self.pid}, {self.doing} since {self.since}"


@contextmanager
def sole_writer(database: Path, doing: str, since: str) -> Iterator[None]:
    """Hold the database. Raises `DatabaseUnusable` naming the holder if another process, or thread, has it.

    The operating system drops the lock with its process, however that ends; the note may outlive it.
    """
    if os.path.exists(database) and not os.path.isfile(database):  # noqa: PTH110, PTH113 - these answer for every name
        what = "a directory" if database.is_dir() else "a device or a pipe"
        raise DatabaseUnusable(f"{database}: {what}, must be a database file")
    lock = FileLock(lock_path(database), timeout=0)
    note = _note_path(database)
    try:
        lock_path(database).parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
        note.write_text(json.dumps(Holder(os.getpid(), doing, since)._asdict()) + "\n", encoding="utf-8")
    except Timeout:
        raise DatabaseUnusable(f"{database}: in use by {holder(database) or 'another writer'}") from None
    except OSError as error:
        lock.release()
        raise DatabaseUnusable(f"{lock_path(database)}: cannot lock the database: {error.strerror}") from None
    try:
        yield
    finally:
        with suppress(
            OSError
        ):  # a directory that may no longer be written: the note outlives us and names nobody alive
            note.unlink(missing_ok=True)
        lock.release()


def holder(database: Path) -> Holder | None:
    """Who last said that they hold the database; ask `is_held` whether they still do."""
    try:
        said = json.loads(_note_path(database).read_text(encoding="utf-8"))
        return Holder(int(said["pid"]), str(said["doing"]), str(said["since"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def is_held(database: Path) -> bool:
    """Does a living process hold the database?"""
    if not lock_path(database).exists():
        return False
    lock = FileLock(lock_path(database), timeout=0)
    try:
        lock.acquire()
    except Timeout:
        return True
    lock.release()
    return False


def lock_path(database: Path) -> Path:
    """The lock file of a database. It lies beside the file itself, so that a link to it finds the same lock."""
    file = Path(os.path.realpath(database))
    return file.with_name(f"{file.name}.lock")


def _note_path(database: Path) -> Path:
    lock = lock_path(database)
    return lock.with_name(f"{lock.name}.holder")
