"""The settings a sweep tries: four axes in the units people use, and every combination of their values.

On the command line an axis is a list of values and ranges:

    15,25,50      these three
    10:150        every whole step from 10 to 150, both included
    4:10:0.5      from 4 to 10 in steps of 0.5
    10:20:5,50    10, 15, 20 and 50

Steps are counted in decimal, so 4:10:0.1 holds 6.3 itself and not the nearest sum of tenths. Bounds are those of the
configuration: what cannot be configured is not tried.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from shared.errors import UsageError
from shared.saturation import Thresholds
from shared.settings import AnchorSaturationGuard

AXIS_VALUES_MAX = 1_000
COMBINATIONS_MAX = 1_000_000

_FIELD_OF_OPTION = {
    "lookback": "lookback_ticks",
    "bias": "bias_threshold_bps",
    "prevalence-bps": "prevalence_threshold_bps",
    "prevalence-pct": "prevalence_pct",
}
# Each setting is checked beside others that agree with it whatever it is, so that only its own bounds can refuse it.
_AGREEABLE: dict[str, Any] = {
    "lookback_ticks": 1, "bias_threshold_bps": 10_000.0, "prevalence_threshold_bps": 1e-9, "prevalence_pct": 100.0,
}  # fmt: skip


class Setting(NamedTuple):
    """One combination, as it stands in the configuration's `anchor_saturation_guard` block."""

    lookback_ticks: int
    bias_threshold_bps: float
    prevalence_threshold_bps: float
    prevalence_pct: float

    @classmethod
    def of(cls, guard: AnchorSaturationGuard) -> Setting:
        """The setting that a session ran with."""
        return cls._make(getattr(guard, name) for name in cls._fields)

    @property
    def thresholds(self) -> Thresholds:
        """In the integers that the guard compares."""
        return Thresholds.of(**self._asdict())

    @property
    def in_words(self) -> str:
        """`25 / 7 / 5 / 40%`: lookback ticks, bias bps, prevalence bps, prevalence share."""
        lookback_ticks, bias_bps, prevalence_bps, prevalence_pct = self
        return f"{lookback_ticks} / {bias_bps:g} / {prevalence_bps:g} / {prevalence_pct:g}%"


class Grid(NamedTuple):
    """Four axes, each strictly ascending. A combination is also known by its flat index, in C order of `shape`."""

    lookback_ticks: tuple[int, ...]
    bias_threshold_bps: tuple[float, ...]
    prevalence_threshold_bps: tuple[float, ...]
    prevalence_pct: tuple[float, ...]

    @classmethod
    def of(
        cls,
        *,
        lookback_ticks: Sequence[int],
        bias_threshold_bps: Sequence[float],
        prevalence_threshold_bps: Sequence[float],
        prevalence_pct: Sequence[float],
    ) -> Grid:
        """From values in any order, repeated or not. Raises `UsageError` for an empty axis and for too many values."""
        given = (lookback_ticks, bias_threshold_bps, prevalence_threshold_bps, prevalence_pct)
        grid = cls._make(tuple(sorted(set(axis))) for axis in given)
        for option, axis in zip(_FIELD_OF_OPTION, grid, strict=True):
            if not axis:
                raise UsageError(f"--{option}: no value to try")
        if grid.size > COMBINATIONS_MAX:
            raise UsageError(
                f"{' x '.join(map(str, grid.shape))} = {grid.size:,} combinations are more than {COMBINATIONS_MAX:,}"
            )
        return grid

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """How many values each axis has: (lookback, bias, prevalence bps, prevalence pct)."""
        lookbacks, biases, prevalences, shares = map(len, self)
        return lookbacks, biases, prevalences, shares

    @property
    def size(self) -> int:
        """How many combinations there are."""
        return math.prod(self.shape)

    def settings(self, flat_index: int) -> Setting:
        """The combination with this flat index. Raises ValueError for an index outside the grid."""
        at = np.unravel_index(flat_index, self.shape)
        return Setting._make(axis[int(i)] for axis, i in zip(self, at, strict=True))

    def index_of(self, setting: Setting) -> int | None:
        """The flat index of a combination, None if the grid does not hold it."""
        try:
            at = [axis.index(value) for axis, value in zip(self, setting, strict=True)]
        except ValueError:
            return None
        return int(np.ravel_multi_index(at, self.shape))

    def configurable(self) -> npt.NDArray[np.bool_]:
        """Of this grid's shape: would the configuration take it? It wants prevalence bps not above bias bps."""
        bias = np.array(self.bias_threshold_bps).reshape(1, -1, 1, 1)
        prevalence = np.array(self.prevalence_threshold_bps).reshape(1, 1, -1, 1)
        return np.broadcast_to(prevalence <= bias, self.shape)

    def including(self, setting: Setting) -> Grid:
        """This grid with a setting's values added to its axes, so that what traded is always among what is tried."""
        return Grid.of(**{name: (*getattr(self, name), getattr(setting, name)) for name in self._fields})


