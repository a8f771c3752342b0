"""`swapd models`, `load` and `unload`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from swapd.testing.daemon import Daemon, run_daemon, upstream_command
from tests.cli.support import golden, on_terminal, piped, uncoloured
from tests.real.daemons import load, open_stream
from tests.setups import config, running

pytestmark = pytest.mark.real

MODELS: dict[str, dict[str, Any]] = {
    "owl": {
        "cmd": upstream_command(),
        "ttl": 300,
        "aliases": ["bird"],
        "capabilities": {"tools": True, "context": 4096},
    },
    "wren": {"cmd": upstream_command("--load", "20ms")},
    "a/b c": {"cmd": upstream_command(), "unlisted": True},
    "broken": {"cmd": upstream_command("--exit-code", "3", "--crash-on-start")},
}


async def states(swapd: Daemon) -> dict[str, str]:
    async with swapd.client() as client:
        return dict(await running(client))


async def test_given_models_when_listed_then_terminal_and_pipe_show_the_same_table(tmp_path: Path) -> None:
    text = config(
        MODELS,
        peers={"far": {"proxy": "http://127.0.0.1:9", "models": ["rm"]}},
        selectors={"pick": {"strategy": "pin", "targets": ["owl"]}},
    )
    table = golden(
        "MODEL STATE ALIASES TYPE CONTEXT CAPABILITIES TTL LEFT\n"
        "broken stopped — model — — —\n"
        "owl ready bird model 4096 function_calling {time}\n"
        "wren stopped — model — — —\n",
        time=r"[\d.hms]+",
    )
    everything = golden(
        "MODEL STATE ALIASES TYPE CONTEXT CAPABILITIES TTL LEFT\n"
        "a/b c stopped — model — — —\n"
        "broken stopped — model — — —\n"
        "owl ready bird model 4096 function_calling {time}\n"
        "wren stopped — model — — —\n"
        "far/rm — — peer — — —\n"
        "pick — — selector — — —\n",
        time=r"[\d.hms]+",
    )
    async with run_daemon(text, tmp_path) as swapd:
        await load(swapd, "owl")

        assert table.fullmatch((done := await piped(swapd, "models")).out), done
        assert table.fullmatch(uncoloured((seen := await on_terminal(swapd, "models")).out)), seen
        assert everything.fullmatch((done := await piped(swapd, "models", "-all")).out), done
        entries = json.loads((await piped(swapd, "models", "--json", "--all")).out)["models"]
        assert {entry["id"]: entry["type"] for entry in entries} == {
            **dict.fromkeys(MODELS, "model"),
            "far/rm": "peer",
            "pick": "selector",
        }


async def test_given_stopped_models_when_loaded_then_phases_and_outcome_are_told(tmp_path: Path) -> None:
    async with run_daemon(config(MODELS), tmp_path) as swapd:
        # One by its alias: it starts
        done = await piped(swapd, "load", "bird")
        assert golden("owl: starts\nowl is ready after {time}\n", time=r"[\d.ms]+").fullmatch(done.out), done
        assert (done.code, done.err) == (0, "")

        # It is there already
        assert (await piped(swapd, "load", "owl")).out == "owl is ready already\n"

        # Another takes its place; on a terminal the phases are gone at the end
        seen = await on_terminal(swapd, "load", "wren")
        assert seen.code == 0
        last = uncoloured(seen.out).replace("\r", "\n").splitlines()[-1]
        assert golden("{erase}wren is ready after {time}", erase=r".*", time=r"[\d.ms]+").fullmatch(last), (
            seen
        )
        assert await states(swapd) == {"wren": "ready"}

        # As JSON, one line an event
        done = await piped(swapd, "load", "a/b c", "--json")
        events = [json.loads(line) for line in done.out.splitlines()]
        assert {event["model"] for event in events} == {"a/b c"}
        assert events[-1]["phase"] == "ready"

        # Without waiting
        done = await piped(swapd, "load", "owl", "--no-wait")
        assert (done.code, done.out) == (0, "owl is being loaded\n")


async def test_given_names_that_are_none_when_loaded_then_the_three_nearest_are_named(tmp_path: Path) -> None:
    text = config(MODELS, peers={"far": {"proxy": "http://127.0.0.1:9", "models": ["rm"]}})
    async with run_daemon(text, tmp_path) as swapd:
        done = await piped(swapd, "load", "wrem")
        assert (done.code, done.out) == (1, "")
        assert done.err.startswith(
            "swapd: cannot load wrem: there is no model of that name\nhint: did you mean wren, "
        )
        assert done.err.count(",") == 2

        done = await piped(swapd, "unload", "far/rm")
        assert (done.code, done.err) == (
            1,
            "swapd: cannot unload far/rm: it runs on another machine\n"
            "hint: ask the swapd of far, with --url\n",
        )


async def test_given_a_model_that_fails_when_loaded_then_why_is_told(tmp_path: Path) -> None:
    text = config({"off": "sh -c 'echo no weights here for ${PORT} >&2; exit 3'"})
    async with run_daemon(text, tmp_path) as swapd:
        done = await piped(swapd, "load", "off")

        assert (done.code, done.out) == (1, "off: starts\n")
        assert "swapd: cannot load off: " in done.err
        assert "no weights here" in done.err


async def test_given_a_model_that_takes_too_long_when_loaded_then_it_is_a_timeout(tmp_path: Path) -> None:
    async with run_daemon(config({"slow": upstream_command("--load", "60s")}), tmp_path) as swapd:
        done = await piped(swapd, "load", "slow", "--timeout", "300ms")

        assert (done.code, done.err) == (
            75,
            "swapd: cannot load slow: it was not ready within 0.3s\nhint: give it longer with --timeout\n",
        )


async def test_given_running_models_when_unloaded_then_they_have_stopped(tmp_path: Path) -> None:
    group = {"members": ["owl", "wren"], "swap": False}
    held = upstream_command("--hold", "--hold-after", "1")
    models = {"owl": upstream_command(), "wren": held}
    async with run_daemon(config(models, groups={"birds": group}), tmp_path) as swapd:
        await load(swapd, "owl")
        async with open_stream(swapd, "wren"):
            # A request in progress holds up nobody who says so
            done = await piped(swapd, "unload", "wren", "--now")
            assert (done.code, done.out, done.err) == (0, "wren: waiting for the last requests\n", "") or (
                done.out == "wren: stopping\nwren: stopped\n"
            )
        assert await states(swapd) == {"owl": "ready"}

        seen = await on_terminal(swapd, "unload", "--all")
        assert seen.code == 0
        assert uncoloured(seen.out).splitlines()[-1].endswith("all models: stopped")
        assert await states(swapd) == {}

        done = await piped(swapd, "unload", "owl", "wren", "--quiet")
        assert (done.code, done.out) == (0, "")
        assert (await piped(swapd, "unload")).code == 2
        assert (await piped(swapd, "unload", "owl", "--all")).code == 2
