"""The market that the proof runs on: issuer, pool, makers, a taker, and Kedge's own account, made on a fresh ledger."""

from __future__ import annotations

import random
from collections.abc import Callable
from decimal import Decimal

from tests.node.console import Console
from tests.node.nodes import Node
from tests.node.parties import CURRENCY, Party, seed_of
from tests.node.traders import BPS, Maker, Rung, Sight, Taker, push_pool

FAIR = Decimal("1.305")
POOL_XRP = 2_000_000
POOL_FEE = 267  # 0.267 %, as the mainnet pool has it
XRP_EACH = 60_000
TOKENS_EACH = 80_000
KEDGE_XRP = 10_000
KEDGE_TOKENS = 13_000
PUSHED = Decimal("0.006")  # so far from fair the pool is pushed: more than its fee and the makers' half-spread
TOKENS_OF_PROVIDER = 300_000  # beside what is in the pool, for pushing it
RIPPLING = 8  # asfDefaultRipple: holders may pay each other in the issuer's currency
TRUST_MAX = Decimal(10**9)


class Stage:
    """Everybody but the engine. `prepare` once, then `act` before every ledger."""

    def __init__(self, node: Node, console: Console, seed: int) -> None:
        self.node = node
        self.console = console
        self.rng = random.Random(f"stage {seed}")
        self.network_id = int(console.ask("server_info")["info"].get("network_id") or 0)
        self.issuer, self.provider, self.kedge, first, second, taker, friend = self.parties = tuple(
            Party(name, seed_of(name, seed), console, self.network_id)
            for name in ("issuer", "provider", "kedge", "maker 1", "maker 2", "taker", "friend")
        )
        issuer = self.issuer.address
        near = (Rung(10, Decimal(300)), Rung(20, Decimal(500)), Rung(30, Decimal(900)))
        self.makers = (
            Maker(first, issuer, near, random.Random(f"maker 1 {seed}")),
            Maker(second, issuer, (Rung(19, Decimal(400)),), random.Random(f"maker 2 {seed}")),
        )
        self.taker = Taker(taker, friend.address, issuer, random.Random(f"taker {seed}"))
        self.traders = (first, second, taker)
        self.fair = FAIR
        self.pushed = False

    def prepare(self, close_ledger: Callable[[], None]) -> None:
        """Accounts, trust lines, tokens, the pool, and a first ladder on both sides."""
        for party in self.parties:
            drops = KEDGE_XRP if party is self.kedge else XRP_EACH + (POOL_XRP if party is self.provider else 0)
            self.node.fund(self.console, party.address, drops * 1_000_000)
        close_ledger()
        holders = [party for party in self.parties if party is not self.issuer]
        self._catch_up(*self.parties)
        self.issuer.must("AccountSet", SetFlag=RIPPLING)
        for party in holders:
            party.must("TrustSet", LimitAmount=party.tokens(TRUST_MAX, self.issuer.address))
        close_ledger()
        pool_tokens = POOL_XRP * FAIR
        for party in holders:
            tokens = Decimal(KEDGE_TOKENS if party is self.kedge else TOKENS_EACH)
            if party is self.provider:
                tokens = TOKENS_OF_PROVIDER + pool_tokens
            self.issuer.must("Payment", Destination=party.address, Amount=party.tokens(tokens, self.issuer.address))
        close_ledger()
        self._catch_up(*self.parties)
        self.node.create_pool(self.provider, POOL_XRP * 1_000_000, self.issuer.address, pool_tokens, POOL_FEE)
        close_ledger()
        for _ in range(2):
            self.act()
            close_ledger()

    def act(self) -> None:
        """Everybody's transactions for the next ledger. Raises `NodeGone`."""
        sight = self._look()
        self._catch_up(*self.traders)
        for maker in self.makers:
            maker.act(sight)
        self.taker.act(sight)

    def push(self) -> None:
        """Push the pool, or push it again as far as trades have brought it back.

        From the first push on the makers stay where fair was, and keep clear of the pool. Raises `NodeGone`.
        """
        self.pushed = True
        tokens, spot = self._pool()[:2]
        missing = self.fair * (1 + PUSHED) / spot - 1
        if missing > BPS:
            self._catch_up(self.provider)
            push_pool(self.provider, self.issuer.address, tokens * missing)

    def let_go(self) -> None:
        """The makers follow the pool again: its price is the fair one."""
        self.pushed = False

    def _look(self) -> Sight:
        """Fair price: the pool's spot and a few bps of noise that forgets; while pushed it stays where it was."""
        _, spot, fee = self._pool()
        if not self.pushed:
            self.fair = spot * (1 + Decimal(str(self.rng.gauss(0, 2.5))) / 10_000)
        ledger = self.console.ask("ledger", ledger_index="validated")["ledger"]
        return Sight(self.fair, spot * (1 - fee), spot / (1 - fee), int(ledger["close_time"]))

    def _pool(self) -> tuple[Decimal, Decimal, Decimal]:
        """Tokens in the pool, its spot price and its fee as a fraction."""
        issued = {"currency": CURRENCY, "issuer": self.issuer.address}
        asked = self.console.ask("amm_info", asset={"currency": "XRP"}, asset2=issued, ledger_index="validated")["amm"]
        amounts = (asked["amount"], asked["amount2"])
        drops = next(Decimal(amount) for amount in amounts if isinstance(amount, str))
        tokens = next(Decimal(amount["value"]) for amount in amounts if not isinstance(amount, str))
        return tokens, tokens / drops * 1_000_000, Decimal(asked["trading_fee"]) / 100_000

    def _catch_up(self, *parties: Party) -> None:
        for party in parties:
            party.catch_up()
