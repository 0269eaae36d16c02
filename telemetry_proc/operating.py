"""How one setting behaves over many sessions: how often it trips falsely, how late it trips when it must.

Every number comes with limits at session level: sessions, or days where several share one, are what is resampled.
False alarms are counted per session and per armed tick, not as a mean time between them alone: where calm sessions are
a mixture, that mean misleads (Mei 2007, "Is average run length to false alarm always an informative criterion?").
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from shared.saturation import to_nano_bps
from telemetry_proc.grid import Setting
from telemetry_proc.intervals import Interval, clopper_pearson, garwood, none_of, session_bootstrap, wider
from telemetry_proc.outcomes import Outcomes, ScoredEpisode
from telemetry_proc.survival import kaplan_meier, quantile
from telemetry_proc.tick_columns import Bools, Floats, Ints

CONFIDENCE = 0.95
DAYS_WITHOUT_SPREAD_MIN = 10
FEW_EVENTS = 5  # up to here a bootstrap has too little to resample; exact limits may only widen it, never be replaced
DAY_S = 86_400.0


class OneSided(NamedTuple):
    """Scored episodes of one sign: a guard may be blind on one side only, which |mean| hides."""

    sign: int
    episodes: int
    missed: int
    delay_mean_s: float | None


class Operating(NamedTuple):
    """What a setting did. None where nothing could be counted; intervals hold 95 %.

    Fields:
        setting: the thresholds.
        calm_sessions, false_sessions, false_share(_interval): sessions calm throughout, and those with a trip.
        false_trips: calm stretches with a trip, sessions with an episode included.
        exposure_ticks, unarmed_share: armed calm ticks up to the trip; share of calm ticks on which it was not armed.
        far_per_10k_ticks(_interval), far_per_day, arl0_ticks: false trips per 10,000 armed calm ticks and per day of
            them (each session with its own tick length); armed calm ticks per false trip, None if there was none.
        episodes, detected, early, missed: scored episodes; early: tripped before the onset, counted as detected too.
        miss_share(_interval): missed of scored.
        delay_mean_s(_interval), delay_mean_ticks: restricted mean E[min(delay, rest of the episode)]; early counts 0.
        delay_median_s, delay_p90_s: Kaplan and Meier's; None if so many never tripped.
        excess_delay_ticks: mean of detected, not early delays beyond the floor that window and episode level impose.
        precision(_interval), recall(_interval): of trips, those in an episode; of episodes, those tripped in.
        by_sign: each side apart.
    """

    setting: Setting
    calm_sessions: int
    false_sessions: int
    false_share: float | None
    false_share_interval: Interval | None
    false_trips: int
    exposure_ticks: int
    unarmed_share: float | None
    far_per_10k_ticks: float | None
    far_per_10k_ticks_interval: Interval | None
    far_per_day: float | None
    arl0_ticks: float | None
    episodes: int
    detected: int
    early: int
    missed: int
    miss_share: float | None
    miss_share_interval: Interval | None
    delay_mean_s: float | None
    delay_mean_s_interval: Interval | None
    delay_mean_ticks: float | None
    delay_median_s: float | None
    delay_p90_s: float | None
    excess_delay_ticks: float | None
    precision: float | None
    precision_interval: Interval | None
    recall: float | None
    recall_interval: Interval | None
    by_sign: tuple[OneSided, ...]


def operating(found: Outcomes, setting: Setting, column: int, rng: np.random.Generator) -> Operating:
    """The operating characteristics of the setting in this column, over all sessions."""
    calm = found.calm_session
    tripped = found.false_trips[calm, column] > 0
    calm_sessions, false_sessions = int(calm.sum()), int(tripped.sum())
    false_trips = found.false_trips[:, column].astype(np.int64)
    exposure = found.exposure_ticks[:, column].astype(np.int64)
    trips, exposed = int(false_trips.sum()), int(exposure.sum())
    after = found.trip_after[:, column].astype(np.int64)
    full = np.array([len(episode.seconds) - 1 for episode in found.episodes], dtype=np.int64)
    missed = after >= full
    in_episodes = int((~missed).sum())
    delay_s = delays_of(found, column)
    ticks = [episode.ticks[max(int(k), 0)] for episode, k in zip(found.episodes, after, strict=True)]
    curve = kaplan_meier(delay_s, ~missed) if len(after) else None
    return Operating(
        setting=setting,
        calm_sessions=calm_sessions,
        false_sessions=false_sessions,
        false_share=_ratio(false_sessions, calm_sessions),
        false_share_interval=_false_share_interval(tripped, found.day[calm], rng),
        false_trips=trips,
        exposure_ticks=exposed,
        unarmed_share=unarmed_share(found, setting),
        far_per_10k_ticks=_ratio(1e4 * trips, exposed),
        far_per_10k_ticks_interval=_rate_interval(false_trips, exposure, found.day, rng),
        far_per_day=_ratio(trips * DAY_S, float((exposure * found.tick_s).sum())),
        arl0_ticks=_ratio(exposed, trips),
        episodes=len(after),
        detected=in_episodes,
        early=int((after < 0).sum()),
        missed=len(after) - in_episodes,
        miss_share=_ratio(len(after) - in_episodes, len(after)),
        miss_share_interval=share_interval(len(after) - in_episodes, len(after)),
        delay_mean_s=float(delay_s.mean()) if len(after) else None,
        delay_mean_s_interval=mean_delay_interval(delay_s, found.episode_session, found.day, rng),
        delay_mean_ticks=float(np.mean(ticks)) if ticks else None,
        delay_median_s=quantile(curve, 0.5) if curve else None,
        delay_p90_s=quantile(curve, 0.9) if curve else None,
        excess_delay_ticks=_excess(found.episodes, after, full, setting),
        precision=_ratio(in_episodes, in_episodes + trips),
        precision_interval=share_interval(in_episodes, in_episodes + trips),
        recall=_ratio(in_episodes, len(after)),
        recall_interval=share_interval(in_episodes, len(after)),
        by_sign=tuple(_one_sided(found, delay_s, missed, sign) for sign in (1, -1)),
    )


def delays_of(found: Outcomes, column: int) -> Floats:
    """Seconds from onset to trip under one setting, an element a scored episode: 0 early, the rest of it if missed."""
    after = np.maximum(found.trip_after[:, column], 0)
    return np.array([e.seconds[k] for e, k in zip(found.episodes, after, strict=True)], dtype=np.float64)


def mean_delay_interval(
    delay_s: Floats, session: Ints, day: Ints, rng: np.random.Generator, confidence: float = CONFIDENCE
) -> Interval | None:
    """Limits of a mean over episodes, which come in sessions, which share days; None where there are too few."""
    return ratio_interval(summed_by_session(delay_s, session, len(day)), day, rng, confidence)


def summed_by_session(values: Floats, session: Ints, sessions: int) -> Floats:
    """A row a session: the sum of its values, and how many there are."""
    return np.column_stack(
        (np.bincount(session, values, minlength=sessions), np.bincount(session, minlength=sessions).astype(np.float64))
    )


def ratio_interval(
    rows: Floats, day: Ints, rng: np.random.Generator, confidence: float = CONFIDENCE
) -> Interval | None:
    """Limits of sum(first column) / sum(second), rows being sessions; None where too few days have any of the second.

    Ten days or more without any difference between them are an answer too: the ratio itself, without width.
    """
    rows, day = rows[rows[:, 1] > 0], day[rows[:, 1] > 0]
    found = session_bootstrap(rows, _ratio_of_sums, rng, confidence=confidence, clusters=day)
    if found.low is not None or found.high is not None:
        return found
    parts, days = rows[:, 0] / np.maximum(rows[:, 1], 1e-300), len(np.unique(day))
    if days >= DAYS_WITHOUT_SPREAD_MIN and np.ptp(parts) <= 1e-12 * abs(float(parts[0])):
        return Interval(float(parts[0]), float(parts[0]), confidence, f"{days} days, all the same")
    return None


def share_interval(events: int, trials: int) -> Interval | None:
    """Exact limits of a share; of none and of all, the whole 5 % lies on the one side that is open."""
    if trials == 0:
        return None
    if events == 0:
        return none_of(trials, CONFIDENCE)
    if events == trials:
        none = none_of(trials, CONFIDENCE)
        return none._replace(low=None if none.high is None else 1.0 - none.high, high=1.0)
    return clopper_pearson(events, trials, CONFIDENCE)


def unarmed_share(found: Outcomes, setting: Setting) -> float | None:
    """Share of calm ticks before the window was full: what a longer window or a restart storm costs in watchfulness.

    Counted up to the end of each stretch, whether it tripped or not.
    """
    calm = int(found.calm_ticks.sum())
    return _ratio(int(found.unarmed_ticks[:, found.grid.lookback_ticks.index(setting.lookback_ticks)].sum()), calm)


def floor_ticks(setting: Setting, level_bps: float) -> int:
    """The least delay after a clean step from 0 to `level_bps` that this window allows: max(ceil(b L / d), need)."""
    thresholds = setting.thresholds
    level = max(to_nano_bps(level_bps), thresholds.bias_nano_bps, 1)
    errors = -(-thresholds.bias_nano_bps * thresholds.lookback_ticks // level)
    return max(errors, thresholds.need)


def _false_share_interval(tripped: Bools, day: Ints, rng: np.random.Generator) -> Interval | None:
    exact = share_interval(int(tripped.sum()), len(tripped))
    if exact is None or not 0 < int(tripped.sum()) < len(tripped):
        return exact  # nothing to resample: every resample is like the sample
    resampled = ratio_interval(np.column_stack((tripped, np.ones(len(tripped)))).astype(np.float64), day, rng)
    return _within(wider(exact, resampled) if resampled else exact, 0.0, 1.0)


def _rate_interval(trips: Ints, exposure: Ints, day: Ints, rng: np.random.Generator) -> Interval | None:
    exposed = int(exposure.sum())
    if exposed == 0:
        return None
    exact = garwood(int(trips.sum()), exposed / 1e4, CONFIDENCE)
    rows = np.column_stack((1e4 * trips.astype(np.float64), exposure.astype(np.float64)))
    resampled = ratio_interval(rows, day, rng) if trips.any() else None
    if resampled is None:
        return exact
    return _within(wider(exact, resampled) if trips.sum() <= FEW_EVENTS else resampled, 0.0, None)


def _excess(episodes: tuple[ScoredEpisode, ...], after: Ints, full: Ints, setting: Setting) -> float | None:
    beyond = [
        int(k) + 1 - floor_ticks(setting, abs(episode.level_bps))
        for episode, k, end in zip(episodes, after, full, strict=True)
        if 0 <= k < end
    ]
    return float(np.mean(beyond)) if beyond else None


def _one_sided(found: Outcomes, delay_s: Floats, missed: Bools, sign: int) -> OneSided:
    here = np.array([episode.sign == sign for episode in found.episodes], dtype=np.bool_)
    mean = float(delay_s[here].mean()) if here.any() else None
    return OneSided(sign, int(here.sum()), int((missed & here).sum()), mean)


def _ratio_of_sums(sums: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(sums[:, 1] > 0, sums[:, 0] / sums[:, 1], np.nan)


def _within(interval: Interval, low: float, high: float | None) -> Interval:
    """Student's t knows no bounds; a share and a rate do."""
    below = None if interval.low is None else max(low, interval.low)
    above = None if interval.high is None else interval.high if high is None else min(high, interval.high)
    return interval._replace(low=below, high=above)


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None
