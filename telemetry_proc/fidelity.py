"""Does the guard's own code, run over the stored errors, say what was recorded? Nothing is concluded without it.

The class that trades (`shared/saturation.py`) is fed with the very floats that are stored, and on every tick whose
window can be known its fill, mean and share must be the recorded ones, bit for bit; so must the tick of the trip and
the integers that the breaker wrote down.

What can be known. A window is known from the session's first tick and from a recorded reset on. Where ticks are
missing, nobody knows what the guard saw; once as many errors are stored behind the gap as the lookback asks for, they
are the whole window, and it is known again. Ticks between are not compared, and a trip on record there, or at a tick
that is not stored, cannot be. A guard that is spent does not trip again, so where a gap may have swallowed a trip
together with its event, a later one that only the replay sees proves nothing.

What cannot be seen: a changed error that rounds to the same nano-bps, one beyond the clamp, and one between two gaps
with fewer errors than a window. None of them changes a verdict of the guard that could be known.
Nor can an emptied window be seen where it looks like a full one, as every window of a single error does: longer
lookbacks are then swept across it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np

from shared.saturation import SaturationGuard
from shared.settings import AnchorSaturationGuard
from telemetry_proc.guard_record import GuardTrip
from telemetry_proc.series import Series, series_of, window_begins
from telemetry_proc.tick_columns import NOT_RECORDED, Bools, Floats, TickColumns
from telemetry_proc.unseen import could_hide
from telemetry_proc.wording import count

ROWS_AT_ONCE = 65_536  # as Python objects; a whole session of them would not fit the processor's cache

FidelityState = Literal["ok", "mismatch", "no recorded guard state to compare", "not recorded"]

# What the breaker wrote about the settings, beside the name it has in them.
_CONTEXT_SETTINGS = {
    "lookback_ticks": "lookback_ticks",
    "bias_threshold_bps": "bias_threshold_bps",
    "prevalence_threshold_bps": "prevalence_threshold_bps",
    "prevalence_pct_threshold": "prevalence_pct",
}


class Disagreement(NamedTuple):
    """The first place where the record and the guard's own code say different things."""

    tick: int
    what: str
    recorded: float | int | None
    recomputed: float | int | None


class Fidelity(NamedTuple):
    """What came of comparing.

    `checked_ticks` were compared; `unknown_ticks` could not be, because ticks before them are missing. A trip on
    record is not `trip_comparable` where its own tick is missing or unknown. `replayed_trip_tick` is None where the
    guard was spent before. `may_hide_a_breach`: "it never went too far" must not be said of this session, for the
    reasons in `hiding`. `notes` are sentences for people.
    """

    state: FidelityState
    disagreement: Disagreement | None = None
    checked_ticks: int = 0
    unknown_ticks: int = 0
    recorded_trip_tick: int | None = None
    replayed_trip_tick: int | None = None
    trip_comparable: bool = True
    may_hide_a_breach: bool = False
    hiding: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def replay(
    columns: TickColumns,
    settings: AnchorSaturationGuard | None,
    trips: Sequence[GuardTrip],
    *,
    closed_ticks: int | None = None,
    series: Series | None = None,
) -> Fidelity:
    """Run the live guard over the stored floats and compare every tick whose window can be known.

    `closed_ticks`: how many ticks the session said it had when it closed. `series`: its series, if it is at hand.
    """
    stated = _is_stated(columns)
    trip_tick = trips[0].tick if trips else None
    is_silent = not stated.any() and bool(np.isnan(columns.anchor_error_bps).all())
    if is_silent and (columns.tick.size or settings is None):
        reason = "no anchor error is on record"
        return Fidelity("not recorded", recorded_trip_tick=trip_tick, may_hide_a_breach=True, hiding=(reason,))
    if settings is None:
        reason = "the guard's thresholds are not on record"
        return Fidelity(
            "no recorded guard state to compare",
            recorded_trip_tick=trip_tick,
            may_hide_a_breach=True,
            hiding=(reason,),
            notes=(reason,),
        )
    series = series or series_of(columns, settings, closed_ticks=closed_ticks)
    hiding = could_hide(series, settings.thresholds)
    ran = _Run(columns, stated, settings)
    ran.through_all()
    verdict = _of_trips(ran, trips, closed_ticks)
    wrong = ran.disagreement or verdict.disagreement
    compared = ran.checked_ticks > 0 or (bool(trips) and verdict.comparable)
    return Fidelity(
        state="mismatch" if wrong else "ok" if compared else "no recorded guard state to compare",
        disagreement=wrong,
        checked_ticks=ran.checked_ticks,
        unknown_ticks=ran.unknown_ticks,
        recorded_trip_tick=trip_tick,
        replayed_trip_tick=verdict.replayed_tick,
        trip_comparable=verdict.comparable,
        may_hide_a_breach=bool(hiding),
        hiding=hiding,
        notes=(*verdict.notes, *_notes(ran, series, hiding)),
    )


