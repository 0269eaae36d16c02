"""What the operator says to an engine: the kill switch, taking it back, and a journal that has gone missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine_proc.latch import LAST_SESSION_FILE, last_session, rearm, remember_opened, start_state
from engine_proc.modes import ModeState
from engine_proc.operator_word import HALT_FILE, HaltFile, write_halt
from shared.errors import JournalUnwritable, KedgeError
from shared.records import ModeChanged, OrderEvent, TickRecord
from tests.engine.recorder import engine, view
from tests.engine.test_latch import FIRST, NOW_NS, SECOND, session

# ------------------------------------------------------------------------------------------------ the kill switch


def test_given_a_quoting_engine_when_halted_then_on_the_next_tick_nothing_rests_and_nothing_is_sent(
    tmp_path: Path,
) -> None:
    switch = HaltFile(tmp_path)
    made, records = engine(kill_switch=switch)
    made.tick(view(1))
    assert made.holdings.live_orders()
    # When
    write_halt(tmp_path, "issuer announced a freeze", 5)
    tick = made.tick(view(2))
    # Then
    assert (tick.mode, tick.orders_submitted, tick.orders_cancelled) == ("HALT", 0, 4)
    (change,) = records.of(ModeChanged)
    assert (change.to_mode, change.signal, change.reason) == ("HALT", "halt", "operator: issuer announced a freeze")
    assert not (tmp_path / HALT_FILE).exists()
    for number in range(3, 30):
        assert made.tick(view(number)).mode == "HALT"
    assert made.venue.truth().orders == {}
    assert [e.tick for e in records.of(OrderEvent) if e.event == "submitted" and e.tick > 1] == []


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b'{"reason": null}'])
def test_given_a_halt_that_cannot_be_read_then_it_halts_all_the_same(tmp_path: Path, content: bytes) -> None:
    (tmp_path / HALT_FILE).write_bytes(content)
    made, _ = engine(kill_switch=HaltFile(tmp_path))
    assert made.tick(view(1)).mode == "HALT"
    assert made.state.reason == "operator: no reason readable"


def test_given_a_halt_before_the_start_then_no_order_is_ever_sent(tmp_path: Path) -> None:
    write_halt(tmp_path, "not today", 5)
    made, records = engine(kill_switch=HaltFile(tmp_path))
    assert {made.tick(view(number)).mode for number in range(1, 10)} == {"HALT"}
    assert [event for event in records.of(OrderEvent) if event.event == "submitted"] == []


def test_given_a_journal_that_takes_nothing_when_halted_then_the_switch_stays_pulled(tmp_path: Path) -> None:
    write_halt(tmp_path, "stop", 5)
    made, records = engine(kill_switch=HaltFile(tmp_path))
    records.fault = "disk full"
    assert made.tick(view(1)).mode == "HALT"
    assert (tmp_path / HALT_FILE).exists()


def test_given_a_switch_that_cannot_be_let_go_of_when_ticking_then_it_is_on_record_once(tmp_path: Path) -> None:
    (tmp_path / HALT_FILE).mkdir()
    made, records = engine(kill_switch=HaltFile(tmp_path))
    for number in range(1, 5):
        made.tick(view(number))
    assert len(records.of(ModeChanged)) == 1
    assert len(records.of(TickRecord)) == 4


# -------------------------------------------------------------------------------------------------- taking it back


def test_given_a_halt_that_nobody_obeyed_when_rearmed_then_it_is_taken_back(tmp_path: Path) -> None:
    write_halt(tmp_path, "stop", 5)
    assert rearm(tmp_path, "false alarm", 6) is None
    assert HaltFile(tmp_path).pulled() is None
    with pytest.raises(KedgeError, match="nothing to re-arm"):
        rearm(tmp_path, "again", 7)


def test_given_a_latched_session_and_a_pending_halt_when_rearmed_then_both_are_lifted(tmp_path: Path) -> None:
    session(tmp_path, "DEGRADED", clean=False)
    write_halt(tmp_path, "stop", 5)
    assert rearm(tmp_path, "looked at it", 6).session_uid == FIRST
    assert HaltFile(tmp_path).pulled() is None
    assert start_state(tmp_path, "on_clean_restart", NOW_NS).state == ModeState()


def test_given_a_halt_that_cannot_be_taken_back_when_rearmed_then_refused_and_the_next_session_halts(
    tmp_path: Path,
) -> None:
    session(tmp_path, "DEGRADED", clean=False)
    (tmp_path / HALT_FILE).mkdir()
    with pytest.raises(JournalUnwritable, match="cannot take back the halt"):
        rearm(tmp_path, "looked at it", 6)
    made, _ = engine(kill_switch=HaltFile(tmp_path), state=start_state(tmp_path, "explicit", NOW_NS).state)
    assert made.tick(view(1)).mode == "HALT"


def test_given_a_directory_that_takes_no_file_when_halted_then_it_says_so(tmp_path: Path) -> None:
    (tmp_path / "j").write_text("a file in the directory's place")
    with pytest.raises(JournalUnwritable, match=r"halt\.json: cannot write it"):
        write_halt(tmp_path / "j", "stop", 5)


# ---------------------------------------------------------------------------------------------- a journal is missing


@pytest.mark.parametrize("policy", ["on_clean_restart", "explicit"])
@pytest.mark.parametrize("left", ["nothing", "older", "emptied", "cut to its header"])
def test_given_the_last_journal_gone_or_emptied_then_degraded_until_rearmed(
    tmp_path: Path, policy: str, left: str
) -> None:
    session(tmp_path, "ACTIVE", clean=True, uid=FIRST)
    last = session(tmp_path, "DEGRADED", clean=False, uid=SECOND)
    remember_opened(tmp_path, SECOND)
    if left == "emptied":
        last.write_bytes(b"")
    elif left == "cut to its header":
        last.write_bytes(last.read_bytes()[:8])
    else:
        last.unlink()
    if left == "nothing":
        (tmp_path / f"{FIRST}.kj").unlink()
    start = start_state(tmp_path, policy, NOW_NS)
    assert (start.state.mode, start.state.reason) == (
        "DEGRADED",
        f"kept from session {SECOND}: its journal is missing or empty",
    )
    assert rearm(tmp_path, "moved it away by hand", 5).session_uid == SECOND
    assert start_state(tmp_path, policy, NOW_NS).state == ModeState()


def test_given_a_newer_journal_than_the_note_says_then_the_journal_counts(tmp_path: Path) -> None:
    # A kill between a session's opening and the note about it leaves this.
    remember_opened(tmp_path, FIRST)
    session(tmp_path, "HALT", clean=False, uid=SECOND)
    assert last_session(tmp_path).session_uid == SECOND
    assert last_session(tmp_path).mode == "HALT"


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"../../etc/passwd", b"x" * 5000])
def test_given_a_note_that_makes_no_sense_then_degraded(tmp_path: Path, content: bytes) -> None:
    session(tmp_path, "ACTIVE", clean=True)
    (tmp_path / LAST_SESSION_FILE).write_bytes(content)
    assert last_session(tmp_path).mode == "DEGRADED"
