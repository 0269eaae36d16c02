"""Times until a trip: censoring, ties, and what the averages of the detected ones would have hidden."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetry_proc.survival import kaplan_meier, quantile, restricted_mean

# The remission times of Freireich's 6-MP arm, the textbook example: 21 patients, ties and censoring.
SIX_MP = [6, 6, 6, 6, 7, 9, 10, 10, 11, 13, 16, 17, 19, 20, 22, 23, 25, 32, 32, 34, 35]
RELAPSED = [1, 1, 1, 0, 1, 0, 1, 0, 0, 1, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0]


def curve_of(durations, observed):
    return kaplan_meier(np.array(durations, dtype=float), np.array(observed, dtype=bool))


def test_given_the_textbook_s_patients_when_estimated_then_its_curve():
    curve = curve_of(SIX_MP, RELAPSED)

    assert curve.time.tolist() == [6, 7, 10, 13, 16, 22, 23]
    assert np.round(curve.share, 3).tolist() == [0.857, 0.807, 0.753, 0.690, 0.627, 0.538, 0.448]
    assert quantile(curve, 0.5) == 23


def test_given_a_trip_and_a_censoring_at_once_when_estimated_then_the_censored_was_still_waiting():
    assert curve_of([5, 5], [True, False]).share.tolist() == [0.5]


def test_given_missed_episodes_when_averaged_then_they_count_as_long_as_they_lasted():
    curve = curve_of([10, 20, 100], [True, True, False])

    assert restricted_mean(curve, 100) == pytest.approx((10 + 20 + 100) / 3)
    assert restricted_mean(curve, 15) == pytest.approx((10 + 15 + 15) / 3)
    assert quantile(curve, 0.5) == 20
    assert quantile(curve, 0.9) is None


def test_given_no_durations_or_no_trip_when_estimated_then_all_are_waiting():
    for curve in (curve_of([], []), curve_of([7, 9], [False, False])):
        assert len(curve.time) == 0
        assert quantile(curve, 0.5) is None
        assert restricted_mean(curve, 50) == 50


def test_given_quantiles_at_a_step_when_asked_then_that_step_despite_rounding():
    curve = curve_of(range(1, 11), [True] * 10)

    assert [quantile(curve, share) for share in (0.1, 0.3, 0.5, 0.7, 0.9, 1.0)] == [1, 3, 5, 7, 9, 10]


@given(st.lists(st.integers(0, 50), min_size=1), st.integers(1, 60))
def test_given_no_censoring_when_estimated_then_plain_averages(durations, horizon):
    curve = curve_of(durations, [True] * len(durations))

    assert restricted_mean(curve, horizon) == pytest.approx(np.minimum(durations, horizon).mean())


@pytest.mark.parametrize(
    ("durations", "observed"), [([1.0, -1.0], [1, 1]), ([np.nan], [1]), ([np.inf], [0]), ([1.0, 2.0], [1])]
)
def test_given_what_is_no_duration_when_estimated_then_refused(durations, observed):
    with pytest.raises(ValueError, match="duration"):
        curve_of(durations, observed)
