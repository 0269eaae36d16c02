"""Metadata of real ledgers, read in place where the recordings lie beside this checkout and skipped elsewhere."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from xrpl.core import binarycodec
from xrpl.utils import get_balance_changes

from engine_proc.xrpl_changes import XRP, Balance, balance_changes, read_changes, read_transaction
from engine_proc.xrpl_effects import Hit, Removal, effects_of, fills_of
from engine_proc.xrpl_market import Asset, Pair, pair_of

RECORDINGS = Path(__file__).parents[2].parent / "shared" / "xrpl_data"
BLOBS = (104_552_600, 104_552_601)
EXPANDED = 94_084_608
NOT_MOVED = Balance(Decimal(0), Decimal(0))

pytestmark = pytest.mark.skipif(not RECORDINGS.exists(), reason="no recordings beside this checkout")


def transactions_of(ledger_index: int) -> list[dict]:
    """All transactions of a mainnet ledger, in the order of execution."""
    if ledger_index == EXPANDED:
        path = RECORDINGS / "mainnet" / f"ledger_{EXPANDED}_expanded_rpc.json"
        entries = json.loads(path.read_text())["ledger"]["transactions"]
    else:
        blobs = json.loads((RECORDINGS / "mainnet" / f"ledger_{ledger_index}_blobs.json").read_text())["transactions"]
        entries = [
            {
                "hash": hashlib.sha512(bytes.fromhex("54584E00" + blob["tx_blob"])).hexdigest()[:64].upper(),
                "tx_json": binarycodec.decode(blob["tx_blob"]),
                "meta": binarycodec.decode(blob["meta_blob"]),
            }
            for blob in blobs
        ]
    return sorted(entries, key=lambda entry: read_transaction(entry, "here").position)


# Balances


@pytest.mark.parametrize("ledger_index", [*BLOBS, EXPANDED])
def test_given_every_transaction_of_a_mainnet_ledger_when_read_then_all_balances_are_the_ledgers(ledger_index):
    """For each account: as the reference library reads it, chained from one transaction to the next, no drop lost."""
    known: dict[tuple[str, Asset], Decimal] = {}
    seen: Counter[str] = Counter()
    for entry in transactions_of(ledger_index):
        transaction = read_transaction(entry, "here")
        balances = balance_changes(transaction.nodes, "here")
        moved = {
            (account, *asset): balance.change / asset.raw_per_unit
            for (account, asset), balance in balances.items()
            if balance.change
        }
        assert moved == by_the_library(transaction.nodes), transaction.hash
        assert sum(amount for (_, currency, _), amount in moved.items() if currency == "XRP") == -fee_of(transaction)
        for key, balance in balances.items():
            assert known.get(key, balance.before) == balance.before, transaction.hash
            seen["chained"] += key in known
            known[key] = balance.after
        seen["transactions"] += 1
    assert seen["transactions"] == {104_552_600: 91, 104_552_601: 122, 94_084_608: 83}[ledger_index]
    assert seen["chained"] > 40


def fee_of(transaction) -> Decimal:
    return Decimal(transaction.fields["Fee"]) / 1_000_000


def by_the_library(nodes) -> dict[tuple[str, str, str | None], Decimal]:
    """Balance changes as xrpl-py derives them, which XRPL.md B1 found right for every transaction."""
    meta = {"AffectedNodes": nodes, "TransactionIndex": 0, "TransactionResult": "tesSUCCESS"}
    return {
        (account["account"], balance["currency"], balance.get("issuer")): Decimal(balance["value"])
        for account in get_balance_changes(meta)
        for balance in account["balances"]
    }


# Executions


def owners_and_pairs(entry) -> Iterator[tuple[str, Pair]]:
    """Whoever has an offer in a transaction's metadata, with the offer's market (XRP first where it has any)."""
    for change in read_changes(read_transaction(entry, "here").nodes, "here"):
        if change.entry_type == "Offer":
            amounts = (change.after["TakerGets"], change.after["TakerPays"])
            assets = [XRP if isinstance(it, str) else Asset(it["currency"], it["issuer"]) for it in amounts]
            yield change.after["Account"], Pair(*sorted(assets, key=lambda asset: (asset != XRP, asset)))


@pytest.mark.parametrize("ledger_index", [*BLOBS, EXPANDED])
def test_given_everybody_with_an_offer_when_read_then_fills_and_fee_are_all_that_their_balances_did(ledger_index):
    for entry in transactions_of(ledger_index):
        balances = balance_changes(read_transaction(entry, "here").nodes, "here")
        for account, pair in set(owners_and_pairs(entry)):
            done = effects_of(entry, account, pair, parent_close_time=None, ledger_index=ledger_index)
            assert not done.funds_moved
            fee = Decimal(done.fee_drops) / 1_000_000
            base, quote = (-fee if asset == XRP else Decimal(0) for asset in pair)
            for fill in fills_of(done, lambda _: None):
                sign = 1 if fill.side == "bid" else -1
                base, quote = base + sign * fill.base, quote - sign * fill.quote
            changed = [balances.get((account, asset), NOT_MOVED).change / asset.raw_per_unit for asset in pair]
            assert [base, quote] == changed, done


def test_given_two_consecutive_ledgers_when_read_then_every_offer_touched_is_accounted_for():
    told: Counter[str] = Counter()
    raw: Counter[str] = Counter()
    for ledger_index in BLOBS:
        for entry in transactions_of(ledger_index):
            raw.update(offer_nodes(entry["meta"]["AffectedNodes"]))
            for account, pair in set(owners_and_pairs(entry)):
                done = effects_of(entry, account, pair, parent_close_time=None, ledger_index=ledger_index)
                told["CreatedNode"] += done.placed is not None
                told["hit"] += len(done.maker)
                told["DeletedNode"] += len(done.removed) + sum(hit.gone and not hit.remaining for hit in done.maker)
                told.update(removal.why for removal in done.removed)
                told[f"hit by {done.transaction_type}"] += len(done.maker)
    assert {kind: told[kind] for kind in raw} == raw
    assert (told["CreatedNode"], told["replaced"], told["requested"]) == (46, 38, 18)
    assert (told["hit by OfferCreate"], told["hit by Payment"]) == (4, 4)


def offer_nodes(nodes) -> Iterator[str]:
    """In the plainest way: the offers that were created, deleted or hit."""
    for node in nodes:
        ((kind, entry),) = node.items()
        if entry["LedgerEntryType"] == "Offer":
            if kind != "ModifiedNode":
                yield kind
            if {"TakerGets", "TakerPays"} & set(entry.get("PreviousFields", {})):
                yield "hit"


def test_given_a_payment_through_a_makers_bid_when_read_then_the_maker_has_a_fill():
    pair = pair_of("XRP/RLUSD", "rMxCKbEDwqr76QuheSUMdEGf4B9xJ8m5De")
    done = next(
        done
        for entry in transactions_of(104_552_601)
        for account, market in set(owners_and_pairs(entry))
        if market == pair
        and (done := effects_of(entry, account, pair, parent_close_time=None, ledger_index=104_552_601)).maker
    )
    assert (done.transaction_type, done.ours, done.removed) == ("Payment", False, ())
    (fill,) = fills_of(done, lambda _: None)
    assert (fill.side, fill.base) == ("bid", Decimal("46.051605"))
    # The maker's balance rounds in its 16th digit; the fill is what the balance did.
    assert done.rest_quote != 0
    assert fill.quote == done.maker[0].quote - done.rest_quote


# Other recordings


def test_given_older_recordings_when_read_then_effects_without_conversion():
    stream = json.loads((RECORDINGS / "xrpl_js" / "rippled__streams__transaction.json").read_text())
    account = stream["transaction"]["Account"]
    usual = Pair(XRP, Asset("CNY", "rJ1adrpGS3xsnQMb9Cw54tWJVFPuSdZHK"))
    done = effects_of(stream, account, usual, parent_close_time=None)
    assert done.ledger_index == 66_093_882
    assert [removal.why for removal in done.removed] == ["replaced"]
    assert done.placed is not None

    flat = json.loads((RECORDINGS / "xrpl_py" / "offer_partially_filled_and_filled.json").read_text())
    pair = Pair(Asset("USD", "rvYAfWj5gh67oV6fW32ZzP3Aw4Eubs59B"), Asset("USD", "rhub8VRN55s94qWKDv6jmDy1pUykJzF3wq"))
    taken = effects_of(flat, flat["Account"], pair, parent_close_time=None)
    assert taken.taker_base < 0 < taken.taker_quote
    owners = {account for account, market in owners_and_pairs(flat) if set(market) == set(pair)} - {flat["Account"]}
    hits: list[Hit] = []
    removed: list[Removal] = []
    for owner in owners:
        done = effects_of(flat, owner, pair, parent_close_time=None)
        hits += done.maker
        removed += done.removed
    assert len(hits) == 2
    assert {hit.gone for hit in hits} == {True, False}
    assert removed == []
