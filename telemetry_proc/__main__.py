"""`kedge-telemetry`: the writer and everything that reads what it wrote."""

from __future__ import annotations

import sys

import click

from shared import cli
from telemetry_proc import cli_journal, cli_keys, cli_read, cli_write


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="kedge")
def telemetry() -> None:
    """Store what the engine records, once each, and read it back.

    \b
    Examples:
      kedge-telemetry write -c config/paper.yaml      # the writer, next to a running engine
      kedge-telemetry report latest                   # what happened in the last session
      kedge-telemetry backfill --db fresh.db data/journal
    """


for _command in (*cli_write.COMMANDS, *cli_read.COMMANDS, *cli_journal.COMMANDS, *cli_keys.COMMANDS):
    telemetry.add_command(_command)


def main() -> None:
    """Entry point of the console script."""
    sys.exit(cli.run(telemetry))


if __name__ == "__main__":
    main()
