"""What fills were worth a little later: by hand, against a plain loop, and read from a real database."""

from __future__ import annotations

import time
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import IntegrityError
from telemetry_proc.markouts import HORIZONS, Fills, Horizon, markouts, only, read_fills
from telemetry_proc.tick_columns import NOT_RECORDED, read_ticks
from tests.telemetry.made_fills import FIRST_LEDGER, LEDGER_NS, SECOND, fills, marked, ticks
from tests.telemetry.recorded_session import calm_then_drag, insert, opened, store_session

ONE, TWO, EIGHT, SIXTEEN, S5, S30, S60 = HORIZONS


def test_given_horizons_when_named_then_they_read_as_they_are_spoken():
    assert [horizon.name for horizon in HORIZONS] == [
        "1 ledger",
        "2 ledgers",
        "8 ledgers",
        "16 ledgers",
        "5 s",
        "30 s",
        "60 s",
    ]
    assert Horizon(1, "s").name == "1 s"


def test_given_a_buy_below_mid_when_the_mid_falls_then_capture_is_won_and_drift_lost():
    # Given: bought at 99.9 with mid 100; one ledger on the mid is 99.7, two ledgers on 99.8.
    found = marked(ticks([100.0, 99.7, 99.8]), [(1, "bid", 99.9, "10")])

    assert found.capture_bps == pytest.approx([10.0])
    assert found.drift_bps[ONE] == pytest.approx([-30.0])
    assert found.markout_bps[ONE] == pytest.approx([-20.0])
    assert found.markout_bps[TWO] == pytest.approx([-10.0])


def test_given_a_sale_above_mid_when_the_mid_falls_then_both_are_won():
    found = marked(ticks([100.0, 99.7]), [(1, "ask", 100.1, "10")])

    assert found.capture_bps == pytest.approx([10.0])
    assert found.drift_bps[ONE] == pytest.approx([30.0])
    assert found.markout_bps[ONE] == pytest.approx([40.0])


def test_given_a_null_mid_at_the_horizon_when_marked_then_the_next_one_counts_until_it_is_too_late():
    # Given: mids are missing one ledger on, and from two ledgers on for two more.
    found = marked(ticks([100.0, None, 99.0]), [(1, "bid", 100.0, "1")])
    late = marked(ticks([100.0, None, None, 99.0]), [(1, "bid", 100.0, "1")])

    assert found.markout_bps[ONE] == pytest.approx([-100.0])  # one ledger late is allowed
    assert np.isnan(late.markout_bps[ONE]).all()  # two are not
    assert late.markout_bps[TWO] == pytest.approx([-100.0])  # three for two: half the horizon late


@pytest.mark.parametrize(("length", "latest"), [(1, 2), (2, 3), (8, 12), (16, 24)])
def test_given_ledger_horizons_when_asked_then_half_the_horizon_or_one_ledger_may_be_lost(length, latest):
    # Given: no mid but the fill's own and one at `latest`, or one ledger behind it.
    in_time = marked(ticks([100.0, *[None] * (latest - 1), 101.0]), [(1, "bid", 100.0, "1")])
    too_late = marked(ticks([100.0, *[None] * latest, 101.0]), [(1, "bid", 100.0, "1")])

    assert in_time.markout_bps[Horizon(length, "ledgers")] == pytest.approx([100.0])
    assert np.isnan(too_late.markout_bps[Horizon(length, "ledgers")]).all()


@pytest.mark.parametrize(("second", "counts"), [(4.999, False), (5.0, True), (7.5, True), (7.501, False)])
def test_given_seconds_when_marked_then_the_mid_lies_between_the_horizon_and_half_of_it_more(second, counts):
    columns = ticks([100.0, 101.0], ts_ns=[SECOND, SECOND + int(second * SECOND)])

    found = marked(columns, [(1, "bid", 100.0, "1")])

    assert np.isnan(found.markout_bps[S5]).item() is not counts


def test_given_a_fill_near_the_end_when_marked_then_it_is_dropped_and_not_marked_at_the_last_mid():
    found = marked(ticks([100.0, 101.0, 102.0]), [(2, "bid", 101.0, "1"), (3, "bid", 102.0, "1")])

    assert np.isnan(found.markout_bps[ONE]).tolist() == [False, True]
    assert np.isnan(found.markout_bps[TWO]).all()
    assert np.isfinite(found.capture_bps).all()  # what it earned at once is known


def test_given_a_fill_without_a_mid_when_marked_then_nothing_about_it_is_known():
    found = marked(ticks([None, 100.0, 100.0]), [(1, "bid", 99.0, "1")])

    assert np.isnan(found.capture_bps).all()
    assert all(np.isnan(found.markout_bps[horizon]).all() for horizon in HORIZONS)


