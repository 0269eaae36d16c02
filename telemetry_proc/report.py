"""Everything about one session: what page one says, what the plots show, and what both were computed from.

`Report` is the whole answer. `wording.as_json` gives it to programs: one object whose keys are the field names, units
included, None as null; docs/calibration.md explains them. Where the replay disagrees with the record
(`guard.fidelity` is `mismatch`, `guard.disagreement` says where first), everything that would rest on the guard is
withheld: `explanation`, `what_if`, `counterfactual`, `labels.score`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import apsw
import numpy as np

from shared.settings import AnchorSaturationGuard
from telemetry_proc.answers import Answers, Unseen, answers_to
from telemetry_proc.distribution import Distribution, distribution
from telemetry_proc.fidelity import replay
from telemetry_proc.grid import Setting
from telemetry_proc.guard_record import GUARD, guard_settings, guard_trips
from telemetry_proc.guard_state import Guard, guard_state
from telemetry_proc.labels import Episode, LabelSpec, episodes
from telemetry_proc.ladder import Explanation, explain
from telemetry_proc.markout_table import MarkoutRow
from telemetry_proc.plot_columns import read_plot_columns
from telemetry_proc.plots import Event, plots_of
from telemetry_proc.series import Series, series_of
from telemetry_proc.session_facts import (
    GUARD_TRIPPED,
    ModeChange,
    SessionHead,
    Ticks,
    Trip,
    cancel_latency_ticks,
    read_mode_changes,
    read_trips,
    session_head,
    stopped_tick,
    ticks_of,
)
from telemetry_proc.sessions import JSON_SCHEMA_VERSION, RUNNING, Session
from telemetry_proc.study import (
    Labels,
    Quoting,
    Score,
    WhatIfTable,
    fill_study,
    is_told,
    labels_of,
    score_of,
    what_if_around,
)
from telemetry_proc.tick_columns import TickColumns, read_ticks
from telemetry_proc.trading import Money, Orders, money, orders
from telemetry_proc.wording import count


class Report(NamedTuple):
    """A session. None: nothing is on record for it, or it was not asked for, or the replay disagrees."""

    schema_version: int
    session: SessionHead
    answers: Answers
    ticks: Ticks
    error: Distribution
    guard: Guard
    trips: tuple[Trip, ...]
    mode_history: tuple[ModeChange, ...]
    orders: Orders
    money: Money
    explanation: Explanation | None
    what_if: WhatIfTable | None
    markouts: tuple[MarkoutRow, ...]
    markouts_all: tuple[MarkoutRow, ...]
    markouts_while_waiting: tuple[MarkoutRow, ...] | None
    counterfactual: tuple[dict[str, Any], ...] | None
    labels: Labels
    notes: tuple[str, ...]
    plots: dict[str, Any] | None


def build_report(conn: apsw.Connection, session: Session, *, with_plots: bool = False) -> Report:
    """Read a session and compute its report. A running session is reported up to the last tick stored by now.

    Raises `IntegrityError` for a stored value that is no finite number.
    """
    number, running = session.session_id, session.status == RUNNING
    settings = guard_settings(session.config_json)
    columns = read_ticks(conn, number)
    series = series_of(columns, settings, closed_ticks=session.ticks)
    fidelity = replay(columns, settings, guard_trips(conn, number), closed_ticks=session.ticks, series=series)
    believed = fidelity.state not in {"mismatch", "not recorded"} and len(series.tick) > 0
    explanation = explain(series, settings) if believed and settings is not None else None
    trips, history = read_trips(conn, number), read_mode_changes(conn, number)
    of_guard = [trip for trip in trips if trip.breaker == GUARD]
    trip_tick = of_guard[0].tick if of_guard else None
    guard = guard_state(settings, series.facts, fidelity, explanation, trip_on_record=bool(of_guard))
    error = distribution(
        columns,
        **_rule(settings),
        starts=np.searchsorted(columns.tick, series.tick[series.starts]),
        trip_tick=trip_tick,
    )
    what_if = what_if_around(series, Setting.of(settings or AnchorSaturationGuard())) if believed else None
    quoting = _quoting(session, guard, explanation, trip_tick, history)
    comparable = guard.state != "tripped" or guard.trip_is_replayed
    fills = fill_study(conn, number, columns, what_if if comparable else None, quoting)
    spec = LabelSpec()
    stretches = episodes(series.error_nano_bps, series.starts, spec)
    labels = labels_of(series, columns, stretches, spec, fills.worth)
    labels = labels._replace(score=_score(labels, guard, series))
    return Report(
        schema_version=JSON_SCHEMA_VERSION,
        session=session_head(session, history),
        answers=answers_to(error, guard, explanation, labels, _unseen(columns, series, guard), running=running),
        ticks=ticks_of(series.facts),
        error=error,
        guard=guard,
        trips=trips,
        mode_history=history,
        orders=orders(conn, number, trip_tick),
        money=money(conn, session),
        explanation=explanation,
        what_if=what_if,
        markouts=fills.by_error,
        markouts_all=fills.all_errors,
        markouts_while_waiting=fills.while_waiting,
        counterfactual=fills.counterfactual,
        labels=labels,
        notes=(*fidelity.notes, *_fill_notes(fills.after_cancel, quoting)),
        plots=_plots(conn, number, columns, series, settings, list(_events(series, guard, history)), stretches)
        if with_plots
        else None,
    )


def _quoting(
    session: Session,
    guard: Guard,
    explanation: Explanation | None,
    trip_tick: int | None,
    history: tuple[ModeChange, ...],
) -> Quoting:
    onset = explanation.onset if explanation is not None and guard.trip_is_replayed else None
    return Quoting(
        trip_tick=trip_tick,
        stopped_tick=stopped_tick(session.initial_mode, history),
        cancel_latency_ticks=cancel_latency_ticks(session.config_json),
        waited_from=None if onset is None else onset.tick,
    )


def _score(labels: Labels, guard: Guard, series: Series) -> Score | None:
    """By the trip on record, else by the one that the guard's code would have had; None where that is not certain."""
    if guard.state == "tripped":
        if not guard.trip_is_replayed:
            return None
        told = is_told(series, guard.recorded_trip_tick, labels.spec)
        return score_of(labels.episodes, guard.recorded_trip_tick, told=told)
    both = guard.ladder.both
    if both is None and (guard.hiding or guard.state not in {"armed", "not armed", "disabled"}):
        return None
    trip_tick = None if both is None else both.tick
    return score_of(labels.episodes, trip_tick, told=is_told(series, trip_tick, labels.spec))


