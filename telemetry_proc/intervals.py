"""How sure a number is: intervals whose unit is the session, never the tick.

Ticks of one session are alike, so an interval over ticks promises far too much. What is *counted* over sessions
has exact limits; what is *averaged* over sessions is resampled by whole sessions, or by day where sessions share one.
Where the data allow no statement both limits are None and the method says why.

The special functions are written out: the regularised incomplete beta as a continued fraction, the Poisson sum from
its largest term outwards, both turned round by bisection. Calibration needs nothing else of a statistics library.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from statistics import NormalDist
from typing import Literal, NamedTuple

import numpy as np

from telemetry_proc.tick_columns import Floats, Ints

Side = Literal["two", "upper", "lower"]

_HALVINGS = 64  # of a bracket: the last bit of a double
_BLOCK = 4_000_000  # resampled sessions in memory at a time: 32 MB
_NO_SPREAD = 1e-12  # of the estimate: what rounding alone leaves
_UNDEFINED_MAX = 0.05  # of the resamples: beyond that the statistic rests on too few sessions


class Interval(NamedTuple):
    """Limits of a number; both None where nothing can be said, and then `method` says why.

    A one-sided interval puts all of `confidence` on its one limit; the other is None.
    """

    low: float | None
    high: float | None
    confidence: float
    method: str


# --- what is counted


def clopper_pearson(events: int, trials: int, confidence: float = 0.95, side: Side = "two") -> Interval:
    """A share, `events` of `trials`: exact binomial limits (Clopper and Pearson 1934).

    Raises ValueError if `events` is not within 0..trials.
    """
    if not 0 <= events <= trials:
        raise ValueError(f"{events} of {trials} is no share")
    if trials == 0:
        return Interval(None, None, confidence, "nothing to count")
    tail = _tail(confidence, side)
    low = 0.0 if events == 0 else _beta_quantile(tail, events, trials - events + 1)
    high = 1.0 if events == trials else _beta_quantile(1.0 - tail, events + 1, trials - events)
    return _sided(low, high, confidence, side, "Clopper-Pearson")


def none_of(trials: int, confidence: float = 0.95) -> Interval:
    """0 of `trials`: the share is below 1 - (1 - confidence)^(1/trials), all confidence on that side.

    38 sessions without a false trip: fewer than 7.6 % trip falsely, at 95 %.
    """
    return clopper_pearson(0, trials, confidence, "upper")


def garwood(events: int, exposure: float, confidence: float = 0.95, side: Side = "two") -> Interval:
    """A rate, `events` per unit of `exposure`: exact Poisson limits (Garwood 1936).

    Raises ValueError for a negative count or exposure.
    """
    if events < 0 or exposure < 0:
        raise ValueError(f"{events} in {exposure} is no rate")
    if exposure == 0:
        return Interval(None, None, confidence, "no exposure")
    tail = _tail(confidence, side)
    low = 0.0 if events == 0 else _poisson_mean(events - 1, 1.0 - tail)
    return _sided(low / exposure, _poisson_mean(events, tail) / exposure, confidence, side, "Garwood")


# --- what is averaged


def session_t(values: Floats, confidence: float = 0.95, side: Side = "two") -> Interval:
    """The mean of one value a session: Student's t."""
    n = len(values)
    if n < 2:
        return Interval(None, None, confidence, _too_few(n, "session"))
    mean, error = float(np.mean(values)), float(np.std(values, ddof=1)) / math.sqrt(n)
    if error <= _NO_SPREAD * abs(mean):
        return Interval(None, None, confidence, f"{n} sessions without any spread")
    half = error * student_t(1.0 - _tail(confidence, side), n - 1)
    return _sided(mean - half, mean + half, confidence, side, f"Student t over {n} sessions")


