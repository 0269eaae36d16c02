"""What the operator says to an engine, as small files in its journal directory.

    halt.json    stop quoting: obeyed by the running engine at its next tick, by the next one before its first quote
    rearm.json   the latch of one session is lifted: the next start may quote

A file holds until it is obeyed, through crashes and power cuts. What cannot be read halts, and never re-arms.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import NamedTuple, get_args

from shared.disk import write_whole
from shared.errors import JournalUnwritable
from shared.records import Mode

HALT_FILE = "halt.json"
REARM_FILE = "rearm.json"
REASON_CHARACTERS_MAX = 400


class Rearm(NamedTuple):
    """The one latch that is lifted, by session and mode: an old word must never lift a later trip."""

    session_uid: str
    mode: Mode
    reason: str
    wall_ns: int | None = None  # when it was said; for people who look at the file


class HaltFile:
    """Answers `ports.KillSwitch` with `halt.json`. The look costs one system call a tick."""

    def __init__(self, journal_dir: Path) -> None:
        self._path = journal_dir / HALT_FILE
        self._name = str(self._path)

    def pulled(self) -> str | None:
        """The operator's reason. A file that cannot be read, or says none, is a halt all the same."""
        if not os.access(self._name, os.F_OK):
            return None
        said = _read(self._path)
        return _text(said["reason"]) if isinstance(said.get("reason"), str) else "no reason readable"

    def obeyed(self) -> None:
        """Take the file away. One that will not go halts again at every start, which is the safe side."""
        _remove(self._path)


def write_halt(journal_dir: Path, reason: str, wall_ns: int) -> Path:
    """Pull the kill switch; where it stands. Raises `JournalUnwritable` if it cannot be written."""
    return _write(journal_dir / HALT_FILE, {"reason": reason, "wall_ns": wall_ns})


def withdraw_halt(journal_dir: Path) -> bool:
    """Take back a halt that nobody has obeyed yet; whether there was one. Raises `JournalUnwritable`."""
    path = journal_dir / HALT_FILE
    if not path.exists():
        return False
    if not _remove(path):
        raise JournalUnwritable(f"{path}: cannot take back the halt")
    return True


def write_rearm(journal_dir: Path, word: Rearm) -> Path:
    """Lift a latch. Raises `JournalUnwritable` if that cannot be written."""
    return _write(journal_dir / REARM_FILE, word._asdict())


def read_rearm(journal_dir: Path) -> Rearm | None:
    """The operator's last word on re-arming, None if there is none that can be read."""
    said = _read(journal_dir / REARM_FILE)
    if not isinstance(said.get("reason"), str):
        return None
    mode = next((mode for mode in get_args(Mode) if mode == said.get("mode")), None)
    if mode is None or not isinstance(said.get("session_uid"), str):
        return None
    return Rearm(str(said["session_uid"]), mode, _text(said["reason"]))


def _write(path: Path, said: dict[str, object]) -> Path:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_whole(path, json.dumps(said) + "\n")
    except OSError as error:
        raise JournalUnwritable(f"{path}: cannot write it: {error.strerror}") from error
    return path


def _read(path: Path) -> dict[str, object]:
    try:
        # A pipe would let us wait for whoever writes to it.
        said = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (OSError, ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def _remove(path: Path) -> bool:
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return False
    return True


def _text(said: object) -> str:
    """A shell may hand over bytes that are not text."""
    return str(said).encode(errors="replace").decode()[:REASON_CHARACTERS_MAX]
