"""Figures, not a test: how late readiness is noticed, and what a spawn and a stop cost.

    python -m tests.real.measure_process [ROUNDS]

The servers are silent: no line of output gives away that they are ready. What each wrote down as the time
of its readiness is compared with the time of the `Ready` report, both on CLOCK_MONOTONIC.
"""

from __future__ import annotations

import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import trio

from swapd.nursery.instance import InstanceControl, InstanceSpec, run_instance
from swapd.nursery.launcher import LaunchSpec
from swapd.nursery.local_launcher import LocalLauncher
from swapd.nursery.prober import HttpProber
from swapd.nursery.process_tree import OwnChildren
from swapd.nursery.reports import Gone, InstanceReport, Ready
from swapd.supervision.subreaper import become_subreaper

SERVER = """
import socket, sys, time
port, ready_after, until_ready, note = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3], sys.argv[4]
ready_at = time.monotonic() + ready_after
if until_ready == "refuses":
    time.sleep(ready_after)
listener = socket.create_server(("127.0.0.1", port), backlog=64)
written = False
if until_ready == "refuses":
    open(note, "w").write(str(time.monotonic()))
    written = True
while True:
    listener.settimeout(None if written else max(0.0001, ready_at - time.monotonic()))
    try:
        client, _ = listener.accept()
    except TimeoutError:
        open(note, "w").write(str(ready_at))
        written = True
        continue
    client.settimeout(None)
    client.recv(65536)
    status = b"200 OK" if time.monotonic() >= ready_at or until_ready == "refuses" else b"503 Loading"
    client.sendall(b"HTTP/1.1 " + status + b"\\r\\nContent-Length: 0\\r\\nConnection: close\\r\\n\\r\\n")
    client.close()
"""


class Round:
    """One instance from spawn to gone, with the times of its reports and of its first output."""

    def __init__(self, launcher: LocalLauncher, spec: InstanceSpec) -> None:
        self.times: dict[str, float] = {}
        self._launcher = launcher
        self._spec = spec
        self._control = InstanceControl()
        self._ready = trio.Event()

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._stop_when_ready)
            self.times["begin"] = time.monotonic()
            await run_instance(
                self._spec, self._control, self._launcher, HttpProber(), self._report, self._output
            )

    async def _stop_when_ready(self) -> None:
        await self._ready.wait()
        await trio.sleep(0.05)  # a stop of a process that has settled, not of one in its start
        self.times["stop"] = time.monotonic()
        self._control.request_stop(10)

    def _report(self, each: InstanceReport) -> None:
        self.times[type(each).__name__] = time.monotonic()
        if isinstance(each, Ready):
            self._ready.set()
        elif isinstance(each, Gone):
            assert each.ending.signal == 15, each

    def _output(self, chunk: bytes, is_stderr: bool) -> None:
        self.times.setdefault("output", time.monotonic())


def spec_for(argv: Sequence[str], *, port: int | None) -> InstanceSpec:
    base_url = f"http://127.0.0.1:{port or 1}"
    launch = LaunchSpec(
        model="owl", gen=1, argv=tuple(argv), base_url=base_url, own_port=port, instance_uuid="measure"
    )
    return InstanceSpec(launch, check_url=f"{base_url}/health" if port else None, health_timeout_s=30)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def show(what: str, milliseconds: Sequence[float]) -> None:
    ordered = sorted(milliseconds)
    median, worst = statistics.median(ordered), ordered[-1]
    print(f"{what:58} median {median:6.2f} ms   worst {worst:6.2f} ms   n={len(ordered)}")  # noqa: T201


async def measure_readiness(launcher: LocalLauncher, rounds: int, note: Path) -> None:
    for until_ready in ("refuses", "answers 503"):
        for ready_after_s in (0.02, 0.2, 0.7, 1.5):
            late = []
            for _ in range(rounds):
                port = free_port()
                argv = (sys.executable, "-I", "-S", "-c", SERVER)
                arguments = (str(port), str(ready_after_s), until_ready, str(note))
                measured = Round(launcher, spec_for(argv + arguments, port=port))
                await measured.run()
                late.append(1000 * (measured.times["Ready"] - float(note.read_text())))  # noqa: ASYNC240
            show(f"ready after {1000 * ready_after_s:.0f} ms, {until_ready} until then: noticed after", late)


async def measure_spawn_and_stop(launcher: LocalLauncher, rounds: int) -> None:
    spawned, first_output, stopped = [], [], []
    for _ in range(rounds):
        measured = Round(launcher, spec_for(("sh", "-c", "echo up; exec sleep 1000"), port=None))
        await measured.run()
        times = measured.times
        spawned.append(1000 * (times["Spawned"] - times["begin"]))
        first_output.append(1000 * (times["output"] - times["begin"]))
        stopped.append(1000 * (times["Gone"] - times["stop"]))
    show("from the request to Spawned", spawned)
    show("from the request to the first output of a shell", first_output)
    show("from the request to stop `sleep` to Gone", stopped)


async def main(rounds: int) -> None:
    launcher = LocalLauncher(own_children=OwnChildren(), adopts_orphans=become_subreaper(), log_error=print)
    with tempfile.TemporaryDirectory() as directory:
        await measure_spawn_and_stop(launcher, 5 * rounds)
        await measure_readiness(launcher, rounds, Path(directory) / "ready-at")


if __name__ == "__main__":
    trio.run(main, int(sys.argv[1]) if len(sys.argv) > 1 else 10)
