"""Page one for people: a report as some forty lines of text, rendered from `report.Report` alone.

Wording: number, unit, comparison, one clause each. "Never tripped", "not armed", "not recorded" and "no data" say four
different things. Nothing is recommended from one session.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator

from telemetry_proc.answers import Answers, neighbours
from telemetry_proc.distribution import Distribution
from telemetry_proc.guard_state import Guard
from telemetry_proc.ladder import Explanation, Rung
from telemetry_proc.markout_table import MarkoutRow
from telemetry_proc.markouts import JUDGED_AT
from telemetry_proc.report import Report
from telemetry_proc.wording import bps, clock_time, count, duration, money, pct, to_the_second

PAGE_COLUMNS = 100
_LABEL_WIDTH = 9
_MODE_LINES_MAX = 4
_TRIP_LINES_MAX = 3


def report_lines(report: Report) -> list[str]:
    """The page, top to bottom."""
    sections = (
        ("", _head(report)),
        ("ANSWERS", _answers(report.answers)),
        ("GUARD", _guard(report)),
        ("LADDER", _ladder(report)),
        ("WHAT IF", _what_if(report)),
        ("TRIPS", _trips(report)),
        ("MODES", _modes(report)),
        ("ERROR", _error(report)),
        ("ORDERS", _orders(report)),
        ("MONEY", _money(report)),
        ("NOTES", _notes(report)),
    )
    return [line for label, section in sections for line in _laid_out(label, section)]


def _laid_out(label: str, section: Iterable[str]) -> Iterator[str]:
    """The label before a section's first line, the others below each other; what is too long goes on below."""
    indent = " " * _LABEL_WIDTH if label else ""
    first = f"{label:<{_LABEL_WIDTH}}" if label else ""
    for line in section:
        if len(line) + len(indent) <= PAGE_COLUMNS:
            yield first + line
        else:
            yield from textwrap.wrap(line, PAGE_COLUMNS, initial_indent=first, subsequent_indent=indent + "  ")
        first = indent


def _head(report: Report) -> Iterator[str]:
    session, ticks = report.session, report.ticks
    ending = f" ({session.end_reason})" if session.end_reason else ""
    yield (
        f"Session {session.number}  started {to_the_second(session.started_at)}  {session.venue_mode or '?'}  "
        f"{session.pair or '?'}  {session.status or '?'}{ending}"
    )
    missing = f"  {count(ticks.missing)} MISSING" if ticks.missing else ""
    yield (
        f"{count(ticks.recorded, 'tick')}{missing} ({duration(ticks.duration_s)})  nulls {_null_share(report)}  "
        f"armed {pct(report.guard.armed_pct)}  replay {_fidelity(report.guard)}"
    )
    yield f"uid {session.uid or '?'}  config {session.config_hash or '?'}  kedge {session.code_version or '?'}"
    if ticks.market_time_from is not None:
        began = to_the_second(ticks.market_time_from)
        yield f"times below are the market's own; its clock stood at {began} at tick {count(ticks.first or 1)}"


def _null_share(report: Report) -> str:
    return pct(report.error.nulls.share_pct) if report.error.recorded else "not recorded"


def _answers(answers: Answers) -> Iterator[str]:
    yield f"Were the thresholds right? {answers.thresholds_right}"
    yield f"Too sensitive, or not sensitive enough? {answers.too_sensitive_or_not}"
    yield f"How was the error distributed? {answers.distribution}"
    yield f"When was the bias threshold first exceeded? {answers.first_exceedance}"


def _fidelity(guard: Guard) -> str:
    return {"ok": "OK", "mismatch": "MISMATCH"}.get(guard.fidelity, guard.fidelity)


