"""The world of one history: the devices, the clock, and what is due when. One thread, nothing happens by itself.

The writer waits for its socket, or for a database that takes nothing; while it waits, time passes; and as time passes
ledgers close, the engine ticks, the disk is asked to keep, the operator does something. With no writer the world lets
time pass itself. So every interleaving of the two processes is an order of calls, and the seed decides on it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from heapq import heappop, heappush
from pathlib import Path
from random import Random

from shared.config import build_config
from shared.errors import KedgeError
from shared.settings import Telemetry
from tests.sim import database_disk, disk, exchange, processes, wire
from tests.sim.chance import Chance, EngineCrash, PowerLoss
from tests.sim.clock import SimClock
from tests.sim.database_disk import DatabaseDisk
from tests.sim.deeds import Deeds
from tests.sim.disk import Disk
from tests.sim.exchange import Exchange
from tests.sim.mixture import Mixture
from tests.sim.processes import EngineProcess, Stop, Syncer
from tests.sim.wire import Wire
from tests.sim.witness import Latch, Witness

FAULTS = disk.FAULTS | database_disk.FAULTS | wire.FAULTS | exchange.FAULTS | processes.FAULTS
LEDGER_MS = 100
RESTART_MS_MAX = 2_000
NO_RESTART = (0, 75, 78)  # as in supervisor.conf


class World:
    """Everything that there is. `sessions`: the witness of each life of the engine, in order."""

    def __init__(self, seed: int, home: Path) -> None:
        self.random = Random(f"world {seed}")
        self.mixture = mixture = Mixture.of(self.random)
        self.loaded = build_config({}, "the simulation", mixture.overrides())
        self.config = self.loaded.config
        self.journal_dir = home / "journal"
        self.journal_dir.mkdir()
        self.telemetry = Telemetry(
            database=str(home / "kedge.db"),
            journal_dir=str(home / ("elsewhere" if mixture.remote else "journal")),
            batch_max=mixture.batch_max,
            flush_ms=mixture.flush_ms,
            catch_up_ms=mixture.catch_up_ms,
        )
        self.trace: list[str] = []
        self.clock = SimClock()
        self.chance = Chance(seed, FAULTS, self.note)
        self.disk = Disk(self.chance, self.clock)
        self.database_disk = DatabaseDisk("kedge-simulation", self.chance, self.clock, mixture.checkpoint_pages)
        self.wire = Wire(self.chance, self.clock, mixture.messages_max)
        self.exchange = Exchange(self.config, self.clock, self.chance, seed)
        self.stop = Stop(self.pass_ms)
        self.latch = Latch(self.note)
        self.sessions: list[Witness] = []
        self.engine: EngineProcess | None = None
        self.writer_runs = False
        self.errands: deque[Callable[[], None]] = deque()  # for which the writer must be down
        self.power_losses = 0
        self.engine_crashes = 0
        self.ledgers_left = mixture.ledgers
        self.ticks = 0
        self._agenda: list[tuple[int, int, Callable[[], None]]] = []
        self._appointments = 0
        self.deeds = Deeds(self)
        self.note(str(mixture))

    def note(self, what: str) -> None:
        """One line of the trace."""
        self.trace.append(f"{self.clock.monotonic_ns() / 1e6:9.0f} ms  {what}")

    # ------------------------------------------------------------------------------------------------ time

    def after_ms(self, ms: float, act: Callable[[], None]) -> None:
        """Something is due."""
        self._appointments += 1
        heappush(self._agenda, (self.clock.monotonic_ns() + round(ms * 1e6), self._appointments, act))

    def pass_ms(self, ms: float) -> None:
        """Let time pass, and all happen that is due in it. Raises what kills whoever waits here."""
        until_ns = self.clock.monotonic_ns() + round(ms * 1e6)
        while self._agenda and self._agenda[0][0] <= until_ns:
            due_ns, _, act = heappop(self._agenda)
            self.clock.pass_until(due_ns)
            act()
        self.clock.pass_until(until_ns)

    # ------------------------------------------------------------------------------------------------ the engine's side

    def start(self) -> None:
        self.after_ms(0, self.start_engine)
        self.after_ms(LEDGER_MS, self._ledger)

    def start_engine(self) -> None:
        """If it is not running already."""

        def start() -> None:
            self.engine = EngineProcess(self)
            self._sync_later(self.engine.syncer)

        if self.engine is None:
            self.engine_does(start)

    def stop_engine(self, end_reason: str) -> None:
        """In order. Who stops it starts it again, also if it dies on the way."""
        engine, self.engine = self.engine, None
        if engine is not None:
            self.note("engine stops")
            try:
                self.engine_does(partial(engine.stop, end_reason), restart=False)
            finally:
                self._ended(engine.witness)

    def engine_does(self, act: Callable[[], None], *, restart: bool = True) -> None:
        """Let the engine's process act, and its supervisor answer how that ends, if it ends it."""
        try:
            act()
        except EngineCrash:
            self.engine_died(restart=restart)
        except PowerLoss:
            self.database_disk.dead = PowerLoss  # the writer dies with it
            raise
        except KedgeError as error:
            self.note(f"engine exits with {error.exit_code}")
            self.engine = None
            if restart and error.exit_code not in NO_RESTART:
                self._restart_engine()

    def engine_died(self, *, restart: bool = True) -> None:
        """Without a word; what it had open is closed, what it had not sent is gone."""
        self.note("engine died")
        self.engine = None
        self.engine_crashes += 1
        self.disk.process_died()
        self.wire.lose()
        if restart:
            self._restart_engine()

    def _restart_engine(self) -> None:
        """As its supervisor does."""
        self.after_ms(self.random.randint(1, RESTART_MS_MAX), self.start_engine)

    def _ended(self, session: Witness) -> None:
        """In order, its end on record, in no HALT: the next start is the operator's, if the policy has it so."""
        if self.mixture.rearm == "on_clean_restart" and session.closed_in_order():
            self.latch.lift_by_restart()

    def _ledger(self) -> None:
        self.ledgers_left -= 1
        if self.ledgers_left == 0:
            self.stop.requested = True
            return
        self.after_ms(LEDGER_MS, self._ledger)
        view = self.exchange.next()
        if self.engine is None:
            self.exchange.go_on(view)
            return
        self.ticks += 1
        self.engine_does(lambda: self.engine.tick(view))

    def _sync_later(self, syncer: Syncer) -> None:
        def round_and_again() -> None:
            if self.engine is not None and self.engine.syncer is syncer:
                self.engine_does(syncer.round)
                self._sync_later(syncer)

        self.after_ms(self.mixture.fsync_interval_ms, round_and_again)

    # ------------------------------------------------------------------------------------------------ the machine

    def lose_power(self) -> None:
        """The machine is dead; what the disks keep of it is decided now."""
        self.note("power lost")
        self.power_losses += 1
        self.wire.database_lost()
        self.engine = None
        self.disk.process_died()
        self.disk.lose_power()
        self.database_disk.lose_power()
        self.wire.clear()
        self._restart_engine()

    def heal(self) -> None:
        """From now on every device does what it should."""
        self.chance.heal()
        self.disk.heal()
        self.database_disk.heal()
        self.exchange.heal()
