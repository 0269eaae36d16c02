"""Metadata read as changes: shapes of every API version, balances of everybody, over every transaction of the tape."""

from __future__ import annotations

import copy
import gzip
import json
from decimal import Decimal
from pathlib import Path

import pytest

from engine_proc.xrpl_changes import (
    XRP,
    Balance,
    balance_changes,
    execution,
    read_changes,
    read_transaction,
    side_of,
)
from engine_proc.xrpl_market import Asset, LedgerUnreadable, Pair, pair_of

DATA = Path(__file__).parents[1] / "data"
PIECES = json.loads((DATA / "node_pieces.json").read_text())
PARTIAL = PIECES["s1_tx_taker_buy_ioc_partial_of_ask"]
SWEEP = PIECES["s2_tx_sweep_underfunded"]
MAKER, TAKER = "rfVmBKHRK8Z7cByCVQzGZqgyXoax19QEtp", "rNW8mpNDRyyGQH7aosKzXRBDzWALMbz7QH"
ISSUER = "ra3Tu6sgs2VURXBofvW2377YYHgbrTYBLv"
PAIR = pair_of("XRP/RLUSD", ISSUER)
RLUSD = PAIR.quote.currency


def balances_of(transaction) -> dict[tuple[str, Asset], Balance]:
    return balance_changes(transaction["meta"]["AffectedNodes"], "here")


def trust_line(kind: str, *, low: str, high: str, after: str, before: str | None = None):
    """A trust line of USD as one node of metadata."""
    fields = {
        "Balance": {"currency": "USD", "issuer": "rrrrrrrrrrrrrrrrrrrrBZbvji", "value": after},
        "LowLimit": {"currency": "USD", "issuer": low, "value": "0"},
        "HighLimit": {"currency": "USD", "issuer": high, "value": "0"},
    }
    entry = {"LedgerEntryType": "RippleState", ("NewFields" if kind == "CreatedNode" else "FinalFields"): fields}
    if before is not None:
        entry["PreviousFields"] = {"Balance": {**fields["Balance"], "value": before}}
    return {kind: entry}


# Balances


def test_given_a_trade_when_read_then_each_end_of_each_line_is_told_as_the_ledger_rounds_it():
    balances = balances_of(PARTIAL)
    # 16 digits: the maker's balance, now above a million, has no room for the tenth decimal of the taker's below it.
    paid, got, sold = Decimal("1106.7300004269"), Decimal("1106.730000427"), Decimal(500_000_000)
    assert {key: balance.change for key, balance in balances.items()} == {
        (TAKER, XRP): sold - 10,
        (MAKER, XRP): -sold,
        (TAKER, PAIR.quote): -paid,
        (MAKER, PAIR.quote): got,
        (ISSUER, Asset(RLUSD, TAKER)): paid,
        (ISSUER, Asset(RLUSD, MAKER)): -got,
    }
    assert balances[MAKER, PAIR.quote] == Balance(Decimal(1_000_000), 1_000_000 + got)


@pytest.mark.parametrize(("low", "high", "sign"), [("rHolder", "rIssuer", 1), ("rIssuer", "rHolder", -1)])
def test_given_either_end_low_when_read_then_the_balance_is_told_from_the_holders_view(low, high, sign):
    node = trust_line("ModifiedNode", low=low, high=high, before=f"{5 * sign}", after=f"{7 * sign}")
    assert balance_changes([node], "here") == {
        ("rHolder", Asset("USD", "rIssuer")): Balance(Decimal(5), Decimal(7)),
        ("rIssuer", Asset("USD", "rHolder")): Balance(Decimal(-5), Decimal(-7)),
    }


def test_given_a_line_made_or_deleted_by_a_trade_when_read_then_it_starts_or_ends_with_nothing():
    made = trust_line("CreatedNode", low="rHolder", high="rIssuer", after="12.5")
    gone = trust_line("DeletedNode", low="rOther", high="rIssuer", before="12.5", after="0")
    balances = balance_changes([made, gone], "here")
    assert balances["rHolder", Asset("USD", "rIssuer")] == Balance(Decimal(0), Decimal("12.5"))
    assert balances["rOther", Asset("USD", "rIssuer")] == Balance(Decimal("12.5"), Decimal(0))


def test_given_an_account_made_empty_for_a_pool_when_read_then_it_starts_and_ends_with_nothing():
    node = {"CreatedNode": {"LedgerEntryType": "AccountRoot", "NewFields": {"Account": "rPool"}}}
    assert balance_changes([node], "here") == {("rPool", XRP): Balance(Decimal(0), Decimal(0))}


def test_given_entries_touched_or_changed_elsewhere_when_read_then_no_balance():
    touched = {"ModifiedNode": {"LedgerEntryType": "AccountRoot", "FinalFields": {"Account": "rA", "Balance": "5"}}}
    owner_count = {
        "ModifiedNode": {
            "LedgerEntryType": "AccountRoot",
            "FinalFields": {"Account": "rA", "Balance": "5", "OwnerCount": 1},
            "PreviousFields": {"OwnerCount": 0},
        }
    }
    unknown = {"ModifiedNode": {"LedgerEntryType": "Vault", "FinalFields": {"Balance": []}, "PreviousFields": {}}}
    assert balance_changes([touched, owner_count, unknown], "here") == {}


