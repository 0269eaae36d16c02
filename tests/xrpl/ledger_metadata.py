"""How the double shows its entries: ledger fields, the metadata of a transaction, keys hashed as on the ledger.

Directories are the one kind of entry that it does not keep, so no DirectoryNode appears in its metadata.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Any

from tests.xrpl.ledger_amounts import ZERO, Issue, rate_value, show_amount, show_issue, show_value
from tests.xrpl.ledger_state import Entry, Key, Line, Offer, Pool, Root, State, Ticket, account_id

NO_ONE = "rrrrrrrrrrrrrrrrrrrrBZbvji"  # stands for the issuer in a trust line's balance
TYPES = {Root: "AccountRoot", Line: "RippleState", Offer: "Offer", Ticket: "Ticket", Pool: "AMM"}
_NEVER_NEW = ("OwnerNode", "BookNode", "LowNode", "HighNode")


def sha512half(data: bytes) -> str:
    """The ledger's hash of anything."""
    return hashlib.sha512(data).hexdigest()[:64].upper()


@lru_cache(maxsize=50_000)
def index_of(key: Key) -> str:
    """The hash that names an entry on the ledger."""
    match key:
        case ("account", address):
            return sha512half(b"\0a" + account_id(address))
        case ("line", low, high, currency):
            return sha512half(b"\0r" + account_id(low) + account_id(high) + currency_id(currency))
        case ("offer", account, sequence):
            return sha512half(b"\0o" + account_id(account) + sequence.to_bytes(4))
        case ("ticket", account, sequence):
            return sha512half(b"\0T" + account_id(account) + sequence.to_bytes(4))
        case ("pool", *issues):
            return sha512half(
                b"\0A" + b"".join(sorted(_issuer_id(issue) + currency_id(issue.currency) for issue in issues))
            )
    raise ValueError(f"no such entry: {key}")


@lru_cache(maxsize=1000)
def currency_id(currency: str) -> bytes:
    """The 20 bytes behind a currency code."""
    if currency == "XRP":
        return bytes(20)
    return bytes.fromhex(currency) if len(currency) == 40 else bytes(12) + currency.encode() + bytes(5)


@lru_cache(maxsize=50_000)
def book_directory(gets: Issue, pays: Issue, rate: int) -> str:
    """The directory of all offers of a book at one rate; its last 16 digits are the rate."""
    book = b"\0B" + currency_id(pays.currency) + currency_id(gets.currency) + _issuer_id(pays) + _issuer_id(gets)
    return f"{sha512half(book)[:48]}{rate:016X}"


def show(entry: Entry) -> dict[str, Any]:
    """The fields of an entry, all of them, without what threads it to transactions."""
    match entry:
        case Root():
            return _show_root(entry)
        case Line():
            return _show_line(entry)
        case Offer():
            return _show_offer(entry)
        case Ticket():
            return {"Account": entry.account, "Flags": 0, "OwnerNode": "0", "TicketSequence": entry.sequence}
        case Pool():
            return _show_pool(entry)


def show_object(key: Key, entry: Entry) -> dict[str, Any]:
    """An entry as commands answer it."""
    return {
        **show(entry),
        "LedgerEntryType": TYPES[type(entry)],
        "PreviousTxnID": entry.thread[0] or "0" * 64,
        "PreviousTxnLgrSeq": entry.thread[1],
        "index": index_of(key),
    }


def affected_nodes(state: State, mark: int) -> list[dict[str, Any]]:
    """What a transaction that began at `mark` did, ordered by index as on the ledger."""
    last = {key: entry for key, entry in state.log[mark:] if entry is not None}
    nodes: list[tuple[str, dict[str, Any]]] = []
    for key, before in state.changed(mark).items():
        after = state.entries.get(key)
        if before == after:
            continue
        if after is None:
            if before is not None:
                nodes.append((index_of(key), _deleted(key, before, last[key])))
        elif before is None:
            nodes.append((index_of(key), _created(key, after)))
        else:
            nodes.append((index_of(key), _modified(key, before, after)))
    return [node for _, node in sorted(nodes, key=lambda node: node[0])]


