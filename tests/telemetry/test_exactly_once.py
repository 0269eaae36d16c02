"""Exactly once, also for an engine on another machine, whose journals come later, in pieces and in any order."""

from __future__ import annotations

import os
from contextlib import closing
from itertools import count
from pathlib import Path

import apsw
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.journal import FRAME_HEAD_BYTES, HEADER, frame
from shared.records import SessionClosed
from telemetry_proc import mend
from telemetry_proc.backfill import backfill
from telemetry_proc.offsets import fresh_offsets
from tests.shared.record_examples import EXAMPLES, any_record
from tests.telemetry.an_engine import (
    UID,
    StandingClock,
    a_writer,
    encoded,
    expected,
    one_tick,
    stored,
    write_journal,
)

UIDS = [UID, "20261121T090000-aaaaaa", "20261122T090000-000000"]
KEYS = st.sampled_from(["anchor.pct_error_above_5bps", "mode", "x"])
BETWEEN = sorted(EXAMPLES.keys() - {"session_opened", "session_closed"})


@st.composite
def any_session(draw):
    """Opened once, closed at most once, with anything between; keys are stated again and again."""
    records = [draw(any_record("session_opened"))]
    for number in range(1, draw(st.integers(1, 14))):
        record = draw(any_record(draw(st.sampled_from([*BETWEEN, "engine_state", "tick"]))))
        if "tick" in record._fields:
            record = record._replace(tick=number)
        records.append(record._replace(key=draw(KEYS)) if "key" in record._fields else record)
    return [*records, *draw(st.lists(any_record("session_closed"), max_size=1))]


def one_after_another(sessions):
    """Each names the one before it where that was not closed."""
    named = {}
    for uid, records in zip(UIDS, sessions, strict=False):
        last = next(reversed(named.items()), None)
        crashed = None if last is None or is_closed(last[1]) else last[0]
        named[uid] = [records[0]._replace(crashed_uid=crashed), *records[1:]]
    return named


def is_closed(records):
    return isinstance(records[-1], SessionClosed)


def statuses_of(sessions):
    crashed = {records[0].crashed_uid for records in sessions.values()}
    return {
        uid: "ENDED" if is_closed(records) else "CRASHED" if uid in crashed else "RUNNING"
        for uid, records in sessions.items()
    }


def last_statements(sessions):
    """What `engine_state` must show: of every key what the session that started last stated last."""
    shown = {}
    for uid, records in sorted(sessions.items()):
        shown |= {record.key: (record.value, uid) for record in records if "key" in record._fields}
    return shown


def in_order(rows):
    return {table: sorted(held, key=repr) for table, held in rows.items()}


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(sessions=st.lists(any_session(), min_size=1, max_size=3), data=st.data())
def test_given_any_part_over_the_socket_when_the_journals_come_in_any_order_then_rows_are_the_records_once_each(
    tmp_path_factory, sessions, data
):
    home = tmp_path_factory.mktemp("law")
    sessions = one_after_another(sessions)
    payloads = {uid: encoded(records, uid) for uid, records in sessions.items()}
    some_uid, copies = st.sampled_from(list(sessions)), count()

    def deliver():
        with a_writer(home, batch_max=data.draw(st.integers(1, 4))) as (writer, arrivals, _, _):
            for _ in range(data.draw(st.integers(1, 12))):
                arrivals.deliver(data.draw(st.sampled_from(payloads[data.draw(some_uid)])))
            while writer.step():
                pass

    def bring_a_piece():
        uid = data.draw(some_uid)
        piece = payloads[uid][: data.draw(st.integers(1, len(payloads[uid])))]
        list(backfill(home / "k.db", [write_journal(home / f"{next(copies)}", piece, uid)], StandingClock()))

    for _ in range(data.draw(st.integers(1, 4))):
        data.draw(st.sampled_from([deliver, deliver, bring_a_piece]))()
    journals = [write_journal(home / "whole", payloads[uid], uid) for uid in data.draw(st.permutations(list(sessions)))]
    for journal in journals:
        list(backfill(home / "k.db", [journal], StandingClock()))
    assert {done.stored + done.missing for done in backfill(home / "k.db", journals, StandingClock())} == {0}

    with closing(apsw.Connection(str(home / "k.db"))) as conn:
        numbers = dict(conn.execute("SELECT session_uid, session_id FROM sessions"))
        assert conn.execute("SELECT * FROM telemetry_gaps WHERE filled = 0 OR missing_from NOT NULL").fetchall() == []
        assert conn.execute("SELECT * FROM telemetry_rejects").fetchall() == []
        offsets = dict(conn.execute("SELECT session_uid, next_seq FROM telemetry_offsets"))
        shown = {key: (value, number) for key, value, number in conn.execute(
            "SELECT key, value, session_id FROM engine_state")}  # fmt: skip
        assert dict(conn.execute("SELECT session_uid, status FROM sessions")) == statuses_of(sessions)
    assert offsets == {uid: len(records) for uid, records in sessions.items()}
    assert shown == {key: (value, numbers[uid]) for key, (value, uid) in last_statements(sessions).items()}
    for uid, records in sessions.items():
        assert in_order(stored(home / "k.db", numbers[uid])) == in_order(expected(records, numbers[uid]))


