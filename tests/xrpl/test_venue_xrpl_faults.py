"""The live venue when answers get lost, connections break and processes die: no order lost, none counted twice."""

from __future__ import annotations

import errno
import threading
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import pytest

from engine_proc.holdings import Fill, Outcome
from engine_proc.ports import VenueUnreachable
from engine_proc.venue_xrpl import XrplVenue
from engine_proc.xrpl_submissions import SubmissionLog, log_path
from shared.disk import OsFile
from shared.settings import Xrpl
from shared.stop import Stop
from tests.engine.venue_contract import SIZE, Book, order, outcomes
from tests.xrpl.fake_node import Refusal
from tests.xrpl.tape_node import DirectLink, FakeClock
from tests.xrpl.venue_stage import (
    ADDRESS,
    IOC_BUY,
    IOC_SELL,
    NETWORK,
    OURS,
    PAIR,
    SIGNER,
    TAKER,
    VIEW,
    VenueStage,
    closing_ledgers,
    network,
    offer_create,
    open_log,
)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[VenueStage]:
    with VenueStage(tmp_path) as stage:
        stage.ledger()
        stage.venue.settle()
        yield stage


@pytest.fixture
def book(stage: VenueStage) -> Book:
    return Book(stage)


def fees(reports) -> Decimal:
    return sum((report.fee_base for report in reports if isinstance(report, Outcome)), Decimal(0))


def reconnected(stage: VenueStage) -> None:
    """Wait until the link has a connection again, and has heard of the newest ledger on it."""
    stage.node.await_sessions(1)
    stage.node.publish(stage.node.run(stage.book.close))
    stage.known()


# Answers that never came


@pytest.mark.parametrize("fault", ["swallowed", "killed_after", "killed_before"])
def test_given_an_answer_that_never_came_when_the_order_landed_anyway_or_not_then_it_rests_exactly_once(
    stage, book, fault
):
    if fault == "swallowed":
        stage.node.swallow_answers("submit", 1)
    else:
        stage.node.kill_on("submit", applied=fault == "killed_after")
    book.send(place=[order("b1")])
    assert len(stage.log.pending) == 1
    reconnected(stage)
    book.take(stage.venue.reports(VIEW))  # what the node never heard of goes out again
    reports = book.settle()

    assert book.holdings.orders["b1"].state == "resting"
    assert len(stage.offers()) == 1
    assert stage.log.pending == {}
    assert fees(reports) <= Decimal("0.00001")
    book.agrees_with_truth()


def test_given_answers_and_streams_that_come_twice_when_trading_then_everything_is_counted_once(stage, book):
    stage.node.duplicate_answers = stage.node.duplicate_streams = True
    book.send(place=[order("b1"), order("a1", "ask")])
    stage.node.duplicate_answers = False  # no client library survives more of that on one connection
    reconnected(stage)
    book.take(stage.venue.reports(VIEW))
    book.settle()
    reports = book.settle(sold=((1.302, 80.0),))

    (fill,) = [report for report in reports if isinstance(report, Fill)]
    assert fill.base == 80
    book.agrees_with_truth()


def test_given_a_frozen_node_when_submitting_then_the_order_is_under_way_until_the_ledger_says_otherwise(tmp_path):
    with VenueStage(tmp_path, request_timeout_ms=200) as stage:
        stage.ledger()
        stage.venue.settle()
        book = Book(stage)
        stage.node.freeze()
        book.send(place=[order("b1")])
        assert book.take(stage.venue.reports(VIEW)) == ()
        assert (stage.venue.terms.refusal, stage.venue.terms.in_doubt) == ("UNREACHABLE", True)
        with pytest.raises(VenueUnreachable):
            stage.venue.truth()
        stage.node.thaw()
        book.settle()

        assert book.holdings.orders["b1"].state == "resting"
        assert stage.venue.terms.refusal is None
        book.agrees_with_truth()


def test_given_a_transaction_lost_before_another_when_submitted_again_then_the_gap_is_closed_and_both_land(stage, book):
    lost: list[str] = []

    def lose_the_first(command):
        if command["command"] == "submit" and (not lost or command["tx_blob"] == lost[0]) and len(lost) < 2:
            lost.append(command["tx_blob"])
            return {"engine_result": "telCAN_NOT_QUEUE", "engine_result_code": -1}
        return None

    stage.watched.door = lose_the_first
    book.send(place=[order("b1"), order("a1", "ask")])  # the second is held: terPRE_SEQ
    stage.close()
    book.take(stage.venue.reports(VIEW))
    lost += [""]
    stage.close()
    book.take(stage.venue.reports(VIEW))
    book.settle()

    assert {held.state for held in book.holdings.orders.values()} == {"resting"}
    book.agrees_with_truth()


