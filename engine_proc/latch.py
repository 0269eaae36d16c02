"""Which mode may a new session start in? A tripped engine must not come back quoting because it was restarted.

    last journal                         `rearm: on_clean_restart`        `rearm: explicit`
    none, and none was ever written      ACTIVE                           ACTIVE
    closed in order, in DEGRADED         ACTIVE: the operator's restart   DEGRADED
    closed in order, in HALT             HALT                             HALT
    closed by a fault, or with           the mode it ended in             the mode it ended in
      orders that may still be live
    not closed (crash, kill -9)          the mode it last had             the mode it last had
    not closed, and refused records      DEGRADED                         DEGRADED
    cannot be read, damaged, or lacks    HALT if what is left says so,    HALT if what is left says so,
      records (a repair leaves a hole)     else DEGRADED                    else DEGRADED
    missing, or emptied                  HALT if the one before it        HALT if the one before it
                                           ended so, else DEGRADED          ended so, else DEGRADED

HALT outlives a clean restart under either policy: the kill switch is pulled by hand and released by hand.

Refused records: an engine whose journal takes nothing cannot put its DEGRADED on record, so it leaves an empty file
`<session_uid>.latched` beside it, for which even a full disk has room. Sessions that replay a journal never traded and
say nothing here.

The last journal is the newest that says anything: an engine that died, or found the disk full, before its opening was
on record never quoted and leaves an empty journal, and what held before it still holds. That a journal was there and
is no longer is known from `last_session`, a file that names the session that opened last. Only a directory of which
nothing is left looks like one that never was.

A copy, or a file whose name is not that of a session, is nobody's past. Otherwise it could be the newest for good: all
later trips would go unseen, and one re-arm would lift them all.

What the operator says is in `operator_word.py`.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock, Timeout

from engine_proc import operator_word
from engine_proc.modes import ModeState
from engine_proc.operator_word import Rearm
from shared.codec import decode, may_be_of, read_record
from shared.disk import write_whole
from shared.errors import JournalCorrupt, JournalUnwritable, KedgeError, RecordUnreadable
from shared.journal import ENGINE_LOCK, REFUSED_SUFFIX, SUFFIX, Damage, Frame, read_frames
from shared.records import BreakerEvent, Mode, ModeChanged, Record, SessionClosed, SessionOpened

LAST_SESSION_FILE = "last_session"
FAULT = "fault: "  # how the end_reason of a session that did not end in order begins
_KEPT = "kept from session "
_UNKNOWN = "unknown"  # sorts after every name of a session
_NAME = re.compile(r"([0-8][0-9]{7}T[0-9]{6,9})-[0-9A-Za-z_-]+")


class LastSession(NamedTuple):
    """How the newest session of a journal directory ended.

    `closed`: in order, with no order left alive. `ended`: its end is on record, in order or not.
    """

    session_uid: str
    mode: Mode
    closed: bool
    why: str | None
    ended: bool = False


class Start(NamedTuple):
    """The state to start in, the record that says where it comes from (None: simply ACTIVE), and who crashed."""

    state: ModeState
    inherited: ModeChanged | None
    crashed_uid: str | None = None


def start_state(journal_dir: Path, policy: str, now_ns: int) -> Start:
    """The mode that a session started now must begin in. `policy` is `strategy.rearm`."""
    last = last_session(journal_dir)
    if last is None:
        return Start(ModeState(), None)
    crashed_uid = None if last.ended else last.session_uid
    if last.mode == "ACTIVE" or (last.closed and policy == "on_clean_restart" and last.mode != "HALT"):
        return Start(ModeState(), None, crashed_uid)
    word = operator_word.read_rearm(journal_dir)
    if word is not None and (word.session_uid, word.mode) == (last.session_uid, last.mode):
        reason = f"rearm of session {last.session_uid}: {word.reason}"[:500]
        return Start(ModeState(), ModeChanged(now_ns, 0, last.mode, "ACTIVE", "rearm", reason), crashed_uid)
    signal = "halt" if last.mode == "HALT" else "degrade"
    kept = last.why or "its reason is not on record"
    if not kept.startswith(_KEPT):  # through any number of restarts the first session and its reason stay readable
        kept = f"{_KEPT}{last.session_uid}: {kept}"[:500]
    inherited = ModeChanged(now_ns, 0, last.mode, last.mode, signal, kept)
    return Start(ModeState(last.mode, now_ns, kept), inherited, crashed_uid)


def last_session(journal_dir: Path) -> LastSession | None:
    """The newest session, by name: a session_uid starts with the UTC time of its opening. None if there is none."""
    journals = sorted((path for path in journal_dir.glob(f"*{SUFFIX}") if _opened_at(path.stem)), reverse=True)
    found = next((session for session in map(_how_it_ended, journals) if session is not None), None)
    opened_last = _opened_last(journal_dir)
    if opened_last is not None and (found is None or found.session_uid < opened_last):
        mode = _at_least_degraded(found.mode if found is not None else None)
        if found is not None and opened_last == _UNKNOWN:
            return found._replace(mode=mode, closed=False, why=f"{LAST_SESSION_FILE} cannot be read")
        return LastSession(opened_last, mode, closed=False, why="its journal is missing or empty")
    return found


def openings(journal_dir: Path) -> Iterator[datetime]:
    """When the sessions of a directory were opened, as their names say; that of the last one also if it is missing."""
    names = (*(path.stem for path in journal_dir.glob(f"*{SUFFIX}")), _opened_last(journal_dir) or _UNKNOWN)
    yield from filter(None, map(_opened_at, names))


def remember_opened(journal_dir: Path, session_uid: str) -> None:
    """Say beside the journals which session opened last, so that its journal cannot go missing unnoticed.

    Raises `JournalUnwritable`.
    """
    path = journal_dir / LAST_SESSION_FILE
    try:
        write_whole(path, session_uid + "\n")
    except OSError as error:
        raise JournalUnwritable(f"{path}: cannot write it: {error.strerror}") from error


def _opened_last(journal_dir: Path) -> str | None:
    """Which session opened last as far as the note beside the journals says; a note that says nothing sorts last."""
    path = journal_dir / LAST_SESSION_FILE
    try:
        is_file = stat.S_ISREG(path.stat().st_mode)  # a pipe would let us wait for whoever writes to it
        said = path.read_bytes()[:100].decode("ascii", "replace").strip() if is_file else ""
    except FileNotFoundError:
        return None
    except OSError:
        said = ""
    return said if _opened_at(said) else _UNKNOWN


def _opened_at(name: str) -> datetime | None:
    """The time with which a session's name begins; None for a name that no session has."""
    match = _NAME.fullmatch(name)
    with suppress(ValueError):  # a 13th month
        return datetime.strptime(f"{match[1]}000+0000", "%Y%m%dT%H%M%S%f%z") if match else None
    return None


