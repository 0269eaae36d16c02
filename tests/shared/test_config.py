"""Files and overrides: what is right loads the same everywhere, what is wrong is one line that names file and key."""

from __future__ import annotations

import json
import os
import random
import re
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.config import build_config, load_config
from shared.errors import ConfigError
from shared.settings import Config


@pytest.fixture
def write(tmp_path):
    def write_file(text, name="kedge.yaml"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write_file


def complaints(path, *overrides):
    with pytest.raises(ConfigError) as refusal:
        load_config(path, overrides)
    assert refusal.value.exit_code == 78
    return str(refusal.value).splitlines()


# --- what is right


def test_given_an_empty_file_when_loaded_then_every_setting_has_its_default(write):
    loaded = load_config(write(""))

    assert loaded.config == Config()
    assert json.loads(loaded.config_json) == Config().model_dump(mode="json")


def test_given_some_settings_when_loaded_then_the_others_have_their_defaults(write):
    config = load_config(write("market: {seed: 7}\nstrategy: {anchor: {mode: clob}}\n")).config

    assert (config.market.seed, config.strategy.anchor.mode) == (7, "clob")
    assert config.strategy.anchor.cap_bps == Config().strategy.anchor.cap_bps


@pytest.mark.parametrize("spelled", ["0.000012", '"0.000012"', "1.2e-5", "12e-6"])
def test_given_money_in_any_spelling_when_loaded_then_it_is_that_decimal_and_never_a_binary_neighbour(write, spelled):
    config = load_config(write(f"execution: {{paper: {{fee_base: {spelled}}}}}")).config

    assert config.execution.paper.fee_base == Decimal("0.000012")


def test_given_a_loaded_configuration_when_someone_tries_to_change_it_then_it_is_frozen(write):
    config = load_config(write("")).config

    with pytest.raises(ValueError, match="frozen"):
        config.market.seed = 2


# --- identity


def _shuffled(value, rng):
    if not isinstance(value, dict):
        return value
    keys = list(value)
    rng.shuffle(keys)
    return {key: _shuffled(value[key], rng) for key in keys}


def test_given_the_same_settings_in_any_order_or_layout_when_loaded_then_the_hash_is_the_same(write):
    raw = Config().model_dump(mode="json")
    expected = build_config(raw, "defaults").config_hash

    for seed in range(5):
        shuffled = _shuffled(raw, random.Random(seed))
        assert load_config(write(json.dumps(shuffled))).config_hash == expected
    assert load_config(write("")).config_hash == expected
    assert re.fullmatch("[0-9a-f]{16}", expected)


def test_given_any_single_setting_changed_when_loaded_then_the_hash_changes(write):
    path = write("")
    hashes = {load_config(path).config_hash}
    for override in ("market.seed=2", "strategy.quote.levels=3", "telemetry.flush_ms=251", "execution.dry_run=true"):
        hashes.add(load_config(path, [override]).config_hash)

    assert len(hashes) == 5


def test_given_the_canonical_json_of_a_session_when_built_again_then_it_is_the_same_configuration(write):
    loaded = load_config(write("strategy: {quote: {size_base: 12.50}}\nmarket: {sim: {maker_sizes: [1, 2]}}"))

    again = build_config(json.loads(loaded.config_json), "session")

    assert again[:1] == loaded[:1]
    assert again[2:] == loaded[2:]


# --- overrides


@pytest.mark.parametrize(
    ("override", "dotted", "value"),
    [
        ("market.seed=9", "market.seed", 9),
        ("market.pace_per_s=0", "market.pace_per_s", 0.0),
        ("execution.dry_run=true", "execution.dry_run", True),
        ("strategy.anchor.mode=capped", "strategy.anchor.mode", "capped"),
        ("strategy.quote.size_base=12.5", "strategy.quote.size_base", Decimal("12.5")),
        ("telemetry.database=/tmp/a=b.db", "telemetry.database", "/tmp/a=b.db"),
        ("telemetry.endpoint=tcp://127.0.0.1:5000", "telemetry.endpoint", "tcp://127.0.0.1:5000"),
        ("market.tape=", "market.tape", None),
        (" market.seed = 9", "market.seed", 9),
        ("market={seed: 9}", "market.seed", 9),
    ],
)
def test_given_an_override_when_loaded_then_it_stands_over_the_file(write, override, dotted, value):
    setting = load_config(write("market: {seed: 1}\nexecution:\n  dry_run: false\n"), [override]).config
    for key in dotted.split("."):
        setting = getattr(setting, key)

    assert setting == value
    assert type(setting) is type(value)


def test_given_the_same_override_twice_when_loaded_then_the_last_one_stands(write):
    assert load_config(write(""), ["market.seed=2", "market.seed=3"]).config.market.seed == 3


def test_given_a_section_with_every_line_commented_out_when_overridden_then_the_override_fills_it(write):
    assert load_config(write("gate:\n  # all defaults\n"), ["gate.collar_bps=99"]).config.gate.collar_bps == 99.0


@pytest.mark.parametrize("override", ["market.seed", "=5", "", ".=1", "market..seed=1", "market.=1"])
def test_given_an_override_without_key_or_value_when_loaded_then_it_says_the_form(write, override):
    assert complaints(write(""), override) == [f"--set {override}: must read section.key=value"]


@pytest.mark.parametrize("value", ["[", "{a: b", "'", "2026-13-45", "? [a]", "[" * 3000])
def test_given_an_override_whose_value_is_no_yaml_when_loaded_then_it_says_so(write, value):
    assert complaints(write(""), f"market.tape={value}") == [f"--set market.tape={value}: the value is not YAML"]


def test_given_an_override_below_a_plain_value_when_loaded_then_it_is_refused(write):
    (line,) = complaints(write("market: 5"), "market.seed=1")

    assert line == "--set market.seed=1: market is not a section"


def test_given_a_wrong_override_over_a_right_file_when_loaded_then_the_override_is_blamed_and_not_the_file(write):
    assert complaints(write(""), "market.sed=1") == ["--set market.sed=1: market.sed: unknown key; did you mean seed?"]
    (line,) = complaints(write(""), "market.seed=abc")
    assert line.startswith("--set market.seed=abc: market.seed: Input should be a valid integer")


# --- what is wrong: one line for each fault, naming file and key


def test_given_an_unknown_key_when_loaded_then_the_line_names_file_and_key_and_suggests_the_nearest(write):
    path = write("strategy: {anchor: {cap_bp: 9.0}}")

    assert complaints(path) == [f"{path}: strategy.anchor.cap_bp: unknown key; did you mean cap_bps?"]


def test_given_an_unknown_key_like_no_other_when_loaded_then_the_line_lists_what_is_known_there(write):
    path = write("strategy: {volatility: {zzz: 1}}")

    assert complaints(path) == [f"{path}: strategy.volatility.zzz: unknown key; known here: halflife_ticks, widening"]


@pytest.mark.parametrize(
    ("text", "dotted"),
    [
        ("market: {seed: '1'}", "market.seed"),
        ("market: {seed: 1.5}", "market.seed"),
        ("market: {seed: true}", "market.seed"),
        ("market: {seed: -1}", "market.seed"),
        ("market: {seed: null}", "market.seed"),
        ("market: {feed: simm}", "market.feed"),
        ("market: {pair: XRP}", "market.pair"),
        ("execution: {dry_run: 1}", "execution.dry_run"),
        ("execution: {dry_run: 'yes'}", "execution.dry_run"),
        ("strategy: {quote: {half_spread_bps: .nan}}", "strategy.quote.half_spread_bps"),
        ("strategy: {quote: {half_spread_bps: .inf}}", "strategy.quote.half_spread_bps"),
        ("strategy: {quote: {half_spread_bps: 0}}", "strategy.quote.half_spread_bps"),
        ("strategy: {quote: {size_base: .nan}}", "strategy.quote.size_base"),
        ("strategy: {quote: {size_base: sNaN}}", "strategy.quote.size_base"),
        ("strategy: {quote: {size_base: 1e999999}}", "strategy.quote.size_base"),
        ("strategy: {quote: {size_base: a lot}}", "strategy.quote.size_base"),
        ("strategy: {quote: {size_base: true}}", "strategy.quote.size_base"),
        ("strategy: {quote: {size_base: [1]}}", "strategy.quote.size_base"),
        ("gate: 5", "gate"),
        ("gate:", "gate"),
        ("1: x", "1"),
        ("market: {sim: {scenario: []}}", "market.sim.scenario"),
        ("market: {sim: {scenario: [{kind: calm, ticks: 0}]}}", "market.sim.scenario.0.ticks"),
        (
            "strategy: {anchor_saturation_guard: {prevalence_pct: 40.05}}",
            "strategy.anchor_saturation_guard.prevalence_pct",
        ),
        ("telemetry: {endpoint: 'tcp://0.0.0.0:1'}", "telemetry.endpoint"),
    ],
)
def test_given_a_value_of_the_wrong_type_or_range_when_loaded_then_one_line_names_file_and_key(write, text, dotted):
    path = write(text)

    (line,) = complaints(path)

    assert line.startswith(f"{path}: {dotted}: "), line


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (
            "strategy: {anchor_saturation_guard: {bias_threshold_bps: 4.0}}",
            "strategy.anchor_saturation_guard.prevalence_threshold_bps: 5.0 must not be above bias_threshold_bps 4.0",
        ),
        ("gate: {size_base_min: 9000}", "gate.size_base_min: 9000 must not be above size_base_max 5000"),
        (
            "gate: {position_base_min: 18000.1}",
            "gate.position_base_min: 18000.1 must not be above position_base_max 18000",
        ),
        (
            "strategy: {quote: {size_base: 4000}}",
            "strategy.quote.size_base: the ladder's sizes 4000 .. 6000.00 must lie",
        ),
        ("market: {feed: tape}", "market.tape: feed is `tape`, so this must name a tape file"),
    ],
)
def test_given_crossed_settings_when_loaded_then_one_line_names_both_and_their_values(write, text, named):
    path = write(text)

    (line,) = complaints(path)

    assert line.startswith(f"{path}: {named}"), line


