"""What a validated transaction did to our account, on recordings of every way an offer can end."""

from __future__ import annotations

import copy
import gzip
import json
from collections import Counter
from decimal import Context, Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine_proc.holdings import Fill
from engine_proc.xrpl_effects import Effects, Hit, Placed, Removal, effects_of, fills_of
from engine_proc.xrpl_market import LedgerUnreadable, pair_of

DATA = Path(__file__).parents[1] / "data"
RECORDED = {
    **json.loads((DATA / "node_pieces.json").read_text()),
    **json.loads((DATA / "xrpl" / "transactions.json").read_text()),
}
HISTORY = json.loads((DATA / "xrpl" / "maker_history.json").read_text())
RLUSD_1 = pair_of("XRP/RLUSD", "ra3Tu6sgs2VURXBofvW2377YYHgbrTYBLv")
RLUSD_2 = pair_of("XRP/RLUSD", "rJjpdEhmi9ia97oUf7toqphxcafnWZPe32")
USD = pair_of("XRP/USD", "rUJnfYoqHjkf54ScRysessFz7fkFnm8aK")
MAKER_1, MAKER_2 = "rfVmBKHRK8Z7cByCVQzGZqgyXoax19QEtp", "r9y7ivBFvm17oNtz5VXG71qSAzUNDnDcZ4"
NOTHING = Decimal(0)


def effects(name: str, account: str | None = None, pair=RLUSD_1, parent_close_time: int | None = None) -> Effects:
    """Of a recorded transaction, for its sender if nobody else is named."""
    entry = RECORDED[name]
    account = account or entry["tx_json"]["Account"]
    return effects_of(entry, account, pair, parent_close_time=parent_close_time, ledger_index=9)


def named(number: int) -> str:
    return f"L1-{number}"


# Resting offers that trade


def test_given_our_ask_hit_in_part_when_read_then_one_hit_that_rests_on():
    hit_in_part = effects("s1_tx_taker_buy_ioc_partial_of_ask", MAKER_1)
    assert hit_in_part.maker == (
        Hit(5, "ask", Decimal(500), Decimal("1106.730000426931"), Decimal("499.998549"), gone=False),
    )
    assert (hit_in_part.ours, hit_in_part.number, hit_in_part.fee_drops) == (False, None, 0)
    assert (hit_in_part.removed, hit_in_part.funds_moved) == ((), False)
    (fill,) = fills_of(hit_in_part, named)
    assert fill == Fill(
        f"{hit_in_part.hash}-5",
        "L1-5",
        "ask",
        "maker",
        Decimal("2.213460000854"),
        Decimal(500),
        Decimal("1106.730000427"),
    )


def test_given_our_last_ask_swept_by_book_and_pool_when_read_then_the_pools_part_is_none_of_ours():
    swept = effects("s1_tx_taker_buy_ioc_clob_plus_amm", MAKER_1)
    (hit,) = swept.maker
    assert (hit.number, hit.base, hit.remaining, hit.gone) == (5, Decimal("499.998549"), 0, True)
    assert swept.removed == ()
    assert [fill.base for fill in fills_of(swept, named)] == [Decimal("499.998549")]


def test_given_two_bids_hit_and_funds_that_end_when_read_then_two_fills_and_a_rest_dropped():
    swept = effects("s2_tx_sweep_underfunded", MAKER_2, RLUSD_2)
    hits = {hit.number: hit for hit in swept.maker}
    assert hits[12] == Hit(12, "bid", Decimal(30_000), Decimal(60_000), NOTHING, gone=True)
    assert (hits[13].base, hits[13].remaining) == (Decimal("20715.233333"), Decimal("10284.766667"))
    assert (hits[13].quote, hits[13].gone) == (Decimal(40_094), True)
    assert swept.removed == (Removal(13, "unfunded"),)
    assert swept.quote_after == 0
    assert {fill.order_id: fill.side for fill in fills_of(swept, named)} == {"L1-12": "bid", "L1-13": "bid"}