def _at_least_degraded(mode: Mode | None) -> Mode:
    """What is gone may have been a trip, but no trip softens the kill switch."""
    return "HALT" if mode == "HALT" else "DEGRADED"


def _how_it_ended(path: Path) -> LastSession | None:
    """What a journal says of its session's end.

    None if it ends, in order or torn, before the session was opened, and if it is a copy of another session's.
    """
    mode: Mode | None = None
    why: str | None = None
    closed = ended = False
    wrong: str | None = None
    for said in _what_it_says(path):
        if isinstance(said, str):
            wrong = wrong or said
        elif isinstance(said, SessionOpened):
            if said.venue_mode == "replay":
                return None
            mode = said.initial_mode
        elif isinstance(said, ModeChanged):
            mode, why = said.to_mode, said.reason
        elif isinstance(said, BreakerEvent) and mode == "ACTIVE":  # killed before the change was on record
            mode, why = "DEGRADED", f"{said.breaker} tripped at tick {said.tick}"
        elif isinstance(said, SessionClosed):
            mode, ended = said.final_mode, True
            closed = said.orders_surviving == 0 and not said.end_reason.startswith(FAULT)
    if wrong is None and mode == "ACTIVE" and not closed and path.with_suffix(REFUSED_SUFFIX).exists():
        wrong = "its journal took no more records"
    if wrong is not None:
        return LastSession(path.stem, _at_least_degraded(mode), closed=False, why=wrong, ended=ended)
    return None if mode is None else LastSession(path.stem, mode, closed, why, ended)


def _what_it_says(path: Path) -> Iterator[Record | str]:
    """The records of a journal on which its session's mode hangs and, as words, what is wrong with it."""
    frames = 0
    last: Frame | None = None
    try:
        for frame in read_frames(path):
            if isinstance(frame, Damage):
                if frame.kind == "corrupt":
                    yield "its journal is damaged"
                continue
            frames, last = frames + 1, frame
            if may_be_of(frame.payload, b"session_opened", b"mode_changed", b"breaker_event", b"session_closed"):
                envelope, record = read_record(frame.payload)
                if envelope.session_uid != path.stem:
                    return
                yield record
        if last is not None and decode(last.payload).seq != frames - 1:
            yield "its journal lacks records"
    except (OSError, JournalCorrupt, RecordUnreadable) as error:
        yield f"its journal cannot be read: {error}"


def engine_runs(journal_dir: Path) -> bool:
    """Whether an engine holds the journal directory at this moment."""
    try:
        with FileLock(journal_dir / ENGINE_LOCK, timeout=0):
            return False
    except Timeout:
        return True


def rearm(journal_dir: Path, reason: str, wall_ns: int) -> LastSession | None:
    """Let the next session start ACTIVE although the last one ended latched, or a halt waits for it.

    Returns the session that is lifted, None if only a halt that nobody had obeyed yet was taken back. Raises
    `KedgeError` if there is neither, `JournalUnwritable` if the word cannot be written.
    """
    last = last_session(journal_dir)
    latched = last if last is not None and last.mode != "ACTIVE" else None
    if latched is not None:  # first: a halt that waits is not lost if this word cannot be written
        operator_word.write_rearm(journal_dir, Rearm(latched.session_uid, latched.mode, reason, wall_ns))
    taken_back = operator_word.withdraw_halt(journal_dir)
    if latched is None and not taken_back:
        raise KedgeError(f"{journal_dir}: nothing to re-arm, the last session did not end in DEGRADED or HALT")
    return latched
