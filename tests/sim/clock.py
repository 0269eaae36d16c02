"""Time that passes only when somebody says so. The wall clock may jump; nobody may mind."""

from __future__ import annotations

START_NS = 1_767_225_600_000_000_000  # 2026-01-01T00:00:00Z


class SimClock:
    """Answers `shared.clock.Clock`, with market time set by the feed as in `MarketClock`."""

    def __init__(self) -> None:
        self._passed_ns = 0
        self._market_ns = 0
        self.wall_ahead_ns = 0

    def monotonic_ns(self) -> int:
        return self._passed_ns

    def wall_ns(self) -> int:
        return START_NS + self._passed_ns + self.wall_ahead_ns

    def now_ns(self) -> int:
        return self._market_ns

    def advance_to(self, now_ns: int) -> None:
        """The market moves on."""
        self._market_ns = max(self._market_ns, now_ns)

    def pass_until(self, passed_ns: int) -> None:
        """Time passes; it never goes back."""
        self._passed_ns = max(self._passed_ns, passed_ns)

    def pass_ms(self, ms: float) -> None:
        """Time passes while somebody waits for a device."""
        self._passed_ns += round(ms * 1e6)