def test_given_a_node_that_never_takes_it_when_its_last_ledger_passed_then_rejected_and_the_old_order_rests(
    stage, book
):
    book.send(place=[order("b1")])
    book.settle()
    stage.watched.door = lambda command: {"engine_result": "telINSUF_FEE_P"} if command["command"] == "submit" else None
    book.send(replace=[order("b2", replaces="b1")])
    reports = [report for _ in range(6) for report in book.take(stage.ledger())]

    assert outcomes(reports, "b2") == [("rejected", "LAST_LEDGER_PASSED")]
    assert set(book.holdings.orders) == {"b1"}
    assert book.holdings.orders["b1"].state in ("resting", "fading")
    assert stage.log.pending == {}
    book.agrees_with_truth()


def test_given_an_impossible_transaction_when_refused_the_first_time_then_rejected_at_once_and_its_number_is_used_again(
    stage, book
):
    sequence = stage.book.state.root(ADDRESS).sequence
    stage.watched.door = lambda command: {"engine_result": "temBAD_OFFER"} if command["command"] == "submit" else None
    book.send(place=[order("b1")])
    stage.watched.door = lambda _: None
    assert outcomes(book.take(stage.venue.reports(VIEW)), "b1") == [("rejected", "temBAD_OFFER")]
    book.send(place=[order("b2")])

    assert [submission.number.value for submission in stage.log.pending.values()] == [sequence]
    book.settle()
    book.agrees_with_truth()


def test_given_tem_for_what_went_out_before_when_it_lands_all_the_same_then_it_rests(stage, book):
    said: list[str] = []

    def doubtful(command):
        if command["command"] != "submit":
            return None
        said.append(command["tx_blob"])
        if len(said) == 1:
            stage.book.answer(command)  # it was taken, and relayed
            return {"engine_result": "telLOCAL_ERROR"}
        return {"engine_result": "temINVALID"}

    stage.watched.door = doubtful
    book.send(place=[order("b1")])
    assert book.take(stage.venue.reports(VIEW)) == ()
    assert len(said) == 2
    book.settle()
    assert book.holdings.orders["b1"].state == "resting"
    book.agrees_with_truth()


def test_given_a_second_signer_when_it_takes_our_number_then_the_order_is_over_at_its_last_ledger_and_the_next_is_fine(
    stage, book
):
    theirs = offer_create(OURS, "bid", "1.1", 10)
    assert stage.book.apply(theirs) == "tesSUCCESS"  # with the sequence that ours will carry
    book.send(place=[order("b1")])
    reports = [report for _ in range(7) for report in book.take(stage.ledger())]

    assert outcomes(reports, "b1") == [("rejected", "LAST_LEDGER_PASSED")]
    book.send(place=[order("b2")])
    book.settle()
    assert book.holdings.orders["b2"].state == "resting"
    truth = stage.venue.truth()
    assert (book.holdings.base, book.holdings.quote) == (truth.base, truth.quote)  # the stranger's fee included
    assert len(truth.orders) == 2  # reconciliation will name the one that is not ours


# A node that is away


def test_given_a_cut_connection_when_ledgers_close_meanwhile_then_every_fill_is_found_and_the_venue_was_in_doubt(
    stage, book
):
    book.send(place=[order("b1"), order("a1", "ask")])
    book.settle()
    stage.node.refuse_connections = True
    stage.node.kill()
    stage.node.await_sessions(0)
    for side, price in (("ask", "1.302"), ("bid", "1.308"), ("ask", "1.302")):
        stage.book.apply(offer_create(TAKER, side, price, 30, IOC_SELL if side == "ask" else IOC_BUY))
        stage.book.close()
    assert book.take(stage.venue.reports(VIEW)) == ()
    assert stage.venue.terms.refusal == "UNREACHABLE"
    stage.node.refuse_connections = False
    reconnected(stage)
    reports = book.take(stage.venue.reports(VIEW))

    assert sorted((fill.order_id, fill.base) for fill in reports) == [("a1", 30), ("b1", 30), ("b1", 30)]
    assert stage.venue.terms[1:] == (None, True)
    book.agrees_with_truth()
    stage.venue.reports(VIEW)
    assert not stage.venue.terms.in_doubt


def test_given_no_connection_when_a_plan_is_sent_then_nothing_is_signed_and_cancelled_orders_rest_on(stage, book):
    book.send(place=[order("b1")])
    book.settle()
    stage.node.refuse_connections = True
    stage.node.kill()
    stage.node.await_sessions(0)
    book.take(stage.venue.reports(VIEW))
    book.send(place=[order("a1", "ask")], cancel=["b1"])

    assert stage.log.pending == {}
    reports = book.take(stage.venue.reports(VIEW))
    assert outcomes(reports, "a1") == [("rejected", "UNREACHABLE")]
    assert outcomes(reports, "b1") == [("accepted", "UNREACHABLE")]
    assert {held.state for held in book.holdings.orders.values()} == {"resting"}


