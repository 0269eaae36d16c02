"""The four questions to a session, each answered in a sentence, and which of them one session cannot answer.

Every sentence: number, unit, comparison, uncertainty. A single session never ranks thresholds, so what it says of
other thresholds is what they would have done, not what they are worth.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from telemetry_proc.distribution import Distribution, WindowNoise
from telemetry_proc.grid import Setting
from telemetry_proc.guard_state import Guard
from telemetry_proc.intervals import clopper_pearson, none_of
from telemetry_proc.ladder import Explanation, Rung
from telemetry_proc.study import LabelledEpisode, Labels, Score, WhatIfTable
from telemetry_proc.verdict import CALM_SESSIONS_MIN, DAYS_MIN, EPISODES_MIN
from telemetry_proc.whatif import WhatIf
from telemetry_proc.wording import bps, clock_time, count, duration, pct

NO_TICKS = "No data: the session has no ticks."
NOT_RECORDED = "Not recorded by the older engine."
NO_DATA = "No data: no tick has an anchor error."
WITHHELD = "Withheld: replay and record disagree."

NOISE_WINDOWS_MIN = 10  # as many errors as would fill so many windows, before their noise is spoken of

_NEIGHBOURS_BPS = (6.0, 8.0)
_NEIGHBOUR_LOOKBACKS = (15, 50)
_NEIGHBOUR_SHARES_PCT = (30.0, 60.0)


class Answers(NamedTuple):
    """The four questions to a session."""

    thresholds_right: str
    too_sensitive_or_not: str
    distribution: str
    first_exceedance: str


class Unseen(NamedTuple):
    """Ticks of the session that are not stored, and how many of them lie before the first stored exceedance."""

    ticks: int
    before_first: int


def answers_to(
    error: Distribution,
    guard: Guard,
    explanation: Explanation | None,
    labels: Labels,
    unseen: Unseen,
    *,
    running: bool = False,
) -> Answers:
    """Answer from the parts of a report; what is None there is withheld here. `running`: the session is not over."""
    why_none = NO_TICKS if not error.ticks else NOT_RECORDED if not error.recorded else NO_DATA if not error.n else None
    if why_none is not None:
        return Answers(*[why_none] * 4)
    if guard.fidelity == "mismatch":
        return Answers(WITHHELD, WITHHELD, _distribution(error), WITHHELD)
    return Answers(
        _right(guard),
        " ".join(_sensitive(error, guard, explanation, labels)),
        _distribution(error),
        _first(guard, explanation, unseen, running=running),
    )


def live_words(guard: Guard) -> str | None:
    """The thresholds that the session ran with; None if they are not on record."""
    bias_bps, prevalence_bps, prevalence_pct = guard[3:6]
    if guard.lookback_ticks is None or bias_bps is None or prevalence_bps is None or prevalence_pct is None:
        return None
    return Setting(guard.lookback_ticks, bias_bps, prevalence_bps, prevalence_pct).in_words


def neighbours(table: WhatIfTable, *, beside_live: bool = True) -> Iterator[str]:
    """What single thresholds, set otherwise, would have done: a line a threshold.

    `beside_live`: as earlier or later than with the live ones; only where the trip that these give is the real one.
    """
    live = next(answer for answer in table.results if answer.setting == table.live)
    base = live.first_trip_tick if beside_live else None
    axes = (
        [(f"bias {value:g}", table.live._replace(bias_threshold_bps=value)) for value in _NEIGHBOURS_BPS],
        [(f"lookback {value}", table.live._replace(lookback_ticks=value)) for value in _NEIGHBOUR_LOOKBACKS],
        [(f"prevalence {value:g}%", table.live._replace(prevalence_pct=value)) for value in _NEIGHBOUR_SHARES_PCT],
    )
    for axis in axes:
        clauses = [
            f"{name}: {_against(base, _find(table.results, setting))}"
            for name, setting in axis
            if setting != table.live
        ]
        said = "; ".join(clauses)
        yield f"{said[:1].upper()}{said[1:]}."


def waiting_words(explanation: Explanation) -> str | None:
    """How long both conditions took from the onset, against a clean shift; None if they were never met together."""
    took = explanation.onset_lag_errors
    if took is None:
        return None
    floor = explanation.floor
    waited = f"From the onset of the shift both conditions took {count(took, 'error')}"
    if floor is None:
        return f"{waited}; a clean shift to the median error would not have met them."
    if took == floor.lag_errors:
        compared = "as many as"
    else:
        least = floor.lag_errors
        compared = f"{abs(took - least):,} {'more' if took > least else 'fewer'} than"
    return f"{waited}, {compared} a clean shift to {bps(floor.level_bps, signed=True)} bps takes."


def _right(guard: Guard) -> str:
    keep = ""
    if live_words(guard) is not None:
        keep = (
            f" Keep {guard.lookback_ticks} ticks / {guard.bias_threshold_bps:g} bps / "
            f"{guard.prevalence_threshold_bps:g} bps / {guard.prevalence_pct:g}%."
        )
    return (
        f"NOT ENOUGH DATA in one session: guard recommend wants {CALM_SESSIONS_MIN} calm sessions and {EPISODES_MIN} "
        f"saturated stretches on {DAYS_MIN} days.{keep}"
    )


def _sensitive(error: Distribution, guard: Guard, explanation: Explanation | None, labels: Labels) -> Iterator[str]:
    score = labels.score
    if guard.state == "never armed":
        yield "NOT ENOUGH DATA: the guard was never armed, so it could neither trip nor miss anything."
        return
    if score is None:
        if guard.state == "tripped":
            yield "Cannot be said: the trip on record could not be replayed."
        else:
            yield f"Cannot be said: whether the guard tripped is not known ({'; '.join(guard.hiding)})."
        return
    leaning = "too sensitive" if score.false_trips else "not sensitive enough" if score.missed else None
    lead = "NOT ENOUGH DATA" if leaning is None else f"NOT ENOUGH DATA, leaning to {leaning}"
    yield f"{lead}: {_scored(score, guard, labels)}."
    waited = None if explanation is None or score.trip_tick is None else waiting_words(explanation)
    if waited is not None:
        yield waited
    yield from _noise(error, guard, score)


def _scored(score: Score, guard: Guard, labels: Labels) -> str:
    """How the guard did by the label, and how little one session says about others."""
    would = "would have " if guard.state in {"disabled", "would have tripped"} else ""
    said = f"{_who(guard)} {would}tripped"
    beta = f"{labels.spec.beta_bps:g} bps ({labels.spec.beta_source})"
    if score.false_trips:
        return f"{said} where the error did not stay beyond {beta}; false trips in {_sure(1, 1, 'session')}"
    if score.unscored:
        return f"{said} {_unscored(score, labels, beta)}"
    stretches = score.caught + score.missed
    if stretches:
        of = _sure(score.caught, stretches, "saturated stretch", "saturated stretches")
        return f"{said} in {of}"
    if score.calm:
        return f"false trips in {_sure(0, 1, 'calm session')}"
    cut = " or cut short by the record" if any(_is_cut(stretch, labels) for stretch in labels.episodes) else ""
    return f"no calm session, and every stretch of large errors is too near to {beta}{cut} to be scored"


def _unscored(score: Score, labels: Labels, beta: str) -> str:
    """Where the trip lay, and why that neither speaks for the guard nor against it."""
    trip_tick = score.trip_tick or 0
    holding = [stretch for stretch in labels.episodes if stretch.first_tick <= trip_tick <= stretch.last_tick]
    if not holding:
        return f"too shortly before the record ends to say whether the error stayed beyond {beta}"
    if _is_cut(holding[0], labels):
        return f"in a stretch beyond {beta} that the record cuts short, so it is not scored"
    return f"in a stretch too near to {beta} to be scored"


def _is_cut(stretch: LabelledEpisode, labels: Labels) -> bool:
    """Is it ambiguous not for its level, but because nobody knows how long it lasted?"""
    return stretch.ambiguous and stretch.level_bps > labels.spec.band_high * labels.spec.beta_bps


def _who(guard: Guard) -> str:
    return "the disabled guard" if guard.enabled is False else "the guard"


def _sure(events: int, trials: int, noun: str, nouns: str = "") -> str:
    """`0 of 1 calm session (at most 95% of such, at 95%)`."""
    limits = clopper_pearson(events, trials) if events else none_of(trials)
    assert limits.high is not None  # there was a trial
    said = f"at most {100 * limits.high:.3g}%"
    if limits.low:
        said = f"{100 * limits.low:.3g}% to {100 * limits.high:.3g}%"
    return f"{events} of {trials} {noun if trials == 1 else nouns or noun + 's'} ({said} of such, at 95%)"


def _noise(error: Distribution, guard: Guard, score: Score) -> Iterator[str]:
    """How far the window's mean strays while nothing drags it: before the trip, or over a calm session."""
    noise: WindowNoise | None = None
    n, when = error.n, "Over the session"
    if error.before_trip is not None:
        noise, when = error.before_trip.window_noise, "Before the trip"
        n = 0 if error.before_trip.errors is None else error.before_trip.errors.n
    elif score.calm and guard.ladder.both is None:
        noise = error.window_noise
    if noise is None or n < NOISE_WINDOWS_MIN * (guard.lookback_ticks or n):
        return
    if noise.sigma_to_threshold is not None and noise.sigma_to_threshold > 0:
        yield (
            f"{when} the window's mean had a standard deviation of {bps(noise.sd_bps)} bps; "
            f"{guard.bias_threshold_bps:g} bps lay {noise.sigma_to_threshold:.1f} of these away."
        )


