"""Directories in which nobody else may put anything, because what lies there is believed.

A socket decides who hears the records, `rearm.json` beside the journals decides whether a tripped engine quotes again,
a key decides who may send. On POSIX; Windows has neither these modes nor these owners.
"""

from __future__ import annotations

import logging
import os
import stat
from pathlib import Path

from shared.errors import ConfigError

log = logging.getLogger(__name__)

DIRECTORY_MODE = 0o700
ROOT_UID = 0


def make_private(directory: Path, *, sticky_will_do: bool = False) -> None:
    """Make the directory, for its owner alone, or check the one that is there. Raises what `check_private` raises."""
    directory.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
    check_private(directory, sticky_will_do=sticky_will_do)


def check_private(directory: Path, *, sticky_will_do: bool = False) -> None:
    """Ours or root's, and not open to everybody; one line of warning if others may look into it or more.

    `sticky_will_do`: in a directory like /tmp everybody may add files, but only take away their own. That is enough
    where whoever looks at a file there looks at its owner too (`check_ours`).

    Raises `ConfigError` naming directory, mode and remedy, `OSError` if it cannot be looked at.
    """
    if os.name != "posix":
        return
    facts = directory.stat()
    mode = stat.S_IMODE(facts.st_mode)
    if not is_trusted(facts.st_uid):
        raise ConfigError(f"{directory}: belongs to user {facts.st_uid}, not to us: take a directory of your own")
    if mode & stat.S_IWOTH and not (mode & stat.S_ISVTX and sticky_will_do):
        raise ConfigError(f"{directory}: everybody may write there (mode {mode:04o}): chmod 700 {directory}")
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        log.warning("%s: open to others than its owner (mode %04o): chmod 700 %s", directory, mode, directory)


def check_ours(path: Path) -> None:
    """What stands at the path, if anything, and the link that leads there, belong to us or to root.

    Raises `ConfigError` naming path and owner, `OSError` if it cannot be looked at.
    """
    if os.name != "posix" or not os.path.lexists(path):
        return
    for facts in (path.lstat(), path.stat() if path.exists() else path.lstat()):
        if not is_trusted(facts.st_uid):
            raise ConfigError(f"{path}: belongs to user {facts.st_uid}, not to us: whoever listens there is a stranger")


def is_trusted(uid: int) -> bool:
    """Root may do what it likes anyway."""
    return uid in (os.geteuid(), ROOT_UID)
