"""Opening the database to write to it: each setting is a named function that says why."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import apsw

from shared.errors import DatabaseUnusable
from telemetry_proc.schema import initialize_database
from telemetry_proc.wording import in_one_line

BUSY_MS = 1_000
WAL_BYTES_KEPT = 64 * 1024 * 1024


class Opened(NamedTuple):
    """An open database at the present schema and the steps that brought it there."""

    conn: apsw.Connection
    steps: tuple[str, ...]


def leave_its_log_alone(conn: apsw.Connection) -> None:
    """Closing would move what a crash left in the log into the database, also into one that we refuse."""
    if _left_behind(conn):
        conn.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)


def wait_when_busy(conn: apsw.Connection) -> None:
    """A reader's checkpoint or another tool may hold the file for a moment; that is not worth a retry of ours."""
    conn.set_busy_timeout(BUSY_MS)


def enforce_foreign_keys(conn: apsw.Connection) -> None:
    """SQLite checks references only when asked; a row without its session must never exist."""
    conn.pragma("foreign_keys", 1)


def look_over_what_a_crash_left(conn: apsw.Connection) -> None:
    """What a crash leaves beside the database is taken up by its name alone.

    So a database that was put in the place of another one is mixed with pages of that one; the journals have all of it
    again, but a damaged file must not take more. A check reads the whole file, two seconds a gigabyte from memory and
    far more from a disk: too long for every restart after a kill.
    """
    beside = _left_behind(conn)
    if not beside or _is_older_than_its_log(conn):
        return
    try:
        first = conn.execute("PRAGMA quick_check(1)").fetchall()[0][0]
    except (apsw.CorruptError, apsw.NotADBError, apsw.SQLError) as error:
        first = str(error)
    if first != "ok":
        raise apsw.CorruptError(f"damaged, or {' and '.join(beside)} beside it belongs to another one: {first}")


def write_ahead(conn: apsw.Connection) -> None:
    """Readers read while we write, and a kill in the middle of a commit leaves the last whole one."""
    conn.pragma("journal_mode", "WAL")


def sync_at_checkpoints(conn: apsw.Connection) -> None:
    """A power cut may take the last commits but never the consistency; what they held is still in the journals."""
    conn.pragma("synchronous", "NORMAL")


def bound_write_ahead_log(conn: apsw.Connection) -> None:
    """A long read can make the log grow; afterwards it gives the space back."""
    conn.pragma("journal_size_limit", WAL_BYTES_KEPT)


def empty_its_log_when_closed(conn: apsw.Connection) -> None:
    """It is ours now, and one file is easier to keep than two."""
    conn.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0)


BEFORE_MIGRATION = (leave_its_log_alone, wait_when_busy, enforce_foreign_keys, look_over_what_a_crash_left)
# These change a file: it must be ours.
AFTER_MIGRATION = (write_ahead, sync_at_checkpoints, bound_write_ahead_log, empty_its_log_when_closed)


def open_for_writing(path: Path, vfs: str | None = None) -> Opened:
    """Open or create the database, directories included, and bring it to the present schema.

    `vfs` names another file system than the machine's, registered with SQLite.

    Raises `DatabaseUnusable`, in one line that names the file; a database that is refused is left as it was.
    """
    try:
        Path(os.path.realpath(path)).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DatabaseUnusable(in_one_line(f"{path}: cannot create the directory: {error.strerror}")) from None
    with complaints_naming(path):
        if path.exists() and not path.is_file():  # SQLite would write into a device and leave files beside it
            raise DatabaseUnusable(in_one_line(f"{path}: not a regular file, must be a database file"))
        conn = apsw.Connection(os.path.abspath(path), vfs=vfs)  # noqa: PTH100 - a bare `:memory:` would be no file
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
    """SQLite's errors inside become `DatabaseUnusable`, one line with the name of the file."""
    try:
        yield
    except (apsw.Error, UnicodeError) as error:
        raise DatabaseUnusable(in_one_line(f"{path}: {_complaint(error)}")) from None


def _complaint(error: Exception) -> str:
    match error:
        case apsw.NotADBError():
            return "not a database"
        case apsw.BusyError() | apsw.LockedError():
            return "the database is locked by another program"
        case apsw.CantOpenError():
            return f"cannot open the database, or its -wal or -shm beside it: {error}"
        case UnicodeEncodeError():
            return "SQLite takes names in UTF-8 only"
        case UnicodeDecodeError():
            return f"damaged: text that is not UTF-8 ({error.reason})"
        case _:
            return str(error)


def _left_behind(conn: apsw.Connection) -> list[str]:
    """Names of the files that hold transactions which are not in the database file: a crash left them, or a reader."""
    beside = [Path(f"{conn.filename}-{what}") for what in ("wal", "journal")]
    return [path.name for path in beside if path.is_file() and path.stat().st_size > 0]


def _is_older_than_its_log(conn: apsw.Connection) -> bool:
    """Has nothing touched the database since its last commit? A move or a copy into its place would have.

    A writer's own checkpoint has as well, so after one kill in a hundred or so the file is checked in vain. On Windows
    a file does not say when it was moved.
    """
    log = Path(f"{conn.filename}-wal")
    if os.name == "nt" or not log.is_file():
        return False
    file = Path(conn.filename).stat()
    return max(file.st_mtime_ns, file.st_ctime_ns) < log.stat().st_mtime_ns
