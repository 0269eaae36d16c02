"""Time as a dependency: the only module that reads the machine's clocks.

Two kinds of time never mix. *Market time* stamps ticks (`now_ns`): live it is the wall clock, on a tape, a
simulated market or a replay it is the time the market had when it was recorded or simulated, so that "37 ticks =
2 min 28 s" means the market's seconds, whatever the pace of the run. *Wall time* (`wall_ns`) stamps what happened
to this process: when the session was started and ended.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What the engine may know about time. All values are integer nanoseconds."""

    def now_ns(self) -> int:
        """Market time, nanoseconds since 1970-01-01 UTC."""

    def wall_ns(self) -> int:
        """The machine's wall clock, nanoseconds since 1970-01-01 UTC."""

    def monotonic_ns(self) -> int:
        """A clock that never goes back, for durations only."""


class SystemClock:
    """Live: market time is the wall clock."""

    now_ns = staticmethod(time.time_ns)
    wall_ns = staticmethod(time.time_ns)
    monotonic_ns = staticmethod(time.monotonic_ns)


class MarketClock:
    """Tape, simulation and replay: market time is what the feed last said, wall time is the machine's."""

    wall_ns = staticmethod(time.time_ns)
    monotonic_ns = staticmethod(time.monotonic_ns)

    def __init__(self, start_ns: int = 0) -> None:
        self._now_ns = start_ns

    def now_ns(self) -> int:
        """Market time of the last view, nanoseconds since 1970-01-01 UTC."""
        return self._now_ns

    def advance_to(self, now_ns: int) -> None:
        """Follow the market. A step backwards is ignored: market time never goes back within a session."""
        if now_ns > self._now_ns:  # noqa: PLR1730 - `max` costs a call on every tick
            self._now_ns = now_ns


def iso_utc(ns: int) -> str:
    """Nanoseconds since 1970 as ISO 8601 UTC with milliseconds, e.g. `2026-11-20T14:02:09.113Z`."""
    seconds, rest_ns = divmod(ns, 1_000_000_000)
    stamp = datetime.fromtimestamp(seconds, tz=UTC)
    return f"{stamp:%Y-%m-%dT%H:%M:%S}.{rest_ns // 1_000_000:03d}Z"
