"""The last word before the venue: an ordered tuple of named checks, each with a reason code.

A check is a pure function of what the gate sees, one intent included; it returns None or the code of its refusal
(CATEGORY_CONDITION). The first refusal counts. The mode check is first and has no condition around it: whatever the
strategy, the guard or a bug upstream proposes, in DEGRADED and HALT nothing passes. Cancels never come here.

What is refused is not in the desired ladder, so execution takes away what rests in its place: a refusal always ends
with less risk, never with a stale order left standing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

from engine_proc import execution
from engine_proc.holdings import Holdings
from engine_proc.market import MarketView
from engine_proc.ports import OPEN_TERMS, Terms
from engine_proc.strategy import Intent
from shared.records import Mode, Side
from shared.settings import Gate as GateSettings

_NOTHING = Decimal(0)
_new = tuple.__new__  # half the price of Clearance(...)


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


@dataclass(frozen=True, slots=True)
class Limits:
    """The gate's settings as plain attributes, made once a session, because every check of every intent reads them."""

    age_ms_max: int
    collar_bps: float
    size_base_min: Decimal
    size_base_max: Decimal
    notional_quote_max: Decimal
    position_base_min: Decimal
    position_base_max: Decimal
    reserve_base: Decimal
    reserve_quote: Decimal
    submits_per_window_max: int
    requote_tolerance_bps: float

    @classmethod
    def of(cls, settings: GateSettings, requote_tolerance_bps: float) -> Limits:
        """From the settings, and what execution tolerates before it sends a new order."""
        limits = settings.model_dump(exclude={"rate_window_ticks"})
        return cls(**limits, requote_tolerance_bps=requote_tolerance_bps)


class Sight:
    """What the checks may look at: the market, what we hold, the limits, what was cleared before, and one intent.

    `base_if_bought`, `base_if_sold` and `quote_if_bought` are what we would hold if everything cleared so far on that
    side filled at once; `live_base` is all that our orders at the venue could still fill, on both sides. `look_at`
    shows the next intent: its `side`, `price`, `size`, what it is worth (`notional`) and its price as the float
    (`price_float`) that is compared with the market.
    """

    __slots__ = (
        "base_if_bought", "base_if_sold", "cleared", "holdings", "intent", "limits", "live_base", "market", "mid",
        "mode", "notional", "price", "price_float", "quote_if_bought", "recent_submits", "reserve_base", "side", "size",
        "terms",
    )  # fmt: skip

    def __init__(
        self,
        mode: Mode,
        market: MarketView,
        holdings: Holdings,
        limits: Limits,
        recent_submits: int,
        terms: Terms = OPEN_TERMS,
    ) -> None:
        self.mode = mode
        self.market = market
        self.mid = market.mid
        self.holdings = holdings
        self.limits = limits
        self.recent_submits = recent_submits
        self.terms = terms
        reserve, locked = limits.reserve_base, terms.reserve_base
        self.reserve_base = locked if locked > reserve else reserve
        self.cleared: list[Intent] = []
        self.base_if_bought = self.base_if_sold = holdings.base
        self.quote_if_bought = holdings.quote
        self.live_base = _NOTHING
        for order in holdings.orders.values():
            self.live_base += order.remaining

    def look_at(self, intent: Intent) -> None:
        """The next intent to be judged."""
        self.intent = intent
        self.side, _, self.price, self.size = intent
        self.price_float = float(self.price)
        self.notional = self.size * self.price

    def take(self) -> None:
        """The intent passed: count it into the exposure."""
        self.cleared.append(self.intent)
        if self.side == "bid":
            self.base_if_bought += self.size
            self.quote_if_bought -= self.notional
        else:
            self.base_if_sold -= self.size

    def base_still_live(self) -> Decimal:
        """Base that orders of this side may still fill beside what is wanted: to be replaced, or on their way out.

        An order that serves one of the intents seen so far is that intent and is not counted again.
        """
        wanted = {(intent.side, intent.level): intent for intent in (*self.cleared, self.intent)}
        total = _NOTHING
        for order in self.holdings.orders.values():
            if order.side == self.side:
                intent = wanted.get(order.slot)
                if intent is None or not execution.keeps(order, intent, self.limits.requote_tolerance_bps):
                    total += order.remaining
        return total

    def submits_needed(self, intents: Iterable[Intent]) -> int:
        """How many of these intents need a new order, because nothing that rests serves them."""
        resting = {order.slot: order for order in self.holdings.live_orders()}
        standing = ((resting.get((intent.side, intent.level)), intent) for intent in intents)
        tolerance_bps = self.limits.requote_tolerance_bps
        return sum(order is None or not execution.keeps(order, intent, tolerance_bps) for order, intent in standing)


