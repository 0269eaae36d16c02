"""SQL is literal text. Where a name is put into it, the name is the schema's own, and the place stands in a list here.

SQLite binds values, not names, so some statements are built. Whoever adds such a place says here whose names it uses;
what a person or an engine says goes into bindings, nowhere else.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from shared import cli
from shared.records import KINDS
from telemetry_proc.__main__ import telemetry
from telemetry_proc.tables import TABLES

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "telemetry_proc").glob("*.py"))
NAME = re.compile(r"[a-z][a-z0-9_]*")
SQL = re.compile(
    r"\s*(SELECT|INSERT|REPLACE|UPDATE|DELETE|CREATE|ALTER|DROP|PRAGMA|WITH|ATTACH|DETACH|BEGIN|COMMIT|ROLLBACK|SAVEPOINT"
    r"|RELEASE|VACUUM|REINDEX|ANALYZE|FROM|WHERE|SET|VALUES|ORDER BY|LIMIT)\b",
)
EXECUTES = {"execute", "executemany", "pragma"}

# Where SQL is built, and whose names go into it.
BUILT = {
    ("audit_rows.py", "_select"): "a table of ours and its columns, from tables.py",
    ("found.py", "statements"): "tables of ours and their columns, from tables.py",
    ("plot_columns.py", "_read_page"): "names from PLOT_COLUMNS",
    ("reading.py", "rows"): "a table, columns and clauses that the reading commands spell out",
    ("reading.py", "count_of_session"): "the same tables",
    ("reading.py", "session_pages"): "columns from ORDER_OF",
    ("schema.py", "_create"): "tables.py",
    ("schema.py", "_index_older"): "tables.py",
    ("schema.py", "_number_older_sessions"): "tables.py; of an older table only the columns that we know",
    ("schema.py", "_unique_index"): "tables.py",
    ("schema.py", "ensure_column"): "tables.py, quoted",
    (
        "statements.py",
        "insert_session",
    ): "columns of `sessions`, from tables.py; of an older one only those that we know",
    ("statements.py", "_insert"): "a record's table and fields, from tables.py and records.py",
    ("statements.py", "_update_session"): "columns of `sessions`, from tables.py",
    ("status.py", "_count"): "names from ROW_TABLES",
}
# Where a statement is run that was made elsewhere: in a place above, or as a constant of the module.
HANDED_ON = {
    ("audit_rows.py", "_select"),
    ("found.py", "ask"),
    ("reading.py", "count_of_session"),
    ("schema.py", "_bring_up"),
    ("schema.py", "_index_older"),
    ("schema.py", "_is_primary_key"),
    ("schema.py", "_number_older_sessions"),
    ("schema.py", "_stamp"),
    ("schema.py", "initialize_database"),
    ("plot_columns.py", "_read_page"),
    ("sessions.py", "_measured"),
    ("store.py", "_execute_all"),
    ("store.py", "_one_by_one"),
}


def beginning(node):
    """The literal text that a string expression begins with."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if isinstance(node, ast.JoinedStr):
        return beginning(node.values[0]) if node.values else ""
    if isinstance(node, ast.BinOp):
        return beginning(node.left)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return beginning(node.func.value)
    return ""


def builds_sql(node):
    """A string that begins like SQL and is not wholly literal."""
    if isinstance(node, ast.JoinedStr):
        built = any(isinstance(part, ast.FormattedValue) for part in node.values)
    elif isinstance(node, ast.BinOp):
        built = isinstance(node.op, ast.Add | ast.Mod) and not is_literal(node)
    else:
        built = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "format"
    return built and bool(SQL.match(beginning(node)))


def is_literal(node):
    if isinstance(node, ast.BinOp):
        return is_literal(node.left) and is_literal(node.right)
    return isinstance(node, ast.Constant)


def runs_unknown(node):
    """Runs a statement that is neither literal nor a constant of the module, nor built right there."""
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in EXECUTES):
        return False
    statement = node.args[0]
    constant = isinstance(statement, ast.Name) and statement.id.strip("_").isupper()
    return not (constant or is_literal(statement) or builds_sql(statement))


def places(tree, found):
    """The functions of a file in which something is found, `module` for what stands outside of any."""

    def walk(node, function):
        for child in ast.iter_child_nodes(node):
            inner = child.name if isinstance(child, ast.FunctionDef) else function
            if found(child):
                yield inner
            yield from walk(child, inner)

    return set(walk(tree, "module"))


def everywhere(found):
    return {
        (path.name, function)
        for path in SOURCES
        for function in places(ast.parse(path.read_text(encoding="utf-8")), found)
    }


def test_given_the_sources_when_searched_then_sql_is_built_in_the_audited_places_and_nowhere_else():
    built = everywhere(builds_sql)

    assert built - BUILT.keys() == set(), "say in BUILT whose names these are, or bind the values"
    assert BUILT.keys() - built == set(), "no longer built there: take it from the list"


def test_given_the_sources_when_searched_then_statements_are_run_where_they_stand_or_where_the_list_says():
    handed_on = everywhere(runs_unknown)

    assert handed_on - HANDED_ON == set(), "where does this statement come from? Then add it to HANDED_ON"
    assert HANDED_ON - handed_on == set(), "no longer run there: take it from the list"


def test_given_the_schema_when_its_names_are_read_then_none_needs_quoting():
    names = {name for table in TABLES for name in (table.name, *(column.name for column in table.columns))}
    names |= {field for record_type in KINDS.values() for field in record_type._fields} | set(KINDS)

    assert len(names) > 100
    assert [name for name in names if not NAME.fullmatch(name)] == []


@pytest.mark.parametrize(
    ("source", "built", "unknown"),
    [
        ('conn.execute(f"SELECT * FROM {table}")', True, False),
        ('conn.execute("DELETE FROM " + table)', True, False),
        ('conn.execute("DROP TABLE %s" % table)', True, False),
        ('conn.execute("SELECT {}".format(column))', True, False),
        ('rest = f"WHERE {key} = 1"', True, False),
        ("conn.execute(statement)", False, True),
        ("conn.execute(prefix + name)", False, True),
        ("conn.executemany(make(name), rows)", False, True),
        ('conn.execute("SELECT 1" " FROM t WHERE a = ?", (a,))', False, False),
        ('conn.execute("SELECT 1" + " FROM t")', False, False),
        ("conn.execute(_COUNT_TICKS)", False, False),
        ('log.info(f"{table} is there")', False, False),
    ],
)
def test_given_a_sample_when_searched_then_what_matters_is_found_and_nothing_else(source, built, unknown):
    tree = ast.parse(source)

    assert bool(places(tree, builds_sql)) is built
    assert bool(places(tree, runs_unknown)) is unknown


@pytest.mark.parametrize("table", ["fills; DROP TABLE fills", "sqlite_master", "fills--", "", "(SELECT 1)", "FILLS"])
def test_given_an_export_of_a_table_that_is_none_of_ours_when_asked_for_then_it_is_a_usage_error(
    tmp_path, table, capsys
):
    assert cli.run(telemetry, ["migrate", "--db", str(tmp_path / "k.db")]) == 0

    assert cli.run(telemetry, ["export", "latest", "--db", str(tmp_path / "k.db"), "--table", table]) == 2

    assert "--table" in capsys.readouterr().err
