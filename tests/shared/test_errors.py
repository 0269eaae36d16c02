"""The tree in the docstring of errors.py is the tree in the code, exit codes included."""

from __future__ import annotations

import importlib
import inspect
import re

import pytest

from shared import errors
from shared.errors import KedgeError, RecordUnreadable

DRAWN = re.findall(r"^\W*([A-Z]\w+) +(\d+)   \S.*?(?:\(raised in (\S+)\.py\))?$", errors.__doc__, flags=re.MULTILINE)
DEFINED = {name for name, error in inspect.getmembers(errors, inspect.isclass) if issubclass(error, KedgeError)}


@pytest.mark.parametrize(("name", "exit_code", "raised_in"), DRAWN)
def test_given_an_error_in_the_drawn_tree_when_looked_up_then_it_exists_with_that_exit_code(name, exit_code, raised_in):
    module = importlib.import_module(raised_in.replace("/", ".")) if raised_in else errors
    error = getattr(module, name)

    assert issubclass(error, KedgeError)
    assert error.exit_code == int(exit_code)
    assert error.exit_code in {1, 2, 3, 4, 5, 75, 78}
    assert error.__doc__


def test_given_the_errors_when_listed_then_each_is_drawn():
    assert DEFINED - {name for name, _, _ in DRAWN} == set()
    assert len(DRAWN) >= len(DEFINED) > 5


def test_given_a_record_that_cannot_be_read_when_raised_then_it_does_not_end_a_process():
    assert not issubclass(RecordUnreadable, KedgeError), "it becomes a row of telemetry_rejects, never an exit code"