class _Run:
    """The guard, tick by tick. Afterwards: the first disagreement, and where and with what it tripped."""

    def __init__(self, columns: TickColumns, stated: Bools, settings: AnchorSaturationGuard) -> None:
        self.settings = settings
        self.thresholds = settings.thresholds
        self.begins = window_begins(columns, settings.lookback_ticks)
        self.known: list[tuple[int, int]] = []  # rows [first, last) whose window is known
        self.checked_ticks = self.unknown_ticks = 0
        self.disagreement: Disagreement | None = None
        self.trip: tuple[int, int, int] | None = None  # row, sum in nano-bps, errors at the prevalence threshold
        self.columns = columns
        self.has_state = bool(stated.any())
        self._stated = stated
        self._guard = SaturationGuard(self.thresholds, enabled=settings.enabled)

    def through_all(self) -> None:
        """From the first row to the last."""
        rows = self.columns.tick.size
        error_row = np.flatnonzero(~np.isnan(self.columns.anchor_error_bps))
        ends = [*self.begins.row[1:].tolist(), rows]
        for first, missing, end in zip(self.begins.row.tolist(), self.begins.missing.tolist(), ends, strict=False):
            known_from = first
            if missing:
                filled = int(np.searchsorted(error_row, first)) + self.thresholds.lookback_ticks - 1
                known_from = min(int(error_row[filled]), end) if filled < error_row.size else end
            spent = self._guard.tripped
            self._guard = SaturationGuard(self.thresholds, enabled=self.settings.enabled)
            self._guard.tripped = spent
            for error in _optional(self.columns.anchor_error_bps[first:known_from]):
                self._guard.observe(error)
            for chunk in range(known_from, end, ROWS_AT_ONCE):
                self._compare(chunk, min(chunk + ROWS_AT_ONCE, end))
            self.known.append((known_from, end))
            self.unknown_ticks += known_from - first
            self.checked_ticks += int(self._stated[known_from:end].sum())

    def knows(self, tick: int) -> bool:
        """Is the tick stored, and its window known?"""
        row = int(np.searchsorted(self.columns.tick, tick))
        stored = row < self.columns.tick.size and self.columns.tick[row] == tick
        return bool(stored) and any(first <= row < end for first, end in self.known)

    def all_known_before(self, row: int) -> bool:
        """Is there no gap before this row?"""
        return not self.begins.missing[self.begins.row <= row].any()

    def _compare(self, first: int, end: int) -> None:
        columns, guard = self.columns, self._guard
        observe = guard.observe
        agreed = self.disagreement is None
        for row, error, stated, n, mean_bps, prevalence_pct in zip(
            range(first, end),
            _optional(columns.anchor_error_bps[first:end]),
            self._stated[first:end].tolist(),
            columns.guard_window_n[first:end].tolist(),
            _optional(columns.guard_mean_bps[first:end]),
            _optional(columns.guard_prevalence_pct[first:end]),
            strict=True,
        ):
            if observe(error):
                self.trip = row, guard.sum_nano_bps, guard.prevalent_n
            if (
                stated
                and (guard.mean_bps != mean_bps or guard.prevalence_pct != prevalence_pct or guard.window_n != n)
                and agreed
            ):
                agreed = False
                self.disagreement = _name_it(int(columns.tick[row]), guard, n, mean_bps, prevalence_pct)


class _TripVerdict(NamedTuple):
    """`replayed_tick`: of the trip that the replay saw, None where the guard was spent before."""

    replayed_tick: int | None = None
    disagreement: Disagreement | None = None
    comparable: bool = True
    notes: tuple[str, ...] = ()


def _of_trips(ran: _Run, trips: Sequence[GuardTrip], closed_ticks: int | None) -> _TripVerdict:
    replayed = None if ran.trip is None else int(ran.columns.tick[ran.trip[0]])
    if not trips:
        return _none_on_record(ran, replayed)
    if len(trips) > 1:
        tick = trips[1].tick or trips[0].tick or replayed or 0
        return _TripVerdict(replayed, Disagreement(tick, "trips on record", len(trips), int(replayed is not None)))
    if trips[0].tick is None:
        return _without_its_tick(ran, replayed)
    return _at_its_tick(ran, trips[0], trips[0].tick, replayed, closed_ticks)


