"""Idle time against requests, with real processes: whichever comes first, the request is served."""

from __future__ import annotations

import random

import httpx
import pytest
import trio

from swapd.testing.daemon import upstream_command
from swapd.testing.fixtures import StartDaemon

pytestmark = pytest.mark.real

MODELS = 6
ROUNDS = 10


async def test_idle_time_of_a_second_against_requests_a_second_apart_refuses_nobody(
    daemon: StartDaemon,
) -> None:
    """Sixty rounds, ten on each of six models; the end of the idle time and the next request fall on the same
    moment, give or take some hundredths of a second."""
    names = [f"m{number}" for number in range(MODELS)]
    models = "".join(f"  {name}: {{cmd: '{upstream_command()}', ttl: 1}}\n" for name in names)
    side_by_side = f"groups: {{all: {{swap: false, members: [{', '.join(names)}]}}}}\n"
    running = await daemon(f"models:\n{models}{side_by_side}")
    statuses: list[int] = []

    async def keep_asking(client: httpx.AsyncClient, name: str) -> None:
        jitter = random.Random(name)
        for _ in range(ROUNDS):
            body = {"model": name, "messages": [{"role": "user", "content": "hi"}]}
            answer = await client.post("/v1/chat/completions", json=body)
            statuses.append(answer.status_code)
            await trio.sleep(1 + jitter.uniform(-0.02, 0.05))

    with trio.fail_after(120):
        async with running.client(timeout_s=60) as client, trio.open_nursery() as nursery:
            for name in names:
                nursery.start_soon(keep_asking, client, name)

    assert statuses == [200] * (MODELS * ROUNDS)
    assert running.output.count("ready → stopping") >= MODELS, "it must have been unloaded now and then"
