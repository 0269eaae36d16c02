"""An engine on a desk: a feed of given views, a venue in memory, every record kept. Built like app.py builds it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal

from engine_proc.engine import Engine, SessionFacts
from engine_proc.market import AmmPool, Level, MarketView, Print, look
from engine_proc.modes import ModeState
from engine_proc.ports import KillSwitch, Venue
from engine_proc.venue_paper import PaperVenue
from shared.clock import MarketClock
from shared.config import build_config
from shared.records import Record
from shared.settings import Config

SECOND_NS = 1_000_000_000


class KeptRecords:
    """A Recorder that keeps everything; set `fault` to make it refuse like a full disk."""

    def __init__(self) -> None:
        self.fault: str | None = None
        self.unsent = 0
        self.records: list[Record] = []

    def emit(self, *records: Record) -> None:
        self.records.extend(records)

    def close(self) -> None:
        pass

    def of(self, kind: type) -> list:
        return [record for record in self.records if isinstance(record, kind)]


class GivenFeed:
    """A feed that hands out the views it was given."""

    def __init__(self, views: Iterable[MarketView]) -> None:
        self._views = iter(views)

    def next(self) -> MarketView | None:
        return next(self._views, None)

    def close(self) -> None:
        pass


def config(*overrides: str) -> Config:
    quiet = ("execution.paper.latency_ledgers=0", "reconcile.interval_ticks=1000000")
    return build_config({}, "test", (*quiet, *overrides)).config


def view(
    tick: int = 1,
    *,
    mid: float = 1.3,
    half_spread_bps: float = 20.0,
    spot_bps: float | None = 0.0,
    fee: float = 0.0,
    age_ms: int = 0,
    bids: Sequence[Level] | None = None,
    asks: Sequence[Level] | None = None,
    prints: tuple[Print, ...] = (),
) -> MarketView:
    """A book around `mid`; the pool's spot stands `spot_bps` away from it. With fee 0 the anchor error is spot_bps."""
    half = mid * half_spread_bps / 1e4
    pool = None if spot_bps is None else AmmPool(1_000_000.0, 1_000_000.0 * mid * (1 + spot_bps / 1e4), fee)
    return look(
        ts_ns=tick * 4 * SECOND_NS,
        ledger_index=1000 + tick,
        bids=tuple(bids) if bids is not None else (Level(mid - half, 5000.0),),
        asks=tuple(asks) if asks is not None else (Level(mid + half, 5000.0),),
        amm=pool,
        prints=prints,
        age_ms=age_ms,
        stale_after_ms=15_000,
    )


def no_mid(tick: int = 1) -> MarketView:
    return view(tick, bids=(), asks=())


def engine(
    settings: Config | None = None,
    *,
    venue: Venue | None = None,
    state: ModeState | None = None,
    kill_switch: KillSwitch | None = None,
) -> tuple[Engine, KeptRecords]:
    settings = settings or config()
    quote = settings.strategy.quote
    venue = venue or PaperVenue(
        settings.execution.paper, price_quantum=quote.price_quantum, size_quantum=quote.size_quantum
    )
    records = KeptRecords()
    made = Engine(settings, MarketClock(), GivenFeed(()), venue, records, state or ModeState(), kill_switch)
    made.open_session(SessionFacts("paper", "0" * 16, "{}", "test"))
    return made, records


def saturated(made: Engine, ticks: int, *, error_bps: float = 10.0, first_tick: int = 1) -> None:
    """Tick with an anchor that sits `error_bps` from mid. `auto` with a wide switch takes raw spot."""
    for tick in range(first_tick, first_tick + ticks):
        made.tick(view(tick, spot_bps=error_bps))


SPOT = ("strategy.anchor.mode=amm", "strategy.anchor.reference=spot")
ONE_LEVEL = "strategy.quote.levels=1"
TEN = Decimal(10)
