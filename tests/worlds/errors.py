"""Anchor errors of sessions whose truth is known, because it was put there.

Every generator takes a numpy Generator and gives errors in bps beside the shifts that are in them. They show
mechanisms, not a market: what is measured on them is the worth of a *method*.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np


class Shift(NamedTuple):
    """The anchor dragged away on ticks [onset, end): by sign * level_bps, reached after `ramp_ticks`."""

    onset: int
    end: int
    sign: int
    level_bps: float
    ramp_ticks: int = 0


class World(NamedTuple):
    """A session's errors and all the shifts that are truly in it; without any it is calm throughout."""

    errors_bps: np.ndarray
    shifts: tuple[Shift, ...] = ()


def nano(errors_bps):
    """As the guard rounds them: once, half-even, clamped."""
    return np.rint(np.clip(errors_bps * 1e9, -1e15, 1e15)).astype(np.int64)


def calm(rng, ticks, *, sd_bps=2.0, rho=0.9):
    """AR(1) noise of that standard deviation and lag-1 autocorrelation, stationary from its first tick."""
    noise = rng.normal(0.0, sd_bps * math.sqrt(1.0 - rho * rho), ticks)
    noise[0] /= math.sqrt(1.0 - rho * rho)
    # (1 + rho B)(1 + rho^2 B^2)(1 + rho^4 B^4)... is the sum of all rho^k B^k: a recursion in a dozen vector steps.
    lag, weight = 1, rho
    while lag < ticks and weight > 1e-18:
        noise[lag:] += weight * noise[:-lag]
        lag, weight = 2 * lag, weight * weight
    return World(noise)


def various_calm(rng, ticks):
    """Calm as sessions really differ: quiet ones and nervous ones, short memories and long ones."""
    sd_bps = min(4.0, float(rng.lognormal(math.log(1.6), 0.4)))
    return calm(rng, ticks, sd_bps=sd_bps, rho=float(rng.uniform(0.8, 0.98)))


def shifted(world, *shifts):
    """The same world with these shifts on top."""
    errors = world.errors_bps.copy()
    for shift in shifts:
        risen = np.ones(shift.end - shift.onset)
        ramp = min(shift.ramp_ticks, len(risen))
        risen[:ramp] = np.arange(1, ramp + 1) / (shift.ramp_ticks + 1)
        errors[shift.onset : shift.end] += shift.sign * shift.level_bps * risen
    return World(errors, world.shifts + shifts)


def a_shift(rng, ticks, *, ramp_ticks_max=0):
    """A shift of 5 to 16 bps for 120 to 1,200 ticks, somewhere inside, at once or over a ramp."""
    lasts = int(rng.integers(120, 1200))
    onset = int(rng.integers(200, ticks - lasts - 200))
    ramp_ticks = int(rng.integers(1, ramp_ticks_max + 1)) if ramp_ticks_max else 0
    return Shift(onset, onset + lasts, int(rng.choice((-1, 1))), float(rng.uniform(5.0, 16.0)), ramp_ticks)


def spiky(rng, world, *, share=0.02, size_bps=60.0):
    """Single ticks far off to either side: a thin book for a moment, no shift."""
    struck = rng.random(len(world.errors_bps)) < share
    return world._replace(errors_bps=world.errors_bps + struck * rng.choice((-size_bps, size_bps), len(struck)))


def flapping(rng, world, *, on_ticks, off_ticks, cycles=20, level_bps=10.0):
    """On and off many times, to one side. A shift in truth if it is on most of the time, else none."""
    span = cycles * (on_ticks + off_ticks)
    onset = int(rng.integers(200, len(world.errors_bps) - span - 200))
    sign = int(rng.choice((-1, 1)))
    pattern = np.tile(np.repeat((1.0, 0.0), (on_ticks, off_ticks)), cycles)
    errors = world.errors_bps.copy()
    errors[onset : onset + span] += sign * level_bps * pattern
    if on_ticks <= off_ticks:
        return world._replace(errors_bps=errors)
    return World(errors, (*world.shifts, Shift(onset, onset + span - off_ticks, sign, level_bps)))


def oscillating(rng, world, *, half_period_ticks=60, cycles=10, level_bps=10.0):
    """Dragged to one side and back to the other, evenly: the anchor is off, but nothing persists."""
    span = 2 * cycles * half_period_ticks
    onset = int(rng.integers(200, len(world.errors_bps) - span - 200))
    errors = world.errors_bps.copy()
    errors[onset : onset + span] += level_bps * np.tile(np.repeat((1.0, -1.0), half_period_ticks), cycles)
    return world._replace(errors_bps=errors)
