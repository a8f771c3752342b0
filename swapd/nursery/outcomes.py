"""What becomes of a model, its swap and those who wait when its instance reports something.

The instance is a process with a will of its own: it becomes ready, takes too long, crashes, hangs, or does
not die. For the decision core each of these is an event like any other; here is what follows from it.
"""

from __future__ import annotations

from collections.abc import Callable

from swapd.nursery import refusals
from swapd.nursery.context import Context
from swapd.nursery.events import Refusal, StopReason
from swapd.nursery.lifecycle import Lifecycle
from swapd.nursery.records import ModelRecord
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
from swapd.nursery.states import ModelState
from swapd.nursery.swaps import Swaps
from swapd.nursery.unloads import Unloads

RESTART_PAUSE_MIN_S = 1.0
"""Between a failed start on the daemon's own account and the next, when no breaker prescribes more."""


class Outcomes:
    """Carries the reports of instances into the states of the models. It has no state of its own."""

    def __init__(
        self,
        context: Context,
        lifecycle: Lifecycle,
        swaps: Swaps,
        unloads: Unloads,
        refuse_queued: Callable[[ModelRecord, Refusal], None],
    ) -> None:
        self._context = context
        self._lifecycle = lifecycle
        self._swaps = swaps
        self._unloads = unloads
        self._refuse_queued = refuse_queued

    def take(self, record: ModelRecord, report: InstanceReport) -> None:
        """Do what the report of the current instance of a model asks for."""
        match report:
            case Spawned(pid=pid):
                record.pid = pid
            case Ready() if record.state is ModelState.STARTING:  # else the stop was handled first
                self._lifecycle.became_ready(record)
                if swap := self._swaps.active.get(record.id):
                    self._swaps.advance(swap)
            case StartTimedOut(message=message) if record.state is ModelState.STARTING:
                self._lifecycle.change_state(record, ModelState.STOPPING)
                self._start_failed(record, refusals.start_timed_out(message))
            case Exited() if record.state is ModelState.READY:
                self._lifecycle.exited(record)
            case Unresponsive(message=message) if record.state is ModelState.READY:
                self._lifecycle.unresponsive(record)
                self._crashed(record, message)
            case Gone(ending=ending):
                self._gone(record, ending)
            case StopStuck():
                record.stuck = True
                self._swaps.model_stuck(record)

    def _gone(self, record: ModelRecord, ending: Ending) -> None:
        was = record.state
        self._lifecycle.gone(record)
        if was is ModelState.STARTING and ending.kind is EndingKind.STOPPED:
            if swap := self._swaps.active.get(record.id):
                self._swaps.fail(swap, refusals.start_aborted(record.id))
        elif was is ModelState.STARTING:
            self._start_failed(record, refusals.start_failed(ending.message))
        elif was is ModelState.READY:
            self._crashed(record, ending.message)
        self._lifecycle.pardon(record)
        self._unloads.stopped(record)
        self._swaps.model_stopped(record)
        if record.removed:
            self._lifecycle.drop(record)

    def _start_failed(self, record: ModelRecord, refusal: Refusal) -> None:
        now = self._context.now
        retry_at = self._lifecycle.start_failed(record, refusal)
        if (swap := self._swaps.active.get(record.id)) and not swap.aborted:
            if swap.keep:
                base_s = self._context.settings.breaker.base_s
                self._lifecycle.arm_restart(record, retry_at or now + max(base_s, RESTART_PAUSE_MIN_S))
            self._swaps.fail(swap, refusal)
        if retry_at is not None:
            self._refuse_queued(record, refusal)

    def _crashed(self, record: ModelRecord, message: str) -> None:
        retry_at = self._lifecycle.crashed(record, message)
        if record.condemned is not StopReason.UNLOADED:
            self._lifecycle.arm_restart(record, retry_at or self._context.now)
