"""Other thresholds over the same errors: always what the live guard, set so, would have done."""

import io
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import UsageError
from shared.saturation import SaturationGuard
from telemetry_proc import whatif
from telemetry_proc.grid import Grid, Setting
from telemetry_proc.series import series_of
from telemetry_proc.whatif import (
    NEVER_ARMED,
    NEVER_TRIPPED,
    SettingSummary,
    check_size,
    hiding,
    save_sweep,
    settings_of,
    summaries,
    trip_ticks,
    what_if,
)
from tests.telemetry.recorded_columns import SETTINGS, recorded, without

GRID = Grid.of(
    lookback_ticks=(1, 3, 5), bias_threshold_bps=(2.0, 3.5, 7.0), prevalence_threshold_bps=(1.0, 5.0),
    prevalence_pct=(0.1, 40.0, 100.0),
)  # fmt: skip
TINY = Grid.of(lookback_ticks=(4,), bias_threshold_bps=(7.0,), prevalence_threshold_bps=(5.0,), prevalence_pct=(50.0,))
ERRORS = st.lists(
    st.none() | st.sampled_from([0.0, 2.0, -2.0, 3.5, 5.0, -7.0, 7.0, 10.5, -1e7]) | st.floats(-12, 12), max_size=40
)


def series(errors, *, missing=(), **recording):
    return series_of(without(recorded(errors, **recording)[0], missing), SETTINGS, closed_ticks=len(errors))


def by_the_live_guard(errors, setting, *, empty_before=()):
    """Its first trip tick, None for never; the window is emptied before the given ticks."""
    guard = SaturationGuard(setting.thresholds)
    for tick, error in errors:
        if tick in empty_before:
            guard = SaturationGuard(setting.thresholds)
        if guard.observe(error):
            return tick
    return None


@given(ERRORS)
def test_given_any_errors_when_asked_then_every_setting_trips_where_the_live_guard_would(errors):
    found = what_if(series(errors), GRID)

    assert [answer.setting for answer in found] == list(settings_of(GRID))
    measured = sum(error is not None for error in errors)
    for answer in found:
        assert answer.first_trip_tick == by_the_live_guard(enumerate(errors, 1), answer.setting)
        if answer.first_trip_tick is None:
            assert answer.outcome == ("never" if measured >= answer.lookback_ticks else "never armed")
        else:
            assert answer.outcome == "tripped"


@given(ERRORS, st.sets(st.integers(2, 39)), st.sets(st.integers(2, 39)))
def test_given_missing_ticks_and_resets_when_asked_then_no_window_spans_them(errors, missing, resets):
    rows = [(tick, error) for tick, error in enumerate(errors, 1) if tick not in missing]
    made = series(errors, missing=missing, resets=resets)
    # Where the series says that a window begins anew: after ticks that are missing, and at resets it can tell.
    begins = set(made.tick[made.starts].tolist())
    behind_gaps = [next((t for t, error in rows if t > gone and error is not None), None) for gone in missing]
    assert {tick for tick in behind_gaps if tick is not None} <= begins

    for answer in what_if(made, GRID):
        assert answer.first_trip_tick == by_the_live_guard(rows, answer.setting, empty_before=begins)


def test_given_settings_when_listed_then_in_the_order_of_flat_indexes():
    assert list(settings_of(GRID)) == [GRID.settings(flat) for flat in range(GRID.size)]
    assert [tuple(setting) for setting in settings_of(GRID)] == list(product(*GRID))


def test_given_too_few_errors_when_asked_then_never_armed_is_not_never():
    found = trip_ticks(series([9.0, None, 0.0]), GRID).reshape(GRID.shape)

    assert (found[0] == 1).any()
    assert set(found[1:].ravel().tolist()) == {NEVER_ARMED}
    assert set(trip_ticks(series([0.0] * 9), GRID).tolist()) == {NEVER_TRIPPED}
    assert set(trip_ticks(series([None] * 9), GRID).tolist()) == {NEVER_ARMED}
    assert set(trip_ticks(series([]), GRID).tolist()) == {NEVER_ARMED}


# --- over many sessions


