"""What we own and what of ours rests at the venue, as tracked from the venue's own reports. Money is Decimal."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Literal, NamedTuple

from shared.records import Side

OrderState = Literal["pending", "resting", "cancelling"]


class Order(NamedTuple):
    """An order of ours. `slot` (side, level) is its place in the quote ladder; `remaining` what is left of `size`."""

    order_id: str
    side: Side
    level: int
    price: Decimal
    size: Decimal
    remaining: Decimal
    state: OrderState
    replaces: str | None = None

    @property
    def slot(self) -> tuple[Side, int]:
        """Which rung of the ladder this order stands on."""
        return self.side, self.level


class Fill(NamedTuple):
    """The venue reports an execution: `base` and `quote` are what changed hands, both positive."""

    trade_id: str
    order_id: str
    side: Side
    liquidity: Literal["maker", "taker"]
    price: Decimal
    base: Decimal
    quote: Decimal


class Outcome(NamedTuple):
    """The venue reports what became of an order. `fee_base` is the network fee it charged, in base units."""

    order_id: str
    result: Literal["accepted", "cancelled", "rejected", "expired"]
    reason: str | None
    fee_base: Decimal


class Balances(NamedTuple):
    """The venue states our balances outright; whatever was tracked before gives way."""

    base: Decimal
    quote: Decimal


Report = Fill | Outcome | Balances


class Holdings(NamedTuple):
    """Balances (free and in offers alike) and every order that rests, is under way or is being cancelled."""

    base: Decimal
    quote: Decimal
    orders: dict[str, Order]

    @classmethod
    def of(cls, base: Decimal, quote: Decimal) -> Holdings:
        """Balances and no orders."""
        return cls(base, quote, {})

    def live_orders(self) -> tuple[Order, ...]:
        """Orders that rest or are under way, and that nobody has asked the venue to take away."""
        return tuple(order for order in self.orders.values() if order.state != "cancelling")

    def after(self, report: Report) -> Holdings:
        """Holdings once one report of the venue's has been taken in. Unknown order ids change balances only."""
        base, quote, orders = self
        if isinstance(report, Balances):
            return Holdings(report.base, report.quote, orders)
        order = orders.get(report.order_id)
        if isinstance(report, Fill):
            sign = 1 if report.side == "bid" else -1
            base += sign * report.base
            quote -= sign * report.quote
            if order is not None:
                remaining = order.remaining - report.base
                orders = _with(orders, order._replace(remaining=remaining)) if remaining > 0 else _less(orders, order)
        else:
            base -= report.fee_base
            if report.result != "accepted":
                orders = orders if order is None else _less(orders, order)
                if report.result == "rejected" and order is not None and order.replaces in orders:
                    # The embedded cancel is rolled back with the transaction: the old order stays live (XRPL.md A6).
                    orders = _with(orders, orders[order.replaces]._replace(state="resting"))
            elif order is not None:  # also of one whose cancel failed: it rests on, and may be cancelled again
                orders = _with(orders, order._replace(state="resting"))
        return Holdings(base, quote, orders)

    def once_sent(self, placed: Iterable[Order], cancelling: Iterable[Order]) -> Holdings:
        """Holdings once orders are sent: `placed` are pending, `cancelling` and what is replaced are on their way out."""
        orders = dict(self.orders)
        for order in cancelling:
            orders[order.order_id] = order._replace(state="cancelling")
        for order in placed:
            if order.replaces is not None:
                orders[order.replaces] = orders[order.replaces]._replace(state="cancelling")
            orders[order.order_id] = order
        return Holdings(self.base, self.quote, orders)


def _with(orders: dict[str, Order], order: Order) -> dict[str, Order]:
    return {**orders, order.order_id: order}


def _less(orders: dict[str, Order], order: Order) -> dict[str, Order]:
    rest = dict(orders)
    del rest[order.order_id]
    return rest
