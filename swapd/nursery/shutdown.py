"""The end of the daemon: who waits is refused, what is granted may finish, then every process is stopped."""

from __future__ import annotations

from collections.abc import Callable

from swapd.nursery import refusals
from swapd.nursery.context import Context
from swapd.nursery.events import Drained, Refusal, Revocation, Revoke, StopReason
from swapd.nursery.lifecycle import Lifecycle
from swapd.nursery.records import ModelRecord
from swapd.nursery.states import ModelState
from swapd.nursery.timers import TimerKey

DRAIN_TIMER: TimerKey = ("drain", "")


class ShutdownCourse:
    """The course of a shutdown. The mutable state is whether it is complete; that it has begun is known to
    everybody (`Context.drain_until`).

    `refuse_everybody` refuses who waits for a model and aborts its swap.
    """

    def __init__(
        self,
        context: Context,
        lifecycle: Lifecycle,
        refuse_everybody: Callable[[ModelRecord, Refusal, StopReason], None],
    ) -> None:
        self._context = context
        self._lifecycle = lifecycle
        self._refuse_everybody = refuse_everybody
        self.complete = False

    def begin(self, drain_until: float) -> None:
        """Begin, or bring the end of the drain forward."""
        if self.complete:
            return
        context, records = self._context, self._lifecycle.models.values()
        first = context.drain_until is None
        if context.drain_until is None or drain_until < context.drain_until:
            context.drain_until = drain_until
            context.timers.set(DRAIN_TIMER, drain_until)
            for record in records:
                if record.state is ModelState.STOPPING:  # it may have less time now than it was given
                    self._lifecycle.stop(record, StopReason.SHUTDOWN)
        if first:
            for record in records:
                self._refuse_everybody(record, refusals.SHUTTING_DOWN, StopReason.SHUTDOWN)

    def go_on(self) -> None:
        """When the last lease has ended, or the time is over: stop everything, and say so when it is done."""
        context, records = self._context, self._lifecycle.models.values()
        assert context.drain_until is not None
        leased = any(record.leased for record in records)
        if self.complete or (leased and context.now < context.drain_until):
            return
        for record in records:
            if record.state is ModelState.READY:
                for ticket in record.leased:
                    context.emit(Revoke(ticket, Revocation.SHUTTING_DOWN))
                self._lifecycle.stop(record, StopReason.SHUTDOWN)
        if not self._lifecycle.running:
            self.complete = True
            context.timers.clear_all()
            for record in records:
                self._lifecycle.change_state(record, ModelState.SHUTDOWN)
            context.emit(Drained())
