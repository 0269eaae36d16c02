"""What the engine is told of validated transactions, case by case, and what the submissions log keeps."""

from __future__ import annotations

from decimal import Decimal
from functools import reduce

from hypothesis import given
from hypothesis import strategies as st

from engine_proc.holdings import Fill, Holdings, Order, Outcome
from engine_proc.xrpl_effects import Effects, Hit, Placed, Removal
from engine_proc.xrpl_numbers import Number
from engine_proc.xrpl_outcomes import fading, landing, never_placed
from engine_proc.xrpl_reads import ListedOffer
from engine_proc.xrpl_submissions import OpenOffer, Submission

FEE = Decimal("0.00001")
PRICE, SIZE = Decimal("1.304"), Decimal(200)
NOTHING = Decimal(0)
CLOSED = 1_000  # close time of the last ledger, seconds since 2000-01-01
LAST = 50  # its index


def order(order_id: str = "bid0-1", side: str = "bid", replaces: str | None = None) -> Order:
    return Order(order_id, side, 0, PRICE, SIZE, SIZE, "pending", replaces)


def sent(kind: str = "place", of: Order | None = None, *, number: int = 7, target: int | None = None, last: int = 60):
    of = None if kind == "ticket" else of or order()
    return Submission(f"HASH{number}", kind, of, Number(number), target, CLOSED + 80, 40, last, 10, "00")


def resting(order_id: str = "bid0-1", side: str = "bid", expiration: int | None = CLOSED + 60) -> OpenOffer:
    return OpenOffer(order_id, side, 0, PRICE, SIZE, SIZE, expiration)


def effect(hash_: str = "OTHERS", **fields) -> Effects:
    """A transaction of somebody else's, unless it says otherwise."""
    ours = "number" in fields
    nothing = Effects(
        hash_, LAST, 0, "tesSUCCESS", "OfferCreate", ours, None, 10 if ours else 0, (), NOTHING, NOTHING, NOTHING,
        NOTHING, None, (), None, None, False,
    )  # fmt: skip
    return nothing._replace(**fields)


def land(*effects: Effects, pending=(), offers=None, listed=(), recorded=()):
    return landing(
        effects,
        {submission.hash: submission for submission in pending},
        offers or {},
        ledger_index=LAST,
        close_time=CLOSED,
        listed=listed,
        recorded=recorded,
    )


def placed(number: int = 7, remaining: Decimal = SIZE, side: str = "bid") -> Placed:
    return Placed(number, side, PRICE, remaining, CLOSED + 80)


# Our own transactions


def test_given_a_new_order_that_rests_when_landed_then_accepted_with_its_fee_and_open_under_its_number():
    landed = land(effect("HASH7", number=7, placed=placed()), pending=[sent()])

    assert landed.reports == (Outcome("bid0-1", "accepted", None, FEE),)
    assert landed.settled == ("HASH7",)
    assert landed.offers == {7: resting(expiration=CLOSED + 80)}


def test_given_a_new_order_filled_whole_on_arrival_when_landed_then_accepted_filled_and_never_open():
    taken = effect("HASH7", number=7, taker_base=SIZE, taker_quote=Decimal("-260.8"))
    landed = land(taken, pending=[sent()])

    assert [type(report) for report in landed.reports] == [Outcome, Fill]
    assert landed.reports[1][:5] == ("HASH7-taker", "bid0-1", "bid", "taker", PRICE)
    assert landed.offers == {}


def test_given_a_new_order_whose_rest_found_no_funds_when_landed_then_the_rest_is_cancelled():
    taken = effect("HASH7", number=7, taker_base=Decimal(50), taker_quote=Decimal("-65.2"))
    landed = land(taken, pending=[sent()])

    assert landed.reports[-1] == Outcome("bid0-1", "cancelled", "unfunded", NOTHING)
    assert landed.offers == {}


def test_given_a_failed_replacement_when_landed_then_rejected_with_its_fee_and_the_old_order_stays():
    replacing = sent("replace", order("bid0-2", replaces="bid0-1"), target=3)
    landed = land(effect("HASH7", number=7, result="tecUNFUNDED_OFFER"), pending=[replacing], offers={3: resting()})

    assert landed.reports == (Outcome("bid0-2", "rejected", "tecUNFUNDED_OFFER", FEE),)
    assert landed.offers == {}


def test_given_a_replacement_when_landed_then_the_old_order_is_reported_replaced_without_a_fee_of_its_own():
    replacing = sent("replace", order("bid0-2", replaces="bid0-1"), target=3)
    done = effect("HASH7", number=7, placed=placed(), removed=(Removal(3, "replaced"),))
    landed = land(done, pending=[replacing], offers={3: resting()})

    assert set(landed.reports) == {
        Outcome("bid0-2", "accepted", None, FEE),
        Outcome("bid0-1", "cancelled", "replaced", NOTHING),
    }
    assert landed.offers == {3: None, 7: resting("bid0-2", expiration=CLOSED + 80)}


