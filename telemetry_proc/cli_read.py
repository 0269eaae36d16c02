"""The commands that read what the writer wrote: `sessions`, `status`, `report`, `export`, `watch`. They change nothing.

Composition for the reading side: the machine's clock and the terminal are looked at here and nowhere below.
"""

from __future__ import annotations

import json
import math
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any, TextIO

import click
from click.core import ParameterSource

from shared import cli
from shared.clock import SystemClock
from shared.errors import IntegrityError, KedgeError, NotEnoughData
from telemetry_proc import export as exporting
from telemetry_proc.reading import reading
from telemetry_proc.report import as_json, build_report
from telemetry_proc.report_text import report_lines
from telemetry_proc.sessions import pick, session_lines, sessions_json, sessions_text
from telemetry_proc.status import read_status, status_lines, writer_state
from telemetry_proc.watch import Screen
from telemetry_proc.watch import watch as follow
from telemetry_proc.watch_screen import LiveScreen, PlainScreen

LIVE_INTERVAL_S = 0.25
PLAIN_INTERVAL_S = 1.0


def database_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """`--db FILE`, beside `-c` and `--set`; the command receives `database` (Path or None) as well."""
    function = cli.config_options(function)
    return click.option(
        "--db",
        "database",
        type=click.Path(path_type=Path),
        default=None,
        help="Database file. Default: telemetry.database of the configuration.",
    )(function)


def number_of(unit: str) -> Callable[[click.Context, click.Parameter, float | None], float | None]:
    """A callback that refuses NaN: a range of click's lets it pass, because it is neither below nor above anything."""

    def refuse_nan(_context: click.Context, _parameter: click.Parameter, value: float | None) -> float | None:
        if value is not None and math.isnan(value):
            raise click.BadParameter(f"not a number of {unit}")
        return value

    return refuse_nan


json_option = click.option(
    "--json", "as_object", is_flag=True, help="One JSON object: raw numbers, units in key names."
)
session_argument = click.argument("session", default="latest")


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
    with reading(_database(database, config_path, overrides)) as conn:
        lines = session_lines(conn)
    if not lines:
        raise NotEnoughData("no sessions in this database yet")
    _say(sessions_json(lines) if as_object else sessions_text(lines))


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
    path = _database(database, config_path, overrides)
    journal_dir = _journal_dir(database, config_path, overrides)
    with reading(path) as conn:
        found = read_status(conn, path, journal_dir, writer_state(path), SystemClock.wall_ns())
    _say(as_json(found) if as_object else status_lines(found))


@click.command()
@session_argument
@database_options
@json_option
def report(
    session: str,
    database: Path | None,
    config_path: Path,
    overrides: tuple[str, ...],
    as_object: bool,  # noqa: FBT001
) -> None:
    """Say what happened in SESSION: a number, the beginning of a uid, or `latest`.

    \b
    Examples:
      kedge-telemetry report
      kedge-telemetry report 41 --db data/kedge.db
      kedge-telemetry report latest --json | python -m json.tool

    Ends with 4 if the guard, run again over the stored errors, disagrees with what was recorded.
    """
    with reading(_database(database, config_path, overrides)) as conn:
        found = build_report(conn, pick(conn, session))
    _say(as_json(found) if as_object else report_lines(found))
    wrong = found.guard.disagreement
    if wrong is not None:
        raise IntegrityError(
            f"session {found.session.number}: the guard's replay disagrees with the record at tick {wrong.tick}: "
            f"{wrong.what} recorded {wrong.recorded}, recomputed {wrong.recomputed}"
        )


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
    with reading(_database(database, config_path, overrides)) as conn:
        chosen = pick(conn, session)
        if output == Path("-"):
            exporting.export_csv(conn, table, chosen.session_id, sys.stdout)
            return
        try:
            with _whole(output) as out:
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
    path = _database(database, config_path, overrides)
    live = _live()
    with live or nullcontext():
        screen: Screen = PlainScreen(_write_line) if live is None else LiveScreen(live)
        follow(
            path,
            _journal_dir(database, config_path, overrides),
            screen,
            clock=SystemClock(),
            wait=threading.Event().wait,
            interval_s=interval_s or (PLAIN_INTERVAL_S if live is None else LIVE_INTERVAL_S),
            until_closed=until_closed,
            timeout_s=timeout_s,
        )


COMMANDS: tuple[click.Command, ...] = (sessions, status, report, export, watch)


@contextmanager
def _whole(output: Path) -> Iterator[TextIO]:
    """A file that stands under its name only once it is whole: half an export must not look like one.

    What is no file, such as a pipe or /dev/null, is written to and never replaced.
    """
    if output.exists() and not output.is_file():
        with output.open("w", encoding="utf-8", newline="") as out:
            yield out
        return
    unfinished = output.with_name(output.name + ".part")
    with ExitStack() as cleanup:
        out = cleanup.enter_context(unfinished.open("w", encoding="utf-8", newline=""))
        cleanup.callback(unfinished.unlink, missing_ok=True)
        yield out
        out.close()
        unfinished.replace(output)


def _database(database: Path | None, config_path: Path, overrides: tuple[str, ...]) -> Path:
    """The file that is meant. A database that is named needs no configuration at all."""
    return database or Path(cli.loaded(config_path, overrides).config.telemetry.database)


def _journal_dir(database: Path | None, config_path: Path, overrides: tuple[str, ...]) -> Path | None:
    """Where the journals lie; unknown beside a named database, unless the configuration was named as well."""
    named = click.get_current_context().get_parameter_source("config_path") is not ParameterSource.DEFAULT
    if database is not None and not named and not overrides:
        return None
    return Path(cli.loaded(config_path, overrides).config.telemetry.journal_dir)


def _live() -> Any:
    """A rich display on a terminal that wants one, otherwise None. rich is only loaded here."""
    if not sys.stdout.isatty() or os.environ.get("TERM") == "dumb":
        return None
    from rich.console import Console  # noqa: PLC0415
    from rich.live import Live  # noqa: PLC0415

    return Live(console=Console(highlight=False), auto_refresh=False)


def _say(output: dict[str, Any] | Iterable[str]) -> None:
    if isinstance(output, dict):
        click.echo(json.dumps(output, allow_nan=False))
        return
    for line in output:
        click.echo(line)


def _write_line(line: str) -> None:
    click.echo(line)
    sys.stdout.flush()
