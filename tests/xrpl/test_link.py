"""The link with nodes that work: admission, requests, ledgers, stopping and closing. Faults: test_link_faults.py."""

from __future__ import annotations

import logging
import threading
import time
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine_proc.xrpl_link import back_off_ms, closed_ledger
from engine_proc.xrpl_ports import NodeRefused, NodeUnreachable
from shared.clock import SystemClock
from shared.errors import ConfigError
from shared.stop import Stop
from tests.xrpl.fake_node import BareLedger, FakeNode, Refusal
from tests.xrpl.linked import LONG_MS, await_connection, link_to, next_ledger


@pytest.fixture
def ledger():
    ledger = BareLedger(ledger_index=1000)
    ledger.answers["echo"] = lambda command: {"said": command["say"]}
    return ledger


@pytest.fixture
def node(ledger):
    with FakeNode(ledger) as node:
        yield node


# --- requests


def test_given_a_node_when_asked_at_once_then_the_first_connection_is_waited_for(node):
    with link_to(node) as link:
        assert link.request({"command": "echo", "say": "hello"}) == {"said": "hello"}
        assert link.connections == 1
        assert link.endpoint == node.url


def test_given_a_refusal_when_asked_then_it_is_raised_with_its_token(node, ledger):
    ledger.answers["amm_info"] = Refusal("actNotFound", "Account not found.")

    with link_to(node) as link, pytest.raises(NodeRefused, match="Account not found") as refused:
        link.request({"command": "amm_info"})

    assert refused.value.error == "actNotFound"


def test_given_several_commands_when_asked_together_then_answers_keep_their_order_and_refusals_are_values(node, ledger):
    ledger.answers["amm_info"] = Refusal("actNotFound")
    commands = [{"command": "echo", "say": each} for each in range(20)]

    with link_to(node) as link:
        answers = link.request_all([*commands, {"command": "amm_info"}])

    assert answers[:-1] == [{"said": each} for each in range(20)]
    assert isinstance(answers[-1], NodeRefused)
    assert answers[-1].error == "actNotFound"


def test_given_nested_fields_when_asked_then_the_node_gets_them_as_they_are(node):
    book = {"taker_gets": {"currency": "XRP"}, "ids": [1, [2, {"a": False}]], "ledger_index": 7}

    with link_to(node) as link:
        link.request({"command": "echo", "say": None} | book | {"say": 1})

    sent = node.commands[-1]
    assert {key: sent[key] for key in book} == book
    assert sent["api_version"] == 2


def test_given_no_commands_when_asked_then_there_are_no_answers(node):
    with link_to(node) as link:
        assert link.request_all([]) == []


# --- ledgers


def test_given_a_subscription_when_it_stands_then_the_newest_validated_ledger_is_known_from_its_answer(node):
    with link_to(node) as link:
        ledger = link.await_ledger(0, LONG_MS)

        assert ledger is not None
        assert ledger == link.newest()
        assert ledger.ledger_index == 1000
        assert ledger.close_time == 800_000_000
        assert (ledger.base_fee_drops, ledger.reserve_base_drops, ledger.reserve_inc_drops) == (10, 1_000_000, 200_000)
        assert ledger.ledger_hash == f"{1000:064X}"
        assert abs(SystemClock().now_ns() - ledger.received_ns) < 60e9
        assert 0 <= SystemClock().monotonic_ns() - ledger.received_monotonic_ns < 60e9


def test_given_a_ledger_that_closes_when_awaited_then_it_is_handed_out_once(node):
    with link_to(node) as link:
        await_connection(node, link)
        index = next_ledger(node, link)

        assert link.await_ledger(index, 1) is None


def test_given_several_ledgers_when_awaited_late_then_only_the_newest_is_left(node):
    with link_to(node) as link:
        await_connection(node, link)
        for _ in range(5):
            last = node.close_ledger()["ledger_index"]
        link.request({"command": "ping"})  # answered after the ledgers were sent

        ledger = link.await_ledger(0, LONG_MS)
        assert ledger is not None
        assert ledger.ledger_index == last


