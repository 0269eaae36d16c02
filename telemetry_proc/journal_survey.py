"""What one journal holds, at a glance: how many records, in which mode it ended, and how."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import apsw

from shared.codec import decode, validate
from shared.errors import JournalCorrupt, RecordUnreadable
from shared.journal import REFUSED_SUFFIX, Damage, read_frames
from shared.records import Mode, ModeChanged, SessionClosed, SessionOpened, TickRecord
from telemetry_proc.audit import read_books
from telemetry_proc.journal_check import unreadable
from telemetry_proc.wording import count

Stored = Literal["yes", "partly", "no"]

_MODE_AT = TickRecord._fields.index("mode")


@dataclass(slots=True)
class Survey:
    """One journal. None: it does not say. `last_seq` is the highest number among its readable records."""

    path: Path
    size_bytes: int | None = None
    session_uid: str | None = None
    opened: SessionOpened | None = None
    closed: SessionClosed | None = None
    records: int = 0
    ticks: int = 0
    last_seq: int | None = None
    last_mode: str | None = None
    ends_closed: bool = False  # session_closed is the last record
    unreadable_records: int = 0
    torn_bytes: int = 0
    corrupt_bytes: int = 0
    complaint: str | None = None  # why nothing more could be read

    @property
    def is_damaged(self) -> bool:
        """Something is wrong that a crash cannot explain, or records are missing."""
        return bool(self.complaint or self.corrupt_bytes or self.unreadable_records or self.lacks_records)

    @property
    def lacks_records(self) -> bool:
        """Its records are not as many as their numbers say."""
        return self.last_seq is not None and self.last_seq + 1 != self.records


def survey(path: Path) -> Survey:
    """Look at a journal once. It never raises: what cannot be read is said in `complaint`."""
    seen = Survey(path)
    last_tick: tuple[Any, ...] = ()
    try:
        seen.size_bytes = path.stat().st_size
        for found in read_frames(path):
            if isinstance(found, Damage):
                if found.kind == "torn":
                    seen.torn_bytes = found.length
                else:
                    seen.corrupt_bytes += found.length
                continue
            seen.records += 1
            try:
                kind, session_uid, seq, fields = decode(found.payload)
                if kind == "tick":
                    seen.ticks += 1
                    last_tick, seen.ends_closed = fields, False
                else:
                    _note(seen, kind, validate(kind, fields), last_tick)
                    last_tick = ()
            except RecordUnreadable:
                seen.unreadable_records += 1
                continue
            seen.session_uid = seen.session_uid or session_uid
            seen.last_seq = seq if seen.last_seq is None else max(seq, seen.last_seq)
        _note_tick(seen, last_tick)
    except (OSError, JournalCorrupt) as error:
        seen.complaint = unreadable(path, error).text
    return seen


def stored(conn: apsw.Connection, seen: Survey) -> Stored | None:
    """How much of it the writer says it has stored; None for a file that names no session."""
    if seen.session_uid is None:
        return None
    books = read_books(conn, seen.session_uid)
    if books.next_seq == 0:
        return "no"
    missing = any(gap.missing_from is not None for gap in books.gaps)
    return "partly" if missing or seen.last_seq is None or books.next_seq <= seen.last_seq else "yes"


def how_it_ended(seen: Survey) -> str:
    """In a few words: `closed: feed_ended`, `not closed`, `damaged: 37 corrupt bytes, closed: SIGTERM`."""
    if seen.complaint is not None:
        return seen.complaint
    if seen.records == 0:
        return "empty"
    end = "not closed"
    if seen.closed is not None:
        end = f"closed: {seen.closed.end_reason}" if seen.ends_closed else "closed, and records after that"
    if seen.path.with_suffix(REFUSED_SUFFIX).exists():
        end += ", refused records"
    if seen.torn_bytes:
        end += f", torn tail of {count(seen.torn_bytes, 'byte')}"
    return f"damaged: {', '.join(_damages(seen))}, {end}" if seen.is_damaged else end


def _note(seen: Survey, kind: str, fields: tuple[Any, ...], last_tick: tuple[Any, ...]) -> None:
    _note_tick(seen, last_tick)
    seen.ends_closed = kind == "session_closed"
    if kind == "session_opened":
        seen.opened = SessionOpened(*fields)
        seen.last_mode = seen.opened.initial_mode
    elif kind == "mode_changed":
        seen.last_mode = ModeChanged(*fields).to_mode
    elif kind == "session_closed":
        seen.closed = SessionClosed(*fields)
        seen.last_mode = seen.closed.final_mode


def _note_tick(seen: Survey, fields: tuple[Any, ...]) -> None:
    """Only the last tick before something else is looked into: a long journal is surveyed in seconds."""
    mode = fields[_MODE_AT] if len(fields) > _MODE_AT else None
    if mode in get_args(Mode):
        seen.last_mode = mode


def _damages(seen: Survey) -> list[str]:
    found = []
    if seen.corrupt_bytes:
        found.append(count(seen.corrupt_bytes, "corrupt byte"))
    if seen.unreadable_records:
        found.append(count(seen.unreadable_records, "unreadable record"))
    if seen.lacks_records:
        found.append("records missing or repeated")
    return found
