"""How much memory the processes of a model's server hold.

Only for showing, so it may miss what hides: the tree is the leader, what descends from it, and what came to
the daemon as an orphan of the leader's group or session.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from swapd.observe.sampling.readings import MIB

_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_LISTS_CHILDREN: Final = Path("/proc/thread-self/children").exists()
_HAS_PROC: Final = Path("/proc/self/statm").exists()


def tree(leader: int) -> set[int]:
    """The pids of the tree; empty if the leader has gone."""
    if not _exists(leader):
        return set()
    if not _LISTS_CHILDREN:
        return {leader} | _descendants(leader)
    orphans = [pid for pid in _children(os.getpid()) if leader in _group_and_session(pid)]
    waiting = [leader, *orphans]
    found = set(waiting)
    while waiting:
        new = [pid for pid in _children(waiting.pop()) if pid not in found]
        found.update(new)
        waiting += new
    return found


def resident_mb(pids: set[int]) -> float:
    """The resident memory of these processes, in MiB; what they share counts for each."""
    return sum(map(_resident, pids)) / MIB


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError as error:
        return isinstance(error, PermissionError)
    return True


def _children(pid: int) -> list[int]:
    """From /proc/PID/task/TID/children (proc_tid_children(5)); none if the process has gone."""
    children: list[int] = []
    with suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208 - names, fast
            with suppress(OSError), open(f"/proc/{pid}/task/{thread}/children", "rb") as file:  # noqa: PTH123
                children += map(int, file.read().split())
    return children


def _group_and_session(pid: int) -> tuple[int, int]:
    with suppress(OSError):
        return os.getpgid(pid), os.getsid(pid)
    return (0, 0)


def _descendants(leader: int) -> set[int]:
    """By a search through all processes, where nothing better is to be had."""
    import psutil

    with suppress(psutil.Error):
        return {process.pid for process in psutil.Process(leader).children(recursive=True)}
    return set()


def _resident(pid: int) -> int:
    if not _HAS_PROC:
        return _resident_elsewhere(pid)
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:  # noqa: PTH123
            return int(file.read().split()[1]) * _PAGE
    except (OSError, IndexError):
        return 0


def _resident_elsewhere(pid: int) -> int:
    import psutil

    with suppress(psutil.Error):
        return int(psutil.Process(pid).memory_info().rss)
    return 0
