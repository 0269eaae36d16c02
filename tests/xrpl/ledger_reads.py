"""What the double answers about the state of one of its ledgers, in rippled's shapes and pages (XRPL.md A2, A3, A9)."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from tests.xrpl.fake_node import Refusal
from tests.xrpl.ledger_amounts import (
    XRP,
    ZERO,
    Issue,
    floor,
    nearest,
    over,
    rate_value,
    read_issue,
    show_amount,
    show_value,
    times,
)
from tests.xrpl.ledger_funds import PARITY, frozen, funds, transfer_rate
from tests.xrpl.ledger_history import Closed
from tests.xrpl.ledger_metadata import index_of, quality_text, show, show_object
from tests.xrpl.ledger_state import (
    LINE_AUTH,
    LINE_DEEP_FREEZE,
    LINE_FREEZE,
    LINE_NO_RIPPLE,
    Entries,
    Key,
    Line,
    Offer,
    Pool,
    Root,
    Ticket,
    has_flag,
    held,
    line_key,
    owners_of,
    pool_of,
)

if TYPE_CHECKING:
    from tests.xrpl.ledger import Ledger

PAGE_MIN, PAGE, PAGE_MAX = 10, 200, 400
BOOK_PAGE, BOOK_PAGE_MAX = 60, 100
SLOT_S, SLOT_INTERVALS = 86_400, 20  # an auction slot lasts a day and loses worth in so many steps
SLOT_PART_S = SLOT_S // SLOT_INTERVALS
_OBJECT_TYPES = {"offer": Offer, "ticket": Ticket, "state": Line, "amm": Pool}
_ACCOUNT_FLAGS = {
    "requireDestinationTag": 0x0002_0000,
    "requireAuthorization": 0x0004_0000,
    "disallowIncomingXRP": 0x0008_0000,
    "disableMasterKey": 0x0010_0000,
    "noFreeze": 0x0020_0000,
    "globalFreeze": 0x0040_0000,
    "defaultRipple": 0x0080_0000,
    "depositAuth": 0x0100_0000,
}


class _View:
    """One ledger as a command asked for it: its entries and how an answer names it."""

    def __init__(self, ledger: Ledger, command: dict[str, Any]) -> None:
        asked = command.get("ledger_index", "current")
        self.ledger = ledger
        if asked == "current":
            self.entries: Entries = ledger.state.entries
            self.parent_close_time = ledger.close_time
            self.name: dict[str, Any] = {"ledger_current_index": ledger.validated_index + 1, "validated": False}
            return
        closed = find_ledger(ledger, asked)
        if closed.entries is None:
            raise Refusal("lgrNotFound", "ledgerNotFound")
        self.entries, self.parent_close_time = closed.entries, closed.parent_close_time
        self.name = {"ledger_hash": closed.ledger_hash, "ledger_index": closed.ledger_index, "validated": True}

    def root(self, address: str) -> Root:
        root = self.entries.get(("account", address))
        if not isinstance(root, Root):
            raise Refusal("actNotFound", "Account not found.")
        return root

    def objects(self, address: str) -> list[Key]:
        """The keys of what an account owns, in the order of their indexes."""
        self.root(address)
        keys = [key for key, entry in self.entries.items() if address in owners_of(entry)]
        return sorted(keys, key=index_of)


def find_ledger(ledger: Ledger, asked: Any) -> Closed:
    """A validated ledger by its index or by name."""
    history = ledger.history
    if asked in ("validated", "closed"):
        return history.newest
    closed = history.ledgers.get(int(asked)) if str(asked).isdigit() else None
    if closed is None or closed.ledger_index < history.first:
        raise Refusal("lgrNotFound", "ledgerNotFound")
    return closed


def account_info(ledger: Ledger, command: dict[str, Any]) -> dict[str, Any]:
    """An account and its flags."""
    view = _View(ledger, command)
    root = view.root(command["account"])
    flags = {name: bool(root.flags & bit) for name, bit in _ACCOUNT_FLAGS.items()}
    return {"account_data": show_object(("account", root.address), root), "account_flags": flags, **view.name}


def account_lines(ledger: Ledger, command: dict[str, Any]) -> dict[str, Any]:
    """Trust lines, told from the side of the account: positive is what it holds."""
    view, account = _View(ledger, command), command["account"]
    lines = []
    for key in view.objects(account):
        line = view.entries[key]
        if isinstance(line, Line) and command.get("peer", line.low) in (line.low, line.high):
            lines.append((key, _show_line(line, account)))
    return {"account": account, **_page(command, "lines", lines), **view.name}


def _show_line(line: Line, account: str) -> dict[str, Any]:
    peer, limits = (line.high, (line.low_limit, line.high_limit))
    if line.high == account:
        peer, limits = line.low, (line.high_limit, line.low_limit)
    optional = {
        "authorized": has_flag(line, account, LINE_AUTH),
        "peer_authorized": has_flag(line, peer, LINE_AUTH),
        "freeze": has_flag(line, account, LINE_FREEZE),
        "freeze_peer": has_flag(line, peer, LINE_FREEZE),
        "deep_freeze": has_flag(line, account, LINE_DEEP_FREEZE),
        "deep_freeze_peer": has_flag(line, peer, LINE_DEEP_FREEZE),
    }
    return {
        "account": peer,
        "balance": show_value(held(line, account)),
        "currency": line.currency,
        "limit": show_value(limits[0]),
        "limit_peer": show_value(limits[1]),
        "no_ripple": has_flag(line, account, LINE_NO_RIPPLE),
        "no_ripple_peer": has_flag(line, peer, LINE_NO_RIPPLE),
        "quality_in": 0,
        "quality_out": 0,
    } | {name: True for name, set_ in optional.items() if set_}


def account_offers(ledger: Ledger, command: dict[str, Any]) -> dict[str, Any]:
    """Resting offers of an account, expired ones too; their fields in lower case."""
    view, account = _View(ledger, command), command["account"]
    offers = []
    for key in view.objects(account):
        offer = view.entries[key]
        if isinstance(offer, Offer):
            shown = {
                "flags": offer.flags,
                "quality": quality_text(offer.rate),
                "seq": offer.sequence,
                "taker_gets": show_amount(offer.gets, offer.gets_issue),
                "taker_pays": show_amount(offer.pays, offer.pays_issue),
            }
            offers.append((key, shown | ({} if offer.expiration is None else {"expiration": offer.expiration})))
    return {"account": account, **_page(command, "offers", offers), **view.name}


def account_objects(ledger: Ledger, command: dict[str, Any]) -> dict[str, Any]:
    """All that an account owns, or one type of it."""
    view, account = _View(ledger, command), command["account"]
    kind = _OBJECT_TYPES.get(command["type"], Root) if "type" in command else object
    found = [
        (key, show_object(key, view.entries[key]))
        for key in view.objects(account)
        if isinstance(view.entries[key], kind)
    ]
    return {"account": account, **_page(command, "account_objects", found), **view.name}


def _page(command: dict[str, Any], name: str, found: list[tuple[Key, dict[str, Any]]]) -> dict[str, Any]:
    """A page of a list that is ordered by index; the marker names the last one of it."""
    limit = min(max(int(command.get("limit", PAGE)), PAGE_MIN), PAGE_MAX)
    if "marker" in command:
        after = str(command["marker"]).partition(",")[0]
        found = [(key, shown) for key, shown in found if index_of(key) > after]
    page = {name: [shown for _, shown in found[:limit]], "limit": limit}
    return page | ({"marker": f"{index_of(found[limit - 1][0])},0"} if len(found) > limit else {})


def ledger_entry(ledger: Ledger, command: dict[str, Any]) -> dict[str, Any]:
    """One entry, by its index or by what makes it unique."""
    view = _View(ledger, command)
    key = _asked_key(view, command)
    entry = view.entries.get(key)
    if entry is None:
        raise Refusal("entryNotFound", "Requested ledger entry not found.")
    return {"index": index_of(key), "node": show_object(key, entry), **view.name}


def _asked_key(view: _View, command: dict[str, Any]) -> Key:
    match command:
        case {"ripple_state": {"accounts": [a, b], "currency": currency}}:
            return line_key(a, b, currency)
        case {"offer": {"account": account, "seq": sequence}}:
            return ("offer", account, sequence)
        case {"ticket": {"account": account, "ticket_seq": sequence}}:
            return ("ticket", account, sequence)
        case {"account_root": address}:
            return ("account", address)
        case {"amm": {"asset": asset, "asset2": asset2}}:
            return ("pool", *sorted((read_issue(asset), read_issue(asset2))))
        case {"index": str(index)} | {"offer": str(index)} | {"amm": str(index)} | {"ticket": str(index)}:
            return next((key for key in view.entries if index_of(key) == index), ("none",))
    raise Refusal("unknownOption", "Unknown option.")


def book_offers(ledger: Ledger, command: dict[str, Any]) -> dict[str, Any]:
    """One side of a book, best offers first, with what stands behind them; no pages, no pool."""
    view = _View(ledger, command)
    gets, pays = read_issue(command["taker_gets"]), read_issue(command["taker_pays"])
    if gets == pays:
        raise Refusal("badMarket", "No such market.")
    listed = [
        (entry.rate, entry.order, key, entry)
        for key, entry in view.entries.items()
        if isinstance(entry, Offer) and (entry.gets_issue, entry.pays_issue) == (gets, pays)
    ]
    left: dict[str, Decimal] = {}
    offers: list[dict[str, Any]] = []
    for _, _, key, offer in sorted(listed, key=lambda one: one[:2]):
        first = offer.account not in left
        if first:
            left[offer.account] = funds(view.entries, offer.account, gets, ledger.fees)
        shown = show_object(key, offer) | {"quality": quality_text(offer.rate)}
        shown |= _means(view, offer, left, first=first)
        offers.append(shown)
    limit = min(int(command.get("limit", BOOK_PAGE)), BOOK_PAGE_MAX)
    return {"offers": offers[:limit], **view.name}


def _means(view: _View, offer: Offer, left: dict[str, Decimal], *, first: bool) -> dict[str, Any]:
    """What the node adds to a listed offer about its owner's means, which several offers of it share."""
    if offer.account == offer.gets_issue.issuer:
        return {"owner_funds": _bare(offer.gets, offer.gets_issue)} if first else {}
    available, rate = left[offer.account], PARITY
    means: dict[str, Any] = {"owner_funds": _bare(available, offer.gets_issue)} if first else {}
    if not offer.gets_issue.is_xrp:
        rate = transfer_rate(view.entries, offer.gets_issue)
    gets = (
        available if rate == PARITY else floor(over(times(available, Decimal(PARITY)), Decimal(rate)), offer.gets_issue)
    )
    if gets < offer.gets:
        pays = min(offer.pays, nearest(times(gets, rate_value(offer.rate)), offer.pays_issue))
        means["taker_gets_funded"] = show_amount(gets, offer.gets_issue)
        means["taker_pays_funded"] = show_amount(pays, offer.pays_issue)
    spent = over(times(min(gets, offer.gets), Decimal(rate)), Decimal(PARITY))
    left[offer.account] = max(ZERO, nearest(available - spent, offer.gets_issue))
    return means


