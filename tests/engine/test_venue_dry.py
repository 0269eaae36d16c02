"""A dry run sends nothing, touches nothing and still answers everything."""

from __future__ import annotations

from decimal import Decimal
from functools import reduce

import pytest

from engine_proc.holdings import Holdings, Order, Outcome
from engine_proc.market import MarketView, Print, look
from engine_proc.ports import Plan
from engine_proc.venue_dry import DryVenue
from engine_proc.venue_paper import PaperVenue
from shared.settings import Paper
from tests.engine.venue_contract import remaining_at

SIZE = Decimal("200.00")


def order(order_id: str, replaces: str | None = None) -> Order:
    return Order(order_id, "bid", 0, Decimal("1.30400"), SIZE, SIZE, "pending", replaces)


def view(*prints: Print) -> MarketView:
    return look(ts_ns=0, ledger_index=1, bids=(), asks=(), amm=None, prints=prints, stale_after_ms=15_000)


@pytest.fixture
def inner() -> PaperVenue:
    """A venue where an order of an earlier session still rests."""
    venue = PaperVenue(Paper(), price_quantum=Decimal("0.00001"), size_quantum=Decimal("0.01"))
    venue.submit(Plan(place=(order("earlier"),)))
    venue.reports(view())
    return venue


def test_given_a_dry_run_when_orders_are_placed_then_each_is_rejected_free_of_charge_and_none_is_live(inner) -> None:
    before = inner.truth()
    venue = DryVenue(inner)
    held = Holdings.of(before.base, before.quote).once_sent([order("b1"), order("b2")], [])
    venue.submit(Plan(place=(order("b1"), order("b2"))))
    reports = venue.reports(view())

    assert reports == (
        Outcome("b1", "rejected", "DRY_RUN", Decimal(0)),
        Outcome("b2", "rejected", "DRY_RUN", Decimal(0)),
    )
    assert reduce(Holdings.after, reports, held) == Holdings.of(before.base, before.quote)
    assert inner.truth() == before
    assert venue.truth() == before._replace(orders={})


def test_given_a_resting_order_when_everything_is_cancelled_then_it_rests_untouched_and_says_so(inner) -> None:
    before = inner.truth()
    venue = DryVenue(inner)
    venue.submit(Plan(cancel=(order("earlier"),)))
    reports = (*venue.reports(view()), *venue.settle())

    assert reports == (Outcome("earlier", "accepted", "DRY_RUN", Decimal(0)),)
    assert inner.truth() == before
    assert inner.reports(view()) == inner.settle() == ()


def test_given_a_resting_order_when_replaced_then_the_new_one_is_rejected_and_the_old_one_rests(inner) -> None:
    before = inner.truth()
    venue = DryVenue(inner)
    venue.submit(Plan(replace=(order("b1", replaces="earlier"),)))

    assert venue.settle() == (Outcome("b1", "rejected", "DRY_RUN", Decimal(0)),)
    assert inner.truth() == before
    assert inner.reports(view()) == inner.settle() == ()


def test_given_answers_were_read_when_asked_again_then_they_are_not_repeated(inner) -> None:
    venue = DryVenue(inner)
    venue.submit(Plan(place=(order("b1"),), cancel=(order("earlier"),)))
    venue.reports(view())

    assert venue.reports(view()) == venue.settle() == ()


def test_given_an_order_at_the_inner_venue_when_it_is_filled_then_the_fill_passes_through(inner) -> None:
    venue = DryVenue(inner)
    venue.submit(Plan(place=(order("b1"),)))
    reports = venue.reports(view(Print("sell", 1.3, 50.0)))

    assert [report.order_id for report in reports] == ["b1", "earlier"]
    assert reports[1].base == 50
    assert remaining_at(inner) == {"earlier": SIZE - 50}


def test_given_orders_at_the_inner_venue_when_the_truth_is_asked_then_they_are_not_ours_but_named_once(
    inner, caplog
) -> None:
    venue = DryVenue(inner)
    assert [venue.truth().orders for _ in range(2)] == [{}, {}]
    assert [record.getMessage() for record in caplog.records] == [
        "dry run: 1 orders rest at the venue and stay there: earlier"
    ]
