"""The arithmetic of an AMM pool as the ledger does it: constant product, 16 digits, each step rounded for the pool.

out = Y - X*Y / (X + in*(1-f)) and in = (X*Y / (Y-out) - X) / (1-f), with X the pool of the asset that goes in (A3).
"""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

from tests.xrpl.ledger_amounts import (
    DOWN,
    NEAREST,
    UP,
    ZERO,
    Issue,
    ceiling,
    floor,
    near,
    nearest,
    quotient,
    rate_of,
    rate_value,
    root,
)

ONE = Decimal(1)
FEE_UNIT = Decimal(100_000)
SPOT_DISTANCE = Decimal("1E-7")  # a pool whose price is as near as this to the book's is left alone
MOST = Decimal("0.99")  # of its balance is what a pool offers where no book bounds it
REDUCED = Decimal("0.9999")


class Side(NamedTuple):
    """A pool as its taker meets it: what it holds of the asset that goes in and of the one that comes out."""

    account: str
    into: Decimal
    into_issue: Issue
    out: Decimal
    out_issue: Issue
    fee: Decimal  # a fraction

    @property
    def spot(self) -> int:
        """The rate of its balances, without the fee."""
        return rate_of(self.out, self.into)


class Swap(NamedTuple):
    """An offer that a pool makes for one pass. `rate` is what it promises at least, or its spot if unbounded."""

    into: Decimal
    out: Decimal
    rate: int


def swap_in(side: Side, into: Decimal) -> Decimal:
    """What comes out for so much going in."""
    numerator = UP.multiply(side.into, side.out)
    denominator = DOWN.add(side.into, DOWN.multiply(into, DOWN.subtract(ONE, side.fee)))
    return max(ZERO, floor(DOWN.subtract(side.out, quotient(UP, numerator, denominator)), side.out_issue))


def swap_out(side: Side, out: Decimal) -> Decimal | None:
    """What must go in for so much to come out; None if the pool does not hold it."""
    left = DOWN.subtract(side.out, out)
    if left <= 0:
        return None
    numerator = UP.subtract(quotient(UP, UP.multiply(side.into, side.out), left), side.into)
    return max(ZERO, ceiling(quotient(UP, numerator, DOWN.subtract(ONE, side.fee)), side.into_issue))


def offer_of(side: Side, book_rate: int | None) -> Swap | None:
    """The pool's synthetic offer: up to the rate of the book's tip, or nearly all it has where no book bounds it."""
    if side.into <= 0 or side.out <= 0:
        return None
    if book_rate is None:
        return _unbounded(side)
    if side.spot >= book_rate or near(rate_value(side.spot), rate_value(book_rate), SPOT_DISTANCE):
        return None
    swap = _from_out(side, book_rate) if side.out_issue.is_xrp else _from_in(side, book_rate)
    if swap is None:
        swap = _unbounded(side)
        return swap if swap is not None and rate_of(swap.out, swap.into) < book_rate else None
    return swap if swap.into > 0 and swap.out > 0 else None


def out_at_average(side: Side, limit_rate: int) -> Decimal | None:
    """How much may come out until the average price, not the last one, is the limit; None if there is none."""
    slope = quotient(UP, -NEAREST.subtract(ONE, side.fee), side.into)
    start = quotient(NEAREST, NEAREST.multiply(side.out, NEAREST.subtract(ONE, side.fee)), side.into)
    out = quotient(UP, UP.subtract(quotient(UP, ONE, rate_value(limit_rate)), start), slope)
    return nearest(out, side.out_issue) if out > 0 else None


def _unbounded(side: Side) -> Swap | None:
    out = floor(DOWN.multiply(side.out, MOST), side.out_issue)
    into = swap_out(side, out) if 0 < out < side.out else None
    return None if into is None else Swap(into, out, side.spot)


def _from_out(side: Side, rate: int) -> Swap | None:
    """The largest swap whose price after it is the rate, solved for what comes out. Used where that is XRP."""
    n, price = NEAREST, rate_value(rate)
    keep = n.subtract(ONE, side.fee)
    b = n.subtract(
        quotient(n, n.multiply(side.into, n.subtract(ONE, quotient(n, ONE, keep))), price),
        n.multiply(Decimal(2), side.out),
    )
    c = n.subtract(n.multiply(side.out, side.out), quotient(n, n.multiply(side.into, side.out), price))
    out = _smaller_root(ONE, b, c)
    bound = n.subtract(side.out, quotient(n, side.into, n.multiply(price, keep)))
    if out is None or out <= 0 or bound <= 0:
        return None

    def swap(wanted: Decimal) -> Swap | None:
        gets = floor(wanted, side.out_issue)
        pays = swap_out(side, gets)
        return None if pays is None else Swap(pays, gets, rate_of(gets, pays))

    found = swap(min(out, bound))
    if found is not None and found.rate > rate:
        found = swap(DOWN.multiply(found.out, REDUCED))
    return found if found is not None and 0 < found.rate <= rate else None


def _from_in(side: Side, rate: int) -> Swap | None:
    """The same, solved for what goes in."""
    n, price = NEAREST, rate_value(rate)
    keep = n.subtract(ONE, side.fee)
    b = n.multiply(side.into, n.add(ONE, keep))
    c = n.subtract(n.multiply(side.into, side.into), n.multiply(n.multiply(side.into, side.out), price))
    into = _smaller_root(keep, b, c)
    bound = n.subtract(n.multiply(side.out, price), quotient(n, side.into, keep))
    if into is None or into <= 0 or bound <= 0:
        return None

    def swap(wanted: Decimal) -> Swap:
        pays = floor(wanted, side.into_issue)
        gets = swap_in(side, pays)
        return Swap(pays, gets, rate_of(gets, pays))

    found = swap(min(into, bound))
    if found.rate > rate:
        found = swap(DOWN.multiply(found.into, REDUCED))
    return found if 0 < found.rate <= rate else None


def _smaller_root(a: Decimal, b: Decimal, c: Decimal) -> Decimal | None:
    """The smaller root of ax2 + bx + c, in the form that does not cancel."""
    n = NEAREST
    d = n.subtract(n.multiply(b, b), n.multiply(n.multiply(Decimal(4), a), c))
    if d < 0:
        return None
    middle = root(d)
    return quotient(n, n.multiply(Decimal(2), c), n.subtract(-b, middle) if b > 0 else n.add(-b, middle))
