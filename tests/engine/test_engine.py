"""The tick as a whole: order of steps, the guard's semantics (a) to (l), telemetry (8), modes, records, the session."""

from __future__ import annotations

import json
import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine_proc.modes import ModeState
from engine_proc.ports import VenueTruth, VenueUnreachable
from engine_proc.venue_dry import DryVenue
from engine_proc.venue_paper import PaperVenue
from shared.records import (
    BreakerEvent,
    EngineState,
    InventoryTruth,
    ModeChanged,
    OrderEvent,
    ReconcilerAnomaly,
    SessionClosed,
    SessionOpened,
    TickRecord,
)
from tests.engine.recorder import SPOT, KeptRecords, config, engine, no_mid, saturated, view

GUARD = "strategy.anchor_saturation_guard."


def open_orders(made) -> dict:
    return made.venue.truth().orders


# ------------------------------------------------------------------------------------------------ the guard, live


def test_a_given_window_not_full_when_saturated_then_no_op() -> None:
    made, records = engine(config(*SPOT))
    saturated(made, 24)
    assert made.state.mode == "ACTIVE"
    assert records.of(BreakerEvent) == []
    assert records.of(TickRecord)[-1].guard_window_n == 24


def test_b_given_mean_below_bias_when_window_full_then_no_op() -> None:
    made, records = engine(config(*SPOT))
    saturated(made, 60, error_bps=6.9)
    assert made.state.mode == "ACTIVE"
    assert records.of(BreakerEvent) == []


def test_c_given_share_below_prevalence_when_mean_is_high_then_no_op() -> None:
    made, records = engine(config(*SPOT))
    for tick in range(1, 101):  # 9 of 25 errors at 60 bps: mean 21.6, share 36 % < 40 %
        made.tick(view(tick, spot_bps=60.0 if tick % 25 < 9 else 0.0, half_spread_bps=100.0))
    assert made.state.mode == "ACTIVE"
    assert max(record.guard_mean_bps for record in records.of(TickRecord)) > 7.0


@pytest.mark.parametrize("error_bps", [10.0, -10.0], ids=["d_positive_bias", "e_negative_bias"])
def test_d_e_given_bias_of_either_sign_when_window_fills_then_trips(error_bps: float) -> None:
    made, records = engine(config(*SPOT))
    saturated(made, 25, error_bps=error_bps)
    (event,) = records.of(BreakerEvent)
    assert event.tick == 25
    assert json.loads(event.context_json)["mean_error_bps"] == pytest.approx(error_bps)


def test_f_given_trip_then_degraded_is_correct_on_that_very_tick() -> None:
    # Given an engine with orders resting at the venue
    made, records = engine(config(*SPOT))
    saturated(made, 24)
    assert len(open_orders(made)) == 4
    orders_before = made.order_number
    # When the guard trips
    tripped = made.tick(view(25, spot_bps=10.0))
    # Then the mode is set, with since and reason
    assert made.state == ModeState("DEGRADED", tripped.ts_ns, "anchor_saturation_guard_exceeded")
    (change,) = records.of(ModeChanged)
    assert (change.from_mode, change.to_mode, change.tick) == ("ACTIVE", "DEGRADED", 25)
    # And the intents of this tick are emptied: nothing submitted, everything cancelled, the record says why
    assert (tripped.orders_submitted, tripped.orders_cancelled, tripped.orders_denied) == (0, 4, 0)
    assert made.order_number == orders_before
    assert (tripped.bid_price, tripped.ask_price) == (None, None)
    assert tripped.no_quote_reason_bid == tripped.no_quote_reason_ask == "GUARD_ANCHOR_SATURATION"
    assert tripped.mode == "DEGRADED"
    # And from the next tick on the gate denies every intent, and nothing rests
    after = made.tick(view(26, spot_bps=10.0))
    assert (after.orders_submitted, after.orders_denied) == (0, 4)
    assert after.no_quote_reason_bid == "MODE_DEGRADED"
    assert open_orders(made) == {}
    assert after.open_orders == 0


