"""The commands that calibrate the guard from the record: `guard replay | explain | whatif | sweep | recommend`.

All of them only read. Each one first asks whether the guard's own code, run over the stored errors, gives what was
recorded; where it does not, nothing is concluded and the exit code is 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import apsw
import click
import numpy as np
from click.core import ParameterSource

from shared.errors import IntegrityError, KedgeError, NotEnoughData, UsageError
from shared.settings import AnchorSaturationGuard
from telemetry_proc import guard_text
from telemetry_proc.cli_guard_options import (
    believe,
    chosen,
    disagree,
    every_session,
    grid_of,
    grid_options,
    head_json,
    loaded,
    names_of,
    one_session,
    say_note,
    sessions_argument,
    since_option,
    steps,
)
from telemetry_proc.cli_options import (
    database_of,
    database_options,
    json_option,
    output_refused,
    say,
    session_argument,
    whole_file,
)
from telemetry_proc.cli_recommend import recommend
from telemetry_proc.grid import DEFAULT_GRID, Grid, Setting
from telemetry_proc.guard_text import Unreadable
from telemetry_proc.ladder import Explanation
from telemetry_proc.ladder import explain as explained
from telemetry_proc.reading import reading
from telemetry_proc.series_cache import SeriesCache, SessionSeries
from telemetry_proc.sessions import JSON_SCHEMA_VERSION, RUNNING, Session, pick
from telemetry_proc.tick_columns import Ints
from telemetry_proc.whatif import (
    SettingSummary,
    WhatIf,
    check_size,
    hiding,
    save_sweep,
    summaries,
    trip_ticks,
    what_if,
)
from telemetry_proc.wording import as_json, count

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


@guard.command(short_help="Compare the record with the guard run again.")
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

    Ends with 4 if anything differs: a window, the tick of the trip, its sum or its count; and if a stored value makes
    no sense.
    """
    if every and click.get_current_context().get_parameter_source("session") is not ParameterSource.DEFAULT:
        raise UsageError("--all means every session, so no SESSION beside it")
    # Nothing that was kept from an earlier look: this command is the one that vouches for the others.
    cache = SeriesCache(None)
    found: list[SessionSeries | Unreadable] = []
    with reading(database_of(database, config_path, overrides)) as conn:
        for one in steps("sessions", every_session(conn) if every else [pick(conn, session)]):
            try:
                found.append(cache.load(conn, one))
            except IntegrityError as error:
                found.append(Unreadable(one, str(error)))
    say(_replay_json(found) if as_object else guard_text.replay_lines(found))
    disagree(list(guard_text.complaints(found)))


@guard.command(short_help="When it saw what, and what it waited for.")
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
        found = one_session(conn, SeriesCache.beside(path), session)
    if found.settings is None:
        raise NotEnoughData(
            f"session {found.session.session_id} did not record its thresholds: guard whatif can ask any"
        )
    if found.fidelity.state != "ok":
        raise NotEnoughData(f"session {found.session.session_id}: {guard_text.why_not_compared(found)}")
    explanation = explained(found.series, found.settings)
    if as_object:
        say(_explain_json(found, found.settings, explanation))
    else:
        say(guard_text.explain_lines(found, explanation))


@guard.command(short_help="First trips of a session under other thresholds.")
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

    A threshold that is not named stays what the session had (25 ticks, 7 bps, 5 bps, 40% where it is not on record).
    """
    path = database_of(database, config_path, overrides)
    with reading(path) as conn:
        found = one_session(conn, SeriesCache.beside(path), session)
    unnamed = Setting.of(found.settings or AnchorSaturationGuard())
    if all(text is None for text in axes.values()):
        axes = axes | {"bias_threshold_bps": NEIGHBOURING_BIASES}
    grid = grid_of(axes, Grid.of(**{name: (value,) for name, value in unnamed._asdict().items()}))
    answers = what_if(found.series, grid)
    hidden = hiding(found.series, grid)
    if as_object:
        say(_whatif_json(found, unnamed, answers, hidden))
    else:
        say(guard_text.whatif_lines(found, unnamed, answers, hidden))


@guard.command(short_help="First trips of many sessions under many thresholds.")
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

    Without thresholds: 10,000 combinations around 25 ticks, 7 bps, 5 bps and 40%.
    """
    path = database_of(database, config_path, overrides)
    grid = grid_of(axes, DEFAULT_GRID)
    refused = None if output is None else output_refused(output, path)
    if refused is not None:
        raise UsageError(f"-o {output}: {refused}")
    with reading(path) as conn:
        swept = _swept(conn, SeriesCache.beside(path), chosen(conn, sessions, since), grid)
    if output is not None:
        _save(output, swept)
    lines = list(summaries(grid, swept.first_trip_ticks))
    if as_object:
        say(_sweep_json(swept, lines))
    else:
        say(guard_text.sweep_lines(swept.found, swept.kept, swept.hiding, grid, lines))


class _Swept(NamedTuple):
    """`found` were read. `kept` have errors on record: a row each in `first_trip_ticks`, a column each setting; in
    those with their number in `hiding` a trip may have gone unseen.
    """

    found: list[SessionSeries]
    kept: list[SessionSeries]
    hiding: list[int]
    grid: Grid
    first_trip_ticks: Ints


