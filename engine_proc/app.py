"""Composition: a session from its configuration to its end. `edges.py` chooses the market side, this file the rest."""

from __future__ import annotations

import json
import logging
import os
import secrets
import select
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from types import FrameType

from filelock import FileLock, Timeout

from engine_proc import edges
from engine_proc.engine import Engine, SessionFacts
from engine_proc.feed_replay import ReplayFeed
from engine_proc.latch import FAULT, Start, engine_runs, last_session, openings, remember_opened, start_state
from engine_proc.market import MarketView
from engine_proc.modes import ModeState
from engine_proc.operator_word import HALT_FILE, HaltFile, write_halt
from engine_proc.outbox import Outbox, SyncThread
from engine_proc.ports import Feed
from engine_proc.push_socket import PushSocket, prepare_socket_directory
from engine_proc.replay import Comparison, QuotePair
from engine_proc.venue_replay import ReplayVenue
from shared.clock import MarketClock, SystemClock
from shared.config import LoadedConfig, build_config
from shared.curve import engine_keys
from shared.errors import ConfigError, FailSafeStop, JournalUnwritable, KedgeError
from shared.journal import ENGINE_LOCK, JournalWriter, journal_path
from shared.private_directory import check_private, make_private
from shared.settings import Config
from shared.stop import Stop, on_stop_signals

log = logging.getLogger(__name__)

LOCK_WAIT_S = 1.0  # a command may hold it for a moment
HALT_LOOK_MS = 20
PUSH_BURST_MS = 5  # a tick of a real ledger comes every 3 to 5 seconds and is never held back


def run_session(load: Callable[[], LoadedConfig], *, live: bool = False) -> None:
    """Run one session to its end: by the feed, by `ticks_max`, or by SIGTERM or SIGINT, which cancel and close.

    The configuration is loaded in here, where a signal is answered already. `live` is the operator's explicit word
    that real money may be traded, without which a live venue is refused.

    Raises `KedgeError` with the exit code that says whether a supervisor may start the engine again.
    """
    with ExitStack() as cleanup:
        stop = cleanup.enter_context(closing(Stop()))
        signals = StopSignals(stop)
        cleanup.enter_context(on_stop_signals(signals))
        loaded = load()
        config = loaded.config
        mode, clock = edges.venue_mode(config), edges.clock_of(config)
        if mode == "live" and not live:
            raise ConfigError(
                "execution.venue: xrpl trades real money, which takes --live on the command line (or KEDGE_LIVE=1)"
            )
        if live and mode != "live":
            raise ConfigError(f"execution.venue: --live (or KEDGE_LIVE=1) asks for real money, and this is {mode}")
        feed, open_venue = edges.market_side(config, clock, stop, cleanup)
        journal_dir = Path(config.telemetry.journal_dir)
        if mode == "replay":  # trades nothing: the journals' past is not its own
            start = Start(ModeState(), None)
        else:
            cleanup.enter_context(sole_engine(journal_dir))
            start = start_state(journal_dir, config.strategy.rearm, clock.now_ns())
        venue = open_venue()
        session_uid = new_session_uid(journal_dir)
        outbox = open_outbox(config, session_uid, journal_dir, sync_orders=mode == "live")
        cleanup.callback(outbox.close)
        if config.market.pace_per_s:
            feed = PacedFeed(feed, config.market.pace_per_s, stop)
        kill_switch = None if mode == "replay" else HaltFile(journal_dir)
        engine = Engine(config, clock, feed, venue, outbox, start.state, kill_switch)
        facts = SessionFacts(mode, loaded.config_hash, loaded.config_json, version("kedge"), start.crashed_uid)

        def session() -> str:
            engine.open_session(facts, start.inherited)
            if mode != "replay":
                remember_opened(journal_dir, session_uid)
            log.info(
                "session %s: %s on %s, %s; records in %s",
                session_uid, mode, config.market.feed, engine.state.mode, journal_path(journal_dir, session_uid),
            )  # fmt: skip
            signals.end(engine)
            return engine.run()

        run_to_the_end(engine, session)
    if outbox.fault is not None:
        raise JournalUnwritable(f"the record of this session is not whole: {outbox.fault}")


def run_to_the_end(engine: Engine, session: Callable[[], str]) -> None:
    """Open and run a session, and close it. A fault in Kedge itself, at whatever moment, ends in HALT and exit code 75.

    The process' one broad except.
    """
    try:
        end_reason, error = outcome_of(session)
        end(engine, end_reason, error)
    except KedgeError:
        raise
    except Exception as error:
        log.exception("a fault in Kedge itself; the engine stops and stays stopped")
        orders = "orders may still be live"
        try:
            engine.enter_halt(f"fatal_fault: {type(error).__name__}: {error}"[:500], engine.clock.now_ns())
            survivors = engine.withdraw()
            orders = f"orders that may still be live: {', '.join(survivors)}" if survivors else "no order is left"
        finally:  # whatever else fails on the way out, this is how it ends
            raise FailSafeStop(f"stopped by a fault in Kedge itself, {orders}; start again after `kedge-engine rearm`")


