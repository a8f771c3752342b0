"""What it takes to run an upstream process, as an interface.

`run_instance` starts, watches and stops processes through the two protocols here and through nothing
else, so that it neither knows nor cares where the process lives. `swapd.nursery.local_launcher` puts it
on this machine; the tests put it nowhere at all.
"""

from __future__ import annotations

import signal as signals
from collections.abc import Callable
from typing import Protocol

import trio
from msgspec import Struct

OutputSink = Callable[[bytes, bool], None]
"""Takes what a process wrote, as `(chunk, is_stderr)`. Called from the event loop; must not block."""


class LaunchError(Exception):
    """The process could not be started; the text says what failed, for people."""


class LaunchSpec(Struct, frozen=True):
    """Everything needed to start one instance of a model, and to stop it."""

    model: str
    gen: int

    argv: tuple[str, ...]
    """The command as words; the first is looked up in PATH. No shell is involved."""

    base_url: str
    """Where the server will answer, as `http://host:port[/path]`."""

    env: tuple[str, ...] = ()
    """`NAME=value` items added to the daemon's own environment; later ones win."""

    stop_argv: tuple[str, ...] = ()
    """The command that stops the instance, `${PID}` standing for the leader's pid. Empty: SIGTERM."""

    detached: bool = False
    """The command may exit with status 0 and leave the server in the background: `Process.wait` and `poll` do
    not take that for the end, and `stop` runs the stop command all the same."""

    own_port: int | None = None
    """The port swapd itself assigned. Nothing may listen on it when the process is started."""

    instance_uuid: str = ""
    """Identity of this daemon, put into the environment of everything it starts."""


class ExitStatus(Struct, frozen=True):
    """How a process ended: with an exit code or by a signal. Neither is known when somebody else
    collected the status first."""

    code: int | None = None
    signal: int | None = None

    @property
    def text(self) -> str:
        """`exit status 1` or `killed by SIGKILL`."""
        if self.signal is not None:
            return f"killed by {_signal_name(self.signal)}"
        if self.code is not None:
            return f"exit status {self.code}"
        return "exit status unknown"


def _signal_name(number: int) -> str:
    try:
        return signals.Signals(number).name
    except ValueError:  # the real-time signals between the first and the last have no name
        return f"signal {number}"


class StopGrace:
    """How long a process being stopped may still take, as a deadline that can only come nearer.

    The mutable state is the deadline; `shorten` changes it and at once moves the deadline of every
    scope that `limit` has handed out, so a stop in progress follows without being woken by hand.
    """

    def __init__(self, deadline: float) -> None:
        self._deadline = deadline
        self._scopes: list[trio.CancelScope] = []

    @property
    def deadline(self) -> float:
        """Seconds on trio's clock."""
        return self._deadline

    def shorten(self, deadline: float) -> None:
        """Bring the deadline forward; a later one than the present changes nothing."""
        self._deadline = min(self._deadline, deadline)
        for scope in self._scopes:
            scope.deadline = self._deadline

    def limit(self) -> trio.CancelScope:
        """A cancel scope, to be entered once, around work that may go on until the grace is over."""
        scope = trio.CancelScope(deadline=self._deadline)
        self._scopes.append(scope)
        return scope


class Process(Protocol):
    """A started upstream: the leader of a process tree, and its output.

    The output is read while `wait`, `stop` or `cleanup` runs, so that no task lives outside the
    caller's nursery. The caller is always in one of the three, and never in two at a time.
    """

    @property
    def pid(self) -> int: ...

    @property
    def base_url(self) -> str: ...

    @property
    def stderr_tail(self) -> str:
        """The last lines written to stderr, at most 2 KiB, control characters escaped as `\\xNN`."""

    @property
    def stuck(self) -> bool:
        """SIGKILL was sent a while ago and the leader still has not gone."""

    def poll(self) -> ExitStatus | None:
        """How the leader ended, or None while it runs. Synchronous."""

    async def wait(self) -> ExitStatus:
        """Wait until the leader has ended. Cleans nothing up; may be cancelled and called again."""

    async def stop(self, grace: StopGrace) -> ExitStatus:
        """Ask the process to end, wait for `grace`, then kill it; return when its whole tree is gone.

        Bounded by the grace and about two seconds, except for a leader that the kernel does not let
        go. May be cancelled and called again: it goes on where it was and asks nobody twice.
        """

    async def cleanup(self) -> None:
        """After the leader has ended by itself: remove the rest of its tree, read what is left of the
        output, and let go of the process. Bounded by about two seconds."""

    def kill(self) -> None:
        """Send SIGKILL to the whole tree now. Synchronous; never raises."""


class Launcher(Protocol):
    async def launch(self, spec: LaunchSpec, output: OutputSink) -> Process:
        """Start a process. Raises `LaunchError`. If cancelled, nothing has been started."""
