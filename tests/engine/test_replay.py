"""A session run into a real journal, then driven from it: bit for bit, or under other settings, or refused."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from engine_proc.app import replay_journal, run_session
from engine_proc.replay import REPRODUCED
from shared.codec import encode, read_record
from shared.config import LoadedConfig, build_config
from shared.errors import ConfigError, IntegrityError
from shared.journal import Frame, JournalWriter, read_frames
from shared.records import BreakerEvent, Record, SessionOpened, TickRecord

TAPE = Path(__file__).parents[1] / "data/node_tape_a.jsonl.gz"
CALM_THEN_DRAG = "market.sim.scenario=[{kind: calm, ticks: 60}, {kind: drag, ticks: 240}]"
TROUBLE = "market.sim.scenario=[{kind: outage, ticks: 40}, {kind: stale, ticks: 20}, {kind: flapping, ticks: 90}]"
GUARD = "strategy.anchor_saturation_guard."
MACHINE_TIME = {"wall_ns", "tick_duration_us", "outbox_unsent"}


def settings(directory: Path, *overrides: str) -> LoadedConfig:
    quick = ("market.pace_per_s=0", "market.ticks_max=300", "telemetry.linger_ms=0", CALM_THEN_DRAG)
    places = (f"telemetry.journal_dir={directory}/j", f"telemetry.endpoint=ipc://{directory}/s")
    return build_config({}, "test", (*quick, *places, *overrides))


def recorded(directory: Path, *overrides: str) -> Path:
    """Run a session to its end; its journal."""
    before = set(directory.glob("j/*.kj"))
    run_session(lambda: settings(directory, *overrides))
    (path,) = set(directory.glob("j/*.kj")) - before
    return path


def records_of(path: Path) -> list[Record]:
    return [read_record(frame.payload)[1] for frame in read_frames(path) if isinstance(frame, Frame)]


def ticks_of(path: Path) -> list[TickRecord]:
    return [record for record in records_of(path) if isinstance(record, TickRecord)]


def rewritten(path: Path, change: Callable[[list[tuple[int, Record]]], list[tuple[int, Record]]]) -> Path:
    """A journal with other records (and numbers) in frames that are whole."""
    numbered = change(list(enumerate(records_of(path))))
    writer = JournalWriter(path.with_name("rewritten.kj"))
    for seq, record in numbered:
        writer.append(encode("rewritten", seq, record))
    writer.close()
    return writer.path


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A calm stretch with fills, then a drag that trips the guard. Read only."""
    return recorded(tmp_path_factory.mktemp("r"))


@pytest.fixture
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("r")  # short: socket paths are limited


# --------------------------------------------------------------------------------------------- under its own settings


def test_given_a_session_with_fills_and_a_trip_then_its_replay_is_the_session(session: Path) -> None:
    comparison, engine = replay_journal(session, None)
    recorded_ticks = ticks_of(session)
    assert any(record.fills for record in recorded_ticks), "a session without fills proves little"
    assert (comparison.ticks, comparison.mismatched_ticks, comparison.first_mismatch) == (300, 0, None)
    (trip,) = [record for record in records_of(session) if isinstance(record, BreakerEvent)]
    assert comparison.recorded_trip_tick == comparison.replayed_trip_tick == trip.tick
    assert comparison.quotes_changed_ticks == 0
    assert comparison.replayed_quoting_ticks == trip.tick - 1
    assert engine.summary.fills == sum(record.fills for record in recorded_ticks)
    assert comparison.max_abs_error_bps == max(abs(r.anchor_error_bps or 0.0) for r in recorded_ticks)


@pytest.mark.parametrize(
    "overrides",
    [
        ("execution.paper.latency_ledgers=0",),
        ("execution.paper.latency_ledgers=3",),
        ("execution.dry_run=true",),
        ("market.sim.glitch_rate=0.4", "market.seed=7"),
        (TROUBLE, "market.ticks_max=450"),
        ("strategy.anchor.mode=capped", "strategy.anchor.reference=spot", GUARD + "enabled=false"),
        ("strategy.anchor.mode=clob",),
        ("reconcile.interval_ticks=1",),
        ("market.min_touch_size=1600",),
    ],
    ids=["latency_0", "latency_3", "dry_run", "glitches", "trouble", "capped_spot", "clob", "reconciled", "dust"],
)
def test_given_sessions_of_all_sorts_then_anchors_errors_and_verdicts_are_reproduced_bit_for_bit(
    directory: Path, overrides: tuple[str, ...]
) -> None:
    path = recorded(directory, *overrides)
    comparison, _ = replay_journal(path, None)
    assert comparison.ticks == len(ticks_of(path)) >= 300
    assert (comparison.mismatched_ticks, comparison.first_mismatch) == (0, None)
    assert comparison.recorded_trip_tick == comparison.replayed_trip_tick
    if "execution.paper.latency_ledgers=3" not in overrides:
        assert comparison.quotes_changed_ticks == 0


