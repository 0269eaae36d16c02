"""Our transactions: what the ledger reads in them is what we meant, and never worse for us."""

from __future__ import annotations

import json
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from xrpl.core.binarycodec import decode, encode

from engine_proc.holdings import Order
from engine_proc.xrpl_market import DROPS_PER_XRP, pair_of
from engine_proc.xrpl_numbers import Number
from engine_proc.xrpl_offers import (
    TF_PASSIVE,
    TF_SELL,
    Header,
    drops_of,
    offer_cancel,
    offer_create,
    ticket_create,
)

RECORDINGS = Path(__file__).parents[3] / "shared" / "xrpl_data" / "node_recordings"
ACCOUNT = "rHb9CJAWyB4rj91VRWn96DkukG4bwdtyTh"
PAIR = pair_of("XRP/RLUSD", "rMxCKbEDwqr76QuheSUMdEGf4B9xJ8m5De")
HEADER = Header(ACCOUNT, Number(7), 12, 1_000)

prices = st.decimals("0.000001", "999999", allow_nan=False, allow_infinity=False, places=9).filter(bool)
sizes = st.integers(1, 10**17).map(lambda drops: Decimal(drops) / DROPS_PER_XRP)


def order(side="ask", price="1.30005", size="1500"):
    return Order("s-1", side, 0, Decimal(price), Decimal(size), Decimal(size), "pending")


def create(order_, header=HEADER, **more):
    return offer_create(order_, PAIR, header, **{"expiration": 848390440, **more})


def signed(transaction):
    """As the codec wants it; the signature does not matter here."""
    return transaction | {"SigningPubKey": "02" + "AB" * 32, "TxnSignature": "30" * 70}


def quote_value(amount):
    assert (amount["currency"], amount["issuer"]) == PAIR.quote
    return Decimal(amount["value"])


# --- the shape


def test_given_an_ask_when_written_then_it_sells_its_xrp_and_takes_nothing_at_its_own_price():
    assert create(order("ask")) == {
        "TransactionType": "OfferCreate",
        "Account": ACCOUNT,
        "Fee": "12",
        "Sequence": 7,
        "LastLedgerSequence": 1_000,
        "Flags": TF_SELL | TF_PASSIVE,
        "TakerGets": "1500000000",
        "TakerPays": {"currency": PAIR.quote.currency, "issuer": PAIR.quote.issuer, "value": "1950.075"},
        "Expiration": 848390440,
    }


def test_given_a_bid_when_written_then_it_buys_its_xrp():
    transaction = create(order("bid"))

    assert transaction["Flags"] == TF_PASSIVE
    assert transaction["TakerPays"] == "1500000000"
    assert quote_value(transaction["TakerGets"]) == Decimal("1950.075")


def test_given_an_order_to_replace_when_written_then_the_old_offer_goes_in_the_same_transaction():
    assert create(order(), replaces_number=5)["OfferSequence"] == 5
    assert "OfferSequence" not in create(order())


def test_given_a_ticket_when_written_then_the_sequence_is_zero():
    transaction = create(order(), HEADER._replace(number=Number(44, ticket=True)))

    assert (transaction["Sequence"], transaction["TicketSequence"]) == (0, 44)


@pytest.mark.parametrize(
    ("network_id", "named"), [(0, None), (1, None), (1_024, None), (1_025, 1_025), (63_456, 63_456)]
)
def test_given_a_network_when_written_then_it_is_named_only_where_the_ledger_wants_it(network_id, named):
    header = HEADER._replace(network_id=network_id)

    for transaction in (create(order(), header), offer_cancel(5, header), ticket_create(3, header)):
        assert transaction.get("NetworkID") == named


def test_given_a_source_tag_when_written_then_it_is_on_everything_and_zero_is_a_tag():
    for tag in (0, 2**32 - 1):
        header = HEADER._replace(source_tag=tag)
        for transaction in (create(order(), header), offer_cancel(5, header), ticket_create(3, header)):
            assert transaction["SourceTag"] == tag
    assert "SourceTag" not in create(order())


