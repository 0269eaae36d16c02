"""What a live session would find, looked at without starting one: each finding ok or fail, with the remedy.

This file looks at the nodes and at the ledger, `doctor_here.py` at this machine. Nothing is signed, and nothing is sent
to the network but questions. Every node is asked all that a session asks; one that answers shows the ledger.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from decimal import Decimal
from typing import NamedTuple, TypeVar

from engine_proc import doctor_here
from engine_proc.finding import Finding, as_json, text
from engine_proc.market import MarketView
from engine_proc.xrpl_market import LedgerUnreadable, pair_of, read_market, xrp_of
from engine_proc.xrpl_ports import (
    RIPPLE_EPOCH_UNIX_S,
    ClosedLedger,
    Link,
    NodeRefused,
    NodeUnreachable,
    in_step,
)
from engine_proc.xrpl_reads import (
    NO_TRANSFER_FEE,
    AccountState,
    Issuer,
    NetworkFee,
    Server,
    has_ledgers,
    read_account,
    read_fee,
    read_issuer,
    read_ledger,
    read_server,
)
from engine_proc.xrpl_standing import TICK_SIZE_MIN, fee_needed_drops
from shared.clock import Clock
from shared.errors import ConfigError, KedgeError
from shared.settings import Config
from shared.xrpl_text import endpoint_name

__all__ = ["Finding", "as_json", "examine", "text"]

CLOCK_SKEW_S_MAX = 30  # a close time is rounded to 10 s, and hearing of it takes a few more (XRPL.md A5)
LEDGERS_A_DAY = 21_600  # at the nominal 4 s

Answer = TypeVar("Answer")


class Chart(NamedTuple):
    """The settings, and everything that one node says at one validated ledger. What is None does not exist there."""

    config: Config
    server: Server
    closed: ClosedLedger
    account: AccountState | None
    issuer: Issuer | None
    fee: NetworkFee
    market: MarketView

    @property
    def locked_base(self) -> Decimal:
        """XRP that the ledger locks for the account and the objects it owns (OwnerCount, XRPL.md A6)."""
        objects = self.account.owner_count if self.account else 0
        return xrp_of(self.closed.reserve_base_drops + objects * self.closed.reserve_inc_drops)


def examine(
    config: Config,
    open_link: Callable[[tuple[str, ...]], Link],
    address: str | KedgeError,
    clock: Clock,
) -> tuple[Finding, ...]:
    """Everything that a live session needs, in the order in which a person would mend it.

    `open_link` connects to some of the configured endpoints; each is tried alone, and closed again. `address` is the
    one that the seed stands for, or why there is none. Never raises for what it finds.
    """
    findings = [_seed(address)]
    chart: Chart | None = None
    for endpoint in config.xrpl.endpoints:
        try:
            with closing(open_link((endpoint,))) as link:
                seen = _chart(config, link, clock)
        except ConfigError as stranger:  # all that a link has against a configuration
            remedy = f"xrpl.network_id is {config.xrpl.network_id}: mend it, or take this node out of xrpl.endpoints"
            findings.append(_finding(f"node {endpoint_name(endpoint)}", str(stranger), remedy))
        except (NodeUnreachable, NodeRefused, LedgerUnreadable) as error:
            remedy = "take it out of xrpl.endpoints, or try again if the network is down"
            findings.append(_finding(f"node {endpoint_name(endpoint)}", str(error) or "no answer", remedy))
        else:
            findings.append(_node(endpoint, seen))
            chart = chart or seen
    if chart is None:
        found = "not looked at: no node could be asked"
        findings.append(Finding("ledger", ok=False, found=found, remedy="name a node that answers in xrpl.endpoints"))
    else:
        findings += (finding for check in CHECKS for finding in check(chart))
    return (*findings, *doctor_here.examine(config))


def _seed(address: str | KedgeError) -> Finding:
    if isinstance(address, str):
        return Finding("seed", ok=True, found=f"stands for {address}, the configured account")
    remedy = "a file of mode 0600 named by xrpl.seed_file, or KEDGE_XRPL_SEED; and its address in xrpl.account"
    return Finding("seed", ok=False, found=str(address), remedy=remedy)


def _chart(config: Config, link: Link, clock: Clock) -> Chart:
    """Ask all that a session asks. Raises as the reads do, `NodeUnreachable` also if no ledger closes in time."""
    pair = pair_of(config.market.pair, config.xrpl.issuer)
    server = read_server(link)
    closed = link.await_ledger(0, config.xrpl.liveness_ms)
    if closed is None:
        raise NodeUnreachable(f"no validated ledger within {config.xrpl.liveness_ms} ms (state {server.state})")
    name, market = config.xrpl.account, config.market
    return Chart(
        config,
        server,
        closed,
        None if name is None else _there(lambda: read_account(link, name, pair, closed.ledger_index)),
        _there(lambda: read_issuer(link, pair, closed.ledger_index)),
        read_fee(link),
        read_market(
            read_ledger(link, pair, closed, transactions=False),
            pair,
            ts_ns=clock.now_ns(),
            stale_after_ms=market.stale_after_ms,
            min_touch_size=market.min_touch_size,
            exclude_accounts=() if name is None else (name,),
        ),
    )


def _there(read: Callable[[], Answer]) -> Answer | None:
    """What is read; None where the account does not exist."""
    try:
        return read()
    except NodeRefused as error:
        if error.error != "actNotFound":
            raise
        return None


def _node(endpoint: str, chart: Chart) -> Finding:
    """Whether this node can carry a session: the right network, in sync, with the history to bridge a cut."""
    server, closed, xrpl = chart.server, chart.closed, chart.config.xrpl
    name = f"node {endpoint_name(endpoint)}"
    found = f"rippled {server.build_version}, network {server.network_id}, {server.state}, ledger {closed.ledger_index}"
    if server.network_id != xrpl.network_id:
        remedy = f"xrpl.network_id is {xrpl.network_id}: mend it, or take this node out"
        return Finding(name, ok=False, found=found, remedy=remedy)
    if not in_step(server.state, server.network_id) or server.amendment_blocked:
        blocked = ", amendment blocked" if server.amendment_blocked else ""
        return Finding(name, ok=False, found=found + blocked, remedy="wait until it is in sync, or take another node")
    bridge = xrpl.expiration_ledgers + xrpl.last_ledger_offset
    first = max(1, closed.ledger_index - bridge)
    if not has_ledgers(server.complete_ledgers, first, closed.ledger_index - 1):
        found = f"{found}; has ledgers {server.complete_ledgers}"
        remedy = f"a node with the last {bridge} ledgers: after a cut, fills are read from them"
        return Finding(name, ok=False, found=found, remedy=remedy)
    return Finding(name, ok=True, found=found)


def _clock(chart: Chart) -> Iterator[Finding]:
    """Orders end by the ledger's clock, records are stamped by ours: the two must agree."""
    closed_unix_s = chart.closed.close_time + RIPPLE_EPOCH_UNIX_S
    skew_s = chart.closed.received_ns / 1e9 - closed_unix_s
    found = f"{skew_s:+.0f} s against the ledger's close time"
    remedy = "set this machine's clock (NTP)"
    yield _finding("clock", found, remedy, ok=abs(skew_s) <= CLOCK_SKEW_S_MAX)


