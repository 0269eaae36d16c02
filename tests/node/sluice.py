"""A TCP proxy between the engine and its node that can fail at chosen messages.

It reads the WebSocket frames that pass (RFC 6455, without compression, which it takes out of the handshake), so a
fault can be tied to a submit instead of to a moment:

    request   the submit has arrived here and goes no further: the node never hears of it
    flight    the submit has gone on to the node; what the node says to it, if anything, is not waited for
    answer    the node has answered, so the submit is applied; the answer goes no further

At that point an action runs: drop the connection, kill a process, or nothing, which leaves the request unanswered.
"""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Literal, NamedTuple

Moment = Literal["request", "flight", "answer"]

TEXT, BINARY, CLOSE = 1, 2, 8
CONTROL = 8  # opcodes from here on are control frames, which may stand between the frames of a message


class Trap(NamedTuple):
    """Waits for so many more submits, then acts at this moment of the last of them."""

    moment: Moment
    submits: int
    action: Callable[[], object]


class Message(NamedTuple):
    """What passes: the bytes as they came, and the text in them (None for anything but a whole text message)."""

    raw: bytes
    text: str | None


class Sluice:
    """Listens on a port of its own from the start until `close`; every connection goes to the node's port."""

    def __init__(self, node_port: int) -> None:
        self.counts: Counter[str] = Counter()
        self._node_port = node_port
        self._lock = threading.Condition()
        self._frozen = False
        self._cut = False
        self._trap: Trap | None = None
        self._swallowed: set[str] = set()  # ids of submits whose answer goes no further
        self._awaited: dict[str, Callable[[], object]] = {}  # ids of submits whose answer sets the trap off
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._threads: list[threading.Thread] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self.url = f"ws://127.0.0.1:{self.port}"
        self._closed = False
        self._start(self._accept)

    # ------------------------------------------------------------------------------------------------ the faults

    def set_trap(self, moment: Moment, submits: int, action: Callable[[], object]) -> None:
        """Act at this moment of the `submits`-th submit from now on."""
        with self._lock:
            self._trap = Trap(moment, submits, action)

    @property
    def trap_is_set(self) -> bool:
        with self._lock:
            return self._trap is not None or bool(self._awaited)

    def disarm(self) -> bool:
        """Take the trap away; whether it had sprung."""
        with self._lock:
            sprung = self._trap is None and not self._awaited
            self._trap = None
            self._awaited.clear()
        return sprung

    def drop(self) -> None:
        """Reset every connection, mid-message if need be."""
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for end in pair:
                _reset(end)
        self.counts["connections dropped"] += len(pairs)

    def cut(self) -> None:
        """Drop everything and let nobody through until `mend`."""
        self._cut = True
        self.drop()

    def mend(self) -> None:
        self._cut = False

    def freeze(self) -> None:
        """Nothing passes either way, and no connection ends: the silence of a dead route."""
        with self._lock:
            self._frozen = True

    def thaw(self) -> None:
        with self._lock:
            self._frozen = False
            self._lock.notify_all()

    def close(self) -> None:
        self._closed = True
        self.thaw()
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self.drop()
        for thread in self._threads:
            thread.join(10)

    # --------------------------------------------------------------------------------------------- what passes

    def _accept(self) -> None:
        while not self._closed:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            try:
                node = socket.create_connection(("127.0.0.1", self._node_port), 5)
            except OSError:
                _reset(client)
                continue
            with self._lock:
                self._pairs.append((client, node))
            if self._cut or self._closed:
                self.drop()
                continue
            node.settimeout(None)
            self.counts["connections"] += 1
            self._start(self._pump, client, node, self._upwards)
            self._start(self._pump, node, client, self._downwards)

    def _pump(self, source: socket.socket, target: socket.socket, judge: Callable[[Message], bool]) -> None:
        """Message after message from one end to the other, until either is gone; then both are."""
        with suppress(OSError, EOFError):
            for message in _messages(source):
                with self._lock:
                    self._lock.wait_for(lambda: not self._frozen)
                if judge(message):
                    target.sendall(message.raw)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _upwards(self, message: Message) -> bool:
        """From the engine: does it go on to the node?"""
        asked = _content(message)
        if asked.get("command") != "submit":
            return True
        self.counts["submits"] += 1
        with self._lock:
            trap = self._trap
            if trap is None:
                return True
            if trap.submits > 1:
                self._trap = trap._replace(submits=trap.submits - 1)
                return True
            self._trap = None
            if trap.moment == "answer":
                self._awaited[str(asked.get("id"))] = trap.action
                return True
            if trap.moment == "flight":
                self._swallowed.add(str(asked.get("id")))
        if trap.moment == "flight":
            threading.Thread(target=trap.action).start()  # while the message is on its way
            return True
        trap.action()
        return False

    def _downwards(self, message: Message) -> bool:
        """From the node: does it go on to the engine?"""
        answered = str(_content(message).get("id"))
        with self._lock:
            action = self._awaited.pop(answered, None)
            if action is None and answered not in self._swallowed:
                return True
            self._swallowed.discard(answered)
        self.counts["answers lost"] += 1
        if action is not None:
            action()
        return False

    def _start(self, target: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads = [other for other in self._threads if other.is_alive()]
        self._threads.append(thread)
        thread.start()


def _content(message: Message) -> dict[str, object]:
    if message.text is None:
        return {}
    content = json.loads(message.text)
    return content if isinstance(content, dict) else {}


def _messages(source: socket.socket) -> Iterator[Message]:
    """First the head of the HTTP upgrade, then WebSocket messages and control frames."""
    with source.makefile("rb") as stream:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            line = stream.readline()
            if not line:
                return
            if not line.lower().startswith(b"sec-websocket-extensions:"):
                head += line
        yield Message(head, None)
        raw, text, started_as = b"", b"", 0
        while True:
            frame, last, opcode, payload = _frame(stream.read)
            if opcode >= CONTROL:
                yield Message(frame, None)
                continue
            raw, text, started_as = raw + frame, text + payload, opcode or started_as
            if last:
                yield Message(raw, text.decode() if started_as == TEXT else None)
                raw, text = b"", b""


def _frame(read: Callable[[int], bytes]) -> tuple[bytes, bool, int, bytes]:
    """One frame: its bytes, whether it ends a message, its opcode and its payload without the mask."""

    def exactly(size: int) -> bytes:
        got = read(size)
        if len(got) < size:
            raise EOFError
        return got

    raw = exactly(2)
    last, opcode, masked, size = bool(raw[0] & 0x80), raw[0] & 0x0F, bool(raw[1] & 0x80), raw[1] & 0x7F
    if size >= 126:
        more = exactly(2 if size == 126 else 8)
        raw += more
        size = int.from_bytes(more)
    mask = exactly(4) if masked else b""
    payload = exactly(size)
    raw += mask + payload
    if masked and size:
        whole = int.from_bytes((mask * (size // 4 + 1))[:size])
        payload = (int.from_bytes(payload) ^ whole).to_bytes(size)
    return raw, last, opcode, payload


def _reset(end: socket.socket) -> None:
    """Close so that the other side gets a reset instead of an orderly end. A pump that waits in `recv` wakes up."""
    with suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        end.shutdown(socket.SHUT_RDWR)
    end.close()
