"""Ways in which a tripped engine could come back quoting without the operator; all of them are shut."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from engine_proc import app
from engine_proc.latch import start_state
from engine_proc.ports import VenueTruth, VenueUnreachable
from engine_proc.venue_paper import PaperVenue
from shared.codec import read_record
from shared.config import build_config
from shared.errors import FailSafeStop, JournalUnwritable, KedgeError
from shared.journal import JournalWriter, read_frames
from shared.records import BreakerEvent, FillRecord, OrderEvent, SessionClosed
from tests.engine.recorder import ONE_LEVEL, config, engine, view
from tests.engine.test_latch import FIRST, NOW_NS, SECOND, changed, closed, journal, opened, session, ticks

TAPE = Path(__file__).parents[1] / "data/node_tape_a.jsonl.gz"


def _run(directory: Path, *overrides: str) -> list:
    loaded = build_config(
        {},
        "test",
        (
            "market.feed=tape",
            f"telemetry.journal_dir={directory}/j",
            f"telemetry.endpoint=ipc://{directory}/s",
            "telemetry.linger_ms=0",
            *overrides,
        ),
    )
    try:
        app.run_session(lambda: loaded)
    except KedgeError as error:
        last = error
    else:
        last = None
    path = sorted((directory / "j").glob("*.kj"))[-1]
    return [last, [read_record(frame.payload)[1] for frame in read_frames(path)]]


def test_given_a_trip_and_then_a_feed_fault_when_the_supervisor_restarts_then_nothing_is_submitted(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Exit code 1 is `unexpected` in supervisor.conf, so supervisord restarts at once, without any operator."""
    directory = tmp_path_factory.mktemp("f")
    lines = gzip.decompress(TAPE.read_bytes()).splitlines(keepends=True)
    broken = directory / "broken.jsonl"
    broken.write_bytes(b"".join(lines[:900]) + b'{"ledger_index": "damaged"}\n' + b"".join(lines[900:905]))
    error, first = _run(directory, f"market.tape={broken}")
    assert any(isinstance(record, BreakerEvent) for record in first)
    assert error is not None
    assert error.exit_code == 1
    _, second = _run(directory, f"market.tape={broken}", "market.ticks_max=20")
    assert not [r for r in second if isinstance(r, OrderEvent) and r.event == "submitted"], "quotes again by itself"


def test_given_a_session_that_ended_by_a_fault_then_it_is_no_clean_stop(tmp_path: Path) -> None:
    journal(
        tmp_path,
        opened(),
        *ticks(),
        changed("DEGRADED"),
        closed("DEGRADED")._replace(end_reason="fault: ledger 7 asks: expected a list of offers"),
    )
    assert start_state(tmp_path, "on_clean_restart", NOW_NS).state.mode == "DEGRADED"


def test_given_surviving_orders_then_it_is_no_clean_stop(tmp_path: Path) -> None:
    """`app.end` exits 1 then, which the supervisor restarts."""
    journal(tmp_path, opened(), *ticks(), changed("DEGRADED"), closed("DEGRADED")._replace(orders_surviving=1))
    assert start_state(tmp_path, "on_clean_restart", NOW_NS).state.mode == "DEGRADED"


def test_given_a_tripped_and_crashed_session_when_a_replay_is_run_as_a_session_then_still_latched(
    tmp_path: Path,
) -> None:
    """`feed: replay` to study what happened writes its own session, closes it, and thereby re-arms the real one."""
    session(tmp_path, "DEGRADED", clean=False, uid=FIRST)
    journal(
        tmp_path,
        opened("DEGRADED")._replace(venue_mode="replay"),
        *ticks(),
        closed("DEGRADED")._replace(end_reason="feed_ended"),
        uid=SECOND,
    )
    assert start_state(tmp_path, "on_clean_restart", NOW_NS).state.mode == "DEGRADED"


