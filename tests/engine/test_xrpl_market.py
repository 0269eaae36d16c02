from __future__ import annotations

import copy
import json
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine_proc.market import AmmPool, Level
from engine_proc.xrpl_market import (
    Asset,
    LedgerUnreadable,
    Pair,
    RawLedger,
    currency_code,
    pair_of,
    read_levels,
    read_market,
    read_pool,
)
from shared.errors import ConfigError

DATA = Path(__file__).parents[1] / "data"
THIRD_PARTY = Path(__file__).parents[2].parent / "shared" / "xrpl_data"
PIECES = json.loads((DATA / "node_pieces.json").read_text())

ISSUER = "rMxCKbEDwqr76QuheSUMdEGf4B9xJ8m5De"
RLUSD = "524C555344000000000000000000000000000000"
PAIR = pair_of("XRP/RLUSD", ISSUER)
MAKER = "rMaker"


def rlusd(value: object) -> dict[str, str]:
    return {"currency": RLUSD, "issuer": ISSUER, "value": str(value)}


def ask(drops: int, quality: str, account: str = MAKER, **fields: object) -> dict[str, object]:
    pays = Decimal(drops) * Decimal(quality)
    return {"Account": account, "TakerGets": str(drops), "TakerPays": rlusd(pays), "quality": quality, **fields}


def bid(value: str, quality: str, account: str = MAKER, **fields: object) -> dict[str, object]:
    drops = int(Decimal(value) * Decimal(quality))
    return {"Account": account, "TakerGets": rlusd(value), "TakerPays": str(drops), "quality": quality, **fields}


def ledger(*, asks=(), bids=(), amm_info=None, close_time: int = 1_000) -> RawLedger:
    return RawLedger(7, close_time, list(asks), list(bids), amm_info, [])


def third_party(name: str):
    path = THIRD_PARTY / name
    if not path.exists():
        pytest.skip(f"{name} is not beside this checkout")
    return json.loads(path.read_text())


# Currencies and pairs


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("RLUSD", RLUSD),
        ("USD", "USD"),
        ("usd", "usd"),  # three-letter codes are case-sensitive
        (RLUSD.lower(), RLUSD),
        ("0000000000000000000000005553440000000000", "USD"),  # the ledger shows this one by its letters
    ],
)
def test_given_a_currency_name_when_coded_then_it_is_written_as_the_ledger_does(name, code):
    assert currency_code(name) == code


@pytest.mark.parametrize("name", ["", "AB", "123456789012345678901", "EURØ", "A\nCD"])
def test_given_no_currency_name_when_coded_then_config_error_names_it(name):
    with pytest.raises(ConfigError, match="currency"):
        currency_code(name)


@pytest.mark.parametrize("name", ["XRP/XRP", "USD/EUR", "RLUSD", "XRP", "/XRP/XRP", ""])
def test_given_a_pair_without_exactly_one_xrp_when_named_then_config_error(name):
    with pytest.raises(ConfigError, match="XRP"):
        pair_of(name, ISSUER)


# Price and size of an offer


def test_given_an_ask_and_a_bid_when_read_then_both_are_quote_per_base():
    view = read_market(
        ledger(asks=[ask(1_500_000_000, "0.0000013100")], bids=[bid("1300", "769230.7692307692")]),
        PAIR,
        ts_ns=1,
        stale_after_ms=1,
    )
    assert view.asks == (Level(1.31, 1500.0),)
    assert view.bids == (Level(pytest.approx(1.3, rel=1e-15), 999.999999),)
    assert view.status == "OK"
    assert view.mid == pytest.approx(1.305)
    assert view.ledger_index == 7


def test_given_xrp_as_quote_when_read_then_prices_are_xrp_per_token():
    inverse = pair_of("RLUSD/XRP", ISSUER)
    sells_rlusd, buys_rlusd = bid("1000", "800000"), ask(700_000_000, "0.00000142857")
    levels = ledger(asks=[sells_rlusd], bids=[buys_rlusd])
    assert read_levels(levels, inverse, "ask") == (Level(0.8, 1000.0),)
    assert read_levels(levels, inverse, "bid") == (Level(pytest.approx(0.70000070), pytest.approx(999.999)),)


