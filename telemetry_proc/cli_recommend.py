"""The command `guard recommend`: the verdict on the live thresholds, and a change only if a hold-out confirms it."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import click
import numpy as np

from shared.errors import UsageError
from telemetry_proc.calibration import Calibration, calibrate, calibration_json
from telemetry_proc.cli_guard_options import (
    believe,
    chosen,
    grid_of,
    grid_options,
    say_note,
    sessions_argument,
    since_option,
    steps,
)
from telemetry_proc.cli_options import database_of, database_options, json_option, number_of, say
from telemetry_proc.grid import DEFAULT_GRID
from telemetry_proc.kept_markouts import markouts_kept
from telemetry_proc.reading import reading
from telemetry_proc.recommend_text import recommendation_lines, settings_block
from telemetry_proc.series_cache import SeriesCache
from telemetry_proc.sessions import JSON_SCHEMA_VERSION
from telemetry_proc.verdict import Budgets, Verdict

WEEK_S = 604_800
SHARE_MIN = Fraction(1, 1_000)
_SHARE = re.compile(r"\s*([0-9]{1,6}\s*/\s*[0-9]{1,6}|0?\.[0-9]{1,6})\s*")

# For scripts, like `git diff --exit-code`: only with --exit-code, so that 0 otherwise means "it ran".
VERDICT_EXIT_CODES = {
    Verdict.WELL_CALIBRATED: 0,
    Verdict.TOO_SENSITIVE: 10,
    Verdict.NOT_SENSITIVE_ENOUGH: 11,
    Verdict.WRONG_SHAPE: 12,
    Verdict.NOT_ENOUGH_DATA: 3,
}


@click.command(short_help="The verdict on the live thresholds, and a change if a hold-out confirms it.")
@sessions_argument
@since_option
@grid_options
@click.option(
    "--max-false", metavar="1/20", default="1/20", show_default=True, help="Calm sessions that may see a trip."
)
@click.option(
    "--max-miss", metavar="1/5", default="1/5", show_default=True, help="Saturated stretches that may pass without one."
)
@click.option(
    "--max-delay-s",
    type=click.FloatRange(min=0, min_open=True, max=WEEK_S),
    callback=number_of("seconds"),
    default=120.0,
    show_default=True,
    help="From the onset of a saturated stretch to the trip, on average.",
)
@click.option(
    "--beta-bps",
    type=click.FloatRange(min=0.1, max=1_000),
    callback=number_of("bps"),
    default=None,
    help="The |error| from which quoting loses money. Default: measured on the fills, assumed while they are too few.",
)
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True, help="Of the resampling.")
@click.option(
    "--exit-code", "by_verdict", is_flag=True, help="0 well, 10 too sensitive, 11 not enough, 12 wrong shape."
)
@database_options
@json_option
@click.pass_context
def recommend(
    context: click.Context,
    /,
    sessions: tuple[str, ...],
    since: str | None,
    database: Path | None,
    config_path: Path,
    overrides: tuple[str, ...],
    **asked: Any,
) -> None:
    """Judge the guard's thresholds over many sessions and recommend a change only if a hold-out confirms it.

    \b
    Examples:
      kedge-telemetry guard recommend
      kedge-telemetry guard recommend --since 90d --max-false 1/20 --max-delay-s 120
      kedge-telemetry guard recommend --json --exit-code

    The budgets are yours: how many calm sessions may see a false trip, how long a true one may take, how many may be
    missed. With --exit-code, 3 means that there is not enough data for a verdict.
    """
    path = database_of(database, config_path, overrides)
    budgets = Budgets(
        _share("--max-false", asked["max_false"]), asked["max_delay_s"], _share("--max-miss", asked["max_miss"])
    )
    grid = grid_of(asked, DEFAULT_GRID)
    cache = SeriesCache.beside(path, markouts_kept())
    with reading(path) as conn:
        found = calibrate(
            conn,
            cache,
            chosen(conn, sessions, since),
            grid,
            budgets,
            np.random.default_rng(asked["seed"]),
            believe=believe,
            beta_bps=asked["beta_bps"],
            steps=steps,
        )
    say_note(cache)
    say(_recommend_json(found) if asked["as_object"] else recommendation_lines(found.recommendation))
    if asked["by_verdict"]:
        context.exit(VERDICT_EXIT_CODES[found.recommendation.judged.verdict])


def _recommend_json(found: Calibration) -> dict[str, Any]:
    """`{schema_version, recommendation, label, break_even, agreement, settings_block}`.

    The four in the middle as in `calibration_json`. `settings_block`: the YAML to paste; null: no change.
    """
    recommended = found.recommendation.recommended
    block = None if recommended is None else settings_block(recommended)
    return {"schema_version": JSON_SCHEMA_VERSION, **calibration_json(found), "settings_block": block}


def _share(option: str, text: str) -> Fraction:
    """`1/20`, `0.05`: a share of sessions, at least 1 in 1,000 and below 1."""
    digits = _SHARE.fullmatch(text)
    try:
        share = Fraction(digits[1].replace(" ", "")) if digits else Fraction(0)
    except ZeroDivisionError:
        share = Fraction(0)
    if not SHARE_MIN <= share < 1:
        raise UsageError(f"{option} {text!r:.40}: not a share such as 1/20 or 0.05, from 1/1000 to below 1")
    return share
