"""The commands that ask the XRP Ledger: what they print, and how they end."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import FrameType

import click

from engine_proc import app
from shared.errors import KedgeError
from shared.settings import Config
from shared.stop import Stop, on_stop_signals

# engine_proc.live is imported inside each: half a second of imports that no other command should pay for.


def examine(config: Config, *, as_json: bool) -> None:
    """`check --live`. Raises `KedgeError` if something is missing for a live session."""
    from engine_proc import live, xrpl_doctor  # noqa: PLC0415

    findings = live.examine(config)
    click.echo(xrpl_doctor.as_json(findings) if as_json else xrpl_doctor.text(findings))
    failed = sum(not finding.ok for finding in findings)
    if failed:
        raise KedgeError(f"{failed} of {len(findings)} checks failed: not ready for a live session")


def cancel_everything(config: Config, *, every_pair: bool, timeout_s: float, as_json: bool) -> None:
    """`cancel-all`. Raises `KedgeError` if offers may be left, `FailSafeStop` while an engine holds the journals."""
    from engine_proc import cancel_all, live  # noqa: PLC0415

    with app.sole_engine(Path(config.telemetry.journal_dir)), stoppable() as stop:
        report = live.cancel_everything(config, stop, every_pair=every_pair, timeout_s=timeout_s)
    click.echo(cancel_all.as_json(report) if as_json else cancel_all.text(report))
    if not report.complete:
        raise KedgeError("offers may still be live; say it again, and see docs/live.md")


def record(config: Config, tape: Path, ledgers_max: int | None) -> None:
    """`record`. Raises `UsageError` for a file that is there already."""
    from engine_proc import live  # noqa: PLC0415

    with stoppable() as stop:
        ledgers = live.record(config, tape, stop, ledgers_max)
    click.echo(f"{tape}: {ledgers:,} ledgers")


@contextmanager
def stoppable() -> Iterator[Stop]:
    """A stop that SIGTERM and SIGINT request; a second one ends the process."""
    with closing(Stop()) as stop:

        def handler(number: int, _frame: FrameType | None) -> None:
            if stop.requested:
                signal.signal(number, signal.SIG_DFL)
                signal.raise_signal(number)
            stop.request()

        with on_stop_signals(handler):
            yield stop
