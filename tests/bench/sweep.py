"""`make bench`, third part: first trips of 10,000 settings, reading excluded, on one core.

Three sessions of a million errors, and a batch of 2,000 sessions of 20,000, all swept with the default grid:

    calm     autocorrelated (0.97 from one error to the next), standard deviation 1.2 bps
    mixed    the same with 2.2 bps: most settings trip somewhere
    worst    every window above the lowest bias threshold and none near the highest: nothing can be skipped for long
    batch    three quarters of the sessions calm, one mixed; 200 different ones, ten times each

Yardsticks, in the same rounds on the same errors: numpy with one combination at a time (prefix sums, all windows, first
that trips), timed on a few of the 10,000 and scaled; and the live guard fed each error once a combination, timed on a
slice of the errors with one combination and scaled. What the yardsticks find must be what the sweep found.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import TypeVar

import numpy as np

from shared.saturation import NANO_PER_BPS, SaturationGuard
from telemetry_proc.grid import DEFAULT_GRID, Setting
from telemetry_proc.staircase import NEVER, first_trips
from telemetry_proc.tick_columns import Floats, Ints

ROUNDS = 5
ERRORS = 1_000_000
NUMPY_COMBINATIONS = 8
LIVE_ERRORS = 50_000
BATCH_SESSIONS, BATCH_DIFFERENT, BATCH_ERRORS = 2_000, 200, 20_000
START = np.zeros(1, dtype=np.int64)
Result = TypeVar("Result")


def main() -> None:
    """Run the rounds, print a table and one JSON line."""
    rng = np.random.default_rng(1)
    sessions = {
        "calm": nano_bps(autocorrelated(rng, ERRORS, 1.2)),
        "mixed": nano_bps(autocorrelated(rng, ERRORS, 2.2)),
        "worst": nano_bps(autocorrelated(rng, ERRORS, 0.3) + 5.2),
    }
    batch = [
        nano_bps(autocorrelated(rng, BATCH_ERRORS, 2.2 if at % 4 == 3 else 1.2)) for at in range(BATCH_DIFFERENT)
    ] * (BATCH_SESSIONS // BATCH_DIFFERENT)
    drawn = [DEFAULT_GRID.settings(at) for at in rng.integers(0, DEFAULT_GRID.size, NUMPY_COMBINATIONS).tolist()]
    taken: dict[str, dict[str, list[float]]] = {name: {} for name in (*sessions, "batch")}
    tripping = {}
    for _ in range(ROUNDS):
        for name, errors in sessions.items():
            tripping[name] = one_round(errors, drawn, taken[name])
        note(taken["batch"], "sweep_s", lambda: [first_trips(errors, START, DEFAULT_GRID) for errors in batch])
    figures = {
        name: {way: statistics.median(rounds) for way, rounds in ways.items()} | {"tripping": tripping.get(name)}
        for name, ways in taken.items()
    }
    show(figures)


def one_round(errors: Ints, drawn: list[Setting], taken: dict[str, list[float]]) -> float:
    """Sweep a session and time the yardsticks; the share of settings that trip."""
    swept = note(taken, "sweep_s", lambda: first_trips(errors, START, DEFAULT_GRID))
    single = note(
        taken,
        "numpy_s",
        lambda: [numpy_trip(errors, setting) for setting in drawn],
        scale=DEFAULT_GRID.size / len(drawn),
    )
    assert single == [swept.flat[DEFAULT_GRID.index_of(setting)] for setting in drawn]
    live_errors_bps = (errors[:LIVE_ERRORS] / NANO_PER_BPS).tolist()
    note(
        taken,
        "live_s",
        lambda: live_pass(live_errors_bps, drawn[0]),
        scale=len(errors) / LIVE_ERRORS * DEFAULT_GRID.size,
    )
    return float(np.mean(swept != NEVER))


def numpy_trip(errors: Ints, setting: Setting) -> int:
    """The first trip of one setting: every window's sum and count, and the first index where both are enough."""
    lookback, bias, prevalence, need = setting.thresholds
    sums = np.concatenate(([0], np.cumsum(errors)))
    counts = np.concatenate(([0], np.cumsum(np.abs(errors) >= prevalence)))
    trips = (np.abs(sums[lookback:] - sums[:-lookback]) >= bias * lookback) & (
        counts[lookback:] - counts[:-lookback] >= need
    )
    at = int(trips.argmax())
    return at + lookback - 1 if trips[at] else NEVER


def live_pass(errors_bps: list[float], setting: Setting) -> None:
    """The guard that trades, over every error, tripped or not."""
    guard = SaturationGuard(setting.thresholds)
    for error_bps in errors_bps:
        guard.observe(error_bps)


def note(taken: dict[str, list[float]], way: str, call: Callable[[], Result], *, scale: float = 1.0) -> Result:
    """Call it and add the seconds it took, times `scale`, to this way's."""
    started_ns = time.perf_counter_ns()
    result = call()
    taken.setdefault(way, []).append((time.perf_counter_ns() - started_ns) / 1e9 * scale)
    return result


def autocorrelated(rng: np.random.Generator, n: int, sd_bps: float) -> Floats:
    """An AR(1) series with coefficient 0.97 and this standard deviation."""
    steps = rng.standard_normal(n) * sd_bps * np.sqrt(1 - 0.97**2)
    level = 0.0
    return np.fromiter((level := 0.97 * level + step for step in steps.tolist()), dtype=np.float64, count=n)


def nano_bps(errors_bps: Floats) -> Ints:
    """As calibration converts a column."""
    return np.rint(errors_bps * NANO_PER_BPS).astype(np.int64)


def show(figures: dict[str, dict[str, float | None]]) -> None:
    """The table, medians of the rounds."""
    print(f"first trips of {DEFAULT_GRID.size:,} settings, medians of {ROUNDS} rounds, one core; * scaled from a slice")
    print(f"{'session':30}{'sweep':>10}{'numpy, singly *':>18}{'live guard, singly *':>23}{'settings that trip':>21}")
    for name, of in figures.items():
        if name == "batch":
            print(f"{f'{BATCH_SESSIONS:,} x {BATCH_ERRORS:,} errors':30}{of['sweep_s']:>8.2f} s")
            continue
        print(
            f"{f'{name}, {ERRORS:,} errors':30}{of['sweep_s'] * 1e3:>7,.0f} ms{of['numpy_s']:>16,.0f} s"
            f"{of['live_s']:>21,.0f} s{of['tripping']:>21.1%}"
        )
    print(json.dumps({"figures": figures, "rounds": ROUNDS, "cpus": os.cpu_count(), "python": sys.version.split()[0]}))


if __name__ == "__main__":
    main()
