"""How the anchor error of a session was distributed: every number computed from whole columns, quantiles exact.

Quantiles are nearest-rank, see quantiles.py; what the lag of an autocorrelation means, see autocorrelation.py. Time
in a zone counts each tick until the next one begins; the last tick of a session has no duration, nor has one before
ticks that are missing or before a clock that steps back: nobody knows how long it lasted. Zones and shares
compare the recorded float with the level; only the guard's own statistics, in rolling.py, are in integer nano-bps.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from telemetry_proc.autocorrelation import (
    Autocorrelation,
    autocorrelation,
    autocorrelation_of,
    lags_to_close,
    sd_of_mean,
)
from telemetry_proc.nulls import Nulls, longest_run, named, nulls_of
from telemetry_proc.quantiles import (
    LEVELS_BPS,
    AbsQuantiles,
    AtOrAbove,
    abs_quantiles,
    at_or_above,
    pct,
    quantile,
    spread,
)
from telemetry_proc.rolling import Rolling, rolling
from telemetry_proc.tick_columns import NOT_RECORDED, Floats, Ints, Texts, TickColumns

ABOVE_BPS = 5.0
ZONE_BOUNDS_BPS = LEVELS_BPS
ZONE_NAMES = ("<5", "5-6", "6-7", "7-8", ">=8")
_NULL_ZONE = len(ZONE_NAMES)


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


class PartErrors(NamedTuple):
    """The errors of a part of the session: of one anchor mode, or of one side of the trip."""

    n: int
    mean_bps: float | None
    median_bps: float
    abs_p95_bps: float
    abs_max_bps: float
    sd_bps: float | None
    mad_bps: float | None
    skew: float | None
    abs_error: AbsQuantiles | None
    at_or_above: AtOrAbove | None


class WindowNoise(NamedTuple):
    """How far the window's mean wanders by itself, as the errors' spread and autocorrelation imply.

    `sigma_to_threshold` is (bias threshold - |mean|) / `sd_bps`. In simulated autoregressions noise alone tripped the
    guard once in 10,000 errors at 3.3 and once in 300,000 at 4.3. Both parts describe errors that go on as in this
    sample: where the error was dragged away, look at those before the trip.
    """

    sd_bps: float
    sigma_to_threshold: float | None


class TripSide(NamedTuple):
    """What came up to the trip, its own tick included, or what came after it."""

    ticks: int
    null_ticks: int
    errors: PartErrors | None
    autocorrelation: Autocorrelation | None
    window_noise: WindowNoise | None


class Distribution(NamedTuple):
    """Every number about the errors of a session; None where there is no error to compute it from.

    `n` errors on `ticks` ticks; `sd_bps` divides by n - 1; `pct_error_above_5bps` counts |error| > 5, `at_or_above`
    also those on the level. `longest_run_from_5bps_ticks` is the longest row of ticks with |error| >= 5; a tick without
    an error ends it, and so does a start. `recorded` is false when no tick has an error or a guard's window on
    record: an older engine wrote them, and nothing follows from what it did not measure. `rolling` and `window_noise`
    need the guard's settings, `before_trip` and `after_trip` a trip.
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
    by_anchor_mode: dict[str, PartErrors]
    recorded: bool
    mad_bps: float | None
    skew: float | None
    at_or_above: AtOrAbove | None
    longest_run_from_5bps_ticks: int
    autocorrelation: Autocorrelation | None
    window_noise: WindowNoise | None
    rolling: Rolling | None
    before_trip: TripSide | None
    after_trip: TripSide | None


class _Rule(NamedTuple):
    """What of the guard's settings the wandering of its window depends on; None: not recorded."""

    lookback_ticks: int | None
    bias_threshold_bps: float | None


