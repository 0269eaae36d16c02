"""The double against the recorded node: same transactions, same order, same results, to the last digit."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from xrpl.core.binarycodec import decode

from tests.xrpl.ledger import Ledger
from tests.xrpl.ledger_amounts import Amount, Issue, rate_of, read_amount
from tests.xrpl.ledger_funds import Fees
from tests.xrpl.ledger_metadata import book_directory, index_of
from tests.xrpl.ledger_offers import TF_SELL, on_tick
from tests.xrpl.ledger_rules import Applied, Moment, apply_transaction
from tests.xrpl.ledger_seed import entries_before, entry_of, impose, nodes_of, put, told
from tests.xrpl.ledger_state import Line, Offer, Root, State, line_key, line_of

ROOT = Path(__file__).parents[2]
TAPE = ROOT / "tests" / "data" / "node_tape_a.jsonl.gz"
RECORDINGS = ROOT.parent / "shared" / "xrpl_data" / "node_recordings"
FEES = Fees(10, 1_000_000, 200_000)
NETWORK_ID = 63456
XRP = {"currency": "XRP"}
ISSUER_DROPS = 10**12


def apply(state: State, raw: dict[str, Any], ledger_index: int, parent_close_time: int) -> Applied:
    state.log.clear()
    moment = Moment(NETWORK_ID, FEES, ledger_index, parent_close_time, 0)
    return apply_transaction(state, raw["tx_json"], raw["hash"], moment)


def test_given_the_recorded_tape_when_applied_then_every_transaction_does_what_the_node_said() -> None:
    with gzip.open(TAPE, "rt", encoding="utf-8") as file:
        header, first, *ledgers = (json.loads(line) for line in file)
    issued = {"currency": header["currency"], "issuer": header["issuer"]}
    metas = (raw["meta"] for one in ledgers for raw in one["transactions"])
    ledger = Ledger(network_id=NETWORK_ID)
    state = ledger.state = State(entries_before(metas, first["asks"] + first["bids"]))
    state.put(("account", header["issuer"]), Root(header["issuer"], ISSUER_DROPS, 1))
    done: Counter[tuple[str, str]] = Counter()
    parent_time = first["close_time"]
    for one in ledgers:
        for raw in one["transactions"]:
            applied = apply(state, raw, one["ledger_index"], parent_time)
            assert applied.meta is not None, f"seq {one['seq']} {raw['hash']}: {applied.result}"
            assert applied.result == raw["meta"]["TransactionResult"], f"seq {one['seq']} {raw['hash']}"
            assert told(applied.meta) == told(raw["meta"]), f"seq {one['seq']} {raw['hash']}"
            assert applied.meta.get("delivered_amount") == raw["meta"].get("delivered_amount")
            done[raw["tx_json"]["TransactionType"], applied.result] += 1
        for side, gets, pays in (("asks", XRP, issued), ("bids", issued, XRP)):
            answer = ledger.answer({"command": "book_offers", "taker_gets": gets, "taker_pays": pays})
            assert answer["offers"] == one[side], f"seq {one['seq']} {side}"
        pool = ledger.answer({"command": "amm_info", "asset": XRP, "asset2": issued})["amm"]
        del pool["auction_slot"]["time_interval"], one["amm_info"]["auction_slot"]["time_interval"]
        assert pool == one["amm_info"], f"seq {one['seq']}"
        parent_time = one["close_time"]
    assert done == {
        ("OfferCreate", "tesSUCCESS"): 4328,
        ("OfferCreate", "tecKILLED"): 15,
        ("OfferCreate", "tecUNFUNDED_OFFER"): 6,
        ("OfferCancel", "tesSUCCESS"): 28,
        ("Payment", "tesSUCCESS"): 97,
        ("Payment", "tecPATH_DRY"): 24,
        ("AMMDeposit", "tesSUCCESS"): 10,
        ("AMMWithdraw", "tesSUCCESS"): 2,
    }


def recorded(name: str) -> tuple[list[dict[str, Any]], dict[int, int]]:
    """The transactions of a scenario in the order of the ledger, and the close times that it shows."""
    path = RECORDINGS / f"{name}.json"
    if not path.exists():
        pytest.skip("no recordings here")
    found: dict[str, dict[str, Any]] = {}
    times: dict[int, int] = {}
    for step, value in json.loads(path.read_text(encoding="utf-8")).items():
        if step.startswith("tx_"):
            items = [value.get("tx", value)]
        else:
            items = value if isinstance(value, list) else value.get("transactions", [])
        for raw in items:
            if raw.get("type") == "ledgerClosed":
                times[raw["ledger_index"]] = raw["ledger_time"]
            elif "meta" in raw:
                found[raw["hash"]] = raw
                times[raw["ledger_index"]] = raw["tx_json"]["date"]
    return sorted(found.values(), key=lambda raw: (raw["ledger_index"], raw["meta"]["TransactionIndex"])), times


def parent_close_time(raw: dict[str, Any], times: dict[int, int]) -> int:
    """Ledgers without transactions were not recorded; a standalone node closes several within one second."""
    return times.get(raw["ledger_index"] - 1, int(raw["tx_json"]["date"]))


def prepare(state: State, raw: dict[str, Any]) -> None:
    """Bring the state to what it was before a transaction, as far as its metadata tells: not all were recorded."""
    for key, entry in entries_before([raw["meta"]]).items():
        put(state, key, entry)
    for field in ("TakerGets", "TakerPays", "Amount", "Amount2", "LimitAmount"):
        amount = raw["tx_json"].get(field)
        if isinstance(amount, dict) and ("account", amount["issuer"]) not in state.entries:
            state.put(("account", amount["issuer"]), Root(amount["issuer"], ISSUER_DROPS, 1))
    sold = read_amount(raw["tx_json"].get("TakerGets", "0"))
    sells_for_sure = not sold.issue.is_xrp and raw["meta"]["TransactionResult"] == "tesSUCCESS"
    if sells_for_sure and line_of(state.entries, raw["tx_json"]["Account"], sold.issue) is None:
        _fund_unseen(state, raw["tx_json"]["Account"], sold.issue)


def _fund_unseen(state: State, holder: str, issue: Issue) -> None:
    """A trust line that no recorded transaction changed, though an offer was funded from it."""
    key = line_key(holder, issue.issuer, issue.currency)
    _, low, high, currency = key
    balance = Decimal(100_000) if low == holder else Decimal(-100_000)
    state.put(key, Line(low, high, currency, balance, Decimal(0), Decimal(0), 0))


@pytest.mark.parametrize(("scenario", "transactions"), [("scenario1", 18), ("scenario2", 38)])
def test_given_a_recorded_scenario_when_applied_then_every_transaction_does_what_the_node_said(
    scenario: str, transactions: int
) -> None:
    """Killed, expired, replaced, own cross, locked book, tick size, freezes, transfer rate, reserve, tickets."""
    raws, times = recorded(scenario)
    state = State(entries_before(raw["meta"] for raw in raws))
    for raw in raws:
        prepare(state, raw)
        if raw["tx_json"]["TransactionType"] == "AMMCreate":
            impose(state, raw["meta"])  # its address depends on the hash of the ledger before; compared below
            continue
        applied = apply(state, raw, raw["ledger_index"], parent_close_time(raw, times))
        assert applied.meta is not None, f"{raw['hash']}: {applied.result}"
        assert applied.result == raw["meta"]["TransactionResult"], raw["hash"]
        assert told(applied.meta) == told(raw["meta"]), raw["hash"]
    assert len(raws) == transactions


@pytest.mark.parametrize("scenario", ["scenario1", "scenario2"])
def test_given_a_recorded_pool_when_it_is_created_then_its_tokens_and_its_price_are_the_nodes(scenario: str) -> None:
    raws, times = recorded(scenario)
    (raw,) = [raw for raw in raws if raw["tx_json"]["TransactionType"] == "AMMCreate"]
    state = State(entries_before([raw["meta"]]))
    prepare(state, raw)
    applied = apply(state, raw, raw["ledger_index"], parent_close_time(raw, times))
    assert applied.meta is not None
    assert created_pool(applied.meta) == created_pool(raw["meta"])


def created_pool(meta: dict[str, Any]) -> tuple[Any, ...]:
    creator = [effect for effect in told(meta).values() if effect[0] == "ModifiedNode"]
    (pool,) = [fields for kind, entry, fields, _ in told(meta).values() if entry == "AMM"]
    return creator, pool["LPTokenBalance"]["value"], pool["LPTokenBalance"]["currency"], pool["TradingFee"]


@pytest.mark.parametrize("ledger_index", [104552600, 104552601])
def test_given_mainnet_metadata_when_entries_are_named_then_indexes_and_book_directories_are_mainnets(
    ledger_index: int,
) -> None:
    path = RECORDINGS.parent / "mainnet" / f"ledger_{ledger_index}_blobs.json"
    if not path.exists():
        pytest.skip("no mainnet ledgers here")
    named: Counter[str] = Counter()
    for raw in json.loads(path.read_text(encoding="utf-8"))["transactions"]:
        transaction, meta = decode(raw["tx_blob"]), decode(raw["meta_blob"])
        for kind, node in nodes_of(meta):
            fields = node.get("NewFields") or node.get("FinalFields") or {}
            if node["LedgerEntryType"] not in ("AccountRoot", "RippleState", "Offer") or not fields:
                continue
            key, entry = entry_of(node["LedgerEntryType"], fields)
            assert index_of(key) == node["LedgerIndex"]
            named[node["LedgerEntryType"]] += 1
            if isinstance(entry, Offer) and kind == "CreatedNode":
                gets, pays = read_amount(transaction["TakerGets"]), read_amount(transaction["TakerPays"])
                rates = [rate_of_offer(gets, pays, digits, transaction.get("Flags", 0)) for digits in range(3, 17)]
                directories = [book_directory(gets.issue, pays.issue, rate) for rate in rates]
                assert fields["BookDirectory"] in directories
                named["placed"] += 1
                named["as it was sent"] += fields["BookDirectory"] == directories[-1]
    assert min(named.values()) > 10


def rate_of_offer(gets: Amount, pays: Amount, digits: int, flags: int) -> int:
    """The rate at which an offer rests if its issuers' tick has so many digits; 16 is no tick."""
    gets, pays = on_tick(gets, pays, digits, sells=bool(flags & TF_SELL))
    return rate_of(gets.value, pays.value)
