"""Sessions side by side: what they ran with, how far their errors went, what the guard did and what was traded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from telemetry_proc.answers import setting_words
from telemetry_proc.grid import Setting
from telemetry_proc.report import Report
from telemetry_proc.sessions import JSON_SCHEMA_VERSION
from telemetry_proc.wording import bps, count, duration, money, pct, to_the_second


class Line(NamedTuple):
    """One line of the comparison: its name and how to say it of a session."""

    name: str
    said: Callable[[Report], str]


def compare_json(reports: Sequence[Report]) -> dict[str, Any]:
    """`{schema_version, same_settings, sessions: [one object a session, keys as in the session's own report]}`."""
    return {
        "schema_version": JSON_SCHEMA_VERSION,
        "same_settings": len({_setting(report) for report in reports}) == 1,
        "sessions": [
            {
                "session": report.session,
                "ticks": report.ticks,
                "error": report.error,
                "guard": report.guard,
                "money": report.money,
                "notes": report.notes,
            }
            for report in reports
        ],
    }


def compare_lines(reports: Sequence[Report]) -> list[str]:
    """A table with a column a session, in the order asked for; differing settings are said first."""
    rows = [[line.name, *(line.said(report) for report in reports)] for line in _LINES]
    widths = [max(len(row[at]) for row in rows) for at in range(len(reports) + 1)]
    table = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    if len({_setting(report) for report in reports}) > 1:
        return ["The sessions ran with different guard settings: their trips do not compare.", "", *table]
    return table


def _setting(report: Report) -> str:
    guard = report.guard
    if guard.lookback_ticks is None:
        return "not recorded"
    words = setting_words(
        Setting(
            guard.lookback_ticks,
            guard.bias_threshold_bps or 0.0,
            guard.prevalence_threshold_bps or 0.0,
            guard.prevalence_pct or 0.0,
        )
    )
    return words if guard.enabled else f"{words}, off"


def _size(report: Report, name: str) -> str:
    sizes = report.error.abs_error
    if sizes is None:
        return "no data" if report.error.recorded else "not recorded"
    return bps(getattr(sizes, name))


def _nulls(report: Report) -> str:
    return pct(report.error.nulls.share_pct) if report.error.recorded else "not recorded"


def _above(report: Report) -> str:
    levels = report.error.at_or_above
    if levels is None:
        return "no data" if report.error.recorded else "not recorded"
    return pct(levels.pct_5bps)


def _trip(report: Report) -> str:
    guard = report.guard
    if guard.state != "tripped":
        return {"armed": "never tripped", "not armed": "never tripped"}.get(guard.state, guard.state)
    at = guard.ladder.both.tick if guard.ladder.both is not None else guard.recorded_trip_tick
    return f"tick {count(at)}"


def _first(report: Report) -> str:
    ladder = report.guard.ladder
    return "-" if ladder.error is None else f"tick {count(ladder.error.tick)}"


def _lag(report: Report) -> str:
    lag = report.guard.ladder.lag_ticks
    return "-" if lag is None else f"{count(lag, 'tick')} ({duration(report.guard.ladder.lag_s)})"


def _fills(report: Report) -> str:
    return count(report.money.fills) if report.money.fills_recorded else "not recorded"


def _mark(report: Report) -> str:
    first, last = report.money.mark_value_first_quote, report.money.mark_value_last_quote
    return "no data" if first is None or last is None else money(last - first, report.money.quote)


_LINES = (
    Line("session", lambda report: str(report.session.number)),
    Line("started", lambda report: to_the_second(report.session.started_at)),
    Line("status", lambda report: report.session.status or "-"),
    Line("config", lambda report: (report.session.config_hash or "-")[:8]),
    Line("guard", _setting),
    Line("replay", lambda report: report.guard.fidelity),
    Line("ticks", lambda report: count(report.ticks.recorded)),
    Line("missing", lambda report: count(report.ticks.missing)),
    Line("duration", lambda report: duration(report.ticks.duration_s)),
    Line("nulls", _nulls),
    Line("|error| p50", lambda report: _size(report, "p50_bps")),
    Line("|error| p95", lambda report: _size(report, "p95_bps")),
    Line("|error| max", lambda report: _size(report, "max_bps")),
    Line("at or above 5 bps", _above),
    Line("armed", lambda report: pct(report.guard.armed_pct)),
    Line("first exceedance", _first),
    Line("trip", _trip),
    Line("lag", _lag),
    Line("fills", _fills),
    Line("mark value", _mark),
)