def test_given_a_hit_of_an_offer_without_a_name_when_reported_then_the_fill_is_told_all_the_same():
    (fill,) = fills_of(effects("s1_tx_taker_buy_ioc_partial_of_ask", MAKER_1), lambda _: None)
    assert fill.order_id == "offer#5"


# What our own order takes


@pytest.mark.parametrize(
    ("name", "pair", "side", "base", "quote"),
    [
        ("s1_tx_taker_buy_ioc_partial_of_ask", RLUSD_1, "bid", "500", "1106.7300004269"),
        ("s1_tx_taker_buy_ioc_clob_plus_amm", RLUSD_1, "bid", "908.273835", "2047.2681403235"),  # book and pool
        ("s2_tx_amm_only_trade", RLUSD_2, "bid", "40", "88.58994881796"),
        ("s2_tx_sweep_underfunded", RLUSD_2, "ask", "53830.783404", "105319.42283332145"),
        ("s2_tx_tr_maker_bid", RLUSD_2, "bid", "1000", "1407.87947674444"),
    ],
)
def test_given_our_order_that_takes_when_read_then_one_taker_fill_of_all_it_got(name, pair, side, base, quote):
    (fill,) = fills_of(effects(name, pair=pair), named)
    number = RECORDED[name]["tx_json"]["Sequence"]
    assert (fill.trade_id, fill.order_id) == (f"{RECORDED[name]['hash']}-taker", f"L1-{number}")
    assert (fill.side, fill.liquidity) == (side, "taker")
    assert (fill.base, fill.quote) == (Decimal(base), Decimal(quote))
    assert fill.price == Context(prec=15).divide(fill.quote, fill.base)


def test_given_our_quote_that_meets_the_pool_when_read_then_what_it_took_and_what_rests():
    quoted = effects("s2_tx_m2_ask_2.205", pair=RLUSD_2)
    assert (quoted.taker_base, quoted.taker_quote) == (Decimal("-26.363885"), Decimal("58.1323652397"))
    # The rest is scaled from the side it buys: one drop more than what it sold leaves of a thousand.
    assert quoted.placed == Placed(6, "ask", Decimal("2.205"), Decimal("973.636116"), None)
    assert (quoted.base_after, quoted.quote_after) == (Decimal("99973.636095"), Decimal("100058.1323652397"))


# Placed, replaced, cancelled, gone


def test_given_quotes_placed_when_read_then_price_is_the_rate_that_the_ledger_keeps():
    assert effects("s1_tx_ask_place").placed == Placed(
        5,
        "ask",
        Decimal("2.21346000085386"),
        Decimal("999.998549"),
        None,  # TickSize 6 took 1.451 XRP off
    )
    assert effects("s1_tx_bid_place").placed == Placed(6, "bid", Decimal("2.193121931"), Decimal(1000), None)
    assert effects("s2_tx_expiring_offer", pair=USD).placed == Placed(7, "bid", Decimal(1), Decimal(10), 848530862)


def test_given_an_offer_by_ticket_when_read_then_the_ticket_is_its_number():
    by_ticket = effects("s1_tx_offer_by_ticket")
    assert by_ticket.number == 13
    assert by_ticket.placed == Placed(13, "bid", Decimal(1), Decimal(10), None)


def test_given_a_replacement_when_read_then_the_old_offer_goes_and_the_new_one_rests():
    replaced = effects("s1_tx_replace_by_offersequence")
    assert replaced.removed == (Removal(6, "replaced"),)
    assert replaced.placed is not None
    assert replaced.placed.number == 7
    assert fills_of(replaced, named) == ()


def test_given_cancels_when_read_then_only_a_deletion_proves_one():
    assert effects("s1_tx_cancel_ok").removed == (Removal(7, "requested"),)
    gone = effects("s1_tx_cancel_gone")
    assert (gone.result, gone.removed, gone.fee_drops) == ("tesSUCCESS", (), 10)


