"""What is kept beside the database must never differ from what reading anew gives, whatever happened meanwhile."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import shutil
import time

import numpy as np
import pytest

from shared.errors import IntegrityError
from telemetry_proc import series_cache, side_car
from telemetry_proc.reading import reading
from telemetry_proc.series_cache import Extras, SeriesCache
from telemetry_proc.sessions import all_sessions, pick
from tests.telemetry.legacy_databases import BEFORE_ANCHOR_ERROR, legacy
from tests.telemetry.recorded_session import calm_then_drag, insert, opened, store_session

AN_HOUR_S = 3600


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "kedge.db"
    with opened(path) as conn:
        store_session(conn, calm_then_drag(), uid="20261120T140209Z-0001")
        store_session(conn, [None, 1.0, 0.0, -2.0] * 20, uid="20261120T140209Z-0002")
        store_session(conn, [9.0] * 30, uid="20261120T140209Z-0003", status="RUNNING")
    lie_back(path)
    return path


def lie_back(path):
    """As if nothing had touched the database for an hour; what changes it from here on is seen by its times alone."""
    for name in (path, path.with_name(f"{path.name}-wal")):
        if name.exists():
            then = time.time() - AN_HOUR_S
            os.utime(name, (then, then))


@pytest.fixture(autouse=True)
def _times_that_can_be_set_back(monkeypatch):
    """A test cannot wait until its own database has been left alone for a second, nor set back an inode's time."""
    monkeypatch.setattr(series_cache, "LEFT_ALONE_NS", 0)


def loaded(path, extras=None):
    """Every session through the cache, and how it was got: trusted, confirmed, rebuilt."""
    cache = SeriesCache.beside(path, extras)
    with reading(path) as conn:
        found = list(cache.load_all(conn, all_sessions(conn)))
    return found, (cache.trusted, cache.confirmed, cache.rebuilt), cache.note


def anew(path, extras=None):
    cache = SeriesCache(None, extras)
    with reading(path) as conn:
        return list(cache.load_all(conn, all_sessions(conn)))


def assert_as_if_read_anew(path, extras=None):
    found, counts, _ = loaded(path, extras)
    for one, other in zip(found, anew(path, extras), strict=True):
        assert (one.session, one.settings, one.fidelity) == (other.session, other.settings, other.fidelity)
        assert one.series.facts == other.series.facts
        assert one.series.missing_after == other.series.missing_after
        for mine, theirs in zip(one.series[:5], other.series[:5], strict=True):
            assert mine.dtype == theirs.dtype
            assert mine.tolist() == theirs.tolist()
        assert one.extras.keys() == other.extras.keys()
        for name, array in one.extras.items():
            np.testing.assert_array_equal(array, other.extras[name])  # to which NaN is NaN
    return counts


def changing(path, *statements):
    with opened(path) as conn:
        for statement in statements:
            conn.execute(statement)


def test_given_an_untouched_database_when_loaded_again_then_nothing_is_read_anew(path):
    assert loaded(path)[1] == (0, 0, 3)
    assert loaded(path)[1] == (3, 0, 0)
    assert assert_as_if_read_anew(path) == (3, 0, 0)


def test_given_a_database_touched_but_unchanged_when_loaded_then_it_is_asked_once_and_trusted_again(path):
    loaded(path)
    os.utime(path)

    assert assert_as_if_read_anew(path) == (0, 3, 0)
    assert loaded(path)[1] == (3, 0, 0)


