"""The rules of the double that the recordings show only once or not at all (XRPL.md A6, A7)."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xrpl.core.addresscodec import encode_classic_address

from tests.xrpl.ledger import Ledger
from tests.xrpl.ledger_amounts import XRP, Issue, rate_value
from tests.xrpl.ledger_offers import TF_FILL_OR_KILL, TF_IMMEDIATE_OR_CANCEL, TF_PASSIVE, TF_SELL
from tests.xrpl.ledger_payments import TF_LIMIT_QUALITY, TF_PARTIAL
from tests.xrpl.ledger_pool import Side, swap_in
from tests.xrpl.ledger_seed import impose
from tests.xrpl.ledger_state import (
    LINE_RESERVE,
    Entries,
    Key,
    Line,
    Offer,
    Root,
    State,
    Ticket,
    has_flag,
    held,
    line_of,
)

CURRENCY = "524C555344000000000000000000000000000000"
RLUSD = Issue(CURRENCY, encode_classic_address(bytes([1] * 20)))
ISSUER, MAKER, TAKER, OTHER = (encode_classic_address(bytes([n] * 20)) for n in range(1, 5))
DROPS, TOKENS = 10_000_000_000, Decimal(10_000)
FREEZE, GLOBAL_FREEZE = 0x0010_0000, 7


def network(**options: Any) -> Ledger:
    """A maker, a taker and another, each with XRP and the issuer's currency."""
    ledger = Ledger(**options)
    ledger.fund(ISSUER, DROPS)
    for address in (MAKER, TAKER, OTHER):
        ledger.fund(address, DROPS)
        ledger.trust(address, ISSUER, CURRENCY)
        ledger.issue(ISSUER, address, CURRENCY, TOKENS)
    ledger.close()
    return ledger


def token(value: object) -> dict[str, str]:
    return {"currency": CURRENCY, "issuer": ISSUER, "value": str(value)}


def ask(account: str, xrp: object, price: object, **fields: Any) -> dict[str, Any]:
    """Sell so much XRP at a price."""
    pays = token((Decimal(str(xrp)) * Decimal(str(price))).normalize())
    return {
        "TransactionType": "OfferCreate",
        "Account": account,
        "TakerGets": str(int(Decimal(str(xrp)) * 1_000_000)),
        "TakerPays": pays,
        **fields,
    }


def bid(account: str, xrp: object, price: object, **fields: Any) -> dict[str, Any]:
    """Buy so much XRP at a price."""
    offer = ask(account, xrp, price, **fields)
    return offer | {"TakerGets": offer["TakerPays"], "TakerPays": offer["TakerGets"]}


def offers(ledger: Ledger, account: str) -> list[Offer]:
    return [entry for entry in ledger.state.entries.values() if isinstance(entry, Offer) and entry.account == account]


def holds(ledger: Ledger, account: str) -> tuple[int, Decimal]:
    line = line_of(ledger.state.entries, account, RLUSD)
    return ledger.state.root(account).balance_drops, held(line, account)


def test_given_an_own_offer_in_the_way_when_crossing_then_it_is_deleted_whole_and_nothing_trades() -> None:
    ledger = network()
    assert ledger.apply(bid(MAKER, 100, "2.00")) == "tesSUCCESS"
    before = holds(ledger, MAKER)
    assert ledger.apply(ask(MAKER, 1, "1.90")) == "tesSUCCESS"
    assert [offer.sequence for offer in offers(ledger, MAKER)] == [ledger.state.root(MAKER).sequence - 1]
    assert holds(ledger, MAKER) == (before[0] - 10, before[1])


def test_given_a_bid_when_a_passive_ask_meets_its_price_then_both_rest_and_a_better_one_trades() -> None:
    ledger = network()
    ledger.apply(bid(MAKER, 10, "2.00"))
    ledger.apply(ask(TAKER, 10, "2.00", Flags=TF_PASSIVE))
    assert len(offers(ledger, MAKER)) == len(offers(ledger, TAKER)) == 1
    ledger.apply(ask(OTHER, 4, "1.99", Flags=TF_PASSIVE | TF_SELL))
    assert [offer.pays for offer in offers(ledger, MAKER)] == [Decimal(6_000_000)]
    assert offers(ledger, OTHER) == []
    assert holds(ledger, OTHER)[1] == TOKENS + 8  # at the resting price, not at its own


