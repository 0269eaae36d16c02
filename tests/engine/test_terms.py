"""The venue's terms: what it refuses, what it locks, when it is in doubt; and orders that will end by themselves."""

from __future__ import annotations

from decimal import Decimal

import pytest

from engine_proc.execution import keeps, plan
from engine_proc.gate import clear
from engine_proc.holdings import Outcome
from engine_proc.market import Level, look
from engine_proc.ports import Plan, Terms
from engine_proc.reconcile import differences
from engine_proc.venue_paper import PaperVenue
from shared.clock import MarketClock
from shared.records import InventoryTruth, ModeChanged, OrderEvent
from shared.settings import Reconcile
from tests.engine.recorder import config, engine, view
from tests.engine.views import STALE_AFTER_MS, holdings, intent, order, sight


class OnTerms(PaperVenue):
    """A paper venue whose terms the test sets."""

    def __init__(self, settings) -> None:
        quote = settings.strategy.quote
        super().__init__(settings.execution.paper, price_quantum=quote.price_quantum, size_quantum=quote.size_quantum)
        self.asked = 0

    def truth(self):
        self.asked += 1
        return super().truth()


def on_terms(*overrides: str):
    settings = config(*overrides)
    venue = OnTerms(settings)
    made, records = engine(settings, venue=venue)
    venue.asked = 0
    return made, records, venue


# ------------------------------------------------------------------------------------------------------ the gate


def test_given_a_venue_that_refuses_when_active_then_every_intent_is_denied_with_its_code() -> None:
    wanted = (intent("bid"), intent("ask", "1.305"))
    denials = clear(wanted, sight(terms=Terms(refusal="FROZEN"))).denials
    assert [denial.reason for denial in denials] == ["VENUE_FROZEN"] * 2


@pytest.mark.parametrize(("locked", "passes"), [("9900", True), ("9900.01", False)])
def test_given_base_that_the_venue_locks_when_selling_then_only_what_is_left_may_be_sold(locked, passes) -> None:
    cleared = clear([intent("ask", "1.305", "100")], sight(terms=Terms(reserve_base=Decimal(locked))))
    assert [denial.reason for denial in cleared.denials] == ([] if passes else ["RESERVE_BASE"])


def test_given_a_larger_reserve_of_our_own_then_it_counts() -> None:
    cleared = clear([intent("ask", "1.305", "100")], sight(terms=Terms(reserve_base=Decimal(1)), reserve_base=9901))
    assert [denial.reason for denial in cleared.denials] == ["RESERVE_BASE"]


def book(bids, asks):
    return look(
        ts_ns=1, ledger_index=7, bids=bids, asks=asks, amm=None, stale_after_ms=STALE_AFTER_MS, min_touch_size=10.0
    )


@pytest.mark.parametrize(
    ("side", "price", "passes"),
    [("bid", "1.2999", True), ("bid", "1.3000", False), ("ask", "1.2981", True), ("ask", "1.2980", False)],
)
def test_given_dust_inside_the_touch_when_quoting_up_to_it_then_it_is_not_taken(side, price, passes) -> None:
    dusty = book((Level(1.298, 1.0), Level(1.29, 50.0)), (Level(1.30, 1.0), Level(1.31, 50.0)))
    assert (dusty.clob_bid, dusty.clob_ask) == (1.29, 1.31)  # mid is that of the real size
    denials = clear([intent(side, price)], sight(view=dusty)).denials
    assert [denial.reason for denial in denials] == ([] if passes else ["PRICE_CROSSES_BOOK"])


# ------------------------------------------------------------------------------------------------------ fading


def test_given_an_order_that_ends_soon_when_planned_then_it_is_replaced_at_the_same_price() -> None:
    fading = order("bid0-1", state="fading")
    assert not keeps(fading, intent(), 10.0)
    sent = plan([intent()], [fading], lambda _: "bid0-2", 10.0)
    assert [(new.order_id, new.replaces, new.price) for new in sent.replace] == [("bid0-2", "bid0-1", fading.price)]


def test_given_an_order_that_ends_soon_when_not_wanted_then_it_is_cancelled() -> None:
    fading = order(state="fading")
    assert plan([], [fading], lambda _: "new", 0.0) == Plan(cancel=(fading,))


