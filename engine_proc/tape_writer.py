"""Recording: a node's raw answers, ledger by ledger, to a tape that `feed_tape` plays back.

Format `kedge-node-tape-1`: JSON Lines, packed if the name ends in `.gz`, first the header, then one line a validated
ledger with everything that its view is read from. Nothing is interpreted here, so that a better reading of the
ledger serves old tapes too. Each line is flushed: whoever kills a recording loses the line that was being written.
"""

from __future__ import annotations

import gzip
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import IO, Any, TypeVar, cast

from engine_proc.xrpl_answers import ask
from engine_proc.xrpl_market import (
    TAPE_FORMAT,
    UINT32_MAX,
    LedgerUnreadable,
    Pair,
    RawLedger,
    currency_code,
    read_int,
)
from engine_proc.xrpl_ports import ClosedLedger, Link, NodeRefused, NodeUnreachable
from engine_proc.xrpl_reads import Server, issued_of, read_ledger, read_server
from shared.clock import Clock, iso_utc
from shared.errors import ConfigError, KedgeError, UsageError
from shared.stop import Stop

T = TypeVar("T")

HEX_CODE_LENGTH = 40
WAIT_MS = 1_000.0  # between two looks at a silent network; a stop ends any of them
REFUSALS_MAX = 3  # of one ledger, before it is given up
GAP_LEDGERS_MAX = 200  # what is fetched after an outage, about 13 min; servers forget whole ledgers sooner or later

log = logging.getLogger(__name__)


