"""Ticks without an anchor error: how many, how long in a row, and what the market was like meanwhile.

They are not random: the book was empty, one-sided, stale or crossed. So nothing is filled in for them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from telemetry_proc.quantiles import pct
from telemetry_proc.tick_columns import UNRECORDED, Bools, Ints, Texts


class StatusNulls(NamedTuple):
    """Ticks of one market status: all of them, those without an error, and how long those lasted without a break.

    `null_pct` is of this status' ticks, `share_of_nulls_pct` of all ticks without an error.
    """

    ticks: int
    null_ticks: int
    null_pct: float
    share_of_nulls_pct: float | None
    longest_run_ticks: int


class Nulls(NamedTuple):
    """Ticks without an anchor error: `by_market_status` counts them, `statuses` says more of each status there was."""

    ticks: int
    share_pct: float | None
    longest_run_ticks: int
    by_market_status: dict[str, int]
    seconds: float
    statuses: dict[str, StatusNulls]


def nulls_of(status: Texts, without: Bools, seconds: float, gaps: Ints) -> Nulls:
    """Of a session's ticks, the ones `without` an error, which lasted for so many seconds.

    `gaps`: rows before which ticks are missing; no run goes on across one, for the missing ones may have had an error.
    """
    ticks, nulls = len(without), int(np.count_nonzero(without))
    codes, names = named(status)
    statuses = {}
    for code, name in enumerate(names):
        of_status = codes == code
        null_of_status = of_status & without
        all_ticks, null_ticks = int(np.count_nonzero(of_status)), int(np.count_nonzero(null_of_status))
        share_pct = pct(null_ticks, nulls) if nulls else None
        longest = longest_run(null_of_status, gaps)
        statuses[name] = StatusNulls(all_ticks, null_ticks, pct(null_ticks, all_ticks), share_pct, longest)
    statuses = dict(sorted(statuses.items(), key=lambda entry: -entry[1].null_ticks))
    return Nulls(
        ticks=nulls,
        share_pct=pct(nulls, ticks) if ticks else None,
        longest_run_ticks=longest_run(without, gaps),
        by_market_status={name: of.null_ticks for name, of in statuses.items() if of.null_ticks},
        seconds=seconds,
        statuses=statuses,
    )


def longest_run(held: Bools, starts: Ints) -> int:
    """How many rows in a row; a run does not go on across a start."""
    changes = np.flatnonzero(held[1:] != held[:-1]) + 1
    begins = np.unique(np.concatenate(([0], changes, starts)))
    begins = begins[begins < len(held)]
    lengths = np.diff(begins, append=len(held))
    return int(lengths[held[begins]].max(initial=0))


def named(texts: Texts) -> tuple[Ints, list[str]]:
    """Codes of names that do occur, numbered as they first do; a text of no letters is as good as none."""
    names = [name or UNRECORDED for name in texts.names]
    firsts: dict[str, int] = {}
    for code, name in enumerate(names):
        of_code = texts.codes == code
        if of_code.any():
            at = int(np.argmax(of_code))
            firsts[name] = min(at, firsts.get(name, at))
    order = sorted(firsts, key=firsts.__getitem__)
    renumbered = np.array([order.index(name) if name in firsts else 0 for name in names], dtype=np.int64)
    return renumbered[texts.codes] if names else texts.codes, order
