"""The four questions, each with a sentence of its own; what one session cannot say, it does not."""

from __future__ import annotations

import random

import pytest

from telemetry_proc.answers import NOISE_WINDOWS_MIN, neighbours, waiting_words
from telemetry_proc.grid import Grid, Setting
from telemetry_proc.ladder import explain
from telemetry_proc.reading import reading
from telemetry_proc.report import build_report
from telemetry_proc.report_text import report_lines
from telemetry_proc.series import series_of
from telemetry_proc.sessions import pick
from telemetry_proc.study import WhatIfTable
from telemetry_proc.whatif import what_if
from tests.telemetry.recorded_columns import SETTINGS, recorded
from tests.telemetry.recorded_session import calm_then_drag, opened, store_session

QUESTIONS = (
    "Were the thresholds right? ",
    "Too sensitive, or not sensitive enough? ",
    "How was the error distributed? ",
    "When was the bias threshold first exceeded? ",
)


def noise(n, seed=1, sd=1.5):
    rng = random.Random(seed)
    return [rng.gauss(0.0, sd) for _ in range(n)]


@pytest.fixture
def answered(tmp_path):
    """Store a session, alter it, and ask."""

    def ask(errors, *tampering, **kwargs):
        with opened(tmp_path / "k.db") as conn:
            store_session(conn, errors, **kwargs)
            for statement in tampering:
                conn.execute(statement)
        with reading(tmp_path / "k.db") as conn:
            return build_report(conn, pick(conn, "latest"))

    return ask


@pytest.mark.parametrize(
    ("errors", "tampering", "said"),
    [
        ([], (), "No data: the session has no ticks."),
        ([None] * 60, (), "No data: no tick has an anchor error."),
        (
            [None] * 60,
            ("UPDATE system_metrics SET guard_window_n = NULL, guard_mean_bps = NULL, guard_prevalence_pct = NULL",),
            "Not recorded by the older engine.",
        ),
    ],
)
def test_given_nothing_measured_when_asked_then_every_question_says_which_nothing(answered, errors, tampering, said):
    report = answered(errors, *tampering)

    assert set(report.answers) == {said}
    lines = report_lines(report)
    assert [f"{question}{said}" for question in QUESTIONS] == [
        line[9:] for line in lines if any(question in line for question in QUESTIONS)
    ], "one line each"


def test_given_a_replay_that_disagrees_when_asked_then_only_the_distribution_is_answered(answered):
    answers = answered(calm_then_drag(), "UPDATE system_metrics SET guard_mean_bps = 1.0 WHERE tick = 40").answers

    assert {*answers[:2], answers.first_exceedance} == {"Withheld: replay and record disagree."}
    assert answers.distribution.startswith("|error| had a median of ")


def test_given_a_true_trip_when_asked_then_it_was_in_a_saturated_stretch_and_as_fast_as_a_clean_shift(answered):
    report = answered(noise(300) + [9.0] * 200)
    answers = report.answers

    assert answers.thresholds_right == (
        "NOT ENOUGH DATA in one session: guard recommend wants 60 calm sessions and 20 saturated stretches on 10 days. "
        "Keep 25 ticks / 7 bps / 5 bps / 40%."
    )
    assert answers.too_sensitive_or_not.startswith(
        "NOT ENOUGH DATA: the guard tripped in 1 of 1 saturated stretch (2.5% to 100% of such, at 95%). "
        "From the onset of the shift both conditions took "
    )
    assert "Before the trip the window's mean had a standard deviation of " in answers.too_sensitive_or_not
    assert answers.first_exceedance == (
        f"|error| first reached 7 bps at tick 301 (14:33:24Z); the guard tripped at tick "
        f"{report.trips[0].tick} ({report.guard.ladder.both.time[11:19]}Z), {report.guard.ladder.lag_ticks} ticks "
        f"({4 * report.guard.ladder.lag_ticks // 60} m {4 * report.guard.ladder.lag_ticks % 60} s) later."
    )


def test_given_a_trip_on_a_short_push_when_asked_then_it_leans_to_too_sensitive(answered):
    said = answered(noise(300) + [9.0] * 24 + noise(300, 2)).answers.too_sensitive_or_not

    assert said.startswith(
        "NOT ENOUGH DATA, leaning to too sensitive: the guard tripped where the error did not stay beyond 6 bps "
        "(assumed); false trips in 1 of 1 session (2.5% to 100% of such, at 95%)."
    )


