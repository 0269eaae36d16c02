"""The paper venue's taker against takers that a node executed: the same sizes from book and pool, the same pool left.

And its resting orders against the same arithmetic: what is handed to them of a pool print is what the taker would
have taken from them.

Taken from the tape are all offers that were executed first in their ledger, so that the book before is the book they
met, and that the paper venue could have sent: asks that sell all, bids that buy all (XRPL.md A6, tfSell).
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine_proc.holdings import Order
from engine_proc.market import AmmPool, Level, Print
from engine_proc.paper_matching import DROPS, Resting, Visible, cross, share_of
from engine_proc.xrpl_market import DROPS_PER_XRP, Pair, RawLedger, pair_of, read_levels, read_pool
from engine_proc.xrpl_prints import read_prints
from shared.records import Side
from tests.xrpl.tape_node import tape_lines

SELL_ALL = 0x80000
ENOUGH = Decimal(10**12)
LEDGERS = 1_200


class Taken(NamedTuple):
    """A taker's order, what it met, and what the node gave it."""

    ledger_index: int
    order: Order
    met: Visible
    base: float
    from_book: float
    pool_after: AmmPool


@pytest.fixture(scope="module")
def takers() -> list[Taken]:
    """Every such taker of the tape that traded with the pool."""
    header, lines = tape_lines(0, LEDGERS)
    pair = pair_of(header["pair"], header["issuer"])
    found = []
    for before, line in zip(map(_ledger, lines), lines[1:], strict=False):
        if line["transactions"]:
            first = line["transactions"][0]
            taken = _taken(first, before, _ledger(line | {"transactions": [first]}), pair, header["amm_account"])
            if taken is not None:
                found.append(taken)
    return found


def test_given_takers_of_a_real_node_when_paper_takes_their_place_then_book_and_pool_give_the_same(
    takers: list[Taken],
) -> None:
    assert len(takers) >= 25
    for taken in takers:
        size = int(taken.order.size * DROPS)

        crossing = cross(taken.order, size, ENOUGH, taken.met)

        pool = crossing.left.pool
        assert pool is not None
        assert size - crossing.remaining == pytest.approx(taken.base * DROPS, abs=DROPS * 0.01), taken.ledger_index
        # The node passes over a pool whose spot is within one part in 1e7 of the tip (XRPL.md A3).
        assert pool.base == pytest.approx(taken.pool_after.base, rel=1e-7), taken.ledger_index
        assert pool.quote == pytest.approx(taken.pool_after.quote, rel=1e-7), taken.ledger_index
    assert sum(taken.from_book > 0 for taken in takers) >= 10


@given(
    buys=st.booleans(),
    fee=st.sampled_from([0.0, 0.0001, 0.00267, 0.01]),
    size=st.integers(1, 200_000 * DROPS),
    distance=st.floats(-0.02, 0.2),
)
def test_given_a_pool_print_when_our_order_could_have_been_the_tip_then_its_share_is_what_the_taker_would_have_left_us(
    buys: bool, fee: float, size: int, distance: float
) -> None:
    pool = AmmPool(1_900_000.0, 2_480_000.0, fee)
    price = pool.ask * (1.0 + distance) if buys else pool.bid / (1.0 + distance)
    side: Side = "bid" if buys else "ask"
    base = Decimal(size) / DROPS
    taker = Order("taker", side, 0, Decimal(100) if buys else Decimal("0.01"), base, base, "pending", None)
    tip = (Level(price, 1e9),)
    without_us = cross(taker, size, ENOUGH, Visible(pool=pool))
    with_us = cross(taker, size, ENOUGH, Visible(asks=tip if buys else (), bids=() if buys else tip, pool=pool))
    (whole,) = without_us.takes
    assert without_us.left.pool is not None
    flow = Print("buy" if buys else "sell", float(whole.price), size / DROPS, without_us.left.pool)
    ours = Resting("ours", "ask" if buys else "bid", Decimal(repr(price)), price, 10**15, 0)

    share, _ = share_of(ours, flow, size, 0)

    assert with_us.left.pool is not None
    left_us = size - abs(with_us.left.pool.base - pool.base) * DROPS
    assert share == pytest.approx(left_us, abs=DROPS * 0.01)


def _taken(first: dict[str, Any], before: RawLedger, ledger: RawLedger, pair: Pair, amm_account: str) -> Taken | None:
    transaction = first["tx_json"]
    if transaction["TransactionType"] != "OfferCreate":
        return None
    gets, pays = transaction["TakerGets"], transaction["TakerPays"]
    side: Side = "ask" if pair.base.is_of(gets) else "bid"
    if (side == "ask") != bool(transaction["Flags"] & SELL_ALL):
        return None
    pool = read_pool(before, pair)
    assert pool is not None
    prints = read_prints(ledger, pair, amm_account, pool.fee)
    pools = [hit.pool_after for hit in prints if hit.pool_after is not None]
    if not pools:
        return None
    base, quote = (Decimal(gets), Decimal(pays["value"])) if side == "ask" else (Decimal(pays), Decimal(gets["value"]))
    size = base / DROPS_PER_XRP
    order = Order("taker", side, 0, quote / size, size, size, "pending", None)
    met = Visible(read_levels(before, pair, "bid"), read_levels(before, pair, "ask"), pool)
    from_book = sum(hit.size for hit in prints if hit.pool_after is None)
    return Taken(ledger.ledger_index, order, met, sum(hit.size for hit in prints), from_book, pools[0])


def _ledger(line: dict[str, Any]) -> RawLedger:
    return RawLedger(*(line[field] for field in RawLedger._fields))
