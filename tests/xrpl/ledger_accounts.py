"""What accounts of the double set about themselves: trust lines, flags, tickets."""

from __future__ import annotations

from typing import Any

from tests.xrpl.ledger_amounts import Amount, read_amount
from tests.xrpl.ledger_funds import open_line, settle_line
from tests.xrpl.ledger_offers import Outcome, Scene
from tests.xrpl.ledger_state import (
    LINE_AUTH,
    LINE_DEEP_FREEZE,
    LINE_FREEZE,
    LINE_NO_RIPPLE,
    LINE_RESERVE,
    Line,
    State,
    Ticket,
    has_flag,
    line_key,
    line_of,
    side_flag,
)

TICKETS_MAX = 250
FREE_LINES = 2  # so many objects need no reserve of their own when a trust line is added
_SETS = {0x0001_0000: LINE_AUTH, 0x0002_0000: LINE_NO_RIPPLE, 0x0010_0000: LINE_FREEZE, 0x0040_0000: LINE_DEEP_FREEZE}
_CLEARS = {0x0004_0000: LINE_NO_RIPPLE, 0x0020_0000: LINE_FREEZE, 0x0080_0000: LINE_DEEP_FREEZE}
_ACCOUNT_FLAGS = {1: 0x0002_0000, 2: 0x0004_0000, 3: 0x0008_0000, 6: 0x0020_0000, 7: 0x0040_0000, 8: 0x0080_0000}


def set_trust(state: State, transaction: dict[str, Any], scene: Scene) -> Outcome:
    """Open, change or close one's side of a trust line; an issuer freezes and authorises on its own side."""
    account, limit = transaction["Account"], read_amount(transaction["LimitAmount"])
    flags = transaction.get("Flags", 0)
    refusal = _trust_refused(state, transaction, limit, scene)
    if refusal is not None:
        return Outcome(refusal)
    line = line_of(state.entries, account, limit.issue)
    if line is None:
        line = open_line(state, account, limit.issue, no_ripple=False)
    key = line_key(account, limit.issue.issuer, limit.issue.currency)
    bits = line.flags
    for asked, flag in _SETS.items():
        bits |= side_flag(line, account, flag) if flags & asked else 0
    for asked, flag in _CLEARS.items():
        bits &= ~side_flag(line, account, flag) if flags & asked else ~0
    side = "low_limit" if line.low == account else "high_limit"
    changed: Line = line._replace(flags=bits, **{side: limit.value})
    state.put(key, changed)
    settle_line(state, key, sides=(line.low, line.high))
    return Outcome("tesSUCCESS")


def _trust_refused(state: State, transaction: dict[str, Any], limit: Amount, scene: Scene) -> str | None:
    """The first reason why a trust line is not changed."""
    account = transaction["Account"]
    if limit.issue.is_xrp or limit.value < 0:
        return "temBAD_LIMIT"
    if limit.issue.issuer == account:
        return "temDST_IS_SRC"
    if ("account", limit.issue.issuer) not in state.entries:
        return "tecNO_DST"
    line = line_of(state.entries, account, limit.issue)
    objects = state.root(account).owner_count
    poor = objects >= FREE_LINES and scene.prior_balance_drops < scene.fees.reserve(objects + 1)
    if line is None and limit.value == 0 and not any(transaction.get("Flags", 0) & bit for bit in _SETS):
        return "tecNO_LINE_REDUNDANT"
    if poor and (line is None or (limit.value > 0 and not has_flag(line, account, LINE_RESERVE))):
        return "tecNO_LINE_INSUF_RESERVE" if line is None else "tecINSUF_RESERVE_LINE"
    return None


def set_account(state: State, transaction: dict[str, Any], _: Scene) -> Outcome:
    """Set or clear a flag, the tick size, the transfer rate."""
    root = state.root(transaction["Account"])
    changes: dict[str, int] = {}
    flags = root.flags | _ACCOUNT_FLAGS.get(transaction.get("SetFlag", 0), 0)
    flags &= ~_ACCOUNT_FLAGS.get(transaction.get("ClearFlag", 0), 0)
    if flags != root.flags:
        changes["flags"] = flags
    if "TickSize" in transaction:
        size = transaction["TickSize"]
        if size != 0 and not 3 <= size <= 16:
            return Outcome("temBAD_TICK_SIZE")
        changes["tick_size"] = 0 if size == 16 else size
    if "TransferRate" in transaction:
        rate = transaction["TransferRate"]
        if rate != 0 and not 1_000_000_000 <= rate <= 2_000_000_000:
            return Outcome("temBAD_TRANSFER_RATE")
        changes["transfer_rate"] = 0 if rate == 1_000_000_000 else rate
    state.change_root(root.address, **changes)
    return Outcome("tesSUCCESS")


def create_tickets(state: State, transaction: dict[str, Any], scene: Scene) -> Outcome:
    """Set sequence numbers aside."""
    account, count = transaction["Account"], transaction["TicketCount"]
    if not 1 <= count <= TICKETS_MAX:
        return Outcome("temINVALID_COUNT")
    root = state.root(account)
    if root.ticket_count + count > TICKETS_MAX:
        return Outcome("tecDIR_FULL")
    if scene.prior_balance_drops < scene.fees.reserve(root.owner_count + count):
        return Outcome("tecINSUFFICIENT_RESERVE")
    for number in range(root.sequence, root.sequence + count):
        state.put(("ticket", account, number), Ticket(account, number))
    state.change_root(
        account,
        sequence=root.sequence + count,
        owner_count=root.owner_count + count,
        ticket_count=root.ticket_count + count,
    )
    return Outcome("tesSUCCESS")