def test_given_a_replacement_when_it_is_killed_then_the_old_offer_stays() -> None:
    ledger = network()
    ledger.apply(ask(MAKER, 10, "2.00"))
    (old,) = offers(ledger, MAKER)
    killed = ask(MAKER, 10, "1.50", Flags=TF_FILL_OR_KILL, OfferSequence=old.sequence)
    assert ledger.apply(killed) == "tecKILLED"
    ledger.close()
    assert [offer.sequence for offer in offers(ledger, MAKER)] == [old.sequence]
    assert ledger.apply(ask(MAKER, 10, "2.10", OfferSequence=old.sequence)) == "tesSUCCESS"
    assert [offer.sequence for offer in offers(ledger, MAKER)] == [old.sequence + 2]
    assert ledger.state.root(MAKER).owner_count == 2


def test_given_an_offer_to_be_cancelled_that_is_not_older_when_submitted_then_it_is_malformed() -> None:
    ledger = network()
    sequence = ledger.state.root(MAKER).sequence
    assert ledger.apply(ask(MAKER, 1, 2, OfferSequence=sequence)) == "temBAD_SEQUENCE"
    cancel = {"TransactionType": "OfferCancel", "Account": MAKER, "OfferSequence": sequence}
    assert ledger.apply(cancel) == "temBAD_SEQUENCE"
    assert ledger.apply(cancel | {"OfferSequence": sequence - 1}) == "tesSUCCESS"


def test_given_a_seller_when_the_book_pays_more_then_only_tf_sell_takes_more_than_it_asked_for() -> None:
    for flags, sold in ((0, Decimal("9.5")), (TF_SELL, Decimal(10))):
        ledger = network()
        ledger.apply(bid(MAKER, 100, "2.00"))
        ledger.apply(ask(TAKER, 10, "1.90", Flags=flags | TF_IMMEDIATE_OR_CANCEL))
        assert holds(ledger, MAKER)[0] == DROPS - 10 + int(sold * 1_000_000)


def test_given_an_expiration_when_the_close_time_reaches_it_then_it_is_dead_but_listed_until_hit() -> None:
    ledger = network()
    close_time = ledger.close_time
    assert ledger.apply(ask(MAKER, 1, 2, Expiration=close_time)) == "tecEXPIRED"
    assert ledger.apply(ask(MAKER, 1, 2, Expiration=close_time + 1)) == "tesSUCCESS"
    ledger.close(close_time + 1)
    assert len(offers(ledger, MAKER)) == 1
    assert ledger.apply(bid(TAKER, 1, 3, Flags=TF_IMMEDIATE_OR_CANCEL)) == "tecKILLED"
    ledger.close()
    assert offers(ledger, MAKER) == []
    assert ledger.state.root(MAKER).owner_count == 1


def test_given_too_little_xrp_when_offering_then_nothing_rests_unless_something_was_crossed() -> None:
    ledger = network()
    poor = encode_classic_address(bytes([9] * 20))
    ledger.fund(poor, 1_200_010)
    ledger.trust(poor, ISSUER, CURRENCY)
    ledger.issue(ISSUER, poor, CURRENCY, Decimal(10))
    assert ledger.apply(bid(poor, 1, 2)) == "tecINSUF_RESERVE_OFFER"
    ledger.apply(ask(MAKER, 1, 2))
    assert ledger.apply(bid(poor, 2, 2)) == "tesSUCCESS"
    assert offers(ledger, poor) == []
    assert holds(ledger, poor)[1] == 8


def test_given_a_tick_size_when_offering_then_the_rate_is_rounded_for_the_placer() -> None:
    ledger = network()
    assert ledger.apply({"TransactionType": "AccountSet", "Account": ISSUER, "TickSize": 6}) == "tesSUCCESS"
    ledger.apply(ask(MAKER, 1000, "2.2134567891234"))
    ledger.apply(ask(MAKER, 1000, "2.2134567891234", Flags=TF_SELL))
    kept, sold = sorted(offers(ledger, MAKER), key=lambda offer: offer.sequence)
    assert (kept.gets, kept.pays) == (Decimal(999_998_549), Decimal("2213.4567891234"))
    assert (sold.gets, sold.pays) == (Decimal(1_000_000_000), Decimal("2213.46"))


def test_given_freezes_when_offering_then_sales_look_unfunded_and_a_global_one_stops_all() -> None:
    ledger = network()
    freeze = {"TransactionType": "TrustSet", "Account": ISSUER, "Flags": FREEZE}
    freeze["LimitAmount"] = {"currency": CURRENCY, "issuer": MAKER, "value": "0"}
    assert ledger.apply(freeze) == "tesSUCCESS"
    assert ledger.apply(bid(MAKER, 1, 2)) == "tecUNFUNDED_OFFER"
    assert ledger.apply(ask(MAKER, 1, 2)) == "tesSUCCESS"
    assert ledger.apply({"TransactionType": "AccountSet", "Account": ISSUER, "SetFlag": GLOBAL_FREEZE}) == "tesSUCCESS"
    assert ledger.apply(ask(TAKER, 1, 2)) == "tecFROZEN"


