"""The guard judged over many sessions: read, check, label, sweep, recommend.

1. Which sessions may be judged together, and which settings are the live ones (`pooling.pool`).
2. Every one of them must pass the fidelity check; one with no guard state to compare is left out. Their fills are
   marked (`kept_markouts`).
3. Fills say from which error on quoting loses money; that is the label's beta, unless the operator gives one.
4. Stretches are labelled and every setting is run over all of them (`pooling.labelled`, `outcomes.outcomes`).
5. Whether the label can be trusted: do fills in saturated stretches lose (`agreement`)?
6. `recommend.recommend` judges.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import apsw
import numpy as np

from shared.errors import NotEnoughData
from telemetry_proc.agreement import Agreement, agreed_words, agreement, doubt
from telemetry_proc.break_even import BreakEven, break_even
from telemetry_proc.fidelity import Fidelity
from telemetry_proc.grid import Grid, Setting
from telemetry_proc.kept_markouts import markouts_from
from telemetry_proc.labels import LabelSpec
from telemetry_proc.markouts import Markouts
from telemetry_proc.outcomes import DAY_NS, LabelledSession, outcomes
from telemetry_proc.pooling import fingerprint, label_words, labelled, pool, pool_notes, post_trip_ratio
from telemetry_proc.recommend import Recommendation, recommend, recommendation_json
from telemetry_proc.series import Series
from telemetry_proc.series_cache import SeriesCache, SessionSeries
from telemetry_proc.sessions import Session, began_ns
from telemetry_proc.verdict import Budgets
from telemetry_proc.whatif import check_size
from telemetry_proc.wording import as_json, count

Steps = Callable[[str, Sequence[Session]], Iterator[Session]]

NO_GUARD_STATE = "no recorded guard state to compare"


class Calibration(NamedTuple):
    """What `guard recommend` answers: the judgement, and the label it rests on."""

    recommendation: Recommendation
    label: LabelSpec
    break_even: BreakEven
    agreement: Agreement


class _Read(NamedTuple):
    """What the first reading of the sessions leaves: small things only.

    `checked` are all, without their columns; `usable` are to be read again, and `markouts`, by session number, are
    theirs. `first_days`: the day of each that is no repetition of one before it, by session number.
    """

    checked: list[SessionSeries]
    usable: list[Session]
    markouts: dict[int, Markouts]
    first_days: dict[int, int]
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

    `cache` keeps `markouts_kept()`; it is asked for each session twice, so that not all are held at once. `believe`
    raises where a replay disagrees; it is asked before anything is concluded. `beta_bps`: the label's, given by the
    operator. `steps` goes along the sessions, drawing a bar perhaps.

    Raises `NotEnoughData` where no session has its configuration on record, or none its guard's state, and `UsageError`
    where there are too many combinations for so many sessions.
    """
    taken = pool(sessions)
    if taken.live is None:
        if "still running" in taken.left_out:
            why = "; ".join(f"{count(number, 'session')}: {reason}" for reason, number in taken.left_out.items())
            raise NotEnoughData(f"no session that is over to judge ({why})")
        raise NotEnoughData("no session here has its configuration on record, so no setting is the live one")
    live = Setting.of(taken.live)
    tried = grid.including(live)
    check_size(len(taken.sessions), tried)
    left_out: Counter[str] = Counter()
    read = _read((cache.load(conn, session) for session in steps("reading", taken.sessions)), left_out)
    believe(read.checked)
    if not any(one.fidelity.state == "ok" for one in read.checked):
        raise NotEnoughData(f"{NO_GUARD_STATE} in any session: guard whatif and guard sweep can ask any thresholds")
    found = _break_even(read, rng)
    spec = LabelSpec(found.beta_bps, found.source) if beta_bps is None else LabelSpec(beta_bps, "given")
    agreed = Agreement()

    def each() -> Iterator[LabelledSession]:
        nonlocal agreed
        for one in labelled(_series(conn, cache, steps("sweeping", read.usable)), spec, left_out, live.thresholds):
            agreed = agreement(agreed, one, read.markouts[one.session_id])
            yield one

    swept = outcomes(each(), tried)
    judged = recommend(
        swept,
        live,
        budgets,
        rng,
        label_digest=spec.digest,
        doubt=doubt(agreed),
        notes=(*pool_notes(taken, left_out, read.post_trip), *_label_notes(spec, found, agreed)),
    )
    return Calibration(judged, spec, found, agreed)


def calibration_json(found: Calibration) -> dict[str, Any]:
    """`{recommendation, label, break_even, agreement}`, each with the fields of the record of that name."""
    said: dict[str, Any] = as_json(found)
    return said | {"recommendation": recommendation_json(found.recommendation)}


def _read(loaded: Iterable[SessionSeries], left_out: Counter[str]) -> _Read:
    read = _Read([], [], {}, {}, [])
    seen: set[bytes] = set()
    for one in loaded:
        read.checked.append(one._replace(series=one.series.without_columns(), extras={}))
        if one.fidelity.state == NO_GUARD_STATE:
            left_out[NO_GUARD_STATE] += 1
            continue
        number = one.session.session_id
        read.usable.append(one.session)
        read.markouts[number] = markouts_from(one.extras)
        beginning = fingerprint(one.series)
        if beginning is None or beginning not in seen:
            read.first_days[number] = _began_ns(one) // DAY_NS
        if beginning is not None:
            seen.add(beginning)
        trip_tick = one.fidelity.recorded_trip_tick
        ratio = None if trip_tick is None else post_trip_ratio(one.series, trip_tick)
        if ratio is not None:
            read.post_trip.append(ratio)
    return read


def _break_even(read: _Read, rng: np.random.Generator) -> BreakEven:
    """Of every fill once: a session played again is no second observation."""
    days = np.array(list(read.first_days.values()), np.int64)
    return break_even([read.markouts[number] for number in read.first_days], rng, days=days)


def _series(
    conn: apsw.Connection, cache: SeriesCache, sessions: Iterable[Session]
) -> Iterator[tuple[Session, Series, Fidelity]]:
    for session in sessions:
        one = cache.load(conn, session)
        yield session, one.series, one.fidelity


def _began_ns(one: SessionSeries) -> int:
    """As its row says, else its first tick. Sessions that say neither share a day, which widens every interval."""
    return began_ns(one.session) or one.series.facts.first_ts_ns or 0


def _label_notes(spec: LabelSpec, found: BreakEven, agreed: Agreement) -> Iterator[str]:
    said = "; measured on the fills" if spec.beta_source == "given" else ""
    yield f"{label_words(spec)}{said}: {found.why}"
    words = agreed_words(agreed)
    if words is not None:
        yield words
