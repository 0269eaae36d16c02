"""Does the label find the shifts that are there, and only those? Worlds of many kinds, the truth known."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from telemetry_proc.labels import LabelSpec, episodes
from tests.worlds.errors import Shift, a_shift, calm, flapping, nano, oscillating, shifted, spiky, various_calm

TICKS = 10_000
FROM_ITS_FIRST_TICK = np.array([0])

KINDS = {
    "calm, sessions differ": lambda rng: various_calm(rng, TICKS),
    "calm, sd 3.5, rho .98": lambda rng: calm(rng, TICKS, sd_bps=3.5, rho=0.98),
    "step of 5-16 bps": lambda rng: shifted(various_calm(rng, TICKS), a_shift(rng, TICKS)),
    "ramp of 1-60 ticks": lambda rng: shifted(various_calm(rng, TICKS), a_shift(rng, TICKS, ramp_ticks_max=60)),
    "spikes, 2 % of 60 bps": lambda rng: spiky(rng, various_calm(rng, TICKS)),
    "flapping, 15 on 5 off": lambda rng: flapping(rng, various_calm(rng, TICKS), on_ticks=15, off_ticks=5),
    "flapping, 90 on 40 off": lambda rng: flapping(rng, various_calm(rng, TICKS), on_ticks=90, off_ticks=40),
    "flapping, 15 on 30 off": lambda rng: flapping(rng, various_calm(rng, TICKS), on_ticks=15, off_ticks=30),
    "to and fro, 60 each": lambda rng: oscillating(rng, various_calm(rng, TICKS)),
}


class Scores(NamedTuple):
    """What became of a kind's sessions.

    Fields:
        clear, near: true shifts above the band, and those in or below it.
        found, listed: clear shifts that a scored episode meets, and those that only an ambiguous one meets.
        near_scored: near shifts that a scored episode meets.
        false_scored, false_listed: episodes that meet no true shift.
        onset_errors, end_errors: ticks, of clear shifts found.
    """

    sessions: int
    clear: int
    near: int
    found: int
    listed: int
    near_scored: int
    false_scored: int
    false_listed: int
    onset_errors: list[int]
    end_errors: list[int]


def scores(make, rng, *, sessions=400, spec=LabelSpec()):  # noqa: B008 - frozen
    """Label that many sessions of a world and compare with the truth."""
    clear = near = found = listed = near_scored = false_scored = false_listed = 0
    onset_errors, end_errors = [], []
    for _ in range(sessions):
        world = make(rng)
        labelled = episodes(nano(world.errors_bps), FROM_ITS_FIRST_TICK, spec)
        for shift in world.shifts:
            met = [episode for episode in labelled if meets(episode, shift)]
            scored = any(not episode.ambiguous for episode in met)
            if shift.level_bps <= spec.band_high * spec.beta_bps:
                near, near_scored = near + 1, near_scored + scored
                continue
            clear, found, listed = clear + 1, found + scored, listed + (bool(met) and not scored)
            if met:
                onset_errors.append(met[0].onset - shift.onset)
                end_errors.append(met[-1].end - shift.end)
        strays = [e for e in labelled if not any(meets(e, shift) for shift in world.shifts)]
        false_scored += sum(not episode.ambiguous for episode in strays)
        false_listed += sum(episode.ambiguous for episode in strays)
    return Scores(
        sessions, clear, near, found, listed, near_scored, false_scored, false_listed, onset_errors, end_errors
    )


def meets(episode, shift: Shift):
    """They share a tick and a side."""
    return episode.begin < shift.end and shift.onset < episode.end and episode.sign == shift.sign


def table(rng, *, sessions=400):
    """The lines of the table, as docs/calibration.md shows them."""
    yield (
        f"| world ({sessions} sessions of {TICKS:,} ticks each) | clear shifts | found | only listed | missed "
        "| near beta | of these scored | false, scored | false, listed | onset error | end error |"
    )
    yield "|---|" + "---:|" * 10
    for kind, make in KINDS.items():
        got = scores(make, rng, sessions=sessions)
        missed = got.clear - got.found - got.listed
        yield (
            f"| {kind} | {got.clear} | {got.found} | {got.listed} | {missed} | {got.near} | {got.near_scored} "
            f"| {got.false_scored} | {got.false_listed} | {spread(got.onset_errors)} | {spread(got.end_errors)} |"
        )


def spread(errors):
    """Median and the middle 90 % in ticks."""
    if not errors:
        return "-"
    low, middle, high = np.quantile(errors, (0.05, 0.5, 0.95))
    return f"{middle:+.0f} ({low:+.0f}..{high:+.0f})"
