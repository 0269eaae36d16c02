"""Bring a database to the present schema: create what is missing, add the columns it lacks, touch nothing else.

Laws of migration: additive only, no table is ever dropped, rebuilt or rewritten; idempotent; one transaction, with
each step and the note that it was taken committing together. A database that cannot be upgraded under these laws is
refused before anything is changed (`refusals.py`).
"""

from __future__ import annotations

import apsw

from shared.errors import DatabaseUnusable
from telemetry_proc.refusals import refuse_unusable
from telemetry_proc.statements import insert_session
from telemetry_proc.tables import APPLICATION_ID, SCHEMA_VERSION, TABLES, Table
from telemetry_proc.wording import in_one_line

_COLUMN_NAMES = "SELECT name FROM pragma_table_info(?, 'main')"


def initialize_database(conn: apsw.Connection) -> tuple[str, ...]:
    """Upgrade whatever this database is, an empty file included, and return the steps that were taken.

    Raises `DatabaseUnusable` naming file, table and column if the database is not ours to upgrade or cannot take our
    records; it is then as it was before.
    """
    refuse_unusable(conn)
    conn.execute("BEGIN IMMEDIATE")
    try:
        steps = [step for table in TABLES for step in _bring_up(conn, table)]
        if conn.pragma("application_id") != APPLICATION_ID:
            steps += _number_older_sessions(conn)
        log = "INSERT INTO schema_changes(schema_version, step) VALUES (?, ?)"
        conn.executemany(log, [(SCHEMA_VERSION, step) for step in steps])
        stamped = _stamp(conn)
        _rehearse(conn)
        conn.execute("COMMIT" if steps or stamped else "ROLLBACK")  # nothing to keep: not even a page is touched
    except BaseException:
        if conn.in_transaction:  # a full disk has already rolled it back
            conn.execute("ROLLBACK")
        raise
    return tuple(steps)


def ensure_column(conn: apsw.Connection, table: str, column: str, decl: str) -> bool:
    """Add a column unless the table has it. True if it was added; rows already there hold NULL in it."""
    if column.lower() in column_names(conn, table):
        return False
    conn.execute(f'ALTER TABLE "{table}" ADD COLUMN "{column}" {decl}')
    return True


def column_names(conn: apsw.Connection, table: str) -> set[str]:
    """The columns a table has now, in lower case because SQLite ignores case; none if there is no such table."""
    return {name.lower() for (name,) in conn.execute(_COLUMN_NAMES, (table,))}


def _bring_up(conn: apsw.Connection, table: Table) -> list[str]:
    if not column_names(conn, table.name):
        conn.execute(_create(table))
        if table.once:
            conn.execute(_unique_index(table, "once", table.once))
        return [f"create table {table.name}"]
    steps = [
        f"add column {table.name}.{column.name}"
        for column in table.columns
        if column.added is not None
        and ensure_column(conn, table.name, column.name, f"{column.sql_type} {column.added}".strip())
    ]
    return steps + _index_older(conn, table)


def _create(table: Table) -> str:
    columns = ", ".join(f"{column.name} {column.sql_type} {column.constraint}".strip() for column in table.columns)
    return f"CREATE TABLE {table.name} ({columns})"


def _unique_index(table: Table, suffix: str, columns: tuple[str, ...], where: str = "") -> str:
    return f"CREATE UNIQUE INDEX {table.name}_{suffix} ON {table.name} ({', '.join(columns)}) {where}".strip()


def _index_older(conn: apsw.Connection, table: Table) -> list[str]:
    """The indexes of a table that was here before us.

    Its own rows may repeat, so only records of ours, which have a `seq`, are held unique. Such a partial index cannot
    serve a reader who does not ask for `seq IS NOT NULL`; a plain one beside it does.
    """
    present = {name.lower() for (name,) in conn.execute("SELECT name FROM sqlite_master WHERE type = 'index'")}
    if not table.once or f"{table.name}_once" in present:
        return []
    if table.name != "sessions":
        conn.execute(_unique_index(table, "once", table.once, "WHERE seq IS NOT NULL" if table.has("seq") else ""))
        conn.execute(f"CREATE INDEX {table.name}_by_session ON {table.name} ({', '.join(table.once)})")
        return [f"create index {table.name}_once", f"create index {table.name}_by_session"]
    conn.execute(_unique_index(table, "once", table.once))  # older sessions hold NULL, which never repeats
    if _is_primary_key(conn, "sessions", "session_id"):
        return ["create index sessions_once"]
    conn.execute(_unique_index(table, "number", ("session_id",)))  # what other tables refer to must be unique
    return ["create index sessions_once", "create index sessions_number"]


def _is_primary_key(conn: apsw.Connection, table: str, column: str) -> bool:
    return [str(name).lower() for (name,) in conn.execute(f"{_COLUMN_NAMES} WHERE pk > 0", (table,))] == [column]


def _stamp(conn: apsw.Connection) -> bool:
    """Say in the file's header whose it is, unless it already says so."""
    stamps = {"application_id": APPLICATION_ID, "user_version": SCHEMA_VERSION}
    missing = {pragma: value for pragma, value in stamps.items() if conn.pragma(pragma) != value}
    for pragma, value in missing.items():
        conn.pragma(pragma, value)
    return bool(missing)


def _number_older_sessions(conn: apsw.Connection) -> list[str]:
    """A row in `sessions` for every session that older rows speak of and that has none.

    Otherwise a session of ours would be given its number, and those rows with it. An older table may number its
    sessions by rowid, and then `session_id` is a column that we have just added.
    """
    spoken_of: set[int] = set()
    for table in TABLES:
        if table.name != "sessions" and "session_id" in column_names(conn, table.name):
            numbers = f"SELECT DISTINCT session_id FROM {table.name} WHERE typeof(session_id) = 'integer'"  # noqa: S608
            spoken_of.update(number for (number,) in conn.execute(numbers))
    known = {number for (number,) in conn.execute("SELECT coalesce(session_id, rowid) FROM sessions")}
    missing = sorted(spoken_of - known)
    required = """SELECT name FROM pragma_table_info('sessions', 'main') WHERE "notnull" AND dflt_value IS NULL"""
    needed = [str(name) for (name,) in conn.execute(required) if str(name).lower() != "session_id"]
    columns = ", ".join(["rowid", "session_id", *(f'"{name}"' for name in needed)])
    values = ", ".join(["?1", "?1", *("'unknown'" for _ in needed)])
    conn.executemany(f"INSERT INTO sessions({columns}) VALUES ({values})", [(number,) for number in missing])  # noqa: S608
    return [f"add session {number}, which older rows speak of" for number in missing]


def _rehearse(conn: apsw.Connection) -> None:
    """Begin a session and take it back: without its row in `sessions`, nothing of a session can be stored.

    A CHECK or a trigger of an older program may refuse it, which the schema alone does not say.
    """
    conn.execute("SAVEPOINT rehearsal")
    try:
        insert_session(conn, "rehearsal")
    except apsw.ConstraintError as error:
        raise DatabaseUnusable(in_one_line(f"{conn.filename}: sessions takes no session of ours: {error}")) from None
    finally:
        if conn.in_transaction:
            conn.execute("ROLLBACK TO rehearsal; RELEASE rehearsal")
