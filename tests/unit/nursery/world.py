"""A world for the decision core: it carries out effects on make-believe processes and checks the invariants.

`World` owns a `Scheduler`, applies every effect, remembers what it has seen, and looks after every event
whether any promise of the core is broken. Tests, random or not, drive it by its verbs.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf

from attrs import define, field
from msgspec import structs

from swapd.nursery.events import (
    CallDone,
    Cancel,
    Drained,
    Effect,
    Event,
    Grant,
    LeaseDone,
    ModelRules,
    Refuse,
    Reload,
    ReloadApplied,
    Request,
    Requeue,
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
from swapd.nursery.reports import Ending, EndingKind, Exited, Gone, Ready, StartTimedOut, Unresponsive
from swapd.nursery.scheduler import Scheduler
from swapd.nursery.states import TRANSITIONS, ModelState


@define(eq=False)
class FakeInstance:
    """A process as the world knows it: it lives until `gone`."""

    model: str
    gen: int
    ready: bool = False
    stopping: bool = False
    timed_out: bool = False
    exited: bool = False


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
    drained: bool = False
    shutdown_begun: bool = False
    compatible_before_reload: set[frozenset[str]] = field(factory=set)

    def __attrs_post_init__(self) -> None:
        self.core = Scheduler(self.models, self.settings)
        self.states = dict.fromkeys(self.models, ModelState.STOPPED)

    # -- verbs ---------------------------------------------------------------------------------------------

    def request(self, model: str, *, hot: bool = True, **options: object) -> Ticket:
        """Ask as the manager would: directly if that works, else by an event. Compares the two answers."""
        ticket = Ticket(model, **options)  # type: ignore[arg-type]
        self.tickets.append(ticket)
        if hot and not options and self.core.try_grant(ticket, self.now):
            self._check_hot_grant(ticket)
            self.grants.append(ticket)
            self.check()
        else:
            self.handle(Request(ticket))
        return ticket

    def cancel(self, ticket: Ticket) -> None:
        assert ticket.slot is Slot.WAITING
        ticket.slot = Slot.ABANDONED
        self.handle(Cancel(ticket))

    def finish(self, ticket: Ticket, *, hot: bool = True) -> None:
        if hot and self.core.try_release(ticket, self.now):
            self.check()
        else:
            self.handle(LeaseDone(ticket))

    def requeue(self, ticket: Ticket) -> None:
        self.grants.remove(ticket)
        self.handle(Requeue(ticket))

    def ready(self, model: str) -> None:
        instance = self.newest(model)
        instance.ready = True
        self.handle(Ready(model, instance.gen))

    def exits(self, model: str, message: str = "exit status 1") -> None:
        """The process ends by itself, or as it was asked to."""
        instance = self.newest(model)
        kind = EndingKind.STOPPED if instance.stopping else EndingKind.EXITED
        del self.instances[model, instance.gen]
        self.handle(Gone(model, instance.gen, Ending(kind, code=1, message=message)))

    def start_times_out(self, model: str) -> None:
        instance = self.newest(model)
        instance.timed_out = instance.stopping = True
        self.handle(StartTimedOut(model, instance.gen, "health check timed out after 15 s"))

    def exited(self, model: str) -> None:
        """The process of a ready model has ended by itself; the rest of its tree has not gone yet."""
        instance = self.newest(model)
        instance.exited = True
        self.handle(Exited(model, instance.gen))

    def falls_silent(self, model: str) -> None:
        """A ready process gives no sign of life any more, and is being torn down for it."""
        instance = self.newest(model)
        instance.stopping = True
        self.handle(Unresponsive(model, instance.gen, "no sign of life"))

    def advance(self, seconds: float) -> None:
        """Let time pass, stopping at every deadline of the core on the way."""
        end = self.now + seconds
        while (deadline := self.core.next_deadline()) <= end:
            self.now = max(self.now, deadline)
            self.handle(Tick())
        self.now = end

    def unload(self, *models: str, drain: bool = False, timeout_s: float | None = None) -> UnloadCall:
        call = UnloadCall(models or None, timeout_s, drain)
        targets = set(models or self.core.records)
        self.open_calls[call] = {id for id in targets if id in self.core.records and self.states[id] in LIVE}
        before = [t for t in self.tickets if t.model in targets and t.slot is Slot.WAITING]
        self.handle(Unload(call))
        assert all(t.slot is not Slot.WAITING for t in before), "a waiter survived the unload"
        return call

    def reload(self, models: Mapping[str, ModelRules], settings: Settings | None = None) -> ReloadApplied:
        running = [id for id, state in self.states.items() if state in LIVE]
        self.compatible_before_reload |= {frozenset((a, b)) for a in running for b in running if a < b}
        gens = {id: record.gen for id, record in self.core.records.items()}
        launches = {id: record.rules.launch for id, record in self.core.records.items()}
        self.models, self.settings = dict(models), settings or self.settings
        for id in models:
            self.states.setdefault(id, ModelState.STOPPED)
        self.handle(Reload(models, self.settings))
        for id in models:
            if id in running and launches.get(id) == models[id].launch:
                assert self.core.records[id].gen == gens[id], "an unchanged model was replaced"
        return next(e for e in self.effects if isinstance(e, ReloadApplied))

    def shut_down(self, drain_s: float = 30.0) -> None:
        self.shutdown_begun = True
        self.handle(Shutdown(self.now + drain_s))

    # -- looking -------------------------------------------------------------------------------------------

    def newest(self, model: str) -> FakeInstance:
        return self.instances[model, max(gen for id, gen in self.instances if id == model)]

    def live(self, model: str) -> bool:
        return any(id == model for id, _ in self.instances)

    def state(self, model: str) -> ModelState:
        return self.states[model]

    def of(self, kind: type[Effect]) -> list[Effect]:  # type: ignore[valid-type]
        return [effect for effect in self.effects if isinstance(effect, kind)]

    # -- carrying out --------------------------------------------------------------------------------------

    def handle(self, event: Event) -> list[Effect]:
        effects = self.core.handle(event, self.now)
        self.effects = effects
        for effect in effects:
            self._apply(effect)
        self.check()
        return effects

    def _apply(self, effect: Effect) -> None:
        match effect:
            case Spawn(model, gen):
                self._check_spawn(model)
                self.instances[model, gen] = FakeInstance(model, gen)
            case Stop(model, gen, grace_s, reason):
                self._check_stop(model, gen, grace_s, reason)
                self.instances[model, gen].stopping = True
            case StateChanged(model, old, new):
                assert old is self.states[model], "events of a model do not form a path"
                assert new in TRANSITIONS[old], "forbidden transition"
                self.states[model] = new
                if new is ModelState.SHUTDOWN and not self.shutdown_begun:
                    self.states[model] = ModelState.STOPPED  # removed by a reload; the id may come back
                if new is ModelState.STOPPED:
                    for pending in self.open_calls.values():
                        pending.discard(model)
            case Grant(ticket):
                assert ticket.slot is Slot.GRANTED
                assert self.states[ticket.model] is ModelState.READY, "granted while not ready"
                self._check_order(ticket)
                self.grants.append(ticket)
            case Refuse(ticket):
                assert ticket.slot is Slot.REFUSED
                assert ticket.refusal is not None
            case Revoke(ticket, why):
                assert ticket.slot is Slot.GRANTED
                assert why in (Revocation.UPSTREAM_LOST, Revocation.SHUTTING_DOWN)
            case CallDone(call):
                assert not self.open_calls.pop(call), "an unload returned before every target had stopped"
            case StartFailed():
                pass
            case Drained():
                self.drained = True

    # -- the invariants ------------------------------------------------------------------------------------

    def _check_spawn(self, model: str) -> None:
        assert not self.live(model), "two processes of one model"
        assert not self.shutdown_begun, "spawned during the shutdown"
        record = self.core.records[model]
        swap = self.core.swaps[model]
        assert not record.breaker.is_open(self.now), "spawned although the breaker is open"
        assert not swap.pending, "spawned before the evicted had stopped"
        assert not any(self.live(id) for id in swap.evict)

    def _check_stop(self, model: str, gen: int, grace_s: float, reason: StopReason) -> None:
        assert (model, gen) in self.instances, "stop of a process that is not there"
        assert grace_s > 0
        record = self.core.records[model]
        if record.leased:
            assert reason in (StopReason.UNLOADED, StopReason.RELOADED, StopReason.SHUTDOWN), (
                "stopped while serving"
            )
        if reason is StopReason.IDLE:
            assert self.now - record.last_use >= record.rules.ttl_s - 1e-9, "unloaded too early"

    def _check_order(self, ticket: Ticket) -> None:
        overtaken = [
            other
            for other in self.tickets
            if other.model == ticket.model
            and other.slot is Slot.WAITING
            and 0 < other.sequence < ticket.sequence
        ]
        assert not overtaken, "a later ticket was granted before an earlier one of the same model"

    def _check_hot_grant(self, ticket: Ticket) -> None:
        record = self.core.records[ticket.model]
        assert record.state is ModelState.READY
        assert not self.core.queue
        assert not self.core.swaps
        assert record.reserved <= record.rules.concurrency_limit
        view = View(tuple(sorted(id for id, s in self.states.items() if s in LIVE and id != ticket.model)))
        assert self.settings.policy.evict(ticket.model, view) == ()

    def check(self) -> None:
        """Every promise that can be judged from the outside, after any event."""
        self._check_counters()
        self._check_swaps()
        self._check_safety()
        self._check_queue()
        if self.drained:
            assert not self.instances
            assert not any(t.slot is Slot.WAITING for t in self.tickets)
            assert self.core.next_deadline() == inf

    def _check_counters(self) -> None:
        for id, record in self.core.records.items():
            assert record.state is self.states[id]
            assert (record.state in LIVE) == self.live(id), f"{id}: state and process disagree"
            mine = [t for t in self.tickets if t.record is record]
            queued = [t for t in mine if t in self.core.queue]
            swap = self.core.swaps.get(id)
            waiting = [t for t in mine if swap and t in swap.waiters]
            leased = [t for t in mine if t in record.leased or t in record.orphaned]
            assert len(mine) == record.reserved == len(queued) + len(waiting) + len(leased), f"{id}: places"
            assert all(t.slot is Slot.GRANTED for t in leased)
            assert all(t.gen == record.gen for t in record.leased)
            if record.leased:
                assert record.state in (ModelState.READY, ModelState.STOPPING)
        for ticket in self.tickets:
            if ticket.slot in (Slot.REFUSED, Slot.RELEASED):
                assert ticket.record is None, "a finished ticket holds a reservation"
                assert ticket not in self.core.queue

    def _check_swaps(self) -> None:
        swaps = list(self.core.swaps.values())
        for one in swaps:
            assert one.target not in one.evict
            for other in swaps:
                if one is other:
                    continue
                assert other.target not in one.evict
                assert set(one.evict).isdisjoint(other.evict)

    def _check_safety(self) -> None:
        """No two models that evict each other are both starting or ready, except from before a reload."""
        up = sorted(id for id, s in self.states.items() if s in (ModelState.STARTING, ModelState.READY))
        for a in up:
            for b in up:
                if a >= b or frozenset((a, b)) in self.compatible_before_reload:
                    continue
                either = b in self._evicts(a, b) and a in self._evicts(b, a)
                assert not either, f"{a} and {b} must not run together"

    def _evicts(self, target: str, running: str) -> tuple[str, ...]:
        return self.settings.policy.evict(target, View((running,))) or ()

    def _check_queue(self) -> None:
        queued = self.core.queue.ordered()
        assert [t.position for t in queued] == list(range(1, len(queued) + 1))
        if not queued:
            return
        pending = (
            self.core.swaps
            or any(record.leased for record in self.core.records.values())
            or any(state is ModelState.STOPPING for state in self.states.values())
            or any(instance.exited for instance in self.instances.values())
            or self.core.next_deadline() < inf
        )
        assert pending, "the queue waits for nothing"
        if self.core.next_deadline() <= self.now:
            return  # a timer is due at this very moment
        before = self.snapshot()
        effects = self.core.handle(Tick(), self.now)
        assert effects == [], "something in the queue could have moved on"
        assert self.snapshot() == before

    def snapshot(self) -> object:
        """Everything a refused direct call must leave as it was."""
        return (
            {
                id: (r.state, r.gen, r.reserved, tuple(r.leased), r.last_use)
                for id, r in self.core.records.items()
            },
            [t.sequence for t in self.core.queue.ordered()],
            sorted(self.core.swaps),
        )


LIVE = (ModelState.STARTING, ModelState.READY, ModelState.STOPPING)


def rules(**changes: object) -> ModelRules:
    """Rules with small numbers, for tests."""
    return structs.replace(ModelRules(launch=1), **changes)
