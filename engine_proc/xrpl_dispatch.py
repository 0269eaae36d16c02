"""From a plan to signed transactions, numbered in the order in which they must run, and out to the node.

Three facts of the ledger decide the order (XRPL.md A6, A7): transactions of one account run in the order of their
sequences; within a ledger those with tickets run after them, in ascending order; and a new offer that reaches one of
our own deletes that one whole. So a plan takes numbers of one kind, and what is in the way moves first.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

from engine_proc.holdings import Order, Outcome, Report
from engine_proc.ports import Plan
from engine_proc.xrpl_market import Pair
from engine_proc.xrpl_numbers import Number, next_number, tickets_wanted
from engine_proc.xrpl_offers import Header, Transaction, offer_cancel, offer_create, ticket_create
from engine_proc.xrpl_outcomes import NO_FEE, not_cancelled
from engine_proc.xrpl_ports import LEDGER_S, Link, NodeRefused, NodeUnreachable
from engine_proc.xrpl_standing import Standing
from engine_proc.xrpl_submissions import OpenOffer, Submission
from engine_proc.xrpl_wallet import Signer
from shared.settings import Xrpl

log = logging.getLogger(__name__)

NO_NUMBER = "NO_NUMBER"  # every sequence waits for a TicketCreate of ours
Kind = Literal["place", "replace", "cancel", "ticket"]


class Desk(NamedTuple):
    """What transactions are made of. `standing` is the account at the validated ledger that they are based on.

    `offers` and `under_way` are ours at that ledger: what rests, by number, and what has no end yet, by hash.
    `refusal` is why no new order may go, if so.
    """

    settings: Xrpl
    pair: Pair
    signer: Signer
    standing: Standing
    offers: Mapping[int, OpenOffer]
    under_way: Mapping[str, Submission]
    fee_drops: int
    refusal: str | None

    @property
    def last_ledger(self) -> int:
        """The last ledger that may hold what is signed now."""
        return self.standing.ledger.ledger_index + self.settings.last_ledger_offset

    @property
    def expiration(self) -> int:
        """When an offer placed now ends by itself, in seconds since 2000-01-01."""
        return self.standing.ledger.close_time + self.settings.expiration_ledgers * LEDGER_S


class Step(NamedTuple):
    """One transaction to be: an order to place, or one to take away."""

    kind: Kind
    order: Order


def in_order(plan: Plan, resting: Iterable[OpenOffer]) -> tuple[Step, ...]:
    """The plan in an order in which no new order of ours reaches one that still rests.

    What only goes, goes first. In a rising market the new bids may stand where the old asks are, so the asks move
    first; in a falling one it is the other way round. Both at once would need old or new quotes that cross themselves.
    """
    cancels = tuple(Step("cancel", order) for order in plan.cancel)
    going = {order.order_id for order in plan.cancel}
    asks = [offer.price for offer in resting if offer.side == "ask" and offer.order_id not in going]
    new = [Step("replace", order) for order in plan.replace] + [Step("place", order) for order in plan.place]
    bids = [step.order.price for step in new if step.order.side == "bid"]
    rising = bool(asks and bids) and max(bids) >= min(asks)
    new.sort(key=lambda step: (step.order.side == "bid") == rising)  # stable, so the rungs keep their order
    return cancels + tuple(new)


def sign(plan: Plan, desk: Desk) -> tuple[list[Submission], list[Report]]:
    """Every transaction of the plan, signed and in order, and what is said at once of the orders that have none.

    A fresh order takes along an expired offer that is still listed and locks a reserve. An order that cannot be placed
    is rejected; of a cancel that cannot be sent it is said that the order is as it was.
    """
    numbers = _numbers_by_order(desk)
    leaving = {submission.target for submission in desk.under_way.values()}
    dead = [number for number in desk.standing.dead_offers() if number not in leaving]
    signed: list[Submission] = []
    said: list[Report] = []
    steps = in_order(plan, desk.offers.values())
    for position, step in enumerate(steps):
        order = step.order
        target = numbers.get(order.order_id if step.kind == "cancel" else order.replaces or "")
        if step.kind == "cancel" and target is None:
            said.append(Outcome(order.order_id, "cancelled", "gone", NO_FEE))
        elif step.kind != "cancel" and desk.refusal is not None:
            said.append(declined(step, desk.refusal, desk.under_way))
        elif (number := _next_number(desk, signed, len(steps) - position)) is None:
            said.append(declined(step, NO_NUMBER, desk.under_way))
        elif step.kind == "cancel":
            assert target is not None
            signed.append(_signed(step.kind, order, target, None, offer_cancel(target, _header(number, desk)), desk))
        else:
            if target is None and dead:
                target = dead.pop()
            header, ends = _header(number, desk), desk.expiration
            transaction = offer_create(order, desk.pair, header, expiration=ends, replaces_number=target)
            signed.append(_signed(step.kind, order, target, ends, transaction, desk))
    signed += _tickets(desk, signed)
    return signed, said


def declined(step: Step, reason: str, under_way: Mapping[str, Submission]) -> Outcome:
    """An order that is not placed, or one that is as it was because its cancel cannot be sent."""
    if step.kind == "cancel":
        return not_cancelled(step.order.order_id, reason, under_way)
    return Outcome(step.order.order_id, "rejected", reason, NO_FEE)


def submit_all(link: Link, submissions: Sequence[Submission]) -> list[str | None]:
    """Hand transactions to the node, in this order; its provisional answer to each, None where there was none.

    They go out together: a node reads one connection in order, and a plan of many orders has to reach one ledger.
    """
    try:
        answers = link.request_all([{"command": "submit", "tx_blob": submission.blob} for submission in submissions])
    except NodeUnreachable as silence:
        log.warning("%d transactions without an answer (%s): they are submitted again", len(submissions), silence)
        return [None] * len(submissions)
    return [_engine_result(submission, answer) for submission, answer in zip(submissions, answers, strict=True)]


def _engine_result(submission: Submission, answer: dict[str, object] | NodeRefused) -> str | None:
    if isinstance(answer, NodeRefused):  # such as tooBusy: whether it was looked at is unknown
        log.warning("transaction %s was not taken: %s", submission.hash, answer)
        return None
    result = answer.get("engine_result")
    if not isinstance(result, str):
        log.warning("transaction %s: an answer without an engine_result", submission.hash)
        return None
    if not result.startswith("tes") and result != "tefALREADY":  # which says that it is where it should be
        log.info("transaction %s (%s): %s for now", submission.hash, submission.kind, result)
    return result


def _numbers_by_order(desk: Desk) -> dict[str, int]:
    """By which number the ledger knows our orders, those that are still on their way included."""
    numbers = {offer.order_id: number for number, offer in desk.offers.items()}
    for submission in desk.under_way.values():
        if submission.order is not None and submission.kind != "cancel":
            numbers[submission.order.order_id] = submission.number.value
    return numbers


def _next_number(desk: Desk, signed: Sequence[Submission], wanted: int) -> Number | None:
    """Tickets if there are enough for all that is wanted, else sequences; only if there are none, whatever there is.

    Behind a sequence that is under way come sequences: a cancel with a ticket would overtake the order it is for.
    """
    taken = [submission.number for submission in (*desk.under_way.values(), *signed)]
    busy = {number.value for number in taken}
    stock = [ticket for ticket in desk.standing.tickets if ticket not in busy]
    creating = next((submission.number for submission in desk.under_way.values() if submission.kind == "ticket"), None)
    behind = any(not number.ticket and number != creating for number in taken)
    sequence = desk.standing.account.sequence
    if len(stock) >= wanted and not behind:
        return next_number(sequence, taken, tickets=stock, ticket_create=creating)
    number = next_number(sequence, taken, ticket_create=creating)
    return number or next_number(sequence, taken, tickets=stock, ticket_create=creating)


def _tickets(desk: Desk, signed: Sequence[Submission]) -> list[Submission]:
    """A TicketCreate, last of the plan, when half of the stock is gone."""
    creating = any(submission.kind == "ticket" for submission in desk.under_way.values())
    if not desk.settings.tickets or creating or desk.refusal is not None:
        return []
    taken = [submission.number for submission in (*desk.under_way.values(), *signed)]
    count = tickets_wanted(desk.settings.tickets, desk.standing.tickets, taken)
    if not count:
        return []
    number = next_number(desk.standing.account.sequence, taken)
    assert number is not None, "only a TicketCreate under way leaves no sequence"
    return [_signed("ticket", None, None, None, ticket_create(count, _header(number, desk)), desk)]


def _header(number: Number, desk: Desk) -> Header:
    settings, account = desk.settings, desk.signer.account
    return Header(account, number, desk.fee_drops, desk.last_ledger, settings.network_id, settings.source_tag)


def _signed(
    kind: Kind, order: Order | None, target: int | None, expiration: int | None, transaction: Transaction, desk: Desk
) -> Submission:
    blob, hash_ = desk.signer.sign(transaction)
    ticket = transaction.get("TicketSequence")
    number = Number(transaction["Sequence"]) if ticket is None else Number(ticket, ticket=True)
    return Submission(
        hash_,
        kind,
        order,
        number,
        target,
        expiration,
        first_ledger=desk.standing.ledger.ledger_index,
        last_ledger=desk.last_ledger,
        fee_drops=desk.fee_drops,
        blob=blob,
    )
