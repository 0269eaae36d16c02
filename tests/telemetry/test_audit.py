"""The audit finds whatever differs between a journal and its session in the database, and nothing else."""

import shutil
from contextlib import closing, contextmanager
from pathlib import Path

import apsw
import pytest

from shared.codec import encode
from shared.journal import HEADER, JournalWriter, frame, journal_path
from shared.records import BreakerEvent, EngineState, SessionClosed, SessionOpened
from telemetry_proc import audit, journal_check
from telemetry_proc.audit import compare
from telemetry_proc.backfill import backfill
from telemetry_proc.journals import Journal
from telemetry_proc.reading import reading
from telemetry_proc.tables import TABLE_OF, TABLES
from tests.shared.record_examples import EXAMPLES, TICK
from tests.telemetry.an_engine import UID, StandingClock, a_writer, encoded, one_tick, session, write_journal

LATER = "20261121T090000-aaaaaa"
OTHER = "20261119T090000-bbbbbb"


@pytest.fixture(scope="module")
def stored_once(tmp_path_factory):
    """A session with every kind of record, wholly stored, between two others."""
    home = tmp_path_factory.mktemp("stored")
    for uid in (OTHER, UID, LATER):
        store(home, write_journal(home / "j", encoded(session(30), uid), uid))
    assert audited(home).is_stored
    return home


@pytest.fixture
def home(stored_once, tmp_path):
    """A copy of it, to be tampered with."""
    return Path(shutil.copytree(stored_once, tmp_path / "home"))


def store(home, *sources):
    list(backfill(home / "k.db", sources, StandingClock()))


def audited(home, uid=UID):
    with reading(home / "k.db") as conn:
        return compare(conn, Journal(journal_path(home / "j", uid), uid))


@contextmanager
def tampering(home):
    with closing(apsw.Connection(str(home / "k.db"))) as conn:
        yield conn


def tampered(home, *statements):
    with tampering(home) as conn:
        for sql in statements:
            conn.execute(sql)
            assert conn.changes() or not sql.startswith(("UPDATE", "DELETE", "INSERT")), "the tampering must change it"
    return audited(home)


def codes(verdict):
    assert verdict.failures == sum(finding.is_failure for finding in verdict.findings)
    return [finding.code for finding in verdict.findings]


# --- nothing is found where nothing is wrong


def test_given_a_stored_session_when_audited_then_every_record_is_compared_and_nothing_is_wrong(home):
    verdict = audited(home)

    assert (verdict.records, verdict.failures, verdict.notes) == (len(session(30)), 0, 0)
    assert verdict.is_stored


def test_given_floats_at_their_limits_and_minus_zero_when_audited_then_they_are_identical(tmp_path):
    values = [-0.0, 0.0, 5e-324, 1.7976931348623157e308, 1 / 3, 1e15, None, -7.000000000000001]
    ticks = [one_tick(tick=n, anchor_error_bps=value, mid=value) for n, value in enumerate(values, 1)]
    store(tmp_path, write_journal(tmp_path / "j", encoded([EXAMPLES["session_opened"], *ticks])))

    assert audited(tmp_path).is_stored


def test_given_a_record_of_an_older_engine_when_audited_then_its_missing_fields_are_null(tmp_path):
    opened = EXAMPLES["session_opened"]
    assert opened.crashed_uid is None
    payloads = encoded([opened, TICK])
    payloads[0] = encode(UID, 0, opened)[:-1]  # without its last field, which is nil
    payloads[0] = payloads[0].replace(bytes([0x90 + len(opened) + 4]), bytes([0x90 + len(opened) + 3]), 1)
    store(tmp_path, write_journal(tmp_path / "j", payloads))

    assert audited(tmp_path).failures == 0


def test_given_results_that_were_stated_twice_and_events_that_are_alike_when_audited_then_they_are_as_stored(tmp_path):
    state, event = EXAMPLES["engine_state"], EXAMPLES["breaker_event"]
    records = [EXAMPLES["session_opened"], state, event, event, state._replace(value="2"), state._replace(key="k")]
    store(tmp_path, write_journal(tmp_path / "j", encoded(records)))

    assert audited(tmp_path).is_stored