@pytest.mark.parametrize(
    ("state", "then"),
    [("resting", "fading"), ("fading", "fading"), ("pending", "pending"), ("cancelling", "cancelling")],
)
def test_given_word_that_an_order_fades_then_only_a_resting_one_does(state, then) -> None:
    held = holdings("10000", "13000", order("b", state=state)).after(Outcome("b", "fading", None, Decimal(0)))
    assert held.orders["b"].state == then
    assert held.base == 10_000


def test_given_word_of_an_unknown_fading_order_then_nothing_changes() -> None:
    held = holdings()
    assert held.after(Outcome("nobody", "fading", None, Decimal(0))) == held


def test_given_a_fading_order_that_the_venue_lost_when_reconciled_then_it_is_missing() -> None:
    _, _, venue = on_terms()
    held = holdings("10000", "13000", order("b", state="fading"))
    found = differences(held, venue.truth(), Reconcile(), "XRP/RLUSD")
    assert [(difference.anomaly, difference.subject) for difference in found] == [("ORDER_MISSING", "b")]


def test_given_a_fading_order_when_ticking_then_replaced_and_not_on_record_as_an_event() -> None:
    made, records, venue = on_terms("strategy.quote.levels=1")
    made.tick(view(1))
    made.tick(view(2))
    before = {order.side: order.order_id for order in made.holdings.orders.values()}
    assert {order.state for order in made.holdings.orders.values()} == {"resting"}
    venue._reported = [Outcome(order_id, "fading", None, Decimal(0)) for order_id in before.values()]
    record = made.tick(view(3))
    assert (record.orders_submitted, record.orders_cancelled) == (2, 0)
    replaced = {event.replaces for event in records.of(OrderEvent) if event.tick == 3}
    assert replaced == set(before.values())
    assert not [event for event in records.of(OrderEvent) if event.event not in ("submitted", "cancelled")]


# ------------------------------------------------------------------------------------------------ reconciliation


def test_given_a_venue_in_doubt_when_ticking_then_it_is_reconciled_on_that_tick() -> None:
    made, records, venue = on_terms()
    made.tick(view(1))
    venue.terms = Terms(in_doubt=True)
    made.tick(view(2))
    venue.terms = Terms()
    made.tick(view(3))
    assert [snapshot.tick for snapshot in records.of(InventoryTruth)] == [2]


def test_given_a_venue_that_cannot_be_asked_when_reconciliation_is_due_then_it_waits_and_nothing_degrades() -> None:
    made, records, venue = on_terms("reconcile.interval_ticks=2")
    made.tick(view(1))
    venue.terms = Terms(refusal="UNREACHABLE", in_doubt=True)
    record = made.tick(view(2))
    assert venue.asked == 0
    assert record.no_quote_reason_bid == "VENUE_UNREACHABLE"
    assert records.of(ModeChanged) == []
    venue.terms = Terms(in_doubt=True)
    assert made.tick(view(3)).no_quote_reason_bid is None
    assert venue.asked == 1


@pytest.mark.parametrize(("locked", "passes"), [("10000", True), ("10000.01", False)])
def test_given_less_base_than_the_venue_locks_when_bidding_then_refused_as_the_order_locks_some_too(
    locked, passes
) -> None:
    cleared = clear([intent("bid")], sight(terms=Terms(reserve_base=Decimal(locked))))
    assert [denial.reason for denial in cleared.denials] == ([] if passes else ["RESERVE_BASE"])


# ----------------------------------------------------------------------------------------------------- a slow venue


class Slow(OnTerms):
    """It takes the market's time to answer."""

    def __init__(self, settings, clock) -> None:
        super().__init__(settings)
        self.clock = clock
        self.takes_ms = 0

    def reports(self, market):
        self.clock.advance_to(self.clock.now_ns() + self.takes_ms * 1_000_000)
        return super().reports(market)


@pytest.mark.parametrize(("takes_ms", "reason"), [(0, None), (9_000, None), (10_001, "DATA_AGE")])
def test_given_a_venue_that_takes_its_time_when_deciding_then_the_view_is_as_old_as_it_is_by_then(
    takes_ms, reason
) -> None:
    settings = config()
    venue = Slow(settings, MarketClock())
    made, _ = engine(settings, venue=venue)
    made.clock = venue.clock
    venue.takes_ms = takes_ms
    record = made.tick(view(1))
    assert (record.market_age_ms, record.no_quote_reason_bid) == (takes_ms, reason)
