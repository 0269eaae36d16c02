"""What the ledger itself says of one account: a walk over every transaction of every ledger, in order.

Nothing of the engine's reading of metadata is used here. The walk keeps the account's balances from its creation on,
its open offers, and for every transaction what it moved; the tracked truth of the engine is held against that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, NamedTuple

from tests.node.console import Console

DROPS = Decimal(1_000_000)


class OpenOffer(NamedTuple):
    """An offer as it stands in the ledger. `base` and `quote` are what is left of it."""

    side: str
    base: Decimal
    quote: Decimal
    expiration: int | None


class Trade(NamedTuple):
    """One of our resting offers traded: what changed hands, and whether the offer should have been gone by then."""

    transaction: str
    ledger_index: int
    number: int
    side: str
    base: Decimal
    quote: Decimal
    late: bool


class Move(NamedTuple):
    """What one transaction did to our balances, the fee apart, and which of our offers it hit."""

    transaction: str
    ledger_index: int
    base: Decimal
    quote: Decimal
    trades: tuple[Trade, ...]


class Sent(NamedTuple):
    """A transaction of our own, as it stands in the ledger."""

    transaction: str
    ledger_index: int
    kind: str
    result: str
    fee_drops: int
    fields: dict[str, Any]


class State(NamedTuple):
    """The account at the end of a ledger."""

    close_time: int
    base: Decimal
    quote: Decimal
    offers: dict[int, OpenOffer]

    def live(self) -> dict[int, OpenOffer]:
        """Offers that may still trade in the next ledger: expired means at or before the parent's close time."""
        return {
            number: offer
            for number, offer in self.offers.items()
            if offer.expiration is None or offer.expiration > self.close_time
        }