def _account(chart: Chart) -> Iterator[Finding]:
    """It exists, and can pay for the ladder's objects: each offer locks XRP while it stands."""
    account, inc = chart.account, xrp_of(chart.closed.reserve_inc_drops)
    if account is None:
        need = xrp_of(chart.closed.reserve_base_drops)
        found = f"{chart.config.xrpl.account} is not on ledger {chart.closed.ledger_index}"
        yield _finding("account", found, f"send it XRP, at least the {need:f} that the ledger locks")
        return
    spendable = xrp_of(account.balance_drops) - chart.locked_base
    ladder = (2 * chart.config.strategy.quote.levels + chart.config.xrpl.tickets) * inc
    balance = (
        f"{xrp_of(account.balance_drops):f} XRP, {chart.locked_base:f} of it locked ({account.owner_count} objects)"
    )
    found = f"{balance}, {spendable:f} spendable; a session locks up to {ladder:f} more"
    yield _finding("account", found, "more XRP, or fewer strategy.quote.levels or xrpl.tickets", ok=spendable >= ladder)
    offers = len(account.offers)
    fate = {"cancel": "cancelled", "adopt": "taken over"}[chart.config.execution.orphans]
    yield _finding("offers", f"{offers} open in the pair" + (f"; a start has them {fate}" if offers else ""), ok=True)


def _issuer(chart: Chart) -> Iterator[Finding]:
    """What the issuer may do to us, and has done."""
    issuer, name = chart.issuer, chart.config.xrpl.issuer
    if issuer is None:
        yield _finding("issuer", f"{name} is not on this ledger", "set xrpl.issuer to this network's issuer")
        return
    against = {
        "has frozen everything": issuer.global_freeze,
        f"takes a transfer fee (rate {issuer.transfer_rate})": issuer.transfer_rate != NO_TRANSFER_FEE,
        f"rounds rates to {issuer.tick_size} digits": (issuer.tick_size or TICK_SIZE_MIN) < TICK_SIZE_MIN,
    }
    wrong = ", ".join(text for text, is_so in against.items() if is_so)
    fine = f"no freeze, no transfer fee, tick size {issuer.tick_size or 'not set'}"
    yield _finding("issuer", f"{name}: {wrong or fine}", "another issuer, or wait until it is lifted", ok=not wrong)