def test_given_our_order_that_reaches_our_own_when_read_then_the_old_one_is_gone_without_a_trade():
    crossed = effects("s2_tx_own_ask_1.88_crosses_own_bid", pair=USD)
    assert crossed.removed == (Removal(5, "own_cross"),)
    assert crossed.placed is not None
    assert fills_of(crossed, named) == ()


@pytest.mark.parametrize(
    ("parent_close_time", "why"), [(848530862, "expired"), (848530861, "unfunded"), (None, "unfunded")]
)
def test_given_an_offer_that_a_taker_found_dead_when_read_then_its_expiration_and_the_parent_ledger_say_why(
    parent_close_time, why
):
    owner = "r3cFxWnzV7WEqnNQzMwxeBHDUYfEyYkfhd"
    found = effects("s2_tx_taker_hits_expired", owner, USD, parent_close_time)
    assert (found.result, found.ours) == ("tecKILLED", False)  # a failed transaction sweeps all the same
    assert found.removed == (Removal(7, why),)


def test_given_a_failed_replacement_that_finds_the_old_offer_dead_when_read_then_it_did_not_replace_it():
    entry = copy.deepcopy(RECORDED["s2_tx_taker_hits_expired"])
    owner = "r3cFxWnzV7WEqnNQzMwxeBHDUYfEyYkfhd"
    entry["tx_json"] |= {"Account": owner, "OfferSequence": 7}
    found = effects_of(entry, owner, USD, parent_close_time=848530870, ledger_index=9)
    assert found.removed == (Removal(7, "expired"),)


@pytest.mark.parametrize(
    ("name", "result"),
    [
        ("s1_tx_ioc_killed", "tecKILLED"),
        ("s1_tx_already_expired", "tecEXPIRED"),
        ("s1_tx_unfunded", "tecUNFUNDED_OFFER"),
        ("s2_tx_poor_offer3", "tecINSUF_RESERVE_OFFER"),
    ],
)
def test_given_an_order_that_failed_when_read_then_it_cost_its_fee_and_did_nothing(name, result):
    failed = effects(name, pair=RLUSD_2 if name.startswith("s2") else RLUSD_1)
    assert (failed.result, failed.fee_drops) == (result, 10)
    assert (failed.placed, failed.maker, failed.removed) == (None, (), ())
    assert (failed.taker_base, failed.taker_quote, failed.funds_moved) == (0, 0, False)


# Dust


def with_hit(name: str, account: str, before: dict[str, str], left: dict[str, str]):
    """A recorded transaction whose hit of the account's offer has other amounts before it and after it."""
    entry = copy.deepcopy(RECORDED[name])
    for node in entry["meta"]["AffectedNodes"]:
        (fields,) = node.values()
        if fields["LedgerEntryType"] == "Offer" and fields["FinalFields"]["Account"] == account:
            for holder, amounts in ((fields["PreviousFields"], before), (fields["FinalFields"], left)):
                for field, amount in amounts.items():
                    holder[field] = {**holder[field], "value": amount} if isinstance(holder[field], dict) else amount
            return entry
    raise AssertionError(f"no offer of {account}")


def test_given_an_ask_consumed_but_for_a_drop_when_read_then_the_drop_is_dust_that_is_gone():
    before, left = {"TakerGets": "499998550"}, {"TakerGets": "1", "TakerPays": "0"}
    entry = with_hit("s1_tx_taker_buy_ioc_clob_plus_amm", MAKER_1, before, left)
    consumed = effects_of(entry, MAKER_1, RLUSD_1, parent_close_time=None, ledger_index=9)
    assert consumed.maker[0].remaining == Decimal("0.000001")
    assert consumed.removed == (Removal(5, "dust"),)
    assert len(fills_of(consumed, named)) == 1


def test_given_a_hit_that_gave_base_away_for_nothing_when_read_then_it_is_no_fill_but_the_balance_moved():
    entry = with_hit("s1_tx_taker_buy_ioc_clob_plus_amm", MAKER_1, {}, {"TakerPays": "1106.726788696469"})
    given_away = effects_of(entry, MAKER_1, RLUSD_1, parent_close_time=None, ledger_index=9)
    assert [hit.traded for hit in given_away.maker] == [False]
    assert given_away.removed == (Removal(5, "dust"),)
    assert given_away.funds_moved
    assert fills_of(given_away, named) == ()