def test_given_a_rest_of_one_drop_when_priced_then_its_rate_counts_and_not_its_amounts():
    # A sweep left this on mainnet (ledger 104552601): one drop for 3e-14, a ratio of 0.00000003 a unit.
    rest = ask(1, "0.00000130618") | {"TakerPays": rlusd("0.00000000000003")}
    assert read_levels(ledger(asks=[rest]), PAIR, "ask") == (Level(1.30618, 1e-06),)


def test_given_scientific_notation_when_read_then_it_is_a_number_like_any_other():
    asks = [ask(1_000_000, "1310000000000000e-21", TakerPays=rlusd("1310000000000000e-15"))]
    assert read_levels(ledger(asks=asks), PAIR, "ask") == (Level(1.31, 1.0),)


def test_given_two_owners_at_one_price_when_read_then_one_level_holds_both():
    asks = [ask(1_000_000, "0.0000013"), ask(2_500_000, "0.0000013", "rOther"), ask(1_000_000, "0.0000014")]
    assert read_levels(ledger(asks=asks), PAIR, "ask") == (Level(1.3, 3.5), Level(1.4, 1.0))


def test_given_our_own_account_excluded_when_read_then_only_the_others_remain():
    asks = [ask(1_000_000, "0.0000013", "rOurs"), ask(2_000_000, "0.0000014")]
    assert read_levels(ledger(asks=asks), PAIR, "ask", {"rOurs"}) == (Level(1.4, 2.0),)


def test_given_expirations_around_the_close_time_when_read_then_only_the_later_one_lives():
    asks = [
        ask(1_000_000, "0.0000013", Expiration=999),
        ask(1_000_000, "0.0000014", Expiration=1_000),
        ask(1_000_000, "0.0000015", Expiration=1_001),
    ]
    assert read_levels(ledger(asks=asks), PAIR, "ask") == (Level(1.5, 1.0),)


def test_given_unknown_fields_when_read_then_they_are_ignored():
    asks = [ask(1_000_000, "0.0000013", DomainID="AA", AdditionalBooks=[{"Book": None}], later=float("nan"))]
    assert len(read_levels(ledger(asks=asks), PAIR, "ask")) == 1


# Funds


def test_given_the_recorded_underfunded_book_when_read_then_the_second_bid_is_what_the_node_says():
    recorded = PIECES["book_underfunded"]
    pair = pair_of("XRP/RLUSD", recorded["bids"][0]["TakerGets"]["issuer"])
    expected = (Level(2.0, 30_000.0), Level(pytest.approx(1.935483870967742), pytest.approx(20_715.233333, abs=1e-6)))
    assert read_levels(ledger(bids=recorded["bids"]), pair, "bid") == expected
    # ... and also from the owner's funds alone, where a node does not spell it out
    for offer in (bids := copy.deepcopy(recorded["bids"])):
        offer.pop("taker_gets_funded", None)
        offer.pop("taker_pays_funded", None)
    assert read_levels(ledger(bids=bids), pair, "bid") == expected


def test_given_zero_funded_offers_when_read_then_they_are_not_there():
    asks = [
        ask(1_000_000, "0.0000013", owner_funds="0", taker_gets_funded="0"),
        ask(1_000_000, "0.0000014", "rOther", taker_gets_funded="0"),
    ]
    bids = [bid("10", "700000", taker_gets_funded=rlusd("0"))]
    view = read_market(ledger(asks=asks, bids=bids), PAIR, ts_ns=1, stale_after_ms=1)
    assert (view.status, view.mid, view.clob_ask) == ("EMPTY", None, None)


