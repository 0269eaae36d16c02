"""Is this a record of ours? Every payload becomes a `Fact` or a `Reject`; nothing is dropped, nothing is fatal."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from shared.codec import decode, validate
from shared.errors import RecordUnreadable

Source = Literal["socket", "journal"]


class Fact(NamedTuple):
    """A record that is what `shared/records.py` promises: `fields` complete, in wire order, of the right types."""

    session_uid: str
    seq: int
    kind: str
    fields: tuple[Any, ...]
    source: Source
    payload: bytes


class Reject(NamedTuple):
    """Bytes that cannot become a row. With `session_uid` and `seq` they still take a record's place in its session."""

    session_uid: str | None
    seq: int | None
    reason: str
    source: Source
    payload: bytes


def judge(payload: bytes, source: Source) -> Fact | Reject:
    """Decode and validate. What names its session and number keeps them, even if the rest is nonsense."""
    try:
        kind, session_uid, seq, fields = decode(payload)
    except RecordUnreadable as error:
        return Reject(None, None, str(error), source, payload)
    try:
        return Fact(session_uid, seq, kind, validate(kind, fields), source, payload)
    except RecordUnreadable as error:
        return Reject(session_uid, seq, str(error), source, payload)
