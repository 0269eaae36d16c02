"""Which sessions are judged together, and why the others are not."""

from collections import Counter

import numpy as np

from shared.config import build_config
from telemetry_proc.fidelity import Fidelity
from telemetry_proc.grid import Setting
from telemetry_proc.labels import LabelSpec
from telemetry_proc.pooling import label_words, labelled, pool, pool_notes, post_trip_ratio
from telemetry_proc.series import Series, SeriesFacts
from telemetry_proc.sessions import Session
from telemetry_proc.tick_columns import NOT_RECORDED

OK = Fidelity("ok")


def a_session(number, overrides=(), **fields):
    config = build_config({}, "test", overrides).config_json
    given = {
        "session_id": number,
        "session_uid": f"20261120T14{number:02d}00Z-7f3a",
        "pair": "XRP/RLUSD",
        "started_ns": number * 10**12,
        "status": "ENDED",
        "end_reason": "SIGTERM",
        "config_json": config,
    }
    return Session(**(given | fields))


def a_series(errors_bps, *, missing=0, ts_ns=None):
    errors = np.rint(np.asarray(errors_bps) * 1e9).astype(np.int64)
    n = len(errors)
    tick = np.arange(1, n + 1)
    facts = SeriesFacts(n + missing, 0, 1, n, 0, n, missing, int(missing > 0), 0, None, None, None, None)
    return Series(tick, tick * 4 * 10**9 if ts_ns is None else ts_ns, errors, np.array([0]), np.array([0]), 0, facts)


def noise(seed, n=400):
    return np.random.default_rng(seed).normal(0.0, 1.0, n)


def taken(*loaded):
    left_out = Counter()
    return list(labelled(loaded, LabelSpec(), left_out)), dict(left_out)


# --- grouping


def test_given_sessions_under_other_guard_settings_when_pooled_then_they_are_one_sample_and_it_is_said():
    tight = "strategy.anchor_saturation_guard.bias_threshold_bps=6.0"

    found = pool([a_session(1), a_session(2, [tight])])

    assert [session.session_id for session in found.sessions] == [1, 2]
    assert (found.guards, found.live.bias_threshold_bps) == (2, 6.0)
    assert "2 different guard settings" in pool_notes(found, Counter(), [])[0]


def test_given_sessions_of_another_anchor_pair_or_source_when_pooled_then_they_are_left_out_and_counted():
    found = pool(
        [
            a_session(1, ["strategy.anchor.cap_bps=20.0"]),
            a_session(2, pair="XRP/USD"),
            a_session(3, ["market.feed=tape", "market.tape=a.gz"]),
            a_session(4, ["market.sim.taker_rate=0.1"]),
            a_session(5),
            a_session(6),
        ]
    )

    assert [session.session_id for session in found.sessions] == [5, 6]
    assert found.left_out == {"another anchor rule, pair or market source": 4}


def test_given_legacy_and_running_sessions_when_pooled_then_they_are_left_out_with_their_own_reason():
    found = pool([a_session(1, config_json=None), a_session(2, status="RUNNING"), a_session(3)])

    assert found.left_out == {"configuration not recorded": 1, "still running": 1}
    assert len(found.sessions) == 1


def test_given_nothing_usable_when_pooled_then_there_is_no_live_setting():
    assert pool([a_session(1, config_json="not json")]).live is None
    assert pool([]).sessions == ()


def test_given_sessions_that_crashed_or_failed_when_pooled_then_it_is_said_that_their_ends_are_missing():
    found = pool([a_session(1, status="CRASHED"), a_session(2, end_reason="fault: KeyError"), a_session(3)])

    assert found.in_trouble == 2
    assert "2 sessions crashed" in pool_notes(found, Counter(), [])[-1]


def test_given_what_was_left_out_on_the_way_when_noted_then_both_counts_are_told():
    found = pool([a_session(1, config_json=None), a_session(2)])

    notes = pool_notes(found, Counter({"anchor error not recorded": 2}), [])

    assert notes == (
        "left out: 2 sessions: anchor error not recorded",
        "left out: 1 session: configuration not recorded",
    )


def test_given_a_guard_that_was_off_when_noted_then_it_is_said_that_nothing_tripped_live():
    found = pool([a_session(1, ["strategy.anchor_saturation_guard.enabled=false"])])

    assert not found.live.enabled
    assert "disabled" in pool_notes(found, Counter(), [])[0]


def test_given_a_label_when_told_in_words_then_it_says_whether_beta_was_assumed():
    assert label_words(LabelSpec()).endswith("beyond 6 bps to one side; the 6 is assumed")


# --- labelling


def test_given_a_calm_series_when_labelled_then_it_is_one_calm_stretch_with_its_own_time():
    (one,), left_out = taken((a_session(1), a_series(noise(1)), OK))

    assert (one.calm, one.episodes, one.complete, left_out) == (((0, 350),), (), True, {})
    assert one.started_ns == 10**12


