"""The socket that engines push to. It is the fast path only: what it loses, the journals have.

Whoever may connect is bounded in what it can do to us: a message in bytes (ZeroMQ drops the connection of a longer
one), a drain in messages and bytes, the queue behind each connection in messages, a handshake in time (ZeroMQ's 30 s).
ZeroMQ has no bound for the number of connections and of parts of one message. So who may connect is bounded too: by
the 0600 of a socket file, or by CURVE keys; a plain loopback port is open to every user of the machine.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping
from pathlib import Path

import zmq
from zmq.auth.thread import ThreadAuthenticator

from shared.clock import Clock
from shared.codec import MESSAGE_BYTES_MAX
from shared.curve import WriterKeys
from shared.errors import KedgeError
from shared.private_directory import make_private
from shared.stop import Stop

log = logging.getLogger(__name__)

# A connection's queue: 0.25 GB of the longest messages. Beyond it the engine's own fills, and then its records wait in
# its journal. Ten times as many made no difference to what a benchmark gets through.
MESSAGES_QUEUED_MAX = 1_000
BATCH_BYTES_MAX = 32 * 1024 * 1024
GATHER_MS = 5  # how long the next look waits once something is there: a wake-up for every message would cost more
STRANGERS_SAID_MAX = 20  # a stranger can make up a new key for every knock
ZAP_DOMAIN = "kedge"


class Inbox:
    """A bound PULL socket, read in batches. With keys, only engines whose public key is known get through to it."""

    def __init__(self, endpoint: str, clock: Clock, stop: Stop, keys: WriterKeys | None = None) -> None:
        """Bind. Raises `KedgeError` naming the endpoint if another process has it or it cannot be had."""
        self._clock = clock
        self._stop = stop
        self._context = zmq.Context()
        self._authenticator: ThreadAuthenticator | None = None
        self._pull = self._context.socket(zmq.PULL)
        self._pull.set_hwm(MESSAGES_QUEUED_MAX)
        self._pull.set(zmq.MAXMSGSIZE, MESSAGE_BYTES_MAX)
        self._pull.set(zmq.LINGER, 0)
        self._pull.set(zmq.IPV6, int("[" in endpoint))
        try:
            if keys is not None:
                self._admit_only(keys)
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
        """At most `batch_max` messages and little more than `BATCH_BYTES_MAX`.

        It waits for that many at most `flush_ms`, and not at all once told to stop.
        """
        messages: list[bytes] = []
        room_bytes = BATCH_BYTES_MAX
        deadline_ns = self._clock.monotonic_ns() + flush_ms * 1_000_000
        while len(messages) < batch_max and room_bytes > 0:
            try:
                message = self._pull.recv(zmq.DONTWAIT)
            except zmq.Again:
                left_ms = (deadline_ns - self._clock.monotonic_ns()) / 1e6
                if left_ms <= 0 or self._stop.requested:
                    break
                if messages:
                    self._stop.wait(min(left_ms, GATHER_MS))
                else:
                    self._poller.poll(int(left_ms) + 1)
            else:
                messages.append(message)
                room_bytes -= len(message)
        return messages

    def close(self) -> None:
        """Give up the endpoint and what is still queued in it."""
        self._pull.close()
        if self._authenticator is not None:  # after the socket: nobody is to be let in without having been asked
            self._authenticator.stop()
        self._context.term()

    def _admit_only(self, keys: WriterKeys) -> None:
        """ZeroMQ asks a thread of pyzmq's about every engine that knocks; without an answer nobody gets in."""
        self._authenticator = ThreadAuthenticator(self._context)
        self._authenticator.configure_curve_callback(ZAP_DOMAIN, Doorkeeper(keys.admitted))
        self._authenticator.start()
        self._pull.set(zmq.ZAP_DOMAIN, ZAP_DOMAIN.encode())
        self._pull.set(zmq.ZAP_ENFORCE_DOMAIN, 1)
        self._pull.set(zmq.CURVE_SERVER, 1)
        self._pull.set(zmq.CURVE_PUBLICKEY, keys.own.public)
        self._pull.set(zmq.CURVE_SECRETKEY, keys.own.secret)


class Doorkeeper:
    """Answers pyzmq's authenticator, on its thread: is this public key one of ours?"""

    def __init__(self, admitted: Mapping[bytes, Path]) -> None:
        self._admitted = admitted
        self._seen: set[bytes] = set()

    def callback(self, _domain: str, public_key: bytes) -> bool:
        """Whether the key is admitted; says once who came, and who was turned away."""
        admitted = self._admitted.get(public_key)
        if public_key not in self._seen and (admitted is not None or len(self._seen) < STRANGERS_SAID_MAX):
            self._seen.add(public_key)
            if admitted is not None:
                log.info("admitted by its key: %s", admitted)
            else:
                log.warning("turned away, its public key is not among ours: %s", public_key.decode())
        return admitted is not None


def _bind(pull: zmq.Socket[bytes], endpoint: str) -> None:
    if not endpoint.startswith("ipc://"):
        pull.bind(endpoint)
        return
    path = Path(endpoint.removeprefix("ipc://"))
    make_private(path.parent, sticky_will_do=True)
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
