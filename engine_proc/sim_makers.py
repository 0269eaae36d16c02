"""Who rests on the simulated book: a main maker, a wide one, far offers, and now and then dust at the top.

No offer is ever placed through the pool's price, fee included: on the ledger it would trade with the pool at once
(XRPL.md, fact 2). Bids are `centre / (1 + offset)`, so no setting can make a price zero or negative.
"""

from __future__ import annotations

import math
from operator import itemgetter
from typing import NamedTuple

from engine_proc.market import Level, TakerSide
from engine_proc.ports import Rng
from shared.settings import Sim

MISS_RATE = 0.05  # a ledger that the main maker's transaction misses; never more than two in a row
MISSES_IN_A_ROW_MAX = 2
DUST_RATE = 0.02
SLOW_RATE = 0.25  # outer levels and the wide maker renew their offers, and dust has expired by then
INNER_LEVELS = 3  # the main maker renews these every ledger, its outer ones at the slow rate

WIDE_HALF_SPREAD_BPS = (18.0, 22.0)
WIDE_SIZE = 1200.0
WIDE_INSIDE = 1.00007
# Crooked, so that a far offer never shares a price with a level of the main maker.
FAR_OFFERS_BPS = ((110.737, 4000.0), (191.313, 8000.0), (332.909, 15_000.0))
FAR_DRIFT_BPS = 25.0  # far offers follow only when the market has moved this much
DUST_SIZE = (0.5, 15.0)
DUST_DEPTH = (0.1, 0.4)  # how far into the spread dust is placed, as a share of it

THIN_RENEW_RATE = 0.5
THIN_ONE_SIDED_RATE = 0.03

_by_price = itemgetter(0)
_new = tuple.__new__  # half the price of Level(...), where a dozen levels are made a ledger


class Ladder(NamedTuple):
    """One owner's offers on both sides. `rungs` are (1 + offset from the centre, size in base units), inner first.

    `inside` is 1 + how near to the pool's price the first rung may come. Each ladder has its own, so that no two offers
    held back by the pool rest at one price.
    """

    inside: float
    rungs: tuple[tuple[float, float], ...]

    @classmethod
    def of(cls, inside_bps: float, offers: tuple[tuple[float, float], ...]) -> Ladder:
        """From (offset in bps, size) pairs."""
        return cls(1.0 + inside_bps * 1e-4, tuple((1.0 + bps * 1e-4, size) for bps, size in offers))

    def place(self, centre: float, pool_bid: float, pool_ask: float) -> tuple[list[Level], list[Level]]:
        """Bids and asks around `centre`, a whole side moved away where its first rung would reach the pool's price."""
        inside, rungs = self
        first = rungs[0][0]
        highest_below, lowest_above = pool_ask / inside * first, pool_bid * inside / first
        below = highest_below if highest_below < centre else centre
        above = lowest_above if lowest_above > centre else centre
        # One loop with everything at hand, and no `min` and `max`: this is the busiest spot of the whole market.
        bids: list[Level] = []
        asks: list[Level] = []
        new, level = _new, Level
        for up, size in rungs:
            bids.append(new(level, (below / up, size)))
            asks.append(new(level, (above * up, size)))
        return bids, asks


