"""Running a model's stop command (`cmdStop`), such as `docker stop` for a server in a container."""

from __future__ import annotations

import os
import signal as signals
from collections.abc import Mapping, Sequence
from contextlib import suppress

import trio

from swapd.nursery.exit_watch import ExitWatch
from swapd.nursery.launcher import LaunchError, OutputSink
from swapd.nursery.output import OutputDrain
from swapd.nursery.process_tree import OwnChildren
from swapd.nursery.spawn import check_program, spawn

_KILL_LIMIT_S = 1.0
_DRAIN_AFTER_EXIT_S = 0.05


async def run_stop_command(
    argv: Sequence[str], pid: int, env: Mapping[str, str], output: OutputSink, own: OwnChildren
) -> str | None:
    """Run the command with `${PID}` replaced by `pid`; None if it succeeded, else what went wrong.

    It runs with the environment of the instance, in a session of its own. Cancelling kills it with its
    group; that takes at most a second.
    """
    words = [word.replace("${PID}", str(pid)) for word in argv]
    try:
        check_program(words, env)
        child = spawn(words, env)
    except LaunchError as error:
        return str(error)
    own.add(child.pid)
    watch = ExitWatch(child.pid)
    drain = OutputDrain(child.stdout, child.stderr, output)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(drain.run)
            status = await watch.wait()
            nursery.cancel_scope.cancel()
    finally:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + _KILL_LIMIT_S):
            await _end(watch, drain)
        drain.close()
        if not watch.reap():
            watch.abandon()  # stuck in the kernel; whoever collects orphans gets it when it ends
        own.discard(child.pid)
    return None if status.code == 0 else status.text


async def _end(watch: ExitWatch, drain: OutputDrain) -> None:
    if watch.poll() is None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(watch.pid, signals.SIGKILL)
        await watch.wait()
    await drain.finish(_DRAIN_AFTER_EXIT_S)