@given(st.lists(st.lists(st.integers(-1, 6), min_size=3, max_size=3), min_size=1, max_size=12))
def test_given_any_answers_when_summed_up_then_counts_and_median_are_those_of_the_sessions(rows):
    grid = TINY._replace(bias_threshold_bps=(5.0, 7.0, 9.0))
    found = list(summaries(grid, np.array(rows, dtype=np.int64)))

    for line, setting, ticks in zip(found, settings_of(grid), zip(*rows, strict=True), strict=True):
        trips = sorted(tick for tick in ticks if tick > 0)
        median = trips[(len(trips) + 1) // 2 - 1] if trips else None  # nearest rank
        assert line == SettingSummary(*setting, len(trips), ticks.count(0), ticks.count(-1), median)
        assert line.setting == setting
        assert (line.median_first_trip_tick is None) == (line.sessions_tripped == 0)


def test_given_more_settings_than_are_sorted_at_once_when_summed_up_then_none_is_lost(monkeypatch):
    answers = np.random.default_rng(1).integers(-1, 30, (7, GRID.size))
    at_once = list(summaries(GRID, answers))
    monkeypatch.setattr(whatif, "COLUMNS_SORTED_AT_ONCE", 5)

    assert list(summaries(GRID, answers)) == at_once
    assert len(at_once) == GRID.size


def test_given_answers_when_saved_then_numpy_reads_them_back_by_axis():
    answers = np.arange(2 * GRID.size) - 1
    file = io.BytesIO()
    save_sweep(file, GRID, [41, 43], answers.reshape(2, -1))

    with np.load(io.BytesIO(file.getvalue()), allow_pickle=False) as saved:
        assert set(saved) == {"session_id", "first_trip_tick", *GRID._fields}
        assert saved["session_id"].tolist() == [41, 43]
        assert saved["first_trip_tick"].shape == (2, 3, 3, 2, 3)
        assert saved["first_trip_tick"].ravel().tolist() == answers.tolist()
        for name, axis in GRID._asdict().items():
            assert saved[name].tolist() == list(axis)


def test_given_more_answers_than_memory_is_for_when_checked_then_one_line_says_so(monkeypatch):
    monkeypatch.setattr(whatif, "ANSWERS_MAX", 10 * GRID.size)
    check_size(10, GRID)
    with pytest.raises(UsageError, match=r"11 sessions x 54 combinations are more than 540"):
        check_size(11, GRID)


# --- what may have gone unseen


def test_given_every_tick_when_asked_then_nothing_can_have_gone_unseen():
    assert hiding(series([9.0] * 20), GRID) == ()
    assert hiding(series([]), GRID) == ()


@pytest.mark.parametrize(
    ("missing", "hidden"),
    [((10,), ()), ((10, 11), ("2 missing ticks in 1 place",)), ((1, 2, 3), ("3 missing ticks in 1 place",))],
)
def test_given_missing_ticks_when_asked_then_they_hide_a_trip_if_they_are_enough_for_one(missing, hidden):
    # 2 of 4 errors at 5 bps or more are wanted, and there are none beside the gap
    assert hiding(series([0.0] * 20, missing=missing), TINY) == hidden


def test_given_missing_ticks_beside_large_errors_when_asked_then_fewer_hide_one():
    errors = [0.0] * 8 + [9.0] + [0.0] * 11
    assert hiding(series(errors, missing=(10,)), TINY) == ("1 missing tick in 1 place",)


def test_given_a_gap_when_only_some_settings_could_trip_in_it_then_the_weakest_prevalence_is_asked():
    made = series([0.0] * 20, missing=(10,))
    assert hiding(made, TINY) == ()
    assert hiding(made, TINY._replace(prevalence_pct=(25.0, 50.0))) == ("1 missing tick in 1 place",)


def test_given_a_lookback_that_never_armed_when_asked_then_only_the_others_answer():
    made = series([0.0] * 20, missing=(10, 11))
    assert hiding(made, TINY._replace(lookback_ticks=(15,))) == ()
    assert hiding(made, TINY._replace(lookback_ticks=(4, 15))) == ("2 missing ticks in 1 place",)


@given(ERRORS, st.sets(st.integers(1, 30), max_size=6), st.lists(st.floats(-12, 12), min_size=40, max_size=40))
def test_given_nothing_hidden_when_the_missing_ticks_are_filled_in_then_no_setting_trips_earlier(
    errors, missing, filler
):
    made = series(errors, missing=missing)
    if hiding(made, GRID):
        return
    filled = [filler[tick] if tick in missing else error for tick, error in enumerate(errors, 1)]
    for answer in what_if(made, GRID):
        if answer.outcome == "never":
            assert by_the_live_guard(enumerate(filled, 1), answer.setting) is None


def test_given_an_answer_when_asked_for_its_setting_then_the_four_thresholds():
    assert what_if(series([0.0]), TINY)[0].setting == Setting(4, 7.0, 5.0, 50.0)
