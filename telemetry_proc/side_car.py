"""A file of named arrays behind a head, checked as a whole: what the series cache keeps of a session.

    magic    8 bytes   b"KEDGEser"
    crc32    4 bytes   over everything behind it
    length   4 bytes   of the head, all little-endian
    head               JSON, blanks up to a multiple of 64 bytes of the file
    arrays             one after the other, as they lie in memory, little-endian; the head has their names and types

Nothing is synced: a file that a power cut tears fails its checksum, and is made anew.
"""

from __future__ import annotations

import json
import os
import struct
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

Arrays = Mapping[str, npt.NDArray[Any]]

_MAGIC = b"KEDGEser"
_FRAME = struct.Struct("<8sII")
_ALIGNED = 64
_KINDS = "biufU"  # plain numbers and texts; nothing that would have to be trusted to be read


class SideCar(NamedTuple):
    """What a file held. The arrays cannot be written to."""

    crc32: int
    head: dict[str, Any]
    arrays: dict[str, npt.NDArray[Any]]


def write(file: BinaryIO, head: Mapping[str, Any], arrays: Arrays) -> int:
    """Write a whole file and return its checksum. `head` must be JSON without NaN."""
    plain = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    plain = {name: array.astype(array.dtype.newbyteorder("<"), copy=False) for name, array in plain.items()}
    listed = [[name, array.dtype.str, array.shape] for name, array in plain.items()]
    text = json.dumps({**head, "arrays": listed}, allow_nan=False).encode()
    text += b" " * (-(_FRAME.size + len(text)) % _ALIGNED)
    parts = [text, *(array.tobytes() for array in plain.values())]
    crc32 = zlib.crc32(struct.pack("<I", len(text)))
    for part in parts:
        crc32 = zlib.crc32(part, crc32)
    file.write(_FRAME.pack(_MAGIC, crc32, len(text)))
    for part in parts:
        file.write(part)
    return crc32


def read(path: Path) -> SideCar | None:
    """None for a file that is not there, cannot be read or is not whole."""
    try:
        data = path.read_bytes()
        magic, crc32, length = _FRAME.unpack_from(data)
        if magic != _MAGIC or zlib.crc32(memoryview(data)[12:]) != crc32:
            return None
        head = json.loads(data[_FRAME.size : _FRAME.size + length])
        return SideCar(crc32, head, dict(_arrays(data, _FRAME.size + length, head["arrays"])))
    except (OSError, struct.error, ValueError, TypeError, KeyError):
        return None


def _arrays(data: bytes, offset: int, listed: list[Any]) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    for name, kind, shape in listed:
        dtype = np.dtype(kind)
        if dtype.kind not in _KINDS:
            raise ValueError(f"{name}: not plain: {kind}")
        count = int(np.prod(shape, dtype=np.int64))
        yield name, np.frombuffer(data, dtype, count, offset).reshape(shape)
        offset += count * dtype.itemsize


@contextmanager
def draft(path: Path) -> Iterator[BinaryIO]:
    """A file of a name of its own that takes its place in one step; several processes may do so at once.

    If the block raises, what stood there stays. Raises `OSError`.
    """
    fd, name = tempfile.mkstemp(prefix=f"{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(fd, "wb") as file:
            yield file
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
