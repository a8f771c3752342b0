"""The process manager: the one actor that owns the scheduler and carries out what it decides.

Events reach it through an inbox that never blocks the sender. It handles one at a time, awaits nothing in
between, and leaves everything slow (spawning, probing, stopping) to one task an instance, in a nursery of
its own. One thing goes past the inbox for speed: a request for a model that is ready, and its release, ask
the core directly (`try_acquire`, `release`). trio is cooperative, so such a call is as atomic as an event;
and it is not made while the inbox holds anything that came first."""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable, Sequence

import trio
from attrs import define, field

from swapd.config import Config, ModelConfig
from swapd.nursery.events import (
    CallDone,
    Cancel,
    Crashed,
    Drained,
    Effect,
    Event,
    Grant,
    LeaseDone,
    Pin,
    Refuse,
    Reload,
    ReloadApplied,
    Request,
    Requeue,
    ResetBreaker,
    Revocation,
    Revoke,
    Shutdown,
    Slot,
    Spawn,
    StartFailed,
    StateChanged,
    Stop,
    SwapDecided,
    Tick,
    Ticket,
    Unload,
    UnloadCall,
)
from swapd.nursery.instance import Activity, InstanceControl, run_instance
from swapd.nursery.launcher import Launcher, OutputSink
from swapd.nursery.lease import Lease, Refused
from swapd.nursery.plans import instance_spec, rules_for, settings_for
from swapd.nursery.preload import Preloaded, Preloads
from swapd.nursery.prober import Prober
from swapd.nursery.reports import Ending, EndingKind, Gone
from swapd.nursery.scheduler import Scheduler
from swapd.nursery.snapshot import Snapshot, take_snapshot
from swapd.observe.logger import Logger

ManagerEvent = StateChanged | Stop | SwapDecided | StartFailed | Crashed | ReloadApplied | Preloaded | Gone
"""What subscribers are told, in the order in which it happened."""

LAST_BYTES_S = 0.25
"""How long a request whose instance died may still deliver what had arrived."""

SLOW_EVENT_S = 0.05
"""Nothing else happens in the daemon while an event is handled: longer than this is worth a warning."""


