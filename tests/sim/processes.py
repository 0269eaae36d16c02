"""The two processes, put together as `engine_proc/app.py` and `telemetry_proc/app.py` do, on simulated devices.

Every other file of this simulation is a device, a witness or the world around them. What runs here is Kedge itself.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from engine_proc.app import end, outcome_of
from engine_proc.engine import Engine, SessionFacts
from engine_proc.latch import openings, remember_opened, start_state
from engine_proc.market import MarketView
from engine_proc.operator_word import HaltFile
from engine_proc.outbox import Outbox
from shared.clock import iso_utc
from shared.errors import JournalUnwritable, KedgeError
from shared.journal import JournalWriter, journal_path
from telemetry_proc.connection import complaints_naming, open_for_writing
from telemetry_proc.lock import sole_writer
from telemetry_proc.store import Store
from telemetry_proc.writer import Writer
from tests.sim.chance import EngineCrash, WriterCrash
from tests.sim.wire import WirePush
from tests.sim.witness import Witness

if TYPE_CHECKING:
    from tests.sim.world import World

FAULTS = {
    "engine dies while it starts": 0.02,
    "writer dies while it waits": 0.0006,
    "writer stands still": 0.0008,
}
STANDSTILL_MS_MAX = 8_000


class EngineProcess:
    """One life of the engine's process. Any call may raise `EngineCrash` or `PowerLoss`, and then it was the last."""

    def __init__(self, world: World) -> None:
        """Start a session as `run_session` does. Raises `KedgeError` where that ends with its exit code."""
        config, clock, journal_dir = world.config, world.clock, world.journal_dir
        start = start_state(journal_dir, config.strategy.rearm, clock.now_ns())
        uid = new_session_uid(journal_dir, clock.wall_ns(), len(world.sessions))
        sync_orders = world.mixture.sync_orders
        journal = JournalWriter(journal_path(journal_dir, uid), world.disk.open)
        self.syncer = Syncer(journal)
        outbox = Outbox(uid, journal, WirePush(world.wire), self.syncer, sync_orders=sync_orders)
        file = world.disk.files[journal.path]
        self.witness = Witness(uid, outbox, file, clock, world.latch, sync_orders=sync_orders)
        world.sessions.append(self.witness)
        venue = world.exchange.connect(self.witness.may_submit)
        self.engine = Engine(
            config, clock, world.exchange.feed, venue, self.witness, start.state, HaltFile(journal_dir)
        )
        facts = SessionFacts("sim", world.loaded.config_hash, world.loaded.config_json, "simulated", start.crashed_uid)

        def session() -> str:
            self.engine.open_session(facts, start.inherited)
            if world.chance.strikes("engine dies while it starts"):
                raise EngineCrash
            remember_opened(journal_dir, uid)
            return "running"

        world.note(f"session {uid} in {start.state.mode}")
        end_reason, error = outcome_of(session)
        if error is not None:
            self._end(end_reason, error)

    def tick(self, view: MarketView) -> None:
        self.engine.tick(view)

    def stop(self, end_reason: str) -> None:
        """In order. Raises `KedgeError` where the process ends with its exit code."""
        self._end(end_reason, None)

    def _end(self, end_reason: str, error: KedgeError | None) -> None:
        try:
            end(self.engine, end_reason, error)
        except KedgeError:
            self.witness.close()
            raise
        self.witness.close()
        if self.witness.fault is not None:
            raise JournalUnwritable(f"the record of this session is not whole: {self.witness.fault}")


class Syncer:
    """Answers `engine_proc.outbox.Syncer`; the world calls `round` where the real one has a thread."""

    def __init__(self, journal: JournalWriter) -> None:
        self.dirty = False
        self.error: JournalUnwritable | None = None
        self._journal = journal

    def round(self) -> None:
        if not self.dirty or self.error is not None:
            return
        self.dirty = False
        try:
            self._journal.sync()
        except JournalUnwritable as error:
            self.error = error

    def close(self) -> None:
        self.round()


def run_writer(world: World) -> None:
    """One life of the writer's process, as `telemetry_proc.app.run_writer` has it. Raises what ends it."""
    settings, clock = world.telemetry, world.clock
    database = Path(settings.database)
    world.note("writer starts")
    with ExitStack() as cleanup:
        cleanup.enter_context(sole_writer(database, "write", iso_utc(clock.wall_ns())))
        conn = cleanup.enter_context(closing(open_for_writing(database, world.database_disk.name).conn))
        with complaints_naming(database):
            Writer(Inbox(world), Store(conn, clock), settings, clock, world.stop).run()


class Inbox:
    """Answers `telemetry_proc.inbox.Inbox`: while the writer waits here, the world goes on."""

    def __init__(self, world: World) -> None:
        self._world = world

    def drain(self, batch_max: int, flush_ms: int) -> list[bytes]:
        world = self._world
        if world.chance.strikes("writer stands still"):  # SIGSTOP: the socket fills up meanwhile
            world.pass_ms(world.chance.between(1, STANDSTILL_MS_MAX))
        messages: list[bytes] = []
        deadline_ns = world.clock.monotonic_ns() + flush_ms * 1_000_000
        while True:
            messages += world.wire.arrived(batch_max - len(messages))
            if len(messages) == batch_max or world.stop.requested or world.clock.monotonic_ns() >= deadline_ns:
                return messages
            world.pass_ms(max(1, flush_ms / 4))
            if world.chance.strikes("writer dies while it waits"):
                world.database_disk.die(WriterCrash)


class Stop:
    """Answers `shared.stop.Stop`: whoever waits here lets the world go on."""

    def __init__(self, pass_ms: Callable[[float], None]) -> None:
        self.requested = False
        self._pass_ms = pass_ms

    def wait(self, timeout_ms: float) -> bool:
        if not self.requested:
            self._pass_ms(timeout_ms)
        return self.requested


def new_session_uid(journal_dir: Path, wall_ns: int, number: int) -> str:
    """As `engine_proc.app.new_session_uid`, on the simulated clock and with a number for its random digits."""
    now = datetime.fromtimestamp(wall_ns / 1e9, tz=UTC)
    for opened in openings(journal_dir):
        now = max(now, opened + timedelta(milliseconds=1))
    return f"{now:%Y%m%dT%H%M%S}{now.microsecond // 1000:03d}-{number:06x}"