def _unseen(columns: TickColumns, series: Series, guard: Guard) -> Unseen:
    """Ticks are numbered from 1, so the number of the first exceedance says how many there were before it."""
    first = guard.ladder.error
    before = 0 if first is None else max(0, first.tick - 1 - int(np.searchsorted(columns.tick, first.tick)))
    return Unseen(series.facts.missing_ticks, before)


def _fill_notes(after_cancel: int, quoting: Quoting) -> Iterator[str]:
    if after_cancel:
        latency = count(quoting.cancel_latency_ticks, "tick")
        yield (
            f"{count(after_cancel, 'fill')} came later than a cancel should have let through (latency {latency}): what "
            "other thresholds would have avoided is too low"
        )


def _rule(settings: AnchorSaturationGuard | None) -> dict[str, Any]:
    """What of the thresholds the distribution of the window hangs on; nothing where they are not on record."""
    return {} if settings is None else settings.model_dump(exclude={"enabled", "prevalence_pct"})


def _plots(
    conn: apsw.Connection,
    number: int,
    columns: TickColumns,
    series: Series,
    settings: AnchorSaturationGuard | None,
    events: list[Event],
    stretches: Sequence[Episode],
) -> dict[str, Any]:
    return plots_of(
        columns,
        settings=settings,
        series=series,
        events=events,
        extra=read_plot_columns(conn, number),
        episodes=[(episode.begin, episode.end) for episode in stretches],
    )


def _events(series: Series, guard: Guard, history: tuple[ModeChange, ...]) -> Iterator[Event]:
    """What every plot over ticks marks with a line."""
    ladder = guard.ladder
    for kind, rung, what, height, unit in (
        ("error", ladder.error, "|error|", guard.bias_threshold_bps, " bps"),
        ("mean", ladder.mean, "|mean|", guard.bias_threshold_bps, " bps"),
        ("prevalence", ladder.prevalence, "share", guard.prevalence_pct, "%"),
    ):
        if rung is not None:
            yield Event(rung.tick, kind, f"first {what} >= {height:g}{unit}")  # type: ignore[arg-type]
    if guard.recorded_trip_tick is not None:
        yield Event(guard.recorded_trip_tick, "trip", "trip")
    elif ladder.both is not None:
        yield Event(ladder.both.tick, "trip", "both conditions, no trip")
    for start in series.starts[1:].tolist():
        yield Event(int(series.tick[start]), "restart", "the window begins anew")
    for change in history:
        if change.tick is not None and change.reason != GUARD_TRIPPED:
            yield Event(change.tick, "mode", f"{change.from_mode} -> {change.to_mode}")
