"""Loading models before anybody asks for them, as `hooks.on_startup.preload` wants.

One after another and through the scheduler like everybody else, so that policy and limits apply. A model that
fails does not hold up those behind it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterable

import trio
from msgspec import Struct

from swapd.nursery.events import RefusalCode
from swapd.nursery.lease import Refused


class Preloaded(Struct, frozen=True):
    """A model of the preload list has been loaded, or could not be."""

    model: str
    error: str = ""
    """Why not; empty if it is ready."""

    @property
    def success(self) -> bool:
        return not self.error


class Preloads:
    """The models still to be loaded. The mutable state is that list and the load in progress.

    `load` makes one model ready and raises `Refused` if that fails; `report` is told what came of each.
    """

    def __init__(self, load: Callable[[str], Awaitable[None]], report: Callable[[Preloaded], None]) -> None:
        self._load = load
        self._report = report
        self._waiting: deque[str] = deque()
        self._wanted = trio.Event()
        self._scope = trio.CancelScope()

    @property
    def pending(self) -> tuple[str, ...]:
        """Whose turn is still to come, the one that is being loaded first."""
        return tuple(self._waiting)

    def add(self, models: Iterable[str]) -> None:
        """Load these too, after those that wait already; nothing after `stop`."""
        if self._scope.cancel_called:
            return
        self._waiting.extend(model for model in models if model not in self._waiting)
        self._wanted.set()

    def stop(self) -> None:
        """Load no more; the load in progress loses its waiter. Final."""
        self._scope.cancel()
        self._waiting.clear()

    async def run(self) -> None:
        """Load what is added, until `stop` or cancelled; sleeps while there is nothing."""
        with self._scope:
            while True:
                await self._wanted.wait()
                self._wanted = trio.Event()
                while self._waiting:
                    await self._load_first()

    async def _load_first(self) -> None:
        model = self._waiting[0]
        try:
            await self._load(model)
        except Refused as refused:
            if refused.refusal.code is RefusalCode.SHUTTING_DOWN:
                self.stop()
                return
            outcome = Preloaded(model, refused.refusal.message)
        else:
            outcome = Preloaded(model)
        if self._waiting:  # else `stop` came in the same step
            self._waiting.popleft()
            self._report(outcome)
