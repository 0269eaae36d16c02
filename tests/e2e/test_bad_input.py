"""The user's mistakes: one clear line, the right exit code, nothing lost, never a traceback."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from pathlib import Path

import apsw
import pytest

from shared.records import OrderEvent, SessionClosed
from tests.e2e.pair import (
    REPO,
    TAPE,
    WAIT_S,
    Home,
    assert_database_equals_journal,
    command,
    engine,
    journal_records,
    one_line,
    query,
    writer,
)


@pytest.mark.parametrize(
    ("yaml", "words"),
    [
        ("strategy: {anchor: {capbps: 5}}", ("strategy.anchor.capbps", "did you mean cap_bps?")),
        ("market: {seed: many}", ("market.seed", "integer")),
        ("gate: {size_base_min: 10, size_base_max: 5}", ("gate.size_base_min", "size_base_max")),
        ("market: [1, 2]", ("market",)),
        ("market: {feed: tape", ("not YAML",)),
    ],
)
@pytest.mark.parametrize(("module", "verb"), [("engine_proc", "run"), ("telemetry_proc", "write")])
def test_given_a_wrong_configuration_then_exit_78_file_and_key_named_and_nothing_started(
    home: Home, module: str, verb: str, yaml: str, words: tuple[str, ...]
) -> None:
    wrong = home.directory / "wrong.yaml"
    wrong.write_text(yaml)
    done = command(module, verb, "-c", str(wrong))
    assert done.returncode == 78, done.stderr
    one_line(done.stderr, str(wrong), *words)
    assert sorted(path.name for path in home.directory.iterdir()) == ["pair.yaml", "wrong.yaml"]


def test_given_a_missing_configuration_then_exit_78_and_the_file_named(home: Home) -> None:
    done = command("engine_proc", "run", "-c", str(home.directory / "none.yaml"))
    assert done.returncode == 78
    one_line(done.stderr, "none.yaml", "No such file")


def test_given_a_missing_tape_then_exit_78_and_no_journal(home: Home) -> None:
    done = command("engine_proc", "run", "-c", str(home.config), "--set", "market.tape=/nowhere/tape.jsonl")
    assert done.returncode == 78
    one_line(done.stderr, "/nowhere/tape.jsonl")
    assert home.journals() == []


def test_given_a_second_writer_then_exit_5_naming_the_holder_and_the_first_goes_on(home: Home, started) -> None:
    first = started(writer(home))
    done = command("telemetry_proc", "write", "-c", str(home.config))
    assert done.returncode == 5
    one_line(done.stderr, str(home.database), str(first.popen.pid))
    assert started(engine(home, "market.ticks_max=20")).ended() == 0
    assert first.stop() == 0
    assert assert_database_equals_journal(home.database, home.journals()[0]) == 20


def test_given_a_busy_socket_then_one_line_and_the_owner_goes_on(home: Home, started) -> None:
    first = started(writer(home))
    done = command("telemetry_proc", "write", "-c", str(home.config), "--db", str(home.directory / "other.db"))
    assert done.returncode not in (0, 78)
    one_line(done.stderr, home.endpoint)
    assert started(engine(home, "market.ticks_max=20")).ended() == 0
    assert first.stop() == 0
    assert query(home.database, "SELECT count(*) FROM system_metrics") == [(20,)]


def test_given_a_live_writer_when_backfill_is_asked_for_then_refused(home: Home, started) -> None:
    assert started(engine(home, "market.ticks_max=5", "telemetry.linger_ms=0")).ended() == 0
    started(writer(home))
    done = command("telemetry_proc", "backfill", "--db", str(home.database), str(home.journal_dir))
    assert done.returncode == 5
    one_line(done.stderr, str(home.database))


@pytest.mark.parametrize("what", ["newer", "foreign", "garbage"])
def test_given_a_database_that_is_not_ours_then_exit_5_and_not_a_byte_changed(home: Home, what: str) -> None:
    if what == "garbage":
        home.database.write_bytes(b"this is no database, " * 100)
    else:
        db = apsw.Connection(str(home.database))
        db.execute("PRAGMA user_version = 9999" if what == "newer" else "CREATE TABLE moz_places(id)")
        if what == "newer":
            db.execute("CREATE TABLE sessions(session_id INTEGER PRIMARY KEY)")
        db.close()
    before = home.database.read_bytes()
    done = command("telemetry_proc", "write", "-c", str(home.config))
    assert done.returncode == 5, done.stderr
    one_line(done.stderr, str(home.database))
    assert home.database.read_bytes() == before


def test_given_a_missing_journal_directory_then_the_writer_says_so_once_and_serves_the_socket(
    home: Home, started
) -> None:
    elsewhere = f"telemetry.journal_dir={home.directory}/elsewhere"
    writing = started(writer(home, elsewhere))
    assert started(engine(home, "market.ticks_max=20")).ended() == 0
    assert writing.stop() == 0
    assert sum("no journal directory" in line and "elsewhere" in line for line in writing.lines) == 1
    assert query(home.database, "SELECT count(*) FROM system_metrics") == [(20,)]


def test_given_a_missing_journal_then_backfill_says_so(home: Home) -> None:
    done = command("telemetry_proc", "backfill", "--db", str(home.database), str(home.directory / "none"))
    assert done.returncode in (1, 2)
    one_line(done.stderr, "none")


@pytest.mark.parametrize("verb", ["report", "sessions", "status"])
def test_given_no_database_then_reading_says_so_with_exit_5(home: Home, verb: str) -> None:
    done = command("telemetry_proc", verb, "--db", str(home.directory / "none.db"))
    assert done.returncode == 5, done.stderr
    one_line(done.stderr, "none.db")


def test_given_a_directory_that_cannot_be_written_then_one_line_each(home: Home) -> None:
    blocked = blocked_directory(home.directory)
    done = command("engine_proc", "run", "-c", str(home.config), "--set", f"telemetry.journal_dir={blocked / 'j'}")
    assert done.returncode == 75, done.stderr
    one_line(done.stderr, str(blocked))
    done = command("telemetry_proc", "write", "-c", str(home.config), "--db", str(blocked / "k.db"))
    assert done.returncode == 5, done.stderr
    one_line(done.stderr, str(blocked))


def blocked_directory(parent: Path) -> Path:
    """A place nobody can write below, root included: a path through a regular file. Elsewhere also mode 0500."""
    if os.geteuid() == 0:
        (parent / "file").write_text("not a directory")
        return parent / "file"
    (parent / "locked").mkdir(mode=0o500)
    return parent / "locked"


def test_given_a_tape_that_breaks_off_in_the_middle_then_orders_cancelled_and_the_line_named(
    home: Home, started
) -> None:
    tape = home.directory / "broken.jsonl"
    with gzip.open(TAPE, "rb") as source:
        lines = [source.readline() for _ in range(40)]
    lines[20] = b'{"seq": 19, "broken\n'
    tape.write_bytes(b"".join(lines))
    running = started(engine(home, f"market.tape={tape}", "telemetry.linger_ms=0"))
    assert running.ended() != 0
    one_line("\n".join(running.lines), "broken.jsonl", "21")
    closed = journal_records(home.journals()[0])[-1]
    assert isinstance(closed, SessionClosed)
    assert closed.orders_surviving == 0
    assert "broken.jsonl" in closed.end_reason


def test_given_a_disk_that_fills_up_then_degraded_exit_75_and_the_journal_whole_up_to_there(home: Home) -> None:
    # Given a limit on file sizes that the journal reaches in the middle of the session
    limited = "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); " \
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)); " \
        "from engine_proc.__main__ import main; main()"  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", limited, "run", "-c", str(home.config), "--set", "telemetry.linger_ms=0"],
        capture_output=True, text=True, cwd=REPO, timeout=WAIT_S, check=False,
    )  # fmt: skip
    # Then the engine has stopped quoting, says so, and the journal ends with a whole record
    assert done.returncode == 75, done.stderr
    one_line(done.stderr, "not whole")
    assert "journal_unwritable" in done.stderr
    (journal,) = home.journals()
    assert 99_000 < journal.stat().st_size <= 100_000
    assert any(isinstance(record, OrderEvent) for record in journal_records(journal))


def test_given_a_socket_directory_that_cannot_be_made_then_exit_78_and_no_journal(home: Home) -> None:
    (home.directory / "file").write_text("not a directory")
    endpoint = f"telemetry.endpoint=ipc://{home.directory}/file/t.sock"
    done = command("engine_proc", "run", "-c", str(home.config), "--set", endpoint)
    assert done.returncode == 78, done.stderr
    one_line(done.stderr, "telemetry.endpoint", "file")
    assert home.journals() == []
