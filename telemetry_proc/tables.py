"""Every table Kedge keeps, as data: what `schema.py` creates, `store.py` fills and docs/telemetry.md explains.

The columns of a record's table follow from `shared/records.py`; only the writer's own columns are spelled out here.
No record column is declared NOT NULL, so that a fresh table and one that was upgraded column by column are the same;
what may be NULL is decided at validation.
"""

from __future__ import annotations

from typing import NamedTuple

from shared.records import (
    Doc,
    EngineState,
    FieldSpec,
    FillRecord,
    InventoryTruth,
    ModeChanged,
    OrderEvent,
    ReconcilerAnomaly,
    Record,
    SessionClosed,
    SessionOpened,
    TickRecord,
    fields_of,
)

APPLICATION_ID = 0x4B454447  # "KEDG" in the header of the file, so that `file` and we know whose it is
SCHEMA_VERSION = 1
LEGACY = "row older than this column"
UNOPENED = "its session_opened has not been seen"
UNCLOSED = "not closed: running or crashed"


class Column(NamedTuple):
    """A column, as it stands in a new table and as it is added to an older one."""

    name: str
    sql_type: str
    doc: Doc
    constraint: str = ""  # in CREATE TABLE
    added: str | None = ""  # in ALTER TABLE ADD COLUMN; None: not added, the older table lives without it
    exact: bool = False  # values must come back as they went in: an older column of another type is refused


class Table(NamedTuple):
    """A table and the columns that together stand in it once."""

    name: str
    doc: str
    columns: tuple[Column, ...]
    once: tuple[str, ...] = ()

    def has(self, column: str) -> bool:
        """Is this one of our columns of the table?"""
        return any(own.name == column for own in self.columns)


_ID = Column("id", "INTEGER", Doc("", "order of storing"), "PRIMARY KEY", added=None)
_SESSION = Column(
    "session_id",
    "INTEGER",
    Doc("", "session of the record", LEGACY),
    "REFERENCES sessions(session_id)",
    "REFERENCES sessions(session_id)",
    exact=True,
)
_SEQ = Column("seq", "INTEGER", Doc("", "number of the record in its session, from 0", LEGACY), exact=True)

TABLE_OF: dict[type[Record], str] = {
    TickRecord: "system_metrics",
    ModeChanged: "mode_transitions",
    OrderEvent: "order_events",
    FillRecord: "fills",
    InventoryTruth: "inventory_truth_snapshots",
    ReconcilerAnomaly: "reconciler_anomaly_log",
}

OPENED_AS = {"ts_ns": "started_ns", "wall_ns": "started_at"}
CLOSED_AS = {"ts_ns": "ended_ns", "wall_ns": "ended_at"}


def session_fields(record_type: type[Record], renamed: dict[str, str], null: str) -> tuple[Column, ...]:
    """Fields of an opening or closing record as columns of `sessions`; the wall clock becomes ISO text."""
    return tuple(
        Column(renamed[field.name], "TEXT", Doc("ISO 8601 UTC", field.doc.meaning, null))
        if field.name == "wall_ns"
        else _column(field._replace(name=renamed.get(field.name, field.name), doc=field.doc._replace(null=null)))
        for field in fields_of(record_type)
    )


def _column(field: FieldSpec) -> Column:
    return Column(field.name, field.sql_type, field.doc, exact=True)


def _record_table(record_type: type[Record], once: tuple[str, ...] = ("session_id", "seq")) -> Table:
    columns = (_ID, _SESSION, _SEQ, *map(_column, fields_of(record_type)))
    summary = (record_type.__doc__ or "").partition("\n")[0]
    return Table(TABLE_OF[record_type], summary, columns, once)


_SCHEMA_CHANGES = Table(
    "schema_changes",
    "Every step that changed this database's tables.",
    (
        _ID,
        Column(
            "applied_at",
            "TEXT",
            Doc("ISO 8601 UTC", "when"),
            "NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))",  # a migration is not a record: SQLite's clock
            added="",
        ),
        Column("schema_version", "INTEGER", Doc("", "schema version that asked for the step")),
        Column("step", "TEXT", Doc("", "what was done")),
    ),
)

_SESSIONS = Table(
    "sessions",
    "One run of the engine, from its start to its end.",
    (
        Column("session_id", "INTEGER", Doc("", "small number for people"), "PRIMARY KEY", "", exact=True),
        Column("session_uid", "TEXT", Doc("", "the engine's own name of the session", LEGACY), exact=True),
        Column("status", "TEXT", Doc("", "RUNNING, ENDED or CRASHED", LEGACY)),
        *session_fields(SessionOpened, OPENED_AS, UNOPENED),
        *session_fields(SessionClosed, CLOSED_AS, UNCLOSED),
    ),
    ("session_uid",),
)

