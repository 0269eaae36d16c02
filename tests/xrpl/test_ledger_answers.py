"""The double as a node: the shapes and pages of its answers, its signatures, its history, its file."""

from __future__ import annotations

import threading
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from xrpl.core.binarycodec import encode, encode_for_signing
from xrpl.core.keypairs import derive_classic_address, derive_keypair, generate_seed, sign

from tests.xrpl.fake_node import Refusal
from tests.xrpl.ledger import Ledger
from tests.xrpl.ledger_state import Line

CURRENCY = "524C555344000000000000000000000000000000"
KEYS = {name: derive_keypair(generate_seed(f"{n:032X}")) for n, name in enumerate(("issuer", "maker", "taker"))}
ISSUER, MAKER, TAKER = (derive_classic_address(public) for public, _ in KEYS.values())
NETWORK_ID = 63456
LOW_FREEZE_OF_PEER = 0x0010_0000  # tfSetFreeze


def network(**options: Any) -> Ledger:
    ledger = Ledger(network_id=NETWORK_ID, **options)
    ledger.fund(ISSUER)
    for address in (MAKER, TAKER):
        ledger.fund(address, 10_000_000_000)
        ledger.trust(address, ISSUER, CURRENCY)
        ledger.issue(ISSUER, address, CURRENCY, Decimal(5000))
    ledger.close()
    return ledger


def ask(xrp: int, value: int, **fields: Any) -> dict[str, Any]:
    pays = {"currency": CURRENCY, "issuer": ISSUER, "value": str(value)}
    offer = {"TransactionType": "OfferCreate", "Account": MAKER, "TakerGets": str(xrp * 1_000_000), "TakerPays": pays}
    return offer | fields


def signed(ledger: Ledger, signer: str, transaction: dict[str, Any]) -> str:
    public, private = KEYS[signer]
    sequence = ledger.state.root(transaction["Account"]).sequence
    whole = {"Fee": "10", "Sequence": sequence, "NetworkID": NETWORK_ID, "SigningPubKey": public} | transaction
    return encode(whole | {"TxnSignature": sign(encode_for_signing(whole), private)})


def ask_ledger(ledger: Ledger, command: str, **fields: Any) -> dict[str, Any]:
    return ledger.answer({"command": command, "api_version": 2, **fields})


def refusal(ledger: Ledger, command: str, **fields: Any) -> str:
    with pytest.raises(Refusal) as refused:
        ask_ledger(ledger, command, **fields)
    return refused.value.error


def test_given_a_signed_offer_when_submitted_then_it_is_provisional_until_the_close() -> None:
    ledger = network()
    blob = signed(ledger, "maker", ask(10, 20))
    first, again = (ask_ledger(ledger, "submit", tx_blob=blob) for _ in range(2))
    assert (first["engine_result"], first["engine_result_code"]) == ("tesSUCCESS", 0)
    assert again["engine_result"] == "tefALREADY"
    txid = first["tx_json"]["hash"]
    assert ask_ledger(ledger, "tx", transaction=txid)["validated"] is False
    assert "meta" not in ask_ledger(ledger, "tx", transaction=txid)
    message = ledger.close()
    found = ask_ledger(ledger, "tx", transaction=txid)
    assert (found["validated"], found["ledger_index"], found["meta"]["TransactionIndex"]) == (
        True,
        message["ledger_index"],
        0,
    )
    assert ask_ledger(ledger, "submit", tx_blob=blob)["engine_result"] == "tefPAST_SEQ"
    assert refusal(ledger, "tx", transaction="0" * 64) == "txnNotFound"


def test_given_a_bad_signature_when_submitted_then_it_is_refused() -> None:
    ledger = network()
    blob = signed(ledger, "maker", ask(10, 20))
    assert refusal(ledger, "submit", tx_blob=blob.replace("3B9ACA", "3B9ACB") + "00") == "invalidTransaction"
    other = encode({**_decoded(ask(10, 20)), "Fee": "10", "Sequence": 2, "SigningPubKey": KEYS["maker"][0]})
    assert refusal(ledger, "submit", tx_blob=other) == "invalidTransaction"
    foreign = signed(ledger, "taker", ask(10, 20))
    assert ask_ledger(ledger, "submit", tx_blob=foreign)["engine_result"] == "tefBAD_AUTH"
    ledger.close()
    assert ledger.history.newest.transactions == ()


def _decoded(transaction: dict[str, Any]) -> dict[str, Any]:
    return {**transaction, "TxnSignature": "00" * 64, "NetworkID": NETWORK_ID}


