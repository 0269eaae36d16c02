"""The command `report`: what happened in a session, on one page, as one object, and as one HTML file."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import apsw
import click

from shared.errors import IntegrityError, KedgeError, UsageError
from telemetry_proc.cli_options import database_of, database_options, json_option, say, session_argument, whole_file
from telemetry_proc.compare import compare_json, compare_lines
from telemetry_proc.definitions import DEFINITIONS
from telemetry_proc.reading import reading
from telemetry_proc.report import Report, build_report
from telemetry_proc.report_text import report_lines
from telemetry_proc.sessions import JSON_SCHEMA_VERSION, pick
from telemetry_proc.wording import as_json, in_one_line

COMPARED_MAX = 12


@click.command()
@session_argument
@click.option("-o", "--output", type=click.Path(path_type=Path), default=None, help="Also write the HTML page there.")
@click.option(
    "--from",
    "saved",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    default=None,
    help="Take the report from this report.json instead of a database.",
)
@click.option("--compare", metavar="41,42,43", default=None, help="These sessions side by side.")
@database_options
@json_option
def report(
    session: str,
    output: Path | None,
    saved: Path | None,
    compare: str | None,
    database: Path | None,
    config_path: Path,
    overrides: tuple[str, ...],
    as_object: bool,  # noqa: FBT001
) -> None:
    """Say what happened in SESSION: a number, the beginning of a uid, or `latest`.

    \b
    Examples:
      kedge-telemetry report latest -o report.html
      kedge-telemetry report 41 --db data/kedge.db --json > report.json
      kedge-telemetry report --compare 41,42,43

    The HTML page is one file that needs nothing else; --from report.json -o report.html makes it again without the
    database. Ends with 4 if the guard, run again over the stored errors, disagrees with what was recorded.
    """
    if saved is not None:
        if compare is not None:
            raise UsageError("--from and --compare: one of them")
        _show_saved(_read_saved(saved), output, as_object=as_object)
        return
    path = database_of(database, config_path, overrides)
    with reading(path) as conn:
        if compare is not None:
            if output is not None:
                raise UsageError("--compare prints a table; there is no HTML page of it (-o)")
            found = _compared(conn, compare)
            say(as_json(compare_json(found)) if as_object else compare_lines(found))
            _refuse_to_conclude(found)
            return
        built = build_report(conn, pick(conn, session), with_plots=output is not None or as_object)
    lines = report_lines(built)
    if output is not None or as_object:
        whole = _object(built, lines, path)
        if output is not None:
            _write_page(output, whole)
    say(whole if as_object else lines)
    if output is not None:
        click.echo(f"\nHTML report: {output}", err=as_object)
    _refuse_to_conclude([built])


def _object(built: Report, lines: list[str], path: Path) -> dict[str, Any]:
    """report.json: the report, its page one as text, and how to make it again."""
    made_by = f"kedge-telemetry report {built.session.number} --db {shlex.quote(str(path))} -o report.html"
    whole: dict[str, Any] = as_json(built)
    return whole | {"page": lines, "definitions": DEFINITIONS, "command": in_one_line(made_by)}


def _write_page(output: Path, whole: dict[str, Any]) -> None:
    from telemetry_proc.page import render_page  # noqa: PLC0415 - plotly takes its time to load

    page = render_page(whole)
    try:
        with whole_file(output) as out:
            out.write(page)
    except OSError as error:
        raise KedgeError(f"{output}: cannot write: {error.strerror}") from None


def _compared(conn: apsw.Connection, compare: str) -> list[Report]:
    names = [name.strip() for name in compare.split(",") if name.strip()]
    if not 2 <= len(names) <= COMPARED_MAX:
        raise UsageError(f"--compare takes 2 to {COMPARED_MAX} sessions, separated by commas: 41,42,43")
    sessions = [pick(conn, name) for name in names]
    numbers = [session.session_id for session in sessions]
    twice = next((number for number in numbers if numbers.count(number) > 1), None)
    if twice is not None:
        raise UsageError(f"--compare names session {twice} twice")
    return [build_report(conn, session) for session in sessions]


def _read_saved(saved: Path) -> dict[str, Any]:
    """Raises `UsageError` for a file that is no report of a version that this program knows."""
    try:
        found = json.loads(saved.read_text(encoding="utf-8"), parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise UsageError(f"{saved}: not a report.json: it does not read as JSON") from None
    version = found.get("schema_version") if isinstance(found, dict) else None
    if not isinstance(found, dict) or not isinstance(version, int) or not isinstance(found.get("session"), dict):
        raise UsageError(f"{saved}: not a report.json: it has no schema_version and session")
    if version > JSON_SCHEMA_VERSION:
        raise UsageError(f"{saved}: schema_version {version} is newer than this program's {JSON_SCHEMA_VERSION}")
    return found


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON's")


def _show_saved(whole: dict[str, Any], output: Path | None, *, as_object: bool) -> None:
    if output is not None:
        _write_page(output, whole)
    page = whole.get("page")
    lines = [in_one_line(str(line)) for line in page] if isinstance(page, list) else []
    say(whole if as_object else lines)
    if output is not None:
        click.echo(f"\nHTML report: {output}", err=as_object)


def _refuse_to_conclude(reports: Sequence[Report]) -> None:
    """Raises `IntegrityError` (exit 4) if the replay of any of the sessions disagrees with its record."""
    for built in reports:
        wrong = built.guard.disagreement
        if wrong is not None:
            raise IntegrityError(
                f"session {built.session.number}: the guard's replay disagrees with the record at tick {wrong.tick}: "
                f"{wrong.what} recorded {wrong.recorded}, recomputed {wrong.recomputed}"
            )
