"""`make mutants`: break the code in named ways and see that the tests notice.

Each mutant is one change of one file in a copy of the tree, and the test that must fail on it. tests/README.md lists
them; tests/test_mutants.py keeps that list, the code and the names of the tests together.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]


class Mutant(NamedTuple):
    """`before` stands exactly once in `file`; with `after` in its place, `caught_by` must fail."""

    name: str
    file: str
    before: str
    after: str
    caught_by: str


SWEEP_AS_LIVE = (
    "tests/telemetry/test_staircase.py::"
    "test_given_random_sessions_when_swept_then_every_setting_trips_where_the_live_guard_does"
)

MUTANTS = (
    Mutant(
        "offset moved in a transaction of its own, before the rows",
        "telemetry_proc/writer.py",
        "    with store.transaction() as tx:\n        refused",
        "    with store.transaction() as tx:\n        tx.advance(batch.offsets)\n"
        "    with store.transaction() as tx:\n        refused",
        "tests/telemetry/test_writer.py::"
        "test_given_a_full_disk_when_told_to_stop_then_one_line_says_it_and_the_next_start_loses_nothing",
    ),
    Mutant(
        "`>=` for `>`: every record looks like the end of a gap",
        "telemetry_proc/mend.py",
        "        if record.seq > offset.next_seq:\n            why",
        "        if record.seq >= offset.next_seq:\n            why",
        "tests/telemetry/test_mend.py::"
        "test_given_a_long_session_when_a_gap_is_mended_then_reading_starts_at_the_stored_byte",
    ),
    Mutant(
        "a duplicate is taken once more",
        "telemetry_proc/mend.py",
        "        if record.seq == offset.next_seq:\n            offset.pass_over",
        "        if record.seq <= offset.next_seq:\n            offset.pass_over",
        "tests/telemetry/test_mend.py::test_given_a_duplicate_when_mended_then_it_is_left_out",
    ),
    Mutant(
        "no look at the checksum",
        "shared/journal.py",
        "return payload if zlib.crc32(payload) == crc else None",
        "return payload",
        "tests/shared/test_journal.py::"
        "test_given_any_flipped_byte_when_read_then_no_wrong_record_comes_out_and_the_others_all_do",
    ),
    Mutant(
        "an empty frame is a frame: the zeros after a power cut are records",
        "shared/journal.py",
        "if not 0 < length <= MESSAGE_BYTES_MAX",
        "if not 0 <= length <= MESSAGE_BYTES_MAX",
        "tests/shared/test_journal.py::"
        "test_given_a_tail_of_zeros_after_a_power_cut_when_read_then_it_is_torn_and_no_empty_record",
    ),
    Mutant(
        "half a frame is left before the next whole one",
        "shared/journal.py",
        "        self._file.truncate(self._position)\n",
        "",
        "tests/shared/test_journal.py::"
        "test_given_a_disk_that_fills_up_when_appending_then_the_file_ends_at_its_last_whole_record",
    ),
    Mutant(
        "socket before journal",
        "engine_proc/outbox.py",
        "        if self._waiting or not self._journalled(payloads, sync=sync):",
        "        self._push.send(payloads)\n        if self._waiting or not self._journalled(payloads, sync=sync):",
        "tests/engine/test_outbox.py::test_given_a_record_that_the_reader_has_then_the_journal_has_had_it_before",
    ),
    Mutant(
        "a mode change is not synced to disk at once",
        "engine_proc/outbox.py",
        "frozenset({SessionOpened, BreakerEvent, ModeChanged, SessionClosed})",
        "frozenset({SessionOpened, BreakerEvent, SessionClosed})",
        "tests/engine/test_outbox.py::"
        "test_given_a_kind_that_says_why_we_stopped_or_carries_money_then_synced_before_emit_returns",
    ),
    Mutant(
        "venue before journal: an order the journal has not heard of",
        "engine_proc/engine.py",
        "        self.recorder.emit(*submitted, *withdrawn)\n",
        "        self.venue.submit(plan)\n        self.recorder.emit(*submitted, *withdrawn)\n",
        "tests/engine/test_engine.py",
    ),
    Mutant(
        "a journal that takes nothing does not stop the quoting",
        "engine_proc/engine.py",
        "        if self.recorder.fault is not None:\n            self.enter_degraded",
        "        if False:\n            self.enter_degraded",
        "tests/engine/test_engine.py::test_given_journal_fault_when_ticking_then_degraded_and_everything_cancelled",
    ),
    Mutant(
        "the trip tick still sends its intents",
        "engine_proc/engine.py",
        "intents = () if tripped else proposal.intents",
        "intents = proposal.intents",
        "tests/engine/test_engine.py::test_f_given_trip_then_degraded_is_correct_on_that_very_tick",
    ),
    Mutant(
        "the gate lets a degraded engine quote",
        "engine_proc/gate.py",
        'return None if sight.mode == "ACTIVE" else f"MODE_{sight.mode}"',
        "return None",
        "tests/engine/test_gate.py::test_given_a_mode_that_does_not_quote_then_nothing_passes_whatever_the_market",
    ),
    Mutant(
        "the kill switch is let go of although the halt is not on record",
        "engine_proc/engine.py",
        "            if self.recorder.fault is None:\n                kill_switch.obeyed()",
        "            kill_switch.obeyed()",
        "tests/engine/test_operator_word.py::"
        "test_given_a_journal_that_takes_nothing_when_halted_then_the_switch_stays_pulled",
    ),
    Mutant(
        "orphans are neither cancelled nor looked at",
        "engine_proc/engine.py",
        'if policy == "cancel" and (survivors := self.withdraw()):',
        "if survivors := ():",
        "tests/engine/test_start_up.py::"
        "test_given_orphans_when_a_session_opens_then_all_are_on_record_and_cancelled_before_the_first_quote",
    ),
    Mutant(
        "a survivor of the shutdown is not named",
        "engine_proc/engine.py",
        "            return tuple({**self.venue.truth().orders, **self.holdings.orders})\n",
        "            return ()\n",
        "tests/engine/test_engine.py::test_given_a_venue_that_loses_cancels_when_closing_then_survivors_are_named",
    ),
    Mutant(
        "a crash re-arms",
        "engine_proc/latch.py",
        '(last.closed and policy == "on_clean_restart"',
        '(policy == "on_clean_restart"',
        "tests/engine/test_latch.py::test_given_a_crash_then_the_mode_it_last_had",
    ),
    Mutant(
        "a clean restart releases the kill switch",
        "engine_proc/latch.py",
        ' and last.mode != "HALT")',
        ")",
        "tests/engine/test_latch.py::test_given_a_clean_end_in_halt_then_halt_whatever_the_policy",
    ),
    Mutant(
        "a missing journal is a fresh start",
        "engine_proc/latch.py",
        "    if opened_last is not None and (",
        "    if False and (",
        "tests/engine/test_operator_word.py::test_given_the_last_journal_gone_or_emptied_then_degraded_until_rearmed",
    ),
    Mutant(
        "a re-arm lifts whatever was latched last",
        "engine_proc/latch.py",
        "if word is not None and (word.session_uid, word.mode) == (last.session_uid, last.mode):",
        "if word is not None:",
        "tests/engine/test_latch.py::test_given_an_order_for_an_earlier_session_then_it_never_lifts_a_later_one",
    ),
    Mutant(
        "a full disk ends the writer",
        "telemetry_proc/writer.py",
        "apsw.FullError, ",
        "",
        "tests/telemetry/test_writer.py::"
        "test_given_a_full_disk_when_told_to_stop_then_one_line_says_it_and_the_next_start_loses_nothing",
    ),
    Mutant(
        "a database that was replaced goes on being written",
        "telemetry_proc/store.py",
        "        is_same = found[:2] == opened[:2]\n",
        "        is_same = True\n",
        "tests/telemetry/test_store.py::"
        "test_given_a_database_that_is_taken_away_when_written_again_then_refused_and_every_row_is_where_it_belongs",
    ),
    Mutant(
        "no look into the journals at shutdown",
        "telemetry_proc/writer.py",
        "            pass\n        self.catch_up()\n",
        "            pass\n",
        "tests/telemetry/test_writer.py::"
        "test_given_journals_that_take_long_when_told_to_stop_then_it_breaks_off_and_the_next_start_has_the_rest",
    ),
    Mutant(
        "a filled gap forgets what of it is still missing",
        "telemetry_proc/offsets.py",
        "missing_from=seq + 1 if seq < gap.last_seq else None",
        "missing_from=None",
        "tests/telemetry/test_mend.py::"
        "test_given_a_late_record_from_the_middle_of_a_gap_when_taken_then_both_rests_stay_gaps",
    ),
    Mutant(
        "a crashed session stays RUNNING",
        "telemetry_proc/statements.py",
        """"'CRASHED'" if named else "'RUNNING'\"""",
        """"'RUNNING'\"""",
        "tests/telemetry/test_crashed_sessions.py::"
        "test_given_crash_after_crash_when_stored_in_any_order_then_each_but_the_last_is_crashed",
    ),
    Mutant(
        "the guard wants more than its threshold",
        "shared/saturation.py",
        "self.tripped = abs(self.sum_nano_bps) >= self._armed_sum",
        "self.tripped = abs(self.sum_nano_bps) > self._armed_sum",
        "tests/shared/test_saturation.py::"
        "test_j_given_a_full_window_when_both_thresholds_are_tied_exactly_then_it_trips",
    ),
    Mutant(
        "sweep: an error on the prevalence threshold does not count",
        "telemetry_proc/staircase.py",
        "reaches = sizes >= prevalence",
        "reaches = sizes > prevalence",
        SWEEP_AS_LIVE,
    ),
    Mutant(
        "sweep: errors below zero do not count",
        "telemetry_proc/staircase.py",
        "sizes = np.abs(self._errors)",
        "sizes = self._errors",
        SWEEP_AS_LIVE,
    ),
    Mutant(
        "sweep: a sum on the bias threshold falls short of it",
        "telemetry_proc/staircase.py",
        'np.searchsorted(self._sums, sums, side="right")',
        'np.searchsorted(self._sums, sums, side="left")',
        SWEEP_AS_LIVE,
    ),
    Mutant(
        "sweep: a sum below zero trips nothing",
        "telemetry_proc/staircase.py",
        "sums: Ints = np.abs(self._sums[last] - self._sums[before])",
        "sums: Ints = self._sums[last] - self._sums[before]",
        SWEEP_AS_LIVE,
    ),
    Mutant(
        "sweep: a block whose highest sum ties the threshold is passed over",
        "telemetry_proc/staircase.py",
        "highest >= self._sums[self._floor]",
        "highest > self._sums[self._floor]",
        SWEEP_AS_LIVE,
    ),
    Mutant(
        "sweep: exactly as many errors as needed are too few to go on counting",
        "telemetry_proc/staircase.py",
        "np.count_nonzero(reaches) < self._plan.need_min",
        "np.count_nonzero(reaches) <= self._plan.need_min",
        SWEEP_AS_LIVE,
    ),
    Mutant(
        "sweep: a window reaches back over the seam by one error",
        "telemetry_proc/staircase.py",
        "max(seam + lookback - 1, 0)",
        "max(seam + lookback - 2, 0)",
        SWEEP_AS_LIVE,
    ),
    Mutant(
        "sweep: the climb ends when its first staircase is at the top",
        "telemetry_proc/staircase.py",
        "int(self._best[:, -1].min())",
        "int(self._best[:, -1].max())",
        SWEEP_AS_LIVE,
    ),
    Mutant(
        "live: sent first, on disk afterwards",
        "engine_proc/venue_xrpl.py",
        "        sent = self._on_disk(fresh)\n"
        "        for submission, answer in zip(sent, submit_all(self._link, sent), strict=True):",
        "        answers = submit_all(self._link, fresh)\n        sent = self._on_disk(fresh)\n"
        "        for submission, answer in zip(sent, answers, strict=True):",
        "tests/xrpl/test_venue_xrpl.py::test_given_an_order_when_a_node_hears_of_it_then_it_is_on_disk_already",
    ),
    Mutant(
        "live: no answer is taken for a refusal",
        "engine_proc/venue_xrpl.py",
        'if answer is not None and fate_of(answer, submitted_before=False) == "FAILED":',
        'if answer is None or fate_of(answer, submitted_before=False) == "FAILED":',
        "tests/xrpl/test_venue_xrpl_faults.py::"
        "test_given_an_answer_that_never_came_when_the_order_landed_anyway_or_not_then_it_rests_exactly_once",
    ),
    Mutant(
        "live: nothing is submitted a second time",
        "engine_proc/venue_xrpl.py",
        "        if again:\n            submit_all",
        "        if not again:\n            submit_all",
        "tests/xrpl/test_venue_xrpl_faults.py::"
        "test_given_a_transaction_lost_before_another_when_submitted_again_then_the_gap_is_closed_and_both_land",
    ),
    Mutant(
        "live: given up in its very last ledger",
        "engine_proc/xrpl_order_state.py",
        "validated_index > submission.last_ledger",
        "validated_index >= submission.last_ledger",
        "tests/xrpl/test_order_state.py::"
        "test_given_what_is_known_when_asked_then_the_end_is_certain_only_in_a_ledger_or_past_the_last_without_a_hole",
    ),
    Mutant(
        "live: fills on record already are told again after a crash",
        "engine_proc/xrpl_outcomes.py",
        "[fill for fill in fills if fill.trade_id not in stretch.recorded]",
        "list(fills)",
        "tests/xrpl/test_outcomes.py::"
        "test_given_a_fill_on_record_already_when_read_again_then_it_is_not_reported_but_the_offer_shrinks",
    ),
    Mutant(
        "live: a ledger counts as read before the engine has recorded what it was told of it",
        "engine_proc/venue_xrpl.py",
        "        self._log.advance(index, settled=landed.settled, offers=landed.offers)\n",
        "        self._log.advance(index, settled=landed.settled, offers=landed.offers)\n        self._log.confirm()\n",
        "tests/xrpl/test_venue_xrpl_faults.py::"
        "test_given_a_crash_around_putting_a_fill_on_record_when_started_again_then_it_is_told_exactly_once",
    ),
    Mutant(
        "live: new orders go to a network dearer than the cap",
        "engine_proc/venue_xrpl.py",
        "FEE_ABOVE_CAP if self._fee_drops > self._settings.fee_drops_max else None",
        "None",
        "tests/xrpl/test_venue_xrpl.py::"
        "test_given_load_above_the_cap_when_sent_then_new_orders_are_refused_and_cancels_go_at_the_cap",
    ),
    Mutant(
        "live: an order that will end soon is kept",
        "engine_proc/execution.py",
        'return state == "pending"',
        'return state in ("pending", "fading")',
        "tests/engine/test_terms.py::"
        "test_given_an_order_that_ends_soon_when_planned_then_it_is_replaced_at_the_same_price",
    ),
    Mutant(
        "live: the gate does not ask on what terms the venue takes orders",
        "engine_proc/gate.py",
        'return None if refusal is None else f"VENUE_{refusal}"',
        "return None",
        "tests/engine/test_terms.py::"
        "test_given_a_venue_that_refuses_when_active_then_every_intent_is_denied_with_its_code",
    ),
    Mutant(
        "live: bids are rounded up, to the taker's favour",
        "engine_proc/xrpl_offers.py",
        "rounding=ROUND_FLOOR",
        "rounding=ROUND_CEILING",
        "tests/xrpl/test_offers.py::"
        "test_given_any_order_when_written_then_its_price_is_never_worse_for_us_and_hardly_better",
    ),
    Mutant(
        "live: a seed of another account signs",
        "engine_proc/xrpl_wallet.py",
        "if address == account:",
        "if address:",
        "tests/xrpl/test_wallet.py::"
        "test_given_a_seed_of_another_account_when_a_signer_is_made_then_both_accounts_are_named_but_not_the_seed",
    ),
    Mutant(
        "live: a server of another network is used",
        "engine_proc/xrpl_link.py",
        "if network_id != self._network_id:",
        "if False:",
        "tests/xrpl/test_link.py::"
        "test_given_one_node_of_another_network_when_there_is_a_right_one_then_it_alone_is_left_out",
    ),
)


