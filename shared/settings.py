"""Every setting, its unit, its bounds and the checks between settings. `shared/config.py` reads files into these.

The YAML files in config/ carry the same keys with a comment each; this file is what decides.
"""

from __future__ import annotations

import re
import sys
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from shared.saturation import Thresholds
from shared.xrpl_text import Address, Endpoint, no_seed

IPC_PATH_BYTES_MAX = 100  # the kernel's limit is 107 on Linux and 103 on macOS
# The whole address, not a prefix: tcp://127.example.com is a name, and ZeroMQ reads tcp://127.0.0.1;HOST as two ends.
TCP = re.compile(r"tcp://(?P<host>\*|\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z][0-9A-Za-z._-]*):(?P<port>[^:;]*)")
LOOPBACK = re.compile(r"127(?:\.(?:25[0-5]|2[0-4][0-9]|1?[0-9]{1,2})){3}|localhost|\[::1\]")


def _decimal(value: Any) -> Any:
    """Money from YAML: 12, "12.5" and 12.5 alike, through its shortest decimal text, never through binary."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return value
    try:
        return Decimal(str(value))
    except InvalidOperation:
        raise ValueError(f"not a decimal number: {value!r}") from None


MONEY_MAX = 10**12  # far beyond any account; amounts up to here stay exact to the last digit that the ledger keeps
Money = Annotated[Decimal, BeforeValidator(_decimal), Field(ge=0, le=MONEY_MAX, allow_inf_nan=False)]
MoneyAboveZero = Annotated[Decimal, BeforeValidator(_decimal), Field(gt=0, le=MONEY_MAX, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]
AboveZero = Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)]
Bps = Annotated[float, Field(ge=0, le=10_000, allow_inf_nan=False)]
BpsAboveZero = Annotated[float, Field(gt=0, le=10_000, allow_inf_nan=False)]


PathText = Annotated[str, Field(pattern=r"^[^\x00]+$")]  # no system call takes a NUL, and C would cut the text there


class Section(BaseModel):
    """A block of settings: frozen, typed strictly, no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class SimPhase(Section):
    """A stretch of the simulated market."""

    kind: Literal["calm", "drag", "flapping", "outage", "stale", "thin"]
    ticks: Annotated[int, Field(gt=0)]


class Sim(Section):
    """The simulated market. Defaults are what was measured on mainnet XRP/RLUSD (bps of price, base units)."""

    fair_price: AboveZero = 1.305
    fair_volatility_bps: Annotated[float, Field(ge=0, le=1000)] = 3.8
    maker_half_spread_bps: BpsAboveZero = 10.0
    maker_step_bps: BpsAboveZero = 10.0
    maker_sizes: tuple[AboveZero, ...] = Field(
        default=(1500.0, 1500.0, 2200.0, 3700.0, 7400.0), min_length=1, strict=False
    )
    taker_rate: NotNegative = 0.6
    taker_size: AboveZero = 900.0
    informed_share: Annotated[float, Field(ge=0, le=1)] = 0.3
    informed_lead_ticks: Annotated[int, Field(ge=1, le=20)] = 3
    pool_base: AboveZero = 1_900_000.0
    pool_fee: Annotated[float, Field(ge=0, lt=0.1)] = 0.00267
    arbitrage_threshold_bps: Bps = 4.0
    ledger_ms: Annotated[int, Field(gt=0, le=3_600_000)] = 4000
    glitch_rate: Annotated[float, Field(ge=0, le=0.5)] = 0.002
    scenario: tuple[SimPhase, ...] = Field(default=(SimPhase(kind="calm", ticks=1000),), min_length=1, strict=False)


class Market(Section):
    """Where market views come from."""

    pair: Annotated[str, Field(pattern=r"^[^/\s]{1,39}/[^/\s]{1,40}$")] = "XRP/RLUSD"
    feed: Literal["sim", "tape", "replay", "xrpl"] = "sim"
    tape: str | None = None
    seed: Annotated[int, Field(ge=0)] = 1
    ticks_max: Annotated[int, Field(ge=0)] = 0
    pace_per_s: Annotated[float, Field(ge=0, le=1e6)] = 0.0
    stale_after_ms: Annotated[int, Field(gt=0)] = 15_000
    min_touch_size: NotNegative = 0.0
    sim: Sim = Sim()

    @field_validator("pace_per_s")
    @classmethod
    def _at_least_one_a_day(cls, value: float) -> float:
        if 0 < value < 1e-5:
            raise ValueError("0 for as fast as possible, otherwise at least 0.00001")
        return value

    @model_validator(mode="after")
    def _tape_named(self) -> Market:
        if self.feed == "tape" and not self.tape:
            raise ValueError("tape: feed is `tape`, so this must name a tape file")
        return self


