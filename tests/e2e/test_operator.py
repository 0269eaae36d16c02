"""The operator's commands against a running engine, as real processes."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import closing, suppress

import pytest

from shared.records import ModeChanged, OrderEvent, SessionOpened, TickRecord
from tests.e2e.pair import (
    REPO,
    WAIT_S,
    Home,
    command,
    engine,
    environment,
    eventually,
    journal_records,
    one_error,
    query,
    writer,
)
from tests.e2e.test_pair import tail_safe

QUICK = ("market.pace_per_s=100", "telemetry.linger_ms=0")


def quoting(home: Home, started, *overrides: str):
    """An engine that has orders at its venue."""
    running = started(engine(home, *QUICK, *overrides))
    running.wait_for("session ")
    while not any(isinstance(r, OrderEvent) and r.event == "submitted" for r in tail_safe(home.journals()[-1])):
        assert running.popen.poll() is None
    return running


def halt(home: Home, reason: str = "freeze announced"):
    return command("engine_proc", "halt", "-c", str(home.config), "--reason", reason)


def submitted_after_halt(records: list) -> list:
    at = next(n for n, r in enumerate(records) if isinstance(r, ModeChanged) and r.to_mode == "HALT")
    return [r for r in records[at:] if isinstance(r, OrderEvent) and r.event == "submitted"]


def test_given_a_quoting_engine_when_halted_then_it_obeys_before_the_command_ends_and_stays_through_restarts(
    home: Home, started
) -> None:
    running = quoting(home, started)
    # When
    word = halt(home)
    # Then it has obeyed
    assert word.returncode == 0, word.stderr
    assert word.stdout.endswith("is in HALT: operator: freeze announced\n")
    assert any(isinstance(r, ModeChanged) and r.to_mode == "HALT" for r in tail_safe(home.journals()[-1]))
    # and a clean stop and a start bring it back in HALT, quoting nothing
    assert running.stop() == 0
    assert submitted_after_halt(journal_records(home.journals()[-1])) == []
    again = started(engine(home, *QUICK, "market.ticks_max=20"))
    assert "HALT" in again.wait_for("session ")
    assert again.ended() == 0
    assert {r.event for r in journal_records(home.journals()[-1]) if isinstance(r, OrderEvent)} == {"denied"}
    # until the operator says otherwise
    assert command("engine_proc", "rearm", "-c", str(home.config), "--reason", "all clear").returncode == 0
    rearmed = started(engine(home, *QUICK, "market.ticks_max=20"))
    assert "ACTIVE" in rearmed.wait_for("session ")
    assert rearmed.ended() == 0


def test_given_no_engine_when_halted_then_the_next_one_sends_nothing(home: Home, started) -> None:
    home.journal_dir.mkdir(mode=0o700)
    word = halt(home)
    assert (word.returncode, word.stderr) == (0, "")
    assert "no engine is running; the next one starts in HALT" in word.stdout
    check = command("engine_proc", "check", "-c", str(home.config))
    assert "the kill switch is pulled" in check.stdout
    assert started(engine(home, *QUICK, "market.ticks_max=20")).ended() == 0
    records = journal_records(home.journals()[-1])
    assert {record.mode for record in records if isinstance(record, TickRecord)} == {"HALT"}
    assert not [r for r in records if isinstance(r, OrderEvent) and r.event == "submitted"]


def test_given_an_engine_killed_while_halted_when_started_again_then_halt(home: Home, started) -> None:
    running = quoting(home, started)
    assert halt(home).returncode == 0
    running.popen.kill()
    running.ended()
    again = started(engine(home, *QUICK, "market.ticks_max=20"))
    assert "HALT" in again.wait_for("session ")
    assert again.ended() == 0


def test_given_an_engine_that_cannot_tick_when_halted_then_the_command_says_so_and_the_word_stands(
    home: Home, started
) -> None:
    running = started(engine(home, "market.pace_per_s=0.01", "telemetry.linger_ms=0"))
    running.wait_for("session ")
    word = command("engine_proc", "halt", "-c", str(home.config), "--reason", "now", "--timeout-s", "0.3")
    assert (word.returncode, word.stdout) == (1, "")
    assert "has not obeyed in 0.3 s; the halt stays and holds" in word.stderr
    assert (home.journal_dir / "halt.json").exists()
    assert running.stop() == 0


def test_given_a_place_where_no_engine_ever_ran_when_halted_then_refused_and_nothing_is_made_there(home: Home) -> None:
    # A relative journal_dir, and a shell that stands elsewhere: "the next one starts in HALT" would be a lie.
    word = halt(home)
    assert (word.returncode, word.stdout) == (1, "")
    assert word.stderr.startswith(f"error: {home.journal_dir}: no such directory, NOTHING IS HALTED")
    assert not home.journal_dir.exists()


@pytest.mark.parametrize("timeout_s", ["nan", "inf", "-1", "1e300"])
def test_given_any_number_of_seconds_when_halted_then_no_traceback_and_the_word_stands(
    home: Home, timeout_s: str
) -> None:
    home.journal_dir.mkdir(mode=0o700)
    word = command("engine_proc", "halt", "-c", str(home.config), "--reason", "now", "--timeout-s", timeout_s)
    assert (word.returncode, word.stderr) == (0, "")
    assert (home.journal_dir / "halt.json").exists()


def test_given_a_journal_deleted_under_its_engine_then_no_trading_off_the_record_and_a_halt_outlives_it(
    home: Home, started
) -> None:
    running = quoting(home, started)
    home.journals()[-1].unlink()
    running.wait_for("no trading off the record")
    running.wait_for("ACTIVE -> DEGRADED: journal_unwritable")
    # What nobody will ever read is no record of a halt, so the word stays and the next engine obeys it too
    word = command("engine_proc", "halt", "-c", str(home.config), "--reason", "now", "--timeout-s", "0.3")
    assert (word.returncode, word.stdout) == (1, "")
    running.popen.terminate()
    one_error(running, 75, "it was deleted")
    again = started(engine(home, *QUICK, "market.ticks_max=5"))
    assert "DEGRADED" in again.wait_for("session ")
    again.wait_for("DEGRADED -> HALT: operator: now")
    assert again.ended() == 0


@pytest.mark.skipif(os.name != "posix", reason="fills a pipe")
def test_given_a_log_that_nobody_reads_when_told_to_stop_twice_then_it_is_gone(home: Home) -> None:
    reader, log = os.pipe()
    asked = [sys.executable, "-m", "engine_proc", "run", "-c", str(home.config), "--set", QUICK[0]]
    with closing(os.fdopen(reader, "rb")), closing(os.fdopen(log, "wb", buffering=0)) as full:
        process = subprocess.Popen(asked, stderr=full, stdout=subprocess.DEVNULL, cwd=REPO, env=environment())
        try:
            eventually(lambda: any(tail_safe(path) for path in home.journals()))
            os.set_blocking(log, False)
            for size in (4096, 1):
                while full.write(b"x" * size) is not None:
                    pass
            os.set_blocking(log, True)
            # When: the line about the first signal hangs in the log, and no later one may
            for _ in range(10):
                process.terminate()
                with suppress(subprocess.TimeoutExpired):
                    process.wait(0.5)
            assert process.poll() == 1
        finally:
            process.kill()
            process.wait(WAIT_S)


def test_given_a_killed_engine_when_the_next_opens_then_the_database_says_which_session_crashed(
    home: Home, started
) -> None:
    running = quoting(home, started)
    running.popen.kill()
    running.ended()
    assert started(engine(home, *QUICK, "market.ticks_max=5")).ended() == 0
    late = started(writer(home))
    assert late.stop() == 0
    first, second = (path.stem for path in home.journals())
    assert query(home.database, "SELECT session_uid, status, crashed_uid FROM sessions ORDER BY session_id") == [
        (first, "CRASHED", None),
        (second, "ENDED", first),
    ]
    shown = command("telemetry_proc", "sessions", "--db", str(home.database))
    assert "CRASHED" in shown.stdout


@pytest.mark.parametrize("how", ["deleted", "emptied"])
def test_given_the_last_journal_gone_when_started_then_degraded_and_the_reason_is_said(
    home: Home, started, how: str
) -> None:
    assert started(engine(home, *QUICK, "market.ticks_max=5")).ended() == 0
    (last,) = home.journals()
    if how == "deleted":
        last.unlink()
    else:
        last.write_bytes(b"")
    again = started(engine(home, *QUICK, "market.ticks_max=5"))
    assert "DEGRADED" in again.wait_for("session ")
    assert again.ended() == 0
    opened, inherited = journal_records(home.journals()[-1])[:2]
    assert isinstance(opened, SessionOpened)
    assert inherited.reason == f"kept from session {last.stem}: its journal is missing or empty"
