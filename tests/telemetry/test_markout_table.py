"""Fills summed up: bins that hold their lower edge, means by notional, exact sums, intervals over sessions only."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetry_proc.markout_table import (
    NO_ERROR,
    SIZE_EDGES_BPS,
    TOWARD_EDGES_BPS,
    all_errors,
    bins_of,
    by_error_bin,
    by_error_toward,
)
from telemetry_proc.markouts import HORIZONS
from tests.telemetry.made_fills import marked, ticks

ONE = HORIZONS[0]


def rng():
    return np.random.default_rng(1)


def session(error, moves, *, quote="1", side="bid"):
    """A fill at mid on every second tick under one error; on the tick after it the mid has moved by so many bps."""
    mids = [100.0]
    for move in moves:
        mids += [100.0, 100.0 * (1 + move / 1e4)]
    made = [(2 + 2 * at, side, 100.0, quote) for at in range(len(moves))]
    return marked(ticks(mids, [error] * len(mids)), made)


def test_given_errors_on_the_edges_when_binned_then_the_lower_edge_belongs_to_the_bin():
    errors = np.array([0.0, 1.99, 2.0, 6.99, 7.0, 10.0, 500.0, np.nan])

    assert bins_of(errors, SIZE_EDGES_BPS).tolist() == [0, 0, 1, 4, 5, 7, 7, 8]
    assert bins_of(np.array([-9.0, -8.0, 0.0, np.nan]), TOWARD_EDGES_BPS).tolist() == [0, 1, 5, 13]


def test_given_fills_of_unequal_size_when_summed_up_then_money_weighs_and_is_exact():
    # Given: 0.1 quote loses 30 bps, 0.2 quote wins 30.
    mids = [100.0, 100.0, 99.7, 100.0, 100.3]
    found = marked(ticks(mids, [6.5] * 5), [(2, "bid", 100.0, "0.1"), (4, "bid", 100.0, "0.2")])

    rows = by_error_bin([found], horizons=(ONE,))

    assert [(row.error_bin, row.side) for row in rows] == [("6 to 7", "bid"), ("6 to 7", "both")]
    assert rows[0].notional_quote == Decimal("0.3")
    assert rows[0].markout_bps == pytest.approx(10.0)
    assert rows[0].net_quote == pytest.approx(0.3 * 10 / 1e4)
    assert (rows[0].error_low_bps, rows[0].error_high_bps, rows[0].horizon) == (6.0, 7.0, "1 ledger")
    assert rows[0].markout_interval_bps is None


def test_given_dropped_fills_when_summed_up_then_they_are_counted_and_weigh_nothing():
    found = marked(ticks([100.0, 100.0, 101.0], [3.0] * 3), [(2, "bid", 100.0, "1"), (3, "bid", 101.0, "9")])

    bid = by_error_bin([found], horizons=(ONE,))[0]

    assert (bid.fills, bid.fills_dropped, bid.notional_quote) == (1, 1, Decimal(1))
    assert bid.capture_bps == 0.0


def test_given_only_dropped_fills_when_summed_up_then_no_mean_is_invented():
    found = marked(ticks([100.0, 100.0], [3.0] * 2), [(2, "bid", 100.0, "1")])

    row = by_error_bin([found], rng(), horizons=(ONE,))[0]

    assert (row.fills, row.fills_dropped, row.sessions) == (0, 1, 0)
    assert row.capture_bps is row.drift_bps is row.markout_bps is row.net_quote is None
    assert (row.markout_interval_bps.low, row.markout_interval_bps.high) == (None, None)


def test_given_an_anchor_above_mid_when_signed_then_it_stands_toward_buys_and_away_from_sales():
    rows = by_error_toward([session(9.0, [-10.0]), session(9.0, [-10.0], side="ask")], horizons=(ONE,))

    assert [(row.error_bin, row.markout_bps) for row in rows] == [
        ("<-8", pytest.approx(10.0)),
        ("8 to 10", pytest.approx(-10.0)),
    ]


def test_given_a_fill_in_front_of_which_no_error_stands_when_binned_then_it_is_kept_apart():
    rows = by_error_bin([session(None, [1.0])], horizons=(ONE,))

    assert {row.error_bin for row in rows} == {NO_ERROR}
    assert rows[0].error_low_bps is rows[0].error_high_bps is None


def test_given_all_errors_when_summed_up_then_one_row_a_side_holds_every_fill():
    rows = all_errors([session(None, [4.0]), session(9.0, [2.0], side="ask")], horizons=(ONE,))

    assert [(row.error_bin, row.side, row.fills) for row in rows] == [
        ("all", "bid", 1),
        ("all", "ask", 1),
        ("all", "both", 2),
    ]
    assert rows[2].markout_bps == pytest.approx(1.0)


def test_given_one_session_when_an_interval_is_asked_for_then_there_is_none_however_many_fills():
    row = by_error_bin([session(3.0, [1.0, 2.0] * 50)], rng(), horizons=(ONE,))[0]

    assert row.fills == 100
    assert row.markout_interval_bps.low is row.markout_interval_bps.high is None


def test_given_sessions_that_differ_when_an_interval_is_asked_for_then_fills_of_one_do_not_narrow_it():
    levels = [-6.0, -3.0, 0.0, 3.0, 6.0, 9.0]

    few = by_error_bin([session(3.0, [level] * 2) for level in levels], rng(), horizons=(ONE,))[0]
    many = by_error_bin([session(3.0, [level] * 200) for level in levels], rng(), horizons=(ONE,))[0]

    assert few.markout_bps == pytest.approx(1.5)
    assert many.markout_interval_bps.low == pytest.approx(few.markout_interval_bps.low)
    assert many.markout_interval_bps.high == pytest.approx(few.markout_interval_bps.high)
    assert few.markout_interval_bps.low < -2
    assert few.markout_interval_bps.high > 5


def test_given_sessions_of_two_days_when_an_interval_is_asked_for_then_days_are_the_unit():
    sessions = [session(3.0, [level]) for level in (-6.0, -5.0, 6.0, 5.0)]

    row = by_error_bin(sessions, rng(), horizons=(ONE,), days=np.array([1, 1, 2, 2]))[0]

    assert "2 days" in row.markout_interval_bps.method


def test_given_no_sessions_when_summed_up_then_there_are_no_rows():
    assert by_error_bin([], rng()) == ()


@given(st.lists(st.tuples(st.floats(-12, 12), st.lists(st.floats(-50, 50), max_size=5)), min_size=1, max_size=6))
def test_given_any_sessions_when_summed_up_then_rows_add_up_and_order_does_not_matter(made):
    sessions = [session(error, moves) for error, moves in made]

    rows = by_error_bin(sessions, horizons=(ONE,))
    backwards = by_error_bin(sessions[::-1], horizons=(ONE,))

    both = [row for row in rows if row.side == "both"]
    assert sum(row.fills + row.fills_dropped for row in both) == sum(len(moves) for _, moves in made)
    assert sum((row.net_quote for row in both), 0.0) == pytest.approx(
        sum(move / 1e4 for _, moves in made for move in moves), abs=1e-9
    )
    assert [row.error_bin for row in rows] == [row.error_bin for row in backwards]
    for row, same in zip(rows, backwards, strict=True):
        assert row.markout_bps == pytest.approx(row.capture_bps + row.drift_bps, abs=1e-9)
        assert row.markout_bps == pytest.approx(same.markout_bps, abs=1e-9)
        assert row.notional_quote == same.notional_quote
