"""What happened, put into words: pure steps that make the records. Nothing is decided here."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Literal

from engine_proc.gate import Denial
from engine_proc.holdings import Fill, Holdings, Order
from engine_proc.market import MarketView
from engine_proc.ports import Plan, VenueTruth
from engine_proc.reconcile import Difference
from engine_proc.strategy import Proposal
from shared.records import (
    BreakerEvent,
    FillRecord,
    InventoryTruth,
    Mode,
    OrderEvent,
    ReconcilerAnomaly,
    Side,
    TickRecord,
)
from shared.saturation import SaturationGuard
from shared.settings import AnchorSaturationGuard

_new = tuple.__new__  # half the price of OrderEvent(...), of which there is one for every order sent

OrderWord = Literal["submitted", "cancel_sent", "cancelled", "rejected", "expired"]


def tick_record(  # noqa: PLR0913 - each by its name; a record of them would cost more than the guard
    market: MarketView,
    guard: SaturationGuard,
    *,
    tick: int,
    mode: Mode,
    proposal: Proposal,
    anchor_error_bps: float | None,
    held: Holdings,
    plan: Plan,
    denials: tuple[Denial, ...],
    withheld: str | None,
    open_orders: int,
    cancels: int,
    fills: int,
    duration_us: float,
    outbox_unsent: int,
) -> TickRecord:
    """The record of this tick: what it took in and did. Field meanings are in shared/records.py.

    `held` is what the strategy saw, `plan` what was really sent, `withheld` why the engine itself kept its quotes back:
    the guard tripped, the journal takes nothing.
    """
    (
        ts_ns, ledger_index, market_age_ms, market_status, clob_bid, clob_bid_size, clob_ask, clob_ask_size, mid, amm,
        _, _, _,
    ) = market  # fmt: skip
    anchor, _, skip_reason, inventory_skew, volatility_bps = proposal
    anchor_mode, quote_anchor_price, _, clob_vs_amm_divergence_bps = anchor
    keep, replace, place, _ = plan
    bid_price, ask_price = _best_prices(keep + replace + place)
    base_balance, quote_balance = float(held.base), float(held.quote)
    # By position, in the order of TickRecord: 38 keywords cost more than a step of the tick.
    return TickRecord(
        tick, ts_ns, ledger_index, mode,
        market_status, market_age_ms,
        clob_bid, clob_bid_size, clob_ask, clob_ask_size, mid,
        None if amm is None else amm.spot,
        None if amm is None else amm.fee,
        clob_vs_amm_divergence_bps, anchor_mode, quote_anchor_price, anchor_error_bps,
        guard.window_n, guard.mean_bps, guard.prevalence_pct,
        bid_price, ask_price,
        _distance_bps(clob_bid, bid_price, mid),
        _distance_bps(ask_price, clob_ask, mid),
        None if bid_price is not None else _why_none("bid", skip_reason, withheld, denials),
        None if ask_price is not None else _why_none("ask", skip_reason, withheld, denials),
        open_orders, len(replace) + len(place), cancels, len(denials), fills,
        base_balance, quote_balance, inventory_skew,
        None if mid is None else quote_balance + base_balance * mid,
        volatility_bps, duration_us, outbox_unsent,
    )  # fmt: skip


def _best_prices(orders: tuple[Order, ...]) -> tuple[float | None, float | None]:
    """The best bid and ask among the orders that this tick kept or sent."""
    best_bid: Decimal | None = None
    best_ask: Decimal | None = None
    for order in orders:
        price = order.price
        if order.side == "bid":
            if best_bid is None or price > best_bid:
                best_bid = price
        elif best_ask is None or price < best_ask:
            best_ask = price
    return None if best_bid is None else float(best_bid), None if best_ask is None else float(best_ask)


def _distance_bps(upper: float | None, lower: float | None, mid: float | None) -> float | None:
    if upper is None or lower is None or mid is None:
        return None
    return (upper - lower) / mid * 1e4


def _why_none(side: Side, skip_reason: str | None, withheld: str | None, denials: tuple[Denial, ...]) -> str:
    """The earliest step that took this side away: the strategy, the engine itself, or the gate's first refusal."""
    if skip_reason is not None:
        return skip_reason
    refused = next((denial.reason for denial in denials if denial.intent.side == side), None)
    return withheld or refused or "NO_INTENT"


