"""The search: on past sessions, which setting of the grid is fastest among those that keep the false-trip budget?

The rule is Lorden's and Pollak's: minimise the delay subject to a bound on false alarms; no weights are hidden in a
score. A search over thousands of settings flatters its winner, so what comes out of here is a candidate, to be judged
on sessions it has not seen (`holdout.py`), and the candidate is not even the winner but, of all that cannot be told
from it (one standard error, Breiman et al. 1984), the one that changes least.
"""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple

import numpy as np

from telemetry_proc.grid import Grid, Setting
from telemetry_proc.intervals import clopper_pearson
from telemetry_proc.operating import delays_of
from telemetry_proc.outcomes import Outcomes, delays
from telemetry_proc.tick_columns import Bools, Floats, Ints

SEARCH_CONFIDENCE = 0.90
PLATEAU_SHARE = 0.5


class Tally(NamedTuple):
    """Every setting over some of the sessions; one element a setting.

    Fields:
        calm_sessions, false_sessions: those that were calm throughout, and those of them with a trip.
        episodes: scored ones in these sessions; delay_mean_s: restricted mean over them, NaN if there are none.
    """

    calm_sessions: int
    false_sessions: Ints
    episodes: int
    delay_mean_s: Floats


class Choice(NamedTuple):
    """The candidate of a search.

    Fields:
        column: of the candidate. best_column: the fastest within the budget, before the one-standard-error rule.
        standard_error_s: of the best one's mean delay, days resampled as one.
        within_budget: settings whose upper limit of the false-trip share is within it.
        within_one_se: those of them within one standard error of the best.
        edge: axes on which the candidate lies at the end of the grid and differs from the live setting.
    """

    column: int
    best_column: int
    standard_error_s: float
    within_budget: int
    within_one_se: int
    edge: tuple[str, ...]


def tally(found: Outcomes, rows: Bools) -> Tally:
    """Count every setting over the sessions that `rows` marks."""
    calm = rows & found.calm_session
    false_sessions = np.zeros(found.grid.size, dtype=np.int64)
    for row in np.flatnonzero(calm):
        false_sessions += found.false_trips[row] > 0
    chosen = [at for at, episode in enumerate(found.episodes) if rows[episode.session]]
    total_s = np.zeros(found.grid.size)
    for at in chosen:
        total_s += delays(found, at)
    mean_s = total_s / len(chosen) if chosen else np.full(found.grid.size, np.nan)
    return Tally(int(calm.sum()), false_sessions, len(chosen), mean_s)


def choose(
    found: Outcomes,
    rows: Bools,
    live_column: int,
    max_false: Fraction,
    *,
    hold_prevalence: bool,
    net_by_setting: Floats | None = None,
) -> Choice | None:
    """The candidate from the sessions that `rows` marks; None if no setting keeps the budget, or nothing is scored.

    hold_prevalence: keep the live prevalence threshold and share, because the record cannot tell them from others.
    net_by_setting: breaks ties in delay, more is better; without it the nearest to the live setting does.
    """
    counted = tally(found, rows)
    allowed = found.grid.configurable().ravel()
    if hold_prevalence:
        allowed = allowed & same_prevalence(found.grid, live_column)
    within = allowed & (false_share_limits(counted) <= float(max_false))
    if not within.any() or not counted.episodes:
        return None
    distance = log_distance(found.grid, live_column)
    delay_s = np.where(within, counted.delay_mean_s, np.inf)
    ties = distance if net_by_setting is None else -net_by_setting
    best = int(np.lexsort((distance, ties, delay_s))[0])
    error_s = standard_error_s(found, rows, best)
    near = within & (delay_s <= delay_s[best] + error_s)
    column = int(_nearest(near, distance, found.grid, live_column))
    edge = tuple(axis for axis, on in zip(Setting._fields, _edges(found.grid, live_column), strict=True) if on[column])
    return Choice(column, best, error_s, int(within.sum()), int(near.sum()), edge)


def false_share_limits(counted: Tally) -> Floats:
    """The exact upper 90 % limit of each setting's share of calm sessions with a trip; 1 where there are none."""
    if not counted.calm_sessions:
        return np.ones(len(counted.false_sessions))
    events, which = np.unique(counted.false_sessions, return_inverse=True)
    limits = [clopper_pearson(int(k), counted.calm_sessions, SEARCH_CONFIDENCE, "upper").high for k in events]
    return np.array([1.0 if limit is None else limit for limit in limits])[which]


def standard_error_s(found: Outcomes, rows: Bools, column: int) -> float:
    """Of a mean over episodes in sessions on days: the days' deviations from the mean, as of a ratio of sums."""
    mine = np.array([rows[episode.session] for episode in found.episodes], dtype=np.bool_)
    delay_s, day = delays_of(found, column)[mine], found.day[found.episode_session[mine]]
    days, index = np.unique(day, return_inverse=True)
    if len(days) < 2:
        return 0.0
    deviation = np.bincount(index, delay_s - delay_s.mean())
    return float(np.sqrt(len(days) / (len(days) - 1) * (deviation**2).sum()) / len(delay_s))


