"""The pair under a real supervisord that restarts what is killed: again and again, and never back to quoting."""

from __future__ import annotations

import os
import signal
import time
from contextlib import ExitStack
from xmlrpc.client import ServerProxy

import pytest
from supervisor.xmlrpc import SupervisorTransport

from telemetry_proc import lock
from tests.e2e.latch_judge import LatchJudge
from tests.e2e.pair import WAIT_S, Home, writer
from tests.e2e.stored import compare_all, written
from tests.e2e.test_supervised import Supervised, supervised

__all__ = ["supervised"]

SOAKING = "KEDGE_SOAK" in os.environ
ENGINE_KILLS, WRITER_KILLS = (8, 25) if SOAKING else (3, 10)
SIM = ("market.pace_per_s=400", "telemetry.linger_ms=0", "telemetry.outbox_max=50")
NOBODY = lock.Holder(0, "", "")
DRAGGED = "market: {feed: sim, sim: {scenario: [{kind: calm, ticks: 60}, {kind: drag, ticks: 400}]}}\n"


class Watched:
    """supervisord's own view of its two programs, asked over its socket."""

    def __init__(self, home: Home, pair: Supervised) -> None:
        self.home = home
        self.pair = pair
        self.transport = SupervisorTransport(None, None, f"unix://{pair.conf.parent}/data/run/supervisor.sock")
        self.proxy = ServerProxy("http://localhost", self.transport)

    def close(self) -> None:
        self.transport.close()

    def info(self, program: str) -> dict:
        """State, pid, exit status; asked until supervisord answers."""
        while True:
            try:
                return self.proxy.supervisor.getProcessInfo(program)
            except OSError:
                self.close()
                assert self.pair.popen.poll() is None, "supervisord ended"
                time.sleep(0.02)

    def kill(self, wanted: dict[str, int]) -> None:
        """kill -9 for both programs, each as soon as it is at work again, until each had enough."""
        killed = dict.fromkeys(wanted, 0)
        until_s = time.monotonic() + 3 * WAIT_S
        while killed != wanted:
            assert time.monotonic() < until_s, killed
            for program, kills in wanted.items():
                info = self.info(program)
                if killed[program] < kills and info["statename"] == "RUNNING" and self.at_work(info, killed[program]):
                    os.kill(info["pid"], signal.SIGKILL)
                    killed[program] += 1
                    while self.info(program)["pid"] == info["pid"]:
                        time.sleep(0.01)
            time.sleep(0.02)

    def at_work(self, info: dict, killed: int) -> bool:
        """The engine has journalled since it was killed last; the writer holds the database."""
        if info["name"] == "engine":
            return sum(journal.stat().st_size > 5_000 for journal in self.home.journals()) > killed
        return (lock.holder(self.home.database) or NOBODY).pid == info["pid"]


def test_given_supervisord_when_both_are_killed_again_and_again_then_restarted_never_quoting_and_nothing_lost(
    home: Home, supervised, cleanup: ExitStack, started
) -> None:
    _market, _, telemetry = home.config.read_text().partition("telemetry:")
    home.config.write_text(DRAGGED + "telemetry:" + telemetry)
    pair = supervised(*SIM)
    watched = Watched(home, pair)
    cleanup.callback(watched.close)
    while not any(b"breaker_event" in journal.read_bytes() for journal in home.journals()):
        assert pair.popen.poll() is None
        time.sleep(0.05)
    watched.kill({"engine": ENGINE_KILLS, "telemetry": WRITER_KILLS})
    while not watched.at_work(watched.info("engine"), ENGINE_KILLS):
        time.sleep(0.05)
    pair.close()
    assert started(writer(home)).stop() == 0  # the one under supervisord may still have been starting
    # Every session after the trip began DEGRADED and sent nothing, and the database has all of them
    judge = LatchJudge()
    sessions = [written(journal) for journal in home.journals()]
    assert [judge.complaints(session) for session in sessions] == [[] for _ in sessions]
    assert judge.latched_starts == ENGINE_KILLS
    assert compare_all(home.database, home.journals()).exact


@pytest.mark.parametrize(
    ("line", "exit_code"),
    [("market: {feed: sim, typo: 1}\n", 78), ("telemetry: {journal_dir: FILE/j}\n", 75)],
    ids=["configuration", "journal"],
)
def test_given_an_engine_that_must_not_be_restarted_then_supervisord_leaves_it_alone(
    home: Home, supervised, cleanup: ExitStack, line: str, exit_code: int
) -> None:
    (home.directory / "FILE").write_text("not a directory")
    home.config.write_text(line.replace("FILE", str(home.directory / "FILE")))
    pair = supervised()
    watched = Watched(home, pair)
    cleanup.callback(watched.close)
    while watched.info("engine")["statename"] in ("STARTING", "STOPPED", "RUNNING"):
        time.sleep(0.02)
    info = watched.info("engine")
    assert (info["statename"], info["exitstatus"]) == ("EXITED", exit_code), info
    log = (home.directory / "data/run/engine.log").read_text()
    assert log.count("error: ") == 1, log
