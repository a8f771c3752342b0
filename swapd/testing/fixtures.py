"""pytest fixtures; `pytest_plugins = ["swapd.testing.fixtures"]` in a `conftest.py` brings them in.

Needs pytest-trio. The vocabulary: `clock` (virtual time), `upstream` (a fake model server in this process),
`daemon` (a real `swapd serve`), `tiny_model` (a GGUF file). After every test it is checked that no process
is left.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Protocol

import pytest
import trio
from trio.testing import MockClock

from swapd.testing.daemon import Daemon, run_daemon
from swapd.testing.gguf import Kind, write_tiny_model
from swapd.testing.processes import child_processes, kill_processes, reap_children
from swapd.testing.upstream.local import LocalUpstream, serve_upstream


class StartDaemon(Protocol):
    """What the fixture `daemon` gives: call it with a configuration text, and flags if need be."""

    def __call__(self, config: str, *arguments: str) -> Awaitable[Daemon]: ...


@pytest.fixture
def clock() -> MockClock:
    """Virtual time: it stands still while anything can run, then jumps to the next deadline."""
    return MockClock(autojump_threshold=0)


@pytest.fixture
async def upstream() -> AsyncIterator[LocalUpstream]:
    """A fake upstream in this process, on a real socket; turn its knobs with `upstream.set(...)`."""
    async with serve_upstream() as running:
        yield running


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[StartDaemon]:
    """Starts daemons: `running = await daemon("models: …")`. Each is stopped after the test, with a check
    that nothing it started is left."""
    ending = trio.Event()
    numbers = count(1)

    async def live(config: str, arguments: tuple[str, ...], task_status: trio.TaskStatus[Daemon]) -> None:
        directory = tmp_path / f"daemon-{next(numbers)}"
        directory.mkdir()
        async with run_daemon(config, directory, *arguments) as running:
            task_status.started(running)
            await ending.wait()

    async with trio.open_nursery() as nursery:

        async def start(config: str, *arguments: str) -> Daemon:
            running: Daemon = await nursery.start(live, config, arguments)
            return running

        yield start
        ending.set()


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Kind], Path]:
    """Writes tiny GGUF models, each kind once a session: `tiny_model("chat")` is its path."""
    directory = tmp_path_factory.mktemp("models")

    def model(kind: Kind) -> Path:
        path = directory / f"{kind}.gguf"
        if not path.exists():
            write_tiny_model(path, kind=kind)
        return path

    return model


@pytest.fixture(autouse=True)
def _no_process_left() -> Iterator[None]:
    """Fails a test that leaves a child process, running or unreaped, and ends the process."""
    before = {process.pid for process in child_processes()}
    yield
    left = [process for process in child_processes() if process.pid not in before]
    kill_processes(left)
    reap_children(left)
    if left:
        pytest.fail("the test has left processes:\n" + "\n".join(map(str, left)))
