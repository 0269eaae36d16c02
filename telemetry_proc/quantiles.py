"""Quantiles, spread and shares of a sample: the sums of numbers that every part of a session is described by.

Quantiles are nearest-rank: the q-quantile is the smallest value such that at least a share q of all values is no
larger than it. So every quantile is a value that occurred, and p50 of a sample of two is its smaller one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from shared.saturation import to_nano_bps
from telemetry_proc.tick_columns import Floats, Ints

LEVELS_BPS = (5.0, 6.0, 7.0, 8.0)
_PERMILLES = (500, 750, 900, 950, 990, 999, 1000)


class AbsQuantiles(NamedTuple):
    """Nearest-rank quantiles of a size, in bps: of |error|, or of |mean| of a window."""

    p50_bps: float
    p75_bps: float
    p90_bps: float
    p95_bps: float
    p99_bps: float
    p999_bps: float
    max_bps: float


class PctQuantiles(NamedTuple):
    """Nearest-rank quantiles of a share, in percent."""

    p50_pct: float
    p75_pct: float
    p90_pct: float
    p95_pct: float
    p99_pct: float
    p999_pct: float
    max_pct: float


class AtOrAbove(NamedTuple):
    """Which percentage of all sizes is at least so many bps; a size of exactly 5 is at or above 5."""

    pct_5bps: float
    pct_6bps: float
    pct_7bps: float
    pct_8bps: float


class Spread(NamedTuple):
    """Where a sample lies and how wide; every part in the unit of its values, `skew` without one.

    `sd` divides by n - 1 and is None below two values. `mad` is the median of |value - median|, not scaled to a
    normal distribution. `skew` is the third central moment over the 3/2 power of the second, both dividing by n; None
    below three values or where all are equal. A number too large for a float is None as well.
    """

    mean: float | None
    median: float
    sd: float | None
    mad: float | None
    skew: float | None


def quantile(ordered: Sequence[float] | Floats, permille: int) -> float:
    """Nearest-rank quantile of a sorted, non-empty sample: its element number ceil(n * permille / 1000)."""
    return ordered[_rank(len(ordered), permille)]


def spread(values: Floats) -> Spread:
    """Of a sample that is not empty."""
    n, median = len(values), _median(values)
    if values.min() == values.max():  # a mean would be off by a rounding, and a spread would be made of that
        return Spread(median, median, 0.0 if n > 1 else None, 0.0, None)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        mean = values.mean()
        deviations = values - mean
        squares = deviations * deviations
        second = squares.mean()
        skew = (squares * deviations).mean() / second**1.5 if n > 2 else math.nan
        sd = np.sqrt(squares.sum() / (n - 1))
        return Spread(_number(mean), median, _number(sd), _number(_median(np.abs(values - median))), _number(skew))


def abs_quantiles(ordered: Floats) -> AbsQuantiles:
    """Of sorted sizes, at least one."""
    return AbsQuantiles(*(float(quantile(ordered, permille)) for permille in _PERMILLES))


def pct_quantiles(ordered: Floats) -> PctQuantiles:
    """Of sorted percentages, at least one."""
    return PctQuantiles(*(float(quantile(ordered, permille)) for permille in _PERMILLES))


def at_or_above(ordered: Floats) -> AtOrAbove:
    """Of sorted sizes in bps, at least one."""
    return AtOrAbove(*(pct(len(ordered) - int(at), len(ordered)) for at in np.searchsorted(ordered, LEVELS_BPS)))


def sums_at_or_above(ordered_nano_bps: Ints, addends: int) -> AtOrAbove:
    """Of the sorted sizes of window sums, at least one; a mean on a level counts as the guard counts it, exactly."""
    bounds = [to_nano_bps(level) * addends for level in LEVELS_BPS]
    reached = len(ordered_nano_bps) - np.searchsorted(ordered_nano_bps, bounds)
    return AtOrAbove(*(pct(int(number), len(ordered_nano_bps)) for number in reached))


def pct(part: int, whole: int) -> float:
    """A share in percent; `whole` is not 0."""
    return 100.0 * part / whole


def _median(values: Floats) -> float:
    at = _rank(len(values), 500)
    return float(np.partition(values, at)[at]) + 0.0  # minus zero is zero


def _rank(n: int, permille: int) -> int:
    return max(0, -(-n * permille // 1000) - 1)


def _number(value: float) -> float | None:
    return float(value) + 0.0 if math.isfinite(value) else None