# Money that moves otherwise


def test_given_money_sent_to_us_when_read_then_funds_moved():
    arrivals = [
        effects_of(entry, MAKER_1, RLUSD_1, parent_close_time=None)
        for entry in HISTORY["transactions"]
        if entry["tx_json"]["TransactionType"] == "Payment"
    ]
    assert [(arrival.ours, arrival.funds_moved, fills_of(arrival, named)) for arrival in arrivals] == [
        (False, True, ()),
        (False, True, ()),
    ]
    assert {(arrival.base_after, arrival.quote_after) for arrival in arrivals} == {
        (Decimal(100_000), None),
        (None, Decimal(1_000_000)),
    }


def test_given_a_pool_that_we_fund_when_read_then_funds_moved_and_nothing_was_traded():
    funded = effects("s1_tx_amm_create")
    assert (funded.funds_moved, funded.taker_base, funded.fee_drops) == (True, 0, 200_000)


def test_given_a_trade_of_ours_in_another_market_when_read_then_funds_moved():
    elsewhere = effects("s1_tx_taker_buy_ioc_partial_of_ask", MAKER_1, USD)
    assert (elsewhere.maker, elsewhere.funds_moved) == ((), True)


# A whole history


def test_given_a_makers_whole_history_when_walked_then_fills_and_fees_are_what_its_balances_did():
    base = quote = NOTHING
    trade_ids: list[str] = []
    resting: dict[int, Decimal] = {}
    for entry in reversed(HISTORY["transactions"]):
        done = effects_of(entry, MAKER_1, RLUSD_1, parent_close_time=None)
        base, quote = after(base, quote, done)
        track(resting, done)
        trade_ids += [fill.trade_id for fill in fills_of(done, named)]
    assert (base, quote) == (
        Decimal("99000.001361"),
        Decimal("1002213.456789123"),
    )  # as account_info and account_lines say
    assert resting == {13: Decimal(10)}
    assert [trade_id.rpartition("-")[2] for trade_id in trade_ids] == ["5", "5"]
    assert len(set(trade_ids)) == 2


def after(base: Decimal, quote: Decimal, done: Effects) -> tuple[Decimal, Decimal]:
    """Tracked balances, by fills and fees alone; stated anew only where funds moved otherwise."""
    base -= Decimal(done.fee_drops) / 1_000_000
    for fill in fills_of(done, named):
        sign = 1 if fill.side == "bid" else -1
        base, quote = base + sign * fill.base, quote - sign * fill.quote
    if done.funds_moved:
        base = base if done.base_after is None else done.base_after
        quote = quote if done.quote_after is None else done.quote_after
    return base, quote


def track(resting: dict, done: Effects, owner: str | None = None) -> None:
    """Open offers, by what the effects say alone: number (or owner and number) -> base left."""

    def key(number: int):
        return number if owner is None else (owner, number)

    for hit in done.maker:
        resting[key(hit.number)] -= hit.base
        assert resting[key(hit.number)] == hit.remaining
        if hit.gone and hit.traded and not hit.remaining:
            del resting[key(hit.number)]
    for removal in done.removed:
        del resting[key(removal.number)]
    if done.placed is not None:
        resting[key(done.placed.number)] = done.placed.remaining


