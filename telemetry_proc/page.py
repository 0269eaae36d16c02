"""A saved report as one HTML file that needs nothing else: no network, no database, no second file.

`render_page` takes the object of report.json, of this version or an older one: a part that is not there, or null, is
said to be missing. The same object gives the same bytes. Everything in it may have been written by anybody, so all
text is escaped, figures travel as JSON without a single `<`, and the page's own policy lets only the two scripts run
whose hashes it names and forbids every request.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

from plotly.offline import get_plotlyjs  # type: ignore[import-untyped]

from telemetry_proc import page_sections as sections
from telemetry_proc.figures import Plot, plots_in
from telemetry_proc.page_parts import html, none
from telemetry_proc.report_parts import at, part, text


class _Section(NamedTuple):
    anchor: str
    link: str
    title: str
    about: str
    body: Callable[[Any], str] | None


_SECTIONS = (
    _Section(
        "timeline",
        "Timeline",
        "The whole session",
        "Drag to zoom, double-click to see all; the plots move together.",
        sections.event_key,
    ),
    _Section(
        "trip", "Trip", "The trip, step by step", "When each condition first held, and what came last.", sections.trip
    ),
    _Section(
        "distribution",
        "Distribution",
        "How the error was distributed",
        "All of the session, by tick.",
        sections.distribution,
    ),
    _Section(
        "what-if",
        "What if",
        "Other thresholds",
        "The same guard over the same errors, set otherwise.",
        sections.what_if,
    ),
    _Section(
        "money", "Money", "Fills and money", "What trading brought, and when it should have stopped.", sections.trades
    ),
    _Section(
        "across", "Sessions", "Over many sessions", "One session is one observation; these are more.", sections.across
    ),
    _Section(
        "record",
        "Record",
        "What this rests on",
        "Settings, labels, the state of the record, and words.",
        sections.record,
    ),
)


def render_page(report: Any) -> str:
    """The page of a report, given as the object that report.json holds."""
    scripts = (_plotly(), _own("page.js"))
    return "".join(
        (
            f'<!doctype html>\n<html lang="en"><head>{_head(_title(report), scripts)}</head><body>\n',
            page_body(report),
            *(f"<script>{script}</script>\n" for script in scripts),
            "</body></html>\n",
        )
    )


def page_body(report: Any) -> str:
    """All that the report itself puts on the page: text, tables, and its figures as JSON."""
    plots = plots_in(report)
    parts = (
        _bar(report),
        f'<header class="wide"><h1>{html(_title(report))}</h1><p class="facts">{sections.facts(report)}</p>',
        f"{sections.warning(report)}{sections.tiles(report)}</header>\n",
        '<main class="wide"><section id="page-one"><h2>Page one</h2>',
        "<p>The session in words, as the terminal says it.</p>",
        f"{sections.first_page(report)}</section>\n",
        *(_section(section, report, plots) for section in _SECTIONS if _wanted(section, report)),
        f'</main><footer class="wide">{_footer(report)}</footer>\n{_BY_HAND}\n',
        f'<script type="application/json" id="figures">{_figures_json(plots)}</script>\n',
    )
    return "".join(parts)


def _title(report: Any) -> str:
    number, pair = at(report, "session", "number"), text(report, "session", "pair")
    return f"Session{'' if number is None else f' {number}'}{'' if pair is None else f', {pair}'}"


@cache
def _plotly() -> str:
    """plotly.js as plotly's package ships it, its licence in front."""
    return _without_cr(str(get_plotlyjs()))


_BY_HAND = (
    '<dialog id="by-hand" aria-label="Data"><p>The browser does not let this page reach the clipboard. The data is '
    'selected: copy it by hand.</p><textarea readonly></textarea><button type="button">Close</button></dialog>'
)


def _head(title: str, scripts: tuple[str, ...]) -> str:
    hashes = " ".join(f"'sha256-{_digest(script)}'" for script in scripts)
    policy = (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )
    return (
        '<meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">'
        f"<title>{html(title)} · Kedge</title><style>{_own('page.css')}</style>"
    )


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")


def _own(name: str) -> str:
    return _without_cr(files("telemetry_proc").joinpath(name).read_text(encoding="utf-8"))


def _without_cr(source: str) -> str:
    """A browser reads every line end as LF before it hashes."""
    return source.replace("\r\n", "\n")


def _bar(report: Any) -> str:
    links = "".join(
        f'<a href="#{section.anchor}">{html(section.link)}</a>' for section in _SECTIONS if _wanted(section, report)
    )
    return (
        '<div class="bar"><div class="wide"><b>Kedge</b><nav aria-label="Sections"><a href="#page-one">Page one</a>'
        f'{links}</nav><button type="button" id="theme">Theme</button></div></div>\n'
    )


def _wanted(section: _Section, report: Any) -> bool:
    return section.anchor != "across" or bool(part(report, "across"))


def _section(section: _Section, report: Any, plots: tuple[Plot, ...]) -> str:
    own = [plot for plot in plots if plot.section == section.anchor]
    body = section.body(report) if section.body is not None else ""
    drawn = "".join(_plot(plot) for plot in own)
    first, then = (body, drawn) if section.anchor == "timeline" else (drawn, body)
    head = f"<h2>{html(section.title)}</h2><p>{html(section.about)}</p>"
    return f'<section id="{section.anchor}">{head}{first}{then}</section>\n'


def _plot(plot: Plot) -> str:
    if plot.figure is None:
        return none(f"{plot.title}: not recorded, or no data.")
    height = int(plot.figure["layout"]["height"])
    label = html(plot.title)
    return (
        f'<figure class="card"><div class="plot-head"><div><h3>{label}</h3><p>{html(plot.caption)}</p></div>'
        f'<button type="button" class="copy" data-plot="{plot.name}">Copy data</button></div>{_choices(plot)}'
        f'<div class="plot"><div id="plot-{plot.name}" role="group" aria-label="{label}" style="height:{height}px">'
        "</div></div></figure>"
    )


def _choices(plot: Plot) -> str:
    if plot.variants:
        options = "".join(f"<option>{html(name)}</option>" for name, _figure in plot.variants)
        return f'<div class="choices"><label>Event <select data-plot="{plot.name}">{options}</select></label></div>'
    slices = at(plot.figure, "slices")
    if slices is None:
        return ""
    return (
        '<div class="choices">'
        + _slider("height", "prevalence threshold", slices["prevalence_threshold_bps"], slices["start"][0], "bps")
        + _slider("share", "prevalence", slices["prevalence_pct"], slices["start"][1], "%")
        + "</div>"
    )


def _slider(name: str, label: str, values: list[float], start: int, unit: str) -> str:
    return (
        f'<label>{label} <input type="range" id="slice-{name}" min="0" max="{len(values) - 1}" step="1" '
        f'value="{start}"><output id="shown-{name}">{values[start]:g} {unit}</output></label>'
    )


def _figures_json(plots: tuple[Plot, ...]) -> str:
    """JSON that cannot end its own script element, whatever texts are in it."""
    drawn = {
        plot.name: {"figure": plot.figure, "variants": [figure for _name, figure in plot.variants]}
        for plot in plots
        if plot.figure is not None
    }
    source = json.dumps(drawn, separators=(",", ":"), allow_nan=False)  # ASCII: no line separators either
    return source.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _footer(report: Any) -> str:
    version, schema = text(report, "session", "code_version"), at(report, "schema_version")
    return (
        f"Kedge {html(version or '?')}, report schema {html(schema if schema is not None else '?')}. "
        "This file makes no network request. Plots: plotly.js, MIT license."
    )
