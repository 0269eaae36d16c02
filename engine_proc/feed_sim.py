"""The simulated market: a feed that never ends, needs nothing and is the same for the same settings and seed.

It behaves like the XRP/RLUSD market on the ledger, as measured on mainnet (XRPL.md, section D): makers re-quote around
a hidden fair price they know a ledger late, takers sweep book and pool together, arbitrage lets the pool lag inside its
fee band. What happens to it is told by `market.sim.scenario`, phase after phase, from the first again after the last:

    calm      a random walk; the pool follows by arbitrage
    drag      nobody trades the pool and the fair price settles 60 bps from its spot. Offers cannot rest through the
              pool's price, so the book gets wide, as it did on the recorded tape. Leave it 90 ticks or more to bite
    flapping  the same with a gap that swings around 35 bps, where the anchor's mode switches by default
    outage    the asks vanish, then the bids too, then both come back
    stale     the ledger stands still: the same view again and again, ever older
    thin      only the wide maker quotes, at times on one side

On top of that `glitch_rate` of all views (stale phases aside) show a book with a side missing, crossed, empty or stale
for one tick. That is the reader's trouble, not the market's: nobody trades on the ledger after it, so that what is
printed can always be found on the book of the view before.
"""

from __future__ import annotations

from engine_proc.market import Level, MarketView, Print, look
from engine_proc.ports import Rng
from engine_proc.sim_fair import FairPrice
from engine_proc.sim_makers import Makers
from engine_proc.sim_takers import Takers
from shared.clock import MarketClock
from shared.settings import Sim

START_NS = 1_767_225_600_000_000_000  # 2026-01-01T00:00:00Z
FIRST_LEDGER_INDEX = 100_000_000
INTERVAL_JITTER = 0.15  # ledgers close up to this share earlier or later than `ledger_ms`
OUTAGE_ASKS_EMPTY = 0.4  # share of an outage with bids only
OUTAGE_BOTH_EMPTY = 0.3  # share of it that follows, with neither
CROSSED_BPS = 3.0


class SimFeed:
    """A `ports.Feed`. The views of one feed are one run of the market; `rng` is used by this feed alone."""

    def __init__(
        self, settings: Sim, clock: MarketClock, rng: Rng, *, stale_after_ms: int, min_touch_size: float
    ) -> None:
        self._clock = clock
        self._random = rng.random
        self._stale_after_ms = stale_after_ms
        self._min_touch_size = min_touch_size
        self._ledger_ms = settings.ledger_ms
        self._interval_ns_min = settings.ledger_ms * 1_000_000 * (1.0 - INTERVAL_JITTER)
        self._interval_ns_range = settings.ledger_ms * 1_000_000 * 2.0 * INTERVAL_JITTER
        self._glitch_rate = settings.glitch_rate
        self._scenario = settings.scenario
        self._fair = FairPrice(settings, rng)
        self._takers = Takers(settings, rng)
        self._makers = Makers(settings, rng)
        self._makers.quote(self._fair.now, self._takers.pool_bid, self._takers.pool_ask)
        # What differs by phase; every other phase walks and is quoted as a calm one.
        self._moves = {"drag": self._fair.drag, "flapping": self._fair.flap}
        self._quotes = {"thin": self._makers.quote_thin, "outage": self._quote_outage}
        self._ts_ns = START_NS
        self._ledger_ns = START_NS
        self._ledger_index = FIRST_LEDGER_INDEX
        self._book_unseen = True
        self._phase = len(self._scenario) - 1
        self._enter_next_phase()

    def next(self) -> MarketView:
        """The next ledger's view. Never None: how long a session lasts is for the engine to say."""
        if self._ticks_in_phase == self._phase_ticks:
            self._enter_next_phase()
        self._ticks_in_phase += 1
        self._ts_ns += int(self._interval_ns_min + self._interval_ns_range * self._random())
        self._clock.advance_to(self._ts_ns)
        self._move_fair()
        if self._kind == "stale":
            return self._repeat((self._ts_ns - self._ledger_ns) // 1_000_000)
        if self._random() < self._glitch_rate:
            return self._glitch()
        takers, makers = self._takers, self._makers
        prints = () if self._book_unseen else takers.trade(makers, self._fair)
        self._book_unseen = False
        self._quote(self._fair.before, takers.pool_bid, takers.pool_ask)
        return self._close_ledger(makers.bids, makers.asks, prints)

    def close(self) -> None:
        """Nothing to let go of."""

    def _enter_next_phase(self) -> None:
        self._phase = (self._phase + 1) % len(self._scenario)
        self._ticks_in_phase = 0
        self._kind = self._scenario[self._phase].kind
        self._phase_ticks = self._scenario[self._phase].ticks
        strays = self._kind in {"drag", "flapping"}
        if strays:
            self._fair.hold_to(self._takers.pool.spot)
        self._takers.pool_open = not strays
        self._move_fair = self._moves.get(self._kind, self._fair.walk)
        self._quote = self._quotes.get(self._kind, self._makers.quote)

    def _quote_outage(self, centre: float, pool_bid: float, pool_ask: float) -> None:
        self._makers.quote(centre, pool_bid, pool_ask)
        done = (self._ticks_in_phase - 1) / self._phase_ticks
        if done < OUTAGE_ASKS_EMPTY:
            self._makers.withdraw(bids=False, asks=True)
        elif done < OUTAGE_ASKS_EMPTY + OUTAGE_BOTH_EMPTY:
            self._makers.withdraw(bids=True, asks=True)

    def _close_ledger(
        self, bids: tuple[Level, ...], asks: tuple[Level, ...], prints: tuple[Print, ...] = ()
    ) -> MarketView:
        self._ledger_index += 1
        self._ledger_ns = self._ts_ns
        return self._view(bids, asks, prints, 0)

    def _repeat(self, age_ms: int) -> MarketView:
        """The last ledger once more; its prints were told the first time."""
        return self._view(self._makers.bids, self._makers.asks, (), age_ms)

    def _glitch(self) -> MarketView:
        """A view that shows less, or other, than what rests; the market itself stands still for this ledger."""
        self._book_unseen = True
        bids, asks = self._makers.bids, self._makers.asks
        what = int(5.0 * self._random())
        if what == 0:
            return self._repeat(self._stale_after_ms + self._ledger_ms)
        if what == 1:
            return self._close_ledger((), ())
        if what == 2:
            return self._close_ledger((), asks)
        if what == 3 or not asks:
            return self._close_ledger(bids, ())
        # An offer past its expiration that the ledger still lists, through the other side.
        leftover = Level(asks[0].price * (1.0 + CROSSED_BPS * 1e-4), asks[0].size)
        return self._close_ledger((leftover, *bids), asks)

    def _view(
        self, bids: tuple[Level, ...], asks: tuple[Level, ...], prints: tuple[Print, ...], age_ms: int
    ) -> MarketView:
        return look(
            ts_ns=self._ts_ns,
            ledger_index=self._ledger_index,
            bids=bids,
            asks=asks,
            amm=self._takers.pool,
            prints=prints,
            age_ms=age_ms,
            stale_after_ms=self._stale_after_ms,
            min_touch_size=self._min_touch_size,
        )
