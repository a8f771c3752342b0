"""What of the configuration concerns the access log and the clients' addresses, in a real daemon."""

from __future__ import annotations

import re
from typing import Any

import pytest

from swapd.testing.fixtures import StartDaemon
from tests.conformance.api.support import Client, config, running

pytestmark = pytest.mark.real

FORWARDED = {"X-Forwarded-For": "203.0.113.9"}


async def ask(client: Client, path: str) -> None:
    assert (await client.http.get(path, headers=FORWARDED)).status_code == 200


async def chat(client: Client) -> Any:
    """The row in the activity log of a request that is said to come from elsewhere."""
    message = {"model": "m1", "messages": []}
    assert (
        await client.http.post("/v1/chat/completions", json=message, headers=FORWARDED)
    ).status_code == 200
    return (await client.get("/api/metrics/activity"))["data"][0]


def logged(client: Client) -> list[str]:
    """Address and path of each line so far, but for what the tests ask about the daemon itself."""
    lines = re.findall(r'Request (\S+) "\w+ (\S+) ', client.daemon.output)
    return [f"{ip} {path}" for ip, path in lines if path not in ("/api/metrics/activity", "/health")]


async def test_given_settings_of_the_access_log_when_the_daemon_runs_then_they_hold_also_after_a_reload(
    daemon: StartDaemon,
) -> None:
    async with running(daemon, config(more="accessLog: {skip: [/running]}")) as client:
        file = client.daemon.directory / "config.yaml"

        await ask(client, "/running")
        await ask(client, "/v1/models")
        await client.daemon.printed(r"/v1/models")
        before = logged(client)
        file.write_text(file.read_text().replace("skip: [/running]", "skip: [/v1/models]"))
        assert (await client.http.post("/api/config/reload")).status_code == 200
        await ask(client, "/v1/models")
        await ask(client, "/running")
        await client.daemon.printed(r"GET /running ")
        after = logged(client)

    assert before == ["203.0.113.9 /v1/models"]
    assert [line for line in after if "reload" not in line] == [*before, "203.0.113.9 /running"]


async def test_given_trusted_proxies_when_the_daemon_runs_then_only_they_are_believed_also_after_a_reload(
    daemon: StartDaemon,
) -> None:
    async with running(daemon, config(more="trustedProxies: [192.0.2.0/24]")) as client:
        file = client.daemon.directory / "config.yaml"

        before = await chat(client)
        await ask(client, "/running")
        file.write_text(file.read_text().replace("192.0.2.0/24", "127.0.0.0/8"))
        assert (await client.http.post("/api/config/reload")).status_code == 200
        after = await chat(client)
        await ask(client, "/v1/models")
        await client.daemon.printed(r"GET /v1/models")
        lines = logged(client)

    assert (before["client"], after["client"]) == ("127.0.0.1", "203.0.113.9")
    assert lines == [
        "127.0.0.1 /v1/chat/completions",
        "127.0.0.1 /running",
        "127.0.0.1 /api/config/reload",
        "203.0.113.9 /v1/chat/completions",
        "203.0.113.9 /v1/models",
    ]
