"""Which mode may a new session start in? A tripped engine must not come back quoting because it was restarted.

    last journal                         `rearm: on_clean_restart`        `rearm: explicit`
    none, and none was ever written      ACTIVE                           ACTIVE
    closed in order, in DEGRADED         ACTIVE: the operator's restart   DEGRADED
    closed in order, in HALT             HALT                             HALT
    closed by a fault, or with           the mode it ended in             the mode it ended in
      orders that may still be live
    not closed (crash, kill -9)          the mode it last had             the mode it last had
    not closed, and refused records      DEGRADED                         DEGRADED
    cannot be read, damaged, or lacks    DEGRADED                         DEGRADED
      records (a repair leaves a hole)
    missing, or emptied                  DEGRADED                         DEGRADED

HALT outlives a clean restart under either policy: the kill switch is pulled by hand and released by hand.

Refused records: an engine whose journal takes nothing cannot put its DEGRADED on record, so it leaves an empty file
`<session_uid>.latched` beside it, for which even a full disk has room. Sessions that replay a journal never traded and
say nothing here.

The last journal is the newest that says anything: an engine that died, or found the disk full, before its opening was
on record never quoted and leaves an empty journal, and what held before it still holds. That a journal was there and
is no longer is known from `last_session`, a file that names the session that opened last. Only a directory of which
nothing is left looks like one that never was.

What the operator says is in `operator_word.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from engine_proc import operator_word
from engine_proc.modes import ModeState
from engine_proc.operator_word import Rearm
from shared.codec import SESSION_UID, decode, read_record
from shared.disk import write_whole
from shared.errors import JournalCorrupt, JournalUnwritable, KedgeError, RecordUnreadable
from shared.journal import REFUSED_SUFFIX, SUFFIX, Damage, Frame, read_frames
from shared.records import BreakerEvent, Mode, ModeChanged, SessionClosed, SessionOpened

LAST_SESSION_FILE = "last_session"
FAULT = "fault: "  # how the end_reason of a session that did not end in order begins
_KEPT = "kept from session "


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
    journals = sorted(journal_dir.glob(f"*{SUFFIX}"), reverse=True)
    found = next((session for session in map(_how_it_ended, journals) if session is not None), None)
    opened_last = _opened_last(journal_dir)
    if opened_last is not None and (found is None or found.session_uid < opened_last):
        return LastSession(opened_last, "DEGRADED", closed=False, why="its journal is missing or empty")
    return found


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
    try:
        said = (journal_dir / LAST_SESSION_FILE).read_bytes()[:100].decode("ascii", "replace").strip()
    except FileNotFoundError:
        return None
    except OSError:
        said = ""
    return said if SESSION_UID.fullmatch(said) else "unknown"


def _how_it_ended(path: Path) -> LastSession | None:
    """What a journal says of its session's end; None if it ends, in order or torn, before the session was opened."""
    mode: Mode | None = None
    why: str | None = None
    closed = ended = False
    frames = 0
    last: Frame | None = None
    try:
        for frame in read_frames(path):
            if isinstance(frame, Damage):
                if frame.kind == "torn":
                    break
                return LastSession(path.stem, "DEGRADED", closed=False, why="its journal is damaged")
            frames, last = frames + 1, frame
            if not _says_mode(frame.payload):
                continue
            _, record = read_record(frame.payload)
            if isinstance(record, SessionOpened):
                if record.venue_mode == "replay":
                    return None
                mode = record.initial_mode
            elif isinstance(record, ModeChanged):
                mode, why = record.to_mode, record.reason
            elif isinstance(record, BreakerEvent) and mode == "ACTIVE":  # killed before the change was on record
                mode, why = "DEGRADED", f"{record.breaker} tripped at tick {record.tick}"
            elif isinstance(record, SessionClosed):
                mode, ended = record.final_mode, True
                closed = record.orders_surviving == 0 and not record.end_reason.startswith(FAULT)
        if last is not None and decode(last.payload).seq != frames - 1:  # what is gone may have been a trip
            return LastSession(path.stem, "DEGRADED", closed=False, why="its journal lacks records", ended=ended)
    except (OSError, JournalCorrupt, RecordUnreadable) as error:
        return LastSession(path.stem, "DEGRADED", closed=False, why=f"its journal cannot be read: {error}")
    if mode == "ACTIVE" and not closed and path.with_suffix(REFUSED_SUFFIX).exists():
        return LastSession(path.stem, "DEGRADED", closed=False, why="its journal took no more records", ended=ended)
    return None if mode is None else LastSession(path.stem, mode, closed, why, ended)


def rearm(journal_dir: Path, reason: str, wall_ns: int) -> LastSession | None:
    """Let the next session start ACTIVE although the last one ended latched, or a halt waits for it.

    Returns the session that is lifted, None if only a halt that nobody had obeyed yet was taken back. Raises
    `KedgeError` if there is neither, `JournalUnwritable` if the word cannot be written.
    """
    last = last_session(journal_dir)
    latched = last is not None and last.mode != "ACTIVE"
    taken_back = operator_word.withdraw_halt(journal_dir)
    if last is None or not latched:
        if taken_back:
            return None
        raise KedgeError(f"{journal_dir}: nothing to re-arm, the last session did not end in DEGRADED or HALT")
    operator_word.write_rearm(journal_dir, Rearm(last.session_uid, last.mode, reason, wall_ns))
    return last


def _says_mode(payload: bytes) -> bool:
    """A cheap look at where the kind stands in the wire format, so that a long journal is read in a moment."""
    head = payload[:24]
    return any(kind in head for kind in (b"session_opened", b"mode_changed", b"breaker_event", b"session_closed"))
