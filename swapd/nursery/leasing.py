"""A ticket's way through the core: reserved, then granted or refused, in the end released.

Every admitted ticket holds one reservation of its model's concurrency limit, from `reserve` to
`end_reservation`. A ticket whose task has gone away (`Slot.ABANDONED`) is never granted; its reservation is
simply given back."""

from __future__ import annotations

from swapd.nursery.context import Context
from swapd.nursery.events import Grant, Refusal, Refuse, Slot, Ticket
from swapd.nursery.records import ModelRecord


def reserve(record: ModelRecord, ticket: Ticket, sequence: int, now: float) -> None:
    """Admit the ticket as number `sequence`."""
    ticket.sequence = sequence
    ticket.priority = record.rules.priority
    ticket.arrived_at = now
    ticket.record = record
    record.reserved += 1


def lease(record: ModelRecord, ticket: Ticket) -> None:
    """Make the ticket a lease on the model's newest instance."""
    ticket.slot = Slot.GRANTED
    ticket.gen = record.gen
    record.leased[ticket] = None


def grant(context: Context, record: ModelRecord, ticket: Ticket) -> None:
    """Make an admitted ticket a lease and wake its task."""
    if ticket.slot is Slot.WAITING:
        lease(record, ticket)
        context.emit(Grant(ticket))
    else:
        end_reservation(ticket)


def reject(context: Context, ticket: Ticket, refusal: Refusal) -> None:
    """Refuse a ticket that was not admitted."""
    ticket.slot = Slot.REFUSED
    ticket.refusal = refusal
    context.emit(Refuse(ticket))


def refuse(context: Context, ticket: Ticket, refusal: Refusal) -> None:
    """Refuse an admitted ticket that is in neither the queue nor a swap any more."""
    end_reservation(ticket)
    if ticket.slot is Slot.WAITING:
        reject(context, ticket, refusal)


def end_reservation(ticket: Ticket) -> None:
    """Give the ticket's reservation back, if it still holds one."""
    if ticket.record is not None:
        ticket.record.give_back()
        ticket.record = None
