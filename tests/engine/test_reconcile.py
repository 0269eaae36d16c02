"""The venue's truth against ours: every anomaly, the tolerance at its tie, and what is nobody's truth yet."""

from __future__ import annotations

from decimal import Decimal

import pytest

from engine_proc.holdings import Holdings
from engine_proc.ports import OpenOrder, VenueTruth, VenueUnreachable
from engine_proc.reconcile import Difference, differences, orphan, taken_over, unreadable
from shared.settings import Reconcile
from tests.engine.views import holdings, order

SETTINGS = Reconcile.model_validate({"tolerance_base": "0.5", "tolerance_quote": "0.25"})


def found(held: Holdings, base: str = "100", quote: str = "200", **orders: str) -> tuple[Difference, ...]:
    there = {order_id: OpenOrder("bid", Decimal("1.3"), Decimal(left)) for order_id, left in orders.items()}
    return differences(held, VenueTruth(Decimal(base), Decimal(quote), there), SETTINGS, "XRP/RLUSD")


def held(*orders) -> Holdings:
    return holdings("100", "200", *orders)


def test_given_agreement_then_nothing() -> None:
    assert found(held(order("b", size="10")), b="10.00") == ()


@pytest.mark.parametrize("base", ["100.5", "99.5", "100.4999"])
def test_given_base_off_by_up_to_the_tolerance_then_nothing(base: str) -> None:
    assert found(held(), base) == ()


@pytest.mark.parametrize("base", ["100.500001", "99.499999"])
def test_given_base_beyond_the_tolerance_then_it_is_named(base: str) -> None:
    assert found(held(), base) == (Difference("BALANCE_BASE", "XRP", "100", base, Decimal("0.5")),)


@pytest.mark.parametrize(("quote", "named"), [("200.25", False), ("199.75", False), ("200.26", True), ("0", True)])
def test_given_quote_at_or_beyond_its_own_tolerance_then_named_or_not(quote: str, named: bool) -> None:
    expected = (Difference("BALANCE_QUOTE", "RLUSD", "200", quote, Decimal("0.25")),)
    assert found(held(), quote=quote) == (expected if named else ())


def test_given_an_order_the_venue_does_not_have_then_missing() -> None:
    assert found(held(order("b", size="10"))) == (Difference("ORDER_MISSING", "b", "10", None, None),)


def test_given_an_order_we_do_not_know_then_unknown() -> None:
    assert found(held(), x="5.50") == (Difference("ORDER_UNKNOWN", "x", None, "5.50", None),)


@pytest.mark.parametrize("left", ["9.999999", "10.000001", "0"])
def test_given_an_order_of_another_size_then_any_difference_is_too_much(left: str) -> None:
    assert found(held(order("b", size="10")), b=left) == (Difference("ORDER_SIZE", "b", "10", left, Decimal(0)),)


@pytest.mark.parametrize("state", ["pending", "cancelling"])
@pytest.mark.parametrize("orders", [{}, {"b": "10"}, {"b": "3"}], ids=["absent", "whole", "partly"])
def test_given_an_order_under_way_then_it_is_not_compared(state: str, orders: dict[str, str]) -> None:
    assert found(held(order("b", size="10", state=state)), **orders) == ()


def test_given_everything_wrong_at_once_then_everything_is_named_balances_first() -> None:
    tracked = held(order("gone"), order("cut", level=1), order("way", level=2, state="pending"))
    anomalies = [difference.anomaly for difference in found(tracked, "0", "0", cut="1", alien="2", way="3")]
    assert anomalies == ["BALANCE_BASE", "BALANCE_QUOTE", "ORDER_MISSING", "ORDER_SIZE", "ORDER_UNKNOWN"]


def test_given_tiny_and_huge_amounts_then_written_as_plain_decimals_never_with_an_exponent() -> None:
    off = found(holdings("1E+3", "200"), "0.00000012")
    assert (off[0].tracked, off[0].truth) == ("1000", "0.00000012")


def test_given_an_unreachable_venue_then_its_silence_is_a_difference_with_a_bounded_text() -> None:
    difference = unreadable(VenueUnreachable("x" * 900))
    assert difference == Difference("TRUTH_UNREADABLE", "venue", None, "x" * 500, None)


def test_given_orders_at_the_venue_when_taken_over_then_they_stand_on_the_ladder_best_price_first() -> None:
    prices = {"x": ("bid", "1.29"), "seq-7": ("ask", "1.33"), "y": ("bid", "1.30"), "ask0-12": ("ask", "1.32")}
    there = {key: OpenOrder(side, Decimal(price), Decimal(5)) for key, (side, price) in prices.items()}
    held = taken_over(VenueTruth(Decimal(100), Decimal(200), there))
    assert (held.base, held.quote) == (100, 200)
    assert {key: (o.side, o.level, o.state) for key, o in held.orders.items()} == {
        "y": ("bid", 0, "resting"), "x": ("bid", 1, "resting"),
        "ask0-12": ("ask", 0, "resting"), "seq-7": ("ask", 1, "resting"),
    }  # fmt: skip
    assert differences(held, VenueTruth(Decimal(100), Decimal(200), there), SETTINGS, "XRP/RLUSD") == ()
    assert orphan(held.orders["x"]) == Difference("ORDER_ORPHAN", "x", None, "5", None)
