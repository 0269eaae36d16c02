"""Composition of a session's market side: which feed and which venue the configuration asks for."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from engine_proc.feed_replay import ReplayFeed
from engine_proc.feed_sim import SimFeed
from engine_proc.feed_tape import TapeFeed
from engine_proc.ports import Feed, Venue
from engine_proc.venue_dry import DryVenue
from engine_proc.venue_paper import PaperVenue
from engine_proc.venue_replay import ReplayVenue
from shared.clock import Clock, MarketClock, SystemClock
from shared.errors import ConfigError
from shared.records import VenueMode
from shared.settings import Config
from shared.stop import Stop


def venue_mode(config: Config) -> VenueMode:
    """The word for a session's venue in the record."""
    if config.market.feed == "replay":
        return "replay"
    if config.execution.venue == "xrpl":
        return "live"
    return "sim" if config.market.feed == "sim" else "paper"


def clock_of(config: Config) -> Clock:
    """Live, market time is the wall clock; elsewhere it is what the feed says."""
    return SystemClock() if config.market.feed == "xrpl" else MarketClock()


def market_side(config: Config, clock: Clock, stop: Stop, opened: ExitStack) -> tuple[Feed, Callable[[], Venue]]:
    """The configured feed, and what opens the venue: a live one keeps a log beside the journals, which takes the lock.

    `clock` is that of `clock_of`; `opened` closes feed and venue. Raises `ConfigError` for a setting or an input that
    cannot be used; opening a live venue raises `KedgeError` with what the ledger says against it.
    """
    market = config.market
    if market.feed == "xrpl":
        from engine_proc import live  # noqa: PLC0415 - half a second of imports that nobody else should pay for

        feed, open_venue = live.market_side(config, clock, stop, opened)
    elif market.feed == "replay":
        feed, venue = _replay_side(market.tape, _market_clock(clock), opened)
        return feed, lambda: venue
    else:
        feed = _public_feed(config, _market_clock(clock))
        opened.callback(feed.close)
        open_venue = on_paper(config)
    return feed, (lambda: DryVenue(open_venue())) if config.execution.dry_run else open_venue


def on_paper(config: Config) -> Callable[[], Venue]:
    """Trading without money. Raises `ConfigError` for settings finer than the ledger's smallest amounts."""
    quote = config.strategy.quote
    venue = PaperVenue(config.execution.paper, price_quantum=quote.price_quantum, size_quantum=quote.size_quantum)
    return lambda: venue


def _replay_side(tape: str | None, clock: MarketClock, opened: ExitStack) -> tuple[Feed, Venue]:
    if not tape:
        raise ConfigError("market.tape: feed is `replay`, so this must name a journal")
    recorded = ReplayFeed(Path(tape), clock)
    opened.callback(recorded.close)
    return recorded, ReplayVenue(recorded)


def _public_feed(config: Config, clock: MarketClock) -> Feed:
    """A feed whose market time is its own: the simulated market or a recorded tape."""
    market = config.market
    stale_after_ms, min_touch_size = market.stale_after_ms, market.min_touch_size
    if market.feed == "sim":
        rng = random.Random(market.seed)  # noqa: S311 - a simulation wants a seed, not a secret
        return SimFeed(market.sim, clock, rng, stale_after_ms=stale_after_ms, min_touch_size=min_touch_size)
    assert market.tape is not None, "checked by the settings"
    tape = TapeFeed(Path(market.tape), clock, stale_after_ms=stale_after_ms, min_touch_size=min_touch_size)
    if tape.pair != market.pair:
        tape.close()
        raise ConfigError(f"market.pair: {market.pair} is not what {market.tape} holds, which is {tape.pair}")
    return tape


def _market_clock(clock: Clock) -> MarketClock:
    assert isinstance(clock, MarketClock), "only the live feed runs on the wall clock"
    return clock
