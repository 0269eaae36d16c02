"""A node of the XRP Ledger as seen through its WebSocket: real sockets, a backend that knows the answers, and faults.

The faults, all switchable while it runs:

    kill()                    every socket is reset (RST), as when the process dies; it goes on listening
    refuse_connections        nobody listens on the port; sockets that are open stay
    kill_on(command, ...)     the sockets are reset when such a command comes, before or after it was applied
    freeze() / thaw()         nothing is read, answered or sent, TCP stays up, as when the process is stopped
    close_1008()              every socket is closed with "threshold exceeded", as for a client that asks too much
    warn_load                 every answer carries `"warning": "load"`
    swallow_answers(c, n)     the next n commands c are applied and never answered
    delay_ms                  every answer is late by so much
    duplicate_answers         every answer comes twice
    duplicate_streams         every stream message comes twice
    reorder_streams           stream messages change places in pairs
    send_raw(text)            whatever a broken node might say

The server has a thread of its own, in which the backend answers; a test reaches the backend through `run`.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import threading
from collections import Counter, deque
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, Self, TypeVar
from weakref import WeakSet

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

T = TypeVar("T")

CONTROL_S = 10.0  # a test that waits longer than this for the node has gone wrong
COMMANDS_KEPT_MAX = 10_000
RESET = struct.pack("ii", 1, 0)  # linger for no time: closing sends RST instead of FIN


class Refusal(Exception):
    """An answer that is an error: `error` is its token, such as actNotFound."""

    def __init__(self, error: str, message: str = "") -> None:
        super().__init__(f"{error}: {message}")
        self.error = error
        self.message = message


class Backend(Protocol):
    """What a node knows."""

    def answer(self, command: dict[str, Any]) -> dict[str, Any]:
        """The `result` of one command; raises `Refusal`."""


class FakeNode:
    """A server around a backend, as a context manager. Its port stays the same when it comes back.

    An error of the backend that is no `Refusal` goes to the client as `internal` and fails the test at the block's end.
    """

    def __init__(self, backend: Backend, *, port: int = 0) -> None:
        self.backend = backend
        self.port = port
        self.warn_load = False
        self.duplicate_answers = False
        self.duplicate_streams = False
        self.reorder_streams = False
        self.delay_ms = 0.0
        self.sessions_made = 0
        self.commands: deque[dict[str, Any]] = deque(maxlen=COMMANDS_KEPT_MAX)
        self._happened = threading.Condition()  # something came in for which a test may be waiting
        self._swallowed: Counter[str] = Counter()
        self._killers: dict[str, bool] = {}
        self._held: dict[str, Any] | None = None
        self._errors: list[Exception] = []
        self._sessions: set[_Session] = set()
        self._sockets: WeakSet[ServerConnection] = WeakSet()
        self._server: Server | None = None
        self._loop = asyncio.new_event_loop()
        self._thawed = asyncio.Event()
        self._thawed.set()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fake-node", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            self._await(self._listen())
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._await(self._shut())
        self._end()
        if self._errors and kind is None:
            raise self._errors[0]

    @property
    def url(self) -> str:
        """Where to connect."""
        return f"ws://127.0.0.1:{self.port}"

    # --- the ledger behind it, and its streams

    def run(self, act: Callable[[], T]) -> T:
        """Do something with the backend in the thread in which it answers."""

        async def acting() -> T:
            return act()

        return self._await(acting())

    def close_ledger(self) -> dict[str, Any]:
        """Close the backend's ledger with its `close()` and publish the `ledgerClosed` message, which is returned."""
        message = self.run(self.backend.close)  # type: ignore[attr-defined]
        self.publish(message)
        return message

    def publish(self, message: dict[str, Any]) -> None:
        """Send a stream message to those who subscribed to its stream, in order with everything else."""

        async def publishing() -> None:
            for each in self._as_faults_have_it(message):
                text = json.dumps(each)
                for session in self._sessions:
                    if session.wants(each):
                        session.outbox.put_nowait(text)

        self._await(publishing())

    def send_raw(self, text: str) -> None:
        """Send this to everybody."""
        self.run(lambda: [session.outbox.put_nowait(text) for session in self._sessions])

    # --- faults

    def kill(self) -> None:
        """Reset every socket."""
        self.run(self._reset_all)

    def kill_on(self, command: str, *, applied: bool) -> None:
        """Reset every socket on the next such command: after the backend has applied it, or before it is asked."""
        self.run(lambda: self._killers.update({command: applied}))

    def close_1008(self) -> None:
        """Close every socket as rippled does with a client that asks too much."""

        async def closing() -> None:
            await asyncio.gather(*(session.socket.close(1008, "threshold exceeded") for session in self._sessions))

        self._await(closing())

    def swallow_answers(self, command: str, n: int) -> None:
        """Apply the next n such commands and answer none of them."""
        self.run(lambda: self._swallowed.update({command: n}))

    def freeze(self) -> None:
        """Do nothing any more, with every socket open."""

        def frozen() -> None:
            self._thawed.clear()
            for socket_ in self._sockets:
                socket_.transport.pause_reading()

        self.run(frozen)

    def thaw(self) -> None:
        """Go on where it stopped."""

        def thawed() -> None:
            for socket_ in self._sockets:
                socket_.transport.resume_reading()
            self._thawed.set()

        self.run(thawed)

    @property
    def refuse_connections(self) -> bool:
        """Whether nobody listens on the port."""
        return self._server is None

    @refuse_connections.setter
    def refuse_connections(self, refuse: bool) -> None:
        if refuse != self.refuse_connections:
            self._await(self._stop_listening() if refuse else self._listen())

    # --- what a test waits for

    @property
    def sessions(self) -> int:
        """How many clients are connected now."""
        return len(self._sessions)

    def count(self, command: str) -> int:
        """How many such commands have come in so far."""
        with self._happened:
            return sum(each.get("command") == command for each in self.commands)

    def await_command(self, command: str, n: int = 1, timeout_s: float = 5.0) -> None:
        """Wait until n such commands have come in, counted from the start."""
        self.await_until(lambda: self.count(command) >= n, f"{n} x {command}", timeout_s)

    def await_sessions(self, n: int, timeout_s: float = 5.0) -> None:
        """Wait until exactly n clients are connected."""
        self.await_until(lambda: self.sessions == n, f"{n} sessions", timeout_s)

    def await_until(self, true: Callable[[], bool], what: str, timeout_s: float = 5.0) -> None:
        """Wait for anything that changes with a command, a connection or its end."""
        with self._happened:
            assert self._happened.wait_for(true, timeout_s), f"waited {timeout_s} s in vain for {what}"

    # --- the server, in its own thread

    async def _listen(self) -> None:
        self._server = await serve(
            self._serve,
            "127.0.0.1",
            self.port,
            process_request=self._shake_hands,
            compression=None,
            open_timeout=None,
            ping_interval=None,
            close_timeout=1,
            max_size=None,
            max_queue=None,  # its flow control would undo a freeze
        )
        self.port = next(iter(self._server.sockets)).getsockname()[1]

    async def _stop_listening(self) -> None:
        assert self._server is not None
        self._server.close(close_connections=False)
        self._server = None

    async def _shake_hands(self, socket_: ServerConnection, _request: object) -> None:
        self._sockets.add(socket_)
        if not self._thawed.is_set():
            socket_.transport.pause_reading()
        await self._thawed.wait()

    async def _serve(self, socket_: ServerConnection) -> None:
        session = _Session(socket_)
        sender = asyncio.create_task(self._send(session))
        self._notify(lambda: self._sessions.add(session))
        self.sessions_made += 1
        try:
            async for text in socket_:
                await self._thawed.wait()
                self._take(session, json.loads(text))
        except ConnectionClosed:
            pass  # that is what most tests here are about
        finally:
            sender.cancel()
            self._notify(lambda: self._sessions.discard(session))

    async def _send(self, session: _Session) -> None:
        while True:
            text = await session.outbox.get()
            await self._thawed.wait()
            try:
                await session.socket.send(text)
            except ConnectionClosed:
                return

    def _take(self, session: _Session, command: dict[str, Any]) -> None:
        name = str(command.get("command"))
        applied = self._killers.pop(name, None)
        if applied is False:
            self._reset_all()
            self._notify(lambda: self.commands.append(command))
            return
        succeeded, text = self._answer(command)
        if succeeded:
            session.follow(command)
        if applied:
            self._reset_all()
        elif self._swallowed[name] > 0:
            self._swallowed[name] -= 1
        else:
            for _ in range(1 + self.duplicate_answers):
                self._loop.call_later(self.delay_ms / 1000, session.outbox.put_nowait, text)
        self._notify(lambda: self.commands.append(command))

    def _answer(self, command: dict[str, Any]) -> tuple[bool, str]:
        answer: dict[str, Any] = {"id": command.get("id"), "type": "response"}
        if self.warn_load:
            answer["warning"] = "load"
        asked = {key: value for key, value in command.items() if key not in {"id", "api_version"}}
        try:
            return True, json.dumps(answer | {"status": "success", "result": self.backend.answer(asked)})
        except Refusal as refusal:
            error, message = refusal.error, refusal.message
        except Exception as fault:  # noqa: BLE001 - it fails the test at the end of the block
            self._errors.append(fault)
            error, message = "internal", repr(fault)
        said = {"status": "error", "error": error, "error_message": message, "request": command}
        return False, json.dumps(answer | said)

    def _as_faults_have_it(self, message: dict[str, Any]) -> list[dict[str, Any]]:
        held, self._held = self._held, None
        if self.reorder_streams and held is None:
            self._held = message
            return []
        messages = [message] if held is None else [message, held] if self.reorder_streams else [held, message]
        return [each for each in messages for _ in range(1 + self.duplicate_streams)]

    def _reset_all(self) -> None:
        for socket_ in list(self._sockets):
            raw: socket.socket | None = socket_.transport.get_extra_info("socket")
            if raw is not None and raw.fileno() >= 0:
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            socket_.transport.abort()

    def _notify(self, change: Callable[[], object]) -> None:
        with self._happened:
            change()
            self._happened.notify_all()

    # --- its end

    async def _shut(self) -> None:
        if self._server is not None:
            await self._stop_listening()
        self._thawed.set()
        self._reset_all()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        if others:
            await asyncio.wait(others, timeout=CONTROL_S)

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CONTROL_S)
        self._loop.close()

    def _await(self, act: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(act, self._loop).result(CONTROL_S)


class _Session:
    """One client: its socket, what is on its way to it, and the streams it asked for."""

    def __init__(self, socket_: ServerConnection) -> None:
        self.socket = socket_
        self.outbox: asyncio.Queue[str] = asyncio.Queue()
        self._streams: set[str] = set()

    def follow(self, command: dict[str, Any]) -> None:
        """Note a subscription, or the end of one. Accounts and books count as one stream, `some transactions`."""
        streams = {*command.get("streams", ())}
        if command.get("accounts") or command.get("books"):
            streams.add("some transactions")
        if command["command"] == "subscribe":
            self._streams |= streams
        elif command["command"] == "unsubscribe":
            self._streams -= streams

    def wants(self, message: dict[str, Any]) -> bool:
        """Whether a stream message is for this client."""
        kind = message.get("type")
        if kind == "ledgerClosed":
            return "ledger" in self._streams
        if kind == "transaction":
            return bool(self._streams & {"transactions", "some transactions"})
        return kind in self._streams


class BareLedger:
    """A backend with nothing in it: what every client asks first, and besides that what a test puts into `answers`.

    `answers` maps a command's name to a result, a `Refusal`, or a function of the command that returns or raises one;
    `info` is laid over the answer to server_info.
    """

    def __init__(self, *, ledger_index: int = 1000, network_id: int | None = 0, close_time: int = 800_000_000) -> None:
        self.ledger_index = ledger_index
        self.close_time = close_time
        self.answers: dict[str, Any] = {}
        self.info: dict[str, Any] = {} if network_id is None else {"network_id": network_id}

    def answer(self, command: dict[str, Any]) -> dict[str, Any]:
        """The `result` of one command."""
        name = command["command"]
        if name not in self.answers and name not in {"server_info", "subscribe", "unsubscribe", "ping"}:
            raise Refusal("unknownCmd", f"a bare ledger does not know {name}")
        answer = self.answers.get(name, self._server_info() if name == "server_info" else {})
        if name == "subscribe" and name not in self.answers and "ledger" in command.get("streams", ()):
            answer = {key: value for key, value in self._closed().items() if key not in {"type", "txn_count"}}
        answer = answer(command) if callable(answer) else answer
        if isinstance(answer, Refusal):
            raise answer
        return answer

    def close(self, close_time: int | None = None) -> dict[str, Any]:
        """Validate one more ledger; its `ledgerClosed` message."""
        self.ledger_index += 1
        self.close_time = self.close_time + 4 if close_time is None else close_time
        return self._closed()

    def _closed(self) -> dict[str, Any]:
        return {
            "type": "ledgerClosed",
            "fee_base": 10,
            "ledger_hash": f"{self.ledger_index:064X}",
            "ledger_index": self.ledger_index,
            "ledger_time": self.close_time,
            "reserve_base": 1_000_000,
            "reserve_inc": 200_000,
            "txn_count": 0,
            "validated_ledgers": f"1-{self.ledger_index}",
        }

    def _server_info(self) -> dict[str, Any]:
        validated = {
            "age": 1,
            "base_fee_xrp": 0.00001,
            "hash": f"{self.ledger_index:064X}",
            "reserve_base_xrp": 1,
            "reserve_inc_xrp": 0.2,
            "seq": self.ledger_index,
        }
        info = {
            "complete_ledgers": f"1-{self.ledger_index}",
            "load_factor": 1,
            "server_state": "full",
            "validated_ledger": validated,
        }
        return {"info": info | self.info}
