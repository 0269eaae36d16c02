"""What the answer to a `submit` means for the order, and when its end is certain: XRPL.md A8 as a table.

Whatever a node says of a submission concerns its open ledger and is provisional. Most answers, an error among them,
leave one thing to do: wait, and submit the same bytes again, until the transaction is found in a validated ledger or
its LastLedgerSequence has passed without it. The few exceptions are spelled out.
"""

from __future__ import annotations

from typing import Literal

from engine_proc.xrpl_submissions import Submission

Fate = Literal["PENDING", "LOOK_UP", "FAILED"]

# By the whole code or, failing that, by its first three letters.
_FATES: dict[str | None, Fate] = {
    "tes": "PENDING",  # applied to the open ledger only
    "tec": "PENDING",  # likely to claim its fee; what comes after it in the ledger may still change that
    "ter": "PENDING",  # held or queued: it may still apply, once a gap before it is closed
    "tel": "PENDING",  # refused by this server only, and for now
    "tef": "PENDING",  # not said below: nothing that would prove it can never apply
    "tefALREADY": "PENDING",  # it is in the open ledger
    "tefPAST_SEQ": "LOOK_UP",  # its sequence is used, perhaps by itself
    "tefNO_TICKET": "LOOK_UP",  # so is its ticket, or it never was
    "tefMAX_LEDGER": "FAILED",  # its last ledger is over
    "tem": "FAILED",  # malformed: in no ledger, ever
    None: "PENDING",  # no answer, a time-out, a lost connection: unknown
}


def fate_of(engine_result: str | None, *, submitted_before: bool) -> Fate:
    """What is known of a transaction from the provisional answer to its submission; None: there was no answer.

    PENDING: it may be in a ledger, now or later. LOOK_UP: so it may, and its number is used, perhaps by itself: ask
    for its hash. FAILED: it never was and never will be in a ledger; its number is free again.

    `submitted_before`: these very bytes may have gone out earlier, in this process or in the one before it. Then a
    server may have relayed them, and no other server's refusal is the end of them. FAILED is the answer to a first
    submission alone.
    """
    fate = _FATES.get(engine_result) or _FATES.get((engine_result or "")[:3], "PENDING")
    return "PENDING" if fate == "FAILED" and submitted_before else fate


def is_final(submission: Submission, validated_index: int, *, found: bool, continuous: bool) -> bool:
    """Whether the end of a transaction is certain [reliable-transaction-submission, XRPL.md A8].

    `found`: it stands in a validated ledger. `continuous`: our history was read without a hole from
    `submission.first_ledger` through `submission.last_ledger`, and it does not stand there.
    """
    return found or (continuous and validated_index > submission.last_ledger)
