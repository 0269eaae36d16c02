"""The reading commands as a person types them: what goes to stdout, what to stderr, and how they end."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import apsw
import pytest

from telemetry_proc import reading as reading_module
from tests.telemetry.recorded_session import calm_then_drag, opened, store_session

ROOT = Path(__file__).parents[2]
READING = ("sessions", "status", "report", "export", "watch")


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "kedge.db"
    with opened(path) as conn:
        store_session(conn, calm_then_drag(), uid="20261120T140209Z-7f3a")
        store_session(conn, [1.0, None, 2.0], uid="20261121T000000Z-aaaa", started_at="2026-11-21T00:00:00.000Z")
    return path


@pytest.mark.parametrize("command", ["sessions", "status", "report"])
def test_given_a_database_when_read_then_text_and_json_go_to_stdout_alone(run, path, command):
    code, out, err = run(command, "--db", path)
    assert (code, err) == (0, "")
    assert len(out.splitlines()) >= 3
    assert "\x1b" not in out  # not a terminal: no colour, no cursor

    code, out, err = run(command, "--db", path, "--json")
    assert (code, err) == (0, "")
    assert len(out.splitlines()) == 1
    assert json.loads(out, parse_constant=pytest.fail)["schema_version"] == 1


@pytest.mark.parametrize(("session", "number"), [("1", 1), ("20261120", 1), ("latest", 2), ("2", 2)])
def test_given_a_session_name_when_reported_then_that_session_is_told(run, path, session, number):
    code, out, _ = run("report", session, "--db", path, "--json")
    assert code == 0
    assert json.loads(out)["session"]["number"] == number


def test_given_no_session_name_when_reported_then_the_latest_is_told(run, path):
    assert json.loads(run("report", "--db", path, "--json")[1])["session"]["number"] == 2


@pytest.mark.parametrize(
    ("session", "complaint"),
    [("nope", "no session 'nope'"), ("2026", "ambiguous"), ("17", "no session '17'"), ("20", "no session")],
)
@pytest.mark.parametrize("command", ["report", "export"])
def test_given_an_unknown_or_ambiguous_session_when_read_then_usage_error(run, path, command, session, complaint):
    code, out, err = run(command, session, "--db", path)
    assert (code, out) == (2, "")
    assert complaint in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("command", ["sessions", "report", "export"])
def test_given_an_empty_database_when_read_then_not_enough_data(run, tmp_path, command):
    with opened(tmp_path / "kedge.db"):
        pass
    code, out, err = run(command, "--db", tmp_path / "kedge.db")
    assert (code, out) == (3, "")
    assert err == "error: no sessions in this database yet\n"


@pytest.mark.parametrize("command", ["sessions", "status", "report", "export"])
@pytest.mark.parametrize("state", ["missing", "garbage", "foreign", "locked"])
def test_given_an_unusable_database_when_read_then_one_line_and_5(run, tmp_path, monkeypatch, command, state):
    monkeypatch.setattr(reading_module, "BUSY_MS", 20)
    path = tmp_path / "kedge.db"
    other = None
    if state == "garbage":
        path.write_text("this is not a database\n" * 100)
    elif state != "missing":
        other = apsw.Connection(str(path))
        other.execute("CREATE TABLE songs (title TEXT)" if state == "foreign" else "CREATE TABLE sessions (session_id)")
        if state == "locked":
            other.execute("BEGIN EXCLUSIVE")
    try:
        code, out, err = run(command, "--db", path)
    finally:
        if other is not None:
            other.close()
    assert (code, out) == (5, "")
    assert str(path) in err
    assert len(err.splitlines()) == 1


def test_given_a_record_that_disagrees_with_the_guard_when_reported_then_the_page_and_4(run, path):
    with opened(path) as conn:
        conn.execute("UPDATE system_metrics SET guard_mean_bps = 0.5 WHERE session_id = 1 AND tick = 30")
    code, out, err = run("report", "1", "--db", path)
    assert code == 4
    assert "replay MISMATCH" in out
    assert "session 1: the guard's replay disagrees with the record at tick 30: guard_mean_bps recorded 0.5" in err

    code, out, _ = run("report", "1", "--db", path, "--json")
    assert code == 4
    assert json.loads(out)["guard"]["fidelity"] == "mismatch"


def test_given_a_session_when_exported_then_stdout_or_file_hold_the_same_csv(run, path, tmp_path):
    code, out, err = run("export", "2", "--csv", "--db", path)
    assert (code, err) == (0, "")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [row["anchor_error_bps"] for row in rows] == ["1.0", "", "2.0"]

    target = tmp_path / "ticks.csv"
    code, printed, err = run("export", "2", "--csv", "--db", path, "-o", target)
    assert (code, printed) == (0, "")
    assert "3 rows of system_metrics" in err
    assert target.read_text(encoding="utf-8") == out
    assert sorted(file.name for file in tmp_path.iterdir() if file.suffix in {".part", ".csv"}) == ["ticks.csv"]


def test_given_a_place_that_cannot_be_written_when_exported_then_one_line_and_1(run, path, tmp_path):
    code, _, err = run("export", "2", "--db", path, "-o", tmp_path / "no" / "such" / "x.csv")
    assert code == 1
    assert len(err.splitlines()) == 1
    assert "cannot write" in err


@pytest.mark.parametrize("output", [".", "", "/"])
def test_given_a_directory_when_exported_into_then_one_line_and_1(run, path, output):
    code, _, err = run("export", "2", "--db", path, "-o", output)
    assert code == 1
    assert "cannot write" in err


@pytest.mark.skipif(os.name != "posix", reason="pipes with a name are POSIX")
def test_given_a_pipe_when_exported_into_then_it_is_written_to_and_stays_a_pipe(run, path, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert run("export", "2", "--db", path, "-o", pipe)[0] == 0
        assert os.read(reader, 65_536).startswith(b"id,session_id")
    finally:
        os.close(reader)
    assert pipe.is_fifo()
    assert not (tmp_path / "pipe.part").exists()


@pytest.mark.parametrize("option", ["--timeout-s", "--interval-s"])
@pytest.mark.parametrize("seconds", ["nan", "-1"])
def test_given_no_number_of_seconds_when_watched_then_usage_error(run, path, option, seconds):
    assert run("watch", "--db", path, option, seconds)[0] == 2


def test_given_an_endless_interval_when_watched_then_usage_error(run, path):
    assert run("watch", "--db", path, "--timeout-s", "0", "--interval-s", "inf")[0] == 2


def test_given_an_unknown_table_when_exported_then_usage_error(run, path):
    code, _, err = run("export", "2", "--db", path, "--table", "sqlite_master")
    assert code == 2
    assert "system_metrics" in err


def test_given_an_ended_session_when_watched_until_closed_then_only_a_new_one_would_do(run, path):
    code, out, err = run("watch", "--db", path, "--until-closed", "--timeout-s", "0.05", "--interval-s", "0.01")
    assert code == 1
    assert out == f"waiting for a session in {path}\n"
    assert "no session to watch appeared within 0.05 s" in err


def test_given_a_configuration_when_no_database_is_named_then_its_database_and_journals_are_meant(run, path, tmp_path):
    config = tmp_path / "mine.yaml"
    config.write_text(f"telemetry:\n  database: {path.as_posix()}\n  journal_dir: {tmp_path.as_posix()}/none\n")
    code, out, _ = run("sessions", "-c", config, "--json")
    assert code == 0
    assert [session["session"] for session in json.loads(out)["sessions"]] == [1, 2]

    elsewhere = f"telemetry.database={(tmp_path / 'elsewhere.db').as_posix()}"
    code, _, err = run("sessions", "-c", config, "--set", elsewhere)
    assert code == 5
    assert "elsewhere.db" in err


def test_given_no_configuration_at_all_when_no_database_is_named_then_78(run, tmp_path):
    code, _, err = run("report", "-c", tmp_path / "none.yaml")
    assert code == 78
    assert "none.yaml" in err


def test_given_a_named_database_when_there_is_no_configuration_then_none_is_needed(run, path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for command in ("sessions", "status", "report", "export"):
        assert run(command, "--db", path)[0] == 0


@pytest.mark.parametrize("command", READING)
def test_given_any_command_when_asked_for_help_then_it_shows_real_examples(run, command):
    code, out, _ = run(command, "--help")
    assert code == 0
    assert out.count(f"kedge-telemetry {command}") == 3
    assert "--db" in out


def test_given_a_real_process_when_its_json_is_piped_then_another_program_reads_it(path):
    read = [sys.executable, "-m", "telemetry_proc", "report", "latest", "--json", "--db", str(path)]
    with subprocess.Popen(read, stdout=subprocess.PIPE, cwd=ROOT) as reader:
        tool = subprocess.run([sys.executable, "-m", "json.tool"], stdin=reader.stdout, capture_output=True, check=True)
    assert reader.returncode == 0
    assert json.loads(tool.stdout)["session"]["uid"] == "20261121T000000Z-aaaa"


def test_given_a_writer_in_mid_transaction_when_any_command_reads_then_it_is_answered(run, path):
    with opened(path) as writer:
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("INSERT INTO system_metrics(session_id, tick) VALUES (2, 4)")
        for command in ("sessions", "status", "report", "export"):
            assert run(command, "--db", path)[0] == 0
        writer.execute("COMMIT")


@pytest.mark.parametrize("command", ["sessions", "report", "status"])
def test_given_recorded_texts_that_move_the_cursor_when_read_then_they_are_spelled_out(run, path, command):
    with opened(path) as conn:
        conn.execute(
            "UPDATE sessions SET session_uid = ?, config_hash = ? WHERE session_id = 2", ("\x1b[2J\nu", "\x1b]0;t\x07")
        )

    code, out, err = run(command, "--db", path)

    assert (code, err) == (0, "")
    assert out.replace("\n", "").isprintable()
    assert command == "status" or "\\x1b[2J\\nu" in out
