"""A report object with everything a page can show, computed from a session with known troubles."""

from __future__ import annotations

import numpy as np

from shared.clock import iso_utc
from shared.settings import AnchorSaturationGuard
from telemetry_proc.plot_columns import PLOT_COLUMNS, Band, Fills, PlotColumns
from telemetry_proc.plots import Event, plots_of
from telemetry_proc.series import series_of
from telemetry_proc.tick_columns import NOT_RECORDED, Texts, TickColumns

START_NS = 1_790_000_000_000_000_000
TICK_NS = 4_000_000_000
GUARD = AnchorSaturationGuard(
    enabled=True, lookback_ticks=25, bias_threshold_bps=7.0, prevalence_threshold_bps=5.0, prevalence_pct=40.0
)


def columns_of(errors, ticks=None):
    """Tick columns as `read_ticks` would give them."""
    errors = np.array([np.nan if error is None else error for error in errors], dtype=np.float64)
    n = len(errors)
    ticks = np.arange(1, n + 1) if ticks is None else np.asarray(ticks)
    unknown = np.full(n, np.nan)
    zeros = np.zeros(n, np.int64)
    return TickColumns(
        tick=ticks.astype(np.int64),
        ts_ns=START_NS + ticks.astype(np.int64) * TICK_NS,
        ledger_index=90_000_000 + ticks.astype(np.int64),
        guard_window_n=np.full(n, NOT_RECORDED),
        mid=np.where(np.isnan(errors), np.nan, 1.305 + 0.004 * np.sin(np.arange(n) / 90.0)),
        anchor_error_bps=errors,
        guard_mean_bps=unknown,
        guard_prevalence_pct=unknown,
        market_status=Texts(zeros, ("OK",)),
        anchor_mode=Texts(zeros, ("amm",)),
    )


