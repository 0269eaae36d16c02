"""AMM pools of the double: created, and fed or drained by their owner in the ways that the recorded tape shows."""

from __future__ import annotations

import hashlib
from decimal import Decimal
from typing import Any

from xrpl.core.addresscodec import encode_classic_address

from tests.xrpl.ledger_amounts import (
    DOWN,
    NEAREST,
    UP,
    Amount,
    Issue,
    ceiling,
    floor,
    quotient,
    read_amount,
    read_issue,
    root,
)
from tests.xrpl.ledger_funds import credit, funds
from tests.xrpl.ledger_metadata import currency_id, index_of
from tests.xrpl.ledger_offers import Outcome, Scene
from tests.xrpl.ledger_state import LINE_POOL, Line, Pool, Root, State, held, line_key, line_of, pool_of

POOL_FLAGS = 0x0190_0000  # no master key, no deposits from others, ripples
SLOT_S = 86_400  # whoever creates a pool has its auction slot for a day
TF_SINGLE_ASSET = 0x0008_0000
TF_TWO_ASSET = 0x0010_0000
FEE_UNIT = 100_000
ONE, TWO = Decimal(1), Decimal(2)


def create_amm(state: State, transaction: dict[str, Any], scene: Scene) -> Outcome:
    """A pool from two amounts of its creator."""
    owner = transaction["Account"]
    amounts = [read_amount(transaction[field]) for field in ("Amount", "Amount2")]
    if pool_of(state.entries, amounts[0].issue, amounts[1].issue) is not None:
        return Outcome("tecDUPLICATE")
    if any(funds(state.entries, owner, amount.issue, scene.fees) < amount.value for amount in amounts):
        return Outcome("tecUNFUNDED_AMM")
    slot = scene.parent_close_time + SLOT_S
    add_pool(state, owner, amounts, transaction["TradingFee"], scene.ledger_index, slot)
    for amount in amounts:
        credit(state, amount.issue, owner, -amount.value)
    return Outcome("tesSUCCESS")


def add_pool(
    state: State, owner: str, amounts: list[Amount], trading_fee: int, ledger_index: int, slot_expiration: int
) -> Pool:
    """A pool with these amounts, out of thin air; all its tokens are the owner's."""
    first, second = sorted(amounts, key=lambda amount: (not amount.issue.is_xrp, amount.issue))
    key = ("pool", *sorted((first.issue, second.issue)))
    address = encode_classic_address(bytes.fromhex(index_of(key))[:20])
    lp_issue = Issue(lp_currency(first.issue, second.issue), address)
    lp_balance = root(NEAREST.multiply(first.value, second.value))
    pool = Pool(address, first.issue, second.issue, trading_fee, lp_balance, lp_issue, owner, slot_expiration)
    state.put(("account", address), Root(address, 0, ledger_index, flags=POOL_FLAGS, pool_index=index_of(key)))
    state.put(key, pool)
    for amount in (first, second):
        credit(state, amount.issue, address, amount.value)
        if not amount.issue.is_xrp:
            line = line_of(state.entries, address, amount.issue)
            assert isinstance(line, Line)
            state.put(
                line_key(address, amount.issue.issuer, amount.issue.currency),
                line._replace(flags=line.flags | LINE_POOL),
            )
    credit(state, lp_issue, owner, lp_balance)
    return pool


def lp_currency(a: Issue, b: Issue) -> str:
    """The currency code of a pool's tokens."""
    low, high = sorted(currency_id(issue.currency) for issue in (a, b))
    return "03" + hashlib.sha512(low + high).hexdigest()[:38].upper()


def deposit(state: State, transaction: dict[str, Any], scene: Scene) -> Outcome:
    """Both assets in the pool's proportion, or one of them (the half that is traded for the other pays the fee)."""
    pool = pool_of(state.entries, read_issue(transaction["Asset"]), read_issue(transaction["Asset2"]))
    if pool is None:
        return Outcome("terNO_AMM")
    owner, first = transaction["Account"], read_amount(transaction["Amount"])
    if transaction.get("Flags", 0) & TF_TWO_ASSET:
        paid, tokens = _pair_for(state, pool, first, read_amount(transaction["Amount2"]))
    else:
        value, tokens = _single_in(pool, first, _held(state, pool, first.issue), _fee(pool, owner, scene))
        paid = [first._replace(value=value)]
    if any(funds(state.entries, owner, amount.issue, scene.fees) < amount.value for amount in paid):
        return Outcome("tecUNFUNDED_AMM")
    _exchange(state, pool, owner, paid, tokens)
    return Outcome("tesSUCCESS")


def withdraw(state: State, transaction: dict[str, Any], scene: Scene) -> Outcome:
    """One asset out of the pool for its tokens."""
    pool = pool_of(state.entries, read_issue(transaction["Asset"]), read_issue(transaction["Asset2"]))
    if pool is None:
        return Outcome("terNO_AMM")
    owner, amount = transaction["Account"], read_amount(transaction["Amount"])
    balance = _held(state, pool, amount.issue)
    if amount.value >= balance:
        return Outcome("tecAMM_BALANCE")
    value, tokens = _single_out(pool, amount, balance, _fee(pool, owner, scene))
    if funds(state.entries, owner, pool.lp_issue, scene.fees) < tokens:
        return Outcome("tecAMM_INVALID_TOKENS")
    _exchange(state, pool, owner, [amount._replace(value=-value)], -tokens)
    return Outcome("tesSUCCESS")


