"""The guard on anchor error: the very code that trades, and the very code that calibration replays.

Why integers. A mean of floats gives wrong verdicts at exact ties, differs between Python 3.11 and 3.12 (`sum`
became compensated) and drifts in running sums. So every error is rounded **once** to integer nano-bps and all
arithmetic after that is exact: the live guard, a replay and a sweep agree by construction, not by luck.

The rule, for a window of the last L errors that are not None:

    trip  iff  n == L  and  |sum E| >= B * L  and  count(|E| >= P) >= ceil(L * prevalence_permille / 1000)

The mean is the signed mean: an error that oscillates around zero does not trip. None neither enters nor ages the
window. After its first trip the guard is spent: one event a session, whatever follows.
"""

from __future__ import annotations

import math
from collections import deque
from typing import NamedTuple

NANO_PER_BPS = 1_000_000_000
CLAMP_NANO_BPS = 10**15  # a million bps; keeps any window sum of up to 9,000 errors inside int64


def to_nano_bps(error_bps: float) -> int:
    """An error in integer nano-bps, half-even, clamped at +-1e15.

    Raises ValueError for NaN: an error that is not a number must never look like a measurement.
    """
    scaled = error_bps * 1e9
    if -1e15 <= scaled <= 1e15:
        return round(scaled)
    if math.isnan(scaled):
        raise ValueError("anchor error is NaN")
    return CLAMP_NANO_BPS if scaled > 0 else -CLAMP_NANO_BPS


def need_count(lookback_ticks: int, prevalence_pct: float) -> int:
    """How many errors of a full window must reach the prevalence threshold: ceil(L * permille / 1000), in integers."""
    permille = round(prevalence_pct * 10)
    return -(-lookback_ticks * permille // 1000)


class Thresholds(NamedTuple):
    """The guard's settings in the integers it compares."""

    lookback_ticks: int
    bias_nano_bps: int
    prevalence_nano_bps: int
    need: int

    @classmethod
    def of(
        cls, *, lookback_ticks: int, bias_threshold_bps: float, prevalence_threshold_bps: float, prevalence_pct: float
    ) -> Thresholds:
        """From the units people use: ticks, bps, bps, percent."""
        return cls(
            lookback_ticks,
            to_nano_bps(bias_threshold_bps),
            to_nano_bps(prevalence_threshold_bps),
            need_count(lookback_ticks, prevalence_pct),
        )


class SaturationGuard:
    """A rolling window over anchor errors that says, once, when the anchor has been dragged away.

    After every `observe` the window is readable: `window_n`, `sum_nano_bps`, `prevalent_n` and, for people,
    `mean_bps` (signed) and `prevalence_pct`, both None while the window is empty; it is full, and the guard armed, when
    `window_n` equals the lookback. The cost of a tick does not depend on the lookback.
    """

    __slots__ = (
        "_armed_sum", "_enabled", "_errors", "_thresholds",
        "mean_bps", "prevalence_pct", "prevalent_n", "sum_nano_bps", "tripped", "window_n",
    )  # fmt: skip

    def __init__(self, thresholds: Thresholds, *, enabled: bool = True) -> None:
        self._thresholds = thresholds
        self._enabled = enabled
        self._armed_sum = thresholds.bias_nano_bps * thresholds.lookback_ticks
        self._errors: deque[int] = deque()
        self.sum_nano_bps = 0
        self.prevalent_n = 0
        self.window_n = 0
        self.mean_bps: float | None = None
        self.prevalence_pct: float | None = None
        self.tripped = False

    def observe(self, error_bps: float | None) -> bool:
        """Take this tick's error; True on the one tick of the session on which the guard trips."""
        if error_bps is None:
            return False
        lookback_ticks, _, prevalence_nano_bps, need = self._thresholds
        error = to_nano_bps(error_bps)
        errors = self._errors
        errors.append(error)
        self.sum_nano_bps += error
        if error >= prevalence_nano_bps or -error >= prevalence_nano_bps:
            self.prevalent_n += 1
        if len(errors) > lookback_ticks:
            oldest = errors.popleft()
            self.sum_nano_bps -= oldest
            if oldest >= prevalence_nano_bps or -oldest >= prevalence_nano_bps:
                self.prevalent_n -= 1
        self.window_n = n = len(errors)
        self.mean_bps = self.sum_nano_bps / (n * NANO_PER_BPS)
        self.prevalence_pct = 100.0 * self.prevalent_n / n
        if self.tripped or not self._enabled or len(errors) < lookback_ticks:
            return False
        self.tripped = abs(self.sum_nano_bps) >= self._armed_sum and self.prevalent_n >= need
        return self.tripped

    def window_tail(self, count: int = 5) -> list[float]:
        """The last errors of the window in bps, oldest first."""
        return [error / NANO_PER_BPS for error in list(self._errors)[-count:]]
