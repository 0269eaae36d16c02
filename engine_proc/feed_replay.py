"""Views from a stored journal: every TickRecord carries what the strategy saw on that tick."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import NamedTuple

from engine_proc.market import AmmPool, MarketView
from shared.clock import MarketClock
from shared.codec import read_record
from shared.errors import ConfigError, IntegrityError, JournalCorrupt, RecordUnreadable
from shared.journal import Damage, read_frames
from shared.records import BreakerEvent, FillRecord, OrderEvent, Record, SessionOpened, TickRecord


class RecordedTick(NamedTuple):
    """A tick as it was recorded, with what the venue had reported since the tick before."""

    record: TickRecord
    fills: tuple[FillRecord, ...]
    outcomes: tuple[OrderEvent, ...]


class ReplayFeed:
    """The market views of a journal, in order.

    `current` is the recorded tick behind the latest view, `trip_tick` that of the first breaker event read so far.

    Raises `ConfigError` if there is no such journal and `IntegrityError` if it cannot be read whole: a replay that
    silently skipped a tick would prove nothing.
    """

    def __init__(self, path: Path, clock: MarketClock) -> None:
        self.current: RecordedTick | None = None
        self.trip_tick: int | None = None
        self._clock = clock
        self._records = _records(path)
        first = next(self._records, None)
        if not isinstance(first, SessionOpened):
            raise IntegrityError(f"{path}: does not start with the opening of a session")
        self.opened = first

    def next(self) -> MarketView | None:
        """The next recorded view; None at the end of the journal."""
        fills: list[FillRecord] = []
        outcomes: list[OrderEvent] = []
        trip_tick: int | None = None
        for record in self._records:
            if isinstance(record, TickRecord):
                self.current = RecordedTick(record, tuple(fills), tuple(outcomes))
                self.trip_tick = self.trip_tick or trip_tick
                self._clock.advance_to(record.ts_ns)
                return _view(record)
            if isinstance(record, FillRecord):
                fills.append(record)
            elif isinstance(record, BreakerEvent):  # counts with its tick, which a crash may have cut off
                trip_tick = record.tick
            elif isinstance(record, OrderEvent) and record.event in ("cancelled", "rejected", "expired"):
                outcomes.append(record)
        return None

    def close(self) -> None:
        """Let go of the file."""
        self._records.close()


def _records(path: Path) -> Generator[Record, None, None]:
    if path.is_dir():
        raise ConfigError(f"{path}: a directory, must be a journal")
    try:
        for seq, frame in enumerate(read_frames(path)):
            if isinstance(frame, Damage):
                if frame.kind == "torn":  # a crashed session: what it recorded ends here
                    return
                raise JournalCorrupt(f"{path}: {frame.length} damaged bytes at position {frame.position}")
            envelope, record = read_record(frame.payload)
            if envelope.seq != seq:
                raise IntegrityError(f"{path}: record {envelope.seq} stands where record {seq} belongs")
            yield record
    except OSError as error:
        raise ConfigError(f"{path}: cannot read the journal: {error.strerror}") from None
    except RecordUnreadable as error:
        raise IntegrityError(f"{path}: {error}") from None


def _view(record: TickRecord) -> MarketView:
    """The view as it was. A pool of one base unit has exactly the recorded spot: price / 1.0."""
    pool = None
    if record.amm_price is not None and record.amm_fee_fraction is not None:
        pool = AmmPool(1.0, record.amm_price, record.amm_fee_fraction)
    return MarketView(
        ts_ns=record.ts_ns,
        ledger_index=record.ledger_index,
        age_ms=record.market_age_ms,
        status=record.market_status,
        clob_bid=record.clob_bid,
        clob_bid_size=record.clob_bid_size,
        clob_ask=record.clob_ask,
        clob_ask_size=record.clob_ask_size,
        mid=record.mid,
        amm=pool,
    )
