"""The errors of one session as the guard's arithmetic needs them: integers, without the ticks that had none.

A window never spans a *start*. One stands where the guard's window is known to begin empty (the session's first
tick; a recorded window that fell back to what one tick alone can fill) and where what it held is unknown: after ticks
that are missing. From a start on the window is exactly known once it holds as many errors as the lookback asks for.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from shared.saturation import CLAMP_NANO_BPS, NANO_PER_BPS, Thresholds
from shared.settings import AnchorSaturationGuard
from telemetry_proc.tick_columns import NOT_RECORDED, Bools, Floats, Ints, TickColumns


class SeriesFacts(NamedTuple):
    """What was counted on the way from the stored ticks to the series.

    `missing_ticks` are numbers from 1 up to the session's last tick without a row, in `gaps` separate places; the
    last tick is the newest stored one or, where a session that closed in order says so, a later one. Under the
    recorded lookback every stored tick is armed (window full), unarmed (not yet full since the session began or since
    a reset) or unknown (fewer errors than the lookback since ticks went missing); None where it was not recorded.
    `window_n`: errors in the window after the last stored tick, None where unknown.
    """

    ticks: int
    null_ticks: int
    first_tick: int | None
    last_tick: int | None
    first_ts_ns: int | None
    last_ts_ns: int | None
    missing_ticks: int
    gaps: int
    window_resets: int
    armed_ticks: int | None
    unarmed_ticks: int | None
    unknown_ticks: int | None
    window_n: int | None


class Series(NamedTuple):
    """One element an error, in order of tick; `tick` and `ts_ns` (`NOT_RECORDED` for NULL) belong to it.

    `starts`: ascending indexes into these arrays where a window begins anew, 0 first (none without errors).
    `missing_before`: for each start, how many ticks without a row lie between the error before it and its own, so 0
    where nothing is missing. `missing_after`: such ticks after the last error.
    """

    tick: Ints
    ts_ns: Ints
    error_nano_bps: Ints
    starts: Ints
    missing_before: Ints
    missing_after: int
    facts: SeriesFacts

    def without_columns(self) -> Series:
        """The facts alone, for whoever has read the columns and keeps many sessions."""
        none = np.empty(0, np.int64)
        return self._replace(tick=none, ts_ns=none, error_nano_bps=none, starts=none, missing_before=none)


class Windows(NamedTuple):
    """The full windows of a series, in order. `end`: index into the series of each one's last error."""

    end: Ints
    sum_nano_bps: Ints
    prevalent_n: Ints


class Begins(NamedTuple):
    """Rows at which the guard's window begins anew; row 0 is the first of them.

    `missing`: how many ticks without a row lie directly before it. 0: the window is known to be empty there.
    """

    row: Ints
    missing: Ints


def series_of(
    columns: TickColumns, settings: AnchorSaturationGuard | None = None, *, closed_ticks: int | None = None
) -> Series:
    """The series of a session under its recorded settings.

    `closed_ticks`: how many ticks the session said it had when it closed. Without settings a recorded reset of the
    window cannot be told from a small window, so none is looked for.
    """
    lookback = None if settings is None else settings.lookback_ticks
    begins = window_begins(columns, lookback)
    error_row = np.flatnonzero(~np.isnan(columns.anchor_error_bps))
    index = np.searchsorted(error_row, begins.row)  # of the first error at or after each beginning
    starts, which = np.unique(index, return_inverse=True)
    missing = np.bincount(which, weights=begins.missing, minlength=starts.size).astype(np.int64)
    missing_at_end = _missing_at_end(columns.tick, closed_ticks)
    has_error_after = starts < error_row.size
    return Series(
        tick=columns.tick[error_row],
        ts_ns=columns.ts_ns[error_row],
        error_nano_bps=to_nano_bps(columns.anchor_error_bps[error_row]),
        starts=starts[has_error_after].astype(np.int64),
        missing_before=missing[has_error_after],
        missing_after=int(missing[~has_error_after].sum()) + missing_at_end,
        facts=_facts(columns, begins, lookback, missing_at_end),
    )


def window_begins(columns: TickColumns, lookback_ticks: int | None) -> Begins:
    """Where the guard's window began anew: at the first row, after missing ticks, and at every recorded reset.

    A reset is seen in the recorded `guard_window_n`: it fell back to what this tick alone can fill. A tick number that
    stands twice, as an older engine may have left it, is no beginning.
    """
    rows = columns.tick.size
    if not rows:
        return Begins(np.empty(0, np.int64), np.empty(0, np.int64))
    missing = np.maximum(np.diff(columns.tick, prepend=min(0, int(columns.tick[0]))) - 1, 0)
    begins = missing > 0
    begins[0] = True
    if lookback_ticks is not None:
        begins[_reset_rows(columns, np.flatnonzero(begins), lookback_ticks)] = True
    row = np.flatnonzero(begins)
    return Begins(row, missing[row])


