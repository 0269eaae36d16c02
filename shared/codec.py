"""Records to bytes and back: one msgpack array `[version, kind, session_uid, seq, *fields in declared order]`.

The same bytes go to the journal and over the socket. Reading has two steps, so that what cannot be used is still
kept with its place: `decode` says whose record it is and which (`Envelope`), `validate` says whether its fields are
what `shared/records.py` promises.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple, get_type_hints

import msgpack
from pydantic import ConfigDict, TypeAdapter, ValidationError

from shared.errors import RecordUnreadable
from shared.records import KIND_OF, KINDS, WIRE_VERSION, Record

MESSAGE_BYTES_MAX = 256 * 1024
SEQ_END = 2**63 - 1  # the number after the last one must still fit into SQLite's INTEGER
SESSION_UID = re.compile(r"[0-9A-Za-z][0-9A-Za-z_-]{0,63}")  # also a file name: no dots, no separators
_ENVELOPE_FIELDS = 4
_ARRAY_LENGTH_MAX = 256
_pack: Callable[[Any], bytes] = msgpack.Packer().pack  # one reused buffer; the engine packs on one thread only


class Envelope(NamedTuple):
    """A record that could be attributed: whose it is and where it belongs. `fields` are not validated yet."""

    kind: str
    session_uid: str
    seq: int
    fields: tuple[Any, ...]


def encode(session_uid: str, seq: int, record: Record) -> bytes:
    """The bytes of a record, for journal and socket alike."""
    envelope = (WIRE_VERSION, KIND_OF[type(record)], session_uid, seq)
    return _pack(envelope + record)


def may_be_of(payload: bytes, *kinds: bytes) -> bool:
    """A cheap look at where the kind stands, so that a long journal is read in a moment. Never wrong if it says no."""
    head = payload[:24]
    return any(kind in head for kind in kinds)


def decode(payload: bytes) -> Envelope:
    """Whose record is this? Raises `RecordUnreadable` with the rule that the bytes break."""
    if len(payload) > MESSAGE_BYTES_MAX:
        raise RecordUnreadable(f"{len(payload)} bytes, more than {MESSAGE_BYTES_MAX}")
    try:
        parts = msgpack.unpackb(payload, use_list=False, max_array_len=_ARRAY_LENGTH_MAX, max_map_len=0, max_ext_len=0)
    except (ValueError, msgpack.UnpackException, RecursionError) as error:
        raise RecordUnreadable(f"not msgpack: {str(error) or type(error).__name__}") from None
    if not isinstance(parts, tuple) or len(parts) < _ENVELOPE_FIELDS:
        raise RecordUnreadable("not an array [version, kind, session_uid, seq, ...]")
    version, kind, session_uid, seq = parts[:_ENVELOPE_FIELDS]
    if version != WIRE_VERSION or type(version) is not int:
        raise RecordUnreadable(f"wire version {_shown(version)}, this program reads {WIRE_VERSION}")
    if not isinstance(session_uid, str) or not SESSION_UID.fullmatch(session_uid):
        raise RecordUnreadable(f"session_uid {_shown(session_uid)} is not a session's name")
    if type(seq) is not int or not 0 <= seq < SEQ_END:
        raise RecordUnreadable(f"seq {_shown(seq)} is not a count from 0")
    if not isinstance(kind, str):
        raise RecordUnreadable(f"kind {_shown(kind)} is not a name")
    return Envelope(kind, session_uid, seq, parts[_ENVELOPE_FIELDS:])


def validate(kind: str, fields: tuple[Any, ...]) -> tuple[Any, ...]:
    """The fields of a record, complete and of the promised types.

    Missing trailing fields become None, extra ones (from a newer engine) are ignored: the laws of evolution in
    `shared/records.py`. Raises `RecordUnreadable` naming the first field that is not as promised.
    """
    adapter, names = _ADAPTERS.get(kind, (None, ()))
    if adapter is None:
        raise RecordUnreadable(f"unknown kind {kind!r:.40}")
    missing = len(names) - len(fields)
    if missing:
        fields = fields + (None,) * missing if missing > 0 else fields[:missing]
    try:
        return adapter.validate_python(fields)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = names[int(first["loc"][0])] if first["loc"] else kind
        raise RecordUnreadable(f"{kind}.{where}: {first['msg']}") from None


def read_record(payload: bytes) -> tuple[Envelope, Record]:
    """Decode and validate in one step, as the record's own type. Raises `RecordUnreadable`."""
    envelope = decode(payload)
    fields = validate(envelope.kind, envelope.fields)
    return envelope, KINDS[envelope.kind](*fields)


def _shown(value: Any) -> str:
    """A value for a message. Nested ones by type alone: the repr of a thousand nested arrays ends in RecursionError."""
    return type(value).__name__ if isinstance(value, tuple | dict) else f"{value!r:.80}"


def _adapter(record_type: type[Record]) -> tuple[TypeAdapter[tuple[Any, ...]], tuple[str, ...]]:
    hints = get_type_hints(record_type, include_extras=True)
    names = record_type._fields
    shape: Any = tuple.__class_getitem__(tuple(hints[name] for name in names))  # a plain tuple validates fastest
    return TypeAdapter(shape, config=ConfigDict(strict=True)), names


_ADAPTERS = {kind: _adapter(record_type) for kind, record_type in KINDS.items()}
