"""The validated ledgers of the double, and a file of them from which a killed node starts again.

The file is a header and one frame per ledger, each a length and a pickle; a frame cut short by a kill is left out.
"""

from __future__ import annotations

import pickle
import struct
from pathlib import Path
from typing import Any, NamedTuple

from tests.xrpl.ledger_state import Entries, Entry, Key

_LENGTH = struct.Struct(">Q")


class Done(NamedTuple):
    """A transaction of a validated ledger, `accounts` are those it touched."""

    hash: str
    transaction: dict[str, Any]
    meta: dict[str, Any]
    accounts: frozenset[str]


class Closed(NamedTuple):
    """A validated ledger: what it did and what it held after that (None once it is too old to be asked for)."""

    ledger_index: int
    ledger_hash: str
    parent_hash: str
    close_time: int
    parent_close_time: int
    transactions: tuple[Done, ...]
    changes: dict[Key, Entry | None]
    entries: Entries | None


class History:
    """A chain of validated ledgers. `first` is the oldest that the node says it has."""

    def __init__(self, states_kept: int) -> None:
        self.ledgers: dict[int, Closed] = {}
        self.first = 0
        self.states_kept = states_kept
        self.newest: Closed
        self._of_account: dict[str, list[tuple[int, int]]] = {}
        self._by_hash: dict[str, tuple[int, int]] = {}
        self._saved = 0

    def add(self, ledger: Closed) -> None:
        """One more validated ledger on top."""
        self.first = self.first or ledger.ledger_index
        self.ledgers[ledger.ledger_index] = self.newest = ledger
        for i, done in enumerate(ledger.transactions):
            self._by_hash[done.hash] = (ledger.ledger_index, i)
            for account in done.accounts:
                self._of_account.setdefault(account, []).append((ledger.ledger_index, i))
        old = self.ledgers.get(ledger.ledger_index - self.states_kept)
        if old is not None:
            self.ledgers[old.ledger_index] = old._replace(entries=None)

    def find(self, txid: str) -> tuple[Closed, int] | None:
        """The ledger of a transaction and its place in it."""
        if txid not in self._by_hash:
            return None
        ledger_index, i = self._by_hash[txid]
        return self.ledgers[ledger_index], i

    def of_account(self, account: str, first: int, last: int) -> list[tuple[int, int]]:
        """Ledger and place of all transactions that touched an account, oldest first."""
        return [at for at in self._of_account.get(account, ()) if max(first, self.first) <= at[0] <= last]

    def save(self, path: Path, header: dict[str, Any]) -> None:
        """Append the ledgers that are new since the last time."""
        frames = [header] if not self._saved else []
        with path.open("ab" if self._saved else "wb") as file:
            for frame in [*frames, *(self.ledgers[i]._replace(entries=None) for i in self.ledgers if i > self._saved)]:
                data = pickle.dumps(frame)
                file.write(_LENGTH.pack(len(data)) + data)
        self._saved = self.newest.ledger_index

    @classmethod
    def load(cls, path: Path) -> tuple[dict[str, Any], History]:
        """The header and the chain of a file."""
        frames, whole = _frames(path.read_bytes())
        with path.open("r+b") as file:
            file.truncate(whole)
        header, *ledgers = frames
        history = cls(header["states_kept"])
        entries: Entries = {}
        for ledger in ledgers:
            entries = dict(entries)
            for key, entry in ledger.changes.items():
                if entry is None:
                    entries.pop(key, None)
                else:
                    entries[key] = entry
            history.add(ledger._replace(entries=entries))
        history._saved = history.newest.ledger_index
        return header, history


def _frames(data: bytes) -> tuple[list[Any], int]:
    frames, at = [], 0
    while at + _LENGTH.size <= len(data):
        (length,) = _LENGTH.unpack_from(data, at)
        end = at + _LENGTH.size + length
        if end > len(data):
            break
        frames.append(pickle.loads(data[at + _LENGTH.size : end]))
        at = end
    return frames, at
