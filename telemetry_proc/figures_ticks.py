"""The figures over ticks: error, guard, prices, and every tick around an event."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from telemetry_proc.figure_style import (
    BLUE,
    GREEN,
    GREY,
    OCHRE,
    ORANGE,
    PURPLE,
    RED,
    SHADE,
    SKY,
    Figure,
    axis,
    event_marks,
    layout,
    level,
    line,
    tick_axis,
    upright,
    with_lone_points,
)
from telemetry_proc.report_parts import Part, entries, items, number, part

_PRICES = (
    ("mid", "mid", BLUE, "solid"),
    ("clob_bid", "bid", GREY, "solid"),
    ("clob_ask", "ask", GREY, "dot"),
    ("amm_price", "pool", GREEN, "solid"),
    ("quote_anchor_price", "anchor", ORANGE, "solid"),
)


def error(report: Any) -> Figure | None:
    """The error strip, with what is not there."""
    plots, series = part(report, "plots"), part(report, "plots", "error")
    span = _span(plots)
    if span is None or not items(series, "tick"):
        return None
    trace = _timed("error", series, "bps", BLUE, "%{y:+.2f} bps", plots)
    marks, notes = event_marks(entries(plots, "events"), *span)
    data = [*_absence(plots, ("null_pct", "missing_pct")), *with_lone_points([trace])]
    return {
        "data": data,
        "layout": layout(
            330,
            "tick",
            "anchor error, bps",
            xaxis=tick_axis(*span),
            yaxis={"tickformat": "+~g", "zeroline": True},
            yaxis9=_hidden_percent("y"),
            shapes=[*_thresholds(plots, signed=True), *marks],
            annotations=notes,
        ),
    }


def guard(report: Any) -> Figure | None:
    """Two panels: the size of the window's mean, and its share."""
    plots = part(report, "plots")
    mean, share = part(plots, "mean"), part(plots, "share")
    span = _span(plots)
    if span is None or not items(mean, "tick"):
        return None
    bias, pct = number(plots, "guard", "bias_threshold_bps"), number(plots, "guard", "prevalence_pct")
    marks, notes = event_marks(entries(plots, "events"), *span)
    traces = [
        line("|mean|", items(mean, "tick"), items(mean, "bps"), ORANGE, hovertemplate="%{y:.2f} bps"),
        line("share", items(share, "tick"), items(share, "pct"), GREEN, yaxis="y2", hovertemplate="%{y:.0f}%"),
    ]
    levels = [] if bias is None else [level(bias, RED)]
    levels += [] if pct is None else [level(pct, RED, yref="y2")]
    return {
        "data": [*_absence(plots, ("unarmed_pct",)), *with_lone_points(traces)],
        "layout": layout(
            430,
            "tick",
            "|mean|, bps",
            xaxis={**tick_axis(*span), "anchor": "y2"},
            yaxis={"domain": [0.45, 1], "rangemode": "tozero"},
            yaxis2=axis("share, %", domain=[0, 0.37], range=[-2, 102]),
            yaxis9=_hidden_percent("y"),
            shapes=[*levels, *marks],
            annotations=notes,
        ),
    }


def prices(report: Any) -> Figure | None:
    """Prices with fills above; inventory and value below."""
    plots, series = part(report, "plots"), part(report, "plots", "prices")
    span = _span(plots)
    if span is None or not series:
        return None
    traces = [
        line(label, items(series, name, "tick"), items(series, name, "value"), colour, dash=dash)
        for name, label, colour, dash in _PRICES
        if items(series, name, "tick")
    ]
    for name, label, colour in (("base_balance", "held, base", PURPLE), ("mark_value", "value, quote", OCHRE)):
        if items(series, name, "tick"):
            panel = "y2" if name == "base_balance" else "y3"
            x, y = items(series, name, "tick"), items(series, name, "value")
            traces.append(line(label, x, y, colour, yaxis=panel))
    data = with_lone_points(traces) + _fills(series)
    if not data:
        return None
    marks, notes = event_marks(entries(plots, "events"), *span)
    figure_layout = layout(
        520,
        "tick",
        "price, quote per base",
        xaxis={**tick_axis(*span), "anchor": "y2"},
        yaxis={"domain": [0.42, 1], "tickformat": "~g"},
        yaxis2=axis("held", domain=[0, 0.34], tickformat=",.7~g"),
        yaxis3=axis("value", overlaying="y2", side="right", showgrid=False, tickformat=",.7~g"),
        shapes=marks,
        annotations=notes,
        meta={"fit": ["y", "y2", "y3"]},
    )
    figure_layout["margin"]["r"] = 54
    return {"data": data, "layout": figure_layout}


def closeup(report: Any) -> Figure | None:
    """Every tick around the first of the events."""
    found = closeups(report)
    return found[0][1] if found else None


def closeups(report: Any) -> tuple[tuple[str, Figure], ...]:
    """Every tick around each event, with the event's name; the trip first."""
    plots = part(report, "plots")
    return tuple(
        (f"{window.get('label')} at tick {number(window, 'tick'):,}", _closeup(report, plots, window))
        for window in entries(plots, "windows")
        if number(window, "tick") is not None and number(window, "first_tick") is not None
    )


