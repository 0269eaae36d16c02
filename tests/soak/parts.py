"""The parts of a soak. Each does one slice of work, adds to the findings, and returns a line about it."""

from __future__ import annotations

import importlib.util
import logging
import os
import random
import re
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.e2e.kill_storm import Plan, Tally, storm
from tests.e2e.pair import REPO, Home
from tests.e2e.stored import Verdict, judged
from tests.soak.findings import Findings

KILLS_A_SLICE = 60
HISTORIES_S = 15.0
TESTS_S = 60.0  # the order is another one every time, so that in the long run all of them have their turn
OUTAGES = ("test_outages.py", "test_journal_outages.py", "test_clock_jumps.py", "test_signals.py")
SUPERVISORD = ("test_supervised.py", "test_restart_storm.py")


class Slice(NamedTuple):
    """What a part is told: its seed, when to come to an end, where to add up, and whom to tell how it goes."""

    seed: int
    is_over: Callable[[], bool]
    findings: Findings
    progress: Callable[[str], None]


def kills(work: Slice) -> str:
    """One storm on a pair of its own. After a failure its directory stays."""
    directory = Path(tempfile.mkdtemp(prefix="kedge-"))
    tally = Tally(work.seed)

    def told(tally: Tally) -> None:
        work.progress(f"kills {tally.engine_kills.total()} + {tally.writer_kills.total()}")

    interrupted = True
    try:
        storm(Home(directory), tally, Plan(KILLS_A_SLICE, work.is_over, told))
        interrupted = False
    finally:
        _add(work, tally, directory, interrupted=interrupted)
    return (
        f"{tally.engine_kills.total()} + {tally.writer_kills.total()} kills, {tally.sessions} sessions, "
        f"{tally.verdict.records:,} records"
    )


def _add(work: Slice, tally: Tally, directory: Path, *, interrupted: bool) -> None:
    findings = work.findings
    findings.engine_kills += tally.engine_kills
    findings.writer_kills += tally.writer_kills
    findings.faults["half a record at the end of a journal"] += tally.torn_tails
    findings.counts.update(
        {
            "sessions": tally.sessions,
            "trips": tally.trips,
            "starts that were latched": tally.latched_starts,
            "re-arms by the operator": tally.rearms,
            "databases": tally.databases,
            "comparisons while the writer was dead": tally.prefixes,
        }
    )
    findings.wrong_rearms += len(tally.wrong_rearms)
    _add_judged(findings)
    wrong = tally.wrong_rearms if interrupted else tally.faults + tally.wrong_rearms
    findings.failures += [f"--part kills --seed {tally.seed}, left in {directory}: {what}" for what in wrong]
    if not wrong and (interrupted or tally.verdict.exact):
        shutil.rmtree(directory)


def outages(work: Slice) -> str:
    """The tests of real outages, with bigger numbers, in an order of their own."""
    return _tests("outages", OUTAGES, work)


def supervisord(work: Slice) -> str:
    """The tests under a real supervisord."""
    return _tests("supervisord", SUPERVISORD, work)


def _tests(part: str, files: tuple[str, ...], work: Slice) -> str:
    until_s = time.monotonic() + TESTS_S
    outcomes = Outcomes(work._replace(is_over=lambda: work.is_over() or time.monotonic() > until_s))
    os.environ["KEDGE_SOAK"] = "1"  # the tests read it for their numbers
    paths = [str(REPO / "tests/e2e" / name) for name in files]
    code = pytest.main(["-p", "no:terminal", "-p", "no:cacheprovider", *paths], plugins=[outcomes])
    work.findings.faults.update(outcomes.passed)
    work.findings.failures += [f"--part {part} --seed {work.seed}: {failure}" for failure in outcomes.failed]
    _add_judged(work.findings)
    if code == pytest.ExitCode.INTERRUPTED and not outcomes.out_of_time:
        raise KeyboardInterrupt
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.INTERRUPTED):
        work.findings.failures.append(f"--part {part}: pytest ended with {code!r}")
    return f"{len(outcomes.passed)} passed, {len(outcomes.failed)} failed, {outcomes.skipped} skipped"


class Outcomes:
    """A pytest plugin: shuffles by the seed, stops when the time is over, keeps what passed and failed."""

    def __init__(self, work: Slice) -> None:
        self.passed: list[str] = []
        self.failed: list[str] = []
        self.skipped = 0
        self.out_of_time = False
        self._work = work

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        random.Random(self._work.seed).shuffle(items)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            crash = getattr(report.longrepr, "reprcrash", None)
            why = str(crash.message if crash else report.longrepr).partition("\n")[0]
            self.failed.append(f"{report.nodeid} ({report.when}): {why[:300]}")
        elif report.skipped:
            self.skipped += 1
        elif report.when == "call":
            self.passed.append(fault_of(report.nodeid))
            self._work.progress(self.passed[-1])

    def pytest_runtest_logfinish(self) -> None:
        if self._work.is_over():
            self.out_of_time = True
            self._session.shouldstop = "the time is over"

    def pytest_sessionstart(self, session: pytest.Session) -> None:
        self._session = session


def fault_of(nodeid: str) -> str:
    """`test_given_a_full_disk_for_the_journal_then_degraded[limit]` is about `a full disk for the journal (limit)`."""
    name, _, parameter = nodeid.rpartition("::")[2].removeprefix("test_given_").partition("[")
    given = re.split("_then_", name)[0].replace("_", " ")
    return f"{given} ({parameter.removesuffix(']')})" if parameter else given


def _add_judged(findings: Findings) -> None:
    for verdict in judged:
        findings.verdict = findings.verdict.plus(verdict)
    judged.clear()


def sim(work: Slice) -> str:
    """Simulated histories, one a seed, for a while."""
    from tests.sim.history import run_history

    logging.disable(logging.CRITICAL)
    until_s = time.monotonic() + HISTORIES_S
    seed = first = work.seed * 1_000_000
    try:
        while time.monotonic() < until_s and not work.is_over():
            try:
                stats = run_history(seed)
            except AssertionError as error:
                work.findings.failures.append(f"python -m tests.sim {seed}: {str(error).splitlines()[0]}")
            else:
                work.findings.faults.update({f"simulated {name}": count for name, count in stats.faults.items()})
                work.findings.counts.update(
                    {
                        "simulated histories": 1,
                        "simulated crashes of the engine": stats.engine_crashes,
                        "simulated crashes of the writer": stats.writer_crashes,
                        "simulated power cuts": stats.power_losses,
                    }
                )
                work.findings.verdict = work.findings.verdict.plus(Verdict(records=stats.records_compared))
            seed += 1
            work.progress(f"{seed - first} histories")
    finally:
        logging.disable(logging.NOTSET)
    return f"{seed - first} histories"


def available() -> dict[str, Callable[[Slice], str]]:
    """Every part that this checkout can run."""
    parts = {"kills": kills, "outages": outages, "supervisord": supervisord, "sim": sim}
    if importlib.util.find_spec("tests.sim") is None:
        del parts["sim"]
    return parts
