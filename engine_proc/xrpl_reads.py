"""What Kedge asks a node: one function a question, every answer of one ledger, checked before it is believed.

Every function raises `NodeUnreachable` and `NodeRefused` as the link does, and `LedgerUnreadable`, whose text begins
with the command and the index, if the answer is malformed or of another ledger.
"""

from __future__ import annotations

import re
from decimal import Context, Decimal
from typing import Any, NamedTuple

from engine_proc.xrpl_answers import Answer, ask, pages, transactions_of
from engine_proc.xrpl_changes import read_transaction, side_of
from engine_proc.xrpl_market import (
    DROPS_PER_XRP,
    UINT32_MAX,
    XRP,
    Asset,
    LedgerUnreadable,
    Pair,
    RawLedger,
    price_of,
    read_amount,
    read_int,
    read_number,
)
from engine_proc.xrpl_ports import ClosedLedger, Link, NodeRefused, NodeUnreachable
from shared.records import Side

BOOK_OFFERS_MAX = 100  # the most a server gives a stranger, and there is no next page (XRPL.md A2)
PAGE_MAX = 400  # the same of the account commands, which do have one (XRPL.md A9)
NO_TRANSFER_FEE = 1_000_000_000

# Flags of AccountRoot, and of RippleState: there the first of each two is what the low account has set.
GLOBAL_FREEZE, REQUIRE_AUTH = 0x00400000, 0x00040000
AUTHORIZED, FROZEN, DEEP_FROZEN = (0x00040000, 0x00080000), (0x00400000, 0x00800000), (0x02000000, 0x04000000)

OUT_OF_HISTORY = frozenset({"lgrIdxMalformed", "lgrIdxsInvalid", "lgrNotFound"})

_PRICE = Context(prec=15)  # a `quality` has 16 digits; turned over, its last one is noise
_RANGES = re.compile(r"[0-9]{1,10}(-[0-9]{1,10})?(,[0-9]{1,10}(-[0-9]{1,10})?)*")


class HistoryMissing(NodeUnreachable):
    """The server does not have the whole range of ledgers that was asked for: what happened in it is unknown."""


class TrustLine(NamedTuple):
    """Our line for the issued currency. `balance` is ours, positive if we hold; the flags are those the issuer set."""

    balance: Decimal
    limit: Decimal
    frozen: bool
    deep_frozen: bool
    authorized: bool


class ListedOffer(NamedTuple):
    """An open offer of an account in the pair, expired or not. `price` quote per base, `remaining` in base units.

    `sequence` is the Sequence or TicketSequence of the transaction that placed it; `expiration` counts seconds since
    2000-01-01.
    """

    sequence: int
    side: Side
    price: Decimal
    remaining: Decimal
    expiration: int | None


class AccountState(NamedTuple):
    """An account as one validated ledger has it. `line` is None if it has no trust line for the pair's currency."""

    ledger_index: int
    balance_drops: int
    owner_count: int
    sequence: int
    line: TrustLine | None
    offers: tuple[ListedOffer, ...]


class NetworkFee(NamedTuple):
    """What a transaction costs now: `base_drops` times `load_factor`, and what gets it into the very next ledger."""

    base_drops: int
    open_ledger_drops: int
    load_factor: float


class Issuer(NamedTuple):
    """What the issuer of the pair's currency has set. `transfer_rate` is in billionths: 1_000_000_000 means no fee."""

    tick_size: int | None
    transfer_rate: int
    global_freeze: bool
    require_auth: bool


class Server(NamedTuple):
    """What a server says of itself. `validated_index` and `validated_age_s` are None while it has no such ledger."""

    network_id: int
    state: str | None
    complete_ledgers: str
    validated_index: int | None
    validated_age_s: int | None
    amendment_blocked: bool
    reserve_base_drops: int
    reserve_inc_drops: int
    base_fee_drops: int
    load_factor: float
    build_version: str


# ---------------------------------------------------------------------------------------------------- the market


