"""`swapd status`, `health` and `reload`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from swapd.testing.daemon import run_daemon, upstream_command
from swapd.testing.ports import free_port
from tests.cli.support import golden, on_terminal, piped, uncoloured
from tests.real.daemons import load
from tests.setups import config

pytestmark = pytest.mark.real

STATUS = golden(
    "swapd {version} ({commit}) at {url}\n"
    "up {time}, since {when}\n"
    "state ready\n"
    "config ok, generation 1\n"
    "models 1 ready, 1 stopped\n"
    "requests 0 in flight, 0 queued\n"
    "\n"
    "MODEL STATE PID PORT UPTIME LOAD IN FLIGHT QUEUED RSS VRAM UNLOADS IN\n"
    "owl ready {number} {number} {time} {time} 0 0 {size} — never\n",
    version=r"\S+",
    commit=r"\w+",
    url=r"http://127\.0\.0\.1:\d+",
    when=r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00",
    number=r"\d+",
    time=r"[\d.hms]+",
    size=r"(?:—|[\d.]+ MiB)",
)


async def test_given_a_daemon_when_its_status_is_asked_then_it_fits_one_screen(tmp_path: Path) -> None:
    async with run_daemon(config({"owl": upstream_command(), "wren": upstream_command()}), tmp_path) as swapd:
        await load(swapd, "owl")

        assert STATUS.fullmatch((done := await piped(swapd, "status")).out), done
        assert STATUS.fullmatch(uncoloured((seen := await on_terminal(swapd, "status")).out)), seen
        assert json.loads((await piped(swapd, "status", "--json")).out)["models"] == {
            "ready": 1,
            "stopped": 1,
        }


async def test_given_a_daemon_when_its_health_is_asked_then_the_exit_code_tells(tmp_path: Path) -> None:
    preload = {"on_startup": {"preload": ["slow"]}}
    text = config({"slow": upstream_command("--load", "60s")}, hooks=preload)
    async with run_daemon(text, tmp_path) as swapd:
        assert await piped(swapd, "health") == (0, "", "")
        assert await on_terminal(swapd, "health") == (0, "", "")
        assert await piped(swapd, "health", "--ready") == (75, "", "")
    assert await piped(None, "health", "--url", f"http://127.0.0.1:{free_port()}") == (69, "", "")


async def test_given_a_new_configuration_when_reloaded_then_what_changed_is_told(tmp_path: Path) -> None:
    async with run_daemon(config({"owl": upstream_command(), "wren": upstream_command()}), tmp_path) as swapd:
        file = swapd.directory / "config.yaml"
        port = file.read_text().splitlines()[0]
        await load(swapd, "owl")

        # A model is changed, one is new
        file.write_text(
            f"{port}\n"
            + config(
                {"owl": upstream_command("--tokens", "3"), "wren": upstream_command(), "emu": "x ${PORT}"}
            )
        )
        done = await piped(swapd, "reload")
        assert (done.code, done.out, done.err) == (
            0,
            "configuration reloaded: 1 added (emu), 1 restarted (owl), 1 unchanged\n",
            "",
        )
        assert (await on_terminal(swapd, "reload")).out.endswith("configuration reloaded: 3 unchanged\n")

        # A broken one is refused, and the place is named
        file.write_text("models:\n  owl:\n    cmd: x ${PORT}\n    ttl: [1]\n")
        done = await piped(swapd, "reload")
        assert (done.code, done.out) == (78, "")
        assert f"{file}:4:10: error[" in done.err
        assert "swapd: cannot reload: " in done.err
        assert "the old configuration stays in force" in done.err
        assert "rejected, generation" in (await piped(swapd, "status")).out
        done = await piped(swapd, "reload", "--json")
        assert (done.code, json.loads(done.out)["state"]) == (78, "rejected")
