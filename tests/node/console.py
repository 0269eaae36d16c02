"""How the programs of this proof talk to a node: one command, one answer, over a connection of their own.

The engine's own connection code is not used here: who judges it must not depend on it.
"""

from __future__ import annotations

import json
from typing import Any

from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.sync.client import ClientConnection, connect

ANSWER_S = 30.0
MESSAGE_BYTES_MAX = 64 * 2**20


class NodeGone(Exception):
    """The node does not answer (it is being killed or restarted); whether the command had an effect is unknown."""


class Refused(Exception):
    """The node answered with an error token."""

    def __init__(self, token: str, answer: dict[str, Any]) -> None:
        super().__init__(f"{token}: {answer.get('error_message', '')}")
        self.token = token


class Console:
    """A connection made when it is needed, and made again after it was lost."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._connection: ClientConnection | None = None
        self._asked = 0

    def ask(self, command: str, **fields: Any) -> dict[str, Any]:
        """The `result` of one command. Raises `Refused` and `NodeGone`."""
        self._asked += 1
        try:
            if self._connection is None:
                self._connection = connect(
                    self.url, open_timeout=ANSWER_S, max_size=MESSAGE_BYTES_MAX, ping_interval=None, compression=None
                )
            self._connection.send(json.dumps({"id": self._asked, "command": command, **fields}))
            while True:
                answer = json.loads(self._connection.recv(timeout=ANSWER_S))
                if answer.get("id") == self._asked:
                    break
        except (OSError, ConnectionClosed, InvalidHandshake) as error:  # TimeoutError is an OSError
            self.close()
            raise NodeGone(f"{self.url}: {type(error).__name__}: {error}") from error
        if answer.get("status") == "error" or "error" in answer:
            raise Refused(str(answer.get("error")), answer)
        return answer["result"]

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
