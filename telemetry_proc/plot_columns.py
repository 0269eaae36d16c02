"""What a plot of prices and inventory needs of a session, read in buckets of ticks.

No plot shows more than a bucket's smallest and largest value, so SQLite finds those itself: on a million ticks that
takes less than half the time of reading the rows. Up to `BUCKETS_MAX` ticks a bucket is one tick, so nothing is lost.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import apsw
import numpy as np

from shared.errors import IntegrityError
from telemetry_proc.reading import columns, rows, session_rows
from telemetry_proc.tick_columns import Floats, Ints

PLOT_COLUMNS = ("clob_bid", "clob_ask", "amm_price", "quote_anchor_price", "base_balance", "mark_value")
BUCKETS_MAX = 1_000

_PAGE_TICKS = 50_000  # one transaction, so that a long session does not hold up a checkpoint
_SIDES = {"bid": 1, "ask": -1}
_FIRST_TICK = "WHERE session_id = ? ORDER BY tick LIMIT 1"
_LAST_TICK = "WHERE session_id = ? ORDER BY tick DESC LIMIT 1"


class Band(NamedTuple):
    """The smallest and the largest value of a column in each bucket; NaN where every value in it is NULL."""

    low: Floats
    high: Floats


class Fills(NamedTuple):
    """The fills of a session in order. `side` is +1 where we bought and -1 where we sold; prices quote per base."""

    tick: Ints
    side: Ints
    price: Floats


class PlotColumns(NamedTuple):
    """Buckets of `width_ticks` from `first_tick` on, a band a column of `PLOT_COLUMNS`, and the fills."""

    first_tick: int
    width_ticks: int
    bands: dict[str, Band]
    fills: Fills


def read_plot_columns(conn: apsw.Connection, session_id: int) -> PlotColumns:
    """Read the bands and the fills of a session; all empty if it has no ticks.

    Raises `IntegrityError`, naming the column, for a value that is not a finite number.
    """
    fills = _fills(conn, session_id)
    first, last = _tick_range(conn, session_id)
    if first is None or last is None:
        return PlotColumns(1, 1, {name: Band(np.empty(0), np.empty(0)) for name in PLOT_COLUMNS}, fills)
    width = max(1, -(-(last - first + 1) // BUCKETS_MAX))
    buckets = (last - first) // width + 1
    bands = {name: Band(np.full(buckets, np.nan), np.full(buckets, np.nan)) for name in PLOT_COLUMNS}
    present = [name for name in PLOT_COLUMNS if name in set(columns(conn, "system_metrics"))]
    page_ticks = max(1, _PAGE_TICKS // width) * width
    for begin in range(first, last + 1, page_ticks):
        _read_page(conn, session_id, (first, width, begin, min(begin + page_ticks - 1, last)), present, bands)
    return PlotColumns(first, width, bands, fills)


def _tick_range(conn: apsw.Connection, session_id: int) -> tuple[int | None, int | None]:
    ends = []
    for rest in (_FIRST_TICK, _LAST_TICK):
        found = rows(conn, "system_metrics", ("tick",), rest, (session_id,), needs=("session_id", "tick"))
        ends.append(next((int(tick) for (tick,) in found), None))
    return ends[0], ends[1]


def _read_page(
    conn: apsw.Connection,
    session_id: int,
    span: tuple[int, int, int, int],
    present: list[str],
    bands: dict[str, Band],
) -> None:
    first, width, begin, end = span
    extremes = "".join(f", min({name}), max({name})" for name in present)
    sql = (
        f"SELECT (tick - ?) / ?{extremes} FROM system_metrics "  # noqa: S608 - names from PLOT_COLUMNS
        "WHERE session_id = ? AND tick BETWEEN ? AND ? GROUP BY 1"
    )
    for bucket, *values in conn.execute(sql, (first, width, session_id, begin, end)):
        for at, name in enumerate(present):
            low, high = values[2 * at : 2 * at + 2]
            if low is not None:  # then neither is the largest
                bands[name].low[bucket] = _finite(name, low)
                bands[name].high[bucket] = _finite(name, high)


def _finite(name: str, value: Any) -> float:
    """In SQLite's order texts and blobs come after all numbers, so a foreign value is an extreme and is seen here."""
    if type(value) not in {int, float} or not math.isfinite(value):
        raise IntegrityError(f"{name} holds {value!r:.40}, which is not a finite number")
    return float(value)


def _fills(conn: apsw.Connection, session_id: int) -> Fills:
    ticks, sides, prices = [], [], []
    for tick, side, price in session_rows(conn, "fills", ("tick", "side", "price"), session_id):
        if tick is None or side not in _SIDES or price is None:
            continue  # a row older than these columns marks no place on a plot
        ticks.append(tick)
        sides.append(_SIDES[side])
        prices.append(_price(price, tick))
    return Fills(np.array(ticks, np.int64), np.array(sides, np.int64), np.array(prices, np.float64))


def _price(text: object, tick: int) -> float:
    try:
        price = float(text)  # type: ignore[arg-type]  # what it is, is the question
    except (TypeError, ValueError):
        price = math.nan
    if not math.isfinite(price):
        raise IntegrityError(f"price of the fill on tick {tick} holds {text!r:.40}, which is not a finite number")
    return price