def test_given_a_session_that_a_later_one_calls_crashed_when_audited_then_its_status_must_say_so(tmp_path):
    store(tmp_path, write_journal(tmp_path / "j", encoded(session(3)[:-1])))
    later = [EXAMPLES["session_opened"]._replace(crashed_uid=UID)]
    store(tmp_path, write_journal(tmp_path / "j", encoded(later, LATER), LATER))
    assert audited(tmp_path).is_stored

    verdict = tampered(tmp_path, f"UPDATE sessions SET status = 'RUNNING' WHERE session_uid = '{UID}'")
    assert codes(verdict) == ["row_differs"]
    assert "sessions.status is 'RUNNING', must be 'CRASHED'" in str(verdict.findings[0])


# --- whatever is changed in the database is found

DERIVED = {"circuit_breaker_events": BreakerEvent, "session_state": EngineState}
AUDITED = (*TABLE_OF.values(), *DERIVED, "sessions")
COLUMNS = [
    (table.name, column.name)
    for table in TABLES
    for column in table.columns
    if table.name in AUDITED and column.name != "id"
]


def test_given_the_records_when_counted_then_their_columns_are_all_tampered_with_below():
    assert len(COLUMNS) >= sum(len(kind._fields) for kind in (*TABLE_OF, SessionOpened, SessionClosed))


@pytest.mark.parametrize(("table", "column"), COLUMNS)
def test_given_one_changed_value_in_any_column_when_audited_then_it_is_found(home, table, column):
    with tampering(home) as conn:
        mine = "session_id = (SELECT session_id FROM sessions WHERE session_uid = ?)"
        row = f"(SELECT min(rowid) FROM {table} WHERE {mine})"
        ((value,),) = conn.execute(f"SELECT {column} FROM {table} WHERE rowid = {row}", (UID,)).fetchall()
        other = value + 100 if isinstance(value, int | float) else "changed" if value is None else value + " "
        conn.execute("PRAGMA ignore_check_constraints = 1; PRAGMA foreign_keys = 0")
        conn.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = {row}", (other, UID))

    assert audited(home).failures


def test_given_the_smallest_possible_change_when_audited_then_file_byte_record_and_column_are_named(home):
    mine = f"(SELECT session_id FROM sessions WHERE session_uid = '{UID}')"
    verdict = tampered(
        home, f"UPDATE system_metrics SET mid = 1.3055150000000002 WHERE tick = 7 AND session_id = {mine}"
    )

    assert codes(verdict) == ["row_differs"]
    (finding,) = verdict.findings
    frames = encoded(session(30))
    assert (finding.record, finding.position) == (7, len(HEADER) + sum(len(frame(one)) for one in frames[:7]))
    assert finding.text == "system_metrics.mid is 1.3055150000000002, recorded was 1.305515"


def test_given_a_number_of_another_type_when_audited_then_equal_is_not_identical(tmp_path):
    with closing(apsw.Connection(str(tmp_path / "k.db"))) as conn:  # an older column that keeps what it is given
        conn.execute("CREATE TABLE system_metrics (id INTEGER PRIMARY KEY, mid)")
    ticks = [one_tick(tick=n, mid=2.0) for n in (1, 2, 3)]
    store(tmp_path, write_journal(tmp_path / "j", encoded([EXAMPLES["session_opened"], *ticks])))
    assert audited(tmp_path).is_stored

    verdict = tampered(tmp_path, "UPDATE system_metrics SET mid = 2 WHERE tick = 2")

    assert [str(finding).partition(": record ")[2] for finding in verdict.findings] == [
        "2: system_metrics.mid is 2, recorded was 2.0"
    ]


OURS = f"session_id = (SELECT session_id FROM sessions WHERE session_uid = '{UID}')"
COPY = "INSERT INTO {0} SELECT NULL, {1} FROM {0} WHERE " + OURS + " LIMIT 1"


def columns_of(table):
    return ", ".join(
        column.name for one in TABLES if one.name == table for column in one.columns if column.name != "id"
    )


