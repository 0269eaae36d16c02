"""Nodes to prove Kedge on: what the proof asks of one, and the ledger double as a process of its own."""

from __future__ import annotations

import signal
from decimal import Decimal
from pathlib import Path
from typing import Protocol

from tests.e2e.pair import Process
from tests.node.console import Console
from tests.node.parties import CURRENCY, Party


class NodeUnavailable(Exception):
    """This kind of node cannot be had here; the text says why, in one line."""


class Node(Protocol):
    """A node under test, in standalone mode: its ledger closes when it is told to (`ledger_accept`)."""

    name: str
    port: int
    can_be_killed: bool  # and comes back with every ledger that it had validated

    @property
    def url(self) -> str: ...

    def start(self) -> None:
        """Start it, or start it again, on the same port. Raises `NodeUnavailable`."""

    def kill(self) -> None:
        """kill -9. May be called from any thread."""

    def is_running(self) -> bool: ...

    def fund(self, console: Console, address: str, drops: int) -> None:
        """An account with so much XRP, once the next ledger is closed."""

    def create_pool(self, owner: Party, drops: int, issuer: str, value: Decimal, trading_fee: int) -> None:
        """An AMM pool, once the next ledger is closed. `owner` holds what goes into it."""

    def close(self) -> None:
        """Whatever happened, leave nothing running."""


class DoubleNode:
    """tests/node/double_process.py: our own ledger with rippled's rules, killed and started like a real one."""

    name = "double"
    can_be_killed = True

    def __init__(self, directory: Path) -> None:
        self.port = 0
        self._state = directory / "ledger.state"
        self._process: Process | None = None

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    def start(self) -> None:
        self.close()
        self._process = Process("tests.node.double_process", str(self._state), str(self.port))
        self.port = int(self._process.wait_for("listening on port").rpartition(" ")[2])

    def kill(self) -> None:
        if self._process is not None:
            self._process.popen.send_signal(signal.SIGKILL)

    def is_running(self) -> bool:
        return self._process is not None and self._process.popen.poll() is None

    def fund(self, console: Console, address: str, drops: int) -> None:
        console.ask("stage_fund", address=address, drops=drops)

    def create_pool(self, owner: Party, drops: int, issuer: str, value: Decimal, trading_fee: int) -> None:
        owner.console.ask(
            "stage_pool", owner=owner.address, drops=drops, issuer=issuer, currency=CURRENCY, value=str(value),
            trading_fee=trading_fee,
        )  # fmt: skip

    def close(self) -> None:
        if self._process is not None:
            self._process.close()
            self._process = None
