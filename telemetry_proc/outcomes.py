"""What every setting of a grid would have done in every session: the one table that all judging starts from.

Each calm stretch and each scored episode is a trial of its own, and only its first trip counts.

- *Calm.* The window begins empty with the stretch: what it may hold from an episode before says nothing about calm. A
  trip is false. Exposure is the armed ticks up to the trip or the end of the stretch: a trip ends the trial, as a
  death does in survival analysis. Ticks before the window is full are no exposure: a guard that cannot trip is not a
  safe one.
- *Episode.* The window is carried in, full. The delay counts from the onset. A trip before it (the label looks ahead,
  so an episode begins a little before its onset) is *early*: counted apart, with delay zero, never negative. No trip
  by the episode's end is *missed*: the delay was at least the rest of the episode, which is where it is censored.

A session with a false trip and a later episode counts in both: live, the guard trips once, but a setting is judged on
both questions separately.

Memory: 10 bytes a session and setting, 4 an episode and setting: 2,000 sessions with an episode each under 10,000
settings take 280 MB, while the sessions themselves are read one by one and let go.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from telemetry_proc.grid import Grid
from telemetry_proc.labels import Episode
from telemetry_proc.staircase import NEVER, first_trips
from telemetry_proc.tick_columns import Bools, Floats, Ints

Counts = npt.NDArray[np.int32]
FewCounts = npt.NDArray[np.uint16]

DAY_NS = 86_400_000_000_000
_FEW_MAX = int(np.iinfo(np.uint16).max)


class LabelledSession(NamedTuple):
    """One session as the sweep needs it; indexes are into its errors.

    Fields:
        session_id: as in `sessions`.
        started_ns: when it began, UTC; sessions are ordered by it and its day is what they may share.
        error_nano_bps, tick, ts_ns: of each error, as in `Series`.
        starts: where the guard's window began anew.
        calm: calm stretches [begin, end); none spans a start.
        episodes: all, the ambiguous ones too.
        complete: no missing row could hide a trip; False keeps the session out of everything calm.
    """

    session_id: int
    started_ns: int
    error_nano_bps: Ints
    tick: Ints
    ts_ns: Ints
    starts: Ints
    calm: tuple[tuple[int, int], ...]
    episodes: tuple[Episode, ...]
    complete: bool = True


class ScoredEpisode(NamedTuple):
    """An episode that counts. `seconds[k]` and `ticks[k]` lie between the onset and the k-th error after it; the last
    element is where a missed episode is censored, its end.
    """

    session: int  # row in Outcomes
    sign: int
    level_bps: float
    seconds: Floats
    ticks: Ints


class Outcomes(NamedTuple):
    """One row a session (in order of time) or scored episode, one column a setting of the grid.

    Fields:
        grid: the settings; column j is `grid.setting(j)`.
        session_id, started_ns, day: of each session; `day` counts UTC days since 1970.
        calm_session: complete, without any episode, and long enough to arm the grid's largest lookback.
        calm_ticks: errors in its calm stretches; 0 where the session is not complete.
        tick_s: mean seconds between its errors.
        complete: as in LabelledSession.
        false_trips: calm stretches with a trip.
        exposure_ticks: armed calm ticks up to the trip.
        unarmed_ticks: calm ticks before the window was full; one column a lookback of the grid.
        episodes: the scored ones.
        trip_after: errors from the onset to the trip; negative: early; `len(seconds) - 1`: missed.
        ambiguous: episodes that were listed, not scored.
    """

    grid: Grid
    session_id: Ints
    started_ns: Ints
    day: Ints
    calm_session: Bools
    calm_ticks: Ints
    tick_s: Floats
    complete: Bools
    false_trips: FewCounts
    exposure_ticks: Counts
    unarmed_ticks: Ints
    episodes: tuple[ScoredEpisode, ...]
    trip_after: Counts
    ambiguous: int

    @property
    def episode_session(self) -> Ints:
        """The session row of each scored episode."""
        return np.array([episode.session for episode in self.episodes], dtype=np.int64)


def outcomes(sessions: Iterable[LabelledSession], grid: Grid) -> Outcomes:
    """Run every setting over every stretch. `sessions` is read once, one at a time, and may come in any order."""
    facts: list[tuple[int, int, bool, int, float, bool]] = []
    false_trips: list[FewCounts] = []
    exposure: list[Counts] = []
    unarmed: list[Ints] = []
    episodes: list[ScoredEpisode] = []
    trip_after: list[Counts] = []
    ambiguous = 0
    for session in sessions:
        trips, ticks = _calm(session, grid)
        for episode, after in _scored(session, len(facts), grid):
            episodes.append(episode)
            trip_after.append(after)
        ambiguous += sum(episode.ambiguous for episode in session.episodes)
        facts.append(_facts(session, grid))
        false_trips.append(trips)
        exposure.append(ticks)
        unarmed.append(_unarmed(session, grid))
    ids, started, calm, calm_ticks, tick_s, complete = zip(*facts, strict=True) if facts else ((),) * 6
    in_time = np.lexsort((np.array(ids, dtype=np.int64), np.array(started, dtype=np.int64)))
    row_of = np.argsort(in_time)
    return Outcomes(
        grid=grid,
        session_id=np.array(ids, dtype=np.int64)[in_time],
        started_ns=np.array(started, dtype=np.int64)[in_time],
        day=np.array(started, dtype=np.int64)[in_time] // DAY_NS,
        calm_session=np.array(calm, dtype=np.bool_)[in_time],
        calm_ticks=np.array(calm_ticks, dtype=np.int64)[in_time],
        tick_s=np.array(tick_s, dtype=np.float64)[in_time],
        complete=np.array(complete, dtype=np.bool_)[in_time],
        false_trips=_stacked(false_trips, in_time, grid.size, np.uint16),
        exposure_ticks=_stacked(exposure, in_time, grid.size, np.int32),
        unarmed_ticks=_stacked(unarmed, in_time, len(grid.lookback_ticks), np.int64),
        episodes=tuple(episode._replace(session=int(row_of[episode.session])) for episode in episodes),
        trip_after=_stacked(trip_after, np.arange(len(trip_after)), grid.size, np.int32),
        ambiguous=ambiguous,
    )


def delays(found: Outcomes, episode: int) -> Floats:
    """Seconds from the onset of a scored episode to the trip, one element a setting: 0 if early, the rest of the
    episode if missed.
    """
    after: Counts = np.maximum(found.trip_after[episode], 0)
    return found.episodes[episode].seconds[after]


def _calm(session: LabelledSession, grid: Grid) -> tuple[FewCounts, Counts]:
    trips = np.zeros(grid.shape, dtype=np.int64)
    exposure = np.zeros(grid.shape, dtype=np.int64)
    unarmed = np.array(grid.lookback_ticks, dtype=np.int64).reshape(-1, 1, 1, 1) - 1
    alone = np.zeros(1, dtype=np.int64)
    for begin, end in session.calm if session.complete else ():
        length = end - begin
        first = first_trips(session.error_nano_bps[begin:end], alone, grid)
        tripped = first != NEVER
        trips += tripped
        exposure += np.maximum(np.where(tripped, first + 1, length) - unarmed, 0)
    return np.minimum(trips, _FEW_MAX).astype(np.uint16).ravel(), exposure.astype(np.int32).ravel()


def _scored(session: LabelledSession, row: int, grid: Grid) -> Iterator[tuple[ScoredEpisode, Counts]]:
    reach = max(grid.lookback_ticks) - 1
    for episode in session.episodes:
        if episode.ambiguous:
            continue
        low = max(0, episode.begin - reach)  # all that a window carried in can hold
        inner = session.starts[(session.starts > low) & (session.starts < episode.end)] - low
        starts = np.concatenate((np.zeros(1, dtype=np.int64), inner))
        errors = session.error_nano_bps[low : episode.end]
        first = first_trips(errors, starts, grid, begin=episode.begin - low).ravel()
        missed = episode.end - episode.onset
        after = np.where(first == NEVER, missed, first + (low - episode.onset))
        span = np.minimum(np.arange(episode.onset, episode.end + 1), episode.end - 1)
        yield (
            ScoredEpisode(
                session=row,
                sign=episode.sign,
                level_bps=episode.level_bps,
                seconds=(session.ts_ns[span] - session.ts_ns[episode.onset]) / 1e9,
                ticks=session.tick[span] - session.tick[episode.onset],
            ),
            after.astype(np.int32),
        )


def _unarmed(session: LabelledSession, grid: Grid) -> Ints:
    lengths = np.array([end - begin for begin, end in session.calm if session.complete], dtype=np.int64)
    filling = np.array(grid.lookback_ticks, dtype=np.int64) - 1
    summed: Ints = np.minimum(lengths[:, None], filling).sum(axis=0)
    return summed


def _facts(session: LabelledSession, grid: Grid) -> tuple[int, int, bool, int, float, bool]:
    calm = [end - begin for begin, end in session.calm] if session.complete else []
    errors = len(session.ts_ns)
    lasted_s = float(session.ts_ns[-1] - session.ts_ns[0]) / 1e9 if errors else 0.0
    return (
        session.session_id,
        session.started_ns,
        not session.episodes and max(calm, default=0) >= max(grid.lookback_ticks),
        sum(calm),
        lasted_s / (errors - 1) if errors > 1 else 0.0,
        session.complete,
    )


def _stacked(rows: Sequence[npt.NDArray[Any]], order: Ints, columns: int, dtype: type[np.generic]) -> npt.NDArray[Any]:
    table = np.empty((len(rows), columns), dtype=dtype)
    for at, row in enumerate(order):
        table[at] = rows[row]
    return table
