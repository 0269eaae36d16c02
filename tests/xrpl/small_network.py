"""A small network to try commands on: an issuer, a maker on both sides, a pool, and our account with its key."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

from xrpl.wallet import Wallet

from engine_proc.xrpl_market import pair_of
from engine_proc.xrpl_wallet import Seed, Signer
from shared.config import load_config
from tests.xrpl.fake_node import FakeNode
from tests.xrpl.ledger import Ledger
from tests.xrpl.tape_node import DirectLink, FakeClock

STAGE1 = Path(__file__).parents[2] / "config" / "live_stage1.yaml"
LEDGER_MS = 4_000
ENDPOINT = "ws://127.0.0.1:1"
USD = "USD"
PAIR = "XRP/USD"

ISSUER, MAKER, POOL_OWNER, OURS = (Wallet.from_entropy(f"{number:032x}") for number in range(1, 5))
ADDRESS = OURS.address


class Network:
    """The ledger, a clock that goes with it, and links that close a ledger whenever somebody waits for one."""

    def __init__(self, *, our_drops: int = 60_000_000, our_usd: int = 40, pool: bool = True) -> None:
        self.clock = FakeClock()
        self.ledger = Ledger()
        self.links: list[DirectLink] = []
        self.closings = 0
        self.before_close: dict[int, Any] = {}  # what happens before the n-th closing from now, by n
        for wallet in (ISSUER, MAKER, POOL_OWNER):
            self.ledger.fund(wallet.address, 10_000_000_000)
        if our_drops:
            self.ledger.fund(ADDRESS, our_drops)
        self.ledger.close()
        for wallet, value in ((MAKER, 10_000), (POOL_OWNER, 10_000), *([(OURS, our_usd)] if our_drops else ())):
            if value is not None:
                self.ledger.trust(wallet.address, ISSUER.address, USD)
                self.ledger.issue(ISSUER.address, wallet.address, USD, Decimal(value))
        self.ledger.close()
        self.quote("ask", 500, "1.302", MAKER.address)
        self.quote("bid", 500, "1.298", MAKER.address)
        if pool:
            self.ledger.create_pool(POOL_OWNER.address, 1_000_000_000, ISSUER.address, USD, Decimal(1300))
        self.ledger.close()

    def quote(self, side: str, xrp: int, price: str, account: str = ADDRESS, **fields: Any) -> str:
        """An OfferCreate into the open ledger; its result."""
        drops, usd = str(xrp * 10**6), {"currency": USD, "issuer": ISSUER.address, "value": f"{xrp * Decimal(price):f}"}
        gets, pays = (drops, usd) if side == "ask" else (usd, drops)
        offer = {"TransactionType": "OfferCreate", "Account": account, "TakerGets": gets, "TakerPays": pays}
        return self.ledger.apply(offer | fields)

    def link(self, _endpoints: tuple[str, ...] = (ENDPOINT,)) -> DirectLink:
        """A link on which every wait lets one ledger close."""
        self.links.append(DirectLink(self.ledger, self.clock, self._close))
        return self.links[-1]

    def _close(self, link: DirectLink) -> None:
        if link.cut:
            return
        self.closings += 1
        if self.closings in self.before_close:
            self.before_close[self.closings]()
        self.clock.pass_ms(LEDGER_MS)
        message = self.ledger.close()
        link.closed(message)

    def offers(self, account: str = ADDRESS) -> list[int]:
        """The open offers of an account in the newest validated ledger, by number."""
        command = {"command": "account_offers", "account": account, "ledger_index": "validated"}
        return sorted(offer["seq"] for offer in self.ledger.answer(command)["offers"])


@contextmanager
def closing_ledgers(node: FakeNode, every_s: float = 0.2) -> Iterator[None]:
    """Within the block a ledger closes every so often."""
    done = threading.Event()

    def close() -> None:
        while not done.wait(every_s):
            node.close_ledger()

    closer = threading.Thread(target=close)
    closer.start()
    try:
        yield
    finally:
        done.set()
        closer.join()


def signer() -> Signer:
    """Our key."""
    return Signer(Seed(OURS.seed), ADDRESS)


def pair():
    """The pair that is quoted there."""
    return pair_of(PAIR, ISSUER.address)


def live_config(directory: Path, *more: str, network_id: int = 63456):
    """The first live stage, on this network, with its record in a directory."""
    return load_config(STAGE1, overrides(directory, *more, network_id=network_id)).config


def overrides(directory: Path, *more: str, network_id: int = 63456) -> tuple[str, ...]:
    """What makes the first live stage one of this network, as `--set` takes it."""
    return (
        f"market.pair={PAIR}",
        f"xrpl.endpoints=[{ENDPOINT}]",
        f"xrpl.network_id={network_id}",
        f"xrpl.issuer={ISSUER.address}",
        f"xrpl.account={ADDRESS}",
        "xrpl.seed_file=null",
        f"telemetry.endpoint=ipc://{directory}/run/t.sock",
        f"telemetry.database={directory}/kedge.db",
        f"telemetry.journal_dir={directory}/journal",
        *more,
    )


def command_line(name: str, directory: Path, node: FakeNode, *arguments: str) -> list[str]:
    """A command of `kedge-engine` on this network, behind a node."""
    settings = (f"--set={each}" for each in overrides(directory, f"xrpl.endpoints=[{node.url}]"))
    return [name, "-c", str(STAGE1), *settings, *arguments]
