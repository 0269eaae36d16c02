"""The window's statistics are those of the live guard: the same windows, the same integers."""

from __future__ import annotations

import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.saturation import SaturationGuard, Thresholds
from telemetry_proc.autocorrelation import autocorrelation
from telemetry_proc.quantiles import quantile
from telemetry_proc.rolling import rolling

NO_STARTS = np.empty(0, dtype=np.int64)


def live_windows(errors, starts, lookback_ticks, prevalence_bps):
    """Mean and share of every full window, from the guard that trades; a new one at each start."""
    thresholds = Thresholds.of(
        lookback_ticks=lookback_ticks,
        bias_threshold_bps=7.0,
        prevalence_threshold_bps=prevalence_bps,
        prevalence_pct=40.0,
    )
    guard, found = SaturationGuard(thresholds), []
    for at, error in enumerate(errors):
        if at in starts:
            guard = SaturationGuard(thresholds)
        guard.observe(error)
        if guard.window_n == lookback_ticks:
            found.append((guard.mean_bps, guard.prevalence_pct))
    return found


@given(
    st.lists(st.integers(-120, 120).map(lambda tenths: tenths / 10), max_size=70),
    st.sets(st.integers(0, 69)),
    st.integers(1, 12),
    st.sampled_from([0.1, 5.0, 7.3]),
)
def test_property_given_any_errors_and_starts_when_rolled_then_the_windows_are_the_live_guards(
    errors, starts, lookback, prevalence_bps
):
    starts = {start for start in starts if start < len(errors)}
    expected = live_windows(errors, starts, lookback, prevalence_bps)
    found = rolling(np.array(errors), np.array(sorted(starts), dtype=np.int64), lookback, prevalence_bps)

    assert found[:3] == (lookback, prevalence_bps, len(expected))
    if not expected:
        assert found.mean is found.share is None
        return
    means, shares = zip(*expected, strict=True)
    sizes = sorted(map(abs, means))
    assert found.mean.mean_bps == pytest.approx(statistics.fmean(means), abs=1e-9)
    assert found.mean.median_bps == quantile(sorted(means), 500)
    assert list(found.mean.abs_mean) == [quantile(sizes, at) for at in (500, 750, 900, 950, 990, 999, 1000)]
    assert found.mean.at_or_above == pytest.approx(
        [100 * sum(size >= level for size in sizes) / len(sizes) for level in (5, 6, 7, 8)]
    )
    assert list(found.share.share) == pytest.approx(
        [quantile(sorted(shares), at) for at in (500, 750, 900, 950, 990, 999, 1000)]
    )
    assert found.share.mean_pct == pytest.approx(statistics.fmean(shares), abs=1e-9)
    if len(expected) > 1:
        assert found.mean.sd_bps == pytest.approx(statistics.stdev(means), abs=1e-6)
        assert found.share.sd_pct == pytest.approx(statistics.stdev(shares), abs=1e-6)


@pytest.mark.parametrize("level", [5.1, 6.3, 7.1, 0.7])
def test_given_every_error_on_the_threshold_when_rolled_then_every_window_is_on_it(level):
    found = rolling(np.full(200, level), NO_STARTS, 25, level)

    assert found.windows == 176
    assert (found.mean.mean_bps, found.mean.sd_bps, found.mean.skew) == (level, 0.0, None)
    assert found.mean.abs_mean.max_bps == level
    assert found.share.share.p50_pct == found.share.mean_pct == 100.0
    assert found.mean.autocorrelation is found.share.autocorrelation is None


def test_given_a_mean_of_exactly_seven_when_rolled_then_every_window_is_at_or_above_seven():
    found = rolling(np.tile([6.9, 7.1], 50), NO_STARTS, 2, 7.0)

    assert found.mean.at_or_above.pct_7bps == 100.0
    assert found.share.share.max_pct == 50.0


def test_given_errors_of_both_signs_when_rolled_then_they_cancel_in_the_mean_and_not_in_the_share():
    found = rolling(np.tile([9.0, -9.0], 50), NO_STARTS, 10, 5.0)

    assert found.mean.abs_mean.max_bps == 0.0
    assert str(found.mean.median_bps) == "0.0"
    assert found.share.mean_pct == 100.0


def test_given_glitches_beyond_the_clamp_when_rolled_then_the_windows_before_and_after_are_exact():
    errors = np.full(60, 7.0)
    errors[20:23] = [1e12, -1e290, 1e9]
    found = rolling(errors, np.array([0, 30]), 10, 5.0)

    assert found.windows == 21 + 21
    assert found.mean.median_bps == 7.0
    assert found.mean.abs_mean.max_bps == pytest.approx(1e5, rel=1e-3)


def test_given_no_prevalence_threshold_or_too_few_errors_when_rolled_then_there_is_no_share_or_nothing():
    assert rolling(np.arange(30.0), NO_STARTS, 25, None).share is None
    assert rolling(np.arange(24.0), NO_STARTS, 25, 5.0) == (25, 5.0, 0, None, None)
    assert rolling(np.empty(0), NO_STARTS, 25, 5.0) == (25, 5.0, 0, None, None)


def test_given_windows_that_overlap_when_summed_up_then_their_memory_is_about_the_lookback():
    errors = np.random.default_rng(3).normal(size=50_000)
    found = rolling(errors, NO_STARTS, 25, 1.0)

    # The mean of L independent values has rho_k = 1 - k/L, so tau_int = 1 + 2 * (L - 1)/2 = L.
    assert found.mean.autocorrelation.rho_1 == pytest.approx(0.96, abs=0.01)
    assert found.mean.autocorrelation.tau_int == pytest.approx(25, rel=0.15)
    assert found.share.autocorrelation.tau_int == pytest.approx(25, rel=0.15)


def test_given_starts_when_the_memory_of_windows_is_told_then_no_lag_leads_from_one_stretch_into_the_next():
    errors = np.random.default_rng(5).normal(size=300).cumsum()
    found = rolling(errors, np.array([0, 100, 103, 200]), 5, 1.0)

    stretches = [errors[:100], errors[103:200], errors[200:]]  # three errors never fill a window of five
    means = [np.convolve(stretch, np.full(5, 0.2), "valid") for stretch in stretches]
    rho = autocorrelation(np.concatenate(means), np.array([0, 96, 96 + 93]), 1)
    assert found.windows == 96 + 93 + 96
    assert found.mean.autocorrelation.rho_1 == pytest.approx(rho[1], abs=1e-6)
