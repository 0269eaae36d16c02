"""Where the guard stood: every word there is, the right one first, and its sentence on page one."""

from __future__ import annotations

import pytest

from shared.settings import AnchorSaturationGuard
from telemetry_proc.fidelity import Disagreement, Fidelity
from telemetry_proc.guard_record import GUARD
from telemetry_proc.guard_state import guard_state
from telemetry_proc.ladder import Explanation, explain
from telemetry_proc.reading import reading
from telemetry_proc.report import build_report
from telemetry_proc.report_text import guard_sentence, report_lines
from telemetry_proc.series import SeriesFacts, series_of
from telemetry_proc.sessions import pick
from tests.telemetry.recorded_columns import SETTINGS, recorded, without
from tests.telemetry.recorded_session import calm_then_drag, insert, opened, store_session

CALM, DRAGGED = [1.0] * 12, [1.0] * 6 + [9.0] * 6
OFF = AnchorSaturationGuard(**SETTINGS.model_dump() | {"enabled": False})
MISMATCH = Fidelity("mismatch", Disagreement(3, "guard_mean_bps", 1.0, 2.0))
HIDING = Fidelity("ok", may_hide_a_breach=True, hiding=("9 missing ticks in 1 place",))
OLDER = Fidelity("not recorded", may_hide_a_breach=True, hiding=("no anchor error is on record",))


def facts_of(errors, *, missing=(), resets=()) -> SeriesFacts:
    columns, _ = recorded(errors, resets=resets)
    return series_of(without(columns, missing), SETTINGS).facts


def explained(errors) -> Explanation:
    return explain(series_of(recorded(errors)[0], SETTINGS), SETTINGS)


def tripped_at(tick) -> Fidelity:
    return Fidelity("ok", recorded_trip_tick=tick, replayed_trip_tick=tick)


@pytest.mark.parametrize(
    ("word", "settings", "errors", "fidelity", "trip_on_record"),
    [
        ("cannot be said", SETTINGS, CALM, MISMATCH, False),
        ("cannot be said", SETTINGS, DRAGGED, MISMATCH, True),
        ("tripped", SETTINGS, DRAGGED, tripped_at(9), True),
        ("tripped", None, DRAGGED, tripped_at(9), True),
        ("tripped", SETTINGS, [], tripped_at(9), True),
        ("tripped", SETTINGS, DRAGGED, tripped_at(None), True),
        ("tripped", SETTINGS, [None] * 9, OLDER._replace(recorded_trip_tick=4), True),
        ("no data", SETTINGS, [], HIDING, False),
        ("not recorded", SETTINGS, [None] * 9, OLDER, False),
        ("not recorded", None, [None] * 9, OLDER, False),
        ("thresholds not recorded", None, CALM, Fidelity("no recorded guard state to compare"), False),
        ("disabled", OFF, CALM, Fidelity("ok"), False),
        ("disabled", OFF, DRAGGED, Fidelity("ok"), False),
        ("would have tripped", SETTINGS, DRAGGED, Fidelity("no recorded guard state to compare"), False),
        ("never armed", SETTINGS, [1.0] * 3, HIDING, False),
        ("never armed", SETTINGS, [None] * 40, HIDING, False),
        ("cannot be said", SETTINGS, CALM, HIDING, False),
        ("armed", SETTINGS, CALM, Fidelity("ok"), False),
    ],
)
def test_given_a_session_when_summed_up_then_the_first_word_that_holds_is_said(
    word, settings, errors, fidelity, trip_on_record
):
    explanation = None if settings is None or fidelity.state == "mismatch" else explained(errors)

    guard = guard_state(settings, facts_of(errors), fidelity, explanation, trip_on_record=trip_on_record)

    assert guard.state == word
    assert guard.fidelity == fidelity.state
    assert guard_sentence(guard).endswith(".")
    assert ("Never tripped" in guard_sentence(guard)) == (word == "armed")


def test_given_a_window_emptied_near_the_end_when_summed_up_then_not_armed_with_what_it_held():
    facts = facts_of(CALM, resets=(11,))

    guard = guard_state(SETTINGS, facts, Fidelity("ok"), explained(CALM), trip_on_record=False)

    assert (guard.state, guard.window_n, guard.window_resets) == ("not armed", 2, 1)
    assert guard_sentence(guard) == (
        "Never tripped in 7 armed ticks; not armed at the last tick (2 errors in its window)."
    )


def test_given_ticks_missing_near_the_end_when_summed_up_then_the_last_window_is_not_known():
    facts = facts_of(CALM, missing=(10,))

    guard = guard_state(SETTINGS, facts, Fidelity("ok"), explained(CALM), trip_on_record=False)

    assert (guard.state, guard.window_n) == ("not armed", None)
    assert "None" not in guard_sentence(guard)
    assert "what its window held last is not known" in guard_sentence(guard)