def test_given_a_cancel_that_took_its_order_off_when_landed_then_cancelled_once_with_the_fee():
    done = effect("HASH7", number=7, removed=(Removal(3, "requested"),))
    landed = land(done, pending=[sent("cancel", order(), target=3)], offers={3: resting()})

    assert landed.reports == (Outcome("bid0-1", "cancelled", "requested", FEE),)
    assert landed.offers == {3: None}


def test_given_a_cancel_that_lost_to_a_fill_when_landed_then_the_fill_comes_first_and_the_fee_is_counted():
    hit = effect(maker=(Hit(3, "bid", SIZE, Decimal("260.8"), NOTHING, gone=True),))
    late = effect("HASH7", number=7)
    landed = land(hit, late, pending=[sent("cancel", order(), target=3)], offers={3: resting()})

    assert [type(report) for report in landed.reports] == [Fill, Outcome]
    assert landed.reports[1] == Outcome("bid0-1", "cancelled", "gone", FEE)


def test_given_a_cancel_that_overtook_its_order_when_landed_then_only_its_fee_is_certain():
    placing = sent(number=6)
    landed = land(effect("HASH7", number=7), pending=[placing, sent("cancel", order(), target=6)])

    assert landed.reports == (Outcome("tx#7", "accepted", None, FEE),)
    assert landed.settled == ("HASH7",)  # the order may still land, and is told then


def test_given_a_late_cancel_whose_number_another_order_got_when_landed_then_that_one_is_told_to_be_gone():
    done = effect("HASH9", number=9, removed=(Removal(7, "requested"),))
    landed = land(done, pending=[sent("cancel", order("bid0-1"), number=9, target=7)], offers={7: resting("bid0-2")})

    assert landed.reports == (
        Outcome("bid0-1", "cancelled", "requested", FEE),
        Outcome("bid0-2", "cancelled", "requested", NOTHING),
    )
    assert landed.offers == {7: None}


def test_given_a_transaction_of_another_signer_when_landed_then_its_fee_counts_and_its_offer_has_a_name():
    landed = land(effect("STRANGE", number=9, placed=placed(9)))

    assert landed.reports == (Outcome("tx#9", "accepted", None, FEE),)
    assert landed.offers[9].order_id == "offer#9"


def test_given_tickets_when_landed_then_the_fee_alone():
    landed = land(effect("HASH7", number=7), pending=[sent("ticket")])

    assert landed.reports == (Outcome("tx#7", "accepted", None, FEE),)


# Resting offers


def test_given_two_hits_on_one_offer_in_one_ledger_when_landed_then_two_fills_and_gone():
    first = effect("A", maker=(Hit(3, "bid", Decimal(80), Decimal("104.32"), Decimal(120), gone=False),))
    second = effect("B", maker=(Hit(3, "bid", Decimal(120), Decimal("156.48"), NOTHING, gone=True),))
    landed = land(first, second, offers={3: resting()})

    assert [(fill.trade_id, fill.base) for fill in landed.reports] == [("A-3", 80), ("B-3", 120)]
    assert landed.offers == {3: None}


def test_given_a_partial_hit_when_landed_then_what_remains_is_kept():
    hit = effect(maker=(Hit(3, "bid", Decimal(80), Decimal("104.32"), Decimal(120), gone=False),))

    assert land(hit, offers={3: resting()}).offers == {3: resting()._replace(remaining=Decimal(120))}


def test_given_a_hit_whose_rest_lost_its_funds_when_landed_then_the_fill_and_then_the_end():
    hit = Hit(3, "bid", Decimal(80), Decimal("104.32"), Decimal(120), gone=True)
    landed = land(effect(maker=(hit,), removed=(Removal(3, "unfunded"),)), offers={3: resting()})

    assert [type(report) for report in landed.reports] == [Fill, Outcome]
    assert landed.reports[1] == Outcome("bid0-1", "cancelled", "unfunded", NOTHING)


def test_given_a_fill_on_record_already_when_read_again_then_it_is_not_reported_but_the_offer_shrinks():
    hit = effect(maker=(Hit(3, "bid", Decimal(80), Decimal("104.32"), Decimal(120), gone=False),))
    landed = land(hit, offers={3: resting()}, recorded={"OTHERS-3"})

    assert landed.reports == ()
    assert landed.offers[3].remaining == 120


def test_given_an_order_that_lands_and_is_hit_in_one_stretch_when_landed_then_the_fill_has_its_name():
    landing_order = effect("HASH7", number=7, placed=placed())
    hit = effect("B", maker=(Hit(7, "bid", SIZE, Decimal("260.8"), NOTHING, gone=True),))
    landed = land(landing_order, hit, pending=[sent()])

    assert [getattr(report, "order_id", None) for report in landed.reports] == ["bid0-1", "bid0-1"]
    assert landed.offers == {}


