"""From what an XRPL node says of one ledger (`book_offers` of both sides, `amm_info`) to a market view.

Tape and live feed both parse here, so every improvement applies to old tapes too. Three facts of the ledger rule
this file (XRPL.md A1-A3):

- XRP comes as a string of integer drops, an issued currency as `{currency, issuer, value}` with a decimal string.
  Both become Decimal in *raw units* (drops, or the currency's own unit) and floats only at the very end.
- An offer's `quality` is TakerPays/TakerGets in raw units, on both sides, and the lower it is the better for the taker.
- A listed offer need not be there: it may have expired, or its owner may not hold what it promises. Only what could
  be taken right now becomes a level.

What cannot be read raises `LedgerUnreadable`; fields nobody asked for are ignored, as amendments keep adding some.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from decimal import Decimal
from typing import Any, NamedTuple

from engine_proc.market import AmmPool, Level, MarketView, Print, look
from shared.errors import ConfigError, KedgeError
from shared.records import Side

DROPS_PER_XRP = 1_000_000
TRADING_FEE_UNIT = 100_000  # `trading_fee` counts 1/100,000; at most 1000 = 1 %
TRADING_FEE_MAX = 1_000
UINT32_MAX = 2**32 - 1
TAPE_FORMAT = "kedge-node-tape-1"  # raw ledgers in a file: `tape_writer` writes them, `feed_tape` plays them
NEVER = 2**32  # later than any Expiration can be
# The range of an issued amount: mantissa up to 9999999999999999, exponent -96..80 (XRPL.md A1). What lies outside
# was never written by a ledger, and would turn into 0.0 or inf as a float.
VALUE_MIN, VALUE_MAX = Decimal("1e-81"), Decimal("1e97")

# Decimal() itself would also take "NaN", "Infinity", "1_000" and " 1 ".
_NUMBER = re.compile(r"-?[0-9]{1,40}(?:\.[0-9]{1,100})?(?:[eE][+-]?[0-9]{1,3})?")
_DROPS = re.compile(r"[0-9]{1,18}")
_HEX_CODE = re.compile(r"[0-9A-Fa-f]{40}")
_HEX_OF_THREE_LETTERS = re.compile(r"0{24}([0-9A-F]{6})0{10}")


class LedgerUnreadable(KedgeError):
    """A node's answer is not what the ledger format allows. Says where, which field, what was expected and found."""

    def __init__(self, where: str, field: str, expected: str, found: object) -> None:
        text = repr(found)
        super().__init__(f"{where}: {field}: expected {expected}, got {text if len(text) <= 80 else text[:77] + '...'}")
        self.field = field


class Asset(NamedTuple):
    """A currency as the ledger knows it; `issuer` is None for XRP. The same code of another issuer is another asset."""

    currency: str
    issuer: str | None

    @property
    def raw_per_unit(self) -> int:
        """Raw units in one unit of the currency: drops for XRP, 1 for an issued currency."""
        return DROPS_PER_XRP if self.issuer is None else 1

    def is_of(self, amount: object) -> bool:
        """Whether a ledger amount is one of this asset."""
        if isinstance(amount, str):
            return self.issuer is None
        return isinstance(amount, dict) and (amount.get("currency"), amount.get("issuer")) == self


XRP = Asset("XRP", None)


def xrp_of(drops: int) -> Decimal:
    """Drops in XRP."""
    return Decimal(drops) / DROPS_PER_XRP


class Pair(NamedTuple):
    """The two assets of a market; prices are `quote` per `base`."""

    base: Asset
    quote: Asset


class RawLedger(NamedTuple):
    """What a node answered about one validated ledger; everything but the two numbers is still unchecked JSON.

    `close_time` counts seconds since 2000-01-01. `asks` are the `offers` of `book_offers` with taker_gets = base,
    `bids` those with taker_gets = quote. `amm_info` is that command's result, its `amm` object, or None.
    `transactions` are all of the ledger, with metadata, in any order and in the shape of either API version.
    """

    ledger_index: int
    close_time: int
    asks: Any
    bids: Any
    amm_info: Any
    transactions: Any


def currency_code(name: str) -> str:
    """How the ledger writes a currency: three characters as they are, longer names as 40 hex digits.

    "RLUSD" becomes 524C555344000000000000000000000000000000, "USD" stays. Raises `ConfigError`.
    """
    if _HEX_CODE.fullmatch(name):
        code = name.upper()
        standard = _HEX_OF_THREE_LETTERS.fullmatch(code)
        return bytes.fromhex(standard[1]).decode("latin-1") if standard else code
    if not 3 <= len(name) <= 20 or not name.isascii() or not name.isprintable():
        raise ConfigError(f"currency {name!r}: expected 3 to 20 printable ASCII characters, or 40 hex digits")
    return name if len(name) == 3 else name.encode("ascii").hex().upper().ljust(40, "0")


