"""What the double answers about its transactions: by account, ledger or hash, in the shapes of both API versions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.xrpl.fake_node import Refusal
from tests.xrpl.ledger_history import Closed
from tests.xrpl.ledger_reads import PAGE, PAGE_MAX, PAGE_MIN, find_ledger, iso_time

if TYPE_CHECKING:
    from tests.xrpl.ledger import Ledger


def account_tx(ledger: Ledger, command: dict[str, Any]) -> dict[str, Any]:
    """Validated transactions that touched an account, in pages; an asked range is cut to what the server has."""
    account, oldest, newest = command["account"], ledger.history.first, ledger.validated_index
    first, last = command.get("ledger_index_min", -1), command.get("ledger_index_max", -1)
    if "ledger_index" in command and command["ledger_index"] not in ("validated", "current", "closed"):
        first = last = command["ledger_index"]
    if _version(command) > 1 and (first > newest or -1 < last < oldest):
        raise Refusal("lgrIdxMalformed", "Ledger index malformed.")
    first, last = max(first, oldest), newest if last < 0 else min(last, newest)
    if last < first:
        raise Refusal("lgrIdxsInvalid", "Ledger indexes invalid.")
    limit = min(max(int(command.get("limit", PAGE)), PAGE_MIN), PAGE_MAX)
    places = ledger.history.of_account(account, first, last)
    if not command.get("forward"):
        places.reverse()
    if "marker" in command:
        at = (command["marker"]["ledger"], command["marker"]["seq"])
        places = places[places.index(at) :]
    shown = [_in_history(ledger, place, command) for place in places[:limit]]
    answer = {
        "account": account,
        "ledger_index_max": last,
        "ledger_index_min": first,
        "limit": limit,
        "transactions": shown,
        "validated": True,
    }
    if len(places) > limit:
        answer["marker"] = {"ledger": places[limit][0], "seq": places[limit][1]}
    return answer


def ledger_of(ledger: Ledger, command: dict[str, Any]) -> dict[str, Any]:
    """A validated ledger; expanded, its transactions are listed by hash, not as they were executed."""
    closed = find_ledger(ledger, command.get("ledger_index", "validated"))
    header: dict[str, Any] = {
        "account_hash": closed.ledger_hash,
        "close_flags": 0,
        "close_time": closed.close_time,
        "close_time_iso": iso_time(closed.close_time),
        "close_time_resolution": 10,
        "closed": True,
        "ledger_hash": closed.ledger_hash,
        "ledger_index": closed.ledger_index,
        "parent_close_time": closed.parent_close_time,
        "parent_hash": closed.parent_hash,
    }
    if _version(command) == 1:
        header["ledger_index"] = str(closed.ledger_index)
    if command.get("transactions"):
        order = sorted(range(len(closed.transactions)), key=lambda i: closed.transactions[i].hash)
        header["transactions"] = [
            _in_ledger(closed, i, command) if command.get("expand") else closed.transactions[i].hash for i in order
        ]
    name = {"ledger_hash": closed.ledger_hash, "ledger_index": closed.ledger_index, "validated": True}
    return {"ledger": header, **name}


def transaction_of(ledger: Ledger, command: dict[str, Any]) -> dict[str, Any]:
    """A transaction by its hash; one that is not validated has no metadata."""
    found = ledger.history.find(command["transaction"])
    if found is not None and found[0].ledger_index >= ledger.history.first:
        closed, i = found
        shown = _in_history(ledger, (closed.ledger_index, i), command)
        return shown if _version(command) > 1 else {**shown["tx"], "meta": shown["meta"], "validated": True}
    parcel = ledger.open.get(command["transaction"]) or ledger.held.get(command["transaction"])
    if parcel is None:
        raise Refusal("txnNotFound", "Transaction not found.")
    if _version(command) > 1:
        return {"hash": parcel.hash, "tx_json": parcel.transaction, "validated": False}
    return {**parcel.transaction, "hash": parcel.hash, "validated": False}


def _in_history(ledger: Ledger, place: tuple[int, int], command: dict[str, Any]) -> dict[str, Any]:
    """A transaction as `account_tx` and `tx` tell it."""
    closed = ledger.history.ledgers[place[0]]
    done = closed.transactions[place[1]]
    told = {**done.transaction, "date": closed.close_time, "ledger_index": closed.ledger_index}
    if _version(command) == 1:
        old = {**told, "hash": done.hash, "inLedger": closed.ledger_index}
        return {"meta": done.meta, "tx": old, "validated": True}
    return {
        "close_time_iso": iso_time(closed.close_time),
        "hash": done.hash,
        "ledger_hash": closed.ledger_hash,
        "ledger_index": closed.ledger_index,
        "meta": done.meta,
        "tx_json": told,
        "validated": True,
    }


def _in_ledger(closed: Closed, i: int, command: dict[str, Any]) -> dict[str, Any]:
    """A transaction as an expanded `ledger` tells it."""
    done = closed.transactions[i]
    if _version(command) == 1:
        return {**done.transaction, "hash": done.hash, "metaData": done.meta}
    return {"hash": done.hash, "tx_json": done.transaction, "meta": done.meta, "validated": True}


def _version(command: dict[str, Any]) -> int:
    return int(command.get("api_version", 1))
