"""When a change is recommended, when it is not, and in which words."""

import json
from collections import Counter
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
import yaml

from shared.config import build_config
from shared.errors import UsageError
from shared.settings import AnchorSaturationGuard
from telemetry_proc.grid import Grid, Setting
from telemetry_proc.holdout import judge, newest
from telemetry_proc.overfitting import overfitting_probability
from telemetry_proc.recommend import Recommendation, recommend, recommendation_json
from telemetry_proc.recommend_text import WIDTH, recommendation_lines, settings_block
from telemetry_proc.search import choose, distinct_behaviours, log_distance, prevalence_binds, tally
from telemetry_proc.verdict import Budgets, Verdict
from tests.telemetry.made_outcomes import jittered, made, spread_false
from tests.worlds import recommendation as world

GRID = Grid((25,), (4.0, 6.0, 7.0, 8.0, 10.0), (5.0,), (40.0,))  # columns 0..4, live is 2
LIVE = Setting(25, 7.0, 5.0, 40.0)
BUDGETS = Budgets(Fraction(1, 20), 120.0, Fraction(1, 5))


def rng():
    return np.random.default_rng(1)


def sample(false, delay_ticks, *, grid=GRID, calm=140, episodes=60):
    """Columns of that false-trip share and mean delay."""
    return made(
        grid,
        np.column_stack([spread_false(rate, calm) for rate in false]),
        np.column_stack([jittered(mean, episodes) for mean in delay_ticks]),
    )


def asked(found, live=LIVE, budgets=BUDGETS, **options):
    return recommend(found, live, budgets, rng(), label_digest="abc", **options)


TOO_LATE = {"false": (0.3, 0.0, 0.0, 0.0, 0.0), "delay_ticks": (3, 12, 60, 80, 150)}
TOO_EARLY = {"false": (0.5, 0.4, 0.3, 0.0, 0.0), "delay_ticks": (3, 6, 10, 15, 20)}
RIGHT = {"false": (0.3, 0.2, 0.0, 0.0, 0.0), "delay_ticks": (3, 9, 15, 30, 60)}


# --- a change, or none


def test_given_a_guard_that_is_late_when_a_faster_setting_holds_on_new_sessions_then_it_is_recommended():
    result = asked(sample(**TOO_LATE))

    assert result.judged.verdict is Verdict.NOT_SENSITIVE_ENOUGH
    assert (result.action, result.recommended, result.reasons) == ("change", LIVE._replace(bias_threshold_bps=6.0), ())
    assert result.holdout.judged_on == "delay"
    assert result.holdout.delay_gain_s.gain == pytest.approx(48 * 4.0, abs=4.0)
    assert 0 < result.holdout.delay_gain_s.low < result.holdout.delay_gain_s.gain + 1e-9


def test_given_a_guard_that_trips_falsely_when_a_calmer_setting_is_fast_enough_then_it_is_recommended():
    result = asked(sample(**TOO_EARLY))

    assert result.judged.verdict is Verdict.TOO_SENSITIVE
    assert result.recommended == LIVE._replace(bias_threshold_bps=8.0)
    assert result.holdout.judged_on == "false trips"
    assert result.holdout.false_gain.low > 0


def test_given_a_guard_within_its_budgets_when_asked_then_it_is_kept_though_something_faster_may_exist():
    result = asked(sample(**(RIGHT | {"false": (0.3, 0.0, 0.0, 0.0, 0.0)})))

    assert result.judged.verdict is Verdict.WELL_CALIBRATED
    assert (result.action, result.recommended) == ("keep", None)
    assert result.candidate.setting.bias_threshold_bps == 6.0
    assert "the live setting keeps both budgets" in result.reasons


def test_given_the_best_setting_when_asked_then_no_other_comes_out():
    result = asked(sample(**RIGHT))

    assert (result.action, result.candidate, result.holdout) == ("keep", None, None)


@pytest.mark.parametrize("missing", [{"calm": 59}, {"episodes": 19}])
def test_given_less_than_the_minimum_sample_when_asked_then_nothing_is_searched_whatever_it_looks_like(missing):
    result = asked(sample(**TOO_LATE, **missing))

    assert result.judged.verdict is Verdict.NOT_ENOUGH_DATA
    assert result.judged.leaning is Verdict.NOT_SENSITIVE_ENOUGH
    assert (result.action, result.candidate, result.holdout, result.within_budget) == ("keep", None, None, 0)