def test_given_a_database_written_to_within_the_second_when_stamped_then_the_stamp_does_not_count(path, monkeypatch):
    monkeypatch.setattr(series_cache, "LEFT_ALONE_NS", 1_000_000_000)
    os.utime(path)
    loaded(path)

    assert loaded(path)[1] == (0, 3, 0)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE system_metrics SET anchor_error_bps = 0.75 WHERE session_id = 1 AND tick = 7",
        "UPDATE system_metrics SET anchor_error_bps = anchor_error_bps + 1e-9 WHERE session_id = 1 AND tick = 70",
        "UPDATE system_metrics SET anchor_error_bps = -anchor_error_bps WHERE session_id = 1 AND tick = 70",
        "UPDATE system_metrics SET anchor_error_bps = 0.0 WHERE session_id = 1 AND tick = 1",
        "UPDATE system_metrics SET anchor_error_bps = NULL WHERE session_id = 1 AND tick = 6",
        "UPDATE system_metrics SET anchor_error_bps = 1e9 WHERE session_id = 1 AND tick = 6",
        # Two errors change places, of neighbours and of ticks far apart.
        "UPDATE system_metrics SET anchor_error_bps = CASE tick WHEN 3 THEN -0.5 ELSE 1.0 END "
        "WHERE session_id = 1 AND tick IN (2, 3)",
        "UPDATE system_metrics SET anchor_error_bps = CASE tick WHEN 61 THEN 8.04 ELSE 8.0 END "
        "WHERE session_id = 1 AND tick IN (61, 65)",
        "UPDATE system_metrics SET ts_ns = ts_ns + 1 WHERE session_id = 1 AND tick = 7",
        "UPDATE system_metrics SET ts_ns = NULL WHERE session_id = 1 AND tick = 7",
        "UPDATE system_metrics SET guard_window_n = 24 WHERE session_id = 1 AND tick = 70",
        "UPDATE system_metrics SET guard_window_n = NULL WHERE session_id = 1 AND tick = 70",
        f"UPDATE system_metrics SET guard_mean_bps = {math.nextafter(8.0, 9.0)!r} WHERE session_id = 1 AND tick = 61",
        "UPDATE system_metrics SET guard_mean_bps = NULL WHERE session_id = 1 AND tick = 70",
        "UPDATE system_metrics SET guard_prevalence_pct = 41.0 WHERE session_id = 1 AND tick = 70",
        "DELETE FROM system_metrics WHERE session_id = 1 AND tick = 30",
        "DELETE FROM system_metrics WHERE session_id = 1 AND tick = 120",
        "DELETE FROM circuit_breaker_events WHERE session_id = 1",
        "UPDATE circuit_breaker_events SET context_json = '{\"tick\": 3}' WHERE session_id = 1",
        "INSERT INTO circuit_breaker_events(created_at, breaker, triggered_at, context_json, session_id) "
        "SELECT created_at, breaker, triggered_at, context_json, session_id FROM circuit_breaker_events "
        "WHERE session_id = 1",
        "UPDATE sessions SET config_json = replace(config_json, '7.0', '7.5') WHERE session_id = 1",
        "UPDATE sessions SET config_json = NULL WHERE session_id = 1",
        "UPDATE sessions SET ticks = 125 WHERE session_id = 1",
        "UPDATE sessions SET ticks = 'many' WHERE session_id = 1",
        "UPDATE circuit_breaker_events SET context_json = '{\"tick\": 1e400}' WHERE session_id = 1",
        f"UPDATE circuit_breaker_events SET context_json = '{{\"tick\": {10**30}}}' WHERE session_id = 1",
        "UPDATE circuit_breaker_events SET context_json = replace(context_json, '\"lookback_ticks\": 25', "
        "'\"lookback_ticks\": NaN') WHERE session_id = 1",
    ],
)
def test_given_one_thing_changed_in_place_when_loaded_then_that_session_alone_is_read_anew(path, statement):
    loaded(path)
    changing(path, statement)
    lie_back(path)  # also the times are as they were, as far as a user can set them

    assert assert_as_if_read_anew(path) == (0, 2, 1)
    assert assert_as_if_read_anew(path) == (3, 0, 0)


def test_given_a_text_in_place_of_a_zero_when_loaded_then_it_is_refused_as_ever(path):
    loaded(path)
    changing(path, "UPDATE system_metrics SET anchor_error_bps = 'zero' WHERE session_id = 2 AND tick = 3")

    with pytest.raises(IntegrityError, match="anchor_error_bps of tick 3 holds 'zero'"):
        loaded(path)


def test_given_a_gap_filled_late_and_ticks_appended_when_loaded_then_they_are_there(path):
    with opened(path) as conn:
        late = conn.execute("SELECT * FROM system_metrics WHERE session_id = 1 AND tick IN (20, 119, 120)").fetchall()
        conn.execute("DELETE FROM system_metrics WHERE session_id = 1 AND tick IN (20, 119, 120)")
    found, _, _ = loaded(path)
    assert found[0].series.facts.missing_ticks == 3
    with opened(path) as conn:
        for row in late:
            conn.execute(f"INSERT INTO system_metrics VALUES ({', '.join('?' * len(row))})", row)

    assert assert_as_if_read_anew(path) == (0, 2, 1)
    assert loaded(path)[0][0].series.facts.missing_ticks == 0


def test_given_a_running_session_that_grew_when_loaded_while_it_is_written_then_its_new_ticks_are_there(path):
    with opened(path) as conn:
        loaded(path)
        insert(conn, "system_metrics", session_id=3, seq=999, tick=31, ts_ns=1, anchor_error_bps=2.0)  # in the log only

        assert assert_as_if_read_anew(path) == (0, 2, 1)
        assert loaded(path)[0][2].series.tick.tolist()[-1] == 31


