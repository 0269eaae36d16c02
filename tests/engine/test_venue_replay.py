"""The venue of a replay: what the record says was filled or refused is, everything else is accepted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from engine_proc.feed_replay import ReplayFeed
from engine_proc.holdings import Balances, Fill, Holdings, Outcome
from engine_proc.ports import Plan
from engine_proc.venue_replay import ReplayVenue
from shared.clock import MarketClock
from shared.codec import encode
from shared.journal import JournalWriter
from shared.records import FillRecord, OrderEvent, Record
from tests.engine.venue_contract import remaining_at
from tests.engine.views import order
from tests.shared.record_examples import EXAMPLES, TICK


@pytest.fixture
def replayed(tmp_path: Path) -> Iterator[Callable[..., tuple[ReplayVenue, ReplayFeed]]]:
    feeds: list[ReplayFeed] = []

    def of(*records: Record) -> tuple[ReplayVenue, ReplayFeed]:
        writer = JournalWriter(tmp_path / "a.kj")
        for seq, record in enumerate((EXAMPLES["session_opened"], *records)):
            writer.append(encode("a", seq, record))
        writer.close()
        feeds.append(ReplayFeed(writer.path, MarketClock()))
        return ReplayVenue(feeds[0]), feeds[0]

    yield of
    for feed in feeds:
        feed.close()


def ended(order_id: str, event: str) -> OrderEvent:
    return OrderEvent(1, 2, order_id, event, "bid", 0, "1.295", "100", None, "why")


def test_given_orders_sent_when_the_record_says_nothing_of_them_then_accepted_and_cancels_done(replayed) -> None:
    venue, feed = replayed(TICK, TICK)
    feed.next()
    placed = order("p", state="pending")
    venue.submit(Plan(place=(placed,)))
    assert venue.truth().orders == {}
    reports = venue.reports(feed.next())
    assert Outcome("p", "accepted", None, Decimal(0)) in reports
    assert remaining_at(venue) == {"p": Decimal(100)}
    venue.submit(Plan(cancel=(placed,)))
    assert venue.settle() == (Outcome("p", "cancelled", None, Decimal(0)),)
    assert venue.truth().orders == {}


def test_given_a_recorded_fill_then_reported_after_the_acceptance_and_before_the_balances(replayed) -> None:
    fill = FillRecord(1, 2, "t", "p", "bid", "taker", "1.295", "40", "51.8", None)
    venue, feed = replayed(TICK, fill, TICK)
    feed.next()
    venue.submit(Plan(place=(order("p", state="pending"),)))
    reports = venue.reports(feed.next())
    assert reports == (
        Outcome("p", "accepted", None, Decimal(0)),
        Fill("t", "p", "bid", "taker", Decimal("1.295"), Decimal(40), Decimal("51.8")),
        Balances(Decimal("10000.5"), Decimal("12999.25")),
    )
    assert remaining_at(venue) == {"p": Decimal(60)}


def test_given_a_replacement_that_the_record_says_was_rejected_then_the_old_order_rests_on(replayed) -> None:
    venue, feed = replayed(TICK, TICK, ended("new", "rejected"), TICK)
    feed.next()
    venue.submit(Plan(place=(order("old", state="pending"),)))
    venue.reports(feed.next())
    held = Holdings.of(Decimal(1), Decimal(1)).once_sent([order("old")], [])
    new = order("new", state="pending", replaces="old")
    venue.submit(Plan(replace=(new,)))
    reports = venue.reports(feed.next())
    assert [report for report in reports if isinstance(report, Outcome)] == [
        Outcome("new", "rejected", "why", Decimal(0))
    ]
    assert remaining_at(venue) == {"old": Decimal(100)}
    assert held.once_sent([new], []).after(*reports).orders == {"old": order("old")}


def test_given_a_replacement_that_was_accepted_and_then_cancelled_in_the_same_view_then_neither_rests(replayed) -> None:
    venue, feed = replayed(TICK, TICK, ended("new", "cancelled"), TICK)
    feed.next()
    venue.submit(Plan(place=(order("old", state="pending"),)))
    venue.reports(feed.next())
    venue.submit(Plan(replace=(order("new", state="pending", replaces="old"),)))
    venue.reports(feed.next())
    assert venue.truth().orders == {}
