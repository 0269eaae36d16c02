"""Judging a candidate once, on the newest sessions, which the search has never seen.

Live and candidate are compared on the same sessions, so what makes a session hard falls out of the difference. What
is compared is what the candidate is for:

- It is *faster* than live in the search: the gain is seconds of delay saved per scored episode.
- It is not: it came out because live does not keep the false-trip budget. The gain is calm sessions with a false trip
  saved, per session.

It passes only if the gain's one-sided 95 % limit is above zero **and** the candidate kept both promises here: calm
sessions with a false trip are no more than the budget's share of them (so with fewer than 20 calm sessions and a
budget of 1 in 20 a single one fails it), and where it is slower than live its mean delay is within the budget. So no
saving of seconds can pay for false trips beyond the budget, nor the other way round. A hold-out without any calm
session shows nothing about false trips, so nothing passes on it.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Literal, NamedTuple

import numpy as np

from telemetry_proc.intervals import clopper_pearson
from telemetry_proc.operating import delays_of, ratio_interval, summed_by_session
from telemetry_proc.outcomes import Outcomes
from telemetry_proc.tick_columns import Bools

HOLD_OUT_SHARE = 0.3
HOLD_OUT_SESSIONS_MIN = 10
ONE_SIDED = 0.95
_TWO_SIDED = 2 * ONE_SIDED - 1  # whose lower limit is the one-sided one


class Paired(NamedTuple):
    """Live minus candidate over paired sessions: positive is good. `low`: the one-sided 95 % limit, None if there is
    none to be had: too few days, or no session on which the two differ.
    """

    gain: float | None
    low: float | None


class Judgement(NamedTuple):
    """What the newest sessions say of the candidate.

    Fields:
        judged_on: `delay` or `false trips`: what the candidate is for.
        sessions, calm_sessions, episodes: in the hold-out.
        delay_gain_s: mean delay saved per scored episode.
        false_gain: calm sessions with a false trip saved, per calm session.
        promised_gain: of what is judged, in the search.
        false_sessions, false_sessions_max: the candidate's, and what the budget allows of so many.
        delay_mean_s: the candidate's.
        dominates: fewer false trips and less delay than live, both limits above zero.
        passed: recommended as far as the hold-out goes. against: why not, a clause each.
    """

    judged_on: Literal["delay", "false trips"]
    sessions: int
    calm_sessions: int
    episodes: int
    delay_gain_s: Paired
    false_gain: Paired
    promised_gain: float
    false_sessions: int
    false_sessions_max: int
    delay_mean_s: float | None
    dominates: bool
    passed: bool
    against: tuple[str, ...]


def newest(found: Outcomes) -> Bools:
    """Which sessions are the hold-out: the last 30 % by time, at least ten, at most half.

    A day on which the border falls belongs to the hold-out whole, unless that made it more than half: sessions of one
    day are too alike to be searched and judged apart.
    """
    sessions = len(found.day)
    held = min(max(math.ceil(HOLD_OUT_SHARE * sessions), HOLD_OUT_SESSIONS_MIN), sessions // 2)
    rows = np.zeros(sessions, dtype=np.bool_)
    if not held:
        return rows
    whole_day = int(np.searchsorted(found.day, found.day[sessions - held]))
    rows[whole_day if sessions - whole_day <= sessions // 2 else sessions - held :] = True
    return rows


def judge(
    found: Outcomes,
    held: Bools,
    columns: tuple[int, int],
    max_false: Fraction,
    max_delay_s: float,
    rng: np.random.Generator,
) -> Judgement:
    """Compare the two `columns`, (live, candidate), over the sessions that `held` marks and those it does not."""
    delay_gain, false_gain = _delay_gain(found, held, columns, rng), _false_gain(found, held, columns, rng)
    promised_s, promised_false = (
        _delay_gain(found, ~held, columns, None).gain or 0.0,
        _false_gain(found, ~held, columns, None).gain or 0.0,
    )
    faster = promised_s > 0
    calm = held & found.calm_session
    false_sessions = int((found.false_trips[calm, columns[1]] > 0).sum())
    allowed = math.floor(max_false * int(calm.sum()))
    mine = held[found.episode_session]
    delay_s = float(delays_of(found, columns[1])[mine].mean()) if mine.any() else None
    judged, unit = (delay_gain, "delay") if faster else (false_gain, "false trips")
    against = []
    if judged.low is None:
        against.append(f"the hold-out shows no gain in {unit} that could be judged")
    elif judged.low <= 0:
        against.append(f"the gain in {unit} on the hold-out may as well be none")
    if not calm.any():
        against.append("the hold-out has no calm session to trip falsely in")
    if false_sessions > allowed:
        against.append(f"it tripped falsely in {false_sessions} of {int(calm.sum())} calm sessions of the hold-out")
    if not faster and (delay_s is None or delay_s > max_delay_s):
        against.append("it is slower than the delay budget on the hold-out")
    return Judgement(
        judged_on="delay" if faster else "false trips",
        sessions=int(held.sum()),
        calm_sessions=int(calm.sum()),
        episodes=int(mine.sum()),
        delay_gain_s=delay_gain,
        false_gain=false_gain,
        promised_gain=promised_s if faster else promised_false,
        false_sessions=false_sessions,
        false_sessions_max=allowed,
        delay_mean_s=delay_s,
        dominates=(delay_gain.low or 0.0) > 0 and (false_gain.low or 0.0) > 0 and false_sessions <= allowed,
        passed=not against,
        against=tuple(against),
    )


def _delay_gain(found: Outcomes, rows: Bools, columns: tuple[int, int], rng: np.random.Generator | None) -> Paired:
    session = found.episode_session
    mine = rows[session]
    saved_s = delays_of(found, columns[0])[mine] - delays_of(found, columns[1])[mine]
    by_session = summed_by_session(saved_s, session[mine], len(rows))
    gain = float(saved_s.mean()) if len(saved_s) else None
    limits = ratio_interval(by_session, found.day, rng, _TWO_SIDED) if rng else None
    return Paired(gain, limits.low if limits else None)


def _false_gain(found: Outcomes, rows: Bools, columns: tuple[int, int], rng: np.random.Generator | None) -> Paired:
    """Besides the limit by days, the sessions on which the two differ must be lopsided beyond chance (McNemar's exact
    test): of three that all speak for the candidate, a bootstrap would make a certainty.
    """
    calm = rows & found.calm_session
    live, candidate = (found.false_trips[calm, column] > 0 for column in columns)
    saved = live.astype(np.float64) - candidate
    if not len(saved):
        return Paired(None, None)
    gain = float(saved.mean())
    differing = int((live != candidate).sum())
    lopsided = clopper_pearson(int((live & ~candidate).sum()), differing, ONE_SIDED, "lower").low if differing else None
    if rng is None or lopsided is None:
        return Paired(gain, None)
    limits = ratio_interval(np.column_stack((saved, np.ones(len(saved)))), found.day[calm], rng, _TWO_SIDED)
    if limits is None or limits.low is None or lopsided > 0.5:
        return Paired(gain, limits.low if limits else None)
    return Paired(gain, min(limits.low, 0.0))
