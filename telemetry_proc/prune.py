"""Which journals may go? Only those that the database can answer for, record by record, and that nobody needs.

A journal is kept unless it passes every check of `CHECKS`, and then the audit: all of its records are rows, identical.
Beside a journal that goes may lie the empty mark `<session>.latched` that its engine left; it says nothing without it
and goes too. What a repair saved is never deleted here, and its journal stays as long as it lies there.

The writer's last commits may not be on disk yet; that is right as long as the journals have the same records. So
before the first journal is deleted, the database and its log are synced.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import apsw

from shared.clock import iso_utc
from shared.codec import read_record
from shared.disk import sync_directory
from shared.errors import JournalCorrupt, KedgeError, RecordUnreadable
from shared.journal import REFUSED_SUFFIX, SUFFIX, Frame, read_frames
from shared.records import SessionOpened
from telemetry_proc.audit import compare
from telemetry_proc.journal_repair import broken_pieces
from telemetry_proc.journal_survey import Survey, how_it_ended, survey
from telemetry_proc.journals import Journal
from telemetry_proc.wording import count

_DAY_NS = 86_400 * 1_000_000_000


class Judged(NamedTuple):
    """One journal: why it is kept, or None if it may go."""

    path: Path
    session_uid: str | None
    size_bytes: int
    closed_ns: int | None  # wall clock of session_closed
    kept_because: str | None


class _Rule(NamedTuple):
    """What the checks go by."""

    wall_ns: int
    keep_days: float
    pasts: frozenset[Path]


def judge_all(conn: apsw.Connection, paths: Sequence[Path], keep_days: float, wall_ns: int) -> Iterator[Judged]:
    """Every journal, the one that was closed first coming first. `wall_ns` is the machine's wall clock."""
    seen = [survey(path) for path in paths]
    directories = {path.parent for path in paths}
    rule = _Rule(wall_ns, keep_days, frozenset(past for directory in directories for past in _pasts(directory)))
    for one in sorted(seen, key=lambda one: (one.closed.wall_ns if one.closed else wall_ns, one.path.name)):
        reason = next(filter(None, (check(one, rule) for check in CHECKS)), None) or _why_not_stored(conn, one)
        yield Judged(one.path, one.session_uid, one.size_bytes or 0, one.closed and one.closed.wall_ns, reason)


def delete(judged: Judged) -> None:
    """Let a journal go, and the mark that belongs to it. Raises `KedgeError`, and then it is still there."""
    path = judged.path
    try:
        if path.stat().st_size != judged.size_bytes:
            raise KedgeError(f"{path}: changed since it was compared, left alone")
        path.unlink()
        path.with_suffix(REFUSED_SUFFIX).unlink(missing_ok=True)
        sync_directory(path.parent)
    except OSError as error:
        raise KedgeError(f"{path}: cannot delete the journal: {error.strerror}") from error


def sync_database(database: Path) -> None:
    """Return once all that is committed is on disk for good. No connection of this process may be open: closing
    the file here would take its locks away. Raises `KedgeError`.
    """
    database = Path(os.path.realpath(database))  # SQLite keeps the log beside the file itself, not beside a link to it
    for path in (database.with_name(f"{database.name}-wal"), database):
        try:
            fd = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise KedgeError(f"{path}: cannot sync the database: {error.strerror}") from error
        try:
            os.fsync(fd)
        except OSError as error:
            raise KedgeError(f"{path}: cannot sync the database: {error.strerror}") from error
        finally:
            os.close(fd)


def _is_the_engines_past(seen: Survey, rule: _Rule) -> str | None:
    """On the newest journal hangs in which mode the next session may start."""
    return "the newest of its directory: the engine's past" if seen.path in rule.pasts else None


def _is_damaged(seen: Survey, _rule: _Rule) -> str | None:
    """It may say something that nobody has read yet."""
    return how_it_ended(seen) if seen.is_damaged or seen.torn_bytes else None


def _is_not_closed(seen: Survey, _rule: _Rule) -> str | None:
    """It runs, or it crashed; a crash is worth a look."""
    return None if seen.closed is not None and seen.ends_closed else how_it_ended(seen)


def _was_repaired(seen: Survey, _rule: _Rule) -> str | None:
    """Broken bytes mean nothing without the journal that they were taken out of."""
    return "what a repair took out of it still lies beside it" if broken_pieces(seen.path) else None


def _is_young(seen: Survey, rule: _Rule) -> str | None:
    """By the wall clock that closed it. A clock that is ahead of ours proves no age."""
    assert seen.closed is not None
    age_ns = rule.wall_ns - seen.closed.wall_ns
    if age_ns > rule.keep_days * _DAY_NS:
        return None
    if age_ns < 0:
        return f"closed in the future: {iso_utc(seen.closed.wall_ns)}"
    return f"closed {age_ns / _DAY_NS:.1f} days ago, kept for {rule.keep_days:g}"


CHECKS: tuple[Callable[[Survey, _Rule], str | None], ...] = (
    _is_damaged,
    _is_the_engines_past,
    _is_not_closed,
    _was_repaired,
    _is_young,
)


def _why_not_stored(conn: apsw.Connection, seen: Survey) -> str | None:
    assert seen.session_uid is not None
    verdict = compare(conn, Journal(seen.path, seen.session_uid))
    if verdict.is_stored and not verdict.notes:
        return None
    first = verdict.findings[0] if verdict.findings else f"{count(verdict.rejected, 'record')} in telemetry_rejects"
    others = verdict.failures + verdict.notes - 1
    return f"{first} (and {others} more)" if others > 0 else str(first)


def _pasts(directory: Path) -> Iterator[Path]:
    """The newest journal by name, and the newest of an engine that traded: a replay or a copy is nobody's past."""
    newest_first = sorted(directory.glob(f"*{SUFFIX}"), key=lambda path: path.name, reverse=True)
    yield from newest_first[:1]
    yield from islice(filter(_traded, newest_first), 1)


def _traded(path: Path) -> bool:
    try:
        first = next(read_frames(path), None)
        if not isinstance(first, Frame):
            return False
        (_, session_uid, _, _), opened = read_record(first.payload)
    except (OSError, JournalCorrupt, RecordUnreadable):  # kept as damaged in any case, and one before it as well
        return False
    return isinstance(opened, SessionOpened) and opened.venue_mode != "replay" and session_uid == path.stem
