"""The doctor: a healthy live set-up passes, every single thing that is wrong fails on its own line with a remedy."""

from __future__ import annotations

import json
import os
import re
import shutil
from contextlib import closing
from pathlib import Path

import pytest
from filelock import FileLock

from engine_proc import finding, xrpl_doctor
from engine_proc.__main__ import engine
from engine_proc.operator_word import write_halt
from engine_proc.xrpl_reads import Server
from engine_proc.xrpl_submissions import SubmissionLog, log_path
from engine_proc.xrpl_wallet import SEED_VARIABLE
from shared import cli
from shared.clock import SystemClock
from shared.curve import make_pairs, writer_keys
from shared.errors import ConfigError
from shared.journal import ENGINE_LOCK
from shared.stop import Stop
from telemetry_proc.inbox import Inbox
from tests.xrpl.fake_node import FakeNode
from tests.xrpl.small_network import (
    ADDRESS,
    ENDPOINT,
    ISSUER,
    MAKER,
    OURS,
    USD,
    Network,
    closing_ledgers,
    command_line,
    live_config,
)

READS = {
    "server_info", "server_state", "fee", "ledger", "account_info", "account_lines", "account_offers",
    "account_objects", "ledger_entry", "book_offers", "amm_info",
}  # fmt: skip
GLOBAL_FREEZE = 7  # AccountSet
SET_FREEZE = 0x00100000  # TrustSet


@pytest.fixture
def writer(tmp_path):
    """A writer that listens where the settings say."""
    (tmp_path / "run").mkdir(mode=0o700)
    with closing(Stop()) as stop, closing(Inbox(f"ipc://{tmp_path}/run/t.sock", SystemClock(), stop)) as inbox:
        yield inbox


def examined(network, directory, *overrides, address=ADDRESS, open_link=None, **others):
    """The findings, by the name on their line."""
    config = live_config(directory, *overrides, **others)
    findings = xrpl_doctor.examine(config, open_link or network.link, address, network.clock)
    return {found.name: found for found in findings}


def failing(findings):
    return {name for name, found in findings.items() if not found.ok}


# --- all is well


def test_given_everything_in_place_when_examined_then_every_line_is_ok_and_no_remedy_is_offered(tmp_path, writer):
    network = Network()

    found = examined(network, tmp_path)

    assert failing(found) == set(), finding.text(list(found.values()))
    assert not any(each.remedy for each in found.values())
    assert list(found) == [
        "seed", f"node {ENDPOINT}", "clock", "account", "offers", "issuer", "trust line", "book", "pool", "fees",
        "position", "asks", "bids", "journals", "engine", "next session", "signed before", "writer",
    ]  # fmt: skip


def test_given_an_examination_when_it_is_over_then_only_questions_were_asked(tmp_path, writer):
    network = Network()

    examined(network, tmp_path)

    assert set().union(*(link.asked for link in network.links)) <= READS
    assert os.listdir(tmp_path / "journal") == [ENGINE_LOCK]  # noqa: PTH208


# --- one thing wrong, one line


def account_set(network, **fields):
    setting = {"TransactionType": "AccountSet", "Account": ISSUER.address, **fields}
    assert network.ledger.apply(setting) == "tesSUCCESS"


def freeze_our_line(network):
    limit = {"currency": USD, "issuer": ADDRESS, "value": "0"}
    frozen = {"TransactionType": "TrustSet", "Account": ISSUER.address, "LimitAmount": limit, "Flags": SET_FREEZE}
    assert network.ledger.apply(frozen) == "tesSUCCESS"


def cancel_asks_of_others(network):
    for number in network.offers(MAKER.address)[:1]:
        cancel = {"TransactionType": "OfferCancel", "Account": MAKER.address, "OfferSequence": number}
        assert network.ledger.apply(cancel) == "tesSUCCESS"


