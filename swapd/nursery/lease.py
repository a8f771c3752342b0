"""A lease: one request's permission to talk to one ready instance."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import trio

from swapd.nursery.events import Refusal, Revocation, Slot, Ticket
from swapd.nursery.instance import Activity

if TYPE_CHECKING:
    from swapd.nursery.manager import Manager


NO_ACTIVITY = Activity()
"""What a ticket has that is no lease yet."""


class Refused(Exception):
    """The model cannot be had; `refusal` says why and when to try again."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


class Lease(Ticket):
    """A ticket with what its holder needs. Made by `Manager.acquire` and `Manager.try_acquire` only.

    The manager ends the work when it has to end, with the reason in `revoked`; an instance that dies leaves
    250 ms to deliver what it had sent already. Work that can wait for anything is done inside
    `with lease.scope:`, which is cancelled then. A scope costs as much as a tenth of a short request, so
    whoever knows another way to end the work sets `interrupt` instead, which is called then, in another task.
    Call `release` exactly once, whatever happened; it never blocks."""

    __slots__ = (
        "_decided",
        "_manager",
        "_scope",
        "activity",
        "base_url",
        "interrupt",
        "interrupted",
        "on_waiting",
        "released",
        "revoked",
    )

    def __init__(
        self,
        manager: Manager,
        model: str,
        *,
        ready_only: bool = False,
        queue_timeout_s: float | None = None,
    ) -> None:
        super().__init__(model, ready_only=ready_only, queue_timeout_s=queue_timeout_s)
        self._manager = manager
        self._decided: trio.Event | None = None
        self.base_url = ""
        """Where the instance listens, without a slash at the end: "http://localhost:5800"."""
        self.on_waiting: Callable[[Lease], None] | None = None
        """Called once, when the request has been admitted and has to wait; must not block."""
        self.activity = NO_ACTIVITY
        """To be counted up for every piece of a response that arrives from the instance."""
        self.revoked: Revocation | None = None
        self.interrupt: Callable[[], None] | None = None
        """Ends the work that is done outside `scope`; must not block."""
        self.interrupted = False
        """Whether the work has been told to end."""
        self.released = False
        self._scope: trio.CancelScope | None = None

    @property
    def scope(self) -> trio.CancelScope:
        """What the work is done in. Made when it is first asked for."""
        if self._scope is None:
            self._scope = trio.CancelScope()
            if self.interrupted:
                self._scope.cancel()
        return self._scope

    @property
    def instance_key(self) -> tuple[str, int]:
        """Identifies the instance for as long as the daemon lives."""
        return (self.model, self.gen)

    @property
    def lost(self) -> bool:
        """Whether the instance is gone."""
        return self.revoked is Revocation.UPSTREAM_LOST

    def release(self) -> None:
        """Give the lease back. Synchronous, so that it can stand in a `finally` of a cancelled task."""
        self.released = True
        self._manager.release(self)

    def cancel(self) -> None:
        """End the work, as the manager would: the request itself was cancelled."""
        self.revoked = self.revoked or Revocation.CANCELLED
        self.end_work()

    def end_work(self) -> None:
        """Tell the work that it has to end now. `revoked` says why."""
        self.interrupted = True
        if self.interrupt is not None:
            self.interrupt()
        elif self._scope is not None:
            self._scope.cancel()

    async def end_work_after(self, seconds: float) -> None:
        """The same in a while, unless the lease has been given back by then, or traded in for another.

        Cancelling it ends nothing.
        """
        await trio.sleep(seconds)
        if self.revoked is not None and not self.released:
            self.end_work()

    def wake(self) -> None:
        """Tell the task that its ticket is decided, whether it waits already or will in a moment."""
        if self._decided is None:
            self._decided = trio.Event()
        self._decided.set()

    async def decision(self) -> None:
        """Wait until the ticket is granted or refused."""
        if self._decided is None:
            self._decided = trio.Event()
        await self._decided.wait()

    def wait_again(self) -> None:
        """Become an undecided ticket once more, after the instance was lost.

        No lease from this moment on, although the core may hear of it a little later: whoever is cancelled
        in between has to take back a ticket, not to release a lease.
        """
        self.slot = Slot.WAITING
        self._decided = trio.Event()
        self.revoked = None
        self.interrupt = None
        self.interrupted = False
        self._scope = None
