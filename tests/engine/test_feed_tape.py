from __future__ import annotations

import copy
import gzip
import itertools
import json
import logging
import math
import statistics
import tracemalloc
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine_proc.feed_tape import TapeFeed, TapeHeader
from engine_proc.market import MarketView
from engine_proc.xrpl_market import RawLedger, pair_of
from engine_proc.xrpl_prints import read_prints
from shared.clock import MarketClock
from shared.errors import ConfigError, KedgeError

TAPE = Path(__file__).parents[1] / "data" / "node_tape_a.jsonl.gz"


def tape_feed(path: Path, clock: MarketClock | None = None, *, min_touch_size: float = 0.0) -> TapeFeed:
    return TapeFeed(path, clock or MarketClock(), stale_after_ms=15_000, min_touch_size=min_touch_size)


def views_of(path: Path, **options: float) -> list[MarketView]:
    feed = tape_feed(path, **options)
    try:
        return list(iter(feed.next, None))
    finally:
        feed.close()


@pytest.fixture(scope="module")
def head() -> list[bytes]:
    """The header and the first 30 ledgers of the tape, line by line."""
    with gzip.open(TAPE) as tape:
        return list(itertools.islice(tape, 31))


def tape_of(path: Path, lines: list[bytes]) -> Path:
    path.write_bytes(b"".join(lines))
    return path


# The whole tape, once


class Played(NamedTuple):
    raw: dict
    view: MarketView


@pytest.fixture(scope="module")
def played() -> list[Played]:
    """Every ledger: what was recorded about it (without the bulk) and the view that came of it."""
    ledgers = []
    feed = tape_feed(TAPE)
    pair = pair_of(feed.pair, feed.header.issuer)
    with gzip.open(TAPE) as tape:
        next(tape)
        for line in tape:
            raw = json.loads(line)
            single = (RawLedger(0, 0, [], [], None, [transaction]) for transaction in raw["transactions"])
            by_transaction = [read_prints(ledger, pair, feed.header.amm_account, 0.0) for ledger in single]
            raw["amm_only"] = sum([p.pool_after is None for p in prints] == [False] for prints in by_transaction)
            offers = raw.pop("asks") + raw.pop("bids")
            raw["underfunded"] = sum("taker_gets_funded" in offer for offer in offers)
            raw["types"] = [transaction["tx_json"]["TransactionType"] for transaction in raw.pop("transactions")]
            view = feed.next()
            assert view is not None
            ledgers.append(Played(raw, view))
    assert feed.next() is None
    return ledgers


# phase: offer hits, AMM trades, of these AMM only, deposits + withdrawals, gap min/median/max in bps,
# median spread in bps, ledgers without mid, ledgers: the table in tests/data/node_tape_a.README.md
TABLE = {
    "calm_1": (225, 22, 9, 0, -21.1, 7.4, 29.9, 19.6, 0, 330),
    "drag": (115, 10, 10, 0, -52.7, -47.2, -1.5, 42.4, 0, 260),
    "recovery": (65, 20, 15, 0, -54.0, -15.6, 10.2, 19.8, 0, 120),
    "outage": (6, 5, 5, 0, 4.0, 4.0, 4.0, 22.0, 46, 52),
    "thin": (26, 20, 16, 0, -32.3, -7.4, 18.1, 38.6, 1, 148),
    "calm_2": (245, 45, 19, 12, -26.0, -2.8, 30.8, 20.1, 0, 290),
}


@pytest.mark.parametrize("phase", TABLE)
def test_given_the_whole_tape_when_played_then_each_phase_is_as_its_readme_says(played, phase):
    ledgers = [ledger for ledger in played if ledger.raw["phase"] == phase]
    views = [view for _, view in ledgers]
    prints = [p for view in views for p in view.prints]
    quoted = [view for view in views if view.mid is not None]
    gaps = [(view.amm.spot - view.mid) / view.mid * 1e4 for view in quoted]
    # Of an even number of ledgers the README's median is the upper of the middle two.
    spreads = [(view.clob_ask - view.clob_bid) / view.mid * 1e4 for view in quoted]
    trades = sum(p.pool_after is not None for p in prints)
    moves = sum(kind in ("AMMDeposit", "AMMWithdraw") for raw, _ in ledgers for kind in raw["types"])
    assert (
        len(prints) - trades,
        trades,
        sum(raw["amm_only"] for raw, _ in ledgers),
        moves,
        *(
            round(bps, 1)
            for bps in (min(gaps), statistics.median_high(gaps), max(gaps), statistics.median_high(spreads))
        ),
        len(views) - len(quoted),
        len(views),
    ) == TABLE[phase]


