"""What differs from one history to the next before anything has gone wrong: settings, sizes, the market."""

from __future__ import annotations

from random import Random
from typing import NamedTuple

PHASES = ("calm", "drag", "calm", "flapping", "outage", "stale", "thin", "drag")


class Mixture(NamedTuple):
    """What is the same throughout one history, and differs from one to the next."""

    ledgers: int
    remote: bool  # the writer cannot see the engine's journals
    sync_orders: bool
    rearm: str
    orphans: str
    latency_ledgers: int
    interval_ticks: int
    messages_max: int
    batch_max: int
    flush_ms: int
    catch_up_ms: int
    fsync_interval_ms: int
    checkpoint_pages: int
    scenario: tuple[dict[str, object], ...]

    @classmethod
    def of(cls, random: Random) -> Mixture:
        """Every setting that could matter at one of the values between which it could."""
        return cls(
            ledgers=random.randint(100, 320),
            remote=random.random() < 0.15,
            sync_orders=random.random() < 0.3,
            rearm=random.choice(("on_clean_restart", "explicit")),
            orphans=random.choice(("cancel", "adopt")),
            latency_ledgers=random.choice((0, 1, 1, 2)),
            interval_ticks=random.choice((5, 20, 50)),
            messages_max=random.choice((3, 20, 100, 10_000)),
            batch_max=random.choice((3, 50, 2_000)),
            flush_ms=random.choice((20, 100, 400)),
            catch_up_ms=random.choice((100, 500, 2_000)),
            fsync_interval_ms=random.choice((50, 200, 1_000)),
            checkpoint_pages=random.choice((1, 10, 50, 1_000)),
            scenario=tuple({"kind": random.choice(PHASES), "ticks": random.randint(10, 80)} for _ in range(6)),
        )

    def overrides(self) -> tuple[str, ...]:
        """For `build_config`. An anchor at raw spot and a short window let the guard trip often."""
        scenario = ", ".join(f"{{kind: {phase['kind']}, ticks: {phase['ticks']}}}" for phase in self.scenario)
        return (
            f"market.sim.scenario=[{scenario}]",
            "market.sim.glitch_rate=0.02",
            "strategy.anchor.mode=amm",
            "strategy.anchor.reference=spot",
            "strategy.anchor_saturation_guard.lookback_ticks=10",
            f"strategy.rearm={self.rearm}",
            f"execution.orphans={self.orphans}",
            f"execution.paper.latency_ledgers={self.latency_ledgers}",
            f"reconcile.interval_ticks={self.interval_ticks}",
        )
