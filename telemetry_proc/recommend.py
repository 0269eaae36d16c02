"""From outcomes and budgets to a verdict on the live setting and, rarely, a change worth making.

In order, and nothing is looked at twice:

1. Budgets, label and grid come in fixed; their digest goes out with the result.
2. Sessions are ordered by time. The newest 30 %, at least ten, are the hold-out and take no part in the search.
3. Search: of the settings whose upper 90 % limit of the false-trip share is within the budget, the one with the least
   restricted mean delay; of all within one standard error of it, the nearest to live, off the grid's edge and on a
   plateau where possible (`search.py`).
4. The hold-out judges that one candidate, once, paired by session (`holdout.py`).
5. The verdict on the live setting rests on all sessions (`verdict.py`): nothing was fitted to them.
6. A change is recommended only if all agree: the minimum sample is there, the verdict says that the live setting misses
   a budget (or is beaten on both counts), the candidate passed the hold-out, and it is not at the edge of the grid.
"""

from __future__ import annotations

import hashlib
import json
from fractions import Fraction
from typing import Any, Literal, NamedTuple

import numpy as np

from shared.errors import UsageError
from telemetry_proc.grid import Setting
from telemetry_proc.holdout import Judgement, judge, newest
from telemetry_proc.operating import Operating, operating
from telemetry_proc.outcomes import Outcomes
from telemetry_proc.overfitting import overfitting_probability
from telemetry_proc.search import (
    SEARCH_CONFIDENCE,
    Choice,
    choose,
    distinct_behaviours,
    prevalence_binds,
    tally,
)
from telemetry_proc.tick_columns import Bools, Floats
from telemetry_proc.verdict import Budgets, Judged, Verdict, judge_setting, search_sessions_needed
from telemetry_proc.wording import as_json

FRONTIER_MAX = 40
_CHANGEABLE = {Verdict.TOO_SENSITIVE, Verdict.NOT_SENSITIVE_ENOUGH, Verdict.WRONG_SHAPE}


class FrontierPoint(NamedTuple):
    """A setting that no other of the grid beats in both numbers, over all sessions. Chosen by looking: no promise."""

    setting: Setting
    false_share: float
    delay_mean_s: float


class Recommendation(NamedTuple):
    """The answer of `guard recommend`.

    Fields:
        action: `change` or `keep`.
        judged: verdict, leaning, shortfall and what would change it (see `verdict.Judged`).
        live: operating point of the live setting over all sessions.
        candidate: the same of the search's candidate; None if there was no search or no other setting came out.
        recommended: the setting to change to; None unless `action` is `change`.
        budgets: as given.
        sessions, calm_sessions, episodes, ambiguous_episodes, days, incomplete_sessions: what there was to judge from;
            incomplete ones have missing rows that may hide a trip and are no calm sessions.
        searched, distinct, within_budget, within_one_se: settings of the grid; different behaviours among them in the
            search sessions; those that keep the budget there; of these, those not told apart from the best.
        standard_error_s: of the best one's mean delay in the search.
        holdout: what the hold-out said of the candidate; None if none was judged.
        overfitting: share of splits in which the best of one half is in the worse half of the other; None below 100
            sessions.
        prevalence_bound: in how many stretches of the search sessions the live prevalence condition mattered; where it
            was 0, neither prevalence value was searched.
        edge: axes on which the candidate lies at the end of the grid: widen it and run again.
        frontier: at most 40 settings.
        beaten_by: how many settings were better than live in false trips or delay and no worse in the other, over all
            sessions: by looking back, so no promise either. 0: live is on the frontier.
        reasons: why no change, a clause each; empty with a change.
        notes: whatever else must be known to read this rightly.
        label_digest, digest: of the label alone; of label, grid and budgets together.
    """

    action: Literal["change", "keep"]
    judged: Judged
    live: Operating
    candidate: Operating | None
    recommended: Setting | None
    budgets: Budgets
    sessions: int
    calm_sessions: int
    episodes: int
    ambiguous_episodes: int
    days: int
    incomplete_sessions: int
    searched: int
    distinct: int
    within_budget: int
    within_one_se: int
    standard_error_s: float | None
    holdout: Judgement | None
    overfitting: float | None
    prevalence_bound: int
    edge: tuple[str, ...]
    frontier: tuple[FrontierPoint, ...]
    beaten_by: int
    reasons: tuple[str, ...]
    notes: tuple[str, ...]
    label_digest: str
    digest: str


