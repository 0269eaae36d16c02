"""The four questions to a session, each answered in a sentence, and which of them one session cannot answer.

Every sentence: number, unit, comparison. A single session never ranks thresholds, so what it says of other thresholds
is what they would have done, not what they are worth.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from telemetry_proc.distribution import Distribution
from telemetry_proc.grid import Setting
from telemetry_proc.guard_state import Guard
from telemetry_proc.ladder import Explanation, Rung
from telemetry_proc.study import WhatIfTable
from telemetry_proc.verdict import CALM_SESSIONS_MIN, DAYS_MIN, EPISODES_MIN
from telemetry_proc.whatif import WhatIf
from telemetry_proc.wording import bps, clock_time, count, duration, pct

NOT_RECORDED = "Not recorded: an older engine wrote these ticks and measured no anchor error."
NO_DATA = "No data: no tick of this session has an anchor error."
WITHHELD = "Withheld: the replay of the guard disagrees with the record, so nothing that rests on it can be believed."

_NEIGHBOURS_BPS = (6.0, 8.0)
_NEIGHBOUR_LOOKBACKS = (15, 50)
_NEIGHBOUR_SHARES_PCT = (30.0, 60.0)


class Answers(NamedTuple):
    """The four questions to a session."""

    thresholds_right: str
    too_sensitive_or_not: str
    distribution: str
    first_exceedance: str


def answers_to(
    error: Distribution, guard: Guard, explanation: Explanation | None, table: WhatIfTable | None
) -> Answers:
    """Answer from the parts of a report; what is None there is withheld here."""
    if not error.ticks:
        return Answers(*[NO_DATA] * 4)
    if not error.recorded:
        return Answers(*[NOT_RECORDED] * 4)
    if not error.n:
        return Answers(*[NO_DATA] * 4)
    spread = _distribution(error)
    if guard.fidelity == "mismatch":
        return Answers(WITHHELD, WITHHELD, spread, WITHHELD)
    return Answers(_right(table), _sensitive(error, explanation), spread, _first(guard, explanation))


def setting_words(setting: Setting) -> str:
    """`25 / 7 / 5 / 40%`: lookback ticks, bias bps, prevalence bps, prevalence share."""
    lookback_ticks, bias_bps, prevalence_bps, prevalence_pct = setting
    return f"{lookback_ticks} / {bias_bps:g} / {prevalence_bps:g} / {prevalence_pct:g}%"


def neighbours(table: WhatIfTable) -> Iterator[str]:
    """What single thresholds, set otherwise, would have done: a clause each."""
    live = next(answer for answer in table.results if answer.setting == table.live)
    changes = [(f"bias {value:g}", table.live._replace(bias_threshold_bps=value)) for value in _NEIGHBOURS_BPS]
    changes += [(f"lookback {value}", table.live._replace(lookback_ticks=value)) for value in _NEIGHBOUR_LOOKBACKS]
    changes += [
        (f"prevalence {value:g}%", table.live._replace(prevalence_pct=value)) for value in _NEIGHBOUR_SHARES_PCT
    ]
    for name, setting in changes:
        if setting != table.live:
            yield f"{name}: {_against(live, _find(table.results, setting))}"


def _right(table: WhatIfTable | None) -> str:
    kept = f"; keep {setting_words(table.live)}" if table is not None else ""
    return (
        f"NOT ENOUGH DATA: one session ranks no thresholds ({CALM_SESSIONS_MIN} calm sessions, {EPISODES_MIN} scored "
        f"episodes and {DAYS_MIN} days are the least){kept}. Over all sessions: kedge-telemetry guard recommend."
    )


def _sensitive(error: Distribution, explanation: Explanation | None) -> str:
    said = "NOT ENOUGH DATA: false trips and delays are counted over sessions."
    noise = error.before_trip.window_noise if error.before_trip is not None else error.window_noise
    when = "before the trip" if error.before_trip is not None else "over the session"
    if noise is not None and noise.sigma_to_threshold is not None:
        said += (
            f" Here noise stood {noise.sigma_to_threshold:.1f} standard deviations of the window's mean below the bias"
        )
        said += f" threshold ({when})."
    waited = None if explanation is None else waiting_words(explanation)
    return said if waited is None else f"{said} {waited}"


def waiting_words(explanation: Explanation) -> str | None:
    """How much of the wait for the trip this window asks for in any case; None without a trip."""
    if explanation.onset_lag_errors is None:
        return None
    waited = f"From the onset the trip took {count(explanation.onset_lag_errors, 'error')}"
    floor = explanation.floor
    if floor is None:
        return f"{waited}; a clean shift to the median error would not have tripped it."
    level = f"a shift to {bps(floor.level_bps, signed=True)} bps"
    return f"{waited}; {count(floor.lag_errors)} are the least this window allows for {level}."


def _distribution(error: Distribution) -> str:
    sizes, above = error.abs_error, error.at_or_above
    assert sizes is not None  # there is an error, so there is a size
    assert above is not None
    nulls = f" {pct(error.nulls.share_pct)} of the ticks had none." if error.nulls.ticks else ""
    return (
        f"|error| had a median of {bps(sizes.p50_bps)} bps, 95% of it within {bps(sizes.p95_bps)} and all within "
        f"{bps(sizes.max_bps)}; {pct(above.pct_5bps)} of {count(error.n, 'error')} reached 5 bps.{nulls}"
    )


def _first(guard: Guard, explanation: Explanation | None) -> str:
    if explanation is None:
        return "The session's thresholds are not on record: which error is too large is not known."
    ladder, bias = explanation.ladder, f"{guard.bias_threshold_bps:g} bps"
    hidden = f" It may have been earlier: {'; '.join(guard.hiding)}." if guard.hiding else ""
    if ladder.error is None:
        if guard.hiding:
            return f"No stored error reached {bias}, but that it never did cannot be said: {'; '.join(guard.hiding)}."
        return f"Never: no error of the session reached {bias}."
    said = f"|error| first reached {bias} at {_place(ladder.error)}"
    if ladder.both is None:
        reached = "the mean never did" if ladder.mean is None else f"the mean did at {_place(ladder.mean)}"
        return f"{said}; {reached}, and both conditions were never met together.{hidden}"
    word = "the guard tripped" if guard.enabled else "both conditions were met, with the guard off,"
    lag = f"{count(ladder.lag_ticks, 'tick')} ({duration(ladder.lag_s)}) later"
    return f"{said}; {word} at {_place(ladder.both)}, {lag}.{hidden}"


def _place(rung: Rung) -> str:
    return f"tick {count(rung.tick)} ({clock_time(rung.time)})"


def _find(results: Iterable[WhatIf], setting: Setting) -> WhatIf | None:
    return next((answer for answer in results if answer.setting == setting), None)


def _against(live: WhatIf, other: WhatIf | None) -> str:
    if other is None:
        return "not asked"
    if other.first_trip_tick is None:
        return "never armed" if other.outcome == "never armed" else "never"
    if live.first_trip_tick is None:
        return f"at tick {count(other.first_trip_tick)}"
    earlier = live.first_trip_tick - other.first_trip_tick
    if earlier == 0:
        return "no change"
    return f"{count(abs(earlier), 'tick')} {'earlier' if earlier > 0 else 'later'}"
