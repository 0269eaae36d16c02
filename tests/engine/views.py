"""What the steps of a tick work on, built in one line each: views, pools, orders, holdings, a gate's sight."""

from __future__ import annotations

from decimal import Decimal

from engine_proc.gate import Limits, Sight
from engine_proc.holdings import Holdings, Order, OrderState
from engine_proc.market import AmmPool, Level, MarketView, look
from engine_proc.ports import OPEN_TERMS, Terms
from engine_proc.strategy import Intent
from shared.records import Mode, Side
from shared.settings import Gate

STALE_AFTER_MS = 15_000


def pool(spot: float, fee: float = 0.0) -> AmmPool:
    """A pool of one base unit has exactly this spot."""
    return AmmPool(1.0, spot, fee)


def market(
    bid: float | None = 1.29,
    ask: float | None = 1.31,
    *,
    amm: AmmPool | None = None,
    age_ms: int = 0,
    ts_ns: int = 1_000,
) -> MarketView:
    """A book of one level a side; None empties the side."""
    return look(
        ts_ns=ts_ns,
        ledger_index=7,
        bids=() if bid is None else (Level(bid, 1000.0),),
        asks=() if ask is None else (Level(ask, 1000.0),),
        amm=amm,
        age_ms=age_ms,
        stale_after_ms=STALE_AFTER_MS,
    )


def around(mid: float, half_spread: float = 0.01, *, amm: AmmPool | None = None) -> MarketView:
    """A sound view whose mid is exactly this, for mids and half spreads that add without rounding."""
    view = market(mid - half_spread, mid + half_spread, amm=amm)
    assert view.mid == mid, "choose numbers that are exact in binary"
    return view


def intent(side: Side = "bid", price: str = "1.295", size: str = "100", level: int = 0) -> Intent:
    return Intent(side, level, Decimal(price), Decimal(size))


def order(
    order_id: str = "bid0-1",
    price: str = "1.295",
    size: str = "100",
    *,
    side: Side = "bid",
    level: int = 0,
    remaining: str | None = None,
    state: OrderState = "resting",
    replaces: str | None = None,
) -> Order:
    left = Decimal(size if remaining is None else remaining)
    return Order(order_id, side, level, Decimal(price), Decimal(size), left, state, replaces)


def holdings(base: str = "10000", quote: str = "13000", *orders: Order) -> Holdings:
    return Holdings(Decimal(base), Decimal(quote), {order.order_id: order for order in orders})


def sight(
    *,
    mode: Mode = "ACTIVE",
    view: MarketView | None = None,
    held: Holdings | None = None,
    recent_submits: int = 0,
    requote_tolerance_bps: float = 0.0,
    terms: Terms = OPEN_TERMS,
    **limits: object,
) -> Sight:
    """A gate's sight with wide limits; each test narrows the one it is about."""
    wide: dict[str, object] = {
        "age_ms_max": 10_000,
        "collar_bps": 9_000.0,
        "size_base_min": 0,
        "size_base_max": 10**9,
        "notional_quote_max": 10**9,
        "position_base_min": 0,
        "position_base_max": 10**9,
        "reserve_base": 0,
        "reserve_quote": 0,
        "submits_per_window_max": 10**6,
    }
    limits_seen = Limits.of(Gate.model_validate(wide | limits), requote_tolerance_bps)
    return Sight(mode, view or market(), held or holdings(), limits_seen, recent_submits, terms)
