"""The mode table: every (mode, signal) pair against a table of the test's own, and what no sequence may do."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine_proc.modes import TRANSITIONS, ModeState, Signal, after
from shared.records import Mode

EXPECTED = {
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
STATES: dict[str, ModeState] = {
    "ACTIVE": ModeState(),
    "DEGRADED": ModeState("DEGRADED", 5, "before"),
    "HALT": ModeState("HALT", 5, "before"),
}
MODES, SIGNALS = get_args(Mode), get_args(Signal)
signals = st.lists(st.tuples(st.sampled_from(SIGNALS), st.text(max_size=3), st.integers(0, 10**6)), max_size=30)


def test_given_every_mode_and_signal_then_the_table_names_the_pair_and_no_other() -> None:
    assert set(TRANSITIONS) == {(mode, signal) for mode in MODES for signal in SIGNALS}


@pytest.mark.parametrize(("mode", "signal"), EXPECTED)
def test_given_each_mode_when_each_signal_then_the_expected_mode(mode: Mode, signal: Signal) -> None:
    assert after(STATES[mode], signal, "why", 9).mode == EXPECTED[mode, signal]


@pytest.mark.parametrize("mode", MODES)
def test_given_each_mode_then_only_active_may_quote(mode: Mode) -> None:
    assert STATES[mode].may_quote == (mode == "ACTIVE")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("signal", SIGNALS)
def test_given_any_state_when_a_signal_repeats_then_the_second_changes_nothing(mode: Mode, signal: Signal) -> None:
    once = after(STATES[mode], signal, "why", 9)
    assert after(once, signal, "why", 10) == once


def test_given_active_when_degraded_then_since_and_reason_are_set() -> None:
    assert after(ModeState(), "degrade", "guard", 100) == ModeState("DEGRADED", 100, "guard")


def test_given_degraded_when_another_breaker_fires_then_its_reason_wins_and_since_stays() -> None:
    first = after(ModeState(), "degrade", "first", 100)
    assert after(first, "degrade", "second", 200) == ModeState("DEGRADED", 100, "second")


def test_given_degraded_when_halted_then_since_is_still_the_first_entry() -> None:
    degraded = after(ModeState(), "degrade", "guard", 100)
    assert after(degraded, "halt", "operator", 200) == ModeState("HALT", 100, "operator")


def test_given_halt_when_a_breaker_fires_then_neither_mode_nor_reason_softens() -> None:
    halted = after(ModeState(), "halt", "operator", 100)
    assert after(halted, "degrade", "guard", 200) == halted


@pytest.mark.parametrize("mode", MODES)
def test_given_any_state_when_rearmed_then_nothing_of_it_is_left(mode: Mode) -> None:
    assert after(STATES[mode], "rearm", "operator", 300) == ModeState()


def test_given_a_latch_at_time_zero_when_degraded_again_then_zero_counts_as_a_time() -> None:
    assert after(after(ModeState(), "degrade", "a", 0), "degrade", "b", 50).since_ns == 0


@given(signals)
def test_given_any_signals_when_latched_once_then_never_active_without_rearm(
    sent: list[tuple[Signal, str, int]],
) -> None:
    state, latched = ModeState(), False
    for signal, reason, now_ns in sent:
        state = after(state, signal, reason, now_ns)
        latched = signal != "rearm" and (latched or signal in ("degrade", "halt"))
        assert state.may_quote == (not latched)
        assert (state.since_ns is None) == (state.reason is None) == state.may_quote


@given(signals)
def test_given_any_signals_when_halted_then_halt_until_rearm(sent: list[tuple[Signal, str, int]]) -> None:
    state, halted = ModeState(), False
    for signal, reason, now_ns in sent:
        state = after(state, signal, reason, now_ns)
        halted = signal == "halt" or (halted and signal != "rearm")
        assert (state.mode == "HALT") == halted
