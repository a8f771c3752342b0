"""A world for the decision core: it carries out effects on make-believe processes and checks the invariants.

`World` owns a `Scheduler`, applies every effect, remembers what it has seen, and looks after every event
whether any promise of the core is broken. Tests, random or not, drive it by its verbs. Like the real manager
it has an inbox: while the world is `lagging`, what happens is posted and handled later, in order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from math import inf

from attrs import define, field
from msgspec.structs import replace

from swapd.nursery.events import (
    CallDone,
    Cancel,
    Crashed,
    Drained,
    Effect,
    Event,
    Grant,
    LeaseDone,
    ModelRules,
    Pin,
    Refuse,
    Reload,
    ReloadApplied,
    Request,
    Requeue,
    ResetBreaker,
    Revocation,
    Revoke,
    Settings,
    Shutdown,
    Slot,
    Spawn,
    StartFailed,
    StateChanged,
    Stop,
    StopReason,
    Tick,
    Ticket,
    Unload,
    UnloadCall,
)
from swapd.nursery.policy import View
from swapd.nursery.reports import (
    Ending,
    EndingKind,
    Exited,
    Gone,
    InstanceReport,
    Ready,
    Spawned,
    StartTimedOut,
    StopStuck,
    Unresponsive,
)
from swapd.nursery.scheduler import Scheduler
from swapd.nursery.states import RUNNING, TRANSITIONS, ModelState
from tests.unit.nursery import invariants
from tests.unit.nursery.fingerprint import fingerprint, twin

NOTHING_APPLIED = ReloadApplied((), (), (), (), ())


@define(eq=False)
class FakeInstance:
    """A process as the world knows it: it lives until the core has been told that it is gone."""

    model: str
    gen: int
    ready: bool = False
    stopping: bool = False
    """It is being torn down, whoever wanted that."""
    exited: bool = False
    """Its leader has ended by itself after it was ready."""
    ended: bool = False
    """All of it has ended."""


@define(eq=False)
class Before:
    """What the world remembers of the moment before an event, to judge what the event did."""

    claimed: list[str]
    joined: set[Ticket]
    failures: dict[str, int]
    gens: dict[str, int]
    launches: dict[str, object]
    running: set[str]
    waiting: list[Ticket]


@define(eq=False)
class World:
    """Drives a scheduler by hand. `now` only goes forward."""

    models: dict[str, ModelRules]
    settings: Settings
    now: float = 0.0
    core: Scheduler = field(init=False)
    instances: dict[tuple[str, int], FakeInstance] = field(factory=dict)
    tickets: list[Ticket] = field(factory=list)
    states: dict[str, ModelState] = field(init=False)
    effects: list[Effect] = field(factory=list)
    open_calls: dict[UnloadCall, set[str]] = field(factory=dict)
    grants: list[Ticket] = field(factory=list)
    log: list[Effect] = field(factory=list)
    """Every effect so far."""
    inbox: deque[Event] = field(factory=deque)
    lagging: bool = False
    drained: bool = False
    drain_until: float | None = None
    open_tickets: dict[Ticket, None] = field(factory=dict)
    """Tickets that may still hold a reservation."""
    _resolved: set[Ticket] = field(factory=set)
    _came_back: set[Ticket] = field(factory=set)
    """Tickets that have had to wait for a second instance."""
    _gone: set[Ticket] = field(factory=set)
    """Tickets whose tasks have gone away."""
    _last_gen: int = 0
    condemned_until: dict[str, float] = field(factory=dict)
    from_before_reload: set[frozenset[str]] = field(factory=set)
    """Pairs of models that ran, or were committed to, under an earlier policy."""

    def __attrs_post_init__(self) -> None:
        self.core = Scheduler(self.models, self.settings)
        self.states = dict.fromkeys(self.models, ModelState.STOPPED)

    @property
    def shutdown_begun(self) -> bool:
        return self.drain_until is not None

    # -- verbs of clients ----------------------------------------------------------------------------------

    def request(self, model: str, *, hot: bool = True, **options: object) -> Ticket:
        """Ask as the manager would: directly if that works, else by an event."""
        ticket = Ticket(model, **options)  # type: ignore[arg-type]
        self.tickets.append(ticket)
        self.open_tickets[ticket] = None
        if not (hot and not options and self._may_ask_directly() and self._granted_directly(ticket)):
            self.post(Request(ticket))
        return ticket

    def cancel(self, ticket: Ticket) -> None:
        """The task of a waiting ticket goes away."""
        assert ticket.slot is Slot.WAITING
        ticket.slot = Slot.ABANDONED
        self._gone.add(ticket)
        self.post(Cancel(ticket))

    def finish(self, ticket: Ticket, *, hot: bool = True) -> None:
        """The holder of a lease has finished."""
        if not (hot and self._released_directly(ticket)):
            self.post(LeaseDone(ticket))

    def requeue(self, ticket: Ticket) -> None:
        """The holder of a lease has found the instance dead and waits for another."""
        assert ticket.slot is Slot.GRANTED
        self.grants.remove(ticket)
        self._resolved.discard(ticket)
        self._came_back.add(ticket)
        ticket.slot = Slot.WAITING
        self.post(Requeue(ticket))

    # -- verbs of processes --------------------------------------------------------------------------------

    def spawned(self, model: str) -> None:
        instance = self.newest(model)
        self.post(Spawned(model, instance.gen, 1000 + instance.gen))

    def ready(self, model: str) -> None:
        instance = self.newest(model)
        instance.ready = True
        self.post(Ready(model, instance.gen))

    def exits(self, model: str, message: str = "exit status 1", *, spawned: bool = True) -> None:
        """The process ends by itself, or as it was asked to; nothing of its tree is left."""
        instance = self.newest(model)
        instance.ended = True
        kind = EndingKind.STOPPED if instance.stopping and not instance.exited else EndingKind.EXITED
        if not spawned:
            kind = EndingKind.SPAWN_FAILED
        self.post(Gone(model, instance.gen, Ending(kind, code=1, message=message)))

    def exited(self, model: str) -> None:
        """The process of a ready model has ended by itself; the rest of its tree has not gone yet."""
        instance = self.newest(model)
        instance.exited = True
        self.post(Exited(model, instance.gen))

    def falls_silent(self, model: str) -> None:
        """A ready process gives no sign of life any more, and is being torn down for it."""
        instance = self.newest(model)
        instance.stopping = True
        self.post(Unresponsive(model, instance.gen, "no sign of life"))

    def start_times_out(self, model: str) -> None:
        instance = self.newest(model)
        instance.stopping = True
        self.post(StartTimedOut(model, instance.gen, "health check timed out after 15 s"))

    def stuck(self, model: str) -> None:
        self.post(StopStuck(model, self.newest(model).gen))

    def stale(self, report: InstanceReport) -> None:
        """A report about an instance that is no longer the newest changes nothing."""
        self.handle(Tick())  # who has gone away meanwhile is forgotten at the next event, whatever it is
        before = fingerprint(self.core)
        assert self.core.handle(report, self.now) == []
        assert fingerprint(self.core) == before, "a report of an old instance had consequences"

    # -- verbs of the daemon and its owner -----------------------------------------------------------------

    def advance(self, seconds: float) -> None:
        """Let time pass, stopping at every deadline of the core on the way."""
        self.catch_up()
        end = self.now + seconds
        while (deadline := self.core.next_deadline()) <= end:
            self.now = max(self.now, deadline)
            self.handle(Tick())
        self.now = end

    def unload(self, *models: str, drain: bool = False, timeout_s: float | None = None) -> UnloadCall:
        call = UnloadCall(models or None, timeout_s, drain)
        self.post(Unload(call))
        return call

    def reset_breaker(self, model: str) -> None:
        self.post(ResetBreaker(model))

    def pin(self, model: str, by: str | None) -> None:
        self.post(Pin(model, by))

    def reload(self, models: Mapping[str, ModelRules], settings: Settings | None = None) -> ReloadApplied:
        self.catch_up()
        if not self.shutdown_begun:
            self.models, self.settings = dict(models), settings or self.settings
        self.handle(Reload(models, self.settings))
        return next((e for e in self.effects if isinstance(e, ReloadApplied)), NOTHING_APPLIED)

    def shut_down(self, drain_s: float = 30.0) -> None:
        self.post(Shutdown(self.now + drain_s))

    # -- looking -------------------------------------------------------------------------------------------

    def newest(self, model: str) -> FakeInstance:
        return self.instances[model, max(gen for id, gen in self.instances if id == model)]

    def live(self, model: str) -> bool:
        return any(id == model for id, _ in self.instances)

    def state(self, model: str) -> ModelState:
        return self.states[model]

    def of(self, kind: type[Effect]) -> list[Effect]:  # type: ignore[valid-type]
        return [effect for effect in self.effects if isinstance(effect, kind)]

    # -- the inbox -----------------------------------------------------------------------------------------

    def post(self, event: Event) -> None:
        if self.lagging:
            self.inbox.append(event)
        else:
            self.handle(event)

    def catch_up(self) -> None:
        """Handle what has been posted."""
        self.lagging = False
        while self.inbox:
            self.handle(self.inbox.popleft())

    def _may_ask_directly(self) -> bool:
        return all(isinstance(event, LeaseDone) for event in self.inbox)

    def _granted_directly(self, ticket: Ticket) -> bool:
        """Ask the core directly; its answer must be what the event would have got, or leave no trace."""
        record = self.core.records.get(ticket.model)
        before = fingerprint(self.core)
        other = twin(self.core) if record is not None and record.grants and not self.core.queue else None
        if not self.core.try_grant(ticket, self.now):
            assert fingerprint(self.core) == before, "a refused direct call left a trace"
            assert (ticket.slot, ticket.record, ticket.sequence) == (Slot.WAITING, None, 0)
            return False
        assert other is not None
        its_ticket = Ticket(ticket.model)
        assert other.handle(Request(its_ticket), self.now) == [Grant(its_ticket)], (
            "the event would not have been granted"
        )
        assert fingerprint(other) == fingerprint(self.core), "the event would have done something else"
        self._note_grant(ticket)
        self.check()
        return True

    def _released_directly(self, ticket: Ticket) -> bool:
        before = fingerprint(self.core)
        other = twin(self.core, ticket)
        if not self.core.try_release(ticket, self.now):
            assert fingerprint(self.core) == before, "a refused direct call left a trace"
            return False
        core, its_ticket = other
        assert core.handle(LeaseDone(its_ticket), self.now) == [], "the event would have done something"
        # The timer of the idle time looks at `last_use` when it fires, so it may be early.
        ours, theirs = fingerprint(self.core, idle_timers=False), fingerprint(core, idle_timers=False)
        assert ours == theirs, "the event would have done something else"
        self.check()
        return True

    # -- handling ------------------------------------------------------------------------------------------

    def handle(self, event: Event) -> list[Effect]:
        before = self._look(event)
        if isinstance(event, Gone):
            del self.instances[event.model, event.gen]
        effects = self.core.handle(event, self.now)
        self.effects = effects
        self.log += effects
        for effect in effects:
            self._apply(effect, event, before)
        self._check_order_of_grants(effects)
        self._judge(event, before)
        self.check()
        return effects

    def _look(self, event: Event) -> Before:
        core = self.core
        match event:
            case Shutdown(drain_until):
                self.drain_until = min(drain_until, self.drain_until or inf)
            case Unload(call):
                targets = core.records if call.models is None else call.models
                self.open_calls[call] = {id for id in targets if self.states.get(id) in RUNNING}
            case Reload(models):
                committed = [
                    id for id in sorted(core.records) if self.states[id] in RUNNING or id in core.swaps
                ]
                self.from_before_reload |= {frozenset((a, b)) for a in committed for b in committed if a < b}
                for id in models:
                    self.states.setdefault(id, ModelState.STOPPED)
        return Before(
            claimed=core.queue.claimed(),
            joined={ticket for swap in core.swaps.values() for ticket in swap.waiters},
            failures={id: record.breaker.failures for id, record in core.records.items()},
            gens={id: record.gen for id, record in core.records.items()},
            launches={id: record.rules.launch for id, record in core.records.items()},
            running={id for id in core.records if self.states[id] in RUNNING},
            waiting=[*core.queue.ordered(), *(t for swap in core.swaps.values() for t in swap.waiters)],
        )

    def _apply(self, effect: Effect, event: Event, before: Before) -> None:
        match effect:
            case Spawn(model, gen):
                self._check_spawn(model, gen)
                self.instances[model, gen] = FakeInstance(model, gen)
            case Stop(model, gen, grace_s, reason):
                self._check_stop(model, gen, grace_s, reason, event)
                self.instances[model, gen].stopping = True
            case StateChanged(model, old, new):
                self._change_state(model, old, new)
            case Grant(ticket):
                assert ticket.slot is Slot.GRANTED
                self._check_grant(ticket, before)
                self._note_grant(ticket)
            case Refuse(ticket):
                assert ticket.slot is Slot.REFUSED
                assert ticket.refusal is not None
                self._note_resolved(ticket)
            case Revoke(ticket, why):
                assert ticket.slot in (Slot.GRANTED, Slot.WAITING, Slot.ABANDONED), "revoked after its end"
                assert why in (Revocation.UPSTREAM_LOST, Revocation.SHUTTING_DOWN)
            case CallDone(call):
                assert not self.open_calls.pop(call), "an unload returned before every target had stopped"
            case StartFailed(model, _, _, retry_at) | Crashed(model, _, _, retry_at):
                if record := self.core.records.get(model):  # else it was removed, and is gone now
                    must_open = record.breaker.failures >= self.settings.breaker.threshold
                    assert (retry_at is not None) == must_open, "the breaker does not do as it is told"
            case Drained():
                self.drained = True

    def _change_state(self, model: str, old: ModelState, new: ModelState) -> None:
        assert old is self.states[model], "events of a model do not form a path"
        assert new in TRANSITIONS[old], "forbidden transition"
        self.states[model] = new
        if new is ModelState.SHUTDOWN and not self.shutdown_begun:
            del self.states[model]  # removed by a reload; the id may come back
            if model in self.models:
                self.states[model] = ModelState.STOPPED
        if new is ModelState.STOPPED:
            self.condemned_until.pop(model, None)
            for pending in self.open_calls.values():
                pending.discard(model)

    def _note_grant(self, ticket: Ticket) -> None:
        self.grants.append(ticket)
        self._note_resolved(ticket)

    def _note_resolved(self, ticket: Ticket) -> None:
        assert ticket not in self._resolved, "a ticket was answered twice"
        self._resolved.add(ticket)

    # -- the invariants: of an effect ----------------------------------------------------------------------

    def _check_spawn(self, model: str, gen: int) -> None:
        assert not self.live(model), "two processes of one model"
        assert gen > self._last_gen, "a generation came twice"
        self._last_gen = gen
        assert not self.shutdown_begun, "spawned during the shutdown"
        record = self.core.records[model]
        assert not record.removed, "spawned although it is not configured any more"
        assert record.launch == self.models[model].launch, "spawned from an old configuration"
        swap = self.core.swaps[model]
        assert not swap.aborted, "spawned for a swap that was given up"
        assert not record.breaker.is_open(self.now), "spawned although the breaker is open"
        assert not swap.pending, "spawned before the evicted had stopped"
        assert not any(self.live(id) for id in swap.evict)

    def _check_stop(self, model: str, gen: int, grace_s: float, reason: StopReason, event: Event) -> None:
        assert (model, gen) in self.instances, "stop of a process that is not there"
        assert grace_s > 0
        record = self.core.records[model]
        if record.leased and not self.instances[model, gen].stopping:
            self._check_may_be_cut(model, reason, event)
        if reason is StopReason.RELOADED:
            same = model in self.models and record.launch == self.models[model].launch
            assert not same, "stopped by a reload that did not change it"
        if reason is StopReason.IDLE:
            assert record.ttl_s and self.now >= record.last_use + record.ttl_s, "unloaded too early"

    def _check_may_be_cut(self, model: str, reason: StopReason, event: Event) -> None:
        match reason:
            case StopReason.UNLOADED if isinstance(event, Unload) and not event.call.drain:
                pass
            case StopReason.UNLOADED | StopReason.RELOADED if model in self.condemned_until:
                assert self.now >= self.condemned_until[model], "its requests could have finished"
            case StopReason.SHUTDOWN:
                assert self.now >= (self.drain_until or 0.0), "the drain was cut short"
            case _:
                raise AssertionError(f"stopped while serving: {reason}")

    def _check_grant(self, ticket: Ticket, before: Before) -> None:
        record = self.core.records[ticket.model]
        assert ticket not in self._gone, "granted to somebody who has left"
        assert self.states[ticket.model] is ModelState.READY, "granted while not ready"
        assert record.grants, "granted on an instance that is to be replaced, or has ended"
        overtaken = [
            other
            for other in (*self.core.queue.of(ticket.model), *self._waiters(ticket.model))
            if other.slot is Slot.WAITING and other.sequence < ticket.sequence
        ]
        assert not overtaken, "a later ticket was granted before an earlier one of the same model"
        if ticket not in before.joined:
            self._check_not_shadowed(ticket, before)

    def _check_order_of_grants(self, effects: list[Effect]) -> None:
        """One event may grant many tickets of a model: in order of arrival, but for those that came back."""
        granted = [effect.ticket for effect in effects if isinstance(effect, Grant)]
        arrivals = [(t.model, t.sequence) for t in granted if t not in self._came_back]
        for model in {model for model, _ in arrivals}:
            sequences = [sequence for id, sequence in arrivals if id == model]
            assert sequences == sorted(sequences), f"{model}: granted out of order"

    def _check_not_shadowed(self, ticket: Ticket, before: Before) -> None:
        """By the claims of before the event that are still there, and come before the model's own.

        That one ends with its turn; and a ticket that waits once more may bring an old one with it."""
        model = ticket.model
        first = before.claimed[: before.claimed.index(model)] if model in before.claimed else before.claimed
        max_wait_s = self.core.records[model].rules.max_wait_s
        own = inf if ticket.queued_at is None or not max_wait_s else ticket.queued_at + max_wait_s
        claims = self.core.queue.claims
        earlier = [id for id in first if id in claims and claims[id][0] < own]
        assert not self._is_shadowed(model, earlier), f"{model} was served in the shadow of a claim"

    def _waiters(self, model: str) -> list[Ticket]:
        swap = self.core.swaps.get(model)
        return swap.waiters if swap else []

    def _is_shadowed(self, model: str, claimed: Iterable[str]) -> bool:
        for claimant in claimed:
            running = self._running | {model, claimant}
            if model in self.evicts(claimant, running) or claimant in self.evicts(model, running):
                return True
        return False

    @property
    def _running(self) -> set[str]:
        committed = {swap.target for swap in self.core.swaps.values() if not swap.aborted}
        return {id for id, state in self.states.items() if state in RUNNING} | committed

    def evicts(self, target: str, running: Iterable[str]) -> tuple[str, ...]:
        return self.settings.policy.evict(target, View(tuple(sorted(set(running) - {target})))) or ()

    # -- the invariants: of an event -----------------------------------------------------------------------

    def _judge(self, event: Event, before: Before) -> None:
        core = self.core
        match event:
            case Request(ticket) if ticket.record is not None:
                record = ticket.record
                assert record.reserved <= record.rules.concurrency_limit, "admitted beyond the limit"
            case Unload(call):
                targets = set(before.gens) if call.models is None else set(call.models)
                waiting = [t for t in before.waiting if t.model in targets and t.slot is Slot.WAITING]
                assert not waiting, "a waiter survived the unload"
            case Reload(models):
                same = [id for id in models if before.launches.get(id) == models[id].launch]
                for id in before.running.intersection(same):
                    assert core.records[id].gen == before.gens[id], "an unchanged model was replaced"
                    # What had to be stopped for another model's sake has been judged as an eviction.
        for swap in core.swaps.values():
            for ticket in swap.waiters:
                if ticket not in before.joined:
                    self._check_not_shadowed(ticket, before)
        blamed = isinstance(event, StartTimedOut | Unresponsive | Gone)
        for id, record in core.records.items():
            failures = record.breaker.failures
            more = failures > before.failures.get(id, 0)
            assert not more or (blamed and event.model == id), "a stop of our own counted as a failure"
            if not record.condemned:
                self.condemned_until.pop(id, None)
            elif id not in self.condemned_until or isinstance(event, Unload):
                until = self.now + self.settings.reload_drain_s
                self.condemned_until[id] = min(until, self.condemned_until.get(id, inf))

    def check(self) -> None:
        """Every promise that can be judged from the outside, after any event."""
        invariants.check(self)

    def instances_by_model(self) -> dict[str, FakeInstance]:
        return {model: instance for (model, _), instance in self.instances.items()}

    # -- the end -------------------------------------------------------------------------------------------

    def let_everything_happen(self) -> None:
        """Be kind: requests end, servers become ready, stops complete, time passes. Then everybody who waits
        must get an answer before long."""
        self.catch_up()
        for _ in range(100):
            if not any(ticket.slot is Slot.WAITING for ticket in self.open_tickets):
                return
            for ticket in [t for t in self.open_tickets if t.slot is Slot.GRANTED]:
                self.finish(ticket)
            for instance in list(self.instances.values()):
                if instance.stopping or instance.exited:
                    self.exits(instance.model)
                elif not instance.ready:
                    self.ready(instance.model)
            if (deadline := self.core.next_deadline()) < inf:
                self.advance(max(0.0, deadline - self.now))
        raise AssertionError("somebody waits for ever")

    def end(self) -> None:
        """When every client has gone and every process has ended as asked, nothing is left."""
        self.let_everything_happen()
        for ticket in [t for t in self.open_tickets if t.slot is Slot.GRANTED]:
            self.finish(ticket)
        if not self.shutdown_begun:
            self.shut_down()
        while self.instances:
            self.exits(min(self.instances)[0])
        assert self.drained
        assert not self.open_calls
        assert not [t for t in self.open_tickets if t.record is not None or t.slot is Slot.GRANTED]
        assert all(record.reserved == 0 for record in self.core.records.values())


def rules(**changes: object) -> ModelRules:
    """Rules with small numbers, for tests."""
    return replace(ModelRules(launch=1), **changes)
