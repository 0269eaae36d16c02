"""How every Kedge command ends: one clear line on stderr and the exit code that errors.py promises."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from shared.config import LoadedConfig, load_config
from shared.errors import KedgeError

INTERRUPTED = 130


def run(command: click.Command, argv: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code. A user's mistake never shows a traceback."""
    stdout = sys.stdout
    try:
        result = command.main(args=argv, standalone_mode=False)
    except KedgeError as error:
        for line in str(error).splitlines() or [type(error).__name__]:
            click.echo(f"error: {line}", err=True)
        return error.exit_code
    except (click.exceptions.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except OSError as error:  # what the system refuses and nobody below had a better word for
        click.echo(f"error: {f'{error.filename}: ' if error.filename else ''}{error.strerror or error}", err=True)
        return 1
    except SystemExit:
        if sys.stdout is stdout:
            raise
        return 0  # click muffled stdout and left: the reader of a pipe, such as `head`, has seen enough
    return result if isinstance(result, int) else 0


def config_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options `-c FILE` and `--set section.key=value`, for every command that needs a configuration.

    The command receives `config_path: Path` and `overrides: tuple[str, ...]`; hand both to `loaded`.
    """
    function = click.option(
        "--set",
        "overrides",
        multiple=True,
        metavar="SECTION.KEY=VALUE",
        envvar="KEDGE_SET",
        help="Override one setting; repeatable. Environment: KEDGE_SET, separated by spaces.",
    )(function)
    return click.option(
        "-c",
        "--config",
        "config_path",
        type=click.Path(path_type=Path),
        default=Path("config/paper.yaml"),
        show_default=True,
        envvar="KEDGE_CONFIG",
        help="Configuration file. Environment: KEDGE_CONFIG.",
    )(function)


def loaded(config_path: Path, overrides: tuple[str, ...]) -> LoadedConfig:
    """The effective configuration. Raises `ConfigError` (exit 78)."""
    return load_config(config_path, overrides)
