"""Does the venue agree with what we track? Pure comparison; the engine records it and degrades on drift."""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

from engine_proc.holdings import Holdings, Order
from engine_proc.ports import VenueTruth, VenueUnreachable
from shared.settings import Reconcile as ReconcileSettings


class Difference(NamedTuple):
    """One thing the venue and we disagree on. `tolerance` is None where any difference is too much."""

    anomaly: str
    subject: str
    tracked: str | None
    truth: str | None
    tolerance: Decimal | None


def differences(
    holdings: Holdings, truth: VenueTruth, settings: ReconcileSettings, pair: str
) -> tuple[Difference, ...]:
    """Everything beyond tolerance. Orders that are under way either way are nobody's truth yet and are not compared."""
    base_asset, quote_asset = pair.split("/")
    found: list[Difference] = []
    if abs(holdings.base - truth.base) > settings.tolerance_base:
        found.append(_balance("BALANCE_BASE", base_asset, holdings.base, truth.base, settings.tolerance_base))
    if abs(holdings.quote - truth.quote) > settings.tolerance_quote:
        found.append(_balance("BALANCE_QUOTE", quote_asset, holdings.quote, truth.quote, settings.tolerance_quote))
    for order in holdings.orders.values():
        there = truth.orders.get(order.order_id)
        if order.state not in ("resting", "fading"):
            continue
        if there is None:
            found.append(Difference("ORDER_MISSING", order.order_id, f"{order.remaining:f}", None, None))
        elif there.remaining != order.remaining:
            tracked, found_there = f"{order.remaining:f}", f"{there.remaining:f}"
            found.append(Difference("ORDER_SIZE", order.order_id, tracked, found_there, Decimal(0)))
    for order_id, there in truth.orders.items():
        if order_id not in holdings.orders:
            found.append(Difference("ORDER_UNKNOWN", order_id, None, f"{there.remaining:f}", None))
    return tuple(found)


def taken_over(truth: VenueTruth) -> Holdings:
    """Holdings as a session finds them at its start: the venue's balances, and every open order as one that rests.

    Orphans, orders that an earlier session left behind, stand on the ladder in the order of their prices, best first,
    so that execution can tell which of them still serve.
    """
    orders: dict[str, Order] = {}
    for side in ("bid", "ask"):
        theirs = [(order_id, there) for order_id, there in truth.orders.items() if there.side == side]
        theirs.sort(key=lambda item: item[1].price, reverse=side == "bid")
        for level, (order_id, there) in enumerate(theirs):
            left = there.remaining
            orders[order_id] = Order(order_id, there.side, level, there.price, left, left, "resting")
    return Holdings(truth.base, truth.quote, orders)


def orphan(order: Order) -> Difference:
    """An order that the venue has from before this session."""
    return Difference("ORDER_ORPHAN", order.order_id, None, f"{order.remaining:f}", None)


def unreadable(error: VenueUnreachable) -> Difference:
    """The venue could not be asked: what it holds is unknown, which is as bad as a difference."""
    return Difference("TRUTH_UNREADABLE", "venue", None, str(error)[:500], None)


def _balance(anomaly: str, asset: str, tracked: Decimal, truth: Decimal, tolerance: Decimal) -> Difference:
    return Difference(anomaly, asset, f"{tracked:f}", f"{truth:f}", tolerance)
