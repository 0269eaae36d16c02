"""Databases that must not be written to, or cannot be trusted: each has a defined outcome.

Either it is accepted and complete, or refused with exit code 5 and one line that names file and object, as it was to
the last byte. Either way the journals have everything.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import closing, contextmanager
from pathlib import Path

import apsw
import pytest

from shared import cli
from shared.errors import DatabaseUnusable
from telemetry_proc.__main__ import telemetry
from telemetry_proc.connection import open_for_writing
from telemetry_proc.lock import sole_writer
from telemetry_proc.schema import initialize_database
from telemetry_proc.tables import APPLICATION_ID
from tests.shared.record_examples import EXAMPLES
from tests.telemetry.an_engine import encoded, expected, session, stored, write_journal
from tests.telemetry.recorded_session import insert

RECORDS = session(5)
posix = pytest.mark.skipif(os.name != "posix", reason="files of this kind are POSIX")


@pytest.fixture
def journal(tmp_path):
    return write_journal(tmp_path / "j", encoded(RECORDS))


def make(path, script):
    """By a program that has a collation and a function of its own."""
    with closing(apsw.Connection(str(path))) as conn:
        conn.create_collation("elsewhere", lambda one, other: (one > other) - (one < other))
        conn.create_scalar_function("host_said", lambda *_: 1, deterministic=True)
        list(conn.execute(script))
    return path


def every_byte(directory):
    """All files below, the lock left out: it is allowed to stay."""
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file() and ".lock" not in path.name
    }


def backfilled(capsys, database, journal):
    code = cli.run(telemetry, ["backfill", "--db", str(database), str(journal)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def refused(capsys, database, journal, *parts):
    before = every_byte(database.parent)

    code, out, err = backfilled(capsys, database, journal)

    assert (code, out) == (5, ""), err
    assert err.startswith("error: ")
    assert len(err.splitlines()) == 1, err
    for part in parts:
        assert part in err
    assert every_byte(database.parent) == before


def accepted(capsys, database, journal):
    code, _, err = backfilled(capsys, database, journal)
    assert (code, err) == (0, "")
    assert stored(database.absolute()) == expected(RECORDS)


# --- what can be seen from the schema

FILLS = "CREATE TABLE fills (id INTEGER PRIMARY KEY, price TEXT, trade_id TEXT);"

HOSTILE = {
    "newer": (f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = 2", ("newer Kedge", "schema 2")),
    "perhaps newer": (f"PRAGMA user_version = 12; {FILLS}", ("newer Kedge", "schema 12", "PRAGMA user_version = 0")),
    "foreign": (f"PRAGMA application_id = 77; {FILLS}", ("another program", "77")),
    "not null": ("CREATE TABLE fills (price TEXT, host TEXT NOT NULL)", ("fills.host", "NOT NULL")),
    "not null generated": ("CREATE TABLE fills (price TEXT, half AS (price / 2) NOT NULL)", ("fills.half", "NOT NULL")),
    "generated": ("CREATE TABLE sessions (session_id INTEGER PRIMARY KEY, pair TEXT AS ('X'))", ("sessions.pair",)),
    "view": (f"{FILLS} CREATE VIEW sessions AS SELECT 1", ("sessions is a view",)),
    "view with a trigger": (
        "CREATE VIEW fills AS SELECT 1 AS price; CREATE TRIGGER t INSTEAD OF INSERT ON fills BEGIN SELECT 1; END",
        ("fills is a view",),
    ),
    "full text": ("CREATE VIRTUAL TABLE fills USING fts5(price)", ("fills is a virtual table",)),
    "spatial": (f"{FILLS} CREATE VIRTUAL TABLE sessions USING rtree(id, low, high)", ("sessions is a virtual table",)),
    "sessions without rowid": (
        "CREATE TABLE sessions (session_id INTEGER PRIMARY KEY) WITHOUT ROWID",
        ("sessions is WITHOUT ROWID",),
    ),
    "id without rowid": ("CREATE TABLE fills (id INTEGER PRIMARY KEY) WITHOUT ROWID", ("fills.id", "does not write")),
    "strict": ("CREATE TABLE sessions (session_id INTEGER PRIMARY KEY, started_at INTEGER) STRICT", ("started_at",)),
    "unique": (f"{FILLS} CREATE UNIQUE INDEX u ON fills (trade_id, price)", ("index u", "fills(price, trade_id)")),
    "unique expression": (f"{FILLS} CREATE UNIQUE INDEX u ON fills (lower(price))", ("index u", "an expression")),
    "unique constraint": ("CREATE TABLE system_metrics (tick INTEGER UNIQUE)", ("system_metrics(tick) unique",)),
    "unique with default": ("CREATE TABLE fills (price TEXT, host TEXT DEFAULT 'a' UNIQUE)", ("fills(host) unique",)),
    "tick as rowid": ("CREATE TABLE system_metrics (tick INTEGER PRIMARY KEY)", ("primary key", "(tick) unique")),
    "index in the way": (f"{FILLS} CREATE INDEX fills_once ON fills (price)", ("index fills_once on fills",)),
    "reference": (
        "CREATE TABLE runs (id INTEGER PRIMARY KEY); CREATE TABLE fills (session_id INTEGER REFERENCES runs(id))",
        ("fills.session_id refers to runs(id)",),
    ),
    "deferred reference": (
        "CREATE TABLE runs (a, b, UNIQUE (a, b)); CREATE TABLE system_metrics (session_id INTEGER, tick INTEGER,"
        " FOREIGN KEY (session_id, tick) REFERENCES runs(a, b) DEFERRABLE INITIALLY DEFERRED)",
        ("system_metrics.session_id refers to runs(a)",),
    ),
    "reference to nothing": ("CREATE TABLE fills (session_id INTEGER REFERENCES runs)", ("refers to runs",)),
    "reference to a name": (
        "CREATE TABLE sessions (name TEXT PRIMARY KEY); CREATE TABLE fills (session_id INTEGER REFERENCES sessions)",
        ("fills.session_id refers to sessions",),
    ),
    "collation": (
        "CREATE TABLE fills (price TEXT COLLATE elsewhere)",
        ("fills cannot be written", "no such collation sequence: elsewhere"),
    ),
    "function in an index": (
        f"{FILLS} CREATE INDEX i ON fills (host_said(price))",
        ("fills cannot be written", "host_said"),
    ),
    "function in a check": (
        "CREATE TABLE sessions (session_id INTEGER PRIMARY KEY, status TEXT CHECK (host_said(status)))",
        ("sessions cannot be written", "host_said"),
    ),
    "check": (
        "CREATE TABLE sessions (session_id INTEGER PRIMARY KEY, status TEXT CHECK (status IN ('open', 'shut')))",
        ("sessions takes no session of ours", "CHECK constraint failed"),
    ),
    "trigger on sessions": (
        "CREATE TABLE sessions (session_id INTEGER PRIMARY KEY);"
        " CREATE TRIGGER t BEFORE INSERT ON sessions BEGIN SELECT RAISE(ABORT, 'frozen'); END",
        ("sessions takes no session of ours", "frozen"),
    ),
}  # fmt: skip

ON_FILLS = f"{FILLS} CREATE TABLE audit (price TEXT); CREATE TRIGGER t"
TRIGGERS = {
    "changes its row": ("AFTER INSERT ON fills BEGIN UPDATE fills SET price = '0' WHERE id = new.id; END", "writes to"),
    "deletes its row": ("AFTER INSERT ON fills BEGIN DELETE FROM fills WHERE id = new.id; END", "writes to fills"),
    "only now and then": (
        "AFTER INSERT ON fills WHEN new.price = '17' BEGIN UPDATE Fills SET price = 0; END",
        "writes to fills",
    ),
    "by way of another": (
        "AFTER INSERT ON fills BEGIN INSERT INTO audit VALUES (1); END;"
        " CREATE TRIGGER u AFTER INSERT ON audit BEGIN DELETE FROM fills; END",
        "trigger u writes to fills",
    ),
    "recursive": ("AFTER INSERT ON fills BEGIN INSERT INTO fills(price) VALUES (1); END", "trigger t writes to fills"),
    "of the books": (
        "AFTER INSERT ON fills BEGIN SELECT 1; END; CREATE TABLE telemetry_offsets (session_uid TEXT PRIMARY KEY,"
        " next_seq INTEGER NOT NULL); CREATE TRIGGER v AFTER UPDATE ON telemetry_offsets"
        " BEGIN UPDATE telemetry_offsets SET next_seq = 0; END",
        "trigger v writes to telemetry_offsets",
    ),
    "ignores": ("BEFORE INSERT ON fills BEGIN SELECT raise /* (abort) */ (--)\n Ignore); END", "RAISE(IGNORE)"),
    "fails": ("AFTER INSERT ON fills BEGIN SELECT RAISE(FAIL, 'no'); END", "RAISE(FAIL)"),
    "rolls back": ("AFTER INSERT ON fills BEGIN SELECT RAISE(ROLLBACK, 'no'); END", "RAISE(ROLLBACK)"),
    "rolls back elsewhere": (
        "AFTER INSERT ON fills BEGIN INSERT OR ROLLBACK INTO audit VALUES (1); END",
        "ON CONFLICT ROLLBACK",
    ),
    "fails elsewhere": (
        "AFTER INSERT ON fills BEGIN INSERT INTO once VALUES (1); END; CREATE TABLE once (a UNIQUE ON CONFLICT FAIL)",
        "ON CONFLICT FAIL",
    ),
    "has lost its table": ("AFTER INSERT ON fills BEGIN INSERT INTO gone VALUES (1); END", "no such table: main.gone"),
    "asks the host": ("AFTER INSERT ON fills BEGIN SELECT host_said(new.price); END", "host_said"),
}  # fmt: skip

CLAUSES = {
    "IGNORE": "CREATE TABLE fills (session_id INTEGER, seq INTEGER, UNIQUE (session_id, seq) ON CONFLICT IGNORE)",
    "REPLACE": "CREATE TABLE engine_state (key TEXT PRIMARY KEY ON CONFLICT REPLACE, value TEXT)",
    "ROLLBACK": "CREATE TABLE engine_state (key TEXT CONSTRAINT k PRIMARY KEY ON CONFLICT ROLLBACK, value TEXT)",
    "FAIL": "CREATE TABLE fills (id INTEGER PRIMARY KEY, host TEXT UNIQUE /* x */ ON\nCONFLICT fail)",
}


@pytest.mark.parametrize(("script", "parts"), HOSTILE.values(), ids=HOSTILE)
def test_given_a_schema_that_cannot_take_our_records_when_opened_then_one_line_names_the_place(
    tmp_path, journal, capsys, script, parts
):
    refused(capsys, make(tmp_path / "k.db", script), journal, "k.db: ", *parts)


@pytest.mark.parametrize(("body", "part"), TRIGGERS.values(), ids=TRIGGERS)
def test_given_a_trigger_that_makes_rows_differ_from_records_when_opened_then_it_is_named(
    tmp_path, journal, capsys, body, part
):
    refused(capsys, make(tmp_path / "k.db", f"{ON_FILLS} {body}"), journal, "k.db: ", part)


@pytest.mark.parametrize(("rule", "script"), CLAUSES.items(), ids=CLAUSES)
def test_given_a_conflict_that_is_resolved_in_silence_when_opened_then_it_is_named(
    tmp_path, journal, capsys, rule, script
):
    refused(capsys, make(tmp_path / "k.db", script), journal, "k.db: ", f"ON CONFLICT {rule}")


def test_given_a_trigger_with_a_line_end_in_its_name_when_refused_then_it_is_one_line_still(tmp_path, journal, capsys):
    trigger = 'CREATE TRIGGER "a\n\x1b[2Jb" AFTER INSERT ON fills BEGIN DELETE FROM fills; END'
    refused(capsys, make(tmp_path / "k.db", FILLS + trigger), journal, r"trigger a\n\x1b[2Jb writes to fills")


HARMLESS = {
    "a trigger that never fires for us": f"{FILLS} CREATE TRIGGER t AFTER DELETE ON fills BEGIN DELETE FROM fills; END;"
    " CREATE TRIGGER u AFTER UPDATE ON fills BEGIN UPDATE fills SET price = 0; END",
    "a trigger on a table of its own": f"{FILLS} CREATE TABLE a (b); CREATE TRIGGER t AFTER INSERT ON a"
    " BEGIN DELETE FROM fills; END",
    "a trigger of other columns": "CREATE TABLE sessions (session_id INTEGER PRIMARY KEY, notes TEXT);"
    " CREATE TRIGGER t AFTER UPDATE OF notes ON sessions BEGIN DELETE FROM sessions; END",
    "words in a comment": f"{FILLS} CREATE TRIGGER t AFTER INSERT ON fills BEGIN SELECT 'RAISE(IGNORE)'"
    ' /* raise(fail) */ AS "raise(rollback)"; -- insert or rollback\n END',
    "virtual tables of others": f"{FILLS} CREATE VIRTUAL TABLE texts USING fts5(a); INSERT INTO texts VALUES ('a')",
    "a view of ours": f"{FILLS} CREATE VIEW fills_today AS SELECT * FROM fills",
    "a view of nothing": f"{FILLS} CREATE VIEW broken AS SELECT * FROM gone",
    "a reference to us": f"{FILLS} CREATE TABLE remarks (fill INTEGER REFERENCES fills(id) ON DELETE CASCADE)",
    "a unique that is always NULL": f"{FILLS} ALTER TABLE fills ADD COLUMN host TEXT;"
    " CREATE UNIQUE INDEX u ON fills (price, host)",
}


@pytest.mark.parametrize("script", HARMLESS.values(), ids=HARMLESS)
def test_given_what_only_looks_hostile_when_stored_then_it_is_accepted_and_complete(tmp_path, journal, capsys, script):
    accepted(capsys, make(tmp_path / "k.db", script), journal)


@pytest.mark.parametrize(
    "refuser",
    [
        "CREATE TABLE order_events (id INTEGER PRIMARY KEY, side TEXT CHECK (side = 'ask'))",
        "CREATE TABLE order_events (id INTEGER PRIMARY KEY, side TEXT); CREATE TRIGGER t BEFORE INSERT ON order_events"
        " WHEN new.side = 'bid' BEGIN SELECT RAISE(ABORT, 'no bids'); END",
        "CREATE TABLE order_events (id INTEGER PRIMARY KEY, side TEXT); CREATE TRIGGER t AFTER INSERT ON order_events"
        " WHEN new.side = 'bid' BEGIN SELECT RAISE(ABORT, 'no bids'); END",
    ],
)
def test_given_a_table_that_refuses_some_values_when_stored_then_each_record_is_a_row_or_on_file(
    tmp_path, capsys, refuser
):
    bid, ask = EXAMPLES["order_event"], EXAMPLES["order_event"]._replace(side="ask")
    payloads = encoded([EXAMPLES["session_opened"], ask, bid, ask])
    journal = write_journal(tmp_path / "j", payloads)
    make(tmp_path / "k.db", refuser)

    assert backfilled(capsys, tmp_path / "k.db", journal)[0] == 0

    with closing(apsw.Connection(str(tmp_path / "k.db"))) as conn:
        assert conn.execute("SELECT seq, side FROM order_events").fetchall() == [(1, "ask"), (3, "ask")]
        assert conn.execute("SELECT seq, payload FROM telemetry_rejects").fetchall() == [(2, payloads[2])]


def test_given_a_connection_with_tables_of_our_names_elsewhere_when_initialized_then_ours_is_in_the_file(tmp_path):
    with closing(apsw.Connection(str(tmp_path / "k.db"))) as conn:
        conn.execute("ATTACH ? AS other", (str(tmp_path / "other.db"),))
        conn.execute("CREATE TABLE other.fills (price TEXT)")
        initialize_database(conn)
        insert(conn, "fills", price="1.3")
        assert conn.execute("SELECT count(*) FROM other.fills").fetchall() == [(0,)]
    with closing(apsw.Connection(str(tmp_path / "k.db"))) as conn:
        conn.execute("CREATE TEMP TABLE Fills (price TEXT)")
        with pytest.raises(DatabaseUnusable, match=r"k\.db: temp\.Fills hides"):
            initialize_database(conn)


# --- what stands at the path

NAMES = [
    'it\'s "quoted".db',
    "a?mode=memory&b#c%20d.db",
    "file:k.db?mode=ro",
    "two\nlines \t.db",
    " ",
    ":memory:",
    "größer.db",
]


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_given_a_file_with_an_odd_name_when_stored_then_it_is_that_file(tmp_path, journal, capsys, monkeypatch, name):
    monkeypatch.chdir(tmp_path)

    accepted(capsys, Path(name), journal)

    assert name in {path.name for path in tmp_path.iterdir()}
    make(Path("old.db"), "CREATE TABLE fills (a NOT NULL)").replace(tmp_path / name)
    refused(capsys, tmp_path / name, journal, "fills.a is NOT NULL")


@posix
def test_given_a_name_that_is_no_text_when_opened_then_one_line_says_so(tmp_path, journal, capsys):
    refused(capsys, tmp_path / os.fsdecode(b"k\xff.db"), journal, "UTF-8")


@posix
@pytest.mark.parametrize("kind", ["directory", "pipe", "device", "link to itself", "log is no file"])
def test_given_no_file_at_the_path_when_opened_then_one_line_says_so_and_nothing_is_made(
    tmp_path, journal, capsys, kind
):
    database = tmp_path / "k.db"
    beside_the_device = set(Path(os.devnull).parent.glob("null*"))
    match kind:
        case "directory":
            database.mkdir()
        case "pipe":
            os.mkfifo(database)
        case "device":
            database.symlink_to(os.devnull)
        case "link to itself":
            database.symlink_to(database)
        case "log is no file":
            open_for_writing(database).conn.close()
            (tmp_path / "k.db-wal").mkdir()

    why = {"link to itself": "", "log is no file": "cannot open the database, or its -wal"}
    refused(capsys, database, journal, "k.db", why.get(kind, "must be a database file"))
    with pytest.raises(DatabaseUnusable, match=rf"k\.db: .*{why.get(kind, 'must be a database file')}"):
        open_for_writing(database)
    assert set(Path(os.devnull).parent.glob("null*")) == beside_the_device


@posix
@pytest.mark.parametrize("there", [True, False])
def test_given_a_link_to_a_database_when_stored_then_the_file_it_leads_to_has_it_and_one_lock_holds_both(
    tmp_path, journal, capsys, there
):
    target, link = tmp_path / "disk" / "real.db", tmp_path / "k.db"
    link.symlink_to(target)
    if there:
        open_for_writing(target).conn.close()

    accepted(capsys, link, journal)

    assert link.is_symlink()
    assert stored(target) == expected(RECORDS)
    with sole_writer(target, "write", "now"):
        refused(capsys, link, journal, "k.db: in use by pid")


@pytest.fixture
def open_to_all():
    """A directory that a user without rights can enter, unlike the one that tests have to themselves."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)
        for path in (Path(name), *Path(name).iterdir()):
            path.chmod(0o755)


@contextmanager
def without_rights():
    """As nobody, where the tests run as root whom no permission stops."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@posix
@pytest.mark.parametrize("what", ["file", "directory", "log"])
def test_given_no_right_to_write_when_opened_then_one_line_says_so_and_nothing_changed(open_to_all, what):
    database = open_to_all / "k.db"
    open_for_writing(database).conn.close()
    if what == "log":
        (open_to_all / "k.db-wal").write_bytes(b"")
    for path in open_to_all.iterdir():
        path.chmod(0o666)
    open_to_all.chmod(0o777)
    {"file": database, "directory": open_to_all, "log": open_to_all / "k.db-wal"}[what].chmod(
        {"file": 0o444, "directory": 0o555, "log": 0}[what]
    )
    before = database.read_bytes()

    with without_rights(), pytest.raises(DatabaseUnusable, match=r"k\.db: ") as refusal:
        open_for_writing(database)

    assert len(str(refusal.value).splitlines()) == 1
    assert database.read_bytes() == before
