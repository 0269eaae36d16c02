from __future__ import annotations

import copy
import gzip
import json
from collections import defaultdict
from pathlib import Path

import pytest

from engine_proc.market import AmmPool, Print
from engine_proc.xrpl_market import Asset, LedgerUnreadable, Pair, RawLedger, pair_of, read_pool
from engine_proc.xrpl_prints import read_prints

DATA = Path(__file__).parents[1] / "data"
MAINNET = Path(__file__).parents[2].parent / "shared" / "xrpl_data" / "mainnet"
PIECES = json.loads((DATA / "node_pieces.json").read_text())

POOL_FEE = 0.003
PAIR_1 = pair_of("XRP/RLUSD", "ra3Tu6sgs2VURXBofvW2377YYHgbrTYBLv")
POOL_1 = "rEbKLRqHDcZdg8ExZM9dArWMQBkTcdexLL"
PAIR_2 = pair_of("XRP/RLUSD", "rJjpdEhmi9ia97oUf7toqphxcafnWZPe32")
POOL_2 = "rLtVPhrTCYctDvdU72Fa5GRyqnwi1pUij7"
SWEEP = PIECES["s2_tx_sweep_underfunded"]


def prints_of(*transactions, pair: Pair = PAIR_1, pool_account: str | None = POOL_1) -> tuple[Print, ...]:
    return read_prints(RawLedger(9, 1, [], [], None, list(transactions)), pair, pool_account, POOL_FEE)


def entry_of(transaction, entry_type: str, account: str):
    """The entry of this type that the account owns or shares, within one transaction's metadata."""
    for node in transaction["meta"]["AffectedNodes"]:
        (entry,) = node.values()
        if entry["LedgerEntryType"] == entry_type and account in json.dumps(entry):
            return entry
    raise AssertionError(f"no {entry_type} of {account}")


def with_index(transaction, index: int):
    transaction = copy.deepcopy(transaction)
    transaction["meta"]["TransactionIndex"] = index
    return transaction


# What a transaction executed


def test_given_an_ask_hit_in_part_when_read_then_one_buy_at_the_price_paid():
    assert prints_of(PIECES["s1_tx_taker_buy_ioc_partial_of_ask"]) == (
        Print("buy", pytest.approx((2213.4567891234 - 1106.726788696469) / 500), 500.0),
    )


def test_given_a_sweep_of_book_and_pool_when_read_then_book_first_and_pool_as_it_was_left():
    book, pool = prints_of(PIECES["s1_tx_taker_buy_ioc_clob_plus_amm"])
    assert book == Print("buy", pytest.approx(2.21346), 499.998549)
    left = read_pool(RawLedger(19, 1, [], [], PIECES["amm_info_after"], []), PAIR_1)
    assert left is not None
    assert pool == Print("buy", pytest.approx(940.54135162701 / 408.275286), pytest.approx(408.275286), left)
    # The price is the average, fee included: dearer than where the pool stood, cheaper than where it stands.
    assert AmmPool(10_000.0, 22_030.0, POOL_FEE).ask < pool.price < left.ask


def test_given_trades_with_the_pool_alone_when_read_then_each_leaves_what_the_next_one_finds():
    first, second = prints_of(
        PIECES["s2_tx_amm_only_trade"], with_index(PIECES["s2_tx_amm_only_trade2"], 1), pair=PAIR_2, pool_account=POOL_2
    )
    assert first.pool_after == AmmPool(9_960.0, 22088.58994881796, POOL_FEE)
    assert second.pool_after == AmmPool(9_920.0, 22177.89528903125, POOL_FEE)
    assert second.price == pytest.approx((22177.89528903125 - 22088.58994881796) / 40)


def test_given_bids_swept_beyond_their_owners_funds_when_read_then_only_what_was_filled_counts():
    best, second, pool = prints_of(SWEEP, pair=PAIR_2, pool_account=POOL_2)
    assert best == Print("sell", 2.0, 30_000.0)
    assert second == Print("sell", pytest.approx(40_094 / 20_715.233333), 20_715.233333)
    assert (pool.taker_side, pool.size) == ("sell", pytest.approx(3_115.550071))


