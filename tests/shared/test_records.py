"""The definitions hold their own laws: every field documented, every later field optional, every kind named once."""

from __future__ import annotations

from typing import Annotated, NamedTuple, get_type_hints

import pytest

from shared.records import KIND_OF, KINDS, Doc, Float, Int, fields_of

# How many fields each kind had when wire version 1 was frozen; tests/data/golden_v1.json holds their bytes. Never
# raise a number here: a field that comes later is optional for ever.
FIELDS_IN_VERSION_1 = {
    "session_opened": 8,
    "tick": 38,
    "breaker_event": 7,
    "mode_changed": 6,
    "order_event": 10,
    "fill": 10,
    "inventory_truth": 9,
    "reconciler_anomaly": 7,
    "engine_state": 3,
    "session_closed": 11,
}


@pytest.mark.parametrize("kind", KINDS)
def test_given_a_kind_when_its_fields_are_listed_then_each_has_a_meaning_and_says_null_exactly_if_it_can_be(kind):
    specs = fields_of(KINDS[kind])

    assert [spec.name for spec in specs] == list(KINDS[kind]._fields)
    for spec in specs:
        assert spec.sql_type in {"INTEGER", "REAL", "TEXT"}
        assert spec.doc.meaning
        assert spec.nullable == (spec.doc.null is not None), spec.name


@pytest.mark.parametrize("kind", KINDS)
def test_given_a_released_kind_when_fields_were_appended_then_they_default_to_none_and_may_be_null(kind):
    record_type = KINDS[kind]
    released = FIELDS_IN_VERSION_1[kind]

    assert len(record_type._fields) >= released, "fields are never removed"
    for spec in fields_of(record_type)[released:]:
        assert spec.nullable, f"{kind}.{spec.name}: an appended field must admit None"
        assert record_type._field_defaults.get(spec.name, "missing") is None, f"{kind}.{spec.name}: default None"
    for name in record_type._fields[:released]:
        assert name not in record_type._field_defaults, f"{kind}.{name}: a field of version 1 must always be given"


def test_given_every_kind_when_named_then_names_and_types_are_one_to_one():
    assert len(KIND_OF) == len(KINDS)
    assert all(KIND_OF[record_type] == kind for kind, record_type in KINDS.items())
    assert set(KINDS) == set(FIELDS_IN_VERSION_1), "a new kind needs its golden bytes and a line above"


@pytest.mark.parametrize("kind", KINDS)
def test_given_a_kind_when_read_then_it_says_in_words_what_it_is_and_carries_its_market_time(kind):
    assert (KINDS[kind].__doc__ or "").strip().endswith((".", ")"))
    assert "ts_ns" in KINDS[kind]._fields


def test_given_the_tick_record_when_listed_then_the_columns_that_calibration_rests_on_are_there_as_promised():
    columns = {spec.name: spec for spec in fields_of(KINDS["tick"])}

    assert columns["anchor_error_bps"].sql_type == "REAL"
    assert columns["anchor_error_bps"].nullable
    for name in ("distance_to_touch_bid_bps", "distance_to_touch_ask_bps", "mid", "clob_vs_amm_divergence_bps"):
        assert columns[name].nullable, name
    assert not columns["guard_window_n"].nullable


def test_given_a_definition_that_hides_its_null_when_listed_then_it_is_refused():
    class SilentNull(NamedTuple):
        ts_ns: Annotated[Int, Doc("ns", "time")]
        value: Annotated[Float | None, Doc("bps", "a value, and not a word on NULL")]

    class FalseNull(NamedTuple):
        value: Annotated[Int, Doc("", "never missing", "yet it says what missing means")]

    for broken in (SilentNull, FalseNull):
        with pytest.raises(AssertionError, match="say what NULL means"):
            fields_of(broken)


def test_given_one_more_line_when_a_field_is_appended_then_everything_that_follows_from_it_follows():
    hints = get_type_hints(KINDS["engine_state"], include_extras=True)
    grown = NamedTuple("Grown", [*hints.items(), ("note", Annotated[Float | None, Doc("bps", "new", "older engine")])])

    added = fields_of(grown)[-1]

    assert (added.name, added.sql_type, added.nullable, added.doc.null) == ("note", "REAL", True, "older engine")
