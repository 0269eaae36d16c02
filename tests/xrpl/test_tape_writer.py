"""Recording: what is put on a tape plays back to the same views, whatever happened to the recorder or the network."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine_proc import tape_writer
from engine_proc.feed_tape import TapeFeed
from engine_proc.market import MarketView
from engine_proc.tape_writer import TapeWriter, record
from engine_proc.xrpl_market import RawLedger, pair_of
from engine_proc.xrpl_ports import ClosedLedger
from shared.clock import MarketClock
from shared.errors import KedgeError, UsageError
from shared.stop import Stop
from tests.xrpl.tape_node import TAPE, DirectLink, FakeClock, TapeNode, tape_lines

FIRST, LEDGERS = 915, 12
FULL_DISK = Path("/dev/full")
ISSUER = "rMxCKbEDwqr76QuheSUMdEGf4B9xJ8m5De"


@pytest.fixture
def stop() -> Iterator[Stop]:
    with closing(Stop()) as stop:
        yield stop


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tape_writer, "WAIT_MS", 1.0)


class Recording:
    """A tape's node whose ledgers close one by one, or so many at once, 4 s each, while the recorder waits."""

    def __init__(self, stop: Stop, steps: Callable[[int], int] = lambda _: 1) -> None:
        self.header, self.lines = tape_lines(FIRST, LEDGERS)
        self.node = TapeNode(self.header, self.lines)
        self.clock = FakeClock()
        self.link = DirectLink(self.node, self.clock, lambda _: self.close())
        self.closed = 0
        self._steps = steps
        self._waits = 0
        self._stop = stop

    def close(self) -> None:
        """Let ledgers close; once all have, the operator stops the recording."""
        if self.closed == LEDGERS:
            self._stop.request()
            return
        for _ in range(min(self._steps(self._waits), LEDGERS - self.closed)):
            message = self.node.close()
            self.closed += 1
            self.clock.pass_ms(4_000)
        self._waits += 1
        self.link.closed(message)

    def onto(self, path: Path, stop: Stop, ledgers_max: int | None = None) -> int:
        return record(self.link, self.node.pair, path, self.clock, stop, ledgers_max)


def played(path: Path, first: int = 0) -> list[MarketView]:
    """A tape's views without their time."""
    with closing(TapeFeed(path, MarketClock(), stale_after_ms=15_000, min_touch_size=1.0)) as feed:
        views = []
        while (view := feed.next()) is not None and len(views) < first + LEDGERS:
            views.append(view._replace(ts_ns=0))
    return views[first:]


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("name", ["market.jsonl", "market.jsonl.gz"])
def test_given_a_recorded_market_when_its_tape_is_played_then_the_views_are_those_of_the_original(
    tmp_path: Path, stop: Stop, name: str
) -> None:
    recording = Recording(stop)

    ledgers = recording.onto(tmp_path / name, stop)

    assert ledgers == LEDGERS
    views = played(tmp_path / name)
    assert views == played(TAPE, FIRST)
    assert any(view.prints for view in views)
    assert (tmp_path / name).read_bytes().startswith(b"\x1f\x8b") == name.endswith(".gz")


def test_given_a_tape_when_its_lines_are_read_then_header_and_ledgers_are_as_the_format_says(
    tmp_path: Path, stop: Stop
) -> None:
    recording, path = Recording(stop), tmp_path / "market.jsonl"

    recording.onto(path, stop)

    header, *lines = lines_of(path)
    shared = ("format", "pair", "currency", "issuer", "amm_account", "network_id", "trading_fee")
    assert {field: header[field] for field in shared} == {field: recording.header[field] for field in shared}
    for line, original in zip(lines, recording.lines, strict=True):
        assert line | {"recorded_unix_ms": 0} == {
            field: value
            for field, value in (original | {"seq": line["seq"], "recorded_unix_ms": 0}).items()
            if field not in ("phase", "stage", "fair")
        }
    assert [line["seq"] for line in lines] == list(range(LEDGERS))
    times = [line["recorded_unix_ms"] for line in lines]
    assert [later - earlier for earlier, later in pairwise(times)] == [4_000] * (LEDGERS - 1)


