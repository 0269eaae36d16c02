"""What the `guard` commands say to people: number, unit, comparison, one clause each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from telemetry_proc.answers import waiting_words
from telemetry_proc.grid import Grid, Setting
from telemetry_proc.ladder import Explanation
from telemetry_proc.report_text import rung_line
from telemetry_proc.series_cache import SessionSeries
from telemetry_proc.sessions import RUNNING, Session, pick_latest
from telemetry_proc.whatif import SettingSummary, WhatIf
from telemetry_proc.wording import clock_time, count, duration, pct

SETTINGS_LISTED_MAX = 60
_SO_FAR = 'still running: "never" is only so far'
_HEAD = f"{'lookback':>8}  {'bias bps':>8}  {'prev bps':>8}  {'prev %':>6}"


class Unreadable(NamedTuple):
    """A session with a stored value that makes no sense, and a clause that names both."""

    session: Session
    complaint: str


def replay_lines(found: Sequence[SessionSeries | Unreadable]) -> Iterator[str]:
    """A line a session, its reservations below it, and how many of all agreed."""
    for one in found:
        if isinstance(one, Unreadable):
            yield f"{one.complaint}: UNREADABLE"
            continue
        yield replay_line(one)
        yield from (f"  {note}" for note in one.fidelity.notes)
    if len(found) > 1:
        states = ["unreadable" if isinstance(one, Unreadable) else one.fidelity.state for one in found]
        agreed, wrong, broken = (states.count(state) for state in ("ok", "mismatch", "unreadable"))
        rest = len(found) - agreed - wrong - broken
        unreadable = f", {broken:,} UNREADABLE" if broken else ""
        yield (
            f"{count(len(found), 'session')}: {agreed:,} OK, {wrong:,} MISMATCH{unreadable}, {rest:,} with nothing to "
            "compare"
        )


def complaints(found: Sequence[SessionSeries | Unreadable]) -> Iterator[str]:
    """For the error that ends a command: what is wrong with each of them, if anything is."""
    for one in found:
        if isinstance(one, Unreadable):
            yield one.complaint
        elif one.fidelity.state == "mismatch":
            yield mismatch_line(one)


def replay_line(one: SessionSeries) -> str:
    """What came of comparing a session."""
    fidelity, facts = one.fidelity, one.series.facts
    head = f"session {one.session.session_id}: "
    if fidelity.state == "mismatch":
        return f"{head}MISMATCH: {_disagreement(one)}"
    if fidelity.state == "not recorded":
        return f"{head}not recorded: {why_not_compared(one)}"
    if fidelity.state != "ok":
        return f"{head}{fidelity.state}: {count(facts.ticks - facts.null_ticks, 'error')} on record"
    trip = (
        "no trip on record" if fidelity.recorded_trip_tick is None else f"trip at tick {fidelity.recorded_trip_tick:,}"
    )
    missing = f", {count(facts.missing_ticks)} missing in {count(facts.gaps, 'gap')}" if facts.missing_ticks else ""
    resets = f", window emptied {count(facts.window_resets, 'time')}" if facts.window_resets else ""
    unarmed = f", {count(facts.unarmed_ticks)} unarmed" if facts.unarmed_ticks else ""
    return f"{head}OK: {count(fidelity.checked_ticks, 'tick')} compared, {trip}{missing}{resets}{unarmed}"


def mismatch_line(one: SessionSeries) -> str:
    """For the error that ends a command."""
    return f"session {one.session.session_id}: the guard's replay disagrees with the record at {_disagreement(one)}"


def why_not_compared(one: SessionSeries) -> str:
    """Why nothing can be concluded from a session whose replay is neither right nor wrong."""
    if one.fidelity.state == "not recorded":
        return "an older engine wrote its ticks, without anchor error and guard"
    return "no recorded guard state to compare: guard whatif can ask any thresholds"


def none_recorded(found: Sequence[SessionSeries]) -> str:
    """For the error that ends a command."""
    numbers = f"session{'' if len(found) == 1 else 's'} " + ", ".join(str(one.session.session_id) for one in found[:8])
    more = f" and {len(found) - 8} more" if len(found) > 8 else ""
    return f"no anchor error is on record: not recorded in {numbers}{more}"


def explain_lines(found: SessionSeries, explanation: Explanation) -> Iterator[str]:
    """The ladder, what the guard waited for, and the same ladder for other biases."""
    settings, ladder = found.settings, explanation.ladder
    assert settings is not None  # what was explained had thresholds
    yield replay_line(found)
    yield (
        f"rule: |mean| >= {settings.bias_threshold_bps:g} bps and {settings.prevalence_pct:g}% of "
        f"{settings.lookback_ticks} errors at or above {settings.prevalence_threshold_bps:g} bps"
        f"{'' if settings.enabled else '; disabled'}"
    )
    if found.session.status == RUNNING:
        yield _SO_FAR
    yield ""
    unseen = found.fidelity.may_hide_a_breach or found.series.facts.missing_ticks > 0
    none = "not on what is stored" if unseen else "never"
    yield rung_line(f"(a) |error| >= {settings.bias_threshold_bps:g} bps", ladder.error, none)
    yield rung_line(f"(b) |mean| >= {settings.bias_threshold_bps:g} bps", ladder.mean, none)
    yield rung_line(f"(c) share >= {settings.prevalence_pct:g}%", ladder.prevalence, none)
    yield rung_line("(d) both: trip" if settings.enabled else "(d) both, not a trip", ladder.both, none)
    yield ""
    yield from _waited(explanation)
    yield from _binding(explanation)
    if found.fidelity.may_hide_a_breach:
        what = "A breach" if ladder.both is None else "An earlier breach"
        yield f"{what} may be hidden: {'; '.join(found.fidelity.hiding)}."
    yield ""
    yield "first tick, had the bias threshold been another:"
    yield f"{'bias':>10}{'(a) |error|':>13}{'(b) |mean|':>12}{'(c) share':>12}{'(d) both':>12}"
    for other in explanation.ladders:
        rungs = (other.ladder.error, other.ladder.mean, other.ladder.prevalence, other.ladder.both)
        none = "none stored" if unseen else "never"
        ticks = "".join(f"{none if rung is None else f'{rung.tick:,}':>12}" for rung in rungs)
        yield f"{other.bias_threshold_bps:>6g} bps {ticks}"


def _waited(explanation: Explanation) -> Iterator[str]:
    ladder, onset = explanation.ladder, explanation.onset
    if ladder.both is None:
        return
    last = {"together": "both conditions on the same tick"}.get(
        str(explanation.last_condition), str(explanation.last_condition)
    )
    yield f"Last condition met: {last}."
    yield (
        f"From the first exceedance to the trip: {count(explanation.lag_ticks, 'tick')}, "
        f"{count(explanation.lag_errors, 'error')}, {_by_the_clock(explanation.lag_s)}."
    )
    if onset is not None and ladder.error is not None and onset.tick != ladder.error.tick:
        yield f"The shift that tripped it began at tick {onset.tick:,} ({clock_time(onset.time)})."
    waited = waiting_words(explanation)
    if waited is not None:
        yield waited
    age = explanation.window_age
    if age is not None and age.at_trip_s is not None:
        old = ", more than three times as much" if age.is_old_at_trip else ""
        yield f"Age of the window at the trip: {duration(age.at_trip_s)}, usually {duration(age.usual_s)}{old}."


def _by_the_clock(seconds: float | None) -> str:
    return "by a clock that was not recorded or stepped back" if seconds is None else duration(seconds)


def _binding(explanation: Explanation) -> Iterator[str]:
    held = explanation.binding
    yield (
        f"Of {count(held.full_windows, 'full window')} the mean held in {count(held.mean_windows)}, of which the share "
        f"vetoed {_part(held.vetoed_by_prevalence, held.vetoed_by_prevalence_pct)};"
    )
    yield (
        f"the share held in {count(held.prevalence_windows)}, of which the mean vetoed "
        f"{_part(held.vetoed_by_mean, held.vetoed_by_mean_pct)}."
    )
    if held.mean_windows and not held.vetoed_by_prevalence:
        yield "The prevalence condition never decided, so this session says nothing about its two thresholds."


def _part(number: int, share_pct: float | None) -> str:
    return count(number) if share_pct is None else f"{count(number)} ({pct(share_pct)})"


def whatif_lines(
    found: SessionSeries, unnamed: Setting, answers: Sequence[WhatIf], hiding: Sequence[str]
) -> Iterator[str]:
    """A line a setting; which one was live; what could not be compared, and what may have gone unseen."""
    yield replay_line(found)
    if found.settings is None:
        yield f"thresholds not on record; those not named are the defaults {unnamed.in_words}"
    if found.session.status == RUNNING:
        yield _SO_FAR
    yield ""
    yield f"{_HEAD}  first trip"
    for answer in answers:
        trip = answer.outcome if answer.first_trip_tick is None else f"tick {answer.first_trip_tick:,}"
        mark = "  <- live" if answer.setting == unnamed and found.settings is not None else ""
        yield f"{_columns(answer.setting)}  {trip}{mark}"
    yield ""
    if hiding:
        yield f"A trip may have gone unseen, earlier than told here or where it says never: {'; '.join(hiding)}."
    if any(answer.prevalence_threshold_bps > answer.bias_threshold_bps for answer in answers):
        yield "Computed, but refused by the configuration: a prevalence bps above the bias bps."
    yield "This is what would have happened in one session; which setting is better, one session cannot say."


def sweep_lines(
    found: Sequence[SessionSeries],
    kept: Sequence[SessionSeries],
    hiding: Sequence[int],
    grid: Grid,
    lines: Sequence[SettingSummary],
) -> Iterator[str]:
    """Every setting where they are few; else those that differ from the middle of the grid in one threshold.

    `found` were read; `kept` have errors on record, and in those numbered `hiding` a trip may have gone unseen.
    """
    left = len(found) - len(kept)
    uncompared = sum(one.fidelity.state != "ok" for one in kept)
    running = sum(one.session.status == RUNNING for one in kept)
    yield f"{count(len(kept), 'session')} x {count(grid.size, 'setting')}"
    if left:
        yield f"{count(left, 'session')} not recorded: no anchor error on any tick, which is not the same as calm"
    if uncompared:
        yield f"{count(uncompared, 'session')} with no recorded guard state to compare"
    if hiding:
        yield f'{count(len(hiding), "session")} in which a trip may have gone unseen, so "never" must not be believed'
    if running:
        yield f'{count(running, "session")} still running, so "never" is only so far'
    shown = list(lines)
    centre = _centre(grid, kept)
    if len(shown) > SETTINGS_LISTED_MAX:
        yield f"around {centre.in_words}, one threshold at a time; all of them: --json, or -o FILE.npz"
        shown = [line for line in lines if _steps_away(line.setting, centre) <= 1]
    yield ""
    yield f"{_HEAD}  {'tripped':>8}  {'never':>7}  {'unarmed':>7}  median trip"
    for line in shown:
        median = "-" if line.median_first_trip_tick is None else f"tick {line.median_first_trip_tick:,}"
        mark = "  <-" if line.setting == centre else ""
        yield (
            f"{_columns(line.setting)}  {line.sessions_tripped:>8,}  {line.sessions_never:>7,}  "
            f"{line.sessions_never_armed:>7,}  {median}{mark}"
        )


def _centre(grid: Grid, kept: Iterable[SessionSeries]) -> Setting:
    """The latest session's recorded setting if the grid holds it, the one before its otherwise; else its middle."""
    recorded = {
        one.session: Setting.of(one.settings)
        for one in kept
        if one.settings is not None and grid.index_of(Setting.of(one.settings)) is not None
    }
    if recorded:
        return recorded[pick_latest(list(recorded))]
    return Setting._make(axis[len(axis) // 2] for axis in grid)


def _steps_away(setting: Setting, centre: Setting) -> int:
    return sum(value != middle for value, middle in zip(setting, centre, strict=True))


def _columns(setting: Setting) -> str:
    lookback_ticks, bias_bps, prevalence_bps, prevalence_pct = setting
    return f"{lookback_ticks:>8}  {bias_bps:>8g}  {prevalence_bps:>8g}  {prevalence_pct:>6g}"


def _disagreement(one: SessionSeries) -> str:
    wrong = one.fidelity.disagreement
    assert wrong is not None  # a mismatch names where
    return f"tick {wrong.tick}: {wrong.what} recorded {wrong.recorded}, recomputed {wrong.recomputed}"
