"""Which sessions may be judged together, and how each of them enters.

The anchor error does not depend on the guard: until it trips the guard changes nothing, and what follows is the
market's. So sessions that ran under different *guard* settings are one sample of errors. Sessions with another anchor
rule, pair or source of market data are not: those are left out and counted, never pooled silently.

That errors after a trip may be used rests on the anchor not depending on our own quotes. Where our quotes were a good
part of the book, mid moves when they go; `post_trip_ratio` measures it, and a jump is said.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from pydantic import ValidationError

from shared.saturation import Thresholds
from shared.settings import AnchorSaturationGuard
from telemetry_proc.fidelity import Fidelity
from telemetry_proc.labels import LabelSpec, calm_stretches, episodes
from telemetry_proc.outcomes import LabelledSession
from telemetry_proc.series import Series
from telemetry_proc.sessions import RUNNING, Session, began_ns, pick_latest
from telemetry_proc.tick_columns import NOT_RECORDED
from telemetry_proc.unseen import could_hide

POST_TRIP_ERRORS = 200
POST_TRIP_JUMP = 2.0
_TROUBLE = "fault: "
_FINGERPRINT_VALUES = 20  # fewer different errors than this may agree by chance, or by being idle
_FINGERPRINT_ERRORS = 200  # looked at first; an anchor that mostly stands on mid takes more to show as many


class Pool(NamedTuple):
    """The sessions that may be judged together.

    Fields:
        sessions: those with the latest session's anchor rule, pair and market source, oldest first.
        live: guard settings of the latest of them: the ones that are judged. None: not recorded.
        guards: how many different guard settings the sessions ran under.
        left_out: why others were not taken, with how many.
        in_trouble: how many of the sessions crashed or ended by a fault: what came after is missing, and not by chance.
    """

    sessions: tuple[Session, ...]
    live: AnchorSaturationGuard | None
    guards: int
    left_out: dict[str, int]
    in_trouble: int


def pool(sessions: Sequence[Session]) -> Pool:
    """Group by what the anchor error depends on and take the group of the session that started last."""
    left_out: Counter[str] = Counter()
    configured: list[tuple[Session, dict[str, Any]]] = []
    for session in sessions:
        config = _config(session)
        if session.status == RUNNING:
            left_out["still running"] += 1
        elif config is None:
            left_out["configuration not recorded"] += 1
        else:
            configured.append((session, config))
    if not configured:
        return Pool((), None, 0, dict(left_out), 0)
    latest = pick_latest([session for session, _ in configured])
    wanted = next(_market(session, config) for session, config in configured if session is latest)
    alike = [(session, config) for session, config in configured if _market(session, config) == wanted]
    if len(alike) < len(configured):
        left_out["another anchor rule, pair or market source"] += len(configured) - len(alike)
    guards = {json.dumps(_guard_block(config), sort_keys=True) for _, config in alike}
    live = next(_guard(config) for session, config in alike if session is latest)
    taken = tuple(sorted((session for session, _ in alike), key=lambda one: (began_ns(one) or 0, one.session_id)))
    return Pool(taken, live, len(guards), dict(left_out), sum(map(_in_trouble, taken)))


def labelled(
    loaded: Iterable[tuple[Session, Series, Fidelity]],
    spec: LabelSpec,
    left_out: Counter[str],
    judged: Thresholds | None = None,
) -> Iterator[LabelledSession]:
    """Each session as the sweep takes it, labelled; one at a time. Those that cannot be used are counted in `left_out`.

    `judged`: the thresholds that missing rows may hide a trip of. Without them each session is asked by its own, and
    the same errors may be complete under one guard and not under another.

    A session whose errors are those of one before it (a tape or a simulation played again) is no second observation.
    """
    seen: set[bytes] = set()
    for session, series, fidelity in loaded:
        reason = _unusable(series, fidelity)
        beginning = fingerprint(series)
        if reason is None and beginning in seen:
            reason = "the same errors as another session"
        if reason is not None:
            left_out[reason] += 1
            continue
        if beginning is not None:
            seen.add(beginning)
        found = episodes(series.error_nano_bps, series.starts, spec)
        began = began_ns(session)
        hides = fidelity.may_hide_a_breach if judged is None else bool(could_hide(series, judged))
        yield LabelledSession(
            session_id=session.session_id,
            started_ns=int(series.ts_ns[0]) if began is None else began,
            error_nano_bps=series.error_nano_bps,
            tick=series.tick,
            ts_ns=series.ts_ns,
            starts=series.starts,
            calm=tuple(calm_stretches(len(series.tick), series.starts, found, spec)),
            episodes=found,
            complete=not (series.facts.missing_ticks and hides),
        )


def fingerprint(series: Series) -> bytes | None:
    """Of the errors up to the twentieth different one: two sessions with the same are one tape or simulation.

    However many errors that takes, so that a session that was cut short is known too. None: too few to tell by.
    """
    errors = series.error_nano_bps
    looked_at = _FINGERPRINT_ERRORS
    while True:
        _, first = np.unique(errors[:looked_at], return_index=True)
        if len(first) >= _FINGERPRINT_VALUES:
            end = int(np.partition(first, _FINGERPRINT_VALUES - 1)[_FINGERPRINT_VALUES - 1]) + 1
            return hashlib.sha256(errors[:end].tobytes()).digest()
        if looked_at >= len(errors):
            return None
        looked_at *= 2


def post_trip_ratio(series: Series, trip_tick: int) -> float | None:
    """Median step between neighbouring errors after a trip, over that before it; None with too few on either side.

    The level may differ, that is what the guard tripped on; how restlessly the error moves should not, unless it
    mattered to it that our quotes went away.
    """
    at = int(np.searchsorted(series.tick, trip_tick))
    steps = np.abs(np.diff(series.error_nano_bps))
    before, after = steps[max(0, at - POST_TRIP_ERRORS) : at], steps[at + 1 : at + 1 + POST_TRIP_ERRORS]
    if min(len(before), len(after)) < POST_TRIP_ERRORS or not np.median(before):
        return None
    return float(np.median(after) / np.median(before))


def pool_notes(taken: Pool, left_out: Counter[str], post_trip: Sequence[float]) -> tuple[str, ...]:
    """What of the sample must be known to whoever reads the result, a sentence each."""
    notes = [
        f"left out: {n} {_sessions(n)}: {reason}" for reason, n in sorted((Counter(taken.left_out) + left_out).items())
    ]
    if taken.guards > 1:
        notes.append(
            f"the sessions ran under {taken.guards} different guard settings; anchor errors do not depend on them, and"
            " the latest are the ones judged"
        )
    if taken.live is not None and not taken.live.enabled:
        notes.append("the guard was disabled in the latest session: judged is what its thresholds would have done")
    if taken.in_trouble:
        n = taken.in_trouble
        notes.append(f"{n} {_sessions(n)} crashed or ended by a fault: their ends are not missing by chance")
    median = float(np.median(post_trip)) if len(post_trip) else 1.0
    if not 1 / POST_TRIP_JUMP <= median <= POST_TRIP_JUMP:
        notes.append(
            f"after a trip errors move {median:.1f} times as much as before it: mid may depend on our own quotes, so"
            " what follows a trip is no fair sample"
        )
    return tuple(notes)


def label_words(spec: LabelSpec) -> str:
    """What the label calls truly saturated, in a sentence without its full stop."""
    return (
        f"truly saturated: over {spec.persist_ticks} ticks or more, most of the next {spec.horizon_ticks} errors at or"
        f" beyond {spec.beta_bps:g} bps to one side; the {spec.beta_bps:g} is {spec.beta_source}"
    )


def _config(session: Session) -> dict[str, Any] | None:
    try:
        config = json.loads(session.config_json or "")
    except ValueError:
        return None
    return config if isinstance(config, dict) and isinstance(config.get("strategy"), dict) else None


def _market(session: Session, config: dict[str, Any]) -> tuple[str | None, ...]:
    """What the anchor error of a session depends on."""
    market = config.get("market")
    feed = market.get("feed") if isinstance(market, dict) else None
    simulated = market.get("sim") if isinstance(market, dict) and feed == "sim" else None
    return (
        session.pair,
        None if feed is None else str(feed),
        json.dumps(config["strategy"].get("anchor"), sort_keys=True),
        json.dumps(simulated, sort_keys=True),
    )


def _guard_block(config: dict[str, Any]) -> object:
    return config["strategy"].get("anchor_saturation_guard")


def _guard(config: dict[str, Any]) -> AnchorSaturationGuard | None:
    try:
        return AnchorSaturationGuard.model_validate(_guard_block(config))
    except ValidationError:
        return None


def _in_trouble(session: Session) -> bool:
    return session.status == "CRASHED" or (session.end_reason or "").startswith(_TROUBLE)


def _unusable(series: Series, fidelity: Fidelity) -> str | None:
    if fidelity.state == "not recorded" or not len(series.tick):
        return "anchor error not recorded"
    if fidelity.state == "mismatch":
        return "the record contradicts the guard's own code"
    if (series.ts_ns == NOT_RECORDED).any() or (np.diff(series.ts_ns) < 0).any():
        return "ticks without a time, or with a clock that ran backwards"
    return None


def _sessions(n: int) -> str:
    return "session" if n == 1 else "sessions"