def test_given_a_waiting_engine_when_a_stop_is_requested_then_it_wakes_at_once(node):
    with closing(Stop()) as stop, link_to(node, stop=stop) as link:
        await_connection(node, link)
        asking = threading.Timer(0.05, stop.request)
        asking.start()
        began = time.monotonic()

        assert link.await_ledger(10**9, LONG_MS) is None

        assert time.monotonic() - began < LONG_MS / 2000
        asking.join()
        assert link.request({"command": "ping"}) == {}, "the final withdrawal still needs answers"
        assert link.await_ledger(0, 0) == link.newest()


def test_given_a_stop_when_a_session_sees_its_cancels_through_then_ledgers_are_awaited_all_the_same(node):
    with closing(Stop()) as stop, link_to(node, stop=stop) as link:
        await_connection(node, link)
        stop.request()
        closing_one = threading.Timer(0.05, node.close_ledger)
        closing_one.start()

        ledger = link.await_ledger(1001, LONG_MS, heed_stop=False)

        closing_one.join()
        assert ledger is not None
        assert ledger.ledger_index == 1002
        assert link.await_ledger(1002, 1, heed_stop=False) is None


def test_given_a_server_whose_ledger_is_old_when_subscribed_then_that_one_is_not_taken_for_news(node, ledger):
    ledger.info["validated_ledger"] = {"age": 11, "seq": 1000}

    with link_to(node, liveness_ms=10_000) as link:
        assert link.request({"command": "ping"}) == {}
        assert link.newest() is None
        next_ledger(node, link)


@given(
    changes=st.dictionaries(
        st.sampled_from(["ledger_index", "ledger_time", "fee_base", "reserve_base", "reserve_inc", "ledger_hash"]),
        st.none() | st.booleans() | st.floats() | st.integers() | st.text() | st.lists(st.integers()),
    )
)
def test_given_any_fields_when_a_closed_ledger_is_read_then_it_is_whole_or_none(changes):
    message = BareLedger().close() | changes
    numbers = [message[field] for field in ("ledger_index", "ledger_time", "fee_base", "reserve_base", "reserve_inc")]
    whole = all(type(number) is int and 0 <= number < 2**32 for number in numbers) and isinstance(
        message["ledger_hash"], str
    )

    ledger = closed_ledger(message, SystemClock())

    assert (ledger is not None) == whole
    if ledger is not None:
        assert (ledger.ledger_index, ledger.close_time) == (message["ledger_index"], message["ledger_time"])


# --- which servers are good enough


def test_given_a_node_of_another_network_when_it_is_the_only_one_then_every_call_names_it(ledger):
    with FakeNode(BareLedger(network_id=1)) as node, link_to(node) as link:
        for call in (lambda: link.request({"command": "ping"}), link.newest, lambda: link.await_ledger(0, LONG_MS)):
            with pytest.raises(
                ConfigError, match=rf"xrpl\.endpoints: none is on network 0: {node.url} is on network 1"
            ):
                call()
        assert node.count("subscribe") == 0


def test_given_an_engine_that_waits_for_ledgers_when_no_endpoint_is_left_then_it_is_told():
    with FakeNode(BareLedger(network_id=1)) as node, link_to(node) as link, pytest.raises(ConfigError):
        link.await_ledger(0, LONG_MS)


def test_given_one_node_of_another_network_when_there_is_a_right_one_then_it_alone_is_left_out(caplog):
    wrong, right = BareLedger(network_id=1), BareLedger(network_id=21338)
    with FakeNode(wrong) as stranger, FakeNode(right) as node, link_to(stranger, node, network_id=21338) as link:
        await_connection(node, link)
        node.kill()
        await_connection(node, link, subscriptions=2)

        assert stranger.count("server_info") == 1
        assert f"{stranger.url} is on network 1, not on 21338" in caplog.text


