"""What the reading commands have in common: their options, their output, a file that is whole or not there."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

import click
from click.core import ParameterSource

from shared import cli
from telemetry_proc.wording import in_one_line


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


def database_of(database: Path | None, config_path: Path, overrides: tuple[str, ...]) -> Path:
    """The file that is meant. A database that is named needs no configuration at all."""
    return database or Path(cli.loaded(config_path, overrides).config.telemetry.database)


def journal_dir_of(database: Path | None, config_path: Path, overrides: tuple[str, ...]) -> Path | None:
    """Where the journals lie; unknown beside a named database, unless the configuration was named as well."""
    named = click.get_current_context().get_parameter_source("config_path") is not ParameterSource.DEFAULT
    if database is not None and not named and not overrides:
        return None
    return Path(cli.loaded(config_path, overrides).config.telemetry.journal_dir)


def say(output: dict[str, Any] | Iterable[str]) -> None:
    """An object as one line of JSON, anything else line by line: what was recorded may hold what moves a cursor."""
    if isinstance(output, dict):
        click.echo(json.dumps(output, allow_nan=False))
        return
    for line in output:
        click.echo(in_one_line(line))


def output_refused(output: Path, *sources: Path) -> str | None:
    """Why nothing should be written there: a directory, none to write into, or what is being read; None if it may."""
    try:
        if output.is_dir():
            return "is a directory"
        if not output.parent.is_dir():
            return f"there is no directory {output.parent}"
        if any(output.exists() and source.exists() and output.samefile(source) for source in sources):
            return "is the file that is read"
    except OSError as error:
        return str(error.strerror)
    return None


@contextmanager
def whole_file(output: Path, *, binary: bool = False) -> Iterator[IO[Any]]:
    """A file that stands under its name only once it is whole: half an export must not look like one.

    What is no file, such as a pipe or /dev/null, is written to and never replaced.
    """
    how: dict[str, Any] = {"mode": "wb"} if binary else {"mode": "w", "encoding": "utf-8", "newline": ""}
    if output.exists() and not output.is_file():
        with output.open(**how) as out:
            yield out
        return
    unfinished = output.with_name(output.name + ".part")
    with ExitStack() as cleanup:
        out = cleanup.enter_context(unfinished.open(**how))
        cleanup.callback(unfinished.unlink, missing_ok=True)
        yield out
        out.close()
        unfinished.replace(output)
