"""Do fills lose in the stretches that are called saturated? Only stretches with enough marked fills have a say."""

import numpy as np
import pytest

from telemetry_proc.agreement import (
    DISAGREEMENT_MAX,
    EPISODES_MIN,
    FILLS_MIN,
    Agreement,
    agreed_words,
    agreement,
    doubt,
)
from telemetry_proc.labels import Episode
from telemetry_proc.outcomes import LabelledSession
from tests.telemetry.made_fills import marked, ticks

TICKS = 200


def a_session(*spans, ambiguous=False):
    """Episodes over the errors with these indexes [begin, end); the error with index i is of tick i + 1."""
    number = np.arange(TICKS)
    return LabelledSession(
        session_id=1,
        started_ns=0,
        error_nano_bps=np.full(TICKS, 9_000_000_000),
        tick=number + 1,
        ts_ns=number * 4_000_000_000,
        starts=np.array([0]),
        calm=(),
        episodes=tuple(Episode(begin, end, begin, 1, 9.0, ambiguous) for begin, end in spans),
    )


def fills_on(numbers, *, losing, quote="1"):
    """Bought a little above or below a mid that does not move."""
    price = 100.01 if losing else 99.99
    return [(number, "bid", price, quote) for number in numbers]


def worth(made):
    return marked(ticks([100.0] * (TICKS + 20), [9.0] * (TICKS + 20)), sorted(made))


@pytest.mark.parametrize(("losing", "expected"), [(True, Agreement(1, 0, 0)), (False, Agreement(0, 1, 0))])
def test_given_fills_in_an_episode_when_counted_then_it_loses_or_gains(losing, expected):
    assert agreement(Agreement(), a_session((50, 80)), worth(fills_on(range(55, 65), losing=losing))) == expected


def test_given_the_borders_of_an_episode_when_counted_then_its_own_ticks_and_no_others():
    # index 50 is tick 51, and the last error of [50, 60) is that of tick 60
    inside = fills_on(range(51, 61), losing=True)
    around = fills_on((50, 61), losing=False, quote="1000")
    assert agreement(Agreement(), a_session((50, 60)), worth(inside + around)) == Agreement(1, 0, 0)
    assert agreement(Agreement(), a_session((50, 60)), worth(inside[1:] + around)) == Agreement(0, 0, 1)


def test_given_money_on_one_side_and_fills_on_the_other_when_counted_then_money_weighs():
    made = fills_on(range(55, 66), losing=False) + fills_on((70,), losing=True, quote="100")
    assert agreement(Agreement(), a_session((50, 80)), worth(made)) == Agreement(1, 0, 0)


def test_given_fills_that_brought_nothing_when_counted_then_they_did_not_lose():
    made = [(number, "bid", 100.0, "1") for number in range(55, 65)]
    assert agreement(Agreement(), a_session((50, 80)), worth(made)) == Agreement(0, 1, 0)


def test_given_fills_without_a_later_mid_when_counted_then_they_have_no_say():
    found = marked(ticks([100.0] * TICKS, [9.0] * TICKS), fills_on(range(190, 201), losing=True))
    assert FILLS_MIN < 11
    assert agreement(Agreement(), a_session((180, 200)), found) == Agreement(0, 0, 1)


def test_given_several_episodes_and_sessions_when_counted_then_ambiguous_ones_are_not():
    made = worth(fills_on(range(11, 21), losing=True) + fills_on(range(111, 121), losing=False))
    so_far = agreement(Agreement(2, 3, 4), a_session((10, 30), (40, 60), (110, 130)), made)
    assert so_far == Agreement(3, 4, 5)
    assert agreement(so_far, a_session((10, 30), ambiguous=True), made) == so_far


def test_given_no_fills_at_all_when_counted_then_nothing_speaks():
    assert agreement(Agreement(), a_session((10, 30)), worth([])) == Agreement(0, 0, 1)
    assert Agreement(0, 0, 9).jaccard is None
    assert agreed_words(Agreement(0, 0, 9)) is None
    assert doubt(Agreement(0, 0, 9)) is None


@pytest.mark.parametrize("judged", [EPISODES_MIN - 1, EPISODES_MIN, 3 * EPISODES_MIN])
def test_given_any_disagreement_when_doubted_then_above_a_third_of_enough_episodes_only(judged):
    for gaining in range(judged + 1):
        found = Agreement(judged - gaining, gaining)
        assert found.jaccard == (judged - gaining) / judged
        doubted = judged >= EPISODES_MIN and gaining > DISAGREEMENT_MAX * judged
        assert (doubt(found) is not None) == doubted


def test_given_a_disagreement_when_told_then_in_numbers():
    assert doubt(Agreement(2, 4)) == "in 4 of 6 episodes with enough fills they lost no money"
    assert agreed_words(Agreement(2, 4)) == "our fills lost money in 2 of 6 episodes with enough of them"
