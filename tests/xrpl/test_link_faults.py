"""The link against all that goes wrong with a node: lost, silent, late, twice, out of order, nonsense, too much."""

from __future__ import annotations

import logging
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine_proc.xrpl_ports import NodeUnreachable
from tests.xrpl.fake_node import BareLedger, FakeNode, Refusal
from tests.xrpl.linked import LONG_MS, await_connection, link_to, next_ledger

PING = {"command": "ping"}
SHORT_MS = 300  # for tests in which a time-out is what happens


@pytest.fixture
def ledger():
    return BareLedger(ledger_index=1000)


@pytest.fixture
def node(ledger):
    with FakeNode(ledger) as node:
        yield node


@pytest.fixture
def two_nodes():
    """Two nodes of one network: the same ledgers, whichever is asked."""
    with FakeNode(BareLedger()) as first, FakeNode(BareLedger()) as second:
        yield first, second


# --- lost


def test_given_a_lost_connection_when_it_is_made_again_then_ledgers_come_again(node):
    with link_to(node) as link:
        await_connection(node, link)
        node.kill()
        await_connection(node, link, subscriptions=2)

        assert link.connections == 2
        assert link.request(PING) == {}


def test_given_a_request_under_way_when_the_socket_is_reset_then_it_is_told_at_once(node, ledger):
    ledger.answers["submit"] = {}
    with link_to(node) as link, ThreadPoolExecutor(1) as engine:
        await_connection(node, link)
        node.swallow_answers("submit", 1)
        asked = engine.submit(link.request, {"command": "submit"})
        node.await_command("submit")
        began = time.monotonic()
        node.kill()

        with pytest.raises(NodeUnreachable, match="submit: connection lost"):
            asked.result(LONG_MS / 1000)
        assert time.monotonic() - began < LONG_MS / 2000


@pytest.mark.parametrize("applied", [True, False])
def test_given_a_node_that_dies_on_a_submit_when_asked_then_it_is_unreachable_whatever_it_did(node, ledger, applied):
    seen = []
    ledger.answers["submit"] = lambda command: seen.append(command["tx_blob"]) or {"engine_result": "tesSUCCESS"}
    with link_to(node) as link:
        await_connection(node, link)
        node.kill_on("submit", applied=applied)

        with pytest.raises(NodeUnreachable):
            link.request({"command": "submit", "tx_blob": "AB"})
        assert seen == (["AB"] if applied else [])

        await_connection(node, link, subscriptions=2)
        assert link.request({"command": "submit", "tx_blob": "AB"}) == {"engine_result": "tesSUCCESS"}


def test_given_several_requests_when_the_node_dies_between_them_then_all_of_them_fail_together(node, ledger):
    ledger.answers["submit"] = {}
    with link_to(node) as link:
        await_connection(node, link)
        node.kill_on("submit", applied=True)

        with pytest.raises(NodeUnreachable):
            link.request_all([PING, {"command": "submit"}, PING])


def test_given_no_connection_when_there_was_one_before_then_requests_are_refused_at_once(node):
    with link_to(node) as link:
        await_connection(node, link)
        node.refuse_connections = True
        node.kill()
        node.await_sessions(0)
        began = time.monotonic()

        for _ in range(20):
            with pytest.raises(NodeUnreachable):
                link.request(PING)

        assert time.monotonic() - began < LONG_MS / 2000
        node.refuse_connections = False
        await_connection(node, link, subscriptions=2)


def test_given_two_endpoints_when_one_dies_then_the_other_takes_over_and_back(two_nodes):
    first, second = two_nodes
    with link_to(first, second) as link:
        await_connection(first, link)
        second.close_ledger()
        first.kill()
        await_connection(second, link)
        assert link.endpoint == second.url

        first.close_ledger()
        second.kill()
        await_connection(first, link, subscriptions=2)
        assert link.endpoint == first.url


