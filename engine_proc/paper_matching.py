"""The arithmetic of the paper venue: what public flow would have brought us, and what an arriving order would take.

Everything here is pure. Three units meet:

* base is counted in whole drops (int), the ledger's own smallest amount of it, so sharing a print out is exact;
* quote and our own prices are Decimal; an amount of quote has at most 15 significant digits and 15 decimals;
* the market's prices are floats. An order's price becomes a float once, when it arrives (`Resting.limit`), and
  *every* comparison with the market is made between floats, so "at our price" has one meaning everywhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Context, Decimal
from typing import NamedTuple

from engine_proc.holdings import Order
from engine_proc.market import AmmPool, Level, Print
from engine_proc.sim_pool import base_until
from shared.records import Side

DROPS = 1_000_000  # drops in one unit of base
DROP = Decimal("0.000001")
QUOTE_QUANTUM = Decimal("1e-15")

DIGITS = 15  # what an issued amount is guaranteed to hold (XRPL.md A1)
AT_MOST = Context(prec=DIGITS, rounding=ROUND_FLOOR)
AT_LEAST = Context(prec=DIGITS, rounding=ROUND_CEILING)
NEAREST = Context(prec=DIGITS, rounding=ROUND_HALF_EVEN)


@dataclass(slots=True)
class Resting:
    """An order of ours in the book; mutable, because flow eats it and the queue before it.

    `limit` is `price` as the float that is compared with the market, `remaining` and `ahead` are drops: what is left
    of the order, and the public size at our price that must be executed or withdrawn before anything reaches us.
    """

    order_id: str
    side: Side
    price: Decimal
    limit: float
    remaining: int
    ahead: int


class Visible(NamedTuple):
    """What an arriving order can take: the view's levels and pool, less what orders of ours took from them already."""

    bids: tuple[Level, ...] = ()
    asks: tuple[Level, ...] = ()
    pool: AmmPool | None = None


class Take(NamedTuple):
    """One bite of visible liquidity, in drops, at the maker's price."""

    price: Decimal
    base: int


class Crossing(NamedTuple):
    """What an arriving order takes, and the drops that remain of it.

    `reach` is the worst price it walked to: its limit, unless it was filled or out of funds (`unfunded`) before.
    """

    takes: tuple[Take, ...]
    reach: float
    remaining: int
    unfunded: bool
    left: Visible


# -------------------------------------------------------------------------------------------------------- amounts


def drops(base: float) -> int:
    """A float amount of base as the drops it stands for."""
    return round(base * DROPS)


def base_amount(base_drops: int) -> Decimal:
    """Drops as an amount of base."""
    return base_drops * DROP


def quote_of(side: Side, price: Decimal, base_drops: int) -> Decimal:
    """Quote that changes hands for this much base, rounded so that the price is never worse for us than `price`.

    A bid pays the rounded-down, an ask receives the rounded-up product; the difference is in the 15th digit.
    """
    context = AT_MOST if side == "bid" else AT_LEAST
    quote = context.multiply(price, base_amount(base_drops))
    on_grid = quote.quantize(QUOTE_QUANTUM, rounding=context.rounding)
    return quote if quote == on_grid else on_grid


