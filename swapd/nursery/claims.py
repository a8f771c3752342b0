"""Claims: the bound on how long a busy model can keep another from being served.

A model whose oldest queued ticket has waited for its `max_wait_s` gets a *claim*: its tickets go to the
front of the queue, and every model that would prolong or undo its wait is *shadowed*: it gets no new leases
until the claim has ended. A claim ends with its model's last queued ticket: when its swap starts, all of
them have become waiters. Of two claims the one with the earlier deadline goes first, so claims cannot wait
for each other."""

from __future__ import annotations

from swapd.nursery.context import Context
from swapd.nursery.swaps import Swaps
from swapd.nursery.ticket_queue import TicketQueue


class Claims:
    """Who has waited long enough, and whom that holds back. The claims themselves are kept by the queue."""

    def __init__(self, context: Context, queue: TicketQueue, swaps: Swaps) -> None:
        self._context = context
        self._queue = queue
        self._swaps = swaps

    def watch(self, model: str, max_wait_s: float) -> None:
        """Arm the timer at which the model's oldest queued ticket has waited long enough; 0 s is never."""
        if max_wait_s and model not in self._queue.claims:
            self._context.timers.set(("claim", model), self._queue.oldest(model) + max_wait_s)

    def due(self, model: str, max_wait_s: float) -> None:
        """The timer has fired: make the claim, if the ticket that armed it still waits."""
        if not max_wait_s or not self._queue.of(model):
            return
        deadline = self._queue.oldest(model) + max_wait_s
        if self._context.now >= deadline:
            self._queue.claim(model, deadline)
        else:
            self.watch(model, max_wait_s)

    def is_shadowed(self, model: str) -> bool:
        """Whether serving the model would prolong, or undo, the wait of a claim that stands before it."""
        for claimant in self._queue.claimed():
            if claimant == model:
                return False
            if self._shadows(claimant, model):
                return True
        return False

    def _shadows(self, claimant: str, model: str) -> bool:
        policy, view_for = self._context.settings.policy, self._swaps.view_for
        would_stop = policy.evict(claimant, view_for(claimant, and_running=[model])) or ()
        would_be_stopped = policy.evict(model, view_for(model, and_running=[claimant])) or ()
        return model in would_stop or claimant in would_be_stopped
