"""Sessions side by side: what makes them incomparable comes first, and twelve of them still fit a page."""

from __future__ import annotations

import json

import pytest

from telemetry_proc.report_text import PAGE_COLUMNS
from tests.telemetry.recorded_session import calm_then_drag, insert, opened, store_session

DIFFERENT = "The sessions ran with different guard settings: their trips do not compare."


@pytest.fixture
def path(tmp_path):
    """Two sessions alike, one of other settings, one whose guard was off, one of an older engine."""
    path = tmp_path / "k.db"
    with opened(path) as conn:
        store_session(conn, calm_then_drag(), uid="20261120T000000Z-0001")
        store_session(conn, [1.0] * 40, uid="20261121T000000Z-0002")
        store_session(conn, calm_then_drag(), uid="20261122T000000Z-0003", guard={"lookback_ticks": 15})
        store_session(conn, calm_then_drag(), uid="20261123T000000Z-0004", guard={"enabled": False})
        insert(conn, "sessions", session_id=5, started_at="2026-01-01T00:00:00Z")
        insert(conn, "system_metrics", session_id=5, tick=1, mid=1.3)
    return path


def cells(out, line):
    """The cells of a line of the table, without its name."""
    found = [row for row in out.splitlines() if row.startswith(line + "  ")]
    return [cell for row in found for cell in row[len(line) :].strip().split("  ") if cell.strip()]


def test_given_sessions_of_the_same_settings_when_compared_then_a_table_without_a_warning(run, path):
    code, out, err = run("report", "--compare", "1,2", "--db", path)

    assert (code, err) == (0, "")
    assert out.splitlines()[0].split() == ["session", "1", "2"]
    assert [cell.strip() for cell in cells(out, "trip")] == ["tick 82", "never tripped"]
    assert [cell.strip() for cell in cells(out, "first exceedance")] == ["tick 61", "never"]
    assert [cell.strip() for cell in cells(out, "lag")] == ["21 ticks (1 m 24 s)", "-"]


def test_given_different_settings_when_compared_then_that_is_said_first(run, path):
    for other in ("3", "4"):
        lines = run("report", "--compare", f"1,{other}", "--db", path)[1].splitlines()
        assert lines[:2] == [DIFFERENT, ""]
    out = run("report", "--compare", "1,3,4", "--db", path)[1]
    assert [cell.strip() for cell in cells(out, "guard")] == [
        "25 / 7 / 5 / 40%",
        "15 / 7 / 5 / 40%",
        "25 / 7 / 5 / 40%, off",
    ]
    assert [cell.strip() for cell in cells(out, "trip")][2] == "disabled"


def test_given_an_older_engine_s_session_when_compared_then_not_recorded_is_neither_calm_nor_different(run, path):
    code, out, _ = run("report", "--compare", "1,5", "--db", path)

    assert code == 0
    assert out.splitlines()[:3] == [
        "Guard settings not recorded for 5: nothing can be said of trips there.",
        "The sessions ran on different markets: their errors do not compare.",
        "",
    ]
    for line in ("guard", "replay", "nulls", "|error| p50", "at or above 5 bps", "armed", "trip", "fills"):
        assert cells(out, line)[-1].strip() == "not recorded", line
    found = json.loads(run("report", "--compare", "1,5", "--db", path, "--json")[1])
    assert found["same_settings"] is None


def test_given_sessions_when_compared_as_json_then_one_object_with_the_keys_of_their_reports(run, path):
    code, out, err = run("report", "--compare", "2,1,3", "--db", path, "--json")
    found = json.loads(out, parse_constant=pytest.fail)

    assert (code, err, len(out.splitlines())) == (0, "", 1)
    assert found.keys() == {"schema_version", "same_settings", "sessions"}
    assert found["same_settings"] is False
    assert [one["session"]["number"] for one in found["sessions"]] == [2, 1, 3]
    alone = json.loads(run("report", "1", "--db", path, "--json")[1])
    assert found["sessions"][1] == {key: alone[key] for key in found["sessions"][1]}
    assert json.loads(run("report", "--compare", "1,2", "--db", path, "--json")[1])["same_settings"] is True


def test_given_twelve_sessions_when_compared_then_every_line_fits_and_every_session_is_there(run, tmp_path):
    path = tmp_path / "many.db"
    with opened(path) as conn:
        for number in range(1, 13):
            store_session(conn, [1.0] * 30, uid=f"20261120T0000{number:02}Z-aaaa")
    code, out, _ = run("report", "--compare", ",".join(map(str, range(1, 13))), "--db", path)

    assert code == 0
    assert max(map(len, out.splitlines())) <= PAGE_COLUMNS
    heads = [line.split()[1:] for line in out.splitlines() if line.startswith("session")]
    assert [number for head in heads for number in head] == [str(number) for number in range(1, 13)]
    assert len(heads) > 1
    assert out.count("\n\n") == len(heads) - 1


def test_given_a_hostile_name_when_compared_then_it_neither_breaks_the_line_nor_the_page(run, path):
    with opened(path) as conn:
        conn.execute("UPDATE sessions SET pair = ? WHERE session_id = 2", ("x\n\x1b[2J" + "y" * 300,))
    out = run("report", "--compare", "1,2,3", "--db", path)[1]

    assert "\x1b" not in out
    assert "paper x\\n\\x1b[2Jyyy" in out
    assert max(map(len, out.splitlines())) <= PAGE_COLUMNS


def test_given_a_session_whose_replay_disagrees_when_compared_then_the_table_says_so_and_4(run, path):
    with opened(path) as conn:
        conn.execute("UPDATE system_metrics SET guard_mean_bps = 0.5 WHERE session_id = 2 AND tick = 30")
    code, out, err = run("report", "--compare", "1,2", "--db", path)

    assert code == 4
    assert [cell.strip() for cell in cells(out, "trip")] == ["tick 82", "MISMATCH"]
    assert err.startswith("error: session 2: the guard's replay disagrees")


@pytest.mark.parametrize(
    ("argv", "complaint"),
    [
        (("--compare", "1"), "takes 2 to 12 sessions"),
        (("--compare", ",".join(["1"] * 13)), "takes 2 to 12 sessions"),
        (("--compare", "1,1"), "names session 1 twice"),
        (("--compare", "1,20261120"), "names session 1 twice"),
        (("--compare", "1,99"), "no session '99'"),
        (("2", "--compare", "1,3"), "no SESSION beside it"),
        (("--compare", "1,2", "-o", "x.html"), "no HTML page"),
    ],
)
def test_given_sessions_that_cannot_be_compared_when_asked_then_one_line_and_2(run, path, argv, complaint):
    code, out, err = run("report", *argv, "--db", path)

    assert (code, out) == (2, "")
    assert complaint in err
    assert len(err.splitlines()) == 1
