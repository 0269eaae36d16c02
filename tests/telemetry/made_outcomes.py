"""Outcomes written down by hand: which setting trips falsely in which session, and how late it is in which episode."""

from __future__ import annotations

import numpy as np

from telemetry_proc.grid import Grid
from telemetry_proc.outcomes import DAY_NS, Outcomes, ScoredEpisode

TICK_S = 4.0
EPISODE_TICKS = 200
CALM_TICKS = 1000


def made(grid: Grid, false, delay_ticks, *, sessions_a_day=4):
    """Calm sessions and sessions with one episode each, evenly mixed in time.

    false: a row a calm session, a column a setting: does it trip. delay_ticks: the same for episodes; 200 is missed.
    """
    false, delay_ticks = np.asarray(false, dtype=np.uint16), np.asarray(delay_ticks, dtype=np.int32)
    false = false.reshape(-1, grid.size)
    delay_ticks = delay_ticks.reshape(-1, grid.size)
    calm_n, episode_n = len(false), len(delay_ticks)
    sessions = calm_n + episode_n
    position = np.concatenate((np.arange(calm_n) / max(calm_n, 1), (np.arange(episode_n) + 0.5) / max(episode_n, 1)))
    order = np.argsort(position, kind="stable")
    row_of = np.argsort(order)
    calm = (np.arange(sessions) < calm_n)[order]
    all_false = np.concatenate((false, np.zeros((episode_n, grid.size), np.uint16)))[order]
    started_ns = np.arange(sessions, dtype=np.int64) * (DAY_NS // sessions_a_day)
    span = np.minimum(np.arange(EPISODE_TICKS + 1), EPISODE_TICKS - 1)
    return Outcomes(
        grid=grid,
        session_id=np.arange(1, sessions + 1),
        started_ns=started_ns,
        day=started_ns // DAY_NS,
        calm_session=calm,
        calm_ticks=np.where(calm, CALM_TICKS, 0),
        tick_s=np.full(sessions, TICK_S),
        complete=np.ones(sessions, dtype=np.bool_),
        false_trips=all_false,
        exposure_ticks=np.where(calm[:, None], CALM_TICKS - 24 - 500 * all_false, 0).astype(np.int32),
        unarmed_ticks=np.where(calm, 24, 0)[:, None] * np.ones(len(grid.lookback_ticks), dtype=np.int64),
        episodes=tuple(
            ScoredEpisode(int(row_of[calm_n + at]), 1 - 2 * (at % 2), 10.0, span * TICK_S, span)
            for at in range(episode_n)
        ),
        trip_after=delay_ticks,
        ambiguous=0,
    )


def spread_false(rate, sessions):
    """A column with that share of trips, evenly spread."""
    trips = np.floor(np.arange(1, sessions + 1) * rate + 1e-9)
    return np.diff(trips, prepend=0).astype(np.uint16)


def jittered(mean_ticks, episodes):
    """A column of delays around a mean, none equal to its neighbour: -3 to 3 ticks."""
    return np.clip(mean_ticks + (np.arange(episodes) * 5) % 7 - 3, 0, EPISODE_TICKS).astype(np.int32)
