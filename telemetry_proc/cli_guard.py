"""The commands that calibrate the guard from the record: `guard replay | explain | whatif | sweep | recommend`.

All of them only read. Each one first asks whether the guard's own code, run over the stored errors, gives what was
recorded; where it does not, nothing is concluded and the exit code is 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import apsw
import click
import numpy as np

from shared.errors import KedgeError, NotEnoughData
from shared.settings import AnchorSaturationGuard
from telemetry_proc import guard_text
from telemetry_proc.cli_guard_options import (
    believe,
    chosen,
    every_session,
    grid_of,
    grid_options,
    head_json,
    loaded,
    sessions_argument,
    since_option,
)
from telemetry_proc.cli_options import database_of, database_options, json_option, say, session_argument, whole_file
from telemetry_proc.cli_recommend import recommend
from telemetry_proc.grid import DEFAULT_GRID, Grid, Setting
from telemetry_proc.ladder import explain as explained
from telemetry_proc.reading import reading
from telemetry_proc.series_cache import SeriesCache, SessionSeries
from telemetry_proc.sessions import JSON_SCHEMA_VERSION, pick
from telemetry_proc.tick_columns import Ints
from telemetry_proc.whatif import SettingSummary, save_sweep, summaries, trip_ticks, what_if
from telemetry_proc.wording import as_json

NEIGHBOURING_BIASES = "6,6.5,7,7.5,8"
CELLS_IN_JSON_MAX = 100_000


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def guard() -> None:
    """Calibrate the guard on anchor error from the record; nothing is changed.

    \b
    Examples:
      kedge-telemetry guard explain latest
      kedge-telemetry guard whatif latest --bias 6,6.5,7,7.5,8 --lookback 15,25,50
      kedge-telemetry guard recommend --max-false 1/20 --max-delay-s 120
    """


guard.add_command(recommend)


@guard.command()
@session_argument
@click.option("--all", "every", is_flag=True, help="Every session of the database.")
@database_options
@json_option
def replay(
    session: str,
    every: bool,  # noqa: FBT001
    database: Path | None,
    config_path: Path,
    overrides: tuple[str, ...],
    as_object: bool,  # noqa: FBT001
) -> None:
    """Run the guard again over the stored errors of SESSION and compare with what was recorded.

    \b
    Examples:
      kedge-telemetry guard replay latest
      kedge-telemetry guard replay --all
      kedge-telemetry guard replay 41 --db data/kedge.db --json

    Ends with 4 if anything differs: a window, the tick of the trip, its sum or its count.
    """
    with reading(database_of(database, config_path, overrides)) as conn:
        chosen = every_session(conn) if every else [pick(conn, session)]
        # Nothing that was kept from an earlier look: this command is the one that vouches for the others.
        found = list(loaded(conn, SeriesCache(None), chosen))
    say(_replay_json(found) if as_object else guard_text.replay_lines(found))
    believe(found)


@guard.command()
@session_argument
@database_options
@json_option
def explain(
    session: str,
    database: Path | None,
    config_path: Path,
    overrides: tuple[str, ...],
    as_object: bool,  # noqa: FBT001
) -> None:
    """Say when the error of SESSION first went too far, what the guard waited for, and how much of that it had to.

    \b
    Examples:
      kedge-telemetry guard explain
      kedge-telemetry guard explain 41 --db data/kedge.db
      kedge-telemetry guard explain latest --json | python -m json.tool
    """
    path = database_of(database, config_path, overrides)
    with reading(path) as conn:
        found = _one(conn, path, session)
    if found.settings is None:
        raise NotEnoughData(
            f"session {found.session.session_id} did not record its thresholds: guard whatif can ask any"
        )
    if found.fidelity.state != "ok":
        raise NotEnoughData(f"session {found.session.session_id}: {guard_text.why_not_compared(found)}")
    explanation = explained(found.series, found.settings)
    if as_object:
        say(head_json(found) | {"settings": found.settings.model_dump(), "explanation": as_json(explanation)})
    else:
        say(guard_text.explain_lines(found, explanation))


@guard.command()
@session_argument
@grid_options
@database_options
@json_option
def whatif(
    session: str,
    database: Path | None,
    config_path: Path,
    overrides: tuple[str, ...],
    as_object: bool,  # noqa: FBT001
    **axes: str | None,
) -> None:
    """Say on which tick of SESSION the guard would first have tripped under other thresholds.

    \b
    Examples:
      kedge-telemetry guard whatif latest --bias 6,6.5,7,7.5,8 --lookback 15,25,50
      kedge-telemetry guard whatif 41 --prevalence-pct 30:60:10
      kedge-telemetry guard whatif latest --bias 4:10:0.5 --json

    A threshold that is not named stays what the session had (25 ticks, 7 bps, 5 bps, 40 % where it is not on record).
    """
    path = database_of(database, config_path, overrides)
    with reading(path) as conn:
        found = _one(conn, path, session)
    live = _live_setting(found)
    if not any(axes.values()):
        axes = axes | {"bias_threshold_bps": NEIGHBOURING_BIASES}
    grid = grid_of(axes, Grid.of(**{name: (value,) for name, value in live._asdict().items()}))
    answers = what_if(found.series, grid)
    if as_object:
        say(
            head_json(found)
            | {
                "live": live._asdict(),
                "results": [as_json(answer) for answer in answers],
            }
        )
    else:
        say(guard_text.whatif_lines(found, live, answers))


@guard.command()
@sessions_argument
@since_option
@grid_options
@click.option("-o", "--output", type=click.Path(path_type=Path), default=None, help="All first trips as a .npz file.")
@database_options
@json_option
def sweep(
    sessions: tuple[str, ...],
    since: str | None,
    output: Path | None,
    database: Path | None,
    config_path: Path,
    overrides: tuple[str, ...],
    as_object: bool,  # noqa: FBT001
    **axes: str | None,
) -> None:
    """Say how often, and how early, the guard would have tripped over many sessions (default: all of them).

    \b
    Examples:
      kedge-telemetry guard sweep
      kedge-telemetry guard sweep --since 30d --lookback 10:150:10 --bias 4:10:0.5
      kedge-telemetry guard sweep 41 42 43 --bias 6,7,8 --json

    Without thresholds: 10,000 combinations around 25 ticks, 7 bps, 5 bps and 40 %.
    """
    path = database_of(database, config_path, overrides)
    grid = grid_of(axes, DEFAULT_GRID)
    with reading(path) as conn:
        meant = chosen(conn, sessions, since)
        matrix = np.zeros((len(meant), grid.size), dtype=np.int64)
        found = []
        for row, one in enumerate(loaded(conn, SeriesCache.beside(path), meant)):
            matrix[row] = trip_ticks(one.series, grid)
            found.append(one._replace(series=one.series.without_columns(), extras={}))
    believe(found)
    told = [row for row, one in enumerate(found) if one.fidelity.state != "not recorded"]
    if not told:
        raise NotEnoughData(guard_text.none_recorded(found))
    kept, matrix = [found[row] for row in told], matrix[told]
    if output is not None:
        _save(output, grid, kept, matrix)
    lines = list(summaries(grid, matrix))
    if as_object:
        say(_sweep_json(found, kept, grid, matrix, lines))
    else:
        say(guard_text.sweep_lines(found, kept, grid, lines))


def _live_setting(found: SessionSeries) -> Setting:
    """What the session ran with; the shipped defaults where that is not on record."""
    return Setting.of(found.settings or AnchorSaturationGuard())


def _one(conn: apsw.Connection, path: Path, session: str) -> SessionSeries:
    """The session that is meant, believed and with errors on record."""
    found = next(loaded(conn, SeriesCache.beside(path), [pick(conn, session)]))
    believe([found])
    if found.fidelity.state == "not recorded":
        raise NotEnoughData(guard_text.none_recorded([found]))
    return found


def _save(output: Path, grid: Grid, kept: Sequence[SessionSeries], matrix: Ints) -> None:
    try:
        with whole_file(output, binary=True) as out:
            save_sweep(out, grid, [one.session.session_id for one in kept], matrix)
    except OSError as error:
        raise KedgeError(f"{output}: cannot write: {error.strerror}") from None
    click.echo(f"first trips of {len(kept):,} sessions x {grid.size:,} settings to {output}", err=True)


def _replay_json(found: Sequence[SessionSeries]) -> dict[str, Any]:
    """`{schema_version, sessions: [{session, uid, ticks, fidelity}]}`."""
    sessions = [{key: value for key, value in head_json(one).items() if key != "schema_version"} for one in found]
    return {"schema_version": JSON_SCHEMA_VERSION, "sessions": sessions}


def _sweep_json(
    found: Sequence[SessionSeries],
    kept: Sequence[SessionSeries],
    grid: Grid,
    matrix: Ints,
    lines: Sequence[SettingSummary],
) -> dict[str, Any]:
    """`first_trip_ticks` of a setting: one a session, in the order of `sessions`; left out of very large answers."""
    results = [as_json(line) for line in lines]
    if matrix.size <= CELLS_IN_JSON_MAX:
        for result, column in zip(results, matrix.T.tolist(), strict=True):
            result["first_trip_ticks"] = [tick if tick > 0 else None for tick in column]
    return {
        "schema_version": JSON_SCHEMA_VERSION,
        "grid": grid._asdict(),
        "sessions": [one.session.session_id for one in kept],
        "not_recorded": [one.session.session_id for one in found if one.fidelity.state == "not recorded"],
        "not_compared": [one.session.session_id for one in kept if one.fidelity.state != "ok"],
        "may_hide_a_breach": [one.session.session_id for one in kept if one.fidelity.may_hide_a_breach],
        "results": results,
    }
