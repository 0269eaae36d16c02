"""The proof, act by act: trade through faults, a pushed pool, crashes, a cut network, and then the reckoning."""

from __future__ import annotations

import random
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

from shared.records import FillRecord, InventoryTruth
from tests.e2e.stored import compare_all
from tests.node import judge
from tests.node.faults import Fault, schedule
from tests.node.home import PROMISE
from tests.node.nodes import Node
from tests.node.world import TRIPPED, Failure, Plan, World

CALM_LEDGERS = (2, 5)  # between the recovery from a fault and the next one
EXPIRY_LEDGERS_MAX = PROMISE.expiration_ledgers + PROMISE.last_ledger_offset + 4  # close times are rounded to 10 s
AFTERWARDS_LEDGERS = 6  # takers go on trading where our offers were


class Figures(NamedTuple):
    """What was done and found. `differences` must be empty."""

    ledgers: int
    transactions: int
    offers: int
    fills: int
    taker_fills: int
    sessions: int
    connections: int
    submits: int
    faults: dict[str, int]
    holdings_compared: int
    ledgers_to_withdraw: int
    records: int
    differences: list[str]

    def lines(self) -> list[str]:
        """The table at the end."""
        counts = {
            "ledgers": self.ledgers,
            "transactions walked": self.transactions,
            "offers of ours in the ledger": self.offers,
            "fills": self.fills,
            "of them as taker": self.taker_fills,
            "sessions of the engine": self.sessions,
            "connections that it made": self.connections,
            "submits on them": self.submits,
            "faults": sum(self.faults.values()),
            "holdings compared with the ledger": self.holdings_compared,
            "ledgers from the trip to no live offer": self.ledgers_to_withdraw,
            "records compared with their rows": self.records,
        }
        table = [f"{count:>10,}  {name}" for name, count in counts.items()]
        table += [f"{count:>14,}  {name}" for name, count in sorted(self.faults.items())]
        return [*table, f"{len(self.differences):>10,}  differences", *self.differences[:40]]


def prove(node: Node, directory: Path, plan: Plan, say: Callable[[str], None]) -> Figures:
    """All acts. Raises `Failure` where a proof cannot go on; what it finds otherwise is in the figures."""
    with World(node, directory, plan) as world:
        world.start_writer()
        world.start_engine()
        world.until(world.quotes_rest, "the first quotes on both sides")
        say(f"quoting after {world.ledgers} ledgers; {plan.ledgers} ledgers of trade and faults")
        trade_through_faults(world)
        say(f"{faults_so_far(world)}; the pool is pushed away")
        push_the_pool_away(world)
        say("the guard has tripped and no offer is left; a crash")
        crash(world)
        say("no live offer is left after the crash; another one, and the operator cancels everything")
        cancel_everything(world)
        say("no offer at all is left on the ledger; the network is cut")
        cut_network(world)
        say("no live offer is left behind the cut; the reckoning")
        if world.stop_engine() != 0:
            raise Failure(f"the last stop was not clean; {world.last_words()}")
        world.stop_writer()
        return reckon(world)


def trade_through_faults(world: World) -> None:
    """Fault after fault, each after the recovery from the one before, until the ledgers of the plan are over."""
    rng = random.Random(f"faults {world.plan.seed}")
    faults = schedule(rng, node_may_die=world.node.can_be_killed)
    while world.ledgers < world.plan.ledgers:
        suffer(world, next(faults), rng)
        for _ in range(rng.randint(*CALM_LEDGERS)):
            world.pass_ledger()


def suffer(world: World, fault: Fault, rng: random.Random) -> None:
    """One fault from its beginning to the recovery: everybody is back, and quotes of ours rest on both sides."""
    fault.strike(world, rng)
    for _ in range(rng.randint(*fault.ledgers)):
        world.pass_ledger()
    world.faults[fault.name] += fault.heal(world)
    world.until(lambda: world.all_are_back() and world.quotes_rest(), f"recovery from: {fault.name}")


def faults_so_far(world: World) -> str:
    return f"{world.ledgers} ledgers, {world.faults.total()} faults, {len(world.chronicle.moves)} trades of ours"


def push_the_pool_away(world: World) -> None:
    """Until the guard trips; then no offer of ours may be left, and none may come."""

    def tripped() -> bool:
        world.stage.push()
        return world.engine_said(TRIPPED)

    world.until(tripped, "the guard trips", 3 * world.plan.lookback + 20)
    world.until(world.nothing_rests, "every offer is gone after the trip")
    placed_by_then = len(world.chronicle.placed())
    for _ in range(AFTERWARDS_LEDGERS):
        world.pass_ledger()
    if not world.nothing_rests() or len(world.chronicle.placed()) != placed_by_then:
        raise Failure(f"the tripped engine went on trading: {world.chronicle.placed()[placed_by_then:]}")
    world.stage.let_go()
    if world.stop_engine() != 0:
        raise Failure(f"the stop after the trip was not clean; {world.last_words()}")


