"""What one session says of other thresholds, of its saturated stretches and of its fills."""

from __future__ import annotations

import pytest

from shared.config import build_config
from telemetry_proc.reading import reading
from telemetry_proc.report import build_report
from telemetry_proc.report_text import report_lines
from telemetry_proc.sessions import pick
from telemetry_proc.study import LabelledEpisode, Score, score_of
from telemetry_proc.wording import as_json
from tests.telemetry.recorded_session import GUARD, START_NS, TICK_NS, insert, opened, store_session

CALM, DRAG = 300, 200  # ticks; the guard trips on tick 321
SATURATED = [0.0, 1.0, -1.0] * (CALM // 3) + [8.5] * DRAG
TRIP = 321


def config(**execution):
    block = {"strategy": {"anchor_saturation_guard": GUARD}}
    return build_config(block | ({"execution": execution} if execution else {}), "test").config_json


@pytest.fixture
def studied(tmp_path):
    """Store a session with fills (tick, side, price) of 100 quote against a mid of 1.0, and report it."""

    def study(errors, fills=(), *tampering, **kwargs):
        with opened(tmp_path / "k.db") as conn:
            number = store_session(conn, errors, quoting=False, **kwargs)
            conn.execute("UPDATE system_metrics SET mid = 1.0 WHERE mid IS NOT NULL")
            for seq, (tick, side, price) in enumerate(fills, 50_000):
                fill = {"liquidity": "maker", "base_amount": "100", "quote_amount": "100", "mid": 1.0}
                insert(conn, "fills", session_id=number, seq=seq, tick=tick, ts_ns=START_NS + tick * TICK_NS,
                       trade_id=f"t{seq}", order_id=f"o{seq}", side=side, price=price, **fill)  # fmt: skip
            for statement in tampering:
                conn.execute(statement)
        with reading(tmp_path / "k.db") as conn:
            return build_report(conn, pick(conn, "latest"))

    return study


def stretch(first, last, *, ambiguous=False):
    return LabelledEpisode(first, first + 5, last, 1, 9.0, ambiguous, None, None, 0, 0, None)


@pytest.mark.parametrize(
    ("stretches", "trip", "score"),
    [
        ((), None, Score(None, 0, 0, 0, 0, calm=True)),
        ((), 50, Score(50, 0, 0, 1, 0, calm=True)),
        ((stretch(40, 60),), 50, Score(50, 1, 0, 0, 0, calm=False)),
        ((stretch(40, 60),), 40, Score(40, 1, 0, 0, 0, calm=False)),  # early, not false
        ((stretch(40, 60),), 60, Score(60, 1, 0, 0, 0, calm=False)),
        ((stretch(40, 60),), 39, Score(39, 0, 0, 1, 0, calm=False)),
        ((stretch(40, 60),), 61, Score(61, 0, 0, 1, 1, calm=False)),
        ((stretch(40, 60),), None, Score(None, 0, 0, 0, 1, calm=False)),
        ((stretch(40, 60, ambiguous=True),), None, Score(None, 0, 0, 0, 0, calm=False)),
        ((stretch(40, 60, ambiguous=True),), 50, Score(50, 0, 1, 0, 0, calm=False)),
        ((stretch(10, 20), stretch(40, 60), stretch(90, 99)), 50, Score(50, 1, 0, 0, 1, calm=False)),
    ],
)
def test_given_stretches_when_a_trip_is_scored_then_it_lies_in_one_or_is_false_and_a_spent_guard_misses_nothing(
    stretches, trip, score
):
    assert score_of(stretches, trip) == score


def test_given_a_saturated_stretch_when_labelled_then_its_cause_and_its_fills_stand_beside_it(studied):
    fills = [(200, "bid", "0.9"), (310, "bid", "1.001"), (318, "ask", "1.002"), (499, "bid", "1.0")]
    report = studied(
        SATURATED,
        fills,
        "UPDATE system_metrics SET anchor_mode = 'amm' WHERE tick > 400",
        "UPDATE system_metrics SET market_status = 'STALE' WHERE tick BETWEEN 301 AND 320",
    )
    (found,) = report.labels.episodes

    assert (found.onset_tick, found.last_tick, found.ambiguous) == (301, 500, False)
    assert (found.capped_pct, found.market_not_ok_pct) == (50.0, 10.0)
    # 100 quote each: -10 bps and +20 bps of them; the last fill has no mid 30 s later.
    assert (found.fills, found.fills_marked) == (3, 2)
    assert found.markout_quote == pytest.approx(-0.1 + 0.2)
    assert "level +8.50 bps; capped 50.0%, market not OK 10.0%; 2 fills, +0.10 RLUSD after 30 s" in " ".join(
        " ".join(report_lines(report)).split()
    )


def test_given_a_stretch_without_fills_or_names_when_labelled_then_none_is_not_zero(studied):
    report = studied(SATURATED, (), "UPDATE system_metrics SET anchor_mode = NULL, market_status = NULL")
    (found,) = report.labels.episodes

    assert (found.capped_pct, found.market_not_ok_pct) == (None, None)
    assert (found.fills, found.fills_marked, found.markout_quote) == (0, 0, None)
    assert "capped" not in next(line for line in report_lines(report) if "level +8.50" in line)


@pytest.mark.parametrize(("execution", "late"), [({}, 1), ({"paper": {"latency_ledgers": 0}}, 2)])
def test_given_the_latency_of_a_cancel_when_fills_come_after_the_trip_then_only_later_ones_are_noted(
    studied, execution, late
):
    fills = [(TRIP, "bid", "1.0"), (TRIP + 1, "bid", "1.0"), (TRIP + 2, "bid", "1.0")]
    report = studied(SATURATED, fills, config_json=config(**execution))

    assert report.trips[0].tick == TRIP
    (note,) = report.notes
    assert note.startswith(f"{late} fill{'s' if late > 1 else ''} came later than a cancel should have let through")


def test_given_an_earlier_trip_when_its_worth_is_counted_then_fills_under_way_at_its_cancel_are_not_avoided(studied):
    report = studied(SATURATED, [(TRIP - 2, "bid", "1.003"), (TRIP, "bid", "1.001"), (TRIP + 1, "bid", "1.002")])
    effects = {effect["bias_threshold_bps"]: effect for effect in report.counterfactual}
    earlier = effects[6.0]

    assert report.notes == ()
    # Trips 3 ticks earlier; a fill on the tick after that would still have come.
    assert (earlier["trip_tick"], earlier["fills_avoided"]) == (TRIP - 3, 2)
    assert earlier["net_quote"] == pytest.approx(0.1 + 0.2)
    assert effects[7.0]["direction"] == "same"
    assert "Bias 6.5 would have avoided 1 fill: +0.20 RLUSD after 30 s (loss avoided 0.20, income forgone 0.00)." in (
        " ".join(" ".join(report_lines(report)).split())
    )


def test_given_fills_while_the_guard_waited_when_reported_then_what_the_wait_cost_is_told(studied):
    report = studied(SATURATED, [(300, "bid", "1.1"), (301, "bid", "1.1"), (305, "bid", "1.002"), (TRIP, "ask", "1.0")])
    (row,) = [row for row in report.markouts_while_waiting if (row.side, row.horizon) == ("both", "30 s")]

    assert report.guard.ladder.error.tick == 301
    assert (row.fills, row.markout_bps) == (2, pytest.approx(-10.0))
    assert (
        "In the 20 ticks from onset to trip: capture -10.00, drift +0.00, net -10.00 bps (-0.20 RLUSD), 2 fills."
        in (" ".join(" ".join(report_lines(report)).split()))
    )


def test_given_no_fill_while_the_guard_waited_when_reported_then_that_is_said(studied):
    report = studied(SATURATED, [(100, "bid", "1.0")])

    assert report.markouts_while_waiting == ()
    assert "None of the fills came in the 20 ticks from onset to trip." in " ".join(report_lines(report))


def test_given_a_guard_that_was_off_when_it_would_have_tripped_then_its_own_bias_is_the_one_told(studied):
    report = studied(SATURATED, [(400, "bid", "1.001")], guard={"enabled": False})

    assert report.markouts_while_waiting is None
    assert "Bias 7, had the guard been enabled, would have avoided 1 fill: +0.10 RLUSD" in " ".join(
        report_lines(report)
    )


def test_given_fills_without_later_mids_when_reported_then_no_number_is_made_up(studied):
    report = studied(SATURATED[:60], [(60, "bid", "1.0")])

    assert "After 30 s: no fill has a mid in time, 1 without a later mid; no interval." in " ".join(
        report_lines(report)
    )
    (all_of_them,) = [row for row in report.markouts_all if (row.side, row.horizon) == ("both", "30 s")]
    assert (all_of_them.fills, all_of_them.markout_bps, all_of_them.net_quote) == (0, None, None)
    assert as_json(report)["labels"]["score"]["false_trips"] == 0
