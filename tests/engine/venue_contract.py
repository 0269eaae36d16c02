"""What every venue owes the engine, whatever stands behind it: subclass `VenueContract`, give it a `stage` fixture.

A stage is a venue with a market that the test commands. The contract never asks *when* a venue answers, only what
it has said by the time it has settled, so a ledger that takes its time passes as well as a book in memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from functools import reduce
from typing import Protocol

import pytest

from engine_proc.holdings import Fill, Holdings, Order, Outcome, Report
from engine_proc.ports import OpenOrder, Plan, Venue
from shared.records import Side

BID, ASK = Decimal("1.30400"), Decimal("1.30600")  # ours; the public stands outside them
SIZE = Decimal("200.00")
PUBLIC_BIDS = ((1.30300, 1500.0),)
PUBLIC_ASKS = ((1.30700, 1500.0),)


class Stage(Protocol):
    """A venue whose account holds ample base and quote, and the market it stands in. Whoever makes it closes it."""

    venue: Venue

    def ledger(
        self,
        *,
        bids: Sequence[tuple[float, float]] = PUBLIC_BIDS,
        asks: Sequence[tuple[float, float]] = PUBLIC_ASKS,
        sold: Sequence[tuple[float, float]] = (),
        bought: Sequence[tuple[float, float]] = (),
    ) -> tuple[Report, ...]:
        """Let one ledger pass and return what the venue reports with it.

        In it the public executes `sold` and `bought` (price, size) as takers, then rests as `bids` and `asks`.
        """

    def spend_all_quote(self) -> None:
        """Leave the account without any quote: the next bid has no funds."""


def order(order_id: str, side: Side = "bid", price: Decimal | None = None, *, replaces: str | None = None) -> Order:
    return Order(order_id, side, 0, price or (BID if side == "bid" else ASK), SIZE, SIZE, "pending", replaces)


class Book:
    """Holdings kept the way the engine keeps them: from what was sent and what was reported, never from the truth."""

    def __init__(self, stage: Stage) -> None:
        truth = stage.venue.truth()
        assert truth.orders == {}, "a stage starts without orders"
        self.stage = stage
        self.opening = truth
        self.holdings = Holdings.of(truth.base, truth.quote)

    def send(self, *, place: Sequence[Order] = (), replace: Sequence[Order] = (), cancel: Sequence[str] = ()) -> None:
        """Send a plan; it may name orders that are gone, as the engine's do when news is under way."""
        orders = self.holdings.orders
        known = [new if new.replaces in orders else new._replace(replaces=None) for new in replace]
        leaving = [orders.get(order_id, order(order_id)) for order_id in cancel]
        self.holdings = self.holdings.once_sent((*known, *place), [old for old in leaving if old.order_id in orders])
        self.stage.venue.submit(Plan((), tuple(replace), tuple(place), tuple(leaving)))

    def take(self, reports: Sequence[Report]) -> tuple[Report, ...]:
        self.holdings = reduce(Holdings.after, reports, self.holdings)
        self.stage.venue.recorded()
        return tuple(reports)

    def settle(self, **market) -> tuple[Report, ...]:
        """A ledger passes and whatever is under way is waited for; everything reported by then."""
        reports = self.stage.ledger(**market)
        return self.take((*reports, *self.stage.venue.settle()))

    def agrees_with_truth(self) -> None:
        truth = self.stage.venue.truth()
        assert (self.holdings.base, self.holdings.quote) == (truth.base, truth.quote)
        ours = {key: OpenOrder(held.side, held.price, held.remaining) for key, held in self.holdings.orders.items()}
        assert ours == truth.orders


def remaining_at(venue: Venue) -> dict[str, Decimal]:
    """What is left of each order that is open there."""
    return {order_id: there.remaining for order_id, there in venue.truth().orders.items()}


def outcomes(reports: Sequence[Report], order_id: str) -> list[tuple[str, str | None]]:
    return [(r.result, r.reason) for r in reports if isinstance(r, Outcome) and r.order_id == order_id]


def results(reports: Sequence[Report], order_id: str) -> list[str]:
    return [result for result, _ in outcomes(reports, order_id)]


def fills(reports: Sequence[Report], order_id: str) -> list[Fill]:
    return [r for r in reports if isinstance(r, Fill) and r.order_id == order_id]


