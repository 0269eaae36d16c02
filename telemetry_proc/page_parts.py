"""The building blocks of the page: text, numbers and tables as HTML. Whatever comes in, its text goes out escaped."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import Any

from shared.clock import iso_utc
from telemetry_proc.wording import in_one_line

_LABEL = re.compile(r"^(?=.{8} \S)([A-Z]+(?: [A-Z]+)*) +(\S.*)$")
_ALIGNED = re.compile(r"\S {3,}\S|[^.\s] {2}\S.*[^.\s] {2}\S")
_QUESTION = re.compile(r"^([A-Z][^.?]{6,60}\?) ")
_WORD_UNITS = {"bps": "bps", "pct": "%", "ticks": "ticks", "errors": "errors", "s": "s", "quote": "quote", "ms": "ms"}
_DECIMALS = {"bps": 2, "pct": 1, "s": 1, "seconds": 1, "quote": 4}
_DASH = "–"
_LONG = 40
_ROWS_AT_ONCE = 24
_LIVE = ' class="live"'

NOT_RECORDED = "not recorded"


def html(value: Any) -> str:
    """Any text, escaped for text and attributes alike; control characters are spelled out."""
    return escape(in_one_line(str(value)), quote=True)


def none(text: str) -> str:
    """What a section says where it has nothing to show."""
    return f'<p class="none">{html(text)}</p>'


def named(key: str) -> str:
    """A key of the report as people read it: `abs_p95_bps` is "abs p95, bps"."""
    if key.isupper():
        return key  # a name from the record, not one of ours
    words = key.split("_")
    unit = _WORD_UNITS.get(words[-1]) if len(words) > 1 else None
    return f"{' '.join(words[:-1])}, {unit}" if unit else " ".join(words)


def shown(key: str, value: Any) -> str:
    """A value as people read it, rounded by the unit in its key; an interval as its two ends."""
    if value is None:
        return _DASH
    if isinstance(value, Mapping):
        if {"low", "high"} <= value.keys():
            unit = key.replace("_interval", "")
            return f"{shown(unit, value['low'])} … {shown(unit, value['high'])}"
        return "; ".join(f"{named(str(name))} {shown(str(name), part)}" for name, part in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(shown(key, part) for part in value)
    return str(value) if isinstance(value, str) else _number(key, value)


def _number(key: str, value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int):
        return iso_utc(value) if key.endswith("ts_ns") else f"{value:,}"
    decimals = _DECIMALS.get(key.rpartition("_")[2])
    if decimals is None and abs(value) < 1_000:
        return f"{value:.4g}"
    return f"{value:,.{2 if decimals is None else decimals}f}"


def table(caption: str, heads: Sequence[str], rows: Iterable[Sequence[str]], live: int | None = None) -> str:
    """A table that scrolls inside its box. Cells are plain text; a column of numbers is set to the right."""
    listed = [list(row) for row in rows]
    numeric = [all(_is_number(row[at]) for row in listed if row[at] != _DASH) for at in range(len(heads))]
    head = "".join(
        f'<th scope="col"{_class(right=right)}>{html(name)}</th>' for name, right in zip(heads, numeric, strict=True)
    )
    body = "".join(
        f"<tr{_LIVE if at == live else ''}>"
        + "".join(f"<td{_class(cell, right=right)}>{html(cell)}</td>" for cell, right in zip(row, numeric, strict=True))
        + "</tr>"
        for at, row in enumerate(listed)
    )
    tall = " tall" if len(listed) > _ROWS_AT_ONCE else ""
    return (
        f'<div class="card scroll{tall}" tabindex="0"><table><caption>{html(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def records(caption: str, rows: Sequence[Mapping[str, Any]], keys: Sequence[str] | None = None) -> str:
    """A table of objects, a column a key; nothing at all if there are none."""
    if not rows:
        return ""
    wanted = list(dict.fromkeys(str(key) for row in rows for key in row)) if keys is None else list(keys)
    wanted = [key for key in wanted if any(row.get(key) is not None for row in rows)]
    return table(
        caption, [named(key) for key in wanted], [[shown(key, row.get(key)) for key in wanted] for row in rows]
    )


def pairs(caption: str, values: Mapping[str, Any]) -> str:
    """A table of two columns, a row a key."""
    if not values:
        return ""
    rows = "".join(
        f'<tr><th scope="row">{html(name)}</th><td{_class(cell, right=len(cell) <= _LONG)}>{html(cell)}</td></tr>'
        for name, cell in _flat(values)
    )
    head = f"<caption>{html(caption)}</caption>"
    return f'<div class="card scroll" tabindex="0"><table>{head}<tbody>{rows}</tbody></table></div>'


def _flat(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    """Names and cells, those of an object inside after its own name; an interval is one cell."""
    for key, value in values.items():
        if key == "ts_ns" and "time" in values:
            continue  # the same in words
        name = f"{before}{named(str(key))}"
        if isinstance(value, Mapping) and not {"low", "high"} <= value.keys():
            yield from _flat(value, f"{name}: ")
        else:
            yield name, shown(str(key), value)


def terms(values: Iterable[tuple[str, str]]) -> str:
    """Words and what they mean."""
    listed = "".join(f"<dt>{html(name)}</dt><dd>{html(text)}</dd>" for name, text in values)
    return f'<dl class="card terms">{listed}</dl>' if listed else ""


def bullets(lines: Iterable[str]) -> str:
    """A list of sentences."""
    listed = "".join(f"<li>{html(line)}</li>" for line in lines)
    return f'<ul class="notes">{listed}</ul>' if listed else ""


def page_one(lines: Sequence[Any]) -> str:
    """The page as in the terminal, laid out anew: labels beside their text, sentences that wrap, columns that do not.

    A line that the terminal broke (its rest stands two columns further in) is joined again. Lines with columns keep
    their spaces and scroll in their own box.
    """
    blocks: list[tuple[str, list[str]]] = []
    for line in map(str, lines):
        found = _LABEL.match(line)
        if found:
            blocks.append((found[1], [found[2]]))
        elif blocks and line.startswith("           ") and not _ALIGNED.search(line.strip()):
            blocks[-1][1][-1] += " " + line.strip()
        elif blocks and (line.startswith("         ") or not blocks[-1][0]):
            blocks[-1][1].append(line.strip())
        elif line.strip():
            blocks.append(("", [line.strip()]))
    return f'<div class="card one">{"".join(_block(label, text) for label, text in blocks)}</div>'


def _block(label: str, lines: Sequence[str]) -> str:
    parts: list[str] = []
    columns: list[str] = []
    for line in [*lines, ""]:
        if label and _ALIGNED.search(line):
            columns.append(html(line))
            continue
        if columns:
            aligned = "\n".join(columns)
            parts.append(f'<pre class="mono" tabindex="0">{aligned}</pre>')
            columns = []
        if line:
            parts.append("<p>" + _QUESTION.sub(r"<b>\1</b> ", html(line)) + "</p>")
    text = "".join(parts)
    if not label:
        return f'<div><div class="wholly">{text}</div></div>'
    return f"<div><h3>{html(label)}</h3><div>{text}</div></div>"


def _is_number(cell: str) -> bool:
    return bool(cell) and cell[0] in "+-.0123456789<>" and ":" not in cell


def _class(cell: str = "", *, right: bool) -> str:
    if right:
        return ' class="n"'
    return ' class="long"' if len(cell) > _LONG else ""
