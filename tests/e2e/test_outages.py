"""The writer's outages: its disk full, its database locked, read, deleted or replaced, itself stopped or killed.

Each of them ends with the same question: does the database hold what the journals hold, once, in order, bit for bit?
"""

from __future__ import annotations

import os
import signal
import sqlite3
import statistics
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from shared.records import TickRecord
from telemetry_proc.connection import WAL_BYTES_KEPT
from tests.e2e.faults import (
    cannot_write,
    locked,
    mortal,
    permissions,
    read_held_open,
    small_disk,
    stopped,
)
from tests.e2e.pair import (
    Home,
    Process,
    assert_database_equals_journal,
    command,
    engine,
    eventually,
    journal_records,
    journals_with_ticks,
    last_tick,
    one_error,
    starting_writer,
    stored,
    writer,
)
from tests.e2e.stored import compare_all

SIM = ("market.feed=sim", "telemetry.linger_ms=0")
SOAKING = "KEDGE_SOAK" in os.environ
READ_HELD_BYTES = 4 * WAL_BYTES_KEPT if SOAKING else WAL_BYTES_KEPT + 8_000_000

Started = Callable[[Process], Process]


# ------------------------------------------------------------------------------------------------- the disk is full


@pytest.mark.parametrize("kind", ["file system", "size limit"])
def test_given_a_full_disk_for_the_database_then_one_line_no_effect_on_the_engine_and_all_stored_once_there_is_room(
    home: Home, started: Started, kind: str
) -> None:
    with small_disk(kind, home.directory / "d") as disk:
        home.database = disk.directory / "k.db"
        writing = started(writer(home, f"telemetry.database={home.database}"))
        disk.holds(writing)
        # When the engine records more than the disk takes, it comes to its end as ever
        assert started(engine(home, *SIM, "market.ticks_max=4000")).ended() == 0
        writing.wait_for("takes nothing, trying again")
        # Then the writer goes on as soon as there is room, without a restart
        disk.relieve(writing)
        writing.wait_for("takes records again")
        assert writing.stop() == 0, writing.lines
        assert writing.count("takes nothing") == writing.count("takes records again") == 1
        assert compare_all(home.database, home.journals()).exact
        home.database.with_name("k.db.lock").unlink(missing_ok=True)


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_given_a_full_disk_when_the_writer_is_told_to_stop_or_killed_then_a_later_one_stores_all(
    home: Home, started: Started, end: signal.Signals
) -> None:
    with small_disk("file system", home.directory / "d") as disk:
        home.database = disk.directory / "k.db"
        there = f"telemetry.database={home.database}"
        writing = started(writer(home, there))
        assert started(engine(home, *SIM, "market.ticks_max=4000")).ended() == 0
        writing.wait_for("takes nothing, trying again")
        writing.popen.send_signal(end)
        if end == signal.SIGTERM:
            one_error(writing, 5, str(home.database), "wait in the journals for the next start")
        else:
            assert writing.ended() == -end
        # While the disk is still full, another one may give up, but with one line
        again = started(starting_writer(home, there))
        if not until_listening(again):
            one_error(again, 5, str(home.database))
        again.close()
        disk.relieve()
        last = started(writer(home, there))
        assert last.stop() == 0
        assert compare_all(home.database, home.journals()).exact


def until_listening(process: Process) -> bool:
    with suppress(AssertionError):
        process.wait_for("listening")
        return True
    return False


# --------------------------------------------------------------------------- others who use the database at that time


def test_given_another_program_that_holds_the_write_lock_for_seconds_then_one_line_and_all_stored_afterwards(
    home: Home, started: Started
) -> None:
    writing = started(writer(home))
    with locked(home.database):
        assert started(engine(home, *SIM, "market.ticks_max=2000")).ended() == 0
        writing.wait_for("takes nothing, trying again")
    writing.wait_for("takes records again")
    assert writing.stop() == 0
    assert writing.count("takes nothing") == 1
    assert assert_database_equals_journal(home.database, home.journals()[0]) == 2000


def test_given_a_writer_that_starts_while_the_database_is_locked_then_exit_5_and_a_later_one_stores_all(
    home: Home, started: Started
) -> None:
    assert started(writer(home)).stop() == 0
    assert started(engine(home, *SIM, "market.ticks_max=200")).ended() == 0
    with locked(home.database):
        early = started(starting_writer(home))
        if until_listening(early):  # nothing to migrate: the lock only keeps it from storing
            early.wait_for("takes nothing, trying again")
            early.popen.terminate()
        one_error(early, 5, str(home.database), "locked")
    assert started(writer(home)).stop() == 0
    assert assert_database_equals_journal(home.database, home.journals()[0]) == 200


