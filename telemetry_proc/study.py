"""What one session says about other thresholds and about its fills; a single session ranks none of them.

Everything is computed from the session's columns alone: first trips of a grid around the live setting, the stretches
that were truly saturated and whether the trip lies in one, the fills' markouts by size of error, and what an earlier
trip would have avoided and forgone.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import apsw
import numpy as np

from telemetry_proc.counterfactual import Quoted, counterfactuals, fills_after_cancel, rates_of
from telemetry_proc.grid import Grid, Setting
from telemetry_proc.labels import Episode, LabelSpec
from telemetry_proc.markout_table import MarkoutRow, all_errors, by_error_bin
from telemetry_proc.markouts import JUDGED_AT, Markouts, markouts, read_fills
from telemetry_proc.series import Series
from telemetry_proc.tick_columns import UNRECORDED, Bools, Texts, TickColumns
from telemetry_proc.whatif import WhatIf, hiding, what_if

_LOOKBACKS = (10, 15, 20, 25, 30, 40, 50, 75, 100)
_BIASES_BPS = tuple(4.0 + 0.5 * step for step in range(13))
_PREVALENCES_PCT = (20.0, 30.0, 40.0, 50.0, 60.0)


class WhatIfTable(NamedTuple):
    """First trips around the live setting: `results` holds every combination of the grid, the live one included.

    `hiding`: why a "never" among them must not be believed; empty where no trip can have gone unseen.
    """

    live: Setting
    results: tuple[WhatIf, ...]
    hiding: tuple[str, ...] = ()


class Quoting(NamedTuple):
    """What bounded a session's quoting.

    `trip_tick`: the live guard's. `stopped_tick`: where anything else ended the quoting. `cancel_latency_ticks`: how
    long after a cancel fills may still come. `waited_from`: the onset, from which on the guard waited for the trip.
    """

    trip_tick: int | None
    stopped_tick: int | None
    cancel_latency_ticks: int
    waited_from: int | None


class LabelledEpisode(NamedTuple):
    """A stretch that was truly saturated, by tick; an ambiguous one is listed, not scored.

    It begins with `first_tick`, where looking ahead first says so; the error moved at `onset_tick`. From there to
    `last_tick`: `capped_pct` and `market_not_ok_pct` of its ticks, None where no tick says; `fills` were reported,
    `fills_marked` of them have a markout at 30 s, and `markout_quote` is the sum of those, None without any. A stretch
    in which our fills did not lose is not what the label is looking for.
    """

    first_tick: int
    onset_tick: int
    last_tick: int
    sign: int
    level_bps: float
    ambiguous: bool
    capped_pct: float | None
    market_not_ok_pct: float | None
    fills: int
    fills_marked: int
    markout_quote: float | None


class Score(NamedTuple):
    """The guard's trip, or that it had none, against the label. After its trip a guard is spent and misses nothing.

    `caught`: the trip lies in a scored stretch; `unscored`: in an ambiguous one, or in none with too little of the
    record behind it to say so; `false_trips`: in none. `missed`: scored stretches that passed without a trip. `calm`:
    no stretch at all, also no ambiguous one.
    """

    trip_tick: int | None
    caught: int
    unscored: int
    false_trips: int
    missed: int
    calm: bool


class Labels(NamedTuple):
    """What counted as truly saturated, where that was, and how the guard did by it; no score where a trip of it may
    have gone unseen.
    """

    spec: LabelSpec
    digest: str
    episodes: tuple[LabelledEpisode, ...]
    score: Score | None


class FillStudy(NamedTuple):
    """What fills were worth.

    `while_waiting`: of those after the onset up to the trip; None without both. `counterfactual` is None
    where other thresholds could not be asked. `after_cancel`: fills later than any cancel should have let through.
    """

    worth: Markouts
    by_error: tuple[MarkoutRow, ...]
    all_errors: tuple[MarkoutRow, ...]
    while_waiting: tuple[MarkoutRow, ...] | None
    counterfactual: tuple[dict[str, Any], ...] | None
    after_cancel: int


def what_if_around(series: Series, live: Setting) -> WhatIfTable:
    """`live` are the recorded thresholds, or the shipped ones where none are on record."""
    grid = around(live)
    return WhatIfTable(live, what_if(series, grid), hiding(series, grid))


def fill_study(
    conn: apsw.Connection, session_id: int, columns: TickColumns, table: WhatIfTable | None, quoting: Quoting
) -> FillStudy:
    """Markouts of the session's fills and, for each other bias threshold, what it would have meant in money."""
    worth = markouts(columns, read_fills(conn, session_id))
    live = Quoted(columns, worth, quoting.trip_tick, quoting.stopped_tick)
    latency = quoting.cancel_latency_ticks
    waiting = None
    if quoting.waited_from is not None and quoting.trip_tick is not None:
        waiting = all_errors([_only(worth, (worth.tick > quoting.waited_from) & (worth.tick <= quoting.trip_tick))])
    return FillStudy(
        worth,
        by_error_bin([worth]),
        all_errors([worth]),
        waiting,
        None if table is None else _net_effects(live, table, latency),
        fills_after_cancel(live, latency),
    )