def _reset_rows(columns: TickColumns, begins: Ints, lookback_ticks: int) -> list[int]:
    has_error = ~np.isnan(columns.anchor_error_bps)
    held_before = np.cumsum(has_error) - has_error  # errors before this row, ever
    held_at_begin = np.repeat(held_before[begins], np.diff(begins, append=has_error.size))
    looks_emptied = (columns.guard_window_n == has_error) & (held_before > held_at_begin)
    rows = np.flatnonzero(looks_emptied)
    resets = []
    emptied_at = 0
    before, at_begin, alone = (part[rows].tolist() for part in (held_before, held_at_begin, has_error))
    for row, errors, since_begin, own in zip(rows.tolist(), before, at_begin, alone, strict=True):
        held = errors - max(since_begin, emptied_at)
        if held > 0 and own < min(held + own, lookback_ticks):
            resets.append(row)
            emptied_at = errors
    return resets


def _missing_at_end(ticks: Ints, closed_ticks: int | None) -> int:
    last = int(ticks[-1]) if ticks.size else 0
    return max(0, (closed_ticks or 0) - last)


def _facts(columns: TickColumns, begins: Begins, lookback_ticks: int | None, missing_at_end: int) -> SeriesFacts:
    tick, rows = columns.tick, columns.tick.size
    nulls = int(np.isnan(columns.anchor_error_bps).sum())
    resets = int((begins.missing[1:] == 0).sum())
    armed = unarmed = unknown = window_n = None
    if lookback_ticks is not None:
        held, is_known = _held(columns, begins, lookback_ticks)
        full = held == lookback_ticks
        armed, unarmed = int(full.sum()), int((~full & is_known).sum())
        unknown = rows - armed - unarmed
        window_n = int(held[-1]) if rows and (full[-1] or is_known[-1]) else None
    return SeriesFacts(
        ticks=rows,
        null_ticks=nulls,
        first_tick=int(tick[0]) if rows else None,
        last_tick=int(tick[-1]) if rows else None,
        first_ts_ns=_recorded(columns.ts_ns, 0),
        last_ts_ns=_recorded(columns.ts_ns, -1),
        missing_ticks=int(begins.missing.sum()) + missing_at_end,
        gaps=int((begins.missing > 0).sum()) + (missing_at_end > 0),
        window_resets=resets,
        armed_ticks=armed,
        unarmed_ticks=unarmed,
        unknown_ticks=unknown,
        window_n=window_n,
    )


def _held(columns: TickColumns, begins: Begins, lookback_ticks: int) -> tuple[Ints, Bools]:
    """Errors in the window after each row, and whether it began empty rather than unknown."""
    has_error = ~np.isnan(columns.anchor_error_bps)
    lengths = np.diff(begins.row, append=has_error.size)
    errors = np.cumsum(has_error)
    at_begin = errors[begins.row] - has_error[begins.row]
    held = np.minimum(errors - np.repeat(at_begin, lengths), lookback_ticks)
    return held, np.repeat(begins.missing == 0, lengths)


def _recorded(ts_ns: Ints, row: int) -> int | None:
    if not ts_ns.size or ts_ns[row] == NOT_RECORDED:
        return None
    return int(ts_ns[row])


def to_nano_bps(error_bps: Floats) -> Ints:
    """Whole columns rounded as `shared.saturation.to_nano_bps` rounds one: half-even, clamped. Not for NaN."""
    clamp_bps = CLAMP_NANO_BPS / NANO_PER_BPS
    return np.rint(np.clip(error_bps, -clamp_bps, clamp_bps) * 1e9).astype(np.int64)


def full_windows(series: Series, thresholds: Thresholds) -> Windows:
    """Every armed window of the series under these thresholds, with the two numbers that the guard compares.

    Prefix sums may wrap; their differences are exact as long as one window's sum fits, which it does for every
    lookback that the settings allow.
    """
    lookback = thresholds.lookback_ticks
    errors = series.error_nano_bps
    window_start = np.repeat(series.starts, np.diff(series.starts, append=errors.size))
    end = np.flatnonzero(np.arange(errors.size) - window_start >= lookback - 1)
    return Windows(
        end,
        window_sums(errors, end, lookback),
        window_sums(np.abs(errors) >= thresholds.prevalence_nano_bps, end, lookback),
    )


def window_sums(values: Ints | Bools, end: Ints, lookback: int) -> Ints:
    """Sums of the windows of `lookback` values whose last ones have these indexes."""
    upto = np.zeros(values.size + 1, dtype=np.int64)
    np.cumsum(values, dtype=np.int64, out=upto[1:])
    within: Ints = upto[end + 1] - upto[end + 1 - lookback]
    return within
