"""Collecting the exit status of adopted children, and of no others.

An ended child stays in the process table until its parent collects it. The daemon adopts orphans, as a
child subreaper or as PID 1 of a container, and nobody in it waits for those. But somebody does wait for
each child the daemon started itself, and needs its status: those must not be taken away.
"""

from __future__ import annotations

import math
import os
import signal as signals
import sys
from collections.abc import Callable
from contextlib import suppress

import trio

from swapd.supervision.marked_processes import read_file

UNCLAIMED_S = 10.0
"""A child of unknown origin that nobody has collected for so long is collected here."""
_LOOK_AGAIN_S = 1.0


async def reap_orphans(is_own: Callable[[int], bool]) -> None:
    """Collect adopted children as they end, until cancelled. Sleeps while no child ends.

    `is_own` says whether the daemon started a child itself and has somebody waiting for it; such a child is
    never touched. Nor, for ten seconds, is any other in the daemon's own session: it may have been started
    by some library (a `subprocess.run`), which collects it. Adopted ones are not in that session, as every
    upstream leads one of its own, except those that the daemon has inherited: from a script that ends in
    `exec swapd`, say.
    """
    if sys.platform == "darwin":
        return  # orphans go to launchd
    unclaimed: dict[int, float] = {}
    with trio.open_signal_receiver(signals.SIGCHLD) as ended:
        while True:
            look_again_at = _collect(is_own, unclaimed, trio.current_time())
            with trio.move_on_at(look_again_at):
                await ended.__anext__()


def _collect(is_own: Callable[[int], bool], unclaimed: dict[int, float], now: float) -> float:
    """Collect what is to be collected at `now`; returns when to look again at the latest.

    `unclaimed` is kept from call to call: since when ended children have waited for somebody.
    """
    listed = _children()
    waiting: dict[int, float] = {}
    look_again_at = math.inf
    for pid in {*_first_ended(), *filter(_has_ended, listed or ())}:
        if is_own(pid):
            if listed is None:  # then it hides others
                look_again_at = now + _LOOK_AGAIN_S
            continue
        since = unclaimed.get(pid, now)
        if now - since >= UNCLAIMED_S or not _is_in_our_session(pid):
            _reap(pid)
            if listed is None:
                look_again_at = now
        else:
            waiting[pid] = since
            look_again_at = min(look_again_at, since + UNCLAIMED_S)
    unclaimed.clear()
    unclaimed.update(waiting)
    return look_again_at


def _children() -> list[int] | None:
    """Our children, from /proc/PID/task/TID/children (proc_tid_children(5)); None where the kernel was built
    without that file."""
    if not os.access(f"/proc/self/task/{os.getpid()}/children", os.R_OK):
        return None
    threads = os.listdir("/proc/self/task")  # noqa: PTH208 - names, fast
    return [int(pid) for tid in threads for pid in read_file(f"/proc/self/task/{tid}/children").split()]


def _first_ended() -> list[int]:
    """The one ended child that the kernel shows when it is asked for any."""
    try:
        ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return []
    return [] if ended is None else [ended.si_pid]


def _has_ended(pid: int) -> bool:
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return False


def _is_in_our_session(pid: int) -> bool:
    try:
        return os.getsid(pid) == os.getsid(0)
    except ProcessLookupError:
        return False


def _reap(pid: int) -> None:
    with suppress(ChildProcessError):  # whoever removed the tree it came from was faster
        os.waitpid(pid, os.WNOHANG)
