"""Which databases are left alone, and why: an ordered tuple of named checks, each raising with one line.

Better a refusal at the start than a constraint that fails in the middle of a session: everything here can be seen
from the schema alone, and nothing has been written when it is said. What SQLite would do with a record it says
itself: our statements are compiled, never run, and it names the triggers that would fire and what they would write.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import apsw

from shared.errors import DatabaseUnusable
from telemetry_proc.found import (
    all_columns,
    ask,
    columns,
    indexed,
    numbers_itself,
    statements,
    tables,
    uniques,
    would_fire,
)
from telemetry_proc.tables import APPLICATION_ID, LEGACY, SCHEMA_VERSION, TABLES, UNCLOSED, UNOPENED, Column, Table
from telemetry_proc.wording import in_one_line

_KEPT_AS_IS = {"INTEGER": {"INTEGER", "NUMERIC", "BLOB"}, "REAL": {"REAL", "BLOB"}, "TEXT": {"TEXT", "BLOB"}}
_NEVER_STORED_AS_NULL = (None, LEGACY, UNOPENED, UNCLOSED)  # in a row of ours; `store.py` sees to UNOPENED
_OURS = {table.name for table in TABLES}

_NO_CODE = re.compile(r"--[^\n]*|/\*.*?(?:\*/|\Z)|'(?:[^']|'')*'|\"[^\"]*\"|`[^`]*`|\[[^\]]*\]", re.DOTALL)
_RAISES = re.compile(r"\braise\s*\(\s*(ignore|fail|rollback)\b", re.IGNORECASE)
_ON_CONFLICT = re.compile(r"\bon\s+conflict\s+(ignore|replace|fail|rollback)\b", re.IGNORECASE)
_OR_CONFLICT = re.compile(r"\b(?:insert|update)\s+or\s+(fail|rollback)\b", re.IGNORECASE)
_HARM = {
    "IGNORE": "would leave out records in silence",
    "REPLACE": "would overwrite rows that are there",
    "FAIL": "would keep records that it refuses",
    "ROLLBACK": "would take back other records with the one that it refuses",
}


def refuse_unusable(conn: apsw.Connection) -> None:
    """Raises `DatabaseUnusable` with the first reason why this database must not or cannot take our records."""
    for check in CHECKS:
        for complaint in check(conn):
            raise DatabaseUnusable(in_one_line(f"{conn.filename}: {complaint}"))


def is_read_only(conn: apsw.Connection) -> Iterator[str]:
    """SQLite opens a file that may only be read without a word; the first insert would be too late to say it."""
    if conn.readonly("main"):
        yield "the database may only be read"


def is_foreign(conn: apsw.Connection) -> Iterator[str]:
    """Adding tables to another program's database would be vandalism."""
    application_id = conn.pragma("application_id")
    if application_id not in (0, APPLICATION_ID):
        yield f"belongs to another program (application_id {application_id})"
    present = tables(conn)
    if present and application_id == 0 and not present.keys() & _OURS:
        yield f"not a Kedge database: it holds {', '.join(sorted(present)[:3])} and no table of ours"


def is_newer(conn: apsw.Connection) -> Iterator[str]:
    """A newer program may rely on things that this one would not keep up.

    Without our application_id the number is perhaps an older engine's own. Only its owner can know, and only its
    owner may give that number up.
    """
    version = conn.pragma("user_version")
    if version > SCHEMA_VERSION:
        complaint = f"written by a newer Kedge (schema {version}, this program knows {SCHEMA_VERSION})"
        if conn.pragma("application_id") != APPLICATION_ID:
            complaint += "; if it is an older engine's own number, PRAGMA user_version = 0 makes it welcome"
        yield complaint


def is_hidden(conn: apsw.Connection) -> Iterator[str]:
    """A temporary table of this connection would take our records, and end with it."""
    for (name,) in ask(conn, "SELECT name FROM pragma_table_list WHERE schema = 'temp' ORDER BY name"):
        if name.lower() in _OURS:
            yield f"temp.{name} hides the table of that name"


def has_something_else_for_table(conn: apsw.Connection) -> Iterator[str]:
    """A view or a virtual table cannot be extended, and what it would do with our inserts is anybody's guess."""
    present = tables(conn)
    for table in TABLES:
        kind = present[table.name].kind if table.name in present else "table"
        if kind != "table":
            yield f"{table.name} is a {kind if kind == 'view' else f'{kind} table'}, must be a plain table"
    if "sessions" in present and present["sessions"].without_rowid:
        yield "sessions is WITHOUT ROWID, and Kedge numbers its sessions by rowid"