def test_g_given_degraded_when_still_saturated_then_no_second_event() -> None:
    made, records = engine(config(*SPOT))
    saturated(made, 500)
    assert len(records.of(BreakerEvent)) == 1
    assert len(records.of(ModeChanged)) == 1
    assert {record.orders_submitted for record in records.of(TickRecord)[24:]} == {0}


def test_h_given_guard_disabled_when_saturated_then_only_recorded() -> None:
    made, records = engine(config(*SPOT, GUARD + "enabled=false"))
    saturated(made, 100)
    last = records.of(TickRecord)[-1]
    assert made.state.mode == "ACTIVE"
    assert (last.guard_window_n, last.guard_prevalence_pct) == (25, 100.0)
    assert last.guard_mean_bps == pytest.approx(10.0)


def test_i_given_none_errors_between_when_counting_then_skipped_and_window_not_aged() -> None:
    made, records = engine(config(*SPOT))
    saturated(made, 24)
    for tick in range(25, 60):
        assert made.tick(no_mid(tick)).guard_window_n == 24
    assert made.state.mode == "ACTIVE"
    made.tick(view(60, spot_bps=10.0))
    assert records.of(BreakerEvent)[0].tick == 60


def test_j_given_exact_ties_at_both_thresholds_then_trips() -> None:
    # Given prices whose errors are exact in binary: mid 1.0, spot 1 + 2**-10, thresholds at that very value
    tie = 2.0**-10 * 1e4
    tied = config(*SPOT, f"{GUARD}bias_threshold_bps={tie!r}", f"{GUARD}prevalence_threshold_bps={tie!r}",
                  GUARD + "prevalence_pct=100.0")  # fmt: skip
    made, records = engine(tied)
    for tick in range(1, 26):
        record = made.tick(view(tick, mid=1.0, spot_bps=tie))
        assert record.anchor_error_bps == tie
    assert records.of(BreakerEvent)[0].tick == 25


def test_k_given_dry_run_when_tripped_then_nothing_is_cancelled_at_the_venue() -> None:
    # Given orders that rest at the inner venue from before, and a dry run around it
    settings_ = config(*SPOT)
    inner_engine, _ = engine(settings_)
    inner_engine.tick(view(1))
    inner: PaperVenue = inner_engine.venue
    inner.settle()
    resting = dict(inner.truth().orders)
    assert resting
    made, records = engine(settings_, venue=DryVenue(inner))
    # When the guard trips
    saturated(made, 40, first_tick=2)
    # Then the mode is DEGRADED and the inner venue has not heard of it
    assert made.state.mode == "DEGRADED"
    assert inner.truth().orders == resting
    assert made.holdings.orders == {}
    assert {event.reason for event in records.of(OrderEvent) if event.event == "rejected"} == {"DRY_RUN"}


def test_l_given_trip_then_event_carries_the_full_context_and_the_log_line(caplog: pytest.LogCaptureFixture) -> None:
    made, records = engine(config(*SPOT))
    with caplog.at_level(logging.WARNING):
        saturated(made, 25)
    (event,) = records.of(BreakerEvent)
    assert (event.breaker, event.manual_reset_required, event.cooldown_seconds) == ("anchor_saturation_guard", 1, None)
    context = json.loads(event.context_json)
    assert set(context) == {
        "mean_error_bps", "prevalence_pct", "lookback_ticks", "bias_threshold_bps", "prevalence_threshold_bps",
        "prevalence_pct_threshold", "window_sample_tail", "tick", "sum_error_nano_bps", "prevalent_n",
    }  # fmt: skip
    assert (context["lookback_ticks"], context["tick"], context["prevalent_n"]) == (25, 25, 25)
    assert len(context["window_sample_tail"]) == 5
    assert context["sum_error_nano_bps"] == made.guard.sum_nano_bps
    line = "[ANCHOR_SAT] DEGRADED triggered — mean=+10.00bps prevalence=100.0% over 25 ticks"
    assert line in caplog.messages


