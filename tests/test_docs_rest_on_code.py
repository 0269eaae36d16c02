"""Documents that quote code must quote code that stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

REPO = Path(__file__).parents[1]
QUOTED = re.compile(r"`((?:engine_proc|telemetry_proc|shared)/\w+\.py)`: `([^`]+)`")


@pytest.mark.parametrize("document", sorted((REPO / "docs").glob("*.md")), ids=lambda path: path.name)
def test_given_a_document_when_it_quotes_a_line_then_the_line_stands_in_that_file(document: Path) -> None:
    for file, line in QUOTED.findall(document.read_text(encoding="utf-8")):
        assert line in (REPO / file).read_text(encoding="utf-8"), f"{document.name} quotes {file}: {line}"


def test_given_the_decisions_then_they_quote_code() -> None:
    assert len(QUOTED.findall((REPO / "docs/decisions.md").read_text(encoding="utf-8"))) >= 15
