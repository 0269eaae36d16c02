"""The key of our account: where the seed comes from, and how a transaction is signed. Nothing leaves this machine.

The seed is worth what the account holds. It comes from a file that only we can read or from the environment, never
from the configuration, which is recorded; and it goes nowhere: no message, no record and no `repr` shows any of it.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from xrpl.constants import CryptoAlgorithm, XRPLException
from xrpl.core.addresscodec import decode_seed, is_valid_classic_address
from xrpl.core.binarycodec import encode, encode_for_signing
from xrpl.core.keypairs import derive_classic_address, derive_keypair
from xrpl.core.keypairs import sign as sign_bytes

from shared.errors import ConfigError
from shared.private_directory import is_trusted

SEED_VARIABLE = "KEDGE_XRPL_SEED"

_SEED_BYTES_MAX = 200  # a seed has about 30 characters; this leaves room for white space around it
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_HASH_PREFIX = bytes.fromhex("54584E00")  # "TXN": what the ledger puts before a signed transaction to hash it


class Seed:
    """The secret that a key is derived from. Raises `ConfigError` if the text is none, without showing it."""

    __slots__ = ("_text",)

    def __init__(self, text: str, source: str = "seed") -> None:
        if not _is_seed(text):
            raise ConfigError(f"{source}: what stands there is not a seed of the ledger (s... or sEd..., base58)")
        self._text = text

    def __repr__(self) -> str:
        return "Seed(hidden)"

    def reveal(self) -> str:
        """The secret itself, for the derivation of a key and nothing else."""
        return self._text


class Signed(NamedTuple):
    """A transaction ready to submit: its bytes in hex, and the hash by which every node knows it."""

    blob: str
    hash: str


def load_seed(seed_file: str | None, environ: Mapping[str, str]) -> Seed:
    """The seed, from `xrpl.seed_file` or from the variable KEDGE_XRPL_SEED.

    Raises `ConfigError` if both are there, or neither; if others may read the file, or if it holds no seed.
    """
    in_environment = environ.get(SEED_VARIABLE, "").strip()
    if seed_file is None:
        if not in_environment:
            raise ConfigError(
                f"xrpl.seed_file: no seed to sign with: write it to a file of mode 0600 and name that here, "
                f"or set {SEED_VARIABLE}"
            )
        return Seed(in_environment, SEED_VARIABLE)
    if in_environment:
        raise ConfigError(f"xrpl.seed_file: {seed_file}, and {SEED_VARIABLE} is set as well: keep one of the two")
    return Seed(_read_private(Path(seed_file)), f"xrpl.seed_file: {seed_file}")


class Signer:
    """Signs for one account."""

    __slots__ = ("_private_key", "_public_key", "account")

    def __init__(self, seed: Seed, account: str) -> None:
        """Derive the key. Raises `ConfigError` if it is not the master key of `account`."""
        check_address("xrpl.account", account)
        derived: list[str] = []
        for algorithm, public_key, private_key in _key_pairs(seed):
            address = derive_classic_address(public_key)
            if address == account:
                self.account, self._public_key, self._private_key = account, public_key, private_key
                return
            derived.append(f"{address} ({algorithm.value})")
        raise ConfigError(
            f"xrpl.account: {account} is not the account of the seed, which gives {' or '.join(derived)}: "
            "mend xrpl.account, or take the seed of that account"
        )

    def __repr__(self) -> str:
        return f"Signer({self.account})"

    def sign(self, transaction: Mapping[str, Any]) -> Signed:
        """Sign a transaction of the account. The same transaction gives the same bytes every time."""
        assert transaction["Account"] == self.account
        unsigned = {**transaction, "SigningPubKey": self._public_key}
        signature = sign_bytes(encode_for_signing(unsigned), self._private_key)
        blob = encode({**unsigned, "TxnSignature": signature})
        return Signed(blob, hash_of(blob))


def hash_of(blob: str) -> str:
    """The hash of a signed transaction: the first half of SHA-512 over a prefix and its bytes."""
    return hashlib.sha512(_HASH_PREFIX + bytes.fromhex(blob)).digest()[:32].hex().upper()


def check_address(key: str, address: str) -> None:
    """Whether the address of a setting can exist: a typing error breaks its checksum. Raises `ConfigError`."""
    if not is_valid_classic_address(address):
        raise ConfigError(f"{key}: {address!r} is not an address of the ledger: its checksum is wrong, look for a typo")


def _is_seed(text: str) -> bool:
    """Judged here, so that the decoder's exceptions, which quote what they choke on, are dropped with it."""
    try:
        decode_seed(text)
    except (XRPLException, ValueError):
        return False
    return True


def _key_pairs(seed: Seed) -> Iterator[tuple[CryptoAlgorithm, str, str]]:
    """The key pairs that a seed can stand for, the usual one first.

    A seed `sEd...` says that it is for ed25519. Any other is for secp256k1, but old versions of common libraries
    derived ed25519 keys from it too (XRPL.md B1): accounts made that way are still in use.
    """
    text = seed.reveal()
    _, usual = decode_seed(text)
    for algorithm in dict.fromkeys((usual, CryptoAlgorithm.ED25519)):
        yield algorithm, *derive_keypair(text, algorithm=algorithm)


def _read_private(path: Path) -> str:
    """The text of a file that is ours alone. What is checked is what is read: the open file, not its name."""
    try:
        # Without O_NONBLOCK the opening of a pipe would wait for whoever writes to it.
        fd = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with os.fdopen(fd, "rb") as file:
            _check_private(path, os.fstat(fd))
            data = file.read(_SEED_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigError(f"xrpl.seed_file: {path}: cannot read it: {error.strerror}") from None
    if len(data) > _SEED_BYTES_MAX:
        raise ConfigError(f"xrpl.seed_file: {path}: more than a seed in it: it must hold the seed and nothing else")
    return data.decode("ascii", "replace").strip()


def _check_private(path: Path, facts: os.stat_result) -> None:
    if not stat.S_ISREG(facts.st_mode):
        raise ConfigError(f"xrpl.seed_file: {path}: not a regular file")
    if os.name != "posix":
        return
    for uid in (facts.st_uid, path.lstat().st_uid):  # of the file and, where the name is a link, of that
        if not is_trusted(uid):
            raise ConfigError(f"xrpl.seed_file: {path}: belongs to user {uid}, not to us: take a file of your own")
    mode = stat.S_IMODE(facts.st_mode)
    if mode & _OTHERS:
        raise ConfigError(f"xrpl.seed_file: {path}: others may read it (mode {mode:04o}): chmod 600 {path}")
