"""A ledger of the double seeded from recordings: the entries that metadata speaks of, as they were before it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any

from tests.xrpl.ledger_amounts import read_amount, read_issue
from tests.xrpl.ledger_state import Entries, Entry, Key, Line, Offer, Pool, Root, State, Ticket

KINDS = ("AccountRoot", "RippleState", "Offer", "Ticket", "AMM")


def entries_before(metas: Iterable[dict[str, Any]], listed: Iterable[dict[str, Any]] = ()) -> Entries:
    """What must have been there before transactions with this metadata, in their order; `listed` offers as well."""
    entries: Entries = {}
    seen: set[Key] = set()
    for order, raw in enumerate(listed):
        key, entry = entry_of("Offer", raw, order)
        entries[key] = entry
        seen.add(key)
    for meta in metas:
        for kind, node in nodes_of(meta):
            if kind == "CreatedNode":
                seen.add(entry_of(node["LedgerEntryType"], node["NewFields"])[0])
            elif "FinalFields" in node:
                before = {**node["FinalFields"], **node.get("PreviousFields", {})}
                thread = {name: node[name] for name in ("PreviousTxnID", "PreviousTxnLgrSeq") if name in node}
                if "TicketCount" in before and "TicketCount" not in node["PreviousFields"] and _makes_tickets(meta):
                    del before["TicketCount"]  # the first tickets of an account: it had no such field before
                key, entry = entry_of(node["LedgerEntryType"], before | thread)
                if key not in seen:
                    entries[key] = entry
                    seen.add(key)
    return entries


def _makes_tickets(meta: dict[str, Any]) -> bool:
    return any(kind == "CreatedNode" and node["LedgerEntryType"] == "Ticket" for kind, node in nodes_of(meta))


def nodes_of(meta: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The affected nodes of the kinds that the double keeps."""
    for affected in meta["AffectedNodes"]:
        ((kind, node),) = affected.items()
        if node["LedgerEntryType"] in KINDS:
            yield kind, node


def entry_of(entry_type: str, fields: dict[str, Any], order: int = 0) -> tuple[Key, Entry]:
    """An entry from its fields on the ledger."""
    thread = (fields.get("PreviousTxnID", ""), fields.get("PreviousTxnLgrSeq", 0))
    match entry_type:
        case "AccountRoot":
            return ("account", fields["Account"]), _root(fields, thread)
        case "RippleState":
            return _line(fields, thread)
        case "Offer":
            return ("offer", fields["Account"], fields["Sequence"]), _offer(fields, order, thread)
        case "Ticket":
            account, number = fields["Account"], fields["TicketSequence"]
            return ("ticket", account, number), Ticket(account, number, thread)
    return _pool(fields, thread)


def _root(fields: dict[str, Any], thread: tuple[str, int]) -> Root:
    return Root(
        fields["Account"],
        int(fields.get("Balance", 0)),
        fields.get("Sequence", 0),
        fields.get("OwnerCount", 0),
        fields.get("Flags", 0),
        fields.get("TickSize", 0),
        fields.get("TransferRate", 0),
        fields.get("TicketCount", 0),
        fields.get("AMMID", ""),
        thread,
    )


def _line(fields: dict[str, Any], thread: tuple[str, int]) -> tuple[Key, Line]:
    low, high = fields["LowLimit"], fields["HighLimit"]
    line = Line(
        low["issuer"],
        high["issuer"],
        low["currency"],
        Decimal(fields["Balance"]["value"]) + 0,
        Decimal(low["value"]),
        Decimal(high["value"]),
        fields.get("Flags", 0),
        thread,
    )
    return ("line", line.low, line.high, line.currency), line


def _offer(fields: dict[str, Any], order: int, thread: tuple[str, int]) -> Offer:
    gets, pays = read_amount(fields["TakerGets"]), read_amount(fields["TakerPays"])
    return Offer(
        fields["Account"],
        fields["Sequence"],
        gets.value,
        gets.issue,
        pays.value,
        pays.issue,
        int(fields["BookDirectory"][-16:], 16),
        order,
        fields.get("Expiration"),
        fields.get("Flags", 0),
        thread,
    )


def _pool(fields: dict[str, Any], thread: tuple[str, int]) -> tuple[Key, Pool]:
    asset = read_issue(fields.get("Asset", {"currency": "XRP"}))
    asset2, tokens, slot = read_issue(fields["Asset2"]), read_amount(fields["LPTokenBalance"]), fields["AuctionSlot"]
    pool = Pool(
        fields["Account"],
        asset,
        asset2,
        fields["TradingFee"],
        tokens.value,
        tokens.issue,
        slot["Account"],
        slot["Expiration"],
        thread,
    )
    return ("pool", *sorted((asset, asset2))), pool


def impose(state: State, meta: dict[str, Any]) -> None:
    """Bring a state to what it was after a transaction, as far as its metadata tells."""
    for kind, node in nodes_of(meta):
        fields = node.get("NewFields") or node.get("FinalFields")
        if fields is not None:
            key, entry = entry_of(node["LedgerEntryType"], fields)
            put(state, key, None if kind == "DeletedNode" else entry)


def put(state: State, key: Key, entry: Entry | None) -> None:
    """Set an entry; an offer keeps its place among those of its rate, a new one comes last."""
    mine = state.entries.get(key)
    if isinstance(entry, Offer):
        state.placed += 1
        entry = entry._replace(order=mine.order if isinstance(mine, Offer) else state.placed)
    state.put(key, entry)


def told(meta: dict[str, Any]) -> dict[str, tuple[str, str, dict[str, Any], dict[str, Any]]]:
    """What metadata tells of the entries that the double keeps, in a form that can be compared: by index of the entry.

    Entries that were only touched, and which transaction touched one before, are left out.
    """
    effects = {}
    for kind, node in nodes_of(meta):
        if kind == "ModifiedNode" and "PreviousFields" not in node:
            continue
        fields = node["NewFields"] if kind == "CreatedNode" else node["FinalFields"]
        fields = {name: value for name, value in fields.items() if not name.startswith("PreviousTxn")}
        effects[node["LedgerIndex"]] = (kind, node["LedgerEntryType"], fields, node.get("PreviousFields", {}))
    return effects
