"""Who can spend what on the double, and how value moves between accounts: reserves, freezes, trust lines."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import NamedTuple

from tests.xrpl.ledger_amounts import NEAREST, ZERO, Issue
from tests.xrpl.ledger_state import (
    LINE_AUTH,
    LINE_DEEP_FREEZE,
    LINE_FREEZE,
    LINE_NO_RIPPLE,
    LINE_RESERVE,
    LSF_GLOBAL_FREEZE,
    LSF_REQUIRE_AUTH,
    Entry,
    Key,
    Line,
    Root,
    State,
    has_flag,
    held,
    line_key,
    line_of,
    side_flag,
)

BOUNDLESS = Decimal("Infinity")  # what an issuer can spend of its own currency
PARITY = 1_000_000_000  # a transfer rate of nothing
LSF_DEFAULT_RIPPLE = 0x0080_0000


class Fees(NamedTuple):
    """What the network asks for, in drops."""

    base: int
    reserve_base: int
    reserve_inc: int

    def reserve(self, objects: int) -> int:
        """The XRP that an account with so many objects cannot spend."""
        return self.reserve_base + self.reserve_inc * objects


def funds(entries: Mapping[Key, Entry], address: str, issue: Issue, fees: Fees, *, fewer_objects: int = 0) -> Decimal:
    """What an account can spend of an asset; frozen money is none. `fewer_objects` are not counted in the reserve."""
    if issue.is_xrp:
        root = entries["account", address]
        assert isinstance(root, Root)
        if root.pool_index:
            return Decimal(root.balance_drops)
        return Decimal(max(0, root.balance_drops - fees.reserve(max(0, root.owner_count - fewer_objects))))
    if address == issue.issuer:
        return BOUNDLESS
    if frozen(entries, address, issue):
        return ZERO
    return max(ZERO, held(line_in(entries, address, issue), address))


def line_in(entries: Mapping[Key, Entry], holder: str, issue: Issue) -> Line | None:
    """As `line_of`, for any view of a ledger."""
    return entries.get(line_key(holder, issue.issuer, issue.currency))


def globally_frozen(entries: Mapping[Key, Entry], issue: Issue) -> bool:
    """Whether the issuer has frozen all of its currencies."""
    root = entries.get(("account", issue.issuer))
    return isinstance(root, Root) and bool(root.flags & LSF_GLOBAL_FREEZE)


def frozen(entries: Mapping[Key, Entry], holder: str, issue: Issue) -> bool:
    """Whether the holder cannot sell: a global freeze, a freeze of its line, or a deep one."""
    if issue.is_xrp or holder == issue.issuer:
        return False
    line = line_in(entries, holder, issue)
    return (
        globally_frozen(entries, issue)
        or has_flag(line, issue.issuer, LINE_FREEZE)
        or deep_frozen(entries, holder, issue)
    )


def deep_frozen(entries: Mapping[Key, Entry], holder: str, issue: Issue) -> bool:
    """Whether the holder can neither sell nor buy."""
    line = line_in(entries, holder, issue)
    return has_flag(line, issue.issuer, LINE_DEEP_FREEZE) or has_flag(line, holder, LINE_DEEP_FREEZE)


def refusal_to_hold(state: State, holder: str, issue: Issue) -> str | None:
    """The result code if the account must not receive the asset, None if it may."""
    if issue.is_xrp or holder == issue.issuer:
        return None
    issuer = state.entries.get(("account", issue.issuer))
    if not isinstance(issuer, Root):
        return "tecNO_ISSUER"
    line = line_of(state.entries, holder, issue)
    if issuer.flags & LSF_REQUIRE_AUTH:
        if line is None:
            return "tecNO_LINE"
        if not has_flag(line, issue.issuer, LINE_AUTH):
            return "tecNO_AUTH"
    return "tecFROZEN" if deep_frozen(state.entries, holder, issue) else None


def transfer_rate(entries: Mapping[Key, Entry], issue: Issue) -> int:
    """What a transfer of the currency costs: 1e9 is nothing, 1.002e9 is 0.2 %."""
    root = entries.get(("account", issue.issuer))
    return (root.transfer_rate if isinstance(root, Root) else 0) or PARITY


def move(state: State, issue: Issue, sender: str, receiver: str, value: Decimal) -> None:
    """Take value from one account and give it to another."""
    credit(state, issue, sender, -value)
    credit(state, issue, receiver, value)


def credit(state: State, issue: Issue, account: str, value: Decimal) -> None:
    """Change a balance; an issuer has none of its own currency. A missing trust line is made, an idle one deleted."""
    if value == 0 or account == issue.issuer:
        return
    if issue.is_xrp:
        state.change_root(account, balance_drops=state.root(account).balance_drops + int(value))
        return
    key = line_key(account, issue.issuer, issue.currency)
    line = state.entries.get(key) or open_line(state, account, issue)
    assert isinstance(line, Line)
    signed = value if line.low == account else -value
    line = line._replace(balance=NEAREST.add(line.balance, signed))
    state.put(key, line)
    if value < 0 and held(line, account) == 0:
        settle_line(state, key, sides=(account,))


def open_line(state: State, holder: str, issue: Issue, *, limit: Decimal = ZERO, no_ripple: bool | None = None) -> Line:
    """Create a trust line that the holder pays the reserve for. None: it ripples if the holder does by default."""
    key = line_key(holder, issue.issuer, issue.currency)
    _, low, high, _ = key
    line = Line(low, high, issue.currency, ZERO, ZERO, ZERO, 0)
    bits = side_flag(line, holder, LINE_RESERVE)
    if not _ripples(state, holder) if no_ripple is None else no_ripple:
        bits |= side_flag(line, holder, LINE_NO_RIPPLE)
    if not _ripples(state, issue.issuer):
        bits |= side_flag(line, issue.issuer, LINE_NO_RIPPLE)
    limits = {"low_limit": limit} if low == holder else {"high_limit": limit}
    line = line._replace(flags=bits, **limits)
    state.put(key, line)
    state.own(holder, 1)
    return line


def settle_line(state: State, key: Key, *, sides: tuple[str, ...]) -> None:
    """Make each side's reserve agree with its need of the line, and delete a line that nobody needs."""
    line = state.entries[key]
    assert isinstance(line, Line)
    for account in sides:
        reserve = side_flag(line, account, LINE_RESERVE)
        needed = _needs(state, line, account)
        if needed != bool(line.flags & reserve):
            line = line._replace(flags=line.flags ^ reserve)
            state.put(key, line)
            state.own(account, 1 if needed else -1)
    both = LINE_RESERVE | LINE_RESERVE << 1
    if line.balance == 0 and not line.flags & both:
        state.put(key, None)


def _needs(state: State, line: Line, account: str) -> bool:
    """Whether the line is for this side anything but what a line is by default."""
    limit = line.low_limit if line.low == account else line.high_limit
    return (
        limit > 0
        or held(line, account) > 0
        or has_flag(line, account, LINE_FREEZE)
        or has_flag(line, account, LINE_NO_RIPPLE) == _ripples(state, account)
    )


def _ripples(state: State, account: str) -> bool:
    return bool(state.root(account).flags & LSF_DEFAULT_RIPPLE)
