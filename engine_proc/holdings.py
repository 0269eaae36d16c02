"""What we own and what of ours rests at the venue, as tracked from the venue's own reports. Money is Decimal."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Literal, NamedTuple

from shared.records import Side

OrderState = Literal["pending", "resting", "fading", "cancelling"]  # fading: it rests, but not for much longer

_new = tuple.__new__  # half the price of Order(...), where a quote replaced is three of them


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

    def now(self, state: OrderState) -> Order:
        """The same order in another state. Spelled out because `_replace` costs eight times as much."""
        order_id, side, level, price, size, remaining, _, replaces = self
        return _new(Order, (order_id, side, level, price, size, remaining, state, replaces))


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
    """The venue reports what became of an order. `fee_base` is the network fee it charged, in base units.

    `pending` means that a cancel came to nothing while the order itself is still on its way. `fading` means that it
    rests on but will end by itself soon, so that it should be replaced while it can be.
    """

    order_id: str
    result: Literal["accepted", "pending", "fading", "cancelled", "rejected", "expired"]
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
        live: tuple[Order, ...] = ()
        for order in self.orders.values():
            if order.state != "cancelling":
                live += (order,)
        return live

    def after(self, *reports: Report) -> Holdings:
        """Holdings once the venue's reports are taken in, in order. Unknown order ids change balances only."""
        if not reports:
            return self
        base, quote, before = self
        orders = dict(before)
        for report in reports:
            if isinstance(report, Outcome):
                order_id, result, _, fee_base = report
                base -= fee_base
                order = orders.get(order_id)
                if order is None:
                    continue
                if result == "accepted":  # also of one whose cancel failed: it rests on, and may be cancelled again
                    orders[order_id] = order.now("resting")
                    continue
                if result == "pending":
                    orders[order_id] = order.now("pending")
                    continue
                if result == "fading":
                    if order.state == "resting":
                        orders[order_id] = order.now("fading")
                    continue
                del orders[order_id]
                if result == "rejected" and order.replaces in orders:
                    # The embedded cancel is rolled back with the transaction: the old order stays live (XRPL.md A6).
                    orders[order.replaces] = orders[order.replaces].now("resting")
            elif isinstance(report, Fill):
                sign = 1 if report.side == "bid" else -1
                base += sign * report.base
                quote -= sign * report.quote
                _shrink(orders, report)
            else:
                base, quote = report
        return _new(Holdings, (base, quote, orders))

    def once_sent(self, placed: Iterable[Order], cancelling: Iterable[Order]) -> Holdings:
        """Holdings once orders are sent: `placed` pending, `cancelling` and what is replaced on their way out."""
        base, quote, before = self
        orders = dict(before)
        for order in cancelling:
            orders[order.order_id] = order.now("cancelling")
        for order in placed:
            replaced = order.replaces
            if replaced is not None:
                orders[replaced] = orders[replaced].now("cancelling")
            orders[order.order_id] = order
        return _new(Holdings, (base, quote, orders))


def _shrink(orders: dict[str, Order], fill: Fill) -> None:
    order = orders.get(fill.order_id)
    if order is None:
        return
    remaining = order.remaining - fill.base
    if remaining > 0:
        orders[fill.order_id] = order._replace(remaining=remaining)
    else:
        del orders[fill.order_id]
