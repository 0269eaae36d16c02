"""START HERE. One tick of Kedge, in order, and the session around it.

    market view -> the venue's reports -> reconciliation -> strategy -> guard -> gate -> execution -> record

Each step is a function of the file of the same name; this file only knows their order. Market trouble is a value
that the steps return and the record tells. An exception here is a bug or a dead edge, and `app.py` holds the
process' only broad except for it.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence
from decimal import Decimal
from typing import NamedTuple

from engine_proc import describe, execution, gate, modes, reconcile
from engine_proc.holdings import Balances, Fill, Holdings, Outcome, Report
from engine_proc.market import MarketView
from engine_proc.modes import ModeState, Signal
from engine_proc.outbox import Recorder
from engine_proc.ports import UNREACHABLE, Feed, KillSwitch, Plan, Venue, VenueUnreachable
from engine_proc.strategy import Intent, Strategy
from engine_proc.summary import Summary
from shared.clock import Clock
from shared.errors import KedgeError
from shared.records import EngineState, ModeChanged, SessionClosed, SessionOpened, Side, TickRecord, VenueMode
from shared.saturation import SaturationGuard
from shared.settings import Config

log = logging.getLogger(__name__)

WITHDRAWAL_ROUNDS_MAX = 3
ANY_ORDER = "any (the venue does not answer)"  # stands for the orders that only the venue could name


class SessionFacts(NamedTuple):
    """What the first record of a session says about it, beside its start."""

    venue_mode: VenueMode
    config_hash: str
    config_json: str
    code_version: str
    crashed_uid: str | None = None


class Engine:
    """One session: the state that one tick hands to the next, and nothing else."""

    def __init__(
        self,
        config: Config,
        clock: Clock,
        feed: Feed,
        venue: Venue,
        recorder: Recorder,
        state: ModeState,
        kill_switch: KillSwitch | None = None,
    ) -> None:
        guard = config.strategy.anchor_saturation_guard
        self.config = config
        self.clock = clock
        self.feed = feed
        self.venue = venue
        self.recorder = recorder
        self.state = state
        self.kill_switch = kill_switch
        self.strategy = Strategy(config.strategy)
        self.guard = SaturationGuard(guard.thresholds, enabled=guard.enabled)
        self.limits = gate.Limits.of(config.gate, config.strategy.quote.requote_tolerance_bps)
        self.reconcile_every_ticks = config.reconcile.interval_ticks
        self.summary = Summary(guard.bias_threshold_bps)
        self.holdings = Holdings.of(Decimal(0), Decimal(0))  # until the venue says what we have, in `take_stock`
        self.stop_reason: str | None = None
        self.tick_number = 0
        self.order_number = 0
        self.cancels_this_tick = 0
        self.recent_submits: deque[int] = deque(maxlen=config.gate.rate_window_ticks - 1)  # the window less this tick
        self.last_denials: dict[tuple[Side, int], str] = {}

    # ------------------------------------------------------------------------------------------------ the tick

    def tick(self, market: MarketView) -> TickRecord:
        """One look at the market, one decision, one record."""
        started_ns = self.clock.monotonic_ns()
        now_ns = market.ts_ns
        self.tick_number += 1
        self.cancels_this_tick = 0
        if self.kill_switch is not None:
            self.obey(self.kill_switch, now_ns)

        asked_ns = self.clock.now_ns()
        fills = self.take_reports(self.venue.reports(market), now_ns, market.mid)
        if self.reconciliation_is_due():
            self.reconcile(now_ns)
        market = market.older_by(self.clock.now_ns() - asked_ns)  # a slow venue: what is decided now is decided on it

        held = self.holdings
        proposal = self.strategy.calculate_quote(market, held)
        tripped = self.guard.observe(self.strategy.last_anchor_divergence_bps)
        if tripped:
            self.trip(now_ns)
        intents = () if tripped else proposal.intents

        cleared = self.clear(intents, market)
        sent = self.carry_out(cleared.intents, now_ns)

        record = describe.tick_record(
            market,
            self.guard,
            tick=self.tick_number,
            mode=self.state.mode,
            proposal=proposal,
            anchor_error_bps=self.strategy.last_anchor_divergence_bps,
            held=held,
            plan=sent,
            denials=cleared.denials,
            withheld="GUARD_ANCHOR_SATURATION" if tripped else "JOURNAL_UNWRITABLE" if self.recorder.fault else None,
            open_orders=len(self.holdings.live_orders()),
            cancels=self.cancels_this_tick,
            fills=fills,
            duration_us=(self.clock.monotonic_ns() - started_ns) / 1e3,
            outbox_unsent=self.recorder.unsent,
        )
        self.summary.add(record)
        self.recorder.emit(record)
        if self.recorder.fault is not None:
            self.enter_degraded("journal_unwritable", now_ns)
        return record

    def obey(self, kill_switch: KillSwitch, now_ns: int) -> None:
        """The operator's halt, before anything else. The switch is let go of once the halt is on record."""
        reason = kill_switch.pulled()
        if reason is not None:
            self.enter_halt(f"operator: {reason}", now_ns)
            if self.recorder.fault is None:
                kill_switch.obeyed()

    def take_reports(self, reports: Sequence[Report], now_ns: int, mid: float | None) -> int:
        """Apply what the venue says happened, put it on record, return the number of fills.

        How an order stands that has not ended changes holdings only; a replaced order has its end in the record of the
        one that replaces it.
        """
        fills = 0
        for number, report in enumerate(reports):
            if isinstance(report, Outcome):
                order_id, result, reason, _ = report
                if result == "accepted" or result == "pending" or result == "fading":  # noqa: PLR1714 - types follow it
                    continue
                if reason == "replaced":
                    continue
                order = self.holdings.after(*reports[:number]).orders.get(order_id)
                if order is not None:
                    self.recorder.emit(describe.order_event(order, result, self.tick_number, now_ns, reason))
            elif isinstance(report, Fill):
                fills += 1
                self.recorder.emit(describe.fill_record(report, self.tick_number, now_ns, mid))
        self.holdings = self.holdings.after(*reports)
        if self.recorder.fault is None:
            self.venue.recorded()
        return fills

    def reconciliation_is_due(self) -> bool:
        """Every `interval_ticks`, and when the venue is in doubt; not of a venue that cannot be asked at this moment.

        A cut network is no drift: nothing new is sent on it, and once it is back the venue is in doubt.
        """
        _, refusal, in_doubt = self.venue.terms
        return refusal != UNREACHABLE and (in_doubt or self.tick_number % self.reconcile_every_ticks == 0)

    def reconcile(self, now_ns: int) -> None:
        """Compare the venue's truth with what we track; drift beyond tolerance ends quoting, and so does silence."""
        try:
            truth = self.venue.truth()
        except VenueUnreachable as error:
            drift: tuple[reconcile.Difference, ...] = (reconcile.unreadable(error),)
        else:
            drift = reconcile.differences(self.holdings, truth, self.config.reconcile, self.config.market.pair)
            snapshot = describe.inventory_truth(self.holdings, truth, self.tick_number, now_ns, drifted=bool(drift))
            self.recorder.emit(snapshot)
        for difference in drift:
            self.recorder.emit(describe.anomaly(difference, self.tick_number, now_ns))
        if drift:
            self.enter_degraded(f"reconciliation_drift: {drift[0].anomaly} {drift[0].subject}", now_ns)

    def trip(self, now_ns: int) -> None:
        """The guard tripped: the event on record, one line for the operator, no more quoting."""
        guard, settings = self.guard, self.config.strategy.anchor_saturation_guard
        self.recorder.emit(describe.breaker_event(guard, settings, self.tick_number, now_ns, self.clock.wall_ns()))
        log.warning(
            "[ANCHOR_SAT] DEGRADED triggered — mean=%+.2fbps prevalence=%.1f%% over %d ticks",
            guard.mean_bps,
            guard.prevalence_pct,
            settings.lookback_ticks,
        )
        self.summary.tripped(self.tick_number)
        self.enter_degraded("anchor_saturation_guard_exceeded", now_ns)

    def clear(self, intents: tuple[Intent, ...], market: MarketView) -> gate.Clearance:
        """Through the gate. A refusal counts on every tick and goes on record when its reason is new."""
        sight = gate.Sight(
            self.state.mode, market, self.holdings, self.limits, sum(self.recent_submits), self.venue.terms
        )
        clearance = gate.clear(intents, sight)
        if clearance.denials or self.last_denials:
            denied = {denial.slot: denial.reason for denial in clearance.denials}
            for denial in clearance.denials:
                if self.last_denials.get(denial.slot) != denial.reason:
                    self.recorder.emit(describe.denial_event(denial, self.tick_number, market.ts_ns))
            self.last_denials = denied
        return clearance

    def carry_out(self, desired: tuple[Intent, ...], now_ns: int) -> Plan:
        """What we want against what rests, as a plan; then the plan to the venue. Returns what was really sent."""
        resting = self.holdings.orders.values()
        plan = execution.plan(desired, resting, self.new_order_id, self.limits.requote_tolerance_bps)
        self.recent_submits.append(len(plan.replace) + len(plan.place))
        return self.send(plan, now_ns)

    def send(self, plan: Plan, now_ns: int) -> Plan:
        """On record first, then to the venue: no order may exist that the journal has not heard of."""
        _, replace, place, cancel = plan
        placed = replace + place
        if not (placed or cancel):
            return plan
        tick = self.tick_number
        submitted = [describe.order_event(order, "submitted", tick, now_ns) for order in placed]
        withdrawn = [describe.order_event(order, "cancel_sent", tick, now_ns) for order in cancel] if cancel else ()
        self.recorder.emit(*submitted, *withdrawn)
        if placed and self.recorder.fault is not None:
            # The journal may still take, later, what it was told of these orders; then this stands behind it.
            unsent = [describe.order_event(order, "rejected", tick, now_ns, "JOURNAL_UNWRITABLE") for order in placed]
            self.recorder.emit(*unsent)
            self.enter_degraded("journal_unwritable", now_ns)  # which cancels, whether on record or not
            return Plan()
        self.cancels_this_tick += len(cancel)
        self.holdings = self.holdings.once_sent(placed, cancel)
        self.venue.submit(plan)
        return plan

    def new_order_id(self, intent: Intent) -> str:
        """Unique among ours at the venue, the same in every run: side, rung, running number."""
        self.order_number += 1
        return f"{intent.side}{intent.level}-{self.order_number}"

    # ------------------------------------------------------------------------------------------------ the mode

    def enter_degraded(self, reason: str, now_ns: int) -> None:
        """Stop quoting until the operator says otherwise. Safe on every tick."""
        self.change_mode("degrade", reason, now_ns)

    def enter_halt(self, reason: str, now_ns: int) -> None:
        """The same, by the kill switch or after a fatal fault; no breaker can soften it."""
        self.change_mode("halt", reason, now_ns)

    def change_mode(self, signal: Signal, reason: str, now_ns: int) -> None:
        """Move through the table in modes.py; on leaving ACTIVE take every order off the venue."""
        before, self.state = self.state, modes.after(self.state, signal, reason, now_ns)
        if self.state == before:
            return
        log.warning("%s -> %s: %s", before.mode, self.state.mode, reason)
        self.recorder.emit(ModeChanged(now_ns, self.tick_number, before.mode, self.state.mode, signal, reason))
        if before.may_quote:
            self.cancel_all(now_ns)

    def cancel_all(self, now_ns: int) -> None:
        """Every order of ours that nobody has asked the venue to take away yet."""
        self.send(Plan(cancel=self.holdings.live_orders()), now_ns)

    # --------------------------------------------------------------------------------------------- the session

    def open_session(self, facts: SessionFacts, inherited: ModeChanged | None = None) -> None:
        """The first record; where the mode comes from if it was not simply ACTIVE; what the venue has of ours.

        Raises `KedgeError` if the venue cannot be asked: what we own is unknown, and nothing may be quoted on it.
        """
        self.recorder.emit(
            SessionOpened(
                ts_ns=self.clock.now_ns(),
                wall_ns=self.clock.wall_ns(),
                venue_mode=facts.venue_mode,
                pair=self.config.market.pair,
                initial_mode=self.state.mode,
                config_hash=facts.config_hash,
                config_json=facts.config_json,
                code_version=facts.code_version,
                crashed_uid=facts.crashed_uid,
            )
        )
        if inherited is not None:
            self.recorder.emit(inherited)
        self.take_stock(self.clock.now_ns())

    def take_stock(self, now_ns: int) -> None:
        """Before the first quote: balances and open orders as the venue has them.

        Orphans, orders of ours that an earlier session left there, go on record and are taken over. `execution.orphans:
        adopt` lets them rest while they serve; otherwise, and in a session that may not quote, they are cancelled. One
        that may still be live after that degrades: it would be hit at a price of yesterday.
        """
        landed = self.venue.settle()  # what an earlier session still had under way
        self.summary.fills += self.take_reports(landed, now_ns, None)
        try:
            truth = self.venue.truth()
        except VenueUnreachable as error:
            self.recorder.emit(describe.anomaly(reconcile.unreadable(error), 0, now_ns))
            raise KedgeError(f"the venue does not say what we own and what rests there: {error}") from error
        self.holdings = reconcile.taken_over(truth)
        orphans = self.holdings.live_orders()
        known = (*truth.orders, *(report.order_id for report in landed if not isinstance(report, Balances)))
        self.order_number = max(map(execution.number_of, known), default=0)  # theirs are not given out again
        if not orphans:
            return
        for order in orphans:
            self.recorder.emit(describe.anomaly(reconcile.orphan(order), 0, now_ns))
        policy = self.config.execution.orphans if self.state.may_quote else "cancel"
        log.warning("%d orders of an earlier session rest at the venue: %s", len(orphans), policy)
        if policy == "cancel" and (survivors := self.withdraw()):
            self.enter_degraded(f"orphans_not_cancelled: {', '.join(survivors)}"[:500], now_ns)

    def run(self) -> str:
        """Tick until the feed ends, `ticks_max` is reached or `stop_reason` is set from outside; say which."""
        ticks_max = self.config.market.ticks_max
        while self.stop_reason is None:
            if ticks_max and self.tick_number >= ticks_max:
                return "ticks_max"
            market = self.feed.next()
            if market is None:
                return self.stop_reason or "feed_ended"
            self.tick(market)
        return self.stop_reason

    def close_session(self, end_reason: str) -> tuple[str, ...]:
        """Cancel everything, verify that with the venue, say the session in numbers.

        Returns the ids of orders that could not be confirmed cancelled; they may still be live.
        """
        survivors = self.withdraw()
        now_ns = self.clock.now_ns()
        for key, value in self.summary.statements():
            self.recorder.emit(EngineState(now_ns, key, value))
        self.recorder.emit(
            SessionClosed(
                ts_ns=now_ns,
                wall_ns=self.clock.wall_ns(),
                end_reason=end_reason,
                final_mode=self.state.mode,
                ticks=self.summary.ticks,
                null_error_ticks=self.summary.null_error_ticks,
                fills=self.summary.fills,
                orders_submitted=self.summary.orders_submitted,
                orders_denied=self.summary.orders_denied,
                breaker_trips=self.summary.breaker_trips,
                orders_surviving=len(survivors),
            )
        )
        return survivors

    def withdraw(self) -> tuple[str, ...]:
        """Take every order off the venue and verify that with it. Returns the ids that may still be live.

        More than one round, because a replacement refused on the way brings back the order that it was to replace.
        An order that is still on its way may yet land. If the venue cannot be asked, every order we know of may be
        live, and others as well.
        """
        now_ns = self.clock.now_ns()
        for _ in range(WITHDRAWAL_ROUNDS_MAX):
            self.cancel_all(now_ns)
            self.summary.fills += self.take_reports(self.venue.settle(), now_ns, None)
            if not self.holdings.live_orders():
                break
        try:
            return tuple({**self.venue.truth().orders, **self.holdings.orders})
        except VenueUnreachable:
            return (*self.holdings.orders, ANY_ORDER)
