"""A checksum over what a session's series is made of, in SQL and, for columns that are read already, in numpy.

Asking SQLite for it costs a third of reading the rows. A number enters scaled by a power of two, which is exact, to an
integer, weighted by its tick: so it tells 0.0 from NULL and a text from a number, notices the last bit of every error
up to 8,192 bps and down to 0.002, and two values that changed places unless a multiple of 1,000,002 ticks is between
them. The weight runs from 1 to 1,000,002, so that none is a multiple of the modulus, and no sum can overflow.
"""

from __future__ import annotations

import apsw
import numpy as np

from telemetry_proc.reading import columns as columns_of
from telemetry_proc.tick_columns import NOT_RECORDED, Floats, Ints, TickColumns

SUMMED = ("tick", "ts_ns", "guard_window_n", "anchor_error_bps", "guard_mean_bps", "guard_prevalence_pct")

_VALUES = 2_147_483_647
_WEIGHTED = 1_000_003  # a prime
_WEIGHTS = _WEIGHTED - 1
_SMALL, _LARGE = 4.0, 8192.0
_SCALE_SMALL, _SCALE_MIDDLE, _SCALE_LARGE = 2.0**61, 2.0**50, 2.0**10

_SUM_IN_SQL = """
    SELECT
        count(*),
        coalesce(sum(tick % 2147483647), 0),
        coalesce(sum(typeof(ts_ns) = 'integer'), 0),
        coalesce(sum(ts_ns % 2147483647 * (tick % 1000002 + 1) % 1000003), 0),
        coalesce(sum(typeof(guard_window_n) = 'integer'), 0),
        coalesce(sum(guard_window_n % 2147483647 * (tick % 1000002 + 1) % 1000003), 0),
        coalesce(sum(typeof(anchor_error_bps) = 'real'), 0),
        coalesce(sum(CAST(anchor_error_bps * CASE
            WHEN abs(anchor_error_bps) < 4 THEN 2305843009213693952.0
            WHEN abs(anchor_error_bps) < 8192 THEN 1125899906842624.0
            ELSE 1024.0 END AS INTEGER) % 2147483647 * (tick % 1000002 + 1) % 1000003), 0),
        coalesce(sum(typeof(guard_mean_bps) = 'real'), 0),
        coalesce(sum(CAST(guard_mean_bps * CASE
            WHEN abs(guard_mean_bps) < 4 THEN 2305843009213693952.0
            WHEN abs(guard_mean_bps) < 8192 THEN 1125899906842624.0
            ELSE 1024.0 END AS INTEGER) % 2147483647 * (tick % 1000002 + 1) % 1000003), 0),
        coalesce(sum(typeof(guard_prevalence_pct) = 'real'), 0),
        coalesce(sum(CAST(guard_prevalence_pct * CASE
            WHEN abs(guard_prevalence_pct) < 4 THEN 2305843009213693952.0
            WHEN abs(guard_prevalence_pct) < 8192 THEN 1125899906842624.0
            ELSE 1024.0 END AS INTEGER) % 2147483647 * (tick % 1000002 + 1) % 1000003), 0)
    FROM system_metrics WHERE session_id = ?
"""


def can_be_summed(conn: apsw.Connection) -> bool:
    """Not where an older engine's table lacks a column: NULL as a whole has no rows to ask."""
    return {"session_id", *SUMMED} <= set(columns_of(conn, "system_metrics"))


def sum_in_database(conn: apsw.Connection, session_id: int) -> list[int]:
    """The checksum of the rows that are stored now. The table must have all the columns (`can_be_summed`)."""
    return [int(part) for part in next(iter(conn.execute(_SUM_IN_SQL, (session_id,))))]


def sum_of_columns(columns: TickColumns) -> list[int]:
    """The same of rows that were read."""
    tick = columns.tick
    return [
        tick.size,
        int(np.fmod(tick, _VALUES).sum()),
        *_of_ints(columns.ts_ns, tick),
        *_of_ints(columns.guard_window_n, tick),
        *_of_floats(columns.anchor_error_bps, tick),
        *_of_floats(columns.guard_mean_bps, tick),
        *_of_floats(columns.guard_prevalence_pct, tick),
    ]


def _of_ints(values: Ints, tick: Ints) -> tuple[int, int]:
    stated = values != NOT_RECORDED
    return _weighted(values[stated], tick[stated])


def _of_floats(values: Floats, tick: Ints) -> tuple[int, int]:
    stated = ~np.isnan(values)
    values, tick = values[stated], tick[stated]
    size = np.abs(values)
    scale = np.where(size < _SMALL, _SCALE_SMALL, np.where(size < _LARGE, _SCALE_MIDDLE, _SCALE_LARGE))
    with np.errstate(over="ignore"):  # infinite does not fit either
        scaled = values * scale
    fits = np.abs(scaled) < 2.0**63
    whole = np.where(fits, scaled, 0.0).astype(np.int64)  # cut towards 0, as CAST does; what does not fit is clamped
    limits = np.where(scaled > 0, np.iinfo(np.int64).max, np.iinfo(np.int64).min)
    return _weighted(np.where(fits, whole, limits), tick)


def _weighted(values: Ints, tick: Ints) -> tuple[int, int]:
    return values.size, int(np.fmod(np.fmod(values, _VALUES) * (np.fmod(tick, _WEIGHTS) + 1), _WEIGHTED).sum())
