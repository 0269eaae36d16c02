"""Page one for people: a report as some fifty lines of text, rendered from `report.Report` alone.

Wording: number, unit, comparison, uncertainty, one clause each. "Never tripped", "not armed", "not recorded", "no data"
and "cannot be said" say five different things. Nothing is recommended from one session.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from telemetry_proc.answers import Answers, neighbours
from telemetry_proc.error_text import error_lines, label_lines
from telemetry_proc.guard_record import GUARD
from telemetry_proc.guard_state import Guard
from telemetry_proc.ladder import Explanation, Rung
from telemetry_proc.report import Report
from telemetry_proc.sessions import RUNNING
from telemetry_proc.trade_text import money_lines, order_lines
from telemetry_proc.wording import bps, clock_time, count, duration, in_one_line, pct, to_the_second

PAGE_COLUMNS = 100
_LABEL_WIDTH = 9
_MODE_LINES_MAX = 4
_TRIP_LINES_MAX = 3
_TAIL_MAX = 10
_NEVER = re.compile("never(?! armed)")
_LARGEST_SHOWN = 1e15
_NOTHING_TO_COMPARE = "no recorded guard state to compare"


def report_lines(report: Report) -> list[str]:
    """The page, top to bottom. What was recorded as text may be anything, so every line end in it is spelled out."""
    sections = (
        ("", _head(report)),
        ("ANSWERS", _answers(report.answers)),
        ("GUARD", _guard(report)),
        ("LADDER", _ladder(report)),
        ("WHAT IF", _what_if(report)),
        ("LABEL", label_lines(report.labels, report.money.quote) if report.error.n else ()),
        ("TRIPS", _trips(report)),
        ("MODES", _modes(report)),
        ("ERROR", error_lines(report.error)),
        ("ORDERS", order_lines(report.orders)),
        ("MONEY", money_lines(report)),
        ("NOTES", _notes(report)),
    )
    return [line for label, section in sections for line in _laid_out(label, section)]


def _laid_out(label: str, section: Iterable[str]) -> Iterator[str]:
    """The label before a section's first line, the others below each other; what is too long goes on below."""
    indent = " " * _LABEL_WIDTH if label else ""
    first = f"{label:<{_LABEL_WIDTH}}" if label else ""
    for text in section:
        line = in_one_line(text)
        if len(line) + len(indent) <= PAGE_COLUMNS:
            yield first + line
        else:
            yield from textwrap.wrap(line, PAGE_COLUMNS, initial_indent=first, subsequent_indent=indent + "  ")
        first = indent


def _head(report: Report) -> Iterator[str]:
    session, ticks = report.session, report.ticks
    ending = f" ({session.end_reason})" if session.end_reason else ""
    status = f"{session.status}{ending}" if session.status else None
    known = [text for text in (session.venue_mode, session.pair, status) if text]
    yield "  ".join([f"Session {session.number}", f"started {to_the_second(session.started_at)}", *known])
    missing = f"  {count(ticks.missing)} MISSING" if ticks.missing else ""
    lasted = "" if ticks.duration_s is None else f" ({duration(ticks.duration_s)})"
    yield f"{count(ticks.recorded, 'tick')}{missing}{lasted}{_shares(report)}  replay {_fidelity(report.guard)}"
    names = (("uid", session.uid), ("config", session.config_hash), ("kedge", session.code_version))
    yield "  ".join(f"{name} {value or 'not recorded'}" for name, value in names)
    if ticks.market_time_from is not None:
        began = to_the_second(ticks.market_time_from)
        yield f"times below are the market's own; its clock stood at {began} at tick {count(ticks.first or 1)}"


def _shares(report: Report) -> str:
    if not report.error.ticks:
        return ""
    nulls = pct(report.error.nulls.share_pct) if report.error.recorded else "not recorded"
    known = report.error.recorded and report.guard.armed_pct is not None
    return f"  nulls {nulls}  armed {pct(report.guard.armed_pct) if known else 'not recorded'}"


def _fidelity(guard: Guard) -> str:
    words = {"ok": "OK", "mismatch": "MISMATCH", _NOTHING_TO_COMPARE: "has nothing to compare"}
    return words.get(guard.fidelity, guard.fidelity)


