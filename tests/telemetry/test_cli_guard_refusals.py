"""`guard ...` where nothing may be concluded, or the command line makes no sense: a clear line, the right exit code."""

from __future__ import annotations

import json
import os
import pty
import re
import shlex
import shutil
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import apsw
import numpy as np
import pytest

from shared import cli
from shared.clock import SystemClock
from telemetry_proc import cli_guard_options, whatif
from telemetry_proc.__main__ import telemetry
from telemetry_proc.cli_guard import guard
from tests.telemetry.legacy_databases import SHAPES, legacy
from tests.telemetry.made_sessions import DAY_NS, noise, store_many
from tests.telemetry.recorded_session import calm_then_drag, opened

ROOT = Path(__file__).parents[2]
ONE_SETTING = ("--lookback", "25", "--bias", "7", "--prevalence-bps", "5", "--prevalence-pct", "40")
EVERY_COMMAND = ("replay", "explain", "whatif", "sweep", "recommend")
POSIX = pytest.mark.skipif(os.name != "posix", reason="signals, terminals and pipes as POSIX has them")


@pytest.fixture
def typed(capsys):
    """Type a command line; its exit code, stdout and stderr."""

    def run(*argv):
        code = cli.run(telemetry, [str(arg) for arg in argv])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture
def run(typed):
    """The same after `kedge-telemetry guard`."""
    return lambda *argv: typed("guard", *argv)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """Sessions 41, 42 and 43, begun within the last days; the guard tripped in each at tick 82."""
    path = tmp_path_factory.mktemp("recorded") / "kedge.db"
    with opened(path) as conn:
        errors = [[None if error is None else error + seed / 1000 for error in calm_then_drag()] for seed in range(3)]
        store_many(conn, errors, start_ns=SystemClock.wall_ns() - 3 * DAY_NS, per_day=2)
        for table in ("system_metrics", "circuit_breaker_events", "sessions"):
            conn.execute(f"UPDATE {table} SET session_id = session_id + 40")
    return path


@pytest.fixture
def path(recorded, tmp_path):
    shutil.copy(recorded, tmp_path / "kedge.db")
    return tmp_path / "kedge.db"


def change(path, sql):
    with closing(apsw.Connection(str(path))) as conn:
        conn.execute(sql)
        assert conn.changes()


# --- the record contradicts the guard's own code

