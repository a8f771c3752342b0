"""The machine itself: which system this is, its GPUs and who may use them, and the limits of the kernel."""

from __future__ import annotations

import os
import platform
import resource
from collections.abc import Iterable, Iterator
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any, Final

from swapd.cli.diagnosis.finding import Finding, Level
from swapd.version import BUILD

if TYPE_CHECKING:
    from swapd.observe.sampling.probe import GpuSource

GIB: Final = 1024**3
DRIVER_TIMEOUT_S: Final = 3.0
FEW_FILES: Final = 1024
"""A request takes two descriptors; the daemon raises the soft limit as far as the hard one lets it."""
FEW_WATCHES: Final = 64
_DEVICES: Final = ("dev/nvidia[0-9]*", "dev/nvidiactl", "dev/nvidia-uvm", "dev/kfd", "dev/dri/renderD*")


def look(root: Path = Path("/"), sources: Iterable[GpuSource] | None = None) -> Iterator[Finding]:
    """All findings about the machine. `root` is where the system's files are looked for; `sources` are asked
    for GPUs (None: those that swapd knows). A driver that hangs costs `DRIVER_TIMEOUT_S`."""
    yield from _system(root)
    for source in _sources(root) if sources is None else sources:
        yield _gpus(source)
    yield from _devices(root)
    yield _open_files()
    yield from _watches(root)
    yield from _processes(root)


def _system(root: Path) -> Iterator[Finding]:
    from swapd.observe.sampling.hardware import HardwareUnknown, snapshot

    yield Finding(
        Level.OK, "swapd", f"{BUILD.version} ({BUILD.commit}) on Python {platform.python_version()}"
    )
    try:
        machine = snapshot((), root)
    except HardwareUnknown:
        yield Finding(
            Level.WARNING,
            "system",
            "the size of the memory cannot be found out",
            "swapd init cannot tell what fits, and the memory is not shown",
            "let this process read /proc/meminfo",
        )
        return
    system, place = machine["operating_system"], machine["environment"]
    names = [
        system["name"],
        system["version"],
        f"kernel {system['kernel']}",
        machine["architecture"]["raw_name"],
    ]
    if place["kind"] not in ("native", "unknown"):
        names.append(
            f"in a {place['kind'].replace('_', ' ')}" + (f" ({place['name']})" if place["name"] else "")
        )
    yield Finding(Level.OK, "system", ", ".join(filter(None, names)))
    memory = machine["memory"]["capacity_bytes"] / GIB
    yield Finding(
        Level.OK, "memory", f"{memory:.1f} GiB for {machine['cpu']['logical_thread_count']} processors"
    )


def _sources(root: Path) -> list[GpuSource]:
    from swapd.observe.sampling.amd import AmdSource
    from swapd.observe.sampling.nvidia import NvidiaSource

    return [NvidiaSource(), AmdSource(root / "sys/class/drm")]


def _gpus(source: GpuSource) -> Finding:
    """What one source of GPUs says, or why it says nothing."""
    from swapd.observe.sampling.probe import Absent, Broken

    subject = f"{source.name} GPUs"
    answer: list[list[dict[str, Any]] | Exception] = []

    def ask() -> None:
        try:
            answer.append(source.accelerators())
        except Exception as error:  # noqa: BLE001 - whatever a driver's library does is the finding
            answer.append(error)

    # A driver may hang in the kernel, where nothing ends it; the thread that waits for it is left behind.
    thread = Thread(target=ask, daemon=True)
    thread.start()
    thread.join(DRIVER_TIMEOUT_S)
    no_use = "models do not run on these GPUs, and their memory is not shown"
    match answer:
        case []:
            what = f"the driver has not answered within {DRIVER_TIMEOUT_S:.0f} s"
            return Finding(
                Level.ERROR, subject, what, no_use, "look into dmesg; a restart of the machine may help"
            )
        case [Absent() as error]:
            return Finding(Level.NOTE, subject, str(error))
        case [Broken() as error]:
            mend = "does the driver's own tool (nvidia-smi, amd-smi) work? Else install the driver again"
            return Finding(Level.ERROR, subject, str(error), no_use, mend)
        case [Exception() as error]:
            what = f"the look at them failed: {type(error).__name__}: {error}"
            return Finding(Level.ERROR, subject, what, no_use, "please report it")
        case [list() as found]:
            return Finding(Level.OK, subject, "; ".join(map(_gpu, found)) or "none")
    raise AssertionError(answer)


def _gpu(found: dict[str, Any]) -> str:
    parts = [found["model"] or f"a GPU of {found['vendor']}"]
    if found["memory"]["capacity_bytes"]:
        parts.append(f"{found['memory']['capacity_bytes'] / GIB:.1f} GiB")
    if found["driver"] and found["driver"]["version"]:
        parts.append(f"driver {found['driver']['version']}")
    return ", ".join(parts)


def _devices(root: Path) -> Iterator[Finding]:
    """Devices of GPUs that we may not open: models run as the same user."""
    for pattern in _DEVICES:
        for device in sorted(root.glob(pattern)):
            if os.access(device, os.R_OK | os.W_OK):
                yield Finding(Level.OK, str(device), "may be used")
                continue
            group = _group_of(device)
            yield Finding(
                Level.ERROR,
                str(device),
                f"may not be used by {_user()}",
                "models that need this GPU do not start, or run on the processor",
                f"add the user to the group: usermod -aG {group} {_user()}, then log in again"
                if group != "root"
                else "the device belongs to root alone: is the driver's udev rule installed?",
            )


def _group_of(path: Path) -> str:
    try:
        return path.group()
    except KeyError:  # in a container, the host's groups have no names
        return str(path.stat().st_gid)


def _user() -> str:
    import pwd

    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def _open_files() -> Finding:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard == resource.RLIM_INFINITY or hard > FEW_FILES:
        return Finding(
            Level.OK, "open files", "no limit" if hard == resource.RLIM_INFINITY else f"up to {hard}"
        )
    return Finding(
        Level.WARNING,
        "open files",
        f"no more than {hard}",
        f"some {hard // 2 - 50} requests at once are the most, as each takes two",
        "raise it: LimitNOFILE= in a unit of systemd, ulimit -Hn in a shell, --ulimit nofile= in docker",
    )


def _watches(root: Path) -> Iterator[Finding]:
    """How many files and how many programs may be watched: --watch-config needs one of each."""
    for name, few in (("max_user_instances", 8), ("max_user_watches", FEW_WATCHES)):
        limit = _number(root / "proc/sys/fs/inotify" / name)
        if limit is None:
            continue
        subject = f"fs.inotify.{name}"
        if limit > few:
            yield Finding(Level.OK, subject, str(limit))
            continue
        yield Finding(
            Level.WARNING,
            subject,
            f"no more than {limit}",
            "--watch-config may not notice changes once other programs have used it up",
            f"sysctl {subject}={max(512, limit * 4)}, and the same in /etc/sysctl.d",
        )


def _processes(root: Path) -> Iterator[Finding]:
    """Limits of the control group that this process is in."""
    limit = _number(root / "sys/fs/cgroup/pids.max")
    if limit is not None and limit < 256:
        yield Finding(
            Level.WARNING,
            "processes",
            f"the control group allows no more than {limit}",
            "servers with many threads (vLLM, large machines) cannot start them all",
            "raise TasksMax= in the unit, or --pids-limit in docker",
        )


def _number(path: Path) -> int | None:
    """None where there is no such file, or no limit."""
    try:
        text = path.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() else None
