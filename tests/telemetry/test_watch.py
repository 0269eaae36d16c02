"""A session that is followed from the database alone, by a clock that the test turns."""

from __future__ import annotations

import re

import pytest

from shared.errors import DatabaseUnusable, KedgeError
from telemetry_proc.watch import Cursor, watch
from telemetry_proc.watch_screen import LiveScreen, PlainScreen, sparkline
from tests.telemetry.recorded_session import calm_then_drag, insert, opened, store_session


class Turned:
    """A clock that only moves while somebody waits; before each wait is over, the next step of a story happens."""

    def __init__(self, *story):
        self.story = list(story)
        self.monotonic = 0

    def now_ns(self):
        return self.monotonic

    wall_ns = monotonic_ns = now_ns

    def wait(self, seconds):
        self.monotonic += round(seconds * 1e9)
        if self.story:
            self.story.pop(0)()


def watched(path, *story, until_closed=True, timeout_s=60.0, journal_dir=None):
    """Lines that a watch printed while the story took place."""
    lines = []
    clock = Turned(*story)
    watch(
        path,
        journal_dir,
        PlainScreen(lines.append),
        clock=clock,
        wait=clock.wait,
        interval_s=1.0,
        until_closed=until_closed,
        timeout_s=timeout_s,
    )
    return lines


def end(path, session_id):
    with opened(path) as conn:
        sql = "UPDATE sessions SET status = 'ENDED', final_mode = 'ACTIVE', end_reason = 'SIGTERM' WHERE session_id = ?"
        conn.execute(sql, (session_id,))


def store(path, errors, **kwargs):
    with opened(path) as conn:
        return store_session(conn, errors, **kwargs)


def test_given_a_trip_when_watched_then_its_line_cannot_be_missed(tmp_path):
    path = tmp_path / "kedge.db"
    store(path, calm_then_drag(), status="RUNNING")

    lines = watched(path, lambda: end(path, 1))

    assert lines[0] == "tick 82  DEGRADED  [ANCHOR_SAT] mean=+7.01bps prevalence=88.0% over 25 ticks"
    assert lines[1] == "tick 82  DEGRADED  ACTIVE -> DEGRADED: anchor_saturation_guard_exceeded"
    assert re.match(r"tick 120  DEGRADED  OK  mid 1\.30500  error \+8\.03  guard n=25 mean \+8\.\d\d", lines[2])
    assert lines[3:] == ["session 1 closed: SIGTERM, ACTIVE, no data, no data"]


def test_given_a_database_that_does_not_exist_when_watched_then_it_is_awaited_and_nothing_of_it_is_missed(tmp_path):
    path = tmp_path / "kedge.db"

    lines = watched(path, lambda: None, path.touch, lambda: store(path, calm_then_drag()))

    assert lines[0] == f"waiting for a session in {path}"
    assert sum("[ANCHOR_SAT]" in line for line in lines) == 1
    assert lines[-1].startswith("session 1 closed: feed_ended, DEGRADED, 120 ticks, 1 trip")


def test_given_an_ended_session_when_watch_begins_then_the_next_to_appear_is_awaited(tmp_path):
    path = tmp_path / "kedge.db"
    store(path, calm_then_drag(), uid="before")

    lines = watched(path, lambda: store(path, [1.0] * 3, uid="ours"))

    assert not any("ANCHOR_SAT" in line for line in lines)
    assert lines[-1].startswith("session 2 closed: feed_ended, ACTIVE, 3 ticks, 0 trips")


def test_given_a_running_session_when_a_newer_one_closes_first_then_the_watch_goes_on(tmp_path):
    path = tmp_path / "kedge.db"
    store(path, [1.0], uid="first", status="RUNNING")

    lines = watched(path, lambda: store(path, [1.0], uid="second"), lambda: end(path, 1))

    assert [line for line in lines if "closed" in line] == ["session 1 closed: SIGTERM, ACTIVE, no data, no data"]


def test_given_a_session_that_crashed_when_watched_then_its_successor_is_followed(tmp_path):
    path = tmp_path / "kedge.db"
    store(path, [1.0], uid="first", status="RUNNING")

    def crash():
        with opened(path) as conn:
            conn.execute("UPDATE sessions SET status = 'CRASHED' WHERE session_id = 1")

    lines = watched(path, crash, lambda: store(path, calm_then_drag(), uid="second"))

    assert sum("[ANCHOR_SAT]" in line for line in lines) == 1
    assert lines[-1].startswith("session 2 closed")


