"""What settings of the XRP Ledger look like as text, and how much of each may be shown: some of it is secret."""

from __future__ import annotations

import hashlib
import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, PlainSerializer

_ALPHABET = "rpshnaf39wBUDNEGHJKLM4PQRST7VWXYZ2bcdeCg65jkm8oFqi1tuvAxyz"  # base58 as the ledger has it
_BASE58 = f"[{_ALPHABET}]"
_ADDRESS = re.compile(rf"r{_BASE58}{{24,34}}")
_SEED = re.compile(rf"s{_BASE58}{{24,34}}")
_WEBSOCKET = re.compile(r"wss?://[^\s/?#@]+(?:[/?][^\s#]*)?")


def endpoint_name(endpoint: str) -> str:
    """An endpoint as it may be shown: without path and user, in which providers keep their customers' keys."""
    url = urlsplit(endpoint)
    return f"{url.scheme}://{url.netloc.rpartition('@')[2]}"


def no_seed(text: str) -> str:
    """The text. Raises `ValueError`, which does not show it, if it is a seed: settings are recorded and printed."""
    if _SEED.fullmatch(text):
        raise ValueError(
            "a seed stands here (not shown): no configuration may hold one; put it into a file of mode 0600 and name "
            "that in xrpl.seed_file, or set KEDGE_XRPL_SEED"
        )
    return text


def _an_address(text: str) -> str:
    if not _ADDRESS.fullmatch(no_seed(text)):
        raise ValueError(f"{text!r} is not an address of the ledger (r...)")
    if not _checksum_holds(text):
        raise ValueError(f"{text!r} is not an address of the ledger: its checksum is wrong, look for a typo")
    return text


def _checksum_holds(address: str) -> bool:
    """An address is 21 bytes, the first of them 0, and four that begin SHA-256 of their SHA-256."""
    number = 0
    for digit in address:
        number = number * len(_ALPHABET) + _ALPHABET.index(digit)
    if number.bit_length() > 8 * 25:
        return False
    data = number.to_bytes(25, "big")
    return hashlib.sha256(hashlib.sha256(data[:-4]).digest()).digest()[:4] == data[-4:]


def _an_endpoint(text: str) -> str:
    if not _WEBSOCKET.fullmatch(text):
        raise ValueError("not an address of the form wss://HOST[:PORT][/PATH]")  # not quoted: a key may be in it
    return text


Address = Annotated[str, AfterValidator(_an_address)]
Endpoint = Annotated[str, AfterValidator(_an_endpoint), PlainSerializer(endpoint_name, when_used="json")]
