"""config/live_stage1.yaml is small, commented and apart from paper; docs/live.md explains every limit and reason."""

from __future__ import annotations

import ast
import re
from decimal import Decimal
from pathlib import Path
from typing import get_args

import pytest
import yaml

from engine_proc import venue_xrpl
from engine_proc.market import MarketStatus
from engine_proc.xrpl_doctor import LEDGERS_A_DAY
from engine_proc.xrpl_effects import Why
from shared.config import load_config
from shared.errors import ConfigError
from shared.records import Mode
from shared.settings import Config, Gate, Xrpl
from tests.xrpl.fake_node import FakeNode
from tests.xrpl.small_network import ISSUER, OURS, USD, Network, closing_ledgers

ROOT = Path(__file__).parents[2]
STAGE1 = ROOT / "config" / "live_stage1.yaml"
PAGE = (ROOT / "docs" / "live.md").read_text(encoding="utf-8")
AN_ACCOUNT = "xrpl.account=rHb9CJAWyB4rj91VRWn96DkukG4bwdtyTh"
TESTNET, DROPS_A_FEE = 1, 10
REASON = re.compile(r"[A-Z]{2,}(?:_[A-Z]+)+")
# Words in the same dress that no operator ever meets as a reason.
NOT_REASONS = {"KEDGE_LIVE", "KEDGE_XRPL_SEED", "LOOK_UP", "ONE_SIDED"}
SPEAKING = ("gate", "strategy", "describe", "engine", "reconcile", "venue_dry", "venue_paper", "venue_xrpl")


def stage1(*overrides):
    return load_config(STAGE1, (AN_ACCOUNT, *overrides)).config


def leaves(block, *above):
    for key, value in block.items():
        if isinstance(value, dict):
            yield from leaves(value, *above, key)
        else:
            yield (*above, key), value


def written():
    """The settings that stand in the file, as dotted keys without their values' types."""
    return dict(leaves(yaml.safe_load(STAGE1.read_text(encoding="utf-8"))))


# --- the file


def test_given_the_file_when_nobody_has_named_an_account_then_it_starts_nothing_and_says_which_key():
    with pytest.raises(ConfigError, match=r"xrpl\.account"):
        load_config(STAGE1)


def test_given_the_file_as_it_stands_when_an_account_is_named_then_it_trades_on_the_testnet_for_real():
    config = stage1()

    assert (config.market.feed, config.execution.venue, config.execution.dry_run) == ("xrpl", "xrpl", False)
    assert config.xrpl.network_id == TESTNET
    assert config.xrpl.issuer != Xrpl().issuer
    assert all("testnet" in node or "altnet" in node for node in config.xrpl.endpoints)


def test_given_the_file_when_measured_then_it_risks_tens_of_xrp_and_no_more():
    config = stage1()
    quote, gate, inventory = config.strategy.quote, config.gate, config.strategy.inventory
    side = sum(quote.size_base * Decimal(str(quote.size_growth)) ** level for level in range(quote.levels))

    assert side <= 10
    assert gate.size_base_max <= 10
    assert gate.notional_quote_max <= 30
    assert gate.position_base_max - inventory.target_base <= 30
    assert inventory.target_base - gate.position_base_min <= 30
    assert gate.position_base_min >= gate.reserve_base
    assert 2 * quote.levels * gate.rate_window_ticks <= gate.submits_per_window_max


def test_given_the_file_when_read_then_safety_is_tighter_than_on_paper():
    live, paper = stage1(), Config()

    assert live.strategy.rearm == "explicit"
    assert live.xrpl.expiration_ledgers < paper.xrpl.expiration_ledgers
    assert live.xrpl.fee_drops_max < paper.xrpl.fee_drops_max
    assert live.reconcile.interval_ticks < paper.reconcile.interval_ticks
    assert live.gate.age_ms_max < live.market.stale_after_ms < paper.market.stale_after_ms
    assert live.strategy.anchor_saturation_guard.enabled
    assert live.strategy.anchor.cap_bps >= live.strategy.anchor_saturation_guard.bias_threshold_bps, "it could not trip"


def test_given_the_other_files_when_compared_then_no_path_is_shared_with_real_sessions():
    mine = stage1().telemetry
    for other in ("paper.yaml", "demo.yaml"):
        theirs = load_config(ROOT / "config" / other).config.telemetry
        assert (mine.endpoint, mine.database, mine.journal_dir).count(None) == 0
        assert not {mine.endpoint, mine.database, mine.journal_dir} & {
            theirs.endpoint,
            theirs.database,
            theirs.journal_dir,
        }


