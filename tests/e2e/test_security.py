"""Strangers, wrong keys, open directories and names that want to be more than names, against the real commands."""

from __future__ import annotations

import base64
import json
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from zmq.utils import z85

from shared import cli
from shared.curve import KeyPair, engine_keys, make_pairs, writer_keys
from shared.records import TickRecord
from telemetry_proc.__main__ import telemetry
from tests.e2e.pair import (
    Home,
    assert_database_equals_journal,
    command,
    engine,
    eventually,
    journal_records,
    one_line,
    query,
    stored,
    writer,
)

posix = pytest.mark.skipif(os.name != "posix", reason="neither modes nor owners")
ELSEWHERE = "elsewhere"  # an engine's journal directory that the writer cannot see, as on another machine


@pytest.fixture
def keys(home: Home) -> Path:
    directory = home.directory / "keys"
    make_pairs(directory, ["writer", "engine"])
    return directory


@pytest.fixture
def remote(home: Home, keys: Path) -> tuple[str, ...]:
    """The pair over TCP, on every address of this machine for the writer."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return (f"telemetry.keys_dir={keys}", f"telemetry.endpoint=tcp://0.0.0.0:{port}")


def to_the_writer(settings: tuple[str, ...]) -> tuple[str, ...]:
    """An engine's own: the writer's address instead of where it listens, records that only the socket can bring."""
    return (settings[0], settings[1].replace("0.0.0.0", "127.0.0.1"), "telemetry.linger_ms=10000")


# --- keys


def test_given_keys_when_a_pair_runs_over_a_network_then_all_is_stored_and_no_secret_is_anywhere(
    home: Home, started, keys: Path, remote: tuple[str, ...]
) -> None:
    journals = home.directory / ELSEWHERE
    writing = started(writer(home, *remote))
    quoting = started(engine(home, *to_the_writer(remote), f"telemetry.journal_dir={journals}", "market.ticks_max=300"))
    assert quoting.ended() == 0
    assert writing.stop() == 0
    (journal,) = journals.glob("*.kj")
    assert assert_database_equals_journal(home.database, journal) == 300
    assert any("encrypted, 1 engine keys admitted" in line for line in writing.lines)
    assert any(f"admitted by its key: {keys / 'engine.key'}" in line for line in writing.lines)

    said = [*writing.lines, *quoting.lines]
    set_keys = ("-c", str(home.config), "--set", remote[0], "--set", remote[1])
    for module, *arguments in (
        ("engine_proc", "check", *set_keys, "--json"),
        ("engine_proc", "check", *set_keys),
        ("engine_proc", "replay", str(journal), "--json"),
        ("telemetry_proc", "status", *set_keys, "--json"),
        ("telemetry_proc", "status", *set_keys),
        ("telemetry_proc", "sessions", "--db", str(home.database), "--json"),
        ("telemetry_proc", "report", "latest", "--db", str(home.database), "--json"),
        ("telemetry_proc", "report", "latest", "--db", str(home.database)),
        ("telemetry_proc", "write", *set_keys[:2], "--set", f"telemetry.keys_dir={home.directory}"),
    ):
        done = command(module, *arguments)
        assert "Traceback" not in done.stderr
        assert done.stdout or done.returncode == 78, done
        said += [done.stdout, done.stderr]
    written = b"".join(path.read_bytes() for path in all_files(home.directory) if path.suffix != ".key_secret")
    written += "\n".join(said).encode()
    assert writer_keys(str(keys)).own.public in written, "what is looked through is what was said"
    for own in (writer_keys(str(keys)).own, engine_keys(str(keys)).own):
        for shape in shapes(own):
            assert shape not in written


def all_files(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file()]


def shapes(own: KeyPair) -> Iterator[bytes]:
    raw = z85.decode(own.secret)
    yield from (own.secret, raw, raw.hex().encode(), base64.b64encode(raw).rstrip(b"="), repr(raw).encode())


def test_given_an_engine_with_an_unknown_key_then_its_session_is_whole_nothing_gets_in_and_others_are_stored(
    home: Home, started, keys: Path, remote: tuple[str, ...]
) -> None:
    make_pairs(home.directory / "wrong", ["engine"])
    (home.directory / "wrong" / "writer.key").write_bytes((keys / "writer.key").read_bytes())
    wrong = (f"telemetry.keys_dir={home.directory / 'wrong'}", remote[1])
    writing = started(writer(home, *remote))

    journals = home.directory / ELSEWHERE
    stranger = started(
        engine(home, *to_the_writer(wrong), f"telemetry.journal_dir={journals}", "market.ticks_max=1000")
    )
    assert stranger.ended() == 0
    (journal,) = journals.glob("*.kj")
    ticks = [record for record in journal_records(journal) if isinstance(record, TickRecord)]
    assert len(ticks) == 1000
    assert ticks[-1].outbox_unsent > 0, "it was turned away while it ran, and counts what it could not send"
    writing.wait_for("turned away, its public key is not among ours")

    assert started(engine(home, *to_the_writer(remote), "market.ticks_max=50")).ended() == 0
    eventually(lambda: stored(home) == 50, writing)
    assert writing.stop() == 0
    assert query(home.database, "SELECT session_uid FROM sessions") == [(home.journals()[0].stem,)]
    assert query(home.database, "SELECT count(*) FROM telemetry_rejects") == [(0,)]


@pytest.mark.parametrize(
    ("module", "verb"), [("engine_proc", "run"), ("engine_proc", "check"), ("telemetry_proc", "write")]
)
@pytest.mark.parametrize("trouble", ["none there", "a secret missing", "a secret open to others"])
def test_given_keys_that_cannot_be_used_then_exit_78_the_file_named_and_nothing_started(
    home: Home, module: str, verb: str, trouble: str
) -> None:
    keys, named = home.directory / "keys", "keys"
    if trouble != "none there":
        make_pairs(keys, ["writer", "engine"])
        named = "writer.key_secret" if module == "telemetry_proc" else "engine.key_secret"
        if trouble == "a secret missing":
            (keys / named).unlink()
        else:
            (keys / named).chmod(0o644)

    done = command(module, verb, "-c", str(home.config), "--set", f"telemetry.keys_dir={keys}")

    assert done.returncode == 78, done.stderr
    one_line(done.stderr, "telemetry.keys_dir", named)
    assert home.journals() == []
    assert not home.database.exists()


@pytest.mark.parametrize(("module", "verb"), [("engine_proc", "run"), ("telemetry_proc", "write")])
def test_given_an_endpoint_beyond_loopback_without_keys_then_exit_78_and_both_settings_named(
    home: Home, module: str, verb: str
) -> None:
    done = command(module, verb, "-c", str(home.config), "--set", "telemetry.endpoint=tcp://0.0.0.0:47401")

    assert done.returncode == 78
    one_line(done.stderr, "telemetry.endpoint", "telemetry.keys_dir")


# --- directories


@posix
@pytest.mark.parametrize(("module", "verb"), [("engine_proc", "run"), ("telemetry_proc", "write")])
def test_given_a_socket_directory_that_everybody_may_write_then_exit_78_with_mode_and_remedy(
    home: Home, module: str, verb: str
) -> None:
    (home.directory / "s").mkdir()
    (home.directory / "s").chmod(0o777)

    done = command(module, verb, "-c", str(home.config))

    assert done.returncode == 78, done.stderr
    one_line(done.stderr, "mode 0777", f"chmod 700 {home.directory / 's'}")
    assert home.journals() == []


@posix
@pytest.mark.parametrize("verb", ["run", "check"])
def test_given_a_journal_directory_that_everybody_may_write_then_nobody_can_re_arm_the_engine_through_it(
    home: Home, verb: str
) -> None:
    home.journal_dir.mkdir()
    home.journal_dir.chmod(0o1777)
    (home.journal_dir / "rearm.json").write_text("{}")

    done = command("engine_proc", verb, "-c", str(home.config))

    assert done.returncode == 78, done.stderr
    one_line(done.stderr, "mode 1777", f"chmod 700 {home.journal_dir}")
    assert home.journals() == []


@posix
def test_given_an_open_umask_when_a_pair_runs_then_directories_socket_and_journals_are_their_owners_alone(
    home: Home, started
) -> None:
    umask = os.umask(0)
    try:
        writing = started(writer(home))
        assert started(engine(home, "market.ticks_max=5")).ended() == 0
    finally:
        os.umask(umask)

    def mode(path: Path) -> int:
        return stat.S_IMODE(path.stat().st_mode)

    assert (mode(home.directory / "s"), mode(home.directory / "s" / "t.sock")) == (0o700, 0o600)
    assert (mode(home.journal_dir), mode(home.journals()[0])) == (0o700, 0o600)
    assert writing.stop() == 0


# --- names that want to be more


HOSTILE_PAIR = """X');DROP/TABLE"sessions";--\\x00"""
NO_SESSIONS = [
    "1; DROP TABLE sessions",
    "' OR 1=1 --",
    "1 UNION SELECT 1",
    "\x01",
    "%",
    "_",
    "*",
    "-1",
    "1.0",
    "latest;",
]


