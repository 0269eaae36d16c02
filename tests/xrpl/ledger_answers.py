"""What the double answers, command by command."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tests.xrpl.fake_node import Refusal
from tests.xrpl.ledger_reads import (
    account_info,
    account_lines,
    account_objects,
    account_offers,
    amm_info,
    book_offers,
    ledger_entry,
)
from tests.xrpl.ledger_server import accept, fee, ping, server_info, server_state, submit, subscribe
from tests.xrpl.ledger_transactions import account_tx, ledger_of, transaction_of

if TYPE_CHECKING:
    from tests.xrpl.ledger import Ledger

_COMMANDS: dict[str, Callable[[Ledger, dict[str, Any]], dict[str, Any]]] = {
    "account_info": account_info,
    "account_lines": account_lines,
    "account_objects": account_objects,
    "account_offers": account_offers,
    "account_tx": account_tx,
    "amm_info": amm_info,
    "book_offers": book_offers,
    "fee": fee,
    "ledger": ledger_of,
    "ledger_accept": accept,
    "ledger_entry": ledger_entry,
    "ping": ping,
    "server_info": server_info,
    "server_state": server_state,
    "submit": submit,
    "subscribe": subscribe,
    "tx": transaction_of,
    "unsubscribe": ping,
}


def answer_to(ledger: Ledger, command: dict[str, Any]) -> dict[str, Any]:
    """The `result` of one command. Raises `Refusal`."""
    answer = _COMMANDS.get(command["command"])
    if answer is None:
        raise Refusal("unknownCmd", "Unknown method.")
    return answer(ledger, command)
