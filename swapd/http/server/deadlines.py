"""Deadlines of connections: idle, head, gap in a body, linger.

A cancel scope per wait would do, but costs about 5 µs of a request's 40, and nearly every one of these
deadlines is withdrawn again within milliseconds. All waits of one kind are of the same length, so whoever
began first is due first: a dict in order of insertion is the whole queue, and one task watches the oldest
entry of each.
"""

from __future__ import annotations

from math import inf
from typing import Protocol

import trio

from swapd.http.clock import clock


class Waiter(Protocol):
    """Who can run out of time."""

    def expire(self, phase: Phase) -> None:
        """`phase` has lasted its full length. Must neither raise nor block."""


class Phase:
    """One kind of wait, `seconds` long; 0 means without a limit. Mutable state: who is in it, until when."""

    __slots__ = ("_deadlines", "_seconds", "waiting")

    def __init__(self, deadlines: Deadlines, seconds: float) -> None:
        self._deadlines = deadlines
        self._seconds = seconds
        self.waiting: dict[Waiter, float] = {}

    def start(self, waiter: Waiter) -> None:
        """Give `waiter` the phase's time from now, anew if it is in the phase already."""
        if not self._seconds:
            return
        self.waiting.pop(waiter, None)  # an entry that is kept would keep its old place in the queue
        deadline = self.waiting[waiter] = self._deadlines.now() + self._seconds
        if deadline < self._deadlines.wake_at:
            self._deadlines.wake(deadline)

    def stop(self, waiter: Waiter) -> None:
        """Withdraw the deadline, if there is one."""
        self.waiting.pop(waiter, None)


class Deadlines:
    """The phases of one server, and the task that ends them.

    `wake_at` is when that task looks next (monotonic seconds; infinite while nobody waits). It is only ever
    too early: a wait that was withdrawn does not move it back.
    """

    def __init__(self) -> None:
        self._phases: list[Phase] = []
        self._changed = trio.Event()
        self.wake_at = inf
        self.now = clock()

    def phase(self, seconds: float) -> Phase:
        phase = Phase(self, seconds)
        self._phases.append(phase)
        return phase

    def forget(self, waiter: Waiter) -> None:
        """Take `waiter` out of every phase."""
        for phase in self._phases:
            phase.waiting.pop(waiter, None)

    def wake(self, deadline: float) -> None:
        self.wake_at = deadline
        self._changed.set()

    async def watch(self) -> None:
        """Expire whoever is due, until cancelled. Sleeps without a timer while nobody waits."""
        self.now = clock()
        while True:
            self._changed = trio.Event()
            self.wake_at = min((self._earliest(phase) for phase in self._phases), default=inf)
            with trio.CancelScope(deadline=self.wake_at):
                await self._changed.wait()
            now = self.now()
            for phase in self._phases:
                while self._earliest(phase) <= now:
                    waiter = next(iter(phase.waiting))
                    del phase.waiting[waiter]
                    waiter.expire(phase)

    @staticmethod
    def _earliest(phase: Phase) -> float:
        return next(iter(phase.waiting.values()), inf)
