"""One seed, one history: the pair lives through everything at once, then all is healed, and nothing may be missing."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import ExitStack, chdir
from functools import partial
from pathlib import Path
from traceback import extract_tb
from typing import NamedTuple
from unittest.mock import patch

import apsw

from shared.codec import decode
from shared.errors import DatabaseUnusable, KedgeError
from telemetry_proc.connection import open_for_writing
from tests.sim import invariants
from tests.sim.chance import Crash, PowerLoss, WriterCrash
from tests.sim.processes import run_writer
from tests.sim.world import World

MEMORY_DISK = Path("/dev/shm")
DOWN_MS_MAX = 3_000


class Stats(NamedTuple):
    """One history in numbers. `rearms` are the operator's; of others there are none, or there is no history."""

    ticks: int
    records: int
    sessions: int
    engine_crashes: int
    writer_crashes: int
    power_losses: int
    faults: dict[str, int]
    trips: int
    rearms: int
    records_compared: int


class History(NamedTuple):
    """A history that was lived through: its numbers, its trace, and a digest of trace and journals."""

    stats: Stats
    trace: list[str]
    digest: str


def run_history(seed: int) -> Stats:
    """Live through one history. Raises `AssertionError`, with the seed in it, if an invariant does not hold."""
    return live(seed).stats


def live(seed: int, on_world: Callable[[World], None] = lambda _: None) -> History:
    """The same, told in full. `on_world` is shown the world before it begins."""
    base = MEMORY_DISK if MEMORY_DISK.is_dir() and os.access(MEMORY_DISK, os.W_OK) else None
    home = Path(tempfile.mkdtemp(prefix="kedge-sim-", dir=base))
    try:
        with ExitStack() as around:
            around.enter_context(chdir(home))  # paths in records must not tell where the history was lived
            world = World(seed, Path())
            around.callback(world.database_disk.close)
            around.callback(world.disk.process_died)
            around.enter_context(world.disk.hears_of_syncs())
            opening = partial(open_for_writing, vfs=world.database_disk.name)
            around.enter_context(patch("telemetry_proc.backfill.open_for_writing", opening))
            on_world(world)
            return _live(world)
    except Exception as error:
        raise AssertionError(f"seed {seed}: {error}\nrepeat it: python -m tests.sim {seed}") from error
    finally:
        shutil.rmtree(home)


def _live(world: World) -> History:
    world.start()
    writer_crashes = 0
    while world.ledgers_left > 0:
        writer_crashes += _life(world, partial(_writer_runs, world))
        while world.errands:
            writer_crashes += _life(world, world.errands.popleft())
        world.stop.requested = False
        writer_crashes += _life(world, partial(world.pass_ms, world.random.randint(1, DOWN_MS_MAX)))
    _end_well(world)
    compared = invariants.check(world)
    return _told(world, writer_crashes, compared)


def _life(world: World, act: Callable[[], None]) -> int:
    """Let the writer, or somebody in its place, act until that ends; 1 if it ended in a crash."""
    try:
        act()
    except (Crash, DatabaseUnusable, apsw.Error) as error:
        _raise_what_hides_behind(error)
        if isinstance(error, PowerLoss):
            world.lose_power()
        elif isinstance(error, WriterCrash):
            world.note("writer died")
            world.wire.lose()
            return 1
        elif isinstance(error, DatabaseUnusable):
            world.note(f"writer exits with {error.exit_code}: {str(error).replace(str(Path.cwd()), '')}")
        elif _on_closing(error):
            world.note("the log stays behind")
        else:
            raise
    finally:
        world.database_disk.dead = None
    return 0


def _raise_what_hides_behind(error: BaseException) -> None:
    """A broken promise ends the history, also if the writer dies while it is on its way up."""
    behind: list[BaseException] = [error]
    while (one := behind[-1].__context__) is not None and one not in behind:
        behind.append(one)
    for one in behind:
        if not isinstance(one, Crash | KedgeError | apsw.Error):
            raise one


def _on_closing(error: apsw.Error) -> bool:
    """SQLite says nothing of a last checkpoint that fails; a file system written in Python cannot keep quiet."""
    return any(frame.name == "Connection.close" for frame in extract_tb(error.__traceback__))


def _writer_runs(world: World) -> None:
    strangers_before = world.wire.strangers_arrived
    world.writer_runs = True
    try:
        run_writer(world)
        world.wire.stored_since(strangers_before)
    finally:
        world.writer_runs = False


def _end_well(world: World) -> None:
    """The devices are mended, the engine ends one way or the other, the writer has one more life."""
    world.note("healed")
    world.heal()
    if world.random.random() < 0.6:
        world.stop_engine("SIGTERM")
    else:
        world.disk.process_died()
    world.stop.requested = True
    _writer_runs(world)
    if world.mixture.remote or world.random.random() < 0.3:
        world.deeds._backfill()


def _told(world: World, writer_crashes: int, compared: int) -> History:
    digest = hashlib.sha256("\n".join(world.trace).encode())
    for file in world.disk.files.values():
        digest.update(file.content)
    kinds = [decode(payload).kind for session in world.sessions for payload in session.emitted]
    stats = Stats(
        ticks=kinds.count("tick"),
        records=len(kinds),
        sessions=len(world.sessions),
        engine_crashes=world.engine_crashes,
        writer_crashes=writer_crashes,
        power_losses=world.power_losses,
        faults=dict(world.chance.struck),
        trips=kinds.count("breaker_event"),
        rearms=world.deeds.rearms,
        records_compared=compared,
    )
    return History(stats, world.trace, digest.hexdigest())
