"""What an examination says: one finding a line, and the same as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

SCHEMA_VERSION = 1


class Finding(NamedTuple):
    """One thing that was looked at. `remedy` says what to do about it, and is empty where all is well."""

    name: str
    ok: bool
    found: str
    remedy: str = ""


def text(findings: Sequence[Finding]) -> str:
    """One line a finding: `ok|fail  name  what was found  -> remedy`."""
    width = max((len(finding.name) for finding in findings), default=0)
    return "\n".join(
        f"{'ok' if finding.ok else 'fail':4}  {finding.name:{width}}  {finding.found}"
        + (f"  -> {finding.remedy}" if finding.remedy else "")
        for finding in findings
    )


def as_json(findings: Sequence[Finding]) -> str:
    """One object: `schema_version`, `ok` and `findings`, each {name, ok, found, remedy}; a remedy may be null."""
    listed = [{**finding._asdict(), "remedy": finding.remedy or None} for finding in findings]
    return json.dumps(
        {"schema_version": SCHEMA_VERSION, "ok": all(finding.ok for finding in findings), "findings": listed}
    )
