"""NVIDIA GPUs, through NVML (the library that comes with the driver) and nvidia-ml-py.

What a GPU does not support is unknown, and no error; one that has fallen off the bus is shown with its error
while the others go on. Where the GPU shares the memory of the machine NVML tells of none.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from swapd.observe.sampling.probe import Absent, Broken
from swapd.observe.sampling.readings import MIB, UNKNOWN, GpuDevice, GpuProcess, GpuReading, gpu_values

_LIBRARY: Final = "libnvidia-ml.so.1"

_THROTTLE: Final = {
    0x4: "power_cap",
    0x8: "hw_slowdown",
    0x20: "sw_thermal",
    0x40: "hw_thermal",
    0x80: "hw_power_brake",
}
"""Bits of `nvmlClocksEventReasons…`; idle clocks and those that were set on purpose do not count."""

_VRAM_TEMPERATURE: Final = 82  # NVML_FI_DEV_MEMORY_TEMP


class NvidiaSource:
    """The mutable state is whether NVML is initialised, and which GPUs it has told of."""

    name = "nvidia"

    def __init__(self) -> None:
        self._nvml: Any = None
        self._devices: list[tuple[Any, GpuDevice]] = []

    def read(self) -> tuple[GpuReading, ...]:
        self._open()
        readings = tuple(self._reading(handle, device) for handle, device in self._devices)
        if all(reading.error for reading in readings):
            self._close()
            raise Broken(readings[0].error)
        return readings

    def accelerators(self) -> list[dict[str, Any]]:
        self._open()
        nvml = self._nvml
        driver = {"name": "nvidia", "version": _text(self._try(nvml.nvmlSystemGetDriverVersion)) or None}
        found = []
        for handle, device in self._devices:
            memory = self._memory(handle)
            limit = self._try(nvml.nvmlDeviceGetEnforcedPowerLimit, handle)
            found.append(
                {
                    "kind": "gpu",
                    "vendor": device.vendor,
                    "model": device.name,
                    "architecture": _architecture(nvml, self._try(nvml.nvmlDeviceGetArchitecture, handle)),
                    "memory": {
                        "kind": device.mem_kind,
                        "capacity_bytes": None if memory is None else int(memory.total),
                    },
                    "driver": driver,
                    "power_limit_watts": None if limit is None else limit / 1000,
                    "pci": device.pci,
                }
            )
        return found

    def _open(self) -> None:
        if self._nvml is not None:
            return
        try:
            ctypes.CDLL(_LIBRARY)  # much cheaper than to import pynvml and find that it is missing
        except OSError:
            raise Absent(f"no NVIDIA driver: {_LIBRARY} is not installed") from None
        import pynvml

        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError as error:
            if error.value in (pynvml.NVML_ERROR_LIBRARY_NOT_FOUND, pynvml.NVML_ERROR_DRIVER_NOT_LOADED):
                raise Absent(f"the NVIDIA driver is not loaded: {error}") from None
            raise Broken(f"NVML does not start: {error}") from None
        self._nvml = pynvml
        try:
            self._devices = self._find()
        except pynvml.NVMLError as error:
            self._close()
            raise Broken(str(error)) from None

    def _close(self) -> None:
        nvml, self._nvml, self._devices = self._nvml, None, []
        with suppress(nvml.NVMLError):
            nvml.nvmlShutdown()

    def _find(self) -> list[tuple[Any, GpuDevice]]:
        nvml = self._nvml
        devices = []
        for index in range(nvml.nvmlDeviceGetCount()):
            try:
                handle = nvml.nvmlDeviceGetHandleByIndex(index)
            except nvml.NVMLError:
                continue  # one that we may not open, or that is lost
            pci = self._try(nvml.nvmlDeviceGetPciInfo, handle)
            device = GpuDevice(
                source=self.name,
                index=index,
                name=_text(self._try(nvml.nvmlDeviceGetName, handle)),
                vendor="NVIDIA",
                uuid=_text(self._try(nvml.nvmlDeviceGetUUID, handle)),
                pci="" if pci is None else short_pci(_text(pci.busId)),
                mem_kind="dedicated" if self._memory(handle) is not None else "unified",
            )
            devices.append((handle, device))
        if not devices:
            raise Absent("the NVIDIA driver knows of no GPU")
        return devices

    def _reading(self, handle: Any, device: GpuDevice) -> GpuReading:
        try:
            return self._values(handle, device)
        except self._nvml.NVMLError as error:
            return GpuReading(device, gpu_values({}), error=str(error))

    def _values(self, handle: Any, device: GpuDevice) -> GpuReading:
        nvml, ask = self._nvml, self._try
        load = ask(nvml.nvmlDeviceGetUtilizationRates, handle)
        memory = self._memory(handle)
        throttle = ask(nvml.nvmlDeviceGetCurrentClocksThrottleReasons, handle) or 0
        values = {
            "temp_c": ask(nvml.nvmlDeviceGetTemperature, handle, nvml.NVML_TEMPERATURE_GPU),
            "vram_temp_c": self._memory_temperature(handle),
            "gpu_util_pct": None if load is None else float(load.gpu),
            "mem_used_mb": None if memory is None else memory.used / MIB,
            "mem_total_mb": None if memory is None else memory.total / MIB,
            "mem_free_mb": None if memory is None else memory.free / MIB,
            "mem_reserved_mb": getattr(memory, "reserved", UNKNOWN * MIB) / MIB,
            "fan_speed_pct": ask(nvml.nvmlDeviceGetFanSpeed, handle),
            "power_draw_w": _thousandth(ask(nvml.nvmlDeviceGetPowerUsage, handle)),
            "power_limit_w": _thousandth(ask(nvml.nvmlDeviceGetEnforcedPowerLimit, handle)),
            "sm_clock_mhz": ask(nvml.nvmlDeviceGetClockInfo, handle, nvml.NVML_CLOCK_SM),
            "mem_clock_mhz": ask(nvml.nvmlDeviceGetClockInfo, handle, nvml.NVML_CLOCK_MEM),
        }
        return GpuReading(
            device,
            gpu_values(values),
            throttle=tuple(name for bit, name in _THROTTLE.items() if throttle & bit),
            processes=self._processes(handle),
        )

    def _memory(self, handle: Any) -> Any:
        """By the second version of the call, which counts reserved memory apart; else by the first."""
        nvml = self._nvml
        version = getattr(nvml, "nvmlMemory_v2", None)
        memory = None if version is None else self._try(nvml.nvmlDeviceGetMemoryInfo, handle, version)
        return memory if memory is not None else self._try(nvml.nvmlDeviceGetMemoryInfo, handle)

    def _memory_temperature(self, handle: Any) -> float | None:
        nvml = self._nvml
        fields = self._try(nvml.nvmlDeviceGetFieldValues, handle, [_VRAM_TEMPERATURE])
        if not fields or fields[0].nvmlReturn != nvml.NVML_SUCCESS:
            return None
        return float(fields[0].value.uiVal) or None  # some boards without a sensor say 0

    def _processes(self, handle: Any) -> tuple[GpuProcess, ...] | None:
        nvml = self._nvml
        found: dict[int, GpuProcess] = {}
        known = False
        for function in (
            nvml.nvmlDeviceGetComputeRunningProcesses,
            nvml.nvmlDeviceGetGraphicsRunningProcesses,
        ):
            processes = self._try(function, handle)
            known = known or processes is not None
            for each in processes or ():
                used = each.usedGpuMemory
                found[each.pid] = GpuProcess(each.pid, None if used is None else round(used / MIB, 1))
        return tuple(found.values()) if known else None

    def _try(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """The answer, or None if this GPU or this driver cannot tell. Other errors are raised."""
        try:
            return function(*arguments)
        except self._nvml.NVMLError as error:
            if self._is_unsupported(error):
                return None
            raise

    def _is_unsupported(self, error: Any) -> bool:
        nvml = self._nvml
        return error.value in (
            nvml.NVML_ERROR_NOT_SUPPORTED,
            nvml.NVML_ERROR_FUNCTION_NOT_FOUND,
            nvml.NVML_ERROR_NO_PERMISSION,
            nvml.NVML_ERROR_INVALID_ARGUMENT,
            nvml.NVML_ERROR_ARGUMENT_VERSION_MISMATCH,
        )


def short_pci(address: str) -> str:
    """`00000000:01:00.0`, as NVML writes it, as the kernel does: `0000:01:00.0`, lower case."""
    domain, _, rest = address.lower().partition(":")
    return f"{domain[-4:]}:{rest}" if rest else address.lower()


def _architecture(nvml: Any, number: int | None) -> str | None:
    for name in vars(nvml):
        if name.startswith("NVML_DEVICE_ARCH_") and getattr(nvml, name) == number and number is not None:
            word = name.removeprefix("NVML_DEVICE_ARCH_").capitalize()
            return None if word == "Unknown" else word
    return None


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value or ""


def _thousandth(value: float | None) -> float | None:
    return None if value is None else value / 1000
