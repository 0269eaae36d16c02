"""The pair under a real supervisord with the project's own supervisor.conf, in a directory of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from shared.codec import read_record
from shared.journal import Frame, read_frames
from shared.records import OrderEvent, SessionOpened, TickRecord
from tests.e2e.pair import REPO, WAIT_S, Home, assert_database_equals_journal, query


class Supervised:
    """supervisord on a copy of supervisor.conf: every path in it hangs on the place of the file."""

    def __init__(self, home: Home, *overrides: str) -> None:
        self.conf = home.directory / "supervisor.conf"
        shutil.copy(REPO / "supervisor.conf", self.conf)
        (home.directory / "data").mkdir()
        (home.directory / "data/run").mkdir(mode=0o700)
        bin_dir = str(Path(sys.executable).parent)
        self.env = {key: value for key, value in os.environ.items() if not key.startswith("KEDGE_")}
        self.env |= {
            "KEDGE_CONFIG": str(home.config), "KEDGE_SET": " ".join(overrides),
            "PATH": f"{bin_dir}{os.pathsep}{os.environ['PATH']}",
        }  # fmt: skip
        self.popen = subprocess.Popen(
            [sys.executable, "-m", "supervisor.supervisord", "-n", "-c", str(self.conf)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=self.env,
        )  # fmt: skip

    def ctl(self, *words: str) -> str:
        """One supervisorctl command, tried until the control socket answers."""
        while True:
            done = subprocess.run(
                [sys.executable, "-m", "supervisor.supervisorctl", "-c", str(self.conf), *words],
                capture_output=True, text=True, env=self.env, check=False, timeout=WAIT_S,
            )  # fmt: skip
            if "no such file" not in done.stdout and "refused" not in done.stdout:
                return done.stdout
            assert self.popen.poll() is None, "supervisord ended"

    def close(self) -> None:
        """Engine first, writer last, then supervisord itself."""
        if self.popen.poll() is None:
            self.popen.terminate()
            self.popen.wait(WAIT_S)


@pytest.fixture
def supervised(home: Home, cleanup):
    def start(*overrides: str) -> Supervised:
        pair = Supervised(home, *overrides)
        cleanup.callback(pair.close)
        return pair

    return start


def watched(home: Home) -> subprocess.CompletedProcess[str]:
    """Follow the session to its end with the command that people use."""
    return subprocess.run(
        [sys.executable, "-m", "telemetry_proc", "watch", "--until-closed", "--timeout-s", "60", "-c", home.config],
        capture_output=True, text=True, cwd=REPO, timeout=WAIT_S + 10, check=False,
    )  # fmt: skip


def test_given_supervisord_when_the_tape_has_run_then_all_is_stored_and_nobody_is_started_again(
    home: Home, supervised
) -> None:
    pair = supervised("market.pace_per_s=300")
    seen = watched(home)
    assert seen.returncode == 0, seen.stderr
    assert "[ANCHOR_SAT]" in seen.stdout
    status = pair.ctl("status")
    assert "telemetry                        RUNNING" in status
    assert "engine                           EXITED" in status
    pair.close()
    assert assert_database_equals_journal(home.database, home.journals()[0]) == 1200
    assert len(home.journals()) == 1
    assert query(home.database, "SELECT count(*) FROM circuit_breaker_events") == [(1,)]


def test_given_a_tripped_engine_killed_under_supervisord_then_restarted_but_never_quoting(
    home: Home, supervised
) -> None:
    # Given a pair whose engine has tripped
    pair = supervised("market.pace_per_s=150", "telemetry.linger_ms=0")
    while not home.database.exists() or not _trips(home):
        assert pair.popen.poll() is None
    # When the engine is killed
    os.kill(int(pair.ctl("pid", "engine")), signal.SIGKILL)
    # Then supervisord starts it again, and the new session begins DEGRADED and submits nothing
    while len(home.journals()) < 2 or not any(isinstance(record, TickRecord) for record in _records(home)):
        assert pair.popen.poll() is None
    pair.close()
    opened = _records(home)[0]
    assert isinstance(opened, SessionOpened)
    assert opened.initial_mode == "DEGRADED"
    assert not [r for r in _records(home) if isinstance(r, OrderEvent) and r.event == "submitted"]
    for journal in home.journals():
        if journal == home.journals()[-1]:
            assert assert_database_equals_journal(home.database, journal) > 0


def _trips(home: Home) -> int:
    tables = query(home.database, "SELECT count(*) FROM sqlite_schema WHERE name = 'circuit_breaker_events'")
    return tables[0][0] and query(home.database, "SELECT count(*) FROM circuit_breaker_events")[0][0]


def _records(home: Home) -> list:
    """What the newest journal holds so far."""
    newest = home.journals()[-1]
    return [read_record(item.payload)[1] for item in read_frames(newest) if isinstance(item, Frame)]
