"""A real `swapd serve` as a child process of the test, on free ports, with what it started watched over."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from uuid import uuid4

import httpx
import trio

from swapd.testing.ports import free_ports
from swapd.testing.processes import (
    MARKER,
    MarkedProcess,
    kill_processes,
    marked_processes,
    wait_for_exit,
    wait_until_gone,
)
from swapd.testing.upstream.remote import RemoteUpstream

_START_LIMIT_S = 30.0
_STOP_LIMIT_S = 30.0
_LISTENING = re.compile(r"listening on (https?://\S+)")

_PORTS_PER_DAEMON = 20
_SWAPD = (sys.executable, "-m", "swapd")
_GUARDIAN = re.compile(r"swapd-guardian| -I -S -E /dev/fd/\d+ ")
"""How the guardian is called, once it has given itself a name and before."""
_LAST_MOMENT_S = 5.0
"""How long after the daemon its guardian may take to notice."""


class DaemonError(Exception):
    """The daemon did not start, or did not do in time what was waited for; the text ends with its output."""


def upstream_command(*flags: str) -> str:
    """A `cmd` for the configuration: the fake upstream on `${PORT}` with these flags."""
    return f"{shlex.quote(sys.executable)} -m swapd.testing.upstream --port ${{PORT}} {shlex.join(flags)}"


def llama_command(model: Path, *flags: str) -> str:
    """A `cmd` for the configuration: llama.cpp's server with this model on `${PORT}`."""
    words = [sys.executable, "-m", "swapd.testing.llama", "-m", str(model)]
    return f"{shlex.join(words)} --port ${{PORT}} {shlex.join(flags)}"


_STAND_IN = """\
#!/bin/sh
port=0
while [ $# -gt 0 ]; do
    case $1 in
        --port) port=$2 ;;
        --port=*) port=${1#--port=} ;;
    esac
    shift
done
exec %s --port "$port"
"""


def stand_in_script(*flags: str) -> str:
    """A shell script that is the fake upstream on the port it is told, whatever else it is told."""
    return _STAND_IN % shlex.join([sys.executable, "-m", "swapd.testing.upstream", *flags])


class Daemon:
    """A running daemon; made by `run_daemon` or `run_swapd`.

    Mutable state: the output so far, fed by a task of `run_swapd`.
    """

    def __init__(self, process: subprocess.Popen[bytes], marker: str, directory: Path) -> None:
        self.directory = directory
        self.url = ""
        self._process = process
        self._marker = marker
        self._output = bytearray()
        self._printed = trio.Event()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def output(self) -> str:
        """All it has written to stdout and stderr."""
        return self._output.decode(errors="replace")

    @property
    def processes(self) -> list[MarkedProcess]:
        """What runs on its behalf: everything it has started, itself and its guardian left out."""
        return [
            process
            for process in marked_processes(self._marker)
            if process.pid != self.pid and not _GUARDIAN.search(process.command)
        ]

    @property
    def guardian(self) -> MarkedProcess | None:
        """The process that cleans up after it should it be killed; None if there is none now."""
        found = [each for each in marked_processes(self._marker) if _GUARDIAN.search(each.command)]
        return found[0] if found else None

    def client(self, *, timeout_s: float = 30.0) -> httpx.AsyncClient:
        """An HTTP client for its address; `async with` it."""
        return httpx.AsyncClient(base_url=self.url, timeout=timeout_s, trust_env=False)

    @asynccontextmanager
    async def upstream(self, model: str) -> AsyncIterator[RemoteUpstream]:
        """The control end of the running fake upstream of a model."""
        async with self.client() as client:
            running = (await client.get("/running")).json()["running"]
        addresses = {entry["model"]: entry["proxy"] for entry in running}
        if model not in addresses:
            raise DaemonError(f"{model} is not running, only {sorted(addresses)}\n{self.output}")
        async with RemoteUpstream(addresses[model]) as remote:
            yield remote

    async def printed(self, pattern: str | re.Pattern[str]) -> re.Match[str]:
        """Wait until the output matches; fails when the daemon ends first or takes longer than 30 s."""
        with trio.move_on_after(_START_LIMIT_S):
            while (match := re.search(pattern, self.output)) is None:
                if self._process.poll() is not None:
                    raise DaemonError(f"the daemon ended with {self._process.returncode}\n{self.output}")
                await self._printed.wait()
            return match
        raise DaemonError(f"the daemon has not printed {pattern!r}\n{self.output}")

    async def queued(self, model: str, count: int) -> None:
        """Wait until at least so many requests wait for a model; bounded by 30 s, then DaemonError."""
        with trio.move_on_after(_START_LIMIT_S):
            while True:
                seen = len(self.output)
                self.signal(signal.SIGUSR1)  # makes it log its state
                state = re.compile(rf"state: \[{re.escape(model)}\] .* (\d+) queued")
                while (match := state.search(self.output, seen)) is None:
                    await self._printed.wait()
                if int(match[1]) >= count:
                    return
        raise DaemonError(f"no {count} requests have come to wait for {model}\n{self.output}")

    def signal(self, number: int) -> None:
        """Send a signal to the daemon alone."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL to the daemon alone: what it started is its guardian's business."""
        self._process.kill()

    async def stop(self) -> int:
        """SIGTERM, then wait for its end; the exit status, negative for a signal."""
        self._process.terminate()
        return await self.exited()

    async def exited(self) -> int:
        """Wait for its end by itself; the exit status, negative for a signal."""
        with trio.move_on_after(_STOP_LIMIT_S):
            return await self._wait()
        raise DaemonError(f"the daemon is still there after {_STOP_LIMIT_S:g} s\n{self.output}")

    async def all_gone(self, within_s: float = _STOP_LIMIT_S) -> None:
        """Wait until neither the daemon nor anything it started is there."""
        with trio.move_on_after(within_s):
            await self._wait()
            await wait_until_gone(self._marker)
            return
        left = "\n".join(map(str, marked_processes(self._marker)))
        raise DaemonError(f"still running after {within_s:g} s:\n{left}\n{self.output}")

    async def _collect_output(self) -> None:
        assert self._process.stdout is not None
        async with trio.lowlevel.FdStream(os.dup(self._process.stdout.fileno())) as stream:
            async for data in stream:
                self._output += data
                self._wake()
        await self._wait()
        self._wake()

    async def _wait(self) -> int:
        """The exit status, once there is one. Can be waited for by several tasks, and be cancelled."""
        if self._process.poll() is None:
            await wait_for_exit(self._process.pid)
        return self._process.wait()

    def _wake(self) -> None:
        self._printed.set()
        self._printed = trio.Event()


