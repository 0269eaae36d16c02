"""One connection to one node, from its opening to its loss: requests with time-outs, and the messages of its streams.

xrpl-py's client is not left alone with any of this (XRPL.md B1). Its queue gets every message, answers included, and
is read without end here. Its iterator hangs for ever once the socket has gone, so the task that reads the socket is
watched; that task also dies of an answer that comes twice, with the socket still open. Its `close` turns whatever
still waits for an answer into a KeyError, so nothing waits any more when it is called, and it may wait for the peer,
so it has a time-out and the socket is torn down after it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.frames import CloseCode
from xrpl.asyncio.clients import AsyncWebsocketClient
from xrpl.asyncio.clients.exceptions import XRPLWebsocketException
from xrpl.models.exceptions import XRPLModelException
from xrpl.models.requests import GenericRequest
from xrpl.models.response import Response

from engine_proc.xrpl_ports import NodeRefused, NodeUnreachable
from shared.xrpl_text import endpoint_name

CLOSING_S = 1.0  # how long a node may take to say goodbye

# Errors that say something about the server, and nothing about what was asked.
OVERLOADED = frozenset({"slowDown", "tooBusy"})
OUT_OF_SYNC = frozenset({"noNetwork", "noCurrent", "noClosed", "notSynced", "notReady", "amendmentBlocked"})


class Connection:
    """What `connected` hands out. `lost` is done, with the reason, once nothing can be expected of it any more.

    `burdened` says that the server finds us asking too much: `"warning": "load"`, an error of `OVERLOADED`, or a close
    with 1008. `news` is set when either of the two changes, and by whoever else wants its keeper to look.
    """

    def __init__(self, client: AsyncWebsocketClient, name: str, request_timeout_ms: int) -> None:
        self.name = name
        self.burdened = False
        self.news = asyncio.Event()
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._client = client
        self._timeout_s = request_timeout_ms / 1000
        self._asked = 0
        self._under_way: set[asyncio.Task[Response]] = set()

    async def request(self, command: Mapping[str, Any]) -> dict[str, Any]:
        """The `result` of one command. Raises `NodeUnreachable` and `NodeRefused`."""
        what = f"{self.name}: {command.get('command')}"
        if self.lost.done():
            raise NodeUnreachable(f"{what}: {self.lost.result()}")
        self._asked += 1
        # An id of our own: without one, xrpl-py copies the request through its models. Text: it compares with text.
        request = GenericRequest(**command, id=f"kedge-{self._asked}")
        asking = asyncio.create_task(
            self._client._request_impl(  # noqa: SLF001 - the public call gives up after 10 s, whatever the setting
                request, timeout=self._timeout_s + 1
            )
        )
        self._under_way.add(asking)
        either: set[asyncio.Future[Any]] = {asking, self.lost}
        try:
            await asyncio.wait(either, timeout=self._timeout_s, return_when=asyncio.FIRST_COMPLETED)
            if not asking.done():
                why = self.lost.result() if self.lost.done() else f"no answer within {self._timeout_s:g} s"
                raise NodeUnreachable(f"{what}: {why}")
            return self._result(asking, what)
        finally:
            await _end(asking)
            self._under_way.discard(asking)

    async def quiet(self) -> None:
        """Wait for the requests that are under way now, each of which has its time-out."""
        if self._under_way:
            await asyncio.wait(set(self._under_way))

    def burden(self) -> None:
        """The server finds that we ask too much."""
        if not self.burdened:
            self.burdened = True
            self.news.set()

    def give_up(self, why: str) -> None:
        """Nothing more is to be expected of this connection; the first reason stands."""
        if not self.lost.done():
            self.lost.set_result(why)
            self.news.set()

    def read_to_its_end(self, reading: asyncio.Task[None]) -> None:
        """The task that reads the socket is done: by the node, by the network, by nonsense, or by us."""
        error = None if reading.cancelled() else reading.exception()
        if isinstance(error, ConnectionClosed):
            if error.rcvd is not None and error.rcvd.code == CloseCode.POLICY_VIOLATION:
                self.burden()
            self.give_up(f"connection lost: {error}")
        else:
            self.give_up("closed" if error is None else f"unreadable: {error!r}")

    def _result(self, asking: asyncio.Task[Response], what: str) -> dict[str, Any]:
        try:
            response = asking.result()
        except (XRPLWebsocketException, ConnectionClosed, TimeoutError, OSError) as error:
            raise NodeUnreachable(f"{what}: {str(error) or type(error).__name__}") from error
        except (XRPLModelException, KeyError) as error:
            raise NodeUnreachable(f"{what}: an unreadable answer: {error}") from error
        assert isinstance(response.result, dict), "the model has checked it"
        if response.is_successful():
            return response.result
        token = str(response.result.get("error", "unnamed"))
        if token in OVERLOADED:
            self.burden()
        if token in OUT_OF_SYNC:
            self.give_up(f"the server says {token}")
        if token in OVERLOADED | OUT_OF_SYNC:
            raise NodeUnreachable(f"{what}: the server says {token}")
        message = response.result.get("error_message") or response.result.get("error_exception") or ""
        raise NodeRefused(token, str(message))


@asynccontextmanager
async def connected(
    endpoint: str, *, request_timeout_ms: int, on_message: Callable[[dict[str, Any]], None]
) -> AsyncIterator[Connection]:
    """A new client, connected; `on_message` gets every message, answers too. Raises `NodeUnreachable`.

    At the end of the block nothing of it is left: no task, no socket.
    """
    name = endpoint_name(endpoint)
    client = AsyncWebsocketClient(endpoint)
    try:
        async with asyncio.timeout(request_timeout_ms / 1000):
            await client.open()
    except (OSError, TimeoutError, WebSocketException, ValueError) as error:
        why = str(error).replace(endpoint, name) or "no answer"
        raise NodeUnreachable(f"{name}: cannot connect: {why}") from error
    connection = Connection(client, name, request_timeout_ms)
    reading = client._handler_task  # noqa: SLF001 - nothing public tells of its death
    assert reading is not None, "an open client reads"
    reading.add_done_callback(connection.read_to_its_end)
    draining = asyncio.create_task(_drain(client, connection, on_message))
    try:
        yield connection
    finally:
        connection.give_up("closed by us")
        await connection.quiet()
        await _end(draining)
        await _shut(client)
        await _end(reading)
        if not draining.cancelled():
            draining.result()  # an error in `on_message` is one of ours, and must not pass for the node's


async def _drain(
    client: AsyncWebsocketClient, connection: Connection, on_message: Callable[[dict[str, Any]], None]
) -> None:
    try:
        async for message in client:
            if not isinstance(message, dict):
                continue  # valid JSON, and nothing that a node says
            if message.get("warning") == "load":  # stands beside the result, which is all that xrpl-py hands on
                connection.burden()
            on_message(message)
    except BaseException:
        connection.give_up("its messages are no longer read")
        raise


async def _shut(client: AsyncWebsocketClient) -> None:
    """Say goodbye, not for long, then take the socket down."""
    socket = client._websocket  # noqa: SLF001 - `close` leaves the socket to a peer that says nothing
    with suppress(TimeoutError, ConnectionClosed, OSError):
        async with asyncio.timeout(CLOSING_S):
            await client.close()
    if socket is not None:
        socket.transport.abort()
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSING_S):
                await socket.wait_closed()


async def _end(task: asyncio.Task[Any]) -> None:
    """Cancel a task and look at its exception, which is judged elsewhere, lest asyncio call it forgotten."""
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled():
        task.exception()
