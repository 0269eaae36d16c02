"""What plots are drawn from: no spike lost, no gap bridged, no more points than promised, nothing that is not JSON."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import IntegrityError
from shared.saturation import SaturationGuard
from telemetry_proc.plot_columns import BUCKETS_MAX, read_plot_columns
from telemetry_proc.plots import POINTS_MAX, WINDOWS_MAX, Event, min_max, plots_of
from telemetry_proc.reading import reading
from telemetry_proc.series import series_of
from telemetry_proc.tick_columns import read_ticks
from tests.browser.a_report import GUARD, bands, columns_of, full_report, wandering
from tests.telemetry.recorded_session import calm_then_drag, insert, opened, store_session


def plots(errors, *, ticks=None, settings=GUARD, **more):
    columns = columns_of(errors, ticks)
    return plots_of(columns, series=series_of(columns, settings), settings=settings, **more)


def known(series, unit):
    return {tick: value for tick, value in zip(series["tick"], series[unit], strict=True) if value is not None}


# --- min-max


@given(
    st.lists(st.one_of(st.just(float("nan")), st.floats(-1e6, 1e6)), max_size=400),
    st.integers(4, 60),
    st.data(),
)
def test_given_any_series_when_capped_then_every_bucket_keeps_its_extremes_within_the_cap(values, points_max, data):
    steps = data.draw(st.lists(st.integers(1, 9), min_size=len(values), max_size=len(values)))
    ticks, heights = np.cumsum(steps, dtype=np.int64), np.array(values, dtype=np.float64)

    picks = min_max(ticks, heights, points_max)

    known = np.flatnonzero(~np.isnan(heights))
    assert len(picks) <= points_max
    assert list(picks) == sorted(set(picks.tolist()))
    assert set(picks.tolist()) <= set(known.tolist())
    if len(known):
        assert heights[picks].max() == heights[known].max()
        assert heights[picks].min() == heights[known].min()
    if len(known) <= points_max:
        assert picks.tolist() == known.tolist()


def test_given_single_spikes_in_a_long_session_when_capped_then_each_stands_at_its_own_tick():
    errors = np.random.default_rng(1).normal(0, 1, 200_000)
    spikes = {17: 80.0, 99_999: -90.0, 100_000: 91.0, 199_999: 70.0}
    for at, height in spikes.items():
        errors[at] = height

    drawn = plots(errors.tolist())["error"]

    shown = dict(zip(drawn["tick"], drawn["bps"], strict=True))
    assert {at: shown[at + 1] for at in spikes} == spikes
    assert POINTS_MAX // 2 < sum(value is not None for value in drawn["bps"]) <= POINTS_MAX


def test_given_few_ticks_when_drawn_then_all_of_them_are_there_and_gaps_break_the_line():
    found = plots([1.0, None, 2.0, 3.0, 4.0], ticks=[1, 2, 3, 4, 8])

    assert found["error"]["tick"] == [1, 2, 3, 4, 5, 8]
    assert found["error"]["bps"] == [1.0, None, 2.0, 3.0, None, 4.0]
    assert found["error"]["offset_s"] == [0.0, None, 8.0, 12.0, None, 28.0]


def test_given_a_gap_across_bucket_borders_when_capped_then_the_line_breaks_there_and_nowhere_else():
    errors = [float(at % 7) for at in range(100_000)]
    errors[40_025:40_100] = [None] * 75  # a bucket holds 50 ticks
    errors[70_000:70_020] = [None] * 20

    drawn = plots(errors)["error"]

    breaks = [tick for tick, value in zip(drawn["tick"], drawn["bps"], strict=True) if value is None]
    assert len(breaks) == 1
    assert 40_000 <= breaks[0] <= 40_101


# --- the guard's window


@pytest.mark.parametrize("seed", range(4))
def test_given_errors_when_the_window_is_drawn_then_it_is_the_live_guards(seed):
    errors = wandering(300, seed)
    guard = SaturationGuard(GUARD.thresholds)
    armed = {}
    for tick, error in enumerate(errors, 1):
        guard.observe(error)
        if error is not None and guard.window_n == GUARD.lookback_ticks:
            armed[tick] = (abs(guard.mean_bps), round(guard.prevalence_pct, 3))

    found = plots(errors)

    means, shares = known(found["mean"], "bps"), known(found["share"], "pct")
    assert means == pytest.approx({tick: mean for tick, (mean, _) in armed.items()}, abs=6e-4)
    assert shares == {tick: share for tick, (_, share) in armed.items()}


def test_given_no_settings_when_drawn_then_there_is_an_error_and_no_window():
    found = plots([1.0] * 60, settings=None)

    assert found["guard"] is None
    assert found["mean"]["tick"] == []
    assert len(found["error"]["tick"]) == 60


# --- what is not there


def test_given_nulls_missing_rows_and_an_unarmed_window_when_covered_then_each_is_counted_per_stretch():
    ticks = [*range(1, 11), *range(21, 61)]
    errors = [None if 31 <= tick <= 35 else 1.0 for tick in ticks]

    found = plots(errors, ticks=ticks)["coverage"]

    per_tick = {name: [] for name in ("null_pct", "missing_pct", "unarmed_pct")}
    begin = 0
    for at, end in enumerate(found["to_tick"]):
        for name, values in per_tick.items():
            values.extend([found[name][at]] * (end - begin))
        begin = end
    assert per_tick["missing_pct"] == [100.0 if 11 <= tick <= 20 else 0.0 for tick in range(1, 61)]
    assert per_tick["null_pct"] == [100.0 if 31 <= tick <= 35 else 0.0 for tick in range(1, 61)]
    # After the gap the window begins anew: 25 errors, five ticks without one among them.
    assert per_tick["unarmed_pct"] == [100.0 if tick <= 10 or 21 <= tick <= 49 else 0.0 for tick in range(1, 61)]


def test_given_ticks_lost_at_the_start_when_covered_then_the_axis_begins_at_tick_1():
    found = plots([1.0] * 60, ticks=range(11, 71))

    assert (found["first_tick"], found["last_tick"]) == (1, 70)
    assert found["coverage"]["missing_pct"][0] == 100.0


def test_given_a_session_without_ticks_when_drawn_then_it_says_so():
    found = plots([])

    assert found["first_tick"] is None
    json.dumps(found, allow_nan=False)


def test_given_ticks_without_any_error_when_drawn_then_nothing_is_made_up():
    found = plots([None] * 40)

    assert found["error"]["tick"] == []
    assert found["exceedance"] == {}
    assert found["coverage"]["null_pct"] == [100.0]


# --- events


def test_given_an_event_when_looked_at_closely_then_every_tick_around_it_is_there():
    errors = wandering(2_000)
    found = plots(errors, events=[Event(1_000, "trip", "trip"), Event(990, "error", "first")])

    (window,) = found["windows"]  # the first exceedance is well inside the trip's
    assert window["kind"] == "trip"
    assert (window["first_tick"], len(window["error_bps"])) == (800, 501)
    assert window["error_bps"] == [None if error is None else round(error, 3) for error in errors[799:1_300]]


def test_given_a_window_with_missing_rows_when_drawn_then_they_are_none():
    found = plots([1.0, 2.0, 3.0], ticks=[1, 2, 5], events=[Event(2, "restart", "restart")])

    assert found["windows"][0]["error_bps"] == [1.0, 2.0, None, None, 3.0]


def test_given_more_events_than_a_page_can_mark_when_drawn_then_the_guards_come_first_and_the_rest_are_counted():
    changes = [Event(500 * at, "mode", "ACTIVE → HALT") for at in range(1, 80)]
    found = plots([1.0] * 50_000, events=[*changes, Event(49_000, "trip", "trip")])

    assert len(found["events"]) + found["events_left_out"] == 80
    assert {"tick": 49_000, "kind": "trip", "label": "trip"} in found["events"]
    assert found["windows"][0]["kind"] == "trip"
    assert len(found["windows"]) == WINDOWS_MAX


# --- distribution


def test_given_errors_when_exceedance_is_drawn_then_it_counts_those_at_or_above():
    found = plots([0.0, 1.0, -2.0, 4.0], settings=None, episodes=[(2, 4)])["exceedance"]

    assert found["raw"][0] == 100.0
    assert found["raw"][-1] == 25.0  # only the largest reaches the top
    assert found["episode"][len(found["bps"]) // 3] == 100.0
    assert found["calm"][-1] is None  # nought has no place on a logarithmic axis


def test_given_everything_when_made_into_json_then_there_is_no_nan_and_it_comes_back_equal():
    found = full_report(4_500)["plots"]

    assert json.loads(json.dumps(found, allow_nan=False)) == found


# --- prices


def test_given_a_recorded_session_when_prices_are_read_then_bands_and_fills_are_its_own(tmp_path):
    with opened(tmp_path / "k.db") as conn:
        number = store_session(conn, calm_then_drag())
    with reading(tmp_path / "k.db") as conn:
        found, columns = read_plot_columns(conn, number), read_ticks(conn, number)

    assert (found.first_tick, found.width_ticks) == (1, 1)
    assert found.bands["clob_bid"].low.tolist() == [1.304] * 120
    nulls = [error is None for error in calm_then_drag()]
    assert np.isnan(found.bands["clob_ask"].high).tolist() == nulls
    assert found.fills.side.tolist()[:2] == [1, -1]
    assert found.fills.price.tolist() == [1.3] * len(found.fills.tick)
    drawn = plots_of(columns, series=series_of(columns, GUARD), settings=GUARD, extra=found)["prices"]
    assert drawn["mark_value"]["value"][:2] == [None, 26052.0]  # the first tick has no mid
    assert drawn["bought"]["n"] + drawn["sold"]["n"] == len(found.fills.tick)


def test_given_more_ticks_than_buckets_when_prices_are_read_then_each_bucket_keeps_its_extremes(tmp_path):
    n = 3 * BUCKETS_MAX
    with opened(tmp_path / "k.db") as conn:
        number = store_session(conn, [])
        with conn:
            for tick in range(1, n + 1):
                insert(conn, "system_metrics", session_id=number, seq=tick, tick=tick, clob_bid=tick / 8)
    with reading(tmp_path / "k.db") as conn:
        found = read_plot_columns(conn, number)

    assert found.width_ticks == 3
    assert found.bands["clob_bid"].low.tolist() == [(3 * at + 1) / 8 for at in range(BUCKETS_MAX)]
    assert found.bands["clob_bid"].high.tolist() == [(3 * at + 3) / 8 for at in range(BUCKETS_MAX)]
    assert np.isnan(found.bands["mark_value"].low).all()


@pytest.mark.parametrize("wrong", ["cheap", b"\x01", float("inf")])
def test_given_a_value_that_is_no_number_when_prices_are_read_then_one_line_names_the_column(tmp_path, wrong):
    with opened(tmp_path / "k.db") as conn:
        number = store_session(conn, [1.0, 2.0, 3.0])
        conn.execute("UPDATE system_metrics SET amm_price = ? WHERE tick = 2", (wrong,))
    with (
        reading(tmp_path / "k.db") as conn,
        pytest.raises(IntegrityError, match=r"amm_price holds .* not a finite number"),
    ):
        read_plot_columns(conn, number)


def test_given_an_older_database_without_these_columns_when_read_then_there_is_nothing_to_draw(tmp_path):
    with opened(tmp_path / "k.db") as conn:
        number = store_session(conn, [1.0, 2.0])
        conn.execute("ALTER TABLE system_metrics DROP COLUMN amm_price")
        conn.execute("DROP TABLE fills")
    with reading(tmp_path / "k.db") as conn:
        found = read_plot_columns(conn, number)

    assert np.isnan(found.bands["amm_price"].low).all()
    assert not len(found.fills.tick)


def test_given_a_long_session_and_many_events_when_plotted_then_the_object_stays_small():
    n = 200_000
    columns = columns_of(wandering(n))
    events = [Event(at * 9_000 + 500, "mode", "ACTIVE → HALT") for at in range(22)]

    found = plots_of(columns, series=series_of(columns, GUARD), settings=GUARD, events=events, extra=bands(n, 200))

    assert len(json.dumps(found, separators=(",", ":"))) < 900_000
