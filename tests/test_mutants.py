"""The mutants, the code they break, the tests that catch them and the list in tests/README.md say the same."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.mutants import MUTANTS, ROOT, table


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_given_a_mutant_when_looked_up_then_the_line_it_breaks_and_the_test_that_catches_it_are_there(mutant):
    assert (ROOT / mutant.file).read_text(encoding="utf-8").count(mutant.before) == 1
    assert mutant.before != mutant.after
    file, _, test = mutant.caught_by.partition("::")
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    assert not test or test in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_given_the_readme_when_compared_then_it_lists_the_mutants_as_they_are():
    assert table() in (Path(__file__).parent / "README.md").read_text(encoding="utf-8")
