"""The disk under the journals. The bytes are in real files; what the disk would keep through a power cut is known here.

    engine dies before a write     nothing of it is in the file
    torn write                     the engine dies in a write; a part of the bytes, the first ones, is in the file
    engine dies after a write      all is in the file, and nobody has heard of it yet
    engine dies in a sync          the bytes are in the file, the disk may keep them or not
    disk full                      for a while every write takes a part of its bytes or none, and no file is created
    cut fails                      half a frame cannot be cut off again
    sync fails                     the disk says no once; it may have kept the bytes or not
    slow sync                      up to 300 ms, in the simulated clock
    power loss in a write          \\
    power loss in a sync            > of every file remains what was synced and a part, perhaps none, of the rest,
    power loss (between, by the    /  perhaps followed by zeros or garbage where the lost bytes would have been; a
      world)                          name that its directory was not asked to keep may be gone

Every one of them must be survived: what an engine was told is on disk is there, what it was not told may be.
Not simulated: a disk that loses what it said it keeps. Files that are written whole (`shared.disk.write_whole`) are in
place or not, and not looked at here.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn
from unittest.mock import patch

from shared.disk import OsFile
from shared.journal import REFUSED_SUFFIX
from tests.sim.chance import Chance, Crash, EngineCrash, PowerLoss
from tests.sim.clock import SimClock

FAULTS = {
    "engine dies before a write": 0.001,
    "torn write": 0.001,
    "engine dies after a write": 0.001,
    "engine dies in a sync": 0.003,
    "disk full": 0.002,
    "cut fails": 0.3,
    "sync fails": 0.003,
    "slow sync": 0.03,
    "power loss in a write": 0.0003,
    "power loss in a sync": 0.001,
}
FULL_MS_MAX = 4_000
SLOW_MS_MAX = 300


class Disk:
    """One machine's disk. `open` is the `open_file` of a `JournalWriter`."""

    def __init__(self, chance: Chance, clock: SimClock) -> None:
        self.chance = chance
        self.clock = clock
        self.files: dict[Path, JournalFile] = {}  # also those that nobody has open any more
        self._full_until_ns = 0
        self._names_kept: set[str] = set()

    def open(self, path: Path) -> JournalFile:
        if self.is_full():
            raise _no_space()
        self.files[path] = JournalFile(self, path)
        return self.files[path]

    def is_full(self) -> bool:
        return self.clock.monotonic_ns() < self._full_until_ns

    def fill(self) -> None:
        self._full_until_ns = self.clock.monotonic_ns() + self.chance.between(1, FULL_MS_MAX) * 1_000_000

    def heal(self) -> None:
        self._full_until_ns = 0

    def process_died(self) -> None:
        """The system closes what a dead process had open; it syncs nothing."""
        for file in self.files.values():
            file.close()

    def lose_power(self) -> None:
        for file in self.files.values():
            file.lose_power()
        for directory in {path.parent for path in self.files}:
            for path in sorted(directory.glob(f"*{REFUSED_SUFFIX}")):
                if path.name not in self._names_kept and self.chance.share() < 0.5:
                    path.unlink()

    @contextmanager
    def hears_of_syncs(self) -> Iterator[None]:
        """Within the block it is this disk that `os.fsync` asks: a directory's names are kept from then on."""

        def fsync(fd: int) -> None:
            if stat.S_ISDIR(os.fstat(fd).st_mode):
                self._names_kept.update(os.listdir(fd))

        with patch("os.fsync", fsync):
            yield


class JournalFile:
    """Answers `shared.disk.AppendFile` with a real file, and lies like a disk."""

    def __init__(self, disk: Disk, path: Path) -> None:
        self._disk = disk
        self._chance = disk.chance
        self.path = path
        self._real = OsFile(path)
        self.content = bytearray()
        self.kept = 0  # bytes that a power cut cannot take any more
        self.damaged = False  # by something that no journal promises to survive unharmed
        self._dead: type[Crash] | None = None  # whoever had it open; the dead do nothing

    def write(self, data: bytes) -> int:
        strikes = self._breathing()
        if strikes("engine dies before a write"):
            self._die(EngineCrash)
        if strikes("torn write"):
            self._append(data[: self._chance.between(1, len(data) - 1)])
            self._die(EngineCrash)
        if strikes("power loss in a write"):
            self._append(data[: self._chance.between(0, len(data))])
            self._die(PowerLoss)
        if strikes("disk full"):
            self._disk.fill()
        if self._disk.is_full():
            part = self._chance.choice((0, 0, self._chance.between(1, len(data) - 1)))
            if part == 0:
                raise _no_space()
            return self._append(data[:part])
        self._append(data)
        if strikes("engine dies after a write"):
            self._die(EngineCrash)
        return len(data)

    def truncate(self, length: int) -> None:
        if self._breathing()("cut fails"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        self._real.truncate(length)
        del self.content[length:]
        self.kept = min(self.kept, length)

    def sync(self) -> None:
        strikes = self._breathing()
        if strikes("engine dies in a sync"):
            self._keep_some()
            self._die(EngineCrash)
        if strikes("power loss in a sync"):
            self._keep_some()
            self._die(PowerLoss)
        if strikes("sync fails"):
            self._keep_some()
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        if strikes("slow sync"):
            self._disk.clock.pass_ms(self._chance.between(1, SLOW_MS_MAX))
        self._real.sync()
        self.kept = len(self.content)

    def close(self) -> None:
        self._real.close()

    def lose_power(self) -> None:
        """What was synced is certain; of the rest the first part may be there, and anything may stand behind it."""
        self.close()
        if not self.path.exists():
            return
        at_risk = len(self.content) - self.kept
        if not at_risk or self.damaged:
            return
        left = self._chance.between(0, at_risk)
        lost = at_risk - left
        behind = self._chance.choice((b"", bytes(lost), self._chance.bytes(lost), self._chance.bytes(lost // 2)))
        del self.content[self.kept + left :]
        self.content += behind
        self.path.write_bytes(self.content)
        self.kept = len(self.content)

    def _breathing(self) -> Callable[[str], bool]:
        if self._dead is not None:
            raise self._dead
        return self._chance.strikes

    def _die(self, how: type[Crash]) -> NoReturn:
        self._dead = how
        raise how

    def _append(self, data: bytes) -> int:
        self._real.write(data)
        self.content += data
        return len(data)

    def _keep_some(self) -> None:
        self.kept = self._chance.between(self.kept, len(self.content))


def _no_space() -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
