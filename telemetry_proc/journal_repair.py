"""Take the broken bytes out of a journal, and keep them.

    torn tail        saved beside the file, then cut off
    corrupt middle   every stretch saved, then the whole frames written to a new file that takes the journal's place

A stretch goes to `<journal>.<repair>.<byte>.broken`: the number of the repair, from 1, and the byte at which it stood.
The stretches of the last repair, put back at their bytes in ascending order, give the file as it was before it.

Nothing is lost if the repair is killed at any moment: the stretches are on disk for good, names included, before a
byte of the journal goes, and a new file takes the journal's place in one step, once it is on disk for good itself.
Until then the journal has all of its bytes. A repair that was killed is simply made again, and finds its own pieces.

A repair makes a journal readable to the end and brings no record back: what a corrupt stretch held stays missing, and
is a gap in the database. It is no way to re-arm an engine either, which takes a journal with missing records for
damaged.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from operator import eq
from pathlib import Path
from typing import BinaryIO, NamedTuple

from filelock import FileLock, Timeout

from shared.disk import draft_of, replacing, sync_directory
from shared.errors import FailSafeStop, KedgeError
from shared.journal import ENGINE_LOCK, HEADER, Damage, frame, read_frames

BROKEN_SUFFIX = ".broken"
_CHUNK_BYTES = 1 << 20


class Repair(NamedTuple):
    """What was, or would be, done to a journal. No damage: it is whole, and was not touched."""

    path: Path
    damages: tuple[Damage, ...]
    saved: tuple[Path, ...]  # one a damage


def repair(path: Path, *, dry_run: bool = False) -> Repair:
    """Repair one journal; one that is whole is left as it is, to the byte.

    Raises `JournalCorrupt` for a file that is no journal, `FailSafeStop` while an engine uses its directory,
    `KedgeError` if the disk does not let us, and then nothing is lost.
    """
    if path.is_symlink():  # the file itself is meant: a link would be replaced and its file stay as it was
        path = path.resolve()
    try:
        if dry_run or not _damages(path):  # most are whole: no engine needs to be kept out for them
            return _plan(path)
        with _engines_kept_out(path):
            plan = _plan(path)  # what looked torn may have been a record on its way
            if plan.damages:
                _save(plan)
                if any(damage.kind == "corrupt" for damage in plan.damages):
                    _rewrite(path)
                else:
                    _cut(path, plan.damages[-1])
            return plan
    except OSError as error:
        raise KedgeError(f"{error.filename or path}: cannot repair the journal: {error.strerror}") from error


def broken_pieces(path: Path) -> dict[int, dict[int, Path]]:
    """The stretches that repairs took out of a journal: by the number of the repair, then by their byte."""
    pieces: dict[int, dict[int, Path]] = {}
    name = re.compile(re.escape(path.name) + r"\.([0-9]+)\.([0-9]+)" + re.escape(BROKEN_SUFFIX))
    for beside in sorted(path.parent.iterdir()):
        if found := name.fullmatch(beside.name):
            pieces.setdefault(int(found[1]), {})[int(found[2])] = beside
    return pieces


def _plan(path: Path) -> Repair:
    damages = _damages(path)
    number = _repair_number(path, damages) if damages else 0
    names = (f"{path.name}.{number}.{damage.position:012}{BROKEN_SUFFIX}" for damage in damages)
    return Repair(path, damages, tuple(map(path.with_name, names)))


def _damages(path: Path) -> tuple[Damage, ...]:
    """An empty file counts as torn, but has nothing that could be taken out."""
    return tuple(found for found in read_frames(path) if isinstance(found, Damage) and found.length)


def _repair_number(path: Path, damages: tuple[Damage, ...]) -> int:
    """The next one; the last one again if it was killed before it was through, so that its bytes are still here.

    The very same bytes broken at the very same places a second time look like that too: they are saved already.
    """
    pieces = broken_pieces(path)
    if not pieces:
        return 1
    last = max(pieces)
    lengths = {damage.position: damage.length for damage in damages}
    still_here = (
        lengths.get(position) == piece.stat().st_size
        and all(map(eq, _chunks(path, position, lengths[position]), _chunks(piece, 0, lengths[position])))
        for position, piece in pieces[last].items()
    )
    return last if all(still_here) else last + 1


def _save(plan: Repair) -> None:
    for damage, piece in zip(plan.damages, plan.saved, strict=True):
        if not piece.exists():
            with _new_file(piece, plan.path) as file:
                file.writelines(_chunks(plan.path, damage.position, damage.length))
    sync_directory(plan.path.parent)


def _cut(path: Path, tail: Damage) -> None:
    fd = os.open(path, os.O_RDWR | getattr(os, "O_BINARY", 0))
    try:
        if os.fstat(fd).st_size != tail.position + tail.length:
            raise KedgeError(f"{path}: it has grown while it was repaired; nothing was cut")
        os.ftruncate(fd, tail.position)
        os.fsync(fd)
    finally:
        os.close(fd)


def _rewrite(path: Path) -> None:
    with _new_file(path, path) as file:
        file.write(HEADER)
        file.writelines(frame(found.payload) for found in read_frames(path) if not isinstance(found, Damage))
    sync_directory(path.parent)


@contextmanager
def _new_file(path: Path, model: Path) -> Iterator[BinaryIO]:
    """A file that takes its place wholly or not at all: readable by its owner alone, who is the journal's owner.

    A repair by root must not leave files that the engine's and the writer's user cannot read.
    """
    with replacing(path) as file:
        _give_to_owner_of(model, draft_of(path))
        yield file


@contextmanager
def _engines_kept_out(path: Path) -> Iterator[None]:
    """Hold the lock that an engine holds while it writes in this directory."""
    lock_path = path.parent / ENGINE_LOCK
    is_new = not lock_path.exists()
    lock = FileLock(lock_path, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise FailSafeStop(f"{path}: an engine is running with this journal directory; stop it first") from None
    try:
        if is_new:
            _give_to_owner_of(path, lock_path)
        yield
    finally:
        lock.release()


def _give_to_owner_of(model: Path, path: Path) -> None:
    facts, own = model.stat(), path.stat()
    if os.name != "nt" and (facts.st_uid, facts.st_gid) != (own.st_uid, own.st_gid):
        os.chown(path, facts.st_uid, facts.st_gid)


def _chunks(path: Path, position: int, length: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        file.seek(position)
        while length and (chunk := file.read(min(length, _CHUNK_BYTES))):
            yield chunk
            length -= len(chunk)