def test_given_an_expired_better_offer_when_read_then_it_takes_none_of_its_owners_funds():
    asks = [
        ask(1_000_000, "0.0000013", Expiration=1, owner_funds="1500000"),
        ask(1_200_000, "0.0000014"),
        ask(1_000_000, "0.0000015"),
    ]
    assert read_levels(ledger(asks=asks), PAIR, "ask") == (Level(1.4, 1.2), Level(1.5, 0.3))


def test_given_the_issuers_own_offers_when_read_then_each_is_good_for_its_whole_size():
    bids = [
        bid("100", "700000", ISSUER, owner_funds="100"),
        bid("300", "800000", ISSUER, owner_funds="300"),
    ]
    assert read_levels(ledger(bids=bids), PAIR, "bid")[1].size == pytest.approx(240.0)


def test_given_the_node_says_less_than_the_funds_when_read_then_the_smaller_wins():
    # With a transfer fee the owner's funds cover less than their face value, which only the node accounts for.
    bids = [bid("100", "1000000", owner_funds="100", taker_gets_funded=rlusd("99.8"))]
    assert read_levels(ledger(bids=bids), PAIR, "bid") == (Level(1.0, 99.8),)


# The pool

AMM = {"amount": "2000000000", "amount2": rlusd("2600"), "trading_fee": 267, "asset2_frozen": False}


@pytest.mark.parametrize(
    "amm_info",
    [
        AMM,
        {"amm": AMM, "validated": True},
        AMM | {"amount": AMM["amount2"], "amount2": AMM["amount"]},  # the order is not guaranteed
    ],
)
def test_given_a_pool_in_any_shape_when_read_then_reserves_and_fee_are_in_units(amm_info):
    assert read_pool(ledger(amm_info=amm_info), PAIR) == AmmPool(2_000.0, 2_600.0, 0.00267)


@pytest.mark.parametrize(
    "amm_info",
    [
        None,
        {"error": "actNotFound", "status": "error"},
        AMM | {"asset2_frozen": True},
        AMM | {"asset_frozen": True},
        AMM | {"amount": "0"},
        AMM | {"amount2": rlusd("0")},
    ],
)
def test_given_no_pool_to_trade_with_when_read_then_none(amm_info):
    assert read_pool(ledger(amm_info=amm_info), PAIR) is None


def test_given_recorded_amm_answers_when_read_then_spot_is_theirs():
    pair = pair_of("XRP/RLUSD", PIECES["amm_info"]["amm"]["amount2"]["issuer"])
    pool = read_pool(ledger(amm_info=PIECES["amm_info_after"]), pair)
    assert pool == AmmPool(9591.724714, 22970.54135162701, 0.003)
    assert pool.spot == pytest.approx(2.3948, abs=1e-4)


# What cannot be read


