"""The socket between engine and writer: a queue that loses, repeats and delays what it likes.

    message dropped       it arrives nowhere, and nobody is told
    message repeated      it arrives twice
    message delayed       it arrives up to 3 s late, behind others: the order of arrival is not the order of sending
    refused at the HWM    the queue is full; the sender is told. Drawn per history, down to a few messages
    bytes of a stranger   somebody else sends something: junk, or a message of ours cut short
    queue lost            a process died, and with it a part of what was under way

No record may be lost or stored twice by any of it: the journal has them all.
"""

from __future__ import annotations

from heapq import heappop, heappush

from tests.sim.chance import Chance
from tests.sim.clock import SimClock

FAULTS = {
    "message dropped": 0.02,
    "message repeated": 0.02,
    "message delayed": 0.02,
    "bytes of a stranger": 0.004,
}
DELAY_MS_MAX = 3_000


class Wire:
    """What is under way, by the time it arrives."""

    def __init__(self, chance: Chance, clock: SimClock, messages_max: int) -> None:
        self._chance = chance
        self._clock = clock
        self._messages_max = messages_max
        self._sent = 0
        self._under_way: list[tuple[int, int, bytes]] = []
        self._strange: set[int] = set()  # numbers of messages
        self.strangers_arrived = 0
        self.strangers_stored = 0  # those that the database must have
        self._strangers_gone = 0  # those that it need not have: no journal has them

    def take(self, payload: bytes) -> bool:
        """Whether the queue has room for a message."""
        if len(self._under_way) >= self._messages_max:
            self._chance.struck["refused at the HWM"] += 1  # too many for the trace
            return False
        if self._chance.strikes("bytes of a stranger"):
            self._strange.add(self._sent + 1)
            self._send(self._chance.choice((self._chance.bytes(40), payload[: len(payload) // 2], b"", b"\xc1")))
        if self._chance.strikes("message dropped"):
            return True
        if self._chance.strikes("message repeated"):
            self._send(payload)
        self._send(payload)
        return True

    def arrived(self, messages_max: int) -> list[bytes]:
        """Take at most so many messages that are there by now."""
        arrived: list[bytes] = []
        now_ns = self._clock.monotonic_ns()
        while self._under_way and self._under_way[0][0] <= now_ns and len(arrived) < messages_max:
            _, number, payload = heappop(self._under_way)
            self.strangers_arrived += number in self._strange
            arrived.append(payload)
        return arrived

    def stored_since(self, strangers_arrived: int) -> None:
        """A writer ended in order: what arrived meanwhile is stored."""
        self.strangers_stored += self.strangers_arrived - max(strangers_arrived, self._strangers_gone)

    def database_lost(self) -> None:
        """With everything in it, or with its last commits."""
        self.strangers_stored, self._strangers_gone = 0, self.strangers_arrived

    def lose(self) -> None:
        """A process died that held a part of the queue."""
        before = len(self._under_way)
        self._under_way = [message for message in self._under_way if self._chance.share() < 0.5]  # a heap still
        if len(self._under_way) < before:
            self._under_way.sort()
            self._chance.happened("queue lost")

    def clear(self) -> None:
        """Both ends are gone."""
        self._under_way.clear()

    def _send(self, payload: bytes) -> None:
        late_ms = self._chance.between(1, DELAY_MS_MAX) if self._chance.strikes("message delayed") else 0
        self._sent += 1
        heappush(self._under_way, (self._clock.monotonic_ns() + late_ms * 1_000_000, self._sent, payload))


class WirePush:
    """Answers `engine_proc.outbox.Push`."""

    def __init__(self, wire: Wire) -> None:
        self.refused = 0
        self._wire = wire

    def send(self, payloads: list[bytes]) -> None:
        for payload in payloads:
            if not self._wire.take(payload):
                self.refused += 1

    def flush(self) -> None:
        """Nothing is held back here."""

    def close(self) -> None:
        """What is under way stays so."""
