"""The series of sessions kept beside the database, so that a session is read and replayed once.

In `<database>.series/` each session has a side-car `<number>.series` (see side_car.py) with its series, what came of
the fidelity check, and what the two were made of: the session's own row, a checksum over its ticks (content_sum.py),
its breaker's events. Whatever is returned equals what reading it all anew would give; the rules:

- The side-car's session row must be the one that is asked for, always.
- Beside it a stamp says that at a certain moment, when database and write-ahead log had these sizes, times and inodes,
  the side-car was right. If they still have them, it is. A file system's clock is coarse, so a stamp only counts if the
  files had been left alone for a second when it was taken; that moment is the time of the stamp's own file, put there
  before the files were looked at.
- Otherwise the database is asked for the checksum and the events, and only a session that differs is made anew.

A side-car that is damaged, of another session, of another version or not there is made anew. A directory that cannot
be written, or that others may write to, is not used: all is read each time, and `note` says so.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import apsw

from shared.errors import IntegrityError
from shared.private_directory import DIRECTORY_MODE, is_trusted
from shared.settings import AnchorSaturationGuard
from telemetry_proc import side_car
from telemetry_proc.content_sum import SUMMED, can_be_summed, sum_in_database, sum_of_columns
from telemetry_proc.fidelity import Disagreement, Fidelity, replay
from telemetry_proc.guard_record import guard_settings, guard_trips
from telemetry_proc.reading import Row, session_rows, snapshot
from telemetry_proc.series import Series, SeriesFacts, series_of
from telemetry_proc.sessions import Session
from telemetry_proc.side_car import Arrays, SideCar
from telemetry_proc.tick_columns import TickColumns, read_ticks

SEMANTICS = 2  # of series, fidelity check and checksum: whoever changes what they say adds one
LEFT_ALONE_NS = 1_000_000_000

_COLUMNS = ("tick", "ts_ns", "error_nano_bps", "starts", "missing_before")
_EXTRA = "extra."


class SessionSeries(NamedTuple):
    """All that calibration needs of a session. `settings`: its guard's, None if it did not record them all."""

    session: Session
    settings: AnchorSaturationGuard | None
    series: Series
    fidelity: Fidelity
    extras: Arrays


class Extras(NamedTuple):
    """More arrays to keep of each session, made from its ticks and, perhaps, other rows.

    `version` changes with what `compute` does. `columns`: those of TickColumns that it needs beside the guard's own.
    `facts`: from the database, whatever tells that the other rows and columns it reads are still the same; JSON.
    """

    version: str
    columns: tuple[str, ...]
    facts: Callable[[apsw.Connection, Session], Sequence[object]]
    compute: Callable[[apsw.Connection, Session, TickColumns], Arrays]


class _Files(NamedTuple):
    """What the file system says of the database and its write-ahead log, and the newest time in it."""

    looks: list[list[int] | None]
    newest_ns: int


