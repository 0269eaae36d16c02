"""Sequences and tickets: never one number for two transactions, and no gap that stays."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine_proc.xrpl_numbers import TICKETS_MAX, Number, next_number, tickets_wanted


def sequences(*values):
    return [Number(value) for value in values]


def several(count, sequence, taken=(), **account):
    """As a venue does it: each number is taken before the next one is asked for."""
    taken, given_out = list(taken), []
    for _ in range(count):
        number = next_number(sequence, taken, **account)
        given_out.append(number)
        taken += [number] if number else []
    return given_out


@pytest.mark.parametrize(
    ("number", "fields"),
    [(Number(7), {"Sequence": 7}), (Number(7, ticket=True), {"Sequence": 0, "TicketSequence": 7})],
)
def test_given_a_number_when_written_then_a_ticket_leaves_the_sequence_at_zero(number, fields):
    assert number.fields() == fields


def test_given_nothing_under_way_when_asked_then_the_accounts_own_sequence_is_next():
    assert several(3, 10) == sequences(10, 11, 12)


def test_given_transactions_under_way_when_asked_then_their_numbers_are_counted():
    assert several(2, 10, sequences(10, 11)) == sequences(12, 13)


def test_given_a_transaction_that_turned_out_impossible_when_asked_then_its_gap_is_closed_first():
    assert several(3, 10, sequences(11, 12)) == sequences(10, 13, 14)


def test_given_a_used_sequence_when_its_transaction_is_looked_up_then_the_number_stays_taken_until_the_end_is_known():
    """The answer was tefPAST_SEQ: at first its transaction is pending, at last the account says who used the number."""
    assert next_number(10, sequences(10)) == Number(11)
    assert next_number(10, []) == Number(10), "it passed its last ledger, and nobody used the number"
    assert next_number(12, []) == Number(12), "somebody else used it, and one more"


def test_given_an_old_number_still_taken_when_asked_then_the_accounts_sequence_rules():
    assert next_number(20, sequences(10, 11)) == Number(20)


def test_given_tickets_when_asked_then_they_go_first_in_the_order_in_which_the_ledger_runs_them():
    held = (9, 5, 7)

    given_out = several(4, 30, tickets=held)

    assert given_out == [Number(5, ticket=True), Number(7, ticket=True), Number(9, ticket=True), Number(30)]


def test_given_a_ticket_create_under_way_when_asked_then_no_sequence_behind_it_is_guessed():
    create = Number(30)

    assert next_number(30, [create], ticket_create=create) is None
    assert next_number(30, [create], tickets=[8], ticket_create=create) == Number(8, ticket=True)


def test_given_a_gap_before_a_ticket_create_when_asked_then_the_gap_is_closed_so_that_it_can_run():
    create = Number(12)

    assert several(3, 10, [Number(10), create], ticket_create=create) == [Number(11), None, None]


@given(
    st.integers(1, 50),
    st.sets(st.integers(1, 70)),
    st.sets(st.integers(1, 49)),
    st.integers(1, 20),
)
def test_given_any_account_when_numbers_are_given_out_then_none_is_twice_and_no_gap_is_left(
    sequence, busy, tickets, count
):
    tickets = {ticket for ticket in tickets if ticket < sequence}
    taken = [Number(value, ticket=value in tickets) for value in busy]

    given_out = several(count, sequence, taken, tickets=tickets)

    values = [number.value for number in given_out]
    assert len(set(values) | busy) == count + len(busy)
    assert {n.value for n in given_out if n.ticket} <= tickets
    highest = max((n.value for n in given_out if not n.ticket), default=sequence - 1)
    assert set(range(sequence, highest + 1)) <= set(values) | busy
    assert all(n.value >= sequence for n in given_out if not n.ticket)


@pytest.mark.parametrize(
    ("stock", "tickets", "taken", "wanted"),
    [
        (0, (), [], 0),  # sequences only
        (10, (), [], 10),
        (10, range(10), [], 0),
        (10, range(6), [], 0),  # more than half
        (10, range(5), [], 5),
        (10, range(10), [Number(n, ticket=True) for n in range(5)], 5),  # under way is as good as used
        (10, range(10), sequences(90, 91), 0),
        (200, range(250), [Number(n, ticket=True) for n in range(200)], 0),  # the account can hold no more
        (200, range(150), [Number(n, ticket=True) for n in range(100)], 100),
        (200, range(200), [Number(n, ticket=True) for n in range(150)], 50),
    ],
)
def test_given_a_stock_when_it_is_half_gone_then_it_is_filled_within_the_limit(stock, tickets, taken, wanted):
    assert tickets_wanted(stock, tickets, taken) == wanted


@given(st.integers(0, 200), st.integers(0, TICKETS_MAX), st.integers(0, TICKETS_MAX))
def test_given_any_stock_when_filled_then_the_account_holds_no_more_than_it_may(stock, held, used):
    wanted = tickets_wanted(stock, range(held), [Number(n, ticket=True) for n in range(used)])

    assert 0 <= wanted <= TICKETS_MAX - held
    assert wanted <= stock
