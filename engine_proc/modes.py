"""The engine's mode: may it quote? Everything that decides it is in this file, as a literal table.

    ACTIVE    quotes
    DEGRADED  no new orders, resting ones cancelled; market data, reconciliation and records go on
    HALT      the same, by the operator's kill switch or after a fatal fault

Rule 1: only `rearm`, which only the operator sends, leads back to ACTIVE. There is no automatic recovery.
Rule 2: a signal that changes nothing is legal, so a breaker may repeat itself on every tick.
Rule 3: HALT outranks DEGRADED; a breaker cannot soften the kill switch.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from shared.records import Mode

Signal = Literal["degrade", "halt", "rearm"]

TRANSITIONS: dict[tuple[Mode, Signal], Mode] = {
    ("ACTIVE", "degrade"): "DEGRADED",
    ("ACTIVE", "halt"): "HALT",
    ("ACTIVE", "rearm"): "ACTIVE",
    ("DEGRADED", "degrade"): "DEGRADED",
    ("DEGRADED", "halt"): "HALT",
    ("DEGRADED", "rearm"): "ACTIVE",
    ("HALT", "degrade"): "HALT",
    ("HALT", "halt"): "HALT",
    ("HALT", "rearm"): "ACTIVE",
}


class ModeState(NamedTuple):
    """Where the engine stands. `since_ns` is the first entry into a mode that does not quote, None while ACTIVE."""

    mode: Mode = "ACTIVE"
    since_ns: int | None = None
    reason: str | None = None

    @property
    def may_quote(self) -> bool:
        """Whether new orders are allowed at all."""
        return self.mode == "ACTIVE"


def after(state: ModeState, signal: Signal, reason: str, now_ns: int) -> ModeState:
    """The state after a signal. The most recent reason wins; the time of first entry stays."""
    mode = TRANSITIONS[state.mode, signal]
    if mode == "ACTIVE":
        return ModeState()
    if mode == "HALT" and signal == "degrade":
        return state
    return ModeState(mode, now_ns if state.since_ns is None else state.since_ns, reason)
