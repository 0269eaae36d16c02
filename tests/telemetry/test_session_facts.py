"""What stands around the ticks of a session, whatever an engine, an older one or a hand left there."""

from __future__ import annotations

import json

import pytest

from shared.config import build_config
from telemetry_proc.guard_record import GUARD
from telemetry_proc.reading import reading
from telemetry_proc.report import build_report
from telemetry_proc.report_text import PAGE_COLUMNS, report_lines
from telemetry_proc.series import series_of
from telemetry_proc.session_facts import (
    GUARD_TRIPPED,
    ModeChange,
    cancel_latency_ticks,
    read_mode_changes,
    read_trips,
    session_head,
    stopped_tick,
    ticks_of,
)
from telemetry_proc.sessions import Session, pick
from telemetry_proc.wording import as_json
from tests.telemetry.recorded_columns import columns_of, recorded, without
from tests.telemetry.recorded_session import insert, opened, store_session


def change(tick, to_mode, reason="operator", from_mode="ACTIVE"):
    return ModeChange(tick, None, from_mode, to_mode, "signal", reason)


@pytest.mark.parametrize(
    ("initial", "history", "tick"),
    [
        ("ACTIVE", (), None),
        (None, (), None),
        ("DEGRADED", (), 0),
        ("HALT", (change(5, "ACTIVE"),), 0),
        ("ACTIVE", (change(9, "DEGRADED", GUARD_TRIPPED),), None),
        ("ACTIVE", (change(9, "DEGRADED", GUARD_TRIPPED), change(12, "HALT")), 12),
        ("ACTIVE", (change(7, "DEGRADED", "reconciler"),), 7),
        ("ACTIVE", (change(None, "HALT"),), 0),
    ],
)
def test_given_modes_when_asked_what_else_ended_the_quoting_then_the_guard_does_not_count(initial, history, tick):
    assert stopped_tick(initial, history) == tick


@pytest.mark.parametrize(
    ("config_json", "ticks"),
    [
        (build_config({}, "test").config_json, 1),
        (build_config({"execution": {"paper": {"latency_ledgers": 3}}}, "test").config_json, 3),
        (json.dumps({"execution": {"venue": "xrpl", "paper": {"latency_ledgers": 3}}}), 0),
        (json.dumps({"execution": {"venue": "paper", "paper": {}}}), 0),
        (json.dumps({"execution": {"venue": "paper", "paper": {"latency_ledgers": True}}}), 0),
        (json.dumps({"execution": {"venue": "paper", "paper": {"latency_ledgers": -1}}}), 0),
        (json.dumps([]), 0),
        ("[" * 100_000, 0),
        ("not json", 0),
        (None, 0),
    ],
)
def test_given_a_recorded_configuration_when_asked_for_the_latency_of_a_cancel_then_the_paper_venue_s(
    config_json, ticks
):
    assert cancel_latency_ticks(config_json) == ticks


def test_given_a_session_that_never_closed_when_headed_then_its_last_mode_is_where_it_ended():
    history = (change(3, "DEGRADED"), change(9, "HALT"))

    assert session_head(Session(1, initial_mode="ACTIVE"), history).final_mode == "HALT"
    assert session_head(Session(1, initial_mode="ACTIVE"), ()).final_mode == "ACTIVE"
    assert session_head(Session(1, initial_mode="ACTIVE", final_mode="DEGRADED"), history).final_mode == "DEGRADED"
    assert session_head(Session(1), ()).final_mode is None


def test_given_ticks_when_counted_then_missing_ones_and_the_market_s_time_are_told():
    found = ticks_of(series_of(without(recorded([1.0] * 5)[0], (1, 3))).facts)
    assert (found.recorded, found.first, found.last, found.missing, found.duration_s) == (3, 2, 5, 2, 12.0)
    assert found.market_time_from == "1970-01-01T00:00:08.000Z"

    none = ticks_of(series_of(columns_of([])).facts)
    assert none == (0, None, None, 0, None, None)


@pytest.mark.parametrize(
    ("context", "tick"),
    [
        ('{"tick": 7, "mean_error_bps": NaN, "window_sample_tail": [1.0, Infinity, "x", true, 1e30]}', 7),
        ('{"tick": 7.0}', None),
        ('{"tick": "7"}', None),
        ("[1, 2]", None),
        ("{broken", None),
        (None, None),
        ('{"tick": 7, "mean_error_bps": {"a": [-Infinity]}, "prevalence_pct": ' + "9" * 400 + "}", 7),
    ],
)
def test_given_a_breaker_event_of_any_kind_when_read_then_no_nan_and_a_page_of_ordinary_lines(tmp_path, context, tick):
    path = tmp_path / "k.db"
    with opened(path) as conn:
        number = store_session(conn, [1.0] * 30)
        event = {"created_at": "x", "triggered_at": "x", "breaker": "odd\n\x1b[2J", "context_json": context}
        insert(conn, "circuit_breaker_events", session_id=number, **event)
    with reading(path) as conn:
        (trip,) = read_trips(conn, number)
        report = build_report(conn, pick(conn, "latest"))

    assert trip.tick == tick
    json.dumps(as_json(report), allow_nan=False)
    lines = report_lines(report)
    assert max(map(len, lines)) <= PAGE_COLUMNS
    assert all(line.isprintable() for line in lines)
    assert any("odd\\n\\x1b[2J at " in line for line in lines)


def test_given_mode_changes_when_read_then_in_the_order_they_happened(tmp_path):
    with opened(tmp_path / "k.db") as conn:
        number = store_session(conn, [8.0] * 30)
        later = {"from_mode": "DEGRADED", "to_mode": "HALT", "signal": "halt", "reason": None}
        insert(conn, "mode_transitions", session_id=number, seq=99_000, tick=28, ts_ns=1_000_000_000, **later)
    with reading(tmp_path / "k.db") as conn:
        found = read_mode_changes(conn, number)
        trips = read_trips(conn, number)

    assert [(one.tick, one.to_mode, one.reason) for one in found] == [
        (25, "DEGRADED", GUARD_TRIPPED),
        (28, "HALT", None),
    ]
    assert found[1].time == "1970-01-01T00:00:01.000Z"
    assert [(trip.breaker, trip.tick) for trip in trips] == [(GUARD, 25)]
