"""How a taker's order is executed on the ledger: book and constant-product pool, whichever is better, step by step.

Pure functions. The formulas are those of XRPL.md A3: for a payment `paid` into reserve X against reserve Y,
`out = Y - X * Y / (X + paid * (1 - fee))`, and all of `paid` stays in the pool, the fee included, so that
X * Y never falls by a trade.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from engine_proc.market import AmmPool, Level, Print, TakerSide

SAME_QUALITY = 1e-7  # the payment engine skips the pool when its price is this close to the tip of the book
DROP = 1e-6  # the smallest amount of base the ledger knows

_new = tuple.__new__  # half the price of Print(...)


class Swept(NamedTuple):
    """What a taker's order did: its executions in order, what is left of that side of the book, and the pool."""

    prints: list[Print]
    levels: tuple[Level, ...]
    pool: AmmPool


def sweep(
    side: TakerSide, size: float, limit: float, levels: tuple[Level, ...], pool: AmmPool, *, pool_open: bool = True
) -> Swept:
    """Execute a taker's order of `size` base at prices no worse than `limit`, as the payment engine does.

    Each step takes the better of the tip of the book (`levels`, best first) and the pool's price, fee included. The
    pool is taken until its price has come to the tip's or to the limit, a level until it is gone. With
    `pool_open=False` an order whose way leads through the pool ends there.
    """
    sign = 1.0 if side == "buy" else -1.0
    prints: list[Print] = []
    edge = pool.ask if side == "buy" else pool.bid
    while size >= DROP:
        tip = levels[0] if levels else None
        if tip is not None and sign * (tip.price - edge) <= SAME_QUALITY * tip.price:
            price, offered = tip
            if sign * (price - limit) > 0.0:
                break
            taken = size if size < offered else offered
            prints.append(_new(Print, (side, price, taken, None)))
            levels = levels[1:] if taken == offered else (_new(Level, (price, offered - taken)), *levels[1:])
        else:
            target = limit if tip is None or sign * (tip.price - limit) > 0.0 else tip.price
            taken = min(size, base_until(pool, side, target)) if pool_open else 0.0
            if taken < DROP:
                break
            price, pool = swap(pool, side, taken)
            edge = pool.ask if side == "buy" else pool.bid
            prints.append(_new(Print, (side, price, taken, pool)))
        size -= taken
    return _new(Swept, (prints, levels, pool))


def swap(pool: AmmPool, side: TakerSide, base: float) -> tuple[float, AmmPool]:
    """Take `base` from the pool (buy) or give it (sell): the average price, fee included, and the pool afterwards.

    A buyer must leave something in the pool: `base` < `pool.base`.
    """
    keep = 1.0 - pool.fee
    if side == "buy":
        quote = (pool.base * pool.quote / (pool.base - base) - pool.quote) / keep
        return quote / base, AmmPool(pool.base - base, pool.quote + quote, pool.fee)
    quote = pool.quote - pool.base * pool.quote / (pool.base + base * keep)
    return quote / base, AmmPool(pool.base + base, pool.quote - quote, pool.fee)


def base_until(pool: AmmPool, side: TakerSide, price: float) -> float:
    """Base to buy until the pool's ask has risen to `price`, or to sell until its bid has fallen to it; else 0.0.

    With e the payment less the fee, g = 1/(1-fee) and X the reserve paid into, the spot afterwards fixes the product
    (X + e)(X + e*g); this is its positive root.
    """
    keep = 1.0 - pool.fee
    if side == "buy":
        spot = price * keep
        reserve, product = pool.quote, spot * pool.base * pool.quote
    else:
        spot = price / keep
        reserve, product = pool.base, pool.base * pool.quote / spot
    excess = product - reserve * reserve
    if excess <= 0.0:
        return 0.0
    g = 1.0 / keep
    b = reserve * (1.0 + g)
    # 2c / (b + sqrt) instead of (sqrt - b) / 2a: a small step of a large pool is otherwise lost to rounding.
    net = 2.0 * excess / (b + math.sqrt(b * b + 4.0 * g * excess))
    return pool.base * net / (pool.quote + net) if side == "buy" else net * g