@pytest.mark.parametrize(
    ("spoil", "line", "says"),
    [
        (lambda network: account_set(network, SetFlag=GLOBAL_FREEZE), "issuer", "has frozen everything"),
        (lambda network: account_set(network, TransferRate=1_002_000_000), "issuer", "transfer fee"),
        (lambda network: account_set(network, TickSize=4), "issuer", "rounds rates to 4 digits"),
        (freeze_our_line, "trust line", "frozen by the issuer"),
        (cancel_asks_of_others, "book", "ONE_SIDED"),
        (lambda network: network.clock.pass_ms(90_000), "clock", "s against the ledger's close time"),
    ],
    ids=["global freeze", "transfer fee", "tick size", "frozen line", "one-sided", "clock"],
)
def test_given_one_thing_wrong_on_the_ledger_when_examined_then_that_line_fails(spoil, line, says, tmp_path, writer):
    network = Network()
    spoil(network)
    network.ledger.close()

    found = examined(network, tmp_path)

    assert line in failing(found)
    assert says in found[line].found
    assert found[line].remedy
    # A frozen currency takes the market with it; nothing else may fail beside the line that is to blame.
    assert failing(found) <= {line, "book", "pool"}


@pytest.mark.parametrize(
    ("wallet", "lines", "says"),
    [
        ({"our_drops": 0}, {"account", "trust line"}, "is not on ledger"),
        ({"our_usd": None}, {"trust line"}, "none to"),
        ({"our_usd": 3}, {"bids"}, "3 free"),
        ({"our_drops": 15_000_000}, {"position", "asks"}, "15"),
        ({"our_drops": 200_000_000}, {"position"}, "within 20 .. 80"),
        ({"pool": False}, {"pool"}, "none that trades; anchor mode auto"),
    ],
    ids=["no account", "no trust line", "no quote currency", "poor", "rich", "no pool"],
)
def test_given_a_wallet_or_a_pool_that_does_not_fit_when_examined_then_it_is_said(
    wallet, lines, says, tmp_path, writer
):
    found = examined(Network(**wallet), tmp_path)

    assert failing(found) == lines
    assert any(says in found[line].found for line in lines)


def test_given_no_pool_when_the_anchor_does_not_want_one_then_it_passes(tmp_path, writer):
    found = examined(Network(pool=False), tmp_path, "strategy.anchor.mode=clob")

    assert failing(found) == set()


def test_given_offers_left_by_an_earlier_session_when_examined_then_their_fate_is_told(tmp_path, writer):
    network = Network()
    network.quote("ask", 1, "1.31")
    network.ledger.close()

    found = examined(network, tmp_path)

    assert found["offers"] == ("offers", True, "1 open in the pair; a start has them cancelled", "")


def test_given_an_issuer_of_another_network_when_examined_then_the_setting_is_named(tmp_path, writer):
    found = examined(Network(), tmp_path, "xrpl.issuer=rMxCKbEDwqr76QuheSUMdEGf4B9xJ8m5De")

    assert {"issuer", "trust line"} <= failing(found)
    assert "xrpl.issuer" in found["issuer"].remedy


def test_given_a_seed_that_does_not_fit_when_examined_then_its_line_fails_and_the_rest_is_looked_at(tmp_path, writer):
    found = examined(Network(), tmp_path, address=ConfigError("xrpl.seed_file: nothing there"))

    assert failing(found) == {"seed"}
    assert found["seed"].found == "xrpl.seed_file: nothing there"
    assert "KEDGE_XRPL_SEED" in found["seed"].remedy


def test_given_a_fee_above_the_cap_when_examined_then_fees_fail_and_the_sum_of_a_day_is_told(tmp_path, writer):
    network = Network()
    network.ledger.load_factor = 500

    found = examined(network, tmp_path)

    assert failing(found) == {"fees"}
    assert found["fees"].found.startswith("5000 drops now, cap 50; ")
    assert "432.00 XRP a day" in found["fees"].found


# --- the nodes


def test_given_two_nodes_of_which_one_is_down_when_examined_then_each_has_its_line_and_the_ledger_is_read(
    tmp_path, writer
):
    network = Network()

    def open_link(endpoints):
        link = network.link()
        link.cut = endpoints == ("ws://127.0.0.1:2",)
        return link

    found = examined(network, tmp_path, f"xrpl.endpoints=[ws://127.0.0.1:2, {ENDPOINT}]", open_link=open_link)

    assert failing(found) == {"node ws://127.0.0.1:2"}
    assert found["account"].ok


