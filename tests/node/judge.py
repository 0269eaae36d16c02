"""What the engine put on record against what the ledger did: every difference in one line, and none is good news."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

from shared.records import BreakerEvent, FillRecord, InventoryTruth, ModeChanged, OrderEvent, Record, TickRecord
from tests.e2e.stored import written
from tests.node.chronicle import Chronicle, Move, State

LEDGER_S = 4
ROUNDING_S = 10  # close times are rounded to 10 s (XRPL.md A5)
AHEAD_LEDGERS_MAX = 3  # where no next tick says it
ROUNDED = Decimal("1e-9")  # of an offer's amounts the ledger keeps 15 digits, of a balance's change as many


class Promise(NamedTuple):
    """What the configuration promises of every transaction of ours."""

    expiration_ledgers: int
    last_ledger_offset: int
    fee_drops_max: int
    source_tag: int


class Session(NamedTuple):
    """One journal, read to its end."""

    name: str
    records: tuple[Record, ...]

    def of(self, kind: type[Record]) -> list[Record]:
        return [record for record in self.records if type(record) is kind]

    def ledger_of(self) -> dict[int, int]:
        """Tick to ledger index."""
        ticks = (record for record in self.records if isinstance(record, TickRecord))
        return {tick.tick: tick.ledger_index for tick in ticks if tick.ledger_index is not None}


def sessions(journals: Iterable[Path]) -> list[Session]:
    return [Session(path.stem, tuple(written(path).records)) for path in journals]


def wrong_fills(chronicle: Chronicle, recorded: Sequence[Session]) -> Iterator[str]:
    """No fill missing, none twice, none invented, and their sums are to the digit what the ledger moved."""
    by_transaction: dict[str, list[FillRecord]] = {}
    times: Counter[str] = Counter()
    for session in recorded:
        for fill in session.records:
            if isinstance(fill, FillRecord):
                times[fill.trade_id] += 1
                by_transaction.setdefault(fill.trade_id.partition("-")[0], []).append(fill)
    yield from (f"fill {trade_id} recorded {count} times" for trade_id, count in times.items() if count > 1)
    for transaction in by_transaction.keys() - chronicle.moves.keys():
        yield f"fills recorded of {transaction}, which traded nothing of ours"
    for transaction, move in chronicle.moves.items():
        yield from _wrong_fills_of(move, by_transaction.get(transaction, []))


def _wrong_fills_of(move: Move, fills: Sequence[FillRecord]) -> Iterator[str]:
    where = f"{move.transaction} in ledger {move.ledger_index}"
    if not fills:
        yield f"no fill recorded of {where}: {move.base} base, {move.quote} quote"
        return
    base, quote = moved_by(fills)
    if (base, quote) != (move.base, move.quote):
        yield f"fills of {where} sum to {base} base, {quote} quote; the ledger moved {move.base} and {move.quote}"
    by_id = {fill.trade_id: fill for fill in fills}
    for trade in move.trades:
        fill = by_id.pop(f"{move.transaction}-{trade.number}", None)
        if fill is None:
            yield f"no fill recorded of offer {trade.number} in {where}"
        elif fill.side != trade.side or abs(Decimal(fill.base_amount) - trade.base) > trade.base * ROUNDED:
            yield f"fill of offer {trade.number} in {where}: {fill.side} {fill.base_amount}, ledger: {trade}"
        if trade.late:
            yield f"offer {trade.number} traded in {where} after its expiration"
    for fill in by_id.values():
        if fill.liquidity != "taker":
            yield f"fill {fill.trade_id} recorded as {fill.liquidity}: no such offer traded in {where}"


def moved_by(fills: Iterable[FillRecord]) -> tuple[Decimal, Decimal]:
    """Base and quote that these fills brought us, negative where they cost us."""
    base = quote = Decimal(0)
    for fill in fills:
        sign = 1 if fill.side == "bid" else -1
        base += sign * Decimal(fill.base_amount)
        quote -= sign * Decimal(fill.quote_amount)
    return base, quote


def wrong_holdings(chronicle: Chronicle, recorded: Sequence[Session]) -> Iterator[str]:
    """Every comparison on record: what was tracked is to the digit what the ledger had.

    The venue reads on to the newest ledger, which may have closed after the tick's view was taken, but not after that
    of the next tick: one of the ledgers from the one to the other must agree with the record in everything.
    """
    for session in recorded:
        ledger_of = session.ledger_of()
        for truth in session.records:
            if isinstance(truth, InventoryTruth) and truth.tick in ledger_of:
                first = ledger_of[truth.tick]
                last = ledger_of.get(truth.tick + 1, first + AHEAD_LEDGERS_MAX)
                held = held_by(truth)
                states = [chronicle.states.get(index) for index in range(first, last + 1)]
                if not any(state is not None and held == Held.on(state) for state in states):
                    there = None if states[0] is None else Held.on(states[0])
                    yield f"{session.name} tick {truth.tick}: {held}, ledger {first}: {there}"


class Held(NamedTuple):
    """Balances and open orders, as tracked and as the venue said; on the ledger both are one."""

    base: Decimal
    quote: Decimal
    base_told: Decimal
    quote_told: Decimal
    orders_told: int

    @classmethod
    def on(cls, state: State) -> Held:
        return cls(state.base, state.quote, state.base, state.quote, len(state.live()))


def held_by(truth: InventoryTruth) -> Held:
    """What the record says."""
    amounts = (truth.base_tracked, truth.quote_tracked, truth.base_truth, truth.quote_truth)
    base, quote, base_told, quote_told = map(Decimal, amounts)
    return Held(base, quote, base_told, quote_told, truth.orders_truth)


def broken_promises(chronicle: Chronicle, promise: Promise) -> Iterator[str]:
    """Of every transaction that we sent: it ends, it is cheap, it is marked."""
    for sent in chronicle.sent:
        where = f"{sent.kind} {sent.transaction} in ledger {sent.ledger_index}"
        if sent.fields.get("SourceTag") != promise.source_tag:
            continue  # the stage was set with this account's key: its trust line
        if sent.fee_drops > promise.fee_drops_max:
            yield f"{where}: fee {sent.fee_drops}"
        last = sent.fields.get("LastLedgerSequence")
        if last is None or last > sent.ledger_index + promise.last_ledger_offset:
            yield f"{where}: LastLedgerSequence {last}"
        if sent.kind == "OfferCreate":
            parent = chronicle.states.get(sent.ledger_index - 1)
            bound = parent and parent.close_time + promise.expiration_ledgers * LEDGER_S + ROUNDING_S
            expiration = sent.fields.get("Expiration")
            if expiration is None or (bound is not None and expiration > bound):
                yield f"{where}: Expiration {expiration}, at most {bound}"


def wrong_modes(recorded: Sequence[Session], trips_due: int) -> Iterator[str]:
    """The guard tripped as often as the pool was pushed away, and nothing else ever took the engine out of ACTIVE."""
    trips = [session.name for session in recorded for _ in session.of(BreakerEvent)]
    if len(trips) != trips_due:
        yield f"{len(trips)} trips of the guard instead of {trips_due}: {trips}"
    for session in recorded:
        for change in session.of(ModeChanged):
            assert isinstance(change, ModeChanged)
            if change.reason != "anchor_saturation_guard_exceeded":
                yield f"{session.name} tick {change.tick}: {change.to_mode} because of {change.reason}"


def ledgers_to_withdraw(chronicle: Chronicle, recorded: Sequence[Session]) -> int:
    """From the ledger on whose view the guard tripped to the first one without a live offer of ours."""
    for session in recorded:
        for trip in session.of(BreakerEvent):
            assert isinstance(trip, BreakerEvent)
            tripped_at = session.ledger_of()[trip.tick]
            empty = (index for index in sorted(chronicle.states) if not chronicle.states[index].live())
            return next(index for index in empty if index >= tripped_at) - tripped_at
    return 0


def unrecorded_orders(chronicle: Chronicle, recorded: Sequence[Session]) -> Iterator[str]:
    """No order on the ledger that the journals have not heard of, by its side, price and size."""
    sent = Counter(
        (event.side, Decimal(event.price), Decimal(event.base_amount))
        for session in recorded
        for event in session.records
        if isinstance(event, OrderEvent) and event.event == "submitted"
    )
    if (placed := len(chronicle.placed())) > sent.total():
        yield f"{placed} OfferCreates of ours in the ledger, {sent.total()} orders on record"