def test_given_many_transactions_when_asked_by_account_then_pages_join_without_gap_or_overlap() -> None:
    ledger = network()
    for _ in range(5):
        for _ in range(5):
            ledger.apply(ask(1, 3))
        ledger.close()
    for forward in (True, False):
        seen, marker = [], {}
        while True:
            page = ask_ledger(ledger, "account_tx", account=MAKER, limit=10, forward=forward, **marker)
            assert page["validated"] is True
            seen += [(one["ledger_index"], one["meta"]["TransactionIndex"]) for one in page["transactions"]]
            if "marker" not in page:
                break
            marker = {"marker": page["marker"]}
        assert len(seen) == 25
        assert seen == sorted(set(seen), reverse=not forward)
    some = ask_ledger(ledger, "account_tx", account=MAKER, ledger_index_min=4, ledger_index_max=5)
    assert {one["ledger_index"] for one in some["transactions"]} == {4, 5}
    old = ledger.answer({"command": "account_tx", "account": MAKER})["transactions"][0]
    assert old["tx"]["hash"]
    assert "tx_json" not in old


def test_given_a_short_history_when_asked_then_the_range_says_so() -> None:
    ledger = network()
    for _ in range(6):
        ledger.close()
    ledger.forget(5)
    answer = ask_ledger(ledger, "account_tx", account=MAKER, ledger_index_min=2, ledger_index_max=7)
    assert (answer["ledger_index_min"], answer["ledger_index_max"]) == (5, 7)
    assert ask_ledger(ledger, "server_info")["info"]["complete_ledgers"] == "5-8"
    assert refusal(ledger, "account_info", account=MAKER, ledger_index=4) == "lgrNotFound"
    assert refusal(ledger, "account_tx", account=MAKER, ledger_index_min=2, ledger_index_max=4) == "lgrIdxMalformed"


def test_given_an_old_index_when_reading_then_the_state_is_of_that_ledger() -> None:
    ledger = network(history_ledgers=3)
    before = ledger.validated_index
    ledger.apply(ask(10, 20))
    ledger.close()
    asked = {"account": MAKER, "ledger_index": before}
    assert ask_ledger(ledger, "account_info", **asked)["account_data"]["OwnerCount"] == 1
    assert ask_ledger(ledger, "account_offers", **asked)["offers"] == []
    now = ask_ledger(ledger, "account_offers", account=MAKER, ledger_index="validated")
    assert (now["ledger_index"], len(now["offers"])) == (before + 1, 1)
    for _ in range(3):
        ledger.close()
    assert refusal(ledger, "account_offers", **asked) == "lgrNotFound"


def test_given_many_offers_when_listed_then_in_pages_of_lower_case_fields_expired_ones_too() -> None:
    ledger = network()
    for i in range(15):
        ledger.apply(ask(1, 3 + i, Expiration=ledger.close_time + 20))
    ledger.close(ledger.close_time + 100)
    first = ask_ledger(ledger, "account_offers", account=MAKER, ledger_index="validated", limit=10)
    rest = ask_ledger(
        ledger, "account_offers", account=MAKER, ledger_index="validated", limit=10, marker=first["marker"]
    )
    assert (len(first["offers"]), len(rest["offers"]), "marker" in rest) == (10, 5, False)
    offers = first["offers"] + rest["offers"]
    assert len({offer["seq"] for offer in offers}) == 15
    assert {*offers[0]} == {"expiration", "flags", "quality", "seq", "taker_gets", "taker_pays"}


def test_given_a_frozen_line_when_read_then_the_freeze_is_seen_from_both_sides() -> None:
    ledger = network()
    limit = {"currency": CURRENCY, "issuer": MAKER, "value": "0"}
    freeze = {"TransactionType": "TrustSet", "Account": ISSUER, "Flags": LOW_FREEZE_OF_PEER, "LimitAmount": limit}
    assert ledger.apply(freeze) == "tesSUCCESS"
    ledger.close()
    (mine,) = ask_ledger(ledger, "account_lines", account=MAKER)["lines"]
    assert (mine["balance"], mine["freeze_peer"]) == ("5000", True)
    theirs = ask_ledger(ledger, "account_lines", account=ISSUER, peer=MAKER)["lines"][0]
    assert (theirs["balance"], theirs["freeze"]) == ("-5000", True)
    state = {"accounts": [MAKER, ISSUER], "currency": CURRENCY}
    node = ask_ledger(ledger, "ledger_entry", ripple_state=state, ledger_index="validated")["node"]
    low = node["LowLimit"]["issuer"] == MAKER
    assert Decimal(node["Balance"]["value"]) == (5000 if low else -5000)
    assert node["Flags"] & (0x0080_0000 if low else 0x0040_0000)
    other = {"accounts": [MAKER, TAKER], "currency": CURRENCY}
    assert refusal(ledger, "ledger_entry", ripple_state=other) == "entryNotFound"