def log_distance(grid: Grid, live_column: int) -> Floats:
    """Root of the summed squares of ln(value / live value) over the four axes, of every setting."""
    live = np.unravel_index(live_column, grid.shape)
    squares = [
        np.log(np.array(axis, dtype=np.float64) / axis[int(at)]) ** 2 for axis, at in zip(grid, live, strict=True)
    ]
    distance: Floats = np.sqrt(sum(np.meshgrid(*squares, indexing="ij"))).ravel()
    return distance


def same_prevalence(grid: Grid, live_column: int) -> Bools:
    """The settings that share the live prevalence threshold and share."""
    _, _, threshold, share = np.unravel_index(live_column, grid.shape)
    same = np.zeros(grid.shape, dtype=np.bool_)
    same[:, :, threshold, share] = True
    return same.ravel()


def prevalence_binds(found: Outcomes, rows: Bools, live_column: int) -> int:
    """In how many trials the live prevalence condition delayed or prevented a trip: those that would have ended
    otherwise under the weakest prevalence condition of the grid. In none: the record says nothing about either value.
    """
    lookback, bias, _, _ = np.unravel_index(live_column, found.grid.shape)
    weakest = int(np.ravel_multi_index((lookback, bias, 0, 0), found.grid.shape))
    calm = found.exposure_ticks[rows, live_column] != found.exposure_ticks[rows, weakest]
    calm |= found.false_trips[rows, live_column] != found.false_trips[rows, weakest]
    mine = np.array([rows[episode.session] for episode in found.episodes], dtype=np.bool_)
    episodes = found.trip_after[mine, live_column] != found.trip_after[mine, weakest]
    return int(calm.sum() + episodes.sum())


def distinct_behaviours(found: Outcomes, rows: Bools) -> int:
    """How many settings of the grid differ in anything they did in these sessions: what the search really chose among.

    Settings are told apart by a 64-bit sum over their outcomes, each times an odd number of its own (Knuth's
    multiplicative hashing); two of a million settings collide with a chance of about 3 in 100 million.
    """
    digest = np.zeros(found.grid.size, dtype=np.uint64)
    tables = (
        (found.false_trips, np.flatnonzero(rows)),
        (found.exposure_ticks, np.flatnonzero(rows)),
        (found.trip_after, np.flatnonzero([rows[episode.session] for episode in found.episodes])),
    )
    factor = 1
    for table, chosen in tables:
        for row in chosen:
            factor = _mixed(factor)
            digest += table[row].astype(np.int64).astype(np.uint64) * np.uint64(factor | 1)
    return len(np.unique(digest))


def _nearest(near: Bools, distance: Floats, grid: Grid, live_column: int) -> int:
    """Off the edge if anything is; then on a plateau if anything is; then nearest to live."""
    on_edge = np.logical_or.reduce(_edges(grid, live_column))
    for preferred in (~on_edge, _neighbours_near(near, grid) >= PLATEAU_SHARE):
        if (near & preferred).any():
            near = near & preferred
    return int(np.argmin(np.where(near, distance, np.inf)))


def _neighbours_near(near: Bools, grid: Grid) -> Floats:
    """The share of each setting's next neighbours along the axes that are as good: 1 in the middle of a plateau."""
    shaped = near.reshape(grid.shape)
    good, there = np.zeros(grid.shape), np.zeros(grid.shape)
    for axis in range(shaped.ndim):
        for here, beside in ((slice(1, None), slice(None, -1)), (slice(None, -1), slice(1, None))):
            to = tuple(here if at == axis else slice(None) for at in range(shaped.ndim))
            source = tuple(beside if at == axis else slice(None) for at in range(shaped.ndim))
            good[to] += shaped[source]
            there[to] += 1
    return np.where(there > 0, good / np.maximum(there, 1), 1.0).ravel()


def _edges(grid: Grid, live_column: int) -> tuple[Bools, ...]:
    """For each axis: which settings lie at one of its ends, where that is not where the live setting is anyway."""
    found = []
    for axis, live in enumerate(np.unravel_index(live_column, grid.shape)):
        at = np.arange(grid.shape[axis])
        edge = ((at == 0) | (at == grid.shape[axis] - 1)) & (at != live)
        reshaped = edge.reshape([-1 if axis == other else 1 for other in range(4)])
        found.append(np.broadcast_to(reshaped, grid.shape).ravel())
    return tuple(found)


def _mixed(state: int) -> int:
    """The next state of SplitMix64 (Steele et al. 2014)."""
    state = (state + 0x9E3779B97F4A7C15) % 2**64
    mixed = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) % 2**64
    return mixed ^ (mixed >> 31)
