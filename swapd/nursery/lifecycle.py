"""The life of each model's instances: spawn, ready, stop, gone; idle time; failures in a row.

This part of the core knows nothing of the queue or of swaps. It moves records through `TRANSITIONS`, arms
the timers that belong to a state, and asks for processes to be started and stopped."""

from __future__ import annotations

from collections.abc import Mapping

from swapd.nursery.context import Context
from swapd.nursery.events import (
    Crashed,
    ModelRules,
    Refusal,
    Revocation,
    Revoke,
    Spawn,
    StartFailed,
    StateChanged,
    Stop,
    StopReason,
)
from swapd.nursery.records import ABORT_GRACE_S, ModelRecord
from swapd.nursery.states import ModelState, check_transition

SHUTDOWN_GRACE_MIN_S = 2.0
"""What a process gets between SIGTERM and SIGKILL at shutdown, however little of the drain time is left."""


class Lifecycle:
    """The records of all models, and every change of their states. `models` is in byte order of the ids."""

    def __init__(self, context: Context, models: Mapping[str, ModelRules]) -> None:
        self._context = context
        self._next_gen = 1
        self.models = {id: ModelRecord(id, models[id]) for id in sorted(models)}
        self.running: set[str] = set()
        """The models in a running state; never to be iterated over unsorted."""

    def add(self, id: str, rules: ModelRules) -> None:
        self.models[id] = ModelRecord(id, rules)
        self.models = {id: self.models[id] for id in sorted(self.models)}

    def current(self, model: str, gen: int) -> ModelRecord | None:
        """The record that a report is about; None if the report is out of date."""
        record = self.models.get(model)
        return record if record is not None and record.gen == gen else None

    # -- start and stop ----------------------------------------------------------------------------

    def spawn(self, record: ModelRecord) -> None:
        record.gen = self._next_gen
        self._next_gen += 1
        record.launch = record.rules.launch
        record.started_at = self._context.now
        self._context.timers.clear(("restart", record.id))
        self.change_state(record, ModelState.STARTING)
        self._context.emit(Spawn(record.id, record.gen))

    def stop(self, record: ModelRecord, reason: StopReason, timeout_s: float | None = None) -> None:
        """Ask for the end of the running instance; of a stop in progress, at most for less grace."""
        grace_s = timeout_s or record.rules.unload_timeout_s
        if self._context.drain_until is not None:
            grace_s = min(grace_s, max(SHUTDOWN_GRACE_MIN_S, self._context.drain_until - self._context.now))
        if record.state is ModelState.STARTING:
            grace_s = min(grace_s, ABORT_GRACE_S)
        if record.state is not ModelState.STOPPING:
            self.change_state(record, ModelState.STOPPING)
        self._context.emit(Stop(record.id, record.gen, grace_s, reason))

    def condemn(self, record: ModelRecord, reason: StopReason, timeout_s: float | None = None) -> None:
        """Grant no new leases; stop the instance when the last one has ended, or when its time is over.

        Condemned once more it is not given more time.
        """
        record.condemned = reason
        record.condemned_grace_s = timeout_s
        drain_s = self._context.settings.reload_drain_s
        self._context.timers.bring_forward(("condemned", record.id), self._context.now + drain_s)
        if not record.leased:
            self.stop_condemned(record)

    def stop_condemned(self, record: ModelRecord) -> None:
        assert record.condemned
        self.stop(record, record.condemned, record.condemned_grace_s)

    def pardon(self, record: ModelRecord) -> None:
        """Take back the sentence of `condemn`."""
        record.condemned = None
        record.condemned_grace_s = None
        self._context.timers.clear(("condemned", record.id))

    def change_state(self, record: ModelRecord, new: ModelState) -> None:
        old = record.state
        check_transition(record.id, old, new)
        record.state = new
        if record.running:
            self.running.add(record.id)
        else:
            self.running.discard(record.id)
        if old is ModelState.READY:
            for timer in ("ttl", "stable", "min_loaded", "condemned"):
                self._context.timers.clear((timer, record.id))
        self._context.emit(StateChanged(record.id, old, new, record.gen))

    def drop(self, record: ModelRecord) -> None:
        """Forget a removed model that has stopped."""
        self.change_state(record, ModelState.SHUTDOWN)
        for timer in ("restart", "abandon", "claim"):
            self._context.timers.clear((timer, record.id))
        del self.models[record.id]

    # -- what instances report ---------------------------------------------------------------------

    def became_ready(self, record: ModelRecord) -> None:
        now = self._context.now
        record.ready_at = record.last_use = now
        record.loads += 1
        record.load_total_s += now - record.started_at
        self.change_state(record, ModelState.READY)
        if record.breaker.failures:
            self._context.timers.set(
                ("stable", record.id), now + self._context.settings.breaker.stable_after_s
            )

    def gone(self, record: ModelRecord) -> None:
        """The instance's processes are gone: end its leases. The breaker has its say separately."""
        record.pid = None
        record.stuck = record.exited = False
        self.change_state(record, ModelState.STOPPED)
        self._cut_leases(record)

    def exited(self, record: ModelRecord) -> None:
        """The leader has ended by itself: end the leases now; the rest of the tree still has to go."""
        record.exited = True
        self._cut_leases(record)

    def unresponsive(self, record: ModelRecord) -> None:
        """The instance is as good as gone: end its leases now, although its processes still have to go."""
        self.change_state(record, ModelState.STOPPING)
        self._cut_leases(record)

    def _cut_leases(self, record: ModelRecord) -> None:
        for ticket in record.leased:
            self._context.emit(Revoke(ticket, Revocation.UPSTREAM_LOST))
        record.orphaned.update(record.leased)
        record.leased.clear()

    def start_failed(self, record: ModelRecord, refusal: Refusal) -> float | None:
        """Count a failed start; return until when the breaker is open now, if it is."""
        retry_at = self._count_failure(record, refusal.message)
        self._context.emit(StartFailed(record.id, record.gen, refusal.message, retry_at))
        return retry_at

    def crashed(self, record: ModelRecord, message: str) -> float | None:
        """Count the crash of a ready instance; one that was stable for long begins a new series.

        Returns until when the breaker is open now, if it is.
        """
        if self._context.now - record.ready_at >= self._context.settings.breaker.stable_after_s:
            record.breaker.reset()
        retry_at = self._count_failure(record, message)
        self._context.emit(Crashed(record.id, record.gen, message, retry_at))
        return retry_at

    def arm_restart(self, record: ModelRecord, at: float) -> None:
        """Start the model again at that time, if it is configured to come back by itself."""
        if record.rules.auto_restart and not record.removed and not self._context.shutting_down:
            self._context.timers.set(("restart", record.id), at)

    def _count_failure(self, record: ModelRecord, cause: str) -> float | None:
        """Return until when the breaker is open now, if it is."""
        context = self._context
        opened = record.breaker.failed(cause, context.now, context.settings.breaker, context.random)
        return record.breaker.open_until if opened else None

    # -- idle time ---------------------------------------------------------------------------------

    def arm_ttl(self, record: ModelRecord) -> None:
        """Wait for the end of the model's idle time, counted from its last use; nothing if it is in use."""
        if record.ttl_s and record.state is ModelState.READY and not record.leased:
            self._context.timers.set(record.ttl_key, record.last_use + record.ttl_s)

    def pin(self, record: ModelRecord, by: str | None) -> None:
        """Suspend the idle time, or with None let it count again, from now."""
        if by is None and record.pinned_by is not None:
            record.last_use = max(record.last_use, self._context.now)
        record.pinned_by = by
        self._context.timers.clear(record.ttl_key)
        self.arm_ttl(record)

    def ttl_due(self, record: ModelRecord) -> None:
        """Stop an idle model. A busy one is left alone: the end of its last lease arms the timer again."""
        if record.state is not ModelState.READY or record.leased or not record.ttl_s:
            return
        if self._context.now >= record.last_use + record.ttl_s:
            self.stop(record, StopReason.IDLE)
        else:
            self.arm_ttl(record)

    def became_idle(self, record: ModelRecord) -> None:
        """The last lease on the instance has ended."""
        if record.state is not ModelState.READY:
            return
        if record.condemned:
            self.stop_condemned(record)
        else:
            self.arm_ttl(record)

    def is_busy(self, record: ModelRecord, *, ignore_minimum_stay: bool) -> bool:
        """Whether the model may not be evicted yet. Arms the timer that ends a minimum stay."""
        if record.state is not ModelState.READY:
            return False
        if record.leased:
            return True
        stays_until = record.ready_at + self._context.settings.min_loaded_s
        if ignore_minimum_stay or self._context.now >= stays_until:
            return False
        self._context.timers.set(("min_loaded", record.id), stays_until)
        return True
