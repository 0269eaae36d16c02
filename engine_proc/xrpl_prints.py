"""Public taker flow of one ledger, read from what its transactions did, never from what they asked for (XRPL.md A9).

A resting offer was hit iff its node was modified or deleted *and* the metadata says what its amounts were before;
a deletion without that is a cancel, an expiry or a replacement. The pool leaves no offer: its trades are seen as
changes of its own two balances, in opposite directions; deposits and withdrawals move them the same way, or only
one. Any type of transaction can do either, so the type is never asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any, NamedTuple

from engine_proc.market import Print
from engine_proc.xrpl_market import (
    UINT32_MAX,
    Asset,
    LedgerUnreadable,
    Pair,
    RawLedger,
    pool_of,
    read_amount,
    read_int,
    read_number,
)


def read_prints(ledger: RawLedger, pair: Pair, pool_account: str | None, pool_fee: float) -> tuple[Print, ...]:
    """Every execution of the pair in the order of the ledger. Raises `LedgerUnreadable`.

    Within one transaction the metadata keeps no order: its offers are given best first, as a taker eats them, and the
    pool last, since only what the whole transaction left in it is known. `pool_fee` is a fraction.
    """
    if not isinstance(ledger.transactions, list):
        raise LedgerUnreadable(f"ledger {ledger.ledger_index}", "transactions", "a list", ledger.transactions)
    executed: list[tuple[int, str, list[Any]]] = []
    for i, raw in enumerate(ledger.transactions):
        where = f"ledger {ledger.ledger_index} transactions[{i}]"
        meta = _metadata(raw, where)
        if meta["TransactionResult"] == "tesSUCCESS":
            index = read_int(meta, "TransactionIndex", UINT32_MAX, where)
            executed.append((index, where, meta["AffectedNodes"]))
        elif not meta["TransactionResult"].startswith("tec"):  # a tec claimed its fee and traded nothing
            raise LedgerUnreadable(where, "TransactionResult", "one of a validated ledger", meta["TransactionResult"])
    # An expanded `ledger` answer lists transactions by hash; their index says when they were executed.
    executed.sort(key=lambda transaction: transaction[0])
    prints: list[Print] = []
    for _, where, nodes in executed:
        prints += _prints_of(nodes, pair, pool_account, pool_fee, where)
    return tuple(prints)


class _Change(NamedTuple):
    """A ledger entry that the transaction changed; `before` holds only the fields that are different now."""

    entry_type: str
    before: dict[str, Any]
    after: dict[str, Any]


def _prints_of(nodes: list[Any], pair: Pair, pool_account: str | None, pool_fee: float, where: str) -> list[Print]:
    """What one transaction executed."""
    book: list[Print] = []
    pool: dict[Asset, tuple[Decimal, Decimal]] = {}
    for change in _changes(nodes, where):
        if change.entry_type == "Offer":
            hit = _offer_print(change, pair, where)
            if hit is not None:
                book.append(hit)
        elif pool_account is not None:
            for asset in pair:
                balances = _balances(change, pool_account, asset, where)
                if balances is not None:
                    pool[asset] = balances
    book.sort(key=lambda hit: hit.price if hit.taker_side == "buy" else -hit.price)
    if len(pool) == 2:
        trade = _pool_print(pool[pair.base], pool[pair.quote], pair, pool_fee, where)
        if trade is not None:
            book.append(trade)
    return book


def _changes(nodes: list[Any], where: str) -> Iterator[_Change]:
    """The entries that can tell of a trade and say what changed in them; created and merely touched ones do not."""
    for node in nodes:
        if not isinstance(node, dict) or len(node) != 1:
            raise LedgerUnreadable(where, "AffectedNodes", "objects with one key each", node)
        (kind, entry), *_ = node.items()
        if not isinstance(entry, dict):
            raise LedgerUnreadable(where, kind, "a ledger entry", entry)
        entry_type, before = _text(entry, "LedgerEntryType", where), entry.get("PreviousFields")
        if kind == "CreatedNode" or before is None or entry_type not in ("Offer", "AccountRoot", "RippleState"):
            continue
        after = entry.get("FinalFields")
        if not isinstance(before, dict) or not isinstance(after, dict):
            raise LedgerUnreadable(where, f"{kind} PreviousFields, FinalFields", "two objects", entry)
        yield _Change(entry_type, before, after)


def _offer_print(change: _Change, pair: Pair, where: str) -> Print | None:
    """The execution of a resting offer of this pair, at the price that was really paid."""
    if "TakerGets" not in change.before and "TakerPays" not in change.before:
        return None
    gets, pays = change.after.get("TakerGets"), change.after.get("TakerPays")
    if pair.base.is_of(gets) and pair.quote.is_of(pays):
        base = _filled(change, "TakerGets", pair.base, where)
        quote = _filled(change, "TakerPays", pair.quote, where)
    elif pair.quote.is_of(gets) and pair.base.is_of(pays):
        base = _filled(change, "TakerPays", pair.base, where)
        quote = _filled(change, "TakerGets", pair.quote, where)
    else:
        _check_another_market(gets, pays, where)
        return None
    if base == 0 or quote == 0:
        return None  # dust that rounding gave away for nothing has no price
    price, size = _price_and_size(base, quote, pair)
    return Print("buy" if pair.base.is_of(gets) else "sell", price, size)


def _check_another_market(gets: object, pays: object, where: str) -> None:
    """An offer of other assets is none of our business, an offer of no assets is a metadata format we do not know."""
    for amount in (gets, pays):
        if not isinstance(amount, str) and _member(amount, "mpt_issuance_id") is None:
            _text(amount, "currency", where)
            _text(amount, "issuer", where)
    if isinstance(gets, str) and isinstance(pays, str):
        raise LedgerUnreadable(where, "Offer TakerGets, TakerPays", "two different assets", (gets, pays))


def _filled(change: _Change, field: str, asset: Asset, where: str) -> Decimal:
    if field not in change.before:
        return Decimal(0)
    filled = read_amount(change.before, field, asset, where) - read_amount(change.after, field, asset, where)
    if filled < 0:
        raise LedgerUnreadable(where, f"Offer {field}", "an offer that shrinks", change.before[field])
    return filled


def _balances(change: _Change, account: str, asset: Asset, where: str) -> tuple[Decimal, Decimal] | None:
    """Before and after, in raw units, if this entry holds the account's balance of the asset and it changed."""
    if "Balance" not in change.before or change.entry_type != (
        "AccountRoot" if asset.issuer is None else "RippleState"
    ):
        return None
    before, after = change.before["Balance"], change.after.get("Balance")
    if asset.issuer is None:
        if _text(change.after, "Account", where) != account:
            return None
        return read_number(before, asset, where, "Balance"), read_number(after, asset, where, "Balance")
    low, high = (_text(change.after.get(limit), "issuer", where) for limit in ("LowLimit", "HighLimit"))
    if {low, high} != {account, asset.issuer} or _text(after, "currency", where) != asset.currency:
        return None
    # A trust line's balance is told from the low account's view: positive means that the high one owes.
    sign = 1 if low == account else -1
    held_before, held_after = (
        read_number(_member(balance, "value"), asset, where, "Balance", signed=True) * sign
        for balance in (before, after)
    )
    return held_before, held_after


