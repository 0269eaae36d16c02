"""The real processes in a directory of their own: spawn, wait for events (never for time), stop, read back."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import apsw

from shared.codec import read_record
from shared.journal import Frame, read_frames
from shared.records import Record, TickRecord
from tests.e2e.stored import compare, judged, reading, rows, written

REPO = Path(__file__).parents[2]
TAPE = REPO / "tests/data/node_tape_a.jsonl.gz"
WAIT_S = 60.0
LOOK_S = 0.005  # between two looks at something that sends no word when it happens: a file, a database


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

    def __init__(self, module: str, *arguments: str, through: Sequence[str] = ()) -> None:
        """`through`: another program that runs this one, such as one that gives up privileges."""
        self.lines: list[str] = []
        self._said = threading.Condition()
        self.popen = subprocess.Popen(
            [*through, sys.executable, "-m", module, *arguments],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=REPO,
            env=environment(),
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

    def count(self, text: str) -> int:
        """Lines so far that contain the text."""
        return sum(text in line for line in self.lines)

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


def environment() -> dict[str, str]:
    """Ours, less what would configure Kedge behind the test's back."""
    return {key: value for key, value in os.environ.items() if not key.startswith("KEDGE_")}


def writer(home: Home, *overrides: str, through: Sequence[str] = ()) -> Process:
    """The writer, ready to receive."""
    process = starting_writer(home, *overrides, through=through)
    process.wait_for("listening")
    return process


def starting_writer(home: Home, *overrides: str, through: Sequence[str] = ()) -> Process:
    """The writer, perhaps never ready."""
    return Process("telemetry_proc", "write", "-c", str(home.config), *_set(overrides), through=through)


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
    with reading(database) as conn:
        return rows(conn, sql, *bindings)


def stored(home: Home) -> int:
    """Ticks in the database so far."""
    with suppress(apsw.Error):  # still being made, or taken away
        return query(home.database, "SELECT count(*) FROM system_metrics")[0][0]
    return 0


def eventually(happened: Callable[[], bool], *processes: Process) -> None:
    """Look until it has; nobody who is needed for it may end."""
    until_s = time.monotonic() + WAIT_S
    while not happened():
        assert time.monotonic() < until_s, "it has not happened"
        assert all(process.popen.poll() is None for process in processes), [process.lines for process in processes]
        time.sleep(LOOK_S)


def one_error(process: Process, code: int, *words: str) -> None:
    """It ended with this exit code, one line that says why, and no traceback."""
    assert process.ended() == code, process.lines
    one_line("\n".join(process.lines), *words)


def one_line(stderr: str, *words: str) -> None:
    """One line that says what is wrong, in these words, and no traceback."""
    assert "Traceback" not in stderr, stderr
    lines = [line for line in stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, stderr
    for word in words:
        assert word in lines[0], lines[0]


def journals_with_ticks(home: Home, running: Process) -> list[Path]:
    """The journals, once the newest has a tick."""

    def any_tick() -> bool:
        newest = home.journals()[-1:]
        return any(isinstance(record, TickRecord) for journal in newest for record in written(journal).records)

    eventually(any_tick, running)
    return home.journals()


def last_tick(journal: Path) -> TickRecord:
    """The newest tick of a growing journal, which must have one."""
    return next(record for record in reversed(written(journal).records) if isinstance(record, TickRecord))


def assert_database_equals_journal(database: Path, journal: Path) -> int:
    """Rows == records: every kind, every one, once, in order, bit for bit. Returns the number of ticks compared."""
    said = written(journal)
    with reading(database) as conn:
        verdict = compare(conn, said)
    judged.append(verdict)
    assert verdict.exact, f"{journal}: {verdict}"
    return sum(isinstance(record, TickRecord) for record in said.records)