class Anchor(Section):
    """Which price we quote around."""

    mode: Literal["clob", "amm", "capped", "auto"] = "auto"
    reference: Literal["spot", "fee_band"] = "fee_band"
    switch_bps: BpsAboveZero = 35.0
    cap_bps: BpsAboveZero = 10.0


class AnchorSaturationGuard(Section):
    """The breaker on anchor error; see shared/saturation.py for the exact rule."""

    enabled: bool = True
    lookback_ticks: Annotated[int, Field(ge=1, le=9000)] = 25
    bias_threshold_bps: BpsAboveZero = 7.0
    prevalence_threshold_bps: BpsAboveZero = 5.0
    prevalence_pct: Annotated[float, Field(ge=0.1, le=100)] = 40.0

    @property
    def thresholds(self) -> Thresholds:
        """In the integers that the guard compares."""
        return Thresholds.of(**self.model_dump(exclude={"enabled"}))

    @field_validator("prevalence_pct")
    @classmethod
    def _tenths_only(cls, value: float) -> float:
        if abs(value * 10 - round(value * 10)) > 1e-9:
            raise ValueError("at most one decimal: the guard counts in tenths of a percent")
        return value

    @model_validator(mode="after")
    def _thresholds_not_crossed(self) -> AnchorSaturationGuard:
        if self.prevalence_threshold_bps > self.bias_threshold_bps:
            raise ValueError(
                f"prevalence_threshold_bps: {self.prevalence_threshold_bps} must not be above "
                f"bias_threshold_bps {self.bias_threshold_bps}"
            )
        return self


class Quote(Section):
    """The ladder around the anchor."""

    half_spread_bps: BpsAboveZero = 8.0
    levels: Annotated[int, Field(ge=1, le=20)] = 2
    level_step_bps: BpsAboveZero = 8.0
    size_base: MoneyAboveZero = Decimal(200)
    size_growth: Annotated[float, Field(ge=1, le=10)] = 1.5
    price_quantum: MoneyAboveZero = Decimal("0.00001")
    size_quantum: MoneyAboveZero = Decimal("0.01")
    requote_tolerance_bps: Bps = 0.5


class Inventory(Section):
    """How a lopsided inventory leans the quotes."""

    target_base: Money = Decimal(10_000)
    band_base: MoneyAboveZero = Decimal(5_000)
    skew_bps_max: Bps = 6.0


class Volatility(Section):
    """How fast moves widen the quotes."""

    halflife_ticks: AboveZero = 20.0
    widening: Annotated[float, Field(ge=0, le=100)] = 0.5


class Strategy(Section):
    """From a market view to intents."""

    anchor: Anchor = Anchor()
    anchor_saturation_guard: AnchorSaturationGuard = AnchorSaturationGuard()
    quote: Quote = Quote()
    inventory: Inventory = Inventory()
    volatility: Volatility = Volatility()
    rearm: Literal["on_clean_restart", "explicit"] = "on_clean_restart"


class Gate(Section):
    """Limits that no order passes, whatever the strategy says."""

    age_ms_max: Annotated[int, Field(gt=0)] = 10_000
    collar_bps: BpsAboveZero = 150.0
    size_base_min: Money = Decimal(1)
    size_base_max: MoneyAboveZero = Decimal(5_000)
    notional_quote_max: MoneyAboveZero = Decimal(10_000)
    position_base_min: Money = Decimal(2_000)
    position_base_max: MoneyAboveZero = Decimal(18_000)
    reserve_base: Money = Decimal(20)
    reserve_quote: Money = Decimal(0)
    submits_per_window_max: Annotated[int, Field(gt=0)] = 200
    rate_window_ticks: Annotated[int, Field(gt=0, le=1000)] = 10

    @model_validator(mode="after")
    def _limits_not_crossed(self) -> Gate:
        if self.size_base_min > self.size_base_max:
            raise ValueError(
                f"size_base_min: {self.size_base_min} must not be above size_base_max {self.size_base_max}"
            )
        if self.position_base_min > self.position_base_max:
            raise ValueError(
                f"position_base_min: {self.position_base_min} must not be above "
                f"position_base_max {self.position_base_max}"
            )
        return self


