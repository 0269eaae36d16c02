"""The node, the market on it, the fault proxy and the real pair of processes; time passes ledger by ledger."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple, Self

from tests.e2e.pair import Process, starting_writer
from tests.node.chronicle import Chronicle, OpenOffer
from tests.node.console import Console, NodeGone
from tests.node.home import LiveHome
from tests.node.nodes import Node
from tests.node.parties import CURRENCY
from tests.node.sluice import Sluice
from tests.node.stage import Stage

RETURN_LEDGERS = 2  # so many ledgers after its death a process is started again
RECOVERY_LEDGERS_MAX = 60
SHOWN_LINES_MAX = 25
TRIPPED = "anchor_saturation_guard"


class Failure(Exception):
    """The proof has failed in a way that ends it: a process died by itself, or nothing happens any more."""


class Plan(NamedTuple):
    """How long and how fast. `lookback` is the guard's window in ledgers; `tickets`: 0 for sequences."""

    seed: int
    ledgers: int
    pace_s: float
    lookback: int
    tickets: int = 0


class World:
    """Everything that runs. A context manager: whatever happened, nothing is left running."""

    def __init__(self, node: Node, directory: Path, plan: Plan) -> None:
        self.node = node
        self.plan = plan
        self.pace_s = plan.pace_s
        self.home = LiveHome(directory)
        self.faults: Counter[str] = Counter()
        self.ledgers = 0
        self.sessions = 0
        self.engine_lines: list[list[str]] = []
        self._opened = ExitStack()
        self._engine: Process | None = None
        self._writer: Process | None = None
        self._may_end: set[str] = set()  # a fault, or this proof, has asked for their end
        self._returns: set[str] = set()  # who of them is started again
        self._return_at: dict[str, int] = {}

    def __enter__(self) -> Self:
        with ExitStack() as opened:
            opened.callback(self.node.close)
            self.node.start()
            self.console = Console(self.node.url)
            opened.callback(self.console.close)
            self.stage = Stage(self.node, self.console, self.plan.seed)
            self.stage.prepare(self._close_ledger)
            self.sluice = Sluice(self.node.port)
            opened.callback(self.sluice.close)
            kedge, issuer = self.stage.kedge, self.stage.issuer.address
            self.chronicle = Chronicle(self.console, kedge.address, issuer, CURRENCY)
            self.chronicle.begin()
            self.home.furnish(
                endpoint=self.sluice.url, network_id=self.stage.network_id, issuer=issuer, account=kedge.address,
                seed=kedge.secret, lookback=self.plan.lookback, tickets=self.plan.tickets,
            )  # fmt: skip
            opened.callback(self._bury)
            self._opened = opened.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    # ------------------------------------------------------------------------------------------------- the time

    def pass_ledger(self) -> None:
        """The traders act, the engine has `pace_s`, a ledger closes and is read; who was killed comes back."""
        self._call_back()
        try:
            self.stage.act()
            time.sleep(self.pace_s)
            self._close_ledger()
            self.chronicle.read_on()
        except NodeGone:
            if "node" not in self._may_end:
                raise
        self.ledgers += 1
        self._notice_deaths()
        self._notice_drift()

    def until(self, happened: Callable[[], bool], what: str, ledgers_max: int = RECOVERY_LEDGERS_MAX) -> None:
        """Let ledgers pass until it has happened. Raises `Failure` after so many in vain."""
        for _ in range(ledgers_max):
            if happened():
                return
            self.pass_ledger()
        raise Failure(f"{ledgers_max} ledgers later still not: {what}; {self.last_words()}")

    def quotes_rest(self) -> bool:
        """Both sides of ours rest in the newest ledger."""
        return {offer.side for offer in self.live_offers()} == {"bid", "ask"}

    def nothing_rests(self) -> bool:
        return not self.live_offers()

    def live_offers(self) -> list[OpenOffer]:
        """Offers of ours that may still trade."""
        return list(self.chronicle.newest().live().values())

    # ------------------------------------------------------------------------------------------ the processes

    def start_engine(self) -> None:
        self._back("engine")
        self._engine = Process("engine_proc", "run", "--live", "-c", str(self.home.config))
        self.engine_lines.append(self._engine.lines)
        self.sessions += 1

    def stop_engine(self) -> int:
        """SIGTERM, and ledgers until it has ended; the exit code."""
        engine = self._running_engine()
        self._may_end.add("engine")
        engine.popen.terminate()
        self.until(lambda: engine.popen.poll() is not None, "the engine ends after SIGTERM")
        code = engine.ended()
        engine.close()
        self._engine = None
        return code

    def start_writer(self) -> None:
        self._back("writer")
        self._writer = starting_writer(self.home)  # type: ignore[arg-type]

    def stop_writer(self) -> None:
        """To its orderly end: everything that the journals hold is in the database then."""
        if self._writer is not None:
            code = self._writer.stop()
            if code != 0:
                raise Failure(f"the writer ended with {code}: {self._writer.lines[-SHOWN_LINES_MAX:]}")
            self._writer.close()
            self._writer = None

    def kill_node(self) -> None:
        """kill -9, like the next two; may be called from any thread. It comes back by itself."""
        self._condemn("node")
        self.node.kill()

    def kill_engine(self) -> None:
        self._condemn("engine")
        if self._engine is not None:
            self._engine.popen.kill()

    def kill_writer(self) -> None:
        self._condemn("writer")
        if self._writer is not None:
            self._writer.popen.kill()

    def crash_engine(self) -> None:
        """kill -9, and nobody starts it again."""
        engine = self._running_engine()
        self._may_end.add("engine")
        engine.popen.kill()
        engine.ended()
        engine.close()
        self._engine = None

    def command(self, *words: str) -> list[str]:
        """One command of `kedge-engine`, with ledgers passing until it has ended well; what it said."""
        process = Process("engine_proc", *words, "-c", str(self.home.config))
        try:
            self.until(lambda: process.popen.poll() is not None, f"the end of {words}")
            assert process.popen.stdout is not None
            said = [*process.popen.stdout.read().splitlines(), *process.lines]
            if process.ended() != 0:
                raise Failure(f"{words} ended with {process.popen.returncode}: {said}")
        finally:
            process.close()
        return said

    def engine_said(self, text: str) -> bool:
        """In any of its lives."""
        return any(text in line for lines in self.engine_lines for line in lines)

    def engine_runs(self) -> bool:
        return self._engine is not None and self._engine.popen.poll() is None

    def all_are_back(self) -> bool:
        return not self._returns

    def last_words(self) -> str:
        lines = self.engine_lines[-1][-SHOWN_LINES_MAX:] if self.engine_lines else []
        return "the engine's last words:\n  " + "\n  ".join(lines)

    # ----------------------------------------------------------------------------------------------- backstage

    def _running_engine(self) -> Process:
        assert self._engine is not None, "the engine was not started"
        return self._engine

    def _close_ledger(self) -> None:
        self.console.ask("ledger_accept")

    def _condemn(self, who: str) -> None:
        self._may_end.add(who)
        self._returns.add(who)

    def _back(self, who: str) -> None:
        self._may_end.discard(who)
        self._returns.discard(who)
        self._return_at.pop(who, None)

    def _call_back(self) -> None:
        """Whoever was killed is started again: the node at once, the others after some ledgers."""
        if "node" in self._returns and not self.node.is_running():
            self.console.close()
            self.node.start()
            self._back("node")
        for who, process, start in (
            ("engine", self._engine, self.start_engine),
            ("writer", self._writer, self.start_writer),
        ):
            if who in self._returns and process is not None and process.popen.poll() is not None:
                due = self._return_at.setdefault(who, self.ledgers + RETURN_LEDGERS)
                if self.ledgers >= due:
                    process.close()
                    start()

    def _notice_deaths(self) -> None:
        """Nobody may end but by a fault of the schedule."""
        for who, process in (("engine", self._engine), ("writer", self._writer)):
            if process is not None and who not in self._may_end and process.popen.poll() is not None:
                process.ended()
                said = "\n  ".join(process.lines[-SHOWN_LINES_MAX:])
                raise Failure(f"the {who} ended by itself with {process.popen.returncode}:\n  {said}")

    def _notice_drift(self) -> None:
        """The guard's trip is part of the proof; whatever else stops the engine's quoting has failed it."""
        for line in self.engine_lines[-1] if self.engine_lines else ():
            if ("-> DEGRADED" in line or "-> HALT" in line) and TRIPPED not in line:
                raise Failure(f"{line}; {self.last_words()}")

    def _bury(self) -> None:
        for process in (self._engine, self._writer):
            if process is not None:
                process.close()
