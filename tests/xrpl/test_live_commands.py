"""The commands of a live session as they are typed: what they refuse, in one line, and with which exit code."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from engine_proc.__main__ import engine
from shared import cli
from tests.xrpl.fake_node import BareLedger, FakeNode
from tests.xrpl.small_network import ADDRESS, OURS, STAGE1, Network, closing_ledgers, command_line, overrides

ROOT = Path(__file__).parents[2]
CONFIGURATION = 78


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch):
    for name in ("KEDGE_SET", "KEDGE_CONFIG", "KEDGE_LIVE", "KEDGE_XRPL_SEED"):
        monkeypatch.delenv(name, raising=False)


def refused(capsys, *argv):
    """The exit code and the line of a command that does not start."""
    code = cli.run(engine, argv)
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    return code, line


@pytest.mark.parametrize("by", ["option", "environment"])
def test_given_the_word_live_when_the_venue_is_paper_then_the_session_is_refused(tmp_path, monkeypatch, capsys, by):
    settings = ["-c", str(STAGE1), *(f"--set={each}" for each in overrides(tmp_path, "execution.venue=paper"))]
    if by == "environment":
        monkeypatch.setenv("KEDGE_LIVE", "1")

    code, line = refused(capsys, "run", *settings, *(["--live"] if by == "option" else []))

    assert code == CONFIGURATION
    assert "execution.venue" in line
    assert "--live" in line
    assert not (tmp_path / "journal").exists()


def test_given_a_live_venue_when_the_word_is_missing_then_the_session_is_refused(tmp_path, capsys):
    code, line = refused(capsys, "run", "-c", str(STAGE1), *(f"--set={each}" for each in overrides(tmp_path)))

    assert code == CONFIGURATION
    assert "--live" in line


@pytest.mark.parametrize("seconds", ["nan", "inf", "-1", "1e300"])
def test_given_any_number_of_seconds_when_everything_is_cancelled_then_no_traceback(
    tmp_path, monkeypatch, capsys, seconds
):
    monkeypatch.setenv("KEDGE_XRPL_SEED", OURS.seed)
    network = Network()

    with FakeNode(network.ledger) as node, closing_ledgers(node, 0.02):
        code = cli.run(engine, command_line("cancel-all", tmp_path, node, "--timeout-s", seconds))

    assert code == 2
    assert "--timeout-s" in capsys.readouterr().err


def test_given_a_node_of_another_network_when_the_doctor_looks_then_the_remedy_names_the_setting(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("KEDGE_XRPL_SEED", OURS.seed)

    with FakeNode(BareLedger(network_id=1)) as node:
        cli.run(engine, command_line("check", tmp_path, node, "--live"))

    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("fail  node")]
    assert "is on network 1" in line
    assert "xrpl.network_id is 63456" in line.partition("->")[2]
    assert ADDRESS not in line


def test_given_a_paper_venue_when_the_doctor_looks_then_one_line_says_that_no_live_session_starts(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("KEDGE_XRPL_SEED", OURS.seed)
    network = Network()

    with FakeNode(network.ledger) as node, closing_ledgers(node):
        cli.run(engine, command_line("check", tmp_path, node, "--live", "--set=execution.venue=paper"))

    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.split()[1] == "venue"]
    assert line.startswith("fail")
    assert "execution.venue: xrpl" in line.partition("->")[2]


@pytest.mark.parametrize("key", ["issuer", "account"])
@pytest.mark.parametrize("command", ["check", "run", "record"])
def test_given_a_typing_error_in_an_address_when_a_command_starts_then_it_is_refused_before_anybody_is_asked(
    tmp_path, capsys, key, command
):
    typo = ADDRESS[:-1] + ("x" if ADDRESS[-1] != "x" else "y")
    settings = [f"--set={each}" for each in overrides(tmp_path, f"xrpl.{key}={typo}")]
    output = ["-o", str(tmp_path / "tape.jsonl")] if command == "record" else []

    code, line = refused(capsys, command, "-c", str(STAGE1), *settings, *output)

    assert code == CONFIGURATION
    assert f"xrpl.{key}" in line
    assert "look for a typo" in line


def test_given_a_node_that_says_nothing_when_a_starting_session_is_told_to_stop_then_the_line_says_just_that(tmp_path):
    seed_file = tmp_path / "seed"
    seed_file.write_text(OURS.seed)
    seed_file.chmod(0o600)
    with FakeNode(BareLedger(network_id=63456)) as node:  # which never closes a ledger that is new to anybody
        node.backend.info["validated_ledger"] = {"age": 3_600, "seq": 1}
        argv = command_line("run", tmp_path, node, "--live", f"--set=xrpl.seed_file={seed_file}")
        with subprocess.Popen(
            [sys.executable, "-m", "engine_proc", *argv], stderr=subprocess.PIPE, text=True, cwd=ROOT
        ) as starting:
            node.await_command("subscribe", timeout_s=20)
            starting.send_signal(signal.SIGTERM)
            _, said = starting.communicate(timeout=20)

    assert starting.returncode == 1
    assert said.splitlines()[-1] == "error: told to stop before the session began; nothing was signed"
    assert OURS.seed not in said
    assert not list((tmp_path / "journal").glob("*.kj"))
