"""What a validated transaction changed in the ledger: its metadata as entries before and after (XRPL.md A9).

The one place that knows the shapes of transactions and metadata. What the changes mean is told elsewhere: public
executions in `xrpl_prints`, those of our account in `xrpl_effects`.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any, NamedTuple

from engine_proc.xrpl_market import UINT32_MAX, XRP, Asset, LedgerUnreadable, Pair, read_amount, read_int, read_number
from shared.records import Side

SUCCESS = "tesSUCCESS"
NOTHING = Decimal(0)

_ENTRY_TYPES = ("Offer", "AccountRoot", "RippleState")
_UNTOUCHED: dict[str, Any] = {}
_new = tuple.__new__  # half the price of Change(...), where a tick reads dozens


class Change(NamedTuple):
    """An offer, account or trust line that was created, modified or deleted.

    `before` holds only the fields that are different now and is empty for a created entry; `after` holds the entry as
    it is now, or as it was when it was deleted. Fields of a default value are left out of a created one.
    """

    kind: str
    entry_type: str
    before: dict[str, Any]
    after: dict[str, Any]


class Transaction(NamedTuple):
    """A validated transaction: its fields and its metadata. `ledger_index` is None where the answer leaves it out.

    `position` is its TransactionIndex: the place in the order in which its ledger executed.
    """

    hash: str
    ledger_index: int | None
    position: int
    result: str
    fields: dict[str, Any]
    nodes: list[Any]


class Execution(NamedTuple):
    """A resting offer traded: the side it stood on, and what changed hands in raw units, neither below zero."""

    side: Side
    base: Decimal
    quote: Decimal


class Balance(NamedTuple):
    """A balance that a transaction changed, in raw units of its asset: drops, or the currency's own."""

    before: Decimal
    after: Decimal

    @property
    def change(self) -> Decimal:
        """What was added to it."""
        return self.after - self.before


def read_transaction(entry: object, where: str) -> Transaction:
    """One transaction of `account_tx`, `tx`, `ledger` or the stream, of either API version.

    Raises `LedgerUnreadable`, also for one that is not validated: nothing is true of it yet.
    """
    if not isinstance(entry, dict):
        raise LedgerUnreadable(where, "transaction", "an object", entry)
    if entry.get("validated", True) is not True:
        raise LedgerUnreadable(where, "validated", "true", entry["validated"])
    fields: Any = next((entry[name] for name in ("tx_json", "tx", "transaction") if name in entry), entry)
    if not isinstance(fields, dict):
        raise LedgerUnreadable(where, "tx_json", "an object", fields)
    meta = read_metadata(entry, where)
    indexed = next((holder for holder in (entry, fields) if "ledger_index" in holder), None)
    return Transaction(
        read_text(entry if "hash" in entry else fields, "hash", where),
        read_int(indexed, "ledger_index", UINT32_MAX, where) if indexed is not None else None,
        read_int(meta, "TransactionIndex", UINT32_MAX, where),
        meta["TransactionResult"],
        fields,
        meta["AffectedNodes"],
    )


def read_metadata(raw: object, where: str) -> dict[str, Any]:
    """The metadata of a validated transaction, which API versions and commands call `meta` or `metaData`.

    Its result and its list of nodes are checked. Raises `LedgerUnreadable`.
    """
    meta = _member(raw, "meta")
    if meta is None:
        meta = _member(raw, "metaData")
    if not isinstance(meta, dict):
        raise LedgerUnreadable(where, "meta", "a metadata object", meta)
    for field, kind, words in (("TransactionResult", str, "a result code"), ("AffectedNodes", list, "a list")):
        if not isinstance(meta.get(field), kind):
            raise LedgerUnreadable(where, field, words, meta.get(field))
    result = meta["TransactionResult"]
    if result != SUCCESS and not result.startswith("tec"):  # no other is part of a ledger (XRPL.md A8)
        raise LedgerUnreadable(where, "TransactionResult", "one of a validated ledger", result)
    return meta


def read_changes(nodes: list[Any], where: str) -> Iterator[Change]:
    """The offers, accounts and trust lines among the nodes. Merely touched ones are left out."""
    for node in nodes:
        if not isinstance(node, dict) or len(node) != 1:
            raise LedgerUnreadable(where, "AffectedNodes", "objects with one key each", node)
        (kind, entry), *_ = node.items()
        if not isinstance(entry, dict):
            raise LedgerUnreadable(where, kind, "a ledger entry", entry)
        entry_type = entry.get("LedgerEntryType")
        if entry_type not in _ENTRY_TYPES:
            if not isinstance(entry_type, str):
                raise LedgerUnreadable(where, "LedgerEntryType", "text", entry_type)
            continue
        if kind == "ModifiedNode" and "PreviousFields" not in entry:
            continue
        before = entry.get("PreviousFields", _UNTOUCHED)
        after = entry.get("NewFields" if kind == "CreatedNode" else "FinalFields")
        if not isinstance(before, dict) or not isinstance(after, dict):
            raise LedgerUnreadable(where, f"{kind} fields before and after", "two objects", entry)
        yield _new(Change, (kind, entry_type, before, after))


