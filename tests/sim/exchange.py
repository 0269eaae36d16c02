"""The market and the venue. They are outside the machine: they go on, with our orders and our money, while it is dead.

    engine dies before the venue hears    on record as submitted, and never was an order
    engine dies after the venue heard     an order that nobody tracks any more: an orphan at the next start
    venue silent                          it cannot be asked, and its reports come later, for up to 3 s

What becomes of our orders, the real paper venue decides; a new connection is not told what an older one had coming.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from engine_proc.feed_sim import SimFeed
from engine_proc.holdings import Report
from engine_proc.market import MarketView
from engine_proc.ports import OPEN_TERMS, Plan, VenueTruth, VenueUnreachable
from engine_proc.venue_paper import PaperVenue
from shared.settings import Config
from tests.sim.chance import Chance, EngineCrash
from tests.sim.clock import SimClock

FAULTS = {
    "engine dies before the venue hears": 0.01,
    "engine dies after the venue heard": 0.01,
    "venue silent": 0.002,
}
SILENT_MS_MAX = 3_000


class Exchange:
    """One market and our account there. Whoever connects last is the one who is told."""

    def __init__(self, config: Config, clock: SimClock, chance: Chance, seed: int) -> None:
        market, quote = config.market, config.strategy.quote
        self.clock = clock
        self.chance = chance
        self.feed = SimFeed(
            market.sim,
            clock,
            Random(f"market {seed}"),
            stale_after_ms=market.stale_after_ms,
            min_touch_size=market.min_touch_size,
        )
        self.venue = PaperVenue(
            config.execution.paper, price_quantum=quote.price_quantum, size_quantum=quote.size_quantum
        )
        self._silent_until_ns = 0

    def next(self) -> MarketView:
        """The next ledger."""
        return self.feed.next()

    def go_on(self, view: MarketView) -> None:
        """A ledger that nobody of ours looked at; what happened to our orders nobody is told."""
        self.venue.reports(view)

    def connect(self, may_submit: Callable[[Plan], None]) -> Connection:
        self.venue._reported.clear()
        return Connection(self, may_submit)

    def is_silent(self) -> bool:
        if self.chance.strikes("venue silent"):
            self._silent_until_ns = self.clock.monotonic_ns() + self.chance.between(1, SILENT_MS_MAX) * 1_000_000
        return self.clock.monotonic_ns() < self._silent_until_ns

    def heal(self) -> None:
        self._silent_until_ns = 0


class Connection:
    """Answers `ports.Venue` for one session. `may_submit` is asked before the venue hears of a plan."""

    terms = OPEN_TERMS

    def __init__(self, exchange: Exchange, may_submit: Callable[[Plan], None]) -> None:
        self._exchange = exchange
        self._venue = exchange.venue
        self._may_submit = may_submit
        self._held_back: tuple[Report, ...] = ()

    def reports(self, market: MarketView) -> tuple[Report, ...]:
        return self._told(self._venue.reports(market))

    def recorded(self) -> None:
        """It holds back what it has not told, and forgets what it has."""

    def submit(self, plan: Plan) -> None:
        self._may_submit(plan)
        if self._exchange.chance.strikes("engine dies before the venue hears"):
            raise EngineCrash
        self._venue.submit(plan)
        if self._exchange.chance.strikes("engine dies after the venue heard"):
            raise EngineCrash

    def settle(self) -> tuple[Report, ...]:
        return self._told(self._venue.settle())

    def truth(self) -> VenueTruth:
        if self._exchange.is_silent():
            raise VenueUnreachable("the venue is silent")
        return self._venue.truth()

    def close(self) -> None:
        """The venue goes on."""

    def _told(self, reports: tuple[Report, ...]) -> tuple[Report, ...]:
        self._held_back += reports
        if self._exchange.is_silent():
            return ()
        told, self._held_back = self._held_back, ()
        return told
