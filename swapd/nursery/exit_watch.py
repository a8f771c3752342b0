"""Noticing the end of a child process without collecting it.

As long as an ended child is not collected (reaped), the kernel keeps its pid, and with it the id of the
group and session it led. So the order is: notice the end, signal the group, reap last. In any other
order the signal may hit a stranger who got the number meanwhile.
"""

from __future__ import annotations

import os
import sys

import trio

from swapd.nursery.launcher import ExitStatus

_POLL_S = 0.02


class ExitWatch:
    """The end of one child of ours, seen through a pidfd (pidfd_open(2), Linux 5.3).

    Where there are no pidfds the child is looked at every 20 ms. The mutable state is the exit status,
    set by `poll` once and kept, and whether the child has been reaped.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.reaped = False
        self._status: ExitStatus | None = None
        self._pidfd = _open_pidfd(pid)

    def poll(self) -> ExitStatus | None:
        """How the child ended, or None while it runs."""
        if self._status is None:
            self._status = self._peek()
        return self._status

    async def wait(self) -> ExitStatus:
        """Wait for the end. May be cancelled; one task at a time."""
        await trio.lowlevel.checkpoint()
        while (status := self.poll()) is None:
            if self._pidfd is None:
                await trio.sleep(_POLL_S)
            else:
                await trio.lowlevel.wait_readable(self._pidfd)
        return status

    def reap(self) -> bool:
        """Collect the child if it has ended; True once it is collected. From then on its pid is free."""
        if self.reaped or self.poll() is None:
            return self.reaped
        try:
            os.waitpid(self.pid, os.WNOHANG)
        except ChildProcessError:
            pass  # somebody else did
        self.abandon()
        return True

    def abandon(self) -> None:
        """Stop watching, whether the child has ended or not. The pid must not be used afterwards."""
        self.reaped = True
        if self._pidfd is not None:
            os.close(self._pidfd)
            self._pidfd = None

    def _peek(self) -> ExitStatus | None:
        try:
            return _exit_status(self.pid)
        except ChildProcessError:
            # Collected behind our back, or SIGCHLD is ignored and the kernel collects by itself.
            return ExitStatus()


def _open_pidfd(pid: int) -> int | None:
    if sys.platform != "linux":
        return None
    try:
        return os.pidfd_open(pid)
    except OSError:  # an old kernel, a strict seccomp filter, or no descriptor left
        return None


if sys.platform == "darwin":

    def _exit_status(pid: int) -> ExitStatus | None:
        # There is no waitid here. waitpid collects the child; its group is signalled a moment later,
        # which is sound in practice, as pids are handed out in turn and come back only after a full round.
        ended, status = os.waitpid(pid, os.WNOHANG)
        if not ended:
            return None
        code = os.waitstatus_to_exitcode(status)
        return ExitStatus(code=code) if code >= 0 else ExitStatus(signal=-code)

else:

    def _exit_status(pid: int) -> ExitStatus | None:
        ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if ended is None:
            return None
        if ended.si_code == os.CLD_EXITED:
            return ExitStatus(code=ended.si_status)
        return ExitStatus(signal=ended.si_status)
