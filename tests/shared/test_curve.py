"""Keys: made once, kept secret, checked before anything is opened; both ends know each other by them."""

from __future__ import annotations

import logging
import os
import stat
from contextlib import ExitStack, closing, contextmanager

import pytest
import zmq

from engine_proc.push_socket import PushSocket
from shared import cli
from shared.clock import SystemClock
from shared.curve import EngineKeys, KeyPair, engine_keys, make_pairs, writer_keys
from shared.errors import ConfigError, KedgeError
from shared.stop import Stop
from telemetry_proc.__main__ import telemetry
from telemetry_proc.inbox import STRANGERS_SAID_MAX, Doorkeeper, Inbox

LONG_MS = 20_000
BOTH = ("writer", "engine")
posix = pytest.mark.skipif(os.name != "posix", reason="neither modes nor owners")


@pytest.fixture
def keys(tmp_path):
    directory = tmp_path / "keys"
    make_pairs(directory, BOTH)
    return directory


def complaint(load, directory):
    with pytest.raises(ConfigError) as refusal:
        load(str(directory))
    assert refusal.value.exit_code == 78
    (line,) = str(refusal.value).splitlines()
    assert line.startswith("telemetry.keys_dir: ")
    return line


# --- making them


@posix
def test_given_an_open_umask_when_keys_are_made_then_directory_and_secrets_are_their_owners_alone(tmp_path):
    umask = os.umask(0)
    try:
        make_pairs(tmp_path / "keys", BOTH)
        assert os.umask(0) == 0, "as it was"
    finally:
        os.umask(umask)

    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "keys").iterdir()} == dict.fromkeys(
        ("writer.key", "writer.key_secret", "engine.key", "engine.key_secret"), 0o600
    )


@pytest.mark.parametrize("there", ["writer.key", "writer.key_secret", "engine.key", "engine.key_secret"])
def test_given_a_key_file_when_keys_are_made_then_it_is_named_and_nothing_is_touched(tmp_path, there):
    (tmp_path / there).write_text("precious")
    tmp_path.chmod(0o700)

    with pytest.raises(KedgeError, match=f"{there}: there is one already"):
        make_pairs(tmp_path, BOTH)

    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(there, "precious")]


def test_given_one_directory_for_both_ends_when_loaded_then_each_knows_the_other_and_not_itself(keys):
    writer, engine = writer_keys(str(keys)), engine_keys(str(keys))

    assert writer.own.public == engine.writer_public
    assert dict(writer.admitted) == {engine.own.public: keys / "engine.key"}
    assert len({writer.own.secret, engine.own.secret}) == 2


def test_given_two_machines_when_only_public_keys_travel_then_both_ends_load(tmp_path):
    writers, tokyo, dublin = tmp_path / "w", tmp_path / "t", tmp_path / "d"
    make_pairs(writers, ["writer"])
    for engine in (tokyo, dublin):
        make_pairs(engine, ["engine"])
        (engine / "writer.key").write_bytes((writers / "writer.key").read_bytes())
        (writers / f"{engine.name}.key").write_bytes((engine / "engine.key").read_bytes())

    assert [path.name for path in writer_keys(str(writers)).admitted.values()] == ["d.key", "t.key"]
    assert engine_keys(str(tokyo)).writer_public == engine_keys(str(dublin)).writer_public
    assert b"secret-key" not in b"".join(path.read_bytes() for path in writers.glob("*.key"))


def test_given_no_setting_when_loaded_then_there_are_no_keys():
    assert writer_keys(None) is None
    assert engine_keys(None) is None


def test_given_a_pair_when_it_is_shown_then_its_secret_is_not(keys):
    loaded = engine_keys(str(keys))

    for shown in (repr(loaded), str(loaded), f"{loaded.own}", repr((loaded,)), repr(writer_keys(str(keys)))):
        assert "hidden" in shown
        assert loaded.own.secret.decode() not in shown


# --- what cannot be used: one line that names the file


def gone(path):
    path.unlink()


def a_directory(path):
    path.unlink()
    path.mkdir()


def a_pipe(path):
    path.unlink()
    os.mkfifo(path)


def empty(path):
    path.write_text("")


def not_text(path):
    path.write_bytes(bytes(range(256)) * 4)


def half_a_key(path):
    path.write_text(path.read_text().replace('-key = "', '-key = "x'))


def not_z85(path):
    path.write_text(f'curve\n    public-key = "{"~" * 40}"\n    secret-key = "{"~" * 40}"\n')


def beyond_32_bits(path):
    path.write_text(f'curve\n    public-key = "{"#" * 40}"\n    secret-key = "{"#" * 40}"\n')


