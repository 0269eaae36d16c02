"""Was the guard too sensitive, or not sensitive enough? One of five answers, from limits, never from averages.

| verdict | false trips against their budget | delay and misses against theirs |
|---|---|---|
| TOO SENSITIVE | lower limit above | upper limits within |
| NOT SENSITIVE ENOUGH | upper limit within | a lower limit above |
| WELL CALIBRATED | upper limit within | upper limits within |
| WRONG SHAPE | lower limit above | a lower limit above |
| NOT ENOUGH DATA | anything else, and always below the minimum sample | |

WRONG SHAPE as well where another setting is better in both, on sessions it was not found on: moving one threshold
would only trade one for the other. Limits are those of 95 % intervals at session level. The answer always says what
would change it.
"""

from __future__ import annotations

import math
from enum import StrEnum
from fractions import Fraction
from typing import NamedTuple

from telemetry_proc.intervals import Interval, clopper_pearson
from telemetry_proc.operating import Operating, share_interval

CALM_SESSIONS_MIN = 60
EPISODES_MIN = 20
DAYS_MIN = 10
_LEANING_CALM_MIN = 10
_LEANING_EPISODES_MIN = 5
_SESSIONS_ASKED_MAX = 100_000


class Verdict(StrEnum):
    """The five answers."""

    TOO_SENSITIVE = "TOO SENSITIVE"
    NOT_SENSITIVE_ENOUGH = "NOT SENSITIVE ENOUGH"
    WELL_CALIBRATED = "WELL CALIBRATED"
    WRONG_SHAPE = "WRONG SHAPE"
    NOT_ENOUGH_DATA = "NOT ENOUGH DATA"


class Budgets(NamedTuple):
    """What the operator can bear; every judgement is against these and they are printed with it.

    Fields:
        max_false: the share of calm sessions that may have a false trip.
        max_delay_s: mean delay from the onset of an episode, missed ones counted at the rest of their length.
        max_miss: the share of episodes that may pass without a trip. Apart from the delay, because an episode that is
            shorter than the delay budget could never exceed that.
    """

    max_false: Fraction = Fraction(1, 20)
    max_delay_s: float = 120.0
    max_miss: Fraction = Fraction(1, 5)


class Shortfall(NamedTuple):
    """What is missing to the minimum sample; all 0: nothing."""

    calm_sessions: int
    episodes: int
    days: int


class Judged(NamedTuple):
    """A verdict and what stands behind it.

    Fields:
        verdict: one of the five.
        false, delay, miss: `within`, `above` or `open` (the interval holds the budget, or there is none).
        shortfall: to the minimum sample.
        leaning: where the averages point while there are too few; never a recommendation. None: nowhere, or too few
            even for that.
        would_change_it: sentences, what would lead to another verdict.
    """

    verdict: Verdict
    false: str
    delay: str
    miss: str
    shortfall: Shortfall
    leaning: Verdict | None
    would_change_it: tuple[str, ...]


def judge_setting(live: Operating, budgets: Budgets, days: int, *, beaten_on_both: bool = False) -> Judged:
    """The verdict on one setting.

    beaten_on_both: another one had fewer false trips and less delay, on sessions it was not chosen by.
    """
    false = against(live.false_share_interval, float(budgets.max_false))
    delay = against(live.delay_mean_s_interval, budgets.max_delay_s)
    miss = against(live.miss_share_interval, float(budgets.max_miss))
    shortfall = Shortfall(
        max(0, CALM_SESSIONS_MIN - live.calm_sessions),
        max(0, EPISODES_MIN - live.episodes),
        max(0, DAYS_MIN - days),
    )
    verdict = Verdict.NOT_ENOUGH_DATA if any(shortfall) else _of(false, delay, miss, beaten_on_both=beaten_on_both)
    undecided = verdict is Verdict.NOT_ENOUGH_DATA
    judged = Judged(verdict, false, delay, miss, shortfall, None, ())
    if undecided:
        return judged._replace(leaning=_leaning(live, budgets), would_change_it=_needs(live, budgets, shortfall))
    return judged._replace(would_change_it=_reversals(live, judged, beaten_on_both=beaten_on_both))


def against(interval: Interval | None, budget: float) -> str:
    """`within` if even the upper limit is, `above` if even the lower limit is, else `open`."""
    if interval is not None and interval.high is not None and interval.high <= budget:
        return "within"
    if interval is not None and interval.low is not None and interval.low > budget:
        return "above"
    return "open"


def calm_sessions_needed(events: int, sessions: int, budget: float) -> int | None:
    """How many more calm sessions at the rate seen so far would bring the whole interval to one side of the budget.

    None where the rate is the budget itself, or so near that it would take more than 100,000 sessions.
    """
    rate = events / sessions if sessions else 0.0

    def settled(n: int) -> bool:
        interval = share_interval(round(rate * n), n)
        return against(interval, budget) != "open"

    if rate == budget or not settled(_SESSIONS_ASKED_MAX):
        return None
    low, high = max(sessions, 1), _SESSIONS_ASKED_MAX
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if settled(middle) else (middle + 1, high)
    return low - sessions


