"""Who may import what: the rooms by import-linter (.importlinter), single files and outside modules here."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("shared", "engine_proc", "telemetry_proc")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))

# Composition: the only places that may know clocks, chance and concrete classes.
COMPOSITION = (
    "shared/clock.py",
    "*/app.py",
    "*/__main__.py",
    "engine_proc/edges.py",
    "engine_proc/live.py",
    "engine_proc/cli*.py",
    "telemetry_proc/cli_*.py",
)
# The replay command compares what one journal fed the engine with what came out again: three files, one feature.
REPLAY = {("engine_proc/replay.py", "feed_replay"), ("engine_proc/venue_replay.py", "feed_replay")}

CLOCKS_AND_CHANCE = {"time", "random", "uuid", "secrets"}
READINGS_OF_DATES = {"now", "utcnow", "today"}  # of datetime and date; formatting with them is fine
READINGS_OF_ANYTHING = {"time", "sleep", "monotonic", "perf_counter", "urandom"}


def room_of(path):
    """`engine_proc/gate.py`: how a file is named in messages and lists."""
    return path.relative_to(ROOT).as_posix()


def imported(tree):
    """Every module that a file imports, dotted, with `from a import b` given as both `a` and `a.b`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, node.module or ""
            for alias in node.names:
                yield node.lineno, f"{node.module}.{alias.name}"


def is_composition(path):
    return any(path.relative_to(ROOT).match(pattern) for pattern in COMPOSITION)


def clock_trouble(tree):
    """What in a file reads a clock, sleeps or draws chance by itself."""
    for line, module in imported(tree):
        if module.partition(".")[0] in CLOCKS_AND_CHANCE:
            yield f"line {line}: imports {module}"
    dates = {"datetime", "date"} | {
        alias.asname
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "datetime"
        for alias in node.names
        if alias.asname
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in READINGS_OF_DATES:
            receiver = node.value.attr if isinstance(node.value, ast.Attribute) else getattr(node.value, "id", "")
            if receiver in dates:
                yield f"line {node.lineno}: {receiver}.{node.attr}"
        called = node.func if isinstance(node, ast.Call) else None
        if isinstance(called, ast.Attribute) and called.attr in READINGS_OF_ANYTHING:
            yield f"line {node.lineno}: calls .{called.attr}()"


def edge_trouble(path, tree):
    """Which concrete feed or venue a file knows that is none of its business, or which edge knows the engine."""
    for line, module in imported(tree):
        package, _, name = module.partition(".")
        name = name.partition(".")[0]
        if package != "engine_proc":
            continue
        allowed = is_composition(path) or (room_of(path), name) in REPLAY
        if name.startswith(("feed_", "venue_")) and not allowed:
            yield f"line {line}: imports {name}; speak to a Feed or Venue (ports.py) and let app.py choose"
        if path.name.startswith(("feed_", "venue_")) and name in {"engine", "app"}:
            yield f"line {line}: a feed or venue must not know {name}"


def zmq_trouble(path, tree):
    """Sockets belong to the two ends, their keys to one file, and nobody else needs ZeroMQ."""
    if path.name in {"push_socket.py", "inbox.py", "curve.py"}:
        return
    for line, module in imported(tree):
        if module.partition(".")[0] == "zmq":
            yield f"line {line}: imports zmq; only push_socket.py, inbox.py and curve.py deal with sockets"


@pytest.mark.parametrize("path", SOURCES, ids=room_of)
def test_given_a_file_when_read_then_it_imports_only_what_it_may(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))

    trouble = [*edge_trouble(path, tree), *zmq_trouble(path, tree)]
    if not is_composition(path):
        remedy = "take a Clock (shared/clock.py) or Rng (engine_proc/ports.py) from composition instead"
        trouble += [f"{found}; {remedy}" for found in clock_trouble(tree)]

    assert not trouble, f"{room_of(path)}: " + "; ".join(trouble)


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import time", 1),
        ("from time import sleep as nap", 2),
        ("import random", 1),
        ("from datetime import datetime\ndatetime.now()", 1),
        ("import datetime\ndatetime.datetime.utcnow()", 1),
        ("from datetime import datetime as day\nstamp = day.now", 1),
        ("def wait(asyncio): asyncio.sleep(1)", 1),
        ("import os\nos.urandom(8)", 1),
        ("from datetime import UTC, datetime\ndatetime.fromtimestamp(0, tz=UTC)", 0),
        ("def tick(clock, rung): return clock.now_ns() - clock.monotonic_ns(), rung.time, fair.now()", 0),
    ],
)
def test_given_a_sample_when_searched_for_clocks_then_what_is_banned_is_found_and_nothing_else(source, found):
    assert len(list(clock_trouble(ast.parse(source)))) == found


def test_given_samples_when_searched_for_edges_then_what_is_banned_is_found_and_nothing_else():
    def found(name, source):
        path = ROOT / "engine_proc" / name
        return len([*edge_trouble(path, ast.parse(source)), *zmq_trouble(path, ast.parse(source))])

    assert found("gate.py", "from engine_proc.venue_paper import PaperVenue") == 2
    assert found("gate.py", "from engine_proc import feed_sim") == 1
    assert found("feed_sim.py", "import engine_proc.engine") == 1
    assert found("gate.py", "import zmq") == 1
    assert found("app.py", "from engine_proc.venue_paper import PaperVenue") == 0
    assert found("push_socket.py", "import zmq") == 0
    assert found("gate.py", "from engine_proc.market import look") == 0


def test_given_the_contracts_between_rooms_when_import_linter_checks_them_then_all_are_kept():
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as check; check()"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout
