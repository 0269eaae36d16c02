"""How the double applies one transaction: its number, its fee, what its type does, and the metadata of it (A7)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from tests.xrpl.ledger_accounts import create_tickets, set_account, set_trust
from tests.xrpl.ledger_amounts import show_amount
from tests.xrpl.ledger_funds import Fees
from tests.xrpl.ledger_liquidity import create_amm, deposit, withdraw
from tests.xrpl.ledger_metadata import affected_nodes
from tests.xrpl.ledger_offers import Outcome, Scene, cancel_offer, create_offer, malformed_offer
from tests.xrpl.ledger_payments import malformed_payment, pay
from tests.xrpl.ledger_state import Root, State, owners_of

NETWORK_ID_NAMED_FROM = 1025  # networks below leave their id out of transactions, the others insist on it
_EFFECTS: dict[str, Callable[[State, dict[str, Any], Scene], Outcome]] = {
    "AMMCreate": create_amm,
    "AMMDeposit": deposit,
    "AMMWithdraw": withdraw,
    "AccountSet": set_account,
    "OfferCancel": cancel_offer,
    "OfferCreate": create_offer,
    "Payment": pay,
    "TicketCreate": create_tickets,
    "TrustSet": set_trust,
}
_MALFORMED: dict[str, Callable[[dict[str, Any]], str | None]] = {
    "OfferCreate": malformed_offer,
    "Payment": malformed_payment,
}


class Moment(NamedTuple):
    """The ledger in which transactions are applied. `fee_drops` is what it asks for; 0 once they are in consensus."""

    network_id: int
    fees: Fees
    ledger_index: int
    parent_close_time: int
    fee_drops: int


class Applied(NamedTuple):
    """A result code; with metadata (without its index) and the accounts touched if it is in the ledger."""

    result: str
    meta: dict[str, Any] | None = None
    accounts: frozenset[str] = frozenset()


def apply_transaction(
    state: State, transaction: dict[str, Any], txid: str, moment: Moment, *, claim: bool = True
) -> Applied:
    """Apply a transaction whole, or for its fee alone (a tec), or not at all. `claim`: a tec may have its fee."""
    refusal = _malformed(transaction, moment.network_id) or _inapplicable(state, transaction, moment)
    if refusal is not None:
        return Applied(refusal)
    account = transaction["Account"]
    number = transaction.get("TicketSequence") or transaction["Sequence"]
    prior = state.root(account).balance_drops
    scene = Scene(moment.fees, moment.parent_close_time, moment.ledger_index, prior, number, int(transaction["Fee"]))
    mark = len(state.log)
    _charge(state, transaction)
    outcome = _EFFECTS[transaction["TransactionType"]](state, transaction, scene)
    if outcome.result != "tesSUCCESS":
        state.rollback(mark)
        if not outcome.result.startswith("tec") or not claim:
            return Applied(outcome.result)
        _charge(state, transaction)
        for _, owner, sequence in outcome.removable if outcome.result == "tecKILLED" else ():
            state.remove_offer(owner, sequence)
    meta: dict[str, Any] = {"AffectedNodes": affected_nodes(state, mark), "TransactionResult": outcome.result}
    if outcome.delivered is not None:
        meta["delivered_amount"] = show_amount(*outcome.delivered)
    accounts = _thread(state, mark, (txid, moment.ledger_index)) | {account}
    if "Destination" in transaction:
        accounts.add(transaction["Destination"])
    return Applied(outcome.result, meta, frozenset(accounts))


def _malformed(transaction: dict[str, Any], network_id: int) -> str | None:
    """The code of a transaction that cannot be in this network at all."""
    named, strict = transaction.get("NetworkID"), network_id >= NETWORK_ID_NAMED_FROM
    checks = (
        (named is not None and not strict, "telNETWORK_ID_MAKES_TX_NON_CANONICAL"),
        (named is None and strict, "telREQUIRES_NETWORK_ID"),
        (strict and named != network_id, "telWRONG_NETWORK"),
        (transaction["TransactionType"] not in _EFFECTS, "temDISABLED"),
        (not str(transaction.get("Fee", "")).isdigit(), "temBAD_FEE"),
        ("TicketSequence" in transaction and transaction.get("Sequence", 0) != 0, "temSEQ_AND_TICKET"),
    )
    check = _MALFORMED.get(transaction["TransactionType"], lambda _: None)
    return next((code for wrong, code in checks if wrong), None) or check(transaction)


def _inapplicable(state: State, transaction: dict[str, Any], moment: Moment) -> str | None:
    """The code of a transaction that cannot be applied now."""
    root = state.entries.get(("account", transaction["Account"]))
    if not isinstance(root, Root):
        return "terNO_ACCOUNT"
    if "TicketSequence" in transaction:
        ticket = transaction["TicketSequence"]
        if ("ticket", root.address, ticket) not in state.entries:
            return "terPRE_TICKET" if ticket >= root.sequence else "tefNO_TICKET"
    elif transaction["Sequence"] != root.sequence:
        return "terPRE_SEQ" if transaction["Sequence"] > root.sequence else "tefPAST_SEQ"
    if moment.ledger_index > transaction.get("LastLedgerSequence", moment.ledger_index):
        return "tefMAX_LEDGER"
    fee = int(transaction["Fee"])
    least = moment.fees.reserve_inc if transaction["TransactionType"] == "AMMCreate" else moment.fee_drops
    if moment.fee_drops and fee < least:
        return "telINSUF_FEE_P"
    return "terINSUF_FEE_B" if root.balance_drops < fee else None


def _charge(state: State, transaction: dict[str, Any]) -> None:
    """Take the fee and the number, which a tec takes as well."""
    account, ticket = transaction["Account"], transaction.get("TicketSequence")
    root = state.root(account)
    balance = root.balance_drops - int(transaction["Fee"])
    if ticket is None:
        state.change_root(account, balance_drops=balance, sequence=root.sequence + 1)
        return
    state.put(("ticket", account, ticket), None)
    state.change_root(
        account, balance_drops=balance, owner_count=root.owner_count - 1, ticket_count=root.ticket_count - 1
    )


def _thread(state: State, mark: int, thread: tuple[str, int]) -> set[str]:
    """Note in every changed entry who changed it; the accounts that this concerns."""
    accounts: set[str] = set()
    for key, before in state.changed(mark).items():
        after = state.entries.get(key)
        entry = after or before
        if entry is None or after == before:
            continue
        accounts.update((entry.address,) if isinstance(entry, Root) else owners_of(entry))
        if after is not None:
            state.put(key, after._replace(thread=thread))
    return accounts
