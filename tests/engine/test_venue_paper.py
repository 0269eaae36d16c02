"""The paper venue: the contract, when orders take effect, and what they do on arrival."""

from __future__ import annotations

import pytest

from engine_proc.market import AmmPool
from engine_proc.ports import Plan
from engine_proc.venue_paper import PaperVenue
from shared.settings import Paper
from tests.engine.paper_market import POOL, QUANTA, PaperStage, filled, money, order, sold, venue_with, view
from tests.engine.venue_contract import VenueContract, fills, outcomes, remaining_at


@pytest.mark.parametrize("latency_ledgers", [0, 1, 3])
class TestPaperVenueKeepsTheContract(VenueContract):
    @pytest.fixture
    def stage(self, latency_ledgers: int) -> PaperStage:
        return PaperStage(latency_ledgers)


class TestLatency:
    def test_given_latency_1_when_a_quote_is_being_replaced_then_flow_still_meets_the_old_one(self) -> None:
        venue = venue_with(order("b1", "bid", "1.30400"))
        venue.submit(Plan(replace=(order("b2", "bid", "1.30100", replaces="b1"),)))
        reports = venue.reports(view(sold(1.30350, 50.0)))

        assert filled(reports, "b1") == 50
        assert [r.order_id for r in reports] == ["b1", "b1", "b2"]
        assert reports[0].price == money("1.30400")
        assert remaining_at(venue) == {"b2": money("200")}

    def test_given_latency_1_when_the_replaced_quote_was_filled_meanwhile_then_the_new_one_is_still_placed(
        self,
    ) -> None:
        venue = venue_with(order("b1", "bid", "1.30400"))
        venue.submit(Plan(replace=(order("b2", "bid", "1.30100", replaces="b1"),)))
        reports = venue.reports(view(sold(1.30350, 500.0)))

        assert filled(reports, "b1") == 200
        assert outcomes(reports, "b1") == []
        assert remaining_at(venue) == {"b2": money("200")}

    def test_given_latency_0_when_a_quote_is_replaced_then_flow_meets_the_new_one(self) -> None:
        venue = PaperVenue(Paper(latency_ledgers=0), **QUANTA)
        venue.reports(view())
        venue.submit(Plan(place=(order("b1", "bid", "1.30400"),)))
        venue.reports(view())
        venue.submit(Plan(replace=(order("b2", "bid", "1.30100", replaces="b1"),)))
        reports = venue.reports(view(sold(1.30350, 50.0)))

        assert fills(reports, "b1") == fills(reports, "b2") == []
        assert remaining_at(venue) == {"b2": money("200")}

    def test_given_latency_0_when_an_order_crosses_then_it_is_the_last_seen_book_that_it_takes(self) -> None:
        venue = PaperVenue(Paper(latency_ledgers=0), **QUANTA)
        venue.reports(view(asks=((1.306, 500.0),)))
        venue.submit(Plan(place=(order("b1", "bid", "1.31000"),)))
        reports = venue.reports(view(asks=((1.309, 500.0),)))

        assert [fill.price for fill in fills(reports, "b1")] == [money("1.306")]

    def test_given_latency_3_when_submitted_then_it_takes_effect_with_the_third_view(self) -> None:
        venue = PaperVenue(Paper(latency_ledgers=3), **QUANTA)
        venue.reports(view())
        venue.submit(Plan(place=(order("b1", "bid", "1.30400"),)))

        assert [len(venue.reports(view())) for _ in range(4)] == [0, 0, 1, 0]


