"""What stands in each section of the page beside its plots: tiles, tables, lists. All from the report object alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from telemetry_proc.figure_style import EVENT_STYLE
from telemetry_proc.page_parts import NOT_RECORDED, bullets, html, none, page_one, pairs, records, shown, table, terms
from telemetry_proc.report_parts import Part, at, entries, items, number, part, text
from telemetry_proc.wording import bps, clock_time, count, duration, money, pct, to_the_second

_MARKOUTS_MAX = 200
_MODES_MAX = 200
_RESULTS_MAX = 60

_MARKOUT_KEYS = ("error_bin", "side", "horizon", "fills", "fills_dropped", "notional_quote", "capture_bps", "drift_bps",
                 "markout_bps", "markout_interval_bps", "net_quote")  # fmt: skip
_EFFECT_KEYS = ("bias_threshold_bps", "direction", "trip_tick", "fills_avoided", "loss_avoided_quote",
                "income_forgone_quote", "net_quote", "net_low_quote", "net_high_quote", "ticks_unseen")  # fmt: skip

_RUNGS = (
    ("error", "(a) |error| at the bias threshold"),
    ("mean", "(b) |window mean| at the bias threshold"),
    ("prevalence", "(c) share at the prevalence threshold"),
    ("both", "(d) both: the trip"),
)


def tiles(report: Any) -> str:
    """Six numbers to begin with."""
    cells = "".join(
        f'<div class="{tone}"><dt>{html(name)}</dt><dd>{html(value)}<small>{html(note)}</small></dd></div>'
        for name, value, note, tone in _tiles(report)
    )
    return f'<dl class="tiles">{cells}</dl>'


def _tiles(report: Any) -> Iterator[tuple[str, str, str, str]]:
    guard, ladder = part(report, "guard"), _ladder(report)
    state, trip = text(guard, "state") or NOT_RECORDED, part(ladder, "both")
    tripped = state == "tripped"
    armed_pct = number(guard, "armed_pct")
    armed = "" if armed_pct is None else f"armed {pct(armed_pct)} of ticks"
    yield ("Guard", state, f"at tick {_count(trip, 'tick')}" if tripped else armed, "bad" if tripped else "")
    first, bias = part(ladder, "error"), number(guard, "bias_threshold_bps")
    height = "the bias threshold" if bias is None else f"{bias:g} bps"
    yield (f"|error| first at {height}", f"tick {_count(first, 'tick')}" if first else _unmet(report),
           clock_time(text(first, "time")) if first else "", "")  # fmt: skip
    lag, clean = number(ladder, "lag_ticks"), number(report, "explanation", "floor", "lag_ticks")
    least = "" if clean is None else f"; a clean shift takes {count(int(clean), 'tick')}"
    yield ("From there to the trip", _DASH if lag is None else count(int(lag), "tick"),
           "" if lag is None else duration(number(ladder, "lag_s")) + least, "")  # fmt: skip
    sizes = part(report, "error", "abs_error")
    yield ("|error|, 95th percentile", f"{bps(number(sizes, 'p95_bps'))} bps" if sizes else "no data",
           f"largest {bps(number(sizes, 'max_bps'))}" if sizes else "", "")  # fmt: skip
    traded = part(report, "money")
    yield (
        "Fills",
        _count(traded, "fills"),
        f"{_count(traded, 'maker_fills')} as maker" if traded.get("fills_recorded", traded) else "",
        "",
    )
    begin, end = number(traded, "mark_value_first_quote"), number(traded, "mark_value_last_quote")
    change = None if begin is None or end is None else end - begin
    yield ("Value at mid", "no data" if change is None else f"{change:+,.2f}",
           "" if end is None else f"to {money(end, text(traded, 'quote'))}", "")  # fmt: skip


_DASH = "–"


def _unmet(report: Any) -> str:
    """What a threshold that no stored error reached is called; "never" only where nothing can hide that one did."""
    if not part(report, "explanation"):
        return "not known"
    unseen = number(report, "ticks", "missing") or items(report, "guard", "hiding")
    return "not on what is stored" if unseen else "never"


def _count(value: Part, key: str) -> str:
    found = number(value, key)
    return "no data" if found is None else f"{found:,.0f}"


def facts(report: Any) -> str:
    """One line about who ran."""
    session, ticks = part(report, "session"), part(report, "ticks")
    recorded = number(ticks, "recorded")
    known = (
        text(session, "venue_mode"),
        text(session, "status"),
        None if recorded is None else f"{count(int(recorded), 'tick')} in {duration(number(ticks, 'duration_s'))}",
        f"started {to_the_second(text(session, 'started_at'))}",
        _labelled("config", text(session, "config_hash")),
        _labelled("uid", text(session, "uid")),
    )
    return "".join(f"<span>{html(fact)}</span>" for fact in known if fact)


def _labelled(name: str, value: str | None) -> str | None:
    return None if value is None else f"{name} {value}"


def warning(report: Any) -> str:
    """What must be known before anything else is read."""
    wrong = part(report, "guard", "disagreement") or part(report, "fidelity", "disagreement")
    if not wrong:
        return ""
    said = f"recorded {wrong.get('recorded')}, recomputed {wrong.get('recomputed')}"
    where = f"tick {shown('tick', wrong.get('tick'))}: {wrong.get('what')} {said}"
    return (
        f'<p class="warn">The guard, run again, disagrees with the record at {html(where)}. '
        "Do not rely on this page.</p>"
    )


def first_page(report: Any) -> str:
    """Page one, as in the terminal."""
    lines = items(report, "page")
    return page_one(lines) if lines else none("Page one is not in this report.")


def event_key(report: Any) -> str:
    """What the letters above the plots mean."""
    listed = "".join(
        f'<li><i style="background:{EVENT_STYLE[event["kind"]][1]}">{EVENT_STYLE[event["kind"]][0]}</i>'
        f"{html(event.get('label'))}: tick {html(_count(event, 'tick'))}</li>"
        for event in entries(report, "plots", "events")
        if event.get("kind") in EVENT_STYLE
    )
    more = number(report, "plots", "events_left_out")
    rest = f"<li>and {more:,} more</li>" if more else ""
    return f'<ul class="events">{listed}{rest}</ul>' if listed else ""


def trip(report: Any) -> str:
    """The ladder, what explains it, and the ladders beside it."""
    ladder, explanation = _ladder(report), part(report, "explanation")
    rows = []
    for name, meaning in _RUNGS if ladder else ():
        rung = part(ladder, name)
        rows.append(
            [meaning, _count(rung, "tick"), clock_time(text(rung, "time")), bps(number(rung, "error_bps"), signed=True),
             bps(number(rung, "mean_bps"), signed=True), pct(number(rung, "prevalence_pct"))]
            if rung
            else [meaning, _unmet(report), *[_DASH] * 4]
        )  # fmt: skip
    heads = ["first time that", "tick", "time", "error, bps", "mean, bps", "share"]
    found = table("The ladder", heads, rows) if rows else none("The ladder is not recorded.")
    plain = {key: value for key, value in explanation.items() if not isinstance(value, dict | list | tuple)}
    found += f'<div class="tables">{pairs("Why then", plain)}{_nested(explanation, ("ladder",))}</div>'
    return found + _other_ladders(explanation)


def _nested(value: Part, besides: tuple[str, ...] = ()) -> str:
    return "".join(
        pairs(_titled(key), inner) for key, inner in value.items() if isinstance(inner, dict) and key not in besides
    )


def _titled(key: str) -> str:
    return str(key).replace("_", " ").capitalize()


def _other_ladders(explanation: Part) -> str:
    rows = [
        {"bias_threshold_bps": number(one, "bias_threshold_bps")}
        | {f"first_{name}_tick": number(one, "ladder", name, "tick") for name in ("error", "mean", "prevalence")}
        | {"trip_tick": number(one, "ladder", "both", "tick"), "lag_ticks": number(one, "ladder", "lag_ticks")}
        for one in entries(explanation, "ladders")
    ]
    return records("The ladder under other bias thresholds", rows)


def _ladder(report: Any) -> Part:
    return part(report, "explanation", "ladder") or part(report, "guard", "ladder")


def distribution(report: Any) -> str:
    """Zones and nulls; then all errors, parts of them and the guard's window side by side."""
    error = part(report, "error")
    if not error:
        return none("The distribution is not in this report.")
    nulls, statuses = part(error, "nulls"), part(error, "nulls", "statuses")
    hidden = {"statuses", "by_market_status"} if statuses else set()
    small = records("Time in zone", entries(error, "zones")) + pairs("Signs", part(error, "signs"))
    small += pairs("Ticks without an error", {key: value for key, value in nulls.items() if key not in hidden})
    small += records("By market status", [{"status": name, **part(statuses, name)} for name in statuses])
    return f'<div class="tables">{small}</div>{_side_by_side(error)}'


