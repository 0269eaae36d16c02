from contextlib import closing

import apsw
import pytest

from shared.errors import DatabaseUnusable
from shared.records import TickRecord, fields_of
from telemetry_proc.connection import open_for_writing
from telemetry_proc.schema import column_names, ensure_column, initialize_database
from telemetry_proc.tables import APPLICATION_ID, SCHEMA_VERSION, TABLES
from tests.shared.record_examples import EXAMPLES
from tests.telemetry.an_engine import a_writer, encoded, one_tick
from tests.telemetry.legacy_databases import (
    BEFORE_ANCHOR_ERROR,
    BREAKERS_WITHOUT_SESSION,
    OTHER_SHAPES,
    checksums,
    legacy,
    shapes_of,
)


def test_1_given_a_fresh_database_when_initialized_then_it_has_anchor_error_bps(tmp_path):
    with closing(apsw.Connection(str(tmp_path / "k.db"))) as conn:
        steps = initialize_database(conn)

        assert "anchor_error_bps" in column_names(conn, "system_metrics")
        assert steps == tuple(f"create table {table.name}" for table in TABLES)
        assert [step for (step,) in conn.execute("SELECT step FROM schema_changes ORDER BY id")] == list(steps)
        assert (conn.pragma("application_id"), conn.pragma("user_version")) == (APPLICATION_ID, SCHEMA_VERSION)


def test_given_a_fresh_database_when_initialized_again_then_nothing_is_written(tmp_path):
    path = tmp_path / "k.db"
    with closing(apsw.Connection(str(path))) as conn:
        initialize_database(conn)
        before = path.read_bytes()

        assert initialize_database(conn) == ()

        assert path.read_bytes() == before


def test_given_a_tick_field_when_the_schema_is_made_then_it_is_a_column_of_its_type(tmp_path):
    with closing(apsw.Connection(str(tmp_path / "k.db"))) as conn:
        initialize_database(conn)

        declared = dict(conn.execute("SELECT name, type FROM pragma_table_info('system_metrics')"))

    assert {field.name: field.sql_type for field in fields_of(TickRecord)}.items() <= declared.items()


def test_2_given_a_database_without_anchor_error_when_ensured_twice_then_its_rows_are_kept_and_null(tmp_path):
    with legacy(tmp_path / "k.db", BEFORE_ANCHOR_ERROR) as conn:
        shapes = shapes_of(conn)
        before = checksums(conn, shapes)

        assert ensure_column(conn, "system_metrics", "anchor_error_bps", "REAL")
        assert not ensure_column(conn, "system_metrics", "anchor_error_bps", "REAL")

        assert checksums(conn, shapes) == before
        assert conn.execute("SELECT anchor_error_bps FROM system_metrics").fetchall() == [(None,)] * 4


def test_7_given_breaker_events_of_the_old_shape_when_upgraded_then_their_rows_survive(tmp_path):
    with legacy(tmp_path / "k.db", BREAKERS_WITHOUT_SESSION) as conn:
        before = conn.execute("SELECT * FROM circuit_breaker_events").fetchall()

        steps = initialize_database(conn)

        assert "add column circuit_breaker_events.session_id" in steps
        after = conn.execute("SELECT * FROM circuit_breaker_events").fetchall()
        assert after == [(*row, None) for row in before]


def test_given_a_legacy_session_that_must_have_a_start_when_only_a_stub_is_known_then_it_is_stored_still(tmp_path):
    with legacy(tmp_path / "k.db", OTHER_SHAPES):
        pass
    with a_writer(tmp_path) as (writer, arrivals, conn, _):
        arrivals.deliver(encoded([EXAMPLES["session_opened"], one_tick()])[1])

        writer.step()

        assert conn.execute("SELECT tick FROM system_metrics").fetchall() == [(37,)]
        unknown = conn.execute("SELECT started_at FROM sessions WHERE session_uid IS NOT NULL").fetchall()
        assert unknown == [("unknown",)]


def test_given_a_legacy_table_when_a_record_comes_twice_then_it_is_held_once_although_older_rows_repeat(tmp_path):
    with legacy(tmp_path / "k.db", BEFORE_ANCHOR_ERROR) as conn:
        initialize_database(conn)
        insert = "INSERT INTO system_metrics(session_id, seq, tick) VALUES (7, ?, 1)"
        conn.execute(insert, (1,))

        with pytest.raises(apsw.ConstraintError):
            conn.execute(insert, (2,))