def read_ledger(link: Link, pair: Pair, ledger: ClosedLedger, *, transactions: bool) -> RawLedger:
    """Book and pool of one validated ledger, and if asked for all of its transactions, in the order of execution.

    Without them `transactions` is an empty list.
    """
    base, quote = _currency(pair.base), _currency(pair.quote)
    pinned = {"ledger_index": ledger.ledger_index}
    book = {"command": "book_offers", "limit": BOOK_OFFERS_MAX} | pinned
    commands: list[dict[str, Any]] = [
        book | {"taker_gets": base, "taker_pays": quote},
        book | {"taker_gets": quote, "taker_pays": base},
        {"command": "amm_info", "asset": base, "asset2": quote} | pinned,
    ]
    if transactions:
        commands.append({"command": "ledger", "transactions": True, "expand": True} | pinned)
    asks, bids, pool, *whole = ask(link, *commands, absent={"amm_info": "actNotFound"})
    return RawLedger(
        ledger.ledger_index,
        ledger.close_time,
        asks.objects("offers"),
        bids.objects("offers"),
        None if pool.refused else pool.object("amm"),
        transactions_of(whole[0]) if whole else [],
    )


def _currency(asset: Asset) -> dict[str, str]:
    return {"currency": asset.currency} if asset.issuer is None else asset._asdict()


def read_issuer(link: Link, pair: Pair, ledger_index: int) -> Issuer:
    """The settings of the issuer of the pair's issued currency. Raises `NodeRefused` (actNotFound) without one."""
    command = {"command": "account_info", "account": issued_of(pair).issuer, "ledger_index": ledger_index}
    (answer,) = ask(link, command)
    where, root = answer.where, {"TickSize": 0, "TransferRate": 0} | answer.object("account_data")
    flags = read_int(root, "Flags", UINT32_MAX, where)
    return Issuer(
        read_int(root, "TickSize", 15, where) or None,
        read_int(root, "TransferRate", UINT32_MAX, where) or NO_TRANSFER_FEE,
        global_freeze=bool(flags & GLOBAL_FREEZE),
        require_auth=bool(flags & REQUIRE_AUTH),
    )


def issued_of(pair: Pair) -> Asset:
    """The side of the pair that is not XRP."""
    return pair.quote if pair.base.issuer is None else pair.base


# ---------------------------------------------------------------------------------------------------- an account


def read_account(link: Link, account: str, pair: Pair, ledger_index: int) -> AccountState:
    """Balance, trust line and offers in the pair. Raises `NodeRefused` (actNotFound) if there is no such account."""
    issued, pinned = issued_of(pair), {"ledger_index": ledger_index}
    # `account_lines` would tell of the line as well, but servers disagree about its sign (XRPL.md C).
    line_of = {"accounts": [account, issued.issuer], "currency": issued.currency}
    offers_of = {"command": "account_offers", "account": account, "limit": PAGE_MAX} | pinned
    info, line, first_page = ask(
        link,
        {"command": "account_info", "account": account} | pinned,
        {"command": "ledger_entry", "ripple_state": line_of} | pinned,
        offers_of,
        absent={"ledger_entry": "entryNotFound"},
    )
    root = info.object("account_data")
    offers: list[ListedOffer] = []
    for page in pages(link, offers_of, first_page):
        for i, raw in enumerate(page.objects("offers")):
            offer = _read_offer(raw, pair, f"{page.where} offers[{i}]")
            if offer is not None:
                offers.append(offer)
    return AccountState(
        ledger_index,
        int(read_amount(root, "Balance", XRP, info.where)),
        read_int(root, "OwnerCount", UINT32_MAX, info.where),
        read_int(root, "Sequence", UINT32_MAX, info.where),
        None if line.refused else _read_line(line, account, issued),
        tuple(offers),
    )


def _read_line(answer: Answer, account: str, issued: Asset) -> TrustLine:
    """A RippleState: its balance is told from the low account's view, positive if that one holds (XRPL.md A9)."""
    node = Answer(answer.where, answer.object("node"))
    limits = node.object("LowLimit"), node.object("HighLimit")
    parties = [limit.get("issuer") for limit in limits]
    if parties not in ([account, issued.issuer], [issued.issuer, account]):
        raise LedgerUnreadable(node.where, "LowLimit, HighLimit", f"{account} and {issued.issuer}", parties)
    ours = parties.index(account)
    flags = read_int(node.fields, "Flags", UINT32_MAX, node.where)
    value = node.object("Balance").get("value")
    balance = read_number(value, issued, node.where, "Balance", signed=True)
    return TrustLine(
        balance if ours == 0 else -balance,
        read_number(limits[ours].get("value"), issued, node.where, "limit"),
        frozen=bool(flags & FROZEN[1 - ours]),
        deep_frozen=bool(flags & DEEP_FROZEN[1 - ours]),
        authorized=bool(flags & AUTHORIZED[1 - ours]),
    )


