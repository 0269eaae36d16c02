"""The way into the database: rows, rejects, gaps and offsets, all inside one transaction."""

from __future__ import annotations

import logging
import os
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import apsw

from shared.clock import Clock, iso_utc
from shared.errors import DatabaseUnusable
from shared.records import SessionOpened
from telemetry_proc.batch import OffsetRow
from telemetry_proc.offsets import Gap, Offset, fresh_offsets
from telemetry_proc.statements import STATEMENTS, Row, find_session, insert_session, mark_crashed, restate
from telemetry_proc.validate import Fact, Reject
from telemetry_proc.wording import in_one_line

log = logging.getLogger(__name__)

REJECT_BYTES_MAX = 65_536


class _File(NamedTuple):
    """Which file it is, and how long."""

    device: int
    inode: int
    size_bytes: int


class Store:
    """The database as the writer sees it. It owns neither the connection nor the lock."""

    def __init__(self, conn: apsw.Connection, clock: Clock) -> None:
        self._conn = conn
        self._clock = clock
        self._path = Path(conn.filename)
        self._file = _file_at(self._path)
        self._session_ids: dict[str, int] = {}

    def offsets(self) -> defaultdict[str, Offset]:
        """Where every session stands, with the gaps that still miss something.

        Raises `DatabaseUnusable` for what the writer never wrote there: from a wrong place, records would be stored
        twice or left out.
        """
        offsets = fresh_offsets()
        for uid, next_seq, position in self._conn.execute(
            "SELECT session_uid, next_seq, journal_position FROM telemetry_offsets"
        ):
            if not _are_counts(next_seq, 0 if position is None else position):
                raise self._nonsense("telemetry_offsets", uid)
            offsets[uid] = Offset(next_seq, position)
        for uid, *gap in self._conn.execute(
            "SELECT session_uid, first_seq, last_seq, missing_from, reason FROM telemetry_gaps"
            " WHERE filled = 0 ORDER BY session_uid, first_seq"
        ):
            first, last, missing_from, _ = gap
            if not (_are_counts(first, last, missing_from) and first <= missing_from <= last < offsets[uid].next_seq):
                raise self._nonsense("telemetry_gaps", uid)
            offsets[uid].gaps.append(Gap(*gap))
        return offsets

    def _nonsense(self, table: str, uid: object) -> DatabaseUnusable:
        text = f"{self._path}: {table} makes no sense for session {uid}; a backfill into a new database is what helps"
        return DatabaseUnusable(in_one_line(text))

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """All or nothing. SQLite's errors pass through, and then nothing was stored.

        Raises `DatabaseUnusable` once the path no longer leads to the file that was opened.
        """
        self._still_in_place()
        self._conn.execute("BEGIN IMMEDIATE")
        tx = Transaction(self._conn, dict(self._session_ids), self._clock.wall_ns())
        try:
            yield tx
            self._conn.execute("COMMIT")
        except BaseException:
            if self._conn.in_transaction:  # a full disk has already rolled it back
                self._conn.execute("ROLLBACK")
            raise
        self._session_ids = tx.session_ids

    def _still_in_place(self) -> None:
        """SQLite writes on into a file that was moved or deleted; to whoever looks at its path, those rows are lost.

        The log stays behind at the old path, where a database that was put there would take it for its own. So it is
        emptied: into the file it belongs to, unless that has been written over where it stands, as `cp` does with a
        backup. Then it has become shorter, which a database never does by itself.
        """
        opened, found = self._file, _file_at(self._path)
        is_same = found[:2] == opened[:2]
        if is_same and found.size_bytes >= opened.size_bytes:
            self._file = found
            return
        if is_same:
            self._conn.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
            with suppress(FileNotFoundError):  # whoever puts a backup there may have taken the log away
                os.truncate(f"{self._path}-wal", 0)
        else:
            self._conn.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        raise DatabaseUnusable(
            f"{self._path}: moved, deleted or replaced while it was open; what it lacks waits in the journals"
        )