def test_given_an_order_that_was_lost_and_a_cut_connection_when_cancelled_then_it_is_never_believed_to_rest(
    stage, book
):
    stage.node.kill_on("submit", applied=False)
    book.send(place=[order("b1")])
    stage.node.await_sessions(0)
    stage.node.refuse_connections = True
    book.take(stage.venue.reports(VIEW))
    book.send(cancel=["b1"])

    assert outcomes(book.take(stage.venue.reports(VIEW)), "b1") == [("pending", "UNREACHABLE")]
    assert {held.state for held in book.holdings.orders.values()} == {"pending"}


def test_given_a_node_without_the_ledgers_in_between_when_asked_then_no_order_until_they_are_there(stage, book):
    book.send(place=[order("b1")])
    book.settle()
    stage.book.apply(offer_create(TAKER, "ask", "1.302", 30, IOC_SELL))
    first = stage.book.validated_index
    stage.close()
    stage.close()
    stage.book.forget(stage.book.validated_index)
    assert book.take(stage.venue.reports(VIEW)) == ()
    assert stage.venue.terms.refusal == "HISTORY_MISSING"
    book.agrees_with_truth()  # as of the last ledger that was read

    stage.book.forget(first)
    reports = book.take(stage.venue.reports(VIEW))
    assert [fill.base for fill in reports] == [30]
    assert stage.venue.terms.refusal is None
    book.agrees_with_truth()


@pytest.mark.parametrize("command", ["account_tx", "account_info"])
def test_given_a_node_that_announces_a_ledger_before_it_answers_for_it_when_asked_then_it_is_asked_again(
    stage, book, command
):
    asked: list[str] = []

    def not_yet(asking):
        if asking["command"] == command:
            asked.append(command)
            if len(asked) < 3:
                raise Refusal("lgrNotFound")

    book.send(place=[order("b1")])
    stage.close()
    stage.watched.door = not_yet
    book.take(stage.venue.reports(VIEW))

    assert stage.venue.terms.refusal is None
    assert book.holdings.orders["b1"].state == "resting"
    book.agrees_with_truth()


def test_given_a_session_that_ends_when_settling_then_the_stop_request_does_not_cut_the_wait_short(stage, book):
    book.send(place=[order("b1")])
    book.settle()
    stage.stop.request()
    book.send(cancel=["b1"])
    with closing_ledgers(stage):
        reports = book.take(stage.venue.settle())

    assert outcomes(reports, "b1") == [("cancelled", "requested")]
    assert stage.venue.truth().orders == {}


def test_given_a_wait_at_the_start_when_a_stop_is_requested_then_it_ends(stage, book):
    book.send(place=[order("b1")])
    stopping = threading.Timer(0.1, stage.stop.request)
    stopping.start()
    stage.venue.settle()  # no ledger closes
    stopping.join()

    assert len(stage.log.pending) == 1


def test_given_nonsense_from_the_node_when_reading_then_nothing_is_taken_in_and_it_is_said(stage, book):
    stage.watched.door = lambda command: {"account_data": 7} if command["command"] == "account_info" else None
    stage.close()
    assert stage.venue.reports(VIEW) == ()
    assert stage.venue.terms.refusal == "UNREADABLE"
    with pytest.raises(VenueUnreachable):
        stage.venue.truth()
    stage.watched.door = lambda _: None
    book.settle()
    book.agrees_with_truth()


def test_given_a_silent_node_when_settling_then_it_waits_so_long_once_and_the_next_time_not_at_all(tmp_path):
    ledger, clock, stop = network(), FakeClock(), Stop()
    link = DirectLink(ledger, clock)
    link.closed(ledger.close())
    settings = Xrpl(endpoints=("ws://127.0.0.1:1",), network_id=NETWORK, account=ADDRESS, settle_ledgers=12)
    with closing(open_log(log_path(tmp_path, ADDRESS))) as log, closing(stop):
        venue = XrplVenue(settings, PAIR, link, SIGNER, log, clock=clock, stop=stop)
        venue.settle()
        link.cut = True
        started_ns = clock.ns
        venue.settle()
        waited_ns = clock.ns - started_ns
        venue.settle()

        assert waited_ns == 48 * 10**9
        assert clock.ns - started_ns == waited_ns
        link.cut = False
        venue.settle()
        assert venue.truth().orders == {}


# A disk that refuses


class FullDisk(OsFile):
    full = False

    def write(self, data: bytes) -> int:
        if FullDisk.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(data)