def _trust_line(chart: Chart) -> Iterator[Finding]:
    """Without one nothing of the quote currency can be held; a frozen one cannot be traded."""
    account, issuer = chart.account, chart.issuer
    line = account.line if account is not None else None
    if line is None:
        yield _finding(
            "trust line", f"none to {chart.config.xrpl.issuer}", "a TrustSet transaction; docs/live.md has one"
        )
        return
    wrong = "frozen by the issuer" if line.frozen or line.deep_frozen else ""
    if issuer is not None and issuer.require_auth and not line.authorized:
        wrong = "not authorised by the issuer, which asks for it"
    found = f"{line.balance:f} of at most {line.limit:f}" + (f"; {wrong}" if wrong else "")
    yield _finding("trust line", found, "only the issuer can mend that", ok=not wrong)


def _book(chart: Chart) -> Iterator[Finding]:
    """Without a mid there is no quote."""
    market = chart.market
    if market.mid is not None:
        yield _finding("book", f"bid {market.clob_bid:.6g}, ask {market.clob_ask:.6g}", ok=True)
        return
    remedy = "wait: Kedge does not quote into an empty, one-sided or crossed book"
    yield _finding("book", f"{market.status}: {len(market.bids)} bids, {len(market.asks)} asks", remedy)


def _pool(chart: Chart) -> Iterator[Finding]:
    """An anchor that is to come from the pool wants one; without it the guard has nothing to watch."""
    pool, anchor = chart.market.amm, chart.config.strategy.anchor.mode
    if pool is not None:
        found = f"spot {pool.spot:.6g}, fee {pool.fee * 1e4:.1f} bps, buys at {pool.bid:.6g}, sells at {pool.ask:.6g}"
        yield _finding("pool", found, ok=True)
        return
    remedy = "strategy.anchor.mode: clob, if the pair is to be quoted without a pool"
    yield _finding("pool", f"none that trades; anchor mode {anchor}", remedy, ok=anchor == "clob")


def _fees(chart: Chart) -> Iterator[Finding]:
    """What the network asks now, what we would pay at most, and what quoting costs a day at worst."""
    fee, cap = chart.fee, chart.config.xrpl.fee_drops_max
    now = fee_needed_drops(fee)
    a_day = xrp_of(now * 2 * chart.config.strategy.quote.levels * LEDGERS_A_DAY)
    found = f"{now} drops now, cap {cap}; the whole ladder replaced on every ledger costs {a_day:.2f} XRP a day"
    yield _finding("fees", found, "wait, or raise xrpl.fee_drops_max", ok=now <= cap)


def _limits(chart: Chart) -> Iterator[Finding]:
    """What the account holds against what the settings would have it trade."""
    account, gate, quote = chart.account, chart.config.gate, chart.config.strategy.quote
    if account is None:
        return
    base = xrp_of(account.balance_drops)
    low, high = gate.position_base_min, gate.position_base_max
    remedy = "fund the account to strategy.inventory.target_base, or mend gate.position_base_min and _max"
    yield _finding("position", f"{base:f} XRP within {low} .. {high}", remedy, ok=low <= base <= high)
    ladder = sum((quote.size_base * Decimal(str(quote.size_growth)) ** i for i in range(quote.levels)), Decimal(0))
    objects = xrp_of(2 * quote.levels * chart.closed.reserve_inc_drops)
    free = base - max(gate.reserve_base, chart.locked_base + objects)
    found = f"{ladder.normalize():f} XRP in asks, {free:f} XRP free of reserves"
    yield _finding("asks", found, "more XRP, or smaller sizes: the rest is denied RESERVE_BASE", ok=ladder <= free)
    mid, line = chart.market.mid, account.line
    if mid is not None and line is not None:
        wanted, has = ladder * Decimal(str(mid)), line.balance - gate.reserve_quote
        found = f"worth {wanted:.2f} in bids, {has:f} free"
        remedy = "more of the quote currency, or smaller sizes: the rest is denied RESERVE_QUOTE"
        yield _finding("bids", found, remedy, ok=wanted <= has)


CHECKS: tuple[Callable[[Chart], Iterator[Finding]], ...] = (
    _clock,
    _account,
    _issuer,
    _trust_line,
    _book,
    _pool,
    _fees,
    _limits,
)


def _finding(name: str, found: str, remedy: str = "", *, ok: bool = False) -> Finding:
    """A remedy stands only where something is wrong."""
    return Finding(name, ok, found, "" if ok else remedy)
