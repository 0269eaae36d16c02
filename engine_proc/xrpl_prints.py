"""Public taker flow of one ledger, read from what its transactions did, never from what they asked for (XRPL.md A9).

A resting offer was hit iff its node was modified or deleted *and* the metadata says what its amounts were before;
a deletion without that is a cancel, an expiry or a replacement. The pool leaves no offer: its trades are seen as
changes of its own two balances, in opposite directions; deposits and withdrawals move them the same way, or only
one. Any type of transaction can do either, so the type is never asked for.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from engine_proc.market import Print
from engine_proc.xrpl_changes import (
    SUCCESS,
    Balance,
    Execution,
    balance_change,
    execution,
    read_changes,
    read_metadata,
)
from engine_proc.xrpl_market import UINT32_MAX, Asset, LedgerUnreadable, Pair, RawLedger, pool_of, read_int


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
        meta = read_metadata(raw, where)
        if meta["TransactionResult"] == SUCCESS:  # any other claimed its fee and traded nothing
            index = read_int(meta, "TransactionIndex", UINT32_MAX, where)
            executed.append((index, where, meta["AffectedNodes"]))
    # An expanded `ledger` answer lists transactions by hash; their index says when they were executed.
    executed.sort(key=lambda transaction: transaction[0])
    prints: list[Print] = []
    for _, where, nodes in executed:
        prints += _prints_of(nodes, pair, pool_account, pool_fee, where)
    return tuple(prints)


def _prints_of(nodes: list[Any], pair: Pair, pool_account: str | None, pool_fee: float, where: str) -> list[Print]:
    """What one transaction executed."""
    book: list[Print] = []
    pool: dict[Asset, Balance] = {}
    for change in read_changes(nodes, where):
        if not change.before:
            continue  # only an entry that says what was there before can tell of a trade
        if change.entry_type == "Offer":
            hit = execution(change, pair, where)
            trade = None if hit is None else _book_print(hit, pair)
            if trade is not None:
                book.append(trade)
        elif pool_account is not None:
            for asset in pair:
                balance = balance_change(change, pool_account, asset, where)
                if balance is not None:
                    pool[asset] = balance
    book.sort(key=lambda trade: trade.price if trade.taker_side == "buy" else -trade.price)
    if len(pool) == 2:
        trade = _pool_print(pool[pair.base], pool[pair.quote], pair, pool_fee, where)
        if trade is not None:
            book.append(trade)
    return book


def _book_print(hit: Execution, pair: Pair) -> Print | None:
    """The execution of a resting offer, at the price that was really paid."""
    if hit.base == 0 or hit.quote == 0:
        return None  # dust that rounding gave away for nothing has no price
    price, size = _price_and_size(hit.base, hit.quote, pair)
    return Print("buy" if hit.side == "ask" else "sell", price, size)


def _pool_print(base: Balance, quote: Balance, pair: Pair, fee: float, where: str) -> Print | None:
    """The pool's part of the transaction; None if it was a deposit or a withdrawal."""
    base_in, quote_in = base.change, quote.change
    if base_in * quote_in >= 0:
        return None
    if base.after <= 0 or quote.after <= 0:
        found = base.after, quote.after
        raise LedgerUnreadable(where, "pool Balance", "a trade that leaves something in the pool", found)
    price, size = _price_and_size(abs(base_in), abs(quote_in), pair)
    return Print("buy" if base_in < 0 else "sell", price, size, pool_of(base.after, quote.after, fee, pair))


def _price_and_size(base: Decimal, quote: Decimal, pair: Pair) -> tuple[float, float]:
    price = quote / base * pair.base.raw_per_unit / pair.quote.raw_per_unit
    return float(price), float(base / pair.base.raw_per_unit)