def outcome_of(session: Callable[[], str]) -> tuple[str, KedgeError | None]:
    """Run until the end; why it ended, and the error that ended it, if one did."""
    try:
        return session(), None
    except KedgeError as error:
        log.error("%s", error)
        return f"{FAULT}{error}"[:500], error


def end(engine: Engine, end_reason: str, error: KedgeError | None) -> None:
    """Cancel, verify, close the session; say in one line how it went. A surviving order is never "ok"."""
    survivors = engine.close_session(end_reason)
    summary = engine.summary
    log.info(
        "session closed (%s): %d ticks, %d without a mid, %d fills, %d orders, mode %s",
        end_reason, summary.ticks, summary.null_error_ticks, summary.fills, summary.orders_submitted, engine.state.mode,
    )  # fmt: skip
    if survivors:
        raise KedgeError(f"orders that may still be live: {', '.join(survivors)}") from error
    if error is not None:
        raise error


@contextmanager
def sole_engine(journal_dir: Path) -> Iterator[None]:
    """One engine a journal directory: two would each take the other's journal for their own past.

    Raises `FailSafeStop` if another process holds it, `JournalUnwritable` if the directory cannot be used and
    `ConfigError` if others may write in it.
    """
    lock = FileLock(journal_dir / ENGINE_LOCK, timeout=LOCK_WAIT_S)
    try:
        make_private(journal_dir)  # whoever may write there could re-arm the engine
        lock.acquire()
    except Timeout:
        raise FailSafeStop(f"{journal_dir}: another engine is running with this journal directory") from None
    except OSError as error:
        raise JournalUnwritable(f"{journal_dir}: cannot use the journal directory: {error.strerror}") from None
    try:
        yield
    finally:
        lock.release()


def halt(journal_dir: Path, reason: str, timeout_s: float) -> str:
    """Pull the kill switch and wait until a running engine has obeyed; what came of it, in one line.

    Raises `KedgeError` if it has not in time or if no engine can ever have run there, `JournalUnwritable` if the word
    cannot be written.
    """
    journal_dir = journal_dir.absolute()  # where the configuration has a relative path, a person must see to what
    if not journal_dir.is_dir():
        raise KedgeError(
            f"{journal_dir}: no such directory, NOTHING IS HALTED; start this where the engine was started"
        )
    clock = SystemClock()
    path = write_halt(journal_dir, reason, clock.wall_ns())
    started_ns = clock.monotonic_ns()
    with closing(Stop()) as pause:
        while path.exists():
            if not engine_runs(journal_dir):
                return f"no engine is running; the next one starts in HALT: {path}"
            if not (clock.monotonic_ns() - started_ns) / 1e9 < timeout_s:  # also if that is not a number
                raise KedgeError(f"the engine has not obeyed in {timeout_s:g} s; the halt stays and holds: {path}")
            pause.wait(HALT_LOOK_MS)
    last = last_session(journal_dir)
    if last is None or last.mode != "HALT":
        raise KedgeError(f"{path}: taken away, but no session is in HALT; see `kedge-engine check`")
    return f"session {last.session_uid} is in HALT: {last.why}"


def replay_journal(
    path: Path, loaded: LoadedConfig | None, on_tick: Callable[[QuotePair], object] | None = None
) -> tuple[Comparison, Engine]:
    """Drive the engine with a stored journal, under its own settings or others; nothing is put on record."""
    clock = MarketClock()
    with closing(ReplayFeed(path, clock)) as feed:
        config = (loaded or build_config(json.loads(feed.opened.config_json), str(path))).config
        comparison = Comparison(feed, on_tick)
        engine = Engine(config, clock, feed, ReplayVenue(feed), comparison, ModeState(feed.opened.initial_mode))
        while (market := feed.next()) is not None:
            engine.tick(market)
    return comparison, engine


