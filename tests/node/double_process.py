"""The ledger double as a node of its own: a process with a port, that can be killed with -9 and started again.

    python -m tests.node.double_process STATE_FILE [PORT]

A ledger closes on `ledger_accept`, as with any standalone node; every validated ledger is on disk before anybody hears
of it. `stage_fund` and `stage_pool` stand for what a real node's genesis account would pay for.
"""

from __future__ import annotations

import queue
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

from tests.xrpl.fake_node import FakeNode
from tests.xrpl.ledger import Ledger


class Standalone:
    """The backend behind the server: the double, saved at every close, and the two commands of the stage."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.ledger = Ledger.load(state) if state.exists() else Ledger()
        self.closed: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()

    def answer(self, command: dict[str, Any]) -> dict[str, Any]:
        match command["command"]:
            case "ledger_accept":
                message = self.ledger.close()
                self.ledger.save(self.state)
                self.closed.put(message)
                return {"ledger_current_index": message["ledger_index"] + 1}
            case "stage_fund":
                self.ledger.fund(command["address"], command["drops"])
            case "stage_pool":
                asked = {name: command[name] for name in ("owner", "drops", "issuer", "currency", "trading_fee")}
                return {"account": self.ledger.create_pool(**asked, value=Decimal(command["value"]))}
            case _:
                return self.ledger.answer(command)
        return {}


def main() -> None:
    state = Path(sys.argv[1])
    port = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    backend = Standalone(state)
    with FakeNode(backend, port=port) as node:
        print(f"listening on port {node.port}", file=sys.stderr, flush=True)
        while True:
            node.publish(backend.closed.get())


if __name__ == "__main__":
    main()
