"""A journal goes only if the database can answer for all of it, it is old, and nobody needs it any more."""

import os
import shutil
from pathlib import Path

import apsw
import pytest

from shared.codec import encode
from shared.errors import KedgeError
from shared.journal import ENGINE_LOCK, HEADER, REFUSED_SUFFIX, frame, journal_path
from telemetry_proc import prune
from telemetry_proc.backfill import backfill
from telemetry_proc.journal_repair import repair
from telemetry_proc.prune import delete, judge_all, sync_database
from telemetry_proc.reading import reading
from tests.shared.record_examples import EXAMPLES
from tests.telemetry.an_engine import StandingClock, encoded, session, write_journal

DAY_NS = 86_400 * 10**9
CLOSED_NS = EXAMPLES["session_closed"].wall_ns
OLD, YOUNGER, NEWEST = "20261101T000000-aaaaaa", "20261102T000000-bbbbbb", "20261120T000000-cccccc"
LONG_AFTER_NS = CLOSED_NS + 100 * DAY_NS


def a_session(closed_ns=CLOSED_NS, venue_mode="sim", ticks=4):
    records = session(ticks)
    return [
        records[0]._replace(venue_mode=venue_mode), *records[1:-1], records[-1]._replace(wall_ns=closed_ns),
    ]  # fmt: skip


def journal(home, uid, records=None, *, store=True):
    path = write_journal(home / "j", encoded(records or a_session(), uid), uid)
    if store:
        list(backfill(home / "k.db", [path], StandingClock()))
    return path


@pytest.fixture(scope="module")
def stored_once(tmp_path_factory):
    home = tmp_path_factory.mktemp("stored")
    for number, uid in enumerate((OLD, YOUNGER, NEWEST)):
        journal(home, uid, a_session(CLOSED_NS + number * DAY_NS))
    return home


@pytest.fixture
def home(stored_once, tmp_path):
    """Three sessions, closed a day apart, all of them in the database."""
    return Path(shutil.copytree(stored_once, tmp_path / "home"))


def judged(home, keep_days=30.0, wall_ns=LONG_AFTER_NS, *paths):
    with reading(home / "k.db") as conn:
        found = judge_all(conn, paths or sorted((home / "j").glob("*.kj")), keep_days, wall_ns)
        return {one.path.stem: one.kept_because for one in found}


def tamper(home, sql):
    conn = apsw.Connection(str(home / "k.db"))
    conn.execute(sql)
    assert conn.changes()
    conn.close()


def test_given_old_sessions_that_are_wholly_stored_when_judged_then_all_but_the_newest_may_go_oldest_first(home):
    assert list(judged(home).items()) == [
        (OLD, None), (YOUNGER, None), (NEWEST, "the newest of its directory: the engine's past"),
    ]  # fmt: skip


def test_given_a_single_old_journal_named_when_judged_then_its_directory_still_says_which_is_the_newest(home):
    assert judged(home, 30, LONG_AFTER_NS, journal_path(home / "j", NEWEST))[NEWEST].startswith("the newest")
    assert judged(home, 30, LONG_AFTER_NS, journal_path(home / "j", OLD)) == {OLD: None}


@pytest.mark.parametrize("last", ["replay", "empty", "torn"])
def test_given_a_newest_that_says_nothing_of_the_engine_when_judged_then_the_one_that_does_is_kept_too(home, last):
    later = "20261121T000000-dddddd"
    if last == "replay":
        journal(home, later, a_session(venue_mode="replay"))
    else:
        journal_path(home / "j", later).write_bytes(b"" if last == "empty" else HEADER[:4])

    reasons = judged(home)

    assert reasons[NEWEST] == "the newest of its directory: the engine's past"
    assert reasons[later] is not None
    assert reasons[OLD] is None


def test_given_a_copy_that_sorts_last_when_judged_then_the_newest_that_bears_its_own_name_is_kept_too(home):
    shutil.copy(journal_path(home / "j", OLD), home / "j" / "old.kj")

    kept = judged(home)

    assert {name for name, reason in kept.items() if reason == "the newest of its directory: the engine's past"} == {
        "old", NEWEST,
    }  # fmt: skip


# --- age