class SeriesCache:
    """Loads sessions, and counts how it got them: `trusted` by a stamp, `confirmed` by the database, `rebuilt`."""

    def __init__(self, database: Path | None, extras: Extras | None = None) -> None:
        """Without a database nothing is kept and nothing that was kept is believed."""
        self.trusted = self.confirmed = self.rebuilt = 0
        self.note: str | None = None
        self._extras = extras
        self._database = None if database is None else Path(os.path.realpath(database))
        self._directory = None if self._database is None else self._database.with_name(f"{self._database.name}.series")

    @classmethod
    def beside(cls, database: Path, extras: Extras | None = None) -> SeriesCache:
        """The cache that belongs to a database."""
        return cls(database, extras)

    def load_all(
        self, conn: apsw.Connection, sessions: Sequence[Session], progress: Callable[[int], None] | None = None
    ) -> Iterator[SessionSeries]:
        """One session after the other, in the given order; `progress` hears how many are done."""
        for done, session in enumerate(sessions, 1):
            yield self.load(conn, session)
            if progress is not None:
                progress(done)

    def load(self, conn: apsw.Connection, session: Session) -> SessionSeries:
        """The series of a session as the database has it now; `conn` must be outside of any transaction.

        Raises `IntegrityError`, naming session, column and tick, for a stored value that is not of its column's type.
        """
        try:
            return self._load(conn, session)
        except IntegrityError as error:
            raise IntegrityError(f"session {session.session_id}: {error}") from None

    def _load(self, conn: apsw.Connection, session: Session) -> SessionSeries:
        if self._database is None or not self._is_usable() or not can_be_summed(conn):
            with snapshot(conn):
                return self._made(conn, session)[0]
        kept = side_car.read(self._path(session, "series"))
        if kept is not None and not self._fits(kept, session):
            kept = None
        if kept is not None and (self._is_stamped(session, kept) or self._is_right_but_for_extras(conn, session, kept)):
            return self._unpacked(kept, session)
        try:
            return self._looked_up(conn, session, kept)
        except OSError as error:
            self._give_up(f"cannot be written: {error.strerror}")
            return self._load(conn, session)

    def _looked_up(self, conn: apsw.Connection, session: Session, kept: SideCar | None) -> SessionSeries:
        """Ask the database, make anew what differs, and stamp it. Raises `OSError` where the directory refuses."""
        assert self._database is not None
        with side_car.draft(self._path(session, "stamp")) as stamp:
            taken_ns = os.fstat(stamp.fileno()).st_mtime_ns
            files = _files(self._database)
            with snapshot(conn):
                content = None if kept is None else self._content(conn, session)
                if kept is not None and content == kept.head["content"]:
                    self.confirmed += 1
                    found, crc32 = self._unpacked(kept, session), kept.crc32
                else:
                    found, columns = self._made(conn, session)
                    crc32 = self._keep(found, content or self._content(conn, session, columns))
            said = {"semantics": SEMANTICS, "crc32": crc32, "taken_ns": taken_ns, "files": files.looks}
            stamp.write(json.dumps(said).encode())
        return found

    def _made(self, conn: apsw.Connection, session: Session) -> tuple[SessionSeries, TickColumns]:
        self.rebuilt += 1
        extras = self._extras
        columns = read_ticks(conn, session.session_id, only=(*SUMMED, *(extras.columns if extras else ())))
        settings = guard_settings(session.config_json)
        closed_ticks = session.ticks if isinstance(session.ticks, int) else None  # the row may hold anything
        series = series_of(columns, settings, closed_ticks=closed_ticks)
        trips = guard_trips(conn, session.session_id)
        fidelity = replay(columns, settings, trips, closed_ticks=closed_ticks, series=series)
        more = extras.compute(conn, session, columns) if extras else {}
        return SessionSeries(session, settings, series, fidelity, more), columns

    def _content(self, conn: apsw.Connection, session: Session, columns: TickColumns | None = None) -> list[object]:
        """What the side-car is made of beside the session's row, as it comes back from JSON."""
        number = session.session_id
        ticks = sum_in_database(conn, number) if columns is None else sum_of_columns(columns)
        events: list[Row] = list(session_rows(conn, "circuit_breaker_events", ("breaker", "context_json"), number))
        content: list[object] = [ticks, zlib.crc32(repr(events).encode())]
        if self._extras is not None:
            content.append(json.loads(json.dumps(self._extras.facts(conn, session))))
        return content

    def _keep(self, found: SessionSeries, content: list[object]) -> int:
        series = found.series
        head = {
            "semantics": SEMANTICS,
            "session": _digest(found.session),
            "content": content,
            "extras": self._extras.version if self._extras else None,
            "missing_after": series.missing_after,
            "facts": series.facts._asdict(),
            "fidelity": found.fidelity._asdict(),
        }
        arrays = {name: getattr(series, name) for name in _COLUMNS}
        arrays |= {_EXTRA + name: array for name, array in found.extras.items()}
        with side_car.draft(self._path(found.session, "series")) as file:
            return side_car.write(file, head, arrays)

    def _fits(self, kept: SideCar, session: Session) -> bool:
        """Is it of this very session row, in this version, with the extras that are asked for, if any?"""
        head, wanted = kept.head, self._extras
        return (
            head.get("semantics") == SEMANTICS
            and head.get("session") == _digest(session)
            and (wanted is None or head.get("extras") == wanted.version)
        )

    def _is_stamped(self, session: Session, kept: SideCar) -> bool:
        assert self._database is not None
        try:
            said = json.loads(self._path(session, "stamp").read_bytes())
            files = _files(self._database)
            stamped = bool(
                said["semantics"] == SEMANTICS
                and said["crc32"] == kept.crc32
                and said["files"] == files.looks
                and files.newest_ns + LEFT_ALONE_NS <= said["taken_ns"]
            )
        except (OSError, ValueError, TypeError, KeyError):
            return False
        self.trusted += stamped
        return stamped

    def _is_right_but_for_extras(self, conn: apsw.Connection, session: Session, kept: SideCar) -> bool:
        """Whoever asks for no extras can use a side-car that has some, but cannot vouch for them, so stamps nothing."""
        if self._extras is not None or kept.head["extras"] is None:
            return False
        with snapshot(conn):
            confirmed = bool(self._content(conn, session) == kept.head["content"][:2])
        self.confirmed += confirmed
        return confirmed

    def _unpacked(self, kept: SideCar, session: Session) -> SessionSeries:
        head, arrays = kept.head, kept.arrays
        series = Series(
            **{name: arrays[name] for name in _COLUMNS},
            missing_after=head["missing_after"],
            facts=SeriesFacts(**head["facts"]),
        )
        said = head["fidelity"]
        wrong = said["disagreement"]
        said |= {
            "disagreement": None if wrong is None else Disagreement(*wrong),
            "hiding": tuple(said["hiding"]),
            "notes": tuple(said["notes"]),
        }
        extras = {name.removeprefix(_EXTRA): array for name, array in arrays.items() if name.startswith(_EXTRA)}
        settings = guard_settings(session.config_json)
        return SessionSeries(session, settings, series, Fidelity(**said), extras if self._extras else {})

    def _path(self, session: Session, suffix: str) -> Path:
        assert self._directory is not None
        return self._directory / f"{session.session_id}.{suffix}"

    def _is_usable(self) -> bool:
        """Make the directory, or look at the one that is there: what lies in it is believed."""
        directory = self._directory
        if directory is None:
            return False
        try:
            if not os.path.lexists(directory):
                directory.mkdir(mode=DIRECTORY_MODE, exist_ok=True)
            looks = directory.lstat()
        except OSError as error:
            return self._give_up(f"cannot be made: {error.strerror}")
        if not stat.S_ISDIR(looks.st_mode):
            return self._give_up("is not a directory")
        if os.name == "posix" and (not is_trusted(looks.st_uid) or looks.st_mode & stat.S_IWOTH):
            return self._give_up("others may write there")
        return True

    def _give_up(self, why: str) -> bool:
        self.note = f"{self._directory}: {why}; sessions are read anew each time"
        self._directory = None
        return False


def _digest(session: Session) -> str:
    """Of the session row as far as the series depends on it."""
    row = (session.session_id, session.session_uid, session.ticks, session.config_json)
    return hashlib.sha256(repr(row).encode()).hexdigest()


def _files(database: Path) -> _Files:
    """An empty log is none: who opens a database may leave one."""
    looks: list[list[int] | None] = []
    newest_ns = 0
    for path in (database, database.with_name(f"{database.name}-wal")):
        try:
            said = path.stat()
        except FileNotFoundError:
            looks.append(None)
            continue
        looks.append(
            [said.st_dev, said.st_ino, said.st_size, said.st_mtime_ns, said.st_ctime_ns] if said.st_size else None
        )
        newest_ns = max(newest_ns, said.st_mtime_ns, said.st_ctime_ns) if said.st_size else newest_ns
    return _Files(looks, newest_ns)
