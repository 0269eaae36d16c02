"""Every open offer of the account off the ledger, and the ledger asked whether it is so.

Needs neither a running engine nor its records: what is open is what the ledger lists. The caller makes sure that no
engine runs, as two signers of one account would take each other's sequence numbers.

The transactions are only the means here. A cancel is harmless twice, so one whose end is unknown is simply sent again,
and what counts is the list of offers in a validated ledger.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from typing import NamedTuple

from engine_proc.xrpl_answers import Answer, pages
from engine_proc.xrpl_changes import side_of
from engine_proc.xrpl_market import UINT32_MAX, LedgerUnreadable, Pair, read_int
from engine_proc.xrpl_numbers import Number
from engine_proc.xrpl_offers import Header, offer_cancel
from engine_proc.xrpl_order_state import fate_of
from engine_proc.xrpl_ports import Link, NodeRefused, NodeUnreachable
from engine_proc.xrpl_reads import PAGE_MAX, as_entry, read_fee
from engine_proc.xrpl_standing import fee_needed_drops
from engine_proc.xrpl_wallet import Signer
from shared.clock import Clock
from shared.errors import ConfigError
from shared.settings import Xrpl
from shared.stop import Stop

log = logging.getLogger(__name__)

SCHEMA_VERSION = 1
BATCH_MAX = 10  # transactions under way at once: what a node queues for one account when fees rise (XRPL.md A7)
LAG_LEDGERS = 2  # by so much the node of the engine that was here before may have been ahead of ours


class CancelReport(NamedTuple):
    """What came of it, as of the validated ledger `ledger_index`; 0 if no ledger could be read at all.

    `gone` and `left` are offers by number, the sequence or ticket of the transaction that made them. `verified`: the
    ledger was read when nothing that an engine with these settings had sent before could land any more. `answer` is
    what the node said on that ledger to the first cancel that it did not simply take, None if it took them all.
    """

    ledger_index: int
    gone: tuple[int, ...]
    left: tuple[int, ...]
    transactions: int
    fee_drops_max: int  # the most that the transactions can have cost together
    verified: bool
    answer: str | None

    @property
    def complete(self) -> bool:
        """Nothing is left, and that is certain."""
        return self.verified and not self.left


class Cancel(NamedTuple):
    """A cancel that is under way: the offer it is for, its signed bytes, and the last ledger that can hold it."""

    offer: int
    blob: str
    last_ledger: int


def cancel_all(
    link: Link, signer: Signer, settings: Xrpl, pair: Pair | None, *, clock: Clock, stop: Stop, timeout_s: float
) -> CancelReport:
    """Cancel every open offer of the account in `pair`, or in every pair (None), until the ledger lists none.

    Bounded by `timeout_s` and by a stop. Raises `ConfigError` where the network is not the configured one or the
    account does not exist; a node that does not answer is asked again until the time is up.
    """
    until_ns = clock.monotonic_ns() + round(timeout_s * 1e9)
    report = CancelReport(0, (), (), 0, 0, verified=False, answer=None)
    seen: set[int] = set()
    under_way: dict[int, Cancel] = {}
    looked_at = quiet_from = 0
    while not report.complete and not stop.requested and (left_ns := until_ns - clock.monotonic_ns()) > 0:
        ledger = link.await_ledger(looked_at, left_ns / 1e6)
        if ledger is None:
            break
        looked_at = ledger.ledger_index
        quiet_from = quiet_from or looked_at + settings.last_ledger_offset + LAG_LEDGERS
        try:
            left = open_offers(link, signer.account, pair, looked_at)
            seen.update(left)
            report = report._replace(
                ledger_index=looked_at,
                gone=tuple(sorted(seen.difference(left))),
                left=left,
                verified=looked_at >= quiet_from,
                answer=None,
            )
            under_way = {n: cancel for n, cancel in under_way.items() if n in left and cancel.last_ledger > looked_at}
            if left and not under_way:
                fee_drops = fee_to_pay(link, settings.fee_drops_max)
                under_way = signed(link, signer, settings, left[:BATCH_MAX], looked_at, fee_drops)
                sent, spent = report.transactions + len(under_way), report.fee_drops_max + fee_drops * len(under_way)
                report = report._replace(transactions=sent, fee_drops_max=spent)
                log.info("ledger %d: %d offers open, cancelling %d", looked_at, len(left), len(under_way))
            for cancel in tuple(under_way.values()):
                report = submit(link, cancel, under_way, report)
        except (NodeUnreachable, LedgerUnreadable) as error:
            log.warning("ledger %d: %s; asking again at the next one", looked_at, error)
        except NodeRefused as error:
            if error.error == "actNotFound":
                raise ConfigError(f"xrpl.account: {signer.account} does not exist on this network") from None
            log.warning("ledger %d: the node refused: %s; asking again at the next one", looked_at, error)
    return report


def open_offers(link: Link, account: str, pair: Pair | None, ledger_index: int) -> tuple[int, ...]:
    """The numbers of the account's offers in a pair, or in all, at one ledger, ascending; expired ones as well.

    Raises `NodeUnreachable`, `NodeRefused` and `LedgerUnreadable`.
    """
    command = {"command": "account_offers", "account": account, "ledger_index": ledger_index, "limit": PAGE_MAX}
    numbers: set[int] = set()
    for page in pages(link, command):
        for offer in map(as_entry, page.objects("offers")):
            if pair is None or side_of(offer, pair) is not None:
                numbers.add(read_int(offer, "Sequence", UINT32_MAX, page.where))
    return tuple(sorted(numbers))


def fee_to_pay(link: Link, cap_drops: int) -> int:
    """What gets a transaction into the next ledger, but never more than the cap: a cancel that waits beats none."""
    return min(fee_needed_drops(read_fee(link)), cap_drops)


def signed(
    link: Link, signer: Signer, settings: Xrpl, offers: Iterable[int], ledger_index: int, fee_drops: int
) -> dict[int, Cancel]:
    """A cancel for each offer, numbered from what the account has next in the ledger that is open now.

    Not from the validated one: an engine that just died may have transactions in the open ledger.
    """
    command = {"command": "account_info", "account": signer.account, "ledger_index": "current"}
    answer = Answer("account_info at the open ledger", link.request(command))
    sequence = read_int(answer.object("account_data"), "Sequence", UINT32_MAX, answer.where)
    last_ledger = ledger_index + settings.last_ledger_offset
    cancels: dict[int, Cancel] = {}
    for place, offer in enumerate(offers):
        header = Header(
            signer.account, Number(sequence + place), fee_drops, last_ledger, settings.network_id, settings.source_tag
        )
        cancels[offer] = Cancel(offer, signer.sign(offer_cancel(offer, header)).blob, last_ledger)
    return cancels


def submit(link: Link, cancel: Cancel, under_way: dict[int, Cancel], report: CancelReport) -> CancelReport:
    """Send a cancel, or send it again. One that can never be, or whose number is used, is given up for a fresh one."""
    try:
        result = link.request({"command": "submit", "tx_blob": cancel.blob}).get("engine_result")
    except NodeRefused as error:
        result = str(error)
    if fate_of(str(result), submitted_before=False) != "PENDING":
        del under_way[cancel.offer]
    taken = result in {"tesSUCCESS", "tefALREADY"} or report.answer is not None
    return report if taken else report._replace(answer=str(result))


def text(report: CancelReport) -> str:
    """What came of it, for people."""
    if not report.ledger_index:
        return "no node answered in time: NOTHING IS KNOWN, and nothing was cancelled"
    cost = f"{report.transactions} transactions, at most {report.fee_drops_max} drops of fees"
    lines = [f"ledger {report.ledger_index}: {len(report.gone)} offers gone{_named(report.gone)}; {cost}"]
    if report.left:
        lines.append(f"STILL OPEN: {len(report.left)} offers{_named(report.left)}; start this again")
        if report.answer:
            lines.append(f"the node's answer to a cancel: {report.answer}")
    elif report.verified:
        lines.append("no offer is open, and nothing that was under way can land any more")
    else:
        lines.append("no offer is open, but what an engine sent before may still land; start this again")
    return "\n".join(lines)


def as_json(report: CancelReport) -> str:
    """The report's fields as one object, with `schema_version` and `complete`."""
    return json.dumps({"schema_version": SCHEMA_VERSION, "complete": report.complete, **report._asdict()})


def _named(numbers: tuple[int, ...]) -> str:
    return f" ({', '.join(map(str, numbers))})" if numbers else ""
