"""A feed of the live ledger: one view for every validated ledger that can be read in time, always the newest.

A ledger that closed while the engine was busy is skipped, never queued: what matters is what can be traded against
now. When the network falls silent the last book is handed out again, marked STALE, so that the engine keeps ticking:
it takes its quotes back, obeys the kill switch, and sees for itself how old its market is.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from engine_proc.market import MarketView, Print
from engine_proc.xrpl_market import LedgerUnreadable, Pair, RawLedger, read_market, read_pool
from engine_proc.xrpl_ports import ClosedLedger, Link, NodeRefused, NodeUnreachable
from engine_proc.xrpl_prints import read_prints
from engine_proc.xrpl_reads import read_ledger
from shared.clock import Clock
from shared.stop import Stop

log = logging.getLogger(__name__)


class XrplFeed:
    """Answers `ports.Feed`. Offers of `account` (ours) are kept out of the views.

    `transactions` asks for the public prints as well, which only the paper venue needs; those of skipped ledgers are
    lost, which is counted in `skipped` and logged. `on_ledger` is given every ledger that became a view.
    """

    def __init__(
        self,
        link: Link,
        pair: Pair,
        *,
        clock: Clock,
        stale_after_ms: int,
        min_touch_size: float,
        account: str | None,
        transactions: bool,
        stop: Stop,
        on_ledger: Callable[[RawLedger, ClosedLedger], None] | None = None,
    ) -> None:
        self.skipped = 0  # ledgers that closed between two views, and were not seen
        self._link = link
        self._pair = pair
        self._clock = clock
        self._stale_after_ms = stale_after_ms
        self._min_touch_size = min_touch_size
        self._exclude_accounts = () if account is None else (account,)
        self._transactions = transactions
        self._stop = stop
        self._on_ledger = on_ledger
        self._tried_index = 0
        # The pool by its account, kept: a transaction may empty the pool in the very ledger that it traded in.
        self._pool_account: str | None = None
        self._pool_fee = 0.0
        self._last: RawLedger | None = None
        self._heard_ns = self._said_ns = clock.monotonic_ns()

    def next(self) -> MarketView | None:
        """The view of the next ledger, or the last one again once it is stale and as often as that; None on a stop."""
        while not self._stop.requested:
            silent_ms = self._age_ms(self._said_ns)
            if silent_ms > self._stale_after_ms:
                return self._stale()
            # One millisecond more than is left: a view must be older than the limit to be called stale.
            ledger = self._link.await_ledger(self._tried_index, self._stale_after_ms - silent_ms + 1)
            if ledger is None:
                continue
            self._tried_index = ledger.ledger_index
            try:
                return self._view(ledger)
            except (NodeUnreachable, NodeRefused, LedgerUnreadable) as error:
                log.warning("ledger %d could not be read: %s", ledger.ledger_index, error)
        return None

    def close(self) -> None:
        """Nothing to let go of: the link belongs to whoever made it."""

    def _view(self, ledger: ClosedLedger) -> MarketView:
        raw = read_ledger(self._link, self._pair, ledger, transactions=self._transactions)
        prints = self._prints(raw)
        view = read_market(
            raw,
            self._pair,
            ts_ns=self._clock.now_ns(),
            age_ms=self._age_ms(ledger.received_monotonic_ns),
            stale_after_ms=self._stale_after_ms,
            min_touch_size=self._min_touch_size,
            prints=prints,
            exclude_accounts=self._exclude_accounts,
        )
        self._count_skipped(ledger.ledger_index)
        self._last = raw
        self._heard_ns, self._said_ns = ledger.received_monotonic_ns, self._clock.monotonic_ns()
        if self._on_ledger is not None:
            self._on_ledger(raw, ledger)
        return view

    def _prints(self, raw: RawLedger) -> tuple[Print, ...]:
        pool = read_pool(raw, self._pair)
        if pool is not None:
            self._pool_account, self._pool_fee = raw.amm_info.get("account"), pool.fee
        return read_prints(raw, self._pair, self._pool_account, self._pool_fee) if self._transactions else ()

    def _count_skipped(self, ledger_index: int) -> None:
        missed = 0 if self._last is None else ledger_index - self._last.ledger_index - 1
        if missed:
            self.skipped += missed
            log.info("%d ledgers before %d were skipped, with their prints", missed, ledger_index)

    def _stale(self) -> MarketView:
        """The last book as old as it is; nothing at all before the first. Its prints were told the first time."""
        self._said_ns = self._clock.monotonic_ns()
        ledger = RawLedger(0, 0, [], [], None, []) if self._last is None else self._last
        view = read_market(
            ledger,
            self._pair,
            ts_ns=self._clock.now_ns(),
            age_ms=self._age_ms(self._heard_ns),
            stale_after_ms=self._stale_after_ms,
            min_touch_size=self._min_touch_size,
            exclude_accounts=self._exclude_accounts,
        )
        return view if self._last is not None else view._replace(ledger_index=None)

    def _age_ms(self, received_monotonic_ns: int) -> int:
        return (self._clock.monotonic_ns() - received_monotonic_ns) // 1_000_000
