"""The XRP Ledger as a venue: the story of one ledger, from what it made of our orders to what we want of the next.

    reports   history since the last ledger, account, issuer, fees     xrpl_reads, xrpl_standing
              what that made of our orders                             xrpl_outcomes
              what is still under way goes out once more               the same bytes
    recorded  the engine has it on record: what was told stays told    SubmissionLog.confirm
    submit    number, sign, write to disk, and only then send          xrpl_dispatch, SubmissionLog.submitting
    settle    the same as reports, ledger by ledger, until nothing is under way
    truth     the account as the last of these ledgers has it

Four rules keep the books equal to the ledger's through lost answers, cut connections and crashes:

- **Only a validated ledger says what happened.** Fills, ends and fees come from `account_tx` of a range of ledgers
  without a hole: first the one after the last that was read, last the newest. A restart, a reconnection and a tick are
  one and the same reading. The answer to a `submit` decides nothing, save that a transaction was refused as impossible
  the first time that anybody saw it (XRPL.md A8).
- **On disk before on the wire.** A transaction is in the submissions log before a node hears of it, and leaves it when
  its end is certain: found validated, or its LastLedgerSequence passed without it.
- **Told exactly once.** How far the ledger was read goes on disk once the engine says that it has on record what it was
  told. After a crash in between the same ledgers are read again; fills on record already are recognised.
- **No order outlives us.** Every offer carries an Expiration and is replaced before it comes. What has expired can no
  longer be taken and is reported so; its entry, which locks a reserve, is taken away with the next fresh order.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from decimal import Decimal

from engine_proc.holdings import Report
from engine_proc.market import MarketView
from engine_proc.ports import UNREACHABLE, OpenOrder, Plan, Terms, VenueTruth, VenueUnreachable
from engine_proc.xrpl_dispatch import Desk, declined, in_order, sign, submit_all
from engine_proc.xrpl_effects import effects_of
from engine_proc.xrpl_market import LedgerUnreadable, Pair, xrp_of
from engine_proc.xrpl_order_state import fate_of
from engine_proc.xrpl_outcomes import fading, landing, name_of, never_placed
from engine_proc.xrpl_ports import LEDGER_S, ClosedLedger, Link, NodeRefused, NodeUnreachable
from engine_proc.xrpl_reads import OUT_OF_HISTORY, HistoryMissing, ListedOffer, read_fee, read_history
from engine_proc.xrpl_standing import (
    Standing,
    bar,
    fee_needed_drops,
    read_standing,
    require_fit_to_trade,
    reserve_base,
)
from engine_proc.xrpl_submissions import Submission, SubmissionLog
from engine_proc.xrpl_wallet import Signer
from shared.clock import Clock
from shared.errors import ConfigError, JournalUnwritable, KedgeError
from shared.settings import Xrpl
from shared.stop import Stop
from shared.xrpl_text import endpoint_name

log = logging.getLogger(__name__)

UNREADABLE = "UNREADABLE"  # a node's answer makes no sense
HISTORY_MISSING = "HISTORY_MISSING"  # the node does not have every ledger since the last one that was read
LOG_UNWRITABLE = "LOG_UNWRITABLE"
FEE_ABOVE_CAP = "FEE_ABOVE_CAP"
LAG_WAITS_MS = (100, 200, 400)
BLIND = frozenset({UNREACHABLE, UNREADABLE, HISTORY_MISSING})  # where the account stands now is unknown
PRICE_NOISE = Decimal("1e-9")  # by how much a listed rate may miss the price it was placed at


class XrplVenue:
    """Answers `ports.Venue`, in the engine's thread.

    `recorded_trades` are the trade ids that earlier sessions have on record: they are not reported again.
    `read_only` signs and submits nothing.
    """

    def __init__(
        self,
        settings: Xrpl,
        pair: Pair,
        link: Link,
        signer: Signer,
        submissions: SubmissionLog,
        *,
        clock: Clock,
        stop: Stop,
        recorded_trades: Collection[str] = (),
        read_only: bool = False,
    ) -> None:
        """Nothing is asked yet. Raises `ConfigError` for a pair whose base is not XRP, in which fees are paid."""
        if pair.base.issuer is not None:
            raise ConfigError(f"market.pair: venue xrpl trades XRP/..., not {pair.base.currency}/...: fees are in XRP")
        self.terms = Terms(refusal=UNREACHABLE, in_doubt=True)
        self._settings = settings
        self._pair = pair
        self._link = link
        self._signer = signer
        self._log = submissions
        self._clock = clock
        self._stop = stop
        self._recorded = frozenset(recorded_trades)
        self._read_only = read_only
        self._inherited = frozenset(submissions.pending)  # under way when an earlier process ended
        self._unlogged: dict[str, Submission] = {}  # cancels that went out although the disk refused them
        self._failed: dict[str, Submission] = {}  # impossible, said so, and to leave the log once that is on record
        self._standing: Standing | None = None
        self._fee_drops = 0
        self._said: list[Report] = []
        self._silence = "it was not asked yet"
        self._log_refuses = False
        self._missed = False  # a reading failed since the truth was last asked for
        self._connections_read = 0  # the connection on which the account was last read
        self._connections_trusted = -1  # the one on which the truth was last asked for
        self._in_vain = False  # the last `settle` waited for a node until its time was up

    def prepare(self) -> None:
        """Look for everything that stands against a session, before anything is signed.

        Raises `ConfigError` where the configuration names what is not there, and `KedgeError`.
        """
        ledger = self._link.await_ledger(0, self._settings.liveness_ms + self._settings.request_timeout_ms)
        if ledger is None:
            asked = ", ".join(map(endpoint_name, self._settings.endpoints))
            raise KedgeError(f"xrpl.endpoints: no validated ledger from any of {asked}")
        try:
            require_fit_to_trade(self._link, self._signer.account, self._pair, ledger, self._settings.network_id)
        except (NodeUnreachable, NodeRefused) as error:
            raise KedgeError(f"the node does not say how the account stands: {error}") from error

    # ------------------------------------------------------------------------------------------- what happened to us

    def reports(self, market: MarketView) -> tuple[Report, ...]:  # noqa: ARG002 - the ledger is asked, not the view
        """What validated ledgers made of our orders, up to the newest, which is not older than the view."""
        self._catch_up()
        self._submit_again()
        return self._collect()

    def recorded(self) -> None:
        """The engine has on record what it was told: let that be final on disk. What fails is tried the next time."""
        try:
            if self._failed:
                self._log.settled(*self._failed)
                self._failed.clear()
            self._log.confirm()
        except JournalUnwritable as error:
            log.error("%s", error)
            self._log_refuses = True
        else:
            self._log_refuses = False

    def settle(self) -> tuple[Report, ...]:
        """Follow the ledgers until nothing of ours is under way, `settle_ledgers` at the most.

        That long it also waits for a node that is silent, once: it is no use to wait again at every call. A stop
        request cuts a wait short that it finds, and not one that begins after it: that is the withdrawal.
        """
        heed_stop = not self._stop.requested
        deadline_ns = self._clock.monotonic_ns() + self._settings.settle_ledgers * LEDGER_S * 1_000_000_000
        while True:
            self._catch_up()
            self._submit_again()
            blind = self.terms.refusal in BLIND
            if not blind and not self._under_way():
                break
            left_ms = (deadline_ns - self._clock.monotonic_ns()) / 1e6
            if left_ms <= 0 or (blind and self._in_vain) or (heed_stop and self._stop.requested):
                break
            newest = self._link.newest()
            self._link.await_ledger(newest.ledger_index if newest else 0, left_ms, heed_stop=heed_stop)
        self._in_vain = blind
        return self._collect()

    def truth(self) -> VenueTruth:
        """Balances and live offers as the last ledger that was read has them: exactly where the reports have led.

        An expired offer is listed there and is none: nobody can take it. Raises `VenueUnreachable` while the node
        cannot be asked, and while it is open what became of an earlier process' transactions.
        """
        standing, under_way = self._standing, self._under_way()
        if standing is None or self.terms.refusal in (UNREACHABLE, UNREADABLE):
            raise VenueUnreachable(self._silence)
        open_ends = [hash_ for hash_ in under_way if hash_ in self._inherited]
        if open_ends:
            raise VenueUnreachable(f"transactions of an earlier run are still under way: {', '.join(open_ends)}")
        self._missed, self._connections_trusted = False, self._connections_read
        line = standing.account.line
        orders = dict(map(self._named, standing.live_offers()))
        return VenueTruth(xrp_of(standing.account.balance_drops), line.balance if line else Decimal(0), orders)

    def close(self) -> None:
        """Link and log belong to whoever opened them. Nothing is confirmed here: who closes may have crashed."""

    def _catch_up(self) -> None:
        """Read on to the newest validated ledger, and state the terms. What fails here is tried on the next call.

        A server announces a ledger a moment before it answers for it: that is waited for.
        """
        before = self.terms.refusal
        for wait_ms in (*LAG_WAITS_MS, None):
            refusal = self._look()
            newest = self._link.newest()
            if refusal != HISTORY_MISSING or newest is None or wait_ms is None:
                break
            self._link.await_ledger(newest.ledger_index, wait_ms, heed_stop=False)
        self._missed = self._missed or refusal in BLIND
        if refusal is None and before is not None:
            log.info("new orders are taken")
        elif refusal != before:
            log.warning("new orders are refused: %s%s", refusal, f" ({self._silence})" if refusal in BLIND else "")
        reserve = Decimal(0)
        if self._standing is not None:
            reserve = reserve_base(self._standing, self._settings.fee_drops_max)
        in_doubt = self._missed or self._connections_read != self._connections_trusted
        self.terms = Terms(reserve, refusal, in_doubt)

    def _look(self) -> str | None:
        """At the fees and at the newest ledger, if it is new to us; why no new order may go then, or None."""
        newest, connections = self._link.newest(), self._link.connections
        try:
            if newest is None:
                raise NodeUnreachable("no validated ledger yet")
            # Asked also while no ledger closes: the one question that tells a silent node from a slow ledger.
            self._fee_drops = fee_needed_drops(read_fee(self._link))
            if self._standing is None or newest.ledger_index > self._standing.ledger.ledger_index:
                self._read_on(newest)
        except (NodeUnreachable, NodeRefused, LedgerUnreadable) as error:
            self._silence = str(error)
            lagging = isinstance(error, HistoryMissing) or getattr(error, "error", None) in OUT_OF_HISTORY
            return HISTORY_MISSING if lagging else UNREADABLE if isinstance(error, LedgerUnreadable) else UNREACHABLE
        self._connections_read = connections
        assert self._standing is not None
        if self._log_refuses:
            return LOG_UNWRITABLE
        return bar(self._standing) or (FEE_ABOVE_CAP if self._fee_drops > self._settings.fee_drops_max else None)

    def _read_on(self, newest: ClosedLedger) -> None:
        """From the last ledger that was read to the newest: all of it, or nothing is taken in."""
        index, processed = newest.ledger_index, self._log.processed_ledger
        if processed is None:  # a log that nothing was confirmed in yet: whatever is under way came after this
            processed = min((submission.first_ledger for submission in self._log.pending.values()), default=None)
        if processed is not None and index < processed:
            raise NodeUnreachable(f"the node is at ledger {index}, behind {processed}, which was read already")
        account = self._signer.account
        first = index + 1 if processed is None else processed + 1
        entries = read_history(self._link, account, first, index) if first <= index else ()
        standing = read_standing(self._link, account, self._pair, newest, tickets=self._settings.tickets > 0)
        landed = landing(
            [effects_of(entry, account, self._pair, parent_close_time=None) for entry in entries],
            self._under_way(),
            self._log.offers,
            ledger_index=index,
            close_time=newest.close_time,
            listed=standing.account.offers,
            recorded=self._recorded,
        )
        self._log.advance(index, settled=landed.settled, offers=landed.offers)
        for hash_ in landed.settled:
            self._unlogged.pop(hash_, None)
        self._standing = standing
        renew_s = self._settings.renew_ledgers * LEDGER_S
        self._said += landed.reports
        self._said += fading(self._log.offers, self._under_way(), close_time=newest.close_time, renew_s=renew_s)

    def _collect(self) -> tuple[Report, ...]:
        said, self._said = self._said, []
        return tuple(said)

    # --------------------------------------------------------------------------------------- what we want to happen

    def submit(self, plan: Plan) -> None:
        """Number, sign, write to disk, send.

        While the venue refuses new orders they are rejected unsigned. Cancels go even then, at the capped fee, except
        where nobody knows how the account stands: those are answered with the word that the order is as it was.
        """
        if not (plan.replace or plan.place or plan.cancel):
            return
        assert not self._read_only, "a venue that only reads was asked to trade"
        refusal = self.terms.refusal
        if refusal is not None and refusal in BLIND:
            self._said += [declined(step, refusal, self._under_way()) for step in in_order(plan, ())]
            return
        fresh, said = sign(plan, self._desk())
        self._said += said
        sent = self._on_disk(fresh)
        for submission, answer in zip(sent, submit_all(self._link, sent), strict=True):
            if answer is not None and fate_of(answer, submitted_before=False) == "FAILED":
                log.error("transaction %s (%s) is impossible: %s", submission.hash, submission.kind, answer)
                self._failed[submission.hash] = submission
                self._said += never_placed(submission, answer, self._under_way())

    def _desk(self) -> Desk:
        assert self._standing is not None, "whoever is not blind has seen the account"
        return Desk(
            settings=self._settings,
            pair=self._pair,
            signer=self._signer,
            standing=self._standing,
            offers=self._log.offers,
            under_way=self._under_way(),
            fee_drops=min(self._fee_drops, self._settings.fee_drops_max),
            refusal=self.terms.refusal,
        )

    def _on_disk(self, fresh: list[Submission]) -> list[Submission]:
        """What may go out: everything once it is on disk; if the disk refuses, only what takes orders away.

        A cancel that a crash forgets costs us nothing but its name: its fee and its effect are read from the ledger.
        """
        if not fresh:
            return fresh
        try:
            self._log.submitting(*fresh)
        except JournalUnwritable as error:
            log.error("%s", error)
            self._log_refuses = True
            cancels = [submission for submission in fresh if submission.kind == "cancel"]
            for submission in fresh:
                if submission not in cancels:
                    self._said += never_placed(submission, LOG_UNWRITABLE, self._under_way())
            self._unlogged |= {submission.hash: submission for submission in cancels}
            return cancels
        return fresh

    def _submit_again(self) -> None:
        """The same bytes, to whichever node we are connected with now: an answer or a whole node may have been lost.

        New orders of a process that has ended are left to their fate: their prices are of the past.
        """
        if self._read_only or self.terms.refusal in BLIND:
            return
        assert self._standing is not None
        index = self._standing.ledger.ledger_index
        again = [
            submission
            for submission in self._under_way().values()
            if submission.last_ledger > index
            and not (submission.hash in self._inherited and submission.kind in ("place", "replace"))
        ]
        if again:
            submit_all(self._link, again)  # no answer to a second submission is the end of anything (XRPL.md A8)

    # ------------------------------------------------------------------------------------------------- what we know

    def _under_way(self) -> dict[str, Submission]:
        """Transactions whose end is not known, in the order in which they were sent."""
        known = {**self._log.pending, **self._unlogged}
        return {hash_: submission for hash_, submission in known.items() if hash_ not in self._failed}

    def _named(self, there: ListedOffer) -> tuple[str, OpenOrder]:
        """A listed offer under our name for it, at our price for it: a rate has more digits than it keeps (A1)."""
        known = self._log.offers.get(there.sequence)
        if known is None:
            return name_of(there.sequence), OpenOrder(there.side, there.price, there.remaining)
        price = known.price if abs(known.price - there.price) <= PRICE_NOISE * known.price else there.price
        return known.order_id, OpenOrder(there.side, price, there.remaining)
