"""Real processes in a few milliseconds: a process that has everything imported forks them.

    python -m tests.e2e.fork_server engine_proc

A fork is a process like any other: its own pid, its own memory, its own kill -9. Only the imports are inherited, so a
storm of kills is not a measurement of imports. Requests and answers are lines of JSON on stdin and stdout:

    ["spawn", log, argument...]  ─▶ pid       runs the module's command with stderr appended to the log
    ["poll", pid]                ─▶ null while it runs, otherwise its exit code, negative for a signal
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.e2e.pair import REPO, WAIT_S, environment


class Forked:
    """A forked process, with what a storm needs of `subprocess.Popen`."""

    def __init__(self, server: ForkServer, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._server = server

    def poll(self) -> int | None:
        if self.returncode is None:
            self.returncode = self._server.ask("poll", self.pid)
        return self.returncode

    def wait(self, timeout: float) -> int:
        until_s = time.monotonic() + timeout
        while (code := self.poll()) is None:
            assert time.monotonic() < until_s, f"process {self.pid} has not ended in {timeout} s"
            time.sleep(0.001)
        return code

    def send_signal(self, number: int) -> None:
        if self.returncode is None:  # it is not reaped before it is asked for: the pid is still its own
            os.kill(self.pid, number)


class ForkServer:
    """The client's side. One request at a time: a storm's thread owns its server."""

    def __init__(self, module: str) -> None:
        self._popen = subprocess.Popen(
            [sys.executable, "-m", "tests.e2e.fork_server", module],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=REPO, env=environment(),
            start_new_session=True,  # a Ctrl-C at the terminal is for the storm, which then ends them itself
        )  # fmt: skip

    def spawn(self, log: Path, *arguments: str) -> Forked:
        return Forked(self, self.ask("spawn", str(log), *arguments))

    def ask(self, *request: str | int) -> int:
        assert self._popen.stdin is not None
        assert self._popen.stdout is not None
        self._popen.stdin.write(json.dumps(request) + "\n")
        self._popen.stdin.flush()
        answer = self._popen.stdout.readline()
        assert answer, "the fork server has ended"
        return json.loads(answer)

    def close(self) -> None:
        self._popen.communicate(timeout=WAIT_S)


def main() -> None:
    command = importlib.import_module(f"{sys.argv[1]}.__main__")
    running: set[int] = set()
    for line in sys.stdin:
        verb, *rest = json.loads(line)
        if verb == "spawn":
            pid = os.fork()
            if pid == 0:
                log, *arguments = rest
                _become(log, [sys.argv[1], *arguments])
                command.main()
                return
            running.add(pid)
            _answer(pid)
        else:
            pid, status = os.waitpid(rest[0], os.WNOHANG)
            running.discard(pid)
            _answer(os.waitstatus_to_exitcode(status) if pid else None)
    for pid in running:  # whoever asked for them is gone, however it ended: nothing is left behind
        os.kill(pid, signal.SIGKILL)


def _become(log: str, argv: list[str]) -> None:
    """The child lets go of the server's pipes and takes its own place. Once its log is there, it begins."""
    sys.argv = argv
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    os.close(nothing)
    os.dup2(os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), 2)


def _answer(value: int | None) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
