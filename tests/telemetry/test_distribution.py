"""Exact quantiles, zones whose lower bound belongs to them, and None where there is nothing to say."""

from __future__ import annotations

import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import IntegrityError
from telemetry_proc.distribution import ErrorTally, quantile

SECOND = 10**9


def tallied(errors, *, mode="amm"):
    tally = ErrorTally()
    for tick, error in enumerate(errors):
        tally.observe(tick * SECOND, "OK" if error is not None else "EMPTY", mode if error is not None else None, error)
    return tally.distribution()


def test_given_no_ticks_when_summed_up_then_nothing_is_invented():
    found = tallied([])

    assert (found.ticks, found.n, found.nulls.ticks) == (0, 0, 0)
    assert found.mean_bps is found.median_bps is found.sd_bps is found.abs_error is None
    assert found.pct_error_above_5bps is found.nulls.share_pct is found.signs is None
    assert found.zones == ()


def test_given_only_nulls_when_summed_up_then_they_are_counted_and_no_error_is():
    found = tallied([None, None, None])

    assert (found.ticks, found.n) == (3, 0)
    assert found.nulls == (3, 100.0, 3, {"EMPTY": 3}, 2.0)
    assert found.mean_bps is None


def test_given_one_error_when_summed_up_then_there_is_no_spread():
    found = tallied([-3.0])

    assert (found.mean_bps, found.median_bps, found.sd_bps) == (-3.0, -3.0, None)
    assert found.abs_error == (3.0,) * 7


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


def test_given_runs_of_nulls_when_summed_up_then_the_longest_and_each_status_are_told():
    found = tallied([None, 1.0, None, None, None, 2.0, None])

    assert found.nulls.longest_run_ticks == 3
    assert found.nulls.ticks == 5
    assert found.nulls.seconds == 4.0


def test_given_two_anchor_modes_when_summed_up_then_each_has_its_own_numbers():
    tally = ErrorTally()
    for tick, (mode, error) in enumerate([("amm", 1.0), ("capped", -10.0), ("amm", 3.0), (None, 0.0)]):
        tally.observe(tick, "OK", mode, error)
    found = tally.distribution()

    assert found.by_anchor_mode["amm"] == (2, 2.0, 1.0, 3.0, 3.0)
    assert found.by_anchor_mode["capped"] == (1, -10.0, -10.0, 10.0, 10.0)
    assert found.by_anchor_mode["unrecorded"].n == 1
    assert found.signs == (2, 1, 1, 50.0, 25.0)


@pytest.mark.parametrize("nonsense", [math.inf, -math.inf, math.nan, "abc", 3])
def test_given_a_stored_error_that_is_no_number_when_met_then_no_conclusion_is_drawn(nonsense):
    with pytest.raises(IntegrityError, match="not a finite number"):
        ErrorTally().observe(0, "OK", "amm", nonsense)


@pytest.mark.parametrize(
    ("n", "permille", "expected"),
    [(1, 1, 1), (2, 500, 1), (2, 501, 2), (100, 990, 99), (100, 999, 100), (1000, 999, 999), (10, 1000, 10)],
)
def test_given_a_sample_when_ranked_then_the_quantile_is_its_nearest_rank(n, permille, expected):
    assert quantile(range(1, n + 1), permille) == expected


@given(st.lists(st.none() | st.floats(-1e6, 1e6), max_size=80))
def test_property_given_any_errors_when_summed_up_then_the_parts_make_the_whole(errors):
    found = tallied(errors)
    measured = [error for error in errors if error is not None]

    assert found.ticks == len(errors) == found.n + found.nulls.ticks
    assert sum(found.nulls.by_market_status.values()) == found.nulls.ticks
    if measured:
        assert sum(zone.ticks for zone in found.zones) == found.n
        assert found.mean_bps == pytest.approx(statistics.fmean(measured))
        assert list(found.abs_error) == sorted(found.abs_error)
        assert found.abs_error.max_bps == max(map(abs, measured))
        for value, share in zip(found.abs_error, (0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1.0), strict=True):
            assert sum(abs(error) <= value for error in measured) >= share * found.n - 1e-9
            assert sum(abs(error) < value for error in measured) < share * found.n + 1e-9
    if len(measured) > 1:
        assert found.sd_bps == pytest.approx(statistics.stdev(measured), abs=1e-6)
