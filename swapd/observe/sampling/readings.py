"""What one look at the machine gives, in a form that is small enough to keep thousands of them.

Numbers stand in arrays, in the order of a table of fields; what is not known is NaN. MiB are 2^20 bytes.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping, Sequence
from typing import Any, Final

from msgspec import Struct

from swapd.observe.timestamps import utc_timestamp

MIB: Final = 1 << 20
UNKNOWN: Final = math.nan

SYSTEM_FIELDS: Final = (
    *("mem_total_mb", "mem_used_mb", "mem_free_mb", "swap_total_mb", "swap_used_mb"),
    *("load_avg_1", "load_avg_5", "load_avg_15"),
    *("mem_available_mb", "cpu_util_pct", "cpu_freq_mhz", "psi_cpu", "psi_mem", "psi_io"),
)
"""`psi_…` is the share of time, in percent of the last ten seconds, in which something waited for it."""

GPU_FIELDS: Final = (
    *("temp_c", "vram_temp_c", "gpu_util_pct", "mem_util_pct", "mem_used_mb", "mem_total_mb"),
    *("fan_speed_pct", "power_draw_w"),
    *("mem_free_mb", "mem_reserved_mb", "sm_clock_mhz", "mem_clock_mhz", "power_limit_w"),
    *("pcie_rx_mbps", "pcie_tx_mbps"),
)

_NEVER_NULL: Final = 8
"""So many of either table have always been numbers on the wire: an unknown one is 0 and listed as unknown."""

_WHOLE: Final = frozenset(
    name for name in (*SYSTEM_FIELDS, *GPU_FIELDS) if name.endswith(("_mb", "_mhz", "temp_c"))
)


class SystemReading(Struct, frozen=True, gc=False):
    """The machine without its GPUs, at one moment (milliseconds since the epoch)."""

    ts_ms: int
    values: array[float]
    """By `SYSTEM_FIELDS`."""
    cores: array[float]
    """Percent, one a core."""
    interfaces: tuple[str, ...]
    traffic: array[int]
    """Bytes received and sent since the boot, for each interface in turn."""
    disk: tuple[int, int] | None = None
    """Bytes read and written since the boot."""
    cgroup: tuple[float, float, float] | None = None
    """Memory limit and use in MiB, and the processors' worth of time that may be used; NaN is no limit."""

    def as_json(self) -> dict[str, Any]:
        shown: dict[str, Any] = {
            "timestamp": utc_timestamp(self.ts_ms * 1_000_000),
            "cpu_util_per_core": [round(value, 1) for value in self.cores],
        }
        shown.update(_numbers(SYSTEM_FIELDS, self.values))
        shown["net_io"] = [
            {"name": name, "bytes_recv": self.traffic[2 * i], "bytes_sent": self.traffic[2 * i + 1]}
            for i, name in enumerate(self.interfaces)
        ]
        disk, cgroup = self.disk, self.cgroup
        shown["disk_io"] = None if disk is None else {"read_bytes": disk[0], "write_bytes": disk[1]}
        shown["cgroup"] = None
        if cgroup is not None:
            names = ("mem_limit_mb", "mem_used_mb", "cpu_quota")
            shown["cgroup"] = {name: _rounded(name, value) for name, value in zip(names, cgroup, strict=True)}
        return shown


class GpuDevice(Struct, frozen=True):
    """Which GPU it is."""

    source: str
    index: int
    """Its place among those of its source."""
    name: str
    vendor: str
    uuid: str = ""
    pci: str = ""
    mem_kind: str = "unknown"
    """"dedicated", "unified", "shared_system" or "unknown"."""

    @property
    def key(self) -> str:
        """What stays the same for as long as the GPU is there."""
        return self.uuid or self.pci or f"{self.source}:{self.index}"


class GpuProcess(Struct, frozen=True):
    """The memory that one process holds on a GPU."""

    pid: int
    mem_mb: float | None


class GpuReading(Struct, frozen=True, gc=False):
    """One GPU at one moment."""

    device: GpuDevice
    values: array[float]
    """By `GPU_FIELDS`."""
    throttle: tuple[str, ...] = ()
    """Why its clocks are held down."""
    processes: tuple[GpuProcess, ...] | None = None
    error: str = ""
    """Why nothing is known of it just now."""

    def as_json(self, id: int, ts_ms: int, models: Mapping[int, str] | None = None) -> dict[str, Any]:
        """`models` says to which model a process belongs."""
        device = self.device
        numbers = _numbers(GPU_FIELDS, self.values)
        owners = models or {}
        return {
            "timestamp": utc_timestamp(ts_ms * 1_000_000),
            "id": id,
            "name": device.name,
            "uuid": device.uuid,
            **numbers,
            "vendor": device.vendor,
            "index": device.index,
            "pci": device.pci or None,
            "mem_kind": device.mem_kind,
            "throttle": list(self.throttle),
            "procs": [
                {"pid": each.pid, "mem_mb": each.mem_mb, "model": owners.get(each.pid)}
                for each in self.processes or ()
            ],
            "source": device.source,
            "error": self.error or None,
            "unknown": [
                name
                for name, value in zip(GPU_FIELDS[:_NEVER_NULL], self.values, strict=False)
                if math.isnan(value)
            ],
        }


def system_values(known: Mapping[str, float]) -> array[float]:
    """`known`, by the order of `SYSTEM_FIELDS`."""
    return array("d", [known.get(name, UNKNOWN) for name in SYSTEM_FIELDS])


def gpu_values(known: Mapping[str, float | None]) -> array[float]:
    """`known` by the order of `GPU_FIELDS`, with what follows from it: the share of memory that is used."""
    numbers = {name: value for name, value in known.items() if value is not None}
    used, total = numbers.get("mem_used_mb"), numbers.get("mem_total_mb")
    if used is not None and total:
        numbers.setdefault("mem_util_pct", 100 * used / total)
    return array("d", [numbers.get(name, UNKNOWN) for name in GPU_FIELDS])


def summary_as_json(fields: Sequence[str], low: Any, mean: Any, high: Any) -> dict[str, Any]:
    """Numbers of many readings in one: `{"min", "avg", "max"}` for each field, or null."""
    shown: dict[str, Any] = {}
    for name, *three in zip(fields, low, mean, high, strict=True):
        known = not math.isnan(three[0])
        shown[name] = (
            {part: round(value, 2) for part, value in zip(("min", "avg", "max"), three, strict=True)}
            if known
            else None
        )
    return shown


def _numbers(fields: Sequence[str], values: Sequence[float]) -> dict[str, Any]:
    shown = {name: _rounded(name, value) for name, value in zip(fields, values, strict=True)}
    for name in fields[:_NEVER_NULL]:
        if shown[name] is None:
            shown[name] = 0
    return shown


def _rounded(name: str, value: float) -> float | int | None:
    if math.isnan(value):
        return None
    return round(value) if name in _WHOLE else round(value, 2)