class VenueContract:
    """Mixed into a test class that has a `stage` fixture."""

    @pytest.fixture
    def book(self, stage: Stage) -> Book:
        stage.ledger()  # the venue has seen the market once before anything is sent
        return Book(stage)

    def test_given_a_plan_when_only_submitted_then_nothing_is_true_of_it(self, stage: Stage, book: Book) -> None:
        book.send(place=[order("b1")])

        assert stage.venue.truth() == book.opening

    def test_given_a_placed_order_when_settled_then_it_is_accepted_and_rests_whole(self, book: Book) -> None:
        book.send(place=[order("b1"), order("a1", "ask")])
        reports = book.settle()

        assert results(reports, "b1") == results(reports, "a1") == ["accepted"]
        assert remaining_at(book.stage.venue) == {"b1": SIZE, "a1": SIZE}
        assert {held.state for held in book.holdings.orders.values()} == {"resting"}
        book.agrees_with_truth()

    def test_given_accepted_orders_when_nothing_trades_then_balances_fall_by_the_reported_fees_alone(
        self, book: Book
    ) -> None:
        book.send(place=[order("b1"), order("a1", "ask")])
        reports = book.settle()

        fees = sum((report.fee_base for report in reports if isinstance(report, Outcome)), Decimal(0))
        truth = book.stage.venue.truth()
        assert fees >= 0
        assert (truth.base, truth.quote) == (book.opening.base - fees, book.opening.quote)

    def test_given_a_resting_order_when_cancelled_then_that_is_reported_once_and_it_is_gone(self, book: Book) -> None:
        book.send(place=[order("b1")])
        book.settle()
        book.send(cancel=["b1"])
        reports = book.settle()

        assert results(reports, "b1") == ["cancelled"]
        assert book.stage.venue.truth().orders == {}
        book.agrees_with_truth()

    def test_given_an_order_that_is_gone_when_cancelled_then_no_error_and_no_order(self, book: Book) -> None:
        book.send(cancel=["never-was"])
        book.settle()

        assert book.stage.venue.truth().orders == {}
        book.agrees_with_truth()

    def test_given_a_resting_order_when_replaced_then_exactly_the_new_one_rests(self, book: Book) -> None:
        book.send(place=[order("b1")])
        book.settle()
        book.send(replace=[order("b2", price=Decimal("1.30390"), replaces="b1")])
        reports = book.settle()

        assert outcomes(reports, "b1") == [("cancelled", "replaced")]
        assert results(reports, "b2") == ["accepted"]
        assert remaining_at(book.stage.venue) == {"b2": SIZE}
        book.agrees_with_truth()

    def test_given_a_replacement_of_a_gone_order_when_settled_then_the_new_one_rests(self, book: Book) -> None:
        book.send(replace=[order("b2", replaces="never-was")])
        book.settle()

        assert remaining_at(book.stage.venue) == {"b2": SIZE}
        book.agrees_with_truth()

    def test_given_no_funds_when_placed_then_rejected_and_nothing_rests(self, stage: Stage) -> None:
        stage.ledger()
        stage.spend_all_quote()
        book = Book(stage)
        book.send(place=[order("b1")])
        reports = book.settle()

        assert outcomes(reports, "b1") == [("rejected", "tecUNFUNDED_OFFER")]
        book.agrees_with_truth()

    def test_given_a_replacement_that_is_rejected_when_settled_then_the_old_order_rests_on(self, stage: Stage) -> None:
        stage.ledger()
        stage.spend_all_quote()
        book = Book(stage)
        book.send(place=[order("a1", "ask")])
        book.settle()
        book.send(replace=[order("b1", "bid", replaces="a1")])
        reports = book.settle()

        assert results(reports, "b1") == ["rejected"]
        assert results(reports, "a1") == []
        assert remaining_at(stage.venue) == {"a1": SIZE}
        assert book.holdings.orders["a1"].state == "resting"
        book.agrees_with_truth()

    @pytest.mark.parametrize(
        ("side", "flow"), [("bid", {"sold": ((1.30200, 80.0),)}), ("ask", {"bought": ((1.30800, 80.0),)})]
    )
    def test_given_flow_through_our_price_when_it_is_smaller_than_our_order_then_a_maker_fill_at_our_price(
        self, book: Book, side: Side, flow: dict
    ) -> None:
        book.send(place=[order("mine", side)])
        book.settle()
        reports = book.settle(**flow)

        (fill,) = fills(reports, "mine")
        assert (fill.side, fill.liquidity, fill.price, fill.base) == (side, "maker", BID if side == "bid" else ASK, 80)
        assert remaining_at(book.stage.venue) == {"mine": SIZE - 80}
        book.agrees_with_truth()

    def test_given_flow_larger_than_our_order_when_it_passes_then_filled_whole_gone_and_every_trade_id_its_own(
        self, book: Book
    ) -> None:
        book.send(place=[order("b1"), order("b2", price=Decimal("1.30390"))])
        book.settle()
        reports = book.settle(sold=((1.30200, 1000.0),))

        assert [fill.base for fill in (*fills(reports, "b1"), *fills(reports, "b2"))] == [SIZE, SIZE]
        assert book.stage.venue.truth().orders == {}
        ids = [fill.trade_id for fill in reports if isinstance(fill, Fill)]
        assert len(set(ids)) == len(ids)
        book.agrees_with_truth()

    def test_given_a_price_through_the_book_when_placed_then_taker_fills_at_the_makers_price(self, book: Book) -> None:
        book.send(place=[order("b1", price=Decimal("1.31000"))])
        reports = book.settle()

        (fill,) = fills(reports, "b1")
        assert (fill.liquidity, fill.price, fill.base) == ("taker", Decimal("1.307"), SIZE)
        assert results(reports, "b1") == ["accepted"]
        book.agrees_with_truth()

    def test_given_a_long_exchange_when_every_report_is_taken_in_then_holdings_are_the_truth(self, book: Book) -> None:
        book.send(place=[order("b0"), order("a0", "ask")])
        for n in range(1, 8):
            book.settle(sold=((1.30350, 37.25 * n),), bought=((1.30650, 21.5 * n),))
            book.agrees_with_truth()
            book.send(replace=[order(f"b{n}", replaces=f"b{n - 1}"), order(f"a{n}", "ask", replaces=f"a{n - 1}")])
        book.settle()
        book.send(cancel=list(book.holdings.orders))
        book.settle()

        assert book.stage.venue.truth().orders == {}
        book.agrees_with_truth()

    def test_given_nothing_under_way_when_settled_again_then_nothing_is_reported(self, book: Book) -> None:
        book.send(place=[order("b1")])
        book.settle()

        assert book.stage.venue.settle() == ()
