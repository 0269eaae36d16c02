"""What validated ledgers made of our orders: from the effects of transactions to what the engine is told. Pure.

Nothing here is provisional: every report rests on the metadata of a validated transaction, or on the close time or
the index of a validated ledger, after which something can no longer happen (XRPL.md A6, A8, A9).
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal, NamedTuple

from engine_proc.holdings import Order, Outcome, Report
from engine_proc.xrpl_effects import Effects, fills_of
from engine_proc.xrpl_market import xrp_of
from engine_proc.xrpl_order_state import is_final
from engine_proc.xrpl_reads import ListedOffer
from engine_proc.xrpl_submissions import OpenOffer, Submission

log = logging.getLogger(__name__)

NO_FEE = Decimal(0)

_Result = Literal["accepted", "pending", "fading", "cancelled", "rejected", "expired"]


class Landing(NamedTuple):
    """What became of us over a stretch of ledgers: for the engine, and for the submissions log.

    `settled` are the hashes of submissions whose end is known now, `offers` what changed among our offers by number,
    None for one that is gone.
    """

    reports: tuple[Report, ...]
    settled: tuple[str, ...]
    offers: dict[int, OpenOffer | None]


def landing(
    effects: Iterable[Effects],
    pending: Mapping[str, Submission],
    offers: Mapping[int, OpenOffer],
    *,
    ledger_index: int,
    close_time: int,
    listed: Iterable[ListedOffer],
    recorded: Collection[str] = (),
) -> Landing:
    """Follow our orders through a stretch of ledgers without a hole, whose last one has this index and close time.

    `pending` and `offers` are what was true before it, `listed` are the account's offers in its last ledger. Fills
    whose trade id is `recorded` are on record already and are not reported again.
    """
    stretch = _Stretch(dict(pending), dict(offers), close_time, recorded)
    for effect in effects:
        _land(effect, stretch)
    _give_up(stretch, ledger_index)
    _expire(stretch)
    _adopt(stretch, listed)
    changed = {
        number: stretch.offers.get(number)
        for number in {*offers, *stretch.offers}
        if stretch.offers.get(number) != offers.get(number)
    }
    settled = tuple(pending.keys() - stretch.pending.keys())
    return Landing(tuple(stretch.reports), settled, changed)


def never_placed(submission: Submission, reason: str, pending: Mapping[str, Submission]) -> tuple[Report, ...]:
    """A submission that never was and never will be in a ledger; `pending` is what else is under way."""
    order = submission.order
    if order is None:
        return ()
    if submission.kind == "cancel":
        return (not_cancelled(order.order_id, reason, pending),)
    return (Outcome(order.order_id, "rejected", reason, NO_FEE),)


def not_cancelled(order_id: str, reason: str, pending: Mapping[str, Submission]) -> Outcome:
    """A cancel that comes to nothing leaves its order as it was: resting, or still on its way to the ledger."""
    on_its_way = any(
        submission.order is not None and submission.order.order_id == order_id and submission.kind != "cancel"
        for submission in pending.values()
    )
    return Outcome(order_id, "pending" if on_its_way else "accepted", reason, NO_FEE)


def fading(
    offers: Mapping[int, OpenOffer], pending: Mapping[str, Submission], *, close_time: int, renew_s: int
) -> tuple[Report, ...]:
    """Offers that will expire within `renew_s` and that nothing under way takes off. One that never expires counts.

    Said again every time, because a replacement that failed leaves its order resting, and as near its end as before.
    """
    leaving = {submission.target for submission in pending.values()}
    return tuple(
        Outcome(offer.order_id, "fading", None, NO_FEE)
        for number, offer in offers.items()
        if number not in leaving and (offer.expiration is None or offer.expiration - close_time <= renew_s)
    )


def name_of(number: int) -> str:
    """The order id of an offer of our account that we have no name for."""
    return f"offer#{number}"


@dataclass(slots=True)
class _Stretch:
    """What is known at some point within the stretch."""

    pending: dict[str, Submission]
    offers: dict[int, OpenOffer]
    close_time: int  # of its last ledger
    recorded: Collection[str]
    reports: list[Report] = field(default_factory=list)

    def say(self, order_id: str, result: _Result, reason: str | None, fee: Decimal = NO_FEE) -> None:
        self.reports.append(Outcome(order_id, result, reason, fee))


def _land(effect: Effects, stretch: _Stretch) -> None:
    """One validated transaction: what it was of ours, what it filled, what it took away."""
    submission = stretch.pending.pop(effect.hash, None)
    order = submission.order if submission is not None and submission.kind in ("place", "replace") else None
    if effect.funds_moved:
        log.warning("transaction %s moved funds of ours outside of our orders", effect.hash)
    if effect.ours:
        _own(effect, submission, stretch)

    def name(number: int) -> str | None:
        if order is not None and number == effect.number:
            return order.order_id
        offer = stretch.offers.get(number)
        return None if offer is None else offer.order_id

    fills = fills_of(effect, name)
    stretch.reports += [fill for fill in fills if fill.trade_id not in stretch.recorded]
    for hit in effect.maker:
        offer = stretch.offers.get(hit.number)
        if offer is not None:
            stretch.offers[hit.number] = offer._replace(remaining=hit.remaining)
    for removal in effect.removed:
        _remove(removal.number, removal.why, submission, stretch)
    for hit in effect.maker:
        if hit.gone:  # filled to its end: the fill says so
            stretch.offers.pop(hit.number, None)
    if order is not None and effect.result == "tesSUCCESS":
        taken = sum((fill.base for fill in fills if fill.liquidity == "taker"), Decimal(0))
        _rest(effect, order, order.size - taken, stretch)
    elif effect.placed is not None:
        there = effect.placed
        stretch.offers[there.number] = OpenOffer(
            name_of(there.number), there.side, 0, there.price, there.remaining, there.remaining, there.expiration
        )


def _own(effect: Effects, submission: Submission | None, stretch: _Stretch) -> None:
    """The outcome of a transaction of ours. Whatever its result, it is validated, so its fee is paid."""
    fee, succeeded = xrp_of(effect.fee_drops), effect.result == "tesSUCCESS"
    reason = None if succeeded else effect.result
    nameless = f"tx#{effect.number}"  # no order of the engine's: only the fee counts
    if submission is None:
        log.warning("transaction %s of our account was not sent from here: another signer?", effect.hash)
    if submission is None or submission.order is None:
        stretch.say(nameless, "accepted", reason, fee)
        return
    order_id = submission.order.order_id
    if submission.kind != "cancel":
        stretch.say(order_id, "accepted" if succeeded else "rejected", reason, fee)
    elif not succeeded:
        stretch.say(order_id, "accepted", reason, fee)
    elif any(removal.number == submission.target and removal.why == "requested" for removal in effect.removed):
        stretch.say(order_id, "cancelled", "requested", fee)
    elif any(other.number.value == submission.target for other in stretch.pending.values()):
        # The cancel overtook the order it was to take away, whose end is still open. Only the fee is certain.
        stretch.say(nameless, "accepted", reason, fee)
    else:
        stretch.say(order_id, "cancelled", "gone", fee)
        if submission.target is not None:
            stretch.offers.pop(submission.target, None)


def _remove(number: int, why: str, submission: Submission | None, stretch: _Stretch) -> None:
    """An offer went without being filled to its end. One that was reported gone before is not reported again."""
    offer = stretch.offers.pop(number, None)
    if offer is None:
        return
    cancelled = submission.order if submission is not None and why == "requested" else None
    if cancelled is not None and cancelled.order_id == offer.order_id:
        return  # the outcome of the cancel has said so
    # A number that was never used goes to another order of ours, and a late cancel of the first takes that one.
    ended = why in ("expired", "unfunded") and offer.expiration is not None and offer.expiration <= stretch.close_time
    if ended:
        stretch.say(offer.order_id, "expired", None)
    else:
        stretch.say(offer.order_id, "cancelled", why)


def _rest(effect: Effects, order: Order, left: Decimal, stretch: _Stretch) -> None:
    """What of a new order rests in the book now."""
    there = effect.placed
    if there is not None:
        stretch.offers[there.number] = OpenOffer(
            order.order_id, order.side, order.level, order.price, order.size, there.remaining, there.expiration
        )
    elif left > 0:  # funds or reserve ran out on the way, and the ledger drops the rest without a word (A6)
        stretch.say(order.order_id, "cancelled", "unfunded")


def _give_up(stretch: _Stretch, ledger_index: int) -> None:
    """Submissions that no ledger can take any more. The stretch has no hole, so they are in none of its ledgers."""
    for submission in tuple(stretch.pending.values()):
        if is_final(submission, ledger_index, found=False, continuous=True):
            del stretch.pending[submission.hash]
            stretch.reports += never_placed(submission, "LAST_LEDGER_PASSED", stretch.pending)


def _expire(stretch: _Stretch) -> None:
    """Offers that nobody can take any more: the next ledger's parent closes at or after their Expiration (A6).

    They stay listed until a transaction touches them.
    """
    for number, offer in tuple(stretch.offers.items()):
        if offer.expiration is not None and offer.expiration <= stretch.close_time:
            del stretch.offers[number]
            stretch.say(offer.order_id, "expired", None)


def _adopt(stretch: _Stretch, listed: Iterable[ListedOffer]) -> None:
    """Live offers of our account that we have no name for get one, so that they can be replaced and cancelled."""
    for there in listed:
        over = there.expiration is not None and there.expiration <= stretch.close_time
        if there.sequence not in stretch.offers and not over:
            left = there.remaining
            name = name_of(there.sequence)
            stretch.offers[there.sequence] = OpenOffer(name, there.side, 0, there.price, left, left, there.expiration)
            log.warning("an offer of our account has no name here: %s, %s of %s", name, there.side, f"{left:f}")