class Manager:
    """The actor. `run` it in the root nursery; everybody else calls the other methods, from any task.

    The mutable state is the scheduler's; beside it the inbox, the handles of the live instances, base URL and
    activity of each model's newest instance, the callers waiting for an unload, and what is to be preloaded.
    """

    def __init__(
        self,
        config: Config,
        launcher: Launcher,
        prober: Prober,
        *,
        log: Logger,
        output_of: Callable[[str], OutputSink],
        instance_uuid: str,
    ) -> None:
        self._config = config
        self._launcher = launcher
        self._prober = prober
        self._log = log
        self._output_of = output_of
        self._instance_uuid = instance_uuid
        self._core = Scheduler(rules_for(config), settings_for(config), random.random)
        self._outbox, self._inbox = trio.open_memory_channel[Event | Ping](float("inf"))
        self._unread = 0
        """Events in the inbox that a direct call must not overtake."""
        self._instances: dict[tuple[str, int], InstanceControl] = {}
        self._base_urls: dict[str, str] = {}
        self._activities: dict[str, Activity] = {}
        self._ports: dict[tuple[str, int], int] = {}
        self._calls: dict[UnloadCall, trio.Event] = {}
        self._reloads: deque[_PendingReload] = deque()
        self._subscribers: list[Callable[[ManagerEvent], None]] = []
        self._preloads = Preloads(self._make_ready, self._publish)
        self._preloads.add(config.preload)
        self._drained = trio.Event()
        self._now: Callable[[], float] = trio.current_time

    # -- leases ------------------------------------------------------------------------------------

    def try_acquire(self, model: str) -> Lease | None:
        """A lease at once, if the model is ready and nothing stands in the way; else None, and nothing
        happened.
        """
        if self._unread:
            return None
        lease = Lease(self, model)
        if not self._core.try_grant(lease, self._now()):
            return None
        lease.base_url = self._base_urls[model]
        lease.activity = self._activities[model]
        return lease

    async def acquire(
        self,
        model: str,
        *,
        ready_only: bool = False,
        queue_timeout_s: float | None = None,
        on_waiting: Callable[[Lease], None] | None = None,
    ) -> Lease:
        """Make the model ready, in its turn, and return a lease on it.

        `ready_only` never loads a model. `queue_timeout_s` may shorten the configured queue time limit.
        `on_waiting` is called with the ticket if the request is admitted and has to wait.
        Raises `Refused`. Cancelling it takes the ticket out: nothing is started for somebody who has left.
        """
        lease = Lease(self, model, ready_only=ready_only, queue_timeout_s=queue_timeout_s)
        lease.on_waiting = on_waiting
        self._post(Request(lease))
        return await self._decided(lease)

    async def acquire_again(self, lease: Lease) -> Lease:
        """Wait for a fresh instance, because the granted one was lost before anything was sent to it.

        The request keeps its place by arrival and its share of the concurrency limit. The old lease must
        not be released any more. Raises `Refused`; cancellation as in `acquire`."""
        lease.wait_again()
        self._post(Requeue(lease))
        return await self._decided(lease)

    async def _decided(self, lease: Lease) -> Lease:
        try:
            await lease.decision()
        except trio.Cancelled:
            if lease.slot is Slot.WAITING:
                lease.slot = Slot.ABANDONED
                self._post(Cancel(lease))
            elif lease.slot is Slot.GRANTED:
                self.release(lease)
            raise
        if lease.refusal is not None:
            raise Refused(lease.refusal)
        return lease

    def release(self, lease: Lease) -> None:
        """End a lease; see `Lease.release`."""
        if not self._core.try_release(lease, self._now()):
            self._post(LeaseDone(lease))

    # -- administration ----------------------------------------------------------------------------

    async def unload(
        self, models: Sequence[str] | None = None, *, timeout_s: float | None = None, drain: bool = False
    ) -> None:
        """Stop these models (None: all) in parallel; return when every one has been stopped.

        Whoever waits for one of them is refused; requests in progress lose their upstream unless `drain`.
        Cancelling it ends the waiting only."""
        call = UnloadCall(tuple(models) if models is not None else None, timeout_s, drain)
        done = self._calls[call] = trio.Event()
        self._post(Unload(call))
        await done.wait()

    async def load(self, model: str) -> None:
        """Make the model ready, whatever failures went before. Raises `Refused`."""
        self._post(ResetBreaker(model))
        await self._make_ready(model)

    def pin(self, model: str, by: str | None) -> None:
        """Keep the model however long it is idle, for whoever `by` names; with None no longer."""
        self._post(Pin(model, by))

    async def _make_ready(self, model: str) -> None:
        (await self.acquire(model)).release()

    async def restart(self, model: str) -> None:
        """Stop the model when its requests have ended, at the latest after `reload.drain`, and load it again.

        Whoever waits for it is refused; whoever asks meanwhile waits for the new instance. Raises `Refused`.
        Cancelling it ends the waiting, and once the model is stopped nothing loads it.
        """
        await self.unload([model], drain=True)
        await self.load(model)

    @property
    def preloads_pending(self) -> tuple[str, ...]:
        """Which models of the preload list have neither been loaded nor failed so far."""
        return self._preloads.pending

    def stop_preloading(self) -> None:
        """Load nothing more on the daemon's own account: it is about to end."""
        self._preloads.stop()

    async def reload(self, config: Config) -> ReloadApplied | None:
        """Apply a new, valid configuration by difference; None if the daemon is ending.

        Cancelling it does not stop the configuration from being applied.
        """
        pending = _PendingReload(config)
        self._reloads.append(pending)
        self._post(Reload(rules_for(config), settings_for(config)))
        await pending.done.wait()
        return pending.applied

    def ports_in_use(self) -> dict[str, int]:
        """The assigned ports that processes hold, by model; of removed models too."""
        return {model: port for (model, _), port in self._ports.items()}

    def shut_down(self, drain_until: float) -> None:
        """Refuse newcomers and waiters, let leases end until `drain_until` (trio time), then stop everything.

        `run` returns when all processes are gone. May be called again, to bring the end forward.
        """
        self._preloads.stop()
        self._post(Shutdown(drain_until))

    def kill_all(self) -> None:
        """End every process tree with SIGKILL, now; for the end that cannot wait."""
        self.shut_down(trio.current_time())
        for control in self._instances.values():
            control.kill()

    async def ping(self) -> None:
        """Return when everything that is in the inbox now has been handled: a sign of life."""
        ping = Ping()
        self._post(ping)
        await ping.answered.wait()

    def last_load(self, model: str) -> tuple[float, float]:
        """When the newest instance of a model was started, and when one was ready last; on trio's clock."""
        record = self._core.records.get(model)
        return (0.0, 0.0) if record is None else (record.started_at, record.ready_at)

    def snapshot(self) -> Snapshot:
        """The state at this moment. For showing; whoever wants a model asks for it with `acquire`."""
        return take_snapshot(self._core)

    def subscribe(self, callback: Callable[[ManagerEvent], None]) -> Callable[[], None]:
        """Call `callback` with every event, in order; it must not block. Returns how to end that."""
        self._subscribers.append(callback)
        return lambda: self._subscribers.remove(callback)

    @property
    def live_instances(self) -> int:
        """How many instances have a process that is not known to be gone."""
        return len(self._instances)

    # -- the actor ---------------------------------------------------------------------------------

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Handle events until a shutdown is complete and no process is left.

        Cancelling it stops every instance with one second of grace; it returns when they are gone.
        """
        self._now = trio.lowlevel.current_clock().current_time  # the same, with two calls less in between
        async with trio.open_nursery() as instances:
            instances.start_soon(self._preloads.run)
            task_status.started()
            while not self._drained.is_set():
                event: Event | Ping = Tick()
                with trio.move_on_at(self._core.next_deadline()):
                    event = await self._inbox.receive()
                    self._unread -= self._must_be_read_first(event)
                self._handle(event, instances)
            self._answer_the_rest()

    def _answer_the_rest(self) -> None:
        """Handle what came in behind the last event: somebody may wait for it. From now on the answer is
        given by `_post` itself.
        """
        while True:
            try:
                event = self._inbox.receive_nowait()
            except trio.WouldBlock:
                return
            self._handle(event, None)

    def _post(self, event: Event | Ping) -> None:
        if self._drained.is_set():
            self._handle(event, None)  # nothing runs any more: the core answers at once
            return
        self._unread += self._must_be_read_first(event)
        self._outbox.send_nowait(event)

    @staticmethod
    def _must_be_read_first(event: Event | Ping) -> bool:
        return type(event) is not LeaseDone and type(event) is not Ping

    def _handle(self, event: Event | Ping, instances: trio.Nursery | None) -> None:
        if isinstance(event, Ping):
            event.answered.set()
            return
        if isinstance(event, Reload):
            self._take_over(self._reloads.popleft(), event, instances)
            return
        begun = time.thread_time()  # a busy machine is not our fault
        if type(event) is Gone:
            self._publish(event)  # first: what follows may be the model's next start
        for effect in self._core.handle(event, trio.current_time()):
            self._carry_out(effect, instances)
        if type(event) is Request:
            _tell_that_it_waits(_as_lease(event.ticket))
        if (taken_s := time.thread_time() - begun) > SLOW_EVENT_S:
            self._log.warn(
                f"deciding took {1000 * taken_s:.0f} ms ({type(event).__name__})",
                event="scheduler.slow",
            )

    def _take_over(self, pending: _PendingReload, event: Reload, instances: trio.Nursery | None) -> None:
        """Let the configuration and the rules made from it change in the same step."""
        if not self._core.shutting_down:
            self._preloads.add(_newly_listed(pending.config, self._config))
            self._config = pending.config
        for effect in self._core.handle(event, trio.current_time()):
            if isinstance(effect, ReloadApplied):
                pending.applied = effect
            self._carry_out(effect, instances)
        pending.done.set()

    def _carry_out(self, effect: Effect, instances: trio.Nursery | None) -> None:
        match effect:
            case Grant(ticket):
                lease = _as_lease(ticket)
                lease.base_url = self._base_urls[lease.model]
                lease.activity = self._activities[lease.model]
                lease.wake()
            case Refuse(ticket):
                _as_lease(ticket).wake()
            case Revoke(ticket, why):
                _revoke(_as_lease(ticket), why, instances)
            case Spawn(model, gen):
                assert instances is not None
                self._spawn(model, gen, instances)
            case Stop(model, gen, grace_s, reason):
                self._log.debug(
                    f"[{model}] stop: {reason.value}, grace {grace_s:g} s", event="model.stopping"
                )
                self._publish(effect)
                if control := self._instances.get((model, gen)):  # else its `Gone` is in the inbox
                    control.request_stop(grace_s)
            case CallDone(call):
                self._calls.pop(call).set()
            case Drained():
                self._drained.set()
            case _:
                self._publish(effect)

    def _publish(self, event: ManagerEvent) -> None:
        self._log_event(event)
        for callback in tuple(self._subscribers):
            callback(event)

    def _log_event(self, event: ManagerEvent) -> None:
        log = self._log
        match event:
            case StateChanged(model, old, new):
                log.info(f"[{model}] {old.value} → {new.value}", event=f"model.{new.value}", model=model)
            case SwapDecided(target, evicted, reason):
                names = ", ".join(evicted)
                log.info(
                    f"[{target}] takes the place of {names}: {reason}", event="swap.decided", model=target
                )
            case StartFailed(model, _, message):
                log.error(f"[{model}] did not start: {message}", event="model.failed", model=model)
            case Crashed(model, _, message):
                log.error(f"[{model}] ended unexpectedly: {message}", event="model.failed", model=model)
            case Preloaded(model, error):
                if error:
                    log.warn(f"[{model}] was not preloaded: {error}", event="model.preloaded", model=model)
                else:
                    log.info(f"[{model}] preloaded", event="model.preloaded", model=model)
            case ReloadApplied():
                log.info(f"configuration applied: {_summary(event)}", event="config.loaded")

    # -- instances ---------------------------------------------------------------------------------

    def _spawn(self, model: str, gen: int, instances: trio.Nursery) -> None:
        config = self._config.models[model]
        self._base_urls[model] = config.proxy.rstrip("/")
        control = self._instances[model, gen] = InstanceControl()
        self._activities[model] = control.activity
        if config.port is not None:
            self._ports[model, gen] = config.port
        # The configuration may be another one by the time the task begins, and this model not in it.
        instances.start_soon(self._run_instance, config, gen, control, name=f"instance {model} #{gen}")

    async def _run_instance(self, config: ModelConfig, gen: int, control: InstanceControl) -> None:
        """One instance from spawn to gone. A bug in here costs its model one start, not the daemon its
        life.
        """
        model = config.id
        try:
            spec = instance_spec(config, gen, self._instance_uuid)
            await run_instance(
                spec, control, self._launcher, self._prober, self._post, self._output_of(model)
            )
        except Exception as error:  # noqa: BLE001
            self._log.error(f"[{model}] internal error: {error!r}", event="model.failed", model=model)
            self._post(Gone(model, gen, Ending(EndingKind.EXITED, message=f"internal error: {error!r}")))
        finally:
            del self._instances[model, gen]
            self._ports.pop((model, gen), None)


@define(eq=False)
class Ping:
    """Nothing for the core: asks whether the actor still handles what is in its inbox."""

    answered: trio.Event = field(factory=trio.Event)


@define(eq=False)
class _PendingReload:
    """A configuration on its way through the inbox, and what came of it."""

    config: Config
    done: trio.Event = field(factory=trio.Event)
    applied: ReloadApplied | None = None


def _as_lease(ticket: Ticket) -> Lease:
    assert isinstance(ticket, Lease)
    return ticket


def _tell_that_it_waits(lease: Lease) -> None:
    if lease.on_waiting is not None and lease.slot is Slot.WAITING:
        lease.on_waiting(lease)


def _revoke(lease: Lease, why: Revocation, nursery: trio.Nursery | None) -> None:
    if lease.slot is not Slot.GRANTED:
        return  # its holder is handing it back for another at this moment
    lease.revoked = why
    if why is Revocation.UPSTREAM_LOST and nursery is not None:
        nursery.start_soon(lease.end_work_after, LAST_BYTES_S)
    else:
        lease.end_work()


def _summary(applied: ReloadApplied) -> str:
    counts = {
        "added": applied.added,
        "removed": applied.removed,
        "restarted": applied.restarted,
        "updated": applied.updated,
        "unchanged": applied.unchanged,
    }
    return ", ".join(f"{len(models)} {word}" for word, models in counts.items() if models) or "no models"


def _newly_listed(new: Config, old: Config) -> list[str]:
    return [model for model in new.preload if model not in old.preload]