def clear(intents: Iterable[Intent], sight: Sight) -> Clearance:
    """Pass each intent through every check, in order."""
    denials: list[Denial] = []
    for intent in intents:
        sight.look_at(intent)
        for check in CHECKS:
            reason = check(sight)
            if reason is not None:
                denials.append(Denial(intent, reason))
                break
        else:
            sight.take()
    return _new(Clearance, (tuple(sight.cleared), tuple(denials)))


def mode_allows(sight: Sight) -> str | None:
    """Only an ACTIVE engine quotes. Unconditional, and first."""
    return None if sight.mode == "ACTIVE" else f"MODE_{sight.mode}"


def venue_takes_orders(sight: Sight) -> str | None:
    """A frozen line, a network that costs too much, a venue that cannot be asked: it says so itself."""
    refusal = sight.terms.refusal
    return None if refusal is None else f"VENUE_{refusal}"


def data_is_fresh(sight: Sight) -> str | None:
    """An old or unsound view prices nothing."""
    if sight.mid is None:
        return f"DATA_{sight.market.status}"
    return "DATA_AGE" if sight.market.age_ms > sight.limits.age_ms_max else None


def price_in_collar(sight: Sight) -> str | None:
    """A price far from mid is a mistake of somebody's, whoever's it is."""
    mid = sight.mid
    if mid is None or abs(sight.price_float - mid) * 1e4 > sight.limits.collar_bps * mid:
        return "PRICE_COLLAR"
    return None


def price_does_not_cross(sight: Sight) -> str | None:
    """The ledger has no post-only: through the book or through the pool's fee-inclusive price, a quote takes.

    The book is asked for its very best price, also where dust stands there that `min_touch_size` keeps out of mid.
    """
    price, market, pool = sight.price_float, sight.market, sight.market.amm
    if sight.side == "bid":
        clob_ask = market.asks[0].price if market.asks else market.clob_ask
        if clob_ask is not None and price >= clob_ask:
            return "PRICE_CROSSES_BOOK"
        return "PRICE_CROSSES_POOL" if pool is not None and price >= pool.ask else None
    clob_bid = market.bids[0].price if market.bids else market.clob_bid
    if clob_bid is not None and price <= clob_bid:
        return "PRICE_CROSSES_BOOK"
    return "PRICE_CROSSES_POOL" if pool is not None and price <= pool.bid else None


def size_in_bounds(sight: Sight) -> str | None:
    """Dust clutters the ledger, and a size slip must not empty the wallet."""
    if sight.size < sight.limits.size_base_min:
        return "SIZE_BELOW_MIN"
    return "SIZE_ABOVE_MAX" if sight.size > sight.limits.size_base_max else None


def notional_in_bounds(sight: Sight) -> str | None:
    """The same in quote currency, so that a price slip cannot get past the size bound."""
    return "NOTIONAL_ABOVE_MAX" if sight.notional > sight.limits.notional_quote_max else None


def position_in_bounds(sight: Sight) -> str | None:
    """If everything on this side filled at once, the orders on their way out included, would we hold what we may?"""
    limits = sight.limits
    if sight.side == "bid":
        held, bound = sight.base_if_bought + sight.size, limits.position_base_max
        if held + sight.live_base > bound and held + sight.base_still_live() > bound:
            return "POSITION_ABOVE_MAX"
        return None
    held, bound = sight.base_if_sold - sight.size, limits.position_base_min
    if held - sight.live_base < bound and held - sight.base_still_live() < bound:
        return "POSITION_BELOW_MIN"
    return None


def reserve_is_kept(sight: Sight) -> str | None:
    """Offers share their funds on the ledger; ours must all be payable, with the reserve untouched.

    An order locks a reserve of its own, so a bid needs as much base as the venue locks, too.
    """
    if sight.side == "bid":
        if sight.holdings.base < sight.terms.reserve_base:
            return "RESERVE_BASE"
        return "RESERVE_QUOTE" if sight.quote_if_bought - sight.notional < sight.limits.reserve_quote else None
    return "RESERVE_BASE" if sight.base_if_sold - sight.size < sight.reserve_base else None


def rate_is_kept(sight: Sight) -> str | None:
    """A loop gone wild must not burn fees or get the account throttled; what already stands costs nothing."""
    budget = sight.limits.submits_per_window_max - sight.recent_submits
    if len(sight.cleared) < budget:  # far from the limit nobody needs to know which of them stand already
        return None
    if not sight.submits_needed((sight.intent,)) or sight.submits_needed(sight.cleared) < budget:
        return None
    return "RATE_SUBMITS"


CHECKS: tuple[Callable[[Sight], str | None], ...] = (
    mode_allows,
    venue_takes_orders,
    data_is_fresh,
    price_in_collar,
    price_does_not_cross,
    size_in_bounds,
    notional_in_bounds,
    position_in_bounds,
    reserve_is_kept,
    rate_is_kept,
)
