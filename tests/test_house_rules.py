"""The house rules, so that `pytest` alone is the whole judgement. Every message says what to do."""

from __future__ import annotations

import ast
import fnmatch
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("shared", "engine_proc", "telemetry_proc")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))

FILE_LINES_MAX = 400
TEST_FILE_LINES_MAX = 600
FUNCTION_LINES_MAX = 60
DRAWERS = {"util", "utils", "helper", "helpers", "manager", "managers", "common", "core", "misc", "base"}
TOP_LEVEL = {
    *PACKAGES,
    "config",
    "docs",
    "tests",
    "pyproject.toml",
    "requirements.lock",
    "supervisor.conf",
    "Makefile",
    "README.md",
    "LICENSE",
    ".ci",
    ".gitignore",
    ".gitattributes",
    ".importlinter",
}
# Spelled in pieces, so that this file does not find itself.
UNFINISHED = re.compile(
    r"\b(TO" r"DO|FIX" r"ME|X" r"XX|TB" r"D|lorem ip" r"sum|place" r"holder|to be wr" r"itten)\b", re.IGNORECASE
)
MACHINE_PATH = re.compile(r"(?<![\w.])(/ho" r"me/\w|/ro" r"ot/|/Us" r"ers/\w|/wo" r"rk/|[A-Z]:\\Us" r"ers)")


def room_of(path):
    """`engine_proc/gate.py`: how a file is named in messages."""
    return path.relative_to(ROOT).as_posix()


def written_files():
    """Every text file that people write here: sources, tests, settings, documents."""
    folders = (*PACKAGES, "config", "docs", "tests", ".ci")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file()]
    files += [ROOT / name for name in TOP_LEVEL - {"requirements.lock"} if (ROOT / name).is_file()]
    return sorted(path for path in files if path.suffix not in {".gz", ".pyc", ".png", ".json"})


# --- size and names


@pytest.mark.parametrize("path", SOURCES, ids=room_of)
def test_given_a_source_file_when_measured_then_it_and_its_functions_fit_a_reader(path):
    text = path.read_text(encoding="utf-8")
    lines = len(text.splitlines())
    assert lines <= FILE_LINES_MAX, f"{room_of(path)} has {lines} lines, more than {FILE_LINES_MAX}: split it by topic"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= FUNCTION_LINES_MAX, (
                f"{room_of(path)}:{node.lineno} {node.name} has {length} lines, more than {FUNCTION_LINES_MAX}: "
                "name its steps"
            )


@pytest.mark.parametrize("path", TESTS, ids=room_of)
def test_given_a_test_file_when_measured_then_it_is_no_drawer_either(path):
    lines = len(path.read_text(encoding="utf-8").splitlines())

    assert lines <= TEST_FILE_LINES_MAX, f"{room_of(path)} has {lines} lines: split it by topic"


@pytest.mark.parametrize("path", SOURCES + TESTS, ids=room_of)
def test_given_a_module_when_named_then_it_is_a_word_of_the_domain(path):
    words = set(path.stem.lower().split("_"))

    assert not words & DRAWERS, f"{room_of(path)}: name the module after what it is about, not {words & DRAWERS}"


# --- errors


def is_broad(handler):
    """Catches everything and does not pass it on. A handler that ends in a bare `raise` swallows nothing."""
    caught = ast.walk(handler.type) if handler.type else [ast.Name("BaseException")]
    names = {node.id for node in caught if isinstance(node, ast.Name)}
    passes_on = isinstance(handler.body[-1], ast.Raise) and handler.body[-1].exc is None
    return bool(names & {"Exception", "BaseException"}) and not passes_on


@pytest.mark.parametrize(("package", "budget"), [("shared", 0), ("engine_proc", 1), ("telemetry_proc", 1)])
def test_given_a_process_when_searched_then_it_catches_everything_in_at_most_one_place(package, budget):
    broad = [
        f"{room_of(path)}:{node.lineno}"
        for path in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ExceptHandler) and is_broad(node)
    ]

    assert len(broad) <= budget, (
        f"{package} may catch everything {budget} times, at its edge: name the error at {broad}"
    )


@pytest.mark.parametrize(
    ("handler", "broad"),
    [
        ("except: pass", True),
        ("except Exception: pass", True),
        ("except (ValueError, BaseException) as e: print(e)", True),
        ("except Exception as e: raise RuntimeError from e", True),
        ("except BaseException:\n    close()\n    raise", False),
        ("except ValueError: pass", False),
    ],
)
def test_given_a_sample_handler_when_judged_then_broad_means_it_may_swallow_anything(handler, broad):
    statement = ast.parse(f"try: act()\n{handler}").body[0]

    assert is_broad(statement.handlers[0]) is broad


# --- finished, and at home anywhere


@pytest.mark.parametrize("path", written_files(), ids=room_of)
def test_given_a_written_file_when_searched_then_it_is_finished_and_knows_no_machine(path):
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        at = f"{room_of(path)}:{number}: "
        unfinished, machine = UNFINISHED.search(line), MACHINE_PATH.search(line)
        assert not unfinished, f"{at}finish it or open an issue: {unfinished[0]}"
        assert not machine, f"{at}a path of one machine; derive it from the file's own place: {machine[0]}"
        assert line == line.rstrip(), f"{at}white space at the end of the line"


def test_given_the_top_level_when_listed_then_everything_there_has_a_reason():
    ignored = {line.strip("/") for line in (ROOT / ".gitignore").read_text(encoding="utf-8").split()} | {".git"}
    present = {path.name for path in ROOT.iterdir()}

    strangers = {name for name in present - TOP_LEVEL if not any(fnmatch.fnmatch(name, rule) for rule in ignored)}

    assert not strangers, f"move {sorted(strangers)} into a folder, or say in TOP_LEVEL and the README why it is there"


def test_given_the_licence_when_read_then_it_is_mit():
    assert (ROOT / "LICENSE").read_text(encoding="utf-8").startswith("MIT License")


def test_given_the_lock_when_read_then_every_package_is_pinned_with_hashes_and_no_index_is_named():
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    requirements = text.replace("\\\n", " ").strip().splitlines()

    assert len(requirements) > 20
    assert not re.search(r"https?:|--(extra-)?index|--find-links|--trusted", text), "the lock must work with any index"
    for requirement in requirements:
        assert re.match(r"[A-Za-z0-9._-]+==[\w.]+ ", requirement), f"pin it: {requirement[:60]}"
        assert "--hash=sha256:" in requirement, f"hash it: {requirement[:60]}"


# --- the tools of the trade


@pytest.mark.parametrize(
    ("command", "remedy"),
    [
        (["ruff", "check", "--no-cache", "."], "mend what ruff names, or run: ruff check --fix ."),
        (["ruff", "format", "--no-cache", "--check", "."], "run: ruff format ."),
        (["mypy", f"--cache-dir={os.devnull}"], "mend the types that mypy names"),  # a stale cache once judged wrongly
    ],
    ids=["ruff-check", "ruff-format", "mypy"],
)
def test_given_the_whole_repository_when_a_tool_judges_it_then_it_has_nothing_to_say(command, remedy):
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, encoding="utf-8", check=False
    )

    assert done.returncode == 0, f"{remedy}\n{done.stdout}{done.stderr}"
