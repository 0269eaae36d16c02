"""Quantiles are values that occurred; spreads say None, never NaN, where there is none."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from telemetry_proc.quantiles import abs_quantiles, at_or_above, quantile, spread, sums_at_or_above

ANY = arrays(np.float64, st.integers(1, 60), elements=st.floats(allow_nan=False, allow_infinity=False))


@pytest.mark.parametrize(
    ("n", "permille", "expected"),
    [(1, 1, 1), (2, 500, 1), (2, 501, 2), (100, 990, 99), (100, 999, 100), (1000, 999, 999), (10, 1000, 10)],
)
def test_given_a_sample_when_ranked_then_the_quantile_is_its_nearest_rank(n, permille, expected):
    assert quantile(range(1, n + 1), permille) == expected
    assert quantile(np.arange(1.0, n + 1), permille) == expected


def test_given_a_known_sample_when_its_spread_is_taken_then_it_is_the_textbook_one():
    values = np.array([2.0, -1.0, 4.0, 4.0, 11.0])
    found = spread(values)

    assert (found.mean, found.median, found.mad) == (4.0, 4.0, 2.0)
    assert found.sd == pytest.approx(statistics.stdev(values.tolist()))
    assert found.skew == pytest.approx((-8 - 125 + 343) / 5 / ((4 + 25 + 49) / 5) ** 1.5)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.1], (0.1, 0.1, None, 0.0, None)),
        ([0.1] * 7, (0.1, 0.1, 0.0, 0.0, None)),
        ([-0.0, 0.0], (0.0, 0.0, 0.0, 0.0, None)),
        ([1.0, 3.0], (2.0, 1.0, math.sqrt(2), 0.0, None)),
    ],
)
def test_given_little_to_go_by_when_its_spread_is_taken_then_nothing_is_made_up(values, expected):
    assert spread(np.array(values)) == pytest.approx(expected)


@given(ANY)
def test_property_given_any_sample_when_its_spread_is_taken_then_no_part_is_nan_or_minus_zero(values):
    for number in spread(values):
        assert number is None or math.isfinite(number)
        assert str(number) != "-0.0"


@given(ANY)
def test_property_given_any_sizes_when_ranked_then_each_quantile_has_its_share_below(values):
    sizes = np.sort(np.abs(values))
    found = abs_quantiles(sizes)

    assert found.max_bps == sizes[-1]
    for value, permille in zip(found, (500, 750, 900, 950, 990, 999, 1000), strict=True):
        assert value in sizes
        assert 1000 * np.count_nonzero(sizes <= value) >= permille * len(sizes)
        assert 1000 * np.count_nonzero(sizes < value) < permille * len(sizes)


def test_given_sizes_on_a_level_when_counted_then_they_are_at_or_above_it():
    sizes = [4.999999999, 5.0, 6.0, 6.5, 7.0, 7.999, 8.0, 80.0]

    assert at_or_above(np.array(sizes)) == (87.5, 75.0, 50.0, 25.0)
    assert sums_at_or_above(np.array([round(size * 25e9) for size in sizes]), 25) == (87.5, 75.0, 50.0, 25.0)
    assert at_or_above(np.array([0.0])) == (0.0, 0.0, 0.0, 0.0)
