"""Old databases, kept as files: they are taken over without a change to what is in them, and take a session of ours."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import closing

import apsw
import pytest

from shared import cli
from telemetry_proc.__main__ import telemetry
from telemetry_proc.backfill import backfill
from telemetry_proc.connection import open_for_writing
from telemetry_proc.refusals import refuse_unusable
from telemetry_proc.schema import initialize_database
from telemetry_proc.tables import TABLE_OF, TABLES
from tests.data.make_legacy import LEGACY, V1_SESSIONS, make, unpacked
from tests.telemetry.an_engine import UID, StandingClock, a_writer, bits, encoded, expected, session, write_journal
from tests.telemetry.legacy_databases import SHAPES, rows_of, shapes_of

GOLDEN = sorted(path.name.removesuffix(".db.gz") for path in LEGACY.glob("*.db.gz"))
RECORDS = session(15)


@pytest.fixture(params=GOLDEN)
def golden(request, tmp_path):
    return unpacked(f"{request.param}.db", tmp_path / "k.db")


def reading(path):
    return closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY))


def was(path):
    """The tables with their columns, and every row in them."""
    with reading(path) as conn:
        shapes = shapes_of(conn)
        return shapes, rows_of(conn, shapes), conn.pragma("encoding"), conn.pragma("page_size")


def holds_as_recorded(path, uid, records):
    """Every table's rows of a session are the records: none missing, none twice, none changed, in their order."""
    with reading(path) as conn:
        ((number,),) = conn.execute("SELECT session_id FROM sessions WHERE session_uid = ?", (uid,)).fetchall()
        wanted = expected(records, number)
        for record_type, table in TABLE_OF.items():
            columns = ", ".join(("session_id", "seq", *record_type._fields))
            rows = conn.execute(f"SELECT {columns} FROM {table} WHERE session_id = ? ORDER BY seq", (number,))
            assert [bits(row) for row in rows] == wanted[table]
        counts = {
            "circuit_breaker_events": len(wanted["circuit_breaker_events"]),
            "session_state": len(wanted["session_state"]),
        }
        for table, count in counts.items():
            rows = conn.execute(f"SELECT count(*) FROM {table} WHERE session_id = ?", (number,)).fetchall()
            assert rows == [(count,)]
        assert conn.execute("SELECT count(*) FROM telemetry_rejects").fetchall() == [(0,)]
        assert conn.execute("SELECT count(*) FROM telemetry_gaps").fetchall() == [(0,)]
        assert conn.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert conn.execute("PRAGMA foreign_key_check").fetchall() == []
        return number


def test_given_the_shapes_when_made_today_then_the_files_hold_the_same(tmp_path):
    assert set(SHAPES) <= set(GOLDEN), "run: python -m tests.data.make_legacy"
    for name, script in SHAPES.items():
        assert was(make(tmp_path / f"{name}.db", script)) == was(unpacked(f"{name}.db", tmp_path / f"{name}.old")), name


def test_given_an_old_database_when_upgraded_twice_then_its_rows_are_as_they_were_and_new_columns_are_null(golden):
    shapes, rows, encoding, page_size = was(golden)

    with closing(open_for_writing(golden).conn) as conn:
        assert initialize_database(conn) == ()
        assert rows_of(conn, shapes) == rows
        for table, columns in shapes_of(conn).items():
            for column in set(columns) - set(shapes.get(table, columns)) - {"manual_reset_required"}:
                found = conn.execute(f'SELECT count("{column}") FROM "{table}"').fetchall()
                assert found == [(0,)], f"{table}.{column}"
        assert (conn.pragma("journal_mode"), conn.pragma("encoding")) == ("wal", encoding)
        assert golden.stat().st_size == 0 or conn.pragma("page_size") == page_size
    with closing(open_for_writing(golden).conn) as conn:
        assert rows_of(conn, shapes) == rows
        assert conn.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_given_an_old_database_when_a_session_comes_over_socket_and_journal_then_it_equals_the_journal(
    golden, tmp_path
):
    shapes, rows, _, _ = was(golden)
    payloads = encoded(RECORDS)
    write_journal(tmp_path / "j", payloads)

    with a_writer(tmp_path, batch_max=7) as (writer, arrivals, _, _):
        arrivals.deliver(*payloads[3:20:2], payloads[5])
        while writer.step():
            pass
        writer.catch_up()

    holds_as_recorded(golden, UID, RECORDS)
    with reading(golden) as conn:
        after = rows_of(conn, {table: columns for table, columns in shapes.items() if table != "sqlite_sequence"})
    if "session_id" in shapes.get("engine_state", ()):
        del rows["engine_state"]  # ours already: it is the newest session's view
    for table, older in rows.items():
        assert older <= after.get(table, Counter()), f"{table} lost or changed rows of the older engine"


def test_given_an_old_database_when_backfilled_twice_then_it_equals_the_journal(golden, tmp_path):
    journal = write_journal(tmp_path / "j", encoded(RECORDS))

    stored = [done.stored for _ in range(2) for done in backfill(golden, [journal], StandingClock())]

    assert stored == [len(RECORDS), 0]
    holds_as_recorded(golden, UID, RECORDS)


