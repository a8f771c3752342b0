"""An idle time that is as short as the pause between requests: unloading and loading must not lose any."""

from __future__ import annotations

import random

import pytest
import trio

from swapd.testing.daemon import upstream_command
from swapd.testing.fixtures import StartDaemon
from tests.real.daemons import PATIENCE_S
from tests.setups import chat, config

pytestmark = pytest.mark.real


async def test_given_a_ttl_of_1_s_and_a_request_a_second_then_60_rounds_pass_without_an_error(
    daemon: StartDaemon,
) -> None:
    running = await daemon(config({"owl": {"cmd": upstream_command(), "ttl": 1}}))
    jitter = random.Random(1)
    async with running.client(timeout_s=PATIENCE_S) as client:
        for _ in range(60):
            response = await client.post("/v1/chat/completions", json=chat("owl"))

            assert response.status_code == 200, (response.text, running.output)
            await trio.sleep(1 + jitter.uniform(-0.03, 0.03))

    # It was a race: the model was unloaded some of the times, and not all of them.
    starts = running.output.count("[owl] stopped → starting")
    assert 1 < starts <= 60, running.output
