"""What happened, put into words: pure steps that make the records. Nothing is decided here."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Literal, NamedTuple

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

OrderWord = Literal["submitted", "cancel_sent", "cancelled", "rejected", "expired"]


class Seen(NamedTuple):
    """What a tick took in and did, beside the market itself."""

    tick: int
    mode: Mode
    proposal: Proposal
    anchor_error_bps: float | None
    held: Holdings  # as the strategy saw them
    plan: Plan
    denials: tuple[Denial, ...]
    withheld: str | None  # why the engine itself kept its quotes back: the guard tripped, the journal takes nothing
    open_orders: int
    cancels: int
    fills: int
    duration_us: float
    outbox_unsent: int


def tick_record(market: MarketView, seen: Seen, guard: SaturationGuard) -> TickRecord:
    """The record of this tick. Field meanings are in shared/records.py."""
    proposal, plan, mid = seen.proposal, seen.plan, market.mid
    bid_price, ask_price = _best_prices(plan)
    base, quote = float(seen.held.base), float(seen.held.quote)
    return TickRecord(
        tick=seen.tick,
        ts_ns=market.ts_ns,
        ledger_index=market.ledger_index,
        mode=seen.mode,
        market_status=market.status,
        market_age_ms=market.age_ms,
        clob_bid=market.clob_bid,
        clob_bid_size=market.clob_bid_size,
        clob_ask=market.clob_ask,
        clob_ask_size=market.clob_ask_size,
        mid=mid,
        amm_price=None if market.amm is None else market.amm.spot,
        amm_fee_fraction=None if market.amm is None else market.amm.fee,
        clob_vs_amm_divergence_bps=proposal.anchor.divergence_bps,
        anchor_mode=proposal.anchor.mode,
        quote_anchor_price=proposal.anchor.price,
        anchor_error_bps=seen.anchor_error_bps,
        guard_window_n=guard.window_n,
        guard_mean_bps=guard.mean_bps,
        guard_prevalence_pct=guard.prevalence_pct,
        bid_price=bid_price,
        ask_price=ask_price,
        distance_to_touch_bid_bps=_distance_bps(market.clob_bid, bid_price, mid),
        distance_to_touch_ask_bps=_distance_bps(ask_price, market.clob_ask, mid),
        no_quote_reason_bid=None if bid_price is not None else _why_none("bid", seen),
        no_quote_reason_ask=None if ask_price is not None else _why_none("ask", seen),
        open_orders=seen.open_orders,
        orders_submitted=len(plan.replace) + len(plan.place),
        orders_cancelled=seen.cancels,
        orders_denied=len(seen.denials),
        fills=seen.fills,
        base_balance=base,
        quote_balance=quote,
        inventory_skew=proposal.inventory_skew,
        mark_value=None if mid is None else quote + base * mid,
        volatility_bps=proposal.volatility_bps,
        tick_duration_us=seen.duration_us,
        outbox_unsent=seen.outbox_unsent,
    )


def _best_prices(plan: Plan) -> tuple[float | None, float | None]:
    """The best bid and ask among the orders that this tick kept or sent."""
    best_bid: Decimal | None = None
    best_ask: Decimal | None = None
    for order in plan.keep + plan.replace + plan.place:
        if order.side == "bid":
            if best_bid is None or order.price > best_bid:
                best_bid = order.price
        elif best_ask is None or order.price < best_ask:
            best_ask = order.price
    return None if best_bid is None else float(best_bid), None if best_ask is None else float(best_ask)


def _distance_bps(upper: float | None, lower: float | None, mid: float | None) -> float | None:
    if upper is None or lower is None or mid is None:
        return None
    return (upper - lower) / mid * 1e4


def _why_none(side: Side, seen: Seen) -> str:
    """The earliest step that took this side away: the strategy, the engine itself, or the gate's first refusal."""
    if seen.proposal.skip_reason is not None:
        return seen.proposal.skip_reason
    refused = next((denial.reason for denial in seen.denials if denial.intent.side == side), None)
    return seen.withheld or refused or "NO_INTENT"


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
    return OrderEvent(
        ts_ns=ts_ns,
        tick=tick,
        order_id=order.order_id,
        event=event,
        side=order.side,
        level=order.level,
        price=f"{order.price:f}",
        base_amount=f"{order.remaining:f}",
        replaces=order.replaces if event == "submitted" else None,
        reason=reason,
    )


def denial_event(denial: Denial, tick: int, ts_ns: int) -> OrderEvent:
    """Our own gate refused an intent, which therefore never became an order."""
    side, level, price, size = denial.intent
    return OrderEvent(ts_ns, tick, None, "denied", side, level, f"{price:f}", f"{size:f}", None, denial.reason)


def fill_record(fill: Fill, tick: int, ts_ns: int, mid: float | None) -> FillRecord:
    """An execution, with the mid of the view it was reported with."""
    return FillRecord(
        ts_ns=ts_ns,
        tick=tick,
        trade_id=fill.trade_id,
        order_id=fill.order_id,
        side=fill.side,
        liquidity=fill.liquidity,
        price=f"{fill.price:f}",
        base_amount=f"{fill.base:f}",
        quote_amount=f"{fill.quote:f}",
        mid=mid,
    )


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
