"""A dry run, as a venue around a venue: what is read passes through, what is sent goes nowhere.

There is no flag in the order path that one method could forget to ask. Submissions end here, cancels and
replacements included, so orders that rest at the inner venue stay as they are whatever the engine does: tick,
trip, DEGRADED, clean stop.

The engine works unchanged because every order it sends gets an answer, with the reason `DRY_RUN` and no fee:

* a new order is *rejected*. It is pending from its submission to the next reports and never live, so holdings
  carry no order that does not exist, and the record shows each order that would have been sent. What it was to
  replace rests on, as after any rejection;
* an order that was to be cancelled is *accepted*: it still rests. `cancelled` would be untrue.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from decimal import Decimal

from engine_proc.holdings import Outcome, Report
from engine_proc.market import MarketView
from engine_proc.ports import Plan, Terms, Venue, VenueTruth

log = logging.getLogger(__name__)

REASON = "DRY_RUN"
NO_FEE = Decimal(0)


class DryVenue:
    """Answers `ports.Venue`; `inner` is only ever read from. Raises what `inner` raises."""

    def __init__(self, inner: Venue) -> None:
        self._inner = inner
        self._answers: list[Report] = []
        self._named = False

    @property
    def terms(self) -> Terms:
        """The inner venue's."""
        return self._inner.terms

    def reports(self, market: MarketView) -> tuple[Report, ...]:
        """Our answers to what was swallowed, then the inner venue's own reports."""
        return (*self._take_answers(), *self._inner.reports(market))

    def recorded(self) -> None:
        """The inner venue's reports are recorded like any others."""
        self._inner.recorded()

    def submit(self, plan: Plan) -> None:
        """Swallow the plan."""
        self._answers.extend(_answers(plan))

    def settle(self) -> tuple[Report, ...]:
        """Our answers to what was swallowed, then whatever the inner venue still had under way by itself."""
        return (*self._take_answers(), *self._inner.settle())

    def truth(self) -> VenueTruth:
        """The inner venue's balances. Of orders a dry run has none; those that rest there are not its own to touch."""
        base, quote, orders = self._inner.truth()
        if orders and not self._named:
            self._named = True
            log.warning("dry run: %d orders rest at the venue and stay there: %s", len(orders), ", ".join(orders))
        return VenueTruth(base, quote, {})

    def close(self) -> None:
        """Close the inner venue."""
        self._inner.close()

    def _take_answers(self) -> tuple[Report, ...]:
        answers, self._answers = tuple(self._answers), []
        return answers


def _answers(plan: Plan) -> Iterator[Outcome]:
    for order in plan.cancel:
        yield Outcome(order.order_id, "accepted", REASON, NO_FEE)
    for order in (*plan.replace, *plan.place):
        yield Outcome(order.order_id, "rejected", REASON, NO_FEE)
