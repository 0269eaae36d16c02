"""Which mode may a new session start in? A tripped engine must not come back quoting because it was restarted.

    last journal                      `rearm: on_clean_restart`        `rearm: explicit`
    none                              ACTIVE                           ACTIVE
    closed in order                   ACTIVE: the operator's restart   the mode it ended in
    closed by a fault, or with        the mode it ended in             the mode it ended in
      orders that may still be live
    not closed (crash, kill -9)       the mode it last had             the mode it last had
    not closed, and refused records   DEGRADED                         DEGRADED
    cannot be read                    DEGRADED                         DEGRADED

Refused records: an engine whose journal takes nothing cannot put its DEGRADED on record, so it leaves an empty file
`<session_uid>.latched` beside it, for which even a full disk has room. Sessions that replay a journal never traded and
say nothing here.

The last journal is the newest that says anything: an engine that died, or found the disk full, before its opening was
on record never quoted and leaves an empty journal, and what held before it still holds.

A `rearm` order of the operator names the very session and the mode that it lifts, so that an old order can never lift
a later trip. It is a small JSON file beside the journals.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from engine_proc.modes import ModeState
from shared.codec import read_record
from shared.errors import JournalCorrupt, JournalUnwritable, KedgeError, RecordUnreadable
from shared.journal import REFUSED_SUFFIX, SUFFIX, Damage, read_frames
from shared.records import BreakerEvent, Mode, ModeChanged, SessionClosed, SessionOpened

REARM_FILE = "rearm.json"
FAULT = "fault: "  # how the end_reason of a session that did not end in order begins
_KEPT = "kept from session "


class LastSession(NamedTuple):
    """How the newest session of a journal directory ended."""

    session_uid: str
    mode: Mode
    closed: bool
    why: str | None


class Start(NamedTuple):
    """The state to start in, and the record that says where it comes from (None: simply ACTIVE)."""

    state: ModeState
    inherited: ModeChanged | None


def start_state(journal_dir: Path, policy: str, now_ns: int) -> Start:
    """The mode that a session started now must begin in. `policy` is `strategy.rearm`."""
    last = last_session(journal_dir)
    if last is None or last.mode == "ACTIVE" or (last.closed and policy == "on_clean_restart"):
        return Start(ModeState(), None)
    reason = _rearm_reason(journal_dir, last)
    if reason is not None:
        return Start(ModeState(), ModeChanged(now_ns, 0, last.mode, "ACTIVE", "rearm", reason))
    signal = "halt" if last.mode == "HALT" else "degrade"
    kept = last.why or "its reason is not on record"
    if not kept.startswith(_KEPT):  # through any number of restarts the first session and its reason stay readable
        kept = f"{_KEPT}{last.session_uid}: {kept}"[:500]
    return Start(ModeState(last.mode, now_ns, kept), ModeChanged(now_ns, 0, last.mode, last.mode, signal, kept))


def last_session(journal_dir: Path) -> LastSession | None:
    """The newest session, by name: a session_uid starts with the UTC time of its opening. None if there is none."""
    journals = sorted(journal_dir.glob(f"*{SUFFIX}"), reverse=True)
    return next((session for session in map(_how_it_ended, journals) if session is not None), None)


def _how_it_ended(path: Path) -> LastSession | None:
    """What a journal says of its session's end; None if it ends, in order or torn, before the session was opened."""
    mode: Mode | None = None
    why: str | None = None
    closed = False
    try:
        for frame in read_frames(path):
            if isinstance(frame, Damage):
                if frame.kind == "torn":
                    break
                return LastSession(path.stem, "DEGRADED", closed=False, why="its journal is damaged")
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
                mode = record.final_mode
                closed = record.orders_surviving == 0 and not record.end_reason.startswith(FAULT)
    except (OSError, JournalCorrupt, RecordUnreadable) as error:
        return LastSession(path.stem, "DEGRADED", closed=False, why=f"its journal cannot be read: {error}")
    if mode == "ACTIVE" and not closed and path.with_suffix(REFUSED_SUFFIX).exists():
        return LastSession(path.stem, "DEGRADED", closed=False, why="its journal took no more records")
    return None if mode is None else LastSession(path.stem, mode, closed, why)


def write_rearm(journal_dir: Path, reason: str, wall_ns: int) -> LastSession:
    """Let the next session start ACTIVE although the last one ended latched. Returns the session that is lifted.

    Raises `KedgeError` if nothing is latched, `JournalUnwritable` if the order cannot be written.
    """
    last = last_session(journal_dir)
    if last is None or last.mode == "ACTIVE":
        raise KedgeError(f"{journal_dir}: nothing to re-arm, the last session did not end in DEGRADED or HALT")
    order = {"session_uid": last.session_uid, "mode": last.mode, "reason": reason, "wall_ns": wall_ns}
    path = journal_dir / REARM_FILE
    draft = path.with_suffix(".tmp")
    try:
        draft.write_text(json.dumps(order) + "\n", encoding="utf-8")
        draft.replace(path)
    except OSError as error:
        raise JournalUnwritable(f"{path}: cannot write the re-arm order: {error.strerror}") from error
    return last


def _rearm_reason(journal_dir: Path, last: LastSession) -> str | None:
    """The operator's reason if there is an order for this very session and mode. An unreadable order is no order."""
    try:
        order = json.loads((journal_dir / REARM_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    named = isinstance(order, dict) and (order.get("session_uid"), order.get("mode")) == (last.session_uid, last.mode)
    if not named or not isinstance(order.get("reason"), str):
        return None
    said = order["reason"].encode(errors="replace").decode()  # a shell may hand over bytes that are not text
    return f"rearm of session {last.session_uid}: {said}"[:500]


def _says_mode(payload: bytes) -> bool:
    """A cheap look at where the kind stands in the wire format, so that a long journal is read in a moment."""
    head = payload[:24]
    return any(kind in head for kind in (b"session_opened", b"mode_changed", b"breaker_event", b"session_closed"))