def test_given_a_saturation_below_the_bias_when_asked_then_it_leans_to_not_sensitive_enough(answered):
    guard = {"bias_threshold_bps": 9.5}
    said = answered(noise(300) + [8.0] * 200 + noise(300, 2), guard=guard).answers.too_sensitive_or_not

    assert said.startswith(
        "NOT ENOUGH DATA, leaning to not sensitive enough: the guard tripped in 0 of 1 saturated stretch "
        "(at most 95% of such, at 95%)."
    )


def test_given_a_stretch_near_beta_when_asked_then_nothing_is_scored(answered):
    tripped = answered(noise(300) + [7.1] * 200).answers.too_sensitive_or_not
    assert tripped.startswith(
        "NOT ENOUGH DATA: the guard tripped in a stretch too near to 6 bps (assumed) to be scored."
    )


@pytest.mark.parametrize(
    ("status", "said"),
    [("ENDED", "Never: no error reached 7 bps."), ("RUNNING", "Never so far: no error reached 7 bps.")],
)
def test_given_a_calm_session_when_asked_then_never_is_only_so_far_while_it_runs(answered, status, said):
    assert answered(noise(300), status=status).answers.first_exceedance == said


@pytest.mark.parametrize("status", ["ENDED", "RUNNING"])
def test_given_a_record_that_ends_soon_after_the_trip_when_asked_then_the_trip_is_not_called_false(answered, status):
    report = answered(noise(300) + [12.0] * 20, status=status)

    assert report.labels.score.false_trips == 0
    assert report.answers.too_sensitive_or_not.startswith(
        "NOT ENOUGH DATA: the guard tripped too shortly before the record ends to say whether the error stayed beyond "
        "6 bps (assumed)."
    )


def test_given_a_gap_soon_after_the_trip_when_asked_then_the_trip_is_not_called_false(answered):
    gap = "DELETE FROM system_metrics WHERE tick BETWEEN 321 AND 400"
    report = answered(noise(300) + [12.0] * 100 + noise(200, 2), gap)

    assert (report.labels.score.false_trips, report.labels.score.unscored) == (0, 1)


def test_given_a_stretch_that_the_record_cuts_short_when_asked_then_that_is_why_it_is_not_scored(answered):
    said = answered(noise(300) + [12.0] * 60).answers.too_sensitive_or_not

    assert said.startswith(
        "NOT ENOUGH DATA: the guard tripped in a stretch beyond 6 bps (assumed) that the record cuts short, "
        "so it is not scored."
    )


def test_given_a_stretch_near_beta_without_a_trip_when_asked_then_there_is_nothing_to_count(answered):
    said = answered(noise(300) + [6.6] * 200).answers.too_sensitive_or_not
    assert said == (
        "NOT ENOUGH DATA: no calm session, and every stretch of large errors is too near to 6 bps (assumed) "
        "to be scored."
    )


@pytest.mark.parametrize(("errors", "speaks"), [(25 * NOISE_WINDOWS_MIN, True), (25 * NOISE_WINDOWS_MIN - 1, False)])
def test_given_a_calm_session_when_it_is_long_enough_then_its_noise_is_compared_with_the_threshold(
    answered, errors, speaks
):
    report = answered(noise(errors))
    said = report.answers.too_sensitive_or_not

    assert said.startswith("NOT ENOUGH DATA: false trips in 0 of 1 calm session (at most 95% of such, at 95%).")
    found = report.error.window_noise
    sentence = (
        f" Over the session the window's mean had a standard deviation of {found.sd_bps:.2f} bps; 7 bps lay "
        f"{found.sigma_to_threshold:.1f} of these away."
    )
    assert said.endswith(sentence) is speaks
    assert report.answers.first_exceedance == "Never: no error reached 7 bps."


def test_given_a_disabled_guard_when_it_would_have_tripped_then_nobody_says_it_did(answered):
    report = answered(noise(300) + [9.0] * 200, guard={"enabled": False})

    assert "the disabled guard would have tripped in 1 of 1 saturated stretch" in report.answers.too_sensitive_or_not
    assert "standard deviation" not in report.answers.too_sensitive_or_not, "the drag is no noise"
    assert "; the disabled guard would have tripped at tick 3" in report.answers.first_exceedance