def test_given_a_pair_whose_name_is_sql_when_it_runs_then_it_is_stored_as_what_it_is(home: Home, started) -> None:
    settings = ("market.feed=sim", f"market.pair={json.dumps(HOSTILE_PAIR)}", "market.ticks_max=20")
    writing = started(writer(home))
    assert started(engine(home, *settings)).ended() == 0
    assert writing.stop() == 0

    assert assert_database_equals_journal(home.database, home.journals()[0]) == 20
    assert query(home.database, "SELECT pair FROM sessions") == [(HOSTILE_PAIR,)]
    for arguments in (["report", "latest"], ["sessions"], ["status"], ["export", "latest"]):
        assert cli.run(telemetry, [*arguments, "--db", str(home.database)]) == 0
    assert query(home.database, "SELECT count(*) FROM system_metrics") == [(20,)]


def test_given_a_session_whose_name_is_sql_when_asked_for_then_there_is_none_and_nothing_happens(
    home: Home, started, capsys
) -> None:
    assert started(engine(home, "market.ticks_max=3", "telemetry.linger_ms=0")).ended() == 0
    assert cli.run(telemetry, ["backfill", "--db", str(home.database), str(home.journal_dir)]) == 0
    before = home.database.read_bytes()

    for verb in ("report", "export"):
        for name in NO_SESSIONS:
            capsys.readouterr()
            assert cli.run(telemetry, [verb, "--db", str(home.database), "--", name]) == 2, name
            one_line(capsys.readouterr().err, "no session")

    assert home.database.read_bytes() == before


