"""How a command ends: the promised exit code, one clear line, and never a traceback for a user's mistake."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import textwrap

import click
import pytest

from shared import cli
from shared.errors import (
    ConfigError,
    DatabaseUnusable,
    FailSafeStop,
    IntegrityError,
    JournalCorrupt,
    JournalUnwritable,
    KedgeError,
    NotEnoughData,
    UsageError,
)


def command_that(act):
    return click.Command("kedge", callback=act)


def raising(error):
    def act():
        raise error

    return command_that(act)


@pytest.mark.parametrize(
    ("error_type", "exit_code"),
    [
        (KedgeError, 1),
        (UsageError, 2),
        (NotEnoughData, 3),
        (IntegrityError, 4),
        (JournalCorrupt, 4),
        (DatabaseUnusable, 5),
        (JournalUnwritable, 75),
        (FailSafeStop, 75),
        (ConfigError, 78),
    ],
)
def test_given_an_error_of_ours_when_a_command_ends_then_its_exit_code_and_one_line_on_stderr(
    capsys, error_type, exit_code
):
    assert cli.run(raising(error_type("file: key: what to do")), []) == exit_code

    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "error: file: key: what to do\n"


def test_given_an_error_of_several_lines_when_a_command_ends_then_each_is_marked(capsys):
    assert cli.run(raising(ConfigError("one\ntwo")), []) == 78

    assert capsys.readouterr().err == "error: one\nerror: two\n"


def test_given_an_error_without_words_when_a_command_ends_then_at_least_its_name_is_said(capsys):
    assert cli.run(raising(NotEnoughData()), []) == 3

    assert capsys.readouterr().err == "error: NotEnoughData\n"


@pytest.mark.parametrize(("returned", "exit_code"), [(None, 0), (0, 0), (75, 75), ("text", 0)])
def test_given_a_command_that_ends_in_order_when_run_then_the_exit_code_is_what_it_returned(returned, exit_code):
    assert cli.run(command_that(lambda: returned), []) == exit_code


@pytest.mark.parametrize("argv", [["--nope"], ["extra"]])
def test_given_a_wrong_command_line_when_run_then_exit_code_2_and_the_usage(capsys, argv):
    assert cli.run(command_that(lambda: None), argv) == 2

    assert "Usage: " in capsys.readouterr().err


def test_given_a_request_for_help_when_run_then_exit_code_0_and_help_on_stdout(capsys):
    assert cli.run(command_that(lambda: None), ["--help"]) == 0

    assert "Usage: " in capsys.readouterr().out


def test_given_a_bug_when_a_command_ends_then_it_is_not_dressed_up_as_a_users_mistake():
    with pytest.raises(ZeroDivisionError):
        cli.run(command_that(lambda: 1 // 0), [])
    with pytest.raises(SystemExit) as leaving:
        cli.run(command_that(lambda: sys.exit(9)), [])
    assert leaving.value.code == 9


def test_given_what_the_system_refuses_when_a_command_ends_then_one_line_names_the_file(capsys):
    refusal = OSError(errno.ENAMETOOLONG, "File name too long", "aaa")

    assert cli.run(raising(refusal), []) == 1

    assert capsys.readouterr().err == "error: aaa: File name too long\n"


def test_given_an_interrupt_when_a_command_runs_then_it_ends_with_130_and_no_traceback(capsys):
    assert cli.run(raising(KeyboardInterrupt()), []) == 130

    assert "Traceback" not in capsys.readouterr().err


SCRIPT = """
    import signal, sys
    import click
    from shared import cli

    @click.command()
    def talk():
        print("ready", flush=True)
        {body}

    sys.exit(cli.run(talk, []))
"""


@pytest.fixture
def talking():
    started = []

    def start(body):
        script = textwrap.dedent(SCRIPT).format(body=body)
        process = subprocess.Popen(
            [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout.readline() == "ready\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_given_a_reader_that_has_seen_enough_when_a_command_goes_on_then_it_ends_quietly(talking):
    process = talking("while True: click.echo('x' * 1000)")

    process.stdout.close()
    errors = process.stderr.read()

    assert (process.wait(timeout=30), errors) == (0, "")


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX")
def test_given_a_ctrl_c_when_a_command_waits_then_it_ends_quietly_with_130(talking):
    process = talking("signal.pause()")

    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)

    assert (process.returncode, errors.strip()) == (130, "")


# --- the options every command with a configuration shares


def options_given(argv, **environment):
    seen = []

    @click.command()
    @cli.config_options
    def command(config_path, overrides):
        seen.append((config_path.as_posix(), overrides))

    with pytest.MonkeyPatch.context() as patch:
        for name in ("KEDGE_CONFIG", "KEDGE_SET"):
            patch.delenv(name, raising=False)
        for name, value in environment.items():
            patch.setenv(name, value)
        assert cli.run(command, argv) == 0
    return seen[0]


def test_given_no_option_when_a_command_needs_a_configuration_then_it_is_paper():
    assert options_given([]) == ("config/paper.yaml", ())


def test_given_options_when_a_command_needs_a_configuration_then_they_arrive_in_order():
    given = options_given(["-c", "a.yaml", "--set", "market.seed=1", "--set", "market.seed=2"])

    assert given == ("a.yaml", ("market.seed=1", "market.seed=2"))


def test_given_the_environment_when_no_option_is_given_then_it_speaks_and_an_option_overrules_it():
    environment = {"KEDGE_CONFIG": "env.yaml", "KEDGE_SET": "market.seed=1 gate.collar_bps=9"}

    assert options_given([], **environment) == ("env.yaml", ("market.seed=1", "gate.collar_bps=9"))
    assert options_given(["-c", "a.yaml"], **environment)[0] == "a.yaml"


def test_given_a_wrong_configuration_when_a_command_loads_it_then_exit_78_and_one_line(tmp_path, capsys):
    path = tmp_path / "kedge.yaml"
    path.write_text("market: {sed: 1}\n")

    @click.command()
    @cli.config_options
    def command(config_path, overrides):
        cli.loaded(config_path, overrides)

    assert cli.run(command, ["-c", str(path)]) == 78
    assert capsys.readouterr().err == f"error: {path}: market.sed: unknown key; did you mean seed?\n"