def test_given_several_faults_when_loaded_then_each_has_its_line(write):
    path = write("market: {seed: x, feed: y}\ngatee: {}\n")

    lines = complaints(path)

    assert [line.split(": ")[1] for line in lines] == ["market.feed", "market.seed", "gatee"]
    assert all(line.startswith(f"{path}: ") for line in lines)


def test_given_a_key_that_stands_twice_when_loaded_then_it_is_refused_and_not_the_last_one_taken(write):
    path = write("gate:\n  size_base_max: 10\n  size_base_max: 1000000\n")

    (line,) = complaints(path)

    assert line.startswith(f"{path}: not YAML: duplicate key 'size_base_max'")
    assert "line 3" in line


@pytest.mark.parametrize(
    "text",
    [
        "market: [",
        "a: b: c",
        "\tmarket: {}",
        "\x00",
        "--- {}\n--- {}\n",
        "market: {tape: 2026-13-45}",
        "? [a]\n: b",
        "? {a: b}\n: c",
        "a: !!int ''",
        "a: !!python/object/apply:os.system [exit]",
        "a: *nowhere",
        "[" * 5000,
    ],
)
def test_given_a_file_that_is_no_yaml_when_loaded_then_one_line_says_so(write, text):
    path = write(text)

    (line,) = complaints(path)

    assert line.startswith(f"{path}: not YAML: "), line


