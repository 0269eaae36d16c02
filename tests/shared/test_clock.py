"""Market time follows the market and never goes back; wall time is the machine's; both are named apart."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.clock import MarketClock, SystemClock, iso_utc


def test_given_a_market_clock_when_the_market_moves_then_it_follows_and_never_goes_back():
    clock = MarketClock(start_ns=100)
    seen = [clock.now_ns()]
    for step_ns in (150, 149, 0, -5, 151):
        clock.advance_to(step_ns)
        seen.append(clock.now_ns())

    assert seen == [100, 150, 150, 150, 150, 151]


def test_given_a_market_clock_when_only_real_time_passes_then_market_time_stands_still():
    clock = MarketClock(start_ns=7)
    before_ns = clock.monotonic_ns()
    while clock.monotonic_ns() == before_ns:
        pass

    assert clock.now_ns() == 7


def test_given_both_clocks_when_asked_for_wall_time_then_both_mean_the_machines():
    first_ns = SystemClock().wall_ns()
    between_ns = MarketClock().wall_ns()
    last_ns = SystemClock().now_ns()

    assert first_ns <= between_ns <= last_ns


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (999_999, "1970-01-01T00:00:00.000Z"),
        (1_000_000, "1970-01-01T00:00:00.001Z"),
        (1_763_647_329_113_999_999, "2025-11-20T14:02:09.113Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
        (951_782_400_000_000_000, "2000-02-29T00:00:00.000Z"),
    ],
)
def test_given_nanoseconds_when_written_for_people_then_it_is_utc_cut_to_milliseconds(ns, text):
    assert iso_utc(ns) == text


@given(st.lists(st.integers(0, 4_000_000_000 * 10**9), min_size=2, max_size=2))
def test_given_two_moments_when_written_for_people_then_they_sort_as_text_as_they_do_in_time(moments):
    earlier, later = sorted(moments)

    assert iso_utc(earlier) <= iso_utc(later)
