"""What a session traded: its orders, its fills, and what became of its holdings."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal, InvalidOperation
from typing import NamedTuple

import apsw

from shared.errors import IntegrityError
from telemetry_proc.reading import columns, rows, session_pages
from telemetry_proc.sessions import Session

_DENIED_INTENTS = "SELECT sum(orders_denied) FROM system_metrics WHERE session_id = ?"
_EVENTS = "SELECT event, reason, count(*) FROM order_events WHERE session_id = ? GROUP BY event, reason"
_SUBMITTED_BETWEEN = """
    SELECT count(*) FROM order_events
    WHERE session_id = ? AND event = 'submitted' AND tick >= ? AND tick <= ?
"""
_REARMED = "WHERE session_id = ? AND to_mode = 'ACTIVE' AND tick >= ? ORDER BY seq LIMIT 1"
_EARLIEST_MARK = "WHERE session_id = ? AND mark_value IS NOT NULL ORDER BY tick LIMIT 1"
_LATEST_MARK = "WHERE session_id = ? AND mark_value IS NOT NULL ORDER BY tick DESC LIMIT 1"
_NO_END = 2**63 - 1


class Orders(NamedTuple):
    """What was done with orders.

    `denied_intents` counts the gate's refusals on every tick. `denials_on_record_by_reason` counts order events: a
    reason is put on record once, and again only when it has changed. `submitted_after_trip` runs from the tick of
    the guard's trip until the operator re-armed, None without a trip; anything but 0 is a defect. An older engine's
    session has no order events: `orders_recorded` is false then, and nothing is counted.
    """

    submitted: int | None
    cancel_sent: int | None
    cancelled: int | None
    rejected: int | None
    expired: int | None
    denied_intents: int | None
    denials_on_record_by_reason: dict[str, int]
    submitted_after_trip: int | None
    orders_recorded: bool


class Money(NamedTuple):
    """What changed hands. Amounts are positive, in units of the pair's base and quote; fees are not recorded.

    Where `fills_recorded` is false nothing is known of what was traded: an older engine's session has no fills to add.
    """

    base: str | None
    quote: str | None
    fills: int | None
    maker_fills: int | None
    base_bought: float | None
    quote_paid: float | None
    base_sold: float | None
    quote_received: float | None
    fees_quote: None
    mark_value_first_quote: float | None
    mark_value_last_quote: float | None
    fills_recorded: bool


def orders(conn: apsw.Connection, session_id: int, trip_tick: int | None) -> Orders:
    """Count the order events of a session."""
    events: Counter[str] = Counter()
    denials: Counter[str] = Counter()
    has_events = "session_id" in columns(conn, "order_events")
    for event, reason, count in conn.execute(_EVENTS, (session_id,)) if has_events else ():
        events[event] += count
        if event == "denied":
            denials[reason or "unrecorded"] += count
    denied_intents = None
    if {"session_id", "orders_denied"} <= set(columns(conn, "system_metrics")):
        denied_intents = next(iter(conn.execute(_DENIED_INTENTS, (session_id,))))[0]
    recorded = bool(events) or _has_uid(conn, session_id)
    return Orders(
        submitted=events["submitted"] if recorded else None,
        cancel_sent=events["cancel_sent"] if recorded else None,
        cancelled=events["cancelled"] if recorded else None,
        rejected=events["rejected"] if recorded else None,
        expired=events["expired"] if recorded else None,
        denied_intents=denied_intents,
        denials_on_record_by_reason=dict(denials.most_common()),
        submitted_after_trip=_submitted_after(conn, session_id, trip_tick)
        if has_events and recorded and trip_tick
        else None,
        orders_recorded=recorded,
    )


def money(conn: apsw.Connection, session: Session) -> Money:
    """Add up the fills of a session, digit for digit, and take the first and the last value of its holdings.

    Raises `IntegrityError` for a fill of neither side or whose amount is not a number.
    """
    base = {"bid": Decimal(0), "ask": Decimal(0)}
    quote = {"bid": Decimal(0), "ask": Decimal(0)}
    fills = makers = 0
    for page in session_pages(conn, "fills", ("side", "liquidity", "base_amount", "quote_amount"), session.session_id):
        for side, liquidity, base_amount, quote_amount in page:
            if side not in base:
                raise IntegrityError(f"fills: side holds {side!r:.40}, which is neither bid nor ask")
            fills += 1
            makers += liquidity == "maker"
            base[side] += _amount("base_amount", base_amount)
            quote[side] += _amount("quote_amount", quote_amount)
    names = (session.pair or "").split("/")
    recorded = fills > 0 or session.session_uid is not None
    return Money(
        base=names[0] or None,
        quote=names[1] if len(names) == 2 else None,
        fills=fills if recorded else None,
        maker_fills=makers if recorded else None,
        base_bought=float(base["bid"]) if recorded else None,
        quote_paid=float(quote["bid"]) if recorded else None,
        base_sold=float(base["ask"]) if recorded else None,
        quote_received=float(quote["ask"]) if recorded else None,
        fees_quote=None,
        mark_value_first_quote=_mark(conn, session.session_id, _EARLIEST_MARK),
        mark_value_last_quote=_mark(conn, session.session_id, _LATEST_MARK),
        fills_recorded=recorded,
    )


def _amount(name: str, stored: str | float | None) -> Decimal:
    try:
        amount = Decimal(str(stored))
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite():
        raise IntegrityError(f"fills: {name} holds {stored!r:.40}, which is not a finite number")
    return amount


def _has_uid(conn: apsw.Connection, session_id: int) -> bool:
    """Did an engine that records orders and fills run this session? Older ones gave their sessions no uid."""
    named = rows(conn, "sessions", ("session_uid",), "WHERE session_id = ?", (session_id,), needs=("session_id",))
    return any(uid is not None for (uid,) in named)


def _submitted_after(conn: apsw.Connection, session_id: int, trip_tick: int) -> int:
    needs = ("session_id", "to_mode", "tick", "seq")
    rearmed = rows(conn, "mode_transitions", ("tick",), _REARMED, (session_id, trip_tick), needs=needs)
    until = next(rearmed, (_NO_END,))[0]
    return int(next(iter(conn.execute(_SUBMITTED_BETWEEN, (session_id, trip_tick, until))))[0])


def _mark(conn: apsw.Connection, session_id: int, which: str) -> float | None:
    needs = ("session_id", "tick", "mark_value")
    found: tuple[float | None, ...] = next(
        rows(conn, "system_metrics", ("mark_value",), which, (session_id,), needs=needs), (None,)
    )
    return found[0]
