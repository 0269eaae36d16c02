"""What the plots of one session show, as plain lists: no series longer than 4,000 points, no spike lost.

An overview is drawn from the smallest and the largest value of every bucket of ticks, at the ticks where they
occurred. A stretch without any value that is as long as a bucket breaks the line (a None); that stretch, and every
shorter one, is counted in `coverage`, so that no line hides what is not on record. Around the events every tick is
kept (`windows`).

The object that `plots_of` returns is part of report.json. Its keys, ticks being tick numbers:

    points_max, first_tick, last_tick, begin_ms   begin_ms: market time of the first tick, ms since 1970
    guard           the thresholds, null if not recorded
    events          list of tick, kind, label
    events_left_out how many more there were
    error           tick, bps, offset_s           signed anchor error; offset_s counts from begin_ms
    mean, share     tick, bps or pct              |mean| and share of the guard's window while it is armed
    coverage        to_tick, null_pct, missing_pct, unarmed_pct   stretch i ends with to_tick[i]
    windows         list of label, kind, tick, first_tick, error_bps, mean_bps, share_pct: one element a tick
    exceedance      bps, and for raw, mean, calm, episode the percentage of ticks at or above it
    autocorrelation rho: of the error, at lags 1 to 200 counted in errors
    prices          per column: tick, value; fills: tick, price by side
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from shared.saturation import NANO_PER_BPS
from shared.settings import AnchorSaturationGuard
from telemetry_proc.autocorrelation import autocorrelation
from telemetry_proc.plot_columns import PlotColumns
from telemetry_proc.series import Series, full_windows
from telemetry_proc.tick_columns import NOT_RECORDED, Floats, Ints, TickColumns

POINTS_MAX = 4_000
EVENTS_MAX = 60
WINDOWS_MAX = 20
WINDOW_BEFORE = 200
WINDOW_AFTER = 300

_WINDOW_MARGIN = 50  # an event nearer than this to the end of a window gets one of its own
_CURVE_POINTS = 240
_LAGS = 200
_DECIMALS = 3  # of bps and of percent

EventKind = Literal["trip", "error", "mean", "prevalence", "restart", "mode"]
_RANK: dict[EventKind, int] = {"trip": 0, "error": 1, "mean": 2, "prevalence": 3, "restart": 4, "mode": 5}


class Event(NamedTuple):
    """Something that every plot over ticks marks with a line. `label` is a few words for people."""

    tick: int
    kind: EventKind
    label: str


class _Window(NamedTuple):
    """The guard's window after each error; NaN while it is not armed."""

    mean_bps: Floats
    share_pct: Floats


def plots_of(
    columns: TickColumns,
    *,
    series: Series,
    settings: AnchorSaturationGuard | None,
    events: Sequence[Event] = (),
    extra: PlotColumns | None = None,
    episodes: Sequence[tuple[int, int]] | None = None,
) -> dict[str, Any]:
    """Everything a page of plots needs of a session, JSON-able; see the module's docstring for the keys.

    `series` is the columns' own; `episodes` are [begin, end) in its indexes, None where nothing was labelled.
    """
    if not len(columns.tick):
        return {"points_max": POINTS_MAX, "first_tick": None, "last_tick": None}
    measured = np.flatnonzero(~np.isnan(columns.anchor_error_bps))
    errors = columns.anchor_error_bps[measured]
    window = _window(series, settings)
    shown = _by_rank(events)[:EVENTS_MAX]
    return {
        "points_max": POINTS_MAX,
        "first_tick": _first_tick(columns.tick),
        "last_tick": int(columns.tick[-1]),
        "begin_ms": None if columns.ts_ns[0] == NOT_RECORDED else int(columns.ts_ns[0]) // 1_000_000,
        "guard": None if settings is None else settings.model_dump(),
        "events": [event._asdict() for event in sorted(shown)],
        "events_left_out": len(events) - len(shown),
        "error": _series(columns, measured, errors, "bps", timed=True),
        "mean": _series(columns, measured, np.abs(window.mean_bps), "bps"),
        "share": _series(columns, measured, window.share_pct, "pct"),
        "coverage": _coverage(columns, measured, window),
        "windows": _windows(columns, measured, window, events),
        "exceedance": _exceedance(errors, window.mean_bps, episodes),
        "autocorrelation": {"rho": _listed(autocorrelation(errors, series.starts, _LAGS)[1:], 4)},
        "prices": _prices(columns, extra),
    }


