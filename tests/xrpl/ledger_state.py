"""What a ledger of the double holds: its entries, who owns them, the books, and a log to take anything back with."""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator
from decimal import Decimal
from functools import lru_cache
from typing import Any, NamedTuple

from xrpl.core.addresscodec import decode_classic_address

from tests.xrpl.ledger_amounts import ZERO, Issue

Key = tuple[Any, ...]  # ("account", address), ("offer", account, number): readable; hashed only when shown
Thread = tuple[str, int]  # hash and ledger of the transaction that touched an entry last

LSF_REQUIRE_AUTH = 0x0004_0000
LSF_GLOBAL_FREEZE = 0x0040_0000

# The flags of a trust line come in pairs, one for each side; these are the low side's, `<< 1` makes them the other's.
LINE_RESERVE = 0x0001_0000
LINE_AUTH = 0x0004_0000
LINE_NO_RIPPLE = 0x0010_0000
LINE_FREEZE = 0x0040_0000
LINE_DEEP_FREEZE = 0x0200_0000
LINE_POOL = 0x0100_0000


class Root(NamedTuple):
    """An account."""

    address: str
    balance_drops: int
    sequence: int
    owner_count: int = 0
    flags: int = 0
    tick_size: int = 0
    transfer_rate: int = 0
    ticket_count: int = 0
    pool_index: str = ""  # of the pool whose account this is
    thread: Thread = ("", 0)


class Line(NamedTuple):
    """A trust line. `balance` is positive where the low account holds what the high one issued."""

    low: str
    high: str
    currency: str
    balance: Decimal
    low_limit: Decimal
    high_limit: Decimal
    flags: int
    thread: Thread = ("", 0)


class Offer(NamedTuple):
    """A resting offer. `rate` is the one it was placed at, whatever is left; `order` is its place among equals."""

    account: str
    sequence: int
    gets: Decimal
    gets_issue: Issue
    pays: Decimal
    pays_issue: Issue
    rate: int
    order: int
    expiration: int | None
    flags: int
    thread: Thread = ("", 0)


class Ticket(NamedTuple):
    """A sequence number set aside."""

    account: str
    sequence: int
    thread: Thread = ("", 0)


class Pool(NamedTuple):
    """An AMM; its two balances are those of its account. `trading_fee` in 1/100 000, `lp_balance` the tokens issued."""

    account: str
    asset: Issue
    asset2: Issue
    trading_fee: int
    lp_balance: Decimal
    lp_issue: Issue
    owner: str
    slot_expiration: int
    thread: Thread = ("", 0)


Entry = Root | Line | Offer | Ticket | Pool
Entries = dict[Key, Entry]


