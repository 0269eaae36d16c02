"""One example of every kind, and a strategy for any record: the test data of codec, journal and golden bytes."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from hypothesis import strategies as st

from shared.records import (
    KINDS,
    Amount,
    BreakerEvent,
    Document,
    EngineState,
    FillRecord,
    Float,
    Int,
    InventoryTruth,
    ModeChanged,
    Name,
    OrderEvent,
    Reason,
    ReconcilerAnomaly,
    Record,
    SessionClosed,
    SessionOpened,
    TickRecord,
)

SESSION_UID = "20261120T140209-sim-1a2b3c"

TICK = TickRecord(
    tick=37,
    ts_ns=1_763_647_329_113_000_000,
    ledger_index=100_200_300,
    mode="ACTIVE",
    market_status="OK",
    market_age_ms=412,
    clob_bid=1.30421,
    clob_bid_size=1500.0,
    clob_ask=1.30682,
    clob_ask_size=2200.25,
    mid=1.305515,
    amm_price=1.3091,
    amm_fee_fraction=0.00267,
    clob_vs_amm_divergence_bps=-27.384462607898637,
    anchor_mode="amm",
    quote_anchor_price=1.306604,
    anchor_error_bps=8.341535715789417,
    guard_window_n=25,
    guard_mean_bps=7.000000000000001,
    guard_prevalence_pct=64.0,
    bid_price=1.30556,
    ask_price=1.30765,
    distance_to_touch_bid_bps=-10.34,
    distance_to_touch_ask_bps=6.36,
    no_quote_reason_bid=None,
    no_quote_reason_ask=None,
    open_orders=4,
    orders_submitted=2,
    orders_cancelled=0,
    orders_denied=0,
    fills=1,
    base_balance=10000.5,
    quote_balance=12999.25,
    inventory_skew=0.0001,
    mark_value=26055.052,
    volatility_bps=3.8,
    tick_duration_us=61.5,
    outbox_unsent=0,
)

EXAMPLES: dict[str, Record] = {
    "session_opened": SessionOpened(
        1_763_647_329_113_000_000,
        1_763_647_329_200_000_001,
        "sim",
        "XRP/RLUSD",
        "ACTIVE",
        "0123456789abcdef",
        "{}",
        "0.1.0",
    ),
    "tick": TICK,
    "breaker_event": BreakerEvent(
        1_763_647_329_113_000_000,
        1_763_647_329_200_000_001,
        37,
        "anchor_saturation_guard",
        None,
        1,
        '{"mean_error_bps":7.31}',
    ),
    "mode_changed": ModeChanged(
        1_763_647_329_113_000_000, 37, "ACTIVE", "DEGRADED", "degrade", "anchor_saturation_guard_exceeded"
    ),
    "order_event": OrderEvent(
        1_763_647_329_113_000_000, 37, "b0-000037", "submitted", "bid", 0, "1.30556", "200.00", "b0-000036", None
    ),
    "fill": FillRecord(
        1_763_647_329_113_000_000, 37, "t1", "b0-000036", "bid", "maker", "1.30556", "12.5", "16.3195", None
    ),
    "inventory_truth": InventoryTruth(
        1_763_647_329_113_000_000, 50, "10000.5", "10000.5", "12999.25", "12999.250001", 4, 4, 0
    ),
    "reconciler_anomaly": ReconcilerAnomaly(
        1_763_647_329_113_000_000, 50, "ORDER_UNKNOWN", "x9 – größer", None, "12.5", None
    ),
    "engine_state": EngineState(1_763_647_329_113_000_000, "anchor.pct_error_above_5bps", "12.5"),
    "session_closed": SessionClosed(
        1_763_647_329_113_000_000, 1_763_647_629_200_000_001, "feed_ended", "DEGRADED", 1200, 52, 96, 2400, 3, 1, 0
    ),
}

_PLAIN = {
    Int: st.integers(-(2**63), 2**63 - 1),
    Float: st.floats(allow_nan=False, allow_infinity=False),
    Name: st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=80),
    Reason: st.text(st.characters(exclude_categories=["Cs"]), max_size=500),
    Document: st.text(st.characters(exclude_categories=["Cs"]), max_size=2000),
    Amount: st.from_regex(r"-?[0-9]{1,20}(\.[0-9]{1,15})?", fullmatch=True),
}


def any_record(kind: str) -> st.SearchStrategy[Record]:
    """Any valid record of a kind, derived from its definition, so that a new field is covered the day it is added."""
    record_type = KINDS[kind]
    hints = get_type_hints(record_type, include_extras=True)
    return st.tuples(*(_any_value(hints[name]) for name in record_type._fields)).map(
        lambda values: record_type(*values)
    )


def _any_value(hint: Any) -> st.SearchStrategy[Any]:
    if hint in _PLAIN:
        return _PLAIN[hint]
    if get_origin(hint) is Literal:
        return st.sampled_from(get_args(hint))
    if hint is type(None):
        return st.none()
    if get_origin(hint) is Annotated:  # Annotated flattens: Annotated[Annotated[int, Field], Doc] is one with both
        base, *extras = get_args(hint)
        inner = Annotated[(base, *extras[:-1])] if len(extras) > 1 else base
        return _any_value(inner)
    return st.one_of(*(_any_value(part) for part in get_args(hint)))
