"""Times until a trip, when some never came: Kaplan and Meier's estimate, its mean up to a horizon, its quantiles.

A delay is *censored* where the episode ended before the guard tripped: all that is known is "longer than this".
Averaging the detected ones alone would praise a guard that misses every slow case, so nothing here does.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from telemetry_proc.tick_columns import Bools, Floats, Ints


class Survival(NamedTuple):
    """Kaplan and Meier's curve: `share[i]` of all are still waiting just after `time[i]`; 1.0 before the first.

    `time` holds the distinct times of *observed* ends, ascending, in the unit the durations came in.
    """

    time: Floats
    share: Floats


def kaplan_meier(duration: Floats | Ints, observed: Bools) -> Survival:
    """The curve of durations of which some are censored (`observed` False: still waiting when last seen).

    An end and a censoring at the same time count as the end first, as Kaplan and Meier (1958) have it.
    Raises ValueError for durations that are negative or not finite, and where the two lengths differ.
    """
    time, ended, waiting = _counts(_checked(duration, observed), observed)
    return Survival(time, np.cumprod(1.0 - ended / waiting, dtype=np.float64))


def restricted_mean(curve: Survival, horizon: float) -> float:
    """Mean of min(duration, horizon): the area under the curve up to `horizon`.

    Beyond the last censored duration the curve is held at its last value, which never flatters a delay.
    """
    inside = curve.time < horizon
    corners = np.concatenate(([0.0], curve.time[inside], [horizon]))
    return float(np.concatenate(([1.0], curve.share[inside])) @ np.diff(corners))


def quantile(curve: Survival, share: float) -> float | None:
    """The first time by which at least `share` (0..1) have ended; None if so many were never seen to end."""
    reached = np.flatnonzero(curve.share <= 1.0 - share + 1e-12)
    return float(curve.time[reached[0]]) if len(reached) else None


def _counts(duration: Floats, observed: Bools) -> tuple[Floats, Floats, Floats]:
    time, ended = np.unique(duration[observed], return_counts=True)
    waiting = len(duration) - np.searchsorted(np.sort(duration), time, side="left")
    return time, ended.astype(np.float64), waiting.astype(np.float64)


def _checked(duration: Floats | Ints, observed: Bools) -> Floats:
    checked = np.asarray(duration, dtype=np.float64)
    if checked.shape != observed.shape or checked.ndim != 1:
        raise ValueError(f"{checked.shape} durations and {observed.shape} flags do not pair")
    if not np.isfinite(checked).all() or (checked < 0).any():
        raise ValueError("a duration is negative or not a finite number")
    return checked
