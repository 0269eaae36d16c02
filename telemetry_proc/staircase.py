"""First trips of thousands of settings in one pass over a session's errors, exactly as the live guard would trip.

The guard of `shared/saturation.py` has two conditions, |sum E| >= B*L and count(|E| >= P) >= need. For one lookback L
and one prevalence threshold P, a window is therefore a cell (k, j): it reaches the k lowest bias thresholds and the j
lowest needs. It trips setting (b, q) iff k > b and j > q, so the first trip of a setting is the earliest window among
all cells above it, and all there is to find in the errors is the first window of each cell.

    best[j]      the highest k of any window so far that reaches j needs: a staircase, falling as j grows
    news         a window with k > best[j]; any other is dominated by an earlier one and changes no answer

There are few cells and a cell becomes news once, so nearly all windows are settled by a comparison, most of them a
block at a time: a block whose highest k and highest j together are no news holds no window that is.

    chunk        errors are taken 32,768 at a time with one prefix sum; memory does not grow with the session
    block        128 windows; the highest |sum| of a block is looked up in the thresholds, not each window's
    counts       only if a block of the chunk is hot, and for P upwards until no window can reach the lowest need
    the end      when every setting has tripped, the rest of the errors is not read

Everything is int64. A running prefix may wrap; differences of it stay exact as long as one window's sum fits, which
|E| <= 1e15 and L <= 9,000 see to. So do counts in int16.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from shared.saturation import need_count, to_nano_bps
from telemetry_proc.grid import Grid
from telemetry_proc.tick_columns import Ints

Counts = npt.NDArray[np.int16]

NEVER = int(np.iinfo(np.int64).max)
LOOKBACK_MAX = 9_000
CHUNK_ERRORS = 32_768
BLOCK_ERRORS = 128
SLAB_BLOCKS = 16  # hot blocks looked into at once: their counts stay in the cache, and each slab knows the last one's


def first_trips(error_nano_bps: Ints, starts: Ints, grid: Grid, *, begin: int = 0) -> Ints:
    """Where each setting trips first: int64 of `grid.shape`, indexes into the errors, `NEVER` where it does not.

    `error_nano_bps` are a session's errors that are not NULL, each within +-1e15. A window begins empty at each of
    `starts` (ascending indexes; the first error is one whether named or not) and never spans one. With `begin`, the
    window before that index is carried in and verdicts before it are ignored: the first trip at or after an onset.
    """
    plan = _plan(grid)
    cells = np.full((len(plan.lookbacks), len(plan.prevalences), *plan.cells), NEVER, dtype=np.int64)
    climbs = [_Climb(plan, at, cells[at]) for at in range(len(plan.lookbacks))]
    for chunk in _chunks(error_nano_bps, starts, plan, begin):
        for climb in climbs:
            climb.take(chunk)
        climbs = [climb for climb in climbs if not climb.finished]
        if not climbs:
            break
    # A cell's first window also trips every setting below it: the minimum over all higher cells, axis by axis.
    for axis in (2, 3):
        backwards = np.flip(cells, axis)
        np.minimum.accumulate(backwards, axis, out=backwards)
    return np.ascontiguousarray(cells[:, :, 1:, 1:].transpose(0, 2, 1, 3))


class _Plan(NamedTuple):
    """A grid in the integers that are compared."""

    lookbacks: tuple[int, ...]
    sums: tuple[Ints, ...]  # for each lookback, B*L for every bias threshold
    prevalences: Ints
    levels: tuple[Counts, ...]  # for each lookback, levels[count] = how many needs that count reaches
    need_min: int  # the lowest need of any lookback
    cells: tuple[int, int]  # (k, j) run from 0, which is below every threshold, to all of them


@lru_cache(maxsize=4)
def _plan(grid: Grid) -> _Plan:
    assert all(list(axis) == sorted(axis) for axis in grid), "an axis that does not ascend"
    assert grid.lookback_ticks[-1] <= LOOKBACK_MAX, "a window whose sum may not fit"
    biases = np.array([to_nano_bps(bias) for bias in grid.bias_threshold_bps], dtype=np.int64)
    needs = [[need_count(lookback, pct) for pct in grid.prevalence_pct] for lookback in grid.lookback_ticks]
    return _Plan(
        grid.lookback_ticks,
        tuple(biases * lookback for lookback in grid.lookback_ticks),
        np.array([to_nano_bps(prevalence) for prevalence in grid.prevalence_threshold_bps], dtype=np.int64),
        tuple(
            np.searchsorted(need, np.arange(lookback + 1), side="right").astype(np.int16)
            for lookback, need in zip(grid.lookback_ticks, needs, strict=True)
        ),
        min(map(min, needs)),
        (len(grid.bias_threshold_bps) + 1, len(grid.prevalence_pct) + 1),
    )


def _chunks(errors: Ints, starts: Ints, plan: _Plan, begin: int) -> Iterator[_Chunk]:
    history = max(plan.lookbacks) - 1
    for first in range(begin, len(errors), CHUNK_ERRORS):
        end = min(first + CHUNK_ERRORS, len(errors))
        low, high = np.searchsorted(starts, (first - history, end))
        seams = {0, *map(int, starts[low:high])} if first < history else starts[low:high].tolist()
        yield _Chunk(errors, sorted(seam - first for seam in seams), plan, first, end)


class _Chunk:
    """The windows that end at `first` and after, before `end`, padded to whole blocks.

    `seams` are the starts that a window of the chunk could span, counted from `first`.
    """

    def __init__(self, errors: Ints, seams: list[int], plan: _Plan, first: int, end: int) -> None:
        self.first = first
        self._seams = seams
        self._plan = plan
        self._history = max(plan.lookbacks) - 1
        self._windows = end - first
        self._blocks = -(-self._windows // BLOCK_ERRORS)
        known = min(self._history, first)
        self._errors = np.zeros(self._history + self._blocks * BLOCK_ERRORS, dtype=np.int64)
        self._errors[self._history - known : self._history + self._windows] = errors[first - known : end]
        self._sums = np.zeros(len(self._errors) + 1, dtype=np.int64)
        np.cumsum(self._errors, out=self._sums[1:])
        self._counts: Counts | None = None

    def window_sums(self, lookback: int) -> Ints:
        """|sum| of every window, -1 where there is no full one; shape (block, window)."""
        last, before = self._window_ends(lookback)
        sums: Ints = np.abs(self._sums[last] - self._sums[before])
        for seam in self._seams:
            sums[max(seam, 0) : max(seam + lookback - 1, 0)] = -1
        sums[self._windows :] = -1
        return sums.reshape(self._blocks, BLOCK_ERRORS)

    def window_counts(self, lookback: int, blocks: npt.NDArray[np.intp]) -> Counts:
        """How many errors of the windows of some blocks reach each prevalence threshold that can matter in this chunk.

        Shape (prevalence threshold, block, window). The thresholds left out come last, and reach no need.
        """
        if self._counts is None:
            self._counts = self._count()
        last, before = self._window_ends(lookback)
        shape = (len(self._counts), self._blocks, BLOCK_ERRORS)
        counts: Counts = self._counts[:, last].reshape(shape)[:, blocks]
        counts -= self._counts[:, before].reshape(shape)[:, blocks]
        return counts

    def _window_ends(self, lookback: int) -> tuple[slice, slice]:
        """Where in a running prefix the windows' last errors are, and where the ones before their first."""
        first = self._history + 1
        windows = self._blocks * BLOCK_ERRORS
        return slice(first, first + windows), slice(first - lookback, first - lookback + windows)

    def _count(self) -> Counts:
        """Running counts, one row a prevalence threshold, upwards until no window can reach even the lowest need."""
        sizes = np.abs(self._errors)
        rows: list[Counts] = []
        for prevalence in self._plan.prevalences:
            reaches = sizes >= prevalence
            if np.count_nonzero(reaches) < self._plan.need_min:
                break
            row = np.zeros(len(reaches) + 1, dtype=np.int16)
            np.cumsum(reaches, dtype=np.int16, out=row[1:])
            rows.append(row)
        return np.stack(rows) if rows else np.empty((0, len(sizes) + 1), dtype=np.int16)


