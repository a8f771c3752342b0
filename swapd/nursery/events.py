"""What can happen to the scheduler, and what it asks for in return.

Both directions are plain values. `Scheduler.handle(event, now)` takes one event and returns the effects, in
the order in which they are to be carried out. Reports of instances (`reports.py`) are events too."""

from __future__ import annotations

import enum
from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING

from msgspec import Struct, field

from swapd.nursery.breaker import BreakerSettings
from swapd.nursery.policy import Policy
from swapd.nursery.reports import InstanceReport
from swapd.nursery.states import ModelState

if TYPE_CHECKING:
    from swapd.nursery.records import ModelRecord

# -- what the scheduler knows of the configuration -------------------------------------------------


class ModelRules(Struct, frozen=True):
    """What the scheduler needs to know of one configured model. Times in seconds; 0 means "off" unless said
    otherwise.
    """

    ttl_s: float = 0.0
    """Idle time after which it is unloaded."""
    unload_timeout_s: float = 10.0
    """Grace between the stop signal and SIGKILL; always above 0."""
    concurrency_limit: int = 10
    priority: int = 0
    """Higher goes first in the queue."""
    max_wait_s: float = 0.0
    """How long a request may queue before its model's claim holds others back."""
    queue_timeout_s: float = 0.0
    auto_restart: bool = False
    launch: Hashable = None
    """The identity of what would be started. A reload that changes it replaces the running instance."""


class AbandonLoad(enum.Enum):
    """What becomes of a load that nobody waits for any more."""

    WHEN_NEEDED = "when-needed"
    ALWAYS = "always"
    NEVER = "never"


class Settings(Struct, frozen=True):
    """What the scheduler needs to know of the configuration beside the models."""

    policy: Policy
    min_loaded_s: float = 0.0
    abandon_load: AbandonLoad = AbandonLoad.WHEN_NEEDED
    reload_drain_s: float = 300.0
    breaker: BreakerSettings = BreakerSettings()


# -- tickets and leases ----------------------------------------------------------------------------


class Slot(enum.Enum):
    """Where a ticket stands. Each move is one synchronous step, so the waiting task and the core never
    disagree.
    """

    WAITING = "waiting"
    GRANTED = "granted"
    """It is a lease now."""
    REFUSED = "refused"
    ABANDONED = "abandoned"
    """Its task has gone away; written by that task, never by the core."""
    RELEASED = "released"


class Ticket:
    """One admitted request: waiting for a decision or, once granted, a lease on one instance of its model.

    The state is `slot` (see `Slot`), `gen` (the instance it was granted) and what the queue keeps on it:
    `sequence` (order of arrival), `priority` (the one in force, higher goes first), `arrived_at` and
    `queued_at` (monotonic seconds: when it was admitted, or had to wait once more; when it first queued) and
    `position` (1-based place in the queue, None when not queued), which a progress display may read at any
    time."""

    __slots__ = (
        "arrived_at",
        "gen",
        "model",
        "position",
        "priority",
        "queue_timeout_s",
        "queued_at",
        "ready_only",
        "record",
        "refusal",
        "sequence",
        "slot",
    )

    def __init__(self, model: str, *, ready_only: bool = False, queue_timeout_s: float | None = None) -> None:
        self.model = model
        self.ready_only = ready_only
        """Never to start a model on its behalf."""
        self.queue_timeout_s = queue_timeout_s
        """The client's own limit; it can shorten the configured one, not extend it."""
        self.slot = Slot.WAITING
        self.gen = 0
        self.sequence = 0
        self.priority = 0
        self.arrived_at = 0.0
        self.queued_at: float | None = None
        self.position: int | None = None
        self.refusal: Refusal | None = None
        self.record: ModelRecord | None = None
        """The scheduler's own; set while the ticket holds a reservation."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.model} #{self.sequence} {self.slot.value}>"


class RefusalCode(enum.Enum):
    """Why a request is not served: the values are the error codes of the HTTP API."""

    NOT_FOUND = "not_found"
    CONCURRENCY_LIMIT = "concurrency_limit"
    START_FAILED = "upstream_start_failed"
    START_TIMEOUT = "start_timeout"
    START_ABORTED = "start_aborted"
    MODEL_UNLOADED = "model_unloaded"
    SHUTTING_DOWN = "shutting_down"
    MODEL_NOT_LOADED = "model_not_loaded"
    PROCESS_NOT_READY = "process_not_ready"
    CRASH_LOOPING = "crash_looping"
    QUEUE_TIMEOUT = "queue_timeout"
    INSUFFICIENT_MEMORY = "insufficient_memory"
    STOP_STUCK = "stop_stuck"
    REQUEST_CANCELLED = "request_cancelled"


class Refusal(Struct, frozen=True):
    """Why a request is not served, for the client: `message` is for people; `retry_after_s` in whole
    seconds.
    """

    code: RefusalCode
    message: str
    retry_after_s: int | None = None


class Revocation(enum.Enum):
    """Why a lease ends before its holder has released it."""

    UPSTREAM_LOST = "upstream_lost"
    SHUTTING_DOWN = "shutting_down"
    CANCELLED = "cancelled"


# -- events: what can happen -----------------------------------------------------------------------


class Request(Struct, frozen=True):
    """A new ticket asks for its model."""

    ticket: Ticket


class Requeue(Struct, frozen=True):
    """The instance went away after the grant and before anything was sent to it.

    The ticket, granted so far, keeps its reservation and its place by arrival.
    """

    ticket: Ticket


class Cancel(Struct, frozen=True):
    """The task behind a waiting ticket has gone away."""

    ticket: Ticket


class LeaseDone(Struct, frozen=True):
    """The holder of a lease has finished with it."""

    ticket: Ticket


class UnloadCall(Struct, eq=False):
    """One caller's request to stop models; answered by the effect `CallDone` when all of them are stopped.

    `models` None means all. `timeout_s` replaces the configured grace of each. With `drain` requests in
    progress finish first, at the latest after `Settings.reload_drain_s`."""

    models: tuple[str, ...] | None = None
    timeout_s: float | None = None
    drain: bool = False
    pending: set[str] = field(default_factory=set)
    """Who of them has not stopped yet; the scheduler's own."""