def test_given_a_full_disk_when_a_plan_is_sent_then_no_order_goes_out_and_cancels_do(stage, book, monkeypatch):
    stage.crash()
    monkeypatch.setattr(
        "tests.xrpl.venue_stage.open_log", lambda path: SubmissionLog.open(path, ADDRESS, NETWORK, FullDisk)
    )
    FullDisk.full = False
    stage.start()
    stage.known()
    stage.venue.settle()
    book = Book(stage)
    book.send(place=[order("b1")])
    book.settle()
    FullDisk.full = True
    book.send(place=[order("a1", "ask")], cancel=["b1"])
    reports = book.settle()

    assert outcomes(reports, "a1") == [("rejected", "LOG_UNWRITABLE")]
    assert outcomes(reports, "b1") == [("cancelled", "requested")]
    assert stage.venue.terms.refusal == "LOG_UNWRITABLE"
    assert stage.offers() == {}
    book.agrees_with_truth()
    FullDisk.full = False
    book.take(stage.ledger())
    book.take(stage.ledger())
    assert stage.venue.terms.refusal is None


# A process that dies


def test_given_a_crash_after_submitting_when_started_again_then_the_order_has_its_name_and_its_fills(stage, book):
    book.send(place=[order("b1"), order("a1", "ask")])
    stage.restart()
    stage.book.apply(offer_create(TAKER, "ask", "1.302", 30, IOC_SELL))
    stage.close()  # the orders land
    stage.book.apply(offer_create(TAKER, "ask", "1.302", 50, IOC_SELL))
    stage.close()
    reports = stage.venue.settle()

    assert {fill.order_id for fill in reports if isinstance(fill, Fill)} == {"b1"}
    sold = sum(fill.base for fill in reports if isinstance(fill, Fill))
    truth = stage.venue.truth()
    assert {name: there.remaining for name, there in truth.orders.items()} == {"b1": SIZE - sold, "a1": SIZE}


def test_given_a_crash_before_submitting_when_started_again_then_the_stale_order_is_never_sent(stage, book):
    stage.watched.door = lambda command: {"engine_result": "telLOCAL_ERROR"} if command["command"] == "submit" else None
    book.send(place=[order("b1")])
    stage.watched.door = lambda _: None
    stage.restart()
    stage.known()
    submitted = stage.node.count("submit")
    stage.venue.reports(VIEW)
    with pytest.raises(VenueUnreachable, match="earlier run"):
        stage.venue.truth()
    reports = [report for _ in range(6) for report in stage.ledger()]

    assert stage.node.count("submit") == submitted
    assert outcomes(reports, "b1") == [("rejected", "LAST_LEDGER_PASSED")]
    assert stage.venue.truth().orders == {}


def test_given_a_crash_before_a_cancel_went_out_when_started_again_then_it_goes_out(stage, book):
    book.send(place=[order("b1")])
    book.settle()
    stage.watched.door = lambda command: {"engine_result": "telLOCAL_ERROR"} if command["command"] == "submit" else None
    book.send(cancel=["b1"])
    stage.watched.door = lambda _: None
    stage.restart()
    stage.known()
    stage.venue.reports(VIEW)
    assert outcomes(stage.ledger(), "b1") == [("cancelled", "requested")]


@pytest.mark.parametrize("recorded", [True, False], ids=["after", "before"])
def test_given_a_crash_around_putting_a_fill_on_record_when_started_again_then_it_is_told_exactly_once(
    stage, book, recorded
):
    book.send(place=[order("b1")])
    book.settle()
    (fill,) = [report for report in stage.ledger(sold=((1.302, 80.0),)) if isinstance(report, Fill)]
    stage.recorded = {fill.trade_id} if recorded else ()
    stage.restart()
    stage.known()
    again = [report for report in stage.venue.settle() if isinstance(report, Fill)]

    assert again == ([] if recorded else [fill])
    assert stage.venue.truth().orders["b1"].remaining == SIZE - 80


def test_given_a_crash_and_nobody_back_when_the_time_of_the_orders_comes_then_none_can_be_taken(stage, book):
    book.send(place=[order("b1"), order("a1", "ask")])
    book.settle()
    ends = max(offer["expiration"] for offer in stage.offers().values())
    stage.crash()
    while stage.book.close_time < ends:
        stage.book.close()
    before = stage.book.answer({"command": "account_info", "account": ADDRESS})["account_data"]["Balance"]
    for side, price in (("ask", "1.29"), ("bid", "1.32")):
        stage.book.apply(offer_create(TAKER, side, price, 50, IOC_BUY))
    stage.book.close()
    after = stage.book.answer({"command": "account_info", "account": ADDRESS})["account_data"]["Balance"]

    assert before == after
    stage.start()
    stage.known()
    assert {report.result for report in stage.venue.settle()} == {"expired"}
    assert stage.venue.truth().orders == {}
