"""`report --across`: the session among all sessions of its database, and the same verdict as `guard recommend`."""

from __future__ import annotations

import json

import pytest

from tests.telemetry.made_sessions import a_market, store_many
from tests.telemetry.recorded_session import insert, opened


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """Twelve sessions of one market, three with a saturated stretch, and one of an older engine without errors."""
    path = tmp_path_factory.mktemp("across") / "kedge.db"
    with opened(path) as conn:
        store_many(conn, a_market(12))
        insert(conn, "sessions", session_uid=None, started_at="2024-01-01T00:00:00Z")
        older = conn.last_insert_rowid()
        insert(conn, "system_metrics", session_id=older, tick=1, ts_ns=1)
    return path


def test_given_many_sessions_when_reported_across_then_the_page_ends_with_what_recommend_says(run, path):
    _, judged, _ = run("guard", "recommend", "--db", path)
    code, page, err = run("report", "4", "--across", "--db", path)
    assert (code, err) == (0, "")
    own, _, together = page.partition("\n\nAll sessions together:\n")
    assert own.startswith("Session 4 ")
    assert together == judged
    assert together.startswith("VERDICT  NOT ENOUGH DATA")


def test_given_many_sessions_when_reported_across_then_the_object_has_points_and_rungs_for_the_plots(run, path):
    code, out, _ = run("report", "4", "--across", "--json", "--db", path)
    assert code == 0
    among = json.loads(out)["across"]
    assert among["verdict"] == "NOT ENOUGH DATA"
    live = [point for point in among["operating"] if point["role"] == "live"]
    assert [(point["lookback_ticks"], point["bias_threshold_bps"]) for point in live] == [(25, 7.0)]
    assert [rung["number"] for rung in among["sessions"]] == list(range(1, 13))  # the older session is no calm one
    tripped = {rung["number"] for rung in among["sessions"] if rung["trip_tick"] is not None}
    assert {4, 8, 12} <= tripped
    assert all(rung["first_exceedance_tick"] <= rung["trip_tick"] for rung in among["sessions"] if rung["trip_tick"])


def test_given_no_across_when_reported_then_nothing_is_said_of_other_sessions(run, path):
    code, out, _ = run("report", "4", "--json", "--db", path)
    assert code == 0
    assert json.loads(out)["across"] is None


def test_given_across_when_the_page_is_made_again_from_its_json_then_it_is_the_same(run, path, tmp_path):
    saved, direct, again = tmp_path / "report.json", tmp_path / "direct.html", tmp_path / "again.html"
    code, out, _ = run("report", "4", "--across", "--json", "-o", direct, "--db", path)
    assert code == 0
    saved.write_text(out, encoding="utf-8")
    assert run("report", "--from", saved, "-o", again)[0] == 0
    assert direct.read_bytes() == again.read_bytes()
    assert b'id="across"' in direct.read_bytes()


def test_given_another_sessions_record_that_was_changed_when_reported_across_then_nothing_is_concluded(
    run, path, tmp_path
):
    broken = tmp_path / "broken.db"
    with opened(broken) as conn:
        store_many(conn, a_market(3))
        conn.execute("UPDATE system_metrics SET anchor_error_bps = 9.0 WHERE session_id = 2 AND tick = 50")
    code, out, err = run("report", "1", "--across", "--db", broken)
    assert (code, out) == (4, "")
    assert err.startswith("error: session 2: the guard's replay disagrees with the record at tick 50")


@pytest.mark.parametrize("beside", [("--compare", "1,2"), ("--from", "saved.json")])
def test_given_across_beside_an_option_that_excludes_it_then_it_says_so(run, path, tmp_path, monkeypatch, beside):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "saved.json").write_text("{}", encoding="utf-8")
    code, out, err = run("report", *beside, "--across")
    assert (code, out) == (2, "")
    assert "--across" in err
