"""Looks at the machine at regular intervals, while there is a reason to.

There is a reason while a model runs, while a client follows the readings live, and for some minutes after
somebody has asked for them; Prometheus, which asks every few seconds, keeps it going for good. Otherwise
nothing happens on the machine that could be of interest, and the daemon sleeps without waking up.

Everything is read at the same moment, in threads; one wake-up an interval is all that the event loop has of
it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import trio
from msgspec import Struct

from swapd.observe.sampling import processes
from swapd.observe.sampling.amd import AmdSource
from swapd.observe.sampling.hardware import snapshot
from swapd.observe.sampling.nvidia import NvidiaSource
from swapd.observe.sampling.probe import GpuProbe, GpuSource, ProbeStatus
from swapd.observe.sampling.readings import GPU_FIELDS, SYSTEM_FIELDS, GpuDevice, GpuReading, SystemReading
from swapd.observe.sampling.rings import History, Tick
from swapd.observe.sampling.system import PRIME_S, SystemSource

if TYPE_CHECKING:
    from swapd.config.settings import Performance

ASKED_FOR_S: Final = 600.0
"""How long readings go on after somebody has asked for them."""
UNWATCHED_EVERY_S: Final = 30.0
"""The interval while nobody looks, with `performance.idlePause`."""
WAIT_FOR_FIRST_S: Final = 1.0


class ModelMemory(Struct, frozen=True):
    """What a model's server holds; `vram_mb` by the id of the GPU, None if no GPU could tell."""

    rss_mb: float
    vram_mb: dict[int, float] | None = None


