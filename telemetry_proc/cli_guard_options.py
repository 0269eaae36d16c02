"""What the commands over recorded sessions have in common: which sessions, which thresholds, and what is believed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from typing import Any

import apsw
import click

from shared.clock import SystemClock, iso_utc
from shared.errors import IntegrityError, NotEnoughData, UsageError
from telemetry_proc import guard_text
from telemetry_proc.grid import Grid, parse_axis
from telemetry_proc.series_cache import SeriesCache, SessionSeries
from telemetry_proc.sessions import JSON_SCHEMA_VERSION, Session, all_sessions, pick
from telemetry_proc.wording import as_json

MISMATCHES_NAMED_MAX = 10
DAY_NS = 86_400_000_000_000

AXES = (
    ("lookback_ticks", "--lookback", "ticks"),
    ("bias_threshold_bps", "--bias", "bps"),
    ("prevalence_threshold_bps", "--prevalence-bps", "bps"),
    ("prevalence_pct", "--prevalence-pct", "percent"),
)


def grid_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """One option for each threshold, each a list (`6,6.5,7`) or a range (`4:10:0.5`)."""
    for field, option, unit in reversed(AXES):
        whole = field == "lookback_ticks"
        example = "15,25,50 or 10:150:5" if whole else "6,6.5,7 or 4:10:0.5"
        function = click.option(option, field, metavar="LIST", default=None, help=f"In {unit}: {example}.")(function)
    return function


sessions_argument = click.argument("sessions", nargs=-1, metavar="[SESSION]...")
since_option = click.option("--since", metavar="30d|DATE", default=None, help="Only sessions that began since then.")


def grid_of(axes: dict[str, str | None], unnamed: Grid) -> Grid:
    """The combinations asked for; an axis that is not named keeps what `unnamed` has."""
    named = {
        field: getattr(unnamed, field)
        if text is None
        else parse_axis(text, whole=field == "lookback_ticks", name=option)
        for (field, option, _), text in zip(AXES, (axes[field] for field, _, _ in AXES), strict=True)
    }
    return Grid.of(**named)


def every_session(conn: apsw.Connection) -> list[Session]:
    """All of them. Raises `NotEnoughData` if there are none."""
    found = all_sessions(conn)
    if not found:
        raise NotEnoughData("no sessions in this database yet")
    return found


def chosen(conn: apsw.Connection, named: Sequence[str], since: str | None) -> list[Session]:
    """The sessions that are meant, each once, in the order of their numbers."""
    found = [pick(conn, name) for name in named] if named else every_session(conn)
    meant = [session for _, session in sorted({session.session_id: session for session in found}.items())]
    if since is None:
        return meant
    earliest = _date(since)
    kept = [session for session in meant if (session.started_at or "") >= earliest]
    if not kept:
        raise NotEnoughData(f"no session began since {earliest}")
    return kept


def _date(since: str) -> str:
    """`30d` before now, or a date, as the ISO text that sessions are stamped with."""
    days = since.removesuffix("d")
    if days != since and days.isdecimal() and len(days) < 6:
        return iso_utc(max(0, SystemClock.wall_ns() - int(days) * DAY_NS))
    try:
        return date.fromisoformat(since).isoformat()
    except ValueError:
        raise UsageError(
            f"--since {since!r}: neither a number of days such as 30d nor a date such as 2026-11-01"
        ) from None


def loaded(conn: apsw.Connection, cache: SeriesCache, meant: Sequence[Session]) -> Iterator[SessionSeries]:
    """The series of each session, in order; afterwards why none could be kept, if so."""
    for session in steps("sessions", meant):
        yield cache.load(conn, session)
    if cache.note is not None:
        click.echo(f"note: {cache.note}", err=True)


def steps(what: str, sessions: Sequence[Session]) -> Iterator[Session]:
    """The sessions, one by one, with a bar on the terminal where that may take a while."""
    if len(sessions) < 2 or not sys.stderr.isatty():
        yield from sessions
        return
    with click.progressbar(sessions, label=what, file=sys.stderr, show_pos=True) as bar:
        yield from bar


def believe(found: Sequence[SessionSeries]) -> None:
    """Raises `IntegrityError` (exit 4) if the record of any session is not what the guard's own code makes of it."""
    wrong = [one for one in found if one.fidelity.state == "mismatch"]
    if wrong:
        raise IntegrityError("\n".join(guard_text.mismatch_line(one) for one in wrong[:MISMATCHES_NAMED_MAX]))


def head_json(found: SessionSeries) -> dict[str, Any]:
    """What every answer about one session begins with: which one, its ticks (`SeriesFacts`), its fidelity."""
    session, facts = found.session, found.series.facts
    return {
        "schema_version": JSON_SCHEMA_VERSION,
        "session": session.session_id,
        "uid": session.session_uid,
        "ticks": as_json(facts),
        "fidelity": as_json(found.fidelity),
    }
