"""Databases as an older engine left them, with rows of its own: what an upgrade must not hurt."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw

BEFORE_ANCHOR_ERROR = """
CREATE TABLE sessions (session_id INTEGER PRIMARY KEY AUTOINCREMENT, started_at TEXT NOT NULL, ended_at TEXT,
  notes TEXT);
INSERT INTO sessions VALUES (7, '2026-01-05T10:00:00Z', NULL, 'first'), (8, '2026-01-06T10:00:00Z', NULL, NULL);
CREATE TABLE system_metrics (id INTEGER PRIMARY KEY AUTOINCREMENT, session_id INTEGER, tick INTEGER, mid REAL,
  clob_bid REAL, clob_ask REAL, inventory_skew REAL, cpu_pct REAL, created_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP);
INSERT INTO system_metrics(session_id, tick, mid, clob_bid, cpu_pct, created_at) VALUES
  (7, 1, 1.305515, 1.30421, 12.5, '2026-01-05 10:00:04'), (7, 1, 1.305515, NULL, 12.5, '2026-01-05 10:00:04'),
  (7, 2, NULL, 1e-300, NULL, '2026-01-05 10:00:08'), (NULL, NULL, -2.5, NULL, NULL, '2026-01-05 10:00:12');
CREATE TABLE engine_state (key TEXT PRIMARY KEY, value TEXT, updated_at TEXT);
INSERT INTO engine_state VALUES ('degraded_reason', 'drift', '2026-01-05T10:00:00Z');
"""

BREAKERS_WITHOUT_SESSION = """
CREATE TABLE circuit_breaker_events (id INTEGER PRIMARY KEY AUTOINCREMENT, created_at TEXT NOT NULL,
  breaker TEXT NOT NULL, triggered_at TEXT NOT NULL, cooldown_seconds INTEGER,
  manual_reset_required INTEGER NOT NULL DEFAULT 0, context_json TEXT);
INSERT INTO circuit_breaker_events VALUES
  (3, '2026-01-05T10:00:00Z', 'drift', '2026-01-05T10:00:00Z', 60, 0, '{"tick": 5}'),
  (9, '2026-01-06T10:00:00Z', 'stale', '2026-01-06T10:00:00Z', NULL, 1, NULL);
"""

OTHER_SHAPES = """
CREATE TABLE sessions (id INTEGER PRIMARY KEY, started_at TEXT NOT NULL, pair TEXT NOT NULL);
INSERT INTO sessions VALUES (4, '2026-01-05T10:00:00Z', 'XRP/USD');
CREATE TABLE engine_state (id INTEGER PRIMARY KEY, key TEXT, value TEXT);
INSERT INTO engine_state VALUES (1, 'mode', 'ACTIVE'), (2, 'mode', 'DEGRADED');
CREATE TABLE Fills (Price TEXT, side VARCHAR(3), venue_id BLOB);
INSERT INTO fills VALUES ('1.30', 'bid', x'00ff'), ('1.30', 'bid', x'00ff');
"""

SHAPES = {
    "before_anchor_error": BEFORE_ANCHOR_ERROR,
    "breakers_without_session": BREAKERS_WITHOUT_SESSION,
    "other_shapes": OTHER_SHAPES,
    "all_of_it": BEFORE_ANCHOR_ERROR + BREAKERS_WITHOUT_SESSION,
}


@contextmanager
def legacy(path: Path, script: str) -> Iterator[apsw.Connection]:
    """A database made by a script, open."""
    conn = apsw.Connection(str(path))
    try:
        conn.execute(script)
        yield conn
    finally:
        conn.close()


def shapes_of(conn: apsw.Connection) -> dict[str, list[str]]:
    """The tables and their columns, to be handed to `checksums` before and after."""
    names = "SELECT name FROM sqlite_master WHERE type = 'table' AND substr(name, 1, 7) != 'sqlite_'"
    columns = "SELECT name FROM pragma_table_info(?)"
    return {table: [name for (name,) in conn.execute(columns, (table,))] for (table,) in conn.execute(names).fetchall()}


def checksums(conn: apsw.Connection, shapes: dict[str, list[str]]) -> dict[str, str]:
    """A hash over every value, its storage type included, of the given columns in rowid order."""
    found = {}
    for table, columns in shapes.items():
        values = ", ".join(f"{name}, typeof({name})" for name in columns)
        rows = conn.execute(f"SELECT rowid, {values} FROM {table} ORDER BY rowid").fetchall()
        found[table] = hashlib.sha256(repr(rows).encode()).hexdigest()
    return found
