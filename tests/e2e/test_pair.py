"""Both real processes over a real socket into a real SQLite file: what was recorded is what is stored."""

from __future__ import annotations

import csv
import json
import shutil
import signal
import sqlite3
import subprocess

import pytest
import zmq

from shared.codec import encode
from shared.records import BreakerEvent, EngineState, OrderEvent, SessionClosed, TickRecord
from tests.e2e.pair import (
    Home,
    assert_database_equals_journal,
    command,
    engine,
    journal_records,
    query,
    writer,
)


@pytest.fixture
def recorded(home: Home, started) -> Home:
    """The whole tape through the pair, both ended in order."""
    writing = started(writer(home))
    assert started(engine(home)).ended() == 0
    assert writing.stop() == 0
    return home


def test_5_given_both_processes_when_the_tape_has_run_then_every_tick_is_stored_with_its_session(
    recorded: Home,
) -> None:
    (journal,) = recorded.journals()
    assert assert_database_equals_journal(recorded.database, journal) == 1200
    assert query(recorded.database, "SELECT count(*) FROM system_metrics WHERE session_id IS NULL") == [(0,)]
    ((nulls, errors, modes),) = query(
        recorded.database,
        "SELECT sum(anchor_error_bps IS NULL), count(anchor_error_bps), count(DISTINCT mode) FROM system_metrics",
    )
    assert (nulls, errors, modes) == (47, 1153, 2)
    # exactly one trip, in the tape's drag, and no order after it
    ((tick, context),) = query(
        recorded.database,
        "SELECT m.tick, e.context_json FROM circuit_breaker_events e JOIN mode_transitions m USING (session_id)",
    )
    assert 330 < tick <= 590
    assert json.loads(context)["tick"] == tick
    after = "SELECT count(*) FROM order_events WHERE event = 'submitted' AND tick >= ?"
    assert query(recorded.database, after, tick) == [(0,)]
    assert query(recorded.database, "SELECT status, ticks, breaker_trips FROM sessions") == [("ENDED", 1200, 1)]


def test_given_a_journal_when_backfilled_into_an_empty_database_then_all_tables_equal_the_live_path(
    recorded: Home,
) -> None:
    fresh = recorded.directory / "fresh.db"
    backfill = ("backfill", "--db", str(fresh), str(recorded.journal_dir))
    assert command("telemetry_proc", *backfill).returncode == 0
    once = {table: query(fresh, f"SELECT * FROM {table}") for table in TABLES}
    assert once == {table: query(recorded.database, f"SELECT * FROM {table}") for table in TABLES}
    # and again: idempotent
    assert command("telemetry_proc", *backfill).returncode == 0
    assert once == {table: query(fresh, f"SELECT * FROM {table}") for table in TABLES}


TABLES = (
    "sessions", "system_metrics", "circuit_breaker_events", "mode_transitions", "fills", "order_events",
    "inventory_truth_snapshots", "reconciler_anomaly_log", "engine_state", "session_state",
)  # fmt: skip


def test_given_the_replay_command_when_run_over_the_journal_then_it_reproduces_bit_for_bit(recorded: Home) -> None:
    (journal,) = recorded.journals()
    done = command("engine_proc", "replay", str(journal), "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["ticks"], result["mismatched_ticks"], result["quotes_changed_ticks"]) == (1200, 0, 0)
    assert result["recorded_trip_tick"] == result["replayed_trip_tick"] is not None


def test_given_raw_spot_as_reference_when_replayed_then_it_would_have_tripped_in_the_calm(recorded: Home) -> None:
    (journal,) = recorded.journals()
    spot = ("-c", str(recorded.config), "--set", "strategy.anchor.reference=spot")
    result = json.loads(command("engine_proc", "replay", str(journal), "--json", *spot).stdout)
    assert result["replayed_trip_tick"] < 330 < result["recorded_trip_tick"]


def test_given_other_settings_when_replayed_to_csv_then_every_tick_says_what_it_would_have_quoted(
    recorded: Home,
) -> None:
    (journal,) = recorded.journals()
    table = recorded.directory / "quotes.csv"
    wider = ("-c", str(recorded.config), "--set", "strategy.quote.half_spread_bps=12")
    assert command("engine_proc", "replay", str(journal), *wider, "--csv", str(table)).returncode == 0
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["tick"]) for row in rows] == list(range(1, 1201))
    assert float(rows[0]["replayed_bid"]) < float(rows[0]["recorded_bid"]) < float(rows[0]["recorded_ask"])
    assert (rows[-1]["recorded_bid"], rows[-1]["replayed_bid"], rows[-1]["replayed_mode"]) == ("", "", "DEGRADED")


def test_given_the_report_when_asked_for_json_then_json_tool_reads_it(recorded: Home) -> None:
    report = command("telemetry_proc", "report", "latest", "--db", str(recorded.database), "--json")
    assert report.returncode == 0, report.stderr
    assert json.loads(report.stdout)["schema_version"] >= 1


def test_given_the_same_tape_twice_then_the_records_are_identical_but_for_wall_clock_and_socket(
    home: Home, started
) -> None:
    for _ in range(2):
        assert started(engine(home, "market.ticks_max=500", "telemetry.linger_ms=0")).ended() == 0
    first, second = ([deterministic(record) for record in journal_records(path)] for path in home.journals())
    assert first == second


def deterministic(record):
    timing = {"tick_duration_us": 0.0, "outbox_unsent": 0, "wall_ns": 0}
    return record._replace(**{name: value for name, value in timing.items() if name in record._fields})