def test_given_a_server_that_lags_when_it_takes_over_then_its_old_ledgers_are_no_news():
    with ExitStack() as nodes:
        ahead = nodes.enter_context(FakeNode(BareLedger(ledger_index=1005)))
        behind = nodes.enter_context(FakeNode(BareLedger(ledger_index=1000)))
        link = nodes.enter_context(link_to(ahead, behind))
        await_connection(ahead, link)
        index = next_ledger(ahead, link)
        ahead.kill()
        behind.await_command("subscribe")
        for _ in range(7):
            behind.close_ledger()
        assert link.await_ledger(index, SHORT_MS) is None
        assert link.connections == 2

        next_ledger(behind, link)


# --- silent


def test_given_a_frozen_node_when_asked_then_the_time_is_up_and_in_the_end_the_connection_is_given_up(two_nodes):
    first, second = two_nodes
    with link_to(first, second, request_timeout_ms=SHORT_MS, liveness_ms=4 * SHORT_MS) as link:
        await_connection(first, link)
        second.close_ledger()
        first.freeze()

        with pytest.raises(NodeUnreachable, match=r"no answer within 0\.3 s"):
            link.request(PING)
        await_connection(second, link)


def test_given_a_frozen_node_when_it_thaws_then_it_is_used_again(node):
    with link_to(node, request_timeout_ms=SHORT_MS, liveness_ms=SHORT_MS) as link:
        await_connection(node, link)
        made = link.connections
        node.freeze()
        with pytest.raises(NodeUnreachable):
            link.request(PING)
        while link.endpoint is not None:  # liveness has its time-out
            link.await_ledger(10**9, 10)
        node.thaw()

        await_connection(node, link, subscriptions=made + 1)


def test_given_a_node_that_never_shakes_hands_when_connecting_then_the_next_endpoint_is_tried(two_nodes):
    first, second = two_nodes
    first.freeze()

    with link_to(first, second, request_timeout_ms=SHORT_MS) as link:
        await_connection(second, link)


def test_given_a_node_that_answers_without_new_ledgers_when_time_passes_then_it_is_given_up(node, caplog):
    node.warn_load = True
    with link_to(node, liveness_ms=SHORT_MS) as link:
        link.request(PING)
        while link.connections < 2:  # a server that only answers, and complains, must not look alive
            try:
                link.request(PING)
            except NodeUnreachable:
                link.await_ledger(10**9, 10)

    assert "no newer validated ledger for 0.3 s" in caplog.text


def test_given_a_swallowed_answer_when_the_time_is_up_then_the_connection_goes_on(node, ledger):
    ledger.answers["submit"] = {"engine_result": "tesSUCCESS"}
    with link_to(node, request_timeout_ms=SHORT_MS) as link:
        await_connection(node, link)
        node.swallow_answers("submit", 1)

        with pytest.raises(NodeUnreachable, match="submit: no answer"):
            link.request({"command": "submit"})

        assert link.request({"command": "submit"}) == {"engine_result": "tesSUCCESS"}
        assert node.count("submit") == 2
        assert link.connections == 1


def test_given_a_late_answer_when_others_are_asked_for_then_it_is_nobodys(node, ledger):
    ledger.answers["echo"] = lambda command: {"said": command["say"]}
    with link_to(node, request_timeout_ms=SHORT_MS) as link:
        await_connection(node, link)
        node.delay_ms = 1.5 * SHORT_MS
        with pytest.raises(NodeUnreachable):
            link.request({"command": "echo", "say": "late"})
        node.delay_ms = 0

        for number in range(50):
            assert link.request({"command": "echo", "say": number}) == {"said": number}
        link.await_ledger(10**9, SHORT_MS)  # by now the late one has come
        assert link.request({"command": "echo", "say": "after"}) == {"said": "after"}
        assert link.connections == 1


# --- twice, out of order, nonsense


def test_given_an_answer_that_comes_twice_when_the_client_dies_of_it_or_not_then_questions_are_answered(node):
    with link_to(node) as link:
        await_connection(node, link)
        node.duplicate_answers = True
        assert link.request(PING) == {}
        node.duplicate_answers = False

        try:
            assert link.request(PING) == {}
        except NodeUnreachable:  # xrpl-py's client dies of it, unless it has forgotten the first answer by then
            await_connection(node, link, subscriptions=2)
            assert link.request(PING) == {}


