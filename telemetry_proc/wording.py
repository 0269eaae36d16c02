"""Numbers and names as people read them. Programs get the raw ones, from `--json`."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any


def bps(value: float | None, *, signed: bool = False) -> str:
    """Two decimals, or `no data`."""
    if value is None:
        return "no data"
    shown = round(value, 2) + 0.0  # minus zero is zero
    return f"{shown:+.2f}" if signed else f"{shown:.2f}"


def pct(value: float | None) -> str:
    """One decimal and the sign, or `no data`; rounding never makes none of a few, nor all of most."""
    if value is None:
        return "no data"
    if 0 < value < 0.05:
        return "<0.1%"
    return ">99.9%" if 99.95 <= value < 100 else f"{value:.1f}%"


def count(value: int | None, noun: str = "") -> str:
    """Thousands separated: `1,200 ticks`, `1 tick`."""
    if value is None:
        return "no data"
    if not noun:
        return f"{value:,}"
    return f"{value:,} {noun if value == 1 else noun + 's'}"


def duration(seconds: float | None) -> str:
    """The two largest units: `1 h 20 m`, `2 m 28 s`, `4.0 s`."""
    if seconds is None:
        return "no data"
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s"
    if whole < 3_600:
        return f"{whole // 60} m {whole % 60} s"
    if whole < 86_400:
        return f"{whole // 3_600} h {whole % 3_600 // 60} m"
    return f"{whole // 86_400} d {whole % 86_400 // 3_600} h"


def to_the_second(iso: str | None) -> str:
    """An ISO 8601 stamp without its fraction: `2026-11-20T14:02:09Z`."""
    return "not recorded" if iso is None else f"{iso[:19]}Z"


def clock_time(iso: str | None) -> str:
    """The time of day of an ISO 8601 stamp: `18:43:09Z`."""
    return "-" if iso is None else f"{iso[11:19]}Z"


def money(value: float | None, unit: str | None) -> str:
    """Two decimals and the currency."""
    return "no data" if value is None else f"{value:,.2f} {unit or '(unnamed)'}"


def in_one_line(text: str) -> str:
    """Names and recorded texts may hold line ends and worse; what is said of them neither breaks the line nor moves
    the cursor.
    """
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def as_json(value: Any) -> Any:
    """Named tuples as objects, all the way down; keys are the field names. Decimals and fractions become floats."""
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {name: as_json(part) for name, part in value._asdict().items()}
    if isinstance(value, Decimal | Fraction):
        return float(value)
    if isinstance(value, dict):
        return {key: as_json(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(part) for part in value]
    return value