class Makers:
    """The book and those who keep it. `bids` and `asks` are whole levels, best first."""

    def __init__(self, settings: Sim, rng: Rng) -> None:
        self._random = rng.random
        half, step = settings.maker_half_spread_bps, settings.maker_step_bps
        offers = tuple((half + step * rung, size) for rung, size in enumerate(settings.maker_sizes))
        self._inner = Ladder.of(0.5, offers[:INNER_LEVELS])
        self._outer = Ladder.of(0.9, offers[INNER_LEVELS:]) if len(offers) > INNER_LEVELS else None
        self._far = Ladder.of(1.3, FAR_OFFERS_BPS)
        self._far_centre = 0.0  # nowhere yet
        self._far_bids: list[Level] = []
        self._far_asks: list[Level] = []
        self._misses = 0
        self.bids: tuple[Level, ...] = ()
        self.asks: tuple[Level, ...] = ()
        self._main_bids: list[Level] = []
        self._main_asks: list[Level] = []
        self._slow_bids: list[Level] = []
        self._slow_asks: list[Level] = []
        self._dust_bids: list[Level] = []
        self._dust_asks: list[Level] = []

    def quote(self, centre: float, pool_bid: float, pool_ask: float) -> None:
        """One ledger of everybody's re-quoting around `centre`.

        One draw decides which of the less common things happens on this ledger, so at most one of them does.
        """
        chance = self._random()
        if chance >= MISS_RATE or self._misses == MISSES_IN_A_ROW_MAX or not self._main_bids or not self._main_asks:
            self._main_bids, self._main_asks = self._inner.place(centre, pool_bid, pool_ask)
            self._misses = 0
        else:
            self._misses += 1
        if chance >= 1.0 - SLOW_RATE or not self._slow_bids or not self._slow_asks:
            self._quote_slow(centre, pool_bid, pool_ask)
        self._merge()
        if 1.0 - SLOW_RATE - DUST_RATE <= chance < 1.0 - SLOW_RATE:
            self._drop_dust(pool_bid, pool_ask)
        if self._reached(pool_bid, pool_ask):
            self._main_bids, self._main_asks = self._inner.place(centre, pool_bid, pool_ask)
            self._far_centre = 0.0
            self._quote_slow(centre, pool_bid, pool_ask)
            self._merge()

    def quote_thin(self, centre: float, pool_bid: float, pool_ask: float) -> None:
        """One ledger on which only the wide maker is there, at times with one side only."""
        alone = len(self.bids) <= 1 and len(self.asks) <= 1
        if not alone:
            self.withdraw(bids=True, asks=True)
        chance = self._random()
        if not alone or chance >= 1.0 - THIN_RENEW_RATE or self._reached(pool_bid, pool_ask):
            self._slow_bids, self._slow_asks = self._wide().place(centre, pool_bid, pool_ask)
        elif chance < THIN_ONE_SIDED_RATE:
            self.withdraw(bids=chance < THIN_ONE_SIDED_RATE / 2, asks=chance >= THIN_ONE_SIDED_RATE / 2)
        self._merge()

    def withdraw(self, *, bids: bool, asks: bool) -> None:
        """Cancel all offers of a side."""
        if bids:
            self.bids = ()
            self._main_bids, self._slow_bids, self._dust_bids = [], [], []
        if asks:
            self.asks = ()
            self._main_asks, self._slow_asks, self._dust_asks = [], [], []

    def taken(self, side: TakerSide, left: tuple[Level, ...]) -> None:
        """A taker came and `left` is what remains of the asks (it bought) or of the bids (it sold)."""
        if side == "buy":
            self.asks = left
            self._main_asks = _remaining(self._main_asks, left)
            self._slow_asks = _remaining(self._slow_asks, left)
            self._dust_asks = _remaining(self._dust_asks, left)
        else:
            self.bids = left
            self._main_bids = _remaining(self._main_bids, left)
            self._slow_bids = _remaining(self._slow_bids, left)
            self._dust_bids = _remaining(self._dust_bids, left)

    def _quote_slow(self, centre: float, pool_bid: float, pool_ask: float) -> None:
        if abs(centre - self._far_centre) > FAR_DRIFT_BPS * 1e-4 * centre:
            self._far_centre = centre
            self._far_bids, self._far_asks = self._far.place(centre, pool_bid, pool_ask)
        bids, asks = self._wide().place(centre, pool_bid, pool_ask)
        if self._outer is not None:
            outer_bids, outer_asks = self._outer.place(centre, pool_bid, pool_ask)
            bids += outer_bids
            asks += outer_asks
        bids += self._far_bids
        asks += self._far_asks
        bids.sort(key=_by_price, reverse=True)
        asks.sort(key=_by_price)
        self._slow_bids, self._slow_asks = bids, asks
        self._dust_bids, self._dust_asks = [], []

    def _wide(self) -> Ladder:
        tightest, widest = WIDE_HALF_SPREAD_BPS
        half_spread_bps = tightest + (widest - tightest) * self._random()
        return Ladder(WIDE_INSIDE, ((1.0 + half_spread_bps * 1e-4, WIDE_SIZE),))

    def _drop_dust(self, pool_bid: float, pool_ask: float) -> None:
        """A tiny offer inside the spread, which a naive mid would follow."""
        best_bid, best_ask = self.bids[0].price, self.asks[0].price
        depth = (DUST_DEPTH[0] + (DUST_DEPTH[1] - DUST_DEPTH[0]) * self._random()) * (best_ask - best_bid)
        size = DUST_SIZE[0] + (DUST_SIZE[1] - DUST_SIZE[0]) * self._random()
        if self._random() < 0.5:
            self._dust_bids = [Level(best_bid + depth, size)] if best_bid + depth < pool_ask else []
        else:
            self._dust_asks = [Level(best_ask - depth, size)] if best_ask - depth > pool_bid else []
        self._merge()

    def _merge(self) -> None:
        bids = self._main_bids + self._slow_bids
        if self._dust_bids:
            bids += self._dust_bids
        bids.sort(key=_by_price, reverse=True)
        self.bids = tuple(bids)
        asks = self._main_asks + self._slow_asks
        if self._dust_asks:
            asks += self._dust_asks
        asks.sort(key=_by_price)
        self.asks = tuple(asks)

    def _reached(self, pool_bid: float, pool_ask: float) -> bool:
        """Whether the market has moved so far that an offer left behind meets the pool or the other side."""
        bid = self.bids[0].price if self.bids else 0.0
        ask = self.asks[0].price if self.asks else math.inf
        return bid >= pool_ask or ask <= pool_bid or bid >= ask


def _remaining(offers: list[Level], left: tuple[Level, ...]) -> list[Level]:
    """What is left of one owner's offers (best first) on a side where now `left` remains of all: a tail of them."""
    if not left or not offers:
        return []
    tip = left[0]
    for first, offer in enumerate(offers):
        if offer.price == tip.price:
            return [tip, *offers[first + 1 :]]
        if offer in left:
            return offers[first:]
    return []