_STATISTICS = (
    ("n", "n"),
    *((name, name) for name in ("mean", "median", "sd", "mad", "skew")),
    *((f"|x| {name.replace('p999', 'p99.9')}", name) for name in ("p50", "p75", "p90", "p95", "p99", "p999", "max")),
    *((f"|x| >= {level} bps, %", f"pct_{level}bps") for level in (5, 6, 7, 8)),
    ("lag-1 autocorrelation", "rho_1"),
    ("autocorrelation time", "tau_int"),
    ("independent values", "effective_n"),
    ("sd of the window's mean", "window_sd"),
    ("its sigmas to the threshold", "sigma_to_threshold"),
)


def _side_by_side(error: Part) -> str:
    """A row a statistic, a column a sample: bps, but for the share, which is in percent."""
    samples = {"all errors": _statistics(error)}
    samples |= {f"{side} the trip": _statistics(part(error, f"{side}_trip")) for side in ("before", "after")}
    samples |= {f"anchor {mode}": _statistics(found) for mode, found in part(error, "by_anchor_mode").items()}
    rolling = part(error, "rolling")
    samples["window mean"] = _statistics(part(rolling, "mean")) | {"n": number(rolling, "windows")}
    samples["window share, %"] = _statistics(part(rolling, "share"))
    kept = {name: found for name, found in samples.items() if any(value is not None for value in found.values())}
    rows = [
        [said, *(_DASH if found.get(key) is None else _compact(found[key]) for found in kept.values())]
        for said, key in _STATISTICS
        if any(found.get(key) is not None for found in kept.values())
    ]
    return table("Side by side, in bps", ["", *map(str, kept)], rows) if rows else ""


