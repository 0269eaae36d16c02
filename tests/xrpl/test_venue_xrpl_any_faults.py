"""Whatever breaks and whenever: at the end every fill is on record once and what we track is what the ledger has."""

from __future__ import annotations

import random
from decimal import Decimal
from pathlib import Path

import pytest

from engine_proc.holdings import Fill, Holdings, Order, Report
from engine_proc.ports import Plan
from engine_proc.reconcile import taken_over
from tests.engine.venue_contract import SIZE
from tests.xrpl.venue_stage import (
    ADDRESS,
    IOC_BUY,
    IOC_SELL,
    PAIR,
    TAKER,
    VIEW,
    VenueStage,
    closing_ledgers,
    offer_create,
)

LEDGERS = 40
SLOTS = (("bid", 0), ("bid", 1), ("ask", 0), ("ask", 1))


class SmallEngine:
    """What the engine does with a venue: track, put on record, plan. The record survives a crash, holdings do not."""

    def __init__(self, stage: VenueStage, rng: random.Random) -> None:
        self.stage = stage
        self.rng = rng
        self.record: list[Fill] = []
        self.orders_made = 0
        self.holdings = Holdings.of(Decimal(0), Decimal(0))

    def start(self) -> None:
        """Take stock, while ledgers go on closing."""
        self.stage.recorded = {fill.trade_id for fill in self.record}
        self.stage.start()
        with closing_ledgers(self.stage):
            self.take(self.stage.venue.settle())
        self.holdings = taken_over(self.stage.venue.truth())

    def take(self, reports: tuple[Report, ...]) -> None:
        self.record += [report for report in reports if isinstance(report, Fill)]
        self.holdings = self.holdings.after(*reports)
        self.stage.venue.recorded()

    def plan(self, mid: Decimal) -> None:
        """Quotes round a mid: fresh ones, replacements, and now and then a cancel."""
        live = {order.slot: order for order in self.holdings.orders.values() if order.state != "cancelling"}
        place, replace, cancel = [], [], []
        for side, level in SLOTS:
            there = live.get((side, level))
            if there is None:
                place.append(self.order(side, level, mid, None))
            elif there.state == "pending":
                continue
            elif self.rng.random() < 0.1:
                cancel.append(there)
            elif there.state == "fading" or self.rng.random() < 0.6:
                replace.append(self.order(side, level, mid, there.order_id))
        self.holdings = self.holdings.once_sent((*replace, *place), cancel)
        self.stage.venue.submit(Plan((), tuple(replace), tuple(place), tuple(cancel)))

    def order(self, side: str, level: int, mid: Decimal, replaces: str | None) -> Order:
        self.orders_made += 1
        price = mid + Decimal("0.002") * (level + 1) * (1 if side == "ask" else -1)
        return Order(f"{side}{level}-{self.orders_made}", side, level, price, SIZE, SIZE, "pending", replaces)

    def agrees_with_truth(self) -> None:
        truth = self.stage.venue.truth()
        assert (self.holdings.base, self.holdings.quote) == (truth.base, truth.quote)
        resting = {name: there.remaining for name, there in self.holdings.orders.items() if there.state != "pending"}
        assert resting == {name: there.remaining for name, there in truth.orders.items()}


def break_something(stage: VenueStage, rng: random.Random) -> None:
    """One of the faults that a node or a network has."""
    node = stage.node
    if node.refuse_connections:
        node.refuse_connections = rng.random() < 0.5
        return
    fault = rng.choice(["none"] * 4 + ["kill", "kill_before", "kill_after", "swallow", "doubled", "away"])
    if fault == "kill":
        node.kill()
    elif fault in ("kill_before", "kill_after"):
        node.kill_on("submit", applied=fault == "kill_after")
    elif fault == "swallow":
        node.swallow_answers(rng.choice(["submit", "account_tx", "fee"]), 1)
    elif fault == "away":
        node.refuse_connections = True
        node.kill()
    elif fault == "doubled":
        node.duplicate_streams = not node.duplicate_streams


