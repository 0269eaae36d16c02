"""The words of a report, a line each; docs/calibration.md has the formulas and their sources."""

from __future__ import annotations

DEFINITIONS = {
    "tick": "one look at the market and one decision; on a ledger one per validated ledger",
    "mid": "(best bid + best ask)/2 of the order book; none if the book is empty, one-sided, crossed or stale",
    "anchor error": "(quote anchor price - mid)/mid, in bps: how far the price we quote around sits from mid",
    "window": "the last errors, as many as the lookback; a tick without an error neither enters nor ages it",
    "armed": "the window is full; before that the guard cannot trip",
    "trip": "armed, |mean| of the window at or above the bias threshold and enough errors at or above the prevalence "
    "threshold; once a session",
    "floor": "the least errors this guard would have taken, had all errors from the onset on been at their median",
    "binding share": "of the windows that met one condition, how many the other one held back",
    "capture": "what a fill earned at once against mid: s (mid - price)/mid, s = +1 bought, -1 sold",
    "drift": "what the market then did to it: s (later mid - mid)/mid",
    "interval": "how sure a number is, over sessions only: the ticks and fills of one session share its luck",
    "onset": "the exceedance, of the trip's sign, since which no window was without one",
    "markout": "capture + drift; positive is good for us",
    "replay OK": "the guard's own code, run over the stored errors, gave every recorded window and the recorded trip",
    "effective n": "independent values that would be worth as much as the autocorrelated ones",
    "saturated stretch": "for 100 errors or more, over half of the next 100 lie at or beyond the label's beta on one "
    "side; it is ambiguous, and not scored, where its level is within 20% of beta or the record cuts it",
    "clean shift": "errors that all stand, from the onset on, at the median |error| between onset and trip",
}