def _guard(report: Report) -> Iterator[str]:
    guard = report.guard
    if guard.disagreement is not None:
        at = guard.disagreement
        yield (
            f"REPLAY MISMATCH at tick {count(at.tick)}: {at.what} recorded {at.recorded}, recomputed {at.recomputed}. "
            "Nothing that rests on the guard is concluded."
        )
    else:
        yield guard_sentence(guard)
    if guard.state == "tripped" and report.explanation is not None:
        yield from _waited(report.explanation)
    if guard.lookback_ticks is not None:
        state = "enabled" if guard.enabled else "disabled"
        resets = f"; window emptied {count(guard.window_resets, 'time')}" if guard.window_resets else ""
        yield (
            f"Rule: |mean| >= {guard.bias_threshold_bps:g} bps and {guard.prevalence_pct:g}% of "
            f"{guard.lookback_ticks} errors at or above {guard.prevalence_threshold_bps:g} bps; {state}{resets}."
        )


def guard_sentence(guard: Guard) -> str:
    """Where the guard stood; "never tripped" is only said where nothing can hide a trip."""
    both = guard.ladder.both
    if guard.state == "tripped" and both is not None and guard.ladder.error is not None:
        return (
            f"Tripped at tick {count(both.tick)} ({clock_time(both.time)}), {count(guard.ladder.lag_ticks, 'tick')} "
            f"({duration(guard.ladder.lag_s)}) after |error| first reached {guard.bias_threshold_bps:g} bps."
        )
    now = (
        "armed at the last tick" if guard.state == "armed" else f"not armed at the last tick ({guard.window_n} errors)"
    )
    would = "both conditions were never met" if both is None else f"it would have tripped at tick {both.tick:,}"
    return {
        "no data": "No data: the session has no ticks.",
        "not recorded": "Not recorded: an older engine wrote these ticks, without anchor error and guard.",
        "thresholds not recorded": "No data: the session's thresholds are not on record.",
        "disabled": f"Disabled, so it could not trip; {would}.",
        "tripped": f"Tripped at tick {count(guard.recorded_trip_tick)}, which is not among the stored ticks.",
        "never armed": f"Not armed: the window never held {guard.lookback_ticks} errors, so it could not trip.",
        "cannot be said": f"No trip on record, but whether there was none cannot be said: {'; '.join(guard.hiding)}.",
    }.get(guard.state, f"Never tripped in {count(guard.armed_ticks)} armed ticks; {now}.")


def _waited(explanation: Explanation) -> Iterator[str]:
    condition = explanation.last_condition
    last = "both on the same tick" if condition == "together" else str(condition)
    age = explanation.window_age
    stale = ""
    if age is not None and age.is_old_at_trip:
        stale = f" Its window was old: {duration(age.at_trip_s)} against a usual {duration(age.usual_s)}."
    yield f"Last condition met: {last}.{stale}"


def _ladder(report: Report) -> Iterator[str]:
    guard = report.guard
    if guard.lookback_ticks is None or (not guard.armed_ticks and guard.ladder.error is None):
        return
    ladder, bias = guard.ladder, f"{guard.bias_threshold_bps:g} bps"
    share = f"{guard.prevalence_pct:g}% at {guard.prevalence_threshold_bps:g} bps"
    yield rung_line(f"(a) |error| >= {bias}", ladder.error)
    yield rung_line(f"(b) |mean| >= {bias}", ladder.mean)
    yield rung_line(f"(c) share >= {share}", ladder.prevalence)
    yield rung_line("(d) both: trip" if guard.enabled else "(d) both, not a trip", ladder.both)


def rung_line(name: str, rung: Rung | None) -> str:
    """A rung of the ladder: its tick, and what error, mean and share were on it."""
    if rung is None:
        return f"{name:<27}never"
    window = (
        "" if rung.mean_bps is None else f"  mean {bps(rung.mean_bps, signed=True)}  share {pct(rung.prevalence_pct)}"
    )
    return (
        f"{name:<27}tick {rung.tick:>7,}  {clock_time(rung.time)}  error {bps(rung.error_bps, signed=True):>7}{window}"
    )


