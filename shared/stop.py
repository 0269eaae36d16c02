"""A request to stop that wakes whoever waits, at once, and may be made from a signal handler."""

from __future__ import annotations

import select
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


class Stop:
    """Requested once, for good. A socket pair: a lock that a signal handler takes can deadlock with its holder."""

    def __init__(self) -> None:
        self.requested = False
        self._wakes, self._asks = socket.socketpair()
        self._asks.setblocking(False)

    def request(self) -> None:
        """Ask for the stop; asking again changes nothing."""
        if not self.requested:
            self.requested = True
            self._asks.send(b"!")

    def wait(self, timeout_ms: float) -> bool:
        """Wait at most so long; was the stop requested?"""
        select.select([self._wakes], [], [], timeout_ms / 1000)
        return self.requested

    def fileno(self) -> int:
        """Readable once the stop is requested, for those who also wait for something else."""
        return self._wakes.fileno()

    def close(self) -> None:
        """Nobody waits any more."""
        self._wakes.close()
        self._asks.close()


@contextmanager
def on_stop_signals(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Let a handler answer SIGTERM and SIGINT within the block; afterwards whoever answered them before does again."""
    before = {number: signal.signal(number, handler) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)
