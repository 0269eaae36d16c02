"""Two hundred histories of everything going wrong at once. Nothing lost, nothing twice, never re-armed by itself.

What goes wrong stands at the top of each fake: disk.py, database_disk.py, wire.py, exchange.py, deeds.py. What must
hold stands in invariants.py and witness.py. One history again, as a readable trace: `python -m tests.sim SEED`.
"""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from tests.sim.history import Stats, live, run_history
from tests.sim.world import FAULTS, World

ROOT = Path(__file__).parents[2]
BLOCK = 20
BLOCKS = range(10)
DEEDS = {
    "engine killed", "writer killed", "power loss", "halted", "database deleted", "wall clock set",
    "last journal deleted", "last journal damaged", "refused at the HWM", "queue lost",
}  # fmt: skip


@cache
def histories(block: int) -> tuple[Stats, ...]:
    return tuple(run_history(seed) for seed in range(block * BLOCK + 1, (block + 1) * BLOCK + 1))


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: f"seeds-{block * BLOCK + 1}-to-{(block + 1) * BLOCK}")
def test_given_any_history_when_all_is_healed_then_every_record_is_stored_once_and_no_trip_was_forgotten(block):
    for stats in histories(block):
        assert stats.records_compared <= stats.records


def test_given_two_hundred_histories_when_counted_then_every_listed_fault_happened_and_there_was_much_to_lose():
    all_of_them = [stats for block in BLOCKS for stats in histories(block)]

    faults = sum((Counter(stats.faults) for stats in all_of_them), Counter())

    assert set(faults) == set(FAULTS) | DEEDS
    assert sum(stats.trips for stats in all_of_them) > 200
    assert sum(stats.rearms for stats in all_of_them) > 100
    assert sum(stats.records_compared for stats in all_of_them) > 40_000


@pytest.mark.parametrize("seed", [7, 11, 23])
def test_given_one_seed_when_lived_through_twice_then_trace_and_journals_are_the_same_to_the_byte(seed):
    first, again = live(seed), live(seed)

    assert again.trace == first.trace
    assert again.digest == first.digest
    assert again.stats == first.stats


def test_given_two_seeds_when_lived_through_then_the_histories_differ():
    assert live(7).digest != live(11).digest


def test_given_a_broken_promise_when_a_history_shows_it_then_the_message_says_how_to_see_it_again():
    def lose_a_record(world: World) -> None:
        world.note = lambda what: None if what != "healed" else world.sessions.clear()  # nobody remembers a session

    with pytest.raises(AssertionError, match=r"^seed 5: sessions that never were(.|\n)*python -m tests\.sim 5$"):
        live(5, lose_a_record)


def test_given_a_seed_on_the_command_line_when_run_then_its_trace_is_told_and_its_numbers():
    told = subprocess.run(
        [sys.executable, "-m", "tests.sim", "3"], cwd=ROOT, capture_output=True, encoding="utf-8", check=True
    )

    assert "session 2026" in told.stdout
    assert "healed" in told.stdout
    assert told.stdout.splitlines()[-1].startswith("Stats(ticks=")
    assert told.stderr == ""
