"""Which sessions there are and which one is meant."""

from __future__ import annotations

import apsw
import pytest

from shared.errors import NotEnoughData, UsageError
from telemetry_proc.reading import reading
from telemetry_proc.sessions import pick, session_lines, sessions_json, sessions_text
from tests.telemetry.recorded_session import calm_then_drag, insert, opened, store_session


@pytest.fixture
def three(tmp_path):
    """Session 1 ended tripped, 2 runs, 3 is an older one that was backfilled last."""
    path = tmp_path / "kedge.db"
    with opened(path) as conn:
        store_session(conn, calm_then_drag(), uid="20261120T140209Z-7f3a", started_at="2026-11-20T14:02:09.000Z")
        store_session(
            conn,
            [1.0, None, 6.0, 5.0],
            uid="20261121T0000Z-aa",
            status="RUNNING",
            started_at="2026-11-21T00:00:00.000Z",
        )
        store_session(conn, [], uid="20250101T0000Z-old", started_at="2025-01-01T00:00:00.000Z")
    with reading(path) as conn:
        yield conn


@pytest.mark.parametrize(
    ("wanted", "number"),
    [("1", 1), ("latest", 2), ("3", 3), ("20261120", 1), ("20261121T0000Z-aa", 2), ("2025", 3)],
)
def test_given_a_name_when_picked_then_that_session_is_meant(three, wanted, number):
    assert pick(three, wanted).session_id == number


@pytest.mark.parametrize("wanted", ["2026", "202611"])
def test_given_a_prefix_of_several_when_picked_then_the_candidates_are_listed(three, wanted):
    with pytest.raises(UsageError, match=r"ambiguous.*1 \(20261120T140209Z-7f3a\), 2 \(20261121T0000Z-aa\)"):
        pick(three, wanted)


@pytest.mark.parametrize("wanted", ["4", "xyz", "", "-1", "99999999999999999999999"])
def test_given_an_unknown_name_when_picked_then_the_message_says_what_there_is(three, wanted):
    with pytest.raises(UsageError, match="there are 3, the latest is 2"):
        pick(three, wanted)


def test_given_a_uid_that_begins_another_when_picked_whole_then_it_is_meant(tmp_path):
    with opened(tmp_path / "kedge.db") as conn:
        store_session(conn, [], uid="abc")
        store_session(conn, [], uid="abcd")
        assert pick(conn, "abc").session_id == 1


def test_given_no_sessions_when_picked_then_not_enough_data(tmp_path):
    with opened(tmp_path / "kedge.db") as conn, pytest.raises(NotEnoughData):
        pick(conn, "latest")


def test_given_sessions_when_listed_then_a_running_one_is_counted_from_its_ticks(three):
    ended, running, empty = session_lines(three)

    assert (ended.ticks, ended.breaker_trips, ended.status) == (120, 1, "ENDED")
    assert ended.null_pct == pytest.approx(100 * 4 / 120)
    assert ended.error_above_5bps_pct == pytest.approx(100 * 60 / 116)
    assert (running.ticks, running.null_pct, running.breaker_trips) == (4, 25.0, 0)
    assert running.error_above_5bps_pct == pytest.approx(100 / 3)  # exactly 5 is not above 5
    assert (empty.ticks, empty.null_pct, empty.error_above_5bps_pct) == (0, None, None)


def test_given_sessions_when_printed_then_columns_line_up_and_json_has_one_object_each(three):
    lines = session_lines(three)
    text = sessions_text(lines)

    assert len(text) == 4
    assert text[0].split()[:4] == ["session", "uid", "status", "started"]
    assert text[3].split()[-2:] == ["-", "9c1e00aa"]
    assert [line["session"] for line in sessions_json(lines)["sessions"]] == [1, 2, 3]


def test_given_a_legacy_database_when_listed_then_what_it_lacks_is_not_recorded(tmp_path):
    path = tmp_path / "old.db"
    with apsw.Connection(str(path)) as old:
        old.execute("CREATE TABLE sessions (session_id INTEGER PRIMARY KEY, started_at TEXT)")
        old.execute("CREATE TABLE system_metrics (id INTEGER PRIMARY KEY, session_id INTEGER, mid REAL)")
        insert(old, "sessions", session_id=7, started_at="2024-05-01 10:00:00")
        insert(old, "system_metrics", session_id=7, mid=1.3)
        insert(old, "system_metrics", session_id=7, mid=None)
    old.close()
    with reading(path) as conn:
        (line,) = session_lines(conn)
        assert (line.session, line.uid, line.ticks, line.errors_recorded) == (7, None, 2, False)
        assert line.null_pct is line.error_above_5bps_pct is line.breaker_trips is None
        assert pick(conn, "latest").session_id == 7
        assert sessions_text([line])[1].split()[:3] == ["7", "-", "-"]
        assert sessions_text([line])[1].count("not recorded") == 3