@pytest.mark.parametrize("table", [*TABLE_OF.values(), "circuit_breaker_events", "session_state"])
def test_given_a_deleted_row_when_audited_then_its_record_is_named(home, table):
    verdict = tampered(home, f"DELETE FROM {table} WHERE rowid = (SELECT min(rowid) FROM {table} WHERE {OURS})")

    assert "row_missing" in codes(verdict)
    assert table in verdict.findings[0].text


@pytest.mark.parametrize("table", [*TABLE_OF.values(), "circuit_breaker_events"])
def test_given_a_doubled_row_when_audited_then_it_is_found(home, table):
    verdict = tampered(home, f"DROP INDEX IF EXISTS {table}_once", COPY.format(table, columns_of(table)))

    assert codes(verdict) in (["row_repeated"], ["row_extra"])


@pytest.mark.parametrize(("seq", "tick"), [(-1, -1), (999, 999), ("NULL", 900), (900, "NULL"), (900, "'x'")])
def test_given_an_extra_row_when_audited_then_it_is_found_wherever_it_stands(home, seq, tick):
    mine = f"(SELECT session_id FROM sessions WHERE session_uid = '{UID}')"
    verdict = tampered(home, f"INSERT INTO system_metrics(session_id, seq, tick) VALUES ({mine}, {seq}, {tick})")

    assert codes(verdict) == ["row_extra"]


def test_given_rows_that_changed_places_when_audited_then_the_order_of_storing_is_wrong(home):
    swap = f"UPDATE system_metrics SET id = -id WHERE tick IN (4, 5) AND {OURS}"
    verdict = tampered(
        home, swap, f"UPDATE system_metrics SET id = -id + 1 - 2 * (tick = 5) WHERE tick IN (4, 5) AND {OURS}"
    )

    assert codes(verdict) == ["row_out_of_order"]


def test_given_a_whole_session_that_was_deleted_when_audited_then_it_is_not_stored(home):
    tables = (*TABLE_OF.values(), "circuit_breaker_events", "session_state", "engine_state", "sessions")
    verdict = tampered(home, *(f"DELETE FROM {table} WHERE {OURS}" for table in tables if table != "engine_state"))

    assert set(codes(verdict)) == {"row_missing"}
    assert verdict.failures == len(session(30))


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ("next_seq = next_seq - 1", {"row_differs", "offset_wrong", "not_stored_yet"}),
        ("next_seq = next_seq + 1", {"offset_wrong"}),
        ("next_seq = 5", {"not_stored_yet", "offset_wrong", "row_extra", "row_differs", "row_missing"}),
        ("journal_position = journal_position - 1", {"offset_wrong"}),
        ("journal_position = 0", {"offset_wrong"}),
        ("journal_position = NULL", set()),  # not known at present: the writer searches
    ],
)
def test_given_a_moved_offset_when_audited_then_it_is_found(home, change, found):
    verdict = tampered(home, f"UPDATE telemetry_offsets SET {change} WHERE session_uid = '{UID}'")

    assert set(codes(verdict)) <= found
    assert bool(verdict.failures) is bool(found)


def test_given_no_offset_at_all_when_audited_then_the_rows_are_beyond_it(home):
    verdict = tampered(home, f"DELETE FROM telemetry_offsets WHERE session_uid = '{UID}'")

    assert {finding.code for finding in verdict.findings} >= {"row_extra"}
    assert verdict.behind == verdict.records


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE telemetry_offsets SET next_seq = 'many', journal_position = 'far'",
        f"INSERT INTO telemetry_gaps VALUES ('{UID}', 'a', 'b', 'c', 'd', 'e', 'f')",
        f"INSERT INTO telemetry_gaps VALUES ('{UID}', 3, 'b', NULL, NULL, 4, 0)",
        "UPDATE system_metrics SET seq = 'x', tick = 'y' WHERE tick = 7",
        "UPDATE session_state SET key = x'00', seq = 'x'",
        "UPDATE engine_state SET key = x'00'",
        "UPDATE sessions SET started_at = 3, ended_ns = 'never'",
    ],
)
def test_given_nonsense_in_the_writers_own_books_when_audited_then_it_is_found_and_nothing_breaks(tmp_path, change):
    store(tmp_path, write_journal(tmp_path / "j", encoded(session(8))))

    assert tampered(tmp_path, change).failures


