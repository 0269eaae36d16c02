"""Which stretches of a session were truly saturated: the label that a guard is judged by.

The label must not be the guard's own statistic, or every guard would be right by definition. So it looks *ahead*, over
a horizon four times the usual window, at whether the error stayed beyond the level at which quoting loses money:

    saturated(t)  iff  more than half of the errors of [t, t + horizon) lie at or beyond +beta (or: -beta)

Saying "more than half" is saying that the forward median lies at or beyond beta - for an even horizon the lower of the
two middle values, so that no tick is saturated in both directions - and costs two prefix sums instead of a sliding
median. Looking ahead is right for a label and would be wrong in a guard.

Indexes are into the arrays of a `Series`: errors that were recorded, in tick order. Nothing spans a start, where the
guard's window began anew. Where less than a horizon is left before such a border the horizon is what is left, down to
half of it: so a saturation is saturated for as many ticks as it lasts (one less for an even horizon, which wants one
more than half), whether it ends or the record does.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from shared.saturation import NANO_PER_BPS, to_nano_bps
from telemetry_proc.tick_columns import Bools, Floats, Ints


class LabelSpec(NamedTuple):
    """What counts as truly saturated; fixed before any sweep is looked at, its digest printed with every result.

    Fields:
        beta_bps: |error| from which a fill loses money on average: economic, never tuned.
        beta_source: `measured` from markouts, `given` by the operator, or `assumed` while there are too few fills.
        horizon_ticks: how far ahead the median looks; saturated stretches of one sign closer than this are one.
        persist_ticks: for how many ticks it must be saturated; fewer is a spike or a wobble.
        band_low, band_high: an episode whose level is within these multiples of beta is ambiguous: listed, not scored.
        version: of this module's rules.
    """

    beta_bps: float = 6.0
    beta_source: Literal["assumed", "measured", "given"] = "assumed"
    horizon_ticks: int = 100
    persist_ticks: int = 100
    band_low: float = 0.8
    band_high: float = 1.2
    version: int = 1

    @property
    def digest(self) -> str:
        """The first 12 hex digits of the sha256 over all fields: two reports with the same one used the same label."""
        return hashlib.sha256(json.dumps(self._asdict(), sort_keys=True).encode()).hexdigest()[:12]


class Episode(NamedTuple):
    """A stretch [begin, end) that was truly saturated, and not calm in any case.

    Fields:
        begin: where looking ahead first says so, or the onset if that is earlier. A trip before the onset is early,
            neither false nor late.
        end: just behind its last error: the change point back.
        onset: the change point at which the error moved; delays count from here.
        sign: +1 or -1, the side the anchor was dragged to.
        level_bps: median of sign * error from onset to end.
        ambiguous: near beta, or cut by a border of the record before it had persisted: listed, not scored.
    """

    begin: int
    end: int
    onset: int
    sign: int
    level_bps: float
    ambiguous: bool


class _Run(NamedTuple):
    """Saturated ticks [first, last) of one sign; `cut` where a border came before they had persisted."""

    first: int
    last: int
    sign: int
    cut: bool


def episodes(error_nano_bps: Ints, starts: Ints, spec: LabelSpec) -> tuple[Episode, ...]:
    """All episodes in order, none overlapping another, none across a start.

    Found at beta first; then, in what is left, at the low edge of the band: an error that stays just below beta is
    neither an episode to be caught nor calm in which a trip is false. A saturation that touches a start or the end of
    the record before it has persisted is ambiguous too: nobody knows how long it lasted.
    """
    assert spec.beta_bps > 0
    assert spec.horizon_ticks > 1
    found: list[Episode] = []
    for low, high in _stretches(len(error_nano_bps), starts):
        errors = error_nano_bps[low:high]
        found.extend(_episode(errors, run, spec, low) for run in _runs(errors, spec.beta_bps, spec))
    near: list[Episode] = []
    for low, high in _between(len(error_nano_bps), starts, found):
        errors = error_nano_bps[low:high]
        runs = _runs(errors, spec.band_low * spec.beta_bps, spec)
        near.extend(_episode(errors, run._replace(cut=True), spec, low) for run in runs if not run.cut)
    return _apart(sorted(found + near), error_nano_bps, spec)


def calm_stretches(n: int, starts: Ints, found: Sequence[Episode], spec: LabelSpec) -> tuple[tuple[int, int], ...]:
    """What of n errors is calm, as [begin, end): in no episode, and at least half a horizon before every border.

    Nearer to a border the label is blind: a saturation that only began there looks like calm, and a guard that trips on
    it just before its session is stopped would be called wrong for being right. A guard judged on one must begin with
    an empty window: what an episode left in it says nothing about calm.
    """
    blind = _half(spec)
    borders = np.array([high for _, high in _stretches(n, starts)])
    calm = []
    for begin, end in _between(n, starts, found):
        border = int(borders[np.searchsorted(borders, end)])
        calm.append((begin, min(end, border - blind)))
    return tuple((begin, end) for begin, end in calm if begin < end)


def _between(n: int, starts: Ints, found: Sequence[Episode]) -> tuple[tuple[int, int], ...]:
    """What of n errors lies in no episode, as [begin, end), cut at the starts too."""
    calm: list[tuple[int, int]] = []
    coming = iter(found)
    episode = next(coming, None)
    for low, high in _stretches(n, starts):
        at = low
        while episode is not None and episode.begin < high:
            calm.append((at, episode.begin))
            at = max(at, episode.end)
            episode = next(coming, None)
        calm.append((at, high))
    return tuple((begin, end) for begin, end in calm if begin < end)


def _half(spec: LabelSpec) -> int:
    """The least that the label looks ahead before a border."""
    return -(-spec.horizon_ticks // 2)


def _stretches(n: int, starts: Ints) -> Iterator[tuple[int, int]]:
    borders = [0, *starts.tolist(), n]
    return ((low, high) for low, high in pairwise(borders) if low < high)


def _runs(errors: Ints, level_bps: float, spec: LabelSpec) -> list[_Run]:
    """Runs of one stretch that persist, or may have; joined where less than a horizon of one sign is between."""
    level, half = to_nano_bps(level_bps), _half(spec)
    if 2 * np.count_nonzero(np.abs(errors) >= level) <= half:
        return []  # most stretches are calm
    state = _majority(errors >= level, spec.horizon_ticks, half) - _majority(errors <= -level, spec.horizon_ticks, half)
    edges = np.flatnonzero(np.diff(state, prepend=0, append=0))
    runs: list[_Run] = []
    for first, last in pairwise(edges.tolist()):
        cut = last - first < spec.persist_ticks
        if state[first] == 0 or (cut and first > 0 and last < len(state)):
            continue
        # The last half horizon cannot be judged: it goes with what it ends.
        run = _Run(first, last if last < len(state) else len(errors), int(state[first]), cut)
        if runs and runs[-1].sign == run.sign and run.first - runs[-1].last < spec.horizon_ticks:
            run = _Run(runs[-1].first, run.last, run.sign, runs[-1].cut and run.cut)
            runs.pop()
        runs.append(run)
    return runs


def _majority(beyond: Bools, horizon: int, half: int) -> npt.NDArray[np.int8]:
    """1 where `beyond` holds for more than half of the next `horizon`; of fewer, down to `half`, at the end."""
    n = len(beyond)
    counted = np.concatenate(([0], np.cumsum(beyond)))
    whole = 2 * (counted[horizon:] - counted[:-horizon]) > horizon if n >= horizon else np.empty(0, np.bool_)
    cut = np.arange(len(whole), n - half + 1)
    return np.concatenate((whole, 2 * (counted[n] - counted[cut]) > n - cut)).astype(np.int8)


def _episode(errors: Ints, run: _Run, spec: LabelSpec, offset: int) -> Episode:
    """The run's episode: change points instead of the edges of a median that looks ahead.

    The change point is that of Page's CUSUM (1954): where the sum of (error - half the level) is least for the
    onset, most for the end. Unlike the centred sum it does not depend on how much of either side is looked at. The
    onset is looked for in [first - horizon/2, first + horizon], the end in the mirror image of that.
    """
    horizon, half = spec.horizon_ticks, spec.horizon_ticks // 2
    signed = run.sign * errors
    level = float(np.median(signed[min(run.first + half, run.last - 1) : run.last + half]))
    low = max(0, run.first - half)
    onset = low + int(
        np.argmin(_drift(signed[low : min(run.first + horizon, run.last + half, len(errors)) - 1], level))
    )
    low = max(onset + 1, run.last - 1)
    end = low + int(np.argmax(_drift(signed[low : run.last + horizon + half - 1], level)))
    level = float(np.median(signed[onset:end]))
    ambiguous = run.cut or level <= to_nano_bps(spec.band_high * spec.beta_bps)
    begin = min(run.first, onset)
    return Episode(offset + begin, offset + end, offset + onset, run.sign, level / NANO_PER_BPS, ambiguous)


def _drift(signed: Ints, level: float) -> Floats:
    """The running sum of what lies above half the level, before each error and after the last.

    An error counts for no more than 0 or the level: a glitch of a million bps is not a change point.
    """
    return np.concatenate(([0.0], np.cumsum(np.clip(signed, 0.0, level) - level / 2)))


def _apart(found: Sequence[Episode], errors: Ints, spec: LabelSpec) -> tuple[Episode, ...]:
    """The same, where one goes over into the next with a clean cut at the onset of the next."""
    cut: list[Episode] = []
    for episode in found:
        if cut and episode.begin < cut[-1].end:
            border = max(cut[-1].onset + 1, min(cut[-1].end, episode.onset))
            if border >= episode.end:
                continue
            cut[-1] = _within(cut[-1]._replace(end=border), errors, spec)
            episode = _within(episode._replace(begin=border, onset=max(border, episode.onset)), errors, spec)  # noqa: PLW2901
        cut.append(episode)
    return tuple(cut)


def _within(episode: Episode, errors: Ints, spec: LabelSpec) -> Episode:
    """With the level of what a cut has left of it; what was ambiguous stays so."""
    level = float(np.median(episode.sign * errors[episode.onset : episode.end]))
    near_beta = level <= to_nano_bps(spec.band_high * spec.beta_bps)
    return episode._replace(level_bps=level / NANO_PER_BPS, ambiguous=episode.ambiguous or near_beta)
