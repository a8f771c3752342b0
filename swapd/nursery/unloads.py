"""Stopping models because somebody said so, and telling them when all have stopped."""

from __future__ import annotations

from collections.abc import Callable

from swapd.nursery import refusals
from swapd.nursery.context import Context
from swapd.nursery.events import CallDone, Refusal, StopReason, UnloadCall
from swapd.nursery.lifecycle import Lifecycle
from swapd.nursery.records import ModelRecord
from swapd.nursery.states import ModelState


class Unloads:
    """The calls that have not been answered. `refuse_everybody` refuses who waits for a model and aborts its
    swap.
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
        self.calls: list[UnloadCall] = []

    def begin(self, call: UnloadCall) -> None:
        """Stop the models of a call; if it drains, those that serve when they have finished."""
        self.calls.append(call)
        models = self._lifecycle.models
        for id in models if call.models is None else sorted(set(call.models)):
            if (record := models.get(id)) is not None:
                if call.models is not None:  # somebody named it, and may know why it failed
                    record.breaker.reset()
                self._unload(record, call)

    def _unload(self, record: ModelRecord, call: UnloadCall) -> None:
        self._context.timers.clear(("restart", record.id))
        self._refuse_everybody(record, refusals.unloaded(record.id), StopReason.UNLOADED)
        if not record.running:
            return
        call.pending.add(record.id)
        if call.drain and record.leased and record.state is ModelState.READY:
            self._lifecycle.condemn(record, StopReason.UNLOADED, call.timeout_s)
        else:
            self._lifecycle.stop(record, StopReason.UNLOADED, call.timeout_s)

    def stopped(self, record: ModelRecord) -> None:
        """Note that a model has stopped, for whatever reason."""
        for call in self.calls:
            call.pending.discard(record.id)

    def answer(self) -> None:
        """Tell the callers whose models have all stopped."""
        for call in [call for call in self.calls if not call.pending]:
            self.calls.remove(call)
            self._context.emit(CallDone(call))
