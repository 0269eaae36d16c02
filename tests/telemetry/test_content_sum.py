"""The checksum over a session's ticks: the same from the database and from columns, another after any change."""

from __future__ import annotations

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telemetry_proc.content_sum import can_be_summed, sum_in_database, sum_of_columns
from telemetry_proc.tick_columns import read_ticks
from tests.telemetry.legacy_databases import BEFORE_ANCHOR_ERROR, legacy
from tests.telemetry.recorded_session import calm_then_drag, opened, store_session


def test_given_a_table_without_our_columns_when_asked_then_it_cannot_be_summed(tmp_path):
    with legacy(tmp_path / "old.db", BEFORE_ANCHOR_ERROR) as conn:
        assert not can_be_summed(conn)
    with opened(tmp_path / "new.db") as conn:
        assert can_be_summed(conn)
        assert sum_in_database(conn, 1) == [0] * 12


floats = st.none() | st.floats(allow_nan=False, allow_infinity=False) | st.floats(-30, 30) | st.just(-0.0)
rows = st.lists(
    st.tuples(floats, st.none() | st.integers(-(2**62), 2**62), st.none() | st.integers(0, 9000), floats, floats),
    max_size=20,
)


@given(rows=rows, first=st.integers(1, 2**62))
@settings(max_examples=200)
def test_property_given_any_rows_when_summed_then_the_database_and_the_columns_read_agree(rows, first):
    conn = apsw.Connection(":memory:")
    conn.execute(
        "CREATE TABLE system_metrics (session_id INTEGER, tick INTEGER, ts_ns INTEGER, ledger_index INTEGER, "
        "guard_window_n INTEGER, mid REAL, anchor_error_bps REAL, guard_mean_bps REAL, guard_prevalence_pct REAL, "
        "market_status TEXT, anchor_mode TEXT)"
    )
    insert_row = (
        "INSERT INTO system_metrics(session_id, tick, anchor_error_bps, ts_ns, guard_window_n, guard_mean_bps, "
        "guard_prevalence_pct) VALUES (1, ?, ?, ?, ?, ?, ?)"
    )
    conn.executemany(insert_row, [(tick, *row) for tick, row in enumerate(rows, first)])

    assert sum_in_database(conn, 1) == sum_of_columns(read_ticks(conn, 1))
    conn.close()


# Closer to 0.0 than half a nano-bps an error is 0 to the guard, and below 2**-61 to the checksum as well.
seen = st.floats(-8000, 8000).filter(lambda value: value == 0 or abs(value) >= 1e-9)


@given(at=st.integers(0, 119), value=st.none() | seen | st.sampled_from([0.0, 8.0, 1e9]))
@settings(max_examples=60, deadline=None)
def test_property_given_any_error_overwritten_when_summed_then_it_is_noticed(tmp_path_factory, at, value):
    errors = calm_then_drag()
    path = tmp_path_factory.mktemp("sum") / "k.db"
    with opened(path) as conn:
        number = store_session(conn, errors, quoting=False)
        before = sum_in_database(conn, number)
        conn.execute("UPDATE system_metrics SET anchor_error_bps = ? WHERE tick = ?", (value, at + 1))
        is_same = value == errors[at] and type(value) is type(errors[at])

        assert (sum_in_database(conn, number) == before) is is_same


@pytest.mark.parametrize("tick", [1, 1_000_002, 1_000_003, 2_000_006, 2**31 - 1, 1_000_003 * (2**31 - 1)])
def test_given_a_tick_of_any_number_when_its_error_is_overwritten_then_it_is_noticed(tmp_path, tick):
    with opened(tmp_path / "k.db") as conn:
        number = store_session(conn, [8.0], quoting=False)
        conn.execute("UPDATE system_metrics SET tick = ?", (tick,))
        before = sum_in_database(conn, number)
        conn.execute("UPDATE system_metrics SET anchor_error_bps = 9.0")

        assert sum_in_database(conn, number) != before