# `account_offers` spells an offer in its own way; some servers give the ledger's entry instead (XRPL.md A9).
_SPELLINGS = {"seq": "Sequence", "taker_gets": "TakerGets", "taker_pays": "TakerPays", "expiration": "Expiration"}


def as_entry(listed: dict[str, Any]) -> dict[str, Any]:
    """One entry of `account_offers`, spelled as the ledger spells its own."""
    return {_SPELLINGS.get(field, field): value for field, value in listed.items()}


def _read_offer(raw: dict[str, Any], pair: Pair, where: str) -> ListedOffer | None:
    """One entry of `account_offers`; None if it is of another pair."""
    fields = as_entry(raw)
    side = side_of(fields, pair)
    if side is None:
        return None
    base_field, quote_field = ("TakerGets", "TakerPays") if side == "ask" else ("TakerPays", "TakerGets")
    base = read_amount(fields, base_field, pair.base, where) / pair.base.raw_per_unit
    if "quality" in fields:  # the rate it was placed at; the amounts of a small rest no longer tell it (XRPL.md A6)
        rate = read_number(fields["quality"], issued_of(pair), where, "quality")
        field, found = "quality", fields["quality"]
    else:
        quote = read_amount(fields, quote_field, pair.quote, where)
        raw_base = base * pair.base.raw_per_unit
        numerator, denominator = (quote, raw_base) if side == "ask" else (raw_base, quote)
        rate = numerator / denominator if denominator else Decimal(0)
        field, found = "TakerGets, TakerPays", (fields["TakerGets"], fields["TakerPays"])
    if rate == 0:
        raise LedgerUnreadable(where, field, "a rate above zero", found)
    sequence = read_int(fields, "Sequence", UINT32_MAX, where)
    expiration = read_int(fields, "Expiration", UINT32_MAX, where) if "Expiration" in fields else None
    return ListedOffer(sequence, side, _PRICE.plus(price_of(rate, side, pair)), base, expiration)


def read_tickets(link: Link, account: str, ledger_index: int) -> tuple[int, ...]:
    """The tickets that the account has not used yet, ascending."""
    command = {"command": "account_objects", "account": account, "type": "ticket", "limit": PAGE_MAX}
    return tuple(
        sorted(
            read_int(entry, "TicketSequence", UINT32_MAX, f"{page.where} account_objects[{i}]")
            for page in pages(link, command | {"ledger_index": ledger_index})
            for i, entry in enumerate(page.objects("account_objects"))
            if entry.get("LedgerEntryType") == "Ticket"
        )
    )


def read_history(link: Link, account: str, first: int, last: int) -> tuple[dict[str, Any], ...]:
    """Every transaction that touched the account in the ledgers `first` to `last`, in the order of execution.

    Raw entries of `account_tx` in the shape of either API version. Raises `HistoryMissing` unless the server vouches
    for the whole range.
    """
    command = {
        "command": "account_tx",
        "account": account,
        "ledger_index_min": first,
        "ledger_index_max": last,
        "forward": True,
        "limit": PAGE_MAX,
    }
    where = f"account_tx of ledgers {first} to {last}"
    entries: dict[str, tuple[tuple[int, int], dict[str, Any]]] = {}
    try:
        for page in pages(link, command):
            _require_range(link, page, first, last)
            for i, entry in enumerate(page.objects("transactions")):
                transaction_hash, place = _place_of(entry, f"{where}, transactions[{i}]")
                if not first <= place[0] <= last:
                    raise LedgerUnreadable(where, "ledger_index", "one of that range", place[0])
                entries[transaction_hash] = (place, entry)
    except NodeRefused as error:
        if error.error in OUT_OF_HISTORY:
            raise HistoryMissing(f"{where}: {error}") from error
        raise
    return tuple(entry for _, entry in sorted(entries.values(), key=lambda found: found[0]))


