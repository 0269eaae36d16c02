"""The supervised connection to the XRP Ledger: several endpoints, one background thread, blocking calls.

The thread does all of the network's work, so that a slow strategy never keeps a node waiting. Between it and the
engine stand the newest validated ledger and the requests under way, and nothing that could grow.
"""

from __future__ import annotations

import asyncio
import logging
import select
import socket
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from websockets.exceptions import WebSocketException

from engine_proc.ports import Rng
from engine_proc.xrpl_connection import Connection, connected
from engine_proc.xrpl_market import UINT32_MAX
from engine_proc.xrpl_ports import ClosedLedger, NodeRefused, NodeUnreachable, in_step
from shared.clock import Clock
from shared.errors import ConfigError
from shared.stop import Stop
from shared.xrpl_text import endpoint_name

_LOG = logging.getLogger(__name__)

DOUBLINGS_MAX = 16
ENDING_S = 5.0
LEAP_LEDGERS_MAX = 1_000  # by so many more than one a second no network gets ahead, whatever a server announces

_LEDGER_NUMBERS = ("ledger_index", "ledger_time", "fee_base", "reserve_base", "reserve_inc")


class XrplLink:
    """Answers `xrpl_ports.Link`, for one calling thread.

    `connections` counts the connections made so far, `endpoint` names the one in use (None: there is none), and
    `load_warned` says whether any server ever found that we ask too much.

    A connection is used once its server is on the right network and in step with it, and given up when it is lost,
    when no newer validated ledger has come for `liveness_ms`, and, if there is another endpoint, when the server finds
    us a burden. The next endpoint is tried after `backoff_ms`, doubled with every failure up to `backoff_ms_max` and
    shortened by up to half by chance, until a validated ledger arrives. Endpoints of another network are left out;
    once none is left, every call raises `ConfigError`.

    Without a connection a request is refused at once, except before the first, for which it waits as long as for an
    answer. `rng` is used in the link's own thread.
    """

    def __init__(
        self,
        endpoints: Sequence[str],
        *,
        network_id: int,
        request_timeout_ms: int,
        liveness_ms: int,
        backoff_ms: int,
        backoff_ms_max: int,
        clock: Clock,
        rng: Rng,
        stop: Stop,
    ) -> None:
        assert endpoints, "a link needs an endpoint"
        self.connections = 0
        self.endpoint: str | None = None
        self.load_warned = False
        self._endpoints = list(endpoints)
        self._network_id = network_id
        self._request_timeout_ms = request_timeout_ms
        self._liveness_ms = liveness_ms
        self._backoff_ms = backoff_ms
        self._backoff_ms_max = backoff_ms_max
        self._clock = clock
        self._rng = rng
        self._stop = stop
        self._failures = 0
        self._strangers: list[str] = []
        self._newest: ClosedLedger | None = None
        self._early: dict[str, Any] | None = None  # a ledger that came before its connection was to be used
        self._connection: Connection | None = None
        self._trouble = "no connection yet"
        self._fault: BaseException | None = None
        self._closed = False
        self._hears, self._rings = socket.socketpair()
        self._rings.setblocking(False)
        self._first = asyncio.Event()  # the first connection stands, or there will be none
        self._ended = asyncio.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="xrpl-link", daemon=True)
        self._thread.start()

    # --- what the engine's thread calls

    def request(self, command: Mapping[str, Any]) -> dict[str, Any]:
        """The `result` of one command. Raises `NodeUnreachable` and `NodeRefused`."""
        [answer] = self.request_all([command])
        if isinstance(answer, NodeRefused):
            raise answer
        return answer

    def request_all(self, commands: Sequence[Mapping[str, Any]]) -> list[dict[str, Any] | NodeRefused]:
        """Several at once, on one connection; refusals are values.

        Raises `NodeUnreachable` if one of them was not answered; which of the others had an effect is unknown.
        """
        self._check()
        if self._closed:
            raise NodeUnreachable("the link is closed")
        try:
            return asyncio.run_coroutine_threadsafe(self._ask(tuple(commands)), self._loop).result()
        except NodeUnreachable:
            self._check()  # why there will never be an answer comes first
            raise

    def await_ledger(self, after: int, timeout_ms: float, *, heed_stop: bool = True) -> ClosedLedger | None:
        """The newest validated ledger with an index above `after`; one that is there already comes without waiting.

        None once the time is up or the link is closed, or, with `heed_stop`, once a stop is requested.
        """
        until_ns = self._clock.monotonic_ns() + int(timeout_ms * 1e6)
        wakers: list[socket.socket | Stop] = [self._hears, self._stop] if heed_stop else [self._hears]
        while True:
            self._check()
            newest = self._newest
            if newest is not None and newest.ledger_index > after:
                return newest
            left_ns = until_ns - self._clock.monotonic_ns()
            if left_ns <= 0 or self._closed or (heed_stop and self._stop.requested):
                return None
            ready, _, _ = select.select(wakers, [], [], left_ns / 1e9)
            if self._hears in ready:
                self._hears.recv(4096)

    def newest(self) -> ClosedLedger | None:
        """The newest validated ledger so far, without waiting."""
        self._check()
        return self._newest

    def close(self) -> None:
        """Close the connection and end the thread. Calls made afterwards get nothing."""
        if self._closed:
            return
        self._closed = True
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(ENDING_S)
        self._hears.close()
        self._rings.close()

    def _check(self) -> None:
        if self._fault is not None:
            raise self._fault

    # --- what runs in the link's thread

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._live())

    async def _live(self) -> None:
        self._loop.set_exception_handler(_overhear)
        supervising = asyncio.create_task(self._supervise())
        supervising.add_done_callback(self._supervised)
        await self._ended.wait()
        supervising.cancel()
        await asyncio.wait({supervising})

    def _supervised(self, supervising: asyncio.Task[None]) -> None:
        """It only ends by a cancel, by a configuration that cannot work, or by an error of ours: those are for all."""
        if not supervising.cancelled():
            self._fault = supervising.exception()
        self._first.set()
        self._ring()

    async def _ask(self, commands: Sequence[Mapping[str, Any]]) -> list[dict[str, Any] | NodeRefused]:
        if not self.connections:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._request_timeout_ms / 1000):
                    await self._first.wait()
        connection = self._connection
        if connection is None:
            raise NodeUnreachable(self._trouble)
        asked = await asyncio.gather(*map(connection.request, commands), return_exceptions=True)
        answers: list[dict[str, Any] | NodeRefused] = []
        for answer in asked:
            if isinstance(answer, BaseException) and not isinstance(answer, NodeRefused):
                raise answer
            answers.append(answer)
        return answers

    async def _supervise(self) -> None:
        while True:
            endpoint = self._endpoints[0]
            self._early = None
            try:
                async with connected(
                    endpoint, request_timeout_ms=self._request_timeout_ms, on_message=self._hear
                ) as connection:
                    await self._admit(connection)
                    why = await self._keep(connection)
            except _OtherNetwork as error:
                self._leave_out(endpoint, str(error))
                continue
            except (NodeUnreachable, NodeRefused) as error:
                why = str(error)
            finally:
                self._connection = self.endpoint = None
            self._endpoints.append(self._endpoints.pop(0))
            await self._back_off(why)

    async def _admit(self, connection: Connection) -> None:
        """Look at the server and subscribe to its ledgers; from here on it answers the engine's requests."""
        info = (await connection.request({"command": "server_info"})).get("info")
        if not isinstance(info, dict):
            raise NodeUnreachable(f"{connection.name}: server_info tells nothing")
        network_id = info.get("network_id") or 0  # left out by servers that know only one network (XRPL.md B1)
        if network_id != self._network_id:
            raise _OtherNetwork(f"{connection.name} is on network {network_id}")
        state = info.get("server_state")
        if info.get("amendment_blocked"):
            raise NodeUnreachable(f"{connection.name}: the server is amendment blocked")
        if not in_step(state, network_id):
            raise NodeUnreachable(f"{connection.name}: the server is not in step with the network: {state}")
        validated = await connection.request({"command": "subscribe", "streams": ["ledger"]})
        self._connection = connection
        self.endpoint = connection.name
        self.connections += 1
        self._trouble = f"{connection.name}: the connection was lost a moment ago"
        if _age_ms(info) <= self._liveness_ms:
            self._advance(validated)
        if self._early is not None:
            self._hear(self._early)
        self._first.set()
        _LOG.info("connected to %s", connection.name)

    async def _keep(self, connection: Connection) -> str:
        """Wait until there is a reason to part with a connection, and say which."""
        warned = False
        while True:
            if connection.burdened and not warned:
                warned = self.load_warned = True
                _LOG.warning("%s finds that we ask too much", connection.name)
            if connection.lost.done():
                return f"{connection.name}: {connection.lost.result()}"
            if connection.burdened and len(self._endpoints) > 1:
                await connection.quiet()
                return f"{connection.name}: we are a burden to this server"
            connection.news.clear()
            try:
                async with asyncio.timeout(self._liveness_ms / 1000):
                    await connection.news.wait()
            except TimeoutError:
                return f"{connection.name}: no newer validated ledger for {self._liveness_ms / 1000:g} s"

    def _hear(self, message: dict[str, Any]) -> None:
        if message.get("type") != "ledgerClosed":
            return
        if self._connection is None:
            self._early = message
        elif self._advance(message):
            self._failures = 0
            self._connection.news.set()

    def _advance(self, message: Mapping[str, Any]) -> bool:
        """Whether this is a newer ledger than all before it, of whichever server."""
        ledger = closed_ledger(message, self._clock)
        if ledger is None or not follows(ledger, self._newest):
            return False
        self._newest = ledger
        self._ring()
        return True

    def _leave_out(self, endpoint: str, why: str) -> None:
        _LOG.error("xrpl.endpoints: %s, not on %d: left out", why, self._network_id)
        self._strangers.append(why)
        self._endpoints.remove(endpoint)
        if not self._endpoints:
            raise ConfigError(f"xrpl.endpoints: none is on network {self._network_id}: {', '.join(self._strangers)}")

    async def _back_off(self, why: str) -> None:
        pause_ms = back_off_ms(self._failures, self._backoff_ms, self._backoff_ms_max, self._rng.random())
        self._failures += 1
        if why != self._trouble:
            _LOG.warning("no connection: %s; next is %s", why, endpoint_name(self._endpoints[0]))
        self._trouble = why
        with suppress(TimeoutError):
            async with asyncio.timeout(pause_ms / 1000):
                await self._ended.wait()

    def _ring(self) -> None:
        with suppress(OSError):
            self._rings.send(b"!")


