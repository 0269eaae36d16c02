"""The proof of tests/node on the ledger double, short: trade through faults, a trip, a crash, a cut network."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from tests.node.nodes import DoubleNode
from tests.node.scenario import prove
from tests.node.world import Plan


def test_given_a_node_of_its_own_when_the_pair_trades_through_faults_then_the_record_is_the_ledgers_to_the_digit():
    said: list[str] = []
    with TemporaryDirectory(prefix="kn") as directory:  # short: a socket's name may have 107 bytes
        figures = prove(
            DoubleNode(Path(directory)), Path(directory), Plan(seed=1, ledgers=20, pace_s=0.2, lookback=5), said.append
        )

    assert figures.differences == [], said
    assert figures.fills > 0
    assert figures.holdings_compared > 20
