"""What one validated transaction did to our account: executions, offers placed and gone, balances (XRPL.md A9).

Read from the metadata alone, whoever sent the transaction and of whatever type: a payment fills an offer as well as
an offer does, and a taker's part of our own offer shows in our balances only.

Amounts are Decimal in units of the pair (XRP, not drops), except the fee. Everything is seen from our account: a
signed amount is what was added to our balance.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Context, Decimal
from typing import Any, Literal, NamedTuple

from engine_proc.holdings import Fill
from engine_proc.xrpl_changes import (
    NOTHING,
    SUCCESS,
    Balance,
    Change,
    Transaction,
    balance_change,
    execution,
    read_changes,
    read_text,
    read_transaction,
    side_of,
)
from engine_proc.xrpl_market import (
    NEVER,
    UINT32_MAX,
    XRP,
    Asset,
    LedgerUnreadable,
    Pair,
    price_of,
    read_amount,
    read_int,
    read_number,
)
from shared.records import Side

DIGITS = Context(prec=15)  # what an issued amount is guaranteed to hold (XRPL.md A1); enough for any price
ROUNDING_OF_HITS = Decimal("1e-9")  # an offer's own amounts are exact to 15 digits; a billionth is far from a trade
ROUNDING_OF_BALANCE = Decimal("1e-14")  # a balance has 15 to 16 digits
UNCHANGED = Balance(NOTHING, NOTHING)
FINEST_EXPONENT = -30  # a record of an amount has room for 40 characters

_HASH = re.compile(r"[0-9A-Fa-f]{64}")
Why = Literal["replaced", "requested", "own_cross", "expired", "unfunded", "dust"]


class Hit(NamedTuple):
    """A resting offer of ours that traded. `number` is the Sequence or ticket that placed it.

    `base` and `quote` changed hands, neither is negative; one may be 0 when rounding gave dust away. `remaining` is
    the base left in it, also of an offer that is `gone` with its rest dropped.
    """

    number: int
    side: Side
    base: Decimal
    quote: Decimal
    remaining: Decimal
    gone: bool

    @property
    def traded(self) -> bool:
        """Whether both changed hands. Rounding can give dust away for nothing, which has no price."""
        return self.base > 0 and self.quote > 0


class Placed(NamedTuple):
    """What our OfferCreate left in the book. `remaining` is base, `expiration` seconds since 2000-01-01.

    `price` is the quality of the book directory it stands in, quote per base to 15 digits: the rate it executes at.
    """

    number: int
    side: Side
    price: Decimal
    remaining: Decimal
    expiration: int | None


class Removal(NamedTuple):
    """An offer of ours that is gone without having been filled to its end.

    replaced: our OfferCreate named it; requested: our OfferCancel named it; own_cross: our own offer reached it;
    expired; unfunded: found without funds, or its rest dropped when they ran out; dust: the rest was too small to
    trade.
    """

    number: int
    why: Why


class Effects(NamedTuple):
    """One validated transaction, as far as it is about our account and the pair.

    `position` is its place in its ledger's order of execution.
    `ours`: we sent it, with `number` (Sequence or TicketSequence) and `fee_drops`, else None and 0.
    `taker_base`, `taker_quote`: what our own transaction took when it was executed, signed, opposite signs or both 0.
    `rest_base`, `rest_quote`: what rounding added to our balances beyond the hits; `fills_of` accounts for it.
    `base_after`, `quote_after`: our balances afterwards, None where the metadata does not show them.
    `funds_moved`: a balance changed by something that is none of this: a deposit, a withdrawal, another market.
    """

    hash: str
    ledger_index: int
    position: int
    result: str
    transaction_type: str
    ours: bool
    number: int | None
    fee_drops: int
    maker: tuple[Hit, ...]
    taker_base: Decimal
    taker_quote: Decimal
    rest_base: Decimal
    rest_quote: Decimal
    placed: Placed | None
    removed: tuple[Removal, ...]
    base_after: Decimal | None
    quote_after: Decimal | None
    funds_moved: bool


def effects_of(
    entry: dict[str, Any],
    account: str,
    pair: Pair,
    *,
    parent_close_time: int | None,
    ledger_index: int | None = None,
) -> Effects:
    """What a transaction did to `account`, from an entry of `account_tx`, a stream message, or one of a `ledger`.

    Either API version. `parent_close_time` (seconds since 2000-01-01, of the ledger before) tells expired offers;
    unknown, they are called unfunded. `ledger_index` serves where the entry does not name its ledger, as in a `ledger`
    answer or on a tape. Raises `LedgerUnreadable`, also for a transaction that is not validated.
    """
    transaction = read_transaction(entry, "transaction")
    where = f"transaction {transaction.hash}"
    if not _HASH.fullmatch(transaction.hash):
        raise LedgerUnreadable(where, "hash", "64 hex digits", transaction.hash)
    ledger_index = transaction.ledger_index if ledger_index is None else ledger_index
    if ledger_index is None:
        raise LedgerUnreadable(where, "ledger_index", "an integer", None)
    sent = _read_sent(transaction, account, where)
    changes = tuple(read_changes(transaction.nodes, where))
    offers = tuple(offer for change in changes if (offer := _own_offer(change, account, pair, where)) is not None)
    maker = tuple(hit for offer in offers if (hit := _hit(offer, pair, where)) is not None)
    base, quote = (_balance(changes, account, asset, where) for asset in pair)
    return Effects(
        hash=transaction.hash,
        ledger_index=ledger_index,
        position=transaction.position,
        result=transaction.result,
        transaction_type=read_text(transaction.fields, "TransactionType", where),
        ours=sent is not None,
        number=None if sent is None else sent.number,
        fee_drops=0 if sent is None else sent.fee_drops,
        maker=maker,
        placed=next((_placed(offer, pair, where) for offer in offers if offer.change.kind == "CreatedNode"), None),
        removed=_removed(offers, maker, transaction, sent, pair, parent_close_time, where),
        base_after=None if base is None else base.after,
        quote_after=None if quote is None else quote.after,
        **_explain(base or UNCHANGED, quote or UNCHANGED, maker, sent, pair)._asdict(),
    )


def fills_of(effects: Effects, name: Callable[[int], str | None]) -> tuple[Fill, ...]:
    """The executions as reports: resting offers first, then what our own order took.

    `name` gives the order id of one of our numbers; without one the fill is told all the same, of `offer#<number>`.
    Fills and the fee together add up to the change of our balances to the digit (unless `funds_moved`): the residue of
    rounding goes into the largest fill. `trade_id` is `<hash>-<number>`, of the taker's part `<hash>-taker`. A hit of
    dust, that moved one of the two only, has no price and is no fill.
    """
    largest = _largest(effects.maker)
    fills: list[Fill] = []
    for hit in effects.maker:
        if not hit.traded:
            continue
        base, quote = hit.base, hit.quote
        if hit is largest:
            sign = 1 if hit.side == "bid" else -1
            base, quote = base + sign * effects.rest_base, quote - sign * effects.rest_quote
        order_id = name(hit.number) or f"offer#{hit.number}"
        fills.append(_fill(f"{effects.hash}-{hit.number}", order_id, hit.side, "maker", base, quote))
    if effects.number is not None and effects.taker_base:
        order_id = name(effects.number) or f"offer#{effects.number}"
        side: Side = "bid" if effects.taker_base > 0 else "ask"
        base, quote = abs(effects.taker_base), abs(effects.taker_quote)
        fills.append(_fill(f"{effects.hash}-taker", order_id, side, "taker", base, quote))
    return tuple(fills)


# -------------------------------------------------------------------------------------------------- who sent it


class _Sent(NamedTuple):
    """A transaction that our account sent, and paid for."""

    number: int
    fee_drops: int


def _read_sent(transaction: Transaction, account: str, where: str) -> _Sent | None:
    fields = transaction.fields
    if read_text(fields, "Account", where) != account:
        return None
    number = read_int(fields, "TicketSequence" if "TicketSequence" in fields else "Sequence", UINT32_MAX, where)
    return _Sent(number, int(read_number(fields.get("Fee"), XRP, where, "Fee")))


# --------------------------------------------------------------------------------------------------- our offers


class _Offer(NamedTuple):
    """An offer of ours that the transaction created, changed or deleted."""

    change: Change
    number: int
    side: Side


def _own_offer(change: Change, account: str, pair: Pair, where: str) -> _Offer | None:
    if change.entry_type != "Offer" or read_text(change.after, "Account", where) != account:
        return None
    side = side_of(change.after, pair)
    return None if side is None else _Offer(change, read_int(change.after, "Sequence", UINT32_MAX, where), side)


def _hit(offer: _Offer, pair: Pair, where: str) -> Hit | None:
    """A created offer was never hit: what it crossed on its way into the book shows in our balances."""
    traded = execution(offer.change, pair, where)
    if traded is None:
        return None
    base, quote = traded.base / pair.base.raw_per_unit, traded.quote / pair.quote.raw_per_unit
    gone = offer.change.kind == "DeletedNode"
    return Hit(offer.number, offer.side, base, quote, _remaining(offer, pair, where), gone)


def _placed(offer: _Offer, pair: Pair, where: str) -> Placed:
    fields = offer.change.after
    expiration = read_int(fields, "Expiration", UINT32_MAX, where) if "Expiration" in fields else None
    directory = read_text(fields, "BookDirectory", where)
    if not _HASH.fullmatch(directory):
        raise LedgerUnreadable(where, "BookDirectory", "64 hex digits", directory)
    # The rate as the ledger writes it: an exponent, offset by 100, in the first byte and the mantissa in the rest.
    rate = Decimal(int(directory[50:], 16)).scaleb(int(directory[48:50], 16) - 100)
    if rate == 0:
        raise LedgerUnreadable(where, "BookDirectory", "a rate above zero", directory)
    price = DIGITS.plus(price_of(rate, offer.side, pair))
    return Placed(offer.number, offer.side, price, _remaining(offer, pair, where), expiration)


def _remaining(offer: _Offer, pair: Pair, where: str) -> Decimal:
    """The base that is left in it, or was when it was deleted."""
    field = "TakerGets" if offer.side == "ask" else "TakerPays"
    return read_amount(offer.change.after, field, pair.base, where) / pair.base.raw_per_unit


def _removed(
    offers: tuple[_Offer, ...],
    maker: tuple[Hit, ...],
    transaction: Transaction,
    sent: _Sent | None,
    pair: Pair,
    parent_close_time: int | None,
    where: str,
) -> tuple[Removal, ...]:
    hits = {hit.number: hit for hit in maker}
    removed: list[Removal] = []
    for offer in offers:
        if offer.change.kind != "DeletedNode":
            continue
        hit = hits.get(offer.number)
        if hit is None:
            fields = transaction.fields if sent is not None else {}
            why = _why_unhit(offer, fields, transaction.result, pair, parent_close_time, where)
            removed.append(Removal(offer.number, why))
        elif hit.remaining or not hit.traded:
            removed.append(Removal(offer.number, _why_hit(offer, pair, where)))
    return tuple(removed)


def _why_unhit(
    offer: _Offer, sent: dict[str, Any], result: str, pair: Pair, parent_close_time: int | None, where: str
) -> Why:
    """Why an offer was deleted without a trade. `sent` is the transaction if it is ours, and empty if it is not."""
    # What a failed transaction asked for is rolled back; only dead offers that it came across stay deleted (A6).
    if result == SUCCESS and sent.get("OfferSequence") == offer.number:
        return "requested" if sent["TransactionType"] == "OfferCancel" else "replaced"
    fields = offer.change.after
    expiration = read_int(fields, "Expiration", UINT32_MAX, where) if "Expiration" in fields else NEVER
    if parent_close_time is not None and expiration <= parent_close_time:
        return "expired"
    if side_of(sent, pair) not in (None, offer.side):
        return "own_cross"
    return "unfunded"


def _why_hit(offer: _Offer, pair: Pair, where: str) -> Why:
    """Why an offer was deleted with something left in it."""
    base_left, quote_left = ("TakerGets", "TakerPays") if offer.side == "ask" else ("TakerPays", "TakerGets")
    base = read_amount(offer.change.after, base_left, pair.base, where)
    quote = read_amount(offer.change.after, quote_left, pair.quote, where)
    return "unfunded" if base and quote else "dust"


# ------------------------------------------------------------------------------------------------- our balances


class _Explained(NamedTuple):
    """How the changes of our balances come about; the fields of `Effects` with the same names."""

    taker_base: Decimal = NOTHING
    taker_quote: Decimal = NOTHING
    rest_base: Decimal = NOTHING
    rest_quote: Decimal = NOTHING
    funds_moved: bool = False


def _explain(base: Balance, quote: Balance, maker: tuple[Hit, ...], sent: _Sent | None, pair: Pair) -> _Explained:
    """What of our balances' changes is left when the fee and the resting offers' trades are taken away, and why."""
    rest_base, rest_quote = base.change + _fee_in(pair.base, sent), quote.change + _fee_in(pair.quote, sent)
    for hit in maker:
        if hit.traded:
            sign = 1 if hit.side == "bid" else -1
            rest_base -= sign * hit.base
            rest_quote += sign * hit.quote
    if sent is not None and rest_base * rest_quote < 0:  # one for the other: whatever its type, it traded
        return _Explained(taker_base=rest_base, taker_quote=rest_quote)
    largest = _largest(maker)
    hit_base, hit_quote = (NOTHING, NOTHING) if largest is None else (largest.base, largest.quote)
    if _is_rounding(rest_base, base, hit_base, pair.base) and _is_rounding(rest_quote, quote, hit_quote, pair.quote):
        return _Explained(rest_base=rest_base, rest_quote=rest_quote)
    return _Explained(funds_moved=True)


def _largest(maker: tuple[Hit, ...]) -> Hit | None:
    """The hit that has room for what rounding left over."""
    return max((hit for hit in maker if hit.traded), key=lambda hit: hit.base, default=None)


def _balance(changes: tuple[Change, ...], account: str, asset: Asset, where: str) -> Balance | None:
    """Ours of this asset, in units; None where the transaction left it alone."""
    for change in changes:
        balance = balance_change(change, account, asset, where)
        if balance is not None:
            return Balance(*(amount / asset.raw_per_unit for amount in balance))
    return None


def _fee_in(asset: Asset, sent: _Sent | None) -> Decimal:
    return Decimal(sent.fee_drops) / asset.raw_per_unit if sent is not None and asset == XRP else NOTHING


def _is_rounding(rest: Decimal, balance: Balance, hit: Decimal, asset: Asset) -> bool:
    """Whether `rest` is what an issued balance of 15 digits cannot hold of a trade of `hit`. Drops are exact."""
    if not rest:
        return True
    if asset == XRP:
        return False
    digits_of_balance = max(abs(balance.before), abs(balance.after)) * ROUNDING_OF_BALANCE
    return abs(rest) < hit and abs(rest) <= max(hit * ROUNDING_OF_HITS, digits_of_balance)


# --------------------------------------------------------------------------------------------------- the reports


def _fill(
    trade_id: str, order_id: str, side: Side, liquidity: Literal["maker", "taker"], base: Decimal, quote: Decimal
) -> Fill:
    base, quote = _recordable(base), _recordable(quote)
    return Fill(trade_id, order_id, side, liquidity, _recordable(DIGITS.divide(quote, base)), base, quote)


def _recordable(amount: Decimal) -> Decimal:
    """The amount itself, unless it has digits that no record has room for."""
    exponent = amount.as_tuple().exponent
    return (
        amount.quantize(Decimal(1).scaleb(FINEST_EXPONENT))
        if isinstance(exponent, int) and exponent < FINEST_EXPONENT
        else amount
    )
