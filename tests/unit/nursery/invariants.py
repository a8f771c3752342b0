"""What must be true of the decision core after any event, as far as it can be judged from the outside."""

from __future__ import annotations

from itertools import pairwise
from math import inf
from typing import TYPE_CHECKING

from swapd.nursery.events import Slot, Tick, Ticket
from swapd.nursery.policy.matrix import MatrixPolicy
from swapd.nursery.states import RUNNING, ModelState
from tests.unit.nursery.fingerprint import fingerprint

if TYPE_CHECKING:
    from tests.unit.nursery.world import World

UP = (ModelState.STARTING, ModelState.READY)


def check(world: World) -> None:
    """Every promise that can be judged from the outside, after any event."""
    _check_places(world)
    _check_records(world)
    _check_swaps(world)
    _check_safety(world)
    _check_queue(world)
    if world.drained:
        assert not world.instances
        assert not world.core.queue
        assert not world.core.swaps
        assert world.core.next_deadline() == inf


def _check_places(world: World) -> None:
    """Every admitted ticket is in exactly one place and holds one reservation."""
    core = world.core
    places: list[Ticket] = core.queue.ordered()
    for swap in core.swaps.values():
        places += swap.waiters
    queued_or_joined = len(places)
    for record in core.records.values():
        places += record.leased
        places += record.orphaned
    admitted = set(places)
    assert len(admitted) == len(places), "a ticket is in two places"
    reserved: dict[str, int] = {}
    for number, ticket in enumerate(places):
        assert ticket.record is core.records[ticket.model], "a ticket without its reservation"
        reserved[ticket.model] = reserved.get(ticket.model, 0) + 1
        waits = ticket.slot in (Slot.WAITING, Slot.ABANDONED)
        assert waits or (number >= queued_or_joined and ticket.slot is Slot.GRANTED)
    for id, record in core.records.items():
        assert record.reserved == reserved.get(id, 0), f"{id}: reservations"
    for ticket in list(world.open_tickets):
        if ticket.record is not None:
            # The last leases of a removed model may outlive its record.
            assert ticket in admitted or ticket in ticket.record.orphaned, "a reservation without a place"
        elif ticket.slot in (Slot.REFUSED, Slot.RELEASED):
            del world.open_tickets[ticket]  # it had its end, and can come up nowhere any more


def _check_records(world: World) -> None:
    running = {id for id, state in world.states.items() if state in RUNNING}
    assert world.core._lifecycle.running == running
    for id, record in world.core.records.items():
        assert record.state is world.states[id]
        assert (record.state in RUNNING) == world.live(id), f"{id}: state and process disagree"
        assert all(ticket.gen == record.gen for ticket in record.leased)
        if record.leased:
            assert record.state in (ModelState.READY, ModelState.STOPPING)
        if record.leased and record.state is ModelState.READY:
            assert world.now <= world.condemned_until.get(id, inf), f"{id} has been condemned for too long"
        idle = record.state is ModelState.READY and not record.leased and id not in world.core.swaps
        if idle and record.ttl_s and not record.exited:
            # The timer may be early, and then looks again; it must not be late or missing.
            due = record.last_use + record.ttl_s
            assert _timer(world, record.ttl_key) <= max(due, world.now), f"{id} would stay for ever"


def _timer(world: World, key: tuple[str, str]) -> float:
    return world.core._context.timers._deadlines.get(key, inf)


def _check_swaps(world: World) -> None:
    swaps = list(world.core.swaps.values())
    for one in swaps:
        assert one.target not in one.evict
        assert one.pending <= set(one.evict)
        for other in swaps:
            if one is other:
                continue
            assert other.target not in one.evict
            assert set(one.evict).isdisjoint(other.evict)


def _check_safety(world: World) -> None:
    """No models that exclude each other are up together, except from before a reload."""
    present = set(world.instances_by_model()) | set(world.core.swaps)
    world.from_before_reload = {pair for pair in world.from_before_reload if pair <= present}
    up = sorted(id for id, state in world.states.items() if state in UP)
    pairs = [frozenset((a, b)) for a in up for b in up if a < b]
    for a, b in (sorted(pair) for pair in pairs if pair not in world.from_before_reload):
        either = b in world.evicts(a, [b]) and a in world.evicts(b, [a])
        assert not either, f"{a} and {b} must not run together"
    policy = world.settings.policy
    if isinstance(policy, MatrixPolicy) and pairs and world.from_before_reload.isdisjoint(pairs):
        assert policy.can_coexist(up), f"{up} are in no common set"


def _check_queue(world: World) -> None:
    queue = world.core.queue
    queued = queue.ordered()
    assert [t.position for t in queued] == list(range(1, len(queued) + 1))
    if not queued:
        assert not queue.claims
        return
    _check_order(world, queued)
    pending = (
        world.core.swaps
        or any(record.leased for record in world.core.records.values())
        or any(state is ModelState.STOPPING for state in world.states.values())
        or any(record.exited for record in world.core.records.values())
        or world.core.next_deadline() < inf
    )
    assert pending, "the queue waits for nothing"
    if world.core.next_deadline() <= world.now:
        return  # a timer is due at this very moment
    before = fingerprint(world.core)
    assert world.core.handle(Tick(), world.now) == [], "something in the queue could have moved on"
    assert fingerprint(world.core) == before


def _check_order(world: World, queued: list[Ticket]) -> None:
    """Claims first, in their order, then by priority, then by arrival; and nobody's claim is missing."""
    claims = world.core.queue.claims
    for first, second in pairwise(queued):
        if first.model in claims and second.model in claims:
            assert claims[first.model] <= claims[second.model]
            in_order = first.model != second.model or first.sequence < second.sequence
        elif first.model in claims or second.model in claims:
            in_order = first.model in claims
        else:
            in_order = (-first.priority, first.sequence) < (-second.priority, second.sequence)
        assert in_order, f"{first} stands before {second}"
    for ticket in queued:
        assert ticket.queued_at is not None
        max_wait_s = world.core.records[ticket.model].rules.max_wait_s
        due = ticket.queued_at + max_wait_s
        if ticket.queue_timeout_s:
            assert world.now <= ticket.arrived_at + ticket.queue_timeout_s, "queued for too long"
        assert not max_wait_s or due > world.now or ticket.model in claims or _due_now(world, "claim", due)


def _due_now(world: World, kind: str, due: float) -> bool:
    return world.core.next_deadline() <= world.now and due >= world.now