def test_given_a_session_on_the_recorded_ledgers_then_its_replay_is_the_session(directory: Path) -> None:
    path = recorded(directory, "market.feed=tape", f"market.tape={TAPE}", "market.ticks_max=500")
    comparison, _ = replay_journal(path, None)
    nulls = [record for record in ticks_of(path) if record.anchor_error_bps is None]
    assert (comparison.ticks, comparison.mismatched_ticks, comparison.quotes_changed_ticks) == (500, 0, 0)
    assert comparison.recorded_trip_tick == comparison.replayed_trip_tick is not None
    assert len(nulls) < 500


def test_given_a_replay_then_nothing_is_written_anywhere(session: Path) -> None:
    def everything() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in session.parent.parent.rglob("*")}

    before = everything()
    replay_journal(session, None)
    assert everything() == before


def test_given_a_session_that_started_latched_then_its_replay_starts_latched_too(directory: Path) -> None:
    recorded(directory, "strategy.rearm=explicit")
    latched = recorded(directory, "strategy.rearm=explicit", "market.ticks_max=50")
    assert records_of(latched)[0].initial_mode == "DEGRADED"
    comparison, engine = replay_journal(latched, None)
    assert (comparison.recorded_quoting_ticks, comparison.replayed_quoting_ticks) == (0, 0)
    assert engine.state.mode == "DEGRADED"
    assert comparison.mismatched_ticks == 0


# -------------------------------------------------------------------------------------------------- other settings


def test_given_another_reference_then_other_anchors_on_the_same_views(session: Path) -> None:
    comparison, _ = replay_journal(session, settings(session.parent.parent, "strategy.anchor.reference=spot"))
    assert comparison.ticks == 300
    assert comparison.mismatched_ticks > 50
    mismatch = comparison.first_mismatch
    recorded_tick = ticks_of(session)[mismatch.tick - 1]
    assert mismatch.field == "quote_anchor_price"
    assert mismatch.recorded == recorded_tick.quote_anchor_price
    assert mismatch.replayed == pytest.approx(recorded_tick.amm_price)
    assert comparison.quotes_changed_ticks > 0


def test_given_other_guard_settings_then_another_verdict_and_the_same_errors(session: Path) -> None:
    own, _ = replay_journal(session, None)
    tighter, _ = replay_journal(session, settings(session.parent.parent, GUARD + "lookback_ticks=10"))
    disabled, _ = replay_journal(session, settings(session.parent.parent, GUARD + "enabled=false"))
    assert tighter.recorded_trip_tick == disabled.recorded_trip_tick == own.replayed_trip_tick
    assert tighter.replayed_trip_tick < own.replayed_trip_tick
    assert disabled.replayed_trip_tick is None
    assert disabled.mismatched_ticks == 0
    assert disabled.replayed_quoting_ticks > own.replayed_quoting_ticks
    assert disabled.max_abs_error_bps == own.max_abs_error_bps


def test_given_other_quotes_then_balances_are_still_those_of_the_record(session: Path) -> None:
    _, engine = replay_journal(session, settings(session.parent.parent, "strategy.quote.half_spread_bps=30"))
    last = ticks_of(session)[-1]
    assert (float(engine.holdings.base), float(engine.holdings.quote)) == (last.base_balance, last.quote_balance)


# ------------------------------------------------------------------------------------------- a record that was touched


@pytest.mark.parametrize("field", ["anchor_error_bps", "guard_mean_bps", "volatility_bps"])
def test_given_one_value_off_by_the_least_bit_then_found_with_its_tick_and_field(
    session: Path, directory: Path, field: str
) -> None:
    copy = directory / "copy.kj"
    copy.write_bytes(session.read_bytes())

    def off_by_one_bit(numbered: list[tuple[int, Record]]) -> list[tuple[int, Record]]:
        at, tick = next((n, r) for n, r in numbered if isinstance(r, TickRecord) and r.tick == 77)
        numbered[at] = (at, tick._replace(**{field: math.nextafter(getattr(tick, field), math.inf)}))
        return numbered

    comparison, _ = replay_journal(rewritten(copy, off_by_one_bit), None)
    assert comparison.mismatched_ticks == 1
    assert comparison.first_mismatch[:2] == (77, field)


def test_given_the_reproduced_columns_then_they_are_fields_of_the_tick() -> None:
    assert set(REPRODUCED) < set(TickRecord._fields)


# ---------------------------------------------------------------------------------------------------- damaged journals


def whole_copy(session: Path, directory: Path) -> Path:
    copy = directory / session.name
    copy.write_bytes(session.read_bytes())
    return copy


@pytest.mark.parametrize("lost_bytes", [1, 9, 500])
def test_given_a_torn_tail_then_what_was_recorded_is_reproduced(
    session: Path, directory: Path, lost_bytes: int
) -> None:
    copy = whole_copy(session, directory)
    copy.write_bytes(session.read_bytes()[:-lost_bytes])
    comparison, _ = replay_journal(copy, None)
    assert (comparison.ticks >= 299, comparison.mismatched_ticks) == (True, 0)
    assert comparison.recorded_trip_tick == comparison.replayed_trip_tick