def pair_of(name: str, issuer: str) -> Pair:
    """The pair that `market.pair` names, such as XRP/RLUSD. Raises `ConfigError`."""
    base, _, quote = name.partition("/")
    if not quote or (base == "XRP") == (quote == "XRP"):
        raise ConfigError(f"pair {name!r}: expected BASE/QUOTE with XRP on one side")
    assets = (Asset("XRP", None) if code == "XRP" else Asset(currency_code(code), issuer) for code in (base, quote))
    return Pair(*assets)


def read_market(
    ledger: RawLedger,
    pair: Pair,
    *,
    ts_ns: int,
    age_ms: int = 0,
    stale_after_ms: int,
    min_touch_size: float = 0.0,
    prints: tuple[Print, ...] = (),
    exclude_accounts: Collection[str] = (),
) -> MarketView:
    """The view of one ledger. `exclude_accounts` keeps our own offers out of it. Raises `LedgerUnreadable`."""
    return look(
        ts_ns=ts_ns,
        ledger_index=ledger.ledger_index,
        bids=read_levels(ledger, pair, "bid", exclude_accounts),
        asks=read_levels(ledger, pair, "ask", exclude_accounts),
        amm=read_pool(ledger, pair),
        prints=prints,
        age_ms=age_ms,
        stale_after_ms=stale_after_ms,
        min_touch_size=min_touch_size,
    )


def read_levels(ledger: RawLedger, pair: Pair, side: Side, exclude_accounts: Collection[str] = ()) -> tuple[Level, ...]:
    """The takeable levels of one side, best first. Raises `LedgerUnreadable`.

    An owner's funds back all its offers together, the better ones first. The node says them once, on the best offer,
    and marks what they no longer cover with `taker_gets_funded`; both are obeyed, the smaller wins. (The node charges
    expired offers to the funds as well: what stands behind them may then be listed too small, never too large.)
    """
    gets, pays = (pair.base, pair.quote) if side == "ask" else (pair.quote, pair.base)
    offers, funds = _offers_and_funds(ledger, side, gets, pays)
    depth: dict[float, Decimal] = {}
    for offer in sorted(offers, key=lambda offer: offer.quality):
        # The next ledger drops an offer whose Expiration is not after the close time of its parent, which is this one.
        if offer.account in exclude_accounts or offer.expiration <= ledger.close_time:
            continue
        funded_gets = offer.gets_funded
        if offer.account in funds:
            funded_gets = min(funded_gets, funds[offer.account])
            funds[offer.account] -= funded_gets
        if side == "ask":
            base = funded_gets
        elif funded_gets == offer.gets:
            base = offer.pays
        else:  # as the node computes taker_pays_funded
            base = min(offer.pays, funded_gets * offer.quality)
        if base > 0:
            price = float(price_of(offer.quality, side, pair))
            depth[price] = depth.get(price, Decimal(0)) + base
    return tuple(Level(price, float(base / pair.base.raw_per_unit)) for price, base in depth.items())


def read_pool(ledger: RawLedger, pair: Pair) -> AmmPool | None:
    """The pool of the pair; None where nobody can trade with one. Raises `LedgerUnreadable`.

    No pool (`actNotFound`) and an emptied one have no price. A pool with a frozen asset has one, but it is that of a
    shop with its door shut: nobody can deal there and no arbitrage corrects it, so it must not become an anchor.
    """
    where, amm = f"ledger {ledger.ledger_index} amm_info", ledger.amm_info
    if amm is None:
        return None
    if isinstance(amm, dict) and "error" in amm:
        if amm["error"] == "actNotFound":
            return None
        raise LedgerUnreadable(where, "error", "actNotFound at most", amm["error"])
    amm = amm.get("amm", amm) if isinstance(amm, dict) else amm
    if not isinstance(amm, dict):
        raise LedgerUnreadable(where, "amm", "an object", amm)
    fee = read_int(amm, "trading_fee", TRADING_FEE_MAX, where)
    base_field, quote_field = ("amount", "amount2") if pair.base.is_of(amm.get("amount")) else ("amount2", "amount")
    base = read_amount(amm, base_field, pair.base, where)
    quote = read_amount(amm, quote_field, pair.quote, where)
    for flag in ("asset_frozen", "asset2_frozen"):
        frozen = amm.get(flag, False)
        if not isinstance(frozen, bool):
            raise LedgerUnreadable(where, flag, "true or false", frozen)
        if frozen:
            return None
    if base == 0 or quote == 0:
        return None
    return pool_of(base, quote, fee / TRADING_FEE_UNIT, pair)


