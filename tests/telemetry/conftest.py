"""What tests of commands have in common."""

from __future__ import annotations

import pytest

from shared import cli
from telemetry_proc.__main__ import telemetry


@pytest.fixture
def run(capsys):
    """Type a command line after `kedge-telemetry`; its exit code, stdout and stderr."""

    def typed(*argv):
        code = cli.run(telemetry, [str(arg) for arg in argv])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return typed
