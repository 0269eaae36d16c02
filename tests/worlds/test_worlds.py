"""A quick look at the worlds in every run: `make worlds` counts with ten times as many samples.

Bounds are loose enough for 300 samples (their own error is about 1.3 points) and tight enough for a broken method.
"""

from __future__ import annotations

import numpy as np
import pytest

from shared.saturation import SaturationGuard, Thresholds
from tests.worlds import coverage, labelling, populations
from tests.worlds.errors import calm, nano


@pytest.fixture(scope="module")
def made():
    rng = np.random.default_rng(5)
    return {
        "calm": populations.calm_sessions(rng, sessions=400, ticks=3000),
        "episodes": populations.episode_sessions(rng, sessions=300),
        "filled": populations.filled_sessions(rng, sessions=1000),
        "days": populations.sessions_of_days(rng, days=700),
    }


def covered(population, truth, interval_of, *, sessions=39, trials=300):
    return coverage.coverage(
        "", population, truth, interval_of, np.random.default_rng(9), sessions=sessions, trials=trials
    )


@pytest.mark.parametrize(
    ("name", "part", "whole", "interval_of", "at_least"),
    [
        ("calm", 0, 1, coverage.rate_exact, 0.93),
        ("calm", 0, 1, coverage.rate_printed, 0.93),
        ("calm", 2, 3, coverage.share_of_ticks, 0.85),
        ("episodes", 0, 1, coverage.ratio, 0.85),
        ("filled", 0, 1, coverage.ratio, 0.90),
        ("filled", 3, 2, coverage.mean_of_fills, 0.90),
        ("days", 0, 1, coverage.ratio_by_day, 0.90),
    ],
)
def test_given_sessions_as_the_unit_when_limited_then_the_truth_is_held_about_as_often_as_said(
    made, name, part, whole, interval_of, at_least
):
    got = covered(made[name], coverage.quotient(made[name], part, whole), interval_of)

    assert got.share >= at_least
    assert got.silent <= 0.1 * got.trials


def test_given_counted_sessions_when_limited_then_the_exact_limits_hold_more_often_than_said(made):
    truth = made["calm"].rows[:, 0].mean()

    assert covered(made["calm"], truth, coverage.share_of_sessions, trials=2000).share >= 0.95
    assert covered(made["calm"], truth, coverage.share_upper_90, trials=2000).share >= 0.89


@pytest.mark.parametrize(
    ("name", "part", "whole", "interval_of"),
    [
        ("calm", 2, 3, coverage.naive_share_of_ticks),
        ("filled", 3, 2, coverage.naive_mean_of_fills),
        ("days", 0, 1, coverage.ratio),  # by session where sessions share a day
    ],
)
def test_given_too_small_a_unit_when_limited_then_the_truth_is_missed_far_too_often(
    made, name, part, whole, interval_of
):
    assert covered(made[name], coverage.quotient(made[name], part, whole), interval_of).share < 0.88


def test_given_clear_shifts_when_labelled_then_nearly_all_are_found_and_nothing_else():
    rng = np.random.default_rng(2)
    for kind in ("step of 5-16 bps", "ramp of 1-60 ticks", "flapping, 15 on 5 off"):
        got = labelling.scores(labelling.KINDS[kind], rng, sessions=60)

        assert got.found >= 0.93 * got.clear, kind
        assert got.found + got.listed >= got.clear - 1, kind
        assert got.false_scored == 0, kind


def test_given_a_step_when_labelled_then_onset_and_end_are_its_own():
    got = labelling.scores(labelling.KINDS["step of 5-16 bps"], np.random.default_rng(3), sessions=60)

    assert np.median(np.abs(got.onset_errors)) == np.median(np.abs(got.end_errors)) == 0
    assert np.quantile(np.abs(got.onset_errors), 0.9) <= 10


def test_given_worlds_without_a_shift_when_labelled_then_nothing_is_scored():
    rng = np.random.default_rng(4)
    for kind in ("calm, sessions differ", "spikes, 2 % of 60 bps", "flapping, 15 on 30 off", "to and fro, 60 each"):
        assert labelling.scores(labelling.KINDS[kind], rng, sessions=60).false_scored == 0, kind


def test_given_noise_of_a_known_kind_when_made_then_it_has_that_spread_and_memory():
    errors = calm(np.random.default_rng(6), 200_000, sd_bps=2.0, rho=0.9).errors_bps

    assert np.std(errors) == pytest.approx(2.0, rel=0.03)
    assert np.corrcoef(errors[:-1], errors[1:])[0, 1] == pytest.approx(0.9, abs=0.01)
    assert np.corrcoef(errors[:-20], errors[20:])[0, 1] == pytest.approx(0.9**20, abs=0.03)


def test_given_a_population_s_trips_when_the_live_guard_looks_then_the_same():
    rng = np.random.default_rng(8)
    live = Thresholds.of(lookback_ticks=25, bias_threshold_bps=7.0, prevalence_threshold_bps=5.0, prevalence_pct=40.0)
    for _ in range(20):
        errors = calm(rng, 1000, sd_bps=4.0, rho=0.95).errors_bps
        guard = SaturationGuard(live)

        assert populations.first_trip(errors) == next(
            (at for at, error in enumerate(errors) if guard.observe(float(error))), None
        )
        assert nano(errors).dtype == np.int64
