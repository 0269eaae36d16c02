"""Could the guard have been blind while the error went too far? Then "it never did" must not be said."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from shared.saturation import Thresholds
from telemetry_proc.series import Series
from telemetry_proc.wording import count


def could_hide(series: Series, thresholds: Thresholds) -> tuple[str, ...]:
    """Why a window that meets both conditions may have gone unseen; empty where that is impossible.

    A breach needs `need` errors at or above the prevalence threshold within one window. Where ticks are missing, every
    one of them may have been such an error; together with the known ones less than a window away they may still be too
    few, and then nothing can have hidden there. The same holds around a reset, which nothing is missing at. Gaps less
    than a window apart count as one.
    """
    if not series.facts.ticks:
        return ("no tick is stored",)
    if not _fills_a_window(series, thresholds.lookback_ticks):
        return (f"the window never held {thresholds.lookback_ticks} errors",)
    missing = places = resets = 0
    for place in _doubtful_places(series, thresholds):
        missing += place.missing
        places += place.missing > 0
        resets += place.missing == 0
    told = []
    if places:
        told.append(f"{count(missing, 'missing tick')} in {count(places, 'place')}")
    if resets:
        told.append(f"the window was emptied {count(resets, 'time')} while errors were large")
    return tuple(told)


def _fills_a_window(series: Series, lookback_ticks: int) -> bool:
    lengths = np.diff(series.starts, append=series.error_nano_bps.size)
    return bool(lengths.size) and int(lengths.max()) >= lookback_ticks


class _Place(NamedTuple):
    """Missing ticks, or a reset (0 of them), between the errors with index `first` - 1 and `last`."""

    first: int
    last: int
    missing: int


def _doubtful_places(series: Series, thresholds: Thresholds) -> Iterator[_Place]:
    lookback, errors = thresholds.lookback_ticks, series.error_nano_bps
    large = np.abs(errors) >= thresholds.prevalence_nano_bps
    large_before = np.concatenate(([0], np.cumsum(large)))
    for place in _places(series, lookback):
        known = large_before[min(errors.size, place.last + lookback - 1)]
        known -= large_before[max(0, place.first - lookback + 1)]
        if min(place.missing, lookback) + known >= thresholds.need:
            yield place


def _places(series: Series, lookback_ticks: int) -> Iterator[_Place]:
    begins = zip(series.starts.tolist(), series.missing_before.tolist(), strict=True)
    found = [_Place(at, at, missing) for at, missing in begins if at > 0 or missing > 0]
    if series.missing_after:
        at = series.error_nano_bps.size
        found.append(_Place(at, at, series.missing_after))
    joined: _Place | None = None
    for place in found:
        if joined is not None and place.first - joined.last < lookback_ticks:
            joined = _Place(joined.first, place.last, joined.missing + place.missing)
            continue
        if joined is not None:
            yield joined
        joined = place
    if joined is not None:
        yield joined
