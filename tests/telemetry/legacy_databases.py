"""Databases as an older engine left them, with rows of its own: what an upgrade must not hurt.

`SHAPES` are the ones that are taken in; each stands as a file in tests/data/legacy, made by tests/data/make_legacy.py.
"""

from __future__ import annotations

import hashlib
from collections import Counter
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

SESSIONS_KEPT_ELSEWHERE = """
CREATE TABLE system_metrics (id INTEGER PRIMARY KEY, session_id INTEGER NOT NULL, tick INTEGER NOT NULL, mid REAL,
  UNIQUE (session_id, tick));
INSERT INTO system_metrics VALUES (1, 1, 1, 1.25), (2, 1, 2, NULL), (3, 3, 1, 1.5);
"""

WITHOUT_ROWID = """
CREATE TABLE sessions (session_id INTEGER PRIMARY KEY, started_at TEXT);
INSERT INTO sessions VALUES (7, '2026-01-05T10:00:00Z');
CREATE TABLE system_metrics (session_id INTEGER, tick INTEGER, mid REAL, PRIMARY KEY (session_id, tick)) WITHOUT ROWID;
INSERT INTO system_metrics VALUES (7, 1, 1.25), (7, 2, NULL);
CREATE TABLE engine_state (key TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
INSERT INTO engine_state VALUES ('degraded_reason', 'drift');
"""

STRICT = """
CREATE TABLE sessions (session_id INTEGER PRIMARY KEY, started_at TEXT NOT NULL, notes ANY) STRICT;
INSERT INTO sessions VALUES (7, '2026-01-05T10:00:00Z', x'00ff');
CREATE TABLE system_metrics (id INTEGER PRIMARY KEY, session_id INT, tick INTEGER, mid ANY, clob_bid REAL, raw BLOB)
  STRICT;
INSERT INTO system_metrics VALUES (1, 7, 1, 'none', 1.25, x'00'), (2, 7, 2, 1.5, NULL, NULL);
CREATE TABLE fills (price TEXT, side TEXT) STRICT;
INSERT INTO fills VALUES ('1.30', 'bid');
"""

NAMES_IN_CAPITALS_AND_QUOTES = """
CREATE TABLE "SESSIONS" ("Session_ID" INTEGER PRIMARY KEY, "Started_At" TEXT NOT NULL, [group] TEXT);
INSERT INTO sessions VALUES (7, '2026-01-05T10:00:00Z', 'a');
CREATE TABLE `System_Metrics` ("ID" INTEGER PRIMARY KEY, "SESSION_ID" INTEGER, "Tick" INTEGER, "MID" REAL,
  "order" INTEGER, "a ""quoted"" name, [with] 'all'" TEXT);
INSERT INTO system_metrics VALUES (1, 7, 1, 1.25, 3, 'x'), (2, 7, 2, NULL, NULL, NULL);
"""

GENERATED_COLUMNS = """
CREATE TABLE system_metrics (id INTEGER PRIMARY KEY, session_id INTEGER, tick INTEGER, clob_bid REAL, clob_ask REAL,
  spread REAL GENERATED ALWAYS AS (clob_ask - clob_bid) VIRTUAL, crossed INTEGER AS (clob_bid > clob_ask) STORED);
INSERT INTO system_metrics(session_id, tick, clob_bid, clob_ask) VALUES (7, 1, 1.25, 1.5), (7, 2, 1.5, NULL);
"""

INDEXES = """
CREATE TABLE sessions (session_id INTEGER PRIMARY KEY, started_at TEXT, label TEXT UNIQUE);
INSERT INTO sessions VALUES (7, '2026-01-05T10:00:00Z', 'a'), (8, NULL, 'b');
CREATE TABLE system_metrics (id INTEGER PRIMARY KEY, session_id INTEGER, tick INTEGER, mid REAL, host_seq INTEGER);
CREATE INDEX by_mid ON system_metrics (mid DESC) WHERE mid IS NOT NULL;
CREATE INDEX by_half ON system_metrics (mid / 2, tick);
CREATE UNIQUE INDEX a_tick_once ON system_metrics (session_id, tick);
CREATE UNIQUE INDEX from_host ON system_metrics (host_seq);
INSERT INTO system_metrics VALUES (1, 7, 1, 1.25, 101), (2, 7, 2, NULL, 102), (3, 8, 1, 1.5, NULL);
"""

