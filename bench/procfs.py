"""What the kernel says about processes (Linux, /proc), summed over all given; one that is gone counts 0."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def cpu_seconds(pids: Iterable[int]) -> float:
    """User and system time of the processes so far, all threads, without their children."""
    return _sum(pids, _cpu_seconds)


def resident_bytes(pids: Iterable[int]) -> int:
    return int(_sum(pids, lambda pid: 1024 * _status(pid, "VmRSS")))


def peak_bytes(pids: Iterable[int]) -> int:
    """The highest resident size since the start, or since `reset_peak`."""
    return int(_sum(pids, lambda pid: 1024 * _status(pid, "VmHWM")))


def reset_peak(pids: Iterable[int]) -> None:
    """Let `peak_bytes` begin anew (proc(5), clear_refs)."""
    for pid in pids:
        Path(f"/proc/{pid}/clear_refs").write_text("5")


def voluntary_switches(pids: Iterable[int]) -> int:
    """How often any thread went to sleep of its own accord: once for each time it had been woken."""
    return int(_sum(pids, _voluntary_switches))


def descendants(pid: int) -> list[int]:
    """The process and all that descend from it."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            found += descendants(int(child))
    return found


def _sum(pids: Iterable[int], value: Callable[[int], float]) -> float:
    total = 0.0
    for pid in pids:
        try:
            total += value(pid)
        except (FileNotFoundError, ProcessLookupError):
            continue
    return total


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * _TICK_S


def _voluntary_switches(pid: int) -> float:
    tasks = [int(task.name) for task in Path(f"/proc/{pid}/task").iterdir()]
    return sum(_status(pid, "voluntary_ctxt_switches", f"task/{task}/") for task in tasks)


def _status(pid: int, field: str, within: str = "") -> int:
    for line in Path(f"/proc/{pid}/{within}status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1])
    return 0
