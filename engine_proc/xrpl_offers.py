"""Our transactions as the ledger writes them, before they are signed. Pure; the base is exact, the quote in our favour.

There is no post-only on the ledger: `tfPassive` refuses equal prices alone, and an offer priced through the book or
the pool still takes (XRPL.md section 0). Whether a price may go out is for the gate.
"""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from typing import Any, NamedTuple

from engine_proc.holdings import Order
from engine_proc.xrpl_market import DROPS_PER_XRP, Asset, Pair
from engine_proc.xrpl_numbers import TICKETS_MAX, Number
from engine_proc.xrpl_ports import PRIVATE_NETWORK_MIN

Transaction = dict[str, Any]

TF_PASSIVE = 0x0001_0000
TF_SELL = 0x0008_0000
VALUE_DIGITS_MAX = 15  # of an issued amount that every node keeps as it is (XRPL.md A1)

_IN_OUR_FAVOUR = {
    "ask": Context(prec=VALUE_DIGITS_MAX, rounding=ROUND_CEILING),  # what we get
    "bid": Context(prec=VALUE_DIGITS_MAX, rounding=ROUND_FLOOR),  # what we pay
}


class Header(NamedTuple):
    """What every transaction carries: whose it is, its number, its fee, and the last ledger that may hold it."""

    account: str
    number: Number
    fee_drops: int
    last_ledger: int
    network_id: int = 0
    source_tag: int | None = None


def offer_create(
    order: Order, pair: Pair, header: Header, *, expiration: int, replaces_number: int | None = None
) -> Transaction:
    """Place an order with all of its size; the offer `replaces_number`, if one is named, goes in the same transaction.

    `pair.base` must be XRP and `order.size` whole drops. `expiration` is in seconds since 2000-01-01. An ask is a sale
    of its XRP (tfSell), a bid a purchase of it (no flag): either way the base is what crossing and TickSize leave
    alone (XRPL.md A6). A `replaces_number` that is no more does no harm.
    """
    drops, value = drops_of(order.size), _IN_OUR_FAVOUR[order.side].multiply(order.size, order.price)
    base, quote = str(drops), _issued(pair.quote, value)
    gets, pays, flags = (base, quote, TF_SELL | TF_PASSIVE) if order.side == "ask" else (quote, base, TF_PASSIVE)
    transaction = _headed("OfferCreate", header) | {
        "Flags": flags,
        "TakerGets": gets,
        "TakerPays": pays,
        "Expiration": expiration,
    }
    return transaction if replaces_number is None else transaction | {"OfferSequence": replaces_number}


def offer_cancel(number: int, header: Header) -> Transaction:
    """Take away the offer of that number. Succeeds on the ledger also if it is gone: proof of nothing (XRPL.md A6)."""
    return _headed("OfferCancel", header) | {"OfferSequence": number}


def ticket_create(count: int, header: Header) -> Transaction:
    """Set `count` numbers aside as tickets: those right after its own."""
    assert 0 < count <= TICKETS_MAX
    assert not header.number.ticket, "a ticket to make tickets moves the sequence all the same: keep it simple"
    return _headed("TicketCreate", header) | {"TicketCount": count}


def drops_of(base: Decimal) -> int:
    """XRP in drops. The amount must be whole drops: what the ledger has and what we track are equal to the digit."""
    drops = int(base * DROPS_PER_XRP)
    assert drops > 0, f"{base} XRP is not a drop"
    assert drops == base * DROPS_PER_XRP, f"{base} XRP is not a whole number of drops"
    return drops


def _headed(transaction_type: str, header: Header) -> Transaction:
    assert header.fee_drops > 0
    transaction: Transaction = {
        "TransactionType": transaction_type,
        "Account": header.account,
        "Fee": str(header.fee_drops),
        "LastLedgerSequence": header.last_ledger,
        **header.number.fields(),
    }
    if header.network_id >= PRIVATE_NETWORK_MIN:
        transaction["NetworkID"] = header.network_id
    if header.source_tag is not None:
        transaction["SourceTag"] = header.source_tag
    return transaction


def _issued(asset: Asset, value: Decimal) -> dict[str, str]:
    assert asset.issuer is not None
    return {"currency": asset.currency, "issuer": asset.issuer, "value": f"{value.normalize():f}"}
