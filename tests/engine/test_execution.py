"""Desired against resting: which order stays, which is replaced, and that none is ever forgotten."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine_proc.execution import keeps, plan
from engine_proc.holdings import Order
from engine_proc.ports import Plan
from engine_proc.strategy import Intent
from tests.engine.views import intent, order


def numbered() -> Callable[[Intent], str]:
    number = count(1)
    return lambda wanted: f"new-{next(number)}"


def planned(desired: list[Intent], resting: list[Order], tolerance_bps: float = 0.0) -> Plan:
    return plan(desired, resting, numbered(), tolerance_bps)


# ----------------------------------------------------------------------------------------------------- the buckets


def test_given_one_rung_of_each_kind_then_each_order_is_in_its_bucket() -> None:
    stays, moves, goes = order("stays"), order("moves", "1.2", level=1), order("goes", level=5)
    desired = [intent(), intent(level=1), intent("ask", "1.305", level=0)]
    assert planned(desired, [stays, moves, goes]) == Plan(
        keep=(stays,),
        replace=(order("new-1", level=1, state="pending", replaces="moves"),),
        place=(order("new-2", "1.305", side="ask", state="pending"),),
        cancel=(goes,),
    )


def test_given_nothing_resting_then_everything_is_placed_whole_and_pending() -> None:
    sent = planned([intent(size="12.5")], [])
    assert sent == Plan(place=(order("new-1", size="12.5", state="pending"),))


def test_given_nothing_desired_then_everything_live_is_cancelled() -> None:
    live = [order("a"), order("b", level=1, state="pending")]
    assert planned([], live) == Plan(cancel=tuple(live))


def test_given_nothing_at_all_then_an_empty_plan() -> None:
    assert planned([], []) == Plan()


def test_given_an_order_on_its_way_out_then_it_is_left_alone_and_its_rung_filled_anew() -> None:
    leaving = order("old", state="cancelling")
    assert planned([intent()], [leaving]) == Plan(place=(order("new-1", state="pending"),))
    assert planned([], [leaving]) == Plan()


@pytest.mark.parametrize("price", ["1.295", "1.2", "9"])
def test_given_an_order_under_way_then_it_is_kept_whatever_is_wanted(price: str) -> None:
    under_way = order("p", state="pending")
    assert planned([intent(price=price, size="777")], [under_way]) == Plan(keep=(under_way,))


def test_given_the_same_rung_on_both_sides_then_they_are_not_confused() -> None:
    bid, ask = order("b"), order("a", "1.305", side="ask")
    assert planned([intent("ask", "1.305")], [bid, ask]) == Plan(keep=(ask,), cancel=(bid,))


@pytest.mark.parametrize("wanted", [[intent()], []], ids=["wanted", "unwanted"])
def test_given_a_refused_replacement_brought_an_order_back_then_the_older_of_two_on_a_rung_goes(
    wanted: list[Intent],
) -> None:
    # A venue that takes its time: A was replaced by B, B cancelled, C placed; then B is refused and A rests again.
    back, newer = order("A"), order("C", state="pending")
    sent = planned(wanted, [back, newer])
    assert back in sent.cancel
    assert (newer in sent.keep) if wanted else (newer in sent.cancel)


def test_given_a_plan_then_new_ids_are_asked_for_only_where_orders_are_new() -> None:
    asked: list[Intent] = []

    def named(wanted: Intent) -> str:
        asked.append(wanted)
        return f"n{len(asked)}"

    plan([intent(), intent(level=1)], [order("stays")], named, 0.0)
    assert asked == [intent(level=1)]


# ------------------------------------------------------------------------------------------------- what is kept


@pytest.mark.parametrize(
    ("resting", "wanted", "tolerance_bps", "kept"),
    [
        ("1.00000", "1.00000", 0.0, True),
        ("1.00001", "1.00000", 0.0, False),
        ("1.25", "1.00", 2500.0, True),  # exactly on the tolerance, above and below
        ("0.75", "1.00", 2500.0, True),
        ("1.2501", "1.00", 2500.0, False),
        ("0.7499", "1.00", 2500.0, False),
    ],
)
def test_given_a_price_off_by_up_to_the_tolerance_then_kept(
    resting: str, wanted: str, tolerance_bps: float, kept: bool
) -> None:
    assert keeps(order(price=resting), intent(price=wanted), tolerance_bps) == kept


@pytest.mark.parametrize(
    ("remaining", "kept"), [("100", True), ("99.99", True), ("50", True), ("49.99", False), ("0.01", False)]
)
def test_given_a_partly_filled_order_then_kept_until_less_than_half_is_left(remaining: str, kept: bool) -> None:
    assert keeps(order(size="100", remaining=remaining), intent(size="100"), 0.0) == kept


def test_given_an_order_larger_than_wanted_then_not_kept_as_it_would_risk_more_than_was_cleared() -> None:
    assert not keeps(order(size="100"), intent(size="99.99"), 0.0)
    assert keeps(order(size="100", remaining="90"), intent(size="99.99"), 0.0)


def test_given_states_then_pending_always_serves_and_cancelling_never() -> None:
    assert keeps(order(state="pending", price="9", size="1"), intent(), 0.0)
    assert not keeps(order(state="cancelling"), intent(), 10.0)


# ------------------------------------------------------------------------------------------------------- any plan

slots = st.tuples(st.sampled_from(["bid", "ask"]), st.integers(0, 3))
prices = st.sampled_from(["1.29", "1.2901", "1.3"])
sizes = st.sampled_from(["40", "100", "120"])
desires = st.lists(st.builds(lambda slot, p, s: intent(slot[0], p, s, slot[1]), slots, prices, sizes), max_size=8,
                   unique_by=lambda wanted: (wanted.side, wanted.level))  # fmt: skip
states = st.sampled_from(["pending", "resting", "cancelling"])
restings = st.lists(st.tuples(slots, prices, sizes, states), max_size=10).map(
    lambda rows: [
        order(f"o{n}", price, size, side=slot[0], level=slot[1], state=state)
        for n, (slot, price, size, state) in enumerate(rows)
    ]
)


@given(desired=desires, resting=restings, tolerance_bps=st.sampled_from([0.0, 0.5, 5.0]))
def test_given_any_desires_and_orders_then_every_live_order_and_every_desire_has_exactly_one_bucket(
    desired: list[Intent], resting: list[Order], tolerance_bps: float
) -> None:
    sent = planned(desired, resting, tolerance_bps)
    live = [known.order_id for known in resting if known.state != "cancelling"]
    handled = [kept.order_id for kept in (*sent.keep, *sent.cancel)] + [new.replaces for new in sent.replace]
    assert sorted(handled) == sorted(live)
    served = [known.slot for known in (*sent.keep, *sent.replace, *sent.place)]
    assert sorted(served) == sorted((wanted.side, wanted.level) for wanted in desired)


@given(desired=desires, resting=restings)
def test_given_any_plan_then_new_orders_are_what_was_desired_and_kept_ones_serve_it(
    desired: list[Intent], resting: list[Order]
) -> None:
    sent = planned(desired, resting)
    wanted = {(one.side, one.level): one for one in desired}
    for new in (*sent.replace, *sent.place):
        assert Intent(new.side, new.level, new.price, new.size) == wanted[new.slot]
        assert (new.remaining, new.state) == (new.size, "pending")
    for kept in sent.keep:
        assert kept.state == "pending" or (kept.price == wanted[kept.slot].price and kept.remaining >= Decimal(20))
    assert all(new.replaces is None for new in sent.place)
    ids = [new.order_id for new in (*sent.replace, *sent.place)]
    assert len(ids) == len(set(ids))


@given(desired=desires)
def test_given_a_plan_carried_out_then_the_next_one_keeps_everything(desired: list[Intent]) -> None:
    first = planned(desired, [])
    resting = [placed.now("resting") for placed in first.place]
    assert planned(desired, resting) == Plan(keep=tuple(resting))