@pytest.mark.parametrize("network_id", [0, None])
def test_given_mainnet_when_a_server_names_no_network_then_it_is_that_one(network_id):
    with FakeNode(BareLedger(network_id=network_id)) as node, link_to(node) as link:
        assert link.request({"command": "ping"}) == {}


@pytest.mark.parametrize(
    ("info", "why"),
    [
        ({"server_state": "syncing"}, "not in step with the network: syncing"),
        ({"server_state": "tracking"}, "not in step with the network: tracking"),
        ({"amendment_blocked": True}, "amendment blocked"),
    ],
)
def test_given_a_server_out_of_step_when_there_is_another_then_that_one_is_used(info, why, caplog):
    out_of_step = BareLedger()
    out_of_step.info |= info
    with FakeNode(out_of_step) as first, FakeNode(BareLedger()) as second, link_to(first, second) as link:
        await_connection(second, link)

        assert link.endpoint == second.url
        assert first.count("subscribe") == 0
        assert f"{first.url}: the server is" in caplog.text
        assert why in caplog.text


@pytest.mark.parametrize("state", ["full", "validating", "proposing", None])
def test_given_a_server_in_step_when_connected_then_it_is_used(state, ledger, node):
    ledger.info["server_state"] = state  # Clio names none

    with link_to(node) as link:
        assert link.request({"command": "ping"}) == {}


def test_given_a_server_that_recovers_when_it_is_the_only_one_then_it_is_used_after_all(ledger, node):
    ledger.info["server_state"] = "connected"
    with link_to(node) as link:
        node.await_command("server_info", 3)
        node.run(lambda: ledger.info.update(server_state="full"))

        await_connection(node, link)


@pytest.mark.parametrize("answer", [{}, {"info": None}, {"info": "full"}])
def test_given_a_server_info_without_information_when_there_is_another_server_then_that_one_is_used(answer):
    mute = BareLedger()
    mute.answers["server_info"] = answer
    with FakeNode(mute) as first, FakeNode(BareLedger()) as second, link_to(first, second) as link:
        await_connection(second, link)


# --- words, waits and the end


def test_given_an_endpoint_with_a_key_when_it_is_named_then_the_key_is_not(caplog, ledger):
    caplog.set_level(logging.INFO, logger="engine_proc")
    with FakeNode(ledger) as node, link_to(f"{node.url}/v1/hunter2?key=hunter3") as link:
        await_connection(node, link)
        node.kill()
        await_connection(node, link, subscriptions=2)
        assert link.endpoint == node.url
    own = [record.getMessage() for record in caplog.records if record.name.startswith("engine_proc")]
    assert own
    assert not any("hunter" in line for line in own)


@given(failures=st.integers(0, 10_000), chance=st.floats(0, 1, exclude_max=True))
def test_given_any_number_of_failures_when_backing_off_then_the_wait_is_within_its_bounds(failures, chance):
    wait_ms = back_off_ms(failures, 500, 30_000, chance)

    assert 250 <= wait_ms <= 30_000
    assert back_off_ms(failures, 500, 30_000, 0) >= 0.5 * min(500 * 2.0 ** min(failures, 6), 30_000)


def test_given_a_closed_link_when_called_then_it_has_nothing_and_its_thread_is_gone(node):
    before = threading.active_count()
    with link_to(node) as link:
        await_connection(node, link)
        link.close()
        link.close()

        assert threading.active_count() == before
        assert link.await_ledger(10**9, LONG_MS) is None
        with pytest.raises(NodeUnreachable, match="closed"):
            link.request({"command": "ping"})
    node.await_sessions(0)


def test_given_no_node_at_all_when_closed_then_the_link_ends_in_its_pause(node):
    node.refuse_connections = True
    began = time.monotonic()
    times = {"request_timeout_ms": 50, "backoff_ms": 60_000, "backoff_ms_max": 60_000}
    with link_to(node, **times) as link, pytest.raises(NodeUnreachable, match="cannot connect"):
        link.request({"command": "ping"})
    assert time.monotonic() - began < 5