FOREIGN_KEYS = """
CREATE TABLE runs (run_id TEXT PRIMARY KEY, host TEXT NOT NULL);
INSERT INTO runs VALUES ('r1', 'h');
CREATE TABLE sessions (id INTEGER PRIMARY KEY, started_at TEXT, run_id TEXT REFERENCES runs);
INSERT INTO sessions VALUES (7, '2026-01-05T10:00:00Z', 'r1');
CREATE TABLE system_metrics (id INTEGER PRIMARY KEY, tick INTEGER, run_id TEXT REFERENCES runs ON DELETE CASCADE,
  session_id INTEGER REFERENCES sessions(id) DEFERRABLE INITIALLY DEFERRED);
INSERT INTO system_metrics VALUES (1, 1, 'r1', 7), (2, 2, NULL, NULL);
CREATE TABLE remarks (metric INTEGER NOT NULL REFERENCES system_metrics(id), text TEXT);
INSERT INTO remarks VALUES (1, 'odd');
"""

AUDITED = """
CREATE TABLE fills (id INTEGER PRIMARY KEY, price TEXT, side TEXT);
CREATE TABLE audit (by TEXT DEFAULT 'trigger', price TEXT);
CREATE TRIGGER audited AFTER INSERT ON fills BEGIN INSERT INTO audit(price) VALUES (new.price); END;
INSERT INTO fills VALUES (1, '1.30', 'bid');
CREATE TABLE order_events (id INTEGER PRIMARY KEY, side TEXT);
CREATE TRIGGER looked_at BEFORE INSERT ON order_events WHEN new.side = 'neither' BEGIN SELECT RAISE(ABORT, 'no'); END;
"""

_MANY = """
INSERT INTO system_metrics(session_id, tick, mid, created_at)
  WITH RECURSIVE n(i) AS (SELECT 3 UNION ALL SELECT i + 1 FROM n WHERE i < 300)
  SELECT 8, i, 1.3 + i / 1e4, '2026-01-06 10:00:00' FROM n;
"""

SHAPES = {
    "before_anchor_error": BEFORE_ANCHOR_ERROR,
    "breakers_without_session": BREAKERS_WITHOUT_SESSION,
    "other_shapes": OTHER_SHAPES,
    "all_of_it": BEFORE_ANCHOR_ERROR + BREAKERS_WITHOUT_SESSION,
    "sessions_kept_elsewhere": SESSIONS_KEPT_ELSEWHERE,
    "without_rowid": WITHOUT_ROWID,
    "strict": STRICT,
    "names_in_capitals_and_quotes": NAMES_IN_CAPITALS_AND_QUOTES,
    "generated_columns": GENERATED_COLUMNS,
    "indexes": INDEXES,
    "foreign_keys": FOREIGN_KEYS,
    "audited": AUDITED,
    "page_size_512": "PRAGMA page_size = 512;" + BEFORE_ANCHOR_ERROR + _MANY,
    "page_size_65536": "PRAGMA page_size = 65536;" + BEFORE_ANCHOR_ERROR + _MANY,
    "utf_16": "PRAGMA encoding = 'UTF-16be';" + OTHER_SHAPES + "INSERT INTO fills VALUES ('größer – ≥', NULL, NULL);",
    "auto_vacuum": "PRAGMA auto_vacuum = FULL;"
    + BEFORE_ANCHOR_ERROR
    + _MANY
    + "DELETE FROM system_metrics WHERE id % 2;",
    "write_ahead_mode": "PRAGMA journal_mode = WAL;" + BEFORE_ANCHOR_ERROR,
    "numbered_by_the_older_engine": "PRAGMA user_version = 1;" + BEFORE_ANCHOR_ERROR,
    "no_byte": "",
}


@contextmanager
def legacy(path: Path, script: str) -> Iterator[apsw.Connection]:
    """A database made by a script, open."""
    conn = apsw.Connection(str(path))
    try:
        list(conn.execute(script))  # to its end: a PRAGMA that answers would be the last one that is run
        yield conn
    finally:
        conn.close()


def shapes_of(conn: apsw.Connection) -> dict[str, list[str]]:
    """The tables and their columns, to be handed to `checksums` before and after."""
    names = "SELECT name FROM sqlite_master WHERE type = 'table' AND substr(name, 1, 7) != 'sqlite_'"
    columns = "SELECT name FROM pragma_table_xinfo(?)"
    return {table: [name for (name,) in conn.execute(columns, (table,))] for (table,) in conn.execute(names).fetchall()}


def rows_of(conn: apsw.Connection, shapes: dict[str, list[str]]) -> dict[str, Counter[tuple]]:
    """Every row as the values of the given columns, each with its storage type."""
    found = {}
    for table, columns in shapes.items():
        quoted = ['"' + name.replace('"', '""') + '"' for name in columns]
        values = ", ".join(f"{name}, typeof({name})" for name in quoted)
        found[table] = Counter(map(repr, conn.execute(f'SELECT {values} FROM "{table}"')))
    return found


def checksums(conn: apsw.Connection, shapes: dict[str, list[str]]) -> dict[str, str]:
    """A hash over every value of the given columns, its storage type included."""
    rows = rows_of(conn, shapes)
    return {table: hashlib.sha256(repr(sorted(rows[table].elements())).encode()).hexdigest() for table in shapes}
