"""`guard replay | explain | whatif | sweep` as a person types them, over databases that the writer could have left."""

from __future__ import annotations

import json
import shutil
from contextlib import closing
from itertools import product

import apsw
import numpy as np
import pytest

from shared import cli
from shared.clock import SystemClock
from shared.saturation import SaturationGuard, Thresholds
from telemetry_proc import cli_guard
from telemetry_proc.__main__ import telemetry
from tests.telemetry.made_sessions import DAY_NS, noise, store_many
from tests.telemetry.recorded_session import calm_then_drag, opened, store_session

ASKED = ("--lookback", "15,25", "--bias", "6,7", "--prevalence-bps", "5", "--prevalence-pct", "40,50")
AXES = ("lookback_ticks", "bias_threshold_bps", "prevalence_threshold_bps", "prevalence_pct")
ONE_SETTING = ("--lookback", "25", "--bias", "7", "--prevalence-bps", "5", "--prevalence-pct", "40")


@pytest.fixture
def run(capsys):
    """Type a command line after `kedge-telemetry guard`; its exit code, stdout and stderr."""

    def typed(*argv):
        code = cli.run(telemetry, ["guard", *map(str, argv)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return typed


@pytest.fixture
def asked(run):
    """The same with --json, for commands that must end well."""

    def typed(*argv):
        code, out, err = run(*argv, "--json")
        assert (code, err) == (0, "")
        assert len(out.splitlines()) == 1
        return json.loads(out, parse_constant=pytest.fail)

    return typed


def errors_of(seed, ticks=300):
    """Restless errors with NULLs, exact ties and a stretch that is dragged to one side."""
    rng = np.random.default_rng(seed)
    errors = noise(rng, ticks, 3.0, 0.7).round(1)
    errors[ticks // 2 : ticks // 2 + 60] += 7.0
    errors[rng.integers(0, ticks, 5)] = 7.0
    return [None if rng.random() < 0.1 else float(error) for error in errors]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """Sessions 1 to 5, recorded in full, begun within the last days."""
    path = tmp_path_factory.mktemp("recorded") / "kedge.db"
    with opened(path) as conn:
        began_ns = SystemClock.wall_ns() - 3 * DAY_NS
        calm = noise(np.random.default_rng(9), 200).tolist()
        store_many(conn, [*map(errors_of, range(3)), calm, [1.0, None, 2.0]], start_ns=began_ns, per_day=2)
    return path


@pytest.fixture
def path(recorded, tmp_path):
    shutil.copy(recorded, tmp_path / "kedge.db")
    return tmp_path / "kedge.db"


def by_the_live_guard(errors, lookback, bias, prevalence_bps, prevalence_pct):
    guard = SaturationGuard(Thresholds.of(
        lookback_ticks=lookback, bias_threshold_bps=bias, prevalence_threshold_bps=prevalence_bps,
        prevalence_pct=prevalence_pct,
    ))  # fmt: skip
    return next((tick for tick, error in enumerate(errors, 1) if guard.observe(error)), None)


def change(path, sql):
    with closing(apsw.Connection(str(path))) as conn:
        conn.execute(sql)
        assert conn.changes()


def from_elsewhere(path, errors, *, session_row=True, number=9):
    """A session of somebody else: errors by tick and no more."""
    with opened(path) as conn, conn:
        if session_row:
            conn.execute("INSERT INTO sessions(session_id, started_at) VALUES (?, '2026-11-22 10:00:00')", (number,))
        rows = [(number, tick, error) for tick, error in enumerate(errors, 1)]
        conn.executemany("INSERT INTO system_metrics(session_id, tick, anchor_error_bps) VALUES (?, ?, ?)", rows)


def from_an_older_engine(path, number=8):
    """Ticks without anchor error and guard."""
    from_elsewhere(path, [None] * 30, number=number)


# --- whatif


@pytest.mark.parametrize("seed", range(3))
def test_given_a_session_when_other_thresholds_are_asked_for_then_first_trips_are_the_live_guards(asked, path, seed):
    found = asked("whatif", seed + 1, "--db", path, *ASKED)

    assert (found["schema_version"], found["session"], found["fidelity"]["state"]) == (1, seed + 1, "ok")
    expected = [
        dict(zip((*AXES, "first_trip_tick"), (*setting, by_the_live_guard(errors_of(seed), *setting)), strict=True))
        for setting in product([15, 25], [6.0, 7.0], [5.0], [40.0, 50.0])
    ]
    assert [{name: result[name] for name in (*AXES, "first_trip_tick")} for result in found["results"]] == expected
    assert any(result["first_trip_tick"] for result in expected)
    assert found["live"] == found["unnamed"] == {**dict(zip(AXES, (25, 7.0, 5.0, 40.0), strict=True))}
    assert (found["may_hide_a_breach"], found["hiding"]) == (False, [])


@pytest.mark.parametrize("session_row", [True, False])
def test_given_a_session_filled_in_by_other_means_when_asked_then_it_is_answered_and_nothing_compared(
    run, asked, tmp_path, session_row
):
    path = tmp_path / "kedge.db"
    from_elsewhere(path, errors_of(2), session_row=session_row)

    for name in ("9", "latest"):
        found = asked("whatif", name, "--db", path, *ASKED)
        assert found["session"] == 9
        assert found["fidelity"]["state"] == "no recorded guard state to compare"
        assert found["live"] is None
        assert found["may_hide_a_breach"] is False  # every tick is there: never may be said
        assert [result["first_trip_tick"] for result in found["results"]] == [
            by_the_live_guard(errors_of(2), *setting) for setting in product([15, 25], [6.0, 7.0], [5.0], [40.0, 50.0])
        ]
    code, out, err = run("whatif", "9", "--db", path)
    assert (code, err) == (0, "")
    assert "no recorded guard state to compare" in out
    assert "thresholds not on record; those not named are the defaults 25 / 7 / 5 / 40%" in out
    assert "<- live" not in out
    swept = asked("sweep", "--db", path, *ASKED)
    assert (swept["sessions"], swept["not_compared"], swept["not_recorded"]) == ([9], [9], [])
    assert [result["first_trip_ticks"] for result in swept["results"]] == [
        [result["first_trip_tick"]] for result in found["results"]
    ]
    assert "1 session with no recorded guard state to compare" in run("sweep", "--db", path)[1]
    assert json.loads(run("replay", "9", "--db", path, "--json")[1])["sessions"][0]["fidelity"]["state"] == (
        "no recorded guard state to compare"
    )


@pytest.mark.parametrize("indexed", [True, False])
def test_given_a_session_without_a_row_beside_others_when_asked_by_number_then_it_is_found(asked, run, path, indexed):
    from_elsewhere(path, errors_of(1), session_row=False, number=77)
    if not indexed:
        with opened(path) as conn:
            named = "SELECT name FROM sqlite_master WHERE tbl_name = 'system_metrics' AND type = 'index'"
            for (name,) in conn.execute(named).fetchall():
                conn.execute(f"DROP INDEX {name}")

    assert asked("whatif", "77", "--db", path)["session"] == 77
    assert asked("whatif", "latest", "--db", path)["session"] == 5
    assert asked("sweep", "--db", path, *ASKED)["sessions"] == [1, 2, 3, 4, 5, 77]
    assert run("whatif", "78", "--db", path)[0] == 2


def test_given_no_threshold_when_asked_then_neighbouring_biases_around_the_live_setting(asked, run, path):
    results = asked("whatif", "1", "--db", path)["results"]

    assert [result["bias_threshold_bps"] for result in results] == [6, 6.5, 7, 7.5, 8]
    assert {tuple(result[name] for name in AXES if name != "bias_threshold_bps") for result in results} == {
        (25, 5.0, 40.0)
    }
    assert run("whatif", "1", "--db", path)[1].count("<- live") == 1


def test_given_too_few_errors_when_asked_then_never_armed_is_told_apart_from_never(asked, run, path):
    assert {result["outcome"] for result in asked("whatif", "5", "--db", path)["results"]} == {"never armed"}
    assert {result["outcome"] for result in asked("whatif", "4", "--db", path)["results"]} == {"never"}
    assert "never armed" in run("whatif", "5", "--db", path)[1]


def test_given_a_prevalence_above_the_bias_when_asked_then_the_answer_says_that_it_cannot_be_configured(run, path):
    mark = "refused by the configuration"
    assert mark in run("whatif", "1", "--db", path, "--bias", "4,6")[1]
    assert mark not in run("whatif", "1", "--db", path, "--bias", "5,6")[1]


def test_given_missing_ticks_when_asked_then_what_they_may_hide_is_said(asked, run, path):
    change(path, "DELETE FROM system_metrics WHERE session_id = 4 AND tick BETWEEN 100 AND 120")

    found = asked("whatif", "4", "--db", path)
    assert found["may_hide_a_breach"] is True
    assert found["hiding"] == ["21 missing ticks in 1 place"]
    assert found["fidelity"]["may_hide_a_breach"] is True
    assert "may have gone unseen" in run("whatif", "4", "--db", path)[1]
    assert asked("sweep", "--db", path, *ONE_SETTING)["may_hide_a_breach"] == [4]
    assert '1 session in which a trip may have gone unseen, so "never"' in run("sweep", "--db", path)[1]
    assert "21 missing in 1 gap" in run("replay", "4", "--db", path)[1]


def test_given_a_running_session_when_asked_then_never_is_only_so_far(asked, run, tmp_path):
    path = tmp_path / "kedge.db"
    with opened(path) as conn:
        store_session(conn, [0.5] * 40, status="RUNNING")

    assert "so far" in run("whatif", "--db", path)[1]
    assert "so far" in run("sweep", "--db", path)[1]
    assert asked("sweep", "--db", path, *ONE_SETTING)["running"] == [1]


# --- replay and explain


def test_given_sound_sessions_when_replayed_then_each_is_ok_and_counted(run, asked, path):
    from_an_older_engine(path)
    code, out, err = run("replay", "--all", "--db", path)

    assert (code, err) == (0, "")
    assert "session 1: OK: 300 ticks compared, trip at tick" in out
    assert "session 4: OK: 200 ticks compared, no trip on record" in out
    assert "session 8: not recorded: an older engine wrote its ticks" in out
    assert out.splitlines()[-1] == "6 sessions: 5 OK, 0 MISMATCH, 1 with nothing to compare"
    sessions = asked("replay", "--all", "--db", path)["sessions"]
    assert [(one["session"], one["fidelity"]["state"]) for one in sessions] == [
        (1, "ok"), (2, "ok"), (3, "ok"), (4, "ok"), (5, "ok"), (8, "not recorded"),
    ]  # fmt: skip
    assert {one["unreadable"] for one in sessions} == {None}
    assert asked("replay", "3", "--db", path)["sessions"][0]["uid"] == sessions[2]["uid"]


def test_given_a_session_when_explained_then_the_ladder_ends_at_the_recorded_trip(asked, run, path):
    found = asked("explain", "1", "--db", path)

    ladder = found["explanation"]["ladder"]
    assert ladder["both"]["tick"] == found["fidelity"]["recorded_trip_tick"]
    assert ladder["error"]["tick"] == next(
        tick for tick, error in enumerate(errors_of(0), 1) if error is not None and abs(error) >= 7
    )
    assert found["settings"]["bias_threshold_bps"] == 7.0
    assert [other["bias_threshold_bps"] for other in found["explanation"]["ladders"]] == [6, 6.5, 7, 7.5, 8]
    code, out, err = run("explain", "1", "--db", path)
    assert (code, err) == (0, "")
    assert "(d) both: trip" in out
    assert "Last condition met: " in out


@pytest.mark.parametrize(
    "errors",
    [[None, None], [0.0], calm_then_drag(), [9.0] * 60, [-9.0] * 24],
    ids=["nulls", "one", "drag", "at once", "unarmed"],
)
@pytest.mark.parametrize("enabled", [True, False])
def test_given_any_recorded_session_when_explained_then_text_and_json_are_whole(run, asked, tmp_path, errors, enabled):
    path = tmp_path / "kedge.db"
    with opened(path) as conn:
        store_session(conn, errors, guard={"enabled": enabled})

    assert set(asked("explain", "--db", path)) == {
        "schema_version", "session", "uid", "ticks", "fidelity", "settings", "explanation",
    }  # fmt: skip
    code, out, _ = run("explain", "--db", path)
    assert code == 0
    assert "nan" not in out.lower().replace("nanobps", "")
    assert asked("whatif", "--db", path)["results"]


def test_given_ticks_that_are_missing_when_explained_then_no_rung_is_called_never(run, tmp_path):
    path = tmp_path / "gap.db"
    with opened(path) as conn:
        store_session(conn, [0.5] * 200, status="RUNNING")
        conn.execute("DELETE FROM system_metrics WHERE tick BETWEEN 50 AND 90")

    code, out, _ = run("explain", "--db", path)
    assert code == 0
    assert 'still running: "never" is only so far' in out
    assert "(a) |error| >= 7 bps       not on what is stored" in out
    assert "A breach may be hidden: 41 missing ticks in 1 place." in out
    assert out.count("never") == 1


@pytest.mark.parametrize("number", [8, 9])
def test_given_no_recorded_guard_state_when_explained_then_nothing_is_concluded(run, path, number):
    from_an_older_engine(path)
    from_elsewhere(path, errors_of(1))
    for command in ("explain", "recommend"):
        code, out, err = run(command, number, "--db", path)
        assert (code, out) == (3, "")
        assert len(err.splitlines()) == 1


def test_given_thresholds_but_no_guard_columns_when_explained_then_nothing_is_concluded(run, asked, path):
    columns = "guard_window_n = NULL, guard_mean_bps = NULL, guard_prevalence_pct = NULL"
    change(path, f"UPDATE system_metrics SET {columns}")
    change(path, "DELETE FROM circuit_breaker_events")
    for command in ("explain", "recommend"):
        code, out, err = run(command, "1", "--db", path)
        assert (code, out) == (3, "")
        assert "no recorded guard state to compare" in err
        assert len(err.splitlines()) == 1
    assert asked("whatif", "1", "--db", path)["live"]["lookback_ticks"] == 25
    assert asked("sweep", "--db", path, *ONE_SETTING)["not_compared"] == [1, 2, 3, 4, 5]


# --- sweep


def test_given_sessions_when_swept_then_counts_and_ticks_are_the_live_guards(asked, path):
    found = asked("sweep", "1", "3", "2", "3", "5", "--db", path, *ASKED)

    assert found["sessions"] == [1, 2, 3, 5]
    assert [tuple(result[name] for name in AXES) for result in found["results"]] == list(
        product(*found["grid"].values())
    )
    for result in found["results"]:
        setting = [result[name] for name in AXES]
        ticks = [by_the_live_guard(errors_of(seed), *setting) for seed in range(3)]
        trips = sorted(tick for tick in ticks if tick)
        assert result["first_trip_ticks"] == [*ticks, None]
        assert result["sessions_tripped"] == len(trips)
        assert (result["sessions_never"], result["sessions_never_armed"]) == (3 - len(trips), 1)
        assert result["median_first_trip_tick"] == (trips[(len(trips) + 1) // 2 - 1] if trips else None)


def test_given_a_file_to_write_when_swept_then_it_holds_every_first_trip(run, path, tmp_path):
    target = tmp_path / "sweep.npz"
    code, _, err = run("sweep", "1", "2", "5", "--db", path, "-o", target, *ASKED)

    assert code == 0
    assert err == f"first trips of 3 sessions x 8 settings to {target}\n"
    with np.load(target, allow_pickle=False) as saved:
        assert saved["session_id"].tolist() == [1, 2, 5]
        axes = [saved[name].tolist() for name in AXES]
        for at, seed in ((0, 0), (1, 1)):
            expected = [by_the_live_guard(errors_of(seed), *setting) or 0 for setting in product(*axes)]
            assert saved["first_trip_tick"][at].ravel().tolist() == expected
        assert set(saved["first_trip_tick"][2].ravel().tolist()) == {-1}
    assert sorted(file.name for file in tmp_path.iterdir() if file.suffix == ".part") == []


def test_given_sessions_of_an_older_engine_when_swept_then_they_are_listed_and_not_counted_as_calm(run, asked, path):
    from_an_older_engine(path)

    found = asked("sweep", "--db", path, *ONE_SETTING)
    assert (found["sessions"], found["not_recorded"]) == ([1, 2, 3, 4, 5], [8])
    (result,) = found["results"]
    assert result["sessions_tripped"] + result["sessions_never"] + result["sessions_never_armed"] == 5
    code, out, err = run("sweep", "--db", path)
    assert (code, err) == (0, "")
    assert "1 session not recorded: no anchor error on any tick, which is not the same as calm" in out


def test_given_only_sessions_of_an_older_engine_when_asked_then_not_recorded_and_3(run, tmp_path):
    path = tmp_path / "kedge.db"
    from_an_older_engine(path)
    for command in ("whatif", "sweep", "explain"):
        code, out, err = run(command, "8", "--db", path)
        assert (code, out) == (3, "")
        assert "not recorded in session 8" in err


def test_given_ten_thousand_settings_when_swept_then_the_text_shows_those_around_the_live_one(run, asked, path):
    code, out, _ = run("sweep", "--db", path)
    assert code == 0
    assert "around 25 / 7 / 5 / 40%, one threshold at a time" in out
    assert out.count("  <-") == 1
    assert len(out.splitlines()) < 50
    assert len(asked("sweep", "--db", path)["results"]) == 10_000


def test_given_more_first_trips_than_anyone_reads_when_swept_then_the_object_leaves_them_out(asked, path, monkeypatch):
    monkeypatch.setattr(cli_guard, "CELLS_IN_JSON_MAX", 40)
    assert "first_trip_ticks" in asked("sweep", "--db", path, *ASKED)["results"][0]
    assert "first_trip_ticks" not in asked("sweep", "--db", path, *ASKED[2:])["results"][0]


def test_given_since_when_swept_then_only_sessions_that_began_since_by_the_wall_clock(run, asked, path):
    change(path, "UPDATE sessions SET started_at = '2020-01-01T00:00:00.000Z' WHERE session_id IN (1, 2)")
    change(path, "UPDATE sessions SET started_at = NULL, started_ns = NULL WHERE session_id = 3")
    code, out, err = run("sweep", "--db", path, "--since", "30d", "--json", *ONE_SETTING)
    assert json.loads(out)["sessions"] == [4, 5]
    assert err == "note: left out: 1 session without a recorded beginning\n"
    assert code == 0
    change(path, "UPDATE sessions SET started_at = '2020-01-01 12:00:00' WHERE session_id = 3")
    assert asked("sweep", "--db", path, "--since", "2020-01-01", *ONE_SETTING)["sessions"] == [1, 2, 3, 4, 5]
    assert asked("sweep", "--db", path, "--since", "2020-01-02", *ONE_SETTING)["sessions"] == [4, 5]
    code, out, err = run("sweep", "--db", path, "--since", "0d")
    assert (code, out) == (3, "")
    assert err.startswith("error: no session began since 20")


# --- the cache beside the database


def test_given_a_first_and_a_second_look_when_compared_then_both_say_the_same(run, path):
    first = run("sweep", "--db", path, "--json")
    assert path.with_name("kedge.db.series").is_dir()
    assert run("sweep", "--db", path, "--json") == first


@pytest.mark.parametrize("command", ["whatif", "explain", "sweep", "recommend"])
@pytest.mark.parametrize("obstacle", ["a file", "open to others"])
def test_given_a_cache_that_cannot_be_used_when_asked_then_a_note_and_the_same_answer(run, path, command, obstacle):
    expected = run(command, "1", "--db", path)
    beside = path.with_name("kedge.db.series")
    if obstacle == "a file":
        shutil.rmtree(beside)
        beside.write_text("no directory")
    else:
        beside.chmod(0o777)

    code, out, err = run(command, "1", "--db", path)
    assert (code, out) == expected[:2]
    assert err.startswith(f"note: {beside}: ")
    assert err.endswith("sessions are read anew each time\n")
    assert len(err.splitlines()) == 1


def test_given_a_changed_record_when_asked_again_then_the_cache_does_not_hide_it(run, path):
    assert run("whatif", "1", "--db", path)[0] == 0
    change(path, "UPDATE system_metrics SET anchor_error_bps = 0.125 WHERE session_id = 1 AND tick = 60")
    assert run("whatif", "1", "--db", path)[0] == 4