def test_given_a_reader_in_the_middle_of_a_read_then_the_writer_goes_on_and_the_log_gives_its_space_back(
    home: Home, started: Started
) -> None:
    log = home.database.with_name("k.db-wal")
    writing = started(writer(home, "telemetry.flush_ms=1", "telemetry.batch_max=10"))
    running = started(engine(home, *SIM, "market.pace_per_s=6000", "telemetry.outbox_max=50"))
    eventually(lambda: stored(home) > 100, running)
    with read_held_open(home.database) as reader:
        seen = reader.execute("SELECT count(*) FROM system_metrics").fetchone()[0]
        # When the log grows beyond its bound, rows keep coming
        eventually(lambda: log.stat().st_size > READ_HELD_BYTES, running, writing)
        assert stored(home) > seen == reader.execute("SELECT count(*) FROM system_metrics").fetchone()[0]
    # Then, once nobody reads, it shrinks to its bound
    eventually(lambda: log.stat().st_size <= WAL_BYTES_KEPT, running, writing)
    assert running.stop() == 0
    assert writing.stop() == 0
    assert compare_all(home.database, home.journals()).exact


# ------------------------------------------------------------------------------- somebody touches the database's files


def deleted(database: Path) -> None:
    database.unlink()


def moved(database: Path) -> None:
    database.rename(database.with_name("moved.db"))


def emptied(database: Path) -> None:
    database.with_name("empty.db").touch()
    database.with_name("empty.db").replace(database)


def set_back(database: Path) -> None:
    """A copy from a moment ago takes its place, as a restored backup would."""
    copy = database.with_name("copy.db")
    source, target = sqlite3.connect(database), sqlite3.connect(copy)
    try:
        source.backup(target)
    finally:
        target.close()
        source.close()
    copy.replace(database)


@pytest.mark.parametrize("touch", [deleted, moved, emptied, set_back])
def test_given_a_database_that_is_taken_away_under_the_writer_then_exit_5_nothing_in_the_new_file_and_all_there_later(
    home: Home, started: Started, touch: Callable[[Path], None]
) -> None:
    writing = started(writer(home))
    running = started(engine(home, *SIM, "market.pace_per_s=1000"))
    eventually(lambda: stored(home) > 50, running, writing)
    touch(home.database)
    there = home.database.read_bytes() if home.database.exists() else None
    one_error(writing, 5, str(home.database), "moved, deleted or replaced")
    assert (home.database.read_bytes() if home.database.exists() else None) == there
    again = started(writer(home))
    assert running.stop() == 0
    assert again.stop() == 0
    assert compare_all(home.database, home.journals()).exact


def test_given_a_writer_killed_with_its_log_left_behind_when_started_again_then_it_is_taken_in(
    home: Home, started: Started
) -> None:
    first = started(writer(home))
    running = started(engine(home, *SIM, "market.pace_per_s=1000"))
    eventually(lambda: stored(home) > 100, running, first)
    first.popen.kill()
    first.ended()
    assert home.database.with_name("k.db-wal").stat().st_size > 0
    left = stored(home)
    assert left > 100
    second = started(writer(home))
    assert running.stop() == 0
    assert second.stop() == 0
    assert not home.database.with_name("k.db-wal").exists()
    assert assert_database_equals_journal(home.database, home.journals()[0]) > left


@pytest.fixture
def guarded(home: Home) -> tuple[str, ...]:
    """The database in a directory of its own, and how a writer is started that its permissions mean something to."""
    through = mortal()
    home.database = home.directory / "d/k.db"
    home.database.parent.mkdir()
    if not cannot_write(through, home.database.parent):
        pytest.skip("permissions do not hold here, not even without root's privilege")
    return through


