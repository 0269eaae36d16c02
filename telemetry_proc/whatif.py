"""What other thresholds would have done with the very same errors: for one session, and for many at once.

Every answer is the tick on which the live guard, set so, would first have tripped; `staircase.first_trips` gives it
for all combinations in one pass over the errors and equals the guard tick by tick. "Never" and "never armed" are two
answers: a window that was never full could not have tripped.

A session ends the exposure of a guard, not its errors: after a recorded trip the errors went on being recorded, so
looser settings can be judged by them as well. What they would have *traded* cannot: see `counterfactual.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import IO, Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from shared.errors import UsageError
from shared.saturation import Thresholds
from telemetry_proc.grid import Grid, Setting
from telemetry_proc.series import Series
from telemetry_proc.staircase import NEVER, first_trips
from telemetry_proc.tick_columns import Ints
from telemetry_proc.unseen import could_hide

ANSWERS_MAX = 100_000_000  # sessions x combinations; kept at once, 8 bytes each
COLUMNS_SORTED_AT_ONCE = 4_096

NEVER_TRIPPED = 0  # ticks are numbered from 1
NEVER_ARMED = -1

Outcome = Literal["tripped", "never", "never armed"]


class WhatIf(NamedTuple):
    """One setting and the tick of the first trip under it, None for never. `outcome` tells why it is None."""

    lookback_ticks: int
    bias_threshold_bps: float
    prevalence_threshold_bps: float
    prevalence_pct: float
    first_trip_tick: int | None
    outcome: Outcome

    @property
    def setting(self) -> Setting:
        """The four thresholds alone."""
        return Setting(*self[:4])


class SettingSummary(NamedTuple):
    """One setting over several sessions. The median is of the first trip ticks of those that tripped."""

    lookback_ticks: int
    bias_threshold_bps: float
    prevalence_threshold_bps: float
    prevalence_pct: float
    sessions_tripped: int
    sessions_never: int
    sessions_never_armed: int
    median_first_trip_tick: int | None

    @property
    def setting(self) -> Setting:
        """The four thresholds alone."""
        return Setting(*self[:4])


def trip_ticks(series: Series, grid: Grid) -> Ints:
    """The first trip tick under every combination of the grid, flat; `NEVER_TRIPPED` or `NEVER_ARMED` without one."""
    first = first_trips(series.error_nano_bps, series.starts, grid).reshape(-1)
    tripped = first != NEVER
    ticks = np.full(grid.size, NEVER_TRIPPED, dtype=np.int64)
    ticks[tripped] = series.tick[first[tripped]]
    lookbacks = np.repeat(np.array(grid.lookback_ticks), grid.size // len(grid.lookback_ticks))
    ticks[lookbacks > _longest_run(series)] = NEVER_ARMED
    return ticks


def what_if(series: Series, grid: Grid) -> tuple[WhatIf, ...]:
    """Every combination of the grid, in its order."""
    answers = zip(settings_of(grid), trip_ticks(series, grid).tolist(), strict=True)
    return tuple(WhatIf(*setting, tick if tick > 0 else None, _outcome(tick)) for setting, tick in answers)


def hiding(series: Series, grid: Grid) -> tuple[str, ...]:
    """Why a trip under settings of the grid may have gone unseen, as `unseen.could_hide` says it; empty: none can have.

    Each lookback is asked with the weakest prevalence condition of the grid, and the one with most to say answers: a
    reason may hold for that condition alone. A lookback that never armed is not asked; its answer says so itself.
    """
    if len(series.starts) < 2 and not series.missing_before.any() and not series.missing_after:
        return ()
    longest = _longest_run(series)
    weakest = {
        "bias_threshold_bps": grid.bias_threshold_bps[0],
        "prevalence_threshold_bps": grid.prevalence_threshold_bps[0],
        "prevalence_pct": grid.prevalence_pct[0],
    }
    asked = (Thresholds.of(lookback_ticks=value, **weakest) for value in grid.lookback_ticks if value <= longest)
    return max((could_hide(series, thresholds) for thresholds in asked), key=len, default=())


def check_size(sessions: int, grid: Grid) -> None:
    """Raises `UsageError` where all answers together would not fit into memory."""
    if sessions * grid.size > ANSWERS_MAX:
        raise UsageError(
            f"{sessions:,} sessions x {grid.size:,} combinations are more than {ANSWERS_MAX:,}: name fewer of either"
        )


def settings_of(grid: Grid) -> Iterator[Setting]:
    """The combinations in the order of every flat result."""
    return map(Setting._make, product(*grid))


def summaries(grid: Grid, first_trip_ticks: npt.NDArray[Any]) -> Iterator[SettingSummary]:
    """One line a setting from the matrix of sessions x combinations that `trip_ticks` gave, session by session."""
    settings = settings_of(grid)
    for first in range(0, grid.size, COLUMNS_SORTED_AT_ONCE):
        ordered = np.sort(first_trip_ticks[:, first : first + COLUMNS_SORTED_AT_ONCE], axis=0)  # the trips come last
        tripped, unarmed = (ordered > 0).sum(axis=0), (ordered == NEVER_ARMED).sum(axis=0)
        sessions, columns = ordered.shape
        # Nearest rank, as every quantile of Kedge: the median is a trip that happened.
        rank = np.minimum(sessions - tripped + (tripped + 1) // 2 - 1, sessions - 1)
        medians = ordered[rank, np.arange(columns)]
        for trips, never_armed, median in zip(tripped.tolist(), unarmed.tolist(), medians.tolist(), strict=True):
            yield SettingSummary(
                *next(settings), trips, sessions - trips - never_armed, never_armed, median if trips else None
            )


def save_sweep(out: IO[bytes], grid: Grid, session_ids: Sequence[int], first_trip_ticks: npt.NDArray[Any]) -> None:
    """As numpy's .npz: the four axes of the grid, `session_id`, and `first_trip_tick` of shape (sessions, *grid.shape)
    with 0 for never and -1 for never armed.
    """
    axes: dict[str, Any] = {name: np.array(axis) for name, axis in grid._asdict().items()}
    ticks = first_trip_ticks.reshape(len(session_ids), *grid.shape)
    np.savez_compressed(out, session_id=np.array(session_ids, np.int64), first_trip_tick=ticks, **axes)


def _longest_run(series: Series) -> int:
    """Errors in the longest stretch that a window may lie in."""
    if not len(series.starts):
        return 0
    return int(np.diff(np.append(series.starts, len(series.tick))).max())


def _outcome(tick: int) -> Outcome:
    if tick > 0:
        return "tripped"
    return "never" if tick == NEVER_TRIPPED else "never armed"