class Unload(Struct, frozen=True):
    call: UnloadCall


class ResetBreaker(Struct, frozen=True):
    """Somebody asked for the model by name of the administration: forget its failures."""

    model: str


class Pin(Struct, frozen=True):
    """Somebody wants the model kept, however long it is idle; with None as `by` not any more.

    It can still be evicted, unloaded and replaced."""

    model: str
    by: str | None


class Reload(Struct, frozen=True):
    """A new, valid configuration: applied in one step, by difference."""

    models: Mapping[str, ModelRules]
    settings: Settings


class Shutdown(Struct, frozen=True):
    """The daemon is to end: refuse newcomers, drain what is granted until `drain_until`, then stop every
    process.

    `drain_until` is monotonic seconds; a second `Shutdown` may only bring it forward.
    """

    drain_until: float


class Tick(Struct, frozen=True):
    """A deadline of the core's own (`Scheduler.next_deadline`) has passed."""


Event = (
    Request
    | Requeue
    | Cancel
    | LeaseDone
    | Unload
    | ResetBreaker
    | Pin
    | Reload
    | Shutdown
    | Tick
    | InstanceReport
)

# -- effects: what the scheduler asks for ----------------------------------------------------------


class Grant(Struct, frozen=True):
    """The ticket is a lease on instance `ticket.gen` of its model now; wake its task."""

    ticket: Ticket


class Refuse(Struct, frozen=True):
    """The ticket will not be served; `ticket.refusal` says why. Wake its task."""

    ticket: Ticket


class Revoke(Struct, frozen=True):
    """End what the lease is used for, as soon as possible. The holder still releases it."""

    ticket: Ticket
    why: Revocation


class Spawn(Struct, frozen=True):
    """Start an instance; its reports carry this `gen`."""

    model: str
    gen: int


class StopReason(enum.Enum):
    """Why swapd stops an instance."""

    EVICTED = "evicted"
    UNLOADED = "unloaded"
    IDLE = "idle"
    ABANDONED = "abandoned"
    RELOADED = "reloaded"
    SHUTDOWN = "shutdown"


class Stop(Struct, frozen=True):
    """Stop an instance within `grace_s`. May come again for the same instance: it may then only get
    shorter.
    """

    model: str
    gen: int
    grace_s: float
    reason: StopReason


class StateChanged(Struct, frozen=True):
    """A model has changed its state."""

    model: str
    old: ModelState
    new: ModelState
    gen: int


class SwapDecided(Struct, frozen=True):
    """A swap has begun: `evicted` are stopped so that `target` can run."""

    target: str
    evicted: tuple[str, ...]
    reason: str


class StartFailed(Struct, frozen=True):
    """A start went wrong; the message is what the waiting requests get."""

    model: str
    gen: int
    message: str
    retry_at: float | None
    """Set when the breaker has opened: nothing is started before that time."""


class Crashed(Struct, frozen=True):
    """A ready instance ended by itself."""

    model: str
    gen: int
    message: str
    retry_at: float | None


class CallDone(Struct, frozen=True):
    """Every model of the call has been stopped since it was made."""

    call: UnloadCall


class ReloadApplied(Struct, frozen=True):
    """What a reload did, by model id; the parts are disjoint."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    restarted: tuple[str, ...]
    """Their launch identity changed. Those that ran are replaced once they are idle."""
    updated: tuple[str, ...]
    unchanged: tuple[str, ...]


class Drained(Struct, frozen=True):
    """Shutting down, and every process is gone: the core will not ask for anything any more."""


Effect = (
    Grant
    | Refuse
    | Revoke
    | Spawn
    | Stop
    | StateChanged
    | SwapDecided
    | StartFailed
    | Crashed
    | CallDone
    | ReloadApplied
    | Drained
)
