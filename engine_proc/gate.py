"""The last word before the venue: an ordered tuple of named checks, each with a reason code.

A check is a pure function of one intent and what the gate sees; it returns None or the code of its refusal
(CATEGORY_CONDITION). The first refusal counts. The mode check is first and has no condition around it: whatever the
strategy, the guard or a bug upstream proposes, in DEGRADED and HALT nothing passes. Cancels never come here.

What is refused is not in the desired ladder, so execution takes away what rests in its place: a refusal always ends
with less risk, never with a stale order left standing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import NamedTuple

from engine_proc import execution
from engine_proc.holdings import Holdings
from engine_proc.market import MarketView
from engine_proc.strategy import Intent
from shared.records import Mode, Side
from shared.settings import Gate as GateSettings

_NOTHING = Decimal(0)


class Denial(NamedTuple):
    """An intent that did not pass, and the code that says why."""

    intent: Intent
    reason: str

    @property
    def slot(self) -> tuple[Side, int]:
        """The rung that stays empty."""
        return self.intent.side, self.intent.level


class Clearance(NamedTuple):
    """What passed and what did not, in the order of the intents."""

    intents: tuple[Intent, ...]
    denials: tuple[Denial, ...]


class Sight:
    """What the checks may look at: the market, what we hold, the limits, and what was cleared before this intent."""

    __slots__ = (
        "asks_base", "bids_base", "bids_quote", "cleared", "holdings", "market", "mode",
        "recent_submits", "requote_tolerance_bps", "settings",
    )  # fmt: skip

    def __init__(
        self,
        mode: Mode,
        market: MarketView,
        holdings: Holdings,
        settings: GateSettings,
        *,
        recent_submits: int,
        requote_tolerance_bps: float,
    ) -> None:
        self.mode = mode
        self.market = market
        self.holdings = holdings
        self.settings = settings
        self.recent_submits = recent_submits
        self.requote_tolerance_bps = requote_tolerance_bps
        self.cleared: list[Intent] = []
        self.bids_base = self.bids_quote = self.asks_base = _NOTHING

    def take(self, intent: Intent) -> None:
        """Count a cleared intent into the exposure."""
        self.cleared.append(intent)
        if intent.side == "bid":
            self.bids_base += intent.size
            self.bids_quote += intent.size * intent.price
        else:
            self.asks_base += intent.size

    def submits_needed(self, intents: Iterable[Intent]) -> int:
        """How many of these intents need a new order, because nothing that rests serves them."""
        resting = {order.slot: order for order in self.holdings.live_orders()}
        standing = ((resting.get((intent.side, intent.level)), intent) for intent in intents)
        return sum(
            order is None or not execution.keeps(order, intent, self.requote_tolerance_bps)
            for order, intent in standing
        )


def clear(intents: Iterable[Intent], sight: Sight) -> Clearance:
    """Pass each intent through every check, in order."""
    denials: list[Denial] = []
    for intent in intents:
        for check in CHECKS:
            reason = check(intent, sight)
            if reason is not None:
                denials.append(Denial(intent, reason))
                break
        else:
            sight.take(intent)
    return Clearance(tuple(sight.cleared), tuple(denials))


def mode_allows(_intent: Intent, sight: Sight) -> str | None:
    """Only an ACTIVE engine quotes. Unconditional, and first."""
    return None if sight.mode == "ACTIVE" else f"MODE_{sight.mode}"


def data_is_fresh(_intent: Intent, sight: Sight) -> str | None:
    """An old or unsound view prices nothing."""
    if sight.market.mid is None:
        return f"DATA_{sight.market.status}"
    return "DATA_AGE" if sight.market.age_ms > sight.settings.age_ms_max else None


def price_in_collar(intent: Intent, sight: Sight) -> str | None:
    """A price far from mid is a mistake of somebody's, whoever's it is."""
    mid = sight.market.mid
    if mid is None or abs(float(intent.price) - mid) * 1e4 > sight.settings.collar_bps * mid:
        return "PRICE_COLLAR"
    return None


def price_does_not_cross(intent: Intent, sight: Sight) -> str | None:
    """The ledger has no post-only: through the book or through the pool's fee-inclusive price, a quote takes."""
    market, price = sight.market, float(intent.price)
    if intent.side == "bid":
        if market.clob_ask is not None and price >= market.clob_ask:
            return "PRICE_CROSSES_BOOK"
        return "PRICE_CROSSES_POOL" if market.amm is not None and price >= market.amm.ask else None
    if market.clob_bid is not None and price <= market.clob_bid:
        return "PRICE_CROSSES_BOOK"
    return "PRICE_CROSSES_POOL" if market.amm is not None and price <= market.amm.bid else None


def size_in_bounds(intent: Intent, sight: Sight) -> str | None:
    """Dust clutters the ledger, and a size slip must not empty the wallet."""
    if intent.size < sight.settings.size_base_min:
        return "SIZE_BELOW_MIN"
    return "SIZE_ABOVE_MAX" if intent.size > sight.settings.size_base_max else None


def notional_in_bounds(intent: Intent, sight: Sight) -> str | None:
    """The same in quote currency, so that a price slip cannot get past the size bound."""
    return "NOTIONAL_ABOVE_MAX" if intent.size * intent.price > sight.settings.notional_quote_max else None


def position_in_bounds(intent: Intent, sight: Sight) -> str | None:
    """If everything on this side filled at once, would we still hold what we may?"""
    if intent.side == "bid":
        held = sight.holdings.base + sight.bids_base + intent.size
        return "POSITION_ABOVE_MAX" if held > sight.settings.position_base_max else None
    held = sight.holdings.base - sight.asks_base - intent.size
    return "POSITION_BELOW_MIN" if held < sight.settings.position_base_min else None


def reserve_is_kept(intent: Intent, sight: Sight) -> str | None:
    """Offers share their funds on the ledger; ours must all be payable, with the reserve untouched."""
    if intent.side == "bid":
        left = sight.holdings.quote - sight.bids_quote - intent.size * intent.price
        return "RESERVE_QUOTE" if left < sight.settings.reserve_quote else None
    left = sight.holdings.base - sight.asks_base - intent.size
    return "RESERVE_BASE" if left < sight.settings.reserve_base else None


def rate_is_kept(intent: Intent, sight: Sight) -> str | None:
    """A loop gone wild must not burn fees or get the account throttled; what already stands costs nothing."""
    budget = sight.settings.submits_per_window_max - sight.recent_submits
    if len(sight.cleared) < budget:  # far from the limit nobody needs to know which of them stand already
        return None
    if not sight.submits_needed((intent,)) or sight.submits_needed(sight.cleared) < budget:
        return None
    return "RATE_SUBMITS"


CHECKS: tuple[Callable[[Intent, Sight], str | None], ...] = (
    mode_allows,
    data_is_fresh,
    price_in_collar,
    price_does_not_cross,
    size_in_bounds,
    notional_in_bounds,
    position_in_bounds,
    reserve_is_kept,
    rate_is_kept,
)
