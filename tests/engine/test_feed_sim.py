from __future__ import annotations

import math
import random
import statistics
from dataclasses import astuple
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine_proc.feed_sim import FIRST_LEDGER_INDEX, START_NS, SimFeed
from engine_proc.market import AmmPool, MarketView
from shared.clock import MarketClock
from shared.saturation import SaturationGuard, Thresholds
from shared.settings import AnchorSaturationGuard, Sim, SimPhase, Strategy

STALE_AFTER_MS = 15_000
EVERYTHING = [("calm", 60), ("drag", 90), ("calm", 30), ("flapping", 50), ("outage", 30), ("stale", 8), ("thin", 60)]
ANCHOR = Strategy().anchor


def feed_of(phases=(("calm", 1000),), seed=1, *, clock=None, min_touch_size=0.0, **values) -> SimFeed:
    scenario = tuple(SimPhase(kind=kind, ticks=ticks) for kind, ticks in phases)
    return SimFeed(
        Sim(scenario=scenario, **values),
        clock or MarketClock(),
        random.Random(seed),
        stale_after_ms=STALE_AFTER_MS,
        min_touch_size=min_touch_size,
    )


def run(ticks: int, *args, **values) -> list[MarketView]:
    feed = feed_of(*args, **values)
    views = [feed.next() for _ in range(ticks)]
    feed.close()
    return views


def run_phases(phases, **values) -> list[list[MarketView]]:
    feed = feed_of(phases, glitch_rate=0.0, **values)
    return [[feed.next() for _ in range(ticks)] for _, ticks in phases]


def spot_gap_bps(view: MarketView) -> float:
    return (view.mid - view.amm.spot) / view.amm.spot * 1e4


def anchor_error_bps(view: MarketView) -> float | None:
    """DESIGN.md section 2 with `mode: auto`, `reference: fee_band`: band point nearest to mid, clamped beyond the
    switch."""
    if view.mid is None:
        return None
    anchor = min(max(view.mid, view.amm.bid), view.amm.ask)
    if abs(spot_gap_bps(view)) > ANCHOR.switch_bps:
        cap = view.mid * ANCHOR.cap_bps * 1e-4
        anchor = min(max(anchor, view.mid - cap), view.mid + cap)
    return (anchor - view.mid) / view.mid * 1e4


def trip_tick(views: list[MarketView]) -> int | None:
    config = AnchorSaturationGuard()
    guard = SaturationGuard(
        Thresholds.of(
            lookback_ticks=config.lookback_ticks,
            bias_threshold_bps=config.bias_threshold_bps,
            prevalence_threshold_bps=config.prevalence_threshold_bps,
            prevalence_pct=config.prevalence_pct,
        )
    )
    return next((tick for tick, view in enumerate(views, 1) if guard.observe(anchor_error_bps(view))), None)


# --- the same settings and seed give the same market


def test_given_same_seed_when_two_feeds_run_then_views_are_equal_and_global_chance_is_untouched():
    before = random.getstate()

    one, two = (run(5_000, EVERYTHING, seed=7, glitch_rate=0.01) for _ in range(2))

    assert one == two
    assert random.getstate() == before


def test_given_another_seed_when_run_then_market_is_another():
    assert [view.mid for view in run(50, seed=1)] != [view.mid for view in run(50, seed=2)]


def test_given_a_market_clock_when_views_come_then_it_follows_them_ledger_by_ledger():
    clock = MarketClock()
    feed = feed_of(glitch_rate=0.0, clock=clock)
    last_ns = START_NS
    for ledger in range(1, 500):
        view = feed.next()
        assert view.ledger_index == FIRST_LEDGER_INDEX + ledger
        assert clock.now_ns() == view.ts_ns
        assert 3_400 <= (view.ts_ns - last_ns) / 1e6 <= 4_600
        last_ns = view.ts_ns


# --- phases