def test_given_every_account_of_the_tape_when_tracked_by_effects_alone_then_books_and_balances_are_the_nodes():
    """1,200 ledgers: after each, every open offer and balance is what the node's own answers say, to the digit."""
    with gzip.open(DATA / "node_tape_a.jsonl.gz", "rt") as tape:
        header = json.loads(next(tape))
        pair = pair_of(header["pair"], header["issuer"])
        owners = [address for role, address in header["accounts"].items() if role != "issuer"]
        first = json.loads(next(tape))
        resting = listed(first)
        parent_close_time = first["close_time"]
        tracked: dict[str, list[Decimal | None]] = {owner: [None, None] for owner in owners}
        trade_ids: Counter[str] = Counter()
        seen: Counter[str] = Counter()
        for line in tape:
            ledger = json.loads(line)
            for entry in ledger["transactions"]:
                for owner in owners:
                    if owner not in json.dumps(entry["meta"]):
                        continue
                    done = effects_of(
                        entry, owner, pair, parent_close_time=parent_close_time, ledger_index=ledger["ledger_index"]
                    )
                    track(resting, done, owner)
                    check_balances(tracked[owner], done)
                    fills = fills_of(done, named)
                    trade_ids.update(f"{owner} {fill.trade_id}" for fill in fills)
                    seen.update(f"{done.transaction_type} {fill.liquidity}" for fill in fills)
                    seen["several offers in one transaction"] += len(done.maker) > 1
                    seen["rest dropped"] += any(removal.why == "unfunded" for removal in done.removed)
            assert resting == listed(ledger), ledger["ledger_index"]
            parent_close_time = ledger["close_time"]
    assert set(trade_ids.values()) == {1}
    assert seen["OfferCreate maker"] > 500
    assert seen["Payment maker"] > 100  # payments hit offers as orders do
    assert seen["OfferCreate taker"] > 500
    assert seen["several offers in one transaction"] > 50
    assert seen["rest dropped"] == 1


def listed(ledger) -> dict[tuple[str, int], Decimal]:
    """The open offers as the node lists them: owner and number -> base left, expired and unfunded ones included."""
    return {
        (offer["Account"], offer["Sequence"]): Decimal(offer[field]) / 1_000_000
        for side, field in (("asks", "TakerGets"), ("bids", "TakerPays"))
        for offer in ledger[side]
    }


def check_balances(tracked: list[Decimal | None], done: Effects) -> None:
    """The first balance shown is where tracking starts; every later one must be where it has got to."""
    start = [NOTHING if amount is None else amount for amount in tracked]
    reached = after(*start, done)
    for i, shown in enumerate((done.base_after, done.quote_after)):
        if tracked[i] is not None:
            tracked[i] = reached[i]
            assert shown is None or shown == reached[i], done
        elif shown is not None:
            tracked[i] = shown


# Rounding, whatever the amounts

ROUND_TO_LEDGER = Context(prec=16)
balances = st.decimals(min_value="0.000001", max_value="1000000000", places=9)
quotes = st.lists(st.decimals(min_value="0.00001", max_value="100000", places=10), min_size=1, max_size=4)


@given(balances, quotes, st.sampled_from(["ask", "bid"]))
def test_given_any_balance_that_rounds_when_hit_then_fills_add_up_to_its_change_to_the_digit(held, amounts, side):
    held = ROUND_TO_LEDGER.plus(held) + (sum(amounts) if side == "bid" else 0)
    held = ROUND_TO_LEDGER.plus(held)
    left = held
    for amount in amounts:
        left = ROUND_TO_LEDGER.add(left, amount if side == "ask" else -amount)
    done = effects_of(hits_of(side, amounts, held, left), "rUs", USD, parent_close_time=None, ledger_index=9)
    fills = fills_of(done, named)
    sign = -1 if side == "bid" else 1
    assert not done.funds_moved
    assert sum(sign * fill.quote for fill in fills) == left - held
    assert sum(fill.base for fill in fills) == len(amounts)
    assert all(fill.base > 0 and fill.quote > 0 for fill in fills)
    assert all(len(f"{amount:f}") <= 40 for fill in fills for amount in (fill.base, fill.quote, fill.price))


def test_given_a_trade_that_no_balance_can_show_when_hit_then_the_balance_is_to_be_stated():
    held = Decimal("1000000000")
    done = effects_of(hits_of("ask", [Decimal("1e-7")], held, held), "rUs", USD, parent_close_time=None, ledger_index=9)
    assert done.funds_moved
    assert done.base_after == 49
    (fill,) = fills_of(done, named)
    assert fill.quote == Decimal("1e-7")


