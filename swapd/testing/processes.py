"""Finding the processes that a test started, however far they have wandered (Linux, /proc).

A process carries its initial environment in /proc/PID/environ for life, and hands it to all it starts. So a
marker put there finds grandchildren in other groups and sessions too, after their parents have gone.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import trio
from attrs import frozen

MARKER = "SWAPD_TEST"
"""Name of the environment variable that marks what a test has started."""

_PROC = Path("/proc")


@frozen
class MarkedProcess:
    """A process found by its marker; `command` is its command line."""

    pid: int
    command: str

    def __str__(self) -> str:
        return f"{self.pid} {self.command}"


def marked_processes(value: str) -> list[MarkedProcess]:
    """All running processes whose initial environment has the marker with this value; zombies are none."""
    entry = f"{MARKER}={value}".encode()
    found = []
    for directory in _PROC.iterdir():
        if not directory.name.isdigit():
            continue
        try:
            environment = (directory / "environ").read_bytes()
            if entry in environment.split(b"\0"):
                found.append(MarkedProcess(int(directory.name), _command(directory)))
        except OSError:
            continue  # it is gone, or not ours to look into
    return found


def child_processes() -> list[MarkedProcess]:
    """The direct children of this process, zombies among them."""
    pids: list[str] = []
    for children in _PROC.glob("self/task/*/children"):
        try:
            pids += children.read_text().split()
        except OSError:
            continue  # a thread that has ended meanwhile has no children
    return [MarkedProcess(int(pid), _command(_PROC / pid) or "(zombie)") for pid in pids]


def kill_processes(processes: list[MarkedProcess]) -> None:
    """SIGKILL to each; one that is gone already is fine."""
    for process in processes:
        try:
            os.kill(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def reap_children(children: list[MarkedProcess]) -> None:
    """Wait for children of this process that have ended or are about to, having been killed."""
    for child in children:
        try:
            os.waitpid(child.pid, 0)
        except ChildProcessError:
            continue


async def wait_until_gone(value: str) -> None:
    """Wait until no process carries the marker with this value. Cancel-safe; bound it with a deadline."""
    while processes := marked_processes(value):
        await wait_for_exit(processes[0].pid)
        await trio.lowlevel.checkpoint()


async def wait_for_exit(pid: int) -> None:
    """Wait until a process has exited; its parent may still have to collect it. Cancel-safe."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        await trio.lowlevel.wait_readable(pidfd)
    finally:
        os.close(pidfd)


def _command(directory: Path) -> str:
    try:
        return (directory / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""
