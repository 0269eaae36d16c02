"""What Kedge records: one NamedTuple a kind. This file is the only place that says so.

From the fields here follow the wire order, the validation, the columns, the additive migration, the insert and
docs/telemetry.md. **Adding a field is one line**: append it to its record with the default None.

Laws of evolution (golden bytes of every released version are decoded in the tests):

1. fields are only appended, never moved, renamed, retyped or removed;
2. an appended field has the default None, and its type admits None;
3. a reader fills missing trailing fields with None and ignores extra ones.

A value that is not there is None, which becomes NULL. It is never 0.0, never NaN: SQLite stores NaN as NULL, and
"not measured" and "measured as nonsense" would merge, so NaN and infinities are refused at validation.

Signals are floats and become REAL. Money is a decimal string and becomes TEXT, digit for digit as it was
accounted; SUM() and CAST(... AS REAL) work on it, comparisons need the CAST.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

from pydantic import Field, StringConstraints

WIRE_VERSION = 1

Int = Annotated[int, Field(ge=-(2**63), le=2**63 - 1)]
Float = Annotated[float, Field(allow_inf_nan=False)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=80)]
Reason = Annotated[str, StringConstraints(max_length=500)]
Document = Annotated[str, StringConstraints(max_length=65_536)]
Amount = Annotated[str, StringConstraints(max_length=40, pattern=r"^-?[0-9]+(\.[0-9]+)?$")]

Mode = Literal["ACTIVE", "DEGRADED", "HALT"]
Side = Literal["bid", "ask"]
VenueMode = Literal["sim", "paper", "replay", "live"]


class Doc(NamedTuple):
    """What a field means, for docs/telemetry.md: its unit, one sentence, and what NULL says (None: never NULL)."""

    unit: str
    meaning: str
    null: str | None = None


class SessionOpened(NamedTuple):
    """The first record of every session (seq 0): who runs, on what, with which settings."""

    ts_ns: Annotated[
        Int, Doc("ns since 1970", "market time of the opening; 0 where the market's clock starts with its first view")
    ]
    wall_ns: Annotated[Int, Doc("ns since 1970", "wall clock of the opening")]
    venue_mode: Annotated[VenueMode, Doc("", "what the orders go to")]
    pair: Annotated[Name, Doc("", "base/quote")]
    initial_mode: Annotated[Mode, Doc("", "the mode the session starts in")]
    config_hash: Annotated[Name, Doc("", "SHA-256 of the effective configuration, first 16 hex digits")]
    config_json: Annotated[Document, Doc("JSON", "the effective configuration, without secrets")]
    code_version: Annotated[Name, Doc("", "version of Kedge that ran")]
    crashed_uid: Annotated[
        Name | None,
        Doc(
            "", "the session before it in its journal directory, where that ended without being closed", "it was closed"
        ),
    ] = None


class TickRecord(NamedTuple):
    """One look at the market and one decision; written on every tick in every mode, quote or no quote."""

    tick: Annotated[Int, Doc("", "number of the tick in its session, from 1")]
    ts_ns: Annotated[Int, Doc("ns since 1970", "market time of the tick")]
    ledger_index: Annotated[Int | None, Doc("", "validated ledger that the view was read at", "not a ledger market")]
    mode: Annotated[Mode, Doc("", "mode at the end of the tick")]
    market_status: Annotated[
        Literal["OK", "STALE", "ONE_SIDED", "CROSSED", "EMPTY"], Doc("", "what the view was worth")
    ]
    market_age_ms: Annotated[Int, Doc("ms", "age of the market view when it was used")]
    clob_bid: Annotated[Float | None, Doc("quote per base", "best bid of the order book", "no bids")]
    clob_bid_size: Annotated[Float | None, Doc("base", "size at the best bid", "no bids")]
    clob_ask: Annotated[Float | None, Doc("quote per base", "best ask of the order book", "no asks")]
    clob_ask_size: Annotated[Float | None, Doc("base", "size at the best ask", "no asks")]
    mid: Annotated[
        Float | None,
        Doc("quote per base", "(clob_bid + clob_ask)/2", "the book is empty, one-sided, crossed or stale"),
    ]
    amm_price: Annotated[Float | None, Doc("quote per base", "spot price of the AMM pool", "no pool")]
    amm_fee_fraction: Annotated[Float | None, Doc("fraction", "trading fee of the AMM pool", "no pool")]
    clob_vs_amm_divergence_bps: Annotated[
        Float | None, Doc("bps", "(mid - amm_price)/amm_price * 1e4: a measurement of the market", "either is missing")
    ]
    anchor_mode: Annotated[
        Literal["clob", "amm", "capped"] | None,
        Doc("", "which rule gave the anchor on this tick", "no anchor on this tick"),
    ]
    quote_anchor_price: Annotated[
        Float | None, Doc("quote per base", "price that the strategy quotes around on this tick", "no anchor")
    ]
    anchor_error_bps: Annotated[
        Float | None,
        Doc("bps", "(quote_anchor_price - mid)/mid * 1e4: how far our anchor sits from mid", "mid or anchor missing"),
    ]
    guard_window_n: Annotated[Int, Doc("errors", "errors in the guard's window after this tick; armed when full")]
    guard_mean_bps: Annotated[Float | None, Doc("bps", "signed mean of the errors in the window", "window empty")]
    guard_prevalence_pct: Annotated[
        Float | None, Doc("%", "share of errors in the window at or above the prevalence threshold", "window empty")
    ]
    bid_price: Annotated[Float | None, Doc("quote per base", "our best bid after the gate", "no bid quoted")]
    ask_price: Annotated[Float | None, Doc("quote per base", "our best ask after the gate", "no ask quoted")]
    distance_to_touch_bid_bps: Annotated[
        Float | None,
        Doc("bps", "(clob_bid - bid_price)/mid * 1e4; negative: we improve the touch", "no bid quoted or no mid"),
    ]
    distance_to_touch_ask_bps: Annotated[
        Float | None,
        Doc("bps", "(ask_price - clob_ask)/mid * 1e4; negative: we improve the touch", "no ask quoted or no mid"),
    ]
    no_quote_reason_bid: Annotated[Name | None, Doc("", "why no bid is quoted on this tick", "a bid is quoted")]
    no_quote_reason_ask: Annotated[Name | None, Doc("", "why no ask is quoted on this tick", "an ask is quoted")]
    open_orders: Annotated[Int, Doc("orders", "orders of ours that rest or are under way after this tick")]
    orders_submitted: Annotated[Int, Doc("orders", "orders sent to the venue on this tick, replacements included")]
    orders_cancelled: Annotated[Int, Doc("orders", "cancels sent to the venue on this tick, replacements excluded")]
    orders_denied: Annotated[Int, Doc("orders", "intents that our own gate refused on this tick")]
    fills: Annotated[Int, Doc("fills", "fills that the venue reported on this tick")]
    base_balance: Annotated[Float, Doc("base", "tracked balance that the strategy saw on this tick")]
    quote_balance: Annotated[Float, Doc("quote", "tracked balance that the strategy saw on this tick")]
    inventory_skew: Annotated[
        Float | None, Doc("-1..1", "base held above (+) or below (-) target, share of the allowed band", "no anchor")
    ]
    mark_value: Annotated[Float | None, Doc("quote", "quote_balance + base_balance * mid", "no mid")]
    volatility_bps: Annotated[
        Float | None, Doc("bps per tick", "EWMA of the tick-to-tick moves of mid", "fewer than two mids so far")
    ]
    tick_duration_us: Annotated[Float, Doc("us", "time this tick took, from its market view to its record")]
    outbox_unsent: Annotated[Int, Doc("records", "records of this session that the socket refused so far")]


class BreakerEvent(NamedTuple):
    """A breaker fired. Goes to circuit_breaker_events."""

    ts_ns: Annotated[Int, Doc("ns since 1970", "market time of the trip")]
    wall_ns: Annotated[Int, Doc("ns since 1970", "wall clock of the trip")]
    tick: Annotated[Int, Doc("", "tick of the trip")]
    breaker: Annotated[Name, Doc("", "which breaker")]
    cooldown_seconds: Annotated[Int | None, Doc("s", "time until it re-arms by itself", "it never does")]
    manual_reset_required: Annotated[Literal[0, 1], Doc("", "1: only the operator re-arms")]
    context_json: Annotated[Document, Doc("JSON", "what the breaker saw")]


class ModeChanged(NamedTuple):
    """The engine's mode, or its reason, changed."""

    ts_ns: Annotated[Int, Doc("ns since 1970", "market time of the change")]
    tick: Annotated[Int, Doc("", "tick of the change; 0 before the first")]
    from_mode: Annotated[Mode, Doc("", "mode before")]
    to_mode: Annotated[Mode, Doc("", "mode after")]
    signal: Annotated[Name, Doc("", "what was asked: degrade, halt, rearm")]
    reason: Annotated[Reason, Doc("", "why")]