def test_given_no_node_at_all_when_examined_then_the_ledger_is_one_failing_line_and_this_machine_is_looked_at(
    tmp_path, writer
):
    network = Network()

    def open_link(_endpoints):
        link = network.link()
        link.cut = True
        return link

    found = examined(network, tmp_path, open_link=open_link)

    assert failing(found) == {f"node {ENDPOINT}", "ledger"}
    assert {"journals", "writer"} <= set(found)


def test_given_a_node_of_another_network_when_examined_then_it_is_not_used(tmp_path, writer):
    found = examined(Network(), tmp_path, network_id=0)

    assert f"node {ENDPOINT}" in failing(found)
    assert "network_id" in found[f"node {ENDPOINT}"].remedy


@pytest.mark.parametrize(
    ("server", "says"),
    [
        ({"state": "connected"}, "connected"),
        ({"amendment_blocked": True}, "amendment blocked"),
        ({"complete_ledgers": "empty"}, "has ledgers empty"),
    ],
)
def test_given_a_node_that_cannot_carry_a_session_when_examined_then_its_line_says_why(
    server, says, tmp_path, writer, monkeypatch
):
    real = xrpl_doctor.read_server

    def told(link) -> Server:
        return real(link)._replace(**server)

    monkeypatch.setattr(xrpl_doctor, "read_server", told)

    found = examined(Network(), tmp_path)

    assert failing(found) == {f"node {ENDPOINT}"}
    assert says in found[f"node {ENDPOINT}"].found


# --- this machine


def test_given_nobody_who_listens_when_examined_then_the_writer_is_missed(tmp_path):
    found = examined(Network(), tmp_path)

    assert failing(found) == {"writer"}
    assert found["writer"].remedy.startswith("kedge-telemetry write")


@pytest.mark.parametrize(("admitted", "failed"), [(True, set()), (False, {"writer"})])
def test_given_a_writer_with_keys_when_examined_then_only_an_engine_that_it_admits_passes(admitted, failed, tmp_path):
    theirs, ours = tmp_path / "writer", tmp_path / "engine"
    make_pairs(theirs, ["writer", "engine"])
    make_pairs(ours, ["engine"])
    shutil.copy(theirs / "writer.key", ours / "writer.key")
    if admitted:
        shutil.copy(ours / "engine.key", theirs / "ours.key")
    (tmp_path / "run").mkdir(mode=0o700)

    with (
        closing(Stop()) as stop,
        closing(Inbox(f"ipc://{tmp_path}/run/t.sock", SystemClock(), stop, writer_keys(str(theirs)))),
    ):
        found = examined(Network(), tmp_path, f"telemetry.keys_dir={ours}")

    assert failing(found) == failed
    if failed:
        assert found["writer"].found.endswith("turns us away")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_given_a_journal_directory_without_permission_when_examined_then_it_fails(tmp_path, writer):
    (tmp_path / "journal").mkdir(mode=0o500)

    assert failing(examined(Network(), tmp_path)) == {"journals"}


def test_given_a_file_where_the_journals_belong_when_examined_then_it_fails(tmp_path, writer):
    (tmp_path / "journal").write_text("a file")

    found = examined(Network(), tmp_path)

    assert failing(found) == {"journals"}
    assert "telemetry.journal_dir" in found["journals"].remedy


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such modes")
def test_given_a_journal_directory_open_to_everybody_when_examined_then_it_fails(tmp_path, writer):
    (tmp_path / "journal").mkdir()
    (tmp_path / "journal").chmod(0o777)

    found = examined(Network(), tmp_path)

    assert failing(found) == {"journals"}
    assert "chmod 700" in found["journals"].found


def test_given_an_engine_that_runs_when_examined_then_it_is_named(tmp_path, writer):
    (tmp_path / "journal").mkdir(mode=0o700)
    with FileLock(tmp_path / "journal" / ENGINE_LOCK):
        found = examined(Network(), tmp_path)

    assert failing(found) == {"engine"}


