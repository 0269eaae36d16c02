"""A storm of real kill -9 over both real processes under load, and two judges who know nothing of Kedge's own code.

Engine and writer are started and killed in a loop of their own each, at moments that a seed chooses: while they start,
while records flow, at the trip, while they close. After every round the latch's judge reads the dead engine's journal:
the session began in the mode that it had to begin in, and sent nothing unless that was ACTIVE. While the writer is
dead, what it has stored must be a prefix of the journals, bit for bit; at the end it must be all of them.

    engine   start      a random moment from its start on: configuration, latch, first records
             running    when its journal has grown by a random number of bytes
             trip       right when the breaker's record stands in the journal, the mode's perhaps not yet
             closing    a random moment after SIGTERM: withdrawing, closing, draining
             and now and then half a record is put behind the last one, as a power cut may leave it
    writer   start      a random moment from its start on: lock, tables, journals
             new        the same on a database that is not there yet: creation, migration, catching up from nothing
             running    when its database has grown by a random number of records
             closing    a random moment after SIGTERM
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, NamedTuple

import apsw

from shared.codec import encode
from shared.journal import frame
from shared.records import BreakerEvent, EngineState
from tests.e2e.fork_server import Forked, ForkServer
from tests.e2e.latch_judge import LatchJudge
from tests.e2e.pair import REPO, WAIT_S, Home, command, environment
from tests.e2e.stored import Verdict, Written, assert_sound, compare, compare_all, reading, written

SPAWNED_EVERY = 5  # every so many rounds the process is spawned plainly, imports and all
SOUND_EVERY = 6  # every so many rounds SQLite checks its own file
BACKFILLED_MAX = 2  # so many of the databases that were left behind are brought up to date at the end
PEEK_S = 0.002  # how often a storm looks whether its moment has come

Kedge = Forked | subprocess.Popen[bytes]


@dataclass
class Tally:
    """What a storm did and found. `faults` must stay empty, and of `verdict` all but the records must be 0."""

    seed: int
    engine_kills: Counter[str] = field(default_factory=Counter)
    writer_kills: Counter[str] = field(default_factory=Counter)
    spawned_kills: int = 0
    torn_tails: int = 0
    sessions: int = 0
    trips: int = 0
    rearms: int = 0
    latched_starts: int = 0
    databases: int = 0
    prefixes: int = 0
    verdict: Verdict = field(default_factory=Verdict)
    wrong_rearms: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def has(self, kills: int) -> bool:
        """Has each process been killed so often?"""
        return min(self.engine_kills.total(), self.writer_kills.total()) >= kills


class Plan(NamedTuple):
    """How long a storm lasts: so many kills of each process, and no new round once `enough` says so.

    `on_round` hears of every round, in either process' thread.
    """

    kills: int
    enough: Callable[[], bool] = lambda: False
    on_round: Callable[[Tally], None] = lambda _tally: None

    def goes_on(self, tally: Tally) -> bool:
        return not (tally.has(self.kills) or self.enough() or tally.faults)


def storm(home: Home, tally: Tally, plan: Plan) -> Tally:
    """Both loops side by side until each has its kills; then everything is compared with everything.

    A Ctrl-C ends it early: no new rounds, no comparison, and what was counted so far stands in the tally.
    """
    home.config.write_text(CONFIG.format(home=home))
    given_up = threading.Event()
    plan = plan._replace(enough=lambda enough=plan.enough: given_up.is_set() or enough())
    writers = WriterStorm(home, random.Random(f"writer {tally.seed}"), tally)
    engines = EngineStorm(home, random.Random(f"engine {tally.seed}"), tally)
    threads = [threading.Thread(target=_reporting, args=(loop.rounds, plan, tally)) for loop in (engines, writers)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        given_up.set()
        for thread in threads:
            thread.join()
    if not tally.faults:
        _reporting(writers.finish, plan, tally)
    return tally


def _reporting(loop: Callable[[Plan], None], plan: Plan, tally: Tally) -> None:
    """A fault in a thread is a line of the tally; the other loop comes to its end by itself."""
    try:
        loop(plan)
    except (AssertionError, OSError, apsw.Error) as error:
        tally.faults.append(f"{type(error).__name__}: {error}")


CONFIG = """\
market: {{feed: sim, sim: {{scenario: [{{kind: calm, ticks: 60}}, {{kind: drag, ticks: 150}}]}}}}
reconcile: {{interval_ticks: 10}}
telemetry: {{database: {home.database}, journal_dir: {home.journal_dir}, endpoint: '{home.endpoint}',
  flush_ms: 10, catch_up_ms: 20, fsync_interval_ms: 5}}
