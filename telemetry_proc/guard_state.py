"""Where the guard stood at the end of a session, in a few words, and what they rest on."""

from __future__ import annotations

from typing import Literal, NamedTuple

from shared.settings import AnchorSaturationGuard
from telemetry_proc.fidelity import Disagreement, Fidelity, FidelityState
from telemetry_proc.ladder import Explanation, Ladder
from telemetry_proc.series import SeriesFacts
from telemetry_proc.wording import count

GuardState = Literal[
    "no data",
    "not recorded",
    "thresholds not recorded",
    "disabled",
    "tripped",
    "would have tripped",
    "cannot be said",
    "never armed",
    "not armed",
    "armed",
]


class Guard(NamedTuple):
    """The guard's settings, how far it armed, what its own code says of the stored errors.

    `state`, the first of these that holds:
        cannot be said: the replay disagrees with the record.
        tripped: a trip is on record, whether or not it can be replayed (see `trip_is_replayed`).
        no data: no tick is stored.
        not recorded: an older engine wrote the ticks, and measured no error.
        thresholds not recorded: so what the guard did cannot be told from the errors.
        disabled: it could not trip.
        would have tripped: no trip is on record, but its code, run over the stored errors, trips.
        never armed: its window cannot have been full, so it could not trip.
        cannot be said: it did not trip on what is stored, but `hiding` says what may hide a trip.
        armed, not armed: it never tripped, and so it stood at the end. `window_n` is None where ticks before the end
            are missing, so that what its window held is not known.
    """

    state: GuardState
    enabled: bool | None = None
    lookback_ticks: int | None = None
    bias_threshold_bps: float | None = None
    prevalence_threshold_bps: float | None = None
    prevalence_pct: float | None = None
    armed_ticks: int | None = None
    armed_pct: float | None = None
    window_n: int | None = None
    window_resets: int | None = None
    fidelity: FidelityState = "not recorded"
    disagreement: Disagreement | None = None
    checked_ticks: int = 0
    recorded_trip_tick: int | None = None
    hiding: tuple[str, ...] = ()
    ladder: Ladder = Ladder()

    @property
    def trip_is_replayed(self) -> bool:
        """Is the trip on record the one that the stored errors give?"""
        both = self.ladder.both
        return self.state == "tripped" and both is not None and both.tick == self.recorded_trip_tick


def guard_state(
    settings: AnchorSaturationGuard | None,
    facts: SeriesFacts,
    fidelity: Fidelity,
    explanation: Explanation | None,
    *,
    trip_on_record: bool,
) -> Guard:
    """Sum up. `explanation` is None where the thresholds are not on record or the replay disagrees.

    `trip_on_record`: there is a breaker event of the guard, also one that does not say its tick.
    """
    found = Guard(
        state=_state(settings, facts, fidelity, explanation, trip_on_record=trip_on_record),
        window_resets=facts.window_resets,
        fidelity=fidelity.state,
        disagreement=fidelity.disagreement,
        checked_ticks=fidelity.checked_ticks,
        recorded_trip_tick=fidelity.recorded_trip_tick,
        hiding=_hiding(settings, facts, fidelity),
    )
    if settings is None:
        return found
    return found._replace(
        **settings.model_dump(),
        armed_ticks=facts.armed_ticks,
        armed_pct=100.0 * facts.armed_ticks / facts.ticks if facts.armed_ticks is not None and facts.ticks else None,
        window_n=facts.window_n,
        ladder=Ladder() if explanation is None else explanation.ladder,
    )


def _state(
    settings: AnchorSaturationGuard | None,
    facts: SeriesFacts,
    fidelity: Fidelity,
    explanation: Explanation | None,
    *,
    trip_on_record: bool,
) -> GuardState:
    replayed = explanation is not None and explanation.ladder.both is not None
    standing: tuple[tuple[bool, GuardState], ...] = (
        (fidelity.state == "mismatch", "cannot be said"),
        (trip_on_record, "tripped"),
        (not facts.ticks, "no data"),
        (fidelity.state == "not recorded", "not recorded"),
        (settings is None, "thresholds not recorded"),
        (settings is not None and not settings.enabled, "disabled"),
        (replayed, "would have tripped"),
        (settings is not None and not _could_arm(settings, facts), "never armed"),
        (fidelity.may_hide_a_breach, "cannot be said"),
        (settings is not None and facts.window_n == settings.lookback_ticks, "armed"),
    )
    return next((word for holds, word in standing if holds), "not armed")


def _could_arm(settings: AnchorSaturationGuard, facts: SeriesFacts) -> bool:
    """Was the window full, or may it have been with what is missing?"""
    return bool(facts.armed_ticks) or _may_have_armed_unseen(settings, facts)


def _may_have_armed_unseen(settings: AnchorSaturationGuard, facts: SeriesFacts) -> bool:
    errors = facts.ticks - facts.null_ticks
    return facts.missing_ticks > 0 and errors + facts.missing_ticks >= settings.lookback_ticks


def _hiding(settings: AnchorSaturationGuard | None, facts: SeriesFacts, fidelity: Fidelity) -> tuple[str, ...]:
    """A window that was not full on what is stored hides nothing itself; the missing ticks do."""
    unseen = settings is not None and not facts.armed_ticks and _may_have_armed_unseen(settings, facts)
    return (count(facts.missing_ticks, "missing tick"),) if unseen and facts.ticks else fidelity.hiding
