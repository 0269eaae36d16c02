"""Which mode a session starts in: every cell of the latch's table, from real journal files, whole and damaged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine_proc.latch import LastSession, Start, last_session, rearm, start_state
from engine_proc.modes import ModeState
from engine_proc.operator_word import REARM_FILE
from shared.codec import encode
from shared.errors import JournalUnwritable, KedgeError
from shared.journal import HEADER, JournalWriter, journal_path, read_frames
from shared.records import BreakerEvent, ModeChanged, Record, SessionClosed, SessionOpened, TickRecord
from tests.shared.record_examples import EXAMPLES, TICK

NOW_NS = 777
POLICIES = ("on_clean_restart", "explicit")
ACTIVE = Start(ModeState(), None)
FIRST, SECOND, THIRD = (f"20261120T14020{n}-aaaaaa" for n in range(3))


def opened(mode: str = "ACTIVE") -> SessionOpened:
    return EXAMPLES["session_opened"]._replace(initial_mode=mode)


def changed(to_mode: str, reason: str = "why", from_mode: str = "ACTIVE") -> ModeChanged:
    return ModeChanged(1, 25, from_mode, to_mode, "halt" if to_mode == "HALT" else "degrade", reason)


def closed(mode: str) -> SessionClosed:
    return EXAMPLES["session_closed"]._replace(final_mode=mode)


def ticks(count: int = 3) -> list[TickRecord]:
    return [TICK._replace(tick=number) for number in range(1, count + 1)]


def journal(directory: Path, *records: Record, uid: str = FIRST) -> Path:
    writer = JournalWriter(journal_path(directory, uid))
    for seq, record in enumerate(records):
        writer.append(encode(uid, seq, record))
    writer.close()
    return writer.path


def session(directory: Path, mode: str, *, clean: bool, uid: str = FIRST, why: str = "why") -> Path:
    """A session that ended in this mode, in order or not."""
    change = [] if mode == "ACTIVE" else [changed(mode, why)]
    return journal(directory, opened(), *ticks(), *change, *ticks(), *([closed(mode)] if clean else []), uid=uid)


def kept(mode: str, reason: str, crashed: str | None = FIRST) -> Start:
    signal = "halt" if mode == "HALT" else "degrade"
    return Start(ModeState(mode, NOW_NS, reason), ModeChanged(NOW_NS, 0, mode, mode, signal, reason), crashed)


# ------------------------------------------------------------------------------------------ the table, cell by cell


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("exists", [True, False])
def test_given_no_journal_then_active(tmp_path: Path, policy: str, exists: bool) -> None:
    directory = tmp_path if exists else tmp_path / "not" / "yet"
    assert start_state(directory, policy, NOW_NS) == ACTIVE
    assert last_session(directory) is None


@pytest.mark.parametrize("mode", ["ACTIVE", "DEGRADED"])
def test_given_a_clean_end_when_a_clean_restart_rearms_then_active(tmp_path: Path, mode: str) -> None:
    session(tmp_path, mode, clean=True)
    assert start_state(tmp_path, "on_clean_restart", NOW_NS) == ACTIVE


@pytest.mark.parametrize("mode", ["DEGRADED", "HALT"])
def test_given_a_clean_end_when_only_the_operator_rearms_then_the_mode_it_ended_in(tmp_path: Path, mode: str) -> None:
    session(tmp_path, mode, clean=True)
    assert start_state(tmp_path, "explicit", NOW_NS) == kept(mode, f"kept from session {FIRST}: why", crashed=None)


@pytest.mark.parametrize("policy", POLICIES)
def test_given_a_clean_end_in_halt_then_halt_whatever_the_policy(tmp_path: Path, policy: str) -> None:
    session(tmp_path, "HALT", clean=True)
    assert start_state(tmp_path, policy, NOW_NS) == kept("HALT", f"kept from session {FIRST}: why", crashed=None)


def test_given_a_clean_end_in_active_when_only_the_operator_rearms_then_active(tmp_path: Path) -> None:
    session(tmp_path, "ACTIVE", clean=True)
    assert start_state(tmp_path, "explicit", NOW_NS) == ACTIVE


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("mode", ["DEGRADED", "HALT"])
def test_given_a_crash_then_the_mode_it_last_had(tmp_path: Path, policy: str, mode: str) -> None:
    session(tmp_path, mode, clean=False)
    assert start_state(tmp_path, policy, NOW_NS) == kept(mode, f"kept from session {FIRST}: why")


@pytest.mark.parametrize("policy", POLICIES)
def test_given_a_crash_while_active_then_active(tmp_path: Path, policy: str) -> None:
    session(tmp_path, "ACTIVE", clean=False)
    assert start_state(tmp_path, policy, NOW_NS) == ACTIVE._replace(crashed_uid=FIRST)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("content", [b"not a journal at all", b"KEDGEJ\x00\x02", b"\x00" * 64])
def test_given_a_foreign_or_newer_file_then_degraded(tmp_path: Path, policy: str, content: bytes) -> None:
    journal_path(tmp_path, FIRST).write_bytes(content)
    start = start_state(tmp_path, policy, NOW_NS)
    assert start.state.mode == "DEGRADED"
    assert start.state.reason.startswith(f"kept from session {FIRST}: its journal cannot be read: ")


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("clean", [True, False])
def test_given_damage_in_the_middle_then_degraded_even_if_the_end_is_clean(
    tmp_path: Path, policy: str, clean: bool
) -> None:
    path = session(tmp_path, "ACTIVE", clean=clean)
    frames = list(read_frames(path))
    content = bytearray(path.read_bytes())
    content[frames[3].position + 20] ^= 1
    path.write_bytes(content)
    reason = f"kept from session {FIRST}: its journal is damaged"
    assert start_state(tmp_path, policy, NOW_NS) == kept("DEGRADED", reason, crashed=None if clean else FIRST)


def test_given_a_mode_record_that_is_not_valid_then_degraded(tmp_path: Path) -> None:
    journal(tmp_path, opened(), changed("ACTIVE")._replace(to_mode="NAPPING"))
    assert last_session(tmp_path).mode == "DEGRADED"


def test_given_a_journal_that_lacks_a_record_in_the_middle_then_degraded_though_every_frame_is_whole(
    tmp_path: Path,
) -> None:
    # A repair that cut out corrupt bytes leaves such a file; what is gone may have been a trip.
    path = session(tmp_path, "ACTIVE", clean=True)
    second, third = list(read_frames(path))[1:3]
    content = path.read_bytes()
    path.write_bytes(content[: second.position] + content[third.position :])
    reason = f"kept from session {FIRST}: its journal lacks records"
    assert start_state(tmp_path, "on_clean_restart", NOW_NS) == kept("DEGRADED", reason, crashed=None)


def test_given_a_directory_in_a_journals_place_then_degraded(tmp_path: Path) -> None:
    journal_path(tmp_path, FIRST).mkdir()
    assert last_session(tmp_path).mode == "DEGRADED"


# -------------------------------------------------------------------------------------------- torn tails and crashes


@pytest.mark.parametrize("mode", ["ACTIVE", "DEGRADED"])
def test_given_a_torn_tail_then_what_stands_before_it_counts(tmp_path: Path, mode: str) -> None:
    path = session(tmp_path, mode, clean=False)
    path.write_bytes(path.read_bytes()[:-5])
    assert last_session(tmp_path) == LastSession(FIRST, mode, False, None if mode == "ACTIVE" else "why")


def test_given_a_closing_that_was_torn_then_it_was_not_a_clean_end(tmp_path: Path) -> None:
    path = session(tmp_path, "DEGRADED", clean=True)
    path.write_bytes(path.read_bytes()[:-1])
    assert start_state(tmp_path, "on_clean_restart", NOW_NS).state.mode == "DEGRADED"


@pytest.mark.parametrize("cut", ["whole", "torn"])
def test_given_a_kill_between_the_trip_and_the_mode_change_then_the_trip_still_latches(
    tmp_path: Path, cut: str
) -> None:
    trip = EXAMPLES["breaker_event"]
    assert isinstance(trip, BreakerEvent)
    path = journal(tmp_path, opened(), *ticks(), trip, *([changed("DEGRADED")] if cut == "torn" else []))
    if cut == "torn":
        path.write_bytes(path.read_bytes()[:-3])
    reason = f"kept from session {FIRST}: anchor_saturation_guard tripped at tick 37"
    assert start_state(tmp_path, "on_clean_restart", NOW_NS) == kept("DEGRADED", reason)


def test_given_a_trip_while_halted_then_halt_stays_with_its_reason(tmp_path: Path) -> None:
    journal(tmp_path, opened(), changed("HALT", "operator"), EXAMPLES["breaker_event"])
    assert last_session(tmp_path) == LastSession(FIRST, "HALT", False, "operator")


def test_given_a_change_that_never_reached_the_record_then_the_closing_says_the_mode_it_ended_in(
    tmp_path: Path,
) -> None:
    journal(tmp_path, opened(), *ticks(), closed("DEGRADED"))
    reason = f"kept from session {FIRST}: its reason is not on record"
    assert start_state(tmp_path, "explicit", NOW_NS) == kept("DEGRADED", reason, crashed=None)


def test_given_several_changes_then_the_last_one_counts(tmp_path: Path) -> None:
    journal(tmp_path, opened(), changed("DEGRADED", "a"), changed("DEGRADED", "b"), changed("HALT", "c", "DEGRADED"))
    assert last_session(tmp_path) == LastSession(FIRST, "HALT", False, "c")


@pytest.mark.parametrize("content", [b"", HEADER[:3], HEADER, HEADER + b"\x10\x00"], ids=["0", "3", "header", "frame"])
@pytest.mark.parametrize("mode", ["DEGRADED", "HALT"])
def test_given_an_engine_that_died_before_its_opening_then_the_session_before_it_still_holds(
    tmp_path: Path, mode: str, content: bytes
) -> None:
    # An engine that finds the disk full leaves such a file; the next start must not take it for a fresh ACTIVE.
    session(tmp_path, mode, clean=False)
    for uid in (SECOND, THIRD, "preflight-abcdef"):
        journal_path(tmp_path, uid).write_bytes(content)
    assert start_state(tmp_path, "on_clean_restart", NOW_NS) == kept(mode, f"kept from session {FIRST}: why")


def test_given_only_empty_journals_then_active(tmp_path: Path) -> None:
    journal_path(tmp_path, FIRST).write_bytes(b"")
    assert start_state(tmp_path, "explicit", NOW_NS) == ACTIVE


def test_given_several_sessions_then_the_newest_by_name_counts_whatever_was_written_last(tmp_path: Path) -> None:
    session(tmp_path, "DEGRADED", clean=False, uid=THIRD)
    session(tmp_path, "ACTIVE", clean=True, uid=FIRST)
    session(tmp_path, "HALT", clean=False, uid=SECOND)
    assert last_session(tmp_path).session_uid == THIRD


def test_given_other_files_beside_the_journals_then_they_are_not_asked(tmp_path: Path) -> None:
    session(tmp_path, "DEGRADED", clean=False)
    for name in ("zz.broken", "zz.kj.bak", REARM_FILE, "zz.txt"):
        (tmp_path / name).write_text("zz")
    assert last_session(tmp_path).session_uid == FIRST


def test_given_a_long_journal_with_the_words_in_other_records_then_only_real_mode_records_count(
    tmp_path: Path,
) -> None:
    tricky = [
        TICK._replace(no_quote_reason_bid="mode_changed"),
        EXAMPLES["engine_state"]._replace(value="mode_changed"),
    ]
    journal(tmp_path, opened(), *tricky, uid="20261120T140200-mode_changed")
    assert last_session(tmp_path).mode == "ACTIVE"


# ------------------------------------------------------------------------------------------ restart after restart


def test_given_crash_after_crash_then_latched_through_all_and_the_first_reason_stays_readable(tmp_path: Path) -> None:
    session(tmp_path, "DEGRADED", clean=False, why="anchor_saturation_guard_exceeded")
    reason = f"kept from session {FIRST}: anchor_saturation_guard_exceeded"
    uid = FIRST
    for number in range(30):
        start = start_state(tmp_path, "on_clean_restart", NOW_NS)
        assert start == kept("DEGRADED", reason, crashed=uid)
        uid = f"20261121T1402{number:02}-aaaaaa"
        journal(tmp_path, opened("DEGRADED"), start.inherited, *ticks(1), uid=uid)


def test_given_a_crash_before_the_inherited_reason_was_on_record_then_latched_and_the_gap_is_said(
    tmp_path: Path,
) -> None:
    journal(tmp_path, opened("HALT"))
    reason = f"kept from session {FIRST}: its reason is not on record"
    assert start_state(tmp_path, "on_clean_restart", NOW_NS) == kept("HALT", reason)


def test_given_a_very_long_reason_then_the_kept_one_still_fits_a_record(tmp_path: Path) -> None:
    session(tmp_path, "DEGRADED", clean=False, why="x" * 500)
    start = start_state(tmp_path, "on_clean_restart", NOW_NS)
    assert len(start.state.reason) == 500
    journal(tmp_path, opened("DEGRADED"), start.inherited, uid=SECOND)
    assert last_session(tmp_path) == LastSession(SECOND, "DEGRADED", False, start.state.reason)


# -------------------------------------------------------------------------------------------------------- re-arming


def lifted(mode: str, reason: str, uid: str = FIRST) -> Start:
    said = f"rearm of session {uid}: {reason}"
    return Start(ModeState(), ModeChanged(NOW_NS, 0, mode, "ACTIVE", "rearm", said), uid)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("mode", ["DEGRADED", "HALT"])
def test_given_a_latched_session_when_rearmed_then_the_next_starts_active_and_says_why(
    tmp_path: Path, mode: str, policy: str
) -> None:
    session(tmp_path, mode, clean=False)
    assert rearm(tmp_path, "pool is back", 5) == LastSession(FIRST, mode, False, "why")
    assert start_state(tmp_path, policy, NOW_NS) == lifted(mode, "pool is back")


def test_given_a_damaged_journal_when_rearmed_then_the_operators_word_counts(tmp_path: Path) -> None:
    journal_path(tmp_path, FIRST).write_bytes(b"garbage, garbage")
    rearm(tmp_path, "looked at it", 5)
    assert start_state(tmp_path, "explicit", NOW_NS) == lifted("DEGRADED", "looked at it")


def test_given_an_order_for_an_earlier_session_then_it_never_lifts_a_later_one(tmp_path: Path) -> None:
    session(tmp_path, "DEGRADED", clean=False, uid=FIRST)
    rearm(tmp_path, "first", 5)
    session(tmp_path, "DEGRADED", clean=False, uid=SECOND)
    reason = f"kept from session {SECOND}: why"
    assert start_state(tmp_path, "on_clean_restart", NOW_NS) == kept("DEGRADED", reason, crashed=SECOND)


def test_given_an_order_for_degraded_when_the_same_session_is_halted_later_then_halt_is_not_lifted(
    tmp_path: Path,
) -> None:
    # Given an order written while the degraded session was still running
    path = journal(tmp_path, opened(), changed("DEGRADED"))
    rearm(tmp_path, "pool is back", 5)
    # When the operator's kill switch reaches that session
    path.unlink()
    journal(tmp_path, opened(), changed("DEGRADED"), changed("HALT", "kill switch", "DEGRADED"))
    # Then the old order says nothing about it
    assert start_state(tmp_path, "on_clean_restart", NOW_NS).state.mode == "HALT"


def test_given_two_orders_then_the_later_reason_counts(tmp_path: Path) -> None:
    session(tmp_path, "DEGRADED", clean=False)
    rearm(tmp_path, "one", 5)
    rearm(tmp_path, "two", 6)
    assert start_state(tmp_path, "explicit", NOW_NS) == lifted("DEGRADED", "two")


@pytest.mark.parametrize("ended", [None, "crashed", "closed"])
def test_given_nothing_latched_when_rearmed_then_refused_and_nothing_written(tmp_path: Path, ended: str | None) -> None:
    if ended is not None:
        session(tmp_path, "ACTIVE", clean=ended == "closed")
    with pytest.raises(KedgeError, match="nothing to re-arm"):
        rearm(tmp_path, "just in case", 5)
    assert not (tmp_path / REARM_FILE).exists()


def test_given_an_order_that_cannot_be_written_then_it_says_so(tmp_path: Path) -> None:
    session(tmp_path, "DEGRADED", clean=False)
    (tmp_path / REARM_FILE).mkdir()
    with pytest.raises(JournalUnwritable, match=r"rearm\.json: cannot write it"):
        rearm(tmp_path, "why not", 5)
    assert start_state(tmp_path, "explicit", NOW_NS).state.mode == "DEGRADED"


ORDER = {"session_uid": FIRST, "mode": "DEGRADED", "reason": "r", "wall_ns": 1}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"[" * 100_000,
        b"\xff\xfe",
        b"NaN",
        *(
            json.dumps(order).encode()
            for order in (
                "re-arm please",
                {**ORDER, "session_uid": SECOND},
                {**ORDER, "session_uid": None},
                {**ORDER, "mode": "ACTIVE"},
                {**ORDER, "reason": None},
                {**ORDER, "reason": ["r"]},
                {"reason": "r"},
                [ORDER],
            )
        ),
    ],
)
def test_given_a_garbage_order_then_it_is_no_order(tmp_path: Path, content: bytes) -> None:
    session(tmp_path, "DEGRADED", clean=False)
    (tmp_path / REARM_FILE).write_bytes(content)
    assert start_state(tmp_path, "on_clean_restart", NOW_NS).state.mode == "DEGRADED"


@pytest.mark.parametrize("reason", ["", "x" * 2000, "größer ⚓", "\udcff bytes from a shell", "line\nbreak"])
def test_given_any_reason_then_the_record_of_it_can_be_written_and_read(tmp_path: Path, reason: str) -> None:
    session(tmp_path, "DEGRADED", clean=False)
    rearm(tmp_path, reason, 5)
    start = start_state(tmp_path, "on_clean_restart", NOW_NS)
    assert start.state == ModeState()
    journal(tmp_path, opened(), start.inherited, uid=SECOND)
    assert last_session(tmp_path).why == start.inherited.reason
