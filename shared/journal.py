"""The journal: one append-only file a session, written before anything else hears of a record. It is the truth.

Format of `<journal_dir>/<session_uid>.kj`, all integers little-endian:

    header   8 bytes   b"KEDGEJ", 0x00, format version 0x01
    frame    4 bytes   length of the payload, 1 .. 262,144
             4 bytes   CRC-32 of the payload
             payload   one record as `shared/codec.py` packs it
    frame    ...

The first frame is the session's record 0 and every frame is the record after the one before it, so the byte
position of record n is the header plus the frames before it. A frame is never empty: a tail of zeros, which
file systems leave after a power cut, would otherwise read as valid frames.

Two kinds of damage, told apart by what follows:

* **torn**: bad bytes and no valid frame after them. Normal after a crash, or a frame that is being written now.
* **corrupt**: bad bytes with valid frames after them. Never normal; said loudly, and what can be read is read.
"""

from __future__ import annotations

import re
import stat
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Literal, NamedTuple

from shared.codec import MESSAGE_BYTES_MAX
from shared.disk import AppendFile, OsFile, sync_directory
from shared.errors import JournalCorrupt, JournalUnwritable

HEADER = b"KEDGEJ\x00\x01"
SUFFIX = ".kj"
REFUSED_SUFFIX = ".latched"  # an empty file beside a journal that took no more records
ENGINE_LOCK = "engine.lock"  # held in a journal directory by the one engine that writes there
FRAME_HEAD_BYTES = 8
_FRAME_BYTES_MAX = FRAME_HEAD_BYTES + MESSAGE_BYTES_MAX
_READ_BYTES = 1 << 20
_head = struct.Struct("<II")
# Four bytes that may be a length: not 0 and less than 0x50000. Millions of bytes are searched through in a moment.
_MAY_START_A_FRAME = re.compile(rb"(?=(?!\x00\x00\x00)..[\x00-\x04]\x00)", re.DOTALL)


class Frame(NamedTuple):
    """A record's bytes and where in the file its frame starts."""

    position: int
    payload: bytes

    @property
    def end(self) -> int:
        """Position of the next frame."""
        return self.position + FRAME_HEAD_BYTES + len(self.payload)


class Damage(NamedTuple):
    """Bytes that are not a frame. `torn` is the normal end after a crash, `corrupt` never is."""

    position: int
    length: int
    kind: Literal["torn", "corrupt"]


def journal_path(journal_dir: Path, session_uid: str) -> Path:
    """Where the journal of a session lies."""
    return journal_dir / f"{session_uid}{SUFFIX}"


def frame(payload: bytes) -> bytes:
    """A payload with length and checksum in front, as it stands in the file."""
    assert 0 < len(payload) <= MESSAGE_BYTES_MAX
    return _head.pack(len(payload), zlib.crc32(payload)) + payload


class JournalWriter:
    """Appends records to one new journal file, with one write a call, so that a crash tears at most the last one."""

    def __init__(self, path: Path, open_file: Callable[[Path], AppendFile] = OsFile) -> None:
        """Create the file (mode 0600, directory 0700). Raises `JournalUnwritable` if that is impossible."""
        self.path = path
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file = open_file(path)
        except OSError as error:
            raise JournalUnwritable(f"{path}: cannot create the journal: {error.strerror}") from error
        self._position = 0
        self._half_a_frame = False
        try:
            self._write(HEADER)
        except JournalUnwritable:
            self.close()
            path.unlink(missing_ok=True)  # half a header says nothing, and one is left behind at every try
            raise

    @property
    def position(self) -> int:
        """Length of the file so far; where the next frame will start."""
        return self._position

    def append(self, *payloads: bytes) -> int:
        """Append records with one write, return the position of the first.

        Raises `JournalUnwritable`; the next append, if one succeeds, still follows the last whole record.
        """
        position = self._position
        self._write(frame(payloads[0]) if len(payloads) == 1 else b"".join(map(frame, payloads)))
        return position

    def sync(self) -> None:
        """Ask the disk to keep what was appended, through a power cut. Raises `JournalUnwritable`."""
        try:
            self._file.sync()
        except OSError as error:
            raise JournalUnwritable(f"{self.path}: cannot sync the journal: {error.strerror}") from error

    def mark_refused(self) -> None:
        """Leave an empty file beside the journal: it took no more records, so its end cannot say what came after.

        Even a full disk has room for a name. If there is none, or no permission, the caller has said why already.
        """
        with suppress(OSError):
            self.path.with_suffix(REFUSED_SUFFIX).touch(mode=0o600)
            sync_directory(self.path.parent)

    def close(self) -> None:
        """Close the file; further calls do nothing."""
        self._file.close()

    def _write(self, data: bytes) -> None:
        try:
            if self._half_a_frame:
                self._cut_back()
            written = self._file.write(data)
            if written != len(data):
                self._half_a_frame = True
                self._cut_back()
                raise JournalUnwritable(f"{self.path}: the disk took {written} of {len(data)} bytes")
        except OSError as error:
            raise JournalUnwritable(f"{self.path}: cannot append to the journal: {error.strerror}") from error
        self._position += written

    def _cut_back(self) -> None:
        """Half a frame must not stand before the next whole one; while it cannot be cut off, nothing is appended."""
        self._file.truncate(self._position)
        self._half_a_frame = False


