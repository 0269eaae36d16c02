"""What the guard waited for: when the shift began, the least wait this window allows, which condition held it back."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from shared.saturation import NANO_PER_BPS, Thresholds
from telemetry_proc.series import Series, Windows
from telemetry_proc.tick_columns import NOT_RECORDED, Bools, Ints

OLD_WINDOW_TIMES = 3.0


class Floor(NamedTuple):
    """The least that this guard would have taken, had the shift been clean.

    `level_bps`: median of |error| from the onset to the trip, signed like the trip. `errors`: were every error from the
    onset on exactly at that level, behind the errors that really were in the window before, the guard would trip with
    the one of this number, the onset's being the first; after errors near 0 that is
    `max(ceil(bias * lookback / level), need)`. `lag_errors` = `errors` - 1, to be compared with lags; `lag_ticks`: how
    many ticks that many errors took here, None where the record ends before.
    """

    level_bps: float
    errors: int
    lag_errors: int
    lag_ticks: int | None


class Binding(NamedTuple):
    """How often one condition held a window back that met the other; of all full windows, after a trip as well.

    Percentages are of the windows that met the other condition, None where there were none.
    """

    full_windows: int
    mean_windows: int
    vetoed_by_prevalence: int
    vetoed_by_prevalence_pct: float | None
    prevalence_windows: int
    vetoed_by_mean: int
    vetoed_by_mean_pct: float | None


class WindowAge(NamedTuple):
    """Market time from the oldest to the newest error of a window. Old: more than three times the median one."""

    usual_s: float
    at_trip_s: float | None
    is_old_at_trip: bool | None


def onset_of(series: Series, trip: int, thresholds: Thresholds) -> int:
    """Index of the first exceedance, of the trip's sign, since which no window was without one.

    There is one: a mean at the threshold needs an error there, so the trip's own window holds an exceedance.
    """
    begin = start_of(series, trip)
    errors = series.error_nano_bps[begin : trip + 1]
    sign = _sign(series, trip, thresholds)
    exceeds = np.flatnonzero(sign * errors >= thresholds.bias_nano_bps)
    breaks = np.flatnonzero(np.diff(exceeds) > thresholds.lookback_ticks)
    return begin + int(exceeds[breaks[-1] + 1 if breaks.size else 0])


def _sign(series: Series, trip: int, thresholds: Thresholds) -> int:
    return 1 if int(series.error_nano_bps[trip + 1 - thresholds.lookback_ticks : trip + 1].sum()) > 0 else -1


def floor_of(series: Series, onset: int, trip: int, thresholds: Thresholds) -> Floor | None:
    """The floor of the wait from the onset; None where a clean shift to that level would never have tripped."""
    lookback = thresholds.lookback_ticks
    errors = series.error_nano_bps
    level = round(float(np.median(np.abs(errors[onset : trip + 1])))) * _sign(series, trip, thresholds)
    before = errors[max(start_of(series, onset), onset - lookback + 1) : onset]
    shifted = np.arange(max(1, lookback - before.size), lookback + 1)  # errors at the level that a full window holds
    kept = before[::-1]  # the window's others are the newest of those before
    sums = _upto(kept)[lookback - shifted] + shifted * level
    large = _upto(np.abs(kept) >= thresholds.prevalence_nano_bps)[lookback - shifted]
    large = large + shifted * (abs(level) >= thresholds.prevalence_nano_bps)
    at = first_of((np.abs(sums) >= thresholds.bias_nano_bps * lookback) & (large >= thresholds.need))
    if at is None:
        return None
    needed = int(shifted[at])
    end = onset + needed - 1
    took = int(series.tick[end] - series.tick[onset]) if end < series.tick.size else None
    return Floor(level / NANO_PER_BPS, needed, needed - 1, took)


def _upto(values: Ints | Bools) -> Ints:
    """Sums of the first 0, 1, 2 ... values."""
    return np.concatenate((np.zeros(1, np.int64), np.cumsum(values, dtype=np.int64)))


def binding(windows: Windows, thresholds: Thresholds) -> Binding:
    """Of all full windows, how many each condition vetoed."""
    mean_met = mean_holds(windows, thresholds)
    prevalence_met = windows.prevalent_n >= thresholds.need
    mean, prevalence = int(mean_met.sum()), int(prevalence_met.sum())
    both = int((mean_met & prevalence_met).sum())
    return Binding(
        full_windows=windows.end.size,
        mean_windows=mean,
        vetoed_by_prevalence=mean - both,
        vetoed_by_prevalence_pct=100.0 * (mean - both) / mean if mean else None,
        prevalence_windows=prevalence,
        vetoed_by_mean=prevalence - both,
        vetoed_by_mean_pct=100.0 * (prevalence - both) / prevalence if prevalence else None,
    )


def window_age(series: Series, windows: Windows, thresholds: Thresholds, trip: int | None) -> WindowAge | None:
    """How long windows took to fill. `trip`: index of the trip's error.

    Windows without time stamps, or with a clock that stepped back, have no age; None where none has one.
    """
    newest = series.ts_ns[windows.end]
    oldest = series.ts_ns[windows.end - thresholds.lookback_ticks + 1]
    stamped = (oldest != NOT_RECORDED) & (newest >= oldest)
    if not stamped.any():
        return None
    usual_s = float(np.median((newest - oldest)[stamped])) / 1e9
    if trip is None:
        return WindowAge(usual_s, None, None)
    at = int(np.searchsorted(windows.end, trip))
    if not stamped[at]:
        return WindowAge(usual_s, None, None)
    at_trip_s = int(newest[at] - oldest[at]) / 1e9
    return WindowAge(usual_s, at_trip_s, at_trip_s > OLD_WINDOW_TIMES * usual_s)


def start_of(series: Series, index: int) -> int:
    """The start that the window of an error goes back to at most."""
    return int(series.starts[np.searchsorted(series.starts, index, side="right") - 1])


def first_of(holds: Bools) -> int | None:
    """Index of the first True."""
    at = int(holds.argmax()) if holds.size else 0
    return at if holds.size and holds[at] else None


def mean_holds(windows: Windows, thresholds: Thresholds) -> Bools:
    """Which windows have a mean of the size of the bias threshold or more."""
    holds: Bools = np.abs(windows.sum_nano_bps) >= thresholds.bias_nano_bps * thresholds.lookback_ticks
    return holds
