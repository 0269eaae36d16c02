"""The figures over something else than ticks: how errors were distributed, other thresholds, money.

What they need of report.json: `what_if.results`, `markouts` (rows with `error_bin`, `side`, `horizon`, `markout_bps`,
`markout_interval_bps`) and `counterfactual` (rows with `bias_threshold_bps`, `loss_avoided_quote`,
`income_forgone_quote`, `net_quote` and, where only bounds are known, `net_low_quote` and `net_high_quote`).
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from telemetry_proc.figure_style import (
    BLUE,
    GREEN,
    GREY,
    LINES,
    ORANGE,
    PURPLE,
    RED,
    SETTING,
    Figure,
    error_bars,
    layout,
    level,
    line,
    upright,
)
from telemetry_proc.report_parts import Part, entries, items, number, part, text

_NO_LEGEND = {"l": 54, "r": 14, "t": 12, "b": 42}
_CURVES = (
    ("raw", "|error|", BLUE),
    ("mean", "|window mean|", ORANGE),
    ("calm", "calm", GREEN),
    ("episode", "in episodes", PURPLE),
)


def exceedance(report: Any) -> Figure | None:
    """How large errors were how often, on a logarithmic axis."""
    curves, guard = part(report, "plots", "exceedance"), part(report, "plots", "guard")
    heights = items(curves, "bps")
    if not heights:
        return None
    marks = [
        upright(height, RED if name == "bias_threshold_bps" else GREY, "dash", name)
        for name in ("prevalence_threshold_bps", "bias_threshold_bps")
        if (height := number(guard, name)) is not None and height <= heights[-1]
    ]
    return {
        "data": [
            line(label, heights, items(curves, name), colour, hovertemplate="%{y:.3g}%")
            for name, label, colour in _CURVES
            if items(curves, name)
        ],
        "layout": layout(
            360,
            "|error|, bps",
            "ticks at or above, %",
            xaxis={"range": [0, heights[-1]], "unifiedhovertitle": {"text": "%{x:.2f} bps"}},
            yaxis={"type": "log", "tickformat": "~g", "dtick": 1},
            shapes=marks,
        ),
    }


def autocorrelation(report: Any) -> Figure | None:
    """The autocorrelation of the error at each lag."""
    rho = items(report, "plots", "autocorrelation", "rho")
    if not rho:
        return None
    lags = list(range(1, len(rho) + 1))
    return {
        "data": [
            {
                "type": "bar",
                "name": "rho",
                "x": lags,
                "y": rho,
                "marker": {"color": BLUE},
                "hovertemplate": "%{y:.3f}",
            }
        ],
        "layout": layout(
            300,
            "lag, errors",
            "autocorrelation",
            showlegend=False,
            margin=_NO_LEGEND,
            xaxis={"range": [0, len(rho) + 1], "unifiedhovertitle": {"text": "lag %{x}"}},
            yaxis={"range": [min(0, *rho, -0.1) * 1.05, 1.02], "zeroline": True},
            bargap=0.15,
        ),
    }


def heatmap(report: Any) -> Figure | None:
    """First trips under a grid of settings; one slice of it, the others under `slices` for the page to choose from.

    A cell of a slice is the lag in ticks, None for "never trips", False for a setting that was not computed.
    """
    results = entries(report, "what_if", "results")
    axes = [sorted({value for row in results if (value := number(row, name)) is not None}) for name in SETTING]
    if not all(axes):
        return None
    live = part(report, "what_if", "live") or part(report, "plots", "guard") or part(report, "guard")
    onset = _onset(report)
    trips = {tuple(number(row, name) for name in SETTING): number(row, "first_trip_tick") for row in results}

    def cell(lookback: float, bias: float, height: float, pct: float) -> float | bool | None:
        key = (lookback, bias, height, pct)
        if key not in trips:
            return False
        tick = trips[key]
        return None if tick is None else tick - onset

    lookbacks, biases, heights, shares = axes
    z = [
        [[[cell(lookback, bias, height, pct) for bias in biases] for lookback in lookbacks] for pct in shares]
        for height in heights
    ]
    start = [_nearest(axis, number(live, name)) for axis, name in zip((heights, shares), SETTING[2:], strict=True)]
    figure: Figure = {
        "data": _cells(lookbacks, biases, z[start[0]][start[1]]),
        "layout": _heat_layout(lookbacks, biases, live),
        "slices": {"prevalence_threshold_bps": heights, "prevalence_pct": shares, "start": start, "z": z},
    }
    if not onset:
        figure["data"][0]["colorbar"]["title"]["text"] = "first trip, tick"
    return figure


def _onset(report: Any) -> float:
    """Where the shift that tripped the guard began; without a trip, the first exceedance there was."""
    for where in (("explanation", "onset"), ("explanation", "ladder", "error"), ("guard", "ladder", "error")):
        onset = number(report, *where, "tick")
        if onset is not None:
            return onset
    return 0


def _nearest(axis: Sequence[float], value: float | None) -> int:
    return 0 if value is None else min(range(len(axis)), key=lambda at: abs(axis[at] - value))


def _cells(lookbacks: Sequence[float], biases: Sequence[float], z: list[list[Any]]) -> list[dict[str, Any]]:
    x, y = [f"{bias:g}" for bias in biases], [f"{lookback:g}" for lookback in lookbacks]
    never = [(x[column], y[row]) for row, lags in enumerate(z) for column, lag in enumerate(lags) if lag is None]
    heat = {
        "type": "heatmap",
        "name": "lag",
        "x": x,
        "y": y,
        "z": [[None if lag is False else lag for lag in lags] for lags in z],
        "colorscale": "Cividis",
        "reversescale": True,
        "xgap": 2,
        "ygap": 2,
        "texttemplate": "%{z:.3~s}",
        "hoverongaps": False,
        "hovertemplate": "bias %{x} bps, lookback %{y}: %{z:,} ticks<extra></extra>",
        "colorbar": {"title": {"text": "lag, ticks", "side": "right"}, "thickness": 10, "outlinewidth": 0},
    }
    crosses = {
        "type": "scatter",
        "mode": "markers",
        "name": "never trips",
        "x": [column for column, _row in never],
        "y": [row for _column, row in never],
        "marker": {"symbol": "x-thin", "size": 8, "line": {"width": 1.2, "color": GREY}},
        "hovertemplate": "bias %{x} bps, lookback %{y}: never<extra></extra>",
    }
    return [heat, crosses]


def _heat_layout(lookbacks: Sequence[float], biases: Sequence[float], live: Part) -> dict[str, Any]:
    lookback, bias = number(live, "lookback_ticks"), number(live, "bias_threshold_bps")
    boxes = []
    if lookback is not None and lookback in lookbacks and bias is not None and bias in biases:
        column, row = list(biases).index(bias), list(lookbacks).index(lookback)
        boxes.append(
            {"type": "rect", "name": "live", "x0": column - 0.5, "x1": column + 0.5, "y0": row - 0.5, "y1": row + 0.5,
             "line": {"color": RED, "width": 2.5}}
        )  # fmt: skip
    return layout(
        420,
        "bias threshold, bps",
        "lookback, errors",
        hovermode="closest",
        showlegend=False,
        margin=_NO_LEGEND,
        xaxis={"type": "category", "showgrid": False, "range": [-0.5, len(biases) - 0.5]},
        yaxis={"type": "category", "showgrid": False, "range": [-0.5, len(lookbacks) - 0.5]},
        shapes=boxes,
    )


def markouts(report: Any) -> Figure | None:
    """Markout by horizon, a line per bin of |error|, both sides."""
    rows = [row for row in entries(report, "markouts") if text(row, "side") in {"both", None}]
    horizons = list(dict.fromkeys(escape(str(row.get("horizon"))) for row in rows))
    data = []
    for at, name in enumerate(dict.fromkeys(str(row.get("error_bin")) for row in rows)):
        own = {escape(str(row.get("horizon"))): row for row in rows if str(row.get("error_bin")) == name}
        values = [number(own.get(horizon), "markout_bps") for horizon in horizons]
        if all(value is None for value in values):
            continue
        trace = line(name, horizons, values, LINES[at % len(LINES)], hovertemplate="%{y:+.2f} bps")
        trace["mode"] = "lines+markers"
        ends = [part(own.get(horizon), "markout_interval_bps") for horizon in horizons]
        if any(ends):
            trace["error_y"] = error_bars(values, ends)
        data.append(trace)
    if not data:
        return None
    return {
        "data": data,
        "layout": layout(
            360,
            "after the fill",
            "markout, bps",
            xaxis={"type": "category"},
            yaxis={"tickformat": "+~g", "zeroline": True},
            shapes=[level(0)],
        ),
    }


def counterfactual(report: Any) -> Figure | None:
    """What another bias threshold would have saved and cost."""
    rows = [row for row in entries(report, "counterfactual") if number(row, "bias_threshold_bps") is not None]
    rows.sort(key=lambda row: row["bias_threshold_bps"])
    if not rows:
        return None
    x = [row["bias_threshold_bps"] for row in rows]
    data = []
    for key, name, colour in (
        ("loss_avoided_quote", "loss avoided", GREEN),
        ("income_forgone_quote", "income forgone", ORANGE),
        ("net_quote", "net", BLUE),
    ):
        values = [number(row, key) for row in rows]
        if any(value is not None for value in values):
            trace = line(name, x, values, colour, hovertemplate="%{y:+.4f}")
            data.append({**trace, "mode": "lines+markers"})
    for key, name in (("net_low_quote", "net, at least"), ("net_high_quote", "net, at most")):
        values = [number(row, key) for row in rows]
        if any(value is not None for value in values):
            data.append(line(name, x, values, BLUE, dash="dash", hovertemplate="%{y:+.4f}"))
    if not data:
        return None
    live = number(report, "plots", "guard", "bias_threshold_bps") or number(report, "guard", "bias_threshold_bps")
    unit = text(report, "money", "quote") or "quote"
    return {
        "data": data,
        "layout": layout(
            360,
            "bias threshold, bps",
            f"{escape(unit)} against the session's own",
            xaxis={"unifiedhovertitle": {"text": "bias %{x} bps"}},
            yaxis={"tickformat": "+~g"},
            shapes=[level(0), *([] if live is None else [upright(live, RED, "solid", "live")])],
        ),
    }
