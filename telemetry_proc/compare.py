"""Sessions side by side: what they ran with, how far their errors went, what the guard did and what was traded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from telemetry_proc.answers import live_words
from telemetry_proc.report import Report
from telemetry_proc.report_text import PAGE_COLUMNS
from telemetry_proc.sessions import JSON_SCHEMA_VERSION
from telemetry_proc.wording import bps, count, duration, in_one_line, money, pct, to_the_second

NOT_RECORDED = "not recorded"
CELL_COLUMNS_MAX = 32


class Line(NamedTuple):
    """One line of the comparison: its name and how to say it of a session."""

    name: str
    said: Callable[[Report], str]


def compare_json(reports: Sequence[Report]) -> dict[str, Any]:
    """`{schema_version, same_settings, sessions: [one object a session, keys as in the session's own report]}`.

    `same_settings` is null where the guard's settings of a session are not on record.
    """
    settings = [_setting(report) for report in reports]
    return {
        "schema_version": JSON_SCHEMA_VERSION,
        "same_settings": None if NOT_RECORDED in settings else len(set(settings)) == 1,
        "sessions": [
            {
                "session": report.session,
                "ticks": report.ticks,
                "error": report.error,
                "guard": report.guard,
                "labels": report.labels,
                "money": report.money,
                "notes": report.notes,
            }
            for report in reports
        ],
    }


def compare_lines(reports: Sequence[Report]) -> list[str]:
    """Tables with a column a session, in the order asked for, as many side by side as fit; differing settings first."""
    rows = [[line.name, *(_cell(line.said(report)) for report in reports)] for line in _LINES]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    warning = list(_different(reports))
    lines = [*warning, ""] if warning else []
    for first, last in _side_by_side(widths):
        shown = (0, *range(first, last))
        lines += ["  ".join(row[at].ljust(widths[at]) for at in shown).rstrip() for row in rows]
        lines.append("")
    return lines[:-1]


def _cell(said: str) -> str:
    """Recorded names may be of any length; one of them must not push the others off the page."""
    text = in_one_line(said)
    return text if len(text) <= CELL_COLUMNS_MAX else f"{text[: CELL_COLUMNS_MAX - 3]}..."


def _side_by_side(widths: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Columns [first, last) that fit on a page beside the first one; one of them in any case."""
    first = 1
    while first < len(widths):
        last, used = first + 1, widths[0] + 2 + widths[first]
        while last < len(widths) and used + 2 + widths[last] <= PAGE_COLUMNS:
            used += 2 + widths[last]
            last += 1
        yield first, last
        first = last


def _different(reports: Sequence[Report]) -> Iterator[str]:
    """What must be known before trips are compared."""
    settings = [_setting(report) for report in reports]
    if len(set(settings) - {NOT_RECORDED}) > 1:
        yield "The sessions ran with different guard settings: their trips do not compare."
    unknown = [
        str(report.session.number) for report, words in zip(reports, settings, strict=True) if words == NOT_RECORDED
    ]
    if unknown:
        yield f"Guard settings not recorded for {', '.join(unknown)}: nothing can be said of trips there."
    feeds = {(report.session.venue_mode, report.session.pair) for report in reports}
    if len(feeds) > 1:
        yield "The sessions ran on different markets: their errors do not compare."


def _setting(report: Report) -> str:
    words = live_words(report.guard)
    if words is None:
        return NOT_RECORDED
    return words if report.guard.enabled else f"{words}, off"


def _replay(report: Report) -> str:
    words = {"ok": "OK", "mismatch": "MISMATCH", "not recorded": NOT_RECORDED}
    return words.get(report.guard.fidelity, "nothing to compare")


def _size(report: Report, name: str) -> str:
    sizes = report.error.abs_error
    if sizes is None:
        return _absent(report)
    return bps(getattr(sizes, name))


def _absent(report: Report) -> str:
    return "no data" if report.error.recorded or not report.error.ticks else NOT_RECORDED


def _nulls(report: Report) -> str:
    share_pct = report.error.nulls.share_pct
    return pct(share_pct) if report.error.recorded and share_pct is not None else _absent(report)


def _armed(report: Report) -> str:
    share_pct = report.guard.armed_pct
    return pct(share_pct) if report.error.recorded and share_pct is not None else _absent(report)


def _above(report: Report) -> str:
    levels = report.error.at_or_above
    if levels is None:
        return _absent(report)
    return pct(levels.pct_5bps)


def _trip(report: Report) -> str:
    guard = report.guard
    if guard.disagreement is not None:
        return "MISMATCH"
    if guard.state == "tripped":
        return "unknown tick" if guard.recorded_trip_tick is None else f"tick {count(guard.recorded_trip_tick)}"
    return {"armed": "never tripped", "not armed": "never tripped"}.get(guard.state, guard.state)


def _first(report: Report) -> str:
    ladder, guard = report.guard.ladder, report.guard
    if ladder.error is not None:
        return f"tick {count(ladder.error.tick)}"
    if not report.error.n:
        return _absent(report)
    if guard.lookback_ticks is None or guard.disagreement is not None:
        return "-"
    return "cannot be said" if report.ticks.missing else "never"


def _lag(report: Report) -> str:
    lag = report.guard.ladder.lag_ticks
    if lag is None or not report.guard.trip_is_replayed:
        return "-"
    return f"{count(lag, 'tick')} ({duration(report.guard.ladder.lag_s)})"


def _fills(report: Report) -> str:
    return count(report.money.fills) if report.money.fills_recorded else NOT_RECORDED


def _mark(report: Report) -> str:
    first, last = report.money.mark_value_first_quote, report.money.mark_value_last_quote
    return "no data" if first is None or last is None else money(last - first, report.money.quote)


_LINES = (
    Line("session", lambda report: str(report.session.number)),
    Line("started", lambda report: to_the_second(report.session.started_at)),
    Line("market", lambda report: f"{report.session.venue_mode or '-'} {report.session.pair or '-'}"),
    Line("status", lambda report: report.session.status or "-"),
    Line("config", lambda report: (report.session.config_hash or "-")[:8]),
    Line("guard", _setting),
    Line("replay", _replay),
    Line("ticks", lambda report: count(report.ticks.recorded)),
    Line("missing", lambda report: count(report.ticks.missing)),
    Line("duration", lambda report: duration(report.ticks.duration_s)),
    Line("nulls", _nulls),
    Line("|error| p50", lambda report: _size(report, "p50_bps")),
    Line("|error| p95", lambda report: _size(report, "p95_bps")),
    Line("|error| max", lambda report: _size(report, "max_bps")),
    Line("at or above 5 bps", _above),
    Line("armed", _armed),
    Line("first exceedance", _first),
    Line("trip", _trip),
    Line("lag", _lag),
    Line("fills", _fills),
    Line("mark value", _mark),
)
