"""What is the recommendation procedure worth? It is run on worlds whose true best setting is known.

A population of sessions stands for the market; what a setting does over all of it is the truth. A trial draws
sessions from it (with replacement, so they are independent), four to a day, and runs the whole procedure on them. Harm:
the recommended setting's true cost is above the live one's. The cost, for this count alone, is

    mean delay / delay budget + the excess of the false share over its budget, in budgets

so no saving of delay excuses leaving the false-trip budget. These worlds show a mechanism, not a market.

    python -m tests.worlds.recommendation [--trials 100] [--population 3000]
"""

from __future__ import annotations

import argparse
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from telemetry_proc.grid import Grid, Setting
from telemetry_proc.holdout import judge, newest
from telemetry_proc.labels import LabelSpec, calm_stretches, episodes
from telemetry_proc.outcomes import DAY_NS, LabelledSession, Outcomes, outcomes
from telemetry_proc.recommend import Recommendation, recommend
from telemetry_proc.search import choose, log_distance, prevalence_binds, tally
from telemetry_proc.verdict import Budgets, Verdict
from tests.worlds.errors import Shift, calm, nano, shifted

TICKS = 1200
TICK_NS = 4_000_000_000
EPISODE_SHARE = 0.25
SESSIONS_A_DAY = 4
MAX_FALSE = Fraction(1, 20)
FROM_ITS_FIRST_TICK = np.zeros(1, dtype=np.int64)
GRID = Grid(
    lookback_ticks=(4, 6, 8, 10, 12, 15, 20, 25, 30, 40, 60, 100, 150),
    bias_threshold_bps=(4.0, 4.5, 5.0, 5.5, 6.0, 6.5, 7.0, 7.5, 8.0, 8.5, 9.0, 10.0, 11.0, 12.0, 14.0),
    prevalence_threshold_bps=(1.0, 3.0, 4.0, 5.0, 6.0, 8.0),
    prevalence_pct=(10.0, 20.0, 40.0, 60.0, 80.0),
)
DEFAULT = Setting(25, 7.0, 5.0, 40.0)
SIZES = (10, 30, 100, 300)


class Case(NamedTuple):
    """A live setting and budgets in a world. `delay_budget`: in units of the true best setting's mean delay."""

    name: str
    live: Setting
    delay_budget: float


class Trial(NamedTuple):
    """What came of one run. Gains are cost saved against live: promised by the data, delivered in truth.

    winner_...: of the search's fastest setting, taken at its word. rule_...: of the search's candidate if it passes the
    hold-out, without the minimum sample and whatever the verdict. Without prefix: of the whole procedure.
    """

    changed: bool
    harmful: bool
    rule_changed: bool
    rule_harmful: bool
    verdict: Verdict
    promised: float
    delivered: float
    winner_promised: float
    winner_delivered: float


class Truth(NamedTuple):
    """Of every setting, over the whole population."""

    false_share: np.ndarray
    delay_s: np.ndarray

    def cost(self, column, max_delay_s):
        """See the module's docstring."""
        excess = max(0.0, self.false_share[column] / float(MAX_FALSE) - 1.0)
        return self.delay_s[column] / max_delay_s + excess


def session(rng, number, *, ticks=TICKS):
    """Sessions differ in how restless they are; a quarter of them hold a saturation."""
    world = calm(rng, ticks, sd_bps=min(3.6, float(rng.lognormal(0.7, 0.3))), rho=float(rng.uniform(0.75, 0.95)))
    if rng.random() < EPISODE_SHARE:
        lasts, ramp = int(rng.integers(150, 500)), int(rng.integers(1, 40))
        onset, sign = int(rng.integers(200, ticks - lasts - 100)), int(rng.choice((-1, 1)))
        world = shifted(world, Shift(onset, onset + lasts, sign, float(rng.uniform(8.5, 20.0)), ramp))
    return labelled(nano(world.errors_bps), number)


def labelled(errors, number, *, spec=LabelSpec()):  # noqa: B008 - frozen
    """As the procedure takes a session: one tick every four seconds, four sessions a day."""
    found = episodes(errors, FROM_ITS_FIRST_TICK, spec)
    tick = np.arange(1, len(errors) + 1)
    started_ns = number * DAY_NS // SESSIONS_A_DAY
    return LabelledSession(
        session_id=number,
        started_ns=started_ns,
        error_nano_bps=errors,
        tick=tick,
        ts_ns=started_ns + tick * TICK_NS,
        starts=FROM_ITS_FIRST_TICK,
        calm=calm_stretches(len(errors), FROM_ITS_FIRST_TICK, found, spec),
        episodes=found,
    )