@given(
    faults=st.tuples(st.booleans(), st.booleans()),
    jumps=st.lists(st.integers(-3, 4), min_size=1, max_size=12),
)
@settings(max_examples=40, deadline=None)
def test_given_streams_in_any_disorder_when_followed_then_the_newest_never_goes_back(disorderly, faults, jumps):
    node, link, ledger = disorderly
    node.duplicate_streams, node.reorder_streams = faults
    sent, seen = [ledger.ledger_index], [link.newest().ledger_index]
    for jump in jumps:
        message = node.run(ledger.close)
        ledger.ledger_index += jump
        node.publish(message | {"ledger_index": ledger.ledger_index})
        link.request(PING)
        sent.append(ledger.ledger_index)
        seen.append(link.newest().ledger_index)
    node.reorder_streams = False
    ledger.ledger_index = max(sent) + 10
    seen.append(next_ledger(node, link))

    assert seen == sorted(seen)
    assert link.connections == 1


@pytest.fixture(scope="module")
def disorderly():
    ledger = BareLedger(ledger_index=1000)
    with FakeNode(ledger) as node, link_to(node) as link:
        await_connection(node, link)
        yield node, link, ledger


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '"id"',
        "null",
        "7",
        "{}",
        '{"id": "kedge-1"}',
        '{"type": "ledgerClosed"}',
        '{"type": "ledgerClosed", "ledger_index": "2000", "ledger_hash": ""}',
        '{"type": ["ledgerClosed"]}',
        '{"type": "transaction", "meta": null}',
        '{"id": ["a"], "status": "success"}',
        '{"id": "kedge-3", "type": "response", "status": "success"}',
    ],
)
def test_given_nonsense_when_a_node_says_it_then_the_next_ledger_comes_all_the_same(node, text):
    with link_to(node) as link:
        await_connection(node, link)
        node.send_raw(text)

        ledger = None
        for _ in range(20):  # where it costs the connection, nobody hears of the ledgers until there is a new one
            ledger = ledger or link.await_ledger(node.close_ledger()["ledger_index"] - 1, SHORT_MS / 2)
        assert ledger is not None
        assert link.connections in {1, 2}
        assert link.request(PING) == {}


def test_given_an_answer_without_a_status_when_asked_then_it_is_no_answer(node, ledger):
    with link_to(node) as link, ThreadPoolExecutor(1) as engine:
        await_connection(node, link)
        node.swallow_answers("ping", 1)
        asked = engine.submit(link.request, PING)
        node.await_command("ping")
        node.send_raw(f'{{"id": "{node.commands[-1]["id"]}", "type": "response"}}')

        with pytest.raises(NodeUnreachable, match="an unreadable answer: 'status'"):
            asked.result(LONG_MS / 1000)
        assert link.request(PING) == {}


@pytest.mark.parametrize("result", [None, [], "tesSUCCESS"])
def test_given_a_result_that_is_no_object_when_asked_then_it_is_no_answer(node, ledger, result):
    ledger.answers["submit"] = result

    with link_to(node) as link, pytest.raises(NodeUnreachable, match="an unreadable answer"):
        link.request({"command": "submit"})


# --- too much


def test_given_a_warning_when_there_is_another_endpoint_then_the_answer_is_kept_and_the_server_left(two_nodes, caplog):
    first, second = two_nodes
    with link_to(first, second) as link:
        await_connection(first, link)
        second.close_ledger()
        first.warn_load = True

        assert link.request_all([PING] * 5) == [{}] * 5

        await_connection(second, link)
        assert link.load_warned
        assert caplog.text.count("we ask too much") == 1


def test_given_a_warning_when_there_is_no_other_endpoint_then_it_is_said_once_and_the_server_kept(node, caplog):
    with link_to(node) as link:
        await_connection(node, link)
        assert not link.load_warned
        node.warn_load = True

        for _ in range(20):
            link.request(PING)
        next_ledger(node, link)

        assert link.load_warned
        assert link.connections == 1
        assert caplog.text.count("we ask too much") == 1


def test_given_a_close_for_policy_when_there_is_another_endpoint_then_that_one_is_used(two_nodes, caplog):
    first, second = two_nodes
    with link_to(first, second) as link:
        await_connection(first, link)
        second.close_ledger()
        first.close_1008()

        await_connection(second, link)
        assert link.load_warned
        assert "1008 (policy violation) threshold exceeded" in caplog.text


