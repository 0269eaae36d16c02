"""When did the error first go too far? Four first exceedances, and what the guard waited for between them.

    (a) error        first |error| >= bias threshold
    (b) mean         first armed window with |mean| >= bias threshold
    (c) prevalence   first armed window with enough errors at or above the prevalence threshold
    (d) both         first armed window with (b) and (c) together: on this tick an enabled guard trips

Computed on whole columns in the guard's own integers. That they are what the guard saw is for `fidelity.py` to say, and
nothing here is believed without it. Where a window begins anew is `series.py`'s to say.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from shared.clock import iso_utc
from shared.saturation import NANO_PER_BPS, Thresholds, to_nano_bps
from shared.settings import AnchorSaturationGuard
from telemetry_proc.series import Series, Windows, full_windows
from telemetry_proc.tick_columns import NOT_RECORDED, Bools
from telemetry_proc.waiting import (
    Binding,
    Floor,
    WindowAge,
    binding,
    first_of,
    floor_of,
    mean_holds,
    onset_of,
    start_of,
    window_age,
)

NEIGHBOURING_BIASES_BPS = (6.0, 6.5, 7.0, 7.5, 8.0)

Condition = Literal["mean", "prevalence", "together"]


class Rung(NamedTuple):
    """A first exceedance. `error_index` counts the errors that are not NULL, from 1; mean and share: the window's."""

    tick: int
    error_index: int
    ts_ns: int | None
    time: str | None
    error_bps: float
    mean_bps: float | None
    prevalence_pct: float | None


class Ladder(NamedTuple):
    """The four rungs, None where the session never got there.

    `last_condition` is the one that had held for the shorter time when both held. The lags run from (a) to (d).
    """

    error: Rung | None = None
    mean: Rung | None = None
    prevalence: Rung | None = None
    both: Rung | None = None
    last_condition: Condition | None = None
    lag_ticks: int | None = None
    lag_s: float | None = None


class BiasLadder(NamedTuple):
    """The ladder under another bias threshold, all else as it was."""

    bias_threshold_bps: float
    ladder: Ladder


class Explanation(NamedTuple):
    """The trip, or why there was none, under the thresholds of the session.

    Lags run from rung (a), the first exceedance of the session, to (d). That may have been a glitch long before, so
    there is an `onset` as well: the first exceedance, of the trip's sign, since which no window was without one.
    `avoidable_errors` = `onset_lag_errors` - `floor.lag_errors`: what the shift's not being clean cost; negative where
    errors far above the level made the guard faster.
    """

    ladder: Ladder
    last_condition: Condition | None
    lag_ticks: int | None
    lag_s: float | None
    lag_errors: int | None
    onset: Rung | None
    onset_lag_ticks: int | None
    onset_lag_s: float | None
    onset_lag_errors: int | None
    floor: Floor | None
    avoidable_errors: int | None
    binding: Binding
    window_age: WindowAge | None
    ladders: tuple[BiasLadder, ...]


def explain(series: Series, settings: AnchorSaturationGuard) -> Explanation:
    """When did the error first go too far, what did the guard wait for, and how much of that did it have to?"""
    thresholds = settings.thresholds
    windows = full_windows(series, thresholds)
    ladder = _ladder(series, windows, thresholds)
    onset = floor = avoidable = None
    trip = None if ladder.both is None else ladder.both.error_index - 1
    if trip is not None:
        began = onset_of(series, trip, thresholds)
        onset = _rung(series, began, thresholds)
        floor = floor_of(series, began, trip, thresholds)
        avoidable = None if floor is None else trip - began - floor.lag_errors
    first, last = ladder.error, ladder.both
    biases = sorted({*NEIGHBOURING_BIASES_BPS, settings.bias_threshold_bps})
    return Explanation(
        ladder=ladder,
        last_condition=ladder.last_condition,
        lag_ticks=ladder.lag_ticks,
        lag_s=ladder.lag_s,
        lag_errors=None if first is None or last is None else last.error_index - first.error_index,
        onset=onset,
        onset_lag_ticks=_lag_ticks(onset, last),
        onset_lag_s=_lag_s(onset, last),
        onset_lag_errors=None if onset is None or last is None else last.error_index - onset.error_index,
        floor=floor,
        avoidable_errors=avoidable,
        binding=binding(windows, thresholds),
        window_age=window_age(series, windows, thresholds, trip),
        ladders=tuple(
            BiasLadder(bias, _ladder(series, windows, thresholds._replace(bias_nano_bps=to_nano_bps(bias))))
            for bias in biases
        ),
    )


def _ladder(series: Series, windows: Windows, thresholds: Thresholds) -> Ladder:
    mean_met = mean_holds(windows, thresholds)
    prevalence_met = windows.prevalent_n >= thresholds.need
    error_at = first_of(np.abs(series.error_nano_bps) >= thresholds.bias_nano_bps)
    mean_at, prevalence_at = first_of(mean_met), first_of(prevalence_met)
    both_at = first_of(mean_met & prevalence_met)
    error, mean, prevalence, both = (
        None if at is None else _rung(series, at, thresholds)
        for at in (
            error_at,
            *(None if at is None else int(windows.end[at]) for at in (mean_at, prevalence_at, both_at)),
        )
    )
    last = None
    if both_at is not None:
        begun = _since_start(series, windows, both_at, thresholds.lookback_ticks)
        last = _later(*(max(begun, _since(holds, both_at)) for holds in (mean_met, prevalence_met)))
    return Ladder(error, mean, prevalence, both, last, _lag_ticks(error, both), _lag_s(error, both))


def _since(holds: Bools, at: int) -> int:
    """The window since which a condition that holds now has held."""
    lapses = np.flatnonzero(~holds[:at])
    return int(lapses[-1]) + 1 if lapses.size else 0


def _since_start(series: Series, windows: Windows, at: int, lookback_ticks: int) -> int:
    """The first full window behind the start that the window `at` goes back to."""
    return int(np.searchsorted(windows.end, start_of(series, int(windows.end[at])) + lookback_ticks - 1))


def _rung(series: Series, index: int, thresholds: Thresholds) -> Rung:
    begin = max(start_of(series, index), index - thresholds.lookback_ticks + 1)
    window = series.error_nano_bps[begin : index + 1]
    prevalent = int((np.abs(window) >= thresholds.prevalence_nano_bps).sum())
    ts_ns = int(series.ts_ns[index])
    recorded_ns = None if ts_ns == NOT_RECORDED else ts_ns
    return Rung(
        tick=int(series.tick[index]),
        error_index=index + 1,
        ts_ns=recorded_ns,
        time=None if recorded_ns is None else iso_utc(recorded_ns),
        error_bps=int(series.error_nano_bps[index]) / NANO_PER_BPS,
        mean_bps=int(window.sum()) / (window.size * NANO_PER_BPS),
        prevalence_pct=100.0 * prevalent / window.size,
    )


def _lag_ticks(first: Rung | None, last: Rung | None) -> int | None:
    return None if first is None or last is None else last.tick - first.tick


def _lag_s(first: Rung | None, last: Rung | None) -> float | None:
    """None as well where the clock stepped back between them: no time has passed that could be told."""
    if first is None or last is None or first.ts_ns is None or last.ts_ns is None or last.ts_ns < first.ts_ns:
        return None
    return (last.ts_ns - first.ts_ns) / 1e9


def _later(mean_since: int, prevalence_since: int) -> Condition:
    if mean_since == prevalence_since:
        return "together"
    return "mean" if mean_since > prevalence_since else "prevalence"
