"""Composition: the writer process from its parts, and the two commands that write without it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from types import FrameType

from shared.clock import SystemClock, iso_utc
from shared.curve import writer_keys
from shared.errors import KedgeError
from shared.log import configure_logging
from shared.settings import Telemetry
from shared.stop import Stop, on_stop_signals
from telemetry_proc.backfill import Backfilled, backfill
from telemetry_proc.connection import complaints_naming, open_for_writing
from telemetry_proc.inbox import Inbox
from telemetry_proc.lock import sole_writer
from telemetry_proc.store import Store
from telemetry_proc.writer import Writer

log = logging.getLogger(__name__)


def run_writer(load: Callable[[], Telemetry]) -> None:
    """Write until SIGTERM or SIGINT, then store what socket and journals still hold.

    The settings are loaded in here, where a signal is answered already.

    Raises `KedgeError`: `DatabaseUnusable` for a database that is in use, not ours or out of order, and a plain one
    for an endpoint that cannot be had or a fault of our own.
    """
    configure_logging()
    clock = SystemClock()
    with ExitStack() as cleanup:
        stop = cleanup.enter_context(closing(Stop()))
        cleanup.enter_context(_requested_by_signals(stop))
        settings = load()
        database = Path(settings.database)
        keys = writer_keys(settings.keys_dir)
        cleanup.enter_context(sole_writer(database, "write", iso_utc(clock.wall_ns())))
        conn = cleanup.enter_context(closing(open_for_writing(database).conn))
        inbox = cleanup.enter_context(closing(Inbox(settings.endpoint, clock, stop, keys)))
        admits = "" if keys is None else f", encrypted, {len(keys.admitted)} engine keys admitted"
        log.info("writing to %s, listening on %s%s", database, settings.endpoint, admits)
        try:
            with complaints_naming(database):
                Writer(inbox, Store(conn, clock), settings, clock, stop).run()
        except KedgeError:
            raise
        except Exception as error:
            log.exception("a fault in Kedge itself; what is not stored waits in the journals")
            raise KedgeError(f"stopped by a fault: {type(error).__name__}: {error}") from error
    log.info("stopped, %s holds all that the socket brought", database)


def run_backfill(database: Path, sources: Sequence[Path]) -> Iterator[Backfilled]:
    """`backfill` on the machine's clock; raises what it raises."""
    configure_logging()
    return backfill(database, sources, SystemClock())


def run_migrate(database: Path) -> tuple[str, ...]:
    """Bring a database to the present schema, a new one included; the steps that were taken.

    Raises `DatabaseUnusable` if it is in use, not ours, newer, or cannot take our records.
    """
    with sole_writer(database, "migrate", iso_utc(SystemClock().wall_ns())):
        opened = open_for_writing(database)
        opened.conn.close()
    return opened.steps


@contextmanager
def _requested_by_signals(stop: Stop) -> Iterator[None]:
    def request(_signal: int, _frame: FrameType | None) -> None:
        stop.request()

    with on_stop_signals(request):
        yield
