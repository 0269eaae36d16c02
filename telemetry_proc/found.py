"""What an existing database is made of, asked of SQLite itself: tables, columns, indexes, and what would fire.

Only the schema is looked at, and only the file's own: what this connection has in `temp` or attached is not in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import apsw

from telemetry_proc.tables import TABLES, Column, Table

_UPDATED = {"sessions", "engine_state", "session_state", "telemetry_offsets", "telemetry_gaps"}  # rows change there
_WRITING = (apsw.SQLITE_INSERT, apsw.SQLITE_UPDATE, apsw.SQLITE_DELETE)


class FoundTable(NamedTuple):
    """How an existing table was made."""

    kind: str  # table, view, virtual, or shadow: part of a virtual one
    without_rowid: bool
    strict: bool  # a value of another type is refused rather than converted


class FoundColumn(NamedTuple):
    """A column as an existing table has it."""

    name: str
    declared: str
    not_null: bool
    default: str | None
    primary_key: int  # place in the primary key from 1, 0: not part of it
    hidden: int  # 2 and 3: generated from others, cannot be written


class Unique(NamedTuple):
    """Columns that an existing table holds unique together, in lower case; None is an expression."""

    by: str
    columns: frozenset[str | None]


class Fired(NamedTuple):
    """Something that a trigger would do while a record is stored."""

    trigger: str
    writes: str | None  # the table, in lower case; None: it only looks


def ask(conn: apsw.Connection, sql: str, *bindings: Any) -> list[Any]:
    """All rows at once, so that no statement stays open behind a check."""
    return conn.execute(sql, bindings).fetchall()


def tables(conn: apsw.Connection) -> dict[str, FoundTable]:
    """Tables and views by name in lower case, SQLite's own excluded."""
    sql = """SELECT name, type, wr, "strict" FROM pragma_table_list WHERE schema = 'main'"""
    return {
        name.lower(): FoundTable(kind, bool(without_rowid), bool(strict))
        for name, kind, without_rowid, strict in ask(conn, sql)
        if not name.lower().startswith("sqlite_")
    }


def columns(conn: apsw.Connection, table: Table) -> list[tuple[FoundColumn, Column | None]]:
    """Every column that a table of ours has already, beside what we would make it; empty if there is no such table."""
    sql = """SELECT name, type, "notnull", dflt_value, pk, hidden FROM pragma_table_xinfo(?, 'main')"""
    ours = {column.name: column for column in table.columns}
    return [
        (FoundColumn(name, declared, bool(not_null), default, primary_key, hidden), ours.get(name.lower()))
        for name, declared, not_null, default, primary_key, hidden in ask(conn, sql, table.name)
    ]


def all_columns(conn: apsw.Connection) -> Iterator[tuple[Table, FoundColumn, Column | None]]:
    """The same for every table of ours."""
    for table in TABLES:
        for found, ours in columns(conn, table):
            yield table, found, ours


def numbers_itself(conn: apsw.Connection, table: str, column: FoundColumn) -> bool:
    """An INTEGER PRIMARY KEY is filled by SQLite, except where there is no rowid."""
    if column.declared.upper() != "INTEGER" or column.primary_key != 1 or tables(conn)[table].without_rowid:
        return False
    return ask(conn, "SELECT max(pk) FROM pragma_table_info(?, 'main')", table) == [(1,)]


def uniques(conn: apsw.Connection, table: Table) -> Iterator[Unique]:
    """Everything that a table of ours holds unique already."""
    key = frozenset(found.name.lower() for found, _ in columns(conn, table) if found.primary_key)
    if key:
        yield Unique("the primary key", key)
    sql = """SELECT name FROM pragma_index_list(?, 'main') WHERE "unique" AND origin != 'pk'"""
    for (name,) in ask(conn, sql, table.name):
        yield Unique(f"index {name}", indexed(conn, name))


def indexed(conn: apsw.Connection, index: str) -> frozenset[str | None]:
    """The columns of an index, in lower case; None is an expression."""
    names = ask(conn, "SELECT name FROM pragma_index_info(?, 'main')", index)
    return frozenset(name and name.lower() for (name,) in names)


def statements(conn: apsw.Connection) -> Iterator[tuple[str, str]]:
    """What stands for all that we do with each table of ours that exists already: its name and one statement."""
    for table in TABLES:
        names = [f'"{found.name}"' for found, ours in columns(conn, table) if ours is not None]
        if table.name not in tables(conn):
            continue
        yield table.name, f"INSERT INTO main.{table.name} DEFAULT VALUES"
        if names:
            yield table.name, f"SELECT 1 FROM main.{table.name} ORDER BY {', '.join(names)}"  # noqa: S608 - schema's
        if names and table.name in _UPDATED:
            settings = ", ".join(f"{name} = {name}" for name in names)
            yield table.name, f"UPDATE main.{table.name} SET {settings}"  # noqa: S608 - the schema's own names


def would_fire(conn: apsw.Connection, statement: str) -> set[Fired]:
    """What triggers would do if this statement were run. Raises `apsw.SQLError` if it cannot even be compiled."""
    fired: set[Fired] = set()

    def note(operation: int, first: str | None, _second: str | None, _schema: str | None, trigger: str | None) -> int:
        if trigger is not None:
            fired.add(Fired(trigger, first.lower() if first is not None and operation in _WRITING else None))
        return apsw.SQLITE_OK

    before = conn.authorizer
    conn.authorizer = note
    try:
        ask(conn, f"EXPLAIN {statement}")
    finally:
        conn.authorizer = before
    return fired
