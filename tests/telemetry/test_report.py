"""Page one: every number right, three different ways of not having tripped, and a mismatch said aloud."""

from __future__ import annotations

import json

import apsw
import pytest

from shared.errors import IntegrityError
from telemetry_proc import reading as reading_module
from telemetry_proc.reading import reading
from telemetry_proc.report import build_report
from telemetry_proc.report_text import report_lines
from telemetry_proc.sessions import pick
from telemetry_proc.wording import as_json
from tests.telemetry.recorded_session import calm_then_drag, insert, opened, store_session


@pytest.fixture
def path(tmp_path):
    return tmp_path / "kedge.db"


def report_of(path, session="latest"):
    with reading(path) as conn:
        return build_report(conn, pick(conn, session))


def stored(path, errors, **kwargs):
    with opened(path) as conn:
        store_session(conn, errors, **kwargs)
    return report_of(path)


def section(report, label):
    lines = report_lines(report)
    start = next(at for at, line in enumerate(lines) if line.startswith(label))
    more = next((at for at, line in enumerate(lines[start + 1 :], start + 1) if not line.startswith(" ")), len(lines))
    return " ".join(line[9:] for line in lines[start:more])


def test_given_a_trip_when_reported_then_ladder_trip_modes_and_orders_agree(path, monkeypatch):
    monkeypatch.setattr(reading_module, "PAGE_ROWS", 7)
    report = stored(path, calm_then_drag(60, 60))

    ladder = report.guard.ladder
    assert report.guard.state == "tripped"
    assert report.guard.fidelity == "ok"
    assert ladder.error.tick == 61
    assert ladder.both.tick == report.guard.recorded_trip_tick == report.trips[0].tick
    assert ladder.lag_ticks == ladder.both.tick - 61
    assert ladder.lag_s == 4.0 * ladder.lag_ticks
    assert ladder.last_condition == "mean"
    assert [(change.from_mode, change.to_mode, change.tick) for change in report.mode_history] == [
        ("ACTIVE", "DEGRADED", ladder.both.tick)
    ]
    assert report.session.final_mode == "DEGRADED"
    assert report.orders.submitted_after_trip == 0
    assert report.orders.submitted == ladder.both.tick - 1 - 4  # an order on each active tick that has a mid
    assert (report.ticks.recorded, report.ticks.missing, report.error.n) == (120, 0, 116)
    assert report.trips[0].context["window_sample_tail"]


def test_given_a_trip_when_printed_then_page_one_fits_a_screen_and_says_so(path):
    report = stored(path, calm_then_drag(400, 100))
    lines = report_lines(report)

    assert 40 <= len(lines) <= 50
    assert max(map(len, lines)) <= 100
    assert "replay OK" in lines[1]
    assert section(report, "GUARD").startswith("Tripped at tick 422 (")
    assert "; last condition met: mean." in section(report, "GUARD")
    assert "submitted after the trip: 0, as it must be" in section(report, "ORDERS")
    assert sum(line.startswith(" " * 11) for line in lines) <= 9, "few lines of an ordinary page are too long"
    assert section(report, "ANSWERS").count("NOT ENOUGH DATA") == 2, "one session recommends nothing"
    assert "optimal" not in " ".join(lines).lower()


@pytest.mark.parametrize(
    ("errors", "guard", "state", "sentence"),
    [
        ([1.0] * 30, {}, "armed", "Never tripped in 6 armed ticks; armed at the last tick."),
        ([1.0] * 24, {}, "never armed", "Not armed: the window never held 25 errors, so it could not trip."),
        ([None] * 40, {}, "never armed", "Not armed: the window never held 25 errors, so it could not trip."),
        ([], {}, "no data", "No data: the session has no ticks."),
        ([1.0] * 30, {"enabled": False}, "disabled", "Disabled, so it could not trip; both conditions were never met."),
        (
            [8.0] * 30,
            {"enabled": False},
            "disabled",
            "Disabled, so it could not trip; it would have tripped at tick 25 (",
        ),
    ],
)
def test_given_no_trip_when_reported_then_the_sentence_says_which_kind(path, errors, guard, state, sentence):
    report = stored(path, errors, guard=guard)

    assert report.guard.state == state
    assert section(report, "GUARD").startswith(sentence)
    assert report.guard.fidelity == ("ok" if errors else "no recorded guard state to compare")
    assert report.trips == ()
    assert report.orders.submitted_after_trip is None


