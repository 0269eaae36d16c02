"""Amounts of the ledger double: XRP in whole drops, issued currency in decimals of 16 digits, and rates between them.

A rate is TakerPays per TakerGets, packed as the ledger packs it into the last 64 bits of a book directory: exponent
plus 100 in the top byte, a mantissa of 16 digits below. So rates compare as integers, and a lower one is better.
"""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Context, Decimal
from typing import Any, NamedTuple

DIGITS = 16
NEAREST = Context(prec=DIGITS, rounding=ROUND_HALF_EVEN)
UP = Context(prec=DIGITS, rounding=ROUND_CEILING)
DOWN = Context(prec=DIGITS, rounding=ROUND_FLOOR)
_EXACT = Context(prec=60)
ZERO = Decimal(0)
ROOT_STEPS_MIN = 3
TENTH = Decimal("0.1")
MANTISSA_BITS = 56
PLAIN_EXPONENTS = range(-25, -4)  # a mantissa of 16 digits with another exponent is written in scientific notation


class Issue(NamedTuple):
    """An asset: XRP, whose issuer is empty, or a currency of an issuer."""

    currency: str
    issuer: str

    @property
    def is_xrp(self) -> bool:
        return not self.issuer

    def __str__(self) -> str:
        return f"{self.currency}.{self.issuer}" if self.issuer else self.currency


XRP = Issue("XRP", "")


class Amount(NamedTuple):
    """So much of an asset: drops of XRP, units of an issued currency."""

    value: Decimal
    issue: Issue


def read_amount(raw: Any) -> Amount:
    """An amount as transactions write it."""
    if isinstance(raw, str):
        return Amount(Decimal(raw), XRP)
    return Amount(Decimal(raw["value"]), Issue(raw["currency"], raw["issuer"]))


def read_issue(raw: dict[str, Any]) -> Issue:
    """An asset as commands write it."""
    return Issue(raw["currency"], raw.get("issuer", ""))


def show_amount(value: Decimal, issue: Issue) -> Any:
    """An amount as the ledger shows it."""
    if issue.is_xrp:
        return str(int(value))
    return {"currency": issue.currency, "issuer": issue.issuer, "value": show_value(value)}


def show_issue(issue: Issue) -> dict[str, str]:
    """An asset as the ledger shows it."""
    return {"currency": issue.currency} | ({"issuer": issue.issuer} if issue.issuer else {})


def show_value(value: Decimal) -> str:
    """A decimal as the ledger writes it."""
    if value == 0:
        return "0"
    mantissa, exponent = _normal(abs(value))
    sign = "-" if value < 0 else ""
    if exponent != 0 and exponent not in PLAIN_EXPONENTS:
        return f"{sign}{mantissa}e{exponent}"
    plain = f"{Decimal(mantissa).scaleb(exponent):f}"
    return sign + (plain.rstrip("0").rstrip(".") if "." in plain else plain)


def floor(value: Decimal, issue: Issue) -> Decimal:
    """Rounded down to what the asset can hold."""
    return value.to_integral_value(ROUND_FLOOR) if issue.is_xrp else DOWN.plus(value)


def ceiling(value: Decimal, issue: Issue) -> Decimal:
    """Rounded up to what the asset can hold."""
    return value.to_integral_value(ROUND_CEILING) if issue.is_xrp else UP.plus(value)


def nearest(value: Decimal, issue: Issue) -> Decimal:
    """Rounded to what the asset can hold, halves to even."""
    return value.to_integral_value(ROUND_HALF_EVEN) if issue.is_xrp else NEAREST.plus(value)


