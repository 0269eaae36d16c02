"""OfferCreate and OfferCancel of the double, rule by rule in the order in which the ledger checks them (XRPL.md A6)."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, NamedTuple

from tests.xrpl.ledger_amounts import (
    ZERO,
    Amount,
    Issue,
    ceiling,
    floor,
    nearest,
    over,
    product_up,
    rate_of,
    rate_value,
    read_amount,
    round_rate,
    times,
)
from tests.xrpl.ledger_funds import BOUNDLESS, PARITY, Fees, funds, globally_frozen, refusal_to_hold, transfer_rate
from tests.xrpl.ledger_state import Key, Offer, Root, State
from tests.xrpl.matching import Wish, fly

TF_PASSIVE = 0x0001_0000
TF_IMMEDIATE_OR_CANCEL = 0x0002_0000
TF_FILL_OR_KILL = 0x0004_0000
TF_SELL = 0x0008_0000
TF_UNIVERSAL = 0xC000_0000
LSF_PASSIVE = 0x0001_0000
LSF_SELL = 0x0002_0000
TICK_SIZE_MAX = 16
XRP_MAX_DROPS = Decimal(100_000_000_000_000_000)


class Scene(NamedTuple):
    """What a transaction finds: `fees`, the close time before, what its account had before it paid, its number."""

    fees: Fees
    parent_close_time: int
    ledger_index: int
    prior_balance_drops: int
    number: int  # its Sequence or TicketSequence
    fee_drops: int


class Outcome(NamedTuple):
    """A result code, and offers that a kill leaves deleted all the same."""

    result: str
    removable: tuple[Key, ...] = ()
    delivered: Amount | None = None


def malformed_offer(transaction: dict[str, Any]) -> str | None:
    """The tem code of an OfferCreate that no ledger takes."""
    flags = transaction.get("Flags", 0)
    gets, pays = read_amount(transaction["TakerGets"]), read_amount(transaction["TakerPays"])
    known = TF_PASSIVE | TF_IMMEDIATE_OR_CANCEL | TF_FILL_OR_KILL | TF_SELL | TF_UNIVERSAL
    both = TF_IMMEDIATE_OR_CANCEL | TF_FILL_OR_KILL
    checks = (
        (bool(flags & ~known) or flags & both == both, "temINVALID_FLAG"),
        (transaction.get("Expiration") == 0, "temBAD_EXPIRATION"),
        (transaction.get("OfferSequence") == 0, "temBAD_SEQUENCE"),
        (gets.issue.is_xrp and pays.issue.is_xrp, "temBAD_OFFER"),
        (gets.value <= 0 or pays.value <= 0, "temBAD_OFFER"),
        (gets.issue == pays.issue, "temREDUNDANT"),
        (any(issue.currency == "XRP" and not issue.is_xrp for issue in (gets.issue, pays.issue)), "temBAD_CURRENCY"),
    )
    return next((code for wrong, code in checks if wrong), None)


def create_offer(state: State, transaction: dict[str, Any], scene: Scene) -> Outcome:
    """Cross what can be crossed, place the rest. Whoever called takes everything back on a tec."""
    account, flags = transaction["Account"], transaction.get("Flags", 0)
    gets, pays = read_amount(transaction["TakerGets"]), read_amount(transaction["TakerPays"])
    refusal = _refused(state, transaction, gets, pays, scene)
    if refusal is not None:
        return Outcome(refusal)
    if "OfferSequence" in transaction:
        state.remove_offer(account, transaction["OfferSequence"])
    gets, pays = on_tick(gets, pays, _tick_size(state, gets.issue, pays.issue), sells=bool(flags & TF_SELL))
    if gets.value <= 0 or pays.value <= 0:
        return Outcome("tesSUCCESS")
    rate = rate_of(gets.value, pays.value)
    result, left_gets, left_pays, removable = _cross(state, account, flags, gets, pays, scene)
    if result != "tesSUCCESS" or left_gets <= 0 or left_pays <= 0:
        return Outcome(result, removable)
    crossed = (left_gets, left_pays) != (gets.value, pays.value)
    refusal = _not_resting(state, account, flags, scene, crossed=crossed)
    if refusal is not None:
        return Outcome(refusal, removable)
    shown = (LSF_PASSIVE if flags & TF_PASSIVE else 0) | (LSF_SELL if flags & TF_SELL else 0)
    expiration = transaction.get("Expiration")
    state.place(Offer(account, scene.number, left_gets, gets.issue, left_pays, pays.issue, rate, 0, expiration, shown))
    return Outcome("tesSUCCESS")


def _not_resting(state: State, account: str, flags: int, scene: Scene, *, crossed: bool) -> str | None:
    """The result if what is left of an offer does not come to rest."""
    if flags & TF_FILL_OR_KILL:
        return "tecKILLED"
    if flags & TF_IMMEDIATE_OR_CANCEL:
        return "tesSUCCESS" if crossed else "tecKILLED"
    if scene.prior_balance_drops < scene.fees.reserve(state.root(account).owner_count + 1):
        return "tesSUCCESS" if crossed else "tecINSUF_RESERVE_OFFER"
    return None


def cancel_offer(state: State, transaction: dict[str, Any], scene: Scene) -> Outcome:
    """Delete an offer of the account; that there is none is no error."""
    number = transaction["OfferSequence"]
    if number == 0 or number >= _next_number(state, transaction):
        return Outcome("temBAD_SEQUENCE")
    state.remove_offer(transaction["Account"], number)
    return Outcome("tesSUCCESS")


def _refused(state: State, transaction: dict[str, Any], gets: Amount, pays: Amount, scene: Scene) -> str | None:
    """The first reason why the offer cannot even be tried."""
    account = transaction["Account"]
    if any(not issue.is_xrp and globally_frozen(state.entries, issue) for issue in (gets.issue, pays.issue)):
        return "tecFROZEN"
    if funds(state.entries, account, gets.issue, scene.fees) <= 0:
        return "tecUNFUNDED_OFFER"
    if transaction.get("OfferSequence", 0) >= _next_number(state, transaction):
        return "temBAD_SEQUENCE"
    if "Expiration" in transaction and transaction["Expiration"] <= scene.parent_close_time:
        return "tecEXPIRED"
    return refusal_to_hold(state, account, pays.issue)


def _next_number(state: State, transaction: dict[str, Any]) -> int:
    """The account's Sequence before this transaction: what it replaces or cancels must be older."""
    sequence = state.root(transaction["Account"]).sequence
    return sequence if "TicketSequence" in transaction else sequence - 1


