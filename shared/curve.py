"""Who may send records over a network: CURVE keys, kept in the certificate files of pyzmq.

    directory, mode 0700       engine's machine    writer's machine
    engine.key_secret, 0600    its own             -
    engine.key                 its own             one of every engine, under any name that ends in .key
    writer.key_secret, 0600    -                   its own
    writer.key                 the writer's        its own

A secret key never leaves the machine it was made on; the public ones are exchanged. With both ends on one machine one
directory serves both. The engine checks that it speaks to the writer, the writer admits the engines whose public keys
it has, and what is sent is encrypted.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import zmq
import zmq.auth
from zmq.utils import z85

from shared.errors import ConfigError, KedgeError
from shared.private_directory import check_private, is_trusted, make_private

Role = Literal["writer", "engine"]
PUBLIC_SUFFIX = ".key"
PAIR_SUFFIX = ".key_secret"
SETTING = "telemetry.keys_dir"
_KEY_CHARACTERS = 40
_PRIVATE_UMASK = 0o077


class KeyPair(NamedTuple):
    """The two halves of one end's key, in Z85 text. It never shows its secret half."""

    public: bytes
    secret: bytes

    def __repr__(self) -> str:
        """Safe in a log, a traceback or a failed assertion."""
        return f"KeyPair(public={self.public!r}, secret=hidden)"


class WriterKeys(NamedTuple):
    """What the writer needs: its own pair and, for each public key that it admits, the file it came from."""

    own: KeyPair
    admitted: Mapping[bytes, Path]


class EngineKeys(NamedTuple):
    """What an engine needs: its own pair and the public key by which it knows the writer."""

    own: KeyPair
    writer_public: bytes


def make_pairs(directory: Path, roles: Sequence[Role]) -> dict[Role, bytes]:
    """Make new pairs in the directory, all or, if one is there already, none; their public keys.

    Raises `KedgeError` naming the file that is there: a new key would lock out whoever knows the old one.
    """
    _require_curve()
    make_private(directory)
    for role in roles:
        for path in (directory / f"{role}{PUBLIC_SUFFIX}", directory / f"{role}{PAIR_SUFFIX}"):
            if os.path.lexists(path):
                raise KedgeError(f"{path}: there is one already; remove it if its owner is to have a new key")
    umask = os.umask(_PRIVATE_UMASK)  # the files are born 0600
    try:
        for role in roles:
            zmq.auth.create_certificates(directory, role)
    finally:
        os.umask(umask)
    return {role: _pair(directory, role).public for role in roles}


def writer_keys(keys_dir: str | None) -> WriterKeys | None:
    """The keys of the writer's end; None if no keys are configured. Raises `ConfigError` naming the file."""
    if keys_dir is None:
        return None
    directory = _checked(keys_dir)
    own = _pair(directory, "writer")
    admitted = {_public(path): path for path in sorted(directory.glob(f"*{PUBLIC_SUFFIX}"))}
    admitted.pop(own.public, None)
    if not admitted:
        raise ConfigError(
            f"{SETTING}: {directory}: no engine's public key (*{PUBLIC_SUFFIX}), nobody would be admitted"
        )
    return WriterKeys(own, admitted)


def engine_keys(keys_dir: str | None) -> EngineKeys | None:
    """The keys of an engine's end; None if no keys are configured. Raises `ConfigError` naming the file."""
    if keys_dir is None:
        return None
    directory = _checked(keys_dir)
    return EngineKeys(_pair(directory, "engine"), _public(directory / f"writer{PUBLIC_SUFFIX}"))


def _checked(keys_dir: str) -> Path:
    _require_curve()
    directory = Path(keys_dir)
    try:
        check_private(directory)
    except OSError as error:
        raise ConfigError(f"{SETTING}: {directory}: cannot use the directory: {error.strerror}") from None
    except ConfigError as error:
        raise ConfigError(f"{SETTING}: {error}") from None
    return directory


def _require_curve() -> None:
    if not zmq.has("curve"):
        raise ConfigError(f"{SETTING}: this build of ZeroMQ ({zmq.zmq_version()}) has no CURVE; use the pyzmq wheel")


def _pair(directory: Path, role: Role) -> KeyPair:
    path = directory / f"{role}{PAIR_SUFFIX}"
    public, secret = _certificate(path, private=True)
    if secret is None:
        raise ConfigError(f"{SETTING}: {path}: holds no secret key")
    try:
        derived = zmq.curve_public(secret)
    except (ValueError, zmq.ZMQError):
        raise ConfigError(f"{SETTING}: {path}: the secret key is damaged") from None
    if derived != public:
        raise ConfigError(f"{SETTING}: {path}: secret and public key do not belong together")
    return KeyPair(public, secret)


def _public(path: Path) -> bytes:
    return _certificate(path, private=False)[0]


def _certificate(path: Path, *, private: bool) -> tuple[bytes, bytes | None]:
    try:
        facts = path.stat()
        if not stat.S_ISREG(facts.st_mode):
            raise ConfigError(f"{SETTING}: {path}: not a file")
        if private and os.name == "posix":
            _check_secrecy(path, facts)
        public, secret = zmq.auth.load_certificate(path)
    except OSError as error:
        raise ConfigError(f"{SETTING}: {path}: cannot read the key: {error.strerror}") from None
    except ValueError:
        raise ConfigError(f"{SETTING}: {path}: holds no public key") from None
    if not _is_key(public):
        raise ConfigError(f"{SETTING}: {path}: the public key is damaged")
    return public, secret


def _check_secrecy(path: Path, facts: os.stat_result) -> None:
    mode = stat.S_IMODE(facts.st_mode)
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(f"{SETTING}: {path}: a secret that others may read (mode {mode:04o}): chmod 600 {path}")
    if not is_trusted(facts.st_uid):
        raise ConfigError(f"{SETTING}: {path}: a secret that belongs to user {facts.st_uid}, not to us")


def _is_key(text: bytes) -> bool:
    try:
        return len(text) == _KEY_CHARACTERS and bool(z85.decode(text))
    except (KeyError, struct.error):  # a character that Z85 has not, five of them beyond 32 bits
        return False
