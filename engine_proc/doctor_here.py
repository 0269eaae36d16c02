"""The doctor's look at this machine: the journal directory, what the last session left, the writer's socket."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from engine_proc.finding import Finding
from engine_proc.latch import engine_runs, start_state
from engine_proc.operator_word import HALT_FILE
from engine_proc.push_socket import handshake, prepare_socket_directory
from engine_proc.xrpl_submissions import log_path, read_submissions
from shared.curve import engine_keys
from shared.errors import KedgeError
from shared.journal import JournalWriter, journal_path
from shared.private_directory import make_private
from shared.settings import Config

WRITER_ANSWERS_MS = 2_000


def examine(config: Config) -> Iterator[Finding]:
    """Whether a session could keep its record, and what stands in the way of its first quote."""
    if config.execution.venue != "xrpl":
        found = f"{config.execution.venue}: `run --live` refuses that"
        yield Finding("venue", ok=False, found=found, remedy="execution.venue: xrpl, with market.feed: xrpl")
    journals = _journals(config)
    yield journals
    if journals.ok:
        yield _other_engine(Path(config.telemetry.journal_dir))
        yield _next_session(config)
        yield _submissions(config)
    yield _writer(config)


def _journals(config: Config) -> Finding:
    """Tried with a file of the very kind that a session opens."""
    directory = Path(config.telemetry.journal_dir)
    try:
        make_private(directory)
        probe = JournalWriter(journal_path(directory, f"preflight-{os.getpid()}"))
        probe.close()
        probe.path.unlink()
    except KedgeError as error:
        return Finding("journals", ok=False, found=str(error), remedy="a directory of our own, with room on its disk")
    except OSError as error:
        found = f"{directory}: {error.strerror}"
        return Finding("journals", ok=False, found=found, remedy="set telemetry.journal_dir to a place we may write")
    return Finding("journals", ok=True, found=f"{directory} can be written, and by nobody else")


def _other_engine(directory: Path) -> Finding:
    if engine_runs(directory):
        found = f"one is running with {directory}"
        return Finding("engine", ok=False, found=found, remedy="stop it first: two would sign for one account")
    return Finding("engine", ok=True, found="none is running with this journal directory")


def _next_session(config: Config) -> Finding:
    """The latch: what the last session ended in may outlive it."""
    directory = Path(config.telemetry.journal_dir)
    if (directory / HALT_FILE).exists():
        found = f"HALT: the kill switch is pulled ({directory / HALT_FILE})"
        return Finding("next session", ok=False, found=found, remedy="kedge-engine rearm --reason ...")
    state = start_state(directory, config.strategy.rearm, 0).state
    if state.may_quote:
        return Finding("next session", ok=True, found="starts ACTIVE")
    found = f"starts {state.mode}: {state.reason}"
    return Finding(
        "next session", ok=False, found=found, remedy="once that is settled: kedge-engine rearm --reason ..."
    )


def _submissions(config: Config) -> Finding:
    """The log of what was signed; a session without it could not tell its own transactions from a stranger's."""
    account, name = config.xrpl.account, "signed before"
    if account is None:
        return Finding(name, ok=False, found="no account is configured", remedy="set xrpl.account")
    path = log_path(Path(config.telemetry.journal_dir), account)
    try:
        said = read_submissions(path)
    except KedgeError as error:
        remedy = f"cancel-all, then move {path.name} out of the way; what it held is on the ledger too"
        return Finding(name, ok=False, found=str(error), remedy=remedy)
    if said is None:
        return Finding(name, ok=True, found="nothing; a first session")
    if (said.account, said.network_id) != (account, config.xrpl.network_id):
        found = f"{path}: is of account {said.account} on network {said.network_id}"
        return Finding(name, ok=False, found=found, remedy="a telemetry.journal_dir for each account and network")
    found = f"{len(said.pending)} transactions without an end, {len(said.offers)} offers, to ledger "
    return Finding(name, ok=True, found=f"{found}{said.processed_ledger or 'none yet'}; the next start looks them up")


def _writer(config: Config) -> Finding:
    """Whether somebody who speaks ZeroMQ, and whose key is the configured one, answers where the records go."""
    endpoint, name = config.telemetry.endpoint, "writer"
    try:
        prepare_socket_directory(endpoint)
        answer = handshake(endpoint, engine_keys(config.telemetry.keys_dir), WRITER_ANSWERS_MS)
    except KedgeError as error:
        return Finding(name, ok=False, found=str(error), remedy="mend telemetry.endpoint or telemetry.keys_dir")
    if answer == "answers":
        return Finding(name, ok=True, found=f"answers at {endpoint}")
    if answer == "turns us away":
        remedy = "exchange the public keys: kedge-telemetry keys --help"
        return Finding(name, ok=False, found=f"{endpoint}: turns us away", remedy=remedy)
    found = f"{endpoint}: nobody answers; the journal would have every record all the same"
    return Finding(name, ok=False, found=found, remedy="kedge-telemetry write -c FILE")
