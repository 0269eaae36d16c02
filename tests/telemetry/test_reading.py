"""Databases of every age are read, and none is ever changed."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest

from shared.errors import DatabaseUnusable
from telemetry_proc import reading as reading_module
from telemetry_proc.reading import columns, count_of_session, reading, rows, session_pages, session_rows, snapshot
from tests.telemetry.recorded_session import opened, store_session


def test_given_a_read_connection_when_writing_then_sqlite_refuses(tmp_path):
    path = tmp_path / "kedge.db"
    with opened(path) as conn:
        store_session(conn, [1.0])
    with pytest.raises(DatabaseUnusable, match="readonly"), reading(path) as conn:
        conn.execute("DELETE FROM system_metrics")


def test_given_a_missing_column_when_read_then_it_is_null_and_the_file_is_unchanged(tmp_path):
    path = tmp_path / "old.db"
    with apsw.Connection(str(path)) as old:
        old.execute("CREATE TABLE system_metrics (id INTEGER PRIMARY KEY, mid REAL)")
        old.execute("INSERT INTO system_metrics(mid) VALUES (1.3)")
    old.close()
    before = path.read_bytes()
    with reading(path) as conn:
        assert list(rows(conn, "system_metrics", ("mid", "anchor_error_bps"))) == [(1.3, None)]
        assert columns(conn, "system_metrics") == ("id", "mid")
        assert list(session_rows(conn, "system_metrics", ("mid",), 1)) == []
        assert count_of_session(conn, "system_metrics", 1) == 0
        assert list(rows(conn, "no_such_table", ("mid",))) == []
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("content", "complaint"),
    [(None, "there is no such database"), (b"no database at all, " * 100, "not a database")],
)
def test_given_no_database_when_opened_then_one_line_names_the_file(tmp_path, content, complaint):
    path = tmp_path / "x.db"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DatabaseUnusable, match=complaint) as raised, reading(path):
        pass
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_given_a_directory_when_opened_then_unusable(tmp_path):
    with pytest.raises(DatabaseUnusable, match=r"cannot (open|read)"), reading(tmp_path):
        pass


def test_given_a_name_that_no_file_can_have_when_opened_then_unusable():
    with pytest.raises(DatabaseUnusable, match="no such database"), reading(Path("x" * 300)):
        pass


def test_given_columns_of_types_that_hold_other_values_when_opened_then_unusable_naming_the_column(tmp_path):
    path = tmp_path / "old.db"
    with apsw.Connection(str(path)) as old:
        old.execute("CREATE TABLE system_metrics (tick INTEGER, ts_ns TEXT)")
    old.close()
    with pytest.raises(DatabaseUnusable, match=r"system_metrics\.ts_ns is declared TEXT"), reading(path):
        pass


def test_given_somebody_elses_tables_when_opened_then_unusable(tmp_path):
    path = tmp_path / "foreign.db"
    with apsw.Connection(str(path)) as foreign:
        foreign.execute("CREATE TABLE songs (title TEXT)")
    foreign.close()
    with pytest.raises(DatabaseUnusable, match="not a Kedge database"), reading(path):
        pass


def test_given_a_file_that_its_writer_has_only_just_created_when_opened_then_it_is_empty(tmp_path):
    path = tmp_path / "new.db"
    path.touch()
    with reading(path) as conn:
        assert list(rows(conn, "sessions", ("session_id",))) == []


def test_given_an_exclusively_locked_database_when_read_then_unusable(tmp_path, monkeypatch):
    monkeypatch.setattr(reading_module, "BUSY_MS", 20)
    path = tmp_path / "kedge.db"
    other = apsw.Connection(str(path))
    try:
        other.execute("CREATE TABLE sessions (session_id INTEGER)")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(DatabaseUnusable, match="locked by another program"), reading(path):
            pass
    finally:
        other.close()


@pytest.mark.parametrize("ticks", [0, 1, 4, 5, 9, 10, 11])
def test_given_any_number_of_rows_when_paged_then_each_comes_once_and_in_order(tmp_path, monkeypatch, ticks):
    monkeypatch.setattr(reading_module, "PAGE_ROWS", 5)
    path = tmp_path / "kedge.db"
    with opened(path) as conn:
        session_id = store_session(conn, [1.0] * ticks)
        store_session(conn, [2.0] * 7, uid="other")
    with reading(path) as conn:
        pages = list(session_pages(conn, "system_metrics", ("tick", "anchor_error_bps"), session_id))
    assert [row for page in pages for row in page] == [(tick, 1.0) for tick in range(1, ticks + 1)]
    assert all(len(page) <= 5 for page in pages)


def test_given_a_bound_when_paged_then_what_lies_behind_it_is_not_seen(tmp_path, monkeypatch):
    monkeypatch.setattr(reading_module, "PAGE_ROWS", 5)
    path = tmp_path / "kedge.db"
    with opened(path) as conn:
        session_id = store_session(conn, [1.0] * 20)
    with reading(path) as conn:
        pages = list(session_pages(conn, "system_metrics", ("tick",), session_id, key_max=12))
    assert [tick for page in pages for (tick,) in page] == list(range(1, 13))


def test_given_a_writer_that_commits_meanwhile_when_in_a_snapshot_then_nothing_moves(tmp_path):
    path = tmp_path / "kedge.db"
    with opened(path) as writer:
        session_id = store_session(writer, [1.0], status="RUNNING")
        with reading(path) as conn:
            with snapshot(conn):
                assert count_of_session(conn, "system_metrics", session_id) == 1
                writer.execute("INSERT INTO system_metrics(session_id, tick) VALUES (?, 2)", (session_id,))
                assert count_of_session(conn, "system_metrics", session_id) == 1
            assert count_of_session(conn, "system_metrics", session_id) == 2


def test_given_an_open_write_transaction_when_read_then_the_last_commit_is_seen_at_once(tmp_path):
    path = tmp_path / "kedge.db"
    with opened(path) as writer:
        session_id = store_session(writer, [1.0], status="RUNNING")
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("INSERT INTO system_metrics(session_id, tick) VALUES (?, 2)", (session_id,))
        with reading(path) as conn:
            assert count_of_session(conn, "system_metrics", session_id) == 1
        writer.execute("COMMIT")
