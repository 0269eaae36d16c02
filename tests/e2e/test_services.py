"""The service files: unprivileged, agreeing with errors.py and with each other, and taken by systemd itself."""

from __future__ import annotations

import configparser
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

from engine_proc.__main__ import engine
from shared.errors import ConfigError, FailSafeStop, JournalUnwritable
from telemetry_proc.__main__ import telemetry

ROOT = Path(__file__).parents[2]
UNITS = sorted((ROOT / "config" / "systemd").glob("*.service"))
PROGRAMS = {"kedge-engine": engine, "kedge-telemetry": telemetry}
NEVER_AGAIN = {FailSafeStop.exit_code, JournalUnwritable.exit_code, ConfigError.exit_code}
CLOSED = {
    "UMask": "0077",
    "NoNewPrivileges": "yes",
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "PrivateTmp": "yes",
    "CapabilityBoundingSet": "",
    "RestrictSUIDSGID": "yes",
    "LimitCORE": "0",
    "StateDirectoryMode": "0700",
}


def read(path):
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str
    parser.read_string(path.read_text(encoding="utf-8"))
    return parser


@pytest.fixture(params=UNITS, ids=lambda path: path.stem)
def unit(request):
    return request.param


def supervised(unit):
    return read(ROOT / "supervisor.conf")[f"program:{unit.stem.removeprefix('kedge-')}"]


def test_given_the_two_programs_when_counted_then_each_has_its_unit():
    assert {path.stem for path in UNITS} == set(PROGRAMS)


def test_given_a_unit_when_read_then_it_has_a_user_of_its_own_and_may_write_in_its_own_directory_alone(unit):
    service = read(unit)["Service"]

    assert service["User"] == service["Group"] == "kedge"
    assert service["ReadWritePaths"] == service["WorkingDirectory"] == f"/var/lib/{service['StateDirectory']}"
    assert {key: service.get(key) for key in CLOSED} == CLOSED


def test_given_a_unit_when_its_process_ends_then_systemd_does_what_supervisor_does(unit):
    service, program = read(unit)["Service"], supervised(unit)

    assert set(map(int, service["RestartPreventExitStatus"].split())) == NEVER_AGAIN
    assert set(map(int, program["exitcodes"].split(","))) == NEVER_AGAIN | {0}
    assert (service["Restart"], program["autorestart"]) == ("on-failure", "unexpected")
    assert service["TimeoutStopSec"] == program["stopwaitsecs"]
    assert service["KillSignal"] == f"SIG{program['stopsignal']}"


def test_given_a_unit_when_its_command_is_tried_then_it_parses(unit):
    path, verb, *arguments = read(unit)["Service"]["ExecStart"].split()
    program = PROGRAMS[Path(path).name]

    with click.Context(program, **program.context_settings) as context:  # a command keeps the -h of its first context
        _, command, _ = program.resolve_command(context, [verb])
        assert command is not None
        command.make_parser(context).parse_args(arguments)


def test_given_supervisors_file_when_read_then_nothing_in_it_needs_root():
    parser = read(ROOT / "supervisor.conf")

    assert "inet_http_server" not in parser
    assert parser["supervisord"]["umask"] == "077"
    assert parser["unix_http_server"]["chmod"] == "0700"
    for section in parser.values():
        assert "user" not in section
        for key, value in section.items():
            if key.endswith(("file", "dir", "directory")):
                assert value.startswith("%(here)s"), f"{section.name}: {key}: {value}"


def test_given_the_engines_unit_when_read_then_the_word_live_and_the_seed_come_from_a_file_that_may_be_absent():
    service = read(ROOT / "config" / "systemd" / "kedge-engine.service")["Service"]

    assert service["EnvironmentFile"] == "-/etc/kedge/kedge.env"
    assert "KEDGE_LIVE" not in service["ExecStart"]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd on this machine")
def test_given_the_units_with_this_checkouts_commands_when_systemd_verifies_them_then_it_has_nothing_to_say(tmp_path):
    commands = str(Path(sys.executable).parent)
    for path in UNITS:
        text = path.read_text(encoding="utf-8").replace("/opt/kedge/.venv/bin", commands)
        (tmp_path / path.name).write_text(text, encoding="utf-8")

    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *(str(tmp_path / path.name) for path in UNITS)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, [line for line in done.stderr.splitlines() if "kedge" in line]) == (0, [])
