"""Asking drivers that may not be there, may fail, or may never answer.

A call into a driver happens in a thread and has a deadline. One that passes it is left alone: nobody waits
for it any more, and no second one is sent after it until it has come back. What fails is asked less and less
often, and said once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol, TypeVar

import trio
from msgspec import Struct

from swapd.observe.sampling.readings import GpuReading

DEADLINE_S: Final = 3.0
FIRST_PAUSE_S: Final = 5.0
LONGEST_PAUSE_S: Final = 60.0

T = TypeVar("T")


class Absent(Exception):
    """There is nothing of this kind on the machine; the text says how that was found out."""


class Broken(Exception):
    """Something is there, but it does not answer as it should; the text says what it said."""


class GpuSource(Protocol):
    """One way to look at GPUs. Its methods block, are called one at a time and in any thread, and raise
    `Absent` or `Broken`. What it holds open after an error it gives back itself."""

    @property
    def name(self) -> str: ...

    def read(self) -> tuple[GpuReading, ...]:
        """All GPUs, always in the same order."""

    def accelerators(self) -> list[dict[str, Any]]:
        """What they are, as `/api/hardware` shows it, without the index and with a member `pci`."""


class ProbeStatus(Struct, frozen=True):
    """What became of the last try; `message` is for people."""

    source: str
    ok: bool
    message: str

    def as_json(self) -> dict[str, Any]:
        return {"source": self.source, "ok": self.ok, "message": self.message}


class GpuProbe:
    """Asks one source, with a deadline.

    The mutable state is the status, when to try again, and whether a call is still out. `report(level, text)`
    is told when something that worked no longer does, when a driver is broken, and when it works again.
    """

    def __init__(
        self, source: GpuSource, report: Callable[[str, str], None], *, deadline_s: float = DEADLINE_S
    ) -> None:
        self._source = source
        self._report = report
        self._deadline_s = deadline_s
        self._pause_s = 0.0
        self._retry_at = -float("inf")
        self._is_out = False
        self._complained = False
        self.status = ProbeStatus(source.name, False, "not tried yet")

    async def read(self) -> tuple[GpuReading, ...]:
        """The GPUs of the source; none if it is not there or does not answer. Takes `DEADLINE_S` at most.

        May be cancelled at any time; a call that is out then is left alone.
        """
        if self._is_out or trio.current_time() < self._retry_at:
            return ()
        try:
            readings = await self.call(self._source.read)
        except Absent as absent:
            self._failed(str(absent), is_absent=True)
            return ()
        except Broken as broken:
            self._failed(str(broken))
            return ()
        self._worked(len(readings))
        return readings

    async def accelerators(self) -> list[dict[str, Any]]:
        """What there is, for the description of the hardware; nothing if it cannot be told."""
        if self._is_out:
            return []
        try:
            return await self.call(self._source.accelerators)
        except (Absent, Broken):
            return []

    async def call(self, function: Callable[[], T]) -> T:
        """Its result, out of a thread. Raises what it raises, and `Broken` if it takes too long."""

        def called() -> T:
            try:
                return function()
            finally:
                self._is_out = False

        self._is_out = True
        with trio.move_on_after(self._deadline_s):
            return await trio.to_thread.run_sync(called, abandon_on_cancel=True)
        raise Broken(f"the driver has not answered within {self._deadline_s:g} s")

    def _failed(self, message: str, *, is_absent: bool = False) -> None:
        worked = self.status.ok
        self.status = ProbeStatus(self._source.name, False, message)
        if is_absent:
            self._pause_s = LONGEST_PAUSE_S
        else:
            self._pause_s = min(max(2 * self._pause_s, FIRST_PAUSE_S), LONGEST_PAUSE_S)
        self._retry_at = trio.current_time() + self._pause_s
        if (worked or not is_absent) and not self._complained:
            self._complained = True
            self._report("warn", f"GPU readings from {self._source.name} have failed: {message}")

    def _worked(self, count: int) -> None:
        gpus = "1 GPU" if count == 1 else f"{count} GPUs"
        if not self.status.ok:
            self.status = ProbeStatus(self._source.name, True, gpus)
            if self._complained:
                self._report("info", f"GPU readings from {self._source.name} work again")
        self._pause_s = 0.0
        self._complained = False
