"""Page one's words on orders and money: what was done, what fills were worth, what an earlier trip would have saved."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from telemetry_proc.markout_table import MarkoutRow
from telemetry_proc.markouts import JUDGED_AT
from telemetry_proc.report import Report
from telemetry_proc.trading import Orders
from telemetry_proc.wording import bps, count, money


def order_lines(orders: Orders) -> Iterator[str]:
    """What was sent, what was refused, and that nothing was sent after the trip."""
    if not orders.orders_recorded:
        yield "Not recorded."
        return
    reasons = ", ".join(orders.denials_on_record_by_reason or ())
    denied = "" if orders.denied_intents is None else f", {count(orders.denied_intents, 'intent')} denied"
    yield (
        f"{count(orders.submitted)} submitted, {count(orders.cancel_sent, 'cancel')} sent, "
        f"{count(orders.rejected)} rejected{denied}{f' ({reasons})' if reasons else ''}"
    )
    if orders.submitted_after_trip is not None:
        expected = "as it must be" if orders.submitted_after_trip == 0 else "MUST BE 0"
        yield f"submitted after the trip: {count(orders.submitted_after_trip)}, {expected}"


def money_lines(report: Report) -> Iterator[str]:
    """What changed hands, what it was worth a little later, and what the holdings were worth."""
    traded, unit = report.money, report.money.quote or "(unnamed)"
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
        yield from _worth(report, unit)
    else:
        yield "No fills."
    first, last = traded.mark_value_first_quote, traded.mark_value_last_quote
    if first is None or last is None:
        yield "Mark value: no data."
    else:
        yield f"Mark value {first:,.2f} -> {money(last, traded.quote)} ({gained(last - first)})."


def gained(value: float) -> str:
    """Two decimals and the sign; minus zero is zero."""
    return f"{round(value, 2) + 0.0:+,.2f}"


def _worth(report: Report, unit: str) -> Iterator[str]:
    for row in _judged(report.markouts_all):
        yield f"After {JUDGED_AT.name}: {_markout(row, unit)}; no interval."
    if report.markouts_while_waiting is not None and report.explanation is not None:
        waited = f"the {count(report.explanation.onset_lag_ticks, 'tick')} from onset to trip"
        rows = list(_judged(report.markouts_while_waiting))
        if not rows:
            yield f"None of the fills came in {waited}."
        for row in rows:
            yield f"In {waited}: {_markout(row, unit)}."
    effect = _nearest_tighter(report)
    if effect is not None:
        off = "" if report.guard.enabled else ", had the guard been enabled,"
        yield f"Bias {effect['bias_threshold_bps']:g}{off} {_effect(effect, unit)}."
    if report.guard.state == "tripped":
        yield "Looser settings: cannot be judged from this record (no fills after a trip)."


def _judged(rows: tuple[MarkoutRow, ...]) -> Iterator[MarkoutRow]:
    return (row for row in rows if row.side == "both" and row.horizon == JUDGED_AT.name)


def _markout(row: MarkoutRow, unit: str) -> str:
    dropped = f", {count(row.fills_dropped)} without a later mid" if row.fills_dropped else ""
    if row.net_quote is None:
        return f"no fill has a mid in time{dropped}"
    return (
        f"capture {bps(row.capture_bps, signed=True)}, drift {bps(row.drift_bps, signed=True)}, net "
        f"{bps(row.markout_bps, signed=True)} bps ({gained(row.net_quote)} {unit}), {count(row.fills, 'fill')}{dropped}"
    )


def _nearest_tighter(report: Report) -> dict[str, Any] | None:
    """The highest bias up to the live one under which the guard would have tripped earlier than it did."""
    live = report.guard.bias_threshold_bps
    earlier = [
        effect
        for effect in report.counterfactual or ()
        if live is not None and effect["direction"] == "earlier" and effect["bias_threshold_bps"] <= live
    ]
    return max(earlier, key=lambda effect: float(effect["bias_threshold_bps"]), default=None)


def _effect(effect: dict[str, Any], unit: str) -> str:
    avoided, net = effect["fills_avoided"], effect["net_quote"]
    if not avoided:
        return f"would have tripped at tick {count(effect['trip_tick'])} and avoided no fill"
    if net is None:
        return f"would have avoided {count(avoided, 'fill')}, none of which has a mid in time"
    return (
        f"would have avoided {count(avoided, 'fill')}: {gained(net)} {unit} after {effect['horizon']} "
        f"(loss avoided {effect['loss_avoided_quote']:,.2f}, income forgone {effect['income_forgone_quote']:,.2f})"
    )