def test_given_a_ledger_when_expanded_then_its_transactions_are_listed_by_hash() -> None:
    ledger = network()
    for i in range(8):
        ledger.apply(ask(1, 3 + i))
    ledger.close()
    told = ask_ledger(ledger, "ledger", ledger_index="validated", transactions=True, expand=True)["ledger"]
    hashes = [one["hash"] for one in told["transactions"]]
    assert hashes == sorted(hashes)
    assert sorted(one["meta"]["TransactionIndex"] for one in told["transactions"]) == list(range(8))
    old = ledger.answer({"command": "ledger", "ledger_index": "validated", "transactions": True, "expand": True})
    assert "metaData" in old["ledger"]["transactions"][0]


def test_given_tickets_when_listed_then_account_objects_names_them() -> None:
    ledger = network()
    ledger.apply({"TransactionType": "TicketCreate", "Account": MAKER, "TicketCount": 12})
    ledger.close()
    page = ask_ledger(ledger, "account_objects", account=MAKER, type="ticket", limit=10)
    rest = ask_ledger(ledger, "account_objects", account=MAKER, type="ticket", marker=page["marker"])
    tickets = page["account_objects"] + rest["account_objects"]
    assert sorted(ticket["TicketSequence"] for ticket in tickets) == list(range(3, 15))
    assert ask_ledger(ledger, "account_info", account=MAKER)["account_data"]["TicketCount"] == 12


def test_given_ledgers_when_closed_then_times_are_rounded_and_grow_and_everyone_is_told() -> None:
    ledger = network()
    told: list[dict[str, Any]] = []
    ledger.on_close = told.append
    times = [ledger.close_time]
    for _ in range(20):
        ask_ledger(ledger, "ledger_accept")
        times.append(ledger.close_time)
    steps = [after - before for before, after in pairwise(times)]
    assert min(steps) >= 1
    assert 70 <= times[-1] - times[0] <= 90
    assert [message["ledger_index"] for message in told] == list(range(3, 23))
    newest = ask_ledger(ledger, "subscribe", streams=["ledger"])
    assert {name: newest[name] for name in newest} == {
        name: value for name, value in told[-1].items() if name not in ("type", "txn_count")
    }


def test_given_an_unknown_thing_when_asked_for_then_the_error_is_rippleds() -> None:
    ledger = network()
    nobody = "rrrrrrrrrrrrrrrrrrrrrhoLvTp"
    assert refusal(ledger, "account_info", account=nobody) == "actNotFound"
    issued = {"currency": CURRENCY, "issuer": ISSUER}
    assert refusal(ledger, "amm_info", asset={"currency": "XRP"}, asset2=issued) == "actNotFound"
    assert refusal(ledger, "ledger", ledger_index=99) == "lgrNotFound"
    assert refusal(ledger, "manifest") == "unknownCmd"


def test_given_a_saved_network_when_loaded_then_validated_things_are_there_and_open_ones_are_not(
    tmp_path: Path,
) -> None:
    path = tmp_path / "network"
    ledger = network()
    ledger.create_pool(TAKER, 1_000_000_000, ISSUER, CURRENCY, Decimal(2000))
    ledger.save(path)
    for i in range(3):
        ledger.apply(ask(1, 3 + i))
        ledger.close()
        ledger.save(path)
    ledger.apply(ask(1, 9))
    path.write_bytes(path.read_bytes() + b"\0\0\0\0\0\0\1\0half a fra")
    again = Ledger.load(path)
    for command in (
        {"command": "account_offers", "account": MAKER, "ledger_index": "validated"},
        {"command": "account_offers", "account": MAKER, "ledger_index": ledger.validated_index - 1},
        {"command": "account_tx", "account": MAKER},
        {"command": "server_info"},
        {"command": "account_lines", "account": ISSUER, "ledger_index": "validated"},
    ):
        assert again.answer(command) == ledger.answer(command)
    assert len(ask_ledger(again, "account_offers", account=MAKER)["offers"]) == 3
    again.apply(ask(1, 7))
    again.close()
    again.save(path)
    assert Ledger.load(path).history.newest == again.history.newest
    assert any(isinstance(entry, Line) for entry in again.state.entries.values())


def test_given_several_threads_when_they_submit_and_close_then_nothing_is_lost() -> None:
    ledger = network()

    def trade(account: str) -> None:
        for i in range(30):
            ledger.apply(ask(1, 3 + i, Account=account))

    threads = [threading.Thread(target=trade, args=(account,)) for account in (MAKER, TAKER)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        ledger.close()
    for thread in threads:
        thread.join()
    ledger.close()
    for account in (MAKER, TAKER):
        assert len(ask_ledger(ledger, "account_tx", account=account)["transactions"]) == 30
