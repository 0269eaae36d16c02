"""The command `report`: what happened in a session, on one page, as one object, and as one HTML file."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import apsw
import click
import numpy as np
from click.core import ParameterSource

from shared.errors import IntegrityError, KedgeError, UsageError
from telemetry_proc.across import across
from telemetry_proc.calibration import calibrate
from telemetry_proc.cli_guard_options import believe, every_session, steps
from telemetry_proc.cli_options import (
    database_of,
    database_options,
    json_option,
    output_refused,
    say,
    session_argument,
    whole_file,
)
from telemetry_proc.compare import compare_json, compare_lines
from telemetry_proc.definitions import DEFINITIONS
from telemetry_proc.grid import DEFAULT_GRID
from telemetry_proc.kept_markouts import markouts_kept
from telemetry_proc.reading import reading
from telemetry_proc.recommend_text import recommendation_lines
from telemetry_proc.report import Report, build_report
from telemetry_proc.report_text import report_lines
from telemetry_proc.saved_report import page_of, read_saved, saved_disagreement
from telemetry_proc.series_cache import SeriesCache
from telemetry_proc.sessions import pick
from telemetry_proc.verdict import Budgets
from telemetry_proc.wording import as_json, in_one_line

COMPARED_MAX = 12
SEED = 1  # the default of guard recommend, so that both say the same


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
@click.option("--across", "over_all", is_flag=True, help="Add what all sessions together say of the thresholds.")
@database_options
@json_option
def report(
    session: str,
    output: Path | None,
    saved: Path | None,
    compare: str | None,
    over_all: bool,  # noqa: FBT001
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
    database. --across adds the verdict of guard recommend and the plots over all sessions. Ends with 4 if the guard,
    run again over the stored errors, disagrees with what was recorded.
    """
    _refuse_contradictions()
    if saved is not None:
        _show_saved(saved, output, as_object=as_object)
        return
    path = database_of(database, config_path, overrides)
    _refuse_output(output, path)
    with reading(path) as conn:
        if compare is not None:
            found = _compared(conn, compare)
            say(as_json(compare_json(found)) if as_object else compare_lines(found))
            _refuse_to_conclude(found)
            return
        built = build_report(conn, pick(conn, session), with_plots=output is not None or as_object)
        lines, among = report_lines(built), None
        if over_all:
            among, judged = _among_others(conn, path)
            lines = [*lines, "", "All sessions together:", *judged]
    whole = _object(built, lines, path) | {"across": among} if output is not None or as_object else None
    page = None if output is None else _rendered(whole)
    _show(whole, lines, output, page, as_object=as_object)
    _refuse_to_conclude([built])


def _refuse_contradictions() -> None:
    """Raises `UsageError` where options exclude each other, instead of leaving one of them out unsaid."""
    context = click.get_current_context()
    named = {
        name for name in context.params if context.get_parameter_source(name) not in {ParameterSource.DEFAULT, None}
    }
    for first, second, why in (
        ("saved", "compare", "--from and --compare: one of them"),
        ("saved", "session", "--from names the report, so no SESSION beside it"),
        ("saved", "database", "--from names the report, so no --db beside it"),
        ("compare", "session", "--compare names the sessions, so no SESSION beside it"),
        ("saved", "over_all", "--from shows what was saved, so no --across beside it"),
        ("compare", "over_all", "--compare and --across: one of them"),
        ("compare", "output", "--compare prints a table; there is no HTML page of it (-o)"),
    ):
        if {first, second} <= named:
            raise UsageError(why)


def _refuse_output(output: Path | None, source: Path) -> None:
    """Raises `UsageError`, before the long work, for a place where no page can or should be written."""
    why = None if output is None else output_refused(output, source)
    if why is not None:
        raise UsageError(f"-o {output}: {why}")


def _object(built: Report, lines: list[str], path: Path) -> dict[str, Any]:
    """report.json: the report, its page one as text, and how to make it again."""
    made_by = f"kedge-telemetry report {built.session.number} --db {shlex.quote(str(path))} -o report.html"
    whole: dict[str, Any] = as_json(built)
    return whole | {"page": lines, "definitions": DEFINITIONS, "command": in_one_line(made_by)}


def _among_others(conn: apsw.Connection, path: Path) -> tuple[dict[str, Any], list[str]]:
    """What `guard recommend` says, with its own defaults: as an object for the page, and as lines."""
    cache, sessions = SeriesCache.beside(path, markouts_kept()), every_session(conn)
    found = calibrate(
        conn, cache, sessions, DEFAULT_GRID, Budgets(), np.random.default_rng(SEED), believe=believe, steps=steps
    )
    told: dict[str, Any] = as_json(across(conn, cache, sessions, found))
    return told, recommendation_lines(found.recommendation)


def _show(
    whole: dict[str, Any] | None, lines: list[str], output: Path | None, page: str | None, *, as_object: bool
) -> None:
    """The report on stdout, then its page as a file; a page that cannot be written takes nothing from stdout."""
    say(whole if as_object and whole is not None else lines)
    if output is None or page is None:
        return
    try:
        with whole_file(output) as out:
            out.write(page)
    except OSError as error:
        raise KedgeError(f"{output}: cannot write: {error.strerror}") from None
    click.echo(f"\nHTML report: {output}", err=as_object)


def _rendered(whole: dict[str, Any] | None) -> str:
    from telemetry_proc.page import render_page  # noqa: PLC0415 - plotly takes its time to load

    return render_page(whole)


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


def _show_saved(saved: Path, output: Path | None, *, as_object: bool) -> None:
    _refuse_output(output, saved)
    whole = read_saved(saved)
    try:
        page = None if output is None else _rendered(whole)
    except (
        TypeError,
        ValueError,
        LookupError,
        AttributeError,
    ) as error:  # parts of the wrong kind; a report of our own has none
        raise UsageError(f"{saved}: not a report.json: a part of it is not what it should be: {error}") from None
    _show(whole, page_of(whole), output, page, as_object=as_object)
    wrong = saved_disagreement(whole)
    if wrong is not None:
        raise IntegrityError(f"{saved}: {wrong}")


def _refuse_to_conclude(reports: Sequence[Report]) -> None:
    """Raises `IntegrityError` (exit 4) if the replay of any of the sessions disagrees with its record."""
    for built in reports:
        wrong = built.guard.disagreement
        if wrong is not None:
            raise IntegrityError(
                f"session {built.session.number}: the guard's replay disagrees with the record at tick {wrong.tick}: "
                f"{wrong.what} recorded {wrong.recorded}, recomputed {wrong.recomputed}"
            )
