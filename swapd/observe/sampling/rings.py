"""The past of the machine: every reading of the last hour, and what is left of them later.

Readings older than an hour live on as lowest, mean and highest value of a minute for a day, and of ten
minutes for a week.
"""

from __future__ import annotations

import math
from array import array
from collections import deque
from collections.abc import Iterator
from typing import Final

from msgspec import Struct

from swapd.observe.sampling.readings import GpuReading, SystemReading

RAW_MS: Final = 3_600_000


class Resolution(Struct, frozen=True):
    """How coarse, and for how long; in milliseconds."""

    width_ms: int
    keep_ms: int


RESOLUTIONS: Final = {
    "1m": Resolution(60_000, 24 * 3_600_000),
    "10m": Resolution(600_000, 7 * 24 * 3_600_000),
}


class Tick(Struct, frozen=True, gc=False):
    """Everything that was seen at one moment; `ids` are those under which the GPUs are shown."""

    ts_ms: int
    system: SystemReading
    gpus: tuple[GpuReading, ...] = ()
    ids: tuple[int, ...] = ()
    owners: dict[int, str] | None = None
    """To which model a process belongs."""


class Summary(Struct, frozen=True, gc=False):
    """The readings of one span of time, which begins at `ts_ms`. NaN where a field was never known."""

    ts_ms: int
    low: array[float]
    mean: array[float]
    high: array[float]


class SummaryRing:
    """Summaries of equal spans, the one that is not over included.

    The mutable state is the finished summaries and what has come of the open span; `add` changes both.
    """

    def __init__(self, resolution: Resolution, fields: int) -> None:
        self._resolution = resolution
        self._fields = fields
        self._done: deque[Summary] = deque()
        self._start_ms = -1
        self._begin()

    def _begin(self) -> None:
        self._counts = [0] * self._fields
        self._sums = [0.0] * self._fields
        self._low = [math.inf] * self._fields
        self._high = [-math.inf] * self._fields

    def add(self, ts_ms: int, values: array[float]) -> None:
        """Take in a reading; one that is older than the open span counts to that too."""
        start = ts_ms - ts_ms % self._resolution.width_ms
        if start > self._start_ms:
            if self._start_ms >= 0:
                self._done.append(self._open())
                self._begin()
            self._start_ms = start
            while self._done and self._done[0].ts_ms < start - self._resolution.keep_ms:
                self._done.popleft()
        for i, value in enumerate(values):
            if value == value:  # not NaN
                self._counts[i] += 1
                self._sums[i] += value
                self._low[i] = min(self._low[i], value)
                self._high[i] = max(self._high[i], value)

    def summaries(self, after_ms: float) -> Iterator[Summary]:
        """Those that begin after this moment, oldest first."""
        for summary in self._done:
            if summary.ts_ms > after_ms:
                yield summary
        if self._start_ms > after_ms:
            yield self._open()

    def _open(self) -> Summary:
        known = self._counts
        return Summary(
            self._start_ms,
            array("f", [low if n else math.nan for n, low in zip(known, self._low, strict=True)]),
            array("f", [total / n if n else math.nan for n, total in zip(known, self._sums, strict=True)]),
            array("f", [high if n else math.nan for n, high in zip(known, self._high, strict=True)]),
        )


class History:
    """The ticks of the last hour, and summaries of older ones.

    The mutable state is the rings; `add` changes them.
    """

    def __init__(self, system_fields: int, gpu_fields: int) -> None:
        self._gpu_fields = gpu_fields
        self.ticks: deque[Tick] = deque()
        self.system = {name: SummaryRing(each, system_fields) for name, each in RESOLUTIONS.items()}
        self.gpus: dict[str, dict[int, SummaryRing]] = {name: {} for name in RESOLUTIONS}

    @property
    def newest(self) -> Tick | None:
        return self.ticks[-1] if self.ticks else None

    def add(self, tick: Tick) -> None:
        self.ticks.append(tick)
        while self.ticks[0].ts_ms <= tick.ts_ms - RAW_MS:
            self.ticks.popleft()
        for name, resolution in RESOLUTIONS.items():
            self.system[name].add(tick.ts_ms, tick.system.values)
            rings = self.gpus[name]
            for id, reading in zip(tick.ids, tick.gpus, strict=True):
                ring = rings.get(id)
                if ring is None:
                    ring = rings[id] = SummaryRing(resolution, self._gpu_fields)
                ring.add(tick.ts_ms, reading.values)

    def after(self, after_ms: float) -> Iterator[Tick]:
        """The ticks later than this moment, oldest first."""
        return (tick for tick in self.ticks if tick.ts_ms > after_ms)