def damage(path, how):
    data = path.read_bytes()
    if how == "truncated":
        path.write_bytes(data[:-8])
    elif how == "head only":
        path.write_bytes(data[:16])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "grown":
        path.write_bytes(data + b"\0" * 8)
    elif how == "flipped in the head":
        path.write_bytes(data[:40] + bytes([data[40] ^ 1]) + data[41:])
    elif how == "flipped in an error":
        path.write_bytes(data[:-9] + bytes([data[-9] ^ 64]) + data[-8:])
    elif how == "other bytes":
        path.write_bytes(os.urandom(300))
    elif how == "gone":
        path.unlink()
    else:
        path.unlink()
        path.mkdir()


@pytest.mark.parametrize(
    "how",
    ["truncated", "head only", "empty", "grown", "flipped in the head", "flipped in an error", "other bytes", "gone"],
)
@pytest.mark.parametrize("suffix", ["series", "stamp"])
def test_given_a_damaged_file_when_loaded_then_it_is_made_anew_without_a_word(path, how, suffix):
    loaded(path)
    damage(path.with_name("kedge.db.series") / f"1.{suffix}", how)

    counts = assert_as_if_read_anew(path)

    assert counts in ((2, 0, 1), (2, 1, 0)), "the data made anew, or the stamp"
    assert (counts[2] == 1) == (suffix == "series")
    assert loaded(path)[1] == (3, 0, 0)


def test_given_a_directory_where_a_side_car_should_be_when_loaded_then_all_is_read_and_it_is_said(path):
    loaded(path)
    damage(path.with_name("kedge.db.series") / "1.series", "a directory")

    assert_as_if_read_anew(path)
    assert "sessions are read anew each time" in loaded(path)[2]


def test_given_the_side_cars_of_another_database_or_session_when_loaded_then_they_are_not_believed(path, tmp_path):
    other = tmp_path / "other.db"
    with opened(other) as conn:
        for number in range(1, 4):
            store_session(conn, [3.0] * 50, uid=f"20261120T140209Z-000{number}")
    lie_back(other)
    loaded(other)
    loaded(path)
    shutil.rmtree(f"{path}.series")
    shutil.copytree(f"{other}.series", f"{path}.series")

    assert assert_as_if_read_anew(path) == (0, 0, 3)

    directory = path.with_name("kedge.db.series")
    for suffix in ("series", "stamp"):
        shutil.copy(directory / f"2.{suffix}", directory / f"1.{suffix}")
    assert assert_as_if_read_anew(path) == (2, 0, 1)


def test_given_another_database_put_in_its_place_when_loaded_then_it_is_read(path, tmp_path):
    loaded(path)
    other = tmp_path / "other.db"
    with opened(other) as conn:
        for number in range(1, 4):
            store_session(conn, [3.0] * 50, uid=f"20261120T140209Z-000{number}")
    shutil.copystat(path, other)
    other.replace(path)

    assert assert_as_if_read_anew(path) == (0, 0, 3)


def test_given_a_side_car_of_other_semantics_when_loaded_then_it_is_made_anew(path, monkeypatch):
    loaded(path)
    monkeypatch.setattr(series_cache, "SEMANTICS", series_cache.SEMANTICS + 1)

    assert assert_as_if_read_anew(path) == (0, 0, 3)


@pytest.mark.parametrize("what", ["file", "link", "open to all"])
def test_given_a_place_that_must_not_be_believed_when_loaded_then_it_is_left_alone_and_said_once(path, tmp_path, what):
    place = path.with_name("kedge.db.series")
    if what == "file":
        place.write_text("mine")
    elif what == "link":
        (tmp_path / "elsewhere").mkdir()
        place.symlink_to(tmp_path / "elsewhere")
    else:
        place.mkdir()
        place.chmod(0o777)

    assert assert_as_if_read_anew(path) == (0, 0, 3)
    assert loaded(path)[2].startswith(f"{place}: ")
    assert what != "file" or place.read_text() == "mine"
    assert what == "file" or not any(place.iterdir())


def test_given_a_directory_that_takes_no_files_when_loaded_then_all_is_read_and_what_is_there_still_serves(
    path, monkeypatch
):
    loaded(path)

    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(side_car.tempfile, "mkstemp", refuse)  # root, who runs tests in a container, may write anyway

    assert loaded(path)[1:] == ((3, 0, 0), None)
    os.utime(path)
    assert assert_as_if_read_anew(path) == (0, 0, 3)
    assert "cannot be written: Permission denied" in loaded(path)[2]


