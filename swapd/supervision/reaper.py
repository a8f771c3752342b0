"""Collecting the exit status of adopted children, and of no others.

An ended child stays in the process table until its parent collects it. The daemon adopts orphans, as a
child subreaper or as PID 1 of a container, and nobody in it waits for those. But somebody does wait for
each child the daemon started itself, and needs its status: those must not be taken away.
"""

from __future__ import annotations

import os
import signal as signals
import sys
from collections.abc import Callable, Iterator

import trio

_FIRST_LOOK_AGAIN_S = 0.05
_LOOKS_AGAIN = 8


async def reap_orphans(is_own: Callable[[int], bool]) -> None:
    """Collect adopted children as they end, until cancelled. Sleeps while no child ends.

    `is_own` says whether the daemon started a child itself and has somebody waiting for it. Children in
    the daemon's own session are left alone too: everything that is not registered as its own and yet
    was started by it (a `subprocess.run` in some library) is there, and adopted ones are not, as every
    upstream leads a session of its own.
    """
    if sys.platform == "darwin":
        return  # orphans go to launchd
    with trio.open_signal_receiver(signals.SIGCHLD) as children:
        while True:
            await _collect(is_own)
            await children.__anext__()


async def _collect(is_own: Callable[[int], bool]) -> None:
    """Collect what there is. Waits a little for the owners of others to collect theirs: the kernel
    shows only the first ended child, and one of theirs may hide one of ours."""
    pause = _FIRST_LOOK_AGAIN_S
    for _ in range(_LOOKS_AGAIN):
        hidden = False
        for pid in _ended_children():
            if is_own(pid) or _is_in_our_session(pid):
                hidden = True
                break
            _reap(pid)
        if not hidden:
            return
        await trio.sleep(pause)
        pause *= 2


def _ended_children() -> Iterator[int]:
    """The first ended child that is not collected yet, again and again until there is none."""
    while True:
        try:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if ended is None:
            return
        yield ended.si_pid


def _is_in_our_session(pid: int) -> bool:
    try:
        return os.getsid(pid) == os.getsid(0)
    except ProcessLookupError:
        return False


def _reap(pid: int) -> None:
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        pass  # whoever removed the tree it came from was faster
