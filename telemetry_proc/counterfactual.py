"""What another trip tick would have earned or cost, from the fills on record.

Tightening can be judged from the record, loosening cannot. A guard that trips earlier gives up fills that happened
and can be marked. One that trips later, or never, would have had fills that nobody has seen: all there is, is a range
from none at all to what quotes in errors of the same size brought elsewhere, and it is no confidence interval.

A trip on tick T gives up the fills reported on ticks after T + `cancel_latency_ticks`. With 0 its cancels take effect
before the fills of the next tick; what is reported on T itself happened before the guard spoke. The paper venue lets
the flow of `execution.paper.latency_ledgers` further views meet our orders first, so its latency is that number.

Signs: the net is what the other guard would have had more than the live one, so positive is in its favour.

    loss avoided   = -sum of notional * markout over the fills given up that lost
    income forgone =  sum of notional * markout over the fills given up that gained
    net            = loss avoided - income forgone

The market is taken as it was: nobody reacts to our quotes being gone, and the inventory that fills given up would have
moved skews no later quote. After a trip errors go on and fills do not, so no rate of fills is measured there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Literal, NamedTuple

import numpy as np

from telemetry_proc.markout_table import SIZE_EDGES_BPS, bins_of
from telemetry_proc.markouts import JUDGED_AT, Horizon, Markouts
from telemetry_proc.tick_columns import Floats, Ints, TickColumns

Direction = Literal["earlier", "same", "later", "never"]

QUOTED_TICKS_MIN = 100  # in a bin of errors, before what they brought is called a rate

_BINS = len(SIZE_EDGES_BPS) - 1
_NEVER = int(np.iinfo(np.int64).max) // 2  # behind every tick, with room for a latency


class Quoted(NamedTuple):
    """A session as far as it quoted.

    `trip_tick` is the live guard's, None if it never tripped. `stopped_tick` is where anything else ended the quoting:
    the first other reason to leave ACTIVE, 0 for a session that began in DEGRADED or HALT, None if there was none. It
    would have ended the quoting under any guard.
    """

    columns: TickColumns
    markouts: Markouts
    trip_tick: int | None
    stopped_tick: int | None


class Rates(NamedTuple):
    """What quoting brought, by the size of the error the quotes stood on: one element a bin of `SIZE_EDGES_BPS`.

    `net_quote_per_tick` is the fills a quoted tick times the mean of notional * markout over those that could be
    marked; NaN where fewer than `QUOTED_TICKS_MIN` ticks were quoted, or fills happened and none could be marked.
    """

    quoted_ticks: Ints
    fills: Ints
    net_quote_per_tick: Floats


class Counterfactual(NamedTuple):
    """One alternative against the live guard. Amounts in units of quote.

    `observed`: all that differs is on record. Then `net_quote` is over the fills given up that have a markout, None if
    there are fills and none has one; `net_bps` is per notional of the marked ones; both bounds are the net.
    Not `observed`: there are bounds only, None without rates for all of the `ticks_unseen`, the ticks that the other
    guard would have quoted on and the live one did not; `ticks_without_rate` of them had an error of unknown effect.
    """

    label: str
    trip_tick: int | None
    direction: Direction
    horizon: str
    observed: bool
    fills_avoided: int
    fills_without_markout: int
    notional_avoided_quote: Decimal
    loss_avoided_quote: float | None
    income_forgone_quote: float | None
    net_quote: float | None
    net_bps: float | None
    net_low_quote: float | None
    net_high_quote: float | None
    ticks_unseen: int
    ticks_without_rate: int


def counterfactuals(
    live: Quoted,
    others: Sequence[tuple[str, int | None]],
    *,
    rates: Rates | None = None,
    horizon: Horizon = JUDGED_AT,
    cancel_latency_ticks: int = 0,
) -> tuple[Counterfactual, ...]:
    """Each of `others`, a label and the tick its guard would have tripped on (None: never), against the live guard."""
    live_end = _quoting_end(live, live.trip_tick) + cancel_latency_ticks
    found = []
    for label, trip_tick in others:
        end = _quoting_end(live, trip_tick) + cancel_latency_ticks
        place = (label, trip_tick, _direction(live.trip_tick, trip_tick), horizon.name)
        found.append(
            _seen(live, place, end, live_end, horizon)
            if end <= live_end
            else _unseen(live, place, live_end, end, rates)
        )
    return tuple(found)


def rates_of(sessions: Iterable[Quoted], horizon: Horizon = JUDGED_AT) -> Rates:
    """Fills and their net by size of error, over all ticks of these sessions that were quoted on.

    A large error is only seen here as long as no guard had tripped on it, so the rates of the upper bins are those of
    errors that had not lasted.
    """
    ticks, fills, marked, net = (np.zeros(_BINS + 1) for _ in range(4))
    for session in sessions:
        quoted = _quoted(session.columns, 0, _quoting_end(session, session.trip_tick))
        ticks += np.bincount(bins_of(quoted, SIZE_EDGES_BPS), minlength=_BINS + 1)
        at = bins_of(np.abs(session.markouts.error_bps), SIZE_EDGES_BPS)
        worth = _worth_quote(session.markouts, horizon)
        known = ~np.isnan(worth)
        fills += np.bincount(at, minlength=_BINS + 1)
        marked += np.bincount(at[known], minlength=_BINS + 1)
        net += np.bincount(at[known], worth[known], minlength=_BINS + 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        a_tick = np.where(fills == 0, 0.0, fills / ticks * (net / marked))
    a_tick[(ticks < QUOTED_TICKS_MIN) | ((fills > 0) & (marked == 0))] = np.nan
    return Rates(ticks[:_BINS].astype(np.int64), fills[:_BINS].astype(np.int64), a_tick[:_BINS])


def fills_after_cancel(live: Quoted, cancel_latency_ticks: int = 0) -> int:
    """Fills later than any cancel should have let through; more than 0 says that the latency is set too short."""
    return int((live.markouts.tick > _quoting_end(live, live.trip_tick) + cancel_latency_ticks).sum())


def _quoting_end(session: Quoted, trip_tick: int | None) -> int:
    return min(tick for tick in (trip_tick, session.stopped_tick, _NEVER) if tick is not None)


def _direction(live: int | None, other: int | None) -> Direction:
    if other == live:
        return "same"
    if other is None:
        return "never"
    return "earlier" if live is None or other < live else "later"


def _seen(
    live: Quoted, place: tuple[str, int | None, Direction, str], end: int, live_end: int, horizon: Horizon
) -> Counterfactual:
    """The fills between both ends of quoting, which the other guard would not have had."""
    tick = live.markouts.tick
    avoided = (tick > end) & (tick <= live_end)
    worth = _worth_quote(live.markouts, horizon)[avoided]
    known = ~np.isnan(worth)
    loss, income = float(np.abs(worth[worth < 0]).sum()), float(worth[worth > 0].sum())
    notional = float(live.markouts.notional[avoided][known].sum())
    unknown = bool(avoided.any()) and not known.any()
    net = None if unknown else loss - income
    return Counterfactual(
        *place,
        observed=True,
        fills_avoided=int(avoided.sum()),
        fills_without_markout=int((~known).sum()),
        notional_avoided_quote=sum(live.markouts.quote_amount[avoided], Decimal(0)),
        loss_avoided_quote=None if unknown else loss,
        income_forgone_quote=None if unknown else income,
        net_quote=net,
        net_bps=1e4 * net / notional if net is not None and notional > 0 else None,
        net_low_quote=net,
        net_high_quote=net,
        ticks_unseen=0,
        ticks_without_rate=0,
    )


def _unseen(
    live: Quoted, place: tuple[str, int | None, Direction, str], live_end: int, end: int, rates: Rates | None
) -> Counterfactual:
    """The ticks between both ends, which the other guard would have quoted on.

    In every bin of errors between nothing and the rate measured there, so that bins of opposite sign do not cancel.
    """
    ticks = np.bincount(bins_of(_quoted(live.columns, live_end, end), SIZE_EDGES_BPS), minlength=_BINS)
    a_tick = np.full(_BINS, np.nan) if rates is None else rates.net_quote_per_tick
    without_rate = int(ticks[np.isnan(a_tick)].sum())
    nets = ticks[ticks > 0] * a_tick[ticks > 0]
    return Counterfactual(
        *place,
        observed=False,
        fills_avoided=0,
        fills_without_markout=0,
        notional_avoided_quote=Decimal(0),
        loss_avoided_quote=None,
        income_forgone_quote=None,
        net_quote=None,
        net_bps=None,
        net_low_quote=None if without_rate else float(nets[nets < 0].sum()),
        net_high_quote=None if without_rate else float(nets[nets > 0].sum()),
        ticks_unseen=int(ticks.sum()),
        ticks_without_rate=without_rate,
    )


def _worth_quote(fills: Markouts, horizon: Horizon) -> Floats:
    return fills.notional * fills.markout_bps[horizon] / 1e4


def _quoted(columns: TickColumns, begin: int, end: int) -> Floats:
    """|error| on the ticks from `begin` up to `end` that quotes could be made on: those that have an error."""
    error = columns.anchor_error_bps[(columns.tick >= begin) & (columns.tick < end)]
    return np.abs(error[~np.isnan(error)])
