"""A break-even that is known is found; without enough fills, or without a crossing, it is assumed and says why."""

from __future__ import annotations

import numpy as np
import pytest

from telemetry_proc.break_even import ASSUMED_BETA_BPS, FILLS_MIN, SESSIONS_MIN, break_even
from telemetry_proc.markouts import HORIZONS
from tests.telemetry.made_fills import marked, ticks

ONE = HORIZONS[0]
CAPTURE_BPS = 3.0


def world(rng, *, sessions=40, fills=100, break_even_bps=6.0, noise_bps=2.0, session_bps=0.2, largest_bps=10.0):
    """Fills whose edge falls by 1 bps with each bps of error toward them and is 0 at the break-even, plus luck.

    Each fill captures 3 bps; what the market does to it afterwards makes up the rest of its edge. The luck of a session
    is shared by all its fills. Errors toward the fill are uniform from -2 bps up.
    """
    made = []
    for _ in range(sessions):
        side = rng.choice([1, -1], fills)
        toward = rng.uniform(-2.0, largest_bps, fills)
        edge = break_even_bps - toward + rng.normal(0, session_bps) + rng.normal(0, noise_bps, fills)
        mids = np.full(3 * fills, 100.0)
        mids[2::3] *= 1 + side * (edge - CAPTURE_BPS) / 1e4
        errors = np.zeros(3 * fills)
        errors[0::3] = side * toward  # the quote's tick; its fill comes with the next, the drift with the one after
        prices = 100.0 * (1 - side * CAPTURE_BPS / 1e4)
        names = np.where(side > 0, "bid", "ask")
        made.append(marked(ticks(mids, errors), [(3 * at + 2, names[at], prices[at], "100") for at in range(fills)]))
    return made


def found_in(made, seed=1, **options):
    return break_even(made, np.random.default_rng(seed), horizon=ONE, **options)


@pytest.mark.parametrize("truth", [4.0, 6.0, 8.0])
def test_given_a_known_break_even_when_fills_are_many_then_it_is_measured(truth):
    found = found_in(world(np.random.default_rng(7), break_even_bps=truth))

    assert (found.beta_bps, found.source) == (truth, "measured")
    assert found.why.startswith("fills lose from here on: at ")
    below = next(row for row in found.bins if row.error_high_bps == truth)
    assert below.capture_bps == pytest.approx(CAPTURE_BPS)
    assert below.markout_bps > 0  # capture is in the markout once, not twice


def test_given_many_noisy_worlds_when_measured_then_what_is_called_a_loss_nearly_always_is_one():
    rng = np.random.default_rng(11)
    betas = []
    for _ in range(40):
        found = found_in(world(rng, sessions=20, fills=60, noise_bps=8.0, session_bps=0.5))
        if found.source == "measured":
            betas.append(found.beta_bps)

    assert len(betas) > 20
    assert sum(beta < 6.0 for beta in betas) <= 3
    assert max(betas) <= 10.0


def test_given_too_few_sessions_when_asked_then_beta_is_assumed_however_many_fills():
    found = found_in(world(np.random.default_rng(7), sessions=SESSIONS_MIN - 1, fills=600))

    assert (found.beta_bps, found.source) == (ASSUMED_BETA_BPS, "assumed")
    assert found.why == f"not enough fills: no bin of errors holds {FILLS_MIN} from {SESSIONS_MIN} sessions"
    assert found.bins  # what there is, is shown


def test_given_no_fills_at_all_when_asked_then_beta_is_assumed():
    beta_bps, source, why, bins = found_in([])

    assert (beta_bps, source, bins) == (ASSUMED_BETA_BPS, "assumed", ())
    assert why.startswith("not enough fills")


def test_given_errors_that_never_cost_when_asked_then_no_loss_is_called_sure():
    found = found_in(world(np.random.default_rng(7), break_even_bps=15.0))

    assert found.source == "assumed"
    assert found.why.startswith("no loss is sure, up to the largest errors with enough fills: at 8 to 10 bps, +")


@pytest.mark.parametrize("truth", [-20.0, 0.0])
def test_given_fills_that_lose_without_an_error_when_asked_then_errors_are_not_to_blame(truth):
    found = found_in(world(np.random.default_rng(7), break_even_bps=truth))

    assert found.source == "assumed"
    assert found.why.startswith("fills lose even without an error toward them")


def test_given_losses_with_nothing_smaller_to_compare_when_asked_then_there_is_no_crossing():
    made = world(np.random.default_rng(7), break_even_bps=1.0)
    only_large = [
        found._replace(error_bps=np.where(np.abs(found.error_bps) < 6.0, np.nan, found.error_bps)) for found in made
    ]

    found = found_in(only_large)

    assert found.source == "assumed"
    assert found.why.startswith("no smaller errors with enough fills to compare with: at 6 to 7 bps, -")


def test_given_a_bin_that_holds_too_little_when_asked_then_it_has_no_voice():
    # Given: the largest errors win by luck, but only few fills had them.
    made = world(np.random.default_rng(7))
    lucky = world(np.random.default_rng(8), sessions=(FILLS_MIN - 1) // 3, fills=3, break_even_bps=90.0)
    lucky = [found._replace(error_bps=found.side * 20.0) for found in lucky]

    assert found_in([*made, *lucky]).source == "measured"


def test_given_the_same_seed_when_asked_twice_then_the_answer_is_the_same():
    made = world(np.random.default_rng(7), sessions=12)

    assert found_in(made) == found_in(made)


def test_given_days_when_asked_then_sessions_of_a_day_do_not_count_as_independent():
    made = world(np.random.default_rng(7), sessions=20)

    found = found_in(made, days=np.repeat([1, 2], 10))

    assert all("2 days" in row.markout_interval_bps.method for row in found.bins)