def another_ones_secret(path):
    _, secret = zmq.curve_keypair()
    lines = [line for line in path.read_text().splitlines() if "secret-key" not in line]
    path.write_text("\n".join([*lines, f'    secret-key = "{secret.decode()}"', ""]))


def without_secret(path):
    path.write_text("\n".join(line for line in path.read_text().splitlines() if "secret-key" not in line))


DAMAGE = [gone, a_directory, a_pipe, empty, not_text, half_a_key, not_z85, beyond_32_bits]


@posix
@pytest.mark.parametrize(
    ("name", "damage"),
    [
        *[("engine.key_secret", damage) for damage in [*DAMAGE, another_ones_secret, without_secret]],
        *[("writer.key", damage) for damage in DAMAGE],
    ],
)
def test_given_a_key_file_that_cannot_be_used_when_an_engine_loads_it_then_the_line_names_it(keys, name, damage):
    damage(keys / name)

    assert f": {keys / name}: " in complaint(engine_keys, keys)


@posix
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o610, 0o666])
def test_given_a_secret_that_others_may_read_when_loaded_then_refused_with_mode_and_remedy(keys, mode):
    path = keys / "writer.key_secret"
    path.chmod(mode)

    assert complaint(writer_keys, keys).endswith(
        f"{path}: a secret that others may read (mode {mode:04o}): chmod 600 {path}"
    )


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root may give a file away")
def test_given_a_secret_of_somebody_else_when_loaded_then_it_is_refused(keys):
    os.chown(keys / "engine.key_secret", 54_321, -1)

    assert "engine.key_secret: a secret that belongs to user 54321" in complaint(engine_keys, keys)


@posix
def test_given_a_directory_of_keys_when_others_may_add_one_then_it_is_refused(keys):
    keys.chmod(0o777)

    assert "everybody may write there" in complaint(writer_keys, keys)


def test_given_no_directory_when_loaded_then_it_is_named(tmp_path):
    assert f"{tmp_path / 'none'}: cannot use the directory" in complaint(engine_keys, tmp_path / "none")


def test_given_no_engines_key_when_the_writer_loads_then_it_says_that_nobody_would_be_admitted(keys):
    (keys / "engine.key").unlink()

    assert "nobody would be admitted" in complaint(writer_keys, keys)


def test_given_a_zeromq_without_curve_when_keys_are_wanted_then_it_says_so(keys, monkeypatch):
    monkeypatch.setattr(zmq, "has", lambda capability: capability != "curve")

    assert "has no CURVE" in complaint(engine_keys, keys)
    with pytest.raises(ConfigError, match="has no CURVE"):
        make_pairs(keys, BOTH)


# --- the command


def test_given_the_command_when_run_then_it_says_what_to_copy_where_and_no_secret(tmp_path, capsys):
    directory = tmp_path / "keys"

    assert cli.run(telemetry, ["keys", str(directory)]) == 0

    said = capsys.readouterr().out
    for role, own in (("writer", writer_keys(str(directory)).own), ("engine", engine_keys(str(directory)).own)):
        assert f"{role}: public key {own.public.decode()}\n" in said
        assert own.secret.decode() not in said
    assert "copy writer.key" in said
    assert f"telemetry.keys_dir: {directory}" in said


def test_given_the_command_when_run_again_then_exit_1_and_the_keys_stay(tmp_path, capsys):
    directory = tmp_path / "keys"
    assert cli.run(telemetry, ["keys", str(directory), "--of", "engine"]) == 0
    before = (directory / "engine.key_secret").read_bytes()
    capsys.readouterr()

    assert cli.run(telemetry, ["keys", str(directory)]) == 1

    assert capsys.readouterr().err.startswith(f"error: {directory / 'engine.key'}: there is one already")
    assert sorted(path.name for path in directory.iterdir()) == ["engine.key", "engine.key_secret"]
    assert (directory / "engine.key_secret").read_bytes() == before


# --- both ends


@pytest.fixture
def endpoint(tmp_path):
    return f"ipc://{tmp_path}/s/t.sock"


@contextmanager
def a_push(endpoint, keys, **options):
    options = {"records_max": 1_000, "linger_ms": 0, "burst_ms": 0} | options
    with closing(PushSocket(endpoint, SystemClock(), keys=keys, **options)) as push:
        yield push


@pytest.fixture
def listening():
    with ExitStack() as cleanup:

        def listen(endpoint, keys):
            stop = cleanup.enter_context(closing(Stop()))
            return cleanup.enter_context(closing(Inbox(endpoint, SystemClock(), stop, keys)))

        yield listen


def stranger():
    return KeyPair(*zmq.curve_keypair())


