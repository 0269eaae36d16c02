"""What the fills of a session were worth a little later.

With s = +1 where we bought and -1 where we sold, px the price of the fill, mid(t) the mid of the view that the fill
was reported with and mid(t+h) the first mid at or after the horizon h, all in bps of mid(t), positive is good for us:

    capture = s * (mid(t) - px) / mid(t)         what the fill earned at once
    drift   = s * (mid(t+h) - mid(t)) / mid(t)   what the market then did to it
    markout = s * (mid(t+h) - px) / mid(t)       their sum

(The effective spread split into price impact and realised spread, Huang and Stoll 1996, on mids.)

A fill happens between two views and is reported with the later one, so its own push on the market is already in
mid(t): it lowers the capture where the mid before the fill would lower the drift. The markout does not depend on it.

Nothing is marked against the anchor, which is the suspect. The mid is taken as recorded, so it must be one of other
people's orders: a view that holds ours would, in a thin book, mark us against ourselves. A mid that is NULL is passed
over, never interpolated, and a fill without a mid of its own, or without a later one in time, is dropped and counted.
Such fills are not a random choice: books break when markets move, so many drops make every figure here look better
than it was.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Literal, NamedTuple

import apsw
import numpy as np
import numpy.typing as npt

from shared.errors import IntegrityError
from telemetry_proc.reading import session_rows
from telemetry_proc.tick_columns import NOT_RECORDED, Floats, Ints, TickColumns

Amounts = npt.NDArray[np.object_]  # of Decimal, so that sums of money are exact

SIDES = {"bid": 1, "ask": -1}

_NS = 1_000_000_000
_AMOUNT_MAX = Decimal("1e40")  # what a record may hold; as a float still finite


class Horizon(NamedTuple):
    """How long after a fill it is marked."""

    length: int
    unit: Literal["ledgers", "s"]

    @property
    def name(self) -> str:
        """As it is printed, and as it stands in JSON: `1 ledger`, `30 s`."""
        return "1 ledger" if self == (1, "ledgers") else f"{self.length} {self.unit}"

    @property
    def soonest(self) -> int:
        """Ledgers, or ns, that must have passed."""
        return self.length * _NS if self.unit == "s" else self.length

    @property
    def latest(self) -> int:
        """Ledgers, or ns, that may have passed: half the horizon late, and one ledger late in any case."""
        return self.soonest * 3 // 2 if self.unit == "s" else max(self.length + 1, self.length * 3 // 2)


HORIZONS = (
    *(Horizon(length, "ledgers") for length in (1, 2, 8, 16)),
    *(Horizon(length, "s") for length in (5, 30, 60)),
)
JUDGED_AT = Horizon(30, "s")  # where one horizon must speak for all: break-even and counterfactuals


class Fills(NamedTuple):
    """The fills of a session in the order they were reported, one element a fill. `mid` is NaN if none was known."""

    tick: Ints
    ts_ns: Ints
    side: Ints
    price: Floats
    quote_amount: Amounts
    mid: Floats


class Markouts(NamedTuple):
    """The fills of a session and what became of them: one element a fill, NaN where nothing could be measured.

    `side` is +1 where we bought. `notional` is the quote exchanged as a float, for statistics; sums of money use
    `quote_amount`, the same as Decimals. `error_bps` is the anchor error our quotes stood on: the last one on record
    before the fill's own tick. `drift_bps` and `markout_bps` hold an array a horizon. `ledger_clock` says what counts
    the ledgers: their index where every tick has one, else the ticks.
    """

    tick: Ints
    ts_ns: Ints
    side: Ints
    notional: Floats
    quote_amount: Amounts
    error_bps: Floats
    capture_bps: Floats
    drift_bps: dict[Horizon, Floats]
    markout_bps: dict[Horizon, Floats]
    ledger_clock: Literal["ledgers", "ticks"]


def read_fills(conn: apsw.Connection, session_id: int) -> Fills:
    """All fills of a session that are stored by now.

    Raises `IntegrityError`, naming column and tick, for a value that is not what the column is for.
    """
    wanted = ("tick", "ts_ns", "side", "price", "quote_amount", "mid")
    found = list(session_rows(conn, "fills", wanted, session_id))
    for tick, ts_ns, side, _, _, mid in found:
        for name, value, sound in (
            ("tick", tick, type(tick) is int),
            ("ts_ns", ts_ns, type(ts_ns) is int),
            ("side", side, side in SIDES),
            ("mid", mid, mid is None or (type(mid) is float and np.isfinite(mid))),
        ):
            if not sound:
                raise IntegrityError(f"fills: {name} of a fill on tick {tick!s:.20} holds {value!r:.40}")
    columns = zip(*found, strict=True) if found else ((),) * len(wanted)
    ticks, ts_ns, sides, prices, quotes, mids = columns
    quote_amount = np.empty(len(found), dtype=object)
    quote_amount[:] = [_amount("quote_amount", value, tick) for value, tick in zip(quotes, ticks, strict=True)]
    return Fills(
        np.array(ticks, dtype=np.int64),
        np.array(ts_ns, dtype=np.int64),
        np.array([SIDES[side] for side in sides], dtype=np.int64),
        np.array([_amount("price", value, tick) for value, tick in zip(prices, ticks, strict=True)], dtype=np.float64),
        quote_amount,
        np.array(mids, dtype=np.float64),
    )


def markouts(columns: TickColumns, fills: Fills) -> Markouts:
    """Mark every fill at every horizon."""
    by_index = bool((columns.ledger_index != NOT_RECORDED).all())
    ledger = columns.ledger_index if by_index else columns.tick
    mid = np.where(fills.mid > 0, fills.mid, np.nan)
    capture = 1e4 * fills.side * (mid - fills.price) / mid
    drift = {}
    for horizon in HORIZONS:
        if horizon.unit == "s":
            later = _later_mid(columns, columns.ts_ns, fills.tick, fills.ts_ns, horizon)
        else:
            later = _later_mid(columns, ledger, fills.tick, _at_tick(columns.tick, ledger, fills.tick), horizon)
        drift[horizon] = 1e4 * fills.side * (later - mid) / mid
    return Markouts(
        fills.tick,
        fills.ts_ns,
        fills.side,
        fills.quote_amount.astype(np.float64),
        fills.quote_amount,
        _error_before(columns, fills.tick),
        capture,
        drift,
        {horizon: capture + moved for horizon, moved in drift.items()},
        "ledgers" if by_index else "ticks",
    )


def only(found: Markouts, which: npt.NDArray[np.bool_]) -> Markouts:
    """Some of the fills."""
    return Markouts(
        found.tick[which],
        found.ts_ns[which],
        found.side[which],
        found.notional[which],
        found.quote_amount[which],
        found.error_bps[which],
        found.capture_bps[which],
        {horizon: drift[which] for horizon, drift in found.drift_bps.items()},
        {horizon: markout[which] for horizon, markout in found.markout_bps.items()},
        found.ledger_clock,
    )


def _amount(name: str, text: object, tick: int) -> Decimal:
    try:
        amount = Decimal(text) if isinstance(text, str) else Decimal("NaN")
    except InvalidOperation:
        amount = Decimal("NaN")
    if not (amount.is_finite() and 0 <= amount < _AMOUNT_MAX):
        raise IntegrityError(f"fills: {name} of a fill on tick {tick} holds {text!r:.40}, which is not an amount")
    return amount


def _error_before(columns: TickColumns, ticks: Ints) -> Floats:
    known = ~np.isnan(columns.anchor_error_bps)
    errors = np.concatenate(([np.nan], columns.anchor_error_bps[known]))
    return errors[np.searchsorted(columns.tick[known], ticks, side="left")]


def _at_tick(recorded: Ints, values: Ints, ticks: Ints) -> Ints:
    """The value recorded with each tick; `NOT_RECORDED` for a tick that has no row."""
    row = np.searchsorted(recorded, ticks)
    no_row = np.append(recorded, NOT_RECORDED)[row] != ticks
    return np.where(no_row, NOT_RECORDED, np.append(values, NOT_RECORDED)[row])


def _later_mid(columns: TickColumns, clock: Ints, fill_tick: Ints, filled_at: Ints, horizon: Horizon) -> Floats:
    """The first mid after the fill that stands at or after the horizon by this clock; NaN if it is too late.

    Should the clock step back, a row counts as reached once any row before it was, and is then judged by its own time.
    """
    known = columns.mid > 0
    mid, clock = columns.mid[known], clock[known]
    after_fill = np.searchsorted(columns.tick[known], fill_tick, side="right")
    reached = np.searchsorted(np.maximum.accumulate(clock), filled_at + horizon.soonest)
    at = np.maximum(after_fill, reached)
    found = np.full(fill_tick.size, np.nan)
    inside = np.flatnonzero(at < mid.size)
    passed = clock[at[inside]] - filled_at[inside]
    in_time = inside[(passed >= horizon.soonest) & (passed <= horizon.latest)]
    found[in_time] = mid[at[in_time]]
    return found
