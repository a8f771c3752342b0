"""Signing in to a real daemon, as a browser does it."""

from __future__ import annotations

import json

import pytest

from swapd.testing.fixtures import StartDaemon
from tests.conformance.api.support import Client, config, running

pytestmark = pytest.mark.real

KEYS = 'apiKeys: [{key: root-key, name: root, admin: true}, {key: guest-key, name: guest, models: ["m*"]}]'
FOREIGN = {"Origin": "http://evil.example", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}


def own(client: Client) -> dict[str, str]:
    """What a browser says of a request by the daemon's own page."""
    return {"Origin": client.daemon.url.rstrip("/"), "X-Swapd-UI": "1"}


async def sign_in(client: Client, key: str) -> None:
    answer = await client.http.post("/api/session", json={"key": key, "remember": True}, headers=own(client))
    assert answer.status_code == 200, answer.text


async def test_given_a_signed_in_browser_when_it_uses_the_daemon_then_it_needs_no_key_until_it_signs_out(
    daemon: StartDaemon,
) -> None:
    async with running(daemon, config(more=KEYS)) as client:
        wrong = await client.http.post("/api/session", json={"key": "no"}, headers=own(client))
        assert (wrong.status_code, wrong.json()["error"]["code"]) == (401, "unauthorized")
        assert "www-authenticate" not in wrong.headers

        await sign_in(client, "root-key")

        assert (await client.get("/api/session"))["name"] == "root"
        assert (await client.chat()).status_code == 200
        echo = await client.http.get("/upstream/m1/v1/models")
        assert echo.status_code == 200
        unloaded = await client.http.post("/api/models/unload", headers=own(client))
        assert unloaded.status_code == 200
        assert (await client.http.delete("/api/session", headers=own(client))).status_code == 204
        assert (await client.chat()).status_code == 401
        assert (await client.get("/api/session"))["authenticated"] is False


async def test_given_a_limited_key_when_signed_in_with_then_its_limits_hold(daemon: StartDaemon) -> None:
    async with running(daemon, config(more=KEYS)) as client:
        await sign_in(client, "guest-key")

        assert [entry["id"] for entry in (await client.get("/api/models"))["models"]] == ["m1"]
        refused = await client.chat("cap")
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "model_not_allowed")
        refused = await client.http.get("/logs")
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "admin_required")


@pytest.mark.parametrize(
    ("method", "path", "headers", "code"),
    [
        ("POST", "/api/models/unload", FOREIGN, "cross_site"),
        ("POST", "/api/models/unload", {}, "cross_site"),
        ("POST", "/api/models/unload", {"Sec-Fetch-Site": "same-origin"}, None),
        ("POST", "/api/models/unload", {**FOREIGN, "x-api-key": "root-key"}, None),
        ("POST", "/api/session", FOREIGN, "cross_site"),
        ("DELETE", "/api/session", FOREIGN, "cross_site"),
        ("GET", "/unload", FOREIGN, "cross_site"),
        ("GET", "/unload", {}, None),
        ("GET", "/upstream/m1/x", FOREIGN, "cross_site"),
    ],
)
async def test_given_a_signed_in_browser_when_a_foreign_page_uses_it_then_that_is_refused(
    daemon: StartDaemon, method: str, path: str, headers: dict[str, str], code: str | None
) -> None:
    async with running(daemon, config(more=KEYS)) as client:
        await sign_in(client, "root-key")

        answer = await client.http.request(method, path, headers=headers)

        if code is None:
            assert answer.status_code == 200
        else:
            assert (answer.status_code, answer.json()["error"]["code"]) == (403, code)


async def test_given_nobody_signed_in_when_a_foreign_page_signs_its_visitor_in_then_that_is_refused(
    daemon: StartDaemon,
) -> None:
    async with running(daemon, config(more=KEYS)) as client:
        script = await client.http.post("/api/session", json={"key": "root-key"})
        assert script.status_code == 200
        client.http.cookies.clear()

        answer = await client.http.post("/api/session", json={"key": "root-key"}, headers=FOREIGN)

        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "cross_site")


async def test_given_a_session_when_the_configuration_is_reloaded_then_it_lives_as_long_as_its_key(
    daemon: StartDaemon,
) -> None:
    async with running(daemon, config(more=KEYS)) as client:
        await sign_in(client, "guest-key")
        file = client.daemon.directory / "config.yaml"
        root = {"x-api-key": "root-key"}

        file.write_text(file.read_text().replace("name: guest,", "name: guest, admin: true,"))
        assert (await client.http.post("/api/config/reload", headers=root)).status_code == 200
        assert (await client.get("/api/session"))["admin"] is True

        file.write_text(file.read_text().replace("guest-key", "other-key"))
        assert (await client.http.post("/api/config/reload", headers=root)).status_code == 200
        assert (await client.get("/api/session"))["authenticated"] is False
        assert (await client.http.get("/running")).status_code == 401
        assert "guest-key" not in json.dumps(client.daemon.output)