def read_frames(path: Path, position: int = len(HEADER)) -> Iterator[Frame | Damage]:
    """Frames from a byte position to the end, damage where it stands.

    A torn tail is yielded last, as one `Damage`; on a journal that is still being written it only means "not yet".
    Raises `JournalCorrupt` if the file is not a journal of a version this program reads, `OSError` if it cannot be
    opened or read.
    """
    if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait for whoever writes to it
        raise JournalCorrupt(f"{path}: not a Kedge journal: no regular file")
    with path.open("rb") as file:
        header = file.read(len(HEADER))
        if header != HEADER:
            if HEADER.startswith(header):  # an engine died before it had written the whole header
                yield Damage(0, len(header), "torn")
                return
            raise JournalCorrupt(f"{path}: not a Kedge journal of version {HEADER[-1]} (starts with {header!r})")
        file.seek(position)
        yield from _frames(file.read, position)


def _frames(read: Callable[[int], bytes], position: int) -> Iterator[Frame | Damage]:
    buffer = b""
    offset = 0  # of the next frame in the buffer; its place in the file is `position`
    while True:
        payload = _frame_at(buffer, offset)
        if payload is not None:
            yield Frame(position, payload)
            offset += FRAME_HEAD_BYTES + len(payload)
            position += FRAME_HEAD_BYTES + len(payload)
            continue
        at_end = False
        if len(buffer) - offset < _FRAME_BYTES_MAX:  # perhaps only the buffer ends here
            more = read(_READ_BYTES)
            if more:
                buffer = buffer[offset:] + more
                offset = 0
                continue
            at_end = True  # for good: what is written from now on would make a record on its way look corrupt
        if offset == len(buffer):
            return
        candidate, dropped = offset + 1, 0
        while (found := _next_frame(buffer, candidate)) is None and not at_end and (more := read(_READ_BYTES)):
            candidate = max(candidate, len(buffer) - _FRAME_BYTES_MAX)  # no frame before it had its end unread
            buffer, dropped, candidate = buffer[candidate:] + more, dropped + candidate, 0
        if found is None:
            yield Damage(position, dropped + len(buffer) - offset, "torn")
            return
        length = dropped + found - offset
        yield Damage(position, length, "corrupt")
        position += length
        offset = found


def _frame_at(buffer: bytes, offset: int) -> bytes | None:
    """The payload of the frame at an offset, or None if no whole and valid frame stands there."""
    if len(buffer) - offset < FRAME_HEAD_BYTES:
        return None
    length, crc = _head.unpack_from(buffer, offset)
    start = offset + FRAME_HEAD_BYTES
    if not 0 < length <= MESSAGE_BYTES_MAX or start + length > len(buffer):
        return None
    payload = buffer[start : start + length]
    return payload if zlib.crc32(payload) == crc else None


def _next_frame(buffer: bytes, offset: int) -> int | None:
    """Where the first valid frame at or after an offset starts."""
    last = len(buffer) - FRAME_HEAD_BYTES
    candidates = (match.start() for match in _MAY_START_A_FRAME.finditer(buffer, offset))
    return next((at for at in candidates if at < last and _frame_at(buffer, at) is not None), None)
