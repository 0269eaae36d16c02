"""The grid of a sweep, and how a command line names it."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import UsageError
from shared.settings import AnchorSaturationGuard
from telemetry_proc.grid import AXIS_VALUES_MAX, DEFAULT_GRID, Grid, Setting, parse_axis

LIVE = Setting.of(AnchorSaturationGuard())


@pytest.mark.parametrize(
    ("text", "option", "values"),
    [
        ("15,25,50", "lookback", (15, 25, 50)),
        ("50, 15 ,25,15", "lookback", (15, 25, 50)),
        ("10:14", "lookback", (10, 11, 12, 13, 14)),
        ("10:20:5,50", "lookback", (10, 15, 20, 50)),
        ("10:19:5", "lookback", (10, 15)),
        ("4:6:0.5", "bias", (4.0, 4.5, 5.0, 5.5, 6.0)),
        ("6,6.5,7", "bias", (6.0, 6.5, 7.0)),
        ("7", "bias", (7.0,)),
        ("2:4", "prevalence-bps", (2.0, 3.0, 4.0)),
        ("0.1,100", "prevalence-pct", (0.1, 100.0)),
        ("0.000000001", "bias_threshold_bps", (1e-9,)),
    ],
)
def test_given_an_axis_when_parsed_then_its_values_ascend_once_each_in_their_own_type(text, option, values):
    whole = option == "lookback"
    parsed = parse_axis(text, whole=whole, name=option)
    assert parsed == values
    assert {type(value) for value in parsed} == {int if whole else float}


@given(first=st.integers(1, 500), steps=st.integers(0, 200), step=st.integers(1, 45))
def test_given_a_range_in_tenths_when_parsed_then_every_value_is_the_float_of_its_own_decimal_text(first, steps, step):
    text = f"{Decimal(first) / 10}:{Decimal(first + steps * step) / 10}:{Decimal(step) / 10}"
    assert parse_axis(text, whole=False, name="--bias") == tuple(
        float(f"{Decimal(first + at * step) / 10}") for at in range(steps + 1)
    )


@pytest.mark.parametrize(
    ("text", "option", "fault"),
    [
        ("", "--bias", "--bias: '': not a number"),
        ("6,,7", "--bias", "--bias: '': not a number"),
        ("6;7", "--bias", "--bias: '6;7': not a number"),
        ("six\nteen", "--bias", r"--bias: 'six\nteen': not a number"),
        ("4:10:1:2", "--bias", "--bias: '4:10:1:2': a range reads first:last or first:last:step"),
        ("10:4", "--bias", "--bias: '10:4': the range ends before it begins"),
        ("4:10:0", "--bias", "--bias: '4:10:0': the step must be above 0"),
        ("4:10:-1", "--bias", "--bias: '4:10:-1': the step must be above 0"),
        ("nan", "--bias", "--bias: 'nan': out of bounds"),
        ("Infinity", "--bias", "--bias: 'Infinity': out of bounds"),
        ("1e400000", "--lookback", "--lookback: '1e400000': out of bounds"),
        ("0.0000000001", "--bias", "--bias: '0.0000000001': at most nine decimals"),
        ("1:10:1e-9", "--bias", "more than 1,000 values"),
        ("1:500,501:1100", "--lookback", "--lookback: more than 1,000 values"),
        ("2.5", "--lookback", "--lookback: '2.5': whole numbers only"),
        ("10:20:0.5", "--lookback", "--lookback: '10:20:0.5': whole numbers only"),
        ("0", "--lookback", "--lookback: 0: input should be greater than or equal to 1"),
        ("9001", "--lookback", "--lookback: 9001: input should be less than or equal to 9000"),
        ("0", "--bias", "--bias: 0.0: input should be greater than 0"),
        ("-7", "--prevalence-bps", "--prevalence-bps: -7.0: input should be greater than 0"),
        ("10001", "--prevalence-bps", "--prevalence-bps: 10001.0: input should be less than or equal to 10000"),
        ("101", "--prevalence-pct", "--prevalence-pct: 101.0: input should be less than or equal to 100"),
        ("40:41:0.25", "--prevalence-pct", "--prevalence-pct: 40.25: at most one decimal"),
    ],
)
def test_given_an_axis_that_cannot_be_tried_when_parsed_then_one_line_names_option_and_fault(text, option, fault):
    with pytest.raises(UsageError) as refused:
        parse_axis(text, whole=option == "--lookback", name=option)
    line = str(refused.value)
    assert fault in line
    assert line.startswith(f"{option}: ")
    assert "\n" not in line


def test_given_as_many_values_as_an_axis_holds_when_parsed_then_they_are_taken():
    assert len(parse_axis("1:1000", whole=True, name="--lookback")) == AXIS_VALUES_MAX


@given(st.text(alphabet="0123456789.,:-e+ n", max_size=14), st.sampled_from(["lookback", "bias", "prevalence-pct"]))
def test_given_any_text_when_parsed_then_ascending_values_that_can_be_configured_or_a_usage_error(text, option):
    try:
        values = parse_axis(text, whole=option == "lookback", name=option)
    except UsageError:
        return
    assert 0 < len(values) <= AXIS_VALUES_MAX
    assert list(values) == sorted(set(values))
    assert all(value > 0 for value in values)


def test_given_the_default_grid_then_it_is_ten_by_ten_by_ten_by_ten_around_the_default_settings():
    assert DEFAULT_GRID.shape == (10, 10, 10, 10)
    assert Grid.of(**DEFAULT_GRID._asdict()) == DEFAULT_GRID
    assert DEFAULT_GRID.settings(DEFAULT_GRID.index_of(LIVE)) == LIVE
    for axis, value in zip(DEFAULT_GRID, LIVE, strict=True):
        assert axis[0] < value < axis[-1]


def test_given_a_grid_when_counted_through_then_flat_indexes_and_settings_are_each_others_inverse():
    grid = Grid((15, 25), (6.0, 7.0, 8.0), (5.0,), (40.0, 50.0))
    settings = [grid.settings(at) for at in range(grid.size)]
    assert [grid.index_of(setting) for setting in settings] == list(range(12))
    assert settings[1] == Setting(15, 6.0, 5.0, 50.0)
    for stranger in (LIVE._replace(lookback_ticks=24), LIVE._replace(bias_threshold_bps=7.25)):
        assert grid.index_of(stranger) is None
    with pytest.raises(ValueError, match="out of bounds"):
        grid.settings(12)


def test_given_values_in_any_order_when_made_a_grid_then_its_axes_ascend_and_a_setting_can_be_added():
    grid = Grid.of(
        lookback_ticks=[50, 15, 15], bias_threshold_bps=[8], prevalence_threshold_bps=[5, 4], prevalence_pct=[30]
    )
    assert grid == ((15, 50), (8,), (4, 5), (30,))
    assert grid.including(LIVE) == ((15, 25, 50), (7.0, 8), (4, 5), (30, 40.0))
    assert grid.including(LIVE).index_of(LIVE) is not None


def test_given_too_many_combinations_or_an_empty_axis_when_made_a_grid_then_refused_in_one_line():
    axes = {"bias_threshold_bps": range(1, 101), "prevalence_threshold_bps": range(1, 101), "prevalence_pct": [40.0]}
    assert Grid.of(lookback_ticks=range(1, 101), **axes).size == 1_000_000
    with pytest.raises(UsageError, match=r"^101 x 100 x 100 x 1 = 1,010,000 combinations are more than 1,000,000$"):
        Grid.of(lookback_ticks=range(1, 102), **axes)
    with pytest.raises(UsageError, match=r"^--lookback: no value to try$"):
        Grid.of(lookback_ticks=[], **axes)


def test_given_a_grid_when_asked_what_can_be_configured_then_as_the_configuration_says():
    def taken(setting: Setting) -> bool:
        try:
            AnchorSaturationGuard(**setting._asdict())
        except ValueError:
            return False
        return True

    grid = Grid((25,), (4.0, 5.0, 7.0), (4.0, 5.0, 8.0), (40.0, 50.0))
    configurable = grid.configurable()
    assert configurable.shape == grid.shape
    assert configurable.reshape(-1).tolist() == [taken(grid.settings(at)) for at in range(grid.size)]
    assert np.count_nonzero(configurable) == 2 * (1 + 2 + 2)


def test_given_a_setting_then_its_thresholds_are_the_integers_the_guard_compares():
    assert LIVE.thresholds == (25, 7_000_000_000, 5_000_000_000, 10)