def test_given_more_findings_than_anybody_reads_when_audited_then_the_first_are_kept_and_all_are_counted(
    home, monkeypatch
):
    monkeypatch.setattr(journal_check, "FINDINGS_KEPT", 4)
    mine = f"session_id = (SELECT session_id FROM sessions WHERE session_uid = '{UID}')"
    with tampering(home) as conn:
        conn.execute(f"DELETE FROM system_metrics WHERE {mine}")

    verdict = audited(home)

    assert (verdict.failures, len(verdict.findings)) == (30, 4)


def test_given_an_engine_state_that_is_not_the_sessions_word_when_audited_then_it_is_found(home):
    verdict = tampered(home, "UPDATE engine_state SET value = '99'")
    assert verdict.is_stored, "it shows what the newest session said"

    with reading(home / "k.db") as conn:
        newest = compare(conn, Journal(journal_path(home / "j", LATER), LATER))
    assert codes(newest) == ["row_differs"]


# --- what the writer put on file


def rejected(home):
    payloads = encoded(session(6))
    payloads[3] = b"\xc1 no record"
    payloads[5] = encode(UID, 5, TICK._replace(tick=4))  # a second tick 4: the table refuses it
    store(home, write_journal(home / "j", payloads))
    return payloads


def test_given_rejects_when_audited_then_they_are_accounted_for_and_not_counted_as_stored(tmp_path):
    payloads = rejected(tmp_path)

    verdict = audited(tmp_path)

    assert codes(verdict) == ["record_unreadable", "record_rejected"]
    assert [finding.record for finding in verdict.findings] == [3, 5]
    assert "refused by the table" in verdict.findings[1].text
    assert (verdict.records, verdict.rejected, verdict.is_stored) == (len(payloads), 2, False)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ("DELETE FROM telemetry_rejects WHERE seq = 3", ["record_unreadable", "reject_missing", "record_rejected"]),
        ("DELETE FROM telemetry_rejects WHERE seq = 5", ["record_unreadable", "record_out_of_order"]),
        ("UPDATE telemetry_rejects SET payload = x'00' WHERE seq = 5", ["record_unreadable", "reject_differs"]),
        (
            "UPDATE telemetry_rejects SET payload_bytes = 1 WHERE seq = 3",
            ["record_unreadable", "reject_differs", "record_rejected"],
        ),
        (
            f"INSERT INTO telemetry_rejects(session_uid, seq, reason) VALUES ('{UID}', 4, 'x')",
            ["record_unreadable", "reject_differs", "record_rejected", "row_extra"],
        ),
        (
            f"INSERT INTO telemetry_rejects(session_uid, seq, reason) VALUES ('{UID}', 99, 'x')",
            ["record_unreadable", "record_rejected", "reject_extra"],
        ),
    ],
)
def test_given_rejects_that_were_tampered_with_when_audited_then_it_is_found(tmp_path, change, found):
    rejected(tmp_path)

    assert sorted(codes(tampered(tmp_path, change))) == sorted(found)


# --- gaps


def gapped(home):
    payloads = encoded(session(20))
    with a_writer(home) as (writer, arrivals, _, _):
        arrivals.deliver(*payloads[:4], *payloads[9:12], *payloads[20:])
        writer.step()
    return payloads


def test_given_gaps_when_audited_then_each_is_one_finding_and_what_is_stored_is_compared(tmp_path):
    payloads = gapped(tmp_path)
    write_journal(tmp_path / "j", payloads)

    verdict = audited(tmp_path)

    assert codes(verdict) == ["gap_unfilled", "gap_unfilled"]
    assert "records 4 to 8 are a gap in the database: no journal" in str(verdict.findings[0])
    assert codes(tampered(tmp_path, "DELETE FROM system_metrics WHERE seq = 10"))[0] == "row_missing"


