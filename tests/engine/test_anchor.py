"""The anchor: four modes, the switch at its exact tie, both edges of the fee band and of the cap."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine_proc.anchor import Anchor, find_anchor
from shared.settings import Anchor as AnchorSettings
from tests.engine.views import around, market, pool

NONE = Anchor(None, None, None, None)
SPOT_AMM = AnchorSettings(mode="amm", reference="spot")
BAND_AMM = AnchorSettings(mode="amm", reference="fee_band")
TIE_BPS = (1.0 - 1.25) / 1.25 * 1e4  # mid 1.0 against a pool at 1.25


# --------------------------------------------------------------------------------------------------- the modes


def test_given_clob_mode_then_anchor_is_mid_with_no_error_and_the_pool_is_still_measured() -> None:
    found = find_anchor(around(1.0, 0.125, amm=pool(1.25)), AnchorSettings(mode="clob"))
    assert found == Anchor("clob", 1.0, 0.0, TIE_BPS)


def test_given_amm_mode_on_spot_then_anchor_is_spot_however_far() -> None:
    found = find_anchor(around(1.0, 0.125, amm=pool(1.25)), SPOT_AMM)
    assert found == Anchor("amm", 1.25, 2500.0, TIE_BPS)


@pytest.mark.parametrize(("spot", "sign"), [(1.25, 1), (0.75, -1)])
def test_given_a_pool_above_or_below_mid_then_the_error_has_its_sign_and_divergence_the_other(
    spot: float, sign: int
) -> None:
    found = find_anchor(around(1.0, 0.125, amm=pool(spot)), SPOT_AMM)
    assert found.error_bps == sign * 2500.0
    assert math.copysign(1, found.divergence_bps) == -sign


@pytest.mark.parametrize(("spot", "anchored"), [(1.25, 1.001), (0.75, 0.999)])
def test_given_capped_mode_when_the_pool_is_beyond_the_cap_then_clamped_on_that_side(
    spot: float, anchored: float
) -> None:
    found = find_anchor(around(1.0, 0.125, amm=pool(spot)), AnchorSettings(mode="capped", cap_bps=10.0))
    assert found.mode == "capped"
    assert found.price == pytest.approx(anchored, rel=1e-15)
    assert abs(found.error_bps) == pytest.approx(10.0, rel=1e-12)


def test_given_capped_mode_when_the_pool_is_inside_the_cap_then_untouched() -> None:
    settings = AnchorSettings(mode="capped", reference="spot", cap_bps=10.0)
    found = find_anchor(around(1.0, 0.125, amm=pool(1.0 + 2.0**-12)), settings)
    assert found.price == 1.0 + 2.0**-12


# -------------------------------------------------------------------------------------------------- the switch


@pytest.mark.parametrize("spot", [1.25, 0.75], ids=["pool_above", "pool_below"])
@pytest.mark.parametrize(
    ("nudge", "mode"), [(1.0 + 1e-12, "amm"), (1.0, "amm"), (1.0 - 1e-12, "capped")], ids=["below", "tie", "above"]
)
def test_given_auto_when_divergence_is_below_at_or_above_the_switch_then_amm_amm_capped(
    spot: float, nudge: float, mode: str
) -> None:
    view = around(1.0, 0.125, amm=pool(spot))
    divergence_bps = find_anchor(view, SPOT_AMM).divergence_bps
    settings = AnchorSettings(mode="auto", reference="spot", switch_bps=abs(divergence_bps) * nudge)
    assert find_anchor(view, settings).mode == mode


def test_given_auto_without_a_pool_then_it_follows_the_book() -> None:
    assert find_anchor(around(1.0, 0.125), AnchorSettings(mode="auto")) == Anchor("clob", 1.0, 0.0, None)


def test_given_auto_capped_by_divergence_when_the_band_reaches_mid_then_no_error() -> None:
    # The switch looks at spot, the anchor at the band: a wide fee makes them differ.
    view = around(1.0, 0.125, amm=pool(1.25, fee=0.5))
    assert find_anchor(view, AnchorSettings(mode="auto"))[:3] == ("capped", 1.0, 0.0)


# ------------------------------------------------------------------------------------------------ what is missing


@pytest.mark.parametrize("mode", ["amm", "capped"])
def test_given_a_mode_that_needs_a_pool_when_there_is_none_then_no_anchor(mode: str) -> None:
    assert find_anchor(around(1.0, 0.125), AnchorSettings(mode=mode)) == NONE


@pytest.mark.parametrize("mode", ["clob", "amm", "capped", "auto"])
@pytest.mark.parametrize(
    "view",
    [
        market(None, 1.31, amm=pool(1.3)),
        market(1.29, None, amm=pool(1.3)),
        market(None, None, amm=pool(1.3)),
        market(1.31, 1.29, amm=pool(1.3)),
        market(age_ms=15_001, amm=pool(1.3)),
    ],
    ids=["no_bid", "no_ask", "empty", "crossed", "stale"],
)
def test_given_no_mid_then_no_anchor_in_any_mode(view, mode: str) -> None:
    assert find_anchor(view, AnchorSettings(mode=mode)) == NONE


# ------------------------------------------------------------------------------------------------- the fee band


@pytest.mark.parametrize(
    ("mid", "price"),
    [
        (0.25, 0.5),  # below the band: its lower edge
        (0.5, 0.5),  # at the edge itself: mid
        (1.0, 1.0),  # inside
        (2.0, 2.0),
        (4.0, 2.0),  # above: its upper edge
    ],
)
def test_given_a_band_from_half_to_double_then_the_anchor_is_its_point_nearest_to_mid(mid: float, price: float) -> None:
    found = find_anchor(around(mid, mid / 8, amm=pool(1.0, fee=0.5)), BAND_AMM)
    assert found.price == price
    assert found.error_bps == (price - mid) / mid * 1e4


def test_given_a_pool_without_fee_then_the_band_is_spot() -> None:
    view = around(1.0, 0.125, amm=pool(1.25, fee=0.0))
    assert find_anchor(view, BAND_AMM) == find_anchor(view, SPOT_AMM)


def test_given_the_mainnet_ledger_of_fact_4_then_spot_lies_and_the_band_does_not() -> None:
    # Given spot 1.29838, fee 0.267 %, makers bidding 1.29294 and offering 1.29552
    real = pool(1.29838, fee=0.00267)
    assert (real.bid, real.ask) == (pytest.approx(1.2949, abs=5e-5), pytest.approx(1.3019, abs=5e-5))
    view = market(1.29294, 1.29552, amm=real)
    # When anchored on spot, then a fair book looks dragged by 32 bps, and our bid would go through the best ask
    spot = find_anchor(view, SPOT_AMM)
    assert spot.error_bps == pytest.approx(32.07, abs=0.01)
    assert spot.price * (1 - 10 / 1e4) > 1.29552
    # And on the band by 5 bps, and by nothing once mid is about 1.2955
    assert find_anchor(view, BAND_AMM).error_bps == pytest.approx(5.28, abs=0.01)
    inside = market(1.2950, 1.2960, amm=real)
    assert find_anchor(inside, BAND_AMM)[1:3] == (inside.mid, 0.0)
    assert find_anchor(inside, SPOT_AMM).error_bps == pytest.approx(22.2, abs=0.1)


# ---------------------------------------------------------------------------------------------------- any market

prices = st.floats(1e-6, 1e6)
fees = st.floats(0.0, 0.099)


@given(
    mid=prices, spot=prices, fee=fees, cap_bps=st.floats(0.01, 5_000), reference=st.sampled_from(["spot", "fee_band"])
)
def test_given_any_market_when_capped_then_the_error_never_exceeds_the_cap(
    mid: float, spot: float, fee: float, cap_bps: float, reference: str
) -> None:
    view = market(mid * 0.999, mid * 1.001, amm=pool(spot, fee))
    found = find_anchor(view, AnchorSettings(mode="capped", reference=reference, cap_bps=cap_bps))
    assert abs(found.error_bps) <= cap_bps + 1e-9


@given(mid=prices, spot=prices, fee=fees)
def test_given_any_market_then_the_band_is_never_farther_from_mid_than_spot(
    mid: float, spot: float, fee: float
) -> None:
    view = market(mid * 0.999, mid * 1.001, amm=pool(spot, fee))
    band, raw = find_anchor(view, BAND_AMM), find_anchor(view, SPOT_AMM)
    assert abs(band.error_bps) <= abs(raw.error_bps)
    assert band.divergence_bps == raw.divergence_bps


@given(mid=prices, spot=prices, fee=fees, mode=st.sampled_from(["clob", "amm", "capped", "auto"]))
def test_given_any_market_then_the_error_is_that_of_the_price_and_finite(
    mid: float, spot: float, fee: float, mode: str
) -> None:
    view = market(mid * 0.999, mid * 1.001, amm=pool(spot, fee))
    found = find_anchor(view, AnchorSettings(mode=mode))
    assert found.error_bps == (found.price - view.mid) / view.mid * 1e4
    assert all(math.isfinite(value) for value in found[1:])
