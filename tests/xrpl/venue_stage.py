"""The live venue on a stage: a ledger of its own behind a real socket, a public that trades, and our account."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, Self

from xrpl.wallet import Wallet

from engine_proc.holdings import Report
from engine_proc.market import look
from engine_proc.venue_xrpl import XrplVenue
from engine_proc.xrpl_link import XrplLink
from engine_proc.xrpl_market import DROPS_PER_XRP, pair_of
from engine_proc.xrpl_submissions import SubmissionLog, log_path
from engine_proc.xrpl_wallet import Seed, Signer
from shared.clock import SystemClock
from shared.settings import Xrpl
from shared.stop import Stop
from tests.engine.venue_contract import PUBLIC_ASKS, PUBLIC_BIDS
from tests.xrpl.fake_node import FakeNode
from tests.xrpl.ledger import Ledger

ISSUER, PUBLIC, TAKER, OURS = (Wallet.from_entropy(f"{number:032x}") for number in range(1, 5))
ADDRESS = OURS.address
SIGNER = Signer(Seed(OURS.seed), ADDRESS)
PAIR = pair_of("XRP/USD", ISSUER.address)
NETWORK = 63456
IOC_SELL, IOC_BUY, PASSIVE = 0x000A0000, 0x00020000, 0x00010000
VIEW = look(ts_ns=1, ledger_index=None, bids=(), asks=(), amm=None, stale_after_ms=1)

Ladder = Sequence[tuple[float, float]]


def network(*, our_xrp: int = 10_000, our_usd: int | None = 13_000) -> Ledger:
    """A ledger with a public that is rich, and with our account; None: it has no trust line."""
    ledger = Ledger(network_id=NETWORK)
    for wallet, xrp in ((ISSUER, 1_000), (PUBLIC, 1_000_000), (TAKER, 1_000_000), (OURS, our_xrp)):
        ledger.fund(wallet.address, xrp * DROPS_PER_XRP)
    ledger.close()
    for wallet, usd in ((PUBLIC, 1_000_000), (TAKER, 1_000_000), (OURS, our_usd)):
        if usd is not None:
            ledger.trust(wallet.address, ISSUER.address, "USD")
            ledger.issue(ISSUER.address, wallet.address, "USD", Decimal(usd))
    ledger.close()
    return ledger


def usd(value: Decimal) -> dict[str, str]:
    return {"currency": "USD", "issuer": ISSUER.address, "value": f"{value:f}"}


def offer_create(wallet: Wallet, side: str, price: float | str, size: float | str, flags: int = 0) -> dict[str, Any]:
    """An offer of somebody's to buy or sell XRP."""
    base, quote = str(int(Decimal(str(size)) * DROPS_PER_XRP)), usd(round(Decimal(str(price)) * Decimal(str(size)), 9))
    gets, pays = (base, quote) if side == "ask" else (quote, base)
    made = {"TransactionType": "OfferCreate", "Account": wallet.address, "TakerGets": gets, "TakerPays": pays}
    return made | {"Flags": flags}


def open_log(path: Path) -> SubmissionLog:
    """The submissions log of our account."""
    return SubmissionLog.open(path, ADDRESS, NETWORK)


