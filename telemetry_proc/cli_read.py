"""The quick commands that read what the writer wrote: `sessions`, `status`, `export`, `watch`. They change nothing.

Composition for the reading side: the machine's clock and the terminal are looked at here and nowhere below.
"""

from __future__ import annotations

import os
import sys
import threading
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click

from shared.clock import SystemClock
from shared.errors import KedgeError, NotEnoughData
from telemetry_proc import export as exporting
from telemetry_proc.cli_options import (
    database_of,
    database_options,
    journal_dir_of,
    json_option,
    number_of,
    say,
    session_argument,
    whole_file,
)
from telemetry_proc.reading import reading
from telemetry_proc.sessions import pick, session_lines, sessions_json, sessions_text
from telemetry_proc.status import read_status, status_lines, writer_state
from telemetry_proc.watch import Screen
from telemetry_proc.watch import watch as follow
from telemetry_proc.watch_screen import LiveScreen, PlainScreen
from telemetry_proc.wording import as_json

LIVE_INTERVAL_S = 0.25
PLAIN_INTERVAL_S = 1.0


@click.command()
@database_options
@json_option
def sessions(database: Path | None, config_path: Path, overrides: tuple[str, ...], as_object: bool) -> None:  # noqa: FBT001
    """List the recorded sessions.

    \b
    Examples:
      kedge-telemetry sessions
      kedge-telemetry sessions --db data/demo/kedge.db
      kedge-telemetry sessions --json
    """
    with reading(database_of(database, config_path, overrides)) as conn:
        lines = session_lines(conn)
    if not lines:
        raise NotEnoughData("no sessions in this database yet")
    say(sessions_json(lines) if as_object else sessions_text(lines))


@click.command()
@database_options
@json_option
def status(database: Path | None, config_path: Path, overrides: tuple[str, ...], as_object: bool) -> None:  # noqa: FBT001
    """Say whether the record is being kept: writer, last tick, lag behind the journals, gaps, rejects.

    \b
    Examples:
      kedge-telemetry status
      kedge-telemetry status -c config/demo.yaml
      kedge-telemetry status --json
    """
    path = database_of(database, config_path, overrides)
    journal_dir = journal_dir_of(database, config_path, overrides)
    with reading(path) as conn:
        found = read_status(conn, path, journal_dir, writer_state(path), SystemClock.wall_ns())
    say(as_json(found) if as_object else status_lines(found))


@click.command()
@session_argument
@database_options
@click.option("--csv", "as_csv", is_flag=True, default=True, help="Comma-separated values; the one format there is.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, allow_dash=True), default=Path("-"), help="File; `-` is stdout."
)
@click.option("--table", type=click.Choice(exporting.TABLES), default="system_metrics", show_default=True)
def export(
    session: str,
    database: Path | None,
    config_path: Path,
    overrides: tuple[str, ...],
    as_csv: bool,  # noqa: FBT001, ARG001 - says what is the only choice today
    output: Path,
    table: str,
) -> None:
    """Write one table of SESSION (default: the latest) as CSV; NULL is an empty field, floats are exact.

    \b
    Examples:
      kedge-telemetry export latest --csv -o ticks.csv
      kedge-telemetry export 41 --csv --table fills
      kedge-telemetry export 20261120 --csv | head
    """
    with reading(database_of(database, config_path, overrides)) as conn:
        chosen = pick(conn, session)
        if output == Path("-"):
            exporting.export_csv(conn, table, chosen.session_id, sys.stdout)
            return
        try:
            with whole_file(output) as out:
                written = exporting.export_csv(conn, table, chosen.session_id, out)
        except OSError as error:
            raise KedgeError(f"{output}: cannot write: {error.strerror}") from None
    click.echo(f"{written:,} rows of {table}, session {chosen.session_id}, to {output}", err=True)


@click.command()
@database_options
@click.option("--until-closed", is_flag=True, help="End with 0 when the running session, or the next one, has closed.")
@click.option(
    "--timeout-s",
    type=click.FloatRange(min=0),
    callback=number_of("seconds"),
    default=None,
    help="Give up with 1 after so many seconds.",
)
@click.option(
    "--interval-s",
    type=click.FloatRange(min=0.01, max=3_600),
    callback=number_of("seconds"),
    default=None,
    help=f"Between looks. Default: {LIVE_INTERVAL_S:g} on a terminal, {PLAIN_INTERVAL_S:g} elsewhere.",
)
def watch(
    database: Path | None,
    config_path: Path,
    overrides: tuple[str, ...],
    until_closed: bool,  # noqa: FBT001
    timeout_s: float | None,
    interval_s: float | None,
) -> None:
    """Follow the newest session: its ticks, the guard, every mode change and trip as they happen.

    \b
    Examples:
      kedge-telemetry watch
      kedge-telemetry watch -c config/demo.yaml --until-closed --timeout-s 120
      kedge-telemetry watch --db data/kedge.db | tee watch.log
    """
    path = database_of(database, config_path, overrides)
    live = _live()
    with live or nullcontext():
        screen: Screen = PlainScreen(_write_line) if live is None else LiveScreen(live)
        follow(
            path,
            journal_dir_of(database, config_path, overrides),
            screen,
            clock=SystemClock(),
            wait=threading.Event().wait,
            interval_s=interval_s or (PLAIN_INTERVAL_S if live is None else LIVE_INTERVAL_S),
            until_closed=until_closed,
            timeout_s=timeout_s,
        )


COMMANDS: tuple[click.Command, ...] = (sessions, status, export, watch)


def _live() -> Any:
    """A rich display on a terminal that wants one, otherwise None. rich is only loaded here."""
    if not sys.stdout.isatty() or os.environ.get("TERM") == "dumb":
        return None
    from rich.console import Console  # noqa: PLC0415
    from rich.live import Live  # noqa: PLC0415

    return Live(console=Console(highlight=False), auto_refresh=False)


def _write_line(line: str) -> None:
    click.echo(line)
    sys.stdout.flush()
