"""The guard, case by case as the contract letters them, and against a restatement that has nothing incremental."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.saturation import CLAMP_NANO_BPS, SaturationGuard, Thresholds, need_count, to_nano_bps

DEFAULTS = {
    "lookback_ticks": 25,
    "bias_threshold_bps": 7.0,
    "prevalence_threshold_bps": 5.0,
    "prevalence_pct": 40.0,
}


def guard_of(*, enabled=True, **changed):
    return SaturationGuard(Thresholds.of(**DEFAULTS | changed), enabled=enabled)


def trips(guard, errors):
    """The positions, from 0, at which the guard trips over these errors."""
    return [at for at, error_bps in enumerate(errors) if guard.observe(error_bps)]


# --- the cases of the contract


def test_a_given_a_window_that_is_not_full_when_errors_are_huge_then_no_trip():
    guard = guard_of()

    assert trips(guard, [500.0] * 24) == []
    assert (guard.window_n, guard.mean_bps, guard.prevalence_pct) == (24, 500.0, 100.0)
    assert guard.observe(500.0), "the 25th fills it"


def test_b_given_a_full_window_when_the_mean_is_below_bias_then_no_trip():
    guard = guard_of()

    assert trips(guard, [6.999999999] * 50) == []
    assert guard.prevalence_pct == 100.0


def test_c_given_a_full_window_when_the_prevalence_is_below_its_threshold_then_no_trip():
    guard = guard_of()

    assert trips(guard, ([1000.0] * 9 + [4.999999999] * 16) * 3) == []
    assert guard.prevalence_pct == 36.0


def test_d_given_a_positive_bias_when_the_window_fills_then_it_trips_on_that_tick():
    guard = guard_of()

    assert trips(guard, [8.0] * 40) == [24]
    assert guard.tripped


def test_e_given_a_negative_bias_when_the_window_fills_then_it_trips_on_that_tick():
    guard = guard_of()

    assert trips(guard, [-8.0] * 40) == [24]
    assert guard.mean_bps == -8.0


def test_e_given_an_error_that_oscillates_around_zero_when_it_is_large_then_no_trip():
    assert trips(guard_of(), [50.0, -50.0] * 50) == []


def test_g_given_a_guard_that_has_tripped_when_the_errors_go_on_then_it_never_trips_again():
    guard = guard_of(lookback_ticks=2)

    assert trips(guard, [9.0] * 5 + [0.0] * 5 + [9.0] * 5) == [1]
    assert guard.window_n == 2
    assert guard.mean_bps == 9.0, "the record still carries the window"


def test_h_given_a_disabled_guard_when_the_anchor_is_dragged_then_it_measures_and_never_trips():
    guard = guard_of(enabled=False)

    assert trips(guard, [9.0] * 60) == []
    assert (guard.tripped, guard.window_n, guard.mean_bps, guard.prevalence_pct) == (False, 25, 9.0, 100.0)


def test_i_given_none_when_observed_then_it_neither_enters_nor_ages_the_window():
    guard = guard_of()
    trips(guard, [9.0] * 24)
    before = (guard.window_n, guard.sum_nano_bps, guard.prevalent_n, guard.window_tail(24))

    assert trips(guard, [None] * 100) == []

    assert (guard.window_n, guard.sum_nano_bps, guard.prevalent_n, guard.window_tail(24)) == before
    assert guard.observe(9.0), "the 25th error, not the 125th tick"


def test_j_given_a_full_window_when_both_thresholds_are_tied_exactly_then_it_trips():
    # Ten of 25 errors are exactly 40 %, each exactly at the prevalence threshold or above, and the sum is 7 * 25.
    errors = [5.0] * 9 + [4.0] * 15 + [70.0]
    assert sum(errors) == 175.0

    assert trips(guard_of(), errors) == [24]
    assert trips(guard_of(), [-error for error in errors]) == [24]


@pytest.mark.parametrize("less", [1e-9, 2e-9])
def test_j_given_one_nano_bps_less_than_a_tie_when_the_window_is_full_then_no_trip(less):
    assert trips(guard_of(), [5.0] * 9 + [4.0] * 15 + [70.0 - less]) == [], "one short of the bias"
    assert trips(guard_of(), [5.0] * 8 + [5.0 - less] + [4.0] * 15 + [80.0]) == [], "one short of the prevalence"


def test_j_given_a_tie_that_float_means_miss_when_the_window_is_full_then_it_trips():
    errors = [7.1] * 7 + [6.9] * 7 + [7.0] * 11  # their float sum depends on the order and on Python's version

    for arranged in (errors, errors[::-1], sorted(errors)):
        assert trips(guard_of(), arranged) == [24]


# --- what the window tells


def test_given_an_empty_window_when_read_then_its_mean_is_none_and_not_zero():
    guard = guard_of()

    assert (guard.window_n, guard.mean_bps, guard.prevalence_pct, guard.window_tail()) == (0, None, None, [])


def test_given_a_rolling_window_when_read_then_the_tail_is_the_last_errors_oldest_first():
    guard = guard_of(lookback_ticks=6)
    trips(guard, [1.0, 2.0, 3.0, None, 4.0, -5.5, 6.0, 7.0])

    assert guard.window_tail() == [3.0, 4.0, -5.5, 6.0, 7.0]
    assert guard.window_tail(2) == [6.0, 7.0]
    assert guard.mean_bps == pytest.approx(16.5 / 6)


# --- rounding


@pytest.mark.parametrize(
    ("error_bps", "nano_bps"),
    [
        (7.0, 7_000_000_000),
        (0.5e-9, 0),  # half to even, up and down
        (1.5e-9, 2),
        (2.5e-9, 2),
        (-0.5e-9, 0),
        (-1.5e-9, -2),
        (-0.0, 0),
        (1e6, CLAMP_NANO_BPS),
        (1e6 + 1, CLAMP_NANO_BPS),
        (-1e300, -CLAMP_NANO_BPS),
        (1.7976931348623157e308, CLAMP_NANO_BPS),
        (math.inf, CLAMP_NANO_BPS),
        (-math.inf, -CLAMP_NANO_BPS),
    ],
)
def test_given_an_error_when_rounded_then_it_is_half_even_and_clamped(error_bps, nano_bps):
    assert to_nano_bps(error_bps) == nano_bps


def test_given_nan_when_observed_then_it_is_refused_and_the_window_is_as_before():
    guard = guard_of()
    guard.observe(3.0)

    with pytest.raises(ValueError, match="NaN"):
        guard.observe(math.nan)

    assert (guard.window_n, guard.mean_bps) == (1, 3.0)


def test_given_every_lookback_and_prevalence_when_the_needed_count_is_taken_then_it_is_the_exact_ceiling():
    for lookback_ticks in range(1, 201):
        for permille in range(1, 1001):
            exact = math.ceil(Fraction(lookback_ticks * permille, 1000))
            assert need_count(lookback_ticks, permille / 10) == exact, (lookback_ticks, permille)


# --- the same rule, restated without anything incremental


def restated(errors, thresholds):
    """Trip position and final window by the words of the contract, over whole windows and exact fractions."""
    window, trip_at = [], None
    lookback_ticks, bias_bps, prevalence_bps, prevalence_pct = thresholds
    for at, error_bps in enumerate(errors):
        if error_bps is None:
            continue
        nano_bps = (
            CLAMP_NANO_BPS if error_bps > 1e6 else -CLAMP_NANO_BPS if error_bps < -1e6 else round(error_bps * 1e9)
        )
        window = [*window, Fraction(nano_bps, 10**9)][-lookback_ticks:]
        prevalent = sum(abs(error) >= Fraction(round(prevalence_bps * 1e9), 10**9) for error in window)
        if (
            trip_at is None
            and len(window) == lookback_ticks
            and abs(sum(window) / lookback_ticks) >= Fraction(round(bias_bps * 1e9), 10**9)
            and Fraction(100 * prevalent, lookback_ticks) >= Fraction(round(prevalence_pct * 10), 10)
        ):
            trip_at = at
    return trip_at, window, prevalent if window else 0


_ticks_of_error = st.lists(
    st.one_of(
        st.none(),
        st.sampled_from([0.0, 5.0, -5.0, 7.0, -7.0, 7.000000001, 6.999999999, 4.999999999, 10.0, -10.0]),
        st.floats(-12, 12),
        st.floats(6, 8),
        st.sampled_from([1e6, -1e6, 1e300, -1e300, math.inf, -math.inf]),
    ),
    max_size=60,
)
_thresholds = st.tuples(
    st.integers(1, 12),
    st.sampled_from([5.0, 7.0, 7.3, 0.000000001, 10.0]),
    st.sampled_from([5.0, 4.9, 0.1, 5.000000001]),
    st.integers(1, 1000).map(lambda permille: permille / 10),
)


@settings(max_examples=400, deadline=None)
@given(errors=_ticks_of_error, thresholds=_thresholds)
def test_given_any_errors_when_observed_one_by_one_then_the_guard_agrees_with_the_rule_restated(errors, thresholds):
    guard = guard_of(**dict(zip(DEFAULTS, thresholds, strict=True)))

    tripped_at = trips(guard, errors)

    trip_at, window, prevalent = restated(errors, thresholds)
    assert tripped_at == ([] if trip_at is None else [trip_at])
    assert guard.window_n == len(window)
    assert Fraction(guard.sum_nano_bps, 10**9) == sum(window)
    assert guard.prevalent_n == prevalent
    if window:
        assert guard.mean_bps == pytest.approx(float(sum(window) / len(window)), rel=1e-15)
        assert guard.prevalence_pct == 100.0 * prevalent / len(window)


@settings(max_examples=100, deadline=None)
@given(errors=_ticks_of_error, thresholds=_thresholds)
def test_given_any_errors_when_their_signs_are_turned_then_the_verdict_stays(errors, thresholds):
    named = dict(zip(DEFAULTS, thresholds, strict=True))

    turned = [None if error_bps is None else -error_bps for error_bps in errors]

    assert trips(guard_of(**named), errors) == trips(guard_of(**named), turned)