def test_given_the_kill_switch_pulled_when_examined_then_the_next_session_would_halt(tmp_path, writer):
    (tmp_path / "journal").mkdir(mode=0o700)
    write_halt(tmp_path / "journal", "a reason", 1)

    found = examined(Network(), tmp_path)

    assert failing(found) == {"next session"}
    assert "rearm" in found["next session"].remedy


def open_log(directory, account=ADDRESS, network_id=63456):
    journals = directory / "journal"
    journals.mkdir(mode=0o700, exist_ok=True)
    return SubmissionLog.open(log_path(journals, account), account, network_id)


def test_given_a_log_of_what_was_signed_when_examined_then_it_is_read_and_left_as_it_is(tmp_path, writer):
    with closing(open_log(tmp_path)) as log:
        log.advance(77, offers={})
        log.confirm()
    path = log_path(tmp_path / "journal", ADDRESS)
    before = path.read_bytes()

    found = examined(Network(), tmp_path)

    assert failing(found) == set()
    assert "0 transactions without an end, 0 offers, to ledger 77" in found["signed before"].found
    assert path.read_bytes() == before


def test_given_a_log_of_another_network_when_examined_then_it_is_refused(tmp_path, writer):
    open_log(tmp_path, network_id=0).close()

    found = examined(Network(), tmp_path)

    assert failing(found) == {"signed before"}
    assert "network 0" in found["signed before"].found


def test_given_a_damaged_log_when_examined_then_the_remedy_begins_with_cancel_all(tmp_path, writer):
    with closing(open_log(tmp_path)) as log:
        for ledger in range(1, 40):
            log.advance(ledger, offers={})
            log.confirm()
    path = log_path(tmp_path / "journal", ADDRESS)
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2] ^= 0xFF
    path.write_bytes(whole)

    found = examined(Network(), tmp_path)

    assert failing(found) == {"signed before"}
    assert found["signed before"].remedy.startswith("cancel-all")


# --- what it says


def test_given_the_page_that_shows_an_examination_then_it_shows_the_lines_that_there_are(tmp_path, writer):
    page = (Path(__file__).parents[2] / "docs" / "live.md").read_text(encoding="utf-8")
    shown = re.findall(r"^(?:ok  |fail)  (\S+(?: \S+)*)", page, flags=re.MULTILINE)

    names = list(examined(Network(), tmp_path))

    nodes = [name for name in shown if name.startswith("node ")]
    assert [name for name in shown if name not in nodes] == [name for name in names if not name.startswith("node ")]
    assert nodes


def test_given_findings_when_printed_then_each_is_one_line_with_its_remedy_at_the_end():
    findings = (finding.Finding("book", ok=True, found="bid 1, ask 2"), finding.Finding("fees", False, "dear", "wait"))

    assert finding.text(findings).splitlines() == ["ok    book  bid 1, ask 2", "fail  fees  dear  -> wait"]


def test_given_findings_when_printed_as_json_then_a_program_can_tell_at_once():
    findings = (finding.Finding("book", ok=True, found="bid 1, ask 2"), finding.Finding("fees", False, "dear", "wait"))

    assert json.loads(finding.as_json(findings)) == {
        "schema_version": 1,
        "ok": False,
        "findings": [
            {"name": "book", "ok": True, "found": "bid 1, ask 2", "remedy": None},
            {"name": "fees", "ok": False, "found": "dear", "remedy": "wait"},
        ],
    }


def test_given_the_command_line_when_one_thing_is_wrong_then_it_is_one_line_and_exit_code_1(
    tmp_path, writer, monkeypatch, capsys
):
    monkeypatch.setenv(SEED_VARIABLE, OURS.seed)
    network = Network()  # whose clock stands days away from ours

    with FakeNode(network.ledger) as node, closing_ledgers(node):
        code = cli.run(engine, command_line("check", tmp_path, node, "--live", "--json"))
        said = json.loads(capsys.readouterr().out)
        cli.run(engine, command_line("check", tmp_path, node, "--live"))
        shown = capsys.readouterr()

    assert code == 1
    assert [each["name"] for each in said["findings"] if not each["ok"]] == ["clock"]
    assert sum(line.startswith("fail") for line in shown.out.splitlines()) == 1
    assert OURS.seed not in shown.out + shown.err + json.dumps(said)
