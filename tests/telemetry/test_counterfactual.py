"""Fills given up by an earlier trip, by hand; bounds alone for a later one; the pieces of an interval add up."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetry_proc.counterfactual import (
    QUOTED_TICKS_MIN,
    Quoted,
    Rates,
    counterfactuals,
    fills_after_cancel,
    rates_of,
)
from telemetry_proc.markout_table import SIZE_EDGES_BPS
from telemetry_proc.markouts import HORIZONS
from tests.telemetry.made_fills import marked, ticks

ONE = HORIZONS[0]
BINS = len(SIZE_EDGES_BPS) - 1


def quoted(mids, made, *, errors=None, trip=None, stopped=None):
    columns = ticks(mids, errors)
    return Quoted(columns, marked(columns, made), trip, stopped)


def against(live, trip, *, rates=None, latency=0):
    return counterfactuals(live, [("other", trip)], rates=rates, horizon=ONE, cancel_latency_ticks=latency)[0]


def hand_made(trip=6):
    """Buys at mid 100 on ticks 2, 4 and 6; one ledger on the mid is 99, 102 and unknown: -1 %, +2 %, dropped."""
    made = [(2, "bid", 100.0, "50"), (4, "bid", 100.0, "10"), (6, "bid", 100.0, "7.5")]
    return quoted([100.0, 100.0, 99.0, 100.0, 102.0, 100.0, None, None, None], made, trip=trip)


def test_given_an_earlier_trip_when_compared_then_loss_avoided_less_income_forgone_is_the_net():
    found = against(hand_made(), 1)

    assert (found.direction, found.observed, found.horizon) == ("earlier", True, "1 ledger")
    assert (found.fills_avoided, found.fills_without_markout) == (3, 1)
    assert found.notional_avoided_quote == Decimal("67.5")
    assert found.loss_avoided_quote == pytest.approx(0.5)
    assert found.income_forgone_quote == pytest.approx(0.2)
    assert found.net_quote == pytest.approx(0.3)  # positive: the earlier trip would have been better
    assert found.net_bps == pytest.approx(1e4 * 0.3 / 60)
    assert found.net_low_quote == found.net_high_quote == found.net_quote


def test_given_a_trip_on_the_tick_of_a_fill_when_compared_then_that_fill_still_happens():
    assert against(hand_made(), 2).fills_avoided == 2
    assert against(hand_made(), 3).fills_avoided == 2
    assert against(hand_made(), 4).fills_avoided == 1


def test_given_a_latency_when_compared_then_fills_go_on_for_as_many_ticks_under_either_guard():
    live = hand_made(trip=5)  # the fill on tick 6 came while the cancel was under way

    assert against(live, 1).fills_avoided == 2
    assert against(live, 1, latency=1).fills_avoided == 2  # not the fill on tick 2, but that on tick 6
    assert fills_after_cancel(live) == 1
    assert fills_after_cancel(live, 1) == 0


def test_given_a_session_that_never_tripped_when_tightened_then_all_fills_to_its_end_are_given_up():
    found = against(hand_made(trip=None), 3)

    assert (found.direction, found.observed, found.fills_avoided) == ("earlier", True, 2)


def test_given_the_same_trip_when_compared_then_nothing_differs():
    for trip in (None, 6):
        found = against(hand_made(trip=trip), trip)

        assert (found.direction, found.observed, found.fills_avoided) == ("same", True, 0)
        assert found.net_quote == found.loss_avoided_quote == found.income_forgone_quote == 0.0
        assert found.net_bps is None


def test_given_no_fill_that_can_be_marked_when_compared_then_the_net_is_unknown_and_not_zero():
    found = against(hand_made(trip=None), 5)

    assert (found.fills_avoided, found.fills_without_markout) == (1, 1)
    assert found.net_quote is found.loss_avoided_quote is found.income_forgone_quote is found.net_bps is None
    assert found.notional_avoided_quote == Decimal("7.5")


def test_given_a_later_trip_without_rates_when_compared_then_not_even_bounds_are_given():
    live = quoted([100.0] * 10, [], errors=[9.0] * 10, trip=3)

    later, never = counterfactuals(live, [("8", 7), ("9", None)], horizon=ONE)

    assert (later.direction, later.observed, later.ticks_unseen, later.ticks_without_rate) == ("later", False, 4, 4)
    assert (never.direction, never.ticks_unseen) == ("never", 8)  # ticks 3 to 10
    assert later.net_quote is later.net_low_quote is later.net_high_quote is None


def test_given_rates_when_loosened_then_each_bin_of_errors_lies_between_nothing_and_its_rate():
    # Given: from the trip on, three ticks at |9| bps, two at |3|, one without an error.
    live = quoted([100.0] * 7, [], errors=[0.0, 9.0, -9.0, 9.0, 3.0, -3.0, None], trip=2)
    a_tick = np.full(BINS, np.nan)
    a_tick[1], a_tick[6] = 0.5, -2.0

    found = against(live, None, rates=Rates(np.zeros(BINS), np.zeros(BINS), a_tick))

    assert (found.ticks_unseen, found.ticks_without_rate) == (5, 0)
    assert (found.net_low_quote, found.net_high_quote) == (-6.0, 1.0)
    assert found.net_quote is None


def test_given_an_error_that_was_never_quoted_in_elsewhere_when_loosened_then_there_are_no_bounds():
    live = quoted([100.0] * 3, [], errors=[0.0, 50.0, 1.0], trip=2)
    a_tick = np.zeros(BINS)
    a_tick[BINS - 1] = np.nan

    found = against(live, None, rates=Rates(np.zeros(BINS), np.zeros(BINS), a_tick))

    assert (found.ticks_unseen, found.ticks_without_rate) == (2, 1)
    assert found.net_low_quote is found.net_high_quote is None


def test_given_a_halt_before_the_trip_when_compared_then_no_guard_quotes_beyond_it():
    live = quoted([100.0] * 10, [(2, "bid", 100.0, "1"), (4, "bid", 100.0, "1")], errors=[9.0] * 10, trip=8, stopped=5)

    never, earlier = counterfactuals(live, [("never", None), ("earlier", 3)], horizon=ONE)

    assert (never.direction, never.observed, never.net_quote, never.ticks_unseen) == ("never", True, 0.0, 0)
    assert earlier.fills_avoided == 1


def test_given_a_halt_after_the_trip_when_loosened_then_unseen_ticks_end_there():
    live = quoted([100.0] * 10, [], errors=[9.0] * 10, trip=3, stopped=5)

    assert against(live, None).ticks_unseen == 2


def test_given_sessions_when_rated_then_ticks_before_the_end_of_quoting_count_and_fills_by_their_error():
    # Given: 150 ticks at 3 bps, then 50 at 9; a trip on tick 181, so 30 at 9 were quoted on. Every tenth tick from the
    # second a fill at mid, and a move of -1 % with the next tick.
    errors = [3.0] * 150 + [-9.0] * 50
    made = [(tick, "bid", 100.0, "10") for tick in range(2, 180, 10)]
    mids = [99.0 if any(tick == fill[0] + 1 for fill in made) else 100.0 for tick in range(1, 201)]
    one = quoted(mids, made, errors=errors, trip=181)

    alone, four = rates_of([one], ONE), rates_of([one] * 4, ONE)

    assert alone.quoted_ticks.tolist() == [0, 150, 0, 0, 0, 0, 30, 0]
    assert alone.fills.tolist() == [0, 15, 0, 0, 0, 0, 3, 0]
    assert alone.net_quote_per_tick[1] == pytest.approx(15 / 150 * -0.1)
    assert np.isnan(alone.net_quote_per_tick[6])  # 30 ticks are no rate
    assert four.net_quote_per_tick[6] == pytest.approx(3 / 30 * -0.1)
    assert QUOTED_TICKS_MIN == 100


def test_given_quoted_ticks_without_a_fill_when_rated_then_they_brought_nothing():
    found = rates_of([quoted([100.0] * 200, [], errors=[1.0] * 200)], ONE)

    assert found.net_quote_per_tick[0] == 0.0
    assert np.isnan(found.net_quote_per_tick[1:]).all()


def test_given_one_fill_of_two_that_can_be_marked_when_rated_then_it_speaks_for_both():
    mids = [100.0] * 9 + [99.0] + [100.0] * 190 + [None]
    live = quoted(mids, [(9, "bid", 100.0, "10"), (200, "bid", 100.0, "10")], errors=[1.0] * 201)

    assert rates_of([live], ONE).net_quote_per_tick[0] == pytest.approx(2 / 201 * -0.1)


def test_given_fills_that_cannot_be_marked_when_rated_then_their_rate_is_unknown():
    live = quoted([100.0] * 200 + [None], [(200, "bid", 100.0, "1")], errors=[1.0] * 201)

    assert np.isnan(rates_of([live], ONE).net_quote_per_tick[0])


@given(
    st.lists(st.floats(90, 110), min_size=12, max_size=12),
    st.lists(st.tuples(st.integers(1, 11), st.sampled_from(["bid", "ask"]), st.floats(90, 110), st.just("3"))),
    st.lists(st.integers(1, 13), min_size=3, max_size=3, unique=True).map(sorted),
    st.integers(0, 3),
)
def test_given_three_trips_when_compared_pairwise_then_their_nets_add_up(mids, made, trips, latency):
    first, second, third = trips

    whole = against(quoted(mids, made, trip=third), first, latency=latency)
    parts = [
        against(quoted(mids, made, trip=second), first, latency=latency),
        against(quoted(mids, made, trip=third), second, latency=latency),
    ]

    assert whole.fills_avoided == sum(part.fills_avoided for part in parts)
    assert whole.notional_avoided_quote == sum(part.notional_avoided_quote for part in parts)
    assert whole.net_quote == pytest.approx(sum(part.net_quote for part in parts), abs=1e-9)
    assert whole.loss_avoided_quote == pytest.approx(sum(part.loss_avoided_quote for part in parts), abs=1e-9)
