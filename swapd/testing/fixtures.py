"""pytest fixtures; `pytest_plugins = ["swapd.testing.fixtures"]` in a `conftest.py` brings them in.

Needs pytest-trio. The vocabulary: `daemon` (a real `swapd serve`), `upstream` (a fake model server in this
process), `stand_in` (a fake model server in the place of a program), `tiny_model` (a GGUF file), `clock`
(virtual time). After every test it is checked that no process is left.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Protocol

import pytest
import trio
from trio.testing import MockClock

from swapd.testing.daemon import Daemon, run_daemon, stand_in_script
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


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Puts the fake upstream in the place of a program: `stand_in("llama-server", "--load", "1s")`.

    Whoever then looks that name up in PATH, as daemons started later do, finds a program that heeds
    `--port N` among its arguments, and does what the given flags say.
    """
    directory = tmp_path / "stand-ins"

    def place(name: str, *flags: str) -> None:
        directory.mkdir(exist_ok=True)
        (directory / name).write_text(stand_in_script(*flags))
        (directory / name).chmod(0o755)
        if str(directory) not in os.environ["PATH"].split(os.pathsep):
            monkeypatch.setenv("PATH", f"{directory}{os.pathsep}{os.environ['PATH']}")

    return place


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
