"""Fills of one session or of many, summed up: by the error they stood on, by side, by horizon.

Every mean is weighted by notional: what counts is money, not the number of fills. Fills of one session share its luck,
so intervals resample whole sessions; a single session has none.

Two ways to sort by error. By its size, which is what the guard acts on; and signed toward the fill, s * error, which is
positive where the anchor made us pay too much or sell too low, and where harm is to be expected. Fills in front of
which no error is on record have a bin of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from telemetry_proc.intervals import Interval, session_bootstrap
from telemetry_proc.markouts import HORIZONS, SIDES, Amounts, Horizon, Markouts
from telemetry_proc.tick_columns import Floats, Ints

SIZE_EDGES_BPS = (0.0, 2.0, 4.0, 5.0, 6.0, 7.0, 8.0, 10.0, np.inf)
TOWARD_EDGES_BPS = (-np.inf, -8.0, -6.0, -4.0, -2.0, *SIZE_EDGES_BPS)
ALL = "all"
NO_ERROR = "no error"

_SIDES = ("bid", "ask", "both")


class MarkoutRow(NamedTuple):
    """Fills of one bin of errors, side and horizon; the bin is [low, high), None where it is open.

    `side` is bid, ask or both. `fills` are those with a markout, and everything but `fills_dropped`, those without, is
    about them alone, so capture and drift add up to the markout; None without any notional to weight by. `net_quote` is
    the markout in units of quote. `markout_interval_bps` is None where none was asked for, without limits where the
    sessions are too few.
    """

    error_bin: str
    error_low_bps: float | None
    error_high_bps: float | None
    side: str
    horizon: str
    fills: int
    fills_dropped: int
    sessions: int
    notional_quote: Decimal
    capture_bps: float | None
    drift_bps: float | None
    markout_bps: float | None
    net_quote: float | None
    markout_interval_bps: Interval | None


def by_error_bin(
    sessions: Sequence[Markouts],
    rng: np.random.Generator | None = None,
    *,
    horizons: Sequence[Horizon] = HORIZONS,
    days: Ints | None = None,
) -> tuple[MarkoutRow, ...]:
    """Fills by |error|, by side and on both. Cells without a fill are left out; without `rng` so are the intervals.

    days: the day of each session, where several share one and are not independent.
    """
    sizes = [np.abs(found.error_bps) for found in sessions]
    return tuple(_table(sessions, sizes, SIZE_EDGES_BPS, _SIDES, horizons, rng, days))


def by_error_toward(
    sessions: Sequence[Markouts],
    rng: np.random.Generator | None = None,
    *,
    horizons: Sequence[Horizon] = HORIZONS,
    days: Ints | None = None,
) -> tuple[MarkoutRow, ...]:
    """The same by the error signed toward the fill, both sides together."""
    toward = [error_toward_bps(found) for found in sessions]
    return tuple(_table(sessions, toward, TOWARD_EDGES_BPS, ("both",), horizons, rng, days))


def all_errors(
    sessions: Sequence[Markouts],
    rng: np.random.Generator | None = None,
    *,
    horizons: Sequence[Horizon] = HORIZONS,
    days: Ints | None = None,
) -> tuple[MarkoutRow, ...]:
    """The same whatever the error, by side and on both."""
    alike = [np.zeros(found.tick.size) for found in sessions]
    return tuple(_table(sessions, alike, (-np.inf, np.inf), _SIDES, horizons, rng, days))


def error_toward_bps(found: Markouts) -> Floats:
    """The error signed toward the fill: positive where the anchor made us pay too much or sell too low."""
    return found.side * found.error_bps


def bins_of(error_bps: Floats, edges: Sequence[float]) -> Ints:
    """Which bin [edge, next edge) each error falls into, from 0; `len(edges) - 1` for NaN, which sorts last."""
    return np.asarray(np.searchsorted(edges, error_bps, side="right") - 1, dtype=np.int64)


class _Pool(NamedTuple):
    """The fills of all sessions at one horizon; `session` counts the sessions from 0."""

    session: Ints
    side: Ints
    error_bin: Ints
    notional: Floats
    quote_amount: Amounts
    capture_bps: Floats
    drift_bps: Floats
    markout_bps: Floats

    def only(self, which: npt.NDArray[np.bool_]) -> _Pool:
        return _Pool._make(column[which] for column in self)


def _pool(sessions: Sequence[Markouts], errors: Sequence[Floats], edges: Sequence[float], horizon: Horizon) -> _Pool:
    return _Pool(
        np.repeat(np.arange(len(sessions)), [found.tick.size for found in sessions]),
        np.concatenate([found.side for found in sessions]),
        bins_of(np.concatenate(errors), edges),
        np.concatenate([found.notional for found in sessions]),
        np.concatenate([found.quote_amount for found in sessions]),
        np.concatenate([found.capture_bps for found in sessions]),
        np.concatenate([found.drift_bps[horizon] for found in sessions]),
        np.concatenate([found.markout_bps[horizon] for found in sessions]),
    )


def _table(
    sessions: Sequence[Markouts],
    errors: Sequence[Floats],
    edges: Sequence[float],
    sides: Sequence[str],
    horizons: Sequence[Horizon],
    rng: np.random.Generator | None,
    days: Ints | None,
) -> Iterator[MarkoutRow]:
    for horizon in horizons if sessions else ():
        pool = _pool(sessions, errors, edges, horizon)
        for side in sides:
            on_side = pool if side == "both" else pool.only(pool.side == SIDES[side])
            for at in np.unique(on_side.error_bin):
                cell = on_side.only(on_side.error_bin == at)
                yield _row(cell, (*_bin(int(at), edges), side, horizon.name), rng, days)


def _row(
    cell: _Pool,
    place: tuple[str, float | None, float | None, str, str],
    rng: np.random.Generator | None,
    days: Ints | None,
) -> MarkoutRow:
    marked = cell.only(~np.isnan(cell.markout_bps))
    weight, total = marked.notional, float(marked.notional.sum())
    capture, drift, markout = (
        float((weight * bps).sum()) / total if total > 0 else None
        for bps in (marked.capture_bps, marked.drift_bps, marked.markout_bps)
    )
    return MarkoutRow(
        *place,
        fills=weight.size,
        fills_dropped=cell.session.size - weight.size,
        sessions=np.unique(marked.session).size,
        notional_quote=sum(marked.quote_amount, Decimal(0)),
        capture_bps=capture,
        drift_bps=drift,
        markout_bps=markout,
        net_quote=None if markout is None else markout * total / 1e4,
        markout_interval_bps=None if rng is None else _over_sessions(marked, rng, days),
    )


def _over_sessions(marked: _Pool, rng: np.random.Generator, days: Ints | None) -> Interval:
    """A ratio of sums, resampled by whole sessions: the fills of one session share its luck."""
    rows = np.zeros((int(marked.session.max(initial=-1)) + 1, 2))
    np.add.at(rows, marked.session, np.column_stack((marked.notional * marked.markout_bps, marked.notional)))
    with_fills = np.flatnonzero(rows[:, 1] > 0)
    clusters = None if days is None else days[with_fills]
    return session_bootstrap(rows[with_fills], lambda sums: sums[:, 0] / sums[:, 1], rng, clusters=clusters)


def _bin(at: int, edges: Sequence[float]) -> tuple[str, float | None, float | None]:
    if at == len(edges) - 1:
        return NO_ERROR, None, None
    low, high = edges[at], edges[at + 1]
    if low == -np.inf:
        return (ALL, None, None) if high == np.inf else (f"<{high:g}", None, high)
    return (f">={low:g}", low, None) if high == np.inf else (f"{low:g} to {high:g}", low, high)
