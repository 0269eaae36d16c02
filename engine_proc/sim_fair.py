"""The hidden fair price of the simulated market: what makers chase, informed takers foresee and nobody is shown."""

from __future__ import annotations

import math
from collections import deque

from engine_proc.ports import Rng
from shared.settings import Sim

DRAG_BEYOND_FEE_BPS = 33.3  # how far outside the pool's fee band the fair price stays in a drag: 60 bps from its spot
FLAP_BPS = 35.0  # around which gap it swings while the anchor's mode flaps
FLAP_SWING_BPS = 6.0
FLAP_PERIOD_LEDGERS = 12
APPROACH_BPS = 2.0  # per ledger, on the way to either gap: about 30 ledgers for a drag
GAP_NOISE_BPS_MAX = 4.0  # a lively market must not hide the gap that the phase is about
GAP_MEMORY = 0.8  # share of the gap's noise that lasts into the next ledger


class FairPrice:
    """A path of prices, one a ledger, known a few ledgers ahead.

    A calm market walks at random (log-normal steps of `fair_volatility_bps`). In a drag, and while flapping, the price
    keeps a distance from the pool's spot instead. Every move adds the price at the far end of what is foreseen, so a
    change of behaviour shows in `now` after `informed_lead_ticks` ledgers.

    `now` is the fair price of this ledger, `before` that of one ledger ago, the newest that a maker's transaction can
    know, and `ahead` what informed takers know: the price `informed_lead_ticks` ledgers from now.
    """

    def __init__(self, settings: Sim, rng: Rng) -> None:
        self._gauss = rng.gauss
        self._drag_bps = settings.pool_fee * 1e4 + DRAG_BEYOND_FEE_BPS
        self._step = settings.fair_volatility_bps * 1e-4
        self.before = self.now = self.ahead = self._spot = settings.fair_price
        self._path: deque[float] = deque([self.before, self.now], maxlen=settings.informed_lead_ticks + 2)
        self._from_spot = self._level = self._noise = 0.0
        self._ledgers = 0
        for _ in range(settings.informed_lead_ticks):
            self.walk()

    def walk(self) -> None:
        """One ledger of the random walk."""
        self._append(self.ahead * math.exp(self._gauss(0.0, self._step)))

    def hold_to(self, spot: float) -> None:
        """From here on `drag` and `flap` keep their distance from this spot, on the side where the price is now."""
        self._spot = spot
        self._level = math.log(self.ahead / spot) * 1e4
        self._from_spot = math.copysign(1.0, self._level)
        self._noise = 0.0
        self._ledgers = 0

    def drag(self) -> None:
        """One ledger on the way out of the pool's fee band, or of staying there."""
        self._keep_gap(self._drag_bps, 1.0, 0.0)

    def flap(self) -> None:
        """One ledger of swinging around FLAP_BPS from the pool's spot."""
        self._ledgers += 1
        swing = FLAP_SWING_BPS * math.sin(2.0 * math.pi * self._ledgers / FLAP_PERIOD_LEDGERS)
        self._keep_gap(FLAP_BPS, 0.25, swing)

    def _keep_gap(self, gap_bps: float, noise_share: float, swing_bps: float) -> None:
        missing = self._from_spot * gap_bps - self._level
        self._level += max(-APPROACH_BPS, min(APPROACH_BPS, missing))
        deviation = noise_share * min(self._step * 1e4, GAP_NOISE_BPS_MAX)
        fresh = math.sqrt(1.0 - GAP_MEMORY * GAP_MEMORY) * deviation
        self._noise = GAP_MEMORY * self._noise + self._gauss(0.0, fresh)
        self._append(self._spot * math.exp((self._level + self._noise + swing_bps) * 1e-4))

    def _append(self, price: float) -> None:
        path = self._path
        path.append(price)
        self.before, self.now, self.ahead = path[0], path[1], price
