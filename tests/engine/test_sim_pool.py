from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine_proc.market import AmmPool, Level
from engine_proc.sim_pool import base_until, swap, sweep

POOL = AmmPool(1_900_000.0, 1_900_000.0 * 1.305, 0.00267)
ASKS = (Level(1.306, 100.0), Level(1.309, 200.0), Level(1.313, 400.0))  # the pool's ask of 1.30849 lies between


def test_given_a_mainnet_sale_to_the_pool_when_swapped_then_quote_paid_matches_the_ledger():
    # Transaction 61A90642... of ledger 104552077 (XRPL.md A3).
    pool = AmmPool(1_902_973.249475, 2_489_679.162590297, 0.00267)

    price, after = swap(pool, "sell", 778.024929)

    assert price * 778.024929 == pytest.approx(1_014.76590051, rel=1e-6)
    assert after.base == pytest.approx(pool.base + 778.024929)
    assert after.quote == pytest.approx(pool.quote - 1_014.7659, abs=0.001)


def test_given_book_better_than_pool_when_bought_little_then_only_the_tip_is_hit():
    swept = sweep("buy", 60.0, 2.0, ASKS, POOL)

    assert [(p.price, p.size, p.pool_after) for p in swept.prints] == [(1.306, 60.0, None)]
    assert swept.levels == (Level(1.306, 40.0), *ASKS[1:])
    assert swept.pool is POOL


def test_given_pool_between_levels_when_bought_through_then_pool_is_taken_up_to_the_next_tip():
    swept = sweep("buy", 5_000.0, 1.311, ASKS, POOL)

    kinds = ["book" if p.pool_after is None else "pool" for p in swept.prints]
    assert kinds == ["book", "pool", "book", "pool"]
    assert swept.prints[1].pool_after.ask == pytest.approx(1.309)
    assert swept.pool.ask == pytest.approx(1.311)  # the limit, before the last level
    assert swept.levels == ASKS[2:]


def test_given_closed_pool_when_it_would_be_next_then_the_order_ends_there():
    swept = sweep("buy", 5_000.0, 2.0, ASKS, POOL, pool_open=False)

    assert [p.price for p in swept.prints] == [1.306]
    assert swept.pool is POOL


def test_given_empty_book_when_sold_then_the_pool_takes_it_all():
    swept = sweep("sell", 1_000.0, 1.0, (), POOL)

    assert [(p.taker_side, p.size) for p in swept.prints] == [("sell", 1_000.0)]
    assert POOL.bid * 0.999 < swept.prints[0].price < POOL.bid


def test_given_limit_inside_the_spread_when_swept_then_nothing_happens():
    assert sweep("buy", 1_000.0, 1.3055, ASKS, POOL).prints == []


pools = st.builds(
    AmmPool,
    st.floats(1e3, 1e9),
    st.floats(1e3, 1e9),
    st.sampled_from([0.0, 0.00001, 0.00267, 0.01]),
)


@settings(deadline=None)
@given(pool=pools, side=st.sampled_from(["buy", "sell"]), move=st.floats(1e-6, 0.5))
def test_given_any_pool_when_swapped_up_to_a_price_then_it_stands_at_that_price_and_k_has_not_fallen(pool, side, move):
    target = pool.ask * (1.0 + move) if side == "buy" else pool.bid / (1.0 + move)

    average, after = swap(pool, side, base_until(pool, side, target))

    assert (after.ask if side == "buy" else after.bid) == pytest.approx(target, rel=1e-8)
    low, high = sorted((pool.ask if side == "buy" else pool.bid, target))
    assert low * (1.0 - 1e-6) <= average <= high * (1.0 + 1e-6)
    assert after.base * after.quote >= pool.base * pool.quote * (1.0 - 1e-12)


@settings(deadline=None)
@given(pool=pools, side=st.sampled_from(["buy", "sell"]), back=st.floats(0.0, 0.5))
def test_given_a_price_the_pool_is_already_past_when_asked_then_nothing_is_to_be_taken(pool, side, back):
    behind = pool.ask / (1.0 + back + 1e-9) if side == "buy" else pool.bid * (1.0 + back + 1e-9)

    assert base_until(pool, side, behind) == 0.0


@settings(deadline=None)
@given(
    side=st.sampled_from(["buy", "sell"]),
    size=st.floats(0.0, 1e5),
    limit_bps=st.floats(-20.0, 300.0),
    rungs=st.lists(st.tuples(st.floats(0.1, 60.0), st.floats(0.001, 5_000.0)), max_size=6),
    pool_open=st.booleans(),
)
def test_given_any_order_when_swept_then_size_limit_and_book_are_respected(side, size, limit_bps, rungs, pool_open):
    sign = 1.0 if side == "buy" else -1.0
    price, levels = 1.305, []
    for step_bps, level_size in rungs:
        price *= 1.0 + sign * step_bps * 1e-4
        levels.append(Level(price, level_size))
    limit = 1.305 * (1.0 + sign * limit_bps * 1e-4)

    swept = sweep(side, size, limit, tuple(levels), POOL, pool_open=pool_open)

    book = [p for p in swept.prints if p.pool_after is None]
    assert sum(p.size for p in swept.prints) <= size + 1e-6
    assert all(sign * p.price <= sign * limit + 1e-6 for p in swept.prints)
    assert sum(level.size for level in levels) == pytest.approx(
        sum(p.size for p in book) + sum(level.size for level in swept.levels)
    )
    assert (
        swept.levels == tuple(levels)[len(levels) - len(swept.levels) :]
        or swept.levels[1:] == tuple(levels)[len(levels) - len(swept.levels) + 1 :]
    )
    edge = swept.pool.ask if side == "buy" else swept.pool.bid
    if swept.levels and swept.pool is not POOL:  # never pushed through what still rests on the book
        assert sign * edge <= sign * swept.levels[0].price * (1.0 + sign * 1e-6)
    if not pool_open:
        assert swept.pool is POOL
