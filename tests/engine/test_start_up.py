"""Before the first quote: what the venue has of ours, from before this session."""

from __future__ import annotations

from decimal import Decimal

import pytest

from engine_proc.engine import Engine, SessionFacts
from engine_proc.holdings import Order
from engine_proc.modes import ModeState
from engine_proc.ports import Plan, VenueTruth, VenueUnreachable
from engine_proc.venue_paper import PaperVenue
from shared.clock import MarketClock
from shared.errors import KedgeError
from shared.records import FillRecord, InventoryTruth, ModeChanged, OrderEvent, ReconcilerAnomaly, SessionOpened
from tests.engine.recorder import TEN, GivenFeed, KeptRecords, config, engine, view

FACTS = SessionFacts("paper", "0" * 16, "{}", "test")
ADOPT = "execution.orphans=adopt"


def outlived(settings=None) -> PaperVenue:
    """A venue at which an engine has died while four orders rested."""
    dead, _ = engine(settings)
    dead.tick(view(1))
    dead.venue.settle()
    assert isinstance(dead.venue, PaperVenue)
    assert len(dead.venue.truth().orders) == 4
    return dead.venue


def events(records: KeptRecords, word: str) -> list[str | None]:
    return [event.order_id for event in records.of(OrderEvent) if event.event == word]


def test_given_orphans_when_a_session_opens_then_all_are_on_record_and_cancelled_before_the_first_quote() -> None:
    venue = outlived()
    left = list(venue.truth().orders)
    # When
    made, records = engine(venue=venue)
    # Then
    assert isinstance(records.records[0], SessionOpened)
    orphans = [record for record in records.of(ReconcilerAnomaly) if record.anomaly == "ORDER_ORPHAN"]
    assert sorted(record.subject for record in orphans) == sorted(left)
    assert sorted(events(records, "cancel_sent")) == sorted(events(records, "cancelled")) == sorted(left)
    assert venue.truth().orders == {}
    assert made.state == ModeState()
    # and it quotes with ids that nobody had before
    made.tick(view(2))
    venue.settle()
    assert len(venue.truth().orders) == 4
    assert not set(venue.truth().orders) & set(left)


def test_given_orphans_that_still_serve_when_adopted_then_they_keep_their_place_and_nothing_is_sent() -> None:
    settings = config(ADOPT)
    venue = outlived(settings)
    before = venue.truth()
    made, records = engine(settings, venue=venue)
    # When
    tick = made.tick(view(2))
    # Then
    assert len(records.of(ReconcilerAnomaly)) == 4
    assert (tick.orders_submitted, tick.orders_cancelled, tick.open_orders) == (0, 0, 4)
    assert venue.truth() == before


def test_given_adopted_orphans_when_the_price_has_moved_then_they_are_replaced_like_any_other() -> None:
    settings = config(ADOPT)
    venue = outlived(settings)
    made, _ = engine(settings, venue=venue)
    tick = made.tick(view(2, mid=1.31))
    assert tick.orders_submitted == 4
    assert len(venue.truth().orders) == 4
    made.tick(view(3, mid=1.31))
    assert {there.price > Decimal("1.3") for there in venue.truth().orders.values()} == {True}


def test_given_more_orphans_than_rungs_when_adopted_then_those_without_a_rung_go() -> None:
    venue = outlived()
    settings = config(ADOPT, "strategy.quote.levels=1")
    made, _ = engine(settings, venue=venue)
    made.tick(view(2))
    made.tick(view(3))
    sides = [there.side for there in venue.truth().orders.values()]
    assert sorted(sides) == ["ask", "bid"]


@pytest.mark.parametrize("mode", ["DEGRADED", "HALT"])
def test_given_a_session_that_may_not_quote_when_the_policy_is_to_adopt_then_orphans_are_cancelled(mode: str) -> None:
    settings = config(ADOPT)
    venue = outlived(settings)
    engine(settings, venue=venue, state=ModeState(mode, 1, "kept"))
    assert venue.truth().orders == {}


class Stubborn(PaperVenue):
    """A venue that cancels nothing."""

    def submit(self, plan: Plan) -> None:
        super().submit(plan._replace(cancel=()))


def test_given_orphans_that_will_not_go_when_a_session_opens_then_degraded_and_each_is_named() -> None:
    venue = outlived()
    venue.__class__ = Stubborn
    made, records = engine(venue=venue)
    assert made.state.mode == "DEGRADED"
    (change,) = records.of(ModeChanged)
    assert change.reason == f"orphans_not_cancelled: {', '.join(venue.truth().orders)}"
    assert made.tick(view(2)).orders_submitted == 0
    assert sorted(made.close_session("feed_ended")) == sorted(venue.truth().orders)


class Silent(PaperVenue):
    """A venue that cannot be asked."""

    def truth(self) -> VenueTruth:
        raise VenueUnreachable("no route")


def test_given_a_venue_that_does_not_answer_when_a_session_opens_then_on_record_and_no_tick_at_all() -> None:
    settings = config()
    venue = outlived(settings)
    venue.__class__ = Silent
    records = KeptRecords()
    made = Engine(settings, MarketClock(), GivenFeed(()), venue, records, ModeState())
    with pytest.raises(KedgeError, match=r"does not say what we own.*no route"):
        made.open_session(FACTS)
    (anomaly,) = records.of(ReconcilerAnomaly)
    assert (anomaly.anomaly, anomaly.tick) == ("TRUTH_UNREADABLE", 0)
    assert events(records, "submitted") == []


def test_given_no_orphans_when_a_session_opens_then_balances_are_the_venues_and_nothing_else_is_said() -> None:
    made, records = engine()
    assert (made.holdings.base, made.holdings.quote) == (Decimal(10_000), Decimal(13_000))
    assert len(records.records) == 1
    assert records.of(InventoryTruth) == []


def test_given_orders_under_way_when_the_engine_dies_then_the_next_session_finds_them_all_the_same() -> None:
    settings = config("execution.paper.latency_ledgers=2")
    dead, _ = engine(settings)
    dead.tick(view(1))
    assert dead.venue.truth().orders == {}  # sent, and not there yet
    # When
    made, records = engine(settings, venue=dead.venue)
    # Then
    assert len([record for record in records.of(ReconcilerAnomaly) if record.anomaly == "ORDER_ORPHAN"]) == 4
    assert made.venue.truth().orders == {}
    made.tick(view(2))
    made.tick(view(3))
    made.tick(view(4))
    assert len(made.venue.truth().orders) == 4


def test_given_an_order_that_was_filled_as_it_landed_when_a_session_opens_then_the_fill_is_on_record() -> None:
    # Given an order far through the market, under way when its engine dies
    venue = outlived(config("execution.paper.latency_ledgers=2"))
    venue.submit(Plan(place=(Order("bid0-77", "bid", 0, Decimal("1.32"), TEN, TEN, "pending"),)))
    before = venue.truth()
    # When
    made, records = engine(venue=venue)
    # Then
    (fill,) = records.of(FillRecord)
    assert (fill.tick, fill.order_id, Decimal(fill.base_amount)) == (0, "bid0-77", TEN)
    assert made.holdings.base > before.base + 9
    assert made.order_number >= 77
