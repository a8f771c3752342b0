"""What the outside may see of the scheduler's state: for showing, never for deciding."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from msgspec import Struct

from swapd.nursery.events import StopReason
from swapd.nursery.records import ModelRecord
from swapd.nursery.scheduler import Scheduler
from swapd.nursery.states import ModelState


class ModelSnapshot(Struct, frozen=True):
    """One model at one moment. Times are monotonic seconds on trio's clock."""

    id: str
    state: ModelState
    pid: int | None
    gen: int
    """Number of its newest instance; 0 before the first."""
    started_at: float
    ready_at: float
    last_use: float
    leases: int
    """Requests being served."""
    queued: int
    reserved: int
    """Requests that count against the concurrency limit: waiting, queued and served."""
    failures: int
    """Failed starts and crashes in a row."""
    retry_at: float | None
    """Set while the breaker is open: nothing is started before."""
    average_load_s: float | None
    pinned_by: str | None
    """Who has its idle time suspended."""
    outdated: bool
    """It runs as an older configuration had it, and is replaced when its requests have ended."""


class Snapshot(Struct, frozen=True):
    """All models, by id in byte order."""

    models: Mapping[str, ModelSnapshot]
    queued: int
    shutting_down: bool


def take_snapshot(scheduler: Scheduler) -> Snapshot:
    models = {id: _of(record, scheduler) for id, record in scheduler.records.items() if not record.removed}
    return Snapshot(MappingProxyType(models), len(scheduler.queue), scheduler.shutting_down)


def _of(record: ModelRecord, scheduler: Scheduler) -> ModelSnapshot:
    return ModelSnapshot(
        id=record.id,
        state=record.state,
        pid=record.pid,
        gen=record.gen,
        started_at=record.started_at,
        ready_at=record.ready_at,
        last_use=record.last_use,
        leases=len(record.leased),
        queued=len(scheduler.queue.of(record.id)),
        reserved=record.reserved,
        failures=record.breaker.failures,
        retry_at=record.breaker.open_until,
        average_load_s=record.average_load_s,
        pinned_by=record.pinned_by,
        outdated=record.condemned is StopReason.RELOADED and record.running,
    )