def _closeup(report: Any, plots: Part, window: Part) -> Figure:
    errors = items(window, "error_bps")
    first = int(window["first_tick"])
    ticks = list(range(first, first + len(errors)))
    last = ticks[-1] if ticks else first
    bias, pct = number(plots, "guard", "bias_threshold_bps"), number(plots, "guard", "prevalence_pct")
    traces = [
        line("error", ticks, errors, BLUE, hovertemplate="%{y:+.2f} bps"),
        line("mean", ticks, items(window, "mean_bps"), ORANGE, hovertemplate="%{y:+.2f} bps"),
        line("share", ticks, items(window, "share_pct"), GREEN, yaxis="y2", hovertemplate="%{y:.0f}%"),
    ]
    marks, notes = event_marks(entries(plots, "events"), first, last)
    floor = _floor_tick(report)
    if floor is not None and first <= floor <= last:
        marks.append(upright(floor, OCHRE, "longdash", "floor"))
        notes.append(
            {"text": "floor", "x": floor, "xref": "x", "y": 0.99, "yref": "paper", "yanchor": "top",
             "xanchor": "left", "showarrow": False, "font": {"size": 11}}
        )  # fmt: skip
    levels = [] if bias is None else [level(bias, RED), level(-bias, RED)]
    levels += [] if pct is None else [level(pct, RED, yref="y2")]
    return {
        "data": [_counted(trace) for trace in with_lone_points(traces)],
        "layout": layout(
            430,
            "tick",
            "bps",
            xaxis={**tick_axis(first, last), "anchor": "y2"},
            yaxis={"domain": [0.42, 1], "tickformat": "+~g"},
            yaxis2=axis("share, %", domain=[0, 0.34], range=[-2, 102]),
            shapes=[*levels, *marks],
            annotations=notes,
        ),
    }


def _counted(trace: dict[str, Any]) -> dict[str, Any]:
    """A line over every tick without the list of them: plotly counts from the first one on."""
    if trace["mode"] != "lines":
        return trace
    return {**{key: value for key, value in trace.items() if key != "x"}, "x0": next(iter(trace["x"]), 0), "dx": 1}


def _floor_tick(report: Any) -> float | None:
    """The soonest the guard could have tripped: the onset, and the least it takes from there."""
    explanation = part(report, "explanation")
    onset, floor = number(explanation, "onset", "tick"), number(explanation, "floor", "lag_ticks")
    return None if onset is None or floor is None else onset + floor


def _span(plots: Part) -> tuple[float, float] | None:
    first, last = number(plots, "first_tick"), number(plots, "last_tick")
    return None if first is None or last is None else (first, last)


def _timed(name: str, series: Part, unit: str, colour: str, template: str, plots: Part) -> dict[str, Any]:
    """A line whose hover says the market's time as well."""
    trace = line(name, items(series, "tick"), items(series, unit), colour, hovertemplate=template)
    begin_ms = number(plots, "begin_ms")
    if begin_ms is not None:
        offsets = items(series, "offset_s")
        trace["customdata"] = [None if at is None else round(begin_ms + 1_000 * at) for at in offsets]
        trace["hovertemplate"] = template + "  %{customdata|%Y-%m-%d %H:%M:%S}Z"
    return trace


def _absence(plots: Part, wanted: Sequence[str]) -> list[dict[str, Any]]:
    """Areas over the stretches where something is absent, as high as the percentage of their ticks."""
    coverage = part(plots, "coverage")
    ends, begin = items(coverage, "to_tick"), number(plots, "first_tick")
    names = {"null_pct": "no error", "missing_pct": "not on record", "unarmed_pct": "not armed"}
    areas = []
    for name in wanted:
        values = items(coverage, name)
        if begin is None or not any(values):
            continue
        borders = [begin - 0.5, *(end + 0.5 for end in ends)]
        area = line(
            names[name],
            [border for pair in pairwise(borders) for border in pair],
            [value for value in values for _side in "ab"],
            GREY,
            yaxis="y9",
            fill="tozeroy",
            fillcolor=SHADE,
            hoverinfo="skip",
        )
        area["line"] = {"width": 0, "color": GREY}
        if name == "missing_pct":
            area["fillpattern"] = {"shape": "/", "size": 6, "fgcolor": GREY, "bgcolor": "rgba(0,0,0,0)"}
            del area["fillcolor"]
        areas.append(area)
    return areas


def _hidden_percent(over: str) -> dict[str, Any]:
    return {"overlaying": over, "range": [0, 100], "visible": False, "fixedrange": True}


def _thresholds(plots: Part, *, signed: bool) -> list[dict[str, Any]]:
    lines = []
    for name, colour, dash in (("prevalence_threshold_bps", GREY, "dot"), ("bias_threshold_bps", RED, "dash")):
        height = number(plots, "guard", name)
        if height is not None:
            lines += [level(sign * height, colour, dash=dash) for sign in ((1, -1) if signed else (1,))]
    return lines


def _fills(series: Part) -> list[dict[str, Any]]:
    return [
        {
            "type": "scatter",
            "mode": "markers",
            "name": name,
            "x": items(series, name, "tick"),
            "y": items(series, name, "value"),
            "marker": {"symbol": symbol, "size": 7, "color": colour, "line": {"width": 0.5, "color": "white"}},
        }
        for name, symbol, colour in (("bought", "triangle-up", SKY), ("sold", "triangle-down", RED))
        if items(series, name, "tick")
    ]
