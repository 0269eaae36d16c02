"""CSV that reads back as what was stored."""

from __future__ import annotations

import csv
import io

import apsw
import pytest

from shared.errors import NotEnoughData
from telemetry_proc import reading as reading_module
from telemetry_proc.export import TABLES, export_csv
from telemetry_proc.reading import columns, count_of_session, reading
from tests.telemetry.recorded_session import calm_then_drag, insert, opened, store_session

ERRORS = [0.1, None, 1 / 3, -7.000000000000001, 5e-324, 1.7976931348623157e308, 0.0, 123456.789]


def exported(path, table, session_id):
    with reading(path) as conn:
        out = io.StringIO()
        written = export_csv(conn, table, session_id, out)
        return written, list(csv.reader(io.StringIO(out.getvalue()))), columns(conn, table)


def test_given_floats_and_nulls_when_exported_then_they_read_back_exactly(tmp_path, monkeypatch):
    monkeypatch.setattr(reading_module, "PAGE_ROWS", 3)
    path = tmp_path / "kedge.db"
    with opened(path) as conn:
        session_id = store_session(conn, [1.0] * len(ERRORS), quoting=False)
        store_session(conn, [9.0], uid="other")
        for tick, error in enumerate(ERRORS, 1):
            sql = "UPDATE system_metrics SET anchor_error_bps = ? WHERE session_id = ? AND tick = ?"
            conn.execute(sql, (error, session_id, tick))

    written, table, names = exported(path, "system_metrics", session_id)

    assert written == len(ERRORS)
    assert tuple(table[0]) == names
    at = table[0].index("anchor_error_bps")
    assert [None if row[at] == "" else float(row[at]) for row in table[1:]] == ERRORS


@pytest.mark.parametrize("table", TABLES)
def test_given_any_table_when_exported_then_it_has_its_header_and_only_this_sessions_rows(tmp_path, table):
    path = tmp_path / "kedge.db"
    with opened(path) as conn:
        session_id = store_session(conn, calm_then_drag())
        store_session(conn, calm_then_drag(), uid="other")
        expected = count_of_session(conn, table, session_id)
    written, rows, names = exported(path, table, session_id)
    assert (written, len(rows)) == (expected, expected + 1)
    assert tuple(rows[0]) == names


def test_given_text_with_commas_and_quotes_when_exported_then_it_survives(tmp_path):
    path = tmp_path / "kedge.db"
    with opened(path) as conn:
        session_id = store_session(conn, [])
        insert(conn, "mode_transitions", session_id=session_id, seq=9, tick=1, reason='a "b", c\nd')
    _, rows, _ = exported(path, "mode_transitions", session_id)
    assert rows[1][rows[0].index("reason")] == 'a "b", c\nd'


def test_given_a_legacy_table_without_sessions_when_exported_then_not_enough_data(tmp_path):
    path = tmp_path / "old.db"
    with apsw.Connection(str(path)) as old:
        old.execute("CREATE TABLE system_metrics (id INTEGER PRIMARY KEY, mid REAL)")
    old.close()
    with reading(path) as conn, pytest.raises(NotEnoughData, match="system_metrics"):
        export_csv(conn, "system_metrics", 1, io.StringIO())