class OrderEvent(NamedTuple):
    """Something happened to an order of ours, or to an intent that the gate refused."""

    ts_ns: Annotated[Int, Doc("ns since 1970", "market time of the event")]
    tick: Annotated[Int, Doc("", "tick of the event")]
    order_id: Annotated[Name | None, Doc("", "our id of the order", "a denied intent never became an order")]
    event: Annotated[
        Literal["submitted", "cancel_sent", "cancelled", "rejected", "expired", "denied"],
        Doc("", "submitted and cancel_sent are ours; cancelled, rejected and expired the venue's; denied our gate's"),
    ]
    side: Annotated[Side, Doc("", "bid or ask")]
    level: Annotated[Int, Doc("", "rung of the quote ladder, 0 is nearest to the anchor")]
    price: Annotated[Amount, Doc("quote per base", "limit price")]
    base_amount: Annotated[Amount, Doc("base", "size; for an ended order what remained")]
    replaces: Annotated[Name | None, Doc("", "order that this one replaces in the same transaction", "a fresh order")]
    reason: Annotated[
        Reason | None, Doc("", "reason code of a denial, the venue's result of a rejection", "none given")
    ]


class FillRecord(NamedTuple):
    """One execution of an order of ours, as the venue reported it."""

    ts_ns: Annotated[Int, Doc("ns since 1970", "market time of the report")]
    tick: Annotated[Int, Doc("", "tick that the report was read on")]
    trade_id: Annotated[Name, Doc("", "the venue's id of the execution, unique within the session")]
    order_id: Annotated[Name, Doc("", "our order")]
    side: Annotated[Side, Doc("", "bid: we bought base, ask: we sold base")]
    liquidity: Annotated[Literal["maker", "taker"], Doc("", "taker: our own order crossed when it arrived")]
    price: Annotated[Amount, Doc("quote per base", "price of the execution")]
    base_amount: Annotated[Amount, Doc("base", "base exchanged, positive")]
    quote_amount: Annotated[Amount, Doc("quote", "quote exchanged, positive")]
    mid: Annotated[Float | None, Doc("quote per base", "mid of the view that the report came with", "no mid")]