@pytest.mark.parametrize(
    ("change", "field", "found"),
    [
        ({"TakerGets": None}, "TakerGets", "None"),
        ({"TakerGets": 12.5}, "TakerGets", "12.5"),
        ({"TakerGets": "12.5"}, "TakerGets", "'12.5'"),
        ({"TakerGets": "-1"}, "TakerGets", "'-1'"),
        ({"TakerGets": rlusd(1)}, "TakerGets", RLUSD),
        ({"TakerPays": rlusd("NaN")}, "TakerPays", "'NaN'"),
        ({"TakerPays": rlusd("Infinity")}, "TakerPays", "'Infinity'"),
        ({"TakerPays": rlusd("1_0")}, "TakerPays", "'1_0'"),
        ({"TakerPays": rlusd("-1")}, "TakerPays", "'-1'"),
        ({"TakerPays": rlusd("1e400")}, "TakerPays", "'1e400'"),
        ({"TakerPays": rlusd("1") | {"issuer": "rOther"}}, "TakerPays", "rOther"),
        ({"quality": None}, "quality", "None"),
        ({"quality": "0"}, "quality", "'0'"),
        ({"quality": "1e-400"}, "quality", "'1e-400'"),
        ({"quality": 1.3}, "quality", "1.3"),
        ({"Account": 5}, "Account", "5"),
        ({"Expiration": "soon"}, "Expiration", "'soon'"),
        ({"Expiration": True}, "Expiration", "True"),
        ({"owner_funds": "much"}, "owner_funds", "'much'"),
        ({"taker_gets_funded": 0}, "taker_gets_funded", "0"),
    ],
)
def test_given_a_malformed_offer_when_read_then_the_error_names_ledger_field_and_value(change, field, found):
    good = ask(1_000_000, "0.0000013")
    with pytest.raises(LedgerUnreadable) as caught:
        read_levels(ledger(asks=[good, good | change]), PAIR, "ask")
    assert caught.value.field == field
    assert f"ledger 7 asks[1]: {field}:" in str(caught.value)
    assert found in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "amm_info",
    [
        "pool",
        {},
        {"amm": None},
        {"error": "noNetwork"},
        AMM | {"trading_fee": None},
        AMM | {"trading_fee": 1001},
        AMM | {"amount": "1.5"},
        AMM | {"amount2": rlusd("-1")},
        AMM | {"amount2": "5"},
        AMM | {"asset2_frozen": "no"},
    ],
)
def test_given_a_malformed_pool_when_read_then_the_error_names_the_ledger(amm_info):
    with pytest.raises(LedgerUnreadable, match="ledger 7 amm_info: "):
        read_pool(ledger(amm_info=amm_info), PAIR)


@pytest.mark.parametrize("offers", [None, {"offers": []}, "none", [3]])
def test_given_no_list_of_offers_when_read_then_the_error_says_so(offers):
    with pytest.raises(LedgerUnreadable, match=r"ledger 7: bids: expected a list|ledger 7 bids\[0\]: offer: "):
        read_levels(RawLedger(7, 1, [], offers, None, []), PAIR, "bid")


# Properties


DROPS = st.integers(1, 10**12)
QUALITIES = st.integers(1_000_000, 2_000_000).map(lambda n: f"0.{n:012d}")  # 1.000000 .. 2.000000 RLUSD an XRP
OFFER = st.tuples(st.sampled_from(["rA", "rB", "rC"]), DROPS, QUALITIES, st.booleans())
BOOK = st.lists(OFFER, max_size=12)
FUNDS = st.fixed_dictionaries({owner: st.integers(0, 10**12) for owner in ("rA", "rB", "rC")})


def asks_of(book, funds) -> list[dict[str, object]]:
    """A book as a node lists it: best first, the owner's funds on its best offer only."""
    asks = [
        ask(drops, quality, owner, **({"Expiration": 1} if expired else {}))
        for owner, drops, quality, expired in sorted(book, key=lambda offer: Decimal(offer[2]))
    ]
    named: set[object] = set()
    for offer in asks:
        if offer["Account"] not in named:
            named.add(offer["Account"])
            offer["owner_funds"] = str(funds[offer["Account"]])
    return asks


@given(book=BOOK, funds=FUNDS)
def test_given_any_asks_when_read_then_no_owner_sells_more_than_it_has(book, funds):
    levels = read_levels(ledger(asks=asks_of(book, funds)), PAIR, "ask")
    takeable = 0
    for owner, has in funds.items():
        offered = sum(drops for account, drops, _, expired in book if account == owner and not expired)
        takeable += min(has, offered)
    assert sum(round(level.size * 1_000_000) for level in levels) == takeable


@given(book=st.lists(st.tuples(st.sampled_from(["rA", "rB"]), st.integers(1, 10**9), st.integers(5, 10)), max_size=12))
def test_given_any_bids_when_read_then_no_owner_spends_more_than_it_has(book):
    funds = {"rA": Decimal("1234567.5"), "rB": Decimal("0.25")}
    bids = [
        bid(str(value), f"{quality}00000", owner, owner_funds=str(funds[owner]))
        for owner, value, quality in sorted(book, key=lambda offer: offer[2])
    ]
    levels = read_levels(ledger(bids=bids), PAIR, "bid")
    spent = sum(level.size * level.price for level in levels)
    assert spent <= float(sum(funds.values())) * (1 + 1e-12)