"""


class Barracks:
    """Starts a module's command, mostly forked, sometimes plainly spawned, and buries it whatever happens."""

    def __init__(self, home: Home, module: str, tally: Tally) -> None:
        self.home = home
        self.tally = tally
        self.module = module
        self.log = home.directory / f"{module}.log"
        self.started = 0

    @contextmanager
    def open(self) -> Iterator[None]:
        with closing(ForkServer(self.module)) as self._server:
            yield

    @contextmanager
    def start(self, *arguments: str) -> Iterator[Kedge]:
        self.started += 1
        self.log.write_bytes(b"")
        process = self._plainly(*arguments) if self.is_plain() else self._server.spawn(self.log, *arguments)
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                process.wait(WAIT_S)

    def is_plain(self) -> bool:
        return self.started % SPAWNED_EVERY == 0

    def _plainly(self, *arguments: str) -> Kedge:
        with self.log.open("ab") as said:
            return subprocess.Popen(
                [sys.executable, "-m", self.module, *arguments],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said, cwd=REPO, env=environment(),
                start_new_session=True,
            )  # fmt: skip

    def kill(self, process: Kedge, phase: str, kills: Counter[str]) -> None:
        """kill -9, counted if it met a living process. An end of its own must have been one that was asked for."""
        process.send_signal(signal.SIGKILL)
        code = process.wait(WAIT_S)
        if code == -signal.SIGKILL:
            kills[phase] += 1
            self.tally.spawned_kills += self.is_plain()
        else:
            asked = {0, -signal.SIGTERM} if phase == "closing" else set()
            assert code in asked, f"{self.module} ended by itself with {code} ({phase}): {self.said()}"
        assert "Traceback" not in self.said(), self.said()

    def said(self) -> str:
        return self.log.read_text(errors="replace")


def until(happened: Callable[[], bool], process: Kedge) -> None:
    """Look again and again until something has happened or the process has ended."""
    deadline_s = time.monotonic() + WAIT_S
    while not happened() and process.poll() is None:
        assert time.monotonic() < deadline_s, f"not happened in {WAIT_S} s"
        time.sleep(PEEK_S)


class EngineStorm:
    """The engine's half: start, kill, let the latch's judge read the journal, now and then re-arm."""

    PHASES: ClassVar = {"start": 3, "running": 4, "trip": 2, "closing": 3}  # with their weights

    def __init__(self, home: Home, rng: random.Random, tally: Tally) -> None:
        self.home = home
        self.rng = rng
        self.tally = tally
        self.judge = LatchJudge()
        self.barracks = Barracks(home, "engine_proc", tally)
        self.start_s = {True: 0.6, False: 0.05}  # from spawn to the first record, plainly and forked: measured as we go

    def rounds(self, plan: Plan) -> None:
        with self.barracks.open():
            while plan.goes_on(self.tally):
                self.one()
                plan.on_round(self.tally)

    def one(self) -> None:
        rng, before = self.rng, self.home.journals()
        (phase,) = rng.choices(list(self.PHASES), list(self.PHASES.values()))
        with self.barracks.start("run", "-c", str(self.home.config), *self.settings()) as process:
            getattr(self, phase)(process, before)
            self.barracks.kill(process, phase, self.tally.engine_kills)
        for journal in self.home.journals()[len(before) :]:
            said = written(journal)
            self.tally.sessions += bool(said.records)
            self.tally.trips += any(type(record) is BreakerEvent for record in said.records)
            self.tally.wrong_rearms += self.judge.complaints(said)
            if rng.random() < 0.2:
                self.tally.torn_tails += tear(journal, said, rng)
        self.tally.latched_starts = self.judge.latched_starts
        if self.judge.required != "ACTIVE" and rng.random() < 0.35:
            self.rearm()

    def settings(self) -> list[str]:
        chosen = (
            f"market.seed={self.rng.randrange(10**6)}",
            f"market.pace_per_s={self.rng.choice((0, 1_500, 4_000))}",
            f"telemetry.outbox_max={self.rng.choice((50, 100_000))}",  # a socket that refuses much, or nothing
            f"telemetry.linger_ms={self.rng.choice((0, 40))}",
            f"strategy.rearm={self.rng.choice(('on_clean_restart', 'explicit'))}",
        )
        return [part for setting in chosen for part in ("--set", setting)]

    def start(self, process: Kedge, before: list[Path]) -> None:
        time.sleep(self.rng.uniform(0, 1.2 * self.start_s[self.barracks.is_plain()]))

    def running(self, process: Kedge, before: list[Path]) -> None:
        started_s = time.monotonic()
        until(lambda: self.grown(before) > 0, process)
        self.start_s[self.barracks.is_plain()] = time.monotonic() - started_s
        bytes_more = int(200_000 * self.rng.random() ** 2)
        until(lambda: self.grown(before) > bytes_more, process)

    def trip(self, process: Kedge, before: list[Path]) -> None:
        until(lambda: self.grown(before) > 0, process)
        until(lambda: b"breaker_event" in self.home.journals()[-1].read_bytes(), process)

    def closing(self, process: Kedge, before: list[Path]) -> None:
        self.running(process, before)
        process.send_signal(signal.SIGTERM)
        time.sleep(self.rng.uniform(0, 0.05))

    def grown(self, before: list[Path]) -> int:
        now = self.home.journals()
        return now[-1].stat().st_size - 8 if len(now) > len(before) else 0

    def rearm(self) -> None:
        word = ("rearm", "-c", str(self.home.config), "--reason", "the storm's operator")
        with self.barracks.start(*word) as process:
            assert process.wait(WAIT_S) == 0, self.barracks.said()
        self.judge.rearmed()
        self.tally.rearms += 1


