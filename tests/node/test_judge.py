"""Who judges the proof: the walk holds on a recorded ledger, and every kind of wrong record is named."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from decimal import Decimal
from functools import cache
from pathlib import Path

import pytest

from shared.records import FillRecord, InventoryTruth, ModeChanged
from tests.node import judge
from tests.node.chronicle import Chronicle
from tests.node.judge import Session
from tests.shared.record_examples import TICK

TAPE = Path(__file__).parents[1] / "data/node_tape_a.jsonl.gz"
LEDGERS = 400


class TapeConsole:
    """A node that knows the first ledgers of the tape, and one account as it was before the second of them."""

    def __init__(self, role: str) -> None:
        with gzip.open(TAPE, "rt") as tape:
            self.header = json.loads(next(tape))
            self.lines = [json.loads(line) for line, _ in zip(tape, range(LEDGERS), strict=False)]
        self.account = self.header["accounts"][role]
        self.issuer = self.header["issuer"]
        self.newest = self.lines[0]["ledger_index"]

    def ask(self, command, **fields):
        first = self.lines[0]["ledger_index"]
        match command:
            case "ledger":
                asked = fields["ledger_index"]
                line = self.lines[(self.newest if asked == "validated" else asked) - first]
                ledger = {"close_time": line["close_time"], "transactions": line["transactions"]}
                return {"ledger_index": line["ledger_index"], "ledger": ledger}
            case "account_info":
                return {"account_data": {"Balance": self._before("AccountRoot", "Account")["Balance"]}}
            case "account_lines":
                value = self._before("RippleState", "HighLimit", "LowLimit")["Balance"]["value"]
                return {"lines": [{"balance": value}]}
            case "account_offers":
                return {"offers": [{"seq": n, **offer} for n, offer in self.listed(self.lines[0])]}
        raise AssertionError(command)

    def listed(self, line) -> Iterator[tuple[int, dict]]:
        for offer in (*line["asks"], *line["bids"]):
            if offer["Account"] == self.account:
                shown = {"taker_gets": offer["TakerGets"], "taker_pays": offer["TakerPays"]}
                if "Expiration" in offer:
                    shown["expiration"] = offer["Expiration"]
                yield offer["Sequence"], shown

    def _before(self, entry_type, *names):
        """The first state of an entry of the account that the tape's second ledger, or a later one, changes."""
        for line in self.lines[1:]:
            for transaction in line["transactions"]:
                for node in transaction["meta"]["AffectedNodes"]:
                    changed = node.get("ModifiedNode", {})
                    final = changed.get("FinalFields", {})
                    owners = {final[name]["issuer"] if isinstance(final[name], dict) else final[name]
                              for name in names if name in final}  # fmt: skip
                    if changed.get("LedgerEntryType") == entry_type and self.account in owners:
                        return final | changed.get("PreviousFields", {})
        raise AssertionError(entry_type)


@cache
def walked() -> tuple[TapeConsole, Chronicle]:
    console = TapeConsole("M1")
    chronicle = Chronicle(console, console.account, console.issuer, console.header["currency"])
    chronicle.begin()
    console.newest += LEDGERS - 1
    chronicle.read_on()
    return console, chronicle


def recorded_of(chronicle: Chronicle) -> list[FillRecord]:
    """The fills as an engine without a fault would have them: per offer, with what is left over in the last one."""
    fills = []
    for move in chronicle.moves.values():
        base, quote = move.base, move.quote
        for trade in move.trades:
            sign = 1 if trade.side == "bid" else -1
            last = trade is move.trades[-1]
            own_base, own_quote = (abs(base), abs(quote)) if last else (trade.base, trade.quote)
            base, quote = base - sign * own_base, quote + sign * own_quote
            fills.append(a_fill(f"{move.transaction}-{trade.number}", trade.side, own_base, own_quote))
        if not move.trades:
            side = "bid" if base > 0 else "ask"
            fills.append(a_fill(f"{move.transaction}-taker", side, abs(base), abs(quote))._replace(liquidity="taker"))
    return fills


