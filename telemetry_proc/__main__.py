"""`kedge-telemetry`: the writer and everything that reads what it wrote."""

from __future__ import annotations

import importlib
import sys

import click

from shared import cli
from telemetry_proc import cli_journal, cli_keys, cli_read, cli_write

# Calibration computes with numpy, which the writer has no use for: these modules load when their command is asked for.
LOADED_LATER = {
    "report": "telemetry_proc.cli_report",
    "guard": "telemetry_proc.cli_guard",
}


class Commands(click.Group):
    """A group that imports the module of a command in `LOADED_LATER` only when that command is looked at."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every name there is, for `--help`."""
        return sorted((*super().list_commands(ctx), *LOADED_LATER))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, None if there is none."""
        if cmd_name in LOADED_LATER:
            command: click.Command = getattr(importlib.import_module(LOADED_LATER[cmd_name]), cmd_name)
            return command
        return super().get_command(ctx, cmd_name)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="kedge")
def telemetry() -> None:
    """Store what the engine records, once each, and read it back.

    \b
    Examples:
      kedge-telemetry write -c config/paper.yaml      # the writer, next to a running engine
      kedge-telemetry report latest                   # what happened in the last session
      kedge-telemetry guard explain latest            # when the guard saw what, and what it waited for
      kedge-telemetry backfill --db fresh.db data/journal
    """


for _command in (*cli_write.COMMANDS, *cli_read.COMMANDS, *cli_journal.COMMANDS, *cli_keys.COMMANDS):
    telemetry.add_command(_command)


def main() -> None:
    """Entry point of the console script."""
    sys.exit(cli.run(telemetry))


if __name__ == "__main__":
    main()