class Transaction:
    """What can be written in one transaction."""

    def __init__(self, conn: apsw.Connection, session_ids: dict[str, int], wall_ns: int) -> None:
        self._conn = conn
        self.session_ids = session_ids
        self._wall_ns = wall_ns

    def insert(self, facts_by_kind: dict[str, list[Fact]]) -> list[Reject]:
        """Store records, and return those that the tables refuse, e.g. by a CHECK that an older program left there.

        The inserts are plain: a row that is there already is never overwritten, it makes the second one a reject.
        """
        refused: list[Reject] = []
        for facts in facts_by_kind.values():
            self._number_sessions(facts)
        for kind, facts in facts_by_kind.items():
            sql, row = STATEMENTS[kind]
            rows = [row(self.session_ids[fact.session_uid], fact) for fact in facts]
            try:
                self._execute_all(sql, rows)
            except apsw.ConstraintError:
                refused += self._one_by_one(sql, rows, facts)
        for fact in facts_by_kind.get("session_opened", ()):
            self._mark_crashed(SessionOpened(*fact.fields).crashed_uid)
        for key in {fact.fields[1]: None for fact in facts_by_kind.get("engine_state", ())}:
            self._restate(key)
        return refused

    def quarantine(self, rejects: list[Reject]) -> None:
        """Put bytes on file that could not become a row."""
        self._conn.executemany(
            "INSERT INTO telemetry_rejects(session_uid, seq, source, reason, payload, payload_bytes, received_ns)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            [
                (uid, seq, source, reason, payload[:REJECT_BYTES_MAX], len(payload), self._wall_ns)
                for uid, seq, reason, source, payload in rejects
            ],
        )

    def note_gaps(self, gaps: list[tuple[str, Gap]]) -> None:
        """Gaps that were noticed, and what has been filled of older ones."""
        self._conn.executemany(
            "INSERT INTO telemetry_gaps(session_uid, first_seq, last_seq, missing_from, reason, noticed_at, filled)"
            " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT(session_uid, first_seq) DO UPDATE"
            " SET last_seq = excluded.last_seq, missing_from = excluded.missing_from, filled = excluded.filled",
            [(uid, *gap, iso_utc(self._wall_ns), gap.missing_from is None) for uid, gap in gaps],
        )

    def advance(self, offsets: list[OffsetRow]) -> None:
        """Say how far each session is stored once this transaction is."""
        self._conn.executemany(
            "INSERT INTO telemetry_offsets(session_uid, next_seq, journal_position) VALUES (?, ?, ?)"
            " ON CONFLICT(session_uid) DO UPDATE"
            " SET next_seq = excluded.next_seq, journal_position = excluded.journal_position",
            offsets,
        )

    def _number_sessions(self, facts: list[Fact]) -> None:
        for uid in {fact.session_uid: None for fact in facts if fact.session_uid not in self.session_ids}:
            session_id = find_session(self._conn, uid)
            self.session_ids[uid] = insert_session(self._conn, uid) if session_id is None else session_id

    def _mark_crashed(self, session_uid: str | None) -> None:
        if session_uid is None:
            return
        try:
            mark_crashed(self._conn, session_uid)
        except apsw.ConstraintError as error:
            log.warning("sessions does not take that %s crashed: %s", session_uid, error)

    def _restate(self, key: str) -> None:
        try:
            restate(self._conn, key)
        except apsw.ConstraintError as error:  # by a CHECK or a trigger of an older program
            log.warning("engine_state does not take %s, session_state has it: %s", key, error)

    def _execute_all(self, sql: str, rows: list[Row]) -> None:
        self._conn.execute("SAVEPOINT kind")
        try:
            self._conn.executemany(sql, rows)
        except apsw.ConstraintError:
            self._conn.execute("ROLLBACK TO kind; RELEASE kind")
            raise
        self._conn.execute("RELEASE kind")

    def _one_by_one(self, sql: str, rows: list[Row], facts: list[Fact]) -> list[Reject]:
        refused = []
        for row, fact in zip(rows, facts, strict=True):
            try:
                self._conn.execute(sql, row)
            except apsw.ConstraintError as error:
                reason = f"{fact.kind}: refused by the table: {error}"
                refused.append(Reject(fact.session_uid, fact.seq, reason, fact.source, fact.payload))
        return refused


def _are_counts(*values: object) -> bool:
    """SQLite keeps a text in a column of numbers as it is."""
    return all(isinstance(value, int) and value >= 0 for value in values)


def _file_at(path: Path) -> _File:
    """Which file stands at a path; all zeros if there is none."""
    try:
        facts = path.stat()
    except FileNotFoundError:
        return _File(0, 0, 0)
    return _File(facts.st_dev, facts.st_ino, facts.st_size)