def product_up(a: Decimal, b: Decimal, issue: Issue, *, strict: bool = True) -> Decimal:
    """A product rounded up by the ledger's own rules, which cut digits first: of XRP only if not `strict`."""
    if issue.is_xrp:
        exact = times(a, b)
        return (exact if strict else exact.quantize(TENTH, ROUND_FLOOR)).to_integral_value(ROUND_CEILING)
    if a == 0 or b == 0:
        return ZERO
    a_mantissa, a_exponent = _normal(a)
    b_mantissa, b_exponent = _normal(b)
    digits, exponent = -(-a_mantissa * b_mantissa // 10**14), a_exponent + b_exponent + 14
    if digits >= 10 ** (DIGITS + 1):
        digits, exponent = digits // 10, exponent + 1
    return UP.plus(Decimal(digits).scaleb(exponent))


def times(a: Decimal, b: Decimal) -> Decimal:
    """The exact product of two numbers of 16 digits."""
    return _EXACT.multiply(a, b)


def over(a: Decimal, b: Decimal) -> Decimal:
    """A quotient with far more digits than an amount holds, so that it can be rounded either way."""
    return _EXACT.divide(a, b)


def quotient(rounded: Context, a: Decimal, b: Decimal) -> Decimal:
    """A quotient of the ledger's own arithmetic: cut after one or two digits more than it keeps, and only then rounded.

    So it rounds up only if one of those further digits is not zero; a pool's balances are true to the digit with this.
    """
    if a == 0:
        return ZERO
    a_mantissa, a_exponent = _normal(abs(a))
    b_mantissa, b_exponent = _normal(abs(b))
    cut = Decimal(a_mantissa * 10**17 // b_mantissa).scaleb(a_exponent - b_exponent - 17)
    return rounded.plus(cut if (a < 0) == (b < 0) else -cut)


def root(value: Decimal) -> Decimal:
    """A square root as the ledger finds it: by Newton's steps from a quadratic guess, until they repeat themselves."""
    if value == 0:
        return ZERO
    n = NEAREST
    exponent = _normal(value)[1] + DIGITS
    exponent += exponent % 2
    scaled = value.scaleb(-exponent)
    guess = n.add(n.multiply(n.add(n.multiply(Decimal(-60), scaled), Decimal(144)), scaled), Decimal(18))
    steps = [ZERO, ZERO, quotient(n, guess, Decimal(105))]
    while len(steps) == ROOT_STEPS_MIN or steps[-1] not in steps[-3:-1]:
        steps.append(quotient(n, n.add(steps[-1], quotient(n, scaled, steps[-1])), Decimal(2)))
    return steps[-1].scaleb(exponent // 2)


def total(values: list[Decimal]) -> Decimal:
    """A sum with the smallest first, as the payment engine adds up what a pass moved."""
    result = ZERO
    for value in sorted(values):
        result = NEAREST.add(result, value)
    return result


def rate_of(gets: Decimal, pays: Decimal) -> int:
    """The packed rate at which an offer of these amounts is placed; 0 where one of them is nothing."""
    if gets == 0 or pays == 0:
        return 0
    pays_mantissa, pays_exponent = _normal(pays)
    gets_mantissa, gets_exponent = _normal(gets)
    # Ten digits more than needed and 5 added: the ledger's own way of rounding, so that book directories agree.
    mantissa = pays_mantissa * 10**17 // gets_mantissa + 5
    exponent = pays_exponent - gets_exponent - 17
    mantissa, exponent = _normal(NEAREST.plus(Decimal(mantissa).scaleb(exponent)))
    return (exponent + 100) << MANTISSA_BITS | mantissa


def rate_value(rate: int) -> Decimal:
    """A packed rate as a number."""
    return Decimal(rate & ((1 << MANTISSA_BITS) - 1)).scaleb((rate >> MANTISSA_BITS) - 100)


def round_rate(rate: int, digits: int) -> int:
    """A rate with so many significant digits, rounded up: in favour of who places the offer."""
    step = 10 ** (DIGITS - digits)
    mantissa = rate & ((1 << MANTISSA_BITS) - 1)
    return (rate >> MANTISSA_BITS) << MANTISSA_BITS | -(-mantissa // step) * step


def near(a: Decimal, b: Decimal, distance: Decimal) -> bool:
    """Whether two positive numbers are closer than `distance`, relative to the larger one."""
    return a == b or over(abs(a - b), max(a, b)) < distance


def _normal(value: Decimal) -> tuple[int, int]:
    """Mantissa of 16 digits and exponent of a positive number that has no more digits."""
    exponent = value.adjusted() - DIGITS + 1
    return int(value.scaleb(-exponent, _EXACT)), exponent