def run(capsys, *arguments):
    code = cli.run(telemetry, arguments)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.parametrize("when", ["before", "after"])
def test_given_an_old_database_when_read_before_and_after_the_upgrade_then_every_command_answers(
    golden, capsys, when, tmp_path
):
    if when == "after":
        list(backfill(golden, [write_journal(tmp_path / "j", encoded(RECORDS))], StandingClock()))
    with reading(golden) as conn:
        known = set(shapes_of(conn))

    code, out, err = run(capsys, "sessions", "--db", str(golden), "--json")

    assert (code, err.count("\n")) in [(0, 0), (3, 1), (5, 1)]
    assert (code == 5) == (bool(known) and not {table.lower() for table in known} & {"sessions", "system_metrics"})
    for number in [one["session"] for one in json.loads(out)["sessions"]][:2] if code == 0 else []:
        for command in (["report", str(number)], ["export", str(number)]):
            code, out, err = run(capsys, *command, "--db", str(golden))
            assert (code, err) == (0, "") or (code in (3, 4, 5) and err.count("\n") == 1), f"{command}: {err}"
    code, _, err = run(capsys, "status", "--db", str(golden))
    assert code == 0 or (code == 5 and err.count("\n") == 1)
    if when == "after":
        assert run(capsys, "export", UID, "--db", str(golden))[1].count("\n") == 1 + 15


@pytest.mark.parametrize("name", ["before_anchor_error", "names_in_capitals_and_quotes", "sessions_kept_elsewhere"])
def test_given_a_session_of_the_older_engine_when_reported_then_what_it_did_not_measure_is_said_to_be_missing(
    name, tmp_path, capsys
):
    golden = unpacked(f"{name}.db", tmp_path / "k.db")
    run(capsys, "migrate", "--db", str(golden))

    code, out, err = run(capsys, "sessions", "--db", str(golden), "--json")
    first = json.loads(out)["sessions"][0]

    assert (code, err) == (0, "")
    assert (first["uid"], first["status"], first["error_above_5bps_pct"]) == (None, None, None)
    assert (first["errors_recorded"], first["null_pct"], first["breaker_trips"]) == (False, None, None)
    code, out, err = run(capsys, "report", str(first["session"]), "--db", str(golden))
    assert (code, err) == (0, "")
    assert "GUARD    Not recorded" in out
    assert "ERROR    Not recorded" in out
    assert out.count("? Not recorded") == 4, "each of the four questions"
    assert "TRIPS    Not recorded" in out
    assert "never tripped" not in out.lower()


def test_given_rows_of_sessions_that_have_no_row_when_upgraded_then_no_session_of_ours_gets_their_number(
    tmp_path,
):
    golden = unpacked("sessions_kept_elsewhere.db", tmp_path / "k.db")
    opened = open_for_writing(golden)
    opened.conn.close()

    assert "add session 1, which older rows speak of" in opened.steps
    list(backfill(golden, [write_journal(tmp_path / "j", encoded(RECORDS))], StandingClock()))

    assert holds_as_recorded(golden, UID, RECORDS) == 4
    with reading(golden) as conn:
        assert conn.execute("SELECT session_id, session_uid FROM sessions").fetchall() == [
            (1, None),
            (3, None),
            (4, UID),
        ]


def test_given_a_trigger_of_the_older_engine_that_keeps_an_audit_when_stored_then_both_have_the_rows(tmp_path):
    golden = unpacked("audited.db", tmp_path / "k.db")
    list(backfill(golden, [write_journal(tmp_path / "j", encoded(RECORDS))], StandingClock()))

    with reading(golden) as conn:
        audited = conn.execute("SELECT price FROM audit").fetchall()
        assert audited == conn.execute("SELECT price FROM fills").fetchall()


def test_given_a_database_of_schema_1_when_opened_by_this_program_then_it_is_what_its_journals_say(tmp_path):
    golden = unpacked("kedge_v1.db", tmp_path / "k.db")
    shapes, rows, _, _ = was(golden)
    journals = [unpacked(f"kedge_v1.{uid}.kj", tmp_path / "j" / f"{uid}.kj") for uid in V1_SESSIONS]

    list(backfill(tmp_path / "again.db", journals, StandingClock()))
    assert [done.stored for done in backfill(golden, journals, StandingClock())] == [0, 0]

    del shapes["schema_changes"], rows["schema_changes"]  # when each step was taken
    with reading(tmp_path / "again.db") as conn:
        assert rows_of(conn, shapes) == rows
        assert conn.execute("SELECT status FROM sessions").fetchall() == [("ENDED",), ("RUNNING",)]


def test_given_every_table_of_ours_when_made_fresh_then_nothing_of_it_would_be_refused_later(tmp_path):
    with closing(open_for_writing(tmp_path / "k.db").conn) as conn:
        refuse_unusable(conn)
        assert set(shapes_of(conn)) == {table.name for table in TABLES}