def has_column_we_cannot_fill(conn: apsw.Connection) -> Iterator[str]:
    """An older column that must have a value, which we do not record or record as NULL now and then."""
    for table, found, ours in all_columns(conn):
        if ours is not None and found.hidden:
            yield f"{table.name}.{found.name} is generated from other columns and cannot be written"
        if not found.not_null or numbers_itself(conn, table.name, found):
            continue
        if found.default is None and not _is_filled(ours):
            yield f"{table.name}.{found.name} is NOT NULL without a default, and Kedge does not write it"
        if ours is not None and ours.doc.null == UNCLOSED and found.default is None:
            yield f"{table.name}.{found.name} is NOT NULL without a default, and Kedge fills it only at the end"
        if ours is not None and ours.doc.null not in _NEVER_STORED_AS_NULL:
            yield f"{table.name}.{found.name} is NOT NULL, and Kedge stores NULL in it: {ours.doc.null}"


def has_column_that_changes_values(conn: apsw.Connection) -> Iterator[str]:
    """SQLite converts to a column's declared type: digits of money or of a time stamp would be lost in silence."""
    present = tables(conn)
    for table, found, ours in all_columns(conn):
        if ours is None or not ours.exact:
            continue
        if found.hidden:
            yield f"{table.name}.{found.name} is generated from other columns and cannot be written"
        takes_any = present[table.name].strict and found.declared.upper() == "ANY"
        if not takes_any and _affinity(found.declared) not in _KEPT_AS_IS[ours.sql_type]:
            yield f"{table.name}.{found.name} is declared {found.declared}, Kedge stores {ours.sql_type}"


def has_column_of_another_type(conn: apsw.Connection) -> Iterator[str]:
    """A STRICT table refuses what an ordinary one would convert."""
    present = tables(conn)
    for table, found, ours in all_columns(conn):
        if ours is None or not present[table.name].strict:
            continue
        declared = found.declared.upper().replace("INTEGER", "INT")
        if declared not in (ours.sql_type.replace("INTEGER", "INT"), "ANY"):
            yield f"{table.name}.{found.name} is declared {found.declared} and STRICT, Kedge stores {ours.sql_type}"


def has_index_that_turns_records_away(conn: apsw.Connection) -> Iterator[str]:
    """A UNIQUE over values that may repeat in our records: those would be missing from the table.

    It is harmless where it covers what stands once anyway, or a column that is always NULL in our rows.
    """
    for table in TABLES:
        empty = {
            found.name.lower()
            for found, ours in columns(conn, table)
            if found.default is None and not found.hidden and not _is_filled(ours)
        }
        for by, unique in uniques(conn, table):
            if not unique & empty and not any(key <= unique for key in _keys_of(table)):
                over = ", ".join(sorted(column or "an expression" for column in unique))
                yield f"{by} holds {table.name}({over}) unique, and records of Kedge may repeat it"


def has_index_in_the_way(conn: apsw.Connection) -> Iterator[str]:
    """An index that is called like one of ours and is another one: ours would be thought to be there."""
    sql = "SELECT tbl_name FROM sqlite_master WHERE type = 'index' AND name = ? COLLATE NOCASE"
    for table in TABLES:
        name = f"{table.name}_once"
        for (on,) in ask(conn, sql, name):
            if table.once and (on.lower(), indexed(conn, name)) != (table.name, frozenset(table.once)):
                yield f"index {name} on {on} is not the one of that name that Kedge would make"


def has_reference_elsewhere(conn: apsw.Connection) -> Iterator[str]:
    """An older FOREIGN KEY on a column that we fill, to rows that we do not write: it would refuse every record."""
    sql = """SELECT id, "table", "from", "to" FROM pragma_foreign_key_list(?, 'main') ORDER BY id, seq"""
    for table in TABLES:
        filled = {found.name.lower() for found, ours in columns(conn, table) if _is_filled(ours)}
        references = ask(conn, sql, table.name)
        optional = {number for number, _, column, _ in references if column.lower() not in filled}
        for number, parent, column, to in references:
            if number not in optional and not (parent.lower() == "sessions" and _is_session_number(conn, to)):
                target = parent if to is None else f"{parent}({to})"
                yield f"{table.name}.{column} refers to {target}, and Kedge stores a number of its own in it"


