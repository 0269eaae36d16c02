"""Feed and recorder at the end of a real connection: the tape's node behind a socket, and what becomes of it."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from engine_proc.feed_tape import TapeFeed
from engine_proc.feed_xrpl import XrplFeed
from engine_proc.market import MarketView
from engine_proc.tape_writer import record
from engine_proc.xrpl_link import XrplLink
from shared.clock import MarketClock, SystemClock
from shared.stop import Stop
from tests.xrpl.fake_node import FakeNode
from tests.xrpl.tape_node import TAPE, TapeNode, tape_lines

FIRST, LEDGERS = 915, 8
STALE_AFTER_MS = 2_000


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


class Session:
    """A node with the first of its ledgers validated, a link to it, and a feed."""

    def __init__(self, opened: ExitStack) -> None:
        self.header, self.lines = tape_lines(FIRST, LEDGERS)
        backend = TapeNode(self.header, self.lines)
        backend.close()
        self.pair = backend.pair
        self.stop = opened.enter_context(closing(Stop()))
        self.node: Any = opened.enter_context(FakeNode(backend))
        self.link = XrplLink(
            (self.node.url,),
            network_id=self.header["network_id"],
            request_timeout_ms=2_000,
            liveness_ms=20_000,
            backoff_ms=10,
            backoff_ms_max=50,
            clock=SystemClock(),
            rng=random.Random(1),
            stop=self.stop,
        )
        opened.enter_context(closing(self.link))
        self.feed = XrplFeed(
            self.link,
            self.pair,
            clock=SystemClock(),
            stale_after_ms=STALE_AFTER_MS,
            min_touch_size=1.0,
            account=None,
            transactions=True,
            stop=self.stop,
        )

    def view(self) -> MarketView:
        view = self.feed.next()
        assert view is not None
        return view._replace(ts_ns=0, age_ms=0)


def played(path: Path, first: int = 0) -> list[MarketView]:
    with closing(TapeFeed(path, MarketClock(), stale_after_ms=STALE_AFTER_MS, min_touch_size=1.0)) as feed:
        views = [feed.next() for _ in range(first + LEDGERS)]
    return [view._replace(ts_ns=0) for view in views[first:] if view is not None]


def test_given_a_node_when_its_ledgers_close_then_each_becomes_the_view_of_the_tape(opened: ExitStack) -> None:
    session = Session(opened)
    views = [session.view()]
    for _ in range(LEDGERS - 1):
        session.node.close_ledger()
        views.append(session.view())

    assert views == played(TAPE, FIRST)


def test_given_a_node_that_dies_while_it_is_read_when_it_is_back_then_the_feed_goes_on_with_the_newest(
    opened: ExitStack,
) -> None:
    session = Session(opened)
    session.view()
    session.node.kill_on("ledger", applied=True)
    session.node.close_ledger()

    def close_once_reconnected() -> None:
        session.node.await_until(lambda: session.node.sessions_made == 2, "a second connection")
        session.node.close_ledger()

    market = threading.Thread(target=close_once_reconnected)
    market.start()
    opened.callback(market.join)

    view = session.view()

    assert view == played(TAPE, FIRST)[2]
    assert session.feed.skipped == 1
    assert session.link.connections >= 2


def test_given_a_silent_node_when_time_is_up_then_the_last_book_comes_as_stale(opened: ExitStack) -> None:
    session = Session(opened)
    book = session.view()
    session.node.freeze()
    opened.callback(session.node.thaw)

    view = session.view()

    assert view.status == "STALE"
    assert (view.asks, view.bids, view.ledger_index) == (book.asks, book.bids, book.ledger_index)


def test_given_a_stop_while_the_feed_waits_when_it_is_requested_then_the_feed_ends_at_once(opened: ExitStack) -> None:
    session = Session(opened)
    session.view()
    asking = threading.Timer(0.05, session.stop.request)
    asking.start()
    opened.callback(asking.join)

    assert session.feed.next() is None


def test_given_a_recorder_at_a_real_connection_when_enough_ledgers_closed_then_its_tape_plays_the_same_views(
    opened: ExitStack, tmp_path: Path
) -> None:
    session = Session(opened)

    def closing_ledgers() -> None:
        for asked in range(1, LEDGERS):
            session.node.await_command("ledger", asked)
            session.node.close_ledger()

    market = threading.Thread(target=closing_ledgers)
    market.start()
    opened.callback(market.join)

    ledgers = record(session.link, session.pair, tmp_path / "market.jsonl.gz", SystemClock(), session.stop, LEDGERS)

    assert ledgers == LEDGERS
    assert played(tmp_path / "market.jsonl.gz") == played(TAPE, FIRST)