def preflight(config: Config) -> tuple[str, ...]:
    """Try what a session would need, without starting one; remarks for the operator.

    Raises `ConfigError` for an input, a directory or a key that cannot be used, and `JournalUnwritable` for a journal
    that could not be kept.
    """
    if config.market.feed != "xrpl":  # whose side is looked at by `check --live`, over the network
        with closing(Stop()) as stop, ExitStack() as opened:
            _, open_venue = edges.market_side(config, edges.clock_of(config), stop, opened)
            open_venue()
    journal_dir = Path(config.telemetry.journal_dir)
    probe = JournalWriter(journal_path(journal_dir, f"preflight-{secrets.token_hex(3)}"))
    probe.close()
    probe.path.unlink()
    check_private(journal_dir)
    prepare_socket_directory(config.telemetry.endpoint)
    keys = engine_keys(config.telemetry.keys_dir)
    start = start_state(journal_dir, config.strategy.rearm, 0)
    remarks = [
        f"venue: {edges.venue_mode(config)}",
        f"journals: {journal_dir} can be written",
        f"next session: {start.state.mode}",
    ]
    if start.state.reason:
        remarks.append(start.state.reason)
    if keys is not None:
        remarks.append(f"telemetry: encrypted, our public key is {keys.own.public.decode()}")
    if (journal_dir / HALT_FILE).exists():
        remarks.append(f"next session: HALT, the kill switch is pulled ({journal_dir / HALT_FILE})")
    anchor, guard = config.strategy.anchor, config.strategy.anchor_saturation_guard
    if guard.enabled and anchor.mode in ("capped", "auto") and anchor.cap_bps < guard.bias_threshold_bps:
        remarks.append(
            f"strategy.anchor.cap_bps {anchor.cap_bps} is below the guard's bias_threshold_bps "
            f"{guard.bias_threshold_bps}: an anchor pinned at its cap cannot trip the guard"
        )
    return tuple(remarks)


def open_outbox(config: Config, session_uid: str, journal_dir: Path, *, sync_orders: bool) -> Outbox:
    """Journal and socket of a new session."""
    telemetry = config.telemetry
    keys = engine_keys(telemetry.keys_dir)
    prepare_socket_directory(telemetry.endpoint)
    push = PushSocket(
        telemetry.endpoint,
        SystemClock(),
        records_max=telemetry.outbox_max,
        linger_ms=telemetry.linger_ms,
        burst_ms=PUSH_BURST_MS,
        keys=keys,
    )
    try:
        journal = JournalWriter(journal_path(journal_dir, session_uid))
    except KedgeError:
        push.close()
        raise
    return Outbox(session_uid, journal, push, SyncThread(journal, telemetry.fsync_interval_ms), sync_orders=sync_orders)


def new_session_uid(journal_dir: Path) -> str:
    """UTC start time in milliseconds and six random hex digits: sorts by time, unique, a file name, abbreviable.

    It sorts after every session before it, also when the wall clock was set back: the newest name is the last
    session, and on that hangs which mode the next one starts in.
    """
    now = datetime.now(UTC)
    for opened in openings(journal_dir):
        now = max(now, opened + timedelta(milliseconds=1))
    return f"{now:%Y%m%dT%H%M%S}{now.microsecond // 1000:03d}-{secrets.token_hex(3)}"


class PacedFeed:
    """A feed that hands out at most `pace_per_s` views a second and ends when told to stop."""

    def __init__(self, feed: Feed, pace_per_s: float, stop: Stop) -> None:
        self._feed = feed
        self._interval_ns = round(1e9 / pace_per_s)
        self._stop = stop
        self._clock = SystemClock()
        self._due_ns = self._clock.monotonic_ns()

    def next(self) -> MarketView | None:
        """The feed's next view, when it is due; None at its end or on a stop."""
        now_ns = self._clock.monotonic_ns()
        self._due_ns = max(self._due_ns + self._interval_ns, now_ns - self._interval_ns)  # no burst after a stall
        if self._due_ns > now_ns and self._stop.wait((self._due_ns - now_ns) / 1e6):
            return None
        return self._feed.next()

    def close(self) -> None:
        """Close the feed underneath."""
        self._feed.close()


class StopSignals:
    """SIGTERM and SIGINT end the session in order, also while it is being opened; a second one ends the process."""

    def __init__(self, stop: Stop) -> None:
        self._stop = stop
        self._engine: Engine | None = None
        self._asked: str | None = None

    def end(self, engine: Engine) -> None:
        """From now on it is this engine that a signal ends; one that came before ends it at once."""
        self._engine = engine
        engine.stop_reason = self._asked

    def __call__(self, number: int, _frame: FrameType | None) -> None:
        """The handler."""
        name = signal.Signals(number).name
        if self._asked is not None:
            try:
                if select.select((), (sys.stderr,), (), 0)[1]:  # a log that nobody reads takes nothing, for ever
                    log.warning("%s again: leaving at once, orders may still be live", name)
            finally:
                os._exit(1)  # whatever hangs, a socket, a venue, a clean-up: to the next start this is a crash
        self._asked = name
        if self._engine is not None:
            self._engine.stop_reason = name
        self._stop.request()
        log.info("%s: cancelling all orders and closing the session", name)