def _what_if(report: Report) -> Iterator[str]:
    if report.what_if is not None:
        yield ".  ".join(clause[:1].upper() + clause[1:] for clause in neighbours(report.what_if)) + "."


def _trips(report: Report) -> Iterator[str]:
    if not report.trips:
        yield "No breaker event on record."
    for trip in report.trips[:_TRIP_LINES_MAX]:
        context = trip.context
        tail = _tail(context.get("window_sample_tail"))
        seen = ", ".join(
            f"{name} {context[key]}{unit}"
            for key, name, unit in (
                ("mean_error_bps", "mean", " bps"),
                ("prevalence_pct", "prevalence", "%"),
                ("lookback_ticks", "over", " ticks"),
            )
            if key in context
        )
        yield f"{trip.breaker} at tick {count(trip.tick)}: {seen or 'no context'}"
        last = [f"last errors {' '.join(f'{error:+.2f}' for error in tail)} bps"] if tail else []
        reset = ["only the operator re-arms"] if trip.manual_reset_required else []
        if last or reset:
            yield "; ".join(last + reset)
    yield from _and_more(len(report.trips) - _TRIP_LINES_MAX)


def _tail(values: object) -> list[float]:
    return [value for value in values if isinstance(value, int | float)] if isinstance(values, list) else []


def _modes(report: Report) -> Iterator[str]:
    history, session = report.mode_history, report.session
    if not history:
        yield f"{session.initial_mode or 'Mode not recorded'} throughout." if session.initial_mode else "No data."
    for change in history[:_MODE_LINES_MAX]:
        yield (
            f"{change.from_mode} -> {change.to_mode} at tick {count(change.tick)} ({clock_time(change.time)}): "
            f"{change.reason or change.signal}"
        )
    yield from _and_more(len(history) - _MODE_LINES_MAX)


def _and_more(number: int) -> Iterator[str]:
    if number > 0:
        yield f"and {number:,} more, see --json"


def _error(report: Report) -> Iterator[str]:
    error, nulls = report.error, report.error.nulls
    if not error.recorded and error.ticks:
        yield "Not recorded."
        return
    if not error.n or error.abs_error is None or error.signs is None:
        yield f"No data: no anchor error on any of {count(error.ticks, 'tick')}."
    else:
        yield (
            f"{count(error.n, 'error')}: mean {bps(error.mean_bps, signed=True)}, median "
            f"{bps(error.median_bps, signed=True)}, sd {bps(error.sd_bps)}, MAD {bps(error.mad_bps)} bps; "
            f"{pct(error.signs.positive_pct)} above mid; {pct(error.pct_error_above_5bps)} beyond 5 bps"
        )
        names = ("p50", "p75", "p90", "p95", "p99", "p99.9", "max")
        values = "  ".join(f"{name} {bps(value)}" for name, value in zip(names, error.abs_error, strict=True))
        yield f"|error|  {values} bps"
        yield "zone     " + "".join(f"{zone.zone_bps + ' bps':>12}" for zone in error.zones)
        yield "ticks    " + "".join(f"{zone.ticks:>12,}" for zone in error.zones)
        yield "share    " + "".join(f"{pct(zone.share_pct):>12}" for zone in error.zones)
        yield "time     " + "".join(f"{duration(zone.seconds):>12}" for zone in error.zones)
        yield "by mode  " + "; ".join(
            f"{mode} {count(part.n)} (mean {bps(part.mean_bps, signed=True)}, p95 {bps(part.abs_p95_bps)})"
            for mode, part in error.by_anchor_mode.items()
        )
        yield from _memory(error)
    if nulls.ticks:
        statuses = ", ".join(f"{status} {number:,}" for status, number in nulls.by_market_status.items())
        yield f"nulls    {count(nulls.ticks, 'tick')}, longest run {count(nulls.longest_run_ticks)}: {statuses}"


