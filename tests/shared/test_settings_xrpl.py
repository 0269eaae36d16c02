"""The section `xrpl`: what must be said before anything is live, and what cannot be meant together."""

from __future__ import annotations

from typing import Any

import pytest

from shared.config import build_config
from shared.errors import ConfigError

ACCOUNT = "rHb9CJAWyB4rj91VRWn96DkukG4bwdtyTh"
LIVE: dict[str, Any] = {
    "market": {"feed": "xrpl"},
    "execution": {"venue": "xrpl"},
    "xrpl": {"endpoints": ["wss://node.example:51233"], "account": ACCOUNT},
}


def with_(**xrpl: Any) -> dict[str, Any]:
    return LIVE | {"xrpl": LIVE["xrpl"] | xrpl}


def test_given_everything_that_live_takes_when_loaded_then_it_is_a_configuration() -> None:
    loaded = build_config(LIVE, "test")

    assert loaded.config.xrpl.account == ACCOUNT
    assert loaded.config.xrpl.endpoints == ("wss://node.example:51233",)


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (LIVE | {"market": {"feed": "sim"}}, "market.feed: sim prices nothing for execution.venue xrpl"),
        (LIVE | {"market": {"feed": "xrpl", "pair": "RLUSD/XRP"}}, "market.pair: RLUSD/XRP: venue xrpl trades XRP/"),
        (with_(endpoints=[]), "xrpl.endpoints: feed is `xrpl`"),
        (with_(account=None), "xrpl.account: venue is `xrpl`"),
        (with_(account="rMxCKbEDwqr76QuheSUMdEGf4B9xJ8m5De"), "xrpl.account: the issuer of the currency"),
        (LIVE | {"strategy": {"quote": {"size_quantum": "0.0000001"}}}, "strategy.quote.size_quantum: the ledger"),
        (with_(backoff_ms=500, backoff_ms_max=499), "xrpl.backoff_ms: 500 must not be above"),
        (with_(settle_ledgers=6, last_ledger_offset=6), "xrpl.settle_ledgers: 6 must be above last_ledger_offset 6"),
        (with_(expiration_ledgers=11), "xrpl.renew_ledgers: 8 and last_ledger_offset 4 together"),
    ],
)
def test_given_what_cannot_be_meant_when_loaded_then_one_line_names_the_key(raw: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        build_config(raw, "test")

    assert str(refusal.value).startswith(f"test: {said}")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("xrpl", [{"expiration_ledgers": 12}, {"settle_ledgers": 5}, {"backoff_ms_max": 500}])
def test_given_limits_that_just_fit_when_loaded_then_they_stand(xrpl: dict[str, int]) -> None:
    config = build_config(with_(**xrpl), "test").config

    assert {key: getattr(config.xrpl, key) for key in xrpl} == xrpl


def test_given_paper_on_the_ledgers_market_when_loaded_then_neither_account_nor_order_of_the_pair_matter() -> None:
    raw = {"market": {"feed": "xrpl", "pair": "RLUSD/XRP"}, "xrpl": {"endpoints": ["ws://127.0.0.1:6006"]}}

    assert build_config(raw, "test").config.xrpl.account is None