class State:
    """All entries of one ledger in the making. Entries are frozen; every change of one goes through `put`."""

    def __init__(self, entries: Entries | None = None) -> None:
        self.entries: Entries = {}
        self.books: dict[tuple[Issue, Issue], list[tuple[int, int, Key]]] = {}  # (gets, pays): best offer first
        self.owned: dict[str, dict[Key, None]] = {}
        self.log: list[tuple[Key, Entry | None]] = []
        self.placed = 0
        for key, entry in (entries or {}).items():
            self.put(key, entry)
            if isinstance(entry, Offer):
                self.placed = max(self.placed, entry.order)
        self.log.clear()

    def put(self, key: Key, entry: Entry | None) -> None:
        """Create, change or (None) delete an entry."""
        self.log.append((key, self.entries.get(key)))
        self._set(key, entry)

    def rollback(self, mark: int) -> None:
        """Take back everything since the log was `mark` long."""
        while len(self.log) > mark:
            self._set(*self.log.pop())

    def before(self, mark: int) -> Entries:
        """The entries that changed since the log was `mark` long, as they were then; created ones are left out."""
        return {key: entry for key, entry in self.changed(mark).items() if entry is not None}

    def changed(self, mark: int) -> dict[Key, Entry | None]:
        """Every key put since the log was `mark` long, with what it held then."""
        first: dict[Key, Entry | None] = {}
        for key, entry in self.log[mark:]:
            first.setdefault(key, entry)
        return first

    def root(self, address: str) -> Root:
        """The account, which must exist."""
        return self.entries["account", address]

    def change_root(self, address: str, **changes: Any) -> None:
        """Change fields of an account."""
        self.put(("account", address), self.root(address)._replace(**changes))

    def own(self, address: str, objects: int) -> None:
        """Count that many more (or fewer) objects against an account's reserve."""
        self.change_root(address, owner_count=self.root(address).owner_count + objects)

    def book(self, gets: Issue, pays: Issue) -> Iterator[Offer]:
        """Resting offers that give `gets` for `pays`, best first, as they were when the walk began."""
        for _, _, key in list(self.books.get((gets, pays), ())):
            entry = self.entries.get(key)
            if isinstance(entry, Offer):
                yield entry

    def best(self, gets: Issue, pays: Issue) -> Offer | None:
        """The first offer of a book, whether or not it can be filled."""
        listed = self.books.get((gets, pays))
        return self.entries[listed[0][2]] if listed else None

    def place(self, offer: Offer) -> None:
        """Put a new offer at the end of its rate."""
        self.placed += 1
        self.put(("offer", offer.account, offer.sequence), offer._replace(order=self.placed))
        self.own(offer.account, 1)

    def remove_offer(self, account: str, sequence: int) -> bool:
        """Delete an offer; False if there is none."""
        key = ("offer", account, sequence)
        if key not in self.entries:
            return False
        self.put(key, None)
        self.own(account, -1)
        return True

    def _set(self, key: Key, entry: Entry | None) -> None:
        was = self.entries.get(key)
        if entry is None:
            self.entries.pop(key, None)
        else:
            self.entries[key] = entry
        if (was is None) != (entry is None):
            self._index(key, entry or was, present=entry is not None)

    def _index(self, key: Key, entry: Entry, *, present: bool) -> None:
        for owner in owners_of(entry):
            if present:
                self.owned.setdefault(owner, {})[key] = None
            else:
                del self.owned[owner][key]
        if isinstance(entry, Offer):
            listed = self.books.setdefault((entry.gets_issue, entry.pays_issue), [])
            place = (entry.rate, entry.order, key)
            if present:
                insort(listed, place)
            else:
                listed.remove(place)


def owners_of(entry: Entry) -> tuple[str, ...]:
    """The accounts in whose directories an entry is listed."""
    match entry:
        case Line():
            return (entry.low, entry.high)
        case Offer() | Ticket() | Pool():
            return (entry.account,)
    return ()


@lru_cache(maxsize=10_000)
def account_id(address: str) -> bytes:
    """The 20 bytes behind an address."""
    return decode_classic_address(address)


@lru_cache(maxsize=10_000)
def line_key(a: str, b: str, currency: str) -> Key:
    """The key of the trust line between two accounts."""
    low, high = sorted((a, b), key=account_id)
    return ("line", low, high, currency)


def line_of(entries: Entries, holder: str, issue: Issue) -> Line | None:
    """The trust line over which an account holds an issued currency."""
    return entries.get(line_key(holder, issue.issuer, issue.currency))


def held(line: Line | None, holder: str) -> Decimal:
    """The balance of a trust line in the eyes of one of its two accounts."""
    if line is None:
        return ZERO
    return line.balance if line.low == holder else -line.balance


def side_flag(line: Line, account: str, flag: int) -> int:
    """The bit of a paired flag that belongs to this account's side."""
    return flag if line.low == account else flag << 1


def has_flag(line: Line | None, account: str, flag: int) -> bool:
    """Whether this account has set the flag on its side of the line."""
    return line is not None and bool(line.flags & side_flag(line, account, flag))


def pool_of(entries: Entries, a: Issue, b: Issue) -> Pool | None:
    """The AMM between two assets."""
    return entries.get(("pool", *sorted((a, b))))