def recommend(
    found: Outcomes,
    live: Setting,
    budgets: Budgets,
    rng: np.random.Generator,
    *,
    label_digest: str,
    net_by_setting: Floats | None = None,
    doubt: str | None = None,
    notes: tuple[str, ...] = (),
) -> Recommendation:
    """Judge the live setting and look for a better one.

    net_by_setting: money saved by each setting of the grid, from observed fills; breaks ties in delay.
    doubt: why the label cannot be trusted, if so: then nothing is concluded.

    Raises `UsageError` if the live setting is not one of the grid, with which nothing could be compared.
    """
    column, held = _column_of(found, live), newest(found)
    days = len(np.unique(found.day))
    at_live = operating(found, live, column, rng)
    enough = not any(judge_setting(at_live, budgets, days).shortfall)
    bound = prevalence_binds(found, ~held, column)
    choice = _search(found, held, column, budgets, bound, net_by_setting) if enough else None
    judgement = _judged_once(found, held, column, choice, budgets, rng)
    judged = judge_setting(at_live, budgets, days, beaten_on_both=judgement is not None and judgement.dominates)
    if doubt:
        judged = judged._replace(verdict=Verdict.NOT_ENOUGH_DATA, would_change_it=(f"a label to trust: {doubt}",))
    reasons = _against_a_change(found, held, column, judged, choice, judgement, budgets)
    candidate = found.grid.settings(choice.column) if choice and choice.column != column else None
    return Recommendation(
        action="keep" if reasons else "change",
        judged=judged,
        live=at_live,
        candidate=operating(found, candidate, choice.column, rng) if choice and candidate else None,
        recommended=None if reasons else candidate,
        budgets=budgets,
        sessions=len(found.day),
        calm_sessions=int(found.calm_session.sum()),
        episodes=len(found.episodes),
        ambiguous_episodes=found.ambiguous,
        days=days,
        incomplete_sessions=int((~found.complete).sum()),
        searched=found.grid.size,
        distinct=distinct_behaviours(found, ~held),
        within_budget=choice.within_budget if choice else 0,
        within_one_se=choice.within_one_se if choice else 0,
        standard_error_s=choice.standard_error_s if choice else None,
        holdout=judgement,
        overfitting=overfitting_probability(found, found.grid.configurable().ravel(), budgets.max_false),
        prevalence_bound=bound,
        edge=choice.edge if choice and candidate else (),
        frontier=frontier(found),
        beaten_by=beaten_by(found, column),
        reasons=reasons,
        notes=notes,
        label_digest=label_digest,
        digest=_digest(found, budgets, label_digest),
    )


def frontier(found: Outcomes) -> tuple[FrontierPoint, ...]:
    """The settings that none beats in both false share and delay, from fewest false trips to least delay."""
    counted = tally(found, np.ones(len(found.day), dtype=np.bool_))
    if not counted.calm_sessions or not counted.episodes:
        return ()
    allowed = np.flatnonzero(found.grid.configurable().ravel())
    false, delay_s = counted.false_sessions[allowed], counted.delay_mean_s[allowed]
    points = []
    least = np.inf
    for at in np.lexsort((allowed, delay_s, false)):
        if delay_s[at] < least:
            least = float(delay_s[at])
            points.append(
                FrontierPoint(found.grid.settings(int(allowed[at])), float(false[at] / counted.calm_sessions), least)
            )
    return tuple(points[:: -(-len(points) // FRONTIER_MAX)])


def beaten_by(found: Outcomes, column: int) -> int:
    """How many settings dominate this one (Pareto) over all sessions."""
    counted = tally(found, np.ones(len(found.day), dtype=np.bool_))
    if not counted.calm_sessions or not counted.episodes:
        return 0
    false, delay_s = counted.false_sessions, counted.delay_mean_s
    no_worse = (false <= false[column]) & (delay_s <= delay_s[column])
    better = (false < false[column]) | (delay_s < delay_s[column])
    return int((no_worse & better & found.grid.configurable().ravel()).sum())


def recommendation_json(result: Recommendation) -> dict[str, Any]:
    """The same keys as `Recommendation` and the records in it; the budgets' shares as `1/20`, missing numbers null."""
    said: dict[str, Any] = as_json(result)
    return said | {"budgets": _budgets_json(result.budgets)}


def _column_of(found: Outcomes, live: Setting) -> int:
    column = found.grid.index_of(live)
    if column is None:
        raise UsageError(f"the grid must hold the live setting {_named(live)}, to compare with")
    return column


def _search(
    found: Outcomes, held: Bools, live: int, budgets: Budgets, bound: int, net_by_setting: Floats | None
) -> Choice | None:
    return choose(found, ~held, live, budgets.max_false, hold_prevalence=not bound, net_by_setting=net_by_setting)


def _judged_once(
    found: Outcomes, held: Bools, live: int, choice: Choice | None, budgets: Budgets, rng: np.random.Generator
) -> Judgement | None:
    if choice is None or choice.column == live:
        return None
    return judge(found, held, (live, choice.column), budgets.max_false, budgets.max_delay_s, rng)


def _against_a_change(
    found: Outcomes,
    held: Bools,
    live: int,
    judged: Judged,
    choice: Choice | None,
    judgement: Judgement | None,
    budgets: Budgets,
) -> tuple[str, ...]:
    if any(judged.shortfall):
        return ("too few sessions to compare settings at all",)
    if choice is None:
        needed = search_sessions_needed(budgets.max_false, SEARCH_CONFIDENCE)
        calm = int((found.calm_session & ~held).sum())
        if calm < needed:
            return (
                f"even a setting without any false trip needs {needed} calm sessions in the search; there are {calm}",
            )
        return ("no setting of the grid keeps the false-trip budget",)
    if choice.column == live or judgement is None:
        return ("no other setting is faster within the false-trip budget by more than one standard error",)
    reasons = list(judgement.against)
    if choice.edge:
        reasons.append(
            f"the candidate lies at the edge of the grid in {' and '.join(choice.edge)}: widen it and run again"
        )
    if judged.verdict is Verdict.WELL_CALIBRATED:
        reasons.append("the live setting keeps both budgets")
    elif judged.verdict not in _CHANGEABLE:
        reasons.append("it is not certain that the live setting misses a budget")
    return tuple(reasons)


def _digest(found: Outcomes, budgets: Budgets, label_digest: str) -> str:
    fixed = json.dumps([label_digest, as_json(found.grid), _budgets_json(budgets)], sort_keys=True)
    return hashlib.sha256(fixed.encode()).hexdigest()[:12]


def _budgets_json(budgets: Budgets) -> dict[str, Any]:
    """A budget is a promise in whole numbers, 1 of 20; as 0.05 it would not say so."""
    return {key: str(value) if isinstance(value, Fraction) else value for key, value in budgets._asdict().items()}


def _named(setting: Setting) -> str:
    return f"{setting[0]} / {setting[1]:g} / {setting[2]:g} / {setting[3]:g}%"