def _bare(value: Decimal, issue: Issue) -> str:
    """A number without its asset: drops, or units of a currency."""
    return str(int(value)) if issue.is_xrp else show_value(value)


def amm_info(ledger: Ledger, command: dict[str, Any]) -> dict[str, Any]:
    """A pool."""
    view = _View(ledger, command)
    pool = _asked_pool(view, command)
    if pool is None:
        raise Refusal("actNotFound", "Account not found.")
    shown = show(pool)
    slot = shown["AuctionSlot"]
    amounts = {
        name: show_amount(_pool_balance(view, pool, issue), issue)
        for name, issue in (("amount", pool.asset), ("amount2", pool.asset2))
    }
    flags = {
        f"{name}_frozen": frozen(view.entries, pool.account, issue)
        for name, issue in (("asset", pool.asset), ("asset2", pool.asset2))
        if not issue.is_xrp
    }
    amm = {
        "account": pool.account,
        **amounts,
        **flags,
        "auction_slot": {
            "account": slot["Account"],
            "discounted_fee": slot["DiscountedFee"],
            "expiration": f"{iso_time(slot['Expiration'])[:-1]}+0000",
            "price": slot["Price"],
            "time_interval": min(
                SLOT_INTERVALS, (view.parent_close_time - pool.slot_expiration + SLOT_S) // SLOT_PART_S
            ),
        },
        "lp_token": shown["LPTokenBalance"],
        "trading_fee": pool.trading_fee,
        "vote_slots": [{"account": pool.owner, "trading_fee": pool.trading_fee, "vote_weight": 100_000}],
    }
    return {"amm": amm, **view.name}


def _asked_pool(view: _View, command: dict[str, Any]) -> Pool | None:
    if "amm_account" in command:
        pools = (entry for entry in view.entries.values() if isinstance(entry, Pool))
        return next((pool for pool in pools if pool.account == command["amm_account"]), None)
    return pool_of(view.entries, read_issue(command["asset"]), read_issue(command["asset2"]))


def _pool_balance(view: _View, pool: Pool, issue: Issue) -> Decimal:
    """What a pool holds, frozen or not."""
    if issue == XRP:
        return Decimal(view.root(pool.account).balance_drops)
    line = view.entries.get(line_key(pool.account, issue.issuer, issue.currency))
    return held(line, pool.account) if isinstance(line, Line) else ZERO


def iso_time(ripple_s: int) -> str:
    """A time of the ledger as ISO 8601."""
    return datetime.fromtimestamp(ripple_s + 946_684_800, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
