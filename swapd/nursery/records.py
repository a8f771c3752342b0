"""The scheduler's mutable state, apart from the queue: a record a model, an object a swap."""

from __future__ import annotations

from collections.abc import Hashable

from attrs import define, field

from swapd.nursery.breaker import Breaker
from swapd.nursery.events import ModelRules, StopReason, Ticket
from swapd.nursery.states import RUNNING, ModelState
from swapd.nursery.timers import TimerKey

ABORT_GRACE_S = 5.0
"""A server that was not ready yet has nothing to lose: it gets at most this long to go."""


class ReservationUnderflow(AssertionError):
    """A reservation was given back that nobody held: always a bug in swapd."""


@define(eq=False)
class ModelRecord:
    """What the scheduler knows of one model. Only `Scheduler` changes it."""

    id: str
    rules: ModelRules
    state: ModelState = ModelState.STOPPED
    gen: int = 0
    """The newest instance, running or not; 0 before the first."""
    pid: int | None = None
    launch: Hashable = None
    """What the newest instance was started from (`ModelRules.launch` of that moment)."""
    started_at: float = 0.0
    ready_at: float = 0.0
    last_use: float = 0.0
    """Became ready, or last lease ended, whichever is later: where the idle time counts from."""
    reserved: int = 0
    """Tickets that count against the concurrency limit: waiting, queued and leased."""
    leased: dict[Ticket, None] = field(factory=dict)
    """Leases on the newest instance, in the order of granting."""
    orphaned: dict[Ticket, None] = field(factory=dict)
    """Leases on instances that are gone, until their holders have noticed and released them."""
    breaker: Breaker = field(factory=Breaker)
    loads: int = 0
    load_total_s: float = 0.0
    condemned: StopReason | None = None
    """No new leases; stopped for this reason when the last one ends."""
    condemned_grace_s: float | None = None
    """The grace of that stop, if it is not the configured one."""
    pinned_by: str | None = None
    """Who wants it kept, however long it is idle."""
    removed: bool = False
    """Not configured any more; the record goes when its process has gone."""
    exited: bool = False
    """Its process has ended by itself, and the rest of its tree is being removed: no new leases."""
    stuck: bool = False
    """Killed, and still there."""
    hot_epoch: int = -1
    """The epoch of the scheduler in which the conditions of the hot path were last found true."""
    ttl_key: TimerKey = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.ttl_key = ("ttl", self.id)

    @property
    def running(self) -> bool:
        return self.state in RUNNING

    @property
    def grants(self) -> bool:
        """Whether it may be given new leases, as far as it is concerned itself."""
        return self.state is ModelState.READY and not self.condemned and not self.exited

    @property
    def ttl_s(self) -> float:
        """How long it may be idle; 0: for ever."""
        return 0.0 if self.pinned_by is not None else self.rules.ttl_s

    @property
    def average_load_s(self) -> float | None:
        return self.load_total_s / self.loads if self.loads else None

    def give_back(self) -> None:
        """Return one reservation."""
        if self.reserved <= 0:
            raise ReservationUnderflow(self.id)
        self.reserved -= 1


@define(eq=False)
class Swap:
    """The plan "stop `evict`, then make `target` ready", from its decision to its end.

    Phases: *evicting* while `pending` is not empty, then *starting*. An aborted swap starts nothing any
    more but goes on colliding with others until the stops it began are finished."""

    target: str
    evict: tuple[str, ...]
    waiters: list[Ticket]
    pending: set[str] = field(factory=set)
    """Members of `evict` that have not stopped yet."""
    gen: int | None = None
    """The instance it started, once it has."""
    aborted: bool = False
    keep: bool = False
    """Started on the daemon's own account, so having no waiters does not make it abandoned."""
    deserted_at: float | None = None
    """When the last waiter left."""
