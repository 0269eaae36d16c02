import json
import signal
import subprocess
import sys
import threading
from contextlib import closing, contextmanager

import apsw
import pytest
import zmq

from shared import cli
from shared.journal import JournalWriter, journal_path
from telemetry_proc.__main__ import telemetry
from telemetry_proc.lock import holder
from telemetry_proc.tables import TABLES
from tests.telemetry.an_engine import UID, contents, encoded, expected, session, stored, write_journal
from tests.telemetry.legacy_databases import BEFORE_ANCHOR_ERROR, legacy

DEADLINE_S = 30


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A working directory: the paths in a configuration are relative to it."""
    monkeypatch.chdir(tmp_path)
    settings = "telemetry: {endpoint: 'ipc://run/t.sock', database: data/k.db, journal_dir: j, catch_up_ms: 50}\n"
    (tmp_path / "kedge.yaml").write_text(settings)
    return tmp_path


@contextmanager
def writing(*options):
    """`kedge-telemetry write` as a real process, from its readiness line on. Yields (process, its log lines)."""
    command = [sys.executable, "-m", "telemetry_proc", "write", "-c", "kedge.yaml", *options]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    watchdog = threading.Timer(DEADLINE_S, process.kill)
    watchdog.start()
    try:
        with process:
            lines = [process.stderr.readline()]
            assert "writing to data/k.db, listening on ipc://run/t.sock" in lines[0], lines + process.stderr.readlines()
            yield process, lines
            if process.poll() is None:
                process.kill()
    finally:
        watchdog.cancel()


def stopped(process, lines, number=signal.SIGTERM):
    process.send_signal(number)
    lines += process.stderr.readlines()
    return process.wait()


@contextmanager
def pushing():
    with zmq.Context() as context, context.socket(zmq.PUSH) as push:
        push.set(zmq.LINGER, DEADLINE_S * 1000)
        push.connect("ipc://run/t.sock")
        yield push


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_given_a_running_writer_when_signalled_then_all_that_was_sent_or_journaled_is_stored_and_it_ends_well(
    home, number
):
    records = session(500)
    payloads = encoded(records)
    with writing() as (process, lines):
        with pushing() as push, closing(JournalWriter(journal_path(home / "j", UID))) as journal:
            for seq, payload in enumerate(payloads):
                journal.append(payload)
                if seq % 3:  # the socket refuses a third of them
                    push.send(payload)

        assert stopped(process, lines, number) == 0

    assert stored(home / "data" / "k.db") == expected(records)
    assert all(line[:2] == "20" and line[23] == "Z" for line in lines), lines  # one UTC line a transition
    assert holder(home / "data" / "k.db") is None


def test_given_writers_killed_at_any_moment_when_the_last_has_caught_up_then_every_record_is_there_once(home):
    records = session(3_000)
    path = write_journal(home / "j", encoded(records))
    assert path.exists()
    for _ in range(3):
        with writing("--set", "telemetry.batch_max=10") as (process, _):  # killed while it catches up
            process.kill()

    with writing() as (process, lines):
        assert stopped(process, lines) == 0

    assert stored(home / "data" / "k.db") == expected(records)


def a_second_writer(*options):
    command = [sys.executable, "-m", "telemetry_proc", "write", "-c", "kedge.yaml", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=False)


def test_given_a_writer_when_a_second_one_starts_then_it_ends_with_5_naming_the_first(home):
    with writing() as (process, lines):
        second = a_second_writer()
        assert stopped(process, lines) == 0

    assert second.returncode == 5
    assert f"data/k.db: in use by pid {process.pid}, write since" in second.stderr
    assert "Traceback" not in second.stderr


def test_given_a_taken_endpoint_when_a_writer_of_another_database_starts_then_one_line_says_so(home):
    with writing() as (process, lines):
        second = a_second_writer("--db", "other.db")
        assert stopped(process, lines) == 0

    assert second.returncode == 1
    assert second.stderr == "error: ipc://run/t.sock: another process is listening there\n"


# --- migrate and backfill, in this process


def run(capsys, *arguments):
    code = cli.run(telemetry, arguments)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_given_a_legacy_database_when_migrated_then_the_steps_are_printed_and_the_second_time_none(home, capsys):
    with legacy(home / "old.db", BEFORE_ANCHOR_ERROR):
        pass

    code, out, _ = run(capsys, "migrate", "--db", "old.db")
    assert code == 0
    assert "add column system_metrics.anchor_error_bps" in out.splitlines()

    assert run(capsys, "migrate", "--db", "old.db") == (0, "old.db is at schema 1 already\n", "")


def test_given_json_when_migrated_then_stdout_is_one_object(home, capsys):
    code, out, _ = run(capsys, "migrate", "-c", "kedge.yaml", "--json")

    assert code == 0
    steps = [f"create table {table.name}" for table in TABLES]
    assert json.loads(out) == {"schema_version": 1, "database": "data/k.db", "steps": steps}


def test_given_a_foreign_database_when_migrated_then_one_line_and_exit_code_5(home, capsys):
    with closing(apsw.Connection("birds.db")) as conn:
        conn.execute("CREATE TABLE birds (name TEXT)")

    code, out, err = run(capsys, "migrate", "--db", "birds.db")

    assert (code, out) == (5, "")
    assert err.startswith("error: ")
    assert err.endswith("birds.db: not a Kedge database: it holds birds and no table of ours\n")
    assert err.count("\n") == 1


def test_given_journals_when_backfilled_then_each_has_its_line(home, capsys):
    path = write_journal(home / "j", encoded(session(1_500)))

    code, out, err = run(capsys, "backfill", "--db", "b.db", "j")

    assert (code, out, err) == (0, f"j/{path.name}: {len(session(1_500)):,} records stored\n", "")
    assert stored(home / "b.db") == expected(session(1_500))


def test_given_a_live_database_when_backfilled_alike_then_every_table_is_the_same(home, capsys):
    write_journal(home / "j", encoded(session(50)))
    with writing() as (process, lines):
        assert stopped(process, lines) == 0

    assert run(capsys, "backfill", "--db", "b.db", "j")[0] == 0

    assert contents(home / "b.db") == contents(home / "data" / "k.db")


def test_given_a_missing_journal_directory_when_backfilled_then_one_line_and_exit_code_2(home, capsys):
    assert run(capsys, "backfill", "--db", "b.db", "nowhere") == (
        2,
        "",
        "error: nowhere: no such journal or directory\n",
    )
    assert not (home / "b.db").exists()


def test_given_no_configuration_when_no_database_is_named_then_exit_code_78_names_the_file(home, capsys):
    code, _, err = run(capsys, "migrate", "-c", "none.yaml")

    assert code == 78
    assert "none.yaml" in err
