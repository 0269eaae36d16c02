"""The live feed: the views a tape's player has too, one a ledger, and what it says when the network says nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from engine_proc.feed_tape import TapeFeed
from engine_proc.feed_xrpl import XrplFeed
from engine_proc.market import MarketView
from engine_proc.xrpl_market import RawLedger
from engine_proc.xrpl_ports import ClosedLedger, NodeUnreachable
from shared.clock import MarketClock
from shared.stop import Stop
from tests.xrpl.tape_node import TAPE, DirectLink, FakeClock, TapeNode, tape_lines

STALE_AFTER_MS = 15_000
SIZE_MIN = 1.0


@pytest.fixture
def stop() -> Iterator[Stop]:
    with closing(Stop()) as stop:
        yield stop


class Market:
    """A tape's node, a link to it, and a feed at its end. Every wait closes one ledger while any are due."""

    def __init__(
        self, stop: Stop, *, first: int = 0, account: str | None = None, transactions: bool = True, api_version: int = 2
    ) -> None:
        header, self.lines = tape_lines(first)
        self.header = header
        self.node = TapeNode(header, self.lines, api_version=api_version)
        self.clock = FakeClock()
        self.due = 0
        self.link = DirectLink(self.node, self.clock, lambda _: self._close_one())
        self.seen: list[tuple[RawLedger, ClosedLedger]] = []
        self.feed = XrplFeed(
            self.link,
            self.node.pair,
            clock=self.clock,
            stale_after_ms=STALE_AFTER_MS,
            min_touch_size=SIZE_MIN,
            account=account,
            transactions=transactions,
            stop=stop,
            on_ledger=lambda raw, ledger: self.seen.append((raw, ledger)),
        )

    def _close_one(self) -> None:
        if self.due:
            self.due -= 1
            self.close()

    def close(self, ledgers: int = 1) -> None:
        """So many ledgers close at once; the feed hears of the last."""
        for _ in range(ledgers):
            message = self.node.close()
        self.link.closed(message)

    def view(self) -> MarketView:
        """The view of the next ledger."""
        self.close()
        view = self.feed.next()
        assert view is not None
        return view


def played(first: int, number: int) -> list[MarketView]:
    """What the tape's own player shows of these ledgers."""
    feed = TapeFeed(TAPE, MarketClock(), stale_after_ms=STALE_AFTER_MS, min_touch_size=SIZE_MIN)
    with closing(feed):
        views = [feed.next() for _ in range(first + number)]
    return [view for view in views[first:] if view is not None]


def timeless(view: MarketView) -> MarketView:
    return view._replace(ts_ns=0, age_ms=0)


@pytest.mark.parametrize("api_version", [1, 2])
def test_given_the_node_of_a_tape_when_its_ledgers_close_then_the_views_are_those_of_the_tape(
    stop: Stop, api_version: int
) -> None:
    market = Market(stop, first=920, api_version=api_version)

    views = [timeless(market.view()) for _ in market.lines]

    assert views == [timeless(view) for view in played(920, len(market.lines))]
    assert any(hit.pool_after is not None for view in views for hit in view.prints)
    assert any(hit.pool_after is None for view in views for hit in view.prints)


def test_given_no_need_of_prints_when_a_ledger_closes_then_its_transactions_are_not_even_asked_for(stop: Stop) -> None:
    market = Market(stop, first=920, transactions=False)

    views = [market.view() for _ in market.lines]

    assert not any(view.prints for view in views)
    assert market.link.asked == {"book_offers": 2 * len(views), "amm_info": len(views)}


def test_given_our_offers_in_the_book_when_it_is_read_then_the_view_is_without_them(stop: Stop) -> None:
    whole = Market(stop)
    ours = whole.header["accounts"]["M1"]
    others = Market(stop, account=ours)

    with_ours, without = whole.view(), others.view()

    raw, _ = others.seen[0]
    assert any(offer["Account"] == ours for offer in raw.asks + raw.bids)
    assert len(without.asks) < len(with_ours.asks)
    assert len(without.bids) < len(with_ours.bids)
    assert set(without.asks) <= set(with_ours.asks)