def _distribution(error: Distribution) -> str:
    sizes, above = error.abs_error, error.at_or_above
    assert sizes is not None  # there is an error, so there is a size
    assert above is not None
    nulls = f"; {pct(error.nulls.share_pct)} of the ticks had none" if error.nulls.ticks else ""
    return (
        f"|error| had a median of {bps(sizes.p50_bps)} bps, 95% within {bps(sizes.p95_bps)}, all within "
        f"{bps(sizes.max_bps)}; {pct(above.pct_5bps)} of {count(error.n, 'error')} reached 5 bps{nulls}."
    )


def _first(guard: Guard, explanation: Explanation | None, unseen: Unseen, *, running: bool) -> str:
    if explanation is None:
        return "Not recorded: the session's thresholds are not on record."
    ladder, bias = guard.ladder, f"{guard.bias_threshold_bps:g} bps"
    if ladder.error is None:
        if unseen.ticks:
            return f"Cannot be said: no stored error reached {bias}, but {_missing(unseen.ticks)}."
        return f"Never{' so far' if running else ''}: no error reached {bias}."
    missing = f" Before it {_missing(unseen.before_first)}." if unseen.before_first else ""
    return f"|error| first reached {bias} at {_place(ladder.error)}; {_then(guard)}.{_began(explanation)}{missing}"