def test_given_ledgers_that_closed_unseen_when_the_next_is_heard_of_then_they_are_fetched_and_stand_before_it(
    tmp_path: Path, stop: Stop
) -> None:
    recording, path = Recording(stop, steps=lambda wait: 1 + 3 * (wait % 2)), tmp_path / "market.jsonl"

    ledgers = recording.onto(path, stop)

    assert ledgers == LEDGERS
    assert played(path) == played(TAPE, FIRST)
    times = [line["recorded_unix_ms"] for line in lines_of(path)[1:]]
    assert [later - earlier for earlier, later in pairwise(times)] == [4_000] * (LEDGERS - 1)


def test_given_ledgers_that_the_node_has_forgotten_when_recording_then_they_are_named_and_the_rest_is_there(
    tmp_path: Path, stop: Stop, caplog: pytest.LogCaptureFixture
) -> None:
    recording, path = Recording(stop, steps=lambda _: 4), tmp_path / "market.jsonl"
    gone = recording.lines[5]["ledger_index"]
    recording.node.forgotten.add(gone)

    recording.onto(path, stop)

    # The recorder came when four were closed already, and saw the last of them.
    expected = [line["ledger_index"] for line in recording.lines[3:] if line["ledger_index"] != gone]
    assert [line["ledger_index"] for line in lines_of(path)[1:]] == expected
    assert f"ledger {gone} is left out" in caplog.text


def test_given_a_gap_too_wide_when_recording_then_its_newer_end_is_fetched_and_the_rest_named(
    tmp_path: Path, stop: Stop, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tape_writer, "GAP_LEDGERS_MAX", 2)
    recording, path = Recording(stop, steps=lambda wait: 1 + 6 * (wait == 1)), tmp_path / "market.jsonl"

    recording.onto(path, stop)

    indexes = [line["ledger_index"] for line in recording.lines]
    assert [line["ledger_index"] for line in lines_of(path)[1:]] == indexes[:1] + indexes[5:]
    assert f"ledgers {indexes[1]} to {indexes[4]} are left out" in caplog.text


def test_given_a_network_that_goes_away_when_it_is_back_then_no_ledger_is_missing(tmp_path: Path, stop: Stop) -> None:
    recording, path = Recording(stop), tmp_path / "market.jsonl"
    answers, refused = recording.link.request_all, 0

    def with_an_outage(commands: Any) -> Any:
        nonlocal refused
        recording.link.cut = recording.closed == 5 and refused < 3
        refused += recording.link.cut
        return answers(commands)

    recording.link.request_all = with_an_outage  # type: ignore[method-assign]

    assert recording.onto(path, stop) == LEDGERS
    assert refused == 3
    assert played(path) == played(TAPE, FIRST)


def test_given_enough_ledgers_when_recording_then_it_ends_by_itself(tmp_path: Path, stop: Stop) -> None:
    recording, path = Recording(stop), tmp_path / "market.jsonl.gz"

    assert recording.onto(path, stop, ledgers_max=3) == 3
    assert not stop.requested
    assert played(path) == played(TAPE, FIRST)[:3]


def test_given_a_file_of_that_name_when_recording_then_it_is_refused_and_left_alone(tmp_path: Path, stop: Stop) -> None:
    recording, path = Recording(stop), tmp_path / "market.jsonl"
    path.write_text("dear to someone")

    with pytest.raises(UsageError, match="exists already"):
        recording.onto(path, stop)
    with pytest.raises(UsageError, match="exists already"):
        TapeWriter(path, {})

    assert path.read_text() == "dear to someone"
    assert recording.closed == 0


def test_given_no_such_directory_when_recording_then_one_line_says_so(tmp_path: Path, stop: Stop) -> None:
    with pytest.raises(KedgeError, match=r"away/market\.jsonl: No such file"):
        Recording(stop).onto(tmp_path / "away" / "market.jsonl", stop)