def test_given_ticks_that_arrive_between_looks_when_watched_then_each_happening_is_shown_once(tmp_path):
    path = tmp_path / "kedge.db"
    store(path, calm_then_drag(), status="RUNNING")

    def halt():
        with opened(path) as conn:
            halted = {"from_mode": "DEGRADED", "to_mode": "HALT", "signal": "halt", "reason": "operator"}
            insert(conn, "mode_transitions", session_id=1, seq=90_000, tick=120, **halted)

    lines = watched(path, lambda: None, halt, lambda: end(path, 1))

    assert sum("[ANCHOR_SAT]" in line for line in lines) == 1
    assert lines.count("tick 120  HALT  DEGRADED -> HALT: operator") == 1


@pytest.mark.parametrize("exists", [False, True])
def test_given_nothing_that_closes_when_the_time_is_up_then_failure_says_what_was_awaited(tmp_path, exists):
    path = tmp_path / "kedge.db"
    if exists:
        store(path, [1.0, 2.0], status="RUNNING")
    complaint = "session 1 is RUNNING at tick 2, ACTIVE" if exists else "no session to watch appeared within 3 s"
    with pytest.raises(KedgeError, match=complaint) as raised:
        watched(path, timeout_s=3.0)
    assert raised.value.exit_code == 1


def test_given_somebody_elses_file_when_watched_then_unusable(tmp_path):
    path = tmp_path / "kedge.db"
    path.write_text("not a database, " * 100)
    with pytest.raises(DatabaseUnusable):
        watched(path)


def test_given_no_end_in_view_when_watched_then_the_newest_session_is_followed(tmp_path):
    path = tmp_path / "kedge.db"
    store(path, [1.0], uid="first")
    lines = []
    clock = Turned(lambda: store(path, [1.0, 2.0], uid="second", status="RUNNING"))
    with pytest.raises(KedgeError, match="session 2 is RUNNING"):
        watch(
            path,
            None,
            PlainScreen(lines.append),
            clock=clock,
            wait=clock.wait,
            interval_s=1.0,
            until_closed=False,
            timeout_s=2.0,
        )
    assert lines[0].startswith("tick 1  ACTIVE")
    assert lines[-1].startswith("tick 2  ACTIVE")


def test_given_a_trip_of_another_breaker_or_without_context_when_watched_then_it_is_still_said(tmp_path):
    path = tmp_path / "kedge.db"
    store(path, [1.0], status="RUNNING")
    with opened(path) as conn:
        stamps = {"created_at": "x", "triggered_at": "x", "session_id": 1}
        insert(conn, "circuit_breaker_events", breaker="drawdown", context_json='{"tick": 1}', **stamps)
        insert(conn, "circuit_breaker_events", breaker="anchor_saturation_guard", context_json=None, **stamps)

    lines = watched(path, lambda: end(path, 1))

    assert "tick 1  DEGRADED  [BREAKER] drawdown" in lines
    assert "tick ?  DEGRADED  [ANCHOR_SAT] its context is not on record" in lines


def test_given_a_terminal_when_a_look_is_drawn_then_the_trip_stays_above_the_panel(tmp_path):
    import io

    from rich.console import Console
    from rich.live import Live

    from telemetry_proc.reading import reading

    path = tmp_path / "kedge.db"
    store(path, calm_then_drag(), status="RUNNING")
    end(path, 1)
    out = io.StringIO()
    with Live(
        console=Console(file=out, force_terminal=True, width=120, no_color=True, highlight=False), auto_refresh=False
    ) as live:
        screen = LiveScreen(live)
        screen.waiting("waiting")
        with reading(path) as conn:
            screen.show(Cursor(until_closed=False).look(conn, None))
    shown = out.getvalue()

    assert "[ANCHOR_SAT] mean=+7.01bps prevalence=88.0% over 25 ticks" in shown
    assert "▇" in shown
    assert "session 1 closed" in shown


def test_given_a_terminal_when_there_is_nothing_to_watch_yet_then_the_reason_is_shown_at_once_and_to_the_letter():
    import io

    from rich.console import Console
    from rich.live import Live

    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=100)
    with Live(console=console, auto_refresh=False) as live:
        LiveScreen(live).waiting("waiting for [red]this[/red]")
        shown = out.getvalue()

    assert "waiting for [red]this[/red]" in shown


def test_given_errors_when_drawn_as_bars_then_height_is_size_and_a_null_is_a_dot():
    assert sparkline((0.0, 1.25, -5.0, 9.99, 10.0, -500.0, None)) == "▁▂▅███·"
    assert sparkline(()) == ""
