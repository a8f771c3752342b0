"""Upstream processes on this machine.

A `LocalProcess` ties together what the modules beside this one know: `spawn` (environment, session,
pipes, death signal), `exit_watch` (its end, seen before it is reaped), `output` (the pipes, always
drained) and `process_tree` (everything that descends from it). What is decided here is the order:

    stop:     ask (stop command or SIGTERM) → grace → SIGKILL to the tree → the leader has ended
    cleanup:  kill the rest of the tree → read the rest of the output → reap the leader

The leader is reaped last, because until then nobody else can get its pid, nor the group of that number.

What is kept outside of this process about each of them, for the case that it ends before they do, is a
`Bookkeeper`'s business; docs/design/processes.md shows how it all fits together.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Protocol
from urllib.parse import urlsplit

import trio

from swapd.nursery.exit_watch import ExitWatch
from swapd.nursery.launcher import ExitStatus, LaunchError, LaunchSpec, OutputSink, StopGrace
from swapd.nursery.output import OutputDrain
from swapd.nursery.port_check import check_port_is_free
from swapd.nursery.process_tree import Marker, OwnChildren, ProcessTree
from swapd.nursery.spawn import Child, check_program, child_environment, find_death_signal_helper, spawn
from swapd.nursery.stop_command import run_stop_command

_DRAIN_AFTER_EXIT_S = 0.25
_STUCK_AFTER_S = 10.0
_STUCK_AGAIN_S = 30.0


class Bookkeeper(Protocol):
    """Is told of every process from its spawn to the last of its tree. Must neither block nor raise."""

    def spawned(self, spec: LaunchSpec, pid: int) -> None:
        """A leader has been started."""

    def kill(self, pid: int) -> None:
        """Everything below this leader is being killed, and the leader too if it still lives."""

    def gone(self, spec: LaunchSpec, pid: int) -> None:
        """The leader has ended and nothing of its tree is left. Its pid is not free yet."""


class NoBookkeeper:
    """Writes nothing down: a crash of this process is nobody's concern."""

    def spawned(self, spec: LaunchSpec, pid: int) -> None: ...

    def kill(self, pid: int) -> None: ...

    def gone(self, spec: LaunchSpec, pid: int) -> None: ...


class LocalLauncher:
    """Starts processes as children of this one.

    - `adopts_orphans`: this process is a child subreaper (`swapd.supervision.subreaper`). Then whatever
      loses its parent below us comes to us, and an empty tree is recognised without a search.
    - `own_children`: where the pids of what is started are kept, for whoever collects adopted orphans
      and must leave these alone.
    - `log_error`: takes a line about a process that will not go.
    - `bookkeeper`: is told what is started and what is gone.
    - `die_with_us`: have the kernel kill the leaders when this process dies, where that can be had.
    """

    def __init__(
        self,
        *,
        own_children: OwnChildren,
        adopts_orphans: bool,
        log_error: Callable[[str], None],
        bookkeeper: Bookkeeper | None = None,
        die_with_us: bool = True,
    ) -> None:
        self._own = own_children
        self._adopts_orphans = adopts_orphans
        self._log_error = log_error
        self._books = bookkeeper or NoBookkeeper()
        self._helper = find_death_signal_helper() if die_with_us else ()

    async def launch(self, spec: LaunchSpec, output: OutputSink) -> LocalProcess:
        _check_base_url(spec.base_url)
        marker = Marker(spec.instance_uuid, spec.model, str(spec.gen))
        env = child_environment(os.environ, spec.env, marker.environment())
        check_program(spec.argv, env)
        if spec.own_port is not None:
            await check_port_is_free(spec.own_port)
        # No await from here on: whoever is cancelled before has started nothing, whoever gets past has
        # a process in hand.
        child = spawn(spec.argv, env, helper=self._helper)
        self._own.add(child.pid)
        self._books.spawned(spec, child.pid)
        tree = ProcessTree(child.pid, marker, self._own, adopts_orphans=self._adopts_orphans)
        return LocalProcess(spec, env, child, tree, output, self._own, self._books, self._log_error)


