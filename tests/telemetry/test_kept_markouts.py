"""Markouts that were kept are those that marking the fills anew would give, and never those of other fills."""

import numpy as np
import pytest

from telemetry_proc.kept_markouts import markouts_from, markouts_kept
from telemetry_proc.markouts import HORIZONS, markouts, read_fills
from telemetry_proc.reading import reading
from telemetry_proc.series_cache import SeriesCache
from telemetry_proc.sessions import pick
from telemetry_proc.tick_columns import read_ticks
from tests.telemetry.legacy_databases import BEFORE_ANCHOR_ERROR, legacy
from tests.telemetry.made_sessions import a_market, store_fills, store_many
from tests.telemetry.recorded_session import calm_then_drag, opened, store_session


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "kedge.db"
    with opened(path) as conn:
        store_session(conn, calm_then_drag(200, 60))
        store_many(conn, a_market(1, ticks=300))
        store_fills(conn)
        conn.execute("UPDATE system_metrics SET mid = mid + tick * tick / 1e7")
    return path


def loaded(path, session="1", *, cache=None):
    cache = cache or SeriesCache.beside(path, markouts_kept())
    with reading(path) as conn:
        return markouts_from(cache.load(conn, pick(conn, session)).extras), cache


def anew(path, session="1"):
    with reading(path) as conn:
        number = pick(conn, session).session_id
        return markouts(read_ticks(conn, number), read_fills(conn, number))


def same(one, other):
    assert one.ledger_clock == other.ledger_clock
    assert one.quote_amount.tolist() == other.quote_amount.tolist()
    for name in ("tick", "ts_ns", "side", "notional", "error_bps", "capture_bps"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    for horizon in HORIZONS:
        np.testing.assert_array_equal(one.drift_bps[horizon], other.drift_bps[horizon])
        np.testing.assert_array_equal(one.markout_bps[horizon], other.markout_bps[horizon])
    return True


@pytest.mark.parametrize("session", ["1", "2"])
def test_given_fills_when_loaded_first_again_and_without_a_cache_then_they_are_marked_alike(path, session):
    first, built = loaded(path, session)
    again, kept = loaded(path, session)
    uncached, _ = loaded(path, session, cache=SeriesCache(None, markouts_kept()))

    assert (built.rebuilt, kept.rebuilt) == (1, 0)
    assert len(first.tick) > 10
    assert same(first, anew(path, session))
    assert same(again, first)
    assert same(uncached, first)
    assert all(type(amount) is type(first.quote_amount[0]) for amount in again.quote_amount)


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE fills SET price = '1.31' WHERE session_id = 1 AND tick = 100",
        "UPDATE fills SET quote_amount = '0.14' WHERE session_id = 1 AND tick = 100",
        "UPDATE fills SET side = CASE side WHEN 'bid' THEN 'ask' ELSE 'bid' END WHERE session_id = 1",
        "UPDATE fills SET mid = NULL WHERE session_id = 1 AND tick = 100",
        "DELETE FROM fills WHERE session_id = 1 AND tick = 100",
        "DELETE FROM fills WHERE session_id = 1",
        "UPDATE system_metrics SET mid = 1.306 WHERE session_id = 1 AND tick = 108",
        "UPDATE system_metrics SET mid = NULL WHERE session_id = 1 AND tick = 108",
        "UPDATE system_metrics SET ledger_index = NULL WHERE session_id = 1 AND tick = 108",
        "UPDATE system_metrics SET ledger_index = ledger_index + 2 WHERE session_id = 1 AND tick > 107",
        "UPDATE system_metrics SET ts_ns = ts_ns + 40000000000 WHERE session_id = 1 AND tick > 107",
    ],
)  # fmt: skip
def test_given_what_was_marked_has_changed_when_loaded_again_then_it_is_marked_anew(path, sql):
    before, _ = loaded(path)
    with opened(path) as conn:
        conn.execute(sql)
        assert conn.changes()

    after, cache = loaded(path)
    assert cache.rebuilt == 1
    assert same(after, anew(path))
    with pytest.raises(AssertionError):
        same(after, before)


def test_given_a_change_in_another_session_when_loaded_again_then_what_was_kept_is_confirmed(path):
    loaded(path)
    with opened(path) as conn:
        conn.execute("UPDATE fills SET price = '1.31' WHERE session_id = 2")

    assert (loaded(path)[1].rebuilt, loaded(path)[1].confirmed) == (0, 1)


def test_given_ledger_indexes_that_are_missing_when_kept_then_the_clock_is_too(path):
    with opened(path) as conn:
        conn.execute("UPDATE system_metrics SET ledger_index = NULL WHERE session_id = 1 AND tick = 5")

    assert [loaded(path)[0].ledger_clock for _ in range(2)] == ["ticks", "ticks"]
    assert loaded(path, "2")[0].ledger_clock == "ledgers"


def test_given_a_session_without_fills_when_loaded_then_there_are_none(tmp_path):
    path = tmp_path / "kedge.db"
    with opened(path) as conn:
        store_many(conn, [[0.5] * 40])
    for _ in range(2):
        found, _ = loaded(path)
        assert len(found.tick) == 0
        assert all(len(found.markout_bps[horizon]) == 0 for horizon in HORIZONS)


def test_given_a_database_of_an_older_engine_when_loaded_then_there_are_none(tmp_path):
    path = tmp_path / "older.db"
    with legacy(path, BEFORE_ANCHOR_ERROR):
        pass
    assert len(loaded(path, "7")[0].tick) == 0
