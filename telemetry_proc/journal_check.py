"""Is a journal what an engine writes? One pass, in constant memory, and every fault where it is found.

The records come out as the writer takes them: in the order of their numbers, each once. What it would leave out, such
as a record that stands there twice, is a finding instead.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from shared.errors import JournalCorrupt
from shared.journal import SUFFIX, Damage, read_frames
from telemetry_proc.journals import Journal, Placed, attributed, journal_at
from telemetry_proc.validate import Reject

FINDINGS_KEPT = 50


class Finding(NamedTuple):
    """One fault, or a remark that is none. `code` is for programs, `text` for people."""

    code: str
    text: str
    position: int | None = None  # byte in the journal
    record: int | None = None
    is_failure: bool = True

    def __str__(self) -> str:
        """Where it is, then what it is."""
        byte = "" if self.position is None else f"byte {self.position}: "
        record = "" if self.record is None else f"record {self.record}: "
        return f"{byte}{record}{self.text}"


@dataclass(slots=True)
class Verdict:
    """What was found out about one journal; `findings` keeps the first of them, the counts count all.

    `compared`: with a database as well. Then `behind` are its last records that are not stored yet, and `rejected`
    those that stand in telemetry_rejects instead of a table.
    """

    path: Path
    session_uid: str | None
    compared: bool = False
    records: int = 0
    behind: int = 0
    rejected: int = 0
    failures: int = 0
    notes: int = 0
    findings: list[Finding] = field(default_factory=list)

    def take(self, finding: Finding) -> None:
        """Count a finding, and keep it while there is room."""
        if finding.is_failure:
            self.failures += 1
        else:
            self.notes += 1
        if len(self.findings) < FINDINGS_KEPT:
            self.findings.append(finding)

    @property
    def is_stored(self) -> bool:
        """Every record of the journal is a row of the database, and nothing is wrong with either."""
        return self.compared and not (self.failures or self.behind or self.rejected)


def check(path: Path) -> Verdict:
    """A journal by itself. Whatever is wrong with the file is a finding, never an error."""
    journal = identify(path)
    if isinstance(journal, Verdict):
        return journal
    verdict = Verdict(path, journal.session_uid)
    try:
        for found in walk(journal):
            if isinstance(found, Finding):
                verdict.take(found)
            else:
                verdict.records += 1
    except (OSError, JournalCorrupt) as error:
        verdict.take(unreadable(path, error))
    return verdict


def identify(path: Path) -> Journal | Verdict:
    """Whose journal is it? Where that cannot be said, this is all there is to say about it."""
    verdict = Verdict(path, None)
    try:
        journal = journal_at(path)
        if journal is not None:
            return journal
        for found in read_frames(path):
            if not isinstance(found, Damage):
                verdict.take(_no_name(found.position))
            elif found.length:
                verdict.take(_damage(found))
    except (OSError, JournalCorrupt) as error:
        verdict.take(unreadable(path, error))
        return verdict
    if not verdict.failures:
        verdict.take(Finding("no_record", "holds no record yet", is_failure=False))
    return verdict


def walk(journal: Journal) -> Iterator[Placed | Finding]:
    """Every record that counts, and what is wrong in its place; up to the length that the journal has now.

    Raises `JournalCorrupt` if the file is no journal, `OSError` if it cannot be read.
    """
    path, session_uid = journal
    if path.name != f"{session_uid}{SUFFIX}":
        yield Finding("name_differs", f"the file should be called {session_uid}{SUFFIX}", 0)
    bytes_max = path.stat().st_size
    next_seq, closed = 0, False
    for found in attributed(journal, read_frames(path), 0):
        position = found.position
        if position >= bytes_max:
            return
        if isinstance(found, Damage):
            yield _damage(found)
            continue
        record = found.record
        if isinstance(record, Reject):
            yield Finding("record_unreadable", record.reason, position, record.seq)
        if record.seq is None:  # behind damage its place does not say its number either
            continue
        if record.seq < next_seq:
            yield Finding("record_repeated", f"stands there again, {next_seq} was expected", position, record.seq)
            continue
        if record.seq > next_seq:
            yield Finding("records_missing", f"records {next_seq} to {record.seq - 1} are missing before it", *(
                position, record.seq,
            ))  # fmt: skip
        next_seq = record.seq + 1
        if not isinstance(record, Reject):
            if closed:
                yield Finding("record_after_end", f"{record.kind} after session_closed", position, record.seq)
            if (record.kind == "session_opened") != (record.seq == 0):
                yield Finding("record_misplaced", f"{record.kind} here", position, record.seq)
            closed = closed or record.kind == "session_closed"
        yield found


def unreadable(path: Path, error: OSError | JournalCorrupt) -> Finding:
    """The whole file cannot be read, or is no journal."""
    text = f"cannot be read: {error.strerror}" if isinstance(error, OSError) else str(error).removeprefix(f"{path}: ")
    return Finding("journal_unreadable", text)


def _damage(found: Damage) -> Finding:
    if found.kind == "torn":
        text = f"torn: {found.length:,} bytes of a record that was never finished, as a crash leaves them"
        return Finding("tail_torn", text, found.position, is_failure=False)
    return Finding("bytes_corrupt", f"{found.length:,} corrupt bytes", found.position)


def _no_name(position: int) -> Finding:
    return Finding("session_unknown", "a record, but neither it nor the file's name says of which session", position)
