"""When did the error first go too far? The guard, run again over the stored errors, and four first exceedances.

    (a) error        first |error| >= bias threshold
    (b) mean         first armed window with |mean| >= bias threshold
    (c) prevalence   first armed window with enough errors at or above the prevalence threshold
    (d) both         first armed window with (b) and (c) together: on this tick an enabled guard trips

The verdict comes from `shared/saturation.py`, the code that traded, fed with the very floats that were recorded, so
it must agree with what was recorded on every tick. Where it does not, nothing else about the guard can be believed.

A guard's window starts empty with its session. Should it have been emptied later, the recorded `guard_window_n`
falls back to what one tick alone can fill, and the replay empties its window on the same tick.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from shared.clock import iso_utc
from shared.saturation import NANO_PER_BPS, SaturationGuard, Thresholds, to_nano_bps
from shared.settings import AnchorSaturationGuard
from telemetry_proc.fidelity import Disagreement
from telemetry_proc.guard_record import GUARD, guard_settings, trip_context
from telemetry_proc.series import Bools, Series, Windows, full_windows
from telemetry_proc.tick_columns import NOT_RECORDED
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

__all__ = ["GUARD", "Disagreement", "GuardReplay", "Ladder", "Rung", "guard_settings", "trip_context"]

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
    thresholds = Thresholds.of(**settings.model_dump(exclude={"enabled"}))
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


class GuardReplay:
    """Takes the ticks of a session in order and climbs the ladder, checking the recorded window on every tick."""

    def __init__(self, settings: AnchorSaturationGuard) -> None:
        # Enabled here even where the session had it off: (d) then says on which tick it would have tripped.
        self.thresholds = Thresholds.of(**settings.model_dump(exclude={"enabled"}))
        self._guard = SaturationGuard(self.thresholds)
        self._armed_sum = self.thresholds.bias_nano_bps * self.thresholds.lookback_ticks
        self._error_rung: Rung | None = None
        self._mean_rung: Rung | None = None
        self._prevalence_rung: Rung | None = None
        self._both_rung: Rung | None = None
        self._mean_since = self._prevalence_since = 0
        self._last_condition: Condition | None = None
        self._errors = 0
        self.armed_ticks = 0
        self.window_resets = 0
        self.checked_ticks = 0
        self.disagreement: Disagreement | None = None

    @property
    def window_n(self) -> int:
        """Errors in the window after the last tick."""
        return self._guard.window_n

    def observe(
        self,
        tick: int,
        ts_ns: int | None,
        error_bps: float | None,
        recorded_n: int | None,
        recorded_mean_bps: float | None,
        recorded_prevalence_pct: float | None,
    ) -> None:
        """One tick: the error the guard was given and what the record says of its window afterwards."""
        guard = self._guard
        if error_bps is not None:
            self._errors += 1
        if recorded_n is not None and self._was_emptied(error_bps, recorded_n):
            guard = self._empty_window()
        tripped = guard.observe(error_bps)
        armed = guard.window_n == self.thresholds.lookback_ticks
        self.armed_ticks += armed
        if recorded_n is not None:
            self.checked_ticks += 1
            if (
                recorded_n != guard.window_n
                or recorded_mean_bps != guard.mean_bps
                or recorded_prevalence_pct != guard.prevalence_pct
            ) and self.disagreement is None:
                self.disagreement = self._name_it(tick, recorded_n, recorded_mean_bps, recorded_prevalence_pct)
        if error_bps is not None and self._both_rung is None:
            self._climb(tick, ts_ns, error_bps, armed=armed, tripped=tripped)

    def ladder(self) -> Ladder:
        """The rungs reached so far."""
        first, last = self._error_rung, self._both_rung
        lags = _lag_ticks(first, last), _lag_s(first, last)
        return Ladder(first, self._mean_rung, self._prevalence_rung, last, self._last_condition, *lags)

    def _climb(self, tick: int, ts_ns: int | None, error_bps: float, *, armed: bool, tripped: bool) -> None:
        """Look for rungs; after the trip there are none left to find."""
        if self._error_rung is None and abs(to_nano_bps(error_bps)) >= self.thresholds.bias_nano_bps:
            self._error_rung = self._rung(tick, ts_ns, error_bps)
        if not armed:
            return
        guard = self._guard
        if abs(guard.sum_nano_bps) < self._armed_sum:
            self._mean_since = 0
        elif not self._mean_since:
            self._mean_since = self._errors
            self._mean_rung = self._mean_rung or self._rung(tick, ts_ns, error_bps)
        if guard.prevalent_n < self.thresholds.need:
            self._prevalence_since = 0
        elif not self._prevalence_since:
            self._prevalence_since = self._errors
            self._prevalence_rung = self._prevalence_rung or self._rung(tick, ts_ns, error_bps)
        if tripped:
            self._both_rung = self._rung(tick, ts_ns, error_bps)
            self._last_condition = _later(self._mean_since, self._prevalence_since)

    def _rung(self, tick: int, ts_ns: int | None, error_bps: float) -> Rung:
        guard = self._guard
        time = None if ts_ns is None else iso_utc(ts_ns)
        return Rung(tick, self._errors, ts_ns, time, error_bps, guard.mean_bps, guard.prevalence_pct)

    def _was_emptied(self, error_bps: float | None, recorded_n: int) -> bool:
        held = self._guard.window_n
        alone = 0 if error_bps is None else 1
        return held > 0 and recorded_n == alone and recorded_n < min(held + alone, self.thresholds.lookback_ticks)

    def _empty_window(self) -> SaturationGuard:
        spent = self._guard.tripped
        self._guard = SaturationGuard(self.thresholds)
        self._guard.tripped = spent
        self._mean_since = self._prevalence_since = 0
        self.window_resets += 1
        return self._guard

    def _name_it(self, tick: int, n: int, mean_bps: float | None, prevalence_pct: float | None) -> Disagreement:
        guard = self._guard
        if n != guard.window_n:
            return Disagreement(tick, "guard_window_n", n, guard.window_n)
        if mean_bps != guard.mean_bps:
            return Disagreement(tick, "guard_mean_bps", mean_bps, guard.mean_bps)
        return Disagreement(tick, "guard_prevalence_pct", prevalence_pct, guard.prevalence_pct)