def test_given_a_crash_between_the_trip_and_its_tick_then_neither_side_counts_the_trip(
    session: Path, directory: Path
) -> None:
    copy = whole_copy(session, directory)
    frames = [frame for frame in read_frames(session) if isinstance(frame, Frame)]
    trip = next(n for n, record in enumerate(records_of(session)) if isinstance(record, BreakerEvent))
    copy.write_bytes(session.read_bytes()[: frames[trip].end])
    comparison, _ = replay_journal(copy, None)
    assert (comparison.recorded_trip_tick, comparison.replayed_trip_tick) == (None, None)
    assert comparison.mismatched_ticks == 0


def test_given_damage_in_the_middle_then_refused_naming_file_and_position(session: Path, directory: Path) -> None:
    copy = whole_copy(session, directory)
    content = bytearray(session.read_bytes())
    content[len(content) // 2] ^= 1
    copy.write_bytes(content)
    with pytest.raises(IntegrityError, match=rf"{copy}: \d+ damaged bytes at position \d+"):
        replay_journal(copy, None)


def skipping_one(numbered: list[tuple[int, Record]]) -> list[tuple[int, Record]]:
    return numbered[:10] + numbered[11:]


def twice_the_same(numbered: list[tuple[int, Record]]) -> list[tuple[int, Record]]:
    return numbered[:10] + numbered[9:]


def without_its_opening(numbered: list[tuple[int, Record]]) -> list[tuple[int, Record]]:
    return [(n, record) for n, (_, record) in enumerate(numbered[1:])]


def empty(_: list[tuple[int, Record]]) -> list[tuple[int, Record]]:
    return []


def with_nonsense(numbered: list[tuple[int, Record]]) -> list[tuple[int, Record]]:
    at = next(n for n, record in numbered if isinstance(record, TickRecord))
    numbered[at] = (at, numbered[at][1]._replace(mid="a word"))
    return numbered


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (skipping_one, "record 11 stands where record 10 belongs"),
        (twice_the_same, "record 9 stands where record 10 belongs"),
        (without_its_opening, "does not start with the opening"),
        (empty, "does not start with the opening"),
        (with_nonsense, "tick.mid: "),
    ],
)
def test_given_whole_frames_that_are_no_whole_record_then_refused(
    session: Path, directory: Path, change, said: str
) -> None:
    path = rewritten(whole_copy(session, directory), change)
    with pytest.raises(IntegrityError, match=f"{path}: .*{said}"):
        replay_journal(path, None)


def test_given_a_foreign_file_then_an_integrity_error(directory: Path) -> None:
    path = directory / "letter.kj"
    path.write_text("Dear quant,")
    with pytest.raises(IntegrityError, match="not a Kedge journal"):
        replay_journal(path, None)


@pytest.mark.parametrize("name", ["missing.kj", "", "no/such/dir.kj"])
def test_given_no_journal_or_a_directory_then_a_config_error(directory: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=r"cannot read the journal|a directory"):
        replay_journal(directory / name, None)


# ----------------------------------------------------------------------------------------------------- determinism


def told(path: Path) -> list[tuple[str, dict]]:
    """Every record without what depends on the machine's clock and on how fast the writer was."""
    return [
        (type(record).__name__, {name: value for name, value in record._asdict().items() if name not in MACHINE_TIME})
        for record in records_of(path)
    ]


@pytest.mark.parametrize("feed", [(), ("market.feed=tape", f"market.tape={TAPE}")], ids=["sim", "tape"])
def test_given_the_same_settings_and_seed_when_run_twice_then_the_same_records(
    directory: Path, feed: tuple[str, ...]
) -> None:
    first, second = recorded(directory, *feed), recorded(directory, *feed)
    assert first != second
    assert told(first) == told(second)


def test_given_another_seed_then_other_records(directory: Path) -> None:
    first, second = recorded(directory), recorded(directory, "market.seed=2")
    assert [r.mid for r in ticks_of(first)] != [r.mid for r in ticks_of(second)]


# -------------------------------------------------------------------------------------- the journal as a session's feed


def test_given_a_journal_as_feed_then_a_session_of_its_own_with_the_same_anchors(
    session: Path, directory: Path
) -> None:
    path = recorded(directory, "market.feed=replay", f"market.tape={session}", "market.ticks_max=0")
    assert isinstance(opened := records_of(path)[0], SessionOpened)
    assert opened.venue_mode == "replay"
    before, after = ticks_of(session), ticks_of(path)
    for field in (*REPRODUCED, "ts_ns", "ledger_index", "bid_price", "ask_price", "base_balance", "quote_balance"):
        assert [getattr(r, field) for r in before] == [getattr(r, field) for r in after], field
