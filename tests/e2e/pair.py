"""The real processes in a directory of their own: spawn, wait for events (never for time), stop, read back."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import apsw

from shared.codec import read_record
from shared.journal import Frame, read_frames
from shared.records import KINDS, Record, TickRecord, fields_of

REPO = Path(__file__).parents[2]
TAPE = REPO / "tests/data/node_tape_a.jsonl.gz"
WAIT_S = 60.0


class Home:
    """One pair's places: configuration, database, journals, socket. The path is short: sockets allow 107 bytes."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.database = directory / "k.db"
        self.journal_dir = directory / "j"
        self.endpoint = f"ipc://{directory}/s/t.sock"
        self.config = directory / "pair.yaml"
        self.config.write_text(
            f"market: {{feed: tape, tape: {TAPE}}}\n"
            f"telemetry: {{database: {self.database}, journal_dir: {self.journal_dir}, endpoint: '{self.endpoint}',\n"
            "  flush_ms: 20, catch_up_ms: 100}\n"
        )

    def journals(self) -> list[Path]:
        return sorted(self.journal_dir.glob("*.kj"))


class Process:
    """A spawned process with its stderr read as it comes, so that a test can wait for a line instead of sleeping."""

    def __init__(self, module: str, *arguments: str) -> None:
        self.lines: list[str] = []
        self._said = threading.Condition()
        self.popen = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=REPO,
            env={key: value for key, value in os.environ.items() if not key.startswith("KEDGE_")},
        )  # fmt: skip
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.popen.stderr is not None
        for line in self.popen.stderr:
            with self._said:
                self.lines.append(line.rstrip("\n"))
                self._said.notify_all()
        with self._said:
            self._said.notify_all()

    def wait_for(self, text: str) -> str:
        """The first line that contains the text. Fails if the process ends, or the time does, without it."""

        def found() -> str | None:
            return next((line for line in self.lines if text in line), None)

        with self._said:
            arrived = self._said.wait_for(lambda: found() or not self._reader.is_alive(), WAIT_S)
            line = found()
        assert arrived, f"{text!r} not said in {WAIT_S} s; so far: {self.lines}"
        assert line, f"ended without saying {text!r}: {self.lines}"
        return line

    def ended(self) -> int:
        """Wait for the end; the exit code."""
        code = self.popen.wait(WAIT_S)
        self._reader.join(WAIT_S)
        return code

    def stop(self) -> int:
        """SIGTERM and wait."""
        self.popen.terminate()
        return self.ended()

    def close(self) -> None:
        """Whatever happened, leave nothing running and nothing open."""
        if self.popen.poll() is None:
            self.popen.kill()
            self.popen.wait(WAIT_S)
        self._reader.join(WAIT_S)
        for stream in (self.popen.stdout, self.popen.stderr):
            if stream is not None:
                stream.close()


def writer(home: Home, *overrides: str) -> Process:
    """The writer, ready to receive."""
    process = Process("telemetry_proc", "write", "-c", str(home.config), *_set(overrides))
    process.wait_for("listening")
    return process


def engine(home: Home, *overrides: str) -> Process:
    return Process("engine_proc", "run", "-c", str(home.config), *_set(overrides))


def command(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """One command to its end."""
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        capture_output=True,
        text=True,
        cwd=REPO,
        timeout=WAIT_S,
        check=False,
    )


def _set(overrides: Sequence[str]) -> list[str]:
    return [part for override in overrides for part in ("--set", override)]


def journal_records(path: Path) -> list[Record]:
    """Every record of a journal; fails on any damage."""
    records = []
    for seq, frame in enumerate(read_frames(path)):
        assert isinstance(frame, Frame), frame
        envelope, record = read_record(frame.payload)
        assert (envelope.seq, envelope.session_uid) == (seq, path.stem)
        records.append(record)
    return records


def query(database: Path, sql: str, *bindings: Any) -> list[tuple[Any, ...]]:
    db = apsw.Connection(str(database), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        db.set_busy_timeout(10_000)  # a starting writer turns the file to WAL under an exclusive lock
        return list(db.execute(sql, bindings))
    finally:
        db.close()


TABLE_OF = {
    "tick": "system_metrics",
    "mode_changed": "mode_transitions",
    "order_event": "order_events",
    "fill": "fills",
    "inventory_truth": "inventory_truth_snapshots",
    "reconciler_anomaly": "reconciler_anomaly_log",
}


def assert_database_equals_journal(database: Path, journal: Path) -> int:
    """Rows == records: every one, once, in order, bit for bit. Returns the number of ticks compared."""
    records = list(enumerate(journal_records(journal)))
    session_id = query(database, "SELECT session_id FROM sessions WHERE session_uid = ?", journal.stem)[0][0]
    for kind, table in TABLE_OF.items():
        columns = ", ".join(spec.name for spec in fields_of(KINDS[kind]))
        rows = query(database, f"SELECT seq, {columns} FROM {table} WHERE session_id = ? ORDER BY id", session_id)
        expected = [(seq, *record) for seq, record in records if type(record) is KINDS[kind]]
        assert [_bits(row) for row in rows] == [_bits(row) for row in expected], table
    offsets = query(
        database, "SELECT next_seq, journal_position FROM telemetry_offsets WHERE session_uid = ?", journal.stem
    )
    assert offsets == [(len(records), journal.stat().st_size)]
    return sum(isinstance(record, TickRecord) for _, record in records)


def _bits(row: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(value.hex() if isinstance(value, float) else value for value in row)
