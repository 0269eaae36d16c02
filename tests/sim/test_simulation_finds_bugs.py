"""A simulation that cannot fail proves nothing. So Kedge is broken, one line at a time, and the histories must tell.

Each bug is one that somebody could have made. It must be found within `SEEDS_MAX` histories, and by the invariant that
stands for what it breaks, not by an accident.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import pytest

from tests.sim.broken import broken
from tests.sim.history import live
from tests.sim.world import FAULTS, World

SEEDS_MAX = 40


class Bug(NamedTuple):
    """`before` becomes `after` in the function `where`; the history then says something that matches `found_as`."""

    name: str
    where: str
    before: str
    after: str
    found_as: str
    often: tuple[str, ...] = ()  # faults and deeds that happen more than elsewhere, so that it need not search long


LOST = "in the journal and not in the database|has [0-9]+ rows for [0-9]+ records"
TWICE = (
    "next record at|records put on file as rejects|has [0-9]+ rows for [0-9]+ records|stored further than it ever spoke"
)
QUOTES = "quotes, though stopped for good"
OFF_RECORD = "the journal does not have it"

BUGS = (
    Bug(
        "offset committed before the rows, in a transaction of its own",
        "telemetry_proc.writer:commit",
        "    with store.transaction() as tx:\n",
        "    with store.transaction() as tx:\n        tx.advance(batch.offsets)\n    with store.transaction() as tx:\n",
        LOST,
    ),
    Bug(
        "rows committed before the offset, in a transaction of their own",
        "telemetry_proc.writer:commit",
        "        tx.advance(batch.offsets)",
        "    with store.transaction() as tx:\n        tx.advance(batch.offsets)",
        TWICE,
    ),
    Bug(
        "rejects are not put on file",
        "telemetry_proc.writer:commit",
        "        tx.quarantine(batch.rejects + refused)\n",
        "",
        "strangers must be on file",
        ("bytes of a stranger",),
    ),
    Bug(
        "a full disk is not tried again",
        "telemetry_proc.writer:Writer._commit",
        "self._stop.wait(pause_ms)",
        "break",
        LOST,
    ),
    Bug(
        "a duplicate is stored again",
        "telemetry_proc.mend:in_order",
        "        if record.seq == offset.next_seq:\n",
        "        if record.seq <= offset.next_seq:\n",
        TWICE,
    ),
    Bug(
        "reading on starts one record too late",
        "telemetry_proc.journals:read_on",
        "record.seq < offset.next_seq:",
        "record.seq <= offset.next_seq:",
        LOST,
    ),
    Bug(
        "a gap that is filled forgets what it still misses",
        "telemetry_proc.offsets:Offset.fill",
        "missing_from=seq + 1 if seq < gap.last_seq else None",
        "missing_from=None",
        LOST,
    ),
    Bug(
        "a frame's checksum is not looked at",
        "shared.journal:_frame_at",
        "payload if zlib.crc32(payload) == crc else None",
        "payload",
        QUOTES + "|was never said so|not msgpack|records put on file as rejects",
    ),
    Bug(
        "half a frame is left before the next whole one",
        "shared.journal:JournalWriter._write",
        "if self._half_a_frame:",
        "if False:",
        "the database has what the journal has not|next record at|" + LOST,
        ("disk full", "cut fails"),
    ),
    Bug(
        "orders go to the venue before they are on record",
        "engine_proc.engine:Engine.send",
        "    self.recorder.emit(*submitted, *withdrawn)\n",
        "    self.venue.submit(plan)\n    self.recorder.emit(*submitted, *withdrawn)\n",
        OFF_RECORD,
    ),
    Bug(
        "orders go to the venue although the journal refused them",
        "engine_proc.engine:Engine.send",
        "    if placed and self.recorder.fault is not None:\n",
        "    if False:\n",
        OFF_RECORD + "|a power cut would take its record",
        ("disk full",),
    ),
    Bug(
        "a crash re-arms",
        "engine_proc.latch:start_state",
        "(last.closed and policy",
        "(policy",
        QUOTES,
    ),
    Bug(
        "an old re-arm lifts a later trip",
        "engine_proc.latch:start_state",
        "word is not None and (word.session_uid, word.mode) == (last.session_uid, last.mode)",
        "word is not None",
        QUOTES,
    ),
    Bug(
        "a journal that took no more records leaves no mark",
        "shared.journal:JournalWriter.mark_refused",
        "with suppress(OSError):",
        "for _ in ():",
        QUOTES,
        ("disk full", "kill_engine"),
    ),
    Bug(
        "a trip waits for the next sync of the disk",
        "engine_proc.outbox:Outbox.emit",
        "            sync = True\n",
        "            sync = False\n",
        QUOTES + "|a power cut would take its record",
    ),
    Bug(
        "a clean restart lifts a halt",
        "engine_proc.latch:start_state",
        ' and last.mode != "HALT"',
        "",
        QUOTES,
        ("halt", "stop_engine"),
    ),
    Bug(
        "records that the journal refused are pushed all the same",
        "engine_proc.outbox:Outbox.emit",
        "        self._waiting += payloads\n",
        "        self._waiting += payloads\n        self._push.send(payloads)\n",
        "the database has what the journal has not",
        ("disk full", "kill_engine"),
    ),
    Bug(
        "every record is synced by the tick itself",
        "engine_proc.outbox:Outbox._journalled",
        "    if sync:\n",
        "    if True:\n",
        "the tick waited for the disk",
    ),
    Bug(
        "the guard sees another error than the record",
        "engine_proc.engine:Engine.tick",
        "self.guard.observe(self.strategy.last_anchor_divergence_bps)",
        "self.guard.observe(proposal.anchor.divergence_bps)",
        "Disagreement",
    ),
    Bug(
        "the mark of a journal that took no more records is not kept by its directory",
        "shared.journal:JournalWriter.mark_refused",
        "sync_directory(self.path.parent)",
        "pass",
        QUOTES,
        ("disk full", "lose_power"),
    ),
    Bug(
        "orders of a dead session that are still under way are not waited for",
        "engine_proc.engine:Engine.take_stock",
        "self.venue.settle()",
        "()",
        "an order id is used once",
        ("kill_engine",),
    ),
    Bug(
        "orphans are not counted, and their numbers given out again",
        "engine_proc.engine:Engine.take_stock",
        "    self.order_number = max(",
        "    _ = max(",
        "an order id is used once",
        ("engine dies after the venue heard", "kill_engine"),
    ),
)


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name.replace(" ", "-").replace(",", ""))
def test_given_one_broken_line_when_histories_are_lived_through_then_one_of_them_finds_it(bug):
    with broken(bug.where, bug.before, bug.after):
        said = next(filter(None, (what_breaks(seed, bug.often) for seed in range(1, SEEDS_MAX + 1))), "nothing")

    assert re.search(bug.found_as, said), said


def what_breaks(seed: int, often: tuple[str, ...]) -> str | None:
    def make_frequent(world: World) -> None:
        for name in often:
            (world.chance if name in FAULTS else world.deeds).make_frequent(name)

    try:
        live(seed, make_frequent)
    except AssertionError as error:
        return str(error)
    return None
