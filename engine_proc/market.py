"""What the engine sees of the market on one tick, and what that view is worth.

Everything here is a signal, so prices and sizes are floats; money (balances, our orders, our fills) is Decimal and
lives in `holdings`. A price that is not there is None, never 0.0.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

MarketStatus = Literal["OK", "STALE", "ONE_SIDED", "CROSSED", "EMPTY"]
TakerSide = Literal["buy", "sell"]

_new = tuple.__new__  # half the price of MarketView(...)


class Level(NamedTuple):
    """One price of the order book with the whole funded size that rests there (base units)."""

    price: float
    size: float


@dataclass(frozen=True, slots=True)
class AmmPool:
    """A constant-product pool: reserves in base and quote units, fee as a fraction (0.00267 = 0.267 %).

    The prices are worked out once, because every step of a tick reads them (XRPL.md A3):
    `spot` is marginal and before the fee, `bid` what the next bit of base sold to the pool fetches, spot * (1 - fee),
    `ask` what the next bit of base bought from it costs, spot / (1 - fee).
    """

    base: float
    quote: float
    fee: float
    spot: float = field(init=False)
    bid: float = field(init=False)
    ask: float = field(init=False)

    def __post_init__(self) -> None:
        """Work out the prices."""
        spot = self.quote / self.base
        object.__setattr__(self, "spot", spot)
        object.__setattr__(self, "bid", spot * (1.0 - self.fee))
        object.__setattr__(self, "ask", spot / (1.0 - self.fee))


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

    def older_by(self, waited_ns: int) -> MarketView:
        """The same view after a wait: its age counts, its status is what it was when it was made."""
        waited_ms = waited_ns // 1_000_000
        return self if waited_ms <= 0 else self._replace(age_ms=self.age_ms + waited_ms)


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
    bid_price, bid_size = _touch(bids, min_touch_size)
    ask_price, ask_size = _touch(asks, min_touch_size)
    mid: float | None = None
    status: MarketStatus = "OK"
    if age_ms > stale_after_ms:
        status = "STALE"
    elif bid_price is None or ask_price is None:
        status = "EMPTY" if bid_price is ask_price else "ONE_SIDED"
    elif bid_price > ask_price:
        # A locked book (equal prices) is legal on the ledger: two passive offers rest side by side. Its mid is sound.
        status = "CROSSED"
    else:
        mid = (bid_price + ask_price) / 2.0
    return _new(
        MarketView,
        (ts_ns, ledger_index, age_ms, status, bid_price, bid_size, ask_price, ask_size, mid, amm, bids, asks, prints),
    )


def _touch(levels: tuple[Level, ...], min_touch_size: float) -> tuple[float | None, float | None]:
    """The best level that is not dust: anyone can place a tiny offer at the top to move a naive mid."""
    for level in levels:
        if level.size >= min_touch_size:
            return level
    return None, None