def search_sessions_needed(max_false: Fraction, confidence: float) -> int:
    """Calm sessions without any false trip from which an upper limit at this confidence lies within the budget."""
    sessions = 1
    while (clopper_pearson(0, sessions, confidence, "upper").high or 0.0) > float(max_false):
        sessions += 1
    return sessions


def _of(false: str, delay: str, miss: str, *, beaten_on_both: bool) -> Verdict:
    late = "above" if "above" in (delay, miss) else "within" if delay == miss == "within" else "open"
    if beaten_on_both:
        return Verdict.WRONG_SHAPE
    table = {
        ("above", "within"): Verdict.TOO_SENSITIVE,
        ("within", "above"): Verdict.NOT_SENSITIVE_ENOUGH,
        ("within", "within"): Verdict.WELL_CALIBRATED,
        ("above", "above"): Verdict.WRONG_SHAPE,
    }
    return table.get((false, late), Verdict.NOT_ENOUGH_DATA)


def _leaning(live: Operating, budgets: Budgets) -> Verdict | None:
    false = late = False
    if live.calm_sessions >= _LEANING_CALM_MIN and live.false_share is not None:
        false = live.false_share > float(budgets.max_false)
    if live.episodes >= _LEANING_EPISODES_MIN and live.delay_mean_s is not None and live.miss_share is not None:
        late = live.delay_mean_s > budgets.max_delay_s or live.miss_share > float(budgets.max_miss)
    if false and late:
        return Verdict.WRONG_SHAPE
    if false:
        return Verdict.TOO_SENSITIVE
    if late:
        return Verdict.NOT_SENSITIVE_ENOUGH
    seen = live.calm_sessions >= _LEANING_CALM_MIN and live.episodes >= _LEANING_EPISODES_MIN
    return Verdict.WELL_CALIBRATED if seen else None


def _needs(live: Operating, budgets: Budgets, shortfall: Shortfall) -> tuple[str, ...]:
    """What is missing, as numbers: first to the minimum sample, then to an interval on one side of its budget."""
    if any(shortfall):
        names = (
            ("calm session", shortfall.calm_sessions),
            ("scored episode", shortfall.episodes),
            ("day", shortfall.days),
        )
        return tuple(f"{n} more {name if n == 1 else name + 's'}" for name, n in names if n)
    needs = []
    if against(live.false_share_interval, float(budgets.max_false)) == "open":
        more = calm_sessions_needed(live.false_sessions, live.calm_sessions, float(budgets.max_false))
        needs.append(_more(more, "calm sessions", "false trips"))
    if against(live.delay_mean_s_interval, budgets.max_delay_s) == "open":
        needs.append(_more(_episodes_for_delay(live, budgets.max_delay_s), "scored episodes", "delay"))
    if against(live.miss_share_interval, float(budgets.max_miss)) == "open":
        more = calm_sessions_needed(live.missed, live.episodes, float(budgets.max_miss))
        needs.append(_more(more, "scored episodes", "missed episodes"))
    return tuple(needs) or ("false trips and delay point to different sides: what is open must be settled first",)


def _more(more: int | None, unit: str, what: str) -> str:
    if more is None:
        return f"{what}: so near the budget that no reasonable number of {unit} would settle it"
    return f"about {more:,} more {unit} at the present rate, to settle {what}"


def _episodes_for_delay(live: Operating, budget_s: float) -> int | None:
    """An interval shrinks with the root of the number of episodes."""
    interval, mean = live.delay_mean_s_interval, live.delay_mean_s
    if interval is None or mean is None or interval.low is None or interval.high is None or mean == budget_s:
        return None
    half = interval.high - mean if mean < budget_s else mean - interval.low
    wanted = live.episodes * (half / abs(mean - budget_s)) ** 2
    return max(1, math.ceil(wanted) - live.episodes) if wanted < _SESSIONS_ASKED_MAX else None


def _reversals(live: Operating, judged: Judged, *, beaten_on_both: bool) -> tuple[str, ...]:
    """What the budgets would have to be for the verdict to fall, rounded to the side on which it does."""
    said = []
    false, delay, miss = live.false_share_interval, live.delay_mean_s_interval, live.miss_share_interval
    if judged.verdict is Verdict.WELL_CALIBRATED and false and delay and false.high and delay.high:
        said.append(
            f"a false-trip budget below {math.floor(1000 * false.high) / 10:.1f}% of calm sessions,"
            f" or a delay budget below {math.floor(delay.high)} s"
        )
    if not beaten_on_both:  # no budget changes that
        if judged.false == "above" and false and false.low:
            said.append(f"a false-trip budget of {math.ceil(1000 * false.low) / 10:.1f}% of calm sessions or more")
        late = []
        if judged.delay == "above" and delay and delay.low:
            late.append(f"a delay budget of {math.ceil(delay.low)} s")
        if judged.miss == "above" and miss and miss.low:
            late.append(f"a miss budget of {math.ceil(100 * miss.low)}% of episodes")
        if late:
            said.append(f"{' and '.join(late)} or more")
    said.append("sessions of another kind of market, or another label of what is truly saturated")
    return tuple(said)