def test_given_a_full_disk_when_the_guard_trips_and_the_disk_is_freed_before_the_next_start_then_latched(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The session ends 75, DEGRADED by `journal_unwritable` and by the guard; its journal knows of neither."""
    directory = tmp_path_factory.mktemp("d")
    append, room = JournalWriter.append, [20_000]

    def bounded(self: JournalWriter, *payloads: bytes) -> int:
        if self.position + sum(map(len, payloads)) > room[0]:
            raise JournalUnwritable(f"{self.path}: cannot append to the journal: No space left on device")
        return append(self, *payloads)

    monkeypatch.setattr(JournalWriter, "append", bounded)
    drag = (
        "market.feed=sim",
        "market.seed=4",
        "market.ticks_max=120",
        "market.sim.scenario=[{kind: drag, ticks: 400}]",
    )
    error, _ = _run(directory, *drag)
    assert error is not None
    assert error.exit_code == 75
    room[0] = 10**9  # logrotate ran; then a kill, a reboot or `supervisorctl start`
    assert start_state(directory / "j", "on_clean_restart", NOW_NS).state.mode == "DEGRADED"


def _loaded(directory: Path):
    return build_config(
        {},
        "test",
        (
            "market.ticks_max=30",
            f"telemetry.journal_dir={directory}/j",
            f"telemetry.endpoint=ipc://{directory}/s",
            "telemetry.linger_ms=0",
        ),
    )


def broken(self: object) -> None:
    raise AssertionError("a bug in the venue")


def test_given_a_bug_while_closing_then_halt_and_75(tmp_path_factory, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = tmp_path_factory.mktemp("b")
    monkeypatch.setattr(PaperVenue, "settle", broken)
    with pytest.raises(FailSafeStop):
        app.run_session(lambda: _loaded(directory))
    assert start_state(directory / "j", "on_clean_restart", 1).state.mode == "HALT"


def test_given_a_bug_in_a_tick_and_another_while_withdrawing_then_still_75(tmp_path_factory, monkeypatch) -> None:
    directory = tmp_path_factory.mktemp("b")
    monkeypatch.setattr(PaperVenue, "settle", broken)
    reports, calls = PaperVenue.reports, []

    def once(self, market):
        calls.append(1)
        if len(calls) > 5:
            raise AssertionError("a bug in the venue")
        return reports(self, market)

    monkeypatch.setattr(PaperVenue, "reports", once)
    with pytest.raises(FailSafeStop):
        app.run_session(lambda: _loaded(directory))


def test_given_an_order_that_takes_while_the_session_closes_then_its_fill_is_in_the_totals() -> None:
    made, records = engine(config("execution.paper.latency_ledgers=3", ONE_LEVEL))
    made.tick(view(1))
    made.tick(view(2, mid=1.29))
    made.close_session("feed_ended")
    (end,) = records.of(SessionClosed)
    assert len(records.of(FillRecord)) > 0
    assert end.fills == len(records.of(FillRecord))


def test_given_a_venue_that_does_not_answer_when_closing_then_it_is_no_clean_stop() -> None:
    """Reconciliation may have found an order there that we know nothing of; nobody can say that it is gone."""

    class Silent(PaperVenue):
        def truth(self) -> VenueTruth:
            if silent:
                raise VenueUnreachable("no route")
            return super().truth()

    silent, settings = False, config()
    quote = settings.strategy.quote
    venue = Silent(settings.execution.paper, price_quantum=quote.price_quantum, size_quantum=quote.size_quantum)
    made, records = engine(settings, venue=venue)
    made.tick(view(1))
    silent = True
    assert made.close_session("SIGTERM") == ("any (the venue does not answer)",)
    assert records.of(SessionClosed)[0].orders_surviving == 1


def test_given_a_wall_clock_that_was_set_back_when_a_session_starts_then_its_name_sorts_last(tmp_path: Path) -> None:
    journal(tmp_path, opened(), *ticks(), uid="29991231T235959999-aaaaaa")
    (tmp_path / "somebody-elses.kj").write_bytes(b"")
    uid = app.new_session_uid(tmp_path)
    assert uid.startswith("30000101T000000000-")
    journal(tmp_path, opened(), *ticks(), uid=uid)
    assert app.new_session_uid(tmp_path) > uid


def test_given_an_engine_that_runs_when_another_wants_its_journals_then_75_and_after_it_there_is_room(
    tmp_path: Path,
) -> None:
    with (
        app.sole_engine(tmp_path / "j"),
        pytest.raises(FailSafeStop, match="another engine"),
        app.sole_engine(tmp_path / "j"),
    ):
        pass
    with app.sole_engine(tmp_path / "j"):
        pass