def test_given_a_full_disk_when_recording_then_one_line_says_so(
    tmp_path: Path, stop: Stop, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not FULL_DISK.exists():
        pytest.skip("this system has no full disk to write to")
    monkeypatch.setattr(tape_writer, "_create", lambda _: FULL_DISK.open("wb"))

    with pytest.raises(KedgeError, match=r"market\.jsonl: No space left on device"):
        Recording(stop).onto(tmp_path / "market.jsonl", stop)


def test_given_ledgers_at_the_same_millisecond_when_they_are_appended_then_time_still_moves_on(tmp_path: Path) -> None:
    path = tmp_path / "market.jsonl"
    with closing(TapeWriter(path, {})) as tape:
        for index in range(3):
            ledger = ClosedLedger(index, 0, 5_000_000_000 - index * 10_000_000, 0, 10, 1, 1, "")
            tape.append(RawLedger(index, 0, [], [], None, []), ledger)

    assert [line["recorded_unix_ms"] for line in lines_of(path)[1:]] == [5_000, 5_001, 5_002]


@pytest.mark.parametrize("name", ["market.jsonl", "market.jsonl.gz"])
def test_given_a_recorder_that_is_killed_when_its_tape_is_played_then_every_whole_line_is_there(
    tmp_path: Path, name: str
) -> None:
    header, lines = tape_lines(FIRST, 4)
    tape = TapeWriter(tmp_path / name, header)
    for count, line in enumerate(lines):
        tape.append(*_ledger_of(line))
        copy = tmp_path / f"{count}-{name}"
        copy.write_bytes((tmp_path / name).read_bytes())

        assert played(copy) == played(TAPE, FIRST)[: count + 1]
    tape.close()


@pytest.fixture(scope="module", params=["market.jsonl", "market.jsonl.gz"])
def growing(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[int]]:
    """A finished tape of four ledgers, and how long the file was after the header and after each of them."""
    header, lines = tape_lines(FIRST, 4)
    path = tmp_path_factory.mktemp("growing") / request.param
    with closing(TapeWriter(path, header)) as tape:
        lengths = [path.stat().st_size]
        for line in lines:
            tape.append(*_ledger_of(line))
            lengths.append(path.stat().st_size)
    return path, lengths


@given(share=st.floats(0.0, 1.0))
def test_given_a_tape_cut_anywhere_when_it_is_played_then_every_line_before_the_cut_is_there(
    growing: tuple[Path, list[int]], share: float
) -> None:
    path, lengths = growing
    cut = lengths[0] + int(share * (path.stat().st_size - lengths[0]))
    part = path.with_name(f"part-{path.name}")
    part.write_bytes(path.read_bytes()[:cut])

    views = played(part)

    assert views == played(path)[: len(views)]
    assert len(views) >= sum(length <= cut for length in lengths[1:])


@pytest.mark.parametrize(
    ("pair", "currency"),
    [
        ("XRP/RLUSD", "524C555344000000000000000000000000000000"),
        ("XRP/USD", "USD"),
        ("SOLO/XRP", "534F4C4F00000000000000000000000000000000"),
        ("XRP/0123456789ABCDEF0123456789ABCDEF01234567", "0123456789ABCDEF0123456789ABCDEF01234567"),
    ],
)
def test_given_a_pair_when_it_is_recorded_then_the_header_calls_it_what_the_configuration_does(
    tmp_path: Path, stop: Stop, pair: str, currency: str
) -> None:
    class EmptyMarket(TapeNode):
        def answer(self, command: dict[str, Any]) -> dict[str, Any]:
            empty: dict[str, Any] = {"offers": []} if command["command"] == "book_offers" else {"amm": None}
            answer = super().answer(command)
            return answer | {field: empty[field] for field in answer if field in empty}

    header, lines = tape_lines(FIRST, 1)
    node, clock = EmptyMarket(header, [lines[0] | {"amm_info": None}]), FakeClock()
    node.close()
    link = DirectLink(node, clock)
    link.closed(node.answer({"command": "subscribe"}))

    record(link, pair_of(pair, ISSUER), tmp_path / "market.jsonl", clock, stop, 1)

    written, line = lines_of(tmp_path / "market.jsonl")
    assert (written["pair"], written["currency"], written["issuer"]) == (pair, currency, ISSUER)
    assert (written["amm_account"], written["trading_fee"], line["amm_info"]) == (None, None, None)
    assert len(played(tmp_path / "market.jsonl")) == 1


def _ledger_of(line: dict[str, Any]) -> tuple[RawLedger, ClosedLedger]:
    fields = ("ledger_index", "close_time", "asks", "bids", "amm_info", "transactions")
    ns = line["recorded_unix_ms"] * 1_000_000
    closed = ClosedLedger(line["ledger_index"], line["close_time"], ns, 0, 10, 1_000_000, 200_000, line["ledger_hash"])
    return RawLedger(*(line[field] for field in fields)), closed