def test_given_missing_ticks_when_no_stored_error_is_large_then_never_cannot_be_said(answered):
    few = answered(noise(300), "DELETE FROM system_metrics WHERE tick = 100")

    assert few.guard.state == "armed", "one tick is too few to hide a trip, but not an error"
    assert few.answers.first_exceedance == "Cannot be said: no stored error reached 7 bps, but 1 tick is missing."
    assert "not on what is stored" in " ".join(report_lines(few))


def test_given_many_missing_ticks_when_asked_then_a_trip_may_be_hidden(answered):
    many = answered(noise(300), "DELETE FROM system_metrics WHERE tick BETWEEN 100 AND 140")

    assert many.answers.too_sensitive_or_not == (
        "Cannot be said: whether the guard tripped is not known (41 missing ticks in 1 place)."
    )
    assert '"Never" must not be believed here' in " ".join(report_lines(many))


def test_given_missing_ticks_before_the_first_exceedance_when_asked_then_they_are_counted_and_later_ones_not(answered):
    report = answered(noise(300) + [9.0] * 200, "DELETE FROM system_metrics WHERE tick IN (100, 101, 450, 451, 452)")
    assert report.answers.first_exceedance.endswith(" later. Before it 2 ticks are missing.")


def test_given_a_window_that_was_never_full_when_asked_then_it_could_neither_trip_nor_miss(answered):
    answers = answered([1.0] * 20).answers

    assert answers.too_sensitive_or_not == (
        "NOT ENOUGH DATA: the guard was never armed, so it could neither trip nor miss anything."
    )
    assert answers.first_exceedance == "Never: no error reached 7 bps."


def test_given_thresholds_not_on_record_when_asked_then_none_are_kept_or_guessed(answered):
    answers = answered([1.0] * 60, config_json=None).answers

    assert "Keep" not in answers.thresholds_right
    assert answers.too_sensitive_or_not == (
        "Cannot be said: whether the guard tripped is not known (the guard's thresholds are not on record)."
    )
    assert answers.first_exceedance == "Not recorded: the session's thresholds are not on record."


@pytest.mark.parametrize(
    ("errors", "said"),
    [
        (
            [0.0] * 8 + [14.0] * 8,
            "From the onset of the shift both conditions took 1 error, as many as a clean shift to +14.00 bps",
        ),
        ([0.0] * 8 + [-9.0, -0.5, -9.0, -9.0, -9.0, -9.0], "2 more than a clean shift to -9.00 bps takes."),
        ([0.0] * 8 + [7.5, 7.5, 13.0], "1 fewer than a clean shift to +7.50 bps takes."),
    ],
)
def test_given_a_trip_when_its_wait_is_put_into_words_then_it_is_compared_with_a_clean_shift(errors, said):
    found = explain(series_of(recorded(errors)[0], SETTINGS), SETTINGS)

    assert said in waiting_words(found)


def test_given_no_trip_when_its_wait_is_asked_then_there_is_none():
    assert waiting_words(explain(series_of(recorded([1.0] * 9)[0], SETTINGS), SETTINGS)) is None


def test_given_other_thresholds_when_put_beside_the_live_ones_then_a_line_each_and_never_is_not_never_armed():
    live = Setting(25, 7.0, 5.0, 40.0)
    grid = Grid.of(
        lookback_ticks=(15, 25, 50),
        bias_threshold_bps=(6.0, 7.0, 8.0),
        prevalence_threshold_bps=(5.0,),
        prevalence_pct=(30.0, 40.0, 60.0),
    )
    series = series_of(recorded([0.0] * 20 + [7.5] * 25, SETTINGS)[0])
    table = WhatIfTable(live, what_if(series, grid))

    assert list(neighbours(table)) == [
        "Bias 6: 4 ticks earlier; bias 8: never.",
        "Lookback 15: 10 ticks earlier; lookback 50: never armed.",
        "Prevalence 30%: no change; prevalence 60%: no change.",
    ]
    assert next(neighbours(table, beside_live=False)) == "Bias 6: at tick 40; bias 8: never."


def test_given_a_glitch_long_before_the_trip_when_asked_then_the_shift_that_tripped_it_is_told_too(answered):
    report = answered([*noise(100), 20.0, *noise(200, 2), *[9.0] * 120])

    assert report.answers.first_exceedance.startswith("|error| first reached 7 bps at tick 101 (")
    assert report.answers.first_exceedance.endswith(" later. The shift behind that began at tick 302 (14:33:28Z).")