def test_given_the_whole_tape_when_played_then_its_totals_are_those_of_the_readme(played):
    views = [view for _, view in played]
    prints = [p for view in views for p in view.prints]
    assert len(views) == 1200
    assert sum(view.mid is None for view in views) == 47
    assert (len(prints), sum(p.pool_after is not None for p in prints)) == (682 + 122, 122)
    assert sum(raw["underfunded"] for raw, _ in played) == 379
    assert {raw["phase"] for raw, _ in played if raw["underfunded"]} == {"thin"}


def test_given_the_outage_when_played_then_each_stage_has_its_name(played):
    statuses = defaultdict(set)
    for raw, view in played:
        if raw["phase"] == "outage":
            statuses[raw["stage"]].add(view.status)
    assert statuses == {
        "asks_empty": {"ONE_SIDED"},
        "both_empty": {"EMPTY"},
        "expiring": {"OK"},
        "expired_only": {"EMPTY"},  # the node goes on listing what nobody can take any more
    }
    assert next(view for raw, view in played if raw["seq"] == 888).status == "ONE_SIDED"


def test_given_the_pool_of_a_ledger_when_its_prints_are_added_then_it_is_the_next_ledgers_pool(played):
    followed = 0
    for (_, before), (raw, after) in itertools.pairwise(played):
        if any(kind in ("AMMDeposit", "AMMWithdraw") for kind in raw["types"]):
            continue
        base, quote, last = before.amm.base, before.amm.quote, before.amm
        for p in after.prints:
            if p.pool_after is not None:
                sign = 1 if p.taker_side == "buy" else -1
                base, quote, last = base - sign * p.size, quote + sign * p.size * p.price, p.pool_after
        assert last == after.amm
        assert (base, quote) == pytest.approx((after.amm.base, after.amm.quote), abs=1e-6, rel=0)
        followed += 1
    assert followed == 1199 - 12


def test_given_the_whole_tape_when_played_then_every_view_is_sound(played):
    for raw, view in played:
        assert view.ledger_index == raw["ledger_index"]
        assert view.ts_ns == raw["recorded_unix_ms"] * 1_000_000
        assert view.age_ms == 0
        assert_sound(view)


def assert_sound(view: MarketView) -> None:
    bids, asks = [level.price for level in view.bids], [level.price for level in view.asks]
    assert bids == sorted(set(bids), reverse=True)
    assert asks == sorted(set(asks))
    for number in (*bids, *asks, *(level.size for level in view.bids + view.asks)):
        assert 0.0 < number < math.inf
    for p in view.prints:
        assert 0.0 < p.price < math.inf
        assert 0.0 < p.size < math.inf
        assert p.pool_after is None or 0.0 < p.pool_after.spot < math.inf
    assert view.amm is None or 0.0 < view.amm.spot < math.inf


def test_given_dust_at_the_top_when_a_touch_needs_a_size_then_it_is_skipped_and_still_listed(played):
    dusty = {view.ledger_index for _, view in played if (view.clob_ask_size or math.inf) < 20.0}
    assert len(dusty) > 20
    for view in views_of(TAPE, min_touch_size=20.0):
        if view.ledger_index in dusty and view.mid is not None:
            assert view.asks[0].size < 20.0 <= view.clob_ask_size
            assert view.asks[0].price < view.clob_ask
        assert view.clob_ask_size is None or view.clob_ask_size >= 20.0
        assert view.clob_bid_size is None or view.clob_bid_size >= 20.0


def test_given_a_tape_when_opened_then_the_header_tells_the_market(head):
    feed = tape_feed(TAPE)
    feed.close()
    raw = json.loads(head[0])
    assert feed.header == TapeHeader("XRP/RLUSD", raw["currency"], raw["issuer"], raw["amm_account"], 267)
    assert feed.pair == "XRP/RLUSD"


def test_given_a_tape_when_played_then_the_clock_follows_it(head, tmp_path):
    clock = MarketClock()
    feed = tape_feed(tape_of(tmp_path / "tape", head), clock)
    assert clock.now_ns() == 0
    for line in head[1:]:
        view = feed.next()
        assert view is not None
        assert clock.now_ns() == view.ts_ns == json.loads(line)["recorded_unix_ms"] * 1_000_000
    assert feed.next() is None
    assert feed.next() is None