def test_given_calm_when_run_then_both_touches_move_nearly_every_tick_around_a_20_bps_spread():
    views = run(5_000, glitch_rate=0.0)

    assert {view.status for view in views} == {"OK"}
    moved = [a.clob_bid != b.clob_bid and a.clob_ask != b.clob_ask for a, b in pairwise(views)]
    assert sum(moved) >= 0.85 * len(moved)
    spreads_bps = [(view.clob_ask - view.clob_bid) / view.mid * 1e4 for view in views]
    assert 19.0 < statistics.median(spreads_bps) < 21.0


def test_given_calm_when_pool_follows_by_arbitrage_then_it_lags_inside_its_fee_band():
    gaps_bps = [spot_gap_bps(view) for view in run(5_000, glitch_rate=0.0)]

    assert statistics.quantiles(gaps_bps, n=100)[-1] < 35.0
    assert statistics.quantiles(gaps_bps, n=100)[0] > -35.0
    assert max(gaps_bps) > 20.0  # it does lag: the band is wandered through from edge to edge
    assert min(gaps_bps) < -20.0


@pytest.mark.parametrize("seed", range(60))
def test_given_calm_then_drag_when_guarded_at_defaults_then_trips_in_the_drag_and_never_before(seed):
    tripped = trip_tick(run(330 + 90, [("calm", 330), ("drag", 90)], seed))

    assert tripped is not None
    assert tripped > 330


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_given_20_000_calm_ticks_when_guarded_at_defaults_then_never_trips(seed):
    assert trip_tick(run(20_000, seed=seed)) is None


def test_given_drags_of_many_seeds_when_run_then_both_directions_occur():
    ends = [spot_gap_bps(run(450, [("calm", 330), ("drag", 120)], seed, glitch_rate=0.0)[-1]) for seed in range(20)]

    assert any(gap > 40 for gap in ends)
    assert any(gap < -40 for gap in ends)


def test_given_drag_when_it_has_set_in_then_pool_rests_book_is_wide_and_error_sits_at_the_cap():
    _, drag = run_phases([("calm", 330), ("drag", 260)])

    assert len({view.amm for view in drag}) == 1
    away = drag[60:]
    assert 38.0 < statistics.median([(view.clob_ask - view.clob_bid) / view.mid * 1e4 for view in away]) < 47.0
    assert 43.0 < statistics.median([abs(spot_gap_bps(view)) for view in away]) < 53.0
    at_cap = [abs(anchor_error_bps(view)) == pytest.approx(ANCHOR.cap_bps) for view in away]
    assert sum(at_cap) > 0.98 * len(at_cap)


def test_given_a_drag_when_it_ends_then_arbitrage_closes_the_gap_in_pieces():
    _, drag, recovery = run_phases([("calm", 330), ("drag", 120), ("calm", 60)])

    assert abs(spot_gap_bps(drag[-1])) > 40.0
    assert abs(spot_gap_bps(recovery[0])) > 33.0  # not at once
    assert max(abs(spot_gap_bps(view)) for view in recovery[20:]) < 36.0
    towards = "buy" if spot_gap_bps(drag[-1]) > 0 else "sell"
    pool_sides = {p.taker_side for view in recovery[:5] for p in view.prints if p.pool_after is not None}
    assert towards in pool_sides


@pytest.mark.parametrize("seed", range(10))
def test_given_flapping_when_it_has_set_in_then_auto_switch_flips_again_and_again(seed):
    _, flapping = run_phases([("calm", 100), ("flapping", 150)], seed=seed)

    beyond = [abs(spot_gap_bps(view)) > ANCHOR.switch_bps for view in flapping[40:]]
    assert sum(a != b for a, b in pairwise(beyond)) >= 10


def test_given_outage_when_run_then_asks_go_then_both_sides_then_both_return():
    _, outage, _ = run_phases([("calm", 20), ("outage", 50), ("calm", 5)])

    assert [view.status for view in outage] == ["ONE_SIDED"] * 20 + ["EMPTY"] * 15 + ["OK"] * 15
    assert all(view.bids and not view.asks for view in outage[:20])
    assert all(view.mid is None for view in outage[:35])