def affordable(side: Side, price: Decimal, funds: Decimal) -> int:
    """Drops that `funds` (quote for a bid, base for an ask) can pay for at this price."""
    if funds <= 0:
        return 0
    return int(funds * DROPS // price) if side == "bid" else int(funds * DROPS)


# ----------------------------------------------------------------------------------- what public flow brings us


def reaches(side: Side, limit: float, price: float) -> bool:
    """Whether an order of ours with this limit trades with something offered at `price`."""
    return limit >= price if side == "bid" else limit <= price


def size_at(side: Side, limit: float, levels: tuple[Level, ...]) -> int:
    """Drops visible at exactly our price among the levels of our own side; 0 where we improve or stand between."""
    for price, size in levels:
        if price == limit:
            return drops(size)
        if price < limit if side == "bid" else price > limit:
            return 0
    return 0


def share_of(order: Resting, flow: Print, volume: int, handed: int) -> tuple[int, int]:
    """Drops of a print that come to this order, and the queue then left before it.

    `volume` is the whole print, `handed` what better orders of ours have had of it; the caller offers the print to
    the best priced of ours first, to the older first at one price, and only to the side that the taker hits.

    A print of the book at a price better for the taker than ours never got to us. At our price it eats the queue,
    then us. At a worse price everything before us must have gone. Of a pool print only what the pool would not have
    traded with our price at the tip of the book would have come to us; the queue at our price was then exhausted too,
    because the payment engine takes the better of book and pool on every pass (XRPL.md A3). Whether the taker's limit
    reached as far as our price is not known; it is taken to, as fills that the pool then leaves behind cost us.
    """
    left = volume - handed
    if flow.pool_after is not None:
        taker: Side = "ask" if order.side == "bid" else "bid"
        share = left - _pool_drops(taker, order.limit, order.limit, _pool_before(flow, flow.pool_after))
        return (share, 0) if share > 0 else (0, order.ahead)
    if flow.price == order.limit:
        eaten = min(order.ahead, left)
        return left - eaten, order.ahead - eaten
    if reaches(order.side, order.limit, flow.price):
        return left, 0
    return 0, order.ahead


# ------------------------------------------------------------------------------- what an arriving order takes


def crosses(side: Side, limit: float, visible: Visible) -> bool:
    """Whether an order with this limit would take anything at all: the cheap question before `cross`."""
    bids, asks, pool = visible
    if side == "bid":
        if asks and limit >= asks[0].price:
            return True
        return pool is not None and limit > pool.ask
    if bids and limit <= bids[0].price:
        return True
    return pool is not None and limit < pool.bid


def cross(order: Order, wanted: int, funds: Decimal, visible: Visible) -> Crossing:
    """Walk the visible book and the pool, the better price first, until filled, out of funds or at the limit.

    Makers are paid their own price. `funds` is what the order may give away: quote for a bid, base for an ask.
    """
    side, limit = order.side, float(order.price)
    levels, pool = (visible.asks, visible.pool) if side == "bid" else (visible.bids, visible.pool)
    takes: list[Take] = []
    reach = limit
    while wanted > 0:
        tip = levels[0].price if levels else None
        slice_drops = 0 if pool is None else _pool_drops(side, limit, tip, pool)
        if pool is not None and slice_drops > 0:
            offered = min(wanted, slice_drops)
            average = _pool_quote(side, offered / DROPS, pool) / (offered / DROPS)
            price = _own_limit(order, average)
            base = min(offered, affordable(side, price, funds))
            pool = _pool_after(side, base / DROPS, pool)
            reach = max(average, pool.spot) if side == "bid" else min(average, pool.spot)  # as `_pool_drops` has it
        elif tip is not None and reaches(side, limit, tip):
            offered = min(wanted, drops(levels[0].size))
            price = _own_limit(order, tip)
            base = min(offered, affordable(side, price, funds))
            levels = _levels_after(base, levels)
            reach = tip
        else:
            break
        if base > 0:
            takes.append(Take(price, base))
            wanted -= base
            funds -= quote_of(side, price, base) if side == "bid" else base_amount(base)
        if base < offered:
            break  # out of funds
    # An account that had next to nothing is not out of funds through this order; only one that paid can be.
    unfunded = wanted > 0 and bool(takes) and affordable(side, order.price, funds) == 0
    left = Visible(visible.bids, levels, pool) if side == "bid" else Visible(levels, visible.asks, pool)
    return Crossing(tuple(takes), reach if wanted == 0 or unfunded else limit, wanted, unfunded, left)


def _own_limit(order: Order, price: float) -> Decimal:
    """A market price as money, 15 digits, never worse than the order's own limit through that rounding."""
    money = NEAREST.create_decimal(repr(price))
    return min(money, order.price) if order.side == "bid" else max(money, order.price)


def _levels_after(base_drops: int, levels: tuple[Level, ...]) -> tuple[Level, ...]:
    best, *others = levels
    if base_drops == drops(best.size):
        return tuple(others)
    return (best._replace(size=best.size - base_drops / DROPS), *others)


def _pool_drops(side: Side, limit: float, tip: float | None, pool: AmmPool) -> int:
    """Drops the pool sells (to a bid) or buys (from an ask) before it is the book's tip's turn, or the limit's.

    It trades while its price with the fee is better than both, and then until its *average* price meets the nearer of
    the two, so its marginal price ends up beyond it; a tip ends the trade sooner if the spot meets it before that
    (XRPL.md A3; rippled's AMMHelpers.h solves for both and takes the smaller).
    """
    base, quote, keep = pool.base, pool.quote, 1.0 - pool.fee
    if side == "bid":
        bound = limit if tip is None else min(limit, tip)
        if not pool.ask < bound:
            return 0
        offered = base - quote / (bound * keep)
        until_spot = math.inf if tip is None else base_until(pool, "buy", tip / keep)
    else:
        bound = limit if tip is None else max(limit, tip)
        if not pool.bid > bound:
            return 0
        offered = quote / bound - base / keep
        until_spot = math.inf if tip is None else base_until(pool, "sell", tip * keep)
    return int(min(offered, until_spot) * DROPS)


def _pool_before(flow: Print, after: AmmPool) -> AmmPool:
    """The pool that a print met, from the one it left."""
    base, quote = flow.size, flow.size * flow.price
    if flow.taker_side == "buy":
        return AmmPool(after.base + base, after.quote - quote, after.fee)
    return AmmPool(after.base - base, after.quote + quote, after.fee)


def _pool_quote(side: Side, base: float, pool: AmmPool) -> float:
    """Quote that the pool asks for this base, or pays for it: constant product, the fee on what goes in."""
    if side == "bid":
        return pool.quote * base / ((pool.base - base) * (1.0 - pool.fee))
    base_in = base * (1.0 - pool.fee)
    return pool.quote * base_in / (pool.base + base_in)


def _pool_after(side: Side, base: float, pool: AmmPool) -> AmmPool:
    quote = _pool_quote(side, base, pool)
    if side == "bid":
        return AmmPool(pool.base - base, pool.quote + quote, pool.fee)
    return AmmPool(pool.base + base, pool.quote - quote, pool.fee)