def test_given_a_gap_when_submitting_then_it_is_held_and_applied_once_the_gap_is_filled() -> None:
    ledger = network()
    sequence = ledger.state.root(MAKER).sequence
    ahead, first = ask(MAKER, 1, 2, Sequence=sequence + 1), ask(MAKER, 1, 3, Sequence=sequence)
    assert ledger.apply(ahead) == "terPRE_SEQ"
    ledger.close()
    assert ledger.apply(first) == "tesSUCCESS"
    assert ledger.apply(first) == "tefALREADY"
    assert ledger.apply(ask(MAKER, 1, 4, Sequence=sequence)) == "tefPAST_SEQ"
    ledger.close()
    assert {offer.sequence for offer in offers(ledger, MAKER)} == {sequence, sequence + 1}
    assert ledger.apply(first) == "tefPAST_SEQ"


def test_given_a_last_ledger_when_it_has_passed_then_neither_a_new_nor_a_held_one_applies() -> None:
    ledger = network()
    sequence, last = ledger.state.root(MAKER).sequence, ledger.validated_index + 1
    assert ledger.apply(ask(MAKER, 1, 2, Sequence=sequence + 1, LastLedgerSequence=last)) == "terPRE_SEQ"
    assert ledger.apply(ask(MAKER, 1, 3, LastLedgerSequence=last - 1)) == "tefMAX_LEDGER"
    ledger.close()
    assert ledger.apply(ask(MAKER, 1, 3)) == "tesSUCCESS"
    assert len(offers(ledger, MAKER)) == 1


def test_given_tickets_when_used_then_in_any_order_and_after_the_sequences_of_the_ledger() -> None:
    ledger = network()
    sequence = ledger.state.root(MAKER).sequence
    assert ledger.apply({"TransactionType": "TicketCreate", "Account": MAKER, "TicketCount": 3}) == "tesSUCCESS"
    ledger.close()
    assert ledger.apply(ask(MAKER, 1, 2, TicketSequence=sequence + 3)) == "tesSUCCESS"
    assert ledger.apply(ask(MAKER, 1, 3, TicketSequence=sequence + 1)) == "tesSUCCESS"
    assert ledger.apply(ask(MAKER, 1, 4)) == "tesSUCCESS"
    assert ledger.apply(ask(MAKER, 1, 5, TicketSequence=sequence + 9)) == "terPRE_TICKET"
    ledger.close()
    done = ledger.history.newest.transactions
    numbers = [one.transaction.get("TicketSequence", one.transaction["Sequence"]) for one in done]
    assert numbers == [sequence + 4, sequence + 1, sequence + 3]
    assert ledger.apply(ask(MAKER, 1, 6, TicketSequence=sequence + 1)) == "tefNO_TICKET"
    assert ledger.state.root(MAKER).ticket_count == 1


def test_given_load_when_paying_the_base_fee_then_the_open_ledger_refuses_it() -> None:
    ledger = network()
    ledger.load_factor = 3
    assert ledger.apply(ask(MAKER, 1, 2, Fee="10")) == "telINSUF_FEE_P"
    assert ledger.apply(ask(MAKER, 1, 2)) == "tesSUCCESS"


@pytest.mark.parametrize(
    ("network_id", "named", "result"),
    [
        (0, 0, "telNETWORK_ID_MAKES_TX_NON_CANONICAL"),
        (63456, 7, "telWRONG_NETWORK"),
        (0, None, "tesSUCCESS"),
        (63456, 63456, "tesSUCCESS"),
    ],
)
def test_given_a_network_id_when_submitting_then_it_must_fit(network_id: int, named: int | None, result: str) -> None:
    fields = {} if named is None else {"NetworkID": named}
    assert network(network_id=network_id).apply(ask(MAKER, 1, 2, **fields)) == result


def test_given_a_payment_across_when_it_fills_an_offer_then_both_balances_move_and_the_rest_is_refused() -> None:
    ledger = network()
    ledger.apply(ask(MAKER, 10, 2))
    pay = {
        "TransactionType": "Payment",
        "Account": TAKER,
        "Destination": TAKER,
        "Amount": "20000000",
        "SendMax": token(40),
    }
    assert ledger.apply(pay) == "tecPATH_PARTIAL"
    partial = pay | {"Flags": TF_PARTIAL | TF_LIMIT_QUALITY}
    assert ledger.apply(partial | {"DeliverMin": "11000000"}) == "tecPATH_PARTIAL"
    assert ledger.apply(partial | {"SendMax": token(39)}) == "tecPATH_DRY"
    assert ledger.apply(partial) == "tesSUCCESS"
    assert holds(ledger, MAKER) == (DROPS - 10 - 10_000_000, TOKENS + 20)
    assert holds(ledger, TAKER) == (DROPS - 4 * 10 + 10_000_000, TOKENS - 20)


