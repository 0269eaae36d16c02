"""Every session strictly in the order of its sequence numbers, whatever the socket dropped, repeated or reordered."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path

from shared.errors import JournalCorrupt
from shared.journal import journal_path
from telemetry_proc.journals import Journal, read_on
from telemetry_proc.offsets import Offset
from telemetry_proc.validate import Fact, Reject, judge

log = logging.getLogger(__name__)


def in_order(payloads: Iterable[bytes], offsets: dict[str, Offset], journal_dir: Path) -> Iterator[Fact | Reject]:
    """Records as they are to be stored, each once; `offsets` move along.

    Per session, a record below the offset is a duplicate, unless a gap waits for it; one at the offset is taken; one
    above it comes after what the journal has of the records between. What nobody has becomes a gap.
    """
    for payload in payloads:
        record = judge(payload, "socket")
        if record.session_uid is None or record.seq is None:
            yield record  # nobody's: it is put on file and moves no offset
            continue
        offset = offsets[record.session_uid]
        if record.seq > offset.next_seq:
            why = yield from _mend(journal_dir, record.session_uid, offset, record.seq)
            if record.seq > offset.next_seq:
                log.warning(
                    "session %s: records %d to %d are missing: %s",
                    *(record.session_uid, offset.next_seq, record.seq - 1, why),
                )
                offset.skip_to(record.seq, why)
        if record.seq == offset.next_seq:
            offset.pass_over(payload)
            yield record
        elif offset.gaps and offset.fill(record.seq):
            yield record


def _mend(journal_dir: Path, session_uid: str, offset: Offset, seq: int) -> Generator[Fact | Reject, None, str]:
    """Read the gap from the journal, up to the record that revealed it; return why there may be one left."""
    journal = Journal(journal_path(journal_dir, session_uid), session_uid)
    try:
        yield from read_on(journal, offset, until=seq)
    except FileNotFoundError:
        return "no journal"
    except (OSError, JournalCorrupt) as error:
        return f"the journal cannot be read: {error}"
    return "not in the journal"
