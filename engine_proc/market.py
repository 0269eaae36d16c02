"""What the engine sees of the market on one tick, and what that view is worth.

Everything here is a signal, so prices and sizes are floats; money (balances, our orders, our fills) is Decimal and
lives in `holdings`. A price that is not there is None, never 0.0.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

MarketStatus = Literal["OK", "STALE", "ONE_SIDED", "CROSSED", "EMPTY"]
TakerSide = Literal["buy", "sell"]


class Level(NamedTuple):
    """One price of the order book with the whole funded size that rests there (base units)."""

    price: float
    size: float


class AmmPool(NamedTuple):
    """A constant-product pool: reserves in base and quote units, fee as a fraction (0.00267 = 0.267 %)."""

    base: float
    quote: float
    fee: float

    @property
    def spot(self) -> float:
        """Marginal price before the fee, quote per base."""
        return self.quote / self.base

    @property
    def bid(self) -> float:
        """What the next bit of base sold to the pool fetches, fee included: spot * (1 - fee) (XRPL.md A3)."""
        return self.quote / self.base * (1.0 - self.fee)

    @property
    def ask(self) -> float:
        """What the next bit of base bought from the pool costs, fee included: spot / (1 - fee) (XRPL.md A3)."""
        return self.quote / self.base / (1.0 - self.fee)

    def base_bought_beyond(self, price: float) -> float:
        """Base that a buyer took while the pool's ask stood above `price`, to have left the pool as it is now.

        From base * quote = k: at ask `price` the spot is price * (1 - fee), so the pool held sqrt(k / spot) of base.
        0.0 if the pool's ask never rose above the price.
        """
        return max(0.0, math.sqrt(self.base * self.quote / (price * (1.0 - self.fee))) - self.base)

    def base_sold_beyond(self, price: float) -> float:
        """Base that a seller gave while the pool's bid stood below `price`, to have left the pool as it is now."""
        return max(0.0, self.base - math.sqrt(self.base * self.quote * (1.0 - self.fee) / price))


class Print(NamedTuple):
    """One public execution since the previous view: a taker met one price of the book, or the pool.

    For a pool execution `price` is the average and `pool_after` the pool it left behind; for the book it is None.
    """

    taker_side: TakerSide
    price: float
    size: float
    pool_after: AmmPool | None = None


class MarketView(NamedTuple):
    """One look at the market. `bids` and `asks` are whole levels, best first, without expired or unfunded offers.

    The four touch fields are the best prices after dust was skipped (`market.min_touch_size`), None where a side is
    empty; they are kept on a stale or crossed view, for the record, while `mid` is None on it.
    """

    ts_ns: int
    ledger_index: int | None
    age_ms: int
    status: MarketStatus
    clob_bid: float | None
    clob_bid_size: float | None
    clob_ask: float | None
    clob_ask_size: float | None
    mid: float | None
    amm: AmmPool | None
    bids: tuple[Level, ...] = ()
    asks: tuple[Level, ...] = ()
    prints: tuple[Print, ...] = ()


def look(
    *,
    ts_ns: int,
    ledger_index: int | None,
    bids: tuple[Level, ...],
    asks: tuple[Level, ...],
    amm: AmmPool | None,
    prints: tuple[Print, ...] = (),
    age_ms: int = 0,
    stale_after_ms: int,
    min_touch_size: float = 0.0,
) -> MarketView:
    """Name what a book is worth and take its mid. Every feed builds its views here, so all agree on the words."""
    bid = _touch(bids, min_touch_size)
    ask = _touch(asks, min_touch_size)
    status = _status(bid, ask, stale=age_ms > stale_after_ms)
    return MarketView(
        ts_ns,
        ledger_index,
        age_ms,
        status,
        bid.price if bid else None,
        bid.size if bid else None,
        ask.price if ask else None,
        ask.size if ask else None,
        (bid.price + ask.price) / 2.0 if bid and ask and status == "OK" else None,
        amm,
        bids,
        asks,
        prints,
    )


def _touch(levels: tuple[Level, ...], min_touch_size: float) -> Level | None:
    """The best level that is not dust: anyone can place a tiny offer at the top to move a naive mid."""
    if not levels:
        return None
    if levels[0].size >= min_touch_size:
        return levels[0]
    return next((level for level in levels if level.size >= min_touch_size), None)


def _status(bid: Level | None, ask: Level | None, *, stale: bool) -> MarketStatus:
    if stale:
        return "STALE"
    if bid is None and ask is None:
        return "EMPTY"
    if bid is None or ask is None:
        return "ONE_SIDED"
    # A locked book (equal prices) is legal on the ledger: two passive offers rest side by side. Its mid is sound.
    return "CROSSED" if bid.price > ask.price else "OK"