def _began(explanation: Explanation) -> str:
    """Where the shift began that tripped the guard; it may be long after the first exceedance, a glitch perhaps."""
    onset, first = explanation.onset, explanation.ladder.error
    if onset is None or first is None or onset.tick == first.tick:
        return ""
    return f" The shift behind that began at {_place(onset)}."


def _missing(ticks: int) -> str:
    return f"{count(ticks, 'tick')} {'is' if ticks == 1 else 'are'} missing"


def _then(guard: Guard) -> str:
    """What came of it."""
    ladder = guard.ladder
    if guard.state == "tripped" and not guard.trip_is_replayed:
        return f"the guard tripped at tick {count(guard.recorded_trip_tick)}, by the breaker's record"
    if ladder.both is None:
        return "mean and share were never both high enough" if not guard.hiding else "no trip is on record"
    lag = count(ladder.lag_ticks, "tick") + ("" if ladder.lag_s is None else f" ({duration(ladder.lag_s)})") + " later"
    what = "the guard tripped" if guard.trip_is_replayed else f"{_who(guard)} would have tripped"
    return f"{what} at {_place(ladder.both)}, {lag}"


def _place(rung: Rung) -> str:
    return f"tick {count(rung.tick)} ({clock_time(rung.time)})"


def _find(results: Iterable[WhatIf], setting: Setting) -> WhatIf | None:
    return next((answer for answer in results if answer.setting == setting), None)


def _against(live_tick: int | None, other: WhatIf | None) -> str:
    if other is None:
        return "not asked"
    if other.first_trip_tick is None:
        return "never armed" if other.outcome == "never armed" else "never"
    if live_tick is None:
        return f"at tick {count(other.first_trip_tick)}"
    earlier = live_tick - other.first_trip_tick
    if earlier == 0:
        return "no change"
    return f"{count(abs(earlier), 'tick')} {'earlier' if earlier > 0 else 'later'}"
