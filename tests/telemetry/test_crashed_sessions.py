"""A session that ended without a word is CRASHED once a later one of the same engine says so, in whatever order."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from pathlib import Path

import pytest

from shared.clock import SystemClock
from shared.codec import encode
from shared.journal import JournalWriter, journal_path
from shared.records import Record
from telemetry_proc.backfill import backfill
from tests.e2e.pair import query
from tests.shared.record_examples import EXAMPLES, TICK

FIRST, SECOND, THIRD = (f"20261120T14020{n}-aaaaaa" for n in range(3))


def journal(directory: Path, uid: str, *, crashed: str | None = None, closed: bool = False, ticks: int = 2) -> Path:
    opened = EXAMPLES["session_opened"]._replace(crashed_uid=crashed)
    records: list[Record] = [opened, *(TICK._replace(tick=number + 1) for number in range(ticks))]
    if closed:
        records.append(EXAMPLES["session_closed"])
    writer = JournalWriter(journal_path(directory, uid))
    writer.append(*(encode(uid, seq, record) for seq, record in enumerate(records)))
    writer.close()
    return writer.path


def statuses(database: Path) -> dict[str, str]:
    return dict(query(database, "SELECT session_uid, status FROM sessions"))


def store(database: Path, journals: Sequence[Path]) -> None:
    for path in journals:
        list(backfill(database, [path], SystemClock()))


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_given_crash_after_crash_when_stored_in_any_order_then_each_but_the_last_is_crashed(
    tmp_path: Path, order: tuple[int, ...]
) -> None:
    journals = [
        journal(tmp_path, FIRST),
        journal(tmp_path, SECOND, crashed=FIRST),
        journal(tmp_path, THIRD, crashed=SECOND),
    ]
    store(tmp_path / "k.db", [journals[at] for at in order])
    assert statuses(tmp_path / "k.db") == {FIRST: "CRASHED", SECOND: "CRASHED", THIRD: "RUNNING"}


@pytest.mark.parametrize("order", list(permutations(range(2))))
def test_given_a_session_that_said_its_end_when_another_calls_it_crashed_then_ended_stands(
    tmp_path: Path, order: tuple[int, ...]
) -> None:
    # A power cut may take the end from the journal although the socket had brought it.
    journals = [journal(tmp_path, FIRST, closed=True), journal(tmp_path, SECOND, crashed=FIRST)]
    store(tmp_path / "k.db", [journals[at] for at in order])
    assert statuses(tmp_path / "k.db") == {FIRST: "ENDED", SECOND: "RUNNING"}


def test_given_a_session_that_is_named_but_has_no_rows_then_none_is_invented(tmp_path: Path) -> None:
    store(tmp_path / "k.db", [journal(tmp_path, SECOND, crashed=FIRST, closed=True)])
    assert statuses(tmp_path / "k.db") == {SECOND: "ENDED"}


def test_given_both_in_one_batch_then_crashed_all_the_same(tmp_path: Path) -> None:
    journal(tmp_path, FIRST)
    journal(tmp_path, SECOND, crashed=FIRST)
    list(backfill(tmp_path / "k.db", [tmp_path], SystemClock()))
    assert statuses(tmp_path / "k.db")[FIRST] == "CRASHED"
