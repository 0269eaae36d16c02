"""The wall clock jumps by hours between two starts: which session is the last one must not depend on it."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from shared.records import OrderEvent, SessionOpened
from tests.e2e.pair import Home, Process, command, journal_records, writer
from tests.e2e.stored import compare_all, written

HOURS = 3600
SIM = ("--set", "market.feed=sim", "--set", "telemetry.linger_ms=0")
TRIPPING = ("--set", "market.sim.scenario=[{kind: drag, ticks: 400}]")

Started = Callable[[Process], Process]


def engine_at(home: Home, offset_h: int, *settings: str) -> Process:
    arguments = ("engine_proc", "run", "-c", str(home.config), *SIM, *settings)
    return Process("tests.e2e.skewed", str(offset_h * HOURS), *arguments)


@pytest.mark.parametrize("hours", [(0, 7, -7, 0), (0, -30, 5)], ids=["forward-and-back", "back-and-forward"])
def test_given_a_clock_that_jumps_between_starts_then_sessions_keep_their_order_for_the_latch_and_for_readers(
    home: Home, started: Started, hours: tuple[int, ...]
) -> None:
    writing = started(writer(home))
    in_order = []
    for offset_h in hours:
        before = set(home.journals())
        assert started(engine_at(home, offset_h, "--set", "market.ticks_max=50")).ended() == 0
        (new,) = set(home.journals()) - before
        in_order.append(new)
    assert writing.stop() == 0
    assert home.journals() == in_order, "by name, which is how the latch finds the last one"
    assert compare_all(home.database, home.journals()).exact
    listed = json.loads(command("telemetry_proc", "sessions", "--db", str(home.database), "--json").stdout)
    assert [session["uid"] for session in listed["sessions"]] == [journal.stem for journal in in_order]
    latest = command("telemetry_proc", "report", "latest", "--db", str(home.database), "--json")
    assert in_order[-1].stem in latest.stdout


def test_given_a_trip_and_a_crash_when_the_clock_is_set_back_by_hours_then_the_next_start_is_latched(
    home: Home, started: Started
) -> None:
    tripped = started(engine_at(home, 7, *TRIPPING))
    tripped.wait_for("DEGRADED triggered")
    tripped.popen.kill()
    tripped.ended()
    assert started(engine_at(home, -7, "--set", "market.ticks_max=50")).ended() == 0
    opened, *records = journal_records(home.journals()[-1])
    assert isinstance(opened, SessionOpened)
    assert (opened.initial_mode, opened.crashed_uid) == ("DEGRADED", home.journals()[0].stem)
    assert not [record for record in records if isinstance(record, OrderEvent) and record.event == "submitted"]
    # and the word of the operator is not too old, nor from the future
    word = command("engine_proc", "rearm", "-c", str(home.config), "--reason", "the clock is right again")
    assert word.returncode == 0, word.stderr
    assert started(engine_at(home, 0, "--set", "market.ticks_max=50")).ended() == 0
    (opened, *_) = written(home.journals()[-1]).records
    assert opened.initial_mode == "ACTIVE"