def _memory(error: Distribution) -> Iterator[str]:
    """How much the errors repeat themselves, and what the window made of them."""
    memory, rolling = error.autocorrelation, error.rolling
    if memory is not None:
        worth = "" if memory.effective_n is None else f"; worth {memory.effective_n:,.0f} independent ones"
        yield f"memory   lag-1 autocorrelation {memory.rho_1:.2f}{worth}"
    if rolling is not None and rolling.mean is not None:
        sizes = rolling.mean.abs_mean
        yield (
            f"window   {count(rolling.windows, 'full window')}: |mean| median {bps(sizes.p50_bps)}, p99 "
            f"{bps(sizes.p99_bps)}, max {bps(sizes.max_bps)} bps"
        )


def _orders(report: Report) -> Iterator[str]:
    orders = report.orders
    if not orders.orders_recorded:
        yield "Not recorded."
        return
    yield (
        f"{count(orders.submitted)} submitted, {count(orders.cancel_sent)} cancels sent, "
        f"{count(orders.rejected)} rejected, {count(orders.denied_intents)} intents denied"
    )
    if orders.denials_on_record_by_reason:
        reasons = ", ".join(f"{reason} {number:,}" for reason, number in orders.denials_on_record_by_reason.items())
        yield f"denials on record, entered when the reason changed: {reasons}"
    if orders.submitted_after_trip is not None:
        expected = "as it must be" if orders.submitted_after_trip == 0 else "MUST BE 0"
        yield f"submitted after the trip: {count(orders.submitted_after_trip)}, {expected}"


def _money(report: Report) -> Iterator[str]:
    traded = report.money
    if not traded.fills_recorded:
        yield "Fills: not recorded."
    elif traded.fills:
        yield (
            f"{count(traded.fills, 'fill')} ({count(traded.maker_fills)} maker): bought "
            f"{money(traded.base_bought, traded.base)} for {money(traded.quote_paid, traded.quote)},"
        )
        yield (
            f"sold {money(traded.base_sold, traded.base)} for {money(traded.quote_received, traded.quote)}; "
            "fees: not recorded"
        )
        yield from _worth(report)
    else:
        yield "No fills."
    first, last = traded.mark_value_first_quote, traded.mark_value_last_quote
    if first is None or last is None:
        yield "Mark value: no data."
    else:
        yield f"Mark value {first:,.2f} -> {money(last, traded.quote)} ({last - first:+,.2f})."


def _worth(report: Report) -> Iterator[str]:
    unit = report.money.quote or "(unnamed)"
    for row in report.markouts_all:
        if row.side == "both" and row.horizon == JUDGED_AT.name:
            yield _markout(row, unit)
    effects = {effect["bias_threshold_bps"]: effect for effect in report.counterfactual or ()}
    tighter = [effect for effect in effects.values() if effect["direction"] == "earlier" and effect["fills_avoided"]]
    for effect in tighter[-1:]:
        net = effect["net_quote"]
        worth = "no markout to judge by" if net is None else f"{net:+,.2f} {unit} after {effect['horizon']}"
        yield f"{effect['label']} would have avoided {count(effect['fills_avoided'], 'fill')}: {worth}."
    if report.guard.ladder.both is not None and report.guard.enabled:
        yield "Looser settings: cannot be judged from this record (no fills after a trip)."


def _markout(row: MarkoutRow, unit: str) -> str:
    dropped = f", {count(row.fills_dropped)} without a later mid" if row.fills_dropped else ""
    if row.net_quote is None:
        return f"{row.horizon} after a fill: no fill has a mid in time{dropped}."
    return (
        f"{row.horizon} after a fill: capture {bps(row.capture_bps, signed=True)}, drift "
        f"{bps(row.drift_bps, signed=True)}, net {bps(row.markout_bps, signed=True)} bps "
        f"({row.net_quote:+,.2f} {unit}) on {count(row.fills, 'fill')}{dropped}; one session, so no interval."
    )


def _notes(report: Report) -> Iterator[str]:
    for note in report.notes:
        yield f"{note[:1].upper()}{note[1:]}."