def test_given_an_offer_that_we_have_no_name_for_when_hit_then_the_fill_is_told_all_the_same():
    hit = effect(maker=(Hit(3, "bid", Decimal(80), Decimal("104.32"), Decimal(120), gone=False),))

    assert land(hit).reports[0].order_id == "offer#3"


# What can no longer happen


def test_given_a_submission_past_its_last_ledger_when_not_found_then_it_is_over_and_its_replacement_undone():
    placing, cancelling = sent(last=49), sent("cancel", order("ask0-9", "ask"), number=8, target=2, last=49)
    landed = land(pending=[placing, cancelling])

    assert landed.reports == (
        Outcome("bid0-1", "rejected", "LAST_LEDGER_PASSED", NOTHING),
        Outcome("ask0-9", "accepted", "LAST_LEDGER_PASSED", NOTHING),
    )
    assert set(landed.settled) == {"HASH7", "HASH8"}


def test_given_a_submission_that_a_ledger_may_still_take_when_not_found_then_nothing_is_said():
    landed = land(pending=[sent(last=60)])

    assert (landed.reports, landed.settled) == ((), ())


def test_given_a_cancel_that_ends_before_its_order_has_landed_when_told_then_the_order_is_pending_and_not_resting():
    landed = land(pending=[sent(number=6), sent("cancel", order(), number=7, target=6, last=LAST - 1)])

    assert landed.reports == (Outcome("bid0-1", "pending", "LAST_LEDGER_PASSED", NOTHING),)
    assert landed.settled == ("HASH7",)


def test_given_the_close_time_at_an_expiration_when_landed_then_expired_and_not_a_second_before():
    landed = land(offers={3: resting(expiration=CLOSED), 4: resting("ask0-2", "ask", CLOSED + 1)})

    assert landed.reports == (Outcome("bid0-1", "expired", None, NOTHING),)
    assert landed.offers == {3: None}


def test_given_an_expired_offer_that_was_reported_when_swept_later_then_nothing_is_said_again():
    swept = effect("HASH7", number=7, placed=placed(), removed=(Removal(3, "replaced"),))

    assert land(swept, pending=[sent(target=3)]).reports == (Outcome("bid0-1", "accepted", None, FEE),)


def test_given_an_expired_offer_that_a_taker_found_first_when_landed_then_expired_is_the_word():
    found = effect(removed=(Removal(3, "unfunded"),))

    assert land(found, offers={3: resting(expiration=CLOSED - 5)}).reports == (
        Outcome("bid0-1", "expired", None, NOTHING),
    )


def test_given_offers_of_ours_without_a_name_when_landed_then_the_live_ones_get_one():
    live = ListedOffer(3, "ask", PRICE, SIZE, None)
    dead = ListedOffer(4, "ask", PRICE, SIZE, CLOSED)

    assert land(listed=[live, dead]).offers == {3: OpenOffer("offer#3", "ask", 0, PRICE, SIZE, SIZE, None)}


def test_given_offers_near_their_end_when_asked_then_those_fade_that_nothing_takes_off():
    offers = {
        1: resting("soon", expiration=CLOSED + 32),
        2: resting("later", expiration=CLOSED + 33),
        3: resting("leaving", expiration=CLOSED + 4),
        4: resting("never", expiration=None),
    }
    leaving = sent("cancel", order("leaving"), target=3)

    faded = fading(offers, {leaving.hash: leaving}, close_time=CLOSED, renew_s=32)
    assert [outcome.order_id for outcome in faded] == ["soon", "never"]


def test_given_tickets_that_never_were_when_told_then_there_is_no_order_to_speak_of():
    assert never_placed(sent("ticket"), "temMALFORMED", {}) == ()


# Whatever happens to an order, its holdings end as the ledger does


HITS = st.lists(st.integers(1, 200), max_size=6)


@given(HITS, st.sampled_from(["rests", "unfunded", "expired"]))
def test_given_any_hits_and_any_end_when_taken_in_then_holdings_have_exactly_what_is_open(hits, end):
    held = Holdings.of(Decimal(1000), Decimal(1000)).once_sent((order(),), ())
    left, steps = SIZE, [effect("HASH7", number=7, placed=placed())]
    for n, wanted in enumerate(hits):
        base = min(Decimal(wanted), left)
        if base:
            left -= base
            steps.append(effect(f"T{n}", maker=(Hit(7, "bid", base, base * PRICE, left, gone=not left),)))
    if end == "unfunded" and left:
        steps.append(effect("END", removed=(Removal(7, "unfunded"),)))
    landed = land(*steps, pending=[sent()._replace(expiration=CLOSED)])
    held = reduce(Holdings.after, landed.reports, held)

    open_there = {offer.order_id: offer.remaining for offer in landed.offers.values() if offer is not None}
    assert {order_id: there.remaining for order_id, there in held.orders.items()} == open_there
    assert held.base == 1000 + (SIZE - left) - FEE
    assert held.quote == 1000 - (SIZE - left) * PRICE
