"""Exact quantiles, zones whose lower bound belongs to them, and None where there is nothing to say.

`told_one_by_one` says it all a second time, tick after tick and from sorted lists, without numpy.
"""

from __future__ import annotations

import json
import math
import statistics
from bisect import bisect_right
from itertools import groupby, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetry_proc.distribution import ZONE_BOUNDS_BPS, ZONE_NAMES, distribution
from telemetry_proc.tick_columns import NOT_RECORDED, UNRECORDED, Texts, TickColumns
from telemetry_proc.wording import as_json

SECOND = 10**9
PERMILLES = (500, 750, 900, 950, 990, 999, 1000)

# One tick: time in seconds, market status, anchor mode, error.
TICKS = st.lists(
    st.tuples(
        st.none() | st.integers(0, 10**6),
        st.sampled_from([None, "OK", "EMPTY", "STALE"]),
        st.sampled_from([None, "", "amm", "capped"]),
        st.none() | st.sampled_from([0.0, -0.0, 5.0, -5.0, 6.0, 7.0, -8.0, 5e-324]) | st.floats(-1e6, 1e6),
    ),
    max_size=80,
)


def texts(values):
    names = sorted(set(values), key=str)
    codes = np.array([names.index(value) for value in values], dtype=np.int64)
    return Texts(codes, tuple(UNRECORDED if name is None else name for name in names))


def columns_of(ticks, *, window_n=None, first=1):
    seconds, statuses, modes, errors = zip(*ticks, strict=True) if ticks else ((), (), (), ())
    n = len(ticks)
    ts_ns = np.array([NOT_RECORDED if at is None else at * SECOND for at in seconds], dtype=np.int64)
    nothing = np.full(n, np.nan)
    return TickColumns(
        tick=np.arange(first, first + n),
        ts_ns=ts_ns,
        ledger_index=np.full(n, NOT_RECORDED),
        guard_window_n=np.full(n, NOT_RECORDED if window_n is None else window_n),
        mid=nothing,
        anchor_error_bps=np.array(errors, dtype=np.float64),
        guard_mean_bps=nothing,
        guard_prevalence_pct=nothing,
        market_status=texts(statuses),
        anchor_mode=texts(modes),
    )


def tallied(errors, **rule):
    """One tick a second; the book is empty where there is no error."""
    ticks = [(at, *(("EMPTY", None) if error is None else ("OK", "amm")), error) for at, error in enumerate(errors)]
    return distribution(columns_of(ticks), **rule)


