"""examples/two-machines, as two real daemons: who serves what, and what happens when one of them cannot."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from swapd.testing.daemon import Daemon, run_swapd, stand_in_script
from swapd.testing.ports import free_port, free_ports
from tests.documents import ROOT
from tests.real.daemons import PATIENCE_S
from tests.setups import chat, error, running

pytestmark = pytest.mark.real

EXAMPLES = ROOT / "examples" / "two-machines"


@asynccontextmanager
async def machine(
    name: str, directory: Path, address: str, *, llama_server: str, peer: str = "", targets: str = ""
) -> AsyncIterator[Daemon]:
    """A swapd with that example, on an address and with a llama-server of its own. `peer` is where the other
    one is, `targets` those of the selector, where they are not the example's."""
    home = directory / name
    (home / "bin").mkdir(parents=True)
    program = home / "bin" / "llama-server"
    program.write_text(llama_server)
    program.chmod(0o755)
    text = (EXAMPLES / f"{name}.yaml").read_text().replace("127.0.0.1:8090", peer)
    text = re.sub(r"^startPort:.*\n", "", text, flags=re.MULTILINE)
    if targets:
        text = re.sub(r"targets: \[.*\]", f"targets: [{targets}]", text)
    (home / "config.yaml").write_text(f"startPort: {free_ports(10)}\n{text}")
    words = ("-config", str(home / "config.yaml"), "-listen", address)
    environment = {"PATH": f"{home}/bin:/usr/bin:/bin"}
    async with run_swapd(home, *words, environment=environment) as daemon:
        yield daemon


async def ask(client: httpx.AsyncClient, model: str) -> httpx.Response:
    return await client.post("/v1/chat/completions", json=chat(model))


WORKS = stand_in_script("--load", "100ms")
BROKEN = "#!/bin/sh\necho 'no such GPU' >&2\nexit 1\n"


async def test_given_two_machines_then_each_serves_its_own_models_at_one_address(tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    async with (
        machine("workstation", tmp_path, address, llama_server=WORKS) as workstation,
        machine("front", tmp_path, "127.0.0.1:0", llama_server=WORKS, peer=address) as front,
        front.client(timeout_s=PATIENCE_S) as client,
        workstation.client() as other,
    ):
        # When both models are asked for at the one in front, the other's by both of its names
        for model in ("small", "big", "workstation/big"):
            assert (await ask(client, model)).status_code == 200
        # Then each runs where it belongs
        assert await running(client) == [("small", "ready")]
        assert await running(other) == [("big", "ready")]
        # And all of them are in the list
        listed = {entry["id"] for entry in (await client.get("/v1/models")).json()["data"]}
        assert {"small", "workstation/big", "best"} <= listed


async def test_given_a_model_that_is_broken_here_then_the_selector_turns_to_the_other_machine(
    tmp_path: Path,
) -> None:
    address = f"127.0.0.1:{free_port()}"
    async with (
        machine("workstation", tmp_path, address, llama_server=WORKS) as workstation,
        machine("front", tmp_path, "127.0.0.1:0", llama_server=BROKEN, peer=address) as front,
        front.client(timeout_s=PATIENCE_S) as client,
        workstation.client() as other,
    ):
        # Given that the server here does not start: that is said, until swapd gives it a pause
        for _ in range(3):
            answer = await ask(client, "best")
            assert (answer.status_code, error(answer)["code"]) == (502, "upstream_start_failed")
            assert "no such GPU" in error(answer)["message"]
        # When the selector is asked from then on, then the other machine answers
        for _ in range(3):
            assert (await ask(client, "best")).status_code == 200
        assert await running(other) == [("big", "ready")]


async def test_given_that_the_other_machine_is_off_then_that_is_said_and_the_profile_helps(
    tmp_path: Path,
) -> None:
    async with (
        machine(
            "front", tmp_path, "127.0.0.1:0", llama_server=WORKS, peer=f"127.0.0.1:{free_port()}"
        ) as front,
        front.client(timeout_s=PATIENCE_S) as client,
    ):
        answer = await ask(client, "big")
        assert (answer.status_code, error(answer)["code"]) == (502, "peer_error")
        # When the profile is switched on, then the model here answers for all names
        assert (await client.put("/api/profiles/active", json={"name": "alone"})).status_code == 200
        for model in ("big", "best", "small"):
            assert (await ask(client, model)).status_code == 200


async def test_given_that_the_other_machine_is_off_then_the_selector_passes_it_over_from_then_on(
    tmp_path: Path,
) -> None:
    nowhere, first = f"127.0.0.1:{free_port()}", "workstation/big, small"
    async with (
        machine("front", tmp_path, "127.0.0.1:0", llama_server=WORKS, peer=nowhere, targets=first) as front,
        front.client(timeout_s=PATIENCE_S) as client,
    ):
        # Given a request that has found out
        assert error(await ask(client, "best"))["code"] == "peer_error"
        # Then the next ones are served here
        for _ in range(3):
            assert (await ask(client, "best")).status_code == 200
        assert await running(client) == [("small", "ready")]