def _statistics(sample: Any) -> dict[str, Any]:
    """The statistics of a sample by their names without unit, from wherever the report has them."""
    levels = ("errors", "abs_error", "abs_mean", "share", "at_or_above", "autocorrelation")
    found: dict[str, Any] = {"window_sd": number(sample, "window_noise", "sd_bps")}
    found["sigma_to_threshold"] = number(sample, "window_noise", "sigma_to_threshold")
    for values in (part(sample), part(sample, "errors"), *(part(sample, level) for level in levels),
                   *(part(sample, "errors", level) for level in levels)):  # fmt: skip
        for key in values:
            if number(values, str(key)) is not None:
                found.setdefault(str(key).removesuffix("_bps").removesuffix("_pct"), values[key])
    return found


def _compact(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.2f}"


def _plain(value: Any) -> bool:
    return not isinstance(value, dict | list | tuple)


def what_if(report: Any) -> str:
    """The results as a table where they are few."""
    results = entries(report, "what_if", "results")
    return records("First trips", results) if len(results) <= _RESULTS_MAX else ""


def trades(report: Any) -> str:
    """Markouts, other thresholds, sums."""
    rows, other = entries(report, "markouts"), entries(report, "counterfactual")
    found = records("Markouts of all fills", entries(report, "markouts_all"), _MARKOUT_KEYS)
    found += records(f"Markouts by |error|{_only(rows, _MARKOUTS_MAX)}", rows[:_MARKOUTS_MAX], _MARKOUT_KEYS)
    found += records("Another bias threshold, against the session's own", other, _EFFECT_KEYS)
    sums = pairs("What changed hands", part(report, "money")) + pairs("Orders", part(report, "orders"))
    return f'{found}<div class="tables">{sums}</div>'


def _only(rows: list[Part], most: int) -> str:
    return f" (the first {most} of {len(rows):,} rows)" if len(rows) > most else ""


def across(report: Any) -> str:
    """Every part of `across` that is a table."""
    return "".join(
        records(_titled(key), entries(report, "across", key)) for key in part(report, "across") if key != "operating"
    )


def record(report: Any) -> str:
    """What the numbers rest on."""
    modes = entries(report, "mode_history")
    trips = entries(report, "trips")
    labels = {key: value for key, value in part(report, "labels").items() if key != "episodes"}
    found = records("Breaker events", trips, ("breaker", "tick", "triggered_at", "context"))
    found += records(f"Modes{_only(modes, _MODES_MAX)}", modes[:_MODES_MAX])
    found += f'<div class="tables">{pairs("Session", part(report, "session"))}{pairs("Guard", _flat(report, "guard"))}'
    found += f"{pairs('Ticks', part(report, 'ticks'))}{pairs('Labels', labels)}</div>"
    found += records("Episodes", entries(report, "labels", "episodes"))
    notes = [str(note) for note in items(report, "notes")]
    found += f"<h3>Quality of the record</h3>{bullets(notes)}" if notes else ""
    found += terms(definitions(report))
    command = text(report, "command")
    return found + ("" if command is None else f'<div class="card"><code class="command">{html(command)}</code></div>')


def definitions(report: Any) -> Iterator[tuple[str, str]]:
    """Words and meanings, from an object or from a list of pairs or sentences."""
    found = at(report, "definitions")
    if isinstance(found, dict):
        yield from ((str(name), str(meaning)) for name, meaning in found.items())
    for entry in items(report, "definitions"):
        if isinstance(entry, list | tuple) and len(entry) == 2:
            yield str(entry[0]), str(entry[1])
        else:
            yield "", str(entry)


def _flat(report: Any, name: str) -> dict[str, Any]:
    return {key: value for key, value in part(report, name).items() if _plain(value)}
