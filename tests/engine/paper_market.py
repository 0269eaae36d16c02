"""A paper venue and the market it stands in, as the tests of `venue_paper` set them up."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from engine_proc.holdings import Order, Report
from engine_proc.market import AmmPool, Level, MarketView, Print, look
from engine_proc.paper_matching import DROPS
from engine_proc.ports import Plan
from engine_proc.venue_paper import PaperVenue
from shared.records import Side
from shared.settings import Paper
from tests.engine.venue_contract import PUBLIC_ASKS, PUBLIC_BIDS, fills

QUANTA = {"price_quantum": Decimal("0.00001"), "size_quantum": Decimal("0.01")}
FEE = Paper().fee_base
POOL = AmmPool(base=1_900_000.0, quote=1_900_000.0 * 1.305, fee=0.00267)  # quotes 1.3015 / 1.3085
Prices = Sequence[tuple[float, float]]


def money(text: str) -> Decimal:
    return Decimal(text)


def order(order_id: str, side: Side, price: str, size: str = "200.00", *, replaces: str | None = None) -> Order:
    return Order(order_id, side, 0, money(price), money(size), money(size), "pending", replaces)


def view(
    *prints: Print, bids: Prices = PUBLIC_BIDS, asks: Prices = PUBLIC_ASKS, amm: AmmPool | None = None, age_ms: int = 0
) -> MarketView:
    return look(
        ts_ns=0,
        ledger_index=1,
        bids=tuple(Level(*level) for level in bids),
        asks=tuple(Level(*level) for level in asks),
        amm=amm,
        prints=prints,
        age_ms=age_ms,
        stale_after_ms=15_000,
    )


def sold(price: float, size: float) -> Print:
    return Print("sell", price, size)


def bought(price: float, size: float) -> Print:
    return Print("buy", price, size)


def sold_to_pool(pool: AmmPool, size: float) -> Print:
    base_in = size * (1 - pool.fee)
    out = pool.quote * base_in / (pool.base + base_in)
    return Print("sell", out / size, size, AmmPool(pool.base + size, pool.quote - out, pool.fee))


def venue_with(*orders: Order, market: MarketView | None = None, **paper) -> PaperVenue:
    """A venue where these orders rest; `paper` overrides its settings."""
    venue = PaperVenue(Paper(**paper), **QUANTA)
    venue.submit(Plan(place=orders))
    venue.reports(market or view())
    return venue


def whole_drops(base: float) -> Decimal:
    return Decimal(int(base * DROPS)) / DROPS


def filled(reports: Sequence[Report], order_id: str) -> Decimal:
    return sum((fill.base for fill in fills(reports, order_id)), Decimal(0))


class PaperStage:
    """The contract's stage: the test's own book, in memory."""

    def __init__(self, latency_ledgers: int) -> None:
        self.venue = PaperVenue(Paper(latency_ledgers=latency_ledgers), **QUANTA)

    def ledger(self, *, bids: Prices = PUBLIC_BIDS, asks: Prices = PUBLIC_ASKS, sold=(), bought=()):
        prints = [Print("sell", *flow) for flow in sold] + [Print("buy", *flow) for flow in bought]
        return self.venue.reports(view(*prints, bids=bids, asks=asks))

    def spend_all_quote(self) -> None:
        cheap = view(asks=((1.3, 50_000.0),))
        self.venue.reports(cheap)
        self.venue.submit(Plan(place=(order("spender", "bid", "1.30000", "10000.00"),)))
        self.venue.reports(cheap)
        self.venue.settle()
        assert self.venue.truth().quote == 0