def test_given_a_cancel_and_tickets_when_written_then_they_say_which_and_how_many():
    assert offer_cancel(5, HEADER) == {
        "TransactionType": "OfferCancel",
        "Account": ACCOUNT,
        "Fee": "12",
        "Sequence": 7,
        "LastLedgerSequence": 1_000,
        "OfferSequence": 5,
    }
    assert ticket_create(200, HEADER)["TicketCount"] == 200


def test_given_a_size_that_is_not_whole_drops_when_written_then_it_is_a_bug_of_ours():
    assert drops_of(Decimal("0.000001")) == 1
    for size in ("0.0000001", "1.0000001", "0", "-1"):
        with pytest.raises(AssertionError):
            drops_of(Decimal(size))


@pytest.mark.skipif(not RECORDINGS.is_dir(), reason="the recordings are not here")
@pytest.mark.parametrize(
    ("name", "side", "fields"),
    [
        ("tx_ask_place", "ask", set()),
        ("tx_bid_place", "bid", set()),
        ("tx_offer_by_ticket", None, {"TicketSequence"}),
        ("tx_replace_by_offersequence", None, {"OfferSequence"}),
    ],
)
def test_given_what_a_real_node_took_when_compared_then_ours_has_its_fields_and_no_unknown_one(name, side, fields):
    recorded = json.loads((RECORDINGS / "scenario1.json").read_text(encoding="utf-8"))[name]["submit"]["tx_json"]
    number = Number(recorded.get("TicketSequence", recorded["Sequence"]), ticket="TicketSequence" in recorded)
    header = Header(recorded["Account"], number, 10, 33, recorded["NetworkID"])

    ours = create(order(side or "ask"), header, replaces_number=recorded.get("OfferSequence"))

    known = {"SigningPubKey", "TxnSignature", "hash"}
    assert set(recorded) - known <= set(ours)
    assert set(ours) - set(recorded) <= {"Expiration", "Flags"}
    assert fields <= set(ours)
    if side:
        assert isinstance(recorded["TakerGets"], str) == isinstance(ours["TakerGets"], str)


# --- what the ledger reads


@given(st.sampled_from(["ask", "bid"]), prices, sizes, st.booleans(), st.integers(1, 2**32 - 1))
def test_given_any_order_when_encoded_and_decoded_then_the_ledger_reads_what_we_wrote(side, price, size, ticket, value):
    header = Header(ACCOUNT, Number(value, ticket), 12, 4_000_000_000, 63_456, 2**32 - 1)
    transaction = signed(create(Order("s-1", side, 0, price, size, size, "pending"), header, replaces_number=value))

    read = decode(encode(transaction))

    amounts = "TakerGets", "TakerPays"
    assert {k: v for k, v in read.items() if k not in amounts} == {
        k: v for k, v in transaction.items() if k not in amounts
    }
    for field in amounts:
        if isinstance(transaction[field], str):
            assert read[field] == transaction[field] == str(int(size * DROPS_PER_XRP))
        else:
            assert quote_value(read[field]) == quote_value(transaction[field])


@given(prices, sizes)
def test_given_any_order_when_written_then_its_price_is_never_worse_for_us_and_hardly_better(price, size):
    asked = Fraction(price)
    ask, bid = (create(Order("s-1", side, 0, price, size, size, "pending")) for side in ("ask", "bid"))

    got = Fraction(quote_value(ask["TakerPays"])) / Fraction(size)
    paid = Fraction(quote_value(bid["TakerGets"])) / Fraction(size)

    assert asked <= got <= asked * (1 + Fraction(1, 10**14))
    assert asked * (1 - Fraction(1, 10**14)) <= paid <= asked


@given(prices, sizes)
def test_given_any_order_when_written_then_no_amount_has_more_digits_than_every_node_keeps(price, size):
    for side in ("ask", "bid"):
        transaction = create(Order("s-1", side, 0, price, size, size, "pending"))
        amount = transaction["TakerPays"] if side == "ask" else transaction["TakerGets"]
        assert len(Decimal(amount["value"]).normalize().as_tuple().digits) <= 15
        assert "E" not in amount["value"]
