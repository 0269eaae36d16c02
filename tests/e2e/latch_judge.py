"""Which mode must the next session begin in? A second opinion, from the journals' records and the operator's word."""

from __future__ import annotations

import json

from shared.records import BreakerEvent, Mode, ModeChanged, OrderEvent, SessionClosed, SessionOpened, TickRecord
from tests.e2e.stored import Written

TICKS_BEFORE_A_QUOTE_MAX = 20  # a calm market is quoted within so many ticks


class LatchJudge:
    """Reads the sessions of one engine in the order in which they ran."""

    def __init__(self) -> None:
        self.required: Mode = "ACTIVE"  # unless the last session was closed in order, see `_due`
        self.latched_starts = 0
        self._closed = False
        self._rearmed = False

    def rearmed(self) -> None:
        """The operator gave the word after the last session."""
        self._rearmed = True

    def complaints(self, journal: Written) -> list[str]:
        """What is wrong with the next session's beginning and orders; it must be empty."""
        if not journal.records:  # it died before it was opened: it never quoted, and what held before still holds
            return []
        opened = journal.records[0]
        if not isinstance(opened, SessionOpened):
            return [f"{journal.session_uid}: begins with {type(opened).__name__}"]
        wrong = []
        due = self._due(opened)
        self.latched_starts += due != "ACTIVE"
        if opened.initial_mode != due:
            wrong.append(f"{journal.session_uid}: began {opened.initial_mode}, must begin {due}")
        mode: Mode = due
        submitted = 0
        ticks = 0
        for record in journal.records:
            if isinstance(record, ModeChanged):
                if record.signal == "rearm" and not self._rearmed:
                    wrong.append(f"{journal.session_uid}: re-armed without the operator")
                mode = record.to_mode
            elif isinstance(record, BreakerEvent) and mode == "ACTIVE":
                mode = "DEGRADED"
            elif isinstance(record, OrderEvent) and record.event == "submitted":
                submitted += 1
                if mode != "ACTIVE":
                    wrong.append(f"{journal.session_uid}: submitted {record.order_id} in {mode}")
            elif isinstance(record, TickRecord):
                ticks += 1
                if due == "ACTIVE" and ticks == TICKS_BEFORE_A_QUOTE_MAX and not submitted:
                    wrong.append(f"{journal.session_uid}: ACTIVE, and no quote in {ticks} ticks")
        last = journal.records[-1]
        self._closed = isinstance(last, SessionClosed) and not last.orders_surviving
        self._rearmed = False
        self.required = mode
        return wrong

    def _due(self, opened: SessionOpened) -> Mode:
        """A clean stop is the operator's restart, but not after HALT or where the policy wants an explicit word."""
        policy = json.loads(opened.config_json)["strategy"]["rearm"]
        restarted = self._closed and policy == "on_clean_restart" and self.required != "HALT"
        return "ACTIVE" if self._rearmed or restarted else self.required
