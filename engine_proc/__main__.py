"""`kedge-engine`: run a session, replay one, check a configuration, halt, re-arm, cancel everything, record a tape."""

from __future__ import annotations

import csv
import logging
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TextIO

import click

from engine_proc import app, cli_live, cli_print, latch
from engine_proc.replay import QuotePair
from shared import cli
from shared.clock import SystemClock
from shared.errors import IntegrityError
from shared.log import configure_logging


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="kedge")
def engine() -> None:
    """Quote a pair, guard the anchor, put every tick on record.

    \b
    Examples:
      kedge-engine run -c config/paper.yaml             # paper trading on the simulated market
      kedge-engine run -c config/demo.yaml              # the same on a recorded tape of the ledger
      kedge-engine replay data/journal/20261120T*.kj    # prove that the record reproduces itself
      kedge-engine halt --reason "spread looks wrong"   # kill switch: cancel everything, quote no more
      kedge-engine check --live -c config/live_stage1.yaml    # the doctor: is everything there for a live session?
      kedge-engine run --live -c config/live_stage1.yaml      # real money on the XRP Ledger
    """


@engine.command()
@cli.config_options
@click.option(
    "--live",
    is_flag=True,
    envvar="KEDGE_LIVE",
    help="Real money may be traded: needed with execution.venue xrpl, refused without. Environment: KEDGE_LIVE=1.",
)
def run(config_path: Path, overrides: tuple[str, ...], *, live: bool) -> None:
    """Run one session until its feed ends or SIGTERM or SIGINT asks it to stop.

    \b
    Examples:
      kedge-engine run -c config/paper.yaml --set market.ticks_max=2000 --set market.pace_per_s=0
      kedge-engine run -c config/demo.yaml --set strategy.anchor.reference=spot
      kedge-engine run --live -c config/live_stage1.yaml
    """
    configure_logging()
    app.run_session(lambda: cli.loaded(config_path, overrides), live=live)


@engine.command()
@click.argument("journal", type=click.Path(path_type=Path))
@click.option("-c", "--config", "config_path", type=click.Path(path_type=Path), help="Other settings to replay under.")
@click.option("--set", "overrides", multiple=True, metavar="SECTION.KEY=VALUE", help="With -c: override a setting.")
@click.option("--csv", "csv_file", type=click.File("w"), help="Every tick's quotes, recorded and replayed, to FILE.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def replay(
    journal: Path, config_path: Path | None, overrides: tuple[str, ...], csv_file: TextIO | None, *, as_json: bool
) -> None:
    """Drive the engine with a stored journal.

    Without -c under the session's own settings: anchors, errors and guard verdicts must come out bit for bit, or the
    exit code is 4. With -c: what other settings would have quoted on the same views.

    \b
    Examples:
      kedge-engine replay data/journal/20261120T140209113-7f3a9c.kj
      kedge-engine replay data/journal/20261120T140209113-7f3a9c.kj -c config/paper.yaml --csv quotes.csv
    """
    if overrides and config_path is None:
        raise click.UsageError("--set needs -c: without it the session's own settings are replayed")
    loaded = None if config_path is None else cli.loaded(config_path, overrides)
    logging.disable(logging.WARNING)  # the replayed engine's own warnings are about the past
    rows = None if csv_file is None else csv.writer(csv_file, lineterminator="\n")
    if rows is not None:
        rows.writerow(QuotePair._fields)
    comparison, replayed = app.replay_journal(journal, loaded, rows.writerow if rows is not None else None)
    click.echo(cli_print.replay(journal, comparison, replayed, own_settings=loaded is None, as_json=as_json))
    if loaded is None and (
        comparison.mismatched_ticks or comparison.recorded_trip_tick != comparison.replayed_trip_tick
    ):
        raise IntegrityError(f"{journal}: the replay does not reproduce the record")


@engine.command()
@cli.config_options
@click.option("--live", is_flag=True, help="Ask the nodes and the ledger too: is everything there for a live session?")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def check(config_path: Path, overrides: tuple[str, ...], *, live: bool, as_json: bool) -> None:
    """Print the effective configuration and its hash, after the checks that `run` would make.

    With --live: one line for everything that a live session needs, ok or fail with the remedy; exit code 1 if one
    fails. Nothing is signed, and nothing is sent but questions.

    \b
    Examples:
      kedge-engine check -c config/paper.yaml
      kedge-engine check -c config/demo.yaml --set strategy.anchor.reference=spot --json
      kedge-engine check --live -c config/live_stage1.yaml
    """
    loaded = cli.loaded(config_path, overrides)
    if live:
        cli_live.examine(loaded.config, as_json=as_json)
        return
    preflight = app.preflight(loaded.config)
    click.echo(cli_print.check(loaded, preflight, as_json=as_json))