def session_bootstrap(
    per_session_rows: Floats,
    statistic: Callable[[Floats], Floats],
    rng: np.random.Generator,
    *,
    resamples: int = 2000,
    confidence: float = 0.95,
    side: Side = "two",
    clusters: Ints | None = None,
) -> Interval:
    """A statistic of sums over sessions, from resampling whole sessions: the outer limits of two methods.

    One is Efron's BCa bootstrap (1987), its levels widened as Student's t is wider than the normal (Hesterberg 2015);
    it follows skewness but is short in small samples. The other is the jackknife with Student's t: wide enough in
    small samples, but blind to skewness. Each alone covers too little in some world, the outer limits of both hold
    what they promise in most: docs/calibration.md has the measurements, and where they do not. Neither knows that a
    share is at most one or a rate at least zero.

    Arguments:
        per_session_rows: one row of summable numbers a session, shape (sessions, columns). Leave out sessions that hold
            none of what is asked: they would count as evidence.
        statistic: of summed rows, shape (many, columns) to (many,): a ratio of two sums, say; NaN where undefined.
        clusters: the day of each session. Sessions of a day are resampled together, as they are not independent.
    """
    days = per_session_rows if clusters is None else _summed_by(per_session_rows, clusters)
    n, unit = len(days), "session" if clusters is None else "day"
    if n < 2:
        return Interval(None, None, confidence, _too_few(n, unit))
    with np.errstate(divide="ignore", invalid="ignore"):  # an undefined ratio is NaN, and is asked for below
        whole = days.sum(axis=0)
        estimate = float(statistic(whole[None, :])[0])
        without = statistic(whole - days)
        drawn = np.concatenate([statistic(sums) for sums in _resampled_sums(days, rng, resamples)])
    defined = drawn[np.isfinite(drawn)]
    if not math.isfinite(estimate):
        return Interval(None, None, confidence, "undefined for these sessions")
    if not np.isfinite(without).all() or len(defined) < (1.0 - _UNDEFINED_MAX) * resamples:
        return Interval(None, None, confidence, f"rests on too few of the {n} {unit}s")
    error = math.sqrt((n - 1) / n * float(((without - without.mean()) ** 2).sum()))
    if error <= _NO_SPREAD * abs(estimate):
        return Interval(None, None, confidence, f"{n} {unit}s without any spread")
    t = student_t(1.0 - _tail(confidence, side), n - 1)
    levels = _bca_levels(estimate, defined, without, t * math.sqrt(n / (n - 1)))
    low, high = (float(limit) for limit in np.quantile(defined, levels))
    method = f"BCa bootstrap and jackknife over {n} {unit}s, the outer limits"
    return _sided(min(low, estimate - t * error), max(high, estimate + t * error), confidence, side, method)


def wider(one: Interval, other: Interval) -> Interval:
    """The interval that promises less: whichever holds the other, or from the lower low to the higher high.

    One without limits yields to the other.
    """
    if other.low is None and other.high is None:
        return one
    if one.low is None and one.high is None:
        return other
    low = None if one.low is None or other.low is None else min(one.low, other.low)
    high = None if one.high is None or other.high is None else max(one.high, other.high)
    holder = next((each for each in (one, other) if (each.low, each.high) == (low, high)), None)
    return holder or Interval(low, high, one.confidence, f"{one.method} and {other.method}, the outer limits")


# --- distributions


@lru_cache(maxsize=4096)
def student_t(level: float, freedom: int) -> float:
    """The quantile of Student's t at `level` (above one half) with that many degrees of freedom."""
    inside = _beta_quantile(2.0 * (1.0 - level), freedom / 2, 0.5)
    return math.sqrt(freedom * (1.0 - inside) / inside)


