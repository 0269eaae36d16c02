"""A venue in memory that treats our orders as the XRP Ledger would, against market views that know nothing of them.

What is modelled, each after the numbered fact of the ledger:

* time: a plan takes effect `latency_ledgers` views after it was sent. The flow of a view meets what stood in the
  book before it, so a quote under replacement can still be hit at its old price;
* replacement is one transaction with one fee; if the new order is refused, the old one stays (A6). A replaced order
  that is gone by then is no error, the new one is placed all the same;
* a fee is charged for every transaction that reaches a ledger, refused ones (tec) included; malformed ones (tem) and
  those the account cannot pay for (ter) cost nothing (A7, A8);
* no escrow: orders may share funds. An order without any funds is refused, one that is hit beyond its funds loses
  its remainder; the reserve counts every open order and one trust line, and is not for sale (A6);
* there is no post-only: an order priced through the book or the pool takes, at the makers' prices. Asks sell all
  their base (tfSell), bids buy all theirs. An order that reaches one of ours deletes it whole, without a trade (A6);
* a resting order waits behind the visible size at its price and trades at its own price only (A1, A3).

What is not modelled: our fills leave no trace in the market's next views; expiry; frozen lines; transfer rates.
"""

from __future__ import annotations

from collections import deque
from decimal import Decimal
from typing import Literal

from engine_proc.holdings import Fill, Order, Outcome, Report
from engine_proc.market import MarketView, Print
from engine_proc.paper_matching import (
    DROP,
    DROPS,
    QUOTE_QUANTUM,
    Crossing,
    Resting,
    Visible,
    affordable,
    base_amount,
    cross,
    crosses,
    drops,
    quote_of,
    reaches,
    share_of,
    size_at,
)
from engine_proc.ports import OPEN_TERMS, OpenOrder, Plan, VenueTruth
from shared.errors import ConfigError
from shared.records import Side
from shared.settings import Paper

PRICE_QUANTUM_MIN = Decimal("1e-9")  # finer, and a drop would be worth less than the finest amount of quote
NO_FEE = NOTHING = Decimal(0)

_new = tuple.__new__  # half the price of Outcome(...), where a quote replaced is two of them


