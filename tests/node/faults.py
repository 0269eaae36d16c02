"""What goes wrong during the proof, each fault with the moment it is tied to. A seed chooses the order.

node killed       kill -9 of the node while a submit is on its way to it, in it, or just answered
engine killed     kill -9 of the engine at the same three moments, and at any moment at all
both killed       the two of them at once
reset             the connection is reset at the same three moments
answer lost       the submit is applied, its answer never comes, the connection stays
cut               nobody gets through to the node for some ledgers
silence           nothing passes on the connection, which stays open
writer killed     kill -9 of the telemetry writer
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

from tests.node.sluice import Moment, Sluice

MOMENTS: tuple[Moment, ...] = ("request", "flight", "answer")
SUBMITS_MAX = 4  # a fault tied to a submit takes one of the next so many


class Victims(Protocol):
    """What a fault may reach."""

    sluice: Sluice

    def kill_node(self) -> None: ...

    def kill_engine(self) -> None: ...

    def kill_writer(self) -> None: ...


class Fault(NamedTuple):
    """`strike` begins it, `heal` ends it `ledgers` later and says whether it happened; who was killed comes back."""

    name: str
    strike: Callable[[Victims, random.Random], None]
    heal: Callable[[Victims], bool]
    ledgers: tuple[int, int]


def _over(_victims: Victims) -> bool:
    """It was over at once."""
    return True


def _disarm(victims: Victims) -> bool:
    """A trap that no submit walked into was no fault."""
    return victims.sluice.disarm()


def _mend(victims: Victims) -> bool:
    victims.sluice.mend()
    return True


def _thaw(victims: Victims) -> bool:
    victims.sluice.thaw()
    return True


def _at_submit(moment: Moment, name: str, action: Callable[[Victims], object]) -> Fault:
    def strike(victims: Victims, rng: random.Random) -> None:
        victims.sluice.set_trap(moment, rng.randint(1, SUBMITS_MAX), lambda: action(victims))

    return Fault(f"{name}, {moment}", strike, _disarm, (4, 6))


def _both(victims: Victims) -> None:
    victims.kill_node()
    victims.kill_engine()


def _catalogue() -> Iterator[Fault]:
    for moment in MOMENTS:
        yield _at_submit(moment, "node killed", lambda victims: victims.kill_node())
        yield _at_submit(moment, "engine killed", lambda victims: victims.kill_engine())
        yield _at_submit(moment, "reset", lambda victims: victims.sluice.drop())
    yield _at_submit("answer", "answer lost", lambda _victims: None)
    yield _at_submit("flight", "both killed", _both)
    yield Fault("engine killed, any moment", lambda victims, _rng: victims.kill_engine(), _over, (1, 3))
    yield Fault("cut", lambda victims, _rng: victims.sluice.cut(), _mend, (1, 5))
    yield Fault("silence", lambda victims, _rng: victims.sluice.freeze(), _thaw, (2, 9))
    yield Fault("writer killed", lambda victims, _rng: victims.kill_writer(), _over, (1, 3))


CATALOGUE = tuple(_catalogue())


def schedule(rng: random.Random, *, node_may_die: bool) -> Iterator[Fault]:
    """Every fault in turn, shuffled anew in every round, for ever."""
    possible = [fault for fault in CATALOGUE if node_may_die or fault.name.partition(" ")[0] not in {"node", "both"}]
    while True:
        yield from rng.sample(possible, len(possible))
