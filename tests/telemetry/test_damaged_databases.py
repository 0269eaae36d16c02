"""What a crash, a disk or a hand left of a database: taken up whole, or refused in one line; the journals have it all.

A flipped byte inside a value cannot be seen by anybody, SQLite keeps no checksum of a page. What is promised here is
that damage never ends in a traceback, never costs a journal a byte, and never keeps a fresh database from having all.
"""

from __future__ import annotations

import logging
import os
import random
import shutil
import signal
import subprocess
import sys
from contextlib import closing

import apsw
import pytest

from shared import cli
from shared.errors import DatabaseUnusable
from telemetry_proc.__main__ import telemetry
from telemetry_proc.backfill import backfill
from telemetry_proc.connection import open_for_writing
from tests.telemetry.an_engine import (
    UID,
    StandingClock,
    a_writer,
    encoded,
    expected,
    session,
    stored,
    write_journal,
)
from tests.telemetry.legacy_databases import BEFORE_ANCHOR_ERROR, legacy, rows_of, shapes_of

OTHER = "20261121T090000-bbbbbb"
PAGE = 4096


@pytest.fixture(autouse=True)
def _logging_as_before():
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def kept(path, records, uid=UID):
    """A database with a session, and the session's journal."""
    journal = write_journal(path.parent / f"journal of {path.stem}", encoded(records, uid), uid)
    list(backfill(path, [journal], StandingClock()))
    return journal


def refused(database, capsys, journal, *parts):
    beside = [database, database.with_name("k.db-wal")]
    before = [path.read_bytes() for path in beside if path.exists()]

    code = cli.run(telemetry, ["backfill", "--db", str(database), str(journal)])

    out, err = capsys.readouterr()
    assert (code, out, len(err.splitlines())) == (5, "", 1), err
    for part in ("k.db: ", *parts):
        assert part in err
    assert [path.read_bytes() for path in beside if path.exists()] == before


@pytest.mark.parametrize("share", [0.5, 0.99])
def test_given_a_file_that_is_cut_short_when_opened_then_it_is_refused_as_it_is(tmp_path, capsys, share):
    database = tmp_path / "k.db"
    journal = kept(database, session(100))
    os.truncate(database, int(database.stat().st_size / PAGE * share) * PAGE)

    refused(database, capsys, journal, "malformed")


def test_given_a_schema_that_is_no_sql_when_opened_then_one_line_names_the_object(tmp_path, capsys):
    database = tmp_path / "k.db"
    journal = kept(database, session())
    with closing(apsw.Connection(str(database))) as conn:
        conn.pragma("writable_schema", 1)
        conn.execute("UPDATE sqlite_master SET sql = 'CREATE TABLE fills ((' WHERE name = 'fills'")

    refused(database, capsys, journal, "malformed database schema (fills)")


