"""What holds for the paper venue over any accounts, books, prints and plans at all."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from functools import reduce

from hypothesis import given, settings
from hypothesis import strategies as st

from engine_proc.holdings import Fill, Holdings, Order, Report
from engine_proc.market import AmmPool, MarketView, Print
from engine_proc.paper_matching import DROPS, drops
from engine_proc.ports import Plan
from engine_proc.venue_paper import PaperVenue
from shared.settings import Paper
from tests.engine.paper_market import QUANTA, view
from tests.engine.venue_contract import remaining_at

TICKS = st.integers(min_value=-30, max_value=30).map(lambda n: 1.305 + n * 0.0005)
SIZES = st.one_of(st.integers(1, 30_000_000_000), st.integers(1, 20)).map(lambda n: n / DROPS)
PRINTS = st.lists(
    st.one_of(
        st.builds(Print, st.sampled_from(["buy", "sell"]), TICKS, SIZES, st.none()),
        st.builds(
            lambda side, size, shift: Print(side, 1.3, size, AmmPool(1e6 + shift, 1.305e12 / (1e6 + shift), 0.00267)),
            st.sampled_from(["buy", "sell"]),
            SIZES,
            st.integers(-4000, 4000),
        ),
    ),
    max_size=4,
)
LEVELS = st.lists(st.tuples(TICKS, SIZES), max_size=3)
POOLS = st.one_of(
    st.none(), st.integers(-4000, 4000).map(lambda shift: AmmPool(1e6 + shift, 1.305e12 / (1e6 + shift), 0.00267))
)
QUOTES = st.lists(
    st.tuples(
        st.sampled_from(["bid", "ask"]),
        st.integers(-3000, 3000).map(lambda n: Decimal("1.30500") + n * Decimal("0.00001")),
        st.integers(1, 3_000_000).map(lambda n: Decimal(n).scaleb(-2)),
        st.sampled_from(["place", "replace", "replace", "cancel"]),
        st.integers(0, 9),
    ),
    max_size=4,
)
ACCOUNTS = st.builds(
    Paper,
    base_balance=st.integers(0, 30_000_000_000).map(lambda n: Decimal(n).scaleb(-6)),
    quote_balance=st.integers(0, 30_000 * 10**15).map(lambda n: Decimal(n).scaleb(-15)),
    latency_ledgers=st.integers(0, 3),
    fee_base=st.sampled_from([Decimal(0), Decimal("0.000012"), Decimal("0.7")]),
)


def whole_view(prints, bids, asks, pool) -> MarketView:
    best_first = sorted(dict(bids).items(), reverse=True)
    return view(*prints, bids=best_first, asks=sorted(dict(asks).items()), amm=pool)


def plan_of(quotes, tick: int, live: Sequence[Order]) -> Plan:
    """A plan as execution would make it: an order is replaced or cancelled once, and only while it is live."""
    place, replace, cancel = [], [], []
    live = list(live)
    for n, (side, price, size, action, pick) in enumerate(quotes):
        target = live.pop(pick % len(live)) if action != "place" and live else None
        if action == "cancel":
            cancel += [target] if target else []
        else:
            new = Order(f"o{tick}-{n}", side, n, price, size, size, "pending", target and target.order_id)
            (replace if target else place).append(new)
    return Plan((), tuple(replace), tuple(place), tuple(cancel))


class Ledgerkeeper:
    """Takes every report in twice over: as `Holdings` does, and by adding up; and checks each as it comes."""

    def __init__(self, paper: Paper) -> None:
        self.paper = paper
        self.venue = PaperVenue(paper, **QUANTA)
        self.holdings = Holdings.of(paper.base_balance, paper.quote_balance)
        self.sent: dict[str, Order] = {}
        self.left: dict[str, Decimal] = {}
        self.ended: set[str] = set()
        self.trade_ids: set[str] = set()

    def send(self, plan: Plan) -> None:
        new = (*plan.replace, *plan.place)
        self.sent |= {order.order_id: order for order in new}
        self.left |= {order.order_id: order.size for order in new}
        self.holdings = self.holdings.once_sent(new, plan.cancel)
        self.venue.submit(plan)

    def take(self, reports: Sequence[Report]) -> None:
        base, quote = self.holdings.base, self.holdings.quote
        for report in reports:
            if isinstance(report, Fill):
                self.check(report)
                sign = 1 if report.side == "bid" else -1
                base, quote = base + sign * report.base, quote - sign * report.quote
            else:
                base -= report.fee_base
                assert report.fee_base in (0, self.paper.fee_base)
                if report.result in ("cancelled", "rejected") and report.reason != "gone":
                    assert report.order_id not in self.ended, "an order ends once"
                    self.ended.add(report.order_id)
            assert base >= 0
            assert quote >= 0
        self.holdings = reduce(Holdings.after, reports, self.holdings)
        truth = self.venue.truth()
        assert (truth.base, truth.quote) == (base, quote) == (self.holdings.base, self.holdings.quote)

    def check(self, fill: Fill) -> None:
        ours = self.sent[fill.order_id]
        assert fill.trade_id not in self.trade_ids
        self.trade_ids.add(fill.trade_id)
        assert fill.order_id not in self.ended
        assert fill.base > 0
        assert fill.quote > 0
        self.left[fill.order_id] -= fill.base
        assert self.left[fill.order_id] >= 0, "filled beyond its size"
        if self.left[fill.order_id] == 0:
            self.ended.add(fill.order_id)
        if fill.side == "bid":
            assert fill.quote <= ours.price * fill.base
            assert fill.price <= ours.price
        else:
            assert fill.quote >= ours.price * fill.base
            assert fill.price >= ours.price
        assert fill.liquidity == "taker" or fill.price == ours.price

    def agrees_on_orders(self) -> None:
        """Once nothing is under way, what holdings track is what rests, order by order."""
        assert {key: held.remaining for key, held in self.holdings.orders.items()} == remaining_at(self.venue)


@settings(max_examples=150, deadline=None)
@given(ACCOUNTS, st.lists(st.tuples(PRINTS, LEVELS, LEVELS, POOLS, QUOTES), min_size=1, max_size=10))
def test_given_any_flow_when_every_report_is_applied_then_nothing_leaks_and_the_truth_is_what_was_reported(
    paper: Paper, ticks
) -> None:
    keeper = Ledgerkeeper(paper)
    for number, (prints, bids, asks, pool, quotes) in enumerate(ticks):
        market = whole_view(prints, bids, asks, pool)
        reports = keeper.venue.reports(market)
        keeper.take(reports)
        if paper.latency_ledgers <= 1:
            keeper.agrees_on_orders()
        for taker_side, side in (("sell", "bid"), ("buy", "ask")):
            volume = sum(drops(flow.size) for flow in prints if flow.taker_side == taker_side)
            ours = sum(r.base for r in reports if isinstance(r, Fill) and r.liquidity == "maker" and r.side == side)
            assert ours * DROPS <= volume
        keeper.send(plan_of(quotes, number, keeper.holdings.live_orders()))
    keeper.take(keeper.venue.settle())
    keeper.agrees_on_orders()
    assert keeper.venue.settle() == ()


@settings(max_examples=50, deadline=None)
@given(ACCOUNTS, st.lists(st.tuples(PRINTS, LEVELS, LEVELS, POOLS, QUOTES), min_size=1, max_size=5))
def test_given_the_same_views_and_plans_when_run_twice_then_the_same_reports(paper: Paper, ticks) -> None:
    def run() -> list[tuple[Report, ...]]:
        venue, told, live = PaperVenue(paper, **QUANTA), [], []
        for number, (prints, bids, asks, pool, quotes) in enumerate(ticks):
            told.append(venue.reports(whole_view(prints, bids, asks, pool)))
            plan = plan_of(quotes, number, live)
            live = [*plan.replace, *plan.place]
            venue.submit(plan)
        return [*told, venue.settle()]

    assert run() == run()