def test_given_gaps_that_a_backfill_filled_when_audited_then_rows_stored_late_are_in_order_enough(tmp_path):
    payloads = gapped(tmp_path)
    store(tmp_path, write_journal(tmp_path / "j", payloads))
    with tampering(tmp_path) as conn:
        seqs = [seq for (seq,) in conn.execute("SELECT seq FROM system_metrics ORDER BY rowid")]
    assert seqs != sorted(seqs)

    assert audited(tmp_path).is_stored


# --- a journal that is ahead, or grows


def test_given_a_running_session_when_the_writer_is_behind_then_that_is_a_note_and_the_rest_is_compared(tmp_path):
    payloads = encoded(session(20))
    with a_writer(tmp_path) as (writer, arrivals, _, _):
        arrivals.deliver(*payloads[:10])
        writer.step()
    path = write_journal(tmp_path / "j", payloads[:15])

    verdict = audited(tmp_path)
    assert (codes(verdict), verdict.failures, verdict.behind, verdict.is_stored) == (["not_stored_yet"], 0, 5, False)

    (tmp_path / "j" / "stray.kj").touch()
    assert audited(tmp_path).failures == 0, "no session is called like that, so none has begun since"

    path.unlink()
    write_journal(tmp_path / "j", payloads)
    assert (codes(audited(tmp_path)), audited(tmp_path).failures) == (["not_stored_yet"], 1), "it is closed"

    path.unlink()
    write_journal(tmp_path / "j", payloads[:15])
    write_journal(tmp_path / "j", encoded(session(1), LATER), LATER)
    assert audited(tmp_path).failures == 1, "a later session has begun: nobody is writing this one any more"


def test_given_a_session_that_the_database_has_never_heard_of_when_audited_then_it_is_not_stored(home):
    unknown = "20261118T000000-cccccc"
    write_journal(home / "j", encoded(session(5), unknown), unknown)

    verdict = audited(home, unknown)

    assert codes(verdict) == ["not_stored_yet"]
    assert (verdict.failures, verdict.behind) == (1, len(session(5)))


def test_given_a_journal_and_a_database_that_both_grow_when_audited_again_and_again_then_nothing_is_ever_wrong(
    tmp_path,
):
    payloads = encoded([EXAMPLES["session_opened"], *(one_tick(tick=n) for n in range(1, 60))])
    with (
        a_writer(tmp_path) as (writer, arrivals, _, _),
        closing(JournalWriter(journal_path(tmp_path / "j", UID))) as out,
    ):
        for number, payload in enumerate(payloads):
            out.append(payload)
            if number % 3:
                arrivals.deliver(payload)
                writer.step()
            verdict = audited(tmp_path)
            assert verdict.failures == 0, verdict.findings
            assert verdict.records == number + 1
        writer.catch_up()
    assert audited(tmp_path).is_stored


def test_given_a_commit_in_the_middle_of_an_audit_when_audited_then_one_state_of_the_database_is_seen(
    tmp_path, monkeypatch
):
    payloads = encoded(session(20))
    write_journal(tmp_path / "j", payloads)
    with a_writer(tmp_path) as (writer, arrivals, _, _):
        arrivals.deliver(*payloads[:10])
        writer.step()

        def committing(journal, walk=audit.walk):
            yield from walk(journal)
            assert writer.catch_up() == len(payloads) - 10

        monkeypatch.setattr(audit, "walk", committing)
        assert codes(audited(tmp_path)) == ["not_stored_yet"]
    monkeypatch.undo()
    assert audited(tmp_path).is_stored


def test_given_a_record_half_written_when_audited_then_the_torn_tail_is_a_note(home):
    with journal_path(home / "j", UID).open("ab") as file:
        file.write(frame(b"late")[:5])

    verdict = audited(home)

    assert codes(verdict) == ["tail_torn"]
    assert verdict.failures == 0


def test_given_a_journal_that_lost_records_which_the_database_has_when_audited_then_both_are_said(home):
    path = journal_path(home / "j", UID)
    path.unlink()
    payloads = encoded(session(30))
    write_journal(home / "j", [*payloads[:5], *payloads[7:]])

    verdict = audited(home)

    assert [code for code in codes(verdict) if code != "offset_wrong"] == ["records_missing", "row_extra", "row_extra"]