_CONTEXT = "UPDATE circuit_breaker_events SET context_json = json_set(context_json, '$.{}', {}) WHERE session_id = 42"
CONTRADICTIONS = {
    "an error": (
        "UPDATE system_metrics SET anchor_error_bps = anchor_error_bps + 0.5 WHERE session_id = 42 AND tick = 30",
        r"tick 30: guard_mean_bps recorded -?\d+\.\d+, recomputed -?\d+\.\d+",
    ),
    "a mean": (
        "UPDATE system_metrics SET guard_mean_bps = 0.5 WHERE session_id = 42 AND tick = 31",
        r"tick 31: guard_mean_bps recorded 0\.5, recomputed -?\d+\.\d+",
    ),
    "a window": (
        "UPDATE system_metrics SET guard_window_n = 24 WHERE session_id = 42 AND tick = 60",
        r"tick 60: guard_window_n recorded 24, recomputed 25",
    ),
    "the sum": (
        _CONTEXT.format("sum_error_nano_bps", 175_000_000_001),
        r"tick 82: sum_error_nano_bps recorded 175000000001, recomputed \d+",
    ),
    "the count": (_CONTEXT.format("prevalent_n", 9), r"tick 82: prevalent_n recorded 9, recomputed \d\d"),
    "the tick": (_CONTEXT.format("tick", 84), r"tick 82: trip tick recorded 84, recomputed 82"),
    "the trip": (
        "DELETE FROM circuit_breaker_events WHERE session_id = 42", r"tick 82: trip tick recorded None, recomputed 82"
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", CONTRADICTIONS)
def test_given_a_record_that_contradicts_the_guard_when_anything_is_asked_then_4_and_no_conclusion(typed, path, what):
    for command in EVERY_COMMAND:
        assert typed("guard", command, "42", "--db", path)[0] == 0  # what is kept of it must not hide the change
    sql, expected = CONTRADICTIONS[what]
    change(path, sql)

    said = rf"error: session 42: the guard's replay disagrees with the record at {expected}\n"
    for command in EVERY_COMMAND[1:]:
        for json_too in ((), ("--json",)):
            code, out, err = typed("guard", command, "42", "--db", path, *json_too)
            assert (code, out) == (4, ""), command
            assert re.fullmatch(said, err), err
    code, out, err = typed("guard", "replay", "42", "--db", path)
    assert (code, bool(re.fullmatch(said, err))) == (4, True)
    assert out.startswith("session 42: MISMATCH: tick ")
    code, out, err = typed("guard", "replay", "42", "--db", path, "--json")
    assert (code, json.loads(out)["sessions"][0]["fidelity"]["state"]) == (4, "mismatch")
    code, out, err = typed("report", "42", "--db", path)
    assert (code, bool(re.search(said, err))) == (4, True)
    assert "replay MISMATCH" in out


def test_given_one_wrong_session_among_many_when_asked_for_all_then_nothing_is_concluded(run, path, tmp_path):
    change(path, CONTRADICTIONS["an error"][0])
    for command, *options in (("sweep",), ("sweep", "--json"), ("sweep", "-o", tmp_path / "s.npz"), ("recommend",)):
        code, out, err = run(command, "--db", path, *options)
        assert (code, out) == (4, "")
        assert err.startswith("error: session 42: ")
        assert len(err.splitlines()) == 1
    assert not (tmp_path / "s.npz").exists()
    assert run("sweep", "41", "43", "--db", path)[0] == 0


def test_given_a_session_and_all_of_them_when_replayed_then_usage_error(run, path):
    code, out, err = run("replay", "1", "--all", "--db", path)

    assert (code, out) == (2, "")
    assert err == "error: --all means every session, so no SESSION beside it\n"


def test_given_one_wrong_session_among_many_when_all_are_replayed_then_every_one_is_listed_and_4(run, path):
    change(path, CONTRADICTIONS["the tick"][0])

    code, out, err = run("replay", "--all", "--db", path)
    assert code == 4
    assert [line[:14] for line in out.splitlines()[:3]] == ["session 41: OK", "session 42: MI", "session 43: OK"]
    assert out.splitlines()[-1] == "3 sessions: 2 OK, 1 MISMATCH, 0 with nothing to compare"
    assert len(err.splitlines()) == 1
    code, out, _ = run("replay", "--all", "--db", path, "--json")
    assert code == 4
    assert [one["fidelity"]["state"] for one in json.loads(out)["sessions"]] == ["ok", "mismatch", "ok"]


def test_given_more_wrong_sessions_than_are_worth_naming_when_replayed_then_the_rest_is_counted(run, path, monkeypatch):
    monkeypatch.setattr(cli_guard_options, "COMPLAINTS_SHOWN_MAX", 1)
    change(path, "UPDATE system_metrics SET guard_mean_bps = 0.5 WHERE tick = 31")

    err = run("replay", "--all", "--db", path)[2].splitlines()
    assert (err[0][:18], err[1:]) == ("error: session 41:", ["error: and 2 sessions more"])


@pytest.mark.parametrize("value", ["'much'", "9e999", "x'00'"])
def test_given_a_stored_value_that_makes_no_sense_when_asked_then_session_and_tick_are_named(run, path, value):
    change(path, f"UPDATE system_metrics SET anchor_error_bps = {value} WHERE session_id = 42 AND tick = 30")
    for command in ("explain", "whatif", "sweep", "recommend"):
        code, out, err = run(command, *(("42",) if command != "recommend" else ()), "--db", path)
        assert (code, out) == (4, "")
        assert err.startswith("error: session 42: anchor_error_bps of tick 30 holds ")
        assert len(err.splitlines()) == 1
    code, out, err = run("replay", "--all", "--db", path)
    assert (code, len(err.splitlines())) == (4, 1)
    assert [line[:11] for line in out.splitlines()] == ["session 41:", "session 42:", "session 43:", "3 sessions:"]
    assert "UNREADABLE" in out.splitlines()[1]
    assert out.splitlines()[-1] == "3 sessions: 2 OK, 0 MISMATCH, 1 UNREADABLE, 0 with nothing to compare"
    broken = json.loads(run("replay", "42", "--db", path, "--json")[1])["sessions"][0]
    assert (broken["session"], broken["fidelity"], broken["ticks"]) == (42, None, None)
    assert broken["unreadable"].startswith("session 42: anchor_error_bps of tick 30")


# --- command lines that make no sense


@pytest.mark.parametrize("command", ["whatif", "sweep", "recommend"])
@pytest.mark.parametrize(
    ("option", "text"),
    [
        *[("--bias", text) for text in ("", " ", ",", "x", "nan", "inf", "-inf", "1e400", "-7", "0", "0x10", "7;8")],
        *[("--bias", text) for text in ("7:6", "4:10:0", "4:10:-1", "1:2:3:4", "6,,7", "4:10:1e-9", "1e999999999")],
        *[("--lookback", text) for text in ("1.5", "9001", "0", "-1", "1:9000", "10:", ":", "1e4", "nan")],
        *[("--prevalence-bps", text) for text in ("0", "-5", "NaN", "1e-10")],
        *[("--prevalence-pct", text) for text in ("101", "0", "40.05", "40%")],
    ],
)  # fmt: skip
def test_given_an_axis_that_makes_no_sense_when_asked_then_one_line_names_the_option(run, path, command, option, text):
    code, out, err = run(command, "--db", path, f"{option}={text}")
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {option}: ")
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("command", ["whatif", "sweep", "recommend"])
def test_given_too_many_combinations_when_asked_then_one_line_says_how_many(run, path, command):
    axes = ("--lookback", "10:150", "--bias", "4:10:0.01", "--prevalence-bps", "2:9", "--prevalence-pct", "10:80:5")
    code, out, err = run(command, "--db", path, *axes)
    assert (code, out) == (2, "")
    assert "141 x 601 x 8 x 15" in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("command", ["sweep", "recommend"])
def test_given_more_answers_than_memory_is_for_when_asked_then_one_line_says_so(run, path, command, monkeypatch):
    monkeypatch.setattr(whatif, "ANSWERS_MAX", 20_000)
    code, out, err = run(command, "--db", path)
    assert (code, out) == (2, "")
    assert "3 sessions x 10,000 combinations are more than 20,000" in err


@pytest.mark.parametrize(
    "since", ["", "yesterday", "30", "d", "-1d", "1.5d", "999999d", "2026-13-01", "30D", "2026-11-01T00"]
)
@pytest.mark.parametrize("command", ["sweep", "recommend"])
def test_given_a_since_that_makes_no_sense_when_asked_then_one_line_and_2(run, path, command, since):
    code, out, err = run(command, "--db", path, f"--since={since}")
    assert (code, out) == (2, "")
    assert err.startswith("error: --since ")
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    "options",
    [
        *[("--max-false", share) for share in ("", "0", "1", "2/1", "1/0", "-1/20", "5%", "nan", "inf", "1/20/3")],
        *[("--max-false", share) for share in ("1e-999999999", "1/99999", "0.00001", "0" * 5_000 + ".5")],
        *[("--max-miss", share) for share in ("1/1", "x")],
        *[("--max-delay-s", seconds) for seconds in ("0", "-1", "nan", "inf", "1e400", "soon", "604801")],
        *[("--beta-bps", bps) for bps in ("0", "-6", "nan", "inf", "1e-300", "1001")],
        *[("--seed", seed) for seed in ("-1", "1.5", "x")],
    ],
)  # fmt: skip
def test_given_a_budget_that_makes_no_sense_when_asked_for_a_recommendation_then_2(run, path, options):
    code, out, err = run("recommend", "--db", path, "=".join(options))
    assert (code, out) == (2, "")
    assert options[0] in err


@pytest.mark.parametrize("command", EVERY_COMMAND)
@pytest.mark.parametrize("session", ["nope", "44", "4", "20", "", "4 1", "41,42"])
def test_given_an_unknown_session_when_asked_then_one_line_and_2(run, path, command, session):
    code, out, err = run(command, "--db", path, session)
    assert (code, out) == (2, "")
    assert "no session" in err or "ambiguous" in err
    assert len(err.splitlines()) == 1


# --- databases that cannot be read


@pytest.mark.parametrize("command", EVERY_COMMAND)
def test_given_no_sessions_when_asked_then_3(run, tmp_path, command):
    with opened(tmp_path / "kedge.db"):
        pass
    for options in ((), ("--all",) if command == "replay" else ()):
        code, out, err = run(command, "--db", tmp_path / "kedge.db", *options)
        assert (code, out, err) == (3, "", "error: no sessions in this database yet\n")


@pytest.mark.parametrize("command", EVERY_COMMAND)
@pytest.mark.parametrize("state", ["missing", "a directory", "garbage"])
def test_given_no_database_when_asked_then_one_line_and_5(run, tmp_path, command, state):
    path = tmp_path / "kedge.db"
    if state == "a directory":
        path.mkdir()
    elif state == "garbage":
        path.write_text("this is not a database\n" * 100)
    code, out, err = run(command, "--db", path)
    assert (code, out) == (5, "")
    assert err.startswith(f"error: {path}: ")
    assert len(err.splitlines()) == 1
    assert not path.with_name("kedge.db.series").exists()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("command", EVERY_COMMAND)
def test_given_a_database_of_an_older_engine_when_asked_then_it_is_not_recorded_and_never_calm(
    run, tmp_path, shape, command
):
    path = tmp_path / "older.db"
    with legacy(path, SHAPES[shape]):
        pass
    for options in ((), ("--all",)) if command == "replay" else ((), ("--json",)):
        code, out, err = run(command, "--db", path, *options)
        if command == "replay" and code == 0:
            assert "not recorded: an older engine wrote its ticks" in out or "no recorded guard state" in out
            assert "OK:" not in out
        else:
            assert code in {3, 4, 5}
            assert out == ""
            assert len(err.splitlines()) == 1


@POSIX
@pytest.mark.skipif(os.name == "posix" and os.geteuid() == 0, reason="the superuser may write everywhere")
def test_given_a_directory_that_cannot_be_written_when_asked_then_a_note_and_the_answer(run, path, tmp_path):
    with closing(apsw.Connection(str(path))) as conn:
        conn.pragma("journal_mode", "DELETE")
    tmp_path.chmod(0o500)
    try:
        code, out, err = run("sweep", "--db", path, *ONE_SETTING)
    finally:
        tmp_path.chmod(0o700)
    assert code == 0
    assert "cannot be made" in err
    assert "3 sessions x 1 setting" in out


# --- where the output goes


@pytest.mark.parametrize("target", ["no/such/s.npz", ".", "kedge.db"])
def test_given_a_place_that_must_not_be_written_when_swept_then_one_line_and_nothing_harmed(run, path, target):
    before = path.read_bytes()
    code, out, err = run("sweep", "--db", path, "-o", path.parent / target, *ONE_SETTING)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: -o {path.parent / target}: ")
    assert len(err.splitlines()) == 1
    assert path.read_bytes() == before


@POSIX
def test_given_nowhere_to_write_to_when_swept_then_it_is_written_to(run, path):
    code, out, err = run("sweep", "--db", path, "-o", os.devnull, *ONE_SETTING)
    assert (code, err) == (0, f"first trips of 3 sessions x 1 setting to {os.devnull}\n")
    assert out
    assert not Path(os.devnull).is_file()


@POSIX
@pytest.mark.parametrize("term", ["xterm", "dumb"])
def test_given_a_terminal_when_swept_then_the_bar_goes_there_and_stdout_stays_data(path, term):
    ours, theirs = pty.openpty()
    argv = [sys.executable, "-m", "telemetry_proc", "guard", "sweep", "--db", str(path), "--json", *ONE_SETTING]
    try:
        with subprocess.Popen(
            argv, stdout=subprocess.PIPE, stderr=theirs, cwd=ROOT, env=os.environ | {"TERM": term}
        ) as swept:
            os.close(theirs)
            out, shown = swept.stdout.read(), _all_of(ours)
    finally:
        os.close(ours)
    assert swept.returncode == 0
    assert json.loads(out)["sessions"] == [41, 42, 43]
    assert (b"sessions" in shown and b"3/3" in shown) == (term == "xterm")
    assert b"\x1b" not in out


def _all_of(terminal):
    shown = b""
    while True:
        try:
            part = os.read(terminal, 65_536)
        except OSError:  # what Linux says when nobody holds the other end any more
            return shown
        if not part:
            return shown
        shown += part


@POSIX
def test_given_a_ctrl_c_when_sweeping_then_130_without_a_traceback(path, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)  # nobody reads from it, so the command never gets to its end
    change(path, "UPDATE sessions SET started_at = NULL, started_ns = NULL WHERE session_id = 41")
    argv = [
        sys.executable,
        "-m",
        "telemetry_proc",
        "guard",
        "sweep",
        "--since",
        "30d",
        "--db",
        str(path),
        "-o",
        str(pipe),
    ]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT) as swept:
        assert swept.stderr.readline().startswith(b"note: left out")  # it is at work
        swept.send_signal(signal.SIGINT)
        out, err = swept.communicate(timeout=30)
    assert (swept.returncode, out, err.strip()) == (130, b"", b"")


