"""The replayed guard against a restatement of its rule, and against what was recorded."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.config import build_config
from shared.saturation import SaturationGuard, to_nano_bps
from shared.settings import AnchorSaturationGuard
from telemetry_proc.guard_record import guard_settings, trip_context
from telemetry_proc.ladder import explain
from telemetry_proc.series import series_of
from tests.telemetry.guard_replay import GuardReplay
from tests.telemetry.recorded_columns import TICK_NS, recorded

SETTINGS = AnchorSaturationGuard(
    lookback_ticks=4, bias_threshold_bps=7.0, prevalence_threshold_bps=5.0, prevalence_pct=50.0
)


def replayed(errors, settings=SETTINGS, recorded=None):
    """Replay a stream whose guard state was recorded by the live guard, or by `recorded(tick, guard)`."""
    live = SaturationGuard(settings.thresholds, enabled=settings.enabled)
    replay = GuardReplay(settings)
    for tick, error in enumerate(errors, 1):
        live.observe(error)
        state = (live.window_n, live.mean_bps, live.prevalence_pct)
        replay.observe(tick, tick * 10**9, error, *(recorded(tick, state) if recorded else state))
    return replay


def test_given_a_drag_when_replayed_then_the_four_rungs_and_the_binding_condition_are_named():
    ladder = replayed([0.0, 0.0, 0.0, 0.0, 8.0, 8.0, 8.0, 8.0, 8.0]).ladder()

    assert (ladder.error.tick, ladder.mean.tick, ladder.prevalence.tick, ladder.both.tick) == (5, 8, 6, 8)
    assert ladder.last_condition == "mean"
    assert (ladder.lag_ticks, ladder.lag_s) == (3, 3.0)
    assert ladder.both.mean_bps == 8.0
    assert ladder.both.prevalence_pct == 100.0


def test_given_exact_ties_at_both_thresholds_when_replayed_then_every_rung_is_reached():
    # Mean exactly 7 and exactly half of the errors exactly at 5 or above: 0.1 bps data, where float sums go astray.
    ladder = replayed([7.0, 7.0, 4.9, 9.1]).ladder()

    assert (ladder.error.tick, ladder.mean.tick, ladder.prevalence.tick, ladder.both.tick) == (1, 4, 4, 4)
    assert ladder.both.mean_bps == 7.0
    assert ladder.last_condition == "together"


def test_given_a_mean_that_lapsed_when_it_returns_last_then_it_is_the_last_condition():
    # One glitch of 40 lifts the mean early (tick 4..7); prevalence holds from tick 9, the mean again from tick 10.
    ladder = replayed([0.0, 0.0, 0.0, 40.0, 0.0, 0.0, 0.0, 6.0, 6.0, 16.0]).ladder()

    assert (ladder.mean.tick, ladder.prevalence.tick, ladder.both.tick) == (4, 9, 10)
    assert ladder.last_condition == "mean"


def test_given_spikes_when_prevalence_comes_last_then_it_is_named():
    ladder = replayed([0.0, 0.0, 0.0, 40.0, 40.0]).ladder()

    assert (ladder.mean.tick, ladder.prevalence.tick, ladder.both.tick) == (4, 5, 5)
    assert ladder.last_condition == "prevalence"


def test_given_an_oscillation_when_replayed_then_share_is_reached_but_mean_never():
    ladder = replayed([9.0, -9.0] * 10).ladder()

    assert ladder.prevalence.tick == 4
    assert ladder.mean is None
    assert ladder.both is None
    assert ladder.lag_ticks is None


def test_given_nulls_when_replayed_then_they_neither_enter_nor_age_the_window():
    ladder = replayed([8.0, None, 8.0, None, None, 8.0, 8.0]).ladder()

    assert ladder.both.tick == 7
    assert ladder.both.error_index == 4


def test_given_a_disabled_guard_when_replayed_then_the_ladder_still_says_where_both_held():
    settings = SETTINGS.model_copy(update={"enabled": False})
    replay = replayed([8.0] * 6, settings)

    assert replay.ladder().both.tick == 4
    assert replay.disagreement is None


@pytest.mark.parametrize(("at", "what"), [(0, "guard_window_n"), (1, "guard_mean_bps"), (2, "guard_prevalence_pct")])
def test_given_one_wrong_number_on_record_when_replayed_then_the_first_place_is_named(at, what):
    def recorded(tick, state):
        return tuple(7 if tick >= 3 and place == at else value for place, value in enumerate(state))

    disagreement = replayed([1.0, 2.0, 3.0, 4.0, 5.0], recorded=recorded).disagreement

    assert (disagreement.tick, disagreement.what, disagreement.recorded) == (3, what, 7)


def test_given_a_mean_off_by_one_ulp_when_replayed_then_it_is_a_disagreement():
    def recorded(tick, state):
        return (state[0], math.nextafter(state[1], 99.0), state[2]) if tick == 2 else state

    assert replayed([1.1, 2.3, 3.7], recorded=recorded).disagreement.tick == 2


def test_given_a_window_that_was_emptied_when_replayed_then_it_is_emptied_on_the_same_tick():
    first, second = [8.0, 8.0, 8.0], [None, 8.0, 8.0, 8.0, 8.0]
    halves = [SaturationGuard(SETTINGS.thresholds) for _ in range(2)]
    replay = GuardReplay(SETTINGS)
    for tick, error in enumerate(first + second, 1):
        live = halves[tick > len(first)]
        live.observe(error)
        replay.observe(tick, tick, error, live.window_n, live.mean_bps, live.prevalence_pct)

    assert replay.window_resets == 1
    assert replay.disagreement is None
    assert replay.ladder().both.tick == len(first) + len(second)


def test_given_no_recorded_state_when_replayed_then_nothing_is_checked_and_the_ladder_stands():
    replay = replayed([8.0] * 4, recorded=lambda tick, state: (None, None, None))

    assert replay.checked_ticks == 0
    assert replay.disagreement is None
    assert replay.ladder().both.tick == 4


near_ties = st.integers(-120, 120).map(lambda tenths: tenths / 10)
streams = st.lists(st.none() | near_ties | st.floats(-30, 30), max_size=120)


@given(
    errors=streams,
    lookback=st.integers(1, 9),
    bias=st.sampled_from([0.1, 3.0, 7.0]),
    prevalence=st.sampled_from([0.1, 2.9, 3.0, 5.0]),
    pct=st.sampled_from([0.1, 28.0, 40.0, 56.0, 100.0]),
)
def test_property_given_any_stream_when_replayed_then_the_ladder_equals_brute_force(
    errors, lookback, bias, prevalence, pct
):
    settings = AnchorSaturationGuard.model_construct(
        enabled=True,
        lookback_ticks=lookback,
        bias_threshold_bps=bias,
        prevalence_threshold_bps=prevalence,
        prevalence_pct=pct,
    )
    expected = brute_force(errors, lookback, bias, prevalence, pct)

    replay = replayed(errors, settings)

    ladder = replay.ladder()
    rungs = (ladder.error, ladder.mean, ladder.prevalence, ladder.both)
    assert tuple(rung and rung.tick for rung in rungs) == expected
    assert replay.disagreement is None


def brute_force(errors, lookback, bias, prevalence, pct):
    """First ticks of the four rungs, restated on slices of the whole list."""
    measured = [(tick, to_nano_bps(error)) for tick, error in enumerate(errors, 1) if error is not None]
    at_bias = next((tick for tick, error in measured if abs(error) >= to_nano_bps(bias)), None)
    windows = [
        (measured[end - 1][0], [error for _, error in measured[end - lookback : end]])
        for end in range(lookback, len(measured) + 1)
    ]
    mean = [tick for tick, window in windows if abs(sum(window)) >= to_nano_bps(bias) * lookback]
    share = [
        tick
        for tick, window in windows
        if 1000 * sum(abs(error) >= to_nano_bps(prevalence) for error in window) >= lookback * round(pct * 10)
    ]
    both = sorted(set(mean) & set(share))
    # The search for rungs ends with the trip, and none can first be reached after it.
    return at_bias, *(ticks[0] if ticks else None for ticks in (mean, share, both))


def test_given_a_config_when_its_guard_is_complete_then_it_is_read_and_otherwise_not():
    config_json = build_config({"strategy": {"anchor_saturation_guard": {"lookback_ticks": 30}}}, "t").config_json

    assert guard_settings(config_json).lookback_ticks == 30
    for unusable in (None, "", "{}", "[]", "not json", '{"strategy": null}', config_json.replace("30", '"x"')):
        assert guard_settings(unusable) is None


def test_given_a_context_that_is_no_object_when_read_then_it_is_empty():
    assert trip_context('{"tick": 4}') == {"tick": 4}
    for unusable in (None, "", "nonsense", "[1]", "3"):
        assert trip_context(unusable) == {}


def explained(errors, settings=SETTINGS, **kwargs):
    columns, _ = recorded(errors, settings, **kwargs)
    return explain(series_of(columns, settings), settings)


DEFAULTS = AnchorSaturationGuard()


@pytest.mark.parametrize(
    ("level", "errors"), [(7.0, 25), (7.5, 24), (8.0, 22), (10.0, 18), (12.0, 15), (15.0, 12), (17.5, 10), (40.0, 10)]
)
def test_given_a_clean_step_from_zero_when_explained_then_the_wait_is_the_formula_and_none_was_avoidable(level, errors):
    explanation = explained([0.0] * 40 + [-level] * 40, DEFAULTS)

    assert errors == max(math.ceil(7 * 25 / level), math.ceil(0.4 * 25))
    assert explanation.floor == (-level, errors, errors - 1, errors - 1)
    assert explanation.lag_errors == explanation.onset_lag_errors == errors - 1
    assert explanation.avoidable_errors == 0


def test_given_a_window_half_full_of_fives_when_explained_then_the_floor_counts_what_was_in_it():
    # 25 - m fives and m eights have a mean of 7 for m = 17, where after zeros it would take 22.
    explanation = explained([5.0] * 40 + [8.0] * 40, DEFAULTS)

    assert (explanation.floor.errors, explanation.lag_errors, explanation.avoidable_errors) == (17, 16, 0)


def test_given_a_shift_in_the_first_ticks_when_explained_then_the_floor_waits_for_a_full_window():
    explanation = explained([1.0] * 3 + [20.0] * 40, DEFAULTS)

    assert (explanation.ladder.both.tick, explanation.floor.errors) == (25, 22)


def test_given_a_shift_that_came_and_went_when_explained_then_what_it_dallied_was_avoidable():
    errors = [0.0] * 40 + [8.0, 8.0, 0.0] * 3 + [8.0] * 40

    explanation = explained(errors, DEFAULTS)

    assert explanation.floor == (8.0, 22, 21, 21)
    assert explanation.onset.tick == 41
    assert explanation.avoidable_errors == explanation.onset_lag_errors - 21 == 3


def test_given_a_glitch_long_before_when_explained_then_the_lag_has_it_and_the_onset_has_not():
    explanation = explained([0.0] * 10 + [-9.0] + [0.0] * 200 + [8.0] * 40, DEFAULTS)

    assert (explanation.ladder.error.tick, explanation.onset.tick) == (11, 212)
    assert (explanation.lag_errors, explanation.onset_lag_errors, explanation.floor.lag_errors) == (222, 21, 21)


def test_given_nulls_when_explained_then_ticks_seconds_and_errors_of_the_lag_differ():
    explanation = explained([0.0] * 4 + [None, 8.0, None, 8.0, None, None, 8.0, 8.0])

    assert (explanation.lag_errors, explanation.lag_ticks, explanation.lag_s) == (3, 6, 24.0)
    assert (explanation.floor.lag_errors, explanation.floor.lag_ticks) == (3, 6)
    assert explanation.window_age == (20.0, 24.0, False)


def test_given_a_window_that_took_hours_to_fill_when_explained_then_its_age_is_flagged():
    explanation = explained([0.0] * 30 + [8.0] * 2 + [None] * 50 + [8.0] * 2)

    assert explanation.window_age == (12.0, 212.0, True)


def test_given_a_clock_that_steps_back_before_the_trip_when_explained_then_no_time_is_negative():
    columns, _ = recorded([0.0] * 4 + [8.0] * 8, SETTINGS)
    ts_ns = columns.ts_ns.copy()
    ts_ns[6:] -= 100 * TICK_NS

    found = explain(series_of(columns._replace(ts_ns=ts_ns), SETTINGS), SETTINGS)

    assert (found.ladder.error.tick, found.ladder.both.tick) == (5, 8)
    assert (found.lag_ticks, found.lag_s, found.onset_lag_s, found.ladder.lag_s) == (3, None, None, None)
    assert found.window_age == (3 * TICK_NS / 1e9, None, None)


def test_given_spikes_when_explained_then_the_share_of_windows_that_prevalence_vetoed_is_told():
    # A spike of 40 lifts the mean of 4 windows; a pair of them is half of 3 windows, and holds the mean in 5.
    explanation = explained([0.0] * 8 + [40.0] + [0.0] * 8)

    assert explanation.binding == (14, 4, 4, 100.0, 0, 0, None)
    assert explained([6.0, 0.0] * 8).binding == (13, 0, 0, None, 13, 13, 100.0)


def test_given_no_trip_when_explained_then_there_is_no_floor_and_no_lag():
    explanation = explained([9.0] + [0.0] * 30)

    assert explanation.ladder.error.tick == 1
    assert (explanation.lag_ticks, explanation.onset, explanation.floor, explanation.avoidable_errors) == (None,) * 4
    assert explanation.window_age == (12.0, None, None)


@pytest.mark.parametrize("errors", [[], [None] * 9, [8.0] * 3])
def test_given_no_full_window_when_explained_then_nothing_is_made_up(errors):
    explanation = explained(errors)

    assert explanation.ladder[1:4] == (None,) * 3
    assert (explanation.binding.full_windows, explanation.window_age, explanation.floor) == (0, None, None)


def test_given_neighbouring_biases_when_explained_then_each_has_a_ladder_and_the_sessions_own_is_among_them():
    settings = SETTINGS.model_copy(update={"bias_threshold_bps": 7.2})
    explanation = explained([0.0] * 4 + [6.0] * 5 + [7.0] * 5 + [7.25] * 5, settings)

    trips = {bias: ladder.both and ladder.both.tick for bias, ladder in explanation.ladders}
    assert trips == {6.0: 8, 6.5: 11, 7.0: 13, 7.2: 18, 7.5: None, 8.0: None}
    assert dict(explanation.ladders)[7.2] == explanation.ladder


@given(
    errors=streams,
    resets=st.sets(st.integers(1, 120), max_size=2),
    lookback=st.integers(1, 9),
    bias=st.sampled_from([0.1, 3.0, 7.0]),
    pct=st.sampled_from([0.1, 28.0, 56.0, 100.0]),
)
def test_property_given_any_stream_when_explained_then_the_ladder_is_the_one_climbed_tick_by_tick(
    errors, resets, lookback, bias, pct
):
    settings = SETTINGS.model_copy(
        update={"lookback_ticks": lookback, "bias_threshold_bps": bias, "prevalence_pct": pct}
    )
    columns, _ = recorded(errors, settings, resets=resets)
    replay = GuardReplay(settings)
    for tick, error, n in zip(columns.tick.tolist(), errors, columns.guard_window_n.tolist(), strict=True):
        replay.observe(tick, tick * TICK_NS, error, n, None, None)

    series = series_of(columns, settings)
    explanation = explain(series, settings)

    expected = replay.ladder()
    assert [rung and rung._replace(error_bps=0.0) for rung in explanation.ladder[:4]] == [
        rung and rung._replace(error_bps=0.0) for rung in expected[:4]
    ]
    assert explanation.ladder[4:] == expected[4:]
    if explanation.floor is not None:
        assert is_least(errors_up_to(series, explanation.onset.tick), explanation.floor, settings)


def errors_up_to(series, tick):
    """Errors of the window before a tick, from where it last began empty."""
    onset = series.tick.tolist().index(tick)
    begin = max(start for start in series.starts.tolist() if start <= onset)
    return series.error_nano_bps[begin:onset].tolist()


def is_least(before, floor, settings):
    """Does the live guard, fed with what was there and then the level, trip with exactly that error?"""
    trips = []
    for errors in range(1, settings.lookback_ticks + 1):
        guard = SaturationGuard(settings.thresholds)
        window = [*before, *[floor.level_bps * 1e9] * errors][-settings.lookback_ticks :]
        trips.append(True in [guard.observe(error / 1e9) for error in window])
    return trips.index(True) + 1 == floor.errors
