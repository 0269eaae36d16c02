"""Records from what happened: None stays None, signs mean what the docs say, every record passes validation."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine_proc import describe
from engine_proc.anchor import Anchor
from engine_proc.gate import Denial
from engine_proc.holdings import Fill
from engine_proc.market import AmmPool, MarketView, look
from engine_proc.ports import OpenOrder, Plan, VenueTruth
from engine_proc.reconcile import Difference
from engine_proc.strategy import Proposal
from shared.codec import validate
from shared.records import KIND_OF, OrderEvent, Record, TickRecord
from shared.saturation import SaturationGuard
from shared.settings import AnchorSaturationGuard
from tests.engine.views import around, holdings, intent, market, order, pool

NO_ANCHOR = Anchor(None, None, None, None)
SETTINGS = AnchorSaturationGuard(lookback_ticks=4)


def guard(*errors: float) -> SaturationGuard:
    made = SaturationGuard(SETTINGS.thresholds)
    for error in errors:
        made.observe(error)
    return made


def told(view: MarketView | None = None, errors: tuple[float, ...] = (), **changes: object) -> TickRecord:
    blank = {
        "tick": 3,
        "mode": "ACTIVE",
        "proposal": Proposal(NO_ANCHOR, (), None, None, None),
        "anchor_error_bps": None,
        "held": holdings("100.5", "20.25"),
        "plan": Plan(),
        "denials": (),
        "withheld": None,
        "open_orders": 2,
        "cancels": 1,
        "fills": 4,
        "duration_us": 12.5,
        "outbox_unsent": 9,
    }
    return valid(describe.tick_record(view or around(1.0, 0.125), guard(*errors), **blank | changes))


def valid(record: Record) -> Record:
    """The record as it went in, having passed the validation that the writer applies."""
    assert validate(KIND_OF[type(record)], tuple(record)) == tuple(record)
    return record


# ------------------------------------------------------------------------------------------------------- the tick


def test_given_nothing_measurable_then_every_such_field_is_none_and_none_is_zero() -> None:
    record = told(market(None, None))
    absent = {name for name, value in record._asdict().items() if value is None}
    assert absent == {
        "clob_bid", "clob_bid_size", "clob_ask", "clob_ask_size", "mid", "amm_price", "amm_fee_fraction",
        "clob_vs_amm_divergence_bps", "anchor_mode", "quote_anchor_price", "anchor_error_bps", "guard_mean_bps",
        "guard_prevalence_pct", "bid_price", "ask_price", "distance_to_touch_bid_bps", "distance_to_touch_ask_bps",
        "inventory_skew", "mark_value", "volatility_bps",
    }  # fmt: skip
    assert (record.market_status, record.guard_window_n) == ("EMPTY", 0)


def test_given_everything_measurable_then_every_field_has_its_own_value() -> None:
    view = around(1.0, 0.125, amm=pool(1.25, fee=0.003))
    plan = Plan(place=(order("b", "0.75", size="7"), order("a", "1.5", side="ask")))
    proposal = Proposal(Anchor("capped", 1.001, 10.0, -2000.0), (), None, 0.5, 3.25)
    record = told(view, errors=(6.0, -2.0), plan=plan, proposal=proposal, anchor_error_bps=10.0)
    assert record._asdict() == {
        "tick": 3, "ts_ns": 1_000, "ledger_index": 7, "mode": "ACTIVE", "market_status": "OK", "market_age_ms": 0,
        "clob_bid": 0.875, "clob_bid_size": 1000.0, "clob_ask": 1.125, "clob_ask_size": 1000.0, "mid": 1.0,
        "amm_price": 1.25, "amm_fee_fraction": 0.003, "clob_vs_amm_divergence_bps": -2000.0,
        "anchor_mode": "capped", "quote_anchor_price": 1.001, "anchor_error_bps": 10.0,
        "guard_window_n": 2, "guard_mean_bps": 2.0, "guard_prevalence_pct": 50.0,
        "bid_price": 0.75, "ask_price": 1.5,
        "distance_to_touch_bid_bps": 1250.0, "distance_to_touch_ask_bps": 3750.0,
        "no_quote_reason_bid": None, "no_quote_reason_ask": None,
        "open_orders": 2, "orders_submitted": 2, "orders_cancelled": 1, "orders_denied": 0, "fills": 4,
        "base_balance": 100.5, "quote_balance": 20.25, "inventory_skew": 0.5, "mark_value": 120.75,
        "volatility_bps": 3.25, "tick_duration_us": 12.5, "outbox_unsent": 9,
    }  # fmt: skip


def test_given_numbers_that_are_all_different_then_each_stands_in_the_field_of_its_name() -> None:
    view = MarketView(11, 12, 13, "CROSSED", 0.875, 14.0, 1.125, 15.0, 1.0, AmmPool(2.0, 3.0, 0.25))
    plan = Plan(
        keep=(order("k", "0.5"),),
        replace=(order("r", "0.75"), order("s", "0.625"), order("t", "0.6875")),
        place=(order("a", "1.375", side="ask"), order("c", "1.5", side="ask")),
    )
    record = told(
        view, (16.0, -2.0, 1.0, 5.0), tick=21, mode="HALT", plan=plan, anchor_error_bps=22.5, open_orders=23,
        proposal=Proposal(Anchor("capped", 24.5, -1.0, 25.5), (), None, 0.125, 26.5), held=holdings("27.5", "28.5"),
        denials=(Denial(intent(), "A"),) * 29, cancels=30, fills=31, duration_us=32.5, outbox_unsent=33,
    )  # fmt: skip
    assert record._asdict() == {
        "tick": 21, "ts_ns": 11, "ledger_index": 12, "mode": "HALT", "market_status": "CROSSED", "market_age_ms": 13,
        "clob_bid": 0.875, "clob_bid_size": 14.0, "clob_ask": 1.125, "clob_ask_size": 15.0, "mid": 1.0,
        "amm_price": 1.5, "amm_fee_fraction": 0.25, "clob_vs_amm_divergence_bps": 25.5,
        "anchor_mode": "capped", "quote_anchor_price": 24.5, "anchor_error_bps": 22.5,
        "guard_window_n": 4, "guard_mean_bps": 5.0, "guard_prevalence_pct": 50.0,
        "bid_price": 0.75, "ask_price": 1.375,
        "distance_to_touch_bid_bps": 1250.0, "distance_to_touch_ask_bps": 2500.0,
        "no_quote_reason_bid": None, "no_quote_reason_ask": None,
        "open_orders": 23, "orders_submitted": 5, "orders_cancelled": 30, "orders_denied": 29, "fills": 31,
        "base_balance": 27.5, "quote_balance": 28.5, "inventory_skew": 0.125, "mark_value": 56.0,
        "volatility_bps": 26.5, "tick_duration_us": 32.5, "outbox_unsent": 33,
    }  # fmt: skip
    told_apart = [value for value in record if value is not None]
    assert len({(type(value), value) for value in told_apart}) == len(told_apart) == len(record) - 2


def test_given_errors_and_values_of_zero_then_they_stay_zero_and_are_not_taken_for_missing() -> None:
    proposal = Proposal(Anchor("clob", 1.0, 0.0, 0.0), (), None, 0.0, 0.0)
    record = told(errors=(0.0,), proposal=proposal, anchor_error_bps=0.0, held=holdings("0", "0"))
    zeros = (record.anchor_error_bps, record.guard_mean_bps, record.guard_prevalence_pct, record.inventory_skew,
             record.volatility_bps, record.mark_value, record.clob_vs_amm_divergence_bps)  # fmt: skip
    assert zeros == (0.0,) * 7
    assert None not in zeros


@pytest.mark.parametrize(
    ("bid", "ask", "distances"),
    [
        ("0.75", "1.25", (1250.0, 1250.0)),  # behind the touch
        ("0.875", "1.125", (0.0, 0.0)),  # joined
        ("0.9375", "1.0625", (-625.0, -625.0)),  # improved
    ],
)
def test_given_quotes_behind_at_or_inside_the_touch_then_distances_are_positive_zero_negative(
    bid: str, ask: str, distances: tuple[float, float]
) -> None:
    record = told(plan=Plan(keep=(order("b", bid), order("a", ask, side="ask"))))
    assert (record.distance_to_touch_bid_bps, record.distance_to_touch_ask_bps) == distances


def test_given_one_side_quoted_then_the_other_has_no_distance_and_a_reason() -> None:
    record = told(plan=Plan(place=(order("b", "0.75"),)))
    assert (record.bid_price, record.distance_to_touch_bid_bps, record.no_quote_reason_bid) == (0.75, 1250.0, None)
    assert (record.ask_price, record.distance_to_touch_ask_bps) == (None, None)
    assert record.no_quote_reason_ask == "NO_INTENT"


def test_given_orders_in_every_bucket_then_the_best_of_what_stands_counts_and_not_what_goes() -> None:
    plan = Plan(
        keep=(order("b0", "0.5"), order("a0", "1.5", side="ask")),
        replace=(order("b1", "0.625"), order("a1", "1.375", side="ask")),
        place=(order("b2", "0.25"), order("a2", "1.75", side="ask")),
        cancel=(order("b3", "0.75"), order("a3", "1.25", side="ask")),
    )
    record = told(plan=plan)
    assert (record.bid_price, record.ask_price, record.orders_submitted) == (0.625, 1.375, 4)


def test_given_a_stale_view_then_touch_and_pool_are_on_record_and_what_rests_on_mid_is_not() -> None:
    record = told(market(0.875, 1.125, amm=pool(1.25), age_ms=20_000), plan=Plan(keep=(order("b", "0.75"),)))
    assert (record.market_status, record.clob_bid, record.amm_price, record.bid_price) == ("STALE", 0.875, 1.25, 0.75)
    assert (record.mid, record.mark_value, record.distance_to_touch_bid_bps) == (None, None, None)


def test_given_reasons_of_every_step_then_the_earliest_step_that_took_the_side_away_is_named() -> None:
    denials = (
        Denial(intent("ask", "1.305"), "RATE_SUBMITS"),
        Denial(intent("bid"), "RESERVE_QUOTE"),
        Denial(intent("bid", level=1), "PRICE_COLLAR"),
    )
    skip = Proposal(NO_ANCHOR, (), "MARKET_EMPTY", None, None)
    everything = told(proposal=skip, withheld="GUARD", denials=denials)
    assert (everything.no_quote_reason_bid, everything.no_quote_reason_ask) == ("MARKET_EMPTY", "MARKET_EMPTY")
    guarded = told(withheld="GUARD", denials=denials)
    assert (guarded.no_quote_reason_bid, guarded.no_quote_reason_ask) == ("GUARD", "GUARD")
    denied = told(denials=denials)
    assert (denied.no_quote_reason_bid, denied.no_quote_reason_ask) == ("RESERVE_QUOTE", "RATE_SUBMITS")
    assert denied.orders_denied == 3
    silent = told()
    assert (silent.no_quote_reason_bid, silent.no_quote_reason_ask) == ("NO_INTENT", "NO_INTENT")


def test_given_a_pool_without_fee_then_the_fee_is_zero_not_missing() -> None:
    assert told(around(1.0, 0.125, amm=pool(1.25))).amm_fee_fraction == 0.0


@given(
    bid=st.none() | st.floats(0.5, 2.0),
    ask=st.none() | st.floats(0.5, 2.0),
    spot=st.none() | st.floats(0.5, 2.0),
    age_ms=st.integers(0, 30_000),
    quoted=st.lists(st.sampled_from(["bid", "ask"]), max_size=3),
)
def test_given_any_tick_then_the_record_is_valid_and_a_side_has_either_a_price_or_a_reason(
    bid: float | None, ask: float | None, spot: float | None, age_ms: int, quoted: list[str]
) -> None:
    view = market(bid, ask, amm=None if spot is None else AmmPool(1.0, spot, 0.01), age_ms=age_ms)
    plan = Plan(keep=tuple(order(f"o{n}", side=side) for n, side in enumerate(quoted)))
    record = told(view, plan=plan)
    for price, reason, distance in (
        (record.bid_price, record.no_quote_reason_bid, record.distance_to_touch_bid_bps),
        (record.ask_price, record.no_quote_reason_ask, record.distance_to_touch_ask_bps),
    ):
        assert (price is None) == (reason is not None)
        assert (distance is None) == (price is None or view.mid is None)


def test_given_no_ledger_market_then_no_ledger_index() -> None:
    view = look(ts_ns=1, ledger_index=None, bids=(), asks=(), amm=None, stale_after_ms=1)
    assert told(view).ledger_index is None


# ---------------------------------------------------------------------------------------------------- the breaker


def test_given_a_trip_then_the_context_is_complete_rounded_for_people_and_exact_for_replay() -> None:
    errors = (1.0, 8.123456789, 7.7, 7.0, 9.333333333333)
    event = valid(describe.breaker_event(guard(*errors), SETTINGS, tick=5, ts_ns=11, wall_ns=22))
    assert (event.tick, event.ts_ns, event.wall_ns) == (5, 11, 22)
    assert (event.breaker, event.manual_reset_required, event.cooldown_seconds) == ("anchor_saturation_guard", 1, None)
    assert json.loads(event.context_json) == {
        "mean_error_bps": 8.04,
        "prevalence_pct": 100.0,
        "lookback_ticks": 4,
        "bias_threshold_bps": 7.0,
        "prevalence_threshold_bps": 5.0,
        "prevalence_pct_threshold": 40.0,
        "window_sample_tail": [8.123456789, 7.7, 7.0, 9.333333333],
        "tick": 5,
        "sum_error_nano_bps": 32_156_790_122,
        "prevalent_n": 4,
    }


def test_given_a_long_window_then_its_tail_is_the_last_five_oldest_first() -> None:
    settings = AnchorSaturationGuard(lookback_ticks=8)
    long = SaturationGuard(settings.thresholds)
    for error in range(1, 11):
        long.observe(float(error))
    context = json.loads(describe.breaker_event(long, settings, 10, 1, 1).context_json)
    assert context["window_sample_tail"] == [6.0, 7.0, 8.0, 9.0, 10.0]


# ------------------------------------------------------------------------------------------------- orders and fills


def test_given_a_replacement_when_submitted_then_it_names_what_it_replaces_and_when_ended_it_does_not() -> None:
    new = order("new", "1.29500", "100.00", level=2, state="pending", replaces="old")
    assert valid(describe.order_event(new, "submitted", 3, 11)) == OrderEvent(
        11, 3, "new", "submitted", "bid", 2, "1.29500", "100.00", "old", None
    )
    assert describe.order_event(new, "cancelled", 3, 11, "requested").replaces is None


@pytest.mark.parametrize("event", ["submitted", "cancel_sent", "cancelled", "rejected", "expired"])
def test_given_a_partly_filled_order_then_its_event_says_what_remained(event: str) -> None:
    record = valid(describe.order_event(order(remaining="12.5"), event, 3, 11, "why"))
    assert (record.event, record.base_amount, record.reason) == (event, "12.5", "why")


def test_given_a_denial_then_no_order_id_and_the_code() -> None:
    denial = Denial(intent("ask", "1.305", "7", level=1), "PRICE_COLLAR")
    assert valid(describe.denial_event(denial, 3, 11)) == OrderEvent(
        11, 3, None, "denied", "ask", 1, "1.305", "7", None, "PRICE_COLLAR"
    )


@pytest.mark.parametrize("mid", [None, 1.3])
def test_given_a_fill_then_amounts_digit_for_digit_and_the_mid_as_it_was(mid: float | None) -> None:
    fill = Fill("t-9", "o-1", "ask", "taker", Decimal("1.30500"), Decimal("1E+2"), Decimal("130.500000000000001"))
    record = valid(describe.fill_record(fill, 3, 11, mid))
    assert tuple(record) == (
        11, 3, "t-9", "o-1", "ask", "taker", "1.30500", "100", "130.500000000000001", mid
    )  # fmt: skip


# ---------------------------------------------------------------------------------------------------- the inventory


@pytest.mark.parametrize("drifted", [True, False])
def test_given_truth_beside_holdings_then_both_are_told_and_the_verdict_is_one_or_zero(drifted: bool) -> None:
    held = holdings("100.10", "0", order("a"), order("b", level=1, state="pending"))
    truth = VenueTruth(Decimal("100.1"), Decimal("-0.5"), {"a": OpenOrder("bid", Decimal(1), Decimal(1))})
    record = valid(describe.inventory_truth(held, truth, 50, 11, drifted=drifted))
    assert tuple(record) == (11, 50, "100.10", "100.1", "0", "-0.5", 2, 1, int(drifted))


@pytest.mark.parametrize("tolerance", [None, Decimal("0.001"), Decimal(0)])
def test_given_a_difference_then_a_missing_tolerance_stays_none_and_zero_stays_zero(tolerance: Decimal | None) -> None:
    record = valid(describe.anomaly(Difference("ORDER_SIZE", "b", "10", None, tolerance), 50, 11))
    assert tuple(record) == (11, 50, "ORDER_SIZE", "b", "10", None, None if tolerance is None else str(tolerance))