def test_given_token_per_xrp_turned_round_when_read_then_a_sale_is_a_purchase():
    turned = Pair(PAIR_2.quote, PAIR_2.base)
    best, second, pool = prints_of(SWEEP, pair=turned, pool_account=POOL_2)
    assert (best.taker_side, best.price, best.size) == ("buy", 0.5, 60_000.0)
    assert best.price < second.price < pool.price


def test_given_no_pool_account_when_read_then_only_the_book_prints():
    assert len(prints_of(SWEEP, pair=PAIR_2, pool_account=None)) == 2


# What is no execution


@pytest.mark.parametrize(
    "name",
    [
        "s1_tx_amm_create",
        "s1_tx_replace_by_offersequence",
        "s1_tx_ioc_killed",
        "s2_tx_own_ask_1.88_crosses_own_bid",
        "s2_tx_taker_hits_expired",
    ],
)
def test_given_offers_placed_replaced_or_dropped_without_a_trade_when_read_then_no_print(name):
    usd = pair_of("XRP/USD", "rUJnfYoqHjkf54ScRysessFz7fkFnm8aK")
    assert prints_of(PIECES[name]) == prints_of(PIECES[name], pair=usd) == ()


def test_given_a_failed_transaction_when_read_then_it_contributes_nothing():
    failed = copy.deepcopy(SWEEP)
    failed["meta"]["TransactionResult"] = "tecPATH_PARTIAL"
    assert prints_of(failed, pair=PAIR_2, pool_account=POOL_2) == ()


def test_given_another_issuers_token_when_read_then_it_is_another_market():
    assert prints_of(SWEEP, pair=PAIR_1, pool_account=POOL_2) == ()


@pytest.mark.parametrize(("drops_before", "prints_n"), [("13104251432", 2), ("13104251434", 3)])
def test_given_token_into_the_pool_when_xrp_comes_in_too_then_it_is_a_deposit_and_else_a_trade(drops_before, prints_n):
    changed = copy.deepcopy(SWEEP)
    entry_of(changed, "AccountRoot", POOL_2)["PreviousFields"]["Balance"] = drops_before  # 13104251433 afterwards
    entry_of(changed, "RippleState", POOL_2)["PreviousFields"]["Balance"]["value"] = "-16800"  # -16800.34 afterwards
    assert len(prints_of(changed, pair=PAIR_2, pool_account=POOL_2)) == prints_n


def test_given_one_balance_changed_when_read_then_it_is_a_deposit_of_one_asset():
    changed = copy.deepcopy(SWEEP)
    del entry_of(changed, "RippleState", POOL_2)["PreviousFields"]["Balance"]
    assert len(prints_of(changed, pair=PAIR_2, pool_account=POOL_2)) == 2


def test_given_the_pool_as_the_low_account_of_its_line_when_read_then_the_sign_turns():
    changed = copy.deepcopy(SWEEP)
    line = entry_of(changed, "RippleState", POOL_2)
    final = line["FinalFields"]
    final["LowLimit"], final["HighLimit"] = final["HighLimit"], final["LowLimit"]
    for balance in (final["Balance"], line["PreviousFields"]["Balance"]):
        balance["value"] = balance["value"].removeprefix("-")
    before = prints_of(SWEEP, pair=PAIR_2, pool_account=POOL_2)
    assert prints_of(changed, pair=PAIR_2, pool_account=POOL_2) == before


# Shapes and order


def test_given_older_api_shapes_when_read_then_the_prints_are_the_same():
    flat = {**SWEEP["tx_json"], "hash": SWEEP["hash"], "metaData": SWEEP["meta"]}
    streamed = {"transaction": SWEEP["tx_json"], "meta": SWEEP["meta"], "validated": True}
    expected = prints_of(SWEEP, pair=PAIR_2, pool_account=POOL_2)
    assert prints_of(flat, pair=PAIR_2, pool_account=POOL_2) == expected
    assert prints_of(streamed, pair=PAIR_2, pool_account=POOL_2) == expected


