"""`kedge-engine` as it is typed: what it prints, what it exits with, and that a refused start leaves nothing behind."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from engine_proc.__main__ import engine
from shared import cli
from shared.codec import encode, read_record
from shared.config import load_config
from shared.journal import Frame, JournalWriter, journal_path, read_frames
from shared.records import ModeChanged, Record, SessionClosed, SessionOpened, TickRecord
from tests.shared.record_examples import EXAMPLES

UID = "20251120T140209-1a2b3c"
CALM = "market.sim.scenario=[{kind: calm, ticks: 60}]"
DRAG = "market.sim.scenario=[{kind: calm, ticks: 60}, {kind: drag, ticks: 240}]"
EXPLICIT = "strategy.rearm=explicit"


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KEDGE_SET", "KEDGE_CONFIG"):
        monkeypatch.delenv(name, raising=False)


class Shell:
    """A directory with a configuration in it, and the command line."""

    def __init__(self, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.directory = directory
        self.journal_dir = directory / "j"
        self.config = directory / "k.yaml"
        self.config.write_text(
            f"market: {{feed: sim, ticks_max: 120, pace_per_s: 0}}\n"
            f"telemetry: {{journal_dir: {directory}/j, endpoint: 'ipc://{directory}/s/t', linger_ms: 0}}\n"
        )
        self._capsys = capsys

    def __call__(self, *argv: str) -> tuple[int, str, list[str]]:
        """Exit code, stdout, lines of stderr. Never a traceback, whatever the command."""
        code = cli.run(engine, argv)
        captured = self._capsys.readouterr()
        assert "Traceback" not in captured.err
        return code, captured.out, captured.err.splitlines()

    def configured(self, command: str, *argv: str, overrides: tuple[str, ...] = ()) -> tuple[int, str, list[str]]:
        sets = (part for override in overrides for part in ("--set", override))
        return self(command, "-c", str(self.config), *sets, *argv)

    def ran(self, *overrides: str) -> Path:
        before = set(self.journals())
        code, out, _ = self.configured("run", overrides=overrides)
        assert (code, out) == (0, "")
        (path,) = set(self.journals()) - before
        return path

    def journals(self) -> list[Path]:
        return sorted(self.journal_dir.glob("*.kj"))

    def untouched(self) -> bool:
        return list(self.directory.iterdir()) == [self.config]


@pytest.fixture
def shell(tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(tmp_path_factory.mktemp("c"), capsys)  # short: socket paths are limited


def records_of(path: Path) -> list[Record]:
    return [read_record(frame.payload)[1] for frame in read_frames(path) if isinstance(frame, Frame)]


def crashed(directory: Path, mode: str) -> None:
    """The journal of a session that was killed in this mode."""
    writer = JournalWriter(journal_path(directory, UID))
    writer.append(encode(UID, 0, EXAMPLES["session_opened"]))
    writer.append(encode(UID, 1, ModeChanged(1, 9, "ACTIVE", mode, "degrade", "why")))
    writer.close()


# --------------------------------------------------------------------------------------------------------- check


def test_given_a_sound_configuration_when_checked_then_hash_settings_and_remarks_and_nothing_started(
    shell: Shell,
) -> None:
    code, out, err = shell.configured("check")
    assert (code, err) == (0, [])
    assert f"# config_hash {load_config(shell.config).config_hash}" in out.splitlines()
    assert "ticks_max: 120" in out
    assert "# next session: ACTIVE" in out
    assert shell.journals() == []


def test_given_check_as_json_then_one_object_with_the_effective_configuration(shell: Shell) -> None:
    code, out, _ = shell.configured("check", "--json", overrides=("market.seed=99",))
    said = json.loads(out)
    assert code == 0
    assert (said["schema_version"], said["config"]["market"]["seed"]) == (1, 99)
    assert said["config_hash"] == load_config(shell.config, ("market.seed=99",)).config_hash
    assert said["source"] == str(shell.config)


def test_given_a_latched_session_when_checked_then_the_remarks_say_in_which_mode_the_next_starts(shell: Shell) -> None:
    crashed(shell.journal_dir, "HALT")
    _, out, _ = shell.configured("check")
    assert "# next session: HALT" in out
    assert f"# kept from session {UID}: why" in out


def test_given_a_cap_below_the_bias_when_checked_then_the_remark_says_the_guard_cannot_trip(shell: Shell) -> None:
    _, out, _ = shell.configured("check", overrides=("strategy.anchor.cap_bps=6.5",))
    assert "cap_bps 6.5 is below the guard's bias_threshold_bps 7.0" in out


# --------------------------------------------------------------------------------------- what cannot be configured


@pytest.mark.parametrize("command", ["run", "check"])
@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("strategy.anchor.cap_bsp=1", ["cap_bsp", "unknown key", "did you mean cap_bps?"]),
        ("market.ticks_max=many", ["market.ticks_max"]),
        ("strategy.anchor_saturation_guard.prevalence_threshold_bps=9", ["prevalence_threshold_bps", "must not be"]),
        ("market.feed=tape", ["market.tape"]),
        ("execution.venue=xrpl", ["xrpl"]),
        ("telemetry.endpoint=tcp://0.0.0.0:5555", ["telemetry.endpoint", "other machines"]),
        ("strategy.quote.size_quantum=0.0000001", ["strategy.quote.size_quantum"]),
        ("market.seed", ["market.seed", "section.key=value"]),
    ],
)
def test_given_settings_that_cannot_be_used_then_78_the_key_named_and_nothing_written(
    shell: Shell, command: str, override: str, said: list[str]
) -> None:
    code, out, err = shell.configured(command, overrides=(override,))
    assert (code, out) == (78, "")
    assert len(err) == 1
    for word in said:
        assert word in err[0]
    assert shell.untouched()


@pytest.mark.parametrize("command", ["run", "check", "rearm"])
def test_given_an_unknown_key_in_the_file_then_78_naming_file_and_key(shell: Shell, command: str) -> None:
    shell.config.write_text("strategy: {anchr: {mode: clob}}\n")
    more = ("--reason", "r") if command == "rearm" else ()
    code, out, err = shell.configured(command, *more)
    assert (code, out) == (78, "")
    assert err == [f"error: {shell.config}: strategy.anchr: unknown key; did you mean anchor?"]
    assert shell.untouched()


@pytest.mark.parametrize("command", ["run", "check"])
def test_given_two_faults_then_a_line_for_each(shell: Shell, command: str) -> None:
    code, _, err = shell.configured(command, overrides=("market.seed=-1", "gate.collar_bps=0"))
    assert code == 78
    assert [("market.seed" in line, "gate.collar_bps" in line) for line in err] == [(True, False), (False, True)]


@pytest.mark.parametrize("command", ["run", "check"])
def test_given_no_such_file_then_78_and_its_name(shell: Shell, command: str) -> None:
    code, _, (line,) = shell(command, "-c", str(shell.directory / "missing.yaml"))
    assert code == 78
    assert "missing.yaml" in line


@pytest.mark.parametrize("command", ["run", "check"])
def test_given_a_tape_that_is_missing_then_78_naming_it_and_nothing_written(shell: Shell, command: str) -> None:
    tape = shell.directory / "missing.jsonl"
    code, _, (line,) = shell.configured(command, overrides=("market.feed=tape", f"market.tape={tape}"))
    assert code == 78
    assert str(tape) in line
    assert shell.untouched()


@pytest.mark.parametrize("command", ["run", "check"])
def test_given_a_journal_that_is_missing_as_feed_then_78_and_nothing_written(shell: Shell, command: str) -> None:
    code, _, (line,) = shell.configured(command, overrides=("market.feed=replay", "market.tape=missing.kj"))
    assert code == 78
    assert "missing.kj" in line
    assert shell.untouched()


@pytest.mark.parametrize("command", ["run", "check"])
def test_given_a_journal_directory_that_cannot_be_made_then_75_and_its_name(shell: Shell, command: str) -> None:
    below = shell.config / "j"  # below a file, which stops root too
    code, _, err = shell.configured(command, overrides=(f"telemetry.journal_dir={below}",))
    assert code == 75
    assert str(below) in err[-1]
    assert shell.untouched()


# ---------------------------------------------------------------------------------------------------------- run


def test_given_a_run_to_its_last_tick_then_0_and_a_journal_from_opening_to_close(shell: Shell) -> None:
    records = records_of(shell.ran(CALM))
    assert isinstance(records[0], SessionOpened)
    closed = records[-1]
    assert isinstance(closed, SessionClosed)
    assert (closed.end_reason, closed.ticks, closed.orders_surviving) == ("ticks_max", 120, 0)
    assert [record.tick for record in records if isinstance(record, TickRecord)] == list(range(1, 121))


def test_given_a_run_then_the_record_has_the_configuration_that_check_prints(shell: Shell) -> None:
    opened = records_of(shell.ran("market.seed=5"))[0]
    loaded = load_config(shell.config, ("market.seed=5",))
    assert (opened.config_hash, opened.config_json) == (loaded.config_hash, loaded.config_json)


def test_given_runs_in_a_row_then_each_has_a_journal_of_its_own(shell: Shell) -> None:
    assert len({shell.ran("market.ticks_max=1") for _ in range(3)}) == 3


# -------------------------------------------------------------------------------------------------------- re-arm


def test_given_nothing_latched_when_rearmed_then_1_and_nothing_written(shell: Shell) -> None:
    code, out, (line,) = shell.configured("rearm", "--reason", "just in case")
    assert (code, out) == (1, "")
    assert "nothing to re-arm" in line
    assert shell.untouched()


def test_given_no_reason_when_rearmed_then_a_usage_error(shell: Shell) -> None:
    crashed(shell.journal_dir, "DEGRADED")
    code, _, err = shell.configured("rearm")
    assert code == 2
    assert any("--reason" in line for line in err)


def test_given_a_crash_in_degraded_then_latched_until_the_operator_rearms_once(shell: Shell) -> None:
    crashed(shell.journal_dir, "DEGRADED")
    # When started again, it does not quote
    latched = records_of(shell.ran(CALM, EXPLICIT))
    assert latched[0].initial_mode == "DEGRADED"
    assert latched[1].reason == f"kept from session {UID}: why"
    assert latched[-1].orders_submitted == 0
    # Until the operator says so
    code, out, _ = shell.configured("rearm", "--reason", "pool is back")
    assert code == 0
    assert "the next session starts ACTIVE" in out
    quoting = records_of(shell.ran(CALM, EXPLICIT))
    assert quoting[0].initial_mode == "ACTIVE"
    assert (quoting[1].signal, quoting[1].from_mode, quoting[1].to_mode) == ("rearm", "DEGRADED", "ACTIVE")
    assert quoting[1].reason.endswith(": pool is back")
    assert quoting[-1].orders_submitted > 0


# --------------------------------------------------------------------------------------------------------- replay


@pytest.fixture
def session(shell: Shell) -> Path:
    return shell.ran(DRAG, "market.ticks_max=300")


def tampered(path: Path, change: Callable[[Record], Record]) -> Path:
    """The same records in whole frames, each through `change`."""
    writer = JournalWriter(path.with_name("tampered.kj"))
    for seq, record in enumerate(records_of(path)):
        writer.append(encode("tampered", seq, change(record)))
    writer.close()
    return writer.path


def test_given_a_session_when_replayed_then_0_and_said_to_be_bit_for_bit(shell: Shell, session: Path) -> None:
    code, out, err = shell("replay", str(session))
    assert (code, err) == (0, [])
    assert "300 ticks replayed under its own settings" in out
    assert "every anchor, error and guard value reproduced bit for bit" in out


def test_given_a_session_when_replayed_as_json_then_one_object(shell: Shell, session: Path) -> None:
    code, out, _ = shell("replay", str(session), "--json")
    said = json.loads(out)
    assert code == 0
    assert (said["schema_version"], said["ticks"], said["mismatched_ticks"], said["own_settings"]) == (1, 300, 0, True)
    assert said["recorded_trip_tick"] == said["replayed_trip_tick"] is not None
    assert said["first_mismatch"] is None


def test_given_other_settings_when_replayed_then_0_and_the_first_difference(shell: Shell, session: Path) -> None:
    code, out, err = shell("replay", str(session), "-c", str(shell.config), "--set", "strategy.anchor.reference=spot")
    assert (code, err) == (0, [])
    assert "under other settings" in out
    assert "quote_anchor_price recorded" in out


def test_given_a_record_that_does_not_reproduce_itself_then_4_and_the_place(shell: Shell, session: Path) -> None:
    def doctored(record: Record) -> Record:
        if isinstance(record, TickRecord) and record.tick == 50:
            return record._replace(anchor_error_bps=record.anchor_error_bps + 1e-9)
        return record

    path = tampered(session, doctored)
    code, out, err = shell("replay", str(path))
    assert code == 4
    assert "first at tick 50: anchor_error_bps" in out
    assert err == [f"error: {path}: the replay does not reproduce the record"]


def test_given_a_damaged_journal_when_replayed_then_4_and_no_output(shell: Shell, session: Path) -> None:
    content = bytearray(session.read_bytes())
    content[len(content) // 2] ^= 1
    session.write_bytes(content)
    code, out, (line,) = shell("replay", str(session))
    assert (code, out) == (4, "")
    assert "damaged bytes at position" in line


def test_given_no_such_journal_when_replayed_then_78_and_its_name(shell: Shell) -> None:
    code, out, (line,) = shell("replay", str(shell.directory / "missing.kj"))
    assert (code, out) == (78, "")
    assert "missing.kj" in line
    assert shell.untouched()


def test_given_overrides_without_a_configuration_when_replayed_then_a_usage_error(shell: Shell, session: Path) -> None:
    code, out, err = shell("replay", str(session), "--set", "market.seed=1")
    assert (code, out) == (2, "")
    assert any("--set needs -c" in line for line in err)


# ---------------------------------------------------------------------------------------------------------- usage


@pytest.mark.parametrize("argv", [("fly",), ("run", "--nonsense"), ("replay",), ("run", "surplus")])
def test_given_a_command_line_that_means_nothing_then_2(shell: Shell, argv: tuple[str, ...]) -> None:
    code, out, err = shell(*argv)
    assert (code, out) == (2, "")
    assert err


@pytest.mark.parametrize("argv", [("--help",), ("run", "-h"), ("replay", "-h"), ("check", "-h"), ("rearm", "-h")])
def test_given_a_question_then_the_help_shows_an_example_and_0(shell: Shell, argv: tuple[str, ...]) -> None:
    code, out, err = shell(*argv)
    assert (code, err) == (0, [])
    assert "kedge-engine" in out


def test_given_the_version_then_it_is_the_installed_one(shell: Shell) -> None:
    from importlib.metadata import version

    code, out, _ = shell("--version")
    assert code == 0
    assert version("kedge") in out
