"""What the live venue does on a ledger where nothing goes wrong: terms, expiry, order, names, and what it refuses."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from xrpl.core.binarycodec import decode

from engine_proc.holdings import Fill, Outcome
from engine_proc.market import AmmPool
from engine_proc.ports import Plan, VenueUnreachable
from engine_proc.venue_xrpl import XrplVenue
from engine_proc.xrpl_market import pair_of
from engine_proc.xrpl_submissions import log_path, read_submissions
from shared.errors import ConfigError, FailSafeStop
from tests.engine.venue_contract import ASK, BID, SIZE, Book, order, outcomes, results
from tests.xrpl.ledger import Ledger
from tests.xrpl.venue_stage import (
    ADDRESS,
    ISSUER,
    OURS,
    PAIR,
    SIGNER,
    TAKER,
    VIEW,
    VenueStage,
    network,
    offer_create,
    usd,
)

XRP_RESERVE, OBJECT_RESERVE = Decimal(1), Decimal("0.2")


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[VenueStage]:
    with VenueStage(tmp_path, source_tag=77) as stage:
        stage.ledger()
        stage.venue.settle()
        yield stage


@pytest.fixture
def book(stage: VenueStage) -> Book:
    return Book(stage)


def fills(reports) -> list[Fill]:
    return [report for report in reports if isinstance(report, Fill)]


# On disk before on the wire


def test_given_an_order_when_a_node_hears_of_it_then_it_is_on_disk_already(stage, book):
    on_disk_then: list[set[str]] = []
    sent_then: list[str] = []

    def look_at_the_disk(command):
        if command["command"] == "submit":
            remembered = read_submissions(log_path(stage.directory, ADDRESS))
            on_disk_then.append({submission.blob for submission in remembered.pending.values()})
            sent_then.append(command["tx_blob"])

    stage.watched.door = look_at_the_disk
    book.send(place=[order("b1"), order("a1", "ask")])
    book.settle()

    assert len(sent_then) == 2
    assert all(blob in on_disk for blob, on_disk in zip(sent_then, on_disk_then, strict=True))


def test_given_an_order_when_sent_then_it_has_an_end_a_last_ledger_our_tag_and_the_passive_flag(stage, book):
    book.send(place=[order("b1"), order("a1", "ask")])
    bid, ask = (decode(submission.blob) for submission in stage.log.pending.values())

    for transaction in (bid, ask):
        assert transaction["LastLedgerSequence"] == stage.book.validated_index + 4
        assert transaction["Expiration"] == stage.book.close_time + 80
        assert (transaction["SourceTag"], transaction["NetworkID"]) == (77, 63456)
    assert (bid["Flags"], ask["Flags"]) == (0x00010000, 0x00090000)


# The dead man's switch


def close_until(stage: VenueStage, close_time: int) -> None:
    while stage.book.close_time < close_time:
        stage.close()


def test_given_an_order_near_its_end_when_reported_then_it_fades_and_its_replacement_lives_longer(stage, book):
    book.send(place=[order("b1")])
    book.settle()
    (first,) = (offer["expiration"] for offer in stage.offers().values())
    close_until(stage, first - 32)
    book.take(stage.venue.reports(VIEW))

    assert book.holdings.orders["b1"].state == "fading"
    book.send(replace=[order("b2", replaces="b1")])
    book.settle()
    (second,) = (offer["expiration"] for offer in stage.offers().values())
    assert second >= first + 32
    assert book.holdings.orders["b2"].state == "resting"
    book.agrees_with_truth()


def test_given_a_fading_order_whose_replacement_is_refused_when_reported_again_then_it_fades_again(stage, book):
    book.send(place=[order("b1")])
    book.settle()
    (ends,) = (offer["expiration"] for offer in stage.offers().values())
    stage.book.load_factor = 11  # above our cap
    close_until(stage, ends - 32)
    book.take(stage.venue.reports(VIEW))
    book.send(replace=[order("b2", replaces="b1")])
    stage.close()
    reports = book.take(stage.venue.reports(VIEW))

    assert outcomes(reports, "b2") == [("rejected", "FEE_ABOVE_CAP")]
    assert book.holdings.orders["b1"].state == "fading"
    book.agrees_with_truth()


def test_given_an_order_that_nobody_renews_when_its_time_comes_then_expired_once_and_no_taker_gets_it(stage, book):
    book.send(place=[order("b1"), order("a1", "ask")])
    book.settle()
    (ends,) = {offer["expiration"] for offer in stage.offers().values()}
    close_until(stage, ends)
    reports = book.take(stage.venue.reports(VIEW))

    assert outcomes(reports, "b1") == outcomes(reports, "a1") == [("expired", None)]
    assert len(stage.offers()) == 2  # listed, and dead
    assert stage.venue.truth().orders == {}
    stage.book.apply(offer_create(TAKER, "ask", "1.29", 100, 0x00020000))
    stage.close()
    assert fills(book.take(stage.venue.reports(VIEW))) == []
    book.agrees_with_truth()


def test_given_expired_offers_that_are_listed_when_placing_anew_then_they_are_swept_and_no_word_is_said_of_them(
    stage, book
):
    book.send(place=[order("b1"), order("a1", "ask")])
    book.settle()
    expired = set(stage.offers())
    close_until(stage, max(offer["expiration"] for offer in stage.offers().values()))
    book.take(stage.venue.reports(VIEW))
    book.send(place=[order("b2"), order("a2", "ask")])
    reports = book.settle()

    assert {report.order_id for report in reports} == {"b2", "a2"}
    assert len(stage.offers()) == 2
    assert expired.isdisjoint(stage.offers())
    book.agrees_with_truth()


# In which order


@pytest.mark.parametrize(("bid", "ask"), [("1.30700", "1.30900"), ("1.30100", "1.30300")], ids=["rising", "falling"])
def test_given_a_market_that_moves_through_our_quotes_when_replaced_then_none_of_ours_deletes_another(
    stage, book, bid, ask
):
    book.send(place=[order("b1"), order("a1", "ask")])
    book.settle()
    around = {"bids": ((float(bid) - 0.002, 1500.0),), "asks": ((float(ask) + 0.002, 1500.0),)}
    book.take(stage.ledger(**around))
    new = [order("b2", "bid", Decimal(bid), replaces="b1"), order("a2", "ask", Decimal(ask), replaces="a1")]
    book.send(replace=new if bid > "1.304" else new[::-1])  # the wrong way round
    reports = book.settle(**around)

    assert "own_cross" not in {report.reason for report in reports if isinstance(report, Outcome)}
    assert results(reports, "b2") == results(reports, "a2") == ["accepted"]
    book.agrees_with_truth()


def test_given_a_quote_of_ours_that_reaches_another_when_landed_then_the_other_is_gone_without_a_trade(stage, book):
    book.send(place=[order("b1")])
    book.settle()
    book.send(place=[order("a1", "ask", BID - Decimal("0.00001"))])
    reports = book.settle()

    assert outcomes(reports, "b1") == [("cancelled", "own_cross")]
    assert fills(reports) == []
    book.agrees_with_truth()


# Through book and pool


def test_given_a_price_through_book_and_pool_when_placed_then_one_taker_fill_at_the_average(stage, book):
    stage.book.create_pool(TAKER.address, 100_000_000_000, ISSUER.address, "USD", Decimal(130_900))
    pool = AmmPool(100_000.0, 130_900.0, 0.003)
    stage.ledger()
    book.send(place=[order("b1", price=Decimal("1.31800"))])
    reports = book.settle()

    (fill,) = fills(reports)
    assert fill.liquidity == "taker"
    assert fill.base == SIZE
    assert Decimal("1.307") <= fill.price < Decimal(str(pool.ask * 1.01))
    book.agrees_with_truth()


def test_given_a_payment_of_others_when_it_passes_through_our_offer_then_it_is_a_maker_fill(stage, book):
    book.send(place=[order("a1", "ask")])
    book.settle()
    payment = {
        "TransactionType": "Payment",
        "Account": TAKER.address,
        "Destination": TAKER.address,
        "Amount": str(50_000_000),
        "SendMax": usd(Decimal(100)),
    }
    assert stage.book.apply(payment) == "tesSUCCESS"
    reports = book.settle()

    (fill,) = fills(reports)
    assert (fill.order_id, fill.liquidity, fill.base, fill.price) == ("a1", "maker", 50, ASK)
    book.agrees_with_truth()


def test_given_funds_that_run_out_when_a_taker_comes_then_the_fill_is_told_and_the_rest_is_gone(stage, book):
    book.send(place=[order("b1")])
    book.settle()
    left = usd(stage.venue.truth().quote - 100)
    payment = {"TransactionType": "Payment", "Account": ADDRESS, "Destination": ISSUER.address, "Amount": left}
    assert stage.book.apply(payment) == "tesSUCCESS"
    stage.ledger()
    reports = stage.ledger(sold=((1.302, 200.0),))

    (fill,) = fills(reports)
    assert (fill.order_id, fill.quote) == ("b1", 100)
    assert fill.base < SIZE
    assert outcomes(reports, "b1") == [("cancelled", "unfunded")]
    assert stage.venue.truth() == (stage.venue.truth().base, 0, {})


# Terms


def test_given_our_orders_when_the_terms_are_read_then_the_reserve_counts_them_and_one_more(stage, book):
    reserve = XRP_RESERVE + 2 * OBJECT_RESERVE + Decimal("0.0001")  # the trust line, one more, and a fee at the cap
    assert stage.venue.terms.reserve_base == reserve
    book.send(place=[order("b1"), order("a1", "ask")])
    book.settle()
    assert stage.venue.terms.reserve_base == reserve + 2 * OBJECT_RESERVE


def test_given_load_below_the_cap_when_sent_then_the_fee_rises_with_it_and_is_counted(stage, book):
    stage.book.load_factor = 5
    stage.ledger()
    book.send(place=[order("b1")])
    reports = book.settle()

    (outcome,) = reports
    assert outcome.fee_base == Decimal("0.00005")
    book.agrees_with_truth()


def test_given_load_above_the_cap_when_sent_then_new_orders_are_refused_and_cancels_go_at_the_cap(stage, book):
    book.send(place=[order("b1")])
    book.settle()
    stage.book.load_factor = 11
    book.take(stage.ledger())
    assert stage.venue.terms.refusal == "FEE_ABOVE_CAP"

    book.send(replace=[order("b2", replaces="b1")], place=[order("a1", "ask")])
    reports = book.take(stage.venue.reports(VIEW))
    assert outcomes(reports, "b2") == outcomes(reports, "a1") == [("rejected", "FEE_ABOVE_CAP")]
    book.send(cancel=["b1"])
    (cancel,) = stage.log.pending.values()
    assert decode(cancel.blob)["Fee"] == "100"

    stage.book.load_factor = 1
    book.take(stage.ledger())  # the node takes it the second time that it comes
    assert outcomes(book.settle(), "b1") == [("cancelled", "requested")]
    assert stage.venue.terms.refusal is None
    book.agrees_with_truth()


def test_given_a_global_freeze_when_reported_then_new_orders_are_refused_and_what_rests_can_go(stage, book):
    book.send(place=[order("b1")])
    book.settle()
    freeze = {"TransactionType": "AccountSet", "Account": ISSUER.address, "SetFlag": 7}
    assert stage.book.apply(freeze) == "tesSUCCESS"
    stage.close()
    book.take(stage.venue.reports(VIEW))

    assert stage.venue.terms.refusal == "FROZEN"
    book.send(cancel=["b1"])
    stage.close()
    assert outcomes(book.take(stage.venue.reports(VIEW)), "b1") == [("cancelled", "requested")]


# Names


def test_given_offers_from_nowhere_when_starting_then_they_have_names_and_can_be_taken_away(stage):
    number = stage.book.state.root(ADDRESS).sequence
    assert stage.book.apply(offer_create(OURS, "bid", "1.2", 10)) == "tesSUCCESS"
    reports = stage.ledger()
    name = f"offer#{number}"

    assert [type(report) for report in reports] == [Outcome, Outcome]  # its fee; and no Expiration, so it fades
    assert set(stage.venue.truth().orders) == {name}
    stage.venue.submit(Plan(cancel=(order(name),)))
    assert outcomes(stage.ledger(), name) == [("cancelled", "requested")]
    assert stage.offers() == {}


def test_given_a_deposit_when_reported_then_it_is_no_fill_and_shows_as_a_difference(stage, book):
    payment = {"TransactionType": "Payment", "Account": TAKER.address, "Destination": ADDRESS, "Amount": "7000000"}
    assert stage.book.apply(payment) == "tesSUCCESS"

    assert book.take(stage.ledger()) == ()
    assert stage.venue.truth().base == book.holdings.base + 7


# Refusing to start, and to trade


def test_given_a_venue_that_only_reads_when_asked_to_trade_then_nothing_is_signed(stage):
    only = XrplVenue(
        stage.settings, PAIR, stage.link, SIGNER, stage.log, clock=stage.clock, stop=stage.stop, read_only=True
    )
    only.reports(VIEW)
    with pytest.raises(AssertionError, match="only reads"):
        only.submit(Plan(place=(order("b1"),)))
    assert stage.node.count("submit") == 0


def test_given_a_pair_whose_base_is_not_xrp_when_made_then_a_clear_refusal(stage):
    turned = pair_of("USD/XRP", ISSUER.address)
    with pytest.raises(ConfigError, match="trades XRP"):
        XrplVenue(stage.settings, turned, stage.link, SIGNER, stage.log, clock=stage.clock, stop=stage.stop)


def test_given_nothing_read_yet_when_the_truth_is_asked_for_then_nobody_knows(tmp_path):
    with VenueStage(tmp_path) as stage, pytest.raises(VenueUnreachable):
        stage.venue.truth()


def account_set(**fields):
    return {"TransactionType": "AccountSet", "Account": ISSUER.address} | fields


@pytest.mark.parametrize(
    ("transaction", "words"),
    [
        (account_set(SetFlag=7), "FROZEN"),
        (account_set(TransferRate=1_002_000_000), "TRANSFER_FEE"),
        (account_set(TickSize=5), "TICK_SIZE"),
        (
            {"TransactionType": "TrustSet", "Account": ISSUER.address, "Flags": 0x00100000, "LimitAmount": None},
            "FROZEN",
        ),
    ],
    ids=["global_freeze", "transfer_rate", "tick_size", "line_frozen"],
)
def test_given_an_issuer_that_bars_us_when_preparing_then_one_line_says_how(tmp_path, transaction, words):
    if "LimitAmount" in transaction:
        transaction = transaction | {"LimitAmount": usd(Decimal(0)) | {"issuer": ADDRESS}}
    with VenueStage(tmp_path) as stage:
        stage.venue.prepare()
        assert stage.book.apply(transaction) == "tesSUCCESS"
        stage.close()
        with pytest.raises(FailSafeStop, match=words) as refusal:
            stage.venue.prepare()
    assert "\n" not in str(refusal.value)


def test_given_no_trust_line_when_preparing_then_that_is_said(tmp_path):
    with VenueStage(tmp_path, network(our_usd=None)) as stage, pytest.raises(FailSafeStop, match="NO_TRUST_LINE"):
        stage.venue.prepare()


def test_given_an_account_that_nobody_funded_when_preparing_then_it_is_named(tmp_path):
    nobody = f"xrpl.account: {ADDRESS} does not exist"
    with VenueStage(tmp_path, Ledger(network_id=63456)) as stage, pytest.raises(ConfigError, match=nobody):
        stage.venue.prepare()
