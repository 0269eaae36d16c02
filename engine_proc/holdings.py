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


Report = Fill | Outcome


class Holdings(NamedTuple):
    """Balances (free and in offers alike) and every order that rests, is under way or is being cancelled."""

    base: Decimal
    quote: Decimal
    orders: dict[str, Order]

    def after(self, reports: Iterable[Report]) -> Holdings:
        """Holdings once the venue's reports have been taken in, in the order they came."""
        base, quote = self.base, self.quote
        orders = dict(self.orders)
        for report in reports:
            order = orders.get(report.order_id)
            if isinstance(report, Fill):
                sign = 1 if report.side == "bid" else -1
                base += sign * report.base
                quote -= sign * report.quote
                if order is not None:
                    remaining = order.remaining - report.base
                    if remaining > 0:
                        orders[report.order_id] = order._replace(remaining=remaining)
                    else:
                        del orders[report.order_id]
            else:
                base -= report.fee_base
                if report.result == "accepted":
                    if order is not None and order.state == "pending":
                        orders[report.order_id] = order._replace(state="resting")
                else:
                    orders.pop(report.order_id, None)
        return Holdings(base, quote, orders)

    def with_orders(self, placed: Iterable[Order], cancelling: Iterable[str]) -> Holdings:
        """Holdings once orders have been sent: `placed` are pending, `cancelling` are on their way out."""
        orders = dict(self.orders)
        for order_id in cancelling:
            orders[order_id] = orders[order_id]._replace(state="cancelling")
        for order in placed:
            orders[order.order_id] = order
        return Holdings(self.base, self.quote, orders)