@given(book=BOOK, funds=FUNDS, seed=st.randoms(use_true_random=False))
def test_given_any_order_of_listing_when_read_then_the_best_price_comes_first_on_both_sides(book, funds, seed):
    offers = asks_of(book, funds)
    seed.shuffle(offers)
    as_bids = [bid("10", str(i + 5) + "00000", f"r{i}") for i in range(5)]
    seed.shuffle(as_bids)
    ask_prices = [level.price for level in read_levels(ledger(asks=offers), PAIR, "ask")]
    bid_prices = [level.price for level in read_levels(ledger(bids=as_bids), PAIR, "bid")]
    assert ask_prices == sorted(set(ask_prices))
    assert bid_prices == [2.0, 10 / 6, 10 / 7, 1.25, 10 / 9]


@given(book=BOOK, funds=FUNDS, times=st.integers(2, 1000))
def test_given_all_amounts_multiplied_when_read_then_sizes_are_too_and_prices_stay(book, funds, times):
    small = read_levels(ledger(asks=asks_of(book, funds)), PAIR, "ask")
    book_large = [(owner, drops * times, quality, expired) for owner, drops, quality, expired in book]
    funds_large = {owner: has * times for owner, has in funds.items()}
    large = read_levels(ledger(asks=asks_of(book_large, funds_large)), PAIR, "ask")
    assert [level.price for level in large] == [level.price for level in small]
    assert [level.size for level in large] == pytest.approx([level.size * times for level in small], rel=1e-14)


# Other people's recordings


def test_given_the_documentations_book_when_read_then_its_funded_size_counts():
    issuer = "rvYAfWj5gh67oV6fW32ZzP3Aw4Eubs59B"
    pair = Pair(Asset("EUR", issuer), Asset("USD", issuer))
    books = [block["result"]["offers"] for block in third_party("dev_portal/book_offers.json") if "result" in block]
    assert len(books) == 3
    first = read_levels(ledger(asks=books[0]), pair, "ask")
    assert first[0] == Level(1.511056473200875, 17.90363633316433)
    funded = [offer["taker_gets_funded"]["value"] for offer in books[2] if "taker_gets_funded" in offer]
    whole = [offer["TakerGets"]["value"] for offer in books[2] if "taker_gets_funded" not in offer]
    assert funded
    levels = read_levels(ledger(asks=books[2]), pair, "ask")
    assert sum(level.size for level in levels) == pytest.approx(float(sum(map(Decimal, funded + whole))))


def test_given_rippleds_recorded_books_when_read_then_both_sides_are_oriented_by_quality():
    pair = pair_of("XRP/USD", "rp8rJYTpodf8qbSCHVTNacf8nSW8mRakFw")
    asks = third_party("xrpl_js/rippled__bookOffersXrpUsd.json")["result"]["offers"]
    bids = third_party("xrpl_js/rippled__bookOffersUsdXrp.json")["result"]["offers"]
    assert read_levels(ledger(asks=asks), pair, "ask") == (Level(3970260734451929e-23, 254_391_353.0),)
    # That offer's amounts were edited by hand; its quality and its BookDirectory still say 78.009 drops per USD.
    assert read_levels(ledger(bids=bids), pair, "bid") == (Level(1_000_000 / 78.0093458738806, 134.0),)


def test_given_the_documentations_pool_when_read_then_spot_and_fee_are_right():
    block = next(block for block in third_party("dev_portal/amm_info.json") if "result" in block)
    pool = read_pool(ledger(amm_info=block["result"]), pair_of("XRP/TST", "rP9jPyP5kyvFRb6ZiRghAGw5u8SGAmU4bd"))
    assert pool == AmmPool(296.890496, 25.81656470648473, 0.006)
