"""`kedge-telemetry journal`: look at journals, prove them, mend them, let them go.

Composition for these commands: the machine's clock is looked at here and nowhere below.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import apsw
import click
from click.core import ParameterSource

from shared import cli
from shared.clock import SystemClock
from shared.errors import IntegrityError, JournalCorrupt, KedgeError
from shared.records import KINDS
from shared.settings import Telemetry
from telemetry_proc import journal_cat
from telemetry_proc.audit import compare
from telemetry_proc.backfill import find_journals
from telemetry_proc.cli_options import database_options, json_option, number_of
from telemetry_proc.journal_check import Verdict, check, identify
from telemetry_proc.journal_repair import repair as repair_journal
from telemetry_proc.journal_survey import stored, survey
from telemetry_proc.journal_text import (
    pruned_json,
    pruned_line,
    repair_lines,
    survey_json,
    survey_table,
    verdict_json,
    verdict_lines,
)
from telemetry_proc.prune import Judged, delete, judge_all, sync_database
from telemetry_proc.reading import reading
from telemetry_proc.sessions import JSON_SCHEMA_VERSION
from telemetry_proc.wording import count

sources_argument = click.argument("sources", nargs=-1, type=click.Path(path_type=Path), metavar="[JOURNAL_OR_DIR]...")
dry_run_option = click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")


@click.group()
def journal() -> None:
    """Look at journals, prove them against the database, mend them, let them go.

    \b
    Examples:
      kedge-telemetry journal ls
      kedge-telemetry journal verify data/journal
      kedge-telemetry journal prune --dry-run

    Without a JOURNAL_OR_DIR the configuration's telemetry.journal_dir is meant.
    """


@journal.command("ls")
@sources_argument
@database_options
@json_option
def list_journals(
    sources: tuple[Path, ...], database: Path | None, config_path: Path, overrides: tuple[str, ...], *, as_object: bool
) -> None:
    """One line a journal: session, size, records, last mode, how it ended, and whether the database has it.

    \b
    Examples:
      kedge-telemetry journal ls
      kedge-telemetry journal ls archive/ --db data/kedge.db
      kedge-telemetry journal ls --json
    """
    paths = _journals(sources, config_path, overrides)
    with ExitStack() as cleanup:
        conn = _connection(_database_if_any(database, config_path, overrides), cleanup)
        found = [(seen, stored(conn, seen) if conn is not None else None) for seen in map(survey, paths)]
    if as_object:
        listed = [survey_json(seen, in_database) for seen, in_database in found]
        click.echo(json.dumps({"schema_version": JSON_SCHEMA_VERSION, "journals": listed}, allow_nan=False))
        return
    for line in survey_table(found):
        click.echo(line)


@journal.command()
@sources_argument
@database_options
@click.option("--no-db", is_flag=True, help="The journals by themselves.")
@json_option
def verify(
    sources: tuple[Path, ...],
    database: Path | None,
    config_path: Path,
    overrides: tuple[str, ...],
    *,
    no_db: bool,
    as_object: bool,
) -> None:
    """Prove that journals are whole, and that the database holds their records, each once, identical, and no others.

    \b
    Examples:
      kedge-telemetry journal verify
      kedge-telemetry journal verify data/journal/20261120T140209-3fa9c1.kj --no-db
      kedge-telemetry journal verify --json

    A torn tail is what a crash leaves: it is said, and is no failure. Ends with 4 if anything is wrong.
    """
    if no_db and database is not None:
        raise click.UsageError("--db and --no-db exclude each other")
    paths = _journals(sources, config_path, overrides)
    verdicts: list[dict[str, Any]] = []
    failed = 0
    with ExitStack() as cleanup:
        where = None if no_db else _database_if_any(database, config_path, overrides)
        conn = _connection(where, cleanup)
        if conn is None and not no_db:
            click.echo("no database there: the journals are verified by themselves", err=True)
        for verdict in (_verdict(path, conn) for path in paths):
            failed += verdict.failures > 0
            if as_object:
                verdicts.append(verdict_json(verdict))
            else:
                _echo_all(verdict_lines(verdict))
    if as_object:
        said = {"schema_version": JSON_SCHEMA_VERSION, "database": where and str(where), "journals": verdicts}
        click.echo(json.dumps(said, allow_nan=False))
    if failed:
        raise IntegrityError(f"{failed} of {count(len(paths), 'journal')} not in order")


@journal.command()
@sources_argument
@cli.config_options
@click.option("--json", "as_lines", is_flag=True, help="JSON Lines: one object a record.")
@click.option("--kind", "kinds", type=click.Choice(tuple(KINDS)), multiple=True, help="Only these; repeatable.")
@click.option("--from-seq", type=click.IntRange(min=0), default=0, help="From this record of the session on.")
@click.option("--to-seq", type=click.IntRange(min=0), default=None, help="Up to this record, itself included.")
def cat(
    sources: tuple[Path, ...],
    config_path: Path,
    overrides: tuple[str, ...],
    *,
    as_lines: bool,
    kinds: tuple[str, ...],
    from_seq: int,
    to_seq: int | None,
) -> None:
    """Print the records of journals, and damage in its place.

    \b
    Examples:
      kedge-telemetry journal cat data/journal/20261120T140209-3fa9c1.kj | less -S
      kedge-telemetry journal cat --kind breaker_event --kind mode_changed
      kedge-telemetry journal cat --json --kind tick --from-seq 100 --to-seq 200 | python -m json.tool --json-lines

    Ends with 4 if a journal is corrupt; what can be read is printed all the same.
    """
    choice = journal_cat.Choice(frozenset(kinds), from_seq, to_seq)
    render = journal_cat.as_json if as_lines else journal_cat.as_text
    complaints: dict[Path, str] = {}
    for path in _journals(sources, config_path, overrides):
        try:
            for found in journal_cat.chosen(path, choice):
                sys.stdout.write(render(found) + "\n")
                if isinstance(found, journal_cat.Damaged) and found.kind != "torn":
                    complaints[path] = complaints.get(path) or f"{path}: damaged, first at byte {found.position}"
        except JournalCorrupt as error:
            complaints[path] = str(error)
        except BrokenPipeError:
            raise  # whoever read has seen enough
        except OSError as error:
            complaints[path] = f"{path}: cannot read the journal: {error.strerror}"
    sys.stdout.flush()
    if complaints:
        raise JournalCorrupt("\n".join(complaints.values()))


@journal.command()
@sources_argument
@cli.config_options
@dry_run_option
def repair(sources: tuple[Path, ...], config_path: Path, overrides: tuple[str, ...], *, dry_run: bool) -> None:
    """Take broken bytes out of journals, and keep them beside the file; a whole journal is left as it is.

    \b
    Examples:
      kedge-telemetry journal repair --dry-run
      kedge-telemetry journal repair data/journal/20261120T140209-3fa9c1.kj
      kedge-telemetry journal repair archive/

    Brings no record back, and is no way to re-arm an engine. Ends with 75 while an engine uses the directory.
    """
    refused: list[KedgeError] = []
    for path in _journals(sources, config_path, overrides):
        try:
            _echo_all(repair_lines(repair_journal(path, dry_run=dry_run), dry_run=dry_run))
        except KedgeError as error:
            refused.append(error)
    _raise_all(refused)


@journal.command()
@sources_argument
@database_options
@click.option(
    "--keep-days",
    type=click.FloatRange(min=0, max=36_500),
    callback=number_of("days"),
    default=None,
    help="Keep what was closed less than so many days ago. Default: telemetry.keep_days of the configuration.",
)
@dry_run_option
@json_option
def prune(
    sources: tuple[Path, ...],
    database: Path | None,
    config_path: Path,
    overrides: tuple[str, ...],
    *,
    keep_days: float | None,
    dry_run: bool,
    as_object: bool,
) -> None:
    """Delete old journals whose every record is in the database, proved record by record.

    \b
    Examples:
      kedge-telemetry journal prune --dry-run
      kedge-telemetry journal prune --keep-days 90
      kedge-telemetry journal prune archive/ --db data/kedge.db --json

    Keeps what is not closed, damaged, repaired, young or not wholly stored, and always the newest of a directory.
    """
    paths = _journals(sources, config_path, overrides)
    settings = _settings(config_path, overrides) if database is None or keep_days is None else None
    where = database or Path(_given(settings).database)
    days = _given(settings).keep_days if keep_days is None else keep_days
    with reading(where) as conn:
        judged = list(judge_all(conn, paths, days, SystemClock.wall_ns()))
    if not dry_run and any(one.kept_because is None for one in judged):
        sync_database(where)
    refused: list[KedgeError] = []
    done: list[Judged] = []
    for one in judged:
        settled = one if one.kept_because is not None or dry_run else _deleted(one, refused)
        done.append(settled)
        if not as_object:
            click.echo(pruned_line(settled, dry_run=dry_run))
    if as_object:
        click.echo(json.dumps(pruned_json(done, dry_run=dry_run), allow_nan=False))
    _raise_all(refused)


# --- what is meant


def _journals(sources: tuple[Path, ...], config_path: Path, overrides: tuple[str, ...]) -> list[Path]:
    return find_journals(sources or (Path(_settings(config_path, overrides).journal_dir),))


def _database_if_any(database: Path | None, config_path: Path, overrides: tuple[str, ...]) -> Path | None:
    """A database that is named must be there; the configuration's may be missing, as may a configuration."""
    if database is not None:
        return database
    named = click.get_current_context().get_parameter_source("config_path") is not ParameterSource.DEFAULT
    if not named and not overrides and not config_path.exists():
        return None
    default = Path(_settings(config_path, overrides).database)
    return default if default.exists() else None


def _settings(config_path: Path, overrides: tuple[str, ...]) -> Telemetry:
    return cli.loaded(config_path, overrides).config.telemetry


def _given(settings: Telemetry | None) -> Telemetry:
    assert settings is not None
    return settings


def _connection(database: Path | None, cleanup: ExitStack) -> apsw.Connection | None:
    return None if database is None else cleanup.enter_context(reading(database))


# --- what is done and said


def _verdict(path: Path, conn: apsw.Connection | None) -> Verdict:
    if conn is None:
        return check(path)
    whose = identify(path)
    return whose if isinstance(whose, Verdict) else compare(conn, whose)


def _deleted(judged: Judged, refused: list[KedgeError]) -> Judged:
    try:
        delete(judged)
    except KedgeError as error:
        refused.append(error)
        return judged._replace(kept_because=str(error).removeprefix(f"{judged.path}: "))
    return judged


def _echo_all(lines: Iterator[str]) -> None:
    for line in lines:
        click.echo(line)


def _raise_all(errors: Sequence[KedgeError]) -> None:
    """All of them are said; the first decides how the command ends."""
    if errors:
        raise type(errors[0])("\n".join(map(str, errors)))


COMMANDS: tuple[click.Command, ...] = (journal,)
