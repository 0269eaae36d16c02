"""From a market view and our holdings to the quotes we would like. Knows nothing of modes, limits or venues."""

from __future__ import annotations

from decimal import Decimal
from math import ceil, floor, sqrt
from typing import NamedTuple

from engine_proc.anchor import Anchor, find_anchor
from engine_proc.holdings import Holdings
from engine_proc.market import MarketView
from shared.records import Side
from shared.settings import Strategy as StrategySettings
from shared.settings import Volatility as VolatilitySettings

_new = tuple.__new__  # half the price of Intent(...) and Proposal(...)
_GRID_SLACK = 1e-12  # a touch so near to a multiple of the quantum is that multiple: only floats keep them apart


class Intent(NamedTuple):
    """An order we would like to have resting: rung `level` of the ladder on one side."""

    side: Side
    level: int
    price: Decimal
    size: Decimal


class Proposal(NamedTuple):
    """What the strategy says on one tick. `skip_reason` names why it wants no quotes at all, None if it wants some."""

    anchor: Anchor
    intents: tuple[Intent, ...]
    skip_reason: str | None
    inventory_skew: float | None
    volatility_bps: float | None


class Strategy:
    """The quoting rule. Its only memory is the volatility estimate; the same views give the same proposals."""

    def __init__(self, settings: StrategySettings) -> None:
        self.last_anchor_divergence_bps: float | None = None
        """Anchor error of the latest `calculate_quote`, bps; guard, record and summary all read this attribute."""
        self._anchor_settings = settings.anchor
        self._volatility = Volatility(settings.volatility)
        quote = settings.quote
        self._quantum = quote.price_quantum
        self._quantum_float = float(quote.price_quantum)
        self._target_base = float(settings.inventory.target_base)
        self._band_base = float(settings.inventory.band_base)
        self._skew_bps_max = settings.inventory.skew_bps_max
        self._half_spread_bps = quote.half_spread_bps
        self._widening = settings.volatility.widening
        growth = Decimal(str(quote.size_growth))
        self._rungs = tuple(
            (level, level * quote.level_step_bps, _floor_to(quote.size_base * growth**level, quote.size_quantum))
            for level in range(quote.levels)
        )

    def calculate_quote(self, market: MarketView, holdings: Holdings) -> Proposal:
        """Anchor, inventory skew, volatility widening, ladder; sets `last_anchor_divergence_bps`."""
        anchor = find_anchor(market, self._anchor_settings)
        self.last_anchor_divergence_bps = anchor.error_bps
        volatility_bps = self._volatility.after(market.mid)
        if anchor.price is None:
            reason = f"MARKET_{market.status}" if market.mid is None else "ANCHOR_NO_POOL"
            return Proposal(anchor, (), reason, None, volatility_bps)
        skew = (float(holdings.base) - self._target_base) / self._band_base
        skew = 1.0 if skew > 1.0 else -1.0 if skew < -1.0 else skew  # `min` and `max` cost ten times as much
        centre = anchor.price * (1.0 - skew * self._skew_bps_max / 1e4)
        half_spread_bps = self._half_spread_bps + self._widening * (volatility_bps or 0.0)
        return _new(Proposal, (anchor, self._ladder(market, centre, half_spread_bps), None, skew, volatility_bps))

    def _ladder(self, market: MarketView, centre: float, half_spread_bps: float) -> tuple[Intent, ...]:
        """Rungs on both sides, bids rounded down and asks up, so that rounding never narrows the quote.

        There is no post-only on the ledger: an order at or through the best opposite price, of the book or of the
        pool with its fee, takes. The first rung therefore stays a quantum behind both; each further rung stays at
        least a quantum behind the one before.
        """
        quantum = self._quantum_float
        best_ask, best_bid, pool = market.clob_ask, market.clob_bid, market.amm
        assert best_ask is not None, "a market with a mid has both sides"
        assert best_bid is not None, "a market with a mid has both sides"
        if pool is not None:
            best_ask = pool.ask if pool.ask < best_ask else best_ask
            best_bid = pool.bid if pool.bid > best_bid else best_bid
        bid_below = ceil(best_ask / quantum * (1.0 - _GRID_SLACK))
        ask_above = floor(best_bid / quantum * (1.0 + _GRID_SLACK))
        intents: list[Intent] = []
        for level, step_bps, size in self._rungs:
            distance = (half_spread_bps + step_bps) / 1e4
            bid, ask = floor(centre * (1.0 - distance) / quantum), ceil(centre * (1.0 + distance) / quantum)
            bid_below = bid if bid < bid_below else bid_below - 1
            ask_above = ask if ask > ask_above else ask_above + 1
            if bid_below > 0:
                intents.append(_new(Intent, ("bid", level, self._quantum * bid_below, size)))
            intents.append(_new(Intent, ("ask", level, self._quantum * ask_above, size)))
        return tuple(intents)


class Volatility:
    """EWMA of the squared tick-to-tick moves of mid; read as their root, in bps per tick.

    A missing mid breaks the chain: the move across a gap is not one tick's move.
    """

    def __init__(self, settings: VolatilitySettings) -> None:
        self._keep = 0.5 ** (1.0 / settings.halflife_ticks)
        self._last_mid: float | None = None
        self._variance: float | None = None

    def after(self, mid: float | None) -> float | None:
        """The estimate once this tick's mid is in; None before the first move."""
        last, self._last_mid = self._last_mid, mid
        if mid is not None and last is not None:
            move_bps = (mid - last) / last * 1e4
            squared = move_bps * move_bps
            variance = self._variance
            self._variance = squared if variance is None else self._keep * variance + (1.0 - self._keep) * squared
        return None if self._variance is None else sqrt(self._variance)


def _floor_to(amount: Decimal, quantum: Decimal) -> Decimal:
    return amount // quantum * quantum