def _none_on_record(ran: _Run, replayed: int | None) -> _TripVerdict:
    if ran.trip is None or replayed is None or not ran.has_state:
        return _TripVerdict(replayed)
    if ran.all_known_before(ran.trip[0]):
        return _TripVerdict(replayed, Disagreement(replayed, "trip tick", None, replayed))
    note = f"no trip is on record; before the one at tick {replayed:,} another may lie among the missing ticks"
    return _TripVerdict(replayed, comparable=False, notes=(note,))


def _without_its_tick(ran: _Run, replayed: int | None) -> _TripVerdict:
    if replayed is None and ran.has_state and ran.all_known_before(ran.columns.tick.size):
        return _TripVerdict(None, Disagreement(0, "trips on record", 1, 0))
    return _TripVerdict(replayed, comparable=False, notes=("the trip on record does not say its tick",))


def _at_its_tick(ran: _Run, trip: GuardTrip, tick: int, replayed: int | None, closed_ticks: int | None) -> _TripVerdict:
    if replayed == tick:
        return _TripVerdict(replayed, _of_context(ran, trip, tick))
    tripped_before = replayed is not None and replayed < tick
    is_beyond_the_end = closed_ticks is not None and tick > closed_ticks
    if ran.knows(tick) or tripped_before or is_beyond_the_end:
        first = tick if replayed is None else min(tick, replayed)
        return _TripVerdict(replayed, Disagreement(first, "trip tick", tick, replayed))
    last = int(ran.columns.tick[-1]) if ran.columns.tick.size else 0
    where = "is not stored" if tick > last else "lies among missing ticks or shortly after them"
    return _TripVerdict(comparable=False, notes=(f"the trip on record at tick {tick:,} {where}",))


def _of_context(ran: _Run, trip: GuardTrip, tick: int) -> Disagreement | None:
    """What the breaker wrote, where it wrote it, against what the replay held on the tick of the trip."""
    assert ran.trip is not None
    _, sum_nano_bps, prevalent_n = ran.trip
    held = {name: getattr(ran.settings, field) for name, field in _CONTEXT_SETTINGS.items()}
    held |= {"sum_error_nano_bps": sum_nano_bps, "prevalent_n": prevalent_n}
    for name, recomputed in held.items():
        if name in trip.context and trip.context[name] != recomputed:
            said = trip.context[name]
            is_number = isinstance(said, int | float) and math.isfinite(said)
            return Disagreement(tick, name, said if is_number else None, recomputed)
    return None


def _notes(ran: _Run, series: Series, hiding: tuple[str, ...]) -> Iterator[str]:
    facts = series.facts
    if facts.missing_ticks:
        harmless = "" if hiding else ", too few beside their neighbours to hide a breach"
        yield f"{count(facts.missing_ticks, 'tick')} missing{harmless}"
    if ran.unknown_ticks:
        yield f"{count(ran.unknown_ticks, 'tick')} not compared: ticks before them are missing"
    silent = facts.ticks - ran.unknown_ticks - ran.checked_ticks
    if ran.has_state and silent:
        yield f"{count(silent, 'tick')} not compared: of the window nothing is on record there"
    if facts.window_resets:
        yield f"the window was emptied {count(facts.window_resets, 'time')} on the way"


def _name_it(
    tick: int, guard: SaturationGuard, n: int, mean_bps: float | None, prevalence_pct: float | None
) -> Disagreement:
    if n != guard.window_n:
        return Disagreement(tick, "guard_window_n", None if n == NOT_RECORDED else n, guard.window_n)
    if mean_bps != guard.mean_bps:
        return Disagreement(tick, "guard_mean_bps", mean_bps, guard.mean_bps)
    return Disagreement(tick, "guard_prevalence_pct", prevalence_pct, guard.prevalence_pct)


def _is_stated(columns: TickColumns) -> Bools:
    """Rows that say anything of the guard's window."""
    said: Bools = columns.guard_window_n != NOT_RECORDED
    return said | ~np.isnan(columns.guard_mean_bps) | ~np.isnan(columns.guard_prevalence_pct)


def _optional(column: Floats) -> list[float | None]:
    values: list[float | None] = column.tolist()
    for at in np.flatnonzero(np.isnan(column)).tolist():
        values[at] = None
    return values