def a_fill(trade_id, side, base, quote) -> FillRecord:
    return FillRecord(0, 1, trade_id, "ask0-1", side, "maker", "1", f"{base:f}", f"{quote:f}", None)


def judged(fills) -> list[str]:
    return list(judge.wrong_fills(walked()[1], [Session("s", tuple(fills))]))


def test_given_recorded_ledgers_when_walked_then_the_open_offers_are_those_that_the_node_listed():
    console, chronicle = walked()

    for line in console.lines:
        there = chronicle.states[line["ledger_index"]].offers
        shown = dict(console.listed(line))
        assert there.keys() == shown.keys(), line["ledger_index"]
        for number, offer in there.items():
            gets = shown[number]["taker_gets"]
            assert (
                (offer.base * 1_000_000 == Decimal(gets))
                if offer.side == "ask"
                else (offer.quote == Decimal(gets["value"]))
            )


def test_given_recorded_trades_when_walked_then_offers_and_balances_moved_alike():
    chronicle = walked()[1]

    assert len(chronicle.moves) > 100
    for move in chronicle.moves.values():
        base = sum(trade.base if trade.side == "bid" else -trade.base for trade in move.trades)
        quote = sum(-trade.quote if trade.side == "bid" else trade.quote for trade in move.trades)
        if move.trades and not any(sent.transaction == move.transaction for sent in chronicle.sent):
            assert base == move.base
            assert abs(quote - move.quote) <= abs(quote) * judge.ROUNDED


def test_given_a_faultless_record_when_judged_then_nothing_is_wrong():
    assert judged(recorded_of(walked()[1])) == []


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda fills: fills[1:], "no fill recorded of"),
        (lambda fills: [*fills, fills[0]], "recorded 2 times"),
        (lambda fills: [*fills, fills[0]._replace(trade_id=f"{'0' * 64}-1")], "traded nothing of ours"),
        (
            lambda fills: [fills[0]._replace(quote_amount=f"{Decimal(fills[0].quote_amount) * 2:f}"), *fills[1:]],
            "the ledger moved",
        ),
        (
            lambda fills: [fills[0]._replace(base_amount=f"{Decimal(fills[0].base_amount) + Decimal('1e-6'):f}")],
            "the ledger moved",
        ),
        (lambda fills: [fills[0]._replace(trade_id=fills[0].trade_id + "1"), *fills[1:]], "no such offer traded"),
        (lambda fills: [fills[0]._replace(side="bid" if fills[0].side == "ask" else "ask")], "ledger: Trade"),
    ],
    ids=["missing", "twice", "invented", "quote", "one drop", "another offer", "side"],
)
def test_given_a_spoiled_record_when_judged_then_the_difference_is_named(spoil, said):
    wrong = judged(spoil(recorded_of(walked()[1])))

    assert any(said in line for line in wrong), wrong[:3]


def test_given_holdings_that_are_one_drop_off_when_judged_then_the_difference_is_named():
    chronicle = walked()[1]
    index = chronicle.next_index - 1
    state = chronicle.states[index]

    def truth(base) -> InventoryTruth:
        held, live = f"{state.quote:f}", len(state.live())
        return InventoryTruth(0, 7, f"{base:f}", f"{state.base:f}", held, held, live, live, 0)

    tick = TICK._replace(tick=7, ledger_index=index)
    assert list(judge.wrong_holdings(chronicle, [Session("s", (truth(state.base), tick))])) == []
    (wrong,) = judge.wrong_holdings(chronicle, [Session("s", (truth(state.base + Decimal("0.000001")), tick))])
    assert "s tick 7: Held" in wrong


def test_given_a_degraded_session_without_a_trip_when_judged_then_both_are_named():
    change = ModeChanged(0, 3, "ACTIVE", "DEGRADED", "degrade", "reconciliation_drift: BALANCE_BASE XRP")

    wrong = list(judge.wrong_modes([Session("s", (change,))], trips_due=1))

    assert ["0 trips" in line or "reconciliation_drift" in line for line in wrong] == [True, True]