def test_given_stale_phase_when_run_then_one_ledger_repeats_and_ages_past_the_limit():
    calm, stale, after = run_phases([("calm", 20), ("stale", 10), ("calm", 5)])

    assert {(v.ledger_index, v.bids, v.asks, v.amm) for v in stale} == {
        (calm[-1].ledger_index, calm[-1].bids, calm[-1].asks, calm[-1].amm)
    }
    assert all(view.prints == () for view in stale)  # told once, on the ledger they happened
    assert [view.age_ms for view in stale] == [(view.ts_ns - calm[-1].ts_ns) // 1_000_000 for view in stale]
    assert [view.status for view in stale] == ["OK" if v.age_ms <= STALE_AFTER_MS else "STALE" for v in stale]
    assert stale[-1].status == "STALE"
    assert (after[0].status, after[0].age_ms) == ("OK", 0)
    assert after[0].ledger_index == calm[-1].ledger_index + 1


def test_given_thin_when_run_then_only_the_wide_maker_quotes_at_times_on_one_side():
    _, thin = run_phases([("calm", 20), ("thin", 400)])

    assert all(len(view.bids) <= 1 and len(view.asks) <= 1 for view in thin)
    counts = {status: sum(view.status == status for view in thin) for status in ("OK", "ONE_SIDED")}
    assert counts["OK"] > 250
    assert counts["ONE_SIDED"] > 5
    spreads_bps = [(view.clob_ask - view.clob_bid) / view.mid * 1e4 for view in thin if view.mid]
    assert 36.0 < statistics.median(spreads_bps) < 44.0


def test_given_a_scenario_when_its_last_phase_ends_then_the_first_begins_again():
    statuses = [view.status for view in run(60, [("calm", 5), ("outage", 10)], glitch_rate=0.0)]

    assert statuses == (["OK"] * 5 + ["ONE_SIDED"] * 4 + ["EMPTY"] * 3 + ["OK"] * 3) * 4


def test_given_glitches_when_run_then_each_kind_occurs_at_the_rate_and_lasts_one_tick():
    views = run(20_000, glitch_rate=0.02)

    bad = [view.status for view in views if view.status != "OK"]
    assert set(bad) == {"STALE", "ONE_SIDED", "CROSSED", "EMPTY"}
    assert 0.015 < len(bad) / len(views) < 0.025
    assert all(view.mid is None for view in views if view.status != "OK")
    stale = next(i for i, view in enumerate(views) if view.status == "STALE" and i)
    assert (views[stale].bids, views[stale].ledger_index) == (views[stale - 1].bids, views[stale - 1].ledger_index)


def test_given_no_glitches_and_calm_when_run_then_dust_at_the_top_moves_a_naive_mid_only():
    naive = run(3_000, glitch_rate=0.0)
    wary = run(3_000, glitch_rate=0.0, min_touch_size=20.0)

    dusty = [i for i, view in enumerate(naive) if view.clob_bid_size <= 15.0 or view.clob_ask_size <= 15.0]
    assert 0.02 < len(dusty) / len(naive) < 0.2
    assert all(min(naive[i].clob_bid_size, naive[i].clob_ask_size) > 0.0 for i in dusty)
    assert any(naive[i].mid != wary[i].mid for i in dusty)
    assert all(a.mid == b.mid for i, (a, b) in enumerate(zip(naive, wary, strict=True)) if i not in set(dusty))


# --- who gains from a fill


def maker_markouts_bps(views: list[MarketView], ticks: int = 8) -> list[float]:
    """What a maker of the book gained per print, at the mid some ticks later; negative is adverse selection."""
    return [
        (1.0 if p.taker_side == "buy" else -1.0) * (p.price - later.mid) / later.mid * 1e4
        for view, later in zip(views, views[ticks:], strict=False)
        for p in view.prints
        if p.pool_after is None
    ]


def assert_mean(sample: list[float], *, below: float = math.inf, above: float = -math.inf) -> None:
    """The mean lies beyond the bound by four standard errors: measured, not lucky."""
    margin = 4.0 * statistics.stdev(sample) / math.sqrt(len(sample))
    assert len(sample) > 1_000
    assert above < statistics.fmean(sample) - margin
    assert statistics.fmean(sample) + margin < below


def test_given_informed_takers_only_when_they_fill_makers_then_markouts_are_negative():
    assert_mean(maker_markouts_bps(run(15_000, glitch_rate=0.0, informed_share=1.0)), below=0.0)


def test_given_uninformed_takers_only_when_they_fill_makers_then_markouts_are_positive():
    assert_mean(maker_markouts_bps(run(8_000, glitch_rate=0.0, informed_share=0.0)), above=0.0)


# --- what holds on every view, whatever the seed and the settings


def assert_sound_view(view: MarketView) -> None:
    for field in (*view[2:3], *view[4:9], *(x for row in (*view.bids, *view.asks, astuple(view.amm)) for x in row)):
        assert field is None or math.isfinite(field)
    for side, sign in ((view.bids, -1.0), (view.asks, 1.0)):
        assert all(level.price > 0.0 and level.size > 0.0 for level in side)
        if view.status != "CROSSED":
            assert all(sign * a.price < sign * b.price for a, b in pairwise(side))
    if view.status != "CROSSED":
        assert not (view.bids and view.asks) or view.bids[0].price < view.asks[0].price
        assert all(level.price < view.amm.ask for level in view.bids)
        assert all(level.price > view.amm.bid for level in view.asks)


def assert_sound_prints(before: MarketView, view: MarketView) -> None:
    """What was printed rested on the book of the view before; the pool's prints lead from its pool to this one's."""
    resting = {"buy": dict(before.asks), "sell": dict(before.bids)}
    pool = before.amm
    for p in view.prints:
        assert p.size > 0.0
        if p.pool_after is None:
            resting[p.taker_side][p.price] -= p.size
            assert resting[p.taker_side][p.price] >= -1e-6
        else:
            after = p.pool_after
            assert after.base * after.quote >= pool.base * pool.quote * (1.0 - 1e-12)
            sign = 1.0 if p.taker_side == "buy" else -1.0
            assert pool.base - after.base == pytest.approx(sign * p.size, abs=1e-6)
            assert after.quote - pool.quote == pytest.approx(sign * p.size * p.price, abs=1e-4)
            pool = after
    assert view.amm == pool


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    volatility=st.sampled_from([0.0, 3.8, 40.0, 1000.0]),
    fee=st.sampled_from([0.0, 0.00267, 0.01]),
    takers=st.sampled_from([(0.0, 900.0), (0.6, 900.0), (5.0, 30_000.0)]),
    sizes=st.sampled_from([(1500.0, 1500.0, 2200.0, 3700.0, 7400.0), (10.0,)]),
    lead=st.sampled_from([1, 3, 20]),
)
def test_given_any_seed_and_market_when_run_then_every_view_and_print_is_sound(
    seed, volatility, fee, takers, sizes, lead
):
    views = run(
        400,
        EVERYTHING,
        seed,
        glitch_rate=0.05,
        fair_volatility_bps=volatility,
        pool_fee=fee,
        taker_rate=takers[0],
        taker_size=takers[1],
        maker_sizes=sizes,
        informed_lead_ticks=lead,
    )
    for view in views:
        assert_sound_view(view)
    for before, view in pairwise(views):
        assert_sound_prints(before, view)


def test_given_spot_at_the_band_edge_when_quoted_then_gap_never_exceeds_fee_and_half_spread():
    for view in run(3_000, EVERYTHING, 3, glitch_rate=0.0):
        if view.mid is not None:
            half_spread = (view.clob_ask - view.clob_bid) / 2.0
            assert view.amm.bid - half_spread <= view.mid <= view.amm.ask + half_spread


def test_given_the_first_view_when_shown_then_nothing_was_printed_before_it():
    first = run(1, glitch_rate=0.0)[0]

    assert first.prints == ()
    assert first.amm == AmmPool(1_900_000.0, 1_900_000.0 * 1.305, 0.00267)
