"""Populations of sessions whose true rates and means are known: they are what the whole population shows.

A sample drawn from one *with replacement* is a sample of independent sessions, and the population's own value is its
exact truth. So the coverage of an interval can be counted without any further assumption.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from telemetry_proc.grid import Grid
from telemetry_proc.staircase import NEVER, first_trips
from tests.worlds.errors import Shift, calm, nano, shifted, various_calm

LIVE = Grid((25,), (7.0,), (5.0,), (40.0,))
FIRST = np.array([0])


class Population(NamedTuple):
    """One row of summable numbers a session; `day` where sessions share one."""

    rows: np.ndarray
    day: np.ndarray | None = None


def first_trip(errors_bps, begin=0):
    """Where the guard at its default settings trips, None if it never does."""
    tripped = int(first_trips(nano(errors_bps), FIRST, LIVE, begin=begin).ravel()[0])
    return None if tripped == NEVER else tripped


def calm_sessions(rng, *, sessions=4000, ticks=5000):
    """Columns: tripped falsely, armed ticks until the trip or the end, ticks at or beyond 5 bps, ticks."""
    rows = np.zeros((sessions, 4))
    for row in rows:
        errors = various_calm(rng, ticks).errors_bps
        trip = first_trip(errors)
        armed = (ticks if trip is None else trip + 1) - (LIVE.lookback_ticks[0] - 1)
        row[:] = trip is not None, armed, np.count_nonzero(np.abs(errors) >= 5.0), ticks
    return Population(rows)


def episode_sessions(rng, *, sessions=3000):
    """Columns: sum of delays (at most the episode's length), episodes, episodes detected.

    One to three shifts a session; how nervous the session is and how far it shifts is the session's own.
    """
    rows = np.zeros((sessions, 3))
    for session in range(sessions):
        sd_bps, level_bps = float(rng.uniform(0.8, 3.0)), float(rng.uniform(5.5, 14.0))
        for _ in range(int(rng.integers(1, 4))):
            onset, lasts = 300, int(rng.integers(120, 600))
            shift = Shift(onset, onset + lasts, 1, level_bps * float(rng.uniform(0.9, 1.1)), int(rng.integers(1, 60)))
            errors = shifted(calm(rng, onset + lasts, sd_bps=sd_bps, rho=0.9), shift).errors_bps
            trip = first_trip(errors, begin=onset)
            rows[session] += (lasts if trip is None else trip - onset), 1, trip is not None
    return Population(rows)


def filled_sessions(rng, *, sessions=4000):
    """Columns: notional * markout, notional, and of single fills: their number, sum and sum of squares of markouts.

    Fills of a session share its fortune; notionals are skewed, markouts heavy in the tails.
    """
    rows = np.zeros((sessions, 5))
    for row in rows:
        fills = 1 + int(rng.poisson(rng.lognormal(2.5, 0.7)))
        notional = rng.lognormal(0.0, 0.8, fills)
        markout_bps = rng.normal(-2.0, 4.0) + 6.0 * rng.standard_t(4, fills)
        row[:] = notional @ markout_bps, notional.sum(), fills, markout_bps.sum(), markout_bps @ markout_bps
    return Population(rows)


def sessions_of_days(rng, *, days=2000):
    """Columns: notional * markout, notional. Three sessions a day, all under that day's weather."""
    weather = np.repeat(rng.normal(-2.0, 4.0, days), 3)
    notional = rng.lognormal(0.0, 0.8, 3 * days)
    return Population(
        np.column_stack((notional * (weather + rng.normal(0.0, 2.0, 3 * days)), notional)), np.arange(3 * days) // 3
    )