def test_given_plain_or_gzip_under_any_name_when_played_then_the_views_are_the_same(head, tmp_path):
    plain = tape_of(tmp_path / "plain.gz", head)
    packed = tape_of(tmp_path / "packed.jsonl", [gzip.compress(b"".join(head))])
    assert views_of(plain) == views_of(packed)
    assert len(views_of(plain)) == 30


def test_given_what_is_for_judging_only_when_it_lies_then_the_views_are_the_same(head, tmp_path):
    lies = [json.dumps(json.loads(line) | {"phase": 7, "stage": None, "fair": "x"}).encode() + b"\n" for line in head]
    assert views_of(tape_of(tmp_path / "lies", lies)) == views_of(tape_of(tmp_path / "true", head))


def test_given_ledgers_missing_when_played_then_the_next_view_is_as_fresh_as_any(head, tmp_path):
    views = views_of(tape_of(tmp_path / "tape", [head[0], head[1], head[30]]))
    assert [view.ledger_index for view in views] == [10, 39]
    assert [(view.age_ms, view.status) for view in views] == [(0, "OK"), (0, "OK")]


def test_given_a_market_without_a_pool_when_played_then_views_have_none(head, tmp_path):
    header = json.loads(head[0]) | {"amm_account": None, "trading_fee": None}
    ledgers = [json.dumps(json.loads(line) | {"amm_info": None}).encode() + b"\n" for line in head[1:]]
    views = views_of(tape_of(tmp_path / "tape", [json.dumps(header).encode() + b"\n", *ledgers]))
    assert len(views) == 30
    assert {view.amm for view in views} == {None}
    assert all(p.pool_after is None for view in views for p in view.prints)


def test_given_a_long_tape_when_played_then_memory_stays_flat():
    feed = tape_feed(TAPE)
    tracemalloc.start()
    try:
        for _ in range(200):
            assert feed.next() is not None
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        feed.close()
    assert peak_bytes < 3_000_000  # 200 ledgers are 5 MB of text, and several times that once parsed


# Damage


def test_given_a_torn_last_line_when_played_then_the_tape_ends_there_with_a_warning(head, tmp_path, caplog):
    torn = tape_of(tmp_path / "tape", [*head[:5], head[5][:1000]])
    with caplog.at_level(logging.WARNING):
        assert len(views_of(torn)) == 4
    assert f"{torn}: line 6 is incomplete" in caplog.text


def test_given_a_torn_gzip_when_played_then_the_tape_ends_there_with_a_warning(head, tmp_path, caplog):
    packed = gzip.compress(b"".join(head))
    torn = tape_of(tmp_path / "tape", [packed[: len(packed) // 2]])
    with caplog.at_level(logging.WARNING):
        views = views_of(torn)
    assert 0 < len(views) < 30
    assert f"line {len(views) + 2} is incomplete" in caplog.text


def test_given_a_last_line_without_newline_when_it_is_whole_then_it_is_played(head, tmp_path, caplog):
    assert len(views_of(tape_of(tmp_path / "tape", [*head[:5], head[5].rstrip()]))) == 5
    assert not caplog.text


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"{\n", "line 3: Expecting"),
        (b"\n", "line 3: Expecting"),
        (b"\xff\xfe\n", "line 3: "),
        (b"[" * 200_000 + b"\n", "line 3: nested too deep"),
        (b"[]\n", "line 3: expected a JSON object, got list"),
        (b"{}\n", "line 3: ledger: amm_info is missing"),
        (b'{"amm_info": null}\n', "line 3: ledger: ledger_index: expected an integer"),
    ],
)
def test_given_a_corrupt_line_in_the_middle_when_played_then_the_error_names_file_and_line(
    head, tmp_path, line, message
):
    path = tape_of(tmp_path / "tape", [head[0], head[1], line, head[3]])
    with pytest.raises(KedgeError) as caught:
        views_of(path)
    assert str(caught.value).startswith(f"{path}: {message}")


