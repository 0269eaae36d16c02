"""How our account stands at one validated ledger: what it holds, what is locked, and whether it may trade at all."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import NamedTuple

from engine_proc.xrpl_market import Pair, xrp_of
from engine_proc.xrpl_ports import ClosedLedger, Link, NodeRefused
from engine_proc.xrpl_reads import (
    NO_TRANSFER_FEE,
    AccountState,
    Issuer,
    ListedOffer,
    NetworkFee,
    issued_of,
    read_account,
    read_issuer,
    read_server,
    read_tickets,
)
from shared.errors import ConfigError, FailSafeStop

TICK_SIZE_MIN = 6  # significant digits of a rate; coarser, and the ledger moves our prices by more than a tenth of a bp

# What bars us from trading at all: the word for it, and what its holder can do about it.
_REMEDIES = {
    "NO_TRUST_LINE": "the account has no trust line for {currency}: make one to {issuer} with a limit that is enough",
    "NOT_AUTHORIZED": "{issuer} has not authorised our trust line for {currency}: ask the issuer to",
    "FROZEN": "{issuer} has frozen {currency}, or our trust line for it: nothing can be traded until that is lifted",
    "TRANSFER_FEE": "{issuer} charges a fee for every transfer of {currency}, which Kedge does not price",
    "TICK_SIZE": "{issuer} rounds the rates of {currency} to fewer than 6 digits, too coarse for the prices of Kedge",
}


class Standing(NamedTuple):
    """Our account and the issuer of the currency, all as `ledger` has them. `tickets` are those not used yet."""

    ledger: ClosedLedger
    account: AccountState
    issuer: Issuer
    tickets: tuple[int, ...]

    def live_offers(self) -> tuple[ListedOffer, ...]:
        """Offers of ours that can still be taken."""
        return tuple(offer for offer in self.account.offers if not self._is_over(offer))

    def dead_offers(self) -> tuple[int, ...]:
        """The numbers of offers that have expired and are listed, and lock a reserve, until a transaction of ours."""
        return tuple(offer.sequence for offer in self.account.offers if self._is_over(offer))

    def _is_over(self, offer: ListedOffer) -> bool:
        return offer.expiration is not None and offer.expiration <= self.ledger.close_time


def read_standing(link: Link, account: str, pair: Pair, ledger: ClosedLedger, *, tickets: bool) -> Standing:
    """Everything at one ledger. Raises what the reads raise."""
    index = ledger.ledger_index
    held = read_tickets(link, account, index) if tickets else ()
    return Standing(ledger, read_account(link, account, pair, index), read_issuer(link, pair, index), held)


def bar(standing: Standing) -> str | None:
    """What bars the account from trading the pair, or None."""
    line, issuer = standing.account.line, standing.issuer
    if line is None:
        return "NO_TRUST_LINE"
    if issuer.global_freeze or line.frozen or line.deep_frozen:
        return "FROZEN"
    if issuer.require_auth and not line.authorized:
        return "NOT_AUTHORIZED"
    if issuer.transfer_rate != NO_TRANSFER_FEE:
        return "TRANSFER_FEE"
    return "TICK_SIZE" if issuer.tick_size is not None and issuer.tick_size < TICK_SIZE_MIN else None


def reserve_base(standing: Standing, fee_drops: int) -> Decimal:
    """Base that is not for sale: the account's reserve with one more offer of ours, and a fee of that size."""
    ledger, objects = standing.ledger, standing.account.owner_count + 1
    return xrp_of(ledger.reserve_base_drops + ledger.reserve_inc_drops * objects + fee_drops)


def fee_needed_drops(fee: NetworkFee) -> int:
    """What a transaction must offer to stand in the very next ledger: never less than the base fee under load.

    At least a drop: a network may ask for nothing, but a transaction of ours always offers something.
    """
    return max(fee.open_ledger_drops, math.ceil(fee.base_drops * fee.load_factor), 1)


def require_fit_to_trade(link: Link, account: str, pair: Pair, ledger: ClosedLedger, network_id: int) -> None:
    """Everything about network, account and issuer that stands against a session.

    Raises `ConfigError` where the configuration names something that is not there, `FailSafeStop` where the ledger bars
    us (a supervisor that tried again and again would only be a burden to the node), and what the reads raise.
    """
    server = read_server(link)
    if server.network_id != network_id:
        raise ConfigError(
            f"xrpl.network_id: {network_id} is configured, but the node is on network {server.network_id}"
        )
    try:
        account_state = read_account(link, account, pair, ledger.ledger_index)
    except NodeRefused as refusal:
        if refusal.error == "actNotFound":
            raise ConfigError(f"xrpl.account: {account} does not exist on this network: fund it first") from refusal
        raise
    try:
        issuer_state = read_issuer(link, pair, ledger.ledger_index)
    except NodeRefused as refusal:
        if refusal.error == "actNotFound":
            raise ConfigError(f"xrpl.issuer: {issued_of(pair)[1]} does not exist on this network") from refusal
        raise
    barred = bar(Standing(ledger, account_state, issuer_state, ()))
    if barred is not None:
        currency, issuer = issued_of(pair)
        raise FailSafeStop(f"{barred}: {_REMEDIES[barred].format(currency=currency, issuer=issuer)}")
