"""The gate: each check alone with its reason codes, their order, the exposure that adds up, and what passes at all."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine_proc import gate
from engine_proc.gate import CHECKS, Denial, clear
from engine_proc.market import MarketView
from engine_proc.strategy import Intent
from tests.engine.views import holdings, intent, market, order, pool, sight

BROKEN_EVERYWHERE = {
    "collar_bps": 0.001,
    "size_base_min": 10**6,
    "size_base_max": 10**6,
    "notional_quote_max": 1,
    "position_base_max": 1,
    "reserve_quote": 10**6,
    "submits_per_window_max": 1,
}


def reasons(*intents: Intent, **seen) -> list[str | None]:
    """What became of each intent: None if it passed, else the code of its refusal."""
    clearance = clear(intents, sight(**seen))
    assert sorted((*clearance.intents, *(denial.intent for denial in clearance.denials))) == sorted(intents)
    refused = {denial.slot: denial.reason for denial in clearance.denials}
    return [refused.get((wanted.side, wanted.level)) for wanted in intents]


def reason(wanted: Intent, **seen) -> str | None:
    return reasons(wanted, **seen)[0]


# -------------------------------------------------------------------------------------------------- order and mode


def test_given_the_checks_then_their_order_is_as_listed() -> None:
    assert [check.__name__ for check in CHECKS] == [
        "mode_allows", "venue_takes_orders", "data_is_fresh", "price_in_collar", "price_does_not_cross",
        "size_in_bounds",
        "notional_in_bounds", "position_in_bounds", "reserve_is_kept", "rate_is_kept",
    ]  # fmt: skip


def test_given_everything_wrong_at_once_when_mended_one_by_one_then_refused_in_the_listed_order() -> None:
    view = market(1.29, 1.31, age_ms=11_000)
    wanted = intent("bid", "1.32", "100")
    wrong = dict(BROKEN_EVERYWHERE)
    seen = [reason(wanted, mode="DEGRADED", view=view, recent_submits=1, **wrong)]
    seen.append(reason(wanted, view=view, recent_submits=1, **wrong))
    view = market(1.29, 1.31)
    for mended in ("collar_bps", "view", "size_base_min", "notional_quote_max", "position_base_max", "reserve_quote"):
        seen.append(reason(wanted, view=view, recent_submits=1, **wrong))
        wrong.pop(mended, None)
        if mended == "view":
            view = market(1.29, 1.33)
    seen.append(reason(wanted, view=view, recent_submits=1, **wrong))
    assert seen == [
        "MODE_DEGRADED", "DATA_AGE", "PRICE_COLLAR", "PRICE_CROSSES_BOOK", "SIZE_BELOW_MIN", "NOTIONAL_ABOVE_MAX",
        "POSITION_ABOVE_MAX", "RESERVE_QUOTE", "RATE_SUBMITS",
    ]  # fmt: skip


def test_given_a_sound_intent_when_active_then_it_passes() -> None:
    assert reasons(intent("bid"), intent("ask", "1.305")) == [None, None]


@pytest.mark.parametrize("mode", ["DEGRADED", "HALT"])
@pytest.mark.parametrize("view", [market(), market(None, None), market(age_ms=99_999)], ids=["sound", "empty", "stale"])
def test_given_a_mode_that_does_not_quote_then_nothing_passes_whatever_the_market(mode: str, view: MarketView) -> None:
    wanted = (intent("bid"), intent("bid", level=1), intent("ask", "1.305"))
    assert reasons(*wanted, mode=mode, view=view) == [f"MODE_{mode}"] * 3


@given(
    mode=st.sampled_from(["DEGRADED", "HALT"]),
    side=st.sampled_from(["bid", "ask"]),
    price=st.decimals(0, 10, places=5),
    size=st.decimals(0, 10**6, places=2),
)
def test_given_any_intent_when_not_active_then_the_mode_is_the_reason(
    mode: str, side: str, price: Decimal, size: Decimal
) -> None:
    wanted = Intent(side, 0, price, size)
    assert clear([wanted], sight(mode=mode)).denials == (Denial(wanted, f"MODE_{mode}"),)


# ------------------------------------------------------------------------------------------------ each check alone


@pytest.mark.parametrize(
    ("view", "code"),
    [
        (market(None, None), "DATA_EMPTY"),
        (market(None, 1.31), "DATA_ONE_SIDED"),
        (market(1.31, 1.29), "DATA_CROSSED"),
        (market(age_ms=15_001), "DATA_STALE"),
        (market(age_ms=10_001), "DATA_AGE"),
        (market(age_ms=10_000), None),
    ],
)
def test_given_views_of_all_sorts_then_only_a_sound_and_fresh_one_prices(view: MarketView, code: str | None) -> None:
    assert reason(intent("bid"), view=view) == code


@pytest.mark.parametrize(
    ("side", "price", "code"),
    [
        ("bid", "0.99", None),  # exactly 100 bps below a mid of 1
        ("bid", "0.98999", "PRICE_COLLAR"),
        ("ask", "1.01", None),
        ("ask", "1.01001", "PRICE_COLLAR"),
    ],
)
def test_given_a_price_at_or_beyond_the_collar_then_passes_or_not(side: str, price: str, code: str | None) -> None:
    view = market(0.9921875, 1.0078125)  # mid 1.0, exact in binary
    assert reason(intent(side, price), view=view, collar_bps=100.0 + 1e-9) == code


def test_given_no_mid_when_the_collar_is_asked_alone_then_it_refuses() -> None:
    seen = sight(view=market(None, None))
    seen.look_at(intent("bid"))
    assert gate.price_in_collar(seen) == "PRICE_COLLAR"


@pytest.mark.parametrize(
    ("side", "price", "amm", "code"),
    [
        ("bid", "1.30999", None, None),
        ("bid", "1.31", None, "PRICE_CROSSES_BOOK"),
        ("bid", "1.32", None, "PRICE_CROSSES_BOOK"),
        ("ask", "1.29001", None, None),
        ("ask", "1.29", None, "PRICE_CROSSES_BOOK"),
        ("ask", "1.28", None, "PRICE_CROSSES_BOOK"),
        ("bid", "1.2999", pool(1.0, fee=3 / 13), None),  # that pool sells at 1.3
        ("bid", "1.3001", pool(1.0, fee=3 / 13), "PRICE_CROSSES_POOL"),
        ("ask", "1.3001", pool(2.6, fee=0.5), None),  # that one buys at 1.3
        ("ask", "1.3", pool(2.6, fee=0.5), "PRICE_CROSSES_POOL"),
        ("ask", "1.2999", pool(2.6, fee=0.5), "PRICE_CROSSES_POOL"),
    ],
)
def test_given_a_price_at_or_through_book_or_pool_then_refused_as_it_would_take(
    side: str, price: str, amm, code: str | None
) -> None:
    assert reason(intent(side, price), view=market(1.29, 1.31, amm=amm)) == code


@pytest.mark.parametrize(
    ("size", "code"),
    [("9.99", "SIZE_BELOW_MIN"), ("10", None), ("20", None), ("20.01", "SIZE_ABOVE_MAX"), ("0", "SIZE_BELOW_MIN")],
)
def test_given_sizes_at_and_beyond_the_bounds_then_only_those_within_pass(size: str, code: str | None) -> None:
    assert reason(intent("ask", "1.305", size), size_base_min=10, size_base_max=20) == code


@pytest.mark.parametrize(("size", "code"), [("100", None), ("100.01", "NOTIONAL_ABOVE_MAX")])
def test_given_a_notional_at_or_above_the_limit_then_passes_or_not(size: str, code: str | None) -> None:
    assert reason(intent("bid", "1.295", size), notional_quote_max="129.5") == code


@pytest.mark.parametrize(
    ("side", "price", "size", "code"),
    [
        ("bid", "1.295", "2000", None),
        ("bid", "1.295", "2000.01", "POSITION_ABOVE_MAX"),
        ("ask", "1.305", "3000", None),
        ("ask", "1.305", "3000.01", "POSITION_BELOW_MIN"),
    ],
)
def test_given_a_position_at_or_beyond_its_bounds_then_passes_or_not(
    side: str, price: str, size: str, code: str | None
) -> None:
    seen = {"held": holdings("10000"), "position_base_min": 7_000, "position_base_max": 12_000}
    assert reason(intent(side, price, size), **seen) == code


@pytest.mark.parametrize(
    ("side", "price", "size", "code"),
    [
        ("bid", "1.25", "80", None),
        ("bid", "1.25", "80.01", "RESERVE_QUOTE"),
        ("ask", "1.305", "80", None),
        ("ask", "1.305", "80.01", "RESERVE_BASE"),
    ],
)
def test_given_funds_at_or_below_the_reserve_then_passes_or_not(
    side: str, price: str, size: str, code: str | None
) -> None:
    seen = {"held": holdings("100", "101"), "reserve_base": 20, "reserve_quote": 1}
    assert reason(intent(side, price, size), **seen) == code


# ----------------------------------------------------------------------------------------------- exposure adds up


def test_given_rungs_that_fit_alone_but_not_together_then_the_last_is_refused_and_a_smaller_one_still_passes() -> None:
    wanted = (intent("bid", size="60"), intent("bid", size="60", level=1), intent("bid", size="40", level=2))
    assert reasons(*wanted, held=holdings("0"), position_base_max=100) == [None, "POSITION_ABOVE_MAX", None]
    assert reasons(*wanted, held=holdings("0", "129.5")) == [None, "RESERVE_QUOTE", None]


def test_given_asks_that_fit_alone_but_not_together_then_the_last_is_refused() -> None:
    wanted = (intent("ask", "1.305", "60"), intent("ask", "1.306", "60", level=1))
    assert reasons(*wanted, held=holdings("100")) == [None, "POSITION_BELOW_MIN"]
    assert reasons(*wanted, held=holdings("120"), reserve_base=1) == [None, "RESERVE_BASE"]


def test_given_refused_intents_then_they_do_not_count_into_the_exposure() -> None:
    wanted = (intent("bid", size="90"), intent("bid", size="20", level=1))
    assert reasons(*wanted, held=holdings("0"), position_base_max=50) == ["POSITION_ABOVE_MAX", None]


def test_given_bids_and_asks_then_neither_pays_for_the_other() -> None:
    wanted = (intent("ask", "1.305", "100"), intent("bid", size="1"))
    assert reasons(*wanted, held=holdings("100", "0")) == [None, "RESERVE_QUOTE"]


# --------------------------------------------------------------------------------------------------------- the rate


def test_given_a_budget_then_new_orders_use_it_up() -> None:
    wanted = [intent("bid", level=level) for level in range(4)]
    assert reasons(*wanted, recent_submits=3, submits_per_window_max=5) == [None, None, "RATE_SUBMITS", "RATE_SUBMITS"]


def test_given_orders_that_are_kept_then_they_cost_nothing_and_pass_beyond_the_limit() -> None:
    held = holdings("10000", "13000", order("b0"), order("b1", level=1))
    wanted = [intent("bid", level=level) for level in range(4)]
    seen = {"held": held, "recent_submits": 4, "submits_per_window_max": 5}
    assert reasons(*wanted, **seen) == [None, None, None, "RATE_SUBMITS"]
    assert reasons(*wanted, **seen | {"recent_submits": 99}) == [None, None, "RATE_SUBMITS", "RATE_SUBMITS"]


def test_given_an_order_that_must_be_replaced_then_it_costs_like_a_new_one() -> None:
    held = holdings("10000", "13000", order("b0", "1.2"))
    assert reason(intent("bid"), held=held, recent_submits=5, submits_per_window_max=5) == "RATE_SUBMITS"
    assert reason(intent("bid"), held=held, recent_submits=4, submits_per_window_max=5) is None


def test_given_an_order_within_the_tolerance_then_it_stands_already() -> None:
    held = holdings("10000", "13000", order("b0", "1.29501"))
    spent = {"held": held, "recent_submits": 5, "submits_per_window_max": 5}
    assert reason(intent("bid"), requote_tolerance_bps=0.5, **spent) is None
    assert reason(intent("bid"), requote_tolerance_bps=0.05, **spent) == "RATE_SUBMITS"


def test_given_an_order_that_is_being_cancelled_then_it_does_not_stand() -> None:
    held = holdings("10000", "13000", order("b0", state="cancelling"))
    assert reason(intent("bid"), held=held, recent_submits=5, submits_per_window_max=5) == "RATE_SUBMITS"


# ------------------------------------------------------------------------------------------------------ any ladder

amounts = st.decimals("0", "500", places=2)
ladders = st.lists(
    st.tuples(st.sampled_from(["bid", "ask"]), st.decimals("1.2", "1.4", places=3), amounts), max_size=12
).map(lambda rows: [Intent(side, level, price, size) for level, (side, price, size) in enumerate(rows)])


@given(
    wanted=ladders,
    base=amounts,
    quote=amounts,
    bounds=st.tuples(amounts, amounts.filter(bool)).map(sorted),
    limit=st.integers(1, 12),
    spent=st.integers(0, 12),
    amm=st.none() | st.builds(pool, st.floats(1.25, 1.35), st.floats(0.0, 0.05)),
)
def test_given_any_ladder_then_whatever_passes_satisfies_every_limit_together(
    wanted: list[Intent], base: Decimal, quote: Decimal, bounds: list[Decimal], limit: int, spent: int, amm
) -> None:
    view = market(1.29, 1.31, amm=amm)
    limits = {
        "collar_bps": 300.0, "size_base_min": 5, "size_base_max": 400, "notional_quote_max": 350,
        "position_base_min": bounds[0], "position_base_max": bounds[1], "reserve_base": 10, "reserve_quote": 10,
        "submits_per_window_max": limit,
    }  # fmt: skip
    seen = sight(view=view, held=holdings(str(base), str(quote)), recent_submits=spent, **limits)
    passed, denials = clear(wanted, seen)
    # Every intent is in exactly one of the two, in the order given
    assert sorted([*passed, *(denial.intent for denial in denials)], key=lambda i: i.level) == wanted
    assert [i.level for i in passed] == sorted(i.level for i in passed)
    # Each alone
    for one in passed:
        price = float(one.price)
        assert abs(price - view.mid) / view.mid * 1e4 <= 300.0 + 1e-9
        assert 5 <= one.size <= 400
        assert one.price * one.size <= 350
        assert price < 1.31 if one.side == "bid" else price > 1.29
        assert amm is None or (price < amm.ask if one.side == "bid" else price > amm.bid)
    # All together: payable, within the position bounds, within the rate
    bids = [one for one in passed if one.side == "bid"]
    asks = [one for one in passed if one.side == "ask"]
    if bids:
        assert quote - sum(one.price * one.size for one in bids) >= 10
        assert base + sum(one.size for one in bids) <= bounds[1]
    if asks:
        assert base - sum(one.size for one in asks) >= max(10, bounds[0])
    assert len(passed) <= max(0, limit - spent)


@given(
    wanted=ladders,
    kept=st.sets(st.integers(0, 11)),
    limit=st.integers(1, 12),
    spent=st.integers(0, 12),
)
def test_given_any_ladder_and_resting_orders_then_only_new_orders_count_to_the_rate(
    wanted: list[Intent], kept: set[int], limit: int, spent: int
) -> None:
    view = market(1.1, 1.5)
    standing = [
        order(f"o{one.level}", str(one.price), str(one.size), side=one.side, level=one.level)
        for one in wanted
        if one.level in kept
    ]
    held = holdings("100000", "100000", *standing)
    passed, denials = clear(wanted, sight(view=view, held=held, recent_submits=spent, submits_per_window_max=limit))
    assert {denial.reason for denial in denials} <= {"RATE_SUBMITS"}
    assert not any(denial.intent.level in kept for denial in denials)
    new = [one for one in wanted if one.level not in kept]
    assert [one for one in passed if one.level not in kept] == new[: max(0, limit - spent)]
