"""The submissions log: every transaction of ours is on disk before a node hears of it.

An answer can be lost, and a process can die between a submission and its answer. What may then be in the ledger, or
still get there, is known from here alone: `<journal_dir>/<account>.orders`. Its frames are those of `shared/journal.py`
(length, CRC-32, payload); each payload is one msgpack array, amounts as decimal strings:

    ["kedge-orders", 1, account, network_id]    first, and only there
    ["submitting", *Submission]                 pending from here on
    ["settled", [hash, ...]]                    never in a ledger, and never will be
    ["processed", ledger_index, [hash, ...], [[number, OpenOffer or nil], ...]]
                                                up to this ledger: these have their end, these offers changed

What one ledger changed is one frame, so a crash leaves all of it or nothing. A torn frame at the end was never
acted on and is cut off; damage before the end is not guessed around but refused, because what it hides may be live.
When opened, and whenever it has grown, the log is written anew with what still counts, and put in place in one step.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgpack

from engine_proc.holdings import Order
from engine_proc.xrpl_numbers import Number
from shared.disk import AppendFile, OsFile, draft_of, sync_directory
from shared.errors import ConfigError, JournalCorrupt, JournalUnwritable
from shared.journal import Damage, JournalWriter, read_frames
from shared.records import Side

log = logging.getLogger(__name__)

VERSION = 1
REWRITE_ABOVE_BYTES = 4 << 20  # some hours of quoting; what still counts is a few dozen kilobytes of it
_KIND = "kedge-orders"
_REMEDY = "offers that it named may be live: run `kedge-engine cancel-all`, then move the file away"


class Submission(NamedTuple):
    """A transaction of ours that is signed and may have been submitted. Its end is not known yet.

    `order` is what it places or cancels (None for tickets), `order.replaces` the order that goes with it.
    `target` is the number of the offer that it takes away (its OfferSequence), if any; also that of an expired one.
    `first_ledger` is the newest validated ledger when it was signed: only later ones can hold it.
    `expiration` is in seconds since 2000-01-01. `blob` is what goes to the node, in hex.
    """

    hash: str
    kind: Literal["place", "replace", "cancel", "ticket"]
    order: Order | None
    number: Number
    target: int | None
    expiration: int | None
    first_ledger: int
    last_ledger: int
    fee_drops: int
    blob: str


class OpenOffer(NamedTuple):
    """An offer of ours on the ledger, by the name that it has with us. `expiration`: seconds since 2000-01-01."""

    order_id: str
    side: Side
    level: int
    price: Decimal
    size: Decimal
    remaining: Decimal
    expiration: int | None


class Remembered(NamedTuple):
    """What a submissions log says: whose it is, what is under way, what rests, and up to which ledger that is true."""

    account: str
    network_id: int
    pending: dict[str, Submission]
    offers: dict[int, OpenOffer]
    processed_ledger: int | None


def log_path(journal_dir: Path, account: str) -> Path:
    """Where the submissions of an account are logged."""
    return journal_dir / f"{account}.orders"


def read_submissions(path: Path) -> Remembered | None:
    """What a log says, without touching it; None if there is none.

    Raises `JournalCorrupt` if it is damaged or not a log of this version, `JournalUnwritable` if it cannot be read.
    """
    remembered: Remembered | None = None
    try:
        for found in read_frames(path):
            if not isinstance(found, Damage):
                remembered = _with_entry(remembered, found.payload, f"{path}: at byte {found.position}")
            elif found.kind == "torn":
                log.warning("%s: the last record is torn (%d bytes), it was never acted on", path, found.length)
            else:
                raise JournalCorrupt(f"{path}: damaged at byte {found.position} ({found.length} bytes); {_REMEDY}")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise JournalUnwritable(f"{path}: cannot read the submissions log: {error.strerror}") from error
    if remembered is None:  # it is put in place whole, so even a crash leaves none without its first record
        raise JournalCorrupt(f"{path}: empty, and it never was written so; {_REMEDY}")
    return remembered


class SubmissionLog:
    """The submissions log of one account, open for writing. Three attributes are its content; only read them.

    `pending`: submissions without an end yet, by hash, in the order they were made. `offers`: offers of ours on the
    ledger, by number. `processed_ledger`: the validated ledger up to which both are true; None before the first.
    """

    def __init__(self, path: Path, remembered: Remembered, open_file: Callable[[Path], AppendFile]) -> None:
        """Use `open`."""
        self.path = path
        self.account, self.network_id = remembered.account, remembered.network_id
        self.pending = remembered.pending
        self.offers = remembered.offers
        self.processed_ledger = remembered.processed_ledger
        self._unconfirmed_hashes: list[str] = []
        self._unconfirmed_offers: dict[int, OpenOffer | None] = {}
        self._confirmed_ledger = remembered.processed_ledger
        self._open_file = open_file
        self._writer = self._written_anew()

    @classmethod
    def open(
        cls, path: Path, account: str, network_id: int, open_file: Callable[[Path], AppendFile] = OsFile
    ) -> SubmissionLog:
        """Open the log with what it remembers, or a new one.

        Raises `ConfigError` if it is the log of another account or network, what `read_submissions` raises, and
        `JournalUnwritable` if it cannot be written.
        """
        remembered = read_submissions(path) or Remembered(account, network_id, {}, {}, None)
        if (remembered.account, remembered.network_id) != (account, network_id):
            raise ConfigError(
                f"{path}: the submissions of {remembered.account} on network {remembered.network_id}, not of {account} "
                f"on network {network_id} (xrpl.account, xrpl.network_id): give each its own telemetry.journal_dir"
            )
        return cls(path, remembered, open_file)

    def submitting(self, *submissions: Submission) -> None:
        """These are pending from now on. On disk for good once this returns: only then may a node hear of them.

        Raises `JournalUnwritable`: then no node may.
        """
        if not submissions:
            return
        self._writer.append(*(_packed("submitting", *submission) for submission in submissions))
        self._writer.sync()
        self.pending.update((submission.hash, submission) for submission in submissions)

    def settled(self, *hashes: str) -> None:
        """These never were and never will be in a ledger (`FAILED` when submitted). Raises `JournalUnwritable`.

        Not synced: after a power cut they would be submitted once more, and fail once more.
        """
        if not hashes:
            return
        self._writer.append(_packed("settled", hashes))
        _forget(self.pending, hashes)

    def advance(
        self, ledger_index: int, *, settled: Collection[str] = (), offers: Mapping[int, OpenOffer | None] | None = None
    ) -> None:
        """A validated ledger was read: these transactions have their end, these offers are now so (None: gone).

        True here at once, on disk with the next `confirm`: after a crash before that the same ledger is read again,
        and still finds every name it needs. Hashes that are not pending are none of ours any more.
        """
        assert self.processed_ledger is None or ledger_index >= self.processed_ledger
        offers = offers or {}
        self.processed_ledger = ledger_index
        self._unconfirmed_hashes += settled
        self._unconfirmed_offers |= offers
        _forget(self.pending, settled)
        _change(self.offers, offers.items())

    def confirm(self) -> None:
        """The engine has on record what came of all ledgers so far: they need not be read again.

        Raises `JournalUnwritable`; what could not be written waits for the next call. Not synced: the record of the
        fills must never be behind this on disk, and after a power cut ledgers may well be read twice.
        """
        said = self._unconfirmed_hashes or self._unconfirmed_offers or self.processed_ledger != self._confirmed_ledger
        if not said:
            return
        changed = list(self._unconfirmed_offers.items())
        self._writer.append(_packed("processed", self.processed_ledger, self._unconfirmed_hashes, changed))
        self._confirmed_ledger = self.processed_ledger
        self._unconfirmed_hashes, self._unconfirmed_offers = [], {}
        if self._writer.position > REWRITE_ABOVE_BYTES:
            grown, self._writer = self._writer, self._written_anew()
            grown.close()

    def close(self) -> None:
        """Close the file. What was not confirmed is read from the ledger again next time."""
        self._writer.close()

    def _written_anew(self) -> JournalWriter:
        """A log of what still counts, put in the place of whatever stands there. All of it must be confirmed."""
        draft = draft_of(self.path)
        try:
            draft.unlink(missing_ok=True)  # left behind by a crash
            writer = JournalWriter(draft, self._open_file)
            try:
                writer.append(*self._entries())
                writer.sync()
                draft.replace(self.path)
                sync_directory(self.path.parent)
            except BaseException:
                writer.close()
                with suppress(OSError):
                    draft.unlink(missing_ok=True)
                raise
        except OSError as error:
            raise JournalUnwritable(f"{self.path}: cannot write the submissions log: {error.strerror}") from error
        writer.path = self.path
        return writer

    def _entries(self) -> Iterator[bytes]:
        yield _packed(_KIND, VERSION, self.account, self.network_id)
        for submission in self.pending.values():
            yield _packed("submitting", *submission)
        if self.processed_ledger is not None:
            yield _packed("processed", self.processed_ledger, (), list(self.offers.items()))


def _packed(*entry: Any) -> bytes:
    packed: bytes = msgpack.packb(entry, default=_text_of)
    return packed


def _text_of(amount: object) -> str:
    assert isinstance(amount, Decimal)
    return str(amount)


def _with_entry(before: Remembered | None, payload: bytes, where: str) -> Remembered:
    """What is remembered once one more entry is read. Raises `JournalCorrupt`: the checksum held, the sense did not."""
    try:
        kind, *fields = msgpack.unpackb(payload, use_list=False)
        if before is None:
            version, account, network_id = fields
            if (kind, version) != (_KIND, VERSION):
                raise JournalCorrupt(f"{where}: not a submissions log of version {VERSION}; {_REMEDY}")
            return Remembered(account, network_id, {}, {}, None)
        if kind == "submitting":
            submission = _submission(*fields)
            before.pending[submission.hash] = submission
            return before
        if kind == "settled":
            (hashes,) = fields
            _forget(before.pending, hashes)
            return before
        if kind == "processed":
            ledger_index, hashes, offers = fields
            _forget(before.pending, hashes)
            _change(before.offers, ((number, offer and _open_offer(*offer)) for number, offer in offers))
            return before._replace(processed_ledger=ledger_index)
    except (ValueError, TypeError, InvalidOperation, msgpack.UnpackException) as error:
        raise JournalCorrupt(f"{where}: a record that makes no sense ({type(error).__name__}); {_REMEDY}") from None
    raise JournalCorrupt(f"{where}: a record of unknown kind {kind!r:.40}; {_REMEDY}")


def _submission(hash_: str, kind: Any, order: Any, number: Any, *rest: Any) -> Submission:
    return Submission(hash_, kind, order and _order(*order), Number(*number), *rest)


def _order(order_id: str, side: Side, level: int, price: str, size: str, remaining: str, *rest: Any) -> Order:
    return Order(order_id, side, level, Decimal(price), Decimal(size), Decimal(remaining), *rest)


def _open_offer(order_id: str, side: Side, level: int, price: str, size: str, remaining: str, *rest: Any) -> OpenOffer:
    return OpenOffer(order_id, side, level, Decimal(price), Decimal(size), Decimal(remaining), *rest)


def _forget(pending: dict[str, Submission], hashes: Iterable[str]) -> None:
    for hash_ in hashes:
        pending.pop(hash_, None)


def _change(offers: dict[int, OpenOffer], changes: Iterable[tuple[int, OpenOffer | None]]) -> None:
    for number, offer in changes:
        if offer is None:
            offers.pop(number, None)
        else:
            offers[number] = offer
