"""The seams of the engine: what it asks of a feed, a venue and a source of chance. `app.py` chooses who answers."""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple, Protocol

from engine_proc.holdings import Order, Report
from engine_proc.market import MarketView
from shared.records import Side


class Feed(Protocol):
    """Where market views come from, one a tick."""

    def next(self) -> MarketView | None:
        """The next view; None when the feed has ended for good. Waits for it, but not past a stop request."""

    def close(self) -> None:
        """Let go of files and connections."""


class Plan(NamedTuple):
    """What execution wants of the venue: desired against resting orders, in named buckets."""

    keep: tuple[Order, ...] = ()
    replace: tuple[Order, ...] = ()  # new orders, each naming in `replaces` the one that goes in the same transaction
    place: tuple[Order, ...] = ()
    cancel: tuple[Order, ...] = ()


class OpenOrder(NamedTuple):
    """An order of our account as the venue has it. `remaining` is what is left of it, in base."""

    side: Side
    price: Decimal
    remaining: Decimal


class VenueTruth(NamedTuple):
    """The venue's own account: balances and open orders by id, those of earlier sessions included."""

    base: Decimal
    quote: Decimal
    orders: dict[str, OpenOrder]


class Terms(NamedTuple):
    """On what terms the venue takes orders on this tick.

    `reserve_base` is base that the venue locks, one more order included. `refusal` is why it takes no new order, a
    reason code, or None. `in_doubt`: something may have escaped us since the truth was last asked for.
    """

    reserve_base: Decimal = Decimal(0)
    refusal: str | None = None
    in_doubt: bool = False


OPEN_TERMS = Terms()
UNREACHABLE = "UNREACHABLE"  # the refusal of a venue that cannot even be asked


class Venue(Protocol):
    """Where orders go. Nothing is true of an order until the venue reports it.

    Raises `VenueUnreachable` from `truth` when the venue cannot be asked; the other calls never raise for the venue's
    troubles, they report them.
    """

    @property
    def terms(self) -> Terms:
        """On what terms it takes orders, as of the last `reports`."""

    def reports(self, market: MarketView) -> tuple[Report, ...]:
        """Everything that happened to our orders up to and including this view, in order."""

    def recorded(self) -> None:
        """Everything reported so far is on record: a venue that outlives a crash need not report it again."""

    def submit(self, plan: Plan) -> None:
        """Send the plan's replacements, placements and cancels. Their outcomes come back through `reports`."""

    def settle(self) -> tuple[Report, ...]:
        """Wait, bounded, until nothing of ours is under way; what was reported meanwhile."""

    def truth(self) -> VenueTruth:
        """Balances and open orders as the venue has them."""

    def close(self) -> None:
        """Let go of connections."""


class VenueUnreachable(Exception):
    """The venue could not be asked; what it holds is unknown."""


class KillSwitch(Protocol):
    """How the operator halts a running engine. `engine_proc/operator_word.py` answers it with a file."""

    def pulled(self) -> str | None:
        """The operator's reason, while the switch waits to be obeyed."""

    def obeyed(self) -> None:
        """The halt is on record, and from there it holds: the switch need not say it again."""


class Rng(Protocol):
    """Seeded chance, handed in by composition. `random.Random` answers it."""

    def random(self) -> float:
        """Uniform in [0, 1)."""

    def gauss(self, mu: float, sigma: float) -> float:
        """Normal."""
