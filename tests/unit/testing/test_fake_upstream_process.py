"""The fake upstream as a process: start-up, crashes, signals, grandchildren, output."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from uuid import uuid4

import httpx
import pytest
import trio

from swapd.testing.processes import MARKER, kill_processes, marked_processes, wait_until_gone
from swapd.testing.upstream.remote import RemoteUpstream

pytestmark = pytest.mark.real


class Running:
    """A fake upstream under test, with its output and whatever carries its marker."""

    def __init__(self, process: trio.Process, marker: str) -> None:
        self.process = process
        self.marker = marker
        self.output = b""

    async def printed(self, pattern: str) -> re.Match[str]:
        assert self.process.stdout is not None
        while (match := re.search(pattern, self.output.decode())) is None:
            data = await self.process.stdout.receive_some()
            assert data, f"ended without printing {pattern!r}: {self.output!r}"
            self.output += data
        return match

    async def url(self) -> str:
        return (await self.printed(r"listening on (http://\S+)"))[1]

    @property
    def pids(self) -> set[int]:
        return {process.pid for process in marked_processes(self.marker)}


@asynccontextmanager
async def run_upstream(*flags: str) -> AsyncIterator[Running]:
    marker = uuid4().hex
    command = [sys.executable, "-m", "swapd.testing.upstream", *flags]
    environment = {**os.environ, MARKER: marker}
    process = await trio.lowlevel.open_process(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment
    )
    try:
        yield Running(process, marker)
    finally:
        kill_processes(marked_processes(marker))
        with trio.CancelScope(shield=True):
            await process.wait()
            await wait_until_gone(marker)
            assert process.stdout is not None
            await process.stdout.aclose()


async def ask(url: str, **body: object) -> httpx.Response:
    async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
        return await client.post("/v1/chat/completions", json=body)


async def test_it_serves_and_ends_at_once_on_sigterm() -> None:
    async with run_upstream() as running:
        url = await running.url()
        assert (await ask(url, stream=True)).text.endswith("data: [DONE]\n\n")
        running.process.terminate()
        assert await running.process.wait() == -signal.SIGTERM


async def test_given_the_port_is_taken_when_started_then_it_says_so_and_exits() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        async with run_upstream("--port", str(port)) as running:
            await running.printed(f"cannot listen on 127.0.0.1:{port}: Address already in use")
            assert await running.process.wait() == 1


async def test_given_loading_when_asked_then_503_until_told_to_be_ready() -> None:
    async with run_upstream("--load", "1h") as running:
        url = await running.url()
        assert (await ask(url)).status_code == 503
        async with RemoteUpstream(url) as remote:
            await remote.become_ready()
        assert (await ask(url)).status_code == 200


async def test_a_held_request_is_released_by_remote_control() -> None:
    async with run_upstream("--hold") as running, RemoteUpstream(await running.url()) as remote:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, remote.url)
            await remote.received(1)
            assert (await remote.state())["running"] == 1
            await remote.release()
        (exchange,) = await remote.received(1)
        assert exchange["outcome"] == "done"


async def test_given_a_paced_stream_when_the_client_leaves_then_the_abort_is_reported() -> None:
    flags = ("--tps", "20", "--tokens", "1000")
    async with run_upstream(*flags) as running, RemoteUpstream(await running.url()) as remote:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(ask, remote.url, stream=True))
            await remote.received(1)
            nursery.cancel_scope.cancel()
        (aborted,) = await remote.aborted(1)
        assert aborted["tokens_sent"] < 1000


@pytest.mark.parametrize(
    ("flags", "status"),
    [
        (["--crash-after", "0"], 1),
        (["--crash-after", "0", "--exit-code", "0", "--never-listen"], 0),
        (["--crash-after", "50ms", "--exit-code", "7", "--never-listen"], 7),
        (["--crash-after", "0", "--exit-signal", "11"], -signal.SIGSEGV),
        (["--crash-after", "0", "--exit-signal", "9"], -signal.SIGKILL),
    ],
)
async def test_crashes_by_themselves(flags: list[str], status: int) -> None:
    async with run_upstream(*flags, "--stderr-line", "out of memory") as running:
        await running.printed("out of memory")
        assert await running.process.wait() == status


async def test_crash_after_requests() -> None:
    async with run_upstream("--crash-after-requests", "2") as running:
        url = await running.url()
        assert [(await ask(url)).status_code for _ in range(2)] == [200, 200]
        assert await running.process.wait() == 1


async def test_crash_in_mid_stream_breaks_the_connection() -> None:
    async with run_upstream("--crash-in-stream", "3") as running:
        with pytest.raises(httpx.RemoteProtocolError):
            await ask(await running.url(), stream=True)
        assert await running.process.wait() == 1


async def test_given_ignore_sigterm_when_terminated_then_it_serves_on() -> None:
    async with run_upstream("--ignore-sigterm") as running:
        url = await running.url()
        running.process.terminate()
        assert (await ask(url)).status_code == 200


async def test_given_a_term_delay_when_terminated_then_it_takes_its_time_and_exits_in_order() -> None:
    async with run_upstream("--term-delay", "1s") as running:
        url = await running.url()
        running.process.terminate()
        await running.printed(r"terminating in 1 s")
        assert (await ask(url)).status_code == 200
        assert await running.process.wait() == 0


@pytest.mark.parametrize("how", ["plain", "setpgrp", "setsid"])
async def test_a_grandchild_outlives_its_parent(how: str) -> None:
    async with run_upstream("--fork", how) as running:
        grandchild = int((await running.printed(r"grandchild (\d+)"))[1])
        await running.url()
        own = running.process.pid
        expected = {"plain": os.getpgid(own), "setpgrp": grandchild, "setsid": grandchild}[how]
        while os.getpgid(grandchild) != expected:  # it has been forked, but may not have run yet
            await trio.lowlevel.checkpoint()
        assert (os.getsid(grandchild) == grandchild) is (how == "setsid")
        running.process.kill()
        await running.process.wait()
        assert running.pids == {grandchild}


async def test_given_a_grandchild_that_holds_the_port_when_its_parent_dies_then_the_port_stays_taken() -> (
    None
):
    async with run_upstream("--fork", "plain", "--fork-hold-port") as running:
        port = int((await running.url()).rpartition(":")[2])
        running.process.kill()
        await running.process.wait()
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", port))


async def test_given_a_grandchild_that_holds_stdout_when_its_parent_dies_then_the_pipe_stays_open() -> None:
    async with run_upstream("--fork", "plain", "--fork-hold-stdout", "--fork-ignore-sigterm") as running:
        await running.url()
        running.process.kill()
        await running.process.wait()
        assert running.process.stdout is not None
        with trio.move_on_after(0.05) as waiting:
            while await running.process.stdout.receive_some():
                pass
        assert waiting.cancelled_caught


async def test_daemonise_leaves_and_serves_from_another_session() -> None:
    async with run_upstream("--daemonise") as running:
        assert await running.process.wait() == 0
        url = await running.url()
        assert (await ask(url)).status_code == 200
        (daemon,) = running.pids
        assert os.getsid(daemon) == daemon


async def test_output_and_memory() -> None:
    async with run_upstream(
        "--log-line",
        "first",
        "--log-line",
        "second",
        "--flood",
        "1MB",
        "--log-interval",
        "10ms",
        "--allocate",
        "50MB",
    ) as running:
        await running.printed("first\nsecond\n")
        await running.printed("line 2\n")
        assert running.output.count(b"flood ") == -(-1_000_000 // 128)
        resident_pages = int((await trio.Path(f"/proc/{running.process.pid}/statm").read_text()).split()[1])
        assert resident_pages * os.sysconf("SC_PAGE_SIZE") > 50_000_000


async def test_given_never_answer_when_asked_then_only_the_control_routes_answer() -> None:
    async with run_upstream("--never-answer") as running, RemoteUpstream(await running.url()) as remote:
        with trio.move_on_after(0.05) as waiting:
            await ask(remote.url)
        assert waiting.cancelled_caught
        assert (await remote.state())["ready"] is True


async def test_given_refuse_mode_when_loading_then_nothing_listens() -> None:
    async with run_upstream("--port", "0", "--load", "50ms", "--load-mode", "refuse") as running:
        await running.printed("loading")
        assert b"listening" not in running.output
        assert (await ask(await running.url())).status_code == 200
