"""A replayed session beside its record, tick by tick: the same numbers, or what other settings would have done."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from engine_proc.feed_replay import ReplayFeed
from shared.records import BreakerEvent, Record, TickRecord

REPRODUCED = (
    "mid",
    "clob_vs_amm_divergence_bps",
    "anchor_mode",
    "quote_anchor_price",
    "anchor_error_bps",
    "guard_window_n",
    "guard_mean_bps",
    "guard_prevalence_pct",
    "volatility_bps",
)
"""Columns that follow from market views and configuration alone; under the recorded configuration bit for bit."""


class Mismatch(NamedTuple):
    """The first place where the replay differs from the record."""

    tick: int
    field: str
    recorded: object
    replayed: object


class QuotePair(NamedTuple):
    """What was quoted on a tick and what the replay quotes: one row of `kedge-engine replay --csv`. None: no quote."""

    tick: int
    mid: float | None
    recorded_anchor: float | None
    replayed_anchor: float | None
    replayed_error_bps: float | None
    recorded_bid: float | None
    replayed_bid: float | None
    recorded_ask: float | None
    replayed_ask: float | None
    replayed_mode: str


class Comparison:
    """Takes the records of a replayed engine (it is its Recorder) and compares them with the recorded ones.

    `on_tick`, if given, is shown every tick's pair of quotes as it comes.
    """

    def __init__(self, feed: ReplayFeed, on_tick: Callable[[QuotePair], object] | None = None) -> None:
        self.fault: str | None = None
        self.unsent = 0
        self.ticks = 0
        self.mismatched_ticks = 0
        self.first_mismatch: Mismatch | None = None
        self.quotes_changed_ticks = 0
        self.replayed_trip_tick: int | None = None
        self.recorded_quoting_ticks = 0
        self.replayed_quoting_ticks = 0
        self.max_abs_error_bps: float | None = None
        self._feed = feed
        self._on_tick = on_tick

    @property
    def recorded_trip_tick(self) -> int | None:
        """Tick of the recorded session's first breaker event, as far as the replay has come."""
        return self._feed.trip_tick

    def emit(self, *records: Record) -> None:
        """Take records of the replay."""
        for record in records:
            if isinstance(record, BreakerEvent):
                self.replayed_trip_tick = record.tick
            elif isinstance(record, TickRecord):
                assert self._feed.current is not None, "a replayed tick has a recorded one"
                self._compare(self._feed.current.record, record)

    def close(self) -> None:
        """Nothing is held open."""

    def _compare(self, recorded: TickRecord, replayed: TickRecord) -> None:
        self.ticks += 1
        self.recorded_quoting_ticks += recorded.bid_price is not None or recorded.ask_price is not None
        self.replayed_quoting_ticks += replayed.bid_price is not None or replayed.ask_price is not None
        self.quotes_changed_ticks += (recorded.bid_price, recorded.ask_price) != (
            replayed.bid_price,
            replayed.ask_price,
        )
        if replayed.anchor_error_bps is not None:
            self.max_abs_error_bps = max(self.max_abs_error_bps or 0.0, abs(replayed.anchor_error_bps))
        if self._on_tick is not None:
            self._on_tick(
                QuotePair(
                    replayed.tick, replayed.mid, recorded.quote_anchor_price, replayed.quote_anchor_price,
                    replayed.anchor_error_bps, recorded.bid_price, replayed.bid_price, recorded.ask_price,
                    replayed.ask_price, replayed.mode,
                )
            )  # fmt: skip
        different = [name for name in REPRODUCED if getattr(recorded, name) != getattr(replayed, name)]
        if different:
            self.mismatched_ticks += 1
            if self.first_mismatch is None:
                name = different[0]
                self.first_mismatch = Mismatch(recorded.tick, name, getattr(recorded, name), getattr(replayed, name))