# ------------------------------------------------------------------------------------------------------ telemetry


def test_8_given_changing_errors_then_each_record_holds_its_own_ticks_error() -> None:
    made, _ = engine(config(*SPOT))
    for tick, expected in enumerate([3.0, None, -4.0, 5.0, None, None, 1.0], start=1):
        record = made.tick(no_mid(tick) if expected is None else view(tick, spot_bps=expected))
        assert record.anchor_error_bps == (None if expected is None else pytest.approx(expected))
        assert record.anchor_error_bps == made.strategy.last_anchor_divergence_bps
        if expected is not None:
            assert record.anchor_error_bps == (record.quote_anchor_price - record.mid) / record.mid * 1e4


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from(["ok", "far", "none", "stale", "one_sided", "crossed"]), min_size=1, max_size=80))
def test_given_any_market_then_one_record_a_tick_last_in_its_tick_in_every_mode(script: list[str]) -> None:
    made, records = engine(config(*SPOT))
    for tick, word in enumerate(script, start=1):
        before = len(records.records)
        made.tick(scripted(word, tick))
        new = records.records[before:]
        assert [record for record in new if isinstance(record, TickRecord)] == [new[-1]]
        assert new[-1].tick == tick
        quoted = new[-1]
        assert (quoted.bid_price is None) == (quoted.no_quote_reason_bid is not None)
        assert (quoted.ask_price is None) == (quoted.no_quote_reason_ask is not None)


def scripted(word: str, tick: int):
    if word == "none":
        return no_mid(tick)
    if word == "stale":
        return view(tick, age_ms=60_000)
    if word == "one_sided":
        return view(tick, bids=())
    if word == "crossed":
        return view(tick, half_spread_bps=-5.0)
    return view(tick, spot_bps=10.0 if word == "far" else 0.0)


# ----------------------------------------------------------------------------------------- reconciliation, faults


class Drifting(PaperVenue):
    """A venue whose truth differs from what it reports, by what the test says."""

    wrong_base = 0
    unreachable = False

    def truth(self) -> VenueTruth:
        if self.unreachable:
            raise VenueUnreachable("no answer within 10 s")
        truth = super().truth()
        return truth._replace(base=truth.base + self.wrong_base)


def drifting_engine():
    settings_ = config("reconcile.interval_ticks=3")
    quote = settings_.strategy.quote
    venue = Drifting(settings_.execution.paper, price_quantum=quote.price_quantum, size_quantum=quote.size_quantum)
    made, records = engine(settings_, venue=venue)
    return made, records, venue


def test_given_agreement_when_reconciled_then_a_snapshot_and_nothing_else() -> None:
    made, records, _ = drifting_engine()
    for tick in range(1, 7):
        made.tick(view(tick, mid=1.3 + tick / 1000))
    assert [snapshot.drifted for snapshot in records.of(InventoryTruth)] == [0, 0]
    assert records.of(ReconcilerAnomaly) == []
    assert made.state.mode == "ACTIVE"


def test_given_balance_drift_when_reconciled_then_anomaly_degraded_and_no_order_on_that_tick() -> None:
    made, records, venue = drifting_engine()
    for tick in (1, 2):
        made.tick(view(tick))
    venue.wrong_base = 5
    record = made.tick(view(3))
    (anomaly,) = records.of(ReconcilerAnomaly)
    assert (anomaly.anomaly, anomaly.subject) == ("BALANCE_BASE", "XRP")
    assert made.state.mode == "DEGRADED"
    assert made.state.reason == "reconciliation_drift: BALANCE_BASE XRP"
    assert (record.orders_submitted, record.orders_cancelled, record.bid_price) == (0, 4, None)


def test_given_venue_unreachable_when_reconciled_then_anomaly_and_degraded() -> None:
    made, records, venue = drifting_engine()
    made.tick(view(1))
    made.tick(view(2))
    venue.unreachable = True
    made.tick(view(3))
    assert records.of(ReconcilerAnomaly)[0].anomaly == "TRUTH_UNREADABLE"
    assert made.state.mode == "DEGRADED"


