"""`swapd ps`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from swapd.testing.daemon import run_daemon, upstream_command
from tests.cli.support import golden, on_terminal, piped, uncoloured
from tests.real.daemons import load
from tests.setups import config

pytestmark = pytest.mark.real

TABLE = golden(
    "MODEL STATE PID PORT UPTIME LOAD IN FLIGHT QUEUED RSS VRAM UNLOADS IN\n"
    "owl ready {pid} {port} {time} {time} 0 0 {size} — {time}\n",
    pid=r"\d+",
    port=r"\d+",
    time=r"[\d.hms]+",
    size=r"(?:—|[\d.]+ MiB)",
)


async def test_given_a_running_model_when_listed_then_terminal_and_pipe_show_the_same_table(
    tmp_path: Path,
) -> None:
    text = config({"owl": {"cmd": upstream_command(), "ttl": 300}, "wren": upstream_command()})
    async with run_daemon(text, tmp_path) as running:
        # Given nothing that runs, only the titles are there
        done = await piped(running, "ps")
        assert (done.code, done.out.split()[0], done.out.count("\n")) == (0, "MODEL", 1)

        # When one of two models runs
        await load(running, "owl")

        # Then both show it, only the terminal in colour
        done = await piped(running, "ps")
        assert TABLE.fullmatch(done.out), done
        assert (done.code, done.err) == (0, "")
        seen = await on_terminal(running, "ps")
        assert TABLE.fullmatch(uncoloured(seen.out)), seen
        assert "\x1b[32mready\x1b[0m" in seen.out
        assert "\x1b[" not in (await on_terminal(running, "ps", NO_COLOR="1")).out
        assert "\x1b[32m" in (await piped(running, "ps", "--color=always")).out
        [entry] = json.loads((await piped(running, "ps", "--json")).out)["models"]
        assert (entry["id"], entry["state"], entry["ttl_s"]) == ("owl", "ready", 300)
