"""Accounts that take part in the proof's market: keys, signatures and transactions, by xrpl-py alone."""

from __future__ import annotations

import hashlib
from decimal import Decimal
from typing import Any

from xrpl.constants import CryptoAlgorithm
from xrpl.core import keypairs
from xrpl.core.binarycodec import encode, encode_for_signing

from tests.node.console import Console

CURRENCY = "524C555344000000000000000000000000000000"  # RLUSD
GENESIS_SEED = "snoPBrXtMeMyMHUVTgbuqAfg1SUTb"  # `masterpassphrase`: who owns everything in a new standalone ledger
NETWORK_IDS_UNNAMED_MAX = 1024  # up to here a transaction must not name its network (XRPL.md A7)
FEE_DROPS = 12
DIGITS = Decimal("0.0000000001")
FREE_OF_SEQUENCE = ("tel", "tem", "tef")  # what did not use its number up


def seed_of(name: str, seed: int) -> str:
    """A throw-away secret, the same in every run with the same seed."""
    entropy = hashlib.sha256(f"{name} {seed}".encode()).hexdigest()[:32]
    return keypairs.generate_seed(entropy, CryptoAlgorithm.SECP256K1)


def xrp(amount: Decimal | int) -> str:
    """Drops as the ledger writes them."""
    return str(int(Decimal(amount) * 1_000_000))


class Party:
    """One account. It counts its sequence by itself and asks the ledger again after every ledger or loss."""

    def __init__(self, name: str, secret: str, console: Console, network_id: int) -> None:
        self.name = name
        self.secret = secret
        self.console = console
        self.network_id = network_id
        self.sequence = 0
        self._public, self._private = keypairs.derive_keypair(secret)
        self.address: str = keypairs.derive_classic_address(self._public)

    def catch_up(self) -> None:
        """The next sequence as the last validated ledger has it."""
        data = self.console.ask("account_info", account=self.address, ledger_index="validated")["account_data"]
        self.sequence = int(data["Sequence"])

    def send(self, transaction_type: str, **fields: Any) -> str:
        """Sign and submit; the provisional result. Raises `NodeGone`."""
        number = self.sequence
        transaction: dict[str, Any] = {
            "TransactionType": transaction_type,
            "Account": self.address,
            "Fee": str(FEE_DROPS),
            "Sequence": number,
            "SigningPubKey": self._public,
            **fields,
        }
        if self.network_id > NETWORK_IDS_UNNAMED_MAX:
            transaction["NetworkID"] = self.network_id
        unsigned = bytes.fromhex(encode_for_signing(transaction))
        transaction["TxnSignature"] = keypairs.sign(unsigned, self._private)
        result = str(self.console.ask("submit", tx_blob=encode(transaction))["engine_result"])
        if not result.startswith(FREE_OF_SEQUENCE):
            self.sequence = number + 1
        return result

    def must(self, transaction_type: str, **fields: Any) -> None:
        """The same where anything but success means that the stage could not be set."""
        result = self.send(transaction_type, **fields)
        assert result == "tesSUCCESS", f"{self.name}: {transaction_type} gave {result}: {fields}"

    def tokens(self, amount: Decimal, issuer: str) -> dict[str, str]:
        """An amount of the issued currency as the ledger writes it."""
        return {"currency": CURRENCY, "issuer": issuer, "value": f"{amount.quantize(DIGITS).normalize():f}"}