def main(names: list[str]) -> int:
    """Run the mutants whose names contain one of the words, or all; the number that nobody noticed."""
    wanted = [mutant for mutant in MUTANTS if not names or any(name in mutant.name for name in names)]
    survivors = 0
    if sick := run(ROOT, sorted({mutant.caught_by for mutant in wanted})):
        raise SystemExit(f"these fail already without a mutant, so they can prove nothing: {', '.join(sick)}")
    for mutant in wanted:
        failed = failures(mutant)
        verdict = "caught" if failed else "SURVIVED"
        print(f"{verdict:9} {mutant.name}\n          by {mutant.caught_by}", flush=True)
        survivors += not failed
    print(f"{len(wanted)} mutants, {len(wanted) - survivors} caught, {survivors} survived")
    return survivors


def failures(mutant: Mutant) -> list[str]:
    """The tests that fail on a mutant, at most the first three."""
    with tempfile.TemporaryDirectory(prefix="mutant") as tmp:
        copy = Path(tmp) / "kedge"
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".git", ".venv", "data", "*cache*", ".hypothesis"))
        (copy / "data").mkdir(exist_ok=True)
        shutil.copytree(ROOT / "tests/data", copy / "tests/data", dirs_exist_ok=True)
        mutate(mutant, copy)
        return run(copy, [mutant.caught_by])


def run(tree: Path, tests: list[str]) -> list[str]:
    """Run tests in a tree; those that fail, at most three."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--no-header", "--tb=no", "--maxfail=3", "-rfE", *tests],
        cwd=tree, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode not in (0, 1):
        raise SystemExit(f"{', '.join(tests)}: pytest ended with {done.returncode}\n{done.stdout}{done.stderr}")
    return [line.split(" ")[1] for line in done.stdout.splitlines() if line.startswith(("FAILED ", "ERROR "))]


def mutate(mutant: Mutant, tree: Path) -> None:
    """Make the change. Fails if the code is no longer what the mutant says."""
    path = tree / mutant.file
    text = path.read_text(encoding="utf-8")
    assert text.count(mutant.before) == 1, f"{mutant.name}: not exactly once in {mutant.file}"
    path.write_text(text.replace(mutant.before, mutant.after), encoding="utf-8")


def table() -> str:
    """The list for tests/README.md."""
    rows = (f"| {mutant.name} | `{mutant.file}` | `{mutant.caught_by}` |" for mutant in MUTANTS)
    return "\n".join(("| what is broken | where | the test that fails |", "|---|---|---|", *rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