def breaker_event(
    guard: SaturationGuard, settings: AnchorSaturationGuard, tick: int, ts_ns: int, wall_ns: int
) -> BreakerEvent:
    """The guard's trip with everything it saw: rounded for people, and the exact integers for a replay."""
    context = {
        "mean_error_bps": round(guard.mean_bps or 0.0, 2),
        "prevalence_pct": round(guard.prevalence_pct or 0.0, 1),
        "lookback_ticks": settings.lookback_ticks,
        "bias_threshold_bps": settings.bias_threshold_bps,
        "prevalence_threshold_bps": settings.prevalence_threshold_bps,
        "prevalence_pct_threshold": settings.prevalence_pct,
        "window_sample_tail": guard.window_tail(5),
        "tick": tick,
        "sum_error_nano_bps": guard.sum_nano_bps,
        "prevalent_n": guard.prevalent_n,
    }
    return BreakerEvent(
        ts_ns=ts_ns,
        wall_ns=wall_ns,
        tick=tick,
        breaker="anchor_saturation_guard",
        cooldown_seconds=None,
        manual_reset_required=1,
        context_json=json.dumps(context),
    )


def order_event(order: Order, event: OrderWord, tick: int, ts_ns: int, reason: str | None = None) -> OrderEvent:
    """Something happened to this order."""
    order_id, side, level, price, _, remaining, _, replaces = order
    if event != "submitted":
        replaces = None
    return _new(
        OrderEvent, (ts_ns, tick, order_id, event, side, level, _text(price), _text(remaining), replaces, reason)
    )


def denial_event(denial: Denial, tick: int, ts_ns: int) -> OrderEvent:
    """Our own gate refused an intent, which therefore never became an order."""
    side, level, price, size = denial.intent
    return OrderEvent(ts_ns, tick, None, "denied", side, level, f"{price:f}", f"{size:f}", None, denial.reason)


def fill_record(fill: Fill, tick: int, ts_ns: int, mid: float | None) -> FillRecord:
    """An execution, with the mid of the view it was reported with."""
    trade_id, order_id, side, liquidity, price, base, quote = fill
    amounts = _text(price), _text(base), _text(quote)
    return _new(FillRecord, (ts_ns, tick, trade_id, order_id, side, liquidity, *amounts, mid))


def _text(amount: Decimal) -> str:
    """All digits, no exponent. `str` is twice as fast as the format and differs only where it writes an exponent."""
    text = str(amount)
    return text if "E" not in text else f"{amount:f}"


def inventory_truth(held: Holdings, truth: VenueTruth, tick: int, ts_ns: int, *, drifted: bool) -> InventoryTruth:
    """The venue's balances and orders beside ours."""
    return InventoryTruth(
        ts_ns=ts_ns,
        tick=tick,
        base_tracked=f"{held.base:f}",
        base_truth=f"{truth.base:f}",
        quote_tracked=f"{held.quote:f}",
        quote_truth=f"{truth.quote:f}",
        orders_tracked=len(held.orders),
        orders_truth=len(truth.orders),
        drifted=1 if drifted else 0,
    )


def anomaly(difference: Difference, tick: int, ts_ns: int) -> ReconcilerAnomaly:
    """One difference between the two."""
    tolerance = None if difference.tolerance is None else f"{difference.tolerance:f}"
    return ReconcilerAnomaly(
        ts_ns, tick, difference.anomaly, difference.subject, difference.tracked, difference.truth, tolerance
    )
