"""How the account stands: what bars it, what is locked, what a transaction costs."""

from __future__ import annotations

from decimal import Decimal

import pytest

from engine_proc.xrpl_ports import ClosedLedger
from engine_proc.xrpl_reads import NO_TRANSFER_FEE, AccountState, Issuer, ListedOffer, NetworkFee, TrustLine
from engine_proc.xrpl_standing import Standing, bar, fee_needed_drops, reserve_base

LEDGER = ClosedLedger(100, 1_000, 0, 0, 10, 1_000_000, 200_000, "AB" * 32)
LINE = TrustLine(Decimal(100), Decimal(10**9), frozen=False, deep_frozen=False, authorized=False)
ISSUER = Issuer(None, NO_TRANSFER_FEE, global_freeze=False, require_auth=False)


def standing(*, line: TrustLine | None = LINE, issuer: Issuer = ISSUER, owned: int = 3, offers=()) -> Standing:
    return Standing(LEDGER, AccountState(100, 10**9, owned, 500, line, tuple(offers)), issuer, ())


@pytest.mark.parametrize(
    ("line", "issuer", "word"),
    [
        (LINE, ISSUER, None),
        (None, ISSUER, "NO_TRUST_LINE"),
        (LINE._replace(frozen=True), ISSUER, "FROZEN"),
        (LINE._replace(deep_frozen=True), ISSUER, "FROZEN"),
        (LINE, ISSUER._replace(global_freeze=True), "FROZEN"),
        (LINE, ISSUER._replace(require_auth=True), "NOT_AUTHORIZED"),
        (LINE._replace(authorized=True), ISSUER._replace(require_auth=True), None),
        (LINE, ISSUER._replace(transfer_rate=1_002_000_000), "TRANSFER_FEE"),
        (LINE, ISSUER._replace(tick_size=5), "TICK_SIZE"),
        (LINE, ISSUER._replace(tick_size=6), None),
    ],
)
def test_given_a_line_and_an_issuer_when_judged_then_the_word_for_what_bars_us(line, issuer, word):
    assert bar(standing(line=line, issuer=issuer)) == word


@pytest.mark.parametrize(
    ("fee", "drops"),
    [
        (NetworkFee(10, 10, 1.0), 10),
        (NetworkFee(10, 5_000, 1.0), 5_000),  # the open ledger is full
        (NetworkFee(10, 10, 1.25), 13),  # the server is loaded: never a drop too little
        (NetworkFee(10, 10, 0.5), 10),
        (NetworkFee(0, 0, 1.0), 1),  # a private network may ask for nothing, a transaction names something
    ],
)
def test_given_what_the_network_asks_when_a_fee_is_set_then_enough_and_no_more(fee, drops):
    assert fee_needed_drops(fee) == drops


def test_given_objects_when_the_reserve_is_counted_then_all_of_them_one_more_and_a_fee():
    assert reserve_base(standing(owned=7), 100) == Decimal("2.6001")  # 1 + 8 * 0.2 + 0.0001


def test_given_offers_when_their_time_is_compared_then_the_close_time_itself_is_over():
    offers = [ListedOffer(n, "bid", Decimal(1), Decimal(1), ends) for n, ends in enumerate((999, 1_000, 1_001, None))]

    assert [offer.sequence for offer in standing(offers=offers).live_offers()] == [2, 3]
    assert standing(offers=offers).dead_offers() == (0, 1)