# --- the cost of a gap is the gap's, not the file's


def bytes_read():
    """By this process since it started, as the system counts them: whatever reads, through whatever wrapper."""
    for line in Path("/proc/self/io").read_text().splitlines():
        if line.startswith("rchar:"):
            return int(line.split()[1])
    raise AssertionError("no rchar")


@pytest.fixture(scope="module")
def long_journal(tmp_path_factory):
    """A journal of 50 MB: heavy records first, then 2,000 ticks. Yields (directory, all payloads)."""
    directory = tmp_path_factory.mktemp("long")
    heavy = EXAMPLES["breaker_event"]._replace(context_json="x" * 65_000)
    ticks = [one_tick(tick=number) for number in range(1, 2_001)]
    payloads = encoded([EXAMPLES["session_opened"], *[heavy] * 780, *ticks])
    path = directory / f"{UID}.kj"
    path.write_bytes(HEADER + b"".join(map(frame, payloads)))
    assert path.stat().st_size > 50_000_000
    yield directory, payloads
    path.unlink()


@pytest.mark.skipif(not os.access("/proc/self/io", os.R_OK), reason="counts what the system counts")
@pytest.mark.parametrize("missing", [1, 5, 1_500])
def test_given_a_gap_near_the_end_of_a_long_journal_when_mended_then_what_is_read_is_the_gap_and_a_block(
    long_journal, missing
):
    directory, payloads = long_journal
    revealing = len(payloads) - 101  # the engine has written on since
    first = revealing - missing
    offsets = fresh_offsets()
    offsets[UID].next_seq = first
    offsets[UID].position = len(HEADER) + sum(FRAME_HEAD_BYTES + len(payload) for payload in payloads[:first])
    nothing_else = bytes_read()
    nothing_else = bytes_read() - nothing_else
    before = bytes_read()

    taken = [record.seq for record in mend.in_order([payloads[revealing]], offsets, directory)]

    read = bytes_read() - before - nothing_else
    assert taken == list(range(first, revealing + 1))
    gap = sum(FRAME_HEAD_BYTES + len(payload) for payload in payloads[first:revealing])
    assert gap <= read <= gap + 2**20


@pytest.mark.skipif(not os.access("/proc/self/io", os.R_OK), reason="counts what the system counts")
def test_given_many_gaps_in_a_long_session_when_mended_one_by_one_then_together_they_cost_a_block_each(long_journal):
    directory, payloads = long_journal
    offsets = fresh_offsets()
    offsets[UID].next_seq = 781
    offsets[UID].position = len(HEADER) + sum(FRAME_HEAD_BYTES + len(payload) for payload in payloads[:781])
    before = bytes_read()

    taken = [record.seq for record in mend.in_order(payloads[790::100], offsets, directory)]

    assert taken == list(range(781, taken[-1] + 1))
    assert bytes_read() - before < 25 * 2**20  # 20 gaps; from the start of the file it would be a thousand million
