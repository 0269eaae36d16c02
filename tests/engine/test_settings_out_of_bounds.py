"""Configurations that would end in a traceback, an unreadable record or a silent engine are refused as such."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine_proc import app
from shared.config import build_config
from shared.errors import ConfigError


def preflight(tmp_path: Path, *overrides: str):
    sets = (f"telemetry.journal_dir={tmp_path}/j", f"telemetry.endpoint=ipc://{tmp_path}/s", *overrides)
    return app.preflight(build_config({}, "test", sets).config)


@pytest.mark.parametrize(
    "override",
    [
        "execution.paper.quote_balance=20000000000000",  # 2e13 of a quote such as a meme coin: decimal.InvalidOperation
        "execution.paper.base_balance=100000000000000000000000",
        "strategy.quote.price_quantum=1.0e+30",
    ],
)
def test_given_an_amount_that_decimals_cannot_divide_then_a_config_error(tmp_path: Path, override: str) -> None:
    with pytest.raises(ConfigError):
        preflight(tmp_path, override)


def test_given_a_pair_that_no_record_can_hold_then_refused(tmp_path: Path) -> None:
    """settings allow 40/40 = 81 characters, records.Name 80: record 0 of the session goes to telemetry_rejects."""
    pair = "A" * 40 + "/" + "B" * 40
    with pytest.raises(ConfigError):
        build_config({}, "test", (f"market.pair={pair}",))


@pytest.mark.parametrize("override", ["strategy.quote.size_quantum=1000", "strategy.quote.size_quantum=7000"])
def test_given_a_ladder_whose_sizes_round_to_nothing_then_refused(tmp_path: Path, override: str) -> None:
    """200 // 1000 * 1000 == 0: the engine is ACTIVE and never quotes; with size_base_min 0 it submits orders of 0."""
    with pytest.raises(ConfigError):
        preflight(tmp_path, override)


@pytest.mark.parametrize("override", ["market.pace_per_s=1.0e-300", "market.pace_per_s=1.0e-10"])
def test_given_a_pace_that_no_clock_can_wait_for_then_refused(tmp_path: Path, override: str) -> None:
    with pytest.raises(ConfigError):
        build_config({}, "test", (override,))


@pytest.mark.parametrize(
    "override",
    [
        "strategy.quote.half_spread_bps=1.0e+308",
        "strategy.volatility.widening=1.0e+308",
        "strategy.inventory.skew_bps_max=30000",
        "market.sim.ledger_ms=1000000000000",
        "strategy.quote.requote_tolerance_bps=500",  # above gate.collar_bps: what is kept may stand outside the collar
        "telemetry.endpoint=tcp://127.999.1.1:4001",
        "strategy.anchor_saturation_guard.prevalence_pct=1.0e-12",  # 0 errors needed: the second condition is off
        "strategy.anchor_saturation_guard.bias_threshold_bps=2000000",  # above the clamp: can never trip
    ],
)
def test_given_a_setting_out_of_any_sense_then_refused(override: str) -> None:
    with pytest.raises(ConfigError):
        build_config({}, "test", (override,))