def test_given_exact_ties_at_both_thresholds_when_reported_then_it_is_a_trip(path):
    report = stored(path, [7.0] * 10 + [4.9, 9.1] * 7 + [7.0])

    assert report.guard.ladder.both.tick == 25
    assert report.guard.ladder.both.mean_bps == 7.0
    assert report.guard.fidelity == "ok"


def test_given_only_null_errors_when_reported_then_no_number_is_made_up(path):
    report = stored(path, [None] * 30)

    assert (report.error.n, report.error.nulls.ticks, report.error.mean_bps) == (0, 30, None)
    assert report.money.mark_value_first_quote is None
    assert section(report, "ERROR").startswith("No data: no anchor error on any of 30 ticks.")
    assert "ONE_SIDED 30" in section(report, "ERROR")


def test_given_an_empty_session_when_reported_then_every_section_still_answers(path):
    lines = report_lines(stored(path, []))

    assert any("No data" in line for line in lines)
    assert lines[1] == "0 ticks  replay has nothing to compare"


@pytest.mark.parametrize(
    ("tampering", "what"),
    [
        ("UPDATE system_metrics SET guard_mean_bps = 1.0 WHERE tick = 40", "guard_mean_bps"),
        ("UPDATE system_metrics SET guard_window_n = 3 WHERE tick = 40", "guard_window_n"),
        ("UPDATE system_metrics SET anchor_error_bps = 0.25 WHERE tick = 40", "guard_mean_bps"),
        ("DELETE FROM circuit_breaker_events", "trip tick"),
    ],
)
def test_given_a_record_that_was_altered_when_reported_then_the_mismatch_is_loud(path, tampering, what):
    with opened(path) as conn:
        store_session(conn, calm_then_drag())
        conn.execute(tampering)
    report = report_of(path)

    assert report.guard.fidelity == "mismatch"
    assert report.guard.disagreement.what == what
    assert "replay MISMATCH" in report_lines(report)[1]
    assert "REPLAY MISMATCH at tick" in section(report, "GUARD")


def test_given_missing_ticks_when_reported_then_they_are_counted(path):
    with opened(path) as conn:
        store_session(conn, [1.0] * 30)
        conn.execute("DELETE FROM system_metrics WHERE tick IN (3, 7)")
    report = report_of(path)

    assert report.ticks.missing == 2
    assert "2 MISSING" in report_lines(report)[1]


def test_given_a_trip_whose_tick_is_not_stored_yet_when_reported_then_that_is_no_mismatch(path):
    with opened(path) as conn:
        store_session(conn, [8.0] * 25, status="RUNNING")
        conn.execute("DELETE FROM system_metrics WHERE tick = 25")
    report = report_of(path)

    assert report.trips[0].tick == 25
    assert report.guard.fidelity == "ok"


def test_given_an_order_after_the_trip_when_reported_then_it_must_be_0_is_said(path):
    with opened(path) as conn:
        session_id = store_session(conn, calm_then_drag())
        insert(conn, "order_events", session_id=session_id, seq=90_000, tick=110, event="submitted", side="bid")
    report = report_of(path)

    assert report.orders.submitted_after_trip == 1
    assert "submitted after the trip: 1, MUST BE 0" in section(report, "ORDERS")


def test_given_an_order_after_the_operator_re_armed_when_reported_then_it_is_legal(path):
    with opened(path) as conn:
        session_id = store_session(conn, calm_then_drag())
        rearmed = {"from_mode": "DEGRADED", "to_mode": "ACTIVE", "signal": "rearm", "reason": "operator"}
        insert(conn, "mode_transitions", session_id=session_id, seq=90_000, tick=109, **rearmed)
        insert(conn, "order_events", session_id=session_id, seq=90_001, tick=110, event="submitted", side="bid")
    assert report_of(path).orders.submitted_after_trip == 0


def test_given_fills_and_denials_when_reported_then_amounts_add_up_exactly(path):
    with opened(path) as conn:
        session_id = store_session(conn, [1.0] * 30)
        for reason, times in (("PRICE_COLLAR", 2), ("MODE_NOT_ACTIVE", 3)):
            for at in range(times):
                denied = {"event": "denied", "side": "bid", "reason": reason}
                insert(conn, "order_events", session_id=session_id, seq=80_000 + times * 10 + at, tick=9, **denied)
    report = report_of(path)

    assert report.money[:8] == ("XRP", "RLUSD", 3, 3, 0.2, 0.26, 0.1, 0.13)  # 0.1 + 0.1 in decimals
    assert (report.money.mark_value_first_quote, report.money.mark_value_last_quote) == (26_051.0, 26_080.0)
    assert report.orders.denials_on_record_by_reason == {"MODE_NOT_ACTIVE": 3, "PRICE_COLLAR": 2}
    assert "fees: not recorded" in section(report, "MONEY")


