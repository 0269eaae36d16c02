"""What is asked of a node and how its answers are read: recorded ones, and every way in which they can be wrong."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine_proc.xrpl_market import LedgerUnreadable, pair_of
from engine_proc.xrpl_ports import ClosedLedger, NodeRefused, NodeUnreachable
from engine_proc.xrpl_reads import (
    AccountState,
    HistoryMissing,
    Issuer,
    ListedOffer,
    NetworkFee,
    has_ledgers,
    read_account,
    read_fee,
    read_history,
    read_issuer,
    read_ledger,
    read_server,
    read_tickets,
)
from tests.xrpl.fake_node import BareLedger, Refusal
from tests.xrpl.tape_node import DirectLink, FakeClock, TapeNode, tape_lines

SHARED = Path(__file__).parents[3] / "shared" / "xrpl_data"
OURS, ISSUER = "rfVmBKHRK8Z7cByCVQzGZqgyXoax19QEtp", "ra3Tu6sgs2VURXBofvW2377YYHgbrTYBLv"
RLUSD = "524C555344000000000000000000000000000000"
PAIR = pair_of("XRP/RLUSD", ISSUER)
INVERSE = pair_of("RLUSD/XRP", ISSUER)
INDEX = 16

LOW_AUTH, HIGH_AUTH, LOW_FREEZE, HIGH_FREEZE = 0x40000, 0x80000, 0x400000, 0x800000
LOW_DEEP_FREEZE, HIGH_DEEP_FREEZE = 0x2000000, 0x4000000


class Answers:
    """A link to a node that gives one answer a command; a list is given out page by page."""

    def __init__(self, **answers: Any) -> None:
        self.commands: list[dict[str, Any]] = []
        ledger = BareLedger(ledger_index=INDEX)
        for name, answer in answers.items():
            ledger.answers[name] = self._pages(answer)
        self.link = DirectLink(ledger, FakeClock())

    def _pages(self, answer: Any) -> Any:
        pages = answer if isinstance(answer, list) else [answer]

        def page(command: dict[str, Any]) -> Any:
            self.commands.append(command)
            number = command.get("marker", {"page": 0})["page"]
            if isinstance(pages[number], Refusal):
                return pages[number]
            last = number + 1 == len(pages)
            return pages[number] | ({} if last else {"marker": {"page": number + 1}})

        return page


def rlusd(value: str, issuer: str = ISSUER) -> dict[str, str]:
    return {"currency": RLUSD, "issuer": issuer, "value": value}


def pinned(**fields: Any) -> dict[str, Any]:
    return {"ledger_index": INDEX, "ledger_hash": "A" * 64, "validated": True} | fields


def root(**fields: Any) -> dict[str, Any]:
    return pinned(account_data={"Balance": "99499999970", "OwnerCount": 3, "Sequence": 7, "Flags": 0} | fields)


def line(balance: str, *, ours_low: bool, flags: int = 0) -> dict[str, Any]:
    ours, theirs = rlusd("1000000", OURS), rlusd("0")
    low, high = (ours, theirs) if ours_low else (theirs, ours)
    return pinned(
        node={"Balance": rlusd(balance, "rrrrrrrrrrrrrrrrrrrrBZbvji"), "LowLimit": low, "HighLimit": high}
        | {"Flags": flags}
    )


def account_of(**answers: Any) -> AccountState:
    whole = {"account_info": root(), "ledger_entry": Refusal("entryNotFound"), "account_offers": pinned(offers=[])}
    return read_account(Answers(**(whole | answers)).link, OURS, PAIR, INDEX)


# ---------------------------------------------------------------------------------------------------- the market


@pytest.mark.parametrize("api_version", [1, 2])
def test_given_a_recorded_ledger_when_it_is_read_then_it_is_the_tape_s_line_in_the_order_of_execution(
    api_version: int,
) -> None:
    header, lines = tape_lines(920, 20)
    node = TapeNode(header, lines, api_version=api_version)
    link = DirectLink(node, FakeClock())
    for expected in lines:
        link.closed(node.close())
        closed = link.newest()
        assert closed is not None

        ledger = read_ledger(link, node.pair, closed, transactions=True)

        assert ledger._asdict() == {field: expected[field] for field in ledger._fields}
    assert max(len(expected["transactions"]) for expected in lines) > 1


def test_given_a_mainnet_ledger_of_the_old_shape_when_it_is_read_then_its_transactions_are_in_order() -> None:
    recording = SHARED / "mainnet" / "ledger_94084608_expanded_rpc.json"
    if not recording.exists():
        pytest.skip("the recordings of mainnet are not here")
    result = json.loads(recording.read_text())
    result = result.get("result", result)
    book, index = {"offers": []}, result["ledger_index"]
    link = Answers(book_offers=book, amm_info=Refusal("actNotFound"), ledger=result).link
    closed = ClosedLedger(index, 792634570, 0, 0, 10, 1, 1, "")

    ledger = read_ledger(link, PAIR, closed, transactions=True)

    assert ledger.amm_info is None
    assert [entry["meta"]["TransactionIndex"] for entry in ledger.transactions] == list(range(83))
    assert all(set(entry) == {"hash", "tx_json", "meta"} for entry in ledger.transactions)
    assert all("TransactionType" in entry["tx_json"] and len(entry["hash"]) == 64 for entry in ledger.transactions)


def test_given_a_pair_without_a_pool_when_the_node_refuses_otherwise_then_that_is_an_error() -> None:
    link = Answers(book_offers=pinned(offers=[]), amm_info=Refusal("lgrNotFound", "ledgerNotFound")).link

    with pytest.raises(NodeRefused, match="lgrNotFound"):
        read_ledger(link, PAIR, ClosedLedger(INDEX, 0, 0, 0, 10, 1, 1, ""), transactions=False)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"ledger_index": INDEX - 1, "validated": True, "offers": []}, "ledger_index: expected 16, got 15"),
        ({"ledger_current_index": INDEX + 1, "offers": []}, "ledger_index: expected 16, got 17"),
        ({"ledger_index": INDEX, "validated": False, "offers": []}, "validated: expected true, got False"),
        ({"ledger_index": INDEX, "validated": True}, "offers: expected a list, got None"),
        ({"ledger_index": INDEX, "validated": True, "offers": [7]}, r"offers\[0\]: expected an object, got 7"),
    ],
)
def test_given_an_answer_that_is_not_of_this_ledger_when_it_is_read_then_the_error_names_command_and_index(
    answer: dict[str, Any], words: str
) -> None:
    link = Answers(book_offers=answer, amm_info=Refusal("actNotFound")).link

    with pytest.raises(LedgerUnreadable, match=f"book_offers at ledger 16: {words}"):
        read_ledger(link, PAIR, ClosedLedger(INDEX, 0, 0, 0, 10, 1, 1, ""), transactions=False)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"Flags": 0}, Issuer(None, 1_000_000_000, global_freeze=False, require_auth=False)),
        ({"Flags": 0x400000, "TickSize": 6}, Issuer(6, 1_000_000_000, global_freeze=True, require_auth=False)),
        ({"Flags": 0x40000, "TransferRate": 1002000000}, Issuer(None, 1_002_000_000, False, True)),
        ({"Flags": 0, "TickSize": 0, "TransferRate": 0}, Issuer(None, 1_000_000_000, False, False)),
    ],
)
def test_given_an_issuer_when_it_is_read_then_its_settings_are_told(fields: dict[str, Any], expected: Issuer) -> None:
    answers = Answers(account_info=root(**fields))

    assert read_issuer(answers.link, PAIR, INDEX) == expected
    assert answers.commands[0]["account"] == ISSUER


# ---------------------------------------------------------------------------------------------------- an account


def test_given_a_recorded_account_when_it_is_read_then_balance_objects_and_both_offers_are_as_the_node_had_them() -> (
    None
):
    recording = SHARED / "node_recordings" / "scenario1.json"
    if not recording.exists():
        pytest.skip("the recordings of a node are not here")
    state = json.loads(recording.read_text())["state_after_partial"]

    account = account_of(account_info=state["account_info"], account_offers=state["account_offers"])

    assert account == AccountState(
        ledger_index=INDEX,
        balance_drops=99_499_999_970,
        owner_count=3,
        sequence=7,
        line=None,
        offers=(
            ListedOffer(6, "bid", Decimal("2.193121931"), Decimal(1000), None),
            ListedOffer(5, "ask", Decimal("2.21346000085386"), Decimal("499.998549"), None),
        ),
    )


@pytest.mark.parametrize("ours_low", [True, False])
def test_given_a_line_when_we_are_its_low_or_its_high_account_then_the_balance_is_ours_all_the_same(
    ours_low: bool,
) -> None:
    found = account_of(ledger_entry=line("12.5" if ours_low else "-12.5", ours_low=ours_low)).line

    assert found is not None
    assert (found.balance, found.limit) == (Decimal("12.5"), Decimal(1_000_000))
    assert (found.frozen, found.deep_frozen, found.authorized) == (False, False, False)


@pytest.mark.parametrize(
    ("ours_low", "flags", "frozen", "deep_frozen", "authorized"),
    [
        (True, HIGH_FREEZE, True, False, False),
        (True, LOW_FREEZE | LOW_DEEP_FREEZE | LOW_AUTH, False, False, False),
        (True, HIGH_FREEZE | HIGH_DEEP_FREEZE, True, True, False),
        (True, HIGH_AUTH, False, False, True),
        (False, LOW_FREEZE, True, False, False),
        (False, HIGH_FREEZE | HIGH_DEEP_FREEZE | HIGH_AUTH, False, False, False),
        (False, LOW_FREEZE | LOW_DEEP_FREEZE, True, True, False),
        (False, LOW_AUTH, False, False, True),
    ],
)
def test_given_flags_of_a_line_when_the_issuer_set_them_then_only_those_count(
    ours_low: bool, flags: int, frozen: bool, deep_frozen: bool, authorized: bool
) -> None:
    found = account_of(ledger_entry=line("0", ours_low=ours_low, flags=flags)).line

    assert found is not None
    assert (found.frozen, found.deep_frozen, found.authorized) == (frozen, deep_frozen, authorized)


def test_given_a_line_of_someone_else_when_it_comes_back_then_it_is_not_taken_for_ours() -> None:
    theirs = pinned(
        node={"Balance": rlusd("5"), "LowLimit": rlusd("1", "rSomeone"), "HighLimit": rlusd("0"), "Flags": 0}
    )

    with pytest.raises(LedgerUnreadable, match="ledger_entry at ledger 16: LowLimit, HighLimit"):
        account_of(ledger_entry=theirs)


def test_given_no_account_when_it_is_read_then_the_node_s_word_comes_through() -> None:
    with pytest.raises(NodeRefused) as refused:
        account_of(account_info=Refusal("actNotFound", "Account not found."))

    assert refused.value.error == "actNotFound"


def test_given_offers_on_several_pages_and_of_other_pairs_when_they_are_read_then_ours_in_the_pair_remain() -> None:
    other = {"seq": 1, "taker_gets": "5", "taker_pays": rlusd("1", OURS), "quality": "0.2", "flags": 0}
    bid = {"seq": 9, "taker_gets": rlusd("129"), "taker_pays": "100000000", "quality": "775193.7984496124", "flags": 0}
    node_bid = {"Sequence": 10, "TakerGets": rlusd("6.5"), "TakerPays": "5000000", "Expiration": 8_000}
    ask = {"seq": 8, "taker_gets": "7", "taker_pays": rlusd("0.00000924"), "quality": "0.00000132", "expiration": 9_000}

    account = account_of(
        account_offers=[pinned(offers=[other, bid]), pinned(offers=[]), pinned(offers=[node_bid, ask])]
    )

    assert account.offers == (
        ListedOffer(9, "bid", Decimal("1.29"), Decimal(100), None),
        ListedOffer(10, "bid", Decimal("1.3"), Decimal(5), 8_000),
        ListedOffer(8, "ask", Decimal("1.32"), Decimal("0.000007"), 9_000),
    )


def test_given_a_pair_the_other_way_round_when_offers_are_read_then_price_and_size_are_in_its_units() -> None:
    gives_xrp = {"seq": 9, "taker_gets": "100000000", "taker_pays": rlusd("129"), "quality": "0.00000129"}
    offers = {
        "account_offers": pinned(offers=[gives_xrp]),
        "account_info": root(),
        "ledger_entry": Refusal("entryNotFound"),
    }

    account = read_account(Answers(**offers).link, OURS, INVERSE, INDEX)

    assert account.offers == (ListedOffer(9, "bid", Decimal("0.775193798449612"), Decimal(129), None),)


@pytest.mark.parametrize(
    "offer",
    [
        {"seq": 9, "taker_gets": "0", "taker_pays": rlusd("1")},
        {"seq": 9, "taker_gets": "5", "taker_pays": rlusd("1"), "quality": "0"},
        {"seq": 9, "taker_gets": "5", "taker_pays": rlusd("1"), "quality": "NaN"},
        {"seq": 9, "taker_gets": "-5", "taker_pays": rlusd("1"), "quality": "0.2"},
        {"seq": "9", "taker_gets": "5", "taker_pays": rlusd("1"), "quality": "0.2"},
    ],
)
def test_given_an_offer_that_cannot_be_when_it_is_read_then_it_is_named(offer: dict[str, Any]) -> None:
    with pytest.raises(LedgerUnreadable, match=r"account_offers at ledger 16 offers\[0\]"):
        account_of(account_offers=pinned(offers=[offer]))


def test_given_a_node_that_gives_the_same_page_for_ever_when_it_is_read_then_that_ends() -> None:
    again = {"marker": {"page": 0}}

    with pytest.raises(LedgerUnreadable, match="marker: expected a page that was not there yet"):
        account_of(account_offers=pinned(offers=[]) | again)


def test_given_tickets_among_other_objects_on_two_pages_when_they_are_read_then_they_come_ascending() -> None:
    def ticket(number: int) -> dict[str, Any]:
        return {"LedgerEntryType": "Ticket", "TicketSequence": number}

    answers = Answers(
        account_objects=[
            pinned(account_objects=[ticket(12), {"LedgerEntryType": "Offer", "Sequence": 3}]),
            pinned(account_objects=[ticket(7)]),
        ]
    )

    assert read_tickets(answers.link, OURS, INDEX) == (7, 12)
    assert all((command["type"], command["ledger_index"]) == ("ticket", INDEX) for command in answers.commands)


# ------------------------------------------------------------------------------------------------------- history


def entry(ledger_index: int, index: int, *, api_version: int = 2, **fields: Any) -> dict[str, Any]:
    """An entry of `account_tx`."""
    meta = {"TransactionIndex": index, "TransactionResult": "tesSUCCESS", "AffectedNodes": []}
    place = {"hash": f"{ledger_index * 1000 + index:064X}", "ledger_index": ledger_index}
    if api_version == 1:
        return {"meta": meta, "tx": {"Account": OURS} | place, "validated": True} | fields
    return {"meta": meta, "tx_json": {"Account": OURS}, "validated": True} | place | fields


def history(*entries: dict[str, Any], first: int = 10, last: int = 20) -> dict[str, Any]:
    return {"account": OURS, "ledger_index_min": first, "ledger_index_max": last, "transactions": list(entries)}


@given(
    places=st.lists(st.tuples(st.integers(10, 20), st.integers(0, 3)), unique=True, max_size=12),
    twice=st.integers(0, 3),
    pages=st.integers(1, 4),
    api_version=st.sampled_from([1, 2]),
    shuffle=st.randoms(use_true_random=False),
)
def test_given_pages_in_any_order_with_repeats_when_history_is_read_then_each_comes_once_as_it_was_executed(
    places: list[tuple[int, int]], twice: int, pages: int, api_version: int, shuffle: Any
) -> None:
    entries = [entry(*place, api_version=api_version) for place in places]
    listed = entries + entries[:twice]
    shuffle.shuffle(listed)
    link = Answers(account_tx=[history(*listed[page::pages]) for page in range(pages)]).link

    found = read_history(link, OURS, 10, 20)

    assert list(found) == [entry(*place, api_version=api_version) for place in sorted(places)]


def test_given_a_recorded_history_when_a_range_is_read_then_the_question_names_it_and_the_answer_is_in_order() -> None:
    recording = SHARED / "node_recordings" / "scenario1.json"
    if not recording.exists():
        pytest.skip("the recordings of a node are not here")
    answer = json.loads(recording.read_text())["account_tx_maker"]
    answers = Answers(account_tx=answer)

    found = read_history(answers.link, OURS, 1, 28)

    assert sorted(each["hash"] for each in found) == sorted(each["hash"] for each in answer["transactions"])
    ledgers = [each["ledger_index"] for each in found]
    assert ledgers == sorted(ledgers)
    (command,) = answers.commands
    asked = {"ledger_index_min": 1, "ledger_index_max": 28, "forward": True, "account": OURS}
    assert command | asked == command


@pytest.mark.parametrize(
    "answer",
    [
        history(first=11),
        history(last=19),
        [history(entry(12, 0)), history(first=15)],
        Refusal("lgrIdxMalformed", "Ledger indexes malformed."),
        Refusal("lgrIdxsInvalid"),
        [history(), Refusal("lgrNotFound")],
        history(entry(12, 0, validated=False)),
        {"account": OURS, "transactions": []},
    ],
    ids=["starts late", "ends early", "second page", "malformed", "invalid", "not found", "not validated", "unsaid"],
)
def test_given_a_server_that_lacks_part_of_the_range_when_history_is_read_then_it_counts_as_no_answer(
    answer: Any,
) -> None:
    missing = {"info": {"complete_ledgers": "1-14,16-20", "server_state": "full", "validated_ledger": SEEN}}

    with pytest.raises(HistoryMissing) as raised:
        read_history(Answers(account_tx=answer, server_info=missing).link, OURS, 10, 20)

    assert isinstance(raised.value, NodeUnreachable)


def test_given_an_answer_without_bounds_when_the_server_says_it_has_all_ledgers_then_that_will_do() -> None:
    whole = {"info": {"complete_ledgers": "1-20", "server_state": "full", "validated_ledger": SEEN}}
    answer = {"account": OURS, "transactions": [entry(12, 0)]}

    assert read_history(Answers(account_tx=answer, server_info=whole).link, OURS, 10, 20) == (entry(12, 0),)


@pytest.mark.parametrize(
    "wrong", [entry(21, 0), entry(9, 0), entry(12, 0, hash=None), entry(12, 0, meta="DEADBEEF"), entry(12, -1)]
)
def test_given_an_entry_that_cannot_be_when_history_is_read_then_it_is_an_error(wrong: dict[str, Any]) -> None:
    with pytest.raises(LedgerUnreadable, match="account_tx of ledgers 10 to 20"):
        read_history(Answers(account_tx=history(wrong)).link, OURS, 10, 20)


def test_given_any_other_refusal_when_history_is_read_then_it_is_passed_on() -> None:
    with pytest.raises(NodeRefused, match="actMalformed"):
        read_history(Answers(account_tx=Refusal("actMalformed")).link, OURS, 10, 20)


# ------------------------------------------------------------------------------------------------------ a server

SEEN = {"seq": INDEX, "age": 3, "base_fee_xrp": 1e-05, "reserve_base_xrp": 1, "reserve_inc_xrp": 0.2}


def test_given_a_server_when_it_is_asked_about_itself_then_amounts_are_whole_drops() -> None:
    info = {"network_id": 1, "complete_ledgers": "2-16", "server_state": "proposing", "load_factor": 1.5}
    info |= {"validated_ledger": SEEN, "amendment_blocked": True, "build_version": "2.6.1"}

    server = read_server(Answers(server_info={"info": info}).link)

    assert server._asdict() == {
        "network_id": 1,
        "state": "proposing",
        "complete_ledgers": "2-16",
        "validated_index": INDEX,
        "validated_age_s": 3,
        "amendment_blocked": True,
        "reserve_base_drops": 1_000_000,
        "reserve_inc_drops": 200_000,
        "base_fee_drops": 10,
        "load_factor": 1.5,
        "build_version": "2.6.1",
    }


def test_given_a_server_without_a_validated_ledger_when_it_is_asked_then_it_says_so_and_does_not_make_one_up() -> None:
    info = {"complete_ledgers": "empty", "server_state": "syncing", "closed_ledger": SEEN}

    server = read_server(Answers(server_info={"info": info}).link)

    assert (server.validated_index, server.validated_age_s, server.network_id) == (None, None, 0)
    assert not has_ledgers(server.complete_ledgers, 1, 1)


@pytest.mark.parametrize(
    "change",
    [
        {"load_factor": 0},
        {"load_factor": float("inf")},
        {"load_factor": 1e308},
        {"load_factor": "1"},
        {"network_id": "1"},
        {"server_state": 7},
        {"complete_ledgers": 7},
        {"validated_ledger": None},
        {"validated_ledger": SEEN | {"base_fee_xrp": 1e-07}},
        {"validated_ledger": SEEN | {"reserve_inc_xrp": "0.2"}},
    ],
)
def test_given_a_malformed_answer_when_a_server_is_asked_then_the_field_is_named(change: dict[str, Any]) -> None:
    info = {"complete_ledgers": "2-16", "server_state": "full", "validated_ledger": SEEN} | change

    with pytest.raises(LedgerUnreadable, match="server_info: "):
        read_server(Answers(server_info={"info": info}).link)


def test_given_a_busy_network_when_the_fee_is_asked_then_queue_and_load_are_both_told() -> None:
    drops = {"base_fee": "10", "median_fee": "10000", "minimum_fee": "10", "open_ledger_fee": "2653937"}
    info = {"complete_ledgers": "2-16", "server_state": "full", "validated_ledger": SEEN, "load_factor": 265393.7}

    fee = read_fee(Answers(fee={"drops": drops}, server_info={"info": info}).link)

    assert fee == NetworkFee(10, 2_653_937, 265393.7)


@pytest.mark.parametrize(
    ("complete", "first", "last", "expected"),
    [
        ("empty", 1, 1, False),
        ("", 1, 1, False),
        ("1-28", 1, 28, True),
        ("1-28", 1, 29, False),
        ("5-28", 4, 6, False),
        ("1-5,8-20", 4, 8, False),
        ("1-5,8-20", 8, 20, True),
        ("1-5,6-20", 4, 8, True),
        ("6-20,1-5", 4, 8, True),
        ("7", 7, 7, True),
        ("1-5,7", 5, 7, False),
        ("1-20,junk", 1, 2, False),
    ],
)
def test_given_what_a_server_holds_when_a_range_is_wanted_then_every_ledger_of_it_must_be_there(
    complete: str, first: int, last: int, expected: bool
) -> None:
    assert has_ledgers(complete, first, last) is expected


@given(st.sets(st.integers(1, 30), min_size=1), st.integers(1, 30), st.integers(0, 29))
def test_given_any_set_of_ledgers_when_written_as_ranges_then_has_ledgers_agrees_with_the_set(
    held: set[int], first: int, more: int
) -> None:
    begins = [index for index in sorted(held) if index - 1 not in held]
    ends = [index for index in sorted(held) if index + 1 not in held]
    written = ",".join(f"{begin}-{end}" if begin < end else str(begin) for begin, end in zip(begins, ends, strict=True))

    assert has_ledgers(written, first, first + more) == (set(range(first, first + more + 1)) <= held)


def test_given_a_server_that_says_no_state_then_it_has_none_and_all_else_is_read() -> None:
    server = read_server(Answers(server_info={"info": {"complete_ledgers": "2-16", "validated_ledger": SEEN}}).link)

    assert (server.state, server.complete_ledgers) == (None, "2-16")