class _Climb:
    """One lookback's staircases, a row each prevalence threshold, and the first window of each of their cells."""

    def __init__(self, plan: _Plan, at: int, cells: Ints) -> None:
        self._lookback = plan.lookbacks[at]
        self._sums = plan.sums[at]
        self._levels = plan.levels[at]
        self._cells = cells  # (prevalence, k, j)
        self._best = np.zeros((len(plan.prevalences), plan.cells[1]), dtype=np.int16)
        self._best[:, 0] = len(self._sums)  # a window that reaches no need trips nothing: never news
        self._floor = 0  # the lowest step of all staircases: only a window with a higher k can be news

    @property
    def finished(self) -> bool:
        """Has every setting of this lookback tripped?"""
        return self._floor == len(self._sums)

    def take(self, chunk: _Chunk) -> None:
        """Find the windows of this chunk that are news, in order, and put them on record."""
        sums = chunk.window_sums(self._lookback)
        highest = sums.max(axis=1)
        hot = np.flatnonzero(highest >= self._sums[self._floor])
        for at in range(0, len(hot), SLAB_BLOCKS):
            blocks = hot[at : at + SLAB_BLOCKS]
            counts = chunk.window_counts(self._lookback, blocks)
            rows = np.arange(len(counts))[:, None]
            level = self._levels[counts.max(axis=2, initial=0)]
            row, block = np.nonzero(self._reached(highest[blocks]) > self._best[rows, level])
            if len(row):
                news, copy = np.unique(block, return_inverse=True)
                reached = self._reached(sums[blocks[news]])[copy]
                self._record(row, reached, counts[row, block], chunk.first + blocks[block] * BLOCK_ERRORS)
                if self.finished:
                    return

    def _reached(self, sums: Ints) -> Counts:
        """How many bias thresholds each |sum| reaches."""
        return np.searchsorted(self._sums, sums, side="right").astype(np.int16)

    def _record(self, row: npt.NDArray[np.intp], reached: Counts, counts: Counts, first: Ints) -> None:
        """Of blocks that may hold news: the rows of their staircases, their windows, and where each block begins."""
        level = self._levels[counts]
        block, window = np.divmod(np.flatnonzero(reached > self._best[row[:, None], level]), BLOCK_ERRORS)
        row, reached, level = row[block], reached[block, window], level[block, window]
        cell = np.ravel_multi_index((row, reached, level), self._cells.shape)
        np.minimum.at(self._cells.reshape(-1), cell, first[block] + window)
        np.maximum.at(self._best.reshape(-1), np.ravel_multi_index((row, level), self._best.shape), reached)
        falling = np.flip(self._best, axis=1)
        np.maximum.accumulate(falling, axis=1, out=falling)
        self._floor = int(self._best[:, -1].min())