def test_given_a_report_when_as_json_then_it_is_plain_with_units_and_nulls(path):
    found = as_json(stored(path, calm_then_drag()))
    again = json.loads(json.dumps(found, allow_nan=False))

    assert again == found
    assert again["schema_version"] == 1
    assert again["guard"]["ladder"]["both"]["tick"] == again["trips"][0]["tick"]
    assert again["money"]["fees_quote"] is None
    assert {"mean_bps", "sd_bps", "pct_error_above_5bps", "zones", "nulls"} <= set(again["error"])


def test_given_a_session_without_its_config_when_reported_then_thresholds_are_not_guessed(path):
    report = stored(path, [9.0] * 30, config_json=None)

    assert report.guard.state == "tripped"
    assert report.guard.recorded_trip_tick == 25
    assert report.guard.ladder.error is None
    assert report.labels.score is None
    assert report.error.n == 30
    assert section(report, "GUARD") == "Tripped at tick 25, by the breaker's record; it could not be replayed."
    assert "Keep" not in report.answers.thresholds_right


def test_given_a_legacy_database_when_reported_then_what_it_has_is_reported(path):
    with apsw.Connection(str(path)) as old:
        old.execute("CREATE TABLE sessions (session_id INTEGER PRIMARY KEY, started_at TEXT)")
        old.execute("CREATE TABLE system_metrics (session_id INTEGER, tick INTEGER, anchor_error_bps REAL)")
        insert(old, "sessions", session_id=7)
        for tick, error in enumerate([1.0, None, 3.0], 1):
            insert(old, "system_metrics", session_id=7, tick=tick, anchor_error_bps=error)
    old.close()
    report = report_of(path)

    assert (report.error.n, report.error.mean_bps, report.ticks.duration_s) == (2, 2.0, None)
    assert report.guard.fidelity == "no recorded guard state to compare"
    assert report.error.nulls.by_market_status == {"unrecorded": 1}
    assert report_lines(report)


def test_given_legacy_rows_without_a_session_when_reported_then_they_belong_to_none(path):
    with opened(path) as conn:
        insert(conn, "system_metrics", mid=1.3)
        insert(conn, "circuit_breaker_events", created_at="x", triggered_at="x", breaker="anchor_saturation_guard")
        store_session(conn, [1.0] * 30)
    report = report_of(path)

    assert (report.ticks.recorded, report.trips, report.guard.fidelity) == (30, (), "ok")


def test_given_an_error_that_is_no_number_when_reported_then_integrity_error(path):
    with opened(path) as conn:
        store_session(conn, [1.0] * 3)
        conn.execute("UPDATE system_metrics SET anchor_error_bps = 9e999 WHERE tick = 2")
    with pytest.raises(IntegrityError, match="inf"):
        report_of(path)


def test_given_a_writer_in_the_middle_of_a_commit_when_reported_then_the_last_whole_state_is_told(path):
    with opened(path) as writer:
        session_id = store_session(writer, [1.0] * 30, status="RUNNING")
        writer.execute("BEGIN IMMEDIATE")
        insert(writer, "system_metrics", session_id=session_id, tick=31, anchor_error_bps=99.0)
        report = report_of(path)
        writer.execute("ROLLBACK")
    assert (report.session.status, report.ticks.last, report.guard.fidelity) == ("RUNNING", 30, "ok")


def test_given_any_kind_of_session_when_its_events_are_plotted_then_they_are_those_on_record(path):
    with opened(path) as conn:
        store_session(conn, calm_then_drag())
        store_session(conn, calm_then_drag(), uid="b", config_json=None)  # no thresholds, so no ladder
        store_session(conn, [None] * 40, uid="c")
    with reading(path) as conn:
        told = [build_report(conn, pick(conn, number), with_plots=True).plots for number in "123"]

    labels = [[event["label"] for event in plots["events"]] for plots in told]
    assert sorted(labels[0]) == ["first share >= 40%", "first |error| >= 7 bps", "first |mean| >= 7 bps", "trip"]
    assert labels[1:] == [["trip"], []]
