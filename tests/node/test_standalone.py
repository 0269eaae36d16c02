"""Where a real node cannot be had, the proof says why in one line and skips."""

from __future__ import annotations

import sys

import pytest

from tests.node import __main__ as program
from tests.node import standalone

REFUSING_GO = "#!/bin/sh\necho 'go: downloading' >&2\necho 'go: the proxy says 403 Forbidden' >&2\nexit 1\n"


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine with nothing on its PATH and no node from an earlier run; the directory of its programs."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(standalone, "PROGRAMS", tmp_path / "cache")
    monkeypatch.setattr(sys, "argv", ["tests.node", "--node", "go-xrpl"])
    return tmp_path


def test_given_a_machine_without_go_when_the_proof_is_asked_for_then_it_says_so_and_skips(machine, capsys):
    assert program.main() == 0

    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("skipped: there is no Go here")


def test_given_a_module_that_go_cannot_get_when_the_proof_is_asked_for_then_it_says_why_and_skips(machine, capsys):
    go = machine / "go"
    go.write_text(REFUSING_GO)
    go.chmod(0o700)

    assert program.main() == 0

    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("skipped: ")
    assert "403 Forbidden" in line


def test_given_an_address_where_no_node_listens_when_the_proof_is_asked_for_then_it_fails(machine, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["tests.node", "--node", "ws://127.0.0.1:1"])

    assert program.main() == 1

    assert "no node answers on ws://127.0.0.1:1" in capsys.readouterr().out
