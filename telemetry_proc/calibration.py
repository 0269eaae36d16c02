"""The guard judged over many sessions: read, check, label, sweep, recommend.

1. Which sessions may be judged together, and which settings are the live ones (`pooling.pool`).
2. Every one of them must pass the fidelity check; its fills are marked (`kept_markouts`).
3. Fills say from which error on quoting loses money; that is the label's beta, unless the operator gives one.
4. Stretches are labelled and every setting is run over all of them (`pooling.labelled`, `outcomes.outcomes`).
5. Whether the label can be trusted: do fills in saturated stretches lose (`agreement`)?
6. `recommend.recommend` judges.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import apsw
import numpy as np

from shared.errors import NotEnoughData
from telemetry_proc.agreement import Agreement, agreement, doubt
from telemetry_proc.break_even import BreakEven, break_even
from telemetry_proc.fidelity import Fidelity
from telemetry_proc.grid import Grid, Setting
from telemetry_proc.kept_markouts import markouts_from
from telemetry_proc.labels import LabelSpec
from telemetry_proc.markouts import Markouts
from telemetry_proc.outcomes import DAY_NS, LabelledSession, outcomes
from telemetry_proc.pooling import Pool, labelled, pool, pool_notes, post_trip_ratio
from telemetry_proc.recommend import Recommendation, recommend
from telemetry_proc.series import Series
from telemetry_proc.series_cache import SeriesCache, SessionSeries
from telemetry_proc.sessions import Session
from telemetry_proc.tick_columns import Ints
from telemetry_proc.verdict import Budgets

Steps = Callable[[str, Sequence[Session]], Iterator[Session]]


class Calibration(NamedTuple):
    """What `guard recommend` answers: the judgement, and the label it rests on."""

    recommendation: Recommendation
    label: LabelSpec
    break_even: BreakEven
    agreement: Agreement


class _Read(NamedTuple):
    """What the first reading of the sessions leaves: small things only."""

    fidelity: list[SessionSeries]
    markouts: list[Markouts]
    days: Ints
    post_trip: list[float]


def calibrate(
    conn: apsw.Connection,
    cache: SeriesCache,
    sessions: Sequence[Session],
    grid: Grid,
    budgets: Budgets,
    rng: np.random.Generator,
    *,
    believe: Callable[[Sequence[SessionSeries]], None],
    beta_bps: float | None = None,
    steps: Steps = lambda _, sessions: iter(sessions),
) -> Calibration:
    """Judge the live setting of the session that started last, and look for a better one in the grid.

    `cache` keeps `markouts_kept()`. `believe` raises where a replay disagrees; it is asked before anything is
    concluded. `beta_bps`: the label's, given by the operator. `steps` goes along the sessions, drawing a bar perhaps.

    Raises `NotEnoughData` where no session has its configuration on record.
    """
    taken = pool(sessions)
    if taken.live is None:
        raise NotEnoughData("no session here has its configuration on record, so no setting is the live one")
    read = _read(conn, cache, taken, steps)
    believe(read.fidelity)
    found = break_even(read.markouts, rng, days=read.days)
    spec = LabelSpec(found.beta_bps, found.source) if beta_bps is None else LabelSpec(beta_bps, "given")
    left_out: Counter[str] = Counter()
    marked = dict(zip((one.session.session_id for one in read.fidelity), read.markouts, strict=True))
    agreed = Agreement()
    tried = grid.including(Setting.of(taken.live))

    def each() -> Iterator[LabelledSession]:
        nonlocal agreed
        for one in labelled(_series(conn, cache, taken, steps), spec, left_out):
            agreed = agreement(agreed, one, marked[one.session_id])
            yield one

    swept = outcomes(each(), tried)
    judged = recommend(
        swept,
        Setting.of(taken.live),
        budgets,
        rng,
        label_digest=spec.digest,
        doubt=doubt(agreed),
        notes=(*pool_notes(taken, left_out, read.post_trip), *_label_notes(spec, found)),
    )
    return Calibration(judged, spec, found, agreed)


def _read(conn: apsw.Connection, cache: SeriesCache, taken: Pool, steps: Steps) -> _Read:
    read = _Read([], [], np.array([(one.started_ns or 0) // DAY_NS for one in taken.sessions], np.int64), [])
    for session in steps("reading", taken.sessions):
        one = cache.load(conn, session)
        read.markouts.append(markouts_from(one.extras))
        trip_tick = one.fidelity.recorded_trip_tick
        ratio = None if trip_tick is None else post_trip_ratio(one.series, trip_tick)
        if ratio is not None:
            read.post_trip.append(ratio)
        read.fidelity.append(one._replace(series=one.series.without_columns(), extras={}))
    return read


def _series(
    conn: apsw.Connection, cache: SeriesCache, taken: Pool, steps: Steps
) -> Iterator[tuple[Session, Series, Fidelity]]:
    for session in steps("sweeping", taken.sessions):
        one = cache.load(conn, session)
        yield session, one.series, one.fidelity


def _label_notes(spec: LabelSpec, found: BreakEven) -> Iterator[str]:
    if spec.beta_source == "assumed":
        yield f"the label's beta of {spec.beta_bps:g} bps is assumed: {found.why}"
    elif spec.beta_source == "measured":
        yield f"the label's beta of {spec.beta_bps:g} bps was measured: {found.why}"
    else:
        yield f"the label's beta of {spec.beta_bps:g} bps was given; measured on the fills: {found.why}"
