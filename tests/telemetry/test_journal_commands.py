"""`kedge-telemetry journal` as a person types it: what goes to stdout, what to stderr, and how it ends."""

import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from filelock import FileLock

from shared import cli
from shared.journal import ENGINE_LOCK, HEADER, frame, journal_path
from telemetry_proc.backfill import backfill
from telemetry_proc.cli_journal import COMMANDS, journal
from tests.shared.record_examples import EXAMPLES
from tests.telemetry.an_engine import UID, StandingClock, encoded, session, write_journal

ROOT = Path(__file__).parents[2]
LATER = "20261121T090000-aaaaaa"
RECORDS = session(6)
group = click.Group("kedge-telemetry", commands=COMMANDS)


@pytest.fixture
def run(capsys):
    """Type a command line; its exit code, stdout and stderr."""

    def typed(*argv):
        code = cli.run(group, ["journal", *map(str, argv)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return typed


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Two stored sessions and a configuration, in the working directory."""
    monkeypatch.chdir(tmp_path)
    Path("kedge.yaml").write_text("telemetry: {database: k.db, journal_dir: j, keep_days: 0}\n")
    for uid in (UID, LATER):
        write_journal(Path("j"), encoded(RECORDS, uid), uid)
    list(backfill(Path("k.db"), [Path("j")], StandingClock()))
    return tmp_path


def hostile_files():
    """Beside real journals everything that a directory may hold under their suffix."""
    Path("j/00-foreign.kj").write_bytes(b"something else")
    Path("j/01-version.kj").write_bytes(b"KEDGEJ\x00\x07")
    Path("j/02-empty.kj").write_bytes(b"")
    Path("j/03-header.kj").write_bytes(HEADER[:3])
    Path("j/04-directory.kj").mkdir()
    Path("j/05-nowhere.kj").symlink_to("nowhere")
    Path("j/06-nameless.kj").write_bytes(HEADER + frame(b"\xc1"))
    os.mkfifo("j/07-pipe.kj")


def damage(uid=UID, number=3, torn=b""):
    path = journal_path(Path("j"), uid)
    data = bytearray(path.read_bytes())
    data[len(HEADER) + sum(len(frame(one)) for one in encoded(RECORDS, uid)[:number]) + 10] ^= 1
    path.write_bytes(data + torn)
    return path


# --- ls


def test_given_journals_when_listed_then_each_is_a_line_that_says_how_it_ended_and_whether_it_is_stored(run, home):
    unclosed, partly = "20261122T000000-bbbbbb", "20261123T000000-cccccc"
    write_journal(Path("j"), encoded(RECORDS, partly)[:5], partly)
    list(backfill(Path("k.db"), [journal_path(Path("j"), partly)], StandingClock()))
    with journal_path(Path("j"), partly).open("ab") as file:
        file.write(frame(encoded(RECORDS, partly)[5]) + b"torn")
    write_journal(Path("j"), encoded(RECORDS, unclosed)[:4], unclosed)
    journal_path(Path("j"), unclosed).with_suffix(".latched").touch()
    damage(LATER)

    code, out, err = run("ls", "-c", "kedge.yaml")

    assert (code, err) == (0, "")
    head, *lines = [line.split() for line in out.splitlines()]
    assert head == ["session", "started", "size", "records", "ticks", "mode", "stored", "ended"]
    assert [line[0] for line in lines] == [UID, LATER, unclosed, partly]
    assert [line[6] for line in lines] == ["yes", "yes", "no", "partly"]
    assert [line[3:6] for line in lines[:3:2]] == [["15", "6", "DEGRADED"], ["4", "3", "ACTIVE"]]
    ends = [" ".join(line[7:]) for line in lines]
    assert ends == [
        "closed: feed_ended",
        f"damaged: {len(frame(encoded(RECORDS, LATER)[3]))} corrupt bytes, records missing or repeated,"
        " closed: feed_ended",
        "not closed, refused records",
        "not closed, torn tail of 4 bytes",
    ]


@pytest.mark.skipif(os.name != "posix", reason="pipes with a name are POSIX")
def test_given_anything_under_that_suffix_when_listed_then_it_is_a_line_too(run, home):
    hostile_files()

    code, out, err = run("ls", "-c", "kedge.yaml")

    assert (code, err) == (0, "")
    assert len(out.splitlines()) == 1 + 8 + 2
    ended = {line.split()[0]: " ".join(line.split()[7:]) for line in out.splitlines()}
    assert (ended["02-empty.kj"], ended["03-header.kj"]) == ("empty", "empty")
    assert ended["06-nameless.kj"] == "damaged: 1 unreadable record, not closed"
    assert "05-nowhere.kj" in out
    assert "cannot be read: No such file" in out
    listed = json.loads(run("ls", "j", "--db", "k.db", "--json")[1], parse_constant=pytest.fail)
    assert listed["schema_version"] == 1
    assert [one["stored"] for one in listed["journals"]] == [*[None] * 8, "yes", "yes"]
    assert listed["journals"][-1]["last_seq"] == len(RECORDS) - 1


def test_given_no_database_when_listed_then_nothing_is_said_of_it(run, home):
    Path("k.db").unlink()

    assert json.loads(run("ls", "-c", "kedge.yaml", "--json")[1])["journals"][0]["stored"] is None
    assert run("ls", "--db", "k.db", "j")[0] == 5, "one that is named must be there"


def test_given_an_end_that_would_move_the_cursor_when_listed_then_it_is_escaped(run, home):
    evil = "20261130T000000-eeeeee"
    records = [RECORDS[0], RECORDS[-1]._replace(end_reason="\x1b[2J\nall is well")]
    path = write_journal(Path("j"), encoded(records, evil), evil)

    code, out, _ = run("ls", path, "--db", "k.db")

    assert code == 0
    assert len(out.splitlines()) == 2
    assert "\x1b" not in out + run("cat", path, "-c", "kedge.yaml")[1]


# --- verify


def test_given_whole_and_stored_journals_when_verified_then_it_ends_with_0(run, home):
    code, out, err = run("verify", "-c", "kedge.yaml")

    assert (code, err) == (0, "")
    assert out.splitlines()[0] == f"j/{UID}.kj: 15 records, whole, stored identically"

    found = json.loads(run("verify", "j", "--db", "k.db", "--json")[1])
    assert [one["stored"] for one in found["journals"]] == [True, True]
    assert found["database"] == "k.db"


def test_given_a_corrupt_record_when_verified_then_every_finding_names_file_and_byte_and_it_ends_with_4(run, home):
    path = damage()

    code, out, err = run("verify", path, "--no-db")

    assert code == 4
    assert err == "error: 1 of 1 journal not in order\n"
    position = len(HEADER) + sum(len(frame(one)) for one in encoded(RECORDS)[:3])
    assert f"{path}: FAILURE: byte {position}: " in out.splitlines()[1]
    assert "record 4: records 3 to 3 are missing before it" in out.splitlines()[2]

    found = json.loads(run("verify", path, "--no-db", "--json")[1])["journals"][0]
    assert (found["findings"][0]["code"], found["findings"][0]["byte"]) == ("bytes_corrupt", position)
    assert (found["compared"], found["stored"], found["failures"]) == (False, None, 2)


def test_given_a_torn_tail_when_verified_then_it_is_said_and_is_no_failure(run, home):
    with journal_path(Path("j"), UID).open("ab") as file:
        file.write(b"torn")

    code, out, err = run("verify", "-c", "kedge.yaml")

    assert (code, err) == (0, "")
    assert "note: byte " in out
    assert "torn: 4 bytes" in out


@pytest.mark.skipif(os.name != "posix", reason="pipes with a name are POSIX")
@pytest.mark.parametrize("database", [("--no-db",), ("--db", "k.db")])
def test_given_anything_under_that_suffix_when_verified_then_foreign_files_are_failures_and_empty_ones_are_not(
    run, home, database
):
    hostile_files()

    code, out, err = run("verify", "j", *database)

    assert code == 4
    assert err == "error: 6 of 10 journals not in order\n"
    failing = {line.split(":")[0] for line in out.splitlines() if ": FAILURE: " in line}
    kinds = ("00-foreign", "01-version", "04-directory", "05-nowhere", "06-nameless", "07-pipe")
    assert failing == {f"j/{name}.kj" for name in kinds}


def test_given_no_database_when_verified_then_the_journals_are_by_themselves_and_that_is_said(run, home, tmp_path):
    Path("k.db").unlink()
    code, out, err = run("verify", "-c", "kedge.yaml")
    assert (code, err) == (0, "no database there: the journals are verified by themselves\n")
    assert "stored" not in out

    assert run("verify", "j", "--db", "none.db")[0] == 5
    assert run("verify", "j")[0] == 0, "no configuration is needed for a journal that is named"
    assert run("verify", "j", "--no-db", "--db", "k.db")[0] == 2


@pytest.mark.parametrize("command", ["ls", "verify", "cat", "repair", "prune"])
def test_given_a_source_that_is_not_there_when_named_then_one_line_and_2(run, home, command):
    Path("empty").mkdir()
    for source in ("none", "empty"):
        code, out, err = run(command, source, "-c", "kedge.yaml")
        assert (code, out) == (2, "")
        assert err.startswith(f"error: {source}: no ")
        assert len(err.splitlines()) == 1


# --- cat


def test_given_a_journal_when_printed_as_json_then_every_record_reads_back(run, home):
    code, out, err = run("cat", "--json", f"j/{UID}.kj", "-c", "kedge.yaml")

    assert (code, err) == (0, "")
    objects = [json.loads(line, parse_constant=pytest.fail) for line in out.splitlines()]
    assert [one["seq"] for one in objects] == list(range(len(RECORDS)))
    assert {one["session_uid"] for one in objects} == {UID}
    assert [one["fields"] for one in objects] == [record._asdict() for record in RECORDS]
    assert list(objects[0]["fields"]) == list(EXAMPLES["session_opened"]._fields)


@pytest.mark.parametrize(
    ("options", "seqs"),
    [
        (("--kind", "tick", "--from-seq", "2", "--to-seq", "4"), [2, 3, 4]),
        (("--kind", "session_opened", "--kind", "session_closed"), [0, len(RECORDS) - 1]),
        (("--to-seq", "0"), [0]),
        (("--from-seq", "99"), []),
    ],
)
def test_given_a_choice_when_printed_then_only_these_records_are(run, home, options, seqs):
    _, out, _ = run("cat", f"j/{UID}.kj", "--json", *options)

    assert [json.loads(line)["seq"] for line in out.splitlines()] == seqs


def test_given_damage_when_printed_then_it_stands_in_its_place_and_it_ends_with_4(run, home):
    path = damage(torn=b"xyz")

    code, out, err = run("cat", "--json", path)

    objects = [json.loads(line) for line in out.splitlines()]
    assert [one.get("seq", "damage") for one in objects] == [0, 1, 2, "damage", *range(4, len(RECORDS)), "damage"]
    assert objects[3]["damage"]["kind"] == "corrupt"
    assert objects[-1]["damage"] | {"kind": "torn", "length": 3} == objects[-1]["damage"]
    assert code == 4
    assert err == f"error: {path}: damaged, first at byte {objects[3]['damage']['position']}\n"

    assert "DAMAGE" in run("cat", path)[1]


def test_given_a_record_that_is_not_as_promised_when_printed_then_its_number_and_the_rule_are(run, home):
    payloads = encoded(RECORDS, "u")
    payloads[2] = b"\xc1"
    code, out, _ = run("cat", "--json", write_journal(Path("other"), payloads, "u"))

    told = json.loads(out.splitlines()[2])["damage"]
    assert code == 4
    assert (told["kind"], told["seq"], told["length"]) == ("unreadable", 2, 9)
    assert "not msgpack" in told["reason"]


def test_given_a_torn_tail_when_printed_then_it_ends_with_0(run, home):
    with journal_path(Path("j"), UID).open("ab") as file:
        file.write(b"torn")

    code, out, err = run("cat", f"j/{UID}.kj")

    assert (code, err) == (0, "")
    assert len(out.splitlines()) == len(RECORDS) + 1


def test_given_foreign_files_when_printed_then_the_others_are_and_each_is_named(run, home):
    Path("j/0.kj").write_bytes(b"something else")
    Path("j/1.kj").symlink_to("nowhere")

    code, out, err = run("cat", "j")

    assert code == 4
    assert len(out.splitlines()) == 2 * len(RECORDS)
    assert [line.split(":")[1].strip() for line in err.splitlines()] == ["j/0.kj", "j/1.kj"]


@pytest.mark.skipif(os.name != "posix", reason="what a closed pipe does is POSIX")
@pytest.mark.parametrize("command", ["cat --json", "cat", "verify --no-db"])
def test_given_a_reader_that_goes_away_when_printed_then_it_ends_clean(home, command):
    for number in range(400 if command.startswith("verify") else 1):
        uid = f"2027-{number:04}"
        write_journal(Path("many"), encoded([RECORDS[0]] + RECORDS[1:2] * (1 if number else 3_000), uid), uid)
    argv = [sys.executable, "-m", "telemetry_proc", "journal", *command.split(), "many"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}

    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as process:
        assert process.stdout.readline()
        process.stdout.close()
        complaints = process.stderr.read()

    assert (process.returncode, complaints) == (0, b"")


# --- repair


def test_given_a_damaged_journal_when_repaired_then_what_was_kept_where_is_said(run, home):
    path = damage(torn=b"xyz")
    before = path.read_bytes()
    assert "would be taken out" in run("repair", "-c", "kedge.yaml", "--dry-run")[1]
    assert path.read_bytes() == before

    code, out, err = run("repair", "-c", "kedge.yaml")

    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert len(lines) == 3
    assert all(Path(line.rpartition(" ")[2]).exists() for line in lines[:2])
    assert lines[2] == f"j/{LATER}.kj: whole, left as it is"
    assert run("repair", "-c", "kedge.yaml")[1].splitlines()[0] == f"{path}: whole, left as it is"
    assert run("verify", path, "--no-db")[0] == 4, "a repair brings no record back"


def test_given_a_running_engine_when_repaired_then_75_and_whole_journals_are_no_trouble(run, home):
    path = damage()

    with FileLock(f"j/{ENGINE_LOCK}"):
        code, out, err = run("repair", "j")

    assert code == 75
    assert out == f"j/{LATER}.kj: whole, left as it is\n"
    assert err == f"error: {path}: an engine is running with this journal directory; stop it first\n"


def test_given_what_is_no_journal_when_repaired_then_4_and_the_others_are_repaired(run, home):
    damage()
    Path("j/0.kj").write_bytes(b"something else")

    code, out, err = run("repair", "j")

    assert code == 4
    assert "taken out" in out
    assert len(err.splitlines()) == 1
    assert Path("j/0.kj").read_bytes() == b"something else"


# --- prune


def test_given_old_stored_journals_when_pruned_then_what_goes_and_what_stays_is_said(run, home):
    size = journal_path(Path("j"), UID).stat().st_size
    code, out, err = run("prune", "-c", "kedge.yaml", "--dry-run")
    assert (code, err) == (0, "")
    assert out.splitlines()[0] == f"j/{UID}.kj: would be deleted, {size:,} bytes"
    assert journal_path(Path("j"), UID).exists()

    code, out, err = run("prune", "-c", "kedge.yaml")

    assert (code, err) == (0, "")
    assert out.splitlines() == [
        f"j/{UID}.kj: deleted, {size:,} bytes",
        f"j/{LATER}.kj: kept: the newest of its directory: the engine's past",
    ]
    assert [path.name for path in Path("j").glob("*.kj")] == [f"{LATER}.kj"]


@pytest.mark.skipif(os.name != "posix", reason="descriptors by number are POSIX")
def test_given_a_prune_when_its_order_is_watched_then_the_database_is_on_disk_before_the_first_journal_goes(
    run, home, monkeypatch
):
    happened = []
    database = Path("k.db").stat().st_ino

    def syncing(fd, fsync=os.fsync):
        happened.append("database synced" if os.fstat(fd).st_ino == database else "synced")
        fsync(fd)

    def deleting(path, missing_ok=False, unlink=Path.unlink):
        happened.append(path.suffix)
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(os, "fsync", syncing)
    monkeypatch.setattr(Path, "unlink", deleting)
    run("prune", "-c", "kedge.yaml", "--dry-run")
    assert happened == []

    run("prune", "-c", "kedge.yaml")

    happened = happened[happened.index("database synced") :]
    assert happened == ["database synced", ".kj", ".latched", "synced"]


def test_given_a_prune_when_asked_for_json_then_one_object_says_it(run, home):
    done = json.loads(run("prune", "j", "--db", "k.db", "--keep-days", "0", "--json")[1])

    assert (done["dry_run"], [one["session_uid"] for one in done["pruned"]]) == (False, [UID])
    assert done["pruned_bytes"] == done["pruned"][0]["size_bytes"] > 0
    assert done["kept"][0]["reason"].startswith("the newest")


def test_given_younger_journals_than_the_configuration_keeps_when_pruned_then_they_stay(run, home):
    code, out, _ = run("prune", "-c", "kedge.yaml", "--keep-days", "36500")

    assert code == 0
    assert ", kept for 36500" in out.splitlines()[0]
    assert len(list(Path("j").glob("*.kj"))) == 2


@pytest.mark.parametrize("days", ["nan", "-1", "inf", "soon"])
def test_given_no_number_of_days_when_pruned_then_usage_error(run, home, days):
    assert run("prune", "-c", "kedge.yaml", "--keep-days", days)[0] == 2
    assert len(list(Path("j").glob("*.kj"))) == 2


@pytest.mark.parametrize("state", ["missing", "garbage"])
def test_given_no_database_when_pruned_then_5_and_every_journal_stays(run, home, state):
    Path("k.db").unlink()
    if state == "garbage":
        Path("k.db").write_text("this is not a database\n" * 100)

    code, out, err = run("prune", "-c", "kedge.yaml")

    assert (code, out) == (5, "")
    assert "k.db" in err
    assert len(list(Path("j").glob("*.kj"))) == 2


def test_given_a_database_that_lacks_a_record_when_pruned_then_the_journal_stays(run, home):
    (home / "fresh").mkdir()
    list(backfill(Path("fresh/k.db"), [journal_path(Path("j"), LATER)], StandingClock()))

    code, out, _ = run("prune", "j", "--db", "fresh/k.db", "--keep-days", "0")

    assert code == 0
    assert out.splitlines()[0] == f"j/{UID}.kj: kept: records 0 to 14 are not stored yet"


def test_given_a_directory_that_may_not_be_changed_when_pruned_then_1_and_the_journal_is_said_to_be_kept(
    run, home, monkeypatch
):
    def refused(path, missing_ok=False):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "unlink", refused)
    code, out, err = run("prune", "-c", "kedge.yaml")

    assert code == 1
    assert out.splitlines()[0] == f"j/{UID}.kj: kept: cannot delete the journal: Permission denied"
    assert err == f"error: j/{UID}.kj: cannot delete the journal: Permission denied\n"


# --- help


@pytest.mark.parametrize("command", journal.commands.values(), ids=lambda command: command.name)
def test_given_any_command_when_asked_for_help_then_it_shows_real_examples(run, command):
    code, out, _ = run(command.name, "--help")

    assert code == 0
    assert out.count(f"kedge-telemetry journal {command.name}") == 3
    assert "JOURNAL_OR_DIR" in out
