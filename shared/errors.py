"""Every error Kedge raises on purpose, split by who must act, each with its exit code.

    KedgeError                    1   failure; the message is one line for the person who reads it
    ├── ConfigError              78   the operator must mend the configuration (file and key are named)
    ├── UsageError                2   the command line asks for something that does not exist
    ├── NotEnoughData             3   nothing to report on yet
    ├── IntegrityError            4   two records of the same thing disagree
    │   └── JournalCorrupt        4   a frame in the middle of a journal does not match its checksum
    ├── LedgerUnreadable          1   the ledger's data makes no sense (raised in engine_proc/xrpl_market.py)
    ├── DatabaseUnusable          5   the database is locked, unreadable, foreign or newer than this program
    ├── JournalUnwritable        75   no trading off the record: the journal could not be opened or appended to
    └── FailSafeStop             75   the engine stopped itself; a supervisor must not start it again

A record that cannot be understood is not an exception of the process but a value that is put on file:
`RecordUnreadable` is raised by the codec and turned into a row of `telemetry_rejects` by the writer.
"""

from __future__ import annotations


class KedgeError(Exception):
    """A failure with a message for people. `exit_code` is what the command ends with."""

    exit_code = 1


class ConfigError(KedgeError):
    """The configuration cannot be used; the message names the file and the key."""

    exit_code = 78


class UsageError(KedgeError):
    """The command names something that does not exist, such as an unknown session."""

    exit_code = 2


class NotEnoughData(KedgeError):
    """There is nothing, or too little, to answer from."""

    exit_code = 3


class IntegrityError(KedgeError):
    """Two records of the same thing disagree; no conclusion may be drawn from either."""

    exit_code = 4


class JournalCorrupt(IntegrityError):
    """A journal is damaged before its end, which a crash cannot explain."""


class DatabaseUnusable(KedgeError):
    """The database is locked by another writer, unreadable, foreign, or of a newer schema."""

    exit_code = 5


class JournalUnwritable(KedgeError):
    """The journal could not be created or appended to; trading off the record is not allowed."""

    exit_code = 75


class FailSafeStop(KedgeError):
    """The engine stopped for safety; only the operator may start it again."""

    exit_code = 75


class RecordUnreadable(Exception):
    """These bytes are not a record of ours; the reason says which rule they break."""
