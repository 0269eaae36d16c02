"""The figures over many sessions.

What they need of report.json, under `across`: `operating`, a list of points with `false_per_100_sessions`,
`false_low`, `false_high`, `delay_s`, `role` (live, recommended, frontier, shadow or other) and the four
thresholds; `sessions`, a list with `number`, `started_at`, `first_exceedance_tick` and `trip_tick`.
"""

from __future__ import annotations

from html import escape
from typing import Any

from telemetry_proc.figure_style import BLUE, GREEN, GREY, PURPLE, RED, SETTING, Figure, error_bars, layout
from telemetry_proc.report_parts import entries, number, text

_ROLES = {
    "other": ("other settings", GREY, "circle", 5),
    "frontier": ("frontier", BLUE, "circle", 7),
    "shadow": ("CUSUM, shadow", PURPLE, "diamond", 9),
    "recommended": ("recommended", GREEN, "star", 13),
    "live": ("live", RED, "square", 10),
}


def operating(report: Any) -> Figure | None:
    """Settings by what they cost: false trips and delay."""
    points = entries(report, "across", "operating")
    data = []
    for role, (name, colour, symbol, size) in _ROLES.items():
        own = [
            point
            for point in points
            if (text(point, "role") or "other") == role and number(point, "false_per_100_sessions") is not None
        ]
        if not own:
            continue
        x = [number(point, "false_per_100_sessions") for point in own]
        ends = [{"low": point.get("false_low"), "high": point.get("false_high")} for point in own]
        data.append(
            {
                "type": "scatter",
                "mode": "lines+markers" if role == "frontier" else "markers",
                "name": name,
                "x": x,
                "y": [number(point, "delay_s") for point in own],
                "text": [" / ".join(f"{number(point, key) or 0:g}" for key in SETTING) for point in own],
                "marker": {"color": colour, "symbol": symbol, "size": size},
                "error_x": {**error_bars(x, ends), "color": colour},
                "hovertemplate": "%{text}<br>%{x:.2f} false per 100, delay %{y:.1f} s<extra></extra>",
            }
        )
    if not data:
        return None
    return {
        "data": data,
        "layout": layout(
            400,
            "false trips per 100 calm sessions",
            "mean delay (restricted), s",
            hovermode="closest",
            xaxis={"rangemode": "tozero"},
            yaxis={"rangemode": "tozero"},
        ),
    }


def session_ladder(report: Any) -> Figure | None:
    """Sessions in order of their start: first exceedance to trip as a bar, calm ones as dots."""
    sessions = entries(report, "across", "sessions")
    if not sessions:
        return None
    names = [escape(str(one.get("number"))) for one in sessions]
    starts = [escape(str(one.get("started_at"))[:16]) for one in sessions]
    exceeded = [number(one, "first_exceedance_tick") for one in sessions]
    tripped = [number(one, "trip_tick") for one in sessions]
    bars = [at for at in range(len(names)) if exceeded[at] is not None and tripped[at] is not None]
    dots = [at for at in range(len(names)) if tripped[at] is None]
    return {
        "data": [
            {
                "type": "bar",
                "name": "first exceedance to trip",
                "x": [names[at] for at in bars],
                "base": [exceeded[at] for at in bars],
                "y": [(tripped[at] or 0) - (exceeded[at] or 0) for at in bars],
                "marker": {"color": RED, "line": {"color": RED, "width": 2}},
                "customdata": [starts[at] for at in bars],
                "hovertemplate": "session %{x}, %{customdata}: from tick %{base:,}, %{y:,} ticks<extra></extra>",
            },
            {
                "type": "scatter",
                "mode": "markers",
                "name": "never tripped",
                "x": [names[at] for at in dots],
                "y": [exceeded[at] or 0 for at in dots],
                "marker": {"color": GREEN, "size": 7},
                "customdata": [starts[at] for at in dots],
                "hovertemplate": "session %{x}, %{customdata}: exceeded at tick %{y:,} (0: never)<extra></extra>",
            },
        ],
        "layout": layout(
            380,
            "session",
            "tick",
            hovermode="closest",
            xaxis={"type": "category", "categoryorder": "array", "categoryarray": names},
        ),
    }
