"""The socket that engines push to. It is the fast path only: what it loses, the journals have."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import zmq

from shared.clock import Clock
from shared.codec import MESSAGE_BYTES_MAX
from shared.errors import KedgeError
from shared.stop import Stop

MESSAGES_QUEUED_MAX = 20_000  # beyond it the engines' own queues fill, and then their records wait in the journals
GATHER_MS = 5  # how long the next look waits once something is there: a wake-up for every message would cost more


class Inbox:
    """A bound PULL socket, read in batches."""

    def __init__(self, endpoint: str, clock: Clock, stop: Stop) -> None:
        """Bind. Raises `KedgeError` naming the endpoint if another process has it or it cannot be had."""
        self._clock = clock
        self._stop = stop
        self._context = zmq.Context()
        self._pull = self._context.socket(zmq.PULL)
        self._pull.set_hwm(MESSAGES_QUEUED_MAX)
        self._pull.set(zmq.MAXMSGSIZE, MESSAGE_BYTES_MAX)
        self._pull.set(zmq.LINGER, 0)
        try:
            _bind(self._pull, endpoint)
        except (zmq.ZMQError, OSError) as error:
            self.close()
            raise KedgeError(f"{endpoint}: cannot listen: {error.strerror or error}") from None
        except KedgeError:
            self.close()
            raise
        self._poller = zmq.Poller()
        self._poller.register(self._pull, zmq.POLLIN)
        self._poller.register(stop.fileno(), zmq.POLLIN)

    def drain(self, batch_max: int, flush_ms: int) -> list[bytes]:
        """At most `batch_max` messages, waiting for that many at most `flush_ms`, and not at all once told to stop."""
        messages: list[bytes] = []
        deadline_ns = self._clock.monotonic_ns() + flush_ms * 1_000_000
        while len(messages) < batch_max:
            try:
                messages.append(self._pull.recv(zmq.DONTWAIT))
            except zmq.Again:
                left_ms = (deadline_ns - self._clock.monotonic_ns()) / 1e6
                if left_ms <= 0 or self._stop.requested:
                    break
                if messages:
                    self._stop.wait(min(left_ms, GATHER_MS))
                else:
                    self._poller.poll(int(left_ms) + 1)
        return messages

    def close(self) -> None:
        """Give up the endpoint and what is still queued in it."""
        self._pull.close()
        self._context.term()


def _bind(pull: zmq.Socket[bytes], endpoint: str) -> None:
    if not endpoint.startswith("ipc://"):
        pull.bind(endpoint)
        return
    path = Path(endpoint.removeprefix("ipc://"))
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.exists() and not path.is_socket():  # bind would delete whatever it is
        raise KedgeError(f"{endpoint}: cannot listen: there is a file that is no socket")
    if _is_answered(path):  # bind would take the path away from a living writer, without a word to either
        raise KedgeError(f"{endpoint}: another process is listening there")
    umask = os.umask(0o177)  # the socket file is born 0600
    try:
        pull.bind(endpoint)
    finally:
        os.umask(umask)


def _is_answered(path: Path) -> bool:
    """Does anybody accept connections there? The file of a writer that died answers nobody."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        return probe.connect_ex(str(path)) == 0