def pool_of(base: Decimal, quote: Decimal, fee: float, pair: Pair) -> AmmPool:
    """A pool from its balances in raw units."""
    return AmmPool(float(base / pair.base.raw_per_unit), float(quote / pair.quote.raw_per_unit), fee)


class _Offer(NamedTuple):
    account: str
    quality: Decimal
    gets: Decimal
    gets_funded: Decimal
    pays: Decimal
    expiration: int


def _offers_and_funds(
    ledger: RawLedger, side: Side, gets: Asset, pays: Asset
) -> tuple[list[_Offer], dict[str, Decimal]]:
    """All listed offers of a side and what each owner has for them, where the node says so."""
    listed, where = (ledger.asks, "asks") if side == "ask" else (ledger.bids, "bids")
    if not isinstance(listed, list):
        raise LedgerUnreadable(f"ledger {ledger.ledger_index}", where, "a list of offers", listed)
    offers: list[_Offer] = []
    funds: dict[str, Decimal] = {}
    for i, raw in enumerate(listed):
        at = f"ledger {ledger.ledger_index} {where}[{i}]"
        offer = _read_offer(raw, gets, pays, at)
        offers.append(offer)
        # An issuer's promise of its own currency is always good; the node repeats each such offer's size as its funds.
        if "owner_funds" in raw and offer.account != gets.issuer:
            funds.setdefault(offer.account, read_number(raw["owner_funds"], gets, at, "owner_funds"))
    return offers, funds


def _read_offer(raw: object, gets: Asset, pays: Asset, where: str) -> _Offer:
    if not isinstance(raw, dict):
        raise LedgerUnreadable(where, "offer", "an object", raw)
    account = raw.get("Account")
    if not isinstance(account, str):
        raise LedgerUnreadable(where, "Account", "an address", account)
    quality = _read_decimal(raw.get("quality"), where, "quality")
    if quality <= 0:
        raise LedgerUnreadable(where, "quality", "a rate above zero", raw.get("quality"))
    gets_amount = read_amount(raw, "TakerGets", gets, where)
    funded = read_amount(raw, "taker_gets_funded", gets, where) if "taker_gets_funded" in raw else gets_amount
    return _Offer(
        account,
        quality,
        gets_amount,
        min(funded, gets_amount),
        read_amount(raw, "TakerPays", pays, where),
        read_int(raw, "Expiration", UINT32_MAX, where) if "Expiration" in raw else NEVER,
    )


def price_of(quality: Decimal, side: Side, pair: Pair) -> Decimal:
    """Quote per base, of a rate above 0.

    The price is the offer's `quality`, never TakerPays/TakerGets of what is left of it. An offer keeps the rate
    directory it was placed in for life and executes at that rate; its amounts are rounded to whole drops with every
    partial fill, until the ratio of a small rest is nobody's price (XRPL.md A2, A6).
    """
    raw_price = quality if side == "ask" else 1 / quality
    return raw_price * pair.base.raw_per_unit / pair.quote.raw_per_unit


def read_amount(fields: dict[str, Any], field: str, asset: Asset, where: str) -> Decimal:
    """The amount `fields[field]` in raw units of the asset that must be in it, never negative."""
    amount = fields.get(field)
    if not asset.is_of(amount):
        raise LedgerUnreadable(where, field, f"an amount of {asset.currency}", amount)
    value = amount.get("value") if isinstance(amount, dict) else amount
    return read_number(value, asset, where, field)


def read_number(text: object, asset: Asset, where: str, field: str, *, signed: bool = False) -> Decimal:
    """A bare number in raw units of the asset: whole drops, or a decimal that may be in scientific notation."""
    if asset.issuer is None:
        if not isinstance(text, str) or not _DROPS.fullmatch(text):
            raise LedgerUnreadable(where, field, "drops as a string of digits", text)
        return Decimal(text)
    number = _read_decimal(text, where, field)
    if number < 0 and not signed:
        raise LedgerUnreadable(where, field, "a number not below zero", text)
    return number


def read_int(fields: dict[str, Any], field: str, maximum: int, where: str) -> int:
    """An integer from 0 to `maximum`."""
    number = fields.get(field)
    if type(number) is not int or not 0 <= number <= maximum:
        raise LedgerUnreadable(where, field, f"an integer from 0 to {maximum}", number)
    return number


def _read_decimal(text: object, where: str, field: str) -> Decimal:
    if isinstance(text, str) and _NUMBER.fullmatch(text):
        number = Decimal(text)
        if number == 0 or VALUE_MIN <= abs(number) < VALUE_MAX:
            return number
    raise LedgerUnreadable(where, field, "a decimal string", text)