def min_max(ticks: Ints, values: Floats, points_max: int = POINTS_MAX) -> Ints:
    """Indexes of the values that stand for all: lowest and highest of each bucket of ticks. NaN is never one.

    All that are not NaN if they are no more than `points_max`. At equal height the first of a bucket is taken.
    """
    known = np.flatnonzero(~np.isnan(values))
    if len(known) <= points_max:
        return known
    bucket = (ticks[known] - ticks[known[0]]) // _width(ticks[known], points_max)
    begins = np.flatnonzero(np.diff(bucket, prepend=-1))
    sizes = np.diff(begins, append=len(known))
    at = values[known]
    picks = [
        _first_of_each(at == np.repeat(extreme.reduceat(at, begins), sizes), bucket)
        for extreme in (np.minimum, np.maximum)
    ]
    return known[np.unique(np.concatenate(picks))]


def _first_of_each(chosen: np.typing.NDArray[np.bool_], bucket: Ints) -> Ints:
    at = np.flatnonzero(chosen)
    return at[np.flatnonzero(np.diff(bucket[at], prepend=-1))]


def _width(ticks: Ints, points_max: int) -> int:
    """Ticks in a bucket, so that two points a bucket are at most `points_max`."""
    return max(1, -(-int(ticks[-1] - ticks[0] + 1) // (points_max // 2)))


def _first_tick(ticks: Ints) -> int:
    """Ticks count from 1. What is missing before the first row belongs on the axis, unless it would be most of it."""
    first, last = int(ticks[0]), int(ticks[-1])
    return 1 if 1 < first <= (last + 1) // 2 else first


def _window(series: Series, settings: AnchorSaturationGuard | None) -> _Window:
    window = _Window(np.full(len(series.tick), np.nan), np.full(len(series.tick), np.nan))
    if settings is not None:
        full = full_windows(series, settings.thresholds)
        window.mean_bps[full.end] = full.sum_nano_bps / (settings.lookback_ticks * NANO_PER_BPS)
        window.share_pct[full.end] = 100.0 * full.prevalent_n / settings.lookback_ticks
    return window


def _series(columns: TickColumns, at: Ints, values: Floats, unit: str, *, timed: bool = False) -> dict[str, Any]:
    """An overview of values on the rows `at`: the capped points, and a None where a stretch is without any."""
    ticks = columns.tick[at]
    picks = min_max(ticks, values)
    points: dict[str, Any] = {"tick": [], unit: []} | ({"offset_s": []} if timed else {})
    if not len(picks):
        return points
    breaks = _breaks(ticks, values, picks, POINTS_MAX)
    points["tick"] = np.insert(ticks[picks], breaks, ticks[picks[breaks - 1]] + 1).tolist()
    points[unit] = _listed(np.insert(values[picks], breaks, np.nan), _DECIMALS)
    if timed:
        stamps = columns.ts_ns[at[picks]]
        offsets = np.where(stamps == NOT_RECORDED, np.nan, (stamps - columns.ts_ns[0]) / 1e9)
        points["offset_s"] = _listed(np.insert(offsets, breaks, np.nan), 1)
    return points


def _breaks(ticks: Ints, values: Floats, picks: Ints, points_max: int) -> Ints:
    """Positions among the picks before which a whole bucket's ticks have no value in a row."""
    known = np.flatnonzero(~np.isnan(values))
    width = 1 if len(picks) == len(known) else _width(ticks[known], points_max)
    gaps = np.diff(ticks[known], prepend=ticks[known[0]]) - 1
    among = np.searchsorted(known, picks)
    if len(among) < 2:
        return np.empty(0, np.int64)
    longest = np.maximum.reduceat(gaps[: among[-1] + 1], among[:-1] + 1)
    return np.flatnonzero(longest >= width) + 1


def _coverage(columns: TickColumns, measured: Ints, window: _Window) -> dict[str, Any]:
    """Along the axis: which percentage of ticks has no error, has no row, has a window that is not armed."""
    first, last = _first_tick(columns.tick), int(columns.tick[-1])
    width = max(1, -(-(last - first + 1) // (POINTS_MAX // 2)))
    begins = np.arange(first, last + 1, width)
    ends = np.minimum(begins + width - 1, last)
    bucket = (columns.tick - first) // width
    no_error = np.ones(len(columns.tick), np.bool_)
    no_error[measured] = False
    armed = np.append(False, ~np.isnan(window.mean_bps))[np.cumsum(~no_error)]
    ticks = ends - begins + 1
    rows = np.bincount(bucket, minlength=len(begins))
    percent = [
        np.round(100.0 * part / ticks, 2)
        for part in (
            np.bincount(bucket, no_error, len(begins)),
            ticks - rows,
            np.bincount(bucket, ~armed, len(begins)),
        )
    ]
    changes = np.any([np.diff(values, append=np.inf) != 0 for values in percent], axis=0)
    null_pct, missing_pct, unarmed_pct = (values[changes].tolist() for values in percent)
    return {
        "to_tick": ends[changes].tolist(),
        "null_pct": null_pct,
        "missing_pct": missing_pct,
        "unarmed_pct": unarmed_pct,
    }


def _by_rank(events: Sequence[Event]) -> list[Event]:
    return sorted(events, key=lambda event: (_RANK[event.kind], event.tick))


def _windows(columns: TickColumns, measured: Ints, window: _Window, events: Sequence[Event]) -> list[dict[str, Any]]:
    """Every tick around the events, the trip first; an event that a window already shows needs none of its own."""
    series = {"error_bps": columns.anchor_error_bps}
    for name, values in (("mean_bps", window.mean_bps), ("share_pct", window.share_pct)):
        series[name] = np.full(len(columns.tick), np.nan)
        series[name][measured] = values
    found: list[dict[str, Any]] = []
    for event in _by_rank(events):
        shown = any(abs(event.tick - other["tick"]) <= WINDOW_BEFORE - _WINDOW_MARGIN for other in found)
        if shown or len(found) == WINDOWS_MAX:
            continue
        begin = max(event.tick - WINDOW_BEFORE, int(columns.tick[0]))
        end = min(event.tick + WINDOW_AFTER, int(columns.tick[-1]))
        rows = slice(*np.searchsorted(columns.tick, (begin, end + 1)))
        if rows.start == rows.stop:
            continue
        found.append({**event._asdict(), "first_tick": begin})
        for name, values in series.items():
            every = np.full(end - begin + 1, np.nan)
            every[columns.tick[rows] - begin] = values[rows]
            found[-1][name] = _listed(every, _DECIMALS)
    return found


def _exceedance(errors: Floats, mean_bps: Floats, episodes: Sequence[tuple[int, int]] | None) -> dict[str, Any]:
    """Per height, the percentage of errors whose size reaches it: all, the window's means, calm ones, in episodes."""
    sizes = np.sort(np.abs(errors))
    if not len(sizes):
        return {}
    samples = {"raw": sizes, "mean": np.sort(np.abs(mean_bps[~np.isnan(mean_bps)]))}
    if episodes is not None:
        inside = np.zeros(len(errors), np.bool_)
        for begin, end in episodes:
            inside[begin:end] = True
        samples |= {"calm": np.sort(np.abs(errors[~inside])), "episode": np.sort(np.abs(errors[inside]))}
    top = max(float(sizes[-(-len(sizes) * 999 // 1000) - 1]), 1e-9)
    heights = np.linspace(0.0, top, _CURVE_POINTS)
    curves: dict[str, Any] = {"bps": _listed(heights, 6)}
    for name, sample in samples.items():
        if len(sample):
            reached = len(sample) - np.searchsorted(sample, heights)
            curves[name] = _listed(np.where(reached, 100.0 * reached / len(sample), np.nan), 6)
    return curves


def _prices(columns: TickColumns, extra: PlotColumns | None) -> dict[str, Any]:
    mid = columns.mid
    picks = min_max(columns.tick, mid, POINTS_MAX // 2)
    prices: dict[str, Any] = {}
    if len(picks):
        decimals = _decimals(mid[picks])
        breaks = _breaks(columns.tick, mid, picks, POINTS_MAX // 2)
        ticks = columns.tick[picks]
        prices["mid"] = {
            "tick": np.insert(ticks, breaks, ticks[breaks - 1] + 1).tolist(),
            "value": _listed(np.insert(mid[picks], breaks, np.nan), decimals),
        }
    if extra is None:
        return prices
    for name, band in extra.bands.items():
        if not np.isnan(band.low).all():
            prices[name] = _zigzag(extra, band.low, band.high)
    for name, side in (("bought", 1), ("sold", -1)):
        ticks, values = (part[extra.fills.side == side] for part in (extra.fills.tick, extra.fills.price))
        at = min_max(ticks, values, POINTS_MAX // 2)
        prices[name] = {"tick": ticks[at].tolist(), "value": _listed(values[at], _decimals(values)), "n": len(ticks)}
    return prices


def _zigzag(extra: PlotColumns, low: Floats, high: Floats) -> dict[str, Any]:
    """A band as one line: down and up within each bucket; a bucket of a single height is a single point."""
    ticks = extra.first_tick + extra.width_ticks * np.arange(len(low)) + (extra.width_ticks - 1) // 2
    double = np.repeat(np.arange(len(low)), np.where(high > low, 2, 1))
    second = np.append(False, double[1:] == double[:-1])
    values = np.where(second, high[double], low[double])
    return {"tick": ticks[double].tolist(), "value": _listed(values, _decimals(values))}


def _decimals(values: Floats) -> int:
    """Six significant digits of the largest."""
    largest = float(np.nanmax(np.abs(values), initial=0.0))
    return 6 if not largest else max(0, 5 - int(np.floor(np.log10(largest))))


def _listed(values: Floats, decimals: int) -> list[float | None]:
    """Rounded, None for NaN, and no minus zero."""
    rounded = np.round(values, decimals) + 0.0
    listed: list[float | None] = rounded.tolist()
    for at in np.flatnonzero(np.isnan(rounded)):
        listed[at] = None
    return listed