def ranked(ordered, permille):
    return ordered[max(0, -(-len(ordered) * permille // 1000) - 1)]


def spread_of(errors):
    """Mean, median, sd."""
    mean = math.fsum(errors) / len(errors)
    squares = math.fsum((error - mean) ** 2 for error in errors)
    return mean, ranked(errors, 500), math.sqrt(squares / (len(errors) - 1)) if len(errors) > 1 else None


def told_one_by_one(ticks):
    """The oracle, as a dict of some of the fields of `Distribution`."""
    errors = sorted(error for *_, error in ticks if error is not None)
    sizes = sorted(map(abs, errors))
    n = len(errors)
    zone_of = [len(ZONE_NAMES) if error is None else bisect_right(ZONE_BOUNDS_BPS, abs(error)) for *_, error in ticks]
    seconds = [0] * (len(ZONE_NAMES) + 1)
    for (now, *_), (then, *_), zone in zip(ticks, ticks[1:], zone_of, strict=False):
        seconds[zone] += 0 if now is None or then is None else max(0, then - now)
    null_runs = [len(list(run)) for null, run in groupby(error is None for *_, error in ticks) if null]
    far_runs = [len(list(run)) for far, run in groupby(abs(error or 0) >= 5 for *_, error in ticks) if far]
    modes = {}
    for _, _, mode, error in ticks:
        if error is not None:
            modes.setdefault(mode or UNRECORDED, []).append(error)
    return {
        "ticks": len(ticks),
        "n": n,
        "null_ticks": len(ticks) - n,
        "null_run": max(null_runs, default=0),
        "null_seconds": seconds[-1],
        "far_run": max(far_runs, default=0),
        "spread": spread_of(errors) if n else (None, None, None),
        "quantiles": [ranked(sizes, permille) for permille in PERMILLES] if n else None,
        "above_5": 100 * sum(size > 5 for size in sizes) / n if n else None,
        "at_or_above": [100 * sum(size >= level for size in sizes) / n for level in (5, 6, 7, 8)] if n else None,
        "zones": [(name, zone_of.count(at), seconds[at]) for at, name in enumerate(ZONE_NAMES)] if n else [],
        "signs": (sum(error > 0 for error in errors), sum(error < 0 for error in errors), errors.count(0)),
        "modes": {mode: sorted(of) for mode, of in sorted(modes.items())},
    }


@given(TICKS)
def test_property_given_any_ticks_when_summed_up_then_it_is_what_one_tells_one_by_one(ticks):
    found, expected = distribution(columns_of(ticks)), told_one_by_one(ticks)

    assert (found.ticks, found.n) == (expected["ticks"], expected["n"])
    assert found.nulls[0] == expected["null_ticks"]
    assert (found.nulls.longest_run_ticks, found.nulls.seconds) == (expected["null_run"], expected["null_seconds"])
    assert found.longest_run_from_5bps_ticks == expected["far_run"]
    mean, median, sd = expected["spread"]
    assert found.mean_bps == (None if mean is None else pytest.approx(mean, rel=1e-12, abs=1e-9))
    assert found.median_bps == median
    assert found.sd_bps == (None if sd is None else pytest.approx(sd, rel=1e-9, abs=1e-9))
    assert (found.abs_error and list(found.abs_error)) == expected["quantiles"]
    assert found.pct_error_above_5bps == expected["above_5"]
    assert (found.at_or_above and list(found.at_or_above)) == expected["at_or_above"]
    assert [(zone.zone_bps, zone.ticks, zone.seconds) for zone in found.zones] == expected["zones"]
    assert (found.signs[:3] if found.signs else (0, 0, 0)) == expected["signs"]
    assert list(found.by_anchor_mode) == list(expected["modes"])
    for mode, errors in expected["modes"].items():
        part, sizes = found.by_anchor_mode[mode], sorted(map(abs, errors))
        assert (part.n, part.median_bps, part.abs_p95_bps, part.abs_max_bps) == (
            len(errors),
            ranked(errors, 500),
            ranked(sizes, 950),
            sizes[-1],
        )
        assert part.mean_bps == pytest.approx(math.fsum(errors) / len(errors), rel=1e-12, abs=1e-9)


@given(TICKS, st.sets(st.integers(0, 79)), st.integers(0, 90))
def test_property_given_any_ticks_starts_and_trip_when_summed_up_then_nothing_is_nan_and_the_parts_make_the_whole(
    ticks, starts, trip_tick
):
    found = distribution(
        columns_of(ticks),
        lookback_ticks=5,
        bias_threshold_bps=7.0,
        prevalence_threshold_bps=5.0,
        starts=np.array(sorted(start for start in starts if start < len(ticks)), dtype=np.int64),
        trip_tick=trip_tick,
    )

    written = json.dumps(as_json(found), allow_nan=False)
    assert "-0.0," not in written
    assert found.before_trip.ticks + found.after_trip.ticks == found.ticks
    assert found.before_trip.ticks == min(trip_tick, len(ticks))
    assert found.before_trip.null_ticks + found.after_trip.null_ticks == found.nulls.ticks
    sides = [side.errors.n if side.errors else 0 for side in (found.before_trip, found.after_trip)]
    assert sum(sides) == sum(part.n for part in found.by_anchor_mode.values()) == found.n
    assert sum(status.ticks for status in found.nulls.statuses.values()) == found.ticks
    assert sum(status.null_ticks for status in found.nulls.statuses.values()) == found.nulls.ticks
    assert found.nulls.by_market_status == {
        name: status.null_ticks for name, status in found.nulls.statuses.items() if status.null_ticks
    }
    assert all(more >= less for more, less in pairwise(found.nulls.by_market_status.values()))


def test_given_no_ticks_when_summed_up_then_nothing_is_invented():
    found = tallied([], lookback_ticks=25, bias_threshold_bps=7.0, prevalence_threshold_bps=5.0, trip_tick=3)

    assert (found.ticks, found.n, found.recorded) == (0, 0, False)
    assert found.nulls == (0, None, 0, {}, 0.0, {})
    assert found.mean_bps is found.median_bps is found.sd_bps is found.mad_bps is found.skew is None
    assert found.abs_error is found.pct_error_above_5bps is found.at_or_above is found.signs is None
    assert found.autocorrelation is found.window_noise is None
    assert found.zones == ()
    assert found.rolling == (25, 5.0, 0, None, None)
    assert found.before_trip == found.after_trip == (0, 0, None, None, None)


def test_given_only_nulls_when_summed_up_then_they_are_counted_and_no_error_is():
    found = tallied([None, None, None])

    assert (found.ticks, found.n) == (3, 0)
    assert found.nulls == (3, 100.0, 3, {"EMPTY": 3}, 2.0, {"EMPTY": (3, 3, 100.0, 100.0, 3)})
    assert found.mean_bps is found.rolling is found.before_trip is None


def test_given_ticks_without_errors_when_summed_up_then_a_guards_window_tells_whether_they_were_measured():
    ticks = [(0, "EMPTY", None, None)] * 3

    assert not distribution(columns_of(ticks)).recorded
    assert distribution(columns_of(ticks, window_n=0)).recorded
    assert distribution(columns_of([*ticks, (4, "OK", "amm", 0.0)])).recorded


def test_given_one_error_when_summed_up_then_there_is_no_spread():
    found = tallied([-3.0], lookback_ticks=1, bias_threshold_bps=7.0)

    assert (found.mean_bps, found.median_bps, found.sd_bps, found.skew) == (-3.0, -3.0, None, None)
    assert found.abs_error == (3.0,) * 7
    assert found.autocorrelation is found.window_noise is None
    assert found.rolling.mean.mean_bps == -3.0


def test_given_errors_that_are_all_equal_when_summed_up_then_they_vary_by_nothing_and_remember_nothing():
    found = tallied([0.1] * 300, lookback_ticks=25, bias_threshold_bps=7.0, prevalence_threshold_bps=5.0)

    assert (found.mean_bps, found.sd_bps, found.mad_bps, found.skew) == (0.1, 0.0, 0.0, None)
    assert found.autocorrelation is found.window_noise is found.rolling.mean.autocorrelation is None
    assert found.rolling.mean.sd_bps == 0.0


def test_given_errors_on_the_bounds_when_zoned_then_the_lower_bound_belongs_to_the_zone():
    found = tallied([4.99, 5.0, -5.0, 5.99, 6.0, -7.0, 7.99, 8.0, -80.0])

    assert [(zone.zone_bps, zone.ticks) for zone in found.zones] == [
        ("<5", 1),
        ("5-6", 3),
        ("6-7", 1),
        ("7-8", 2),
        (">=8", 2),
    ]
    assert [zone.seconds for zone in found.zones] == [1.0, 3.0, 1.0, 2.0, 1.0]  # the last tick has no duration
    assert found.pct_error_above_5bps == pytest.approx(100.0 * 6 / 9)  # exactly 5 is not above 5
    assert found.at_or_above == pytest.approx([100 * part / 9 for part in (8, 5, 4, 2)])


def test_given_runs_of_nulls_when_summed_up_then_the_longest_and_each_status_are_told():
    statuses = ["EMPTY", "OK", "STALE", "STALE", "EMPTY", "OK", "EMPTY"]
    errors = [None, 1.0, None, None, None, 2.0, None]
    found = distribution(
        columns_of(
            [(at, status, "amm", error) for at, (status, error) in enumerate(zip(statuses, errors, strict=True))]
        )
    )

    assert (found.nulls.ticks, found.nulls.longest_run_ticks, found.nulls.seconds) == (5, 3, 4.0)
    assert found.nulls.by_market_status == {"EMPTY": 3, "STALE": 2}
    assert found.nulls.statuses == {
        "EMPTY": (3, 3, 100.0, 60.0, 1),
        "STALE": (2, 2, 100.0, 40.0, 2),
        "OK": (2, 0, 0.0, 0.0, 0),
    }


def test_given_missing_ticks_when_zoned_then_their_time_is_in_no_zone_and_no_run_goes_on_across_them():
    ticks = [(0, "OK", "amm", 9.0), (1, "OK", "amm", 9.0), (5_000, "OK", "amm", 9.0), (5_001, "OK", "amm", 0.0)]
    nulls = [(5_002, "EMPTY", None, None), (5_003, "EMPTY", None, None), (9_000, "EMPTY", None, None)]
    columns = columns_of([*ticks, *nulls])

    found = distribution(columns._replace(tick=np.array([1, 2, 1_000, 1_001, 1_002, 1_003, 2_000])))

    assert [(zone.zone_bps, zone.seconds) for zone in found.zones if zone.ticks] == [("<5", 1.0), (">=8", 2.0)]
    assert (found.nulls.seconds, found.nulls.longest_run_ticks) == (1.0, 2)
    assert found.nulls.statuses["EMPTY"].longest_run_ticks == 2
    assert found.longest_run_from_5bps_ticks == 2


def test_given_a_clock_that_steps_back_when_zoned_then_no_time_is_negative():
    found = distribution(columns_of([(100, "OK", "amm", 9.0), (40, "OK", "amm", 0.0), (42, "OK", "amm", 9.0)]))

    assert [(zone.zone_bps, zone.seconds) for zone in found.zones if zone.ticks] == [("<5", 2.0), (">=8", 0.0)]


def test_given_two_anchor_modes_when_summed_up_then_each_has_its_own_numbers():
    modes = [("amm", 1.0), ("capped", -10.0), ("amm", 3.0), (None, 0.0), ("", -0.0)]
    found = distribution(columns_of([(at, "OK", mode, error) for at, (mode, error) in enumerate(modes)]))

    amm, capped = found.by_anchor_mode["amm"], found.by_anchor_mode["capped"]
    assert amm[:5] == (2, 2.0, 1.0, 3.0, 3.0)
    assert (amm.sd_bps, amm.mad_bps, amm.at_or_above.pct_5bps) == (pytest.approx(math.sqrt(2)), 0.0, 0.0)
    assert capped[:5] == (1, -10.0, -10.0, 10.0, 10.0)
    assert (capped.sd_bps, capped.at_or_above) == (None, (100.0,) * 4)
    assert found.by_anchor_mode["unrecorded"].n == 2  # an older engine may have left the text empty
    assert found.signs == (2, 1, 2, 40.0, 20.0)


def test_given_a_trip_when_summed_up_then_its_own_tick_is_before_it_and_each_side_has_its_numbers():
    found = tallied([0.0, 2.0, None, 8.0, 9.0, None, 10.0], lookback_ticks=2, trip_tick=5)

    assert found.before_trip[:2] == (5, 1)
    assert found.before_trip.errors[:5] == (4, 4.75, 2.0, 9.0, 9.0)
    assert found.after_trip[:2] == (2, 1)
    assert found.after_trip.errors[:5] == (1, 10.0, 10.0, 10.0, 10.0)


def test_given_a_trip_and_starts_when_each_side_is_summed_up_then_it_is_as_if_it_had_been_alone():
    errors = np.random.default_rng(4).normal(size=400).cumsum().tolist()
    starts = np.array([0, 90, 200, 230, 390])
    rule = {"lookback_ticks": 5, "bias_threshold_bps": 7.0}
    found = tallied(errors, **rule, starts=starts, trip_tick=210)
    before = tallied(errors[:210], **rule, starts=starts[:3])
    after = tallied(errors[210:], **rule, starts=starts[3:] - 210)

    assert found.before_trip[3:] == (before.autocorrelation, before.window_noise)
    assert found.after_trip[3:] == (after.autocorrelation, after.window_noise)


def test_given_a_run_of_far_errors_when_a_start_or_a_null_comes_between_then_it_is_two_runs():
    errors = [1.0, 5.0, -6.0, 7.0, 8.0, 9.0, None, 9.0]

    assert tallied(errors).longest_run_from_5bps_ticks == 5
    assert tallied(errors, starts=np.array([3])).longest_run_from_5bps_ticks == 3
    assert tallied(errors, starts=np.array([0, 3, 4, 6])).longest_run_from_5bps_ticks == 2


def test_given_starts_between_errors_when_rolled_then_no_window_spans_one():
    errors = [1.0, 2.0, None, 3.0, None, 5.0, 6.0, 7.0]

    assert tallied(errors, lookback_ticks=3).rolling.windows == 4
    # The window begins empty at row 4, so its first error is that of row 5.
    rolled = tallied(errors, lookback_ticks=3, starts=np.array([0, 4])).rolling
    assert (rolled.windows, rolled.mean.median_bps, rolled.mean.abs_mean.max_bps) == (2, 2.0, 6.0)
    assert tallied(errors, lookback_ticks=3, starts=np.array([7])).rolling.windows == 3
    assert tallied([*errors, None], lookback_ticks=3, starts=np.array([8])).rolling.windows == 4


def test_given_noise_when_summed_up_then_the_threshold_is_as_far_off_as_its_windows_really_wander():
    shocks = np.random.default_rng(1).normal(size=60_000)
    errors = np.convolve(shocks, 0.9 ** np.arange(60), "valid") + 1.0
    found = tallied(errors.tolist(), lookback_ticks=25, bias_threshold_bps=7.0, prevalence_threshold_bps=5.0)

    assert found.window_noise.sd_bps == pytest.approx(found.rolling.mean.sd_bps, rel=0.02)
    distance = (7.0 - abs(found.mean_bps)) / found.window_noise.sd_bps
    assert found.window_noise.sigma_to_threshold == pytest.approx(distance)
    assert found.autocorrelation.tau_int == pytest.approx(19, rel=0.15)
    assert found.autocorrelation.effective_n == pytest.approx(found.n / found.autocorrelation.tau_int)
    assert tallied(errors.tolist(), lookback_ticks=25).window_noise.sigma_to_threshold is None


def test_given_errors_when_a_null_comes_between_then_a_lag_counts_errors_and_not_ticks():
    errors = np.random.default_rng(2).normal(size=500).tolist()
    with_nulls = [value for error in errors for value in (error, None)]

    assert tallied(with_nulls).autocorrelation == tallied(errors).autocorrelation


def test_given_a_sample_when_its_sd_and_mad_are_told_then_they_are_the_textbook_ones():
    errors = [2.0, -1.0, 4.0, None, 4.0, 11.0]
    found = tallied(errors)

    assert found.sd_bps == pytest.approx(statistics.stdev(error for error in errors if error is not None))
    assert (found.median_bps, found.mad_bps) == (4.0, 2.0)
