"""Chance, and the ways to die. What goes wrong in a history goes wrong here first, by a name that is counted.

A history does not suffer from everything at once: each fault is left out of about every third history and is rare,
usual or frequent in the others. Faults that hide each other at one mixture meet at another.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from random import Random

FREQUENCIES = (0.0, 0.0, 0.3, 1.0, 1.0, 3.0)


class Crash(BaseException):
    """A process dies on the spot. No code of Kedge may catch it, as none can catch a kill -9."""


class EngineCrash(Crash):
    """The engine's process dies; what it wrote is in the files, what it held in memory is gone."""


class WriterCrash(Crash):
    """The writer's process dies."""


class PowerLoss(Crash):
    """The machine dies: both processes, and of every file what nobody had asked the disk to keep."""


class Chance:
    """One history's dice. `rates`: how likely each fault is at each opportunity, before this history's own mixture."""

    def __init__(self, seed: int, rates: Mapping[str, float], note: Callable[[str], None]) -> None:
        self._random = Random(f"chance {seed}")
        self._rates = {fault: rate * self._random.choice(FREQUENCIES) for fault, rate in rates.items()}
        self._usual = rates
        self._note = note
        self.struck: Counter[str] = Counter()
        self.choice = self._random.choice
        self.between = self._random.randint
        self.bytes = self._random.randbytes
        self.share = self._random.random

    def make_frequent(self, fault: str) -> None:
        """More than any history would have it by itself."""
        self._rates[fault] = 10 * self._usual[fault]

    def strikes(self, fault: str) -> bool:
        """Does this fault happen now?"""
        if self._random.random() >= self._rates[fault]:
            return False
        self.happened(fault)
        return True

    def happened(self, fault: str) -> None:
        """Count a fault and put it into the trace."""
        self.struck[fault] += 1
        self._note(f"! {fault}")

    def heal(self) -> None:
        """From now on nothing goes wrong."""
        self._rates = dict.fromkeys(self._rates, 0.0)