@pytest.mark.parametrize("error", ["slowDown", "tooBusy"])
def test_given_a_server_that_is_too_busy_when_asked_then_that_is_no_answer(node, ledger, error):
    ledger.answers["submit"] = Refusal(error)
    with link_to(node) as link:
        await_connection(node, link)

        with pytest.raises(NodeUnreachable, match=error):
            link.request({"command": "submit"})

        next_ledger(node, link)
        assert link.load_warned
        assert link.connections == 1


@pytest.mark.parametrize("error", ["noNetwork", "noCurrent", "amendmentBlocked"])
def test_given_a_server_that_falls_out_of_step_when_asked_then_it_is_left(two_nodes, error):
    first, second = two_nodes
    first.backend.answers["submit"] = Refusal(error)
    with link_to(first, second) as link:
        await_connection(first, link)
        second.close_ledger()

        with pytest.raises(NodeUnreachable, match=error):
            link.request({"command": "submit"})

        await_connection(second, link)


# --- for a long time


def test_given_a_slow_strategy_when_ledgers_pour_in_then_nothing_is_kept_but_the_newest(node, ledger):
    with link_to(node) as link:
        await_connection(node, link)
        filler = {"type": "transaction", "filler": "x" * 100_000}
        ledger.answers["subscribe"] = {}
        link.request({"command": "subscribe", "streams": ["transactions"]})
        for _ in range(100):
            last = node.close_ledger()["ledger_index"]
            for _ in range(3):
                node.publish(filler)
        assert link.request_all([PING] * 200) == [{}] * 200

        newest = link.newest()
        assert newest is not None
        assert newest.ledger_index == last
        client = link._connection._client
        assert client._messages.qsize() == 0
        assert client._open_requests == {}
        assert link._connection._under_way == set()
        assert link.connections == 1


def test_given_many_connections_when_each_is_lost_then_none_of_them_leaves_anything_behind(node):
    with link_to(node) as link:
        for made in range(1, 31):
            await_connection(node, link, subscriptions=made)
            node.kill()
        await_connection(node, link, subscriptions=31)

        assert link.connections == 31
        assert node.sessions == 1


def test_given_failures_in_a_row_when_a_ledger_arrives_then_patience_starts_anew(node, caplog):
    caplog.set_level(logging.WARNING, logger="engine_proc")
    node.refuse_connections = True
    with link_to(node, request_timeout_ms=SHORT_MS) as link:
        while link._failures < 4:
            link.await_ledger(0, 10)
        refused = [record for record in caplog.records if "cannot connect" in record.getMessage()]
        assert len(refused) == 1, "the same trouble is said once"
        node.refuse_connections = False
        await_connection(node, link)
        link.request(PING)

        assert link._failures == 0


@pytest.mark.parametrize("fault", ["kill", "freeze", "close_1008"])
def test_given_any_fault_when_the_link_is_closed_in_the_midst_of_it_then_it_ends(fault):
    with ExitStack() as cleanup:
        node = cleanup.enter_context(FakeNode(BareLedger()))
        link = cleanup.enter_context(link_to(node))
        await_connection(node, link)
        getattr(node, fault)()
        began = time.monotonic()
        link.close()

        assert time.monotonic() - began < LONG_MS / 2000
        assert not link._thread.is_alive()


@pytest.mark.parametrize("index", [3_000_000, 2**32 - 1, 10**20])
def test_given_a_node_that_once_announces_a_ledger_from_nowhere_when_others_follow_then_they_are_not_outdone(index):
    with FakeNode(BareLedger()) as node, link_to(node) as link:
        await_connection(node, link)

        node.publish({**node.run(node.backend.close), "ledger_index": index})

        assert next_ledger(node, link) < index


def test_given_an_outage_when_it_ends_then_the_ledgers_that_closed_meanwhile_are_no_leap():
    bare = BareLedger()
    with FakeNode(bare) as node, link_to(node) as link:
        await_connection(node, link)

        bare.ledger_index += 900  # an hour's

        next_ledger(node, link)
