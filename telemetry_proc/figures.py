"""From the report object to figures: which there are, in what order, and what is said beside each.

A figure is what plotly.js takes, `data` and `layout`, as plain objects; colours are chosen to be told apart by the
colour-blind and to stand on a light and on a dark page alike, so that a theme only has to change text and hover boxes.
Every name that comes from the record is escaped, because plotly reads its texts as HTML.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from telemetry_proc import figures_across, figures_study, figures_ticks
from telemetry_proc.figure_style import Figure


class Plot(NamedTuple):
    """A figure and its words. `variants` are further figures of the same plot, each with a name to choose it by."""

    name: str
    section: str
    title: str
    caption: str
    figure: Figure | None
    variants: tuple[tuple[str, Figure], ...] = ()


class _Kind(NamedTuple):
    name: str
    section: str
    title: str
    caption: str
    draw: Callable[[Any], Figure | None]


_KINDS = (
    _Kind(
        "error",
        "timeline",
        "Anchor error",
        "Signed distance of our anchor from mid. Grey: ticks without an error; hatched: ticks that are not on record.",
        figures_ticks.error,
    ),
    _Kind(
        "guard",
        "timeline",
        "What the guard saw",
        "Size of the window's mean and, below, the share of its errors at or above the prevalence threshold. "
        "Shaded: not armed.",
        figures_ticks.guard,
    ),
    _Kind(
        "prices",
        "timeline",
        "Prices and inventory",
        "Mid, book, pool and anchor, with our fills; below, what we held and what all of it was worth at mid.",
        figures_ticks.prices,
    ),
    _Kind(
        "closeup", "trip", "Close up", "Every tick around an event; nothing is left out here.", figures_ticks.closeup
    ),
    _Kind(
        "exceedance",
        "distribution",
        "How often was it that large?",
        "Share of ticks whose |error| reaches a height; logarithmic, up to the 99.9th percentile.",
        figures_study.exceedance,
    ),
    _Kind(
        "autocorrelation",
        "distribution",
        "Autocorrelation",
        "How much of an error is still there some ticks later. The longer it lasts, the fewer independent ticks "
        "there are, and the sooner a calm market alone can trip a rolling mean.",
        figures_study.autocorrelation,
    ),
    _Kind(
        "heatmap",
        "what-if",
        "First trip under other thresholds",
        "Ticks from the onset to the first trip; the onset is where the |error| that led to the session's own trip "
        "first stood at its bias threshold. "
        "Crossed: never trips. Boxed: the session's own setting.",
        figures_study.heatmap,
    ),
    _Kind(
        "markouts",
        "money",
        "Markouts of our fills",
        "What a fill was worth to us some time later, weighted by notional; above zero is good. One line per bin of "
        "|error| at the fill, both sides.",
        figures_study.markouts,
    ),
    _Kind(
        "counterfactual",
        "money",
        "Another bias threshold",
        "Loss avoided, income forgone and their net against what happened. Dashed: bounds only, because fills after "
        "the recorded trip were never made.",
        figures_study.counterfactual,
    ),
    _Kind(
        "operating",
        "across",
        "Operating curve",
        "False trips per 100 calm sessions against mean delay; each point a setting, bars are 95% intervals over "
        "sessions.",
        figures_across.operating,
    ),
    _Kind(
        "sessions",
        "across",
        "Session ladder",
        "For each session, from the first exceedance to the trip; calm sessions are dots.",
        figures_across.session_ladder,
    ),
)


def plots_in(report: Any) -> tuple[Plot, ...]:
    """All plots a page can have, `figure` None where the report does not hold what it would show."""
    found = []
    for kind in _KINDS:
        if kind.name == "closeup":
            variants = figures_ticks.closeups(report)
            figure = variants[0][1] if variants else None
            found.append(Plot(*kind[:4], figure, variants if len(variants) > 1 else ()))
        else:
            found.append(Plot(*kind[:4], kind.draw(report)))
    return tuple(found)
