"""The stage on which the scenarios are played: the real manager, make-believe processes, virtual time.

A test starts the stage with a configuration text and says how each model's processes behave. Then it lets
clients ask for models, finish, or leave; it unloads, reloads, shuts down; and it looks at what happened and
when. All times are seconds since the start of the stage, exact to the microsecond.

Whatever a test does, some things are never allowed. The stage watches for them: a model with two processes,
a move between states that the table does not know, and anything at all that is left over at the end.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import trio
from attrs import define, field
from trio.testing import MockClock, wait_all_tasks_blocked

from swapd.config import Config, loads
from swapd.nursery.events import RefusalCode, ReloadApplied, Revocation, StateChanged, SwapDecided
from swapd.nursery.launcher import LaunchSpec, OutputSink
from swapd.nursery.lease import Lease, Refused
from swapd.nursery.manager import Manager, ManagerEvent
from swapd.nursery.snapshot import ModelSnapshot
from swapd.nursery.states import check_transition
from swapd.observe.logger import Level, LogEntry, Logger
from tests.unit.nursery.fakes import Behaviour, FakeLauncher, FakeProber, FakeProcess

NEWS_WITHIN_S = 0.25
"""How long a client that was refused a connection waits to learn whether its instance is gone."""
SOON_S = 0.03
"""How late a ready server may be noticed."""


class WatchfulLauncher(FakeLauncher):
    """Fails when a process is started while another of its model lives; remembers who lived together."""

    def __init__(self) -> None:
        super().__init__()
        self.lived_together: set[frozenset[str]] = set()

    async def launch(self, spec: LaunchSpec, output: OutputSink) -> FakeProcess:
        assert not self.alive(spec.model), f"a second process of {spec.model}"
        process = await super().launch(spec, output)
        self.lived_together.add(frozenset(each.spec.model for each in self.alive()))
        return process


@define(eq=False)
class Client:
    """Somebody who asked for a model: waits, is served, and then gone.

    It is served for `takes_s` seconds, or until `finish`. Like the proxy it asks once more if its instance
    turns out to be dead before it has sent anything."""

    stage: Stage
    model: str
    takes_s: float | None
    ready_only: bool = False
    queue_timeout_s: float | None = None
    asked_at: float = math.nan
    served_at: float | None = None
    """When it got through to an instance."""
    ended_at: float | None = None
    lease: Lease | None = None
    gens: list[int] = field(factory=list)
    """The instances it was given, the last one last."""
    refused: Refused | None = None
    unreachable: bool = False
    """Neither attempt to talk to the instance came through."""
    broken: Revocation | None = None
    """Why it was cut while it was served."""
    presence: trio.CancelScope = field(factory=trio.CancelScope)
    _may_finish: trio.Event = field(factory=trio.Event)
    _has_gone: trio.Event = field(factory=trio.Event)

    @property
    def waiting(self) -> bool:
        return self.served_at is None and self.ended_at is None

    @property
    def serving(self) -> bool:
        return self.served_at is not None and self.ended_at is None

    @property
    def served(self) -> bool:
        """Served to the end."""
        return self.served_at is not None and self.ended_at is not None and self.broken is None

    @property
    def code(self) -> RefusalCode | None:
        """Why it was refused, if it was."""
        return self.refused.refusal.code if self.refused else None

    @property
    def message(self) -> str:
        return self.refused.refusal.message if self.refused else ""

    @property
    def retry_after_s(self) -> int | None:
        return self.refused.refusal.retry_after_s if self.refused else None

    async def finish(self) -> None:
        """The response has ended."""
        self._may_finish.set()
        await self.stage.settle()

    async def leave(self) -> None:
        """The client closes its connection."""
        self.presence.cancel()
        await self.stage.settle()

    async def gone(self) -> None:
        """Wait until it has been served, was refused, or has left."""
        await self._has_gone.wait()
        await self.stage.settle()

    async def run(self) -> None:
        self.asked_at = self.stage.now
        try:
            with self.presence:
                await self._ask()
        except Refused as refused:
            self.refused = refused
        finally:
            self.ended_at = self.stage.now
            self._has_gone.set()

    async def _ask(self) -> None:
        manager = self.stage.manager
        lease = None
        if not self.ready_only and self.queue_timeout_s is None:
            lease = manager.try_acquire(self.model)
        if lease is None:
            lease = await manager.acquire(
                self.model, ready_only=self.ready_only, queue_timeout_s=self.queue_timeout_s
            )
        if not await self._use(lease):
            self.unreachable = not await self._use(await manager.acquire_again(lease))

    async def _use(self, lease: Lease) -> bool:
        """Talk to the instance; False if it was dead before that, and the lease is to be traded in."""
        self.lease = lease
        self.gens.append(lease.gen)
        dead = False
        try:
            with lease.scope:
                if not self.stage.answers(lease):
                    with trio.move_on_after(NEWS_WITHIN_S):
                        await self.stage.has_gone(lease).wait()
                    dead = lease.lost
                if not dead:
                    self.served_at = self.stage.now
                    await self._be_served()
            if lease.scope.cancelled_caught:
                self.broken = lease.revoked
        finally:
            if not dead:
                lease.release()
        return not dead

    async def _be_served(self) -> None:
        with trio.move_on_after(math.inf if self.takes_s is None else self.takes_s):
            await self._may_finish.wait()


@define(eq=False)
class Call:
    """An unload in progress: `done_at` is set when it has returned."""

    done_at: float | None = None


@define(eq=False)
class Stage:
    """See the module's docstring. Tasks run in `nursery`."""

    nursery: trio.Nursery
    launcher: WatchfulLauncher = field(factory=WatchfulLauncher)
    prober: FakeProber = field(init=False)
    manager: Manager = field(init=False)
    config: Config = field(init=False)
    clients: list[Client] = field(factory=list)
    events: list[tuple[float, ManagerEvent]] = field(factory=list)
    log: list[LogEntry] = field(factory=list)
    ended_at: float | None = None
    """When the manager had shut down."""
    _ended: trio.Event = field(factory=trio.Event)
    _gone: dict[tuple[str, int], trio.Event] = field(factory=dict)
    _started_at: float = math.nan

    # -- the play ------------------------------------------------------------------------------------------

    async def start(self, text: str, **behaviours: Behaviour | Sequence[Behaviour]) -> None:
        """Raise the curtain: `behaviours` says how the processes of a model behave, one after the other."""
        for model, behaviour in behaviours.items():
            self.plan(model, *([behaviour] if isinstance(behaviour, Behaviour) else behaviour))
        assert isinstance(trio.lowlevel.current_clock(), MockClock), "the test does not take `clock`"
        self._started_at = trio.current_time()
        self.prober = FakeProber(self.launcher)
        self.config = load(text)
        self.manager = Manager(
            self.config,
            self.launcher,
            self.prober,
            log=Logger(self.log.append, Level.DEBUG),
            output_of=lambda model: lambda chunk, is_stderr: None,
            instance_uuid="stage",
        )
        self.manager.subscribe(self._note)
        await self.nursery.start(self._run_manager)

    async def request(
        self,
        model: str,
        takes_s: float | None = None,
        *,
        ready_only: bool = False,
        queue_timeout_s: float | None = None,
    ) -> Client:
        """Somebody asks for a model. Returns when everything has come to rest, at the same instant."""
        client = Client(self, model, takes_s, ready_only, queue_timeout_s)
        self.clients.append(client)
        self.nursery.start_soon(client.run)
        await self.settle()
        return client

    async def requests(self, models: str, takes_s: float | None = None) -> list[Client]:
        """Several clients, one after the other in the same instant; a model is a letter here."""
        return [await self.request(model, takes_s) for model in models]

    async def have_ready(self, *models: str) -> None:
        """Load these models, one after the other, and leave them idle."""
        for model in models:
            client = await self.request(model, takes_s=0)
            await client.gone()
            assert client.served, client
            assert self.state(model) == "ready"

    async def unload(self, *models: str, drain: bool = False, timeout_s: float | None = None) -> Call:
        """Unload these models, or all."""
        call = Call()

        async def run() -> None:
            await self.manager.unload(models or None, drain=drain, timeout_s=timeout_s)
            call.done_at = self.now

        self.nursery.start_soon(run)
        await self.settle()
        return call

    async def reload(self, text: str) -> ReloadApplied:
        """Apply a configuration as the daemon would, with the ports in use; returns what it did."""
        ports = {id: model.port for id, model in self.config.models.items() if model.port is not None}
        self.config = load(text, ports)
        applied = await self.manager.reload(self.config)
        assert applied is not None
        await self.settle()
        return applied

    async def shut_down(self, drain_s: float = 30.0) -> None:
        """Begin the shutdown; `ended_at` tells when it is complete."""
        self.manager.shut_down(trio.current_time() + drain_s)
        await self.settle()

    def plan(self, model: str, *behaviours: Behaviour) -> None:
        """How the next processes of a model behave; the last of these stays in force."""
        self.launcher.plan(model, *behaviours)

    def process(self, model: str) -> FakeProcess:
        """The newest process of a model."""
        return self.launcher.process(model)

    async def settle(self) -> None:
        """Let everything happen that happens at this instant."""
        await wait_all_tasks_blocked()

    async def at(self, time_s: float) -> None:
        """Wait until this time, and for everything that happens then."""
        assert time_s >= self.now, f"it is {self.now} already"
        await trio.sleep_until(self._started_at + time_s)
        await self.settle()

    # -- what can be seen ----------------------------------------------------------------------------------

    @property
    def now(self) -> float:
        return self.time(trio.current_time())

    def time(self, when: float) -> float:
        """Trio's time as seconds since the start, without the dust of floating point."""
        return round(when - self._started_at, 6)

    def model(self, model: str) -> ModelSnapshot:
        return self.manager.snapshot().models[model]

    def state(self, model: str) -> str:
        return self.model(model).state.value

    def states(self, models: str) -> list[str]:
        """The states of several models; a model is a letter here."""
        return [self.state(model) for model in models]

    def moves(self, model: str) -> list[str]:
        """Every change of a model's state, in words."""
        changes = [event for _, event in self.events if isinstance(event, StateChanged)]
        return [f"{each.old.value}→{each.new.value}" for each in changes if each.model == model]

    def times(self, model: str, state: str) -> list[float]:
        """When the model got into this state."""
        return [
            when
            for when, event in self.events
            if isinstance(event, StateChanged) and event.model == model and event.new.value == state
        ]

    def spawns(self, model: str | None = None) -> list[str]:
        """Whose processes were started, in order."""
        return [spec.model for spec in self.launcher.launched if model in (None, spec.model)]

    def signals(self, model: str) -> list[tuple[str, float]]:
        """What the newest process of the model was sent, and when."""
        return [(name, self.time(when)) for name, when in self.process(model).signals]

    @property
    def swaps(self) -> list[tuple[str, tuple[str, ...]]]:
        """Who took whose place, in order."""
        return [(each.target, each.evicted) for _, each in self.events if isinstance(each, SwapDecided)]

    @property
    def queue(self) -> list[tuple[int | None, str]]:
        """The queue as a progress display would show it: positions and models."""
        return [(ticket.position, ticket.model) for ticket in self.manager._core.queue.ordered()]

    @property
    def served_order(self) -> str:
        """The models of the clients that were served, in the order of the times at which they were."""
        served = [client for client in self.clients if client.served_at is not None]
        return "".join(client.model for client in sorted(served, key=lambda each: each.served_at or 0))

    def being_served(self, model: str) -> list[Client]:
        """Who has a lease on the model, in the order of granting."""
        leases = self.manager._core.records[model].leased
        return [client for lease in leases for client in self.clients if client.lease is lease]

    def errors(self) -> list[str]:
        """The error lines of the daemon's log."""
        return [entry.message for entry in self.log if entry.level >= Level.ERROR]

    # -- for clients ---------------------------------------------------------------------------------------

    def answers(self, lease: Lease) -> bool:
        """Whether the process behind a lease lives."""
        return any(
            process.alive and (process.spec.model, process.spec.gen) == lease.instance_key
            for process in self.launcher.processes
        )

    def has_gone(self, lease: Lease) -> trio.Event:
        """Set when the instance of a lease has been reported gone."""
        return self._gone.setdefault(lease.instance_key, trio.Event())

    # -- the end -------------------------------------------------------------------------------------------

    async def clear(self) -> None:
        """Send everybody home, shut down, and look whether anything is left."""
        if math.isnan(self._started_at):
            return
        for client in self.clients:
            client.presence.cancel()
        await self.settle()
        self._check_nobody_is_left()
        if not self._ended.is_set():
            await self.shut_down()
        with trio.fail_after(3600):
            await self._ended.wait()
        await self.settle()
        self._check_nothing_is_left()
        self._check_moves()

    def _check_nobody_is_left(self) -> None:
        for model in self.manager.snapshot().models.values():
            assert (model.leases, model.queued, model.reserved) == (0, 0, 0), model
        assert all(client.ended_at is not None for client in self.clients)

    def _check_nothing_is_left(self) -> None:
        assert self.manager.live_instances == 0
        assert self.launcher.alive() == []
        assert not self.manager._core.swaps
        assert not self.manager._core.queue
        assert self.manager._core.next_deadline() == math.inf

    def _check_moves(self) -> None:
        last: dict[str, StateChanged] = {}
        for _, event in self.events:
            if not isinstance(event, StateChanged):
                continue
            check_transition(event.model, event.old, event.new)
            if event.model in last and last[event.model].new.value != "shutdown":
                assert last[event.model].new is event.old, f"{last[event.model]}, then {event}"
            last[event.model] = event

    # -- behind the scenes ---------------------------------------------------------------------------------

    async def _run_manager(self, *, task_status: trio.TaskStatus[None]) -> None:
        await self.manager.run(task_status=task_status)
        self.ended_at = self.now
        self._ended.set()

    def _note(self, event: ManagerEvent) -> None:
        self.events.append((self.now, event))
        if isinstance(event, StateChanged) and event.new.value in ("stopped", "shutdown"):
            self._gone.setdefault((event.model, event.gen), trio.Event()).set()


def load(text: str, ports: dict[str, int] | None = None) -> Config:
    """The configuration of a text, which must be free of problems."""
    loaded = loads(text, environ={}, sticky_ports=ports or {})
    assert loaded.config is not None, loaded.problems
    assert not loaded.problems, loaded.problems
    return loaded.config


def on_change(stage: Stage, do: Callable[[StateChanged], None]) -> None:
    """Do something in the very step in which the manager tells of a change of state."""
    stage.manager.subscribe(lambda event: do(event) if isinstance(event, StateChanged) else None)
