"""Do the two labels agree: what persisted, and what lost money?

A stretch is called saturated because the error stayed beyond beta (labels.py). If our fills inside such stretches do
not lose, that label does not say what it should, and nothing is concluded from it. A stretch has a say with
`FILLS_MIN` marked fills; fills happen before a trip only, so of a guard that trips early there are few.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from telemetry_proc.markouts import JUDGED_AT, Markouts
from telemetry_proc.outcomes import LabelledSession
from telemetry_proc.wording import count

FILLS_MIN = 10
EPISODES_MIN = 6
DISAGREEMENT_MAX = 1 / 3


class Agreement(NamedTuple):
    """Scored episodes by what their fills brought: `losing` agree with the label, `gaining` do not."""

    losing: int = 0
    gaining: int = 0
    too_few_fills: int = 0

    @property
    def jaccard(self) -> float | None:
        """Episodes that both labels name, of those with a say; None without any."""
        judged = self.losing + self.gaining
        return self.losing / judged if judged else None


def agreement(so_far: Agreement, session: LabelledSession, worth: Markouts) -> Agreement:
    """Count the scored episodes of one more session."""
    losing, gaining, too_few = so_far
    markout = worth.markout_bps[JUDGED_AT]
    for episode in session.episodes:
        if episode.ambiguous:
            continue
        first, last = session.tick[episode.onset], session.tick[episode.end - 1]
        inside = (worth.tick >= first) & (worth.tick <= last) & ~np.isnan(markout)
        if int(inside.sum()) < FILLS_MIN:
            too_few += 1
        elif float(worth.notional[inside] @ markout[inside]) < 0:
            losing += 1
        else:
            gaining += 1
    return Agreement(losing, gaining, too_few)


def agreed_words(found: Agreement) -> str | None:
    """A clause on what the fills say of the label; None where no stretch has enough of them."""
    judged = found.losing + found.gaining
    return (
        f"our fills lost money in {found.losing} of {count(judged, 'episode')} with enough of them" if judged else None
    )


def doubt(found: Agreement) -> str | None:
    """Why the label is not trustworthy yet; None where nothing speaks against it."""
    judged = found.losing + found.gaining
    if judged < EPISODES_MIN or found.gaining <= DISAGREEMENT_MAX * judged:
        return None
    return f"in {found.gaining} of {count(judged, 'episode')} with enough fills they lost no money"
