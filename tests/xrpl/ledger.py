"""The ledger double: a small XRP Ledger in Python that answers like a node, for tests that need a whole ledger.

Its rules are those of XRPL.md A3, A6 and A7 within XRP, issued currencies, books and AMM pools, one path and no
permissions. It is proved against a recorded node (test_ledger_on_tape.py). A transaction that is submitted is applied
to the open ledger at once; `close` takes all of that back and applies everything again in the order of the ledger:
accounts in an order that changes with every ledger, within an account by Sequence and tickets last.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

from tests.xrpl.ledger_amounts import XRP, Amount, Issue
from tests.xrpl.ledger_answers import answer_to
from tests.xrpl.ledger_funds import Fees, credit, open_line
from tests.xrpl.ledger_history import Closed, Done, History
from tests.xrpl.ledger_liquidity import SLOT_S, add_pool
from tests.xrpl.ledger_metadata import sha512half
from tests.xrpl.ledger_rules import NETWORK_ID_NAMED_FROM, Applied, Moment, apply_transaction
from tests.xrpl.ledger_state import Root, State, account_id, line_key
from tests.xrpl.ledger_wire import Parcel, parcel_of

CLOSE_EVERY_S = 4
CLOSE_ROUNDED_TO_S = 10
PASSES = 3  # a transaction that fails is tried so often again, after the others of its ledger
HELD_MAX = 1000


class Ledger:
    """One network with one open ledger on top of a chain of validated ones. Usable from several threads.

    `on_close`, if set, is called with the `ledgerClosed` message of every close, also of one by `ledger_accept`.
    `load_factor` multiplies the fee that the open ledger asks for.
    """

    def __init__(
        self,
        *,
        network_id: int = 63456,
        ledger_index: int = 1,
        close_time: int = 848_000_000,
        base_fee_drops: int = 10,
        reserve_base_drops: int = 1_000_000,
        reserve_inc_drops: int = 200_000,
        history_ledgers: int = 256,
    ) -> None:
        """A network whose ledger `ledger_index` is validated and empty. `close_time` in seconds since 2000-01-01.

        Of the last `history_ledgers` ledgers the whole state can be asked for, of all older ones the transactions.
        """
        self.network_id = network_id
        self.fees = Fees(base_fee_drops, reserve_base_drops, reserve_inc_drops)
        self.load_factor = 1
        self.on_close: Callable[[dict[str, Any]], None] | None = None
        self.lock = threading.RLock()
        self.state = State()
        self.history = History(history_ledgers)
        self.clock_s = float(close_time)  # the unrounded time of the last close
        self.open: dict[str, Parcel] = {}
        self.held: dict[str, Parcel] = {}
        self._gifts: dict[Any, Any] = {}
        ledger_hash = sha512half(f"{network_id}:{ledger_index}".encode())
        self.history.add(Closed(ledger_index, ledger_hash, "0" * 64, close_time, close_time - 4, (), {}, {}))

    def answer(self, command: dict[str, Any]) -> dict[str, Any]:
        """The `result` of one command, as rippled gives it. Raises `fake_node.Refusal`.

        Known: server_info, server_state, fee, account_info, account_lines, account_offers, account_objects,
        account_tx, ledger_entry, book_offers, amm_info, ledger, tx, submit (tx_blob), subscribe, unsubscribe,
        ledger_accept, ping. The `api_version` of the command decides on the shape of transactions (1 if it is absent).
        Transactions and metadata in an answer are the ledger's own: only to be read.
        """
        with self.lock:
            return answer_to(self, command)

    def close(self, close_time: int | None = None) -> dict[str, Any]:
        """Validate the open ledger; the `ledgerClosed` message. None: 4 s after the last, rounded as by consensus."""
        with self.lock:
            message = self._close(close_time)
        if self.on_close is not None:
            self.on_close(message)
        return message

    @property
    def validated_index(self) -> int:
        """Index of the newest validated ledger."""
        return self.history.newest.ledger_index

    @property
    def close_time(self) -> int:
        """Close time of the newest validated ledger, seconds since 2000-01-01."""
        return self.history.newest.close_time

    def fund(self, address: str, drops: int = 1_000_000_000) -> None:
        """An account out of thin air, or more XRP for it. Like all gifts it is validated by the next `close`."""

        def give(state: State) -> None:
            if ("account", address) not in state.entries:
                state.put(("account", address), Root(address, 0, self.validated_index + 1))
            credit(state, XRP, address, Decimal(drops))

        self._give(give)

    def trust(self, address: str, issuer: str, currency: str, limit: Decimal = Decimal(1_000_000_000)) -> None:
        """A trust line of `address` towards `issuer`, as a TrustSet makes it."""
        issue = Issue(currency, issuer)
        self._give(lambda state: open_line(state, address, issue, limit=limit, no_ripple=False))

    def issue(self, issuer: str, address: str, currency: str, value: Decimal) -> None:
        """`value` of the issuer's currency for `address`, which needs a trust line."""
        assert line_key(address, issuer, currency) in self.state.entries, "no trust line"
        self._give(lambda state: credit(state, Issue(currency, issuer), address, Decimal(value)))

    def create_pool(
        self, owner: str, drops: int, issuer: str, currency: str, value: Decimal, *, trading_fee: int = 300
    ) -> str:
        """An AMM pool with balances out of thin air; its address. `trading_fee` in 1/100 000.

        The owner gets its tokens and, for a day, its auction slot (a tenth of the fee).
        """
        amounts = [Amount(Decimal(drops), XRP), Amount(Decimal(value), Issue(currency, issuer))]
        address: list[str] = []

        def give(state: State) -> None:
            pool = add_pool(state, owner, amounts, trading_fee, self.validated_index + 1, self.close_time + SLOT_S)
            address.append(pool.account)

        self._give(give)
        return address[0]

    def apply(self, transaction: dict[str, Any]) -> str:
        """Submit a transaction without a signature; its engine result. Fee, Sequence, NetworkID may be missing."""
        with self.lock:
            filled = dict(transaction)
            filled.setdefault("Fee", str(self.open_fee_drops))
            if self.network_id >= NETWORK_ID_NAMED_FROM:
                filled.setdefault("NetworkID", self.network_id)
            if "TicketSequence" in filled:
                filled.setdefault("Sequence", 0)
            elif "Sequence" not in filled:
                filled["Sequence"] = self.state.root(filled["Account"]).sequence
            return self.submit(parcel_of(filled), fail_hard=False)

    def submit(self, parcel: Parcel, *, fail_hard: bool) -> str:
        """Apply a transaction to the open ledger, or hold it for a later one; the provisional engine result."""
        if self.history.find(parcel.hash) is not None:
            return "tefPAST_SEQ" if "TicketSequence" not in parcel.transaction else "tefNO_TICKET"
        if parcel.hash in self.open:
            return "tefALREADY"
        result = self._apply_open(parcel, claim=not fail_hard).result
        if result.startswith("ter") and not fail_hard and len(self.held) < HELD_MAX:
            self.held[parcel.hash] = parcel
        elif parcel.hash in self.open:
            self._retry_held(parcel.transaction["Account"])
        return result

    @property
    def open_fee_drops(self) -> int:
        """What the open ledger asks for."""
        return int(self.fees.base * self.load_factor)

    def forget(self, before: int) -> None:
        """Say from now on that no ledger older than this one is here, as a node with little history."""
        with self.lock:
            self.history.first = before

    def save(self, path: Path) -> None:
        """Append the validated ledgers to a file; the open ledger and held transactions are not saved."""
        with self.lock:
            header = {
                "network_id": self.network_id,
                "fees": self.fees,
                "states_kept": self.history.states_kept,
            }
            self.history.save(path, header)

    @classmethod
    def load(cls, path: Path) -> Ledger:
        """The network that was saved, as a node that was killed and started again."""
        header, history = History.load(path)
        fees: Fees = header["fees"]
        newest = history.newest
        ledger = cls(
            network_id=header["network_id"],
            close_time=newest.close_time,
            base_fee_drops=fees.base,
            reserve_base_drops=fees.reserve_base,
            reserve_inc_drops=fees.reserve_inc,
            history_ledgers=header["states_kept"],
        )
        ledger.history, ledger.state = history, State(newest.entries)
        return ledger

    def _give(self, gift: Callable[[State], Any]) -> None:
        """Change the validated state under the open ledger; the change belongs to the next one."""
        with self.lock:
            pending = list(self.open.values())
            self.state.rollback(0)
            gift(self.state)
            for key in self.state.changed(0):
                self._gifts[key] = self.state.entries.get(key)
            self.state.log.clear()
            self.open.clear()
            for parcel in pending:
                self._apply_open(parcel, claim=True)

    def _moment(self, *, in_consensus: bool) -> Moment:
        asked = 0 if in_consensus else self.open_fee_drops
        return Moment(self.network_id, self.fees, self.validated_index + 1, self.close_time, asked)

    def _apply_open(self, parcel: Parcel, *, claim: bool) -> Applied:
        moment = self._moment(in_consensus=False)
        applied = apply_transaction(self.state, parcel.transaction, parcel.hash, moment, claim=claim)
        if applied.meta is not None:
            self.open[parcel.hash] = parcel
        return applied

    def _retry_held(self, account: str) -> None:
        """A gap was filled: what waited behind it may go on."""
        waiting = [parcel for parcel in self.held.values() if parcel.transaction["Account"] == account]
        for parcel in sorted(waiting, key=lambda parcel: parcel.number):
            result = self._apply_open(parcel, claim=True).result
            if not result.startswith("ter"):
                del self.held[parcel.hash]

    def _close(self, close_time: int | None) -> dict[str, Any]:
        before = self.history.newest
        self.state.rollback(0)
        done = self._apply_in_order(list(self.open.values()), before.ledger_hash)
        changes = {**self._gifts, **{key: self.state.entries.get(key) for key in self.state.changed(0)}}
        self.state.log.clear()
        self._gifts.clear()
        ledger_index = before.ledger_index + 1
        ledger_hash = sha512half((before.ledger_hash + "".join(one.hash for one in done)).encode())
        at = self._close_time(close_time)
        closed = Closed(
            ledger_index,
            ledger_hash,
            before.ledger_hash,
            at,
            before.close_time,
            done,
            changes,
            dict(self.state.entries),
        )
        self.history.add(closed)
        left = [parcel for parcel in self.open.values() if self.history.find(parcel.hash) is None]
        self.open.clear()
        waiting = sorted([*left, *self.held.values()], key=lambda parcel: parcel.number)
        self.held.clear()
        for parcel in waiting:
            if parcel.transaction.get("LastLedgerSequence", ledger_index + 1) <= ledger_index:
                continue  # it can no longer apply, and what waits for a gap would wait for ever
            if self._apply_open(parcel, claim=True).result.startswith("ter"):
                self.held[parcel.hash] = parcel
        return self._closed_message(closed)

    def _apply_in_order(self, parcels: list[Parcel], salt: str) -> tuple[Done, ...]:
        """Apply transactions as the ledger orders them; one that fails is tried again, at last for its fee."""
        salted = int(salt[:40], 16)
        parcels.sort(
            key=lambda parcel: (int.from_bytes(account_id(parcel.account)) ^ salted, parcel.number, parcel.hash)
        )
        moment = self._moment(in_consensus=True)
        done: list[Done] = []
        for attempt in range(PASSES):
            left = []
            for parcel in parcels:
                last = attempt == PASSES - 1
                applied = apply_transaction(self.state, parcel.transaction, parcel.hash, moment, claim=last)
                if applied.meta is None:
                    left.append(parcel)
                    continue
                applied.meta["TransactionIndex"] = len(done)
                done.append(Done(parcel.hash, parcel.transaction, applied.meta, applied.accounts))
            parcels = left
        return tuple(done)

    def _close_time(self, close_time: int | None) -> int:
        if close_time is not None:
            self.clock_s = float(close_time)
            return max(close_time, self.close_time + 1)
        self.clock_s += CLOSE_EVERY_S
        rounded = round(self.clock_s / CLOSE_ROUNDED_TO_S) * CLOSE_ROUNDED_TO_S
        return max(rounded, self.close_time + 1)

    def _closed_message(self, closed: Closed) -> dict[str, Any]:
        return {
            "type": "ledgerClosed",
            "fee_base": self.fees.base,
            "ledger_hash": closed.ledger_hash,
            "ledger_index": closed.ledger_index,
            "ledger_time": closed.close_time,
            "network_id": self.network_id,
            "reserve_base": self.fees.reserve_base,
            "reserve_inc": self.fees.reserve_inc,
            "txn_count": len(closed.transactions),
            "validated_ledgers": f"{self.history.first}-{closed.ledger_index}",
        }
