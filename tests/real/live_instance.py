"""An instance with a real process under it, and a view of what it says and leaves behind."""

from __future__ import annotations

import os
import shlex
import sys
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import trio
from attrs import Factory, define

from swapd.nursery.instance import InstanceControl, InstanceSpec, run_instance
from swapd.nursery.launcher import LaunchSpec
from swapd.nursery.local_launcher import LocalLauncher
from swapd.nursery.prober import HttpProber
from swapd.nursery.process_tree import OwnChildren, read_entry, read_marker
from swapd.nursery.reports import Ending, Gone, InstanceReport, Spawned

PATIENCE_S = 30
"""Nothing here should take long; whoever waits this long has found a fault."""


def python(code: str) -> tuple[str, ...]:
    """A command that runs a bit of Python, quickly started."""
    return (sys.executable, "-I", "-S", "-u", "-c", code)


def shell(script: str) -> tuple[str, ...]:
    return ("sh", "-c", script)


def quoted(command: Sequence[str]) -> str:
    """A command as text for a shell."""
    return shlex.join(command)


def marked_pids(instance_uuid: str) -> list[int]:
    """The live processes that carry the marker of this instance in their environment."""
    pids = [int(directory.name) for directory in Path("/proc").glob("[0-9]*")]
    return [pid for pid in pids if (marker := read_marker(pid)) and marker.instance == instance_uuid]


def is_alive(pid: int) -> bool:
    entry = read_entry(pid)
    return entry is not None and entry.alive


def is_known(pid: int) -> bool:
    """Whether there is such a process, be it a zombie."""
    return read_entry(pid) is not None


def zombies() -> list[int]:
    """Our children that have ended and that nobody has collected; this collects them."""
    collected: list[int] = []
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return collected
        if not pid:
            return collected
        collected.append(pid)


def open_descriptors() -> list[str]:
    return sorted(link.name for link in Path("/proc/self/fd").iterdir())


@define
class LiveInstance:
    """One run of `run_instance`; wait for what it says, then look."""

    launcher: LocalLauncher
    spec: InstanceSpec
    control: InstanceControl = Factory(InstanceControl)
    scope: trio.CancelScope = Factory(trio.CancelScope)
    reports: list[InstanceReport] = Factory(list)
    output: bytearray = Factory(bytearray)
    _changed: trio.Event = Factory(trio.Event)

    @property
    def uuid(self) -> str:
        return self.spec.launch.instance_uuid

    @property
    def pid(self) -> int:
        return next(each.pid for each in self.reports if isinstance(each, Spawned))

    @property
    def kinds(self) -> list[type[InstanceReport]]:
        return [type(each) for each in self.reports]

    async def said(self, text: str) -> str:
        """Wait until the process has written a line beginning with `text`; the rest of that line."""
        while True:
            for line in self.output.decode().splitlines(keepends=True):
                if line.startswith(text) and line.endswith("\n"):
                    return line[len(text) :].strip()
            await self._changed.wait()

    async def reported(self, kind: type[InstanceReport]) -> None:
        while kind not in self.kinds:
            await self._changed.wait()

    async def ended(self) -> Ending:
        """Wait until it is gone."""
        await self.reported(Gone)
        gone = self.reports[-1]
        assert isinstance(gone, Gone)
        return gone.ending

    async def stop(self, grace_s: float = PATIENCE_S) -> Ending:
        self.control.request_stop(grace_s)
        return await self.ended()

    async def run(self) -> None:
        def report(each: InstanceReport) -> None:
            self.reports.append(each)
            self._notify()

        def output(chunk: bytes, is_stderr: bool) -> None:
            self.output.extend(chunk)
            self._notify()

        with self.scope:
            await run_instance(self.spec, self.control, self.launcher, HttpProber(), report, output)

    def _notify(self) -> None:
        changed, self._changed = self._changed, trio.Event()
        changed.set()


class Stage:
    """Where the instances of a test live: a launcher, and what it complained about."""

    def __init__(self, *, adopts_orphans: bool) -> None:
        self.own = OwnChildren()
        self.errors: list[str] = []
        self.launcher = LocalLauncher(
            own_children=self.own, adopts_orphans=adopts_orphans, log_error=self.errors.append
        )

    async def has_ended(self, pid: int) -> None:
        """Wait until a process has ended, be it collected or not."""
        while is_alive(pid):  # noqa: ASYNC110 - nobody tells
            await trio.sleep(0.005)

    @asynccontextmanager
    async def instance(
        self,
        command: Sequence[str],
        *,
        stop: Sequence[str] = (),
        env: Sequence[str] = (),
        port: int | None = None,
        check: bool = False,
        detached: bool = False,
    ) -> AsyncIterator[LiveInstance]:
        """An instance that runs during the block. Afterwards nothing of it may be left."""
        base_url = f"http://127.0.0.1:{port or 1}"
        launch = LaunchSpec(
            model="owl",
            gen=1,
            argv=tuple(command),
            env=tuple(env),
            base_url=base_url,
            stop_argv=tuple(stop),
            own_port=port,
            instance_uuid=str(uuid.uuid4()),
            detached=detached,
        )
        spec = InstanceSpec(launch, check_url=f"{base_url}/" if check else None, health_timeout_s=PATIENCE_S)
        live = LiveInstance(self.launcher, spec)
        with trio.fail_after(PATIENCE_S):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(live.run)
                yield live
                live.scope.cancel()
        assert marked_pids(live.uuid) == []
