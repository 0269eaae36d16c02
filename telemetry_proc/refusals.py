"""Which databases are left alone, and why: an ordered tuple of named checks, each raising with one line.

Better a refusal at the start than a constraint that fails in the middle of a session: everything here can be seen
from the schema alone, and nothing has been written when it is said.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import apsw

from shared.errors import DatabaseUnusable
from telemetry_proc.tables import APPLICATION_ID, LEGACY, SCHEMA_VERSION, TABLES, UNCLOSED, UNOPENED, Column, Table

_KEPT_AS_IS = {"INTEGER": {"INTEGER", "NUMERIC", "BLOB"}, "REAL": {"REAL", "BLOB"}, "TEXT": {"TEXT", "BLOB"}}
_RAISES_IGNORE = re.compile(r"\braise\s*\(\s*ignore\b", re.IGNORECASE)
_NEVER_STORED_AS_NULL = (None, LEGACY, UNOPENED, UNCLOSED)  # in a row of ours; `store.py` sees to UNOPENED


class Found(NamedTuple):
    """A column as an existing table has it."""

    name: str
    declared: str
    not_null: bool
    default: str | None
    primary_key: int  # place in the primary key from 1, 0: not part of it
    hidden: int  # 2 and 3: generated from others, cannot be written


def refuse_unusable(conn: apsw.Connection) -> None:
    """Raises `DatabaseUnusable` with the first reason why this database must not or cannot take our records."""
    for check in CHECKS:
        for complaint in check(conn):
            raise DatabaseUnusable(f"{conn.filename}: {complaint}")


def is_read_only(conn: apsw.Connection) -> Iterator[str]:
    """SQLite opens a file that may only be read without a word; the first insert would be too late to say it."""
    if conn.readonly("main"):
        yield "the database may only be read"


def is_foreign(conn: apsw.Connection) -> Iterator[str]:
    """Adding tables to another program's database would be vandalism."""
    application_id = conn.pragma("application_id")
    if application_id not in (0, APPLICATION_ID):
        yield f"belongs to another program (application_id {application_id})"
    present = _objects(conn)
    if present and application_id == 0 and not present.keys() & {table.name for table in TABLES}:
        yield f"not a Kedge database: it holds {', '.join(sorted(present)[:3])} and no table of ours"


def is_newer(conn: apsw.Connection) -> Iterator[str]:
    """A newer program may rely on things that this one would not keep up; whose number it is does not matter then."""
    version = conn.pragma("user_version")
    if version > SCHEMA_VERSION:
        yield f"written by a newer Kedge (schema {version}, this program knows {SCHEMA_VERSION})"


def has_view_for_table(conn: apsw.Connection) -> Iterator[str]:
    """A view cannot be extended, and what it would do with our inserts is anybody's guess."""
    present = _objects(conn)
    for table in TABLES:
        if present.get(table.name, "table") != "table":
            yield f"{table.name} is a {present[table.name]}, must be a table"


def has_column_we_cannot_fill(conn: apsw.Connection) -> Iterator[str]:
    """An older column that must have a value, which we do not record or record as NULL now and then."""
    for table, found, ours in _columns(conn):
        if not found.not_null or _numbers_itself(conn, table, found):
            continue
        if ours is None and found.default is None:
            yield f"{table.name}.{found.name} is NOT NULL without a default, and Kedge does not write it"
        if ours is not None and ours.doc.null == UNCLOSED and found.default is None:
            yield f"{table.name}.{found.name} is NOT NULL without a default, and Kedge fills it only at the end"
        if ours is not None and ours.doc.null not in _NEVER_STORED_AS_NULL:
            yield f"{table.name}.{found.name} is NOT NULL, and Kedge stores NULL in it: {ours.doc.null}"


def has_column_that_changes_values(conn: apsw.Connection) -> Iterator[str]:
    """SQLite converts to a column's declared type: digits of money or of a time stamp would be lost in silence."""
    for table, found, ours in _columns(conn):
        if ours is None or not ours.exact:
            continue
        if found.hidden:
            yield f"{table.name}.{found.name} is generated from other columns and cannot be written"
        if _affinity(found.declared) not in _KEPT_AS_IS[ours.sql_type]:
            yield f"{table.name}.{found.name} is declared {found.declared}, Kedge stores {ours.sql_type}"


def has_trigger_that_drops_records(conn: apsw.Connection) -> Iterator[str]:
    """RAISE(IGNORE) leaves a row out without an error: the record would count as stored."""
    sql = "SELECT name, tbl_name, sql FROM sqlite_master WHERE type = 'trigger'"
    ours = {table.name for table in TABLES}
    for name, table, text in conn.execute(sql):
        if table.lower() in ours and _RAISES_IGNORE.search(text):
            yield f"trigger {name} may leave out rows of {table} in silence: RAISE(IGNORE)"


CHECKS: tuple[Callable[[apsw.Connection], Iterator[str]], ...] = (
    is_read_only,
    is_foreign,
    is_newer,
    has_view_for_table,
    has_column_we_cannot_fill,
    has_column_that_changes_values,
    has_trigger_that_drops_records,
)


def _objects(conn: apsw.Connection) -> dict[str, str]:
    """Tables and views by name, SQLite's own excluded."""
    sql = "SELECT name, type FROM sqlite_master WHERE type IN ('table', 'view') AND substr(name, 1, 7) != 'sqlite_'"
    return {str(name).lower(): str(kind) for name, kind in conn.execute(sql)}


def _columns(conn: apsw.Connection) -> Iterator[tuple[Table, Found, Column | None]]:
    """Every column of every table of ours that exists already, beside what we would make it."""
    sql = 'SELECT name, type, "notnull", dflt_value, pk, hidden FROM pragma_table_xinfo(?)'
    for table in TABLES:
        ours = {column.name: column for column in table.columns}
        rows: list[Any] = conn.execute(sql, (table.name,)).fetchall()
        for name, declared, not_null, default, primary_key, hidden in rows:
            found = Found(name, declared, bool(not_null), default, primary_key, hidden)
            yield table, found, ours.get(name.lower())


def _numbers_itself(conn: apsw.Connection, table: Table, found: Found) -> bool:
    """An INTEGER PRIMARY KEY is filled by SQLite."""
    if found.declared.upper() != "INTEGER" or found.primary_key != 1:
        return False
    return conn.execute("SELECT max(pk) FROM pragma_table_info(?)", (table.name,)).fetchall() == [(1,)]


def _affinity(declared: str) -> str:
    """How a column of this declared type converts what is stored; the rules of https://sqlite.org/datatype3.html."""
    declared = declared.upper()
    for affinity, words in (("INTEGER", ("INT",)), ("TEXT", ("CHAR", "CLOB", "TEXT")), ("BLOB", ("BLOB",))):
        if any(word in declared for word in words):
            return affinity
    if not declared:
        return "BLOB"
    return "REAL" if any(word in declared for word in ("REAL", "FLOA", "DOUB")) else "NUMERIC"
