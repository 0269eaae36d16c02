"""The database as a reader sees it: opened read-only, older shapes included, never written to.

A database may be older than this program. Nothing is migrated on read: a column or a table that is not there means
"not recorded", so it reads as NULL, or as no rows at all where the question depends on it.

Reads are many short transactions. What the writer has committed of a session never changes, so a long table is read
in pages, and the write-ahead log can be checkpointed between them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw

from shared.errors import DatabaseUnusable
from telemetry_proc.refusals import has_column_that_changes_values

Row = tuple[Any, ...]

BUSY_MS = 2_000
PAGE_ROWS = 20_000
INTEGER_MAX = 2**63 - 1

# What orders the rows of a session. A gap that was filled late is stored late, so it is not the order of storing,
# except where nothing else is on record.
ORDER_OF = {
    "system_metrics": "tick",
    "circuit_breaker_events": "rowid",
    "mode_transitions": "seq",
    "fills": "seq",
    "order_events": "seq",
    "inventory_truth_snapshots": "seq",
    "reconciler_anomaly_log": "seq",
    "session_state": "seq",
}

_TABLE_NAMES = "SELECT name FROM sqlite_master WHERE type = 'table'"
_COLUMN_NAMES = "SELECT name FROM pragma_table_info(?) ORDER BY cid"


@contextmanager
def reading(path: Path) -> Iterator[apsw.Connection]:
    """A read-only connection, closed afterwards.

    A database without any table is one that its writer has only just created: nothing is in it yet. Raises
    `DatabaseUnusable`, in one line that names the file, when the file is missing, holds somebody else's tables, or
    cannot be read, now or at any time while the connection is in use.
    """
    if not os.path.exists(path):  # noqa: PTH110 - unlike pathlib's, it answers for every name there is
        raise DatabaseUnusable(f"{path}: there is no such database")
    if path.is_dir():
        raise DatabaseUnusable(f"{path}: cannot open the database: it is a directory")
    try:
        conn = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    except apsw.Error as error:
        raise DatabaseUnusable(f"{path}: cannot open the database: {error}") from None
    try:
        conn.set_busy_timeout(BUSY_MS)
        tables = {str(name).lower() for (name,) in conn.execute(_TABLE_NAMES)}
        if tables and not tables & {"system_metrics", "sessions"}:
            raise DatabaseUnusable(f"{path}: not a Kedge database: it has neither system_metrics nor sessions")
        for complaint in has_column_that_changes_values(conn):  # what is in it may be anything
            raise DatabaseUnusable(f"{path}: {complaint}")
        yield conn
    except (apsw.Error, UnicodeDecodeError) as error:
        raise DatabaseUnusable(f"{path}: {_complaint(error)}") from None
    finally:
        conn.close()


@contextmanager
def snapshot(conn: apsw.Connection) -> Iterator[None]:
    """All reads inside see one and the same state of the database. Keep it short."""
    conn.execute("BEGIN")
    try:
        yield
    finally:
        conn.execute("ROLLBACK")


def columns(conn: apsw.Connection, table: str) -> tuple[str, ...]:
    """The columns that a table really has, in its own order and in lower case; empty if there is no such table."""
    return tuple(str(name).lower() for (name,) in conn.execute(_COLUMN_NAMES, (table,)))


def rows(
    conn: apsw.Connection,
    table: str,
    wanted: Sequence[str],
    rest: str = "",
    bindings: Sequence[Any] = (),
    *,
    needs: Sequence[str] = (),
) -> Iterator[Row]:
    """`SELECT wanted FROM table rest`, with NULL for each wanted column that the table does not have.

    `needs` names the columns that `rest` speaks of: without one of them no row can answer, so there are none. Names
    are Kedge's own schema's, never the user's; what the user says goes into `bindings`.
    """
    present = set(columns(conn, table))
    if not present or not present.issuperset(needs):
        return iter(())
    listed = ", ".join(_quoted(name) if name in present else f"NULL AS {name}" for name in wanted)
    return conn.execute(f"SELECT {listed} FROM {table} {rest}", bindings)  # noqa: S608 - the names are our schema's


def session_rows(conn: apsw.Connection, table: str, wanted: Sequence[str], session_id: int) -> Iterator[Row]:
    """The rows of one session, all at once, in the order they happened."""
    for page in session_pages(conn, table, wanted, session_id):
        yield from page


def count_of_session(conn: apsw.Connection, table: str, session_id: int) -> int:
    """How many rows of a table belong to a session."""
    if "session_id" not in columns(conn, table):
        return 0
    sql = f"SELECT count(*) FROM {table} WHERE session_id = ?"  # noqa: S608 - the name is our schema's
    return int(next(iter(conn.execute(sql, (session_id,))))[0])


def session_pages(
    conn: apsw.Connection,
    table: str,
    wanted: Sequence[str],
    session_id: int,
    key_max: int = INTEGER_MAX,
) -> Iterator[list[Row]]:
    """The same in pages of about `PAGE_ROWS`, each its own transaction, ordered by `key`, up to `key_max`.

    `key` is `ORDER_OF[table]`, the column that counts the rows of a session in the order they happened. What is
    appended behind `key_max` meanwhile is not seen, so the pages of a running session belong together.
    """
    key = ORDER_OF[table]
    needs = ("session_id",) if key == "rowid" else ("session_id", key)
    after = -INTEGER_MAX
    while after < key_max:
        bound = f"WHERE session_id = ? AND {key} > ? ORDER BY {key} LIMIT 1 OFFSET ?"
        page_end = next(rows(conn, table, (key,), bound, (session_id, after, PAGE_ROWS - 1), needs=needs), (key_max,))
        upto = min(page_end[0], key_max)
        page = f"WHERE session_id = ? AND {key} > ? AND {key} <= ? ORDER BY {key}"
        yield list(rows(conn, table, wanted, page, (session_id, after, upto), needs=needs))
        after = upto


def _quoted(name: str) -> str:
    """An export names every column there is, and an older engine may have called one `order`."""
    return '"' + name.replace('"', '""') + '"'


def _complaint(error: apsw.Error | UnicodeDecodeError) -> str:
    if isinstance(error, apsw.NotADBError):
        return "not a database"
    if isinstance(error, apsw.BusyError | apsw.LockedError):
        return f"the database is locked by another program (waited {BUSY_MS / 1000:g} s)"
    if isinstance(error, apsw.ReadOnlyError):
        return f"a database in write-ahead mode can only be read where its directory is writable ({error})"
    return f"cannot read the database: {error}"
