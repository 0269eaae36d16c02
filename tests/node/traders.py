"""Who else is in the market: makers that requote, a taker that trades every ledger, and who pushes the pool away."""

from __future__ import annotations

import random
from decimal import Decimal
from typing import NamedTuple

from tests.node.parties import Party, xrp

PASSIVE, IMMEDIATE_OR_CANCEL, SELL, PARTIAL_PAYMENT = 0x10000, 0x20000, 0x80000, 0x20000
SINGLE_ASSET = 0x80000
LEDGER_S = 4
OFFER_LEDGERS = 60  # makers' own Expiration
BPS = Decimal("0.0001")


class Sight(NamedTuple):
    """What the traders see before a ledger: fair price, the pool's fee-inclusive prices, the last close time."""

    fair: Decimal
    pool_bid: Decimal
    pool_ask: Decimal
    close_time: int


class Rung(NamedTuple):
    """One level of a maker's ladder, on both sides."""

    distance_bps: int
    size: Decimal


class Maker:
    """Quotes a ladder around the fair price, one rung a ledger, replacing by OfferCreate + OfferSequence."""

    def __init__(self, party: Party, issuer: str, rungs: tuple[Rung, ...], rng: random.Random) -> None:
        self.party = party
        self.issuer = issuer
        self.rungs = rungs
        self.rng = rng
        self._resting: dict[tuple[str, int], int] = {}

    def act(self, sight: Sight) -> None:
        """Both sides of one rung, or of all while nothing rests. Now and then a price that is a mistake."""
        first = not self._resting
        for level in range(len(self.rungs)) if first else (self.rng.randrange(len(self.rungs)),):
            rung = self.rungs[level]
            slip = Decimal(0)
            if not first and level == 0 and self.rng.random() < 0.1:
                slip = BPS * self.rng.choice((-22, 22))  # takes what rests there, ours too, and stands in the way
            for side in self.rng.sample(("ask", "bid"), 2):
                self._quote(side, level, rung, sight._replace(fair=sight.fair * (1 + slip)))

    def _quote(self, side: str, level: int, rung: Rung, sight: Sight) -> None:
        distance = rung.distance_bps * BPS
        size = (rung.size * Decimal(str(self.rng.uniform(0.8, 1.2)))).quantize(Decimal("0.000001"))
        if side == "ask":
            price = max(sight.fair * (1 + distance), sight.pool_bid * (1 + BPS))
            gets, pays = xrp(size), self.party.tokens(size * price, self.issuer)
        else:
            price = min(sight.fair * (1 - distance), sight.pool_ask * (1 - BPS))
            gets, pays = self.party.tokens(size * price, self.issuer), xrp(size)
        number = self.party.sequence
        replaced = self._resting.get((side, level))
        result = self.party.send(
            "OfferCreate",
            TakerGets=gets,
            TakerPays=pays,
            Flags=PASSIVE,
            Expiration=sight.close_time + OFFER_LEDGERS * LEDGER_S,
            **({} if replaced is None else {"OfferSequence": replaced}),
        )
        if result == "tesSUCCESS":
            self._resting[side, level] = number


class Taker:
    """Trades every ledger: offers that do not rest, and payments that go through book and pool to a friend."""

    def __init__(self, party: Party, friend: str, issuer: str, rng: random.Random) -> None:
        self.party = party
        self.friend = friend
        self.issuer = issuer
        self.rng = rng

    def act(self, sight: Sight) -> None:
        """One trade, either way, of a size that reaches a few rungs at most; limit 35 bps from fair."""
        size = Decimal(str(self.rng.choice((20, 45, 110, 260, 520)) * self.rng.uniform(0.5, 1.5)))
        size = size.quantize(Decimal("0.000001"))
        buys = self.rng.random() < 0.5
        price = sight.fair * (1 + (35 if buys else -35) * BPS)
        tokens = self.party.tokens(size * price, self.issuer)
        if self.rng.random() < 0.6:
            gets, pays = (tokens, xrp(size)) if buys else (xrp(size), tokens)
            flags = IMMEDIATE_OR_CANCEL if buys else IMMEDIATE_OR_CANCEL | SELL
            self.party.send("OfferCreate", TakerGets=gets, TakerPays=pays, Flags=flags)
        elif buys:
            self.party.send("Payment", Destination=self.friend, Amount=xrp(size), SendMax=tokens, Flags=PARTIAL_PAYMENT)
        else:
            self.party.send("Payment", Destination=self.friend, Amount=tokens, SendMax=xrp(size), Flags=PARTIAL_PAYMENT)


def push_pool(provider: Party, issuer: str, tokens: Decimal) -> str:
    """Put tokens alone into the pool, so that its price leaves the book's."""
    return provider.send(
        "AMMDeposit",
        Asset={"currency": "XRP"},
        Asset2={key: text for key, text in provider.tokens(tokens, issuer).items() if key != "value"},
        Amount=provider.tokens(tokens, issuer),
        Flags=SINGLE_ASSET,
    )
