"""The journal's disk is full: no trading off the record, and no way back to quoting by a restart."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from shared.journal import REFUSED_SUFFIX
from shared.records import ModeChanged, OrderEvent, SessionOpened
from tests.e2e.faults import small_disk
from tests.e2e.pair import Home, Process, command, engine, one_error, writer
from tests.e2e.stored import compare_all, written

SIM = ("market.feed=sim", "telemetry.linger_ms=0")

Started = Callable[[Process], Process]


def fill_up(disk: Path) -> Path:
    """A file that takes whatever room is left."""
    filler = disk / "filler"
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    return filler


@pytest.mark.parametrize("kind", ["file system", "size limit"])
def test_given_a_full_disk_for_the_journal_then_degraded_exit_75_and_latched_until_the_operator_rearms(
    home: Home, started: Started, kind: str
) -> None:
    with small_disk(kind, home.directory / "full") as disk:
        home.journal_dir = disk.directory / "j"
        there = f"telemetry.journal_dir={home.journal_dir}"
        writing = started(writer(home, there))
        # Given an engine that writes its journal until the disk takes no more
        running = started(engine(home, *SIM, there, "market.pace_per_s=4000"))
        running.wait_for("session ")
        disk.holds(running)
        running.wait_for("no trading off the record")
        running.popen.terminate()
        # Then it has stopped quoting, cancelled, says so, and may not be restarted
        one_error(running, 75, "not whole")
        assert running.count("ACTIVE -> DEGRADED: journal_unwritable") == 1
        full = home.journals()[0]
        assert full.with_suffix(REFUSED_SUFFIX).exists()
        assert not any(isinstance(record, ModeChanged) for record in written(full).records), "it had no room for that"
        # and with room again, or started by hand, it comes back DEGRADED and sends nothing
        disk.relieve()
        assert started(engine(home, *SIM, there, "market.ticks_max=50")).ended() == 0
        opened, *records = written(home.journals()[-1]).records
        assert isinstance(opened, SessionOpened)
        assert opened.initial_mode == "DEGRADED"
        assert not [record for record in records if isinstance(record, OrderEvent) and record.event == "submitted"]
        # What made it into the journals is in the database
        assert writing.stop() == 0
        assert compare_all(home.database, home.journals()).exact
        assert command("engine_proc", "rearm", "-c", str(home.config), "--set", there, "--reason", "r").returncode == 0


def test_given_a_full_disk_when_the_engine_starts_then_75_each_time_and_what_held_before_still_holds(
    home: Home, started: Started
) -> None:
    with small_disk("file system", home.directory / "full") as disk:
        home.journal_dir = disk.directory / "j"
        there = f"telemetry.journal_dir={home.journal_dir}"
        drag = "market.sim.scenario=[{kind: drag, ticks: 400}]"
        # Given an engine that tripped and was killed, and a disk that then fills up to the last byte
        tripped = started(engine(home, *SIM, there, drag, "market.pace_per_s=1000"))
        tripped.wait_for("DEGRADED triggered")
        tripped.popen.kill()
        tripped.ended()
        filler = fill_up(disk.directory)
        for _ in range(2):
            one_error(started(engine(home, *SIM, there, "market.ticks_max=50")), 75, str(home.journal_dir))
        filler.unlink()
        assert started(engine(home, *SIM, there, "market.ticks_max=50")).ended() == 0
        (opened, *_) = written(home.journals()[-1]).records
        assert opened.initial_mode == "DEGRADED"
        writing = started(writer(home, there))
        assert writing.stop() == 0
        assert compare_all(home.database, home.journals()).exact
