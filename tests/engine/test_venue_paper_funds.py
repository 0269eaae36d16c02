"""What an order needs to be placed, to rest and to fill: funds, reserve, fee, and amounts the ledger can hold."""

from __future__ import annotations

from decimal import Decimal

import pytest

from engine_proc.holdings import Outcome
from engine_proc.paper_matching import quote_of
from engine_proc.ports import Plan
from engine_proc.venue_paper import PaperVenue
from shared.errors import ConfigError
from shared.settings import Paper
from tests.engine.paper_market import FEE, QUANTA, bought, filled, fills, money, order, sold, venue_with, view
from tests.engine.venue_contract import outcomes, remaining_at


@pytest.mark.parametrize(("side", "quote"), [("bid", "16112.4690009249"), ("ask", "16112.4690009250")])
def test_given_a_product_of_more_than_15_digits_when_rounded_then_in_favour_of_our_own_limit(side, quote) -> None:
    assert money("1.30511") * money("12345.678909") == money("16112.46900092499")  # the exact product
    assert quote_of(side, money("1.30511"), 12_345_678_909) == money(quote)


class TestFundsAndReserve:
    def test_given_less_quote_than_the_bid_costs_when_it_is_hit_then_the_funded_part_fills_and_the_rest_is_deleted(
        self,
    ) -> None:
        venue = venue_with(order("b1", "bid", "1.30000"), quote_balance=money("130"))
        assert remaining_at(venue) == {"b1": money("200")}
        reports = venue.reports(view(sold(1.29, 150.0)))

        assert filled(reports, "b1") == 100
        assert outcomes(reports, "b1") == [("cancelled", "unfunded")]
        assert venue.truth().quote == 0
        assert venue.truth().orders == {}

    def test_given_two_bids_that_share_funds_when_both_are_hit_then_the_print_goes_on_to_whoever_can_pay(self) -> None:
        venue = venue_with(order("b1", "bid", "1.30000"), order("b2", "bid", "1.29900"), quote_balance=money("260"))
        reports = venue.reports(view(sold(1.29, 300.0)))

        assert filled(reports, "b1") == 200
        assert outcomes(reports, "b2") == [("cancelled", "unfunded")]

    def test_given_base_only_for_the_reserve_when_an_ask_is_placed_then_unfunded(self) -> None:
        venue = PaperVenue(Paper(base_balance=money("1.2")), **QUANTA)
        venue.submit(Plan(place=(order("a1", "ask", "1.30600"),)))

        assert outcomes(venue.reports(view()), "a1") == [("rejected", "tecUNFUNDED_OFFER")]
        assert venue.truth().base == money("1.2") - FEE

    def test_given_an_ask_when_it_is_hit_then_the_reserve_is_not_for_sale(self) -> None:
        venue = venue_with(order("a1", "ask", "1.30600"), base_balance=money("101.4"))
        reports = venue.reports(view(bought(1.3065, 200.0)))

        assert filled(reports, "a1") == money("101.4") - FEE - money("1.4")  # account + trust line + the ask itself
        assert outcomes(reports, "a1") == [("cancelled", "unfunded")]

    def test_given_no_reserve_for_one_more_object_when_placed_then_refused_for_a_fee(self) -> None:
        venue = venue_with(order("b1", "bid", "1.30000"), base_balance=money("1.5"))
        venue.submit(Plan(place=(order("b2", "bid", "1.29000"),)))

        assert venue.reports(view()) == (Outcome("b2", "rejected", "tecINSUF_RESERVE_OFFER", FEE),)
        assert remaining_at(venue) == {"b1": money("200")}

    def test_given_no_reserve_when_a_replacement_frees_the_old_object_then_it_is_placed(self) -> None:
        venue = venue_with(order("b1", "bid", "1.30000"), base_balance=money("1.5"))
        venue.submit(Plan(replace=(order("b2", "bid", "1.29000", replaces="b1"),)))
        venue.reports(view())

        assert remaining_at(venue) == {"b2": money("200")}

    def test_given_no_reserve_when_the_order_took_something_then_it_stands_without_a_remainder(self) -> None:
        venue = PaperVenue(Paper(base_balance=money("1.3")), **QUANTA)
        venue.submit(Plan(place=(order("b1", "bid", "1.30700"),)))
        reports = venue.reports(view(asks=((1.307, 50.0),)))

        assert filled(reports, "b1") == 50
        assert outcomes(reports, "b1") == [("accepted", None), ("cancelled", "reserve")]

    def test_given_a_replacement_without_funds_when_refused_then_the_old_one_keeps_its_queue_and_its_size(self) -> None:
        venue = venue_with(order("a1", "ask", "1.30700"), quote_balance=money("0"))
        venue.submit(Plan(replace=(order("b1", "bid", "1.30000", replaces="a1"),)))
        reports = venue.reports(view())

        assert reports == (Outcome("b1", "rejected", "tecUNFUNDED_OFFER", FEE),)
        assert fills(venue.reports(view(bought(1.307, 1500.0))), "a1") == []
        assert filled(venue.reports(view(bought(1.307, 20.0))), "a1") == 20

    def test_given_a_taker_without_enough_quote_when_it_arrives_then_it_takes_what_it_can_pay_and_ends(self) -> None:
        venue = PaperVenue(Paper(quote_balance=money("130.7")), **QUANTA)
        venue.submit(Plan(place=(order("b1", "bid", "1.31000"),)))
        reports = venue.reports(view())

        assert filled(reports, "b1") == 100
        assert outcomes(reports, "b1") == [("accepted", None), ("cancelled", "unfunded")]
        assert venue.truth().quote == 0

    @pytest.mark.parametrize(
        ("price", "size"), [("1.304001", "200"), ("1.30400", "0.005"), ("0", "1"), ("-1", "1"), ("1", "0")]
    )
    def test_given_a_malformed_order_when_submitted_then_refused_without_a_fee(self, price: str, size: str) -> None:
        venue = PaperVenue(Paper(), **QUANTA)
        venue.submit(Plan(place=(order("b1", "bid", price, size),)))

        assert venue.reports(view()) == (Outcome("b1", "rejected", "temBAD_OFFER", Decimal(0)),)

    def test_given_an_account_that_cannot_pay_the_fee_when_anything_is_sent_then_nothing_happens_and_nothing_is_charged(
        self,
    ) -> None:
        venue = venue_with(order("b1", "bid", "1.30000"), fee_base=money("1"), base_balance=money("2.5"))
        venue.submit(Plan(place=(order("b2", "bid", "1.29000"),)))
        venue.submit(Plan(cancel=(order("b1", "bid", "1.30000"),)))
        venue.reports(view())
        left = venue.truth()
        assert left.base == money("0.5")  # b1's fee and the fee of b2's refusal, for want of reserve
        venue.submit(Plan(replace=(order("b3", "bid", "1.29000", replaces="b1"),)))
        reports = venue.reports(view())

        assert outcomes(reports, "b3") == [("rejected", "terINSUF_FEE_B")]
        assert venue.truth() == left

    @pytest.mark.parametrize(
        ("key", "paper", "quanta"),
        [
            ("execution.paper.fee_base", {"fee_base": money("0.0000001")}, {}),
            ("execution.paper.quote_balance", {"quote_balance": money("1e-16")}, {}),
            ("strategy.quote.size_quantum", {}, {"size_quantum": money("0.0000001")}),
            ("strategy.quote.price_quantum", {}, {"price_quantum": money("1e-10")}),
        ],
    )
    def test_given_a_setting_finer_than_the_ledger_when_composed_then_one_line_names_the_key(
        self, key, paper, quanta
    ) -> None:
        with pytest.raises(ConfigError, match=rf"^{key}: "):
            PaperVenue(Paper(**paper), **(QUANTA | quanta))
