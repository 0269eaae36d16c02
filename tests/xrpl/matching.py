"""The double's payment engine for one path: book and pool between two assets, passes of one rate each (XRPL.md A3, A6).

Every pass takes from the better of the book's tip and the pool. It is run backwards from what is wanted; where the
input does not suffice it is taken back and run forwards from what there is. Offers found expired, without funds or
(in a crossing) of the taker itself are removed whatever becomes of the payment.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import NamedTuple

from tests.xrpl.ledger_amounts import (
    ZERO,
    Issue,
    ceiling,
    floor,
    near,
    nearest,
    over,
    product_up,
    rate_of,
    rate_value,
    times,
    total,
)
from tests.xrpl.ledger_funds import PARITY, Fees, credit, deep_frozen, frozen, funds, transfer_rate
from tests.xrpl.ledger_pool import Side, offer_of, out_at_average, swap_in, swap_out
from tests.xrpl.ledger_state import Key, Offer, State, line_of, pool_of

OFFERS_MAX = 1500
TINY_DISTANCE = Decimal("1E-9")
AVERAGE_DISTANCE = Decimal("1E-7")
ONE_DROP = Decimal(1)


class Wish(NamedTuple):
    """What a taker wants of the market between two assets.

    `limit` is the worst rate it accepts, over the whole of each pass; a `crossing` (an OfferCreate) moreover looks at
    no offer beyond it. `room` is how much of `out_issue` the receiver can still hold.
    """

    sender: str
    receiver: str
    in_issue: Issue
    out_issue: Issue
    in_max: Decimal
    out_wanted: Decimal
    limit: int | None
    crossing: bool
    room: Decimal


class Flown(NamedTuple):
    """What was moved, and the offers that have to go even if it is taken back."""

    into: Decimal
    out: Decimal
    removable: tuple[Key, ...]


class _Portion(NamedTuple):
    """A part of an offer: what it takes and gives, what the taker pays for that, what its owner spends on it."""

    into: Decimal
    out: Decimal
    taker_in: Decimal
    owner_out: Decimal


class _Tip(NamedTuple):
    """An offer at the front, of the book (with its owner's funds) or of the pool."""

    rate: int
    into: Decimal
    out: Decimal
    offer: Offer | None
    funds: Decimal


def fly(state: State, wish: Wish, fees: Fees, parent_close_time: int) -> Flown:
    """Move as much of the wish as the market gives; the state is changed accordingly."""
    return _Flight(state, wish, fees, parent_close_time).fly()


class _Flight:
    def __init__(self, state: State, wish: Wish, fees: Fees, parent_close_time: int) -> None:
        self.state, self.wish, self.fees, self.parent_close_time = state, wish, fees, parent_close_time
        entries = state.entries
        sends_issued = not wish.in_issue.is_xrp and wish.sender != wish.in_issue.issuer
        self.rate_in = transfer_rate(entries, wish.in_issue) if sends_issued else PARITY
        rate_out = PARITY if wish.out_issue.is_xrp else transfer_rate(entries, wish.out_issue)
        # In a crossing the offer's owner pays for the transfer, in a payment the sender does.
        self.rate_owner = rate_out if wish.crossing else PARITY
        self.rate_delivery = PARITY if wish.crossing or wish.receiver == wish.out_issue.issuer else rate_out
        self.removable: dict[Key, None] = {}
        self.considered = 0
        self.mark = 0  # where the log stood when the pass began

    def fly(self) -> Flown:
        wish = self.wish
        out_wanted = min(wish.out_wanted, wish.room)
        ins: list[Decimal] = []
        outs: list[Decimal] = []
        left_in, left_out = wish.in_max, out_wanted
        while left_out > 0 and left_in > 0 and self.considered < OFFERS_MAX:
            moved = self._pass(left_in, left_out)
            for _, account, sequence in self.removable:
                self.state.remove_offer(account, sequence)
            if moved is None:
                break
            ins.append(moved[0])
            outs.append(moved[1])
            left_in = nearest(wish.in_max - total(ins), wish.in_issue)
            left_out = nearest(out_wanted - total(outs), wish.out_issue)
        return Flown(total(ins), total(outs), tuple(self.removable))

    def _pass(self, left_in: Decimal, left_out: Decimal) -> tuple[Decimal, Decimal] | None:
        """One rate's worth: what the sender gave and the receiver got; None if the market has nothing acceptable."""
        limit = self.wish.limit
        front = self._front()
        if front is None or (self.wish.crossing and limit is not None and front[0] > limit):
            return None
        rate, pool = front
        wanted, averaged = left_out, False
        if limit is not None and pool is not None:
            average = out_at_average(pool, limit)
            averaged = average is not None and average < left_out and not near(average, left_out, TINY_DISTANCE)
            wanted = average if averaged and average is not None else left_out
        self.mark = len(self.state.log)
        moved = self._move(left_in, wanted)
        if moved is not None:
            rate = rate_of(moved[1], moved[0])
            if limit is None or rate <= limit:
                return moved
            if averaged and near(rate_value(rate), rate_value(limit), AVERAGE_DISTANCE):
                return moved
        self.state.rollback(self.mark)
        return None

    def _move(self, left_in: Decimal, wanted: Decimal) -> tuple[Decimal, Decimal] | None:
        wish = self.wish
        book_wanted = _scaled(wanted, self.rate_delivery, ceiling, wish.out_issue)
        into, book_out = self._backwards(book_wanted)
        if book_out == 0 or into == 0:
            return None
        delivered = wanted if book_out == book_wanted else _unscaled(book_out, self.rate_delivery, wish.out_issue)
        can_spend = min(left_in, self._spendable())
        if into > can_spend:
            self.state.rollback(self.mark)
            into, book_out = self._forwards(can_spend, into, book_out)
            if book_out == 0 or into == 0:
                return None
            delivered = _unscaled(book_out, self.rate_delivery, wish.out_issue)
        credit(self.state, wish.in_issue, wish.sender, -into)
        credit(self.state, wish.out_issue, wish.receiver, delivered)
        return into, delivered

    def _spendable(self) -> Decimal:
        wish = self.wish
        # Who buys a currency for the first time may spend the reserve of the trust line that does not exist yet.
        opens_line = wish.crossing and not wish.out_issue.is_xrp and wish.sender != wish.out_issue.issuer
        opens_line = opens_line and line_of(self.state.entries, wish.sender, wish.out_issue) is None
        return funds(self.state.entries, wish.sender, wish.in_issue, self.fees, fewer_objects=int(opens_line))

    def _front(self) -> tuple[int, Side | None] | None:
        """The best rate there is, and the pool if it has it."""
        tip = self.state.best(self.wish.out_issue, self.wish.in_issue)
        side = self._pool()
        swap = offer_of(side, self._bound(tip)) if side is not None else None
        if swap is not None and (tip is None or swap.rate < tip.rate):
            return swap.rate, side
        return (tip.rate, None) if tip is not None else None

    def _bound(self, tip: Offer | None) -> int | None:
        """The book's rate up to which the pool may offer; a tip that a crossing will not take does not bound it."""
        if tip is None or (self.wish.crossing and self.wish.limit is not None and tip.rate > self.wish.limit):
            return None
        return tip.rate

    def _pool(self) -> Side | None:
        wish, entries = self.wish, self.state.entries
        pool = pool_of(entries, wish.in_issue, wish.out_issue)
        if pool is None or any(frozen(entries, pool.account, issue) for issue in (wish.in_issue, wish.out_issue)):
            return None
        discount = wish.sender == pool.owner and self.parent_close_time < pool.slot_expiration
        fee = pool.trading_fee // 10 if discount else pool.trading_fee
        into, out = (funds(entries, pool.account, issue, self.fees) for issue in (wish.in_issue, wish.out_issue))
        return Side(pool.account, into, wish.in_issue, out, wish.out_issue, Decimal(fee) / 100_000)

    def _backwards(self, wanted: Decimal) -> tuple[Decimal, Decimal]:
        """Take until `wanted` has come out of one rate: what the sender must put in, what came out."""
        ins: list[Decimal] = []
        outs: list[Decimal] = []

        def take(tip: _Tip, whole: _Portion) -> bool:
            left = nearest(wanted - total(outs), self.wish.out_issue)
            if left <= 0:
                return False
            part = whole if whole.out <= left else self._portion_out(tip, left)
            ins.append(part.taker_in)
            outs.append(part.out)
            return self._consume(tip, part) or whole.out <= left

        self._walk(take)
        out = total(outs)
        return total(ins), wanted if nearest(wanted - out, self.wish.out_issue) == 0 else out

    def _forwards(self, given: Decimal, back_in: Decimal, back_out: Decimal) -> tuple[Decimal, Decimal]:
        """Take until `given` has gone into one rate. It may not yield more than the backward run did for more input."""
        ins: list[Decimal] = []
        outs: list[Decimal] = []

        def take(tip: _Tip, whole: _Portion) -> bool:
            left = nearest(given - total(ins), self.wish.in_issue)
            if left <= 0:
                return False
            fits = whole.taker_in <= left
            part = whole if fits else self._portion_in(tip, left)
            if total([*outs, part.out]) > back_out and given <= back_in:
                exact = self._portion_out(tip, nearest(back_out - total(outs), self.wish.out_issue))
                part = exact if exact.taker_in == left else part
            ins.append(part.taker_in)
            outs.append(part.out)
            return self._consume(tip, part) or fits

        self._walk(take)
        into = total(ins)
        return (given if nearest(given - into, self.wish.in_issue) == 0 else into), total(outs)

    def _walk(self, take: Callable[[_Tip, _Portion], bool]) -> None:
        """Show `take` the tips of one rate, the pool's first, until it has enough; it says whether to go on."""
        rate: int | None = None
        attempted = False

        def execute(tip: _Tip) -> bool:
            nonlocal rate, attempted
            if rate is not None and tip.rate != rate:
                return False
            if self._is_own(tip):
                offer = tip.offer
                assert offer is not None
                self.removable["offer", offer.account, offer.sequence] = None
                rate = rate if attempted else None
                return True
            rate = tip.rate
            if self.wish.crossing and self.wish.limit is not None and tip.rate > self.wish.limit:
                return False
            attempted = True
            return take(tip, self._whole(tip))

        tips = self._live()
        first = next(tips, None)
        side = self._pool()
        swap = offer_of(side, self._bound(first.offer if first else None)) if side is not None else None
        if swap is not None and not execute(_Tip(swap.rate, swap.into, swap.out, None, swap.out)):
            return
        while first is not None and execute(first):
            first = next(tips, None)

    def _live(self) -> Iterator[_Tip]:
        """The offers of the book that can be filled. Going on from one deletes it, as does finding one that cannot."""
        wish, previous = self.wish, None
        while (offer := self._next_after(previous)) is not None:
            previous, self.considered = offer, self.considered + 1
            key: Key = ("offer", offer.account, offer.sequence)
            expired = offer.expiration is not None and offer.expiration <= self.parent_close_time
            if expired or offer.gets <= 0 or offer.pays <= 0:
                self.removable[key] = None
                continue
            if not wish.in_issue.is_xrp and deep_frozen(self.state.entries, offer.account, wish.in_issue):
                self.removable[key] = None
                continue
            available = funds(self.state.entries, offer.account, wish.out_issue, self.fees)
            if available <= 0 or self._is_dust(offer, available):
                pristine = ChainMap(self.state.before(self.mark), self.state.entries)
                if funds(pristine, offer.account, wish.out_issue, self.fees) == available:
                    self.removable[key] = None  # it was so before; else it only became so and may yet be taken back
                continue
            yield _Tip(offer.rate, offer.pays, offer.gets, offer, available)

    def _next_after(self, previous: Offer | None) -> Offer | None:
        if previous is not None:
            self.state.remove_offer(previous.account, previous.sequence)
        return self.state.best(self.wish.out_issue, self.wish.in_issue)

    def _is_dust(self, offer: Offer, available: Decimal) -> bool:
        """Whether so little is left for a drop of XRP that the rest of the offer is worse than it says."""
        if self.wish.out_issue.is_xrp or not self.wish.in_issue.is_xrp:
            return False
        into, out = offer.pays, offer.gets
        if available < out:
            into, out = floor(times(available, rate_value(offer.rate)), self.wish.in_issue), available
        return into <= 0 or (into <= ONE_DROP and rate_of(out, into) > offer.rate)

    def _is_own(self, tip: _Tip) -> bool:
        wish = self.wish
        within = wish.limit is None or tip.rate <= wish.limit
        return wish.crossing and within and tip.offer is not None and tip.offer.account == wish.sender

    def _rates_of(self, tip: _Tip) -> tuple[int, int]:
        """Transfer rates for what the taker pays in and for what the owner gives: none between own pockets."""
        if tip.offer is None:
            return self.rate_in, PARITY
        return (PARITY if tip.offer.account == self.wish.sender else self.rate_in), self.rate_owner

    def _whole(self, tip: _Tip) -> _Portion:
        """All that an offer can give, cut to its owner's funds."""
        rate_in, rate_out = self._rates_of(tip)
        owner_out = _scaled(tip.out, rate_out, floor, self.wish.out_issue)
        into, out = tip.into, tip.out
        if tip.offer is not None and tip.funds < owner_out:
            owner_out = tip.funds
            out = _unscaled(owner_out, rate_out, self.wish.out_issue)
            if out < tip.out:
                into = min(into, floor(times(out, rate_value(tip.rate)), self.wish.in_issue))
        return _Portion(into, out, _scaled(into, rate_in, ceiling, self.wish.in_issue), owner_out)

    def _portion_out(self, tip: _Tip, out: Decimal) -> _Portion:
        """As much of an offer as gives `out`, what goes in rounded up."""
        rate_in, rate_out = self._rates_of(tip)
        if tip.offer is None:
            into = swap_out(self._side(), out) or ZERO
        else:
            into = min(tip.into, product_up(out, rate_value(tip.rate), self.wish.in_issue))
        owner_out = _scaled(out, rate_out, floor, self.wish.out_issue)
        return _Portion(into, out, _scaled(into, rate_in, ceiling, self.wish.in_issue), owner_out)

    def _portion_in(self, tip: _Tip, taker_in: Decimal) -> _Portion:
        """As much of an offer as `taker_in` buys, what comes out rounded down."""
        rate_in, rate_out = self._rates_of(tip)
        into = _unscaled(taker_in, rate_in, self.wish.in_issue)
        if tip.offer is None:
            out = swap_in(self._side(), into)
        else:
            out = min(tip.out, floor(over(into, rate_value(tip.rate)), self.wish.out_issue))
        return _Portion(into, out, taker_in, _scaled(out, rate_out, floor, self.wish.out_issue))

    def _side(self) -> Side:
        side = self._pool()
        assert side is not None
        return side

    def _consume(self, tip: _Tip, part: _Portion) -> bool:
        """Exchange a portion; whether nothing of the offer is left."""
        wish = self.wish
        owner = tip.offer.account if tip.offer is not None else self._side().account
        credit(self.state, wish.in_issue, owner, part.into)
        credit(self.state, wish.out_issue, owner, -part.owner_out)
        if tip.offer is None:
            return part.into >= tip.into or part.out >= tip.out
        offer = tip.offer
        pays = nearest(offer.pays - part.into, wish.in_issue)
        gets = nearest(offer.gets - part.out, wish.out_issue)
        self.state.put(("offer", offer.account, offer.sequence), offer._replace(pays=pays, gets=gets))
        return pays <= 0 or gets <= 0


def _scaled(value: Decimal, rate: int, rounded: Callable[[Decimal, Issue], Decimal], issue: Issue) -> Decimal:
    """A value with a transfer rate on top."""
    return value if rate == PARITY else rounded(over(times(value, Decimal(rate)), Decimal(PARITY)), issue)


def _unscaled(value: Decimal, rate: int, issue: Issue) -> Decimal:
    """What arrives of a value after a transfer rate, rounded down."""
    return value if rate == PARITY else floor(over(times(value, Decimal(PARITY)), Decimal(rate)), issue)