class LocalProcess:
    """One upstream process and everything below it.

    The mutable state: how far the leader was asked to end (`_ask`), whether it was killed instead of being
    stopped by its command (`_stop_command_owed`), and whether SIGKILL has failed to end it so far (`stuck`).
    What is left of process and pipes is known to the parts.
    """

    def __init__(
        self,
        spec: LaunchSpec,
        env: dict[str, str],
        child: Child,
        tree: ProcessTree,
        output: OutputSink,
        own: OwnChildren,
        books: Bookkeeper,
        log_error: Callable[[str], None],
    ) -> None:
        self.pid = child.pid
        self.base_url = spec.base_url
        self.stuck = False
        self._spec = spec
        self._env = env
        self._tree = tree
        self._sink = output
        self._own = own
        self._books = books
        self._log_error = log_error
        self._exit = ExitWatch(child.pid)
        self._output = OutputDrain(child.stdout, child.stderr, output)
        self._stop_command_tried = False
        self._asked = False
        self._stop_command_owed = False

    @property
    def stderr_tail(self) -> str:
        return self._output.stderr_tail

    def poll(self) -> ExitStatus | None:
        status = self._exit.poll()
        return None if status is not None and self._in_background(status) else status

    async def wait(self) -> ExitStatus:
        return await self._while_draining(self._wait_for_the_end)

    async def stop(self, grace: StopGrace) -> ExitStatus:
        status = await self._while_draining(partial(self._end_leader, grace))
        await self.cleanup()
        return status

    async def cleanup(self) -> None:
        if self._exit.reaped:
            return
        self._books.kill(self.pid)
        survivors = await self._tree.remove()
        if survivors:
            pids = ", ".join(str(entry.pid) for entry in survivors)
            self._log_error(
                f"{self._spec.model}: processes {pids}, started by pid {self.pid}, do not react to SIGKILL; "
                "they may still hold memory or a port"
            )
        if not survivors and not self._stop_command_owed:
            # Otherwise it stays on record: a container that nobody has stopped is stopped at the next start.
            self._books.gone(self._spec, self.pid)
        await self._output.finish(_DRAIN_AFTER_EXIT_S)
        self._exit.reap()
        self._own.discard(self.pid)

    def kill(self) -> None:
        if not self._exit.reaped:
            self._stop_command_owed = bool(self._spec.stop_argv) and not self._asked
            self._kill_tree()

    def _kill_tree(self) -> None:
        self._books.kill(self.pid)
        self._tree.kill()

    async def _wait_for_the_end(self) -> ExitStatus:
        status = await self._exit.wait()
        if self._in_background(status):
            await trio.sleep_forever()  # nobody tells when a server ends that is not our child
        return status

    def _in_background(self, status: ExitStatus) -> bool:
        """Whether this end of the leader is no end, but leaves the server to itself, as intended."""
        return self._spec.detached and status.code == 0

    async def _end_leader(self, grace: StopGrace) -> ExitStatus:
        status = None
        if (
            grace.deadline > trio.current_time()
        ):  # else nobody is asked: a command would only be killed at once
            with grace.limit():
                status = await self._ask_and_wait()
        if status is None:
            self._kill_tree()
            status = await self._wait_for_the_kernel()
        return status

    async def _ask_and_wait(self) -> ExitStatus:
        """The request to end runs beside the wait: a stop command that hangs delays nothing."""
        if (status := self._exit.poll()) is not None:
            if self._in_background(status):
                await self._ask()
            return status
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._ask)
            status = await self._exit.wait()
            nursery.cancel_scope.cancel()
        return status

    async def _ask(self) -> None:
        if self._asked:
            return
        if self._spec.stop_argv and not self._stop_command_tried:
            self._stop_command_tried = True
            failure = await run_stop_command(self._spec.stop_argv, self.pid, self._env, self._sink, self._own)
            if failure is None:
                self._asked = True
                return
            self._log_error(
                f"{self._spec.model}: the stop command failed ({failure}); sending SIGTERM instead"
            )
        self._asked = True
        await self._tree.terminate()

    async def _wait_for_the_kernel(self) -> ExitStatus:
        """After SIGKILL. It can only take long when the leader is in a system call that cannot be
        interrupted, as happens with failing drivers and disks."""
        with trio.move_on_after(_STUCK_AFTER_S):
            return await self._exit.wait()
        self.stuck = True
        waited = _STUCK_AFTER_S
        while True:
            self._log_error(
                f"{self._spec.model}: pid {self.pid} has not ended {waited:.0f} s after SIGKILL; "
                "it is stuck in the kernel (a GPU driver, a disk), and the model stays `stopping` meanwhile"
            )
            with trio.move_on_after(_STUCK_AGAIN_S):
                status = await self._exit.wait()
                self.stuck = False
                return status
            waited += _STUCK_AGAIN_S

    async def _while_draining(self, work: Callable[[], Awaitable[ExitStatus]]) -> ExitStatus:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._output.run)
            status = await work()
            nursery.cancel_scope.cancel()
        return status


def _check_base_url(base_url: str) -> None:
    try:
        url = urlsplit(base_url)
        usable = url.scheme in ("http", "https") and url.hostname is not None and url.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise LaunchError(
            f"{base_url!r} is no address of an upstream; `proxy` needs a URL like http://127.0.0.1:5800"
        )
