"""The ladder climbed tick by tick with the guard that trades: what ladder.py and fidelity.py compute on columns."""

from __future__ import annotations

from shared.clock import iso_utc
from shared.saturation import SaturationGuard, to_nano_bps
from shared.settings import AnchorSaturationGuard
from telemetry_proc.fidelity import Disagreement
from telemetry_proc.ladder import Condition, Ladder, Rung, _lag_s, _lag_ticks, _later


class GuardReplay:
    """Takes the ticks of a session in order and climbs the ladder, checking the recorded window on every tick."""

    def __init__(self, settings: AnchorSaturationGuard) -> None:
        # Enabled here even where the session had it off: (d) then says on which tick it would have tripped.
        self.thresholds = settings.thresholds
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