@pytest.mark.parametrize(
    "name",
    [
        "k'; DROP TABLE sessions;--.db",
        'k".db',
        "k?mode=memory&cache=shared",
        "k.db?mode=rwc",
        "k%2e.db",
        "k#fragment",
        "file:k.db?mode=memory",
        "file:k.db?mode=rwc&vfs=none",
        ":memory:",
        "k\n.db",
        "-k.db",
    ],
)
def test_given_a_database_whose_name_is_sql_or_a_uri_when_used_then_it_is_the_file_of_that_name(
    tmp_path: Path, monkeypatch, capsys, name: str
) -> None:
    monkeypatch.chdir(tmp_path)

    assert cli.run(telemetry, ["migrate", f"--db={name}"]) == 0

    made = {path.name.removesuffix("-wal").removesuffix("-shm").removesuffix(".lock") for path in tmp_path.iterdir()}
    assert made == {name}
    assert (tmp_path / name).read_bytes().startswith(b"SQLite format 3\0")
    capsys.readouterr()
    assert cli.run(telemetry, ["sessions", f"--db={name}"]) == 3, "ours, and empty"
    assert cli.run(telemetry, ["migrate", f"--db={name}", "--json"]) == 0
    assert '"steps": []' in capsys.readouterr().out


@pytest.mark.parametrize("name", ["none.db", "none.db?mode=rwc", "file:none.db?mode=rwc", ":memory:"])
def test_given_a_database_that_is_not_there_when_read_then_it_is_not_made_whatever_its_name_says(
    tmp_path: Path, monkeypatch, capsys, name: str
) -> None:
    monkeypatch.chdir(tmp_path)

    assert cli.run(telemetry, ["sessions", f"--db={name}"]) == 5

    one_line(capsys.readouterr().err, name)
    assert list(tmp_path.iterdir()) == []


def test_given_a_database_that_is_there_when_its_name_is_a_uri_that_allows_writing_then_no_reader_opens_it(
    tmp_path: Path, capsys
) -> None:
    assert cli.run(telemetry, ["migrate", "--db", str(tmp_path / "k.db")]) == 0
    before = (tmp_path / "k.db").read_bytes()

    assert cli.run(telemetry, ["sessions", "--db", f"file:{tmp_path / 'k.db'}?mode=rwc"]) == 5

    assert (tmp_path / "k.db").read_bytes() == before
