"""The record against the guard's own code: what is compared, what cannot be, and that neither is ever confused."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.settings import AnchorSaturationGuard
from telemetry_proc.fidelity import replay
from telemetry_proc.guard_record import GuardTrip, guard_settings, guard_trips
from telemetry_proc.reading import reading
from telemetry_proc.sessions import pick
from telemetry_proc.tick_columns import NOT_RECORDED, read_ticks
from tests.telemetry.legacy_databases import BEFORE_ANCHOR_ERROR, legacy
from tests.telemetry.recorded_columns import SETTINGS, changed, columns_of, recorded, without
from tests.telemetry.recorded_session import calm_then_drag, opened, store_session

NOTHING_TO_COMPARE = "no recorded guard state to compare"
DRAG = [0.0] * 6 + [8.0] * 8  # trips at tick 10, with a window of four


def test_given_an_untouched_record_when_replayed_then_every_tick_and_the_trip_agree():
    columns, trips = recorded([None, *DRAG])

    found = replay(columns, SETTINGS, trips)

    assert (found.state, found.checked_ticks, found.unknown_ticks) == ("ok", 15, 0)
    assert found.recorded_trip_tick == found.replayed_trip_tick == 11
    assert (found.trip_comparable, found.may_hide_a_breach, found.notes) == (True, False, ())


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("guard_window_n", 3),
        ("guard_window_n", NOT_RECORDED),
        ("guard_mean_bps", math.nextafter(8.0, 9.0)),
        ("guard_mean_bps", math.nan),
        ("guard_prevalence_pct", 99.0),
    ],
)
def test_given_one_recorded_value_changed_when_replayed_then_its_place_is_named(column, value):
    columns, trips = recorded(DRAG)

    found = replay(changed(columns, column, 12, value), SETTINGS, trips)

    assert found.state == "mismatch"
    assert (found.disagreement.tick, found.disagreement.what) == (12, column)
    assert found.disagreement.recorded == (None if value == NOT_RECORDED or math.isnan(value) else value)
    assert found.replayed_trip_tick == 10, "the rest was replayed all the same"


@pytest.mark.parametrize(
    ("name", "value"),
    [("sum_error_nano_bps", 1), ("prevalent_n", 3), ("prevalent_n", "4"), ("lookback_ticks", 5),
     ("bias_threshold_bps", 7.5), ("prevalence_threshold_bps", 5.5), ("prevalence_pct_threshold", 40.0)],
)  # fmt: skip
def test_given_a_breaker_that_wrote_other_numbers_when_replayed_then_it_is_a_mismatch(name, value):
    columns, (trip,) = recorded(DRAG)

    found = replay(columns, SETTINGS, [trip._replace(context=trip.context | {name: value})])

    assert (found.state, found.disagreement.tick, found.disagreement.what) == ("mismatch", 10, name)


def test_given_a_breaker_that_wrote_all_it_does_when_replayed_then_it_agrees():
    columns, (trip,) = recorded(DRAG)
    thresholds = {name: getattr(SETTINGS, name) for name in ("lookback_ticks", "bias_threshold_bps")}
    context = trip.context | thresholds | {"prevalence_pct_threshold": 50.0, "mean_error_bps": 8.0}

    assert replay(columns, SETTINGS, [GuardTrip(10, context)]).state == "ok"


@pytest.mark.parametrize(
    ("trips", "what"),
    [
        ([], "trip tick"),
        ([GuardTrip(9, {})], "trip tick"),
        ([GuardTrip(11, {})], "trip tick"),
        ([GuardTrip(10, {}), GuardTrip(10, {})], "trips on record"),
        ([GuardTrip(10, {}), GuardTrip(13, {})], "trips on record"),
    ],
)
def test_given_other_trips_on_record_than_the_replay_sees_when_compared_then_it_is_a_mismatch(trips, what):
    found = replay(recorded(DRAG)[0], SETTINGS, trips)

    assert (found.state, found.disagreement.what) == ("mismatch", what)


def test_given_a_trip_that_nothing_explains_when_compared_then_it_is_a_mismatch():
    columns, _ = recorded([0.0] * 9)

    assert replay(columns, SETTINGS, [GuardTrip(7, {})]).state == "mismatch"
    assert replay(columns, SETTINGS, [GuardTrip(None, {})]).state == "mismatch"
    assert replay(columns, SETTINGS, [GuardTrip(12, {})], closed_ticks=9).state == "mismatch", "it had only 9 ticks"


def test_given_a_disabled_guard_when_replayed_then_it_never_trips_and_its_window_is_checked():
    off = SETTINGS.model_copy(update={"enabled": False})
    columns, trips = recorded(DRAG, off)

    found = replay(columns, off, trips)

    assert (found.state, trips, found.replayed_trip_tick, found.checked_ticks) == ("ok", (), None, len(DRAG))
    assert replay(columns, off, [GuardTrip(10, {})]).state == "mismatch"


def test_given_a_trip_whose_tick_is_not_stored_yet_when_compared_then_it_cannot_be():
    columns, trips = recorded(DRAG)

    found = replay(without(columns, range(10, 15)), SETTINGS, trips)

    assert (found.state, found.trip_comparable, found.recorded_trip_tick) == ("ok", False, 10)
    assert found.notes == ("the trip on record at tick 10 is not stored",)


def test_given_a_gap_when_replayed_then_nothing_is_compared_until_a_whole_window_stands_behind_it():
    columns, trips = recorded([1.0, -1.0, 2.0, None] * 6)

    found = replay(without(columns, {9, 10}), SETTINGS, trips)

    # Behind the gap 11, (12), 13, 14 and 15 bring four errors: 15 is the first to be known.
    assert (found.state, found.unknown_ticks, found.checked_ticks) == ("ok", 4, 18)
    assert replay(changed(without(columns, {9, 10}), "guard_mean_bps", 14, 9.0), SETTINGS, trips).state == "ok"
    assert replay(changed(without(columns, {9, 10}), "guard_mean_bps", 15, 9.0), SETTINGS, trips).state == "mismatch"


@pytest.mark.parametrize("gone", [{10}, {9, 10}, {8, 9}, {6, 10, 11}])
def test_given_a_trip_among_missing_ticks_or_shortly_after_when_compared_then_it_cannot_be(gone):
    columns, trips = recorded(DRAG)

    found = replay(without(columns, gone), SETTINGS, trips)

    assert (found.disagreement, found.trip_comparable) == (None, False)
    assert found.may_hide_a_breach


def test_given_no_trip_on_record_but_a_gap_before_the_replayed_one_when_compared_then_the_gap_may_have_had_it():
    columns, _ = recorded(DRAG + [8.0] * 9)

    found = replay(without(columns, {9, 10, 11}), SETTINGS, [])

    assert (found.disagreement, found.trip_comparable, found.replayed_trip_tick) == (None, False, 15)


def test_given_a_recorded_reset_when_replayed_then_the_window_is_emptied_on_the_same_tick():
    columns, trips = recorded([8.0] * 3 + [None] + [8.0] * 6, resets={4})

    found = replay(columns, SETTINGS, trips)

    assert (found.state, found.replayed_trip_tick) == ("ok", 8)
    assert found.hiding == ("the window was emptied 1 time while errors were large",)


def test_given_a_reset_behind_a_gap_when_replayed_then_the_window_is_known_from_it_on():
    columns, trips = recorded([1.0] * 12, resets={9})

    found = replay(without(columns, {6}), SETTINGS, trips)

    assert (found.state, found.unknown_ticks, found.checked_ticks) == ("ok", 2, 9)


def test_given_errors_without_guard_state_when_replayed_then_there_is_nothing_to_compare():
    columns, _ = recorded(DRAG, stated=False)

    assert replay(columns, SETTINGS, []).state == NOTHING_TO_COMPARE
    assert replay(columns, SETTINGS, [GuardTrip(10, {})]).state == "ok", "the trip can be compared"
    assert replay(columns, SETTINGS, [GuardTrip(11, {})]).state == "mismatch"
    assert replay(without(columns, range(9, 15)), SETTINGS, [GuardTrip(99, {})]).state == NOTHING_TO_COMPARE


def test_given_a_few_ticks_without_guard_state_when_replayed_then_it_is_said_that_they_were_not_compared():
    columns, trips = recorded([1.0] * 12)
    for column, nothing in (
        ("guard_window_n", NOT_RECORDED),
        ("guard_mean_bps", math.nan),
        ("guard_prevalence_pct", math.nan),
    ):
        for tick in (6, 7):
            columns = changed(columns, column, tick, nothing)

    found = replay(columns, SETTINGS, trips)

    assert (found.state, found.checked_ticks) == ("ok", 10)
    assert found.notes == ("2 ticks not compared: of the window nothing is on record there",)


def test_given_thresholds_that_were_not_recorded_when_replayed_then_there_is_nothing_to_compare():
    found = replay(recorded(DRAG)[0], None, [])

    assert (found.state, found.may_hide_a_breach) == (NOTHING_TO_COMPARE, True)
    assert found.notes == ("the guard's thresholds are not on record",)


def test_given_rows_of_an_older_engine_when_replayed_then_they_are_not_recorded_rather_than_calm(tmp_path):
    with legacy(tmp_path / "k.db", BEFORE_ANCHOR_ERROR):
        pass
    with reading(tmp_path / "k.db") as conn:
        found = replay(read_ticks(conn, 7), guard_settings(pick(conn, "7").config_json), guard_trips(conn, 7))

    assert (found.state, found.may_hide_a_breach, found.hiding) == (
        "not recorded", True, ("no anchor error is on record",),
    )  # fmt: skip


def test_given_a_session_of_nulls_when_replayed_then_its_empty_window_agrees_and_it_may_hide_a_breach():
    columns, trips = recorded([None] * 8)

    found = replay(columns, SETTINGS, trips)

    assert (found.state, found.checked_ticks) == ("ok", 8)
    assert found.hiding == ("the window never held 4 errors",)


def test_given_no_rows_when_replayed_then_there_is_nothing_to_compare():
    found = replay(columns_of([]), SETTINGS, [])

    assert (found.state, found.hiding) == (NOTHING_TO_COMPARE, ("no tick is stored",))


def test_given_missing_ticks_when_too_few_for_a_breach_then_they_hide_none_and_otherwise_might():
    columns, trips = recorded([1.0] * 40)

    assert not replay(without(columns, {20}), SETTINGS, trips).may_hide_a_breach
    assert replay(without(columns, {20}), SETTINGS, trips).notes[0] == (
        "1 tick missing, too few beside their neighbours to hide a breach"
    )
    # Two of a window of four are enough, also with a known error between them.
    assert replay(without(columns, {20, 21}), SETTINGS, trips).hiding == ("2 missing ticks in 1 place",)
    assert replay(without(columns, {20, 22}), SETTINGS, trips).hiding == ("2 missing ticks in 1 place",)
    assert not replay(without(columns, {20, 25}), SETTINGS, trips).may_hide_a_breach
    large, trips = recorded([1.0] * 17 + [-6.0] + [1.0] * 22)
    assert replay(without(large, {20}), SETTINGS, trips).hiding == ("1 missing tick in 1 place",)
    assert not replay(without(large, {22}), SETTINGS, trips).may_hide_a_breach


def test_given_a_session_in_a_database_when_replayed_then_it_agrees_down_to_the_breakers_context(tmp_path):
    with opened(tmp_path / "k.db") as conn:
        number = store_session(conn, calm_then_drag())
    with reading(tmp_path / "k.db") as conn:
        session = pick(conn, str(number))
        trips = guard_trips(conn, number)
        found = replay(read_ticks(conn, number), guard_settings(session.config_json), trips, closed_ticks=session.ticks)

    assert (found.state, found.checked_ticks) == ("ok", 120)
    assert found.recorded_trip_tick == trips[0].tick == found.replayed_trip_tick


tenths = st.integers(-120, 120).map(lambda value: value / 10)
sessions = st.lists(st.none() | tenths | st.floats(-30, 30), min_size=1, max_size=60)
guards = st.builds(
    AnchorSaturationGuard.model_construct,
    enabled=st.just(True) | st.booleans(),
    lookback_ticks=st.integers(1, 7),
    bias_threshold_bps=st.sampled_from([0.1, 3.0, 7.0]),
    prevalence_threshold_bps=st.sampled_from([0.1, 2.9, 3.0]),
    prevalence_pct=st.sampled_from([0.1, 28.0, 40.0, 100.0]),
)


@given(errors=sessions, guard=guards, resets=st.sets(st.integers(1, 60), max_size=2), data=st.data())
@settings(max_examples=300)
def test_property_given_any_rows_lost_when_replayed_then_it_is_never_a_mismatch(errors, guard, resets, data):
    columns, trips = recorded(errors, guard, resets=resets)
    gone = data.draw(st.sets(st.integers(1, len(errors))))
    is_trip_lost_with_its_tick = bool(trips) and trips[0].tick in gone and data.draw(st.booleans())
    whole = replay(columns, guard, trips)
    kept = () if is_trip_lost_with_its_tick else trips

    found = replay(without(columns, gone), guard, kept, closed_ticks=data.draw(st.sampled_from([None, len(errors)])))

    assert whole.state == "ok"
    assert found.state in ({"ok", NOTHING_TO_COMPARE} | ({"not recorded"} if len(gone) == len(errors) else set()))
    if trips and kept and found.trip_comparable:
        assert found.replayed_trip_tick == trips[0].tick
    if trips and not found.may_hide_a_breach:
        assert found.replayed_trip_tick == trips[0].tick, "what is not seen may be hidden"


@given(errors=sessions, guard=guards, gone=st.sets(st.integers(1, 60), max_size=3), data=st.data())
@settings(max_examples=300)
def test_property_given_one_error_changed_in_a_known_window_when_replayed_then_it_is_a_mismatch(
    errors, guard, gone, data
):
    columns, trips = recorded(errors, guard)
    kept = without(columns, gone)
    known = known_ticks(kept, guard.lookback_ticks)
    measured = [tick for tick in known if errors[tick - 1] is not None]
    if not measured:
        return
    tick = data.draw(st.sampled_from(measured))
    by = data.draw(st.sampled_from([1e-9, -1e-9, 0.1, -3.0, 1e3]))

    found = replay(changed(kept, "anchor_error_bps", tick, errors[tick - 1] + by), guard, trips)

    assert found.state == "mismatch"
    assert found.disagreement.tick <= tick


def known_ticks(columns, lookback):
    """Ticks behind as many consecutively stored errors as the window takes, or behind no gap at all."""
    known, since_gap, before = [], 0, 0
    is_behind_a_gap = False
    for tick, error in zip(columns.tick.tolist(), columns.anchor_error_bps.tolist(), strict=True):
        if tick != before + 1:
            is_behind_a_gap, since_gap = True, 0
        since_gap += not math.isnan(error)
        if not is_behind_a_gap or since_gap >= lookback:
            known.append(tick)
        before = tick
    return known