DEFAULT_GRID = Grid(
    lookback_ticks=(10, 15, 20, 25, 30, 40, 50, 75, 100, 150),
    bias_threshold_bps=(4.0, 5.0, 6.0, 6.5, 7.0, 7.5, 8.0, 9.0, 10.0, 12.0),
    prevalence_threshold_bps=(1.0, 2.0, 3.0, 4.0, 4.5, 5.0, 5.5, 6.0, 7.0, 8.0),
    prevalence_pct=(10.0, 20.0, 30.0, 35.0, 40.0, 45.0, 50.0, 60.0, 70.0, 80.0),
)


def parse_axis(text: str, *, whole: bool, name: str) -> tuple[Any, ...]:
    """The values that a command line names, ascending, each once: ints if `whole`, floats otherwise.

    `name` is the option, such as `--bias`, or the setting it tries; it also says which bounds hold.

    Raises `UsageError`, one line that begins with `name`.
    """
    option = name.removeprefix("--")
    field = _FIELD_OF_OPTION.get(option, option)
    values: set[int | float] = set()
    for part in text.split(","):
        try:
            numbers = [_decimal(number, whole=whole) for number in part.split(":")]
            values.update(map(int if whole else float, _steps(numbers)))
        except ValueError as error:
            raise UsageError(f"{name}: {part.strip()!r:.60}: {error}") from None
        if len(values) > AXIS_VALUES_MAX:
            raise UsageError(f"{name}: more than {AXIS_VALUES_MAX:,} values")
    axis = tuple(sorted(values))
    for value in axis:
        try:
            _check_bounds(field, value)
        except ValueError as error:
            raise UsageError(f"{name}: {value}: {error}") from None
    return axis


def _decimal(text: str, *, whole: bool) -> Decimal:
    try:
        number = Decimal(text.strip())
    except InvalidOperation:
        raise ValueError("not a number, and not a range first:last or first:last:step") from None
    if not number.is_finite() or number.adjusted() > 9:
        raise ValueError("out of bounds")
    exponent = number.as_tuple().exponent
    if isinstance(exponent, int) and exponent < -9:
        raise ValueError("at most nine decimals: the guard counts in billionths of a bps")
    if whole and number != int(number):
        raise ValueError("whole numbers only")
    return number


def _steps(numbers: list[Decimal]) -> list[Decimal]:
    """A value as it is, a range as its steps from first to last; the last one too if a step ends there."""
    if len(numbers) > 3:
        raise ValueError("a range reads first:last or first:last:step")
    first = numbers[0]
    last = numbers[1] if len(numbers) > 1 else first
    step = numbers[2] if len(numbers) > 2 else Decimal(1)
    if step <= 0:
        raise ValueError("the step must be above 0")
    if last < first:
        raise ValueError("the range ends before it begins")
    steps = int((last - first) / step)
    if steps >= AXIS_VALUES_MAX:
        raise ValueError(f"more than {AXIS_VALUES_MAX:,} values")
    return [first + step * at for at in range(steps + 1)]


def _check_bounds(field: str, value: float) -> None:
    """Raises ValueError with the configuration's own words for a value that it would not take."""
    try:
        AnchorSaturationGuard.model_validate(_AGREEABLE | {field: value})
    except ValidationError as error:
        message = error.errors(include_url=False)[0]["msg"].removeprefix("Value error, ")
        raise ValueError(message[:1].lower() + message[1:]) from None