def _answers(answers: Answers) -> Iterator[str]:
    yield f"Were the thresholds right? {answers.thresholds_right}"
    yield f"Too sensitive, or not sensitive enough? {answers.too_sensitive_or_not}"
    yield f"How was the error distributed? {answers.distribution}"
    yield f"When was the bias threshold first exceeded? {answers.first_exceedance}"


def _guard(report: Report) -> Iterator[str]:
    guard = report.guard
    if guard.disagreement is not None:
        at = guard.disagreement
        yield (
            f"REPLAY MISMATCH at tick {count(at.tick)}: {at.what} recorded {at.recorded}, recomputed {at.recomputed}. "
            "Nothing that rests on the guard is concluded."
        )
    else:
        yield guard_sentence(guard, running=report.session.status == RUNNING)
    if report.explanation is not None and guard.trip_is_replayed:
        yield from _old_window(report.explanation)
    if guard.lookback_ticks is not None:
        state = "enabled" if guard.enabled else "disabled"
        resets = f"; window emptied {count(guard.window_resets, 'time')}" if guard.window_resets else ""
        yield (
            f"Rule: |mean| >= {guard.bias_threshold_bps:g} bps and {guard.prevalence_pct:g}% of "
            f"{guard.lookback_ticks} errors at or above {guard.prevalence_threshold_bps:g} bps; {state}{resets}."
        )


def guard_sentence(guard: Guard, *, running: bool = False) -> str:
    """Where the guard stood; "never tripped" is only said where nothing can hide a trip."""
    both = guard.ladder.both
    if guard.state == "tripped":
        return _tripped(guard)
    if guard.window_n is None:
        now = "what its window held last is not known (missing ticks)"
    elif guard.state == "armed":
        now = "armed at the last tick"
    else:
        now = f"not armed at the last tick ({count(guard.window_n, 'error')} in its window)"
    would = (
        f"both conditions were {'not met on what is stored' if guard.hiding else 'never met'}"
        if both is None
        else f"it would have tripped at tick {both.tick:,} ({clock_time(both.time)})"
    )
    return {
        "no data": "No data: the session has no ticks.",
        "not recorded": "Not recorded: an older engine wrote these ticks, without anchor error and guard.",
        "thresholds not recorded": "Not recorded: the session's thresholds are not on record.",
        "disabled": f"Disabled, so it could not trip; {would}.",
        "would have tripped": f"No trip on record; by the stored errors {would}.",
        "never armed": f"Not armed: the window never held {guard.lookback_ticks} errors, so it could not trip.",
        "cannot be said": f"No trip on record, but whether there was none cannot be said: {'; '.join(guard.hiding)}.",
    }.get(
        guard.state, f"Never tripped{' so far' if running else ''} in {count(guard.armed_ticks, 'armed tick')}; {now}."
    )


def _tripped(guard: Guard) -> str:
    both = guard.ladder.both
    if guard.trip_is_replayed and both is not None:
        condition = guard.ladder.last_condition
        last = (
            "both conditions came on the same tick" if condition == "together" else f"last condition met: {condition}"
        )
        return f"Tripped at tick {count(both.tick)} ({clock_time(both.time)}); {last}."
    if guard.recorded_trip_tick is None:
        return "Tripped, by the breaker's record, which does not say at which tick."
    return f"Tripped at tick {count(guard.recorded_trip_tick)}, by the breaker's record; it could not be replayed."


def _old_window(explanation: Explanation) -> Iterator[str]:
    age = explanation.window_age
    if age is not None and age.is_old_at_trip:
        yield f"Its window was old at the trip: {duration(age.at_trip_s)}, against a usual {duration(age.usual_s)}."