def drained_until(inbox, done):
    """What comes in until something is true; the deadline is far beyond what it takes."""
    clock, found = SystemClock(), []
    until_ns = clock.monotonic_ns() + LONG_MS * 1_000_000
    while not done(found):
        assert clock.monotonic_ns() < until_ns, found
        found += inbox.drain(1, 10)
    return found


@pytest.mark.parametrize("network", ["ipc", "tcp"])
def test_given_keys_at_both_ends_when_records_are_sent_then_they_arrive_and_it_is_said_who_came(
    keys, endpoint, listening, network, caplog
):
    caplog.set_level(logging.INFO)
    inbox = listening("tcp://127.0.0.1:*" if network == "tcp" else endpoint, writer_keys(str(keys)))

    with a_push(inbox._pull.last_endpoint.decode(), engine_keys(str(keys))) as push:
        push.send([b"one", b"two"])
        assert inbox.drain(2, LONG_MS) == [b"one", b"two"]

    assert caplog.messages == [f"admitted by its key: {keys / 'engine.key'}"]


def test_given_an_engine_with_an_unknown_key_when_it_sends_then_nothing_arrives_it_is_said_once_and_others_go_on(
    keys, endpoint, listening, caplog
):
    inbox, writer = listening(endpoint, writer_keys(str(keys))), writer_keys(str(keys))
    wrong = EngineKeys(stranger(), writer.own.public)

    with a_push(endpoint, wrong) as turned_away, a_push(endpoint, engine_keys(str(keys))) as welcome:
        turned_away.send([b"forged"])
        drained_until(inbox, lambda found: caplog.messages)
        for _ in range(3):  # refused at once, never waited for
            turned_away.send([b"forged"])
        welcome.send([b"true"])
        assert drained_until(inbox, len) == [b"true"]
        assert inbox.drain(10, 50) == []

    assert caplog.messages == [f"turned away, its public key is not among ours: {wrong.own.public.decode()}"]


def test_given_keys_at_the_writer_when_somebody_without_any_sends_then_nothing_arrives(keys, endpoint, listening):
    inbox = listening(endpoint, writer_keys(str(keys)))

    with a_push(endpoint, None) as plain, a_push(endpoint, engine_keys(str(keys))) as welcome:
        plain.send([b"forged"])
        welcome.send([b"true"])
        assert drained_until(inbox, len) == [b"true"]
        assert inbox.drain(10, 200) == []


def test_given_a_listener_that_is_not_the_writer_when_an_engine_sends_then_it_hears_nothing(
    keys, endpoint, listening, tmp_path
):
    # Given an impostor that admits the engine but does not hold the writer's secret key
    engine = engine_keys(str(keys))
    make_pairs(tmp_path / "impostor", ["writer"])
    (tmp_path / "impostor" / "engine.key").write_bytes((keys / "engine.key").read_bytes())
    impostor = listening(endpoint, writer_keys(str(tmp_path / "impostor")))

    with a_push(endpoint, engine, records_max=2) as push:
        push.send([b"secret"] * 5)
        assert impostor.drain(1, 300) == []
        assert push.refused == 3, "two wait for the real one, the rest is in the journal alone"


def test_given_a_listener_without_keys_when_an_engine_with_keys_sends_then_it_hears_nothing(keys, endpoint, listening):
    impostor = listening(endpoint, None)

    with a_push(endpoint, engine_keys(str(keys))) as push:
        push.send([b"secret"])
        assert impostor.drain(1, 300) == []


def test_given_an_authenticator_that_is_gone_when_an_engine_knocks_then_nobody_gets_in(keys, endpoint, listening):
    inbox = listening(endpoint, writer_keys(str(keys)))
    inbox._authenticator.stop()

    with a_push(endpoint, engine_keys(str(keys))) as push:
        push.send([b"who checks?"])
        assert inbox.drain(1, 300) == []


def test_given_a_crowd_of_strangers_when_they_knock_then_the_log_stays_short_and_friends_are_still_named(
    tmp_path, caplog
):
    caplog.set_level(logging.INFO)
    keeper = Doorkeeper({b"friend": tmp_path / "friend.key"})

    for number in range(10 * STRANGERS_SAID_MAX):
        assert keeper.callback("kedge", b"stranger %d" % number) is False
    assert keeper.callback("kedge", b"friend") is True
    assert keeper.callback("kedge", b"friend") is True

    assert len(caplog.messages) == STRANGERS_SAID_MAX + 1
    assert caplog.messages[-1] == f"admitted by its key: {tmp_path / 'friend.key'}"


def test_given_an_address_to_listen_on_when_an_engine_connects_there_then_it_is_told_so():
    with (
        pytest.raises(ConfigError, match=r"telemetry.endpoint: tcp://\*:4000: cannot connect there"),
        a_push("tcp://*:4000", None),
    ):
        pass
