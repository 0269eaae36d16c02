"""What a setting does in calm and in episodes: against the live guard, tick by tick, and against numbers by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.saturation import NANO_PER_BPS, SaturationGuard
from telemetry_proc.grid import Grid, Setting
from telemetry_proc.labels import Episode
from telemetry_proc.operating import floor_ticks, operating, share_interval
from telemetry_proc.outcomes import DAY_NS, LabelledSession, outcomes
from tests.telemetry.made_outcomes import jittered, made, spread_false

GRID = Grid((3, 5), (6.0, 7.0, 9.0), (5.0, 7.0), (40.0, 60.0))
DEFAULT = Setting(25, 7.0, 5.0, 40.0)
ONE = Grid(*((value,) for value in DEFAULT))
TICK_NS = 4_000_000_000


def a_session(errors_bps, *, calm=(), episodes=(), starts=(0,), number=1, complete=True, tick_ns=TICK_NS, started_ns=0):
    errors = np.rint(np.asarray(errors_bps, dtype=np.float64) * NANO_PER_BPS).astype(np.int64)
    tick = np.arange(1, len(errors) + 1)
    return LabelledSession(
        number, started_ns, errors, tick, tick * tick_ns, np.array(starts), tuple(calm), tuple(episodes), complete
    )


def an_episode(begin, end, onset, *, ambiguous=False):
    return Episode(begin, end, onset, 1, 10.0, ambiguous)


def first_armed_breach(errors_bps, setting, starts, begin):
    """By the live guard: the first index at or after `begin` at which a window would trip, whatever was before."""
    for at in range(begin, len(errors_bps)):
        anew = max(start for start in starts if start <= at)
        guard = SaturationGuard(setting.thresholds)
        for error in errors_bps[max(anew, at - setting.lookback_ticks + 1) : at + 1]:
            guard.observe(error)
        if guard.tripped:
            return at
    return None


# --- outcomes


@settings(max_examples=60, deadline=None)
@given(
    errors=st.lists(st.sampled_from([-9.0, -7.0, 0.0, 5.0, 6.0, 7.0, 9.0]), min_size=24, max_size=40),
    border=st.integers(8, 15),
    early=st.integers(0, 3),
    restart=st.integers(1, 39),
)
def test_given_any_session_when_swept_then_every_setting_does_what_the_live_guard_would(errors, border, early, restart):
    end, starts = len(errors) - 4, (0, restart) if restart < len(errors) else (0,)
    calm = [(0, border)] if restart >= border or restart == 0 else [(0, restart), (restart, border)]
    episode = an_episode(border, end, border + early)

    found = outcomes([a_session(errors, calm=calm, episodes=[episode], starts=starts)], GRID)

    for column in range(GRID.size):
        setting = GRID.settings(column)
        trips = [first_armed_breach(errors[low:high], setting, (0,), 0) for low, high in calm]
        exposed = [
            max(0, (high - low if trip is None else trip + 1) - (setting.lookback_ticks - 1))
            for (low, high), trip in zip(calm, trips, strict=True)
        ]
        caught = first_armed_breach(errors[:end], setting, starts, border)
        after = found.trip_after[0, column]
        assert found.false_trips[0, column] == sum(trip is not None for trip in trips)
        assert found.exposure_ticks[0, column] == sum(exposed)
        assert after == (end - episode.onset if caught is None else caught - episode.onset)


def test_given_a_saturation_when_it_is_over_then_what_it_left_in_the_window_is_no_false_trip():
    errors = [0.0] * 100 + [10.0] * 300 + [0.0] * 100
    session = a_session(errors, calm=[(0, 100), (400, 500)], episodes=[an_episode(100, 400, 100)])

    found = outcomes([session], ONE)

    assert found.false_trips.tolist() == [[0]]
    assert found.exposure_ticks.tolist() == [[2 * (100 - 24)]]
    assert found.unarmed_ticks.tolist() == [[2 * 24]]


def test_given_a_clean_step_when_scored_then_the_delay_is_the_floor_and_nothing_is_in_excess():
    errors = [0.0] * 100 + [10.0] * 300

    found = outcomes([a_session(errors, calm=[(0, 100)], episodes=[an_episode(100, 400, 100)])], ONE)
    point = operating(found, DEFAULT, 0, np.random.default_rng(1))

    assert floor_ticks(DEFAULT, 10.0) == 18
    assert point.delay_mean_ticks == 17  # the 18th error of the episode, 17 ticks after its first
    assert point.delay_mean_s == 17 * 4.0
    assert point.excess_delay_ticks == 0.0
    assert (point.episodes, point.detected, point.early, point.missed) == (1, 1, 0, 0)


@pytest.mark.parametrize(
    ("setting", "level_bps", "floor"),
    [(Setting(15, 1.4, 1.0, 10.0), 1.4, 15), (Setting(15, 8.3, 5.0, 10.0), 10.375, 12), (DEFAULT, 3.0, 25)],
)
def test_given_a_level_that_divides_evenly_when_the_floor_is_told_then_no_rounding_adds_a_tick(
    setting, level_bps, floor
):
    assert floor_ticks(setting, level_bps) == floor

    guard = SaturationGuard(setting.thresholds)
    tripped = [guard.observe(error) for error in [0.0] * setting.lookback_ticks + [max(level_bps, 7.0)] * 25]
    if level_bps > 7.0:
        assert tripped.index(True) - setting.lookback_ticks + 1 == floor


def test_given_a_trip_before_the_onset_when_scored_then_it_is_early_with_delay_zero():
    errors = [0.0] * 60 + [10.0] * 340
    found = outcomes([a_session(errors, calm=[(0, 60)], episodes=[an_episode(60, 400, 90)])], ONE)

    point = operating(found, DEFAULT, 0, np.random.default_rng(1))

    assert found.trip_after.tolist() == [[-13]]
    assert (point.early, point.detected, point.delay_mean_s, point.excess_delay_ticks) == (1, 1, 0.0, None)


def test_given_an_episode_without_a_trip_when_averaged_then_it_counts_as_long_as_it_lasted():
    mild, strong = [0.0] * 50 + [6.9] * 150, [0.0] * 50 + [10.0] * 150
    sessions = [
        a_session(errors, calm=[(0, 50)], episodes=[an_episode(50, 200, 50)], number=n)
        for n, errors in enumerate((mild, strong))
    ]

    point = operating(outcomes(sessions, ONE), DEFAULT, 0, np.random.default_rng(1))

    assert (point.detected, point.missed, point.miss_share, point.recall) == (1, 1, 0.5, 0.5)
    assert point.delay_mean_s == (149 * 4.0 + 17 * 4.0) / 2
    assert point.delay_median_s == 17 * 4.0
    assert point.delay_p90_s is None, "that many never tripped"


def test_given_ticks_of_different_length_when_delays_are_told_then_each_session_has_its_own_clock():
    errors = [0.0] * 100 + [10.0] * 300
    slow, fast = (
        a_session(errors, calm=[(0, 100)], episodes=[an_episode(100, 400, 100)], number=n, tick_ns=tick_ns)
        for n, tick_ns in enumerate((10_000_000_000, 1_000_000_000))
    )

    point = operating(outcomes([slow, fast], ONE), DEFAULT, 0, np.random.default_rng(1))

    assert point.delay_mean_s == (170.0 + 17.0) / 2
    assert point.delay_mean_ticks == 17


def test_given_sessions_in_any_order_when_swept_then_rows_are_in_time_and_episodes_keep_their_session():
    calm, hit = [0.0] * 200, [0.0] * 50 + [10.0] * 150
    sessions = [
        a_session(hit, calm=[(0, 50)], episodes=[an_episode(50, 200, 50)], number=3, started_ns=2 * DAY_NS),
        a_session(calm, calm=[(0, 200)], number=1, started_ns=0),
        a_session(hit, calm=[(0, 50)], episodes=[an_episode(50, 200, 50)], number=2, started_ns=DAY_NS),
    ]

    found = outcomes(sessions, ONE)

    assert found.session_id.tolist() == [1, 2, 3]
    assert found.day.tolist() == [0, 1, 2]
    assert found.calm_session.tolist() == [True, False, False]
    assert found.episode_session.tolist() == [2, 1]


def test_given_rows_missing_that_may_hide_a_trip_when_swept_then_the_session_is_not_calm_but_its_episode_counts():
    errors = [0.0] * 100 + [10.0] * 300
    whole = a_session([0.0] * 400, calm=[(0, 400)], complete=False)
    hit = a_session(errors, calm=[(0, 100)], episodes=[an_episode(100, 400, 100)], number=2, complete=False)

    found = outcomes([whole, hit], ONE)

    assert not found.calm_session.any()
    assert not found.exposure_ticks.any()
    assert len(found.episodes) == 1


def test_given_an_ambiguous_episode_when_swept_then_it_is_counted_and_nothing_else():
    session = a_session([6.0] * 200, episodes=[an_episode(0, 200, 0, ambiguous=True)])

    found = outcomes([session], ONE)

    assert (found.ambiguous, found.episodes, found.calm_session.tolist()) == (1, (), [False])


def test_given_a_session_too_short_to_arm_the_longest_window_when_swept_then_it_is_no_calm_session():
    grid = ONE._replace(lookback_ticks=(25, 100))

    found = outcomes([a_session([0.0] * 99, calm=[(0, 99)]), a_session([0.0] * 100, calm=[(0, 100)])], grid)

    assert found.calm_session.tolist() == [False, True]


def test_given_no_session_at_all_when_swept_then_everything_is_empty_and_nothing_is_claimed():
    found = outcomes([], ONE)

    point = operating(found, DEFAULT, 0, np.random.default_rng(1))

    assert found.false_trips.shape == (0, 1)
    assert point.false_share is None
    assert point.false_share_interval is None
    assert point.delay_mean_s is None
    assert point.unarmed_share is None


# --- rates and limits


def test_given_no_false_trip_in_38_sessions_when_told_then_fewer_than_one_in_13():
    point = operating(made(ONE, np.zeros((38, 1)), np.zeros((0, 1))), DEFAULT, 0, np.random.default_rng(1))

    assert point.false_share == 0.0
    assert point.false_share_interval.low == 0.0 or point.false_share_interval.low is None
    assert point.false_share_interval.high == pytest.approx(0.0758, abs=1e-4)
    assert point.arl0_ticks is None


def test_given_false_trips_when_told_then_per_tick_and_per_day_are_of_armed_calm_ticks_up_to_the_trip():
    false = spread_false(0.1, 40)[:, None]

    point = operating(made(ONE, false, np.zeros((0, 1))), DEFAULT, 0, np.random.default_rng(1))

    exposed = 40 * 976 - 4 * 500
    assert (point.false_trips, point.false_sessions, point.exposure_ticks) == (4, 4, exposed)
    assert point.far_per_10k_ticks == pytest.approx(1e4 * 4 / exposed)
    assert point.far_per_day == pytest.approx(4 / (exposed * 4.0 / 86_400))
    assert point.arl0_ticks == exposed / 4
    assert point.far_per_10k_ticks_interval.low < point.far_per_10k_ticks < point.far_per_10k_ticks_interval.high
    assert point.unarmed_share == 24 / 1000


def test_given_sessions_of_a_day_that_share_their_fate_when_limits_are_told_then_they_are_wider():
    alike = np.repeat(spread_false(0.2, 20), 4)[:, None]
    mixed = np.tile(spread_false(0.2, 20), 4)[:, None]

    widths = []
    for false in (alike, mixed):
        point = operating(made(ONE, false, np.zeros((0, 1))), DEFAULT, 0, np.random.default_rng(1))
        widths.append(point.false_share_interval.high - point.false_share_interval.low)

    assert widths[0] > 1.3 * widths[1]


def test_given_all_or_none_when_a_share_is_told_then_the_open_side_has_all_of_the_five_percent():
    assert share_interval(59, 59).low == pytest.approx(0.05 ** (1 / 59))
    assert share_interval(0, 59).high == pytest.approx(1 - 0.05 ** (1 / 59))
    assert share_interval(0, 0) is None
    assert share_interval(18, 20).low == pytest.approx(0.683, abs=0.001)


def test_given_delays_when_limits_are_told_then_they_hold_the_mean_and_both_signs_stand_apart():
    found = made(ONE, np.zeros((0, 1)), jittered(20, 30)[:, None])

    point = operating(found, DEFAULT, 0, np.random.default_rng(1))

    assert point.delay_mean_s_interval.low < point.delay_mean_s < point.delay_mean_s_interval.high
    assert [(side.sign, side.episodes) for side in point.by_sign] == [(1, 15), (-1, 15)]