class Chronicle:
    """The walk so far. `states` has every ledger that was walked, `moves` every trade of ours, by transaction."""

    def __init__(self, console: Console, account: str, issuer: str, currency: str) -> None:
        self.console = console
        self.account = account
        self.issuer = issuer
        self.currency = currency
        self.states: dict[int, State] = {}
        self.moves: dict[str, Move] = {}
        self.sent: list[Sent] = []
        self.transactions = 0
        self.unexplained: list[Move] = []  # payments to us or from us, which nobody makes here
        self._drops = 0
        self._quote = Decimal(0)
        self._offers: dict[int, OpenOffer] = {}
        self._close_time = 0
        self.first_index = self.next_index = 0

    def begin(self) -> None:
        """Start from the account as the newest validated ledger has it."""
        newest = self.console.ask("ledger", ledger_index="validated")
        index = int(newest["ledger_index"])
        base, self._quote = self.ask_balances()
        for listed in self.console.ask("account_offers", account=self.account, ledger_index=index)["offers"]:
            offer = _offer_of(listed["taker_gets"], listed["taker_pays"], listed.get("expiration"))
            self._offers[int(listed["seq"])] = offer
        self._drops = int(base * DROPS)
        self._close_time = int(newest["ledger"]["close_time"])
        self.first_index, self.next_index = index, index + 1
        self._remember(index)

    def read_on(self) -> None:
        """Every ledger that was validated since the last call. Raises `NodeGone`."""
        newest = int(self.console.ask("ledger", ledger_index="validated")["ledger_index"])
        while self.next_index <= newest:
            answer = self.console.ask("ledger", ledger_index=self.next_index, transactions=True, expand=True)
            self._take(self.next_index, answer["ledger"])
            self.next_index += 1

    def ask_balances(self) -> tuple[Decimal, Decimal]:
        """What the node answers when it is simply asked."""
        root = self.console.ask("account_info", account=self.account, ledger_index="validated")["account_data"]
        lines = self.console.ask("account_lines", account=self.account, ledger_index="validated")["lines"]
        held = sum((abs(Decimal(line["balance"])) for line in lines), Decimal(0))  # nodes differ in its sign
        return Decimal(root["Balance"]) / DROPS, held

    def newest(self) -> State:
        """The account at the end of the last ledger that was read."""
        return self.states[self.next_index - 1]

    def placed(self) -> list[Sent]:
        """Every OfferCreate of ours so far, whatever became of it."""
        return [sent for sent in self.sent if sent.kind == "OfferCreate"]

    def _take(self, index: int, ledger: Mapping[str, Any]) -> None:
        parent_close_time, self._close_time = self._close_time, int(ledger["close_time"])
        entries = [_plain(entry) for entry in ledger.get("transactions", [])]
        for fields, meta, transaction in sorted(entries, key=lambda entry: entry[1]["TransactionIndex"]):
            self.transactions += 1
            self._follow(index, fields, meta, transaction, parent_close_time)
        self._remember(index)

    def _remember(self, index: int) -> None:
        self.states[index] = State(self._close_time, Decimal(self._drops) / DROPS, self._quote, dict(self._offers))

    def _follow(
        self, index: int, fields: dict[str, Any], meta: dict[str, Any], transaction: str, parent_close_time: int
    ) -> None:
        """One transaction: balances and offers after it, and what of it was trade."""
        ours = fields["Account"] == self.account
        fee = int(fields["Fee"]) if ours else 0
        drops, quote = self._drops, self._quote
        trades: list[Trade] = []
        for change, node in _nodes(meta):
            entry_type = node["LedgerEntryType"]
            if entry_type == "AccountRoot":
                self._account_root(change, node)
            elif entry_type == "RippleState":
                self._trust_line(node)
            elif entry_type == "Offer":
                trade = self._offer(change, node, transaction, index, parent_close_time)
                if trade is not None:
                    trades.append(trade)
        base_moved = Decimal(self._drops - drops + fee) / DROPS
        quote_moved = self._quote - quote
        if ours:
            kind, result = fields["TransactionType"], meta["TransactionResult"]
            self.sent.append(Sent(transaction, index, kind, result, fee, fields))
        if not (base_moved or quote_moved):
            return
        move = Move(transaction, index, base_moved, quote_moved, tuple(trades))
        if trades or (ours and fields["TransactionType"] == "OfferCreate"):
            self.moves[transaction] = move
        else:
            self.unexplained.append(move)

    def _account_root(self, change: str, node: Mapping[str, Any]) -> None:
        fields = node.get("NewFields" if change == "CreatedNode" else "FinalFields", {})
        if fields.get("Account") == self.account and "Balance" in fields:
            self._drops = int(fields["Balance"])

    def _trust_line(self, node: Mapping[str, Any]) -> None:
        fields = node.get("NewFields") or node.get("FinalFields") or {}
        if "LowLimit" not in fields:  # only threaded through, nothing of it changed
            return
        low, high = fields["LowLimit"]["issuer"], fields["HighLimit"]["issuer"]
        if {low, high} != {self.account, self.issuer} or fields["LowLimit"]["currency"] != self.currency:
            return
        balance = Decimal(fields.get("Balance", {}).get("value", "0"))
        self._quote = balance if low == self.account else -balance

    def _offer(
        self, change: str, node: Mapping[str, Any], transaction: str, index: int, parent_close_time: int
    ) -> Trade | None:
        """Keep our open offers; a change of both amounts is a trade. Offers of other accounts are none of ours."""
        fields = node.get("NewFields") or node.get("FinalFields") or {}
        if fields.get("Account") != self.account:
            return None
        number = int(fields["Sequence"])
        gets, pays = fields["TakerGets"], fields["TakerPays"]
        after = _offer_of(gets, pays, fields.get("Expiration"))
        if change == "DeletedNode":
            self._offers.pop(number, None)
        else:
            self._offers[number] = after
        previous = node.get("PreviousFields", {})
        if "TakerGets" not in previous and "TakerPays" not in previous:
            return None
        before = _offer_of(previous.get("TakerGets", gets), previous.get("TakerPays", pays), None)
        late = after.expiration is not None and after.expiration <= parent_close_time
        base, quote = before.base - after.base, before.quote - after.quote
        return Trade(transaction, index, number, after.side, base, quote, late)


def _offer_of(gets: str | Mapping[str, str], pays: str | Mapping[str, str], expiration: int | None) -> OpenOffer:
    """XRP is base, whichever side it is on: a string of drops; anything else is quote."""
    if isinstance(gets, str):
        assert not isinstance(pays, str), "an offer of XRP for XRP"
        return OpenOffer("ask", Decimal(gets) / DROPS, Decimal(pays["value"]), expiration)
    assert isinstance(pays, str), "an offer of a token for a token"
    return OpenOffer("bid", Decimal(pays) / DROPS, Decimal(gets["value"]), expiration)


def _plain(entry: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any], str]:
    """Fields, metadata and hash of an expanded transaction, in either version of the node's interface."""
    meta = entry.get("meta") or entry.get("metaData")
    fields = entry.get("tx_json") or entry
    assert isinstance(meta, dict), f"a ledger without metadata: {entry}"
    return dict(fields), meta, str(entry.get("hash") or fields["hash"])


def _nodes(meta: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for node in meta["AffectedNodes"]:
        ((change, content),) = node.items()
        yield change, content
