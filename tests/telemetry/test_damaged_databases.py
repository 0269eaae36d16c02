"""What a crash, a disk or a hand left of a database: taken up whole, or refused in one line; the journals have it all.

A flipped byte inside a value cannot be seen by anybody, SQLite keeps no checksum of a page. What is promised here is
that damage never ends in a traceback, never costs a journal a byte, and never keeps a fresh database from having all.
"""

from __future__ import annotations

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


# --- what a hand left in the writer's own books


NONSENSE = [
    "UPDATE telemetry_offsets SET next_seq = 'many'",
    "UPDATE telemetry_offsets SET next_seq = -1",
    "UPDATE telemetry_offsets SET next_seq = 4.5",
    "UPDATE telemetry_offsets SET journal_position = 'far'",
    "UPDATE telemetry_offsets SET journal_position = -8",
    *(
        f"INSERT INTO telemetry_gaps(session_uid, first_seq, last_seq, missing_from) VALUES ('{UID}', {gap})"
        for gap in ("'a', 'b', 'c'", "1, 2, NULL", "-3, 2, 1", "1, 4, 5", "4, 2, 3", "1, 1000000, 1")
    ),
]


@pytest.mark.parametrize("change", NONSENSE)
def test_given_nonsense_in_the_writers_own_books_when_opened_then_one_line_names_table_and_session(
    tmp_path, capsys, change
):
    journal = kept(tmp_path / "k.db", session(5))
    with closing(apsw.Connection(str(tmp_path / "k.db"))) as conn:
        conn.execute(change)

    refused(tmp_path / "k.db", capsys, journal, change.split()[1 if change[0] == "U" else 2].partition("(")[0], UID)


def test_given_an_offset_far_beyond_its_journal_when_backfilled_then_the_journal_is_read_from_its_start(tmp_path):
    journal = kept(tmp_path / "k.db", session(5)[:-1])
    with closing(apsw.Connection(str(tmp_path / "k.db"))) as conn:
        conn.execute(f"UPDATE telemetry_offsets SET journal_position = {2**63 - 1}")
    journal.unlink()
    write_journal(journal.parent, encoded(session(5)))

    assert [done.stored for done in backfill(tmp_path / "k.db", [journal], StandingClock())] == [1]


# --- what a hand put in its place


@pytest.mark.skipif(os.name != "posix", reason="an open file cannot be written over there")
@pytest.mark.parametrize("log", ["left", "taken away"])
def test_given_a_backup_copied_over_the_open_database_when_more_comes_then_the_writer_stops_and_nothing_is_lost(
    tmp_path, log
):
    database, records = tmp_path / "k.db", session(300)
    write_journal(tmp_path / "j", encoded(records))
    with a_writer(tmp_path) as (writer, arrivals, _, _):
        arrivals.deliver(*encoded(records)[:10])
        writer.step()
    backup = database.read_bytes()
    with a_writer(tmp_path) as (writer, arrivals, conn, _):
        arrivals.deliver(*encoded(records)[10:290])
        writer.step()
        conn.wal_checkpoint()
        arrivals.deliver(encoded(records)[290])
        writer.step()
        database.write_bytes(backup)  # as `cp` does: the same file, other bytes
        if log == "taken away":
            (tmp_path / "k.db-wal").unlink()
        arrivals.deliver(*encoded(records)[291:])

        with pytest.raises(DatabaseUnusable, match=r"k\.db: moved, deleted or replaced"):
            writer.step()

    assert database.read_bytes() == backup
    assert log == "taken away" or (tmp_path / "k.db-wal").stat().st_size == 0
    with a_writer(tmp_path) as (writer, _, conn, _):
        writer.catch_up()
        assert conn.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert stored(database) == expected(records)


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


@pytest.mark.parametrize(
    "there", ["a backup of it", "a backup moved there", "another session's", "an empty one", "the older engine's"]
)
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
        case "a backup moved there":  # with the time stamp that it has had since long before the log
            os.utime(tmp_path / "backup.db", (0, 0))
            (tmp_path / "backup.db").replace(database)
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


@pytest.mark.skipif(os.name != "posix", reason="elsewhere a file does not say when it was moved")
def test_given_a_database_that_nobody_touched_since_its_log_when_opened_then_not_every_page_of_it_is_read(tmp_path):
    crashed(tmp_path, session(5))
    database = tmp_path / "crashed" / "k.db"
    asked = []
    apsw.connection_hooks.append(lambda conn: setattr(conn, "exec_trace", lambda _, sql, __: asked.append(sql) or True))
    try:
        for seconds_later, last in enumerate(("log", "database"), 1):
            changed_ns = database.stat().st_ctime_ns + seconds_later * 10**9
            os.utime(database.with_name("k.db-wal") if last == "log" else database, ns=(changed_ns, changed_ns))
            asked.clear()
            opened = open_for_writing(database).conn
            assert ("PRAGMA quick_check(1)" in asked) is (last == "database")
            opened.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)  # as a kill would leave it again
            opened.close()
    finally:
        apsw.connection_hooks.pop()


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
