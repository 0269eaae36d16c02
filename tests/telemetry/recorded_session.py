"""Builds databases as the writer would have left them, from anchor errors and the guard's own code."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw

from shared.clock import iso_utc
from shared.config import build_config
from shared.records import FillRecord, ModeChanged, OrderEvent, TickRecord
from shared.saturation import SaturationGuard, Thresholds
from telemetry_proc.schema import initialize_database

START_NS = 1_790_000_000_000_000_000
TICK_NS = 4_000_000_000
GUARD = {
    "enabled": True,
    "lookback_ticks": 25,
    "bias_threshold_bps": 7.0,
    "prevalence_threshold_bps": 5.0,
    "prevalence_pct": 40.0,
}


@contextmanager
def opened(path: Path) -> Iterator[apsw.Connection]:
    """A database at the present schema, open for writing, in WAL as the writer keeps it."""
    conn = apsw.Connection(str(path))
    try:
        conn.set_busy_timeout(1000)
        initialize_database(conn)
        conn.pragma("journal_mode", "WAL")
        yield conn
    finally:
        conn.close()


def insert(conn: apsw.Connection, table: str, **values: Any) -> None:
    """One row."""
    names = ", ".join(values)
    marks = ", ".join("?" for _ in values)
    conn.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", tuple(values.values()))


def store_session(
    conn: apsw.Connection,
    errors: Sequence[float | None],
    *,
    uid: str = "20261120T140209Z-7f3a",
    status: str = "ENDED",
    guard: dict[str, Any] | None = None,
    quoting: bool = True,
    started_at: str = "2026-11-20T14:02:09.000Z",
    config_json: str | None = "",
) -> int:
    """Store a session of one tick an error and return its number. A trip degrades it, as the engine would."""
    settings = GUARD | (guard or {})
    if config_json == "":
        config_json = build_config({"strategy": {"anchor_saturation_guard": settings}}, "test").config_json
    insert(
        conn,
        "sessions",
        session_uid=uid,
        status=status,
        venue_mode="paper",
        pair="XRP/RLUSD",
        started_ns=START_NS,
        started_at=started_at,
        initial_mode="ACTIVE",
        config_hash="9c1e00aa11bb22cc",
        config_json=config_json,
        code_version="0.1.0",
    )
    session_id = conn.last_insert_rowid()
    engine = _Engine(conn, session_id, settings, quoting=quoting)
    with conn:
        for tick, error in enumerate(errors, 1):
            engine.tick(tick, error)
    if status == "ENDED":
        close_session(conn, session_id, errors, engine)
    return session_id


def close_session(conn: apsw.Connection, session_id: int, errors: Sequence[float | None], engine: Any) -> None:
    """What `session_closed` and the engine's statements leave behind."""
    measured = [error for error in errors if error is not None]
    conn.execute(
        "UPDATE sessions SET status = 'ENDED', ended_at = '2026-11-20T15:00:00.000Z', end_reason = 'feed_ended', "
        "final_mode = ?, ticks = ?, null_error_ticks = ?, breaker_trips = ?, fills = ? WHERE session_id = ?",
        (engine.mode, len(errors), len(errors) - len(measured), engine.trips, engine.fills, session_id),
    )
    above = 100.0 * sum(abs(error) > 5.0 for error in measured) / len(measured) if measured else None
    value = None if above is None else json.dumps(above)
    key = "anchor.pct_error_above_5bps"
    insert(conn, "session_state", session_id=session_id, key=key, seq=engine.next_seq(), value=value, ts_ns=START_NS)


