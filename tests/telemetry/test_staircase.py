"""The sweep's first trips are those of the live guard, tick by tick: the oracle here is `SaturationGuard` itself."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.saturation import CLAMP_NANO_BPS, SaturationGuard, Thresholds
from shared.settings import AnchorSaturationGuard
from telemetry_proc import staircase
from telemetry_proc.grid import DEFAULT_GRID, Grid, Setting
from telemetry_proc.staircase import NEVER, first_trips

START = np.zeros(1, dtype=np.int64)
BULK_SERIES = 1_500


def test_given_random_sessions_when_swept_then_every_setting_trips_where_the_live_guard_does():
    rng = np.random.default_rng(20261121)
    compared = tripped = carried_in = 0
    for _ in range(BULK_SERIES):
        errors_bps, grid = random_errors_bps(rng), random_grid(rng)
        starts, begin = random_starts(rng, len(errors_bps)), random_begin(rng, len(errors_bps))
        with chunks_of(rng.integers(1, 200), rng.integers(1, 40), rng.integers(1, 6)):
            swept = first_trips(nano_bps(errors_bps), starts, grid, begin=begin)
        live = live_trips(errors_bps, starts, grid, begin)
        np.testing.assert_array_equal(swept, live)
        compared += grid.size
        tripped += np.count_nonzero(live != NEVER)
        carried_in += np.count_nonzero(live == begin) if begin else 0
    assert compared > 12 * BULK_SERIES
    assert 0.2 < tripped / compared < 0.8
    assert carried_in > BULK_SERIES


@pytest.mark.parametrize("seed", range(4))
def test_given_a_long_session_and_the_default_grid_when_swept_then_settings_drawn_from_it_trip_as_live(seed):
    rng = np.random.default_rng(seed)
    errors_bps = np.round(autocorrelated(rng, 40_000, 0.97, 2.4), 1)
    errors_bps[rng.random(len(errors_bps)) < 0.001] = 1e9
    starts = np.array([0, 9_000, 9_010, 32_770], dtype=np.int64)
    swept = first_trips(nano_bps(errors_bps), starts, DEFAULT_GRID).reshape(-1)
    for at in rng.integers(0, DEFAULT_GRID.size, 12).tolist():
        assert swept[at] == live_trip(errors_bps.tolist(), starts, DEFAULT_GRID.settings(at), 0)


@given(
    errors=st.lists(st.sampled_from([None, -0.7, 0.0, 0.3, 0.5, 0.7, 0.7000000001, 0.9, -1e9]), max_size=40),
    lookback_ticks=st.integers(1, 6),
    bias=st.sampled_from([0.1, 0.5, 0.7]),
    prevalence=st.sampled_from([0.1, 0.5, 0.7]),
    pct=st.sampled_from([0.1, 33.3, 40.0, 50.0, 100.0]),
)
@settings(deadline=None, max_examples=300)
def test_given_ticks_with_and_without_error_when_the_nulls_are_left_out_then_the_tick_of_the_trip_is_the_live_one(
    errors, lookback_ticks, bias, prevalence, pct
):
    setting = Setting(lookback_ticks, bias, prevalence, pct)
    guard = SaturationGuard(setting.thresholds)
    live_tick = next((tick for tick, error in enumerate(errors, 1) if guard.observe(error)), None)
    tick = np.array([tick for tick, error in enumerate(errors, 1) if error is not None])
    swept = first_trips(nano_bps([e for e in errors if e is not None]), START, one(setting)).item()
    assert (None if swept == NEVER else tick[swept]) == live_tick


@given(data=st.data())
@settings(deadline=None, max_examples=60)
def test_given_a_session_that_goes_on_when_swept_then_no_trip_of_before_moves_and_stricter_settings_trip_no_earlier(
    data,
):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    errors, grid = nano_bps(random_errors_bps(rng)), random_grid(rng)
    cut = data.draw(st.integers(0, len(errors)))
    whole = first_trips(errors, START, grid)
    np.testing.assert_array_equal(first_trips(errors[:cut], START, grid), np.where(whole < cut, whole, NEVER))
    np.testing.assert_array_equal(first_trips(-errors, START, grid), whole)
    for axis in (1, 2, 3):
        assert (np.diff(np.minimum(whole, len(errors)), axis=axis) >= 0).all()


def test_given_windows_that_tie_both_thresholds_exactly_when_swept_then_they_trip_in_either_sign():
    setting = Setting(5, 7.0, 5.0, 40.0)
    tied = [0.0] * 4 + [17.5, 17.5, 0.0]
    for sign in (1, -1):
        errors = nano_bps([sign * error for error in tied])
        assert first_trips(errors, START, one(setting)).item() == 5
        errors[4] -= sign  # a billionth of a bps less
        assert first_trips(errors, START, one(setting)).item() == NEVER


def test_given_the_largest_errors_and_lookback_when_prefixes_wrap_then_trips_are_exact():
    errors_bps = np.full(45_000, 1e6)
    errors_bps[1:40_000:2] = -1e6  # sums near zero while the counts pass every int16 and, later, the sums every int64
    grid = Grid((8_999, 9_000), (100.0, 10_000.0), (5.0, 10_000.0), (0.1, 100.0))
    swept = first_trips(nano_bps(errors_bps), START, grid)
    np.testing.assert_array_equal(swept, live_trips(errors_bps.tolist(), START, grid, 0))
    assert 40_000 < swept.max() < 45_000
    onset = 44_990
    assert (first_trips(-nano_bps(errors_bps), START, grid, begin=onset) == onset).all()
    assert nano_bps([2e6])[0] == CLAMP_NANO_BPS


def test_given_starts_when_swept_then_no_window_spans_one_and_a_carried_window_does_not_either():
    setting = Setting(10, 7.0, 5.0, 40.0)
    errors = nano_bps([8.0] * 60)
    assert first_trips(errors, np.array([0, 5, 14, 23]), one(setting)).item() == 32
    assert first_trips(errors, np.array([0, 30]), one(setting), begin=25).item() == 25
    assert first_trips(errors, np.array([0, 30]), one(setting), begin=35).item() == 39
    assert (
        first_trips(errors, np.array([30]), one(setting)).item() == 9
    )  # the first error starts a window, named or not


@pytest.mark.parametrize(
    ("errors_bps", "starts", "begin"),
    [([], [0], 0), ([], [], 0), ([9.0] * 24, [0], 0), ([9.0] * 60, list(range(0, 60, 24)), 0), ([9.0] * 60, [0], 60)],
    ids=["no errors", "no starts", "one short of the lookback", "segments all too short", "begins behind the end"],
)
def test_given_no_full_window_when_swept_then_never(errors_bps, starts, begin):
    grid = one(Setting.of(AnchorSaturationGuard()))
    swept = first_trips(nano_bps(errors_bps), np.array(starts, dtype=np.int64), grid, begin=begin)
    assert (swept.shape, swept.item()) == ((1, 1, 1, 1), NEVER)


def test_given_shares_that_need_the_same_count_and_a_lookback_of_one_when_swept_then_they_trip_together():
    grid = Grid((1, 4), (3.0, 7.0), (5.0,), (0.1, 10.0, 25.0, 26.0))
    swept = first_trips(nano_bps([4.0, 6.0, 8.0, 8.0, 0.0]), START, grid)
    assert swept[0, :, 0].tolist() == [[1] * 4, [2] * 4]
    assert swept[1, :, 0].tolist() == [[3] * 4, [NEVER] * 4]


def test_given_a_column_mapped_read_only_when_swept_then_it_is_read_and_left_alone(tmp_path):
    errors = nano_bps(autocorrelated(np.random.default_rng(3), 5_000, 0.97, 3.0))
    np.save(tmp_path / "errors.npy", errors)
    mapped = np.load(tmp_path / "errors.npy", mmap_mode="r")
    np.testing.assert_array_equal(first_trips(mapped, START, DEFAULT_GRID), first_trips(errors, START, DEFAULT_GRID))
    np.testing.assert_array_equal(mapped, errors)
    mapped._mmap.close()


def live_trips(errors_bps, starts, grid, begin):
    """What `first_trips` must return, by the live guard, setting by setting."""
    trips = [live_trip(errors_bps, starts, grid.settings(at), begin) for at in range(grid.size)]
    return np.array(trips, dtype=np.int64).reshape(grid.shape)


def live_trip(errors_bps, starts, setting: Setting, begin: int) -> int:
    """The index on which the live guard trips, started anew at each start and put back in service until `begin`."""
    thresholds: Thresholds = setting.thresholds
    anew = set(starts.tolist())
    guard = SaturationGuard(thresholds)
    for at, error_bps in enumerate(errors_bps):
        if at in anew:
            guard = SaturationGuard(thresholds)
        if guard.observe(error_bps):
            if at >= begin:
                return at
            guard.tripped = False
    return NEVER


def nano_bps(errors_bps):
    """A whole column as integers, as calibration converts it."""
    return np.rint(np.clip(np.array(errors_bps, dtype=np.float64) * 1e9, -1e15, 1e15)).astype(np.int64)


def one(setting: Setting) -> Grid:
    return Grid._make((value,) for value in setting)


def autocorrelated(rng, n, rho, sd):
    noise = rng.standard_normal(n) * sd * np.sqrt(1 - rho**2)
    level = 0.0
    return np.array([level := rho * level + step for step in noise.tolist()])


def random_errors_bps(rng):
    """A short series of a random kind: most kinds lie on tenths of a bps, so that thresholds are tied exactly."""
    n = int(rng.integers(0, 130))
    kinds = {
        "tenths": lambda: rng.integers(-9, 10, n) / 10 + rng.integers(-6, 7) / 10,
        "constant": lambda: np.full(n, rng.choice([-1, 1]) * rng.integers(1, 10) / 10),
        "step": lambda: np.where(np.arange(n) < rng.integers(0, n + 1), 0.0, rng.choice([-0.9, -0.5, 0.5, 0.7, 1.2])),
        "ramp": lambda: np.round(np.linspace(0, rng.choice([-1.5, 1.5]), n), 1),
        "flapping": lambda: 0.8 * np.sign(np.sin(np.arange(n) / rng.integers(1, 9) + 0.1)),
        "spikes": lambda: np.where(rng.random(n) < 0.1, rng.choice([-1, 1], n) * rng.integers(1, 40), 0.1),
        "heavy tails": lambda: rng.standard_t(2, n) / 2,
        "autocorrelated": lambda: autocorrelated(rng, n, 0.95, 0.8),
        "glitch": lambda: np.where(rng.random(n) < 0.03, rng.choice([-1e9, 1e9]), rng.integers(-9, 10, n) / 10),
    }
    return kinds[str(rng.choice(list(kinds)))]().tolist()


def random_grid(rng):
    """Two or three values an axis, among them shares that need the same count and lookbacks longer than a series."""
    return Grid.of(
        lookback_ticks=rng.choice([1, 2, 3, 5, 8, 13, 25, 60, 140], 2).tolist(),
        bias_threshold_bps=rng.choice([0.1, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9], 3).tolist(),
        prevalence_threshold_bps=rng.choice([0.1, 0.3, 0.5, 0.6, 0.7, 0.9], 2).tolist(),
        prevalence_pct=rng.choice([0.1, 10.0, 12.0, 28.0, 40.0, 50.0, 56.0, 80.0, 100.0], 3).tolist(),
    )


def random_starts(rng, n):
    """Mostly few starts, sometimes many; the first error is not always named among them."""
    share = rng.choice([0.0, 0.02, 0.2])
    named = np.flatnonzero(rng.random(n) < share)
    return np.unique(np.concatenate((START[: int(rng.integers(0, 2))], named))).astype(np.int64)


def random_begin(rng, n):
    return int(rng.integers(0, n + 1)) if rng.random() < 0.5 else 0


@contextmanager
def chunks_of(errors, block, slab):
    """The same method cut into other pieces: they must not show."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(staircase, "CHUNK_ERRORS", int(errors))
        patch.setattr(staircase, "BLOCK_ERRORS", int(block))
        patch.setattr(staircase, "SLAB_BLOCKS", int(slab))
        yield
