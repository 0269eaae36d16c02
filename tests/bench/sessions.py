"""What the calibration costs: one session of 1,000,000 ticks, and 2,000 sessions of 20,000 ticks.

The long session is a real database of the present schema, filled by the guard's own code. The many sessions are their
rows in `sessions` and the side-cars of the series cache, as loading them once would have left them: 40,000,000 rows of
ticks would be 11 GB. So their reading is that of a cache that is believed; how long the first reading takes follows
from the long session's. "cold": no side-car yet, file in the machine's memory.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from shared.config import build_config
from shared.records import TickRecord
from telemetry_proc.content_sum import SUMMED, sum_in_database
from telemetry_proc.fidelity import Fidelity, replay
from telemetry_proc.grid import DEFAULT_GRID
from telemetry_proc.guard_record import guard_settings, guard_trips
from telemetry_proc.ladder import explain
from telemetry_proc.reading import reading
from telemetry_proc.series import Series, series_of
from telemetry_proc.series_cache import SeriesCache, SessionSeries
from telemetry_proc.sessions import all_sessions, pick
from telemetry_proc.staircase import first_trips
from telemetry_proc.tick_columns import read_ticks
from tests.bench.rates import python_call_ns
from tests.telemetry.recorded_columns import TICK_NS, columns_of
from tests.telemetry.recorded_session import GUARD, START_NS, _Engine, close_session, insert, opened, store_session

ROUNDS = 3
LONG_TICKS = 1_000_000
SESSIONS = 2_000
TICKS_EACH = 20_000
DIFFERENT = 40  # of the many sessions; each of these stands in 50 times

T = TypeVar("T")


def main() -> None:
    """Build, measure, print a table of medians and one JSON line."""
    with tempfile.TemporaryDirectory(prefix="kb") as tmp:
        long, many = Path(tmp) / "long.db", Path(tmp) / "many.db"
        build_long(long)
        result = one_session(long)
        build_many(many)
        result |= many_sessions(many)
    result |= {"rounds": ROUNDS, "python_call_ns": python_call_ns(), "cpus": os.cpu_count()}
    for name, value in result.items():
        print(f"{name.replace('_', ' '):44}{value:>12,.2f}" if isinstance(value, float) else f"{name:44}{value:>12}")
    print(json.dumps(result))


def wandering(ticks: int, rng: np.random.Generator) -> list[float | None]:
    """Errors that remember (0.9 a tick, sd about 1.4 bps), 2 % of them NULL, and a stretch 9 bps off."""
    level, errors = 0.0, []
    for shock in rng.normal(0, 0.6, ticks).tolist():
        level = 0.9 * level + shock
        errors.append(level)
    found = np.array(errors)
    found[int(ticks * 0.7) : int(ticks * 0.73)] += 9.0
    answer: list[float | None] = found.tolist()
    for at in np.flatnonzero(rng.random(ticks) < 0.02).tolist():
        answer[at] = None
    return answer


def build_long(path: Path) -> None:
    """One session, stored row by row as the writer's tables have it, in one transaction."""
    errors = wandering(LONG_TICKS, np.random.default_rng(1))
    with opened(path) as conn:
        conn.pragma("synchronous", 0)
        number = store_session(conn, [], status="RUNNING")
        engine = _Engine(conn, number, GUARD, quoting=False)
        names = ("session_id", "seq", *TickRecord._fields)
        statement = f"INSERT INTO system_metrics({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"

        def rows() -> Iterator[tuple[Any, ...]]:
            for tick, error in enumerate(errors, 1):
                ts_ns = START_NS + tick * TICK_NS
                if engine.guard.observe(error):
                    engine.trip(tick, ts_ns)
                yield number, engine.next_seq(), *engine.row(tick, ts_ns, error, active=False)

        with conn:
            conn.executemany(statement, rows())
        close_session(conn, number, errors, engine)