def test_given_a_busy_engine_when_ledgers_closed_meanwhile_then_the_newest_is_shown_and_the_others_counted(
    stop: Stop,
) -> None:
    market = Market(stop)
    first = market.view()
    market.close(ledgers=3)

    view = market.feed.next()

    assert view is not None
    assert first.ledger_index is not None
    assert view.ledger_index == first.ledger_index + 3
    assert market.feed.skipped == 2
    assert [ledger.ledger_index for _, ledger in market.seen] == [first.ledger_index, view.ledger_index]


def test_given_a_ledger_that_cannot_be_read_when_the_next_one_closes_then_that_is_the_view(stop: Stop) -> None:
    market = Market(stop)
    first = market.view()
    market.close()
    market.node.forgotten.add(market.node.newest["ledger_index"])
    market.due = 1

    view = market.feed.next()

    assert view is not None
    assert first.ledger_index is not None
    assert (view.ledger_index, view.status) == (first.ledger_index + 2, "OK")
    assert market.feed.skipped == 1
    assert len(market.seen) == 2


def test_given_an_answer_of_another_ledger_when_it_comes_then_no_view_is_made_of_it(stop: Stop) -> None:
    market = Market(stop)
    honest = market.node.answer
    lagging = market.lines[0]["ledger_index"]

    def behind(command: dict) -> dict:  # type: ignore[type-arg]
        return honest(command | {"ledger_index": lagging}) if command["command"] == "amm_info" else honest(command)

    market.view()
    market.node.answer = behind  # type: ignore[method-assign]
    market.close()

    view = market.feed.next()

    assert view is not None
    assert (view.status, view.ledger_index) == ("STALE", lagging)


def test_given_a_silent_network_when_the_last_book_grows_old_then_it_comes_again_as_stale_and_as_often_as_that(
    stop: Stop,
) -> None:
    market = Market(stop, first=920)
    last = market.view()
    market.link.cut = True

    again = [market.feed.next() for _ in range(3)]

    ages = [view.age_ms for view in again if view is not None]
    assert ages == [STALE_AFTER_MS + 1, 2 * (STALE_AFTER_MS + 1), 3 * (STALE_AFTER_MS + 1)]
    for view in again:
        assert view is not None
        assert (view.status, view.mid, view.prints) == ("STALE", None, ())
        assert (view.ledger_index, view.asks, view.bids) == (last.ledger_index, last.asks, last.bids)
    assert len(market.seen) == 1

    market.link.cut = False
    assert market.view().status == "OK"


def test_given_ledgers_that_close_but_cannot_be_read_when_time_is_up_then_the_engine_is_told_all_the_same(
    stop: Stop,
) -> None:
    market = Market(stop)
    market.view()
    market.link.cut = True
    market.due = 10

    def closing_every_four_seconds(command: object) -> None:
        market.clock.pass_ms(4_000)
        raise NodeUnreachable("the answer never came")

    market.link.request_all = closing_every_four_seconds  # type: ignore[method-assign,assignment]

    view = market.feed.next()

    assert view is not None
    assert view.status == "STALE"
    assert STALE_AFTER_MS < view.age_ms < STALE_AFTER_MS + 4_001
    assert market.due > 0


def test_given_no_ledger_ever_when_time_is_up_then_an_empty_stale_view_says_so(stop: Stop) -> None:
    market = Market(stop)

    view = market.feed.next()

    assert view is not None
    assert (view.status, view.ledger_index, view.asks, view.bids, view.amm) == ("STALE", None, (), (), None)


def test_given_answers_that_take_too_long_when_the_view_is_made_then_it_is_as_old_as_its_ledger(stop: Stop) -> None:
    market = Market(stop)
    market.link.answers_take_ms = STALE_AFTER_MS + 5

    view = market.view()

    assert (view.status, view.age_ms) == ("STALE", STALE_AFTER_MS + 5)
    assert view.ts_ns == market.clock.now_ns()


def test_given_a_stop_when_the_feed_is_asked_then_it_has_ended(stop: Stop) -> None:
    market = Market(stop)
    market.close()
    stop.request()

    assert market.feed.next() is None
