"""Errors compressed to integers: where windows begin anew, what was counted, and every full window."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from shared import saturation
from shared.saturation import SaturationGuard
from telemetry_proc.series import full_windows, series_of, to_nano_bps, window_begins
from telemetry_proc.tick_columns import NOT_RECORDED
from tests.telemetry.recorded_columns import SETTINGS, columns_of, recorded, thresholds_of, without


def test_given_nulls_when_compressed_then_ticks_and_times_stay_with_their_errors():
    columns, _ = recorded([1.5, None, -2.25, None, 3.0])

    series = series_of(columns, SETTINGS)

    assert series.tick.tolist() == [1, 3, 5]
    assert series.ts_ns.tolist() == [4_000_000_000, 12_000_000_000, 20_000_000_000]
    assert series.error_nano_bps.tolist() == [1_500_000_000, -2_250_000_000, 3_000_000_000]
    assert (series.starts.tolist(), series.missing_before.tolist(), series.missing_after) == ([0], [0], 0)
    assert (series.facts.ticks, series.facts.null_ticks, series.facts.missing_ticks) == (5, 2, 0)


def test_given_missing_ticks_when_compressed_then_windows_begin_anew_behind_them():
    columns, _ = recorded([float(tick % 3) for tick in range(20)])
    # Tick 1 and 2, 9, and what stands behind 18 are gone.
    series = series_of(without(columns, {1, 2, 9, 19, 20}), SETTINGS, closed_ticks=20)

    assert (series.starts.tolist(), series.missing_before.tolist()) == ([0, 6], [2, 1])
    assert (series.missing_after, series.facts.missing_ticks, series.facts.gaps) == (2, 5, 3)
    assert (series.facts.first_tick, series.facts.last_tick) == (3, 18)
    # Three errors behind each gap are not a window of four yet.
    assert (series.facts.armed_ticks, series.facts.unarmed_ticks, series.facts.unknown_ticks) == (9, 0, 6)
    assert series.facts.window_n == 4


def test_given_two_gaps_with_nulls_between_when_compressed_then_they_are_one_start_and_two_gaps():
    columns, _ = recorded([1.0, 1.0, 1.0, None, 1.0, 1.0, 1.0])

    series = series_of(without(columns, {3, 5}), SETTINGS)

    assert (series.starts.tolist(), series.missing_before.tolist(), series.facts.gaps) == ([0, 2], [0, 2], 2)


def test_given_a_gap_with_only_nulls_behind_it_when_compressed_then_no_start_points_beyond_the_errors():
    columns, _ = recorded([1.0, 1.0, 1.0, None, None])

    series = series_of(without(columns, {3}), SETTINGS, closed_ticks=6)

    assert series.starts.tolist() == [0]
    assert series.missing_after == 2


def test_given_recorded_resets_when_compressed_then_each_is_a_start_where_nothing_is_missing():
    columns, _ = recorded([1.0] * 6 + [None, 1.0, 1.0] + [2.0] * 6, resets={7, 10})

    series = series_of(columns, SETTINGS)

    assert (series.starts.tolist(), series.missing_before.tolist()) == ([0, 6, 8], [0, 0, 0])
    assert series.facts.window_resets == 2
    assert (series.facts.armed_ticks, series.facts.unarmed_ticks) == (6, 9)
    assert series_of(columns).facts.window_resets == 0, "without a lookback a small window means nothing"


def test_given_no_rows_when_compressed_then_all_is_empty():
    series = series_of(columns_of([]), SETTINGS, closed_ticks=3)

    assert series.error_nano_bps.size == series.starts.size == 0
    assert (series.missing_after, series.facts.missing_ticks, series.facts.gaps) == (3, 3, 1)
    assert (series.facts.first_tick, series.facts.first_ts_ns, series.facts.armed_ticks) == (None, None, 0)


def test_given_ticks_of_an_older_engine_when_compressed_then_repeats_and_a_tick_0_are_no_gaps():
    rows = [(tick, 1.0, NOT_RECORDED, None, None) for tick in (0, 1, 1, 2)]

    assert window_begins(columns_of(rows), 4).row.tolist() == [0]


def test_given_the_facts_alone_when_kept_then_no_column_is():
    series = series_of(recorded([1.0] * 9)[0], SETTINGS)

    assert series.without_columns().facts == series.facts
    assert series.without_columns().error_nano_bps.size == 0


halves = st.integers(-(10**7), 10**7).map(lambda units: (units + 0.5) * 1e-9)


@given(st.lists(st.floats(-1e300, 1e300) | halves | st.floats(-30, 30), min_size=1, max_size=50))
def test_property_given_any_errors_when_rounded_at_once_then_each_is_rounded_as_the_guard_does(errors):
    assert to_nano_bps(np.array(errors)).tolist() == [saturation.to_nano_bps(error) for error in errors]


@given(
    errors=st.lists(st.none() | st.floats(-30, 30) | st.sampled_from([1e9, -1e9]), max_size=60),
    resets=st.sets(st.integers(1, 60), max_size=3),
    lookback=st.integers(1, 7),
)
def test_property_given_any_session_when_windowed_then_sums_counts_and_arming_are_the_live_guards(
    errors, resets, lookback
):
    settings = SETTINGS.model_copy(update={"lookback_ticks": lookback})
    columns, _ = recorded(errors, settings, resets=resets)
    begun = {int(columns.tick[row]) for row in window_begins(columns, lookback).row}
    guard = None
    full, armed = [], 0
    for tick, error in enumerate(errors, 1):
        if guard is None or tick in begun:
            guard = SaturationGuard(thresholds_of(settings))
        guard.observe(error)
        assert guard.window_n == columns.guard_window_n[tick - 1], "no reset is missed and none made up"
        armed += guard.window_n == lookback
        if error is not None and guard.window_n == lookback:
            full.append((tick, guard.sum_nano_bps, guard.prevalent_n))
    series = series_of(columns, settings)

    windows = full_windows(series, thresholds_of(settings))

    ticks = series.tick[windows.end].tolist()
    assert list(zip(ticks, windows.sum_nano_bps.tolist(), windows.prevalent_n.tolist(), strict=True)) == full
    assert series.facts.armed_ticks == armed
