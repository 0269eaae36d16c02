"""What the other tests rely on in the fake node, seen from a plain WebSocket. Its faults: test_link_faults.py."""

from __future__ import annotations

import json

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.xrpl.fake_node import BareLedger, FakeNode, Refusal


def asked(client, **command):
    """Send one command; the next message, which must be its answer."""
    client.send(json.dumps(command))
    return json.loads(client.recv(timeout=5))


@pytest.fixture
def node():
    with FakeNode(BareLedger(ledger_index=10)) as node:
        yield node


@pytest.fixture
def client(node):
    with connect(node.url) as client:
        yield client


def test_given_a_command_when_answered_then_the_answer_has_the_shape_of_a_node(node, client):
    node.backend.answers["tx"] = Refusal("txnNotFound", "Transaction not found.")

    assert asked(client, id=1, command="ping") == {"id": 1, "result": {}, "status": "success", "type": "response"}
    assert asked(client, id="b", command="tx") == {
        "error": "txnNotFound",
        "error_message": "Transaction not found.",
        "id": "b",
        "request": {"id": "b", "command": "tx"},
        "status": "error",
        "type": "response",
    }
    assert asked(client, id=2, command="nonsense")["error"] == "unknownCmd"


def test_given_subscriptions_when_messages_are_published_then_each_goes_to_those_who_asked_for_it(node, client):
    payment = {"type": "transaction", "hash": "AB"}
    node.publish(payment)
    node.close_ledger()
    assert asked(client, id=1, command="subscribe", streams=["ledger"])["result"]["ledger_index"] == 11
    node.publish(payment)
    assert node.close_ledger() == json.loads(client.recv(timeout=5))
    asked(client, id=2, command="subscribe", accounts=["rABC"])
    node.publish(payment)
    assert json.loads(client.recv(timeout=5)) == payment
    asked(client, id=3, command="unsubscribe", streams=["ledger"])
    node.close_ledger()
    node.publish(payment)
    assert json.loads(client.recv(timeout=5)) == payment


@pytest.mark.parametrize(
    ("duplicate", "reorder", "expected"),
    [
        (False, False, [11, 12, 13, 14]),
        (True, False, [11, 11, 12, 12, 13, 13, 14, 14]),
        (False, True, [12, 11, 14, 13]),
        (True, True, [12, 12, 11, 11, 14, 14, 13, 13]),
    ],
)
def test_given_disorder_when_ledgers_close_then_their_messages_come_so(node, client, duplicate, reorder, expected):
    asked(client, id=1, command="subscribe", streams=["ledger"])
    node.duplicate_streams, node.reorder_streams = duplicate, reorder

    for _ in range(4):
        node.close_ledger()

    assert [json.loads(client.recv(timeout=5))["ledger_index"] for _ in expected] == expected


def test_given_a_frozen_node_when_it_thaws_then_it_answers_what_was_asked_meanwhile(node, client):
    node.freeze()
    client.send(json.dumps({"id": 1, "command": "ping"}))
    with pytest.raises(TimeoutError):
        client.recv(timeout=0.1)
    assert node.count("ping") == 0

    node.thaw()

    assert json.loads(client.recv(timeout=5))["id"] == 1


def test_given_a_killed_node_when_its_port_is_open_again_then_clients_come_back_to_it(node, client):
    port = node.port
    node.refuse_connections = True
    node.kill()
    with pytest.raises(ConnectionClosed):
        client.recv(timeout=5)
    with pytest.raises(ConnectionRefusedError):
        connect(node.url)

    node.refuse_connections = False

    assert node.port == port
    with connect(node.url) as again:
        assert asked(again, id=1, command="ping")["status"] == "success"
    assert node.sessions_made == 2


def test_given_a_backend_with_an_error_of_its_own_when_the_block_ends_then_the_test_fails():
    ledger = BareLedger()
    ledger.answers["tx"] = lambda _: 1 / 0

    with pytest.raises(ZeroDivisionError), FakeNode(ledger) as node, connect(node.url) as client:
        assert asked(client, id=1, command="tx")["error"] == "internal"
