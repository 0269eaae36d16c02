"""How bytes reach the disk for good: the few calls that durability hangs on, and nothing else.

`AppendFile` is small on purpose: a simulated disk can stand in for it, with every fault that a real one has.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol


class AppendFile(Protocol):
    """A new file that only grows. Every call raises `OSError` when the disk refuses."""

    def write(self, data: bytes) -> int:
        """Append with one write; the number of bytes that were taken, which may be fewer."""

    def truncate(self, length: int) -> None:
        """Cut the file back to a length."""

    def sync(self) -> None:
        """Return once the disk keeps what was written, through a power cut."""

    def close(self) -> None:
        """Let go of the file; further calls do nothing."""


class OsFile:
    """Answers `AppendFile` with a file of the operating system, readable by its owner alone."""

    def __init__(self, path: Path) -> None:
        """Create the file; its name is on disk for good once this returns. Raises `OSError`, also if it exists."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | getattr(os, "O_BINARY", 0)
        self._fd = os.open(path, flags, 0o600)
        try:
            sync_directory(path.parent)
        except OSError:
            self.close()
            path.unlink(missing_ok=True)
            raise

    def write(self, data: bytes) -> int:
        """Append with one write."""
        return os.write(self._fd, data)

    def truncate(self, length: int) -> None:
        """Cut the file back to a length."""
        os.ftruncate(self._fd, length)

    def sync(self) -> None:
        """Ask for the data alone where the system can: time stamps are worth no second write.

        A file without a name is as good as none: whoever deletes it under us gets an `OSError` out of this.
        """
        if self._fd < 0:  # the system's own answer to -1 is no OSError
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        if os.fstat(self._fd).st_nlink == 0:
            raise OSError(errno.ENOENT, "it was deleted")
        getattr(os, "fdatasync", os.fsync)(self._fd)

    def close(self) -> None:
        """Close the descriptor, once."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def write_whole(path: Path, text: str) -> None:
    """Put a small file in place, wholly or not at all, and through a power cut. Raises `OSError`."""
    with replacing(path) as file:
        file.write(text.encode())
    sync_directory(path.parent)


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file, readable by its owner alone, that takes its place in one step, once its bytes are on disk for good.

    If the block raises, what stood there stays. Its name is on disk only after a `sync_directory`. Raises `OSError`.
    """
    draft = draft_of(path)
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0), 0o600)
    try:
        with os.fdopen(fd, "wb") as file:
            yield file
            file.flush()
            os.fsync(fd)
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def draft_of(path: Path) -> Path:
    """Where a file is written before it takes its place."""
    return path.with_name(f"{path.name}.tmp")


def sync_directory(path: Path) -> None:
    """A file's name is kept by its directory, which has to be asked as well; Windows has no such call."""
    if os.name == "nt":
        return
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
