"""How long errors remember: autocorrelation, the time it sums up to, and how many independent errors remain.

The lag counts values, not ticks. A tick without an error is skipped, as the guard's window skips it, so a lag of k
is the k-th error after, k ticks or more later. No pair of values spans a start: across one the guard's window
remembers nothing either.

    rho_k    = sum of x_i * x_(i+k) over all pairs / sum of x_i^2 over all values, x about the mean of all
               (Box and Jenkins), times (n - k) / pairs, so that what the starts cut away is not taken for forgetting
    tau_int  = 1 + 2 * sum of rho_k for k = 1..W, W the smallest lag >= 5 * tau_int (Sokal's automatic window)
    n / tau_int is the number of independent values whose mean is as uncertain
    Var(mean of L in a row) = s^2 / L * (1 + 2 * sum of (1 - k/L) * rho_k for k = 1..L-1)

For an autoregression of order one with coefficient phi: rho_k = phi^k and tau_int = (1 + phi) / (1 - phi).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from telemetry_proc.tick_columns import Floats, Ints

SOKAL_C = 5.0
_LAGS_SHARE = 10  # a window longer than a tenth of the sample measures a trend: tau_int is None then


class Autocorrelation(NamedTuple):
    """Memory of a series. `tau_int`, `window_lags` and `effective_n` are None where the memory is too long, or the
    series too short, for the window to close within a tenth of it: then fewer than 50 independent values are left.
    """

    rho_1: float
    tau_int: float | None
    window_lags: int | None
    effective_n: float | None


def autocorrelation(values: Floats, starts: Ints, lags_max: int) -> Floats:
    """rho_0 .. rho_K; K is `lags_max`, or less where starts leave under half of the pairs of a lag.

    `starts` are the ascending indexes into `values` where the memory is cut, 0 or not. Empty when there are fewer
    than two values or all are equal: then there is nothing to correlate.
    """
    n = len(values)
    if n < 2 or values.min() == values.max():
        return np.empty(0)
    with np.errstate(under="ignore"):
        deviations = values / np.abs(values).max()
        deviations -= deviations.mean()
        edges = np.unique(np.concatenate(([0], starts, [n])))
        lengths = np.diff(edges)
        lags = min(lags_max, int(lengths.max()) - 1)
        lag = np.arange(lags + 1)
        pairs = _pairs(lengths, lags)
        kept = int(np.argmax(np.append(pairs * 2 < n - lag, True)))
        sums = _products(deviations, edges[:-1], lengths, kept - 1)
        rho = sums / sums[0] * (n - lag[:kept]) / pairs[:kept]
        bounded: Floats = np.clip(rho, -1.0, 1.0)
    return bounded


def tau_int(rho: Floats) -> tuple[float, int] | None:
    """Integrated autocorrelation time and the window W it took; None if the window does not close within `rho`.

    W is at least 5, so that a series that alternates is not cut after its first swing.
    """
    if not len(rho):
        return None
    tau = 2.0 * np.cumsum(rho) - 1.0
    closed = (np.arange(len(rho)) >= SOKAL_C * np.maximum(tau, 1.0)) & (tau > 0)
    at = int(np.argmax(closed))
    return (float(tau[at]), at) if closed[at] else None


def effective_n(n: int, tau: float) -> float:
    """How many independent values are worth n correlated ones."""
    return n / tau


def autocorrelation_of(n: int, rho: Floats) -> Autocorrelation | None:
    """The summary of a series of n values with this autocorrelation; None where it has none."""
    if len(rho) < 2:
        return None
    tau, window_lags = tau_int(rho[: lags_to_close(n) + 1]) or (None, None)
    return Autocorrelation(float(rho[1]), tau, window_lags, None if tau is None else effective_n(n, tau))


def lags_to_close(n: int) -> int:
    """How many lags the automatic window of a series of n values may take."""
    return max(1, n // _LAGS_SHARE)


def sd_of_mean(sd: float, rho: Floats, length: int) -> float | None:
    """Standard deviation of the mean of `length` values in a row; None if `rho` does not reach that far."""
    if length > len(rho):
        return None
    weights = 1.0 - np.arange(1, length) / length
    inflation = 1.0 + 2.0 * float(weights @ rho[1:length])
    return sd * math.sqrt(inflation / length) if inflation > 0 else None


def _pairs(lengths: Ints, lags: int) -> Ints:
    """How many pairs there are at each lag 0..lags."""
    stretches = np.bincount(np.minimum(lengths, lags + 1), minlength=lags + 2)
    reaching = np.cumsum(stretches[::-1])[::-1][1:]  # stretches longer than the lag
    beyond = int(np.maximum(lengths - (lags + 1), 0).sum())
    return np.cumsum(reaching[::-1])[::-1] + beyond


def _products(values: Floats, begins: Ints, lengths: Ints, lags: int) -> Floats:
    """Sum of x_i * x_(i+k) at each lag 0..lags, within stretches, by the transform of each stretch padded with zeros.

    Stretches of about one length are transformed together, so many short ones cost no more than one long one.
    """
    sums = np.zeros(lags + 1)
    sizes = _transform_sizes(lengths + np.minimum(lengths, lags))
    for size in np.unique(sizes):
        chosen = np.flatnonzero(sizes == size)
        spectrum = np.fft.rfft(_side_by_side(values, begins[chosen], lengths[chosen]), int(size))
        power = (spectrum.real**2 + spectrum.imag**2).sum(axis=0)
        found = np.fft.irfft(power, int(size))[: min(lags + 1, int(lengths[chosen].max()))]  # behind these it wraps
        sums[: len(found)] += found
    return sums


def _side_by_side(values: Floats, begins: Ints, lengths: Ints) -> Floats:
    """One row a stretch, filled up with zeros."""
    if len(begins) == 1:
        return values[np.newaxis, begins[0] : begins[0] + lengths[0]]
    row = np.repeat(np.arange(len(begins)), lengths)
    offset = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    stretches = np.zeros((len(begins), int(lengths.max())))
    stretches[row, offset] = values[np.repeat(begins, lengths) + offset]
    return stretches


def _transform_sizes(needed: Ints) -> Ints:
    """For each length the next one that factors into 2, 3 and 5 and is at most a fourth longer."""
    power = np.exp2(np.ceil(np.log2(needed))).astype(np.int64)
    best = power
    for eighths in (15, 12, 10, 9):
        smaller = power * eighths // 16
        best = np.where((smaller >= needed) & (power % 16 == 0), smaller, best)
    return best
