"""Copies, strangers and damage in a journal directory: none lets a stopped engine quote, none outlives a re-arm."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from engine_proc import app
from engine_proc.latch import LAST_SESSION_FILE, last_session, rearm, remember_opened, start_state
from engine_proc.modes import ModeState
from engine_proc.operator_word import HALT_FILE, REARM_FILE, HaltFile, write_halt
from shared.errors import JournalUnwritable
from shared.journal import journal_path, read_frames
from tests.engine.test_latch import FIRST, NOW_NS, SECOND, THIRD, changed, closed, journal, opened, session, ticks

COPIES = (f"old_{FIRST}", "backup", f"{THIRD}-copy", "20991231T235959999-aaaaaa")
STRANGERS = ("zz", "20269999T999999999-aaaaaa", "99991231T235959999-aaaaaa")


def mode_after(directory: Path, policy: str = "on_clean_restart") -> str:
    return start_state(directory, policy, NOW_NS).state.mode


# ---------------------------------------------------------------------------------------------- copies and strangers


@pytest.mark.parametrize("name", COPIES)
def test_given_a_copy_of_a_harmless_journal_when_a_later_session_trips_and_crashes_then_still_latched(
    tmp_path: Path, name: str
) -> None:
    harmless = session(tmp_path, "ACTIVE", clean=True, uid=FIRST)
    shutil.copy(harmless, journal_path(tmp_path, name))
    session(tmp_path, "DEGRADED", clean=False, uid=SECOND)
    assert last_session(tmp_path).session_uid == SECOND
    assert mode_after(tmp_path) == "DEGRADED"


@pytest.mark.parametrize("name", COPIES)
def test_given_a_copy_of_a_tripped_journal_when_rearmed_then_a_later_trip_is_not_lifted(
    tmp_path: Path, name: str
) -> None:
    tripped = session(tmp_path, "DEGRADED", clean=False, uid=FIRST)
    shutil.copy(tripped, journal_path(tmp_path, name))
    rearm(tmp_path, "looked at it", 5)
    session(tmp_path, "DEGRADED", clean=False, uid=SECOND)
    assert mode_after(tmp_path) == "DEGRADED"


@pytest.mark.parametrize("name", STRANGERS)
def test_given_a_file_that_is_no_journal_when_rearmed_then_a_later_trip_is_not_lifted(
    tmp_path: Path, name: str
) -> None:
    session(tmp_path, "DEGRADED", clean=False, uid=FIRST)
    journal_path(tmp_path, name).write_bytes(b"a download that went astray")
    rearm(tmp_path, "looked at it", 5)
    uid = app.new_session_uid(tmp_path)
    session(tmp_path, "DEGRADED", clean=False, uid=uid)
    assert last_session(tmp_path).session_uid == uid
    assert mode_after(tmp_path) == "DEGRADED"


def test_given_a_tripped_journal_overwritten_by_an_older_one_then_degraded(tmp_path: Path) -> None:
    harmless = session(tmp_path, "ACTIVE", clean=True, uid=FIRST)
    tripped = session(tmp_path, "DEGRADED", clean=False, uid=SECOND)
    remember_opened(tmp_path, SECOND)
    shutil.copy(harmless, tripped)
    assert mode_after(tmp_path) == "DEGRADED"


def test_given_a_note_that_says_nothing_when_rearmed_then_a_later_trip_is_not_lifted(tmp_path: Path) -> None:
    session(tmp_path, "ACTIVE", clean=True, uid=FIRST)
    (tmp_path / LAST_SESSION_FILE).write_text("?!\n")
    rearm(tmp_path, "the note was damaged", 5)
    assert mode_after(tmp_path) == "ACTIVE"
    # Given a session that trips and crashes, and a note that is damaged once more
    session(tmp_path, "DEGRADED", clean=False, uid=SECOND)
    assert mode_after(tmp_path) == "DEGRADED"


def test_given_a_missing_journal_and_a_clock_set_back_when_it_comes_back_then_it_is_not_the_newest(
    tmp_path: Path,
) -> None:
    future = "29991231T235959999-aaaaaa"
    remember_opened(tmp_path, future)
    later = app.new_session_uid(tmp_path)
    session(tmp_path, "DEGRADED", clean=False, uid=later)
    remember_opened(tmp_path, later)
    session(tmp_path, "ACTIVE", clean=True, uid=future)  # put back by hand
    assert mode_after(tmp_path) == "DEGRADED"


# ------------------------------------------------------------------------------------------------- HALT stays HALT


@pytest.mark.parametrize("how", ["flipped", "cut out", "unreadable end"])
def test_given_a_halted_journal_that_is_damaged_then_halt_and_a_clean_restart_does_not_release_it(
    tmp_path: Path, how: str
) -> None:
    end = [closed("HALT")._replace(final_mode="NAPPING")] if how == "unreadable end" else []
    path = journal(tmp_path, opened(), *ticks(), changed("HALT"), *ticks(), *end)
    content, (second, third) = bytearray(path.read_bytes()), list(read_frames(path))[1:3]
    if how == "flipped":
        content[second.position + 20] ^= 1
    elif how == "cut out":
        del content[second.position : third.position]
    path.write_bytes(content)
    assert mode_after(tmp_path) == "HALT"


def test_given_a_halt_on_record_and_the_journal_after_it_gone_then_halt(tmp_path: Path) -> None:
    session(tmp_path, "HALT", clean=True, uid=FIRST)
    remember_opened(tmp_path, SECOND)
    assert mode_after(tmp_path) == "HALT"
    assert rearm(tmp_path, "freeze is over", 5).session_uid == SECOND
    assert start_state(tmp_path, "explicit", NOW_NS).state == ModeState()


def test_given_a_rearm_that_cannot_be_written_when_a_halt_waits_then_the_halt_still_holds(tmp_path: Path) -> None:
    session(tmp_path, "DEGRADED", clean=True)
    write_halt(tmp_path, "freeze", 5)
    (tmp_path / REARM_FILE).mkdir()
    with pytest.raises(JournalUnwritable, match=r"rearm\.json: cannot write it"):
        rearm(tmp_path, "all clear", 6)
    assert HaltFile(tmp_path).pulled() == "freeze"


# ------------------------------------------------------------------------------------------------ pipes, not files


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no such thing here")
def test_given_pipes_where_files_should_be_then_nobody_waits_for_them_and_all_of_them_stop_the_engine(
    tmp_path: Path,
) -> None:
    session(tmp_path, "DEGRADED", clean=False)
    for name in (HALT_FILE, REARM_FILE, LAST_SESSION_FILE):
        os.mkfifo(tmp_path / name)
    assert HaltFile(tmp_path).pulled() == "no reason readable"
    assert mode_after(tmp_path) == "DEGRADED"