def _ladder(report: Report) -> Iterator[str]:
    guard = report.guard
    if guard.lookback_ticks is None or guard.disagreement is not None:
        return
    if not guard.armed_ticks and guard.ladder.error is None:
        return
    ladder, bias = guard.ladder, f"{guard.bias_threshold_bps:g} bps"
    share = f"{guard.prevalence_pct:g}% at {guard.prevalence_threshold_bps:g} bps"
    none = "not on what is stored" if guard.hiding or report.ticks.missing else "never"
    yield rung_line(f"(a) |error| >= {bias}", ladder.error, none)
    yield rung_line(f"(b) |mean| >= {bias}", ladder.mean, none)
    yield rung_line(f"(c) share >= {share}", ladder.prevalence, none)
    yield rung_line("(d) both: trip" if guard.trip_is_replayed or not ladder.both else "(d) both", ladder.both, none)


def rung_line(name: str, rung: Rung | None, none: str = "never") -> str:
    """A rung of the ladder: its tick, and what error, mean and share were on it."""
    if rung is None:
        return f"{name:<27}{none}"
    window = (
        "" if rung.mean_bps is None else f"  mean {bps(rung.mean_bps, signed=True)}  share {pct(rung.prevalence_pct)}"
    )
    return (
        f"{name:<27}tick {rung.tick:>7,}  {clock_time(rung.time)}  error {bps(rung.error_bps, signed=True):>7}{window}"
    )


def _what_if(report: Report) -> Iterator[str]:
    if report.what_if is None:
        return
    guard = report.guard
    if guard.lookback_ticks is None:
        yield "Thresholds not on record: compared with the defaults."
    lines = list(neighbours(report.what_if, beside_live=guard.state != "tripped" or guard.trip_is_replayed))
    yield from lines
    if report.what_if.hiding and any(_NEVER.search(line) for line in lines):
        yield f'"Never" must not be believed here: {"; ".join(report.what_if.hiding)}.'


def _trips(report: Report) -> Iterator[str]:
    if not report.trips:
        is_older = report.session.uid is None and not report.error.recorded
        yield "Not recorded: an older engine's trips name no session." if is_older else "No breaker event on record."
    for trip in report.trips[:_TRIP_LINES_MAX]:
        where = "an unknown tick" if trip.tick is None else f"tick {count(trip.tick)}"
        name = trip.breaker or "unnamed breaker"
        if name == GUARD and report.guard.trip_is_replayed and trip.tick == report.guard.recorded_trip_tick:
            yield f"{name} at {where}, as in (d){'; only the operator re-arms' if trip.manual_reset_required else ''}"
            continue
        yield f"{name} at {where}: {', '.join(_seen(trip.context)) or 'no context'}"
        tail = _tail(trip.context.get("window_sample_tail"))
        last = [f"last errors {' '.join(f'{error:+.2f}' for error in tail)} bps"] if tail else []
        reset = ["only the operator re-arms"] if trip.manual_reset_required else []
        if last or reset:
            yield "; ".join(last + reset)
    yield from _and_more(len(report.trips) - _TRIP_LINES_MAX)


def _seen(context: Mapping[str, Any]) -> Iterator[str]:
    for key, name, unit in (
        ("mean_error_bps", "mean", " bps"),
        ("prevalence_pct", "prevalence", "%"),
        ("lookback_ticks", "over", " ticks"),
    ):
        value = context.get(key)
        if _is_number(value):
            yield f"{name} {value}{unit}"


def _tail(values: object) -> list[float]:
    return [value for value in values if _is_number(value)][:_TAIL_MAX] if isinstance(values, list) else []


def _is_number(value: object) -> bool:
    """One that a person would read: what a breaker wrote may be anything."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _LARGEST_SHOWN


def _modes(report: Report) -> Iterator[str]:
    history, session = report.mode_history, report.session
    if not history:
        yield "Not recorded." if session.initial_mode is None else f"{session.initial_mode} throughout."
    for change in history[:_MODE_LINES_MAX]:
        yield (
            f"{change.from_mode} -> {change.to_mode} at tick {count(change.tick)} ({clock_time(change.time)}): "
            f"{change.reason or change.signal}"
        )
    yield from _and_more(len(history) - _MODE_LINES_MAX)


def _and_more(number: int) -> Iterator[str]:
    if number > 0:
        yield f"and {number:,} more, see --json"


def _notes(report: Report) -> Iterator[str]:
    for note in report.notes:
        yield f"{note[:1].upper()}{note[1:]}."
