"""A report.json as somebody hands it over: read once, and either sound or refused in one line.

It may be older than this program, so parts may be missing. It may also be anything at all: whatever would not have
come out of `report --json` (numbers without end, nesting without end) is refused here, so that nothing behind has to
ask.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from shared.errors import UsageError
from telemetry_proc.report_parts import items, part
from telemetry_proc.sessions import JSON_SCHEMA_VERSION
from telemetry_proc.wording import in_one_line

BYTES_MAX = 256 * 1024 * 1024
NESTING_MAX = 40
_WHOLE_MAX = 2**63


def read_saved(saved: Path) -> dict[str, Any]:
    """The object in the file. Raises `UsageError` if it is no report of a version that this program knows."""
    try:
        if saved.stat().st_size > BYTES_MAX:
            raise UsageError(f"{saved}: not a report.json: larger than {BYTES_MAX:,} bytes")
        text = saved.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{saved}: cannot read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{saved}: not a report.json: it is not UTF-8 text") from None
    try:
        found = json.loads(text, parse_constant=_no_number, parse_float=_finite, parse_int=_whole)
    except RecursionError:
        raise UsageError(f"{saved}: not a report.json: nested too deeply") from None
    except ValueError as error:
        raise UsageError(f"{saved}: not a report.json: it does not read as JSON: {error!s:.80}") from None
    version = found.get("schema_version") if isinstance(found, dict) else None
    if not isinstance(found, dict) or type(version) is not int or not isinstance(found.get("session"), dict):
        raise UsageError(f"{saved}: not a report.json: it has no schema_version and session")
    if version > JSON_SCHEMA_VERSION:
        raise UsageError(f"{saved}: schema_version {version} is newer than this program's {JSON_SCHEMA_VERSION}")
    if _is_deeper_than(found, NESTING_MAX):
        raise UsageError(f"{saved}: not a report.json: nested too deeply")
    return found


def page_of(whole: dict[str, Any]) -> list[str]:
    """Page one as the report was printed; nothing in it breaks a line or moves the cursor."""
    lines = [in_one_line(str(line)) for line in items(whole, "page")]
    return lines or ["Page one is not in this report.json."]


def saved_disagreement(whole: dict[str, Any]) -> str | None:
    """What the replay found, if it disagreed with the record."""
    wrong = part(whole, "guard", "disagreement")
    if not wrong:
        return None
    said = (f"{wrong.get(key)!s:.40}" for key in ("tick", "what", "recorded", "recomputed"))
    tick, what, recorded, recomputed = map(in_one_line, said)
    return (
        f"the guard's replay disagrees with the record at tick {tick}: {what} recorded {recorded}, recomputed "
        f"{recomputed}"
    )


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON's")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text:.20} is too large a number")
    return value


def _whole(text: str) -> int:
    if len(text) > 20 or abs(int(text)) > _WHOLE_MAX:
        raise ValueError(f"{text:.20} is too large a number")
    return int(text)


def _is_deeper_than(value: Any, levels: int) -> bool:
    layer = [value]
    for _ in range(levels):
        layer = [
            inner
            for outer in layer
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
    return bool(layer)
