"""A batch: what one transaction writes, complete in itself, so that it can be tried again as it is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from telemetry_proc.offsets import Gap, Offset
from telemetry_proc.validate import Fact, Reject


class OffsetRow(NamedTuple):
    """How far a session is stored once this batch is."""

    session_uid: str
    next_seq: int
    journal_position: int | None


class Batch(NamedTuple):
    """Records by kind, each kind in order, and where their sessions stand after them."""

    facts: dict[str, list[Fact]]
    rejects: list[Reject]
    gaps: list[tuple[str, Gap]]
    offsets: list[OffsetRow]
    size: int  # facts and rejects


def batches(records: Iterator[Fact | Reject], offsets: dict[str, Offset], batch_max: int) -> Iterator[Batch]:
    """Cut records into batches. `offsets` move as `records` is consumed, so each batch holds them as of its end."""
    while (batch := _gather(records, offsets, batch_max)).size:
        yield batch


def _gather(records: Iterator[Fact | Reject], offsets: dict[str, Offset], batch_max: int) -> Batch:
    facts: defaultdict[str, list[Fact]] = defaultdict(list)
    rejects: list[Reject] = []
    touched: dict[str, None] = {}  # in order of appearance: sessions are numbered in it
    size = 0
    for record in islice(records, batch_max):
        size += 1
        if record.session_uid is not None:
            touched[record.session_uid] = None
        if isinstance(record, Fact):
            facts[record.kind].append(record)
        else:
            rejects.append(record)
    gaps: list[tuple[str, Gap]] = []
    rows: list[OffsetRow] = []
    for uid in touched:
        offset = offsets[uid]
        rows.append(OffsetRow(uid, offset.next_seq, offset.position))
        gaps.extend((uid, gap) for gap in offset.gaps_changed.values())
        offset.gaps_changed.clear()
    return Batch(facts, rejects, gaps, rows, size)
