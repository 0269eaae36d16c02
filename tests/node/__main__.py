"""`make test-node`, `make test-ledger`: Kedge's pair of processes on a node, through faults, held against its ledger.

    python -m tests.node --node double|go-xrpl|ws://HOST:PORT [--ledgers 300] [--seed 1] [--pace-s 0.3]

Prints the figures. Exit code 0: no difference; 1: some. Where go-xrpl cannot be installed it says so and skips.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.node.nodes import NodeUnavailable
from tests.node.scenario import prove
from tests.node.standalone import node_of
from tests.node.world import Failure, Plan


def main() -> int:
    asked = argparse.ArgumentParser(prog="python -m tests.node", description=__doc__.partition("\n")[0])
    asked.add_argument("--node", default="double", metavar="double|go-xrpl|ws://HOST:PORT")
    asked.add_argument(
        "--ledgers", type=int, default=300, help="of trade and faults; the last acts take about 120 more"
    )
    asked.add_argument("--seed", type=int, default=1)
    asked.add_argument("--pace-s", type=float, default=0.3, help="seconds that the engine has for each ledger")
    asked.add_argument("--lookback", type=int, default=25, help="the guard's window, in ledgers")
    asked.add_argument("--tickets", type=int, default=0, help="so many in stock for Kedge's orders; 0: sequences")
    asked.add_argument("--keep", type=Path, default=None, help="work in this directory, which must not exist yet")
    options = asked.parse_args()
    plan = Plan(options.seed, options.ledgers, options.pace_s, options.lookback, options.tickets)
    started_s = time.monotonic()

    def say(what: str) -> None:
        print(f"{time.monotonic() - started_s:7.1f} s  {what}", flush=True)

    with tempfile.TemporaryDirectory(prefix="kn") as temporary:
        directory = options.keep or Path(temporary)
        if options.keep is not None:
            directory.mkdir(parents=True, mode=0o700)
        try:
            node = node_of(options.node, directory)
        except NodeUnavailable as error:
            print(f"skipped: {error}")
            return 0
        say(f"node {node.name}, seed {plan.seed}")
        try:
            figures = prove(node, directory, plan, say)
        except (Failure, AssertionError, NodeUnavailable) as error:
            say(f"FAILED, seed {plan.seed}: {error}")
            return 1
    for line in figures.lines():
        print(line)
    say("FAILED" if figures.differences else "ok")
    return 1 if figures.differences else 0


if __name__ == "__main__":
    sys.exit(main())
