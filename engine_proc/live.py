"""Composition of everything that speaks to the XRP Ledger. Imported only by sessions and commands that need it."""

from __future__ import annotations

import logging
import os
import random
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path

from engine_proc import cancel_all, tape_writer, xrpl_doctor
from engine_proc.edges import on_paper
from engine_proc.feed_xrpl import XrplFeed
from engine_proc.ports import Feed, Venue
from engine_proc.recorded_trades import recorded_trades
from engine_proc.venue_xrpl import XrplVenue
from engine_proc.xrpl_link import XrplLink
from engine_proc.xrpl_market import Pair, pair_of
from engine_proc.xrpl_submissions import SubmissionLog, log_path
from engine_proc.xrpl_wallet import Signer, load_seed
from shared.clock import Clock, SystemClock
from shared.errors import ConfigError, KedgeError
from shared.settings import Config
from shared.stop import Stop

log = logging.getLogger(__name__)


def market_side(config: Config, clock: Clock, stop: Stop, opened: ExitStack) -> tuple[Feed, Callable[[], Venue]]:
    """The ledger's market, and what opens the venue to trade it on; `opened` closes both. Raises `ConfigError`."""
    market, live = config.market, config.execution.venue == "xrpl"
    signer = signer_of(config) if live else None
    link = opened.enter_context(closing(open_link(config, config.xrpl.endpoints, clock, stop)))
    pair = pair_of_config(config)
    feed = XrplFeed(
        link,
        pair,
        clock=clock,
        stale_after_ms=market.stale_after_ms,
        min_touch_size=market.min_touch_size,
        account=config.xrpl.account,
        transactions=not live,
        stop=stop,
    )
    opened.callback(feed.close)
    if signer is None:
        return feed, on_paper(config)
    return feed, lambda: open_venue(config, pair, link, signer, clock, stop, opened)


def open_venue(
    config: Config, pair: Pair, link: XrplLink, signer: Signer, clock: Clock, stop: Stop, opened: ExitStack
) -> Venue:
    """The ledger as a venue, with the log of what we submitted; the caller holds the engine's lock.

    Raises `ConfigError` and `KedgeError` with what stands against a live session, before anything is signed.
    """
    journal_dir = Path(config.telemetry.journal_dir)
    path = log_path(journal_dir, signer.account)
    submissions = opened.enter_context(closing(SubmissionLog.open(path, signer.account, config.xrpl.network_id)))
    venue = XrplVenue(
        config.xrpl,
        pair,
        link,
        signer,
        submissions,
        clock=clock,
        stop=stop,
        recorded_trades=recorded_trades(journal_dir, signer.account),
        read_only=config.execution.dry_run,
    )
    opened.callback(venue.close)
    try:
        venue.prepare()
    except KedgeError:
        if stop.requested:
            raise KedgeError("told to stop before the session began; nothing was signed") from None
        raise
    return venue


def pair_of_config(config: Config) -> Pair:
    """The two assets of the configured pair. Raises `ConfigError`."""
    return pair_of(config.market.pair, config.xrpl.issuer)


def signer_of(config: Config) -> Signer:
    """The key of the configured account. Raises `ConfigError`."""
    if config.xrpl.account is None:
        raise ConfigError("xrpl.account: this must name the account that trades")
    return Signer(load_seed(config.xrpl.seed_file, os.environ), config.xrpl.account)


def open_link(config: Config, endpoints: tuple[str, ...], clock: Clock, stop: Stop) -> XrplLink:
    """A supervised connection to some of the configured nodes."""
    xrpl = config.xrpl
    if not endpoints:
        raise ConfigError("xrpl.endpoints: this must name at least one node, such as wss://HOST")
    return XrplLink(
        endpoints,
        network_id=xrpl.network_id,
        request_timeout_ms=xrpl.request_timeout_ms,
        liveness_ms=xrpl.liveness_ms,
        backoff_ms=xrpl.backoff_ms,
        backoff_ms_max=xrpl.backoff_ms_max,
        clock=clock,
        rng=random.Random(),  # noqa: S311 - jitter, no secret
        stop=stop,
    )


def examine(config: Config) -> tuple[xrpl_doctor.Finding, ...]:
    """What `kedge-engine check --live` finds. Nothing is signed, nothing is sent but questions."""
    clock = SystemClock()
    address: str | KedgeError
    try:
        address = signer_of(config).account
    except KedgeError as error:
        address = error
    with closing(Stop()) as stop:
        return xrpl_doctor.examine(config, lambda endpoints: open_link(config, endpoints, clock, stop), address, clock)


def cancel_everything(config: Config, stop: Stop, *, every_pair: bool, timeout_s: float) -> cancel_all.CancelReport:
    """Every open offer of the account off the ledger, verified. The caller holds the engine's lock."""
    clock, signer = SystemClock(), signer_of(config)
    pair = None if every_pair else pair_of_config(config)
    with closing(open_link(config, config.xrpl.endpoints, clock, stop)) as link:
        return cancel_all.cancel_all(link, signer, config.xrpl, pair, clock=clock, stop=stop, timeout_s=timeout_s)


def record(config: Config, tape: Path, stop: Stop, ledgers_max: int | None) -> int:
    """Record validated ledgers to a tape until told to stop; how many it holds."""
    clock = SystemClock()
    with closing(open_link(config, config.xrpl.endpoints, clock, stop)) as link:
        return tape_writer.record(link, pair_of_config(config), tape, clock=clock, stop=stop, ledgers_max=ledgers_max)