@pytest.mark.parametrize(("missing", "word"), [((3, 4), "cannot be said"), ((), "never armed")])
def test_given_too_few_errors_when_missing_ticks_may_have_filled_the_window_then_never_armed_is_withheld(missing, word):
    errors = [1.0, 1.0, 1.0, 1.0, 1.0] if missing else [1.0, 1.0, 1.0]
    fidelity = Fidelity("ok", may_hide_a_breach=True, hiding=("the window never held 4 errors",))

    guard = guard_state(SETTINGS, facts_of(errors, missing=missing), fidelity, None, trip_on_record=False)

    assert guard.state == word
    assert guard.hiding == (("2 missing ticks",) if missing else fidelity.hiding)


def test_given_ticks_that_say_never_armed_when_too_few_are_missing_to_fill_the_window_then_it_stays_said():
    fidelity = Fidelity("ok", may_hide_a_breach=True, hiding=("the window never held 4 errors",))

    guard = guard_state(SETTINGS, facts_of([1.0, 1.0, 1.0], missing=(2,)), fidelity, None, trip_on_record=False)

    assert guard.state == "never armed"


@pytest.mark.parametrize(("replayed", "recorded_tick"), [(True, 9), (False, 4), (False, None)])
def test_given_a_trip_on_record_when_it_is_not_where_the_errors_put_it_then_it_is_not_called_replayed(
    replayed, recorded_tick
):
    guard = guard_state(SETTINGS, facts_of(DRAGGED), tripped_at(recorded_tick), explained(DRAGGED), trip_on_record=True)

    assert guard.ladder.both.tick == 9
    assert guard.trip_is_replayed is replayed
    assert ("last condition met" in guard_sentence(guard)) is replayed
    assert ("by the breaker's record" in guard_sentence(guard)) is not replayed


def test_given_a_running_session_when_it_never_tripped_then_so_far():
    guard = guard_state(SETTINGS, facts_of(CALM), Fidelity("ok"), explained(CALM), trip_on_record=False)

    assert guard_sentence(guard, running=True) == "Never tripped so far in 9 armed ticks; armed at the last tick."
    assert guard_sentence(guard) == "Never tripped in 9 armed ticks; armed at the last tick."


def page(path):
    with reading(path) as conn:
        report = build_report(conn, pick(conn, "latest"))
    return report, " ".join(" ".join(report_lines(report)).split())


def test_given_a_trip_within_missing_ticks_when_reported_then_a_later_one_of_the_replay_is_not_taken_for_it(tmp_path):
    with opened(tmp_path / "k.db") as conn:
        store_session(conn, calm_then_drag(200, 100))
        conn.execute("DELETE FROM system_metrics WHERE tick BETWEEN 210 AND 240")

    report, text = page(tmp_path / "k.db")

    assert (report.guard.state, report.guard.recorded_trip_tick) == ("tripped", 222)
    assert report.guard.ladder.both.tick == 265
    assert "Tripped at tick 222, by the breaker's record" in text
    assert "Tripped at tick 265" not in text
    assert (report.counterfactual, report.labels.score, report.markouts_while_waiting) == (None, None, None)
    assert "Bias 6: at tick 265" in text, "not earlier or later than a trip that never was"
    assert "Cannot be said: the trip on record could not be replayed." in text


def test_given_a_breaker_event_that_names_no_tick_when_reported_then_a_trip_is_still_a_trip(tmp_path):
    with opened(tmp_path / "k.db") as conn:
        number = store_session(conn, [1.0] * 100, status="RUNNING")
        conn.execute("DELETE FROM system_metrics WHERE tick BETWEEN 40 AND 80")
        insert(conn, "circuit_breaker_events", created_at="x", triggered_at="x", breaker=GUARD, session_id=number)

    report, text = page(tmp_path / "k.db")

    assert (report.guard.state, report.guard.recorded_trip_tick) == ("tripped", None)
    assert "Tripped, by the breaker's record, which does not say at which tick." in text
    assert f"{GUARD} at an unknown tick: no context" in text


def test_given_rows_filled_in_by_other_means_when_they_hold_a_saturation_then_it_would_have_tripped(tmp_path):
    with opened(tmp_path / "k.db") as conn:
        store_session(conn, calm_then_drag())
        conn.execute(
            "UPDATE system_metrics SET guard_window_n = NULL, guard_mean_bps = NULL, guard_prevalence_pct = NULL"
        )
        conn.execute("DELETE FROM circuit_breaker_events")

    report, text = page(tmp_path / "k.db")

    assert report.guard.state == "would have tripped"
    assert "No trip on record; by the stored errors it would have tripped at tick 82 (" in text
    assert "Tripped at" not in text
    assert report.labels.score.trip_tick == 82
