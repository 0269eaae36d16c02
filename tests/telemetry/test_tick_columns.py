"""The ticks of a session as columns: what is stored is what comes back, and what is no number is refused by name."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from shared.errors import IntegrityError
from telemetry_proc import reading as reading_module
from telemetry_proc.reading import reading
from telemetry_proc.tick_columns import NOT_RECORDED, read_ticks
from tests.telemetry.recorded_session import START_NS, TICK_NS, calm_then_drag, opened, store_session


def test_given_a_stored_session_when_read_then_every_column_is_what_was_stored(tmp_path, monkeypatch):
    monkeypatch.setattr(reading_module, "PAGE_ROWS", 7)  # several pages, the last one short
    errors = calm_then_drag()
    path = tmp_path / "kedge.db"
    with opened(path) as conn:
        number = store_session(conn, errors)
        stored = list(conn.execute("SELECT tick, anchor_error_bps, guard_window_n, mid FROM system_metrics"))
    with reading(path) as conn:
        columns = read_ticks(conn, number)
    assert columns.tick.tolist() == [row[0] for row in stored]
    assert columns.ts_ns.tolist() == [START_NS + row[0] * TICK_NS for row in stored]
    assert [None if np.isnan(error) else error for error in columns.anchor_error_bps] == [row[1] for row in stored]
    assert columns.guard_window_n.tolist() == [row[2] for row in stored]
    assert [None if np.isnan(mid) else mid for mid in columns.mid] == [row[3] for row in stored]
    status, mode = columns.market_status, columns.anchor_mode
    assert [status.names[code] for code in status.codes] == ["ONE_SIDED" if e is None else "OK" for e in errors]
    assert mode.names[mode.codes[0]] == "unrecorded"  # NULL: no anchor on the first tick


def test_given_no_ticks_when_read_then_columns_are_empty(tmp_path):
    path = tmp_path / "kedge.db"
    with opened(path) as conn:
        number = store_session(conn, [])
    with reading(path) as conn:
        columns = read_ticks(conn, number)
    assert [len(column) for column in columns[:8]] == [0] * 8
    assert columns.market_status.names == ()


def test_given_ticks_without_time_when_read_then_the_time_is_not_recorded(tmp_path):
    path = tmp_path / "kedge.db"
    with opened(path) as conn:
        number = store_session(conn, [1.0, 2.0])
        conn.execute("UPDATE system_metrics SET ts_ns = NULL WHERE tick = 2")
    with reading(path) as conn:
        assert read_ticks(conn, number).ts_ns.tolist() == [START_NS + TICK_NS, NOT_RECORDED]


@pytest.mark.parametrize(
    ("column", "value", "complaint"),
    [
        ("anchor_error_bps", "'seven'", "anchor_error_bps of tick 2 holds 'seven', which is not a number"),
        ("anchor_error_bps", "9e999", "anchor_error_bps of tick 2 holds inf, which is not a finite number"),
        ("guard_window_n", "'x'", "guard_window_n of tick 2 holds 'x', which is not a whole number"),
        ("mid", "x'00'", "mid of tick 2 holds b'\\x00', which is not a number"),
    ],
)
def test_given_a_value_of_another_kind_when_read_then_column_and_tick_are_named(tmp_path, column, value, complaint):
    path = tmp_path / "kedge.db"
    with opened(path) as conn:
        number = store_session(conn, [1.0, 2.0, 3.0])
        conn.execute(f"UPDATE system_metrics SET {column} = {value} WHERE tick = 2")
    with reading(path) as conn, pytest.raises(IntegrityError) as refused:
        read_ticks(conn, number)
    assert str(refused.value) == complaint


def test_given_the_writer_and_the_quick_commands_when_loaded_then_numpy_is_not():
    script = "import sys, telemetry_proc.__main__, telemetry_proc.app; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
