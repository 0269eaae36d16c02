"""Which number the next transaction of our account carries: a sequence, or a ticket (XRPL.md A7).

Nothing is remembered here. What is free follows from the account at one validated ledger and from our own
transactions that are still under way, so a lost answer, a crash and a second signer all end the same way: with the
next reading of the account. Two rules do all of it:

- **the lowest free number goes next**. Where a transaction turned out impossible, its number is a gap, and the ledger
  holds everything behind a gap back (terPRE_SEQ): the next transaction closes it.
- **a number is free only once the end of its transaction is known**. A number that the node calls used (tefPAST_SEQ)
  stays taken with the transaction that carried it, until that is found or past its LastLedgerSequence. By then the
  account's own sequence says whose number it was.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import NamedTuple

TICKETS_MAX = 250  # that one account may hold, and that one TicketCreate may make (XRPL.md A7)


class Number(NamedTuple):
    """What makes a transaction unique in its account. It also names the offer that the transaction places."""

    value: int
    ticket: bool = False

    def fields(self) -> dict[str, int]:
        """How a transaction carries it."""
        return {"Sequence": 0, "TicketSequence": self.value} if self.ticket else {"Sequence": self.value}


def next_number(
    sequence: int, taken: Collection[Number], *, tickets: Iterable[int] = (), ticket_create: Number | None = None
) -> Number | None:
    """The number for the next transaction; None where there is none before a TicketCreate of ours has its end.

    `sequence` and `tickets` are the account's at one validated ledger: the first sequence not used there, and the
    tickets it holds. `taken` are the numbers of our transactions whose end is not known at that ledger, those signed
    a moment ago included; `ticket_create` is the number of the TicketCreate among them, `tickets` empty where the
    transaction needs a sequence, as a TicketCreate does.

    A ticket where there is one, the lowest first. Inside a ledger tickets run after all sequences: transactions that
    must run in their order should be given numbers of one kind. A TicketCreate takes its own sequence and, if it
    succeeds, one more a ticket: until that is known, nobody can say which sequence follows it.
    """
    busy = {number.value for number in taken}
    ticket = min((held for held in tickets if held not in busy), default=None)
    if ticket is not None:
        return Number(ticket, ticket=True)
    while sequence in busy:
        sequence += 1
    if ticket_create is not None and sequence > ticket_create.value:
        return None
    return Number(sequence)


def tickets_wanted(stock: int, tickets: Collection[int], taken: Collection[Number]) -> int:
    """How many tickets a TicketCreate should make now, so that `stock` of them are at hand; 0 for none.

    Only once half of the stock is gone, so that the fee buys many. Ask only while no TicketCreate is under way.
    """
    busy = {number.value for number in taken}
    at_hand = sum(ticket not in busy for ticket in tickets)
    if 2 * at_hand > stock:
        return 0
    return max(0, min(stock - at_hand, TICKETS_MAX - len(tickets)))
