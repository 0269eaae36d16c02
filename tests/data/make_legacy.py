"""Make the golden databases of tests/data/legacy that are missing: `python -m tests.data.make_legacy`.

One file a shape of tests/telemetry/legacy_databases.py, and `kedge_v1`: a database as Kedge leaves it at schema 1,
with the journals it was made from. A file that is there is never made again: what it is worth is that it stays as it
was written, by the program and the SQLite of that day. After a release, what changes gets a file of its own.
"""

from __future__ import annotations

import gzip
import sys
import tempfile
from pathlib import Path

from telemetry_proc.backfill import backfill
from telemetry_proc.tables import SCHEMA_VERSION
from tests.telemetry.an_engine import StandingClock, encoded, session, write_journal
from tests.telemetry.legacy_databases import SHAPES, legacy

LEGACY = Path(__file__).parent / "legacy"
V1_SESSIONS = {"20261120T090000-1f0c22": slice(None), "20261120T100000-a00b11": slice(0, 12)}  # the second one crashed


def main() -> int:
    """Write the files that are missing and say which."""
    LEGACY.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as home:
        for name, script in SHAPES.items():
            keep(make(Path(home) / f"{name}.db", script))
        if not packed(f"kedge_v{SCHEMA_VERSION}.db").exists():
            for path in make_kedge(Path(home) / f"kedge_v{SCHEMA_VERSION}.db"):
                keep(path)
    return 0


def make(path: Path, script: str) -> Path:
    """A database of the older engine."""
    with legacy(path, script):
        pass
    return path


def make_kedge(path: Path) -> list[Path]:
    """A database of ours and the journals of its sessions."""
    journals = [
        write_journal(path.parent / "j", encoded(session(20), uid)[part], uid) for uid, part in V1_SESSIONS.items()
    ]
    list(backfill(path, journals, StandingClock()))
    return [path, *(journal.rename(path.with_name(f"{path.stem}.{journal.name}")) for journal in journals)]


def keep(path: Path) -> None:
    """Pack a file away, unless it was before."""
    if not packed(path.name).exists():
        packed(path.name).write_bytes(gzip.compress(path.read_bytes(), mtime=0))
        sys.stdout.write(f"{packed(path.name)}\n")


def packed(name: str) -> Path:
    """Where a golden file lies."""
    return LEGACY / f"{name}.gz"


def unpacked(name: str, path: Path) -> Path:
    """A golden file, ready to be opened at a path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.decompress(packed(name).read_bytes()))
    return path


if __name__ == "__main__":
    sys.exit(main())
