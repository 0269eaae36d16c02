"""How often a search like ours picks a loser: the probability of backtest overfitting.

Combinatorially symmetric cross-validation (Bailey, Borwein, Lopez de Prado, Zhu: "The probability of backtest
overfitting"): the sessions, in order of time, are cut into ten blocks; for each of the 252 ways to take five of them,
the best setting on those five is looked up on the other five. The share of ways in which it lands in the worse half
there is the probability. 0.5 is what choosing by lot gives.
"""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations

import numpy as np

from telemetry_proc.outcomes import Outcomes, delays
from telemetry_proc.tick_columns import Bools, Floats

BLOCKS = 10
SESSIONS_MIN = 100


def overfitting_probability(found: Outcomes, allowed: Bools, max_false: Fraction) -> float | None:
    """The share of splits in which the best allowed setting of one half is below the middle of the other; None below
    100 sessions, or where a half has nothing to rank by.

    Ranked by the same rule as the search, with shares instead of limits: those within the budget by mean delay, behind
    them the others by their share of calm sessions with a trip. Equal ones share their rank.
    """
    if len(found.day) < SESSIONS_MIN or not allowed.any():
        return None
    block = np.arange(len(found.day)) * BLOCKS // len(found.day)
    columns = np.flatnonzero(allowed)
    false, calm, delay, episodes = _sums(found, block, columns)
    below = []
    for half in combinations(range(BLOCKS), BLOCKS // 2):
        other = tuple(set(range(BLOCKS)) - set(half))
        ranks = []
        for part in map(list, (half, other)):
            if not calm[part].sum() or not episodes[part].sum():
                return None
            share = false[part].sum(axis=0) / calm[part].sum()
            mean = delay[part].sum(axis=0) / episodes[part].sum()
            ranks.append(np.where(share <= float(max_false), mean, 1e18 * (1.0 + share)))
        inside, outside = ranks
        reached = outside[int(np.argmin(inside))]
        worse = (outside > reached).sum() + 0.5 * (outside == reached).sum()
        below.append(worse / len(outside) < 0.5)
    return float(np.mean(below))


def _sums(found: Outcomes, block: np.ndarray, columns: np.ndarray) -> tuple[Floats, Floats, Floats, Floats]:
    """By block: calm sessions with a trip and delays (a column a setting); calm sessions and episodes."""
    false, delay = np.zeros((BLOCKS, len(columns))), np.zeros((BLOCKS, len(columns)))
    for row in np.flatnonzero(found.calm_session):
        false[block[row]] += found.false_trips[row, columns] > 0
    for at, episode in enumerate(found.episodes):
        delay[block[episode.session]] += delays(found, at)[columns]
    calm = np.bincount(block[found.calm_session], minlength=BLOCKS).astype(np.float64)
    episodes = np.bincount(block[found.episode_session], minlength=BLOCKS).astype(np.float64)
    return false, calm, delay, episodes