def _require_range(link: Link, page: Answer, first: int, last: int) -> None:
    """A server that lacks ledgers answers with those it has, and says so only in the bounds of its answer."""
    bounds = page.fields.get("ledger_index_min"), page.fields.get("ledger_index_max")
    if type(bounds[0]) is int and type(bounds[1]) is int:
        if bounds[0] <= first and last <= bounds[1]:
            return
    elif has_ledgers(read_server(link).complete_ledgers, first, last):
        return
    raise HistoryMissing(f"ledgers {first} to {last}: the server answers for {bounds[0]} to {bounds[1]}")


def _place_of(entry: dict[str, Any], where: str) -> tuple[str, tuple[int, int]]:
    """Hash, and ledger and index that order an entry of `account_tx`."""
    if entry.get("validated") is not True:
        raise HistoryMissing(f"{where}: the server does not vouch for it")
    transaction = read_transaction(entry, where)
    if transaction.ledger_index is None:
        raise LedgerUnreadable(where, "ledger_index", "an integer", None)
    return transaction.hash, (transaction.ledger_index, transaction.position)


# ------------------------------------------------------------------------------------------------------ a server


def read_fee(link: Link) -> NetworkFee:
    """What a transaction costs now, by the ledger's queue (`fee`) and by the server's load (`server_info`)."""
    fee, info = ask(link, {"command": "fee"}, {"command": "server_info"})
    drops = fee.object("drops")
    return NetworkFee(
        int(read_amount(drops, "base_fee", XRP, fee.where)),
        int(read_amount(drops, "open_ledger_fee", XRP, fee.where)),
        _load_factor(info.object("info"), info.where),
    )


def read_server(link: Link) -> Server:
    """What the connected server says of itself."""
    (answer,) = ask(link, {"command": "server_info"})
    where, info = answer.where, answer.object("info")
    validated = info.get("validated_ledger")
    known = Answer(where, info).object("closed_ledger" if validated is None else "validated_ledger")
    for field, missing in (("server_state", True), ("complete_ledgers", False)):  # Clio says no state
        if not (isinstance(info.get(field), str) or (missing and info.get(field) is None)):
            raise LedgerUnreadable(where, field, "text", info.get(field))
    return Server(
        # Mainnet's servers of old do not name their network.
        read_int({"network_id": 0} | info, "network_id", UINT32_MAX, where),
        info.get("server_state"),
        info["complete_ledgers"],
        None if validated is None else read_int(known, "seq", UINT32_MAX, where),
        None if validated is None else read_int(known, "age", UINT32_MAX, where),
        info.get("amendment_blocked", False) is not False,
        _drops(known, "reserve_base_xrp", where),
        _drops(known, "reserve_inc_xrp", where),
        _drops(known, "base_fee_xrp", where),
        _load_factor(info, where),
        str(info.get("build_version", "")),
    )


def _drops(fields: dict[str, Any], field: str, where: str) -> int:
    """A small amount of XRP that comes as a JSON number, such as 1e-05."""
    found = fields.get(field)
    drops = Decimal(str(found)) * DROPS_PER_XRP if type(found) in (int, float) else Decimal(-1)
    if drops < 0 or drops != int(drops):
        raise LedgerUnreadable(where, field, "an amount of XRP", found)
    return int(drops)


def _load_factor(info: dict[str, Any], where: str) -> float:
    found = info.get("load_factor", 1)
    if type(found) not in (int, float) or not 0 < found <= UINT32_MAX:  # which bounds what a fee is computed from
        raise LedgerUnreadable(where, "load_factor", "a number above zero", found)
    return float(found)


def has_ledgers(complete_ledgers: str, first: int, last: int) -> bool:
    """Whether ranges such as "1-5,8-20" (or "empty") hold every ledger from `first` to `last`."""
    if not _RANGES.fullmatch(complete_ledgers):
        return False
    wanted = first
    for begin, end in sorted(_range(text) for text in complete_ledgers.split(",")):
        if begin <= wanted <= end:
            wanted = end + 1
    return wanted > last


def _range(text: str) -> tuple[int, int]:
    begin, _, end = text.partition("-")
    return int(begin), int(end or begin)
