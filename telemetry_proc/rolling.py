"""How the guard's two statistics were distributed: the mean of its window and the share of large errors in it.

Thresholds act on these, not on single errors. Only full windows count: one that is still filling can neither trip
nor stay silent. The arithmetic is that of shared/saturation.py, integer nano-bps for the sums and for what counts as
large, so a window on a threshold is on it here as well. Lags are counted in windows: one window later is one error
later.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from shared.saturation import NANO_PER_BPS, to_nano_bps
from telemetry_proc import series
from telemetry_proc.autocorrelation import Autocorrelation, autocorrelation, autocorrelation_of, lags_to_close
from telemetry_proc.quantiles import (
    AbsQuantiles,
    AtOrAbove,
    PctQuantiles,
    abs_quantiles,
    pct_quantiles,
    spread,
    sums_at_or_above,
)
from telemetry_proc.tick_columns import Floats, Ints


class RollingMean(NamedTuple):
    """The signed mean of the window, and its size, which is what the bias threshold is compared with."""

    mean_bps: float | None
    median_bps: float
    sd_bps: float | None
    mad_bps: float | None
    skew: float | None
    abs_mean: AbsQuantiles
    at_or_above: AtOrAbove
    autocorrelation: Autocorrelation | None


class RollingShare(NamedTuple):
    """The percentage of errors in the window at or above the prevalence threshold."""

    mean_pct: float | None
    median_pct: float
    sd_pct: float | None
    mad_pct: float | None
    share: PctQuantiles
    autocorrelation: Autocorrelation | None


class Rolling(NamedTuple):
    """Every full window of a session, one after each error; no `mean` and no `share` where there was none."""

    lookback_ticks: int
    prevalence_threshold_bps: float | None
    windows: int
    mean: RollingMean | None = None
    share: RollingShare | None = None


def rolling(errors_bps: Floats, starts: Ints, lookback_ticks: int, prevalence_threshold_bps: float | None) -> Rolling:
    """Of errors in order, none missing; `starts` are the indexes at which the window begins empty.

    Without a prevalence threshold there is no share.
    """
    nano_bps = series.to_nano_bps(errors_bps)
    ends, window_starts = _full_windows(len(nano_bps), starts, lookback_ticks)
    if not len(ends):
        return Rolling(lookback_ticks, prevalence_threshold_bps, 0)
    mean = _rolling_mean(series.window_sums(nano_bps, ends, lookback_ticks), window_starts, lookback_ticks)
    share = None
    if prevalence_threshold_bps is not None:
        large = np.abs(nano_bps) >= to_nano_bps(prevalence_threshold_bps)
        share = _rolling_share(series.window_sums(large, ends, lookback_ticks), window_starts, lookback_ticks)
    return Rolling(lookback_ticks, prevalence_threshold_bps, len(ends), mean, share)


def _full_windows(n: int, starts: Ints, lookback_ticks: int) -> tuple[Ints, Ints]:
    """Where each full window ends, and at which of these windows the window before is not its neighbour."""
    edges = np.unique(np.concatenate(([0], starts, [n])))
    counts = np.maximum(np.diff(edges) - lookback_ticks + 1, 0)
    before = np.cumsum(counts) - counts
    begins = np.arange(counts.sum()) + np.repeat(edges[:-1] - before, counts)
    return begins + lookback_ticks - 1, before[counts > 0]


def _rolling_mean(sums_nano_bps: Ints, window_starts: Ints, lookback_ticks: int) -> RollingMean:
    means_bps = sums_nano_bps / (lookback_ticks * NANO_PER_BPS)
    sizes = np.sort(np.abs(sums_nano_bps))
    lies = spread(means_bps)
    return RollingMean(
        mean_bps=lies.mean,
        median_bps=lies.median,
        sd_bps=lies.sd,
        mad_bps=lies.mad,
        skew=lies.skew,
        abs_mean=abs_quantiles(sizes / (lookback_ticks * NANO_PER_BPS)),
        at_or_above=sums_at_or_above(sizes, lookback_ticks),
        autocorrelation=_remembered(means_bps, window_starts),
    )


def _rolling_share(counts: Ints, window_starts: Ints, lookback_ticks: int) -> RollingShare:
    shares_pct = 100.0 * counts / lookback_ticks
    lies = spread(shares_pct)
    return RollingShare(
        mean_pct=lies.mean,
        median_pct=lies.median,
        sd_pct=lies.sd,
        mad_pct=lies.mad,
        share=pct_quantiles(np.sort(shares_pct)),
        autocorrelation=_remembered(shares_pct, window_starts),
    )


def _remembered(statistic: Floats, window_starts: Ints) -> Autocorrelation | None:
    n = len(statistic)
    return autocorrelation_of(n, autocorrelation(statistic, window_starts, lags_to_close(n)))
