"""Who trades in the simulated market: takers with and without foresight, and arbitrage between pool and market."""

from __future__ import annotations

import math

from engine_proc.market import AmmPool, Print, TakerSide
from engine_proc.ports import Rng
from engine_proc.sim_fair import FairPrice
from engine_proc.sim_makers import Makers
from engine_proc.sim_pool import sweep
from shared.settings import Sim

SLIPPAGE_BPS_MAX = 100.0  # an uninformed taker accepts this much; an informed one nothing beyond what it foresees
ARBITRAGE_STEP_BPS = 6.0  # of the pool's spot, per ledger: a gap left by a drag takes some ledgers to close


class Takers:
    """The flow of orders that execute at once, and the pool it moves.

    `pool_bid` and `pool_ask` are the pool's prices with the fee. While `pool_open` is False nobody trades with the
    pool: there is no arbitrage, and takers whose way would lead through it stay away.
    """

    def __init__(self, settings: Sim, rng: Rng) -> None:
        self._random = rng.random
        self._quiet = math.exp(-settings.taker_rate)
        self._size = settings.taker_size
        self._informed_share = settings.informed_share
        self._worthwhile = 1.0 + settings.arbitrage_threshold_bps * 1e-4
        self._arbitrage_share = ARBITRAGE_STEP_BPS * 1e-4 / 2.0  # spot moves by twice the share of base that is taken
        self.pool_open = True
        self._settle(AmmPool(settings.pool_base, settings.pool_base * settings.fair_price, settings.pool_fee))

    def trade(self, makers: Makers, fair: FairPrice) -> tuple[Print, ...]:
        """One ledger's executions, in order, against the book that rests and the pool."""
        prints: list[Print] = []
        # Arrivals are Poisson: as many as uniform draws can be multiplied before the product falls to exp(-rate).
        product = self._random()
        while product > self._quiet:
            self._arrive(makers, fair, prints)
            product *= self._random()
        if self.pool_open:
            self._arbitrage(makers, fair.now, prints)
        return tuple(prints)

    def _arrive(self, makers: Makers, fair: FairPrice, prints: list[Print]) -> None:
        size = -self._size * math.log(1.0 - self._random())
        kind = self._random()
        side: TakerSide
        if kind < self._informed_share:
            # Better informed than the makers, whose offers stand around the price of one ledger ago.
            limit = fair.ahead
            side = "buy" if limit > fair.before else "sell"
        elif kind < (1.0 + self._informed_share) / 2.0:
            side, limit = "buy", fair.now * (1.0 + SLIPPAGE_BPS_MAX * 1e-4)
        else:
            side, limit = "sell", fair.now / (1.0 + SLIPPAGE_BPS_MAX * 1e-4)
        self._execute(side, size, limit, makers, prints)

    def _arbitrage(self, makers: Makers, fair: float, prints: list[Print]) -> None:
        """Move the pool towards the fair price, but only once the gap pays for the fee and the trouble."""
        if fair > self.pool_ask * self._worthwhile:
            self._execute("buy", self.pool.base * self._arbitrage_share, fair, makers, prints)
        elif fair * self._worthwhile < self.pool_bid:
            self._execute("sell", self.pool.base * self._arbitrage_share, fair, makers, prints)

    def _execute(self, side: TakerSide, size: float, limit: float, makers: Makers, prints: list[Print]) -> None:
        book = makers.asks if side == "buy" else makers.bids
        swept = sweep(side, size, limit, book, self.pool, pool_open=self.pool_open)
        if not swept.prints:
            return
        prints += swept.prints
        if swept.levels is not book:
            makers.taken(side, swept.levels)
        if swept.pool is not self.pool:
            self._settle(swept.pool)

    def _settle(self, pool: AmmPool) -> None:
        self.pool = pool
        self.pool_bid = pool.bid
        self.pool_ask = pool.ask
