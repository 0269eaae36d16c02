"""How both processes answer SIGTERM and SIGINT: in order, also twice, also before they have begun."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from subprocess import TimeoutExpired

import pytest

from shared.records import OrderEvent, SessionClosed, SessionOpened
from tests.e2e.fork_server import Forked, ForkServer
from tests.e2e.pair import (
    WAIT_S,
    Home,
    Process,
    engine,
    eventually,
    journal_records,
    journals_with_ticks,
    starting_writer,
    writer,
)
from tests.e2e.stored import compare_all, written

SIM = ("market.feed=sim", "telemetry.linger_ms=0")
STOPS = [signal.SIGTERM, signal.SIGINT]

Started = Callable[[Process], Process]


@pytest.mark.parametrize("stop", STOPS)
def test_given_a_stop_signal_when_both_run_then_orders_cancelled_session_closed_and_all_stored(
    home: Home, started: Started, stop: signal.Signals
) -> None:
    writing = started(writer(home))
    running = started(engine(home, *SIM, "market.pace_per_s=1000"))
    (journal,) = journals_with_ticks(home, running)
    eventually(lambda: any(isinstance(r, OrderEvent) for r in written(journal).records), running)
    running.popen.send_signal(stop)
    assert running.ended() == 0, running.lines
    closed = journal_records(journal)[-1]
    assert isinstance(closed, SessionClosed)
    assert (closed.end_reason, closed.orders_surviving) == (stop.name, 0)
    writing.popen.send_signal(stop)
    assert writing.ended() == 0, writing.lines
    assert not running.count("Traceback") + writing.count("Traceback")
    assert compare_all(home.database, home.journals()).exact


@pytest.mark.parametrize("stop", STOPS)
def test_given_an_engine_that_waits_for_the_socket_at_its_end_when_told_twice_then_it_leaves_at_once(
    home: Home, started: Started, stop: signal.Signals
) -> None:
    running = started(engine(home, "market.feed=sim", "market.pace_per_s=1000", "telemetry.linger_ms=60000"))
    (journal,) = journals_with_ticks(home, running)
    running.popen.send_signal(stop)
    running.wait_for("session closed")
    assert running.popen.poll() is None
    second_s = time.monotonic()
    while running.popen.poll() is None:  # a signal in the very moment before a system call is answered by the next one
        assert time.monotonic() - second_s < WAIT_S / 4
        running.popen.send_signal(stop)
        with suppress(TimeoutExpired):
            running.popen.wait(0.5)
    assert running.ended() != 0
    assert not running.count("Traceback"), running.lines
    assert isinstance(written(journal).records[-1], SessionClosed)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs many starts, and this system cannot fork")
@pytest.mark.parametrize("stop", STOPS)
def test_given_a_stop_signal_at_any_moment_of_the_start_then_no_traceback_and_no_session_is_left_open(
    home: Home, stop: signal.Signals
) -> None:
    """Before its session is opened there is nothing to cancel or close; from then on it must be."""
    log = home.directory / "engine.log"
    server = ForkServer("engine_proc")
    try:
        for moment in range(16):
            log.unlink(missing_ok=True)
            known = len(home.journals())
            process = server.spawn(log, "run", "-c", str(home.config), "--set", SIM[0], "--set", SIM[1])
            eventually(log.exists)  # it is Kedge from here on
            time.sleep((1 + moment) * 0.003)
            code = ended_by(process, stop)
            said = log.read_text()
            # The interpreter answers SIGINT by itself until Kedge does, and may do so in the middle of its own work.
            assert stop == signal.SIGINT or "Traceback" not in said, said
            assert code in (0, -stop, 128 + stop), f"{code}: {said}"
            for journal in home.journals()[known:]:
                records = written(journal).records
                assert not records or isinstance(records[0], SessionOpened)
                assert not records or isinstance(records[-1], SessionClosed), f"left open by {stop.name}: {said}"
    finally:
        server.close()


def ended_by(process: Forked, stop: signal.Signals) -> int:
    """Its exit code. Where the interpreter has swallowed a SIGINT, people press Ctrl-C again; so does this."""
    for patience_s in (WAIT_S / 6, WAIT_S / 2):
        process.send_signal(stop)
        with suppress(AssertionError):
            return process.wait(patience_s if stop == signal.SIGINT else WAIT_S)
    pytest.fail(f"not ended by {stop.name}")


def test_given_a_writer_that_is_told_to_stop_while_it_starts_then_no_traceback_and_the_next_one_stores_all(
    home: Home, started: Started
) -> None:
    assert started(engine(home, *SIM, "market.ticks_max=500")).ended() == 0
    early = started(starting_writer(home))
    eventually(lambda: home.database.exists() or early.popen.poll() is not None)
    early.popen.terminate()
    assert early.ended() in (0, -signal.SIGTERM), early.lines
    assert not early.count("Traceback")
    assert started(writer(home)).stop() == 0
    assert compare_all(home.database, home.journals()).exact
