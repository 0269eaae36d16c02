"""A node's answer at one ledger index, asked for and checked: of the right ledger, validated, of the right shape.

A server that lags, or that falls back to its open ledger, would otherwise mix two states of the world.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from engine_proc.xrpl_market import UINT32_MAX, LedgerUnreadable, read_int
from engine_proc.xrpl_ports import Link, NodeRefused


class Answer(NamedTuple):
    """The `result` of one command; `where` names command and index in errors. `refused` if that was allowed for."""

    where: str
    fields: dict[str, Any]
    refused: bool = False

    def object(self, field: str) -> dict[str, Any]:
        """A member that must be an object. Raises `LedgerUnreadable`."""
        member = self.fields.get(field)
        if not isinstance(member, dict):
            raise LedgerUnreadable(self.where, field, "an object", member)
        return member

    def objects(self, field: str) -> list[dict[str, Any]]:
        """A member that must be a list of objects. Raises `LedgerUnreadable`."""
        member = self.fields.get(field)
        if not isinstance(member, list):
            raise LedgerUnreadable(self.where, field, "a list", member)
        for i, entry in enumerate(member):
            if not isinstance(entry, dict):
                raise LedgerUnreadable(self.where, f"{field}[{i}]", "an object", entry)
        return member


def ask(link: Link, *commands: Mapping[str, Any], absent: Mapping[str, str] | None = None) -> list[Answer]:
    """All commands at once, of one server. `absent`: the error by command that only says "there is none".

    Raises `NodeUnreachable`, `NodeRefused` and `LedgerUnreadable`.
    """
    absent = absent or {}
    answers: list[Answer] = []
    for command, result in zip(commands, link.request_all(commands), strict=True):
        if isinstance(result, NodeRefused):
            if result.error != absent.get(command["command"]):
                raise result
            answers.append(Answer(_where(command), {}, refused=True))
        else:
            answers.append(_checked(command, result))
    return answers


def pages(link: Link, command: Mapping[str, Any], first: Answer | None = None) -> Iterator[Answer]:
    """All pages of an answer, beginning with the first if it is there already. Raises as `ask` does."""
    page = first or ask(link, command)[0]
    seen: list[Any] = []
    while True:
        yield page
        marker = page.fields.get("marker")
        if marker is None:
            return
        if marker in seen:
            raise LedgerUnreadable(page.where, "marker", "a page that was not there yet", marker)
        seen.append(marker)
        (page,) = ask(link, {**command, "marker": marker})


def transactions_of(answer: Answer) -> list[dict[str, Any]]:
    """All transactions of an expanded `ledger`, executed in this order, in the shape of a tape: hash, tx_json, meta."""
    executed: dict[int, dict[str, Any]] = {}
    listed = Answer(answer.where, answer.object("ledger")).objects("transactions")
    for i, raw in enumerate(listed):
        where = f"{answer.where} transactions[{i}]"
        meta = raw.get("meta", raw.get("metaData"))
        if not isinstance(meta, dict):
            raise LedgerUnreadable(where, "meta", "a metadata object", meta)
        tx_json = raw.get("tx_json")
        if tx_json is None:  # API version 1 has the fields of the transaction beside its metadata
            tx_json = {field: value for field, value in raw.items() if field not in ("hash", "meta", "metaData")}
        index = read_int(meta, "TransactionIndex", UINT32_MAX, where)
        if index in executed:
            raise LedgerUnreadable(where, "TransactionIndex", "one of its own", index)
        executed[index] = {"hash": raw.get("hash"), "tx_json": tx_json, "meta": meta}
    return [executed[index] for index in sorted(executed)]


def _where(command: Mapping[str, Any]) -> str:
    index = command.get("ledger_index")
    return command["command"] if index is None else f"{command['command']} at ledger {index}"


def _checked(command: Mapping[str, Any], result: dict[str, Any]) -> Answer:
    where, wanted = _where(command), command.get("ledger_index")
    if wanted is not None:
        index = result.get("ledger_index", result.get("ledger_current_index", wanted))
        if str(index) != str(wanted):  # early servers wrote this number as text
            raise LedgerUnreadable(where, "ledger_index", str(wanted), index)
        if result.get("validated", True) is not True:
            raise LedgerUnreadable(where, "validated", "true", result["validated"])
    return Answer(where, result)
