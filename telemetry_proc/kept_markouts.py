"""The markouts of a session as the series cache keeps them: fills are marked once, not with every command."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import apsw
import numpy as np

from telemetry_proc.markouts import HORIZONS, Markouts, markouts, read_fills
from telemetry_proc.reading import columns as columns_of
from telemetry_proc.reading import session_rows
from telemetry_proc.series_cache import Extras
from telemetry_proc.sessions import Session
from telemetry_proc.side_car import Arrays
from telemetry_proc.tick_columns import TickColumns

_FILLS = ("tick", "ts_ns", "side", "price", "quote_amount", "mid")
_PLAIN = ("tick", "ts_ns", "side", "notional", "error_bps", "capture_bps")
# A mid enters as content_sum.py lets numbers in: scaled by a power of two to an integer, weighted with its tick.
_SUM_OF_MIDS = """
    SELECT sum(typeof(mid) = 'real'),
           sum(CAST(mid * CASE WHEN abs(mid) < 4 THEN 2305843009213693952.0
                               WHEN abs(mid) < 8192 THEN 1125899906842624.0
                               ELSE 1024.0 END AS INTEGER) % 2147483647 * (tick % 1000002 + 1) % 1000003),
           sum(typeof(ledger_index) = 'integer'),
           sum(ledger_index % 2147483647 * (tick % 1000002 + 1) % 1000003)
    FROM system_metrics WHERE session_id = ?
"""


def markouts_kept() -> Extras:
    """What the series cache needs to know to keep markouts."""
    return Extras("markouts-2", ("mid", "ledger_index"), _facts, _arrays)


def markouts_from(kept: Arrays) -> Markouts:
    """The markouts that `markouts_kept` made arrays of."""
    amounts = np.empty(len(kept["tick"]), dtype=object)
    amounts[:] = [Decimal(text) for text in kept["quote_amount"].tolist()]
    drift = dict(zip(HORIZONS, kept["drift_bps"], strict=True))
    plain: dict[str, Any] = {name: kept[name] for name in _PLAIN}
    return Markouts(
        **plain,
        quote_amount=amounts,
        drift_bps=drift,
        markout_bps={horizon: kept["capture_bps"] + moved for horizon, moved in drift.items()},
        ledger_clock="ledgers" if kept["by_ledger_index"][0] else "ticks",
    )


def _facts(conn: apsw.Connection, session: Session) -> Sequence[object]:
    """The session's fills and, if it has any, the mids they are marked against."""
    fills = list(session_rows(conn, "fills", _FILLS, session.session_id))
    if not fills:
        return (0,)
    mids: Sequence[object] = ()
    if {"mid", "ledger_index"} <= set(columns_of(conn, "system_metrics")):
        mids = next(iter(conn.execute(_SUM_OF_MIDS, (session.session_id,))))
    return (len(fills), zlib.crc32(repr(fills).encode()), *mids)


def _arrays(conn: apsw.Connection, session: Session, columns: TickColumns) -> Arrays:
    found = markouts(columns, read_fills(conn, session.session_id))
    arrays = {name: getattr(found, name) for name in _PLAIN}
    arrays["quote_amount"] = np.array([str(amount) for amount in found.quote_amount], dtype="U")
    arrays["drift_bps"] = np.stack([found.drift_bps[horizon] for horizon in HORIZONS])
    arrays["by_ledger_index"] = np.array([found.ledger_clock == "ledgers"])
    return arrays
