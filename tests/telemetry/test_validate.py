import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.codec import encode
from telemetry_proc.validate import Fact, Reject, judge
from tests.shared.record_examples import EXAMPLES
from tests.telemetry.an_engine import UID, one_tick


@pytest.mark.parametrize("kind", EXAMPLES)
def test_given_a_record_when_judged_then_it_is_a_fact_with_the_same_fields(kind):
    payload = encode(UID, 5, EXAMPLES[kind])

    assert judge(payload, "socket") == Fact(UID, 5, kind, tuple(EXAMPLES[kind]), "socket", payload)


@pytest.mark.parametrize(
    ("payload", "because"),
    [
        (encode(UID, 5, one_tick(mid=float("nan"))), "tick.mid"),
        (encode(UID, 5, one_tick(mid=float("inf"))), "tick.mid"),
        (encode(UID, 5, one_tick(mid="1.3")), "tick.mid"),
        (encode(UID, 5, one_tick(mode="SLEEPY")), "tick.mode"),
        (encode(UID, 5, one_tick(tick=None)), "tick.tick"),
    ],
)
def test_given_a_field_that_is_not_as_promised_when_judged_then_the_reject_keeps_place_bytes_and_reason(
    payload, because
):
    reject = judge(payload, "journal")

    assert reject == Reject(UID, 5, reject.reason, "journal", payload)
    assert because in reject.reason


def test_given_an_unknown_kind_when_judged_then_the_reject_still_says_whose_it_is():
    payload = msgpack.packb([1, "weather", UID, 8, 1.5])

    assert judge(payload, "socket") == Reject(UID, 8, "unknown kind 'weather'", "socket", payload)


@given(st.binary(max_size=200))
def test_given_any_bytes_when_judged_then_there_is_a_verdict_that_keeps_them(payload):
    verdict = judge(payload, "socket")

    assert isinstance(verdict, Fact | Reject)
    assert verdict.payload == payload