@pytest.mark.parametrize(("text", "kind"), [("- 1", "list"), ("42", "int"), ("hello", "str")])
def test_given_a_file_that_is_no_mapping_when_loaded_then_one_line_says_what_it_is(write, text, kind):
    path = write(text)

    assert complaints(path) == [f"{path}: must be a mapping of sections, is a {kind}"]


def test_given_a_file_that_is_not_there_or_not_readable_when_loaded_then_one_line_says_why(write, tmp_path):
    missing = tmp_path / "none.yaml"
    assert complaints(missing) == [f"{missing}: cannot read the configuration: No such file or directory"]
    assert complaints(tmp_path)[0].startswith(f"{tmp_path}: cannot read the configuration: ")
    binary = write(b"\xff\xfe\x00", "binary.yaml")
    assert complaints(binary) == [f"{binary}: cannot read the configuration: not UTF-8 text"]


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="needs a user whom the system can refuse")
def test_given_a_file_without_permission_when_loaded_then_one_line_says_so(write):
    path = write("")
    path.chmod(0)

    assert complaints(path) == [f"{path}: cannot read the configuration: Permission denied"]


def test_given_a_load_that_fails_when_loading_again_then_nothing_of_it_is_left(write):
    raw = {"market": {"seed": 1}}
    with pytest.raises(ConfigError):
        build_config(raw, "raw", ["market.seed=2", "gate.collar_bps=1", "gate.nonsense=3"])

    assert raw == {"market": {"seed": 1}}
    assert build_config(raw, "raw", ["market.seed=5"]).config.market.seed == 5
    assert build_config(raw, "raw").config.market.seed == 1


@settings(max_examples=150, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.dates(),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from([*Config.model_fields, "sim", "anchor", "quote", "scenario", "seed", "endpoint"])
                | st.text(max_size=5)
                | st.integers(),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    )
)
def test_given_arbitrary_data_when_built_then_it_is_a_configuration_or_a_config_error_and_nothing_else(raw):
    try:
        loaded = build_config(raw, "raw")
    except ConfigError as error:
        lines = str(error).split("\n")
    else:
        lines = [f"raw: {loaded.config_hash}"]
    assert all(line.startswith("raw: ") for line in lines), lines


@pytest.mark.parametrize("key", ["\n", "seed\nerror: all is well", "\u2028"])
def test_given_a_key_with_a_line_break_in_it_when_built_then_the_complaint_is_still_one_line(key):
    with pytest.raises(ConfigError) as raised:
        build_config({key: 1}, "raw")

    assert len(str(raised.value).splitlines()) == 1
    assert repr(key) in str(raised.value)