@engine.command()
@cli.config_options
@click.option("--reason", required=True, help="Why it is safe to quote again; goes on record.")
def rearm(config_path: Path, overrides: tuple[str, ...], reason: str) -> None:
    """Let the next session start ACTIVE after one that ended, or crashed, in DEGRADED or HALT.

    \b
    Example:
      kedge-engine rearm -c config/paper.yaml --reason "pool arbitraged back, spread normal"
    """
    journal_dir = Path(cli.loaded(config_path, overrides).config.telemetry.journal_dir)
    # A word given while an engine runs could lift a trip that comes after it, so none may be running.
    with app.sole_engine(journal_dir) if journal_dir.is_dir() else nullcontext():
        last = latch.rearm(journal_dir, reason, SystemClock().wall_ns())
    if last is None:
        click.echo("the halt is taken back before any engine obeyed it; the next session starts ACTIVE")
    else:
        click.echo(f"session {last.session_uid} ended in {last.mode}; the next session starts ACTIVE")


@engine.command()
@cli.config_options
@click.option("--reason", required=True, help="Why; goes on record.")
@click.option("--timeout-s", default=30.0, show_default=True, help="How long to wait for a running engine to obey.")
def halt(config_path: Path, overrides: tuple[str, ...], reason: str, timeout_s: float) -> None:
    """Kill switch: the running engine cancels all orders at its next tick and stays in HALT until `rearm`.

    Exit code 0 means that it has obeyed, or that none is running and the next one will, before its first quote.

    \b
    Example:
      kedge-engine halt -c config/live_stage1.yaml --reason "issuer announced a freeze"
    """
    journal_dir = Path(cli.loaded(config_path, overrides).config.telemetry.journal_dir)
    click.echo(app.halt(journal_dir, reason, timeout_s))


@engine.command("cancel-all")
@cli.config_options
@click.option("--every-pair", is_flag=True, help="Offers of the account in other pairs too.")
@click.option(
    "--timeout-s",
    type=click.IntRange(1, 86_400),
    default=120,
    show_default=True,
    help="How long to wait until the ledger lists none.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def cancel_all(
    config_path: Path, overrides: tuple[str, ...], *, every_pair: bool, timeout_s: int, as_json: bool
) -> None:
    """Take every open offer of the account off the ledger, and ask the ledger whether it is so.

    For when no engine runs: a running one does it by itself, see `halt`. Exit code 0 means that a validated ledger
    lists none and that nothing sent earlier can still come.

    \b
    Example:
      kedge-engine cancel-all -c config/live_stage1.yaml
    """
    configure_logging()
    cli_live.cancel_everything(
        cli.loaded(config_path, overrides).config, every_pair=every_pair, timeout_s=timeout_s, as_json=as_json
    )


@engine.command()
@cli.config_options
@click.option("-o", "--output", "tape", required=True, type=click.Path(path_type=Path), help="New file, .jsonl[.gz].")
@click.option("--ledgers", type=click.IntRange(min=1), help="Stop after so many; otherwise with Ctrl-C.")
def record(config_path: Path, overrides: tuple[str, ...], tape: Path, ledgers: int | None) -> None:
    """Record the ledger's market to a tape: every ledger's book, pool and transactions as the node says them.

    Feed `tape` plays it back. Needs no account and sends nothing but questions.

    \b
    Examples:
      kedge-engine record -c config/live_stage1.yaml -o data/xrp_rlusd.jsonl.gz
      kedge-engine run --set market.feed=tape --set market.tape=data/xrp_rlusd.jsonl.gz
    """
    configure_logging()
    trading_nothing = (*overrides, "execution.venue=paper")  # a live file needs no account for this
    cli_live.record(cli.loaded(config_path, trading_nothing).config, tape, ledgers)


def main() -> None:
    """Entry point of the console script."""
    sys.exit(cli.run(engine))


if __name__ == "__main__":
    main()
