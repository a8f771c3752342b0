"""What the tests of whole daemons share: trees of processes to leave behind, bystanders, and waiting."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import httpx
import trio

from swapd.testing.daemon import Daemon
from swapd.testing.processes import MarkedProcess
from tests.conformance.server.support import Client
from tests.setups import Json, asking, chat, connection

GONE_WITHIN_S = 2.0
"""The promise: so long after the daemon was killed, nothing of it is left."""

PATIENCE_S = 60.0
"""For what must come, on a busy machine too."""

TREES: Mapping[str, tuple[str, ...]] = {
    "a server": (),
    "a child": ("--fork", "plain"),
    "a child in a group of its own": ("--fork", "setpgrp"),
    "a child in a session of its own": ("--fork", "setsid"),
    "a tree that ignores SIGTERM": ("--fork", "setsid", "--ignore-sigterm", "--fork-ignore-sigterm"),
}
"""Flags of the fake upstream, by what it then consists of."""


def size(tree: str) -> int:
    """How many processes it is."""
    return 2 if "--fork" in TREES[tree] else 1


async def until(condition: Callable[[], bool]) -> None:
    """Look until it holds, where nothing tells when that is the case."""
    with trio.fail_after(PATIENCE_S):
        while not condition():  # noqa: ASYNC110
            await trio.sleep(0.01)


async def load(running: Daemon, *models: str) -> None:
    """Have each model answer one request, so that it is ready."""
    async with running.client(timeout_s=PATIENCE_S) as client:
        for model in models:
            response = await client.post("/v1/chat/completions", json=chat(model))
            assert response.status_code == 200, (response.text, running.output)


@asynccontextmanager
async def open_stream(running: Daemon, model: str) -> AsyncIterator[Client]:
    """A stream from the model of which the first words have come. The upstream must be told to hold it."""
    async with connection(running) as client:
        await client.send(asking(chat(model, stream=True)))
        assert (await client.head()).status == 200
        assert (await client.chunk()).startswith(b"data: {")
        yield client


async def pids(running: Daemon) -> dict[str, int]:
    """The pid of each running model's server, as it says itself."""
    found = {}
    async with running.client() as client:
        entries: Json = (await client.get("/running")).json()["running"]
        for entry in entries:
            state = httpx.URL(entry["proxy"]).join("/control/state")
            found[entry["model"]] = int((await client.get(state)).json()["pid"])
    return found


@contextmanager
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    """A process that looks like one of ours, with a marker even, but of nobody's daemon. It must survive."""
    marker = {"SWAPD_INSTANCE": str(uuid.uuid4()), "SWAPD_MODEL": "owl", "SWAPD_GEN": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "swapd.testing.upstream", "--port", "0"],
        stdout=subprocess.PIPE,
        env={**os.environ, **marker},
        start_new_session=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    try:
        yield process
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def state_directory(running: Daemon) -> Path:
    """Where the daemon keeps its state."""
    return running.directory / "xdg_state_home" / "swapd"


def files(directory: Path) -> list[str]:
    """The files below it, by their path in it."""
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file())


def upstreams(running: Daemon) -> list[MarkedProcess]:
    """What it has started that is a fake upstream by now, and not on its way to become one."""
    return [process for process in running.processes if "swapd.testing.upstream" in process.command]


def open_descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))
