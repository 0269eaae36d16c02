"""Which records are missing: gaps filled in any order, against the plain set of numbers that they stand for."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from telemetry_proc.offsets import Gap, Offset


def numbers_in(gaps):
    return [seq for gap in gaps for seq in range(gap.missing_from, gap.last_seq + 1)]


@given(
    skips=st.lists(st.tuples(st.integers(0, 5), st.integers(1, 9)), min_size=1, max_size=8),
    data=st.data(),
)
def test_given_any_gaps_when_filled_in_any_order_then_each_missing_record_is_taken_once_and_the_books_agree(
    skips, data
):
    offset, missing, on_file = Offset(), set(), {}
    for taken, skipped in skips:
        for _ in range(taken):
            offset.pass_over(b"x")
        missing |= set(range(offset.next_seq, offset.next_seq + skipped))
        offset.skip_to(offset.next_seq + skipped, "no journal")

    for seq in data.draw(st.lists(st.integers(0, offset.next_seq - 1), max_size=60)):
        assert offset.fill(seq) == (seq in missing)
        missing.discard(seq)
        assert numbers_in(offset.gaps) == sorted(missing)
        if data.draw(st.booleans()):  # a batch is stored
            on_file |= offset.gaps_changed
            offset.gaps_changed.clear()

    on_file |= offset.gaps_changed
    assert sorted(on_file) == sorted(gap.first_seq for gap in on_file.values())
    assert [gap for _, gap in sorted(on_file.items()) if gap.missing_from is not None] == offset.gaps
    covered = [seq for _, gap in sorted(on_file.items()) for seq in range(gap.first_seq, gap.last_seq + 1)]
    assert len(covered) == len(set(covered)) == sum(skipped for _, skipped in skips)  # every gap stays on file


def test_given_a_gap_when_its_first_record_is_filled_then_it_begins_one_later():
    offset = Offset()
    offset.skip_to(3, "no journal")

    assert [offset.fill(0), offset.fill(0)] == [True, False]

    assert offset.gaps == [Gap(0, 2, 1, "no journal")]
