"""The columns of a session as the live guard would have left them, without a database."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from shared.saturation import SaturationGuard, Thresholds
from shared.settings import AnchorSaturationGuard
from telemetry_proc.guard_record import GuardTrip
from telemetry_proc.tick_columns import NOT_RECORDED, Texts, TickColumns

SETTINGS = AnchorSaturationGuard(
    lookback_ticks=4, bias_threshold_bps=7.0, prevalence_threshold_bps=5.0, prevalence_pct=50.0
)
TICK_NS = 4_000_000_000


def thresholds_of(settings: AnchorSaturationGuard) -> Thresholds:
    return settings.thresholds


def recorded(
    errors: Sequence[float | None],
    settings: AnchorSaturationGuard = SETTINGS,
    *,
    resets: Collection[int] = (),
    stated: bool = True,
) -> tuple[TickColumns, tuple[GuardTrip, ...]]:
    """One tick an error; the window is emptied before each tick in `resets`. And the trips that went on record."""
    guard = SaturationGuard(thresholds_of(settings), enabled=settings.enabled)
    rows, trips = [], []
    for tick, error in enumerate(errors, 1):
        if tick in resets:
            spent = guard.tripped
            guard = SaturationGuard(thresholds_of(settings), enabled=settings.enabled)
            guard.tripped = spent
        if guard.observe(error):
            integers = {"sum_error_nano_bps": guard.sum_nano_bps, "prevalent_n": guard.prevalent_n}
            trips.append(GuardTrip(tick, {"tick": tick, **integers}))
        state = (guard.window_n, guard.mean_bps, guard.prevalence_pct) if stated else (NOT_RECORDED, None, None)
        rows.append((tick, error, *state))
    return columns_of(rows), tuple(trips)


def columns_of(rows: Sequence[tuple[int, float | None, int, float | None, float | None]]) -> TickColumns:
    """Rows of tick, error, window_n, mean and prevalence."""
    ticks, errors, window_n, means, prevalences = zip(*rows, strict=True) if rows else ((),) * 5
    tick = np.array(ticks, dtype=np.int64)
    none, nothing = np.zeros(len(rows), np.int64), np.full(len(rows), np.nan)
    unrecorded = Texts(none, ("unrecorded",))
    return TickColumns(
        tick=tick,
        ts_ns=tick * TICK_NS,
        ledger_index=none,
        guard_window_n=np.array(window_n, dtype=np.int64),
        mid=nothing,
        anchor_error_bps=np.array(errors, dtype=np.float64),
        guard_mean_bps=np.array(means, dtype=np.float64),
        guard_prevalence_pct=np.array(prevalences, dtype=np.float64),
        market_status=unrecorded,
        anchor_mode=unrecorded,
    )


def without(columns: TickColumns, ticks: Collection[int]) -> TickColumns:
    """The same without the rows of these ticks."""
    kept = ~np.isin(columns.tick, list(ticks))
    return TickColumns._make(
        Texts(part.codes[kept], part.names) if isinstance(part, Texts) else part[kept] for part in columns
    )


def changed(columns: TickColumns, column: str, tick: int, value: float) -> TickColumns:
    """The same with one value of one row changed."""
    copy = getattr(columns, column).copy()
    copy[columns.tick == tick] = value
    return columns._replace(**{column: copy})
