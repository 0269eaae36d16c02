"""Page one for people: a report as some thirty lines of text, rendered from `report.Report` alone.

Wording: number, unit, comparison, one clause each. "Never tripped", "not armed" and "no data" say three different
things. Nothing is recommended from one session.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator

from telemetry_proc.distribution import Distribution
from telemetry_proc.ladder import Rung
from telemetry_proc.report import Guard, Report
from telemetry_proc.wording import bps, clock_time, count, duration, money, pct, to_the_second

PAGE_COLUMNS = 100
_LABEL_WIDTH = 9
_MODE_LINES_MAX = 4
_TRIP_LINES_MAX = 3


def report_lines(report: Report) -> list[str]:
    """The page, top to bottom."""
    sections = (
        ("", _head(report)),
        ("GUARD", _guard(report)),
        ("LADDER", _ladder(report.guard)),
        ("TRIPS", _trips(report)),
        ("MODES", _modes(report)),
        ("ERROR", _error(report.error)),
        ("ORDERS", _orders(report)),
        ("MONEY", _money(report)),
        ("VERDICT", _verdict()),
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
    session, ticks, nulls = report.session, report.ticks, report.error.nulls
    ending = f" ({session.end_reason})" if session.end_reason else ""
    yield (
        f"Session {session.number}  started {to_the_second(session.started_at)}  {session.venue_mode or '?'}  "
        f"{session.pair or '?'}  {session.status or '?'}{ending}"
    )
    missing = f"  {count(ticks.missing)} MISSING" if ticks.missing else ""
    yield (
        f"{count(ticks.recorded, 'tick')}{missing} ({duration(ticks.duration_s)})  nulls {pct(nulls.share_pct)}  "
        f"armed {pct(report.guard.armed_pct)}  replay {_fidelity(report.guard)}"
    )
    yield f"uid {session.uid or '?'}  config {session.config_hash or '?'}  kedge {session.code_version or '?'}"
    if ticks.market_time_from is not None:
        began = to_the_second(ticks.market_time_from)
        yield f"times below are the market's own; its clock stood at {began} at tick {count(ticks.first or 1)}"


def _fidelity(guard: Guard) -> str:
    return {"ok": "OK", "mismatch": "MISMATCH"}.get(guard.fidelity, guard.fidelity)


def _guard(report: Report) -> Iterator[str]:
    guard = report.guard
    yield _guard_sentence(guard)
    if guard.state == "tripped":
        yield f"Last condition met: {_last_condition(guard)}."
    if guard.lookback_ticks is not None:
        state = "enabled" if guard.enabled else "disabled"
        resets = f"; window emptied {count(guard.window_resets, 'time')}" if guard.window_resets else ""
        yield (
            f"Rule: |mean| >= {guard.bias_threshold_bps:g} bps and {guard.prevalence_pct:g}% of "
            f"{guard.lookback_ticks} errors at or above {guard.prevalence_threshold_bps:g} bps; {state}{resets}."
        )
    if guard.disagreement is not None:
        at = guard.disagreement
        yield (
            f"REPLAY MISMATCH at tick {count(at.tick)}: {at.what} recorded {at.recorded}, recomputed {at.recomputed}. "
            "Do not rely on this section."
        )


def _guard_sentence(guard: Guard) -> str:
    both = guard.ladder.both
    if guard.state == "no data":
        return "No data: the session has no ticks."
    if guard.state == "thresholds not recorded":
        return "No data: the session's thresholds are not on record."
    if guard.state == "tripped" and both is not None and guard.ladder.error is not None:
        return (
            f"Tripped at tick {count(both.tick)} ({clock_time(both.time)}), {count(guard.ladder.lag_ticks, 'tick')} "
            f"({duration(guard.ladder.lag_s)}) after |error| first reached {guard.bias_threshold_bps:g} bps."
        )
    if guard.state == "disabled":
        would = "both conditions were never met" if both is None else f"it would have tripped at tick {both.tick:,}"
        return f"Disabled, so it could not trip; {would}."
    if guard.state == "never armed":
        return f"Not armed: the window never held {guard.lookback_ticks} errors, so it could not trip."
    now = (
        "armed at the last tick" if guard.state == "armed" else f"not armed at the last tick ({guard.window_n} errors)"
    )
    return f"Never tripped in {count(guard.armed_ticks)} armed ticks; {now}."


def _last_condition(guard: Guard) -> str:
    return {"together": "both on the same tick"}.get(str(guard.ladder.last_condition), str(guard.ladder.last_condition))


def _ladder(guard: Guard) -> Iterator[str]:
    if guard.lookback_ticks is None or (not guard.armed_ticks and guard.ladder.error is None):
        return
    ladder, bias = guard.ladder, f"{guard.bias_threshold_bps:g} bps"
    share = f"{guard.prevalence_pct:g}% at {guard.prevalence_threshold_bps:g} bps"
    yield _rung(f"(a) |error| >= {bias}", ladder.error)
    yield _rung(f"(b) |mean| >= {bias}", ladder.mean)
    yield _rung(f"(c) share >= {share}", ladder.prevalence)
    yield _rung("(d) both: trip" if guard.enabled else "(d) both, not a trip", ladder.both)


def _rung(name: str, rung: Rung | None) -> str:
    if rung is None:
        return f"{name:<27}never"
    window = (
        "" if rung.mean_bps is None else f"  mean {bps(rung.mean_bps, signed=True)}  share {pct(rung.prevalence_pct)}"
    )
    return (
        f"{name:<27}tick {rung.tick:>7,}  {clock_time(rung.time)}  error {bps(rung.error_bps, signed=True):>7}{window}"
    )


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


def _error(error: Distribution) -> Iterator[str]:
    nulls = error.nulls
    if not error.n or error.abs_error is None or error.signs is None:
        yield f"No data: no anchor error on any of {count(error.ticks, 'tick')}."
    else:
        yield (
            f"{count(error.n, 'error')}: mean {bps(error.mean_bps, signed=True)}, median "
            f"{bps(error.median_bps, signed=True)}, sd {bps(error.sd_bps)} bps; "
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
    if nulls.ticks:
        statuses = ", ".join(f"{status} {number:,}" for status, number in nulls.by_market_status.items())
        yield f"nulls    {count(nulls.ticks, 'tick')}, longest run {count(nulls.longest_run_ticks)}: {statuses}"


def _orders(report: Report) -> Iterator[str]:
    orders = report.orders
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
    if traded.fills:
        yield (
            f"{count(traded.fills, 'fill')} ({count(traded.maker_fills)} maker): bought "
            f"{money(traded.base_bought, traded.base)} for {money(traded.quote_paid, traded.quote)},"
        )
        yield (
            f"sold {money(traded.base_sold, traded.base)} for {money(traded.quote_received, traded.quote)}; "
            "fees: not recorded"
        )
    else:
        yield "No fills."
    first, last = traded.mark_value_first_quote, traded.mark_value_last_quote
    if first is None or last is None:
        yield "Mark value: no data."
    else:
        yield f"Mark value {first:,.2f} -> {money(last, traded.quote)} ({last - first:+,.2f})."


def _verdict() -> Iterator[str]:
    yield "Distribution and first exceedance: above. Whether the thresholds were right, too sensitive"
    yield "or not sensitive enough, one session cannot judge; no change follows from this page."