@pytest.mark.parametrize("seed", range(12))
def test_given_flipped_bytes_in_a_page_when_stored_then_it_ends_in_one_line_at_worst_and_the_journals_have_all(
    tmp_path, capsys, seed
):
    database, rng = tmp_path / "k.db", random.Random(seed)
    journals = [kept(database, session(60)), write_journal(tmp_path / "j", encoded(session(5), OTHER), OTHER)]
    before = [journal.read_bytes() for journal in journals]
    page = rng.randrange(database.stat().st_size // PAGE)
    with database.open("r+b") as file:
        for _ in range(rng.choice((1, 8, 64))):
            file.seek(page * PAGE + rng.randrange(rng.choice((100, PAGE))))
            flipped = bytes([file.read(1)[0] ^ rng.randrange(1, 256)])
            file.seek(-1, os.SEEK_CUR)
            file.write(flipped)

    for command in (["backfill", "--db", str(database), *map(str, journals)], ["export", "1", "--db", str(database)]):
        code = cli.run(telemetry, command)
        _, err = capsys.readouterr()
        assert (code, len(err.splitlines())) in [(0, 0), (0, 1), (2, 1), (3, 1), (5, 1)], err

    assert [journal.read_bytes() for journal in journals] == before
    list(backfill(tmp_path / "fresh.db", journals, StandingClock()))
    assert stored(tmp_path / "fresh.db", 1) == expected(session(60), 1)
    assert stored(tmp_path / "fresh.db", 2) == expected(session(5), 2)


# --- what lies beside the file


def crashed(home, records, uid=UID):
    """Database and log as a writer leaves them that is killed: the last records stand in the log alone."""
    journal = write_journal(home / f"journal of {uid}", encoded(records, uid), uid)
    with a_writer(home) as (writer, arrivals, _, _):
        arrivals.deliver(*encoded(records, uid))
        writer.step()
        (home / "crashed").mkdir(exist_ok=True)
        for name in ("k.db", "k.db-wal"):
            shutil.copy(home / name, home / "crashed" / name)
    return journal


def test_given_a_log_that_a_crash_left_when_opened_then_it_is_taken_up(tmp_path):
    journal = crashed(tmp_path, session(50))
    database = tmp_path / "crashed" / "k.db"
    assert database.with_name("k.db-wal").stat().st_size > 0

    assert [done.stored for done in backfill(database, [journal], StandingClock())] == [0]

    assert not database.with_name("k.db-wal").exists()  # emptied into its database when that was closed
    assert stored(database) == expected(session(50))


@pytest.mark.parametrize("there", ["a backup of it", "another session's", "an empty one", "the older engine's"])
def test_given_a_log_beside_a_database_that_it_does_not_belong_to_when_opened_then_both_are_left_as_they_are(
    tmp_path, capsys, there
):
    database = tmp_path / "crashed" / "k.db"
    kept(tmp_path / "k.db", session(30), OTHER)
    shutil.copy(tmp_path / "k.db", tmp_path / "backup.db")
    kept(tmp_path / "k.db", session(300), "20261121T100000-cccccc")  # is in the database when the log begins
    journal = crashed(tmp_path, session(50))
    match there:
        case "a backup of it":
            shutil.copy(tmp_path / "backup.db", database)
        case "another session's":
            kept(tmp_path / "other.db", session(200), OTHER)
            shutil.copy(tmp_path / "other.db", database)
        case "an empty one":
            open_for_writing(tmp_path / "empty.db").conn.close()
            shutil.copy(tmp_path / "empty.db", database)
        case "the older engine's":
            with legacy(tmp_path / "old.db", BEFORE_ANCHOR_ERROR):
                pass
            shutil.copy(tmp_path / "old.db", database)

    refused(database, capsys, journal, "k.db-wal beside it belongs to another one")

    database.with_name("k.db-wal").unlink()  # what the operator does about it
    assert cli.run(telemetry, ["backfill", "--db", str(database), str(journal)]) == 0
    with closing(apsw.Connection(str(database))) as conn:
        numbers = dict(conn.execute("SELECT session_uid, session_id FROM sessions"))
    assert stored(database, numbers[UID]) == expected(session(50), numbers[UID])


def test_given_a_log_whose_database_was_deleted_when_opened_then_a_fresh_one_has_all_from_the_journals(tmp_path):
    journal = crashed(tmp_path, session(50))
    database = tmp_path / "crashed" / "k.db"
    database.unlink()

    list(backfill(database, [journal], StandingClock()))

    assert stored(database) == expected(session(50))


def test_given_a_newer_database_with_a_log_when_refused_then_not_even_the_log_is_touched(tmp_path, capsys):
    journal = crashed(tmp_path, session(50))
    database = tmp_path / "crashed" / "k.db"
    with closing(apsw.Connection(str(database))) as conn:
        conn.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        conn.pragma("user_version", 99)

    refused(database, capsys, journal, "newer Kedge")


HALF_A_TRANSACTION = """
import os, signal, sys, apsw
conn = apsw.Connection(sys.argv[1])
conn.execute("PRAGMA cache_size = 2; BEGIN; UPDATE system_metrics SET mid = 0, cpu_pct = -1")
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX")
def test_given_an_older_engine_that_died_inside_a_transaction_when_opened_then_that_is_taken_back_first(tmp_path):
    database = tmp_path / "k.db"
    with legacy(database, BEFORE_ANCHOR_ERROR) as conn:
        rows = [(tick, "then") for tick in range(2_000)]
        with conn:
            conn.executemany("INSERT INTO system_metrics(tick, created_at) VALUES (?, ?)", rows)
        shapes = shapes_of(conn)
        rows = rows_of(conn, shapes)
    before = database.read_bytes()

    died = subprocess.run([sys.executable, "-c", HALF_A_TRANSACTION, str(database)], check=False)

    assert died.returncode == -signal.SIGKILL
    assert (database.read_bytes() != before, (tmp_path / "k.db-journal").stat().st_size > 0) == (True, True)
    with closing(open_for_writing(database).conn) as conn:
        assert rows_of(conn, shapes) == rows
    assert not (tmp_path / "k.db-journal").exists()


def test_given_damage_that_a_crash_left_when_opened_then_it_is_named(tmp_path):
    database = tmp_path / "crashed" / "k.db"
    crashed(tmp_path, session(5))
    with legacy(tmp_path / "old.db", BEFORE_ANCHOR_ERROR):
        pass
    shutil.copy(tmp_path / "old.db", database)

    with pytest.raises(DatabaseUnusable, match=r"k\.db: damaged, or k\.db-wal beside it .*: "):
        open_for_writing(database)
