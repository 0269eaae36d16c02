"""The wire: what goes in comes out bit for bit, old bytes are read for ever, no bytes surprise the reader."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path

import msgpack
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shared.codec import MESSAGE_BYTES_MAX, Envelope, decode, encode, read_record, validate
from shared.errors import RecordUnreadable
from shared.records import KINDS, WIRE_VERSION
from tests.shared.record_examples import EXAMPLES, SESSION_UID, TICK, any_record

# The bytes of one record of every kind as version 1 wrote them, and what they say. Frozen: this file is never
# rewritten; a later version gets a file of its own beside it.
GOLDEN_V1 = json.loads((Path(__file__).parents[1] / "data" / "golden_v1.json").read_text(encoding="utf-8"))


def bits(value):
    """A value in which two floats are equal only if their 64 bits are, and 1, 1.0 and True are three things."""
    return (type(value).__name__, struct.pack("<d", value) if isinstance(value, float) else value)


def bits_of(values):
    return [bits(value) for value in values]


# --- what is released stays readable


@pytest.mark.parametrize("kind", KINDS)
def test_given_golden_bytes_of_version_1_when_decoded_then_they_say_for_ever_what_they_said(kind):
    golden = GOLDEN_V1[kind]

    envelope = decode(bytes.fromhex(golden["hex"]))
    fields = validate(envelope.kind, envelope.fields)

    assert envelope[:3] == (kind, SESSION_UID, golden["seq"])
    released = len(golden["fields"])
    assert dict(zip(KINDS[kind]._fields, fields, strict=True)) | golden["fields"] == KINDS[kind](*fields)._asdict()
    assert bits_of(fields[:released]) == bits_of(golden["fields"].values())
    assert list(golden["fields"]) == list(KINDS[kind]._fields[:released]), "fields are only ever appended"
    assert fields[released:] == (None,) * (len(fields) - released)


@pytest.mark.parametrize("kind", KINDS)
def test_given_the_golden_record_when_encoded_today_then_the_bytes_are_the_same_as_long_as_no_field_was_added(kind):
    golden = GOLDEN_V1[kind]
    record = KINDS[kind](**golden["fields"])

    today = msgpack.unpackb(encode(SESSION_UID, golden["seq"], record))

    assert msgpack.packb(today[: 4 + len(golden["fields"])]).hex() == golden["hex"]


# --- evolution


def test_given_a_record_of_an_older_engine_when_validated_then_missing_trailing_fields_are_none():
    *older, missing = EXAMPLES["engine_state"]
    assert missing is not None

    assert validate("engine_state", tuple(older)) == (*older, None)


def test_given_a_record_of_a_newer_engine_when_validated_then_its_extra_fields_are_ignored():
    record = EXAMPLES["tick"]

    assert validate("tick", (*record, "from the future", {}, math.nan)) == tuple(record)


def test_given_a_required_field_missing_when_validated_then_the_reason_names_it():
    with pytest.raises(RecordUnreadable, match=r"^session_closed\.orders_surviving: "):
        validate("session_closed", EXAMPLES["session_closed"][:-1])


# --- round trip


@pytest.mark.parametrize("kind", KINDS)
def test_given_any_record_when_it_travels_then_every_value_arrives_bit_for_bit(kind):
    @settings(max_examples=40, deadline=None)
    @given(record=any_record(kind), seq=st.integers(0, 2**63 - 2))
    def travels(record, seq):
        envelope, arrived = read_record(encode(SESSION_UID, seq, record))
        assert envelope[:3] == (kind, SESSION_UID, seq)
        assert type(arrived) is KINDS[kind]
        assert bits_of(arrived) == bits_of(record)

    travels()


@pytest.mark.parametrize("error_bps", [0.0, -0.0, 5e-324, 1.7976931348623157e308, 0.1 + 0.2, -7.000000000000001])
def test_given_an_extreme_float_when_it_travels_then_its_64_bits_arrive(error_bps):
    _, arrived = read_record(encode(SESSION_UID, 1, TICK._replace(anchor_error_bps=error_bps)))

    assert bits(arrived.anchor_error_bps) == bits(error_bps)


def test_given_none_when_it_travels_then_it_arrives_as_none_and_never_as_zero():
    _, arrived = read_record(encode(SESSION_UID, 1, TICK._replace(anchor_error_bps=None, mid=None)))

    assert arrived.anchor_error_bps is None
    assert arrived.mid is None


def test_given_a_record_that_cannot_be_packed_when_the_next_one_is_encoded_then_nothing_of_it_is_left_behind():
    before = encode(SESSION_UID, 1, TICK)
    for unpackable in (2**70, object(), "\ud800"):
        with pytest.raises((OverflowError, TypeError, UnicodeEncodeError)):
            encode(SESSION_UID, 1, TICK._replace(no_quote_reason_bid=unpackable))

    assert encode(SESSION_UID, 1, TICK) == before


# --- what is not as promised is refused, by name


@pytest.mark.parametrize("nonsense", [math.nan, math.inf, -math.inf])
def test_given_a_float_that_is_no_number_when_validated_then_it_is_refused_by_name(nonsense):
    with pytest.raises(RecordUnreadable, match=r"^tick\.anchor_error_bps: Input should be a finite number"):
        read_record(encode(SESSION_UID, 1, TICK._replace(anchor_error_bps=nonsense)))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tick", 2**63),
        ("tick", "37"),
        ("tick", 37.0),
        ("tick", True),
        ("tick", None),
        ("mid", "1.3"),
        ("mid", True),
        ("mid", (1.3,)),
        ("mode", "active"),
        ("mode", b"ACTIVE"),
        ("no_quote_reason_bid", ""),
        ("no_quote_reason_bid", "x" * 81),
        ("guard_window_n", None),
    ],
)
def test_given_a_field_of_another_type_when_validated_then_the_reason_names_kind_and_field(field, value):
    with pytest.raises(RecordUnreadable, match=rf"^tick\.{field}: "):
        read_record(encode(SESSION_UID, 1, TICK._replace(**{field: value})))


@pytest.mark.parametrize("amount", ["", "1e5", "NaN", "+1", "1.", ".5", "1,5", " 1", "1\n", "1" * 41, 1.5, "١"])
def test_given_money_that_is_no_plain_decimal_when_validated_then_it_is_refused(amount):
    with pytest.raises(RecordUnreadable, match=r"^fill\.price: "):
        read_record(encode(SESSION_UID, 1, EXAMPLES["fill"]._replace(price=amount)))


def test_given_an_unknown_kind_when_decoded_then_it_is_attributed_but_not_accepted():
    envelope = decode(msgpack.packb([WIRE_VERSION, "dividend", SESSION_UID, 7]))

    assert envelope == Envelope("dividend", SESSION_UID, 7, ())
    with pytest.raises(RecordUnreadable, match="unknown kind 'dividend'"):
        validate(*envelope[::3])


@pytest.mark.parametrize(
    "session_uid",
    [
        "",
        ".",
        "..",
        "../x",
        "a/b",
        "a\\b",
        "/etc/passwd",
        "a.kj",
        "C:x",
        "a\0b",
        "a\n",
        "-rf",
        "_a",
        "a" * 65,
        "ä",
        "a b",
        5,
        None,
    ],
)
def test_given_a_session_uid_that_is_no_safe_file_name_when_decoded_then_it_is_refused(session_uid):
    with pytest.raises(RecordUnreadable, match="is not a session's name"):
        decode(msgpack.packb([WIRE_VERSION, "tick", session_uid, 0]))


@pytest.mark.parametrize("seq", [-1, 2**63 - 1, 2**63, 2**64 - 1, 1.0, "1", None, True, [], {}])
def test_given_a_seq_that_is_no_count_when_decoded_then_it_is_refused(seq):
    with pytest.raises(RecordUnreadable, match="is not a count from 0"):
        decode(msgpack.packb([WIRE_VERSION, "tick", SESSION_UID, seq]))


@pytest.mark.parametrize("version", [0, 2, "1", 1.0, True, None, [1]])
def test_given_another_wire_version_when_decoded_then_the_reason_says_which_one_this_program_reads(version):
    with pytest.raises(RecordUnreadable, match=f"this program reads {WIRE_VERSION}$"):
        decode(msgpack.packb([version, "tick", SESSION_UID, 0]))


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\xc1", id="never-used-byte"),
        pytest.param(b"\x94\x01", id="cut-off"),
        pytest.param(encode(SESSION_UID, 0, TICK) + b"\x00", id="trailing-byte"),
        pytest.param(b"\x91" * 100_000 + b"\xc0", id="deep-nesting"),
        pytest.param(b"\xdd\xff\xff\xff\xff", id="array-of-4-billion"),
        pytest.param(b"\xdc\x01\x01" + b"\xc0" * 257, id="array-of-257"),
        pytest.param(b"\xdf\xff\xff\xff\xff", id="map-of-4-billion"),
        pytest.param(b"\xdb\xff\xff\xff\xff", id="string-of-4-billion"),
        pytest.param(b"\xc9\xff\xff\xff\xff\x01", id="ext-of-4-billion"),
        pytest.param(b"\xd6\xff\x00\x00\x00\x00", id="timestamp"),
        pytest.param(b"\x94\x01\xa4tick\xa3\xed\xa0\x80\x00", id="surrogate-in-uid"),
        pytest.param(b"\x94\x01\xa4tick\xa1\xff\x00", id="not-utf-8"),
        pytest.param(b"\x80", id="map"),
        pytest.param(b"\x93\x01\xa4tick\xa1a", id="array-of-three"),
        pytest.param(b"\xc4" + bytes([200]) + b"x" * 200, id="bytes"),
        pytest.param(b"\x00" * (MESSAGE_BYTES_MAX + 1), id="too-long"),
    ],
)
def test_given_bytes_that_are_no_record_when_decoded_then_there_is_a_reason_and_nothing_else(payload):
    with pytest.raises(RecordUnreadable) as refusal:
        decode(payload)
    assert len(str(refusal.value)) < 300
    assert "\n" not in str(refusal.value)
    assert not str(refusal.value).endswith(": ")


@pytest.mark.parametrize("depth", [10, 500, 990, 1015, 1022, 1023, 5000])
@pytest.mark.parametrize("slot", range(5))
def test_given_a_deep_nest_in_any_place_when_read_then_it_is_refused_without_exhausting_the_stack(depth, slot):
    parts = [msgpack.packb(part) for part in (WIRE_VERSION, "engine_state", SESSION_UID, 0, 1)]
    parts[slot] = b"\x91" * depth + b"\xc0"

    with pytest.raises(RecordUnreadable):
        read_record(b"\x95" + b"".join(parts))


# --- fuzz


def _judge(payload):
    """Envelope or RecordUnreadable, valid fields or RecordUnreadable; anything else is the failure."""
    try:
        envelope = decode(payload)
    except RecordUnreadable:
        return
    assert type(envelope) is Envelope
    assert type(envelope.fields) is tuple
    try:
        fields = validate(envelope.kind, envelope.fields)
    except RecordUnreadable:
        return
    assert len(fields) == len(KINDS[envelope.kind]._fields)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
@example(b"\x94\x01\xa4tick\xa1a\x00")
def test_given_arbitrary_bytes_when_judged_then_they_are_a_record_or_unreadable_and_nothing_else(payload):
    _judge(payload)


@settings(max_examples=300, deadline=None)
@given(
    kind=st.sampled_from([*KINDS, "nope"]),
    place=st.integers(0, 2**16),
    flip=st.integers(1, 255),
    cut=st.integers(0, 40),
)
def test_given_a_damaged_record_when_judged_then_it_is_a_record_or_unreadable_and_nothing_else(kind, place, flip, cut):
    payload = bytearray(encode(SESSION_UID, 3, EXAMPLES.get(kind, TICK)))
    payload[place % len(payload)] ^= flip
    _judge(bytes(payload[: len(payload) - cut]))


_anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
    | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=4).map(tuple) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=10,
)


@settings(max_examples=200, deadline=None)
@given(kind=st.sampled_from([*KINDS, "nope", ""]), values=st.lists(_anything, max_size=45))
def test_given_arbitrary_values_for_fields_when_validated_then_they_pass_or_are_unreadable_and_nothing_else(
    kind, values
):
    try:
        fields = validate(kind, tuple(values))
    except RecordUnreadable:
        return
    assert len(fields) == len(KINDS[kind]._fields)
    assert not any(isinstance(value, float) and not math.isfinite(value) for value in fields)
