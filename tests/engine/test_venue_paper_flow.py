"""Which public flow reaches a resting order of ours: queue and price priority, the pool, volume handed out once."""

from __future__ import annotations

import pytest

from tests.engine.paper_market import (
    POOL,
    PUBLIC_ASKS,
    PUBLIC_BIDS,
    bought,
    filled,
    fills,
    order,
    sold,
    sold_to_pool,
    venue_with,
    view,
    whole_drops,
)


class TestQueue:
    def test_given_size_before_us_at_our_price_when_flow_hits_that_price_then_the_queue_is_served_first(self) -> None:
        venue = venue_with(order("b1", "bid", "1.30300"))  # behind 1500

        assert fills(venue.reports(view(sold(1.303, 1000.0))), "b1") == []
        reports = venue.reports(view(sold(1.303, 620.0), sold(1.303, 10.0)))
        assert [fill.base for fill in fills(reports, "b1")] == [120, 10]

    def test_given_visible_size_at_our_price_falls_when_flow_comes_then_the_queue_is_no_longer_than_that(self) -> None:
        venue = venue_with(order("b1", "bid", "1.30300"))
        venue.reports(view(bids=((1.303, 40.0),)))
        venue.reports(view(bids=((1.303, 9000.0),)))  # who joins later stands behind us

        assert filled(venue.reports(view(sold(1.303, 100.0))), "b1") == 60

    def test_given_we_improve_the_touch_when_flow_hits_our_price_then_it_is_all_ours(self) -> None:
        venue = venue_with(order("a1", "ask", "1.30650"))

        assert filled(venue.reports(view(bought(1.3065, 70.0))), "a1") == 70

    def test_given_flow_at_a_better_price_than_ours_when_it_passes_then_it_does_not_reach_us(self) -> None:
        venue = venue_with(order("b1", "bid", "1.30200"), order("a1", "ask", "1.30800"))

        assert venue.reports(view(sold(1.303, 1e6), bought(1.307, 1e6))) == ()

    def test_given_flow_through_our_price_when_a_queue_was_before_us_then_we_are_filled_all_the_same(self) -> None:
        venue = venue_with(order("b1", "bid", "1.30300"))

        assert filled(venue.reports(view(sold(1.302, 60.0))), "b1") == 60

    def test_given_two_bids_of_ours_when_one_print_reaches_both_then_best_price_first_and_no_volume_twice(self) -> None:
        venue = venue_with(order("low", "bid", "1.30350"), order("high", "bid", "1.30400"))
        reports = venue.reports(view(sold(1.303, 250.0)))

        assert [(fill.order_id, fill.base) for fill in reports] == [("high", 200), ("low", 50)]

    def test_given_two_asks_at_one_price_when_flow_comes_then_the_older_first(self) -> None:
        venue = venue_with(order("z-older", "ask", "1.30600"), order("a-newer", "ask", "1.30600"))
        reports = venue.reports(view(bought(1.306, 250.0)))

        assert [(fill.order_id, fill.base) for fill in reports] == [("z-older", 200), ("a-newer", 50)]

    @pytest.mark.parametrize("age_ms", [0, 60_000])
    @pytest.mark.parametrize(
        ("bids", "asks"), [((), ()), ((), PUBLIC_ASKS), (((1.31, 5.0),), ((1.30, 5.0),)), (PUBLIC_BIDS, ())]
    )
    def test_given_a_view_of_any_status_when_it_carries_prints_then_they_are_processed(
        self, age_ms, bids, asks
    ) -> None:
        venue = venue_with(order("b1", "bid", "1.30400"))

        assert filled(venue.reports(view(sold(1.303, 60.0), bids=bids, asks=asks, age_ms=age_ms)), "b1") == 60


def sold_at_average(price: float) -> float:
    """What a seller gives the pool until the average of what it pays has come down to a price."""
    return POOL.quote / price - POOL.base / (1 - POOL.fee)


class TestPoolFlow:
    """Our quotes stand inside or outside the pool's 1.3015 / 1.3085."""

    def test_given_a_bid_above_the_pools_when_somebody_sells_to_the_pool_then_all_of_it_would_have_come_to_us(
        self,
    ) -> None:
        venue = venue_with(order("b1", "bid", "1.30300"), market=view(bids=()))

        assert filled(venue.reports(view(sold_to_pool(POOL, 90.0), bids=())), "b1") == 90

    def test_given_a_bid_below_the_pools_when_the_pool_is_pushed_past_it_then_only_the_part_beyond_us(self) -> None:
        venue = venue_with(order("b1", "bid", "1.30100", "2000.00"), market=view(bids=()))
        flow = sold_to_pool(POOL, 900.0)
        reports = venue.reports(view(flow, bids=()))

        before_us = whole_drops(sold_at_average(1.301))
        assert 0 < before_us < 900
        assert filled(reports, "b1") == 900 - before_us

    def test_given_a_bid_below_the_pools_when_the_pool_stays_above_it_then_nothing_reaches_us(self) -> None:
        venue = venue_with(order("b1", "bid", "1.30100"), market=view(bids=()))

        assert venue.reports(view(sold_to_pool(POOL, 100.0), bids=())) == ()

    def test_given_two_bids_when_one_pool_print_passes_both_then_its_volume_is_handed_out_once(self) -> None:
        venue = venue_with(
            order("high", "bid", "1.30300", "50.00"), order("low", "bid", "1.30140", "900.00"), market=view(bids=())
        )
        flow = sold_to_pool(POOL, 600.0)
        reports = venue.reports(view(flow, bids=()))

        assert filled(reports, "high") == 50
        assert filled(reports, "low") == 600 - whole_drops(sold_at_average(1.3014)) - 50
