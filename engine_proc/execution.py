"""Desired against resting orders, into named buckets: keep, replace, place, cancel. Pure; the engine sends the plan."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import Decimal

from engine_proc.holdings import Order
from engine_proc.ports import Plan
from engine_proc.strategy import Intent
from shared.records import Side

_new = tuple.__new__  # half the price of Order(...) and Plan(...)

REFILL_BELOW = Decimal("0.5")  # an order filled past half is worth losing its queue position for


def keeps(order: Order, intent: Intent, requote_tolerance_bps: float) -> bool:
    """Whether a resting order serves an intent well enough to keep its place in the queue.

    An order that is still under way is kept whatever the intent: what is not confirmed cannot be replaced. One that
    will end by itself soon is never kept, so that a fresh one takes its place before the rung stands empty.
    """
    state = order.state
    if state != "resting":
        return state == "pending"
    remaining, size = order.remaining, intent.size
    if remaining != size and not size * REFILL_BELOW <= remaining <= size:
        return False
    resting_price, price = order.price, intent.price
    if resting_price == price:
        return True
    if requote_tolerance_bps == 0.0:
        return False
    return abs(float(resting_price - price)) * 1e4 <= requote_tolerance_bps * float(price)


def number_of(order_id: str) -> int:
    """The running number at the end of an order id of ours; 0 where a venue has a name of its own for it."""
    digits = order_id.rpartition("-")[2]
    return int(digits) if digits.isascii() and digits.isdecimal() else 0


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
            place.append(_new(Order, (new_order_id(intent), side, level, price, size, size, "pending", None)))
        elif keeps(held, intent, requote_tolerance_bps):
            keep.append(held)
        else:
            old = held.order_id
            replace.append(_new(Order, (new_order_id(intent), side, level, price, size, size, "pending", old)))
    cancel += standing.values()
    return _new(Plan, (tuple(keep), tuple(replace), tuple(place), tuple(cancel)))
