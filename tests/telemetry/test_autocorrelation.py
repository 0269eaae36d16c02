"""Memory of a series: against the theory of autoregressions, and against the sum written out."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from telemetry_proc.autocorrelation import (
    autocorrelation,
    autocorrelation_of,
    effective_n,
    lags_to_close,
    sd_of_mean,
    tau_int,
)

NO_STARTS = np.empty(0, dtype=np.int64)


def autoregression(phi, n=200_000, *, seed=1):
    """Stationary, of order one, variance 1."""
    shocks = np.random.default_rng(seed).normal(scale=math.sqrt(1 - phi * phi), size=n)
    values, value = np.empty(n), shocks[0] / math.sqrt(1 - phi * phi)
    for at, shock in enumerate(shocks.tolist()):
        value = phi * value + shock
        values[at] = value
    return values


def summed(values, starts, lags):
    """The definition, one pair after the other."""
    n = len(values)
    about = values - values.mean()
    stretch = np.searchsorted(starts, np.arange(n), "right")
    rho = []
    for lag in range(lags + 1):
        pairs = [(at, at + lag) for at in range(n - lag) if stretch[at] == stretch[at + lag]]
        if 2 * len(pairs) < n - lag or not pairs:
            break
        total = sum(about[left] * about[right] for left, right in pairs)
        rho.append(total / (about @ about) * (n - lag) / len(pairs))
    return np.clip(rho, -1, 1)


@pytest.mark.parametrize("phi", [0.0, 0.5, 0.9, 0.95, -0.3])
def test_given_an_autoregression_when_correlated_then_rho_and_tau_are_those_of_theory(phi):
    values = autoregression(phi)
    rho = autocorrelation(values, NO_STARTS, lags_to_close(len(values)))
    error = 4 * math.sqrt((1 + phi * phi) / (1 - phi * phi) / len(values))  # 4 standard errors (Bartlett)
    found = autocorrelation_of(len(values), rho)

    assert rho[:20] == pytest.approx([phi**lag for lag in range(20)], abs=error)
    assert found.rho_1 == rho[1]
    assert found.tau_int == pytest.approx((1 + phi) / (1 - phi), rel=0.1)
    assert found.window_lags >= 5 * found.tau_int or found.window_lags == 5
    assert found.effective_n == pytest.approx(len(values) * (1 - phi) / (1 + phi), rel=0.1)


def test_given_an_autoregression_when_its_windows_wander_then_as_far_as_rho_implies():
    values = autoregression(0.9)
    rho = autocorrelation(values, NO_STARTS, 100)
    means = np.convolve(values, np.full(25, 1 / 25), "valid")

    assert sd_of_mean(values.std(), rho, 25) == pytest.approx(means.std(), rel=0.02)
    assert sd_of_mean(3.0, rho, 1) == 3.0
    assert sd_of_mean(3.0, np.array([1.0, 0.0]), 2) == pytest.approx(3 / math.sqrt(2))


def test_given_too_few_lags_or_a_variance_that_cancels_when_a_mean_is_judged_then_nothing_is_said():
    assert sd_of_mean(1.0, np.array([1.0, 0.5]), 3) is None
    assert sd_of_mean(1.0, np.array([1.0, -1.0]), 2) is None


@given(
    arrays(np.float64, st.integers(2, 60), elements=st.floats(-100, 100, width=16)),
    st.sets(st.integers(0, 59)),
    st.integers(1, 70),
)
def test_property_given_any_values_and_starts_when_correlated_then_it_is_the_sum_written_out(values, starts, lags):
    starts = np.array(sorted(start for start in starts if start < len(values)), dtype=np.int64)
    found = autocorrelation(values, starts, lags)

    if values.min() == values.max():
        assert not len(found)
    else:
        expected = summed(values, starts, min(lags, len(values) - 1))
        assert found == pytest.approx(expected, abs=1e-9)
        assert found[0] == pytest.approx(1.0)


@pytest.mark.parametrize("every", [1, 2, 37, 500])
def test_given_many_starts_when_correlated_then_no_pair_spans_one_and_forgetting_is_not_invented(every):
    values = autoregression(0.9, 20_000)
    starts = np.arange(0, len(values), every)
    rho = autocorrelation(values, starts, 30)

    assert len(rho) == min(31, every // 2 + 1)
    assert rho == pytest.approx(summed(values, starts, len(rho) - 1), abs=1e-9)
    assert rho == pytest.approx([0.9**lag for lag in range(len(rho))], abs=0.07)


@pytest.mark.parametrize("values", [[], [3.0], [3.0, 3.0, 3.0], [0.1] * 1000])
def test_given_nothing_that_varies_when_correlated_then_nothing_is_said(values):
    rho = autocorrelation(np.array(values), NO_STARTS, 10)

    assert not len(rho)
    assert tau_int(rho) is None
    assert autocorrelation_of(len(values), rho) is None
    assert sd_of_mean(0.0, rho, 25) is None


def test_given_a_trend_or_a_short_series_when_summed_up_then_no_time_is_made_up():
    for values in (np.arange(1000.0), np.array([1.0, 2.0, 4.0])):
        found = autocorrelation_of(len(values), autocorrelation(values, NO_STARTS, lags_to_close(len(values))))
        assert -1 <= found.rho_1 <= 1
        assert found[1:] == (None, None, None)


def test_given_a_known_rho_when_windowed_then_the_first_lag_of_five_tau_is_taken():
    rho = 0.5 ** np.arange(100.0)  # tau(W) = 3 - 2 * 0.5**W: 15 is the first W that is 5 tau(W) or more

    assert tau_int(rho) == (pytest.approx(3 - 2 * 0.5**15), 15)
    assert tau_int(rho[:15]) is None
    assert effective_n(300, 3.0) == 100.0


def test_given_a_rho_that_alternates_when_windowed_then_it_is_not_cut_after_its_first_swing():
    rho = (-0.5) ** np.arange(50.0)  # 1 + 2 * rho_1 is already 0; the whole sum is 1/3

    tau, window_lags = tau_int(rho)

    assert window_lags == 5
    assert tau == pytest.approx(1 / 3, abs=0.03)


@pytest.mark.parametrize("size", [1e-300, 1.0, 1e200])
def test_given_values_of_any_size_when_correlated_then_only_their_shape_counts(size):
    values = autoregression(0.5, 1000)

    found = autocorrelation(values * size, NO_STARTS, 20)

    assert found == pytest.approx(autocorrelation(values, NO_STARTS, 20), abs=1e-9)
