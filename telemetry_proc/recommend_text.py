"""A recommendation in the words of page one: number, unit, comparison, uncertainty. And the block to paste, if any."""

from __future__ import annotations

import textwrap
from decimal import Decimal

from telemetry_proc.grid import Setting
from telemetry_proc.holdout import Judgement, Paired
from telemetry_proc.intervals import Interval
from telemetry_proc.operating import Operating
from telemetry_proc.recommend import Recommendation
from telemetry_proc.verdict import Budgets, Verdict
from telemetry_proc.wording import count, duration

WIDTH = 100
_LABEL = 9


def recommendation_lines(result: Recommendation) -> list[str]:
    """The whole answer, at most 100 columns; the settings block last, when and only when a change is recommended."""
    said = [
        ("VERDICT", _verdict(result)),
        ("LIVE", f"{result.live.setting.in_words}: {_false(result.live)}; {_delay(result.live)}."),
        ("BUDGETS", _budgets(result.budgets)),
        ("SAMPLE", _sample(result)),
        ("SEARCH", _search(result)),
    ]
    if result.candidate and result.holdout:
        said.append(("HOLD-OUT", _holdout(result.candidate.setting, result.holdout, result.sessions)))
    said.append(("CHANGE", _change(result)))
    said += [("NOTE", f"{note}.") for note in _notes(result)]
    lines = [line for label, text in said for line in _wrapped(label, text)]
    return lines if result.recommended is None else [*lines, "", *settings_block(result.recommended).splitlines()]


def settings_block(setting: Setting) -> str:
    """The five keys as they stand in the configuration file."""
    return (
        "strategy:\n"
        "  anchor_saturation_guard:\n"
        "    enabled: true\n"
        f"    lookback_ticks: {setting.lookback_ticks}\n"
        f"    bias_threshold_bps: {_decimal(setting.bias_threshold_bps)}\n"
        f"    prevalence_threshold_bps: {_decimal(setting.prevalence_threshold_bps)}\n"
        f"    prevalence_pct: {_decimal(setting.prevalence_pct)}\n"
    )


def _decimal(value: float) -> str:
    """All its digits and no exponent: to YAML `1e-09` is a text."""
    return format(Decimal(repr(value)), "f")


def _verdict(result: Recommendation) -> str:
    judged = result.judged
    words = [str(judged.verdict)]
    if judged.verdict is Verdict.NOT_ENOUGH_DATA:
        words.append(f": wanted {'; '.join(judged.would_change_it)}.")
        if judged.leaning:
            words.append(f" Leaning, on averages alone: {judged.leaning.lower()}.")
    else:
        words.append(f". It would change with {'; or '.join(judged.would_change_it)}.")
    return "".join(words)


def _false(live: Operating) -> str:
    if live.false_share is None:
        return "no calm session, so nothing is known of false trips"
    of = f"{live.false_sessions} of {count(live.calm_sessions, 'calm session')}"
    return f"false trips in {of} ({_percent(live.false_share_interval)})"


def _delay(live: Operating) -> str:
    if live.delay_mean_s is None:
        return "no scored episode, so nothing is known of delays"
    late = f", {live.early} early" if live.early else ""
    return (
        f"{live.missed} of {count(live.episodes, 'episode')} missed{late}; mean delay {duration(live.delay_mean_s)}"
        f" ({_seconds(live.delay_mean_s_interval)}), missed ones counted up to their end"
    )


def _budgets(budgets: Budgets) -> str:
    return (
        f"false trips in at most {budgets.max_false.numerator} of {budgets.max_false.denominator} calm sessions; mean"
        f" delay at most {duration(budgets.max_delay_s)}; at most {budgets.max_miss.numerator} of"
        f" {budgets.max_miss.denominator} episodes missed."
    )


def _sample(result: Recommendation) -> str:
    text = (
        f"{count(result.sessions, 'session')} on {count(result.days, 'day')}: {result.calm_sessions:,} calm throughout,"
        f" {count(result.episodes, 'scored episode')}, {result.ambiguous_episodes:,} ambiguous and not scored."
    )
    if result.incomplete_sessions:
        text += f" {result.incomplete_sessions:,} with missing rows that may hide a trip: not counted as calm."
    return text


def _search(result: Recommendation) -> str:
    text = (
        f"{result.searched:,} settings, {result.distinct:,} different behaviours among them in the search sessions;"
        f" looking back over all sessions, {result.beaten_by:,} of them had fewer false trips than live or less delay,"
        " and not more of the other"
    )
    if result.within_budget:
        text += (
            f"; {result.within_budget:,} keep the false-trip budget, {result.within_one_se:,} of those are within one"
            f" standard error ({result.standard_error_s or 0.0:.1f} s) of the fastest"
        )
    if result.overfitting is not None:
        text += f"; probability of overfitting {100 * result.overfitting:.0f}%"
    return text + "."


def _holdout(candidate: Setting, judged: Judgement, sessions: int) -> str:
    on_delay = judged.judged_on == "delay"
    gain = judged.delay_gain_s if on_delay else judged.false_gain
    promised = f"{judged.promised_gain:.1f} s an episode" if on_delay else _per_hundred(judged.promised_gain)
    return (
        f"{candidate.in_words} on the newest {judged.sessions} of {count(sessions, 'session')}"
        f" ({count(judged.episodes, 'episode')}): {_gain(gain, on_delay=on_delay)};"
        f" the search promised {promised}. False trips in {judged.false_sessions} of {judged.calm_sessions} calm"
        f" sessions, the budget allows {judged.false_sessions_max}."
    )


def _gain(gain: Paired, *, on_delay: bool) -> str:
    if gain.gain is None:
        return "no gain could be measured"
    number = f"{gain.gain:+.1f} s delay saved an episode" if on_delay else f"{_per_hundred(gain.gain)} saved"
    if gain.low is None:
        return f"{number}, too few to say how surely"
    low = f"{gain.low:+.1f} s" if on_delay else _per_hundred(gain.low)
    return f"{number}, at least {low} (95%)"


def _change(result: Recommendation) -> str:
    if result.recommended is None:
        return f"Keep {result.live.setting.in_words}: {'; '.join(result.reasons)}."
    return (
        f"From {result.live.setting.in_words} to {result.recommended.in_words}, by the block below. What"
        " the next sessions make of it is the next hold-out."
    )


def _notes(result: Recommendation) -> list[str]:
    notes = list(result.notes)
    if not result.prevalence_bound:
        notes.append(
            "the prevalence condition decided nothing in the search sessions: neither of its values was searched"
        )
    notes.append(f"label {result.label_digest}; label, grid and budgets together {result.digest}")
    return notes


def _percent(interval: Interval | None) -> str:
    if interval is None or interval.high is None:
        return "no limits"
    if not interval.low:
        return f"at most {100 * interval.high:.1f}%, 95%"
    return f"{100 * interval.low:.1f} to {100 * interval.high:.1f}%, 95%"


def _seconds(interval: Interval | None) -> str:
    if interval is None or interval.low is None or interval.high is None:
        return "no limits from so few days"
    return f"{duration(max(interval.low, 0.0))} to {duration(interval.high)}, 95%"


def _per_hundred(share: float) -> str:
    return f"{100 * share:.1f} false trips in 100 calm sessions"


def _wrapped(label: str, text: str) -> list[str]:
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=label.ljust(_LABEL),
        subsequent_indent=" " * _LABEL,
        break_long_words=True,
        break_on_hyphens=False,
    )
