"""Those who were there: what every session really said, and whether it may quote. The oracle of the invariants.

`Witness` stands between engine and outbox, so it knows every record whatever became of it. `Latch` remembers, as the
operator would, that the engine was stopped from quoting, and who alone may let it quote again.
"""

from __future__ import annotations

from collections.abc import Callable

from engine_proc.latch import FAULT
from engine_proc.outbox import Outbox
from engine_proc.ports import Plan
from shared.codec import encode
from shared.journal import frame
from shared.records import BreakerEvent, FillRecord, ModeChanged, OrderEvent, Record, SessionClosed, SessionOpened
from tests.sim.clock import SimClock
from tests.sim.disk import JournalFile

SYNCED_KINDS = (SessionOpened, BreakerEvent, ModeChanged, SessionClosed)


class Latch:
    """Whether the engine is stopped for good, and why. Crashes, power cuts and restarts change nothing of it."""

    def __init__(self, note: Callable[[str], None]) -> None:
        self._note = note
        self.why: str | None = None
        self.lifted = False  # by the operator, for the next start
        self._halt_pulled = False

    def close_on(self, why: str) -> None:
        if self.why is None:
            self._note(f"* no more quotes: {why}")
        self.why, self.lifted = self.why or why, False

    def halt(self) -> None:
        """The operator pulled the kill switch; from this moment there is no further order."""
        self._halt_pulled = True
        self.close_on("halt")

    def forget_halt(self) -> None:
        """What is left of it is DEGRADED: no order until the operator, but his clean restart will do."""
        self._halt_pulled = False

    def lift(self) -> None:
        """The operator's word, which also takes back a halt."""
        self._halt_pulled = False
        self.lifted = self.why is not None

    def lift_by_restart(self) -> None:
        """A clean stop and a start lift what is not a halt."""
        self.lifted = self.why is not None and not self._halt_pulled

    def hear(self, record: Record) -> None:
        """A record that the engine has given out of its hands."""
        if isinstance(record, SessionOpened) and record.initial_mode == "ACTIVE" and self.lifted:
            self._note("* may quote again")
            self.why, self.lifted = None, False
        elif isinstance(record, SessionOpened) and record.initial_mode != "ACTIVE":
            self.close_on(f"session opened in {record.initial_mode}")
        elif isinstance(record, ModeChanged) and record.to_mode != "ACTIVE":
            self.close_on(f"{record.to_mode}: {record.reason}")
            self._halt_pulled |= record.to_mode == "HALT"
        elif isinstance(record, BreakerEvent):
            self.close_on(record.breaker)


class Witness:
    """Answers `engine_proc.outbox.Recorder`: keeps every record of a session, then hands it on to the real outbox."""

    def __init__(
        self, session_uid: str, outbox: Outbox, file: JournalFile, clock: SimClock, latch: Latch, *, sync_orders: bool
    ) -> None:
        self.session_uid = session_uid
        self.file = file
        self.emitted: list[bytes] = []
        self._closing: SessionClosed | None = None
        self._outbox = outbox
        self._clock = clock
        self._latch = latch
        self._sync_orders = sync_orders
        self._submitted: dict[str, bytes] = {}

    @property
    def fault(self) -> str | None:
        return self._outbox.fault

    @property
    def unsent(self) -> int:
        return self._outbox.unsent

    def emit(self, *records: Record) -> None:
        for record in records:
            payload = encode(self.session_uid, len(self.emitted), record)
            self.emitted.append(payload)
            if isinstance(record, OrderEvent) and record.event == "submitted":
                self._submitted[record.order_id] = payload
            elif isinstance(record, SessionClosed):
                self._closing = record
        may_wait = bool(self._outbox._waiting) or any(map(self._is_synced, records))
        before_ns = self._clock.monotonic_ns()
        self._outbox.emit(*records)
        assert may_wait or self._clock.monotonic_ns() == before_ns, f"the tick waited for the disk: {records}"
        for record in records:
            self._latch.hear(record)

    def close(self) -> None:
        self._outbox.close()

    def closed_in_order(self) -> bool:
        """Its end stands in the journal, and is not that of a fault or of orders left alive."""
        closing = self._closing
        if closing is None or closing.orders_surviving or closing.end_reason.startswith(FAULT):
            return False
        return self.file.content.rfind(frame(self.emitted[-1])) >= 0

    def may_submit(self, plan: Plan) -> None:
        """The venue is about to hear of a plan: is every order in it on record, and may there be any at all?"""
        placed = plan.replace + plan.place
        assert not (placed and self._latch.why), f"quotes, though stopped for good: {self._latch.why}"
        for order in placed:
            payload = self._submitted.get(order.order_id)
            at = -1 if payload is None else self.file.content.rfind(frame(payload))
            assert at >= 0, f"order {order.order_id} goes to the venue, and the journal does not have it"
            kept = not self._sync_orders or at + len(frame(payload)) <= self.file.kept
            assert kept, f"order {order.order_id} goes to the venue, and a power cut would take its record"

    def _is_synced(self, record: Record) -> bool:
        return isinstance(record, SYNCED_KINDS) or (self._sync_orders and isinstance(record, OrderEvent | FillRecord))
