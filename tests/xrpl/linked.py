"""A link over fake nodes, with times short enough for tests."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import closing, contextmanager

from engine_proc.xrpl_link import XrplLink
from shared.clock import SystemClock
from shared.stop import Stop
from tests.xrpl.fake_node import FakeNode

LONG_MS = 10_000  # never waited for when all is well


@contextmanager
def link_to(*nodes: FakeNode | str, stop: Stop | None = None, **changes: int) -> Iterator[XrplLink]:
    """A link to these nodes or URLs, in this order. Its time-outs are long: a test that needs one shortens it."""
    times = {
        "network_id": 0,
        "request_timeout_ms": LONG_MS,
        "liveness_ms": LONG_MS,
        "backoff_ms": 10,
        "backoff_ms_max": 50,
    }
    urls = [node if isinstance(node, str) else node.url for node in nodes]
    with closing(Stop()) as own_stop:
        link = XrplLink(urls, **(times | changes), clock=SystemClock(), rng=random.Random(1), stop=stop or own_stop)
        with closing(link):
            yield link


def next_ledger(node: FakeNode, link: XrplLink) -> int:
    """Close a ledger of the node, and wait until the link has it; its index."""
    index = node.close_ledger()["ledger_index"]
    ledger = link.await_ledger(index - 1, LONG_MS)
    assert ledger is not None, f"ledger {index} never came"
    assert ledger.ledger_index == index
    return index


def await_connection(node: FakeNode, link: XrplLink, subscriptions: int = 1) -> None:
    """Wait until the link has subscribed at this node so many times in all, and uses it."""
    node.await_command("subscribe", subscriptions, timeout_s=LONG_MS / 1000)
    next_ledger(node, link)