def test_given_a_saturated_series_when_labelled_then_the_episode_is_found():
    errors = np.concatenate((noise(1, 300), 12.0 + noise(2, 300)))

    (one,), _ = taken((a_session(1), a_series(errors), OK))

    assert [(episode.sign, episode.ambiguous) for episode in one.episodes] == [(1, False)]


def test_given_the_same_errors_twice_when_labelled_then_a_tape_played_again_is_no_second_observation():
    found, left_out = taken(
        (a_session(1), a_series(noise(1)), OK),
        (a_session(2), a_series(noise(1)[:300]), OK),
        (a_session(3), a_series(noise(3)), OK),
    )

    assert [one.session_id for one in found] == [1, 3]
    assert left_out == {"the same errors as another session": 1}


def test_given_a_tape_on_which_the_anchor_mostly_stands_on_mid_when_played_again_then_it_is_no_second_observation():
    errors = np.where(np.arange(1500) % 40 == 39, noise(1, 1500), 0.0)
    other = np.where(np.arange(1500) % 40 == 39, noise(2, 1500), 0.0)

    found, left_out = taken(
        (a_session(1), a_series(errors), OK),
        (a_session(2), a_series(errors), OK),
        (a_session(3), a_series(errors[:900]), OK),
        (a_session(4), a_series(other), OK),
    )

    assert [one.session_id for one in found] == [1, 4]
    assert left_out == {"the same errors as another session": 2}


def test_given_a_short_tape_when_played_again_then_it_is_no_second_observation():
    found, _ = taken(*((a_session(n), a_series(noise(1, 150)), OK) for n in (1, 2, 3)))

    assert len(found) == 1


def test_given_idle_sessions_that_agree_by_nature_when_labelled_then_each_counts():
    found, _ = taken(*((a_session(n), a_series(np.tile([1.0, -1.0], 200)), OK) for n in (1, 2)))

    assert len(found) == 2


def test_given_series_that_cannot_be_used_when_labelled_then_each_has_its_reason():
    backwards = a_series(noise(1))._replace(ts_ns=np.arange(400)[::-1])
    timeless = a_series(noise(2), ts_ns=np.full(400, NOT_RECORDED))

    found, left_out = taken(
        (a_session(1), a_series([]), Fidelity("not recorded")),
        (a_session(2), a_series(noise(2)), Fidelity("mismatch")),
        (a_session(3), backwards, OK),
        (a_session(4), timeless, OK),
    )

    assert found == []
    assert left_out == {
        "anchor error not recorded": 1,
        "the record contradicts the guard's own code": 1,
        "ticks without a time, or with a clock that ran backwards": 2,
    }


def test_given_missing_rows_when_labelled_then_only_those_that_may_hide_a_trip_make_it_incomplete():
    hiding = OK._replace(may_hide_a_breach=True)

    found, _ = taken(
        (a_session(1), a_series(noise(1), missing=30), hiding),
        (a_session(2), a_series(noise(2), missing=1), OK),
        (a_session(3), a_series(noise(3)), hiding),
    )

    assert [one.complete for one in found] == [False, True, True]


def test_given_the_same_gap_under_two_guards_when_labelled_then_the_judged_one_says_what_it_may_hide():
    gap = a_series(noise(1), missing=12)._replace(missing_before=np.array([12]))
    loud = (a_session(1), gap, OK._replace(may_hide_a_breach=True))
    silent = (a_session(2), gap._replace(error_nano_bps=gap.error_nano_bps + 1), OK)

    for share_pct, complete in ((40.0, False), (60.0, True)):
        judged = Setting(25, 7.0, 5.0, share_pct).thresholds
        found = labelled((loud, silent), LabelSpec(), Counter(), judged)
        assert [one.complete for one in found] == [complete, complete]


# --- after the trip


def test_given_errors_that_move_more_once_our_quotes_are_gone_when_compared_then_the_jump_is_told():
    errors = np.concatenate((noise(1, 300), 10.0 + 5.0 * noise(2, 300)))

    ratio = post_trip_ratio(a_series(errors), 301)

    assert 4.0 < ratio < 6.0
    assert "after a trip errors move" in pool_notes(pool([a_session(1)]), Counter(), [ratio])[0]


def test_given_errors_that_only_moved_away_when_compared_then_there_is_no_jump():
    ratio = post_trip_ratio(a_series(np.concatenate((noise(1, 300), 10.0 + noise(2, 300)))), 301)

    assert 0.7 < ratio < 1.4
    assert pool_notes(pool([a_session(1)]), Counter(), [ratio]) == ()


def test_given_a_trip_near_the_end_when_compared_then_there_is_too_little_to_say():
    assert post_trip_ratio(a_series(noise(1)), 390) is None
