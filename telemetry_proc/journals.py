"""Reading records from journals: from where a session stands onwards, and those that are missing before that.

Every generator here moves the session's `Offset` with each record it yields, so whoever consumes it decides how far
it goes and commits rows and offset together.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from shared.codec import MESSAGE_BYTES_MAX, SESSION_UID, decode
from shared.errors import JournalCorrupt, RecordUnreadable
from shared.journal import FRAME_HEAD_BYTES, HEADER, SUFFIX, Damage, Frame, frame, read_frames
from telemetry_proc.offsets import Offset
from telemetry_proc.validate import Fact, Reject, judge

log = logging.getLogger(__name__)


class Journal(NamedTuple):
    """A journal file and the session it belongs to."""

    path: Path
    session_uid: str


class Placed(NamedTuple):
    """A record and where the next one starts."""

    record: Fact | Reject
    end: int

    @property
    def position(self) -> int:
        """Where its own frame starts."""
        return self.end - FRAME_HEAD_BYTES - len(self.record.payload)


class JournalDirectory:
    """The journals that engines write on this machine, and how far they have been looked at."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._journals: dict[Path, Journal] = {}
        self._sizes_seen: dict[Path, int] = {}
        self._next_seqs_seen: dict[str, int] = {}
        self._complained_of: set[Path] = set()

    def read_grown(self, offsets: dict[str, Offset], *, silent_only: bool = False) -> Iterator[Fact | Reject]:
        """Every record that is not stored yet, journal after journal. One that has not changed costs one stat.

        `silent_only` leaves out the sessions that have moved on by themselves since the last look: while the socket
        brings their records, reading them here too would only be double work.
        """
        for path in self._paths():
            try:
                size = path.stat().st_size
                if size != self._sizes_seen.get(path):
                    journal = self._journals.get(path) or journal_at(path)
                    if journal is not None:
                        self._journals[path] = journal
                        if silent_only and self._moved_on(journal, offsets):
                            continue
                        yield from self._read(journal, size, offsets[journal.session_uid])
                    self._sizes_seen[path] = size
                    self._complained_of.discard(path)
            except (OSError, JournalCorrupt) as error:
                self._complain(path, "a journal cannot be read, the others go on", error)

    def _paths(self) -> list[Path]:
        try:
            paths = sorted(path for path in self.path.iterdir() if path.suffix == SUFFIX)
        except FileNotFoundError:
            if self.path not in self._complained_of:
                self._complained_of.add(self.path)
                log.warning(
                    "no journal directory %s: right before the first session, otherwise a wrong path", self.path
                )
            return []
        except OSError as error:
            self._complain(self.path, "the journals cannot be read, what the socket drops is not stored", error)
            return []
        self._complained_of.discard(self.path)
        return paths

    def _complain(self, path: Path, what: str, error: OSError | JournalCorrupt) -> None:
        """Once, not at every look."""
        if path not in self._complained_of:
            self._complained_of.add(path)
            log.error("%s: %s", what, error)

    def _moved_on(self, journal: Journal, offsets: dict[str, Offset]) -> bool:
        next_seq = offsets[journal.session_uid].next_seq
        seen = self._next_seqs_seen.get(journal.session_uid)
        self._next_seqs_seen[journal.session_uid] = next_seq
        return next_seq != seen

    def _read(self, journal: Journal, size: int, offset: Offset) -> Iterator[Fact | Reject]:
        """Up to the size it has now: a journal that grows as fast as it is read must not keep us from the others."""
        for record in read_on(journal, offset):
            yield record
            if offset.position is not None and offset.position >= size:
                break
        self._next_seqs_seen[journal.session_uid] = offset.next_seq


def journal_at(path: Path) -> Journal | None:
    """The journal in a file, which may have been renamed: its first readable record says whose it is.

    None if it holds no record yet. Raises `JournalCorrupt` if it is no journal, `OSError` if it cannot be read.
    """
    anything = False
    for found in read_frames(path):
        if isinstance(found, Damage):
            continue
        anything = True
        try:
            return Journal(path, decode(found.payload).session_uid)
        except RecordUnreadable:
            continue
    return Journal(path, path.stem) if anything and SESSION_UID.fullmatch(path.stem) else None


