"""The session in numbers: strict percent, exact sums, None where nothing can be said."""

from __future__ import annotations

import json
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine_proc.summary import Summary
from shared.records import TickRecord
from shared.saturation import to_nano_bps


def tick(number: int, error_bps: float | None, *, fills: int = 0, submitted: int = 0, denied: int = 0) -> TickRecord:
    blank = dict.fromkeys(TickRecord._fields)
    counts = {"fills": fills, "orders_submitted": submitted, "orders_denied": denied}
    return TickRecord(**blank | counts | {"tick": number, "anchor_error_bps": error_bps})


def summed(*errors: float | None, bias_bps: float = 7.0) -> Summary:
    summary = Summary(bias_bps)
    for number, error_bps in enumerate(errors, 1):
        summary.add(tick(number, error_bps))
    return summary


def stated(summary: Summary) -> dict[str, object]:
    return {key.removeprefix("anchor."): value and json.loads(value) for key, value in summary.statements()}


def test_given_an_empty_session_then_counts_are_zero_and_everything_else_is_not_measurable() -> None:
    assert dict(summed().statements()) == {
        "anchor.ticks": "0",
        "anchor.null_error_ticks": "0",
        "anchor.pct_error_above_5bps": None,
        "anchor.mean_error_bps": None,
        "anchor.mean_abs_error_bps": None,
        "anchor.max_abs_error_bps": None,
        "anchor.first_tick_at_bias": None,
        "anchor.trip_tick": None,
    }


def test_given_only_nulls_then_ticks_are_counted_and_no_statistic_is_zero() -> None:
    said = stated(summed(None, None, None))
    assert (said.pop("ticks"), said.pop("null_error_ticks")) == (3, 3)
    assert set(said.values()) == {None}


@pytest.mark.parametrize(
    ("errors", "pct"),
    [
        ((5.0, -5.0), 0.0),  # at 5 is not above 5
        ((5.000000000000001, -5.000000000000001), 100.0),
        ((4.9, 5.1, -5.1, 0.0), 50.0),
        ((5.1, None, None, 0.0), 50.0),  # nulls are in neither count
        ((0.0,), 0.0),
    ],
)
def test_given_errors_then_percent_above_5bps_is_strict_and_of_measured_ticks(errors: tuple, pct: float) -> None:
    assert stated(summed(*errors))["pct_error_above_5bps"] == pct


def test_given_errors_of_both_signs_then_mean_mean_of_sizes_and_largest() -> None:
    said = stated(summed(3.0, -9.0, None, 0.0))
    assert (said["mean_error_bps"], said["mean_abs_error_bps"], said["max_abs_error_bps"]) == (-2.0, 4.0, 9.0)


def test_given_errors_of_zero_then_the_largest_is_zero_and_not_none() -> None:
    assert stated(summed(0.0, -0.0))["max_abs_error_bps"] == 0.0


@pytest.mark.parametrize("size_bps", [7.0, -7.0, 6.9999999999])  # the last is 7 in the guard's nano-bps
def test_given_an_error_at_the_bias_threshold_then_its_first_tick_is_kept(size_bps: float) -> None:
    assert stated(summed(6.99, None, size_bps, 8.0))["first_tick_at_bias"] == 3


def test_given_no_error_at_the_bias_threshold_then_no_first_tick() -> None:
    assert stated(summed(6.99, -6.99))["first_tick_at_bias"] is None


def test_given_a_trip_then_its_tick_and_the_count() -> None:
    summary = summed(9.0)
    summary.tripped(25)
    assert (stated(summary)["trip_tick"], summary.breaker_trips) == (25, 1)


def test_given_ticks_with_orders_and_fills_then_totals_add_up_also_on_ticks_without_an_error() -> None:
    summary = Summary(7.0)
    summary.add(tick(1, None, fills=2, submitted=4, denied=1))
    summary.add(tick(2, 1.0, fills=1, submitted=3, denied=5))
    assert (summary.fills, summary.orders_submitted, summary.orders_denied) == (3, 7, 6)


def test_given_a_hundred_thousand_tenths_then_the_mean_has_not_drifted() -> None:
    summary = Summary(7.0)
    record = tick(1, 0.1)
    for _ in range(100_000):
        summary.add(record)
    assert stated(summary)["mean_error_bps"] == 0.1


@given(st.lists(st.none() | st.floats(-1e5, 1e5)))
def test_given_any_errors_then_means_are_the_exact_sums_of_the_guards_integers(errors: list[float | None]) -> None:
    said = stated(summed(*errors))
    nano = [to_nano_bps(error) for error in errors if error is not None]
    if not nano:
        assert said["mean_error_bps"] is None
        return
    assert said["mean_error_bps"] == float(Fraction(sum(nano), len(nano) * 10**9))
    assert said["mean_abs_error_bps"] == float(Fraction(sum(map(abs, nano)), len(nano) * 10**9))
    above = sum(abs(error) > 5.0 for error in errors if error is not None)
    assert said["pct_error_above_5bps"] == 100.0 * above / len(nano)
