"""The sweep at the start of a daemon: what an earlier one left behind is ended before anything is started.

Usually there is nothing, and `Records.begin` has seen so without looking at any process. After a crash:

    1  stop commands, in parallel, at most 10 s: what they stop (a container) need not descend from us
    2  SIGTERM to every process that carries the marker of a dead daemon
    3  3 s
    4  SIGKILL to what is left of them, until two looks find none

**When a stop command is run.** The machine must not have been booted since. The leader must be alive and the
one that was recorded: the same pid, start and marker; then the command gets its pid. If the leader is gone,
which is the rule, as the kernel kills leaders together with their daemon, the command is run only if it does
not ask for a pid: `docker stop owl` names what it stops, and stops nothing else. With `${PID}` in it, it is
not run: the number may be a stranger's by now.

The whole of it, layer by layer, is described in docs/design/processes.md.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import IO, Final

import trio

from swapd.supervision.helper_environment import without_supervision
from swapd.supervision.marked_processes import (
    MARKER,
    MarkedProcess,
    find_marked,
    marked_with,
    read_file,
    read_stat,
    send_signal,
)
from swapd.supervision.records import InstanceRecord, Leftovers

STOP_COMMAND_LIMIT_S: Final = 10.0
TERM_LIMIT_S: Final = 3.0
KILL_LIMIT_S: Final = 5.0
_FIRST_PAUSE_S: Final = 0.02
_LONGEST_PAUSE_S: Final = 0.25
_TAIL: Final = 500


class Sweep:
    """One sweep. `instance` is the uuid of the daemon that sweeps; `info` and `warn` take log lines."""

    def __init__(self, instance: str, *, info: Callable[[str], None], warn: Callable[[str], None]) -> None:
        self._instance = instance
        self._info = info
        self._warn = warn

    async def run(self, left: Leftovers) -> frozenset[str]:
        """End what is left. Returns the uuids of those daemons that still have processes, which takes one
        that is stuck in the kernel.

        Bounded by some 18 s. Cancelling it stops at once; nothing is lost, the next sweep goes on.
        """
        for problem in left.problems:
            self._warn(problem)
        if left.daemon_pid is not None:
            self._warn(f"the swapd before this one (pid {left.daemon_pid}) did not end in order")
        async with trio.open_nursery() as nursery:
            for each in left.records:
                nursery.start_soon(self._run_stop_command, each.record)
        if left.instances:
            await self._terminate(left.instances)
            return await self._kill(left.instances)
        return frozenset()

    async def _run_stop_command(self, record: InstanceRecord) -> None:
        if not record.stop_argv:
            return
        text = shlex.join(record.stop_argv)
        alive = is_recorded_leader(record)
        if not alive and any("${PID}" in word for word in record.stop_argv):
            return
        environ = _environment_of(record.pid) if alive else os.environ
        env = {**without_supervision(environ), MARKER: self._instance}
        words = [word.replace("${PID}", str(record.pid)) for word in record.stop_argv]
        failure = await run_command(words, env)
        if failure is None:
            self._info(f"{record.model}: left by an earlier swapd; stopped with `{text}`")
        else:
            self._warn(
                f"{record.model}: left by an earlier swapd; its stop command `{text}` failed: {failure}"
            )

    async def _terminate(self, instances: frozenset[str]) -> None:
        """SIGTERM once to each; return when all have gone, or after three seconds."""
        asked: set[tuple[int, int]] = set()
        pause = _FIRST_PAUSE_S
        with trio.move_on_after(TERM_LIMIT_S):
            while found := find_marked(instances):
                for process in found:
                    identity = (process.pid, process.start_ticks)
                    if identity not in asked and send_signal(process, signal.SIGTERM):
                        asked.add(identity)
                        self._info(f"{process} was left by an earlier swapd; sent SIGTERM")
                await trio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_S)

    async def _kill(self, instances: frozenset[str]) -> frozenset[str]:
        """SIGKILL until two looks in a row find nobody; the daemons of those that stay."""
        killed: set[tuple[int, int]] = set()
        deadline = trio.current_time() + KILL_LIMIT_S
        empty_looks = 0
        while True:
            found = find_marked(instances)
            for process in found:
                identity = (process.pid, process.start_ticks)
                if send_signal(process, signal.SIGKILL) and identity not in killed:
                    killed.add(identity)
                    self._info(f"{process} was left by an earlier swapd and did not react; sent SIGKILL")
            empty_looks = 0 if found else empty_looks + 1
            if empty_looks == 2:
                return frozenset()
            if trio.current_time() >= deadline and found:
                return self._give_up(found)
            await trio.sleep(_FIRST_PAUSE_S)

    def _give_up(self, left: list[MarkedProcess]) -> frozenset[str]:
        names = ", ".join(map(str, left))
        self._warn(f"{names}: left by an earlier swapd, cannot be killed; may still hold memory or a port")
        return frozenset(process.instance for process in left)


def is_recorded_leader(record: InstanceRecord) -> bool:
    """Whether the process of that number is the one that was recorded; the boot id has been compared.

    Whoever signals it afterwards must look again, holding a pidfd: `send_signal` does.
    """
    found = read_stat(record.pid)
    if found is None or found[1] != record.start_ticks:
        return False
    return marked_with(record.pid, frozenset((record.instance,))) is not None


async def run_command(words: Sequence[str], env: Mapping[str, str]) -> str | None:
    """Run a command for at most ten seconds; None if it succeeded, else what went wrong.

    It runs in a group of its own, which is killed when the time is over or on cancellation. It stays in our
    session: by that the reaper knows that it is not an adopted orphan.
    """
    with tempfile.TemporaryFile() as errors:  # not a pipe: what it starts may keep that open for ever
        with trio.move_on_after(STOP_COMMAND_LIMIT_S):
            try:
                done = await trio.run_process(
                    list(words),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=errors,
                    check=False,
                    env=dict(env),
                    process_group=0,
                    deliver_cancel=_kill_group,
                )
            except (OSError, ValueError) as error:
                return (isinstance(error, OSError) and error.strerror) or str(error)
            if done.returncode == 0:
                return None
            return f"{_status(done.returncode)}{_tail(errors)}"
        return f"no end after {STOP_COMMAND_LIMIT_S:g} s{_tail(errors)}"


async def _kill_group(process: trio.Process) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _status(code: int) -> str:
    return f"exit status {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"


def _tail(errors: IO[bytes]) -> str:
    errors.seek(0)
    text = errors.read()[-_TAIL:].decode(errors="replace").strip()
    return f": {' | '.join(text.split(chr(10)))}" if text else ""


def _environment_of(pid: int) -> dict[str, str]:
    """What a process was started with."""
    items = (os.fsdecode(item).partition("=") for item in read_file(f"/proc/{pid}/environ").split(b"\0"))
    return {name: value for name, equals, value in items if name and equals}