class Paper(Section):
    """The paper venue: what it starts with and what it charges."""

    base_balance: Money = Decimal(10_000)
    quote_balance: Money = Decimal(13_000)
    latency_ledgers: Annotated[int, Field(ge=0, le=10)] = 1
    fee_base: Money = Decimal("0.000012")
    account_reserve_base: Money = Decimal(1)
    object_reserve_base: Money = Decimal("0.2")


class Xrpl(Section):
    """The XRP Ledger: which nodes, which network, which account, and how orders are put on it."""

    endpoints: tuple[Endpoint, ...] = Field(default=(), max_length=20, strict=False)
    network_id: Annotated[int, Field(ge=0, le=2**32 - 1)] = 0
    issuer: Address = "rMxCKbEDwqr76QuheSUMdEGf4B9xJ8m5De"
    account: Address | None = None
    seed_file: Annotated[PathText, AfterValidator(no_seed)] | None = None
    request_timeout_ms: Annotated[int, Field(ge=100, le=60_000)] = 5_000
    liveness_ms: Annotated[int, Field(ge=1_000, le=600_000)] = 20_000
    backoff_ms: Annotated[int, Field(ge=10, le=60_000)] = 500
    backoff_ms_max: Annotated[int, Field(ge=10, le=600_000)] = 30_000
    expiration_ledgers: Annotated[int, Field(ge=8, le=1_000)] = 20
    renew_ledgers: Annotated[int, Field(ge=4, le=900)] = 8
    last_ledger_offset: Annotated[int, Field(ge=2, le=20)] = 4
    fee_drops_max: Annotated[int, Field(ge=10, le=100_000)] = 100
    source_tag: Annotated[int, Field(ge=0, le=2**32 - 1)] | None = None
    tickets: Annotated[int, Field(ge=0, le=200)] = 0
    settle_ledgers: Annotated[int, Field(ge=4, le=100)] = 12

    @model_validator(mode="after")
    def _renewed_in_time(self) -> Xrpl:
        if self.backoff_ms > self.backoff_ms_max:
            raise ValueError(f"backoff_ms: {self.backoff_ms} must not be above backoff_ms_max {self.backoff_ms_max}")
        if self.settle_ledgers <= self.last_ledger_offset:
            raise ValueError(
                f"settle_ledgers: {self.settle_ledgers} must be above last_ledger_offset {self.last_ledger_offset}: "
                "what is under way would not be waited for"
            )
        if self.renew_ledgers + self.last_ledger_offset > self.expiration_ledgers:
            raise ValueError(
                f"renew_ledgers: {self.renew_ledgers} and last_ledger_offset {self.last_ledger_offset} together must "
                f"not be above expiration_ledgers {self.expiration_ledgers}: an order would be due again at once"
            )
        return self


class Execution(Section):
    """Where orders go."""

    venue: Literal["paper", "xrpl"] = "paper"
    dry_run: bool = False
    orphans: Literal["cancel", "adopt"] = "cancel"
    paper: Paper = Paper()


class Reconcile(Section):
    """How often the venue's truth is compared with what we track, and what difference is accepted."""

    interval_ticks: Annotated[int, Field(gt=0)] = 50
    tolerance_base: Money = Decimal("0.001")
    tolerance_quote: Money = Decimal("0.001")


def _default_endpoint() -> str:
    return "tcp://127.0.0.1:47401" if sys.platform == "win32" else "ipc://data/run/telemetry.sock"


