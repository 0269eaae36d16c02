"""The judgement from its parts: which sessions enter it, what is asked before it, what it rests on."""

from __future__ import annotations

import numpy as np
import pytest

from shared.errors import IntegrityError, NotEnoughData, UsageError
from telemetry_proc import whatif
from telemetry_proc.calibration import calibrate, calibration_json
from telemetry_proc.grid import Grid, Setting
from telemetry_proc.kept_markouts import markouts_kept
from telemetry_proc.labels import LabelSpec
from telemetry_proc.reading import reading
from telemetry_proc.series_cache import SeriesCache
from telemetry_proc.sessions import all_sessions
from telemetry_proc.verdict import Budgets, Verdict
from tests.telemetry.made_sessions import a_market, store_fills, store_many
from tests.telemetry.recorded_session import opened

GRID = Grid.of(
    lookback_ticks=(25,), bias_threshold_bps=(6.0, 8.0), prevalence_threshold_bps=(5.0,), prevalence_pct=(40.0,)
)
NO_STATE = "guard_window_n = NULL, guard_mean_bps = NULL, guard_prevalence_pct = NULL"


@pytest.fixture(scope="module")
def with_fills(tmp_path_factory):
    """48 sessions on 12 days with a fill on every fifth tick, which loses from an error of 4 bps on."""
    path = tmp_path_factory.mktemp("with_fills") / "kedge.db"
    with opened(path) as conn:
        store_many(conn, a_market(48, ticks=800))
        store_fills(conn)
    return path


def some(path, sessions=8, *, ticks=800):
    with opened(path) as conn:
        store_many(conn, a_market(sessions, ticks=ticks))
    return path


def asked(path, *, grid=GRID, cache=None, believe=lambda _: None, **options):
    with reading(path) as conn:
        cache = cache or SeriesCache(None, markouts_kept())
        rng = np.random.default_rng(1)
        return calibrate(conn, cache, all_sessions(conn), grid, Budgets(), rng, believe=believe, **options)


def change(path, sql):
    with opened(path) as conn:
        conn.execute(sql)
        assert conn.changes()


def test_given_fills_that_lose_beyond_some_error_when_judged_then_beta_is_measured_on_them(with_fills):
    found = asked(with_fills)

    assert found.break_even.source == "measured"
    assert found.label == LabelSpec(found.break_even.beta_bps, "measured")
    assert found.break_even.beta_bps == 4.0
    assert found.recommendation.label_digest == found.label.digest
    assert found.agreement.losing >= 10
    assert (found.agreement.gaining, found.agreement.jaccard) == (0, 1.0)
    assert any("the 4 is measured: fills lose from here on" in note for note in found.recommendation.notes)
    assert any("our fills lost money in" in note for note in found.recommendation.notes)


def test_given_a_beta_when_judged_then_it_stands_and_what_the_fills_say_is_told(with_fills):
    found = asked(with_fills, beta_bps=8.0)

    assert found.label == LabelSpec(8.0, "given")
    assert found.break_even.beta_bps == 4.0
    assert any("the 8 is given; measured on the fills: fills lose" in note for note in found.recommendation.notes)


def test_given_fills_that_gain_where_it_is_saturated_when_judged_then_the_label_is_not_trusted(tmp_path):
    path = tmp_path / "kedge.db"
    with opened(path) as conn:
        store_many(conn, a_market(48, ticks=800))
        store_fills(conn, harmless_bps=30.0)

    found = asked(path, beta_bps=6.0)
    assert found.agreement.gaining >= 10
    assert found.recommendation.judged.verdict is Verdict.NOT_ENOUGH_DATA
    assert any("a label to trust: in" in said for said in found.recommendation.judged.would_change_it)


def test_given_too_few_fills_when_judged_then_beta_is_assumed(tmp_path):
    found = asked(some(tmp_path / "kedge.db"))
    assert found.label == LabelSpec()
    assert any("the 6 is assumed: not enough fills" in note for note in found.recommendation.notes)


def test_given_a_cache_when_judged_first_again_and_without_one_then_the_answer_is_the_same(with_fills):
    caches = [SeriesCache.beside(with_fills, markouts_kept()) for _ in range(2)]
    found = [calibration_json(asked(with_fills, cache=cache)) for cache in (*caches, None)]

    assert found[0] == found[1] == found[2]
    assert (caches[0].rebuilt, caches[1].rebuilt) == (48, 0)


def test_given_the_live_setting_outside_the_grid_when_judged_then_it_is_tried_as_well(tmp_path):
    found = asked(some(tmp_path / "kedge.db"))
    assert found.recommendation.live.setting == Setting(25, 7.0, 5.0, 40.0)
    assert found.recommendation.searched == 3