class _OtherNetwork(Exception):
    """A server of another network: nothing signed for ours may ever go there."""


def back_off_ms(failures: int, first_ms: int, longest_ms: int, chance: float) -> float:
    """How long to wait after so many failures in a row; `chance` in [0, 1) parts the clients of a server that died."""
    return min(first_ms * 2.0 ** min(failures, DOUBLINGS_MAX), longest_ms) * (1 + chance) / 2


def follows(ledger: ClosedLedger, newest: ClosedLedger | None) -> bool:
    """Whether a ledger is newer than the newest so far, and can be: one from nowhere would outdo all true ones."""
    if newest is None:
        return True
    leap = ledger.ledger_index - newest.ledger_index
    passed_s = (ledger.received_monotonic_ns - newest.received_monotonic_ns) / 1e9
    return 0 < leap <= passed_s + LEAP_LEDGERS_MAX


def closed_ledger(message: Mapping[str, Any], clock: Clock) -> ClosedLedger | None:
    """A `ledgerClosed` message, or the answer to its subscription (XRPL.md A4), arriving now; None if unreadable."""
    ledger_hash = message.get("ledger_hash")
    numbers = [message.get(field) for field in _LEDGER_NUMBERS]
    if not isinstance(ledger_hash, str) or any(type(n) is not int or not 0 <= n <= UINT32_MAX for n in numbers):
        return None
    return ClosedLedger(
        ledger_index=message["ledger_index"],
        close_time=message["ledger_time"],
        received_ns=clock.now_ns(),
        received_monotonic_ns=clock.monotonic_ns(),
        base_fee_drops=message["fee_base"],
        reserve_base_drops=message["reserve_base"],
        reserve_inc_drops=message["reserve_inc"],
        ledger_hash=ledger_hash,
    )


def _age_ms(info: Mapping[str, Any]) -> float:
    """How old the server's last validated ledger is; infinite if it has none."""
    validated = info.get("validated_ledger")
    age_s = validated.get("age", 0) if isinstance(validated, dict) else None
    return age_s * 1000 if isinstance(age_s, int | float) else float("inf")


def _overhear(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """xrpl-py sends in a task that nobody awaits; that a lost connection ended it is told by the connection itself."""
    if not isinstance(context.get("exception"), WebSocketException | OSError):
        loop.default_exception_handler(context)
