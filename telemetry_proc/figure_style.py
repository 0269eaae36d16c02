"""How every figure looks: colours, axes, lines for thresholds and events."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from telemetry_proc.report_parts import Part, number

Figure = dict[str, Any]

# After Okabe and Ito, shifted until each has a contrast of about 3:1 on white and on near-black.
BLUE = "#2f7fc4"
ORANGE = "#cf7a00"
GREEN = "#12967a"
PURPLE = "#a867b8"
RED = "#d2483f"
SKY = "#3f9fd0"
OCHRE = "#a78a1c"
GREY = "#868d97"
LINES = (BLUE, ORANGE, GREEN, PURPLE, SKY, OCHRE, RED)

FAINT = "rgba(134,141,151,0.22)"
SHADE = "rgba(134,141,151,0.30)"

SETTING = ("lookback_ticks", "bias_threshold_bps", "prevalence_threshold_bps", "prevalence_pct")

EVENT_STYLE: dict[str, tuple[str, str, str]] = {  # letter, colour, dash
    "error": ("a", SKY, "dot"),
    "mean": ("b", ORANGE, "dot"),
    "prevalence": ("c", GREEN, "dot"),
    "trip": ("d", RED, "solid"),
    "restart": ("r", GREY, "dash"),
    "mode": ("m", PURPLE, "dashdot"),
}
_LABEL_APART = 0.04  # of the axis: events nearer to each other than this share one label


def line(
    name: str, x: Sequence[Any], y: Sequence[Any], colour: str, *, dash: str = "solid", **more: Any
) -> dict[str, Any]:
    """A line that breaks at None."""
    return {
        "type": "scatter",
        "mode": "lines",
        "name": escape(name),
        "x": list(x),
        "y": list(y),
        "connectgaps": False,
        "line": {"color": colour, "width": 1.4, "dash": dash},
        **more,
    }


def lone_points(trace: Mapping[str, Any]) -> dict[str, Any] | None:
    """Points between two gaps, which no line shows, as dots of the same colour; None if there are none."""
    y = trace["y"]
    lone = [
        at
        for at, value in enumerate(y)
        if value is not None and (at == 0 or y[at - 1] is None) and (at + 1 == len(y) or y[at + 1] is None)
    ]
    if not lone:
        return None
    return {
        **{key: value for key, value in trace.items() if key not in {"line", "connectgaps", "customdata"}},
        "mode": "markers",
        "x": [trace["x"][at] for at in lone],
        "y": [y[at] for at in lone],
        "marker": {"color": trace["line"]["color"], "size": 3},
        "showlegend": False,
        "hoverinfo": "skip",
        "hovertemplate": None,
    }


def with_lone_points(traces: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each trace, followed by its lone points."""
    return [part for trace in traces for part in (trace, lone_points(trace)) if part is not None]


def layout(height: int, x_title: str, y_title: str, **more: Any) -> dict[str, Any]:
    """The layout all figures share. What `more` says of an axis is merged into it."""
    x_more, y_more = more.pop("xaxis", {}), more.pop("yaxis", {})
    return {
        "height": height,
        "margin": {"l": 54, "r": 14, "t": 26, "b": 76},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "system-ui, sans-serif", "size": 12},
        "hovermode": "x unified",
        "hoversubplots": "axis",
        "showlegend": True,
        "legend": {"orientation": "h", "x": 0, "yref": "container", "y": 0, "yanchor": "bottom", "font": {"size": 12}},
        "xaxis": axis(x_title, **x_more),
        "yaxis": axis(y_title, **y_more),
        **more,
    }


def axis(title: str, **more: Any) -> dict[str, Any]:
    """An axis with faint lines, and a spike under the cursor."""
    return {
        "title": {"text": title, "font": {"size": 12}, "standoff": 8},
        "gridcolor": FAINT,
        "zerolinecolor": FAINT,
        "linecolor": FAINT,
        "automargin": True,
        **more,
    }


def tick_axis(first: float, last: float) -> dict[str, Any]:
    """The x axis of all plots over ticks: the same range for all, and a spike through all panels."""
    return {
        "range": [first - 0.5, last + 0.5],
        "tickformat": ",d",
        "hoverformat": ",d",
        "unifiedhovertitle": {"text": "tick %{x:,d}"},
        "showspikes": True,
        "spikemode": "across",
        "spikesnap": "cursor",
        "spikethickness": 1,
        "spikedash": "solid",
        "spikecolor": GREY,
    }


def level(y: float, colour: str = GREY, *, yref: str = "y", dash: str = "dash") -> dict[str, Any]:
    """A horizontal line across the plot: a threshold."""
    return {
        "type": "line",
        "xref": "paper",
        "x0": 0,
        "x1": 1,
        "yref": yref,
        "y0": y,
        "y1": y,
        "line": {"color": colour, "width": 1, "dash": dash},
    }


def upright(x: float, colour: str, dash: str, name: str) -> dict[str, Any]:
    """A vertical line across all panels: an event."""
    return {
        "type": "line",
        "name": name,
        "xref": "x",
        "x0": x,
        "x1": x,
        "yref": "paper",
        "y0": 0,
        "y1": 1,
        "line": {"color": colour, "width": 1.2, "dash": dash},
    }


def event_marks(
    events: Sequence[Mapping[str, Any]], first: float, last: float
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Lines for the events between two ticks, and their letters above; neighbours share one label."""
    shapes, notes = [], []
    group: list[Mapping[str, Any]] = []
    inside = [
        event
        for event in events
        if event.get("kind") in EVENT_STYLE and (tick := number(event, "tick")) is not None and first <= tick <= last
    ]
    for event in inside:
        _letter, colour, dash = EVENT_STYLE[event["kind"]]
        shapes.append(upright(event["tick"], colour, dash, f"event-{event['kind']}"))
        if group and event["tick"] - group[0]["tick"] > _LABEL_APART * (last - first):
            notes.append(_letters(group))
            group = []
        group.append(event)
    if group:
        notes.append(_letters(group))
    return shapes, notes


def _letters(group: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    letters = "".join(dict.fromkeys(EVENT_STYLE[event["kind"]][0] for event in group))
    return {
        "text": letters,
        "x": group[0]["tick"],
        "xref": "x",
        "y": 1,
        "yref": "paper",
        "yanchor": "bottom",
        "xanchor": "center",
        "showarrow": False,
        "font": {"size": 12},
    }


def error_bars(values: Sequence[float | None], ends: Sequence[Part]) -> dict[str, Any]:
    """Bars from the lower to the upper limit of an interval around each value."""
    up, down = [], []
    for value, interval in zip(values, ends, strict=True):
        low, high = number(interval, "low"), number(interval, "high")
        up.append(None if value is None or high is None else high - value)
        down.append(None if value is None or low is None else value - low)
    return {"type": "data", "symmetric": False, "array": up, "arrayminus": down, "thickness": 1, "width": 3}
