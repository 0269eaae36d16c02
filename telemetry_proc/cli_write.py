"""The commands that write the database: `write`, `migrate`, `backfill`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from shared import cli
from shared.settings import Telemetry
from telemetry_proc import app
from telemetry_proc.tables import SCHEMA_VERSION


def _db_option(function: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--db",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Database to use instead of the configuration's telemetry.database.",
    )(function)


@click.command()
@cli.config_options
@_db_option
def write(config_path: Path, overrides: tuple[str, ...], db: Path | None) -> None:
    """Store what engines send and journal, until SIGTERM or Ctrl-C.

    \b
    Examples:
      kedge-telemetry write -c config/paper.yaml
      kedge-telemetry write --set telemetry.flush_ms=50 --db /tmp/try.db
    """

    def load() -> Telemetry:
        settings = cli.loaded(config_path, overrides).config.telemetry
        return settings if db is None else settings.model_copy(update={"database": str(db)})

    app.run_writer(load)


@click.command()
@cli.config_options
@_db_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def migrate(config_path: Path, overrides: tuple[str, ...], db: Path | None, *, as_json: bool) -> None:
    """Bring a database to this program's schema; rows and columns that are there stay as they are.

    \b
    Examples:
      kedge-telemetry migrate --db old.db
      kedge-telemetry migrate --db old.db --json
    """
    database = _database(config_path, overrides, db)
    steps = app.run_migrate(database)
    if as_json:
        click.echo(json.dumps({"schema_version": SCHEMA_VERSION, "database": str(database), "steps": steps}))
        return
    for step in steps or (f"{database} is at schema {SCHEMA_VERSION} already",):
        click.echo(step)


@click.command()
@click.argument("sources", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="JOURNAL_OR_DIR...")
@cli.config_options
@_db_option
def backfill(sources: tuple[Path, ...], config_path: Path, overrides: tuple[str, ...], db: Path | None) -> None:
    """Store journals into a database while no writer runs; what is stored already is left out.

    \b
    Examples:
      kedge-telemetry backfill --db fresh.db data/journal
      kedge-telemetry backfill data/journal/20261120T140209-3fa9c1.kj
    """
    for done in app.run_backfill(_database(config_path, overrides, db), sources):
        missing = f", {done.missing:,} of its session missing" if done.missing else ""
        click.echo(f"{done.journal}: {done.stored:,} records stored{missing}")


def _database(config_path: Path, overrides: tuple[str, ...], db: Path | None) -> Path:
    """A database that is named needs no configuration."""
    if db is not None:
        return db
    settings: Telemetry = cli.loaded(config_path, overrides).config.telemetry
    return Path(settings.database)


COMMANDS: tuple[click.Command, ...] = (write, migrate, backfill)