def _refused(path, *parts):
    before = path.read_bytes()
    with pytest.raises(DatabaseUnusable) as refusal:
        open_for_writing(path).conn.close()
    assert path.read_bytes() == before
    assert len(str(refusal.value).splitlines()) == 1
    for part in (path.name, *parts):
        assert part in str(refusal.value)


@pytest.mark.parametrize(
    ("script", "parts"),
    [
        (f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = 99", ("newer Kedge", "99")),
        (
            "PRAGMA user_version = 2; CREATE TABLE sessions (session_id INTEGER PRIMARY KEY)",
            ("newer Kedge", "schema 2"),
        ),
        ("PRAGMA application_id = 1; CREATE TABLE fills (id)", ("another program",)),
        ("CREATE TABLE birds (name TEXT)", ("not a Kedge database", "birds")),
        ("CREATE TABLE system_metrics (tick INTEGER, host TEXT NOT NULL)", ("system_metrics.host", "NOT NULL")),
        ("CREATE TABLE system_metrics (tick INTEGER, mid REAL NOT NULL)", ("system_metrics.mid", "NULL")),
        ("CREATE TABLE sessions (session_id INTEGER PRIMARY KEY, ended_at TEXT NOT NULL)", ("sessions.ended_at",)),
        ("CREATE TABLE fills (price REAL)", ("fills.price", "REAL", "TEXT")),
        ("CREATE TABLE system_metrics (ts_ns REAL)", ("system_metrics.ts_ns", "REAL", "INTEGER")),
        ("CREATE TABLE sessions (session_id TEXT PRIMARY KEY)", ("sessions.session_id", "TEXT")),
        ("CREATE TABLE system_metrics (tick INTEGER, mid REAL AS (1.0))", ("system_metrics.mid", "generated")),
        ("CREATE TABLE fills (price TEXT); CREATE VIEW sessions AS SELECT 1", ("sessions", "view")),
        (
            "CREATE TABLE fills (price TEXT); CREATE TRIGGER drop_some BEFORE INSERT ON fills BEGIN"
            " SELECT raise (Ignore) WHERE new.price = '1'; END",
            ("drop_some", "fills", "RAISE(IGNORE)"),
        ),
    ],
)
def test_given_a_database_that_cannot_take_our_records_when_opened_then_one_line_names_the_place(
    tmp_path, script, parts
):
    with legacy(tmp_path / "k.db", script):
        pass

    _refused(tmp_path / "k.db", *parts)


def test_given_a_file_that_is_no_database_when_opened_then_one_line_says_so(tmp_path):
    (tmp_path / "k.db").write_text("dear diary, " * 100)

    _refused(tmp_path / "k.db", "not a database")


def test_given_a_locked_database_when_opened_then_one_line_says_so(tmp_path):
    with closing(apsw.Connection(str(tmp_path / "k.db"))) as other:
        other.execute("CREATE TABLE fills (id); BEGIN EXCLUSIVE")
        with pytest.raises(DatabaseUnusable, match=r"k\.db: the database is locked"):
            open_for_writing(tmp_path / "k.db").conn.close()


def test_given_a_disk_that_fills_during_the_upgrade_when_it_fails_then_that_is_what_is_said(tmp_path):
    with closing(apsw.Connection(str(tmp_path / "k.db"))) as conn:
        conn.pragma("max_page_count", 3)

        with pytest.raises(apsw.FullError):
            initialize_database(conn)


def test_given_a_database_that_may_only_be_read_when_initialized_then_it_is_refused(tmp_path):
    with closing(apsw.Connection(str(tmp_path / "k.db"))) as conn:
        initialize_database(conn)
    reader = apsw.Connection(str(tmp_path / "k.db"), flags=apsw.SQLITE_OPEN_READONLY)
    with closing(reader), pytest.raises(DatabaseUnusable, match=r"k\.db: the database may only be read"):
        initialize_database(reader)


def test_given_a_directory_that_cannot_be_when_opened_then_one_line_says_so(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(DatabaseUnusable, match=r"k\.db: cannot create the directory"):
        open_for_writing(tmp_path / "file" / "k.db")


def test_given_an_upgrade_that_fails_half_way_when_looked_at_then_nothing_of_it_happened(tmp_path):
    with legacy(tmp_path / "k.db", BEFORE_ANCHOR_ERROR) as conn:
        conn.execute("CREATE INDEX system_metrics_by_session ON sessions (notes)")  # in the way of an index of ours
        shapes = shapes_of(conn)

        with pytest.raises(apsw.SQLError):
            initialize_database(conn)

        assert shapes_of(conn) == shapes