def test_given_transactions_listed_by_hash_when_read_then_prints_come_in_order_of_execution():
    first = with_index(PIECES["s1_tx_taker_buy_ioc_partial_of_ask"], 3)
    later = with_index(PIECES["s1_tx_taker_buy_ioc_clob_plus_amm"], 8)
    assert prints_of(later, first) == prints_of(first) + prints_of(later)


# What cannot be read


@pytest.mark.parametrize(
    ("path", "junk"),
    [
        (("meta",), None),
        (("meta",), "201C0000000B"),  # binary metadata
        (("meta", "TransactionResult"), 0),
        (("meta", "TransactionResult"), "terQUEUED"),  # not of a validated ledger
        (("meta", "TransactionIndex"), None),
        (("meta", "AffectedNodes"), {}),
        (("meta", "AffectedNodes", 0), "node"),
        (("meta", "AffectedNodes", 0, "DeletedNode"), []),
        (("meta", "AffectedNodes", 0, "DeletedNode", "LedgerEntryType"), None),
        (("meta", "AffectedNodes", 0, "DeletedNode", "FinalFields"), None),
        (("meta", "AffectedNodes", 0, "DeletedNode", "FinalFields", "TakerPays"), None),
        (("meta", "AffectedNodes", 0, "DeletedNode", "FinalFields", "TakerGets"), "1"),  # XRP for XRP
        (("meta", "AffectedNodes", 0, "DeletedNode", "FinalFields", "TakerPays"), "30000000001"),  # it grew
        (("meta", "AffectedNodes", 0, "DeletedNode", "PreviousFields", "TakerPays"), "many"),
        (("meta", "AffectedNodes", 0, "DeletedNode", "PreviousFields", "TakerGets"), "60000"),  # drops of RLUSD
    ],
)
def test_given_malformed_metadata_when_read_then_the_error_names_ledger_and_transaction(path, junk):
    changed = copy.deepcopy(SWEEP)
    node = changed
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = junk
    with pytest.raises(LedgerUnreadable, match=r"ledger 9 transactions\[1\]: "):
        prints_of(with_index(SWEEP, 1), changed, pair=PAIR_2, pool_account=POOL_2)


def test_given_no_list_of_transactions_when_read_then_the_error_says_so():
    with pytest.raises(LedgerUnreadable, match="ledger 9: transactions"):
        read_prints(RawLedger(9, 1, [], [], None, None), PAIR_1, None, 0.0)


# Against balances: what takers got and gave, over every transaction of the tape


def test_given_every_transaction_of_the_tape_when_read_then_prints_add_up_to_the_takers_balance():
    with gzip.open(DATA / "node_tape_a.jsonl.gz", "rt") as tape:
        header = json.loads(next(tape))
        pair = pair_of(header["pair"], header["issuer"])
        checked = 0
        for line in tape:
            for transaction in json.loads(line)["transactions"]:
                body = transaction["tx_json"]
                prints = prints_of(transaction, pair=pair, pool_account=header["amm_account"])
                if not prints:
                    continue
                taken = sum(p.size if p.taker_side == "buy" else -p.size for p in prints)
                paid = sum(p.size * p.price * (1 if p.taker_side == "buy" else -1) for p in prints)
                xrp, rlusd = balance_changes(transaction, body["Account"], pair.quote)
                # A payment may land on another account, but here everyone pays himself.
                assert body.get("Destination", body["Account"]) == body["Account"]
                assert xrp + int(body["Fee"]) / 1_000_000 == pytest.approx(taken, abs=2e-6)
                assert rlusd == pytest.approx(-paid, abs=1e-6)
                checked += 1
    assert checked > 400