def wandering(n, seed=5):
    """Calm, a drag of 8 bps from two thirds on, a stretch of NULL, one glitch."""
    rng = np.random.default_rng(seed)
    errors = np.convolve(rng.normal(0, 1.0, n + 9), np.ones(10) / 4.0, "valid")
    errors[2 * n // 3 :] += 8.0
    errors[n // 5] = -61.5
    listed = [float(error) for error in errors]
    listed[n // 3 : n // 3 + n // 40] = [None] * (n // 40)
    return listed


def bands(n, width=1):
    """Prices and inventory around those of `columns_of`."""
    mid = 1.305 + 0.004 * np.sin(np.arange(0, n, width) / 90.0)
    heights = {"clob_bid": mid - 4e-4, "clob_ask": mid + 4e-4, "amm_price": mid + 1e-4}
    heights |= {"quote_anchor_price": mid + 9e-4, "mark_value": 26_000 + 1e4 * (mid - 1.3)}
    heights["base_balance"] = 10_000 + 50 * np.cos(np.arange(len(mid)) / 60)
    at = np.arange(40, n, 97)
    fills = Fills(at + 1, np.where(at % 2, 1, -1), 1.305 + 0.004 * np.sin(at / 90.0))
    return PlotColumns(1, width, {name: Band(heights[name], heights[name] + 1e-4) for name in PLOT_COLUMNS}, fills)


def full_report(n=1_500):
    """Every key of report.json that the page knows, with numbers that look like a session's."""
    onset, trip = 2 * n // 3 + 1, 2 * n // 3 + 38
    events = [
        Event(onset, "error", "first |error| ≥ 7 bps"),
        Event(trip - 4, "mean", "|mean| ≥ 7 bps"),
        Event(trip - 12, "prevalence", "40% ≥ 5 bps"),
        Event(trip, "trip", "trip"),
        Event(trip, "mode", "ACTIVE → DEGRADED"),
        Event(n // 2, "restart", "window emptied"),
    ]
    columns = columns_of(wandering(n))
    plots = plots_of(
        columns,
        series=series_of(columns, GUARD),
        settings=GUARD,
        events=events,
        extra=bands(n),
        episodes=[(2 * n // 3, n)],
    )
    ladder = _ladder(onset, trip)
    return {
        "schema_version": 1,
        "session": {"number": 41, "uid": "20261120T140209Z-7f3a", "status": "ENDED", "venue_mode": "paper",
                    "pair": "XRP/RLUSD", "started_at": "2026-11-20T14:02:09.000Z", "code_version": "0.1.0",
                    "config_hash": "9c1e00aa11bb22cc"},
        "ticks": {"recorded": n, "first": 1, "last": n, "missing": 0, "duration_s": 4.0 * n},
        "error": {"ticks": n, "n": n - 37, "mean_bps": 2.4, "median_bps": 0.31, "sd_bps": 3.9,
                  "nulls": {"ticks": 37, "share_pct": 2.4667, "longest_run_ticks": 37, "seconds": 148.0},
                  "abs_error": {"p50_bps": 1.2, "p95_bps": 8.7, "p999_bps": 10.9, "max_bps": 61.5},
                  "zones": [{"zone_bps": "<5", "ticks": 980, "share_pct": 67.0, "seconds": 3920.0},
                            {"zone_bps": ">=8", "ticks": 300, "share_pct": 20.5, "seconds": 1200.0}],
                  "by_anchor_mode": {"amm": {"n": 1463, "mean_bps": 2.4}}},
        "guard": {**GUARD.model_dump(), "state": "tripped", "armed_ticks": 1439, "armed_pct": 98.3, "fidelity": "ok",
                  "recorded_trip_tick": trip, "ladder": ladder},
        "trips": [{"breaker": "anchor_saturation_guard", "tick": trip, "triggered_at": iso_utc(START_NS),
                   "context": {"mean_error_bps": 7.31, "prevalence_pct": 64.0}}],
        "mode_history": [{"tick": trip, "time": iso_utc(START_NS), "from_mode": "ACTIVE", "to_mode": "DEGRADED",
                          "signal": "degrade", "reason": "anchor_saturation_guard_exceeded"}],
        "orders": {"submitted": 900, "cancelled": 880},
        "money": {"base": "XRP", "quote": "RLUSD", "fills": 15, "maker_fills": 15, "mark_value_first_quote": 26050.0,
                  "mark_value_last_quote": 26041.25},
        "page": PAGE,
        "explanation": _explanation(ladder, onset),
        "what_if": {"results": _grid(trip), "live": GUARD.model_dump()},
        "markouts": _markouts(),
        "counterfactual": _counterfactual(),
        "across": {"operating": _operating(), "sessions": _sessions()},
        "labels": {"spec": {"beta_bps": 6.0, "beta_source": "assumed", "horizon_ticks": 100}, "digest": "9f86d081884c",
                   "episodes": [{"first_tick": onset, "onset_tick": onset, "last_tick": n, "level_bps": 8.0}]},
        "plots": plots,
        "command": "kedge-telemetry report 41 --db data/kedge.db -o report.html",
        "notes": ["37 ticks without an error in one stretch, market ONE_SIDED"],
        "definitions": {"anchor error": "(anchor - mid) / mid, in bps, signed", "tick": "one closed ledger"},
    }  # fmt: skip


PAGE = [
    "Session 41  started 2026-11-20T14:02:09Z  paper  XRP/RLUSD  ENDED (feed_ended)",
    "1,500 ticks (1 h 40 m)  nulls 2.5%  armed 98.3%  replay OK",
    "GUARD    Tripped at tick 1,038 (18:43:09Z), 37 ticks (2 m 28 s) after |error| first reached 7 bps.",
    "         Of those 37, 22 are the minimum this window allows for an 8 bps shift. Last condition",
    "           met: mean.",
    "LADDER   (a) |error| >= 7 bps       tick   1,001  18:40:41Z  error   +8.12  mean +0.31  share 4.0%",
    "         (b) |mean| >= 7 bps        tick   1,034  18:42:53Z  error   +7.90  mean +7.02  share 60.0%",
    "VERDICT  NOT ENOUGH DATA to change anything: one session cannot judge. Keep 25 / 7 / 5 / 40%.",
]


def _ladder(onset, trip):
    ticks = {"error": onset, "mean": trip - 4, "prevalence": trip - 12, "both": trip}
    return {name: _rung(tick) for name, tick in ticks.items()} | {
        "last_condition": "mean", "lag_ticks": trip - onset, "lag_s": 4.0 * (trip - onset)
    }  # fmt: skip


def _rung(tick):
    return {"tick": tick, "error_index": tick - 37, "ts_ns": START_NS + tick * TICK_NS, "error_bps": 8.1,
            "time": iso_utc(START_NS + tick * TICK_NS), "mean_bps": 4.2, "prevalence_pct": 48.0}  # fmt: skip


def _explanation(ladder, onset):
    return {
        "ladder": ladder, "last_condition": "mean", "lag_errors": 37, "onset": _rung(onset), "onset_lag_ticks": 37,
        "floor": {"level_bps": 8.0, "errors": 22, "lag_errors": 21, "lag_ticks": 21}, "avoidable_errors": 16,
        "binding": {"full_windows": 1439, "mean_windows": 400, "vetoed_by_prevalence": 0},
        "window_age": {"usual_s": 96.0, "at_trip_s": 96.0, "is_old_at_trip": False},
        "ladders": [{"bias_threshold_bps": bias, "ladder": ladder} for bias in (6.0, 6.5, 7.0, 7.5, 8.0)],
    }  # fmt: skip


def _grid(trip):
    return [
        {"lookback_ticks": lookback, "bias_threshold_bps": bias, "prevalence_threshold_bps": height,
         "prevalence_pct": pct, "first_trip_tick": trip + lookback - 25 + round(6 * (bias - 7)) if bias < 9 else None}
        for lookback in (10, 15, 20, 25, 35, 50, 75, 100)
        for bias in (4.0, 5.0, 6.0, 6.5, 7.0, 7.5, 8.0, 9.0)
        for height in (4.0, 5.0, 6.0)
        for pct in (30.0, 40.0, 60.0)
    ]  # fmt: skip


def _markouts():
    return [
        {"error_bin": name, "side": side, "horizon": horizon, "fills": 9, "capture_bps": 2.1, "drift_bps": -level,
         "markout_bps": 2.1 - level * (1 + at / 4), "markout_interval_bps": None}
        for name, level in (("<5", 0.8), ("5-7", 2.4), (">=7", 6.0))
        for side in ("both", "bid", "ask")
        for at, horizon in enumerate(("1 ledger", "2 ledgers", "8 ledgers", "16 ledgers", "5 s", "30 s", "60 s"))
    ]  # fmt: skip


def _counterfactual():
    return [
        {"bias_threshold_bps": bias, "loss_avoided_quote": 0.3 * (7 - bias) if bias <= 7 else None,
         "income_forgone_quote": -0.2 * (7 - bias) if bias <= 7 else None,
         "net_quote": 0.1 * (7 - bias) if bias <= 7 else None,
         "net_low_quote": -0.5 * (bias - 7) if bias >= 7 else None,
         "net_high_quote": 0.2 * (bias - 7) if bias >= 7 else None}
        for bias in (4.0, 5.0, 6.0, 6.5, 7.0, 7.5, 8.0, 9.0, 10.0)
    ]  # fmt: skip


def _operating():
    roles = ("other", "frontier", "frontier", "live", "recommended", "shadow")
    return [
        {"role": role, "false_per_100_sessions": 1.0 + 2 * at, "false_low": 0.2, "false_high": 6.0 + 2 * at,
         "delay_ticks": 60 / (1 + at), "lookback_ticks": 25, "bias_threshold_bps": 6 + at / 2,
         "prevalence_threshold_bps": 5.0, "prevalence_pct": 40.0}
        for at, role in enumerate(roles)
    ]  # fmt: skip


def _sessions():
    return [
        {"number": number, "started_at": f"2026-11-{number:02d}T14:02:09.000Z",
         "first_exceedance_tick": 900 + number if number % 3 else None,
         "trip_tick": 940 + number if number % 3 else None}
        for number in range(1, 15)
    ]  # fmt: skip
