"""How the anchor error of a session was distributed: one pass over the ticks, exact quantiles from one sort.

Quantiles are nearest-rank: the q-quantile is the smallest error such that at least a share q of all errors is no
larger than it. So every quantile is an error that occurred, and p50 of a sample of two is its smaller one.

Time in a zone counts each tick until the next one begins; the last tick of a session has no duration.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from shared.errors import IntegrityError

ABOVE_BPS = 5.0
ZONE_BOUNDS_BPS = (5.0, 6.0, 7.0, 8.0)
ZONE_NAMES = ("<5", "5-6", "6-7", "7-8", ">=8")
_NULL_ZONE = len(ZONE_NAMES)


class Nulls(NamedTuple):
    """Ticks without an anchor error."""

    ticks: int
    share_pct: float | None
    longest_run_ticks: int
    by_market_status: dict[str, int]
    seconds: float


class AbsQuantiles(NamedTuple):
    """Nearest-rank quantiles of |error|, in bps."""

    p50_bps: float
    p75_bps: float
    p90_bps: float
    p95_bps: float
    p99_bps: float
    p999_bps: float
    max_bps: float


class Zone(NamedTuple):
    """How long |error| stayed between two bounds; the lower one belongs to the zone."""

    zone_bps: str
    ticks: int
    share_pct: float
    seconds: float


class Signs(NamedTuple):
    """On which side of mid the anchor sat."""

    positive: int
    negative: int
    zero: int
    positive_pct: float
    negative_pct: float


class ModeErrors(NamedTuple):
    """The errors of one anchor mode."""

    n: int
    mean_bps: float
    median_bps: float
    abs_p95_bps: float
    abs_max_bps: float


class Distribution(NamedTuple):
    """Every number about the errors of a session; None where there is no error to compute it from.

    `n` errors on `ticks` ticks; `sd_bps` divides by n - 1; `pct_error_above_5bps` counts |error| > 5, not >=.
    """

    ticks: int
    n: int
    nulls: Nulls
    mean_bps: float | None
    median_bps: float | None
    sd_bps: float | None
    abs_error: AbsQuantiles | None
    pct_error_above_5bps: float | None
    zones: tuple[Zone, ...]
    signs: Signs | None
    by_anchor_mode: dict[str, ModeErrors]


class ErrorTally:
    """Takes the ticks of a session in order; `distribution` sums up what it has seen."""

    def __init__(self) -> None:
        self._errors_by_mode: dict[str, list[float]] = {}
        self._nulls: Counter[str] = Counter()
        self._null_run = self._null_run_longest = 0
        self._zone_ns = [0] * (_NULL_ZONE + 1)
        self._last_zone = _NULL_ZONE
        self._last_ns: int | None = None

    def observe(
        self, ts_ns: int | None, market_status: str | None, anchor_mode: str | None, error_bps: float | None
    ) -> None:
        """One tick. Raises `IntegrityError` for a stored error that is not a finite number."""
        if self._last_ns is not None and ts_ns is not None:
            self._zone_ns[self._last_zone] += ts_ns - self._last_ns
        self._last_ns = ts_ns
        if error_bps is None:
            self._nulls[market_status or "unrecorded"] += 1
            self._null_run += 1
            self._null_run_longest = max(self._null_run_longest, self._null_run)
            self._last_zone = _NULL_ZONE
            return
        if type(error_bps) is not float or not math.isfinite(error_bps):
            raise IntegrityError(f"anchor_error_bps holds {error_bps!r:.40}, which is not a finite number")
        self._null_run = 0
        self._last_zone = bisect_right(ZONE_BOUNDS_BPS, abs(error_bps))
        mode = anchor_mode or "unrecorded"
        try:
            self._errors_by_mode[mode].append(error_bps)
        except KeyError:
            self._errors_by_mode[mode] = [error_bps]

    def distribution(self) -> Distribution:
        """The numbers so far."""
        by_mode = {mode: sorted(errors) for mode, errors in sorted(self._errors_by_mode.items())}
        errors = sorted(error for run in by_mode.values() for error in run)  # sorted runs merge in linear time
        sizes = sorted(map(abs, errors))
        n, nulls = len(errors), self._nulls.total()
        return Distribution(
            ticks=n + nulls,
            n=n,
            nulls=Nulls(
                nulls,
                _pct(nulls, n + nulls) if n + nulls else None,
                self._null_run_longest,
                dict(self._nulls.most_common()),
                self._zone_ns[_NULL_ZONE] / 1e9,
            ),
            mean_bps=math.fsum(errors) / n if n else None,
            median_bps=quantile(errors, 500) if n else None,
            sd_bps=_sd(errors) if n > 1 else None,
            abs_error=_abs_quantiles(sizes) if n else None,
            pct_error_above_5bps=_pct(n - bisect_right(sizes, ABOVE_BPS), n) if n else None,
            zones=self._zones(sizes) if n else (),
            signs=_signs(errors) if n else None,
            by_anchor_mode={mode: _mode_errors(run) for mode, run in by_mode.items()},
        )

    def _zones(self, sizes: Sequence[float]) -> tuple[Zone, ...]:
        edges = (0, *(bisect_left(sizes, bound) for bound in ZONE_BOUNDS_BPS), len(sizes))
        return tuple(
            Zone(name, edges[at + 1] - edges[at], _pct(edges[at + 1] - edges[at], len(sizes)), self._zone_ns[at] / 1e9)
            for at, name in enumerate(ZONE_NAMES)
        )


def quantile(ordered: Sequence[float], permille: int) -> float:
    """Nearest-rank quantile of a sorted, non-empty sample: its element number ceil(n * permille / 1000)."""
    return ordered[max(0, -(-len(ordered) * permille // 1000) - 1)]


def _abs_quantiles(sizes: Sequence[float]) -> AbsQuantiles:
    return AbsQuantiles(*(quantile(sizes, permille) for permille in (500, 750, 900, 950, 990, 999, 1000)))


def _mode_errors(errors: Sequence[float]) -> ModeErrors:
    sizes = sorted(map(abs, errors))
    mean_bps = math.fsum(errors) / len(errors)
    return ModeErrors(len(errors), mean_bps, quantile(errors, 500), quantile(sizes, 950), sizes[-1])


def _signs(errors: Sequence[float]) -> Signs:
    negative = bisect_left(errors, 0.0)
    positive = len(errors) - bisect_right(errors, 0.0)
    zero = len(errors) - negative - positive
    return Signs(positive, negative, zero, _pct(positive, len(errors)), _pct(negative, len(errors)))


def _sd(errors: Sequence[float]) -> float:
    mean = math.fsum(errors) / len(errors)
    return math.sqrt(math.fsum((error - mean) ** 2 for error in errors) / (len(errors) - 1))


def _pct(part: int, whole: int) -> float:
    return 100.0 * part / whole