def test_given_a_database_through_a_link_when_loaded_then_its_side_cars_lie_beside_the_file_itself(path, tmp_path):
    link = tmp_path / "link.db"
    link.symlink_to(path)
    loaded(path)

    assert loaded(link)[1] == (3, 0, 0)
    assert not (tmp_path / "link.db.series").exists()


def _load_many(path, times, answers):
    series_cache.LEFT_ALONE_NS = 0
    for _ in range(times):
        found = loaded(path)[0]
        answers.put([one.series.error_nano_bps.sum().item() for one in found])


def test_given_two_processes_at_once_when_they_load_and_write_then_both_have_it_right(path):
    expected = [one.series.error_nano_bps.sum().item() for one in anew(path)]
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    workers = [context.Process(target=_load_many, args=(path, 20, answers)) for _ in range(2)]
    for worker in workers:
        worker.start()
    got = []
    for at in range(40):
        got.append(answers.get(timeout=60))
        if at % 5 == 0:
            shutil.rmtree(f"{path}.series", ignore_errors=True)
    for worker in workers:
        worker.join()
        worker.close()
    answers.close()
    answers.join_thread()

    assert got == [expected] * 40
    assert_as_if_read_anew(path)


def test_given_a_database_of_an_older_engine_when_loaded_then_it_is_read_and_never_calm(tmp_path):
    with legacy(tmp_path / "old.db", BEFORE_ANCHOR_ERROR):
        pass

    found, counts, note = loaded(tmp_path / "old.db")

    assert [(one.session.session_id, one.series.facts.ticks, one.fidelity.state) for one in found] == [
        (7, 3, "not recorded"),
        (8, 0, "not recorded"),
    ]
    assert all(one.fidelity.may_hide_a_breach for one in found)
    assert (counts, note) == ((0, 0, 2), None)


def fills_of(conn, session):
    return [conn.execute("SELECT count(*) FROM fills WHERE session_id = ?", (session.session_id,)).get]


MIDS = Extras(
    version="mids 1",
    columns=("mid", "market_status"),
    facts=fills_of,
    compute=lambda conn, session, columns: {
        "mid": columns.mid,
        "fills": np.array(fills_of(conn, session)),
        "status": np.array([columns.market_status.names[code] for code in columns.market_status.codes]),
    },
)


def test_given_extras_when_loaded_then_they_are_kept_and_made_anew_with_what_they_depend_on(path):
    assert assert_as_if_read_anew(path, MIDS) == (0, 0, 3)
    assert assert_as_if_read_anew(path, MIDS) == (3, 0, 0)
    kept = loaded(path, MIDS)[0][0].extras
    assert kept["status"].tolist()[:2] == ["ONE_SIDED", "OK"]
    assert assert_as_if_read_anew(path) == (3, 0, 0), "who wants none can use it too"

    changing(path, "DELETE FROM fills WHERE session_id = 1 AND tick = 20")

    assert assert_as_if_read_anew(path) == (0, 3, 0), "but does not vouch for the extras"
    assert assert_as_if_read_anew(path, MIDS) == (0, 2, 1)
    assert assert_as_if_read_anew(path, MIDS._replace(version="mids 2")) == (0, 0, 3)


def test_given_many_sessions_when_loaded_then_progress_is_told(path):
    told = []
    with reading(path) as conn:
        assert len(list(SeriesCache.beside(path).load_all(conn, all_sessions(conn), told.append))) == 3

    assert told == [1, 2, 3]


def test_given_what_was_kept_when_somebody_writes_to_it_then_that_is_refused(path):
    loaded(path)

    with pytest.raises(ValueError, match="read-only"):
        loaded(path)[0][0].series.error_nano_bps[0] = 1


def test_given_a_stamp_when_looked_at_then_it_says_when_it_was_taken_and_of_which_files(path):
    loaded(path)

    stamp = json.loads((path.with_name("kedge.db.series") / "1.stamp").read_text())

    assert stamp["files"] == [
        [path.stat().st_dev, path.stat().st_ino, path.stat().st_size, path.stat().st_mtime_ns, path.stat().st_ctime_ns],
        None,
    ]
    assert stamp["taken_ns"] >= path.stat().st_ctime_ns
    with reading(path) as conn:
        assert pick(conn, "1").session_id == 1
