"""Order states: every row of XRPL.md A8, and that nothing is given up that may still be in a ledger."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine_proc.xrpl_numbers import Number
from engine_proc.xrpl_order_state import fate_of, is_final
from engine_proc.xrpl_submissions import Submission

ROWS = [  # engine_result, the answer to a first submission
    ("tesSUCCESS", "PENDING"),
    ("tecUNFUNDED_OFFER", "PENDING"),
    ("tecKILLED", "PENDING"),
    ("tecEXPIRED", "PENDING"),
    ("tecINSUF_RESERVE_OFFER", "PENDING"),
    ("terQUEUED", "PENDING"),
    ("terPRE_SEQ", "PENDING"),
    ("terPRE_TICKET", "PENDING"),
    ("terRETRY", "PENDING"),
    ("tefPAST_SEQ", "LOOK_UP"),
    ("tefNO_TICKET", "LOOK_UP"),
    ("tefALREADY", "PENDING"),
    ("tefMAX_LEDGER", "FAILED"),
    ("tefFAILURE", "PENDING"),
    ("telINSUF_FEE_P", "PENDING"),
    ("telCAN_NOT_QUEUE_FULL", "PENDING"),
    ("telREQUIRES_NETWORK_ID", "PENDING"),
    ("temBAD_SEQUENCE", "FAILED"),
    ("temINVALID_FLAG", "FAILED"),
    ("temMALFORMED", "FAILED"),
    (None, "PENDING"),
    ("", "PENDING"),
    ("xyzNEW_IN_2030", "PENDING"),
]


@pytest.mark.parametrize(("engine_result", "fate"), ROWS)
def test_given_the_answer_to_a_first_submission_when_judged_then_the_fate_is_the_tables(engine_result, fate):
    assert fate_of(engine_result, submitted_before=False) == fate


@pytest.mark.parametrize(("engine_result", "fate"), ROWS)
def test_given_bytes_that_went_out_before_when_refused_then_they_may_still_be_under_way(engine_result, fate):
    expected = "LOOK_UP" if fate == "LOOK_UP" else "PENDING"

    assert fate_of(engine_result, submitted_before=True) == expected


@given(
    st.one_of(
        st.none(),
        st.text(max_size=12),
        st.builds("{}{}".format, st.sampled_from(["tes", "tec", "ter", "tel", "tef"]), st.text(max_size=20)),
    )
)
def test_given_any_answer_but_a_malformed_one_when_judged_then_nothing_is_given_up(engine_result):
    if engine_result == "tefMAX_LEDGER" or (engine_result or "").startswith("tem"):
        return

    assert fate_of(engine_result, submitted_before=False) != "FAILED"


def submission(first_ledger=100, last_ledger=104):
    return Submission("AB" * 32, "ticket", None, Number(5), None, None, first_ledger, last_ledger, 10, "00")


@pytest.mark.parametrize(
    ("validated_index", "found", "continuous", "final"),
    [
        (101, True, True, True),
        (101, True, False, True),  # what is validated is validated
        (103, False, True, False),
        (104, False, True, False),  # its last ledger may still be the one that holds it
        (105, False, True, True),
        (105, False, False, False),  # a ledger in between was not seen: it may stand there
        (9_999, False, False, False),
    ],
)
def test_given_what_is_known_when_asked_then_the_end_is_certain_only_in_a_ledger_or_past_the_last_without_a_hole(
    validated_index, found, continuous, final
):
    assert is_final(submission(), validated_index, found=found, continuous=continuous) is final
