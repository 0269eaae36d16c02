"""What the venue's reports make of balances and orders, to the last digit."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine_proc.holdings import Balances, Fill, Holdings, Outcome
from tests.engine.views import holdings, order

NO_FEE = Decimal(0)
FEE = Decimal("0.000012")


def fill(order_id: str, base: str, quote: str, side: str = "bid", price: str = "1.295") -> Fill:
    return Fill("t1", order_id, side, "maker", Decimal(price), Decimal(base), Decimal(quote))


def outcome(order_id: str, result: str, fee: Decimal = NO_FEE) -> Outcome:
    return Outcome(order_id, result, None, fee)


def state_of(held: Holdings, order_id: str) -> str | None:
    known = held.orders.get(order_id)
    return None if known is None else known.state


# ------------------------------------------------------------------------------------------------------- fills


def test_given_a_bid_when_partly_filled_then_base_comes_quote_goes_and_the_rest_remains() -> None:
    held = holdings("10", "100", order("b", size="100")).after(fill("b", "30.01", "38.86295"))
    assert (held.base, held.quote) == (Decimal("40.01"), Decimal("61.13705"))
    assert held.orders["b"] == order("b", size="100", remaining="69.99")


def test_given_an_ask_when_partly_filled_then_base_goes_and_quote_comes() -> None:
    held = holdings("10", "100", order("a", side="ask", size="8")).after(fill("a", "3", "3.9", "ask"))
    assert (held.base, held.quote) == (Decimal(7), Decimal("103.9"))
    assert held.orders["a"].remaining == 5


def test_given_an_order_when_filled_whole_in_two_then_it_is_gone() -> None:
    held = holdings("0", "200", order("b", size="100")).after(fill("b", "60", "77.7"), fill("b", "40", "51.8"))
    assert held == holdings("100", "70.5")


def test_given_an_order_on_its_way_out_when_filled_then_it_counts_and_stays_on_its_way_out() -> None:
    held = holdings("0", "200", order("b", size="100", state="cancelling")).after(fill("b", "60", "77.7"))
    assert (held.base, state_of(held, "b"), held.orders["b"].remaining) == (Decimal(60), "cancelling", Decimal(40))


def test_given_an_unknown_order_when_filled_then_balances_move_all_the_same() -> None:
    known = order("b")
    assert holdings("10", "10", known).after(fill("x", "1", "1.3")) == holdings("11", "8.7", known)


# ---------------------------------------------------------------------------------------------------- outcomes


def test_given_a_pending_order_when_accepted_then_it_rests_and_the_fee_is_paid() -> None:
    held = holdings("10", "10", order("b", state="pending")).after(outcome("b", "accepted", FEE))
    assert held == holdings("9.999988", "10", order("b"))


def test_given_an_order_on_its_way_whose_cancel_came_to_nothing_then_it_is_pending_as_before() -> None:
    held = holdings("10", "10", order("b", state="cancelling")).after(outcome("b", "pending"))
    assert held == holdings("10", "10", order("b", state="pending"))


@pytest.mark.parametrize("result", ["cancelled", "rejected", "expired"])
@pytest.mark.parametrize("state", ["pending", "resting", "cancelling"])
def test_given_an_order_when_it_ends_then_it_is_gone_and_the_fee_is_paid(result: str, state: str) -> None:
    held = holdings("10", "10", order("b", state=state)).after(outcome("b", result, FEE))
    assert held == holdings("9.999988", "10")


@pytest.mark.parametrize("result", ["accepted", "cancelled", "rejected", "expired"])
def test_given_an_unknown_order_when_anything_becomes_of_it_then_only_the_fee(result: str) -> None:
    known = order("b")
    assert holdings("10", "10", known).after(outcome("x", result, FEE)) == holdings("9.999988", "10", known)


def test_given_a_cancel_that_failed_when_the_venue_says_so_then_the_order_may_be_cancelled_again() -> None:
    held = holdings("10", "10", order("b", state="cancelling")).after(outcome("b", "accepted"))
    assert [known.order_id for known in held.live_orders()] == ["b"]


# ------------------------------------------------------------------------------------------------ replacements


def replaced() -> Holdings:
    old = order("old")
    return holdings("10", "10", old).once_sent([order("new", "1.296", state="pending", replaces="old")], [])


def test_given_a_replacement_when_sent_then_the_old_order_is_on_its_way_out_and_the_new_one_pending() -> None:
    held = replaced()
    assert (state_of(held, "old"), state_of(held, "new")) == ("cancelling", "pending")


def test_given_a_replacement_when_accepted_then_only_the_new_order_rests() -> None:
    held = replaced().after(outcome("old", "cancelled"), outcome("new", "accepted"))
    assert (state_of(held, "old"), state_of(held, "new")) == (None, "resting")


def test_given_a_replacement_when_rejected_then_the_old_order_rests_again_untouched() -> None:
    held = replaced().after(outcome("new", "rejected", FEE))
    assert held == holdings("9.999988", "10", order("old"))


def test_given_a_partly_filled_order_when_its_replacement_is_rejected_then_what_remained_rests() -> None:
    held = replaced().after(fill("old", "30", "3"), outcome("new", "rejected"))
    assert held.orders == {"old": order("old", remaining="70")}


def test_given_the_old_order_is_gone_when_its_replacement_is_rejected_then_nothing_rests() -> None:
    held = replaced().after(fill("old", "100", "9"), outcome("new", "rejected"))
    assert held.orders == {}


@pytest.mark.parametrize("result", ["cancelled", "expired"])
def test_given_a_replacement_that_ended_otherwise_then_the_old_order_does_not_come_back(result: str) -> None:
    held = replaced().after(outcome("old", "cancelled"), outcome("new", "accepted"), outcome("new", result))
    assert held.orders == {}


# ----------------------------------------------------------------------------------------- balances, sending, order


def test_given_the_venue_states_balances_then_they_replace_what_was_tracked_and_orders_stay() -> None:
    known = order("b")
    held = holdings("10", "10", known).after(fill("b", "1", "1"), Balances(Decimal(3), Decimal(4)))
    assert held == holdings("3", "4", order("b", remaining="99"))


def test_given_orders_when_sent_for_cancelling_then_no_longer_live_but_still_known() -> None:
    held = holdings("10", "10", order("a"), order("b"))
    sent = held.once_sent([], [order("a")])
    assert [known.order_id for known in sent.live_orders()] == ["b"]
    assert set(sent.orders) == {"a", "b"}


def test_given_holdings_when_reports_are_taken_in_then_the_old_holdings_are_as_they_were() -> None:
    held = holdings("10", "10", order("a"), order("b", state="pending"))
    before = (held.base, held.quote, dict(held.orders))
    held.after(fill("a", "1", "1"), outcome("b", "rejected", FEE))
    held.once_sent([order("c", state="pending", replaces="a")], [order("b")])
    assert held == Holdings(*before)


def test_given_no_reports_then_nothing_changes() -> None:
    held = holdings("10", "10", order("a"))
    assert held.after() == held


amounts = st.decimals("0.000001", "1000", places=6)
fills = st.lists(st.tuples(st.sampled_from(["bid", "ask"]), amounts, amounts, st.booleans()), max_size=12)


@given(rows=fills, cut=st.integers(0, 12))
def test_given_any_fills_then_balances_are_exact_sums_and_taking_them_in_parts_changes_nothing(
    rows: list[tuple[str, Decimal, Decimal, bool]], cut: int
) -> None:
    start = holdings("5000", "5000", order("known", size="1000"))
    reports = [
        Fill(f"t{n}", "known" if known else "unknown", side, "maker", Decimal(1), base, quote)
        for n, (side, base, quote, known) in enumerate(rows)
    ]
    held = start.after(*reports)
    assert held.base == 5000 + sum(base if side == "bid" else -base for side, base, _, _ in rows)
    assert held.quote == 5000 - sum(quote if side == "bid" else -quote for side, _, quote, _ in rows)
    assert held == start.after(*reports[:cut]).after(*reports[cut:])
    left = 1000 - sum(base for _, base, _, known in rows if known)
    assert "known" not in held.orders if left <= 0 else held.orders["known"].remaining == left
