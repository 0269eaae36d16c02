"""`guard recommend` from a database to a block of YAML, and to none."""

from __future__ import annotations

import json
import re
import shutil

import pytest
import yaml

from shared import cli
from shared.config import build_config
from telemetry_proc.__main__ import telemetry
from telemetry_proc.cli_recommend import VERDICT_EXIT_CODES
from telemetry_proc.verdict import Verdict
from tests.telemetry.made_sessions import a_market, store_many
from tests.telemetry.recorded_session import opened

AXES = ("--lookback", "25", "--bias", "2:10,12,14,20", "--prevalence-bps", "5", "--prevalence-pct", "40")
KEYS = {"schema_version", "recommendation", "label", "break_even", "agreement", "settings_block"}


@pytest.fixture
def run(capsys):
    """Type a command line after `kedge-telemetry guard recommend`; its exit code, stdout and stderr."""

    def typed(*argv):
        code = cli.run(telemetry, ["guard", "recommend", *map(str, argv)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return typed


@pytest.fixture(scope="module")
def databases(tmp_path_factory):
    """100 sessions on 25 days of one and the same market, watched by three guards."""
    made = {}
    for name, guard in (
        ("too late", {"bias_threshold_bps": 30.0}),  # every dragged stretch passes by
        ("right", {}),
        ("too early", {"lookback_ticks": 5, "bias_threshold_bps": 2.0, "prevalence_threshold_bps": 1.0}),
    ):
        made[name] = tmp_path_factory.mktemp("recommend") / f"{name}.db"
        with opened(made[name]) as conn:
            store_many(conn, a_market(100), guard)
    return made


def asked(run, path, *options):
    code, out, err = run("--db", path, "--json", *options)
    assert (code, err) == (0, "")
    assert len(out.splitlines()) == 1
    return json.loads(out, parse_constant=pytest.fail)


def test_given_a_guard_that_is_too_late_when_judged_then_a_change_with_a_block_that_the_configuration_takes(
    run, databases
):
    code, out, err = run("--db", databases["too late"], *AXES)

    assert (code, err) == (0, "")
    assert out.startswith("VERDICT  NOT SENSITIVE ENOUGH. It would change with ")
    assert "25 of 25\n         episodes missed" in out
    assert "CHANGE   From 25 / 30 / 5 / 40% to 25 / 6 / 5 / 40%, by the block below." in out
    block = out[out.index("\nstrategy:\n") :]
    recommended = yaml.safe_load(block)
    guard = build_config(recommended, "test").config.strategy.anchor_saturation_guard
    assert guard.model_dump() == {
        "enabled": True, "lookback_ticks": 25, "bias_threshold_bps": 6.0, "prevalence_threshold_bps": 5.0,
        "prevalence_pct": 40.0,
    }  # fmt: skip

    told = asked(run, databases["too late"], *AXES)
    assert set(told) == KEYS
    assert yaml.safe_load(told["settings_block"]) == recommended
    assert (told["schema_version"], told["recommendation"]["action"]) == (1, "change")
    assert told["recommendation"]["recommended"]["bias_threshold_bps"] == 6.0
    assert told["recommendation"]["holdout"]["passed"] is True


def test_given_a_guard_that_is_right_when_judged_then_it_is_kept_and_there_is_no_block(run, databases):
    code, out, err = run("--db", databases["right"], *AXES)

    assert (code, err) == (0, "")
    assert out.startswith("VERDICT  WELL CALIBRATED. ")
    assert "CHANGE   Keep 25 / 7 / 5 / 40%: " in out
    assert "strategy:" not in out
    told = asked(run, databases["right"], *AXES)
    assert (told["recommendation"]["action"], told["settings_block"]) == ("keep", None)
    assert told["recommendation"]["recommended"] is None


def test_given_a_guard_that_is_too_early_when_judged_then_it_is_too_sensitive(run, databases):
    told = asked(run, databases["too early"], "--lookback", "5,15,25", *AXES[2:])
    assert told["recommendation"]["judged"]["verdict"] == "TOO SENSITIVE"
    assert told["recommendation"]["live"]["false_share_interval"]["low"] > 0.05


@pytest.mark.parametrize(
    ("name", "sessions", "code"),
    [("right", (), 0), ("too late", (), 11), ("too early", (), 10), ("right", ("1", "2", "3"), 3)],
)
def test_given_exit_code_when_judged_then_it_is_the_verdicts(run, databases, name, sessions, code):
    axes = ("--lookback", "25", "--bias", "2,6,7")
    found = run(*sessions, "--db", databases[name], *axes, "--exit-code")
    assert (found[0], found[2]) == (code, "")
    assert found[1].startswith("VERDICT  ")


def test_given_the_verdicts_when_listed_then_each_has_an_exit_code_of_its_own():
    assert set(VERDICT_EXIT_CODES) == set(Verdict)
    assert len(set(VERDICT_EXIT_CODES.values())) == len(Verdict)


def test_given_the_same_record_when_judged_again_with_and_without_what_was_kept_then_every_number_is_the_same(
    run, databases, tmp_path
):
    path = tmp_path / "kedge.db"
    shutil.copy(databases["too late"], path)

    first = run("--db", path, *AXES, "--json")
    assert path.with_name("kedge.db.series").is_dir()
    kept = run("--db", path, *AXES, "--json")
    shutil.rmtree(path.with_name("kedge.db.series"))
    path.with_name("kedge.db.series").write_text("in the way")
    uncached = run("--db", path, *AXES, "--json")

    assert first == kept
    assert uncached[:2] == first[:2]
    assert uncached[2].startswith("note: ")


def test_given_another_seed_when_judged_then_only_what_was_resampled_moves(run, databases):
    one, other = (asked(run, databases["right"], *AXES, "--seed", seed)["recommendation"] for seed in (1, 2))

    assert one["judged"]["verdict"] == other["judged"]["verdict"]
    assert one["live"]["delay_mean_s"] == other["live"]["delay_mean_s"]
    assert one["live"]["delay_mean_s_interval"] != other["live"]["delay_mean_s_interval"]


def test_given_budgets_when_judged_then_they_are_printed_and_decide(run, databases):
    told = asked(run, databases["right"], *AXES, "--max-delay-s", "20", "--max-false", "0.1", "--max-miss", " 1 / 4 ")

    assert told["recommendation"]["budgets"] == {"max_false": "1/10", "max_delay_s": 20.0, "max_miss": "1/4"}
    assert told["recommendation"]["judged"]["verdict"] == "NOT SENSITIVE ENOUGH"
    out = run("--db", databases["right"], *AXES, "--max-delay-s", "20", "--max-false", "0.1", "--max-miss", "1/4")[1]
    said = " ".join(out.split())
    assert "false trips in at most 1 of 10 calm sessions; mean delay at most 20.0 s; at most 1 of 4 episodes" in said


def test_given_a_budget_that_no_sample_of_this_size_can_keep_when_judged_then_how_many_it_takes_is_said(run, databases):
    out = run("--db", databases["right"], *AXES, "--max-false", "1/1000")[1]
    assert "2302 calm sessions in the search" in " ".join(out.split())


def test_given_a_beta_when_judged_then_the_label_is_another(run, databases):
    told = asked(run, databases["right"], *AXES, "--beta-bps", "8")
    assert (told["label"]["beta_bps"], told["label"]["beta_source"]) == (8.0, "given")
    assert (
        told["recommendation"]["label_digest"]
        != asked(run, databases["right"], *AXES)["recommendation"]["label_digest"]
    )


def test_given_the_default_grid_when_judged_then_ten_thousand_settings_and_no_more_than_a_page(run, databases):
    code, out, _ = run("--db", databases["right"])
    assert code == 0
    assert "10,000 settings" in out
    assert len(out.splitlines()) < 40
    assert max(map(len, out.splitlines())) <= 100
    assert not re.search(r"\boptimal\b|\bnan\b|\binf\b|None", out)
