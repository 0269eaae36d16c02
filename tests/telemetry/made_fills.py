"""Ticks and fills as columns, made by hand: whatever a test does not speak of is regular and calm."""

from __future__ import annotations

from decimal import Decimal

import numpy as np

from telemetry_proc.markouts import Fills, markouts
from telemetry_proc.tick_columns import NOT_RECORDED, Texts, TickColumns

SECOND = 10**9
LEDGER_NS = 4 * SECOND
FIRST_LEDGER = 90_000_000


def ticks(mids, errors=None, *, numbers=None, ts_ns=None, ledgers=None):
    """One tick a mid, numbered from 1, a ledger every 4 s; None is NULL."""
    n = len(mids)
    number = np.arange(1, n + 1) if numbers is None else np.array(numbers, dtype=np.int64)
    recorded = FIRST_LEDGER + number if ledgers is None else [NOT_RECORDED if at is None else at for at in ledgers]
    blank = np.full(n, np.nan)
    text = Texts(np.zeros(n, dtype=np.int64), ("OK",))
    return TickColumns(
        tick=number,
        ts_ns=LEDGER_NS * number if ts_ns is None else np.array(ts_ns, dtype=np.int64),
        ledger_index=np.array(recorded, dtype=np.int64),
        guard_window_n=np.zeros(n, dtype=np.int64),
        mid=np.array(mids, dtype=np.float64),
        anchor_error_bps=blank if errors is None else np.array(errors, dtype=np.float64),
        guard_mean_bps=blank,
        guard_prevalence_pct=blank,
        market_status=text,
        anchor_mode=text,
    )


def fills(columns, made):
    """`made`: (tick, side, price, quote amount) each, reported with the time and the mid of their tick."""
    rows = [int(np.searchsorted(columns.tick, tick)) for tick, *_ in made]
    quote = np.empty(len(made), dtype=object)
    quote[:] = [Decimal(amount) for *_, amount in made]
    return Fills(
        tick=np.array([tick for tick, *_ in made], dtype=np.int64),
        ts_ns=columns.ts_ns[rows],
        side=np.array([{"bid": 1, "ask": -1}[side] for _, side, *_ in made], dtype=np.int64),
        price=np.array([price for *_, price, _ in made], dtype=np.float64),
        quote_amount=quote,
        mid=columns.mid[rows],
    )


def marked(columns, made):
    """The same fills, marked."""
    return markouts(columns, fills(columns, made))