def test_given_journal_fault_when_ticking_then_degraded_and_everything_cancelled() -> None:
    made, records = engine()
    made.tick(view(1))
    made.tick(view(2))
    assert open_orders(made)
    records.fault = "journal: No space left on device"
    made.tick(view(3))
    made.tick(view(4))
    assert (made.state.mode, made.state.reason) == ("DEGRADED", "journal_unwritable")
    assert open_orders(made) == {}
    assert records.of(TickRecord)[-1].orders_submitted == 0


class FullDisk(KeptRecords):
    """A recorder whose journal takes nothing from the given record on; what it refuses, it says at once."""

    def __init__(self, full_from: int) -> None:
        super().__init__()
        self.full_from = full_from

    def emit(self, *records) -> None:
        super().emit(*records)
        if len(self.records) > self.full_from:
            self.fault = "journal: No space left on device"


def test_given_the_journal_fails_on_this_very_ticks_orders_then_none_of_them_reaches_the_venue() -> None:
    made, _ = engine()
    made.tick(view(1))
    made.tick(view(2))
    made.recorder = FullDisk(full_from=0)
    sent: list[int] = []
    submit = made.venue.submit
    made.venue.submit = lambda plan: (sent.append(len(plan.replace) + len(plan.place)), submit(plan))[1]
    record = made.tick(view(3, mid=1.35))
    assert sum(sent) == 0
    assert (record.mode, record.orders_submitted, record.orders_cancelled) == ("DEGRADED", 0, 4)
    assert record.no_quote_reason_bid == "JOURNAL_UNWRITABLE"
    made.tick(view(4, mid=1.35))
    assert open_orders(made) == {}


def test_given_a_rate_limit_when_every_tick_requotes_then_no_window_holds_more_than_it_allows() -> None:
    limited = config(
        "gate.submits_per_window_max=6", "gate.rate_window_ticks=3", "strategy.quote.requote_tolerance_bps=0.0"
    )
    made, records = engine(limited)
    for tick in range(1, 40):
        made.tick(view(tick, mid=1.3 + tick / 1000))
    submits = [record.orders_submitted for record in records.of(TickRecord)]
    assert max(sum(submits[at : at + 3]) for at in range(len(submits) - 2)) == 6
    assert "RATE_SUBMITS" in {event.reason for event in records.of(OrderEvent)}


def test_given_halt_when_breakers_fire_then_halt_stays() -> None:
    made, records = engine(config(*SPOT))
    saturated(made, 10)
    made.enter_halt("operator", 1)
    saturated(made, 40, first_tick=11)
    assert made.state.mode == "HALT"
    assert len(records.of(BreakerEvent)) == 1  # the trip is on record whatever the mode
    assert records.of(TickRecord)[-1].no_quote_reason_bid == "MODE_HALT"


def test_given_restored_degraded_state_when_started_then_never_submits() -> None:
    made, records = engine(state=ModeState("DEGRADED", 1, "kept from before"))
    for tick in range(1, 50):
        made.tick(view(tick))
    assert records.of(SessionOpened)[0].initial_mode == "DEGRADED"
    assert made.summary.orders_submitted == 0
    assert {event.event for event in records.of(OrderEvent)} == {"denied"}


def test_given_lasting_denial_then_recorded_once_and_counted_every_tick() -> None:
    made, records = engine(state=ModeState("DEGRADED", 1, "kept"))
    for tick in range(1, 21):
        made.tick(view(tick))
    assert len(records.of(OrderEvent)) == 4  # one a rung
    assert {record.orders_denied for record in records.of(TickRecord)} == {4}


# ---------------------------------------------------------------------------------------------------- the session


