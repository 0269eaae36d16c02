"""The session in numbers: counted tick by tick in constant memory, said once at the close."""

from __future__ import annotations

import json
from collections.abc import Iterator

from shared.records import TickRecord
from shared.saturation import NANO_PER_BPS, to_nano_bps

ABOVE_BPS = 5.0


class Summary:
    """Running totals of a session. The anchor statistics are sums of the guard's own integers, so they are exact."""

    def __init__(self, bias_threshold_bps: float) -> None:
        self.ticks = 0
        self.null_error_ticks = 0
        self.fills = 0
        self.orders_submitted = 0
        self.orders_denied = 0
        self.breaker_trips = 0
        self._bias_nano_bps = to_nano_bps(bias_threshold_bps)
        self._above_n = 0
        self._sum_nano_bps = 0
        self._sum_abs_nano_bps = 0
        self._max_abs_bps: float | None = None
        self._first_tick_at_bias: int | None = None
        self._trip_tick: int | None = None

    def add(self, record: TickRecord) -> None:
        """Take in one tick."""
        self.ticks += 1
        self.fills += record.fills
        self.orders_submitted += record.orders_submitted
        self.orders_denied += record.orders_denied
        error_bps = record.anchor_error_bps
        if error_bps is None:
            self.null_error_ticks += 1
            return
        error_nano_bps = to_nano_bps(error_bps)
        size_bps = abs(error_bps)
        self._sum_nano_bps += error_nano_bps
        self._sum_abs_nano_bps += abs(error_nano_bps)
        self._above_n += size_bps > ABOVE_BPS
        if self._max_abs_bps is None or size_bps > self._max_abs_bps:
            self._max_abs_bps = size_bps
        if self._first_tick_at_bias is None and abs(error_nano_bps) >= self._bias_nano_bps:
            self._first_tick_at_bias = record.tick

    def tripped(self, tick: int) -> None:
        """The guard tripped on this tick."""
        self.breaker_trips += 1
        self._trip_tick = tick

    def statements(self) -> Iterator[tuple[str, str | None]]:
        """Key and JSON value of every anchor statistic; None where the session cannot say."""
        n = self.ticks - self.null_error_ticks
        yield from (
            ("anchor.ticks", str(self.ticks)),
            ("anchor.null_error_ticks", str(self.null_error_ticks)),
            ("anchor.pct_error_above_5bps", _json(100.0 * self._above_n / n if n else None)),
            ("anchor.mean_error_bps", _json(self._sum_nano_bps / (n * NANO_PER_BPS) if n else None)),
            ("anchor.mean_abs_error_bps", _json(self._sum_abs_nano_bps / (n * NANO_PER_BPS) if n else None)),
            ("anchor.max_abs_error_bps", _json(self._max_abs_bps)),
            ("anchor.first_tick_at_bias", _json(self._first_tick_at_bias)),
            ("anchor.trip_tick", _json(self._trip_tick)),
        )


def _json(value: float | None) -> str | None:
    return None if value is None else json.dumps(value)