def labels_of(
    series: Series, columns: TickColumns, found: Sequence[Episode], spec: LabelSpec, worth: Markouts
) -> Labels:
    """The stretches of the session that were truly saturated, by tick; without a score as yet."""
    return Labels(spec, spec.digest, tuple(_by_tick(series, columns, episode, worth) for episode in found), None)


def score_of(stretches: Sequence[LabelledEpisode], trip_tick: int | None, *, told: bool = True) -> Score:
    """Where the trip lies; None: the guard never tripped. `told`: enough came after it to tell (`is_told`)."""
    caught = unscored = missed = 0
    for stretch in stretches:
        if trip_tick is not None and stretch.first_tick > trip_tick:
            break
        holds = trip_tick is not None and trip_tick <= stretch.last_tick
        if stretch.ambiguous:
            unscored += holds
        else:
            caught += holds
            missed += not holds
    in_none = int(trip_tick is not None and not caught and not unscored)
    false_trips, unscored = (in_none, unscored) if told else (0, unscored + in_none)
    return Score(trip_tick, caught, unscored, false_trips, missed, calm=not stretches)


def is_told(series: Series, trip_tick: int | None, spec: LabelSpec) -> bool:
    """Do enough errors follow the trip for the label, which looks ahead, to say whether the error stayed?

    An engine that is stopped as soon as its guard trips leaves no such record, and its trip is not false for that.
    """
    if trip_tick is None:
        return True
    after = int(np.searchsorted(series.tick, trip_tick, side="right"))
    borders = series.starts[series.starts >= after]
    return 2 * (int(borders[0] if borders.size else series.tick.size) - after) >= spec.horizon_ticks


def around(live: Setting) -> Grid:
    """Lookbacks, biases and shares around the live setting, and the live prevalence threshold."""
    return Grid.of(
        lookback_ticks=(*_LOOKBACKS, live.lookback_ticks),
        bias_threshold_bps=(*_BIASES_BPS, live.bias_threshold_bps),
        prevalence_threshold_bps=(live.prevalence_threshold_bps,),
        prevalence_pct=(*_PREVALENCES_PCT, live.prevalence_pct),
    )


def _net_effects(live: Quoted, table: WhatIfTable, cancel_latency_ticks: int) -> tuple[dict[str, Any], ...]:
    """Each bias threshold, all else as it was: `bias_threshold_bps` and the fields of `Counterfactual`."""
    others = [
        answer
        for answer in table.results
        if answer.setting == table.live._replace(bias_threshold_bps=answer.bias_threshold_bps)
    ]
    labelled = [(f"bias {answer.bias_threshold_bps:g}", answer.first_trip_tick) for answer in others]
    effects = counterfactuals(live, labelled, rates=rates_of([live]), cancel_latency_ticks=cancel_latency_ticks)
    return tuple(
        {"bias_threshold_bps": answer.bias_threshold_bps, **effect._asdict()}
        for answer, effect in zip(others, effects, strict=True)
    )


def _only(worth: Markouts, which: Bools) -> Markouts:
    """Some of the fills."""
    return worth._replace(
        **{name: getattr(worth, name)[which] for name in ("tick", "ts_ns", "side", "notional", "quote_amount")},
        **{name: getattr(worth, name)[which] for name in ("error_bps", "capture_bps")},
        drift_bps={horizon: bps[which] for horizon, bps in worth.drift_bps.items()},
        markout_bps={horizon: bps[which] for horizon, bps in worth.markout_bps.items()},
    )


def _by_tick(series: Series, columns: TickColumns, episode: Episode, worth: Markouts) -> LabelledEpisode:
    first, onset, last = (int(series.tick[at]) for at in (episode.begin, episode.onset, episode.end - 1))
    rows = slice(*np.searchsorted(columns.tick, (onset, last + 1)))
    inside = (worth.tick >= onset) & (worth.tick <= last)
    markout = (worth.notional * worth.markout_bps[JUDGED_AT])[inside] / 1e4
    marked = markout[~np.isnan(markout)]
    troubled = set(columns.market_status.names) - {"OK", UNRECORDED}
    return LabelledEpisode(
        first,
        onset,
        last,
        episode.sign,
        episode.level_bps,
        episode.ambiguous,
        capped_pct=_share_pct(columns.anchor_mode, rows, {"capped"}),
        market_not_ok_pct=_share_pct(columns.market_status, rows, troubled),
        fills=int(inside.sum()),
        fills_marked=marked.size,
        markout_quote=float(marked.sum()) if marked.size else None,
    )


def _share_pct(column: Texts, rows: slice, wanted: Collection[str]) -> float | None:
    """The share of these rows that hold one of the texts; None if none of them holds any text at all."""
    codes = column.codes[rows]
    held = np.bincount(codes, minlength=len(column.names)).tolist()
    ticks = dict(zip(column.names, held, strict=True))
    if ticks.get(UNRECORDED, 0) == codes.size:
        return None
    return float(100.0 * sum(ticks.get(text, 0) for text in wanted) / codes.size)
