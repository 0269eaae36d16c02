"""The writer beside other processes: one that reads for long, one that has the file to itself, one that kills it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager

import pytest

from tests.telemetry.an_engine import a_writer, encoded, expected, session, stored, write_journal

DEADLINE_S = 30
OTHER = "20261121T090000-bbbbbb"

READER = """
import sys, apsw
conn = apsw.Connection(sys.argv[1], flags=apsw.SQLITE_OPEN_READONLY)
conn.execute("BEGIN")
seen = conn.execute("SELECT count(*) FROM system_metrics").fetchall()
print("ready", flush=True)
sys.stdin.readline()
assert conn.execute("SELECT count(*) FROM system_metrics").fetchall() == seen
conn.execute("ROLLBACK")
print(conn.execute("SELECT count(*) FROM system_metrics").fetchall()[0][0], flush=True)
"""

OWNER = """
import sys, apsw
conn = apsw.Connection(sys.argv[1])
list(conn.execute("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE"))
print("ready", flush=True)
sys.stdin.readline()
"""


@contextmanager
def another(program, database):
    """A process that has the database; yields it once it says so. It goes on when it is sent a line."""
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(database)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    watchdog = threading.Timer(DEADLINE_S, process.kill)
    watchdog.start()
    try:
        with process:
            assert process.stdout.readline() == "ready\n"
            yield process
            process.kill()
    finally:
        watchdog.cancel()


def write(home, *options):
    settings = f"telemetry: {{endpoint: 'ipc://{home}/t.sock', database: {home}/k.db, journal_dir: {home}/j}}\n"
    (home / "kedge.yaml").write_text(settings)
    command = [sys.executable, "-m", "telemetry_proc", "write", "-c", str(home / "kedge.yaml"), *options]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


@contextmanager
def writing(home):
    """The writer as a real process, from the moment on when it has stored what waited in the journals."""
    process = write(home)
    watchdog = threading.Timer(DEADLINE_S, process.kill)
    watchdog.start()
    try:
        with process:
            lines = []
            while not lines or "records stored that waited" not in lines[-1]:
                lines.append(process.stderr.readline())
                assert lines[-1], lines
            yield process
            process.kill()
    finally:
        watchdog.cancel()


def test_given_a_reader_that_holds_a_transaction_when_stored_meanwhile_then_both_go_on_and_the_log_shrinks_afterwards(
    tmp_path,
):
    first, second, last = encoded(session(500)), encoded(session(4_000), OTHER), encoded(session(5), f"{OTHER}x")
    log, kept = tmp_path / "k.db-wal", 256 * 1024
    with a_writer(tmp_path) as (writer, arrivals, conn, _):
        conn.pragma("journal_size_limit", kept)  # 64 MB in life
        conn.pragma("wal_autocheckpoint", 50)
        arrivals.deliver(*first)
        writer.step()
        with another(READER, tmp_path / "k.db") as reader:
            arrivals.deliver(*second)
            while writer.step():
                pass
            grown = log.stat().st_size
            assert conn.execute("SELECT count(*) FROM system_metrics").fetchall() == [(4_500,)]

            out, _ = reader.communicate("go on\n", DEADLINE_S)

            assert out == "4500\n"
        for payload in last:  # the log begins again once nobody needs its beginning
            arrivals.deliver(payload)
            writer.step()
        assert log.stat().st_size <= kept < grown

    assert stored(tmp_path / "k.db", 2) == expected(session(4_000), 2)
    assert stored(tmp_path / "k.db", 3) == expected(session(5), 3)


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX")
def test_given_a_writer_that_was_killed_when_the_next_one_starts_then_it_takes_up_the_log_and_goes_on(tmp_path):
    records, more = session(300), session(7)
    write_journal(tmp_path / "j", encoded(records))
    with writing(tmp_path) as process:
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    left = (tmp_path / "k.db-wal").stat().st_size
    write_journal(tmp_path / "j", encoded(more, OTHER), OTHER)

    with writing(tmp_path) as process:
        process.send_signal(signal.SIGTERM)
        process.stderr.read()
        assert process.wait() == 0

    assert left > 0
    assert not (tmp_path / "k.db-wal").exists()
    assert stored(tmp_path / "k.db", 1) == expected(records, 1)
    assert stored(tmp_path / "k.db", 2) == expected(more, 2)


def test_given_a_database_that_another_process_has_to_itself_when_the_writer_starts_then_it_ends_with_5_in_one_line(
    tmp_path,
):
    write_journal(tmp_path / "j", encoded(session()))
    with a_writer(tmp_path) as (writer, _, _, _):
        writer.catch_up()
    before = (tmp_path / "k.db").read_bytes()
    with another(OWNER, tmp_path / "k.db"):
        process = write(tmp_path)
        _, err = process.communicate(timeout=DEADLINE_S)

    assert process.returncode == 5
    assert err == f"error: {tmp_path}/k.db: the database is locked by another program\n"
    assert (tmp_path / "k.db").read_bytes() == before
    with writing(tmp_path) as process:  # as a supervisor does after exit code 5
        process.send_signal(signal.SIGTERM)
        process.stderr.read()
        assert process.wait() == 0
    assert stored(tmp_path / "k.db") == expected(session())
