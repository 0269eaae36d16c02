"""Which executions the journals hold already: how far back is looked, in whose sessions, through what damage."""

from __future__ import annotations

import json
from pathlib import Path

from engine_proc.recorded_trades import recorded_trades
from shared.codec import encode
from shared.journal import JournalWriter, journal_path
from tests.shared.record_examples import EXAMPLES

OURS, ANOTHER = "rOurs", "rAnother"
FIRST, SECOND, THIRD = (f"20261120T14020{n}-aaaaaa" for n in range(3))


def session(
    directory: Path, uid: str, *trades: str, closed: bool, account: str = OURS, mode: str = "live", ticks: int = 7
) -> Path:
    document = json.dumps({"xrpl": {"account": account}})
    fills = [EXAMPLES["fill"]._replace(trade_id=trade) for trade in trades]
    records = [EXAMPLES["session_opened"]._replace(venue_mode=mode, config_json=document), EXAMPLES["tick"], *fills]
    if closed:
        records.append(EXAMPLES["session_closed"]._replace(ticks=ticks))
    writer = JournalWriter(journal_path(directory, uid))
    for seq, record in enumerate(records):
        writer.append(encode(uid, seq, record))
    writer.close()
    return writer.path


def test_given_no_journals_then_nothing_is_recorded(tmp_path: Path) -> None:
    assert recorded_trades(tmp_path, OURS) == frozenset()
    assert recorded_trades(tmp_path / "nowhere", OURS) == frozenset()


def test_given_a_session_that_closed_before_it_had_read_the_ledger_then_the_one_before_it_is_read_as_well(
    tmp_path: Path,
) -> None:
    session(tmp_path, FIRST, "crashed", closed=False)
    session(tmp_path, SECOND, closed=True, ticks=0)  # the node had no answer, so the mark is where the crash left it

    assert recorded_trades(tmp_path, OURS) == {"crashed"}


def test_given_crashed_sessions_then_all_of_them_and_the_last_closed_one_are_read(tmp_path: Path) -> None:
    session(tmp_path, FIRST, "long-ago", closed=True)
    session(tmp_path, SECOND, "closed", closed=True)
    session(tmp_path, THIRD, "crashed-1", "crashed-2", closed=False)

    assert recorded_trades(tmp_path, OURS) == {"closed", "crashed-1", "crashed-2"}


def test_given_a_session_on_paper_in_between_then_it_is_neither_read_nor_the_end_of_the_search(tmp_path: Path) -> None:
    session(tmp_path, FIRST, "crashed", closed=False)
    session(tmp_path, SECOND, "paper-1", closed=True, mode="paper")

    assert recorded_trades(tmp_path, OURS) == {"crashed"}


def test_given_another_accounts_session_in_between_then_the_search_goes_on(tmp_path: Path) -> None:
    session(tmp_path, FIRST, "crashed", closed=False)
    session(tmp_path, SECOND, "theirs", closed=True, account=ANOTHER)

    assert recorded_trades(tmp_path, OURS) == {"crashed"}


def test_given_a_torn_tail_then_what_stands_before_it_counts(tmp_path: Path) -> None:
    path = session(tmp_path, FIRST, "kept", "torn", closed=False)
    path.write_bytes(path.read_bytes()[:-5])

    assert recorded_trades(tmp_path, OURS) == {"kept"}


def test_given_a_foreign_file_then_the_search_goes_on_behind_it(tmp_path: Path) -> None:
    session(tmp_path, FIRST, "crashed", closed=False)
    journal_path(tmp_path, THIRD).write_bytes(b"not a journal at all")

    assert recorded_trades(tmp_path, OURS) == {"crashed"}