def has_table_that_cannot_be_written(conn: apsw.Connection) -> Iterator[str]:
    """A collation, a function or a table that is not there makes every insert fail, by itself or in a trigger."""
    for table, statement in statements(conn):
        try:
            would_fire(conn, statement)
        except apsw.SQLError as error:
            yield f"{table} cannot be written: {error}"


def has_trigger_that_changes_records(conn: apsw.Connection) -> Iterator[str]:
    """What stands in our tables must be what was recorded; a trigger that writes there too would falsify it.

    One that only refuses a row is accepted, because the row is then put on file; so is one that writes elsewhere.
    """
    for _, statement in statements(conn):
        for trigger, writes in would_fire(conn, statement):
            if writes in _OURS:
                yield f"trigger {trigger} writes to {writes} when records are stored"


def has_rule_that_drops_records(conn: apsw.Connection) -> Iterator[str]:
    """Some ways to resolve a conflict leave no trace of the record, or too many: it would count as stored."""
    sql = "SELECT type, lower(name), sql FROM sqlite_master WHERE type IN ('table', 'trigger') AND sql NOT NULL"
    code = {(kind, name): _NO_CODE.sub(" ", text) for kind, name, text in ask(conn, sql)}
    for table, statement in statements(conn):
        for rule in _ON_CONFLICT.findall(code["table", table]):
            yield f"{table} is declared ON CONFLICT {rule.upper()}, which {_HARM[rule.upper()]}"
        for trigger, writes in would_fire(conn, statement):
            body = code.get(("trigger", trigger.lower()), "")
            for rule in _RAISES.findall(body):
                yield f"trigger {trigger} {_HARM[rule.upper()]} of {table}: RAISE({rule.upper()})"
            rules = _OR_CONFLICT.findall(body) + _ON_CONFLICT.findall(code.get(("table", writes or ""), ""))
            for rule in sorted({rule.upper() for rule in rules} & {"FAIL", "ROLLBACK"}):
                yield f"trigger {trigger} {_HARM[rule]} of {table}: it writes elsewhere with ON CONFLICT {rule}"


CHECKS: tuple[Callable[[apsw.Connection], Iterator[str]], ...] = (
    is_read_only,
    is_foreign,
    is_newer,
    is_hidden,
    has_something_else_for_table,
    has_column_we_cannot_fill,
    has_column_that_changes_values,
    has_column_of_another_type,
    has_index_that_turns_records_away,
    has_index_in_the_way,
    has_reference_elsewhere,
    has_table_that_cannot_be_written,
    has_trigger_that_changes_records,
    has_rule_that_drops_records,
)


def _is_filled(ours: Column | None) -> bool:
    """Do our statements give it a value? An `id` is left to SQLite."""
    return ours is not None and ours.name != "id"


def _keys_of(table: Table) -> list[set[str]]:
    """What stands once in a table, because the record that it is made from does."""
    keys = [{column.name} for column in table.columns if "PRIMARY KEY" in column.constraint]
    keys += [set(table.once)] if table.once else []
    return keys + ([{"session_id", "seq"}] if table.has("seq") else [])


def _is_session_number(conn: apsw.Connection, column: str | None) -> bool:
    """Is this column of `sessions`, None for its primary key, the number that Kedge gives a session?"""
    present = [found for table, found, _ in all_columns(conn) if table.name == "sessions"]
    for found in present:
        if found.primary_key == 1 if column is None else found.name.lower() == column.lower():
            return found.name.lower() == "session_id" or numbers_itself(conn, "sessions", found)
    return not present and column in (None, "session_id")


def _affinity(declared: str) -> str:
    """How a column of this declared type converts what is stored; the rules of https://sqlite.org/datatype3.html."""
    declared = declared.upper()
    for affinity, words in (("INTEGER", ("INT",)), ("TEXT", ("CHAR", "CLOB", "TEXT")), ("BLOB", ("BLOB",))):
        if any(word in declared for word in words):
            return affinity
    if not declared:
        return "BLOB"
    return "REAL" if any(word in declared for word in ("REAL", "FLOA", "DOUB")) else "NUMERIC"
