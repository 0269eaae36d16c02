"""The rows of one table beside the records that they must be, both in order and one at a time.

Values must be identical: the same type and equal. For floats that is bit for bit, because NaN is in no record and
minus zero, which SQLite's file format does not have, is equal to zero.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import apsw

from shared.records import Record
from telemetry_proc.journal_check import Finding
from telemetry_proc.reading import ORDER_OF, columns
from telemetry_proc.tables import TABLE_OF

Row = tuple[Any, ...]


class TableRows:
    """The rows of a session in the table of one kind of record, taken in the order of `ORDER_OF`."""

    def __init__(
        self, conn: apsw.Connection, record_type: type[Record], session_id: int | None, say: Callable[[Finding], None]
    ) -> None:
        self._table = TABLE_OF[record_type]
        self._columns = ("session_id", "seq", *record_type._fields)
        self._key_at = self._columns.index(ORDER_OF[self._table])
        self._rows = _select(conn, self._table, self._columns, session_id)
        self._head = next(self._rows, None)
        self._key_taken: int | None = None
        self._rowid_taken = -1
        self._say = say

    def match(self, expected: Row, position: int, *, in_turn: bool) -> None:
        """The next record must be the next row. Not `in_turn`: it filled a gap, so it was stored late."""
        head = self._head
        if head is not None and head[:-1] == expected and [*map(type, head[:-1])] == [*map(type, expected)]:
            self._take(head, position, in_turn)
            return
        seq, key = expected[1], expected[self._key_at]
        if self._key_taken is not None and key <= self._key_taken:
            self._say(Finding("record_out_of_order", f"{self._key} {key} after {self._key_taken}", position, seq))
            return
        self._pass_strangers_until(key)
        head = self._head
        if head is None or head[self._key_at] != key:
            self._say(Finding("row_missing", f"no row in {self._table}", position, seq))
            return
        for name, value, due in zip(self._columns, head, expected, strict=False):
            if value != due or type(value) is not type(due):
                text = f"{self._table}.{name} is {shown(value)}, recorded was {shown(due)}"
                self._say(Finding("row_differs", text, position, seq))
        self._take(head, position, in_turn)

    def end(self) -> None:
        """No record is left: every row that is has none."""
        while self._head is not None:
            self._stranger(self._head)

    @property
    def _key(self) -> str:
        return ORDER_OF[self._table]

    def _take(self, row: Row, position: int, in_turn: bool) -> None:  # noqa: FBT001
        self._key_taken = row[self._key_at]
        if in_turn:
            if row[-1] <= self._rowid_taken:
                text = f"row {row[-1]} of {self._table} was stored before that of an earlier record"
                self._say(Finding("row_out_of_order", text, position, row[1]))
            self._rowid_taken = row[-1]
        self._head = next(self._rows, None)

    def _pass_strangers_until(self, key: int) -> None:
        while self._head is not None:
            found = self._head[self._key_at]
            if found is not None and not (isinstance(found, int | float) and found < key):
                return
            self._stranger(self._head)

    def _stranger(self, row: Row) -> None:
        again = row[self._key_at] == self._key_taken is not None
        what = "is there twice" if again else "belongs to no record of this journal up to its offset"
        code = "row_repeated" if again else "row_extra"
        text = f"row {row[-1]} of {self._table} ({self._key} {shown(row[self._key_at])}) {what}"
        self._say(Finding(code, text, record=row[1] if isinstance(row[1], int) else None))
        self._head = next(self._rows, None)


def shown(value: Any) -> str:
    """A value for a message, not longer than a line."""
    text = repr(value)
    return "NULL" if value is None else text if len(text) <= 60 else f"{text[:57]}..."


def _select(conn: apsw.Connection, table: str, wanted: Row, session_id: int | None) -> Iterator[Row]:
    """The wanted columns, NULL for one that the table lacks, and the rowid: the order of storing."""
    present, key = columns(conn, table), ORDER_OF[table]
    if session_id is None or not {"session_id", key} <= set(present):
        return iter(())
    listed = ", ".join(name if name in present else f"NULL AS {name}" for name in wanted)
    sql = f"SELECT {listed}, rowid FROM {table} WHERE session_id = ? ORDER BY {key}, rowid"  # noqa: S608 - our names
    return conn.execute(sql, (session_id,))