def test_given_the_pool_of_mainnet_when_swapped_then_what_comes_out_is_what_came_out_there() -> None:
    """XRPL.md A3, transaction 61A90642."""
    pool = Side("", Decimal(1_902_973_249_475), XRP, Decimal("2489679.162590297"), RLUSD, Decimal("0.0026704"))
    assert abs(swap_in(pool, Decimal(778_024_929)) - Decimal("1014.76590051")) < Decimal("0.0001")


def test_given_a_limit_beyond_the_pool_when_taken_then_the_average_meets_it_and_the_spot_is_past_it() -> None:
    ledger = network()
    ledger.create_pool(OTHER, 1_000_000_000, ISSUER, CURRENCY, Decimal(2000))
    before = holds(ledger, TAKER)
    ledger.apply(bid(TAKER, 1000, "2.10", Flags=TF_IMMEDIATE_OR_CANCEL))
    after = holds(ledger, TAKER)
    average = (before[1] - after[1]) / Decimal(after[0] - before[0] + 10) * 1_000_000
    assert abs(average - Decimal("2.10")) < Decimal("0.000001")
    pool = ledger.answer({"command": "amm_info", "asset": {"currency": "XRP"}, "asset2": token(0)})["amm"]
    spot = Decimal(pool["amount2"]["value"]) / Decimal(pool["amount"]) * 1_000_000
    assert Decimal("2.19") < spot < Decimal("2.20")


takers = st.sampled_from((MAKER, TAKER, OTHER))
placed = st.tuples(
    takers,
    st.sampled_from((ask, bid)),
    st.decimals("0.000001", "3000", places=6),
    st.decimals("1.90", "2.10", places=4),
    st.sampled_from((0, TF_PASSIVE, TF_SELL, TF_IMMEDIATE_OR_CANCEL, TF_FILL_OR_KILL, TF_SELL | TF_FILL_OR_KILL)),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(placed, max_size=25), st.booleans())
def test_given_any_orders_when_closed_then_nothing_is_made_or_lost_and_metadata_tells_it_all(
    orders: list[tuple[Any, ...]], pool: bool
) -> None:
    ledger = network()
    if pool:
        ledger.create_pool(ISSUER, 1_000_000_000, ISSUER, CURRENCY, Decimal(2000))
        ledger.close()
    before = State(ledger.state.entries)
    for account, kind, xrp, price, flags in orders:
        ledger.apply(kind(account, xrp, price, Flags=flags))
    ledger.close()
    after, done = ledger.state, ledger.history.newest.transactions
    assert drops_in(after.entries) == drops_in(before.entries) - 10 * len(done)
    assert tokens_in(after.entries) == pytest.approx(tokens_in(before.entries), rel=Decimal("1E-14"))
    for entry in after.entries.values():
        if isinstance(entry, Root):
            assert entry.owner_count == sum(
                1 for key in after.owned.get(entry.address, ()) if counts(key, entry, after)
            )
        if isinstance(entry, Offer):
            assert min(entry.gets, entry.pays) > 0
    best_ask, best_bid = after.best(XRP, RLUSD), after.best(RLUSD, XRP)
    # An offer of a few drops cannot trade at its own rate in whole drops: a taker of a slightly worse price leaves it.
    if best_ask is not None and best_bid is not None and min(best_ask.gets, best_bid.pays) >= 1_000_000:
        assert rate_value(best_ask.rate) * rate_value(best_bid.rate) > 1 - Decimal("1E-14"), "the book is crossed"
    for one in done:
        impose(before, one.meta)
    assert unthreaded(before.entries) == unthreaded(after.entries)


def drops_in(entries: Entries) -> int:
    return sum(entry.balance_drops for entry in entries.values() if isinstance(entry, Root))


def tokens_in(entries: Entries) -> Decimal:
    lines = [entry for entry in entries.values() if isinstance(entry, Line) and ISSUER in (entry.low, entry.high)]
    return sum((-held(line, ISSUER) for line in lines), Decimal(0))


def counts(key: Key, root: Root, state: State) -> bool:
    """Whether an object is in its owner's reserve: a trust line is if that side needs it, a pool itself never is."""
    entry = state.entries[key]
    return has_flag(entry, root.address, LINE_RESERVE) if isinstance(entry, Line) else isinstance(entry, Offer | Ticket)


def unthreaded(entries: Entries) -> dict[Key, Any]:
    return {
        key: entry._replace(thread=("", 0), **({"order": 0} if isinstance(entry, Offer) else {}))
        for key, entry in entries.items()
    }
