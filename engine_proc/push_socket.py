"""The engine's end of the fast path. Whatever happens to it, the tick does not notice: the journal has every record."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import zmq
from zmq.utils.monitor import recv_monitor_message

from shared.clock import Clock
from shared.curve import EngineKeys
from shared.errors import ConfigError
from shared.private_directory import check_ours, make_private

_DONT_WAIT = int(zmq.NOBLOCK)
_TURNED_AWAY = (
    zmq.EVENT_HANDSHAKE_FAILED_AUTH | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
)


class PushSocket:
    """ZeroMQ PUSH, connected to the writer's PULL whether that is up yet or not.

    A record that comes more than `burst_ms` after the last hand-over goes out at once. Those that come faster wait for
    the first that is due again and go out together: every hand-over may wake ZeroMQ's thread and the writer, which on
    a machine of two cores is time that the tick does not get.

    With keys it speaks to the writer of that public key alone. A writer that does not admit ours says so once, after
    which ZeroMQ does not ask again: until the engine's next start every record is counted in `refused`.
    """

    def __init__(
        self,
        endpoint: str,
        clock: Clock,
        *,
        records_max: int,
        linger_ms: int,
        burst_ms: int,
        keys: EngineKeys | None = None,
    ) -> None:
        """Connect. Raises `ConfigError` for an address to which nobody can connect, such as `tcp://*:PORT`."""
        self.refused = 0
        self._monotonic_ns = clock.monotonic_ns
        self._burst_ns = burst_ms * 1_000_000
        self._due_ns = 0
        self._held: list[bytes] = []
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.PUSH)
        self._socket.setsockopt(zmq.SNDHWM, records_max)  # only counts when set before connect
        self._socket.setsockopt(zmq.LINGER, linger_ms)
        try:
            _connect(self._socket, endpoint, keys)
        except ConfigError:
            self.close()
            raise
        self._send = super(zmq.Socket, self._socket).send  # the plain send, without the options that we do not use

    def send(self, payloads: list[bytes]) -> None:
        """Take records; they leave now or with the next burst. What ZeroMQ's full queue refuses is counted."""
        self._held += payloads
        if self._monotonic_ns() >= self._due_ns:
            self.flush()

    def flush(self) -> None:
        """Hand over what is held."""
        for payload in self._held:
            try:
                self._send(payload, _DONT_WAIT)
            except zmq.Again:
                self.refused += 1
        self._held.clear()
        self._due_ns = self._monotonic_ns() + self._burst_ns

    def close(self) -> None:
        """Close; what is still queued has `linger_ms` to leave, then the journal is its only copy."""
        self.flush()
        self._socket.close()
        self._context.term()


def handshake(endpoint: str, keys: EngineKeys | None, timeout_ms: int) -> Literal["answers", "turns us away", "silent"]:
    """How the writer receives an engine: connect as one does, and send nothing.

    Raises `ConfigError` for an address to which nobody can connect.
    """
    with zmq.Context() as context, context.socket(zmq.PUSH) as push:
        push.setsockopt(zmq.LINGER, 0)
        monitor = push.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED | _TURNED_AWAY)
        try:
            _connect(push, endpoint, keys)
            if not monitor.poll(timeout_ms):
                return "silent"
            succeeded = recv_monitor_message(monitor)["event"] == zmq.EVENT_HANDSHAKE_SUCCEEDED
            return "answers" if succeeded else "turns us away"
        finally:
            push.disable_monitor()
            monitor.close()


def _connect(socket: zmq.Socket[bytes], endpoint: str, keys: EngineKeys | None) -> None:
    """Connect as an engine with these keys. Raises `ConfigError`."""
    socket.setsockopt(zmq.IPV6, int("[" in endpoint))
    if keys is not None:
        socket.setsockopt(zmq.CURVE_PUBLICKEY, keys.own.public)
        socket.setsockopt(zmq.CURVE_SECRETKEY, keys.own.secret)
        socket.setsockopt(zmq.CURVE_SERVERKEY, keys.writer_public)
    try:
        socket.connect(endpoint)
    except zmq.ZMQError as error:
        raise ConfigError(f"telemetry.endpoint: {endpoint}: cannot connect there: {error.strerror}") from None


def prepare_socket_directory(endpoint: str) -> None:
    """Make the directory of an `ipc://` endpoint, in which nobody else may stand in for the writer.

    Raises `ConfigError` if others may put a socket there, or have put one.
    """
    if not endpoint.startswith("ipc://"):
        return
    path = Path(endpoint.removeprefix("ipc://"))
    try:
        make_private(path.parent, sticky_will_do=True)
        check_ours(path)
    except OSError as error:
        raise ConfigError(f"telemetry.endpoint: cannot use {path.parent}: {error.strerror}") from None
    except ConfigError as error:
        raise ConfigError(f"telemetry.endpoint: {error}") from None
