"""Writes docs/telemetry.md: `python -m docs.generate`. It stands beside its page, as nothing that ships needs it."""

from __future__ import annotations

from pathlib import Path

from shared.records import KINDS, BreakerEvent, EngineState, Record, SessionClosed, SessionOpened
from telemetry_proc.tables import APPLICATION_ID, SCHEMA_VERSION, TABLE_OF, TABLES, Column, Table

PAGE = Path(__file__).with_name("telemetry.md")

STORED_IN: dict[type[Record], str] = {
    **TABLE_OF,
    SessionOpened: "sessions",
    SessionClosed: "sessions",
    BreakerEvent: "circuit_breaker_events",
    EngineState: "engine_state",
}

INTRODUCTION = f"""\
# Telemetry: every table, every column

<!-- Generated from shared/records.py and telemetry_proc/tables.py by `python -m docs.generate`. A test compares. -->

One SQLite file, written by `kedge-telemetry write` alone and readable by anyone while it is being written. Schema
version {SCHEMA_VERSION} (`PRAGMA user_version`), application id {APPLICATION_ID:#x} ("KEDG").

- **NULL** is a value that was not there. It is never 0.0, and NaN never enters a record. Rows that an older version
  stored hold NULL in every column that was added after them.
- **Signals** are REAL, bit for bit as the engine computed them. **Money** (`*_amount`, `*_tracked`, `*_truth`, and
  `price` of orders and fills) is TEXT, digit for digit as it was accounted: `SUM()` works on it, comparisons need
  `CAST(... AS REAL)`.
- **Prices** are quote currency per base unit; **bps** are 1/10,000; **ns since 1970** are integer nanoseconds, UTC.
- *Market time* (`ts_ns`) is the market's own: on a tape or a simulated market it is not the time of the run.
- Within a session, `seq` numbers every record from 0 and `tick` every look at the market from 1.
"""


def telemetry_page() -> str:
    """The whole page, as docs/telemetry.md must be."""
    sections = [INTRODUCTION, _records_section(), *map(_table_section, TABLES)]
    return "\n".join(sections)


def _records_section() -> str:
    lines = ["## Which record goes where", "", "| record | table | what it says |", "|---|---|---|"]
    for kind, record_type in KINDS.items():
        table = STORED_IN[record_type]
        lines.append(_row(f"`{kind}`", f"[`{table}`](#{table})", _first_sentence(record_type.__doc__)))
    return "\n".join([*lines, ""])


def _table_section(table: Table) -> str:
    once = f" One row for each ({', '.join(f'`{name}`' for name in table.once)})." if table.once else ""
    lines = [f"## {table.name}", "", f"{table.doc}{once}", ""]
    lines += ["| column | type | unit | meaning | NULL means |", "|---|---|---|---|---|"]
    lines += [_column_row(column) for column in table.columns]
    return "\n".join([*lines, ""])


def _column_row(column: Column) -> str:
    return _row(
        f"`{column.name}`", column.sql_type, column.doc.unit or "–", column.doc.meaning, column.doc.null or "never NULL"
    )


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _first_sentence(docstring: str | None) -> str:
    return " ".join((docstring or "").split()).partition(". ")[0].rstrip(".") + "."


if __name__ == "__main__":
    PAGE.write_text(telemetry_page(), encoding="utf-8", newline="\n")
