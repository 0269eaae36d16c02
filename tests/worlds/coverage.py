"""How often does a 95 % interval hold the truth? Counted, for every kind of interval that is printed."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from telemetry_proc.intervals import Interval, clopper_pearson, garwood, session_bootstrap, session_t, wider
from telemetry_proc.operating import share_interval
from tests.worlds import populations

FEW_EVENTS = 5  # up to here a rate shows the wider of its two intervals


class Covered(NamedTuple):
    """Of `trials` samples: how many intervals held the truth, how many said they could not tell."""

    kind: str
    sessions: int
    trials: int
    held: int
    silent: int
    width: float  # median, in units of the truth

    @property
    def share(self):
        """Of the intervals that were given."""
        return self.held / (self.trials - self.silent)


def coverage(kind, population, truth, interval_of, rng, *, sessions, trials):
    """Draw samples with replacement, ask for the interval each time, count."""
    held = silent = 0
    widths = []
    units = len(population.rows) if population.day is None else int(population.day[-1]) + 1
    per_unit = len(population.rows) // units
    for _ in range(trials):
        drawn = rng.integers(0, units, sessions // per_unit)
        rows = population.rows[(drawn[:, None] * per_unit + np.arange(per_unit)).ravel()]
        low, high, *_ = interval_of(rows, rng)
        if low is None and high is None:
            silent += 1
            continue
        low, high = -math.inf if low is None else low, math.inf if high is None else high
        held += low <= truth <= high
        widths.append((high - low) / abs(truth))
    return Covered(kind, sessions, trials, held, silent, float(np.median(widths)))


# --- the kinds: each from the rows of a sample


def share_of_sessions(rows, rng):
    return clopper_pearson(int(rows[:, 0].sum()), len(rows))


def share_with_none(rows, rng):
    return share_interval(int(rows[:, 0].sum()), len(rows))


def share_upper_90(rows, rng):
    return clopper_pearson(int(rows[:, 0].sum()), len(rows), 0.90, "upper")


def rate_exact(rows, rng):
    return garwood(int(rows[:, 0].sum()), rows[:, 1].sum())


def rate_printed(rows, rng):
    resampled = ratio(rows, rng)
    return wider(rate_exact(rows, rng), resampled) if rows[:, 0].sum() <= FEW_EVENTS else resampled


def ratio(rows, rng, clusters=None):
    return session_bootstrap(rows[:, :2], lambda sums: sums[:, 0] / sums[:, 1], rng, clusters=clusters)


def ratio_by_day(rows, rng):
    return ratio(rows, rng, np.arange(len(rows)) // 3)


def mean_by_session(rows, rng):
    return session_t(rows[:, 0] / rows[:, 1])


def share_of_episodes(rows, rng):
    return share_interval(int(rows[:, 2].sum()), int(rows[:, 1].sum()))


def share_of_ticks(rows, rng):
    return ratio(rows[:, 2:], rng)


def naive_share_of_ticks(rows, rng):
    share, ticks = rows[:, 2].sum() / rows[:, 3].sum(), rows[:, 3].sum()
    return normal(share, math.sqrt(share * (1 - share) / ticks), "as if ticks were independent")


def mean_of_fills(rows, rng):
    return session_bootstrap(rows[:, [3, 2]], lambda sums: sums[:, 0] / sums[:, 1], rng)


def naive_mean_of_fills(rows, rng):
    fills, total, squares = rows[:, 2:].sum(axis=0)
    mean = total / fills
    return normal(mean, math.sqrt((squares / fills - mean * mean) / fills), "as if fills were independent")


def normal(mean, error, method):
    return Interval(mean - 1.96 * error, mean + 1.96 * error, 0.95, method)


# --- the study


def studies(rng):
    """(kind, population, truth, interval of a sample), populations made once."""
    calm = populations.calm_sessions(rng)
    episodes = populations.episode_sessions(rng)
    filled = populations.filled_sessions(rng)
    days = populations.sessions_of_days(rng)
    yield "false-trip sessions: Clopper-Pearson", calm, calm.rows[:, 0].mean(), share_of_sessions
    yield "false-trip sessions: the same, one-sided when none or all", calm, calm.rows[:, 0].mean(), share_with_none
    yield "false-trip sessions: upper 90 % limit of the search", calm, calm.rows[:, 0].mean(), share_upper_90
    yield "false trips per tick: Garwood alone", calm, quotient(calm, 0, 1), rate_exact
    yield "false trips per tick: session bootstrap alone", calm, quotient(calm, 0, 1), ratio
    yield "false trips per tick: as printed", calm, quotient(calm, 0, 1), rate_printed
    yield "share of ticks >= 5 bps: session bootstrap", calm, quotient(calm, 2, 3), share_of_ticks
    yield "share of ticks >= 5 bps: *ticks as independent*", calm, quotient(calm, 2, 3), naive_share_of_ticks
    yield "mean delay, missed ones as long as they last: session bootstrap", episodes, quotient(episodes, 0, 1), ratio
    yield "mean of the sessions' mean delays: Student t", episodes, sessions_mean(episodes), mean_by_session
    yield "recall of episodes: Clopper-Pearson", episodes, quotient(episodes, 2, 1), share_of_episodes
    yield "markout by notional: session bootstrap", filled, quotient(filled, 0, 1), ratio
    yield "mean of the sessions' markouts: Student t", filled, sessions_mean(filled), mean_by_session
    yield "mean markout of fills: session bootstrap", filled, quotient(filled, 3, 2), mean_of_fills
    yield "mean markout of fills: *fills as independent*", filled, quotient(filled, 3, 2), naive_mean_of_fills
    yield "markout, 3 sessions a day: bootstrap by day", days, quotient(days, 0, 1), ratio_by_day
    yield "markout, 3 sessions a day: *bootstrap by session*", days, quotient(days, 0, 1), ratio


def quotient(population, part, whole):
    return population.rows[:, part].sum() / population.rows[:, whole].sum()


def sessions_mean(population):
    return (population.rows[:, 0] / population.rows[:, 1]).mean()


def table(rng, *, trials=1000, sizes=(12, 39, 99)):
    """The lines of the table, as docs/calibration.md shows them."""
    columns = " | ".join(f"{n} sessions" for n in sizes)
    yield f"| a 95 % interval of ... ({trials:,} samples each) | truth | {columns} |"
    yield "|---|---:|" + "---:|" * len(sizes)
    for kind, population, truth, interval_of in studies(rng):
        counted = (
            coverage(kind, population, truth, interval_of, rng, sessions=sessions, trials=trials) for sessions in sizes
        )
        yield f"| {kind} | {truth:.3g} | " + " | ".join(map(said, counted)) + " |"


def said(covered):
    width = f"width {covered.width:.2g}" if math.isfinite(covered.width) else "one-sided"
    silent = f", {covered.silent / covered.trials:.1%} silent" if covered.silent else ""
    return f"{covered.share:.1%} ({width}{silent})"