@pytest.mark.parametrize(
    ("keep_days", "age_ns", "goes"),
    [
        (30, 30 * DAY_NS, False),  # not older than
        (30, 30 * DAY_NS + 1, True),
        (0, 1, True),
        (0, 0, False),
        (0.5, DAY_NS // 2 + 1, True),
        (0, -1, False),
        (0, -400 * DAY_NS, False),
    ],
)
def test_given_an_age_when_judged_then_only_what_is_older_goes_and_a_clock_ahead_proves_nothing(
    home, keep_days, age_ns, goes
):
    reason = judged(home, keep_days, CLOSED_NS + age_ns)[OLD]

    assert (reason is None) is goes
    if age_ns < 0:
        assert reason.startswith("closed in the future: 2025-")


# --- what is kept, and why


def break_byte(path, at):
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def harmed(home, how):  # noqa: PLR0912 - one table of harms
    path = journal_path(home / "j", OLD)
    whole = path.read_bytes()
    if how == "corrupt":
        break_byte(path, 700)
    elif how == "torn":
        path.write_bytes(whole + b"half")
    elif how == "repaired":
        path.write_bytes(whole + b"half")
        repair(path)
        assert path.read_bytes() == whole
    elif how == "renamed":
        path.rename(home / "j" / "20261101T000000-zzzzzz.kj")
    elif how == "records after the end":
        path.write_bytes(whole + frame(encode(OLD, len(a_session()), EXAMPLES["tick"])))
    elif how == "not closed":
        path.unlink()
        write_journal(home / "j", encoded(a_session(), OLD)[:-1], OLD)
    elif how == "records repeated":
        path.unlink()
        payloads = encoded(a_session(), OLD)
        write_journal(home / "j", [*payloads[:3], *payloads[2:]], OLD)
    elif how == "foreign":
        path.write_bytes(b"something else")
    elif how == "one value differs":
        tamper(home, f"UPDATE fills SET price = '1.30557' WHERE {MINE}")
    elif how == "one row lacks":
        tamper(home, f"DELETE FROM order_events WHERE {MINE}")
    elif how == "not all stored":
        tamper(home, f"UPDATE telemetry_offsets SET next_seq = 4, journal_position = NULL WHERE session_uid = '{OLD}'")
    elif how == "never stored":
        for table in ("system_metrics", "mode_transitions", "order_events", "fills", "inventory_truth_snapshots"):
            tamper(home, f"DELETE FROM {table} WHERE {MINE}")
        tamper(home, f"UPDATE telemetry_offsets SET next_seq = 0 WHERE session_uid = '{OLD}'")
    elif how == "gap":
        tamper(
            home,
            "INSERT INTO telemetry_gaps(session_uid, first_seq, last_seq, missing_from, reason, filled)"
            f" VALUES ('{OLD}', 2, 2, 2, 'no journal', 0)",
        )
    elif how == "reject":
        tamper(
            home,
            "INSERT INTO telemetry_rejects(session_uid, seq, source, reason, payload, payload_bytes)"
            f" VALUES ('{OLD}', 2, 'socket', 'x', x'00', 1)",
        )


MINE = f"session_id = (SELECT session_id FROM sessions WHERE session_uid = '{OLD}')"
HARMS = {
    "corrupt": "damaged: ",
    "torn": "torn tail of 4 bytes",
    "repaired": "what a repair took out of it still lies beside it",
    "renamed": "the file should be called",
    "records after the end": "closed, and records after that",
    "not closed": "not closed",
    "records repeated": "records missing or repeated",
    "foreign": "not a Kedge journal",
    "one value differs": "fills.price is '1.30557', recorded was '1.30556'",
    "one row lacks": "no row in order_events",
    "not all stored": "row ",
    "never stored": "belongs to no record of this journal up to its offset",
    "gap": "row ",
    "reject": "other bytes took its place",
}


@pytest.mark.parametrize("how", HARMS)
def test_given_anything_wrong_with_journal_or_rows_when_judged_then_it_is_kept_and_the_reason_is_said(home, how):
    harmed(home, how)

    reasons = judged(home)

    (reason,) = [reason for uid, reason in reasons.items() if uid.startswith("20261101")]
    assert HARMS[how] in reason
    assert "\n" not in reason
    assert reasons[YOUNGER] is None, "one bad journal does not keep the others"


# --- deleting


def first_to_go(home):
    with reading(home / "k.db") as conn:
        return next(judge_all(conn, sorted((home / "j").glob("*.kj")), 30, LONG_AFTER_NS))


def test_given_a_journal_that_may_go_when_deleted_then_its_mark_goes_too_and_nothing_else(home):
    for name in (f"{OLD}{REFUSED_SUFFIX}", f"{YOUNGER}{REFUSED_SUFFIX}", ENGINE_LOCK, f"{OLD}.kj.note"):
        (home / "j" / name).touch()
    before = {path.name for path in (home / "j").iterdir()}

    delete(first_to_go(home))

    assert before - {path.name for path in (home / "j").iterdir()} == {f"{OLD}.kj", f"{OLD}{REFUSED_SUFFIX}"}


def test_given_a_journal_that_has_changed_since_when_deleted_then_it_is_left_alone(home):
    going = first_to_go(home)
    with going.path.open("ab") as file:
        file.write(b"more")

    with pytest.raises(KedgeError, match="changed since it was compared"):
        delete(going)
    assert going.path.exists()


def test_given_a_journal_that_has_gone_when_deleted_then_one_line_says_so(home):
    going = first_to_go(home)
    going.path.unlink()

    with pytest.raises(KedgeError, match=r"\.kj: cannot delete the journal: No such file"):
        delete(going)


@pytest.mark.skipif(os.name != "posix", reason="descriptors by number are POSIX")
def test_given_a_database_with_a_log_when_synced_then_both_files_are(home, monkeypatch):
    wal = home / "k.db-wal"
    wal.write_bytes(b"")
    synced = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.fstat(fd).st_ino))

    sync_database(home / "k.db")

    assert synced == [wal.stat().st_ino, (home / "k.db").stat().st_ino], "the log first: the database leans on it"


@pytest.mark.skipif(os.name != "posix", reason="descriptors by number are POSIX")
def test_given_a_link_to_a_database_when_synced_then_the_log_beside_the_file_itself_is(home, monkeypatch):
    wal = home / "k.db-wal"
    wal.write_bytes(b"")
    (home / "elsewhere").mkdir()
    link = home / "elsewhere" / "link.db"
    link.symlink_to(home / "k.db")
    synced = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.fstat(fd).st_ino))

    sync_database(link)

    assert synced == [wal.stat().st_ino, (home / "k.db").stat().st_ino]


def test_given_the_disk_refuses_when_the_database_is_synced_then_one_line_says_so(home, monkeypatch):
    def failing(_fd):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(prune.os, "fsync", failing)
    with pytest.raises(KedgeError, match=r"k\.db: cannot sync the database: Input/output error"):
        sync_database(home / "k.db")
