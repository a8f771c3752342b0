"""AMD GPUs, from the files of their kernel driver (Documentation/gpu/amdgpu of Linux). No tool is needed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

from swapd.observe.sampling.probe import Absent
from swapd.observe.sampling.readings import MIB, GpuDevice, GpuReading, gpu_values

_DRM: Final = Path("/sys/class/drm")
_VENDOR: Final = "0x1002"
_CARD: Final = re.compile(r"card\d+")
_SMALL_VRAM: Final = 4 << 30
"""A GPU with less memory of its own and more of the machine's is part of a processor."""


class AmdSource:
    """The mutable state is the cards that were found, with the directory of their sensors."""

    name = "amd"

    def __init__(self, drm: Path = _DRM) -> None:
        self._drm = drm
        self._cards: list[tuple[Path, GpuDevice]] = []

    def read(self) -> tuple[GpuReading, ...]:
        cards = self._found()
        return tuple(GpuReading(device, gpu_values(_values(path, device))) for path, device in cards)

    def accelerators(self) -> list[dict[str, Any]]:
        version = _line(Path("/sys/module/amdgpu/version")) or None
        found = []
        for path, device in self._found():
            kind = device.mem_kind
            total = _number(path / ("mem_info_gtt_total" if kind == "unified" else "mem_info_vram_total"))
            cap = _sensor(path, "power1_cap")
            found.append(
                {
                    "kind": "gpu",
                    "vendor": device.vendor,
                    "model": device.name or None,
                    "architecture": None,
                    "memory": {"kind": kind, "capacity_bytes": None if total is None else int(total)},
                    "driver": {"name": "amdgpu", "version": version},
                    "power_limit_watts": None if cap is None else cap / 1e6,
                    "pci": device.pci,
                }
            )
        return found

    def _found(self) -> list[tuple[Path, GpuDevice]]:
        if self._cards and all(path.is_dir() for path, _ in self._cards):
            return self._cards
        self._cards = []
        names = sorted(self._drm.glob("card*"), key=lambda path: (len(path.name), path.name))
        for card in names:
            path = card / "device"
            if _CARD.fullmatch(card.name) and _line(path / "vendor") == _VENDOR:
                self._cards.append((path, _device(path, len(self._cards))))
        if not self._cards:
            raise Absent(f"no AMD GPU in {self._drm}")
        return self._cards


def _device(path: Path, index: int) -> GpuDevice:
    address = path.resolve().name
    unique = _line(path / "unique_id")
    return GpuDevice(
        source="amd",
        index=index,
        name=_line(path / "product_name") or f"AMD GPU {_line(path / 'device').removeprefix('0x')}".strip(),
        vendor="AMD",
        uuid=f"GPU-{unique.removeprefix('0x')}" if unique else "",
        pci=address if address.count(":") == 2 else "",
        mem_kind=_memory_kind(path),
    )


def _memory_kind(path: Path) -> str:
    vram, shared = _number(path / "mem_info_vram_total"), _number(path / "mem_info_gtt_total")
    if vram is None:
        return "unknown"
    return "unified" if vram < _SMALL_VRAM and (shared or 0) > vram else "dedicated"


def _values(path: Path, device: GpuDevice) -> dict[str, float | None]:
    used, total = _number(path / "mem_info_vram_used"), _number(path / "mem_info_vram_total")
    if device.mem_kind == "unified":
        used = _sum(used, _number(path / "mem_info_gtt_used"))
        total = _sum(total, _number(path / "mem_info_gtt_total"))
    temperatures = _temperatures(path)
    power = _sensor(path, "power1_average")
    return {
        "temp_c": temperatures.get("edge", temperatures.get("junction")),
        "vram_temp_c": temperatures.get("mem"),
        "gpu_util_pct": _number(path / "gpu_busy_percent"),
        "mem_used_mb": None if used is None else used / MIB,
        "mem_total_mb": None if total is None else total / MIB,
        "mem_free_mb": None if used is None or total is None else (total - used) / MIB,
        "fan_speed_pct": _fan(path),
        "power_draw_w": _millionth(power if power is not None else _sensor(path, "power1_input")),
        "power_limit_w": _millionth(_sensor(path, "power1_cap")),
        "sm_clock_mhz": _millionth(_sensor(path, "freq1_input")),
        "mem_clock_mhz": _millionth(_sensor(path, "freq2_input")),
    }


def _temperatures(path: Path) -> dict[str, float]:
    """By the sensor's label (edge, junction, mem), in °C; the files hold thousandths."""
    found = {}
    for label in path.glob("hwmon/hwmon*/temp*_label"):
        value = _number(label.with_name(label.name.replace("_label", "_input")))
        if value is not None:
            found[_line(label)] = value / 1000
    if not found and (value := _sensor(path, "temp1_input")) is not None:
        found["edge"] = value / 1000
    return found


def _fan(path: Path) -> float | None:
    for now, most in (("pwm1", "pwm1_max"), ("fan1_input", "fan1_max")):
        value, limit = _sensor(path, now), _sensor(path, most)
        if value is not None and limit:
            return 100 * value / limit
    return None


def _sensor(path: Path, name: str) -> float | None:
    for found in path.glob(f"hwmon/hwmon*/{name}"):
        return _number(found)
    return None


def _number(path: Path) -> float | None:
    text = _line(path)
    return int(text) if text.lstrip("-").isdecimal() else None


def _line(path: Path) -> str:
    """A file's text; "" if it is not there, or the driver will not tell just now (a GPU that sleeps)."""
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


def _sum(one: float | None, other: float | None) -> float | None:
    return None if one is None else one + (other or 0)


def _millionth(value: float | None) -> float | None:
    return None if value is None else value / 1e6