@lru_cache(maxsize=65536)
def _beta_quantile(level: float, a: float, b: float) -> float:
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if _beta_cdf(middle, a, b) < level:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _beta_cdf(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta I_x(a, b)."""
    if x <= 0.0 or x >= 1.0:
        return float(x >= 1.0)
    front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    # The fraction converges fast on the near side of the mean only; the far side is its mirror image.
    if x < (a + 1.0) / (a + b + 2.0):
        return math.exp(front) * _beta_fraction(x, a, b) / a
    return 1.0 - math.exp(front) * _beta_fraction(1.0 - x, b, a) / b


def _beta_fraction(x: float, a: float, b: float) -> float:
    """The continued fraction of I_x(a, b) (Abramowitz and Stegun 26.5.8), by Lentz's method."""
    c, d = 1.0, 1.0 / (1.0 - (a + b) * x / (a + 1.0))
    value = d
    for m in range(1, 10_000):
        for step in (
            m * (b - m) * x / ((a + 2 * m - 1.0) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1.0)),
        ):
            d = 1.0 / (1.0 + step * d)
            c = 1.0 + step / c
            value *= c * d
        if abs(c * d - 1.0) < 1e-15:
            break
    return value


@lru_cache(maxsize=65536)
def _poisson_mean(events: int, level: float) -> float:
    """The mean at which at most `events` are seen with probability `level`."""
    low, high = 0.0, 2.0 * events + 10.0
    while _poisson_cdf(events, high) > level:
        low, high = high, 2.0 * high
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if _poisson_cdf(events, middle) > level:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _poisson_cdf(events: int, mean: float) -> float:
    if mean <= 0.0:
        return 1.0
    mode = min(events, int(mean))  # the largest term: none is lost to underflow that counts
    largest = math.exp(mode * math.log(mean) - mean - math.lgamma(mode + 1))
    total = term = largest
    for i in range(mode, 0, -1):
        term *= i / mean
        total += term
        if term < 1e-18 * total:
            break
    term = largest
    for i in range(mode + 1, events + 1):
        term *= mean / i
        total += term
        if term < 1e-18 * total:
            break
    return min(total, 1.0)


# --- resampling


def _resampled_sums(rows: Floats, rng: np.random.Generator, resamples: int) -> list[Floats]:
    at_a_time = max(1, _BLOCK // len(rows))
    counts = [min(at_a_time, resamples - done) for done in range(0, resamples, at_a_time)]
    return [_weights(len(rows), rng, count) @ rows for count in counts]


def _weights(n: int, rng: np.random.Generator, resamples: int) -> Floats:
    drawn = rng.integers(0, n, size=(resamples, n)) + n * np.arange(resamples)[:, None]
    return np.bincount(drawn.ravel(), minlength=resamples * n).reshape(resamples, n).astype(np.float64)


def _bca_levels(estimate: float, drawn: Floats, without: Floats, z: float) -> tuple[float, float]:
    """Which quantiles of the resamples are the limits `z` to either side, corrected for bias and acceleration."""
    normal = NormalDist()
    below = float(np.mean(drawn < estimate) + np.mean(drawn == estimate) / 2)
    bias = normal.inv_cdf(min(max(below, 1.0 / len(drawn)), 1.0 - 1.0 / len(drawn)))
    pull = without.mean() - without
    acceleration = float((pull**3).sum() / (6.0 * (pull**2).sum() ** 1.5))
    low, high = (
        normal.cdf(bias + side / max(1.0 - acceleration * side, 1e-9)) for side in (bias - z, bias + z)
    )  # the bound is for confidences close to one, where the denominator could turn
    return low, high


def _summed_by(rows: Floats, clusters: Ints) -> Floats:
    days, day_of = np.unique(clusters, return_inverse=True)
    summed = np.zeros((len(days), rows.shape[1]))
    np.add.at(summed, day_of, rows)
    return summed


# --- wording


def _tail(confidence: float, side: Side) -> float:
    if not 0.5 <= confidence < 1.0:
        raise ValueError(f"a confidence of {confidence} is not within 0.5..1")
    return (1.0 - confidence) / (2.0 if side == "two" else 1.0)


def _sided(low: float, high: float, confidence: float, side: Side, method: str) -> Interval:
    return Interval(None if side == "upper" else low, None if side == "lower" else high, confidence, method)


def _too_few(n: int, unit: str) -> str:
    return f"one {unit} says nothing about another" if n == 1 else f"no {unit}s"