def population(rng, *, sessions=3000, grid=GRID):
    """What every setting does in that many sessions."""
    return outcomes((session(rng, number) for number in range(sessions)), grid)


def drawn(found: Outcomes, sessions, rng):
    """A sample of independent sessions, as if recorded one after the other."""
    rows = rng.integers(0, len(found.day), sessions)
    of_row = {}
    for at, episode in enumerate(found.episodes):
        of_row.setdefault(episode.session, []).append(at)
    pairs = [(new, at) for new, row in enumerate(rows) for at in of_row.get(int(row), ())]
    started_ns = np.arange(sessions, dtype=np.int64) * (DAY_NS // SESSIONS_A_DAY)
    taken = {
        name: getattr(found, name)[rows]
        for name in (
            "calm_session",
            "calm_ticks",
            "tick_s",
            "complete",
            "false_trips",
            "exposure_ticks",
            "unarmed_ticks",
        )
    }
    return found._replace(
        session_id=np.arange(sessions, dtype=np.int64),
        started_ns=started_ns,
        day=started_ns // DAY_NS,
        episodes=tuple(found.episodes[at]._replace(session=new) for new, at in pairs),
        trip_after=found.trip_after[[at for _, at in pairs]],
        **taken,
    )


def truth_of(found: Outcomes):
    """The population's own values."""
    counted = tally(found, np.ones(len(found.day), dtype=np.bool_))
    return Truth(counted.false_sessions / counted.calm_sessions, counted.delay_mean_s)


def best_setting(truth, grid=GRID):
    """The fastest of those truly within the false-trip budget; of equals the nearest to the default."""
    within = grid.configurable().ravel() & (truth.false_share <= float(MAX_FALSE))
    delay_s = np.where(within, truth.delay_s, np.inf)
    return grid.settings(int(np.lexsort((log_distance(grid, grid.index_of(DEFAULT)), delay_s))[0]))


def cases(best: Setting):
    """The live setting is right, or wrong in one way."""
    return (
        Case("right, budgets met", best, 1.25),
        Case("right, delay budget out of reach", best, 0.7),
        Case("slower than best, budgets met", DEFAULT, 2.5),
        Case("bias threshold too low", DEFAULT._replace(bias_threshold_bps=4.5, prevalence_threshold_bps=4.0), 2.0),
        Case("bias threshold too high", DEFAULT._replace(bias_threshold_bps=10.0), 2.0),
        Case("window too long", DEFAULT._replace(lookback_ticks=100), 2.0),
    )


def trial(found, truth, case: Case, sessions, rng):
    """Run the procedure once and compare with the truth."""
    sample = drawn(found, sessions, rng)
    grid = found.grid
    live, best = grid.index_of(case.live), grid.index_of(best_setting(truth, grid))
    budgets = Budgets(MAX_FALSE, float(case.delay_budget * truth.delay_s[best]))
    result = recommend(sample, case.live, budgets, rng, label_digest="known worlds")
    promised = delivered = 0.0
    if result.recommended:
        promised, delivered = gains(result, truth, live, grid.index_of(result.recommended), budgets)
    winner_promised, winner_delivered = winner(sample, truth, live, budgets)
    ruled = by_the_rule_alone(sample, live, budgets, rng)
    return Trial(
        changed=result.recommended is not None,
        harmful=delivered < 0,
        rule_changed=ruled != live,
        rule_harmful=truth.cost(ruled, budgets.max_delay_s) > truth.cost(live, budgets.max_delay_s),
        verdict=result.judged.verdict,
        promised=promised,
        delivered=delivered,
        winner_promised=winner_promised,
        winner_delivered=winner_delivered,
    )


def gains(result: Recommendation, truth, live, column, budgets):
    """Cost saved by a change: as the hold-out measured it, and truly."""
    judged = result.holdout
    live_share = result.live.false_share
    excess = max(0.0, live_share / float(MAX_FALSE) - 1.0)
    other = max(0.0, (live_share - (judged.false_gain.gain or 0.0)) / float(MAX_FALSE) - 1.0)
    promised = (judged.delay_gain_s.gain or 0.0) / budgets.max_delay_s + excess - other
    return promised, truth.cost(live, budgets.max_delay_s) - truth.cost(column, budgets.max_delay_s)


def by_the_rule_alone(sample, live, budgets, rng):
    """The candidate's column if it passes the hold-out, else live's."""
    held = newest(sample)
    hold = not prevalence_binds(sample, ~held, live)
    choice = choose(sample, ~held, live, budgets.max_false, hold_prevalence=hold)
    if choice is None or choice.column == live or choice.edge:
        return live
    judged = judge(sample, held, (live, choice.column), budgets.max_false, budgets.max_delay_s, rng)
    return choice.column if judged.passed else live


def winner(sample, truth, live, budgets):
    """The same for the fastest setting within the budget in the search, without hold-out, minimum or 1-SE rule."""
    counted = tally(sample, ~newest(sample))
    within = sample.grid.configurable().ravel() & (counted.false_sessions <= MAX_FALSE * counted.calm_sessions)
    if not counted.episodes or not within.any():
        return 0.0, 0.0
    column = int(np.argmin(np.where(within, counted.delay_mean_s, np.inf)))
    seen = Truth(counted.false_sessions / max(counted.calm_sessions, 1), counted.delay_mean_s)
    promised = seen.cost(live, budgets.max_delay_s) - seen.cost(column, budgets.max_delay_s)
    return promised, truth.cost(live, budgets.max_delay_s) - truth.cost(column, budgets.max_delay_s)


def table(found, rng, *, trials=60, sizes=SIZES):
    """The lines of the table, as docs/calibration.md shows them."""
    truth = truth_of(found)
    yield "| live setting is | sessions | winner: promised | delivered | harmful | hold-out alone: changed | harmful "
    yield "| procedure: changed | harmful | promised | delivered | verdicts |\n"
    yield "|---|" + "---:|" * 10 + "---|\n"
    for case in cases(best_setting(truth, found.grid)):
        for sessions in sizes:
            runs = [trial(found, truth, case, sessions, rng) for _ in range(trials)]
            changed = [run for run in runs if run.changed]
            yield f"| {case.name} | {sessions} | {mean(run.winner_promised for run in runs):.2f} "
            yield f"| {mean(run.winner_delivered for run in runs):.2f} "
            yield f"| {percent(run.winner_delivered < 0 for run in runs)} "
            yield f"| {percent(run.rule_changed for run in runs)} | {percent(run.rule_harmful for run in runs)} "
            yield f"| {percent(run.changed for run in runs)} | {percent(run.harmful for run in runs)} "
            yield f"| {shown(run.promised for run in changed)} | {shown(run.delivered for run in changed)} "
            yield f"| {verdicts(runs)} |\n"


def verdicts(runs):
    """How often each came out, most frequent first, in words."""
    counts = {verdict: sum(run.verdict is verdict for run in runs) for verdict in Verdict}
    ordered = sorted((n, str(verdict).lower()) for verdict, n in counts.items() if n)
    return ", ".join(f"{words} {100 * n / len(runs):.0f}%" for n, words in reversed(ordered))


def mean(values):
    """Of any iterable."""
    return float(np.mean(list(values)))


def shown(values):
    """The mean, or a dash for none."""
    values = list(values)
    return f"{mean(values):.2f}" if values else "-"


def percent(flags):
    """The share that is true."""
    return f"{100 * mean(flags):.0f}%"


def main():
    """Print the population's truth, then the table."""
    parser = argparse.ArgumentParser(description="the recommendation procedure on worlds of known truth")
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--population", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    rng = np.random.default_rng(given.seed)
    found = population(rng, sessions=given.population)
    truth = truth_of(found)
    best = best_setting(truth)
    at = GRID.index_of(best)
    print(f"{given.population} sessions of {TICKS:,} ticks, {int(found.calm_session.sum())} calm throughout,", end=" ")
    print(
        f"{len(found.episodes)} scored episodes; {GRID.size:,} settings, {given.trials} trials a row, seed {given.seed}"
    )
    print(f"truly best within 1 false trip in 20 calm sessions: {tuple(best)},", end=" ")
    print(f"false share {100 * truth.false_share[at]:.1f}%, mean delay {truth.delay_s[at]:.1f} s\n")
    for part in table(found, rng, trials=given.trials):
        print(part, end="", flush=True)


if __name__ == "__main__":
    main()