def one_session(path: Path) -> dict[str, float]:
    """The parts of `guard explain`, and the commands as a user starts them."""
    with reading(path) as conn:
        session = pick(conn, "latest")
        settings = guard_settings(session.config_json)
        assert settings is not None
        result: dict[str, float] = {}
        columns = timed(result, "read_1e6_ticks_s", lambda: read_ticks(conn, session.session_id, only=SUMMED))
        timed(result, "read_1e6_ticks_all_columns_s", lambda: read_ticks(conn, session.session_id))
        series = timed(result, "series_of_1e6_s", lambda: series_of(columns, settings, closed_ticks=session.ticks))
        trips = guard_trips(conn, session.session_id)
        timed(result, "replay_1e6_by_the_live_guard_s", lambda: replay(columns, settings, trips, series=series))
        timed(result, "explain_1e6_s", lambda: explain(series, settings))
        timed(result, "checksum_1e6_in_the_database_s", lambda: sum_in_database(conn, session.session_id))

        def load() -> None:
            found = SeriesCache.beside(path).load(conn, session)
            assert found.fidelity.state == "ok"
            assert explain(found.series, settings).ladder.both is not None

        timed(result, "load_and_explain_1e6_cold_s", load, before=lambda: forget(path))
        time.sleep(1.1)  # until the database has been left alone for a second, a stamp does not count
        forget(path)
        load()
        timed(result, "load_and_explain_1e6_warm_s", load)
        timed(
            result, "first_trips_1e6_x_10000_s", lambda: first_trips(series.error_nano_bps, series.starts, DEFAULT_GRID)
        )
    timed(
        result,
        "command_guard_explain_1e6_cold_s",
        lambda: command("guard", "explain", path),
        before=lambda: forget(path),
    )
    timed(result, "command_guard_explain_1e6_warm_s", lambda: command("guard", "explain", path))
    timed(result, "command_report_1e6_s", lambda: command("report", path), before=lambda: forget(path))
    return result


def build_many(path: Path) -> None:
    """Sessions without ticks and their side-cars, stamped."""
    rng = np.random.default_rng(2)
    config_json = build_config({"strategy": {"anchor_saturation_guard": GUARD}}, "test").config_json
    settings = guard_settings(config_json)
    kinds: list[Series] = []
    for _ in range(DIFFERENT):
        errors = wandering(TICKS_EACH, rng)
        kinds.append(series_of(columns_of([(at, error, 0, None, None) for at, error in enumerate(errors, 1)])))
    with opened(path) as conn, conn:
        for number in range(1, SESSIONS + 1):
            insert(conn, "sessions", session_uid=f"20261120T140209Z-{number:04x}", status="ENDED", ticks=TICKS_EACH,
                   config_json=config_json)  # fmt: skip
    time.sleep(1.1)
    cache = SeriesCache.beside(path)
    with reading(path) as conn:
        # `_made` reads the ticks; here it is handed what it would have found.
        found = iter(all_sessions(conn))
        empty = columns_of([])
        cache._made = lambda _, session: (  # type: ignore[method-assign]
            SessionSeries(session, settings, kinds[session.session_id % DIFFERENT], Fidelity("ok"), {}),
            empty,
        )
        for _ in cache.load_all(conn, list(found)):
            pass


def many_sessions(path: Path) -> dict[str, float]:
    """Load all of them, and sweep them, one after the other."""
    result: dict[str, float] = {}
    with reading(path) as conn:
        sessions = all_sessions(conn)

        def load() -> None:
            cache = SeriesCache.beside(path)
            for found in cache.load_all(conn, sessions):
                assert found.series.error_nano_bps.size > 0
            assert cache.trusted == SESSIONS

        def sweep() -> None:
            for found in SeriesCache.beside(path).load_all(conn, sessions):
                first_trips(found.series.error_nano_bps, found.series.starts, DEFAULT_GRID)

        timed(result, "load_2000_x_20000_cached_s", load)
        timed(result, "load_and_sweep_2000_x_20000_x_10000_s", sweep)
    return result


def timed(
    result: dict[str, float], name: str, work: Callable[[], T], *, before: Callable[[], object] = lambda: None
) -> T:
    """The median of some rounds, in seconds, under its name; and what the last round gave."""
    seconds = []
    for _ in range(ROUNDS):
        before()
        started = time.perf_counter()
        answer = work()
        seconds.append(time.perf_counter() - started)
    result[name] = round(statistics.median(seconds), 3)
    return answer


def forget(path: Path) -> None:
    """Take the side-cars away."""
    for file in path.with_name(f"{path.name}.series").glob("*"):
        file.unlink()


def command(*words: str | Path) -> None:
    """A command of `kedge-telemetry` on a database, the last of the words."""
    *names, path = words
    line = [sys.executable, "-m", "telemetry_proc", *map(str, names), "latest", "--db", str(path)]
    ended = subprocess.run(line, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


if __name__ == "__main__":
    main()
