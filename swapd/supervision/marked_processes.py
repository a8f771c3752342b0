"""Finding the processes that a daemon has started, and ending them without hitting anybody else.

Everything a daemon starts carries `SWAPD_INSTANCE=<uuid of the daemon>` in the environment it was started
with, and hands it on to whatever it starts in turn. Linux shows that environment in /proc/PID/environ for
life, to the same user and to root. It is the proof of descent, and the only one: a process is ours if one
whole item of its environment is the marker, and not because of its name, its number, its port or its command
line.

This file leads two lives. As a module it serves the sweep at the start of a daemon. As a program it is the
second half of the guardian (`swapd.supervision.guardian`), which runs it in a bare interpreter that knows
neither the packages installed nor `swapd` itself. So it uses the standard library only, and little of that.
"""

from __future__ import annotations

import os
import signal
import sys
import time

MARKER = "SWAPD_INSTANCE"
CLEAN_EXIT = b"clean exit\n"
"""What the daemon says to its guardian when nothing is left to be cleaned up."""

_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 1.0


class MarkedProcess:
    """A process that carried the marker when it was looked at; `name` is that of its program."""

    __slots__ = ("instance", "name", "pid", "start_ticks")

    def __init__(self, pid: int, start_ticks: int, instance: str, name: str) -> None:
        self.pid = pid
        self.start_ticks = start_ticks
        self.instance = instance
        self.name = name

    def __str__(self) -> str:
        return f"pid {self.pid} ({self.name})"


def find_marked(instances: frozenset[str]) -> list[MarkedProcess]:
    """The live processes started by one of these daemons. Looks at every process: 10 to 20 µs each.

    The caller itself is never among them: a daemon that was started by a process of a dead one, and so
    carries its marker, must not end itself.
    """
    found = []
    for pid in _pids():
        instance = marked_with(pid, instances) if pid != os.getpid() else None
        stat = read_stat(pid) if instance else None
        if stat is not None and instance:
            found.append(MarkedProcess(pid, stat[1], instance, stat[0]))
    return found


def marked_with(pid: int, instances: frozenset[str]) -> str | None:
    """Which of these daemons has started the process `pid`; None if none has, or if it is not ours to look
    into. A zombie has no environment any more and is nobody's."""
    prefix = MARKER.encode() + b"="
    for item in read_file(f"/proc/{pid}/environ").split(b"\0"):
        if item.startswith(prefix):
            instance = item[len(prefix) :].decode(errors="replace")
            if instance in instances:
                return instance
    return None


def send_signal(process: MarkedProcess, number: int) -> bool:
    """Signal the process, if it is still the one that was looked at; False if not.

    A pid can pass to a stranger at any moment. A pidfd cannot, so: hold on to whoever has the number now,
    look whether that is ours, and only then send. Where there are no pidfds (before Linux 5.3) the time
    from the look to the signal is what remains of the risk.
    """
    try:
        pidfd = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return False
    except (AttributeError, OSError):
        pidfd = None
    try:
        if not _is_unchanged(process):
            return False
        if pidfd is None:
            os.kill(process.pid, number)
        else:
            signal.pidfd_send_signal(pidfd, number)
    except OSError:  # it has ended, or become another user's (a set-user-ID program)
        return False
    finally:
        if pidfd is not None:
            os.close(pidfd)
    return True


def kill_all_marked(instance: str) -> None:
    """SIGKILL to everything that the daemon has started, until two looks in a row find nothing.

    Two, because a process can fork and end between the moments at which its child and it are looked at. It
    takes as long as it takes: a process stuck in a driver goes when the driver lets go of it, and until
    then somebody has to wait, once a second, for what it may leave.
    """
    instances = frozenset((instance,))
    pause = _FIRST_PAUSE_S
    empty_looks = 0
    while True:
        found = find_marked(instances)
        for process in found:
            send_signal(process, signal.SIGKILL)
        empty_looks = 0 if found else empty_looks + 1
        if empty_looks == 2:
            return
        time.sleep(_FIRST_PAUSE_S if empty_looks else pause)
        pause = min(2 * pause, _LONGEST_PAUSE_S)


def read_stat(pid: int) -> tuple[str, int] | None:
    """A process's name, and its start in clock ticks since the boot, from proc_pid_stat(5).

    The pid and the start together are the identity of a process. None if there is none of that number.
    """
    stat = read_file(f"/proc/{pid}/stat")
    # The name is in parentheses, and may hold blanks and parentheses itself; the start is field 22.
    opening, closing = stat.find(b"("), stat.rfind(b")")
    fields = stat[closing + 2 :].split(b" ", 20)
    if opening < 0 or len(fields) < 20:
        return None
    return stat[opening + 1 : closing].decode(errors="replace"), int(fields[19])


def read_file(path: str) -> bytes:
    """A file of /proc, whole; empty if it is not there or not ours to read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        parts = []
        while part := os.read(descriptor, 65536):
            parts.append(part)
        return b"".join(parts)
    except OSError:  # the process ended while we read
        return b""
    finally:
        os.close(descriptor)


def _is_unchanged(process: MarkedProcess) -> bool:
    stat = read_stat(process.pid)
    if stat is None or stat[1] != process.start_ticks:
        return False
    return marked_with(process.pid, frozenset((process.instance,))) is not None


def _pids() -> list[int]:
    try:
        names = os.listdir("/proc")  # noqa: PTH208 - names, and pathlib is not for this interpreter
    except OSError:
        return []
    return [int(name) for name in names if name.isdecimal()]


def main() -> None:
    """The guardian: wait for the daemon's end, and kill what it has left unless it said there is nothing.

    The daemon holds the other end of standard input. Its identity is the only argument.
    """
    said = b""
    while part := os.read(0, 64):
        said += part
    if said != CLEAN_EXIT:
        kill_all_marked(sys.argv[1])


if __name__ == "__main__":
    main()
