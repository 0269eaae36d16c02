"""The command that makes the keys of a pair on two machines: `keys`."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import click

from shared.curve import Role, make_pairs

ANSWERS: dict[Role, str] = {
    "writer": "copy writer.key into the keys directory of every engine's machine",
    "engine": "copy engine.key into the keys directory of the writer's machine, under any name that ends in .key",
}


@click.command()
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--of", "only", type=click.Choice(get_args(Role)), help="One end only, on the machine where it runs.")
def keys(directory: Path, only: Role | None) -> None:
    """Make the CURVE keys by which writer and engine know each other, in the directory `telemetry.keys_dir`.

    Each machine makes its own pair and hands out the public half alone. Without --of both ends are made, for a pair
    on one machine.

    \b
    Examples:
      kedge-telemetry keys data/keys                # both ends on this machine
      kedge-telemetry keys data/keys --of writer    # on the writer's machine
      kedge-telemetry keys data/keys --of engine    # on an engine's machine
    """
    for role, public in make_pairs(directory, get_args(Role) if only is None else (only,)).items():
        click.echo(f"{role}: public key {public.decode()}")
        click.echo(f"  {directory / role}.key_secret  stays on this machine; never copy it, never show it")
        click.echo(f"  {directory / role}.key         {ANSWERS[role]}")
    click.echo(f"then set on both machines: telemetry.keys_dir: {directory}")


COMMANDS: tuple[click.Command, ...] = (keys,)
