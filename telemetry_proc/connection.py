"""Opening the database to write to it: each setting is a named function that says why."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import apsw

from shared.errors import DatabaseUnusable
from telemetry_proc.schema import initialize_database

BUSY_MS = 1_000
WAL_BYTES_KEPT = 64 * 1024 * 1024


class Opened(NamedTuple):
    """An open database at the present schema and the steps that brought it there."""

    conn: apsw.Connection
    steps: tuple[str, ...]


def wait_when_busy(conn: apsw.Connection) -> None:
    """A reader's checkpoint or another tool may hold the file for a moment; that is not worth a retry of ours."""
    conn.set_busy_timeout(BUSY_MS)


def enforce_foreign_keys(conn: apsw.Connection) -> None:
    """SQLite checks references only when asked; a row without its session must never exist."""
    conn.pragma("foreign_keys", 1)


def write_ahead(conn: apsw.Connection) -> None:
    """Readers read while we write, and a kill in the middle of a commit leaves the last whole one."""
    conn.pragma("journal_mode", "WAL")


def sync_at_checkpoints(conn: apsw.Connection) -> None:
    """A power cut may take the last commits but never the consistency; what they held is still in the journals."""
    conn.pragma("synchronous", "NORMAL")


def bound_write_ahead_log(conn: apsw.Connection) -> None:
    """A long read can make the log grow; afterwards it gives the space back."""
    conn.pragma("journal_size_limit", WAL_BYTES_KEPT)


BEFORE_MIGRATION = (wait_when_busy, enforce_foreign_keys)
AFTER_MIGRATION = (write_ahead, sync_at_checkpoints, bound_write_ahead_log)  # these change a file: it must be ours


def open_for_writing(path: Path, vfs: str | None = None) -> Opened:
    """Open or create the database, directories included, and bring it to the present schema.

    `vfs` names another file system than the machine's, registered with SQLite.

    Raises `DatabaseUnusable`, in one line that names the file; a database that is refused is left as it was.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DatabaseUnusable(f"{path}: cannot create the directory: {error.strerror}") from None
    with complaints_naming(path):
        conn = apsw.Connection(str(path), vfs=vfs)
    try:
        with complaints_naming(path):
            for setting in BEFORE_MIGRATION:
                setting(conn)
            steps = initialize_database(conn)
            for setting in AFTER_MIGRATION:
                setting(conn)
    except BaseException:
        conn.close()
        raise
    return Opened(conn, steps)


@contextmanager
def complaints_naming(path: Path) -> Iterator[None]:
    """SQLite's errors inside become `DatabaseUnusable` with the name of the file."""
    try:
        yield
    except apsw.NotADBError:
        raise DatabaseUnusable(f"{path}: not a database") from None
    except (apsw.BusyError, apsw.LockedError):
        raise DatabaseUnusable(f"{path}: the database is locked by another program") from None
    except apsw.Error as error:
        raise DatabaseUnusable(f"{path}: {error}") from None
