"""Being the parent of last resort.

A process whose parent ends becomes a child of the nearest ancestor that is a *child subreaper*
(PR_SET_CHILD_SUBREAPER, prctl(2)), or else of PID 1. The daemon makes itself one: so whatever forks and
slips away below a model server comes back to the daemon, where it can be found and ended. The price is
that the daemon has to collect what it adopts: see `swapd.supervision.reaper`.
"""

from __future__ import annotations

import ctypes
import os
import signal as signals
import sys

_PR_SET_CHILD_SUBREAPER = 36


def become_subreaper() -> bool:
    """Adopt orphaned descendants from now on; False where that cannot be had (Linux 3.4 can).

    As PID 1 of a container the process is given all orphans anyway. Call it in the main thread before
    the first child is started: it also undoes an inherited «ignore SIGCHLD», with which the kernel
    would throw away the exit status of every child.
    """
    if signals.getsignal(signals.SIGCHLD) is signals.SIG_IGN:
        signals.signal(signals.SIGCHLD, signals.SIG_DFL)
    if sys.platform != "linux":
        return os.getpid() == 1
    libc = ctypes.CDLL(None, use_errno=True)
    done: int = libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    return done == 0 or os.getpid() == 1