def crash(world: World) -> None:
    """kill -9 with quotes resting, and nobody starts the engine again until every offer has expired."""
    world.start_engine()
    world.until(world.quotes_rest, "quotes after the operator's restart")
    world.crash_engine()
    outlive(world, "the crashed engine's offers expire")
    world.start_engine()
    world.until(world.quotes_rest, "quotes after the crash")


def cancel_everything(world: World) -> None:
    """kill -9 again, and `cancel-all` with the same key while no engine runs; then the engine comes back as it was."""
    world.crash_engine()
    said = world.command("cancel-all", "--json")
    if world.chronicle.newest().offers:
        raise Failure(f"cancel-all left {world.chronicle.newest().offers}; it said {said}")
    world.start_engine()
    world.until(world.quotes_rest, "quotes after cancel-all")


def cut_network(world: World) -> None:
    """The engine runs on, but reaches nobody: its offers expire. Then the network is back, and so is it."""
    world.sluice.cut()
    outlive(world, "the offers behind the cut expire")
    if not world.engine_runs():
        raise Failure(f"the engine ended in a cut network; {world.last_words()}")
    world.sluice.mend()
    world.until(world.quotes_rest, "quotes after the cut")


def outlive(world: World, what: str) -> None:
    """All offers of ours expire in time, and takers who trade on meet none of them (`late` trades: the reckoning)."""
    world.pace_s = 0.0  # the engine is dead or cut off: nobody needs time
    world.until(world.nothing_rests, what, EXPIRY_LEDGERS_MAX)
    for _ in range(AFTERWARDS_LEDGERS):
        world.pass_ledger()
    world.pace_s = world.plan.pace_s
    if not world.nothing_rests():
        raise Failure(f"an offer came to life again: {world.live_offers()}")


def reckon(world: World) -> Figures:
    """Journals against the ledger, database against journals."""
    chronicle, recorded = world.chronicle, judge.sessions(world.home.journals())
    verdict = compare_all(world.home.database, world.home.journals(), ordered=False)
    differences = [
        *judge.wrong_fills(chronicle, recorded),
        *judge.wrong_holdings(chronicle, recorded),
        *judge.broken_promises(chronicle, PROMISE),
        *judge.wrong_modes(recorded, trips_due=1),
        *judge.unrecorded_orders(chronicle, recorded),
        *wrong_end(world, recorded),
    ]
    if not verdict.exact:
        differences.append(f"the database differs from the journals: {verdict}")
    fills = [record for session in recorded for record in session.records if isinstance(record, FillRecord)]
    return Figures(
        ledgers=len(chronicle.states),
        transactions=chronicle.transactions,
        offers=sum(sent.result == "tesSUCCESS" for sent in chronicle.placed()),
        fills=len(fills),
        taker_fills=sum(fill.liquidity == "taker" for fill in fills),
        sessions=world.sessions,
        connections=world.sluice.counts["connections"],
        submits=world.sluice.counts["submits"],
        faults=dict(+world.faults),
        holdings_compared=sum(len(session.of(InventoryTruth)) for session in recorded),
        ledgers_to_withdraw=judge.ledgers_to_withdraw(chronicle, recorded),
        records=verdict.records,
        differences=differences,
    )


def wrong_end(world: World, recorded: list[judge.Session]) -> list[str]:
    """Start + recorded fills - fees = the node's own answer, and nothing of ours rests."""
    chronicle = world.chronicle
    start, end = chronicle.states[chronicle.first_index], chronicle.newest()
    fills = [record for session in recorded for record in session.records if isinstance(record, FillRecord)]
    base, quote = judge.moved_by(fills)
    fees = Decimal(sum(sent.fee_drops for sent in chronicle.sent)) / 1_000_000
    due = (start.base + base - fees, start.quote + quote)
    asked = chronicle.ask_balances()
    wrong = [f"funds of ours moved without a trade: {moved}" for moved in chronicle.unexplained]
    if due != asked:
        wrong.append(f"start and recorded fills less fees make {due}, the node says {asked}")
    if asked != (end.base, end.quote):
        wrong.append(f"the walk ends with {(end.base, end.quote)}, the node says {asked}")
    if end.live():
        wrong.append(f"offers of ours still live at the end: {end.live()}")
    return wrong
