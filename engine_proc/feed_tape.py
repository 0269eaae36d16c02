"""A feed that plays back ledgers recorded from a node: format `kedge-node-tape-1`, JSON Lines, plain or gzip.

The first line is the header, every other line one validated ledger with the node's raw answers. What a tape carries
for judging results only (`phase`, `stage`, `fair`) is not even taken out of the line here, so nothing can depend
on it.
"""

from __future__ import annotations

import gzip
import json
import logging
import zlib
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, NoReturn, cast

from engine_proc.market import MarketView
from engine_proc.xrpl_market import (
    TAPE_FORMAT,
    TRADING_FEE_MAX,
    TRADING_FEE_UNIT,
    UINT32_MAX,
    Pair,
    RawLedger,
    currency_code,
    pair_of,
    read_int,
    read_market,
    read_pool,
)
from engine_proc.xrpl_prints import read_prints
from shared.clock import MarketClock
from shared.errors import ConfigError, KedgeError

GZIP_MAGIC = b"\x1f\x8b"
LINE_BYTES_MAX = 64 * 2**20  # a full mainnet ledger with metadata stays below 2 MB
UNIX_MS_MAX = (2**63 - 1) // 1_000_000  # beyond it nanoseconds do not fit the record

log = logging.getLogger(__name__)


class TapeHeader(NamedTuple):
    """What a tape says of itself.

    `currency` is the issued side of `pair` as the ledger writes it, `trading_fee` the pool's in 1/100,000;
    `amm_account` and `trading_fee` are None if the pair had no pool.
    """

    pair: str
    currency: str
    issuer: str
    amm_account: str | None
    trading_fee: int | None


