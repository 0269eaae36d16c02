"""The anchor: the price we quote around. Pure functions of one market view.

    divergence_bps  = (mid - spot)/spot * 1e4          a measurement of the market; drives the `auto` switch
    reference price = spot, or with `fee_band` the point of [spot(1-f), spot/(1-f)] nearest to mid
    anchor          = mid (clob), reference (amm), or reference clamped to mid +- cap_bps (capped)

Why the fee band: inside it no arbitrage pays, so the pool's spot may lie anywhere within about 27 bps of the fair
price (XRPL.md, fact 4). Raw spot is therefore not a fair mid; the nearest point of the band is the least that the
pool contradicts the book.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from engine_proc.market import MarketView
from shared.settings import Anchor as AnchorSettings

_new = tuple.__new__  # half the price of Anchor(...), one of which every tick makes
AnchorMode = Literal["clob", "amm", "capped"]


class Anchor(NamedTuple):
    """The rule that applied, the price it gave and how far that is from mid; all None when there is no anchor."""

    mode: AnchorMode | None
    price: float | None
    error_bps: float | None
    divergence_bps: float | None


def find_anchor(market: MarketView, settings: AnchorSettings) -> Anchor:
    """The anchor on this view. Without a mid there is none: nothing could say how wrong it is."""
    mid, pool = market.mid, market.amm
    if mid is None:
        return Anchor(None, None, None, None)
    divergence_bps = None
    if pool is not None:
        spot = pool.spot
        divergence_bps = (mid - spot) / spot * 1e4
    mode = _rule(settings, divergence_bps)
    if mode == "clob":
        price = mid
    elif pool is None:
        return Anchor(None, None, None, None)
    else:
        price = pool.spot if settings.reference == "spot" else _nearest_between(pool.bid, mid, pool.ask)
        if mode == "capped":
            cap = settings.cap_bps / 1e4
            price = _nearest_between(mid * (1.0 - cap), price, mid * (1.0 + cap))
    return _new(Anchor, (mode, price, (price - mid) / mid * 1e4, divergence_bps))


def _rule(settings: AnchorSettings, divergence_bps: float | None) -> AnchorMode:
    """The configured rule; `auto` is the binary switch on divergence, and without a pool it follows the book."""
    mode = settings.mode
    if mode != "auto":
        return mode
    if divergence_bps is None:
        return "clob"
    return "amm" if abs(divergence_bps) <= settings.switch_bps else "capped"


def _nearest_between(low: float, price: float, high: float) -> float:
    return low if price < low else high if price > high else price