def test_given_orders_resting_when_session_closes_then_cancelled_verified_and_summed_up() -> None:
    made, records = engine(config(*SPOT))
    saturated(made, 10, error_bps=6.0)
    saturated(made, 10, error_bps=2.0, first_tick=11)
    made.tick(no_mid(21))
    made.tick(view(22))
    survivors = made.close_session("SIGTERM")
    assert survivors == ()
    assert open_orders(made) == {}
    closed = records.records[-1]
    assert isinstance(closed, SessionClosed)
    assert (closed.ticks, closed.null_error_ticks, closed.end_reason) == (22, 1, "SIGTERM")
    state = {record.key: record.value for record in records.of(EngineState)}
    assert json.loads(state["anchor.pct_error_above_5bps"]) == pytest.approx(100 * 10 / 21)
    assert state["anchor.trip_tick"] is None


class Stubborn(PaperVenue):
    """A venue that loses every cancel."""

    def submit(self, plan) -> None:
        super().submit(plan._replace(cancel=()))


def test_given_a_venue_that_loses_cancels_when_closing_then_survivors_are_named() -> None:
    settings_ = config()
    quote = settings_.strategy.quote
    venue = Stubborn(settings_.execution.paper, price_quantum=quote.price_quantum, size_quantum=quote.size_quantum)
    made, records = engine(settings_, venue=venue)
    made.tick(view(1))
    survivors = made.close_session("SIGTERM")
    assert sorted(survivors) == ["ask0-2", "ask1-4", "bid0-1", "bid1-3"]
    assert records.of(SessionClosed)[0].orders_surviving == 4


class SlowerThanAnyWait(PaperVenue):
    """A venue at which orders are still on their way when its `settle` has waited long enough."""

    def submit(self, plan) -> None:
        pass


def test_given_orders_still_on_their_way_when_closing_then_they_may_survive_and_are_named() -> None:
    settings_ = config()
    quote = settings_.strategy.quote
    venue = SlowerThanAnyWait(
        settings_.execution.paper, price_quantum=quote.price_quantum, size_quantum=quote.size_quantum
    )
    made, records = engine(settings_, venue=venue)
    made.tick(view(1))
    survivors = made.close_session("SIGTERM")
    assert sorted(survivors) == ["ask0-2", "ask1-4", "bid0-1", "bid1-3"]
    assert records.of(SessionClosed)[0].orders_surviving == 4


class RefusesOneReplacement(PaperVenue):
    """A venue that answers the first replacement it is sent with a tec: the old order stays live."""

    refused = False

    def _create(self, order):
        if order.replaces is None or self.refused:
            super()._create(order)
        else:
            self.refused = True
            self._refuse(order.order_id, "tecPATH_DRY")


def test_given_a_replacement_refused_on_the_way_out_when_closing_then_the_order_it_brings_back_is_cancelled_too() -> (
    None
):
    settings_ = config("strategy.quote.levels=1")
    quote = settings_.strategy.quote
    paper = settings_.execution.paper
    venue = RefusesOneReplacement(paper, price_quantum=quote.price_quantum, size_quantum=quote.size_quantum)
    made, _ = engine(settings_, venue=venue)
    made.tick(view(1))
    made.tick(view(2))
    made.tick(view(3, mid=1.31))  # replaces both; one of them will be refused
    assert made.close_session("SIGTERM") == ()
    assert venue.refused
    assert open_orders(made) == {}


def test_given_every_submission_then_it_was_on_record_before_the_venue_heard_of_it() -> None:
    seen: list[int] = []

    class Watching(PaperVenue):
        def submit(self, plan) -> None:
            recorded = {event.order_id for event in records.of(OrderEvent) if event.event == "submitted"}
            assert {order.order_id for order in (*plan.replace, *plan.place)} <= recorded
            seen.append(len(plan.replace) + len(plan.place))
            super().submit(plan)

    settings_ = config()
    quote = settings_.strategy.quote
    venue = Watching(settings_.execution.paper, price_quantum=quote.price_quantum, size_quantum=quote.size_quantum)
    records: KeptRecords
    made, records = engine(settings_, venue=venue)
    for tick in range(1, 6):
        made.tick(view(tick, mid=1.3 + tick / 500))
    assert sum(seen) == 20
