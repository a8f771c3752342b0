"""The active swaps: stop these, then make that one ready; which of them collide; when one is given up.

A swap is in `active` from the moment it is decided, before any process is touched, so that whoever looks
next sees the commitment. There is at most one a target. See `scheduler.py` for the theory."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from swapd.nursery import refusals
from swapd.nursery.context import Context
from swapd.nursery.events import AbandonLoad, Refusal, StopReason, SwapDecided, Ticket
from swapd.nursery.leasing import grant, refuse
from swapd.nursery.lifecycle import Lifecycle
from swapd.nursery.policy import View
from swapd.nursery.records import ModelRecord, Swap
from swapd.nursery.states import ModelState

ABANDON_AFTER_S = 1.0
"""A load without waiters lives on for this long: people who lost their connection try again."""


class Swaps:
    """The swaps under way, by target, and every step they take."""

    def __init__(self, context: Context, lifecycle: Lifecycle) -> None:
        self._context = context
        self._lifecycle = lifecycle
        self.active: dict[str, Swap] = {}

    # -- what stands in the way of what ------------------------------------------------------------

    def view_for(self, target: str, *, and_running: Iterable[str] = ()) -> View:
        """What runs, or will by the swaps under way, without the target itself."""
        running = set(self._lifecycle.running)
        running.update(swap.target for swap in self.active.values() if not swap.aborted)
        running.update(and_running)
        running.discard(target)
        return View(tuple(sorted(running)))

    def plan_for(self, target: str) -> tuple[str, ...] | None:
        """What must stop for the target now, by the policy; None if the target can never run."""
        return self._context.settings.policy.evict(target, self.view_for(target))

    def is_wanted_away(self, model: str, others: Iterable[str]) -> bool:
        """Whether one of the others could not run beside the model."""
        policy = self._context.settings.policy
        return any(
            model in (policy.evict(other, self.view_for(other, and_running=[model])) or ())
            for other in others
            if other != model
        )

    def collides(self, target: str, plan: Collection[str]) -> bool:
        return any(
            swap.target != target and in_each_others_way(swap, target, plan) for swap in self.active.values()
        )

    # -- the steps of a swap -----------------------------------------------------------------------

    def start(self, record: ModelRecord, plan: tuple[str, ...], waiters: list[Ticket]) -> None:
        """Commit to making the model ready; without waiters it is on the daemon's own account."""
        models = self._lifecycle.models
        pending = {id for id in plan if models[id].running}
        swap = Swap(record.id, plan, waiters, pending=pending, keep=not waiters)
        self.active[record.id] = swap
        if plan:
            reason = self._context.settings.policy.reason(record.id, plan)
            self._context.emit(SwapDecided(record.id, plan, reason))
        for id in plan:
            if models[id].state is ModelState.READY:
                self._lifecycle.stop(models[id], StopReason.EVICTED)
        self.advance(swap)

    def advance(self, swap: Swap) -> None:
        """Take the next step, if what the swap waits for has happened."""
        if swap.pending:
            return
        if swap.aborted:
            self._end_aborted(swap)
            return
        record = self._lifecycle.models[swap.target]
        match record.state:
            case ModelState.READY if record.grants:
                self._finish(swap, record)
            case ModelState.STOPPED:
                self._start_target(swap, record)
            case _:
                pass  # starting, or on its way to be stopped: its report comes

    def _finish(self, swap: Swap, record: ModelRecord) -> None:
        del self.active[swap.target]
        for ticket in swap.waiters:
            grant(self._context, record, ticket)
        self._lifecycle.arm_ttl(record)

    def _end_aborted(self, swap: Swap) -> None:
        started = self._lifecycle.current(swap.target, swap.gen or 0)
        if started is not None and started.running:
            return  # it is being stopped
        del self.active[swap.target]
        if target := self._lifecycle.models.get(swap.target):
            self._lifecycle.arm_ttl(target)  # if it was ready all the time, its timer was let pass

    def _start_target(self, swap: Swap, record: ModelRecord) -> None:
        for ticket in [waiter for waiter in swap.waiters if waiter.ready_only]:
            swap.waiters.remove(ticket)
            refuse(self._context, ticket, refusals.not_loaded(record.id))
        breaker = record.breaker
        if breaker.is_open(self._context.now):
            self.fail(swap, refusals.crash_looping(record.id, breaker, self._context.now))
        elif not swap.waiters and not swap.keep and swap.deserted_at is None:
            del self.active[swap.target]  # nobody in it may cause a load
        else:
            self._lifecycle.spawn(record)
            swap.gen = record.gen

    def model_stopped(self, record: ModelRecord) -> None:
        """Tell every swap that waits for this model to be stopped."""
        for swap in list(self.active.values()):
            if record.id in swap.pending:
                swap.pending.discard(record.id)
                self.advance(swap)
        if swap_for_it := self.active.get(record.id):
            self.advance(swap_for_it)

    # -- how a swap ends otherwise -----------------------------------------------------------------

    def fail(self, swap: Swap, refusal: Refusal) -> None:
        del self.active[swap.target]
        self.refuse_waiters(swap, refusal)

    def refuse_waiters(self, swap: Swap, refusal: Refusal) -> None:
        waiters, swap.waiters = swap.waiters, []
        for ticket in waiters:
            refuse(self._context, ticket, refusal)

    def abort(self, swap: Swap, reason: StopReason) -> None:
        """Let no start follow, and stop the one under way. The swap ends when the stops it began have."""
        if swap.aborted:
            return
        swap.aborted = True
        target = self._lifecycle.models[swap.target]
        if target.state is ModelState.STARTING:
            self._lifecycle.stop(target, reason)
        self.advance(swap)

    def withdraw(self, ticket: Ticket) -> None:
        """Take a ticket out whose task has gone away."""
        swap = self.active.get(ticket.model)
        if swap is not None and ticket in swap.waiters:
            swap.waiters.remove(ticket)
            if not swap.waiters:
                swap.deserted_at = self._context.now

    def model_stuck(self, record: ModelRecord) -> None:
        """Give up what depends on a process that does not die."""
        for swap in list(self.active.values()):
            if record.id in swap.pending or swap.target == record.id:
                self.refuse_waiters(swap, refusals.stop_stuck(record.id))
                self.abort(swap, StopReason.ABANDONED)

    def abandon_deserted(self, queued_models: Iterable[str]) -> bool:
        """End loads that nobody waits for any more and that stand in a queued model's way.

        Returns whether any ended.
        """
        mode = self._context.settings.abandon_load
        if mode is AbandonLoad.NEVER:
            return False
        abandoned = False
        for swap in list(self.active.values()):
            if swap.aborted or swap.waiters or not (swap.keep or swap.deserted_at is not None):
                continue
            due = (swap.deserted_at or 0.0) + ABANDON_AFTER_S
            if self._context.now < due:
                self._context.timers.set(("abandon", swap.target), due)
            elif (mode is AbandonLoad.ALWAYS and not swap.keep) or self._hinders(swap, queued_models):
                self.abort(swap, StopReason.ABANDONED)
                abandoned = True
        return abandoned

    def _hinders(self, swap: Swap, models: Iterable[str]) -> bool:
        return any(
            model != swap.target and in_each_others_way(swap, model, self.plan_for(model) or ())
            for model in models
        )


def in_each_others_way(swap: Swap, target: str, plan: Collection[str]) -> bool:
    """Whether a plan for another target collides with the swap: one would stop what the other needs or
    stops.
    """
    return swap.target in plan or target in swap.evict or not set(swap.evict).isdisjoint(plan)
