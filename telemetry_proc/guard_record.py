"""What a session put on record about its guard: the settings it ran with, and its trips."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import apsw
from pydantic import ValidationError

from shared.settings import AnchorSaturationGuard
from telemetry_proc.reading import INTEGER_MAX, session_rows

GUARD = "anchor_saturation_guard"


class GuardTrip(NamedTuple):
    """A trip of the guard on record. `tick` and `context` are as the breaker wrote them; None: it did not say."""

    tick: int | None
    context: dict[str, Any]


def guard_settings(config_json: str | None) -> AnchorSaturationGuard | None:
    """The guard's settings as the session recorded them; None if it did not record them all."""
    try:
        block = json.loads(config_json or "null")["strategy"][GUARD]
        recorded = {name: block[name] for name in AnchorSaturationGuard.model_fields}
        return AnchorSaturationGuard.model_validate(recorded)
    except (ValueError, TypeError, KeyError, ValidationError, RecursionError):
        return None


def trip_context(context_json: str | None) -> dict[str, Any]:
    """What the breaker saw, as it wrote it; empty if it wrote nothing that reads as a JSON object."""
    try:
        context = json.loads(context_json or "{}")
    except (ValueError, RecursionError):
        return {}
    return context if isinstance(context, dict) else {}


def guard_trips(conn: apsw.Connection, session_id: int) -> tuple[GuardTrip, ...]:
    """The guard's trips on record for a session, in the order they were stored."""
    found = session_rows(conn, "circuit_breaker_events", ("breaker", "context_json"), session_id)
    contexts = [trip_context(context_json) for breaker, context_json in found if breaker == GUARD]
    return tuple(GuardTrip(_whole(context.get("tick")), context) for context in contexts)


def _whole(value: object) -> int | None:
    return value if type(value) is int and abs(value) <= INTEGER_MAX else None
