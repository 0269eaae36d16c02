"""Transactions as they come over the wire to the double: decoded, hashed, their signatures verified."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

from xrpl.core.binarycodec import decode, encode, encode_for_signing
from xrpl.core.binarycodec.exceptions import XRPLBinaryCodecException
from xrpl.core.keypairs import derive_classic_address, is_valid_message

from tests.xrpl.ledger_metadata import sha512half

TICKETS_LAST = 1 << 32  # of one account, transactions with a ticket come after those with a Sequence


class Parcel(NamedTuple):
    """A transaction with its hash."""

    hash: str
    transaction: dict[str, Any]
    blob: str

    @property
    def account(self) -> str:
        return str(self.transaction["Account"])

    @property
    def number(self) -> int:
        """Its place among those of its account."""
        ticket = self.transaction.get("TicketSequence")
        return int(self.transaction["Sequence"]) if ticket is None else TICKETS_LAST + int(ticket)


def parcel_of(transaction: dict[str, Any]) -> Parcel:
    """A transaction that nobody signed, hashed as if it were."""
    blob = encode({"SigningPubKey": "", **transaction})
    return Parcel(hash_of(blob), transaction, blob)


@lru_cache(maxsize=10_000)
def open_blob(blob: str) -> tuple[Parcel | None, str]:
    """A signed transaction, or None and what is wrong with it."""
    try:
        transaction = decode(blob)
    except (XRPLBinaryCodecException, ValueError, IndexError, KeyError) as error:
        return None, f"not a transaction: {error}"
    key, signature = transaction.get("SigningPubKey", ""), transaction.get("TxnSignature", "")
    unsigned = {name: value for name, value in transaction.items() if name != "TxnSignature"}
    if not key or not is_valid_message(bytes.fromhex(encode_for_signing(unsigned)), bytes.fromhex(signature), key):
        return None, "fails local checks: Invalid signature."
    if derive_classic_address(key) != transaction["Account"]:
        return Parcel(hash_of(blob), transaction, blob), "tefBAD_AUTH"
    return Parcel(hash_of(blob), transaction, blob), ""


def hash_of(blob: str) -> str:
    """The hash under which the ledger knows a transaction."""
    return sha512half(bytes.fromhex("54584E00" + blob))