# --- help


@pytest.mark.parametrize("command", EVERY_COMMAND)
def test_given_the_examples_in_help_when_run_then_they_work(run, path, tmp_path, monkeypatch, command):
    code, out, _ = run(command, "--help")
    assert code == 0
    examples = re.findall(r"^ +kedge-telemetry guard (.*)$", out, flags=re.MULTILINE)
    assert len(examples) == 3
    monkeypatch.chdir(tmp_path)
    for example in examples:
        arguments = shlex.split(example.partition("|")[0])
        assert arguments[0] == command
        code, out, err = run(*arguments, "--db", path)
        assert code == (3 if "--exit-code" in arguments else 0), err
        assert out


def test_given_the_group_when_asked_for_help_then_every_command_is_listed_with_a_line(run):
    code, out, _ = run("--help")
    assert code == 0
    assert set(guard.commands) == set(EVERY_COMMAND)
    for command in EVERY_COMMAND:
        assert re.search(rf"^  {command}  +[A-Z].+", out, flags=re.MULTILINE)


def test_given_gaps_and_noise_when_every_json_is_read_then_no_number_of_it_is_nan(run, tmp_path):
    path = tmp_path / "kedge.db"
    rng = np.random.default_rng(3)
    with opened(path) as conn:
        errors = [noise(rng, 400).round(2).tolist() for _ in range(3)]
        store_many(conn, [*errors, [None] * 30, [5.0]])
        conn.execute("DELETE FROM system_metrics WHERE session_id = 2 AND tick BETWEEN 50 AND 90")
        conn.execute("UPDATE system_metrics SET ts_ns = NULL WHERE session_id = 3")
        conn.execute("DELETE FROM system_metrics WHERE session_id = 5")
    for command in ("replay", "explain", "whatif"):
        for number in range(1, 6):
            code, out, err = run(command, number, "--db", path, "--json")
            assert code in {0, 3}, err
            if code == 0:
                json.loads(out, parse_constant=pytest.fail)
    for command in ("sweep", "recommend"):
        code, out, _ = run(command, "--db", path, "--json")
        assert code == 0
        json.loads(out, parse_constant=pytest.fail)
        code, out, _ = run(command, "--db", path)
        assert code == 0
        assert not re.search(r"\bnan\b|\binf\b", out)
