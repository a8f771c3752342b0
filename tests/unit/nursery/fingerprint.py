"""The whole state of a scheduler as a value that can be compared, and a copy of it that goes its own way."""

from __future__ import annotations

import copy
from typing import Any, overload

from swapd.nursery.events import Ticket
from swapd.nursery.records import ModelRecord, Swap
from swapd.nursery.scheduler import Scheduler


def fingerprint(core: Scheduler, *, idle_timers: bool = True) -> object:
    """Everything that later decisions can depend on; what is only remembered for speed is left out."""
    timers = core._context.timers._deadlines
    return (
        [_of_record(record) for record in core.records.values()],
        [_of_swap(swap) for swap in core.swaps.values()],
        [_of_ticket(ticket) for ticket in core.queue.ordered()],
        core.queue.claims,
        {key: deadline for key, deadline in timers.items() if idle_timers or key[0] != "ttl"},
        [sorted(call.pending) for call in core._unloads.calls],
        (core._context.drain_until, core._shutdown.complete, core._sequence, core._lifecycle._next_gen),
    )


def _of_record(record: ModelRecord) -> object:
    return (
        (record.id, record.rules, record.state, record.gen, record.pid, record.launch),
        (record.started_at, record.ready_at, record.last_use, record.loads, record.load_total_s),
        (record.condemned, record.condemned_grace_s, record.removed, record.exited, record.stuck),
        (record.breaker.failures, record.breaker.open_until, record.breaker.last_cause),
        record.reserved,
        [_of_ticket(ticket) for ticket in record.leased],
        [_of_ticket(ticket) for ticket in record.orphaned],
    )


def _of_swap(swap: Swap) -> object:
    return (
        (swap.target, swap.evict, sorted(swap.pending), swap.gen, swap.aborted, swap.keep, swap.deserted_at),
        [_of_ticket(ticket) for ticket in swap.waiters],
    )


def _of_ticket(ticket: Ticket) -> object:
    return (ticket.sequence, ticket.slot, ticket.gen, ticket.position, ticket.priority, ticket.queued_at)


@overload
def twin(core: Scheduler) -> Scheduler: ...
@overload
def twin(core: Scheduler, ticket: Ticket) -> tuple[Scheduler, Ticket]: ...
def twin(core: Scheduler, ticket: Ticket | None = None) -> Any:
    """A copy that shares nothing changeable with the original; with a ticket, the copy's own of it too."""
    shared = [core._context.settings, *(record.rules for record in core.records.values())]
    memo = {id(each): each for each in shared}
    return copy.deepcopy(core if ticket is None else (core, ticket), memo)