def test_given_ledgers_with_a_gap_when_marked_then_ledgers_count_and_not_rows():
    # Given: three ledgers are missing behind the fill's.
    columns = ticks([100.0, 104.0, 105.0, 108.0], ledgers=[10, 14, 15, 18])

    found = marked(columns, [(1, "bid", 100.0, "1")])

    assert found.ledger_clock == "ledgers"
    assert np.isnan(found.markout_bps[TWO]).all()  # four ledgers late
    assert found.markout_bps[EIGHT] == pytest.approx([800.0])


def test_given_a_market_without_ledgers_when_marked_then_ticks_count():
    columns = ticks([100.0, 101.0, 102.0], ledgers=[None, 7, None])

    found = marked(columns, [(1, "bid", 100.0, "1")])

    assert found.ledger_clock == "ticks"
    assert found.markout_bps[TWO] == pytest.approx([200.0])


def test_given_a_fill_whose_tick_is_missing_when_marked_then_time_still_tells_but_ledgers_do_not():
    columns = ticks([100.0, 101.0, 102.0], numbers=[1, 3, 4])
    fill = fills(columns, [(3, "bid", 100.0, "1")])._replace(tick=np.array([2]), ts_ns=np.array([2 * LEDGER_NS]))

    found = markouts(columns, fill)

    assert np.isnan(found.markout_bps[ONE]).all()
    assert np.isnan(found.markout_bps[S5]).all()  # 4 s are too soon, 8 s too late
    on_time = markouts(columns, fill._replace(ts_ns=np.array([2 * LEDGER_NS - SECOND])))
    assert on_time.markout_bps[S5] == pytest.approx([1e4 * (101 - 100) / 101])


def test_given_a_clock_that_stepped_back_when_marked_then_no_mid_from_before_the_fill_is_taken():
    # Given: tick 1 claims a time far ahead; the fill is on tick 2.
    soon = ticks([50.0, 100.0, 101.0, 102.0], ts_ns=[6 * SECOND, 0, 3 * SECOND, 6 * SECOND])
    late = ticks([50.0, 100.0, 101.0], ts_ns=[6 * SECOND, 0, 6 * SECOND])

    assert np.isnan(marked(soon, [(2, "bid", 100.0, "1")]).markout_bps[S5]).all()  # dropped, not guessed
    assert marked(late, [(2, "bid", 100.0, "1")]).markout_bps[S5] == pytest.approx([100.0])
    assert marked(soon, [(2, "bid", 100.0, "1")]).markout_bps[ONE] == pytest.approx([100.0])


def test_given_errors_when_a_fill_is_reported_then_it_stands_on_the_last_error_before_its_tick():
    columns = ticks([100.0] * 5, [1.0, 2.0, None, 4.0, 5.0])

    found = marked(columns, [(1, "bid", 100.0, "1"), (2, "bid", 100.0, "1"), (4, "ask", 100.0, "1")])

    assert np.isnan(found.error_bps[0])  # nothing stands before the first tick
    assert found.error_bps[1:].tolist() == [1.0, 2.0]


def test_given_no_rows_at_all_when_marked_then_fills_are_known_and_unmarked():
    columns = ticks([])
    none = fills(ticks([100.0]), [(1, "bid", 100.0, "1")])

    found = markouts(columns, none)

    assert found.capture_bps.tolist() == [0.0]
    assert np.isnan(found.markout_bps[ONE]).all()
    assert np.isnan(found.error_bps).all()


def test_given_fills_when_only_some_are_taken_then_every_array_is_cut_alike():
    found = marked(ticks([100.0, 101.0, 102.0]), [(1, "bid", 100.0, "1"), (2, "ask", 101.0, "2")])

    second = only(found, found.tick > 1)

    assert second.tick.tolist() == [2]
    assert second.quote_amount.tolist() == [Decimal(2)]
    assert second.markout_bps[ONE] == pytest.approx(found.markout_bps[ONE][1:])


@st.composite
def _sessions(draw):
    n = draw(st.integers(2, 40))
    mids = draw(st.lists(st.none() | st.floats(90, 110), min_size=n, max_size=n))
    steps = draw(st.lists(st.integers(1, 20), min_size=n, max_size=n))
    ledgers = draw(st.lists(st.integers(1, 4), min_size=n, max_size=n))
    made = draw(
        st.lists(
            st.tuples(st.integers(1, n), st.sampled_from(["bid", "ask"]), st.floats(90, 110), st.just("1.5")),
            max_size=20,
        )
    )
    columns = ticks(mids, ts_ns=np.cumsum(steps) * SECOND, ledgers=FIRST_LEDGER + np.cumsum(ledgers))
    return columns, made


