"""Page one's words on the error: how it was distributed, and which stretches of it count as saturated."""

from __future__ import annotations

from collections.abc import Iterator

from telemetry_proc.distribution import Distribution
from telemetry_proc.study import LabelledEpisode, Labels
from telemetry_proc.trade_text import gained
from telemetry_proc.wording import bps, count, duration, pct

_STRETCHES_MAX = 3


def error_lines(error: Distribution) -> Iterator[str]:
    """Moments, quantiles, zones, anchor modes, memory, and the ticks without an error."""
    if not error.recorded and error.ticks:
        yield "Not recorded."
        return
    if not error.n:
        yield f"No data: no anchor error on any of {count(error.ticks, 'tick')}."
    else:
        yield from _moments(error)
        yield from _zones(error)
        yield "by mode  " + "; ".join(
            f"{mode} {count(part.n)} (mean {bps(part.mean_bps, signed=True)}, p95 {bps(part.abs_p95_bps)})"
            for mode, part in error.by_anchor_mode.items()
        )
        yield from _memory(error)
    nulls = error.nulls
    if nulls.ticks:
        statuses = ", ".join(f"{status} {number:,}" for status, number in nulls.by_market_status.items())
        yield f"nulls    {count(nulls.ticks, 'tick')}, longest run {count(nulls.longest_run_ticks)}: {statuses}"


def _moments(error: Distribution) -> Iterator[str]:
    assert error.signs is not None  # there is an error, so it has a sign and a size
    assert error.abs_error is not None
    yield (
        f"{count(error.n, 'error')}: mean {bps(error.mean_bps, signed=True)}, median "
        f"{bps(error.median_bps, signed=True)}, sd {bps(error.sd_bps)}, MAD {bps(error.mad_bps)} bps"
    )
    names = ("p50", "p75", "p90", "p95", "p99", "p99.9", "max")
    values = "  ".join(f"{name} {bps(value)}" for name, value in zip(names, error.abs_error, strict=True))
    yield f"|error|  {values} bps"
    yield (
        f"sides    {pct(error.signs.positive_pct)} above mid, {pct(error.signs.negative_pct)} below; "
        f"longest run from 5 bps on {count(error.longest_run_from_5bps_ticks, 'tick')}"
    )


def _zones(error: Distribution) -> Iterator[str]:
    yield "zone     " + "".join(f"{zone.zone_bps + ' bps':>12}" for zone in error.zones)
    yield "ticks    " + "".join(f"{zone.ticks:>12,}" for zone in error.zones)
    yield "share    " + "".join(f"{pct(zone.share_pct):>12}" for zone in error.zones)
    yield "time     " + "".join(f"{duration(zone.seconds):>12}" for zone in error.zones)


def _memory(error: Distribution) -> Iterator[str]:
    """How much the errors repeat themselves, and what the window made of them."""
    memory, rolling = error.autocorrelation, error.rolling
    if memory is not None:
        worth = "fewer than 50" if memory.effective_n is None else f"about {count(round(memory.effective_n))}"
        yield f"memory   lag-1 autocorrelation {memory.rho_1:.2f}; worth {worth} independent errors"
    if rolling is not None and rolling.mean is not None:
        sizes = rolling.mean.abs_mean
        yield (
            f"window   {count(rolling.windows, 'full window')}: |mean| median {bps(sizes.p50_bps)}, p99 "
            f"{bps(sizes.p99_bps)}, max {bps(sizes.max_bps)} bps"
        )


def label_lines(labels: Labels, quote: str | None) -> Iterator[str]:
    """What counts as saturated, and where it was."""
    spec = labels.spec
    rule = (
        f"{spec.beta_bps:g} bps ({spec.beta_source}) for {count(spec.persist_ticks, 'error')} or more; "
        f"label {labels.digest}"
    )
    found = len(labels.episodes)
    stretches = "1 stretch" if found == 1 else f"{count(found)} stretches"
    yield f"{stretches if found else 'No stretch'} beyond {rule}."
    for stretch in labels.episodes[:_STRETCHES_MAX]:
        yield f"ticks {count(stretch.onset_tick)} to {count(stretch.last_tick)}: {'; '.join(_said(stretch, quote))}"
    if found > _STRETCHES_MAX:
        yield f"and {found - _STRETCHES_MAX:,} more, see --json"


def _said(stretch: LabelledEpisode, quote: str | None) -> Iterator[str]:
    yield f"level {bps(stretch.sign * stretch.level_bps, signed=True)} bps"
    if stretch.ambiguous:
        yield "ambiguous, not scored"
    causes = [
        f"{name} {pct(share)}"
        for name, share in (("capped", stretch.capped_pct), ("market not OK", stretch.market_not_ok_pct))
        if share is not None
    ]
    if causes:
        yield ", ".join(causes)
    if stretch.markout_quote is not None:
        brought = f"{gained(stretch.markout_quote)} {quote or '(unnamed)'}"
        yield f"{count(stretch.fills_marked, 'fill')}, {brought} after 30 s"
    else:
        yield f"{count(stretch.fills, 'fill')}{', none with a markout' if stretch.fills else ''}"
