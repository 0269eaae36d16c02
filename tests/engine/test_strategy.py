"""From view to quotes: this view's error and no other, skip reasons, a ladder that never takes and never narrows."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine_proc.holdings import Holdings
from engine_proc.market import AmmPool, MarketView
from engine_proc.strategy import Intent, Proposal, Strategy
from shared.settings import Strategy as StrategySettings
from tests.engine.views import around, holdings, market, pool

AT_TARGET = holdings("10000")


def strategy(*, anchor: dict | None = None, quote: dict | None = None, **sections: dict) -> Strategy:
    """Clob anchor, one rung, no skew, no widening; each test adds the part it is about."""
    sections.setdefault("inventory", {"skew_bps_max": 0.0})
    sections.setdefault("volatility", {"widening": 0.0})
    plain = {"anchor": {"mode": "clob", **(anchor or {})}, "quote": {"levels": 1, **(quote or {})}}
    return Strategy(StrategySettings.model_validate({**plain, **sections}))


def proposed(view: MarketView, held: Holdings = AT_TARGET, **sections: dict) -> Proposal:
    return strategy(**sections).calculate_quote(view, held)


def side(proposal: Proposal, name: str) -> list[Intent]:
    return [intent for intent in proposal.intents if intent.side == name]


# ------------------------------------------------------------------------------------------- one value, one source


def test_given_views_in_a_row_then_the_error_is_always_this_views_and_none_when_it_has_none() -> None:
    quoting = strategy(anchor={"mode": "amm", "reference": "spot"})
    assert quoting.last_anchor_divergence_bps is None
    seen = []
    for spot in (1.25, None, 0.75, 1.0, None):
        amm = None if spot is None else pool(spot)
        proposal = quoting.calculate_quote(around(1.0, 0.125, amm=amm), AT_TARGET)
        assert quoting.last_anchor_divergence_bps == proposal.anchor.error_bps
        seen.append(quoting.last_anchor_divergence_bps)
    assert seen == [2500.0, None, -2500.0, 0.0, None]


@pytest.mark.parametrize(
    ("view", "reason"),
    [
        (market(None, 1.31), "MARKET_ONE_SIDED"),
        (market(1.29, None), "MARKET_ONE_SIDED"),
        (market(None, None), "MARKET_EMPTY"),
        (market(1.31, 1.29), "MARKET_CROSSED"),
        (market(age_ms=15_001), "MARKET_STALE"),
        (market(), "ANCHOR_NO_POOL"),
    ],
)
def test_given_no_anchor_then_no_intents_and_the_reason_has_a_name(view: MarketView, reason: str) -> None:
    proposal = proposed(view, anchor={"mode": "amm"})
    assert (proposal.skip_reason, proposal.intents, proposal.inventory_skew) == (reason, (), None)


def test_given_an_anchor_then_no_skip_reason_and_both_sides() -> None:
    proposal = proposed(around(1.0, 0.125))
    assert proposal.skip_reason is None
    assert [intent.side for intent in proposal.intents] == ["bid", "ask"]


# ------------------------------------------------------------------------------------------------------ the ladder


def test_given_plain_numbers_then_the_ladder_is_the_formula() -> None:
    # Given anchor 1.0, half spread 100.05 bps, steps of 50 bps, sizes growing by half
    quote = {"half_spread_bps": 100.05, "levels": 3, "level_step_bps": 50.0, "size_base": "100", "size_growth": 1.5}
    proposal = proposed(around(1.0, 0.125), quote=quote)
    # Then bids fall, asks rise, sizes grow, each price rounded away from the anchor
    assert [(str(i.price), str(i.size)) for i in side(proposal, "bid")] == [
        ("0.98999", "100.00"), ("0.98499", "150.00"), ("0.97999", "225.00"),
    ]  # fmt: skip
    assert [str(i.price) for i in side(proposal, "ask")] == ["1.01001", "1.01501", "1.02001"]
    assert [i.level for i in side(proposal, "ask")] == [0, 1, 2]


def test_given_prices_off_the_grid_then_bids_round_down_and_asks_up() -> None:
    bid, ask = proposed(around(1.0, 0.125), quote={"half_spread_bps": 3.33, "price_quantum": "0.01"}).intents
    assert (bid.price, ask.price) == (Decimal("0.99"), Decimal("1.01"))


def test_given_sizes_off_the_grid_then_rounded_down() -> None:
    quote = {"levels": 2, "size_base": "10.19", "size_growth": 1.5, "size_quantum": "0.1"}
    proposal = proposed(around(1.0, 0.125), quote=quote)
    assert [i.size for i in side(proposal, "bid")] == [Decimal("10.1"), Decimal("15.2")]


@pytest.mark.parametrize("amm", [None, pool(1.0, fee=0.01)], ids=["book", "pool_behind_book"])
def test_given_an_anchor_far_above_the_book_then_the_bid_stays_a_quantum_behind_the_best_ask(amm) -> None:
    view = around(1.0, 2.0**-10, amm=amm)
    quoting = Strategy(StrategySettings.model_validate({"quote": {"half_spread_bps": 0.01, "levels": 1}}))
    bid = quoting._ladder(view, 1.25, 0.01)[0]
    assert bid.price == Decimal("1.00097")  # the ask is 1.0009765625


def test_given_a_pool_inside_the_book_then_its_fee_inclusive_prices_bound_the_quotes() -> None:
    amm = pool(1.0, fee=2.0**-6)  # sells at 1.0159, buys at 0.9844; the book stands at 0.875 and 1.125
    for spot_far in (1.1, 0.9):
        quoting = strategy(quote={"half_spread_bps": 1.0})
        bid, ask = quoting._ladder(around(1.0, 0.125, amm=amm), spot_far, 1.0)
        assert float(bid.price) < amm.ask
        assert float(ask.price) > amm.bid
    assert bid.price < ask.price


@pytest.mark.parametrize("ticks", range(129_200, 129_300))
def test_given_a_touch_on_our_grid_then_we_never_stand_on_it(ticks: int) -> None:
    # Floats cannot hold most multiples of 0.00001; half of these touches fall just below theirs.
    touch = Decimal(ticks) * Decimal("0.00001")
    view = market(float(touch), float(touch) + 0.00001)
    quoting = strategy(quote={"half_spread_bps": 0.001})
    assert quoting._ladder(view, 1.0, 0.001)[1].price == touch + Decimal("0.00001")
    view = market(float(touch) - 0.00001, float(touch))
    assert quoting._ladder(view, 2.0, 0.001)[0].price == touch - Decimal("0.00001")


def test_given_clamped_first_rung_then_the_next_rungs_still_stand_apart() -> None:
    quoting = strategy(quote={"half_spread_bps": 0.01, "levels": 4, "level_step_bps": 0.01})
    ladder = quoting._ladder(around(1.0, 2.0**-10), 1.5, 0.01)
    bids = [intent.price for intent in ladder if intent.side == "bid"]
    assert bids == [Decimal("1.00097"), Decimal("1.00096"), Decimal("1.00095"), Decimal("1.00094")]


def test_given_steps_that_leave_no_positive_price_then_those_bids_are_left_out() -> None:
    quote = {"half_spread_bps": 6_000.0, "levels": 3, "level_step_bps": 5_000.0}
    proposal = proposed(around(1.0, 0.125), quote=quote)
    assert [i.level for i in side(proposal, "bid")] == [0]
    assert [i.level for i in side(proposal, "ask")] == [0, 1, 2]


# ---------------------------------------------------------------------------------------------- skew and widening


@pytest.mark.parametrize(
    ("base", "skew"),
    [("10000", 0.0), ("12500", 0.5), ("15000", 1.0), ("99999", 1.0), ("7500", -0.5), ("5000", -1.0), ("0", -1.0)],
)
def test_given_inventory_off_target_then_skew_is_its_share_of_the_band_clamped(base: str, skew: float) -> None:
    inventory = {"target_base": 10_000, "band_base": 5_000, "skew_bps_max": 10.0}
    assert proposed(around(1.0, 0.125), holdings(base), inventory=inventory).inventory_skew == skew


def test_given_too_much_base_then_both_quotes_lean_down_and_given_too_little_up() -> None:
    inventory = {"target_base": 10_000, "band_base": 5_000, "skew_bps_max": 10.0}
    level = proposed(around(1.0, 0.125), holdings("10000"), inventory=inventory).intents
    heavy = proposed(around(1.0, 0.125), holdings("15000"), inventory=inventory).intents
    light = proposed(around(1.0, 0.125), holdings("5000"), inventory=inventory).intents
    for low, middle, high in zip(heavy, level, light, strict=True):
        assert low.price < middle.price < high.price
        assert float(high.price - low.price) == pytest.approx(2 * 10 / 1e4, abs=2.1e-5)


def test_given_skew_then_the_anchor_and_its_error_do_not_know_of_it() -> None:
    quoting = strategy(inventory={"skew_bps_max": 10.0})
    assert quoting.calculate_quote(around(1.0, 0.125), holdings("99999")).anchor.price == 1.0
    assert quoting.last_anchor_divergence_bps == 0.0


def test_given_moves_then_the_quote_widens_by_its_share_of_volatility() -> None:
    quoting = strategy(volatility={"widening": 0.5}, quote={"half_spread_bps": 10.0})
    quoting.calculate_quote(around(1.0, 0.125), AT_TARGET)
    calm = quoting.calculate_quote(around(1.0, 0.125), AT_TARGET)
    assert (calm.volatility_bps, calm.intents[1].price) == (0.0, Decimal("1.00100"))
    wild = strategy(volatility={"widening": 0.5}, quote={"half_spread_bps": 10.0})
    wild.calculate_quote(around(1.25, 0.125), AT_TARGET)
    moved = wild.calculate_quote(around(1.0, 0.125), AT_TARGET)
    assert moved.volatility_bps == 2000.0
    assert moved.intents[1].price == Decimal("1.101")  # 10 bps and half of 2,000


# ------------------------------------------------------------------------------------------------------ volatility


def test_given_one_mid_then_volatility_is_unknown_not_zero() -> None:
    assert proposed(around(1.0, 0.125)).volatility_bps is None


def test_given_moves_then_volatility_is_the_root_of_their_weighted_squares() -> None:
    quoting = strategy(volatility={"halflife_ticks": 1.0, "widening": 0.0})
    estimates = [quoting.calculate_quote(around(m, 0.125), AT_TARGET).volatility_bps for m in (1.0, 1.25, 1.0, 1.0)]
    assert estimates == [None, 2500.0, pytest.approx((0.5 * 2500**2 + 0.5 * 2000**2) ** 0.5),
                         pytest.approx((0.25 * 2500**2 + 0.25 * 2000**2) ** 0.5)]  # fmt: skip


def test_given_a_gap_then_the_move_across_it_does_not_count_and_the_estimate_stays() -> None:
    quoting = strategy()
    views = [around(1.0, 0.125), around(1.25, 0.125), market(None, None), around(4.0, 0.125), around(4.0, 0.125)]
    estimates = [quoting.calculate_quote(view, AT_TARGET).volatility_bps for view in views]
    assert estimates[:4] == [None, 2500.0, 2500.0, 2500.0]
    assert estimates[4] < 2500.0


def test_given_the_same_views_then_the_same_proposals() -> None:
    views = [around(1.0, 0.125, amm=pool(1.25, 0.01)), market(None, None), market(1.2, 1.3), market(1.25, 1.35)]
    first, second = strategy(), strategy()
    assert [first.calculate_quote(v, AT_TARGET) for v in views] == [second.calculate_quote(v, AT_TARGET) for v in views]


# ------------------------------------------------------------------------------------------------------ any market


@st.composite
def markets(draw: st.DrawFn) -> MarketView:
    """Books and pools on and off the grid, near each other and far apart."""
    on_grid = st.integers(50_000, 200_000).map(lambda n: float(Decimal(n) * Decimal("0.00001")))
    price = st.one_of(on_grid, st.floats(0.5, 2.0))
    bid, ask = sorted((draw(price), draw(price)))
    amm = draw(st.none() | st.builds(pool, price, st.floats(0.0, 0.05)))
    return market(bid, ask, amm=amm)


sections = st.fixed_dictionaries(
    {
        "anchor": st.fixed_dictionaries({"mode": st.sampled_from(["clob", "amm", "capped", "auto"])}),
        "quote": st.fixed_dictionaries(
            {
                "half_spread_bps": st.floats(0.001, 500.0),
                "levels": st.integers(1, 6),
                "level_step_bps": st.floats(0.001, 100.0),
                "size_growth": st.floats(1.0, 3.0),
                "price_quantum": st.sampled_from(["0.00001", "0.001", "0.0025"]),
            }
        ),
    }
)


@given(view=markets(), settings=sections, base=st.integers(0, 30_000))
def test_given_any_market_then_the_ladder_never_takes_and_stands_on_its_grid(
    view: MarketView, settings: dict, base: int
) -> None:
    checked = StrategySettings.model_validate(settings)
    proposal = Strategy(checked).calculate_quote(view, holdings(str(base)))
    bids, asks = side(proposal, "bid"), side(proposal, "ask")
    amm = view.amm or AmmPool(1.0, 1.0, 0.0)
    for bid in bids:
        assert 0 < float(bid.price) < view.clob_ask
        assert view.amm is None or float(bid.price) < amm.ask
    for ask in asks:
        assert float(ask.price) > view.clob_bid
        assert view.amm is None or float(ask.price) > amm.bid
    assert all(nearer.price > farther.price for nearer, farther in pairwise(bids))
    assert all(nearer.price < farther.price for nearer, farther in pairwise(asks))
    if bids and asks:
        assert bids[0].price < asks[0].price
    for intent in proposal.intents:
        assert intent.price % checked.quote.price_quantum == 0
        assert intent.size % checked.quote.size_quantum == 0
        assert intent.size <= checked.quote.size_base * Decimal(str(checked.quote.size_growth)) ** intent.level


@given(view=markets(), settings=sections)
def test_given_any_market_then_rounding_never_narrows_the_quote(view: MarketView, settings: dict) -> None:
    checked = StrategySettings.model_validate({**settings, "inventory": {"skew_bps_max": 0.0}})
    proposal = Strategy(checked).calculate_quote(view, AT_TARGET)
    anchor, float_noise = proposal.anchor.price, 1e-9
    for intent in proposal.intents:
        distance_bps = checked.quote.half_spread_bps + intent.level * checked.quote.level_step_bps
        away_bps = (float(intent.price) / anchor - 1.0) * 1e4
        assert (-away_bps if intent.side == "bid" else away_bps) >= distance_bps - float_noise
