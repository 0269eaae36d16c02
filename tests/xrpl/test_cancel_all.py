"""cancel-all: whatever answers are lost and whatever still lands, at its end a validated ledger lists no offer."""

from __future__ import annotations

import json
import random
from contextlib import closing

import pytest
from filelock import FileLock
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine_proc import cancel_all as command
from engine_proc.__main__ import engine
from engine_proc.cancel_all import BATCH_MAX, LAG_LEDGERS, cancel_all
from engine_proc.xrpl_link import XrplLink
from engine_proc.xrpl_ports import NodeUnreachable
from engine_proc.xrpl_wallet import SEED_VARIABLE
from shared import cli
from shared.clock import SystemClock
from shared.errors import ConfigError, FailSafeStop
from shared.journal import ENGINE_LOCK
from shared.settings import Xrpl
from shared.stop import Stop
from tests.xrpl.fake_node import FakeNode
from tests.xrpl.small_network import ADDRESS, MAKER, OURS, USD, Network, closing_ledgers, command_line, pair, signer
from tests.xrpl.tape_node import DirectLink

NETWORK_ID = 63456


def run(network, link=None, *, in_pair=True, timeout_s=400.0, stop=None, **settings_):
    """The command on a network, as composition calls it."""
    chosen = Xrpl(network_id=NETWORK_ID, account=ADDRESS, **settings_)
    with closing(stop or Stop()) as request:
        return cancel_all(
            link or network.link(),
            signer(),
            chosen,
            pair() if in_pair else None,
            clock=network.clock,
            stop=request,
            timeout_s=timeout_s,
        )


def quoting(network, asks=2, bids=2):
    """Our offers on both sides of the market, in a validated ledger; their numbers."""
    for level in range(asks):
        assert network.quote("ask", 1, f"1.31{level:02}") == "tesSUCCESS"
    for level in range(bids):
        assert network.quote("bid", 1, f"1.28{level:02}") == "tesSUCCESS"
    network.ledger.close()
    return network.offers()


# --- what it is for


def test_given_offers_on_both_sides_when_cancelled_then_the_ledger_lists_none_and_all_are_named():
    network = Network()
    numbers = quoting(network)

    report = run(network)

    assert network.offers() == []
    assert report.complete
    assert list(report.gone) == numbers
    assert (report.transactions, report.answer) == (len(numbers), None)
    assert network.offers(MAKER.address), "the offers of others stay"


def test_given_nothing_open_when_cancelled_then_it_still_waits_until_nothing_sent_before_can_land():
    network = Network()
    before = network.ledger.validated_index

    report = run(network)

    assert report.complete
    assert report.transactions == 0
    assert report.ledger_index >= before + 1 + Xrpl().last_ledger_offset + LAG_LEDGERS


def test_given_more_offers_than_one_batch_when_cancelled_then_all_go_in_bounded_batches():
    network = Network(our_drops=200_000_000)
    quoting(network, asks=BATCH_MAX + 2, bids=BATCH_MAX + 1)
    link = network.link()

    report = run(network, link)

    assert report.complete
    assert network.offers() == []
    assert len(report.gone) == 2 * BATCH_MAX + 3


def test_given_an_order_of_a_dead_engine_under_way_when_cancelled_then_it_goes_too_once_it_has_landed():
    network = Network()
    quoting(network, asks=1, bids=1)
    network.before_close[3] = lambda: network.quote("bid", 1, "1.27")  # relayed late, into the third ledger from now

    report = run(network)

    assert report.complete
    assert network.offers() == []
    assert len(report.gone) == 3


def test_given_an_order_in_the_open_ledger_when_cancelled_then_the_cancels_are_numbered_behind_it():
    network = Network()
    numbers = quoting(network, asks=1, bids=0)
    network.quote("bid", 1, "1.27")  # takes the sequence that the validated ledger still calls free

    report = run(network)

    assert report.complete
    assert set(numbers) < set(report.gone)


def test_given_an_offer_past_its_expiration_when_cancelled_then_it_is_swept_as_well():
    network = Network()
    assert network.quote("ask", 1, "1.31", Expiration=network.ledger.close_time + 5) == "tesSUCCESS"
    for _ in range(4):
        network.ledger.close()
    assert network.offers(), "expired offers stay listed until a transaction touches them"

    report = run(network)

    assert report.complete
    assert network.offers() == []


def test_given_offers_in_another_pair_when_cancelled_then_they_stay_unless_every_pair_is_asked_for():
    network = Network()
    network.ledger.trust(ADDRESS, MAKER.address, "EUR")
    network.ledger.close()
    other = {"currency": "EUR", "issuer": MAKER.address, "value": "7"}
    offer = {"TransactionType": "OfferCreate", "Account": ADDRESS, "TakerGets": "5000000", "TakerPays": other}
    assert network.ledger.apply(offer) == "tesSUCCESS"
    quoting(network, asks=1, bids=0)

    mine = run(network)
    assert mine.complete
    assert len(network.offers()) == 1

    every = run(network, in_pair=False)
    assert every.complete
    assert network.offers() == []


# --- what goes wrong