def tear(journal: Path, said: Written, rng: random.Random) -> bool:
    """Half of the record that would have come next, where the last whole one ends."""
    if not said.records or said.torn_bytes:
        return False
    lost = frame(encode(said.session_uid, len(said.records), EngineState(0, "never.whole", "1")))
    with journal.open("ab") as file:
        file.write(lost[: rng.randrange(1, len(lost))])
    return True


class WriterStorm:
    """The writer's half: start, kill, and while it is dead compare what it stored."""

    PHASES: ClassVar = {"start": 3, "new": 3, "running": 4, "closing": 3}  # with their weights

    def __init__(self, home: Home, rng: random.Random, tally: Tally) -> None:
        self.home = home
        self.rng = rng
        self.tally = tally
        self.databases = [home.database]
        self.barracks = Barracks(home, "telemetry_proc", tally)
        self.goes_on: Callable[[], bool] = lambda: True
        self.exact: set[str] = set()  # sessions of the present database that were compared whole

    def rounds(self, plan: Plan) -> None:
        with self.barracks.open():
            self.goes_on = lambda: plan.goes_on(self.tally)
            while self.goes_on():
                self.one()
                plan.on_round(self.tally)

    def one(self) -> None:
        (phase,) = self.rng.choices(list(self.PHASES), list(self.PHASES.values()))
        if phase == "new":
            self.databases.append(self.home.directory / f"k{len(self.databases)}.db")
            self.exact.clear()
        with self.barracks.start("write", "-c", str(self.home.config), "--db", str(self.databases[-1])) as process:
            getattr(self, phase)(process)
            self.barracks.kill(process, phase, self.tally.writer_kills)
        self.look()

    def start(self, process: Kedge) -> None:
        time.sleep(self.rng.uniform(0, 0.6 if self.barracks.is_plain() else 0.08))

    new = start

    def running(self, process: Kedge) -> None:
        before, more = self.stored(), int(2_000 * self.rng.random() ** 2)
        until(lambda: self.stored() > before + more or not self.goes_on(), process)

    def closing(self, process: Kedge) -> None:
        until(lambda: "listening" in self.barracks.said(), process)
        self.start(process)
        process.send_signal(signal.SIGTERM)
        time.sleep(self.rng.uniform(0, 0.03))

    def stored(self) -> int:
        """Records in the present database; 0 while it is still being made, or was killed while it was."""
        try:
            with reading(self.databases[-1]) as conn:
                return next(conn.execute("SELECT ifnull(sum(next_seq), 0) FROM telemetry_offsets"))[0]
        except (apsw.CantOpenError, apsw.SQLError, apsw.ReadOnlyError):  # the last: half made, for a writer to undo
            return 0

    def look(self) -> None:
        """The writer is dead, the engine perhaps not: what is stored is a prefix of every journal."""
        if self.stored() == 0:
            return
        with reading(self.databases[-1]) as conn:
            for journal in self.home.journals():
                if journal.stem in self.exact:
                    continue
                said = written(journal)
                verdict = compare(conn, said, whole=False)
                assert verdict.exact, f"{self.databases[-1]}, {journal.name}: {verdict}"
                self.tally.prefixes += 1
                if verdict.records == len(said.records) and journal != self.home.journals()[-1]:
                    self.exact.add(journal.stem)
            if self.barracks.started % SOUND_EVERY == 0:
                assert_sound(conn)

    def finish(self, plan: Plan) -> None:
        """A last writer in peace for the present database, `backfill` for some of those that were left behind."""
        journals = self.home.journals()
        with ExitStack() as cleanup:
            cleanup.enter_context(self.barracks.open())
            process = cleanup.enter_context(
                self.barracks.start("write", "-c", str(self.home.config), "--db", str(self.databases[-1]))
            )
            until(lambda: "listening" in self.barracks.said(), process)
            process.send_signal(signal.SIGTERM)
            assert process.wait(WAIT_S) == 0, self.barracks.said()
        left_behind = self.databases[:-1]
        chosen = self.rng.sample(left_behind, min(len(left_behind), BACKFILLED_MAX))
        for database in chosen:
            done = command("telemetry_proc", "backfill", "--db", str(database), str(self.home.journal_dir))
            assert done.returncode == 0, done.stderr
        for database in (*chosen, self.databases[-1]):
            self.tally.verdict = self.tally.verdict.plus(compare_all(database, journals))
        self.tally.databases = len(self.databases)