def trade(stage: VenueStage, rng: random.Random, mid: Decimal) -> None:
    """Takers on both sides, through our quotes more often than not."""
    for _ in range(rng.randrange(3)):
        side = rng.choice(["ask", "bid"])
        limit = mid + Decimal(rng.choice(["0.003", "0.008"])) * (1 if side == "bid" else -1)
        amount = Decimal(rng.randrange(1, 40_000_000)) / 100_000
        stage.book.apply(offer_create(TAKER, side, limit, amount, IOC_SELL if side == "ask" else IOC_BUY))


def walk(stage: VenueStage) -> tuple[Decimal, Decimal]:
    """Our balances by the ledger's own books, fees given back: what our executions must add up to."""
    command = {
        "command": "account_tx",
        "account": ADDRESS,
        "ledger_index_min": -1,
        "ledger_index_max": -1,
        "forward": True,
    }
    entries, marker = [], None
    while marker is not None or not entries:
        answer = stage.book.answer(command | ({"marker": marker} if marker else {}))
        entries += answer["transactions"]
        marker = answer.get("marker")
        if marker is None:
            break
    ours = [entry["tx"] for entry in entries if entry["tx"]["Account"] == ADDRESS]
    fees = sum(Decimal(transaction["Fee"]) for transaction in ours)
    info = {"command": "account_info", "account": ADDRESS, "ledger_index": "validated"}
    line = {"accounts": [ADDRESS, PAIR.quote.issuer], "currency": "USD"}
    node = stage.book.answer({"command": "ledger_entry", "ripple_state": line, "ledger_index": "validated"})["node"]
    low = node["LowLimit"]["issuer"] == ADDRESS
    balance = Decimal(stage.book.answer(info)["account_data"]["Balance"])
    return (balance + fees) / 1_000_000, Decimal(node["Balance"]["value"]) * (1 if low else -1)


@pytest.mark.parametrize(("seed", "tickets"), [(1, 0), (2, 0), (3, 12)])
def test_given_any_faults_when_all_is_over_then_every_fill_is_on_record_once_and_holdings_are_the_truth(
    tmp_path: Path, seed: int, tickets: int
) -> None:
    rng = random.Random(seed)
    with VenueStage(tmp_path, request_timeout_ms=250, tickets=tickets) as stage:
        stage.crash()  # the stage's own process: ours starts below
        engine = SmallEngine(stage, rng)
        engine.start()
        before = walk(stage)
        mid = Decimal("1.305")
        crashes = dict.fromkeys(rng.sample(range(LEDGERS), 2), "unrecorded") | {rng.randrange(LEDGERS): "recorded"}
        for n in range(LEDGERS):
            mid += Decimal(rng.randrange(-3, 4)) / 1000
            break_something(stage, rng)
            engine.plan(mid)
            trade(stage, rng, mid)
            stage.node.publish(stage.node.run(stage.book.close))
            stage.link.await_ledger(stage.book.validated_index - 1, 50)
            reports = stage.venue.reports(VIEW)
            if crashes.get(n) != "unrecorded":
                engine.take(reports)
            if n in crashes:
                stage.crash()
                stage.node.refuse_connections = False
                engine.start()
        stage.node.refuse_connections = False
        with closing_ledgers(stage):
            for _ in range(3):
                engine.take(stage.venue.settle())
                engine.take(stage.venue.reports(VIEW))
        engine.take(stage.venue.settle())
        after = walk(stage)

        assert len({fill.trade_id for fill in engine.record}) == len(engine.record) > 20
        signed = [(1 if fill.side == "bid" else -1, fill) for fill in engine.record]
        assert sum(sign * fill.base for sign, fill in signed) == after[0] - before[0]
        assert -sum(sign * fill.quote for sign, fill in signed) == after[1] - before[1]
        engine.agrees_with_truth()
