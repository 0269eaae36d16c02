"""A table of one session as CSV, for whatever the quant works with.

One header line with the column names, then a line for every row, in the order they happened. NULL is an empty
field. Floats are written by `repr`, which reads back as the identical double. The rows are streamed: memory does not
grow with the session.
"""

from __future__ import annotations

import csv
from typing import IO

import apsw

from shared.errors import NotEnoughData
from telemetry_proc.reading import ORDER_OF, columns, session_pages

TABLES = tuple(ORDER_OF)


def export_csv(conn: apsw.Connection, table: str, session_id: int, out: IO[str]) -> int:
    """Write one of `TABLES` and return the number of rows. Raises `NotEnoughData` if this database lacks the table."""
    names = columns(conn, table)
    if "session_id" not in names:
        raise NotEnoughData(f"this database has no {table} by session; nothing to export")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(names)
    written = 0
    for page in session_pages(conn, table, names, session_id):
        writer.writerows(page)
        written += len(page)
    return written
