"""The seam between Kedge and a node of the XRP Ledger: what feed and venue ask of a connection, and how it fails."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

RIPPLE_EPOCH_UNIX_S = 946_684_800  # 2000-01-01: the ledger counts its seconds from there (XRPL.md A4)
LEDGER_S = 4  # nominal seconds between two ledgers, for turning ledgers into an Expiration (XRPL.md A5)


# From this id on a network is nobody's but its operator's, and transactions must name it; below, they must not (A7).
PRIVATE_NETWORK_MIN = 1025
_IN_STEP = frozenset({"full", "validating", "proposing"})


def in_step(server_state: str | None, network_id: int) -> bool:
    """Whether a server follows its network, by its `server_state` (XRPL.md A5).

    Clio says none: its ledgers speak for it. A server that stands alone is a whole network only on a private one.
    """
    if server_state == "standalone":
        return network_id >= PRIVATE_NETWORK_MIN
    return server_state is None or server_state in _IN_STEP


class NodeUnreachable(Exception):
    """No answer: the connection is down, was lost, or the time is up. Whether the request had an effect is unknown."""


class NodeRefused(Exception):
    """The node answered with an error. `error` is its token, such as actNotFound or lgrNotFound."""

    def __init__(self, error: str, message: str) -> None:
        super().__init__(f"{error}: {message}" if message else error)
        self.error = error


class ClosedLedger(NamedTuple):
    """One `ledgerClosed` message: a validated ledger. Amounts in drops, `close_time` in seconds since 2000-01-01."""

    ledger_index: int
    close_time: int
    received_ns: int  # market time of its arrival here
    received_monotonic_ns: int
    base_fee_drops: int
    reserve_base_drops: int
    reserve_inc_drops: int
    ledger_hash: str


class Link(Protocol):
    """A supervised connection to one of several nodes. All calls block, with a time-out, and may come from one thread.

    `connections` counts the connections made so far; when it grows, everything that a connection remembered is gone.
    """

    connections: int

    def request(self, command: Mapping[str, Any]) -> dict[str, Any]:
        """The `result` of one command. Raises `NodeUnreachable` and `NodeRefused`."""

    def request_all(self, commands: Sequence[Mapping[str, Any]]) -> list[dict[str, Any] | NodeRefused]:
        """Several at once, on one connection, so that one server answers all; refusals are values here.

        Raises `NodeUnreachable` if any of them was not answered.
        """

    def await_ledger(self, after: int, timeout_ms: float, *, heed_stop: bool = True) -> ClosedLedger | None:
        """The newest validated ledger with an index above `after`; None once the time is up or a stop is requested.

        `heed_stop=False` waits on through a stop request: a session that ends still has cancels to see through.
        """

    def newest(self) -> ClosedLedger | None:
        """The newest validated ledger so far, without waiting."""

    def close(self) -> None:
        """Close the connection and end the thread behind it."""