def test_given_every_setting_in_the_file_then_it_differs_from_the_default_and_a_comment_says_why():
    defaults = dict(leaves(Config().model_dump()))
    changed = dict(leaves(stage1().model_dump()))
    assert all(
        changed[key] != defaults[key]
        for key in written()
        if key not in {("xrpl", "account"), ("telemetry", "endpoint")}
    )
    for line in STAGE1.read_text(encoding="utf-8").splitlines():
        if re.match(r" +\w+: \S", line) and not line.lstrip().startswith("- "):
            assert re.search(r"  # \S.*\.$|  # \S.*mainnet is \S+\.$", line), f"say why: {line}"


def test_given_the_seed_then_no_file_under_config_can_hold_it():
    for path in (ROOT / "config").glob("*.yaml"):
        assert not re.search(r"\bs(?:Ed)?[1-9A-HJ-NP-Za-km-z]{27,29}\b", path.read_text(encoding="utf-8"))


# --- the page


@pytest.mark.parametrize("key", [".".join(key) for key in written()])
def test_given_a_setting_of_the_file_when_looked_up_then_the_page_explains_it(key):
    section, _, name = key.rpartition(".")

    said = re.search(rf"`(?:{re.escape(key)}|{name})(?:: [^`]*)?`", PAGE)
    assert said or section == "telemetry", f"docs/live.md says nothing of {key}"


@pytest.mark.parametrize("key", [*Gate.model_fields, *Xrpl.model_fields])
def test_given_a_limit_when_looked_up_then_the_page_explains_it(key):
    assert re.search(rf"`(?:gate\.|xrpl\.)?{key}(?:: [^`]*)?`", PAGE), f"docs/live.md says nothing of {key}"


def reasons():
    """Every reason code that the sources can put on record, as an operator reads it."""
    found = {f"MARKET_{status}" for status in get_args(MarketStatus) if status != "OK"}
    found |= {f"DATA_{status}" for status in get_args(MarketStatus) if status != "OK"}
    found |= {f"MODE_{mode}" for mode in get_args(Mode) if mode != "ACTIVE"}
    sources = [ROOT / "engine_proc" / f"{name}.py" for name in SPEAKING]
    for path in (*sources, *(ROOT / "engine_proc").glob("xrpl_*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and REASON.fullmatch(node.value):
                found.add(node.value)
    return sorted(found - NOT_REASONS)


@pytest.mark.parametrize("reason", reasons())
def test_given_a_reason_code_when_looked_up_then_the_runbook_says_what_it_means_and_what_to_do(reason):
    rows = [line.split(" | ") for line in PAGE.splitlines() if line.startswith("| `")]
    cells = [row for row in rows if re.search(rf"\b(?:VENUE_)?{reason}\b", row[0])]

    assert cells, f"docs/live.md: no row of the runbook explains {reason}"
    assert all(len(row) == 3 for row in cells), f"{reason}: reason, meaning, what to do"


@pytest.mark.parametrize("why", get_args(Why))
def test_given_a_word_for_the_end_of_an_order_when_looked_up_then_the_runbook_has_it(why):
    assert re.search(rf"^\| (?:`\w+`, )*`{why}`", PAGE, flags=re.MULTILINE)


@pytest.mark.parametrize("refusal", [name for name, value in vars(venue_xrpl).items() if name == value])
def test_given_a_refusal_of_the_venue_when_looked_up_then_the_runbook_has_the_word_that_the_gate_makes_of_it(refusal):
    assert re.search(rf"^\| `VENUE_{refusal}`", PAGE, flags=re.MULTILINE)


def test_given_the_page_when_it_counts_the_fees_of_a_day_then_it_counts_right():
    orders = 2 * stage1().strategy.quote.levels
    a_day = Decimal(orders * LEDGERS_A_DAY * DROPS_A_FEE) / 10**6

    assert f"cost {a_day:.2f} XRP a day" in PAGE
    assert f"{LEDGERS_A_DAY:,} ledgers a day" in PAGE


def test_given_the_script_of_step_3_when_run_against_a_ledger_then_the_account_trusts_and_holds_the_currency(
    tmp_path, capsys
):
    network = Network(our_usd=None)
    (tmp_path / "seed").write_text(OURS.seed + "\n")
    script = PAGE.partition("```python\n")[2].partition("```")[0]
    for theirs, ours in {
        "wss://s.altnet.rippletest.net:51233": "{url}",
        "524C555344000000000000000000000000000000": USD,
        "rQhWct2fv4Vc4KRjRgMrxa8xPN9Zx9iLKV": ISSUER.address,
        "data/live/seed": str(tmp_path / "seed"),
    }.items():
        assert theirs in script
        script = script.replace(theirs, ours)

    with FakeNode(network.ledger) as node, closing_ledgers(node):
        exec(compile(script.replace("{url}", node.url), "docs/live.md", "exec"), {})

    assert capsys.readouterr().out.splitlines() == ["TrustSet tesSUCCESS", "OfferCreate tesSUCCESS"]
    held = network.ledger.answer({"command": "account_lines", "account": OURS.address, "ledger_index": "validated"})
    assert Decimal(held["lines"][0]["balance"]) == 60
