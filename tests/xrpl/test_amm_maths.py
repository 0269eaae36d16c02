"""The pool's arithmetic wherever it is computed, against pools that real nodes moved (XRPL.md A3)."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from decimal import Decimal
from pathlib import Path

import pytest

from engine_proc.holdings import Order
from engine_proc.market import AmmPool, Level
from engine_proc.paper_matching import DROPS, Visible, cross, quote_of
from engine_proc.sim_pool import swap
from engine_proc.xrpl_changes import Balance, balance_changes, execution, read_changes
from engine_proc.xrpl_market import TRADING_FEE_UNIT, Pair, pair_of

DATA = Path(__file__).parents[1] / "data"
RLUSD_1 = pair_of("XRP/RLUSD", "ra3Tu6sgs2VURXBofvW2377YYHgbrTYBLv")
POOL_1 = "rEbKLRqHDcZdg8ExZM9dArWMQBkTcdexLL"
RLUSD_2 = pair_of("XRP/RLUSD", "rJjpdEhmi9ia97oUf7toqphxcafnWZPe32")
POOL_2 = "rLtVPhrTCYctDvdU72Fa5GRyqnwi1pUij7"


def sold_by_formula(pool: AmmPool, side: str, base: float) -> float:
    """Quote against base, as XRPL.md A3 writes it: out = Y - X*Y / (X + in*(1-f))."""
    keep = 1.0 - pool.fee
    if side == "sell":
        return pool.quote - pool.base * pool.quote / (pool.base + base * keep)
    return (pool.base * pool.quote / (pool.base - base) - pool.quote) / keep


def sold_by_simulation(pool: AmmPool, side: str, base: float) -> float:
    price, _ = swap(pool, side, base)
    return price * base


def sold_on_paper(pool: AmmPool, side: str, base: float) -> float:
    """What the paper venue pays or gets for an order that meets the pool alone, at a limit that is no obstacle."""
    order_side, limit = ("ask", pool.spot / 2) if side == "sell" else ("bid", pool.spot * 2)
    price = Decimal(f"{limit:.6f}")
    order = Order("L1-1", order_side, 1, price, Decimal(base), Decimal(base), "pending")
    taken = cross(order, round(base * DROPS), Decimal(10**12), Visible(pool=pool))
    assert taken.remaining == 0
    return float(sum(quote_of(order_side, take.price, take.base) for take in taken.takes))


COMPUTED = [sold_by_formula, sold_by_simulation, sold_on_paper]


@pytest.mark.parametrize("sold", COMPUTED)
def test_given_the_mainnet_sale_when_computed_then_the_quote_that_the_pool_paid(sold):
    # Transaction 61A90642... of ledger 104552077, with the fee that its two amounts imply.
    pool = AmmPool(1_902_973.249475, 2_489_679.162590297, 0.0026704)
    assert sold(pool, "sell", 778.024929) == pytest.approx(1_014.76590051, rel=2e-8)


@pytest.mark.parametrize("sold", COMPUTED)
@pytest.mark.parametrize(
    ("index", "pool_base", "pool_quote"), [(0, 10_000.0, 22_000.0), (1, 9_960.0, 22_088.58994881796)]
)
def test_given_purchases_from_a_pool_alone_when_computed_then_the_quote_that_the_node_took(
    sold, index, pool_base, pool_quote
):
    name = ("s2_tx_amm_only_trade", "s2_tx_amm_only_trade2")[index]
    transaction = json.loads((DATA / "node_pieces.json").read_text())[name]
    base, quote = pool_balances(transaction, POOL_2, RLUSD_2)
    assert (float(base.before) / DROPS, float(quote.before)) == (pool_base, pool_quote)
    assert sold(AmmPool(pool_base, pool_quote, 0.00267), "buy", 40.0) == pytest.approx(float(quote.change), rel=1e-10)


@pytest.mark.parametrize("sold", COMPUTED)
def test_given_every_trade_of_the_tape_with_its_pool_alone_when_computed_then_the_quote_that_changed_hands(sold):
    checked: Counter[str] = Counter()
    with gzip.open(DATA / "node_tape_a.jsonl.gz", "rt") as tape:
        header = json.loads(next(tape))
        pair, account = pair_of(header["pair"], header["issuer"]), header["amm_account"]
        fee = header["trading_fee"] / TRADING_FEE_UNIT
        for line in tape:
            for transaction in json.loads(line)["transactions"]:
                if account not in json.dumps(transaction["meta"]) or took_from_the_book(transaction, pair):
                    continue
                base, quote = pool_balances(transaction, account, pair)
                if base.change * quote.change >= 0:
                    continue  # a deposit or a withdrawal
                pool = AmmPool(float(base.before) / DROPS, float(quote.before), fee)
                side = "sell" if base.change > 0 else "buy"
                computed = sold(pool, side, float(abs(base.change)) / DROPS)
                # The ledger rounds XRP to drops and an issued balance of this size to a billionth, for the pool.
                assert computed == pytest.approx(float(abs(quote.change)), abs=3e-6)
                checked[side] += 1
    assert checked.total() == 74  # what the tape's own description counts
    assert min(checked["buy"], checked["sell"]) > 20


@pytest.mark.parametrize("side", ["buy", "sell"])
def test_given_the_next_bit_when_traded_then_it_costs_the_marginal_price_with_the_fee(side):
    pool = AmmPool(1_902_973.249475, 2_489_679.162590297, 0.00267)
    marginal = pool.ask if side == "buy" else pool.bid
    assert sold_by_formula(pool, side, 0.01) / 0.01 == pytest.approx(marginal, rel=1e-7)
    assert pool.bid < pool.spot < pool.ask


def test_given_a_taker_with_a_limit_when_executed_then_paper_takes_of_book_and_pool_what_the_node_did():
    pieces = json.loads((DATA / "node_pieces.json").read_text())
    sweep = pieces["s1_tx_taker_buy_ioc_clob_plus_amm"]
    asked = sweep["tx_json"]
    wanted, funds = int(asked["TakerPays"]), Decimal(asked["TakerGets"]["value"])
    limit = funds / wanted * DROPS
    base, quote = pool_balances(sweep, POOL_1, RLUSD_1)
    ask = Level(2.213460000853862, 499.998549)
    before = AmmPool(float(base.before) / DROPS, float(quote.before), 0.003)
    order = Order("L1-1", "bid", 1, limit, Decimal(wanted) / DROPS, Decimal(wanted) / DROPS, "pending")

    taken = cross(order, wanted, funds, Visible(asks=(ask,), pool=before))

    left = taken.left.pool
    assert left is not None
    assert before.base - left.base == pytest.approx(-float(base.change) / DROPS, rel=1e-4)
    assert left.quote - before.quote == pytest.approx(float(quote.change), rel=1e-4)
    assert taken.left.asks == ()
    # It paid its limit on average, so the pool stands beyond it (XRPL.md A3).
    assert float(limit) < left.spot == pytest.approx(2.3948, abs=1e-4)


def pool_balances(transaction, account: str, pair: Pair) -> tuple[Balance, Balance]:
    """The pool's balances around a transaction, in raw units; one that did not change stands still at 0."""
    balances = balance_changes(transaction["meta"]["AffectedNodes"], "here")
    still = Balance(Decimal(0), Decimal(0))
    return balances.get((account, pair.base), still), balances.get((account, pair.quote), still)


def took_from_the_book(transaction, pair: Pair) -> bool:
    changes = read_changes(transaction["meta"]["AffectedNodes"], "here")
    return any(change.entry_type == "Offer" and execution(change, pair, "here") for change in changes)
