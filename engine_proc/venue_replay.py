"""The venue of a replay: it reports what the venue of the recorded session reported, and nothing else can happen."""

from __future__ import annotations

from decimal import Decimal

from engine_proc.feed_replay import RecordedTick, ReplayFeed
from engine_proc.holdings import Balances, Fill, Holdings, Outcome, Report
from engine_proc.market import MarketView
from engine_proc.ports import OPEN_TERMS, OpenOrder, Plan, VenueTruth
from shared.records import FillRecord, OrderEvent

_NO_FEE = Decimal(0)


class ReplayVenue:
    """Accepts every order; fills and refuses those that the record says were filled and refused.

    Under the recorded configuration order ids are the same, so holdings, skew and quotes come out the same; only of a
    venue that takes longer than a view to answer, orders stand earlier here than they did. Under another
    configuration the recorded fills belong to orders that do not exist; balances are still those of the record,
    because nobody can know what other quotes would have earned.
    """

    terms = OPEN_TERMS

    def __init__(self, feed: ReplayFeed) -> None:
        self._feed = feed
        self._held = Holdings.of(_NO_FEE, _NO_FEE)
        self._under_way: list[tuple[str, Outcome]] = []  # with the order whose transaction brings it about

    def reports(self, market: MarketView) -> tuple[Report, ...]:
        """What became of our orders by this view: the record where it speaks, otherwise acceptance."""
        del market
        tick = self._feed.current
        assert tick is not None, "a view comes from a recorded tick"
        ended = {event.order_id for event in tick.outcomes}
        refused = {event.order_id for event in tick.outcomes if event.event == "rejected"}
        reports: list[Report] = [
            outcome
            for cause, outcome in self._under_way
            if outcome.order_id not in ended and cause not in refused  # what a refused order was to replace rests on
        ]
        self._under_way.clear()
        reports += [_fill(record) for record in tick.fills]
        reports += [_outcome(event) for event in tick.outcomes]
        reports.append(_balances(tick))
        self._held = self._held.after(*reports)
        return tuple(reports)

    def recorded(self) -> None:
        """It is a record."""

    def submit(self, plan: Plan) -> None:
        """Take the plan; its outcomes come with the next view."""
        placed = plan.replace + plan.place
        self._held = self._held.once_sent(placed, plan.cancel)
        for order in placed:
            if order.replaces is not None:
                self._under_way.append((order.order_id, Outcome(order.replaces, "cancelled", "replaced", _NO_FEE)))
            self._under_way.append((order.order_id, Outcome(order.order_id, "accepted", None, _NO_FEE)))
        for order in plan.cancel:
            self._under_way.append((order.order_id, Outcome(order.order_id, "cancelled", None, _NO_FEE)))

    def settle(self) -> tuple[Report, ...]:
        """Everything under way happens."""
        reports = tuple(outcome for _, outcome in self._under_way)
        self._under_way.clear()
        self._held = self._held.after(*reports)
        return reports

    def truth(self) -> VenueTruth:
        """Balances of the record, orders as accepted."""
        resting = {
            order.order_id: OpenOrder(order.side, order.price, order.remaining)
            for order in self._held.orders.values()
            if order.state == "resting"
        }
        return VenueTruth(self._held.base, self._held.quote, resting)

    def close(self) -> None:
        """Nothing to let go of."""


def _fill(record: FillRecord) -> Fill:
    return Fill(
        record.trade_id,
        record.order_id,
        record.side,
        record.liquidity,
        Decimal(record.price),
        Decimal(record.base_amount),
        Decimal(record.quote_amount),
    )


def _outcome(event: OrderEvent) -> Outcome:
    assert event.order_id is not None, "the venue's outcomes name their order"
    assert event.event in ("cancelled", "rejected", "expired")
    return Outcome(event.order_id, event.event, event.reason, _NO_FEE)


def _balances(tick: RecordedTick) -> Balances:
    """The recorded floats through their shortest text, so that the strategy sees the very same floats again."""
    return Balances(Decimal(repr(tick.record.base_balance)), Decimal(repr(tick.record.quote_balance)))