def test_given_a_flipped_byte_in_a_gzip_when_played_then_the_error_names_file_and_line(head, tmp_path):
    packed = bytearray(gzip.compress(b"".join(head)))
    packed[len(packed) // 2] ^= 0xFF
    path = tape_of(tmp_path / "tape", [bytes(packed)])
    with pytest.raises(KedgeError, match=r"tape: line \d+: "):
        views_of(path)


def test_given_a_ledger_twice_when_played_then_the_error_says_so(head, tmp_path):
    path = tape_of(tmp_path / "tape", [head[0], head[2], head[2]])
    with pytest.raises(KedgeError, match="line 3: ledger 11 comes after ledger 11"):
        views_of(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "kedge-node-tape-2"}, "format 'kedge-node-tape-2' is not kedge-node-tape-1"),
        ({"pair": None}, "pair is missing"),
        ({"pair": "EUR/USD"}, "expected BASE/QUOTE with XRP"),
        ({"pair": "XRP/USD"}, "is not part of the pair XRP/USD"),
        ({"currency": "$"}, "currency '\\$'"),
        ({"issuer": 5}, "issuer is missing"),
        ({"trading_fee": 5000}, "trading_fee 5000"),
        ({"trading_fee": None}, "trading_fee is missing"),
    ],
)
def test_given_a_header_of_no_use_when_opened_then_config_error_names_file_and_field(head, tmp_path, change, message):
    header = json.dumps(json.loads(head[0]) | change).encode() + b"\n"
    with pytest.raises(ConfigError, match=message) as caught:
        tape_feed(tape_of(tmp_path / "tape", [header, head[1]]))
    assert str(tmp_path / "tape") in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x1f\x8bnot gzip", b"\x1f\x8b", b"[1]\n", b"SQLite format 3\x00"])
def test_given_something_else_when_opened_then_config_error_names_the_file(tmp_path, content):
    with pytest.raises(ConfigError, match="expected a tape of format kedge-node-tape-1") as caught:
        tape_feed(tape_of(tmp_path / "tape", [content]))
    assert str(tmp_path / "tape") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_given_no_file_or_a_directory_when_opened_then_config_error_names_it(tmp_path):
    with pytest.raises(ConfigError, match=r"market\.tape: .*absent: No such file"):
        tape_feed(tmp_path / "absent")
    with pytest.raises(ConfigError, match=r"market\.tape: "):
        tape_feed(tmp_path)


def places(node: object, path: tuple = ()):
    """Every place in a JSON document."""
    yield path
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        yield from places(value, (*path, key))


def with_junk(document: dict, path: tuple, junk: object) -> dict:
    document = copy.deepcopy(document)
    node = document
    for key in path[:-1]:
        node = node[key]
    if junk == "(gone)":
        del node[path[-1]]
    else:
        node[path[-1]] = junk
    return document


with gzip.open(TAPE) as tape_lines:  # the 7th ledger has a transaction that trades with offers and with the pool
    HEADER, *_, SWEEP_LINE = itertools.islice(tape_lines, 8)
SWEEP_LEDGER = json.loads(SWEEP_LINE)
JUNK = st.sampled_from(
    ["(gone)", None, True, -1, 0, 2**70, 1.5, math.nan, math.inf, "", "0", "-1", "NaN", "1e999", "x" * 300, [], {}]
) | st.sampled_from([[[]], {"currency": "USD"}, {"value": "1"}, {"error": "actNotFound"}, {"issuer": ["x"]}])


def test_given_the_pools_fee_voted_up_when_played_then_its_prints_have_the_new_one(tmp_path):
    voted = with_junk(SWEEP_LEDGER, ("amm_info", "trading_fee"), 300)
    (view,) = views_of(tape_of(tmp_path / "tape", [HEADER, json.dumps(voted).encode()]))
    assert [p.pool_after for p in view.prints if p.pool_after] == [view.amm]
    assert view.amm.fee == 0.003


@given(path=st.sampled_from([path for path in places(SWEEP_LEDGER) if path]), junk=JUNK)
def test_given_junk_anywhere_in_a_ledger_when_played_then_a_sound_view_or_one_clear_line(tmp_path_factory, path, junk):
    ledger = json.dumps(with_junk(SWEEP_LEDGER, path, junk)).encode()
    tape = tape_of(tmp_path_factory.getbasetemp() / "junk.jsonl", [HEADER, ledger + b"\n"])
    feed = tape_feed(tape)
    message = ""
    try:
        view = feed.next()
    except KedgeError as error:
        message = str(error)
    else:
        assert view is not None
        assert_sound(view)
    finally:
        feed.close()
    if message:
        assert message.startswith(f"{tape}: line 2: ledger")
        assert "\n" not in message
        assert len(message) < len(str(tape)) + 250