def test_given_a_running_writer_when_the_database_is_read_then_rows_appear_and_nothing_blocks(
    home: Home, started
) -> None:
    started(writer(home))
    running = started(engine(home, "market.pace_per_s=200"))
    running.wait_for("session ")
    reader = sqlite3.connect(f"file:{home.database}?mode=ro", uri=True)
    try:
        seen = 0
        while seen < 100:
            seen = reader.execute("SELECT count(*) FROM system_metrics").fetchone()[0]
        errors = reader.execute("SELECT anchor_error_bps FROM system_metrics ORDER BY tick LIMIT 5").fetchall()
        assert len(errors) == 5
    finally:
        reader.close()
    if shutil.which("sqlite3"):
        shown = subprocess.run(
            ["sqlite3", "-readonly", str(home.database), "SELECT max(tick) FROM system_metrics"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert int(shown.stdout) >= 100
    assert running.stop() == 0


def test_given_sigterm_when_the_engine_runs_then_orders_cancelled_and_session_closed(home: Home, started) -> None:
    running = started(engine(home, "market.pace_per_s=100", "telemetry.linger_ms=0"))
    running.wait_for("session ")
    (journal,) = home.journals()
    while not any(b"submitted" in chunk for chunk in (journal.read_bytes(),)):
        assert running.popen.poll() is None
    assert running.stop() == 0
    records = journal_records(journal)
    closed = records[-1]
    assert isinstance(closed, SessionClosed)
    assert (closed.end_reason, closed.orders_surviving) == ("SIGTERM", 0)
    assert any(isinstance(r, EngineState) and r.key == "anchor.pct_error_above_5bps" for r in records)


# ------------------------------------------------------------------------------------------------- what dies when


def test_given_the_writer_killed_and_started_again_then_nothing_is_lost_and_nothing_twice(home: Home, started) -> None:
    first = started(writer(home))
    running = started(engine(home, "market.pace_per_s=400"))
    while not home.database.exists() or query(home.database, "SELECT count(*) FROM system_metrics")[0][0] < 50:
        assert first.popen.poll() is None
    first.popen.kill()
    first.ended()
    second = started(writer(home))
    assert running.ended() == 0
    assert second.stop() == 0
    assert assert_database_equals_journal(home.database, home.journals()[0]) == 1200


def test_given_no_writer_at_all_when_it_starts_later_then_it_catches_up(home: Home, started) -> None:
    assert started(engine(home, "telemetry.linger_ms=0")).ended() == 0
    late = started(writer(home))
    assert late.stop() == 0
    assert assert_database_equals_journal(home.database, home.journals()[0]) == 1200


def test_given_a_tripped_engine_killed_when_started_again_then_degraded_until_the_operator_rearms(
    home: Home, started
) -> None:
    # Given a tripped engine that dies by kill -9
    running = started(engine(home, "market.pace_per_s=0", "market.ticks_max=500", "telemetry.linger_ms=0"))
    running.wait_for("DEGRADED triggered")
    running.popen.send_signal(signal.SIGKILL)
    running.ended()
    # When it is started again, twice, it comes back DEGRADED and sends nothing
    for _ in range(2):
        again = started(engine(home, "market.pace_per_s=100", "telemetry.linger_ms=0"))
        assert "DEGRADED" in again.wait_for("session ")
        path = home.journals()[-1]
        while not any(isinstance(record, TickRecord) for record in tail_safe(path)):
            assert again.popen.poll() is None
        again.popen.kill()
        again.ended()
        assert not [r for r in tail_safe(path) if isinstance(r, OrderEvent) and r.event == "submitted"]
    # And only the operator's word lets it quote
    word = command("engine_proc", "rearm", "-c", str(home.config), "--reason", "gap closed")
    assert word.returncode == 0, word.stderr
    rearmed = started(engine(home, "market.ticks_max=5", "telemetry.linger_ms=0"))
    assert "ACTIVE" in rearmed.wait_for("session ")
    assert rearmed.ended() == 0
    assert [r for r in journal_records(home.journals()[-1]) if isinstance(r, OrderEvent) and r.event == "submitted"]


def test_given_an_engine_that_runs_when_a_second_starts_or_rearm_is_asked_for_then_both_are_refused(
    home: Home, started
) -> None:
    running = started(engine(home, "market.pace_per_s=50", "telemetry.linger_ms=0"))
    running.wait_for("session ")
    second = started(engine(home, "telemetry.linger_ms=0"))
    assert second.ended() == 75
    assert any(line.startswith("error: ") and "another engine" in line for line in second.lines)
    word = command("engine_proc", "rearm", "-c", str(home.config), "--reason", "too early")
    assert (word.returncode, word.stdout) == (75, "")
    assert running.stop() == 0
    assert len(home.journals()) == 1


def tail_safe(path):
    from shared.codec import read_record
    from shared.journal import Frame, read_frames

    return [read_record(item.payload)[1] for item in read_frames(path) if isinstance(item, Frame)]


def test_given_garbage_on_the_socket_then_rejected_with_bytes_and_reason_and_records_still_stored(
    home: Home, started
) -> None:
    writing = started(writer(home))
    context = zmq.Context()
    push = context.socket(zmq.PUSH)
    try:
        push.connect(home.endpoint)
        bad = [b"", b"\xff\xfe garbage", encode("intruder", 0, BreakerEvent(1, 1, 1, "b", None, 1, "x" * 70_000))]
        for payload in bad:
            push.send(payload)
        assert started(engine(home, "market.ticks_max=50")).ended() == 0
    finally:
        push.close()
        context.term()
    assert writing.stop() == 0
    rejects = query(home.database, "SELECT payload, reason FROM telemetry_rejects ORDER BY id")
    assert {payload for payload, _ in rejects} >= {b"", b"\xff\xfe garbage"}
    assert all(reason for _, reason in rejects)
    assert any("breaker_event.context_json" in reason for _, reason in rejects)
    assert_database_equals_journal(home.database, home.journals()[0])
