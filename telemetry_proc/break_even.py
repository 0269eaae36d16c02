"""The anchor error at which our own fills begin to lose: the economic threshold that labels rest on.

Fills are binned by the error signed toward them, s * error: positive where the anchor made us pay too much or sell too
low. Their net edge is the markout, which holds the capture already. The break-even beta is the lower edge of the
smallest bin from which on the fills surely lose: the 95 % interval of the bin's markout, over sessions, lies wholly
below 0, and so does that of every larger bin that has enough fills to speak.

Each bin stands for itself. Over all fills beyond an edge the mean turns negative long before the edge itself does,
because the worst errors weigh it down. Where data is plenty, beta is within a bin's width of the true crossing; where
it is thin, beta lies above: what is called a loss is one.

Until it is measured, beta is `ASSUMED_BETA_BPS`, and called assumed.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from typing import Literal, NamedTuple

import numpy as np

from telemetry_proc.markout_table import NO_ERROR, MarkoutRow, by_error_toward
from telemetry_proc.markouts import JUDGED_AT, Horizon, Markouts
from telemetry_proc.tick_columns import Ints

ASSUMED_BETA_BPS = 6.0
FILLS_MIN = 50  # with a markout, in a bin, before it speaks
SESSIONS_MIN = 10  # that these fills come from


class BreakEven(NamedTuple):
    """The break-even error, where it comes from, and the bins it was read off (all of them, thin ones too)."""

    beta_bps: float
    source: Literal["assumed", "measured"]
    why: str
    bins: tuple[MarkoutRow, ...]


def break_even(
    sessions: Sequence[Markouts],
    rng: np.random.Generator,
    *,
    horizon: Horizon = JUDGED_AT,
    days: Ints | None = None,
) -> BreakEven:
    """Beta from the fills of many sessions. days: the day of each, where several share one.

    A bin speaks with `FILLS_MIN` fills from `SESSIONS_MIN` sessions. Measured only if a smaller bin speaks as well and
    does not surely lose: a crossing has two sides. Where fills lose even without an error toward them, no error tells
    gain from loss, and beta stays assumed.
    """
    bins = by_error_toward(sessions, rng, horizons=(horizon,), days=days)
    speaking = [
        row for row in bins if row.error_bin != NO_ERROR and row.fills >= FILLS_MIN and row.sessions >= SESSIONS_MIN
    ]
    if not speaking:
        why = f"not enough fills: no bin of errors holds {FILLS_MIN} from {SESSIONS_MIN} sessions"
        return BreakEven(ASSUMED_BETA_BPS, "assumed", why, bins)
    losing = list(takewhile(_surely_loses, reversed(speaking)))
    if not losing:
        why = f"no loss is sure, up to the largest errors with enough fills: {_in_words(speaking[-1])}"
    elif losing[-1].error_low_bps is None or losing[-1].error_low_bps <= 0:
        why = f"fills lose even without an error toward them: {_in_words(losing[-1])}"
    elif len(losing) == len(speaking):
        why = f"no smaller errors with enough fills to compare with: {_in_words(losing[-1])}"
    else:
        return BreakEven(
            losing[-1].error_low_bps, "measured", f"fills lose from here on: {_in_words(losing[-1])}", bins
        )
    return BreakEven(ASSUMED_BETA_BPS, "assumed", why, bins)


def _surely_loses(row: MarkoutRow) -> bool:
    interval = row.markout_interval_bps
    return interval is not None and interval.high is not None and interval.high < 0


def _in_words(row: MarkoutRow) -> str:
    markout, interval = row.markout_bps, row.markout_interval_bps
    number = "no markout" if markout is None else f"{markout:+.2f} bps"
    if interval is not None and interval.low is not None and interval.high is not None:
        number += f" ({interval.low:+.2f} to {interval.high:+.2f}, {100 * interval.confidence:g}%)"
    return f"at {row.error_bin} bps, {number} after {row.horizon}, {row.fills:,} fills of {row.sessions:,} sessions"