def test_given_enough_sessions_but_on_few_days_when_asked_then_there_is_too_little_still():
    found = sample(**TOO_LATE)

    result = asked(found._replace(day=found.day // 10))

    assert result.judged.shortfall.days == 5
    assert result.recommended is None


def test_given_a_label_that_cannot_be_trusted_when_asked_then_nothing_is_concluded():
    result = asked(sample(**TOO_LATE), doubt="a third of its episodes earned money")

    assert (result.judged.verdict, result.recommended) == (Verdict.NOT_ENOUGH_DATA, None)
    assert "earned money" in result.judged.would_change_it[0]


def test_given_too_few_calm_sessions_for_the_budget_when_asked_then_it_says_how_many_it_takes():
    result = asked(sample(**TOO_LATE, calm=62))

    assert any("needs 45 calm sessions" in reason for reason in result.reasons)


def test_given_a_grid_without_the_live_setting_when_asked_then_one_line_says_so():
    with pytest.raises(UsageError, match=r"must hold the live setting 25 / 9 / 5 / 40%"):
        asked(sample(**RIGHT), live=LIVE._replace(bias_threshold_bps=9.0))


def test_given_a_candidate_at_the_end_of_an_axis_when_asked_then_it_is_withheld_and_the_axis_named():
    grid = GRID._replace(prevalence_threshold_bps=(4.0,))

    result = asked(
        sample((0.0,) * 5, (3, 30, 60, 80, 150), grid=grid), live=LIVE._replace(prevalence_threshold_bps=4.0)
    )

    assert result.recommended is None
    assert result.edge == ("bias_threshold_bps",)
    assert any("edge of the grid" in reason for reason in result.reasons)


def test_given_the_same_data_and_seed_when_asked_twice_then_the_answers_are_equal():
    assert recommendation_json(asked(sample(**TOO_LATE))) == recommendation_json(asked(sample(**TOO_LATE)))


# --- the search


def test_given_a_setting_above_the_budget_when_searched_then_no_speed_makes_it_the_candidate():
    found = sample((0.2, 0.0, 0.0, 0.0, 0.0), (0, 55, 60, 80, 150))

    choice = choose(found, ~newest(found), 2, BUDGETS.max_false, hold_prevalence=False)

    assert choice.column == choice.best_column == 1
    assert choice.within_budget == 4


def test_given_settings_within_one_standard_error_when_searched_then_the_nearest_to_live_is_taken():
    noisy = np.column_stack([np.resize((5, 60), 60) + shift for shift in (0, 0, 1, 2, 60)])
    found = made(GRID, np.zeros((140, 5)), np.clip(noisy, 0, 200))

    choice = choose(found, ~newest(found), 3, BUDGETS.max_false, hold_prevalence=False)

    assert choice.best_column == 1, "of equals the nearest to live"
    assert choice.within_one_se == 3
    assert choice.column == 3, "live itself is not told from the best"


def test_given_equals_of_which_the_nearer_lies_at_the_edge_when_searched_then_the_one_inside_is_taken():
    grid = Grid((24, 25, 26), (5.0, 6.0, 7.0, 8.0), (5.0,), (40.0,))
    at_edge, inside = (grid.index_of(Setting(*four)) for four in ((24, 7.0, 5.0, 40.0), (25, 6.0, 5.0, 40.0)))
    delays = np.column_stack([jittered(12 if column in (at_edge, inside) else 60, 60) for column in range(grid.size)])

    choice = choose(
        made(grid, np.zeros((140, 12)), delays),
        np.ones(200, bool),
        grid.index_of(LIVE),
        Fraction(1, 20),
        hold_prevalence=False,
    )

    assert (choice.best_column, choice.column, choice.edge) == (at_edge, inside, ())


def test_given_early_trips_when_settings_are_tallied_then_they_count_as_no_delay():
    found = made(GRID, np.zeros((2, 5)), np.array([[-30, 0, 10, 200, 200], [10, 10, 10, 10, 200]]))

    counted = tally(found, np.ones(4, bool))

    assert counted.delay_mean_s == pytest.approx([20.0, 20.0, 40.0, (199 * 4 + 40) / 2, 199 * 4])


def test_given_prevalence_thresholds_above_the_bias_threshold_when_searched_then_they_are_no_candidates():
    grid = Grid((25,), (5.0, 6.0, 7.0), (5.0, 7.0, 8.0), (40.0,))
    delays = np.tile(jittered(60, 60)[:, None], (1, 9))
    delays[:, grid.index_of(Setting(25, 6.0, 7.0, 40.0))] = 0
    found = made(grid, np.zeros((140, 9)), delays)

    choice = choose(
        found, ~newest(found), grid.index_of(Setting(25, 7.0, 7.0, 40.0)), Fraction(1, 20), hold_prevalence=False
    )

    best = grid.settings(choice.best_column)
    assert best.prevalence_threshold_bps <= best.bias_threshold_bps


def test_given_a_prevalence_condition_that_never_bound_when_asked_then_its_values_are_held():
    grid = Grid((25,), (5.0, 6.0, 7.0, 8.0), (4.0, 5.0, 6.0), (20.0, 40.0, 60.0))
    live = Setting(25, 7.0, 5.0, 40.0)
    fast = grid.index_of(Setting(25, 6.0, 4.0, 20.0))
    delays = np.column_stack(
        [jittered(0 if j == fast else 12 if grid.settings(j)[1] == 6.0 else 60, 60) for j in range(grid.size)]
    )
    found = made(grid, np.zeros((140, grid.size)), delays)

    result = asked(found, live=live)

    assert prevalence_binds(found, ~newest(found), grid.index_of(live)) == result.prevalence_bound == 0
    assert result.recommended == Setting(25, 6.0, 5.0, 40.0)
    assert any(
        "prevalence condition decided nothing" in " ".join(line.split())
        for line in [" ".join(recommendation_lines(result))]
    )


@pytest.mark.parametrize(("net", "best"), [(None, 3), ((0, 1, 0, 5, 0), 3), ((0, 5, 0, 1, 0), 1)])
def test_given_delays_that_tie_when_searched_then_money_decides_and_without_it_the_nearest_to_live(net, best):
    found = sample((0.0,) * 5, (60, 20, 60, 20, 60))
    money = None if net is None else np.array(net, dtype=np.float64)

    choice = choose(found, ~newest(found), 2, Fraction(1, 20), hold_prevalence=False, net_by_setting=money)

    assert choice.best_column == best


def test_given_outcomes_when_behaviours_are_counted_then_they_are_the_distinct_columns():
    random = rng()
    grid = Grid((25,), tuple(float(b) for b in range(5, 45)), (5.0,), (40.0,))
    found = made(grid, random.integers(0, 2, (3, 40)), random.integers(0, 2, (2, 40)))
    rows = np.array([True, True, True, True, True])

    counted = distinct_behaviours(found, rows)

    columns = np.vstack((found.false_trips, found.exposure_ticks, found.trip_after))
    assert counted == len(np.unique(columns, axis=1).T) < 40


def test_given_the_live_setting_when_distances_are_taken_then_they_are_logarithmic_and_live_is_at_zero():
    grid = Grid((10, 20, 40), (7.0,), (5.0,), (40.0,))

    assert log_distance(grid, 1) == pytest.approx([np.log(2), 0.0, np.log(2)])


# --- the hold-out


@pytest.mark.parametrize(("sessions", "held"), [(200, 60), (20, 10), (12, 6), (1, 0), (0, 0)])
def test_given_sessions_when_split_then_the_newest_thirty_percent_at_least_ten_at_most_half_are_held_out(
    sessions, held
):
    found = made(GRID, np.zeros((sessions, 5)), np.zeros((0, 5)), sessions_a_day=1)

    rows = newest(found)

    assert rows.sum() == held
    assert not rows[: sessions - held].any()


def test_given_days_with_many_sessions_when_split_then_no_day_is_on_both_sides():
    found = made(GRID, np.zeros((203, 5)), np.zeros((0, 5)), sessions_a_day=7)

    rows = newest(found)

    assert not set(found.day[rows]) & set(found.day[~rows])


def test_given_other_sessions_in_the_hold_out_when_searched_then_the_candidate_is_the_same():
    found = sample(**TOO_LATE)
    held = newest(found)
    changed = found.false_trips.copy()
    changed[held] = 1 - changed[held]
    after = found.trip_after.copy()
    after[held[found.episode_session]] = 0

    other = found._replace(false_trips=changed, trip_after=after)

    search = (choose(each, ~held, 2, BUDGETS.max_false, hold_prevalence=False) for each in (found, other))
    assert next(search) == next(search)


def test_given_a_candidate_that_trips_falsely_on_the_hold_out_when_judged_then_no_speed_saves_it():
    found = sample(**TOO_LATE)
    held = newest(found)
    false = found.false_trips.copy()
    false[np.flatnonzero(held & found.calm_session)[-3:], 1] = 1

    judged = judge(found._replace(false_trips=false), held, (2, 1), BUDGETS.max_false, BUDGETS.max_delay_s, rng())

    assert judged.delay_gain_s.low > 0
    assert (judged.false_sessions, judged.false_sessions_max, judged.passed) == (3, 2, False)
    assert "tripped falsely in 3 of" in judged.against[0]


def test_given_no_calm_session_in_the_hold_out_when_judged_then_no_speed_says_anything_of_false_trips():
    found = sample(**TOO_LATE)
    held = newest(found)

    judged = judge(
        found._replace(calm_session=found.calm_session & ~held), held, (2, 1), BUDGETS.max_false, 120.0, rng()
    )

    assert judged.delay_gain_s.low > 0
    assert (judged.calm_sessions, judged.passed, judged.dominates) == (0, False, False)


def test_given_a_gain_that_is_gone_on_the_hold_out_when_judged_then_the_live_setting_is_kept():
    found = sample(**TOO_LATE)
    held = newest(found)
    after = found.trip_after.copy()
    mine = held[found.episode_session]
    after[mine, 1] = after[mine, 2] + np.resize((-9, 8), mine.sum())

    result = asked(found._replace(trip_after=after))

    assert result.recommended is None
    assert "may as well be none" in result.reasons[0]


def test_given_three_sessions_that_all_speak_for_the_candidate_when_judged_then_that_may_be_chance():
    false = np.zeros((140, 5), dtype=np.uint16)
    found = made(GRID, false, np.column_stack([jittered(mean, 60) for mean in (3, 6, 10, 15, 20)]))
    held = newest(found)
    rows = np.flatnonzero(held & found.calm_session)
    trips = found.false_trips.copy()
    lows = []
    for n in (3, 8):
        trips[rows[:: len(rows) // n][:n], 2] = 1
        judged = judge(found._replace(false_trips=trips), held, (2, 3), BUDGETS.max_false, 120.0, rng())
        lows.append(judged.false_gain.low)

    assert lows[0] <= 0 < lows[1]


def test_given_a_slower_candidate_beyond_the_delay_budget_when_judged_then_fewer_false_trips_do_not_save_it():
    result = asked(sample(**TOO_EARLY), budgets=BUDGETS._replace(max_delay_s=50.0))

    assert result.recommended is None
    assert any("slower than the delay budget" in reason for reason in result.reasons)


def test_given_a_setting_better_in_both_when_judged_on_new_sessions_then_the_shape_is_wrong():
    result = asked(sample((0.5, 0.0, 0.4, 0.0, 0.0), (3, 10, 60, 80, 150)))

    assert result.holdout.dominates
    assert result.judged.verdict is Verdict.WRONG_SHAPE
    assert result.recommended == LIVE._replace(bias_threshold_bps=6.0)


# --- overfitting


def test_given_pure_chance_when_split_every_way_then_the_winner_of_one_half_is_no_better_than_others_in_the_next():
    random = rng()
    grid = Grid((25,), tuple(float(b) for b in range(5, 45)), (5.0,), (40.0,))
    shares = [
        overfitting_probability(
            made(grid, np.zeros((100, 40)), random.integers(0, 100, (100, 40))), np.ones(40, bool), Fraction(1, 20)
        )
        for _ in range(8)
    ]

    assert 0.3 < np.mean(shares) < 0.7


def test_given_one_setting_that_is_always_best_when_split_every_way_then_it_never_overfits():
    found = sample((0.0, 0.0, 0.0, 0.0, 0.0), (10, 20, 60, 80, 150))

    assert overfitting_probability(found, np.ones(5, bool), Fraction(1, 20)) == 0.0


def test_given_settings_that_all_do_the_same_when_split_every_way_then_none_is_below_the_middle():
    found = sample((0.0,) * 5, (20,) * 5)

    assert overfitting_probability(found, np.ones(5, bool), Fraction(1, 20)) == 0.0


def test_given_fewer_than_100_sessions_when_asked_for_overfitting_then_nothing_is_claimed():
    found = sample(**RIGHT, calm=60, episodes=39)

    assert overfitting_probability(found, np.ones(5, bool), Fraction(1, 20)) is None


# --- what is said


def test_given_a_change_when_printed_then_the_block_is_a_configuration_and_says_what_was_recommended():
    result = asked(sample(**TOO_LATE))
    lines = recommendation_lines(result)
    block = "\n".join(lines[lines.index("strategy:") :])

    loaded = build_config(yaml.safe_load(block), "test").config.strategy.anchor_saturation_guard

    assert Setting.of(loaded) == result.recommended
    assert loaded.enabled
    assert list(yaml.safe_load(block)["strategy"]["anchor_saturation_guard"]) == list(
        AnchorSaturationGuard.model_fields
    )


@pytest.mark.parametrize("shape", [RIGHT, TOO_EARLY | {"calm": 40}, {**TOO_LATE, "episodes": 3}])
def test_given_no_change_when_printed_then_there_is_no_block_to_paste(shape):
    text = "\n".join(recommendation_lines(asked(sample(**shape))))

    assert "strategy:" not in text
    assert "Keep 25 / 7 / 5 / 40%" in text


@pytest.mark.parametrize("shape", [RIGHT, TOO_EARLY, TOO_LATE, {**TOO_LATE, "calm": 3, "episodes": 2}])
def test_given_any_answer_when_printed_then_it_fits_and_promises_no_optimum(shape):
    lines = recommendation_lines(asked(sample(**shape), notes=("a note that is quite long " * 10,)))

    assert max(map(len, lines)) <= WIDTH
    assert "optim" not in "\n".join(lines).lower()
    assert "nan" not in "\n".join(lines).lower().split()


def test_given_one_session_when_asked_then_it_wants_more_and_leans_nowhere():
    lines = recommendation_lines(asked(made(GRID, np.ones((1, 5)), np.zeros((0, 5)))))

    assert lines[0].startswith(
        "VERDICT  NOT ENOUGH DATA: wanted 59 more calm sessions; 20 more scored episodes; 9 more days"
    )
    assert "Leaning" not in "\n".join(lines)


@pytest.mark.parametrize("value", [7.0, 6.3, 1e-9, 10_000.0])
def test_given_any_threshold_when_written_as_a_block_then_it_reads_back_exactly(value):
    setting = Setting(25, value, min(value, 5.0), 0.1)

    loaded = build_config(yaml.safe_load(settings_block(setting)), "test").config.strategy.anchor_saturation_guard

    assert Setting.of(loaded) == setting


@pytest.mark.parametrize("shape", [RIGHT, TOO_EARLY, TOO_LATE, {**TOO_LATE, "calm": 3, "episodes": 2}])
def test_given_any_answer_when_written_as_json_then_it_is_plain_and_has_every_documented_key(shape):
    told = json.loads(json.dumps(recommendation_json(asked(sample(**shape))), allow_nan=False))

    assert list(told) == list(Recommendation._fields)
    assert told["budgets"] == {"max_false": "1/20", "max_delay_s": 120.0, "max_miss": "1/5"}
    assert set(told["live"]["setting"]) == set(Setting._fields)


def test_given_other_budgets_when_asked_then_the_digest_is_another():
    digests = Counter(asked(sample(**RIGHT), budgets=BUDGETS._replace(max_delay_s=s)).digest for s in (60.0, 90.0))

    assert len(digests) == 2


def test_given_settings_that_are_better_in_one_and_no_worse_in_the_other_when_counted_then_they_beat_live():
    assert asked(sample(**TOO_EARLY)).beaten_by == 0
    assert asked(sample((0.0, 0.0, 0.1, 0.0, 0.2), (9, 9, 20, 30, 9))).beaten_by == 1, "4 bps is not configurable"


def test_given_all_settings_when_the_frontier_is_drawn_then_no_point_of_it_is_beaten_by_another():
    points = asked(sample(**TOO_EARLY)).frontier

    assert points
    for before, after in pairwise(points):
        assert before.false_share < after.false_share
        assert before.delay_mean_s > after.delay_mean_s


# --- worth, on worlds of known truth (the whole table: python -m tests.worlds.recommendation)


def test_given_known_worlds_when_the_procedure_runs_then_it_mends_what_is_wrong_and_leaves_what_is_right():
    random = np.random.default_rng(7)
    grid = Grid((15, 20, 25, 30, 50, 100), (4.0, 5.0, 6.0, 7.0, 8.0, 10.0, 12.0), (4.0, 5.0, 6.0), (20.0, 40.0, 60.0))
    found = world.population(random, sessions=600, grid=grid)
    truth = world.truth_of(found)
    right, _, _, _, too_high, _ = world.cases(world.best_setting(truth, grid))

    kept = [world.trial(found, truth, right, 200, random) for _ in range(15)]
    mended = [world.trial(found, truth, too_high, 200, random) for _ in range(15)]

    assert sum(run.harmful for run in kept + mended) <= 1
    assert sum(run.changed for run in mended) >= 5
    assert np.mean([run.delivered for run in mended if run.changed]) > 0
    assert tally(found, np.ones(600, bool)).calm_sessions > 300
