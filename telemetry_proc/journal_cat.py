"""A journal as text: every record on a line of its own, damage in its place."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

from shared.journal import Damage, read_frames
from shared.records import KINDS
from telemetry_proc.journals import Journal, attributed, journal_at
from telemetry_proc.validate import Fact, Reject

_SHOWN_MAX = 80


class Choice(NamedTuple):
    """Which records are meant. No kinds: all of them. Damage is always shown: it may have been any record."""

    kinds: frozenset[str]
    from_seq: int
    to_seq: int | None


class Damaged(NamedTuple):
    """Bytes that are no record, or a whole frame with a record that is not what it should be."""

    journal: str
    kind: Literal["torn", "corrupt", "unreadable"]
    position: int
    length: int
    seq: int | None = None
    reason: str | None = None


def chosen(path: Path, choice: Choice) -> Iterator[Fact | Damaged]:
    """The chosen records in the order of the file, and all damage.

    Raises `JournalCorrupt` if the file is no journal, `OSError` if it cannot be read.
    """
    journal = journal_at(path) or Journal(path, path.stem)
    for found in attributed(journal, read_frames(path), 0):
        if isinstance(found, Damage):
            yield Damaged(str(path), found.kind, found.position, found.length)
            continue
        record = found.record
        if record.seq is not None and choice.to_seq is not None and record.seq > choice.to_seq:
            return
        if isinstance(record, Reject):
            length = found.end - found.position
            yield Damaged(str(path), "unreadable", found.position, length, record.seq, record.reason)
        elif record.seq >= choice.from_seq and (not choice.kinds or record.kind in choice.kinds):
            yield record


def as_json(found: Fact | Damaged) -> str:
    """`{"seq", "kind", "session_uid", "fields": {name: value}}` or `{"damage": {...}}`."""
    if isinstance(found, Damaged):
        return json.dumps({"damage": found._asdict()})
    fields = dict(zip(KINDS[found.kind]._fields, found.fields, strict=True))
    record = {"seq": found.seq, "kind": found.kind, "session_uid": found.session_uid, "fields": fields}
    return json.dumps(record, allow_nan=False)


def as_text(found: Fact | Damaged) -> str:
    """Number, kind, and what is not None; long texts are cut. Escaped, so that no record can move the cursor."""
    if isinstance(found, Damaged):
        return f"DAMAGE  {_pairs(found._asdict())}"
    return (
        f"{found.seq:>8}  {found.kind:<18}  {_pairs(dict(zip(KINDS[found.kind]._fields, found.fields, strict=True)))}"
    )


def _pairs(named: dict[str, Any]) -> str:
    return " ".join(f"{name}={_shown(value)}" for name, value in named.items() if value is not None)


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= _SHOWN_MAX else f"{text[:_SHOWN_MAX]}..."