class VenueStage:
    """Answers `venue_contract.Stage`. One process' worth of Kedge at a time stands on it: `restart` makes the next."""

    def __init__(self, directory: Path, book: Ledger | None = None, **settings: Any) -> None:
        self.directory = directory
        self.book = book or network()
        self.watched = Watched(self.book)
        self.node = FakeNode(self.watched)
        self.stop = Stop()
        self.clock = SystemClock()
        self.recorded: Collection[str] = ()
        self._settings = {"request_timeout_ms": 2_000, "backoff_ms": 10, "backoff_ms_max": 50, "settle_ledgers": 5}
        self._settings |= settings
        self._process = ExitStack()
        self.venue: XrplVenue

    def __enter__(self) -> Self:
        self.node.__enter__()
        self.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._process.close()
        self.stop.close()
        self.node.__exit__(*raised)

    def start(self) -> None:
        """A new process: link, log and venue."""
        settings = self.settings
        link = XrplLink(
            settings.endpoints,
            network_id=settings.network_id,
            request_timeout_ms=settings.request_timeout_ms,
            liveness_ms=settings.liveness_ms,
            backoff_ms=settings.backoff_ms,
            backoff_ms_max=settings.backoff_ms_max,
            clock=self.clock,
            rng=random.Random(1),
            stop=self.stop,
        )
        self.link = self._process.enter_context(closing(link))
        path = log_path(self.directory, ADDRESS)
        self.log = self._process.enter_context(closing(open_log(path)))
        self.venue = XrplVenue(
            settings, PAIR, link, SIGNER, self.log, clock=self.clock, stop=self.stop, recorded_trades=self.recorded
        )

    def crash(self) -> None:
        """The process is gone, with all that it had not written."""
        self._process.close()

    def restart(self) -> None:
        """It crashes, and a new one starts."""
        self.crash()
        self.start()

    @property
    def settings(self) -> Xrpl:
        """The section of a live session here."""
        fixed = {"endpoints": (self.node.url,), "network_id": NETWORK, "issuer": ISSUER.address, "account": ADDRESS}
        return Xrpl(**(fixed | self._settings))

    def ledger(
        self, *, bids: Ladder = PUBLIC_BIDS, asks: Ladder = PUBLIC_ASKS, sold: Ladder = (), bought: Ladder = ()
    ) -> tuple[Report, ...]:
        """The public takes, then rests as told; what the venue says of it."""
        for price, size in sold:
            self.book.apply(offer_create(TAKER, "ask", price, size, IOC_SELL))
        for price, size in bought:
            self.book.apply(offer_create(TAKER, "bid", price, size, IOC_BUY))
        self.close()
        if self._rearranged(bids, asks):
            self.close()
        return self.venue.reports(VIEW)

    def close(self, close_time: int | None = None) -> None:
        """One ledger closes, and our link knows of it."""
        message = self.node.run(lambda: self.book.close(close_time))
        self.node.publish(message)
        self.known()

    def known(self) -> None:
        """Wait until the link has heard of the newest ledger."""
        newest = self.link.await_ledger(self.book.validated_index - 1, 5_000)
        assert newest is not None, "the link did not hear of the ledger"

    def spend_all_quote(self) -> None:
        """Back to the issuer with it."""
        left = self.venue.truth().quote
        payment = {"TransactionType": "Payment", "Account": ADDRESS, "Destination": ISSUER.address, "Amount": usd(left)}
        assert self.book.apply(payment) == "tesSUCCESS"
        self.ledger()

    def offers(self, wallet: Wallet = OURS) -> dict[int, dict[str, Any]]:
        """Open offers of an account in the newest validated ledger, by number, expired ones included."""
        command = {"command": "account_offers", "account": wallet.address, "ledger_index": "validated"}
        return {offer["seq"]: offer for offer in self.book.answer(command)["offers"]}

    def _rearranged(self, bids: Ladder, asks: Ladder) -> bool:
        """Let the public rest as told; whether there was anything to do."""
        wanted = [(side, price, size) for side, ladder in (("bid", bids), ("ask", asks)) for price, size in ladder]
        offers = [offer_create(PUBLIC, *rung, PASSIVE) for rung in wanted]
        standing = self.offers(PUBLIC)
        amounts = [(there["taker_gets"], there["taker_pays"]) for there in standing.values()]
        if sorted(map(str, amounts)) == sorted(str((made["TakerGets"], made["TakerPays"])) for made in offers):
            return False
        for number in standing:
            self.book.apply({"TransactionType": "OfferCancel", "Account": PUBLIC.address, "OfferSequence": number})
        for made in offers:
            self.book.apply(made)
        return True


class Watched:
    """A node's backend, with someone at the door: `door` may answer a command itself, or let it pass with None."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.door: Callable[[dict[str, Any]], dict[str, Any] | None] = lambda _: None

    def answer(self, command: dict[str, Any]) -> dict[str, Any]:
        """The door's answer, or else the ledger's."""
        return self.door(command) or self.ledger.answer(command)


@contextmanager
def closing_ledgers(stage: VenueStage) -> Iterator[None]:
    """Ledgers go on closing while whoever is in the block waits for them."""
    done = threading.Event()

    def run() -> None:
        while not done.wait(0.05):
            stage.node.publish(stage.node.run(stage.book.close))

    thread = threading.Thread(target=run, name="closer", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join(5)