def test_given_a_disbeliever_when_judged_then_nothing_is_concluded_and_he_saw_every_session(tmp_path):
    path = some(tmp_path / "kedge.db")
    seen = []

    def disbelieve(found):
        seen.extend(found)
        raise IntegrityError("no")

    steps = []
    with pytest.raises(IntegrityError):
        asked(path, believe=disbelieve, steps=lambda what, sessions: steps.append(what) or iter(sessions))
    assert [one.session.session_id for one in seen] == list(range(1, 9))
    assert {one.fidelity.state for one in seen} == {"ok"}
    assert steps == ["reading"]  # and not "sweeping"


def test_given_no_session_that_is_over_when_judged_then_that_is_why_there_is_nothing_to_judge(tmp_path):
    path = some(tmp_path / "kedge.db")
    change(path, "UPDATE sessions SET status = 'RUNNING'")

    with pytest.raises(NotEnoughData, match=r"^no session that is over to judge \(8 sessions: still running\)$"):
        asked(path)


def test_given_sessions_without_guard_state_when_judged_then_they_are_left_out_and_counted(tmp_path):
    path = some(tmp_path / "kedge.db")
    change(path, f"UPDATE system_metrics SET {NO_STATE} WHERE session_id <= 3")

    found = asked(path).recommendation
    assert found.sessions == 5
    assert "left out: 3 sessions: no recorded guard state to compare" in found.notes


def test_given_no_session_with_guard_state_when_judged_then_there_is_not_enough_data(tmp_path):
    path = some(tmp_path / "kedge.db", 4)
    change(path, f"UPDATE system_metrics SET {NO_STATE}")
    change(path, "DELETE FROM circuit_breaker_events")
    with pytest.raises(NotEnoughData, match="no recorded guard state to compare in any session"):
        asked(path)


def test_given_no_configuration_on_record_when_judged_then_there_is_not_enough_data(tmp_path):
    path = some(tmp_path / "kedge.db", 4)
    change(path, "UPDATE sessions SET config_json = NULL")
    with pytest.raises(NotEnoughData, match="configuration"):
        asked(path)


def test_given_a_session_played_again_when_judged_then_neither_it_nor_its_fills_count_twice(tmp_path):
    path, again = tmp_path / "once.db", tmp_path / "again.db"
    market = a_market(12, ticks=400)
    for each, sessions in ((path, market), (again, [*market, *market[:6]])):
        with opened(each) as conn:
            store_many(conn, sessions)
            store_fills(conn)

    once, twice = asked(path), asked(again)
    assert twice.break_even == once.break_even
    assert twice.agreement == once.agreement
    assert twice.recommendation.sessions == once.recommendation.sessions == 12
    assert "left out: 6 sessions: the same errors as another session" in twice.recommendation.notes


def test_given_the_first_of_two_alike_with_a_broken_clock_when_judged_then_the_other_one_counts(tmp_path):
    path = tmp_path / "kedge.db"
    with opened(path) as conn:
        store_many(conn, [*a_market(4), *a_market(1)])
        conn.execute("UPDATE system_metrics SET ts_ns = NULL WHERE session_id = 1 AND tick = 5")

    found = asked(path).recommendation
    assert found.sessions == 4
    assert "left out: 1 session: ticks without a time, or with a clock that ran backwards" in found.notes


@pytest.mark.parametrize("column", ["started_ns", "started_at", "session_uid", "ticks"])
def test_given_a_session_row_with_nonsense_when_judged_then_it_reads_as_not_recorded(tmp_path, column):
    path = some(tmp_path / "kedge.db", 4, ticks=300)
    change(path, f"UPDATE sessions SET {column} = 'soon' WHERE session_id = 2")
    assert asked(path).recommendation.sessions == 4


def test_given_more_answers_than_memory_is_for_when_judged_then_it_is_refused_before_the_reading(tmp_path, monkeypatch):
    path = some(tmp_path / "kedge.db", 4, ticks=300)
    monkeypatch.setattr(whatif, "ANSWERS_MAX", 11)  # 4 sessions x 3 settings, the live one included
    with pytest.raises(UsageError, match="4 sessions x 3 combinations"):
        asked(path, steps=lambda *_: pytest.fail("it was read"))


def test_given_a_calibration_when_told_to_programs_then_budgets_are_shares_and_every_part_is_there(with_fills):
    told = calibration_json(asked(with_fills))
    assert set(told) == {"recommendation", "label", "break_even", "agreement"}
    assert told["recommendation"]["budgets"]["max_false"] == "1/20"
    assert told["label"]["beta_source"] == "measured"
    assert told["agreement"]["gaining"] == 0