def _tick_size(state: State, *issues: Issue) -> int:
    """The coarsest tick that the issuers of two assets ask for, in digits."""
    roots = (state.entries.get(("account", issue.issuer)) for issue in issues)
    return min((root.tick_size for root in roots if isinstance(root, Root) and root.tick_size), default=TICK_SIZE_MAX)


def on_tick(gets: Amount, pays: Amount, digits: int, *, sells: bool) -> tuple[Amount, Amount]:
    """The amounts at a rate of so many digits, before anything is crossed. A sale keeps what it sells."""
    if digits >= TICK_SIZE_MAX:
        return gets, pays
    rate = rate_value(round_rate(rate_of(gets.value, pays.value), digits))
    if sells:
        return gets, pays._replace(value=nearest(times(gets.value, rate), pays.issue))
    return gets._replace(value=nearest(over(pays.value, rate), gets.issue)), pays


def _cross(
    state: State, account: str, flags: int, gets: Amount, pays: Amount, scene: Scene
) -> tuple[str, Decimal, Decimal, tuple[Key, ...]]:
    """Take what is on the other side: result, what is left to sell and to buy, offers to be removed even so."""
    start = funds(state.entries, account, gets.issue, scene.fees)
    if start <= 0:
        return "tecUNFUNDED_OFFER", gets.value, pays.value, ()
    sells = bool(flags & TF_SELL)
    free = gets.issue.is_xrp or account == gets.issue.issuer
    surcharge = PARITY if free else transfer_rate(state.entries, gets.issue)
    send_max = _with_surcharge(gets, surcharge)
    # A taker's rate is what it gives per what it gets; passive means that one step better is the worst it takes.
    threshold = rate_of(pays.value, send_max) - (1 if flags & TF_PASSIVE else 0)
    in_max = min(send_max, start)
    out_wanted = (XRP_MAX_DROPS if pays.issue.is_xrp else Decimal(5).scaleb(94)) if sells else pays.value
    wish = Wish(account, account, gets.issue, pays.issue, in_max, out_wanted, threshold, True, BOUNDLESS)
    mark = len(state.log)
    flown = fly(state, wish, scene.fees, scene.parent_close_time)
    short = in_max - flown.into > 0 if sells else pays.value - flown.out > 0
    if flags & TF_FILL_OR_KILL and short:
        state.rollback(mark)
        return "tecKILLED", gets.value, pays.value, flown.removable
    if flown.out == 0:
        state.rollback(mark)
        for _, owner, sequence in flown.removable:
            state.remove_offer(owner, sequence)
        return "tesSUCCESS", gets.value, pays.value, flown.removable
    if funds(state.entries, account, gets.issue, scene.fees) <= 0:
        return "tesSUCCESS", ZERO, ZERO, flown.removable
    rate = rate_value(rate_of(pays.value, gets.value))
    if sells:
        spent = flown.into
        if surcharge != PARITY:
            spent = ceiling(over(times(spent, Decimal(PARITY)), Decimal(surcharge)), gets.issue)
        left_gets = max(ZERO, nearest(gets.value - spent, gets.issue))
        return "tesSUCCESS", left_gets, floor(over(left_gets, rate), pays.issue), flown.removable
    left_pays = max(ZERO, nearest(pays.value - flown.out, pays.issue))
    return "tesSUCCESS", product_up(left_pays, rate, gets.issue, strict=False), left_pays, flown.removable


def _with_surcharge(gets: Amount, surcharge: int) -> Decimal:
    if surcharge == PARITY:
        return gets.value
    return ceiling(over(times(gets.value, Decimal(surcharge)), Decimal(PARITY)), gets.issue)
