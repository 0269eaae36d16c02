"""Databases of many sessions, stored in bulk: what the guard sees, as the live guard would have left it, no more."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

import apsw
import numpy as np

from shared.clock import iso_utc
from shared.config import build_config
from shared.saturation import SaturationGuard, Thresholds
from tests.telemetry.recorded_session import GUARD, START_NS, TICK_NS, insert

DAY_NS = 86_400_000_000_000

_TICKS = """
    INSERT INTO system_metrics(session_id, tick, ts_ns, ledger_index, mid, anchor_error_bps, guard_window_n,
      guard_mean_bps, guard_prevalence_pct) VALUES (?, ?, ?, ?, 1.305, ?, ?, ?, ?)
"""


def store_many(
    conn: apsw.Connection,
    sessions: Iterable[Sequence[float | None]],
    guard: dict | None = None,
    *,
    per_day: int = 4,
    start_ns: int = START_NS,
) -> None:
    """Store a session for each of the sequences of errors, `per_day` of them on each day."""
    settings = GUARD | (guard or {})
    config_json = build_config({"strategy": {"anchor_saturation_guard": settings}}, "test").config_json
    with conn:
        for at, errors in enumerate(sessions):
            day, slot = divmod(at, per_day)
            _store(conn, errors, settings, config_json, start_ns + day * DAY_NS + slot * DAY_NS // (2 * per_day))


def noise(rng: np.random.Generator, ticks: int, deviation: float = 1.0, memory: float = 0.8) -> np.ndarray:
    """First-order autoregressive noise of this standard deviation, in bps."""
    steps = rng.normal(0.0, deviation * np.sqrt(1 - memory**2), ticks)
    steps[0] = rng.normal(0.0, deviation)
    values = steps.tolist()
    for at in range(1, ticks):
        values[at] += memory * values[at - 1]
    return np.array(values)


def a_market(sessions: int, *, ticks: int = 900, seed: int = 7) -> list[list[float]]:
    """Calm sessions, some more restless than others, and in one of four a stretch in which the anchor is dragged to
    one side, not equally far nor equally long.
    """
    rng = np.random.default_rng(seed)
    made = []
    for at in range(sessions):
        errors = noise(rng, ticks, rng.uniform(1.0, 2.2), 0.9)
        if at % 4 == 3:
            onset, length = int(rng.integers(150, 350)), int(rng.integers(300, 500))
            errors[onset : onset + length] += rng.uniform(10.0, 16.0) * (1 if at % 8 == 3 else -1)
        made.append(errors.round(3).tolist())
    return made


def _store(
    conn: apsw.Connection, errors: Sequence[float | None], settings: dict, config_json: str, began_ns: int
) -> None:
    insert(
        conn,
        "sessions",
        session_uid=f"{iso_utc(began_ns)[:19].replace('-', '').replace(':', '')}Z-{began_ns % 65_521:04x}",
        status="ENDED",
        venue_mode="paper",
        pair="XRP/RLUSD",
        started_ns=began_ns,
        started_at=iso_utc(began_ns),
        config_json=config_json,
        ticks=len(errors),
    )
    number = conn.last_insert_rowid()
    guard = SaturationGuard(
        Thresholds.of(**{name: value for name, value in settings.items() if name != "enabled"}),
        enabled=settings["enabled"],
    )
    rows = []
    for tick, error in enumerate(errors, 1):
        ts_ns = began_ns + tick * TICK_NS
        if guard.observe(error):
            store_trip(conn, number, tick, ts_ns, sum_error_nano_bps=guard.sum_nano_bps, prevalent_n=guard.prevalent_n)
        rows.append((number, tick, ts_ns, tick, error, guard.window_n, guard.mean_bps, guard.prevalence_pct))
    conn.executemany(_TICKS, rows)


def store_trip(conn: apsw.Connection, session_id: int, tick: int, ts_ns: int, **context: int) -> None:
    """What the breaker leaves behind."""
    insert(
        conn,
        "circuit_breaker_events",
        created_at=iso_utc(ts_ns),
        triggered_at=iso_utc(ts_ns),
        breaker="anchor_saturation_guard",
        manual_reset_required=1,
        context_json=json.dumps({"tick": tick} | context),
        session_id=session_id,
    )


def store_fills(conn: apsw.Connection, *, harmless_bps: float = 4.0, every: int = 5) -> None:
    """For every session that has none, a fill on each fifth tick, on the side the error before drags our quotes to.

    Mid does not move, so each is worth its capture: as many bps as the error is below `harmless_bps`, a loss above.
    """
    before = (
        "SELECT session_id, tick, ts_ns, anchor_error_bps FROM system_metrics WHERE tick % ? = ?"
        " AND session_id NOT IN (SELECT session_id FROM fills) ORDER BY session_id, tick"
    )
    rows = []
    for number, tick, ts_ns, error in conn.execute(before, (every, every - 1)).fetchall():
        if error is not None:
            side = 1 if error > 0 else -1
            price = 1.305 * (1 - side * (harmless_bps - abs(error)) / 1e4)
            rows.append((number, tick, tick + 1, ts_ns + TICK_NS, "bid" if side > 0 else "ask", f"{price:.12f}"))
    with conn:
        conn.executemany(
            "INSERT INTO fills(session_id, seq, tick, ts_ns, trade_id, order_id, side, liquidity, price, base_amount,"
            " quote_amount, mid) VALUES (?, ?, ?, ?, 't', 'o', ?, 'maker', ?, '100', '130.5', 1.305)",
            rows,
        )
