"""Orders are counted, fills are added up digit for digit, and an older engine's silence is not taken for calm."""

from __future__ import annotations

import pytest

from shared.errors import IntegrityError
from telemetry_proc.reading import reading
from telemetry_proc.sessions import pick
from telemetry_proc.trading import money, orders
from tests.data.make_legacy import unpacked
from tests.telemetry.recorded_session import calm_then_drag, insert, opened, store_session


@pytest.fixture
def conn(tmp_path):
    with opened(tmp_path / "kedge.db") as conn:
        yield conn


def fill(conn, **values):
    seq = conn.execute("SELECT count(*) FROM fills").fetchall()[0][0]
    insert(conn, "fills", **{"session_id": 1, "seq": seq, "side": "bid", "liquidity": "maker"} | values)


def test_given_a_session_that_tripped_when_counted_then_nothing_was_submitted_after_it(conn):
    store_session(conn, calm_then_drag())
    tick = 82

    found = orders(conn, 1, tick)

    assert found.orders_recorded
    assert (found.submitted, found.submitted_after_trip, found.rejected) == (77, 0, 0)
    assert orders(conn, 1, None).submitted_after_trip is None
    assert orders(conn, 1, tick - 1).submitted_after_trip == 1


def test_given_fills_when_added_up_then_no_digit_is_lost(conn):
    store_session(conn, [])
    for _ in range(10):
        fill(conn, base_amount="0.1", quote_amount="0.13")
    fill(conn, side="ask", liquidity="taker", base_amount="0.30000000000000001", quote_amount="1e3")

    found = money(conn, pick(conn, "1"))

    assert (found.fills_recorded, found.fills, found.maker_fills) == (True, 11, 10)
    assert (found.base_bought, found.quote_paid, found.base_sold, found.quote_received) == (1.0, 1.3, 0.3, 1000.0)
    assert (found.base, found.quote) == ("XRP", "RLUSD")


def test_given_our_session_without_a_trade_when_added_up_then_none_is_what_was_traded(conn):
    store_session(conn, [1.0, None], quoting=False)

    counted, added = orders(conn, 1, None), money(conn, pick(conn, "1"))

    assert (counted.orders_recorded, counted.submitted) == (True, 0)
    assert (added.fills_recorded, added.fills, added.base_bought) == (True, 0, 0.0)


@pytest.mark.parametrize("upgraded", [False, True])
def test_given_a_session_of_the_older_engine_when_added_up_then_it_is_not_recorded(tmp_path, upgraded):
    path = unpacked("before_anchor_error.db", tmp_path / "old.db")
    with opened(path) if upgraded else reading(path) as conn:
        counted, added = orders(conn, 7, None), money(conn, pick(conn, "7"))

    assert not counted.orders_recorded
    assert counted.submitted is counted.cancel_sent is counted.rejected is counted.submitted_after_trip is None
    assert counted.denials_on_record_by_reason == {}
    assert not added.fills_recorded
    assert added.fills is added.maker_fills is added.base_bought is added.quote_received is None


def test_given_a_session_without_uid_when_rows_carry_its_number_then_they_are_on_record(conn):
    insert(conn, "sessions", session_id=1)
    insert(conn, "order_events", session_id=1, seq=0, tick=1, event="submitted")
    fill(conn, base_amount="2", quote_amount="3")

    assert (orders(conn, 1, 1).orders_recorded, orders(conn, 1, 1).submitted) == (True, 1)
    assert money(conn, pick(conn, "1")).fills == 1


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"side": "up", "base_amount": "1", "quote_amount": "1"}, "side holds 'up'"),
        ({"base_amount": None, "quote_amount": "1"}, "base_amount holds None"),
        ({"base_amount": "1", "quote_amount": "NaN"}, "quote_amount holds 'NaN'"),
        ({"base_amount": "ten", "quote_amount": "1"}, "base_amount holds 'ten'"),
    ],
)
def test_given_a_fill_that_is_none_when_added_up_then_no_conclusion_is_drawn(conn, values, complaint):
    store_session(conn, [])
    fill(conn, **values)

    with pytest.raises(IntegrityError, match=complaint):
        money(conn, pick(conn, "1"))
