"""The shipped files say what is meant, every setting stands in one of them with its comment, endpoints stay local."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

from shared.config import build_config, load_config
from shared.errors import ConfigError
from shared.settings import IPC_PATH_BYTES_MAX, Config

ROOT = Path(__file__).parents[2]
PAPER = ROOT / "config" / "paper.yaml"
DEMO = ROOT / "config" / "demo.yaml"
KEY_LINE = re.compile(r"^(?P<indent> *)(?:# )?(?P<key>[a-z_]+):(?P<rest>.*)$")


def settings_of(section, prefix=""):
    """Every dotted name of the model: sections and settings alike."""
    for name, field in section.model_fields.items():
        yield f"{prefix}{name}"
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from settings_of(field.annotation, f"{prefix}{name}.")


def commented_keys(path):
    """Every key line of a file: dotted name -> its comment ('' if it has none), the commented-out ones included."""
    found = {}
    parents = []
    for line in path.read_text(encoding="utf-8").splitlines():
        match = KEY_LINE.match(line)
        if match is None or (line.startswith("#") and "  # " not in line):
            continue
        depth = len(match["indent"]) // 2
        parents[depth:] = [match["key"]]
        found[".".join(parents)] = match["rest"].partition("#")[2].strip()
    return found


def test_given_paper_yaml_when_read_then_every_setting_of_the_model_stands_there_and_nothing_else():
    assert sorted(commented_keys(PAPER)) == sorted(settings_of(Config))


@pytest.mark.parametrize("path", [PAPER, DEMO], ids=lambda path: path.name)
def test_given_a_shipped_file_when_read_then_every_setting_has_a_comment_that_is_a_sentence(path):
    raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    sections = set(Config.model_fields) | {"strategy.anchor"}
    for dotted, comment in commented_keys(path).items():
        if dotted in sections or isinstance(_at(raw, dotted), dict):
            continue
        assert comment.endswith((".", ".md")), f"{path.name}: {dotted}: say what it means"
        assert len(comment.split()) >= 3, f"{path.name}: {dotted}: say its unit and what it means"


def _at(raw, dotted):
    for key in dotted.split("."):
        raw = (raw or {}).get(key)
    return raw


def test_given_paper_yaml_when_loaded_then_it_is_the_simulated_market_on_the_paper_venue():
    config = load_config(PAPER).config

    assert (config.market.feed, config.execution.venue, config.execution.dry_run) == ("sim", "paper", False)
    assert (config.market.pace_per_s, config.market.ticks_max) == (10.0, 0)
    assert (config.telemetry.database, config.telemetry.journal_dir) == ("data/kedge.db", "data/journal")
    assert [(phase.kind, phase.ticks) for phase in config.market.sim.scenario] == [
        ("calm", 330),
        ("drag", 260),
        ("calm", 120),
        ("outage", 52),
        ("thin", 148),
        ("flapping", 120),
        ("calm", 290),
    ]


def test_given_paper_yaml_when_loaded_then_all_but_pace_and_scenario_is_the_default_of_the_model():
    paper = load_config(PAPER).config.model_dump()
    defaults = Config().model_dump()
    for config in (paper, defaults):
        del config["market"]["pace_per_s"], config["market"]["sim"]["scenario"]

    assert paper == defaults


def test_given_the_guard_when_nothing_is_set_then_its_thresholds_are_the_specified_ones():
    guard = load_config(PAPER).config.strategy.anchor_saturation_guard

    assert guard.model_dump() == {
        "enabled": True,
        "lookback_ticks": 25,
        "bias_threshold_bps": 7.0,
        "prevalence_threshold_bps": 5.0,
        "prevalence_pct": 40.0,
    }


def test_given_demo_yaml_when_loaded_then_it_plays_the_recorded_tape_into_a_directory_of_its_own():
    config = load_config(DEMO).config

    assert (config.market.feed, config.market.pace_per_s) == ("tape", 40.0)
    assert (ROOT / config.market.tape).is_file()
    assert config.strategy.anchor.reference == "fee_band"
    assert config.telemetry.database == "data/demo/kedge.db"
    assert config.telemetry.journal_dir == "data/demo/journal"
    assert config.telemetry.endpoint == "ipc://data/demo/telemetry.sock"


def endpoint(value, keys_dir=None):
    return build_config({"telemetry": {"endpoint": value, "keys_dir": keys_dir}}, "test").config.telemetry.endpoint


@pytest.mark.parametrize(
    "value",
    [
        "ipc://x",
        "ipc:///run/kedge.sock",
        "tcp://127.0.0.1:1",
        "tcp://127.9.9.9:65535",
        "tcp://localhost:5",
        "tcp://[::1]:5",
    ],
)
def test_given_an_endpoint_on_this_machine_when_loaded_then_it_is_taken(value):
    assert endpoint(value) == value


REACHABLE = [
    "tcp://0.0.0.0:47401",
    "tcp://*:47401",
    "tcp://192.168.0.7:47401",
    "tcp://example.com:47401",
    "tcp://localhost.example.com:47401",
    "tcp://127.example.com:5",
    "tcp://2130706433:5",
    "tcp://0177.0.0.1:5",
    "tcp://[::]:5",
    "tcp://[fe80::1]:5",
    "tcp://eth0:5",
]


@pytest.mark.parametrize("value", REACHABLE)
def test_given_an_endpoint_that_others_could_reach_when_loaded_then_it_takes_keys_and_the_line_names_both(value):
    with pytest.raises(ConfigError) as refusal:
        endpoint(value)

    (line,) = str(refusal.value).splitlines()
    assert line.startswith(f"test: telemetry.endpoint: {value!r} can be reached from other machines")
    assert "telemetry.keys_dir" in line
    assert endpoint(value, "keys") == value


@pytest.mark.parametrize("keys_dir", [None, "keys"])
@pytest.mark.parametrize(
    "value",
    [
        "tcp://127.0.0.1",
        "tcp://127.0.0.1:0",
        "tcp://127.0.0.1:65536",
        "tcp://127.0.0.1:*",
        "tcp://127.0.0.1;10.0.0.1:5",
        "tcp://10.0.0.1;127.0.0.1:5",
        "tcp://:5",
        "tcp://a b:5",
        "tcp://",
        "ipc://",
        "ipc://@kedge",
        "ipc://data/x\0y",
        "inproc://x",
        "udp://127.0.0.1:5",
        "",
    ],
)
def test_given_an_endpoint_that_is_none_or_open_to_everybody_here_when_loaded_then_it_is_refused(value, keys_dir):
    with pytest.raises(ConfigError, match=r"^test: telemetry\.endpoint: "):
        endpoint(value, keys_dir)


@pytest.mark.parametrize("key", ["endpoint", "keys_dir", "database", "journal_dir"])
@pytest.mark.parametrize("value", ["", "a\0b"])
def test_given_a_path_that_no_system_call_takes_when_loaded_then_one_line_names_the_key(key, value):
    with pytest.raises(ConfigError, match=rf"^test: telemetry\.{key}: .*$"):
        build_config({"telemetry": {key: value}}, "test")


def test_given_a_socket_path_longer_than_the_kernel_takes_when_loaded_then_it_is_refused_in_bytes():
    longest = "ipc://" + "ä" * (IPC_PATH_BYTES_MAX // 2)

    assert endpoint(longest) == longest
    with pytest.raises(
        ConfigError, match=f"has {IPC_PATH_BYTES_MAX + 1} bytes, the system allows {IPC_PATH_BYTES_MAX}"
    ):
        endpoint(longest + "x")


def test_given_a_ladder_when_its_last_rung_is_above_the_gate_then_it_is_refused_before_the_gate_must():
    def ladder(levels):
        return build_config({"strategy": {"quote": {"size_base": 200, "size_growth": 2, "levels": levels}}}, "test")

    assert ladder(5).config.strategy.quote.size_base == Decimal(200)  # 200 .. 3200
    with pytest.raises(ConfigError, match=r"size_base: the ladder's sizes 200 \.\. 6400\.00 must lie within"):
        ladder(6)