@asynccontextmanager
async def run_daemon(
    config: str,
    directory: Path,
    *arguments: str,
    environment: Mapping[str, str] | None = None,
    pass_fds: Sequence[int] = (),
    through: Sequence[str] = (),
) -> AsyncIterator[Daemon]:
    """Run `swapd serve` with this configuration text, on a free port, for the length of the block.

    `directory` (a fresh one) takes the configuration, as `config.yaml`, and the daemon's state. Unless the
    text sets `startPort`, it gets a range of free ports, so that tests in parallel do not meet. See
    `run_swapd`.
    """
    config_file = directory / "config.yaml"
    config_file.write_text(_with_ports(config))
    words = ("serve", "--config", str(config_file), "--listen", "127.0.0.1:0", *arguments)
    async with run_swapd(
        directory, *words, environment=environment, pass_fds=pass_fds, through=through
    ) as daemon:
        yield daemon


@asynccontextmanager
async def run_swapd(
    directory: Path,
    *arguments: str,
    environment: Mapping[str, str] | None = None,
    pass_fds: Sequence[int] = (),
    through: Sequence[str] = (),
) -> AsyncIterator[Daemon]:
    """Run swapd with these arguments for the length of the block; yields once it listens.

    `environment` is added to ours, `pass_fds` are inherited, and `through` is a command that runs the command
    behind it, such as `unshare -pf`.

    On leaving, by an exception or cancellation too, it is stopped in order, bounded by 30 s; what is then
    left of it is killed, and reported as DaemonError.
    """
    marker = uuid4().hex
    variables = {**_environment(directory, marker), **(environment or {})}
    daemon = Daemon(_spawn((*through, *_SWAPD, *arguments), variables, pass_fds), marker, directory)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(daemon._collect_output)
            try:
                daemon.url = (await daemon.printed(_LISTENING))[1]
                yield daemon
            finally:
                with trio.CancelScope(shield=True):
                    await _end(daemon, marker)
                nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        if len(group.exceptions) == 1:
            raise group.exceptions[0] from None
        raise


async def _end(daemon: Daemon, marker: str) -> None:
    """Stop the daemon in order, then by force; fails when anything is left after the orderly stop."""
    try:
        await daemon.stop()
        with trio.move_on_after(_LAST_MOMENT_S):
            await wait_until_gone(marker)
        if left := marked_processes(marker):
            raise DaemonError("the daemon left behind:\n" + "\n".join(map(str, left)) + f"\n{daemon.output}")
    finally:
        kill_processes(marked_processes(marker))
        await daemon._wait()
        assert daemon._process.stdout is not None
        daemon._process.stdout.close()


def _spawn(
    command: Sequence[str], environment: Mapping[str, str], pass_fds: Sequence[int]
) -> subprocess.Popen[bytes]:
    """Start it; should the test run be killed, it gets SIGTERM from the kernel and ends in order.

    That signal is sent when the *thread* that started it ends: so not through trio's worker threads.
    """
    return subprocess.Popen(
        [*_death_signal_helper(), *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment,
        pass_fds=pass_fds,
        start_new_session=True,
    )


@cache
def _death_signal_helper() -> tuple[str, ...]:
    """What makes the kernel send a command SIGTERM when its parent is gone; nothing where setpriv cannot."""
    helper = ("setpriv", "--pdeathsig", "TERM", "--")
    try:
        tried = subprocess.run([*helper, "true"], capture_output=True, check=False)
    except OSError:
        return ()
    return helper if tried.returncode == 0 else ()


def _environment(directory: Path, marker: str) -> dict[str, str]:
    """Ours, without what would steer the daemon, with places and a marker of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SWAPD_")}
    places = {name: str(directory / name.lower()) for name in ("XDG_STATE_HOME", "XDG_RUNTIME_DIR")}
    for place in places.values():
        Path(place).mkdir(mode=0o700, exist_ok=True)
    return {**kept, **places, "PYTHONUNBUFFERED": "1", MARKER: marker}


def _with_ports(config: str) -> str:
    if re.search(r"^startPort:", config, re.MULTILINE):
        return config
    return f"startPort: {free_ports(_PORTS_PER_DAEMON)}\n{config}"