def hits_of(side: str, amounts: list[Decimal], held: Decimal, left: Decimal):
    """One transaction of somebody else that trades one XRP with each of our offers."""

    def usd(value: Decimal, issuer: str = USD.quote.issuer) -> dict[str, str]:
        return {"currency": "USD", "issuer": issuer, "value": f"{value}"}

    token, xrp = ("TakerPays", "TakerGets") if side == "ask" else ("TakerGets", "TakerPays")
    nodes: list[dict] = [
        {
            "DeletedNode": {
                "LedgerEntryType": "Offer",
                "FinalFields": {"Account": "rUs", "Sequence": number, token: usd(NOTHING), xrp: "0"},
                "PreviousFields": {token: usd(amount), xrp: "1000000"},
            }
        }
        for number, amount in enumerate(amounts, start=1)
    ]
    drops = 1_000_000 * len(amounts) * (1 if side == "bid" else -1)
    root = {"Account": "rUs", "Balance": str(50_000_000 + drops)}
    line = {
        "Balance": usd(left, "rrrrrrrrrrrrrrrrrrrrBZbvji"),
        "LowLimit": usd(NOTHING, "rUs"),
        "HighLimit": usd(NOTHING),
    }
    before = {"Balance": usd(held, "rrrrrrrrrrrrrrrrrrrrBZbvji")}
    nodes.append(entry_of("AccountRoot", root, {"Balance": "50000000"}))
    nodes.append(entry_of("RippleState", line, before if left != held else {}))
    meta = {"TransactionResult": "tesSUCCESS", "TransactionIndex": 0, "AffectedNodes": nodes}
    return {"hash": "A" * 64, "tx_json": {"Account": "rTaker", "TransactionType": "Payment"}, "meta": meta}


def entry_of(entry_type: str, final: dict, previous: dict) -> dict:
    return {"ModifiedNode": {"LedgerEntryType": entry_type, "FinalFields": final, "PreviousFields": previous}}


# What cannot be read


@pytest.mark.parametrize(
    ("path", "junk"),
    [
        (("hash",), "A1A1"),
        (("tx_json", "Account"), None),
        (("tx_json", "TransactionType"), 7),
        (("tx_json", "Sequence"), "9"),
        (("tx_json", "Fee"), 10),
        (("meta", "AffectedNodes", 0), {"CreatedNode": {"LedgerEntryType": "Offer", "NewFields": {}}}),
    ],
)
def test_given_a_malformed_transaction_when_read_then_the_error_says_so(path, junk):
    entry = copy.deepcopy(RECORDED["s1_tx_bid_place"])
    node = entry
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = junk
    with pytest.raises(LedgerUnreadable, match=r"^transaction "):
        effects_of(entry, MAKER_1, RLUSD_1, parent_close_time=None)


def test_given_a_placed_offer_of_no_rate_when_read_then_the_error_says_so():
    entry = copy.deepcopy(RECORDED["s1_tx_bid_place"])
    for node in entry["meta"]["AffectedNodes"]:
        if "BookDirectory" in (fields := node.get("CreatedNode", {}).get("NewFields", {})):
            fields["BookDirectory"] = fields["BookDirectory"][:50] + "0" * 14
    with pytest.raises(LedgerUnreadable, match="a rate above zero"):
        effects_of(entry, MAKER_1, RLUSD_1, parent_close_time=None)


def test_given_a_tapes_transaction_when_its_ledger_is_not_said_then_the_error_asks_for_it():
    entry = {name: value for name, value in RECORDED["s1_tx_bid_place"].items() if name != "ledger_index"}
    entry["tx_json"] = {name: value for name, value in entry["tx_json"].items() if name != "ledger_index"}
    with pytest.raises(LedgerUnreadable, match="ledger_index"):
        effects_of(entry, MAKER_1, RLUSD_1, parent_close_time=None)
    assert effects_of(entry, MAKER_1, RLUSD_1, parent_close_time=None, ledger_index=15).ledger_index == 15
