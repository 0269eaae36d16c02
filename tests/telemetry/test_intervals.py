"""Intervals: textbook values, what they refuse to say, and what resampling must not depend on."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetry_proc.intervals import (
    Interval,
    clopper_pearson,
    garwood,
    none_of,
    session_bootstrap,
    session_t,
    student_t,
    wider,
)

RATIO_ROWS = np.random.default_rng(7).gamma(2.0, 3.0, (30, 2))


def ratio(sums):
    return sums[:, 0] / sums[:, 1]


def rng():
    return np.random.default_rng(1)


# --- what is counted


@pytest.mark.parametrize(
    ("events", "trials", "low", "high"),
    [
        (18, 20, 0.6830, 0.9877),
        (45, 50, 0.7819, 0.9667),
        (0, 10, 0.0, 0.3085),
        (10, 10, 0.6915, 1.0),
        (1, 2, 0.0126, 0.9874),
    ],
)
def test_given_textbook_counts_when_a_share_is_limited_then_clopper_and_pearson_s_values(events, trials, low, high):
    interval = clopper_pearson(events, trials)

    assert interval.low == pytest.approx(low, abs=5e-5)
    assert interval.high == pytest.approx(high, abs=5e-5)


@pytest.mark.parametrize(("trials", "percent"), [(10, 25.9), (20, 13.9), (38, 7.6), (59, 5.0), (100, 3.0), (300, 1.0)])
def test_given_none_of_n_when_limited_then_the_rule_of_three_made_exact(trials, percent):
    interval = none_of(trials)

    assert interval.high == pytest.approx(1 - 0.05 ** (1 / trials), rel=1e-12)
    assert round(100 * interval.high, 1) == percent
    assert interval.low is None


@given(events=st.integers(0, 60), more=st.integers(0, 60), confidence=st.sampled_from((0.8, 0.9, 0.95, 0.99)))
def test_given_any_share_when_limited_then_each_tail_holds_exactly_its_half(events, more, confidence):
    trials = events + more
    if trials == 0:
        return
    interval = clopper_pearson(events, trials, confidence)
    tail = (1 - confidence) / 2

    assert 0.0 <= interval.low <= events / trials <= interval.high <= 1.0
    if events > 0:
        assert at_least(events, trials, interval.low) == pytest.approx(tail, rel=1e-9)
    if more > 0:
        assert 1 - at_least(events + 1, trials, interval.high) == pytest.approx(tail, rel=1e-9)


def at_least(events, trials, share):
    """The binomial upper tail, term by term."""
    return math.fsum(math.comb(trials, k) * share**k * (1 - share) ** (trials - k) for k in range(events, trials + 1))


@pytest.mark.parametrize(
    ("events", "low", "high"),
    [
        (0, 0.0, 3.689),
        (1, 0.0253, 5.572),
        (2, 0.242, 7.225),
        (5, 1.623, 11.668),
        (10, 4.795, 18.390),
        (100, 81.364, 121.627),
    ],
)
def test_given_textbook_counts_when_a_rate_is_limited_then_garwood_s_values(events, low, high):
    interval = garwood(events, 1.0)

    assert interval.low == pytest.approx(low, abs=5e-4)
    assert interval.high == pytest.approx(high, abs=5e-4)


def test_given_an_exposure_when_a_rate_is_limited_then_per_unit_of_it():
    assert garwood(5, 200.0).high == pytest.approx(garwood(5, 1.0).high / 200)
    assert garwood(0, 1.0, side="upper").high == pytest.approx(-math.log(0.05))


def test_given_thousands_of_events_when_a_rate_is_limited_then_close_to_the_normal_and_nothing_overflows():
    interval = garwood(100_000, 1.0)

    assert interval.low == pytest.approx(100_000 - 1.96 * math.sqrt(100_000), rel=1e-4)
    assert interval.high == pytest.approx(100_000 + 1.96 * math.sqrt(100_000), rel=1e-4)


@pytest.mark.parametrize("side", ["upper", "lower"])
def test_given_one_side_when_limited_then_all_confidence_is_on_it(side):
    one, two = clopper_pearson(3, 40, 0.95, side), clopper_pearson(3, 40, 0.90)

    assert getattr(one, "high" if side == "upper" else "low") == pytest.approx(
        getattr(two, "high" if side == "upper" else "low")
    )
    assert getattr(one, "low" if side == "upper" else "high") is None


@pytest.mark.parametrize("call", [
    lambda: clopper_pearson(3, 2), lambda: clopper_pearson(-1, 2), lambda: garwood(-1, 1.0), lambda: garwood(1, -1.0),
    lambda: clopper_pearson(1, 2, 1.0), lambda: garwood(1, 1.0, 0.05),
])  # fmt: skip
def test_given_what_cannot_be_when_limited_then_refused(call):
    with pytest.raises(ValueError, match="is"):
        call()


# --- what is averaged


@pytest.mark.parametrize(
    ("level", "freedom", "t"), [(0.975, 1, 12.706), (0.975, 9, 2.262), (0.95, 30, 1.697), (0.975, 2000, 1.961)]
)
def test_given_textbook_levels_when_student_s_t_is_asked_then_its_table(level, freedom, t):
    assert student_t(level, freedom) == pytest.approx(t, abs=5e-4)


def test_given_values_a_session_when_their_mean_is_limited_then_student_s():
    interval = session_t(np.array([1.0, 2.0, 3.0, 4.0, 5.0]))

    assert interval.low == pytest.approx(3 - 2.7764 * math.sqrt(2.5 / 5), abs=1e-4)
    assert interval.high == pytest.approx(3 + 2.7764 * math.sqrt(2.5 / 5), abs=1e-4)


def test_given_a_ratio_when_resampled_then_it_holds_the_estimate_and_a_seed_repeats_it():
    one, again = session_bootstrap(RATIO_ROWS, ratio, rng()), session_bootstrap(RATIO_ROWS, ratio, rng())

    assert one == again
    assert one.low < ratio(RATIO_ROWS.sum(axis=0)[None])[0] < one.high


def test_given_a_unit_when_it_changes_then_the_limits_change_with_it():
    bps, permille = session_bootstrap(RATIO_ROWS, ratio, rng()), session_bootstrap(RATIO_ROWS * [10, 1], ratio, rng())

    assert permille.low == pytest.approx(10 * bps.low)
    assert permille.high == pytest.approx(10 * bps.high)


def test_given_means_of_near_normal_values_when_resampled_then_close_to_student_s_t():
    values = np.random.default_rng(3).normal(5.0, 2.0, 60)
    rows = np.column_stack((values, np.ones(60)))

    resampled, exact = session_bootstrap(rows, ratio, rng()), session_t(values)

    assert resampled.low == pytest.approx(exact.low, abs=0.06)
    assert resampled.high == pytest.approx(exact.high, abs=0.06)


def test_given_sessions_that_share_a_day_when_resampled_then_days_are_the_unit():
    days = np.repeat(np.arange(6), 5)
    rows = np.column_stack((np.repeat([1.0, 9.0, 2.0, 8.0, 3.0, 7.0], 5), np.ones(30)))

    by_day, by_session = session_bootstrap(rows, ratio, rng(), clusters=days), session_bootstrap(rows, ratio, rng())

    assert by_day.high - by_day.low > 2 * (by_session.high - by_session.low)
    assert "6 days" in by_day.method


def test_given_more_sessions_than_fit_in_a_block_when_resampled_then_as_many_resamples(monkeypatch):
    monkeypatch.setattr("telemetry_proc.intervals._BLOCK", 100)
    seen = []

    session_bootstrap(RATIO_ROWS, lambda sums: seen.append(len(sums)) or ratio(sums), rng(), resamples=50)

    assert sum(seen) == 1 + len(RATIO_ROWS) + 50
    assert max(seen[2:]) == 3


# --- what is not said


@pytest.mark.parametrize(
    ("interval", "why"),
    [
        (clopper_pearson(0, 0), "nothing to count"),
        (garwood(0, 0.0), "no exposure"),
        (session_t(np.array([])), "no sessions"),
        (session_t(np.array([3.0])), "one session says nothing about another"),
        (session_t(np.array([0.1, 0.1, 0.1])), "3 sessions without any spread"),
        (session_bootstrap(np.empty((0, 2)), ratio, rng()), "no sessions"),
        (session_bootstrap(np.ones((1, 2)), ratio, rng()), "one session says nothing about another"),
        (session_bootstrap(np.ones((4, 2)), ratio, rng(), clusters=np.zeros(4, int)), "one day says nothing"),
        (session_bootstrap(np.ones((9, 2)), ratio, rng()), "9 sessions without any spread"),
        (session_bootstrap(np.full((9, 2), 0.1), ratio, rng()), "9 sessions without any spread"),
        (session_bootstrap(np.zeros((9, 2)), ratio, rng()), "undefined for these sessions"),
        (session_bootstrap(np.eye(9, 2)[:, ::-1] + np.eye(9, 2), ratio, rng()), "rests on too few of the 9 sessions"),
        (session_bootstrap(np.diag([1.0] + [0.0] * 8)[:, [0, 0]], ratio, rng()), "rests on too few of the 9 sessions"),
    ],
)
def test_given_nothing_to_judge_by_when_limited_then_no_limits_and_the_reason(interval, why):
    assert (interval.low, interval.high) == (None, None)
    assert why in interval.method


# --- two intervals of one number


def test_given_two_intervals_when_one_holds_the_other_then_it_is_the_wider():
    tight, wide = Interval(0.1, 0.2, 0.95, "tight"), Interval(0.0, 0.3, 0.95, "wide")

    assert wider(tight, wide) == wider(wide, tight) == wide


def test_given_two_intervals_when_neither_holds_the_other_then_their_outer_limits():
    hull = wider(Interval(0.1, 0.3, 0.95, "a"), Interval(0.0, 0.2, 0.95, "b"))

    assert (hull.low, hull.high, hull.method) == (0.0, 0.3, "a and b, the outer limits")


def test_given_an_interval_without_limits_when_compared_then_it_yields():
    silent, upper = Interval(None, None, 0.95, "no sessions"), Interval(None, 0.2, 0.95, "u")

    assert wider(silent, upper) == wider(upper, silent) == upper
    assert wider(silent, silent) == silent
