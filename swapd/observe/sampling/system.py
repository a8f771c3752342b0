"""Processor, memory, load and network of this machine. For one thread at a time, any thread."""

from __future__ import annotations

import time
from array import array
from pathlib import Path
from typing import Any, Final

from swapd.observe.sampling.readings import MIB, UNKNOWN, SystemReading, system_values

PRIME_S: Final = 0.2
"""The load of a processor is that between two looks; so long after a first one there is a second."""

_PRESSURE: Final = Path("/proc/pressure")
_CGROUP: Final = Path("/sys/fs/cgroup")
_FREQUENCY: Final = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq")


class SystemSource:
    """Reads through psutil, which is loaded with the first look.

    The mutable state is how long each processor had been busy at the last look, and the names of the
    interfaces. psutil's own `cpu_percent` will not do: it remembers the last look of each thread apart, and
    the looks are taken in whatever thread is free.
    """

    def __init__(self, *, cgroup: Path = _CGROUP, pressure: Path = _PRESSURE) -> None:
        self._cgroup = cgroup
        self._pressure = pressure
        self._interfaces: tuple[str, ...] = ()
        self._spent: list[tuple[float, float]] = []

    def prime(self) -> None:
        """Begin to measure the load of the processors; `read` is due `PRIME_S` later at the earliest."""
        import psutil

        self._load(psutil)

    def read(self) -> SystemReading:
        """How things are now; the processors' load is that since the last call, or since `prime`."""
        import psutil

        cores = self._load(psutil)
        memory, swap = psutil.virtual_memory(), psutil.swap_memory()
        load = psutil.getloadavg()
        values = system_values(
            {
                "mem_total_mb": memory.total / MIB,
                "mem_used_mb": memory.used / MIB,
                "mem_free_mb": memory.free / MIB,
                "mem_available_mb": memory.available / MIB,
                "swap_total_mb": swap.total / MIB,
                "swap_used_mb": swap.used / MIB,
                "load_avg_1": load[0],
                "load_avg_5": load[1],
                "load_avg_15": load[2],
                "cpu_util_pct": sum(cores) / len(cores) if cores else UNKNOWN,
                "cpu_freq_mhz": _number(_FREQUENCY, 1000.0),
                "psi_cpu": self._pressure_of("cpu"),
                "psi_mem": self._pressure_of("memory"),
                "psi_io": self._pressure_of("io"),
            }
        )
        interfaces, traffic = self._traffic(psutil)
        return SystemReading(
            ts_ms=time.time_ns() // 1_000_000,
            values=values,
            cores=cores,
            interfaces=interfaces,
            traffic=traffic,
            disk=_disk(psutil),
            cgroup=self._limits(),
        )

    def _load(self, psutil: Any) -> array[float]:
        """The percentage of the time since the last look that each processor was busy; 0 at the first."""
        before, self._spent = self._spent, [_spent(times) for times in psutil.cpu_times(percpu=True)]
        if len(before) != len(self._spent):  # the first look, or a processor has come or gone
            return array("f", [0.0] * len(self._spent))
        return array("f", map(_share, before, self._spent))

    def _traffic(self, psutil: Any) -> tuple[tuple[str, ...], array[int]]:
        counters = {
            name: each
            for name, each in psutil.net_io_counters(pernic=True).items()
            if name != "lo" and not name.startswith("lo0")
        }
        if tuple(counters) != self._interfaces:
            self._interfaces = tuple(counters)
        numbers = [n for each in counters.values() for n in (each.bytes_recv, each.bytes_sent)]
        return self._interfaces, array("Q", numbers)

    def _pressure_of(self, resource: str) -> float:
        """The first line is `some avg10=0.12 avg60=…` (Documentation/accounting/psi.rst of Linux)."""
        words = _text(self._pressure / resource).split()
        if len(words) < 2 or not words[1].startswith("avg10="):
            return UNKNOWN
        return float(words[1][6:])

    def _limits(self) -> tuple[float, float, float] | None:
        """Those of the cgroup (version 2) that a container is in; psutil shows the host."""
        if not (self._cgroup / "memory.current").exists():
            return None
        quota, _, period = _text(self._cgroup / "cpu.max").partition(" ")
        return (
            _number(self._cgroup / "memory.max", MIB),
            _number(self._cgroup / "memory.current", MIB),
            int(quota) / int(period) if quota.isdecimal() and period.isdecimal() else UNKNOWN,
        )


def _spent(times: Any) -> tuple[float, float]:
    """Seconds a processor was busy, and seconds in all. What guests used is part of `user` and `nice`."""
    total = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
    return total - times.idle - getattr(times, "iowait", 0.0), total


def _share(before: tuple[float, float], after: tuple[float, float]) -> float:
    passed = after[1] - before[1]
    return max(0.0, min(100.0, 100 * (after[0] - before[0]) / passed)) if passed > 0 else 0.0


def _disk(psutil: Any) -> tuple[int, int] | None:
    try:
        counters = psutil.disk_io_counters()
    except (OSError, RuntimeError, NotImplementedError):
        return None  # some containers and systems tell nothing
    return None if counters is None else (counters.read_bytes, counters.write_bytes)


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _number(path: Path, unit: float) -> float:
    text = _text(path)
    return int(text) / unit if text.isdecimal() else UNKNOWN