def test_given_every_transaction_of_the_tape_when_read_then_balances_chain_and_only_fees_are_lost():
    known: dict[tuple[str, Asset], Decimal] = {}
    chained = 0
    with gzip.open(DATA / "node_tape_a.jsonl.gz", "rt") as tape:
        next(tape)
        for line in tape:
            for transaction in json.loads(line)["transactions"]:
                balances = balances_of(transaction)
                for key, balance in balances.items():
                    assert known.get(key, balance.before) == balance.before
                    chained += key in known
                    known[key] = balance.after
                xrp = sum(balance.change for (_, asset), balance in balances.items() if asset == XRP)
                assert xrp == -int(transaction["tx_json"]["Fee"])
    assert chained > 6_000


# Offers


def test_given_an_offer_of_another_market_when_hit_then_no_execution_of_this_one():
    changes = [
        change for change in read_changes(SWEEP["meta"]["AffectedNodes"], "here") if change.entry_type == "Offer"
    ]
    sweep_pair = pair_of("XRP/RLUSD", "rJjpdEhmi9ia97oUf7toqphxcafnWZPe32")
    executions = [execution(change, sweep_pair, "here") for change in changes]
    assert sorted(hit.base for hit in executions) == [20_715_233_333, 30_000_000_000]
    assert {hit.side for hit in executions} == {"bid"}
    assert [execution(change, PAIR, "here") for change in changes] == [None, None]


def test_given_two_issued_currencies_when_asked_for_the_side_then_it_follows_the_pairs_order():
    usd, eur = Asset("USD", "rA"), Asset("EUR", "rB")
    offer = {
        "TakerGets": {"currency": "USD", "issuer": "rA", "value": "1"},
        "TakerPays": {"currency": "EUR", "issuer": "rB", "value": "1"},
    }
    assert side_of(offer, Pair(usd, eur)) == "ask"
    assert side_of(offer, Pair(eur, usd)) == "bid"
    assert side_of(offer, Pair(XRP, usd)) is None


# Shapes of transactions


def shapes_of_sweep() -> dict[str, dict]:
    meta, tx_hash = SWEEP["meta"], SWEEP["hash"]
    fields = {name: value for name, value in SWEEP["tx_json"].items() if name != "ledger_index"}
    old = {**fields, "hash": tx_hash, "ledger_index": 32}
    return {
        "account_tx, version 2": {"tx_json": fields, "meta": meta, "hash": tx_hash, "ledger_index": 32},
        "account_tx, version 1": {"tx": old, "meta": meta, "validated": True},
        "stream, version 2": {
            "type": "transaction",
            "tx_json": fields,
            "meta": meta,
            "hash": tx_hash,
            "ledger_index": 32,
        },
        "stream, version 1": {"transaction": {**fields, "hash": tx_hash}, "meta": meta, "ledger_index": 32},
        "tx, version 1": {**old, "meta": meta, "validated": True},
        "ledger, version 1": {**fields, "hash": tx_hash, "metaData": meta},
    }


@pytest.mark.parametrize("shape", shapes_of_sweep())
def test_given_any_api_version_when_read_then_the_same_transaction(shape):
    transaction = read_transaction(shapes_of_sweep()[shape], "here")
    assert (transaction.hash, transaction.result, transaction.position) == (SWEEP["hash"], "tesSUCCESS", 0)
    assert transaction.ledger_index == (None if shape == "ledger, version 1" else 32)
    assert transaction.fields["Account"] == SWEEP["tx_json"]["Account"]
    assert transaction.nodes == SWEEP["meta"]["AffectedNodes"]


@pytest.mark.parametrize(
    ("path", "junk", "field"),
    [
        (("validated",), False, "validated"),  # from transactions_proposed: nothing is true of it yet
        (("meta",), None, "meta"),
        (("meta", "TransactionResult"), "terQUEUED", "TransactionResult"),
        (("meta", "TransactionResult"), "tefPAST_SEQ", "TransactionResult"),
        (("meta", "TransactionIndex"), -1, "TransactionIndex"),
        (("tx_json",), "12000722", "tx_json"),
        (("hash",), None, "hash"),
        (("ledger_index",), "32", "ledger_index"),
    ],
)
def test_given_a_transaction_that_is_not_one_of_a_ledger_when_read_then_the_error_names_the_field(path, junk, field):
    entry = copy.deepcopy(shapes_of_sweep()["account_tx, version 2"])
    node = entry
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = junk
    with pytest.raises(LedgerUnreadable, match=r"^here: ") as raised:
        read_transaction(entry, "here")
    assert raised.value.field == field


@pytest.mark.parametrize(
    "node",
    [
        "CreatedNode",
        {"CreatedNode": {}, "DeletedNode": {}},
        {"CreatedNode": []},
        {"CreatedNode": {"NewFields": {}}},
        {"CreatedNode": {"LedgerEntryType": "Offer"}},
        {"DeletedNode": {"LedgerEntryType": "AccountRoot", "FinalFields": None}},
        {"ModifiedNode": {"LedgerEntryType": "AccountRoot", "PreviousFields": [], "FinalFields": {}}},
        {"CreatedNode": {"LedgerEntryType": "AccountRoot", "NewFields": {"Balance": "5"}}},
        {"CreatedNode": {"LedgerEntryType": "AccountRoot", "NewFields": {"Account": "rA", "Balance": "-5"}}},
        trust_line("CreatedNode", low="rA", high="rB", after="NaN"),
        {"CreatedNode": {"LedgerEntryType": "RippleState", "NewFields": {"Balance": "5"}}},
    ],
)
def test_given_malformed_nodes_when_read_then_the_error_says_where(node):
    with pytest.raises(LedgerUnreadable, match=r"^here: "):
        balance_changes([node], "here")