_CIRCUIT_BREAKER_EVENTS = Table(
    "circuit_breaker_events",
    "A breaker fired; the tick is inside the context.",
    (
        _ID._replace(constraint="PRIMARY KEY AUTOINCREMENT"),
        Column("created_at", "TEXT", Doc("ISO 8601 UTC", "wall clock of the trip"), "NOT NULL"),
        Column("breaker", "TEXT", Doc("", "which breaker"), "NOT NULL"),
        Column("triggered_at", "TEXT", Doc("ISO 8601 UTC", "market time of the trip"), "NOT NULL"),
        Column("cooldown_seconds", "INTEGER", Doc("s", "time until it re-arms by itself", "it never does"), exact=True),
        Column(
            "manual_reset_required",
            "INTEGER",
            Doc("", "1: only the operator re-arms"),
            "NOT NULL DEFAULT 0",
            "NOT NULL DEFAULT 0",
            exact=True,
        ),
        Column("context_json", "TEXT", Doc("JSON", "what the breaker saw", "not said"), exact=True),
        _SESSION,
    ),
)

_ENGINE_STATE = Table(
    "engine_state",
    "Named results, of the latest session that stated them.",
    (
        Column("key", "TEXT", Doc("", "dotted name"), "PRIMARY KEY", ""),
        Column("value", "TEXT", Doc("JSON scalar", "the value", "not measurable in that session")),
        Column("updated_at", "TEXT", Doc("ISO 8601 UTC", "market time of the statement", LEGACY)),
        _SESSION,
    ),
)

_SESSION_STATE = Table(
    "session_state",
    "Named results of every session; the last statement of a key stands.",
    (
        _SESSION._replace(doc=Doc("", "session of the statement")),
        Column("key", "TEXT", Doc("", "dotted name"), "NOT NULL"),
        _SEQ._replace(doc=Doc("", "record that stated it")),
        Column("value", "TEXT", Doc("JSON scalar", "the value", "not measurable in this session")),
        *(_column(field) for field in fields_of(EngineState) if field.name == "ts_ns"),
    ),
    ("session_id", "key"),
)

_OFFSETS = Table(
    "telemetry_offsets",
    "How far each session is stored; moves in the same transaction as the rows.",
    (
        Column("session_uid", "TEXT", Doc("", "session"), "PRIMARY KEY", added=None),
        Column("next_seq", "INTEGER", Doc("", "first record that is not stored yet"), "NOT NULL", added=""),
        Column(
            "journal_position",
            "INTEGER",
            Doc("bytes", "where that record starts in the journal", "not known at present"),
        ),
    ),
)

_GAPS = Table(
    "telemetry_gaps",
    "Records that were passed over because neither socket nor journal had them.",
    (
        Column("session_uid", "TEXT", Doc("", "session"), "NOT NULL", added=None),
        Column("first_seq", "INTEGER", Doc("", "first record of the gap"), "NOT NULL", added=None),
        Column("last_seq", "INTEGER", Doc("", "last record of the gap"), "NOT NULL", added=""),
        Column("reason", "TEXT", Doc("", "why they could not be read")),
        Column("noticed_at", "TEXT", Doc("ISO 8601 UTC", "wall clock of the writer")),
        Column("missing_from", "INTEGER", Doc("", "first record still missing", "none is: filled is 1")),
        Column("filled", "INTEGER", Doc("", "1: a backfill has since found them all"), "NOT NULL DEFAULT 0", added=""),
    ),
    ("session_uid", "first_seq"),
)

_REJECTS = Table(
    "telemetry_rejects",
    "Bytes that arrived and could not become a row, with the reason.",
    (
        _ID,
        Column("session_uid", "TEXT", Doc("", "session", "the bytes do not say")),
        Column("seq", "INTEGER", Doc("", "number of the record", "the bytes do not say")),
        Column("source", "TEXT", Doc("", "socket or journal")),
        Column("reason", "TEXT", Doc("", "the rule that the bytes break")),
        Column("payload", "BLOB", Doc("", "the bytes, at most the first 65,536")),
        Column("payload_bytes", "INTEGER", Doc("bytes", "their whole length")),
        Column("received_ns", "INTEGER", Doc("ns since 1970", "wall clock of the writer")),
    ),
)

TABLES: tuple[Table, ...] = (
    _SCHEMA_CHANGES,
    _SESSIONS,
    _record_table(TickRecord, ("session_id", "tick")),
    _CIRCUIT_BREAKER_EVENTS,
    *map(_record_table, (ModeChanged, FillRecord, OrderEvent, InventoryTruth, ReconcilerAnomaly)),
    _ENGINE_STATE,
    _SESSION_STATE,
    _OFFSETS,
    _GAPS,
    _REJECTS,
)
