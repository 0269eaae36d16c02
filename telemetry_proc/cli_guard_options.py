"""What the commands over recorded sessions have in common: which sessions, which thresholds, and what is believed."""

from __future__ import annotations

import os
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
from telemetry_proc.sessions import Session, all_sessions, began_ns, pick, unlisted_sessions
from telemetry_proc.wording import as_json, count

COMPLAINTS_SHOWN_MAX = 10
NS_PER_S = 1_000_000_000
DAY_NS = 86_400 * NS_PER_S
EPOCH = date(1970, 1, 1)

AXES = (
    ("lookback_ticks", "--lookback", "In ticks: 15,25,50 or 10:150:5."),
    ("bias_threshold_bps", "--bias", "In bps: 6,6.5,7 or 4:10:0.5."),
    ("prevalence_threshold_bps", "--prevalence-bps", "In bps: 4,5,6 or 2:9."),
    ("prevalence_pct", "--prevalence-pct", "In percent: 30,40,50 or 10:80:5."),
)


def grid_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """One option for each threshold, each a list (`6,6.5,7`) or a range (`4:10:0.5`)."""
    for field, option, said in reversed(AXES):
        function = click.option(option, field, metavar="LIST", default=None, help=said)(function)
    return function


sessions_argument = click.argument("sessions", nargs=-1, metavar="[SESSION]...")
since_option = click.option(
    "--since", metavar="30d|DATE", default=None, help="Only sessions that began since then, in UTC."
)


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
    """All of them, also those that only ticks speak of. Raises `NotEnoughData` if there are none."""
    listed = all_sessions(conn)
    found = sorted((*listed, *unlisted_sessions(conn, listed)), key=lambda session: session.session_id)
    if not found:
        raise NotEnoughData("no sessions in this database yet")
    return found


def chosen(conn: apsw.Connection, named: Sequence[str], since: str | None) -> list[Session]:
    """The sessions that are meant, each once, in the order of their numbers."""
    earliest_ns = None if since is None else _moment_ns(since)
    found = [pick(conn, name) for name in named] if named else every_session(conn)
    meant = [session for _, session in sorted({session.session_id: session for session in found}.items())]
    if earliest_ns is None:
        return meant
    began = [(session, began_ns(session)) for session in meant]
    undated = sum(ns is None for _, ns in began)
    if undated:
        click.echo(f"note: left out: {count(undated, 'session')} without a recorded beginning", err=True)
    kept = [session for session, ns in began if ns is not None and ns >= earliest_ns]
    if not kept:
        raise NotEnoughData(f"no session began since {iso_utc(earliest_ns)}")
    return kept


def _moment_ns(since: str) -> int:
    """`30d` before now, or the beginning of a day in UTC."""
    days = since.removesuffix("d")
    if days != since and days.isdecimal() and len(days) < 6:
        return max(0, SystemClock.wall_ns() - int(days) * DAY_NS)
    try:
        return max(0, (date.fromisoformat(since) - EPOCH).days * DAY_NS)
    except ValueError:
        raise UsageError(
            f"--since {since!r:.40}: neither a number of days such as 30d nor a date such as 2026-11-01"
        ) from None


def loaded(conn: apsw.Connection, cache: SeriesCache, meant: Sequence[Session]) -> Iterator[SessionSeries]:
    """The series of each session, in order."""
    for session in steps("sessions", meant):
        yield cache.load(conn, session)


def one_session(conn: apsw.Connection, cache: SeriesCache, session: str) -> SessionSeries:
    """The session that is meant, believed and with errors on record."""
    found = cache.load(conn, pick(conn, session))
    say_note(cache)
    believe([found])
    if found.fidelity.state == "not recorded":
        raise NotEnoughData(guard_text.none_recorded([found]))
    return found


def say_note(cache: SeriesCache) -> None:
    """Why nothing could be kept for the next time, if so."""
    if cache.note is not None:
        click.echo(f"note: {cache.note}", err=True)


def steps(what: str, sessions: Sequence[Session]) -> Iterator[Session]:
    """The sessions, one by one, with a bar on the terminal where that may take a while."""
    if len(sessions) < 2 or not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield from sessions
        return
    with click.progressbar(sessions, label=what, file=sys.stderr, show_pos=True) as bar:
        yield from bar


def believe(found: Sequence[SessionSeries]) -> None:
    """Raises `IntegrityError` (exit 4) if the record of any session is not what the guard's own code makes of it."""
    disagree(list(guard_text.complaints(found)))


def disagree(complaints: Sequence[str]) -> None:
    """Raises `IntegrityError` with the first of the complaints, a line each, if there are any."""
    if complaints:
        more = len(complaints) - COMPLAINTS_SHOWN_MAX
        rest = [f"and {count(more, 'session')} more"] if more > 0 else []
        raise IntegrityError("\n".join([*complaints[:COMPLAINTS_SHOWN_MAX], *rest]))


def names_of(session: Session) -> dict[str, Any]:
    """Its number and its uid; null: it has none."""
    return {"session": session.session_id, "uid": session.session_uid}


def head_json(found: SessionSeries) -> dict[str, Any]:
    """What every answer about one session begins with: which one, its ticks (`SeriesFacts`), its `Fidelity`."""
    return {**names_of(found.session), "ticks": as_json(found.series.facts), "fidelity": as_json(found.fidelity)}