@pytest.mark.parametrize(("errors", "null_pct", "above_pct"), [([None, None], 100.0, None), ([8.0, None], 50.0, 100.0)])
@pytest.mark.parametrize("status", ["RUNNING", "ENDED"])
def test_given_our_session_when_listed_then_missing_errors_are_missing_and_not_unrecorded(
    tmp_path, status, errors, null_pct, above_pct
):
    with opened(tmp_path / "kedge.db") as conn:
        store_session(conn, errors, status=status)
        (line,) = session_lines(conn)

    assert (line.errors_recorded, line.null_pct, line.error_above_5bps_pct) == (True, null_pct, above_pct)
    assert line.breaker_trips == 0
    assert "not recorded" not in sessions_text([line])[1]


def test_given_rows_filled_in_by_other_means_when_listed_then_their_errors_count(tmp_path):
    with opened(tmp_path / "kedge.db") as conn:
        insert(conn, "sessions", session_id=1)
        for tick, error in enumerate([6.0, None, 1.0, 5.0], 1):
            insert(conn, "system_metrics", session_id=1, tick=tick, anchor_error_bps=error)
        insert(conn, "sessions", session_id=2)
        insert(conn, "system_metrics", session_id=2, tick=1)
        insert(conn, "sessions", session_id=3)
        insert(conn, "circuit_breaker_events", breaker="drift", triggered_at="", created_at="", session_id=3)
        filled_in, bare, with_breaker = session_lines(conn)

    assert (filled_in.errors_recorded, filled_in.null_pct, filled_in.breaker_trips) == (True, 25.0, 0)
    assert filled_in.error_above_5bps_pct == pytest.approx(100 / 3)
    assert (bare.ticks, bare.errors_recorded, bare.null_pct, bare.breaker_trips) == (1, False, None, None)
    assert (with_breaker.errors_recorded, with_breaker.breaker_trips) == (False, 1)


def test_given_a_legacy_database_with_numbers_for_times_when_listed_and_picked_then_they_are_shown_as_they_are(
    tmp_path,
):
    path = tmp_path / "old.db"
    with apsw.Connection(str(path)) as old:
        old.execute("CREATE TABLE sessions (session_id INTEGER, started_at INTEGER)")
        insert(old, "sessions", session_id=7, started_at=1_700_000_000)
        insert(old, "sessions", session_id=8, started_at="2026-05-01T10:00:00.000Z")
        insert(old, "sessions", session_id=None, started_at=None)  # a number is what a session is named by
    old.close()
    with reading(path) as conn:
        lines = session_lines(conn)
        assert [(line.session, line.started_at) for line in lines] == [
            (7, "1700000000"),
            (8, "2026-05-01T10:00:00.000Z"),
        ]
        assert len(sessions_text(lines)) == 3
        assert pick(conn, "latest").session_id == 8


def test_given_a_database_without_sessions_table_when_listed_then_empty(tmp_path):
    path = tmp_path / "older.db"
    with apsw.Connection(str(path)) as old:
        old.execute("CREATE TABLE system_metrics (id INTEGER PRIMARY KEY, mid REAL)")
    old.close()
    with reading(path) as conn:
        assert session_lines(conn) == []


def test_given_a_wall_clock_set_back_between_two_sessions_when_the_latest_is_asked_for_then_the_later_one(tmp_path):
    with opened(tmp_path / "kedge.db") as conn:
        store_session(conn, [], started_at="2026-01-05T10:00:00Z")
        conn.execute("UPDATE sessions SET session_uid = NULL")  # as an older engine leaves it
        store_session(conn, [1.0], uid="20261120T140209113-7f3a9c", started_at="2026-11-20T14:02:09.113Z")
        # The engine names a session after all before it, whatever the clock says.
        store_session(conn, [2.0], uid="20261120T140209114-0b11aa", started_at="2026-11-20T08:00:00.000Z")
        assert pick(conn, "latest").session_id == 3