def read_on(journal: Journal, offset: Offset, until: int | None = None) -> Iterator[Fact | Reject]:
    """The records from `offset` on: to the end of the journal, or to record `until` and no further.

    Where the journal is damaged before its end, that is said loudly, the records it took are noted as missing, and
    what follows is read. Raises `JournalCorrupt` if the file is no journal, `OSError` if it cannot be read.
    """
    damage: Damage | None = None
    for found in _from_offset(journal, offset, until):
        if isinstance(found, Damage):
            damage = found
            continue
        record, end = found
        if record.seq is None or record.seq < offset.next_seq:
            if record.seq == offset.next_seq - 1:
                offset.position = end
            continue
        if damage is not None:
            log.error("%s: %d corrupt bytes at byte %d", journal.path, damage.length, damage.position)
        if record.seq > offset.next_seq:
            why = "not in the journal" if damage is None else f"corrupt bytes in the journal at {damage.position}"
            log.error("%s: records %d to %d are missing: %s", journal.path, offset.next_seq, record.seq - 1, why)
            offset.skip_to(record.seq, why)
        damage = None
        offset.next_seq = record.seq + 1
        offset.position = end
        yield record
        if until is not None and record.seq >= until:
            return


def read_missing(journal: Journal, offset: Offset) -> Iterator[Fact | Reject]:
    """Those records of the session's gaps that its journal has after all."""
    for found in attributed(journal, read_frames(journal.path), 0):
        if not offset.gaps:
            return
        if not isinstance(found, Damage):
            record, _ = found
            if record.seq is not None and offset.fill(record.seq):
                yield record


def _from_offset(journal: Journal, offset: Offset, until: int | None) -> Iterator[Placed | Damage]:
    """The journal from the stored byte position; from its start if that is unknown or is not where the record stands.

    Reading on from the position makes a gap cost what the gap is long, not what the session is. A repair moves what
    follows the bytes that it takes out: nothing new at the position then only says something if it is still ours.
    """
    if offset.position is not None and offset.position <= journal.path.stat().st_size:
        frames = read_frames(journal.path, offset.position)
        first = next(frames, None)
        if isinstance(first, Frame) and _stands_at(first, journal.session_uid, offset.next_seq):
            return attributed(journal, chain([first], frames), offset.next_seq)
        at_end = first is None or (isinstance(first, Damage) and first.kind == "torn")
        if at_end and until is None and _ends_at(journal, offset.position, offset.next_seq - 1):
            return iter(())  # all is read; a torn frame is perhaps being written now
    return attributed(journal, read_frames(journal.path), 0)


def _stands_at(frame: Frame, session_uid: str, seq: int) -> bool:
    try:
        envelope = decode(frame.payload)
    except RecordUnreadable:
        return False
    return envelope.session_uid == session_uid and envelope.seq == seq


def _ends_at(journal: Journal, position: int, seq: int) -> bool:
    """Does record `seq` end at this byte? Searched for backwards: a frame says its length only where it starts."""
    if seq < 0:
        return position == len(HEADER)
    start = max(len(HEADER), position - FRAME_HEAD_BYTES - MESSAGE_BYTES_MAX)
    with journal.path.open("rb") as file:
        file.seek(start)
        before = file.read(max(0, position - start))
    if start + len(before) != position:
        return False
    for at in range(len(before) - FRAME_HEAD_BYTES - 1, -1, -1):
        length = len(before) - FRAME_HEAD_BYTES - at
        if int.from_bytes(before[at : at + 4], "little") == length and frame(before[-length:]) == before[at:]:
            return _stands_at(Frame(start + at, before[-length:]), journal.session_uid, seq)
    return False


def attributed(journal: Journal, frames: Iterator[Frame | Damage], seq: int | None) -> Iterator[Placed | Damage]:
    """Every frame with its session and number, also one whose bytes do not say them.

    Each frame is the record after the one before it, so an unreadable one has its number from its place. Behind
    damage the place says nothing until the next readable one.
    """
    for found in frames:
        if isinstance(found, Damage):
            seq = None
            yield found
            continue
        record = judge(found.payload, "journal")
        if record.session_uid != journal.session_uid:
            reason = record.reason if isinstance(record, Reject) else f"belongs to session {record.session_uid}"
            record = Reject(journal.session_uid, seq, reason, "journal", found.payload)
        if record.seq is not None:
            seq = record.seq + 1
        yield Placed(record, found.end)
