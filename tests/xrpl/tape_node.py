"""A node that answers as the one did from which a tape was recorded, and a link to a backend without a socket."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from engine_proc.xrpl_market import Pair, pair_of
from engine_proc.xrpl_ports import RIPPLE_EPOCH_UNIX_S, ClosedLedger, NodeRefused, NodeUnreachable
from tests.xrpl.fake_node import Backend, Refusal

TAPE = Path(__file__).parent.parent / "data" / "node_tape_a.jsonl.gz"

MS = 1_000_000


def tape_lines(first: int = 0, number: int = 40) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The header of the recorded tape, and so many of its ledgers from the `first` one on."""
    with gzip.open(TAPE, "rt") as file:
        header = json.loads(next(file))
        return header, [json.loads(line) for line in islice(file, first, first + number)]


class TapeNode:
    """A backend for `FakeNode` or `DirectLink`: every ledger up to the newest validated one, pinned answers only.

    With `api_version=1` transactions come in the old shape. As rippled does, it lists them by hash.
    """

    def __init__(self, header: dict[str, Any], lines: list[dict[str, Any]], *, api_version: int = 2) -> None:
        self.pair: Pair = pair_of(header["pair"], header["issuer"])
        self.forgotten: set[int] = set()
        self._header = header
        self._lines = lines
        self._by_index = {line["ledger_index"]: line for line in lines}
        self._api_version = api_version
        self._closed = 0

    @property
    def newest(self) -> dict[str, Any]:
        """The newest validated ledger's line."""
        return self._lines[max(self._closed, 1) - 1]

    def close(self) -> dict[str, Any]:
        """Validate the next ledger; its `ledgerClosed` message."""
        self._closed += 1
        return self._closed_message()

    def answer(self, command: dict[str, Any]) -> dict[str, Any]:
        """The `result` of one command."""
        name = command["command"]
        if name == "subscribe":
            return self._closed_message()
        if name == "server_info":
            return self._server_info()
        index = command["ledger_index"]
        line = self._by_index.get(index)
        if line is None or index in self.forgotten or index > self.newest["ledger_index"]:
            raise Refusal("lgrNotFound", "ledgerNotFound")
        found = {"ledger_hash": line["ledger_hash"], "ledger_index": index, "validated": True}
        if name == "book_offers":
            side = "asks" if command["taker_gets"]["currency"] == self.pair.base.currency else "bids"
            return found | {"offers": line[side][: command["limit"]]}
        if name == "amm_info":
            if line["amm_info"] is None:
                raise Refusal("actNotFound", "Account not found.")
            return found | {"amm": line["amm_info"]}
        assert name == "ledger", name
        ledger = {"close_time": line["close_time"], "ledger_hash": line["ledger_hash"], "closed": True}
        if command.get("transactions"):
            ledger["transactions"] = sorted(map(self._shaped, line["transactions"]), key=lambda entry: entry["hash"])
        return found | {"ledger": ledger}

    def _shaped(self, transaction: dict[str, Any]) -> dict[str, Any]:
        if self._api_version == 2:
            return transaction
        return transaction["tx_json"] | {"hash": transaction["hash"], "metaData": transaction["meta"]}

    def _closed_message(self) -> dict[str, Any]:
        line = self.newest
        return {
            "type": "ledgerClosed",
            "fee_base": 10,
            "ledger_hash": line["ledger_hash"],
            "ledger_index": line["ledger_index"],
            "ledger_time": line["close_time"],
            "network_id": self._header["network_id"],
            "reserve_base": 1_000_000,
            "reserve_inc": 200_000,
            "txn_count": len(line["transactions"]),
            "validated_ledgers": self._complete(),
        }

    def _server_info(self) -> dict[str, Any]:
        seq = self.newest["ledger_index"]
        validated = {"age": 1, "base_fee_xrp": 1e-05, "reserve_base_xrp": 1, "reserve_inc_xrp": 0.2, "seq": seq}
        return {
            "info": {
                "build_version": "3.3.0",
                "complete_ledgers": self._complete(),
                "load_factor": 1,
                "network_id": self._header["network_id"],
                "server_state": "full",
                "validated_ledger": validated,
            }
        }

    def _complete(self) -> str:
        return f"{self._lines[0]['ledger_index']}-{self.newest['ledger_index']}"


class FakeClock:
    """A clock that a test, or whoever waits on `DirectLink`, moves."""

    def __init__(self) -> None:
        self.ns = (RIPPLE_EPOCH_UNIX_S + 848_000_000) * 1_000_000_000

    def now_ns(self) -> int:
        return self.ns

    wall_ns = monotonic_ns = now_ns

    def pass_ms(self, ms: float) -> None:
        self.ns += int(ms * MS)


class DirectLink:
    """Answers `Link` out of a backend in this process. Whoever waits in vain lets the clock's time pass.

    `script` is called once for every wait, before anything else: it is where a test lets ledgers close.
    """

    def __init__(self, backend: Backend, clock: FakeClock, script: Callable[[DirectLink], None] | None = None) -> None:
        self.connections = 1
        self.clock = clock
        self.cut = False
        self.asked: Counter[str] = Counter()
        self.answers_take_ms = 0.0
        self._backend = backend
        self._script = script
        self._newest: ClosedLedger | None = None

    def closed(self, message: dict[str, Any]) -> None:
        """A `ledgerClosed` message comes in."""
        now = self.clock.ns
        index, close_time, ledger_hash = message["ledger_index"], message["ledger_time"], message["ledger_hash"]
        self._newest = ClosedLedger(index, close_time, now, now, 10, 1_000_000, 200_000, ledger_hash)

    def request(self, command: Mapping[str, Any]) -> dict[str, Any]:
        (answer,) = self.request_all([command])
        if isinstance(answer, NodeRefused):
            raise answer
        return answer

    def request_all(self, commands: Sequence[Mapping[str, Any]]) -> list[dict[str, Any] | NodeRefused]:
        if self.cut:
            raise NodeUnreachable("the cable is cut")
        self.clock.pass_ms(self.answers_take_ms)
        return [self._answer(json.loads(json.dumps(command))) for command in commands]

    def await_ledger(self, after: int, timeout_ms: float, *, heed_stop: bool = True) -> ClosedLedger | None:
        if self._script is not None:
            self._script(self)
        if self._newest is not None and self._newest.ledger_index > after:
            return self._newest
        self.clock.pass_ms(timeout_ms)
        return None

    def newest(self) -> ClosedLedger | None:
        return self._newest

    def close(self) -> None:
        pass

    def _answer(self, command: dict[str, Any]) -> dict[str, Any] | NodeRefused:
        self.asked[command["command"]] += 1
        try:
            return json.loads(json.dumps(self._backend.answer(command)))
        except Refusal as refusal:
            return NodeRefused(refusal.error, refusal.message)
