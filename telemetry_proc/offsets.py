"""How far each session has come: the first record that is not stored yet, and which before it are still missing."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from dataclasses import dataclass, field
from typing import NamedTuple

from shared.journal import FRAME_HEAD_BYTES, HEADER


class Gap(NamedTuple):
    """Records `first_seq` to `last_seq` were passed over; `missing_from` is the first still missing, None: none is."""

    first_seq: int
    last_seq: int
    missing_from: int | None
    reason: str


@dataclass(slots=True)
class Offset:
    """Where one session stands. The only mutable record of the writer: it moves with every record that is taken.

    `position` is the byte in the session's journal where record `next_seq` starts, or None while that is not known:
    after a gap that the journal could not fill.
    """

    next_seq: int = 0
    position: int | None = len(HEADER)
    gaps: list[Gap] = field(default_factory=list)  # those with something still missing, in order
    gaps_changed: dict[int, Gap] = field(default_factory=dict)  # by first_seq, since the last batch was gathered

    def pass_over(self, payload: bytes) -> None:
        """Record `next_seq` is taken: the engine wrote this very payload to its journal before it sent it."""
        self.next_seq += 1
        if self.position is not None:
            self.position += FRAME_HEAD_BYTES + len(payload)

    def skip_to(self, seq: int, reason: str) -> None:
        """Give up the records before `seq` for now, and remember that they are missing."""
        assert seq > self.next_seq
        gap = Gap(self.next_seq, seq - 1, self.next_seq, reason)
        self.gaps.append(gap)
        self.gaps_changed[gap.first_seq] = gap
        self.next_seq = seq
        self.position = None

    def fill(self, seq: int) -> bool:
        """Was a record below `next_seq` missing? If so it no longer is.

        Whoever sends every other record makes gaps without end, so the one that matters is not looked for one by one.
        """
        index = bisect_right(self.gaps, seq, key=lambda gap: gap.first_seq) - 1
        gap = self.gaps[index] if index >= 0 else None
        if gap is None or gap.missing_from is None or not gap.missing_from <= seq <= gap.last_seq:
            return False
        parts = []
        if seq > gap.missing_from:  # what lies before it stays a gap of its own
            parts.append(gap._replace(last_seq=seq - 1))
            gap = gap._replace(first_seq=seq)
        parts.append(gap._replace(missing_from=seq + 1 if seq < gap.last_seq else None))
        self.gaps[index : index + 1] = [part for part in parts if part.missing_from is not None]
        self.gaps_changed.update((part.first_seq, part) for part in parts)
        return True


def fresh_offsets() -> defaultdict[str, Offset]:
    """By session uid; a session that was never heard of stands at its beginning."""
    return defaultdict(Offset)
