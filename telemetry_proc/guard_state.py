"""Where the guard stood at the end of a session, in one word, and what that word rests on."""

from __future__ import annotations

from typing import Literal, NamedTuple

from shared.settings import AnchorSaturationGuard
from telemetry_proc.fidelity import Disagreement, Fidelity, FidelityState
from telemetry_proc.ladder import Explanation, Ladder
from telemetry_proc.series import SeriesFacts

GuardState = Literal[
    "no data",
    "not recorded",
    "thresholds not recorded",
    "disabled",
    "tripped",
    "cannot be said",
    "never armed",
    "not armed",
    "armed",
]


class Guard(NamedTuple):
    """The guard's settings, how far it armed, what its own code says of the stored errors.

    `state`: `not recorded` for the ticks of an older engine, which measured no error; `cannot be said` where the guard
    did not trip on what is stored, but ticks are missing that may hide a trip (`hiding` says which). `never armed`: its
    window was never full, so it could not trip; `armed` and `not armed`: it never tripped, and so it stood at the end.
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


def guard_state(
    settings: AnchorSaturationGuard | None, facts: SeriesFacts, fidelity: Fidelity, explanation: Explanation | None
) -> Guard:
    """Sum up. `explanation` is None where the thresholds are not on record or the replay disagrees."""
    found = Guard(
        state=_state(settings, facts, fidelity, explanation),
        window_resets=facts.window_resets,
        fidelity=fidelity.state,
        disagreement=fidelity.disagreement,
        checked_ticks=fidelity.checked_ticks,
        recorded_trip_tick=fidelity.recorded_trip_tick,
        hiding=fidelity.hiding,
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
    settings: AnchorSaturationGuard | None, facts: SeriesFacts, fidelity: Fidelity, explanation: Explanation | None
) -> GuardState:
    tripped = fidelity.recorded_trip_tick is not None
    tripped = tripped or (explanation is not None and explanation.ladder.both is not None)
    standing: tuple[tuple[bool, GuardState], ...] = (
        (not facts.ticks, "no data"),
        (fidelity.state == "not recorded", "not recorded"),
        (settings is None, "thresholds not recorded"),
        (settings is not None and not settings.enabled, "disabled"),
        (tripped, "tripped"),
        (not facts.armed_ticks, "never armed"),
        (fidelity.may_hide_a_breach, "cannot be said"),
        (settings is not None and facts.window_n == settings.lookback_ticks, "armed"),
    )
    return next((word for holds, word in standing if holds), "not armed")
