"""Looking into a report.json that may be older than this program: what is not there, or null, is simply not there."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

Part = Mapping[str, Any]


def part(value: Any, *keys: str) -> Part:
    """The object under these keys; an empty one if there is none."""
    found = at(value, *keys)
    return found if isinstance(found, Mapping) else {}


def entries(value: Any, *keys: str) -> list[Part]:
    """The objects of the list under these keys; none if there is no list."""
    return [entry for entry in items(value, *keys) if isinstance(entry, Mapping)]


def items(value: Any, *keys: str) -> list[Any]:
    """The list under these keys; an empty one if there is none."""
    found = at(value, *keys)
    return list(found) if isinstance(found, list | tuple) else []


def number(value: Any, *keys: str) -> float | int | None:
    """The number under these keys; None for anything else, NaN and infinities included."""
    found = at(value, *keys)
    if isinstance(found, bool) or not isinstance(found, int | float):
        return None
    return found if math.isfinite(found) else None


def text(value: Any, *keys: str) -> str | None:
    """The text under these keys; None for anything else."""
    found = at(value, *keys)
    return found if isinstance(found, str) else None


def at(value: Any, *keys: str) -> Any:
    """Whatever stands under these keys, None if nothing does."""
    for key in keys:
        if not isinstance(value, Mapping):
            return None
        value = value.get(key)
    return value