def _pair_for(state: State, pool: Pool, first: Amount, second: Amount) -> tuple[list[Amount], Decimal]:
    """As much of two assets as fits the pool's proportion, one of them whole, and the tokens for them."""
    for whole, other in ((first, second), (second, first)):
        share = quotient(NEAREST, whole.value, _held(state, pool, whole.issue))
        tokens = _issuable(pool, DOWN.multiply(pool.lp_balance, share))
        share = quotient(NEAREST, tokens, pool.lp_balance)
        value = ceiling(UP.multiply(_held(state, pool, other.issue), share), other.issue)
        if value <= other.value:
            break
    return [whole, other._replace(value=value)], tokens


def _held(state: State, pool: Pool, issue: Issue) -> Decimal:
    if issue.is_xrp:
        return Decimal(state.root(pool.account).balance_drops)
    return held(line_of(state.entries, pool.account, issue), pool.account)


def _fee(pool: Pool, account: str, scene: Scene) -> Decimal:
    discount = account == pool.owner and scene.parent_close_time < pool.slot_expiration
    return Decimal(pool.trading_fee // 10 if discount else pool.trading_fee) / FEE_UNIT


def _single_in(pool: Pool, amount: Amount, balance: Decimal, fee: Decimal) -> tuple[Decimal, Decimal]:
    """What a deposit of one asset pays in, and its tokens: never more than was offered."""
    tokens = _tokens_for(pool, amount.value, balance, fee)
    value = _paid_for(pool, amount.issue, tokens, balance, fee)
    if value > amount.value:
        tokens = _tokens_for(pool, amount.value - (value - amount.value), balance, fee)
        value = _paid_for(pool, amount.issue, tokens, balance, fee)
    return min(amount.value, value), tokens


def _single_out(pool: Pool, amount: Amount, balance: Decimal, fee: Decimal) -> tuple[Decimal, Decimal]:
    """What a withdrawal of one asset pays out, and its tokens: never more than was asked for."""
    tokens = _tokens_of(pool, amount.value, balance, fee)
    value = _paid_of(pool, amount.issue, tokens, balance, fee)
    if value > amount.value:
        tokens = _tokens_of(pool, amount.value - (value - amount.value), balance, fee)
        value = _paid_of(pool, amount.issue, tokens, balance, fee)
    return min(amount.value, value), tokens


def _tokens_for(pool: Pool, paid: Decimal, balance: Decimal, fee: Decimal) -> Decimal:
    """Tokens for a deposit of one asset."""
    n = NEAREST
    keep, half = _keeps(fee)
    ratio = quotient(n, paid, balance)
    middle = n.subtract(root(n.add(n.multiply(half, half), quotient(n, ratio, keep))), half)
    share = quotient(n, n.subtract(ratio, middle), n.add(ONE, middle))
    return _issuable(pool, DOWN.multiply(pool.lp_balance, share))


def _paid_for(pool: Pool, issue: Issue, tokens: Decimal, balance: Decimal, fee: Decimal) -> Decimal:
    """The deposit of one asset that so many tokens are worth: the inverse of `_tokens_for`, rounded up."""
    n = NEAREST
    keep, half = _keeps(fee)
    share = quotient(n, tokens, pool.lp_balance)
    grown = n.add(ONE, share)
    d = n.subtract(half, quotient(n, share, grown))
    a = quotient(n, ONE, n.multiply(grown, grown))
    b = n.subtract(quotient(n, n.multiply(TWO, d), grown), quotient(n, ONE, keep))
    c = n.subtract(n.multiply(d, d), n.multiply(half, half))
    middle = root(n.subtract(n.multiply(b, b), n.multiply(n.multiply(Decimal(4), a), c)))
    return ceiling(UP.multiply(balance, quotient(n, n.add(-b, middle), n.multiply(TWO, a))), issue)


def _tokens_of(pool: Pool, taken: Decimal, balance: Decimal, fee: Decimal) -> Decimal:
    """Tokens that a withdrawal of one asset costs."""
    n = NEAREST
    ratio = quotient(n, taken, balance)
    c = n.subtract(n.add(n.multiply(ratio, fee), TWO), fee)
    middle = root(n.subtract(n.multiply(c, c), n.multiply(Decimal(4), ratio)))
    tokens = UP.multiply(pool.lp_balance, quotient(n, n.subtract(c, middle), TWO))
    return DOWN.add(DOWN.subtract(tokens, pool.lp_balance), pool.lp_balance)


def _paid_of(pool: Pool, issue: Issue, tokens: Decimal, balance: Decimal, fee: Decimal) -> Decimal:
    """The withdrawal of one asset that so many tokens are worth: the inverse of `_tokens_of`, rounded down."""
    n = NEAREST
    share = quotient(n, tokens, pool.lp_balance)
    above = n.subtract(n.multiply(share, share), n.multiply(share, n.subtract(TWO, fee)))
    return floor(DOWN.multiply(balance, quotient(n, above, n.subtract(n.multiply(share, fee), ONE))), issue)


def _keeps(fee: Decimal) -> tuple[Decimal, Decimal]:
    """What is left of a deposit after the fee, and after half the fee as a part of that."""
    n = NEAREST
    keep = n.subtract(ONE, fee)
    return keep, quotient(n, n.subtract(ONE, quotient(n, fee, TWO)), keep)


def _issuable(pool: Pool, tokens: Decimal) -> Decimal:
    """Tokens as far as they change the number of tokens there are, in 16 digits."""
    return DOWN.subtract(DOWN.add(pool.lp_balance, tokens), pool.lp_balance)


def _exchange(state: State, pool: Pool, owner: str, paid: list[Amount], tokens: Decimal) -> None:
    for amount in paid:
        credit(state, amount.issue, owner, -amount.value)
        credit(state, amount.issue, pool.account, amount.value)
    credit(state, pool.lp_issue, owner, tokens)
    key = ("pool", *sorted((pool.asset, pool.asset2)))
    state.put(key, pool._replace(lp_balance=NEAREST.add(pool.lp_balance, tokens)))
