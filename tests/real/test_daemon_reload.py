"""Reloads of a running daemon: what changed is replaced, and nothing else is touched."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import trio

from swapd.testing.daemon import Daemon, run_daemon, upstream_command
from swapd.testing.ports import free_ports
from tests.real.daemons import PATIENCE_S, load, open_descriptors, open_stream, pids, until
from tests.setups import config

pytestmark = pytest.mark.real

BIRDS = ("finch", "heron", "owl", "robin", "wren")


def together(commands: Mapping[str, str], start_port: int, **top: Any) -> str:
    """A configuration whose models all run side by side."""
    group = {"members": list(commands), "swap": False, "exclusive": False}
    return config(commands, startPort=start_port, groups={"birds": group}, **top)


def write(running: Daemon, text: str) -> None:
    """As a careful editor does: a reload that is under way reads the old file or the new one."""
    new = running.directory / "new.yaml"
    new.write_text(text)
    new.replace(running.directory / "config.yaml")


async def test_given_five_running_models_when_one_changes_then_four_pids_and_an_open_stream_stay(
    tmp_path: Path,
) -> None:
    # Given five models, one of them in the middle of a stream
    port = free_ports(20)
    commands = dict.fromkeys(BIRDS, upstream_command("--hold-after", "1"))
    commands["owl"] = upstream_command("--hold", "--hold-after", "1")
    async with run_daemon(together(commands, port), tmp_path) as running:
        await load(running, *(bird for bird in BIRDS if bird != "owl"))
        async with open_stream(running, "owl") as reader, running.upstream("owl") as owl:
            before = await pids(running)
            assert set(before) == set(BIRDS)

            # When another one gets a new command
            commands["heron"] = upstream_command("--tokens", "3")
            write(running, together(commands, port))
            running.signal(signal.SIGHUP)
            await running.printed("configuration applied: 1 restarted, 4 unchanged")
            await load(running, "heron")

            # Then that one runs anew, the others are the same processes, and the stream goes on to its end
            after = await pids(running)
            assert {bird for bird in BIRDS if before[bird] != after[bird]} == {"heron"}
            await owl.release()
            rest = b""
            while chunk := await reader.chunk():
                rest += chunk
            assert rest.endswith(b"data: [DONE]\n\n")


async def test_given_200_reloads_in_a_row_then_models_are_served_and_nothing_has_piled_up(
    tmp_path: Path,
) -> None:
    port = free_ports(20)
    command = upstream_command()

    def text(number: int) -> str:
        changing = {"cmd": f"{command} --tokens {number}", "description": f"number {number}"}
        return together({"owl": command, "wren": changing}, port)

    async with run_daemon(text(1), tmp_path) as running:
        await load(running, "owl", "wren")
        owl = (await pids(running))["owl"]
        descriptors = open_descriptors(running.pid)

        for number in range(1, 201):
            write(running, text(1 + number % 20))
            running.signal(signal.SIGHUP)
            await until(lambda n=number: running.output.count("configuration applied") == n)

        # The last one is in force, the model that never changed was never touched, and requests are served.
        async with running.client(timeout_s=PATIENCE_S) as client:
            models = (await client.get("/v1/models")).json()["data"]
            assert [model["description"] for model in models if model["id"] == "wren"] == ["number 1"]
        await load(running, "owl", "wren")
        assert (await pids(running))["owl"] == owl
        assert len(running.processes) == 2
        # Some may be connections that are kept alive, at either end; a leak would be 200.
        assert open_descriptors(running.pid) <= descriptors + 5


async def test_given_signals_faster_than_reloads_then_the_last_configuration_is_in_force(
    tmp_path: Path,
) -> None:
    port = free_ports(20)

    def text(number: int) -> str:
        return together({"owl": upstream_command()}, port, healthCheckTimeout=15 + number)

    async with run_daemon(text(0), tmp_path) as running:
        await load(running, "owl")
        owl = await pids(running)
        for number in range(1, 51):
            write(running, text(number))
            running.signal(signal.SIGHUP)
            await trio.lowlevel.checkpoint()
        write(running, together({"owl": upstream_command(), "wren": upstream_command()}, port))
        running.signal(signal.SIGHUP)

        await running.printed("configuration applied: .*1 added")

        assert await pids(running) == owl
        await load(running, "wren")