class InventoryTruth(NamedTuple):
    """The venue's own account of what we hold, beside what we tracked. Goes to inventory_truth_snapshots."""

    ts_ns: Annotated[Int, Doc("ns since 1970", "market time of the reading")]
    tick: Annotated[Int, Doc("", "tick of the reading")]
    base_tracked: Annotated[Amount, Doc("base", "balance that the engine tracked")]
    base_truth: Annotated[Amount, Doc("base", "balance at the venue")]
    quote_tracked: Annotated[Amount, Doc("quote", "balance that the engine tracked")]
    quote_truth: Annotated[Amount, Doc("quote", "balance at the venue")]
    orders_tracked: Annotated[Int, Doc("orders", "open orders that the engine tracked")]
    orders_truth: Annotated[Int, Doc("orders", "open orders at the venue")]
    drifted: Annotated[Literal[0, 1], Doc("", "1: beyond tolerance; the anomalies say how")]


class ReconcilerAnomaly(NamedTuple):
    """One difference between the venue's truth and what we tracked. Goes to reconciler_anomaly_log."""

    ts_ns: Annotated[Int, Doc("ns since 1970", "market time of the reading")]
    tick: Annotated[Int, Doc("", "tick of the reading")]
    anomaly: Annotated[
        Name, Doc("", "BALANCE_BASE, BALANCE_QUOTE, ORDER_UNKNOWN, ORDER_MISSING, ORDER_SIZE, TRUTH_UNREADABLE")
    ]
    subject: Annotated[Name, Doc("", "asset or order id")]
    tracked: Annotated[Reason | None, Doc("", "what we tracked", "nothing")]
    truth: Annotated[Reason | None, Doc("", "what the venue says", "nothing")]
    tolerance: Annotated[Amount | None, Doc("", "difference that would have been accepted", "none is")]