def _created(key: Key, after: Entry) -> dict[str, Any]:
    fields = {
        name: value
        for name, value in show(after).items()
        if name not in _NEVER_NEW and value != 0 and not (name == "Asset" and "issuer" not in value)
    }
    return {"CreatedNode": {"LedgerEntryType": TYPES[type(after)], "LedgerIndex": index_of(key), "NewFields": fields}}


def _modified(key: Key, before: Entry, after: Entry) -> dict[str, Any]:
    old, new = show(before), show(after)
    node = {
        "FinalFields": new,
        "LedgerEntryType": TYPES[type(after)],
        "LedgerIndex": index_of(key),
        "PreviousFields": {name: value for name, value in old.items() if new.get(name) != value},
        "PreviousTxnID": before.thread[0] or "0" * 64,
        "PreviousTxnLgrSeq": before.thread[1],
    }
    return {"ModifiedNode": node}


def _deleted(key: Key, before: Entry, last: Entry) -> dict[str, Any]:
    old, final = show(before), show(last)
    thread = {"PreviousTxnID": before.thread[0] or "0" * 64, "PreviousTxnLgrSeq": before.thread[1]}
    node: dict[str, Any] = {
        "FinalFields": final | thread,
        "LedgerEntryType": TYPES[type(before)],
        "LedgerIndex": index_of(key),
    }
    changed = {name: value for name, value in old.items() if final.get(name) != value}
    return {"DeletedNode": node | ({"PreviousFields": changed} if changed else {})}


def _show_root(root: Root) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "Account": root.address,
        "Balance": str(root.balance_drops),
        "Flags": root.flags,
        "OwnerCount": root.owner_count,
        "Sequence": root.sequence,
    }
    optional = {
        "AMMID": root.pool_index,
        "TickSize": root.tick_size,
        "TicketCount": root.ticket_count,
        "TransferRate": root.transfer_rate,
    }
    return fields | {name: value for name, value in optional.items() if value}


def _show_line(line: Line) -> dict[str, Any]:
    return {
        "Balance": {"currency": line.currency, "issuer": NO_ONE, "value": show_value(line.balance)},
        "Flags": line.flags,
        "HighLimit": {"currency": line.currency, "issuer": line.high, "value": show_value(line.high_limit)},
        "HighNode": "0",
        "LowLimit": {"currency": line.currency, "issuer": line.low, "value": show_value(line.low_limit)},
        "LowNode": "0",
    }


def _show_offer(offer: Offer) -> dict[str, Any]:
    return {
        "Account": offer.account,
        "BookDirectory": book_directory(offer.gets_issue, offer.pays_issue, offer.rate),
        "BookNode": "0",
        **({} if offer.expiration is None else {"Expiration": offer.expiration}),
        "Flags": offer.flags,
        "OwnerNode": "0",
        "Sequence": offer.sequence,
        "TakerGets": show_amount(offer.gets, offer.gets_issue),
        "TakerPays": show_amount(offer.pays, offer.pays_issue),
    }


def _show_pool(pool: Pool) -> dict[str, Any]:
    return {
        "Account": pool.account,
        "Asset": show_issue(pool.asset),
        "Asset2": show_issue(pool.asset2),
        "AuctionSlot": {
            "Account": pool.owner,
            "DiscountedFee": pool.trading_fee // 10,
            "Expiration": pool.slot_expiration,
            "Price": show_amount(ZERO, pool.lp_issue),
        },
        "Flags": 0,
        "LPTokenBalance": show_amount(pool.lp_balance, pool.lp_issue),
        "OwnerNode": "0",
        "TradingFee": pool.trading_fee,
        "VoteSlots": [{"VoteEntry": {"Account": pool.owner, "TradingFee": pool.trading_fee, "VoteWeight": 100_000}}],
    }


def quality_text(rate: int) -> str:
    """A rate as `book_offers` and `account_offers` write it."""
    return show_value(rate_value(rate))


def _issuer_id(issue: Issue) -> bytes:
    return account_id(issue.issuer) if issue.issuer else bytes(20)