def execution(change: Change, pair: Pair, where: str) -> Execution | None:
    """What a resting offer traded; None if it was not hit, or is of another market. Raises `LedgerUnreadable`."""
    before, after = change.before, change.after
    if "TakerGets" not in before and "TakerPays" not in before:
        return None
    side = side_of(after, pair)
    if side is None:
        _check_another_market(after, where)
        return None
    base_field, quote_field = ("TakerGets", "TakerPays") if side == "ask" else ("TakerPays", "TakerGets")
    base, quote = _filled(change, base_field, pair.base, where), _filled(change, quote_field, pair.quote, where)
    return _new(Execution, (side, base, quote))


def side_of(offer: dict[str, Any], pair: Pair) -> Side | None:
    """On which side of the pair's book an offer stands; None if in another book."""
    gets, pays = offer.get("TakerGets"), offer.get("TakerPays")
    if pair.base.is_of(gets) and pair.quote.is_of(pays):
        return "ask"
    return "bid" if pair.quote.is_of(gets) and pair.base.is_of(pays) else None


def balance_changes(nodes: list[Any], where: str) -> dict[tuple[str, Asset], Balance]:
    """Every balance that changed, by account and asset; that of XRP includes the fee. Raises `LedgerUnreadable`.

    A trust line is told from both its ends: what the holder gained its issuer lost.
    """
    balances: dict[tuple[str, Asset], Balance] = {}
    for change in read_changes(nodes, where):
        for account, asset in _holders(change, where):
            balance = balance_change(change, account, asset, where)
            if balance is not None:
                balances[account, asset] = balance
    return balances


def balance_change(change: Change, account: str, asset: Asset, where: str) -> Balance | None:
    """The account's balance of the asset, if this is the entry that holds it and it changed."""
    kind, entry_type, fields_before, fields_after = change
    if entry_type != ("AccountRoot" if asset.issuer is None else "RippleState"):
        return None
    created = kind == "CreatedNode"
    if not created and "Balance" not in fields_before:
        return None
    after = fields_after.get("Balance")
    if asset.issuer is None:
        if read_text(fields_after, "Account", where) != account:
            return None
        held = read_number("0" if created else fields_before["Balance"], asset, where, "Balance")
        # An account is created empty where a pool of two tokens needs one; a balance of nothing is left out then.
        return Balance(held, read_number("0" if created and after is None else after, asset, where, "Balance"))
    low, high = _ends(change, where)
    if {low, high} != {account, asset.issuer} or read_text(after, "currency", where) != asset.currency:
        return None
    before = {"value": "0"} if created else fields_before["Balance"]
    # A trust line's balance is told from the low account's view: positive means that the high one owes.
    sign = 1 if low == account else -1
    return Balance(
        *(
            read_number(_member(balance, "value"), asset, where, "Balance", signed=True) * sign
            for balance in (before, after)
        )
    )


def read_text(raw: object, field: str, where: str) -> str:
    """The text in a field. Raises `LedgerUnreadable`."""
    text = _member(raw, field)
    if not isinstance(text, str):
        raise LedgerUnreadable(where, field, "text", text)
    return text


def _check_another_market(offer: dict[str, Any], where: str) -> None:
    """An offer of other assets is none of our business, an offer of no assets is a metadata format we do not know."""
    gets, pays = offer.get("TakerGets"), offer.get("TakerPays")
    for amount in (gets, pays):
        if not isinstance(amount, str) and _member(amount, "mpt_issuance_id") is None:
            read_text(amount, "currency", where)
            read_text(amount, "issuer", where)
    if isinstance(gets, str) and isinstance(pays, str):
        raise LedgerUnreadable(where, "Offer TakerGets, TakerPays", "two different assets", (gets, pays))


def _filled(change: Change, field: str, asset: Asset, where: str) -> Decimal:
    if field not in change.before:
        return NOTHING
    filled = read_amount(change.before, field, asset, where) - read_amount(change.after, field, asset, where)
    if filled < 0:
        raise LedgerUnreadable(where, f"Offer {field}", "an offer that shrinks", change.before[field])
    return filled


def _holders(change: Change, where: str) -> tuple[tuple[str, Asset], ...]:
    """Whose balances of what this entry can hold."""
    if change.entry_type == "AccountRoot":
        return ((read_text(change.after, "Account", where), XRP),)
    if change.entry_type == "RippleState":
        low, high = _ends(change, where)
        currency = read_text(change.after.get("Balance"), "currency", where)
        return (low, Asset(currency, high)), (high, Asset(currency, low))
    return ()


def _ends(change: Change, where: str) -> tuple[str, str]:
    """The low and the high account of a trust line."""
    low, high = (read_text(change.after.get(limit), "issuer", where) for limit in ("LowLimit", "HighLimit"))
    return low, high


def _member(raw: object, field: str) -> Any:
    return raw.get(field) if isinstance(raw, dict) else None
