"""The submissions log under every kind of harm: cut anywhere, flipped anywhere, full disk, foreign, grown."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import closing
from decimal import Decimal
from itertools import pairwise
from unittest.mock import patch

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine_proc import xrpl_submissions
from engine_proc.holdings import Order
from engine_proc.xrpl_numbers import Number
from engine_proc.xrpl_submissions import (
    OpenOffer,
    Remembered,
    Submission,
    SubmissionLog,
    log_path,
    read_submissions,
)
from shared.disk import OsFile, draft_of
from shared.errors import ConfigError, JournalCorrupt, JournalUnwritable
from shared.journal import HEADER, frame

ACCOUNT = "rHb9CJAWyB4rj91VRWn96DkukG4bwdtyTh"
OTHER = "r9zRhGr7b6xPekLvT6wP4qNdWMryaumZS7"
NETWORK_ID = 63_456


@pytest.fixture
def path(tmp_path):
    return log_path(tmp_path, ACCOUNT)


def opened(path, open_file=OsFile):
    return closing(SubmissionLog.open(path, ACCOUNT, NETWORK_ID, open_file))


def new_log(path):
    with opened(path):
        pass


def submission(n, kind="place", **more):
    ask = Order(f"s-{n}", "ask", 1, Decimal("1.30010"), Decimal("15E+2"), Decimal(1500), "pending", f"s-{n - 1}")
    shape = Submission(
        f"{n:064X}", kind, ask, Number(n, ticket=True), n - 1, 848390440, 100 + n, 104 + n, 12, f"{n:040X}"
    )
    return shape._replace(**more)


def offer(n, remaining="1499.999999"):
    return OpenOffer(f"s-{n}", "bid", 0, Decimal("1.29990"), Decimal(1500), Decimal(remaining), 848390440)


TICKET = Submission("AB" * 32, "ticket", None, Number(30), None, None, 100, 104, 10, "00")
CANCEL = submission(9, "cancel", expiration=None, number=Number(31))


def content(log):
    return dict(log.pending), dict(log.offers), log.processed_ledger


def remembered(path):
    said = read_submissions(path)
    return said.pending, said.offers, said.processed_ledger


# --- what is written is remembered


def test_given_no_log_when_opened_then_there_is_one_that_remembers_nothing_and_only_we_can_read_it(path):
    assert read_submissions(path) is None

    with opened(path) as log:
        assert content(log) == ({}, {}, None)

    assert read_submissions(path) == Remembered(ACCOUNT, NETWORK_ID, {}, {}, None)
    assert path.name == f"{ACCOUNT}.orders"
    if os.name == "posix":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_given_submissions_of_every_kind_when_opened_again_then_they_are_pending_digit_for_digit_and_in_order(path):
    submissions = (submission(2), submission(1, "replace"), CANCEL, TICKET)

    with opened(path) as log:
        log.submitting(*submissions[:1])
        log.submitting(*submissions[1:])
        log.submitting()

    for _ in range(2):  # the second time from a log that was written anew
        with opened(path) as log:
            assert tuple(log.pending.values()) == submissions
            assert [repr(each) for each in log.pending.values()] == [repr(each) for each in submissions]
            assert list(log.pending) == [each.hash for each in submissions]


def test_given_a_processed_ledger_when_confirmed_then_ends_and_offers_are_remembered_with_it(path):
    one, two, three = (submission(n) for n in (1, 2, 3))

    with opened(path) as log:
        log.submitting(one, two, three)
        log.advance(105, settled=[one.hash, "F" * 64], offers={1: offer(1), 2: offer(2)})
        log.advance(106, settled=[two.hash], offers={1: None, 2: offer(2, "0.5")})
        assert content(log) == ({three.hash: three}, {2: offer(2, "0.5")}, 106)
        log.confirm()

    assert remembered(path) == ({three.hash: three}, {2: offer(2, "0.5")}, 106)
    with opened(path) as log:
        assert content(log) == ({three.hash: three}, {2: offer(2, "0.5")}, 106)


def test_given_a_ledger_that_the_engine_has_not_recorded_when_it_dies_then_the_ledger_is_read_again_with_every_name(
    path,
):
    one, two = submission(1), submission(2)
    with opened(path) as log:
        log.submitting(one)
        log.advance(105, settled=[one.hash], offers={1: offer(1)})
        log.confirm()
        log.advance(106, offers={1: None})  # filled
        log.submitting(two)  # on the same tick

    assert remembered(path) == ({two.hash: two}, {1: offer(1)}, 105)


def test_given_a_submission_that_failed_when_settled_then_it_is_forgotten(path):
    one, two = submission(1), submission(2)
    with opened(path) as log:
        log.submitting(one, two)
        log.settled(one.hash)
        log.settled()
        assert list(log.pending) == [two.hash]

    assert list(read_submissions(path).pending) == [two.hash]


def test_given_nothing_new_when_confirmed_then_nothing_is_written(path):
    with opened(path) as log:
        log.advance(105)
        log.confirm()
        size = path.stat().st_size
        log.confirm()
        assert path.stat().st_size == size
        log.advance(105, settled=["A" * 64])
        log.confirm()
        assert path.stat().st_size > size


def test_given_an_earlier_ledger_when_advanced_then_it_is_a_bug_of_ours(path):
    with opened(path) as log:
        log.advance(105)
        with pytest.raises(AssertionError):
            log.advance(104)


def test_given_hours_of_quoting_when_the_log_has_grown_then_it_is_written_anew_and_goes_on(path):
    with patch.object(xrpl_submissions, "REWRITE_ABOVE_BYTES", 20_000), opened(path) as log:
        sizes = []
        for n in range(1, 400):
            log.submitting(submission(n))
            log.advance(100 + n, settled=[submission(n - 1).hash], offers={n: offer(n), n - 3: None})
            log.confirm()
            sizes.append(path.stat().st_size)
        expected = content(log)

    assert max(sizes) < 21_000
    assert sum(later < earlier for earlier, later in pairwise(sizes)) > 3
    assert remembered(path) == expected
    assert not draft_of(path).exists()


def test_given_a_grown_log_when_it_cannot_be_written_anew_then_it_is_said_and_the_old_one_goes_on(path):
    files = []

    def open_file(at):
        files.append(ToldFile(at, {"sync"} if files else set()))
        return files[-1]

    with patch.object(xrpl_submissions, "REWRITE_ABOVE_BYTES", 10), opened(path, open_file) as log:
        log.submitting(submission(1))
        log.advance(105, offers={1: offer(1)})
        with pytest.raises(JournalUnwritable):
            log.confirm()
        log.submitting(submission(2))
        expected = content(log)

    assert remembered(path) == expected
    assert expected == ({each.hash: each for each in (submission(1), submission(2))}, {1: offer(1)}, 105)
    assert not draft_of(path).exists()


# --- on disk before a node hears of it


class ToldFile(OsFile):
    """A file that remembers how much of it the disk was asked to keep, and refuses on request."""

    def __init__(self, path, refuse=None):
        super().__init__(path)
        self.written = self.kept = 0
        self.refuse = refuse if refuse is not None else set()

    def write(self, data):
        if "write" in self.refuse:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        taken = super().write(data[: len(data) // 2] if "half" in self.refuse else data)
        self.written += taken
        return taken

    def truncate(self, length):
        super().truncate(length)
        self.written = length

    def sync(self):
        if "sync" in self.refuse:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        super().sync()
        self.kept = self.written


def test_given_a_submission_when_it_may_go_out_then_the_disk_was_asked_to_keep_all_of_it(path):
    files = []

    def open_file(at):
        files.append(ToldFile(at))
        return files[-1]

    with opened(path, open_file) as log:
        for n in range(3):
            log.submitting(submission(n), submission(n + 10))
            assert files[-1].kept == files[-1].written == path.stat().st_size


@pytest.mark.parametrize("trouble", ["write", "half", "sync"])
def test_given_a_disk_that_refuses_when_submitting_then_it_is_said_and_nothing_is_pending_until_it_takes_it(
    path, trouble
):
    refuse = set()
    with opened(path, lambda at: ToldFile(at, refuse)) as log:
        log.submitting(submission(1))
        refuse.add(trouble)
        with pytest.raises(JournalUnwritable, match=r"\.orders: "):
            log.submitting(submission(2))
        assert list(log.pending) == [submission(1).hash]
        if trouble != "sync":  # for which only a submission waits
            log.advance(105, offers={1: offer(1)})
            with pytest.raises(JournalUnwritable):
                log.confirm()
        refuse.clear()
        log.confirm()
        log.submitting(submission(3))
        expected = content(log)

    pending, offers, processed = remembered(path)
    if trouble == "sync":  # its bytes were taken; that nobody submitted them does no harm
        pending.pop(submission(2).hash)
    assert (pending, offers, processed) == expected


def test_given_a_closed_log_when_submitting_then_nothing_may_go_out(path):
    with opened(path) as log:
        log.submitting(submission(1))

    with pytest.raises(JournalUnwritable):
        log.submitting(submission(1))


@pytest.mark.parametrize("trouble", ["write", "half", "sync"])
def test_given_a_disk_that_refuses_when_opened_then_what_stood_there_stays(path, trouble):
    with opened(path) as log:
        log.submitting(submission(1))
    before = path.read_bytes()

    with pytest.raises(JournalUnwritable):
        SubmissionLog.open(path, ACCOUNT, NETWORK_ID, lambda at: ToldFile(at, {trouble}))

    assert path.read_bytes() == before
    assert not draft_of(path).exists()


def test_given_a_draft_left_behind_by_a_crash_when_opened_then_it_does_not_matter(path):
    with opened(path) as log:
        log.submitting(submission(1))
    draft_of(path).write_bytes(b"half a log")

    with opened(path) as log:
        assert list(log.pending) == [submission(1).hash]
    assert not draft_of(path).exists()


# --- harm


def test_given_the_log_of_another_account_or_network_when_opened_then_it_is_refused_untouched(path):
    new_log(path)
    before = path.read_bytes()

    for account, network_id in ((OTHER, NETWORK_ID), (ACCOUNT, 0)):
        with pytest.raises(ConfigError, match=rf"{ACCOUNT} on network {NETWORK_ID}, not of {account} on network"):
            SubmissionLog.open(path, account, network_id)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "harm",
    [
        b"",
        HEADER[:3],
        HEADER,
        b"something else entirely",
        HEADER + frame(msgpack.packb(["kedge-orders", 2, ACCOUNT, NETWORK_ID])),
        HEADER + frame(msgpack.packb(["submitting", "A", "place"])),
        HEADER + frame(b"\xc1"),
        HEADER + frame(msgpack.packb(7)),
    ],
    ids=["empty", "half a header", "header only", "foreign", "version 2", "no first record", "no msgpack", "no array"],
)
def test_given_a_file_that_is_no_submissions_log_when_opened_then_it_is_named_and_left_alone(path, harm):
    path.write_bytes(harm)

    with pytest.raises(JournalCorrupt, match=ACCOUNT):
        SubmissionLog.open(path, ACCOUNT, NETWORK_ID)

    assert path.read_bytes() == harm


@pytest.mark.parametrize(
    "entry",
    [
        ["unheard of", 1],
        ["submitting", "A" * 64, "place"],
        ["processed", 5],
        ["processed", 5, [], [[1, ["s-1", "bid", 0, "one", "2", "3", 4]]]],
        ["settled"],
        [],
        "settled",
        None,
    ],
    ids=str,
)
def test_given_a_record_that_makes_no_sense_when_opened_then_it_is_refused_with_the_remedy(path, entry):
    new_log(path)
    with path.open("ab") as file:
        file.write(frame(msgpack.packb(entry)))

    with pytest.raises(JournalCorrupt, match="cancel-all"):
        SubmissionLog.open(path, ACCOUNT, NETWORK_ID)


def test_given_a_directory_in_its_place_when_opened_then_it_is_refused(tmp_path):
    directory = tmp_path / "x.orders"
    directory.mkdir()

    with pytest.raises(JournalCorrupt):
        SubmissionLog.open(directory, ACCOUNT, NETWORK_ID)


def history(path):
    """A log with all kinds of records: its content after each, with the length that the file had then."""
    steps = []
    with opened(path) as log:
        writer_only = [
            lambda: log.submitting(submission(1), submission(2)),
            lambda: log.settled(submission(2).hash),
            lambda: (log.advance(105, settled=[submission(1).hash], offers={1: offer(1)}), log.confirm()),
            lambda: log.submitting(TICKET),
            lambda: (log.advance(107, offers={1: None, 5: offer(5)}), log.confirm()),
            lambda: log.submitting(CANCEL),
        ]
        steps.append((path.stat().st_size, content(log)))
        for step in writer_only:
            step()
            steps.append((path.stat().st_size, content(log)))
    return steps


def test_given_a_log_cut_off_at_any_byte_when_opened_then_all_is_there_that_was_whole_at_that_point(path):
    steps = history(path)
    whole = path.read_bytes()

    for length in range(steps[0][0], len(whole) + 1):
        path.write_bytes(whole[:length])
        pending, offers, processed = remembered(path)
        done, expected = [step for step in steps if step[0] <= length][-1]
        pending_then, offers_then, processed_then = expected
        assert (offers, processed) == (offers_then, processed_then), length
        # Of a batch cut in the middle the first may be there; none of it was submitted.
        extra = set(pending) - set(pending_then)
        assert pending_then.items() <= pending.items(), length
        assert extra <= ({submission(1).hash} if done == steps[0][0] else set()), length


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_given_a_log_with_one_wrong_byte_when_opened_then_no_earlier_record_is_lost_in_silence(tmp_path_factory, data):
    path = log_path(tmp_path_factory.mktemp("log"), ACCOUNT)
    steps = history(path)
    whole = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] ^= data.draw(st.integers(1, 255))
    path.write_bytes(whole)

    last_frame = steps[-2][0]
    if at < last_frame:
        with pytest.raises(JournalCorrupt):
            SubmissionLog.open(path, ACCOUNT, NETWORK_ID)
        assert path.read_bytes() == whole
    else:  # the end of a log looks the same torn or flipped
        assert remembered(path) == steps[-2][1]


def test_given_a_torn_end_when_opened_then_it_is_cut_off_said_and_writing_goes_on(path, caplog):
    with opened(path) as log:
        log.submitting(submission(1))
    with path.open("ab") as file:
        file.write(b"\x99\x00\x00\x00torn")

    with opened(path) as log:
        log.submitting(submission(2))

    assert "torn" in caplog.text
    assert list(read_submissions(path).pending) == [submission(1).hash, submission(2).hash]


def test_given_a_log_in_use_when_read_by_another_then_it_is_not_touched(path):
    with opened(path) as log:
        log.submitting(submission(1))
        facts = path.stat()
        assert list(read_submissions(path).pending) == [submission(1).hash]
        assert path.stat() == facts or path.stat().st_mtime_ns == facts.st_mtime_ns
        log.submitting(submission(2))
        assert list(read_submissions(path).pending) == [submission(1).hash, submission(2).hash]
