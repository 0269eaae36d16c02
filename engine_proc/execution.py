"""Desired against resting orders, into named buckets: keep, replace, place, cancel. Pure; the engine sends the plan."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import Decimal

from engine_proc.holdings import Order
from engine_proc.ports import Plan
from engine_proc.strategy import Intent
from shared.records import Side

REFILL_BELOW = Decimal("0.5")  # an order filled past half is worth losing its queue position for


def keeps(order: Order, intent: Intent, requote_tolerance_bps: float) -> bool:
    """Whether a resting order serves an intent well enough to keep its place in the queue.

    An order that is still under way is kept whatever the intent: what is not confirmed cannot be replaced.
    """
    if order.state != "resting":
        return order.state == "pending"
    remaining, size = order.remaining, intent.size
    if remaining != size and not size * REFILL_BELOW <= remaining <= size:
        return False
    off = float(order.price - intent.price)
    return off == 0.0 or abs(off) * 1e4 <= requote_tolerance_bps * float(intent.price)


def plan(
    desired: Iterable[Intent],
    resting: Iterable[Order],
    new_order_id: Callable[[Intent], str],
    requote_tolerance_bps: float,
) -> Plan:
    """Sort every desired rung and every live order into its bucket.

    A rung whose order has to change is replaced in one transaction, so that it never stands empty or twice. Orders
    that are being cancelled already are left alone. If a refused replacement brings an order back to a rung that was
    filled meanwhile, the newer order has the rung and the older one goes.
    """
    standing: dict[tuple[Side, int], Order] = {}
    cancel: list[Order] = []
    for order in resting:
        if order.state != "cancelling":
            slot = order.side, order.level
            if slot in standing:
                cancel.append(standing[slot])
            standing[slot] = order
    keep: list[Order] = []
    replace: list[Order] = []
    place: list[Order] = []
    for intent in desired:
        side, level, price, size = intent
        held = standing.pop((side, level), None)
        if held is None:
            place.append(Order(new_order_id(intent), side, level, price, size, size, "pending"))
        elif keeps(held, intent, requote_tolerance_bps):
            keep.append(held)
        else:
            replace.append(Order(new_order_id(intent), side, level, price, size, size, "pending", held.order_id))
    return Plan(tuple(keep), tuple(replace), tuple(place), (*cancel, *standing.values()))
