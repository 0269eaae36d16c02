"""The position stays in its bounds whatever fills at once: what is wanted, replaced, or on its way out."""

from __future__ import annotations

import random

import pytest

from engine_proc.feed_sim import SimFeed
from engine_proc.market import Print
from shared.clock import MarketClock
from tests.engine.recorder import ONE_LEVEL, config, engine, view


def test_given_an_order_under_replacement_when_old_and_new_both_fill_then_the_position_stays_in_bounds() -> None:
    bounds = ("gate.position_base_max=10200", "gate.position_base_min=9800")
    plain = ("strategy.inventory.skew_bps_max=0", "strategy.volatility.widening=0")
    made, _ = engine(config("execution.paper.latency_ledgers=1", ONE_LEVEL, *bounds, *plain))
    # Given a bid of 200 that rests: exactly what the bound leaves; and a market that wants it replaced
    made.tick(view(1))
    made.tick(view(2))
    made.tick(view(3, mid=1.302))
    # When everybody sells, twice
    sweep = Print("sell", 1.2, 5000.0)
    made.tick(view(4, mid=1.302, prints=(sweep,)))
    made.tick(view(5, mid=1.302, prints=(sweep,)))
    assert 10_199 < made.holdings.base <= 10_200  # one bid filled, whole, and not the other; the rest is fees


@pytest.mark.parametrize("latency_ledgers", [0, 1, 3])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_given_tight_bounds_on_a_busy_market_then_no_tick_ever_holds_more_or_less(
    seed: int, latency_ledgers: int
) -> None:
    settings = config(
        f"execution.paper.latency_ledgers={latency_ledgers}", "gate.position_base_min=9300",
        "gate.position_base_max=10700", "strategy.anchor_saturation_guard.enabled=false", "market.sim.taker_rate=2",
        "strategy.inventory.skew_bps_max=0", "strategy.quote.half_spread_bps=3",
    )  # fmt: skip
    made, _ = engine(settings)
    feed = SimFeed(settings.market.sim, MarketClock(), random.Random(seed), stale_after_ms=15_000, min_touch_size=0.0)
    held = [made.tick(feed.next()).base_balance for _ in range(1500)]
    assert min(held) >= 9300 - 1  # the venue's fees are not the gate's
    assert max(held) <= 10700
    assert max(held) - min(held) > 700, "the bounds were never near"
