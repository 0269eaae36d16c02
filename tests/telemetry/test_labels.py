"""The label of true saturation: its definition, its borders, and what it never does."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telemetry_proc.labels import Episode, LabelSpec, calm_stretches, episodes
from tests.worlds.errors import Shift, World, calm, nano, shifted

SPEC = LabelSpec()
SMALL = LabelSpec(horizon_ticks=6, persist_ticks=5)
ONE_START = np.array([0])


def labelled(errors_bps, starts=ONE_START, spec=SPEC):
    return episodes(nano(np.asarray(errors_bps, dtype=float)), np.asarray(starts), spec)


def flat(*parts):
    """`flat((300, 0.0), (200, 8.0))`: that many errors at that level, one part after the other."""
    return np.concatenate([np.full(ticks, float(level)) for ticks, level in parts])


# --- the definition


def test_given_a_clean_step_when_labelled_then_its_exact_onset_end_side_and_level():
    (episode,) = labelled(flat((1000, 0.0), (400, -9.0), (1000, 0.0)))

    assert episode == Episode(950, 1400, 1000, -1, 9.0, ambiguous=False)._replace(begin=episode.begin)
    assert 945 <= episode.begin <= 955  # half a horizon ahead: from there on most of what comes is off


@pytest.mark.parametrize(("lasts", "found"), [(100, 0), (101, 1)])
def test_given_a_step_when_it_lasts_as_long_as_it_must_then_and_only_then_an_episode(lasts, found):
    assert len(labelled(flat((500, 0.0), (lasts, 9.0), (500, 0.0)))) == found


@pytest.mark.parametrize(
    ("level", "ambiguous"), [(4.79, None), (4.8, True), (5.9, True), (6.0, True), (7.2, True), (7.21, False)]
)
def test_given_a_level_near_beta_when_labelled_then_listed_but_not_scored(level, ambiguous):
    found = labelled(flat((500, 0.0), (300, level), (500, 0.0)))

    assert [episode.ambiguous for episode in found] == ([] if ambiguous is None else [ambiguous])


def test_given_an_error_just_below_beta_around_an_episode_when_labelled_then_it_is_not_calm_either():
    found = labelled(flat((500, 0.0), (400, 5.5), (300, 12.0), (400, 5.5), (500, 0.0)))

    assert [episode.ambiguous for episode in found] == [True, False, True]
    assert calm_stretches(2100, ONE_START, found, SPEC) == ((0, found[0].begin), (found[-1].end, 2050))


def test_given_spikes_of_any_size_when_labelled_then_no_episode():
    errors = flat((3000, 0.0))
    errors[::10] = 1e7

    assert labelled(errors) == ()


def test_given_glitches_against_it_when_labelled_then_the_onset_stays_where_it_is():
    errors = flat((1000, 0.0), (400, 9.0), (1000, 0.0))
    errors[[990, 1020, 1060, 1380]] = -1e6

    (episode,) = labelled(errors)

    assert (episode.onset, episode.end, episode.level_bps) == (1000, 1400, 9.0)


def test_given_flapping_when_it_is_off_for_less_than_the_horizon_then_one_episode():
    on_and_off = [(150, 10.0), (60, 0.0)] * 5

    (episode,) = labelled(flat((500, 0.0), *on_and_off, (500, 0.0)))

    assert (episode.onset, episode.end) == (500, 500 + 5 * 210 - 60)


def test_given_an_error_to_and_fro_when_labelled_then_nothing_persists():
    assert labelled(flat((500, 0.0), *[(60, 10.0), (60, -10.0)] * 8, (500, 0.0))) == ()


def test_given_a_change_of_side_when_labelled_then_two_episodes_that_touch():
    first, second = labelled(flat((500, 0.0), (300, 10.0), (300, -10.0), (500, 0.0)))

    assert (first.sign, first.onset, first.end) == (1, 500, 800)
    assert (second.sign, second.begin, second.onset, second.end) == (-1, 800, 800, 1100)


def test_given_episodes_cut_at_one_another_when_labelled_then_each_level_is_of_what_is_left_of_it():
    errors = flat((5, 9.0), (5, 5.0), (12, 8.0))

    found = labelled(errors, spec=SMALL)

    assert [(one.onset, one.end, one.level_bps) for one in found] == [(0, 5, 9.0), (5, 22, 8.0)]


def test_given_half_the_horizon_exactly_when_labelled_then_not_more_than_half():
    assert labelled(np.tile([9.0, 0.0], 1000)) == ()
    assert labelled(np.tile([9.0, 0.0, 9.0], 1000)) != ()


@given(st.lists(st.sampled_from((-8.0, -1.0, 0.0, 6.0, 8.0)), min_size=6, max_size=60))
def test_given_any_errors_when_judged_ahead_then_as_the_median_itself_says(errors):
    from telemetry_proc.labels import _majority

    beyond = np.array(errors) >= 6.0
    judged = _majority(beyond, 6, 3)

    assert len(judged) == len(errors) - 3 + 1
    for tick, verdict in enumerate(judged):
        ahead = sorted(errors[tick : tick + 6])
        assert bool(verdict) == (ahead[(len(ahead) - 1) // 2] >= 6.0)


# --- borders of the record


def test_given_a_session_that_ends_in_it_when_labelled_then_it_lasts_to_the_end():
    (episode,) = labelled(flat((500, 0.0), (150, 9.0)))

    assert (episode.onset, episode.end, episode.ambiguous) == (500, 650, False)


def test_given_a_session_that_ends_before_it_persisted_when_labelled_then_listed_only():
    (episode,) = labelled(flat((500, 0.0), (70, 9.0)))

    assert (episode.onset, episode.end, episode.ambiguous) == (500, 570, True)


def test_given_a_session_that_begins_in_it_when_labelled_then_the_onset_is_its_first_error():
    (episode,) = labelled(flat((300, 9.0), (500, 0.0)))

    assert (episode.begin, episode.onset, episode.end) == (0, 0, 300)


def test_given_a_start_amid_it_when_labelled_then_two_episodes_neither_across():
    found = labelled(flat((500, 0.0), (600, 9.0), (500, 0.0)), starts=[0, 800])

    assert [(episode.onset, episode.end) for episode in found] == [(500, 800), (800, 1100)]


@pytest.mark.parametrize("errors", [[], [9.0], [9.0] * 49])
def test_given_less_than_half_a_horizon_when_labelled_then_nothing_is_said(errors):
    assert labelled(errors) == ()


# --- whatever the errors


LEVELS = st.sampled_from((-12.0, -6.0, -5.0, 0.0, 0.5, 5.0, 6.0, 7.0, 12.0, 1e6))
PARTS = st.lists(st.tuples(st.integers(1, 14), LEVELS), min_size=1, max_size=12)


@settings(max_examples=300)
@given(PARTS, st.sets(st.integers(1, 120), max_size=4))
def test_given_any_errors_when_labelled_then_episodes_are_in_order_apart_and_within_a_start(parts, borders):
    errors = flat(*parts)
    starts = np.array([0, *sorted(border for border in borders if border < len(errors))])

    found = labelled(errors, starts, SMALL)

    ends = [0, *(episode.end for episode in found)]
    for before, episode in zip(ends, found, strict=False):
        assert before <= episode.begin <= episode.onset < episode.end <= len(errors)
        assert np.searchsorted(starts, episode.begin, "right") == np.searchsorted(starts, episode.end - 1, "right")
        assert episode.level_bps == np.median(episode.sign * nano(errors)[episode.onset : episode.end]) / 1e9


@settings(max_examples=200)
@given(PARTS, st.sets(st.integers(1, 120), max_size=4))
def test_given_any_errors_when_labelled_then_every_one_is_calm_or_in_one_episode_or_just_before_a_border(
    parts, borders
):
    errors = flat(*parts)
    starts = np.array([0, *sorted(border for border in borders if border < len(errors))])
    found = labelled(errors, starts, SMALL)

    covered = np.zeros(len(errors), dtype=int)
    for begin, end, *_ in (*found, *calm_stretches(len(errors), starts, found, SMALL)):
        covered[begin:end] += 1

    assert (covered <= 1).all()
    ends = np.array([*starts[1:], len(errors)])
    until_border = ends[np.searchsorted(ends, np.flatnonzero(covered == 0), side="right")] - np.flatnonzero(
        covered == 0
    )
    assert (until_border <= -(-SMALL.horizon_ticks // 2)).all()


@pytest.mark.parametrize("dragged", [1, 14, 20, 25, 26, 49, 50, 51, 100])
def test_given_a_session_that_was_stopped_soon_after_a_drag_began_then_the_drag_is_no_calm(dragged):
    errors = [0.5, -0.5] * 150 + [12.0] * dragged

    found = labelled(errors)
    calm = calm_stretches(len(errors), ONE_START, found, SPEC)

    assert len(calm) == 1
    assert calm[0][1] <= 300
    assert all(episode.ambiguous for episode in found if dragged < SPEC.persist_ticks)


@settings(max_examples=200)
@given(PARTS)
def test_given_the_other_side_when_labelled_then_the_same_episodes_there(parts):
    errors = flat(*parts)

    mirrored = labelled(-errors, spec=SMALL)

    assert tuple(episode._replace(sign=-episode.sign) for episode in mirrored) == labelled(errors, spec=SMALL)


@given(PARTS, PARTS)
def test_given_two_stretches_when_labelled_together_then_as_each_alone(one, other):
    first, second = flat(*one), flat(*other)

    together = labelled(np.concatenate((first, second)), [0, len(first)], SMALL)

    assert together == labelled(first, spec=SMALL) + tuple(
        episode._replace(
            begin=episode.begin + len(first), end=episode.end + len(first), onset=episode.onset + len(first)
        )
        for episode in labelled(second, spec=SMALL)
    )


# --- the specification


def test_given_a_specification_when_any_field_differs_then_so_does_its_digest():
    others = [
        SPEC._replace(**{field: value})
        for field, value in {
            "beta_bps": 6.5, "beta_source": "given", "horizon_ticks": 99, "persist_ticks": 99,
            "band_low": 0.7, "band_high": 1.3, "version": 2,
        }.items()
    ]  # fmt: skip

    assert len({spec.digest for spec in (SPEC, *others)}) == 8
    assert len(others) == len(LabelSpec._fields)
    assert SPEC.digest == "d2f57f56981f"  # printed in reports: the same specification has it for good


def test_given_a_million_errors_when_labelled_then_in_well_under_two_seconds():
    shifts = (Shift(at, at + 1500, 1, 12.0) for at in range(3000, 990_000, 10_000))
    world: World = shifted(calm(np.random.default_rng(3), 1_000_000), *shifts)
    errors = nano(world.errors_bps)
    began = time.process_time()

    found = episodes(errors, ONE_START, SPEC)

    assert time.process_time() - began < 2.0
    assert len(found) == 99
