"""The fault proxy between a real client and a real server: what passes, what does not, and when it acts."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager

import pytest

from tests.node import console as consoles
from tests.node.console import Console, NodeGone, Refused
from tests.node.sluice import Sluice
from tests.xrpl.fake_node import BareLedger, FakeNode


@contextmanager
def through_a_sluice(backend: BareLedger) -> Iterator[tuple[FakeNode, Sluice, Console]]:
    with ExitStack() as opened:
        node = opened.enter_context(FakeNode(backend))
        sluice = opened.enter_context(closing(Sluice(node.port)))
        yield node, sluice, opened.enter_context(closing(Console(sluice.url)))


def a_ledger_that_counts() -> tuple[BareLedger, list[str]]:
    """A backend whose submits are noted once they are applied."""
    applied: list[str] = []

    def submit(command):
        applied.append(command["tx_blob"])
        return {"engine_result": "tesSUCCESS"}

    ledger = BareLedger()
    ledger.answers["submit"] = submit
    return ledger, applied


def test_given_no_fault_when_commands_pass_then_every_answer_is_that_of_the_node():
    ledger, applied = a_ledger_that_counts()
    ledger.answers["ledger"] = {"long": "x" * 70_000}  # a frame with an eight-byte length
    with through_a_sluice(ledger) as (_, sluice, console):
        assert console.ask("server_info")["info"]["server_state"] == "full"
        assert console.ask("submit", tx_blob="y" * 300)["engine_result"] == "tesSUCCESS"  # one with a two-byte length
        assert len(console.ask("ledger")["long"]) == 70_000
        with pytest.raises(Refused, match="unknownCmd"):
            console.ask("no_such_thing")
        assert sluice.counts["submits"] == 1
    assert applied == ["y" * 300]


@pytest.mark.parametrize(("moment", "applied_then"), [("request", 1), ("answer", 2)])
def test_given_a_trap_when_the_second_submit_comes_then_the_connection_ends_before_or_after_it_was_applied(
    moment, applied_then
):
    ledger, applied = a_ledger_that_counts()
    with through_a_sluice(ledger) as (_, sluice, console):
        sluice.set_trap(moment, 2, sluice.drop)
        console.ask("submit", tx_blob="first")
        assert sluice.trap_is_set

        with pytest.raises(NodeGone):
            console.ask("submit", tx_blob="second")

        assert not sluice.trap_is_set
        assert len(applied) == applied_then
        assert console.ask("submit", tx_blob="third")["engine_result"] == "tesSUCCESS"  # over a new connection


def test_given_a_submit_in_flight_when_the_trap_acts_then_its_answer_is_lost_and_the_next_ones_are_not(monkeypatch):
    monkeypatch.setattr(consoles, "ANSWER_S", 0.3)
    ledger, applied = a_ledger_that_counts()
    acted = threading.Event()
    with through_a_sluice(ledger) as (node, sluice, console):
        sluice.set_trap("flight", 1, acted.set)

        with pytest.raises(NodeGone):
            console.ask("submit", tx_blob="lost")

        assert acted.wait(5)
        node.await_command("submit")
        assert applied == ["lost"]
        assert console.ask("submit", tx_blob="heard")["engine_result"] == "tesSUCCESS"


def test_given_a_cut_when_somebody_connects_then_nobody_gets_through_until_it_is_mended():
    with through_a_sluice(BareLedger()) as (_, sluice, console):
        console.ask("server_info")
        sluice.cut()
        for _ in range(3):
            with pytest.raises(NodeGone):
                console.ask("server_info")
        sluice.mend()

        assert console.ask("server_info")


def test_given_silence_when_it_ends_then_what_was_asked_meanwhile_is_answered():
    with through_a_sluice(BareLedger()) as (node, sluice, console):
        console.ask("server_info")
        sluice.freeze()
        threading.Timer(0.2, sluice.thaw).start()

        assert console.ask("server_info")
        assert node.count("server_info") == 2
