"""In which order, and under which numbers, a plan goes out."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st
from xrpl.core.binarycodec import decode
from xrpl.wallet import Wallet

from engine_proc.holdings import Order
from engine_proc.ports import Plan
from engine_proc.xrpl_dispatch import Desk, in_order, sign
from engine_proc.xrpl_market import pair_of
from engine_proc.xrpl_numbers import Number
from engine_proc.xrpl_ports import ClosedLedger
from engine_proc.xrpl_reads import NO_TRANSFER_FEE, AccountState, Issuer, ListedOffer, TrustLine
from engine_proc.xrpl_standing import Standing
from engine_proc.xrpl_submissions import OpenOffer, Submission
from engine_proc.xrpl_wallet import Seed, Signer
from shared.settings import Xrpl

OURS, ISSUER = (Wallet.from_entropy(f"{number:032x}") for number in (1, 2))
SIGNER = Signer(Seed(OURS.seed), OURS.address)
PAIR = pair_of("XRP/USD", ISSUER.address)
CLOSED = 1_000
SIZE = Decimal(10)


def order(order_id: str, side: str = "bid", price: str = "1.3", replaces: str | None = None) -> Order:
    return Order(order_id, side, 0, Decimal(price), SIZE, SIZE, "pending", replaces)


def offer(order_id: str, side: str = "bid", price: str = "1.3") -> OpenOffer:
    return OpenOffer(order_id, side, 0, Decimal(price), SIZE, SIZE, CLOSED + 60)


def desk(*, offers=None, under_way=(), stock=(), refusal=None, listed=(), **settings) -> Desk:
    ledger = ClosedLedger(100, CLOSED, 0, 0, 10, 1_000_000, 200_000, "AB" * 32)
    line = TrustLine(Decimal(100), Decimal(10**9), frozen=False, deep_frozen=False, authorized=False)
    account = AccountState(100, 10**9, 3, 500, line, tuple(listed))
    issuer = Issuer(None, NO_TRANSFER_FEE, global_freeze=False, require_auth=False)
    standing = Standing(ledger, account, issuer, tuple(stock))
    pending = {submission.hash: submission for submission in under_way}
    return Desk(Xrpl(**settings), PAIR, SIGNER, standing, offers or {}, pending, 12, refusal)


def under_way(number: Number, kind: str = "place", of: Order | None = None, target: int | None = None) -> Submission:
    return Submission(f"H{number.value}", kind, of, number, target, None, 99, 104, 10, "00")


def names(steps) -> list[str]:
    return [step.order.order_id for step in steps]


# The order


def test_given_a_rising_market_when_ordered_then_the_asks_move_first():
    old = [offer("a1", "ask", "1.302"), offer("b1", "bid", "1.298")]
    plan = Plan(replace=(order("b2", "bid", "1.303", "b1"), order("a2", "ask", "1.307", "a1")))

    assert names(in_order(plan, old)) == ["a2", "b2"]


def test_given_a_falling_market_when_ordered_then_the_bids_move_first():
    old = [offer("a1", "ask", "1.302"), offer("b1", "bid", "1.298")]
    plan = Plan(replace=(order("a2", "ask", "1.297", "a1"), order("b2", "bid", "1.293", "b1")))

    assert names(in_order(plan, old)) == ["b2", "a2"]


def test_given_cancels_when_ordered_then_they_go_first_and_no_longer_stand_in_the_way():
    old = [offer("a1", "ask", "1.302")]
    plan = Plan(place=(order("a2", "ask", "1.31"), order("b1", "bid", "1.303")), cancel=(order("a1", "ask"),))

    assert names(in_order(plan, old)) == ["a1", "b1", "a2"]


CENTS = st.integers(100, 200)


@given(CENTS, CENTS, st.integers(1, 20), st.integers(1, 20), st.integers(1, 3))
def test_given_any_two_ladders_when_replaced_in_order_then_no_new_order_meets_an_old_one(
    old_mid, new_mid, old_half, new_half, levels
):
    def ladder(mid: int, half: int):
        for level in range(levels):
            yield "bid", level, Decimal(mid - half - level) / 100
            yield "ask", level, Decimal(mid + half + level) / 100

    standing = {
        f"{side}{level}": offer(f"{side}{level}", side, str(price)) for side, level, price in ladder(old_mid, old_half)
    }
    new = tuple(
        order(f"{side}{level}n", side, str(price), f"{side}{level}") for side, level, price in ladder(new_mid, new_half)
    )

    for step in in_order(Plan(replace=new), standing.values()):
        del standing[step.order.replaces]
        for there in standing.values():
            meets = step.order.price >= there.price if step.order.side == "bid" else step.order.price <= there.price
            assert there.side == step.order.side or not meets
        standing[step.order.order_id] = offer(step.order.order_id, step.order.side, str(step.order.price))


# Numbers and what they name


def test_given_a_plan_when_signed_then_sequences_follow_each_other_and_the_blob_says_what_the_log_says():
    plan = Plan(replace=(order("b2", replaces="b1"),), place=(order("a1", "ask", "1.4"),), cancel=(order("c1"),))
    signed, said = sign(plan, desk(offers={7: offer("b1"), 8: offer("c1")}))

    assert said == []
    assert [(s.kind, s.order.order_id, s.number, s.target) for s in signed] == [
        ("cancel", "c1", Number(500), 8),
        ("replace", "b2", Number(501), 7),
        ("place", "a1", Number(502), None),
    ]
    for submission in signed:
        transaction = decode(submission.blob)
        assert transaction["Sequence"] == submission.number.value
        assert transaction.get("OfferSequence") == submission.target
        assert transaction["LastLedgerSequence"] == submission.last_ledger == 104
        assert transaction["Fee"] == "12"
        assert transaction.get("Expiration") == submission.expiration
        assert (submission.first_ledger, submission.expiration) in ((100, CLOSED + 80), (100, None))


def test_given_sequences_under_way_when_signed_then_the_gap_is_closed_first():
    signed, _ = sign(Plan(place=(order("b1"), order("a1", "ask", "1.4"))), desk(under_way=[under_way(Number(501))]))

    assert [submission.number.value for submission in signed] == [500, 502]


def test_given_tickets_enough_when_signed_then_all_take_tickets_ascending():
    signed, _ = sign(Plan(place=(order("b1"), order("a1", "ask", "1.4"))), desk(stock=[31, 30, 29]))

    assert [submission.number for submission in signed] == [Number(29, ticket=True), Number(30, ticket=True)]


def test_given_fewer_tickets_than_orders_when_signed_then_no_ticket_comes_before_a_sequence():
    plan = Plan(place=tuple(order(f"b{n}", price=f"1.{n + 1}") for n in range(3)))
    signed, _ = sign(plan, desk(stock=[30, 31]))

    kinds = [submission.number.ticket for submission in signed]
    assert kinds == sorted(kinds)


def test_given_a_sequence_under_way_when_its_order_is_cancelled_then_the_cancel_stays_behind_it():
    placing = under_way(Number(500), of=order("b1"))
    signed, _ = sign(Plan(cancel=(order("b1"),)), desk(under_way=[placing], stock=[30, 31]))

    assert [(submission.number, submission.target) for submission in signed] == [(Number(501), 500)]


def test_given_a_low_stock_when_signed_then_tickets_are_made_last_of_all():
    signed, _ = sign(Plan(place=(order("b1"),)), desk(tickets=4))

    assert [(submission.kind, submission.number.value) for submission in signed] == [("place", 500), ("ticket", 501)]
    assert decode(signed[-1].blob)["TicketCount"] == 4


def test_given_a_ticket_create_under_way_and_no_ticket_when_signed_then_it_is_said_that_there_is_no_number():
    making = under_way(Number(500), "ticket")
    plan = Plan(place=(order("b1"),), cancel=(order("c1"),))
    signed, said = sign(plan, desk(offers={8: offer("c1")}, under_way=[making]))

    assert signed == []
    assert [(o.order_id, o.result, o.reason) for o in said] == [
        ("c1", "accepted", "NO_NUMBER"),
        ("b1", "rejected", "NO_NUMBER"),
    ]


# Refusals and the dead


def test_given_a_refusal_when_signed_then_cancels_go_and_new_orders_do_not():
    plan = Plan(replace=(order("b2", replaces="b1"),), place=(order("a1", "ask", "1.4"),), cancel=(order("c1"),))
    signed, said = sign(plan, desk(offers={7: offer("b1"), 8: offer("c1")}, refusal="FROZEN"))

    assert [submission.kind for submission in signed] == ["cancel"]
    assert [(o.order_id, o.result, o.reason) for o in said] == [
        ("b2", "rejected", "FROZEN"),
        ("a1", "rejected", "FROZEN"),
    ]


def test_given_a_cancel_of_an_order_that_is_gone_when_signed_then_it_costs_nothing():
    signed, said = sign(Plan(cancel=(order("b1"),)), desk())

    assert signed == []
    assert [(o.order_id, o.result, o.reason, o.fee_base) for o in said] == [("b1", "cancelled", "gone", 0)]


def test_given_expired_offers_that_are_listed_when_placing_then_each_fresh_order_takes_one_along():
    expired = [ListedOffer(number, "bid", Decimal(1), SIZE, CLOSED) for number in (21, 22, 23)]
    taken = under_way(Number(499), target=23)
    plan = Plan(replace=(order("b2", replaces="b1"),), place=(order("a1", "ask", "1.4"), order("a2", "ask", "1.5")))
    signed, _ = sign(plan, desk(offers={7: offer("b1")}, listed=expired, under_way=[taken]))

    assert {s.order.order_id: s.target for s in signed} == {"b2": 7, "a1": 22, "a2": 21}