def balance_changes(transaction, account: str, token: Asset) -> tuple[float, float]:
    """Changes of an account's XRP and token balance, read from the metadata in the plainest way."""
    xrp = rlusd = 0.0
    for node in transaction["meta"]["AffectedNodes"]:
        (entry,) = node.values()
        final, before = entry.get("FinalFields", {}), entry.get("PreviousFields", {})
        if "Balance" not in before:
            continue
        if entry["LedgerEntryType"] == "AccountRoot" and final["Account"] == account:
            xrp += (int(final["Balance"]) - int(before["Balance"])) / 1_000_000
        if entry["LedgerEntryType"] == "RippleState" and final["Balance"]["currency"] == token.currency:
            change = float(final["Balance"]["value"]) - float(before["Balance"]["value"])
            if final["LowLimit"]["issuer"] == account:
                rlusd += change
            elif final["HighLimit"]["issuer"] == account:
                rlusd -= change
    return xrp, rlusd


# Other people's ledgers


def pools_touched(transactions) -> dict[str, Pair]:
    """Every XRP pool that a ledger's transactions touched, with its pair."""
    pools: dict[str, Pair] = {}
    for transaction in transactions:
        entries = [entry for node in transaction["metaData"]["AffectedNodes"] for entry in node.values()]
        finals = [entry.get("FinalFields", {}) for entry in entries]
        for account in (final["Account"] for final in finals if "AMMID" in final):
            for final in finals:
                ends = [final.get(limit, {}).get("issuer") for limit in ("LowLimit", "HighLimit")]
                if account in ends and not final["Balance"]["currency"].startswith("03"):
                    issuer = ends[1 - ends.index(account)]
                    pools[account] = Pair(Asset("XRP", None), Asset(final["Balance"]["currency"], issuer))
    return pools


def test_given_a_mainnet_ledger_when_read_then_its_pool_trades_follow_the_constant_product():
    path = MAINNET / "ledger_94084608_expanded_rpc.json"
    if not path.exists():
        pytest.skip("no mainnet ledger beside this checkout")
    transactions = json.loads(path.read_text())["ledger"]["transactions"]
    ledger = RawLedger(94_084_608, 792_634_570, [], [], None, transactions)
    trades: dict[str, list[Print]] = defaultdict(list)
    for account, pair in pools_touched(transactions).items():
        trades[account] += read_prints(ledger, pair, account, 0.0)
    assert sum(len(prints) for prints in trades.values()) == 6  # and the AMMDeposit is none of them
    twice = trades["rDwJrWbmBd2eGMmpGhA1NJLXYXhUHhv8sh"]
    assert [p.pool_after.base for p in twice] == [4135.718801, 4124.130383]  # as executed, not as listed
    for p in (p for prints in trades.values() for p in prints):
        sign = 1 if p.taker_side == "buy" else -1
        before = AmmPool(p.pool_after.base + sign * p.size, p.pool_after.quote - sign * p.size * p.price, 0.0)
        growth = p.pool_after.base * p.pool_after.quote / (before.base * before.quote) - 1
        assert -1e-9 <= growth <= 0.01 * p.size / before.base * 1.1  # what the fee, at most 1 %, left in the pool


def test_given_two_full_mainnet_ledgers_when_read_then_a_payments_fill_of_a_bid_prints():
    binarycodec = pytest.importorskip("xrpl.core.binarycodec")
    if not MAINNET.exists():
        pytest.skip("no mainnet ledgers beside this checkout")
    pair = pair_of("XRP/RLUSD", "rMxCKbEDwqr76QuheSUMdEGf4B9xJ8m5De")
    found = {}
    for index in (104_552_600, 104_552_601):
        blobs = json.loads((MAINNET / f"ledger_{index}_blobs.json").read_text())["transactions"]
        decoded = [{"meta": binarycodec.decode(blob["meta_blob"])} for blob in blobs]
        ledger = RawLedger(index, 0, [], [], None, decoded)
        found[index] = read_prints(ledger, pair, "rhWTXC2m2gGGA9WozUaoMm6kLAVPb1tcS3", 0.0)
    price = (9993.923023979 - 9933.74739218889) / 46.051605
    assert found == {104_552_600: (), 104_552_601: (Print("sell", pytest.approx(price), 46.051605),)}