class TapeWriter:
    """Appends ledgers to a new tape. Raises `UsageError` if the file exists, `KedgeError` if it cannot be written."""

    def __init__(self, path: Path, header: dict[str, Any]) -> None:
        self.ledgers = 0  # on the tape so far
        self._path = path
        self._recorded_unix_ms = -1
        try:
            self._file = _create(path)
        except FileExistsError:
            raise _exists(path) from None
        except OSError as error:
            raise KedgeError(f"{path}: {error.strerror}") from error
        with ExitStack() as failed:
            failed.callback(self.close)
            self._write({"format": TAPE_FORMAT} | header)
            failed.pop_all()

    def append(self, raw: RawLedger, ledger: ClosedLedger) -> None:
        """Put one ledger on the tape, for good. `received_ns` becomes its time, at least 1 ms after the one before."""
        self._recorded_unix_ms = max(ledger.received_ns // 1_000_000, self._recorded_unix_ms + 1)
        self._write(
            {
                "seq": self.ledgers,
                "ledger_index": raw.ledger_index,
                "ledger_hash": ledger.ledger_hash,
                "close_time": raw.close_time,
                "recorded_unix_ms": self._recorded_unix_ms,
                "asks": raw.asks,
                "bids": raw.bids,
                "amm_info": raw.amm_info,
                "transactions": raw.transactions,
            }
        )
        self.ledgers += 1

    def close(self) -> None:
        """End the tape. What is on it stays playable even if this never happens."""
        try:
            self._file.close()
        except OSError as error:
            raise KedgeError(f"{self._path}: {error.strerror}") from error

    def _write(self, line: dict[str, Any]) -> None:
        try:
            self._file.write(json.dumps(line, separators=(",", ":")).encode() + b"\n")
            self._file.flush()
        except OSError as error:
            raise KedgeError(f"{self._path}: {error.strerror}") from error


def record(link: Link, pair: Pair, path: Path, clock: Clock, stop: Stop, ledgers_max: int | None = None) -> int:
    """Record every validated ledger until a stop, or until so many are on the tape; the number of those.

    Ledgers that closed while another was read, or while the network was away, are fetched afterwards; those that the
    node no longer has are named in the log. Raises `UsageError` and `KedgeError` as the writer does.
    """
    if path.exists():
        raise _exists(path)
    with ExitStack() as opened:
        tape: TapeWriter | None = None
        for ledger in _ledgers(link, stop):
            raw = _asked(partial(read_ledger, link, pair, ledger, transactions=True), ledger.ledger_index, stop)
            if raw is None:
                continue
            if tape is None:
                server = _asked(partial(read_server, link), ledger.ledger_index, stop)
                if server is None:
                    continue
                tape = TapeWriter(path, _header(server, pair, raw, clock))
                opened.callback(tape.close)
            tape.append(raw, ledger)
            if tape.ledgers == ledgers_max:
                break
        return 0 if tape is None else tape.ledgers


def _ledgers(link: Link, stop: Stop) -> Iterator[ClosedLedger]:
    """Every validated ledger from now on, in order; what was missed comes before what is new."""
    last: ClosedLedger | None = None
    while not stop.requested:
        newest = link.await_ledger(0 if last is None else last.ledger_index, WAIT_MS)
        if newest is None:
            continue
        if last is not None:
            yield from _between(link, last, newest, stop)
        yield newest
        last = newest


def _between(link: Link, last: ClosedLedger, newest: ClosedLedger, stop: Stop) -> Iterator[ClosedLedger]:
    """The ledgers that closed unseen between two. When a reader would have had them is spread over the time between."""
    first = last.ledger_index + 1
    if newest.ledger_index - first > GAP_LEDGERS_MAX:
        first = newest.ledger_index - GAP_LEDGERS_MAX
        log.warning("ledgers %d to %d are left out: the gap is too wide", last.ledger_index + 1, first - 1)
    ledger_ns = (newest.received_ns - last.received_ns) // (newest.ledger_index - last.ledger_index)
    for index in range(first, newest.ledger_index):
        header = _asked(partial(_read_header, link, index), index, stop)
        if header is not None:
            close_time, ledger_hash = header
            received_ns = newest.received_ns - ledger_ns * (newest.ledger_index - index)
            yield newest._replace(
                ledger_index=index, close_time=close_time, ledger_hash=ledger_hash, received_ns=received_ns
            )


def _read_header(link: Link, ledger_index: int) -> tuple[int, str]:
    """Close time and hash of a ledger."""
    (answer,) = ask(link, {"command": "ledger", "ledger_index": ledger_index})
    header = answer.object("ledger")
    ledger_hash = answer.fields.get("ledger_hash", header.get("ledger_hash"))
    if not isinstance(ledger_hash, str):
        raise LedgerUnreadable(answer.where, "ledger_hash", "64 hex digits", ledger_hash)
    return read_int(header, "close_time", UINT32_MAX, answer.where), ledger_hash


def _asked(question: Callable[[], T], ledger_index: int, stop: Stop) -> T | None:
    """The answer, waited for as long as the network is away; None on a stop, or if the node says no to the end.

    A node that was connected a moment ago may still be behind, so its first no is not believed.
    """
    refused = 0
    while not stop.requested:
        try:
            return question()
        except NodeUnreachable as error:
            log.info("ledger %d: %s; waiting for the network", ledger_index, error)
        except (NodeRefused, LedgerUnreadable) as error:
            refused += 1
            if refused == REFUSALS_MAX:
                log.warning("ledger %d is left out: %s", ledger_index, error)
                return None
        stop.wait(WAIT_MS)
    return None


def _header(server: Server, pair: Pair, raw: RawLedger, clock: Clock) -> dict[str, Any]:
    pool = raw.amm_info or {}
    issued = issued_of(pair)
    return {
        "pair": "/".join(_name(asset.currency) for asset in pair),
        "currency": issued.currency,
        "issuer": issued.issuer,
        "amm_account": pool.get("account"),
        "trading_fee": pool.get("trading_fee"),
        "accounts": {},
        "network_id": server.network_id,
        "node": server.build_version,
        "recorded_from": iso_utc(clock.wall_ns()),
    }


def _name(code: str) -> str:
    """What people call a currency: the letters that its 40 hex digits spell, where they do."""
    try:
        letters = bytes.fromhex(code).rstrip(b"\0").decode("ascii") if len(code) == HEX_CODE_LENGTH else code
        return letters if currency_code(letters) == code else code
    except (UnicodeDecodeError, ConfigError):
        return code


def _create(path: Path) -> IO[bytes]:
    return cast("IO[bytes]", gzip.open(path, "xb")) if path.name.endswith(".gz") else path.open("xb")


def _exists(path: Path) -> UsageError:
    return UsageError(f"{path}: exists already; a tape is never written over")