def distribution(
    columns: TickColumns,
    *,
    lookback_ticks: int | None = None,
    bias_threshold_bps: float | None = None,
    prevalence_threshold_bps: float | None = None,
    starts: Ints | None = None,
    trip_tick: int | None = None,
) -> Distribution:
    """The numbers of a session.

    `starts` are the ascending rows of `columns` at which the guard's window begins empty; row 0 is one anyway. From a
    `series.Series` they are `np.searchsorted(columns.tick, series.tick[series.starts])`.
    """
    row_starts = np.empty(0, dtype=np.int64) if starts is None else starts
    error_rows = np.flatnonzero(~np.isnan(columns.anchor_error_bps))
    errors = columns.anchor_error_bps[error_rows] + 0.0  # minus zero is zero
    error_starts = np.searchsorted(error_rows, row_starts)
    error_starts = error_starts[error_starts < len(errors)]
    n, ticks = len(errors), len(columns.tick)
    sizes = np.sort(np.abs(errors))
    whole = spread(errors) if n else None
    rule = _Rule(lookback_ticks, bias_threshold_bps)
    remembered, noise = _memory(errors, error_starts, whole.mean if whole else None, whole.sd if whole else None, rule)
    before = after = None
    if trip_tick is not None:
        rows_before = int(np.searchsorted(columns.tick, trip_tick, "right"))
        split = int(np.searchsorted(error_rows, rows_before))
        starts_after = error_starts[error_starts > split] - split
        before = _side(rows_before, errors[:split], error_starts[error_starts < split], rule)
        after = _side(ticks - rows_before, errors[split:], starts_after, rule)
    zones, null_seconds = _zones(columns.tick, columns.ts_ns, columns.anchor_error_bps)
    gaps = np.flatnonzero(np.diff(columns.tick) > 1) + 1
    return Distribution(
        ticks=ticks,
        n=n,
        nulls=nulls_of(columns.market_status, np.isnan(columns.anchor_error_bps), null_seconds, gaps),
        mean_bps=whole.mean if whole else None,
        median_bps=whole.median if whole else None,
        sd_bps=whole.sd if whole else None,
        abs_error=abs_quantiles(sizes) if n else None,
        pct_error_above_5bps=pct(n - int(np.searchsorted(sizes, ABOVE_BPS, "right")), n) if n else None,
        zones=zones,
        signs=_signs(errors) if n else None,
        by_anchor_mode=_by_mode(columns.anchor_mode, errors, error_rows),
        recorded=n > 0 or bool((columns.guard_window_n != NOT_RECORDED).any()),
        mad_bps=whole.mad if whole else None,
        skew=whole.skew if whole else None,
        at_or_above=at_or_above(sizes) if n else None,
        longest_run_from_5bps_ticks=longest_run(
            np.abs(columns.anchor_error_bps) >= ABOVE_BPS, np.concatenate((row_starts, gaps))
        ),
        autocorrelation=remembered,
        window_noise=noise,
        rolling=None
        if lookback_ticks is None
        else rolling(errors, error_starts, lookback_ticks, prevalence_threshold_bps),
        before_trip=before,
        after_trip=after,
    )


def _memory(
    errors: Floats, starts: Ints, mean_bps: float | None, sd_bps: float | None, rule: _Rule
) -> tuple[Autocorrelation | None, WindowNoise | None]:
    n = len(errors)
    rho = autocorrelation(errors, starts, max(lags_to_close(n), (rule.lookback_ticks or 1) - 1))
    remembered = autocorrelation_of(n, rho)
    if rule.lookback_ticks is None or mean_bps is None or sd_bps is None:
        return remembered, None
    wanders_bps = sd_of_mean(sd_bps, rho, rule.lookback_ticks)
    if wanders_bps is None:
        return remembered, None
    if not wanders_bps or rule.bias_threshold_bps is None:
        return remembered, WindowNoise(wanders_bps, None)
    return remembered, WindowNoise(wanders_bps, (rule.bias_threshold_bps - abs(mean_bps)) / wanders_bps)


def _by_mode(mode: Texts, errors: Floats, error_rows: Ints) -> dict[str, PartErrors]:
    codes, names = named(Texts(mode.codes[error_rows], mode.names))
    return {names[code]: _part(errors[codes == code]) for code in sorted(range(len(names)), key=names.__getitem__)}


def _part(errors: Floats) -> PartErrors:
    sizes, lies = np.sort(np.abs(errors)), spread(errors)
    return PartErrors(
        n=len(errors),
        mean_bps=lies.mean,
        median_bps=lies.median,
        abs_p95_bps=float(quantile(sizes, 950)),
        abs_max_bps=float(sizes[-1]),
        sd_bps=lies.sd,
        mad_bps=lies.mad,
        skew=lies.skew,
        abs_error=abs_quantiles(sizes),
        at_or_above=at_or_above(sizes),
    )


def _side(ticks: int, errors: Floats, starts: Ints, rule: _Rule) -> TripSide:
    n = len(errors)
    part = _part(errors) if n else None
    remembered, noise = _memory(errors, starts, part.mean_bps if part else None, part.sd_bps if part else None, rule)
    return TripSide(ticks, ticks - n, part, remembered, noise)


def _zones(tick: Ints, ts_ns: Ints, error_bps: Floats) -> tuple[tuple[Zone, ...], float]:
    """Time in each zone of |error|, and the seconds without an error; no zones where there is no error at all."""
    size = np.abs(error_bps)
    zone = np.zeros(len(size), dtype=np.int8)
    for bound in ZONE_BOUNDS_BPS:
        zone += size >= bound
    zone[np.isnan(size)] = _NULL_ZONE
    ticks = np.bincount(zone, minlength=_NULL_ZONE + 1)
    known = (ts_ns[:-1] != NOT_RECORDED) & (ts_ns[1:] >= ts_ns[:-1]) & (np.diff(tick) <= 1)
    lasted_ns = np.where(known, ts_ns[1:] - ts_ns[:-1], 0)
    seconds = [int(lasted_ns[zone[:-1] == at].sum()) / 1e9 for at in range(_NULL_ZONE + 1)]
    n = len(size) - int(ticks[_NULL_ZONE])
    parts = zip(ZONE_NAMES, ticks.tolist(), seconds, strict=False)  # behind these stands the time without an error
    return tuple(Zone(name, of, pct(of, n), lasted) for name, of, lasted in parts) if n else (), seconds[_NULL_ZONE]


def _signs(errors: Floats) -> Signs:
    n, positive, negative = len(errors), int(np.count_nonzero(errors > 0)), int(np.count_nonzero(errors < 0))
    return Signs(positive, negative, n - positive - negative, pct(positive, n), pct(negative, n))