def _pool_print(
    base: tuple[Decimal, Decimal], quote: tuple[Decimal, Decimal], pair: Pair, fee: float, where: str
) -> Print | None:
    """The pool's part of the transaction; None if it was a deposit or a withdrawal."""
    base_in, quote_in = base[1] - base[0], quote[1] - quote[0]
    if base_in * quote_in >= 0:
        return None
    if base[1] <= 0 or quote[1] <= 0:
        raise LedgerUnreadable(where, "pool Balance", "a trade that leaves something in the pool", (base[1], quote[1]))
    price, size = _price_and_size(abs(base_in), abs(quote_in), pair)
    return Print("buy" if base_in < 0 else "sell", price, size, pool_of(base[1], quote[1], fee, pair))


def _price_and_size(base: Decimal, quote: Decimal, pair: Pair) -> tuple[float, float]:
    price = quote / base * pair.base.raw_per_unit / pair.quote.raw_per_unit
    return float(price), float(base / pair.base.raw_per_unit)


def _metadata(raw: object, where: str) -> dict[str, Any]:
    """The metadata object, which API versions and commands call `meta` or `metaData`."""
    meta = _member(raw, "meta")
    if meta is None:
        meta = _member(raw, "metaData")
    if not isinstance(meta, dict):
        raise LedgerUnreadable(where, "meta", "a metadata object", meta)
    for field, kind, words in (("TransactionResult", str, "a result code"), ("AffectedNodes", list, "a list")):
        if not isinstance(meta.get(field), kind):
            raise LedgerUnreadable(where, field, words, meta.get(field))
    return meta


def _text(raw: object, field: str, where: str) -> str:
    text = _member(raw, field)
    if not isinstance(text, str):
        raise LedgerUnreadable(where, field, "text", text)
    return text


def _member(raw: object, field: str) -> Any:
    return raw.get(field) if isinstance(raw, dict) else None
