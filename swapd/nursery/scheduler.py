"""The decision core: who is served, what is started, what must stop first. Events in, effects out.

No event loop, no clock, no I/O and no logging in here: `handle(event, now)` changes the core's own state
and returns what is to be done, in order. The manager carries it out and reports back. Everything hard about
swapping can therefore be tested by feeding events and reading effects.

**The theory.** A *swap* is the plan "stop the models E, then make T ready"; the policy computes E from what
runs. Two swaps *collide* when one would stop what the other needs or stops: the target of one is in the E
of the other, or they share a member of E. Swaps that do not collide run in parallel; what collides waits. A
request for T therefore ends in exactly one of six ways, tried in this order (`_admit`, `_place`):

    refused   shutting down, unknown, not loaded (for those who may not load), crash-looping, limit reached
    joined    a swap for T is on its way: become one of its waiters
    refused   the policy says that T can never run
    granted   T is ready, nothing must stop for it, nothing collides
    queued    somebody's swap collides, a member of E is busy, or a claim holds T back
    started   a new swap for T

The queue is looked through after every event, in order, until a pass changes nothing (`_drain`); so no
ticket ever waits for something that has already happened. A blocked ticket does not hold up those behind
it. That alone would let a steady stream for a loaded model starve its rival, hence *claims*: a model whose
ticket has queued for `max_wait_s` goes to the front, and every model that would keep it from running (it is
*shadowed*) gets no new leases until the claim's swap has begun. What was granted before runs to its end;
nothing in flight is killed.

A ready model with nothing queued anywhere needs none of this: `try_grant` and `try_release` answer in one
call, under conditions that make the answer exactly what the `Request` event would have got. Those
conditions can only change through `handle`, so they are checked once an *epoch*, not once a request.

The mutable state is: a record a model (`lifecycle.py`), the active swaps (`swaps.py`), the queue
(`ticket_queue.py`), the timers, the unload calls still pending, and whether the daemon is shutting down.
Every iteration is in a sorted or an insertion order, so the same events give the same effects.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from swapd.nursery import refusals
from swapd.nursery.claims import Claims
from swapd.nursery.context import Context
from swapd.nursery.events import (
    Cancel,
    Effect,
    Event,
    LeaseDone,
    ModelRules,
    Pin,
    Refusal,
    Reload,
    Request,
    Requeue,
    ResetBreaker,
    Settings,
    Shutdown,
    Slot,
    StopReason,
    Tick,
    Ticket,
    Unload,
)
from swapd.nursery.leasing import end_reservation, grant, lease, refuse, reject, reserve
from swapd.nursery.lifecycle import Lifecycle
from swapd.nursery.outcomes import Outcomes
from swapd.nursery.records import ModelRecord, Swap
from swapd.nursery.reload import Reloader
from swapd.nursery.shutdown import ShutdownCourse
from swapd.nursery.states import ModelState
from swapd.nursery.swaps import Swaps
from swapd.nursery.ticket_queue import TicketQueue
from swapd.nursery.timers import TimerKey
from swapd.nursery.unloads import Unloads


class Scheduler:
    """See the module's docstring. `random` gives numbers in [0, 1) for the jitter of the breakers."""

    def __init__(
        self, models: Mapping[str, ModelRules], settings: Settings, random: Callable[[], float] = lambda: 0.5
    ) -> None:
        self._context = Context(settings, random)
        self._lifecycle = Lifecycle(self._context, models)
        self._swaps = Swaps(self._context, self._lifecycle)
        self._queue = TicketQueue()
        self._claims = Claims(self._context, self._queue, self._swaps)
        self._reloader = Reloader(self._context, self._lifecycle, self._refuse_everybody)
        self._unloads = Unloads(self._context, self._lifecycle, self._refuse_everybody)
        self._outcomes = Outcomes(
            self._context, self._lifecycle, self._swaps, self._unloads, self._refuse_queued
        )
        self._shutdown = ShutdownCourse(self._context, self._lifecycle, self._refuse_everybody)
        self._to_restart: dict[str, None] = {}
        self._sequence = 0
        self._epoch = 0

    # -- looking in --------------------------------------------------------------------------------

    @property
    def records(self) -> Mapping[str, ModelRecord]:
        """The models by id, in byte order; for showing and for tests, not for changing."""
        return self._lifecycle.models

    @property
    def swaps(self) -> Mapping[str, Swap]:
        """The active swaps by target."""
        return self._swaps.active

    @property
    def queue(self) -> TicketQueue:
        return self._queue

    @property
    def shutting_down(self) -> bool:
        return self._context.shutting_down

    def next_deadline(self) -> float:
        """When to send the next `Tick` at the latest; infinity if nothing is waited for."""
        return self._context.timers.earliest()

    # -- the hot path ------------------------------------------------------------------------------

    def try_grant(self, ticket: Ticket, now: float) -> bool:
        """Grant at once if the model is ready and nothing else is going on; else change nothing: False."""
        record = self._lifecycle.models.get(ticket.model)
        if record is None or (record.hot_epoch != self._epoch and not self._find_hot(record)):
            return False
        if record.reserved >= record.rules.concurrency_limit:
            return False
        self._sequence += 1
        reserve(record, ticket, self._sequence, now)
        lease(record, ticket)
        return True

    def try_release(self, ticket: Ticket, now: float) -> bool:
        """Release at once if nothing waits for it; else change nothing: False (send `LeaseDone` then)."""
        record = ticket.record
        if record is None or (record.hot_epoch != self._epoch and not self._find_hot(record)):
            return False
        if ticket not in record.leased:
            return False
        if record.ttl_key not in self._context.timers and record.ttl_s:
            return False
        del record.leased[ticket]
        end_reservation(ticket)
        record.last_use = now
        ticket.slot = Slot.RELEASED
        return True

    def _find_hot(self, record: ModelRecord) -> bool:
        """Whether until the next event a request for the model can only be granted."""
        if (
            not record.grants
            or not record.breaker.closed
            or self._queue
            or self._swaps.active
            or self.shutting_down
            or self._swaps.plan_for(record.id) != ()
        ):
            return False
        record.hot_epoch = self._epoch
        return True

    # -- events ------------------------------------------------------------------------------------

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Take one event at `now` (monotonic seconds, never going back); return what to do, in order."""
        self._epoch += 1
        self._context.now = now
        effects = self._context.effects = []
        self._dispatch(event)
        for key in self._context.timers.pop_due(now):
            self._timer_fired(key)
        self._settle()
        return effects

    def _dispatch(self, event: Event) -> None:
        match event:
            case Request(ticket):
                self._admit(ticket)
            case Requeue(ticket):
                self._requeue(ticket)
            case Cancel(ticket):
                self._forget(ticket)
            case LeaseDone(ticket):
                self._release(ticket)
            case Unload(call):
                self._unloads.begin(call)
            case ResetBreaker(model):
                if model in self.records:
                    self.records[model].breaker.reset()
            case Pin(model, by):
                if model in self.records:
                    self._lifecycle.pin(self.records[model], by)
            case Reload(models, settings):
                self._reload(models, settings)
            case Shutdown(drain_until):
                self._shutdown.begin(drain_until)
            case Tick():
                pass  # the timers have been looked at
            case _:
                if record := self._lifecycle.current(event.model, event.gen):
                    self._outcomes.take(record, event)

    # -- a request ---------------------------------------------------------------------------------

    def _admit(self, ticket: Ticket) -> None:
        record = self.records.get(ticket.model)
        if ticket.slot is not Slot.WAITING:
            return  # its task went away before the event was handled
        if self.shutting_down:
            reject(self._context, ticket, refusals.SHUTTING_DOWN)
        elif record is None or record.removed:
            reject(self._context, ticket, refusals.UNKNOWN_MODEL)
        elif ticket.ready_only and record.state is not ModelState.READY:
            reject(self._context, ticket, refusals.not_loaded(record.id))
        elif record.breaker.is_open(self._context.now):
            reject(self._context, ticket, self._crash_looping(record))
        elif record.reserved >= record.rules.concurrency_limit:
            reject(self._context, ticket, refusals.TOO_MANY)
        else:
            self._sequence += 1
            reserve(record, ticket, self._sequence, self._context.now)
            self._place_or_enqueue(ticket)

    def _place_or_enqueue(self, ticket: Ticket) -> None:
        if self._place(ticket):
            return
        if ticket.queued_at is None:
            ticket.queued_at = self._context.now
        rules = self.records[ticket.model].rules
        ticket.priority = rules.priority
        self._queue.add(ticket)
        limits = [limit for limit in (rules.queue_timeout_s, ticket.queue_timeout_s) if limit]
        if limits:
            self._context.timers.set(("queue", str(ticket.sequence)), ticket.arrived_at + min(limits))
        self._claims.watch(ticket.model, rules.max_wait_s)

    def _place(self, ticket: Ticket) -> bool:
        """Grant, join, start or refuse an admitted ticket; False if it has to wait in the queue."""
        record = self.records[ticket.model]
        shadowed = self._claims.is_shadowed(record.id)
        if (swap := self._swaps.active.get(record.id)) is not None:
            if swap.aborted and (stuck := self._first_stuck((record.id, *sorted(swap.pending)))):
                refuse(self._context, ticket, refusals.stop_stuck(stuck))
                return True
            if swap.aborted or shadowed:
                return False
            swap.waiters.append(ticket)
            swap.deserted_at = None
            return True
        if record.condemned or record.exited:
            return False
        plan = self._swaps.plan_for(record.id)
        if plan is None:
            refuse(self._context, ticket, refusals.does_not_fit(record.id))
            return True
        if refusal := self._hopeless(ticket, record, plan):
            refuse(self._context, ticket, refusal)
            return True
        if shadowed or self._swaps.collides(record.id, plan):
            return False
        if not plan and record.state is ModelState.READY:
            grant(self._context, record, ticket)
            return True
        claimed = record.id in self._queue.claims
        victims = [self.records[id] for id in plan]
        if any(self._lifecycle.is_busy(victim, ignore_minimum_stay=claimed) for victim in victims):
            return False
        self._swaps.start(record, plan, [ticket])
        return True

    def _hopeless(self, ticket: Ticket, record: ModelRecord, plan: tuple[str, ...]) -> Refusal | None:
        """Why waiting would not help this ticket, if so."""
        if ticket.ready_only and record.state is not ModelState.READY:
            return refusals.not_loaded(record.id)
        if stuck := self._first_stuck((record.id, *plan)):
            return refusals.stop_stuck(stuck)
        if record.breaker.is_open(self._context.now):
            return self._crash_looping(record)
        return None

    def _first_stuck(self, ids: Iterable[str]) -> str | None:
        """Which of these has a process that does not die, if any."""
        return next((id for id in ids if self.records[id].stuck), None)

    def _crash_looping(self, record: ModelRecord) -> Refusal:
        return refusals.crash_looping(record.id, record.breaker, self._context.now)

    # -- the end of a ticket -----------------------------------------------------------------------

    def _release(self, ticket: Ticket) -> None:
        record = ticket.record
        if record is None or ticket.slot is not Slot.GRANTED:
            raise AssertionError(f"{ticket!r} was released twice, or never granted")
        ticket.slot = Slot.RELEASED
        end_reservation(ticket)
        if ticket in record.orphaned:
            del record.orphaned[ticket]
            return
        del record.leased[ticket]
        record.last_use = self._context.now
        if not record.leased:
            self._lifecycle.became_idle(record)

    def _requeue(self, ticket: Ticket) -> None:
        """Let a ticket wait again whose instance was lost between the grant and its use.

        Its task may have gone away since it asked for that."""
        record = ticket.record
        if record is None or (ticket not in record.leased and ticket not in record.orphaned):
            raise AssertionError(f"{ticket!r} cannot be queued again")
        record.orphaned.pop(ticket, None)
        record.leased.pop(ticket, None)
        if ticket.slot is Slot.ABANDONED:
            end_reservation(ticket)
        else:
            ticket.slot = Slot.WAITING
            self._place_again(ticket, record)
        if not record.leased:
            self._lifecycle.became_idle(record)

    def _place_again(self, ticket: Ticket, record: ModelRecord) -> None:
        if self.shutting_down:
            refuse(self._context, ticket, refusals.SHUTTING_DOWN)
        elif record.removed or self.records.get(record.id) is not record:
            refuse(self._context, ticket, refusals.UNKNOWN_MODEL)
        else:
            ticket.arrived_at = self._context.now  # what it waited before was not for nothing
            self._place_or_enqueue(ticket)

    def _forget(self, ticket: Ticket) -> None:
        """The ticket's task has gone; it waits in the queue, in a swap, or nowhere any more."""
        if ticket.slot is not Slot.ABANDONED or ticket.record is None:
            return
        if ticket in self._queue:
            self._leave_queue(ticket)
        else:
            self._swaps.withdraw(ticket)
        end_reservation(ticket)

    def _leave_queue(self, ticket: Ticket) -> None:
        self._context.timers.clear(("queue", str(ticket.sequence)))
        if self._queue.remove(ticket):
            self._context.timers.clear(("claim", ticket.model))

    def _queue_timed_out(self, ticket: Ticket) -> None:
        ahead = self._queue.models_ahead_of(ticket)
        waited_s = self._context.now - ticket.arrived_at
        average_load_s = self.records[ticket.model].average_load_s
        self._leave_queue(ticket)
        refuse(self._context, ticket, refusals.queue_timeout(ticket.model, waited_s, average_load_s, ahead))

    def _refuse_everybody(self, record: ModelRecord, refusal: Refusal, reason: StopReason) -> None:
        """Refuse who waits for the model, in its swap or in the queue, and abort the swap."""
        if (swap := self._swaps.active.get(record.id)) and not swap.aborted:
            self._swaps.refuse_waiters(swap, refusal)
            self._swaps.abort(swap, reason)
        self._refuse_queued(record, refusal)

    def _refuse_queued(self, record: ModelRecord, refusal: Refusal) -> None:
        for ticket in self._queue.of(record.id):
            self._leave_queue(ticket)
            refuse(self._context, ticket, refusal)

    # -- after every event -------------------------------------------------------------------------

    def _settle(self) -> None:
        """Do what has become possible, until nothing more is."""
        if self.shutting_down:
            self._shutdown.go_on()
        else:
            while self._drain() or self._restart() or self._swaps.abandon_deserted(self._queue.models):
                pass
        self._unloads.answer()
        self._queue.publish_positions()

    def _drain(self) -> bool:
        """Look through the queue until a pass changes nothing; return whether anything changed."""
        changed = False
        while self._drain_once():
            changed = True
        return changed

    def _drain_once(self) -> bool:
        changed = False
        blocked: set[str] = set()  # what blocks one ticket of a model blocks those behind it
        for ticket in self._queue.ordered():
            if ticket.model in blocked:
                continue
            if ticket.slot is Slot.ABANDONED:
                self._leave_queue(ticket)
                end_reservation(ticket)
            elif self._place(ticket):
                self._leave_queue(ticket)
            else:
                blocked.add(ticket.model)
                continue
            changed = True
        return changed

    def _timer_fired(self, key: TimerKey) -> None:
        kind, name = key
        if kind == "queue":
            if ticket := self._queue.find(int(name)):
                self._queue_timed_out(ticket)
        elif (record := self.records.get(name)) is not None:
            match kind:
                case "ttl" if name not in self._swaps.active:
                    self._lifecycle.ttl_due(record)
                case "claim":
                    self._claims.due(name, record.rules.max_wait_s)
                case "stable":
                    record.breaker.reset()
                case "restart":
                    self._to_restart[name] = None  # those who wait already come first
                case "condemned" if record.condemned and record.state is ModelState.READY:
                    self._lifecycle.stop_condemned(record)
                case _:
                    pass  # "min_loaded", "abandon", "drain": `_settle` looks at the time

    # -- restarts of our own accord ----------------------------------------------------------------

    def _restart(self) -> bool:
        """Start crashed models again of our own accord, where that is in nobody's way; return whether any."""
        started = False
        while self._to_restart:
            record = self.records.get(self._to_restart.popitem()[0])
            if record is not None and self._may_restart(record):
                self._swaps.start(record, (), [])
                started = True
        return started

    def _may_restart(self, record: ModelRecord) -> bool:
        return (
            record.rules.auto_restart
            and not record.removed
            and record.state in (ModelState.STOPPED, ModelState.STOPPING)
            and record.id not in self._swaps.active
            and self._swaps.plan_for(record.id) == ()
            and not self._swaps.collides(record.id, ())
            and not self._claims.is_shadowed(record.id)
            and not self._swaps.is_wanted_away(record.id, self._queue.models)
        )

    # -- reload ------------------------------------------------------------------------------------

    def _reload(self, models: Mapping[str, ModelRules], settings: Settings) -> None:
        if self.shutting_down:
            return
        self._reloader.apply(models, settings)
        for swap in list(self._swaps.active.values()):
            self._swaps.advance(swap)  # it may have waited for an instance that is not to be replaced now
        self._queue.reprioritise({id: record.rules.priority for id, record in self.records.items()})
        for id in self._queue.models:
            self._claims.watch(id, self.records[id].rules.max_wait_s)
