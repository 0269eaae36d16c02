"""Which executions are on record already, so that a venue that reads a ledger again does not report them twice.

A live venue moves its mark "read up to this ledger" once the engine has put on record what it read. A crash in between
leaves fills in the journal that the next session will come across again.
"""

from __future__ import annotations

import json
from pathlib import Path

from shared.codec import may_be_of, read_record
from shared.errors import JournalCorrupt, RecordUnreadable
from shared.journal import SUFFIX, Damage, read_frames
from shared.records import FillRecord, SessionClosed, SessionOpened


def recorded_trades(journal_dir: Path, account: str) -> frozenset[str]:
    """Trade ids in the account's live journals, from the newest back to its last session that was closed in order.

    Further back nothing can be read again: a session that closes moves the mark for the last time. No end to the search
    is a damaged journal, which is read as far as it goes, nor that of a session on paper, of another account, or
    without a tick: where the venue did not answer from the start, the mark is still where a crash before left it.
    """
    trades: set[str] = set()
    for path in sorted(journal_dir.glob(f"*{SUFFIX}"), reverse=True):
        if _collect(path, account, trades):
            break
    return frozenset(trades)


def _collect(path: Path, account: str, trades: set[str]) -> bool:
    """Add the trade ids of one journal; whether it is one of this account that was closed in order, after a tick."""
    closed = False
    try:
        for frame in read_frames(path):
            if isinstance(frame, Damage) or not may_be_of(frame.payload, b"fill", b"session_opened", b"session_closed"):
                continue
            _, record = read_record(frame.payload)
            if isinstance(record, SessionOpened):
                if record.venue_mode != "live" or _account(record.config_json) != account:
                    return False
            elif isinstance(record, FillRecord):
                trades.add(record.trade_id)
            elif isinstance(record, SessionClosed):
                closed = record.ticks > 0
    except (OSError, JournalCorrupt, RecordUnreadable):
        return False  # what the latch makes of such a journal is its own affair; here it just proves nothing
    return closed


def _account(config_json: str) -> object:
    """The account that a session traded with; None if its configuration says none."""
    try:
        return json.loads(config_json)["xrpl"]["account"]
    except (ValueError, LookupError, TypeError):
        return None
