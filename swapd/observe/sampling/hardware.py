"""What the machine is: looked up once, when somebody asks. What is not known is None, never a guess."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from swapd.observe.timestamps import utc_timestamp
from swapd.version import BUILD

_ARCHITECTURES: Final = {
    "x86_64": "x86_64",
    "amd64": "x86_64",
    "aarch64": "arm64",
    "arm64": "arm64",
    "armv7l": "armv7",
    "ppc64le": "ppc64le",
    "riscv64": "riscv64",
    "s390x": "s390x",
}
_FAMILIES: Final = {"Linux": "linux", "Darwin": "macos", "Windows": "windows", "FreeBSD": "freebsd"}
_SERVER_IMPLEMENTERS: Final = {"0x41": "ARM", "0xc0": "Ampere", "0x51": "Qualcomm", "0x61": "Apple"}


class HardwareUnknown(Exception):
    """Not even the size of the memory can be found out."""


def snapshot(accelerators: Iterable[dict[str, Any]], root: Path = Path("/")) -> dict[str, Any]:
    """The description of this machine, with these accelerators. For any thread; raises `HardwareUnknown`.

    `root` is where the system's files are looked for.
    """
    return {
        "schema_version": 1,
        "captured_at": utc_timestamp(time.time_ns()),
        "capture": {
            "scope": "inference_host",
            "method": "detected",
            "detector": {"name": "swapd", "version": BUILD.version},
        },
        "architecture": _architecture(platform.machine()),
        "operating_system": _operating_system(),
        "environment": _environment(root),
        "cpu": _cpu(root),
        "memory": {"capacity_bytes": _memory(root)},
        "accelerators": merged(accelerators),
    }


def merged(accelerators: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """One entry for each device, whoever has told of it: the first that knows something counts. In the order
    of their places on the bus."""
    by_place: dict[str, dict[str, Any]] = {}
    for number, found in enumerate(accelerators):
        place = found["pci"] or f"~{number}"
        known = by_place.setdefault(place, {})
        for name, value in found.items():
            if known.get(name) is None:
                known[name] = value
    return [
        {"index": index, **{name: value for name, value in by_place[place].items() if name != "pci"}}
        for index, place in enumerate(sorted(by_place))
    ]


def _architecture(machine: str) -> dict[str, Any]:
    return {"name": _ARCHITECTURES.get(machine.lower(), "other"), "raw_name": machine or None}


def _operating_system() -> dict[str, Any]:
    system = platform.system()
    family = _FAMILIES.get(system, "other")
    name, version = system or None, platform.release() or None
    if family == "linux":
        with suppress(OSError):
            release = platform.freedesktop_os_release()
            name, version = release.get("NAME"), release.get("VERSION_ID")
    elif family == "macos":
        name, version = "macOS", platform.mac_ver()[0] or None
    found = {"family": family, "name": name, "version": version, "kernel": platform.release() or None}
    if family == "other":
        found["raw_family"] = system
    return found


def _environment(root: Path) -> dict[str, Any]:
    """Container, virtual machine, WSL, or none of them; by the marks they leave."""
    kernel = platform.release().lower()
    if "microsoft" in kernel:
        return _kind("wsl", "WSL 2" if "wsl2" in kernel else "WSL")
    if (root / ".dockerenv").exists():
        return _kind("container", "docker")
    if (root / "run/.containerenv").exists():
        return _kind("container", "podman")
    manager = _text(root / "run/systemd/container") or os.environ.get("container", "")  # noqa: SIM112
    if manager:
        return _kind("container", manager)
    if "KUBERNETES_SERVICE_HOST" in os.environ:
        return _kind("container", "kubernetes")
    if platform.system() != "Linux":
        return _kind("unknown", None)
    if " hypervisor" in _text(root / "proc/cpuinfo"):
        return _kind("virtual_machine", _text(root / "sys/class/dmi/id/sys_vendor") or None)
    return _kind("native", None)


def _kind(kind: str, name: str | None) -> dict[str, Any]:
    return {"kind": kind, "name": name, "version": None}


def _cpu(root: Path) -> dict[str, Any]:
    """From /proc/cpuinfo, one block a logical processor; elsewhere only the counts."""
    import psutil

    blocks = [
        {
            name.strip(): value.strip()
            for name, _, value in (line.partition(":") for line in block.splitlines())
        }
        for block in _text(root / "proc/cpuinfo").split("\n\n")
    ]
    first = blocks[0] if blocks else {}
    sockets = {block["physical id"] for block in blocks if "physical id" in block}
    implementer = first.get("CPU implementer", "")
    return {
        "vendor": first.get("vendor_id") or _SERVER_IMPLEMENTERS.get(implementer),
        "model": first.get("model name") or first.get("Model") or None,
        "socket_count": len(sockets) or None,
        "physical_core_count": psutil.cpu_count(logical=False),
        "logical_thread_count": psutil.cpu_count(),
    }


def _memory(root: Path) -> int:
    """Bytes: what is installed, or less if a cgroup allows less."""
    import psutil

    total = int(psutil.virtual_memory().total)
    for path in ("sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory/memory.limit_in_bytes"):
        limit = _text(root / path)
        if limit.isdecimal() and int(limit) > 0:
            total = min(total, int(limit))
    if total <= 0:
        raise HardwareUnknown
    return total


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""