class PaperVenue:
    """Answers `ports.Venue`. Refuses, with a `ConfigError`, settings finer than the ledger's smallest amounts."""

    terms = OPEN_TERMS

    def __init__(self, settings: Paper, *, price_quantum: Decimal, size_quantum: Decimal) -> None:
        _require_representable(settings, price_quantum, size_quantum)
        self._price_quantum = price_quantum
        self._size_quantum = size_quantum
        self._latency_ledgers = settings.latency_ledgers
        self._fee = settings.fee_base
        self._fee_drops = int(settings.fee_base * DROPS)
        self._object_reserve_drops = int(settings.object_reserve_base * DROPS)
        # The account's own, and that of the one trust line, which is an object too.
        self._least_reserve_drops = int(settings.account_reserve_base * DROPS) + self._object_reserve_drops
        self._base_drops = int(settings.base_balance * DROPS)
        self._quote = settings.quote_balance
        self._size, self._size_drops = Decimal(0), 0  # of the last order
        self._open: dict[str, Resting] = {}  # oldest first
        self._under_way: deque[tuple[int, Plan]] = deque()  # with the number of the view that it takes effect on
        self._visible = Visible()
        self._views = 0
        self._trades = 0
        self._reported: list[Report] = []

    def reports(self, market: MarketView) -> tuple[Report, ...]:
        """The view's flow meets the orders that stood before it; then what is due takes effect against its book.

        A view's status changes nothing here: whatever was executed was executed, and whatever is visible can be taken.
        """
        self._take_effect(until_view=self._views)  # at latency 0: after the last view, before the flow of this one
        self._views += 1
        for flow in market.prints:
            self._meet(flow)
        self._visible = _new(Visible, (market.bids, market.asks, market.amm))
        self._take_effect(until_view=self._views)
        self._shorten_queues()
        return self._collect()

    def recorded(self) -> None:
        """Nothing here outlives a crash."""

    def submit(self, plan: Plan) -> None:
        """Put the plan on its way; nothing is true of it before `reports` or `settle` says so."""
        _, replace, place, cancel = plan
        if replace or place or cancel:
            self._under_way.append((self._views + self._latency_ledgers, plan))

    def settle(self) -> tuple[Report, ...]:
        """Let everything under way take effect now, against the last view's book and without further flow."""
        self._take_effect(until_view=self._views + self._latency_ledgers)
        return self._collect()

    def truth(self) -> VenueTruth:
        """Balances and open orders as of the last report: plans under way are in neither.

        Right after `reports`, at a latency of 0 or 1, nothing is under way, and holdings must agree to the digit. At
        longer latencies an order that holdings call pending is not here yet, and one they call cancelling still is.
        """
        orders = {
            order_id: OpenOrder(order.side, order.price, base_amount(order.remaining))
            for order_id, order in self._open.items()
        }
        return VenueTruth(base_amount(self._base_drops), self._quote, orders)

    def close(self) -> None:
        """Nothing to let go of."""

    # ------------------------------------------------------------------------------------ flow that meets our orders

    def _meet(self, flow: Print) -> None:
        """Share one print out among our orders on the side it hits: best price first, then the older."""
        taker_side, price, _, pool_after = flow
        side: Side = "bid" if taker_side == "sell" else "ask"
        # A print of the book that stopped before our price brings us nothing, not even a shorter queue.
        ours = [
            order
            for order in self._open.values()
            if order.side == side and (pool_after is not None or reaches(side, order.limit, price))
        ]
        if not ours:
            return
        if len(ours) > 1:
            ours.sort(key=lambda order: order.limit, reverse=side == "bid")  # stable, so older orders stay first
        volume, handed = drops(flow.size), 0
        for order in ours:
            share, order.ahead = share_of(order, flow, volume, handed)
            if share > 0:
                handed += self._hit(order, share)

    def _hit(self, order: Resting, share: int) -> int:
        """Execute up to `share` drops of a resting order; without funds for them its remainder is deleted (A6)."""
        wanted = min(share, order.remaining)
        base_drops = min(wanted, self._affordable(order))
        if base_drops > 0:
            self._exchange(order, "maker", order.price, base_drops)
        if order.remaining == 0:
            del self._open[order.order_id]
        elif base_drops < wanted:
            self._delete(order.order_id, "unfunded")
        return base_drops

    def _shorten_queues(self) -> None:
        """Nobody who is no longer visible at our price can still be before us."""
        for order in self._open.values():
            if order.ahead > 0:
                levels = self._visible.bids if order.side == "bid" else self._visible.asks
                order.ahead = min(order.ahead, size_at(order.side, order.limit, levels))

    # ------------------------------------------------------------------------------------------- our transactions

    def _take_effect(self, *, until_view: int) -> None:
        """Apply what is due: cancels first, to free reserve and to keep our own orders from meeting each other."""
        under_way = self._under_way
        while under_way and under_way[0][0] <= until_view:
            _, (_, replace, place, cancel) = under_way.popleft()
            for order in cancel:
                self._cancel(order.order_id)
            for order in replace + place:
                self._create(order)

    def _cancel(self, order_id: str) -> None:
        """OfferCancel: succeeds, and costs its fee, also when the order is gone already."""
        if self._base_drops < self._fee_drops:
            self._reported.append(Outcome(order_id, "accepted", "terINSUF_FEE_B", NO_FEE))  # it rests on
            return
        self._base_drops -= self._fee_drops
        known = self._open.pop(order_id, None) is not None
        self._reported.append(Outcome(order_id, "cancelled", "requested" if known else "gone", self._fee))

    def _create(self, order: Order) -> None:
        """OfferCreate, with the cancel of the order it replaces in the same transaction."""
        open_orders = self._open
        order_id, side, _, price, size, _, _, replaces = order
        assert order_id not in open_orders, f"{order_id}: an order id is used once"
        size_drops = self._drops_of(size)
        refusal = self._refusal(side, price, size_drops)
        if refusal is not None:
            self._refuse(order_id, refusal)
            return
        old = replaces if replaces in open_orders else None
        objects = len(open_orders) - (old is not None)
        new = Resting(order_id, side, price, float(price), size_drops, 0)
        crossing = self._crossing(order, new, objects) if crosses(side, new.limit, self._visible) else None
        passed = self._own_orders_passed(new, crossing, old)
        # The reserve comes last, asked of the balance from before the transaction. Its lack is only forgiven when
        # something was taken; then the order leaves no remainder.
        reserved = self._base_drops >= self._reserve_drops(objects - len(passed) + 1)
        if not reserved and not (crossing and crossing.takes):
            self._refuse(order_id, "tecINSUF_RESERVE_OFFER")
            return

        self._base_drops -= self._fee_drops
        if old is not None:
            self._delete(old, "replaced")
        self._reported.append(_new(Outcome, (order_id, "accepted", None, self._fee)))
        for own_id in passed:
            self._delete(own_id, "own_cross")
        if crossing is not None:
            self._visible = crossing.left
            for maker_price, base_drops in crossing.takes:
                self._exchange(new, "taker", maker_price, base_drops)
        if new.remaining > 0:
            new.ahead = size_at(side, new.limit, self._visible.bids if side == "bid" else self._visible.asks)
            open_orders[order_id] = new
            if crossing is not None and crossing.unfunded:
                self._delete(order_id, "unfunded")
            elif not reserved:
                self._delete(order_id, "reserve")

    def _refusal(self, side: Side, price: Decimal, size_drops: int) -> str | None:
        """What the ledger would answer before it looks at the book; None if nothing is wrong."""
        if size_drops == 0 or price <= NOTHING or price % self._price_quantum:
            return "temBAD_OFFER"
        if self._base_drops < self._fee_drops:
            return "terINSUF_FEE_B"
        if side == "bid":
            return None if self._quote > NOTHING else "tecUNFUNDED_OFFER"
        spendable = self._base_drops - self._fee_drops - self._reserve_drops(len(self._open))
        return None if spendable > 0 else "tecUNFUNDED_OFFER"

    def _refuse(self, order_id: str, reason: str) -> None:
        """The transaction failed as a whole: what it was to replace rests on, which the rejection implies."""
        charged = reason.startswith("tec")
        if charged:
            self._base_drops -= self._fee_drops
        self._reported.append(Outcome(order_id, "rejected", reason, self._fee if charged else NO_FEE))

    def _crossing(self, order: Order, new: Resting, objects: int) -> Crossing:
        """What the order would take on arrival."""
        spendable = self._base_drops - self._fee_drops - self._reserve_drops(objects)
        return cross(order, new.remaining, self._quote if new.side == "bid" else base_amount(spendable), self._visible)

    def _own_orders_passed(self, new: Resting, crossing: Crossing | None, old: str | None) -> list[str]:
        """Our orders on the other side that the new one walks into or past on its way to where it stops.

        One at the very price where the walk ends with the order filled stands behind what filled it.
        """
        side, reach = new.side, new.limit if crossing is None else crossing.reach
        short = crossing is not None and (crossing.remaining == 0 or crossing.unfunded)
        passed: list[str] = []
        for own in self._open.values():
            if own.side != side and reaches(side, reach, own.limit) and own.order_id != old:
                if short and own.limit == reach:
                    continue
                passed.append(own.order_id)
        return passed

    # ------------------------------------------------------------------------------------------------- the account

    def _affordable(self, order: Resting) -> int:
        """Drops of a resting order that the account can pay for."""
        if order.side == "bid":
            return affordable("bid", order.price, self._quote)
        return max(0, self._base_drops - self._reserve_drops(len(self._open)))

    def _drops_of(self, size: Decimal) -> int:
        """An order's size in drops, 0 if it may not have it. Worked out once while orders keep asking for the same."""
        if size != self._size:
            allowed = size > 0 and size % self._size_quantum == 0
            self._size, self._size_drops = size, int(size * DROPS) if allowed else 0
        return self._size_drops

    def _reserve_drops(self, objects: int) -> int:
        """What must stay for this many open orders and the trust line of the quote currency."""
        return self._least_reserve_drops + self._object_reserve_drops * objects

    def _exchange(self, order: Resting, liquidity: Literal["maker", "taker"], price: Decimal, base_drops: int) -> None:
        """Move both balances and report it. Every amount is on a grid that balances hold exactly, so nothing leaks."""
        quote = quote_of(order.side, price, base_drops)
        if order.side == "bid":
            self._base_drops += base_drops
            self._quote -= quote
        else:
            self._base_drops -= base_drops
            self._quote += quote
        order.remaining -= base_drops
        assert self._base_drops >= 0, f"{order.order_id}: sold base that the account does not have"
        assert self._quote >= 0, f"{order.order_id}: paid quote that the account does not have"
        self._trades += 1
        trade_id = f"paper-{self._trades}"
        base = base_amount(base_drops)
        self._reported.append(_new(Fill, (trade_id, order.order_id, order.side, liquidity, price, base, quote)))

    def _delete(self, order_id: str, reason: str) -> None:
        del self._open[order_id]
        self._reported.append(_new(Outcome, (order_id, "cancelled", reason, NO_FEE)))

    def _collect(self) -> tuple[Report, ...]:
        reported, self._reported = self._reported, []
        return tuple(reported)


def _require_representable(settings: Paper, price_quantum: Decimal, size_quantum: Decimal) -> None:
    """Settings finer than drops, or than the finest amount of quote, would make balances inexact."""
    amounts = {
        "strategy.quote.price_quantum": (price_quantum, PRICE_QUANTUM_MIN),
        "strategy.quote.size_quantum": (size_quantum, DROP),
        "execution.paper.base_balance": (settings.base_balance, DROP),
        "execution.paper.quote_balance": (settings.quote_balance, QUOTE_QUANTUM),
        "execution.paper.fee_base": (settings.fee_base, DROP),
        "execution.paper.account_reserve_base": (settings.account_reserve_base, DROP),
        "execution.paper.object_reserve_base": (settings.object_reserve_base, DROP),
    }
    for key, (amount, finest) in amounts.items():
        if amount % finest:
            raise ConfigError(f"{key}: {amount} is not a multiple of {finest:f}, the finest the paper venue can hold")