class _Engine:
    """Just enough of an engine to leave the rows of one behind."""

    def __init__(self, conn: apsw.Connection, session_id: int, settings: dict[str, Any], *, quoting: bool) -> None:
        self.conn, self.session_id, self.settings, self.quoting = conn, session_id, settings, quoting
        thresholds = {name: value for name, value in settings.items() if name != "enabled"}
        self.guard = SaturationGuard(Thresholds.of(**thresholds), enabled=settings["enabled"])
        self.mode = "ACTIVE"
        self.seq = self.trips = self.fills = 0

    def next_seq(self) -> int:
        self.seq += 1
        return self.seq

    def put(self, table: str, record: Any) -> None:
        insert(self.conn, table, session_id=self.session_id, seq=self.next_seq(), **record._asdict())

    def tick(self, tick: int, error: float | None) -> None:
        ts_ns = START_NS + tick * TICK_NS
        if self.guard.observe(error):
            self.trip(tick, ts_ns)
        active = self.quoting and self.mode == "ACTIVE" and error is not None
        if active:
            self.order(tick, ts_ns)
        self.put("system_metrics", self.row(tick, ts_ns, error, active=active))

    def trip(self, tick: int, ts_ns: int) -> None:
        guard = self.guard
        context = {
            "mean_error_bps": round(guard.mean_bps or 0.0, 2),
            "prevalence_pct": round(guard.prevalence_pct or 0.0, 1),
            "lookback_ticks": self.settings["lookback_ticks"],
            "window_sample_tail": guard.window_tail(),
            "tick": tick,
        }
        insert(
            self.conn,
            "circuit_breaker_events",
            created_at=iso_utc(ts_ns),
            triggered_at=iso_utc(ts_ns),
            breaker="anchor_saturation_guard",
            manual_reset_required=1,
            context_json=json.dumps(context),
            session_id=self.session_id,
        )
        reason = "anchor_saturation_guard_exceeded"
        self.put("mode_transitions", ModeChanged(ts_ns, tick, "ACTIVE", "DEGRADED", "degrade", reason))
        self.mode = "DEGRADED"
        self.trips += 1

    def order(self, tick: int, ts_ns: int) -> None:
        order_id = f"o{tick}"
        self.put("order_events", OrderEvent(ts_ns, tick, order_id, "submitted", "bid", 0, "1.30001", "200", None, None))
        if tick % 10 == 0:
            self.fills += 1
            side = "bid" if self.fills % 2 else "ask"
            fill = FillRecord(ts_ns, tick, f"t{tick}", order_id, side, "maker", "1.3", "0.1", "0.13", 1.305)
            self.put("fills", fill)

    def row(self, tick: int, ts_ns: int, error: float | None, *, active: bool) -> TickRecord:
        mid = None if error is None else 1.305
        return TickRecord(
            tick=tick,
            ts_ns=ts_ns,
            ledger_index=90_000_000 + tick,
            mode=self.mode,  # type: ignore[arg-type]
            market_status="ONE_SIDED" if error is None else "OK",
            market_age_ms=0,
            clob_bid=1.304,
            clob_bid_size=1500.0,
            clob_ask=None if error is None else 1.306,
            clob_ask_size=None if error is None else 1500.0,
            mid=mid,
            amm_price=1.3049,
            amm_fee_fraction=0.00267,
            clob_vs_amm_divergence_bps=None if error is None else 0.77,
            anchor_mode=None if error is None else ("capped" if abs(error) >= 7 else "amm"),
            quote_anchor_price=None if error is None else 1.305 * (1 + error / 1e4),
            anchor_error_bps=error,
            guard_window_n=self.guard.window_n,
            guard_mean_bps=self.guard.mean_bps,
            guard_prevalence_pct=self.guard.prevalence_pct,
            bid_price=1.30001 if active else None,
            ask_price=None,
            distance_to_touch_bid_bps=3.07 if active else None,
            distance_to_touch_ask_bps=None,
            no_quote_reason_bid=None if active else "MODE_NOT_ACTIVE",
            no_quote_reason_ask="MODE_NOT_ACTIVE" if not active else "NO_INTENT",
            open_orders=1 if active else 0,
            orders_submitted=1 if active else 0,
            orders_cancelled=0,
            orders_denied=0 if active else 2,
            fills=0,
            base_balance=10_000.0,
            quote_balance=13_000.0,
            inventory_skew=0.0,
            mark_value=None if mid is None else 26_050.0 + tick,
            volatility_bps=3.8,
            tick_duration_us=50.0,
            outbox_unsent=0,
        )


def calm_then_drag(calm: int = 60, drag: int = 60, level: float = 8.0) -> list[float | None]:
    """A quiet stretch with a NULL now and then, then an error that stays."""
    quiet: list[float | None] = [None if tick % 17 == 0 else (-1.0) ** tick * (tick % 5) / 2 for tick in range(calm)]
    return quiet + [level + 0.01 * (tick % 7) for tick in range(drag)]
