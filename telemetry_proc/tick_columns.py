"""The ticks of a session as numpy columns: what every number about a session is computed from.

Reading is the dear part of all calibration, so it happens once, in pages, and everything after it is arithmetic on
whole columns. NULL is `NOT_RECORDED` in columns of integers and NaN in columns of floats: both only inside these
arrays, never in a record and never in what is printed.
"""

from __future__ import annotations

import gc
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import NoneType
from typing import Any, NamedTuple

import apsw
import numpy as np
import numpy.typing as npt

from shared.errors import IntegrityError
from telemetry_proc.reading import Row, rows, session_pages

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

NOT_RECORDED = int(np.iinfo(np.int64).min)
UNRECORDED = "unrecorded"  # how a text that is NULL is called

_INTS = ("tick", "ts_ns", "ledger_index", "guard_window_n")
_FLOATS = ("mid", "anchor_error_bps", "guard_mean_bps", "guard_prevalence_pct")
_TEXTS = ("market_status", "anchor_mode")


class Texts(NamedTuple):
    """A column of few different texts: `names[codes[row]]`."""

    codes: Ints
    names: tuple[str, ...]


class TickColumns(NamedTuple):
    """One array a column of `system_metrics`, one element a recorded tick, in order of tick."""

    tick: Ints
    ts_ns: Ints
    ledger_index: Ints
    guard_window_n: Ints
    mid: Floats
    anchor_error_bps: Floats
    guard_mean_bps: Floats
    guard_prevalence_pct: Floats
    market_status: Texts
    anchor_mode: Texts


def read_ticks(conn: apsw.Connection, session_id: int, only: Collection[str] | None = None) -> TickColumns:
    """All ticks of a session that are stored by now; no elements at all if there are none.

    A running session may grow meanwhile: what is appended behind the last tick at the start is not seen. `only` these
    columns, and `tick`, are read if any are named, which saves time; the others then read as NULL throughout.

    Raises `IntegrityError`, naming column and tick, for a value that is not of its column's type or not finite.
    """
    last = _last_tick(conn, session_id)
    wanted = [name for name in (*_INTS, *_FLOATS, *_TEXTS) if only is None or name in only or name == "tick"]
    words: dict[str, dict[str | None, int]] = {name: {} for name in _TEXTS}
    with _no_search_for_cycles():
        pages = () if last is None else session_pages(conn, "system_metrics", wanted, session_id, last)
        parts = _parts(pages, wanted, words)
    rows_read = sum(part.size for part in parts["tick"])
    ints = [_joined(parts.get(name), np.int64, rows_read, NOT_RECORDED) for name in _INTS]
    floats = [_joined(parts.get(name), np.float64, rows_read, np.nan) for name in _FLOATS]
    texts = [
        Texts(
            _joined(parts.get(name), np.int64, rows_read, 0),
            tuple(UNRECORDED if word is None else str(word) for word in words[name] or (None,)[:rows_read]),
        )
        for name in _TEXTS
    ]
    return TickColumns._make((*ints, *floats, *texts))


@contextmanager
def _no_search_for_cycles() -> Iterator[None]:
    """A page is thousands of tuples that cannot be part of a cycle; looking for some takes as long as the reading."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _parts(
    pages: Iterable[list[Row]], wanted: Sequence[str], words: dict[str, dict[str | None, int]]
) -> dict[str, list[npt.NDArray[Any]]]:
    parts: dict[str, list[npt.NDArray[Any]]] = {name: [] for name in wanted}
    for page in filter(None, pages):
        columns = tuple(zip(*page, strict=True))
        ticks = columns[0]
        for name, values in zip(wanted, columns, strict=True):
            if name in _INTS:
                parts[name].append(_ints(name, values, ticks))
            elif name in _FLOATS:
                parts[name].append(_floats(name, values, ticks))
            else:
                parts[name].append(_codes(values, words[name]))
    return parts


def _last_tick(conn: apsw.Connection, session_id: int) -> int | None:
    newest = "WHERE session_id = ? ORDER BY tick DESC LIMIT 1"
    found: Iterable[Row] = rows(conn, "system_metrics", ("tick",), newest, (session_id,), needs=("session_id", "tick"))
    return next((int(tick) for (tick,) in found), None)


def _ints(name: str, values: Sequence[object], ticks: Sequence[object]) -> Ints:
    kinds = set(map(type, values))
    if not kinds <= {int, NoneType}:
        raise _not_a(name, "a whole number", values, ticks, (int, NoneType))
    if NoneType in kinds:
        values = [NOT_RECORDED if value is None else value for value in values]
    return np.array(values, dtype=np.int64)


def _floats(name: str, values: Sequence[object], ticks: Sequence[object]) -> Floats:
    kinds = set(map(type, values))
    if not kinds <= {float, NoneType}:
        raise _not_a(name, "a number", values, ticks, (float, NoneType))
    column = np.array(values, dtype=np.float64)  # None becomes NaN, and no stored float is NaN
    if np.isinf(column).any():
        at = int(np.flatnonzero(np.isinf(column))[0])
        raise IntegrityError(f"{name} of tick {ticks[at]} holds {values[at]!r}, which is not a finite number")
    return column


def _codes(values: Sequence[str | None], known: dict[str | None, int]) -> Ints:
    for value in set(values) - known.keys():
        known[value] = len(known)
    return np.fromiter(map(known.__getitem__, values), dtype=np.int64, count=len(values))


def _not_a(
    name: str, what: str, values: Sequence[object], ticks: Sequence[object], kinds: tuple[type, ...]
) -> IntegrityError:
    at = next(at for at, value in enumerate(values) if type(value) not in kinds)
    return IntegrityError(f"{name} of tick {ticks[at]!s:.20} holds {values[at]!r:.40}, which is not {what}")


def _joined(
    parts: Sequence[npt.NDArray[Any]] | None, dtype: type[np.generic], size: int, null: float
) -> npt.NDArray[Any]:
    if parts is None:
        return np.full(size, null, dtype)
    return np.concatenate(parts) if parts else np.empty(0, dtype)