class Unheard(DirectLink):
    """A link on which some submissions get no answer: half of them were applied, half never arrived."""

    def __init__(self, network, lost):
        super().__init__(network.ledger, network.clock, network._close)
        self.lost = list(lost)

    def request(self, command):
        if command["command"] == "submit" and self.lost:
            fate = self.lost.pop(0)
            if fate == "after":
                super().request(command)
            if fate != "heard":
                raise NodeUnreachable("no answer in time")
        return super().request(command)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(lost=st.lists(st.sampled_from(["heard", "before", "after"]), max_size=12), asks=st.integers(0, 3))
def test_given_any_submissions_without_an_answer_when_cancelled_then_nothing_is_left(lost, asks):
    network = Network()
    quoting(network, asks=asks, bids=2)

    report = run(network, Unheard(network, lost))

    assert report.complete
    assert network.offers() == []


def test_given_no_node_at_all_when_cancelled_then_it_ends_in_time_and_says_that_nothing_is_known():
    network = Network()
    quoting(network)
    link = network.link()
    link.cut = True
    started_ns = network.clock.monotonic_ns()

    report = run(network, link, timeout_s=60)

    assert (report.ledger_index, report.complete, report.verified) == (0, False, False)
    assert network.clock.monotonic_ns() - started_ns <= 61e9
    assert "NOTHING IS KNOWN" in command.text(report)


def test_given_a_network_dearer_than_the_cap_when_cancelled_then_the_cap_is_paid_and_what_is_left_is_named():
    network = Network()
    numbers = quoting(network)
    network.ledger.load_factor = 500

    report = run(network, timeout_s=60, fee_drops_max=50)

    assert list(report.left) == numbers
    assert not report.complete
    assert report.fee_drops_max == report.transactions * 50
    assert report.answer == "telINSUF_FEE_P"
    assert "telINSUF_FEE_P" in command.text(report)


def test_given_a_stop_when_cancelling_then_it_ends_at_once_and_is_not_called_complete():
    network = Network()
    quoting(network)
    stop = Stop()
    network.before_close[2] = stop.request

    report = run(network, stop=stop)

    assert not report.complete


def test_given_an_account_that_is_not_there_when_cancelled_then_the_key_of_the_settings_is_named():
    network = Network(our_drops=0)

    with pytest.raises(ConfigError, match=r"xrpl\.account: r\w+ does not exist"):
        run(network)


def test_given_a_real_connection_that_breaks_in_mid_submit_when_cancelled_then_nothing_is_left():
    network = Network()
    quoting(network)
    chosen = Xrpl(network_id=NETWORK_ID, account=ADDRESS, request_timeout_ms=2_000, backoff_ms=20, backoff_ms_max=50)
    with FakeNode(network.ledger) as node, closing(Stop()) as stop, closing_ledgers(node):
        node.kill_on("submit", applied=True)
        link = XrplLink(
            (node.url,),
            network_id=NETWORK_ID,
            request_timeout_ms=chosen.request_timeout_ms,
            liveness_ms=chosen.liveness_ms,
            backoff_ms=chosen.backoff_ms,
            backoff_ms_max=chosen.backoff_ms_max,
            clock=SystemClock(),
            rng=random.Random(1),
            stop=stop,
        )
        with closing(link):
            report = cancel_all(link, signer(), chosen, pair(), clock=SystemClock(), stop=stop, timeout_s=30)

    assert report.complete
    assert network.offers() == []


# --- what it says


def test_given_a_report_when_printed_as_json_then_it_is_one_object_with_every_field():
    network = Network()
    numbers = quoting(network, asks=1, bids=0)

    said = json.loads(command.as_json(run(network)))

    assert said["schema_version"] == 1
    assert (said["complete"], said["gone"], said["left"]) == (True, numbers, [])


def test_given_a_complete_report_when_printed_then_people_read_that_nothing_can_land():
    network = Network()
    quoting(network)

    said = command.text(run(network))

    assert "4 offers gone" in said
    assert "no offer is open" in said
    assert USD not in said.splitlines()[-1]


# --- from the command line


def test_given_the_command_line_when_offers_are_open_then_they_go_and_the_exit_code_is_0(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv(SEED_VARIABLE, OURS.seed)
    network = Network()
    quoting(network)

    with FakeNode(network.ledger) as node, closing_ledgers(node):
        code = cli.run(engine, command_line("cancel-all", tmp_path, node))

    shown = capsys.readouterr()
    assert code == 0, shown.err
    assert network.offers() == []
    assert "no offer is open" in shown.out
    assert OURS.seed not in shown.out + shown.err


def test_given_an_engine_that_runs_when_cancelling_then_it_is_refused_before_anything_is_sent(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv(SEED_VARIABLE, OURS.seed)
    network = Network()
    numbers = quoting(network)
    journals = tmp_path / "journal"
    journals.mkdir(mode=0o700)

    with FakeNode(network.ledger) as node, FileLock(journals / ENGINE_LOCK):
        code = cli.run(engine, command_line("cancel-all", tmp_path, node))

    assert code == FailSafeStop.exit_code
    assert "another engine is running" in capsys.readouterr().err
    assert node.count("submit") == 0
    assert network.offers() == numbers
