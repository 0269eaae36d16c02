"""What one session says about other thresholds and about its fills; a single session ranks none of them.

Everything is computed from the session's columns alone: first trips of a grid around the live setting, the fills'
markouts by size of error, and what an earlier trip would have avoided and forgone.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import apsw

from telemetry_proc.counterfactual import Quoted, counterfactuals, rates_of
from telemetry_proc.grid import Grid, Setting
from telemetry_proc.labels import Episode, LabelSpec, episodes
from telemetry_proc.markout_table import MarkoutRow, all_errors, by_error_bin
from telemetry_proc.markouts import Markouts, markouts, read_fills
from telemetry_proc.series import Series
from telemetry_proc.tick_columns import TickColumns
from telemetry_proc.whatif import WhatIf, what_if

_LOOKBACKS = (10, 15, 20, 25, 30, 40, 50, 75, 100)
_BIASES_BPS = tuple(4.0 + 0.5 * step for step in range(13))
_PREVALENCES_PCT = (20.0, 30.0, 40.0, 50.0, 60.0)


class WhatIfTable(NamedTuple):
    """First trips around the live setting: `results` holds every combination of the grid, the live one included."""

    live: Setting
    results: tuple[WhatIf, ...]


class LabelledEpisode(NamedTuple):
    """A stretch that was truly saturated, by tick."""

    first_tick: int
    onset_tick: int
    last_tick: int
    sign: int
    level_bps: float
    ambiguous: bool


class Labels(NamedTuple):
    """What counted as truly saturated, and where that was."""

    spec: LabelSpec
    digest: str
    episodes: tuple[LabelledEpisode, ...]


class FillStudy(NamedTuple):
    """What fills were worth; `counterfactual` is None where other thresholds could not be asked."""

    by_error: tuple[MarkoutRow, ...]
    all_errors: tuple[MarkoutRow, ...]
    counterfactual: tuple[dict[str, Any], ...] | None


def what_if_around(series: Series, live: Setting) -> WhatIfTable:
    """`live` are the recorded thresholds, or the shipped ones where none are on record."""
    return WhatIfTable(live, what_if(series, around(live)))


def fill_study(
    conn: apsw.Connection,
    session_id: int,
    columns: TickColumns,
    table: WhatIfTable | None,
    trip_tick: int | None,
    stopped: int | None,
) -> FillStudy:
    """Markouts of the session's fills and, for each other bias threshold, what it would have meant in money.

    `trip_tick`: the live guard's. `stopped`: where anything else ended the quoting.
    """
    worth = markouts(columns, read_fills(conn, session_id))
    effects = None if table is None else _net_effects(columns, worth, table, trip_tick, stopped)
    return FillStudy(by_error_bin([worth]), all_errors([worth]), effects)


def labels_of(series: Series, spec: LabelSpec) -> Labels:
    """The stretches of the session that were truly saturated."""
    found = episodes(series.error_nano_bps, series.starts, spec)
    return Labels(spec, spec.digest, tuple(_by_tick(series, episode) for episode in found))


def around(live: Setting) -> Grid:
    """Lookbacks, biases and shares around the live setting, and the live prevalence threshold."""
    return Grid.of(
        lookback_ticks=(*_LOOKBACKS, live.lookback_ticks),
        bias_threshold_bps=(*_BIASES_BPS, live.bias_threshold_bps),
        prevalence_threshold_bps=(live.prevalence_threshold_bps,),
        prevalence_pct=(*_PREVALENCES_PCT, live.prevalence_pct),
    )


def _net_effects(
    columns: TickColumns, worth: Markouts, table: WhatIfTable, trip_tick: int | None, stopped: int | None
) -> tuple[dict[str, Any], ...]:
    """Each other bias threshold, all else as it was: `bias_threshold_bps` and the fields of `Counterfactual`."""
    live = Quoted(columns, worth, trip_tick, stopped)
    others = [
        answer
        for answer in table.results
        if answer.setting == table.live._replace(bias_threshold_bps=answer.bias_threshold_bps)
    ]
    labelled = [(f"bias {answer.bias_threshold_bps:g}", answer.first_trip_tick) for answer in others]
    effects = counterfactuals(live, labelled, rates=rates_of([live]))
    return tuple(
        {"bias_threshold_bps": answer.bias_threshold_bps, **effect._asdict()}
        for answer, effect in zip(others, effects, strict=True)
    )


def _by_tick(series: Series, episode: Episode) -> LabelledEpisode:
    first, onset, last = (int(series.tick[at]) for at in (episode.begin, episode.onset, episode.end - 1))
    return LabelledEpisode(first, onset, last, episode.sign, episode.level_bps, episode.ambiguous)
