"""kill -9 of both processes at random moments: nothing lost, nothing twice, never re-armed. See `kill_storm.py`."""

from __future__ import annotations

import os

import pytest

from tests.e2e.kill_storm import EngineStorm, Plan, Tally, WriterStorm, storm
from tests.e2e.pair import Home

KILLS = 30
SEED = 20_261_121


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the storm forks its processes; this system cannot")
def test_given_both_processes_under_load_when_killed_at_random_moments_then_nothing_lost_twice_or_rearmed(
    home: Home,
) -> None:
    tally = storm(home, Tally(SEED), Plan(KILLS))

    assert not tally.wrong_rearms, tally.wrong_rearms
    assert not tally.faults, "\n".join(tally.faults)
    assert tally.verdict.exact, tally.verdict
    # and it was a storm: every moment met, trips and re-arms among them, some processes spawned plainly
    assert tally.engine_kills.total() >= KILLS
    assert tally.writer_kills.total() >= KILLS
    assert {phase for phase, kills in tally.engine_kills.items() if kills} >= set(EngineStorm.PHASES)
    assert {phase for phase, kills in tally.writer_kills.items() if kills} >= set(WriterStorm.PHASES)
    assert tally.spawned_kills >= 5
    assert min(tally.trips, tally.latched_starts, tally.rearms, tally.torn_tails) > 0
    assert tally.verdict.records > 1_000
