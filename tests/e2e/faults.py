"""What happens to machines, done for real: full disks, stopped processes, lost permissions, held locks."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.e2e.pair import Process

ROOM_BYTES = 600_000  # on a disk that is to be full soon


class SmallDisk:
    """A directory that takes `ROOM_BYTES`, until it is relieved: a file system of that size, in memory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def holds(self, process: Process) -> None:
        """The file system bounds everybody anyway."""

    def relieve(self, process: Process | None = None) -> None:
        _mount("-o", f"remount,size={100 * ROOM_BYTES}", str(self.directory))


class SizeLimit:
    """The same for who may not mount: no file of a process may grow beyond `ROOM_BYTES`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def holds(self, process: Process) -> None:
        resource.prlimit(process.popen.pid, resource.RLIMIT_FSIZE, (ROOM_BYTES, resource.RLIM_INFINITY))

    def relieve(self, process: Process | None = None) -> None:
        if process is not None:
            infinite = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
            resource.prlimit(process.popen.pid, resource.RLIMIT_FSIZE, infinite)


@contextmanager
def small_disk(kind: str, directory: Path) -> Iterator[SmallDisk | SizeLimit]:
    """A disk that is soon full, of the kind `file system` or `size limit`; skips the test where there is no such."""
    directory.mkdir()
    if kind == "size limit":
        if not hasattr(resource, "prlimit"):
            pytest.skip("this system cannot limit the files of a running process")
        yield SizeLimit(directory)
        return
    if os.geteuid() != 0 or _mount("-t", "tmpfs", "-o", f"size={ROOM_BYTES}", "kedge", str(directory)) != 0:
        pytest.skip("may not mount a file system here; the size limit stands in for it")
    try:
        yield SmallDisk(directory)
    finally:
        subprocess.run(["umount", "-l", str(directory)], check=True)


def _mount(*arguments: str) -> int:
    return subprocess.run(["mount", *arguments], check=False, stderr=subprocess.DEVNULL).returncode


@contextmanager
def stopped(process: Process) -> Iterator[None]:
    """SIGSTOP: alive, but not a step further; SIGCONT afterwards."""
    process.popen.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.popen.send_signal(signal.SIGCONT)


@contextmanager
def locked(database: Path) -> Iterator[None]:
    """Another program holds the write lock."""
    with closing(sqlite3.connect(database, isolation_level=None)) as conn:
        conn.execute("BEGIN IMMEDIATE")
        yield


@contextmanager
def read_held_open(database: Path) -> Iterator[sqlite3.Connection]:
    """A reader in the middle of a read: what it sees may not be overwritten, so the log cannot start again."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, isolation_level=None)) as conn:
        conn.execute("BEGIN")
        conn.execute("SELECT count(*) FROM system_metrics").fetchone()
        yield conn


@contextmanager
def permissions(path: Path, mode: int) -> Iterator[None]:
    """Other permissions for a while. They mean nothing to root: start who must feel them with `MORTAL`."""
    before = path.stat().st_mode
    path.chmod(mode)
    try:
        yield
    finally:
        path.chmod(before)


def mortal() -> tuple[str, ...]:
    """The beginning of a command line that runs the rest without root's privilege to ignore permissions."""
    if os.geteuid() != 0:
        return ()
    if not shutil.which("setpriv"):
        pytest.skip("root ignores permissions, and there is no `setpriv` to give that up")
    return ("setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-dac_override,-dac_read_search")


def cannot_write(command: tuple[str, ...], directory: Path) -> bool:
    """Do permissions really hold for such a command? Some containers know better."""
    probe = directory / "probe"
    with permissions(directory, 0o500):
        done = subprocess.run([*command, sys.executable, "-c", f"open({str(probe)!r}, 'w')"], check=False,
                              stderr=subprocess.DEVNULL)  # fmt: skip
    return done.returncode != 0