class TapeFeed:
    """One view a recorded ledger, at the pace of whoever asks; memory does not grow with the tape.

    `pair` must agree with the configured one. Raises `ConfigError` if the file is not a tape; `next` raises
    `KedgeError` naming file and line if the tape is damaged. A last line without its end (the recording was stopped
    in mid-write) only ends the feed, with a warning.
    """

    def __init__(self, path: Path, clock: MarketClock, *, stale_after_ms: int, min_touch_size: float) -> None:
        self._path = path
        self._clock = clock
        self._stale_after_ms = stale_after_ms
        self._min_touch_size = min_touch_size
        self._line_number = 0
        self._ledger_index = -1
        with ExitStack() as opened:
            self._file = opened.enter_context(_open(path))
            self.header = self._read_header()
            self.pair = self.header.pair
            self._assets = self._read_assets()
            opened.pop_all()

    def next(self) -> MarketView | None:
        """The next ledger's view; None at the end of the tape. Moves the clock to when the ledger was recorded."""
        line = self._read_line()
        if not line:
            self.close()
            return None
        try:
            return self._view(_json_object(line))
        except KedgeError as error:
            raise KedgeError(f"{self._path}: line {self._line_number}: {error}") from error
        except ValueError as error:
            if line.endswith(b"\n"):
                raise KedgeError(f"{self._path}: line {self._line_number}: {error}") from error
            self._warn_torn()
            self.close()
            return None

    def close(self) -> None:
        """Let go of the file. Afterwards the feed is at its end."""
        self._file.close()

    def _view(self, raw: dict[str, Any]) -> MarketView:
        if "amm_info" not in raw:  # null says that there is no pool, silence says nothing
            raise KedgeError("ledger: amm_info is missing")
        ledger = RawLedger(
            read_int(raw, "ledger_index", UINT32_MAX, "ledger"),
            read_int(raw, "close_time", UINT32_MAX, "ledger"),
            raw.get("asks"),
            raw.get("bids"),
            raw["amm_info"],
            raw.get("transactions"),
        )
        if ledger.ledger_index <= self._ledger_index:
            raise KedgeError(f"ledger {ledger.ledger_index} comes after ledger {self._ledger_index}")
        self._ledger_index = ledger.ledger_index
        ts_ns = read_int(raw, "recorded_unix_ms", UNIX_MS_MAX, f"ledger {ledger.ledger_index}") * 1_000_000
        # The pool's owners can vote its fee away from the header's; that one serves where the pool has gone meanwhile.
        pool = read_pool(ledger, self._assets)
        pool_fee = pool.fee if pool else (self.header.trading_fee or 0) / TRADING_FEE_UNIT
        prints = read_prints(ledger, self._assets, self.header.amm_account, pool_fee)
        # Age 0, always: a view is as fresh as can be at the moment the reader had it, and that moment is the tick.
        # Neither the close time (rounded to 10 s, so up to 5 s off) nor the distance to the ledger before, nor ledgers
        # missing from the tape, make the prices of *this* one any older.
        view = read_market(
            ledger,
            self._assets,
            ts_ns=ts_ns,
            stale_after_ms=self._stale_after_ms,
            min_touch_size=self._min_touch_size,
            prints=prints,
        )
        self._clock.advance_to(ts_ns)
        return view

    def _read_line(self) -> bytes:
        """The next line; empty at the end of the tape, torn or not."""
        if self._file.closed:
            return b""
        self._line_number += 1
        try:
            line = self._file.readline(LINE_BYTES_MAX)
        except EOFError:  # the compressed stream stops without its end mark
            self._warn_torn()
            return b""
        except (OSError, zlib.error) as error:
            raise KedgeError(f"{self._path}: line {self._line_number}: {error}") from error
        if len(line) == LINE_BYTES_MAX:
            raise KedgeError(f"{self._path}: line {self._line_number}: longer than {LINE_BYTES_MAX} bytes")
        return line

    def _warn_torn(self) -> None:
        log.warning("%s: line %d is incomplete; the tape ends before it", self._path, self._line_number)

    def _read_header(self) -> TapeHeader:
        try:
            raw = _json_object(self._read_line())
        except (KedgeError, ValueError) as error:
            self._refuse(f"{error}; expected a tape of format {TAPE_FORMAT}")
        if raw.get("format") != TAPE_FORMAT:
            self._refuse(f"format {raw.get('format')!r} is not {TAPE_FORMAT}")
        for field in ("pair", "currency", "issuer"):
            if not isinstance(raw.get(field), str):
                self._refuse(f"{field} is missing or not text")
        amm_account, trading_fee = raw.get("amm_account"), raw.get("trading_fee")
        if amm_account is None:
            trading_fee = None
        elif not isinstance(amm_account, str) or type(trading_fee) is not int:
            self._refuse("amm_account or trading_fee is missing or of the wrong type")
        elif not 0 <= trading_fee <= TRADING_FEE_MAX:
            self._refuse(f"trading_fee {trading_fee} is not within 0 to {TRADING_FEE_MAX}")
        return TapeHeader(raw["pair"], raw["currency"], raw["issuer"], amm_account, trading_fee)

    def _read_assets(self) -> Pair:
        try:
            pair = pair_of(self.header.pair, self.header.issuer)
            currency = currency_code(self.header.currency)
        except ConfigError as error:
            self._refuse(str(error))
        if currency not in (pair.base.currency, pair.quote.currency):
            self._refuse(f"currency {currency} is not part of the pair {self.header.pair}")
        return pair

    def _refuse(self, reason: str) -> NoReturn:
        raise ConfigError(f"{self._path}: header: {reason}")


def _json_object(line: bytes) -> dict[str, Any]:
    try:
        raw = json.loads(line)
    except RecursionError:
        raise ValueError("nested too deep") from None
    if not isinstance(raw, dict):
        raise ValueError(f"expected a JSON object, got {type(raw).__name__}")
    return raw


def _open(path: Path) -> BinaryIO:
    """The tape's lines, unpacked if its first bytes say gzip, whatever its name."""
    try:
        with path.open("rb") as file:
            magic = file.read(len(GZIP_MAGIC))
        return cast("BinaryIO", gzip.open(path, "rb")) if magic == GZIP_MAGIC else path.open("rb")
    except OSError as error:
        raise ConfigError(f"market.tape: {path}: {error.strerror}") from error
