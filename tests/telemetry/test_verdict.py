"""Five verdicts, from limits; what is missing, in numbers."""

import re
from fractions import Fraction

import numpy as np
import pytest

from telemetry_proc.grid import Grid, Setting
from telemetry_proc.intervals import Interval
from telemetry_proc.operating import operating, share_interval
from telemetry_proc.verdict import (
    Budgets,
    Shortfall,
    Verdict,
    against,
    calm_sessions_needed,
    judge_setting,
    search_sessions_needed,
)
from tests.telemetry.made_outcomes import jittered, made, spread_false

DEFAULT = Setting(25, 7.0, 5.0, 40.0)
ONE = Grid(*((value,) for value in DEFAULT))
BUDGETS = Budgets(Fraction(1, 20), 120.0, Fraction(1, 5))
DAYS = 30


def at(*, false=0.0, calm=80, delay_ticks=20, episodes=30, missed=0):
    """The operating point of a setting that trips in that share of sessions and is that late."""
    delays = jittered(delay_ticks, episodes)
    delays[:missed] = 200
    found = made(ONE, spread_false(false, calm)[:, None], delays[:, None])
    return operating(found, DEFAULT, 0, np.random.default_rng(1))


@pytest.mark.parametrize(
    ("point", "verdict"),
    [
        (at(false=0.5), Verdict.TOO_SENSITIVE),
        (at(delay_ticks=60), Verdict.NOT_SENSITIVE_ENOUGH),
        (at(), Verdict.WELL_CALIBRATED),
        (at(false=0.5, delay_ticks=60), Verdict.WRONG_SHAPE),
        (at(false=0.06), Verdict.NOT_ENOUGH_DATA),
        (at(delay_ticks=30), Verdict.NOT_ENOUGH_DATA),
    ],
)
def test_given_both_limits_when_judged_then_the_table_says_which_verdict(point, verdict):
    assert judge_setting(point, BUDGETS, DAYS).verdict is verdict


def test_given_short_episodes_that_are_mostly_missed_when_judged_then_the_guard_is_not_sensitive_enough():
    patient = BUDGETS._replace(max_delay_s=3600.0)

    judged = judge_setting(at(missed=20), patient, DAYS)

    assert (judged.delay, judged.miss, judged.verdict) == ("within", "above", Verdict.NOT_SENSITIVE_ENOUGH)


def test_given_another_setting_that_is_better_in_both_when_judged_then_the_shape_is_wrong():
    assert judge_setting(at(), BUDGETS, DAYS, beaten_on_both=True).verdict is Verdict.WRONG_SHAPE


def test_given_too_few_of_everything_when_judged_then_it_says_exactly_how_many_more_and_only_leans():
    judged = judge_setting(at(calm=38, episodes=6, delay_ticks=60), BUDGETS, 4)

    assert judged.verdict is Verdict.NOT_ENOUGH_DATA
    assert judged.shortfall == Shortfall(22, 14, 6)
    assert judged.would_change_it == ("22 more calm sessions", "14 more scored episodes", "6 more days")
    assert judged.leaning is Verdict.NOT_SENSITIVE_ENOUGH


def test_given_one_missing_when_judged_then_the_minimum_sample_is_exact():
    assert judge_setting(at(calm=60, episodes=20), BUDGETS, 10).shortfall == Shortfall(0, 0, 0)
    assert judge_setting(at(calm=59, episodes=20), BUDGETS, 10).would_change_it == ("1 more calm session",)
    assert judge_setting(at(calm=60, episodes=19), BUDGETS, 10).would_change_it == ("1 more scored episode",)
    assert judge_setting(at(calm=60, episodes=20), BUDGETS, 9).would_change_it == ("1 more day",)


def test_given_one_session_when_judged_then_it_does_not_even_lean():
    assert judge_setting(at(calm=1, episodes=1, false=1.0), BUDGETS, 1).leaning is None


@pytest.mark.parametrize(("events", "sessions", "budget"), [(0, 40, 0.05), (2, 100, 0.05), (6, 80, 0.05), (3, 30, 0.2)])
def test_given_an_open_interval_when_asked_for_more_sessions_then_that_many_settle_it(events, sessions, budget):
    more = calm_sessions_needed(events, sessions, budget)
    total = sessions + more

    assert against(share_interval(events, sessions), budget) == "open"
    assert more > 0
    assert against(share_interval(round(events / sessions * total), total), budget) != "open"


def test_given_a_rate_on_the_budget_when_asked_for_more_sessions_then_no_number_is_promised():
    assert calm_sessions_needed(5, 100, 0.05) is None
    assert "no reasonable number" in judge_setting(at(false=0.05, calm=100), BUDGETS, DAYS).would_change_it[0]


def test_given_an_open_delay_when_judged_then_the_number_of_episodes_grows_with_the_square_of_the_width():
    judged = judge_setting(at(delay_ticks=30), BUDGETS, DAYS)

    assert judged.delay == "open"
    assert "episodes" in judged.would_change_it[0]


def test_given_limits_when_compared_then_on_the_budget_is_within_and_no_limits_are_open():
    assert against(Interval(0.0, 0.05, 0.95, ""), 0.05) == "within"
    assert against(Interval(0.05, 0.2, 0.95, ""), 0.05) == "open"
    assert against(Interval(0.051, 0.2, 0.95, ""), 0.05) == "above"
    assert against(Interval(None, None, 0.95, ""), 0.05) == "open"
    assert against(None, 0.05) == "open"


def test_given_a_budget_of_one_in_twenty_when_searched_then_45_clean_sessions_are_the_least():
    assert search_sessions_needed(Fraction(1, 20), 0.90) == 45


def test_given_a_decided_verdict_when_read_then_it_says_what_would_change_it():
    assert "false-trip budget" in judge_setting(at(false=0.5), BUDGETS, DAYS).would_change_it[0]
    assert "delay budget" in judge_setting(at(delay_ticks=60), BUDGETS, DAYS).would_change_it[0]
    assert "below" in judge_setting(at(), BUDGETS, DAYS).would_change_it[0]


@pytest.mark.parametrize(
    ("point", "budgets"),
    [
        (at(false=0.5), BUDGETS),
        (at(delay_ticks=60), BUDGETS),
        (at(missed=20), BUDGETS),
        (at(missed=20), BUDGETS._replace(max_delay_s=3600.0)),
        (at(false=0.5, delay_ticks=60), BUDGETS),
    ],
)
def test_given_a_budget_that_is_said_to_change_the_verdict_when_taken_then_it_does(point, budgets):
    judged = judge_setting(point, budgets, DAYS)

    for said in judged.would_change_it[:-1]:
        wanted = budgets
        for number, unit in re.findall(r"([0-9.]+)(%| s)", said):
            if unit == " s":
                wanted = wanted._replace(max_delay_s=float(number))
            else:
                name = "max_miss" if "miss" in said else "max_false"
                wanted = wanted._replace(**{name: Fraction(number) / 100})
        assert judge_setting(point, wanted, DAYS).verdict is not judged.verdict
    assert len(judged.would_change_it) > 1


def test_given_a_setting_beaten_on_both_counts_when_judged_then_no_budget_is_said_to_change_that():
    judged = judge_setting(at(false=0.5, delay_ticks=60), BUDGETS, DAYS, beaten_on_both=True)

    assert judged.would_change_it == (
        "sessions of another kind of market, or another label of what is truly saturated",
    )