@given(_sessions())
def test_given_any_session_when_marked_then_it_is_what_a_plain_loop_finds(session):
    columns, made = session
    found = marked(columns, made)

    for at, (tick, side, price, _) in enumerate(made):
        sign, row = (1 if side == "bid" else -1), tick - 1
        mid = columns.mid[row]
        for horizon in HORIZONS:
            clock = columns.ts_ns if horizon.unit == "s" else columns.ledger_index
            later = next(
                (
                    (mid_later, passed)
                    for mid_later, passed in zip(columns.mid[row + 1 :], clock[row + 1 :] - clock[row], strict=True)
                    if passed >= horizon.soonest and not np.isnan(mid_later)
                ),
                None,
            )
            markout = found.markout_bps[horizon][at]
            if np.isnan(mid) or later is None or later[1] > horizon.latest:
                assert np.isnan(markout)
            else:
                assert markout == pytest.approx(1e4 * sign * (later[0] - price) / mid)
                assert markout == found.capture_bps[at] + found.drift_bps[horizon][at]


@given(_sessions(), st.randoms(use_true_random=False))
def test_given_fills_in_any_order_when_marked_then_each_is_worth_the_same(session, random):
    columns, made = session
    order = list(range(len(made)))
    random.shuffle(order)

    found, shuffled = marked(columns, made), marked(columns, [made[at] for at in order])

    for horizon in HORIZONS:
        np.testing.assert_array_equal(found.markout_bps[horizon][order], shuffled.markout_bps[horizon])


def test_given_a_recorded_session_when_read_then_its_fills_come_with_side_amount_and_mid(tmp_path):
    with opened(tmp_path / "kedge.db") as conn:
        session_id = store_session(conn, calm_then_drag())
        columns, found = read_ticks(conn, session_id), read_fills(conn, session_id)
        result = markouts(columns, found)

    assert found.tick.tolist() == [10, 20, 30, 40, 50, 60, 70, 80]
    assert found.side.tolist() == [1, -1] * 4
    assert found.quote_amount.tolist() == [Decimal("0.13")] * 8
    assert result.capture_bps[0] == pytest.approx(1e4 * 0.005 / 1.305)
    assert result.markout_bps[ONE][1] == pytest.approx(-1e4 * 0.005 / 1.305)  # the mid stood still
    assert result.error_bps[0] == columns.anchor_error_bps[8]


def test_given_no_fills_when_read_then_every_array_is_empty(tmp_path):
    with opened(tmp_path / "kedge.db") as conn:
        session_id = store_session(conn, [0.0] * 5)
        result = markouts(read_ticks(conn, session_id), read_fills(conn, session_id))

    assert result.tick.size == 0
    assert all(result.markout_bps[horizon].size == 0 for horizon in HORIZONS)


@pytest.mark.parametrize(
    ("column", "value"),
    [("side", "buy"), ("price", "cheap"), ("quote_amount", "-1"), ("quote_amount", "NaN"), ("tick", None)],
)
def test_given_a_fill_that_makes_no_sense_when_read_then_column_and_tick_are_named(tmp_path, column, value):
    sound = {"tick": 7, "ts_ns": 7, "side": "bid", "price": "1.3", "quote_amount": "2", "mid": 1.3}
    with opened(tmp_path / "kedge.db") as conn:
        session_id = store_session(conn, [0.0])
        insert(conn, "fills", session_id=session_id, seq=99, **sound | {column: value})

        with pytest.raises(IntegrityError, match=rf"fills: {column} of a fill on tick (7|None) holds"):
            read_fills(conn, session_id)


def test_given_a_million_ticks_and_a_hundred_thousand_fills_when_marked_then_it_takes_a_moment():
    n, m = 1_000_000, 100_000
    columns = ticks(np.full(n, 1.3), np.zeros(n))
    at = np.linspace(1, n, m, dtype=np.int64)
    quote = np.full(m, Decimal(1), dtype=object)
    many = Fills(at, columns.ts_ns[at - 1], np.ones(m, dtype=np.int64), np.full(m, 1.3), quote, columns.mid[at - 1])

    began = time.perf_counter()
    found = markouts(columns, many)

    assert time.perf_counter() - began < 5.0  # about 0.2 s; the bound only catches a loop over fills
    assert np.isfinite(found.markout_bps[S60]).sum() > m - 10
    assert NOT_RECORDED not in found.tick