class TestArrival:
    def test_given_an_order_through_two_levels_when_it_arrives_then_it_takes_at_their_prices_and_the_rest_rests(
        self,
    ) -> None:
        venue = PaperVenue(Paper(), **QUANTA)
        venue.submit(Plan(place=(order("b1", "bid", "1.30710", "200.00"),)))
        reports = venue.reports(view(asks=((1.3065, 30.0), (1.307, 40.0), (1.3075, 900.0))))

        assert outcomes(reports, "b1") == [("accepted", None)]
        assert [(f.liquidity, f.price, f.base, f.quote) for f in fills(reports, "b1")] == [
            ("taker", money("1.3065"), 30, money("39.195")),
            ("taker", money("1.307"), 40, money("52.28")),
        ]
        assert remaining_at(venue) == {"b1": money("130")}

    def test_given_two_orders_through_the_book_when_they_arrive_together_then_nothing_visible_is_taken_twice(
        self,
    ) -> None:
        venue = PaperVenue(Paper(), **QUANTA)
        venue.submit(Plan(place=(order("b1", "bid", "1.30700"), order("b2", "bid", "1.30700"))))
        reports = venue.reports(view(asks=((1.307, 250.0),)))

        assert (filled(reports, "b1"), filled(reports, "b2")) == (200, 50)

    def test_given_a_pool_better_than_the_book_when_a_bid_arrives_then_the_pool_to_the_tip_on_average_then_the_book(
        self,
    ) -> None:
        venue = PaperVenue(Paper(), **QUANTA)
        venue.submit(Plan(place=(order("b1", "bid", "1.31000", "1000.00"),)))
        reports = venue.reports(view(asks=((1.309, 5000.0),), amm=POOL))
        from_pool, from_book = fills(reports, "b1")

        assert float(from_pool.price) == pytest.approx(1.309, abs=1e-8)
        to_the_tip = POOL.base - POOL.quote / (1.309 * (1 - POOL.fee))
        assert float(from_pool.base) == pytest.approx(to_the_tip, abs=2e-6)
        assert (from_book.price, from_book.base) == (money("1.309"), 1000 - from_pool.base)

    def test_given_only_the_pool_when_an_ask_arrives_then_it_sells_until_the_average_price_is_its_limit(self) -> None:
        venue = PaperVenue(Paper(), **QUANTA)
        venue.submit(Plan(place=(order("a1", "ask", "1.30100", "5000.00"),)))
        reports = venue.reports(view(bids=(), amm=POOL))
        (fill,) = fills(reports, "a1")

        assert 0 < fill.base < 5000
        assert float(fill.price) == pytest.approx(1.301, rel=1e-9)
        assert fill.price >= money("1.30100")

    def test_given_the_mainnet_trade_when_an_ask_sells_to_that_pool_then_it_gets_what_the_ledger_paid(self) -> None:
        pool = AmmPool(1_902_973.249475, 2_489_679.162590297, 0.0026704)  # XRPL.md A3, tx 61A90642...
        venue = PaperVenue(Paper(), price_quantum=money("0.00001"), size_quantum=money("0.000001"))
        venue.submit(Plan(place=(order("a1", "ask", "1.00000", "778.024929"),)))
        (fill,) = fills(venue.reports(view(bids=(), asks=(), amm=pool)), "a1")

        assert float(fill.quote) == pytest.approx(1014.76590051, rel=1e-7)

    def test_given_a_bid_that_reaches_our_own_ask_when_it_arrives_then_that_is_deleted_whole_without_a_trade(
        self,
    ) -> None:
        venue = venue_with(order("a1", "ask", "1.30600"), order("a2", "ask", "1.30650"))
        venue.submit(Plan(place=(order("b1", "bid", "1.30600", "1.00"),)))
        reports = venue.reports(view())

        assert outcomes(reports, "a1") == [("cancelled", "own_cross")]
        assert fills(reports, "b1") == []
        assert remaining_at(venue) == {"a2": money("200"), "b1": money("1")}

    def test_given_our_own_ask_behind_public_ones_when_a_bid_is_filled_before_it_then_it_stays(self) -> None:
        venue = venue_with(order("a1", "ask", "1.30900"))
        venue.submit(Plan(place=(order("b1", "bid", "1.31000"),)))
        reports = venue.reports(view())

        assert filled(reports, "b1") == 200
        assert remaining_at(venue) == {"a1": money("200")}

    def test_given_a_replacement_that_reaches_the_order_it_replaces_when_applied_then_it_is_just_replaced(self) -> None:
        venue = venue_with(order("a1", "ask", "1.30600"))
        venue.submit(Plan(replace=(order("b1", "bid", "1.30650", replaces="a1"),)))

        assert outcomes(venue.reports(view()), "a1") == [("cancelled", "replaced")]


def test_given_orders_under_way_when_settled_then_they_take_effect_without_flow_and_are_reported() -> None:
    venue = venue_with(order("b1", "bid", "1.30000"), order("b2", "bid", "1.29900"))
    venue.submit(Plan(cancel=(order("b1", "bid", "1.30000"), order("b2", "bid", "1.29900"))))

    assert [(r.order_id, r.result) for r in venue.settle()] == [("b1", "cancelled"), ("b2", "cancelled")]
    assert venue.truth().orders == {}
    venue.close()
