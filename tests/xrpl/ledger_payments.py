"""Payments of the double: XRP, an issued currency, and one through the market between them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from tests.xrpl.ledger_amounts import Amount, rate_of, read_amount
from tests.xrpl.ledger_funds import (
    BOUNDLESS,
    PARITY,
    credit,
    deep_frozen,
    frozen,
    funds,
    refusal_to_hold,
    transfer_rate,
)
from tests.xrpl.ledger_offers import Outcome, Scene
from tests.xrpl.ledger_state import Key, Root, State, held, line_of
from tests.xrpl.matching import Wish, fly

TF_NO_DIRECT = 0x0001_0000
TF_PARTIAL = 0x0002_0000
TF_LIMIT_QUALITY = 0x0004_0000


def malformed_payment(transaction: dict[str, Any]) -> str | None:
    """The tem code of a Payment that no ledger takes."""
    amount = read_amount(wanted_of(transaction))
    sent = read_amount(transaction.get("SendMax", wanted_of(transaction)))
    if amount.value <= 0 or sent.value <= 0:
        return "temBAD_AMOUNT"
    if transaction["Account"] == transaction["Destination"] and amount.issue == sent.issue:
        return "temREDUNDANT"
    if amount.issue.is_xrp and sent.issue.is_xrp:
        if "SendMax" in transaction:
            return "temBAD_SEND_XRP_MAX"
        if transaction.get("Flags", 0) & TF_PARTIAL:
            return "temBAD_SEND_XRP_PARTIAL"
    return None


def wanted_of(transaction: dict[str, Any]) -> Any:
    """The amount to be delivered, whose name depends on the API version."""
    return transaction["Amount"] if "Amount" in transaction else transaction["DeliverMax"]


def pay(state: State, transaction: dict[str, Any], scene: Scene) -> Outcome:
    """Carry out a payment. Whoever called takes everything back on a tec."""
    amount = read_amount(wanted_of(transaction))
    sent = read_amount(transaction["SendMax"]) if "SendMax" in transaction else amount
    if amount.issue.is_xrp and sent.issue.is_xrp:
        return _pay_xrp(state, transaction, amount, scene)
    if ("account", transaction["Destination"]) not in state.entries:
        return Outcome("tecNO_DST")
    if sent.issue == amount.issue:
        return _pay_issued(state, transaction, amount, scene)
    return _pay_across(state, transaction, amount, sent, scene)


def _pay_xrp(state: State, transaction: dict[str, Any], amount: Amount, scene: Scene) -> Outcome:
    sender, receiver, drops = transaction["Account"], transaction["Destination"], int(amount.value)
    root = state.root(sender)
    # The fee may come out of the reserve, what is sent may not.
    kept = max(scene.fees.reserve(root.owner_count), scene.fee_drops)
    if scene.prior_balance_drops < drops + kept:
        return Outcome("tecUNFUNDED_PAYMENT")
    key: Key = ("account", receiver)
    if key not in state.entries:
        if drops < scene.fees.reserve(0):
            return Outcome("tecNO_DST_INSUF_XRP")
        state.put(key, Root(receiver, 0, scene.ledger_index))
    credit(state, amount.issue, sender, -amount.value)
    credit(state, amount.issue, receiver, amount.value)
    return Outcome("tesSUCCESS", delivered=amount)


def _pay_issued(state: State, transaction: dict[str, Any], amount: Amount, scene: Scene) -> Outcome:
    """From holder to holder through the issuer, or from or to it."""
    sender, receiver, issue = transaction["Account"], transaction["Destination"], amount.issue
    if frozen(state.entries, sender, issue) or not _may_receive(state, receiver, amount):
        return Outcome("tecPATH_DRY")
    between = issue.issuer not in (sender, receiver)
    rate = transfer_rate(state.entries, issue) if between else PARITY
    cost = amount.value if rate == PARITY else amount.value * rate / PARITY
    sent_max = read_amount(transaction["SendMax"]).value if "SendMax" in transaction else amount.value
    can_send = min(funds(state.entries, sender, issue, scene.fees), max(sent_max, amount.value))
    value = min(
        amount.value, _room(state, receiver, amount), amount.value if cost <= can_send else can_send * PARITY / rate
    )
    if value <= 0:
        return Outcome("tecPATH_DRY")
    if not _enough(transaction, amount, value):
        return Outcome("tecPATH_PARTIAL")
    credit(state, issue, sender, -(value if rate == PARITY else value * rate / PARITY))
    credit(state, issue, receiver, value)
    return Outcome("tesSUCCESS", delivered=Amount(value, issue))


def _pay_across(state: State, transaction: dict[str, Any], amount: Amount, sent: Amount, scene: Scene) -> Outcome:
    """Through the book and the pool between two assets, within SendMax and (if asked) its rate."""
    sender, receiver = transaction["Account"], transaction["Destination"]
    if transaction.get("Flags", 0) & TF_NO_DIRECT or not _may_receive(state, receiver, amount):
        return Outcome("tecPATH_DRY")
    limited = transaction.get("Flags", 0) & TF_LIMIT_QUALITY
    limit = rate_of(amount.value, sent.value) if limited else None
    room = _room(state, receiver, amount)
    wish = Wish(sender, receiver, sent.issue, amount.issue, sent.value, amount.value, limit, False, room)
    flown = fly(state, wish, scene.fees, scene.parent_close_time)
    if flown.out <= 0:
        return Outcome("tecPATH_DRY")
    if not _enough(transaction, amount, flown.out):
        return Outcome("tecPATH_PARTIAL")
    return Outcome("tesSUCCESS", delivered=Amount(flown.out, amount.issue))


def _may_receive(state: State, receiver: str, amount: Amount) -> bool:
    if amount.issue.is_xrp or receiver == amount.issue.issuer:
        return True
    line = line_of(state.entries, receiver, amount.issue)
    forbidden = refusal_to_hold(state, receiver, amount.issue) or deep_frozen(state.entries, receiver, amount.issue)
    return line is not None and not forbidden


def _room(state: State, receiver: str, amount: Amount) -> Decimal:
    """How much more the receiver is willing to hold."""
    if amount.issue.is_xrp or receiver == amount.issue.issuer:
        return BOUNDLESS
    line = line_of(state.entries, receiver, amount.issue)
    if line is None:
        return Decimal(0)
    limit = line.low_limit if line.low == receiver else line.high_limit
    return limit - held(line, receiver)


def _enough(transaction: dict[str, Any], amount: Amount, delivered: Decimal) -> bool:
    if not transaction.get("Flags", 0) & TF_PARTIAL:
        return delivered >= amount.value
    least = transaction.get("DeliverMin")
    return least is None or delivered >= read_amount(least).value