def _swept(conn: apsw.Connection, cache: SeriesCache, meant: Sequence[Session], grid: Grid) -> _Swept:
    """Raises `IntegrityError` if a single session's replay disagrees, `NotEnoughData` if none has errors on record."""
    check_size(len(meant), grid)
    matrix = np.zeros((len(meant), grid.size), dtype=np.int64)
    found, hidden = [], []
    for row, one in enumerate(loaded(conn, cache, meant)):
        matrix[row] = trip_ticks(one.series, grid)
        hidden.append(bool(hiding(one.series, grid)))
        found.append(one._replace(series=one.series.without_columns(), extras={}))
    say_note(cache)
    believe(found)
    told = [row for row, one in enumerate(found) if one.fidelity.state != "not recorded"]
    if not told:
        raise NotEnoughData(guard_text.none_recorded(found))
    kept = [found[row] for row in told]
    seen = matrix if len(told) == len(found) else matrix[told]
    return _Swept(found, kept, [found[row].session.session_id for row in told if hidden[row]], grid, seen)


def _save(output: Path, swept: _Swept) -> None:
    grid, kept = swept.grid, swept.kept
    try:
        with whole_file(output, binary=True) as out:
            save_sweep(out, grid, [one.session.session_id for one in kept], swept.first_trip_ticks)
    except OSError as error:
        raise KedgeError(f"{output}: cannot write: {error.strerror}") from None
    click.echo(f"first trips of {count(len(kept), 'session')} x {count(grid.size, 'setting')} to {output}", err=True)


def _replay_json(found: Sequence[SessionSeries | Unreadable]) -> dict[str, Any]:
    """`{schema_version, sessions: [{session, uid, ticks, fidelity, unreadable}]}`.

    `unreadable` names the stored value that makes no sense, and then `ticks` and `fidelity` are null; else it is null.
    """
    sessions = []
    for one in found:
        if isinstance(one, Unreadable):
            sessions.append(names_of(one.session) | {"ticks": None, "fidelity": None, "unreadable": one.complaint})
        else:
            sessions.append(head_json(one) | {"unreadable": None})
    return {"schema_version": JSON_SCHEMA_VERSION, "sessions": sessions}


def _explain_json(found: SessionSeries, settings: AnchorSaturationGuard, explanation: Explanation) -> dict[str, Any]:
    """`{schema_version, session, uid, ticks, fidelity, settings, explanation}`: the last with the fields of
    `Explanation`, `settings` those of the configuration's block.
    """
    return {
        "schema_version": JSON_SCHEMA_VERSION,
        **head_json(found),
        "settings": settings.model_dump(),
        "explanation": as_json(explanation),
    }


def _whatif_json(
    found: SessionSeries, unnamed: Setting, answers: Sequence[WhatIf], hidden: Sequence[str]
) -> dict[str, Any]:
    """`{schema_version, session, uid, ticks, fidelity, live, unnamed, may_hide_a_breach, hiding, results}`.

    `results` holds a `WhatIf` a combination, the last axis running fastest. `live`: the recorded thresholds, null where
    they are not on record. `unnamed`: what the thresholds stayed at that were not named. `hiding` says why a trip under
    the thresholds asked for may have gone unseen; the fidelity's own `hiding` is about the live ones.
    """
    return {
        "schema_version": JSON_SCHEMA_VERSION,
        **head_json(found),
        "live": None if found.settings is None else Setting.of(found.settings)._asdict(),
        "unnamed": unnamed._asdict(),
        "may_hide_a_breach": bool(hidden),
        "hiding": list(hidden),
        "results": [as_json(answer) for answer in answers],
    }


def _sweep_json(swept: _Swept, lines: Sequence[SettingSummary]) -> dict[str, Any]:
    """`{schema_version, grid, sessions, not_recorded, not_compared, may_hide_a_breach, running, results}`.

    `results` holds a `SettingSummary` a combination of `grid`, the last axis running fastest, and `first_trip_ticks`:
    one a session, in the order of `sessions`, null for none; left out of answers with more than 100,000 of them.
    The other keys hold numbers of sessions: without errors on record and so not swept; without guard state to compare;
    with missing ticks in which a trip may have gone unseen; still running.
    """
    kept, matrix = swept.kept, swept.first_trip_ticks
    results = [as_json(line) for line in lines]
    if matrix.size <= CELLS_IN_JSON_MAX:
        for result, column in zip(results, matrix.T.tolist(), strict=True):
            result["first_trip_ticks"] = [tick if tick > 0 else None for tick in column]
    return {
        "schema_version": JSON_SCHEMA_VERSION,
        "grid": swept.grid._asdict(),
        "sessions": [one.session.session_id for one in kept],
        "not_recorded": [one.session.session_id for one in swept.found if one.fidelity.state == "not recorded"],
        "not_compared": [one.session.session_id for one in kept if one.fidelity.state != "ok"],
        "may_hide_a_breach": swept.hiding,
        "running": [one.session.session_id for one in kept if one.session.status == RUNNING],
        "results": results,
    }
