"""What is worth money or is a customer's key stands in no record, no message and no printed configuration."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from xrpl.core.addresscodec import encode_classic_address

from shared.config import build_config, load_config
from shared.errors import ConfigError
from shared.xrpl_text import endpoint_name
from tests.xrpl.small_network import ADDRESS, STAGE1

SEEDS = ["sEdSJHS4oiAdz7w2X2ni1gFiiJCZiiH", "snoPBrXtMeMyMHUVTgbuqAfg1SUTb"]  # nobody's: of entropy 4, and of genesis


def stage1(*overrides):
    return load_config(STAGE1, (f"xrpl.account={ADDRESS}", *overrides))


@pytest.mark.parametrize("tail", ["/CUSTOMERSKEY", "/v1/CUSTOMERSKEY?api=CUSTOMERSKEY", "/?key=CUSTOMERSKEY"])
def test_given_an_endpoint_with_a_key_in_it_when_loaded_then_we_connect_with_it_and_no_record_holds_it(tail):
    endpoint = f"wss://node.example.com:51233{tail}"

    loaded = stage1(f'xrpl.endpoints=["{endpoint}"]')

    assert loaded.config.xrpl.endpoints == (endpoint,)
    assert "CUSTOMERSKEY" not in loaded.config_json
    on_record = json.loads(loaded.config_json)
    assert on_record["xrpl"]["endpoints"] == [endpoint_name(endpoint)]
    assert build_config(on_record, "the record").config_json == loaded.config_json


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("key", ["account", "issuer", "seed_file"])
def test_given_a_seed_where_a_name_belongs_when_loaded_then_it_is_refused_and_not_shown(key, seed):
    raw = stage1().config.model_dump(mode="json")
    raw["xrpl"][key] = seed

    with pytest.raises(ConfigError, match=rf"xrpl\.{key}: .*KEDGE_XRPL_SEED") as refused:
        build_config(raw, "live.yaml")

    assert seed not in str(refused.value)


@pytest.mark.parametrize("endpoint", ["wss://me:PASSWORD@node.example.com", "https://node.example.com/PASSWORD"])
def test_given_an_endpoint_that_cannot_be_used_when_loaded_then_the_line_does_not_quote_it(endpoint):
    with pytest.raises(ConfigError, match=r"xrpl\.endpoints\.1: not an address of the form wss://") as refused:
        build_config({"xrpl": {"endpoints": ["wss://node.example.com", endpoint]}}, "live.yaml")

    assert "PASSWORD" not in str(refused.value)


@given(entropy=st.binary(min_size=20, max_size=20), place=st.integers(1, 33), letter=st.sampled_from("rpshnaf39wBUD"))
def test_given_any_account_when_its_address_is_loaded_then_it_is_taken_and_with_another_letter_it_is_not(
    entropy, place, letter
):
    address = encode_classic_address(entropy)
    typo = address[:place] + letter + address[place + 1 :]

    assert build_config({"xrpl": {"issuer": address}}, "live.yaml").config.xrpl.issuer == address
    if typo != address:
        with pytest.raises(ConfigError, match=r"^live\.yaml: xrpl\.issuer: "):
            build_config({"xrpl": {"issuer": typo}}, "live.yaml")
