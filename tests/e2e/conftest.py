"""Fixtures whose clean-up runs last-in first-out: processes end before their directory goes."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.pair import Home, Process


@pytest.fixture
def cleanup() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def home(cleanup: ExitStack) -> Home:
    """A directory of its own with a short path, because a socket's path may have 107 bytes at most."""
    directory = Path(tempfile.mkdtemp(prefix="kedge-"))
    cleanup.callback(shutil.rmtree, directory)
    return Home(directory)


@pytest.fixture
def started(cleanup: ExitStack) -> Callable[[Process], Process]:
    """Registers a process for the end of the test."""

    def register(process: Process) -> Process:
        cleanup.callback(process.close)
        return process

    return register
