"""The disk under the database: a file system of SQLite's that passes everything on to the real one, or does not.

    writer dies before a write     between any two writes of any file: database, write-ahead log, rollback journal
    writer dies in a write         a part of the page, in whole sectors, is written
    writer dies in a sync          the writes may be on disk or not
    database disk full             for a while every write fails with SQLITE_FULL
    database write fails           SQLITE_IOERR
    database read fails            SQLITE_IOERR
    database sync fails            SQLITE_IOERR; the writes may be on disk or not
    slow database sync             up to 300 ms, in the simulated clock
    database locked                another program holds it: SQLITE_BUSY at a BEGIN or on opening
    power loss in a database write, in a sync, or elsewhere: of all the writes since a file's last sync any are on
                                   disk, whole or in part, and the others are not, in whatever order they were made

Not simulated: a file whose deletion is undone by a power cut; a disk that loses what it said it keeps.

SQLite's shared memory is not to be had from here, so a connection locks the file for itself (`locking_mode`), and its
log is checkpointed more often than at a thousand pages, so that a short history has checkpoints to die in.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, NoReturn

import apsw

from tests.sim.chance import Chance, Crash, PowerLoss, WriterCrash
from tests.sim.clock import SimClock

FAULTS = {
    "writer dies before a write": 0.0008,
    "writer dies in a write": 0.0005,
    "writer dies in a sync": 0.003,
    "database disk full": 0.0006,
    "database write fails": 0.0006,
    "database read fails": 0.0003,
    "database sync fails": 0.004,
    "slow database sync": 0.03,
    "database locked": 0.004,
    "power loss in a database write": 0.0002,
    "power loss in a database sync": 0.001,
}
SECTOR_BYTES = 512
FULL_MS_MAX = 4_000
LOCKED_MS_MAX = 2_000
SLOW_MS_MAX = 300


class Change(NamedTuple):
    """A write that the disk was not asked to keep yet: what stood there, what stands there, how long the file was."""

    offset: int
    before: bytes
    after: bytes | None  # None: the file was cut here
    size_before: int


class DatabaseDisk(apsw.VFS):
    """Registers itself with SQLite under `name`. `dead` once the writer died: nothing it left open writes any more."""

    def __init__(self, name: str, chance: Chance, clock: SimClock, checkpoint_pages: int) -> None:
        super().__init__(name, "")
        self.name = name
        self.chance = chance
        self.clock = clock
        self.dead: type[Crash] | None = None
        self._unsynced: dict[str, list[Change]] = {}
        self._full_until_ns = 0
        self._locked_until_ns = 0
        self._checkpoint_pages = checkpoint_pages
        apsw.connection_hooks.append(self._set_up)

    def close(self) -> None:
        apsw.connection_hooks.remove(self._set_up)
        self.unregister()

    def xOpen(self, name, flags):  # noqa: N802 - SQLite's word
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        return DatabaseFile(self, name, flags, [] if path is None else self.unsynced(path))

    def xDelete(self, filename, syncdir):  # noqa: N802
        self.breathe()
        self._unsynced.pop(filename, None)
        super().xDelete(filename, syncdir)

    def unsynced(self, path: str) -> list[Change]:
        if not Path(path).exists():
            self._unsynced[path] = []
        return self._unsynced.setdefault(path, [])

    def breathe(self) -> None:
        """The dead do nothing."""
        if self.dead is not None:
            raise self.dead

    def die(self, how: type[Crash]) -> NoReturn:
        self.dead = how
        raise how

    def is_full(self) -> bool:
        return self.clock.monotonic_ns() < self._full_until_ns

    def fill(self) -> None:
        self._full_until_ns = self.clock.monotonic_ns() + self.chance.between(1, FULL_MS_MAX) * 1_000_000

    def lock(self) -> None:
        self._locked_until_ns = self.clock.monotonic_ns() + self.chance.between(1, LOCKED_MS_MAX) * 1_000_000

    def is_locked(self) -> bool:
        return self.clock.monotonic_ns() < self._locked_until_ns

    def heal(self) -> None:
        self._full_until_ns = self._locked_until_ns = 0

    def delete(self, database: Path) -> None:
        """Somebody removes the database, and what SQLite keeps beside it."""
        for path in (database, *(Path(f"{database}{suffix}") for suffix in ("-wal", "-journal"))):
            self._unsynced.pop(str(path.resolve()), None)
            path.unlink(missing_ok=True)

    def lose_power(self) -> None:
        """Take every file back to its last sync, then let some of the writes since then have reached the disk."""
        for path, changes in self._unsynced.items():
            if changes and Path(path).exists():
                with Path(path).open("r+b") as file:
                    for change in reversed(changes):
                        file.seek(change.offset)
                        file.write(change.before)
                        file.truncate(change.size_before)
                    for change in changes:
                        self._perhaps(file, change)
            changes.clear()

    def _perhaps(self, file, change: Change) -> None:
        fate = self.chance.share()
        if fate < 0.45:
            return
        if change.after is None:
            file.truncate(change.offset)
            return
        file.seek(change.offset)
        file.write(change.after if fate < 0.9 else change.after[: self.chance.between(0, 8) * SECTOR_BYTES])

    def _set_up(self, conn: apsw.Connection) -> None:
        if conn.open_vfs == self.name:
            conn.pragma("locking_mode", "EXCLUSIVE")
            conn.set_wal_hook(self._checkpoint_when_long)
            conn.exec_trace = self._before_statement

    def _checkpoint_when_long(self, conn: apsw.Connection, schema: str, pages: int) -> int:
        """As SQLite's own hook does it: the commit is done, and a checkpoint that fails is nobody's trouble yet."""
        if pages >= self._checkpoint_pages:
            with suppress(apsw.Error):
                conn.wal_checkpoint(schema)
        return apsw.SQLITE_OK

    def _before_statement(self, _cursor: object, sql: str, _bindings: object) -> bool:
        """SQLite would ask for the lock here, had this connection not taken it for good."""
        if sql.startswith("BEGIN"):
            if self.chance.strikes("database locked"):
                self.lock()
            if self.is_locked():
                raise apsw.BusyError("BusyError: database is locked")
        return True


class DatabaseFile(apsw.VFSFile):
    """A file of SQLite's: the database, its write-ahead log or its rollback journal."""

    def __init__(self, disk: DatabaseDisk, name, flags, unsynced: list[Change]) -> None:
        super().__init__("", name, flags)
        self._disk = disk
        self._strikes = disk.chance.strikes
        self._unsynced = unsynced

    def xRead(self, amount, offset):  # noqa: N802
        if self._strikes("database read fails"):
            raise apsw.IOError("IOError: disk I/O error")
        return super().xRead(amount, offset)

    def xWrite(self, data, offset):  # noqa: N802
        self._disk.breathe()
        strikes = self._strikes
        if strikes("writer dies before a write"):
            self._disk.die(WriterCrash)
        if strikes("writer dies in a write"):
            self._write(data[: self._disk.chance.between(0, 8) * SECTOR_BYTES], offset)
            self._disk.die(WriterCrash)
        if strikes("power loss in a database write"):
            self._write(data, offset)
            self._disk.die(PowerLoss)
        if strikes("database write fails"):
            raise apsw.IOError("IOError: disk I/O error")
        if strikes("database disk full"):
            self._disk.fill()
        if self._disk.is_full():
            raise apsw.FullError("FullError: database or disk is full")
        self._write(data, offset)

    def xTruncate(self, size):  # noqa: N802
        self._disk.breathe()
        size_before = super().xFileSize()
        if size < size_before:
            self._unsynced.append(Change(size, super().xRead(size_before - size, size), None, size_before))
        super().xTruncate(size)

    def xSync(self, flags):  # noqa: N802
        self._disk.breathe()
        strikes = self._strikes
        if strikes("writer dies in a sync"):
            self._disk.die(WriterCrash)
        if strikes("power loss in a database sync"):
            self._disk.die(PowerLoss)
        if strikes("database sync fails"):
            raise apsw.IOError("IOError: disk I/O error")
        if strikes("slow database sync"):
            self._disk.clock.pass_ms(self._disk.chance.between(1, SLOW_MS_MAX))
        super().xSync(flags)
        self._unsynced.clear()

    def _write(self, data, offset: int) -> None:
        size_before = super().xFileSize()
        overwritten = max(0, min(len(data), size_before - offset))
        before = super().xRead(overwritten, offset) if overwritten else b""
        self._unsynced.append(Change(offset, before, bytes(data), size_before))
        super().xWrite(data, offset)
