"""What people and machines do to a running pair from outside, at any moment, none of it announced.

engine killed, writer killed     kill -9; the supervisor starts it again up to 2 s later
power loss                       both, and what the disks make of it
engine stopped, writer stopped   in order; somebody starts it again later
re-armed                         the operator lifts the latch of a stopped engine and starts it
halted                           the kill switch
backfilled                       with the writer stopped
database deleted                 under the writer, or while it is stopped
wall clock set                   back or forth, up to a day
last journal deleted, damaged    while the engine is down
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from engine_proc import latch, operator_word
from shared.errors import JournalCorrupt, KedgeError, UsageError
from shared.journal import HEADER, SUFFIX
from telemetry_proc.backfill import backfill
from tests.sim.chance import PowerLoss, WriterCrash

if TYPE_CHECKING:
    from tests.sim.world import World

INTERVAL_MS_MAX = 4_000
DAY_NS = 86_400_000_000_000


class Deeds:
    """The hands that reach into one world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._random = world.random
        self.rearms = 0
        often, seldom = 6, 2
        self._weights: dict[Callable[[], None], int] = {
            self.kill_engine: often,
            self.kill_writer: 4,
            self.lose_power: seldom,
            self.stop_engine: often,
            self.stop_writer: seldom,
            self.rearm: 10,
            self.halt: seldom,
            self.backfill: seldom,
            self.delete_database: seldom,
            self.set_clock: seldom,
            self.delete_journal: seldom,
            self.damage_journal: seldom,
        }
        self._next()

    def _next(self) -> None:
        self._world.after_ms(self._random.randint(1, INTERVAL_MS_MAX), self._do_one)

    def _do_one(self) -> None:
        self._next()
        (deed,) = self._random.choices(list(self._weights), self._weights.values())
        deed()

    def make_frequent(self, deed: str) -> None:
        """More than in any history that is left to itself."""
        self._weights[getattr(self, deed)] = 30

    # ------------------------------------------------------------------------------------------------ kills

    def kill_engine(self) -> None:
        if self._world.engine is not None:
            self._world.chance.happened("engine killed")
            self._world.engine_died()

    def kill_writer(self) -> None:
        if self._world.writer_runs:
            self._world.chance.happened("writer killed")
            self._world.database_disk.die(WriterCrash)

    def lose_power(self) -> None:
        self._world.chance.happened("power loss")
        self._world.database_disk.die(PowerLoss)

    # ------------------------------------------------------------------------------------------------ the operator

    def stop_engine(self) -> None:
        self._world.stop_engine("SIGTERM")
        self._start_engine_later()

    def rearm(self) -> None:
        """As the handbook says: stop, look, re-arm, start."""
        world = self._world
        world.stop_engine("SIGTERM")
        with suppress(KedgeError):  # nothing to lift
            latch.rearm(world.journal_dir, "looked at it", world.clock.wall_ns())
            world.note("re-armed")
            world.latch.lift()
            self.rearms += 1
        self._start_engine_later()

    def halt(self) -> None:
        world = self._world
        world.chance.happened("halted")
        operator_word.write_halt(world.journal_dir, "looks wrong", world.clock.wall_ns())
        world.latch.halt()

    def stop_writer(self) -> None:
        if self._world.writer_runs:
            self._world.note("writer stopped")
            self._world.stop.requested = True

    def backfill(self) -> None:
        self.stop_writer()
        self._world.errands.append(self._backfill)

    def _backfill(self) -> None:
        with suppress(UsageError, JournalCorrupt):  # none there yet; one that is not readable, the others are stored
            store_journals(self._world)

    def _start_engine_later(self) -> None:
        self._world.after_ms(self._random.randint(1, INTERVAL_MS_MAX), self._world.start_engine)

    # ------------------------------------------------------------------------------------------------ accidents

    def delete_database(self) -> None:
        world = self._world
        if self._random.random() < 0.5:
            self.stop_writer()
            world.errands.append(self._delete_database)
        else:
            self._delete_database()

    def _delete_database(self) -> None:
        self._world.chance.happened("database deleted")
        self._world.wire.database_lost()
        self._world.database_disk.delete(Path(self._world.telemetry.database))

    def set_clock(self) -> None:
        self._world.chance.happened("wall clock set")
        self._world.clock.wall_ahead_ns = self._random.randint(-DAY_NS, DAY_NS)

    def delete_journal(self) -> None:
        path = self._last_journal()
        if path is not None:
            self._world.chance.happened("last journal deleted")
            self._world.disk.files[path].damaged = True
            self._forget_halt()
            path.unlink()

    def damage_journal(self) -> None:
        """One byte in the middle, as a dying disk would."""
        path = self._last_journal()
        if path is not None:
            self._world.chance.happened("last journal damaged")
            file = self._world.disk.files[path]
            file.damaged = True
            self._forget_halt()
            content = bytearray(path.read_bytes())
            if len(content) > len(HEADER):
                content[self._random.randrange(len(HEADER), len(content))] ^= 1 << self._random.randrange(8)
                path.write_bytes(content)

    def _forget_halt(self) -> None:
        """A journal that is lost takes with it that it was a halt, unless the switch is still pulled."""
        if not (self._world.journal_dir / operator_word.HALT_FILE).exists():
            self._world.latch.forget_halt()

    def _last_journal(self) -> Path | None:
        if self._world.engine is not None:
            return None
        return max(self._world.journal_dir.glob(f"*{SUFFIX}"), default=None)


def store_journals(world: World) -> None:
    """`kedge-telemetry backfill` with all journals there are."""
    stored = sum(done.stored for done in backfill(Path(world.telemetry.database), [world.journal_dir], world.clock))
    world.note(f"backfilled {stored} records")