class Telemetry(Section):
    """Journal, socket and database."""

    endpoint: PathText = Field(default_factory=_default_endpoint)
    keys_dir: PathText | None = None
    database: PathText = "data/kedge.db"
    journal_dir: PathText = "data/journal"
    flush_ms: Annotated[int, Field(ge=1, le=60_000)] = 250
    batch_max: Annotated[int, Field(ge=1, le=100_000)] = 2_000
    fsync_interval_ms: Annotated[int, Field(ge=1, le=60_000)] = 200
    outbox_max: Annotated[int, Field(ge=1, le=10_000_000)] = 100_000
    linger_ms: Annotated[int, Field(ge=0, le=60_000)] = 1_000
    catch_up_ms: Annotated[int, Field(ge=10, le=600_000)] = 1_000
    keep_days: Annotated[float, Field(ge=0, le=36_500, allow_inf_nan=False)] = 30.0

    @field_validator("endpoint")
    @classmethod
    def _an_address(cls, value: str) -> str:
        if value.startswith("ipc://") and len(value) > len("ipc://"):
            path = value.removeprefix("ipc://")
            if path.startswith("@"):
                raise ValueError(f"{value!r} is an abstract socket, open to everybody here; name a file")
            if len(path.encode()) > IPC_PATH_BYTES_MAX:
                raise ValueError(f"socket path has {len(path.encode())} bytes, the system allows {IPC_PATH_BYTES_MAX}")
            return value
        if tcp := TCP.fullmatch(value):
            port = tcp["port"]
            if re.fullmatch("[0-9]{1,5}", port) and 0 < int(port) < 65_536:
                return value
            raise ValueError(f"not a TCP port: {port!r}")
        raise ValueError(f"{value!r} is neither ipc://PATH nor tcp://HOST:PORT")

    @model_validator(mode="after")
    def _strangers_need_keys(self) -> Telemetry:
        tcp = TCP.fullmatch(self.endpoint)
        if tcp and self.keys_dir is None and not LOOPBACK.fullmatch(tcp["host"]):
            raise ValueError(
                f"endpoint: {self.endpoint!r} can be reached from other machines, which takes telemetry.keys_dir "
                "(`kedge-telemetry keys --help`); otherwise use ipc:// or a loopback address"
            )
        return self


class Config(Section):
    """The whole file."""

    market: Market = Market()
    strategy: Strategy = Strategy()
    gate: Gate = Gate()
    execution: Execution = Execution()
    reconcile: Reconcile = Reconcile()
    xrpl: Xrpl = Xrpl()
    telemetry: Telemetry = Field(default_factory=Telemetry)

    @model_validator(mode="after")
    def _the_ledger_is_named(self) -> Config:
        live, xrpl = self.execution.venue == "xrpl", self.xrpl
        if live and self.market.feed != "xrpl":
            raise ValueError(f"market.feed: {self.market.feed} prices nothing for execution.venue xrpl; use feed xrpl")
        if self.market.feed == "xrpl" and not xrpl.endpoints:
            raise ValueError("xrpl.endpoints: feed is `xrpl`, so this must name at least one node, such as wss://HOST")
        if live and xrpl.account is None:
            raise ValueError("xrpl.account: venue is `xrpl`, so this must name the account that trades")
        if live and not self.market.pair.startswith("XRP/"):
            raise ValueError(f"market.pair: {self.market.pair}: venue xrpl trades XRP/..., as fees are paid in XRP")
        if live and self.xrpl.account == self.xrpl.issuer:
            raise ValueError("xrpl.account: the issuer of the currency cannot be its own market maker here")
        if live and self.strategy.quote.size_quantum % Decimal("0.000001"):
            raise ValueError("strategy.quote.size_quantum: the ledger counts XRP in drops; use a multiple of 0.000001")
        return self

    @model_validator(mode="after")
    def _levels_pass_the_gate(self) -> Config:
        quote, gate = self.strategy.quote, self.gate
        smallest = quote.size_base // quote.size_quantum * quote.size_quantum
        largest = quote.size_base * Decimal(str(quote.size_growth)) ** (quote.levels - 1)
        if smallest == 0:
            raise ValueError(f"strategy.quote.size_quantum: {quote.size_quantum} rounds size_base down to nothing")
        if smallest < gate.size_base_min or largest > gate.size_base_max:
            raise ValueError(
                f"strategy.quote.size_base: the ladder's sizes {quote.size_base} .. {largest:.2f} must lie within "
                f"gate.size_base_min {gate.size_base_min} .. gate.size_base_max {gate.size_base_max}"
            )
        return self

    @model_validator(mode="after")
    def _what_is_kept_stays_near(self) -> Config:
        quote, gate = self.strategy.quote, self.gate
        if quote.requote_tolerance_bps >= min(quote.half_spread_bps, gate.collar_bps):
            raise ValueError(
                f"strategy.quote.requote_tolerance_bps: {quote.requote_tolerance_bps} must be below half_spread_bps "
                f"{quote.half_spread_bps} and gate.collar_bps {gate.collar_bps}: a kept order must not reach either"
            )
        widest = quote.half_spread_bps + (quote.levels - 1) * quote.level_step_bps
        if widest >= 10_000:
            raise ValueError(f"strategy.quote.level_step_bps: the last level would stand {widest:g} bps away")
        return self