class EngineState(NamedTuple):
    """A named result of the session, such as anchor.pct_error_above_5bps; the last one written of a key stands."""

    ts_ns: Annotated[Int, Doc("ns since 1970", "market time of the statement")]
    key: Annotated[Name, Doc("", "dotted name")]
    value: Annotated[Reason | None, Doc("JSON scalar", "the value", "not measurable in this session")]


class SessionClosed(NamedTuple):
    """The last record of a session that ended in order. A journal without it ended in a crash."""

    ts_ns: Annotated[Int, Doc("ns since 1970", "market time of the end")]
    wall_ns: Annotated[Int, Doc("ns since 1970", "wall clock of the end")]
    end_reason: Annotated[Reason, Doc("", "what ended it: feed_ended, ticks_max, signal name")]
    final_mode: Annotated[Mode, Doc("", "mode at the end")]
    ticks: Annotated[Int, Doc("ticks", "ticks of the session")]
    null_error_ticks: Annotated[Int, Doc("ticks", "ticks without an anchor error")]
    fills: Annotated[Int, Doc("fills", "fills of the session")]
    orders_submitted: Annotated[Int, Doc("orders", "orders sent to the venue")]
    orders_denied: Annotated[Int, Doc("orders", "intents refused by the gate")]
    breaker_trips: Annotated[Int, Doc("", "breaker events of the session")]
    orders_surviving: Annotated[Int, Doc("orders", "orders that could not be confirmed cancelled")]


Record = (
    SessionOpened
    | TickRecord
    | BreakerEvent
    | ModeChanged
    | OrderEvent
    | FillRecord
    | InventoryTruth
    | ReconcilerAnomaly
    | EngineState
    | SessionClosed
)

KINDS: dict[str, type[Record]] = {
    "session_opened": SessionOpened,
    "tick": TickRecord,
    "breaker_event": BreakerEvent,
    "mode_changed": ModeChanged,
    "order_event": OrderEvent,
    "fill": FillRecord,
    "inventory_truth": InventoryTruth,
    "reconciler_anomaly": ReconcilerAnomaly,
    "engine_state": EngineState,
    "session_closed": SessionClosed,
}

KIND_OF: dict[type[Record], str] = {record_type: kind for kind, record_type in KINDS.items()}


class FieldSpec(NamedTuple):
    """One field as the database and the documentation need it."""

    name: str
    sql_type: str  # INTEGER, REAL or TEXT
    nullable: bool
    doc: Doc


def fields_of(record_type: type[Record]) -> tuple[FieldSpec, ...]:
    """The fields of a record kind in wire order, with SQL type and documentation."""
    hints = get_type_hints(record_type, include_extras=True)
    return tuple(_field_spec(name, hints[name]) for name in record_type._fields)


def _field_spec(name: str, hint: Any) -> FieldSpec:
    doc = next(extra for extra in hint.__metadata__ if isinstance(extra, Doc))
    python_types, nullable = _python_types(hint)
    sql_type = {int: "INTEGER", float: "REAL", str: "TEXT"}[python_types.pop()]
    assert not python_types, f"{name}: one stored type a field"
    assert nullable == (doc.null is not None), f"{name}: say what NULL means exactly when it can be NULL"
    return FieldSpec(name, sql_type, nullable, doc)


def _python_types(hint: Any) -> tuple[set[type], bool]:
    """The plain types under Annotated, Literal and unions, and whether None is among them."""
    if get_origin(hint) is Annotated:
        return _python_types(get_args(hint)[0])
    if get_origin(hint) is Literal:
        return {type(value) for value in get_args(hint)}, False
    if isinstance(hint, type) and hint is not type(None):
        return {hint}, False
    found: set[type] = set()
    nullable = False
    for part in get_args(hint):
        if part is type(None):
            nullable = True
        else:
            types, part_nullable = _python_types(part)
            found |= types
            nullable = nullable or part_nullable
    return found, nullable
