"""Deadlines the core waits for, as data: the actor asks for the earliest and says when it has passed."""

from __future__ import annotations

import heapq
from math import inf

TimerKey = tuple[str, str]
"""What the timer is for and whom it concerns: ("ttl", "qwen")."""


class Timers:
    """A set of keyed deadlines, in seconds on the caller's monotonic clock.

    The mutable state is `_deadlines`, which is the truth, and `_heap`, which may hold entries that are no
    longer true: those are dropped when they come to the top."""

    __slots__ = ("_deadlines", "_heap")

    def __init__(self) -> None:
        self._deadlines: dict[TimerKey, float] = {}
        self._heap: list[tuple[float, TimerKey]] = []

    def __len__(self) -> int:
        return len(self._deadlines)

    def __contains__(self, key: TimerKey) -> bool:
        return key in self._deadlines

    def set(self, key: TimerKey, deadline: float) -> None:
        """Arm `key`, in place of an earlier deadline of the same key."""
        if self._deadlines.get(key) != deadline:
            self._deadlines[key] = deadline
            heapq.heappush(self._heap, (deadline, key))

    def bring_forward(self, key: TimerKey, deadline: float) -> None:
        """Arm `key`, or let it fire earlier; a deadline later than the present one changes nothing."""
        self.set(key, min(deadline, self._deadlines.get(key, inf)))

    def clear(self, key: TimerKey) -> None:
        """Disarm `key`; nothing happens if it was not armed."""
        self._deadlines.pop(key, None)

    def clear_all(self) -> None:
        """Disarm everything."""
        self._deadlines.clear()
        self._heap.clear()

    def earliest(self) -> float:
        """The next deadline, or infinity."""
        self._drop_stale()
        return self._heap[0][0] if self._heap else inf

    def pop_due(self, now: float) -> list[TimerKey]:
        """Disarm and return every timer whose deadline is not after `now`, the earliest first."""
        due: list[TimerKey] = []
        while self.earliest() <= now:
            _, key = heapq.heappop(self._heap)
            del self._deadlines[key]
            due.append(key)
        return due

    def _drop_stale(self) -> None:
        heap = self._heap
        while heap and self._deadlines.get(heap[0][1]) != heap[0][0]:
            heapq.heappop(heap)
