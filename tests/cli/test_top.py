"""`swapd top`: its screen, driven as by keys, and its tables, against a real daemon."""

from __future__ import annotations

import asyncio
import os
import pty
import re
import subprocess
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import pytest
import trio
from textual.pilot import Pilot
from textual.widgets import DataTable, Static

from swapd.cli.client import Client, parse_url
from swapd.cli.monitor.picture import Picture
from swapd.cli.monitor.screen import Monitor
from swapd.testing.daemon import Daemon, run_daemon, upstream_command
from tests.cli.support import LIMIT_S, environment
from tests.real.daemons import load, open_stream
from tests.setups import config

Drive = Callable[[Monitor, Pilot[None]], Awaitable[None]]


async def drive(running: Daemon, steps: Drive) -> None:
    """Run the screen on an asyncio loop in a thread, and take the steps with it."""

    async def main() -> None:
        monitor = Monitor(Client(parse_url(running.url)))
        async with asyncio.timeout(LIMIT_S), monitor.run_test(size=(120, 40)) as pilot:
            await steps(monitor, pilot)

    await trio.to_thread.run_sync(partial(asyncio.run, main()))


async def until(pilot: Pilot[None], condition: Callable[[], bool]) -> None:
    """Let the screen run until it holds; the time is bounded by `drive`."""
    while not condition():
        await pilot.pause(0.02)


def shown(monitor: Monitor, table: str) -> list[list[str]]:
    found = monitor.query_one(f"#{table}", DataTable)
    return [[str(cell) for cell in found.get_row_at(n)] for n in range(found.row_count)]


def states(monitor: Monitor) -> dict[str, str]:
    return {row[0]: row[1] for row in shown(monitor, "models")}


def headline(monitor: Monitor) -> str:
    return str(monitor.query_one("#headline", Static).render())


@pytest.mark.real
async def test_given_a_daemon_when_keys_are_pressed_then_models_are_loaded_and_unloaded(
    tmp_path: Path,
) -> None:
    async def steps(monitor: Monitor, pilot: Pilot[None]) -> None:
        await until(pilot, lambda: states(monitor) == {"owl": "stopped", "wren": "stopped"})
        assert "config ok, 2 models, 0 requests in flight" in headline(monitor)

        # The second model is loaded; the cursor stays on it as states change
        await pilot.press("j", "l")
        await until(pilot, lambda: states(monitor) == {"owl": "stopped", "wren": "ready"})
        await pilot.press("u")
        await until(pilot, lambda: states(monitor) == {"owl": "stopped", "wren": "stopped"})

        # All are unloaded only after a yes
        await pilot.press("k", "l")
        await until(pilot, lambda: states(monitor)["owl"] == "ready")
        await pilot.press("U", "n")
        await pilot.press("U", "y")
        await until(pilot, lambda: states(monitor)["owl"] == "stopped")

        await pilot.press("p")
        assert headline(monitor).startswith("PAUSED")
        await pilot.press("q")

    async with run_daemon(config({"owl": upstream_command(), "wren": upstream_command()}), tmp_path) as swapd:
        await drive(swapd, steps)


@pytest.mark.real
async def test_given_a_request_in_flight_when_it_is_cancelled_then_it_is_gone(tmp_path: Path) -> None:
    async def steps(monitor: Monitor, pilot: Pilot[None]) -> None:
        await until(pilot, lambda: len(shown(monitor, "requests")) == 1)
        [request] = shown(monitor, "requests")
        assert request[1:4] == ["owl", "127.0.0.1", "/v1/chat/completions"]
        await pilot.press("c")
        await until(pilot, lambda: shown(monitor, "requests") == [])

    text = config({"owl": upstream_command("--hold", "--hold-after", "1")})
    async with run_daemon(text, tmp_path) as swapd, open_stream(swapd, "owl"):
        await drive(swapd, steps)


@pytest.mark.real
async def test_given_no_daemon_when_watched_then_the_screen_says_so(tmp_path: Path) -> None:
    async with run_daemon(config({"owl": upstream_command()}), tmp_path) as swapd:
        pass

    async def steps(monitor: Monitor, pilot: Pilot[None]) -> None:
        await until(pilot, lambda: "cannot reach" in headline(monitor))

    await drive(swapd, steps)


@pytest.mark.real
async def test_given_a_pipe_or_no_textual_when_watched_then_tables_are_shown(tmp_path: Path) -> None:
    blocked = tmp_path / "blocked" / "textual"
    blocked.mkdir(parents=True)
    (blocked / "__init__.py").write_text("raise ModuleNotFoundError('gone', name='textual')")
    async with run_daemon(config({"owl": upstream_command()}), tmp_path) as swapd:
        await load(swapd, "owl")

        # In a pipe
        seen = await trio.to_thread.run_sync(first_words, environment(swapd), False)
        assert re.search(r"^swapd \S+ at http://\S+, config ok, 1 model, 0 requests in flight", seen, re.M)
        assert re.search(r"^owl +ready +\d+", seen, re.M)

        # On a terminal without Textual
        environ = environment(swapd, PYTHONPATH=str(blocked.parent))
        seen = await trio.to_thread.run_sync(first_words, environ, True)
        assert "the whole screen needs Textual: pip install 'swapd[tui]'" in seen
        assert "owl" in seen


def first_words(environ: dict[str, str], on_terminal: bool) -> str:
    """What the command writes until the titles of the second table are there."""
    ours, its = pty.openpty() if on_terminal else os.pipe()
    stdin = its if on_terminal else subprocess.DEVNULL
    process = subprocess.Popen(
        [sys.executable, "-m", "swapd", "top"], stdin=stdin, stdout=its, stderr=its, env=environ
    )
    os.close(its)
    seen = b""
    try:
        while b"RECEIVED" not in seen and (chunk := os.read(ours, 65536)):
            seen += chunk
    except OSError:  # EIO: it has ended
        pass
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    return seen.decode().replace("\r\n", "\n")


def test_given_events_when_applied_then_requests_come_grow_and_go() -> None:
    clock = [10.0]
    picture = Picture(now=lambda: clock[0])
    request = {"id": "7", "elapsed_ms": 500, "resp_bytes": 1}
    picture.apply("inflight", {"operation": "snapshot", "requests": [request]})
    clock[0] = 12.0
    assert picture.elapsed_s(picture.requests["7"]) == 2.5
    picture.apply("inflight", {"operation": "upsert", "request": {**request, "resp_bytes": 9}})
    assert picture.requests["7"]["resp_bytes"] == 9
    picture.apply("inflight", {"operation": "remove", "id": "7"})
    picture.apply("inflight", {"operation": "remove", "id": "unknown"})
    picture.apply("notice", {"text": "of no interest"})
    assert picture.requests == {}

    # What was known when the connection is lost stays to be seen, and comes anew with the next
    picture.apply("inflight", {"operation": "upsert", "request": request})
    picture.lost("it is gone")
    assert (picture.problem, list(picture.requests)) == ("it is gone", ["7"])
    picture.begin({"version": "1"})
    assert (picture.problem, picture.requests) == ("", {})