class Sampler:
    """Takes readings and keeps them.

    The mutable state is the history, the ids under which GPUs are shown, what models hold, and until when
    readings are wanted. All methods are for the event loop's thread. `running()` gives the pid of each
    model's server; `publish(kind, value)` takes events, if `wants(kind)`; `report(level, text)` is told of
    troubles.
    """

    def __init__(
        self,
        settings: Performance,
        *,
        wants: Callable[[str], bool],
        publish: Callable[[str, Any], None],
        report: Callable[[str, str], None],
        sources: Sequence[GpuSource] | None = None,
    ) -> None:
        self._settings = settings
        self._wants = wants
        self._publish = publish
        all: Sequence[GpuSource] = [NvidiaSource(), AmdSource()] if sources is None else sources
        self._probes = [GpuProbe(source, report) for source in all]
        self._system = SystemSource()
        self._ids: dict[str, int] = {}
        self._hardware: dict[str, Any] | None = None
        self._wanted_until = -math.inf
        self._sampled_at = -math.inf
        self._wake = trio.Event()
        self._sampled = trio.Event()
        self.running: Callable[[], Mapping[str, int]] = dict
        """Whoever knows sets this."""
        self.observe_lag: Callable[[float], None] = lambda seconds: None
        """Told how much later than planned the event loop has woken us up."""
        self.history = History(len(SYSTEM_FIELDS), len(GPU_FIELDS))
        self.devices: dict[int, GpuDevice] = {}
        """Every GPU that has been seen, by the id under which it is shown."""
        self.models: dict[str, ModelMemory] = {}
        """Of the models that run, at the last reading."""
        self.peaks: dict[str, ModelMemory] = {}
        """The most that a model's server has held since it was started; emptied by `started`."""

    @property
    def enabled(self) -> bool:
        return not self._settings.disabled

    def apply(self, settings: Performance) -> None:
        """Go by these settings from now on; what was read before stays."""
        self._settings = settings
        self.models = self.models if self.enabled else {}
        self._wake.set()

    def probes(self) -> list[ProbeStatus]:
        """What became of the GPU sources that are configured."""
        return [probe.status for probe in self._chosen()]

    async def hardware(self) -> dict[str, Any]:
        """What the machine is, as `/api/hardware` shows it. Raises `HardwareUnknown`."""
        if self._hardware is None:
            accelerators: list[dict[str, Any]] = []
            for probe in self._probes:
                accelerators += await probe.accelerators()
            self._hardware = await trio.to_thread.run_sync(snapshot, accelerators, abandon_on_cancel=True)
        return self._hardware

    def started(self, model: str) -> None:
        """A model's server is being started."""
        self.peaks.pop(model, None)
        self._wake.set()

    def wake(self) -> None:
        """Who wants readings has changed."""
        self._wake.set()

    def asked(self) -> None:
        """Somebody wants readings."""
        self._wanted_until = trio.current_time() + ASKED_FOR_S
        self._wake.set()

    async def fresh(self) -> None:
        """As `asked`; after a pause it also waits for the first new reading, for a second at most."""
        is_stale = self._is_stale()
        self.asked()
        if self.enabled and is_stale:
            with trio.move_on_after(WAIT_FOR_FIRST_S):
                await self._sampled.wait()

    async def run(self) -> None:
        """Take readings until cancelled, which works at any moment: a call that is out then is left alone."""
        while True:
            while self._interval_s() is None:
                self._wake = trio.Event()
                if self._interval_s() is None:
                    await self._wake.wait()
            await self._sample_for_a_while()

    async def _sample_for_a_while(self) -> None:
        """Readings on a regular grid, as long as they are wanted."""
        if self._is_stale():
            await trio.to_thread.run_sync(self._system.prime, abandon_on_cancel=True)
            await trio.sleep(PRIME_S)
        due = trio.current_time()
        while (interval_s := self._interval_s()) is not None:
            await self._sample()
            due += interval_s
            now = trio.current_time()
            if due < now:  # it took longer than an interval, or the machine was asleep
                due = now + interval_s
            await self._sleep_until(due)

    async def _sleep_until(self, due: float) -> None:
        """Until then, or until readings are wanted at shorter intervals than was planned."""
        began = trio.current_time()
        planned_s = self._interval_s() or 0.0
        while trio.current_time() < due:
            self._wake = trio.Event()
            with trio.move_on_at(due) as sleeping:
                await self._wake.wait()
            if sleeping.cancelled_caught:
                self.observe_lag(trio.current_time() - due)
                return
            interval_s = self._interval_s()
            if interval_s is None or (interval_s < planned_s and trio.current_time() >= began + interval_s):
                return

    def _interval_s(self) -> float | None:
        """Seconds from reading to reading, as things are; None if there is no reason for any."""
        if not self.enabled:
            return None
        is_watched = (
            trio.current_time() < self._wanted_until or self._wants("perfsys") or self._wants("perfgpu")
        )
        if is_watched or (self.running() and not self._settings.idle_pause):
            return self._settings.every_s
        return max(UNWATCHED_EVERY_S, self._settings.every_s) if self.running() else None

    def _is_stale(self) -> bool:
        longest_s = max(UNWATCHED_EVERY_S, self._settings.every_s) + 1
        return trio.current_time() - self._sampled_at > longest_s

    def _chosen(self) -> list[GpuProbe]:
        names = self._settings.sources
        if names == "auto":
            return self._probes
        return [probe for probe in self._probes if probe.status.source in names]

    async def _sample(self) -> None:
        chosen = self._chosen()
        gpus: dict[int, tuple[GpuReading, ...]] = {}
        systems: list[SystemReading] = []
        rss: dict[str, tuple[float, set[int]]] = {}
        servers = dict(self.running())

        def read() -> SystemReading:
            for model, pid in servers.items():
                pids = processes.tree(pid)
                rss[model] = processes.resident_mb(pids), pids
            return self._system.read()

        async def read_system() -> None:
            systems.append(await trio.to_thread.run_sync(read, abandon_on_cancel=True))

        async def read_gpus(place: int, probe: GpuProbe) -> None:
            gpus[place] = await probe.read()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read_system)
            for place, probe in enumerate(chosen):
                nursery.start_soon(read_gpus, place, probe)
        if self.enabled:
            readings = tuple(reading for place in range(len(chosen)) for reading in gpus[place])
            self._keep(systems[0], readings, rss)

    def _keep(
        self, system: SystemReading, gpus: tuple[GpuReading, ...], rss: Mapping[str, tuple[float, set[int]]]
    ) -> None:
        ids = tuple(self._ids.setdefault(gpu.device.key, len(self._ids)) for gpu in gpus)
        self.devices.update((id, gpu.device) for id, gpu in zip(ids, gpus, strict=True))
        owners = {pid: model for model, (_, pids) in rss.items() for pid in pids}
        tick = Tick(system.ts_ms, system, gpus, ids, owners if gpus else None)
        self.history.add(tick)
        self.models = {model: ModelMemory(mb, _vram(tick, pids)) for model, (mb, pids) in rss.items() if pids}
        for model, memory in self.models.items():
            before = self.peaks.get(model)
            self.peaks[model] = memory if before is None else _larger(before, memory)
        self._sampled_at = trio.current_time()
        self._sampled.set()
        self._sampled = trio.Event()
        if self._wants("perfsys"):
            self._publish("perfsys", system.as_json())
        if self._wants("perfgpu"):
            for id, gpu in zip(ids, gpus, strict=True):
                self._publish("perfgpu", gpu.as_json(id, tick.ts_ms, owners))


def _vram(tick: Tick, pids: set[int]) -> dict[int, float] | None:
    """What these processes hold on each GPU that tells; None if there is none that does."""
    held: dict[int, float] = {}
    known = False
    for id, gpu in zip(tick.ids, tick.gpus, strict=True):
        known = known or gpu.processes is not None
        for process in gpu.processes or ():
            if process.pid in pids and process.mem_mb is not None:
                held[id] = held.get(id, 0.0) + process.mem_mb
    return held if known else None


def _larger(one: ModelMemory, other: ModelMemory) -> ModelMemory:
    vram = one.vram_mb
    if other.vram_mb is not None:
        vram = dict(vram or {})
        for id, mb in other.vram_mb.items():
            vram[id] = max(vram.get(id, 0.0), mb)
    return ModelMemory(max(one.rss_mb, other.rss_mb), vram)