def test_given_a_database_made_read_only_while_the_writer_runs_then_it_goes_on_and_its_successor_says_what_is_wrong(
    home: Home, started: Started, guarded: tuple[str, ...]
) -> None:
    """Who has the file open keeps it open. Who comes next cannot, says so, and stores all once he may again."""
    there = f"telemetry.database={home.database}"
    writing = started(writer(home, there, through=guarded))
    running = started(engine(home, *SIM, "market.pace_per_s=1000"))
    eventually(lambda: stored(home) > 50, running, writing)
    with permissions(home.database, 0o400):
        before = stored(home)
        eventually(lambda: stored(home) > before + 50, running, writing)
        writing.popen.kill()
        writing.ended()
        one_error(started(starting_writer(home, there, through=guarded)), 5, str(home.database))
    again = started(writer(home, there, through=guarded))
    assert running.stop() == 0
    assert again.stop() == 0
    assert compare_all(home.database, home.journals()).exact


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_given_a_directory_made_read_only_while_the_writer_runs_then_it_goes_on_and_ends_as_ever(
    home: Home, started: Started, guarded: tuple[str, ...], end: signal.Signals
) -> None:
    there = f"telemetry.database={home.database}"
    writing = started(writer(home, there, through=guarded))
    running = started(engine(home, *SIM, "market.pace_per_s=1000"))
    eventually(lambda: stored(home) > 50, running, writing)
    with permissions(home.database.parent, 0o500):
        before = stored(home)
        eventually(lambda: stored(home) > before + 50, running, writing)
        writing.popen.send_signal(end)
        assert writing.ended() == (0 if end == signal.SIGTERM else -end), writing.lines
        # Its files are all there: a successor goes on with them
        again = started(writer(home, there, through=guarded))
        assert running.stop() == 0
        assert again.stop() == 0, again.lines
    assert compare_all(home.database, home.journals()).exact


# ------------------------------------------------------------------------------------------- the writer stands still


def test_given_a_stopped_writer_when_the_socket_is_full_then_the_tick_does_not_notice_and_all_is_stored_afterwards(
    home: Home, started: Started
) -> None:
    writing = started(writer(home))
    running = started(engine(home, *SIM, "market.pace_per_s=2000", "telemetry.outbox_max=200"))
    (journal,) = journals_with_ticks(home, running)
    eventually(lambda: last_tick(journal).tick > 300, running)
    with stopped(writing):
        refused = last_tick(journal).outbox_unsent
        eventually(lambda: last_tick(journal).outbox_unsent > refused + 1000, running)
    assert running.stop() == 0
    assert writing.stop() == 0
    assert compare_all(home.database, home.journals()).exact
    # and the ticks with a full socket took no longer than those before
    ticks = [record for record in journal_records(journal) if isinstance(record, TickRecord)]
    easy = [tick.tick_duration_us for tick in ticks if tick.outbox_unsent <= refused]
    full = [tick.tick_duration_us for tick in ticks if refused < tick.outbox_unsent <= refused + 1000]
    assert min(len(easy), len(full)) > 100
    assert statistics.median(full) < 3 * statistics.median(easy) + 200


# ------------------------------------------------------------------------- the journals are out of the writer's sight


def vanished(home: Home):
    away = home.directory / "away"
    home.journal_dir.rename(away)
    return lambda: away.rename(home.journal_dir)


def unreadable(home: Home):
    home.journal_dir.chmod(0)
    return lambda: home.journal_dir.chmod(0o700)


def complaints(lines: list[str]) -> int:
    """Lines that say the directory is out of sight."""
    return sum("no journal directory" in line or "the journals cannot be read" in line for line in lines)


@pytest.mark.parametrize("hide", [vanished, unreadable])
def test_given_journals_that_the_writer_cannot_see_for_a_while_then_it_says_so_once_and_later_has_them_all(
    home: Home, started: Started, guarded: tuple[str, ...], hide: Callable[[Home], Callable[[], None]]
) -> None:
    home.journal_dir.mkdir(mode=0o700)
    home.database = home.directory / "k.db"
    writing = started(writer(home, through=guarded))
    running = started(engine(home, *SIM, "market.pace_per_s=2000", "telemetry.outbox_max=20"))
    (journal,) = journals_with_ticks(home, running)
    eventually(lambda: stored(home) > 50, running, writing)
    # When the socket loses records while the journals are out of sight
    with stopped(writing):
        refused = last_tick(journal).outbox_unsent
        eventually(lambda: last_tick(journal).outbox_unsent > refused + 200, running)
        said = len(writing.lines)
        show = hide(home)
    eventually(lambda: complaints(writing.lines[said:]) > 0, running, writing)
    before = stored(home)
    eventually(lambda: stored(home) > before + 400, running, writing)
    show()
    assert running.stop() == 0
    assert writing.stop() == 0, writing.lines
    assert complaints(writing.lines[said:]) == 1
    # Then what was lost stands in the gaps, and a backfill fills them
    done = command("telemetry_proc", "backfill", "--db", str(home.database), str(home.journal_dir))
    assert done.returncode == 0, done.stderr
    assert compare_all(home.database, home.journals(), ordered=False).exact
